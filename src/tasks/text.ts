// What tasks share about text: how it is split into words, which words are frequent, and the words of ids.
import { items, printed } from "../check.ts";

/** The words and punctuation marks of a text in lower case; `<unk>` stays whole. */
export function tokenise(text: string): string[] {
  return text.toLowerCase().match(/<unk>|[\p{L}\p{N}]+(?:['\u2019]\p{L}+)*|[^\s\p{L}\p{N}]/gu) ?? [];
}

/** A text split at white space, as Wikitext is. A line's end, "\n", is a word of its own. */
export function* split(text: string): Generator<string> {
  for (const [word] of text.matchAll(/\n|\S+/g)) yield word;
}

/** The most frequent of these words that occur `least` times, at most `most`: of equals the one that came first. */
export function frequent(words: Iterable<string>, most: number, least = 1): string[] {
  const times = new Map<string, number>();
  for (const word of words) times.set(word, (times.get(word) ?? 0) + 1);
  return [...times]
    .filter(([, n]) => n >= least)
    .sort((a, b) => b[1] - a[1])
    .slice(0, most)
    .map(([word]) => word);
}

/** What gives the words of ids, to label a picture: "?99" where there is none. */
export const named =
  (who: string, vocab: readonly string[]): ((ids: ArrayLike<number>) => string[]) =>
  ids =>
    items(who, "ids are", ids).map(i => (typeof i === "number" && vocab[i]) || `?${printed(i)}`);
