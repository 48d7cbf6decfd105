// heads.ts: products of one query, whose lanes are heads, with rows that each head has of its own: keys, or the rows of
// CoPE's tables. Each sum runs in the order of a panel of queries.
import { LANES, madd } from "../simd";
import { NR } from "../matmul";
import { ROW } from "./panel";
import { Workspace } from "./workspace";

const W: usize = sizeof<real>();

/**
 * y = alpha times the columns of qp, each times n rows of its head in k: rows lie `step` bytes apart, heads `apart`,
 * and one serves `share` lanes.
 */
export function dotHeads(
  w: Workspace,
  alpha: real,
  n: usize,
  k: usize,
  step: usize,
  apart: usize,
  share: usize,
  qp: usize,
  y: usize,
): void {
  for (let c: usize = 0; c < NR; c += LANES) {
    const first = w.j + c;
    const last = min(w.j + w.n, first + LANES) - 1;
    // The last head stands in for those that are not there.
    const head = min(first, last) / share;
    const k1 = (min(first + 1, last) / share - head) * apart;
    const k2 = (min(first + 2, last) / share - head) * apart;
    const k3 = (min(first + 3, last) / share - head) * apart;
    dots(w.row, alpha, n, k + head * apart, k1, k2, k3, step, qp + c * W, y + c * W);
  }
}
/** One vector of lanes, whose heads begin at k and k1, k2, k3 from there. */
function dots(
  row: usize,
  alpha: real,
  n: usize,
  k: usize,
  k1: usize,
  k2: usize,
  k3: usize,
  step: usize,
  qp: usize,
  st: usize,
): void {
  const by = v128.splat<real>(alpha);
  const whole = row & ~15;
  // Two rows at a time: the sum of one would wait for itself.
  for (let j: usize = 0; j < n; j += 2, st += 2 * ROW, k += 2 * step) {
    const other = j + 1 < n ? step : 0;
    let sum0 = v128.splat<real>(0);
    let sum1 = sum0;
    let q = qp;
    let o = k;
    for (const stop = k + whole; o < stop; o += 16, q += LANES * ROW) {
      sum0 = Square.dot(o, k1, k2, k3, q, sum0);
      sum1 = Square.dot(o + other, k1, k2, k3, q, sum1);
    }
    for (const stop = k + row; o < stop; o += W, q += ROW) {
      sum0 = madd(Square.column(o, k1, k2, k3), v128.load(q), sum0);
      sum1 = madd(Square.column(o + other, k1, k2, k3), v128.load(q), sum1);
    }
    v128.store(st, v128.mul<real>(by, sum0));
    if (other) v128.store(st, v128.mul<real>(by, sum1), ROW);
  }
}
class Square {
  /** sum + Σ_i q[i] k[i] over LANES numbers of LANES rows of keys, at k and k1, k2, k3 from there: transposed. */
  @inline static dot(k: usize, k1: usize, k2: usize, k3: usize, q: usize, sum: v128): v128 {
    const r0 = v128.load(k);
    const r1 = v128.load(k + k1);
    if (sizeof<real>() == 8) {
      sum = madd(v128.shuffle<f64>(r0, r1, 0, 2), v128.load(q), sum);
      return madd(v128.shuffle<f64>(r0, r1, 1, 3), v128.load(q + ROW), sum);
    }
    const r2 = v128.load(k + k2);
    const r3 = v128.load(k + k3);
    const a0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
    const b0 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
    const a1 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
    const b1 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
    sum = madd(v128.shuffle<f64>(a0, b0, 0, 2), v128.load(q), sum);
    sum = madd(v128.shuffle<f64>(a0, b0, 1, 3), v128.load(q + ROW), sum);
    sum = madd(v128.shuffle<f64>(a1, b1, 0, 2), v128.load(q + 2 * ROW), sum);
    return madd(v128.shuffle<f64>(a1, b1, 1, 3), v128.load(q + 3 * ROW), sum);
  }
  /** The first numbers of the same rows. */
  @inline static column(k: usize, k1: usize, k2: usize, k3: usize): v128 {
    const column = v128.load_lane<real>(k + k1, v128.load_splat<real>(k), 1);
    if (sizeof<real>() == 8) return column;
    return v128.load_lane<real>(k + k3, v128.load_lane<real>(k + k2, column, <u8>(LANES - 2)), <u8>(LANES - 1));
  }
}
