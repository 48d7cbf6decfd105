// The synthetic task of myopic training (Wu, Morris and Levine 2024, "Do language models plan ahead for future
// tokens?", section 4.1): a sum that is cheap for who prepared its terms at the places before, and out of reach for who
// did not.
import { extent, options as chosen, real, whole } from "../check.ts";
import { sin } from "../math.ts";
import { drawn, type Random } from "../random.ts";

const who = "sine";

/** The numbers of D(a, b, p) and the length of a sequence. */
export interface SineOptions {
  /** How many earlier sines are summed. */
  a?: number;
  /** The frequency. */
  b?: number;
  /** How often the sum is asked for. */
  p?: number;
  t?: number;
}

/**
 * n sequences of t places, row by row. `sines` holds sin(b x) at each place, for probes of what a hidden state knows.
 */
export interface SineBatch {
  inputs: Float64Array;
  targets: Float64Array;
  sines: Float64Array;
}

/** The task with its numbers; a batch is a function of the generator's seed and position. */
export interface Sine {
  readonly a: number;
  readonly b: number;
  readonly p: number;
  readonly t: number;
  /** `inputs` n t 2 (x, z), `targets` n t, `sines` n t. */
  batch(rng: Random, n: number): SineBatch;
}

/**
 * D(a, b, p): x ~ N(0, 1), z ~ Bernoulli(p), y_n = z_n Σ_{i=1..a} sin(b x_{n-i}) + (1 - z_n) x_n, with x = 0 before the
 * start.
 *
 *     const { inputs, targets } = sine({ p: 0.1 }).batch(random(1).fork(step), 512);
 *
 * The paper's score is the mean Huber loss (delta 1) divided by p. Who knows x and nothing of the sums scores 1.26 at a
 * = b = 10, t = 64; the paper's transformers score 0.003 to 0.096, and myopic ones 0.97 to 1.26.
 */
export function sine(options: SineOptions = {}): Sine {
  const { a, b, p, t } = chosen(who, options, {
    a: [whole(1), 10],
    b: [real("from -65536 to 65536"), 10],
    p: [real("from 0 to 1"), 0.3],
    t: [whole(1), 64],
  });
  return {
    a,
    b,
    p,
    t,
    batch: (rng, n) =>
      drawn(who, rng, rng => {
        const inputs = new Float64Array(2 * extent(who, { n, t }, 1));
        const targets = new Float64Array(n * t);
        const sines = new Float64Array(n * t);
        for (let row = 0; row < n * t; row += t) {
          for (let i = row; i < row + t; i++) {
            const x = rng.normal();
            const z = rng.uniform() < p ? 1 : 0;
            inputs[2 * i] = x;
            inputs[2 * i + 1] = z;
            sines[i] = sin(b * x);
            let sum = 0;
            for (let j = i - 1; j >= row && j >= i - a; j--) sum += sines[j]!;
            targets[i] = z ? sum : x;
          }
        }
        return { inputs, targets, sines };
      }),
  };
}
