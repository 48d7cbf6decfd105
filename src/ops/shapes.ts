// shapes.ts: operations that move numbers or add them up along an axis. An entry sees three axes: what lies before the
// axis (o), itself (n), and what lies after (i); the functions reshape.
import { flag, integer, items, options as chosen, product, refuse, shapeOf, sized, tensor, whole } from "../check.ts";
import { op } from "../op.ts";
import type { Tensor } from "../tensor.ts";
import { scale } from "./elementwise.ts";

export const sumMiddle = /* @__PURE__ */ op("sum(x)", "o n i -> o i", {
  forward: (K, { o, n, i }, y, x) => K.sum(o, n, i, x.data, y.data, K.scratch),
  backward: (K, { o, n, i }, y, x) => K.sumBack(o, n, i, y.grad, x.grad, x.add),
});
export const cumsumMiddle = /* @__PURE__ */ op("cumsum(x)", "o n i -> o n i", {
  attrs: { reverse: false },
  forward: (K, { o, n, i, reverse }, y, x) => K.cumsum(o, n, i, reverse, x.data, y.data, false, K.scratch),
  backward: (K, { o, n, i, reverse }, y, x) => K.cumsum(o, n, i, !reverse, y.grad, x.grad, x.add, K.scratch),
});
export const concatMiddle = /* @__PURE__ */ op("concat(list)", "o Σn i* -> o Σn i", {
  forward(K, { o, n, i }, y, parts) {
    let to = y.data;
    for (const { data, shape } of parts) {
      const row = shape[1]! * i;
      K.copyRows(o, row, data, row, to, n * i);
      to += row * K.width;
    }
  },
  backward(K, { o, n, i }, y, parts) {
    let from = y.grad;
    for (const { grad, add, shape } of parts) {
      const row = shape[1]! * i;
      K.addRows(o, row, from, n * i, grad, row, add);
      from += row * K.width;
    }
  },
});
export const sliceMiddle = /* @__PURE__ */ op("slice(x)", "o n i -> o count i", {
  attrs: { start: 0, count: 1 },
  checks: { start: /* @__PURE__ */ whole(), count: /* @__PURE__ */ whole(-9007199254740991) },
  derive({ n, start, count }) {
    const end = start + count;
    if (!(count >= 0 && end <= n)) throw new RangeError(`${start}..${end} is not within 0..${n}`);
  },
  forward: (K, { o, n, i, start, count }, y, x) =>
    K.copyRows(o, count * i, x.data + start * i * K.width, n * i, y.data, count * i),
  backward(K, { o, n, i, start, count }, y, x) {
    if (!x.grad) return;
    if (!x.add) K.fill(o * n * i, 0, x.grad);
    K.addRows(o, count * i, y.grad, count * i, x.grad + start * i * K.width, n * i, true);
  },
});

/** The same numbers under another shape; memory and gradient are shared. */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  tensor("reshape", "the input", x);
  const to = sized("reshape", shape);
  if (product(to) !== x.size) {
    const why = `${shapeOf(x)} holds ${x.size} numbers, [${to.join(" ")}] would hold ${product(to)}`;
    refuse(RangeError, "reshape", why);
  }
  return x.tape.alias(x, to, x.wants);
}
/** The same, of as many numbers, under a shape that the library made. */
const shaped = (x: Tensor, shape: readonly number[]): Tensor => x.tape.alias(x, Object.freeze(shape), x.wants);
/** The same numbers, through which no gradient flows. */
export function stopGradient(x: Tensor): Tensor {
  tensor("stopGradient", "the input", x);
  return x.tape.alias(x, x.shape, false);
}

/** x as three axes around `axis`. */
function around(name: string, x: Tensor, axis: number): Tensor {
  if (axis >= x.shape.length) refuse(RangeError, name, `axis ${axis} of ${shapeOf(x)}`, `0 to ${x.shape.length - 1}`);
  return shaped(x, [product(x.shape.slice(0, axis)), x.shape[axis]!, product(x.shape.slice(axis + 1))]);
}
function replaced(shape: readonly number[], axis: number, ...by: number[]): number[] {
  return [...shape.slice(0, axis), ...by, ...shape.slice(axis + 1)];
}

const AXIS = { axis: [/* @__PURE__ */ whole(), undefined] } as const;
const lastOf = (x: Tensor): number => x.shape.length - 1;

/** The sum along `axis`, which goes; of everything, a scalar, when none is given. */
export function sum(x: Tensor, options: { axis?: number } = {}): Tensor {
  return summed("sum", x, options);
}
function summed(who: string, x: Tensor, options: { axis?: number }): Tensor {
  tensor(who, "the input", x);
  const { axis } = chosen(who, options, AXIS);
  if (axis === undefined) return shaped(sumMiddle(shaped(x, [1, x.size, 1])), []);
  return shaped(sumMiddle(around(who, x, axis)), replaced(x.shape, axis));
}
/** The mean along `axis`, which goes; of everything, a scalar, when none is given. */
export function mean(x: Tensor, options: { axis?: number } = {}): Tensor {
  const y = summed("mean", x, options);
  return scale.of([y], { by: y.size / x.size });
}
/** Running sums along `axis` (the last unless given), from the far end when `reverse`; each includes its own place. */
export function cumsum(x: Tensor, options: { axis?: number; reverse?: boolean } = {}): Tensor {
  tensor("cumsum", "the input", x);
  const { axis = lastOf(x), reverse } = chosen("cumsum", options, { ...AXIS, reverse: [flag, false] });
  return shaped(cumsumMiddle.of([around("cumsum", x, axis)], { reverse }), x.shape);
}
/** Tensors one after the other along `axis` (the last unless given); their other axes must agree. */
export function concat(list: readonly Tensor[], options: { axis?: number } = {}): Tensor {
  const all = items("concat", "the list is", list);
  if (all.length === 0) refuse(RangeError, "concat", "nothing to put together", "at least one tensor");
  for (const x of all) tensor("concat", "the input", x);
  return joined(all, chosen("concat", options, AXIS).axis ?? lastOf(all[0]!));
}
/** The same of tensors, along an axis that the library chose. */
export function joined(all: readonly Tensor[], axis: number): Tensor {
  const first = all[0]!;
  const parts = all.map(x => around("concat", x, axis));
  for (const x of all)
    if (x.shape.length !== first.shape.length || x.shape.some((n, i) => i !== axis && n !== first.shape[i]))
      refuse(RangeError, "concat", `${shapeOf(first)} and ${shapeOf(x)} differ beyond axis ${axis}`);
  if (parts.length === 1) return first;
  const y = concatMiddle.of(parts);
  return shaped(y, replaced(first.shape, axis, y.shape[1]!));
}
/** Places `start` to `end` (not included) along `axis` (the last unless given). */
export function slice(x: Tensor, start: number, end: number, options: { axis?: number } = {}): Tensor {
  tensor("slice", "the input", x);
  const { axis = lastOf(x) } = chosen("slice", options, AXIS);
  integer("slice", "start", start);
  integer("slice", "end", end);
  return sliced(x, start, end, axis);
}
/** The same of a tensor, at places along an axis that the library chose. */
export function sliced(x: Tensor, start: number, end: number, axis: number): Tensor {
  const y = sliceMiddle.of([around("slice", x, axis)], { start, count: end - start });
  return shaped(y, replaced(x.shape, axis, end - start));
}

/**
 * Puts rows of x behind those that a cache has, in place: the m columns of x from `from` on go to the places from
 * `starts` on, sequence by sequence. What it gives is the cache. It has no gradient.
 */
export const append = /* @__PURE__ */ op("append(cache, x, starts)", "b c m, b t n, b<limit -> b c m", {
  attrs: { from: 0 },
  checks: { from: /* @__PURE__ */ whole() },
  constant: [0, 1],
  overlays: [[0, "input", 0]],
  derive({ c, m, t, n, from }) {
    if (from + m > n) throw new RangeError(`columns ${from}..${from + m} are not within 0..${n}`);
    if (t > c) throw new RangeError(`${t} places are more than the ${c} of the cache`);
    return { limit: c - t + 1 };
  },
  forward: (K, { b, c, m, t, n, from }, y, _, x, starts) =>
    K.placeRows(b, t, m, x.data + from * K.width, n, starts.data, c, y.data),
});

/** The entries of this file. */
export const shapeOps = [sumMiddle, cumsumMiddle, concatMiddle, sliceMiddle, append];
