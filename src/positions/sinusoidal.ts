// sinusoidal.ts: waves of the place, added to the embeddings (Vaswani et al. 2017).
import { extent, integer } from "../check.ts";
import { cos, exp, log, sin } from "../math.ts";
import { add, bias } from "../ops/elementwise.ts";
import { reshape } from "../ops/shapes.ts";
import type { Kind } from "./kind.ts";

/**
 * Row per place, column 2m = sin(place / 10000^(2m/d)), column 2m + 1 = cos of the same (Vaswani et al. 2017): t x d
 * numbers for the places from `start` on.
 */
export function sinusoidal(t: number, d: number, start = 0): Float64Array {
  const who = "sinusoidal";
  const table = new Float64Array(extent(who, { t, d }));
  integer(who, "d", d, 1);
  integer(who, "start", start);
  for (let i = 0; i < t; i++)
    for (let m = 0; 2 * m < d; m++) {
      const angle = (start + i) * exp(((-2 * m) / d) * log(10000));
      table[i * d + 2 * m] = sin(angle, who);
      if (2 * m + 1 < d) table[i * d + 2 * m + 1] = cos(angle, who);
    }
  return table;
}

/** Has no table, so that sequences may be of any length. */
export const waves: Kind = (_options, { d }) => ({
  name: "sinusoidal",
  embed(x, _, { b, t, starts }) {
    if (!starts) return reshape(bias(reshape(x, [b, t * d]), x.tape.tensor([t * d], sinusoidal(t, d))), x.shape);
    const rows = starts.flatMap(start => Array.from(sinusoidal(t, d, start)));
    return add(x, x.tape.tensor([b, t, d], rows));
  },
});
