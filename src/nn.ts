// nn.ts: parameters as plain nested objects, and the layers that read them. A tree's dotted paths are its state dict,
// with PyTorch's names and layouts (a linear weight is [out, in]).
import {
  COPY,
  TENSOR,
  anything,
  choice,
  flag,
  get,
  integer,
  isTensor,
  items,
  label,
  markOf,
  options as chosen,
  printed,
  refuse,
  safely,
  shapeOf,
  string,
  tensor,
  whole,
  type Check,
} from "./check.ts";
import { dropped, gelu, geluErf, mul, relu, silu } from "./ops/elementwise.ts";
import { linear } from "./ops/products.ts";
import { layerNorm, rmsNorm } from "./ops/rows.ts";
import type { Random } from "./random.ts";
import { living, type Tape } from "./tape.ts";
import type { Tensor } from "./tensor.ts";

export { living };

/** Parameters: tensors, in objects and lists, as deep as you like. */
export type Tree = { readonly [name: string]: Tensor | Tree | undefined } | readonly Tree[];
export interface Weights {
  readonly weight: Tensor;
  readonly bias?: Tensor | undefined;
  readonly [name: string]: Tensor | Tree | undefined;
}

/** Every tensor of a tree with its dotted path, in the order the tree was written: `["h.0.ln_1.weight", tensor]`. */
export function leaves(tree: Tree, path = ""): [string, Tensor][] {
  return below(tree, string("leaves", "path", path), 64);
}
function below(tree: unknown, path: string, depth: number): [string, Tensor][] {
  // Entries of numbers without end would take all memory.
  const entries = () => !((tree as { length?: number }).length! > 1e6) && Object.entries(tree!);
  const nodes = typeof tree === "object" && !markOf(tree) && safely(entries, undefined);
  const is = path ? label(path) : "the tree";
  if (!nodes) refuse(TypeError, "leaves", `${is} is ${label(tree)}`, "tensors, in objects and lists");
  if (!depth) refuse(RangeError, "leaves", `${is} lies too deep, or within itself`, "64 levels at most");
  return nodes.flatMap(([name, node]): [string, Tensor][] => {
    const here = path ? `${path}.${name}` : name;
    if (node === undefined) return [];
    return isTensor(node) ? [[here, node as Tensor]] : below(node, here, depth - 1);
  });
}

/** What throws unless a tree has tensors at these paths. */
export function having(who: string, ...paths: string[]): (tree: object) => void {
  const all = paths.map(path => path.split("."));
  return tree => {
    for (const path of all) {
      const node = path.reduce(get, tree as unknown);
      if (!isTensor(node)) refuse(TypeError, who, `${path.join(".")} is ${printed(node)}`, "a tensor");
    }
  };
}

/** The tape that a tree of parameters lies on. */
export function tapeOf(who: string, tree: Tree): Tape {
  const [first, ...others] = leaves(tree);
  if (!first) refuse(RangeError, who, "no parameters");
  const { tape } = first[1];
  for (const [path, t] of others)
    if (t.tape !== tape) refuse(TypeError, who, `${first[0]} and ${path} are on two tapes`, "one tape for all");
  return tape;
}

/** How many numbers a tree holds. */
export const count = (tree: Tree): number => leaves(tree).reduce((n, [, t]) => n + t.size, 0);

/** Options of a model's `params`. */
export interface ParamsOptions {
  /** Of what is drawn; 0 unless given. */
  seed?: number;
  /** Whether they want no gradient, and claim no memory for it; false unless given. */
  frozen?: boolean;
  /**
   * Whether a transformer's numbers are drawn (unless false) or are what they would be around: zeros, for a file to
   * fill. Of GPT-2's 124 million it spares a minute.
   */
  drawn?: boolean;
}
/** Checks the options of a model's `params`, and that there is a tape. */
export function fresh(tape: Tape, options: ParamsOptions = {}) {
  living("params", tape);
  return chosen("params", options, { seed: [seed, 0], frozen: [flag, false], drawn: [flag, true] });
}
const seed = /* @__PURE__ */ whole();

/** Makes parameters: each drawn from its own fork of the generator, by path, so that adding one changes no other. */
export interface Maker {
  (path: string, shape: readonly number[], std: number, mean?: number): Tensor;
}

/**
 * A maker on `tape`: normal numbers of the given spread around the given mean, or the mean itself where none are
 * `drawn`; `frozen` ones want no gradient.
 */
export function maker(tape: Tape, rng: Random, frozen = false, drawn = true): Maker {
  return (path, shape, std, mean = 0) => {
    const t = frozen ? tape.tensor(shape) : tape.param(shape);
    const values = t.values();
    if (!std || !drawn) {
      if (mean) values.fill(mean);
      return t;
    }
    const own = rng.fork(path);
    for (let i = 0; i < values.length; i++) values[i] = mean + std * own.normal();
    return t;
  };
}

/** Tells whether a tree has what it has now under the names it has, as far down as its first names of `part` lead. */
function unchanged(tree: Tree, part: RegExp): () => boolean {
  const nodes = [tree as Record<string, unknown>];
  const members: unknown[] = [];
  for (const node of nodes) {
    for (const name in node) {
      const member = node[name];
      members.push(name, member);
      if (member && !isTensor(member) && (node !== tree || part.test(name))) nodes.push(member as never);
    }
    members.push(nodes);
  }
  return () => {
    let n = 0;
    for (const node of nodes) {
      for (const name in node) if (name !== members[n++] || node[name] !== members[n++]) return false;
      if (nodes !== members[n++]) return false;
    }
    return true;
  };
}
/**
 * What throws unless, of the parameters whose paths begin with `part`, a tree has the names and shapes that `make`
 * gives, and returns the rest of the tree. It looks at a tree again when that has changed.
 */
export function fitting<Rest = Tree>(who: string, part: RegExp, make: (make: Maker) => Tree): (tree: Tree) => Rest {
  const seen = new WeakMap<object, { rest: Rest; holds: () => boolean }>();
  const shapes = (tree: Tree) =>
    new Map(leaves(tree).flatMap(([path, t]) => (part.test(path) ? [[path, shapeOf(t)]] : [])));
  return tree => {
    const before = seen.get(tree);
    if (before?.holds()) return before.rest;
    const given = shapes(tree);
    const wanted = shapes(make((_, shape) => ({ [TENSOR]: COPY, shape }) as unknown as Tensor));
    const wrong = [...new Map([...wanted, ...given]).keys()]
      .filter(path => given.get(path) !== wanted.get(path))
      .map(path => `\n  ${path} is ${given.get(path) ?? "missing"}, wants ${wanted.get(path) ?? "nothing"}`);
    if (wrong.length) {
      const why = `${wrong.length} parameters are of another model`;
      refuse(RangeError, who, why + wrong.slice(0, 8).join(""));
    }
    const rest = Object.fromEntries(Object.entries(tree).filter(([name]) => !part.test(name))) as Rest;
    seen.set(tree, { rest, holds: unchanged(tree, part) });
    return rest;
  };
}

/**
 * Weight and bias of a linear layer from `i` to `o` numbers; the weight's spread is 1/√(3 i), PyTorch's default, unless
 * given.
 */
export function linearWeights(
  make: Maker,
  path: string,
  o: number,
  i: number,
  { std = 1 / Math.sqrt(3 * i), bias = true } = {},
): Weights {
  return { weight: make(`${path}.weight`, [o, i], std), bias: bias ? make(`${path}.bias`, [o], 0) : undefined };
}
/** Gain 1 of a norm over `d` numbers, and shift 0 unless `bias` is false. */
export function normWeights(make: Maker, path: string, d: number, { bias = true } = {}): Weights {
  return { weight: make(`${path}.weight`, [d], 0, 1), bias: bias ? make(`${path}.bias`, [d], 0) : undefined };
}

/** What may stand between an MLP's two matrices. */
export const activations = ["gelu", "geluErf", "relu", "swiglu"] as const;
/** What stands between an MLP's two matrices. */
export type Activation = (typeof activations)[number];
const bends = { gelu, geluErf, relu };
/** A bend by its name. */
export const bent = (x: Tensor, activation: keyof typeof bends): Tensor => bends[activation](x);

export interface MlpWeights extends Weightless {
  readonly c_fc: Weights;
  readonly c_gate?: Weights | undefined;
  readonly c_proj: Weights;
}
interface Weightless {
  readonly [name: string]: Tensor | Tree | undefined;
}

const mlpParts = /* @__PURE__ */ having("mlp", "c_fc.weight", "c_proj.weight");
/** Two linear layers with a bend between them; with "swiglu", silu(gate x) times (fc x) (Shazeer 2020). */
export function mlp(x: Tensor, p: MlpWeights, activation: Activation): Tensor {
  checkMlp(p, activation);
  return feedForward(x, p, activation);
}
/** Throws unless an MLP with such an activation has its parameters. */
export function checkMlp(p: MlpWeights, activation: Activation): void {
  choice("mlp", "activation", activation, activations);
  mlpParts(p);
  if (activation === "swiglu" && !p.c_gate) refuse(TypeError, "mlp", "swiglu without c_gate");
}
/** `mlp` of what has been checked. */
export function feedForward(x: Tensor, p: MlpWeights, activation: Activation): Tensor {
  const inner = apply(x, p.c_fc);
  const y = activation === "swiglu" ? mul(silu(apply(x, p.c_gate!)), inner) : bent(inner, activation);
  return apply(y, p.c_proj);
}
/** A linear layer. */
export const apply = (x: Tensor, p: Weights): Tensor => linear.of([x, p.weight, p.bias]);
const normParts = /* @__PURE__ */ having("norm", "weight");
const NORM = { eps: [anything as Check<number>, 1e-5], rms: [flag, false] } as const;
/** A layer norm, or with `rms` an RMS norm. */
export function norm(x: Tensor, p: Weights, options: { eps?: number; rms?: boolean } = {}): Tensor {
  normParts(p);
  // A layer's configuration will do, which has more.
  return normed(x, p, chosen("norm", { eps: get(options, "eps"), rms: get(options, "rms") }, NORM));
}
/** The same, of what has been checked. */
export function normed(x: Tensor, p: Weights, { eps, rms }: { eps: number; rms: boolean }): Tensor {
  return rms ? rmsNorm.of([x, p.weight], { eps }) : layerNorm.of([x, p.weight, p.bias], { eps });
}
/** Dropout, or x itself where `p` is 0; of places b n d that are the last of t, as among all. */
export const drop = (x: Tensor, p: number, t?: number): Tensor => (p === 0 ? x : dropped(x, p, t));

/** A [b, t] tensor of tokens from what a caller has: a tensor already, or rows of numbers. */
export function tokens(tape: Tape, ids: Tensor | ArrayLike<number> | readonly ArrayLike<number>[], b = 1): Tensor {
  if (isTensor(ids)) {
    const x = tensor("tokens", "ids", ids as Tensor);
    if (x.shape.length !== 2 || !x.integral)
      refuse(TypeError, "tokens", shapeOf(x) + (x.integral ? "" : " of numbers"), "integers [batch time]");
    return x;
  }
  living("tokens", tape);
  const list = items("tokens", "ids are", ids as readonly ArrayLike<number>[]);
  if (typeof list[0] !== "object") return tape.integers([integer("tokens", "b", b, 1), list.length / b], list as never);
  const rows = list.map(row => items("tokens", "a row is", row));
  const t = rows[0]!.length;
  const ragged = rows.find(row => row.length !== t);
  if (ragged) refuse(RangeError, "tokens", `rows of ${t} and ${ragged.length}`, "rows of one length");
  return tape.integers([rows.length, t], rows.flat());
}
