// math.test.ts: the vector functions against references of 200 bits (BigInt fixed point), and the elementwise kernels
// against formulas. A reference shares nothing with the kernels: Taylor series, one Halley step for log, π and ln 2
// from arctangents of integers.
import { close, suite } from "./check.ts";
import { Tape } from "farsight";

type Dtype = "f32" | "f64";
/** m 2^e. */
interface Big {
  m: bigint;
  e: number;
}

const W = 200;
const ONE = 1n << 200n;
const abs = (a: bigint): bigint => (a < 0n ? -a : a);
const length = (a: bigint): number =>
  abs(a).toString(16).length * 4 - Math.clz32(parseInt(abs(a).toString(16)[0]!, 16)) + 28;
const shift = (a: bigint, by: number): bigint => (by >= 0 ? a << BigInt(by) : a >> BigInt(-by));
const times = (a: bigint, b: bigint): bigint => (a * b) >> 200n;
const over = (a: bigint, b: bigint): bigint => (a << 200n) / b;
const nearest = (a: bigint, b: bigint): bigint => (2n * a + b) / (2n * b) - (2n * a + b < 0n ? 1n : 0n); // a/b rounded

const word = new BigUint64Array(1);
const double = new Float64Array(word.buffer);
/** The exact value of a double; infinities become the power of two that follows the largest number, ±2^top. */
function exact(x: number, top = 1024): Big {
  if (!Number.isFinite(x)) return { m: x > 0 ? 1n : -1n, e: top };
  double[0] = x;
  const exponent = Number((word[0]! >> 52n) & 0x7ffn);
  const low = word[0]! & 0xfffffffffffffn;
  const m = exponent ? low | (1n << 52n) : low;
  return { m: x < 0 ? -m : m, e: Math.max(exponent, 1) - 1075 };
}
const fixed = (x: number): bigint => {
  const { m, e } = exact(x);
  return shift(m, e + W);
};
const number = ({ m, e }: Big): number => {
  const n = length(m);
  return n > 64 ? Number(shift(m, 64 - n)) * 2 ** (e + n - 64) : Number(m) * 2 ** e;
};

/** arctan 1/n (sign -1) or artanh 1/n (sign 1). */
function arc(n: bigint, sign: bigint): bigint {
  let sum = 0n;
  let power = ONE / n;
  for (let k = 1n; power !== 0n; k += 2n, power = (sign * power) / (n * n)) sum += power / k;
  return sum;
}
const LN2 = 2n * arc(3n, 1n);
const QUARTER = 2n * (4n * arc(5n, -1n) - arc(239n, -1n)); // Machin; π/2
const ROOT_PI = (() => {
  let y = ONE * 2n;
  const x = (2n * QUARTER) << 200n;
  for (let i = 0; i < 12; i++) y = (y + x / y) >> 1n;
  return y;
})();

/** Σ terms, each the one before times `by` and divided by the next of `divisor(k)`. */
function series(term: bigint, by: bigint, divisor: (k: bigint) => bigint): bigint {
  let sum = term;
  for (let k = 1n; term > 1n || term < -1n; k++) {
    term = times(term, by) / divisor(k);
    sum += term;
  }
  return sum;
}
function power(x: bigint): Big {
  // e^x
  const k = nearest(x, LN2);
  return { m: series(ONE, x - k * LN2, k => k), e: Number(k) - W };
}
const whole = ({ m, e }: Big): bigint => shift(m, e + W);
function wave(x: number, quarters: bigint): Big {
  const n = nearest(fixed(x), QUARTER);
  const r = fixed(x) - n * QUARTER;
  const q = (n + quarters) & 3n;
  const odd = (q & 1n) === 1n;
  const m = odd
    ? series(ONE, -times(r, r), k => (2n * k - 1n) * 2n * k)
    : series(r, -times(r, r), k => 2n * k * (2n * k + 1n));
  return { m: q & 2n ? -m : m, e: -W };
}
const tiny = 2 ** -60; // below it x, and x (1 ± x²), are the same to 120 bits
const references: Record<string, (x: number) => Big> = {
  exp: x => power(fixed(x)),
  log: x => {
    const guess = Math.log(x);
    const back = power(-fixed(guess));
    const { m, e } = exact(x);
    const q = whole({ m: m * back.m, e: e + back.e });
    return { m: fixed(guess) + 2n * over(q - ONE, q + ONE), e: -W };
  },
  tanh: x => {
    if (Math.abs(x) < tiny) return exact(x);
    if (Math.abs(x) > 50) return exact(Math.sign(x));
    const p = whole(power(2n * fixed(x)));
    return { m: over(p - ONE, p + ONE), e: -W };
  },
  sigmoid: x => {
    const p = power(-abs(fixed(x)));
    return x < 0 ? { m: over(p.m, ONE + whole(p)), e: p.e } : { m: over(ONE, ONE + whole(p)), e: -W };
  },
  sin: x => (Math.abs(x) < tiny ? exact(x) : wave(x, 0n)),
  cos: x => wave(x, 1n),
  erf: x => {
    if (Math.abs(x) < tiny) {
      const { m, e } = exact(x);
      return { m: over(m * 2n * ONE, ROOT_PI), e: e - W };
    }
    if (Math.abs(x) > 9) return exact(Math.sign(x));
    const v = fixed(x);
    const z = times(v, v); // 2/√π e^(-x²) Σ (2x²)^k x/(2k+1)!!
    return { m: times(over(2n * series(v, 2n * z, k => 2n * k + 1n), ROOT_PI), whole(power(-z))), e: -W };
  },
};

/** The distance from `got` to the true value in units in the last place of the true value. */
function ulps(got: number, { m, e }: Big, dtype: Dtype): number {
  if (Number.isNaN(got)) return Infinity;
  if (m === 0n) return got === 0 ? 0 : Infinity;
  const [digits, least, top] = dtype === "f32" ? [24, -149, 128] : [53, -1074, 1024];
  if (length(m) + e > top && !Number.isFinite(got) && got > 0 === m > 0n) return 0;
  const unit = Math.max(length(m) + e - digits, least) - 30;
  const value = exact(got, top);
  return Math.abs(Number(shift(value.m, value.e - unit) - shift(m, e - unit))) / 2 ** 30;
}

let state = 1;
function random(): number {
  // mulberry32
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), state | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}
const between = (lo: number, hi: number): number => lo + (hi - lo) * (random() + random() / 4294967296);

/** x and the two numbers on either side of it, in the dtype. */
function around(x: number, dtype: Dtype): number[] {
  const one = dtype === "f32" ? new Float32Array([x]) : new Float64Array([x]);
  if (one[0] === 0) return [0];
  if (one instanceof Float32Array) {
    const at = new Int32Array(one.buffer);
    const c = at[0]!;
    return [-2, -1, 0, 1, 2].map(i => {
      at[0] = c + i;
      return one[0]!;
    });
  }
  const at = new BigInt64Array(one.buffer);
  const c = at[0]!;
  return [-2n, -1n, 0n, 1n, 2n].map(i => {
    at[0] = c + i;
    return one[0]!;
  });
}
const many = (n: number, f: (i: number) => number): number[] => Array.from({ length: n }, (_, i) => f(i));

/**
 * Where a function is tried: evenly over its range, over all exponents, near 0, and around the places where its
 * reduction changes.
 */
function places(name: string, dtype: Dtype): number[] {
  const single = dtype === "f32";
  const least = single ? 2 ** -149 : 2 ** -1074;
  const normal = single ? 2 ** -126 : 2 ** -1022;
  const edge = single
    ? [88.72283905206835, -87.3365447505531, -103.27892990343185, -103.97207708399179, -104, -130, -176.06, -177]
    : [709.782712893384, -708.3964185322641, -744.4400719213812, -745.1332191019412, -746, -1100, -1418.18, -1419];
  const [low, high] = (
    {
      exp: [edge[3]!, edge[0]!],
      log: [0, 1000],
      tanh: [-10, 10],
      sigmoid: [edge[3]!, 40],
      erf: [-6.5, 6.5],
      sin: [-1e5, 1e5],
      cos: [-1e5, 1e5],
    } as Record<string, number[]>
  )[name] as [number, number];
  const steps: Record<string, number[]> = {
    exp: [...edge, ...many(120, i => (i - 60.5) * Math.LN2)],
    sigmoid: [...edge, ...edge.map(x => -x), ...many(60, i => (i - 50.5) * Math.LN2), ...(single ? [-80] : [-700])],
    tanh: [...many(60, i => ((i - 30.5) * Math.LN2) / 2), 9.01, 10, 18.7, 19.06, 20],
    log: [
      1,
      least,
      2 * least,
      normal,
      single ? 3.4e38 : 1.79e308,
      ...many(200, i => Math.SQRT1_2 * 2 ** (i - 100)),
      ...many(100, i => 2 ** (i - 50)),
      ...many(40, i => 1 + 2 ** -(i + 3)),
      ...many(40, i => 1 - 2 ** -(i + 3)),
    ],
    erf: [1, 3.92, 4, 5.9, 6, 2, 0.5],
    sin: [],
    cos: [],
  };
  // Near n π/2 the leading bits cancel; n π/2 ± π/4 bounds the reduction. The whole numbers lie close to n π/2 too.
  steps.sin = steps.cos = many(700, i => {
    const n = i < 200 ? i + 1 : Math.floor(between(1, 63662));
    return number({ m: ((i % 3 ? 1n : -1n) * BigInt(n) * QUARTER) / (i & 1 ? 1n : 2n), e: -W });
  }).concat([11, 22, 355, 710, 33215, 66317]);
  const spread = many(
    700,
    () =>
      2 ** between(single ? -149 : -1074, name === "log" ? (single ? 128 : 1024) : Math.log2(high)) *
      (name === "log" || random() < 0.5 ? 1 : -1),
  );
  const near = many(2500, () => between(Math.max(low, -3), Math.min(high, 3)));
  const all = [
    ...many(2500, () => between(low, high)),
    ...spread,
    ...near,
    ...steps[name]!.flatMap(x => around(x, dtype)),
  ];
  return all.map(single ? Math.fround : x => x).filter(x => Number.isFinite(x) && (name !== "log" || x > 0));
}

type Run = (n: number, ...rest: number[]) => void;
function lab(dtype: Dtype) {
  const engine = new Tape(dtype).engine;
  const put = (values: ArrayLike<number>): number => {
    const at = engine.alloc(values.length);
    engine.view(at, values.length).set(values);
    return at;
  };
  const take = (at: number, n: number): number[] => Array.from(engine.view(at, n));
  const kernel = (name: string): Run => (engine.kernels as unknown as Record<string, Run>)[name]!;
  const apply = (name: string, x: ArrayLike<number>): number[] => {
    const y = engine.alloc(x.length);
    kernel(name)(x.length, put(x), y);
    return take(y, x.length);
  };
  return { engine, put, take, kernel, apply };
}
const dtypes: Dtype[] = ["f32", "f64"];
const allowed = { f32: 2, f64: 4 };

suite(
  "math",
  Object.fromEntries(
    dtypes.flatMap(dtype =>
      Object.entries(references).map(([name, reference]) => [
        `${name} in ${dtype} is within ${allowed[dtype]} ulp`,
        () => {
          const x = places(name, dtype);
          const y = lab(dtype).apply(name, x);
          let worst = 0;
          let at = 0;
          x.forEach((v, i) => {
            const u = ulps(y[i]!, reference(v), dtype);
            if (u > worst) {
              worst = u;
              at = i;
            }
          });
          if (globalThis.process?.env.ULPS)
            console.log(`${name} ${dtype}: ${worst.toFixed(3)} ulp at ${x[at]} of ${x.length}`);
          if (!(worst <= allowed[dtype]))
            throw new Error(`${name}(${x[at]}) is ${y[at]}, ${worst} ulp from ${number(reference(x[at]!))}`);
        },
      ]),
    ),
  ),
);

const edges: Record<string, [number, number][]> = {
  exp: [
    [0, 1],
    [-0, 1],
    [Infinity, Infinity],
    [-Infinity, 0],
    [NaN, NaN],
    [1e30, Infinity],
    [-1e30, 0],
    [1e-40, 1],
  ],
  log: [
    [0, -Infinity],
    [-0, -Infinity],
    [1, 0],
    [-1, NaN],
    [-1e-40, NaN],
    [-Infinity, NaN],
    [Infinity, Infinity],
    [NaN, NaN],
  ],
  tanh: [
    [0, 0],
    [-0, -0],
    [Infinity, 1],
    [-Infinity, -1],
    [NaN, NaN],
    [1e30, 1],
    [-1e30, -1],
  ],
  sigmoid: [
    [0, 0.5],
    [-0, 0.5],
    [Infinity, 1],
    [-Infinity, 0],
    [NaN, NaN],
    [1e30, 1],
    [-1e30, 0],
  ],
  sin: [
    [0, 0],
    [-0, -0],
    [Infinity, NaN],
    [-Infinity, NaN],
    [NaN, NaN],
  ],
  cos: [
    [0, 1],
    [-0, 1],
    [Infinity, NaN],
    [-Infinity, NaN],
    [NaN, NaN],
  ],
  erf: [
    [0, 0],
    [-0, -0],
    [Infinity, 1],
    [-Infinity, -1],
    [NaN, NaN],
    [1e30, 1],
    [-1e30, -1],
  ],
};
suite(
  "math edges",
  Object.fromEntries(
    dtypes.flatMap(dtype => [
      ...Object.entries(edges).map(([name, pairs]): [string, () => void] => [
        `${name} in ${dtype} is exact at zeros, infinities and NaN`,
        () => {
          const got = lab(dtype).apply(
            name,
            pairs.map(p => p[0]),
          );
          pairs.forEach(([x, want], i) => {
            if (!Object.is(got[i], want))
              throw new Error(`${name}(${Object.is(x, -0) ? "-0" : x}) is ${got[i]}, not ${want}`);
          });
        },
      ]),
      [
        `sin and cos in ${dtype} stay within [-1, 1] for every finite x`,
        () => {
          const x = many(2000, () => 2 ** between(16, dtype === "f32" ? 128 : 1024))
            .concat(dtype === "f32" ? 3.4028234663852886e38 : Number.MAX_VALUE)
            .map(v => (dtype === "f32" ? Math.fround(v) : v))
            .filter(Number.isFinite);
          for (const name of ["sin", "cos"])
            lab(dtype)
              .apply(name, x)
              .forEach((y, i) => {
                if (!(Math.abs(y) <= 1)) throw new Error(`${name}(${x[i]}) is ${y}`);
              });
        },
      ] as [string, () => void],
    ]),
  ),
);

const erf = (x: number): number => number(references.erf!(x));
const sigma = (x: number): number => 1 / (1 + Math.exp(-x));
const bell = (x: number): number => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
const phi = (x: number): number => 0.5 * (1 + erf(x / Math.SQRT2));
const inner = (x: number): number => Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3);
/** name: [f, f', whether it wants x > 0]. */
const maps: Record<string, [(x: number) => number, (x: number) => number, boolean?]> = {
  exp: [Math.exp, Math.exp],
  log: [Math.log, x => 1 / x, true],
  sqrt: [Math.sqrt, x => 0.5 / Math.sqrt(x), true],
  tanh: [Math.tanh, x => 1 / Math.cosh(x) ** 2],
  sigmoid: [sigma, x => sigma(x) * sigma(-x)],
  relu: [x => Math.max(x, 0), x => (x > 0 ? 1 : 0)],
  geluTanh: [
    x => 0.5 * x * (1 + Math.tanh(inner(x))),
    x =>
      0.5 * (1 + Math.tanh(inner(x))) +
      ((0.5 * x) / Math.cosh(inner(x)) ** 2) * Math.sqrt(2 / Math.PI) * (1 + 0.134145 * x * x),
  ],
  geluErf: [x => x * phi(x), x => phi(x) + x * bell(x)],
  silu: [x => x * sigma(x), x => sigma(x) + x * sigma(x) * sigma(-x)],
  sin: [Math.sin, Math.cos],
  cos: [Math.cos, x => -Math.sin(x)],
  erf: [erf, x => (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x)],
};
const pairs: Record<string, (a: number, b: number) => number> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
};
const slack = { f32: 4e-7, f64: 2e-15 }; // a few roundings of numbers near 1; the plain formulas cancel below that

suite(
  "map kernels",
  Object.fromEntries(
    dtypes.flatMap(dtype => {
      const draw = (n: number, positive = false): number[] =>
        many(n, () => between(positive ? 0.1 : -4, 4)).map(dtype === "f32" ? Math.fround : x => x);
      const sizes = [1, 2, 3, 4, 5, 7, 8, 9, 101];
      const tests: Record<string, () => void> = {
        [`unary kernels in ${dtype} agree with their formulas for every tail, and write nothing past the padding`]:
          () => {
            for (const [name, [f, , positive]] of Object.entries(maps))
              for (const n of sizes) {
                const { engine, put, take, kernel } = lab(dtype);
                const x = draw(n, positive);
                const X = put(x);
                const y = engine.alloc(n);
                const fence = put([7]);
                kernel(name)(n, X, y);
                close(take(y, n), x.map(f), slack[dtype], `${name} of ${n}`, 1);
                close(take(X, n), x, 0, `x of ${name}`);
                close(take(fence, 1), [7], 0, `past ${name} of ${n}`);
              }
          },
        [`unary Back kernels in ${dtype} add dy f'(x), or write it over what was there`]: () => {
          for (const [name, [f, slope, positive]] of Object.entries(maps))
            for (const n of sizes)
              for (const add of [1, 0]) {
                const { put, take, kernel } = lab(dtype);
                const x = draw(n, positive);
                const dy = draw(n);
                const old = add ? draw(n) : many(n, () => NaN);
                const dx = put(old);
                const fence = put([7]);
                kernel(name + "Back")(n, put(x), put(x.map(f)), put(dy), dx, add);
                close(
                  take(dx, n),
                  x.map((v, i) => (add ? old[i]! : 0) + dy[i]! * slope(v)),
                  4 * slack[dtype],
                  `${name}Back of ${n}`,
                  1,
                );
                close(take(fence, 1), [7], 0, `past ${name}Back of ${n}`);
              }
        },
        [`binary kernels and sums in ${dtype} agree with their formulas`]: () => {
          for (const n of sizes) {
            const { put, take, kernel } = lab(dtype);
            const a = draw(n);
            const b = draw(n, true);
            const c = draw(n);
            const y = draw(n);
            const A = put(a);
            const B = put(b);
            const C = put(c);
            const check = (name: string, want: number[], ...before: number[]): void => {
              const Y = put(y);
              kernel(name)(n, ...before, Y, 1);
              close(take(Y, n), want, slack[dtype], `${name} of ${n}`, 1);
            };
            for (const [name, f] of Object.entries(pairs))
              check(
                name,
                a.map((v, i) => f(v, b[i]!)),
                A,
                B,
              );
            check(
              "scale",
              a.map(v => 0.5 * v + 0.25),
              0.5,
              0.25,
              A,
            );
            check(
              "scaleAdd",
              a.map((v, i) => y[i]! + 0.5 * v),
              0.5,
              A,
            );
            check(
              "accumulate",
              a.map((v, i) => y[i]! + v),
              A,
            );
            check(
              "mulAdd",
              a.map((v, i) => y[i]! + v * b[i]!),
              A,
              B,
            );
            for (const [name, want, ...before] of [
              ["scaleAdd", a.map(v => 0.5 * v), 0.5, A],
              ["accumulate", a, A],
              ["mulAdd", a.map((v, i) => v * b[i]!), A, B],
            ] as [string, number[], ...number[]][]) {
              const Y = put(many(n, () => NaN));
              kernel(name)(n, ...before, Y, 0);
              close(take(Y, n), want, slack[dtype], `${name} of ${n}, written over`, 1);
            }
            check(
              "fill",
              a.map(() => 2.5),
              2.5,
            );
            check(
              "divBack",
              a.map((v, i) => y[i]! - (c[i]! * v) / b[i]!),
              B,
              A,
              C,
              0,
              0,
            );
            const Y = put(y);
            kernel("divBack")(n, B, A, C, Y, 1, 0, 0);
            close(
              take(Y, n),
              c.map((v, i) => y[i]! + v / b[i]!),
              slack[dtype],
              `divBack of ${n}, da`,
              1,
            );
          }
        },
        [`a destination of 0 is skipped in ${dtype}`]: () => {
          const { engine, put, kernel } = lab(dtype);
          const x = put(draw(9, true));
          const low = (): Uint8Array => new Uint8Array(engine.memory.buffer, 0, 4096);
          const before = low().slice();
          for (const name of Object.keys(maps)) {
            kernel(name)(9, x, 0);
            kernel(name + "Back")(9, x, x, x, 0);
          }
          for (const name of Object.keys(pairs)) kernel(name)(9, x, x, 0);
          kernel("divBack")(9, x, x, x, 0, 0, 0, 0);
          kernel("scale")(9, 2, 1, x, 0);
          kernel("scaleAdd")(9, 2, x, 0);
          kernel("accumulate")(9, x, 0);
          kernel("mulAdd")(9, x, x, 0);
          kernel("fill")(9, 1, 0);
          kernel("dropout")(9, 0.5, 1, 2, 0, x, 0);
          kernel("dropoutBack")(9, 0.5, 1, 2, 0, x, 0);
          close(low(), before, 0, "memory from 0 on");
        },
        [`activations and their slopes in ${dtype} are finite up to ±1e30`]: () => {
          for (const name of ["tanh", "sigmoid", "relu", "geluTanh", "geluErf", "silu", "erf"]) {
            const { put, take, kernel, apply } = lab(dtype);
            const x = [1e30, -1e30, 1e20, -1e20, 1e10, -1e10, 300, -300, 30, -30, 0, -0].map(
              dtype === "f32" ? Math.fround : v => v,
            );
            const y = apply(name, x);
            const dx = put(x.map(() => 0));
            const limit = maps[name]![1];
            kernel(name + "Back")(x.length, put(x), put(y), put(x.map(() => 1)), dx);
            x.forEach((v, i) => {
              const slope = take(dx, x.length)[i]!;
              const top = ["tanh", "sigmoid", "erf"].includes(name) ? Math.sign(v) : v;
              const want = Math.abs(v) < 20 || Math.abs(v) > 1e9 ? 0 : limit(v);
              if (!Number.isFinite(y[i]) || !Number.isFinite(slope))
                throw new Error(`${name}(${v}) is ${y[i]}, slope ${slope}`);
              if (v >= 300 && y[i] !== top) throw new Error(`${name}(${v}) is ${y[i]}`);
              if (v <= -30 && Math.abs(y[i]! - (name === "tanh" || name === "erf" ? -1 : 0)) > 1e-11)
                throw new Error(`${name}(${v}) is ${y[i]}`);
              if (Math.abs(want) > 0 && Math.abs(slope - want) > 1e-9)
                throw new Error(`${name}'(${v}) is ${slope}, not ${want}`);
            });
          }
        },
        [`dropout in ${dtype} keeps the elements whose Philox word is large enough, at any position`]: () => {
          const edge = stream(8, 3, 5, 0xfffffff0) / 2 ** 32; // kept at this p, not above
          for (const [p, position, n] of [
            [0.3, 0, 1001],
            [0.5, 4, 7],
            [0.9, 4 * (2 ** 32 - 3), 50],
            [0, 8, 9],
            [1, 0, 9],
            [edge, 8, 9],
            [edge + 2 ** -33, 8, 9],
          ] as const) {
            const { put, take, kernel, engine } = lab(dtype);
            const x = draw(n);
            const old = draw(n);
            const y = engine.alloc(n);
            const dx = put(old);
            const X = put(x);
            kernel("dropout")(n, p, 5, 0xfffffff0, position, X, y);
            kernel("dropoutBack")(n, p, 5, 0xfffffff0, position, X, dx, 1);
            const words = many(n, i => stream(position, i, 5, 0xfffffff0));
            const want = x.map((v, i) => (words[i]! >= p * 2 ** 32 && p < 1 ? v / (1 - p) : 0));
            close(take(y, n), want, slack[dtype], `dropout ${p}`, 1);
            close(
              take(dx, n),
              want.map((v, i) => old[i]! + v),
              slack[dtype],
              `dropoutBack ${p}`,
              1,
            );
          }
        },
      };
      return Object.entries(tests);
    }),
  ),
);

/** Philox4x32-10 in plain numbers: the four words of a counter block under a key. */
function philox(counter: number[], key: number[]): number[] {
  let [a, b, c, d] = counter as [number, number, number, number];
  let [k, l] = key as [number, number];
  for (let round = 0; round < 10; round++) {
    const p = BigInt(a) * 0xd2511f53n;
    const q = BigInt(c) * 0xcd9e8d57n;
    [a, b, c, d] = [
      (Number(q >> 32n) ^ b ^ k) >>> 0,
      Number(q & 0xffffffffn),
      (Number(p >> 32n) ^ d ^ l) >>> 0,
      Number(p & 0xffffffffn),
    ];
    [k, l] = [(k + 0x9e3779b9) >>> 0, (l + 0xbb67ae85) >>> 0];
  }
  return [a, b, c, d];
}
const stream = (position: number, i: number, low: number, high: number): number => {
  const count = position / 4 + Math.floor(i / 4);
  return philox([count >>> 0, Math.floor(count / 2 ** 32), 0, 0], [low, high])[i & 3]!;
};
suite("philox", {
  "the reference gives the known answers of Random123": () => {
    const all = 0xffffffff;
    close(philox([0, 0, 0, 0], [0, 0]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8], 0);
    close(philox([all, all, all, all], [all, all]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd], 0);
    close(
      philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
      0,
    );
  },
  "the kernel gives the words of the reference, past 2^32 blocks too": () => {
    for (const dtype of dtypes)
      for (const [low, high, position] of [
        [0, 0, 0],
        [0xffffffff, 0xffffffff, 400],
        [0xa4093822, 0x299f31d0, 4 * (2 ** 32 - 5)],
        [1, 2, 2 ** 53 - 4096],
      ] as const) {
        const { engine, kernel } = lab(dtype);
        const n = 64;
        const y = engine.alloc(n);
        kernel("philox")(n, low, high, position, y);
        close(
          new Uint32Array(engine.memory.buffer, y, n),
          many(n, i => stream(position, i, low, high)),
          0,
          `philox from ${position} in ${dtype}`,
        );
      }
  },
});
