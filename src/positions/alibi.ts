// alibi.ts: logits fall in proportion to the distance, each head at a slope of its own (Press et al. 2022, 2108.12409).
import { extent, integer } from "../check.ts";
import { pow } from "../math.ts";
import type { Kind } from "./kind.ts";

/**
 * ALiBi's slopes: 2^(-8i/h), i = 1..h, for h a power of two; else those of the power below, then every other one of the
 * power above (Press et al. 2022).
 */
export function alibiSlopes(heads: number): number[] {
  integer("alibiSlopes", "heads", heads, 1, 65536);
  let n = 1;
  while (2 * n <= heads) n *= 2;
  const own = Array.from({ length: n }, (_, i) => pow(2, (-8 * (i + 1)) / n));
  return [...own, ...Array.from({ length: heads - n }, (_, i) => pow(2, (-8 * (2 * i + 1)) / (2 * n)))];
}

/** -slope (i - j) for each head, query and key; queries are the last `t` of `s` places: h x t x s numbers. */
export function alibi(heads: number, t: number, s: number): Float64Array {
  const slopes = alibiSlopes(heads);
  const bias = new Float64Array(extent("alibi", { heads, t, s }));
  if (s)
    slopes.forEach((slope, h) => {
      for (let i = 0; i < t; i++)
        for (let j = 0; j < s; j++) bias[(h * t + i) * s + j] = -slope * Math.max(0, s - t + i - j);
    });
  return bias;
}

/** Has no table, so that sequences may be of any length. */
export const slopes: Kind = (_, { heads }) => {
  const all = alibiSlopes(heads);
  return { name: "alibi", bias: () => ({ slopes: all }) };
};
