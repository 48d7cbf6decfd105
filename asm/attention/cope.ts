// cope.ts: contextual positions inside fused attention (Golovneva et al. 2024). A lane is a query; keys come one after
// the other, so the sum that makes positions is one vector addition a key. Each lane looks its position up in a table
// of pairs (z[f], z[f+1] - z[f]), one load for both; the gradient of z is gathered as pairs too. A gate is at most 1,
// so positions only fall from the first key to the last, and the keys of a row of z follow each other: their gradients
// are added up in registers and written, never read (reading and adding took 63 cycles a key of 8 lanes, where this
// takes 24). Where every lane is beyond the last position the bias is a constant and no gradient reaches the gates:
// those keys are passed over, exactly. Logits are exponents of 2, as in forward.ts.
import { addColumns } from "../columns";
import { madd, splatAt } from "../simd";
import { Inlined, exp2Table } from "../math";
import { NR } from "../matmul";
import { MANY } from "./panel";
import { Workspace } from "./workspace";

const W: usize = sizeof<real>();
const ROW: usize = NR * W;
const PAIR: usize = 2 * W;
const PAIRS: usize = NR * PAIR; // bytes of one position's pairs
const BLOCK: usize = 16; // keys whose gates are made and added up at once

/** Row f of two halves of lanes, (a, b), as pairs. */
function zip(a: v128, b: v128, to: usize): void {
  v128.store(to, sizeof<real>() == 4 ? v128.shuffle<f32>(a, b, 0, 4, 1, 5) : v128.shuffle<f64>(a, b, 0, 2));
  v128.store(to, sizeof<real>() == 4 ? v128.shuffle<f32>(a, b, 2, 6, 3, 7) : v128.shuffle<f64>(a, b, 1, 3), 16);
}
/** The first numbers of the pairs of one vector's lanes. */
function evens(low: v128, high: v128): v128 {
  return sizeof<real>() == 4 ? v128.shuffle<f32>(low, high, 0, 2, 4, 6) : v128.shuffle<f64>(low, high, 0, 2);
}
/** The second ones. */
function odds(low: v128, high: v128): v128 {
  return sizeof<real>() == 4 ? v128.shuffle<f32>(low, high, 1, 3, 5, 7) : v128.shuffle<f64>(low, high, 1, 3);
}

/** From p rows of lanes to pairs: (z[f], z[f+1] - z[f]) for f < p - 1, and (z[p-1], 0) at the end. */
export function copeTable(p: usize, z: usize, pairs: usize): void {
  let here0 = v128.load(z);
  let here1 = v128.load(z, 16);
  for (const last = z + (p - 1) * ROW; z < last; pairs += PAIRS) {
    z += ROW;
    const next0 = v128.load(z);
    const next1 = v128.load(z, 16);
    zip(here0, v128.sub<real>(next0, here0), pairs);
    zip(here1, v128.sub<real>(next1, here1), pairs + 32);
    here0 = next0;
    here1 = next1;
  }
  zip(here0, v128.splat<real>(0), pairs);
  zip(here1, v128.splat<real>(0), pairs + 32);
}

/**
 * Whole positions as distances into a table of pairs: adding 2^MANTISSA leaves f in the low bits of each lane, and
 * PAIRS f when they are moved, together with, for f32, what is left of the bits of 2^23, which `BIAS` takes off again.
 * Two instructions where converting to integers is five.
 */
function index(f: v128): v128 {
  const c = memory.data<real>([sizeof<real>() == 4 ? 8388608 : 4503599627370496]);
  return v128.shl<bits>(v128.add<real>(f, splatAt(c, 0)), 6);
}
const BIAS: usize = sizeof<real>() == 4 ? 0xc0000000 : 0;
/**
 * The distance in lane l of the vector at `i`: four loads where taking lanes out of a register is seven instructions.
 */
function lane(i: usize, l: usize): usize {
  return <usize>load<u32>(i + l * W);
}
/**
 * The pairs at the distances that lie at `i`, of the first half of the lanes (f64: of the first); `pairs` less BIAS.
 */
function lowPairs(pairs: usize, i: usize): v128 {
  if (sizeof<real>() == 8) return v128.load(pairs + lane(i, 0));
  return v128.load_lane<u64>(pairs + lane(i, 1) + PAIR, v128.load64_zero(pairs + lane(i, 0)), 1);
}
/** The pairs of the second half. */
function highPairs(pairs: usize, i: usize): v128 {
  if (sizeof<real>() == 8) return v128.load(pairs + lane(i, 1) + PAIR);
  return v128.load_lane<u64>(pairs + lane(i, 3) + 3 * PAIR, v128.load64_zero(pairs + lane(i, 2) + 2 * PAIR), 1);
}
/** The transpose: writes the pairs (a, b) of all lanes to the distances that lie at `i`. */
function setPairs(pairs: usize, i: usize, a: v128, b: v128): void {
  if (sizeof<real>() == 4) {
    const low = v128.shuffle<f32>(a, b, 0, 4, 1, 5);
    const high = v128.shuffle<f32>(a, b, 2, 6, 3, 7);
    v128.store_lane<u64>(pairs + lane(i, 0), low, 0);
    v128.store_lane<u64>(pairs + lane(i, 1) + PAIR, low, 1);
    v128.store_lane<u64>(pairs + lane(i, 2) + 2 * PAIR, high, 0);
    v128.store_lane<u64>(pairs + lane(i, 3) + 3 * PAIR, high, 1);
  } else {
    v128.store(pairs + lane(i, 0), v128.shuffle<f64>(a, b, 0, 2));
    v128.store(pairs + lane(i, 1) + PAIR, v128.shuffle<f64>(a, b, 1, 3));
  }
}

/** gates = 1/(1 + 2^(shift - u)) for keys `from` to `to`; `gates` may be `u`. */
export function makeGates(from: usize, to: usize, u: usize, shift: usize, gates: usize): void {
  const t = exp2Table();
  const low = splatAt(t, 0);
  const high = splatAt(t, 1);
  const rounder = splatAt(t, 2);
  const ln2 = splatAt(t, 3);
  const one = splatAt(t, 4);
  const p0 = splatAt(t, 5);
  const p1 = splatAt(t, 6);
  const p2 = splatAt(t, 7);
  const p3 = splatAt(t, 8);
  const p4 = splatAt(t, 9);
  for (let o = from * ROW; o < to * ROW; o += 16) {
    const e = Inlined.boundedExp2(
      v128.pmin<real>(v128.pmax<real>(v128.sub<real>(v128.load(shift + (o & 16)), v128.load(u + o)), low), high),
      rounder,
      ln2,
      one,
      p0,
      p1,
      p2,
      p3,
      p4,
    );
    v128.store(gates + o, v128.div<real>(one, v128.add<real>(one, e)));
  }
}
/** Gates of keys `from` to `to` that all queries share, `all`; 0 where the logits st hide a key. */
function shareGates(from: usize, to: usize, all: usize, st: usize, gates: usize): void {
  const never = v128.splat<real>(-Infinity);
  for (let j = from, o = from * ROW; j < to; j++, o += ROW) {
    const g = v128.load_splat<real>(all + j * W);
    v128.store(gates + o, v128.and(g, v128.ne<real>(v128.load(st + o), never)));
    v128.store(gates + o, v128.and(g, v128.ne<real>(v128.load(st + o, 16), never)), 16);
  }
}

/** One half of the lanes of `copePlaces` at one key: a position's whole part as a distance, and the rest. */
function place(at: v128, most: v128, rests: usize, indices: usize): void {
  // pmin gives its first argument when one is NaN: the index must be a number, the rest may tell of a bad one.
  const f = v128.floor<real>(v128.pmin<real>(most, at));
  v128.store(rests, v128.sub<real>(v128.pmin<real>(at, most), f));
  v128.store(indices, index(f));
}
/**
 * Gates, and positions min(p - 1, their sum from here to the panel's last key): whole parts as distances in `indices`,
 * the rest in `rests`. `rests` may be `gates`, and `indices` logits of gates; those then are lost. Each block
 * of keys is added up by itself, and the error of adding its sum to the position goes to the next: positions of any
 * length are good to their last bit or two, and never fall from a key to the one before. Returns the key
 * before which every lane is beyond the last position, p - 1: there nothing is left behind.
 */
export function copePlaces(w: Workspace, p: usize): usize {
  const u = w.gk ? w.ut : w.st;
  const all = w.apart ? w.keyGates : 0;
  const gates = w.gates;
  const rests = w.rests;
  const indices = w.indices;
  const most = v128.splat<real>(<real>(p - 1));
  let base0 = v128.splat<real>(0);
  let base1 = base0;
  let sum0 = base0; // since `base`, and what that lacks, being rounded
  let sum1 = base0;
  for (let j = w.end; j > 0;) {
    const from = (j - 1) & ~(BLOCK - 1);
    if (all) shareGates(from, j, all, w.st, gates);
    else makeGates(from, j, u, w.shift, gates);
    let at0 = base0;
    let at1 = base1;
    while (j > from) {
      j--;
      const o = j * ROW;
      sum0 = v128.add<real>(sum0, v128.load(gates + o));
      sum1 = v128.add<real>(sum1, v128.load(gates + o, 16));
      at0 = v128.add<real>(base0, sum0);
      at1 = v128.add<real>(base1, sum1);
      place(at0, most, rests + o, indices + o);
      place(at1, most, rests + o + 16, indices + o + 16);
      if (v128.all_true<bits>(v128.and(v128.ge<real>(at0, most), v128.ge<real>(at1, most)))) return j;
    }
    sum0 = v128.add<real>(v128.sub<real>(base0, at0), sum0);
    sum1 = v128.add<real>(v128.sub<real>(base1, at1), sum1);
    base0 = at0;
    base1 = at1;
  }
  return 0;
}

/**
 * How many of p rows of the table positions reach: positions only grow towards the first key, so its own are the
 * largest.
 */
export function copeReach(certain: usize, p: usize, indices: usize): usize {
  let top: usize = 0;
  for (let o = indices + certain * ROW, l: usize = 0; l < NR; l++) top = max(top, lane(o, l));
  return min(p, (top - BIAS) / PAIRS + 2);
}

/** One half of the lanes of `copeLogits` at one key. */
function keyLogits(st: usize, w: v128, indices: usize, pairs: usize, rises: usize): void {
  const low = lowPairs(pairs, indices);
  const high = highPairs(pairs, indices);
  const slope = odds(low, high);
  v128.store(st, v128.add<real>(v128.load(st), v128.add<real>(evens(low, high), v128.mul<real>(w, slope))));
  // No slope on whole positions (there ceil and floor of the paper's listing agree) and none beyond the last one, which
  // has no rest.
  if (rises) v128.store(rises, v128.and(slope, v128.ne<real>(w, v128.splat<real>(0))));
}
/**
 * Adds (1 - w) z[f] + w z[f+1] to the logits st of `end` keys; leaves the rises z[f+1] - z[f] where they count, unless
 * at address 0.
 */
export function copeLogits(
  end: usize,
  p: usize,
  certain: usize,
  st: usize,
  rests: usize,
  indices: usize,
  pairs: usize,
  rises: usize,
): void {
  for (let o = certain * ROW; o < end * ROW; o += ROW) {
    keyLogits(st + o, v128.load(rests + o), indices + o, pairs - BIAS, rises ? rises + o : 0);
    keyLogits(st + o + 16, v128.load(rests + o, 16), indices + o + 16, pairs - BIAS + 32, rises ? rises + o + 16 : 0);
  }
  if (!certain) return;
  const last = pairs + (p - 1) * PAIRS;
  const last0 = evens(v128.load(last), v128.load(last, 16));
  const last1 = evens(v128.load(last, 32), v128.load(last, 48));
  for (let o: usize = 0; o < certain * ROW; o += ROW) {
    v128.store(st + o, v128.add<real>(v128.load(st + o), last0));
    v128.store(st + o, v128.add<real>(v128.load(st + o, 16), last1), 16);
  }
}

/**
 * The backward pass of `copeLogits`, from the first key to the last: a gate counts in the positions of its own key and
 * of all before it. `dt` holds the gradient of the logits; the gates' is added there, or left in `dut` where gates have
 * logits of their own. Leaves dz, `far` rows of lanes. Rows of dt, dut and dz lie `di` bytes apart.
 */
export function copeBack(w: Workspace, p: usize, dt: usize, dut: usize, di: usize, dz: usize): void {
  const certain = w.certain;
  const dpairs = w.dpairs;
  const zero = v128.splat<real>(0);
  for (let o = dpairs; o < dpairs + w.far * PAIRS; o += 16) v128.store(o, zero);
  if (dut)
    for (let o = dut, stop = dut + certain * di; o < stop; o += di) {
      v128.store(o, zero);
      v128.store(o, zero, 16);
    }
  const skip = certain * di;
  for (let half: usize = 0; half < 32; half += 16)
    keysBack(w, certain * ROW + half, dt + skip + half, dut ? dut + skip + half : 0, di, dpairs - BIAS + 2 * half);
  pairsBack(w.far, dpairs, dz, di);
  if (certain) addColumns(certain, NR, 0, 0, dt, di, dz + (p - 1) * di, true, w.edge);
}
/**
 * One half of the lanes of `copeBack`, key after key. In long sequences each block of keys is added up by itself, as in
 * `copePlaces`.
 */
function keysBack(w: Workspace, from: usize, dt: usize, dut: usize, di: usize, dpairs: usize): void {
  const gates = w.gates;
  const rests = w.rests;
  const indices = w.indices;
  const rises = w.rises;
  const ln2 = splatAt(exp2Table(), 3); // rises are of exponents of 2
  const stop = w.end * ROW;
  const block = w.s > MANY ? BLOCK * ROW : stop;
  let base = v128.splat<real>(0); // of each sum, what the blocks before left
  let baseA = base;
  let baseB = base;
  let sum = base;
  let a = base; // the shares of z[f] and z[f+1] from the keys of this row so far
  let b = base;
  let row = v128.splat<i32>(-1);
  for (let o = from; o < stop;) {
    let at = base;
    let atA = base;
    let atB = base;
    for (const until = min(stop, o + block); o < until; o += ROW, dt += di) {
      const d = v128.load(dt);
      const share = v128.mul<real>(d, v128.load(rests + o));
      const here = v128.load(indices + o);
      const same = v128.eq<bits>(here, row);
      a = v128.add<real>(v128.and(a, same), v128.sub<real>(d, share));
      b = v128.add<real>(v128.and(b, same), share);
      baseA = v128.and(baseA, same);
      baseB = v128.and(baseB, same);
      atA = v128.add<real>(baseA, a);
      atB = v128.add<real>(baseB, b);
      setPairs(dpairs, indices + o, atA, atB);
      row = here;
      sum = madd(d, v128.load(rises + o), sum);
      at = v128.add<real>(base, sum);
      const g = v128.load(gates + o);
      const g2 = v128.mul<real>(ln2, g);
      const du = v128.mul<real>(at, v128.sub<real>(g2, v128.mul<real>(g2, g)));
      if (dut) {
        v128.store(dut, du);
        dut += di;
      } else v128.store(dt, v128.add<real>(d, du));
    }
    sum = v128.add<real>(v128.sub<real>(base, at), sum);
    a = v128.add<real>(v128.sub<real>(baseA, atA), a);
    b = v128.add<real>(v128.sub<real>(baseB, atB), b);
    base = at;
    baseA = atA;
    baseB = atB;
  }
}
/** From the gradients of pairs to those of z, rows of lanes `di` bytes apart: z[f] is in the pairs f and f - 1. */
function pairsBack(far: usize, dpairs: usize, dz: usize, di: usize): void {
  let second0 = v128.splat<real>(0); // of pair f - 1
  let second1 = second0;
  for (let f: usize = 0; f < far; f++, dpairs += PAIRS, dz += di) {
    v128.store(dz, v128.add<real>(evens(v128.load(dpairs), v128.load(dpairs, 16)), second0));
    v128.store(dz, v128.add<real>(evens(v128.load(dpairs, 32), v128.load(dpairs, 48)), second1), 16);
    second0 = odds(v128.load(dpairs), v128.load(dpairs, 16));
    second1 = odds(v128.load(dpairs, 32), v128.load(dpairs, 48));
  }
}
