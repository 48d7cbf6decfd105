// carry.ts: what one run of a layer leaves for the next. A carry is an object with the few places where it touches a
// layer; the layer knows nothing else of it.
import { refuse } from "../check.ts";
import { append, concat, slice, stopGradient } from "../ops/shapes.ts";
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
  /** What CoPE's gates see: the attention's keys, its values, or `gateK`. */
  readonly gates: "keys" | "values" | "own";
  /** How many keys each sequence has, of those that lie there; all unless given. */
  readonly counts?: Tensor | undefined;
}

/** What passes from one run of a layer to the next. All but `next` may be left out. */
export interface Carry {
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
  /** What the next run gets, given what came into the layer and what it made of it, b t d each. */
  next(x: Tensor, y: Tensor): Carry;
}

/** The sizes of a cache: of one layer, for b sequences of at most `capacity` places. */
export interface CacheSizes {
  readonly b: number;
  readonly capacity: number;
  /** Width of all heads of keys, as of values. */
  readonly width: number;
  /** Whether gates see keys that are not the attention's own. */
  readonly gated: boolean;
}

/** A key-value cache. */
export interface Cache extends Carry {
  /** How many places each sequence has so far. */
  readonly counts: readonly number[];
}

/** Who wrote the places of b sequences last, to tell a state whose places are still its own. */
function ledger(b: number) {
  const writers = Array.from({ length: b }, (): number[] => []);
  let run = 0;
  return {
    /** The last writers of the first `counts` places; 0 of none. */
    last: (counts: readonly number[]): readonly number[] => counts.map((n, i) => writers[i]![n - 1] ?? 0),
    /** A new run writes t places behind the first `counts`. */
    write(counts: readonly number[], t: number): void {
      run++;
      writers.forEach((list, i) => {
        list.length = counts[i]!;
        for (let n = 0; n < t; n++) list.push(run);
      });
    },
  };
}

/**
 * A key-value cache: keys, values and gate keys of all places so far, in room made once; each run puts its own behind
 * those that `counts` knows of, in place. A cache whose places a run from another one has written over is refused.
 */
export function cache(tape: Tape, { b, capacity, width, gated }: CacheSizes): Cache {
  const [keys, values] = [0, 1].map(() => tape.tensor([b, capacity, width])) as [Tensor, Tensor];
  const gates = gated ? tape.tensor([b, capacity, width]) : undefined;
  const { last, write } = ledger(b);
  const holding = (counts: readonly number[]): Cache => {
    const own = last(counts);
    const live = (): void => {
      if (last(counts).every((run, i) => run === own[i])) return;
      refuse(Error, "cache", "another run wrote over its places", "the state that the last run gave, or a new start");
    };
    return {
      counts,
      extend(reads) {
        live();
        const t = reads.k.shape[1]!;
        const after = counts.map(n => n + t);
        checkRun(reads, Math.max(...after), capacity, gated);
        const starts = tape.integers([b], counts);
        append(keys, reads.k, starts, { from: reads.kAt });
        append(values, reads.v, starts, { from: reads.vAt });
        if (reads.gateK) append(gates!, reads.gateK, starts);
        write(counts, t);
        const gateK = reads.gateK && gates;
        const { q, gateQ, gates: see } = reads;
        const all = tape.integers([b], after);
        return { q, k: keys, kAt: 0, v: values, vAt: 0, gateQ, gateK, gates: see, counts: all };
      },
      shorten(lengths) {
        live();
        return holding(counts.map((n, i) => Math.min(n, lengths[i]!)));
      },
      next: x => holding(counts.map(n => n + x.shape[1]!)),
    };
  };
  return holding(new Array<number>(b).fill(0));
}

/** Throws unless a cache of such a capacity can take what a run reads, up to place `end`. */
function checkRun({ k, gateK }: Reads, end: number, capacity: number, gated: boolean): void {
  if (end > capacity) {
    const why = `${end} places are more than its capacity of ${capacity}`;
    refuse(RangeError, "cache", why, "start with a larger cache, or with earlier");
  }
  if (k.tape.recording && k.wants)
    refuse(Error, "cache", "gradients are recorded, and a cache has none", "noGrad around the run");
  if (gateK && !gated) refuse(TypeError, "cache", "gates see keys of their own", "a cache with gated: true");
}

/**
 * Transformer-XL's cache (Dai et al. 2019, 1901.02860): the states of the last `length` places that came into the
 * layer, stopped; what follows attends to them as well.
 */
export function stateCache(length: number, earlier?: Tensor): Carry {
  return {
    earlier,
    held: hold => stateCache(length, earlier && hold(earlier)),
    next(x) {
      const all = earlier ? concat([earlier, stopGradient(x)], { axis: 1 }) : stopGradient(x);
      const s = all.shape[1]!;
      return stateCache(length, s > length ? slice(all, s - length, s, { axis: 1 }) : all);
    },
  };
}
