// The memory tasks of RMT (Bulatov et al. 2023, "Scaling transformer to 1M tokens and beyond", section 4): one fact in
// much text, and a question at the very end. Words stand in for the paper's BERT tokens, and made-up text for its
// background.
import { extent, oneOf, options as chosen, refuse, string, whole } from "../check.ts";
import { exp, log } from "../math.ts";
import { drawn, type Random } from "../random.ts";
import { frequent, named, tokenise } from "./text.ts";

const NAMES = ["mary", "john", "daniel", "sandra"];
const VERBS = ["moved", "went", "went back", "journeyed", "travelled"];
const PLACES = ["bathroom", "hallway", "garden", "office", "bedroom", "kitchen"];
const FACT = 7;
const QUESTION = 4; // tokens at most: "mary went back to the garden ." and "where is mary ?"

const who = "memorize";

/** What the task is made of. */
export interface MemorizeOptions {
  /** Tokens of a segment, memory not counted; at least 11, so that one segment holds the fact and the question. */
  segment: number;
  /**
   * Where the fact stands: at the very start ("memorize"), at the start of a random segment ("detect and memorize"), or
   * anywhere, even across two segments.
   */
  at?: "start" | "segment" | "random";
  /**
   * Background text. It is read from a random word on, and again from its first word after its last. By default,
   * made-up words.
   */
  text?: string;
  /** How many words of background the vocabulary has: made-up ones, or the most frequent ones of the text. */
  words?: number;
}

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

/**
 * Rows of t = segments * segment tokens. Targets are -100 except at each row's last token: the id of its place, which
 * is also in `answers`.
 */
export interface MemorizeBatch {
  tokens: Int32Array;
  targets: Int32Array;
  answers: Int32Array;
  t: number;
}

/** A task of remembering: its vocabulary and its samples, which are functions of a generator's seed and position. */
export interface Memorize {
  readonly vocab: readonly string[];
  readonly size: number;
  readonly segment: number;
  /** The ids of the six places: the classes. Guessing is right once in six. */
  readonly places: readonly number[];
  sample(rng: Random, segments: number): MemorizeSample;
  batch(rng: Random, b: number, segments: number): MemorizeBatch;
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

/**
 * Memorize, or detect and memorize: "mary moved to the garden ." somewhere in a text of `segments` segments, "where is
 * mary ?" at its end.
 *
 *     const task = memorize({ segment: 64 });
 *     const { tokens, targets, t } = task.batch(random(1).fork(step), 32, 4); // 32 rows of 4 * 64 tokens
 *
 * Names, verbs and places are the paper's, 120 facts in all. None of their words occurs in the background: in a text of
 * yours they read `<unk>`, which the paper does not do. Made-up background has sentences of 4 to 12 words, the r-th
 * word about as often as 1/r. The paper's fact at a random place overwrites the background, here it is put between; the
 * length is exact either way.
 */
export function memorize(options: MemorizeOptions): Memorize {
  const { segment, at, text, words } = chosen(who, options, {
    segment: [whole(FACT + QUESTION)],
    at: [oneOf("start", "segment", "random"), "start"],
    text: [string, undefined],
    words: [whole(1, 28125), 200],
  });
  const secret = [...PLACES, ...NAMES, ...new Set(VERBS.join(" ").split(" "))];
  const own = ["<pad>", "<unk>", ...secret, "to", "the", "where", "is", ".", "?", ","];
  const source = text === undefined ? [] : tokenise(text);
  if (text !== undefined && source.length === 0) refuse(RangeError, who, "the text has no words");
  const vocab = [...own, ...(text === undefined ? invented(words) : frequent(without(source, own), words))];
  const ids = new Map(vocab.map((word, i) => [word, i]));
  for (const word of secret) if (text !== undefined) ids.set(word, 1);
  const book = Int32Array.from(source, word => ids.get(word) ?? 1);
  const encode = (sentence: string) => sentence.split(" ").map(word => vocab.indexOf(word));
  const [dot, comma] = encode(". ,") as [number, number];
  const places = encode(PLACES.join(" "));
  const made = { words, base: own.length, dot, comma };

  function sample(rng: Random, segments: number): MemorizeSample {
    const total = segments * segment;
    const name = rng.choice(NAMES);
    const verb = rng.choice(VERBS);
    const place = rng.integer(places.length);
    const statement = encode(`${name} ${verb} to the ${PLACES[place]} .`);
    const question = encode(`where is ${name} ?`);
    const room = total - statement.length - question.length;
    const fact = at === "start" ? 0 : at === "segment" ? segment * rng.integer(segments) : rng.integer(room + 1);
    const tokens = text === undefined ? sentences(rng, room, made) : excerpt(rng, room, book);
    tokens.splice(fact, 0, ...statement);
    tokens.push(...question);
    return { tokens, answer: places[place]!, place, name: statement[0]!, fact, length: statement.length };
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
