// losses.ts: what a model is trained by.
import { oneOf, real, refuse, whole } from "../check.ts";
import { op } from "../op.ts";

/** Whether a loss is the mean of its terms or their sum. */
type Reduction = "mean" | "sum";
const reduction = /* @__PURE__ */ oneOf("mean", "sum");

/** -ln softmax(x)[target], the mean over the targets that are not `ignore`, or with `reduction: "sum"` their sum. */
export const crossEntropy = /* @__PURE__ */ op("crossEntropy(logits, targets)", "... v, ...<v -> ", {
  attrs: { ignore: -100, reduction: "mean" as Reduction },
  checks: { ignore: /* @__PURE__ */ whole(-2147483648, 2147483647), reduction },
  save: { most: "...", sums: "...", factor: "1" },
  allow: ({ ignore }) => ignore,
  forward(K, { rows, v, ignore, reduction, most, sums, factor }, y, x, targets) {
    const mean = reduction === "mean";
    const counted = K.crossEntropy(rows, v, ignore, mean, x.data, targets.data, y.data, most, sums, factor);
    if (counted || !mean) return;
    const wants = 'at least one that counts, or reduction: "sum"';
    refuse(RangeError, "crossEntropy", `no mean over nothing: every target is ${ignore}`, wants);
  },
  backward: (K, { rows, v, ignore, most, sums, factor }, y, x, targets) =>
    K.crossEntropyBack(rows, v, ignore, x.data, targets.data, most, sums, factor, y.grad, x.grad, x.add),
});
/**
 * With e = a - b: e²/2 where |e| <= delta, delta (|e| - delta/2) beyond; the mean of all, or their sum (Huber 1964).
 */
export const huber = /* @__PURE__ */ op("huber(a, b)", "..., ... -> ", {
  attrs: { delta: 1, reduction: "mean" as Reduction },
  checks: { delta: /* @__PURE__ */ real("above 0 to Infinity"), reduction },
  derive: ({ rows, reduction }) => ({ by: share(rows, reduction) }),
  forward: (K, { rows, delta, by }, y, a, b) => K.huber(rows, delta, by, a.data, b.data, y.data),
  backward: (K, { rows, delta, by }, y, a, b) =>
    K.huberBack(rows, delta, by, a.data, b.data, y.grad, a.grad, a.add, b.grad, b.add),
});
/** (a - b)², the mean of all, or their sum. */
export const mse = /* @__PURE__ */ op("mse(a, b)", "..., ... -> ", {
  attrs: { reduction: "mean" as Reduction },
  checks: { reduction },
  derive: ({ rows, reduction }) => ({ by: 2 * share(rows, reduction) }), // a square is twice Huber's, with no end
  forward: (K, { rows, by }, y, a, b) => K.huber(rows, Infinity, by, a.data, b.data, y.data),
  backward: (K, { rows, by }, y, a, b) =>
    K.huberBack(rows, Infinity, by, a.data, b.data, y.grad, a.grad, a.add, b.grad, b.add),
});
/** What each of n terms counts. */
function share(n: number, reduction: Reduction): number {
  return reduction === "mean" ? 1 / n : 1;
}

/** The entries of this file. */
export const lossOps = [crossEntropy, huber, mse];
