// attention.ts: fused attention, forward and backward, one head after the other; nothing of size t x s is kept.
//
// How the data moves: a head's keys and values are packed once. Then NR queries at a time (a panel, two vectors of lanes, a lane a
// query) meet all keys they may see: logits lie key by key, NR lanes each, so that maxima, sums, and the running positions of CoPE
// (cope.ts) are vector operations from one key to the next, with no sums over lanes and no transposing; and that layout is what
// the product with the values takes as its packed right side. Causal panels stop at their last key. The backward pass makes
// logits and weights again from lse, the logarithm of each row's sum.
import { LANES, madd } from "./simd";
import { Inlined, log } from "./math";
import { MR, NR, packColumns, packRows, panels, put, transpose } from "./matmul";
import { rowDot } from "./rows";
import { copeBack, copeLogits, copePlaces, copeReach, copeTable } from "./cope";

const W: usize = sizeof<real>();
const ROW: usize = NR * W; // bytes of one key's logits
const LEAST: real = sizeof<real>() == 4 ? -3.4028234663852886e38 : <real>-1.7976931348623157e308;

/** Panels of queries whose gradients to keys and values are added up in registers before they go to memory. */
const GROUP: usize = 4;

/** n rounded up to whole panels. */
function full(n: usize): usize { return (n + MR - 1) / MR * MR; }

/** Numbers of room that `attentionBack` needs, and `attention` with it: packed keys, values and tables, and the panels of one group of queries. */
export function attentionRoom(s: usize, d: usize, p: usize, r: usize): usize {
  const wide = (d + NR - 1) / NR * NR;
  return 3 * full(s) * d + 2 * full(d) * s + full(p) * d + full(d) * p + full(r) * d + full(d) * r
    + NR * (3 * d + 3 * GROUP * wide + (3 * GROUP + 4) * full(s) + full(d) + 3 * full(max(p, r)) + 4 * full(p + 1) + 6 + MR);
}

/** -Infinity where lane c's query, at place `first + c`, may not see key j (by `allowed`, its row of s numbers, or when causal), and where keys are padding. */
function hide(n: usize, s: usize, end: usize, first: usize, causal: bool, allowed: usize, keys: usize, st: usize): void {
  if (allowed) for (let c: usize = 0; c < n; c++)
    for (let j: usize = 0; j < s; j++) if (load<real>(allowed + (c * s + j) * W) == 0) store<real>(st + j * ROW + c * W, -Infinity);
  if (causal) for (let j = first + 1; j < end; j++) {
    const lanes = min(NR, j - first);
    for (let c: usize = 0; c < lanes; c++) store<real>(st + j * ROW + c * W, -Infinity);
  }
  if (keys) for (let j: usize = 0; j < end; j++) if (load<real>(keys + j * W) == 0) {
    v128.store(st + j * ROW, v128.splat<real>(-Infinity));
    v128.store(st + j * ROW, v128.splat<real>(-Infinity), 16);
  }
}

/** place - j, 0 for later keys. With more queries than keys the first places lie before the first key: `first` is then a negative number, wrapped. */
function distance(place: usize, j: usize): usize { return <usize>max<isize>(0, <isize>(place - j)); }

/** logits -= slope (place - j), lane c's query being at place `first + c`. */
function decline(end: usize, first: usize, slope: real, st: usize): void {
  for (let j: usize = 0; j < end; j++)
    for (let c: usize = 0; c < NR; c++) {
      const at = st + j * ROW + c * W;
      store<real>(at, load<real>(at) - slope * <real>distance(first + c, j));
    }
}

/** logits += z[min(place - j, r - 1)], z being r rows of NR lanes; or, `back`, the transpose: dz[...] += dlogits. */
function shift(end: usize, first: usize, r: usize, z: usize, st: usize, back: bool): void {
  for (let j: usize = 0; j < end; j++)
    for (let c: usize = 0; c < NR; c++) {
      const at = st + j * ROW + c * W, row = z + min(distance(first + c, j), r - 1) * ROW + c * W;
      if (back) store<real>(row, load<real>(row) + load<real>(at));
      else store<real>(at, load<real>(at) + load<real>(row));
    }
}

/** st = exp(st - top) over the keys, each lane's largest logit taken off; leaves 1/Σ in `inverse` and top + log Σ in `lse`. */
function softmaxPanel(end: usize, st: usize, inverse: usize, lse: usize): void {
  let top0 = v128.splat<real>(LEAST), top1 = top0;
  const stop = st + end * ROW;
  for (let at = st; at < stop; at += ROW) {
    top0 = v128.max<real>(top0, v128.load(at));
    top1 = v128.max<real>(top1, v128.load(at, 16));
  }
  let sum0 = v128.splat<real>(0), sum1 = sum0;
  for (let at = st; at < stop; at += ROW) {
    const e0 = Inlined.exp(v128.sub<real>(v128.load(at), top0)), e1 = Inlined.exp(v128.sub<real>(v128.load(at, 16), top1));
    v128.store(at, e0);
    v128.store(at, e1, 16);
    sum0 = v128.add<real>(sum0, e0);
    sum1 = v128.add<real>(sum1, e1);
  }
  settle(top0, sum0, inverse, lse);
  settle(top1, sum1, inverse + 16, lse + 16);
}
/** A query that may see nothing has Σ = 0: its weights are 0, and so is its lse, with which the backward pass makes 0 of -Infinity. */
function settle(top: v128, sum: v128, inverse: usize, lse: usize): void {
  const some = v128.gt<real>(sum, v128.splat<real>(0));
  v128.store(inverse, v128.and(v128.div<real>(v128.splat<real>(1), sum), some));
  v128.store(lse, v128.and(v128.add<real>(top, log(sum)), some));
}

/** to = a times the edge weights of each query (rows of s numbers), or times what they hold back when `rest`. */
function weigh(n: usize, s: usize, end: usize, edges: usize, rest: bool, a: usize, to: usize): void {
  for (let j: usize = 0; j < end; j++)
    for (let c: usize = 0; c < NR; c++) {
      const w: real = c < n ? load<real>(edges + (c * s + j) * W) : 0;
      store<real>(to + j * ROW + c * W, (rest ? 1 - w : w) * load<real>(a + j * ROW + c * W));
    }
}

/** The first n lanes of d rows of lanes, times by[lane] (or 1 at address 0), to n rows of d numbers `step` bytes apart; added when `add`. */
function spread(n: usize, d: usize, from: usize, by: usize, y: usize, step: usize, add: bool, square: usize): void {
  if (by) {
    const b0 = v128.load(by), b1 = v128.load(by, 16);
    for (let at = from; at < from + d * ROW; at += ROW) {
      v128.store(at, v128.mul<real>(b0, v128.load(at)));
      v128.store(at, v128.mul<real>(b1, v128.load(at, 16)), 16);
    }
  }
  const whole = n & ~(LANES - 1);
  for (let c: usize = 0; c < whole; c += LANES) {
    let i: usize = 0;
    for (const most = d & ~(LANES - 1); i < most; i += LANES) {
      const at = y + c * step + i * W, source = from + i * ROW + c * W;
      if (!add) { transpose(source, ROW, at, step); continue; }
      transpose(source, ROW, square, 16);
      for (let l: usize = 0; l < LANES; l++) v128.store(at + l * step, v128.add<real>(v128.load(at + l * step), v128.load(square + l * 16)));
    }
    for (; i < d; i++) for (let l: usize = c; l < c + LANES; l++) move(from + i * ROW + l * W, y + l * step + i * W, add);
  }
  for (let c = whole; c < n; c++) for (let i: usize = 0; i < d; i++) move(from + i * ROW + c * W, y + c * step + i * W, add);
}
function move(from: usize, to: usize, add: bool): void {
  store<real>(to, add ? load<real>(to) + load<real>(from) : load<real>(from));
}

/**
 * y (m x n, rows `yi` apart) += alpha Σ a b over `count` panels of queries: a holds m rows of NR lanes and b NR rows packed by columns,
 * the next panel's `ai` and `bi` bytes on. What queries add to all keys.
 */
function update(m: usize, n: usize, count: usize, alpha: real, a: usize, ai: usize, b: usize, bi: usize, y: usize, yi: usize, edge: usize): void {
  for (let j: usize = 0; j < n; j += NR) {
    const columns = min(NR, n - j);
    for (let i: usize = 0; i < m; i += MR) {
      const rows = min(MR, m - i), at = y + (i * yi + j) * W, pa = a + i * ROW, pb = b + j * ROW;
      if (rows == MR && columns == NR) tileRows(count, alpha, pa, ai, pb, bi, at, yi, true);
      else {
        tileRows(count, alpha, pa, ai, pb, bi, edge, NR, false);
        for (let r: usize = 0; r < rows; r++)
          for (let c: usize = 0; c < columns; c++) {
            const to = at + (r * yi + c) * W;
            store<real>(to, load<real>(to) + load<real>(edge + (r * NR + c) * W));
          }
      }
    }
  }
}
/** As `tile` in matmul.ts, with each panel of a in MR rows of NR numbers. */
function tileRows(count: usize, alpha: real, a: usize, ai: usize, b: usize, bi: usize, y: usize, yi: usize, add: bool): void {
  let c00 = v128.splat<real>(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00;
  let c30 = c00, c31 = c00, c40 = c00, c41 = c00, c50 = c00, c51 = c00;
  for (; count; count--, a += ai - ROW, b += bi - NR * ROW)
    for (const end = a + ROW; a < end; a += W, b += ROW) {
      const b0 = v128.load(b), b1 = v128.load(b, 16);
      let s = v128.load_splat<real>(a);
      c00 = madd(s, b0, c00); c01 = madd(s, b1, c01);
      s = v128.load_splat<real>(a, ROW);
      c10 = madd(s, b0, c10); c11 = madd(s, b1, c11);
      s = v128.load_splat<real>(a, 2 * ROW);
      c20 = madd(s, b0, c20); c21 = madd(s, b1, c21);
      s = v128.load_splat<real>(a, 3 * ROW);
      c30 = madd(s, b0, c30); c31 = madd(s, b1, c31);
      if (MR == 6) {
        s = v128.load_splat<real>(a, 4 * ROW);
        c40 = madd(s, b0, c40); c41 = madd(s, b1, c41);
        s = v128.load_splat<real>(a, 5 * ROW);
        c50 = madd(s, b0, c50); c51 = madd(s, b1, c51);
      }
    }
  const by = v128.splat<real>(alpha), step = yi * W;
  put(y, by, c00, c01, add); y += step;
  put(y, by, c10, c11, add); y += step;
  put(y, by, c20, c21, add); y += step;
  put(y, by, c30, c31, add); y += step;
  if (MR == 6) {
    put(y, by, c40, c41, add); y += step;
    put(y, by, c50, c51, add);
  }
}

/**
 * o_i = Σ_j softmax_j(scale q_i·k_j + what the positions add) v_j for b x h heads; q, o: b t h d, k, v: b s h d; queries are the last t
 * of s places. At address 0 where there are none: `keys` (b s, 0 for padding), `allowed` (t s, 0 for what may not be seen), `slopes` (h, ALiBi), `rel` (r d, relative positions, scaled as the
 * logits), `table` (p d, CoPE, scaled by `reach`), `gk` (b s h d, gate keys; the keys themselves unless given), `gq` (gate queries).
 */
export function attention(
  b: usize, h: usize, t: usize, s: usize, d: usize, p: usize, r: usize, causal: bool, scale: real, reach: real,
  q: usize, k: usize, v: usize, table: usize, gq: usize, gk: usize, rel: usize, slopes: usize, keys: usize, allowed: usize, o: usize, lse: usize, room: usize,
): void {
  if (gq && !gk) gk = k;
  const step = h * d, kp = room, vp = kp + full(s) * d * W, gp = vp + full(d) * s * W, ep = gp + full(s) * d * W, rp = ep + full(p) * d * W;
  const qp = rp + full(r) * d * W, st = qp + d * ROW, ut = st + full(s) * ROW, ot = ut + full(s) * ROW, zt = ot + full(d) * ROW, pt = zt + full(max(p, r)) * ROW;
  const gqp = pt + 2 * full(p + 1) * ROW, places = gqp + d * ROW, small = places + full(s) * ROW, edge = small + 4 * ROW;
  if (table) packRows(p, d, table, d, 1, ep);
  if (rel) packRows(r, d, rel, d, 1, rp);
  for (let i: usize = 0; i < b; i++) for (let j: usize = 0; j < h; j++) {
    const qs = q + (i * t * h + j) * d * W, ks = k + (i * s * h + j) * d * W, offset = (i * s * h + j) * d * W;
    packRows(s, d, ks, step, 1, kp);
    packRows(d, s, v + offset, 1, step, vp);
    if (gk) packRows(s, d, gk + offset, step, 1, gp);
    for (let at: usize = 0; at < t; at += NR) {
      const n = min(NR, t - at), first = s - t + at, end = causal ? min(s, first + n) : s;
      packColumns(d, n, qs + at * step * W, 1, step, qp);
      panels(full(end), d, NR, scale, kp, d, qp, st, NR, false, edge);
      const real_ = keys ? keys + i * s * W : 0, seen = allowed ? allowed + at * s * W : 0;
      hide(n, s, end, first, causal, seen, real_, st);
      if (table) {
        // Content and gate logits share one scale in every convention, so gates from the keys themselves read the same logits.
        if (gk) gateLogits(d, n, scale, gq ? gq + (i * t * h + j) * d * W + at * step * W : 0, step, gp, qp, gqp, s, end, first, causal, seen, real_, ut, edge);
        // Positions first: only the rows of the table that they reach are multiplied with the queries.
        const certain = copePlaces(end, p, gk ? ut : st, 0, places), far = copeReach(certain, p, places);
        panels(full(far), d, NR, reach, ep, d, gq ? gqp : qp, zt, NR, false, edge);
        copeTable(far, zt, pt);
        copeLogits(end, p, certain, st, places, pt);
      }
      if (rel) {
        panels(full(r), d, NR, scale, rp, d, qp, zt, NR, false, edge);
        shift(end, first, r, zt, st, false);
      }
      if (slopes) decline(end, first, load<real>(slopes + j * W), st);
      softmaxPanel(end, st, small, small + ROW);
      panels(full(d), end, NR, 1, vp, s, st, ot, NR, false, edge);
      spread(n, d, ot, small, o + (i * t * h + j) * d * W + at * step * W, step * W, false, small + 2 * ROW);
      if (lse) memory.copy(lse + ((i * h + j) * t + at) * W, small + ROW, n * W);
    }
  }
}
function gateLogits(d: usize, n: usize, scale: real, gq: usize, step: usize, gp: usize, qp: usize, gqp: usize, s: usize, end: usize, first: usize, causal: bool, allowed: usize, keys: usize, ut: usize, edge: usize): void {
  if (gq) packColumns(d, n, gq, 1, step, gqp);
  panels(full(end), d, NR, scale, gp, d, gq ? gqp : qp, ut, NR, false, edge);
  hide(n, s, end, first, causal, allowed, keys, ut);
}

/** pt = exp(st - lse), lane by lane. */
function weights(end: usize, st: usize, lse: usize, pt: usize): void {
  const l0 = v128.load(lse), l1 = v128.load(lse, 16);
  for (const stop = st + end * ROW; st < stop; st += ROW, pt += ROW) {
    v128.store(pt, Inlined.exp(v128.sub<real>(v128.load(st), l0)));
    v128.store(pt, Inlined.exp(v128.sub<real>(v128.load(st, 16), l1)), 16);
  }
}
/** dt = pt (dt - delta): from the gradient of the weights to that of the logits. */
function logitsBack(end: usize, pt: usize, delta: usize, dt: usize): void {
  const d0 = v128.load(delta), d1 = v128.load(delta, 16);
  for (const stop = pt + end * ROW; pt < stop; pt += ROW, dt += ROW) {
    v128.store(dt, v128.mul<real>(v128.load(pt), v128.sub<real>(v128.load(dt), d0)));
    v128.store(dt, v128.mul<real>(v128.load(pt, 16), v128.sub<real>(v128.load(dt, 16), d1)), 16);
  }
}
/**
 * What one panel of queries sends to a source by itself: with `own` each query what it sends to its own place, which is then taken out of
 * `a`; with `edges` the source its share and its past the rest. What is left to add up is the caller's, a group at a time.
 */
function sendApart(n: usize, s: usize, d: usize, end: usize, first: usize, alpha: real, a: usize, x: usize, xp: usize, step: usize, to: usize, past: usize, own: bool, edges: usize, wt: usize, edge: usize): void {
  if (own) for (let c: usize = 0; c < n; c++) {
    const at = a + (first + c) * ROW + c * W;
    if (to) rowProductAdd(d, alpha, load<real>(at), x + c * step * W, to + (first + c) * step * W);
    store<real>(at, 0);
  }
  else if (edges) {
    if (to) { weigh(n, s, end, edges, false, a, wt); update(end, d, 1, alpha, wt, 0, xp, 0, to, step, edge); }
    if (past) { weigh(n, s, end, edges, true, a, wt); update(end, d, 1, alpha, wt, 0, xp, 0, past, step, edge); }
  }
}
/** Zeros in the rows of a panel that only later panels of its group may see. */
function blank(end: usize, last: usize, a: usize): void { memory.fill(a + end * ROW, 0, (last - end) * ROW); }
/** y += alpha (a x) over n numbers: rounded as `update` rounds it, so that a weight of 1 on the diagonal alone gives the same bits. */
function rowProductAdd(n: usize, alpha: real, a: real, x: usize, y: usize): void {
  const whole = (n & ~(LANES - 1)) * W, by = v128.splat<real>(alpha), each = v128.splat<real>(a);
  for (let i: usize = 0; i < whole; i += 16) v128.store(y + i, v128.add<real>(v128.load(y + i), v128.mul<real>(by, v128.mul<real>(each, v128.load(x + i)))));
  for (let i = whole; i < n * W; i += W) store<real>(y + i, load<real>(y + i) + alpha * (a * load<real>(x + i)));
}

/**
 * Adds the gradients of `attention`. With `own` (myopic training, diagonal) keys, values and gate keys get what their own place sends
 * and nothing else; what other places send goes to the pasts `pk`, `pv`, `pg`, or nowhere: then no product is spent on it. With
 * `edges` (t s) source and past share by weight. `dtable` and `drel` hold a table for each of the b sequences, for the caller to add up:
 * the order of that sum must not depend on who computes which sequence.
 */
export function attentionBack(
  b: usize, h: usize, t: usize, s: usize, d: usize, p: usize, r: usize, causal: bool, scale: real, reach: real, own: bool,
  q: usize, k: usize, v: usize, table: usize, gq: usize, gk: usize, rel: usize, slopes: usize, keys: usize, allowed: usize, edges: usize, o: usize, lse: usize, dout: usize,
  dq: usize, dk: usize, dv: usize, dtable: usize, dgq: usize, dgk: usize, drel: usize, pk: usize, pv: usize, pg: usize, room: usize,
): void {
  if (!table) gq = gk = dgq = dgk = pg = 0; // gates are read by a table's positions alone
  if (gq && !gk) { gk = k; dgk = dk; pg = pk; }
  const step = h * d, wide = (d + NR - 1) / NR * NR, pitch = full(s) * ROW, deep = wide * ROW;
  const kp = room, vp = kp + full(s) * d * W, gp = vp + full(s) * d * W, kt = gp + full(s) * d * W, gt = kt + full(d) * s * W;
  const ep = gt + full(d) * s * W, et = ep + full(p) * d * W, rp = et + full(d) * p * W, rt = rp + full(r) * d * W;
  const qp = rt + full(d) * r * W, op = qp + d * ROW, gqp = op + d * ROW, qrs = gqp + d * ROW, ors = qrs + GROUP * deep, gqrs = ors + GROUP * deep;
  const pts = gqrs + GROUP * deep, dts = pts + GROUP * pitch, uts = dts + GROUP * pitch, st = uts + GROUP * pitch, gates = st + pitch, places = gates + pitch, wt = places + pitch;
  const ot = wt + pitch, zt = ot + full(d) * ROW, dz = zt + full(max(p, r)) * ROW, dr = dz + full(max(p, r)) * ROW, pairs = dr + full(max(p, r)) * ROW;
  const dpairs = pairs + 2 * full(p + 1) * ROW, small = dpairs + 2 * full(p + 1) * ROW, edge = small + 6 * ROW;
  if (table) { packRows(p, d, table, d, 1, ep); packRows(d, p, table, 1, d, et); }
  if (rel) { packRows(r, d, rel, d, 1, rp); packRows(d, r, rel, 1, d, rt); }
  for (let i: usize = 0; i < b; i++) for (let j: usize = 0; j < h; j++) {
    const head = (i * t * h + j) * d * W, offset = (i * s * h + j) * d * W, real_ = keys ? keys + i * s * W : 0;
    const dks = dk ? dk + offset : 0, dvs = dv ? dv + offset : 0, dgs = dgk ? dgk + offset : 0, pks = pk ? pk + offset : 0, pvs = pv ? pv + offset : 0, pgs = pg ? pg + offset : 0;
    // Who gets a whole group's sum: the sources, or, where each place keeps its own, their pasts.
    const toK = edges ? 0 : own ? pks : dks, toV = edges ? 0 : own ? pvs : dvs, toG = edges ? 0 : own ? pgs : dgs;
    packRows(s, d, k + offset, step, 1, kp);
    packRows(s, d, v + offset, step, 1, vp);
    packRows(d, s, k + offset, 1, step, kt);
    if (gk) { packRows(s, d, gk + offset, step, 1, gp); packRows(d, s, gk + offset, 1, step, gt); }
    for (let start: usize = 0; start < t; start += GROUP * NR) {
      const count = (min(GROUP * NR, t - start) + NR - 1) / NR, last = causal ? min(s, s - t + min(t, start + GROUP * NR)) : s;
      for (let g: usize = 0; g < count; g++) {
        const at = start + g * NR, n = min(NR, t - at), first = s - t + at, end = causal ? min(s, first + n) : s, here = head + at * step * W;
        const pt = pts + g * pitch, dt = dts + g * pitch, ut = uts + g * pitch, qr = qrs + g * deep, or = ors + g * deep, gqr = gqrs + g * deep;
        packColumns(d, n, q + here, 1, step, qp);
        packColumns(d, n, dout + here, 1, step, op);
        panels(full(end), d, NR, scale, kp, d, qp, st, NR, false, edge);
        const seen = allowed ? allowed + at * s * W : 0, by = edges ? edges + at * s * W : 0;
        hide(n, s, end, first, causal, seen, real_, st);
        let certain: usize = 0, far: usize = 0; // keys before `certain` are past the last position in every lane; rows of the table reached
        if (table) {
          if (gk) gateLogits(d, n, scale, gq ? gq + here : 0, step, gp, qp, gqp, s, end, first, causal, seen, real_, ut, edge);
          certain = copePlaces(end, p, gk ? ut : st, gates, places);
          far = copeReach(certain, p, places);
          panels(full(far), d, NR, reach, ep, d, gq ? gqp : qp, zt, NR, false, edge);
          copeTable(far, zt, pairs);
          copeLogits(end, p, certain, st, places, pairs);
        }
        if (rel) {
          panels(full(r), d, NR, scale, rp, d, qp, zt, NR, false, edge);
          shift(end, first, r, zt, st, false);
        }
        if (slopes) decline(end, first, load<real>(slopes + j * W), st);
        memory.fill(small, 0, 2 * ROW);
        memory.copy(small, lse + ((i * h + j) * t + at) * W, n * W);
        for (let c: usize = 0; c < n; c++) store<real>(small + ROW + c * W, rowDot(d, dout + here + c * step * W, o + here + c * step * W));
        weights(end, st, small, pt);
        panels(full(end), d, NR, 1, vp, d, op, dt, NR, false, edge);
        logitsBack(end, pt, small + ROW, dt);

        if (toK + toG + dtable + drel + edges) packWideRows(n, d, q + here, step, qr);
        if (toV + edges) packWideRows(n, d, dout + here, step, or);
        if (gq) packWideRows(n, d, gq + here, step, gqr);
        if (rel) {
          memory.fill(dr, 0, full(r) * ROW);
          shift(end, first, r, dr, dt, true);
          if (drel) update(r, d, 1, scale, dr, 0, qr, 0, drel + i * r * d * W, d, edge);
        }
        if (table) {
          memory.fill(dpairs, 0, 2 * (far + 1) * ROW);
          // From here on dt holds the gradient of the content logits, with the gates' added where they read the same; ut that of other gates.
          copeBack(end, p, far, certain, pairs, gates, places, dt, gk ? ut : 0, dpairs, dz);
          if (dtable) update(far, d, 1, reach, dz, 0, gq ? gqr : qr, 0, dtable + i * p * d * W, d, edge);
        }
        if (dq) {
          panels(full(d), end, NR, scale, kt, s, dt, ot, NR, false, edge);
          if (rel) panels(full(d), r, NR, scale, rt, r, dr, ot, NR, true, edge);
          if (table && !gq) gatesToQueries(d, end, far, p, s, scale, reach, et, dz, gk ? gt : 0, ut, ot, true, edge);
          spread(n, d, ot, 0, dq + here, step * W, true, small + 2 * ROW);
        }
        if (dgq) {
          gatesToQueries(d, end, far, p, s, scale, reach, et, dz, gk ? gt : 0, ut, ot, false, edge);
          spread(n, d, ot, 0, dgq + here, step * W, true, small + 2 * ROW);
        }
        if (own || edges) {
          sendApart(n, s, d, end, first, 1, pt, dout + here, or, step, dvs, pvs, own, by, wt, edge);
          sendApart(n, s, d, end, first, scale, dt, q + here, qr, step, dks, pks, own, by, wt, edge);
          if (gk) sendApart(n, s, d, end, first, scale, ut, (gq ? gq : q) + here, gq ? gqr : qr, step, dgs, pgs, own, by, wt, edge);
        }
        if (toV) blank(end, last, pt);
        if (toK) blank(end, last, dt);
        if (toG) blank(end, last, ut);
      }
      if (toV) update(last, d, count, 1, pts, pitch, ors, deep, toV, step, edge);
      if (toK) update(last, d, count, scale, dts, pitch, qrs, deep, toK, step, edge);
      if (toG) update(last, d, count, scale, uts, pitch, gq ? gqrs : qrs, deep, toG, step, edge);
    }
  }
}
/** Leaves in ot, or adds to it, what CoPE sends to the queries of its gates: through the position logits, and through gate keys of their own. */
function gatesToQueries(d: usize, end: usize, far: usize, p: usize, s: usize, scale: real, reach: real, et: usize, dz: usize, gt: usize, ut: usize, ot: usize, add: bool, edge: usize): void {
  panels(full(d), far, NR, reach, et, p, dz, ot, NR, add, edge);
  if (gt) panels(full(d), end, NR, scale, gt, s, ut, ot, NR, true, edge);
}
/** n rows of d numbers, packed by columns NR deep; rows that are not there are zeros. */
function packWideRows(n: usize, d: usize, x: usize, step: usize, to: usize): void {
  if (n == NR) return packColumns(NR, d, x, step, 1, to);
  for (let i: usize = 0; i < d; i += NR)
    for (let c: usize = 0; c < NR; c++)
      for (let l: usize = 0; l < NR; l++, to += W) store<real>(to, c < n && i + l < d ? load<real>(x + (c * step + i + l) * W) : 0);
}
