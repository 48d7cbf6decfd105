// arms.ts: the kinds of position that the tables of this paper compare, and the model and the training of a cell.
import {
  adamw,
  schedule,
  transformer,
  type PositionName,
  type Tape,
  type TransformerOptions,
  type TransformerWeights,
} from "farsight";
import type { Cell, Config, Training } from "../table.ts";

/** Names for readers; the first is the paper's own. Other arms begin with one of these: "cope-sep", "cope+rope". */
export const ARMS = {
  cope: "CoPE",
  absolute: "absolute",
  relative: "relative",
  rope: "rope",
  alibi: "ALiBi",
  none: "none",
} as const;

/** CoPE whose gates are not made of the keys that attention has. */
export const GATED = {
  "cope-sep": "CoPE, gates from keys of their own",
  "cope-val": "CoPE, gates from values",
  "cope-token": "CoPE, a gate a token",
} as const;

/** What gates look at, by the arm. */
const GATES = { "cope-sep": "sep", "cope-val": "val", "cope-token": "token" } as const;

/** What a cell's model and training need of its config, whatever the task. */
export interface Recipe {
  layers: number;
  d: number;
  heads: number;
  batch: number;
  lr: number;
  decay: number;
  /** Share of the steps in which the rate rises, and what is left of it at the end; a cosine in between. */
  warmup: number;
  final: number;
  /** Norm that gradients are clipped to; 0: they are not. */
  clip: number;
  norm: "pre" | "post";
  dropout: number;
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

/** What all cells here share. */
export const HERE = {
  layers: 2,
  d: 64,
  heads: 4,
  batch: 32,
  lr: 3e-3,
  decay: 0.01,
  warmup: 0.05,
  final: 0.05,
  clip: 1,
  norm: "pre",
  dropout: 0,
} as const;

/** What an arm adds to the config: the rows of CoPE's table and its scaling, and whose a relative table is. */
export function positionConfig(arm: string, rows: number): Config {
  return {
    ...(arm.startsWith("cope") && { rows, scaling: "listing" }),
    ...(arm.split("+").includes("relative") && { "relative table": "shared" }), // as the paper's code has it
  };
}

/** The positions of an arm as a model takes them. */
function positionsOf(arm: string, config: Config): Pick<TransformerOptions, "position" | "cope" | "relative"> {
  const kinds = arm.split("+").map(kind => kind.split("-")[0]!) as PositionName[];
  const gates = GATES[arm as keyof typeof GATES] as (typeof GATES)[keyof typeof GATES] | undefined;
  return {
    position: arm === "none" ? "none" : kinds,
    ...(arm.startsWith("cope") && {
      cope: { rows: Number(config["rows"]), scaling: config["scaling"] as "listing", ...(gates && { gates }) },
    }),
    ...(config["relative table"] !== undefined && {
      relative: { table: config["relative table"] as "shared", rows: config["relative rows"] as number | undefined },
    }),
  };
}

/** The model of a cell and its parameters on a tape. */
export function modelOf(
  { arm, seed }: Cell,
  config: Config,
  { vocab, context }: { vocab: number; context: number },
  tape: Tape,
) {
  const { layers, d, heads, norm, dropout } = config as unknown as Recipe;
  const model = transformer({ vocab, d, layers, heads, context, norm, dropout, ...positionsOf(arm, config) });
  return { tape, model, params: model.params(tape, { seed }), heads };
}
/** A model ready to be trained or looked into. */
export type Made = ReturnType<typeof modelOf>;

/** AdamW under its schedule. */
export function trainingOf(
  params: TransformerWeights,
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
