// arms.ts: the kinds of position that the tables of this paper compare, and the model of a cell.
import { transformer, type PositionName, type Tape, type TransformerOptions } from "farsight";
import type { Cell, Config } from "../table.ts";

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

/** What a cell's model needs of its config, beside what its training does. */
export interface Sizes {
  layers: number;
  d: number;
  heads: number;
  norm: "pre" | "post";
  dropout: number;
}

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
  const { layers, d, heads, norm, dropout } = config as unknown as Sizes;
  const model = transformer({ vocab, d, layers, heads, context, norm, dropout, ...positionsOf(arm, config) });
  return { tape, model, params: model.params(tape, { seed }), heads };
}
/** A model ready to be trained or looked into. */
export type Made = ReturnType<typeof modelOf>;
