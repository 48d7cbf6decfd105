// Language modelling (table 5, figures 3 and 4 of CoPE): a text as ids, random pieces of it to train on, and a
// held-out one read from its beginning, at any length, so that losses can be compared token by token.
import {
  anything,
  extent,
  integer,
  items,
  oneOf,
  options as chosen,
  printed,
  refuse,
  string,
  whole,
} from "../check.ts";
import { drawn, type Random } from "../random.ts";
import type { SequenceBatch } from "./sequences.ts";
import { frequent, named, split } from "./text.ts";

const who = "language";
const UNKNOWN = "<unk>";

/** How a text becomes ids. */
export interface LanguageOptions {
  /**
   * What a token is: a byte of UTF-8 (256 ids, no vocabulary needed), a character (a code point of Unicode), or a word
   * (what lies between white space; a line's end is a word of its own). "bytes" unless given.
   */
  unit?: "bytes" | "characters" | "words";
  /** Of characters and words: the text whose they are. */
  text?: string;
  /** Of a `text`: how many ids there are at most, `<unk>` among them; no bound unless given. */
  size?: number;
  /** Of a `text`: how often a character or word occurs at least, else it reads `<unk>`; 1, Wikitext has 3. */
  least?: number;
  /** Instead of a text: the vocabulary of an earlier task, as a saved model needs it. */
  vocab?: readonly string[];
}

/** Ids, in as few bytes as the vocabulary allows. */
export type Ids = Uint8Array | Uint16Array | Int32Array;

/**
 * Rows of t tokens, each with the token behind it as its target, or -100 where that is not asked. Row i begins at
 * `starts[i]`: its target at place p is token `starts[i] + p + 1` of the text.
 */
export interface LanguageBatch extends SequenceBatch {
  starts: Int32Array;
}

/** How a held-out text is read. */
export interface WindowOptions {
  /**
   * By how many tokens windows move on, and so how many each asks for; t. What is asked for has at least t - stride
   * tokens before it, or, where the text begins, all there are.
   */
  stride?: number;
  /** The first token that is asked for, by its place in the text; 1. */
  from?: number;
  /** Rows of a batch at most; 1. */
  b?: number;
}

/** A way to read texts as ids, and to draw from them. */
export interface Language {
  /** The word of each id. Characters and words: `<unk>`, then the most frequent first, of equals the first to occur. */
  readonly vocab: readonly string[];
  readonly size: number;
  /** A text as ids. What the vocabulary lacks reads `<unk>`; half a surrogate pair reads U+FFFD as bytes. */
  encode(text: string): Ids;
  /** The text of ids; of words, with one blank between two, and none beside a line's end. */
  decode(ids: ArrayLike<number>): string;
  /** b pieces of t tokens that begin anywhere in `ids`. */
  batch(rng: Random, ids: ArrayLike<number>, b: number, t: number): LanguageBatch;
  /**
   * A text from its beginning in windows of t tokens. Every token from place `from` on is asked for once, whatever t
   * and stride are; what comes before is context.
   */
  windows(ids: ArrayLike<number>, t: number, options?: WindowOptions): Generator<LanguageBatch, void, undefined>;
  /** The words of ids, to label a picture. */
  words(ids: ArrayLike<number>): string[];
}

/** Bytes as a picture shows them: printable ASCII as it is, others as in `<0x0A>`. */
const bytes = (): string[] =>
  Array.from({ length: 256 }, (_, i) =>
    i > 32 && i < 127 ? String.fromCharCode(i) : `<0x${i < 16 ? "0" : ""}${i.toString(16).toUpperCase()}>`,
  );

/** A vocabulary from the options, which are complete. */
function vocabulary(o: { unit: string; text?: unknown; size?: unknown; least?: unknown; vocab?: unknown }): string[] {
  const given = (["text", "size", "least", "vocab"] as const).filter(name => o[name] !== undefined);
  const wrong = (why: string, wants: string): never => refuse(RangeError, who, why, wants, given.join(", "));
  if (o.unit === "bytes") return given.length ? wrong("bytes have a vocabulary of their own", "unit alone") : bytes();
  if (o.vocab !== undefined)
    return given.length > 1 ? wrong("a vocabulary is not cut", "vocab alone") : known(o.vocab as string[]);
  if (o.text === undefined) return wrong(`${o.unit} need a vocabulary`, "text or vocab");
  const text = o.text as string;
  const size = (o.size as number | undefined) ?? Infinity;
  const words = frequent(others(o.unit === "words" ? split(text) : text), size - 1, o.least as number | undefined);
  if (!words.length) refuse(RangeError, who, `the text has no ${o.unit}, or none often enough`);
  // A long part of a text keeps all of it in memory: these are copies.
  return [UNKNOWN, ...words.map(word => Array.from(word).join(""))];
}
/** All but `<unk>`, which has an id in any case. */
function* others(words: Iterable<string>): Generator<string> {
  for (const word of words) if (word !== UNKNOWN) yield word;
}
/** Returns a copy of a vocabulary if it is one. */
function known(vocab: readonly string[]): string[] {
  const words = items(who, "vocab is", vocab, "a list of words").map(word => string(who, "a word", word));
  if (words[0] !== UNKNOWN || words.length < 2 || new Set(words).size < words.length)
    refuse(RangeError, who, `vocab is ${printed(words)}`, `${UNKNOWN}, then words, each once`);
  return words;
}

/** Room for n ids of a vocabulary of this size. */
const room = (size: number, n: number): Ids =>
  size <= 256 ? new Uint8Array(n) : size <= 65536 ? new Uint16Array(n) : new Int32Array(n);

/** Returns ids that can be read in place: typed arrays as they are, for they may be long, and copies of others. */
function readable(ids: ArrayLike<number>, t: number): ArrayLike<number> {
  const list = ArrayBuffer.isView(ids) && "length" in ids ? ids : items(who, "ids are", ids, "a list of ids");
  if (list.length <= t) refuse(RangeError, who, `${list.length} ids hold no ${t} and a next one`);
  return list;
}

/** Returns an id if a vocabulary of this size has it. */
const idIn = (size: number, id: unknown): number => integer(who, "an id", id, 0, size - 1);

/** Each part's id, in one typed array. */
function encoded(parts: Iterable<string>, places: ReadonlyMap<string, number>, size: number): Ids {
  let ids = room(size, 1024);
  let n = 0;
  for (const part of parts) {
    if (n === ids.length) {
      const more = room(size, 2 * n);
      more.set(ids);
      ids = more;
    }
    ids[n++] = places.get(part) ?? 0;
  }
  return ids.slice(0, n);
}

/** A row of a batch: the ids from `start` on, of whose targets the last `asked` stand. */
type Row = readonly [start: number, asked: number];
function rowsOf(rows: readonly Row[], ids: ArrayLike<number>, t: number, size: number): LanguageBatch {
  const tokens = new Int32Array(rows.length * t);
  const targets = new Int32Array(rows.length * t);
  rows.forEach(([start, asked], i) => {
    for (let p = 0; p < t; p++) {
      tokens[i * t + p] = idIn(size, ids[start + p]);
      targets[i * t + p] = p < t - asked ? -100 : idIn(size, ids[start + p + 1]);
    }
  });
  return { tokens, targets, starts: Int32Array.from(rows, ([start]) => start), t };
}

/** The rows of windows, at most b at a time. */
function* windowsOf(
  n: number,
  t: number,
  { stride, from, b }: { stride: number; from: number; b: number },
): Generator<Row[]> {
  const last = n - 1;
  for (let next = from; next <= last;) {
    const rows: Row[] = [];
    while (rows.length < b && next <= last) {
      const end = Math.min(Math.max(next + stride - 1, t), last); // the last token that this window asks for
      rows.push([end - t, end - next + 1]);
      next = end + 1;
    }
    yield rows;
  }
}

/**
 * Language modelling.
 *
 *     const task = language({ unit: "words", text, size: 10_000 });
 *     const ids = task.encode(text);
 *     const { tokens, targets, t } = task.batch(random(1).fork(step), ids, 16, 256);
 *
 * The same tokens of a held-out text with once, twice, four and eight times the context (figure 3):
 *
 *     const held = task.encode(heldOut);
 *     for (const t of [256, 512, 1024, 2048])
 *       for (const { tokens, targets } of task.windows(held, t, { stride: 128, from: 2048 - 127 })) ...
 *
 * With L the mean loss in nats, a token's perplexity is exp(L), and a byte takes L / ln 2 bits if tokens are bytes,
 * else as many times tokens / bytes. An id takes one, two or four bytes, and nothing is kept for each token beside it.
 */
export function language(options: LanguageOptions = {}): Language {
  const given = chosen(who, options, {
    unit: [oneOf("bytes", "characters", "words"), "bytes"],
    text: [string, undefined],
    size: [whole(2, 2147483647), undefined],
    least: [whole(1), undefined],
    vocab: [anything, undefined],
  });
  const { unit } = given;
  const vocab = vocabulary(given);
  const size = vocab.length;
  const places = new Map(unit === "bytes" ? [] : vocab.map((word, i) => [word, i] as const));
  return {
    vocab,
    size,
    encode(text) {
      string(who, "text", text);
      if (unit === "bytes") return new TextEncoder().encode(text);
      return encoded(unit === "words" ? split(text) : text, places, size);
    },
    decode(ids) {
      const list = items(who, "ids are", ids, "a list of ids").map(id => idIn(size, id));
      if (unit === "bytes") return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(list));
      const words = list.map(i => vocab[i]!);
      return unit === "words" ? words.join(" ").replace(/ ?\n ?/g, "\n") : words.join("");
    },
    batch: (rng, ids, b, t) =>
      drawn(who, rng, rng => {
        extent(who, { b, t }, 1);
        const list = readable(ids, t);
        const rows = Array.from({ length: b }, (): Row => [rng.integer(list.length - t), t]);
        return rowsOf(rows, list, t, size);
      }),
    windows(ids, t, options = {}) {
      integer(who, "t", t, 1);
      const list = readable(ids, t);
      const o = chosen(who, options, {
        stride: [whole(1, t), t],
        from: [whole(1, list.length - 1), 1],
        b: [whole(1), 1],
      });
      extent(who, { b: o.b, t }, 1);
      return (function* () {
        for (const rows of windowsOf(list.length, t, o)) yield rowsOf(rows, list, t, size);
      })();
    },
    words: named(who, vocab),
  };
}
