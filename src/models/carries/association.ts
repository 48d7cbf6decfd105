// association.ts: the associative memory of a layer (ARMT: Rodkin, Kuratov, Bulatov, Burtsev 2024, arXiv 2407.04841).
// The last places of a segment write into a matrix by the delta rule, and all places of the next read it before the
// layer.
import { callable, get, integer, refuse, shapeOf, tensor } from "../../check.ts";
import { apply, having, linearWeights, type Maker, type Tree, type Weights } from "../../nn.ts";
import { add, div, mul, relu, scale, sigmoid, sub } from "../../ops/elementwise.ts";
import { bmm, matmul } from "../../ops/products.ts";
import { concat, joined, reshape, slice, sliced, stopGradient, sum } from "../../ops/shapes.ts";
import type { Tensor } from "../../tensor.ts";
import { rowsOf, type Carry } from "../carry.ts";

/** A layer's parameters: what makes queries and keys [width d], values [d d], and how strongly to write [1 d]. */
export interface AssociationWeights {
  readonly query: Weights;
  readonly key: Weights;
  readonly value: Weights;
  readonly beta: Weights;
  readonly [name: string]: Tensor | Tree | undefined;
}
/** What a layer remembers: A, values by the numbers of φ(key), b 6width d; and z, the sum of keys, b 6width 1. */
export interface Associations {
  readonly matrix: Tensor;
  readonly sum: Tensor;
}
/** A carry that tells what it remembers. */
export interface Association extends Carry {
  readonly associations: Associations;
}

/** φ(x) has so many numbers for each of x. */
export const FEATURES = 6;
const EPS = 1e-5; // added to each number that is divided by

/** Fresh parameters. Values are 0 at first: a layer begins as if there were no memory. */
export function associationWeights(make: Maker, path: string, width: number, d: number): AssociationWeights {
  const into = (name: string, o: number, std = 1 / Math.sqrt(3 * d)) =>
    linearWeights(make, `${path}.${name}`, o, d, { bias: false, std });
  return { query: into("query", width), key: into("key", width), value: into("value", d, 0), beta: into("beta", 1) };
}

/**
 * φ: ... n -> ... 6n, DPFP-3 (Schlag, Irie, Schmidhuber 2021, 2102.11174). r = [relu(x), relu(-x)] times itself, turned
 * by 1, 2 and 3 places; no number is below 0.
 */
export function features(x: Tensor): Tensor {
  const axis = x.shape.length - 1;
  const r = joined([relu(x), relu(scale(x, { by: -1 }))], axis);
  const n = r.shape[axis]!;
  const turned = (by: number): Tensor => joined([sliced(r, n - by, n, axis), sliced(r, 0, n - by, axis)], axis);
  return joined(
    [1, 2, 3].map(by => mul(r, turned(by))),
    axis,
  );
}

/** A number for each place, b t 1, as often as there are in `like`, b t d. */
function spread(x: Tensor, { tape, shape }: Tensor): Tensor {
  const d = shape[2]!;
  return matmul(x, tape.tensor([1, d], new Float64Array(d).fill(1)));
}
/** b m k -> b k m, of few m. */
function transposed(x: Tensor): Tensor {
  const [b, m, k] = x.shape as [number, number, number];
  const columns = Array.from({ length: m }, (_, i) => reshape(sliced(x, i, i + 1, 1), [b, k, 1]));
  return concat(columns, { axis: 2 });
}

/** What is remembered under φ, b t k: A φ / (z·φ), b t d; and z·φ, b t 1. */
function recall({ matrix, sum }: Associations, phi: Tensor) {
  const known = bmm(phi, sum);
  const found = bmm(phi, matrix);
  return { known, found: div(found, spread(scale(known, { plus: EPS }), found)) };
}

/**
 * What is remembered after memory places b m d, each a vector u, wrote, all against what was there before:
 *
 *     k = φ(W_K u), v = W_V u, β = sigmoid(W_β u)
 *     A += Σ β (v - A k / z·k) ⊗ k
 *     z += Σ γ k, with γ = 1 - z·k / |k|² from 0 to 1: of a key that is there already, nothing. No gradient flows to γ.
 */
function written(before: Associations, memory: Tensor, p: AssociationWeights): Associations {
  const phi = features(apply(memory, p.key));
  const { known, found } = recall(before, phi);
  const change = mul(sub(apply(memory, p.value), found), spread(sigmoid(apply(memory, p.beta)), memory));
  const fixed = stopGradient(phi);
  const squares = reshape(sum(mul(fixed, fixed), { axis: 2 }), known.shape);
  // Nothing here is below 0, so neither is z·k / |k|², and γ is at most 1.
  const share = div(stopGradient(known), scale(squares, { plus: EPS }));
  const gamma = relu(scale(share, { by: -1, plus: 1 }));
  const columns = transposed(phi);
  return { matrix: add(before.matrix, bmm(columns, change)), sum: add(before.sum, bmm(columns, gamma)) };
}

const who = "association";
const parts = /* @__PURE__ */ having(who, "query.weight", "key.weight", "value.weight", "beta.weight");

/**
 * A memory that each place of what comes into the layer reads, x + A φ(W_Q x) / z·φ(W_Q x), and that the layer's last
 * `m` places write into. What it holds, A of b k d and z of b k 1 with k = 6 width, does not grow; zeros are an empty
 * memory.
 */
export function association(weights: AssociationWeights, m: number, associations: Associations): Association {
  parts(weights);
  integer(who, "m", m, 1);
  const [matrix, sum] = ["matrix", "sum"].map(name =>
    tensor(who, name, get(associations, name) as Tensor, "b k d"),
  ) as [Tensor, Tensor];
  const [got, wants] = [shapeOf(sum), shapeOf({ shape: [matrix.shape[0]!, matrix.shape[1]!, 1] })];
  if (got !== wants) refuse(RangeError, who, `sum is ${got}`, wants);
  return {
    associations: { matrix, sum },
    fits: sizes => rowsOf(matrix, get(sizes, "tape"), get(sizes, "b"), get(sizes, "d")),
    enter(x) {
      tensor(who, "x", x, "b t d");
      return add(x, recall({ matrix, sum }, features(apply(x, weights.query))).found);
    },
    held(hold) {
      callable(who, "hold", hold);
      return association(weights, m, { matrix: hold(matrix), sum: hold(sum) });
    },
    next(_, y) {
      const t = tensor(who, "y", y, "b t d").shape[1]!;
      if (t < m) refuse(RangeError, who, `${t} places are left of what the layer made`, `${m} that write, its last`);
      const memory = slice(y, t - m, t, { axis: 1 });
      return association(weights, m, written({ matrix, sum }, memory, weights));
    },
  };
}
