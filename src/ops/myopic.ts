// myopic.ts: projections whose gradient is parted between the place itself and what reads it from elsewhere.
import { whole } from "../check.ts";
import { op } from "../op.ts";

/**
 * y = x wᵀ + b, and the same numbers once more as if computed from a stopped x: they share memory, and what reaches the
 * second goes to w and b alone. The two meet there in one product.
 */
export const parted = /* @__PURE__ */ op("parted(x, weight, bias)", "... k, n k, n? -> ... n, ... n", {
  overlays: [[1, "output", 0]],
  stops: [[1, 0]],
  room: (_, { rows, n }) => rows * n,
  forward: (K, { rows: m, k, n }, [y], x, w, b) =>
    K.matmul(m, k, n, 1, x.data, k, 1, w.data, 1, k, b.data, y.data, n, false, K.scratch),
  backward(K, { rows: m, k, n, room }, [y, past], x, w, b) {
    let dy = y.grad || past.grad;
    K.matmul(m, n, k, 1, dy, n, 1, w.data, k, 1, 0, x.grad, k, x.add, K.scratch); // dx = dy w
    if (y.grad && past.grad) {
      K.accumulate(m * n, dy, room, false);
      K.accumulate(m * n, past.grad, room, true);
      dy = room;
    }
    K.matmul(n, m, k, 1, dy, 1, n, x.data, k, 1, 0, w.grad, k, w.add, K.scratch); // dw = (dy + dpast)ᵀ x
    K.biasBack(m, n, dy, n, b.grad, b.add, K.scratch);
  },
});

/**
 * The numbers of y = x wᵀ + b once more, in its memory, with a gradient of their own that goes to x, w and b. `start`:
 * columns before it never get one, and no product is spent on them.
 */
export const restated = /* @__PURE__ */ op("restated(y, x, weight, bias)", "... n, ... k, n k, n? -> ... n", {
  attrs: { start: 0 },
  checks: { start: /* @__PURE__ */ whole() },
  overlays: [[0, "input", 0]],
  constant: [0],
  derive({ start, n }) {
    if (start > n) throw new RangeError(`start is ${start} of ${n} columns`);
  },
  forward() {},
  backward(K, { rows, k, n, start }, y, _y, x, w, b) {
    const m = n - start;
    const dy = y.grad + start * K.width;
    const at = start * k * K.width;
    K.matmul(rows, m, k, 1, dy, n, 1, w.data + at, k, 1, 0, x.grad, k, x.add, K.scratch); // dx = dy w
    if (w.grad && !w.add) K.fill(start * k, 0, w.grad);
    K.matmul(m, rows, k, 1, dy, 1, n, x.data, k, 1, 0, w.grad && w.grad + at, k, w.add, K.scratch); // dw = dyᵀ x
    if (b.grad && !b.add) K.fill(start, 0, b.grad);
    K.biasBack(rows, m, dy, n, b.grad && b.grad + start * K.width, b.add, K.scratch);
  },
});

/** The entries of this file. */
export const myopicOps = [parted, restated];
