// op.ts: an operation is a name, a shape signature (signature.ts), and the kernel calls of its two directions.
import { traced, type Gradients } from "./backward.ts";
import {
  callable,
  type Check,
  flag,
  get,
  isTensor,
  items,
  kindOf,
  markOf,
  printed,
  product,
  read,
  real,
  refuse,
  safely,
  shapeOf,
  string,
  synchronous,
} from "./check.ts";
import type { Engine, Kernels } from "./engine.ts";
import {
  signature,
  spec,
  type Args,
  type Given,
  type Inputs,
  type Outputs,
  type Spec,
  type Words,
} from "./signature.ts";
import type { Tape } from "./tape.ts";
import { Tensor } from "./tensor.ts";

/** What a rule's forward pass sees of a tensor: its address, 0 where there is none, and its size. */
export interface Source {
  readonly data: number;
  readonly size: number;
  readonly shape: readonly number[];
}
/** What a rule sees of a result. */
export interface Result extends Source {
  /** Address of its gradient; of one of several results 0 where none arrived. */
  readonly grad: number;
}
/** What a rule's backward pass sees of an input. */
export interface Operand extends Source {
  /** Address of its gradient, 0 where nobody asked. */
  readonly grad: number;
  /** Whether its gradient holds something to add to. Where not, every number of it is to be written. */
  readonly add: boolean;
}

type Sources<I> = I extends [infer H extends string, ...infer Rest]
  ? [x: H extends `${string}*` ? readonly Source[] : Source, ...Sources<Rest>]
  : [];
type Operands<I> = I extends [infer H extends string, ...infer Rest]
  ? [x: H extends `${string}*` ? readonly Operand[] : Operand, ...Operands<Rest>]
  : [];
type Results<O> = O extends [string, string, ...string[]] ? { readonly [K in keyof O]: Result } : Result;

/** Sizes by letter (`rows` for `...`), options by name, saved buffers as addresses. */
type Names<S extends string, A, V> = Record<Words<S> | "room", number> & A & Record<keyof V, number>;

/** What an operation is: kernel calls only. It reads facts and changes nothing but memory. */
export interface Rule<S extends string, A extends object, V extends object, D extends object> {
  /** Options and their defaults; callers may pass any of them as a last argument. */
  attrs?: A;
  /** What options must be, beside of the kind of their default. */
  checks?: { readonly [K in keyof A]?: Check<unknown> };
  /** Buffers the forward pass leaves for the backward pass, each with its shape in the signature's letters. */
  save?: V;
  /**
   * Complains of options (a RangeError, to which the operation and the shapes are added), and may return more names
   * for the rule. Called once for shapes and options.
   */
  derive?(sizes: Names<S, A, V>): D | void;
  forward(K: Kernels, sizes: Names<S, A, V> & D, y: Results<Outputs<S>>, ...x: Sources<Inputs<S>>): void;
  /** Writes or adds, as each operand says, the gradients that were asked for. */
  backward?(K: Kernels, sizes: Names<S, A, V> & D, y: Results<Outputs<S>>, ...x: Operands<Inputs<S>>): void;
  /** How many numbers of room the kernels of a direction may scribble on; its address is then the name `room`. */
  room?(K: Kernels, sizes: Names<S, A, V> & D, back: boolean): number;
  /** Inputs (by place) that are constants: masks, weights of edges. Passing one that wants a gradient is an error. */
  constant?: readonly number[];
  /** Pairs between which no gradient flows, though the numbers depend on each other. */
  stops?: readonly (readonly [output: number, input: number])[];
  /** Results that hold the numbers of another tensor, in its memory, with a gradient of their own. */
  overlays?: readonly (readonly [output: number, on: "input" | "output", place: number])[];
  /** An integer outside 0..v-1 that is allowed all the same, given the options (crossEntropy's -100). */
  allow?(sizes: Names<S, A, V>): number;
  /** Where the gradient check may sample inputs, away from kinks and poles; [-2, 2] unless told. */
  domain?: readonly [number, number];
}

/** A callable operation that carries its own description. */
export interface Op<S extends string = string, A extends object = object> {
  (...args: Args<Inputs<S>, A>): Given<Outputs<S>>;
  /** @internal The same of what the library made itself: inputs in order, and options that nobody else changes. */
  of(inputs: Tensors, options?: { readonly [K in keyof A]?: A[K] | undefined }): Given<Outputs<S>>;
  readonly opName: string;
  /** Names of the inputs, in order. */
  readonly inputs: readonly string[];
  readonly signature: S;
  readonly attrs: A;
  readonly constant: readonly number[];
  readonly stops: readonly (readonly [output: number, input: number])[];
  readonly domain: readonly [number, number];
}

/** Sizes, options and addresses by name, as an operation's own code handles them. */
type Values = Record<string, unknown>;
type Tensors = readonly (Tensor | undefined)[];
type AnyRule = Rule<string, Values, Values, Values>;

/** An operation, read. */
interface Definition {
  readonly name: string;
  readonly inputs: readonly string[];
  readonly text: string;
  readonly specs: readonly Spec[];
  readonly outputs: readonly Spec[];
  /** How many inputs may not be left out. */
  readonly needed: number;
  /** Whether an input holds integers. */
  readonly indexed: boolean;
  readonly attrs: Values;
  readonly keys: readonly string[];
  readonly checks: Readonly<Record<string, Check<unknown>>>;
  readonly saved: readonly { readonly key: string; readonly spec: Spec }[];
  readonly rule: AnyRule;
  plans: readonly Plan[];
  /** What `backward` reads, filled in anew before each run. */
  readonly operands: { -readonly [K in keyof Operand]: Operand[K] }[];
}

/**
 * What follows from the shapes of inputs and the options, kept for the next call with the same: the check, the sizes,
 * and the shapes of the results.
 */
interface Plan {
  readonly shapes: readonly (readonly number[] | undefined)[];
  readonly options: readonly unknown[];
  readonly sizes: Values;
  readonly outputs: readonly (readonly number[])[];
  readonly saves: readonly number[];
  /** Whether a number comes out. */
  readonly some: boolean;
}
/** How many plans an operation keeps: a transformer calls linear with some five shapes. */
const PLANS = 8;

const NOTHING: readonly number[] = [];
const NONE: Source = { data: 0, size: 0, shape: [] };

/** Makes an operation out of its name, its signature and its rule; the name may list the inputs: "linear(x, w, b)". */
export function op<
  const S extends string,
  A extends object = Record<never, never>,
  V extends object = Record<never, never>,
  D extends object = Record<never, never>,
>(head: string, text: S, rule: Rule<S, A, V, D>): Op<S, A> {
  const def = defined(head, text, rule as unknown as AnyRule);
  const of = (xs: Tensors, options?: Values): Tensor | readonly Tensor[] => {
    const { tape, wants } = inspected(def, xs);
    const results = run(def, tape, planned(def, xs, options), xs, wants && tape.recording);
    return def.outputs.length === 1 ? results[0]! : results;
  };
  const call = (...args: unknown[]): Tensor | readonly Tensor[] => {
    const options = optionsOf(args, def);
    const { list } = def.specs[0]!;
    if (list && kindOf(args[0]) !== "Array") fail(def, [args[0] as Tensor], TypeError, "takes a list of tensors");
    return of((list ? items(def.name, "the list is", args[0] as Tensors) : args) as Tensors, options);
  };
  return Object.assign(call, {
    of,
    opName: def.name,
    inputs: def.inputs,
    signature: text,
    attrs: rule.attrs ?? ({} as A),
    constant: rule.constant ?? [],
    stops: rule.stops ?? [],
    domain: rule.domain ?? ([-2, 2] as const),
  }) as unknown as Op<S, A>;
}

/** Reads a name, a signature and a rule. */
function defined(head: string, text: string, rule: AnyRule): Definition {
  callable("op", "forward", get(rule, "forward"));
  const [, name = "", list] = /^(\w+)(?:\((.*)\))?$/.exec(string("op", "the name", head)) ?? [];
  const { inputs: specs, outputs } = signature(string("op", "the signature", text));
  const led = specs.some(s => s.lead);
  const listed = specs.some(s => s.list) && specs.length > 1;
  if (!text.includes(" ->") || listed || outputs.some(o => o.lead && !led))
    refuse(
      RangeError,
      "op",
      `${head} has the signature ${text}`.slice(0, 200),
      "inputs, an arrow, and results of their sizes",
    );
  const inputs = list?.split(", ") ?? specs.map((_, i) => "abcdefghijklmnopqrstuvwxyz"[i]!);
  if (!name || inputs.length !== specs.length)
    refuse(RangeError, "op", `${head} has the signature ${text}`.slice(0, 200), "a name for each input");
  const parts = safely(() => [{ ...rule.attrs }, { ...rule.checks }, { ...rule.save }] as const, undefined);
  const [attrs, checks, save] = parts ?? refuse(TypeError, "op", "the rule cannot be read");
  return {
    ...{ name, inputs, text, specs, outputs, attrs, rule },
    needed: specs.filter(s => !s.optional).length,
    indexed: specs.some(s => s.below),
    keys: Object.keys(attrs),
    checks: { ...kinds(attrs), ...(checks as Record<string, Check<unknown>>) },
    saved: Object.entries(save).map(([key, dims]) => ({ key, spec: spec(dims as string) })),
    plans: [],
    operands: [],
  };
}

function fail({ name, text }: Definition, xs: Tensors, kind: typeof RangeError | typeof TypeError, why: string): never {
  const got = xs.map(x => (isTensor(x) ? shapeOf(x!) + (x!.integral ? " integers" : "") : printed(x)));
  refuse(kind, name, why, text, got.join(", "));
}

/** Checks of options by their defaults. */
function kinds(attrs: Values): Record<string, Check<unknown>> {
  const kind = { number: real(), boolean: flag, string };
  return Object.fromEntries(
    Object.entries(attrs).map(([key, value]) => [key, kind[typeof value as keyof typeof kind]]),
  );
}

/** Takes the options off the arguments, and tensors that were given as undefined off their end. */
function optionsOf(args: unknown[], { name, specs, attrs }: Definition): Values | undefined {
  const last = args[args.length - 1];
  const given = typeof last === "object" && last !== null && !markOf(last) && !safely(() => Array.isArray(last), false);
  const options = given ? read(name, args.pop(), attrs) : undefined;
  while (args.length > specs.length && args[args.length - 1] === undefined) args.pop();
  return options;
}

/** Checks each input by itself. */
function inspected(def: Definition, xs: Tensors): { tape: Tape; wants: boolean } {
  const { specs, needed, rule } = def;
  const list = specs[0]!.list;
  if (list ? xs.length === 0 : xs.length < needed || xs.length > specs.length) {
    const takes = list ? "at least one" : needed === specs.length ? `${needed}` : `${needed} to ${specs.length}`;
    fail(def, xs, TypeError, `takes ${takes} tensor${takes === "1" || list ? "" : "s"}, got ${xs.length}`);
  }
  let tape: Tape | undefined;
  let wants = false;
  for (let i = 0; i < xs.length; i++) {
    const x = xs[i];
    const { optional, below } = specs[list ? 0 : i]!;
    if (x === undefined && optional) continue;
    if (!Tensor.is(x)) {
      const is = isTensor(x) ? "a tensor of another copy of farsight" : x === undefined ? "undefined" : "no tensor";
      fail(def, xs, TypeError, `input ${i} is ${is}`);
    }
    if (tape === undefined) tape = x.tape;
    else if (x.tape !== tape) fail(def, xs, TypeError, `input ${i} is on another tape`);
    x.alive(def.name);
    if (x.integral !== (below !== "")) {
      const why = below ? "must hold integers; make it with tape.integers" : "holds integers";
      fail(def, xs, TypeError, `input ${i} ${why}`);
    }
    if (!x.wants) continue;
    if (rule.constant?.includes(list ? 0 : i))
      fail(def, xs, TypeError, `input ${i} gets no gradient; pass stopGradient of it`);
    wants = true;
  }
  return { tape: tape!, wants };
}

/** The plan for these shapes and options: one that was made before, or a new one. */
function planned(def: Definition, xs: Tensors, options: Values | undefined): Plan {
  if (def.specs[0]!.list) return workOut(def, xs, options);
  for (const plan of def.plans) if (fits(def, plan, xs, options)) return plan;
  const plan = workOut(def, xs, options);
  def.plans = [plan, ...def.plans.slice(0, PLANS - 1)];
  return plan;
}

/** Whether a plan was made for these shapes and options. */
function fits({ specs, keys, attrs }: Definition, plan: Plan, xs: Tensors, options: Values | undefined): boolean {
  for (let i = 0; i < specs.length; i++) {
    const shape = xs[i]?.shape;
    const before = plan.shapes[i];
    if (shape === undefined || before === undefined ? shape !== before : !same(shape, before)) return false;
  }
  for (let i = 0; i < keys.length; i++) {
    const given = options?.[keys[i]!];
    if (!Object.is(given === undefined ? attrs[keys[i]!] : given, plan.options[i])) return false;
  }
  return true;
}
function same(a: readonly number[], b: readonly number[]): boolean {
  if (a === b) return true; // mostly: tensors share their shapes with plans
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Checks shapes and options and works out what follows from them. */
function workOut(def: Definition, xs: Tensors, options: Values | undefined): Plan {
  const { specs, attrs, keys, checks, rule, saved } = def;
  const sizes: Values = { ...attrs };
  for (const key of keys) if (options?.[key] !== undefined) sizes[key] = checks[key]!(def.name, key, options[key]);
  const lead = measure(def, xs, sizes);
  const given = keys.map(key => sizes[key]);
  try {
    Object.assign(sizes, synchronous(def.name, rule.derive?.(sizes as never)));
  } catch (error) {
    if (error instanceof RangeError) fail(def, xs, RangeError, error.message);
    throw error;
  }
  const extent = (dim: string): number => {
    if (dim.includes("+")) return dim.split("+").reduce((n, d) => n + extent(d), 0);
    const n = Number(dim) >= 0 ? Number(dim) : sizes[dim.replace("Σ", "")];
    return Number.isInteger(n) ? (n as number) : fail(def, xs, RangeError, `${dim} is ${String(n)}`);
  };
  const outputs = def.outputs.map(o => Object.freeze([...(o.lead ? lead : []), ...o.dims.map(extent)]));
  const saves = saved.map(({ spec: { lead: all, dims } }) => {
    const rows = all ? (sizes.rows as number) : 1;
    return dims.reduce((n, d) => n * extent(d), rows);
  });
  for (const { key } of saved) sizes[key] = 0;
  sizes.room = 0;
  const some = outputs.some(product); // where none comes out there may be rows without end all the same
  return { shapes: specs.map((_, i) => xs[i]?.shape), options: given, sizes, outputs, saves, some };
}

/** Reads the sizes off the inputs, and returns the leading axes. */
function measure(def: Definition, xs: Tensors, sizes: Values): readonly number[] {
  let lead: readonly number[] | undefined;
  xs.forEach((x, i) => {
    if (x === undefined) return;
    const { shape } = x;
    const s = def.specs[def.specs[0]!.list ? 0 : i]!;
    const ahead = shape.length - s.dims.length;
    if (s.lead ? ahead < 0 : ahead !== 0) fail(def, xs, RangeError, `input ${i} has ${shape.length} axes`);
    if (s.lead) {
      const these = shape.slice(0, ahead);
      if (lead === undefined) sizes.rows = product(these);
      else if (!same(lead, these)) fail(def, xs, RangeError, `... is [${lead.join(" ")}] and [${these.join(" ")}]`);
      lead = these;
    }
    s.dims.forEach((dim, a) => {
      const n = shape[ahead + a]!;
      const fixed = Number(dim);
      const part = dim.replace("Σ", ""); // two characters where a page without a charset read the bundle
      if (fixed >= 0) {
        if (n !== fixed) fail(def, xs, RangeError, `input ${i} has ${n} where ${dim} is due`);
      } else if (part !== dim) sizes[part] = ((sizes[part] as number) ?? 0) + n;
      else if (sizes[dim] === undefined) sizes[dim] = n;
      else if (sizes[dim] !== n) fail(def, xs, RangeError, `${dim} is ${String(sizes[dim])} and ${n}`);
    });
  });
  return lead ?? [];
}

/** Throws unless integers stay within what they index. */
function bounded(def: Definition, xs: Tensors, names: Values): void {
  for (let i = 0; i < (def.indexed ? xs.length : 0); i++) {
    const { below } = def.specs[def.specs[0]!.list ? 0 : i]!;
    const ids = below && xs[i]?.values();
    if (!ids) continue;
    const limit = names[below] as number;
    const allowed = def.rule.allow?.(names as never);
    for (let j = 0; j < ids.length; j++) {
      const id = ids[j]!;
      if ((id >= 0 && id < limit) || id === allowed) continue;
      const range = `0..${limit - 1}${allowed === undefined ? "" : ` and ${allowed}`}`;
      fail(def, xs, RangeError, `input ${i} holds ${id} at place ${j}, outside ${range}`);
    }
  }
}

/** Claims the results, runs the forward pass, and records it; a call that throws leaves nothing behind. */
function run(def: Definition, tape: Tape, plan: Plan, xs: Tensors, recorded: boolean): readonly Tensor[] {
  const { name, rule, saved, specs } = def;
  const { engine } = tape;
  const names = plan.sizes;
  if (recorded && !rule.backward) fail(def, xs, TypeError, "has no gradient; pass stopGradient of its input");
  const { kernels, mark: from } = engine;
  const { made, records } = tape;
  const params = tape.parameters;
  try {
    // May make tensors, and change those that are there.
    const done = tape.trace && traced(tape.trace, name, "forward", plan.outputs, engine.width);
    bounded(def, xs, names);
    const { mark } = engine;
    const results = claimed(def, tape, plan, xs, recorded);
    const kept = recorded && saved.length ? plan.saves.map(n => engine.alloc(n)) : NOTHING;
    for (let i = 0; i < saved.length; i++) names[saved[i]!.key] = kept[i] ?? 0;
    const end = engine.mark;
    const y = results.length === 1 ? results[0] : results;
    const given = specs[0]!.list ? [xs] : whole(xs, specs.length) ? xs : specs.map((_, i) => xs[i] ?? NONE);
    const room = rule.room && roomFor(def, engine, names, false);
    if (plan.some) synchronous(name, rule.forward(kernels, names as never, y as never, ...(given as never)));
    if (engine.mark === room) engine.rewind(end); // nothing was made behind the room
    done?.();
    if (tape.check) for (const y of results) tape.verify(name, y, xs);
    tape.noteReads(xs);
    if (!recorded) return results;
    const back = backOf(def, engine, plan, xs, y, kept);
    tape.record({ name, inputs: xs, outputs: results, claimed: [mark, end], stops: rule.stops, back });
    return results;
  } catch (error) {
    tape.undo(from, made, records, params); // as if it had never been called
    throw error;
  }
}

/** The backward pass of what `run` made; apart, since V8 is slower with variables that a function made inside reads. */
function backOf(def: Definition, engine: Engine, plan: Plan, xs: Tensors, y: unknown, kept: readonly number[]) {
  const { name, rule, saved } = def;
  const names = plan.sizes;
  return (K: Kernels, gradients: Gradients): void => {
    bounded(def, xs, names); // a caller may have changed them since
    for (let i = 0; i < saved.length; i++) names[saved[i]!.key] = kept[i]!;
    const room = rule.room && roomFor(def, engine, names, true);
    const operands = operandsOf(def, xs, gradients) as never;
    if (plan.some) synchronous(name, rule.backward!(K, names as never, y as never, ...operands));
    else xs.forEach((x, i) => gradients.adds[i] || K.fill(x?.size ?? 0, 0, gradients.at[i]!));
    if (engine.mark === room) engine.rewind(names.room as number);
  };
}

/** Claims the rule's room for a direction; returns where it ends. */
function roomFor({ rule }: Definition, engine: Engine, names: Values, back: boolean): number {
  names.room = engine.alloc(rule.room!(engine.kernels, names as never, back));
  return engine.mark;
}

/** Whether none of `n` inputs was left out. */
function whole(xs: Tensors, n: number): boolean {
  return xs.length === n && !xs.includes(undefined);
}

/** Room for the results; one that overlays another tensor lies in its memory. */
function claimed({ rule }: Definition, tape: Tape, plan: Plan, xs: Tensors, recorded: boolean): readonly Tensor[] {
  const { outputs } = plan;
  if (!rule.overlays && outputs.length === 1) return [tape.claim(outputs[0]!, recorded)];
  const results: Tensor[] = [];
  outputs.forEach((shape, o) => {
    const [, on, place] = rule.overlays?.find(([output]) => output === o) ?? [];
    if (on === undefined) results.push(tape.claim(shape, recorded));
    else results.push(tape.overlay(shape, (on === "input" ? xs : results)[place!]!.data, recorded));
  });
  return results;
}

/** What the rule's backward pass reads of the inputs. */
function operandsOf({ specs, operands }: Definition, xs: Tensors, { at, adds }: Gradients): readonly unknown[] {
  const n = specs[0]!.list ? xs.length : specs.length;
  for (let i = 0; i < n; i++) {
    const x = xs[i] ?? NONE;
    const operand = (operands[i] ??= { data: 0, size: 0, shape: [], grad: 0, add: true });
    operand.data = x.data;
    operand.size = x.size;
    operand.shape = x.shape;
    operand.grad = at[i] ?? 0;
    operand.add = adds[i] ?? false;
  }
  return specs[0]!.list ? [operands.slice(0, n)] : operands;
}
