// What the tasks share whose samples are a long text with facts in it and a question at its very end, the answer of
// which is one of six places: background, where facts stand, batches.
import { extent, oneOf, options as chosen, refuse, string, whole, type Chosen, type Wants } from "../check.ts";
import { exp, log } from "../math.ts";
import { drawn, type Random } from "../random.ts";
import { frequent, named, tokenise } from "./text.ts";

/** The answers. */
export const PLACES = ["bathroom", "hallway", "garden", "office", "bedroom", "kitchen"];

/** What tasks of facts in a text are made of. */
export interface FactsOptions {
  /** Tokens of a segment, memory not counted; so many that one segment holds the facts and the question. */
  segment: number;
  /**
   * Where facts stand: at the very start, at the start of a random segment each (what the paper's code does), or
   * anywhere, even across two segments.
   */
  at?: "start" | "segment" | "random";
  /** Which facts there are: all, those to train on, or those held out, which training then never shows. */
  facts?: "all" | "train" | "held";
  /**
   * Background text. It is read from a random word on, and again from its first word after its last. By default,
   * made-up words.
   */
  text?: string;
  /** How many words of background the vocabulary has: made-up ones, or the most frequent ones of the text. */
  words?: number;
}

/**
 * Rows of t = segments * segment tokens. Targets are -100 except at each row's last token: the id of its place, which
 * is also in `answers`.
 */
export interface FactsBatch {
  tokens: Int32Array;
  targets: Int32Array;
  answers: Int32Array;
  t: number;
}

/** A task of facts: its vocabulary and its samples, which are functions of a generator's seed and position. */
export interface FactsTask<Sample> {
  readonly vocab: readonly string[];
  readonly size: number;
  readonly segment: number;
  /** The ids of the six places: the classes. Guessing is right once in six. */
  readonly places: readonly number[];
  sample(rng: Random, segments: number): Sample;
  batch(rng: Random, b: number, segments: number): FactsBatch;
  /** The words of ids, to label a picture. */
  words(ids: ArrayLike<number>): string[];
}

/** Distinct pronounceable words, such as "gufo" and "suril": the same ones in every program. */
function invented(count: number): string[] {
  const starts = "bdfghklmnprstvz";
  const vowels = "aeiou";
  const ends = ["", ..."nrls"];
  return Array.from({ length: count }, (_, i) => {
    let n = (i * 9973) % 28125; // 15 * 5 * 15 * 5 * 5 words; a step prime to that visits each once
    let word = "";
    for (const list of [starts, vowels, starts, vowels, ends]) {
      word += list[n % list.length]!;
      n = Math.floor(n / list.length);
    }
    return word;
  });
}

/** The words that are not among `taken`. */
function without(words: readonly string[], taken: readonly string[]): string[] {
  const known = new Set(taken);
  return words.filter(word => !known.has(word));
}

/** `count` words of a book from a random one on, and again from its first after its last. */
function excerpt(rng: Random, count: number, book: Int32Array): number[] {
  const from = rng.integer(book.length);
  return Array.from({ length: count }, (_, i) => book[(from + i) % book.length]!);
}

/** `count` tokens of sentences of 4 to 12 made-up words, of `words` whose ids begin at `base`. */
function sentences(
  rng: Random,
  count: number,
  { words, base, dot, comma }: { words: number; base: number; dot: number; comma: number },
): number[] {
  const spread = log(words + 1);
  const out: number[] = [];
  while (out.length < count) {
    const length = 4 + rng.integer(9);
    const pause = rng.integer(24); // a comma after word 2 to length - 2, in some of the sentences
    for (let i = 1; i <= length; i++) {
      const rank = Math.floor(exp(rng.uniform() * spread)) - 1; // P(rank <= r) = log(r + 2) / log(words + 1)
      out.push(base + Math.min(rank, words - 1));
      if (i === pause && i > 1 && i < length - 1) out.push(comma);
    }
    out.push(dot);
  }
  out.length = count;
  return out;
}

/** What is told and asked: sentences, the question, and which place is the answer. */
interface Tale {
  facts: readonly string[];
  question: string;
  place: number;
}
/** What a text is made of, whatever its facts: where they begin, one by one, and how many tokens each has. */
interface Told {
  tokens: number[];
  answer: number;
  place: number;
  starts: number[];
  lengths: number[];
}

const wants = (least: number, at: "start" | "segment") =>
  ({
    segment: [whole(least)],
    at: [oneOf("start", "segment", "random"), at],
    facts: [oneOf("all", "train", "held"), "all"],
    text: [string, undefined],
    words: [whole(1, 28125), 200],
  }) as const;
type Complete = Chosen<ReturnType<typeof wants>>;

/** Checks options and fills in what was left out; `own` are those that this task alone has. */
export const completed = <const Own extends Wants>(
  who: string,
  options: object,
  { least, at }: { least: number; at: "start" | "segment" },
  own: Own,
) => chosen(who, options, { ...wants(least, at), ...own }) as Complete & Chosen<Own>;

/** Whether a fact that is held out, or not, is among those that were asked for. */
export const isAmong = (facts: Complete["facts"], isHeld: boolean): boolean =>
  facts === "all" || isHeld === (facts === "held");

/** Where each fact begins. Those that would begin at one place follow one another. */
function startsOf(rng: Random, { at, segment }: Complete, lengths: readonly number[], segments: number, room: number) {
  const draws = { start: () => 0, segment: () => segment * rng.integer(segments), random: () => rng.integer(room + 1) };
  const places = lengths.map((_, i) => [draws[at](), i] as const).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const starts: number[] = [];
  let before = 0; // tokens of earlier facts
  let end = 0;
  for (const [place, i] of places) {
    starts[i] = at === "random" ? place + before : Math.max(place, end);
    before += lengths[i]!;
    end = starts[i] + lengths[i]!;
  }
  return { starts, order: places.map(([, i]) => i) };
}

/**
 * A task of the facts that `draw` gives. `secret`: words that do not occur in the background; `others`: those of facts
 * and questions that may.
 */
export function factsTask<Sample extends { tokens: number[]; answer: number }>(
  who: string,
  o: Complete,
  { secret, others }: { secret: readonly string[]; others: string },
  draw: (rng: Random) => Tale,
  made: (told: Told) => Sample,
): FactsTask<Sample> {
  const { segment, text, words } = o;
  const own = ["<pad>", "<unk>", ...secret, ...others.split(" ")];
  const source = text === undefined ? [] : tokenise(text);
  if (text !== undefined && source.length === 0) refuse(RangeError, who, "the text has no words");
  const vocab = [...own, ...(text === undefined ? invented(words) : frequent(without(source, own), words))];
  const ids = new Map(vocab.map((word, i) => [word, i]));
  for (const word of secret) if (text !== undefined) ids.set(word, 1);
  const book = Int32Array.from(source, word => ids.get(word) ?? 1);
  const encode = (sentence: string) => sentence.split(" ").map(word => vocab.indexOf(word));
  const [dot, comma] = encode(". ,") as [number, number];
  const places = encode(PLACES.join(" "));
  const background = { words, base: own.length, dot, comma };

  function sample(rng: Random, segments: number): Sample {
    const { place, ...tale } = draw(rng);
    const [facts, question] = [tale.facts.map(encode), encode(tale.question)];
    const lengths = facts.map(fact => fact.length);
    const room = lengths.reduce((left, n) => left - n, segments * segment - question.length);
    const { starts, order } = startsOf(rng, o, lengths, segments, room);
    const tokens = text === undefined ? sentences(rng, room, background) : excerpt(rng, room, book);
    for (const i of order) tokens.splice(starts[i]!, 0, ...facts[i]!);
    tokens.push(...question);
    return made({ tokens, answer: places[place]!, place, starts, lengths });
  }

  return {
    vocab,
    size: vocab.length,
    segment,
    places,
    sample(rng, segments) {
      extent(who, { segments, segment }, 1);
      return drawn(who, rng, rng => sample(rng, segments));
    },
    batch: (rng, b, segments) =>
      drawn(who, rng, rng => {
        const tokens = new Int32Array(extent(who, { b, segments, segment }, 1));
        const t = segments * segment;
        const targets = new Int32Array(b * t).fill(-100);
        const answers = new Int32Array(b);
        for (let i = 0; i < b; i++) {
          const one = sample(rng, segments);
          tokens.set(one.tokens, i * t);
          targets[(i + 1) * t - 1] = answers[i] = one.answer;
        }
        return { tokens, targets, answers, t };
      }),
    words: named(who, vocab),
  };
}
