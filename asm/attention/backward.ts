// backward.ts: the gradients of attention. Logits and weights are made again as in forward.ts, panel by panel, from the
// logarithm of each row's sum; then the steps go back: mix, weigh, place, score. What queries send to keys and values
// is added up for GROUP panels side by side, in registers, then head by head, and last to the gradient (send.ts).
import { addColumns } from "../columns";
import { NR, packColumns } from "../matmul";
import { finite, rowDot } from "../row";
import { AttentionBackArguments } from "./arguments";
import { copeBack } from "./cope";
import { choose, chooseHead, drawRows, overKeys, overVisible } from "./forward";
import { place, score } from "./logits";
import { MANY, NEVER, ROW, clear, copyFew, draw, shift, spread, times, weightsBack } from "./panel";
import {
  GATE_KEYS,
  KEYS,
  VALUES,
  beginGradients,
  blank,
  endGradients,
  gradient,
  keepDiagonal,
  sendAll,
  sendGroup,
  sentTo,
  prepareGradients,
  widenSums,
} from "./send";
import { BackWorkspace, Gradient, prepare, takeBackward } from "./workspace";

const W: usize = sizeof<real>();

/**
 * The gradients of `attention` for `b` sequences from `first` on. `args`: the address of an AttentionBackArguments;
 * `work`: the work of a sequence, for whoever divides them.
 */
// threads: b first#1 room@ | 0.5 ns b work
export function attentionBack(args: usize, first: usize, b: usize, work: usize, room: usize): void {
  const a = changetype<AttentionBackArguments>(args);
  const w = changetype<BackWorkspace>(room);
  takeBackward(w, a.h, a.g, a.t, a.s, a.d, a.p, a.r);
  prepare(a, w);
  prepareGradients(a, w);
  w.s = a.s;
  // What a panel knows of its gates is forgotten when its group sends shares.
  w.gates = w.ut;
  w.indices = w.shares;
  w.rises = w.shares + a.s * ROW;
  for (let i = first; i < first + b; i++) {
    begin(a, w, i);
    for (let j: usize = 0; j < a.h; j++) {
      w.j = j;
      w.g = j / w.share;
      w.toBias = 0;
      if (a.dtable) w.dtable = a.dtable + (a.tableh ? i * a.h + j : i) * a.p * w.row;
      memory.fill(w.wideSums, 0, w.diagonals - w.wideSums);
      chooseHead(a, w, j);
      for (let start: usize = 0; start < a.t; start += w.panels * NR) {
        group(a, w, i, start);
        if (start % MANY == 0) widenSums(a, w, false);
      }
      widenSums(a, w, true);
      if (a.dgateBias) store<real>(a.dgateBias + (i * a.h + j) * W, <real>w.toBias);
    }
    endGradients(a, w, i);
  }
}

/** Draws the rows of sequence i together and clears what is added up. */
function begin(a: AttentionBackArguments, w: BackWorkspace, i: usize): void {
  const h = a.h;
  const t = a.t;
  const row = w.row;
  const dout = a.dout + i * t * h * row;
  drawRows(a, w, i);
  draw(t, h, a.d, dout, h * row, w.os, w.queryBlock);
  for (let m: usize = 0; m < t * h; m++)
    store<real>(w.deltas + ((m % h) * t + m / h) * W, rowDot(a.d, dout + m * row, a.o + i * t * h * row + m * row));
  memory.fill(w.sums, 0, w.alone || w.shared ? 0 : w.wideSums - w.sums);
  beginGradients(a, w, i);
  const tables = (a.tableh ? a.h : 1) * a.p * row;
  if (a.dtable && !a.addTable) memory.fill(a.dtable + i * tables, 0, tables);
  w.dtable = 0;
  w.drel = a.drel ? a.drel + i * a.r * row : 0;
  if (w.drel && !a.addRel) memory.fill(w.drel, 0, a.r * row);
}

/** The queries of a group of panels, from `start` on. */
function group(a: AttentionBackArguments, w: BackWorkspace, i: usize, start: usize): void {
  const row = w.row;
  w.start = start;
  w.lanes = min(w.panels * NR, a.t - start);
  w.place = w.s - a.t + start;
  w.last = a.causal ? w.place + w.lanes : w.s;
  w.seeing = a.causal ? w.place : NEVER;
  w.reached = 0;
  if (a.table) memory.fill(w.dzs, 0, a.p * w.wide);
  if (a.rel) memory.fill(w.drs, 0, a.r * w.wide);
  for (let c: usize = 0; c < w.lanes; c += NR) panel(a, w, i, start + c, c * W);
  if (w.alone) return keepDiagonal(a, w);
  const rows = w.j * w.queryBlock + start * row;
  const q = w.qs + rows;
  const asked = w.gq ? w.gqs + rows : q;
  sendGroup(a, w, VALUES, w.os + rows);
  sendGroup(a, w, KEYS, q);
  if (w.gk) sendGroup(a, w, GATE_KEYS, w.keyGates ? 0 : asked);
  if (w.dtable) sendAll(w, w.reached, NEVER, <real>a.tableScale, w.dzs, asked, w.dtable, row);
  if (w.drel) sendAll(w, a.r, NEVER, <real>a.scale, w.drs, q, w.drel, row);
}

/** The panel of the queries from `at` on, whose columns in the group begin `column` bytes in. */
function panel(a: AttentionBackArguments, w: BackWorkspace, i: usize, at: usize, column: usize): void {
  const rows = w.j * w.queryBlock + at * w.row;
  w.pt = sentTo(w, VALUES) + column;
  w.dt = sentTo(w, KEYS) + column;
  w.dut = w.gk || a.dgateBias ? sentTo(w, GATE_KEYS) + column : 0;
  w.dz = w.dzs + column;
  w.dr = w.drs + column;
  choose(a, w, at);
  score(a, w, rows);
  place(a, w);
  mixBack(a, w, w.os + rows);
  weighBack(a, w, w.j * a.t + at, i * a.h * a.t);
  placeBack(a, w);
  scoreBack(a, w, at);
  blank(w, w.pt);
  blank(w, w.dt);
  if (w.gk) blank(w, w.dut);
}
/** The gradients of the weights, from the rows of dout. */
function mixBack(a: AttentionBackArguments, w: BackWorkspace, dout: usize): void {
  packColumns(a.d, w.n, dout, 1, a.d, w.op);
  times(w.end, a.d, 1, w.headV, w.row, W, w.op, ROW, w.dt, w.wide, false);
}
/**
 * The weights again, and from their gradients those of the logits. The panel's rows begin `at` rows into a sequence's.
 */
function weighBack(a: AttentionBackArguments, w: BackWorkspace, at: usize, before: usize): void {
  clear(NR, w.lse);
  clear(NR, w.delta);
  copyFew(w.n, a.lse + (before + at) * W, w.lse);
  copyFew(w.n, w.deltas + at * W, w.delta);
  weightsBack(w.end, w.st, w.lse, w.delta, w.pt, w.dt, w.wide);
}
/**
 * The gradients of what positions added. Then dt holds the gradient of the content logits, with the gates' added where
 * they read the same; dut that of other gates.
 */
function placeBack(a: AttentionBackArguments, w: BackWorkspace): void {
  if (a.rel) shift(w.end, w.first, 1, a.r, w.dr, w.wide, w.dt, w.wide, w.edge);
  if (!a.table) return;
  w.reached = max(w.reached, w.far);
  copeBack(w, a.p, w.dt, w.dut, w.wide, w.dz);
  if (a.dgateBias) gatesBack(w);
}
/** What the bias of gates gets; then gates that read the content logits are added to those. */
function gatesBack(w: BackWorkspace): void {
  const wide = w.wide;
  addColumns(w.end, NR, 0, 0, w.dut, wide, w.inverse, false, w.edge);
  for (let c: usize = 0; c < w.n; c++) w.toBias += <f64>load<real>(w.inverse + c * W);
  if (!w.gk)
    for (let o: usize = 0; o < w.end * wide; o += wide) {
      v128.store(w.dt + o, v128.add<real>(v128.load(w.dt + o), v128.load(w.dut + o)));
      v128.store(w.dt + o, v128.add<real>(v128.load(w.dt + o, 16), v128.load(w.dut + o, 16)), 16);
    }
}
/** The gradients of queries and gate queries. */
function scoreBack(a: AttentionBackArguments, w: BackWorkspace, at: usize): void {
  const dq = gradient(w, 0);
  const dgq = gradient(w, 1);
  if (dq.to) {
    asked(a, w, true, !w.gq);
    spreadTo(dq, w, at);
  }
  if (!dgq.to || !w.gq) return;
  asked(a, w, false, true);
  spreadTo(dgq, w, at);
}
function spreadTo(x: Gradient, w: BackWorkspace, at: usize): void {
  spread(w.n, w.row / W, w.ot, 0, x.to + at * x.i + w.j * w.row, x.i, (x.add | x.early) != 0);
}
/** Leaves in ot the gradient of what `content` logits and CoPE's `gates` asked with. */
function asked(a: AttentionBackArguments, w: BackWorkspace, content: bool, gates: bool): void {
  const d = a.d;
  for (let visible: usize = 0; visible < 2; visible++) {
    if (content) keysBack(w, d, visible != 0, <real>a.scale, w.headK, w.dt, false);
    if (content && a.rel) times(d, a.r, <real>a.scale, a.rel, W, w.row, w.dr, w.wide, w.ot, ROW, true);
    if (gates && a.table) {
      times(d, w.far, <real>a.tableScale, w.table, W, w.row, w.dz, w.wide, w.ot, ROW, content);
      if (w.gk && !w.keyGates) keysBack(w, d, visible != 0, <real>a.scale, w.headGk, w.dut, true);
    }
    if (finite(d * NR, w.ot)) return;
  }
}
function keysBack(w: BackWorkspace, d: usize, visible: bool, alpha: real, k: usize, dt: usize, add: bool): void {
  if (visible) overVisible(w, d, alpha, k, w.row, dt, w.wide, add);
  else overKeys(w, d, alpha, k, w.row, dt, w.wide, add);
}
