// composed.ts: attention in parts, from small operations that read like the papers' equations; what tests hold the one
// kernel of attention.ts to.
import type { Kernels } from "../engine.ts";
import { op, type Operand, type Source } from "../op.ts";

/** An address that stays 0, "nobody asked", when moved on. */
const at = (address: number, offset: number): number => address && address + offset;

/** The product for rows of x: where they are not all finite, one in which a factor of 0 hides what it weighs. */
const weighing = (K: Kernels, { size, data }: Source) => K[K.finite(size, data) ? "matmul" : "weigh"];

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
export const scores = /* @__PURE__ */ op("scores(q, k, edges, past)", "b t h d, b s h d, t s?, b s h d? -> b h t s", {
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
    const byKeys = weighing(K, k);
    const byQueries = weighing(K, q);
    eachHead(K.width, n, (i, j, a) => {
      const dx = x.grad + a;
      // dq = dx k
      byKeys(t, s, d, n.scale, dx, s, 1, k.data + j, h * d, 1, 0, at(q.grad, i), h * d, q.add, K.scratch);
      const toKeys = (g: number, dk: number, add: boolean) =>
        byQueries(s, t, d, n.scale, g, 1, s, q.data + i, h * d, 1, 0, dk, h * d, add, K.scratch); // dk = dxᵀ q
      sendBack(K, t * s, edges.data, dx, part, k, past, j, toKeys);
    });
  },
});
/** y[i] = Σ_j a[i, j] v[j], head by head. `edges` and `past` as in `scores`. */
export const mix = /* @__PURE__ */ op("mix(weights, v, edges, past)", "b h t s, b s h d, t s?, b s h d? -> b t h d", {
  save: { part: "t s" },
  constant: [2],
  forward(K, n, y, a, v) {
    const { t, s, d, h } = n;
    const byValues = weighing(K, v);
    eachHead(K.width, n, (i, j, o) =>
      byValues(t, s, d, 1, a.data + o, s, 1, v.data + j, h * d, 1, 0, y.data + i, h * d, false, K.scratch),
    );
  },
  backward(K, n, y, a, v, edges, past) {
    const { t, s, d, h, part } = n;
    const byRows = weighing(K, { ...y, data: y.grad });
    eachHead(K.width, n, (i, j, o) => {
      // da = dy vᵀ
      K.matmul(t, d, s, 1, y.grad + i, h * d, 1, v.data + j, 1, h * d, 0, at(a.grad, o), s, a.add, K.scratch);
    });
    // Heads lie elsewhere in da than in dv: where the two are one, all of da is written before dv is added.
    eachHead(K.width, n, (i, j, o) => {
      const toValues = (g: number, dv: number, add: boolean) =>
        byRows(s, t, d, 1, g, 1, s, y.grad + i, h * d, 1, 0, dv, h * d, add, K.scratch); // dv = aᵀ dy
      sendBack(K, t * s, edges.data, a.data + o, part, v, past, j, toValues);
    });
  },
});
/** Sends `g` back to a source, or, where edges are given, edges g to it and (1 - edges) g to its past; `j` bytes on. */
function sendBack(
  K: Kernels,
  size: number,
  edges: number,
  g: number,
  part: number,
  live: Operand,
  past: Operand,
  j: number,
  send: (g: number, to: number, add: boolean) => void,
): void {
  if (!edges) {
    send(g, at(live.grad, j), live.add);
    if (j === 0 && !past.add) K.fill(past.size, 0, past.grad);
    return;
  }
  if (live.grad) {
    K.mul(size, edges, g, part);
    send(part, live.grad + j, live.add);
  }
  if (past.grad) {
    K.rest(size, edges, g, part);
    send(part, past.grad + j, past.add);
  }
}

/** z[i, p] = scale q[i]·w[p]: each query against a table that the heads share (CoPE, eq. 7; Shaw et al. 2018). */
export const tableScores = /* @__PURE__ */ op("tableScores(q, table)", "b t h d, p d -> b h t p", {
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
      // dq = dz w
      K.matmul(t, p, d, scale, z.grad + a, p, 1, w.data, d, 1, 0, at(q.grad, i), h * d, q.add, K.scratch);
    });
    eachHead(K.width, { ...n, s: p }, (i, _, a) => {
      // dw = dzᵀ q
      K.matmul(p, t, d, scale, z.grad + a, 1, p, q.data + i, h * d, 1, 0, w.grad, d, w.add || a > 0, K.scratch);
    });
  },
});
/** x[..., i, j] = z[..., i, index[i, j]]: a table's scores laid out by distance. */
export const pick = /* @__PURE__ */ op("pick(scores, index)", "... t p, t s<p -> ... t s", {
  forward: (K, { rows, t, p, s }, x, z, index) => K.pick(rows, t, p, s, z.data, index.data, x.data),
  backward: (K, { rows, t, p, s }, x, z, index) => K.pickBack(rows, t, p, s, index.data, x.grad, z.grad, z.add),
});
/**
 * x = (1 - w) z[⌊P⌋] + w z[⌈P⌉] with P = min(at, p - 1), w = P - ⌊P⌋: a table's scores at contextual positions (CoPE,
 * eq. 5 and 8).
 */
export const interpolate = /* @__PURE__ */ op("interpolate(scores, positions)", "... p, ... s -> ... s", {
  domain: [0.1, 0.9],
  derive({ p }) {
    if (p === 0) throw new RangeError("p is 0; wants at least one position");
  },
  forward: (K, { rows, p, s }, x, z, at) => K.interpolate(rows, p, s, z.data, at.data, x.data),
  backward: (K, { rows, p, s }, x, z, at) =>
    K.interpolateBack(rows, p, s, z.data, at.data, x.grad, z.grad, z.add, at.grad, at.add),
});
const masked = (name: "maskedSoftmax" | "maskedSigmoid") =>
  op(`${name}(x, allowed, keys)`, "b h t s, t s, b s? -> b h t s", {
    constant: [1, 2],
    forward: (K, { b, h, t, s }, y, x, allowed, keys) => K[name](b, h, t, s, x.data, allowed.data, keys.data, y.data),
    backward: (K, { b, h, t, s }, y, x) =>
      name === "maskedSoftmax"
        ? K.softmaxBack(b * h * t, s, y.data, y.grad, x.grad, x.add)
        : K.sigmoidBack(b * h * t * s, x.data, y.data, y.grad, x.grad, x.add),
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
export const rope = /* @__PURE__ */ op("rope(x, cos, sin)", "b t h d, t r, t r -> b t h d", {
  attrs: { interleaved: false },
  constant: [1, 2],
  derive({ d, r }) {
    if (2 * r !== d) throw new RangeError(`r is ${r} and d is ${d}; r must be half of d`);
  },
  forward: (K, { b, t, h, d, interleaved }, y, x, cos, sin) =>
    K.rope(b, t, h, d, interleaved, 1, cos.data, sin.data, x.data, y.data, false),
  backward: (K, { b, t, h, d, interleaved }, y, x, cos, sin) =>
    K.rope(b, t, h, d, interleaved, -1, cos.data, sin.data, y.grad, x.grad, x.add),
});

/** The entries of this file. */
export const composedOps = [scores, mix, tableScores, pick, interpolate, maskedSoftmax, maskedSigmoid, rope];
