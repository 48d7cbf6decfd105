// check.ts: every check of an argument, and the one form of the library's errors: who complains, what is wrong with
// which values, then what was wanted and what was got.

/** TypeError for a wrong kind, RangeError for a wrong size or value, Error for a wrong order of calls. */
export type Kind = new (message: string, options?: ErrorOptions) => Error;

/** Throws `who: why`, with a line for what was wanted and one for what was got, where they are given. */
export function refuse(kind: Kind, who: string, why: string, wants = "", got = "", cause?: unknown): never {
  const lines = `${who}: ${why}${wants && `\n  wants ${wants}`}${got && `\n  got   ${got}`}`;
  throw cause === undefined ? new kind(lines) : new kind(lines, { cause });
}

/** A value as errors print it. */
export const shown = (value: unknown): string => (typeof value === "string" ? JSON.stringify(value) : String(value));

/** A shape as errors and listings print it. */
export const shapeOf = (t: { readonly shape: readonly number[] }): string => `[${t.shape.join(" ")}]`;

/** How many numbers a shape holds. */
export function product(shape: readonly number[]): number {
  let n = 1;
  for (let i = 0; i < shape.length; i++) n *= shape[i]!;
  return n;
}

/** Throws unless `options` is an object with no names but `names`. */
export function known(who: string, options: object, ...names: string[]): void {
  if (typeof options !== "object" || options === null)
    refuse(TypeError, who, `the options are ${String(options)}`, `an object with ${names.join(", ")}`);
  for (const key in options)
    if (!names.includes(key)) refuse(RangeError, who, `unknown option ${key}`, names.join(", "));
}

/** Returns `value` if it is an integer from `least` to `most`. */
export function integer(
  who: string,
  name: string,
  value: number,
  least = 0,
  most: number = Number.MAX_SAFE_INTEGER,
): number {
  const holds = Number.isSafeInteger(value) && value >= least && value <= most;
  return number(who, name, value, holds, `an integer from ${least} to ${most}`);
}

/** Returns `value` if it is one of `choices`. */
export function choice<T extends string>(who: string, name: string, value: T, choices: readonly T[]): T {
  if (choices.includes(value)) return value;
  refuse(RangeError, who, `${name} is ${String(value)}`, listed(choices));
}

/** Words as a sentence lists them: "a, b or c". */
export function listed(words: readonly string[]): string {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} or ${words[words.length - 1]}`;
}

/** Returns `value` if it is a number and `holds`; `wants` says which numbers do. */
export function number(who: string, name: string, value: number, holds: boolean, wants: string): number {
  if (typeof value === "number" && holds) return value;
  refuse(typeof value === "number" ? RangeError : TypeError, who, `${name} is ${shown(value)}`, wants);
}

/** Returns `value` if it is a number from `low` to below `high`. */
export function within(who: string, name: string, value: number, low = 0, high = Infinity): number {
  const wants = `a number from ${low}${high === Infinity ? "" : ` to below ${high}`}`;
  return number(who, name, value, value >= low && value < high, wants);
}

/** Throws unless `value` is a function. */
export function callable(who: string, name: string, value: unknown): void {
  if (typeof value !== "function") refuse(TypeError, who, `${name} is ${String(value)}`, "a function");
}

/** Returns what a function returned, unless that is a promise, or something else to wait for. */
export function synchronous<T>(who: string, result: T): T {
  if ((typeof result !== "object" && typeof result !== "function") || result === null) return result;
  if (typeof (result as { then?: unknown }).then !== "function") return result;
  Promise.resolve(result).catch(() => {}); // nobody else hears of it
  refuse(TypeError, who, "the function returned a promise", "its result");
}

/** Returns a copy of `shape` if it is one. */
export function sized(who: string, shape: readonly number[]): readonly number[] {
  if (!Array.isArray(shape)) refuse(TypeError, who, `shape is ${String(shape)}`, "an array of sizes");
  const sizes = shape.slice() as readonly number[];
  for (const n of sizes)
    if (!Number.isInteger(n) || n < 0)
      refuse(RangeError, who, `shape [${sizes.join(" ")}] has the size ${n}`, "whole numbers from 0");
  return sizes;
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
  if (typeof values !== "object" || values === null || typeof values.length !== "number")
    refuse(TypeError, who, `the values are ${String(values)}`, "an array of numbers");
  const n = product(shape);
  if (values.length !== n) refuse(RangeError, who, `${shapeOf({ shape })} takes ${n} numbers, got ${values.length}`);
  const view = ArrayBuffer.isView(values);
  const copy: number[] = [];
  for (let i = 0; i < (view ? Math.min(1, n) : n); i++) {
    const x = values[i];
    if (typeof x !== "number") refuse(TypeError, who, `the value at ${i} is ${String(x)}`, "numbers");
    copy[i] = x;
  }
  return !view ? copy : values.buffer === memory ? Array.from(values) : values;
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

/** As much of a tensor as a check needs to know. */
interface Live {
  readonly shape: readonly number[];
  alive(who: string): void;
}

/** Whether `x` is a tensor of this copy of the library. */
export function isTensor(x: unknown): boolean {
  return (x as { [TENSOR]?: object } | null | undefined)?.[TENSOR] === COPY;
}

/** What is no tensor of this copy, as errors print it. */
export function whatIs(x: unknown): string {
  return (x as { [TENSOR]?: object } | null | undefined)?.[TENSOR] && !isTensor(x)
    ? "a tensor of another copy of farsight"
    : String(x);
}

/** Returns `x` if it is a tensor whose region has not ended, with as many axes as `axes` names, where it names some. */
export function tensor<T extends Live>(who: string, name: string, x: T, axes = ""): T {
  const wants = `a tensor${axes && ` [${axes}]`}`;
  if (!isTensor(x)) refuse(TypeError, who, `${name} is ${whatIs(x)}`, wants);
  x.alive(who);
  if (axes && x.shape.length !== axes.split(" ").length) refuse(RangeError, who, `${name} is ${shapeOf(x)}`, wants);
  return x;
}
