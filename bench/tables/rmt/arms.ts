// arms.ts: the recurrent model of a cell, and what its config says of it.
import { rmt, transformer, type Rmt, type RmtWeights, type Tape } from "farsight";
import type { Cell, Config } from "../table.ts";

/** What all cells share unless they say otherwise. */
export const HERE = {
  layers: 2,
  d: 64,
  heads: 4,
  memory: 4,
  position: "absolute",
  dropout: 0.1,
  batch: 16,
  lr: 3e-3,
  decay: 0.01,
  warmup: 0.1,
  final: 0.05,
  clip: 1,
} as const;

/** What a model needs of its config. */
export interface Sizes {
  layers: number;
  d: number;
  heads: number;
  memory: number;
  position: "absolute" | "rope";
  dropout: number;
  segment: number;
}

/** A recurrent model, ready to be trained or looked into. */
export interface Made {
  tape: Tape;
  recurrent: Rmt;
  params: RmtWeights;
}

/** The recurrent model of a cell and its parameters on a tape. */
export function modelOf({ seed }: Pick<Cell, "seed">, config: Config, vocab: number, tape: Tape): Made {
  const { layers, d, heads, memory, position, dropout, segment } = config as unknown as Sizes;
  const context = segment + 2 * memory;
  const model = transformer({ vocab, d, layers, heads, dropout, context, position });
  const recurrent = rmt(model, { memory, segment, replay: false });
  return { tape, recurrent, params: recurrent.params(tape, { seed }) };
}
