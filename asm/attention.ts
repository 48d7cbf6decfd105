// attention.ts: fused attention, forward and backward, one sequence and one head after the other; nothing of size t x s
// is kept.
//
// How the data moves: NR queries at a time (a panel, two vectors of lanes, a lane a query) are transposed and meet all
// keys they may see. Logits lie key by key, NR lanes each, so that maxima, sums, and the running positions of CoPE
// (cope.ts) are vector operations from one key to the next, with no sums over lanes and no transposing; and that layout
// is what the product with the values takes as its right side. A sequence's rows are drawn together first, head by
// head, since in b s h d those of a head lie far apart (forward and backward of b h t d = 8 8 256 32: 42 ms head by
// head, 37 row by row). Nothing is packed further: `tileRows` takes the rows as they are, `tile` their transpose.
// Causal panels stop at their last key. Logits here are exponents of 2, that is log2 e times those of the equations: a
// softmax of 64 keys took 20 cycles a key and panel as powers of e, and 15 so (fused; 28 and 21 exact). The backward
// pass makes logits and weights again from lse, the logarithm of each row's sum. What queries send to keys and values
// is added up for GROUP panels side by side, in registers, then head by head, and last to the gradient.
import { LANES } from "./simd";
import { LOG2E } from "./math";
import { MR, NR, packColumns } from "./matmul";
import {
  NEVER,
  ROW,
  clear,
  clearRows,
  copyFew,
  decline,
  draw,
  drawn,
  hide,
  send,
  shift,
  softmaxPanel,
  spread,
  times,
  undraw,
  weightsBack,
} from "./panel";
import { rowDot } from "./row";
import { copeBack, copeLogits, copePlaces, copeReach, copeTable } from "./cope";

const W: usize = sizeof<real>();
/** Panels of queries in a group. */
const GROUP: usize = 4;
const WIDE: usize = GROUP * ROW; // bytes of one key's numbers for a group

/**
 * Numbers of room that `attentionBack` needs, and `attention` with it: the rows of one sequence, drawn together, and
 * one group of queries.
 */
export function attentionRoom(h: usize, t: usize, s: usize, d: usize, p: usize, r: usize): usize {
  const sides: usize = p ? 3 : 2; // keys, values, and gate keys where there may be some
  return (
    h * sides * (2 * drawn(s, d) + drawn(t, d)) +
    drawn(t, h) +
    NR * (4 * d + (4 * GROUP + 3) * s + GROUP * (p + r) + max(p, r) + 4 * (p + 1) + 6 + MR)
  );
}
/**
 * o_i = Σ_j softmax_j(scale q_i·k_j + what the positions add) v_j for b x h heads; q, o: b t h d, k, v: b s h d, places
 * `qi`, `ki` and `vi` numbers apart (those of gate keys `gi`); queries are the last t of s places. At address 0 where
 * there are none: `keys` (b s, 0 for padding), `allowed` (t s, 0 for what may not be seen), `slopes` (h, ALiBi), `rel`
 * (r d, relative positions, scaled as the logits), `table` (p d, CoPE, scaled by `reach`), `gk` (b s h d, gate keys;
 * the keys themselves unless given), `gq` (gate queries).
 */
export function attention(
  b: usize,
  h: usize,
  t: usize,
  s: usize,
  d: usize,
  p: usize,
  r: usize,
  qi: usize,
  ki: usize,
  vi: usize,
  gi: usize,
  causal: bool,
  scale: real,
  reach: real,
  q: usize,
  k: usize,
  v: usize,
  table: usize,
  gq: usize,
  gk: usize,
  rel: usize,
  slopes: usize,
  keys: usize,
  allowed: usize,
  o: usize,
  lse: usize,
  room: usize,
): void {
  if (!table) gq = gk = 0;
  if (gq && !gk) {
    gk = k;
    gi = ki;
  }
  const scale2 = scale * LOG2E;
  const reach2 = reach * LOG2E;
  qi *= W;
  ki *= W;
  vi *= W;
  gi *= W;
  const step = h * d * W;
  const qp = room;
  const gqp = qp + d * ROW;
  const ot = gqp + d * ROW;
  const st = ot + d * ROW;
  const ut = st + s * ROW;
  const places = ut + s * ROW;
  const zt = places + s * ROW;
  const pairs = zt + max(p, r) * ROW;
  const small = pairs + 2 * (p + 1) * ROW;
  const near = small + (6 + MR) * ROW;
  const row = d * W;
  const block = drawn(s, d) * W;
  const some = drawn(t, d) * W;
  const qs = near;
  const ks = qs + h * some;
  const vs = ks + h * block;
  const gs = vs + h * block;
  for (let m: usize = 0; m < b * h; m++) {
    const i = m / h;
    const j = m % h;
    const head = (i * t * h + j) * row;
    const real_ = keys ? keys + i * s * W : 0;
    if (!j) {
      draw(t, h, d, q + i * t * qi, qi, qs, some);
      draw(s, h, d, k + i * s * ki, ki, ks, block);
      draw(s, h, d, v + i * s * vi, vi, vs, block);
      if (gk) draw(s, h, d, gk + i * s * gi, gi, gs, block);
    }
    const qc = qs + j * some;
    const kc = ks + j * block;
    const vc = vs + j * block;
    const gc = gk ? gs + j * block : 0;
    for (let at: usize = 0; at < t; at += NR) {
      const n = min(NR, t - at);
      const first = s - t + at;
      const end = causal ? min(s, first + n) : s;
      const here = head + at * step;
      const seen = allowed ? allowed + at * s * W : 0;
      packColumns(d, n, qc + at * row, 1, d, qp);
      times(end, d, scale2, kc, row, W, qp, ROW, st, ROW, false);
      hide(n, s, end, first, causal, seen, real_, st);
      if (table) {
        // Content and gate logits share one scale in every convention, so gates from the keys themselves read the same
        // logits.
        if (gk)
          gateLogits(d, n, scale2, gq ? gq + here : 0, step, gc, row, qp, gqp, s, end, first, causal, seen, real_, ut);
        // Positions first: only the rows of the table that they reach are multiplied with the queries.
        const certain = copePlaces(end, p, gk ? ut : st, places, places, ut);
        const far = copeReach(certain, p, ut);
        times(far, d, reach2, table, d * W, W, gq ? gqp : qp, ROW, zt, ROW, false);
        copeTable(far, zt, pairs);
        copeLogits(end, p, certain, st, places, ut, pairs, 0);
      }
      if (rel) {
        times(r, d, scale2, rel, d * W, W, qp, ROW, zt, ROW, false);
        shift(end, first, r, zt, ROW, st, ROW, false);
      }
      if (slopes) decline(end, first, LOG2E * load<real>(slopes + j * W), st);
      softmaxPanel(end, st, small, small + ROW);
      times(d, end, 1, vc, W, row, st, ROW, ot, ROW, false);
      spread(n, d, ot, small, o + here, step, false);
      if (lse) copyFew(n, small + ROW, lse + ((i * h + j) * t + at) * W);
    }
  }
}
function gateLogits(
  d: usize,
  n: usize,
  scale: real,
  gq: usize,
  step: usize,
  gk: usize,
  gi: usize,
  qp: usize,
  gqp: usize,
  s: usize,
  end: usize,
  first: usize,
  causal: bool,
  allowed: usize,
  keys: usize,
  ut: usize,
): void {
  if (gq) packColumns(d, n, gq, 1, step / W, gqp);
  times(end, d, scale, gk, gi, W, gq ? gqp : qp, ROW, ut, ROW, false);
  hide(n, s, end, first, causal, allowed, keys, ut);
}

/** Zeros for one panel in the keys from `end` on, as far as `send` reads them for panels of its group that see more. */
function blank(end: usize, last: usize, a: usize, wide: usize): void {
  for (let o = a + end * wide; o < a + min(last, end + MR) * wide; o += wide) {
    v128.store(o, v128.splat<real>(0));
    v128.store(o, v128.splat<real>(0), 16);
  }
}
/**
 * to = a times the edge weights of a group's queries (rows of s numbers), or times what they hold back when `rest`;
 * nothing of keys that a query does not see.
 */
function weigh(
  lanes: usize,
  s: usize,
  last: usize,
  first: usize,
  edges: usize,
  rest: bool,
  a: usize,
  to: usize,
  wide: usize,
): void {
  for (let j: usize = 0; j < last; j++)
    for (let c: usize = 0; c < lanes; c++) {
      const w = load<real>(edges + (c * s + j) * W);
      const x: real = first != NEVER && j > first + c ? 0 : load<real>(a + j * wide + c * W);
      store<real>(to + j * wide + c * W, (rest ? 1 - w : w) * x);
    }
}
/**
 * What a group of queries sends to a source and its past. Ordinarily all goes to the source. With `own` the source gets
 * what each query sends to its own place, the past the rest; with `edges` the source its share and the past the rest.
 * What goes to one side whole is left in `sums`, rows touching, for the head's other groups to add to.
 */
function sendGroup(
  lanes: usize,
  s: usize,
  d: usize,
  last: usize,
  place: usize,
  first: usize,
  alpha: real,
  a: usize,
  x: usize,
  to: usize,
  yi: usize,
  past: usize,
  pi: usize,
  own: bool,
  edges: usize,
  wt: usize,
  sums: usize,
  edge: usize,
  wide: usize,
  add: bool,
): void {
  const row = d * W;
  if (own)
    for (let c: usize = 0; c < lanes; c++) {
      const o = a + (place + c) * wide + c * W;
      if (!past) rowProduct(d, alpha, load<real>(o), x + c * row, sums + (place + c) * row, true);
      else {
        if (to) rowProduct(d, alpha, load<real>(o), x + c * row, to + (place + c) * yi, add);
        store<real>(o, 0);
      }
    }
  if (edges && !own) {
    if (to) {
      weigh(lanes, s, last, first, edges, false, a, wt, wide);
      send(last, d, lanes, first, alpha, wt, wide, x, row, to, yi, edge);
    }
    if (past) {
      weigh(lanes, s, last, first, edges, true, a, wt, wide);
      send(last, d, lanes, first, alpha, wt, wide, x, row, past, pi, edge);
    }
  } else if (own ? past : to) send(last, d, lanes, first, alpha, a, wide, x, row, sums, row, edge);
}
/**
 * y = alpha (a x) over n numbers, added when `add`: rounded as `send` rounds it, so that a weight of 1 on the diagonal
 * alone gives the same bits.
 */
function rowProduct(n: usize, alpha: real, a: real, x: usize, y: usize, add: bool): void {
  const whole = (n & ~(LANES - 1)) * W;
  const by = v128.splat<real>(alpha);
  const each = v128.splat<real>(a);
  const zero = v128.splat<real>(0);
  for (let i: usize = 0; i < whole; i += 16)
    // 0 + v: no -0, as when `send` adds
    v128.store(
      y + i,
      v128.add<real>(add ? v128.load(y + i) : zero, v128.mul<real>(by, v128.mul<real>(each, v128.load(x + i)))),
    );
  for (let i = whole; i < n * W; i += W)
    store<real>(y + i, (add ? load<real>(y + i) : 0) + alpha * (a * load<real>(x + i)));
}

/**
 * Adds the gradients of `attention`. With `own` (myopic training, diagonal) keys, values and gate keys get what their
 * own place sends and nothing else; what other places send goes to the pasts `pk`, `pv`, `pg`, or nowhere: then no
 * product is spent on it. With `edges` (t s) source and past share by weight. `dtable` and `drel` hold a table for each
 * of the b sequences, for the caller to add up: the order of that sum must not depend on who computes which sequence.
 * What `fresh` names (1: dq, 2: dk, 4: dv) is written, not added to; where two of them are one, the later of q, v, k is
 * added.
 */
export function attentionBack(
  b: usize,
  h: usize,
  t: usize,
  s: usize,
  d: usize,
  p: usize,
  r: usize,
  qi: usize,
  ki: usize,
  vi: usize,
  gi: usize,
  pki: usize,
  pvi: usize,
  pgi: usize,
  causal: bool,
  scale: real,
  reach: real,
  own: bool,
  q: usize,
  k: usize,
  v: usize,
  table: usize,
  gq: usize,
  gk: usize,
  rel: usize,
  slopes: usize,
  keys: usize,
  allowed: usize,
  edges: usize,
  o: usize,
  lse: usize,
  dout: usize,
  dq: usize,
  dk: usize,
  dv: usize,
  dtable: usize,
  dgq: usize,
  dgk: usize,
  drel: usize,
  pk: usize,
  pv: usize,
  pg: usize,
  fresh: usize,
  room: usize,
): void {
  if (!table) gq = gk = dgq = dgk = pg = 0; // gates are read by a table's positions alone
  if (gq && !gk) {
    gk = k;
    dgk = dk;
    pg = pk;
    gi = ki;
    pgi = pki;
  }
  const scale2 = scale * LOG2E;
  const reach2 = reach * LOG2E;
  // Where nothing is sent off the diagonal, nor to a table, there is nothing to add up over panels, and a group is one.
  const alone = own && !pk && !pv && !pg && !table && !rel;
  const side: usize = alone ? 1 : GROUP;
  const wide = side * ROW;
  qi *= W;
  ki *= W;
  vi *= W;
  gi *= W;
  pki *= W;
  pvi *= W;
  pgi *= W;
  const step = h * d * W;
  const qp = room;
  const gqp = qp + d * ROW;
  const op = gqp + d * ROW;
  const ot = op + d * ROW;
  const pts = ot + d * ROW;
  const dts = pts + s * WIDE;
  const uts = dts + s * WIDE;
  const wt = uts + s * WIDE;
  const st = wt + s * WIDE;
  const gates = st + s * ROW;
  const places = gates + s * ROW;
  const dzs = places + s * ROW;
  const drs = dzs + p * WIDE;
  const zt = drs + r * WIDE;
  const pairs = zt + max(p, r) * ROW;
  const dpairs = pairs + 2 * (p + 1) * ROW;
  const small = dpairs + 2 * (p + 1) * ROW;
  const edge = small + 6 * ROW;
  const near = edge + MR * ROW;
  const row = d * W;
  const block = drawn(s, d) * W;
  const some = drawn(t, d) * W;
  const keeps = dk || pk;
  const carries = dv || pv;
  const gated = gk && (dgk || pg);
  const sides: usize = gk ? 3 : 2; // who asked: keys, values, gate keys
  const ks = near;
  const vs = ks + h * block;
  const gs = ks + 2 * h * block;
  const sums = ks + sides * h * block;
  const qs = sums + sides * h * block;
  const os = qs + h * some;
  const gqs = os + h * some;
  const deltas = os + (sides - 1) * h * some;
  for (let i: usize = 0; i < b; i++) {
    const real_ = keys ? keys + i * s * W : 0;
    const all = i * t * h * row;
    const dks = dk ? dk + i * s * ki : 0;
    const dvs = dv ? dv + i * s * vi : 0;
    const dgs = dgk ? dgk + i * s * gi : 0;
    const pks = pk ? pk + i * s * pki : 0;
    const pvs = pv ? pv + i * s * pvi : 0;
    const pgs = pg ? pg + i * s * pgi : 0;
    draw(t, h, d, q + i * t * qi, qi, qs, some);
    draw(t, h, d, dout + all, step, os, some);
    draw(s, h, d, k + i * s * ki, ki, ks, block);
    draw(s, h, d, v + i * s * vi, vi, vs, block);
    if (gk) draw(s, h, d, gk + i * s * gi, gi, gs, block);
    if (gq) draw(t, h, d, gq + all, step, gqs, some);
    for (let m: usize = 0; m < t * h; m++)
      store<real>(deltas + ((m % h) * t + m / h) * W, rowDot(d, dout + all + m * row, o + all + m * row));
    if (own ? !alone : !edges) clear(sides * h * drawn(s, d), sums);
    if (fresh) {
      // of keys that nobody sends to, and before shares are sent one by one
      const unsent = edges && !own ? s : own ? s - t : 0;
      if (fresh & 2 && dk && (!own || pk || alone)) clearRows(unsent, h * d, dks, ki);
      if (fresh & 4 && dv && (!own || pv || alone)) clearRows(unsent, h * d, dvs, vi);
    }
    for (let j: usize = 0; j < h; j++)
      for (let start: usize = 0; start < t; start += side * NR) {
        const lanes = min(side * NR, t - start);
        const place = s - t + start;
        const last = causal ? place + lanes : s;
        const mask = causal ? place : NEVER;
        const qc = qs + j * some + start * row;
        const oc = os + j * some + start * row;
        const gqc = gqs + j * some + start * row;
        const kc = ks + j * block;
        const vc = vs + j * block;
        const gc = gk ? gs + j * block : 0;
        let reached: usize = 0; // rows of the table that the group reaches
        if (table) memory.fill(dzs, 0, p * wide);
        if (rel) memory.fill(drs, 0, r * wide);
        for (let g: usize = 0; g * NR < lanes; g++) {
          const at = start + g * NR;
          const n = min(NR, t - at);
          const first = s - t + at;
          const end = causal ? first + n : s;
          const here = all + j * row + at * step;
          const query = i * t * qi + j * row + at * qi;
          const own_ = g * NR * row;
          const pt = pts + g * ROW;
          const dt = dts + g * ROW;
          const ut = gk ? uts + g * ROW : 0;
          const dz = dzs + g * ROW;
          const dr = drs + g * ROW;
          packColumns(d, n, qc + own_, 1, d, qp);
          packColumns(d, n, oc + own_, 1, d, op);
          times(end, d, scale2, kc, row, W, qp, ROW, st, ROW, false);
          const seen = allowed ? allowed + at * s * W : 0;
          hide(n, s, end, first, causal, seen, real_, st);
          let certain: usize = 0;
          // keys before `certain` are past the last position in every lane; rows of the table reached
          let far: usize = 0;
          if (table) {
            if (gk)
              gateLogits(
                d,
                n,
                scale2,
                gq ? gqc + own_ : 0,
                row,
                gc,
                row,
                qp,
                gqp,
                s,
                end,
                first,
                causal,
                seen,
                real_,
                gates,
              );
            certain = copePlaces(end, p, gk ? gates : st, gates, places, wt);
            far = copeReach(certain, p, wt);
            reached = max(reached, far);
            times(far, d, reach2, table, d * W, W, gq ? gqp : qp, ROW, zt, ROW, false);
            copeTable(far, zt, pairs);
            copeLogits(end, p, certain, st, places, wt, pairs, wt + s * ROW);
          }
          if (rel) {
            times(r, d, scale2, rel, d * W, W, qp, ROW, zt, ROW, false);
            shift(end, first, r, zt, ROW, st, ROW, false);
          }
          if (slopes) decline(end, first, LOG2E * load<real>(slopes + j * W), st);
          clear(2 * NR, small);
          copyFew(n, lse + ((i * h + j) * t + at) * W, small);
          copyFew(n, deltas + (j * t + at) * W, small + ROW);
          times(end, d, 1, vc, row, W, op, ROW, dt, wide, false);
          weightsBack(end, st, small, small + ROW, pt, dt, wide);
          if (rel) shift(end, first, r, dr, wide, dt, wide, true);
          // From here on dt holds the gradient of the content logits, with the gates' added where they read the same;
          // ut that of other gates.
          if (table) copeBack(end, p, far, certain, gates, places, wt, wt + s * ROW, dt, ut, wide, dpairs, dz);
          if (dq) {
            times(d, end, scale, kc, W, row, dt, wide, ot, ROW, false);
            if (rel) times(d, r, scale, rel, W, d * W, dr, wide, ot, ROW, true);
            if (table && !gq) gatesToQueries(d, end, far, scale, reach, table, dz, gc, row, ut, ot, wide, true);
            spread(n, d, ot, 0, dq + query, qi, !(fresh & 1));
          }
          if (dgq) {
            gatesToQueries(d, end, far, scale, reach, table, dz, gc, row, ut, ot, wide, false);
            spread(n, d, ot, 0, dgq + here, step, true);
          }
          if (carries) blank(end, last, pt, wide);
          if (keeps) blank(end, last, dt, wide);
          if (gated) blank(end, last, ut, wide);
        }
        const by = edges ? edges + start * s * W : 0;
        if (alone) {
          // its diagonal is kept where others keep sums
          for (let c: usize = 0; c < lanes; c++) {
            const o = (place + c) * ROW + c * W;
            const to = sums + (j * t + start + c) * W;
            store<real>(to, load<real>(pts + o));
            store<real>(to + h * t * W, load<real>(dts + o));
          }
          continue;
        }
        const column = j * row;
        const to = sums + j * block;
        const next = h * block;
        if (carries)
          sendGroup(
            lanes,
            s,
            d,
            last,
            place,
            mask,
            1,
            pts,
            oc,
            onward(dvs, column),
            vi,
            onward(pvs, column),
            pvi,
            own,
            by,
            wt,
            to,
            edge,
            wide,
            !(fresh & 4),
          );
        if (keeps)
          sendGroup(
            lanes,
            s,
            d,
            last,
            place,
            mask,
            scale,
            dts,
            qc,
            onward(dks, column),
            ki,
            onward(pks, column),
            pki,
            own,
            by,
            wt,
            to + next,
            edge,
            wide,
            !(fresh & 2),
          );
        if (gated)
          sendGroup(
            lanes,
            s,
            d,
            last,
            place,
            mask,
            scale,
            uts,
            gq ? gqc : qc,
            onward(dgs, column),
            gi,
            onward(pgs, column),
            pgi,
            own,
            by,
            wt,
            to + 2 * next,
            edge,
            wide,
            true,
          );
        if (dtable)
          send(reached, d, lanes, NEVER, reach, dzs, wide, gq ? gqc : qc, row, dtable + i * p * row, row, edge);
        if (drel) send(r, d, lanes, NEVER, scale, drs, wide, qc, row, drel + i * r * row, row, edge);
      }
    if (edges && !own) continue; // they went to both sides one by one
    if (alone) {
      for (let m: usize = 0; m < t * h; m++) {
        const c = m / h;
        const j = m % h;
        const a = sums + (j * t + c) * W;
        const to = s - t + c;
        if (dv) rowProduct(d, 1, load<real>(a), dout + all + m * row, dvs + to * vi + j * row, !(fresh & 4));
        if (dk)
          rowProduct(
            d,
            scale,
            load<real>(a + h * t * W),
            q + (i * t + c) * qi + j * row,
            dks + to * ki + j * row,
            !(fresh & 2),
          );
      }
      continue;
    }
    settleSums(s, h, d, sums, block, own, dvs, vi, pvs, pvi, !(fresh & 4));
    settleSums(s, h, d, sums + h * block, block, own, dks, ki, pks, pki, !(fresh & 2));
    if (gk) settleSums(s, h, d, sums + 2 * h * block, block, own, dgs, gi, pgs, pgi, true);
  }
}
/** A sequence's sums go to the source; with `own` to the past, and to the source only where there is no past. */
function settleSums(
  s: usize,
  h: usize,
  d: usize,
  sums: usize,
  block: usize,
  own: bool,
  to: usize,
  yi: usize,
  past: usize,
  pi: usize,
  add: bool,
): void {
  if (own && past) undraw(s, h, d, sums, block, past, pi, true);
  else if (to) undraw(s, h, d, sums, block, to, yi, add);
}
/** An address that stays 0, "nobody asked", when moved on. */
function onward(address: usize, by: usize): usize {
  return address ? address + by : 0;
}
/**
 * Leaves in ot, or adds to it, what CoPE sends to the queries of its gates: through the position logits, and through
 * gate keys of their own.
 */
function gatesToQueries(
  d: usize,
  end: usize,
  far: usize,
  scale: real,
  reach: real,
  table: usize,
  dz: usize,
  gk: usize,
  step: usize,
  ut: usize,
  ot: usize,
  wide: usize,
  add: bool,
): void {
  times(d, far, reach, table, W, d * W, dz, wide, ot, ROW, add);
  if (gk) times(d, end, scale, gk, W, step, ut, wide, ot, ROW, true);
}
