// The reasoning task of RMT (Bulatov et al. 2023, "Scaling transformer to 1M tokens and beyond", section 4.3): two
// facts about which room is where, as in bAbI's two-argument relations (Weston et al. 2015, task 4), and a question
// at the very end.
import { oneOf } from "../check.ts";
import type { Random } from "../random.ts";
import { completed, factsTask, isAmong, PLACES, type FactsOptions, type FactsTask } from "./facts.ts";

/** Each way and its opposite, by number: `i` and `i ^ 1`. */
const WAYS = ["north", "south", "east", "west"];
const FACT = 8; // "the hallway is east of the bathroom ."
const QUESTION = 7; // tokens at most: "what is east of the bathroom ?"

/** Options of `reasoning`: `segment` is 23 at least, `at` "segment" and `facts` "all" unless given. */
export interface ReasoningOptions extends FactsOptions {
  /** How many of the two facts a question needs; "one" unless given. */
  needs?: "one" | "both";
}

/**
 * A text with two facts in it and a question at the end; `place` (0 to 5) and `answer` (its id) say which room, `facts`
 * are the indices of the facts' first tokens, `length` tokens each.
 */
export interface ReasoningSample {
  tokens: number[];
  answer: number;
  place: number;
  facts: number[];
  length: number;
}

/** The task of two facts. */
export type Reasoning = FactsTask<ReasoningSample>;

/** A fact: room x lies that way of room y. */
type Fact = readonly [x: number, way: number, y: number];

/**
 * Whether a sentence is held out: 24 of 120, of which each can be said the other way round, so that no two rooms are
 * told of more rarely than others, and which room lies between two is no likelier than by chance.
 */
function isHeld([x, way, y]: Fact): boolean {
  const from = (x - y + 6) % 6;
  return from === (way % 2 ? 2 : 1);
}

/** Asks for x, or for y, where x lies that way of y. */
const asked = (rng: Random, x: number, way: number, y: number): readonly [place: number, question: string] =>
  rng.integer(2)
    ? [x, `what is ${WAYS[way]} of the ${PLACES[y]} ?`]
    : [y, `what is the ${PLACES[x]} ${WAYS[way]} of ?`];

/**
 * Reasoning with two facts: three rooms lie in a row, of which each fact tells how two neighbours lie, in either order.
 *
 *     const task = reasoning({ segment: 32 });
 *     const { tokens, targets, t } = task.batch(random(1).fork(step), 32, 4); // 32 rows of 4 * 32 tokens
 *     const both = reasoning({ segment: 32, at: "random", needs: "both", facts: "train" });
 *
 * As published, one of the two facts suffices: "the hallway is east of the bathroom .", "the bedroom is west of the
 * bathroom .", "what is the bathroom east of ?" bedroom; facts stand at the starts of random segments, and none is held
 * out. With `needs: "both"` the question is "what is farthest east ?", which who knows one fact guesses half the time:
 * the eastern one of its rooms, unless the other fact goes on from there. Facts held out are sentences that training
 * never shows.
 *
 * The paper draws from 1,000 stories of bAbI (qa4), of which it is known that one fact suffices in each; this draws all
 * stories of their kind. Background and segments are those of `memorize`.
 */
export function reasoning(options: ReasoningOptions): Reasoning {
  const who = "reasoning";
  const sizes = { least: 2 * FACT + QUESTION, at: "segment" } as const;
  const { needs, ...o } = completed(who, options, sizes, { needs: [oneOf("one", "both"), "one"] });
  /** The fact that y lies that way of x, in one of its two sentences; nothing where neither is asked for. */
  function told(rng: Random, x: number, way: number, y: number): string | undefined {
    const both: Fact[] = [
      [y, way, x],
      [x, way ^ 1, y],
    ];
    const among = both.filter(fact => isAmong(o.facts, isHeld(fact)));
    if (!among.length) return undefined;
    const [from, w, of] = rng.choice(among);
    return `the ${PLACES[from]} is ${WAYS[w]} of the ${PLACES[of]} .`;
  }
  function draw(rng: Random) {
    for (;;) {
      const [x, y, z] = rng.shuffle(PLACES.map((_, i) => i)) as [number, number, number];
      const way = rng.integer(4); // of y from x, and of z from y
      const [near, far] = [told(rng, x, way, y), told(rng, y, way, z)];
      if (!near || !far) continue;
      const facts = rng.shuffle([near, far]);
      if (needs === "both") return { facts, place: z, question: `what is farthest ${WAYS[way]} ?` };
      const [a, b] = rng.integer(2) ? [x, y] : [y, z]; // b lies that way of a
      const [place, question] = rng.integer(2) ? asked(rng, b, way, a) : asked(rng, a, way ^ 1, b);
      return { facts, place, question };
    }
  }
  const words = { secret: [...PLACES, ...WAYS], others: "farthest of what the is . ? ," };
  return factsTask(who, o, words, draw, ({ starts, lengths, ...told }) => ({
    ...told,
    facts: starts,
    length: lengths[0]!,
  }));
}
