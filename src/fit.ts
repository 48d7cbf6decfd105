// fit.ts: the training loop. Nothing here reads a file or a screen; breath.ts gives the host its turns.
import { breathe } from "./breath.ts";
import { callable, integer, isTensor, known, refuse, synchronous, within } from "./check.ts";
import { leaves, tapeOf, type Tree } from "./nn.ts";
import { scale } from "./ops/elementwise.ts";
import { clipNorm, clipValue, finite, optimizersOf, parameters, type Optimizer, type Schedule } from "./optim.ts";
import type { Tape } from "./tape.ts";
import type { Tensor } from "./tensor.ts";

/** The loss of a micro-batch, a mean, and over how much it was taken: as a rule over how many targets. */
export interface WeighedLoss {
  readonly loss: Tensor;
  /** 0 or more; only proportions count. */
  readonly weight: number;
}

/** What `fit` needs. A wrong kind is a TypeError, a value out of bounds a RangeError, before the first step. */
export interface FitOptions {
  /** What is trained, all on one tape: what is clipped. It may hold what no optimiser trains. */
  params: Tree;
  /**
   * What trains it, and nothing else. In a list each has parameters and a rate of its own, and no parameter is in two
   * of them.
   */
  optimizer: Optimizer | readonly Optimizer[];
  /**
   * The loss of step `step`, from 0; runs in a scope of its own, once for each micro-batch `micro`, from 0. Give each
   * micro-batch its weight where they differ: the step is then that of one batch of all their targets, to rounding.
   */
  loss: (step: number, micro: number) => Tensor | WeighedLoss;
  /** How many steps there are in all, those before `from` included. */
  steps: number;
  /** How many steps were made before; 0 unless given. */
  from?: number;
  /** The first optimiser's rate for each step, its own unless given; others keep their proportion to it. */
  schedule?: Schedule;
  /** `norm`: the most for all gradients together; `value`: for each number. None unless given. */
  clip?: { norm?: number; value?: number };
  /** How many micro-batches make a step; 1 unless given. */
  accumulate?: number;
  /**
   * A measure after `step` steps: a number, or a tensor of size 1. Runs in a scope of its own, records nothing and
   * leaves the generator where it was, so that training has the same bits without. What it throws comes after the step.
   */
  evaluate?: (step: number) => Tensor | number;
  /** Steps from one evaluation to the next; 1 unless given. The last step has one in any case. */
  every?: number;
  /** Once it is `aborted` (an AbortSignal, say) no further step is made. */
  signal?: { readonly aborted: boolean };
}

/** What happened in a step, counted from 1. */
export interface Metrics {
  /** How many steps were made: the `from` to go on with. */
  step: number;
  /** Before the update. */
  loss: number;
  /** The first optimiser's rate where there is a schedule. */
  lr: number | undefined;
  /** The gradient's norm before clipping, where clipping by norm was asked for. */
  norm: number | undefined;
  /** What `evaluate` gave after the update, where it was due. */
  evaluation: number | undefined;
}

/**
 * Trains step by step and yields what happened. Stop by leaving the loop or by a signal: parameters, optimisers and the
 * generator are then those of the last step yielded. A step that throws, as for a loss that is not finite, changes none
 * of them.
 *
 * The host has its turn every 25 ms, or after a micro-batch that takes longer. Between micro-batches, what runs in such
 * a turn must leave the gradients alone.
 *
 * for await (const { step, loss } of fit({ params, optimizer, loss: () => model.loss(params, x, y), steps: 100 })) ...
 */
export async function* fit(options: FitOptions): AsyncGenerator<Metrics, void, void> {
  const { params, loss, steps, from = 0, schedule, clip = {}, accumulate = 1, evaluate, every = 1, signal } = options;
  const optimizers = optimizersOf(options.optimizer);
  const tape = checked(options, optimizers);
  for (let step = from; step < steps; step++) {
    await breathe();
    if (signal?.aborted) return;
    const undo = bookmark(tape);
    const sum = { loss: 0, weight: 0 };
    let lr: number | undefined;
    let norm: number | undefined;
    try {
      for (let micro = 0; micro < accumulate; micro++) {
        if (micro > 0) {
          const redo = bookmark(tape);
          undo(); // a host that saves the run now saves that of the last whole step
          await breathe();
          if (signal?.aborted) return;
          redo();
        }
        const one = () => weighed(synchronous("fit", loss(step, micro)), accumulate, sum);
        sum.loss += tape.step(one, { accumulate: micro > 0 });
      }
      if (!sum.weight) refuse(RangeError, "fit", "all weights are 0", "one above 0");
      if (accumulate > 1)
        for (const p of tape.params) tape.engine.kernels.scale(p.size, 1 / sum.weight, 0, p.grad, p.grad);
      lr = synchronous("fit", schedule?.(step));
      norm = clip.norm === undefined ? undefined : clipNorm(params, clip.norm);
      if (clip.value !== undefined) clipValue(params, clip.value);
      update(optimizers, lr);
    } catch (error) {
      undo();
      throw error;
    }
    const due = evaluate && ((step + 1) % every === 0 || step + 1 === steps);
    const evaluation = due ? evaluated(tape, evaluate, step + 1) : undefined;
    yield { step: step + 1, loss: sum.loss / sum.weight, lr, norm, evaluation };
  }
}

/** Refuses options that do not fit; returns the tape. */
function checked(options: FitOptions, optimizers: readonly Optimizer[]): Tape {
  const { from = 0, clip = {}, accumulate = 1, evaluate, every = 1, signal } = options;
  const tape = tapeOf("fit", options.params);
  callable("fit", "loss", options.loss);
  if (evaluate !== undefined) callable("fit", "evaluate", evaluate);
  for (const o of optimizers.length ? optimizers : [undefined])
    if (typeof o?.step !== "function")
      refuse(TypeError, "fit", `optimizer is ${String(o)}`, "an optimiser, or a list of them");
  const trained = new Set(leaves(options.params).map(([, p]) => p.root));
  for (const [path, p] of parameters(
    "fit",
    optimizers.length > 1 ? optimizers.map(o => o.params) : optimizers[0]!.params,
  ))
    if (!trained.has(p.root))
      refuse(RangeError, "fit", `the optimiser's ${path} is not in params`, "what params holds");
  integer("fit", "steps", options.steps);
  integer("fit", "from", from);
  integer("fit", "accumulate", accumulate, 1);
  integer("fit", "every", every, 1);
  known("fit, clip", clip, "norm", "value");
  if (signal !== undefined && typeof signal?.aborted !== "boolean")
    refuse(TypeError, "fit", `signal is ${String(signal)}`, "an AbortSignal");
  return tape;
}

/** Marks where the generator stands; what it returns puts it back there. */
function bookmark(tape: Tape): () => void {
  const { random } = tape;
  const { position } = random;
  return () => {
    tape.random = random;
    random.position = position;
  };
}

/** The loss of a micro-batch times its weight, which is added to the sum; the loss itself where it is the only one. */
function weighed(got: Tensor | WeighedLoss, accumulate: number, sum: { weight: number }): Tensor {
  const { loss, weight } =
    isTensor(got) || !(got as WeighedLoss)?.loss ? { loss: got as Tensor, weight: 1 } : (got as WeighedLoss);
  within("fit", "weight", weight);
  const by = accumulate > 1 ? weight : 1;
  sum.weight += by;
  return by === 1 ? loss : scale(loss, { by });
}

/** One update by each optimiser: by the first at `lr`, by the others in proportion, or at their own rates. */
function update(optimizers: readonly Optimizer[], lr: number | undefined): void {
  const [first, ...others] = optimizers as [Optimizer, ...Optimizer[]];
  const rates = others.map(o => (lr === undefined ? o.lr : lr * (o.lr / first.lr)));
  // before any has made its update
  for (const rate of rates) within("fit", "lr", rate);
  if (others.length)
    finite(
      "fit",
      parameters(
        "fit",
        optimizers.map(o => o.params),
      ),
    );
  synchronous("fit", first.step(lr));
  others.forEach((o, i) => synchronous("fit", o.step(rates[i])));
}

function evaluated(tape: Tape, evaluate: (step: number) => Tensor | number, step: number): number {
  const undo = bookmark(tape);
  try {
    return tape.scope(() => {
      const value = tape.noGrad(() => evaluate(step));
      return isTensor(value) ? (value as Tensor).item() : (value as number);
    });
  } finally {
    undo();
  }
}
