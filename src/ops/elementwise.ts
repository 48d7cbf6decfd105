// elementwise.ts: operations that treat each number by itself.
import { options as chosen, real, refuse, tensor, whole } from "../check.ts";
import { op, type Op } from "../op.ts";
import type { Tensor } from "../tensor.ts";

type Mapped =
  "exp" | "log" | "sqrt" | "sin" | "cos" | "tanh" | "sigmoid" | "relu" | "geluTanh" | "geluErf" | "silu" | "erf";
const map = (name: string, kernel: Mapped, domain: readonly [number, number] = [-2, 2]): Op<"... -> ..."> =>
  op(`${name}(x)`, "... -> ...", {
    domain,
    forward: (K, { rows }, y, x) => K[kernel](rows, x.data, y.data),
    backward: (K, { rows }, y, x) => K[`${kernel}Back`](rows, x.data, y.data, y.grad, x.grad, x.add),
  });

/** y = eˣ */
export const exp = /* @__PURE__ */ map("exp", "exp");
/** y = ln x */
export const log = /* @__PURE__ */ map("log", "log", [0.1, 3]);
/** y = √x */
export const sqrt = /* @__PURE__ */ map("sqrt", "sqrt", [0.1, 3]);
/** y = sin x, x in radians. */
export const sin = /* @__PURE__ */ map("sin", "sin");
/** y = cos x, x in radians. */
export const cos = /* @__PURE__ */ map("cos", "cos");
/** y = tanh x */
export const tanh = /* @__PURE__ */ map("tanh", "tanh");
/** y = 1 / (1 + e⁻ˣ) */
export const sigmoid = /* @__PURE__ */ map("sigmoid", "sigmoid");
/** y = max(x, 0); its gradient at 0 is 0. */
export const relu = /* @__PURE__ */ map("relu", "relu", [0.1, 2]);
/** y = x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))), GPT-2's approximation of geluErf. */
export const gelu = /* @__PURE__ */ map("gelu", "geluTanh");
/** y = x/2 (1 + erf(x/√2)) (Hendrycks and Gimpel 2016). */
export const geluErf = /* @__PURE__ */ map("geluErf", "geluErf");
/** y = x sigmoid(x) */
export const silu = /* @__PURE__ */ map("silu", "silu");
/** y = erf x */
export const erf = /* @__PURE__ */ map("erf", "erf");

/** y = a + b, of one shape. */
export const add = /* @__PURE__ */ op("add(a, b)", "..., ... -> ...", {
  forward: (K, { rows }, y, a, b) => K.add(rows, a.data, b.data, y.data),
  backward(K, { rows }, y, a, b) {
    K.accumulate(rows, y.grad, a.grad, a.add);
    K.accumulate(rows, y.grad, b.grad, b.add);
  },
});
/** y = a - b, of one shape. */
export const sub = /* @__PURE__ */ op("sub(a, b)", "..., ... -> ...", {
  forward: (K, { rows }, y, a, b) => K.sub(rows, a.data, b.data, y.data),
  backward(K, { rows }, y, a, b) {
    K.accumulate(rows, y.grad, a.grad, a.add);
    K.scaleAdd(rows, -1, y.grad, b.grad, b.add);
  },
});
/** y = a b, of one shape. */
export const mul = /* @__PURE__ */ op("mul(a, b)", "..., ... -> ...", {
  forward: (K, { rows }, y, a, b) => K.mul(rows, a.data, b.data, y.data),
  backward(K, { rows }, y, a, b) {
    K.mulAdd(rows, y.grad, b.data, a.grad, a.add);
    K.mulAdd(rows, y.grad, a.data, b.grad, b.add);
  },
});
/** y = a / b, of one shape. */
export const div = /* @__PURE__ */ op("div(a, b)", "..., ... -> ...", {
  domain: [0.5, 2],
  forward: (K, { rows }, y, a, b) => K.div(rows, a.data, b.data, y.data),
  backward: (K, { rows }, y, a, b) => K.divBack(rows, b.data, y.data, y.grad, a.grad, a.add, b.grad, b.add),
});
/** y = by x + plus, with two numbers. */
export const scale = /* @__PURE__ */ op("scale(x)", "... -> ...", {
  attrs: { by: 1, plus: 0 },
  forward: (K, { rows, by, plus }, y, x) => K.scale(rows, by, plus, x.data, y.data),
  backward: (K, { rows, by }, y, x) => K.scaleAdd(rows, by, y.grad, x.grad, x.add),
});
/** y = x, to the bit; backward the gradient is multiplied by `by`: between x, at 1, and stopGradient of x, at 0. */
export const fade = /* @__PURE__ */ op("fade(x)", "... -> ...", {
  attrs: { by: 1 },
  forward: (K, { rows }, y, x) => K.copyRows(1, rows, x.data, rows, y.data, rows),
  backward(K, { rows, by }, y, x) {
    if (by) K.scaleAdd(rows, by, y.grad, x.grad, x.add);
    else if (!x.add) K.fill(rows, 0, x.grad);
  },
});
/** y = x + b, b added to each row. */
export const bias = /* @__PURE__ */ op("bias(x, b)", "... d, d -> ... d", {
  forward: (K, { rows, d }, y, x, b) => K.bias(rows, d, x.data, b.data, y.data),
  backward(K, { rows, d }, y, x, b) {
    K.accumulate(rows * d, y.grad, x.grad, x.add);
    K.biasBack(rows, d, y.grad, d, b.grad, b.add, K.scratch);
  },
});

/** Checks for the probability of dropout. */
export const probability = /* @__PURE__ */ real("from 0 to below 1");
/**
 * Dropout with the words of a generator from `position` on, in blocks of 4, under a seed of two halves. With `row`,
 * each row of so many numbers passes over `skip` words first; both are multiples of 4.
 */
export const masked = /* @__PURE__ */ op("dropout(x)", "... -> ...", {
  attrs: { p: 0.1, position: 0, seedLow: 0, seedHigh: 0, row: 0, skip: 0 },
  checks: { p: probability, position: /* @__PURE__ */ whole(), row: /* @__PURE__ */ whole() },
  forward(K, { rows, p, seedLow, seedHigh, position, row, skip }, y, x) {
    const n = row || rows;
    for (let at = 0, from = position + skip; at < rows; at += n, from += n + skip)
      K.dropout(n, p, seedLow, seedHigh, from, x.data + at * K.width, y.data + at * K.width);
  },
  backward(K, { rows, p, seedLow, seedHigh, position, row, skip }, y, x) {
    const n = row || rows;
    for (let at = 0, from = position + skip; at < rows; at += n, from += n + skip)
      K.dropoutBack(n, p, seedLow, seedHigh, from, y.grad + at * K.width, x.grad + at * K.width, x.add);
  },
});
/**
 * Sets each number to 0 with probability `p` (0.1 unless given) and divides the others by 1 - p; in `noGrad` x itself.
 * The numbers kept depend on the tape's generator alone; `position` is the generator's word to start from, a multiple
 * of 4, the tape's next one unless given.
 */
export function dropout(x: Tensor, options: { p?: number; position?: number } = {}): Tensor {
  const who = "dropout";
  tensor(who, "the input", x);
  const { p, position } = chosen(who, options, { p: [probability, 0.1], position: [whole(), undefined] });
  if (position! % 4) refuse(RangeError, who, `position is ${position}`, "a multiple of 4 from 0");
  if (position === undefined) return dropped(x, p);
  return x.tape.evaluating ? x : masked.of([x], { p, position, ...halves(x) });
}
/**
 * The same of a tensor with the tape's next words; where x b n d are the last n of t places, as if there were all: each
 * keeps what it would keep among them. Rows are then of a multiple of 4.
 */
export function dropped(x: Tensor, p: number, t?: number): Tensor {
  const { random, evaluating } = x.tape;
  if (evaluating) return x;
  const [b, n = 0, d = 0] = x.shape;
  const apart = t && t > n ? { row: n * d, skip: (t - n) * d } : {};
  const y = masked.of([x], { p, position: Math.ceil(random.position / 4) * 4, ...halves(x), ...apart });
  random.aligned();
  random.skip(apart.row ? b! * t! * d : Math.ceil(x.size / 4) * 4);
  return y;
}
/** The seed of the generator of a tensor's tape. */
function halves({ tape: { random } }: Tensor) {
  return { seedLow: random.seed | 0, seedHigh: Math.floor(random.seed / 4294967296) };
}

/** The entries of this file. */
export const elementwiseOps = [
  exp,
  log,
  sqrt,
  sin,
  cos,
  tanh,
  sigmoid,
  relu,
  gelu,
  geluErf,
  silu,
  erf,
  add,
  sub,
  mul,
  div,
  scale,
  fade,
  bias,
  masked,
];
