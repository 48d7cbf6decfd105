// myopic.ts: training without foresight (Wu, Morris, Levine 2024, arXiv 2404.00859). The forward pass never changes.
// Backward, what reader i sends to the state of an earlier place j is multiplied by an edge weight: 0 for strict
// myopia.
import { extent, integer, items, oneOf, options as chosen, real, refuse, whole } from "../check.ts";
import { pow } from "../math.ts";

/**
 * Which gradients to earlier places survive. `mode`: "diagonal" (unless given) none, "window" those at most `horizon`
 * steps back in each layer, "discount" each times gamma^(steps back), `gamma` from 0 to 1.
 *
 * `cut` says where a place's state ends, that is who owns the projections: "kv": keys and values are stopped, and W_K,
 * W_V see only what their own place sends; "post_ln" (unless given): the normed state is stopped and W_K, W_V see the
 * full gradient (the authors' choice); "pre_ln": the state before the norm is stopped, and the norm sees the full
 * gradient too. The gradient to the states is the same.
 */
export type Myopia = { cut?: Cut } & (
  | { mode?: "diagonal"; horizon?: never; gamma?: never }
  | { mode: "window"; horizon: number; gamma?: never }
  | { mode: "discount"; gamma: number; horizon?: never }
);
export type Cut = "kv" | "post_ln" | "pre_ln";
/** The same, complete. */
export type Complete = { readonly cut: Cut } & (
  | { readonly mode: "diagonal" }
  | { readonly mode: "window"; readonly horizon: number }
  | { readonly mode: "discount"; readonly gamma: number }
);

/** Checks the options of myopic training and fills in the defaults. */
export function myopia(options: Myopia): Complete {
  const who = "myopia";
  const { cut, mode, horizon, gamma } = chosen(who, options, {
    cut: [oneOf("kv", "post_ln", "pre_ln"), "post_ln"],
    mode: [oneOf("diagonal", "window", "discount"), "diagonal"],
    horizon: [whole(), undefined],
    gamma: [real("from 0 to 1"), undefined],
  });
  if ((mode === "window") !== (horizon !== undefined) || (mode === "discount") !== (gamma !== undefined)) {
    const why = `${mode} with horizon ${horizon} and gamma ${gamma}`;
    refuse(RangeError, who, why, "a horizon for window alone, gamma for discount alone");
  }
  return { cut, mode, horizon, gamma } as Complete;
}

/** The weight of an edge over `steps` of time; steps of 0 or less are the same moment and weigh 1. */
export function edgeWeight(steps: number, how: Complete): number {
  if (steps <= 0) return 1;
  if (how.mode === "window") return Number(steps <= how.horizon);
  return how.mode === "discount" && how.gamma > 0 ? pow(how.gamma, steps) : 0;
}

/**
 * Edge weights of readers (rows) and sources (columns) that stand at the given times, readers at the last t of them, at
 * all unless given: t x s numbers.
 */
export function edgeWeights(times: ArrayLike<number>, how: Complete, last?: number): Float64Array {
  const who = "edgeWeights";
  const finite = real();
  for (const time of items(who, "times are", times)) finite(who, "a time", time);
  const s = times.length;
  const t = integer(who, "t", last ?? s, 0, s);
  extent(who, { t, s });
  myopia(how as Myopia);
  const m = new Float64Array(t * s);
  for (let i = 0; i < t; i++) for (let j = 0; j < s; j++) m[i * s + j] = edgeWeight(times[s - t + i]! - times[j]!, how);
  return m;
}
