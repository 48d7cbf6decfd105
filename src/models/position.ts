// position.ts: how a transformer knows where its tokens are. A kind of position touches the model in one of three
// places: it is added to the embeddings (absolute, sinusoidal), it turns queries and keys (rope), or it is added to the
// logits (relative, alibi, cope).
import { cos, exp, log, pow, sin } from "../math.ts";
import { integer } from "../check.ts";
import type { Tape } from "../tape.ts";
import type { Tensor } from "../tensor.ts";

/** Kinds of position; cope goes together with rope and with relative. */
export const kinds = [
  "none",
  "absolute",
  "sinusoidal",
  "relative",
  "rope",
  "alibi",
  "cope",
  "cope+rope",
  "cope+relative",
] as const;
export type Position = (typeof kinds)[number];

/** Whether `position` has the part named. */
export const has = (position: Position, part: string): boolean => position.split("+").includes(part);

/**
 * Row per place, column 2m = sin(place / 10000^(2m/d)), column 2m + 1 = cos of the same (Vaswani et al. 2017): t x d
 * numbers.
 */
export function sinusoidal(t: number, d: number): Float64Array {
  const table = new Float64Array(integer("sinusoidal", "t", t) * integer("sinusoidal", "d", d, 1));
  for (let i = 0; i < t; i++)
    for (let m = 0; 2 * m < d; m++) {
      const angle = i * exp(((-2 * m) / d) * log(10000));
      table[i * d + 2 * m] = sin(angle);
      if (2 * m + 1 < d) table[i * d + 2 * m + 1] = cos(angle);
    }
  return table;
}

/**
 * Cosines and sines of the angles place / theta^(2m/d), d the width of a head: two t x d/2 tables on the tape, for
 * `rope`.
 */
export function rotary(
  tape: Tape,
  t: number,
  d: number,
  { theta = 10000, start = 0 }: { theta?: number; start?: number } = {},
): { cos: Tensor; sin: Tensor } {
  if (!(d > 0 && d % 2 === 0)) throw new RangeError(`rotary: heads are ${d} wide\n  wants an even width`);
  if (!(theta > 0 && theta < Infinity)) throw new RangeError(`rotary: theta is ${theta}\n  wants a number above 0`);
  const half = d / 2;
  const c = new Float64Array(t * half);
  const s = new Float64Array(t * half);
  for (let i = 0; i < t; i++)
    for (let m = 0; m < half; m++) {
      const angle = (start + i) * exp(((-2 * m) / d) * log(theta));
      c[i * half + m] = cos(angle);
      s[i * half + m] = sin(angle);
    }
  return { cos: tape.tensor([t, half], c), sin: tape.tensor([t, half], s) };
}

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
  const bias = new Float64Array(heads * integer("alibi", "t", t) * integer("alibi", "s", s));
  slopes.forEach((slope, h) => {
    for (let i = 0; i < t; i++)
      for (let j = 0; j < s; j++) bias[(h * t + i) * s + j] = -slope * Math.max(0, s - t + i - j);
  });
  return bias;
}

/** min(i - j, rows - 1), 0 for later keys; queries are the last `t` of `s` places: t x s integers. */
export function distances(t: number, s: number, rows: number): Int32Array {
  const index = new Int32Array(integer("distances", "t", t) * integer("distances", "s", s));
  integer("distances", "rows", rows, 1);
  for (let i = 0; i < t; i++)
    for (let j = 0; j < s; j++) index[i * s + j] = Math.min(Math.max(0, s - t + i - j), rows - 1);
  return index;
}

/** 1 where query i (the last `t` of `s` places) may look at key j: j <= i, or everywhere when not `causal`. */
export function mask(t: number, s: number, causal: boolean): Float64Array {
  integer("mask", "t", t);
  integer("mask", "s", s);
  if (causal && t > s)
    throw new RangeError(
      `mask: ${t} queries are more than ${s} places\n  wants queries that are the last of the places, or causal: false`,
    );
  const allowed = new Float64Array(t * s).fill(1);
  if (causal) for (let i = 0; i < t; i++) allowed.fill(0, i * s + s - t + i + 1, (i + 1) * s);
  return allowed;
}
