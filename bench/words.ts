// words.ts: numbers and lists as a person writes them.

/** "4.5 %", with a space that does not break. */
export const percent = (v: number): string => `${Number(v.toFixed(v > 0 && v < 0.05 ? 2 : 1))}\u00a0%`;
/** Three figures. */
export const plain = (v: number): string =>
  v !== 0 && Math.abs(v) < 1e-3 ? v.toExponential(1) : String(Number(v.toPrecision(3)));
/** A value in the unit of its measure. */
export const worth = (measure: { unit: string }, v: number): string => (measure.unit === "%" ? percent(v) : plain(v));
/** Two figures, for "so many times". */
export const times = (x: number): number => Number(x.toPrecision(2));
/** "a, b and c" */
export const join = (words: readonly string[]): string =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
/** "1 segment", "2 segments" */
export const many = (n: number | string, thing: string): string => `${n} ${thing}${Number(n) === 1 ? "" : "s"}`;
/** The first letter a capital. */
export const capital = (words: string): string => words.charAt(0).toUpperCase() + words.slice(1);
/** "three", up to twelve. */
export const spelled = (n: number): string =>
  "no one two three four five six seven eight nine ten eleven twelve".split(" ")[n] ?? String(n);
/** "layers 2, d 48" */
export const brief = (config: { readonly [name: string]: unknown }, between = ", "): string =>
  Object.entries(config)
    .filter(([, v]) => ["string", "number", "boolean"].includes(typeof v))
    .map(([name, v]) => `${name} ${v}`)
    .join(between);
/** The arithmetic mean. */
export const mean = (v: readonly number[]): number => v.reduce((a, b) => a + b, 0) / v.length;
/** A word of a command line, quoted where a shell would take it apart. */
export const quoted = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : JSON.stringify(word));
