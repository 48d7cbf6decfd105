// recycle.ts: memory that a backward pass may write again, as numbers: addresses and bytes.
// Blocks stand in bins by size, four to each doubling, the one released last on top. Operations run from the last to
// the first, so that what is released often ends where a spare block begins: the two are joined, and the old one stays
// in its bin, unknown by its start, until it is met. Releasing and taking cost a constant number of steps.

/** Memory that may be written again. */
export interface Spare {
  /** The address of `bytes` of it, a multiple of 16 bytes long; 0 where no block is large enough. */
  take(bytes: number): number;
  /** Gives the memory between two multiples of 16. */
  give(from: number, to: number): void;
}

const STEPS = 4; // bins to a doubling

/** The bin of a block of `bytes`: blocks of the next bin are all larger. */
function bin(bytes: number): number {
  const units = bytes / 16;
  const doubling = 31 - Math.clz32(units);
  return doubling * STEPS + ((units << 2) >>> doubling) - STEPS;
}

/** No memory at first. Of a bin only the block released last is looked at. */
export function spare(): Spare {
  const bins: (number[] | undefined)[] = []; // where blocks start; made when first needed: a small step has few
  // Of blocks, by where they start; 0 where one has been taken: deleted and set again and again, a key of a large Map
  // leaves itself behind in a chain that each next look goes through (8,000 places of a recurrence: 180 ms, so 37).
  const ends = new Map<number, number>();

  /** The start of the last block of a bin, once those that are no longer what they were are off its top. */
  function top(b: number): number {
    const list = bins[b];
    while (list?.length) {
      const from = list[list.length - 1]!;
      const to = ends.get(from);
      if (to && bin(to - from) === b) return from;
      list.pop();
    }
    return 0;
  }
  function keep(from: number, to: number): void {
    if (from === to) return;
    const b = bin(to - from);
    ends.set(from, to);
    top(b); // a block that grows would else leave itself behind at each step
    (bins[b] ??= []).push(from);
  }
  return {
    take(bytes) {
      const wanted = Math.ceil(bytes / 16) * 16;
      for (let b = wanted ? bin(wanted) : bins.length; b < bins.length; b++) {
        const from = top(b);
        const to = ends.get(from) ?? 0;
        if (to - from < wanted) continue;
        bins[b]!.pop();
        ends.set(from, 0);
        keep(from + wanted, to);
        return from;
      }
      return 0;
    },
    give(from, to) {
      const next = ends.get(to);
      if (next) ends.set(to, 0);
      keep(from, next || to);
    },
  };
}
