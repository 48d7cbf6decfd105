// rows.ts: kernels that treat a buffer as rows of d numbers, each beside its Back twin. A row's result does not depend
// on how many rows there are.
//
// mean, rstd  of each row, its mean and 1/√(variance + eps): left by a norm for its twin
// low         of each row, what its mean lacks, being rounded
// dw, db      in a norm's twin: the shares of chunks of rows, which `biasBack` adds up
import { LANES, keepIf, sumLanes, writeOrAdd } from "./simd";
import { addColumns, runColumns } from "./columns";
import { exp } from "./math";
import {
  loadTail,
  logOf,
  rowAdd,
  rowDot,
  rowExp,
  rowExpScale,
  rowMax,
  rowMul,
  rowScale,
  rowSpread,
  rowSum,
  storeTail,
  weighed,
  writeOrAddTail,
} from "./row";

const W: usize = sizeof<real>();

/** y = softmax(x) along each row, the row's largest value subtracted first. */
// threads: rows x+d y+d | 1.5 ns rows d
export function softmax(rows: usize, d: usize, x: usize, y: usize): void {
  for (let r: usize = 0; r < rows; r++, x += d * W, y += d * W) {
    const sum = rowExp(d, rowMax(d, x), x, y);
    rowScale(d, 1 / sum, y, y);
  }
}

/** dx += y (dy - Σ y dy); where y is 0, dy is not read. */
// threads: rows y+d dy+d dx+d | 0.6 ns rows d
export function softmaxBack(rows: usize, d: usize, y: usize, dy: usize, dx: usize, add: bool): void {
  if (!dx) return;
  const keep = keepIf(add);
  const tail = d & (LANES - 1);
  for (let r: usize = 0; r < rows; r++) {
    const dot = v128.splat<real>(rowDot(d, y, dy));
    for (const end = y + (d - tail) * W; y < end; y += 16, dy += 16, dx += 16)
      writeOrAdd(dx, weighed(v128.load(y), v128.sub<real>(v128.load(dy), dot)), keep);
    if (tail) {
      const g = v128.sub<real>(loadTail(dy, tail, 0), dot);
      writeOrAddTail(dx, tail, weighed(loadTail(y, tail, 0), g), keep);
      y += tail * W;
      dy += tail * W;
      dx += tail * W;
    }
  }
}

/** y = log Σ exp(x), one number a row. */
// threads: rows x+d y+1 | 1.5 ns rows d
export function logsumexp(rows: usize, d: usize, x: usize, y: usize): void {
  for (let r: usize = 0; r < rows; r++, x += d * W, y += W) {
    const top = rowMax(d, x);
    store<real>(y, top < Infinity ? top + logOf(rowExp(d, top, x, 0)) : rowDot(d, x, x)); // Infinity, or NaN of a NaN
  }
}

/**
 * dx += dy softmax(x), dy one number a row. The sum is taken again: exp(x - y) would carry the rounding of a large y.
 */
// threads: rows x+d dy+1 dx+d | 2.5 ns rows d
export function logsumexpBack(rows: usize, d: usize, x: usize, dy: usize, dx: usize, add: bool): void {
  if (!dx) return;
  for (let r: usize = 0; r < rows; r++, x += d * W, dx += d * W, dy += W) {
    const top = rowMax(d, x);
    // beside Infinity a finite number counts for nothing; beside NaN all are NaN
    const sum = top < Infinity ? rowExp(d, top, x, 0) : min<real>(rowDot(d, x, x), 1);
    rowExpScale(d, top, load<real>(dy) / sum, x, dx, add);
  }
}

/** y = x - log Σ exp(x) along each row. */
// threads: rows x+d y+d | 1.5 ns rows d
export function logSoftmax(rows: usize, d: usize, x: usize, y: usize): void {
  const tail = d & (LANES - 1);
  for (let r: usize = 0; r < rows; r++) {
    const most = rowMax(d, x);
    const top = v128.splat<real>(most);
    const lse = v128.splat<real>(logOf(rowExp(d, most, x, 0)));
    for (const end = x + (d - tail) * W; x < end; x += 16, y += 16)
      v128.store(y, v128.sub<real>(v128.sub<real>(v128.load(x), top), lse));
    if (tail) {
      storeTail(y, tail, v128.sub<real>(v128.sub<real>(loadTail(x, tail, 0), top), lse));
      x += tail * W;
      y += tail * W;
    }
  }
}

/** dx += dy - exp(y) Σ dy */
// threads: rows y+d dy+d dx+d | 1.5 ns rows d
export function logSoftmaxBack(rows: usize, d: usize, y: usize, dy: usize, dx: usize, add: bool): void {
  if (!dx) return;
  const keep = keepIf(add);
  const tail = d & (LANES - 1);
  for (let r: usize = 0; r < rows; r++) {
    const sum = v128.splat<real>(rowSum(d, dy));
    for (const end = y + (d - tail) * W; y < end; y += 16, dy += 16, dx += 16)
      writeOrAdd(dx, v128.sub<real>(v128.load(dy), v128.mul<real>(sum, exp(v128.load(y)))), keep);
    if (tail) {
      const share = v128.mul<real>(sum, exp(loadTail(y, tail, 0)));
      writeOrAddTail(dx, tail, v128.sub<real>(loadTail(dy, tail, 0), share), keep);
      y += tail * W;
      dy += tail * W;
      dx += tail * W;
    }
  }
}

/** What rows whose squares overflow are multiplied with. */
const UNIT: real = sizeof<real>() == 4 ? 7.888609052210118e-31 : <real>2.409919865102884e-181; // 2^-100, 2^-600

/** y = (x - mean) / √(variance + eps) w + b along each row; leaves mean and rstd = 1/√(variance + eps). b may be 0. */
// threads: rows x+d y+d mean+1 low+1 rstd+1 | 1 ns rows d
export function layerNorm(
  rows: usize,
  d: usize,
  eps: real,
  x: usize,
  w: usize,
  b: usize,
  y: usize,
  mean: usize,
  low: usize,
  rstd: usize,
): void {
  const tail = d & (LANES - 1);
  const whole = (d - tail) * W;
  for (let r: usize = 0; r < rows; r++, x += d * W, y += d * W) {
    let unit: real = 1;
    let from = x;
    let m = rowSum(d, x) / <real>d;
    let spread = rowSpread(d, m, x);
    if (!(spread < Infinity)) {
      unit = UNIT;
      from = y;
      rowScale(d, unit, x, y);
      m = rowSum(d, y) / <real>d;
      spread = rowSpread(d, m, y);
    }
    let by = v128.splat<real>(m);
    let less: real = 0;
    if (m * m * <real>d > 4 * spread) {
      // Far from 0 the mean's own rounding would count. y = x - mean, of which the mean is taken again.
      for (let o: usize = 0; o < whole; o += 16) v128.store(y + o, v128.sub<real>(v128.load(from + o), by));
      if (tail) storeTail(y + whole, tail, v128.sub<real>(loadTail(from + whole, tail, 0), by));
      less = rowSum(d, y) / <real>d;
      by = v128.splat<real>(less);
      from = y;
    }
    let s = spread / <real>d - less * less;
    if (unit == 1) s = <real>1 / sqrt<real>(s + eps);
    else {
      // Of equal numbers eps alone counts, which may vanish in another unit.
      s = <real>1 / (s != 0 ? sqrt<real>(s + eps * unit * unit) : unit * sqrt<real>(eps));
      m /= unit;
      less /= unit;
    }
    const sv = v128.splat<real>(s);
    if (mean) store<real>(mean + r * W, m);
    if (low) store<real>(low + r * W, less);
    if (rstd) store<real>(rstd + r * W, s * unit);
    for (let o: usize = 0; o < whole; o += 16) {
      const v = v128.mul<real>(v128.mul<real>(v128.sub<real>(v128.load(from + o), by), sv), v128.load(w + o));
      v128.store(y + o, b ? v128.add<real>(v, v128.load(b + o)) : v);
    }
    if (tail) {
      const n = v128.mul<real>(v128.sub<real>(loadTail(from + whole, tail, 0), by), sv);
      const v = v128.mul<real>(n, loadTail(w + whole, tail, 0));
      storeTail(y + whole, tail, b ? v128.add<real>(v, loadTail(b + whole, tail, 0)) : v);
    }
  }
}
/** (x - mean) rstd, `low` being what the mean lacks. */
function normal(x: v128, mean: v128, low: v128, rstd: v128): v128 {
  return v128.mul<real>(v128.sub<real>(v128.sub<real>(x, mean), low), rstd);
}

/**
 * Rows whose share of a weight's gradient is summed by itself, so that chunks may be computed anywhere and added up in
 * order.
 */
const CHUNK: usize = 32;
/** How many chunks `rows` rows make. */
// threads: serial
export function chunks(rows: usize): usize {
  return (rows + CHUNK - 1) / CHUNK;
}

/**
 * With n = (x - mean) rstd and g = dy w: dx += rstd (g - mean(g) - n mean(g n)); at `mean` 0, as rmsNorm has it, n = x
 * rstd, and no mean(g). Writes Σ dy n and Σ dy of each chunk
 * of rows to dw and db, d numbers a chunk.
 */
// threads: rows*32 x+d mean+1 low+1 rstd+1 dy+d dx+d dw+d/32 db+d/32 | 1.5 ns rows d
export function layerNormBack(
  rows: usize,
  d: usize,
  x: usize,
  w: usize,
  mean: usize,
  low: usize,
  rstd: usize,
  dy: usize,
  dx: usize,
  add: bool,
  dw: usize,
  db: usize,
): void {
  for (let r: usize = 0; r < rows; r += CHUNK) {
    const n = min(CHUNK, rows - r);
    const at = r * d * W;
    const part = (r / CHUNK) * d * W;
    if (dw) memory.fill(dw + part, 0, d * W);
    if (db) memory.fill(db + part, 0, d * W);
    normChunk(
      n,
      d,
      x + at,
      w,
      mean ? mean + r * W : 0,
      low + r * W,
      rstd + r * W,
      dy + at,
      dx ? dx + at : 0,
      add,
      dw ? dw + part : 0,
      db ? db + part : 0,
    );
  }
}
/** The rows of a chunk; without means, as rmsNorm has it: n = x rstd, and no mean(g). */
function normChunk(
  rows: usize,
  d: usize,
  x: usize,
  w: usize,
  mean: usize,
  low: usize,
  rstd: usize,
  dy: usize,
  dx: usize,
  add: bool,
  dw: usize,
  db: usize,
): void {
  const tail = d & (LANES - 1);
  const whole = (d - tail) * W;
  const keep = keepIf(add);
  const all = keepIf(true);
  const zero = v128.splat<real>(0);
  for (let r: usize = 0; r < rows; r++, x += d * W, dy += d * W) {
    const m: real = mean ? load<real>(mean + r * W) : 0;
    const mv = v128.splat<real>(m);
    const lv = mean ? v128.splat<real>(load<real>(low + r * W)) : zero;
    const sv = v128.splat<real>(load<real>(rstd + r * W));
    let sg = zero;
    let sgn = zero;
    for (let o: usize = 0; o < whole; o += 16) {
      const g = v128.load(dy + o);
      const n = normal(v128.load(x + o), mv, lv, sv);
      const gw = v128.mul<real>(g, v128.load(w + o));
      sg = v128.add<real>(sg, gw);
      sgn = v128.add<real>(sgn, v128.mul<real>(gw, n));
      if (dw) v128.store(dw + o, v128.add<real>(v128.load(dw + o), v128.mul<real>(g, n)));
      if (db) v128.store(db + o, v128.add<real>(v128.load(db + o), g));
    }
    if (tail) {
      const g = loadTail(dy + whole, tail, 0);
      const n = normal(loadTail(x + whole, tail, m), mv, lv, sv); // no lane overflows
      const gw = v128.mul<real>(g, loadTail(w + whole, tail, 0));
      sg = v128.add<real>(sg, gw);
      sgn = v128.add<real>(sgn, v128.mul<real>(gw, n));
      if (dw) writeOrAddTail(dw + whole, tail, v128.mul<real>(g, n), all);
      if (db) writeOrAddTail(db + whole, tail, g, all);
    }
    if (!dx) continue;
    const a = mean ? v128.splat<real>(sumLanes(sg) / <real>d) : zero;
    const c = v128.splat<real>(sumLanes(sgn) / <real>d);
    for (let o: usize = 0; o < whole; o += 16) {
      const gw = v128.mul<real>(v128.load(dy + o), v128.load(w + o));
      writeOrAdd(dx + o, normSlope(gw, normal(v128.load(x + o), mv, lv, sv), sv, a, c), keep);
    }
    if (tail) {
      const gw = v128.mul<real>(loadTail(dy + whole, tail, 0), loadTail(w + whole, tail, 0));
      const n = normal(loadTail(x + whole, tail, 0), mv, lv, sv);
      writeOrAddTail(dx + whole, tail, normSlope(gw, n, sv, a, c), keep);
    }
    dx += d * W;
  }
}
/** rstd (g - a - n c) */
function normSlope(g: v128, n: v128, rstd: v128, a: v128, c: v128): v128 {
  return v128.mul<real>(rstd, v128.sub<real>(v128.sub<real>(g, a), v128.mul<real>(n, c)));
}

/** y = x / √(mean of x² + eps) w along each row; leaves rstd = 1/√(...). */
// threads: rows x+d y+d rstd+1 | 0.8 ns rows d
export function rmsNorm(rows: usize, d: usize, eps: real, x: usize, w: usize, y: usize, rstd: usize): void {
  for (let r: usize = 0; r < rows; r++, x += d * W, y += d * W) {
    let unit: real = 1;
    let from = x;
    let squares = rowDot(d, x, x);
    if (!(squares < Infinity)) {
      unit = UNIT;
      from = y;
      rowScale(d, unit, x, y);
      squares = rowDot(d, y, y);
    }
    const s = <real>1 / sqrt<real>(squares / <real>d + eps * unit * unit);
    if (rstd) store<real>(rstd + r * W, s * unit);
    rowScale(d, s, from, y);
    rowMul(d, y, w, y);
  }
}

/** y = x + b along each row. */
// threads: rows x+d y+d | 0.4 ns rows d
export function bias(rows: usize, d: usize, x: usize, b: usize, y: usize): void {
  const tail = d & (LANES - 1);
  const whole = (d - tail) * W;
  for (let r: usize = 0; r < rows; r++, x += d * W, y += d * W) {
    for (let o: usize = 0; o < whole; o += 16) v128.store(y + o, v128.add<real>(v128.load(x + o), v128.load(b + o)));
    if (tail) storeTail(y + whole, tail, v128.add<real>(loadTail(x + whole, tail, 0), loadTail(b + whole, tail, 0)));
  }
}

/** db += Σ over rows of dy, rows `di` apart. */
// threads: d*8 dy+1 db+1 scratch@ | 0.4 ns rows d
export function biasBack(rows: usize, d: usize, dy: usize, di: usize, db: usize, add: bool, scratch: usize): void {
  if (db) addColumns(rows, d, 0, 0, dy, di * W, db, add, scratch);
}

/** Sums the middle axis: y[o, i] = Σ_n x[o, n, i]. */
// threads: o x+n.i y+i scratch@ | 0.4 ns o n i
export function sum(o: usize, n: usize, i: usize, x: usize, y: usize, scratch: usize): void {
  for (let a: usize = 0; a < o; a++, x += n * i * W, y += i * W) {
    if (i == 1) store<real>(y, rowSum(n, x));
    else addColumns(n, i, 0, 0, x, i * W, y, false, scratch);
  }
}

/** dx[o, n, i] += dy[o, i] */
// threads: o dy+i dx+n.i | 0.5 ns o n i
export function sumBack(o: usize, n: usize, i: usize, dy: usize, dx: usize, add: bool): void {
  if (!dx) return;
  for (let a: usize = 0; a < o; a++, dy += i * W)
    for (let b: usize = 0; b < n; b++, dx += i * W) {
      if (i == 1) store<real>(dx, (add ? load<real>(dx) : 0) + load<real>(dy));
      else rowAdd(i, dy, dx, add);
    }
}

/**
 * y += running sums along the middle axis, in double precision: Σ_{m <= n} x[o, m, i], from the far end when `reverse`.
 */
// threads: o x+n.i y+n.i scratch@ | 1.5 ns o n i
export function cumsum(
  o: usize,
  n: usize,
  i: usize,
  reverse: bool,
  x: usize,
  y: usize,
  add: bool,
  scratch: usize,
): void {
  if (!y) return;
  for (let a: usize = 0; a < o; a++, x += n * i * W, y += n * i * W) {
    if (i > 1) {
      runColumns(n, i, reverse, x, y, add, scratch);
      continue;
    }
    let s: f64 = 0;
    for (let b: usize = 0; b < n; b++) {
      const at = (reverse ? n - 1 - b : b) * W;
      s += load<real>(x + at);
      store<real>(y + at, (add ? load<real>(y + at) : 0) + <real>s);
    }
  }
}

/** Copies `rows` rows of n numbers; rows lie `xi` apart in x and `yi` in y. */
// threads: rows x+xi y+yi | 0.2 ns rows n
export function copyRows(rows: usize, n: usize, x: usize, xi: usize, y: usize, yi: usize): void {
  for (let r: usize = 0; r < rows; r++, x += xi * W, y += yi * W) memory.copy(y, x, n * W);
}

/** Adds `rows` rows of n numbers, or copies them unless `add`; rows lie `xi` apart in x and `yi` in y. */
// threads: rows x+xi y+yi | 0.4 ns rows n
export function addRows(rows: usize, n: usize, x: usize, xi: usize, y: usize, yi: usize, add: bool): void {
  if (!y) return;
  if (!add) return copyRows(rows, n, x, xi, y, yi);
  for (let r: usize = 0; r < rows; r++, x += xi * W, y += yi * W) rowAdd(n, x, y, true);
}
