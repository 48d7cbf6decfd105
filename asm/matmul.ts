// matmul.ts: one packed, blocked product for every form. Strides in elements tell a from aᵀ; packing does the transposing.
//
// How the data moves: a block of b (KC x NC) is packed into panels NR wide, k-major; then block after block of a (MC x KC) into
// panels MR high, k-major. The tile keeps MR x NR sums in registers and streams through one panel of each. Every number of y is
// summed in the order of k, whatever the blocking of rows and columns, so work may be split by rows or columns without changing a
// bit. Panels are padded with zeros; a tile at the edge is computed whole into a buffer, and only what exists is copied out.
//
// Of 16 vector registers V8 keeps one. Multiply, then add, needs one more for the product, and 6 x 2 sums push one of them through
// memory in every round. Tiles by themselves, panels in L1, best of 60 rounds in turn, in GFLOP/s on an AMD EPYC (Zen 4) whose ceiling
// was 48 for multiply-then-add and 59 for the fused one; `npm run bench -- kernels --case matmul` measures what was chosen:
//   rows of a tile                    6     5     4
//   exact, Node 24                   26    46    44
//   exact, Node 20 (schedules loads  24    21    38
//     first, so that splats spill)
//   fused, Node 24                   54    52    49
// Four rows it is for the exact engine, which also wastes nothing on widths that are multiples of 4, and six for the fast one.
import { LANES, madd } from "./simd";

const W: usize = sizeof<real>();
/** Rows and columns of a tile. */
export const MR: usize = ASC_FEATURE_RELAXED_SIMD ? 6 : 4;
export const NR: usize = 2 * LANES;
const MC: usize = 16 * MR;
const KC: usize = 256;
const NC: usize = 512;
const TILE = MC * KC * W;            // where the edge tile's buffer lies in scratch
const PANELS = TILE + MR * NR * W;   // where packed b lies

/** Bytes of scratch that `matmul` needs. */
export function scratchSize(): usize { return PANELS + KC * NC * W; }

/** Packs m x k of a into panels MR high, k-major; a last panel that is not full is filled up with zeros. */
export function packRows(m: usize, k: usize, a: usize, ai: usize, ak: usize, to: usize): void {
  for (let i: usize = 0; i < m; i += MR) {
    const rows = min(MR, m - i), from = a + i * ai * W;
    if (rows < MR) {
      for (let p: usize = 0; p < k; p++, to += MR * W)
        for (let r: usize = 0; r < MR; r++) store<real>(to + r * W, r < rows ? load<real>(from + (r * ai + p * ak) * W) : 0);
    } else if (ai == 1) {
      for (let p: usize = 0, at = from; p < k; p++, at += ak * W, to += MR * W) copyTall(at, to);
    } else if (ak == 1) {
      to = packTall(k, from, ai * W, to);
    } else {
      for (let p: usize = 0, at = from; p < k; p++, at += ak * W, to += MR * W)
        for (let r: usize = 0; r < MR; r++) store<real>(to + r * W, load<real>(at + r * ai * W));
    }
  }
}
/** MR numbers that lie together. */
function copyTall(from: usize, to: usize): void {
  let r: usize = 0;
  for (; r + LANES <= MR; r += LANES) v128.store(to + r * W, v128.load(from + r * W));
  for (; r < MR; r++) store<real>(to + r * W, load<real>(from + r * W));
}
/** MR rows of k numbers, `step` bytes apart, into one panel: squares are transposed in registers. Returns where the panel ends. */
function packTall(k: usize, a: usize, step: usize, to: usize): usize {
  let p: usize = 0;
  for (const whole = k & ~(LANES - 1); p < whole; p += LANES, a += 16, to += LANES * MR * W) {
    let r: usize = 0;
    for (; r + LANES <= MR; r += LANES) transpose(a + r * step, step, to + r * W, MR * W);
    for (; r < MR; r++) for (let l: usize = 0; l < LANES; l++) store<real>(to + (l * MR + r) * W, load<real>(a + r * step + l * W));
  }
  for (; p < k; p++, a += W, to += MR * W)
    for (let r: usize = 0; r < MR; r++) store<real>(to + r * W, load<real>(a + r * step));
  return to;
}

/** Packs k x n of b into panels NR wide, k-major; a last panel that is not full is filled up with zeros. */
export function packColumns(k: usize, n: usize, b: usize, bk: usize, bn: usize, to: usize): void {
  for (let j: usize = 0; j < n; j += NR) {
    const columns = min(NR, n - j), from = b + j * bn * W;
    if (columns < NR) {
      for (let p: usize = 0; p < k; p++, to += NR * W)
        for (let c: usize = 0; c < NR; c++) store<real>(to + c * W, c < columns ? load<real>(from + (p * bk + c * bn) * W) : 0);
    } else if (bn == 1) {
      for (let p: usize = 0, at = from; p < k; p++, at += bk * W, to += NR * W) {
        v128.store(to, v128.load(at));
        v128.store(to, v128.load(at, 16), 16);
      }
    } else if (bk == 1) {
      packWide(k, from, bn * W, to);
      packWide(k, from + LANES * bn * W, bn * W, to + 16);
      to += k * NR * W;
    } else {
      for (let p: usize = 0; p < k; p++, to += NR * W)
        for (let c: usize = 0; c < NR; c++) store<real>(to + c * W, load<real>(from + (p * bk + c * bn) * W));
    }
  }
}
/** LANES rows of k numbers, `step` bytes apart, into one half of a panel's width. */
function packWide(k: usize, b: usize, step: usize, to: usize): void {
  let p: usize = 0;
  for (const whole = k & ~(LANES - 1); p < whole; p += LANES, b += 16, to += LANES * NR * W) transpose(b, step, to, NR * W);
  for (; p < k; p++, b += W, to += NR * W)
    for (let c: usize = 0; c < LANES; c++) store<real>(to + c * W, load<real>(b + c * step));
}
/** A LANES x LANES square from rows `step` bytes apart to rows `pitch` bytes apart, transposed. */
export function transpose(x: usize, step: usize, y: usize, pitch: usize): void {
  const r0 = v128.load(x), r1 = v128.load(x + step);
  if (sizeof<real>() == 4) {
    const r2 = v128.load(x + 2 * step), r3 = v128.load(x + 3 * step);
    const a0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5), a1 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
    const b0 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5), b1 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
    v128.store(y, v128.shuffle<f64>(a0, b0, 0, 2));
    v128.store(y + pitch, v128.shuffle<f64>(a0, b0, 1, 3));
    v128.store(y + 2 * pitch, v128.shuffle<f64>(a1, b1, 0, 2));
    v128.store(y + 3 * pitch, v128.shuffle<f64>(a1, b1, 1, 3));
  } else {
    v128.store(y, v128.shuffle<f64>(r0, r1, 0, 2));
    v128.store(y + pitch, v128.shuffle<f64>(r0, r1, 1, 3));
  }
}

/** One MR x NR tile: y = alpha * (panel of a) * (panel of b), or y += when `add`. */
function tile(kc: usize, alpha: real, a: usize, b: usize, y: usize, yi: usize, add: bool): void {
  let c00 = v128.splat<real>(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00;
  let c30 = c00, c31 = c00, c40 = c00, c41 = c00, c50 = c00, c51 = c00;
  for (const end = a + kc * MR * W; a < end; a += MR * W, b += NR * W) {
    const b0 = v128.load(b), b1 = v128.load(b, 16);
    let s = v128.load_splat<real>(a);
    c00 = madd(s, b0, c00); c01 = madd(s, b1, c01);
    s = v128.load_splat<real>(a, W);
    c10 = madd(s, b0, c10); c11 = madd(s, b1, c11);
    s = v128.load_splat<real>(a, 2 * W);
    c20 = madd(s, b0, c20); c21 = madd(s, b1, c21);
    s = v128.load_splat<real>(a, 3 * W);
    c30 = madd(s, b0, c30); c31 = madd(s, b1, c31);
    if (MR == 6) {
      s = v128.load_splat<real>(a, 4 * W);
      c40 = madd(s, b0, c40); c41 = madd(s, b1, c41);
      s = v128.load_splat<real>(a, 5 * W);
      c50 = madd(s, b0, c50); c51 = madd(s, b1, c51);
    }
  }
  const by = v128.splat<real>(alpha), step = yi * W;
  put(y, by, c00, c01, add); y += step;
  put(y, by, c10, c11, add); y += step;
  put(y, by, c20, c21, add); y += step;
  put(y, by, c30, c31, add); y += step;
  if (MR == 6) {
    put(y, by, c40, c41, add); y += step;
    put(y, by, c50, c51, add);
  }
}

export function put(y: usize, by: v128, c0: v128, c1: v128, add: bool): void {
  c0 = v128.mul<real>(by, c0);
  c1 = v128.mul<real>(by, c1);
  if (add) {
    c0 = v128.add<real>(v128.load(y), c0);
    c1 = v128.add<real>(v128.load(y, 16), c1);
  }
  v128.store(y, c0);
  v128.store(y, c1, 16);
}

/** y = alpha a b, or y += when `add`, of a packed by rows, its panels `depth` >= k deep, and b packed by columns; `edge` is room for one tile. */
export function panels(m: usize, k: usize, n: usize, alpha: real, a: usize, depth: usize, b: usize, y: usize, yi: usize, add: bool, edge: usize): void {
  for (let j: usize = 0; j < n; j += NR) {
    const columns = min(NR, n - j);
    for (let i: usize = 0; i < m; i += MR) {
      const rows = min(MR, m - i), at = y + (i * yi + j) * W, pa = a + i * depth * W, pb = b + j * k * W;
      if (rows == MR && columns == NR) tile(k, alpha, pa, pb, at, yi, add);
      else {
        tile(k, alpha, pa, pb, edge, NR, false);
        for (let r: usize = 0; r < rows; r++)
          for (let c: usize = 0; c < columns; c++) {
            const to = at + (r * yi + c) * W, sum = load<real>(edge + (r * NR + c) * W);
            store<real>(to, add ? load<real>(to) + sum : sum);
          }
      }
    }
  }
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
  const edge = scratch + TILE, panelsOfB = scratch + PANELS;
  for (let j: usize = 0; j < n; j += NC) {
    const nc = min(NC, n - j);
    for (let p: usize = 0; p < k; p += KC) {
      const kc = min(KC, k - p), adds = add || p > 0;
      packColumns(kc, nc, b + (p * bk + j * bn) * W, bk, bn, panelsOfB);
      for (let i: usize = 0; i < m; i += MC) {
        const mc = min(MC, m - i);
        packRows(mc, kc, a + (i * ai + p * ak) * W, ai, ak, scratch);
        panels(mc, kc, nc, alpha, scratch, kc, panelsOfB, y + (i * yi + j) * W, yi, adds, edge);
      }
    }
  }
}
