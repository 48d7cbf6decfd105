// cope.ts: contextual positions inside fused attention (Golovneva et al. 2024). A lane is a query; keys come one after the other, so the
// sum that makes positions is one vector addition a key. Each lane looks its position up in a table of pairs (z[f], z[f+1] - z[f]),
// one load for both; the gradient of z is gathered as pairs too. Where every lane is past the last position the bias is a constant
// and no gradient reaches the gates: those keys are passed over, exactly.
import { LANES, maxLanes } from "./simd";
import { sigmoid } from "./math";
import { NR } from "./matmul";

const W: usize = sizeof<real>();
const ROW: usize = NR * W;
const PAIR: usize = 2 * W;
const PAIRS: usize = NR * PAIR; // bytes of one position's pairs

/** From p rows of lanes to pairs: (z[f], z[f+1] - z[f]) for f < p - 1, and (z[p-1], 0) at the end. */
export function copeTable(p: usize, z: usize, pairs: usize): void {
  for (let f: usize = 0; f < p; f++)
    for (let c: usize = 0; c < NR; c++, pairs += PAIR) {
      const at = z + f * ROW + c * W, here = load<real>(at);
      store<real>(pairs, here);
      store<real>(pairs + W, f + 1 < p ? load<real>(at + ROW) - here : 0);
    }
}

/** Whole positions as integers. */
function index(f: v128): v128 { return sizeof<real>() == 4 ? v128.trunc_sat<i32>(f) : i32x4.trunc_sat_f64x2_s_zero(f); }

/** The pairs at positions i of the first half of LANES lanes (f64: of the first). */
function lowPairs(pairs: usize, i: v128): v128 {
  if (sizeof<real>() == 8) return v128.load(pairs + <usize>v128.extract_lane<i32>(i, 0) * PAIRS);
  const a = v128.load64_zero(pairs + <usize>v128.extract_lane<i32>(i, 0) * PAIRS);
  return v128.load_lane<u64>(pairs + <usize>v128.extract_lane<i32>(i, 1) * PAIRS, a, 1, PAIR);
}
/** The pairs of the second half. */
function highPairs(pairs: usize, i: v128): v128 {
  if (sizeof<real>() == 8) return v128.load(pairs + <usize>v128.extract_lane<i32>(i, 1) * PAIRS, PAIR);
  const a = v128.load64_zero(pairs + <usize>v128.extract_lane<i32>(i, 2) * PAIRS, 2 * PAIR);
  return v128.load_lane<u64>(pairs + <usize>v128.extract_lane<i32>(i, 3) * PAIRS, a, 1, 3 * PAIR);
}
/** z[f] of all lanes, from their pairs. */
function values(low: v128, high: v128): v128 {
  return sizeof<real>() == 4 ? v128.shuffle<f32>(low, high, 0, 2, 4, 6) : v128.shuffle<f64>(low, high, 0, 2);
}
/** z[f+1] - z[f] of all lanes. */
function differences(low: v128, high: v128): v128 {
  return sizeof<real>() == 4 ? v128.shuffle<f32>(low, high, 1, 3, 5, 7) : v128.shuffle<f64>(low, high, 1, 3);
}
/** z interpolated at positions up to p - 1. */
function interpolated(at: v128, pairs: usize): v128 {
  const f = v128.floor<real>(at), i = index(f), low = lowPairs(pairs, i), high = highPairs(pairs, i);
  return v128.add<real>(values(low, high), v128.mul<real>(v128.sub<real>(at, f), differences(low, high)));
}

/**
 * Gates sigmoid(ut) and positions, their sums from the last of `end` keys to the first. Returns the key before which every lane is
 * past the last position, p - 1: there nothing is left behind.
 */
export function copePlaces(end: usize, p: usize, ut: usize, gates: usize, places: usize): usize {
  const most = v128.splat<real>(<real>(p - 1));
  let at0 = v128.splat<real>(0), at1 = at0, j = end;
  while (j > 0) {
    j--;
    const o = j * ROW, g0 = sigmoid(v128.load(ut + o)), g1 = sigmoid(v128.load(ut + o, 16));
    at0 = v128.add<real>(at0, g0);
    at1 = v128.add<real>(at1, g1);
    if (gates) { v128.store(gates + o, g0); v128.store(gates + o, g1, 16); }
    v128.store(places + o, at0);
    v128.store(places + o, at1, 16);
    if (v128.all_true<bits>(v128.and(v128.ge<real>(at0, most), v128.ge<real>(at1, most)))) break;
  }
  return j;
}

/** How many of p rows of the table positions reach: positions only grow towards the first key, so its own are the largest. */
export function copeReach(certain: usize, p: usize, places: usize): usize {
  const o = places + certain * ROW, top = min<real>(maxLanes(v128.max<real>(v128.load(o), v128.load(o, 16))), <real>(p - 1));
  return min(p, <usize>top + 2);
}

/** Adds (1 - w) z[f] + w z[f+1] to the logits st of `end` keys. */
export function copeLogits(end: usize, p: usize, certain: usize, st: usize, places: usize, pairs: usize): void {
  const most = v128.splat<real>(<real>(p - 1)), right = pairs + LANES * PAIR;
  for (let o = certain * ROW; o < end * ROW; o += ROW) {
    v128.store(st + o, v128.add<real>(v128.load(st + o), interpolated(v128.min<real>(v128.load(places + o), most), pairs)));
    v128.store(st + o, v128.add<real>(v128.load(st + o, 16), interpolated(v128.min<real>(v128.load(places + o, 16), most), right)), 16);
  }
  if (!certain) return;
  const last0 = interpolated(most, pairs), last1 = interpolated(most, right);
  for (let o: usize = 0; o < certain * ROW; o += ROW) {
    v128.store(st + o, v128.add<real>(v128.load(st + o), last0));
    v128.store(st + o, v128.add<real>(v128.load(st + o, 16), last1), 16);
  }
}

/** Adds the pairs (low, high) of each lane at positions i. */
function gather(pairs: usize, i: v128, low: v128, high: v128): void {
  if (sizeof<real>() == 4) {
    const a = v128.shuffle<f32>(low, high, 0, 4, 1, 5), b = v128.shuffle<f32>(low, high, 2, 6, 3, 7);
    const t0 = pairs + <usize>v128.extract_lane<i32>(i, 0) * PAIRS, t1 = pairs + <usize>v128.extract_lane<i32>(i, 1) * PAIRS + PAIR;
    const t2 = pairs + <usize>v128.extract_lane<i32>(i, 2) * PAIRS + 2 * PAIR, t3 = pairs + <usize>v128.extract_lane<i32>(i, 3) * PAIRS + 3 * PAIR;
    v128.store_lane<u64>(t0, v128.add<real>(v128.load64_zero(t0), a), 0);
    v128.store_lane<u64>(t1, v128.add<real>(v128.load64_zero(t1), v128.shuffle<f64>(a, a, 1, 1)), 0);
    v128.store_lane<u64>(t2, v128.add<real>(v128.load64_zero(t2), b), 0);
    v128.store_lane<u64>(t3, v128.add<real>(v128.load64_zero(t3), v128.shuffle<f64>(b, b, 1, 1)), 0);
  } else {
    const t0 = pairs + <usize>v128.extract_lane<i32>(i, 0) * PAIRS, t1 = pairs + <usize>v128.extract_lane<i32>(i, 1) * PAIRS + PAIR;
    v128.store(t0, v128.add<real>(v128.load(t0), v128.shuffle<f64>(low, high, 0, 2)));
    v128.store(t1, v128.add<real>(v128.load(t1), v128.shuffle<f64>(low, high, 1, 3)));
  }
}

/** One half of the lanes of `copeBack` at one key; returns the running sum of the positions' gradients. */
function keyBack(o: usize, sum: v128, most: v128, pairs: usize, gates: usize, places: usize, dt: usize, ut: usize, dpairs: usize): v128 {
  const zero = v128.splat<real>(0), place = v128.load(places + o), at = v128.min<real>(place, most), f = v128.floor<real>(at), w = v128.sub<real>(at, f);
  const d = v128.load(dt + o), share = v128.mul<real>(d, w), i = index(f);
  gather(dpairs, i, v128.sub<real>(d, share), share);
  // No slope on whole positions (there ceil and floor of the paper's listing agree) and none past the last one.
  const slope = v128.and(differences(lowPairs(pairs, i), highPairs(pairs, i)), v128.and(v128.ne<real>(w, zero), v128.le<real>(place, most)));
  sum = v128.add<real>(sum, v128.mul<real>(d, slope));
  const g = v128.load(gates + o), du = v128.mul<real>(sum, v128.mul<real>(g, v128.sub<real>(v128.splat<real>(1), g)));
  if (ut) v128.store(ut + o, du);
  else v128.store(dt + o, v128.add<real>(d, du));
  return sum;
}

/**
 * The backward pass of `copeLogits`, from the first key to the last: a gate counts in the positions of its own key and of all before
 * it. `dt` holds the gradient of the logits; the gates' is added there, or left in `ut` where gates have logits of their own. Leaves dz,
 * `reach` rows of lanes; `dpairs` must be zeros.
 */
export function copeBack(end: usize, p: usize, reach: usize, certain: usize, pairs: usize, gates: usize, places: usize, dt: usize, ut: usize, dpairs: usize, dz: usize): void {
  const most = v128.splat<real>(<real>(p - 1));
  let sum0 = v128.splat<real>(0), sum1 = sum0, past0 = sum0, past1 = sum0;
  for (let o: usize = 0; o < certain * ROW; o += ROW) {
    past0 = v128.add<real>(past0, v128.load(dt + o));
    past1 = v128.add<real>(past1, v128.load(dt + o, 16));
    if (ut) { v128.store(ut + o, sum0); v128.store(ut + o, sum0, 16); }
  }
  for (let o = certain * ROW; o < end * ROW; o += ROW) {
    sum0 = keyBack(o, sum0, most, pairs, gates, places, dt, ut, dpairs);
    sum1 = keyBack(o + 16, sum1, most, pairs + LANES * PAIR, gates, places, dt, ut, dpairs + LANES * PAIR);
  }
  for (let f: usize = 0; f < reach; f++)
    for (let c: usize = 0; c < NR; c++) {
      const at = dpairs + f * PAIRS + c * PAIR;
      store<real>(dz + f * ROW + c * W, load<real>(at) + (f ? load<real>(at - PAIRS + W) : 0));
    }
  if (!certain) return;
  const last = dz + (p - 1) * ROW;
  v128.store(last, v128.add<real>(v128.load(last), past0));
  v128.store(last, v128.add<real>(v128.load(last, 16), past1), 16);
}
