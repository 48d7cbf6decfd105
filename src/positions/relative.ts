// relative.ts: a learned vector for each distance, multiplied with the query (Shaw et al. 2018, 1803.02155).
import { extent, integer, oneOf, tensor, whole } from "../check.ts";
import type { Maker } from "../nn.ts";
import type { Tensor } from "../tensor.ts";
import { optional, type TableScope } from "./kind.ts";

/** Options of relative positions. */
export interface RelativeOptions {
  /** Of the table: distances beyond reuse the last; `context` unless given. */
  rows?: number;
  /** Whether a layer has a table, or all layers share one; "layer" unless given. */
  table?: Exclude<TableScope, "head">;
  /** Acts only in layers whose number, counted from 1, it divides; 1, in all, unless given. */
  every?: number;
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
export const relative = /* @__PURE__ */ optional<
  RelativeOptions,
  { rel: { weight: Tensor } },
  { rel: { weight: Tensor } }
>(
  "relative",
  ({ context }) => ({ rows: [whole(1), context], table: [oneOf("layer", "shared"), "layer"] }),
  ({ rows, table }, { width }) => {
    const own = (make: Maker, path: string) => ({
      weight: make(`${path}.weight`, [rows, width], 1 / Math.sqrt(width)),
    });
    return {
      name: "relative",
      [table === "shared" ? "model" : "layer"]: ["rel", own],
      bias(weights, shared) {
        const distances = (table === "shared" ? shared : weights)?.weight as Tensor;
        return { distances: tensor("relative", "the table", distances, "p d") };
      },
    };
  },
);
