// trial.ts: one arm of a study, ready to train: what every study hands to the runner.
import { Tape, type Optimizer, type Schedule, type Tensor, type Tree } from "farsight";
import { fast } from "farsight/fast";
import type { Entry, Study } from "./finding.ts";

/** What a person may choose. `threads`: of the fast engine; the exact one unless given. */
export interface Choice {
  seed: number;
  steps?: number | undefined;
  quick: boolean;
  text?: string | undefined;
  threads?: number | undefined;
}

/** The tape of an arm. Its results depend on the engine, and not on the engine's threads. */
export const tapeOf = ({ seed, threads }: Choice): Tape =>
  new Tape("f32", { seed, engine: threads === undefined ? undefined : fast("f32", { threads }) });

export interface Trial {
  study: Study;
  arm: string;
  /** Recorded with the result, and compared before a run is taken up again. */
  config: Record<string, string | number | boolean>;
  /** The paper's numbers under the names of the metrics. */
  paper: Record<string, unknown>;
  tape: Tape;
  params: Tree;
  optimizer: Optimizer;
  steps: number;
  /** Tokens (or places) in a step, for the rate. */
  tokens: number;
  loss(step: number): Tensor;
  schedule: Schedule;
  clip: { norm?: number; value?: number };
  /** A measure worth showing now and then, from 0 to 1. */
  accuracy?(): number;
  /** Measures the trained model. */
  finish(): { metrics: Record<string, unknown>; figures: Entry[] };
}

/** The place of the largest of the numbers from `from` to `to`. */
export function best(values: ArrayLike<number>, from: number, to: number): number {
  let at = from;
  for (let i = from + 1; i < to; i++) if (values[i]! > values[at]!) at = i;
  return at - from;
}
