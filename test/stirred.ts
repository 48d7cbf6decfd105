// Small models whose parameters are no ones and zeros, and what else tests draw.
import {
  Tape,
  leaves,
  random,
  transformer,
  type Tensor,
  type Transformer,
  type TransformerOptions,
  type TransformerWeights,
  type Tree,
} from "farsight";

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

/**
 * Adds normal numbers to every parameter. Embeddings and memories get more, so that the first norms divide by about 1
 * and not by the 0.3 that they start with: third derivatives, and with them the error of a difference, stay small.
 */
export function stir<T extends Tree>(params: T, seed = 1): T {
  for (const [path, p] of leaves(params)) {
    const rng = random(seed).fork(path);
    const by = /^(w[tp]e|memory)/.test(path) ? 1.5 : 0.15;
    p.values().set(p.values().map(x => x + by * rng.normal()));
  }
  return params;
}

/** A small decoder and its parameters, stirred. */
export interface Made {
  tape: Tape;
  model: Transformer;
  params: TransformerWeights;
}
export function made(more: TransformerOptions, tape = new Tape("f64", { seed: 5 })): Made {
  const model = transformer({ ...small, ...more });
  return { tape, model, params: stir(model.params(tape)) };
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
