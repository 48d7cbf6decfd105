// query.ts: one query alone, as in decoding: what it does with keys and values, which are read where they lie. A lane
// is a head, so that everything between works as it does for a panel of queries, and every sum runs in the same order:
// over d for logits, over keys for the result.
import { LOG2E } from "../math";
import { LANES, madd } from "../simd";
import { NR, packColumns } from "../matmul";
import { AttentionArguments } from "./arguments";
import { dotHeads } from "./heads";
import { gatesAsk, hide } from "./logits";
import { ROW, clear } from "./panel";
import { Workspace } from "./workspace";

const W: usize = sizeof<real>();

/** Logits of the query of sequence i in n heads from j on, and those of its gates. */
export function scoreHeads(a: AttentionArguments, w: Workspace, i: usize, j: usize): void {
  const d = a.d;
  packColumns(d, w.n, a.q + (i * a.qb + j * d) * W, 1, d, w.qp);
  logitsOfHeads(a, w, a.k + i * a.kb * W, a.ki, w.qp, w.st);
  if (w.gq) packColumns(d, w.n, w.gq + (i * a.gqb + j * d) * W, 1, d, w.gqp);
  if (!w.gk) return;
  const gk = w.gk + i * a.gkb * W;
  if (!w.keyGates) return logitsOfHeads(a, w, gk, a.gki, gatesAsk(w), w.ut);
  for (let key: usize = 0; key < w.end; key++)
    for (let c: usize = 0; c < NR; c++) {
      const head = j + min(c, w.n - 1); // as in dotHeads: positions are looked up in all lanes
      store<real>(w.ut + key * ROW + c * W, LOG2E * load<real>(gk + (key * a.gki + head / w.share) * W));
    }
  hide(a, w, w.ut);
}
function logitsOfHeads(a: AttentionArguments, w: Workspace, k: usize, ki: usize, qp: usize, st: usize): void {
  dotHeads(w, <real>w.scale2, w.end, k, ki * W, w.row, w.share, qp, st);
  hide(a, w, st);
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
