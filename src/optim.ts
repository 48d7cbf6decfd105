// optim.ts: optimisers, clipping and schedules. State lies on the tape beside the parameters, below every scope.
import { cos, pow } from "./math.ts";
import {
  callable,
  choice,
  flag,
  get,
  infinite,
  integer,
  items,
  kindOf,
  options as chosen,
  printed,
  real,
  refuse,
  synchronous,
  type Check,
} from "./check.ts";
import { leaves, tapeOf, type Tree } from "./nn.ts";
import type { Tensor } from "./tensor.ts";

/** Updates parameters from their gradients. */
export interface Optimizer {
  /**
   * One update at learning rate `lr`, the one given at the start unless another is given. Throws, and changes nothing,
   * where a gradient is not finite (a RangeError), or where the scope of a parameter or of its state has ended.
   */
  step: (lr?: number) => void;
  /** Its learning rate: that of an update which is given none. */
  readonly lr: number;
  /** What it updates. */
  readonly params: Tree;
  /** What it remembers of each parameter, under the parameter's path: part of a run's state. */
  readonly state: Tree;
  /** How many updates were made, an integer from 0: part of a run's state. */
  updates: number;
}

/**
 * Options of `sgd`. `decay`: decoupled weight decay, on the parameters that `decays` picks, once, when the optimiser is
 * made (those of two axes or more unless given).
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

type Decays = (path: string, p: Tensor) => boolean;
/** @internal Checks for a learning rate, or another number from 0. */
export const RATE = /* @__PURE__ */ real("from 0");
const PART = /* @__PURE__ */ real("from 0 to below 1");
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
/** Throws at the first number of a gradient that is not finite. */
export function finite(who: string, list: Parameters): void {
  const { engine } = list[0]![1].tape;
  const { kernels, mark, width } = engine;
  const sums = engine.alloc(list.length);
  engine.rewind(mark); // nothing else is claimed while they are there
  list.forEach(([, p], i) => kernels.sum(1, p.size, 1, p.grad, sums + i * width, kernels.scratch));
  const all = kernels.squares(list.length, sums); // finite only if each gradient is; where not, it may have overflowed
  if (all < Infinity) return;
  for (const [path, p] of list) {
    const bad = infinite(p.shape, p.gradient());
    if (!bad) continue;
    const advice = `look with new Tape("${p.tape.dtype}", { check: true })`;
    refuse(RangeError, who, `the gradient of ${path} is ${bad}; nothing has changed\n  ${advice}`);
  }
}

/** Zeros beside each parameter, or nothing at all where memory does not suffice. */
const like = (list: Parameters): Tensor[] =>
  list[0]![1].tape.allOrNothing(() => list.map(([, p]) => p.tape.tensor(p.shape)));

/** One optimiser or several, or none where `least` is 0, as a list. */
export function optimizersOf(who: string, optimizer: unknown, least = 0): readonly Optimizer[] {
  const given = optimizer === undefined ? [] : [optimizer];
  const list = kindOf(optimizer) === "Array" ? items(who, "optimizer is", optimizer as Optimizer[]) : given;
  for (const o of list.length < least ? [undefined] : list)
    if (typeof get(o, "step") !== "function")
      refuse(TypeError, who, `optimizer is ${printed(o)}`, "an optimiser, or a list of them");
  return list as Optimizer[];
}

/** What all optimisers have in common. */
interface Common {
  readonly lr: number;
  readonly decay: number;
  /** Of each parameter, whether it decays. */
  readonly decayed: readonly boolean[];
}
type Parameters = readonly (readonly [path: string, p: Tensor])[];
/** Changes parameter `i`, of which decay leaves the part `keep`. */
type Change = (p: Tensor, i: number, keep: number) => void;

/** An optimiser whose update number `t`, from 1, changes each parameter in turn by what `update` gives. */
function optimizer(
  who: string,
  params: Tree,
  { lr, decay, decayed }: Common,
  list: Parameters,
  state: Tree,
  update: (rate: number, t: number) => Change,
): Optimizer {
  const kept = leaves(state);
  let updates = 0;
  return Object.freeze({
    lr,
    params,
    state,
    get updates() {
      return updates;
    },
    set updates(n) {
      updates = integer(who, "updates", n);
    },
    step(rate: number = lr) {
      RATE(who, "lr", rate); // what would spoil every parameter is refused before any is touched
      for (const [, p] of list) p.alive(who);
      for (const [, t] of kept) t.alive(who);
      finite(who, list);
      const change = update(rate, updates + 1);
      list.forEach(([, p], i) => change(p, i, 1 - (decayed[i] ? rate * decay : 0)));
      updates++;
    },
  });
}

/** Stochastic gradient descent: v = momentum v + g; p -= lr v, or lr (g + momentum v) with `nesterov`. */
export function sgd(params: Tree, options: SgdOptions = {}): Optimizer {
  const { lr, momentum, nesterov, decay, decays } = chosen("sgd", options, {
    lr: [RATE, 0.1],
    momentum: [PART, 0],
    nesterov: [flag, false],
    decay: [RATE, 0],
    decays: [callable as Check<Decays>, matrices],
  });
  if (nesterov && !momentum) refuse(RangeError, "sgd", "nesterov needs a momentum above 0");
  const list = parameters("sgd", params);
  const decayed = list.map(
    ([path, p]) => decay > 0 && flag("sgd", "what decays gave", synchronous("sgd", decays(path, p))),
  );
  const v = momentum ? like(list) : [];
  const state = Object.fromEntries(v.map((v, i) => [list[i]![0], { v }]));
  return optimizer("sgd", params, { lr, decay, decayed }, list, state, rate => (p, i, keep) => {
    p.tape.engine.kernels.sgd(p.size, rate, keep, momentum, nesterov, p.grad, v[i]?.data ?? 0, p.data);
  });
}

/** AdamW (Loshchilov and Hutter 2019): Adam, with p *= 1 - lr decay on the parameters that `decays` picks. */
export function adamw(params: Tree, options: AdamOptions = {}): Optimizer {
  const wants = { ...ADAM, decay: [RATE, 0.01], decays: [callable as Check<Decays>, matrices] } as const;
  return adaptive(params, chosen("adamw", options, wants));
}
/** Adam (Kingma and Ba 2015): `adamw` without decay. */
export function adam(params: Tree, options: Omit<AdamOptions, "decay" | "decays"> = {}): Optimizer {
  return adaptive(params, { ...chosen("adam", options, ADAM), decay: 0, decays: matrices });
}
const pair: Check<readonly [number, number]> = (who, name, value) => {
  const all = items(who, `${name} is`, value as number[], "two numbers");
  if (all.length !== 2) refuse(RangeError, who, `${name} is ${printed(value)}`, "two numbers");
  all.forEach((b, i) => PART(who, `${name}[${i}]`, b));
  return all as unknown as readonly [number, number];
};
const ADAM = { lr: [RATE, 1e-3], betas: [pair, [0.9, 0.999]], eps: [RATE, 1e-8] } as const;

function adaptive(params: Tree, { lr, betas, eps, decay, decays }: Required<AdamOptions>): Optimizer {
  const who = "adamw";
  const [b1, b2] = betas;
  const list = parameters(who, params);
  const decayed = list.map(
    ([path, p]) => decay > 0 && flag(who, "what decays gave", synchronous(who, decays(path, p))),
  );
  const [m, v] = list[0]![1].tape.allOrNothing(() => [like(list), like(list)]);
  const state = Object.fromEntries(list.map(([path], i) => [path, { m: m[i], v: v[i] }]));
  return optimizer(who, params, { lr, decay, decayed }, list, state, (rate, t) => {
    const scaled = rate / (1 - pow(b1, t));
    const root = 1 / Math.sqrt(1 - pow(b2, t));
    return (p, i, keep) => {
      const { size, grad, data, tape } = p;
      const rest = [m[i]!.data, v[i]!.data, data] as const;
      tape.engine.kernels.adamw(size, keep, scaled, root, b1, 1 - b1, b2, 1 - b2, eps, grad, ...rest);
    };
  });
}
/**
 * Scales all gradients so that their norm, taken over every number together, is at most `most`; returns the norm
 * before. A gradient that is not finite is a RangeError, and nothing has changed.
 */
export function clipNorm(params: Tree, most: number): number {
  const who = "clipNorm";
  RATE(who, "most", most);
  const list = parameters(who, params);
  let unit = 1; // what gradients are divided by, where their squares leave the range of doubles
  let squares = list.reduce((s, [, p]) => s + p.tape.engine.kernels.squares(p.size, p.grad), 0);
  if (!(squares > 1e-290 && squares < Infinity)) {
    finite(who, list);
    const all = list.map(([, p]) => p.gradient());
    const largest = (most: number, x: number): number => Math.max(most, Math.abs(x));
    unit = all.reduce((most, g) => (g as Float64Array).reduce(largest, most), 0) || 1;
    squares = all.reduce((s, g) => (g as Float64Array).reduce((s, x) => s + (x / unit) * (x / unit), s), 0);
  }
  const root = Math.sqrt(squares);
  if (unit * root > most) {
    const by = most / unit / root;
    const parts = by < 1e-30 ? [Math.sqrt(by), Math.sqrt(by)] : [by]; // too small a factor would lose digits in f32
    for (const part of parts) for (const [, p] of list) p.tape.engine.kernels.scale(p.size, part, 0, p.grad, p.grad);
  }
  return unit * root;
}
/** Moves every number of every gradient into -most..most; one that is not finite is refused, as by `clipNorm`. */
export function clipValue(params: Tree, most: number): void {
  RATE("clipValue", "most", most);
  const list = parameters("clipValue", params);
  finite("clipValue", list);
  for (const [, p] of list) p.tape.engine.kernels.clamp(p.size, most, p.grad);
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
  const wants = { lr: [RATE], steps: [RATE, 0], warmup: [RATE, 0], final: [RATE, 0] } as const;
  const { lr, steps, warmup, final } = chosen("schedule", options, wants);
  choice("schedule", "kind", kind, ["constant", "linear", "cosine"]);
  if (kind !== "constant" && !(steps > warmup))
    refuse(RangeError, "schedule", `steps is ${steps} and warmup ${warmup}`, "more steps than warm-up");
  return step => {
    RATE("schedule", "step", step);
    if (step < warmup) return (lr * (step + 1)) / warmup;
    if (kind === "constant") return lr;
    const done = Math.min(1, (step - warmup) / (steps - warmup));
    return final + (lr - final) * (kind === "linear" ? 1 - done : (1 + cos(Math.PI * done)) / 2);
  };
}
