// The memory tasks of RMT (Bulatov et al. 2023, "Scaling transformer to 1M tokens and beyond", section 4): one fact in
// much text, and a question at the very end. Words stand in for the paper's BERT tokens, and made-up text for its
// background.
import type { Random } from "../random.ts";
import { completed, factsTask, isAmong, PLACES, type FactsBatch, type FactsOptions, type FactsTask } from "./facts.ts";

const NAMES = ["mary", "john", "daniel", "sandra"];
const VERBS = ["moved", "went", "went back", "journeyed", "travelled"];
const FACT = 7;
const QUESTION = 4; // tokens at most: "mary went back to the garden ." and "where is mary ?"

/** Options of `memorize`: `segment` is 11 at least, `at` "start" and `facts` "all" unless given. */
export type MemorizeOptions = FactsOptions;

/**
 * A text with a fact in it and its question at the end; `place` (0 to 5) and `answer` (its id) say where, `fact` is the
 * index of the fact's first token.
 */
export interface MemorizeSample {
  tokens: number[];
  answer: number;
  place: number;
  name: number;
  fact: number;
  length: number;
}
/** A batch of `memorize`. */
export type MemorizeBatch = FactsBatch;
/** The task of remembering one fact. */
export type Memorize = FactsTask<MemorizeSample>;

/** Whether it is held out that this one went there: of each place one name, so that answers are as likely. */
const isHeld = (name: string, place: number): boolean => (NAMES.indexOf(name) + place) % 4 === 3;

/**
 * Memorize, or detect and memorize: "mary moved to the garden ." somewhere in a text of `segments` segments, "where is
 * mary ?" at its end.
 *
 *     const task = memorize({ segment: 64 });
 *     const { tokens, targets, t } = task.batch(random(1).fork(step), 32, 4); // 32 rows of 4 * 64 tokens
 *
 * As published, detecting is `at: "segment"`: the paper's random place is the start of a random segment, and training
 * has all 120 facts. Stricter is `at: "random"`, trained with `facts: "train"` and tested with `facts: "held"`: who
 * went where in the one never did in the other.
 *
 * Names, verbs and places are the paper's. None of their words occurs in the background: in a text of yours they read
 * `<unk>`, which the paper does not do. Made-up background has sentences of 4 to 12 words, the r-th word about as often
 * as 1/r. The paper's fact at a random place overwrites the background, here it is put between; the length is exact
 * either way.
 */
export function memorize(options: MemorizeOptions): Memorize {
  const who = "memorize";
  const o = completed(who, options, { least: FACT + QUESTION, at: "start" }, {});
  const secret = [...PLACES, ...NAMES, ...new Set(VERBS.join(" ").split(" "))];
  function draw(rng: Random) {
    for (;;) {
      const name = rng.choice(NAMES);
      const verb = rng.choice(VERBS);
      const place = rng.integer(PLACES.length);
      if (isAmong(o.facts, isHeld(name, place)))
        return { place, facts: [`${name} ${verb} to the ${PLACES[place]} .`], question: `where is ${name} ?` };
    }
  }
  return factsTask(who, o, { secret, others: "to the where is . ? ," }, draw, ({ starts, lengths, ...told }) => {
    const fact = starts[0]!;
    return { ...told, name: told.tokens[fact]!, fact, length: lengths[0]! };
  });
}
