// columns.ts: sums of columns, over rows that follow each other or that a list names. Each column is added up in one
// order, whatever its neighbours: BLOCK rows in `real`, in two sums, for one alone waits for itself, and what comes of
// them in double precision. So a million terms are good to 1e-6. Zeros behind the last row change nothing. What lies
// behind the last column is read and comes to nothing.
//
// step        bytes from row to row of x
// next        the row that follows each row, n behind the last; at address 0 it is the next one
import { writeOrAddTail } from "./row";
import { keepIf, writeOrAdd } from "./simd";

const W: usize = sizeof<real>();
const SINGLE = sizeof<real>() == 4;
const BLOCK: usize = 64;
/** Bytes of y whose sums are made at a time; they take up to twice as much room. */
const TILE: usize = 8192;

/** Adds s to the sums in double precision at t. */
export function widen(t: usize, s: v128): void {
  if (!SINGLE) return v128.store(t, f64x2.add(v128.load(t), s));
  v128.store(t, f64x2.add(v128.load(t), f64x2.promote_low_f32x4(s)));
  v128.store(t, f64x2.add(v128.load(t, 16), f64x2.promote_low_f32x4(v128.shuffle<u64>(s, s, 1, 0))), 16);
}
/** The same for vectors of n bytes at x. */
export function widenAll(n: usize, x: usize, t: usize): void {
  for (const end = x + n; x < end; x += 16, t += 128 / W) widen(t, v128.load(x));
}
/** The sums at t as a vector. */
export function narrow(t: usize): v128 {
  const v = v128.load(t);
  if (!SINGLE) return v;
  return v128.shuffle<u64>(f32x4.demote_f64x2_zero(v), f32x4.demote_f64x2_zero(v128.load(t, 16)), 0, 2);
}
/** A vector to y, as far as it lies before `end`. */
export function put(v: v128, y: usize, end: usize, keep: v128): void {
  if (y + 16 <= end) writeOrAdd(y, v, keep);
  else if (y < end) writeOrAddTail(y, (end - y) / W, v, keep);
}

/** Adds a block's sums of two vectors to those at t, and after the last block puts them into y. */
function settle(t: usize, s0: v128, s1: v128, isFirst: bool, isLast: bool, y: usize, end: usize, keep: v128): void {
  if (!isFirst || !isLast) {
    const t1 = t + 128 / W;
    if (isFirst) memory.fill(t, 0, 256 / W);
    widen(t, s0);
    widen(t1, s1);
    if (!isLast) return;
    s0 = narrow(t);
    s1 = narrow(t1);
  } // one block is its own sum
  put(s0, y, end, keep);
  put(s1, y + 16, end, keep);
}

/** y = Σ over rows of x, d numbers each, from row `first` on, plus y when `add`; `room` for their sums. */
export function addColumns(
  n: usize,
  d: usize,
  first: usize,
  next: usize,
  x: usize,
  step: usize,
  y: usize,
  add: bool,
  room: usize,
): void {
  const end = y + d * W;
  const zero = v128.splat<real>(0);
  const keep = keepIf(add);
  for (; y < end; x += TILE, y += TILE) {
    const wide = min(TILE, end - y);
    for (let from = first, r = first; ; from = r) {
      for (let o: usize = 0; o < wide; o += 32) {
        let s0 = zero;
        let s1 = zero;
        let u0 = zero;
        let u1 = zero;
        let at = x + from * step + o;
        r = from;
        if (next)
          for (let k: usize = 0; k < BLOCK && r != n; k += 2) {
            s0 = v128.add<real>(s0, v128.load(x + r * step + o));
            s1 = v128.add<real>(s1, v128.load(x + r * step + o, 16));
            r = load<u32>(next + r * 4);
            if (r == n) break;
            u0 = v128.add<real>(u0, v128.load(x + r * step + o));
            u1 = v128.add<real>(u1, v128.load(x + r * step + o, 16));
            r = load<u32>(next + r * 4);
          }
        else {
          r = min(n, from + BLOCK);
          for (const stop = at + ((r - from) & ~1) * step; at != stop; at += 2 * step) {
            s0 = v128.add<real>(s0, v128.load(at));
            s1 = v128.add<real>(s1, v128.load(at, 16));
            u0 = v128.add<real>(u0, v128.load(at + step));
            u1 = v128.add<real>(u1, v128.load(at + step, 16));
          }
          if ((r - from) & 1) {
            s0 = v128.add<real>(s0, v128.load(at));
            s1 = v128.add<real>(s1, v128.load(at, 16));
          }
        }
        s0 = v128.add<real>(s0, u0);
        s1 = v128.add<real>(s1, u1);
        settle(room + (o * 8) / W, s0, s1, from == first, r == n, y + o, end, keep);
      }
      if (r == n) break;
    }
  }
}

/**
 * y += running sums of n rows of x, d numbers each, in double precision, from the last row on when `reverse`; `room`
 * for their sums.
 */
export function runColumns(n: usize, d: usize, reverse: bool, x: usize, y: usize, add: bool, room: usize): void {
  const step = d * W;
  const keep = keepIf(add);
  for (let c: usize = 0; c < step; c += TILE) {
    const stop = min(step, c + TILE);
    memory.fill(room, 0, (((stop - c + 15) & ~15) * 8) / W);
    for (let b: usize = 0; b < n; b++) {
      const at = (reverse ? n - 1 - b : b) * step;
      widenAll(stop - c, x + at + c, room);
      for (let o = c, t = room; o < stop; o += 16, t += 128 / W) put(narrow(t), y + at + o, y + at + step, keep);
    }
  }
}
