// simd.ts: vectors of `real` lanes, and sums and maxima over lanes in one fixed order, so that they give the same bits
// everywhere.

/** Lanes in a vector. */
export const LANES: usize = 16 / sizeof<real>();
/** The least finite number: below every other in a maximum. */
export const LEAST: real = sizeof<real>() == 4 ? -3.4028234663852886e38 : <real>-1.7976931348623157e308;

/**
 * Where the `n` numbers at `y` end; 0 when y is 0, so that a loop from y up to here skips a destination nobody asked
 * for.
 */
export function endOf(y: usize, n: usize): usize {
  return y ? y + n * sizeof<real>() : 0;
}

/** Ones in every bit when `add`, else zeros: what stood in a destination counts or does not, without a branch. */
export function keepIf(add: bool): v128 {
  return v128.splat<i32>(add ? -1 : 0);
}
/** y = v, plus what `keep` leaves of y. */
export function writeOrAdd(y: usize, v: v128, keep: v128): void {
  v128.store(y, v128.add<real>(v128.and(v128.load(y), keep), v));
}

/** `c` in every lane. */
export function splat(c: real): v128 {
  return v128.splat<real>(c);
}
/** Number `i` of a table in every lane. Node 24 rebuilds a constant vector at every use; this is one load. */
export function splatAt(table: usize, i: usize): v128 {
  return v128.load_splat<real>(table + i * sizeof<real>());
}

/** Every lane moved `n` bits to the right, zeros coming in. */
export function shiftRight(v: v128, n: i32): v128 {
  return sizeof<real>() == 4 ? v128.shr<u32>(v, n) : v128.shr<u64>(v, n);
}

/**
 * a b + c: two roundings in the exact engine, one in the fast one, whose modules are built with relaxed SIMD
 * (build.mjs).
 */
export function madd(a: v128, b: v128, c: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? v128.relaxed_madd<real>(a, b, c) : v128.add<real>(c, v128.mul<real>(a, b));
}

/** The sum of the lanes: (0 + 2) + (1 + 3), or 0 + 1. */
export function sumLanes(v: v128): real {
  if (sizeof<real>() == 4) {
    return (
      v128.extract_lane<real>(v, 0) +
      v128.extract_lane<real>(v, 2) +
      (v128.extract_lane<real>(v, 1) + v128.extract_lane<real>(v, 3))
    );
  }
  return v128.extract_lane<real>(v, 0) + v128.extract_lane<real>(v, 1);
}

/** The largest lane; NaN if any lane is. */
export function maxLanes(v: v128): real {
  const m: real = max(v128.extract_lane<real>(v, 0), v128.extract_lane<real>(v, 1));
  if (sizeof<real>() == 4) return max(m, max(v128.extract_lane<real>(v, 2), v128.extract_lane<real>(v, 3)));
  return m;
}
