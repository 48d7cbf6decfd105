// recipe.ts: how the cells of all papers are trained: AdamW under a schedule, on what may grow to its length.
import { adamw, schedule, type Tree } from "farsight";
import type { Config, Training } from "./table.ts";

/** What a cell's training needs of its config, whatever the task. */
export interface Recipe {
  batch: number;
  lr: number;
  decay: number;
  /** Share of the steps in which the rate rises, and what is left of it at the end; a cosine in between. */
  warmup: number;
  final: number;
  /** Norm that gradients are clipped to; 0: they are not. */
  clip: number;
  steps: number;
}

/** The share of the steps in which what is trained on grows to its length, and the length it begins with. */
export interface Growth {
  steps: number;
  grows: number;
  from: number;
}

/** The length of what is trained on at a step, `most` in the end. */
export const lengthAt = (step: number, { steps, grows, from }: Growth, most: number): number =>
  step < grows * steps ? Math.round(from + ((most - from) * step) / (grows * steps)) : most;

/** AdamW under its schedule. */
export function trainingOf(
  params: Tree,
  config: Config,
): Pick<Training, "params" | "steps" | "optimizer" | "schedule" | "clip"> {
  const { steps, lr, decay, warmup, final, clip } = config as unknown as Recipe;
  const rising = Math.floor(steps * warmup);
  return {
    params,
    steps,
    optimizer: adamw(params, { lr, decay }),
    schedule: final < 1 ? schedule("cosine", { lr, steps, warmup: rising, final: lr * final }) : () => lr,
    clip: clip ? { norm: clip } : {},
  };
}
