// check.ts: every check of an argument, and the one form of the library's errors: who complains, what is wrong with
// which values, then what was wanted and what was got.

/** TypeError for a wrong kind, RangeError for a wrong size or value, Error for a wrong order of calls. */
export type Kind = new (message: string, options?: ErrorOptions) => Error;

/** Throws `who: why`, with a line for what was wanted and one for what was got, where they are given. */
export function refuse(kind: Kind, who: string, why: string, wants = "", got = "", cause?: unknown): never {
  const lines = `${who}: ${why}${wants && `\n  wants ${wants}`}${got && `\n  got   ${got}`}`;
  throw cause === undefined ? new kind(lines) : new kind(lines, { cause });
}

/** What `read` gives, or `otherwise` where that throws, as a Proxy or a getter may. */
export function safely<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch {
    return otherwise;
  }
}

/** What an object has under a name, nothing where it has none or cannot be read. */
export function get(from: unknown, name: string | symbol): unknown {
  try {
    return (from as Record<string | symbol, unknown> | null | undefined)?.[name];
  } catch {
    return undefined;
  }
}

/** "Array", "Object", "Float32Array" and so on, of any value and also of another realm (a frame, a vm). */
export const kindOf = (value: unknown): string =>
  safely(() => Object.prototype.toString.call(value).slice(8, -1), "something unreadable");

/** A value as errors print it: one line of some 60 characters, whatever it is, and no code that it holds. */
export function printed(value: unknown): string {
  const list = safely(() => (Array.isArray(value) ? value.slice(0, 9) : undefined), undefined);
  if (!list) return short(value, 60);
  return `[${list.map((v, i) => (i < 8 ? short(v, 20) : "...")).join(" ")}]`;
}
function short(value: unknown, most: number): string {
  const cut = (text: string): string => (text.length > most + 2 ? `${text.slice(0, most)}...` : text);
  if (typeof value === "string") return JSON.stringify(value.length > most ? `${value.slice(0, most)}...` : value);
  return cut(safely(() => described(value), kindOf(value)));
}
function described(value: unknown): string {
  if (typeof value === "function") return "a function";
  if (typeof value !== "object" || value === null) return String(value).replace(/\s/g, " ");
  const mark = markOf(value);
  if (!mark) return kindOf(value);
  if (mark === COPY) return `Tensor ${shapeOf(value as Live)}`;
  return `a tensor ${mark === PROXY ? "behind a Proxy" : "of another copy of farsight"}`;
}

/** A name as errors print it: itself where it is a plain word. */
export const label = (name: unknown): string =>
  typeof name === "string" && /^[\w.:/-]{1,99}$/.test(name) ? name : printed(name);

/** A shape as errors and listings print it. */
export const shapeOf = (t: { readonly shape: readonly number[] }): string => `[${t.shape.join(" ")}]`;

/** The largest of a list of numbers from 0, which may be longer than a call's arguments; 0 of none. */
export const largest = (list: readonly number[]): number => list.reduce((a, b) => Math.max(a, b), 0);

/** How many numbers a shape holds. */
export function product(shape: readonly number[]): number {
  let n = 1;
  for (let i = 0; i < shape.length; i++) n *= shape[i]!;
  return n;
}

/** Gives back `value` if it is what is wanted, else refuses it in the name of `who`. */
export type Check<T> = (who: string, name: string, value: unknown) => T;
/** Options by name: how each is checked, and what it is where it is left out; one without the second is needed. */
export type Wants = { readonly [name: string]: readonly [check: Check<unknown>, otherwise?: unknown] };
/** Options, complete. */
export type Chosen<W extends Wants> = {
  -readonly [K in keyof W]: W[K] extends readonly [Check<infer T>, infer D] ? Widened<T | D> : ReturnType<W[K][0]>;
};
type Widened<T> = T extends number ? number : T extends boolean ? boolean : T;

/** The options that were given, each read once, if they are a plain object with no names but those wanted. */
export function read(who: string, given: unknown, wants: object): Readonly<Record<string, unknown>> {
  let own: Record<string, unknown> | undefined;
  let cause: unknown;
  try {
    const above = Object.getPrototypeOf(given) as object | null;
    if (above === null || Object.getPrototypeOf(above) === null) own = { ...(given as object) };
  } catch (error) {
    cause = error;
  }
  if (!own) refuse(TypeError, who, `the options are ${printed(given)}`, `an object with ${names(wants)}`, "", cause);
  // Twice as fast as a list of all keys: every operation with options comes by here.
  for (const key in own) if (!Object.hasOwn(wants, key) && Object.hasOwn(own, key)) unknown(who, key, wants);
  for (const key of Object.getOwnPropertySymbols(own)) unknown(who, key, wants);
  return own;
}
const names = (wants: object): string => Object.keys(wants).join(", ");
function unknown(who: string, key: unknown, wants: object): never {
  refuse(RangeError, who, `unknown option ${label(key)}`, names(wants) || "none");
}

/**
 * Checks the options of a function, `undefined` counting as left out, and fills in those that were; those of the option
 * `of`, if they are of one.
 */
export function options<const W extends Wants>(who: string, given: unknown, wants: W, of = ""): Chosen<W> {
  const own = read(of ? `${who}, ${of}` : who, given, wants);
  // Filled in anew: where names come behind those of a literal, V8 takes 2 microseconds.
  const made: Record<string, unknown> = {};
  for (const name in wants) {
    const want = wants[name]!;
    const value = own[name];
    made[name] = value === undefined && want.length > 1 ? want[1] : want[0](who, of ? `${of}.${name}` : name, value);
  }
  return made as Chosen<W>;
}

/** Returns `value` if it is an integer from `least` to `most`. */
export function integer(
  who: string,
  name: string,
  value: unknown,
  least = 0,
  most: number = Number.MAX_SAFE_INTEGER,
): number {
  const holds = Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most;
  return holds ? (value as number) : notNumber(who, name, value, `an integer from ${least} to ${most}`);
}
/** Checks for an integer from `least` to `most`. */
export const whole =
  (least = 0, most?: number): Check<number> =>
  (who, name, value) =>
    integer(who, name, value, least, most);

/** Refuses what is no such number. */
export function notNumber(who: string, name: string, value: unknown, wants: string): never {
  refuse(typeof value === "number" ? RangeError : TypeError, who, `${name} is ${printed(value)}`, wants);
}

/** How many numbers there are of such sizes, by name: no more than a tape can hold. */
export function extent(who: string, sizes: Readonly<Record<string, unknown>>, least = 0): number {
  let n = 1;
  for (const name in sizes) n *= integer(who, name, sizes[name], least);
  return integer(who, Object.keys(sizes).join(" x "), n, 0, 536870912);
}

/** Checks for a number in bounds, as in "from 0", "above 0" or "from 0 to below 1"; any that is finite unless given. */
export function real(bounds = "that is finite"): Check<number> {
  const [low = -Infinity, high = Infinity] = (bounds.match(/-?[\d.]+(e-?\d+)?/g) ?? []).map(Number);
  const open = bounds.startsWith("above");
  const below = bounds.includes("below");
  const endless = bounds.endsWith("Infinity");
  return (who, name, value) => {
    const x = typeof value === "number" ? value : NaN;
    const inside = (open ? x > low : x >= low) && (below ? x < high : x <= high);
    const holds = inside && (endless || Number.isFinite(x));
    return holds ? x : notNumber(who, name, value, `a number ${bounds}`);
  };
}

/** Checks for what is looked at elsewhere. */
export const anything: Check<unknown> = (_who, _name, value) => value;

/** Checks for a tensor whose region has not ended. */
export const tensorIn: Check<never> = (who, name, value) => tensor(who, name, value as never);

/** Checks for options within options. */
export const nested =
  <const W extends Wants>(wants: W): Check<Chosen<W>> =>
  (who, name, value) =>
    options(who, value, wants, name);

/** Checks for true or false. */
export const flag: Check<boolean> = (who, name, value) => {
  if (typeof value === "boolean") return value;
  refuse(TypeError, who, `${name} is ${printed(value)}`, "true or false");
};

/** Checks for a text. */
export const string: Check<string> = (who, name, value) => {
  if (typeof value === "string") return value;
  refuse(TypeError, who, `${name} is ${printed(value)}`, "a string");
};

/** A copy of what is listed in `value`, an array or its like; `what` begins the complaint: "ids are". */
export function items<T>(who: string, what: string, value: ArrayLike<T>, wants = "a list"): T[] {
  const n = get(value, "length") as number;
  const holds = typeof value === "object" && Number.isInteger(n) && n >= 0 && n < 134217728;
  try {
    if (holds) return Array.isArray(value) ? [...value] : Array.from(value);
  } catch {} // as a Proxy or a getter may
  refuse(TypeError, who, `${what} ${printed(value)}`, wants);
}

/** Returns `value` if it is one of `choices`. */
export function choice<T extends string>(who: string, name: string, value: unknown, choices: readonly T[]): T {
  if (choices.includes(value as T)) return value as T;
  refuse(typeof value === "string" ? RangeError : TypeError, who, `${name} is ${label(value)}`, listed(choices));
}
/** Checks for one of `choices`. */
export const oneOf =
  <const T extends readonly string[]>(...choices: T): Check<T[number]> =>
  (who, name, value) =>
    choice(who, name, value, choices);

/** Words as a sentence lists them: "a, b or c". */
export function listed(words: readonly string[]): string {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} or ${words[words.length - 1]}`;
}

/** Returns `value` if it is a function. */
export function callable<T>(who: string, name: string, value: T): T {
  if (typeof value !== "function") refuse(TypeError, who, `${name} is ${printed(value)}`, "a function");
  return value;
}

/** Returns what a function returned, unless that is a promise, or something else to wait for. */
export function synchronous<T>(who: string, result: T): T {
  if ((typeof result !== "object" && typeof result !== "function") || result === null) return result;
  if (typeof get(result, "then") !== "function") return result;
  Promise.resolve(result).catch(() => {}); // nobody else hears of it
  refuse(TypeError, who, "the function returned a promise", "its result");
}

/** Returns a copy of `shape` if it is one. */
export function sized(who: string, shape: readonly number[]): readonly number[] {
  const sizes = items(who, "shape is", shape, "an array of sizes");
  for (const n of sizes)
    if (!Number.isInteger(n) || n < 0)
      refuse(RangeError, who, `shape ${printed(sizes)} has the size ${printed(n)}`, "whole numbers from 0");
  return Object.freeze(sizes); // tensors share them
}

/**
 * Returns `values` if they are as many numbers as `shape` holds: a copy, unless they are a view of other memory than
 * `memory`, which may move. Each is read once, so that no code of the caller's runs between check and use.
 */
export function filling(
  who: string,
  shape: readonly number[],
  values: ArrayLike<number>,
  memory: ArrayBufferLike,
): ArrayLike<number> {
  const view = ArrayBuffer.isView(values);
  const list = view ? values : items(who, "the values are", values, "an array of numbers");
  const n = product(shape);
  if (list.length !== n) refuse(RangeError, who, `${shapeOf({ shape })} takes ${n} numbers, got ${list.length}`);
  for (let i = 0; i < (view ? Math.min(1, n) : n); i++)
    if (typeof list[i] !== "number") refuse(TypeError, who, `the value at ${i} is ${printed(list[i])}`, "numbers");
  return view && values.buffer === memory ? Array.from(values) : list;
}

/** The first number that is not finite, and its place, as errors print them: "NaN at [0 1]". */
export function infinite(shape: readonly number[], values: Float32Array | Float64Array): string | undefined {
  const bad = (values as Float64Array).findIndex(x => !Number.isFinite(x));
  if (bad < 0) return undefined;
  const place: number[] = [];
  let rest = bad;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    place.unshift(rest % shape[axis]!);
    rest = Math.floor(rest / shape[axis]!);
  }
  return `${values[bad]} at ${shapeOf({ shape: place })}`;
}

/** Where a tensor of any copy of the library says of which copy it is. */
export const TENSOR: unique symbol = /* @__PURE__ */ Symbol.for("farsight.Tensor");
/** This copy. */
export const COPY = {};
/** Instead of a copy: that a Proxy answers for the tensor. */
export const PROXY = "Proxy";

/** As much of a tensor as a check needs to know. */
interface Live {
  readonly shape: readonly number[];
  alive(who: string): void;
}

/** Whether `x` is a tensor of this copy of the library. */
export function isTensor(x: unknown): boolean {
  // A read of its own beside that of `markOf`: it sees tensors nearly always, and V8 then inlines it.
  try {
    return (x as { [TENSOR]?: unknown } | null | undefined)?.[TENSOR] === COPY;
  } catch {
    return false;
  }
}
/** What a tensor of any copy of the library says of itself; nothing of anything else. */
export function markOf(x: unknown): unknown {
  try {
    return (x as { [TENSOR]?: unknown } | null | undefined)?.[TENSOR];
  } catch {
    return undefined;
  }
}

/** How many words there are; a list of them would take longer than all else that `tensor` does. */
export function rank(axes: string): number {
  let n = 1;
  for (let i = 0; i < axes.length; i++) if (axes[i] === " ") n++;
  return n;
}

/** Returns `x` if it is a tensor whose region has not ended, with as many axes as `axes` names, where it names some. */
export function tensor<T extends Live>(who: string, name: string, x: T, axes = ""): T {
  const is = isTensor(x);
  if (is) x.alive(who);
  if (is && (!axes || x.shape.length === rank(axes))) return x;
  refuse(
    is ? RangeError : TypeError,
    who,
    `${name} is ${is ? shapeOf(x) : printed(x)}`,
    `a tensor${axes && ` [${axes}]`}`,
  );
}
