// matmul.ts: one packed, blocked product for every form. Strides in elements tell a from aᵀ; packing does the transposing.
//
// How the data moves: a block of b (KC x NC) is packed into panels NR wide, k-major; then block after block of a (MC x KC) into
// panels MR high, k-major. The tile keeps MR x NR sums in registers (6 x 2 vectors; 12 sums, 2 of b, 1 splat of a: 15 of the
// 16 a CPU has) and streams through one panel of each. Every number of y is summed in the order of k, whatever the blocking of
// rows and columns, so work may be split by rows or columns without changing a bit. Panels are padded with zeros; a tile at the
// edge is computed whole into a buffer, and only what exists is copied out.
import { LANES } from "./simd";

const W: usize = sizeof<real>();
const MR: usize = 6;
const NR: usize = 2 * LANES;
const MC: usize = 96;
const KC: usize = 256;
const NC: usize = 512;
const TILE = MC * KC * W;            // where the edge tile's buffer lies in scratch
const PANELS = TILE + MR * NR * W;   // where packed b lies

/** Bytes of scratch that `matmul` needs. */
export function scratchSize(): usize { return PANELS + KC * NC * W; }

/** Packs mc x kc of a into panels MR high. */
function packRows(mc: usize, kc: usize, a: usize, ai: usize, ak: usize, to: usize): void {
  for (let i: usize = 0; i < mc; i += MR) {
    const rows = min(MR, mc - i), from = a + i * ai * W;
    if (rows == MR) {
      const step = ai * W;
      for (let p: usize = 0, at = from; p < kc; p++, at += ak * W, to += MR * W) {
        store<real>(to, load<real>(at));
        store<real>(to + W, load<real>(at + step));
        store<real>(to + 2 * W, load<real>(at + 2 * step));
        store<real>(to + 3 * W, load<real>(at + 3 * step));
        store<real>(to + 4 * W, load<real>(at + 4 * step));
        store<real>(to + 5 * W, load<real>(at + 5 * step));
      }
    } else {
      for (let p: usize = 0; p < kc; p++, to += MR * W)
        for (let r: usize = 0; r < MR; r++) store<real>(to + r * W, r < rows ? load<real>(from + (r * ai + p * ak) * W) : 0);
    }
  }
}

/** Packs kc x nc of b into panels NR wide. */
function packColumns(kc: usize, nc: usize, b: usize, bk: usize, bn: usize, to: usize): void {
  for (let j: usize = 0; j < nc; j += NR) {
    const columns = min(NR, nc - j), from = b + j * bn * W;
    if (columns < NR) {
      for (let p: usize = 0; p < kc; p++, to += NR * W)
        for (let c: usize = 0; c < NR; c++) store<real>(to + c * W, c < columns ? load<real>(from + (p * bk + c * bn) * W) : 0);
    } else if (bn == 1) {
      for (let p: usize = 0, at = from; p < kc; p++, at += bk * W, to += NR * W) {
        v128.store(to, v128.load(at));
        v128.store(to, v128.load(at, 16), 16);
      }
    } else {
      for (let c: usize = 0; c < NR; c++) {
        let at = from + c * bn * W, put = to + c * W;
        for (let p: usize = 0; p < kc; p++, at += bk * W, put += NR * W) store<real>(put, load<real>(at));
      }
      to += kc * NR * W;
    }
  }
}

/** One MR x NR tile: y = alpha * (panel of a) * (panel of b), or y += when `add`. */
function tile(kc: usize, alpha: real, a: usize, b: usize, y: usize, yi: usize, add: bool): void {
  let c00 = v128.splat<real>(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00;
  let c30 = c00, c31 = c00, c40 = c00, c41 = c00, c50 = c00, c51 = c00;
  for (const end = a + kc * MR * W; a < end; a += MR * W, b += NR * W) {
    const b0 = v128.load(b), b1 = v128.load(b, 16);
    let s = v128.splat<real>(load<real>(a));
    c00 = v128.add<real>(c00, v128.mul<real>(s, b0)); c01 = v128.add<real>(c01, v128.mul<real>(s, b1));
    s = v128.splat<real>(load<real>(a + W));
    c10 = v128.add<real>(c10, v128.mul<real>(s, b0)); c11 = v128.add<real>(c11, v128.mul<real>(s, b1));
    s = v128.splat<real>(load<real>(a + 2 * W));
    c20 = v128.add<real>(c20, v128.mul<real>(s, b0)); c21 = v128.add<real>(c21, v128.mul<real>(s, b1));
    s = v128.splat<real>(load<real>(a + 3 * W));
    c30 = v128.add<real>(c30, v128.mul<real>(s, b0)); c31 = v128.add<real>(c31, v128.mul<real>(s, b1));
    s = v128.splat<real>(load<real>(a + 4 * W));
    c40 = v128.add<real>(c40, v128.mul<real>(s, b0)); c41 = v128.add<real>(c41, v128.mul<real>(s, b1));
    s = v128.splat<real>(load<real>(a + 5 * W));
    c50 = v128.add<real>(c50, v128.mul<real>(s, b0)); c51 = v128.add<real>(c51, v128.mul<real>(s, b1));
  }
  const by = v128.splat<real>(alpha), step = yi * W;
  put(y, by, c00, c01, add); y += step;
  put(y, by, c10, c11, add); y += step;
  put(y, by, c20, c21, add); y += step;
  put(y, by, c30, c31, add); y += step;
  put(y, by, c40, c41, add); y += step;
  put(y, by, c50, c51, add);
}

function put(y: usize, by: v128, c0: v128, c1: v128, add: bool): void {
  c0 = v128.mul<real>(by, c0);
  c1 = v128.mul<real>(by, c1);
  if (add) {
    c0 = v128.add<real>(v128.load(y), c0);
    c1 = v128.add<real>(v128.load(y, 16), c1);
  }
  v128.store(y, c0);
  v128.store(y, c1, 16);
}

/**
 * y = alpha a b, or y += when `add`; a is m x k, b is k x n.
 * a's rows lie `ai` apart and its columns `ak`; b's rows `bk` and columns `bn`; y's rows `yi`, its columns 1.
 */
export function matmul(
  m: usize, k: usize, n: usize, alpha: real,
  a: usize, ai: usize, ak: usize, b: usize, bk: usize, bn: usize,
  y: usize, yi: usize, add: bool, scratch: usize,
): void {
  if (!y) return;
  if (!k && !add) for (let i: usize = 0; i < m; i++) memory.fill(y + i * yi * W, 0, n * W);
  const edge = scratch + TILE, panels = scratch + PANELS;
  for (let j: usize = 0; j < n; j += NC) {
    const nc = min(NC, n - j);
    for (let p: usize = 0; p < k; p += KC) {
      const kc = min(KC, k - p), adds = add || p > 0;
      packColumns(kc, nc, b + (p * bk + j * bn) * W, bk, bn, panels);
      for (let i: usize = 0; i < m; i += MC) {
        const mc = min(MC, m - i);
        packRows(mc, kc, a + (i * ai + p * ak) * W, ai, ak, scratch);
        for (let jj: usize = 0; jj < nc; jj += NR) {
          const columns = min(NR, nc - jj);
          for (let ii: usize = 0; ii < mc; ii += MR) {
            const rows = min(MR, mc - ii), at = y + ((i + ii) * yi + j + jj) * W;
            const pa = scratch + ii * kc * W, pb = panels + jj * kc * W;
            if (rows == MR && columns == NR) tile(kc, alpha, pa, pb, at, yi, adds);
            else {
              tile(kc, alpha, pa, pb, edge, NR, false);
              for (let r: usize = 0; r < rows; r++)
                for (let c: usize = 0; c < columns; c++) {
                  const to = at + (r * yi + c) * W, sum = load<real>(edge + (r * NR + c) * W);
                  store<real>(to, adds ? load<real>(to) + sum : sum);
                }
            }
          }
        }
      }
    }
  }
}
