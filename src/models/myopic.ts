// myopic.ts: training without foresight (Wu, Morris, Levine 2024, arXiv 2404.00859). The forward pass never changes.
// Backward, what reader i sends to the state of an earlier place j is multiplied by an edge weight: 0 for strict
// myopia.
import { choice, known, number } from "../check.ts";
import { pow } from "../math.ts";

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
  choice("myopia", "cut", cut, ["kv", "post_ln", "pre_ln"]);
  choice("myopia", "mode", mode, ["diagonal", "window", "discount"]);
  number("myopia", "horizon", horizon, Number.isInteger(horizon) && horizon >= 0, "a whole number from 0");
  number("myopia", "gamma", gamma, gamma >= 0 && gamma <= 1, "a number from 0 to 1");
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
