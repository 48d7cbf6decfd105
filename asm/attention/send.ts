// send.ts: what queries send back to keys, values and gate keys, each of which has a source and perhaps a past, the
// same computed from a stopped state (myopic training).
//
// Ordinarily all goes to the source. With `own` the source gets what each query sends to its own place, and the past
// the rest; with `edges` the source gets its share and the past the rest. What goes to one side whole is added up head
// by head for a sequence, in rows that touch, and then goes to the gradient; the rest goes there group by group.
import { narrow, put, widenAll } from "../columns";
import { LANES, keepIf, sumLanes } from "../simd";
import { MR } from "../matmul";
import { AttentionBackArguments } from "./arguments";
import { MANY, NEVER, ROW, drawn, send, undraw } from "./panel";
import { BackWorkspace, GROUP, GRADIENTS, Gradient, SIDES } from "./workspace";

const W: usize = sizeof<real>();

/** The sides, in this order. */
export const VALUES: usize = 0;
export const KEYS: usize = 1;
export const GATE_KEYS: usize = 2;

/** Where those of sources and those of pasts begin among the gradients. */
const SOURCES: usize = 2;
const PASTS: usize = SOURCES + SIDES;
/** The n-th gradient. */
export function gradient(w: BackWorkspace, n: usize): Gradient {
  return changetype<Gradient>(w.gradients + n * offsetof<Gradient>());
}
/** Takes over the n-th from its argument, an address and the flag that follows it. */
function keep(w: BackWorkspace, n: usize, argument: usize, i: usize, b: usize): void {
  const x = gradient(w, n);
  x.all = load<usize>(argument);
  x.add = load<u32>(argument, sizeof<usize>());
  x.early = 0;
  x.i = i * W;
  x.b = b * W;
}

/** What holds for every sequence of a call: who gets what, and whether it is written or added. */
export function prepareGradients(a: AttentionBackArguments, w: BackWorkspace): void {
  w.shared = a.edges != 0 && !a.own;
  // Where nothing is sent off the diagonal, nor to a table, there is nothing to add up over panels: a group is one.
  w.alone = a.own != 0 && !a.pk && !a.pv && !a.pg && !a.table && !a.rel;
  w.panels = w.alone ? 1 : GROUP;
  w.wide = w.panels * ROW;
  const args = changetype<usize>(a);
  keep(w, 0, args + offsetof<AttentionBackArguments>("dq"), a.qi, a.qb);
  keep(w, 1, args + offsetof<AttentionBackArguments>("dgq"), a.gqi, a.gqb);
  keep(w, SOURCES + VALUES, args + offsetof<AttentionBackArguments>("dv"), a.vi, a.vb);
  keep(w, SOURCES + KEYS, args + offsetof<AttentionBackArguments>("dk"), a.ki, a.kb);
  keep(w, SOURCES + GATE_KEYS, args + offsetof<AttentionBackArguments>("dgk"), a.gki, a.gkb);
  keep(w, PASTS + VALUES, args + offsetof<AttentionBackArguments>("pv"), a.pvi, a.pvb);
  keep(w, PASTS + KEYS, args + offsetof<AttentionBackArguments>("pk"), a.pki, a.pkb);
  keep(w, PASTS + GATE_KEYS, args + offsetof<AttentionBackArguments>("pg"), a.pgi, a.pgb);
  join(w, w.shared && !a.causal);
}
/**
 * Of gradients in one place the first is written, unless all are to be added, and the later ones are added. So it is
 * where gate keys are the keys or the values, and where one tensor is query, key and value. Shares are `sent` group by
 * group to keys on both sides: what the queries of later groups are still to write must not undo them.
 */
function join(w: BackWorkspace, sent: bool): void {
  for (let n: usize = 1; n < GRADIENTS; n++)
    for (let m: usize = 0; m < n; m++) {
      const first = gradient(w, m);
      const later = gradient(w, n);
      if (!later.all || later.all != first.all) continue;
      first.add &= later.add;
      later.add = 1;
      if (sent && m < SOURCES && n >= SOURCES && !first.add) first.early = 1;
    }
}

/** Turns to sequence i, and clears what is not written whole: rows nobody sends to, and what is sent to bit by bit. */
export function beginGradients(a: AttentionBackArguments, w: BackWorkspace, i: usize): void {
  for (let n: usize = 0; n < GRADIENTS; n++) {
    const x = gradient(w, n);
    x.to = x.all ? x.all + i * x.b : 0;
    if (!x.to || x.add) continue;
    const rows = unwritten(a, w, n);
    const heads = n < SOURCES ? a.h : a.g;
    const row = n >= SOURCES ? rowOf(w, (n - SOURCES) % SIDES) : w.row;
    for (let m: usize = 0; m < rows; m++) memory.fill(x.to + m * x.i, 0, heads * row);
  }
}
/** How many of its first rows are to be cleared. */
function unwritten(a: AttentionBackArguments, w: BackWorkspace, n: usize): usize {
  const s = w.s;
  const t = a.t;
  if (gradient(w, n).early) return t;
  if (n < SOURCES) return n && !w.gq ? t : 0;
  if ((n - SOURCES) % SIDES == GATE_KEYS && !w.gk) return s;
  if (n >= PASTS) return a.own ? 0 : s;
  if (w.shared) return s;
  return a.own && (w.alone || gradient(w, n + SIDES).all) ? s - t : 0;
}
/** What was added up over a sequence goes to the gradients. */
export function endGradients(a: AttentionBackArguments, w: BackWorkspace, i: usize): void {
  if (w.shared) return; // it went there group by group
  if (w.alone) return sendDiagonals(a, w, i);
  for (let side: usize = 0; side < (w.gk ? SIDES : GATE_KEYS); side++) {
    const past = gradient(w, PASTS + side);
    const x = a.own && past.to ? past : gradient(w, SOURCES + side);
    const d = rowOf(w, side) / W;
    if (x.to) undraw(w.s, a.g, d, w.sums + side * a.g * w.keyBlock, w.keyBlock, x.to, x.i, x.add != 0);
  }
}
/**
 * Where many queries send: adds what lies in the gradients and sums of the head to sums in double precision and clears
 * it there; after the `last` queries the sums go there.
 */
export function widenSums(a: AttentionBackArguments, w: BackWorkspace, last: bool): void {
  if (a.t <= MANY || w.alone) return;
  const sides = w.gk ? SIDES : GATE_KEYS;
  const wide = a.s * drawn(1, a.d) * 8;
  let t = w.wideSums;
  for (let side: usize = 0; side < sides; side++) {
    const row = rowOf(w, side);
    for (let n = SOURCES; n <= PASTS; n += SIDES, t += wide) {
      const x = gradient(w, n + side);
      if (w.shared && x.to) widenRows(w.last, row, x.to + w.g * row, x.i, t, last);
      if (!w.shared && n == SOURCES) widenRows(1, w.keyBlock, w.sums + (side * a.g + w.g) * w.keyBlock, 0, t, last);
    }
  }
  if (w.dtable) widenRows(1, a.p * w.row, w.dtable, 0, t, last);
  if (w.drel) widenRows(1, a.r * w.row, w.drel, 0, t + drawn(a.p, a.d) * 8, last);
}
/** The same for n rows at y, `step` bytes apart, whose sums are at t. */
function widenRows(n: usize, row: usize, y: usize, step: usize, t: usize, last: bool): void {
  const keep = keepIf(false);
  for (; n; n--, y += step) {
    widenAll(row, y, t);
    for (let o: usize = 0; o < row; o += 16, t += 128 / W)
      put(last ? narrow(t) : v128.splat<real>(0), y + o, y + row, keep);
  }
}
/** Bytes of what a head has for a side at one key. */
function rowOf(w: BackWorkspace, side: usize): usize {
  return side == GATE_KEYS ? w.gateRow : w.row;
}

/** What a group of queries sends to a side: key by key, in multiples of the queries' own rows. */
export function sentTo(w: BackWorkspace, side: usize): usize {
  return w.sent + side * w.s * GROUP * ROW;
}
/** Zeros in a panel's keys from its last on, as far as `send` reads them for panels of its group that see more. */
export function blank(w: BackWorkspace, sent: usize): void {
  const wide = w.wide;
  for (let o = sent + w.end * wide, stop = sent + min(w.last, w.end + MR) * wide; o < stop; o += wide) {
    v128.store(o, v128.splat<real>(0));
    v128.store(o, v128.splat<real>(0), 16);
  }
}
/** Sends to a side what a group's queries have for it; x: their rows, 0 where the side is a number a key. */
export function sendGroup(a: AttentionBackArguments, w: BackWorkspace, side: usize, x: usize): void {
  const source = gradient(w, SOURCES + side);
  const past = gradient(w, PASTS + side);
  const row = rowOf(w, side);
  const column = w.g * row;
  const alpha: real = side == VALUES ? 1 : <real>a.scale;
  const sent = sentTo(w, side);
  const sums = w.sums + (side * a.g + w.g) * w.keyBlock;
  if (!source.to && !past.to) return;
  if (a.own) sendOwn(w, source, alpha, sent, x, row, past.to ? 0 : sums);
  if (w.shared) {
    for (let rest: usize = 0; rest < 2; rest++) {
      const y = rest ? past : source;
      if (!y.to) continue;
      share(a, w, rest != 0, sent);
      sendAll(w, w.last, w.seeing, alpha, w.shares, x, y.to + column, y.i);
    }
  } else if (a.own ? past.to : source.to) sendAll(w, w.last, w.seeing, alpha, sent, x, sums, row);
}
/** What a group's queries x send to n rows at y; to n numbers, what it has for them, where x is 0. */
export function sendAll(
  w: BackWorkspace,
  n: usize,
  seeing: usize,
  alpha: real,
  sent: usize,
  x: usize,
  y: usize,
  yi: usize,
): void {
  if (!x) return total(w, n, seeing, sent, y, yi);
  send(n, w.row / W, w.lanes, seeing, alpha, sent, w.wide, x, w.row, y, yi, w.edge);
}
/** y[j] += Σ over the queries that see key j of what they send it. */
function total(w: BackWorkspace, n: usize, seeing: usize, sent: usize, y: usize, yi: usize): void {
  for (let j: usize = 0; j < n; j++, sent += w.wide, y += yi) {
    let c = seeing != NEVER && j > seeing ? j - seeing : 0;
    let sum: real = 0;
    for (; c < w.lanes && c % LANES; c++) sum += load<real>(sent + c * W);
    let sums = v128.splat<real>(0);
    for (; c + LANES <= w.lanes; c += LANES) sums = v128.add<real>(sums, v128.load(sent + c * W));
    for (; c < w.lanes; c++) sum += load<real>(sent + c * W);
    store<real>(y, load<real>(y) + (sum + sumLanes(sums)));
  }
}
/** What each query sends to its own place: to the sums, or, at 0, to the source, and then it is sent no further. */
function sendOwn(
  w: BackWorkspace,
  source: Gradient,
  alpha: real,
  sent: usize,
  x: usize,
  row: usize,
  sums: usize,
): void {
  const add = source.add != 0 || w.j % w.share != 0;
  for (let c: usize = 0; c < w.lanes; c++) {
    const place = w.place + c;
    const o = sent + place * w.wide + c * W;
    const to = sums ? sums + place * row : source.to ? source.to + w.g * row + place * source.i : 0;
    if (to && x) rowProduct(row / W, alpha, load<real>(o), x + c * row, to, sums != 0 || add);
    else if (to) store<real>(to, (sums != 0 || add ? load<real>(to) : 0) + load<real>(o));
    if (!sums) store<real>(o, 0);
  }
}
/** The edges' share of what is sent, or the `rest` of it; nothing to keys that a query does not see. */
function share(a: AttentionBackArguments, w: BackWorkspace, rest: bool, sent: usize): void {
  const edges = a.edges + w.start * a.s * W;
  for (let j: usize = 0; j < w.last; j++)
    for (let c: usize = 0; c < w.lanes; c++) {
      const o = j * w.wide + c * W;
      const edge = load<real>(edges + (c * a.s + j) * W);
      const x: real = w.seeing != NEVER && j > w.seeing + c ? 0 : load<real>(sent + o);
      store<real>(w.shares + o, (rest ? 1 - edge : edge) * x);
    }
}

/** Keeps, of a group of one panel, what each query sends to its own place. */
export function keepDiagonal(a: AttentionBackArguments, w: BackWorkspace): void {
  for (let c: usize = 0; c < w.lanes; c++) {
    const o = (w.place + c) * w.wide + c * W;
    const to = w.diagonals + (w.j * a.t + w.start + c) * W;
    store<real>(to, load<real>(sentTo(w, VALUES) + o));
    store<real>(to + a.h * a.t * W, load<real>(sentTo(w, KEYS) + o));
  }
}
/** Sends the diagonals of sequence i, row by row. */
function sendDiagonals(a: AttentionBackArguments, w: BackWorkspace, i: usize): void {
  const h = a.h;
  const t = a.t;
  const row = w.row;
  for (let m: usize = 0; m < t * h; m++) {
    const c = m / h;
    const j = m % h;
    for (let side: usize = 0; side < GATE_KEYS; side++) {
      const x = gradient(w, SOURCES + side);
      if (!x.to) continue;
      const from = w.diagonals + ((side * h + j) * t + c) * W;
      const sender = side ? a.q + (i * a.qb + c * a.qi) * W + j * row : a.dout + (i * t * h + m) * row;
      const to = x.to + (w.s - t + c) * x.i + (j / w.share) * row;
      rowProduct(a.d, side ? <real>a.scale : 1, load<real>(from), sender, to, x.add != 0 || j % w.share != 0);
    }
  }
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
  // 0 + v: no -0, as when `send` adds
  for (let i: usize = 0; i < whole; i += 16) {
    const v = v128.mul<real>(by, v128.mul<real>(each, v128.load(x + i)));
    v128.store(y + i, v128.add<real>(add ? v128.load(y + i) : zero, v));
  }
  for (let i = whole; i < n * W; i += W)
    store<real>(y + i, (add ? load<real>(y + i) : 0) + alpha * (a * load<real>(x + i)));
}
