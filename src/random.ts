// Random numbers by counting: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011). The whole state is (seed, position); word i is word i & 3 of the block whose counter is floor(i / 4) and
// whose key is the seed.
import { integer, items, printed, refuse } from "./check.ts";
import { cos, log } from "./math.ts";

const WORD = 4294967296; // 2^32
const LONG = 9007199254740992; // 2^53
const END = LONG - 2 * WORD; // no call draws from here on; one that began before it may end behind it

/** A stream of random numbers that is a function of `seed` and `position` and of nothing else. */
export interface Random {
  readonly seed: number;
  /** The number of 32-bit words drawn so far; setting it resumes there. */
  position: number;
  /** 32 random bits, as an integer from 0 to 2^32 - 1. Every other method draws through this one. */
  word(): number;
  /** A multiple of 2^-53 in [0, 1), from two words, the higher bits first. */
  uniform(): number;
  /**
   * An integer from 0 to n - 1, all equally likely; from one word where n <= 2^32 and two above, and as many again
   * after each rejection.
   */
  integer(n: number): number;
  /**
   * A number of the normal distribution with mean 0 and variance 1, always from four words: sqrt(-2 ln u) cos(2π v).
   */
  normal(): number;
  /**
   * The independent generator of a seed that derives from this one's seed and `key`; this one's position does not
   * matter and does not move.
   */
  fork(key: number | string): Random;
  /** One of the items, all equally likely. */
  choice<T>(items: ArrayLike<T>): T;
  /** A new array with the items in random order. */
  shuffle<T>(items: ArrayLike<T>): T[];
  /** Rounds the position up to a multiple of 4, where a block begins, and returns it. */
  aligned(): number;
  /** Passes over n words. */
  skip(n: number): void;
}

/** The upper 32 bits of a b, for a whole b of 32 bits in halves. */
function high(a: number, bh: number, bl: number): number {
  const ah = a >>> 16;
  const al = a & 0xffff;
  const middle = (Math.imul(ah, bl) + (Math.imul(al, bl) >>> 16)) | 0;
  const lower = (Math.imul(al, bh) + (middle & 0xffff)) | 0;
  return (Math.imul(ah, bh) + (middle >>> 16) + (lower >>> 16)) | 0;
}

function rounds(c0: number, c1: number, c2: number, c3: number, k0: number, k1: number, out: Uint32Array): void {
  for (let i = 0; i < 10; i++) {
    const h0 = high(c0, 0xd251, 0x1f53);
    const l0 = Math.imul(c0, 0xd2511f53);
    const h1 = high(c2, 0xcd9e, 0x8d57);
    const l1 = Math.imul(c2, 0xcd9e8d57);
    c0 = h1 ^ c1 ^ k0;
    c1 = l1;
    c2 = h0 ^ c3 ^ k1;
    c3 = l0;
    k0 = (k0 + 0x9e3779b9) | 0;
    k1 = (k1 + 0xbb67ae85) | 0; // the golden ratio, and the square root of 3 less 1
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/** The block of four words that Philox4x32-10 makes of a counter of four words and a key of two. */
export function philox(counter: ArrayLike<number>, key: ArrayLike<number>): Uint32Array {
  for (const [name, list] of Object.entries({ counter, key }))
    for (const word of items("philox", `${name} is`, list)) integer("philox", name, word, -WORD / 2, WORD - 1);
  if (counter.length !== 4 || key.length !== 2)
    refuse(RangeError, "philox", `${counter.length} words of counter and ${key.length} of key`, "4 and 2");
  const out = new Uint32Array(4);
  rounds(counter[0]! | 0, counter[1]! | 0, counter[2]! | 0, counter[3]! | 0, key[0]! | 0, key[1]! | 0, out);
  return out;
}

/** The seed of a fork, from blocks whose counters have a last word that is not 0: the stream never uses those. */
function derived(low: number, top: number, key: number | string): number {
  let a = 0;
  let b = 0;
  const mixed = new Uint32Array(4);
  if (typeof key === "string") {
    for (let i = 0; i < key.length; i++) {
      // each UTF-16 unit, chained through a block of its own
      rounds(a ^ key.charCodeAt(i), b, i, 2, low, top, mixed);
      a = mixed[0]!;
      b = mixed[1]!;
    }
    rounds(a, b, key.length, 3, low, top, mixed);
  } else {
    integer("fork", "key", key, -Number.MAX_SAFE_INTEGER);
    rounds(key | 0, Math.floor(key / WORD), 0, 1, low, top, mixed);
  }
  return mixed[0]! + (mixed[1]! & 0x1fffff) * WORD; // 53 bits
}

const generators = /* @__PURE__ */ new WeakSet<Random>();
/** Returns `rng` if it is a generator. */
export function drawing(who: string, rng: Random): Random {
  if (!generators.has(rng)) refuse(TypeError, who, `the generator is ${printed(rng)}`, "random(seed)");
  return rng;
}

/** What `draw` gives; if it throws, the generator stands where it stood. */
export function drawn<T>(who: string, rng: Random, draw: (rng: Random) => T): T {
  const { position } = drawing(who, rng);
  try {
    return draw(rng);
  } catch (error) {
    rng.position = position;
    throw error;
  }
}

function noted(rng: Random): Random {
  generators.add(rng);
  return rng;
}
function ended(who: string, position: number): never {
  refuse(RangeError, who, `the generator stands at ${position}`, `a position below ${END}`);
}
const placed = (position: unknown): number => integer("random", "position", position, 0, END + WORD);

/** The items in an order that `below` draws (Fisher and Yates). */
function shuffled<T>(list: T[], below: (n: number) => number): T[] {
  for (let i = list.length - 1; i > 0; i--) {
    const j = below(i + 1);
    const item = list[i]!;
    list[i] = list[j]!;
    list[j] = item;
  }
  return list;
}

/**
 * A random number generator: the same numbers for the same seed on every machine, from any position at once.
 *
 *     const rng = random(7);
 *     rng.normal(); rng.integer(10); rng.fork("data").uniform();
 *     const resumed = random(rng.seed, rng.position);
 */
export function random(seed: number, position = 0): Random {
  const low = integer("random", "seed", seed) | 0;
  const top = Math.floor(seed / WORD);
  placed(position);
  const block = new Uint32Array(4);
  let held = -1; // the number of the block held

  function word(): number {
    const i = position;
    const number = Math.floor(i * 0.25);
    if (number !== held) {
      rounds(number | 0, Math.floor(number / WORD), 0, 0, low, top, block);
      held = number;
    }
    position = i + 1;
    return block[i & 3]!;
  }
  const open = (who: string): undefined => (position < END ? undefined : ended(who, position));
  // (2^26 upper + lower) / 2^53
  const uniform = (): number => ((word() >>> 5) * 67108864 + (word() >>> 6)) / LONG;
  function below(n: number): number {
    const long = integer("integer", "n", n, 1) > WORD;
    open("integer");
    const all = long ? LONG : WORD;
    const limit = all - (all % n); // what is left out would favour the first few
    for (;;) {
      const x = long ? uniform() * LONG : word();
      if (x < limit) return x % n;
    }
  }
  return noted({
    seed,
    get position() {
      return position;
    },
    set position(value) {
      position = placed(value);
    },
    word: () => open("word") ?? word(),
    uniform: () => open("uniform") ?? uniform(),
    integer: below,
    normal() {
      open("normal");
      const u = 1 - uniform(); // in (0, 1]: the logarithm stays finite
      return Math.sqrt(-2 * log(u)) * cos(6.283185307179586 * uniform());
    },
    fork: key => random(derived(low, top, key)),
    choice<T>(list: ArrayLike<T>): T {
      const all = items("choice", "the list is", list);
      if (!all.length) refuse(RangeError, "choice", "nothing to choose from", "at least one item");
      return all[below(all.length)]!;
    },
    shuffle: list => shuffled(items("shuffle", "the list is", list), below),
    aligned: () => (position = Math.ceil(position / 4) * 4),
    skip(n) {
      position = placed(position + integer("skip", "n", n));
    },
  });
}
