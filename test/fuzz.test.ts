// Wrong arguments to everything that can be called: right calls (calls.ts) with one part spoiled, in a seeded run. What
// comes out is an error of the library's own, with the tape as it was, or a result whose numbers are numbers.
import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import { type Random as Rng, type Tensor, ops, random } from "farsight";
import { calls, instances, isOptions, optimizer, options, other, roots, tape, vectorParams } from "./calls.ts";
import { suite } from "./check.ts";

type Call = (...args: unknown[]) => unknown;
interface Target {
  readonly name: string;
  readonly owner: unknown;
  readonly call: Call;
}

/** What gives the same functions: the name under which their calls stand. */
const alike: Record<string, string> = {
  "transformer()": "model",
  "gpt2()": "model",
  "bert()": "model",
  "nanoGpt()": "model",
  "rmt()": "memory",
  "armt()": "associative",
  "rmtR()": "retrieving",
  "rmtEncoder()": "encoder",
  "adamw()": "adam()",
  "sgd()": "adam()",
  "random().fork()": "random()",
  "cache().shorten()": "cache()",
  "cache().next()": "cache()",
  "association().held()": "association()",
  "association().next()": "association()",
  "stateCache().held()": "stateCache()",
  "stateCache().next()": "stateCache()",
};
const targets: Target[] = [];
const missing: string[] = [];
const seen = new Set<unknown>();
/** Notes a function, and the functions in what a right call of it gives. */
function note(name: string, owner: unknown, call: Call): void {
  if (targets.some(t => t.name === name)) return;
  if (!calls[name]) return void missing.push(name);
  targets.push({ name, owner, call });
  const made = name in instances ? undefined : call.apply(owner, calls[name]!());
  walk(`${name}()`, made);
}
/** Finds the functions in an object, and the setters. */
function walk(path: string, found: unknown): void {
  if (typeof found === "function") return note(path, undefined, found as Call);
  const plain = typeof found === "object" && found !== null && Object.getPrototypeOf(found) === Object.prototype;
  if (path === "fast()")
    for (const key of ["working", "close"]) note(`${path}.${key}`, found, (found as Record<string, Call>)[key]!);
  if (!plain || seen.has(found)) return;
  seen.add(found);
  const name = alike[path] ?? path;
  for (const [key, { value, set }] of Object.entries(Object.getOwnPropertyDescriptors(found))) {
    if (typeof value === "function") note(`${name}.${key}`, found, value as Call);
    if (set || key === "updates") note(`${name}.${key}=`, found, x => ((found as Record<string, unknown>)[key] = x));
  }
}
for (const [name, found] of Object.entries(roots)) {
  if (typeof found !== "function") walk(name, found);
  else if (!(name in instances)) note(name, undefined, found as Call);
}
for (const op of ops)
  if (!targets.some(t => t.call === (op as unknown))) note(`ops.${op.opName}`, undefined, op as unknown as Call);
for (const [name, instance] of Object.entries(instances)) {
  const made = roots[name] as new (...x: unknown[]) => unknown;
  if (name !== "Tensor") note(name, undefined, (...x) => new made(...x));
  const text = readFileSync(`dist/${name.toLowerCase()}.d.ts`, "utf8");
  const body = text.slice(text.indexOf(`class ${name} `));
  for (const [, method] of body.slice(0, body.indexOf("\n}")).matchAll(/^ {4}(\w+)[<(]/gm))
    if (method !== "constructor")
      note(`${name}().${method}`, instance, (instance as Record<string, Call>)[method!]!.bind(instance));
}

const dead = tape.scope(() => tape.tensor([2, 3]));
const cyclic: Record<string, unknown> = {};
cyclic.self = cyclic;
const ring: unknown[] = [];
ring.push(ring);
const throws = (): never => {
  throw new Error("a trap of the test");
};
const closed = Proxy.revocable({}, {});
closed.revoke();
function detached<T extends { readonly buffer: ArrayBuffer }>(view: T): T {
  structuredClone(view.buffer, { transfer: [view.buffer] });
  return view;
}
/** A view of memory that became shorter than the view says. */
function resizable(bytes: number): Float32Array {
  const made = ArrayBuffer as unknown as new (n: number, options: object) => ArrayBuffer & { resize(n: number): void };
  const buffer = new made(bytes, { maxByteLength: 2 * bytes });
  const view = new Float32Array(buffer, 0, bytes / 4);
  buffer.resize(4);
  return view;
}
const hostile = (of: object): object => new Proxy(of, { get: throws, ownKeys: throws, getPrototypeOf: throws });
/** What takes the place of a part; made anew for each call, on the tape as it is then. */
const wrong: readonly ((was: unknown) => unknown)[] = [
  ...[undefined, null, true, false, "", "x", "1", "constructor", "__proto__", Symbol("s"), Symbol.iterator, 10n].map(
    x => () => x,
  ),
  ...[NaN, Infinity, -Infinity, -1, -0, 0, 0.5, 1.5, 1e-17, 5e-324, 1e308, 2 ** 31 - 1, 2 ** 31, 2 ** 53 - 1].map(
    x => () => x,
  ),
  ...[2 ** 53, 2 ** 32, 65537, -(2 ** 31), -100].map(x => () => x),
  () => [],
  () => [NaN],
  () => [null],
  () => [[]],
  () => ["x", 1],
  () => [2 ** 31 - 1, 0],
  () => [2 ** 53 - 1],
  () => new Array(3),
  () => ({}),
  () => Object.create(null) as object,
  () => ({ length: 2 ** 40 }),
  () => ({ length: -1 }),
  () => ({ length: 3 }),
  () => ({ shape: [2, 3] }),
  () => ({ then() {} }),
  () => () => {},
  () => () => 7,
  () => () => null,
  () => () => cyclic,
  () => async () => 7,
  () =>
    function secret() {
      /* source text */
      return 5;
    },
  () => class Secret {},
  () => new Date(0),
  () => new Map([["a", 1]]),
  () => new Set([1]),
  () => /x/g,
  () => new Error("x"),
  () => "x".repeat(5000),
  () => Symbol("y".repeat(5000)),
  () => 10n ** 900n,
  () => new Float64Array(3),
  () => new Float32Array(0),
  () => new BigInt64Array(2),
  () => new Int32Array([0, 1, 2]),
  () => new Uint8Array(9),
  () => detached(new Float64Array(3)),
  () => new Float32Array(new SharedArrayBuffer(12)),
  () => resizable(12),
  () => new DataView(new ArrayBuffer(8)),
  () => (function* () {})(),
  () => () => ({ then() {} }),
  () => () => [NaN],
  () =>
    (
      x => () =>
        x
    )(tape.tensor([2, 3])),
  () => () => dead,
  () => () => hostile({}),
  () => new ArrayBuffer(8),
  () => cyclic,
  () => ring,
  () => ({ a: { b: 3 } }),
  () => ({
    get a() {
      return throws();
    },
  }),
  () => hostile({}),
  () => hostile([]),
  () => closed.proxy,
  was => (typeof was === "object" && was !== null ? hostile(was) : hostile(() => {})),
  was => (typeof was === "object" && was !== null ? new Proxy(was, {}) : [was]),
  () => dead,
  () => other.tensor([2, 3]),
  () => tape,
  () => other,
  () => new Proxy(tape, {}),
  () => new Proxy(tape.tensor([2, 3]), {}),
  () => tape.tensor([]),
  () => tape.tensor([0]),
  () => tape.tensor([2 ** 31 - 1, 0]),
  () => tape.tensor([1, 2 ** 31 - 1, 0, 4]),
  () => tape.tensor([0, 2 ** 31 - 1, 2 ** 31 - 1]),
  () => tape.tensor([2, 3], [1, NaN, 3, 4, 5, 6]),
  () => tape.tensor([1, 1, 1, 1, 1, 1, 1]),
  () => tape.param([2, 3]),
  () => tape.integers([2, 3], [0, 1, 2, 3, 4, 5]),
  () => tape.integers([1], [-1]),
  () => tape.integers([1, 3], [2 ** 31 - 1, 0, -(2 ** 31)]),
  () => vectorParams,
  () => optimizer,
  () => Object.freeze({}),
  () => random(1),
];

/** A place in arguments: a key in each object on the way. */
type Place = readonly (string | number)[];
const inside = (x: unknown): x is Record<string, unknown> =>
  typeof x === "object" &&
  x !== null &&
  [Object.prototype, Array.prototype].includes(Object.getPrototypeOf(x) as never);
/** A place in the arguments, the deeper the less likely. */
function somewhere(args: unknown, rng: Rng): Place {
  const keys = Object.keys(args as object);
  if (!keys.length) return [];
  const key = rng.choice(keys);
  const part = (args as Record<string, unknown>)[key];
  const model = inside(part) && "config" in part; // whoever puts functions of their own in there hears their errors
  return !model && inside(part) && Object.keys(part).length && rng.uniform() < 0.7
    ? [key, ...somewhere(part, rng)]
    : [key];
}
const at = (args: unknown, place: Place): unknown =>
  place.reduce((x, key) => (x as Record<string, unknown>)[key], args);
/** A copy of the arguments with something else in one place; `remove` takes the place away. */
function replaced(args: unknown, [key, ...rest]: Place, by: unknown): unknown {
  if (key === undefined) return by;
  const copy = (Array.isArray(args) ? [...(args as unknown[])] : { ...(args as object) }) as Record<string, unknown>;
  copy[key] = replaced(copy[key], rest, by);
  return isOptions(args) ? options(copy) : copy;
}

/** What a call must leave alone when it throws: the numbers on the tape, and where everything stands. */
function holds() {
  const { mark, memory } = tape.engine;
  const from = (instances.Tensor as Tensor).data;
  const numbers = Buffer.from(new Uint8Array(memory.buffer, 0, mark)).subarray(first, from === 0 ? 0 : mark);
  const { random: rng, params, recording } = tape;
  return {
    mark,
    numbers: Buffer.from(numbers),
    rng,
    position: rng.position,
    n: params.length,
    recording,
    text: tape.toString(),
    updates: optimizer.updates,
  };
}
const first = tape.params[0]!.data;
type State = ReturnType<typeof holds>;
function same(a: State, b: State): string {
  const parts = Object.keys(a) as (keyof typeof a)[];
  return parts
    .filter(key => (key === "numbers" ? Buffer.compare(a.numbers, b.numbers) !== 0 : a[key] !== b[key]))
    .join(", ");
}
function restore(before: State): void {
  new Uint8Array(tape.engine.memory.buffer).set(before.numbers, first);
  tape.random = before.rng;
  before.rng.position = before.position;
  optimizer.updates = before.updates;
}

/** Names with which errors begin: of what is called, and of parts that check for many. */
const speakers = new Set([
  ...targets.map(t => t.name.replace(/.*[.]/, "").replace(/[()=]/g, "")),
  ...ops.map(o => o.opName),
  ..."watch allOrNothing engine tape memory safetensors backward".split(" "),
  ..."stream start transformer myopia absolute mine".split(" "),
]);
function complaint(error: unknown): string | undefined {
  const kinds = [TypeError, RangeError, Error] as unknown[];
  if (!(error instanceof Error) || !kinds.includes(error.constructor)) return "is no TypeError, RangeError or Error";
  const { message } = error;
  if (message === "a trap of the test" || message.startsWith("Class constructor Secret")) return undefined;
  const who = /^(\w+)(?:, \w+)?(?: \(op \d+\))?(?:, backward \(op \d+\))?: /.exec(message)?.[1];
  if (!who || !speakers.has(who)) return "begins with no name of the library";
  if (/\[object |undefined \(reading|source text|=>|is not a function|Cannot |is not iterable/.test(message))
    return "is raw";
  if (message.length > 800) return `has ${message.length} characters`;
  return undefined;
}

/** The numbers of a tensor that may be read; nothing of anything else, however hostile. */
function numbersOf(x: unknown): ArrayLike<number> | undefined {
  try {
    const { region, size } = x as Tensor;
    return region.alive && size < 1e6 ? (x as Tensor).values() : undefined;
  } catch {
    return undefined;
  }
}
/** Whether there is a NaN in what a call gave. */
function nan(x: unknown, depth = 0): boolean {
  if (typeof x === "number") return x !== x;
  const list = numbersOf(x) ?? (ArrayBuffer.isView(x) && "length" in x ? (x as unknown as ArrayLike<number>) : []);
  if (list.length && Array.from(list).some(v => v !== v)) return true;
  return depth < 3 && inside(x) && Object.values(x).some(v => nan(v, depth + 1));
}
/** Whether something is, or holds, numbers from which NaN may come. */
function extreme(x: unknown): boolean {
  if (typeof x === "function") return true; // of the test, and what comes of it
  if (typeof x === "number") return !(Math.abs(x) < 1e9);
  try {
    if (inside(x) && x !== cyclic && (x as unknown) !== ring) return Object.values(x).some(extreme);
  } catch {
    return true;
  }
  const list = numbersOf(x);
  return list !== undefined && (list.length === 0 || nan(x));
}
/** Options that may be of several kinds, by name. */
const several = new Set(["seed", "threads", "position", "stop", "optimizer", "params"]);

/** A target's arguments with one part spoiled. */
interface Spoiled {
  readonly args: unknown[];
  /** What was done, in words. */
  readonly what: string;
  /** Whether it must be refused: an unknown name, or an option of another kind. */
  readonly must: boolean;
  readonly extreme: boolean;
}
function spoiled({ name }: Target, rng: Rng): Spoiled {
  const args = calls[name]!();
  const place = somewhere(args, rng);
  const was = at(args, place);
  const parent = place.length ? at(args, place.slice(0, -1)) : undefined;
  const where = `${name}, ${place.join(".")}`;
  const way = rng.integer(12);
  if (way === 0 && place.length && isOptions(was)) {
    const more = { ...(was as object) };
    const key = rng.choice(["nope", "toString", "__proto__", "constructor", "", Symbol("s")]);
    Object.defineProperty(more, key, { value: 1, enumerable: true });
    const made = replaced(args, place, more) as unknown[];
    return { args: made, what: `${where} with ${String(key)}`, must: true, extreme: false };
  }
  if (way === 1)
    return { args: args.slice(0, Number(place[0] ?? 0)), what: `${where} left out`, must: false, extreme: false };
  const by = rng.choice(wrong)(was);
  const made = place.length ? (replaced(args, place, by) as unknown[]) : [by];
  const option = isOptions(parent) && !several.has(String(place.at(-1))) && by !== undefined && was !== undefined;
  const must = option && (typeof by !== typeof was || (typeof was === "number" && by !== by));
  return { args: made, what: `${where} = ${described(by)}`, must, extreme: extreme(by) };
}
function described(by: unknown): string {
  try {
    const text = typeof by === "string" ? JSON.stringify(by) : `${typeof by} ${String(by)}`;
    return text.slice(0, 60);
  } catch {
    return "something hostile";
  }
}

type Iterator = Generator<unknown> | AsyncGenerator<unknown>;
function isIterator(x: unknown): x is Iterator {
  try {
    return x instanceof Object && "next" in x && "return" in x;
  } catch {
    return false;
  }
}
/** What comes of a call, and of taking some of what an iterator gives; of one that is asynchronous, itself. */
function outcome({ owner, call }: Target, args: unknown[]): unknown {
  const result = call.apply(owner, args);
  if (!isIterator(result) || Symbol.asyncIterator in result) return result;
  const all: unknown[] = [];
  for (let i = 0; i < 3; i++) {
    const { value, done } = result.next() as IteratorResult<unknown>;
    all.push(value);
    if (done) return all;
  }
  result.return(undefined);
  return all;
}
async function later(result: AsyncGenerator<unknown>): Promise<unknown> {
  const all: unknown[] = [];
  for await (const given of result) if (all.push(given) > 2) break;
  return all;
}

/** What of a function's is left after it threw: of an operation nothing; of several, what a scope takes back. */
const single = new Set<unknown>([...ops, ...Object.keys(instances).map(name => roots[name])]);

/** Calls a target with spoiled arguments; what is wrong with what comes of it. */
async function tried(target: Target, rng: Rng, before: State): Promise<string | undefined> {
  const begun = performance.now();
  let s: Spoiled | undefined;
  let left = "";
  let bad: string | undefined;
  try {
    let result = tape.scope(() => {
      s = spoiled(target, rng);
      const mark = single.has(target.call) ? holds() : before;
      try {
        const made = outcome(target, s.args);
        if (!isIterator(made)) bad = judged(s, made);
        return made;
      } catch (error) {
        if (mark !== before) left = same(mark, holds());
        throw error;
      }
    });
    if (isIterator(result)) {
      result = await later(result as AsyncGenerator<unknown>);
      bad = judged(s!, result);
    }
  } catch (error) {
    left += same(before, holds());
    // What an evaluation throws comes after its step.
    const why =
      complaint(error) ??
      (left && !/^(fit|curriculum), 0\.evaluate/.test(s?.what ?? "") ? `changed ${left}` : undefined);
    bad = why && `${why}: ${String((error as Error)?.stack ?? error).slice(0, 700)}`;
  }
  restore(before);
  const time = performance.now() - begun;
  if (!bad && time > 10_000) bad = `took ${time.toFixed(0)} ms`;
  return bad && `${s?.what ?? target.name}: ${bad}`;
}
function judged(s: Spoiled, result: unknown): string | undefined {
  if (s.must) return "was believed";
  return !s.extreme && nan(result) ? "gave NaN" : undefined;
}

const COUNT = 20_000;
suite("wrong arguments", {
  "a right call of every function is known"() {
    assert.equal(missing, []);
    const known = new Set(targets.map(t => t.name));
    assert.equal(
      Object.keys(calls).filter(name => !known.has(name)),
      [],
    );
  },
  async "every one of 20000 spoiled calls is refused in the library's own words, or gives numbers"() {
    const rng = random(Number(process.env.FUZZ ?? 1)); // other seeds find more
    const found = new Map<string, string>();
    const before = holds();
    for (let i = 0; i < COUNT; i++) {
      const target = targets[i % targets.length]!;
      const bad = await tried(target, rng, before);
      if (bad) found.set(bad.replace(/ = .*?: /s, ": ").slice(0, 200), bad);
    }
    assert.is([...found.values()].slice(0, 20).join("\n\n"), "");
  },
});
