// The counting task of CoPE (Golovneva et al. 2024, tables 3 and 4): programs that set, increment and print variables.
import { extent, get, integer, items, options as chosen, real, refuse, whole } from "../check.ts";
import { drawn, type Random } from "../random.ts";
import { named } from "./text.ts";

const who = "counting";

/**
 * What programs look like. The defaults are those of the paper's script; the weights are relative frequencies of the
 * three steps.
 */
export interface CountingOptions {
  /** How many variables there are, `a` to `z`. */
  vars?: number;
  /** The most steps of a program; their number is uniform from `minSteps` to `steps`. */
  steps?: number;
  minSteps?: number;
  /** The weight of `a = 0 ;`. */
  set?: number;
  /** The weight of `pass;`. */
  pass?: number;
  /** The weight of `a ++;`. */
  increment?: number;
  /** The largest value; answers go from 0 to `top`. */
  top?: number;
}

/** One program with its question, `print a`, at the end. The answer is what the last token predicts. */
export interface CountingSample {
  tokens: number[];
  answer: number;
  value: number;
}

/**
 * Rows of length `t`, padded on the right with 0. Targets are -100 except at each row's last token: the id of its
 * answer.
 */
export interface CountingBatch {
  tokens: Int32Array;
  targets: Int32Array;
  lengths: Int32Array;
  t: number;
}

/** A task of counting: its vocabulary and its samples, which are functions of a generator's seed and position. */
export interface Counting {
  /** The word of each id. */
  readonly vocab: readonly string[];
  readonly size: number;
  sample(rng: Random): CountingSample;
  /** b samples; a row longer than `block` loses its beginning, which may hold the `a = 0 ;` that was asked for. */
  batch(rng: Random, b: number, block?: number): CountingBatch;
  /** A batch of these samples, such as some of a fixed set; a row longer than `block` loses its beginning. */
  padded(samples: readonly Pick<CountingSample, "tokens" | "answer">[], block?: number): CountingBatch;
  /** The words of ids, to label a picture. */
  words(ids: ArrayLike<number>): string[];
}

/** The variables that are set. */
const known = (value: Int32Array): number[] => Array.from(value.keys()).filter(v => value[v]! >= 0);

/** The next step of a program whose variables have these values: a variable and its new value, or nothing: `pass;`. */
function step(
  rng: Random,
  value: Int32Array,
  { set, pass, increment, top }: { set: number; pass: number; increment: number; top: number },
): [v: number, to: number] | undefined {
  const all = known(value);
  const ready = all.filter(v => value[v]! < top); // the variables that can be incremented
  // The script picks a known variable first, and fails at `top`.
  const up = ready.length && (increment * ready.length) / all.length;
  const u = rng.uniform() * (set + pass + up);
  if (u < set) return [rng.integer(value.length), 0];
  if (u >= set + up) return undefined;
  const v = rng.choice(ready);
  return [v, value[v]! + 1];
}

/** What a row is made of. */
type Asked = Pick<CountingSample, "tokens" | "answer">;
/** What counts of a sample of somebody's, whose ids are to be below `size`. */
function asked(sample: unknown, size: number): Asked {
  const one = (id: unknown): number => integer(who, "an id", id, 0, size - 1);
  const tokens = items(who, "a sample's tokens are", get(sample, "tokens") as number[], "a list of ids").map(one);
  if (!tokens.length) refuse(RangeError, who, "a sample has no tokens");
  return { tokens, answer: one(get(sample, "answer")) };
}
const bounded = (block: number): unknown => block === Infinity || integer(who, "block", block, 1);
/** The last `block` tokens of each sample, in rows. */
function padded(samples: readonly Asked[], block: number): CountingBatch {
  const lengths = Int32Array.from(samples, s => Math.min(s.tokens.length, block));
  const t = lengths.reduce((most, n) => Math.max(most, n), 1);
  const tokens = new Int32Array(extent(who, { samples: samples.length, t }, 1));
  const targets = new Int32Array(samples.length * t).fill(-100);
  samples.forEach((s, i) => {
    tokens.set(s.tokens.slice(-lengths[i]!), i * t);
    targets[i * t + lengths[i]! - 1] = s.answer;
  });
  return { tokens, targets, lengths, t };
}

/** A batch of somebody's samples. */
function collected(samples: readonly Asked[], block = Infinity, size: number): CountingBatch {
  bounded(block);
  const known = items(who, "the samples are", samples, "a list of samples").map(sample => asked(sample, size));
  return padded(known, block);
}

/**
 * Counting: keep `a = 0 ;` and `a ++;` in mind among many `pass;`, then `print a`. Majority answers `top`, about 21 %
 * of the samples.
 *
 *     const task = counting({ vars: 3 });
 *     const { tokens, targets, t } = task.batch(random(1).fork(step), 64, 512);
 *
 * A shift is a task with other options: twice the passes, `counting({ pass: 100 })`, or twice the length,
 * `counting({ steps: 1024 })`; the shifts of table 4 itself are not known. A training set of so many samples (figure
 * 2), and a batch of it:
 *
 *     const set = Array.from({ length: 2000 }, (_, i) => task.sample(random(1).fork(i)));
 *     const order = random(1).fork(`epoch ${epoch}`).shuffle(set);
 *     const { tokens, targets, t } = task.padded(order.slice(0, 64), 512);
 *
 * It draws from the distribution of the paper's script (facebookresearch/RAM, `count_data_gen.py`), with numbers of its
 * own. A step that is impossible (`++` of an unset variable or beyond `top`) is redrawn there and never drawn here,
 * which is the same distribution. `<pad>` is id 0; `<sta>`, id 1, is never emitted, and kept so that the vocabulary has
 * the script's 19, 21 or 23 words for 1, 3 or 5 variables.
 */
export function counting(options: CountingOptions = {}): Counting {
  const weight = real("from 0 to 1e9");
  const { vars, steps, minSteps, set, pass, increment, top } = chosen(who, options, {
    vars: [whole(1, 26), 1],
    steps: [whole(1, 1048576), 512],
    minSteps: [whole(1), 3],
    set: [weight, 1],
    pass: [weight, 50],
    increment: [weight, 7],
    top: [whole(1, 65536), 10],
  });
  integer(who, "minSteps", minSteps, 1, steps);
  // Programs that set no variable are drawn again.
  if (!(set > 0 && set * 1e6 >= set + pass))
    refuse(RangeError, who, `set is ${set} and pass ${pass}: hardly a variable is ever set`, "set > pass / 1e6");

  const names = Array.from("abcdefghijklmnopqrstuvwxyz").slice(0, vars);
  const digits = Array.from({ length: top + 1 }, (_, i) => String(i));
  const vocab = [..."<pad> <sta> = ; pass; ++; print".split(" "), ...names, ...digits];
  const id = (word: string) => vocab.indexOf(word);
  const name = id("a");
  const digit = id("0");

  function sample(rng: Random): CountingSample {
    for (;;) {
      const tokens: number[] = [];
      const value = new Int32Array(vars).fill(-1); // -1: not set yet
      for (let n = minSteps + rng.integer(steps - minSteps + 1); n > 0; n--) {
        const next = step(rng, value, { set, pass, increment, top });
        if (!next) tokens.push(id("pass;"));
        else {
          const [v, to] = next;
          value[v] = to;
          tokens.push(name + v, ...(to ? [id("++;")] : [id("="), digit, id(";")]));
        }
      }
      const all = known(value);
      if (!all.length) continue; // nothing to ask about: the whole sample is redrawn
      const v = rng.choice(all);
      tokens.push(id("print"), name + v);
      return { tokens, answer: digit + value[v]!, value: value[v]! };
    }
  }

  return {
    vocab,
    size: vocab.length,
    sample: rng => drawn(who, rng, sample),
    batch: (rng, b, block = Infinity) =>
      drawn(who, rng, rng => {
        extent(who, { b, steps }, 1);
        bounded(block);
        const samples = Array.from({ length: b }, () => sample(rng));
        return padded(samples, block);
      }),
    padded: (samples, block) => collected(samples, block, vocab.length),
    words: named(who, vocab),
  };
}
