// rows.ts: operations along the last axis, row by row, and rows of tables.
import { real } from "../check.ts";
import { op } from "../op.ts";

const checks = { eps: /* @__PURE__ */ real("from 0") };

/** y = softmax(x) along the last axis. */
export const softmax = /* @__PURE__ */ op("softmax(x)", "... d -> ... d", {
  forward: (K, { rows, d }, y, x) => K.softmax(rows, d, x.data, y.data),
  backward: (K, { rows, d }, y, x) => K.softmaxBack(rows, d, y.data, y.grad, x.grad, x.add),
});
/** y = ln softmax(x) along the last axis. */
export const logSoftmax = /* @__PURE__ */ op("logSoftmax(x)", "... d -> ... d", {
  forward: (K, { rows, d }, y, x) => K.logSoftmax(rows, d, x.data, y.data),
  backward: (K, { rows, d }, y, x) => K.logSoftmaxBack(rows, d, y.data, y.grad, x.grad, x.add),
});
/** y = ln Σ eˣ along the last axis. */
export const logsumexp = /* @__PURE__ */ op("logsumexp(x)", "... d -> ...", {
  forward: (K, { rows, d }, y, x) => K.logsumexp(rows, d, x.data, y.data),
  backward: (K, { rows, d }, y, x) => K.logsumexpBack(rows, d, x.data, y.grad, x.grad, x.add),
});
/** y = (x - mean) / √(variance + eps) w + b along the last axis, variance over d, not d - 1 (Ba et al. 2016). */
export const layerNorm = /* @__PURE__ */ op("layerNorm(x, weight, bias)", "... d, d, d? -> ... d", {
  attrs: { eps: 1e-5 },
  checks,
  save: { mean: "...", low: "...", rstd: "..." },
  forward: (K, { rows, d, eps, mean, low, rstd }, y, x, w, b) =>
    K.layerNorm(rows, d, eps, x.data, w.data, b.data, y.data, mean, low, rstd),
  room: (K, { rows, d }) => 2 * K.chunks(rows) * d,
  backward(K, { rows, d, mean, low, rstd, room }, y, x, w, b) {
    const n = K.chunks(rows);
    const dw = room;
    const db = room + n * d * K.width;
    K.layerNormBack(rows, d, x.data, w.data, mean, low, rstd, y.grad, x.grad, x.add, w.grad && dw, b.grad && db);
    K.biasBack(n, d, dw, d, w.grad, w.add, K.scratch);
    K.biasBack(n, d, db, d, b.grad, b.add, K.scratch);
  },
});
/** y = x / √(mean of x² + eps) w along the last axis (Zhang and Sennrich 2019). */
export const rmsNorm = /* @__PURE__ */ op("rmsNorm(x, weight)", "... d, d -> ... d", {
  attrs: { eps: 1e-5 },
  checks,
  domain: [0.3, 2],
  save: { rstd: "..." },
  forward: (K, { rows, d, eps, rstd }, y, x, w) => K.rmsNorm(rows, d, eps, x.data, w.data, y.data, rstd),
  room: (K, { rows, d }) => K.chunks(rows) * d,
  backward(K, { rows, d, rstd, room }, y, x, w) {
    K.layerNormBack(rows, d, x.data, w.data, 0, 0, rstd, y.grad, x.grad, x.add, w.grad && room, 0);
    K.biasBack(K.chunks(rows), d, room, d, w.grad, w.add, K.scratch);
  },
});
/** Rows of a table: y[...] = w[ids[...]]. */
export const embedding = /* @__PURE__ */ op("embedding(weight, ids)", "v d, ...<v -> ... d", {
  forward: (K, { rows, d }, y, w, ids) => K.gather(rows, d, w.data, ids.data, y.data),
  room: (_, { rows, v }) => rows + v,
  backward: (K, { rows, d, v, room }, y, w, ids) =>
    K.gatherBack(rows, d, v, ids.data, y.grad, w.grad, w.add, room, K.scratch),
});

/** The entries of this file. */
export const rowOps = [softmax, logSoftmax, logsumexp, layerNorm, rmsNorm, embedding];
