// op.ts: an operation is a name, a shape signature, and the kernel calls of its two directions.
//
// Signatures, e.g. "... k, n k, n? -> ... n":
//   letters are sizes; the same letter is the same size everywhere; a number is itself
//   ...     any leading axes, the same in every tensor that has them; their product is the size `rows`
//   ?       after an input: it may be left out (its address is then 0, which kernels skip)
//   ...<v   integers from 0 to v - 1
// m+t in the result: the sum of two sizes The signature is the shape check, the shape of the result, the error text,
// the types, and what the gradient check draws from.
import type { Kernels } from "./engine.ts";
import { Tensor, product, show, type Tape } from "./tape.ts";

type Side<S extends string> = S extends `${infer A}, ${infer Rest}` ? [A, ...Side<Rest>] : S extends "" ? [] : [S];
type Inputs<S extends string> = S extends `${infer In} -> ${string}` ? Side<In> : never;
/** What a caller passes: tensors, then options; those tensors that may be left out may give way to the options. */
type Args<I, A> = I extends [infer H extends string, ...infer Rest]
  ? H extends `${string}?`
    ? [options?: Partial<A>] | [x: Tensor | undefined, ...Args<Rest, A>]
    : [x: Tensor, ...Args<Rest, A>]
  : [options?: Partial<A>];
type Words<S extends string> = S extends `${infer A} ${infer B}`
  ? Words<A> | Words<B>
  : S extends `${infer A},`
    ? Words<A>
    : S extends `${infer A}?`
      ? Words<A>
      : S extends `${infer A}<${infer B}`
        ? Words<A> | B
        : S extends `${infer A}+${infer B}`
          ? A | B
          : S extends "->" | ""
            ? never
            : S extends "..."
              ? "rows"
              : S;
type Operands<I> = I extends [string, ...infer Rest] ? [x: Operand, ...Operands<Rest>] : [];

/** What a rule sees of a tensor: addresses, 0 where there is nothing to read or nobody asked. */
export interface Operand {
  readonly data: number;
  readonly grad: number;
  readonly size: number;
  readonly shape: readonly number[];
  /** How far rows lie apart, in numbers; 0 where they touch. */
  readonly pitch: number;
  /**
   * Whether the gradient holds something to add to. To be asked just before it is written, once: from then on it does.
   */
  adds(): boolean;
}

/** Sizes by letter (`rows` for `...`), options by name, saved buffers as addresses. */
type Names<S extends string, A, V> = Record<Words<S> | "room", number> & A & Record<keyof V, number>;

/** What an operation is: kernel calls only. */
export interface Rule<S extends string, A extends object, V extends object, D extends object> {
  /** Options and their defaults; callers may pass any of them as a last argument. */
  attrs?: A;
  /** Buffers the forward pass leaves for the backward pass, each with its shape in the signature's letters. */
  save?: V;
  /**
   * Complains of options (a RangeError, to which the operation and the shapes are added), and may return more names for
   * the rule. Called once for shapes and options, or, if it takes the tape, in every call.
   */
  derive?(sizes: Names<S, A, V>, tape: Tape): D | void;
  forward(K: Kernels, sizes: Names<S, A, V> & D, y: Operand, ...x: Operands<Inputs<S>>): void;
  backward?(K: Kernels, sizes: Names<S, A, V> & D, y: Operand, ...x: Operands<Inputs<S>>): void;
  /** Inputs (by place) whose gradients `backward` writes whole, asking `adds()`: the first time they need no zeros. */
  overwrites?: readonly number[];
  /** Inputs (by place) whose rows may lie apart (`tape.columns`). */
  pitched?: readonly number[];
  /** How many numbers of room the kernels may scribble on; its address is then the name `room`. */
  room?(K: Kernels, sizes: Names<S, A, V> & D): number;
  /** Inputs (by place) that are constants: masks, weights of edges. Passing one that wants a gradient is an error. */
  constant?: readonly number[];
  /** An integer outside 0..v-1 that is allowed all the same, given the options (crossEntropy's -100). */
  allow?(sizes: Names<S, A, V>): number;
  /** Where the gradient check may sample inputs, away from kinks and poles; [-2, 2] unless told. */
  domain?: readonly [number, number];
}

/** A callable operation that carries its own description. */
export interface Op<S extends string = string, A extends object = object> {
  (...args: Args<Inputs<S>, A>): Tensor;
  readonly opName: string;
  readonly signature: S;
  readonly attrs: A;
  readonly constant: readonly number[];
  readonly domain: readonly [number, number];
}

interface Spec {
  readonly dims: readonly string[];
  readonly lead: boolean;
  readonly below: string;
  readonly optional: boolean;
}

const NONE: Operand = { data: 0, grad: 0, size: 0, shape: [], pitch: 0, adds: () => true };

function spec(text: string): Spec {
  const optional = text.endsWith("?");
  const [shape = "", below = ""] = (optional ? text.slice(0, -1) : text).split("<");
  const dims = shape.split(" ").filter(Boolean);
  const lead = dims[0] === "...";
  return { dims: lead ? dims.slice(1) : dims, lead, below, optional };
}

/** Reads a signature. The gradient check and the op table use it too. */
export function signature(text: string): { inputs: Spec[]; output: Spec } {
  const [left = "", right = ""] = text.split(" ->");
  return { inputs: left.split(", ").map(spec), output: spec(right.trim()) };
}

/**
 * What the shapes of inputs and the options settle, kept for the next call with the same: the check, the sizes, and the
 * shape of the result.
 */
interface Plan<N> {
  readonly shapes: readonly (readonly number[] | undefined)[];
  readonly options: readonly unknown[];
  readonly sizes: N;
  readonly output: readonly number[];
  readonly saves: readonly number[];
}
/** How many plans an operation keeps: a transformer calls linear with some five shapes. */
const PLANS = 8;

const same = (a: readonly number[], b: readonly number[]): boolean => {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
};

/** Makes an operation out of its name, its signature and its rule. */
export function op<
  const S extends string,
  A extends object = Record<never, never>,
  V extends object = Record<never, never>,
  D extends object = Record<never, never>,
>(name: string, text: S, rule: Rule<S, A, V, D>): Op<S, A> {
  type All = Names<S, A, V> & D;
  const { inputs: specs, output } = signature(text);
  const needed = specs.filter(s => !s.optional).length;
  if (!text.includes(" ->") || (output.lead && !specs.some(s => s.lead)))
    throw new RangeError(
      `op: ${name} has the signature ${text}\n  wants inputs, an arrow, and a result of their sizes`,
    );
  const attrs = rule.attrs ?? ({} as A);
  const keys = Object.keys(attrs);
  const saved = Object.entries(rule.save ?? {}).map(([key, dims]) => ({ key, ...spec(dims as string) }));
  const constant = rule.constant ?? [];
  const readsIntegers = specs.map(s => s.below !== "");
  const pitched = rule.pitched ?? [];
  const draws = (rule.derive?.length ?? 0) > 1; // what it derives depends on the tape, so that no plan holds twice
  let plans: Plan<All>[] = [];

  type Inputs_ = readonly (Tensor | undefined)[];
  type Given = Readonly<Record<string, unknown>> | undefined;
  const fail = (xs: Inputs_, kind: typeof RangeError | typeof TypeError, why: string): never => {
    const got = xs.map(x => (x instanceof Tensor ? show(x) + (x.whole ? " integers" : "") : String(x))).join(", ");
    throw new kind(`${name}: ${why}\n  wants ${text}\n  got   ${got}`);
  };

  /** Whether a plan was made for these shapes and options. */
  function fits(plan: Plan<All>, xs: Inputs_, options: Given): boolean {
    for (let i = 0; i < specs.length; i++) {
      const shape = xs[i]?.shape;
      const planned = plan.shapes[i];
      if (shape === undefined || planned === undefined ? shape !== planned : !same(shape, planned)) return false;
    }
    for (let i = 0; i < keys.length; i++)
      if ((options?.[keys[i]!] ?? attrs[keys[i] as keyof A]) !== plan.options[i]) return false;
    return true;
  }

  /** Checks shapes and options and works out what follows from them. */
  function settle(xs: Inputs_, options: Given, tape: Tape): Plan<All> {
    const sizes = { ...attrs } as Record<string, unknown>;
    for (const key in options) {
      if (options[key] === undefined) continue;
      if (typeof options[key] !== typeof attrs[key as keyof A])
        fail(xs, TypeError, `the option ${key} is ${String(options[key])}, not a ${typeof attrs[key as keyof A]}`);
      sizes[key] = options[key];
    }
    let lead: readonly number[] | undefined;
    for (let i = 0; i < specs.length; i++) {
      const x = xs[i];
      const s = specs[i]!;
      if (x === undefined) continue;
      const { shape } = x;
      const { dims } = s;
      const ahead = shape.length - dims.length;
      if (s.lead ? ahead < 0 : ahead !== 0) fail(xs, RangeError, `input ${i} has ${shape.length} axes`);
      if (s.lead) {
        if (lead === undefined) sizes.rows = product((lead = shape.slice(0, ahead)));
        else if (lead.length !== ahead || lead.some((n, a) => n !== shape[a]))
          fail(xs, RangeError, `... is [${lead.join(" ")}] and [${shape.slice(0, ahead).join(" ")}]`);
      }
      for (let a = 0; a < dims.length; a++) {
        const dim = dims[a]!;
        const n = shape[ahead + a]!;
        const fixed = Number(dim);
        if (fixed >= 0) {
          if (n !== fixed) fail(xs, RangeError, `input ${i} has ${n} where ${dim} is due`);
        } else if (sizes[dim] === undefined) sizes[dim] = n;
        else if (sizes[dim] !== n) fail(xs, RangeError, `${dim} is ${String(sizes[dim])} and ${n}`);
      }
    }
    const derived = keys.map(key => sizes[key]);
    try {
      Object.assign(sizes, rule.derive?.(sizes as All, tape));
    } catch (error) {
      if (error instanceof RangeError) fail(xs, RangeError, error.message);
      throw error;
    }
    const extent = (dim: string): number => {
      const n = dim.includes("+")
        ? dim.split("+").reduce((n, d) => n + extent(d), 0)
        : Number(dim) >= 0
          ? Number(dim)
          : sizes[dim];
      return Number.isInteger(n) ? (n as number) : fail(xs, RangeError, `${dim} is ${String(n)}`);
    };
    const dims = output.dims.map(extent);
    const saves = saved.map(({ lead: all, dims }) =>
      dims.reduce((n, d) => n * extent(d), all ? (sizes.rows as number) : 1),
    );
    for (const { key } of saved) sizes[key] = 0;
    sizes.room = 0;
    return {
      shapes: specs.map((_, i) => xs[i]?.shape),
      options: derived,
      sizes: sizes as All,
      output: output.lead ? [...lead!, ...dims] : dims,
      saves,
    };
  }

  const call = (...args: unknown[]): Tensor => {
    const last = args[args.length - 1];
    const options =
      typeof last === "object" && last !== null && !Array.isArray(last) && !(last instanceof Tensor)
        ? (args.pop() as Given)
        : undefined;
    while (args.length > specs.length && args[args.length - 1] === undefined) args.pop();
    const xs = args as (Tensor | undefined)[];
    if (xs.length < needed || xs.length > specs.length)
      fail(
        xs,
        TypeError,
        `takes ${needed === specs.length ? needed : `${needed} to ${specs.length}`} tensor${specs.length === 1 ? "" : "s"}, got ${xs.length}`,
      );
    for (const key in options)
      if (!Object.hasOwn(attrs, key)) fail(xs, RangeError, `unknown option ${key}; knows ${keys.join(", ") || "none"}`);
    let tape: Tape | undefined;
    let wants = false;
    for (let i = 0; i < specs.length; i++) {
      const x = xs[i];
      if (x === undefined) {
        if (!specs[i]!.optional) fail(xs, TypeError, `input ${i} is undefined`);
        continue;
      }
      if (!(x instanceof Tensor)) return fail(xs, TypeError, `input ${i} is no tensor`);
      if (tape === undefined) tape = x.tape;
      else if (x.tape !== tape) fail(xs, TypeError, `input ${i} is on another tape`);
      x.alive(name);
      if (x.whole !== readsIntegers[i])
        fail(
          xs,
          TypeError,
          x.whole ? `input ${i} holds integers` : `input ${i} must hold integers; make it with tape.integers`,
        );
      if (x.pitch && !pitched.includes(i)) fail(xs, TypeError, `input ${i} is columns of another tensor`);
      if (x.wants) {
        if (constant.includes(i)) fail(xs, TypeError, `input ${i} gets no gradient; pass stopGradient of it`);
        wants = true;
      }
    }
    const on = tape!;
    const { engine } = on;
    const { kernels, mark } = engine;
    const { position } = on.random;
    let plan = draws ? undefined : plans.find(plan => fits(plan, xs, options));
    if (!plan) {
      plan = settle(xs, options, on);
      if (!draws) plans = [plan, ...plans.slice(0, PLANS - 1)];
    }
    const recorded = wants && on.recording;
    const names = recorded && saved.length ? { ...plan.sizes } : plan.sizes;
    for (let i = 0; i < specs.length; i++)
      if (readsIntegers[i] && xs[i]) {
        const limit = (names as Record<string, unknown>)[specs[i]!.below] as number;
        const allowed = rule.allow?.(names);
        const ids = xs[i]!.values();
        for (let j = 0; j < ids.length; j++) {
          const id = ids[j]!;
          if ((id < 0 || id >= limit) && id !== allowed)
            fail(
              xs,
              RangeError,
              `input ${i} holds ${id} at place ${j}, outside 0..${limit - 1}${allowed === undefined ? "" : ` and ${allowed}`}`,
            );
        }
      }
    try {
      const y = on.claim(plan.output, recorded);
      const sizes = names as Record<string, unknown>;
      if (recorded) for (let i = 0; i < saved.length; i++) sizes[saved[i]!.key] = engine.alloc(plan.saves[i]!);
      const end = engine.mark;
      if (rule.room) sizes.room = engine.reserve(rule.room(kernels, names));
      while (xs.length < specs.length) xs.push(undefined);
      const operands = xs.map(x => x ?? NONE) as Operands<Inputs<S>>;
      const done = on.trace?.({ name, phase: "forward", bytes: y.size * engine.width });
      rule.forward(kernels, names, y, ...operands);
      done?.();
      if (on.check) on.verify(name, y, xs);
      on.noteReads(xs);
      if (recorded) {
        const { backward } = rule;
        if (!backward) return fail(xs, TypeError, "has no gradient; pass stopGradient of its input");
        on.record({
          name,
          inputs: xs,
          outputs: [y],
          overwrites: rule.overwrites,
          claimed: [mark, end],
          back: K => {
            if (rule.room) sizes.room = engine.reserve(rule.room(K, names));
            backward(K, names, y, ...operands);
          },
        });
      }
      return y;
    } catch (error) {
      // as if it had never been called
      engine.rewind(mark);
      on.random.position = position;
      throw error;
    }
  };
  return Object.assign(call, {
    opName: name,
    signature: text,
    attrs,
    constant,
    domain: rule.domain ?? ([-2, 2] as const),
  }) as unknown as Op<S, A>;
}
