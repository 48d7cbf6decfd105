// ledger.ts: the results of a table, a line of JSON each, in one file that any number of processes add to. A line goes
// in under a lock: an append is one write, but neither long lines nor folders that machines share promise that two of
// them do not mix. One file a shard would have to be merged by someone, and a reader would have to know of all.
import { setTimeout } from "node:timers/promises";
import { appendLine, readFile, reason, saveFile } from "../files.ts";
import { isHeld, lock } from "../lock.ts";
import { parsed, type Entry } from "../records.ts";

/** What a file of results holds. */
export interface Ledger {
  /** By identity; of several the last. */
  results: Map<string, Entry>;
  /** Lines that are no results: what a killed process left of one. */
  torn: number;
}

/** The identity under which a result was recorded. */
export const identified = (e: Entry): string => String(e["identity"]);

/** Reads a file of results, which need not be there. */
export function ledger(path: string): Ledger {
  const text = Buffer.from(readFile(path) ?? "").toString("utf8");
  const found = parsed(text).filter(e => e.type === "cell");
  const results = new Map(found.map(e => [identified(e), e]));
  return { results, torn: text.split("\n").filter(Boolean).length - found.length };
}

/** Milliseconds to wait for another process that writes. */
const PATIENCE = 60_000;

/** Holds a lock while `body` runs, once whoever has it is done. */
async function locked<T>(path: string, body: () => T): Promise<T> {
  const since = performance.now();
  for (;;) {
    let release: () => void;
    try {
      release = lock(path);
    } catch (error) {
      if (!isHeld(error) || performance.now() - since > PATIENCE)
        throw new Error(`could not lock ${path}: ${reason(error as NodeJS.ErrnoException)}`, { cause: error });
      await setTimeout(10 + 20 * Math.random());
      continue;
    }
    try {
      return body();
    } finally {
      release();
    }
  }
}

/**
 * Adds a result, at once and to the disk itself. Where there is one of the same identity, `again` decides: it is
 * replaced, or it stays and nothing is added. Whether the file changed.
 */
export const record = (path: string, result: Entry, again: boolean): Promise<boolean> =>
  locked(`${path}.lock`, () => {
    const line = JSON.stringify(result);
    if (!ledger(path).results.has(identified(result))) {
      appendLine(path, line);
      return true;
    }
    if (!again) return false;
    const isOther = (text: string): boolean => {
      const [e] = parsed(text);
      return e === undefined || identified(e) !== identified(result);
    };
    const kept = Buffer.from(readFile(path)!)
      .toString("utf8")
      .split("\n")
      .filter(text => text && isOther(text));
    saveFile(path, `${[...kept, line].join("\n")}\n`);
    return true;
  });
