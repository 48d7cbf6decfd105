// columns.ts: sums of columns, over rows that follow each other or that a list names. Each column is added up in one
// order, whatever its neighbours: 2 BLOCK rows in `real`, in two sums, for one alone waits for itself, and what comes
// of them in double precision. So a million terms are good to 1e-6. Zeros behind the last row change nothing. What lies
// behind the last column is read and comes to nothing.
//
// step        bytes from row to row of x
// next        the row that follows each row, n behind the last; at address 0 it is the next one
import { writeOrAddTail } from "./row";
import { keepIf, writeOrAdd } from "./simd";

const W: usize = sizeof<real>();
const SINGLE = sizeof<real>() == 4;
const BLOCK: usize = SINGLE ? 32 : <usize>-1;

function after(r: usize, next: usize): usize {
  return next ? load<u32>(next + r * 4) : r + 1;
}
/** t and what s has in its first half, or with `high` in its second, in double precision. */
function widened(t: v128, s: v128, high: bool): v128 {
  return f64x2.add(t, f64x2.promote_low_f32x4(high ? v128.shuffle<u64>(s, s, 1, 0) : s));
}
function narrowed(low: v128, high: v128): v128 {
  return v128.shuffle<u64>(f32x4.demote_f64x2_zero(low), f32x4.demote_f64x2_zero(high), 0, 2);
}

/** y = Σ over rows of x, d numbers each, from row `first` on, plus y when `add`. */
export function addColumns(
  n: usize,
  d: usize,
  first: usize,
  next: usize,
  x: usize,
  step: usize,
  y: usize,
  add: bool,
): void {
  const end = y + d * W;
  const zero = v128.splat<real>(0);
  const keep = keepIf(add);
  for (; y < end; x += 32, y += 32) {
    let s0 = zero;
    let s1 = zero;
    let t0 = zero;
    let t1 = zero;
    let t2 = zero;
    let t3 = zero;
    for (let r = first; r != n;) {
      let u0 = zero;
      let u1 = zero;
      for (let k: usize = 0; k < BLOCK && r != n; k++) {
        s0 = v128.add<real>(s0, v128.load(x + r * step));
        s1 = v128.add<real>(s1, v128.load(x + r * step, 16));
        r = after(r, next);
        if (r == n) break;
        u0 = v128.add<real>(u0, v128.load(x + r * step));
        u1 = v128.add<real>(u1, v128.load(x + r * step, 16));
        r = after(r, next);
      }
      s0 = v128.add<real>(s0, u0);
      s1 = v128.add<real>(s1, u1);
      if (!SINGLE) break;
      t0 = widened(t0, s0, false);
      t1 = widened(t1, s0, true);
      t2 = widened(t2, s1, false);
      t3 = widened(t3, s1, true);
      s0 = zero;
      s1 = zero;
    }
    put(y, end, SINGLE ? narrowed(t0, t1) : s0, keep);
    put(y + 16, end, SINGLE ? narrowed(t2, t3) : s1, keep);
  }
}
/** A vector to y, as far as it lies before `end`. */
function put(y: usize, end: usize, v: v128, keep: v128): void {
  if (y + 16 <= end) writeOrAdd(y, v, keep);
  else if (y < end) writeOrAddTail(y, (end - y) / W, v, keep);
}
