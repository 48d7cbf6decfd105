// The algorithmic tasks of RMT whose answer is what was read (Bulatov et al. 2022, "Recurrent memory transformer",
// 2207.06881, section 4 and appendix A.1): copy, reverse and associative retrieval, in the ids and lengths of its code.
import { options as chosen, whole } from "../check.ts";
import type { Random } from "../random.ts";
import { sequences, type Sequence, type SequenceTask } from "./sequences.ts";

/** Ids of `copyTwice` and `reversal`: a word that is never used, the marker, then the symbols. */
const SYMBOLS = Array.from("_>ABCDEFGH");
const MARKER = 1;
const FIRST = 2;

/** What sequences look like. */
export interface RecallOptions {
  /** How many symbols are read; 24, and in the paper also 40, 120, 240 and 360. */
  symbols?: number;
}

/** What was read, the marker, and the answer but for its last token, with targets where the answer is asked for. */
function answered(read: readonly number[], marker: number, answer: readonly number[]): Sequence {
  const targets = [...read.map(() => -100), ...answer];
  return { tokens: [...read, marker, ...answer.slice(0, -1)], targets };
}

/** The task whose answer is `answerOf` of so many symbols; the answer is `times` as long. */
function recalled(
  who: string,
  options: RecallOptions,
  times: number,
  answerOf: (symbols: readonly number[]) => number[],
): SequenceTask {
  const { symbols: n } = chosen(who, options, { symbols: [whole(1, 1048576), 24] });
  return sequences(who, SYMBOLS, (1 + times) * n, (rng: Random) => {
    const symbols = Array.from({ length: n }, () => FIRST + rng.integer(SYMBOLS.length - FIRST));
    return answered(symbols, MARKER, answerOf(symbols));
  });
}

/**
 * Copy: eight symbols in any order, answered twice over: `B A C >` by `B A C B A C`. A sequence has 3 * symbols tokens:
 * the symbols, the marker, and the answer but for its last. Guessing is right once in eight.
 *
 *     const { tokens, targets, t } = copyTwice().batch(random(1).fork(step), 32); // 32 rows of 72 tokens
 *
 * Unlike `selectiveCopy` nothing lies between the symbols. The paper cuts 72 tokens into 3, 6 or 9 segments.
 */
export const copyTwice = (options: RecallOptions = {}): SequenceTask =>
  recalled("copyTwice", options, 2, symbols => [...symbols, ...symbols]);

/**
 * Reverse: eight symbols in any order, answered from the last to the first. A sequence has 2 * symbols tokens: the
 * symbols, the marker, and the answer but for its last. Guessing is right once in eight.
 *
 *     const { tokens, targets, t } = reversal().batch(random(1).fork(step), 32); // 32 rows of 48 tokens
 */
export const reversal = (options: RecallOptions = {}): SequenceTask =>
  recalled("reversal", options, 1, symbols => [...symbols].reverse());

/** What is retrieved. */
export interface AssociativeRetrievalOptions {
  /** How many letters have a digit; 4. No two letters are the same, nor two digits. */
  pairs?: number;
}

/**
 * Associative retrieval (Ba et al. 2016): letters with a digit each, then one of the letters, which is answered by its
 * digit: `c 9 k 8 j 3 f 1 c >` by `9`. A sequence has 2 * pairs + 2 tokens, and its last one alone is asked for.
 *
 *     const { tokens, targets, t } = associativeRetrieval().batch(random(1).fork(step), 32); // 32 rows of 10 tokens
 */
export function associativeRetrieval(options: AssociativeRetrievalOptions = {}): SequenceTask {
  const who = "associativeRetrieval";
  const { pairs } = chosen(who, options, { pairs: [whole(1, 10), 4] });
  const vocab = Array.from("0123456789>abcdefghijklmnopqrstuvwxyz");
  const ids = Array.from(vocab.keys());
  return sequences(who, vocab, 2 * pairs + 2, rng => {
    const digits = rng.shuffle(ids.slice(0, 10));
    const letters = rng.shuffle(ids.slice(11));
    const asked = rng.integer(pairs);
    const read = Array.from({ length: pairs }, (_, i) => [letters[i]!, digits[i]!]).flat();
    return answered([...read, letters[asked]!], 10, [digits[asked]!]);
  });
}
