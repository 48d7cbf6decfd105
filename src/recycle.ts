// recycle.ts: memory that a backward pass may write again, as numbers: addresses and bytes.
// Blocks stand in bins by size, four to each doubling, the one released last on top. Operations run from the last to
// the first, so that what is released often ends where a spare block begins: the two are joined, and the old one stays
// in its bin, unknown by its start, until it is met. Releasing and taking cost a constant number of steps.

/** A stretch of memory between two addresses. */
interface Block {
  readonly from: number;
  readonly to: number;
}

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
  const bins: (Block[] | undefined)[] = []; // made when first needed: a small step has few
  const starts = new Map<number, Block>();

  function keep(from: number, to: number): void {
    if (from === to) return;
    const block = { from, to };
    starts.set(from, block);
    (bins[bin(to - from)] ??= []).push(block);
  }
  return {
    take(bytes) {
      const wanted = Math.ceil(bytes / 16) * 16;
      for (let b = wanted ? bin(wanted) : bins.length; b < bins.length; b++) {
        const list = bins[b];
        if (!list) continue;
        let block = list[list.length - 1];
        while (block && starts.get(block.from) !== block) {
          list.pop();
          block = list[list.length - 1];
        }
        if (!block || block.to - block.from < wanted) continue;
        list.pop();
        starts.delete(block.from);
        keep(block.from + wanted, block.to);
        return block.from;
      }
      return 0;
    },
    give(from, to) {
      const next = starts.get(to);
      if (next) starts.delete(to);
      keep(from, next ? next.to : to);
    },
  };
}
