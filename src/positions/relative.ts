// relative.ts: a learned vector for each distance, multiplied with the query (Shaw et al. 2018, 1803.02155).
import { extent, integer, whole } from "../check.ts";
import type { Tensor } from "../tensor.ts";
import { optional, type Named } from "./kind.ts";

/** `rows` of the table: distances beyond reuse the last; `context` unless given. */
export interface RelativeOptions {
  rows?: number;
}

/** min(i - j, rows - 1), 0 for later keys; queries are the last `t` of `s` places: t x s integers. */
export function distances(t: number, s: number, rows: number): Int32Array {
  const index = new Int32Array(extent("distances", { t, s }));
  integer("distances", "rows", rows, 1);
  for (let i = 0; s && i < t; i++)
    for (let j = 0; j < s; j++) index[i * s + j] = Math.min(Math.max(0, s - t + i - j), rows - 1);
  return index;
}

/** Sequences may be of any length. */
export const relative = /* @__PURE__ */ optional<RelativeOptions, Named, { rel: { weight: Tensor } }>(
  "relative",
  ({ context }) => ({ rows: [whole(1), context] }),
  ({ rows }, { width }) => {
    const std = 1 / Math.sqrt(width);
    return {
      name: "relative",
      layer: ["rel", (make, path) => ({ weight: make(`${path}.weight`, [rows, width], std) })],
      bias: ({ weight }) => ({ distances: weight }),
    };
  },
);
