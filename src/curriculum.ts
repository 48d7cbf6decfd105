// curriculum.ts: training in stages of growing length, by `fit`: a stage ends when validation gets no better, and the
// next begins with the best weights of it.
import {
  anything,
  callable,
  flag,
  get,
  integer,
  items,
  oneOf,
  options as chosen,
  printed,
  real,
  refuse,
  whole,
  type Check,
} from "./check.ts";
import { loadParams, save } from "./checkpoint.ts";
import { fit, type FitOptions, type Metrics, type WeighedLoss } from "./fit.ts";
import { leaves, type Tree } from "./nn.ts";
import { optimizersOf } from "./optim.ts";
import { random } from "./random.ts";
import type { Tensor } from "./tensor.ts";

/** Where a curriculum stands: what it goes on from, numbers and a file. */
export interface Progress {
  /** The stage, from 0, and how many steps of it were made. */
  readonly stage: number;
  readonly step: number;
  /** How many steps were made in all: the `step` of `save`. */
  readonly made: number;
  /** How many validations in a row were no better than the best of the stage. */
  readonly stale: number;
  /** The best validation of the stage, if there was any, and the weights that had it, a file of `save`. */
  readonly best: number | undefined;
  readonly weights: Uint8Array | undefined;
}

/** What `curriculum` needs beside what it shares with `fit`. */
export interface CurriculumOptions extends Pick<FitOptions, "params" | "optimizer" | "clip" | "accumulate" | "signal"> {
  /** The length of each stage: its number of segments, say. */
  stages: readonly number[];
  /** Most steps of a stage; a list has a number for each. */
  steps: number | readonly number[];
  /** "fixed": each batch has the stage's length, the default; "random": any from 1 to it, by `seed` and step. */
  lengths?: "fixed" | "random";
  /** Of the lengths; 0 unless given. */
  seed?: number;
  /** Whether each stage begins with optimisers that remember nothing; true unless given. */
  fresh?: boolean;
  /** The loss of a batch of length `n`; `step` counts all steps, from 0. */
  loss: (n: number, step: number, micro: number) => Tensor | WeighedLoss;
  /** The first optimiser's rate for step `step` of a stage, from 0; its own unless given. */
  schedule?: (step: number, stage: number) => number;
  /** Validation at the stage's length, the lower the better. */
  evaluate?: (n: number) => Tensor | number;
  /** Steps from one validation to the next; 1 unless given. */
  every?: number;
  /** A stage ends after so many validations in a row that are no better than its best; by its steps unless given. */
  patience?: number;
  /** A stage ends at a validation as low as this; none unless given. */
  goal?: number;
  /** The last `progress` of a run that was interrupted; its parameters, optimisers and generator are the caller's. */
  from?: Progress;
}

/** What happened in a step: `step` counts all that were made, as in `fit`. */
export interface CurriculumMetrics extends Metrics {
  /** The stage, from 0, and the length of this step's batch. */
  stage: number;
  length: number;
  progress: Progress;
}

const who = "curriculum";
const ANY = [anything, undefined] as const;
const list: Check<number[]> = (who, name, value) => {
  const all = items(who, `${name} is`, value as number[], "a list of integers from 1");
  if (!all.length) refuse(RangeError, who, `${name} is empty`, "a list of integers from 1");
  return all.map((n, i) => integer(who, `${name}[${i}]`, n, 1));
};
const wants = () =>
  ({
    params: [anything as Check<FitOptions["params"]>],
    optimizer: [anything as Check<FitOptions["optimizer"]>],
    clip: ANY,
    accumulate: ANY,
    signal: ANY,
    stages: [list],
    steps: [anything as Check<number[]>],
    lengths: [oneOf("fixed", "random"), "fixed"],
    seed: [whole(), 0],
    fresh: [flag, true],
    loss: [callable as Check<CurriculumOptions["loss"]>],
    schedule: [callable as Check<CurriculumOptions["schedule"]>, undefined],
    evaluate: [callable as Check<CurriculumOptions["evaluate"]>, undefined],
    every: [whole(1), 1],
    patience: [whole(1), undefined],
    goal: [real(), undefined],
    from: [progress, undefined],
  }) as const;

const START: Progress = { stage: 0, step: 0, made: 0, stale: 0, best: undefined, weights: undefined };

/** Checks for progress, such as was yielded: JSON makes null of an infinite `best`, and leaves an undefined one out. */
function progress(who: string, name: string, value: unknown): Progress {
  for (const key of ["stage", "step", "made", "stale"]) integer(who, `${name}.${key}`, get(value, key));
  integer(who, `${name}.step`, get(value, "step"), 0, get(value, "made") as number); // a part of all
  const [best, weights] = [get(value, "best"), get(value, "weights")];
  if (best !== undefined && typeof best !== "number")
    refuse(TypeError, who, `${name}.best is ${printed(best)}`, "a number, or undefined");
  if (weights !== undefined && !(weights instanceof Uint8Array))
    refuse(TypeError, who, `${name}.weights is ${printed(weights)}`, "bytes of a file");
  if ((best === undefined) !== (weights === undefined))
    refuse(TypeError, who, `${name} has ${weights ? "weights and no best" : "a best and no weights"}`, "both or none");
  return value as Progress;
}

/**
 * Trains by `fit` in stages of growing length and yields what happened in each step. A stage ends after its steps, or
 * when validation converges; the weights that validated best are then put back, and the next stage begins with them
 * (Bulatov et al. 2023). What it does is a function of its seeds and of where it stands: a run that is saved with
 * `save` and its last `progress`, and loaded again, goes on with the same bits.
 *
 *     const options = { params, optimizer, stages: [1, 2, 3], steps: 500, loss, evaluate, patience: 5 };
 *     for await (const { stage, step, evaluation } of curriculum(options)) ...
 */
export async function* curriculum(options: CurriculumOptions): AsyncGenerator<CurriculumMetrics, void, void> {
  const o = completed(options);
  const { params, stages, steps, schedule, evaluate, loss } = o;
  const draws = random(o.seed);
  let at = o.from ?? START;
  for (; at.stage < stages.length; at = { ...START, stage: at.stage + 1, made: at.made }) {
    const { stage, step: from } = at;
    const n = stages[stage]!;
    const before = at.made - from;
    const length = (step: number) => (o.lengths === "fixed" ? n : 1 + draws.fork(before + step).integer(n));
    if (o.fresh && from === 0) forget(o.optimizer);
    if (!converged(at, o)) {
      const run = fit({
        ...o.shared,
        steps: steps[stage]!,
        from,
        loss: (step, micro) => loss(length(step), before + step, micro),
        ...(schedule && { schedule: step => schedule(step, stage) }),
        ...(evaluate && { evaluate: () => evaluate(n) }),
      });
      for await (const metrics of run) {
        at = moved(at, metrics, params);
        yield { ...metrics, step: at.made, stage, length: length(metrics.step - 1), progress: at };
        if (converged(at, o)) break;
      }
      if (at.step < steps[stage]! && !converged(at, o)) return; // by the signal
    }
    if (at.weights) loadParams(params, at.weights);
  }
}

/** Checks options and fills in what was left out. */
function completed(options: CurriculumOptions) {
  const { clip, accumulate, signal, every, params, optimizer, ...o } = chosen(who, options, wants());
  const { stages, evaluate } = o;
  const many = typeof o.steps === "number" ? stages.map(() => o.steps) : o.steps;
  const steps = list(who, "steps", many);
  if (steps.length !== stages.length)
    refuse(RangeError, who, `${steps.length} numbers of steps for ${stages.length} stages`, "one a stage");
  if (o.from) integer(who, "from.stage", o.from.stage, 0, stages.length - 1);
  if (!evaluate && (o.patience ?? o.goal) !== undefined)
    refuse(TypeError, who, "patience or a goal, and nothing to validate by", "evaluate");
  const shared = { params, optimizer, clip, accumulate, signal, every } as Omit<FitOptions, "loss" | "steps">;
  return { ...o, params, optimizer, steps, shared };
}

/** Whether a stage has converged. */
const converged = (
  { stale, best }: Progress,
  { patience = Infinity, goal = -Infinity }: Pick<CurriculumOptions, "patience" | "goal">,
) => stale >= patience || best! <= goal;

/** Progress after a step of the stage. */
function moved(at: Progress, { step, evaluation }: Metrics, params: Tree): Progress {
  const after = { ...at, step, made: at.made + 1 };
  if (evaluation === undefined) return after;
  // NaN is worse than any number.
  const worse = Number.isNaN(evaluation) || evaluation >= at.best!;
  return worse
    ? { ...after, stale: at.stale + 1 }
    : { ...after, stale: 0, best: evaluation, weights: save({ params }) };
}

/** Makes optimisers as they were made. */
function forget(optimizer: unknown): void {
  for (const o of optimizersOf(who, optimizer, 1)) {
    for (const [, t] of leaves(o.state)) t.values().fill(0);
    o.updates = 0;
  }
}
