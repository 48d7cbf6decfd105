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

/** dx += dy where x > 0 */
// threads: n*4 x+1 y+1 dy+1 dx+1 | 0.4 ns n
export function reluBack(n: usize, x: usize, y: usize, dy: usize, dx: usize, add: bool): void {
  const keep = keepIf(add);
  const zero = splat(0);
  for (const end = endOf(dx, n); dx < end; x += 16, dy += 16, dx += 16) {
    writeOrAdd(dx, v128.and(v128.load(dy), v128.gt<real>(v128.load(x), zero)), keep);
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

/** dx += dy (s + 2 x u' s (1 - s)), where s = σ(2u): from x, since y / x has lost 1 - s where s is near 1. */
// threads: n*4 x+1 y+1 dy+1 dx+1 | 1.5 ns n
export function geluTanhBack(n: usize, x: usize, y: usize, dy: usize, dx: usize, add: bool): void {
  const keep = keepIf(add);
  // 0: beyond it the slope is 0 or 1 to the last bit and x³ might overflow; 1 2: of 2u log2 e, negative; 3 4: of 2 x u'
  const c = memory.data<real>([
    sizeof<real>() == 4 ? 12 : 24,
    -0.10294323958002349,
    -2.302208198144325,
    0.21406444881780076,
    1.5957691216057308,
  ]);
  const t = math.exp2Table();
  const low = splatAt(t, 0);
  const rounder = splatAt(t, 2);
  const ln2 = splatAt(t, 3);
  const one = splatAt(t, 4);
  for (const end = endOf(dx, n); dx < end; x += 16, dy += 16, dx += 16) {
    const most = splatAt(c, 0);
    const v = v128.pmin<real>(v128.pmax<real>(v128.load(x), v128.neg<real>(most)), most);
    const square = v128.mul<real>(v, v);
    const lean = madd(square, splatAt(c, 1), splatAt(c, 2));
    const u = v128.mul<real>(v128.abs<real>(v), lean);
    const p0 = splatAt(t, 5);
    const p1 = splatAt(t, 6);
    const p2 = splatAt(t, 7);
    const p3 = splatAt(t, 8);
    const p4 = splatAt(t, 9);
    const e = math.Inlined.boundedExp2(v128.pmax<real>(u, low), rounder, ln2, one, p0, p1, p2, p3, p4);
    const bend = v128.mul<real>(v, madd(square, splatAt(c, 3), splatAt(c, 4)));
    writeOrAdd(dx, v128.mul<real>(v128.load(dy), math.Inlined.gateSlope(v, bend, e, one)), keep);
  }
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

/** dx += dy s (1 + x (1 - s)), where s = σ(x) */
// threads: n*4 x+1 y+1 dy+1 dx+1 | 1.5 ns n
export function siluBack(n: usize, x: usize, y: usize, dy: usize, dx: usize, add: bool): void {
  const keep = keepIf(add);
  const c = math.expTable();
  const low = splatAt(c, 0);
  const high = splatAt(c, 1);
  const rounder = splatAt(c, 2);
  const log2e = splatAt(c, 3);
  const less = splatAt(c, 4);
  const rest = splatAt(c, 5);
  const one = splatAt(c, 6);
  for (const end = endOf(dx, n); dx < end; x += 16, dy += 16, dx += 16) {
    const v = v128.pmin<real>(v128.pmax<real>(v128.load(x), low), high); // beyond them the slope is 0 or 1
    const u = v128.pmax<real>(v128.neg<real>(v128.abs<real>(v)), low);
    const p0 = splatAt(c, 7);
    const p1 = splatAt(c, 8);
    const p2 = splatAt(c, 9);
    const p3 = splatAt(c, 10);
    const p4 = splatAt(c, 11);
    const e = math.Inlined.boundedExp(u, rounder, log2e, less, rest, one, p0, p1, p2, p3, p4);
    writeOrAdd(dx, v128.mul<real>(v128.load(dy), math.Inlined.gateSlope(v, v, e, one)), keep);
  }
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
