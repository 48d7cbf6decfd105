// optim.ts: optimisers, clipping and schedules. State lies on the tape beside the parameters, below every scope.
import { cos, pow } from "./math.ts";
import { choice, known, refuse, within } from "./check.ts";
import { leaves, tapeOf, type Tree } from "./nn.ts";
import type { Tensor } from "./tensor.ts";

/** Updates parameters from their gradients. */
export interface Optimizer {
  /** One update at learning rate `lr`, the one given at the start unless another is given. */
  step(lr?: number): void;
  /** Its learning rate: that of an update which is given none. */
  readonly lr: number;
  /** What it updates. */
  readonly params: Tree;
  /** What it remembers of each parameter, under the parameter's path: part of a run's state. */
  readonly state: Tree;
  /** How many updates were made: part of a run's state. */
  updates: number;
}

/**
 * Options of `sgd`. `decay`: decoupled weight decay, on the parameters that `decays` picks (those of two axes or more
 * unless given).
 */
export interface SgdOptions {
  lr?: number;
  momentum?: number;
  nesterov?: boolean;
  decay?: number;
  decays?: (path: string, p: Tensor) => boolean;
}
/** Options of `adam` and `adamw`. */
export interface AdamOptions {
  lr?: number;
  betas?: readonly [number, number];
  eps?: number;
  decay?: number;
  decays?: (path: string, p: Tensor) => boolean;
}

const matrices = (_: string, p: Tensor): boolean => p.shape.length > 1;

/** The leaves of a tree of parameters: at least one, each once, all alive. */
export function parameters(who: string, tree: Tree): [string, Tensor][] {
  tapeOf(who, tree);
  const list = leaves(tree);
  const roots = new Map<Tensor, string>();
  for (const [path, p] of list) {
    if (!p.wants) refuse(TypeError, who, `${path} is no parameter`, "tensors made by tape.param");
    const before = roots.get(p.root);
    if (before) refuse(RangeError, who, `${before} and ${path} are one parameter`, "each once");
    roots.set(p.root, path);
    p.alive(who);
  }
  return list;
}
/** Zeros beside each parameter, or nothing at all where memory does not suffice. */
const like = (list: Parameters): Tensor[] =>
  list[0]![1].tape.allOrNothing(() => list.map(([, p]) => p.tape.tensor(p.shape)));

/** One optimiser or several, or none, as a list. */
export const optimizersOf = (optimizer: Optimizer | readonly Optimizer[] | undefined): readonly Optimizer[] =>
  [optimizer ?? []].flat();

/** What all optimisers have in common. */
interface Common {
  readonly lr: number;
  readonly decay: number;
  readonly decays: (path: string, p: Tensor) => boolean;
}
type Parameters = readonly (readonly [path: string, p: Tensor])[];
/** Changes parameter `i`, of which decay leaves the part `keep`. */
type Change = (p: Tensor, i: number, keep: number) => void;

/** An optimiser whose update number `t`, from 1, changes each parameter in turn by what `update` gives. */
function optimizer(
  who: string,
  params: Tree,
  { lr, decay, decays }: Common,
  list: Parameters,
  state: Tree,
  update: (rate: number, t: number) => Change,
): Optimizer {
  return {
    lr,
    params,
    state,
    updates: 0,
    step(rate = lr) {
      within(who, "lr", rate); // what would spoil every parameter is refused before any is touched
      for (const [, p] of list) p.alive(who);
      const t = this.updates + 1;
      const change = update(rate, t);
      list.forEach(([path, p], i) => change(p, i, 1 - (decay && decays(path, p) ? rate * decay : 0)));
      this.updates = t;
    },
  };
}

/** Stochastic gradient descent: v = momentum v + g; p -= lr v, or lr (g + momentum v) with `nesterov`. */
export function sgd(params: Tree, options: SgdOptions = {}): Optimizer {
  known("sgd", options, "lr", "momentum", "nesterov", "decay", "decays");
  const { lr = 0.1, momentum = 0, nesterov = false, decay = 0, decays = matrices } = options;
  within("sgd", "lr", lr);
  within("sgd", "momentum", momentum, 0, 1);
  within("sgd", "decay", decay);
  if (nesterov && !momentum) refuse(RangeError, "sgd", "nesterov needs a momentum above 0");
  const list = parameters("sgd", params);
  const v = momentum ? like(list) : [];
  const state = Object.fromEntries(v.map((v, i) => [list[i]![0], { v }]));
  return optimizer("sgd", params, { lr, decay, decays }, list, state, rate => (p, i, keep) => {
    p.tape.engine.kernels.sgd(p.size, rate, keep, momentum, nesterov, p.grad, v[i]?.data ?? 0, p.data);
  });
}

/** AdamW (Loshchilov and Hutter 2019): Adam, with p *= 1 - lr decay on the parameters that `decays` picks. */
export function adamw(params: Tree, options: AdamOptions = {}): Optimizer {
  known("adamw", options, "lr", "betas", "eps", "decay", "decays");
  const { lr = 1e-3, betas = [0.9, 0.999], eps = 1e-8, decay = 0.01, decays = matrices } = options;
  if (!Array.isArray(betas) || betas.length !== 2)
    refuse(TypeError, "adamw", `betas is ${String(betas)}`, "two numbers");
  const [b1, b2] = betas;
  within("adamw", "lr", lr);
  within("adamw", "betas[0]", b1, 0, 1);
  within("adamw", "betas[1]", b2, 0, 1);
  within("adamw", "eps", eps);
  within("adamw", "decay", decay);
  const list = parameters("adamw", params);
  const [m, v] = list[0]![1].tape.allOrNothing(() => [like(list), like(list)]);
  const state = Object.fromEntries(list.map(([path], i) => [path, { m: m[i], v: v[i] }]));
  return optimizer("adamw", params, { lr, decay, decays }, list, state, (rate, t) => {
    const scaled = rate / (1 - pow(b1, t));
    const root = 1 / Math.sqrt(1 - pow(b2, t));
    return (p, i, keep) => {
      const { size, grad, data, tape } = p;
      const rest = [m[i]!.data, v[i]!.data, data] as const;
      tape.engine.kernels.adamw(size, keep, scaled, root, b1, 1 - b1, b2, 1 - b2, eps, grad, ...rest);
    };
  });
}
/** Adam (Kingma and Ba 2015): `adamw` without decay. */
export function adam(params: Tree, options: Omit<AdamOptions, "decay" | "decays"> = {}): Optimizer {
  known("adam", options, "lr", "betas", "eps");
  return adamw(params, { ...options, decay: 0 });
}

/**
 * Scales all gradients so that their norm, taken over every number together, is at most `most`; returns the norm
 * before.
 */
export function clipNorm(params: Tree, most: number): number {
  within("clipNorm", "most", most);
  const list = parameters("clipNorm", params);
  const norm = Math.sqrt(list.reduce((s, [, p]) => s + p.tape.engine.kernels.squares(p.size, p.grad), 0));
  if (norm > most) for (const [, p] of list) p.tape.engine.kernels.scale(p.size, most / norm, 0, p.grad, p.grad);
  return norm;
}
/** Moves every number of every gradient into -most..most. */
export function clipValue(params: Tree, most: number): void {
  within("clipValue", "most", most);
  for (const [, p] of parameters("clipValue", params)) p.tape.engine.kernels.clamp(p.size, most, p.grad);
}

/** A learning rate for each step, from 0. */
export type Schedule = (step: number) => number;
/**
 * Rises linearly to `lr` over `warmup` steps, then stays ("constant"), or falls to `final` at step `steps` in a
 * straight line ("linear") or along half a cosine ("cosine").
 */
export function schedule(
  kind: "constant" | "linear" | "cosine",
  options: { lr: number; steps?: number; warmup?: number; final?: number },
): Schedule {
  known("schedule", options, "lr", "steps", "warmup", "final");
  const { lr, steps = 0, warmup = 0, final = 0 } = options;
  for (const [name, n] of Object.entries({ lr, warmup, final })) within("schedule", name, n);
  choice("schedule", "kind", kind, ["constant", "linear", "cosine"]);
  if (kind !== "constant" && !(steps > warmup))
    refuse(RangeError, "schedule", `steps is ${steps} and warmup ${warmup}`, "more steps than warm-up");
  return step => {
    if (step < warmup) return (lr * (step + 1)) / warmup;
    if (kind === "constant") return lr;
    const done = Math.min(1, (step - warmup) / (steps - warmup));
    return final + (lr - final) * (kind === "linear" ? 1 - done : (1 + cos(Math.PI * done)) / 2);
  };
}
