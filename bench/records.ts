// records.ts: the lines of JSON that a run leaves, and how to read what may be missing from them.

/** One line of a run. Unknown types and fields are ignored. */
export type Entry = { readonly type: string; readonly [field: string]: unknown };
/** What a result holds under metrics, paper or config. */
export type Numbers = { readonly [name: string]: unknown };

/** A finite number, or nothing. */
export const num = (v: unknown): number | undefined => (typeof v === "number" && Number.isFinite(v) ? v : undefined);
/** An object's fields; of anything else none. */
export const bag = (v: unknown): Numbers => (typeof v === "object" && v !== null ? (v as Numbers) : {});
/** An array's items; of anything else none. */
export const list = (v: unknown): readonly unknown[] => (Array.isArray(v) ? v : []);

/** The records of one type and one study. */
export const of = (records: readonly Entry[], type: string, study: string): Entry[] =>
  records.filter(r => r?.type === type && r["study"] === study);

/** Lines of JSON to records. A line that is no JSON, such as the last of an interrupted run, is left out. */
export function parsed(text: string): Entry[] {
  return text.split("\n").flatMap(line => {
    try {
      const value: unknown = JSON.parse(line);
      return typeof bag(value)["type"] === "string" ? [value as Entry] : [];
    } catch {
      return [];
    }
  });
}
