// Small models whose parameters are no ones and zeros, and what else tests draw.
import { leaves, random, type Tape, type Tensor, type TransformerOptions, type Tree } from "farsight";

/** A small decoder; tables of CoPE and of relative positions are shorter than its sequences. */
export const small: TransformerOptions = {
  vocab: 7,
  d: 16,
  heads: 4,
  layers: 2,
  inner: 12,
  context: 9,
  cope: { rows: 4 },
  relative: { rows: 4 },
};

/** Adds normal numbers to every parameter, more to embeddings, so that third derivatives stay small. */
export function stir<T extends Tree>(params: T, seed = 1): T {
  for (const [path, p] of leaves(params)) {
    const rng = random(seed).fork(path);
    const by = /^w[tp]e/.test(path) ? 1.5 : 0.15;
    p.values().set(p.values().map(x => x + by * rng.normal()));
  }
  return params;
}

/** `n` normal numbers. */
export function normal(n: number, seed: number): Float64Array {
  const rng = random(seed);
  return Float64Array.from({ length: n }, () => rng.normal());
}

/** A constant of normal numbers. */
export const constant = (tape: Tape, shape: readonly number[], seed: number): Tensor =>
  tape.tensor(
    shape,
    normal(
      shape.reduce((a, n) => a * n, 1),
      seed,
    ),
  );

/** b rows of t tokens below v. */
export function rows(b: number, t: number, v: number, seed: number): number[][] {
  const rng = random(seed);
  return Array.from({ length: b }, () => Array.from({ length: t }, () => rng.integer(v)));
}

/** Asserts that two lists hold the same bits; the message names the first place where they do not. */
export function same(got: ArrayLike<number>, want: ArrayLike<number>, what = "values"): void {
  if (got.length !== want.length) throw new Error(`${what}: ${got.length} numbers instead of ${want.length}`);
  for (let i = 0; i < want.length; i++)
    if (!Object.is(got[i], want[i]))
      throw new Error(`${what}: ${got[i]} instead of ${want[i]} at ${i} of ${want.length}`);
}
