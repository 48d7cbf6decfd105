// row.ts: one row of n numbers, for the kernels of rows.ts. It is summed lane by lane in one order, whatever lies
// around it. A row may start off a 16-byte boundary, and its tail is read lane by lane: what lies behind a row belongs
// to the next one, or to nobody.
import { LANES, LEAST, keepIf, madd, maxLanes, splatAt, sumLanes, writeOrAdd } from "./simd";
import { Inlined, exp2Table, expTable, log } from "./math";

const W: usize = sizeof<real>();
const SINGLE = sizeof<real>() == 4;
/**
 * So many numbers of f32 are added up at once, half as many where there is one sum a lane; of more, halves are added up
 * by themselves. One running sum of a million equal numbers is off by 3e-3 of itself.
 */
const LONG: usize = 512;
/** The first half of n > LONG numbers, in whole vectors. */
function half(n: usize): usize {
  return (n >> 1) & ~15;
}

/** The first `n` < LANES numbers at x; the other lanes hold `fill`. */
export function loadTail(x: usize, n: usize, fill: real): v128 {
  let v = v128.splat<real>(fill);
  v = v128.replace_lane<real>(v, 0, load<real>(x));
  if (SINGLE) {
    if (n > 1) v = v128.replace_lane<real>(v, 1, load<real>(x + W));
    if (n > 2) v = v128.replace_lane<real>(v, LANES == 4 ? 2 : 0, load<real>(x + 2 * W));
  }
  return v;
}

/** Writes the first `n` < LANES lanes of v to y. */
export function storeTail(y: usize, n: usize, v: v128): void {
  store<real>(y, v128.extract_lane<real>(v, 0));
  if (SINGLE) {
    if (n > 1) store<real>(y + W, v128.extract_lane<real>(v, 1));
    if (n > 2) store<real>(y + 2 * W, v128.extract_lane<real>(v, LANES == 4 ? 2 : 0));
  }
}

/** The first `n` < LANES numbers of y = v, plus what `keep` leaves of y. */
export function writeOrAddTail(y: usize, n: usize, v: v128, keep: v128): void {
  storeTail(y, n, v128.add<real>(v128.and(loadTail(y, n, 0), keep), v));
}

/** Σ x over n numbers, in four sums a lane: one alone would wait for itself. */
export function rowSum(n: usize, x: usize): real {
  if (SINGLE && n > LONG) return rowSum(half(n), x) + rowSum(n - half(n), x + half(n) * W);
  let s = v128.splat<real>(0);
  let s1 = s;
  let s2 = s;
  let s3 = s;
  const whole = x + (n & ~(LANES - 1)) * W;
  const tail = n & (LANES - 1);
  for (const most = whole - 48; x < most; x += 64) {
    s = v128.add<real>(s, v128.load(x));
    s1 = v128.add<real>(s1, v128.load(x, 16));
    s2 = v128.add<real>(s2, v128.load(x, 32));
    s3 = v128.add<real>(s3, v128.load(x, 48));
  }
  s = v128.add<real>(v128.add<real>(s, s1), v128.add<real>(s2, s3));
  for (; x < whole; x += 16) s = v128.add<real>(s, v128.load(x));
  if (tail) s = v128.add<real>(s, loadTail(x, tail, 0));
  return sumLanes(s);
}

/** Σ a b over n numbers; where a is 0, b is not read. */
export function rowDot(n: usize, a: usize, b: usize): real {
  if (SINGLE && n > LONG / 2) return rowDot(half(n), a, b) + rowDot(n - half(n), a + half(n) * W, b + half(n) * W);
  let s = v128.splat<real>(0);
  const whole = a + (n & ~(LANES - 1)) * W;
  const tail = n & (LANES - 1);
  for (; a < whole; a += 16, b += 16) s = v128.add<real>(s, weighed(v128.load(a), v128.load(b)));
  if (tail) s = v128.add<real>(s, weighed(loadTail(a, tail, 0), loadTail(b, tail, 0)));
  return sumLanes(s);
}
/** w x, and 0 where w is 0, whatever x is. */
export function weighed(w: v128, x: v128): v128 {
  return v128.mul<real>(w, v128.and(x, v128.ne<real>(w, v128.splat<real>(0))));
}

/** Whether n numbers are all finite. */
// threads: serial
export function finite(n: usize, x: usize): bool {
  const sum = rowSum(n, x);
  if (sum - sum == 0) return true; // the quickest way to know; a sum may overflow
  let s = v128.splat<real>(0);
  const whole = x + (n & ~(LANES - 1)) * W;
  const tail = n & (LANES - 1);
  for (; x < whole; x += 16) s = v128.or(s, v128.sub<real>(v128.load(x), v128.load(x))); // 0 or NaN
  if (tail) s = v128.or(s, v128.sub<real>(loadTail(x, tail, 0), loadTail(x, tail, 0)));
  return !v128.any_true(s);
}

/**
 * The largest of n numbers; a NaN among them may be passed over (softmax makes NaN of it all the same). `pmax` is one
 * instruction where `max` is eight.
 */
export function rowMax(n: usize, x: usize): real {
  let top = v128.splat<real>(LEAST);
  let top1 = top;
  let top2 = top;
  let top3 = top;
  const whole = x + (n & ~(LANES - 1)) * W;
  const tail = n & (LANES - 1);
  for (const most = whole - 48; x < most; x += 64) {
    top = v128.pmax<real>(top, v128.load(x));
    top1 = v128.pmax<real>(top1, v128.load(x, 16));
    top2 = v128.pmax<real>(top2, v128.load(x, 32));
    top3 = v128.pmax<real>(top3, v128.load(x, 48));
  }
  top = v128.pmax<real>(v128.pmax<real>(top, top1), v128.pmax<real>(top2, top3));
  for (; x < whole; x += 16) top = v128.pmax<real>(top, v128.load(x));
  if (tail) top = v128.pmax<real>(top, loadTail(x, tail, LEAST));
  return maxLanes(top);
}

/** Σ (x - mean)² over n numbers. */
export function rowSpread(n: usize, mean: real, x: usize): real {
  if (SINGLE && n > LONG) return rowSpread(half(n), mean, x) + rowSpread(n - half(n), mean, x + half(n) * W);
  let s = v128.splat<real>(0);
  let s1 = s;
  let s2 = s;
  let s3 = s;
  const m = v128.splat<real>(mean);
  const whole = x + (n & ~(LANES - 1)) * W;
  const tail = n & (LANES - 1);
  for (const most = whole - 48; x < most; x += 64) {
    const c = v128.sub<real>(v128.load(x), m);
    const c1 = v128.sub<real>(v128.load(x, 16), m);
    const c2 = v128.sub<real>(v128.load(x, 32), m);
    const c3 = v128.sub<real>(v128.load(x, 48), m);
    s = madd(c, c, s);
    s1 = madd(c1, c1, s1);
    s2 = madd(c2, c2, s2);
    s3 = madd(c3, c3, s3);
  }
  s = v128.add<real>(v128.add<real>(s, s1), v128.add<real>(s2, s3));
  for (; x < whole; x += 16) {
    const c = v128.sub<real>(v128.load(x), m);
    s = madd(c, c, s);
  }
  if (tail) {
    const c = v128.sub<real>(loadTail(x, tail, mean), m);
    s = madd(c, c, s);
  }
  return sumLanes(s);
}

/**
 * y = exp(x - shift) over n numbers, none above `shift`, where y is not 0; returns Σ y. What is no normal number is 0.
 * As a power of 2: the factor log2 e rounds once more, by as much as the difference x - shift was rounded before
 * (softmax of 1M numbers: 1.02 ms, and 0.89 so).
 */
export function rowExp(n: usize, shift: real, x: usize, y: usize): real {
  if (SINGLE && n > LONG / 2) {
    const on = half(n) * W;
    return rowExp(half(n), shift, x, y) + rowExp(n - half(n), shift, x + on, y ? y + on : 0);
  }
  const t = exp2Table();
  const low = splatAt(t, 0);
  const rounder = splatAt(t, 2);
  const ln2 = splatAt(t, 3);
  const one = splatAt(t, 4);
  const p0 = splatAt(t, 5);
  const p1 = splatAt(t, 6);
  const p2 = splatAt(t, 7);
  const p3 = splatAt(t, 8);
  const p4 = splatAt(t, 9);
  let s = v128.splat<real>(0);
  const by = v128.splat<real>(shift);
  const log2e = splatAt(expTable(), 3);
  const whole = x + (n & ~(LANES - 1)) * W;
  const tail = n & (LANES - 1);
  for (; x < whole; x += 16) {
    const u = v128.pmax<real>(v128.mul<real>(v128.sub<real>(v128.load(x), by), log2e), low);
    const e = Inlined.boundedExp2(u, rounder, ln2, one, p0, p1, p2, p3, p4);
    s = v128.add<real>(s, e);
    if (y) {
      v128.store(y, e);
      y += 16;
    }
  }
  if (tail) {
    const v = loadTail(x, tail, -Infinity); // of which the power is 0
    const u = v128.pmax<real>(v128.mul<real>(v128.sub<real>(v, by), log2e), low);
    const e = Inlined.boundedExp2(u, rounder, ln2, one, p0, p1, p2, p3, p4);
    s = v128.add<real>(s, e);
    if (y) storeTail(y, tail, e);
  }
  return sumLanes(s);
}

/** y = by exp(x - shift) over n numbers, none above `shift`; added to y when `add`. */
export function rowExpScale(n: usize, shift: real, by: real, x: usize, y: usize, add: bool): void {
  const keep = keepIf(add);
  const c = expTable();
  const low = splatAt(c, 0);
  const rounder = splatAt(c, 2);
  const log2e = splatAt(c, 3);
  const less = splatAt(c, 4);
  const rest = splatAt(c, 5);
  const one = splatAt(c, 6);
  const p0 = splatAt(c, 7);
  const p1 = splatAt(c, 8);
  const p2 = splatAt(c, 9);
  const p3 = splatAt(c, 10);
  const p4 = splatAt(c, 11);
  const s = v128.splat<real>(shift);
  const f = v128.splat<real>(by);
  const whole = x + (n & ~(LANES - 1)) * W;
  const tail = n & (LANES - 1);
  for (; x < whole; x += 16, y += 16) {
    const u = v128.pmax<real>(v128.sub<real>(v128.load(x), s), low);
    const e = Inlined.boundedExp(u, rounder, log2e, less, rest, one, p0, p1, p2, p3, p4);
    v128.store(y, madd(f, e, v128.and(v128.load(y), keep)));
  }
  if (tail) {
    const u = v128.pmax<real>(v128.sub<real>(loadTail(x, tail, shift), s), low);
    const e = Inlined.boundedExp(u, rounder, log2e, less, rest, one, p0, p1, p2, p3, p4);
    storeTail(y, tail, madd(f, e, v128.and(loadTail(y, tail, 0), keep)));
  }
}

/** y = by x over n numbers. */
export function rowScale(n: usize, by: real, x: usize, y: usize): void {
  const c = v128.splat<real>(by);
  const whole = x + (n & ~(LANES - 1)) * W;
  const tail = n & (LANES - 1);
  for (; x < whole; x += 16, y += 16) v128.store(y, v128.mul<real>(c, v128.load(x)));
  if (tail) storeTail(y, tail, v128.mul<real>(c, loadTail(x, tail, 0)));
}

/** y = 0 + x over n numbers; added to y when `add`. */
export function rowAdd(n: usize, x: usize, y: usize, add: bool): void {
  const keep = keepIf(add);
  const whole = x + (n & ~(LANES - 1)) * W;
  const tail = n & (LANES - 1);
  for (; x < whole; x += 16, y += 16) writeOrAdd(y, v128.load(x), keep);
  if (tail) writeOrAddTail(y, tail, loadTail(x, tail, 0), keep);
}

/** y = a b over n numbers. */
export function rowMul(n: usize, a: usize, b: usize, y: usize): void {
  const whole = a + (n & ~(LANES - 1)) * W;
  const tail = n & (LANES - 1);
  for (; a < whole; a += 16, b += 16, y += 16) v128.store(y, v128.mul<real>(v128.load(a), v128.load(b)));
  if (tail) storeTail(y, tail, v128.mul<real>(loadTail(a, tail, 0), loadTail(b, tail, 0)));
}

/** log of one number. */
export function logOf(x: real): real {
  return v128.extract_lane<real>(log(v128.splat<real>(x)), 0);
}
