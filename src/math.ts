// Elementary functions of doubles from + - * / and Math.round alone, which IEEE 754 and ECMA-262 fix to the last bit;
// an engine's own Math.exp and its kin may differ there. Taylor series after a reduction of the range; where that would
// cost accuracy, a number is carried as a sum of two doubles (Dekker 1971). Results are within 1 ulp of the true ones;
// test/random.test.ts finds 0.72 at worst.
import { refuse } from "./check.ts";

const bits = new Float64Array(1);
const halves = new Int32Array(bits.buffer); // low word first: WebAssembly hosts are little-endian
const LN2 = 0.6931471805592082;
const LN2_LOW = 7.371002565167799e-13; // 40 bits, so that n LN2 is exact, and the rest
const THIRD_LOW = 1.850371707708594e-17; // what 1/3 lacks
// π/2 in three parts of at most 32 bits, so that n times each is exact up to the limit below, and the rest.
const Q1 = 1.5707963267341256;
const Q2 = 6.077100506303966e-11;
const Q3 = 2.0222662487111665e-21;
const Q4 = 8.4784276603689e-32;
const LIMIT = 1048576; // 2^20

const numbers = /* @__PURE__ */ Array.from({ length: 26 }, (_, n) => n);
/** n! for n up to 18, where doubles still hold it exactly. */
const factorials = /* @__PURE__ */ numbers.slice(0, 19).map(n => numbers.slice(1, n + 1).reduce((a, b) => a * b, 1));

/** 1/d_first + x/d_(first+step) + x²/d_(first+2step) + ... to d_(last+step), by Horner's rule. */
function series(x: number, first: number, last: number, step: number, d: readonly number[]): number {
  let sum = 1 / d[last]! + x / d[last + step]!;
  for (let n = last - step; n >= first; n -= step) sum = 1 / d[n]! + x * sum;
  return sum;
}

/** The second half of the latest two-double result: functions here return the first half and leave the rest in it. */
let low = 0;

/** a b exactly, as a product and its rounding error (Veltkamp's splitting); |a| and |b| stay below 2^996. */
function times(a: number, b: number): number {
  const p = a * b;
  const ca = 134217729 * a;
  const cb = 134217729 * b; // 2^27 + 1
  const ah = ca - (ca - a);
  const al = a - ah;
  const bh = cb - (cb - b);
  const bl = b - bh;
  low = al * bl - (p - ah * bh - al * bh - ah * bl);
  return p;
}

/** 2^n for a whole n from -1022 to 1023. */
function power2(n: number): number {
  halves[0] = 0;
  halves[1] = (n + 1023) << 20;
  return bits[0]!;
}

/** e^(x + rest): x = k ln 2 + r with |r| < 0.35, then 2^k (1 + r + r²/2! + ... + r^14/14!). */
function exponential(x: number, rest: number): number {
  if (!(x < 710)) return x >= 710 ? Infinity : NaN;
  if (x < -746) return 0;
  const k = Math.round(x * 1.4426950408889634);
  const a = x - k * LN2;
  const b = rest - k * LN2_LOW;
  const r = a + b;
  const error = a - r + b;
  const tail = series(r, 2, 13, 1, factorials);
  const s = 1 + r;
  const y = s + (1 - s + r + (error + r * error + r * r * tail));
  const half = k >> 1; // two factors, since 2^k alone may be subnormal or too large
  return y * power2(half) * power2(k - half);
}

/** e^x. */
export function exp(x: number): number {
  return exponential(x, 0);
}

/**
 * The natural logarithm; NaN below 0. With x = 2^e m and s = (m - 1)/(m + 1): e ln 2 + 2 s (1 + s²/3 + s⁴/5 + ...),
 * good to 2^-63 with `low`.
 */
export function log(x: number): number {
  if (!(x > 0 && x < Infinity)) return x === 0 ? -Infinity : x > 0 ? x : NaN;
  let e = -1023;
  if (x < 2.2250738585072014e-308) {
    x *= 18014398509481984;
    e -= 54;
  } // a subnormal number, times 2^54
  bits[0] = x;
  e += halves[1]! >> 20;
  halves[1] = (halves[1]! & 0xfffff) | 0x3ff00000;
  let m = bits[0]!;
  if (m > 1.4142135623730951) {
    m *= 0.5;
    e++;
  }
  const f = m - 1;
  const d = m + 1;
  const s = f / d;
  const p = times(s, d);
  const sLow = (f - p - low - s * (m - (d - 1))) / d;
  const z = times(s, s);
  const zLow = low + 2 * s * sLow;
  const third = times(z, 1 / 3);
  const thirdLow = low + z * THIRD_LOW + zLow / 3;
  const u = z * z * series(z, 5, 23, 2, numbers);
  const t = third + u;
  const tLow = third - t + u + thirdLow;
  const g = 2 * s;
  const gt = times(g, t);
  const gtLow = low + g * tLow + 2 * sLow * (1 + t);
  const h = g + gt;
  const hLow = g - h + gt + gtLow;
  const a = e * LN2;
  const sum = a + h;
  const rest = a - sum + h + (hLow + e * LN2_LOW);
  const y = sum + rest;
  low = sum - y + rest;
  return y;
}

/** x^y for x >= 0, NaN for x < 0: e^(y log x) with the product in two doubles. 1 for y = 0 and for x = 1. */
export function pow(x: number, y: number): number {
  if (y === 0 || x === 1) return 1;
  const l = log(x);
  const lLow = low;
  if (!(Math.abs(l * y) < 800)) return exponential(l * y, 0); // 0, Infinity or NaN
  const p = times(l, y);
  return exponential(p, low + lLow * y);
}

/** sin(x + quarters π/2): x = n π/2 + r with |r| <= π/4, then the series of the sine or the cosine of r. */
function wave(name: string, x: number, quarters: number): number {
  if (!(Math.abs(x) <= LIMIT)) {
    if (Math.abs(x) < Infinity) refuse(RangeError, name, `an angle of ${x}`, `-${LIMIT} to ${LIMIT}`);
    return NaN;
  }
  const n = Math.round(x * 0.6366197723675814);
  const q = (n + quarters) & 3;
  const a = x - n * Q1;
  const b = n * Q2;
  const c = n * Q3;
  const ab = a - b;
  const abLow = a - (ab + (a - ab)) + (a - ab - b); // two-sum (Knuth): a may be the smaller one
  const bc = ab - c;
  const bcLow = ab - (bc + (ab - bc)) + (ab - bc - c);
  const rest = abLow + bcLow - n * Q4;
  const r = bc + rest;
  const error = bc - r + rest;
  const z = r * r;
  let y: number;
  if (q & 1) {
    const half = 0.5 * z;
    const w = 1 - half;
    y = w + (1 - w - half + (z * z * series(-z, 4, 16, 2, factorials) - r * error));
  } else {
    y = r + (error * (1 - 0.5 * z) - r * z * series(-z, 3, 15, 2, factorials));
  }
  return q & 2 ? -y : y;
}

/** The sine of x radians, |x| <= 2^20, or `who` complains; NaN for an infinite x. */
export function sin(x: number, who = "sin"): number {
  return Math.abs(x) < 7.450580596923828e-9 ? x : wave(who, x, 0); // below 2^-27 the sine is x, and -0 keeps its sign
}

/** The cosine of x radians, |x| <= 2^20, or `who` complains; NaN for an infinite x. */
export function cos(x: number, who = "cos"): number {
  return wave(who, x, 1);
}
