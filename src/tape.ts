// tape.ts: tensors, the record of what ran, and the regions of memory they live in.
// A tensor is an address and a shape. Nothing is freed one by one: a region ends and everything made in it is gone.
import { Engine, known, type Dtype, type EngineOptions, type Kernels, type Numbers } from "./engine.ts";
import { random, type Random } from "./random.ts";
import { spare } from "./recycle.ts";

/** A stretch of a tape's life. Tensors made in it are dead once it has ended. */
interface Region {
  alive: boolean;
  readonly mark: number;
  readonly records: number;
  readonly params: number;
}

/** What an operation leaves on the tape: how to run it backwards, and what to print. */
export interface Entry {
  readonly name: string;
  readonly inputs: readonly (Tensor | undefined)[];
  readonly outputs: readonly Tensor[];
  /** Inputs (by place) whose gradients `back` writes whole, asking `adds()`. */
  readonly overwrites?: readonly number[] | undefined;
  /** Addresses between which the forward pass claimed memory that nobody reads once this ran backwards. */
  readonly claimed?: readonly [from: number, to: number] | undefined;
  back(kernels: Kernels): void;
}

/** A row-major array on a tape. Made by `tape.tensor`, `tape.param` and operations, never by `new`. */
export class Tensor {
  readonly tape: Tape;
  readonly shape: readonly number[];
  /** How many numbers it holds. */
  readonly size: number;
  /** Address of the first number. Operations read it; everyone else uses `values()`. */
  readonly data: number;
  /** Whether it holds 32-bit integers (tokens, targets) instead of numbers of the tape's dtype. */
  readonly whole: boolean;
  /** Whether gradients flow to it. */
  readonly wants: boolean;
  /** The tensor whose memory this one shares (itself unless made by `reshape` or `columns`); gradients meet there. */
  readonly root: Tensor;
  /**
   * How far its rows (all but the first two axes) lie apart, in numbers, where it is some columns of its root; 0 where
   * they touch.
   */
  readonly pitch: number;
  readonly region: Region;
  /** Whether its record ran backwards already: gradients that reach it now would go no further. */
  spent = false;
  /** Whether the gradient (of columns: their part of it) holds nothing yet, not even zeros. */
  fresh = false;
  #grad = 0;

  constructor(
    tape: Tape,
    shape: readonly number[],
    data: number,
    region: Region,
    wants: boolean,
    whole = false,
    root?: Tensor,
    pitch = 0,
  ) {
    this.tape = tape;
    this.shape = shape;
    this.size = product(shape);
    this.data = data;
    this.region = region;
    this.wants = wants;
    this.whole = whole;
    this.root = root ?? this;
    this.pitch = pitch;
  }

  /** Address of the gradient, 0 when nobody asked for it or nothing has reached it yet. */
  get grad(): number {
    return this.root.#grad && this.root.#grad + this.data - this.root.data;
  }
  set grad(address: number) {
    this.root.#grad = address;
  }

  /**
   * Whether the gradient holds something to add to. An operation's backward asks just before it writes: from then on it
   * does.
   */
  adds(): boolean {
    const owner = this.pitch ? this : this.root;
    const adds = !owner.fresh;
    owner.fresh = false;
    return adds;
  }

  /** A view of the numbers, good until the tape's memory grows: use it at once, copy it with `.slice()`. */
  values(): Numbers {
    this.alive("values");
    const { engine } = this.tape;
    return this.whole ? engine.integers(this.data, this.size) : this.#view(this.data);
  }

  /** The gradient: a view of it, or zeros where none arrived. Throws where none was asked for. */
  gradient(): Float32Array | Float64Array {
    this.alive("gradient");
    if (!this.wants)
      throw new Error(`gradient: ${show(this)} asked for none; make it with tape.param, or compute it from one`);
    return this.grad
      ? this.#view(this.grad)
      : this.tape.engine.width === 4
        ? new Float32Array(this.size)
        : new Float64Array(this.size);
  }
  /** The numbers at an address; of columns a copy. */
  #view(address: number): Float32Array | Float64Array {
    const { engine } = this.tape;
    const [b = 1, t = 1] = this.shape;
    const n = this.size / (b * t);
    if (!this.pitch) return engine.view(address, this.size);
    const all = engine.view(address, b * t * this.pitch - this.pitch + n);
    return all.slice(0, this.size).map((_, i) => all[Math.floor(i / n) * this.pitch + (i % n)]!);
  }

  /** The number a tensor of size 1 holds. */
  item(): number {
    if (this.size !== 1) throw new RangeError(`item: ${show(this)} holds ${this.size} numbers, not one`);
    return this.values()[0]!;
  }

  /** Throws if the region this tensor was made in has ended. */
  alive(who: string): void {
    if (!this.region.alive)
      throw new Error(
        `${who}: tensor ${show(this)} was used after its scope ended\n  copy what you need out of the scope with .values().slice()`,
      );
  }

  toString(): string {
    if (!this.region.alive) return `Tensor ${show(this)} (its scope has ended)`;
    const some = Array.from(this.values().subarray(0, 6), x => Number(x.toPrecision(5)));
    return `Tensor ${this.whole ? "i32" : this.tape.engine.dtype} ${show(this)} ${some.join(" ")}${this.size > 6 ? " ..." : ""}`;
  }
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }
}

/** Called when an operation starts; what it returns, if anything, is called when that is done. */
export type Trace = (event: { name: string; phase: "forward" | "backward"; bytes: number }) => (() => void) | void;

/**
 * Options of a tape. `check`: look for NaN and infinity after every operation and name the first place (slow). `trace`:
 * a hook around every operation. `seed`: of the generator that dropout draws from. `engine`: one that was made for this
 * tape, instead of its own (`farsight/fast`).
 */
export interface TapeOptions extends EngineOptions {
  check?: boolean;
  trace?: Trace;
  seed?: number;
  engine?: Engine | undefined;
}

const taken = /* @__PURE__ */ new WeakSet<Engine>();

/** Records operations as they run and runs them backwards on request; owns all memory. */
export class Tape {
  readonly engine: Engine;
  readonly check: boolean;
  readonly trace: Trace | undefined;
  /** The generator of dropout. Its `seed` and `position` are part of a run's state. */
  random: Random;
  #entries: Entry[] = [];
  #regions: Region[];
  #params: Tensor[] = [];
  #recording = true;
  #reads: { of: Region; tensors: Set<Tensor> } | undefined;

  constructor(dtype: Dtype = "f32", options: TapeOptions = {}) {
    known("tape", options, "check", "trace", "seed", "engine", "module", "limit");
    const { check = false, trace, seed = 0, engine, ...own } = options;
    if (trace !== undefined && typeof trace !== "function")
      throw new TypeError(`tape: trace is ${String(trace)}\n  wants a function`);
    if (engine !== undefined) {
      if (!(engine instanceof Engine) || engine.dtype !== dtype || (own.module ?? own.limit) !== undefined)
        throw new TypeError(
          `tape: the engine is ${engine instanceof Engine ? `of ${engine.dtype}` : String(engine)}\n  wants an engine of ${dtype}, and module and limit given to the engine`,
        );
      if (taken.has(engine)) throw new Error("tape: the engine has a tape already\n  wants an engine for each tape");
    }
    this.engine = engine ?? new Engine(dtype, own);
    this.check = check;
    this.trace = trace;
    this.random = random(seed);
    this.#regions = [{ alive: true, mark: this.engine.mark, records: 0, params: 0 }];
    taken.add(this.engine);
  }

  get dtype(): Dtype {
    return this.engine.dtype;
  }
  /** Whether operations are being recorded. */
  get recording(): boolean {
    return this.#recording;
  }
  /** Every parameter made so far, in order. */
  get params(): readonly Tensor[] {
    return this.#params;
  }
  /** Bytes of memory the tape holds from its host; it never shrinks. */
  get bytes(): number {
    return this.engine.memory.buffer.byteLength;
  }

  get #region(): Region {
    return this.#regions[this.#regions.length - 1]!;
  }

  /** A constant: `shape` numbers, zero unless `values` are given. */
  tensor(shape: readonly number[], values?: ArrayLike<number>): Tensor {
    shape = checked("tensor", shape, values);
    values = this.#own(values);
    const t = this.claim(shape, false);
    if (values) t.values().set(values);
    else this.engine.zero(t.data, t.size);
    return t;
  }

  /** Integers: tokens, targets, indices. */
  integers(shape: readonly number[], values: ArrayLike<number>): Tensor {
    if (!values) throw new TypeError(`integers: the values are ${String(values)}\n  wants an array of them`);
    checked("integers", shape, values);
    for (let i = 0; i < values.length; i++)
      if (values[i] !== (values[i]! | 0)) throw new RangeError(`integers: ${values[i]} at ${i} is no 32-bit integer`);
    values = this.#own(values)!;
    const t = new Tensor(this, shape.slice(), this.engine.alloc(product(shape), 4), this.#region, false, true);
    t.values().set(values);
    return t;
  }

  /** A tensor whose gradient is wanted: a parameter, or an input to differentiate by. */
  param(shape: readonly number[], values?: ArrayLike<number>): Tensor {
    checked("param", shape, values);
    values = this.#own(values);
    const mark = this.engine.mark;
    const t = new Tensor(this, shape.slice(), this.engine.alloc(product(shape)), this.#region, true);
    try {
      t.grad = this.engine.alloc(t.size);
    } catch (error) {
      this.engine.rewind(mark);
      throw error;
    }
    this.engine.zero(t.grad, t.size);
    if (values) t.values().set(values);
    else this.engine.zero(t.data, t.size);
    this.#params.push(t);
    return t;
  }

  /** A copy of `values` where they are a view of this tape's memory, which a claim may detach. */
  #own(values: ArrayLike<number> | undefined): ArrayLike<number> | undefined {
    return ArrayBuffer.isView(values) && values.buffer === this.engine.memory.buffer ? Array.from(values) : values;
  }

  /** Room for an operation's result; its numbers are whatever was there. */
  claim(shape: readonly number[], wants: boolean): Tensor {
    return new Tensor(this, shape, this.engine.alloc(product(shape)), this.#region, wants);
  }

  /** Another tensor over the memory of `x`; the two share one gradient, or, with `wants` false, none reaches `x`. */
  alias(x: Tensor, shape: readonly number[], wants: boolean): Tensor {
    x.alive("alias");
    if (this.#reads) this.noteReads([x]);
    return new Tensor(this, shape, x.data, x.region, wants, x.whole, wants ? x.root : undefined);
  }

  /**
   * `n` columns from `start` of x, b t m, under the shape b t ...: its memory and its gradient, for operations that
   * take rows apart.
   */
  columns(x: Tensor, start: number, shape: readonly number[]): Tensor {
    x.alive("columns");
    if (this.#reads) this.noteReads([x]);
    return new Tensor(
      this,
      shape,
      x.data + start * this.engine.width,
      x.region,
      x.wants,
      false,
      x.wants ? x.root : undefined,
      x.shape[2]!,
    );
  }

  /** Puts an operation on the tape. `op` calls it; a hand-written operation may. */
  record(entry: Entry): void {
    this.#entries.push(entry);
  }

  /** Notes tensors that a checkpointed function reads from outside of it. */
  noteReads(inputs: readonly (Tensor | undefined)[]): void {
    if (this.#reads)
      for (const x of inputs) if (x?.wants && x.root.region !== this.#reads.of) this.#reads.tensors.add(x.root);
  }

  /** Runs `body` in a region of its own: what it makes is gone when it returns. */
  scope<T>(body: () => T): T {
    const region: Region = {
      alive: true,
      mark: this.engine.mark,
      records: this.#entries.length,
      params: this.#params.length,
    };
    const depth = this.#regions.push(region);
    try {
      const result = body();
      if (result instanceof Promise)
        throw new TypeError("scope: the function returned a promise; a scope ends when its function returns");
      return result;
    } finally {
      for (const r of this.#regions.splice(depth - 1)) r.alive = false;
      this.engine.rewind(region.mark);
      this.#entries.length = region.records;
      this.#params.length = region.params;
    }
  }

  /**
   * Runs `body`; if it throws, what it made on the tape is gone, as after a scope. For what must be made whole or not
   * at all.
   */
  allOrNothing<T>(body: () => T): T {
    const { mark } = this.engine;
    const params = this.#params.length;
    const records = this.#entries.length;
    try {
      return body();
    } catch (error) {
      this.engine.rewind(mark);
      this.#params.length = params;
      this.#entries.length = records;
      throw error;
    }
  }

  /** Runs `body` without recording: nothing made in it can be run backwards. */
  noGrad<T>(body: () => T): T {
    const before = this.#recording;
    this.#recording = false;
    try {
      return body();
    } finally {
      this.#recording = before;
    }
  }

  /** Sets the gradient of every parameter to zero. */
  zeroGrad(): void {
    for (const p of this.#params) this.engine.zero(p.grad, p.size);
  }

  /**
   * One training step up to the gradients: zeroes them, runs `body` in a scope, runs its loss backwards, returns its
   * value. Throws a RangeError, before anything is run backwards, when the loss is not finite.
   */
  step(body: () => Tensor, { accumulate = false }: { accumulate?: boolean } = {}): number {
    return this.scope(() => {
      const loss = body();
      if (!(loss instanceof Tensor))
        throw new TypeError(`step: the function returned ${String(loss)}\n  wants the loss, a tensor of size 1`);
      this.#ready(loss);
      const value = loss.item();
      if (!Number.isFinite(value))
        throw new RangeError(
          `step: the loss is ${value}; parameters and gradients are as before\n  lower the learning rate, clip gradients, or look with new Tape("${this.dtype}", { check: true })`,
        );
      if (!accumulate) for (const p of this.#params) p.fresh = true;
      try {
        this.#run(loss, undefined, true); // nobody can read what the scope made once this has returned
      } finally {
        for (const p of this.#params) if (!p.adds()) this.engine.zero(p.grad, p.size);
      }
      return value;
    });
  }

  /**
   * Adds d`loss`/d`x` to the gradient of every tensor that wants one. `seed`: the gradient of `loss` itself, for one
   * that is no scalar.
   */
  backward(loss: Tensor, seed?: ArrayLike<number>): void {
    this.#ready(loss, seed);
    this.#run(loss, seed, false);
  }
  #run(loss: Tensor, seed: ArrayLike<number> | undefined, recycle: boolean): void {
    const fresh = !loss.grad;
    if (fresh) loss.grad = this.engine.alloc(loss.size);
    const at = this.engine.view(loss.grad, loss.size);
    if (fresh) at.fill(0);
    for (let i = 0; i < at.length; i++) at[i]! += seed ? seed[i]! : 1;
    this.#replay(this.#region.records, recycle);
  }

  /** Throws unless `loss` can be run backwards, from `seed` if given. */
  #ready(loss: Tensor, seed?: ArrayLike<number>): void {
    if (!(loss instanceof Tensor)) throw new TypeError(`backward: got ${String(loss)}\n  wants a tensor of size 1`);
    if (loss.tape !== this) throw new TypeError("backward: the tensor is of another tape");
    loss.alive("backward");
    if (!loss.wants) throw new Error(`backward: ${show(loss)} depends on no parameter, or was computed in noGrad`);
    if (!seed && loss.size !== 1)
      throw new RangeError(
        `backward: ${show(loss)} is no scalar\n  wants a tensor of size 1, or the gradient to start from`,
      );
    if (seed && seed.length !== loss.size)
      throw new RangeError(
        `backward: the gradient to start from has ${seed.length} numbers, ${show(loss)} has ${loss.size}`,
      );
    if (this.#entries.length === this.#region.records || loss.root.spent)
      throw new Error("backward: nothing is recorded; it ran already, or the work was done outside of this scope");
    if (!loss.grad && loss.root.region !== this.#region)
      throw new Error(
        `backward: ${show(loss)} was made outside of this scope\n  call backward in the scope where it was made`,
      );
  }

  /**
   * Runs the entries from the last down to `from` backwards, taking each off the tape first. With `recycle` gradients
   * are put where results and gradients lay that are of no more use: half the memory, and what is written next lies in
   * the cache more often.
   */
  #replay(from: number, recycle: boolean): void {
    const kernels = this.engine.kernels;
    const region = this.#region;
    const unused = spare();
    while (this.#entries.length > from) {
      const entry = this.#entries.pop()!;
      for (const y of entry.outputs) y.spent = true;
      if (!entry.outputs.some(y => y.grad)) continue; // nothing that the loss depends on
      const spent = entry.inputs.find(x => x?.wants && x.root.spent);
      if (spent)
        throw new Error(
          `backward: ${entry.name} read ${show(spent)}, through which backward ran already\n  add the losses up and call backward once, or read it through stopGradient`,
        );
      for (const x of entry.inputs)
        if (x?.wants && (!x.grad || x.root.fresh)) {
          const { root } = x;
          if (!root.grad) {
            if (root.region !== region)
              throw new Error(
                `backward: ${entry.name} read ${show(x)} from outside of this scope\n  call backward in the scope where it was made`,
              );
            root.grad = unused.take(root.size * this.engine.width) || this.engine.alloc(root.size);
          }
          root.fresh = whole(entry, root);
          if (!root.fresh) this.engine.zero(root.grad, root.size);
          else if (x.pitch)
            for (const part of entry.inputs)
              if (part?.root === root) {
                part.fresh = true;
                root.fresh = false;
              }
        }
      const done = this.trace?.({
        name: entry.name,
        phase: "backward",
        bytes: entry.outputs.reduce((n, y) => n + y.size * this.engine.width, 0),
      });
      entry.back(kernels);
      done?.();
      // nothing was written after all
      for (const x of entry.inputs) if (x && !x.adds()) this.engine.zero(x.root.grad, x.root.size);
      if (this.check)
        for (const x of entry.inputs)
          if (x?.wants) this.#finite(x, x.grad, `${entry.name}, backward (op ${this.#entries.length})`, entry.outputs);
      if (!recycle) continue;
      for (const y of entry.outputs) if (y.grad) unused.give(y.grad, y.grad + padded(y.size * this.engine.width));
      if (entry.claimed) unused.give(...entry.claimed);
    }
  }

  /** Check mode: throws at the first number of `y` that is not finite. */
  verify(name: string, y: Tensor, inputs: readonly (Tensor | undefined)[]): void {
    this.#finite(y, y.data, `${name} (op ${this.#entries.length})`, inputs);
  }

  #finite(y: Tensor, address: number, who: string, inputs: readonly (Tensor | undefined)[]): void {
    const bad = this.engine.view(address, y.size).findIndex(v => !Number.isFinite(v));
    if (bad < 0) return;
    const place: number[] = [];
    for (let axis = y.shape.length - 1, rest = bad; axis >= 0; rest = Math.floor(rest / y.shape[axis]!), axis--)
      place.unshift(rest % y.shape[axis]!);
    const ranges = inputs
      .filter(x => x !== undefined)
      .map(x => {
        let low = Infinity;
        let high = -Infinity;
        for (const v of x.values()) {
          if (v < low) low = v;
          if (v > high) high = v;
        }
        return `${show(x)} in [${low}, ${high}]`;
      });
    throw new RangeError(
      `${who}: ${this.engine.view(address, y.size)[bad]} at [${place.join(" ")}] of ${show(y)}; inputs ${ranges.join(", ")}`,
    );
  }

  /**
   * Runs `body` without keeping what it computes on the way; the backward pass runs it again (Chen et al. 2016). Memory
   * for time: one more forward pass. What `body` returns, a tensor or several, is the same to the bit, dropout
   * included.
   */
  checkpoint<T extends Tensor | readonly Tensor[]>(body: () => T): T {
    if (!this.#recording) return body();
    const position = this.random.position;
    const tensors = new Set<Tensor>();
    const outer = this.#reads;
    const results = this.scope(() => {
      this.#reads = { of: this.#region, tensors };
      try {
        const made = this.noGrad(body);
        if (![made].flat().every(y => y instanceof Tensor))
          throw new TypeError(
            `checkpoint: the function returned ${String(made)}\n  wants a tensor, or a list of tensors`,
          );
        this.noteReads([made].flat());
        return [made].flat().map(y => ({ shape: y.shape, values: y.values().slice(), single: made instanceof Tensor }));
      } finally {
        this.#reads = outer;
      }
    });
    const inputs = [...tensors];
    this.noteReads(inputs);
    const wants = inputs.length > 0;
    const outputs = results.map(({ shape, values }) => {
      const y = this.claim(shape, wants);
      y.values().set(values);
      return y;
    });
    if (wants)
      this.record({
        name: "checkpoint",
        inputs,
        outputs,
        back: kernels =>
          this.scope(() => {
            const after = this.random.position;
            const recording = this.#recording;
            const from = this.#entries.length;
            this.random.position = position;
            this.#recording = true;
            try {
              const again = [body()].flat();
              const same = (x: Numbers, y: Numbers): boolean =>
                x.length === y.length && x.every((n, i) => Object.is(n, y[i]));
              if (again.length !== outputs.length || !outputs.every((y, i) => same(again[i]!.values(), y.values())))
                throw new Error(
                  "checkpoint: the function gave other numbers when backward ran it again\n  wants one that reads the same tensors each time; a variable that a loop assigns to must be copied into a const",
                );
              outputs.forEach((y, i) => {
                const x = again[i]!;
                if (!y.grad || !x.wants) return;
                if (x.grad) kernels.accumulate(y.size, y.grad, x.grad, true);
                else x.grad = y.grad;
              });
              this.#replay(from, true);
            } finally {
              this.random.position = after;
              this.#recording = recording;
            }
          }),
      });
    return (results[0]?.single ? outputs[0] : outputs) as unknown as T;
  }

  /** The recorded program, one operation a line with shapes: `%2 matmul [4 8] <- %1 [4 3], param [3 8]`. */
  toString(): string {
    const numbers = new Map<Tensor, string>();
    const name = (x: Tensor): string => `${numbers.get(x.root) ?? (x.wants ? "param" : "const")} ${show(x)}`;
    let next = 0;
    return this.#entries
      .map(e => {
        const from = e.inputs
          .filter(x => x !== undefined)
          .map(name)
          .join(", ");
        for (const y of e.outputs) numbers.set(y.root, `%${next++}`);
        return `${e.outputs.map(y => numbers.get(y.root)).join(" ")} ${e.name} ${e.outputs.map(show).join(" ")} <- ${from}`;
      })
      .join("\n");
  }
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return `Tape ${this.dtype}: ${this.#params.length} parameters, ${this.#entries.length} operations, ${(this.bytes / 1048576).toFixed(1)} MiB`;
  }
}

/**
 * Whether an entry writes all of a gradient: wherever it reads the tensor, and by all of its columns where it reads
 * those.
 */
function whole({ inputs, overwrites }: Entry, root: Tensor): boolean {
  let size = 0;
  const parts = new Set<number>();
  for (let i = 0; i < inputs.length; i++) {
    const x = inputs[i];
    if (x?.root !== root) continue;
    if (!overwrites?.includes(i)) return false;
    if (x.pitch) {
      parts.add(x.data);
      size += x.size;
    } else parts.add(0);
  }
  return parts.has(0)
    ? parts.size === 1
    : size === root.size && parts.size * inputs.find(x => x?.root === root)!.size === size;
}

const padded = (bytes: number): number => Math.ceil(bytes / 16) * 16;

/** A shape as errors and listings print it. */
export const show = (t: { readonly shape: readonly number[] }): string => `[${t.shape.join(" ")}]`;
export const product = (shape: readonly number[]): number => {
  let n = 1;
  for (let i = 0; i < shape.length; i++) n *= shape[i]!;
  return n;
};

/** Throws unless `shape` is one and `values`, where given, are as many numbers; returns a copy of the shape. */
export function checked(
  who: string,
  shape: readonly number[],
  values: ArrayLike<number> | undefined,
): readonly number[] {
  if (!Array.isArray(shape)) throw new TypeError(`${who}: shape is ${String(shape)}\n  wants an array of sizes`);
  for (const n of shape)
    if (!Number.isInteger(n) || n < 0)
      throw new RangeError(`${who}: shape [${shape.join(" ")}] has the size ${n}\n  wants whole numbers from 0`);
  if (values === undefined) return shape.slice();
  if (typeof values !== "object" || values === null || typeof values.length !== "number")
    throw new TypeError(`${who}: the values are ${String(values)}\n  wants an array of numbers`);
  if (values.length !== product(shape))
    throw new RangeError(`${who}: [${shape.join(" ")}] takes ${product(shape)} numbers, got ${values.length}`);
  for (let i = 0, n = ArrayBuffer.isView(values) ? Math.min(1, values.length) : values.length; i < n; i++)
    if (typeof values[i] !== "number")
      throw new TypeError(`${who}: the value at ${i} is ${String(values[i])}\n  wants numbers`);
  return shape.slice();
}
