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
  const then = typeof result === "object" && result !== null && (result as { then?: unknown }).then;
  if (typeof then === "function") refuse(TypeError, who, "the function returned a promise", "its result");
  return result;
}

/** Returns a copy of `shape` if it is one and `values`, where given, are as many numbers. */
export function sized(who: string, shape: readonly number[], values: ArrayLike<number> | undefined): readonly number[] {
  if (!Array.isArray(shape)) refuse(TypeError, who, `shape is ${String(shape)}`, "an array of sizes");
  for (const n of shape)
    if (!Number.isInteger(n) || n < 0)
      refuse(RangeError, who, `shape [${shape.join(" ")}] has the size ${n}`, "whole numbers from 0");
  if (values === undefined) return shape.slice();
  if (typeof values !== "object" || values === null || typeof values.length !== "number")
    refuse(TypeError, who, `the values are ${String(values)}`, "an array of numbers");
  if (values.length !== product(shape))
    refuse(RangeError, who, `[${shape.join(" ")}] takes ${product(shape)} numbers, got ${values.length}`);
  const n = ArrayBuffer.isView(values) ? Math.min(1, values.length) : values.length;
  for (let i = 0; i < n; i++)
    if (typeof values[i] !== "number") refuse(TypeError, who, `the value at ${i} is ${String(values[i])}`, "numbers");
  return shape.slice();
}

/** What marks a tensor of this copy of the library. */
export const TENSOR: unique symbol = /* @__PURE__ */ Symbol("farsight.Tensor");

/** As much of a tensor as a check needs to know. */
interface Live {
  readonly shape: readonly number[];
  alive(who: string): void;
}

/** Whether `x` is a tensor of this copy of the library. */
export function isTensor(x: unknown): boolean {
  return typeof x === "object" && x !== null && (x as { [TENSOR]?: boolean })[TENSOR] === true;
}

/** Returns `x` if it is a tensor whose region has not ended, with as many axes as `axes` names, where it names some. */
export function tensor<T extends Live>(who: string, name: string, x: T, axes = ""): T {
  const wants = `a tensor${axes && ` [${axes}]`}`;
  if (!isTensor(x)) refuse(TypeError, who, `${name} is ${String(x)}`, wants);
  x.alive(who);
  if (axes && x.shape.length !== axes.split(" ").length) refuse(RangeError, who, `${name} is ${shapeOf(x)}`, wants);
  return x;
}
