// matmul.ts: one blocked product for every form. Strides tell a from aᵀ.
//
// ai, ak      how far rows and columns of a lie apart; so bk, bn of b, and yi, the rows of y
// ap          how far panels of a lie apart, MR rows each
// c, ci       what a tile's sums are added to, and how far its rows lie apart
// edge        room for one tile that is too wide for y
// Strides of `matmul` and `packColumns` are in numbers, all others in bytes.
//
// How the data moves: a block of b (KC x NC) is packed into panels NR wide, k-major, which transposes it where that is
// due. A tile keeps MR x NR sums in registers and streams through one panel of b and MR rows of a, tile after tile down
// the panel. a is read where it lies, by `tileRows` where the numbers of a row lie together and by `tile` where those
// of a column do; only for wide products, whose rows of a are read again and again, is it packed first (blocks of MC
// rows, panels MR high, k-major). Every number of y is summed in the order of k, whatever the blocking of rows and
// columns, so work may be split by rows or columns without changing a bit. Panels of b are padded with zeros; a tile
// that is too wide for y is computed into a buffer, and what exists is copied out.
//
// Of 16 vector registers V8 keeps one. Multiply, then add, needs one more for the product, and 6 x 2 sums push one of
// them through memory in every round. Tiles by themselves, panels in L1, best of 60 rounds in turn, in GFLOP/s on an
// AMD EPYC (Zen 4) whose ceiling was 48 for multiply-then-add and 59 for the fused one; `npm run bench -- kernels
// --case matmul` measures what was chosen:
//   rows of a tile    6   5   4
//   exact, Node 24   26  46  44
//   exact, Node 20   24  21  38   (schedules loads first, so that splats spill)
//   fused, Node 24   54  52  49
// Four rows it is for the exact engine, which also wastes nothing on widths that are multiples of 4, and six for the
// fast one.
//
// What keeps tiles from the ceiling (node --print-wasm-code): V8 does not fold a constant offset into a load that
// splats, and spends a `lea` on it. A round of the exact 4 x 8 tile is 16 instructions of arithmetic, which Zen 4 does
// in 4 cycles, among some 30, and 6 enter in a cycle: 5 cycles. `tileRows` would need six pointers moved in every
// round; four rounds to one move, with a way out after each, since Node 20 schedules all loads of a straight run first
// and spills, took 1024 x 64 x 256 from 46 to 52 GFLOP/s (fused).
import { widenAll } from "./columns";
import { LANES, madd } from "./simd";

const W: usize = sizeof<real>();
/** Rows and columns of a tile. */
export const MR: usize = ASC_FEATURE_RELAXED_SIMD ? 6 : 4;
export const NR: usize = 2 * LANES;
/** Rows of a packed block of a, rows of a block of b, and its columns. */
const MC: usize = 16 * MR;
const KC: usize = 384;
const NC: usize = 512;
/**
 * How wide a product must be for packing a to pay, where numbers of a column lie together and where those of a row do.
 */
const WIDE_COLUMNS: usize = ASC_FEATURE_RELAXED_SIMD ? 256 : 128;
const WIDE_ROWS: usize = ASC_FEATURE_RELAXED_SIMD ? 512 : 128;
/** So many rows are too few for packing b to pay. */
const FEW: usize = 2;
/** Where the edge tile and the panels of b lie in scratch, behind the panels of a. */
const EDGE = MC * KC * W;
const PANELS = EDGE + MR * NR * W;
/**
 * In f32, of more than MANY_TERMS, FEWER at a time are added up, and what comes of them in double precision, in squares
 * of MC rows and SQUARE columns; a million equal terms are good to 3e-7 so, and to 3e-5 in blocks of KC. In f64 no sum
 * has as many: both modules have the same functions, since f64 is kept as what it differs by from f32 (build.mjs).
 */
const MANY_TERMS: usize = sizeof<real>() == 4 ? 16384 : 0x40000000;
const FEWER: usize = 32;
const SQUARE: usize = 64;
const PART = PANELS + KC * NC * W;
const TOTALS = PART + MC * SQUARE * W;

/** Bytes of scratch that `matmul` needs. */
// threads: serial
export function scratchSize(): usize {
  return TOTALS + MC * SQUARE * 8;
}

/**
 * Packs m x k of a, `ai` or `ak` being that of neighbours, into panels MR high, k-major; a last panel that is not full
 * is filled up with zeros.
 */
function packRows(m: usize, k: usize, a: usize, ai: usize, ak: usize, to: usize): void {
  for (let i: usize = 0; i < m; i += MR) {
    const rows = min(MR, m - i);
    const from = a + i * ai;
    if (rows < MR) {
      for (let p: usize = 0; p < k; p++, to += MR * W)
        for (let r: usize = 0; r < MR; r++) store<real>(to + r * W, r < rows ? load<real>(from + r * ai + p * ak) : 0);
    } else if (ai == W) {
      for (let p: usize = 0, at = from; p < k; p++, at += ak, to += MR * W) copyTall(at, to);
    } else to = packTall(k, from, ai, to);
  }
}
/** MR numbers that lie together; the last vector may overlap the one before. */
function copyTall(from: usize, to: usize): void {
  for (let r: usize = 0; r + LANES <= MR; r += LANES) v128.store(to + r * W, v128.load(from + r * W));
  v128.store(to, v128.load(from, (MR - LANES) * W), (MR - LANES) * W);
}
/**
 * MR rows of k numbers, `ai` apart, into one panel: squares are transposed in registers. Returns where the panel ends.
 */
function packTall(k: usize, a: usize, ai: usize, to: usize): usize {
  let p: usize = 0;
  for (const whole = k & ~(LANES - 1); p < whole; p += LANES, a += 16, to += LANES * MR * W) {
    let r: usize = 0;
    for (; r + LANES <= MR; r += LANES) transpose(a + r * ai, ai, to + r * W, MR * W);
    for (; r < MR; r++)
      for (let l: usize = 0; l < LANES; l++) store<real>(to + (l * MR + r) * W, load<real>(a + r * ai + l * W));
  }
  for (; p < k; p++, a += W, to += MR * W)
    for (let r: usize = 0; r < MR; r++) store<real>(to + r * W, load<real>(a + r * ai));
  return to;
}

/**
 * Packs k x n of b, `bk` or `bn` being 1, into panels NR wide, k-major; a last panel that is not full is filled up with
 * zeros.
 */
export function packColumns(k: usize, n: usize, b: usize, bk: usize, bn: usize, to: usize): void {
  for (let j: usize = 0; j < n; j += NR) {
    const columns = min(NR, n - j);
    const from = b + j * bn * W;
    if (columns < NR) {
      for (let p: usize = 0; p < k; p++, to += NR * W)
        for (let c: usize = 0; c < NR; c++)
          store<real>(to + c * W, c < columns ? load<real>(from + (p * bk + c * bn) * W) : 0);
    } else if (bn == 1) {
      for (let p: usize = 0, at = from; p < k; p++, at += bk * W, to += NR * W) {
        v128.store(to, v128.load(at));
        v128.store(to, v128.load(at, 16), 16);
      }
    } else {
      packWide(k, from, bn * W, to);
      packWide(k, from + LANES * bn * W, bn * W, to + 16);
      to += k * NR * W;
    }
  }
}
/** LANES rows of k numbers, `bn` apart, into one half of a panel's width. */
function packWide(k: usize, b: usize, bn: usize, to: usize): void {
  let p: usize = 0;
  for (const whole = k & ~(LANES - 1); p < whole; p += LANES, b += 16, to += LANES * NR * W)
    transpose(b, bn, to, NR * W);
  for (; p < k; p++, b += W, to += NR * W)
    for (let c: usize = 0; c < LANES; c++) store<real>(to + c * W, load<real>(b + c * bn));
}
class Inlined {
  /** `add` is fixed in each copy: asked at run time, a square takes three times as long. */
  @inline static transpose(x: usize, xi: usize, y: usize, yi: usize, add: bool): void {
    const r0 = v128.load(x);
    const r1 = v128.load(x + xi);
    if (sizeof<real>() == 4) {
      const r2 = v128.load(x + 2 * xi);
      const r3 = v128.load(x + 3 * xi);
      const a0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
      const a1 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
      const b0 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
      const b1 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
      Inlined.put(y, v128.shuffle<f64>(a0, b0, 0, 2), add);
      Inlined.put(y + yi, v128.shuffle<f64>(a0, b0, 1, 3), add);
      Inlined.put(y + 2 * yi, v128.shuffle<f64>(a1, b1, 0, 2), add);
      Inlined.put(y + 3 * yi, v128.shuffle<f64>(a1, b1, 1, 3), add);
    } else {
      Inlined.put(y, v128.shuffle<f64>(r0, r1, 0, 2), add);
      Inlined.put(y + yi, v128.shuffle<f64>(r0, r1, 1, 3), add);
    }
  }
  /** sum + Σ_i a[i] b[i] over LANES numbers of LANES columns of b, whose numbers lie together. */
  @inline static across(a: usize, b: usize, bn: usize, sum: v128): v128 {
    const r0 = v128.load(b);
    const r1 = v128.load(b + bn);
    if (sizeof<real>() == 8) {
      sum = madd(v128.load_splat<real>(a), v128.shuffle<f64>(r0, r1, 0, 2), sum);
      return madd(v128.load_splat<real>(a, W), v128.shuffle<f64>(r0, r1, 1, 3), sum);
    }
    const r2 = v128.load(b + 2 * bn);
    const r3 = v128.load(b + 3 * bn);
    const a0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
    const b0 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
    sum = madd(v128.load_splat<real>(a), v128.shuffle<f64>(a0, b0, 0, 2), sum);
    sum = madd(v128.load_splat<real>(a, W), v128.shuffle<f64>(a0, b0, 1, 3), sum);
    const a1 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
    const b1 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
    sum = madd(v128.load_splat<real>(a, 2 * W), v128.shuffle<f64>(a1, b1, 0, 2), sum);
    return madd(v128.load_splat<real>(a, 3 * W), v128.shuffle<f64>(a1, b1, 1, 3), sum);
  }
  @inline static put(y: usize, v: v128, add: bool): void {
    v128.store(y, add ? v128.add<real>(v128.load(y), v) : v);
  }
}
/** y = xᵀ, a square of LANES rows, `xi` apart in x and `yi` in y. */
export function transpose(x: usize, xi: usize, y: usize, yi: usize): void {
  Inlined.transpose(x, xi, y, yi, false);
}
/** y += xᵀ */
export function transposeAdd(x: usize, xi: usize, y: usize, yi: usize): void {
  Inlined.transpose(x, xi, y, yi, true);
}

/**
 * One column of tiles: y = c + alpha a b for NR columns. In a the numbers of a column lie together. c at address 0:
 * nothing is added. All MR numbers of a last tile's columns are read, though it be less high.
 */
export function tile(
  m: usize,
  k: usize,
  alpha: real,
  a: usize,
  ap: usize,
  ak: usize,
  b: usize,
  bk: usize,
  c: usize,
  ci: usize,
  y: usize,
  yi: usize,
): void {
  const from = b;
  const end = b + k * bk;
  if (!c) ci = 0;
  for (; m; m = m > MR ? m - MR : 0, a += ap, y += MR * yi, c += MR * ci) {
    const rows = min(MR, m);
    b = from;
    let a0 = a;
    let c00 = v128.splat<real>(0);
    let c01 = c00;
    let c10 = c00;
    let c11 = c00;
    let c20 = c00;
    let c21 = c00;
    let c30 = c00;
    let c31 = c00;
    let c40 = c00;
    let c41 = c00;
    let c50 = c00;
    let c51 = c00;
    for (; b != end; a0 += ak, b += bk) {
      const b0 = v128.load(b);
      const b1 = v128.load(b, 16);
      let s = v128.load_splat<real>(a0);
      c00 = madd(s, b0, c00);
      c01 = madd(s, b1, c01);
      s = v128.load_splat<real>(a0, W);
      c10 = madd(s, b0, c10);
      c11 = madd(s, b1, c11);
      s = v128.load_splat<real>(a0, 2 * W);
      c20 = madd(s, b0, c20);
      c21 = madd(s, b1, c21);
      s = v128.load_splat<real>(a0, 3 * W);
      c30 = madd(s, b0, c30);
      c31 = madd(s, b1, c31);
      if (MR == 6) {
        s = v128.load_splat<real>(a0, 4 * W);
        c40 = madd(s, b0, c40);
        c41 = madd(s, b1, c41);
        s = v128.load_splat<real>(a0, 5 * W);
        c50 = madd(s, b0, c50);
        c51 = madd(s, b1, c51);
      }
    }
    if (alpha != 1) {
      const by = v128.splat<real>(alpha);
      c00 = v128.mul<real>(by, c00);
      c01 = v128.mul<real>(by, c01);
      c10 = v128.mul<real>(by, c10);
      c11 = v128.mul<real>(by, c11);
      c20 = v128.mul<real>(by, c20);
      c21 = v128.mul<real>(by, c21);
      c30 = v128.mul<real>(by, c30);
      c31 = v128.mul<real>(by, c31);
      if (MR == 6) {
        c40 = v128.mul<real>(by, c40);
        c41 = v128.mul<real>(by, c41);
        c50 = v128.mul<real>(by, c50);
        c51 = v128.mul<real>(by, c51);
      }
    }
    putRow(y, c00, c01, c);
    if (rows > 1) putRow(y + yi, c10, c11, c + ci);
    if (rows > 2) putRow(y + 2 * yi, c20, c21, c + 2 * ci);
    if (rows > 3) putRow(y + 3 * yi, c30, c31, c + 3 * ci);
    if (MR == 6) {
      if (rows > 4) putRow(y + 4 * yi, c40, c41, c + 4 * ci);
      if (rows > 5) putRow(y + 5 * yi, c50, c51, c + 5 * ci);
    }
  }
}

/** As `tile`, of an a in which the numbers of a row lie together. Only numbers that are there are read. */
export function tileRows(
  m: usize,
  k: usize,
  alpha: real,
  a: usize,
  ai: usize,
  b: usize,
  bk: usize,
  c: usize,
  ci: usize,
  y: usize,
  yi: usize,
): void {
  const from = b;
  const end = b + k * bk;
  if (!c) ci = 0;
  for (; m; m = m > MR ? m - MR : 0, a += MR * ai, y += MR * yi, c += MR * ci) {
    const rows = min(MR, m);
    b = from;
    let a0 = a;
    let c00 = v128.splat<real>(0);
    let c01 = c00;
    let c10 = c00;
    let c11 = c00;
    let c20 = c00;
    let c21 = c00;
    let c30 = c00;
    let c31 = c00;
    let c40 = c00;
    let c41 = c00;
    let c50 = c00;
    let c51 = c00;
    let a1 = a0 + ai;
    let a2 = a1 + ai;
    let a3 = a2 + ai;
    let a4 = a3 + ai;
    let a5 = a4 + ai;
    if (rows < MR) {
      // the last row that is there stands in for the others
      if (rows < 2) a1 = a0;
      if (rows < 3) a2 = a1;
      if (rows < 4) a3 = a2;
      if (rows < 5) a4 = a3;
      if (rows < 6) a5 = a4;
    }
    let b0: v128;
    let b1: v128;
    let s: v128;
    for (; b != end; b += bk) {
      b0 = v128.load(b);
      b1 = v128.load(b, 16);
      s = v128.load_splat<real>(a0);
      c00 = madd(s, b0, c00);
      c01 = madd(s, b1, c01);
      s = v128.load_splat<real>(a1);
      c10 = madd(s, b0, c10);
      c11 = madd(s, b1, c11);
      s = v128.load_splat<real>(a2);
      c20 = madd(s, b0, c20);
      c21 = madd(s, b1, c21);
      s = v128.load_splat<real>(a3);
      c30 = madd(s, b0, c30);
      c31 = madd(s, b1, c31);
      if (MR == 6) {
        s = v128.load_splat<real>(a4);
        c40 = madd(s, b0, c40);
        c41 = madd(s, b1, c41);
        s = v128.load_splat<real>(a5);
        c50 = madd(s, b0, c50);
        c51 = madd(s, b1, c51);
      }
      b += bk;
      if (b == end) break;
      b0 = v128.load(b);
      b1 = v128.load(b, 16);
      s = v128.load_splat<real>(a0, W);
      c00 = madd(s, b0, c00);
      c01 = madd(s, b1, c01);
      s = v128.load_splat<real>(a1, W);
      c10 = madd(s, b0, c10);
      c11 = madd(s, b1, c11);
      s = v128.load_splat<real>(a2, W);
      c20 = madd(s, b0, c20);
      c21 = madd(s, b1, c21);
      s = v128.load_splat<real>(a3, W);
      c30 = madd(s, b0, c30);
      c31 = madd(s, b1, c31);
      if (MR == 6) {
        s = v128.load_splat<real>(a4, W);
        c40 = madd(s, b0, c40);
        c41 = madd(s, b1, c41);
        s = v128.load_splat<real>(a5, W);
        c50 = madd(s, b0, c50);
        c51 = madd(s, b1, c51);
      }
      b += bk;
      if (b == end) break;
      b0 = v128.load(b);
      b1 = v128.load(b, 16);
      s = v128.load_splat<real>(a0, 2 * W);
      c00 = madd(s, b0, c00);
      c01 = madd(s, b1, c01);
      s = v128.load_splat<real>(a1, 2 * W);
      c10 = madd(s, b0, c10);
      c11 = madd(s, b1, c11);
      s = v128.load_splat<real>(a2, 2 * W);
      c20 = madd(s, b0, c20);
      c21 = madd(s, b1, c21);
      s = v128.load_splat<real>(a3, 2 * W);
      c30 = madd(s, b0, c30);
      c31 = madd(s, b1, c31);
      if (MR == 6) {
        s = v128.load_splat<real>(a4, 2 * W);
        c40 = madd(s, b0, c40);
        c41 = madd(s, b1, c41);
        s = v128.load_splat<real>(a5, 2 * W);
        c50 = madd(s, b0, c50);
        c51 = madd(s, b1, c51);
      }
      b += bk;
      if (b == end) break;
      b0 = v128.load(b);
      b1 = v128.load(b, 16);
      s = v128.load_splat<real>(a0, 3 * W);
      c00 = madd(s, b0, c00);
      c01 = madd(s, b1, c01);
      s = v128.load_splat<real>(a1, 3 * W);
      c10 = madd(s, b0, c10);
      c11 = madd(s, b1, c11);
      s = v128.load_splat<real>(a2, 3 * W);
      c20 = madd(s, b0, c20);
      c21 = madd(s, b1, c21);
      s = v128.load_splat<real>(a3, 3 * W);
      c30 = madd(s, b0, c30);
      c31 = madd(s, b1, c31);
      if (MR == 6) {
        s = v128.load_splat<real>(a4, 3 * W);
        c40 = madd(s, b0, c40);
        c41 = madd(s, b1, c41);
        s = v128.load_splat<real>(a5, 3 * W);
        c50 = madd(s, b0, c50);
        c51 = madd(s, b1, c51);
      }
      a0 += 4 * W;
      a1 += 4 * W;
      a2 += 4 * W;
      a3 += 4 * W;
      a4 += 4 * W;
      a5 += 4 * W;
    }
    if (alpha != 1) {
      const by = v128.splat<real>(alpha);
      c00 = v128.mul<real>(by, c00);
      c01 = v128.mul<real>(by, c01);
      c10 = v128.mul<real>(by, c10);
      c11 = v128.mul<real>(by, c11);
      c20 = v128.mul<real>(by, c20);
      c21 = v128.mul<real>(by, c21);
      c30 = v128.mul<real>(by, c30);
      c31 = v128.mul<real>(by, c31);
      if (MR == 6) {
        c40 = v128.mul<real>(by, c40);
        c41 = v128.mul<real>(by, c41);
        c50 = v128.mul<real>(by, c50);
        c51 = v128.mul<real>(by, c51);
      }
    }
    putRow(y, c00, c01, c);
    if (rows > 1) putRow(y + yi, c10, c11, c + ci);
    if (rows > 2) putRow(y + 2 * yi, c20, c21, c + 2 * ci);
    if (rows > 3) putRow(y + 3 * yi, c30, c31, c + 3 * ci);
    if (MR == 6) {
      if (rows > 4) putRow(y + 4 * yi, c40, c41, c + 4 * ci);
      if (rows > 5) putRow(y + 5 * yi, c50, c51, c + 5 * ci);
    }
  }
}

/** One row of a tile: y = c + (c0, c1), c at address 0 being none. */
function putRow(y: usize, c0: v128, c1: v128, c: usize): void {
  if (c) {
    c0 = v128.add<real>(v128.load(c), c0);
    c1 = v128.add<real>(v128.load(c, 16), c1);
  }
  v128.store(y, c0);
  v128.store(y, c1, 16);
}

/** y = c + alpha a b of b packed by columns; c at address 0: nothing is added. */
function panels(
  m: usize,
  k: usize,
  n: usize,
  alpha: real,
  a: usize,
  ap: usize,
  ai: usize,
  ak: usize,
  b: usize,
  c: usize,
  ci: usize,
  y: usize,
  yi: usize,
  edge: usize,
): void {
  for (let j: usize = 0; j < n; j += NR, b += k * NR * W) {
    const to = y + j * W;
    const from = c ? c + j * W : 0;
    if (n - j >= NR) {
      if (ai == W) tile(m, k, alpha, a, ap, ak, b, NR * W, from, ci, to, yi);
      else tileRows(m, k, alpha, a, ai, b, NR * W, from, ci, to, yi);
      continue;
    }
    for (let i: usize = 0; i < m; i += MR) {
      const rows = min(MR, m - i);
      const at = a + (i / MR) * ap;
      if (ai == W) tile(rows, k, alpha, at, ap, ak, b, NR * W, 0, 0, edge, NR * W);
      else tileRows(rows, k, alpha, at, ai, b, NR * W, 0, 0, edge, NR * W);
      copyEdge(rows, n - j, edge, from ? from + i * ci : 0, ci, to + i * yi, yi);
    }
  }
}
/** y = c + what exists of the edge tile, `n` columns of it. */
function copyEdge(rows: usize, n: usize, edge: usize, c: usize, ci: usize, y: usize, yi: usize): void {
  for (let i: usize = 0; i < rows; i++)
    for (let j: usize = 0; j < n; j++) {
      const sum = load<real>(edge + (i * NR + j) * W);
      store<real>(y + i * yi + j * W, c ? load<real>(c + i * ci + j * W) + sum : sum);
    }
}

/**
 * y = c + alpha a b for one row of 4 LANES columns; in a its numbers lie together, in b those of a column, columns `bn`
 * apart.
 */
function strip(k: usize, alpha: real, a: usize, b: usize, bn: usize, c: usize, y: usize): void {
  let s0 = v128.splat<real>(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  const next = LANES * bn;
  for (const end = a + k * W; a != end; a += 16, b += 16) {
    s0 = Inlined.across(a, b, bn, s0);
    s1 = Inlined.across(a, b + next, bn, s1);
    s2 = Inlined.across(a, b + 2 * next, bn, s2);
    s3 = Inlined.across(a, b + 3 * next, bn, s3);
  }
  if (alpha != 1) {
    const by = v128.splat<real>(alpha);
    s0 = v128.mul<real>(by, s0);
    s1 = v128.mul<real>(by, s1);
    s2 = v128.mul<real>(by, s2);
    s3 = v128.mul<real>(by, s3);
  }
  putRow(y, s0, s1, c);
  putRow(y + 32, s2, s3, c && c + 32);
}
/** `matmul` of few rows, each column of b from end to end: nothing is packed. */
function strips(
  m: usize,
  k: usize,
  n: usize,
  alpha: real,
  a: usize,
  ai: usize,
  b: usize,
  bn: usize,
  bias: usize,
  y: usize,
  yi: usize,
  add: bool,
): void {
  for (let j: usize = 0; j < n; j += 4 * LANES)
    for (let p: usize = 0; p < k; p += KC) {
      const kc = min(KC, k - p);
      for (let i: usize = 0; i < m; i++) {
        const to = y + (i * yi + j) * W;
        const c = add || p > 0 ? to : bias ? bias + j * W : 0;
        strip(kc, alpha, a + (i * ai + p) * W, b + (j * bn + p) * W, bn * W, c, to);
      }
    }
}

/** `matmul` of many terms. */
function manyTerms(
  m: usize,
  k: usize,
  n: usize,
  alpha: real,
  a: usize,
  ai: usize,
  ak: usize,
  b: usize,
  bk: usize,
  bn: usize,
  bias: usize,
  y: usize,
  yi: usize,
  add: bool,
  scratch: usize,
): void {
  const part = scratch + PART;
  const totals = scratch + TOTALS;
  for (let j: usize = 0; j < n; j += SQUARE)
    for (let i: usize = 0; i < m; i += MC) {
      const rows = min(MC, m - i);
      const columns = min(SQUARE, n - j);
      memory.fill(totals, 0, rows * SQUARE * 8);
      for (let p: usize = 0; p < k; p += FEWER) {
        const from = a + (i * ai + p * ak) * W;
        const terms = min(FEWER, k - p);
        matmul(
          rows,
          terms,
          columns,
          1,
          from,
          ai,
          ak,
          b + (p * bk + j * bn) * W,
          bk,
          bn,
          0,
          part,
          SQUARE,
          false,
          scratch,
        );
        widenAll(rows * SQUARE * W, part, totals);
      }
      for (let r: usize = 0; r < rows; r++)
        for (let c: usize = 0; c < columns; c++) {
          const to = y + ((i + r) * yi + j + c) * W;
          const from: real = add ? load<real>(to) : bias ? load<real>(bias + (j + c) * W) : 0;
          store<real>(to, from + alpha * <real>load<f64>(totals + (r * SQUARE + c) * 8));
        }
    }
}

/**
 * y = alpha a b, plus `bias` in every row (n numbers; 0 for none); added to y instead when `add`. a is m x k, b is
 * k x n. Rows of a lie `ai` apart and columns `ak`, one of the two being 1; rows of b `bk` and columns `bn`, likewise;
 * rows of y `yi` and columns 1.
 */
// threads: m*12 a+ai y+yi scratch@ | 0.1 ns m k n
// threads: n*8 b+bn bias+1 y+1 scratch@ | 0.1 ns m k n
export function matmul(
  m: usize,
  k: usize,
  n: usize,
  alpha: real,
  a: usize,
  ai: usize,
  ak: usize,
  b: usize,
  bk: usize,
  bn: usize,
  bias: usize,
  y: usize,
  yi: usize,
  add: bool,
  scratch: usize,
): void {
  if (!y) return;
  if (k > MANY_TERMS) return manyTerms(m, k, n, alpha, a, ai, ak, b, bk, bn, bias, y, yi, add, scratch);
  if (m <= FEW && ak == 1 && bk == 1 && k % LANES == 0 && k) {
    const whole = n & ~(4 * LANES - 1);
    strips(m, k, whole, alpha, a, ai, b, bn, bias, y, yi, add);
    n -= whole;
    b += whole * bn * W;
    if (bias) bias += whole * W;
    y += whole * W;
  }
  const packedB = scratch + PANELS;
  const packs = n >= (ai == 1 ? WIDE_COLUMNS : WIDE_ROWS);
  for (let j: usize = 0; j < n; j += NC) {
    const nc = min(NC, n - j);
    for (let p: usize = 0; p < k || !p; p += KC) {
      const kc = min(KC, k - p);
      const adds = add || p > 0;
      packColumns(kc, nc, b + (p * bk + j * bn) * W, bk, bn, packedB);
      for (let i: usize = 0; i < m; i += MC) {
        const mc = min(MC, m - i);
        const to = y + (i * yi + j) * W;
        const c = adds ? to : bias ? bias + j * W : 0;
        const ci = adds ? yi * W : 0;
        let from = a + (i * ai + p * ak) * W;
        let ap = MR * ai * W;
        let rowStep = ai * W;
        let columnStep = ak * W;
        if (packs) {
          packRows(mc, kc, from, rowStep, columnStep, scratch);
          from = scratch;
          ap = MR * kc * W;
          rowStep = W;
          columnStep = MR * W;
        }
        panels(mc, kc, nc, alpha, from, ap, rowStep, columnStep, packedB, c, ci, to, yi * W, scratch + EDGE);
      }
    }
  }
}
