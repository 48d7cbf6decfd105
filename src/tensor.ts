// tensor.ts: an array on a tape: an address, a shape, and where its gradient lies.
import { COPY, PROXY, TENSOR, product, refuse, shapeOf } from "./check.ts";
import type { Numbers } from "./engine.ts";
import type { Tape } from "./tape.ts";

/** @internal A stretch of a tape's life. Tensors made in it are dead once it has ended. */
export interface Region {
  alive: boolean;
  /** How many tensors with memory or a gradient of their own were made in it. */
  made: number;
  /** Of these the numbers of those whose memory was given back, as boundaries: from, to before, from, to before... */
  gone: number[] | undefined;
  /** Where the engine's memory and the records stood when it began. */
  readonly mark: number;
  readonly records: number;
}

/** @internal What a tensor is beside its address and shape. */
export interface Traits {
  /** Whether gradients flow to it; false unless given. */
  wants?: boolean;
  /** Whether it holds 32-bit integers; false unless given. */
  integral?: boolean;
  /** The tensor whose memory and gradient it shares; itself unless given. */
  root?: Tensor | undefined;
  /** Its number in its region; the next one unless given. */
  number?: number;
}

/** How many of ascending numbers are at most `n`. */
function below(list: readonly number[], n: number): number {
  let low = 0;
  for (let high = list.length; low < high;) {
    const middle = (low + high) >> 1;
    if (list[middle]! <= n) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A row-major array on a tape. Made by `tape.tensor`, `tape.param` and operations, never by `new`. */
export class Tensor {
  /** What a Proxy has not. */
  readonly #own = true;
  readonly tape: Tape;
  readonly shape: readonly number[];
  /** How many numbers it holds. */
  readonly size: number;
  /** Whether it holds 32-bit integers (tokens, targets) instead of numbers of the tape's dtype. */
  readonly integral: boolean;
  /** Whether gradients flow to it. */
  readonly wants: boolean;
  /** @internal Address of the first number. */
  readonly data: number;
  /** @internal */
  readonly region: Region;
  /** @internal */
  readonly number: number;
  /** @internal The tensor whose memory this one shares (itself unless made by `reshape`); gradients meet there. */
  readonly root: Tensor;
  /** @internal Address of the gradient, of a root; 0 when nobody asked for it or nothing has reached it yet. */
  at = 0;
  /** @internal Whether the gradient of a root holds nothing yet, not even zeros. */
  blank = false;
  /** @internal Whether its record ran backwards already: gradients that reach it now would go no further. */
  spent = false;

  /** @internal */
  constructor(tape: Tape, shape: readonly number[], data: number, region: Region, traits: Traits) {
    this.tape = tape;
    this.shape = shape;
    this.size = product(shape);
    this.data = data;
    this.region = region;
    this.number = traits.number ?? region.made++;
    this.wants = traits.wants ?? false;
    this.integral = traits.integral ?? false;
    this.root = traits.root ?? this;
  }

  /** @internal Whether `x` is a tensor of this copy of the library and no Proxy; `isTensor` is slower. */
  static is(x: unknown): x is Tensor {
    return typeof x === "object" && x !== null && #own in x;
  }
  /** @internal */
  get [TENSOR](): unknown {
    return #own in this ? COPY : PROXY;
  }
  /** @internal Address of the gradient, which this one shares with its root. */
  get grad(): number {
    return this.root.at;
  }

  /** A view of the numbers, good until the tape's memory grows: use it at once, copy it with `.slice()`. */
  values(): Numbers {
    this.alive("values");
    const { engine } = this.tape;
    return this.integral ? engine.integers(this.data, this.size) : engine.view(this.data, this.size);
  }

  /** The gradient: a view of it, or zeros where none arrived. Throws where none was asked for. */
  gradient(): Float32Array | Float64Array {
    this.alive("gradient");
    if (!this.wants) refuse(Error, "gradient", `${shapeOf(this)} asked for none; make it with tape.param`);
    const { engine } = this.tape;
    if (this.grad) return engine.view(this.grad, this.size);
    return engine.width === 4 ? new Float32Array(this.size) : new Float64Array(this.size);
  }

  /** The number a tensor of size 1 holds. */
  item(): number {
    if (this.size !== 1) refuse(RangeError, "item", `${shapeOf(this)} holds ${this.size} numbers, not one`);
    return this.values()[0]!;
  }

  /** @internal Whether the region it was made in goes on, and what made it did not throw. */
  get lives(): boolean {
    const { alive, gone } = this.region;
    return alive && (gone === undefined || below(gone, this.number) % 2 === 0);
  }
  /** @internal Throws if its memory was given back. */
  alive(who: string): void {
    if (this.lives) return;
    const why = `tensor ${shapeOf(this)} was used after its scope ended`;
    refuse(Error, who, `${why}\n  copy what you need out of the scope with .values().slice()`);
  }

  /** Its dtype, its shape and its first numbers. */
  toString(): string {
    if (!this.lives) return `Tensor ${shapeOf(this)} (its scope has ended)`;
    const some = Array.from(this.values().subarray(0, 6), x => Number(x.toPrecision(5)));
    const dtype = this.integral ? "i32" : this.tape.dtype;
    return `Tensor ${dtype} ${shapeOf(this)} ${some.join(" ")}${this.size > 6 ? " ..." : ""}`;
  }
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }
}
