// ops.ts: every operation, one entry each. An entry holds kernel calls and nothing else; grammar and rules are in
// op.ts.
import { known, type AttentionArguments, type Kernels } from "./engine.ts";
import { op, type Op, type Operand } from "./op.ts";
import { Tensor, checked, product, show } from "./tape.ts";

// ------------------------------------------------------------------------------------------------- elementwise
type Mapped =
  "exp" | "log" | "sqrt" | "sin" | "cos" | "tanh" | "sigmoid" | "relu" | "geluTanh" | "geluErf" | "silu" | "erf";
const map = (name: string, kernel: Mapped, domain: readonly [number, number] = [-2, 2]): Op<"... -> ..."> =>
  op(name, "... -> ...", {
    domain,
    overwrites: [0],
    forward: (K, { rows }, y, x) => K[kernel](rows, x.data, y.data),
    backward: (K, { rows }, y, x) => K[`${kernel}Back`](rows, x.data, y.data, y.grad, x.grad, x.adds()),
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
export const add = /* @__PURE__ */ op("add", "..., ... -> ...", {
  forward: (K, { rows }, y, a, b) => K.add(rows, a.data, b.data, y.data),
  overwrites: [0, 1],
  backward: (K, { rows }, y, a, b) => {
    K.accumulate(rows, y.grad, a.grad, a.adds());
    K.accumulate(rows, y.grad, b.grad, b.adds());
  },
});
/** y = a - b, of one shape. */
export const sub = /* @__PURE__ */ op("sub", "..., ... -> ...", {
  forward: (K, { rows }, y, a, b) => K.sub(rows, a.data, b.data, y.data),
  overwrites: [0, 1],
  backward: (K, { rows }, y, a, b) => {
    K.accumulate(rows, y.grad, a.grad, a.adds());
    K.scaleAdd(rows, -1, y.grad, b.grad, b.adds());
  },
});
/** y = a b, of one shape. */
export const mul = /* @__PURE__ */ op("mul", "..., ... -> ...", {
  forward: (K, { rows }, y, a, b) => K.mul(rows, a.data, b.data, y.data),
  overwrites: [0, 1],
  backward: (K, { rows }, y, a, b) => {
    K.mulAdd(rows, y.grad, b.data, a.grad, a.adds());
    K.mulAdd(rows, y.grad, a.data, b.grad, b.adds());
  },
});
/** y = a / b, of one shape. */
export const div = /* @__PURE__ */ op("div", "..., ... -> ...", {
  domain: [0.5, 2],
  forward: (K, { rows }, y, a, b) => K.div(rows, a.data, b.data, y.data),
  backward: (K, { rows }, y, a, b) => K.divBack(rows, b.data, y.data, y.grad, a.grad, true, b.grad, true),
});
/** y = by x + plus, with two numbers. */
export const scale = /* @__PURE__ */ op("scale", "... -> ...", {
  attrs: { by: 1, plus: 0 },
  forward: (K, { rows, by, plus }, y, x) => K.scale(rows, by, plus, x.data, y.data),
  overwrites: [0],
  backward: (K, { rows, by }, y, x) => K.scaleAdd(rows, by, y.grad, x.grad, x.adds()),
});
/** y = x, to the bit; backward the gradient is multiplied by `by`: between x, at 1, and stopGradient of x, at 0. */
export const fade = /* @__PURE__ */ op("fade", "... -> ...", {
  attrs: { by: 1 },
  forward: (K, { rows }, y, x) => K.copyRows(1, rows, x.data, rows, y.data, rows),
  overwrites: [0],
  backward: (K, { rows, by }, y, x) => K.scaleAdd(rows, by, y.grad, x.grad, x.adds()),
});
/** y = x + b, b added to each row. */
export const bias = /* @__PURE__ */ op("bias", "... d, d -> ... d", {
  forward: (K, { rows, d }, y, x, b) => K.bias(rows, d, x.data, b.data, y.data),
  overwrites: [0],
  backward: (K, { rows, d }, y, x, b) => {
    K.accumulate(rows * d, y.grad, x.grad, x.adds());
    K.biasBack(rows, d, y.grad, d, b.grad, true);
  },
});
/**
 * Sets each number to 0 with probability `p` and divides the others by 1 - p. The numbers kept depend on the tape's
 * generator alone; `position` is the generator's word to start from, the tape's next one unless given.
 */
export const dropout = /* @__PURE__ */ op("dropout", "... -> ...", {
  attrs: { p: 0.1, position: -1 },
  derive({ rows, p, position }, { random }) {
    if (!(p >= 0 && p < 1)) throw new RangeError(`p is ${p}, outside [0, 1)`);
    if (position !== -1 && !(Number.isSafeInteger(position / 4) && position >= 0))
      throw new RangeError(`position is ${position}, no multiple of 4`);
    if (position < 0) {
      position = random.aligned();
      random.skip(Math.ceil(rows / 4) * 4);
    }
    return { position, low: random.seed | 0, high: Math.floor(random.seed / 4294967296) };
  },
  forward: (K, { rows, p, low, high, position }, y, x) => K.dropout(rows, p, low, high, position, x.data, y.data),
  backward: (K, { rows, p, low, high, position }, y, x) =>
    K.dropoutBack(rows, p, low, high, position, y.grad, x.grad, true),
});

// ------------------------------------------------------------------------------------------------- products
/** An address that stays 0, "nobody asked", when moved on. */
const at = (address: number, offset: number): number => address && address + offset;

/** y = a b; leading axes of `a` are rows. */
export const matmul = /* @__PURE__ */ op("matmul", "... k, k n -> ... n", {
  forward: (K, { rows: m, k, n }, y, a, b) =>
    K.matmul(m, k, n, 1, a.data, k, 1, b.data, n, 1, 0, y.data, n, false, K.scratch),
  overwrites: [0, 1],
  backward: (K, { rows: m, k, n }, y, a, b) => {
    K.matmul(m, n, k, 1, y.grad, n, 1, b.data, 1, n, 0, a.grad, k, a.adds(), K.scratch); // da += dy bᵀ
    K.matmul(k, m, n, 1, a.data, 1, k, y.grad, n, 1, 0, b.grad, n, b.adds(), K.scratch); // db += aᵀ dy
  },
});
/** y = a b for each of the leading axes, which both have. */
export const bmm = /* @__PURE__ */ op("bmm", "... m k, ... k n -> ... m n", {
  forward(K, { rows, m, k, n }, y, a, b) {
    const w = K.width;
    for (let r = 0; r < rows; r++) {
      const from = a.data + r * m * k * w;
      K.matmul(m, k, n, 1, from, k, 1, b.data + r * k * n * w, n, 1, 0, y.data + r * m * n * w, n, false, K.scratch);
    }
  },
  backward(K, { rows, m, k, n }, y, a, b) {
    const w = K.width;
    for (let r = 0; r < rows; r++) {
      const dy = y.grad + r * m * n * w;
      const da = at(a.grad, r * m * k * w);
      const db = at(b.grad, r * k * n * w);
      K.matmul(m, n, k, 1, dy, n, 1, b.data + r * k * n * w, 1, n, 0, da, k, true, K.scratch);
      K.matmul(k, m, n, 1, a.data + r * m * k * w, 1, k, dy, n, 1, 0, db, n, true, K.scratch);
    }
  },
});
/** y = x wᵀ + b, with w [out, in] as PyTorch has it. */
export const linear = /* @__PURE__ */ op("linear", "... k, n k, n? -> ... n", {
  forward(K, { rows: m, k, n }, y, x, w, b) {
    K.matmul(m, k, n, 1, x.data, k, 1, w.data, 1, k, b.data, y.data, n, false, K.scratch);
  },
  overwrites: [0, 1],
  backward(K, { rows: m, k, n }, y, x, w, b) {
    K.matmul(m, n, k, 1, y.grad, n, 1, w.data, k, 1, 0, x.grad, k, x.adds(), K.scratch); // dx += dy w
    K.matmul(n, m, k, 1, y.grad, 1, n, x.data, k, 1, 0, w.grad, k, w.adds(), K.scratch); // dw += dyᵀ x
    K.biasBack(m, n, y.grad, n, b.grad, true);
  },
});

// ------------------------------------------------------------------------------------------------- rows
/** y = softmax(x) along the last axis. */
export const softmax = /* @__PURE__ */ op("softmax", "... d -> ... d", {
  forward: (K, { rows, d }, y, x) => K.softmax(rows, d, x.data, y.data),
  backward: (K, { rows, d }, y, x) => K.softmaxBack(rows, d, y.data, y.grad, x.grad, true),
});
/** y = ln softmax(x) along the last axis. */
export const logSoftmax = /* @__PURE__ */ op("logSoftmax", "... d -> ... d", {
  forward: (K, { rows, d }, y, x) => K.logSoftmax(rows, d, x.data, y.data),
  backward: (K, { rows, d }, y, x) => K.logSoftmaxBack(rows, d, y.data, y.grad, x.grad, true),
});
/** y = ln Σ eˣ along the last axis. */
export const logsumexp = /* @__PURE__ */ op("logsumexp", "... d -> ...", {
  forward: (K, { rows, d }, y, x) => K.logsumexp(rows, d, x.data, y.data),
  backward: (K, { rows, d }, y, x) => K.logsumexpBack(rows, d, x.data, y.grad, x.grad, true),
});
/** y = (x - mean) / √(variance + eps) w + b along the last axis, variance over d, not d - 1 (Ba et al. 2016). */
export const layerNorm = /* @__PURE__ */ op("layerNorm", "... d, d, d? -> ... d", {
  attrs: { eps: 1e-5 },
  save: { mean: "...", rstd: "..." },
  forward: (K, { rows, d, eps, mean, rstd }, y, x, w, b) =>
    K.layerNorm(rows, d, eps, x.data, w.data, b.data, y.data, mean, rstd),
  room: (K, { rows, d }) => 2 * K.chunks(rows) * d,
  backward(K, { rows, d, mean, rstd, room }, y, x, w, b) {
    const n = K.chunks(rows);
    const dw = room;
    const db = room + n * d * K.width;
    K.layerNormBack(rows, d, x.data, w.data, mean, rstd, y.grad, x.grad, true, w.grad && dw, b.grad && db);
    K.biasBack(n, d, dw, d, w.grad, true);
    K.biasBack(n, d, db, d, b.grad, true);
  },
});
/** y = x / √(mean of x² + eps) w along the last axis (Zhang and Sennrich 2019). */
export const rmsNorm = /* @__PURE__ */ op("rmsNorm", "... d, d -> ... d", {
  attrs: { eps: 1e-5 },
  domain: [0.3, 2],
  save: { rstd: "..." },
  forward: (K, { rows, d, eps, rstd }, y, x, w) => K.rmsNorm(rows, d, eps, x.data, w.data, y.data, rstd),
  room: (K, { rows, d }) => K.chunks(rows) * d,
  backward(K, { rows, d, rstd, room }, y, x, w) {
    K.rmsNormBack(rows, d, x.data, w.data, rstd, y.grad, x.grad, true, w.grad && room);
    K.biasBack(K.chunks(rows), d, room, d, w.grad, true);
  },
});

// Operations along an axis see three: what lies before it, itself, what lies after. The functions behind them reshape.
export const sumMiddle = /* @__PURE__ */ op("sum", "o n i -> o i", {
  forward: (K, { o, n, i }, y, x) => K.sum(o, n, i, x.data, y.data),
  backward: (K, { o, n, i }, y, x) => K.sumBack(o, n, i, y.grad, x.grad, true),
});
export const cumsumMiddle = /* @__PURE__ */ op("cumsum", "o n i -> o n i", {
  attrs: { reverse: false },
  forward: (K, { o, n, i, reverse }, y, x) => K.cumsum(o, n, i, reverse, x.data, y.data),
  backward: (K, { o, n, i, reverse }, y, x) => K.cumsumBack(o, n, i, !reverse, y.grad, x.grad, true),
});
export const concatMiddle = /* @__PURE__ */ op("concat", "o m i, o n i -> o m+n i", {
  forward(K, { o, m, n, i }, y, a, b) {
    K.copyRows(o, m * i, a.data, m * i, y.data, (m + n) * i);
    K.copyRows(o, n * i, b.data, n * i, y.data + m * i * K.width, (m + n) * i);
  },
  overwrites: [0, 1],
  backward(K, { o, m, n, i }, y, a, b) {
    K.addRows(o, m * i, y.grad, (m + n) * i, a.grad, m * i, a.adds());
    K.addRows(o, n * i, y.grad + m * i * K.width, (m + n) * i, b.grad, n * i, b.adds());
  },
});
export const sliceMiddle = /* @__PURE__ */ op("slice", "o n i -> o count i", {
  attrs: { start: 0, count: 1 },
  derive({ n, start, count }) {
    if (!(Number.isInteger(start) && Number.isInteger(count) && start >= 0 && count >= 0 && start + count <= n))
      throw new RangeError(`${start}..${start + count} is not within 0..${n}`);
  },
  forward: (K, { o, n, i, start, count }, y, x) =>
    K.copyRows(o, count * i, x.data + start * i * K.width, n * i, y.data, count * i),
  backward: (K, { o, n, i, start, count }, y, x) =>
    K.addRows(o, count * i, y.grad, count * i, at(x.grad, start * i * K.width), n * i, true),
});

// ------------------------------------------------------------------------------------------------- integers and losses
/** Rows of a table: y[...] = w[ids[...]]. */
export const embedding = /* @__PURE__ */ op("embedding", "v d, ...<v -> ... d", {
  forward: (K, { rows, d }, y, w, ids) => K.gather(rows, d, w.data, ids.data, y.data),
  backward: (K, { rows, d, v }, y, w, ids) => K.gatherBack(rows, d, v, ids.data, y.grad, w.grad, true),
});
/** -ln softmax(x)[target], the mean over the targets that are not `ignore`, or with `reduction: "sum"` their sum. */
export const crossEntropy = /* @__PURE__ */ op("crossEntropy", "... v, ...<v -> ", {
  attrs: { ignore: -100, reduction: "mean" as "mean" | "sum" },
  save: { most: "...", sums: "...", factor: "1" },
  allow: ({ ignore }) => ignore,
  derive({ reduction }) {
    knows(reduction, ["mean", "sum"]);
  },
  forward(K, { rows, v, ignore, reduction, most, sums, factor }, y, x, targets) {
    const count = K.crossEntropy(
      rows,
      v,
      ignore,
      reduction === "mean",
      x.data,
      targets.data,
      y.data,
      most,
      sums,
      factor,
    );
    if (!count && reduction === "mean")
      throw new RangeError(
        `crossEntropy: no mean over nothing: every target is ${ignore}\n  wants at least one that counts, or reduction: "sum"`,
      );
  },
  backward: (K, { rows, v, ignore, most, sums, factor }, y, x, targets) =>
    K.crossEntropyBack(rows, v, ignore, x.data, targets.data, most, sums, factor, y.grad, x.grad, true),
});
/**
 * With e = a - b: e²/2 where |e| <= delta, delta (|e| - delta/2) beyond; the mean of all, or their sum (Huber 1964).
 */
export const huber = /* @__PURE__ */ op("huber", "..., ... -> ", {
  attrs: { delta: 1, reduction: "mean" as "mean" | "sum" },
  derive({ rows, delta, reduction }) {
    if (!(delta > 0)) throw new RangeError(`delta is ${delta}; wants a number above 0`);
    return { by: share(rows, reduction) };
  },
  forward: (K, { rows, delta, by }, y, a, b) => K.huber(rows, delta, by, a.data, b.data, y.data),
  backward: (K, { rows, delta, by }, y, a, b) =>
    K.huberBack(rows, delta, by, a.data, b.data, y.grad, a.grad, true, b.grad, true),
});
/** (a - b)², the mean of all, or their sum. */
export const mse = /* @__PURE__ */ op("mse", "..., ... -> ", {
  attrs: { reduction: "mean" as "mean" | "sum" },
  derive: ({ rows, reduction }) => ({ by: 2 * share(rows, reduction) }), // a square is twice Huber's, with no end
  forward: (K, { rows, by }, y, a, b) => K.huber(rows, Infinity, by, a.data, b.data, y.data),
  backward: (K, { rows, by }, y, a, b) =>
    K.huberBack(rows, Infinity, by, a.data, b.data, y.grad, a.grad, true, b.grad, true),
});
/** What each of n terms counts. */
function share(n: number, reduction: string): number {
  knows(reduction, ["mean", "sum"]);
  return reduction === "mean" ? 1 / n : 1;
}

// ------------------------------------------------------------------------------------------------- attention, in parts
// Heads need no transpose: b t h d is how the projection wrote them, and a product takes the distance between rows.
/** Calls `body` with the place of each head in b t h d, b s h d and b h t s arrays, in bytes. */
function eachHead(
  w: number,
  { b, h, t, s, d }: { b: number; h: number; t: number; s: number; d: number },
  body: (q: number, k: number, a: number) => void,
): void {
  for (let i = 0; i < b; i++)
    for (let j = 0; j < h; j++) body((i * t * h + j) * d * w, (i * s * h + j) * d * w, (i * h + j) * t * s * w);
}

/**
 * x[i, j] = scale q[i]·k[j], head by head.
 *
 * `edges` (t s, from 0 to 1) weighs the gradient that query i sends to key j; forward nothing changes (papers: myopic
 * training). `past` is k computed from a stopped state: it takes the part of the gradient that the edges hold back from
 * k.
 */
export const scores = /* @__PURE__ */ op("scores", "b t h d, b s h d, t s?, b s h d? -> b h t s", {
  attrs: { scale: 1 },
  save: { part: "t s" },
  constant: [2],
  forward(K, n, x, q, k) {
    const { t, s, d, h } = n;
    eachHead(K.width, n, (i, j, a) =>
      K.matmul(t, d, s, n.scale, q.data + i, h * d, 1, k.data + j, 1, h * d, 0, x.data + a, s, false, K.scratch),
    );
  },
  backward(K, n, x, q, k, edges, past) {
    const { t, s, d, h, part } = n;
    eachHead(K.width, n, (i, j, a) => {
      const dx = x.grad + a;
      // dq += dx k
      K.matmul(t, s, d, n.scale, dx, s, 1, k.data + j, h * d, 1, 0, at(q.grad, i), h * d, true, K.scratch);
      const toKeys = (g: number, dk: number) =>
        K.matmul(s, t, d, n.scale, g, 1, s, q.data + i, h * d, 1, 0, dk, h * d, true, K.scratch); // dk += dxᵀ q
      sendBack(K, t * s, edges.data, dx, part, at(k.grad, j), at(past.grad, j), toKeys);
    });
  },
});
/** y[i] = Σ_j a[i, j] v[j], head by head. `edges` and `past` as in `scores`. */
export const mix = /* @__PURE__ */ op("mix", "b h t s, b s h d, t s?, b s h d? -> b t h d", {
  save: { part: "t s" },
  constant: [2],
  forward(K, n, y, a, v) {
    const { t, s, d, h } = n;
    eachHead(K.width, n, (i, j, o) =>
      K.matmul(t, s, d, 1, a.data + o, s, 1, v.data + j, h * d, 1, 0, y.data + i, h * d, false, K.scratch),
    );
  },
  backward(K, n, y, a, v, edges, past) {
    const { t, s, d, h, part } = n;
    eachHead(K.width, n, (i, j, o) => {
      const dy = y.grad + i;
      // da += dy vᵀ
      K.matmul(t, d, s, 1, dy, h * d, 1, v.data + j, 1, h * d, 0, at(a.grad, o), s, true, K.scratch);
      const toValues = (g: number, dv: number) =>
        K.matmul(s, t, d, 1, g, 1, s, dy, h * d, 1, 0, dv, h * d, true, K.scratch); // dv += aᵀ dy
      sendBack(K, t * s, edges.data, a.data + o, part, at(v.grad, j), at(past.grad, j), toValues);
    });
  },
});
/** Sends `g` back to a source, or, where edges are given, edges g to it and (1 - edges) g to its past. */
function sendBack(
  K: Kernels,
  size: number,
  edges: number,
  g: number,
  part: number,
  live: number,
  past: number,
  send: (g: number, to: number) => void,
): void {
  if (!edges) return send(g, live);
  if (live) {
    K.mul(size, edges, g, part);
    send(part, live);
  }
  if (past) {
    K.rest(size, edges, g, part);
    send(part, past);
  }
}

/** z[i, p] = scale q[i]·w[p]: each query against a table that the heads share (CoPE, eq. 7; Shaw et al. 2018). */
export const tableScores = /* @__PURE__ */ op("tableScores", "b t h d, p d -> b h t p", {
  attrs: { scale: 1 },
  forward(K, n, z, q, w) {
    const { t, h, d, p, scale } = n;
    eachHead(K.width, { ...n, s: p }, (i, _, a) =>
      K.matmul(t, d, p, scale, q.data + i, h * d, 1, w.data, 1, d, 0, z.data + a, p, false, K.scratch),
    );
  },
  backward(K, n, z, q, w) {
    const { t, h, d, p, scale } = n;
    eachHead(K.width, { ...n, s: p }, (i, _, a) => {
      // dq += dz w
      K.matmul(t, p, d, scale, z.grad + a, p, 1, w.data, d, 1, 0, at(q.grad, i), h * d, true, K.scratch);
      K.matmul(p, t, d, scale, z.grad + a, 1, p, q.data + i, h * d, 1, 0, w.grad, d, true, K.scratch); // dw += dzᵀ q
    });
  },
});
/** x[..., i, j] = z[..., i, index[i, j]]: a table's scores laid out by distance. */
export const pick = /* @__PURE__ */ op("pick", "... t p, t s<p -> ... t s", {
  forward: (K, { rows, t, p, s }, x, z, index) => K.pick(rows, t, p, s, z.data, index.data, x.data),
  backward: (K, { rows, t, p, s }, x, z, index) => K.pickBack(rows, t, p, s, index.data, x.grad, z.grad, true),
});
/**
 * x = (1 - w) z[⌊P⌋] + w z[⌈P⌉] with P = min(at, p - 1), w = P - ⌊P⌋: a table's scores at contextual positions (CoPE,
 * eq. 5 and 8).
 */
export const interpolate = /* @__PURE__ */ op("interpolate", "... p, ... s -> ... s", {
  domain: [0.1, 0.9],
  derive({ p }) {
    if (p === 0) throw new RangeError("p is 0; wants at least one position");
  },
  forward: (K, { rows, p, s }, x, z, at) => K.interpolate(rows, p, s, z.data, at.data, x.data),
  backward: (K, { rows, p, s }, x, z, at) =>
    K.interpolateBack(rows, p, s, z.data, at.data, x.grad, z.grad, true, at.grad, true),
});
const masked = (name: "maskedSoftmax" | "maskedSigmoid") =>
  op(name, "b h t s, t s, b s? -> b h t s", {
    constant: [1, 2],
    forward: (K, { b, h, t, s }, y, x, allowed, keys) => K[name](b, h, t, s, x.data, allowed.data, keys.data, y.data),
    backward: (K, { b, h, t, s }, y, x) =>
      name === "maskedSoftmax"
        ? K.softmaxBack(b * h * t, s, y.data, y.grad, x.grad, true)
        : K.sigmoidBack(b * h * t * s, x.data, y.data, y.grad, x.grad, true),
  });
/**
 * softmax over the keys where `allowed` (t s) and `keys` (b s, padding) hold 1; 0 elsewhere, and in rows that may see
 * nothing.
 */
export const maskedSoftmax = /* @__PURE__ */ masked("maskedSoftmax");
/** sigmoid where `allowed` (t s) and `keys` (b s, padding) hold 1; 0 elsewhere: the gates of CoPE (eq. 3). */
export const maskedSigmoid = /* @__PURE__ */ masked("maskedSigmoid");
/**
 * Turns pairs of numbers by the angles of their place; `cos` and `sin` hold one row a place (Su et al. 2021). Tables
 * come from `rotary`.
 */
export const rope = /* @__PURE__ */ op("rope", "b t h d, t r, t r -> b t h d", {
  attrs: { interleaved: false },
  constant: [1, 2],
  derive({ d, r }) {
    if (2 * r !== d) throw new RangeError(`r is ${r} and d is ${d}; r must be half of d`);
  },
  forward: (K, { b, t, h, d, interleaved }, y, x, cos, sin) =>
    K.rope(b, t, h, d, interleaved, 1, cos.data, sin.data, x.data, y.data, false),
  backward: (K, { b, t, h, d, interleaved }, y, x, cos, sin) =>
    K.rope(b, t, h, d, interleaved, -1, cos.data, sin.data, y.grad, x.grad, true),
});

type HeadSizes = Record<"h" | "t" | "s" | "d" | "p" | "r" | "scale" | "reach" | "lse", number> & { causal: boolean };
/** How far an operand's rows lie apart. */
const apart = (x: Operand, { h, d }: HeadSizes): number => x.pitch || h * d;
/** What gates read for keys: with queries of their own they may look at the keys themselves. */
const gateKeys = (k: Operand, gq: Operand, gk: Operand): Operand => (gq.data && !gk.data ? k : gk);
/** What both kernels of attention read. */
function attentionArguments(
  n: HeadSizes,
  y: Operand,
  ...[q, k, v, table, gq, gk, rel, slopes, keys, allowed]: Ten<Operand>
): AttentionArguments {
  const { h, t, s, d, p, r, scale, reach, causal, lse } = n;
  const gates = gateKeys(k, gq, gk);
  const qi = apart(q, n);
  const ki = apart(k, n);
  const vi = apart(v, n);
  const gqi = apart(gq, n);
  const gki = apart(gates, n);
  return {
    scale,
    reach,
    h,
    g: h,
    t,
    s,
    d,
    p,
    r,
    causal,
    q: q.data,
    qi,
    qb: t * qi,
    k: k.data,
    ki,
    kb: s * ki,
    v: v.data,
    vi,
    vb: s * vi,
    table: table.data,
    gq: gq.data,
    gqi,
    gqb: t * gqi,
    gk: gates.data,
    gki,
    gkb: s * gki,
    rel: rel.data,
    slopes: slopes.data,
    keys: keys.data,
    keysb: s,
    allowed: allowed.data,
    o: y.data,
    lse,
  };
}
type Ten<T> = [T, T, T, T, T, T, T, T, T, T];
/** The work of one sequence: the products of queries and keys. */
const attentionWork = ({ h, t, s, d }: HeadSizes): number => h * t * s * d;

/**
 * Attention in one kernel: y_i = Σ_j softmax_j(scale q_i·k_j + what the positions add) v_j (scale 0 stands for 1/√d),
 * queries being the last t of s places; nothing of size t s is kept. Everything but q, k, v may be left out: CoPE's
 * `table` (p d, weighed by `reach`) with gate queries and gate keys (q and k unless given); relative positions' table
 * (r d); ALiBi's slopes (h); `keys` (b s, 0 for padding); `allowed` (t s, 0 for what may not be seen); `edges` (t s),
 * which weigh what queries send back to keys, values and gate keys, or with `own` only what their own place sends; and
 * the pasts of keys, values and gate keys, which take the rest.
 */
export const fusedAttention = /* @__PURE__ */ op(
  "fusedAttention",
  "b t h d, b s h d, b s h d, p d?, b t h d?, b s h d?, r d?, h?, b s?, t s?, t s?, b s h d?, b s h d?, b s h d? -> b t h d",
  {
    attrs: { causal: true, scale: 0, reach: 1, own: false },
    save: { lse: "b h t" },
    domain: [-1, 1],
    constant: [7, 8, 9, 10],
    pitched: [0, 1, 2, 5, 11, 12, 13],
    overwrites: [0, 1, 2],
    derive: ({ d, p, r, t, s, causal, own, scale }) => {
      if ((causal || own) && t > s) throw new RangeError(`${t} queries are more than ${s} keys`);
      for (const n of [p, r]) if (n === 0) throw new RangeError("a table of positions has no rows");
      return { scale: scale || 1 / Math.sqrt(d), p: p ?? 0, r: r ?? 0 };
    },
    room: (K, { b, h, t, s, d, p, r }) => b * (p + r) * d + K.attentionRoom(h, h, t, s, d, p, r, K.scratch),
    forward: (K, n, y, q, k, v, table, gq, gk, rel, slopes, keys, allowed) => {
      const given = attentionArguments(n, y, q, k, v, table, gq, gk, rel, slopes, keys, allowed);
      K.attention(K.block("AttentionArguments", given), 0, n.b, attentionWork(n), n.room);
    },
    backward(K, n, y, q, k, v, table, gq, gk, rel, slopes, keys, allowed, edges, pk, pv, pg) {
      const { b, p, r, s, d, own, room } = n;
      const dtable = room;
      const drel = dtable + b * p * d * K.width;
      const rest = drel + b * r * d * K.width; // a table for each sequence
      const gatePast = gq.data && !gk.data ? pk : pg;
      const pki = apart(pk, n);
      const pvi = apart(pv, n);
      const pgi = apart(gatePast, n);
      const given = attentionArguments(n, y, q, k, v, table, gq, gk, rel, slopes, keys, allowed);
      const args = K.block("AttentionBackArguments", given, {
        own,
        edges: edges.data,
        dout: y.grad,
        dq: q.grad,
        addQ: q.adds(),
        dv: v.grad,
        addV: v.adds(),
        dk: k.grad,
        addK: k.adds(),
        dtable: table.grad && dtable,
        dgq: gq.grad,
        addGq: true,
        dgk: gateKeys(k, gq, gk).grad,
        addGk: true,
        drel: rel.grad && drel,
        pk: pk.grad,
        pki,
        pkb: s * pki,
        addPk: true,
        pv: pv.grad,
        pvi,
        pvb: s * pvi,
        addPv: true,
        pg: gatePast.grad,
        pgi,
        pgb: s * pgi,
        addPg: true,
      });
      K.attentionBack(args, 0, b, attentionWork(n), rest);
      K.biasBack(b, p * d, dtable, p * d, table.grad, true);
      K.biasBack(b, r * d, drel, r * d, rel.grad, true);
    },
  },
);

// ------------------------------------------------------------------------------------------------- shapes
/** Throws unless `x` is a live tensor, and `options` an object with no names but `names`. */
function given(name: string, x: Tensor, options: object = {}, ...names: string[]): void {
  if (!(x instanceof Tensor)) throw new TypeError(`${name}: the input is ${String(x)}\n  wants a tensor`);
  x.alive(name);
  known(name, options, ...names);
}
/** The same numbers under another shape; memory and gradient are shared. */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  given("reshape", x);
  shape = checked("reshape", shape, undefined);
  if (product(shape) !== x.size)
    throw new RangeError(
      `reshape: ${show(x)} holds ${x.size} numbers, [${shape.join(" ")}] would hold ${product(shape)}`,
    );
  return x.tape.alias(x, shape, x.wants);
}
/** The same numbers, through which no gradient flows. */
export function stopGradient(x: Tensor): Tensor {
  given("stopGradient", x);
  return x.tape.alias(x, x.shape, false);
}

/** x as three axes around `axis`. */
function around(name: string, x: Tensor, axis: number): Tensor {
  if (!(Number.isInteger(axis) && axis >= 0 && axis < x.shape.length))
    throw new RangeError(`${name}: axis ${axis} of ${show(x)}\n  wants 0 to ${x.shape.length - 1}`);
  return reshape(x, [product(x.shape.slice(0, axis)), x.shape[axis]!, product(x.shape.slice(axis + 1))]);
}
const replaced = (shape: readonly number[], axis: number, ...by: number[]): number[] => [
  ...shape.slice(0, axis),
  ...by,
  ...shape.slice(axis + 1),
];

/** The sum along `axis`, which goes; of everything, a scalar, when none is given. */
export function sum(x: Tensor, options: { axis?: number } = {}): Tensor {
  given("sum", x, options, "axis");
  const { axis } = options;
  if (axis === undefined) return reshape(sumMiddle(reshape(x, [1, x.size, 1])), []);
  return reshape(sumMiddle(around("sum", x, axis)), replaced(x.shape, axis));
}
/** The mean along `axis`, which goes; of everything, a scalar, when none is given. */
export function mean(x: Tensor, options: { axis?: number } = {}): Tensor {
  given("mean", x, options, "axis");
  const y = sum(x, options);
  return scale(y, { by: y.size / x.size });
}
/** Running sums along `axis` (the last unless given), from the far end when `reverse`; each includes its own place. */
export function cumsum(x: Tensor, options: { axis?: number; reverse?: boolean } = {}): Tensor {
  given("cumsum", x, options, "axis", "reverse");
  const { axis = x.shape.length - 1, reverse = false } = options;
  return reshape(cumsumMiddle(around("cumsum", x, axis), { reverse }), x.shape);
}
/** Tensors one after the other along `axis` (the last unless given); their other axes must agree. */
export function concat(list: readonly Tensor[], options: { axis?: number } = {}): Tensor {
  if (!Array.isArray(list)) throw new TypeError(`concat: the list is ${String(list)}\n  wants an array of tensors`);
  if (list.length === 0) throw new RangeError("concat: nothing to put together\n  wants at least one tensor");
  for (const x of list) given("concat", x, options, "axis");
  const [first, ...more] = list as [Tensor, ...Tensor[]];
  const { axis = first.shape.length - 1 } = options;
  return more.reduce((a, b) => {
    if (b.shape.length !== a.shape.length || b.shape.some((n, i) => i !== axis && n !== a.shape[i]))
      throw new RangeError(`concat: ${show(a)} and ${show(b)} differ beyond axis ${axis}`);
    return reshape(
      concatMiddle(around("concat", a, axis), around("concat", b, axis)),
      replaced(a.shape, axis, a.shape[axis]! + b.shape[axis]!),
    );
  }, first);
}
/** Places `start` to `end` (not included) along `axis` (the last unless given). */
export function slice(x: Tensor, start: number, end: number, options: { axis?: number } = {}): Tensor {
  given("slice", x, options, "axis");
  const { axis = x.shape.length - 1 } = options;
  return reshape(
    sliceMiddle(around("slice", x, axis), { start, count: end - start }),
    replaced(x.shape, axis, end - start),
  );
}

function knows(value: string, choices: readonly string[]): void {
  if (!choices.includes(value)) throw new RangeError(`${value} is none of ${choices.join(", ")}`);
}

/** Every entry, for the gradient check and the op table. */
export const ops: readonly Op[] = [
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
  dropout,
  matmul,
  bmm,
  linear,
  softmax,
  logSoftmax,
  logsumexp,
  layerNorm,
  rmsNorm,
  sumMiddle,
  cumsumMiddle,
  concatMiddle,
  sliceMiddle,
  embedding,
  crossEntropy,
  huber,
  mse,
  scores,
  mix,
  tableScores,
  pick,
  interpolate,
  maskedSoftmax,
  maskedSigmoid,
  rope,
  fusedAttention,
] as unknown as readonly Op[];
