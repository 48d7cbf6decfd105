// cli.ts: command lines from one table of options. The table is what is parsed, what --help prints and what
// TypeScript knows of the values. Long options, -h and -x shorts, --name value, --name=value, --no-name, and --.
import { parseArgs } from "node:util";
import { writeSync } from "node:fs";

interface About {
  help: string;
  short?: string;
}
interface NumberOption extends About {
  type: "number";
  default?: number;
  min?: number;
  max?: number;
  integer?: boolean;
}
interface StringOption extends About {
  type: "string";
  default?: string;
}
interface BooleanOption extends About {
  type: "boolean";
  default?: boolean;
}
interface ChoiceOption extends About {
  type: "choice";
  choices: readonly string[];
  default?: string;
}
/** An option with its type, default, help and what it may be. */
export type Option = NumberOption | StringOption | BooleanOption | ChoiceOption;

/** Words without a name. `then`: what follows the first of them, where that is something else. */
interface Positional {
  name: string;
  help: string;
  choices?: readonly string[];
  most?: number;
}

/** A program: what it does, how it is called, two examples as [command, what it does], its options. */
export interface Spec {
  name: string; // as a person types it: "npm start --"
  version?: string; // without it there is no --version
  about: string;
  examples: readonly (readonly [string, string])[];
  positionals?: Positional & { then?: Positional };
  options: { readonly [name: string]: Option };
}

type Kind<O> = O extends { type: "number" }
  ? number
  : O extends { type: "boolean" }
    ? boolean
    : O extends { type: "choice"; choices: readonly (infer C)[] }
      ? C
      : string;
type Value<O> = O extends { type: "boolean" } ? boolean : O extends { default: {} } ? Kind<O> : Kind<O> | undefined;
type Place<S> = S extends { positionals: { then: {} } }
  ? string
  : S extends { positionals: { choices: readonly (infer C)[] } }
    ? C
    : string;
/** The values by option. */
export type Values<S extends Spec> = { -readonly [K in keyof S["options"]]: Value<S["options"][K]> };
/** A command line that was understood. */
export type Parsed<S extends Spec> = { values: Values<S>; positionals: Place<S>[] };

/** Reads argv. Never prints and never exits, so that it can be tested; `args` does both. */
export function parse<const S extends Spec>(
  argv: readonly string[],
  spec: S,
): Parsed<S> | { help: string } | { error: string } {
  const options: { [name: string]: Option } = {
    ...spec.options,
    help: { type: "boolean", short: "h", help: "print this and stop" },
    ...(spec.version !== undefined && { version: { type: "boolean", help: "print the version and stop" } }),
  };
  const { tokens } = parseArgs({
    args: [...argv],
    strict: false,
    tokens: true,
    allowPositionals: true,
    options: Object.fromEntries(
      Object.entries(options).map(([name, o]) => [
        name,
        {
          type: o.type === "boolean" ? ("boolean" as const) : ("string" as const),
          ...(o.short && { short: o.short }),
        },
      ]),
    ),
  });
  const values: { [name: string]: unknown } = {};
  for (const [name, o] of Object.entries(spec.options))
    values[name] = o.default ?? (o.type === "boolean" ? false : undefined);
  const positionals: string[] = [];
  const asked = (name: string) => tokens.some(t => t.kind === "option" && t.name === name);
  if (asked("help")) return { help: help(spec, options) };
  if (spec.version !== undefined && asked("version")) return { help: `${spec.version}\n` };
  for (const token of tokens) {
    if (token.kind === "positional") {
      const wrong = misplaced(token.value, positionals.length, spec);
      if (wrong) return { error: wrong };
      positionals.push(token.value);
    } else if (token.kind === "option") {
      const off = !Object.hasOwn(options, token.name) && token.name.startsWith("no-");
      const name = off ? token.name.slice(3) : token.name;
      const option = Object.hasOwn(options, name) ? options[name] : undefined;
      if (!option || (off && option.type !== "boolean")) {
        return { error: `unknown option ${token.rawName}${meant(token.name, Object.keys(options), "--")}` };
      }
      const got = read(token.rawName, option, token.value, token.inlineValue);
      if ("error" in got) return got;
      values[name] = off ? false : got.value;
    }
  }
  return { values: values as Values<S>, positionals: positionals as Place<S>[] };
}

/** What is wrong with a word at a place, if anything. */
function misplaced(word: string, at: number, { positionals }: Spec): string | undefined {
  const later = at > 0 ? positionals?.then : undefined;
  const place = later ?? positionals;
  const most = (place?.most ?? Infinity) + (later ? 1 : 0);
  if (!place || at >= most) return `unexpected argument "${word}"`;
  if (!place.choices || place.choices.includes(word)) return undefined;
  return `unknown ${place.name} "${word}"${meant(word, place.choices)}; it is one of ${place.choices.join(", ")}`;
}

/** One option's text to its value, or what is wrong with it. */
function read(
  name: string,
  o: Option,
  text: string | undefined,
  inline: boolean | undefined,
): { value: unknown } | { error: string } {
  if (o.type === "boolean")
    return text === undefined ? { value: true } : { error: `${name} takes no value, got "${text}"` };
  const number = text !== undefined && /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : NaN;
  // A value that looks like an option is one the caller forgot a value before; -3 is a number and --x=-y is meant.
  if (text === undefined || (!inline && text.startsWith("-") && text !== "-" && Number.isNaN(number)))
    return { error: `${name} needs ${wants(o)}` };
  if (o.type === "choice" && !o.choices.includes(text)) {
    return { error: `${name} wants ${wants(o)}, got "${text}"${meant(text, o.choices)}` };
  }
  if (o.type === "string" && text === "") return { error: `${name} needs ${wants(o)}, got ""` };
  if (o.type !== "number") return { value: text };
  // Beyond 2^53 - 1 a whole number would be taken for another.
  const right = o.integer ? Number.isSafeInteger(number) : Number.isFinite(number);
  const wrong = !right || number < (o.min ?? -Infinity) || number > (o.max ?? Infinity);
  return wrong ? { error: `${name} wants ${wants(o)}, got "${text}"` } : { value: number + 0 };
}

/** What a value must be, in words. */
function wants(o: Option): string {
  if (o.type === "choice") return `one of ${o.choices.join(", ")}`;
  if (o.type !== "number") return "a value";
  const kind = o.integer ? "a whole number" : "a number";
  if (o.min !== undefined && o.max !== undefined) return `${kind} from ${o.min} to ${o.max}`;
  return kind + (o.min !== undefined ? ` of at least ${o.min}` : o.max !== undefined ? ` of at most ${o.max}` : "");
}

/** ", did you mean --seed?" when one of the names is near enough to be a slip, else nothing. */
function meant(got: string, names: readonly string[], prefix = ""): string {
  const near = names.map(name => [distance(got, name), name] as const).sort((a, b) => a[0] - b[0])[0];
  return near && near[0] <= Math.max(1, Math.floor(near[1].length / 3) + 1)
    ? `, did you mean ${prefix}${near[1]}?`
    : "";
}

/** Edits between two words, where swapping two neighbours is one edit (Damerau, restricted). */
function distance(a: string, b: string): number {
  const d = Array.from({ length: a.length + 1 }, (_, i) =>
    Array.from({ length: b.length + 1 }, (_, j) => (i && j ? 0 : i + j)),
  );
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      d[i]![j] = Math.min(d[i - 1]![j]! + 1, d[i]![j - 1]! + 1, d[i - 1]![j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        d[i]![j] = Math.min(d[i]![j]!, d[i - 2]![j - 2]! + 1);
    }
  }
  return d[a.length]![b.length]!;
}

const bracketed = ({ name, most }: Positional): string => ` [${name}${most === 1 ? "" : " ..."}]`;
/** "npm start -- [study ...] [options]" */
export function usage({ name, positionals: place }: Spec): string {
  return `${name}${place ? bracketed(place) : ""}${place?.then ? bracketed(place.then) : ""} [options]`;
}

function help(spec: Spec, options: { [name: string]: Option }): string {
  const rows: [string, string][] = Object.entries(options).map(([name, o]) => {
    const value = o.type === "boolean" ? "" : o.type === "choice" ? ` ${o.choices.join("|")}` : ` <${o.type}>`;
    const sets = o.default === undefined || o.default === false ? "" : ` (default ${o.default})`;
    return [
      `${o.short ? `-${o.short}, ` : ""}--${o.type === "boolean" && o.default ? "no-" : ""}${name}${value}`,
      o.help + (o.default === true ? "" : sets),
    ];
  });
  const place = spec.positionals;
  const places = [place, place?.then].filter(p => p !== undefined);
  rows.unshift(...places.map((p): [string, string] => [p.choices?.join("|") ?? p.name, p.help]));
  const columns = (pairs: readonly (readonly [string, string])[]) => {
    const width = Math.max(...pairs.map(([left]) => left.length));
    return pairs.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`.trimEnd()).join("\n");
  };
  return `${spec.about}\n\nUsage: ${usage(spec)}\n\nExamples\n${columns(spec.examples)}\n\nOptions\n${columns(rows)}\n`;
}

/** Writes to a stream that nobody may be reading, and ends. */
function end(code: number, stream: 1 | 2, text: string): never {
  try {
    writeSync(stream, text);
  } catch {
    process.exit(code || 1);
  }
  process.exit(code);
}

/** Writes to stderr and ends the process. */
export function leave(code: number, text: string): never {
  process.stderr.write(`${text}\n`);
  process.exit(code);
}

/** Parses the command line of this process; prints help or the one-line error, and leaves with 0 or 2. */
export function args<const S extends Spec>(spec: S, argv: readonly string[] = process.argv.slice(2)): Parsed<S> {
  const got = parse(argv, spec);
  if ("help" in got) end(0, 1, got.help);
  if ("error" in got) end(2, 2, `${got.error}\nUsage: ${usage(spec)}    (--help lists the options)\n`);
  return got;
}
