// tape.ts: the record of what ran, and the regions of memory that tensors live in. Nothing is freed one by one: a
// region ends and everything made in it is gone.
import { replay, type Entry, type Pass, type Trace } from "./backward.ts";
import {
  anything,
  callable,
  filling,
  flag,
  infinite,
  isTensor,
  label,
  options as chosen,
  printed,
  product,
  refuse,
  shapeOf,
  sized,
  synchronous,
  whole,
  type Check,
} from "./check.ts";
import { Engine, type Dtype, type EngineOptions, type Numbers } from "./engine.ts";
import { drawing, random, type Random } from "./random.ts";
import { Tensor, type Region, type Traits } from "./tensor.ts";

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
  /** @internal */
  readonly engine: Engine;
  readonly check: boolean;
  readonly trace: Trace | undefined;
  #random: Random;
  #entries: Entry[] = [];
  #regions: Region[];
  #params: Tensor[] = [];
  #recording = true;
  #evaluating = false;
  #running = false;
  #summed = false; // whether gradients may hold something
  #reads: { of: Region; tensors: Set<Tensor> } | undefined;

  constructor(dtype: Dtype = "f32", options: TapeOptions = {}) {
    const { check, trace, seed, engine, module, limit } = chosen("tape", options, {
      check: [flag, false],
      trace: [callable as Check<Trace>, undefined],
      seed: [whole(), 0],
      engine: [anything as Check<Engine>, undefined],
      module: [anything as Check<EngineOptions["module"]>, undefined],
      limit: [anything as Check<number>, undefined],
    });
    if (engine !== undefined) usable(engine, dtype, (module ?? limit) !== undefined);
    this.engine = engine ?? new Engine(dtype, { module, limit });
    this.check = check;
    this.trace = trace;
    this.#random = random(seed);
    this.#regions = [{ alive: true, made: 0, gone: undefined, mark: this.engine.mark, records: 0 }];
    this.engine.advice = () => this.#advice();
    taken.add(this.engine);
  }

  get dtype(): Dtype {
    return this.engine.dtype;
  }
  /** @internal Whether `x` is a tape of this copy of the library and no Proxy. */
  static is(x: unknown): x is Tape {
    return typeof x === "object" && x !== null && #entries in x;
  }
  /** Whether operations are being recorded. */
  get recording(): boolean {
    return living("recording", this).#recording;
  }
  /** @internal Whether `noGrad` is running: dropout then keeps every number. */
  get evaluating(): boolean {
    return this.#evaluating;
  }
  /** The generator of dropout. Its `seed` and `position` are part of a run's state. */
  get random(): Random {
    return living("random", this).#random;
  }
  set random(rng) {
    living("random", this).#random = drawing("random", rng);
  }
  /** Every parameter made so far, in order. */
  get params(): readonly Tensor[] {
    return [...living("params", this).#params];
  }
  /** @internal How many there are. */
  get parameters(): number {
    return this.#params.length;
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
    return living("tensor", this).#filled("tensor", shape, values);
  }

  /** Integers: tokens, targets, indices. */
  integers(shape: readonly number[], values: ArrayLike<number>): Tensor {
    return living("integers", this).#filled("integers", shape, values, { integral: true });
  }

  /** A tensor whose gradient is wanted: a parameter, or an input to differentiate by. */
  param(shape: readonly number[], values?: ArrayLike<number>): Tensor {
    return living("param", this).#filled("param", shape, values, { wants: true });
  }

  #filled(who: string, shape: readonly number[], values?: ArrayLike<number>, traits: Traits = {}): Tensor {
    const checked = sized(who, shape);
    const given =
      values === undefined && !traits.integral ? values : filling(who, checked, values!, this.engine.memory.buffer);
    if (traits.integral)
      for (let i = 0; i < given!.length; i++)
        if (given![i] !== (given![i]! | 0)) refuse(RangeError, who, `${given![i]} at ${i} is no 32-bit integer`);
    return this.#put(checked, given, traits);
  }

  /** @internal `integers` of a shape and of 32-bit integers that the library made itself. */
  indices(shape: readonly number[], values: readonly number[]): Tensor {
    return this.#put(Object.freeze(shape), values, { integral: true });
  }

  #put(shape: readonly number[], given: ArrayLike<number> | undefined, traits: Traits): Tensor {
    const { engine } = this;
    const { mark } = engine;
    const { made, records } = this;
    const params = this.#params.length;
    try {
      const at = engine.alloc(product(shape), traits.integral ? 4 : engine.width);
      const t = new Tensor(this, shape, at, this.#region, traits);
      if (traits.wants) {
        t.at = engine.alloc(t.size);
        engine.zero(t.at, t.size);
        this.#params.push(t);
      }
      if (given) t.values().set(given);
      else engine.zero(at, t.size);
      return t;
    } catch (error) {
      this.undo(mark, made, records, params);
      throw error;
    }
  }

  /** @internal Room for an operation's result; its numbers are whatever was there. */
  claim(shape: readonly number[], wants: boolean): Tensor {
    return new Tensor(this, shape, this.engine.alloc(product(shape)), this.#region, { wants });
  }

  /** @internal Another result over the memory at `data`, with a gradient of its own. */
  overlay(shape: readonly number[], data: number, wants: boolean): Tensor {
    return new Tensor(this, shape, data, this.#region, { wants });
  }

  /**
   * @internal Another tensor over the memory of `x`; the two share one gradient, or, with `wants` false, none reaches
   * `x`.
   */
  alias(x: Tensor, shape: readonly number[], wants: boolean): Tensor {
    x.alive("alias");
    if (this.#reads) this.noteReads([x]);
    const root = wants ? x.root : undefined;
    return new Tensor(this, shape, x.data, x.region, { wants, integral: x.integral, root, number: x.number });
  }

  /** @internal The same numbers; in a backward pass that reaches them `hear` is called with their gradient, a view. */
  heard(x: Tensor, hear: (gradient: Numbers) => void): Tensor {
    if (!this.#recording || !x.wants) return x;
    const y = this.overlay(x.shape, x.data, true);
    const back: Entry["back"] = (K, { at, adds }) => {
      hear(this.engine.view(y.grad, y.size));
      K.accumulate(y.size, y.grad, at[0]!, adds[0]!);
    };
    this.record({ name: "heard", inputs: [x], outputs: [y], back });
    return y;
  }

  /** @internal Puts an operation on the tape. */
  record(entry: Entry): void {
    this.#entries.push(entry);
  }

  /** @internal Notes tensors that a checkpointed function reads from outside of it. */
  noteReads(inputs: readonly (Tensor | undefined)[]): void {
    if (!this.#reads) return;
    for (const x of inputs) if (x?.wants && x.root.region !== this.#reads.of) this.#reads.tensors.add(x.root);
  }

  /**
   * @internal Marks where the tape stands; what it returns takes back all that was made since, and puts the generator
   * back, unless `drawn` says that its numbers stay drawn.
   */
  bookmark(): (drawn?: boolean) => void {
    const depth = this.#regions.length;
    const { made, records, random } = this;
    const { mark } = this.engine;
    const params = this.#params.length;
    const { position } = random;
    return drawn => {
      for (const r of this.#regions.splice(depth)) r.alive = false;
      this.undo(mark, made, records, params);
      if (drawn) return;
      this.random = random;
      random.position = position;
    };
  }
  /** @internal How many tensors were made in the innermost region. */
  get made(): number {
    return this.#region.made;
  }
  /** @internal How many operations are recorded. */
  get records(): number {
    return this.#entries.length;
  }
  /** @internal Takes back what was made in the innermost region since memory, tensors and records stood so. */
  undo(mark: number, made: number, records: number, params: number): void {
    const region = this.#region;
    this.engine.rewind(mark);
    // Setting a length gives an array's memory up, also where it stays the same.
    if (this.#entries.length > records) this.#entries.length = records;
    if (this.#params.length > params) this.#params.length = params;
    if (region.made === made) return;
    const gone = (region.gone ??= []);
    while (gone[gone.length - 1]! >= made) gone.pop();
    if (gone.length % 2 === 0) gone.push(made);
    gone.push(region.made);
  }

  /**
   * Runs `body` in a region of its own: what it makes is gone when it returns. If it throws, the generator is where it
   * was. An operation that throws leaves nothing on the tape; of a function of several operations what ran before stays
   * until the scope around it ends.
   */
  scope<T>(body: () => T): T {
    callable("scope", "the body", body);
    const undo = living("scope", this).bookmark();
    this.#regions.push({
      alive: true,
      made: 0,
      gone: undefined,
      mark: this.engine.mark,
      records: this.#entries.length,
    });
    let done = false;
    try {
      const result = synchronous("scope", body());
      done = true;
      return result;
    } finally {
      undo(done);
    }
  }

  /** @internal Runs `body`; if it throws, what it made on the tape is gone, as after a scope. */
  allOrNothing<T>(body: () => T): T {
    const undo = this.bookmark();
    try {
      return synchronous("allOrNothing", body());
    } catch (error) {
      undo();
      throw error;
    }
  }

  /**
   * @internal What `make` makes outlives this call; `release` gives its memory back, unless something lies behind it by
   * then, or the scope around it has ended.
   */
  lend<T>(make: () => T): { made: T; release(): void } {
    const undo = this.bookmark();
    const made = this.allOrNothing(make);
    const end = this.engine.mark;
    const region = this.#region;
    const tensors = region.made;
    const last = (): boolean => this.#region === region && this.engine.mark === end && region.made === tensors;
    return { made, release: () => last() && undo(true) };
  }

  /** Runs `body` without recording: nothing made in it can be run backwards, and dropout keeps every number. */
  noGrad<T>(body: () => T): T {
    living("noGrad", this);
    callable("noGrad", "the body", body);
    const evaluating = this.#evaluating;
    this.#evaluating = true;
    try {
      return synchronous("noGrad", this.unrecorded(body));
    } finally {
      this.#evaluating = evaluating;
    }
  }
  /** @internal Runs `body` without recording, as a part of training all the same: dropout drops. */
  unrecorded<T>(body: () => T): T {
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
    for (const p of living("zeroGrad", this).#params) this.engine.zero(p.grad, p.size);
    this.#summed = false;
  }

  /**
   * One training step up to the gradients: zeroes them, runs `body` in a scope, runs its loss backwards, returns its
   * value. Throws a RangeError, before anything is run backwards, when the loss is not finite. With `accumulate`
   * gradients are added to those that are there. Where it throws, the generator is as before, and so are gradients, or,
   * without `accumulate`, zero if that was while it ran backwards.
   */
  step(body: () => Tensor, options: { accumulate?: boolean } = {}): number {
    callable("step", "the body", body);
    const { accumulate } = chosen("step", options, { accumulate: [flag, false] });
    return this.scope(() => {
      const loss = synchronous("step", body());
      if (!isTensor(loss))
        refuse(TypeError, "step", `the function returned ${printed(loss)}`, "the loss, a tensor of size 1");
      this.#ready(loss);
      const value = loss.item();
      if (!Number.isFinite(value)) {
        const why = `the loss is ${value}; parameters and gradients are as before`;
        const advice = `look with new Tape("${this.dtype}", { check: true })`;
        refuse(RangeError, "step", `${why}\n  lower the learning rate, clip gradients, or ${advice}`);
      }
      let done = false;
      if (!accumulate) for (const p of this.#params) p.blank = true;
      try {
        this.#run(loss, undefined, true, accumulate); // nobody reads what the scope made once this has returned
        done = true;
      } finally {
        for (const p of this.#params) {
          if (p.blank || !(done || accumulate)) this.engine.zero(p.at, p.size);
          p.blank = false;
        }
      }
      return value;
    });
  }

  /**
   * Adds d`loss`/d`x` to the gradient of every tensor that wants one. `seed`: the gradient of `loss` itself, for one
   * that is no scalar. Where it throws the record is as before, and so are gradients where they were zero;
   * else, since half a sum is none, they are NaN until `zeroGrad` or a step.
   */
  backward(loss: Tensor, seed?: ArrayLike<number>): void {
    living("backward", this).#ready(loss, seed !== undefined);
    const from = seed === undefined ? seed : filling("backward", loss.shape, seed, this.engine.memory.buffer);
    this.allOrNothing(() => {
      try {
        this.#run(loss, from, false, false);
      } catch (error) {
        // Copies of all gradients beforehand would cost a tenth of a small backward pass.
        for (const p of this.#params) this.engine.kernels.fill(p.size, this.#summed ? NaN : 0, p.at);
        throw error;
      }
    });
  }
  /** Runs `loss` backwards; with `keep` gradients are as before if that throws. */
  #run(loss: Tensor, seed: ArrayLike<number> | undefined, recycle: boolean, keep: boolean): void {
    const params = keep ? [...this.#params] : [];
    const before = params.map(p => p.gradient().slice());
    const { root } = loss;
    this.#running = true;
    try {
      const blank = !root.at || root.blank;
      if (!root.at) root.at = this.engine.alloc(loss.size);
      root.blank = false;
      const at = this.engine.view(root.at, loss.size);
      if (blank) at.fill(0);
      for (let i = 0; i < at.length; i++) at[i]! += seed ? seed[i]! : 1;
      this.#replay(this.#region.records, recycle);
      this.#summed = true;
    } catch (error) {
      params.forEach((p, i) => p.gradient().set(before[i]!));
      throw error;
    } finally {
      this.#running = false;
    }
  }
  #replay(from: number, recycle: boolean): void {
    const pass: Pass = { engine: this.engine, entries: this.#entries, region: this.#region, trace: this.trace };
    if (this.check) pass.verify = (who, x, address, inputs) => this.#finite(who, x, address, inputs);
    replay(pass, from, recycle);
  }

  /** Throws unless `loss` can be run backwards, from a gradient that is given where it is `seeded`. */
  #ready(loss: Tensor, seeded = false): void {
    const who = "backward";
    const scalar = "a tensor of size 1";
    if (this.#running) refuse(Error, who, "called while another backward runs");
    if (!isTensor(loss)) refuse(TypeError, who, `got ${printed(loss)}`, scalar);
    if (loss.tape !== this)
      refuse(TypeError, who, `the tensor is of another ${isTape(loss.tape) ? "tape" : "copy of farsight"}`);
    loss.alive(who);
    if (!loss.wants) refuse(Error, who, `${shapeOf(loss)} depends on no parameter, or was computed in noGrad`);
    if (!seeded && loss.size !== 1)
      refuse(RangeError, who, `${shapeOf(loss)} is no scalar`, `${scalar}, or the gradient to start from`);
    if ((this.#entries.length === this.#region.records && !loss.grad) || loss.root.spent)
      refuse(Error, who, "nothing is recorded in this scope, or it ran already");
    if (!loss.grad && loss.root.region !== this.#region) {
      const why = `${shapeOf(loss)} was made outside of this scope`;
      refuse(Error, who, `${why}\n  call backward in the scope where it was made`);
    }
  }

  /** @internal Check mode: throws at the first number of `y` that is not finite. */
  verify(name: string, y: Tensor, inputs: readonly (Tensor | undefined)[]): void {
    this.#finite(`${name} (op ${this.#entries.length})`, y, y.data, inputs);
  }
  #finite(who: string, y: Tensor, address: number, inputs: readonly (Tensor | undefined)[]): void {
    const bad = infinite(y.shape, this.engine.view(address, y.size));
    if (!bad) return;
    const ranges = inputs.filter(x => x !== undefined).map(x => `${shapeOf(x)} in ${range(x.values())}`);
    refuse(RangeError, who, `${bad} of ${shapeOf(y)}; inputs ${ranges.join(", ")}`);
  }

  /**
   * Runs `body` without keeping what it computes on the way; the backward pass runs it again (Chen et al. 2016). Memory
   * for time: one more forward pass. What `body` returns, a tensor or several, is the same to the bit, dropout
   * included. It must read the same tensors each time: copy a variable that a loop assigns to into a const. Where
   * nothing is recorded, it is run once, and what it computes on the way is not kept either.
   */
  checkpoint<T extends Tensor | readonly Tensor[]>(body: () => T): T {
    living("checkpoint", this);
    callable("checkpoint", "the body", body);
    return this.allOrNothing(() => this.#checkpointed(body));
  }
  #checkpointed<T extends Tensor | readonly Tensor[]>(body: () => T): T {
    const { position } = this.random;
    const tensors = new Set<Tensor>();
    const { results, single } = this.#tried(body, tensors);
    const inputs = [...tensors];
    this.noteReads(inputs);
    const wants = this.#recording && inputs.length > 0;
    const outputs = results.map(({ shape, values }) => {
      if (values instanceof Int32Array) return this.integers(shape, values);
      const y = this.claim(shape, wants);
      y.values().set(values);
      return y;
    });
    const back: Entry["back"] = (_, { at, adds }) => {
      // What runs again settles for itself where it writes and where it adds.
      inputs.forEach((x, i) => adds[i] || this.engine.zero(at[i]!, x.size));
      this.scope(() => this.#again(body, position, outputs));
    };
    if (wants) this.record({ name: "checkpoint", inputs, outputs, back });
    return (single ? outputs[0] : outputs) as unknown as T;
  }

  /** What a checkpointed function gives; `tensors` collects what it reads from outside. */
  #tried(body: () => Tensor | readonly Tensor[], tensors: Set<Tensor>) {
    const outer = this.#reads;
    return this.scope(() => {
      this.#reads = { of: this.#region, tensors };
      try {
        const made = this.unrecorded(() => given(body));
        const list = [made].flat();
        this.noteReads(list);
        return { results: list.map(y => ({ shape: y.shape, values: y.values().slice() })), single: isTensor(made) };
      } finally {
        this.#reads = outer;
      }
    });
  }

  /** Runs a checkpointed function once more, recorded, and backwards from the gradients of its outputs. */
  #again(body: () => Tensor | readonly Tensor[], position: number, outputs: readonly Tensor[]): void {
    const after = this.random.position;
    const recording = this.#recording;
    const evaluating = this.#evaluating;
    const from = this.#entries.length;
    this.random.position = position;
    this.#recording = true;
    this.#evaluating = false;
    try {
      const again = [given(body)].flat();
      if (again.length !== outputs.length || !outputs.every((y, i) => same(again[i]!.values(), y.values())))
        refuse(
          Error,
          "checkpoint",
          "the function gave other numbers when backward ran it again",
          "one that reads the same tensors each time",
        );
      outputs.forEach((y, i) => {
        const { root, wants } = again[i]!;
        if (!y.grad || !wants) return;
        const add = root.at !== 0 && !root.blank;
        root.at ||= this.engine.alloc(root.size);
        this.engine.kernels.accumulate(y.size, y.grad, root.at, add);
        root.blank = false;
      });
      this.#replay(from, true);
    } finally {
      this.random.position = after;
      this.#recording = recording;
      this.#evaluating = evaluating;
    }
  }

  /** What to do where memory is full. */
  #advice(): string {
    const inner = this.#regions[1] ? this.#region : { mark: this.engine.mark, records: this.#entries.length };
    const outer = this.#regions.filter(r => r !== inner);
    const params = this.#params.filter(p => p.region !== inner);
    const first = outer[0]!.mark;
    const rest = params.reduce((n, p) => n - 2 * p.size * this.engine.width, inner.mark - first);
    if (2 * rest <= this.engine.mark - first) return "lower the batch or the sequence, or use tape.checkpoint";
    const tensors = outer.reduce((n, r) => n + r.made, -params.length);
    const made = `${tensors} tensors and ${inner.records} operations lie outside of this scope, or of any`;
    return `${made}: make what is used once in tape.scope or tape.step`;
  }

  /** The recorded program, one operation a line with shapes: `%2 matmul [4 8] <- %1 [4 3], param [3 8]`. */
  toString(): string {
    const numbers = new Map<Tensor, string>();
    const name = (x: Tensor): string => `${numbers.get(x.root) ?? (x.wants ? "param" : "const")} ${shapeOf(x)}`;
    let next = 0;
    const lines = living("toString", this).#entries.map(e => {
      const from = e.inputs.filter(x => x !== undefined).map(name);
      for (const y of e.outputs) numbers.set(y.root, `%${next++}`);
      const to = e.outputs.map(y => numbers.get(y.root));
      return `${to.join(" ")} ${e.name} ${e.outputs.map(shapeOf).join(" ")} <- ${from.join(", ")}`;
    });
    return lines.join("\n");
  }
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    const mib = (this.bytes / 1048576).toFixed(1);
    return `Tape ${this.dtype}: ${this.#params.length} parameters, ${this.#entries.length} operations, ${mib} MiB`;
  }
}

/** Outside of the class, which a name of its own inside it would rename. */
const isTape = (x: unknown): boolean => Tape.is(x);
/** Returns `x` if it is a tape. */
export function living(who: string, x: unknown): Tape {
  if (Tape.is(x)) return x;
  refuse(TypeError, who, `the tape is ${printed(x)}`, "a Tape of this copy of farsight, behind no Proxy");
}

/** Throws unless a tape of `dtype` may take `engine`; `more`: whether options of an engine were given as well. */
function usable(engine: Engine, dtype: Dtype, more: boolean): void {
  if (!Engine.is(engine) || engine.dtype !== dtype || more) {
    const is = Engine.is(engine) ? `of ${engine.dtype}` : label(engine);
    const wants = `an engine of ${dtype}, and module and limit given to the engine`;
    refuse(TypeError, "tape", `the engine is ${is}`, wants);
  }
  if (taken.has(engine)) refuse(Error, "tape", "the engine has a tape already", "an engine for each tape");
}

/** What a function that is to be checkpointed returns. */
function given<T extends Tensor | readonly Tensor[]>(body: () => T): T {
  const made = synchronous("checkpoint", body());
  if (![made].flat().every(isTensor))
    refuse(TypeError, "checkpoint", `the function returned ${printed(made)}`, "a tensor, or a list of tensors");
  return made;
}

/** Whether two arrays hold the same numbers, to the bit but for the payload of NaN. */
function same(x: Numbers, y: Numbers): boolean {
  return x.length === y.length && x.every((n, i) => Object.is(n, y[i]));
}

/** The least and the largest number, as errors print them. */
function range(values: Numbers): string {
  let low = Infinity;
  let high = -Infinity;
  for (const v of values) {
    if (v < low) low = v;
    if (v > high) high = v;
  }
  return `[${low}, ${high}]`;
}
