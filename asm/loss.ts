// loss.ts: losses, each beside its Back twin. Sums over rows are kept in double precision.
//
// targets     the right place of each row, integers
// most, sums  of each row, its largest x and Σ exp(x - largest): left by crossEntropy for its twin; and so
// factor      one number, what each row counts
import { rowMax, rowExp, rowExpScale, logOf } from "./row";

const W: usize = sizeof<real>();

/**
 * y[0] = factor Σ over rows of lse - x[target], rows whose target is `ignore` left out; factor is 1, or with `mean` 1 /
 * rows counted. Leaves the largest x and Σ exp(x - largest) of each row, and the factor. Returns how many rows counted.
 */
// threads: serial, one sum over all rows
export function crossEntropy(
  rows: usize,
  v: usize,
  ignore: i32,
  mean: bool,
  x: usize,
  targets: usize,
  y: usize,
  most: usize,
  sums: usize,
  factor: usize,
): usize {
  let total: f64 = 0;
  let count: usize = 0;
  for (let r: usize = 0; r < rows; r++, x += v * W, targets += 4) {
    const target = load<i32>(targets);
    if (target == ignore) continue;
    const top = rowMax(v, x);
    const sum = rowExp(v, top, x, 0);
    if (most) store<real>(most + r * W, top);
    if (sums) store<real>(sums + r * W, sum);
    total += <f64>(logOf(sum) - (load<real>(x + <usize>target * W) - top));
    count++;
  }
  const by: f64 = mean ? 1 / <f64>count : 1;
  store<real>(y, <real>(total * by));
  if (factor) store<real>(factor, <real>by);
  return count;
}

/** dx += factor[0] dy[0] (softmax(x) - onehot(target)) */
// threads: rows x+v targets#4 most+1 sums+1 dx+v | 1.2 ns rows v
export function crossEntropyBack(
  rows: usize,
  v: usize,
  ignore: i32,
  x: usize,
  targets: usize,
  most: usize,
  sums: usize,
  factor: usize,
  dy: usize,
  dx: usize,
  add: bool,
): void {
  if (!dx) return;
  const by = load<real>(factor) * load<real>(dy);
  for (let r: usize = 0; r < rows; r++, x += v * W, dx += v * W, targets += 4) {
    const target = load<i32>(targets);
    if (target == ignore) {
      if (!add) memory.fill(dx, 0, v * W);
      continue;
    }
    rowExpScale(v, load<real>(most + r * W), by / load<real>(sums + r * W), x, dx, add);
    const at = dx + <usize>target * W;
    store<real>(at, load<real>(at) - by);
  }
}

/**
 * y[0] = by Σ of e²/2 where |e| <= delta, delta (|e| - delta/2) beyond, with e = a - b. delta infinite: half the
 * squares.
 */
// threads: serial, one sum over everything
export function huber(n: usize, delta: real, by: real, a: usize, b: usize, y: usize): void {
  let total: f64 = 0;
  for (let i: usize = 0; i < n * W; i += W) {
    const e = load<real>(a + i) - load<real>(b + i);
    const size = abs<real>(e);
    total += <f64>(size <= delta ? e * e * <real>0.5 : delta * (size - delta * <real>0.5));
  }
  store<real>(y, <real>(total * <f64>by));
}

/** da += by dy[0] clamp(e, ±delta), db -= the same. */
// threads: n*4 a+1 b+1 da+1 db+1 | 1 ns n
export function huberBack(
  n: usize,
  delta: real,
  by: real,
  a: usize,
  b: usize,
  dy: usize,
  da: usize,
  addA: bool,
  db: usize,
  addB: bool,
): void {
  by *= load<real>(dy);
  for (let i: usize = 0; i < n * W; i += W) {
    const g = by * max<real>(-delta, min<real>(delta, load<real>(a + i) - load<real>(b + i)));
    if (da) store<real>(da + i, (addA ? load<real>(da + i) : 0) + g);
    if (db) store<real>(db + i, (addB ? load<real>(db + i) : 0) - g);
  }
}
