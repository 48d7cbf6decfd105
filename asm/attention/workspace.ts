// workspace.ts: the room of one part of attention: what is known of the call, the sequence, the head and the panel at
// hand, and where a part's numbers lie. Of each of those addresses it says how many rows of lanes, NR numbers, it has.
import { LOG2E } from "../math";
import { MR, NR } from "../matmul";
import { AttentionArguments, AttentionBackArguments } from "./arguments";
import { MANY, clear, drawn } from "./panel";

const W: usize = sizeof<real>();
/** Panels of queries in a group of the backward pass. */
export const GROUP: usize = 4;

@unmanaged
export class Workspace {
  // The call. Its numbers come first and as wide in either dtype, for all places to be the same in both.
  scale2: f64; // scale and tableScale, for logits that are exponents of 2
  tableScale2: f64;
  top: usize; // where the room that is taken ends
  row: usize; // bytes of a head's d numbers
  share: usize; // query heads of a key-value head
  apart: usize; // places between the queries of neighbouring lanes: 1, or 0 where lanes are heads of one query
  gq: usize; // gate queries and gate keys: 0 where gates read what the content logits read, or nobody reads them
  gk: usize;
  gateRow: usize; // bytes of a head's gate key

  // The sequence: how many keys it has, which of them are padding, and its rows, drawn together head by head.
  s: usize;
  padding: usize;
  documents: usize; // whose each key is
  queryBlock: usize; // bytes from head to head
  keyBlock: usize;
  qs: usize; // h heads of t rows
  ks: usize; // g heads of s rows
  vs: usize;
  gqs: usize; // the same, for gates
  gks: usize;

  j: usize; // head; of a query alone the first of a panel
  // The panel: lane c is the query at place `first + c`, and no lane sees keys from `end` on.
  n: usize; // lanes in use
  first: usize;
  end: usize;
  allowed: usize; // of the query of lane 0
  headK: usize; // drawn rows of its head
  headV: usize;
  headGk: usize;
  table: usize; // CoPE's, of its head
  keyGates: usize; // s numbers and a row of lanes: gates of its keys that all queries share; 0 where each has its own
  certain: usize; // keys before this one lie beyond the last of CoPE's positions in every lane
  far: usize; // rows of CoPE's table that it reaches

  // Where its numbers lie.
  qp: usize; // d: queries
  gqp: usize; // d: gate queries
  ot: usize; // d: a result before it is spread to rows
  totals: usize; // d, twice as wide: sums over many keys in double precision
  st: usize; // s: logits, then weights
  ut: usize; // s: logits of gates
  rests: usize; // s: positions less their whole parts
  pairs: usize; // 2 (p + 1): logits of CoPE's table as cope.ts reads them
  dpairs: usize; // 2 (p + 1): their gradients
  zt: usize; // p or r: logits of a table
  slopes: usize; // 1: ALiBi's
  shift: usize; // 1: bias of gates, negative
  inverse: usize; // 1: 1 / Σ weights
  lse: usize; // 1: log2 Σ 2^logit
  delta: usize; // 1: o·dout
  edge: usize; // MR: a tile that does not fit its rows
  gates: usize; // s, and so the next two, which lie where something else has been read: gates
  indices: usize; // whole parts of positions, as distances into `pairs`
  rises: usize; // what a logit gains by one position; 0 where nobody asks
}

/**
 * Room for n numbers each, in whole vectors, for the fields of a workspace from byte `from` to byte `to`, that one
 * included. Recursive, so that the compiler does not copy it into each of its callers.
 */
function take(w: Workspace, from: usize, to: usize, n: usize): void {
  store<usize>(changetype<usize>(w) + from, w.top);
  w.top += (n * W + 15) & ~15;
  if (from < to) take(w, from + sizeof<usize>(), to, n);
}

/** Room for a workspace of so many bytes, for a panel, and for the rows of a sequence. */
export function takeForward(
  w: Workspace,
  bytes: usize,
  h: usize,
  g: usize,
  t: usize,
  s: usize,
  d: usize,
  p: usize,
  r: usize,
): void {
  w.top = (changetype<usize>(w) + bytes + 15) & ~15;
  take(w, offsetof<Workspace>("qp"), offsetof<Workspace>("ot"), d * NR);
  take(w, offsetof<Workspace>("totals"), offsetof<Workspace>("totals"), (d * NR * 8) / W);
  take(w, offsetof<Workspace>("st"), offsetof<Workspace>("rests"), s * NR);
  take(w, offsetof<Workspace>("pairs"), offsetof<Workspace>("dpairs"), 2 * (p + 1) * NR);
  take(w, offsetof<Workspace>("zt"), offsetof<Workspace>("zt"), max(p, r) * NR);
  take(w, offsetof<Workspace>("slopes"), offsetof<Workspace>("delta"), NR);
  take(w, offsetof<Workspace>("edge"), offsetof<Workspace>("edge"), MR * NR);
  take(w, offsetof<Workspace>("keyGates"), offsetof<Workspace>("keyGates"), p ? s + NR : 0);
  w.queryBlock = drawn(t, d) * W;
  w.keyBlock = drawn(s, d) * W;
  const keys = g * drawn(s, d);
  const queries = h * drawn(t, d);
  take(w, offsetof<Workspace>("qs"), offsetof<Workspace>("qs"), queries);
  take(w, offsetof<Workspace>("ks"), offsetof<Workspace>("vs"), keys);
  take(w, offsetof<Workspace>("gqs"), offsetof<Workspace>("gqs"), p ? queries : 0);
  take(w, offsetof<Workspace>("gks"), offsetof<Workspace>("gks"), p ? keys : 0);
}
/** What holds for every sequence of a call. */
export function prepare(a: AttentionArguments, w: Workspace): void {
  w.row = a.d * W;
  w.share = a.g ? a.h / a.g : 1;
  w.apart = 1;
  w.scale2 = <real>a.scale * LOG2E;
  w.tableScale2 = <real>a.tableScale * LOG2E;
  w.gq = a.table ? a.gq : 0;
  w.gk = a.table ? a.gk : 0;
  w.gateRow = w.row;
  if (a.tokens && w.gk) w.gateRow = W;
  else w.keyGates = 0;
  clear(NR, w.shift);
}

/** Values, keys, gate keys: who is sent something. */
export const SIDES: usize = 3;
/** A gradient that is asked for, all of it and that of the sequence at hand, at 0 if nobody asks; strides in bytes. */
@unmanaged
export class Gradient {
  all: usize;
  i: usize;
  b: usize;
  add: usize; // whether it is added to
  early: usize; // whether keys send there before all queries have written: it is cleared and added to
  to: usize;
}
/** Those of queries and gate queries, and for each side those of its source and of its past, in this order. */
export const GRADIENTS: usize = 2 + 2 * SIDES;

/** The same for the backward pass. Wide rows are those of a group, whose panels lie side by side. */
@unmanaged
export class BackWorkspace extends Workspace {
  // The call.
  panels: usize; // of a group
  wide: usize; // bytes of a wide row
  shared: bool; // whether edges share out what is sent
  alone: bool; // whether a query sends to its own place and nowhere else
  gradients: usize; // GRADIENTS of them: see send.ts

  // The sequence: its rows of dout, drawn together; o·dout of each query, head by head; and what is sent to its keys.
  os: usize;
  deltas: usize;
  sums: usize; // SIDES times g heads of s rows: what is sent, unless it goes to the gradient at once
  wideSums: usize; // where more than MANY queries send: what a head has sent, in double precision
  diagonals: usize; // 2 h t numbers: with `alone`, what each query sends to its own place

  g: usize; // key-value head
  dtable: usize; // the head's gradient of CoPE's table, and the sequence's of that of relative positions, or 0
  drel: usize;
  toBias: f64; // what the head's queries send to the bias of its gates, so far

  // The group.
  start: usize; // its first query, and the place of that
  place: usize;
  lanes: usize; // its queries
  last: usize; // no query sees keys from here on
  seeing: usize; // the query of lane c sees no key after `seeing + c`
  reached: usize; // rows of CoPE's table that it reaches
  sent: usize; // SIDES times s wide: what is sent to values, weights; to keys, the gradients of logits; to gate keys
  shares: usize; // s wide: what edges leave of them
  dzs: usize; // p wide: the gradients of the logits of CoPE's table
  drs: usize; // r wide: those of the table of relative positions

  // The panel: its rows of lanes in those of the group, and its rows of dout.
  pt: usize;
  dt: usize;
  dut: usize;
  dz: usize;
  dr: usize;
  op: usize; // d
}

/** Room for the backward pass. */
export function takeBackward(
  w: BackWorkspace,
  h: usize,
  g: usize,
  t: usize,
  s: usize,
  d: usize,
  p: usize,
  r: usize,
): void {
  const wide = GROUP * NR;
  takeForward(w, offsetof<BackWorkspace>(), h, g, t, s, d, p, r);
  take(
    w,
    offsetof<BackWorkspace>("gradients"),
    offsetof<BackWorkspace>("gradients"),
    (GRADIENTS * offsetof<Gradient>()) / W,
  );
  take(w, offsetof<BackWorkspace>("os"), offsetof<BackWorkspace>("os"), h * drawn(t, d));
  take(w, offsetof<BackWorkspace>("deltas"), offsetof<BackWorkspace>("deltas"), h * t);
  // Backward.ts clears `sums` up to `wideSums`, and those up to `diagonals`: they follow each other.
  const sums = (p ? SIDES : 2) * g * drawn(s, d);
  take(w, offsetof<BackWorkspace>("sums"), offsetof<BackWorkspace>("sums"), sums);
  const wideSums = ((2 * (p ? SIDES : 2) * s * drawn(1, d) + drawn(p, d) + drawn(r, d)) * 8) / W;
  take(w, offsetof<BackWorkspace>("wideSums"), offsetof<BackWorkspace>("wideSums"), t > MANY ? wideSums : 0);
  take(w, offsetof<BackWorkspace>("diagonals"), offsetof<BackWorkspace>("diagonals"), 2 * h * t);
  take(w, offsetof<BackWorkspace>("sent"), offsetof<BackWorkspace>("sent"), SIDES * s * wide);
  take(w, offsetof<BackWorkspace>("shares"), offsetof<BackWorkspace>("shares"), s * wide);
  take(w, offsetof<BackWorkspace>("dzs"), offsetof<BackWorkspace>("dzs"), p * wide);
  take(w, offsetof<BackWorkspace>("drs"), offsetof<BackWorkspace>("drs"), r * wide);
  take(w, offsetof<BackWorkspace>("op"), offsetof<BackWorkspace>("op"), d * NR);
}
/** Numbers of room that `attention` or `attentionBack` needs, tried out on a workspace at `scratch`. */
// threads: serial
export function attentionRoom(
  h: usize,
  g: usize,
  t: usize,
  s: usize,
  d: usize,
  p: usize,
  r: usize,
  scratch: usize,
): usize {
  const w = changetype<BackWorkspace>(scratch);
  takeBackward(w, h, g, t, s, d, p, r);
  return (w.top - scratch) / W;
}
/** The same for the AttentionArguments at `args`, behind which there is scratch. */
// threads: serial
export function attentionPart(args: usize): usize {
  const a = changetype<AttentionArguments>(args);
  return attentionRoom(a.h, a.g, a.t, a.s, a.d, a.p, a.r, (args + offsetof<AttentionBackArguments>() + 15) & ~15);
}
