// Random numbers, and the elementary functions under them, against what they are defined to be.
import * as assert from "uvu/assert";
import { philox, random } from "farsight";
import * as math from "../src/math.ts";
import { suite, thrown } from "./check.ts";

const hex = (words: ArrayLike<number>) => Array.from(words, w => w.toString(16).padStart(8, "0")).join(" ");
const draw = <T>(n: number, next: () => T) => Array.from({ length: n }, next);

/** Pearson's chi-square of counts against equal shares. */
function chi2(counts: number[]): number {
  const mean = counts.reduce((a, b) => a + b) / counts.length;
  return counts.reduce((sum, n) => sum + (n - mean) ** 2 / mean, 0);
}

/** How many of `values` fall into each of `bins` integers. */
function histogram(values: number[], bins: number): number[] {
  const counts = new Array<number>(bins).fill(0);
  for (const v of values) counts[v]!++;
  return counts;
}

function correlation(a: number[], b: number[]): number {
  const n = a.length;
  const ma = a.reduce((s, v) => s + v) / n;
  const mb = b.reduce((s, v) => s + v) / n;
  let ab = 0;
  let aa = 0;
  let bb = 0;
  for (let i = 0; i < n; i++) {
    ab += (a[i]! - ma) * (b[i]! - mb);
    aa += (a[i]! - ma) ** 2;
    bb += (b[i]! - mb) ** 2;
  }
  return ab / Math.sqrt(aa * bb);
}

suite("random", {
  "philox gives the known answers": () => {
    const f = 0xffffffff;
    assert.is(hex(philox([0, 0, 0, 0], [0, 0])), "6627e8d5 e169c58d bc57ac4c 9b00dbd8");
    assert.is(hex(philox([f, f, f, f], [f, f])), "408f276d 41c83b0e a20bc7c6 6d5451fd");
    assert.is(
      hex(philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])),
      "d16cfe09 94fdcceb 5001e420 24126ea1",
    );
  },
  "word i is word i & 3 of block floor(i / 4) under the seed": () => {
    for (const seed of [0, 7, 2 ** 32 - 1, 2 ** 32, 0x1234567890abc, Number.MAX_SAFE_INTEGER])
      for (const start of [0, 1, 6, 2 ** 31 - 2, 2 ** 34 - 3, 2 ** 34 + 1, 2 ** 52 - 2]) {
        const rng = random(seed, start);
        for (let i = start; i < start + 9; i++) {
          const block = Math.floor(i / 4);
          const words = philox(
            [block % 2 ** 32, Math.floor(block / 2 ** 32), 0, 0],
            [seed % 2 ** 32, Math.floor(seed / 2 ** 32)],
          );
          assert.is(rng.word(), words[i % 4], `seed ${seed}, word ${i}`);
        }
      }
  },
  "a saved position resumes the stream, forwards and backwards": () => {
    const rng = random(11);
    rng.normal();
    rng.word();
    const saved = rng.position;
    const want = draw(20, rng.normal);
    assert.is(saved, 5);
    assert.equal(draw(20, random(11, saved).normal), want);
    rng.position = saved;
    assert.equal(draw(20, rng.normal), want);
    rng.position = 0;
    assert.is(rng.word(), random(11).word());
  },
  "skip and aligned move the position and nothing else": () => {
    const rng = random(3);
    assert.is(rng.aligned(), 0);
    rng.skip(5);
    assert.is(rng.word(), random(3, 5).word());
    assert.is(rng.aligned(), 8);
    assert.is(rng.aligned(), 8);
    assert.is(rng.word(), random(3, 8).word());
    assert.is(rng.seed, 3);
  },
  "bits, pairs of words and 53-bit numbers are uniform": () => {
    const rng = random(1);
    const words = draw(65536, rng.word);
    for (let bit = 0; bit < 32; bit++) {
      const ones = words.filter(w => (w >>> bit) & 1).length;
      assert.ok(Math.abs(ones - 32768) < 4.5 * 128, `bit ${bit} is set ${ones} times in 65536`);
    }
    const pairs = histogram(
      words.slice(1).map((w, i) => (w >>> 28) * 16 + (words[i]! >>> 28)),
      256,
    );
    assert.ok(chi2(pairs) < 255 + 5 * Math.sqrt(510), `pairs: chi-square ${chi2(pairs)}`);
    const values = draw(64000, rng.uniform);
    const bins = chi2(
      histogram(
        values.map(u => Math.floor(u * 64)),
        64,
      ),
    );
    assert.ok(bins < 63 + 5 * Math.sqrt(126) && bins > 63 - 5 * Math.sqrt(126), `uniform: chi-square ${bins}`);
    const last = values.filter(u => (u * 2 ** 53) % 2 === 1).length; // the lowest bit is alive
    assert.ok(Math.abs(last - 32000) < 600, `lowest bit ${last}`);
    assert.ok(values.every(u => u >= 0 && u < 1));
  },
  "uniform takes two words, the upper one first": () => {
    const rng = random(5);
    const a = rng.word();
    const b = rng.word();
    assert.is(random(5).uniform(), (Math.floor(a / 32) * 2 ** 26 + Math.floor(b / 64)) / 2 ** 53);
  },
  "integer is unbiased where a remainder would not be": () => {
    const rng = random(2);
    const n = 3 * 2 ** 30; // a plain remainder of a word would hit the first third twice as often
    for (const [size, unit] of [
      [n, 2 ** 30],
      [3 * 2 ** 51, 2 ** 51],
      [3, 1],
    ] as const) {
      const thirds = histogram(
        draw(9000, () => Math.floor(rng.integer(size) / unit)),
        3,
      );
      assert.ok(chi2(thirds) < 20, `${size}: ${thirds}`);
    }
    assert.ok(
      chi2(
        histogram(
          draw(58000, () => rng.integer(58)),
          58,
        ),
      ) <
        57 + 5 * Math.sqrt(114),
    );
    assert.equal(
      draw(5, () => rng.integer(1)),
      [0, 0, 0, 0, 0],
    );
  },
  "normal has the moments and tails of N(0, 1), four words each": () => {
    const rng = random(4);
    const n = 100000;
    const x = draw(n, rng.normal);
    const moment = (k: number) => x.reduce((s, v) => s + v ** k, 0) / n;
    assert.is(rng.position, 4 * n);
    assert.ok(Math.abs(moment(1)) < 0.015, `mean ${moment(1)}`);
    assert.ok(Math.abs(moment(2) - 1) < 0.02, `variance ${moment(2)}`);
    assert.ok(Math.abs(moment(3)) < 0.05, `skewness ${moment(3)}`);
    assert.ok(Math.abs(moment(4) - 3) < 0.15, `kurtosis ${moment(4)}`);
    const tails = x.filter(v => Math.abs(v) > 2).length / n;
    const far = x.filter(v => Math.abs(v) > 3.5).length;
    assert.ok(Math.abs(tails - 0.0455) < 0.003, `beyond 2: ${tails}`);
    assert.ok(far > 20 && far < 80, `beyond 3.5: ${far}`); // 46.5 expected
    assert.ok(Math.abs(correlation(x.slice(1), x.slice(0, -1))) < 0.015, "neighbours are correlated");
  },
  "normal agrees with the host's formula": () => {
    const rng = random(6);
    const other = random(6);
    for (let i = 0; i < 1000; i++) {
      const want = Math.sqrt(-2 * Math.log(1 - other.uniform())) * Math.cos(2 * Math.PI * other.uniform());
      assert.ok(Math.abs(rng.normal() - want) < 1e-13);
    }
  },
  "forks depend on seed and key, not on position, and leave their parent alone": () => {
    const rng = random(8);
    const first = rng.fork("data").word();
    assert.is(rng.position, 0);
    rng.skip(100);
    assert.is(rng.fork("data").word(), first);
    assert.is.not(random(9).fork("data").word(), first);
    const keys = [
      "",
      "0",
      "1",
      "01",
      "10",
      "data",
      "dat",
      "atad",
      "données",
      0,
      1,
      10,
      -1,
      2 ** 32,
      2 ** 32 + 1,
      ...draw(
        2000,
        (() => {
          let i = 2;
          return () => 10 + i++;
        })(),
      ),
    ];
    assert.is(new Set(keys.map(key => rng.fork(key).seed)).size, keys.length);
    assert.ok(keys.every(key => Number.isSafeInteger(rng.fork(key).seed) && rng.fork(key).seed !== rng.seed));
  },
  "forks are independent of each other and of their parent": () => {
    const rng = random(0);
    const parent = draw(20000, rng.uniform);
    const a = draw(20000, rng.fork(0).uniform);
    const b = draw(20000, rng.fork(1).uniform);
    for (const [x, y] of [
      [parent, a],
      [parent, b],
      [a, b],
    ] as const)
      assert.ok(Math.abs(correlation(x, y)) < 0.03);
    // the first number over neighbouring keys
    const firsts = Array.from({ length: 6400 }, (_, i) => rng.fork(i).uniform());
    assert.ok(
      chi2(
        histogram(
          firsts.map(u => Math.floor(u * 64)),
          64,
        ),
      ) <
        63 + 5 * Math.sqrt(126),
    );
    assert.ok(Math.abs(correlation(firsts.slice(1), firsts.slice(0, -1))) < 0.05);
    const nested = Array.from({ length: 6400 }, (_, i) => rng.fork("step").fork(i).uniform());
    assert.ok(Math.abs(correlation(firsts, nested)) < 0.05);
  },
  "choice and shuffle are fair, and shuffle leaves its argument alone": () => {
    const rng = random(10);
    const items = Object.freeze(["a", "b", "c"]);
    const orders = ["abc", "acb", "bac", "bca", "cab", "cba"];
    const counts = histogram(
      draw(6000, () => orders.indexOf(rng.shuffle(items).join(""))),
      6,
    );
    assert.ok(chi2(counts) < 25, String(counts));
    assert.ok(
      chi2(
        histogram(
          draw(6000, () => items.indexOf(rng.choice(items))),
          3,
        ),
      ) < 20,
    );
    assert.equal(rng.shuffle([]), []);
    assert.equal(rng.shuffle(draw(100, () => 7)).length, 100);
  },
  "wrong arguments are named with their values": () => {
    assert.is(
      thrown(RangeError, () => random(-1)),
      "random: seed is -1\n  wants an integer from 0 to 9007199254740991",
    );
    assert.is(
      thrown(TypeError, () => random("7" as never)),
      'random: seed is "7"\n  wants an integer from 0 to 9007199254740991',
    );
    for (const bad of [
      () => random(0.5),
      () => random(2 ** 53),
      () => random(0, -1),
      () => random(0).integer(0),
      () => random(0).integer(NaN),
      () => random(0).fork(0.5),
      () => random(0).choice([]),
      () => random(0).skip(-1),
      () => {
        random(0).position = 1.5;
      },
      () => philox([0], [0, 0]),
    ])
      thrown(RangeError, bad);
  },
});

// The reference: fixed-point numbers of 512 fractional bits, as BigInt.
const P = 512n;
const ONE = 1n << P;

/** A double as m 2^e with e that of its last place. */
function parts(x: number): { m: bigint; e: number } {
  const raw = new BigUint64Array(new Float64Array([x]).buffer)[0]!;
  const exponent = Number((raw >> 52n) & 2047n);
  const fraction = raw & ((1n << 52n) - 1n);
  return {
    m: (raw >> 63n ? -1n : 1n) * (exponent ? fraction | (1n << 52n) : fraction),
    e: Math.max(exponent, 1) - 1075,
  };
}
const shift = (m: bigint, by: number) => (by >= 0 ? m << BigInt(by) : m >> BigInt(-by));
const fixed = (x: number) => shift(parts(x).m, parts(x).e + Number(P));

/** z + z³/3 + ..., or z - z³/3 + ... for sign -1n. */
function arctan(z: bigint, sign: 1n | -1n): bigint {
  let sum = 0n;
  for (let power = z, n = 1n; power / n !== 0n; power = (sign * ((power * z) >> P) * z) >> P, n += 2n) sum += power / n;
  return sum;
}
const LN2 = 2n * arctan(ONE / 3n, 1n);
const PI = 4n * (4n * arctan(ONE / 5n, -1n) - arctan(ONE / 239n, -1n));

/** The sum of z^n/n! over n = first, first + step, ..., with alternating signs where step is 2. */
function series(z: bigint, first: number, step: 1 | 2): bigint {
  let sum = 0n;
  for (let term = first ? z : ONE, n = first; term !== 0n && term !== -1n; n += step) {
    sum += term;
    term = step === 1 ? ((term * z) >> P) / BigInt(n + 1) : -((((term * z) >> P) * z) >> P) / BigInt((n + 1) * (n + 2));
  }
  return sum;
}
function expOf(x: bigint): { m: bigint; e: number } {
  const k = x / LN2;
  return { m: series(x - k * LN2, 0, 1), e: Number(k) - Number(P) };
}
function logOf(x: number): bigint {
  let { m, e } = parts(x);
  while (m < 1n << 52n) {
    m <<= 1n;
    e--;
  }
  const one = 1n << 52n;
  return 2n * arctan(((m - one) * ONE) / (m + one), 1n) + BigInt(e + 52) * LN2;
}
function waveOf(x: number, quarters: number): bigint {
  const all = 2n * fixed(x);
  const n = ((2n * all) / PI + (all < 0n ? -1n : 1n)) / 2n;
  const r = (all - n * PI) / 2n;
  const q = (Number(n % 4n) + 4 + quarters) % 4;
  const y = series(r, 1 - (q % 2), 2);
  return q >= 2 ? -y : y;
}

/** |got - want| in units of the last place of got. */
function ulps(got: number, m: bigint, e = -Number(P)): number {
  const g = parts(got);
  const base = Math.min(g.e, e) - 20;
  const gap = shift(g.m, g.e - base) - shift(m, e - base);
  return Number((gap < 0n ? -gap : gap) >> BigInt(g.e - base - 20)) / 2 ** 20;
}

/** Fails where the worst of `inputs` is off by more than `limit` ulp, and says where. */
function within(limit: number, inputs: number[], error: (x: number) => number): void {
  let worst = 0;
  let where = 0;
  for (const x of inputs) {
    const off = error(x);
    if (!(off <= worst)) {
      worst = off;
      where = x;
    }
  }
  assert.ok(worst <= limit, `off by ${worst} ulp at ${where}`);
  assert.ok(worst > 0, "no rounding at all: the reference is not looking");
}

const rng = random(20240601);
const between = (n: number, a: number, b: number) => draw(n, () => a + (b - a) * rng.uniform());
// every size alike
const scales = (n: number, a: number, b: number) => draw(n, () => (1 + rng.uniform()) * 2 ** (a + rng.integer(b - a)));

// The promise is 1 ulp; the limits are just above the worst seen, so that a lost correction term is noticed.
suite("math", {
  "the reference itself is right": () => {
    assert.is(ulps(Math.PI, PI) < 0.5, true);
    assert.is(ulps(Math.E, expOf(ONE).m, expOf(ONE).e) < 0.5, true);
    assert.is(ulps(Math.LN10, logOf(10)) < 0.5, true);
    assert.ok(Math.abs(Number(waveOf(0.5, 0)) / Number(ONE) - Math.sin(0.5)) < 1e-15);
    assert.ok(Math.abs(Number(waveOf(-40, 1)) / Number(ONE) - Math.cos(-40)) < 1e-15);
    assert.ok(ulps(1 + 2 ** -52, ONE) === 1);
  },
  "exp is within 1 ulp": () => {
    const inputs = [
      ...between(800, -708, 709.78),
      ...between(800, -1, 1),
      ...scales(200, -60, 0),
      ...scales(200, -60, 0).map(x => -x),
      ...between(200, -745, -708),
    ];
    within(0.55, inputs, x => {
      const { m, e } = expOf(fixed(x));
      return ulps(math.exp(x), m, e);
    });
  },
  "log is within 1 ulp": () => {
    const inputs = [
      ...scales(600, -1022, 1023),
      ...between(600, 0.5, 2),
      ...draw(300, () => 1 + (rng.uniform() - 0.5) * 2 ** -rng.integer(50)),
      ...scales(100, -1074, -1022),
      5e-324,
      1.7976931348623157e308,
    ].filter(x => x !== 1);
    within(0.51, inputs, x => ulps(math.log(x), logOf(x)));
  },
  "sin and cos are within 1 ulp up to 2^20, also beside their zeros": () => {
    const beside = draw(500, () => (rng.integer(660000) - 330000) * (Math.PI / 2)).filter(x => x !== 0);
    const inputs = [
      ...between(700, -1e6, 1e6),
      ...between(700, -10, 10),
      ...scales(300, -30, 20),
      ...beside,
      Math.PI,
      2 ** 20,
    ];
    within(0.7, inputs, x => ulps(math.sin(x), waveOf(x, 0)));
    within(0.75, inputs, x => ulps(math.cos(x), waveOf(x, 1)));
  },
  "pow is within 1 ulp over its whole range": () => {
    for (const bases of [scales(500, -1022, 1023), between(500, 0.5, 2), between(300, 0.999, 1.001)]) {
      const exponents = new Map(bases.map(x => [x, (rng.uniform() * 1400 - 700) / math.log(x)]));
      within(0.75, bases, x => {
        const y = exponents.get(x)!;
        const a = parts(y);
        const { m, e } = expOf(shift(logOf(x) * a.m, a.e));
        return ulps(math.pow(x, y), m, e);
      });
    }
    for (let n = -1074; n < 1024; n++) assert.is(math.pow(2, n), 2 ** n);
    for (const [x, y, want] of [
      [10, 2, 100],
      [10, 3, 1000],
      [3, 4, 81],
      [4, 0.5, 2],
      [10000, -0.25, 0.1],
      [2, 10, 1024],
    ] as const)
      assert.is(math.pow(x, y), want);
  },
  "the edges are right": () => {
    const table: [string, number, number][] = [
      ["exp(0)", math.exp(0), 1],
      ["exp(-0)", math.exp(-0), 1],
      ["exp(inf)", math.exp(Infinity), Infinity],
      ["exp(-inf)", math.exp(-Infinity), 0],
      ["exp(NaN)", math.exp(NaN), NaN],
      ["exp(709.79)", math.exp(709.79), Infinity],
      ["exp(1e300)", math.exp(1e300), Infinity],
      ["exp(-745)", math.exp(-745), 5e-324],
      ["exp(-745.13)", math.exp(-745.13), 5e-324],
      ["exp(-745.14)", math.exp(-745.14), 0],
      ["exp(-1e300)", math.exp(-1e300), 0],
      ["exp(1e-300)", math.exp(1e-300), 1],
      ["exp(5e-324)", math.exp(5e-324), 1],
      ["exp(1)", math.exp(1), Math.E],
      ["log(1)", math.log(1), 0],
      ["log(0)", math.log(0), -Infinity],
      ["log(-0)", math.log(-0), -Infinity],
      ["log(-1)", math.log(-1), NaN],
      ["log(inf)", math.log(Infinity), Infinity],
      ["log(NaN)", math.log(NaN), NaN],
      ["log(2)", math.log(2), Math.LN2],
      ["log(-inf)", math.log(-Infinity), NaN],
      ["sin(0)", math.sin(0), 0],
      ["sin(-0)", math.sin(-0), -0],
      ["sin(5e-324)", math.sin(5e-324), 5e-324],
      ["sin(-1e-9)", math.sin(-1e-9), -1e-9],
      ["sin(inf)", math.sin(Infinity), NaN],
      ["sin(NaN)", math.sin(NaN), NaN],
      ["cos(0)", math.cos(0), 1],
      ["cos(1e-300)", math.cos(1e-300), 1],
      ["cos(-inf)", math.cos(-Infinity), NaN],
      ["cos(NaN)", math.cos(NaN), NaN],
      ["pow(0, 0)", math.pow(0, 0), 1],
      ["pow(NaN, 0)", math.pow(NaN, 0), 1],
      ["pow(1, inf)", math.pow(1, Infinity), 1],
      ["pow(0, 2)", math.pow(0, 2), 0],
      ["pow(0, -2)", math.pow(0, -2), Infinity],
      ["pow(2, 1024)", math.pow(2, 1024), Infinity],
      ["pow(2, -1075)", math.pow(2, -1075), 0],
      ["pow(2, inf)", math.pow(2, Infinity), Infinity],
      ["pow(0.5, inf)", math.pow(0.5, Infinity), 0],
      ["pow(inf, -1)", math.pow(Infinity, -1), 0],
      ["pow(-2, 2)", math.pow(-2, 2), NaN],
      ["pow(2, NaN)", math.pow(2, NaN), NaN],
      ["pow(1e-320, 0.5)", math.pow(1e-320, 0.5), Math.sqrt(1e-320)],
    ];
    for (const [call, got, want] of table) assert.ok(Object.is(got, want), `${call} is ${got} instead of ${want}`);
  },
  "a sine beyond 2^20 is refused, not wrong": () => {
    assert.is(
      thrown(RangeError, () => math.sin(-2e6)),
      "sin: an angle of -2000000\n  wants -1048576 to 1048576",
    );
    thrown(RangeError, () => math.cos(1e300));
  },
});
