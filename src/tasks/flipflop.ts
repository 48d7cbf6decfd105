// The flip-flop task (Liu et al. 2023, "Exposing attention glitches with flip-flop language modeling", 2306.00946;
// table 2 of CoPE): what was last written is read back, however much was to be ignored in between.
import { options as chosen, real, whole } from "../check.ts";
import type { Random } from "../random.ts";
import { sequences, type Sequence, type SequenceTask } from "./sequences.ts";

const who = "flipFlop";
const WRITE = 0;
const READ = 1;
const IGNORE = 2;
const ZERO = 3; // the id of the bit 0

/** What sequences look like. */
export interface FlipFlopOptions {
  /** How many instructions a sequence has, of two tokens each; 256. */
  instructions?: number;
  /** How likely an instruction is `i`; 0.8. `w` and `r` share the rest. */
  ignore?: number;
}

/**
 * Flip-flop language, FFL(ignore): instructions `w` (write), `r` (read) and `i` (ignore), a bit behind each. The bit
 * behind `r` is the one behind the last `w`; all others are random. The first instruction is `w`, the last `r`. A
 * sequence has 2 * instructions tokens; words are `w r i 0 1`.
 *
 *     const task = flipFlop();
 *     const { tokens, targets, t } = task.batch(random(1).fork(step), 16); // 16 rows of 512 tokens
 *     const [dense, sparse] = [flipFlop({ ignore: 0.1 }), flipFlop({ ignore: 0.98 })]; // fewer, more
 *
 * Targets stand at `r` alone, since nothing else can be known; guessing is right half the time. Ids are those of the
 * published data set (synthseq/flipflop).
 */
export function flipFlop(options: FlipFlopOptions = {}): SequenceTask {
  const { instructions, ignore } = chosen(who, options, {
    instructions: [whole(2, 1048576), 256],
    ignore: [real("from 0 to 1"), 0.8],
  });
  const vocab = Array.from("wri01");
  const t = 2 * instructions;
  const last = instructions - 1;

  function instruction(rng: Random): number {
    const u = rng.uniform();
    if (u < ignore) return IGNORE;
    return u < (1 + ignore) / 2 ? WRITE : READ;
  }
  function sample(rng: Random): Sequence {
    const tokens: number[] = [];
    const targets: number[] = [];
    let written = 0;
    for (let i = 0; i <= last; i++) {
      const word = i === 0 ? WRITE : i === last ? READ : instruction(rng);
      const bit = word === READ ? written : ZERO + rng.integer(2);
      if (word === WRITE) written = bit;
      tokens.push(word, bit);
      targets.push(word === READ ? bit : -100, -100);
    }
    return { tokens, targets };
  }

  return sequences(who, vocab, t, sample);
}
