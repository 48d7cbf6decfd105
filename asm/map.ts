// map.ts: elementwise kernels, each beside its Back twin. Buffers are padded to 16 bytes, so whole vectors cover the
// tail. A Back kernel takes (n, x, y, dy, dx, add) whether its slope is cheapest from x or from y.
import { endOf, keepIf, madd, splat, splatAt, writeOrAdd } from "./simd";
import * as math from "./math";

/** y = e^x */
// threads: n*4 x+1 y+1 | 1.2 ns n
export function exp(n: usize, x: usize, y: usize): void {
  const c = math.expTable();
  const rounder = splatAt(c, 2);
  const log2e = splatAt(c, 3);
  const less = splatAt(c, 4);
  const rest = splatAt(c, 5);
  const one = splatAt(c, 6);
  const p0 = splatAt(c, 7);
  const p1 = splatAt(c, 8);
  const p2 = splatAt(c, 9);
  const p3 = splatAt(c, 10);
  const p4 = splatAt(c, 11);
  const bound = splatAt(c, 12);
  const sign = splatAt(memory.data<real>([-0.0]), 0);
  for (const end = endOf(y, n); y < end; x += 16, y += 16) {
    const v = v128.load(x);
    // Seldom is a number so large, or its power so small, that 2^n takes two factors.
    if (v128.any_true(v128.gt<real>(v128.andnot(v, sign), bound))) v128.store(y, math.exp(v));
    else v128.store(y, math.Inlined.boundedExp(v, rounder, log2e, less, rest, one, p0, p1, p2, p3, p4));
  }
}

/** dx += dy y */
// threads: n*4 x+1 y+1 dy+1 dx+1 | 0.4 ns n
export function expBack(n: usize, x: usize, y: usize, dy: usize, dx: usize, add: bool): void {
  const keep = keepIf(add);
  for (const end = endOf(dx, n); dx < end; y += 16, dy += 16, dx += 16)
    writeOrAdd(dx, v128.mul<real>(v128.load(dy), v128.load(y)), keep);
}

/** y = log x */
// threads: n*4 x+1 y+1 | 1.2 ns n
export function log(n: usize, x: usize, y: usize): void {
  for (const end = endOf(y, n); y < end; x += 16, y += 16) v128.store(y, math.log(v128.load(x)));
}

/** dx += dy/x */
// threads: n*4 x+1 y+1 dy+1 dx+1 | 0.4 ns n
export function logBack(n: usize, x: usize, y: usize, dy: usize, dx: usize, add: bool): void {
  const keep = keepIf(add);
  for (const end = endOf(dx, n); dx < end; x += 16, dy += 16, dx += 16) {
    writeOrAdd(dx, v128.div<real>(v128.load(dy), v128.load(x)), keep);
  }
}

/** y = √x */
// threads: n*4 x+1 y+1 | 0.3 ns n
export function sqrt(n: usize, x: usize, y: usize): void {
  for (const end = endOf(y, n); y < end; x += 16, y += 16) v128.store(y, v128.sqrt<real>(v128.load(x)));
}

/** dx += dy/(2y) */
// threads: n*4 x+1 y+1 dy+1 dx+1 | 0.4 ns n
export function sqrtBack(n: usize, x: usize, y: usize, dy: usize, dx: usize, add: bool): void {
  const keep = keepIf(add);
  const half = splat(0.5);
  for (const end = endOf(dx, n); dx < end; y += 16, dy += 16, dx += 16)
    writeOrAdd(dx, v128.mul<real>(v128.load(dy), v128.div<real>(half, v128.load(y))), keep);
}

/** y = tanh x */
// threads: n*4 x+1 y+1 | 1.2 ns n
export function tanh(n: usize, x: usize, y: usize): void {
  for (const end = endOf(y, n); y < end; x += 16, y += 16) v128.store(y, math.tanh(v128.load(x)));
}

/** dx += dy (1 - y²) */
// threads: n*4 x+1 y+1 dy+1 dx+1 | 0.4 ns n
export function tanhBack(n: usize, x: usize, y: usize, dy: usize, dx: usize, add: bool): void {
  const keep = keepIf(add);
  const one = splat(1);
  for (const end = endOf(dx, n); dx < end; y += 16, dy += 16, dx += 16) {
    const v = v128.load(y);
    writeOrAdd(dx, v128.mul<real>(v128.load(dy), v128.sub<real>(one, v128.mul<real>(v, v))), keep);
  }
}

/** y = 1/(1 + e^-x) */
// threads: n*4 x+1 y+1 | 1.2 ns n
export function sigmoid(n: usize, x: usize, y: usize): void {
  for (const end = endOf(y, n); y < end; x += 16, y += 16) v128.store(y, math.sigmoid(v128.load(x)));
}

/** dx += dy y (1 - y) */
// threads: n*4 x+1 y+1 dy+1 dx+1 | 0.4 ns n
export function sigmoidBack(n: usize, x: usize, y: usize, dy: usize, dx: usize, add: bool): void {
  const keep = keepIf(add);
  const one = splat(1);
  for (const end = endOf(dx, n); dx < end; y += 16, dy += 16, dx += 16) {
    const v = v128.load(y);
    writeOrAdd(dx, v128.mul<real>(v128.load(dy), v128.mul<real>(v, v128.sub<real>(one, v))), keep);
  }
}

/** y = max(x, 0) */
// threads: n*4 x+1 y+1 | 0.3 ns n
export function relu(n: usize, x: usize, y: usize): void {
  const zero = splat(0);
  for (const end = endOf(y, n); y < end; x += 16, y += 16) v128.store(y, v128.pmax<real>(v128.load(x), zero));
}

/** dx += dy unless x <= 0: what NaN sent on it also takes back. */
// threads: n*4 x+1 y+1 dy+1 dx+1 | 0.4 ns n
export function reluBack(n: usize, x: usize, y: usize, dy: usize, dx: usize, add: bool): void {
  const keep = keepIf(add);
  const zero = splat(0);
  for (const end = endOf(dx, n); dx < end; x += 16, dy += 16, dx += 16) {
    writeOrAdd(dx, v128.andnot(v128.load(dy), v128.le<real>(v128.load(x), zero)), keep);
  }
}

/**
 * y = x (1 + tanh u)/2 = x/(1 + e^-2u), u = √(2/π) (x + 0.044715 x³). log2 e lies in u's factors, so that a power of 2
 * will do.
 */
// threads: n*4 x+1 y+1 | 1.2 ns n
export function geluTanh(n: usize, x: usize, y: usize): void {
  const c = memory.data<real>([-0.10294323958002349, -2.302208198144325]);
  const bend = splatAt(c, 0);
  const lean = splatAt(c, 1);
  const t = math.exp2Table();
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
  for (const end = endOf(y, n); y < end; x += 16, y += 16) {
    const v = v128.load(x);
    const u = v128.mul<real>(v, madd(v128.mul<real>(v, v), bend, lean));
    const bounded = v128.pmin<real>(v128.pmax<real>(u, low), high);
    const e = math.Inlined.boundedExp2(bounded, rounder, ln2, one, p0, p1, p2, p3, p4);
    v128.store(y, v128.div<real>(v128.pmax<real>(v, low), v128.add<real>(one, e))); // -Infinity would give NaN
  }
}

/** The gate s of y = x s: y / x, a division instead of an exponential; 1/2 and 1 where x is too small or too large. */
function gateOf(x: v128, y: v128): v128 {
  const c = memory.data<real>([1e-30, 0.5, 1e30, 1]);
  const s = v128.bitselect(splatAt(c, 1), v128.div<real>(y, x), v128.lt<real>(v128.abs<real>(x), splatAt(c, 0)));
  return v128.bitselect(splatAt(c, 3), s, v128.gt<real>(x, splatAt(c, 2)));
}

/** dx += dy (s + 2 x u' s (1 - s)), where s = σ(2u) = y / x; that has lost 1 - s where s is near 1, which x has not. */
// threads: n*4 x+1 y+1 dy+1 dx+1 | 1.3 ns n
export function geluTanhBack(n: usize, x: usize, y: usize, dy: usize, dx: usize, add: bool): void {
  const keep = keepIf(add);
  // 0 1: beyond them the slope is 0 or 1 to the last bit and x³ might overflow; 2: one; 3 4: of 2 x u'; 5: near 1
  const c =
    sizeof<real>() == 4
      ? memory.data<f32>([-12, 12, 1, 0.21406444881780076, 1.5957691216057308, 1.7])
      : memory.data<f64>([-24, 24, 1, 0.21406444881780076, 1.5957691216057308, 1.7]);
  for (const end = endOf(dx, n); dx < end; x += 16, y += 16, dy += 16, dx += 16) {
    const raw = v128.load(x);
    const s = gateOf(raw, v128.load(y));
    const v = v128.pmin<real>(v128.pmax<real>(raw, splatAt(c, 0)), splatAt(c, 1));
    const square = v128.mul<real>(v, v);
    const bend = v128.mul<real>(v, v128.add<real>(v128.mul<real>(square, splatAt(c, 3)), splatAt(c, 4)));
    const rise = v128.mul<real>(bend, v128.mul<real>(s, v128.sub<real>(splatAt(c, 2), s)));
    const near = v128.gt<real>(v, splatAt(c, 5));
    let slope = v128.add<real>(s, rise);
    if (v128.any_true(near)) slope = v128.bitselect(geluSlope(v, square, bend), slope, near);
    writeOrAdd(dx, v128.mul<real>(v128.load(dy), slope), keep);
  }
}
/** The slope for x > 0, by an exponential. */
function geluSlope(x: v128, square: v128, bend: v128): v128 {
  const c = memory.data<real>([-0.10294323958002349, -2.302208198144325]);
  const t = math.exp2Table();
  const u = v128.mul<real>(x, madd(square, splatAt(c, 0), splatAt(c, 1)));
  const one = splatAt(t, 4);
  const p0 = splatAt(t, 5);
  const p1 = splatAt(t, 6);
  const p2 = splatAt(t, 7);
  const p3 = splatAt(t, 8);
  const p4 = splatAt(t, 9);
  const low = v128.pmax<real>(u, splatAt(t, 0));
  const e = math.Inlined.boundedExp2(low, splatAt(t, 2), splatAt(t, 3), one, p0, p1, p2, p3, p4);
  return math.Inlined.gateSlope(bend, e, one);
}

/** Φ(x) = (1 + erf(x/√2))/2 */
function normal(x: v128): v128 {
  const c = memory.data<real>([0.7071067811865476, 0.5]);
  return v128.add<real>(v128.mul<real>(math.erf(v128.mul<real>(x, splatAt(c, 0))), splatAt(c, 1)), splatAt(c, 1));
}

/** y = x (1 + erf(x/√2))/2 */
// threads: n*4 x+1 y+1 | 1.2 ns n
export function geluErf(n: usize, x: usize, y: usize): void {
  const least = splat(-40); // far below where Φ is 0: -Infinity would give NaN
  for (const end = endOf(y, n); y < end; x += 16, y += 16)
    v128.store(y, v128.mul<real>(v128.pmax<real>(v128.load(x), least), normal(v128.load(x))));
}

/** dx += dy (Φ(x) + x e^(-x²/2)/√(2π)) */
// threads: n*4 x+1 y+1 dy+1 dx+1 | 1.2 ns n
export function geluErfBack(n: usize, x: usize, y: usize, dy: usize, dx: usize, add: bool): void {
  const keep = keepIf(add);
  const c = memory.data<real>([-0.5, 0.3989422804014327, -40, 40]);
  for (const end = endOf(dx, n); dx < end; x += 16, dy += 16, dx += 16) {
    const v = v128.pmin<real>(v128.pmax<real>(v128.load(x), splatAt(c, 2)), splatAt(c, 3));
    const e = math.exp(v128.mul<real>(v128.mul<real>(v, v), splatAt(c, 0)));
    const slope = v128.add<real>(normal(v), v128.mul<real>(v128.mul<real>(v, splatAt(c, 1)), e));
    writeOrAdd(dx, v128.mul<real>(v128.load(dy), slope), keep);
  }
}

/** y = x σ(x) = x/(1 + e^-x) */
// threads: n*4 x+1 y+1 | 1.2 ns n
export function silu(n: usize, x: usize, y: usize): void {
  const c = math.expTable();
  const low = splatAt(c, 0);
  const high = splatAt(c, 1);
  const rounder = splatAt(c, 2);
  const log2e = splatAt(c, 3);
  const less = splatAt(c, 4);
  const rest = splatAt(c, 5);
  const one = splatAt(c, 6);
  const p0 = splatAt(c, 7);
  const p1 = splatAt(c, 8);
  const p2 = splatAt(c, 9);
  const p3 = splatAt(c, 10);
  const p4 = splatAt(c, 11);
  for (const end = endOf(y, n); y < end; x += 16, y += 16) {
    const v = v128.load(x);
    const u = v128.pmin<real>(v128.pmax<real>(v128.neg<real>(v), low), high);
    const e = math.Inlined.boundedExp(u, rounder, log2e, less, rest, one, p0, p1, p2, p3, p4);
    v128.store(y, v128.div<real>(v128.pmax<real>(v, low), v128.add<real>(one, e))); // -Infinity would give NaN
  }
}

/** dx += dy s (1 + x (1 - s)), where s = σ(x) = y / x; that has lost 1 - s where s is near 1, which x has not. */
// threads: n*4 x+1 y+1 dy+1 dx+1 | 1.3 ns n
export function siluBack(n: usize, x: usize, y: usize, dy: usize, dx: usize, add: bool): void {
  const keep = keepIf(add);
  const c = memory.data<real>([1, 3, -1e30]); // the last: -Infinity times 0 would be NaN
  for (const end = endOf(dx, n); dx < end; x += 16, y += 16, dy += 16, dx += 16) {
    const v = v128.load(x);
    const s = gateOf(v, v128.load(y));
    const bounded = v128.pmax<real>(v, splatAt(c, 2));
    const one = splatAt(c, 0);
    const near = v128.gt<real>(v, splatAt(c, 1));
    let slope = v128.mul<real>(s, v128.add<real>(v128.mul<real>(bounded, v128.sub<real>(one, s)), one));
    if (v128.any_true(near)) slope = v128.bitselect(siluSlope(v), slope, near);
    writeOrAdd(dx, v128.mul<real>(v128.load(dy), slope), keep);
  }
}
/** The slope for x > 0, by an exponential. */
function siluSlope(x: v128): v128 {
  const c = math.expTable();
  const v = v128.pmin<real>(x, splatAt(c, 1)); // beyond, the slope is 1
  return math.Inlined.gateSlope(v, math.exp(v128.neg<real>(v)), splatAt(c, 6));
}

/** y = sin x */
// threads: n*4 x+1 y+1 | 1.2 ns n
export function sin(n: usize, x: usize, y: usize): void {
  for (const end = endOf(y, n); y < end; x += 16, y += 16) v128.store(y, math.sin(v128.load(x)));
}

/** dx += dy cos x */
// threads: n*4 x+1 y+1 dy+1 dx+1 | 1.2 ns n
export function sinBack(n: usize, x: usize, y: usize, dy: usize, dx: usize, add: bool): void {
  const keep = keepIf(add);
  for (const end = endOf(dx, n); dx < end; x += 16, dy += 16, dx += 16)
    writeOrAdd(dx, v128.mul<real>(v128.load(dy), math.cos(v128.load(x))), keep);
}

/** y = cos x */
// threads: n*4 x+1 y+1 | 1.2 ns n
export function cos(n: usize, x: usize, y: usize): void {
  for (const end = endOf(y, n); y < end; x += 16, y += 16) v128.store(y, math.cos(v128.load(x)));
}

/** dx -= dy sin x */
// threads: n*4 x+1 y+1 dy+1 dx+1 | 1.2 ns n
export function cosBack(n: usize, x: usize, y: usize, dy: usize, dx: usize, add: bool): void {
  const keep = keepIf(add);
  for (const end = endOf(dx, n); dx < end; x += 16, dy += 16, dx += 16)
    writeOrAdd(dx, v128.mul<real>(v128.load(dy), v128.neg<real>(math.sin(v128.load(x)))), keep);
}

/** y = erf x */
// threads: n*4 x+1 y+1 | 1.2 ns n
export function erf(n: usize, x: usize, y: usize): void {
  for (const end = endOf(y, n); y < end; x += 16, y += 16) v128.store(y, math.erf(v128.load(x)));
}

/** dx += dy 2/√π e^(-x²) */
// threads: n*4 x+1 y+1 dy+1 dx+1 | 1.2 ns n
export function erfBack(n: usize, x: usize, y: usize, dy: usize, dx: usize, add: bool): void {
  const keep = keepIf(add);
  const c = splat(1.1283791670955126);
  for (const end = endOf(dx, n); dx < end; x += 16, dy += 16, dx += 16) {
    const v = v128.load(x);
    const slope = v128.mul<real>(math.exp(v128.neg<real>(v128.mul<real>(v, v))), c);
    writeOrAdd(dx, v128.mul<real>(v128.load(dy), slope), keep);
  }
}

/** y = a + b */
// threads: n*4 a+1 b+1 y+1 | 0.4 ns n
export function add(n: usize, a: usize, b: usize, y: usize): void {
  for (const end = endOf(y, n); y < end; a += 16, b += 16, y += 16)
    v128.store(y, v128.add<real>(v128.load(a), v128.load(b)));
}

/** y = a - b */
// threads: n*4 a+1 b+1 y+1 | 0.4 ns n
export function sub(n: usize, a: usize, b: usize, y: usize): void {
  for (const end = endOf(y, n); y < end; a += 16, b += 16, y += 16)
    v128.store(y, v128.sub<real>(v128.load(a), v128.load(b)));
}

/** y = a b */
// threads: n*4 a+1 b+1 y+1 | 0.4 ns n
export function mul(n: usize, a: usize, b: usize, y: usize): void {
  for (const end = endOf(y, n); y < end; a += 16, b += 16, y += 16)
    v128.store(y, v128.mul<real>(v128.load(a), v128.load(b)));
}

/** y = a/b */
// threads: n*4 a+1 b+1 y+1 | 0.4 ns n
export function div(n: usize, a: usize, b: usize, y: usize): void {
  for (const end = endOf(y, n); y < end; a += 16, b += 16, y += 16)
    v128.store(y, v128.div<real>(v128.load(a), v128.load(b)));
}

/** da += dy/b, db -= dy y/b */
// threads: n*4 b+1 y+1 dy+1 da+1 db+1 | 0.8 ns n
export function divBack(n: usize, b: usize, y: usize, dy: usize, da: usize, addA: bool, db: usize, addB: bool): void {
  const keepA = keepIf(addA);
  const keepB = keepIf(addB);
  for (let i: usize = 0, end = endOf(da, n) - da; i < end; i += 16)
    writeOrAdd(da + i, v128.div<real>(v128.load(dy + i), v128.load(b + i)), keepA);
  for (let i: usize = 0, end = endOf(db, n) - db; i < end; i += 16) {
    const share = v128.mul<real>(v128.div<real>(v128.load(dy + i), v128.load(b + i)), v128.load(y + i));
    v128.store(db + i, v128.sub<real>(v128.and(v128.load(db + i), keepB), share));
  }
}

/** y = by x + plus */
// threads: n*4 x+1 y+1 | 0.3 ns n
export function scale(n: usize, by: real, plus: real, x: usize, y: usize): void {
  const c = splat(by);
  const d = splat(plus);
  for (const end = endOf(y, n); y < end; x += 16, y += 16)
    v128.store(y, v128.add<real>(v128.mul<real>(v128.load(x), c), d));
}

/** y = by x, or y += when `add` */
// threads: n*4 x+1 y+1 | 0.4 ns n
export function scaleAdd(n: usize, by: real, x: usize, y: usize, add: bool): void {
  const c = splat(by);
  const keep = keepIf(add);
  for (const end = endOf(y, n); y < end; x += 16, y += 16) writeOrAdd(y, v128.mul<real>(v128.load(x), c), keep);
}

/** y = x, or y += when `add` */
// threads: n*4 x+1 y+1 | 0.4 ns n
export function accumulate(n: usize, x: usize, y: usize, add: bool): void {
  const keep = keepIf(add);
  for (const end = endOf(y, n); y < end; x += 16, y += 16) writeOrAdd(y, v128.load(x), keep);
}

/** y = a b, or y += when `add` */
// threads: n*4 a+1 b+1 y+1 | 0.4 ns n
export function mulAdd(n: usize, a: usize, b: usize, y: usize, add: bool): void {
  const keep = keepIf(add);
  for (const end = endOf(y, n); y < end; a += 16, b += 16, y += 16)
    writeOrAdd(y, v128.mul<real>(v128.load(a), v128.load(b)), keep);
}

/** y = c */
// threads: n*4 y+1 | 0.15 ns n
export function fill(n: usize, c: real, y: usize): void {
  const v = splat(c);
  for (const end = endOf(y, n); y < end; y += 16) v128.store(y, v);
}
