// nn.ts: parameters as plain nested objects, and the layers that read them. A tree's dotted paths are its state dict,
// with PyTorch's names and layouts (a linear weight is [out, in]).
import { choice, refuse, shapeOf } from "./check.ts";
import { dropout, gelu, geluErf, mul, relu, silu } from "./ops/elementwise.ts";
import { linear } from "./ops/products.ts";
import { layerNorm, rmsNorm } from "./ops/rows.ts";
import type { Random } from "./random.ts";
import { type Tape } from "./tape.ts";
import { Tensor } from "./tensor.ts";

/** Parameters: tensors, in objects and lists, as deep as you like. */
export type Tree = { readonly [name: string]: Tensor | Tree | undefined } | readonly Tree[];
export interface Weights {
  readonly weight: Tensor;
  readonly bias?: Tensor | undefined;
  readonly [name: string]: Tensor | Tree | undefined;
}

/** Every tensor of a tree with its dotted path, in the order the tree was written: `["h.0.ln_1.weight", tensor]`. */
export function leaves(tree: Tree, path = ""): [string, Tensor][] {
  if (typeof tree !== "object" || tree === null || tree instanceof Tensor)
    refuse(TypeError, "leaves", `${path || "the tree"} is ${String(tree)}`, "tensors, in objects and lists");
  return Object.entries(tree).flatMap(([name, node]): [string, Tensor][] => {
    const here = path ? `${path}.${name}` : name;
    return node === undefined ? [] : node instanceof Tensor ? [[here, node]] : leaves(node as Tree, here);
  });
}

/** The tape that a tree of parameters lies on. */
export function tapeOf(who: string, tree: Tree): Tape {
  const [first] = leaves(tree);
  if (!first) refuse(RangeError, who, "no parameters");
  return first[1].tape;
}

/** How many numbers a tree holds. */
export const count = (tree: Tree): number => leaves(tree).reduce((n, [, t]) => n + t.size, 0);

/** Makes parameters: each drawn from its own fork of the generator, by path, so that adding one changes no other. */
export interface Maker {
  (path: string, shape: readonly number[], std: number, mean?: number): Tensor;
}

/** A maker on `tape`: normal numbers of the given spread around the given mean; `frozen` ones want no gradient. */
export function maker(tape: Tape, rng: Random, frozen = false): Maker {
  return (path, shape, std, mean = 0) => {
    const t = frozen ? tape.tensor(shape) : tape.param(shape);
    const values = t.values();
    const own = rng.fork(path);
    for (let i = 0; i < values.length; i++) values[i] = mean + (std ? std * own.normal() : 0);
    return t;
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

export interface MlpWeights extends Weightless {
  readonly c_fc: Weights;
  readonly c_gate?: Weights | undefined;
  readonly c_proj: Weights;
}
interface Weightless {
  readonly [name: string]: Tensor | Tree | undefined;
}

/** Two linear layers with a bend between them; with "swiglu", silu(gate x) times (fc x) (Shazeer 2020). */
export function mlp(x: Tensor, p: MlpWeights, activation: Activation): Tensor {
  choice("mlp", "activation", activation, activations);
  if (activation === "swiglu" && !p.c_gate) refuse(TypeError, "mlp", "swiglu without c_gate");
  const inner = apply(x, p.c_fc);
  const bent = activation === "swiglu" ? mul(silu(apply(x, p.c_gate!)), inner) : bends[activation](inner);
  return apply(bent, p.c_proj);
}
/** A linear layer. */
export const apply = (x: Tensor, p: Weights): Tensor => linear(x, p.weight, p.bias);
/** A layer norm, or with `rms` an RMS norm. */
export function norm(x: Tensor, p: Weights, { eps = 1e-5, rms = false }: { eps?: number; rms?: boolean } = {}): Tensor {
  return rms ? rmsNorm(x, p.weight, { eps }) : layerNorm(x, p.weight, p.bias, { eps });
}
/** Dropout, or x itself where `p` is 0. */
export const drop = (x: Tensor, p: number): Tensor => (p ? dropout(x, { p }) : x);

/** A [b, t] tensor of tokens from what a caller has: a tensor already, or rows of numbers. */
export function tokens(tape: Tape, ids: Tensor | ArrayLike<number> | readonly ArrayLike<number>[], b?: number): Tensor {
  if (ids instanceof Tensor) {
    if (ids.shape.length !== 2 || !ids.integral)
      refuse(TypeError, "tokens", shapeOf(ids) + (ids.integral ? "" : " of numbers"), "integers [batch time]");
    return ids;
  }
  if (typeof ids !== "object" || ids === null)
    refuse(TypeError, "tokens", `got ${String(ids)}`, "integers, or rows of them");
  if (typeof ids[0] === "object") {
    const list = ids as readonly ArrayLike<number>[];
    const t = list[0]!.length;
    const ragged = list.find(row => row.length !== t);
    if (ragged) refuse(RangeError, "tokens", `rows of ${t} and ${ragged.length}`, "rows of one length");
    return tape.integers(
      [list.length, t],
      list.flatMap(row => Array.from(row)),
    );
  }
  const flat = ids as ArrayLike<number>;
  return tape.integers([b ?? 1, flat.length / (b ?? 1)], flat);
}
