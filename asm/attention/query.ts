// query.ts: one query alone, as in decoding: what it does with keys and values, which are read where they lie. A lane
// is a head, so that everything between works as it does for a panel of queries, and every sum runs in the same order:
// over d for logits, over keys for the result.
import { LANES, madd } from "../simd";
import { NR, packColumns } from "../matmul";
import { AttentionArguments } from "./arguments";
import { gatesAsk, hide } from "./logits";
import { ROW, clear } from "./panel";
import { Workspace } from "./workspace";

const W: usize = sizeof<real>();

/** Logits of the query of sequence i in n heads from j on, and those of its gates. */
export function scoreHeads(a: AttentionArguments, w: Workspace, i: usize, j: usize): void {
  const d = a.d;
  packColumns(d, w.n, a.q + (i * a.qb + j * d) * W, 1, d, w.qp);
  logitsOfHeads(a, w, a.k + i * a.kb * W, a.ki, j, w.qp, w.st);
  if (!w.gk) return;
  if (w.gq) packColumns(d, w.n, w.gq + (i * a.gqb + j * d) * W, 1, d, w.gqp);
  logitsOfHeads(a, w, w.gk + i * a.gkb * W, a.gki, j, gatesAsk(w), w.ut);
}
function logitsOfHeads(a: AttentionArguments, w: Workspace, k: usize, ki: usize, j: usize, qp: usize, st: usize): void {
  for (let c: usize = 0; c < NR; c += LANES)
    dots(w, k, ki * W, j + c, min(j + w.n, j + c + LANES) - 1, qp + c * W, st + c * W);
  hide(a, w, st);
}
/**
 * st = scale2 times the columns of qp, each times its head's part of the rows of k, `step` bytes apart: one vector of
 * lanes, heads `first` to `last`, which also stands in for heads that are not there.
 */
function dots(w: Workspace, k: usize, step: usize, first: usize, last: usize, qp: usize, st: usize): void {
  const by = v128.splat<real>(<real>w.scale2);
  const row = w.row;
  const share = w.share;
  const head = min(first, last) / share;
  const k1 = (min(first + 1, last) / share - head) * row;
  const k2 = (min(first + 2, last) / share - head) * row;
  const k3 = (min(first + 3, last) / share - head) * row;
  k += head * row;
  const whole = row & ~15;
  const end = w.end;
  // Two keys at a time: the sum of one would wait for itself.
  for (let j: usize = 0; j < end; j += 2, st += 2 * ROW, k += 2 * step) {
    const other = j + 1 < end ? step : 0;
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

/** ot = weights st times n values, rows `vi` bytes apart, of the heads from w.j on, two heads at a time. */
export function mixHeads(w: Workspace, d: usize, n: usize, v: usize, vi: usize, st: usize): void {
  const edge = w.edge;
  clear(d * NR, w.ot);
  for (let c: usize = 0; c < w.n; c += 2) {
    const other = min(c + 1, w.n - 1);
    const v0 = v + ((w.j + c) / w.share) * w.row;
    const v1 = v + ((w.j + other) / w.share) * w.row;
    for (let m: usize = 0; m < d; m += 4 * LANES) {
      mixPair(n, st + c * W, (other - c) * W, v0 + m * W, v1 + m * W, vi, edge);
      for (let i = m; i < min(d, m + 4 * LANES); i++) {
        store<real>(w.ot + i * ROW + c * W, load<real>(edge + (i - m) * W));
        store<real>(w.ot + i * ROW + other * W, load<real>(edge + 64 + (i - m) * W));
      }
    }
  }
}
/** Four vectors of the result of two heads, whose weights lie `next` bytes apart, to `y` and 64 bytes on. */
function mixPair(n: usize, st: usize, next: usize, v0: usize, v1: usize, step: usize, y: usize): void {
  const zero = v128.splat<real>(0);
  let x0 = zero;
  let x1 = zero;
  let x2 = zero;
  let x3 = zero;
  let y0 = zero;
  let y1 = zero;
  let y2 = zero;
  let y3 = zero;
  for (let o = st, stop = o + n * ROW; o < stop; o += ROW, v0 += step, v1 += step) {
    let weight = v128.load_splat<real>(o);
    x0 = madd(weight, v128.load(v0), x0);
    x1 = madd(weight, v128.load(v0, 16), x1);
    x2 = madd(weight, v128.load(v0, 32), x2);
    x3 = madd(weight, v128.load(v0, 48), x3);
    weight = v128.load_splat<real>(o + next);
    y0 = madd(weight, v128.load(v1), y0);
    y1 = madd(weight, v128.load(v1, 16), y1);
    y2 = madd(weight, v128.load(v1, 32), y2);
    y3 = madd(weight, v128.load(v1, 48), y3);
  }
  put4(y, x0, x1, x2, x3);
  put4(y + 64, y0, y1, y2, y3);
}
function put4(y: usize, a: v128, b: v128, c: v128, d: v128): void {
  v128.store(y, a);
  v128.store(y, b, 16);
  v128.store(y, c, 32);
  v128.store(y, d, 48);
}
