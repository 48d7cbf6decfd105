// carry.ts: what one run of a layer leaves for the next. A carry is an object with the few places where it touches a
// layer; the layer knows nothing else of it.
import type { Tape } from "../tape.ts";
import type { Tensor } from "../tensor.ts";

/** Where attention reads queries, keys, values and gate keys: b t n or b s n, beginning at the columns said. */
export interface Reads {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly kAt: number;
  readonly v: Tensor;
  readonly vAt: number;
  readonly gateQ?: Tensor | undefined;
  readonly gateK?: Tensor | undefined;
  /** What CoPE's gates see: keys, which are `gateK`, or else the attention's own; its values; or the logits `gateK`. */
  readonly gates: "keys" | "values" | "tokens";
  /** How many keys each sequence has, of those that lie there; all unless given. */
  readonly counts?: Tensor | undefined;
}

/** What carries of a model's layers are for. */
export interface CarrySizes {
  readonly tape: Tape;
  /** Sequences. */
  readonly b: number;
  /** Width of the model. */
  readonly d: number;
  /** Width of all heads of keys, as of values. */
  readonly width: number;
}

/** What passes from one run of a layer to the next. All but `next` may be left out. */
export interface Carry {
  /** Whether what it holds is of such a model and batch; true unless given. */
  fits?(sizes: CarrySizes): boolean;
  /** How many places the longest sequence has before those that come in; those of `earlier` unless given. */
  readonly seen?: number;
  /** Changes what comes into the layer, b t d (an associative memory reads here). */
  enter?(x: Tensor): Tensor;
  /** States b s d in front of those that come in: queries see them, and they have no queries (Transformer-XL). */
  readonly earlier?: Tensor | undefined;
  /** Takes the keys and values of what came in and gives all there are (a cache). */
  extend?(reads: Reads): Reads;
  /** The same carry over other tensors, where it holds any that end with the scope they were made in. */
  held?(hold: (x: Tensor) => Tensor): Carry;
  /** The same with at most so many places of each sequence, the first ones (a cache). */
  shorten?(lengths: readonly number[]): Carry;
  /**
   * What the next run gets, given what came into the layer and what it made of it, b t d each; of y only the last
   * places where no others were asked for.
   */
  next(x: Tensor, y: Tensor): Carry;
}

/** What a model's `start` knows of the layers that it makes carries for. */
export interface StartSizes extends CarrySizes {
  /** The model's `context`. */
  readonly context: number;
  /** Numbers a place of what only gates see: as many as of keys, or a logit a head of keys; 0 where that is nothing. */
  readonly gates: number;
}
/** Makes the carry of a layer from the value of its option, which it checks; undefined where none was given. */
export type CarryKind = (value: number | undefined, sizes: StartSizes) => Carry;

/** Most sequences of a state. */
export const MOST = 1048576;

/** Whether rows b s n lie on a tape and have these sizes. */
export const rowsOf = ({ tape, shape }: Tensor, on: unknown, b: unknown, n: unknown): boolean =>
  tape === on && shape[0] === b && shape[2] === n;

/** How many places a layer sees before those that come in. */
export const placesBefore = (carry: Carry | undefined): number => carry?.seen ?? carry?.earlier?.shape[1] ?? 0;
