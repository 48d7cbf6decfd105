// logits.ts: the first steps of attention, which forward and backward pass share. `score` makes the logits of a panel
// from queries and keys, `place` adds what positions add: CoPE's table, a table of relative positions, ALiBi's slopes.
// A panel's queries and its head's keys lie as rows that touch.
import { NR, packColumns } from "../matmul";
import { AttentionArguments } from "./arguments";
import { copeLogits, copePlaces, copeReach, copeTable } from "./cope";
import { ROW, decline, shift, times } from "./panel";
import { dotHeads } from "./heads";
import { Workspace } from "./workspace";

const W: usize = sizeof<real>();

/** Content logits, and those of gates that read something else; the panel's queries begin `rows` bytes in. */
export function score(a: AttentionArguments, w: Workspace, rows: usize): void {
  const d = a.d;
  packColumns(d, w.n, w.qs + rows, 1, d, w.qp);
  logitsOf(a, w, w.headK, w.qp, w.st);
  if (w.gq) packColumns(d, w.n, w.gqs + rows, 1, d, w.gqp);
  if (w.gk && !w.keyGates) logitsOf(a, w, w.headGk, gatesAsk(w), w.ut);
}
function logitsOf(a: AttentionArguments, w: Workspace, k: usize, qp: usize, st: usize): void {
  times(w.end, a.d, <real>w.scale2, k, w.row, W, qp, ROW, st, ROW, false);
  hide(a, w, st);
}
/** The panel of queries that gates and CoPE's table are read with. */
export function gatesAsk(w: Workspace): usize {
  return w.gq ? w.gqp : w.qp;
}

/**
 * -Infinity in the logits st where the query of a lane may not see a key (by its row of `allowed`, or when causal), and
 * where keys are padding.
 */
export function hide(a: AttentionArguments, w: Workspace, st: usize): void {
  const end = w.end;
  const never = v128.splat<real>(-Infinity);
  if (w.allowed)
    for (let c: usize = 0, row = w.allowed; c < w.n; c++, row += w.apart * a.s * W)
      for (let j: usize = 0; j < w.s; j++)
        if (load<real>(row + j * W) == 0) store<real>(st + j * ROW + c * W, -Infinity);
  if (a.causal) hideLater(end, w.first, st);
  if (w.documents) hideOthers(w, st);
  if (w.padding)
    for (let j: usize = 0; j < end; j++)
      if (load<real>(w.padding + j * W) == 0) {
        v128.store(st + j * ROW, never);
        v128.store(st + j * ROW, never, 16);
      }
}
/** -Infinity where lane c's query, at place `first + c`, would see a key behind it. */
function hideLater(end: usize, first: usize, st: usize): void {
  const never = v128.splat<real>(-Infinity);
  const lanes = memory.data<real>([0, 1, 2, 3, 4, 5, 6, 7]);
  const low = v128.load(lanes);
  const high = v128.load(lanes, 16);
  for (let j = first + 1; j < end; j++) {
    const o = st + j * ROW;
    const place = v128.splat<real>(<real>(j - first));
    v128.store(o, v128.bitselect(never, v128.load(o), v128.lt<real>(low, place)));
    v128.store(o, v128.bitselect(never, v128.load(o, 16), v128.lt<real>(high, place)), 16);
  }
}
/** -Infinity where a key is not of the query's document. */
function hideOthers(w: Workspace, st: usize): void {
  const never = v128.splat<real>(-Infinity);
  const mine = w.documents + w.first * 4;
  // Lanes that are not in use take the last one's: what lies behind a sequence is not its own.
  for (let c: usize = 0; c < NR; c++)
    store<bits>(w.edge + c * W, <bits>load<i32>(mine + min(c, w.n - 1) * w.apart * 4));
  const low = v128.load(w.edge);
  const high = v128.load(w.edge, 16);
  for (let j: usize = 0, o = st; j < w.end; j++, o += ROW) {
    const its = v128.splat<bits>(<bits>load<i32>(w.documents + j * 4));
    v128.store(o, v128.bitselect(v128.load(o), never, v128.eq<bits>(its, low)));
    v128.store(o, v128.bitselect(v128.load(o, 16), never, v128.eq<bits>(its, high)), 16);
  }
}

/** Adds what the positions add to the logits. */
export function place(a: AttentionArguments, w: Workspace): void {
  const d = a.d;
  const end = w.end;
  w.certain = 0;
  w.far = 0;
  if (a.table) {
    // Content and gate logits share one scale in every convention, so gates from the keys themselves read the same
    // logits. Positions come first: only the rows of the table that they reach are multiplied with the queries.
    const p = a.p;
    w.certain = copePlaces(w, p);
    w.far = copeReach(w.certain, p, w.indices);
    const by = <real>w.tableScale2;
    if (w.apart || !a.tableh) times(w.far, d, by, w.table, w.row, W, gatesAsk(w), ROW, w.zt, ROW, false);
    else dotHeads(w, by, w.far, a.table, w.row, a.tableh * W, 1, gatesAsk(w), w.zt);
    copeTable(w.far, w.zt, w.pairs);
    copeLogits(end, p, w.certain, w.st, w.rests, w.indices, w.pairs, w.rises);
  }
  if (a.rel) {
    times(a.r, d, <real>w.scale2, a.rel, w.row, W, w.qp, ROW, w.zt, ROW, false);
    shift(end, w.first, w.apart, a.r, w.zt, ROW, w.st, ROW, 0);
  }
  if (a.slopes) decline(end, w.first, w.apart, w.slopes, w.st);
}
/** `by` times a number of n heads, from `x` on, lane by lane; the last also takes the lanes behind it. */
export function setLanes(n: usize, by: real, x: usize, to: usize): void {
  for (let c: usize = 0; c < NR; c++) store<real>(to + c * W, by * load<real>(x + min(c, n - 1) * W));
}
