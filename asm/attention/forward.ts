// forward.ts: attention in one kernel, one sequence and one head after the other; nothing of size t x s is kept.
//
// How the data moves: NR queries at a time (a panel, two vectors of lanes, a lane a query) are transposed and meet all
// keys they may see. Logits lie key by key, NR lanes each, so that maxima, sums, and the running positions of CoPE
// (cope.ts) are vector operations from one key to the next, with no sums over lanes and no transposing; and that layout
// is what the product with the values takes as its right side. A sequence's rows are drawn together first, head by
// head, since in b s h d those of a head lie far apart (forward and backward of b h t d = 8 8 256 32: 42 ms head by
// head, 37 row by row). Nothing is packed further: `tileRows` takes the rows as they are, `tile` their transpose.
// Causal panels stop at their last key. Logits here are exponents of 2, that is log2 e times those of the equations: a
// softmax of 64 keys took 20 cycles a key and panel as powers of e, and 15 so (fused; 28 and 21 exact). A single query
// leaves most lanes of its panel empty: then lanes are heads (query.ts).
import { NR } from "../matmul";
import { finite } from "../row";
import { dot } from "../weigh";
import { AttentionArguments } from "./arguments";
import { makeGates } from "./cope";
import { place, score, setLanes } from "./logits";
import { LOG2E } from "../math";
import { ROW, copyFew, draw, softmaxPanel, spread, times } from "./panel";
import { mixHeads, scoreHeads } from "./query";
import { Workspace, prepare, takeForward } from "./workspace";

const W: usize = sizeof<real>();

/**
 * o_i = Σ_j softmax_j(scale q_i·k_j + what the positions add) v_j for `b` sequences from `first` on. `args`: the
 * address of an AttentionArguments; `work`: the work of a sequence, for whoever divides them.
 */
// threads: b first#1 room@ | 0.2 ns b work
export function attention(args: usize, first: usize, b: usize, work: usize, room: usize): void {
  const a = changetype<AttentionArguments>(args);
  const w = changetype<Workspace>(room);
  takeForward(w, offsetof<Workspace>(), a.h, a.g, a.t, a.s, a.d, a.p, a.r);
  prepare(a, w);
  // Each is read for the last time where the other is written.
  w.gates = w.rests;
  w.indices = w.ut;
  w.rises = 0;
  for (let i = first; i < first + b; i++) {
    w.s = a.counts ? <usize>load<u32>(a.counts + i * 4) : a.s;
    if (a.t == 1) queryOf(a, w, i);
    else queriesOf(a, w, i);
  }
}

/** All queries of sequence i, in panels, head by head. */
function queriesOf(a: AttentionArguments, w: Workspace, i: usize): void {
  const t = a.t;
  drawRows(a, w, i);
  for (let j: usize = 0; j < a.h; j++) {
    chooseHead(a, w, j);
    for (let at: usize = 0; at < t; at += NR) {
      choose(a, w, at);
      score(a, w, j * w.queryBlock + at * w.row);
      place(a, w);
      weigh(a, w, (i * a.h + j) * t + at);
      mix(a, w, w.headV, w.row, a.o + ((i * t + at) * a.h + j) * w.row, a.h * w.row);
    }
  }
}
/** Draws the rows of sequence i together: queries and keys, and those of its gates. */
export function drawRows(a: AttentionArguments, w: Workspace, i: usize): void {
  const h = a.h;
  const g = a.g;
  const t = a.t;
  const d = a.d;
  ofSequence(a, w, i);
  draw(t, h, d, a.q + i * a.qb * W, a.qi * W, w.qs, w.queryBlock);
  draw(w.s, g, d, a.k + i * a.kb * W, a.ki * W, w.ks, w.keyBlock);
  draw(w.s, g, d, a.v + i * a.vb * W, a.vi * W, w.vs, w.keyBlock);
  if (w.gk) draw(w.s, g, w.gateRow / W, w.gk + i * a.gkb * W, a.gki * W, w.gks, w.keyBlock);
  if (w.gq) draw(t, h, d, w.gq + i * a.gqb * W, a.gqi * W, w.gqs, w.queryBlock);
}
/** Which keys of sequence i are padding, and whose they are. */
function ofSequence(a: AttentionArguments, w: Workspace, i: usize): void {
  w.padding = a.keys ? a.keys + i * a.s * W : 0;
  w.documents = a.documents ? a.documents + i * a.s * 4 : 0;
}
/** Chooses the rows, the table and the lanes of head j, and makes the gates that its queries share. */
export function chooseHead(a: AttentionArguments, w: Workspace, j: usize): void {
  const g = (j / w.share) * w.keyBlock;
  w.headK = w.ks + g;
  w.headV = w.vs + g;
  w.headGk = w.gks + g;
  w.table = a.table + j * a.tableh * W;
  if (a.slopes) setLanes(1, LOG2E, a.slopes + j * W, w.slopes);
  if (a.gateBias) setLanes(1, -LOG2E, a.gateBias + j * W, w.shift);
  if (!w.keyGates || !w.gk) return;
  const log2e = v128.splat<real>(LOG2E);
  for (let o: usize = 0; o < w.s * W; o += 16)
    v128.store(w.keyGates + o, v128.mul<real>(log2e, v128.load(w.headGk + o)));
  makeGates(0, (w.s + NR - 1) / NR, w.keyGates, w.shift, w.keyGates);
}
/** Chooses the panel of the queries from `at` on. */
export function choose(a: AttentionArguments, w: Workspace, at: usize): void {
  w.n = min(NR, a.t - at);
  w.first = w.s - a.t + at;
  w.end = a.causal ? min(w.s, w.first + w.n) : w.s;
  w.allowed = a.allowed ? a.allowed + at * a.s * W : 0;
}

/** From logits to weights that are still to be divided by their sum; `at` is the place of the first row's lse. */
function weigh(a: AttentionArguments, w: Workspace, at: usize): void {
  softmaxPanel(w.end, w.st, w.inverse, w.lse, w.edge);
  if (a.lse) copyFew(w.n, w.lse, a.lse + at * W);
}
/** Weights times values, rows `vi` bytes apart, to rows at `o`, `oi` apart. What weighs nothing is not read. */
function mix(a: AttentionArguments, w: Workspace, v: usize, vi: usize, o: usize, oi: usize): void {
  overKeys(w, a.d, 1, v, vi, w.st, ROW, false);
  if (!finite(a.d * NR, w.ot)) overVisible(w, a.d, 1, v, vi, w.st, ROW, false);
  spread(w.n, a.d, w.ot, w.inverse, o, oi, false);
}

/** So many keys are added up at once, and then so many more at a time, in f32; what comes of them in f64. */
const KEYS_AT_ONCE: usize = sizeof<real>() == 4 ? 512 : <usize>-1;
const KEYS_THEN: usize = 32;

/**
 * ot = alpha Σ_j b[j] x[j] over a panel's keys, or ot += when `add`: d rows of lanes, from rows x of numbers and rows b
 * of lanes, `xi` and `bi` bytes apart.
 */
export function overKeys(
  w: Workspace,
  d: usize,
  alpha: real,
  x: usize,
  xi: usize,
  b: usize,
  bi: usize,
  add: bool,
): void {
  const y = w.ot;
  const totals = w.totals;
  let n = min(KEYS_AT_ONCE, w.end);
  for (let j: usize = 0; ; n = min(KEYS_THEN, w.end - j)) {
    if (w.apart) times(d, n, alpha, x + j * xi, W, xi, b + j * bi, bi, y, ROW, add);
    else mixHeads(w, d, n, x + j * xi, xi, b + j * bi);
    if (w.end > KEYS_AT_ONCE)
      for (let o: usize = 0; o < d * NR; o++) {
        const total = <f64>load<real>(y + o * W) + (j ? load<f64>(totals + o * 8) : 0);
        store<f64>(totals + o * 8, total);
        store<real>(y + o * W, <real>total);
      }
    j += n;
    if (j == w.end) return;
    add = false;
  }
}
/** The same, where b is 0 without reading x. */
export function overVisible(
  w: Workspace,
  d: usize,
  alpha: real,
  x: usize,
  xi: usize,
  b: usize,
  bi: usize,
  add: bool,
): void {
  for (let c: usize = 0; c < w.n; c++) {
    const from = w.apart ? x : x + ((w.j + c) / w.share) * w.row;
    for (let i: usize = 0, o = w.ot + c * W; i < d; i++, o += ROW)
      store<real>(o, (add ? load<real>(o) : 0) + alpha * dot(w.end, b + c * W, bi, from + i * W, xi));
  }
}

/** The one query of sequence i, in panels of heads. */
function queryOf(a: AttentionArguments, w: Workspace, i: usize): void {
  ofSequence(a, w, i);
  w.apart = 0;
  w.table = a.table;
  choose(a, w, 0);
  for (let j: usize = 0; j < a.h; j += NR) {
    w.n = min(NR, a.h - j);
    w.j = j;
    if (a.slopes) setLanes(w.n, LOG2E, a.slopes + j * W, w.slopes);
    if (a.gateBias) setLanes(w.n, -LOG2E, a.gateBias + j * W, w.shift);
    scoreHeads(a, w, i, j);
    place(a, w);
    weigh(a, w, i * a.h + j);
    mix(a, w, a.v + i * a.vb * W, a.vi * W, a.o + (i * a.h + j) * w.row, w.row);
  }
}
