// absolute.ts: a learned vector for each place, added to the embeddings.
import { largest, refuse } from "../check.ts";
import { add, bias } from "../ops/elementwise.ts";
import { embedding } from "../ops/rows.ts";
import { reshape, sliced } from "../ops/shapes.ts";
import type { Tensor } from "../tensor.ts";
import type { Kind } from "./kind.ts";

/** Places 0 to context - 1; longer sequences are refused. */
export const absolute: Kind<never, { wpe: { weight: Tensor } }> = (_, { d, context }) => ({
  name: "absolute",
  limit: context,
  model: ["wpe", (make, path) => ({ weight: make(`${path}.weight`, [context, d], 1 / Math.sqrt(d)) })],
  embed(x, weights, { b, t, starts }) {
    const table = weights?.weight;
    if (!table) refuse(RangeError, "absolute", "the parameters have no table wpe", "those that this model made");
    const end = t + largest(starts ?? []);
    const rows = table.shape[0]!;
    if (end > rows)
      refuse(RangeError, "absolute", `${end} places are more than the ${rows} of the table`, "a larger context");
    if (starts) {
      const places: number[] = [];
      for (const start of starts) for (let i = 0; i < t; i++) places.push(start + i);
      return add(x, embedding(table, x.tape.indices([b, t], places)));
    }
    const row = reshape(sliced(table, 0, t, 0), [t * d]);
    return reshape(bias(reshape(x, [b, t * d]), row), x.shape);
  },
});
