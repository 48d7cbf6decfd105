// columns.ts: sums of columns, over rows that follow each other or that a list names. Each column is added up in one
// order, whatever its neighbours: BLOCK rows in `real`, and what comes of them in double precision, so that a million
// terms are good to 1e-6. Two vectors of columns pass through registers, from the first row to the last.
//
// step        bytes from row to row of x
// next        the row that follows each row, n behind the last; at address 0 it is the next one

const W: usize = sizeof<real>();
const SINGLE = sizeof<real>() == 4;
const BLOCK: usize = SINGLE ? 32 : <usize>-1;

function after(r: usize, next: usize): usize {
  return next ? load<u32>(next + r * 4) : r + 1;
}
/** The first or, `high`, the second half of s, in double precision, added to t. */
function addHalf(t: v128, s: v128, high: bool): v128 {
  return f64x2.add(t, f64x2.promote_low_f32x4(high ? v128.shuffle<u64>(s, s, 1, 0) : s));
}
function single(low: v128, high: v128): v128 {
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
  for (; y + 32 <= end; x += 32, y += 32) {
    let s0 = add ? v128.load(y) : zero;
    let s1 = add ? v128.load(y, 16) : zero;
    let t0 = zero;
    let t1 = zero;
    let t2 = zero;
    let t3 = zero;
    for (let r = first; r != n;) {
      for (let k: usize = 0; k < BLOCK && r != n; k++, r = after(r, next)) {
        s0 = v128.add<real>(s0, v128.load(x + r * step));
        s1 = v128.add<real>(s1, v128.load(x + r * step, 16));
      }
      if (!SINGLE) break;
      t0 = addHalf(t0, s0, false);
      t1 = addHalf(t1, s0, true);
      t2 = addHalf(t2, s1, false);
      t3 = addHalf(t3, s1, true);
      s0 = zero;
      s1 = zero;
    }
    v128.store(y, SINGLE ? single(t0, t1) : s0);
    v128.store(y, SINGLE ? single(t2, t3) : s1, 16);
  }
  for (; y < end; x += W, y += W) {
    let s: real = add ? load<real>(y) : 0;
    let t: f64 = 0;
    for (let r = first; r != n;) {
      for (let k: usize = 0; k < BLOCK && r != n; k++, r = after(r, next)) s += load<real>(x + r * step);
      t += s;
      s = 0;
    }
    store<real>(y, <real>t);
  }
}
