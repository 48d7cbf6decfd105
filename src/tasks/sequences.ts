// What tasks share whose samples are rows of one length, with a target for each token.
import { extent } from "../check.ts";
import { drawn, type Random } from "../random.ts";
import { named } from "./text.ts";

/** One sequence, and what is asked for at each of its tokens: an id, or -100 where nothing is. */
export interface Sequence {
  tokens: number[];
  targets: number[];
}

/** b sequences, rows of t tokens [b * t], and their targets [b * t]. */
export interface SequenceBatch {
  tokens: Int32Array;
  targets: Int32Array;
  t: number;
}

/** A task of sequences: its vocabulary and its samples, which are functions of a generator's seed and position. */
export interface SequenceTask {
  /** The word of each id. */
  readonly vocab: readonly string[];
  readonly size: number;
  sample(rng: Random): Sequence;
  batch(rng: Random, b: number): SequenceBatch;
  /** The words of ids, to label a picture. */
  words(ids: ArrayLike<number>): string[];
}

/** The task of sequences of t tokens that `sample` draws. */
export function sequences(
  who: string,
  vocab: readonly string[],
  t: number,
  sample: (rng: Random) => Sequence,
): SequenceTask {
  return {
    vocab,
    size: vocab.length,
    sample: rng => drawn(who, rng, sample),
    batch: (rng, b) =>
      drawn(who, rng, rng => {
        const tokens = new Int32Array(extent(who, { b, t }, 1));
        const targets = new Int32Array(b * t);
        for (let i = 0; i < b; i++) {
          const one = sample(rng);
          tokens.set(one.tokens, i * t);
          targets.set(one.targets, i * t);
        }
        return { tokens, targets, t };
      }),
    words: named(who, vocab),
  };
}
