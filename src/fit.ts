// fit.ts: the training loop. Nothing here reads a file or a screen; breath.ts gives the host its turns.
import { breathe } from "./breath.ts";
import {
  anything,
  callable,
  get,
  isTensor,
  nested,
  notNumber,
  options as chosen,
  printed,
  real,
  refuse,
  synchronous,
  whole,
  type Check,
} from "./check.ts";
import { leaves, tapeOf, type Tree } from "./nn.ts";
import { scale } from "./ops/elementwise.ts";
import { RATE, clipNorm, clipValue, finite, optimizersOf, parameters, type Optimizer, type Schedule } from "./optim.ts";
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

const who = "fit";
const WEIGHT = /* @__PURE__ */ real("from 0 to 1e9");
const WANTS = {
  params: [anything as Check<Tree>],
  optimizer: [anything as Check<FitOptions["optimizer"]>, undefined],
  loss: [callable as Check<FitOptions["loss"]>],
  steps: [/* @__PURE__ */ whole()],
  from: [/* @__PURE__ */ whole(), 0],
  schedule: [callable as Check<Schedule>, undefined],
  clip: [
    /* @__PURE__ */ nested({ norm: [RATE, undefined], value: [RATE, undefined] }),
    {} as { norm?: number; value?: number },
  ],
  accumulate: [/* @__PURE__ */ whole(1, 65536), 1],
  evaluate: [callable as Check<FitOptions["evaluate"]>, undefined],
  every: [/* @__PURE__ */ whole(1), 1],
  signal: [signalled, undefined],
} as const;

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
  const all = chosen(who, options, WANTS);
  const { params, loss, steps, from, schedule, clip, accumulate, evaluate, every, signal } = all;
  const optimizers = optimizersOf(who, all.optimizer, 1);
  const tape = tapeOf(who, params);
  trained(params, optimizers);
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
        const one = () => weighed(synchronous(who, loss(step, micro)), accumulate, sum);
        sum.loss += tape.step(one, { accumulate: micro > 0 });
      }
      if (sum.weight < 1e-9)
        refuse(RangeError, who, `all weights are ${sum.weight}`, sum.weight ? "1e-9 or more together" : "one above 0");
      if (accumulate > 1)
        for (const p of tape.params) tape.engine.kernels.scale(p.size, 1 / sum.weight, 0, p.grad, p.grad);
      if (schedule) lr = RATE(who, "lr", synchronous(who, schedule(step)));
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

/** Checks for an AbortSignal. */
function signalled(who: string, name: string, value: unknown): FitOptions["signal"] {
  if (typeof get(value, "aborted") === "boolean") return value as FitOptions["signal"];
  refuse(TypeError, who, `${name} is ${printed(value)}`, "an AbortSignal");
}

/** Throws unless optimisers train what is in `params`. */
function trained(params: Tree, optimizers: readonly Optimizer[]): void {
  const all = new Set(leaves(params).map(([, p]) => p.root));
  const trees = optimizers.map(o => o.params);
  for (const [path, p] of parameters(who, trees.length > 1 ? trees : trees[0]!))
    if (!all.has(p.root)) refuse(RangeError, who, `the optimiser's ${path} is not in params`, "what params holds");
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
  WEIGHT(who, "weight", weight);
  const by = accumulate > 1 || !weight ? weight : 1;
  sum.weight += by;
  return by === 1 ? loss : scale(loss, { by });
}

/** One update by each optimiser: by the first at `lr`, by the others in proportion, or at their own rates. */
function update(optimizers: readonly Optimizer[], lr: number | undefined): void {
  const [first, ...others] = optimizers as [Optimizer, ...Optimizer[]];
  const rates = others.map(o => (lr === undefined ? o.lr : lr * (o.lr / first.lr)));
  // before any has made its update
  for (const rate of rates) RATE(who, "lr", rate);
  if (others.length)
    finite(
      who,
      parameters(
        who,
        optimizers.map(o => o.params),
      ),
    );
  synchronous(who, first.step(lr));
  others.forEach((o, i) => synchronous(who, o.step(rates[i])));
}

function evaluated(tape: Tape, evaluate: (step: number) => Tensor | number, step: number): number {
  const undo = bookmark(tape);
  try {
    return tape.scope(() => {
      const value = tape.noGrad(() => evaluate(step));
      if (isTensor(value)) return (value as Tensor).item();
      if (typeof value === "number") return value;
      notNumber(who, "what evaluate gave", value, "a number, or a tensor of size 1");
    });
  } finally {
    undo();
  }
}
