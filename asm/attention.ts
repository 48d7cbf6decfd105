// attention.ts: fused attention, forward and backward, one head after the other; nothing of size t x s is kept.
//
// How the data moves: NR queries at a time (a panel, two vectors of lanes, a lane a query) are transposed and meet all keys they may
// see. Logits lie key by key, NR lanes each, so that maxima, sums, and the running positions of CoPE (cope.ts) are vector operations
// from one key to the next, with no sums over lanes and no transposing; and that layout is what the product with the values takes as
// its right side. A head's keys and values are drawn together first, rows touching: in b s h d they lie h d numbers or more apart and fall
// on few sets of the cache (forward and backward of b h t d = 16 4 64 16: 1.57 ms, drawn together 1.48; of 8 8 256 32: 29.4 and 28.6).
// Nothing is packed further: `tileRows` takes the rows as they are, `tile` their transpose. Causal panels stop at their last key.
// Logits here are exponents of 2, that is log2 e times those of the equations: 2^x takes two thirds of the instructions of e^x.
// The backward pass makes logits and weights again from lse, the logarithm of each row's sum. What queries send to keys and values is
// added up for GROUP panels side by side, in registers, then head by head, and last to the gradient.
import { LANES, at } from "./simd";
import { Inlined, LOG2E, exp2Table, log } from "./math";
import { MR, NR, packColumns, tile, tileRows, transpose, transposeAdd } from "./matmul";
import { rowDot } from "./row";
import { copeBack, copeLogits, copePlaces, copeReach, copeTable } from "./cope";

const W: usize = sizeof<real>();
const ROW: usize = NR * W; // bytes of one key's logits
const LEAST: real = sizeof<real>() == 4 ? -3.4028234663852886e38 : <real>-1.7976931348623157e308;

/** Panels of queries in a group. */
const GROUP: usize = 4;
const WIDE: usize = GROUP * ROW; // bytes of one key's numbers for a group
const NEVER: usize = <usize>-1;

/** Numbers of room that `attentionBack` needs, and `attention` with it: the rows of one sequence, drawn together, and one group of queries. */
export function attentionRoom(h: usize, t: usize, s: usize, d: usize, p: usize, r: usize): usize {
  const sides: usize = p ? 3 : 2; // keys, values, and gate keys where there may be some
  return h * sides * (2 * drawn(s, d) + drawn(t, d)) + drawn(t, h) + NR * (4 * d + (4 * GROUP + 3) * s + GROUP * (p + r) + max(p, r) + 4 * (p + 1) + 6 + MR);
}
/** Numbers of n rows of d, in whole vectors. */
function drawn(n: usize, d: usize): usize { return (n * d + LANES - 1) & ~(LANES - 1); }

/**
 * n rows of h heads of d numbers, rows `xi` bytes apart, drawn together head by head, heads `block` bytes apart; returns where they begin.
 * Rows are read from end to end: read head by head, a line here and a line there, they took 27 ns a line from the third cache.
 */
function draw(n: usize, h: usize, d: usize, x: usize, xi: usize, to: usize, block: usize): usize {
  const row = d * W, whole = row & ~15;
  for (let r: usize = 0, at = to; r < n; r++, x += xi, at += row)
    for (let j: usize = 0, from = x, head = at; j < h; j++, from += row, head += block) {
      let o: usize = 0;
      for (; o + 48 < whole; o += 64) {
        v128.store(head + o, v128.load(from + o)); v128.store(head + o, v128.load(from + o, 16), 16);
        v128.store(head + o, v128.load(from + o, 32), 32); v128.store(head + o, v128.load(from + o, 48), 48);
      }
      for (; o < whole; o += 16) v128.store(head + o, v128.load(from + o));
      for (; o < row; o += W) store<real>(head + o, load<real>(from + o));
    }
  return to;
}
/** The transpose: what was drawn together goes to rows `yi` bytes apart, added when `add`. */
function undraw(n: usize, h: usize, d: usize, from: usize, block: usize, y: usize, yi: usize, add: bool): void {
  const row = d * W, whole = row & ~15;
  for (let r: usize = 0; r < n; r++, y += yi, from += row)
    for (let j: usize = 0, to = y, head = from; j < h; j++, to += row, head += block) {
      let o: usize = 0;
      if (add) for (; o < whole; o += 16) v128.store(to + o, v128.add<real>(v128.load(to + o), v128.load(head + o)));
      else for (; o < whole; o += 16) v128.store(to + o, v128.load(head + o));
      for (; o < row; o += W) move(head + o, to + o, add);
    }
}
/** Zeros in whole vectors. */
function clear(n: usize, at: usize): void { for (const end = at + n * W; at < end; at += 16) v128.store(at, v128.splat<real>(0)); }

/** Zeros in n rows of d numbers, `yi` bytes apart. */
function clearRows(n: usize, d: usize, y: usize, yi: usize): void { for (const end = y + n * yi; y != end; y += yi) memory.fill(y, 0, d * W); }

/** y = alpha a b, or y += when `add`: m rows of NR lanes, `yi` bytes apart; a's numbers `ai` and `ak` bytes apart, one of the two being W; rows of b `bk`. */
function times(m: usize, k: usize, alpha: real, a: usize, ai: usize, ak: usize, b: usize, bk: usize, y: usize, yi: usize, add: bool): void {
  if (ai == W) tile(m, k, alpha, a, MR * W, ak, b, bk, add ? y : 0, yi, y, yi);
  else tileRows(m, k, alpha, a, ai, b, bk, add ? y : 0, yi, y, yi);
}

/**
 * What queries send to keys: y (m x d, rows `yi` bytes apart) += alpha Σ_c a[., c] x[c] over `lanes` queries; rows of a lie `ai` bytes apart,
 * those of x `xi`. The query of lane c stands at place `first + c`: keys behind it get nothing from it. `first` NEVER: all get something.
 */
function send(m: usize, d: usize, lanes: usize, first: usize, alpha: real, a: usize, ai: usize, x: usize, xi: usize, y: usize, yi: usize, edge: usize): void {
  for (let i: usize = 0; i < m; i += MR) {
    const rows = min(MR, m - i), skip = first != NEVER && i > first ? i - first : 0, from = a + i * ai + skip * W;
    for (let j: usize = 0; j < d; j += NR) {
      const columns = min(NR, d - j), source = x + skip * xi + j * W, to = y + i * yi + j * W;
      if (columns == NR) tileRows(rows, lanes - skip, alpha, from, ai, source, xi, to, yi, to, yi);
      else {
        tileRows(rows, lanes - skip, alpha, from, ai, source, xi, 0, 0, edge, ROW);
        for (let l: usize = 0; l < rows; l++)
          for (let c: usize = 0; c < columns; c++) store<real>(to + l * yi + c * W, load<real>(to + l * yi + c * W) + load<real>(edge + l * ROW + c * W));
      }
    }
  }
}

/** -Infinity where lane c's query, at place `first + c`, may not see key j (by `allowed`, its row of s numbers, or when causal), and where keys are padding. */
function hide(n: usize, s: usize, end: usize, first: usize, causal: bool, allowed: usize, keys: usize, st: usize): void {
  const never = v128.splat<real>(-Infinity);
  if (allowed) for (let c: usize = 0; c < n; c++)
    for (let j: usize = 0; j < s; j++) if (load<real>(allowed + (c * s + j) * W) == 0) store<real>(st + j * ROW + c * W, -Infinity);
  if (causal) {
    const lanes = memory.data<real>([0, 1, 2, 3, 4, 5, 6, 7]), low = v128.load(lanes), high = v128.load(lanes, 16);
    for (let j = first + 1; j < end; j++) {
      const o = st + j * ROW, before = v128.splat<real>(<real>(j - first));
      v128.store(o, v128.bitselect(never, v128.load(o), v128.lt<real>(low, before)));
      v128.store(o, v128.bitselect(never, v128.load(o, 16), v128.lt<real>(high, before)), 16);
    }
  }
  if (keys) for (let j: usize = 0; j < end; j++) if (load<real>(keys + j * W) == 0) {
    v128.store(st + j * ROW, never);
    v128.store(st + j * ROW, never, 16);
  }
}

/** logits -= slope max(0, place - j), lane c's query being at place `first + c`. */
function decline(end: usize, first: usize, slope: real, st: usize): void {
  const lanes = memory.data<real>([0, 1, 2, 3, 4, 5, 6, 7]), zero = v128.splat<real>(0), by = v128.splat<real>(slope);
  for (let j: usize = 0; j < end; j++, st += ROW) {
    const far = v128.splat<real>(<real>(<isize>(first - j)));
    v128.store(st, v128.sub<real>(v128.load(st), v128.mul<real>(by, v128.pmax<real>(zero, v128.add<real>(far, v128.load(lanes))))));
    v128.store(st, v128.sub<real>(v128.load(st, 16), v128.mul<real>(by, v128.pmax<real>(zero, v128.add<real>(far, v128.load(lanes, 16))))), 16);
  }
}

/**
 * logits (rows `si` bytes apart) += z[min(max(0, place - j), r - 1)], z being r rows of lanes `zi` bytes apart; or, `back`, the transpose:
 * dz[...] += dlogits. Keys at least r - 1 places before the panel all read z's last row. With more queries than keys the first places
 * lie before the first key: `first` is then a negative number, wrapped.
 */
function shift(end: usize, first: usize, r: usize, z: usize, zi: usize, st: usize, si: usize, back: bool): void {
  const last = z + (r - 1) * zi, far = <usize>min<isize>(<isize>end, max<isize>(0, <isize>(first - r + 2)));
  if (back) {
    let sum0 = v128.load(last), sum1 = v128.load(last, 16);
    for (let j: usize = 0; j < far; j++) {
      sum0 = v128.add<real>(sum0, v128.load(st + j * si));
      sum1 = v128.add<real>(sum1, v128.load(st + j * si, 16));
    }
    v128.store(last, sum0);
    v128.store(last, sum1, 16);
  } else {
    const z0 = v128.load(last), z1 = v128.load(last, 16);
    for (let j: usize = 0; j < far; j++) {
      v128.store(st + j * si, v128.add<real>(v128.load(st + j * si), z0));
      v128.store(st + j * si, v128.add<real>(v128.load(st + j * si, 16), z1), 16);
    }
  }
  for (let j = far; j < end; j++)
    for (let c: usize = 0; c < NR; c++) {
      const distance = <usize>max<isize>(0, <isize>(first + c - j)), at = st + j * si + c * W, row = z + min(distance, r - 1) * zi + c * W;
      if (back) store<real>(row, load<real>(row) + load<real>(at));
      else store<real>(at, load<real>(at) + load<real>(row));
    }
}

/** y = 2^(x - by) lane by lane; rows lie ROW apart. Nothing of x may be above `by` by more than rounding. */
function weights(end: usize, x: usize, by: usize, y: usize): void {
  const t = exp2Table(), low = at(t, 0), rounder = at(t, 2), ln2 = at(t, 3), one = at(t, 4), p0 = at(t, 5), p1 = at(t, 6), p2 = at(t, 7), p3 = at(t, 8), p4 = at(t, 9);
  for (const stop = x + end * ROW; x < stop; x += ROW, y += ROW) {
    v128.store(y, Inlined.near2(v128.pmax<real>(v128.sub<real>(v128.load(x), v128.load(by)), low), rounder, ln2, one, p0, p1, p2, p3, p4));
    v128.store(y, Inlined.near2(v128.pmax<real>(v128.sub<real>(v128.load(x, 16), v128.load(by, 16)), low), rounder, ln2, one, p0, p1, p2, p3, p4), 16);
  }
}
/** The weights again, and the gradient of the logits from theirs: pt = 2^(st - lse), dt = pt (dt - delta). Rows of st lie ROW apart, the others `wide`. */
function weightsBack(end: usize, st: usize, lse: usize, delta: usize, pt: usize, dt: usize, wide: usize): void {
  const t = exp2Table(), low = at(t, 0), rounder = at(t, 2), ln2 = at(t, 3), one = at(t, 4), p0 = at(t, 5), p1 = at(t, 6), p2 = at(t, 7), p3 = at(t, 8), p4 = at(t, 9);
  for (const stop = st + end * ROW; st < stop; st += ROW, pt += wide, dt += wide) {
    const a = Inlined.near2(v128.pmax<real>(v128.sub<real>(v128.load(st), v128.load(lse)), low), rounder, ln2, one, p0, p1, p2, p3, p4);
    v128.store(pt, a);
    v128.store(dt, v128.mul<real>(a, v128.sub<real>(v128.load(dt), v128.load(delta))));
    const b = Inlined.near2(v128.pmax<real>(v128.sub<real>(v128.load(st, 16), v128.load(lse, 16)), low), rounder, ln2, one, p0, p1, p2, p3, p4);
    v128.store(pt, b, 16);
    v128.store(dt, v128.mul<real>(b, v128.sub<real>(v128.load(dt, 16), v128.load(delta, 16))), 16);
  }
}
/** st = 2^(st - top) over the keys, each lane's largest logit taken off; leaves 1/Σ in `inverse` and top + log2 Σ in `lse`. Two keys at a time: one maximum or sum alone waits for itself. */
function softmaxPanel(end: usize, st: usize, inverse: usize, lse: usize): void {
  const least = v128.splat<real>(LEAST), zero = v128.splat<real>(0), stop = st + (end & ~1) * ROW;
  let top0 = least, top1 = least, more0 = least, more1 = least;
  for (let o = st; o < stop; o += 2 * ROW) { // pmax is one instruction; of NaN the sum tells
    top0 = v128.pmax<real>(top0, v128.load(o));
    top1 = v128.pmax<real>(top1, v128.load(o, 16));
    more0 = v128.pmax<real>(more0, v128.load(o, ROW));
    more1 = v128.pmax<real>(more1, v128.load(o, ROW + 16));
  }
  if (end & 1) {
    more0 = v128.pmax<real>(more0, v128.load(stop));
    more1 = v128.pmax<real>(more1, v128.load(stop, 16));
  }
  top0 = v128.pmax<real>(top0, more0);
  top1 = v128.pmax<real>(top1, more1);
  v128.store(lse, top0);
  v128.store(lse, top1, 16);
  weights(end, st, lse, st);
  let sum0 = zero, sum1 = zero, rest0 = zero, rest1 = zero;
  for (let o = st; o < stop; o += 2 * ROW) {
    sum0 = v128.add<real>(sum0, v128.load(o));
    sum1 = v128.add<real>(sum1, v128.load(o, 16));
    rest0 = v128.add<real>(rest0, v128.load(o, ROW));
    rest1 = v128.add<real>(rest1, v128.load(o, ROW + 16));
  }
  if (end & 1) {
    rest0 = v128.add<real>(rest0, v128.load(stop));
    rest1 = v128.add<real>(rest1, v128.load(stop, 16));
  }
  settle(top0, v128.add<real>(sum0, rest0), inverse, lse);
  settle(top1, v128.add<real>(sum1, rest1), inverse + 16, lse + 16);
}
/** A query that may see nothing has Σ = 0: its weights are 0, and so is its lse, with which the backward pass makes 0 of -Infinity. */
function settle(top: v128, sum: v128, inverse: usize, lse: usize): void {
  const some = v128.ne<real>(sum, v128.splat<real>(0));
  v128.store(inverse, v128.and(v128.div<real>(v128.splat<real>(1), sum), some));
  v128.store(lse, v128.and(v128.add<real>(top, v128.mul<real>(log(sum), v128.splat<real>(LOG2E))), some));
}

/** The first n lanes of d rows of lanes, times by[lane] (or 1 at address 0), to n rows of d numbers `step` bytes apart; added when `add`. */
function spread(n: usize, d: usize, from: usize, by: usize, y: usize, step: usize, add: bool): void {
  if (by) {
    const b0 = v128.load(by), b1 = v128.load(by, 16);
    for (let o = from; o < from + d * ROW; o += ROW) {
      v128.store(o, v128.mul<real>(b0, v128.load(o)));
      v128.store(o, v128.mul<real>(b1, v128.load(o, 16)), 16);
    }
  }
  const whole = n & ~(LANES - 1);
  for (let c: usize = 0; c < whole; c += LANES) {
    let i: usize = 0;
    for (const most = d & ~(LANES - 1); i < most; i += LANES) {
      if (add) transposeAdd(from + i * ROW + c * W, ROW, y + c * step + i * W, step);
      else transpose(from + i * ROW + c * W, ROW, y + c * step + i * W, step);
    }
    for (; i < d; i++) for (let l: usize = c; l < c + LANES; l++) move(from + i * ROW + l * W, y + l * step + i * W, add);
  }
  for (let c = whole; c < n; c++) for (let i: usize = 0; i < d; i++) move(from + i * ROW + c * W, y + c * step + i * W, add);
}
function move(from: usize, to: usize, add: bool): void {
  store<real>(to, add ? load<real>(to) + load<real>(from) : load<real>(from));
}
/** n <= NR numbers. */
function copyFew(n: usize, from: usize, to: usize): void { for (let i: usize = 0; i < n * W; i += W) store<real>(to + i, load<real>(from + i)); }

/**
 * o_i = Σ_j softmax_j(scale q_i·k_j + what the positions add) v_j for b x h heads; q, o: b t h d, k, v: b s h d, places `qi`, `ki` and
 * `vi` numbers apart (those of gate keys `gi`); queries are the last t of s places. At address 0 where there are none: `keys` (b s, 0 for padding), `allowed` (t s, 0 for what may not be seen), `slopes` (h, ALiBi), `rel` (r d, relative positions, scaled as the
 * logits), `table` (p d, CoPE, scaled by `reach`), `gk` (b s h d, gate keys; the keys themselves unless given), `gq` (gate queries).
 */
export function attention(
  b: usize, h: usize, t: usize, s: usize, d: usize, p: usize, r: usize, qi: usize, ki: usize, vi: usize, gi: usize, causal: bool, scale: real, reach: real,
  q: usize, k: usize, v: usize, table: usize, gq: usize, gk: usize, rel: usize, slopes: usize, keys: usize, allowed: usize, o: usize, lse: usize, room: usize,
): void {
  if (!table) gq = gk = 0;
  if (gq && !gk) { gk = k; gi = ki; }
  const scale2 = scale * LOG2E, reach2 = reach * LOG2E;
  qi *= W; ki *= W; vi *= W; gi *= W;
  const step = h * d * W, qp = room, gqp = qp + d * ROW, ot = gqp + d * ROW, st = ot + d * ROW, ut = st + s * ROW, places = ut + s * ROW;
  const zt = places + s * ROW, pairs = zt + max(p, r) * ROW, small = pairs + 2 * (p + 1) * ROW, near = small + (6 + MR) * ROW, row = d * W;
  const block = drawn(s, d) * W, some = drawn(t, d) * W, qs = near, ks = qs + h * some, vs = ks + h * block, gs = vs + h * block;
  for (let m: usize = 0; m < b * h; m++) {
    const i = m / h, j = m % h, head = (i * t * h + j) * row, real_ = keys ? keys + i * s * W : 0;
    if (!j) {
      draw(t, h, d, q + i * t * qi, qi, qs, some);
      draw(s, h, d, k + i * s * ki, ki, ks, block);
      draw(s, h, d, v + i * s * vi, vi, vs, block);
      if (gk) draw(s, h, d, gk + i * s * gi, gi, gs, block);
    }
    const qc = qs + j * some, kc = ks + j * block, vc = vs + j * block, gc = gk ? gs + j * block : 0;
    for (let at: usize = 0; at < t; at += NR) {
      const n = min(NR, t - at), first = s - t + at, end = causal ? min(s, first + n) : s, here = head + at * step, seen = allowed ? allowed + at * s * W : 0;
      packColumns(d, n, qc + at * row, 1, d, qp);
      times(end, d, scale2, kc, row, W, qp, ROW, st, ROW, false);
      hide(n, s, end, first, causal, seen, real_, st);
      if (table) {
        // Content and gate logits share one scale in every convention, so gates from the keys themselves read the same logits.
        if (gk) gateLogits(d, n, scale2, gq ? gq + here : 0, step, gc, row, qp, gqp, s, end, first, causal, seen, real_, ut);
        // Positions first: only the rows of the table that they reach are multiplied with the queries.
        const certain = copePlaces(end, p, gk ? ut : st, places, places, ut), far = copeReach(certain, p, ut);
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
function gateLogits(d: usize, n: usize, scale: real, gq: usize, step: usize, gk: usize, gi: usize, qp: usize, gqp: usize, s: usize, end: usize, first: usize, causal: bool, allowed: usize, keys: usize, ut: usize): void {
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
/** to = a times the edge weights of a group's queries (rows of s numbers), or times what they hold back when `rest`; nothing of keys that a query does not see. */
function weigh(lanes: usize, s: usize, last: usize, first: usize, edges: usize, rest: bool, a: usize, to: usize, wide: usize): void {
  for (let j: usize = 0; j < last; j++)
    for (let c: usize = 0; c < lanes; c++) {
      const w = load<real>(edges + (c * s + j) * W), x: real = first != NEVER && j > first + c ? 0 : load<real>(a + j * wide + c * W);
      store<real>(to + j * wide + c * W, (rest ? 1 - w : w) * x);
    }
}
/**
 * What a group of queries sends to a source and its past. Ordinarily all goes to the source. With `own` the source gets what each query
 * sends to its own place, the past the rest; with `edges` the source its share and the past the rest. What goes to one side whole is left in
 * `sums`, rows touching, for the head's other groups to add to.
 */
function sendGroup(lanes: usize, s: usize, d: usize, last: usize, place: usize, first: usize, alpha: real, a: usize, x: usize, to: usize, yi: usize, past: usize, pi: usize, own: bool, edges: usize, wt: usize, sums: usize, edge: usize, wide: usize, add: bool): void {
  const row = d * W;
  if (own) for (let c: usize = 0; c < lanes; c++) {
    const o = a + (place + c) * wide + c * W;
    if (!past) rowProduct(d, alpha, load<real>(o), x + c * row, sums + (place + c) * row, true);
    else {
      if (to) rowProduct(d, alpha, load<real>(o), x + c * row, to + (place + c) * yi, add);
      store<real>(o, 0);
    }
  }
  if (edges && !own) {
    if (to) { weigh(lanes, s, last, first, edges, false, a, wt, wide); send(last, d, lanes, first, alpha, wt, wide, x, row, to, yi, edge); }
    if (past) { weigh(lanes, s, last, first, edges, true, a, wt, wide); send(last, d, lanes, first, alpha, wt, wide, x, row, past, pi, edge); }
  } else if (own ? past : to) send(last, d, lanes, first, alpha, a, wide, x, row, sums, row, edge);
}
/** y = alpha (a x) over n numbers, added when `add`: rounded as `send` rounds it, so that a weight of 1 on the diagonal alone gives the same bits. */
function rowProduct(n: usize, alpha: real, a: real, x: usize, y: usize, add: bool): void {
  const whole = (n & ~(LANES - 1)) * W, by = v128.splat<real>(alpha), each = v128.splat<real>(a), zero = v128.splat<real>(0);
  for (let i: usize = 0; i < whole; i += 16) // 0 + v: no -0, as when `send` adds
    v128.store(y + i, v128.add<real>(add ? v128.load(y + i) : zero, v128.mul<real>(by, v128.mul<real>(each, v128.load(x + i)))));
  for (let i = whole; i < n * W; i += W) store<real>(y + i, (add ? load<real>(y + i) : 0) + alpha * (a * load<real>(x + i)));
}

/**
 * Adds the gradients of `attention`. With `own` (myopic training, diagonal) keys, values and gate keys get what their own place sends
 * and nothing else; what other places send goes to the pasts `pk`, `pv`, `pg`, or nowhere: then no product is spent on it. With
 * `edges` (t s) source and past share by weight. `dtable` and `drel` hold a table for each of the b sequences, for the caller to add up:
 * the order of that sum must not depend on who computes which sequence. What `fresh` names (1: dq, 2: dk, 4: dv) is written, not added to;
 * where two of them are one, the later of q, v, k is added.
 */
export function attentionBack(
  b: usize, h: usize, t: usize, s: usize, d: usize, p: usize, r: usize, qi: usize, ki: usize, vi: usize, gi: usize, pki: usize, pvi: usize, pgi: usize,
  causal: bool, scale: real, reach: real, own: bool,
  q: usize, k: usize, v: usize, table: usize, gq: usize, gk: usize, rel: usize, slopes: usize, keys: usize, allowed: usize, edges: usize, o: usize, lse: usize, dout: usize,
  dq: usize, dk: usize, dv: usize, dtable: usize, dgq: usize, dgk: usize, drel: usize, pk: usize, pv: usize, pg: usize, fresh: usize, room: usize,
): void {
  if (!table) gq = gk = dgq = dgk = pg = 0; // gates are read by a table's positions alone
  if (gq && !gk) { gk = k; dgk = dk; pg = pk; gi = ki; pgi = pki; }
  const scale2 = scale * LOG2E, reach2 = reach * LOG2E;
  // Where nothing is sent off the diagonal, nor to a table, there is nothing to add up over panels, and a group is one.
  const alone = own && !pk && !pv && !pg && !table && !rel, side: usize = alone ? 1 : GROUP, wide = side * ROW;
  qi *= W; ki *= W; vi *= W; gi *= W; pki *= W; pvi *= W; pgi *= W;
  const step = h * d * W, qp = room, gqp = qp + d * ROW, op = gqp + d * ROW, ot = op + d * ROW;
  const pts = ot + d * ROW, dts = pts + s * WIDE, uts = dts + s * WIDE, wt = uts + s * WIDE, st = wt + s * WIDE, gates = st + s * ROW, places = gates + s * ROW;
  const dzs = places + s * ROW, drs = dzs + p * WIDE, zt = drs + r * WIDE, pairs = zt + max(p, r) * ROW, dpairs = pairs + 2 * (p + 1) * ROW;
  const small = dpairs + 2 * (p + 1) * ROW, edge = small + 6 * ROW, near = edge + MR * ROW, row = d * W, block = drawn(s, d) * W, some = drawn(t, d) * W;
  const keeps = dk || pk, carries = dv || pv, gated = gk && (dgk || pg), sides: usize = gk ? 3 : 2; // who asked: keys, values, gate keys
  const ks = near, vs = ks + h * block, gs = ks + 2 * h * block, sums = ks + sides * h * block, qs = sums + sides * h * block, os = qs + h * some, gqs = os + h * some, deltas = os + (sides - 1) * h * some;
  for (let i: usize = 0; i < b; i++) {
    const real_ = keys ? keys + i * s * W : 0, all = i * t * h * row;
    const dks = dk ? dk + i * s * ki : 0, dvs = dv ? dv + i * s * vi : 0, dgs = dgk ? dgk + i * s * gi : 0;
    const pks = pk ? pk + i * s * pki : 0, pvs = pv ? pv + i * s * pvi : 0, pgs = pg ? pg + i * s * pgi : 0;
    draw(t, h, d, q + i * t * qi, qi, qs, some);
    draw(t, h, d, dout + all, step, os, some);
    draw(s, h, d, k + i * s * ki, ki, ks, block);
    draw(s, h, d, v + i * s * vi, vi, vs, block);
    if (gk) draw(s, h, d, gk + i * s * gi, gi, gs, block);
    if (gq) draw(t, h, d, gq + all, step, gqs, some);
    for (let m: usize = 0; m < t * h; m++) store<real>(deltas + (m % h * t + m / h) * W, rowDot(d, dout + all + m * row, o + all + m * row));
    if (!edges || own) clear(sides * h * drawn(s, d), sums);
    if (fresh) { // of keys that nobody sends to, and before shares are sent one by one
      const unsent = edges && !own ? s : own ? s - t : 0;
      if (fresh & 2 && dk && (!own || pk)) clearRows(unsent, h * d, dks, ki);
      if (fresh & 4 && dv && (!own || pv)) clearRows(unsent, h * d, dvs, vi);
    }
    for (let j: usize = 0; j < h; j++) for (let start: usize = 0; start < t; start += side * NR) {
      const lanes = min(side * NR, t - start), place = s - t + start, last = causal ? place + lanes : s, mask = causal ? place : NEVER;
      const qc = qs + j * some + start * row, oc = os + j * some + start * row, gqc = gqs + j * some + start * row, kc = ks + j * block, vc = vs + j * block, gc = gk ? gs + j * block : 0;
      let reached: usize = 0; // rows of the table that the group reaches
      if (table) memory.fill(dzs, 0, p * wide);
      if (rel) memory.fill(drs, 0, r * wide);
      for (let g: usize = 0; g * NR < lanes; g++) {
        const at = start + g * NR, n = min(NR, t - at), first = s - t + at, end = causal ? first + n : s, here = all + j * row + at * step, query = i * t * qi + j * row + at * qi, own_ = g * NR * row;
        const pt = pts + g * ROW, dt = dts + g * ROW, ut = gk ? uts + g * ROW : 0, dz = dzs + g * ROW, dr = drs + g * ROW;
        packColumns(d, n, qc + own_, 1, d, qp);
        packColumns(d, n, oc + own_, 1, d, op);
        times(end, d, scale2, kc, row, W, qp, ROW, st, ROW, false);
        const seen = allowed ? allowed + at * s * W : 0;
        hide(n, s, end, first, causal, seen, real_, st);
        let certain: usize = 0, far: usize = 0; // keys before `certain` are past the last position in every lane; rows of the table reached
        if (table) {
          if (gk) gateLogits(d, n, scale2, gq ? gqc + own_ : 0, row, gc, row, qp, gqp, s, end, first, causal, seen, real_, gates);
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
        // From here on dt holds the gradient of the content logits, with the gates' added where they read the same; ut that of other gates.
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
      const column = j * row, to = sums + j * block, next = h * block;
      if (carries) sendGroup(lanes, s, d, last, place, mask, 1, pts, oc, at_(dvs, column), vi, at_(pvs, column), pvi, own, by, wt, to, edge, wide, !(fresh & 4));
      if (keeps) sendGroup(lanes, s, d, last, place, mask, scale, dts, qc, at_(dks, column), ki, at_(pks, column), pki, own, by, wt, to + next, edge, wide, !(fresh & 2));
      if (gated) sendGroup(lanes, s, d, last, place, mask, scale, uts, gq ? gqc : qc, at_(dgs, column), gi, at_(pgs, column), pgi, own, by, wt, to + 2 * next, edge, wide, true);
      if (dtable) send(reached, d, lanes, NEVER, reach, dzs, wide, gq ? gqc : qc, row, dtable + i * p * row, row, edge);
      if (drel) send(r, d, lanes, NEVER, scale, drs, wide, qc, row, drel + i * r * row, row, edge);
    }
    if (edges && !own) continue; // they went to both sides one by one
    settleSums(s, h, d, sums, block, own, dvs, vi, pvs, pvi, !(fresh & 4));
    settleSums(s, h, d, sums + h * block, block, own, dks, ki, pks, pki, !(fresh & 2));
    if (gk) settleSums(s, h, d, sums + 2 * h * block, block, own, dgs, gi, pgs, pgi, true);
  }
}
/** A sequence's sums go to the source; with `own` to the past, and to the source only where there is no past. */
function settleSums(s: usize, h: usize, d: usize, sums: usize, block: usize, own: bool, to: usize, yi: usize, past: usize, pi: usize, add: bool): void {
  if (own && past) undraw(s, h, d, sums, block, past, pi, true);
  else if (to) undraw(s, h, d, sums, block, to, yi, add);
}
/** An address that stays 0, "nobody asked", when moved on. */
function at_(address: usize, by: usize): usize { return address ? address + by : 0; }
/** Leaves in ot, or adds to it, what CoPE sends to the queries of its gates: through the position logits, and through gate keys of their own. */
function gatesToQueries(d: usize, end: usize, far: usize, scale: real, reach: real, table: usize, dz: usize, gk: usize, step: usize, ut: usize, ot: usize, wide: usize, add: bool): void {
  times(d, far, reach, table, W, d * W, dz, wide, ot, ROW, add);
  if (gk) times(d, end, scale, gk, W, step, ut, wide, ot, ROW, true);
}
