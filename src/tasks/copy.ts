// The selective copy task (Gu and Dao 2023, "Mamba", 2312.00752, section 4.1.1; table 2 of CoPE): everything but the
// blanks is said again, in order.
import { options as chosen, whole } from "../check.ts";
import type { Random } from "../random.ts";
import { sequences, type Sequence, type SequenceTask } from "./sequences.ts";

const who = "selectiveCopy";
const BLANK = 0;

/** What sequences look like. */
export interface SelectiveCopyOptions {
  /** How many symbols are to be copied; 256. */
  symbols?: number;
  /** How many blanks lie among them; 256. */
  blanks?: number;
  /** How many ids there are, blank and marker included; 16, so 14 different symbols. */
  vocab?: number;
}

/** A, B, ..., Z, AA, AB, ... */
const letters = (i: number): string =>
  (i < 26 ? "" : letters(Math.floor(i / 26) - 1)) + String.fromCharCode(65 + (i % 26));

/**
 * Selective copy: `D _ B B _ _ C >` is answered by `D B B C`. Symbols are drawn uniformly, and each choice of their
 * places among the blanks is as likely as any other. A sequence has 2 * symbols + blanks tokens: symbols and blanks,
 * the marker, and the copy but for its last symbol. Targets, -100 before the marker, are the symbols in order: each is
 * asked for once all before it are given. Words are `_`, the blank, then `A`, `B`, ..., and last `>`, the marker.
 *
 *     const task = selectiveCopy();
 *     const { tokens, targets, t } = task.batch(random(1).fork(step), 8); // 8 rows of 768 tokens
 *     const [dense, sparse] = [selectiveCopy({ blanks: 128 }), selectiveCopy({ blanks: 512 })]; // fewer, more
 *
 * As much of CoPE's text as is known does not tell how a model hears that the input has ended. Here a marker says so,
 * once: where the number of blanks changes, neither a place nor a count of tokens does, and without a sign the first
 * symbol of the copy could as well be the next of the input. Ids are those of the generator behind Mamba's experiment
 * (S4's copying.py), which has a marker for each symbol of the copy: 0 is blank, the last the marker. Guessing is right
 * once in vocab - 2. Of errors by symbol and by sequence (`mistakes` counts both) the paper's is probably the second.
 */
export function selectiveCopy(options: SelectiveCopyOptions = {}): SequenceTask {
  const {
    symbols,
    blanks,
    vocab: size,
  } = chosen(who, options, {
    symbols: [whole(1, 1048576), 256],
    blanks: [whole(0, 1048576), 256],
    vocab: [whole(3, 65536), 16],
  });
  const vocab = ["_", ...Array.from({ length: size - 2 }, (_, i) => letters(i)), ">"];
  const t = 2 * symbols + blanks;

  function sample(rng: Random): Sequence {
    const tokens: number[] = [];
    const copy: number[] = [];
    for (let places = symbols + blanks; places > 0; places--) {
      const left = symbols - copy.length; // so many of the places are a symbol's
      const id = rng.integer(places) < left ? 1 + rng.integer(size - 2) : BLANK;
      if (id !== BLANK) copy.push(id);
      tokens.push(id);
    }
    const targets = new Array<number>(tokens.length).fill(-100);
    for (let i = 0; i < symbols; i++) {
      tokens.push(i ? copy[i - 1]! : size - 1);
      targets.push(copy[i]!);
    }
    return { tokens, targets };
  }

  return sequences(who, vocab, t, sample);
}
