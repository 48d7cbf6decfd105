// products.ts: matrix products.
import { op } from "../op.ts";

/** y = a b; leading axes of `a` are rows. */
export const matmul = /* @__PURE__ */ op("matmul(a, b)", "... k, k n -> ... n", {
  forward: (K, { rows: m, k, n }, y, a, b) =>
    K.matmul(m, k, n, 1, a.data, k, 1, b.data, n, 1, 0, y.data, n, false, K.scratch),
  backward(K, { rows: m, k, n }, y, a, b) {
    K.matmul(m, n, k, 1, y.grad, n, 1, b.data, 1, n, 0, a.grad, k, a.add, K.scratch); // da = dy bᵀ
    K.matmul(k, m, n, 1, a.data, 1, k, y.grad, n, 1, 0, b.grad, n, b.add, K.scratch); // db = aᵀ dy
  },
});
/** y = a b for each of the leading axes, which both have. */
export const bmm = /* @__PURE__ */ op("bmm(a, b)", "... m k, ... k n -> ... m n", {
  forward(K, { rows, m, k, n }, y, a, b) {
    for (let r = 0; r < rows * K.width; r += K.width) {
      const from = a.data + r * m * k;
      K.matmul(m, k, n, 1, from, k, 1, b.data + r * k * n, n, 1, 0, y.data + r * m * n, n, false, K.scratch);
    }
  },
  backward(K, { rows, m, k, n }, y, a, b) {
    for (let r = 0; r < rows * K.width; r += K.width) {
      const dy = y.grad + r * m * n;
      const da = a.grad && a.grad + r * m * k;
      const db = b.grad && b.grad + r * k * n;
      K.matmul(m, n, k, 1, dy, n, 1, b.data + r * k * n, 1, n, 0, da, k, a.add, K.scratch);
      K.matmul(k, m, n, 1, a.data + r * m * k, 1, k, dy, n, 1, 0, db, n, b.add, K.scratch);
    }
  },
});
/** y = x wᵀ + b, with w [out, in] as PyTorch has it. */
export const linear = /* @__PURE__ */ op("linear(x, weight, bias)", "... k, n k, n? -> ... n", {
  forward: (K, { rows: m, k, n }, y, x, w, b) =>
    K.matmul(m, k, n, 1, x.data, k, 1, w.data, 1, k, b.data, y.data, n, false, K.scratch),
  backward(K, { rows: m, k, n }, y, x, w, b) {
    K.matmul(m, n, k, 1, y.grad, n, 1, w.data, k, 1, 0, x.grad, k, x.add, K.scratch); // dx = dy w
    K.matmul(n, m, k, 1, y.grad, 1, n, x.data, k, 1, 0, w.grad, k, w.add, K.scratch); // dw = dyᵀ x
    K.biasBack(m, n, y.grad, n, b.grad, b.add, K.scratch);
  },
});

/** The entries of this file. */
export const productOps = [matmul, bmm, linear];
