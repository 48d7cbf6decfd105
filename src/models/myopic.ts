// myopic.ts: training without foresight (Wu, Morris, Levine 2024, arXiv 2404.00859). The forward pass never changes.
// Backward, what reader i sends to the state of an earlier place j is multiplied by an edge weight: 0 for strict
// myopia.
import { known } from "../engine.ts";
import { pow } from "../math.ts";
import type { Weights } from "../nn.ts";
import { linear } from "../ops.ts";
import { Tensor, product } from "../tape.ts";

/**
 * Which gradients to earlier places survive. `mode`: "diagonal" none, "window" those at most `horizon` steps back in
 * each layer, "discount" each times gamma^(steps back).
 *
 * `cut` says where a place's state ends, that is who owns the projections: "kv": keys and values are stopped, and W_K,
 * W_V see only what their own place sends; "post_ln": the normed state is stopped and W_K, W_V see the full gradient
 * (the authors' choice); "pre_ln": the state before the norm is stopped, and the norm sees the full gradient too. The
 * gradient to the states is the same.
 */
export interface Myopia {
  cut?: Cut;
  mode?: "diagonal" | "window" | "discount";
  horizon?: number;
  gamma?: number;
}
export type Cut = "kv" | "post_ln" | "pre_ln";

/** Checks the options of myopic training and fills in the defaults. */
export function myopia(options: Myopia): Required<Myopia> {
  known("myopia", options, "cut", "mode", "horizon", "gamma");
  const { cut = "post_ln", mode = "diagonal", horizon = 0, gamma = 0 } = options;
  if (!["kv", "post_ln", "pre_ln"].includes(cut))
    throw new RangeError(`myopia: cut is ${cut}\n  wants kv, post_ln or pre_ln`);
  if (!["diagonal", "window", "discount"].includes(mode))
    throw new RangeError(`myopia: mode is ${mode}\n  wants diagonal, window or discount`);
  if (!(Number.isInteger(horizon) && horizon >= 0))
    throw new RangeError(`myopia: horizon is ${horizon}\n  wants a whole number from 0`);
  if (!(gamma >= 0 && gamma <= 1)) throw new RangeError(`myopia: gamma is ${gamma}\n  wants a number from 0 to 1`);
  return { cut, mode, horizon, gamma };
}

/** The weight of an edge over `steps` of time; steps of 0 or less are the same moment and weigh 1. */
export function edgeWeight(steps: number, { mode, horizon, gamma }: Required<Myopia>): number {
  if (steps <= 0) return 1;
  return mode === "diagonal" ? 0 : mode === "window" ? (steps <= horizon ? 1 : 0) : gamma === 0 ? 0 : pow(gamma, steps);
}

/** Edge weights of readers (rows) and sources (columns) that stand at the given times: t x t numbers. */
export function edgeWeights(times: ArrayLike<number>, how: Required<Myopia>): Float64Array {
  const t = times.length;
  const m = new Float64Array(t * t);
  for (let i = 0; i < t; i++) for (let j = 0; j < t; j++) m[i * t + j] = edgeWeight(times[i]! - times[j]!, how);
  return m;
}

/**
 * y = x wᵀ + b, and the same numbers once more as if computed from a stopped x: they share memory, and what reaches the
 * second goes to w and b alone. The two meet there in one product.
 */
export function parted(x: Tensor, { weight: w, bias: b }: Weights): [y: Tensor, past: Tensor] {
  const { tape } = x;
  const { engine } = tape;
  const from = engine.mark;
  const all = tape.noGrad(() => linear(x, w, b));
  const to = engine.mark;
  const n = w.shape[0]!;
  const k = w.shape[1]!;
  const rows = product(x.shape) / k;
  if (!tape.recording || !(w.wants || b?.wants || x.wants)) return [all, all];
  const [y, past] = [0, 1].map(() => new Tensor(tape, all.shape, all.data, all.region, true)) as [Tensor, Tensor];
  tape.record({
    name: "linear, parted",
    inputs: [x, w, b],
    outputs: [y, past],
    overwrites: [0, 1],
    claimed: [from, to],
    back(K) {
      const dy = y.grad || past.grad;
      if (y.grad && x.grad) K.matmul(rows, n, k, 1, dy, n, 1, w.data, k, 1, 0, x.grad, k, x.adds(), K.scratch); // dx += dy w
      if (y.grad && past.grad) K.accumulate(rows * n, past.grad, dy, true);
      // dw += (dy + dpast)ᵀ x
      if (w.grad) K.matmul(n, rows, k, 1, dy, 1, n, x.data, k, 1, 0, w.grad, k, w.adds(), K.scratch);
      if (b) K.biasBack(rows, n, dy, n, b.grad, true);
    },
  });
  return [y, past];
}

/**
 * y = x wᵀ + b once more, as if computed from a stopped x (or, where x wants a gradient, from this one): the same
 * numbers in the same memory, with a gradient of its own that goes to w and b. `start`: columns before it never get
 * one, and no product is spent on them.
 */
export function stopped(y: Tensor, x: Tensor, { weight: w, bias: b }: Weights, start = 0): Tensor {
  const { tape } = y;
  const n = w.shape[0]!;
  const k = w.shape[1]!;
  const rows = product(x.shape) / k;
  const m = n - start;
  if (!tape.recording || !(w.wants || b?.wants || x.wants)) return tape.alias(y, y.shape, false);
  const past = new Tensor(tape, y.shape, y.data, y.region, true);
  tape.record({
    name: "stopped",
    inputs: [x, w, b],
    outputs: [past],
    back(K) {
      const dy = past.grad + start * K.width;
      const { grad, data } = w;
      const at = start * k * K.width;
      if (x.grad) K.matmul(rows, m, k, 1, dy, n, 1, data + at, k, 1, 0, x.grad, k, true, K.scratch); // dx += dy w
      if (grad) K.matmul(m, rows, k, 1, dy, 1, n, x.data, k, 1, 0, grad + at, k, true, K.scratch); // dw += dyᵀ x
      if (b?.grad) K.biasBack(rows, m, dy, n, b.grad + start * K.width, true);
    },
  });
  return past;
}
