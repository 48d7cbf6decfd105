// cache.ts: a key-value cache, for decoding: keys, values and gate keys of all places so far.
import { get, integer, items, largest, options as chosen, refuse, tensor, whole } from "../../check.ts";
import { append } from "../../ops/shapes.ts";
import { living } from "../../nn.ts";
import type { Tape } from "../../tape.ts";
import type { Tensor } from "../../tensor.ts";
import { MOST, rowsOf, type Carry, type CarryKind, type Reads } from "../carry.ts";

/** The sizes of a cache: of one layer, for b sequences of at most `capacity` places. */
export interface CacheSizes {
  readonly b: number;
  readonly capacity: number;
  /** Width of all heads of keys, as of values. */
  readonly width: number;
  /** Numbers a place of what only gates see: as many as of keys, or a logit a head of keys; 0 unless given. */
  readonly gates?: number;
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
 *
 * In the exact engine a place has the same bits in whatever pieces the text comes, and those of the plain forward pass,
 * but for the last place of an odd length: there the plain pass adds the odd last key in its second sum, which stored
 * results fix, so that this row differs in its last bits from the same row of any longer text, and what never changes a
 * row as a text grows cannot equal both.
 */
export function cache(tape: Tape, sizes: CacheSizes): Cache {
  living("cache", tape);
  const SIZE = [whole(1, MOST)] as const;
  const {
    b,
    capacity,
    width,
    gates: apart,
  } = chosen("cache", sizes, { b: SIZE, capacity: SIZE, width: SIZE, gates: [whole(0, MOST), 0] });
  const [keys, values] = [0, 1].map(() => tape.tensor([b, capacity, width])) as [Tensor, Tensor];
  const gates = apart ? tape.tensor([b, capacity, apart]) : undefined;
  const { last, write } = ledger(b);
  const holding = (counts: readonly number[]): Cache => {
    const own = last(counts);
    const live = (): void => {
      if (last(counts).every((run, i) => run === own[i])) return;
      refuse(Error, "cache", "another run wrote over its places", "the state that the last run gave, or a new start");
    };
    return {
      counts,
      seen: largest(counts),
      fits: sizes => rowsOf(keys, get(sizes, "tape"), get(sizes, "b"), get(sizes, "width")),
      extend(reads) {
        live();
        for (const name of ["q", "k", "v"] as const) tensor("cache", name, get(reads, name) as Tensor, "b t n");
        const t = reads.k.shape[1]!;
        const after = counts.map(n => n + t);
        checkRun(reads, largest(after), capacity, apart);
        const starts = tape.indices([b], counts);
        append.of([keys, reads.k, starts], { from: reads.kAt });
        append.of([values, reads.v, starts], { from: reads.vAt });
        if (reads.gateK) append.of([gates, reads.gateK, starts]);
        write(counts, t);
        const gateK = reads.gateK && gates;
        const { q, gateQ, gates: see } = reads;
        const all = tape.indices([b], after);
        return { q, k: keys, kAt: 0, v: values, vAt: 0, gateQ, gateK, gates: see, counts: all };
      },
      shorten(lengths) {
        live();
        const list = items("cache", "lengths are", lengths);
        return holding(counts.map((n, i) => Math.min(n, integer("cache", "a length", list[i]))));
      },
      next(x) {
        const [, t = 0] = tensor("cache", "x", x, "b t d").shape;
        return holding(counts.map(n => n + t));
      },
    };
  };
  return holding(new Array<number>(b).fill(0));
}

/** Throws unless a cache of such a capacity can take what a run reads, up to place `end`. */
function checkRun({ k, gateK }: Reads, end: number, capacity: number, gates: number): void {
  if (end > capacity) {
    const why = `${end} places are more than its capacity of ${capacity}`;
    refuse(RangeError, "cache", why, "start with a larger cache, or with earlier");
  }
  if (k.tape.recording && k.wants)
    refuse(Error, "cache", "gradients are recorded, and a cache has none", "noGrad around the run");
  const own = gateK?.shape[2];
  if (own !== undefined && own !== gates)
    refuse(
      TypeError,
      "cache",
      `gates see ${own} numbers of their own, and there is room for ${gates}`,
      `gates: ${own}`,
    );
}

/** A cache of so many places a sequence, the model's `context` unless given. */
export const keysAndValues: CarryKind = (value, { tape, b, context, width, gates }) =>
  cache(tape, { b, capacity: integer("start", "cache", value === undefined ? context : value, 1), width, gates });
