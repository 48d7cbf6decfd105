// trial.ts: one arm of a study, ready to train: what every study hands to the runner.
import type { Optimizer, Schedule, Tape, Tensor, Tree } from "farsight";
import type { Entry, Study } from "./finding.ts";

/** What a person may choose. `scale` shortens everything, for --quick. */
export interface Choice { seed: number; steps?: number | undefined; quick: boolean; text?: string | undefined }

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
