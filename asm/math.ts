// math.ts: elementary functions of a vector, from deterministic SIMD alone: f32 within 2 ulp, f64 within 4
// (test/math.test.ts). Reductions of the range after Cody and Waite (1980): n times the first part of a split constant
// is exact. Polynomials are minimax, found by Remez's exchange in 60 digits, with the error stated beside them. No
// branches, large angles aside: 0, infinity and NaN take the way of all numbers. Constants live in tables because Node
// 24 rebuilds a constant vector at every use (`splatAt`).
import { LANES, madd, shiftRight, splatAt } from "./simd";

const SINGLE = sizeof<real>() == 4;
const MANTISSA: i32 = SINGLE ? 23 : 52;

/** p x + c[i]: a step of Horner's rule. */
function term(p: v128, x: v128, c: usize, i: usize): v128 {
  return madd(p, x, splatAt(c, i));
}

/**
 * (e^r - 1 - r)/r² for |r| < ln 2 / 2; e^r is then good to 2^-28.2 of itself (f32) or 2^-55.2 (f64). Estrin's scheme:
 * short chains side by side.
 */
function expTail(r: v128, r2: v128): v128 {
  const p = SINGLE
    ? memory.data<f32>([0.49999994, 0.16666521, 0.04166839, 0.008368745, 0.001381454])
    : memory.data<f64>([
        0.5, 0.16666666666666602, 0.04166666666661985, 0.008333333333388569, 0.0013888888920575834,
        0.00019841269709008685, 2.4801516247508496e-5, 2.755742526066779e-6, 2.7622273186681617e-7,
        2.5045891156262835e-8,
      ]);
  if (SINGLE)
    return term(
      v128.add<real>(v128.mul<real>(term(splatAt(p, 4), r, p, 3), r2), term(splatAt(p, 2), r, p, 1)),
      r,
      p,
      0,
    );
  const low = v128.add<real>(v128.mul<real>(term(splatAt(p, 3), r, p, 2), r2), term(splatAt(p, 1), r, p, 0));
  const middle = v128.add<real>(v128.mul<real>(term(splatAt(p, 7), r, p, 6), r2), term(splatAt(p, 5), r, p, 4));
  const r4 = v128.mul<real>(r2, r2);
  return v128.add<real>(
    v128.mul<real>(v128.add<real>(v128.mul<real>(term(splatAt(p, 9), r, p, 8), r4), middle), r4),
    low,
  );
}

/**
 * What a loop over e^x loads before it starts, for `Inlined`: loaded inside, the constants alone cost as much as the
 * rest (1M numbers, Node 24: 0.97 ms, and 0.53 so). 0 1: bounds of `boundedExp`, 2: its rounder, 3: log2 e, 4 5: -ln 2
 * in two parts, 6: one, 7 to 11: the tail's polynomial (f32; the f64 one has too many for registers and stays in
 * `expTail`), 12: to here from its negative `boundedExp` needs no bounds.
 */
export function expTable(): usize {
  return SINGLE
    ? memory.data<f32>([
        -88.3, 88.6, 12583039, 1.4426950408889634, -0.693145751953125, -1.4286068203094173e-6, 1, 0.49999994,
        0.16666521, 0.04166839, 0.008368745, 0.001381454, 87,
      ])
    : memory.data<f64>([
        -709, 709.7, 6755399441056767, 1.4426950408889634, -0.693147180559663, -2.8235290563031577e-13, 1, 0, 0, 0, 0,
        0, 708,
      ]);
}

/**
 * The same for 2^x: 0 1: bounds of `boundedExp2`, 2: its rounder, 3: ln 2, 4: one, 5 to 9: (2^r - 1 - r ln 2)/r² for
 * |r| < 1/2; 2^r is then good to 2^-28.3 of itself.
 */
export function exp2Table(): usize {
  return SINGLE
    ? memory.data<f32>([
        -127, 127.8, 12583039, 0.6931471805599453, 1, 0.24022648, 0.0555036, 0.009618506, 0.0013390816, 0.00015326515,
      ])
    : memory.data<f64>([-1023, 1023.8, 6755399441056767, 0.6931471805599453, 1, 0, 0, 0, 0, 0]);
}

/** Exponentials whose constants the caller's loop holds in registers, in the order of the tables above. */
export class Inlined {
  /** x less n ln 2, of which `less` and `rest` are the two parts, negative; n `less` is exact. */
  @inline static reduced(x: v128, n: v128, less: v128, rest: v128): v128 {
    return madd(n, rest, madd(n, less, x));
  }
  /** s e^r, s a power of two: in few steps one after the other, since Horner's rule makes exp wait for itself. */
  @inline static power(r: v128, s: v128, one: v128, p0: v128, p1: v128, p2: v128, p3: v128, p4: v128): v128 {
    const r2 = v128.mul<real>(r, r);
    if (SINGLE)
      return madd(
        madd(madd(p4, r2, madd(p3, r, p2)), r2, madd(p1, r, p0)),
        v128.mul<real>(s, r2),
        v128.mul<real>(s, v128.add<real>(one, r)),
      );
    // not s (...) + s: Infinity - Infinity
    return v128.mul<real>(s, v128.add<real>(one, v128.add<real>(v128.mul<real>(expTail(r, r2), r2), r)));
  }
  /**
   * 2^x as `boundedExp` has it, for x between the bounds of `exp2Table`: what is left of x after n is exact, and n ln 2
   * need not be taken off in two parts.
   */
  @inline static boundedExp2(
    x: v128,
    rounder: v128,
    ln2: v128,
    one: v128,
    p0: v128,
    p1: v128,
    p2: v128,
    p3: v128,
    p4: v128,
  ): v128 {
    const t = v128.add<real>(x, rounder);
    const r = v128.sub<real>(x, v128.sub<real>(t, rounder));
    const s = v128.shl<bits>(t, MANTISSA);
    if (!SINGLE) return Inlined.power(v128.mul<real>(r, ln2), s, one, p0, p1, p2, p3, p4);
    const r2 = v128.mul<real>(r, r);
    const s1 = v128.mul<real>(s, madd(ln2, r, one));
    const s2 = v128.mul<real>(s, r2);
    return madd(madd(madd(p4, r2, madd(p3, r, p2)), r2, madd(p1, r, p0)), s2, s1);
  }
  /** The slope of an x > 0 with the gate s = σ(u), where v is x u': s + v s (1 - s), of e = e^-u: 1 - s is exact. */
  @inline static gateSlope(v: v128, e: v128, one: v128): v128 {
    const s = v128.div<real>(one, v128.add<real>(e, one));
    return madd(v128.mul<real>(v, v128.mul<real>(e, s)), s, s);
  }
  /**
   * e^x for x between the bounds of `expTable`; 0 at the lower one, where e^x is no normal number, and Infinity at the
   * upper.
   */
  @inline static boundedExp(
    x: v128,
    rounder: v128,
    log2e: v128,
    less: v128,
    rest: v128,
    one: v128,
    p0: v128,
    p1: v128,
    p2: v128,
    p3: v128,
    p4: v128,
  ): v128 {
    const t = madd(x, log2e, rounder); // 1.5 2^MANTISSA plus the exponent's bias: leaves n + bias in the low bits
    const r = Inlined.reduced(x, v128.sub<real>(t, rounder), less, rest);
    return Inlined.power(r, v128.shl<bits>(t, MANTISSA), one, p0, p1, p2, p3, p4);
  }
}
/** log2 e: logits times this are exponents of 2. */
export const LOG2E: real = <real>1.4426950408889634;
/** e^x. */
export function exp(x: v128): v128 {
  const c = expTable();
  const d = SINGLE ? memory.data<f32>([-176.06, 89, 12583166]) : memory.data<f64>([-1418.18, 710, 6755399441057790]);
  // At the lower end both factors below are 0; a product that underflows instead takes 3 times as long (masked places,
  // on AMD Zen).
  // pmin and pmax return their first argument when it is NaN
  x = v128.pmin<real>(v128.pmax<real>(x, splatAt(d, 0)), splatAt(d, 1));
  const t = term(x, splatAt(c, 3), d, 2); // with twice the bias
  // 2^n as two factors near 2^(n/2), since it may itself be too large or subnormal; the first product is exact.
  const half = shiftRight(t, 1);
  const r = Inlined.reduced(x, v128.sub<real>(t, splatAt(d, 2)), splatAt(c, 4), splatAt(c, 5));
  const p0 = splatAt(c, 7);
  const p1 = splatAt(c, 8);
  const p2 = splatAt(c, 9);
  const p3 = splatAt(c, 10);
  const p4 = splatAt(c, 11);
  const power = Inlined.power(r, v128.shl<bits>(half, MANTISSA), splatAt(c, 6), p0, p1, p2, p3, p4);
  return v128.mul<real>(power, v128.shl<bits>(v128.sub<bits>(t, half), MANTISSA));
}

/**
 * 1/(1 + e^-x). With e = e^-|x| and t = e/(1 + e): 1 - t, or e - e t for x < 0, where t < 1/2 damps the roundings of
 * its making.
 */
export function sigmoid(x: v128): v128 {
  const c = memory.data<real>([-0.0, 0, 1]);
  const one = splatAt(c, 2);
  const e = exp(v128.or(x, splatAt(c, 0)));
  const t = v128.div<real>(e, v128.add<real>(e, one));
  const u = v128.bitselect(e, one, v128.lt<real>(x, splatAt(c, 1)));
  return v128.sub<real>(u, v128.mul<real>(u, t));
}

/**
 * The hyperbolic tangent h/(1 + h), h = (e^(2|x|) - 1)/2, with the sign of x; as u - u u/(1 + h), u = min(h, 1), it
 * rounds less.
 */
export function tanh(x: v128): v128 {
  // 0: sign, 1: tanh rounds to 1 from here on, 2: 2 log2 e, 3: rounder, 4 5: ln 2 in two parts, 6: 2, 7: 1/2, 8: 1
  const c = SINGLE
    ? memory.data<f32>([-0.0, 10, 2.8853900817779268, 12583038, 0.693145751953125, 1.4286068203094173e-6, 2, 0.5, 1])
    : memory.data<f64>([
        -0.0, 20, 2.8853900817779268, 6755399441056766, 0.693147180559663, 2.8235290563031577e-13, 2, 0.5, 1,
      ]);
  const a = v128.pmin<real>(v128.andnot(x, splatAt(c, 0)), splatAt(c, 1));
  const t = term(a, splatAt(c, 2), c, 3);
  const n = v128.sub<real>(t, splatAt(c, 3)); // the rounder adds the bias less 1
  const r = v128.sub<real>(
    v128.sub<real>(v128.mul<real>(a, splatAt(c, 6)), v128.mul<real>(n, splatAt(c, 4))),
    v128.mul<real>(n, splatAt(c, 5)),
  );
  const s = v128.shl<bits>(t, MANTISSA);
  const one = splatAt(c, 8); // s = 2^n / 2
  const r2 = v128.mul<real>(r, r);
  const tail = v128.mul<real>(expTail(r, r2), r2); // e^r - 1 = r + tail
  // s r + (s - 1/2) is exact where it matters, for n = 0 and n = 1.
  const h = v128.add<real>(
    v128.mul<real>(s, tail),
    v128.add<real>(v128.mul<real>(s, r), v128.sub<real>(s, splatAt(c, 7))),
  );
  const u = v128.pmin<real>(h, one);
  const y = v128.sub<real>(u, v128.mul<real>(u, v128.div<real>(u, v128.add<real>(h, one))));
  return v128.bitselect(x, y, splatAt(c, 0));
}

/**
 * The natural logarithm: -Infinity at 0, NaN below. With x = 2^k (1 + f), s = f/(2 + f): k ln 2 + f - f²/2 + s (f²/2 +
 * R(s²)).
 */
export function log(x: v128): v128 {
  // 0: least normal number, 1: 2^MANTISSA, 2: MANTISSA, 3: 2^MANTISSA + bias, 4: 0, 5: 1, 6: 2, 7: 1/2, 8 9: ln 2 in
  // two parts
  const c = SINGLE
    ? memory.data<f32>([
        1.1754943508222875e-38, 8388608, 23, 8388735, 0, 1, 2, 0.5, 0.693145751953125, 1.4286068203094173e-6,
      ])
    : memory.data<f64>([
        2.2250738585072014e-308, 4503599627370496, 52, 4503599627371519, 0, 1, 2, 0.5, 0.693147180559663,
        2.8235290563031577e-13,
      ]);
  // 0: bits of sqrt(1/2), 1: bits of 1 minus those, 2: the mantissa's mask
  const b = SINGLE
    ? memory.data<i32>([0x3f3504f3, 0x004afb0d, 0x007fffff])
    : memory.data<i64>([0x3fe6a09e667f3bcd, 0x00095f619980c433, 0x000fffffffffffff]);
  const small = v128.lt<real>(x, splatAt(c, 0));
  const scaled = v128.bitselect(v128.mul<real>(x, splatAt(c, 1)), x, small);
  const i = v128.add<bits>(scaled, splatAt(b, 1)); // 1 + f then lies between sqrt(1/2) and sqrt(2)
  const f = v128.sub<real>(v128.add<bits>(v128.and(i, splatAt(b, 2)), splatAt(b, 0)), splatAt(c, 5));
  const biased = v128.or(shiftRight(i, MANTISSA), splatAt(c, 1)); // 2^MANTISSA + k + bias as a float
  const k = v128.sub<real>(v128.sub<real>(biased, splatAt(c, 3)), v128.and(small, splatAt(c, 2)));
  const s = v128.div<real>(f, v128.add<real>(splatAt(c, 6), f));
  const square = v128.mul<real>(v128.mul<real>(f, f), splatAt(c, 7));
  const R = logTail(v128.mul<real>(s, s));
  const rest = v128.add<real>(v128.mul<real>(s, v128.add<real>(square, R)), v128.mul<real>(k, splatAt(c, 9)));
  const y = v128.sub<real>(v128.mul<real>(k, splatAt(c, 8)), v128.sub<real>(v128.sub<real>(square, rest), f));
  return logAtEnds(x, y, splatAt(c, 4));
}
/**
 * R(z) = z (2/3 + 2z/5 + ...), so that 2 atanh s = 2s + s R(s²); relative error of the whole below 2^-30 (f32) and
 * 2^-59 (f64).
 */
function logTail(z: v128): v128 {
  const p = SINGLE
    ? memory.data<f32>([0.66666776, 0.3997751, 0.29872647])
    : memory.data<f64>([
        0.6666666666666735, 0.3999999999941224, 0.2857142874298404, 0.22222198506887678, 0.1818356802071575,
        0.15313949979953995, 0.14797013789469815,
      ]);
  let q = splatAt(p, 2);
  if (!SINGLE) q = term(term(term(term(splatAt(p, 6), z, p, 5), z, p, 4), z, p, 3), z, p, 2);
  return v128.mul<real>(term(term(q, z, p, 1), z, p, 0), z);
}
/** y where x is positive and finite; Infinity and NaN as they are, NaN below 0, -Infinity at 0. */
function logAtEnds(x: v128, y: v128, zero: v128): v128 {
  const c = memory.data<real>([Infinity, NaN, -Infinity]);
  y = v128.bitselect(y, x, v128.lt<real>(x, splatAt(c, 0)));
  y = v128.bitselect(splatAt(c, 1), y, v128.lt<real>(x, zero));
  return v128.bitselect(splatAt(c, 2), y, v128.eq<real>(x, zero));
}

/** 2/π as an integer, its least byte first: 272 bits behind the point for f32, 1168 for f64, and zeros before it. */
function twoOverPi(): usize {
  return SINGLE
    ? memory.data<u8>([
        36, 183, 97, 197, 187, 222, 171, 99, 81, 254, 65, 144, 67, 60, 153, 149, 98, 219, 192, 221, 52, 245, 209, 87,
        39, 252, 41, 21, 68, 78, 110, 131, 249, 162, 0, 0, 0, 0, 0, 0, 0,
      ])
    : memory.data<u8>([
        3, 86, 8, 93, 141, 31, 177, 95, 251, 107, 234, 146, 82, 138, 247, 57, 7, 61, 123, 241, 229, 235, 199, 186, 39,
        117, 45, 234, 95, 158, 102, 63, 70, 79, 183, 9, 203, 39, 207, 126, 54, 109, 31, 109, 10, 90, 139, 17, 47, 239,
        15, 152, 5, 222, 255, 151, 248, 31, 59, 40, 249, 189, 139, 95, 132, 156, 244, 57, 83, 131, 57, 214, 145, 57, 65,
        126, 95, 180, 38, 112, 156, 233, 132, 68, 187, 46, 245, 53, 130, 232, 62, 167, 41, 177, 28, 235, 29, 254, 28,
        146, 209, 9, 234, 46, 73, 6, 224, 210, 77, 66, 58, 110, 36, 183, 97, 197, 187, 222, 171, 99, 81, 254, 65, 144,
        67, 60, 153, 149, 98, 219, 192, 221, 52, 245, 209, 87, 39, 252, 41, 21, 68, 78, 110, 131, 249, 162, 0, 0, 0, 0,
        0, 0, 0,
      ]);
}
/**
 * r of x = n π/2 + r, |r| <= π/4, or n mod 4, for x from 100,000 on; NaN of Infinity (Payne and Hanek 1983). x is an
 * integer m times a power of 2: m times 192 bits of 2/π, of which the first are worth a quarter turn or two, counts
 * quarter turns. Bits before them are whole turns, and those behind do not count: of the product 128 bits are kept.
 */
function far(x: f64, turns: bool): real {
  const word = reinterpret<u64>(x);
  const m = (word & 0x000fffffffffffff) | 0x0010000000000000;
  const low = (SINGLE ? 1157 : 2053) - <i32>(word >> 52); // the lowest of the 192
  let at = twoOverPi() + (low >> 3);
  let carry: u64 = 0;
  let a: u64 = 0;
  let b: u64 = 0;
  for (const end = at + 24; at < end; at++) {
    carry = (carry >> 8) + m * ((load<u16>(at) >> (low & 7)) & 255);
    b = (b >> 8) | (a << 56);
    a = (a >> 8) | (carry << 56);
  }
  if (turns) return <real>((a + 0x2000000000000000) >> 62);
  const turn = <f64>(<i64>((a << 2) | (b >> 62))) + <f64>(b << 2) * 5.421010862427522e-20; // times 2^64
  return <real>(turn * 8.515303950216386e-20 + (x - x)); // π/2 2^-64
}
/** `far` of each lane. */
function farLanes(x: v128, turns: bool): v128 {
  for (let l: usize = 0; l < LANES; l++) {
    x = v128.replace_lane<real>(x, 0, far(<f64>v128.extract_lane<real>(x, 0), turns));
    x = SINGLE ? v128.shuffle<u32>(x, x, 1, 2, 3, 0) : v128.shuffle<u64>(x, x, 1, 0);
  }
  return x;
}

/**
 * The sine of a + q π/2 for a >= 0, with the sign bits of `flip` turned. a = n π/2 + r with |r| <= π/4. For f32, r
 * comes from doubles, since near a multiple of π/2 all bits of a cancel; for f64 it has a second part, `rest`. Large
 * numbers, of which this would take too many bits off, go one by one through `far`.
 */
function wave(a: v128, q: bits, flip: v128): v128 {
  let r: v128;
  let n: v128;
  let rest = a;
  const d = turnTable();
  if (SINGLE) {
    const a0 = f64x2.promote_low_f32x4(a);
    const a1 = f64x2.promote_low_f32x4(v128.shuffle<u64>(a, a, 1, 0));
    const t0 = turns(a0);
    const t1 = turns(a1);
    const r0 = f32x4.demote_f64x2_zero(afterTurns(a0, t0));
    const r1 = f32x4.demote_f64x2_zero(afterTurns(a1, t1));
    r = v128.shuffle<u64>(r0, r1, 0, 2);
    n = v128.shuffle<u32>(t0, t1, 0, 2, 4, 6);
  } else {
    n = term(a, splatAt(d, 1), d, 0);
    const m = v128.sub<real>(n, splatAt(d, 0));
    const u = v128.sub<real>(a, v128.mul<real>(m, splatAt(d, 2)));
    const v = v128.mul<real>(m, splatAt(d, 3));
    const w = v128.sub<real>(u, v);
    // u - v - w is exact
    const low = v128.sub<real>(v128.mul<real>(m, splatAt(d, 4)), v128.sub<real>(v128.sub<real>(u, w), v));
    r = v128.sub<real>(w, low);
    rest = v128.sub<real>(v128.sub<real>(w, r), low);
  }
  // 0: from here on `far`, 1: one, 2: 1/2, 3: sign, 4: 2^MANTISSA, which leaves an integer in the low bits
  const c = memory.data<real>([100000, 1, 0.5, -0.0, SINGLE ? 8388608 : 4503599627370496]);
  const large = v128.gt<real>(a, splatAt(c, 0));
  if (v128.any_true(large)) {
    r = v128.bitselect(farLanes(a, false), r, large);
    n = v128.bitselect(v128.add<real>(farLanes(a, true), splatAt(c, 4)), n, large);
    rest = v128.andnot(rest, large);
  }
  const z = v128.mul<real>(r, r);
  const half = v128.mul<real>(z, splatAt(c, 2));
  let s = v128.mul<real>(sinTail(z), r);
  let k = v128.mul<real>(v128.mul<real>(cosTail(z), z), z);
  if (SINGLE) {
    s = v128.add<real>(v128.mul<real>(s, z), r);
  } else {
    const bent = v128.mul<real>(v128.sub<real>(s, v128.mul<real>(rest, splatAt(c, 2))), z);
    s = v128.add<real>(v128.add<real>(bent, rest), r);
    k = v128.sub<real>(k, v128.mul<real>(r, rest));
  }
  k = v128.sub<real>(splatAt(c, 1), v128.sub<real>(half, k));
  n = v128.add<bits>(n, v128.splat<bits>(q));
  const unit = splatAt(memory.data<bits>([1]), 0);
  const odd = v128.eq<bits>(v128.and(n, unit), unit);
  const sign = v128.and(v128.shl<bits>(n, SINGLE ? 30 : 62), splatAt(c, 3));
  return v128.xor(v128.bitselect(k, s, odd), v128.xor(sign, flip));
}
/**
 * 0: 1.5 2^52 rounds to an integer and leaves it in the low bits, 1: 2/π, 2 3 4: π/2 as 36, 36 and 53 bits, 5: the
 * latter two.
 */
function turnTable(): usize {
  return memory.data<f64>([
    6755399441055744, 0.6366197723675814, 1.5707963267923333, 2.5633441515839558e-12, 1.0562999066987428e-23,
    2.563344151594519e-12,
  ]);
}
/** n = a 2/π rounded, of two doubles, plus 1.5 2^52. */
function turns(a: v128): v128 {
  const d = turnTable();
  return f64x2.add(f64x2.mul(a, v128.load64_splat(d + 8)), v128.load64_splat(d));
}
/** a - n π/2 of two doubles, `t` being `turns` of a. */
function afterTurns(a: v128, t: v128): v128 {
  const d = turnTable();
  const n = f64x2.sub(t, v128.load64_splat(d));
  const r = f64x2.sub(a, f64x2.mul(n, v128.load64_splat(d + 16)));
  return f64x2.sub(r, f64x2.mul(n, v128.load64_splat(d + 40)));
}
/** (sin r - r)/r³ in z = r²; error in sin r / r below 2^-27.9 (f32) and 2^-57.9 (f64). */
function sinTail(z: v128): v128 {
  const p = SINGLE
    ? memory.data<f32>([-0.16666655, 0.008332156, -0.00019514632])
    : memory.data<f64>([
        -0.1666666666666663, 0.008333333333322005, -0.0001984126982949545, 2.755731358760234e-6, -2.5050742305255376e-8,
        1.5895904591087875e-10,
      ]);
  let s = splatAt(p, 2);
  if (!SINGLE) s = term(term(term(splatAt(p, 5), z, p, 4), z, p, 3), z, p, 2);
  return term(term(s, z, p, 1), z, p, 0);
}
/** (cos r - 1 + r²/2)/r⁴ in z = r²; error in cos r below 2^-27.9 (f32) and 2^-57.9 (f64). */
function cosTail(z: v128): v128 {
  const p = SINGLE
    ? memory.data<f32>([0.041666646, -0.0013887362, 2.443773e-5])
    : memory.data<f64>([
        0.0416666666666666, -0.001388888888887399, 2.480158728939493e-5, -2.755731432603077e-7, 2.0875719558633447e-9,
        -1.1359448672890141e-11,
      ]);
  let k = splatAt(p, 2);
  if (!SINGLE) k = term(term(term(splatAt(p, 5), z, p, 4), z, p, 3), z, p, 2);
  return term(term(k, z, p, 1), z, p, 0);
}

/** The sine. */
export function sin(x: v128): v128 {
  const sign = splatAt(memory.data<real>([-0.0]), 0);
  return wave(v128.andnot(x, sign), 0, v128.and(x, sign));
}

/** The cosine. */
export function cos(x: v128): v128 {
  const c = memory.data<real>([-0.0, 0]);
  return wave(v128.andnot(x, splatAt(c, 0)), 1, splatAt(c, 1));
}

/** The error function: x + x P(x²) up to |x| = 1, then 1 - e^(-x²) Q(t) with the sign of x. */
export function erf(x: v128): v128 {
  // 0: sign, 1: erf rounds to 1 from here on, 2: one, 3: centre of Q
  const c = SINGLE ? memory.data<f32>([-0.0, 4, 1, 1.5]) : memory.data<f64>([-0.0, 6, 1, 3]);
  // Relative error below 2^-29.6 (f32) and 2^-56.9 (f64).
  const p = SINGLE
    ? memory.data<f32>([0.12837917, -0.37612626, 0.112835854, -0.026853811, 0.0051883277, -0.00080101937, 7.853861e-5])
    : memory.data<f64>([
        0.12837916709551256, -0.3761263890318352, 0.11283791670944185, -0.026866170643111476, 0.005223977606118523,
        -0.0008548325929316332, 0.00012055293576947499, -1.4924712302821869e-5, 1.6447131580579915e-6,
        -1.620631382529066e-7, 1.3710980668775816e-8, -7.779468959371693e-10,
      ]);
  // e^(x²) erfc(x), in t = x - 1.5 (f32) or (x - 3)/(x + 3) (f64); error in erf below 2^-26.1 and 2^-57.1.
  const e = SINGLE
    ? memory.data<f32>([
        0.32158536, -0.16362442, 0.07615196, -0.032895938, 0.013383442, -0.005326809, 0.001921843, -0.00038888308,
      ])
    : memory.data<f64>([
        0.1790011511813538, -0.32623356004590187, 0.24560380166430013, -0.15011593634371767, 0.0716658501303944,
        -0.024392327877922868, 0.004270353794926417, 0.0007131752610883264, -0.0005810922700753335,
        7.639390610122642e-5, 0.0001029517346036831, 1.5203258609046161e-5,
      ]);
  const a = v128.pmin<real>(v128.andnot(x, splatAt(c, 0)), splatAt(c, 1));
  const z = v128.mul<real>(a, a);
  let low = splatAt(p, 6);
  if (!SINGLE) low = term(term(term(term(term(splatAt(p, 11), z, p, 10), z, p, 9), z, p, 8), z, p, 7), z, p, 6);
  low = term(term(term(term(term(term(low, z, p, 5), z, p, 4), z, p, 3), z, p, 2), z, p, 1), z, p, 0);
  let t = v128.sub<real>(a, splatAt(c, 3));
  if (!SINGLE) t = v128.div<real>(t, v128.add<real>(a, splatAt(c, 3)));
  let high = splatAt(e, 7);
  if (!SINGLE) high = term(term(term(term(splatAt(e, 11), t, e, 10), t, e, 9), t, e, 8), t, e, 7);
  high = term(term(term(term(term(term(term(high, t, e, 6), t, e, 5), t, e, 4), t, e, 3), t, e, 2), t, e, 1), t, e, 0);
  high = v128.sub<real>(splatAt(c, 2), v128.mul<real>(exp(v128.or(z, splatAt(c, 0))), high));
  const y = v128.bitselect(high, v128.add<real>(v128.mul<real>(a, low), a), v128.ge<real>(a, splatAt(c, 2)));
  return v128.bitselect(x, y, splatAt(c, 0));
}
