// Long sums, large angles, numbers far from 0, infinities, and what stands behind a mask.
import {
  Tape,
  add,
  attention,
  bias,
  bmm,
  cos,
  crossEntropy,
  cumsum,
  embedding,
  fade,
  gelu,
  geluErf,
  huber,
  layerNorm,
  linear,
  logSoftmax,
  logsumexp,
  matmul,
  mean,
  mul,
  random,
  relu,
  reshape,
  rmsNorm,
  rotary,
  sigmoid,
  silu,
  sin,
  sinusoidal,
  softmax,
  sum,
  tanh,
  type AttentionOptions,
  type Tensor,
} from "farsight";
import * as assert from "uvu/assert";
import { close, suite, thrown } from "./check.ts";

type Dtype = "f32" | "f64";
const dtypes: readonly Dtype[] = ["f32", "f64"];

/** Throws unless `got` is `want` to so much of itself. */
function near(got: number, want: number, what: string, most = 1e-6): void {
  const off = Math.abs(got / want - 1);
  if (!(off <= most)) throw new Error(`${what} is ${got}, not ${want}: off by ${off.toExponential(1)}`);
}
const filled = (n: number, value: number): Float32Array => new Float32Array(n).fill(value);
/** A shape, and numbers of single precision that follow from their places. */
const placed = (shape: number[], at: (i: number) => number): [number[], Float32Array] => [
  shape,
  Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => at(i)),
];

/** Attention of many queries or keys, all of whose gradients that are asked for are sums of one sign. */
interface LongSum {
  t: number;
  s: number;
  h: number;
  g: number;
  d: number;
  gates: "shared" | "sep" | "val" | "token";
  table?: "head";
  edges?: true;
}
const longSums: LongSum[] = [
  { t: 65_536, s: 5, h: 1, g: 1, d: 4, gates: "shared" },
  { t: 65_536, s: 5, h: 2, g: 1, d: 3, gates: "sep", table: "head" },
  { t: 40_001, s: 4, h: 2, g: 2, d: 5, gates: "token", edges: true },
  { t: 40_001, s: 5, h: 2, g: 1, d: 3, gates: "val", edges: true },
  { t: 8, s: 65_536, h: 1, g: 1, d: 4, gates: "sep" },
  { t: 9, s: 65_536, h: 1, g: 1, d: 3, gates: "token" },
];
/** Gradients of its tables and biases and of what keys, values and gate keys, and their pasts, are sent. */
function longGradients(dtype: Dtype, { t, s, h, g, d, gates, table, edges }: LongSum): Record<string, number[]> {
  const tape = new Tape(dtype);
  const fill = (shape: number[], at: (i: number) => number): Tensor => tape.param(...placed(shape, at));
  const low = s > t; // gates so low that thousands of keys lie between two rows of the table
  const k = fill([1, s, g, d], i => (low ? -30 : 0.3) * (1 + (i % 5) / 8));
  const v = fill([1, s, g, d], i => Math.floor(i / (g * d)) / s);
  const weight = fill(table ? [h, 6, d] : [6, d], i => 0.02 * (Math.floor(i / d) % 6));
  const bias = fill([h], () => -0.5);
  const ofKey = (i: number): number => (low ? -11 : -0.3 * (i % 4));
  const gateKeys =
    gates === "token"
      ? fill([1, s, g], ofKey)
      : gates === "sep"
        ? fill([1, s, g, d], i => (low ? -30 : 0.3) * (1 + (i % 7) / 8))
        : undefined;
  const stopped = (x: Tensor): Tensor => tape.param(x.shape, x.values());
  const past = edges && { k: stopped(k), v: stopped(v), ...(gateKeys && { gateKeys: stopped(gateKeys) }) };
  const options: AttentionOptions = {
    causal: false,
    position: "cope",
    tables: { cope: { weight, bias } },
    cope: { gates, bias: 0, ...(table && { table }) },
    ...(gateKeys && { gateKeys }),
    ...(edges && { past, edges: tape.tensor(...placed([t, s], i => 0.25 + (i % 3) / 4)) }),
  };
  const q = fill([1, t, h, d], i => 0.1 + 0.05 * (i % 3));
  const dy = fill([1, t, h, d], i => 0.5 + (i % 7) / 9);
  tape.step(() => sum(mul(attention(q, k, v, options), dy)));
  const all = { weight, bias, k, v, gateKeys, past: past?.k, pastValues: past?.v, pastGates: past?.gateKeys };
  return Object.fromEntries(
    Object.entries(all).flatMap(([name, p]) => (p ? [[name, Array.from(p.gradient())] as const] : [])),
  );
}

suite("long sums in f32", {
  "of a million equal numbers are good to 1e-6, whatever adds them up"() {
    for (const [n, value] of [
      [1e6, 1 / 255],
      [1e6, 0.1],
      [700_001, 0.37],
      [65_536, 1.1],
      [5000, 0.7],
    ] as const) {
      const c = Math.fround(value);
      const tape = new Tape("f32");
      const u = tape.tensor([n, 3], filled(3 * n, c));
      const say = (name: string, got: ArrayLike<number>, want = n * c): void => {
        for (let i = 0; i < got.length; i++) near(got[i]!, want, `${name} of ${n} times ${value}`);
      };
      const of = (name: string, body: () => Tensor, want?: number): void =>
        tape.scope(() => say(name, body().values(), want));
      of("sum", () => sum(u), 3 * n * c);
      of("sum, axis 0", () => sum(u, { axis: 0 }));
      of("sum, axis 1", () => sum(reshape(u, [3, n]), { axis: 1 }));
      of("mean, axis 0", () => mean(u, { axis: 0 }), c);
      tape.scope(() =>
        say(
          "cumsum's last",
          cumsum(u, { axis: 0 })
            .values()
            .subarray(3 * n - 3),
        ),
      );
      tape.scope(() => say("cumsum's first", cumsum(u, { axis: 0, reverse: true }).values().subarray(0, 3)));
      if (n > 16_384) {
        of("matmul", () => matmul(reshape(u, [3, n]), tape.tensor([n, 2], filled(2 * n, 1))));
        of("bmm", () => bmm(reshape(u, [3, 1, n]), tape.tensor([3, n, 1], filled(3 * n, 1))));
        of("linear", () => linear(reshape(u, [3, n]), tape.tensor([1, n], filled(n, 1)), tape.tensor([1], [0])));
      }
      of("logsumexp", () => logsumexp(tape.tensor([n], filled(n, c))), c + Math.log(n));
      const falling = filled(n, -c);
      falling[0] = 0;
      const share = 1 / (1 + (n - 1) * Math.exp(-c));
      tape.scope(() =>
        say(
          "softmax's first",
          softmax(tape.tensor([n], falling))
            .values()
            .subarray(0, 1),
          share,
        ),
      );
    }
  },
  "are as good in gradients of biases, weights, norms and tables, and over keys and queries"() {
    const n = 400_000;
    for (const value of [1 / 255, 0.1, 0.61]) {
      const c = Math.fround(value);
      const tape = new Tape("f32");
      const w = tape.param([2, 1], [1, 1]);
      const b = tape.param([2]);
      const table = tape.param([3, 2], filled(6, 1));
      const u = (): Tensor => tape.tensor([n, 2], filled(2 * n, c));
      const say = (name: string, got: ArrayLike<number>, want = n * c): void =>
        near(got[0]!, want, `${name} of ${n} times ${value}`);
      const step = (body: () => Tensor): void => void tape.step(() => sum(mul(body(), u())));
      step(() => bias(tape.tensor([n, 2]), b));
      say("bias", b.gradient());
      step(() => linear(tape.tensor([n, 1], filled(n, 1)), w, b));
      say("linear weight", w.gradient());
      say("linear bias", b.gradient());
      step(() => embedding(table, tape.integers([n], new Int32Array(n).fill(1))));
      say("embedding", table.gradient().subarray(2));
      assert.equal(Array.from(table.gradient().subarray(4)), [0, 0]);
      const norm = tape.param([2], [1, 1]);
      const rows = (): Tensor => tape.tensor(...placed([n, 2], i => (i % 2 ? -1 : 1)));
      step(() => layerNorm(rows(), norm, b, { eps: 0 }));
      say("layerNorm weight", norm.gradient());
      say("layerNorm bias", b.gradient());
      step(() => rmsNorm(rows(), norm, { eps: 0 }));
      say("rmsNorm weight", norm.gradient());
      const s = 65_536;
      for (const composed of [true, false])
        tape.scope(() => {
          const v = tape.tensor([1, s, 1, 4], filled(4 * s, c));
          const y = attention(tape.tensor([1, 1, 1, 4]), tape.tensor([1, s, 1, 4]), v, { composed });
          near(y.values()[0]!, c, `attention${composed ? ", composed" : ""}`);
        });
      tape.scope(() => {
        const [t, k] = [9, 3000];
        const v = tape.tensor([1, k, 1, 5], filled(5 * k, c));
        const y = attention(tape.tensor([1, t, 1, 5]), tape.tensor([1, k, 1, 5]), v);
        for (const got of y.values()) near(got, c, "attention of several queries", 3e-6);
      });
    }
  },
  "20,000 queries send to CoPE's table what double precision does"() {
    const [t, s, d] = [20_000, 4, 4];
    const gradient = (dtype: "f32" | "f64"): number[] => {
      const tape = new Tape(dtype);
      const q = tape.tensor(...placed([1, t, 1, d], i => 0.5 + ((i * 7919) % 1000) / 2000));
      const k = tape.tensor(...placed([1, s, 1, d], i => 0.1 + i / 30));
      const v = tape.tensor(...placed([1, s, 1, d], i => i));
      const table = tape.param(...placed([4, d], () => 0.01));
      const options = { position: "cope", causal: false, cope: { rows: 4 }, tables: { cope: table } } as const;
      tape.step(() => sum(attention(q, k, v, options)));
      return Array.from(table.gradient());
    };
    const want = gradient("f64");
    const most = Math.max(...want.map(Math.abs));
    const off = Math.max(...gradient("f32").map((x, i) => Math.abs(x - want[i]!) / most));
    assert.ok(off < 2e-7, `off by ${off}`); // 1.2e-6 in single precision
  },
  "are as good in what 40,000 queries send back to keys and values"() {
    const [t, s, h, d] = [40_000, 5, 2, 3];
    const c = Math.fround(1 / 255);
    const run = (dtype: Dtype): number[][] => {
      const tape = new Tape(dtype);
      const k = tape.param([1, s, h, d], filled(s * h * d, 0));
      const v = tape.param(...placed([1, s, h, d], i => (i < h * d ? 0 : 1)));
      const q = tape.tensor([1, t, h, d], filled(t * h * d, c));
      tape.step(() => sum(mul(attention(q, k, v, { causal: false }), q)));
      return [Array.from(k.gradient()), Array.from(v.gradient())];
    };
    const want = run("f64");
    run("f32").forEach((got, i) => close(got, want[i]!, 1e-6, `gradient ${i}`, 0));
  },
  "are as good in tables, biases, gates, shares of edges and what many keys add up to"() {
    for (const one of longSums) {
      const want = longGradients("f64", one);
      const got = longGradients("f32", one);
      // Reached: 2.7e-7, and 1.16e-6 where keys are many: a weight among 65,536, whose logarithm is -16, is no better.
      const most = one.t < one.s ? 1.2e-6 : 5e-7;
      for (const name in want) close(got[name]!, want[name]!, most, `${name} of ${JSON.stringify(one)}`, 0);
    }
  },
  "are as good in a table of relative positions, whose terms cancel in rows of many keys"() {
    // Keys weigh the same and values rise: a query's own key gets 1 / (2 t), whichever it is, all others what it takes.
    const [t, h, d] = [2048, 32, 2];
    const run = (dtype: Dtype): number[] => {
      const tape = new Tape(dtype);
      const relative = tape.param([2, d]);
      const v = tape.tensor(...placed([1, t, h, d], i => Math.floor(i / (h * d)) / t));
      const q = tape.tensor(...placed([1, t, h, d], () => 0.37));
      const k = tape.tensor([1, t, h, d]);
      tape.step(() => sum(attention(q, k, v, { position: "relative", tables: { relative } })));
      return Array.from(relative.gradient()).slice(0, d);
    };
    close(run("f32"), run("f64"), 1e-6, "row 0", 0);
  },
  "of products are right in odd sizes, with a bias, added to what is there, in either dtype"() {
    const rng = random(11);
    const [m, k, n] = [101, 16_421, 67];
    const draw = (size: number): number[] => Array.from({ length: size }, () => Math.fround(rng.normal()));
    const [x, w, b] = [draw(m * k), draw(n * k), draw(n)];
    const run = (dtype: Dtype): number[][] => {
      const tape = new Tape(dtype);
      const y = linear(tape.tensor([m, k], x), tape.tensor([n, k], w), tape.tensor([n], b));
      // the same sums again, twice: as the gradient of a weight
      const p = tape.param([m, n], new Float32Array(m * n));
      tape.step(() => {
        const turned = tape.tensor(...placed([k, m], i => x[(i % m) * k + Math.floor(i / m)]!));
        const z = matmul(turned, p);
        const other = tape.tensor(...placed([k, n], i => w[(i % n) * k + Math.floor(i / n)]!));
        return add(sum(mul(z, other)), sum(mul(matmul(turned, p), other)));
      });
      return [Array.from(y.values()), Array.from(p.gradient())];
    };
    const direct = Array.from({ length: m * n }, (_, i) => {
      let s = b[i % n]!;
      for (let j = 0; j < k; j++) s += x[Math.floor(i / n) * k + j]! * w[(i % n) * k + j]!;
      return s;
    });
    const twice = direct.map((s, i) => 2 * (s - b[i % n]!));
    for (const dtype of dtypes) {
      const [y, dp] = run(dtype);
      const most = dtype === "f32" ? 5e-7 : 1e-13;
      close(y!, direct, most, dtype);
      close(dp!, twice, most, `${dtype}, gradients`);
    }
  },
  "of products in f64 lose no more than blocks of 384 terms do"() {
    const [n, tape] = [1_000_000, new Tape("f64")];
    const y = matmul(tape.tensor([4, n], new Float64Array(4 * n).fill(0.1)), tape.tensor([n, 2], filled(2 * n, 1)));
    near(y.values()[0]!, n * 0.1, "matmul", 1e-13);
  },
  "of columns have the same bits whatever stands beside them and behind them"() {
    const rng = random(8);
    const tape = new Tape("f32");
    const [n, d] = [333, 21];
    const x = Float32Array.from({ length: n * d }, () => rng.normal());
    const all = Array.from(sum(tape.tensor([n, d], x), { axis: 0 }).values());
    for (const width of [2, 7, 8, 17]) {
      const part = Float32Array.from({ length: n * width }, (_, i) => x[Math.floor(i / width) * d + (i % width)]!);
      assert.equal(Array.from(sum(tape.tensor([n, width], part), { axis: 0 }).values()), all.slice(0, width));
    }
    const longer = tape.tensor(
      [n + 90, d],
      Float32Array.from({ length: (n + 90) * d }, (_, i) => x[i] ?? 0),
    );
    assert.equal(Array.from(sum(longer, { axis: 0 }).values()), all);
  },
});

// π/2 to 1400 bits, for angles up to 2^1024.
const BITS = 1400n;
const arctan = (n: bigint): bigint => {
  let total = 0n;
  let power = (1n << BITS) / n;
  for (let k = 1n; power; k += 2n, power = -power / (n * n)) total += power / k;
  return total;
};
const QUARTER = 2n * (4n * arctan(5n) - arctan(239n));
/** The sine of x + quarters π/2, of a double, by reducing it exactly. */
function sine(x: number, quarters: bigint): number {
  const whole = BigInt(Math.trunc(x));
  const scaled = (whole << BITS) + (BigInt((x - Math.trunc(x)) * 2 ** 52) << (BITS - 52n));
  const n = (2n * scaled + QUARTER) / (2n * QUARTER) - (2n * scaled + QUARTER < 0n ? 1n : 0n);
  const r = Number((scaled - n * QUARTER) >> (BITS - 1000n)) * 2 ** -1000;
  const q = (n + quarters) & 3n;
  return (q & 2n ? -1 : 1) * (q & 1n ? Math.cos(r) : Math.sin(r));
}
/** Units in the last place of `want`, or of 1 where that is `least`. */
function ulps(got: number, want: number, dtype: Dtype, least = 0): number {
  const [bits, low] = dtype === "f32" ? [23, -126] : [52, -1022];
  const size = Math.max(Math.abs(want), least, 2 ** low);
  return Math.abs(got - want) / 2 ** (Math.floor(Math.log2(size)) - bits);
}

suite("large angles", {
  "sin and cos are right for every finite number"() {
    const rng = random(4);
    for (const dtype of dtypes) {
      const tape = new Tape(dtype);
      const top = dtype === "f32" ? 127.9 : 1023.9;
      const given = [1e5, 100_001, 4e5, -1e9, 1e16, 1e22, 1e30, 3.4028234663852886e38, 5.31e9, 2 ** 20 * Math.PI];
      if (dtype === "f64")
        given.push(1.7976931348623157e308, -1e300, 6381956970095103 * 2 ** 797, 5.319372648326541e255);
      for (let i = 0; i < 600; i++) given.push((i % 2 ? -1 : 1) * 2 ** (16 + rng.uniform() * (top - 16)));
      const x = dtype === "f32" ? given.map(Math.fround) : given;
      for (const [name, f, quarters] of [
        ["sin", sin, 0n],
        ["cos", cos, 1n],
      ] as const) {
        const y = f(tape.tensor([x.length], x)).values();
        for (let i = 0; i < x.length; i++) {
          const off = ulps(y[i]!, sine(x[i]!, quarters), dtype);
          if (!(off <= (dtype === "f32" ? 2 : 4))) throw new Error(`${name}(${x[i]}) is ${y[i]}, ${off} ulp off`);
        }
      }
    }
  },
  "a number's sine does not depend on its neighbours"() {
    for (const dtype of dtypes) {
      const tape = new Tape(dtype);
      for (const beside of [0, 1e20, Infinity, NaN])
        assert.is(
          sin(tape.tensor([4], [0.7, beside, beside, 3])).values()[0],
          sin(tape.tensor([1], [0.7])).values()[0],
        );
    }
  },
  "rotary and sinusoidal refuse places beyond 2^20 in their own names"() {
    const tape = new Tape("f32");
    const wants = "an angle of 1048577\n  wants -1048576 to 1048576";
    const far = 2 ** 20 + 1;
    assert.is(
      thrown(RangeError, () => rotary(tape, 1, 4, { start: far })),
      `rotary: ${wants}`,
    );
    assert.is(
      thrown(RangeError, () => sinusoidal(1, 4, far)),
      `sinusoidal: ${wants}`,
    );
    assert.is(sinusoidal(1, 2, 2 ** 20).length, 2);
  },
  "fused CoPE reads the rows of positions beyond 131,072 as the composed form does"() {
    for (const [s, rows, pull] of [
      [140_000, 140_001, 20],
      [150_000, 140_000, 8],
      [140_000, 139_000, 2],
      [3000, 3001, 0.1],
    ] as const) {
      const tape = new Tape("f32");
      const d = 4;
      const keys = Float32Array.from({ length: s * d }, (_, i) => (i % d ? 0 : pull));
      const values = Float32Array.from({ length: s * d }, (_, i) => Math.sin(Math.floor(i / d) / (99 + (i % d))));
      const table = Float32Array.from({ length: rows * d }, (_, i) => (i % d === 3 ? 3 * Math.sin(i / 2000) : 0));
      const run = (composed: boolean): ArrayLike<number> =>
        tape.scope(() => {
          const options = { position: "cope", tables: { cope: tape.tensor([rows, d], table) }, composed } as const;
          const [q, k, v] = [tape.tensor([1, 1, 1, d], [2, 0, 0, 1]), tape.tensor([1, s, 1, d], keys), values];
          return Array.from(attention(q, k, tape.tensor([1, s, 1, d], v), options).values());
        });
      close(run(false), run(true), 3e-6, `${s} keys, ${rows} rows, gates of ${pull}`, 1);
    }
  },
});

/** Values and gradients of attention; `hostile` stands in keys, values and gate keys that nobody may see. */
function masked(dtype: Dtype, hostile: number, c: Case, composed: boolean): Record<string, number[]> {
  const { t, s, h, g, d, mask, position, own } = c;
  const b = 2;
  const rng = random(3);
  const draw = (n: number): number[] => Array.from({ length: n }, () => rng.uniform() * 2 - 1);
  const hidden = (j: number): boolean => (mask === "causal" ? j === s - 1 : j % 4 === 1);
  const poisoned = (x: number[]): number[] =>
    x.map((v, i) => (hidden(Math.floor(i / (g * d)) % s) ? (i % 2 ? hostile : -hostile) : v));
  const tape = new Tape(dtype);
  const q = tape.param([b, t, h, d], draw(b * t * h * d));
  const k = tape.param([b, s, g, d], poisoned(draw(b * s * g * d)));
  const v = tape.param([b, s, g, d], poisoned(draw(b * s * g * d)));
  const gateKeys = tape.param([b, s, g, d], poisoned(draw(b * s * g * d)));
  const table = tape.param([4, d], draw(4 * d));
  const isCope = position === "shared" || position === "sep" || position === "val";
  const options: AttentionOptions = {
    composed,
    position: isCope ? "cope" : position,
    tables: isCope ? { cope: table } : position === "relative" ? { relative: table } : {},
    ...(isCope && { cope: { gates: position }, ...(position === "sep" && { gateKeys }) }),
    ...(own && { own }),
  };
  if (mask === "keys")
    options.keys = tape.tensor(
      [b, s],
      draw(b * s).map((_, i) => (hidden(i % s) ? 0 : 1)),
    );
  if (mask === "allowed")
    options.allowed = tape.tensor(
      [t, s],
      draw(t * s).map((_, i) => (hidden(i % s) ? 0 : 1)),
    );
  if (mask === "keys" && !own) options.causal = false;
  const y = attention(q, k, v, options);
  // The last query of a causal row may see what is hostile: it is left out.
  const last = (i: number): boolean => mask === "causal" && Math.floor(i / (h * d)) % t === t - 1;
  const kept = (x: ArrayLike<number>): number[] => Array.from(x, (v, i) => (last(i) ? 0 : v));
  const values = kept(y.values());
  tape.backward(y, kept(draw(b * t * h * d)));
  if (mask === "causal") return { values, q: kept(q.gradient()) };
  const used = {
    ...(options.tables?.cope || options.tables?.relative ? { table } : {}),
    ...(options.gateKeys && { gateKeys }),
  };
  const rest = Object.entries({ q, k, v, ...used }).map(([name, p]) => [name, Array.from(p.gradient())]);
  return { values, ...(Object.fromEntries(rest) as Record<string, number[]>) };
}
interface Case {
  t: number;
  s: number;
  h: number;
  g: number;
  d: number;
  mask: "causal" | "keys" | "allowed";
  position: "none" | "alibi" | "relative" | "rope" | "shared" | "sep" | "val";
  own?: boolean;
}

suite("masks", {
  "what is masked reaches neither values nor gradients, fused and composed"() {
    let n = 0;
    for (const dtype of dtypes)
      for (const mask of ["causal", "keys", "allowed"] as const)
        for (const position of ["none", "alibi", "relative", "rope", "shared", "sep", "val"] as const)
          for (const [t, s, h, g, d] of [
            [11, 11, 2, 2, 4],
            [1, 13, 3, 1, 6],
            [41, 41, 1, 1, 8],
          ] as const) {
            if (mask === "causal" && t === 1) continue;
            const one: Case = { t, s, h, g, d, mask, position };
            const want = masked(dtype, 0.25, one, true);
            for (const composed of [true, false])
              for (const hostile of [NaN, Infinity, 1e38]) {
                const got = masked(dtype, hostile, one, composed);
                const how = `${dtype} ${JSON.stringify(one)}, ${hostile}${composed ? ", composed" : ""}`;
                for (const name in want)
                  close(got[name]!, want[name]!, dtype === "f32" ? 2e-5 : 1e-12, `${name}: ${how}`);
                n++;
              }
          }
    assert.ok(n > 600);
  },
  "a mask hides where it is 0 and nowhere else, fused and composed"() {
    for (const value of [0.5, -1, 1e-30, 7]) {
      const rng = random(6);
      const tape = new Tape("f32");
      const draw = (shape: number[]): Tensor =>
        tape.tensor(
          shape,
          Array.from({ length: shape.reduce((a, b) => a * b) }, () => rng.normal()),
        );
      const [q, k, v, table] = [draw([1, 5, 1, 4]), draw([1, 5, 1, 4]), draw([1, 5, 1, 4]), draw([3, 4])];
      const run = (by: number, composed: boolean): number[] => {
        const show = (n: number): number[] => Array.from({ length: n }, (_, i) => (i % 3 === 1 ? 0 : by));
        const sight = { allowed: tape.tensor([5, 5], show(25)), keys: tape.tensor([1, 5], show(5)) };
        return Array.from(
          attention(q, k, v, { position: "cope", tables: { cope: table }, composed, ...sight }).values(),
        );
      };
      assert.equal(run(value, false), run(1, false), `${value}`);
      assert.equal(run(value, true), run(1, true), `${value}, composed`);
      close(run(value, false), run(value, true), 1e-5);
    }
  },
  "faded to 0, no gradient flows, not even one that is not finite"() {
    const tape = new Tape("f32");
    const p = tape.param([2], [1, 2]);
    tape.backward(fade(p, { by: 0 }), [Infinity, NaN]);
    assert.equal(Array.from(p.gradient()), [0, 0]);
  },
});

/** What an operation gives and sends back to its input where all of its results are asked for. */
function both(dtype: Dtype, f: (x: Tensor) => Tensor, x: readonly number[]): [number[], number[]] {
  const tape = new Tape(dtype);
  const p = tape.param([x.length], x);
  const y = f(p);
  tape.backward(
    y,
    Array.from({ length: y.size }, () => 1),
  );
  return [Array.from(y.values()), Array.from(p.gradient())];
}
const [inf, nan] = [Infinity, NaN];
const place =
  (target: number) =>
  (x: Tensor): Tensor =>
    crossEntropy(reshape(x, [1, x.size]), x.tape.integers([1], [target]));
const weight = (x: Tensor): Tensor => x.tape.tensor([x.size], filled(x.size, 1));
/** Name, operation, input, what it gives, what it sends back. */
const limits: [string, (x: Tensor) => Tensor, number[], number[], number[]][] = [
  ["softmax", softmax, [-inf, 0, 0], [0, 0.5, 0.5], [0, 0, 0]],
  ["softmax", softmax, [inf, 0], [nan, nan], [nan, nan]],
  ["softmax", softmax, [-inf, -inf], [nan, nan], [nan, nan]],
  ["softmax", softmax, [nan, 0], [nan, nan], [nan, nan]],
  ["logSoftmax", logSoftmax, [-inf, 0], [-inf, 0], [1, -1]],
  ["logSoftmax", logSoftmax, [inf, 0], [nan, nan], [nan, nan]],
  ["logSoftmax", logSoftmax, [-inf, -inf], [nan, nan], [nan, nan]],
  ["logsumexp", logsumexp, [-inf, 2], [2], [0, 1]],
  ["logsumexp", logsumexp, [-inf, -inf], [-inf], [nan, nan]],
  ["logsumexp", logsumexp, [inf, 0], [inf], [nan, 0]],
  ["logsumexp", logsumexp, [inf, -inf, 3], [inf], [nan, 0, 0]],
  ["logsumexp", logsumexp, [inf, nan], [nan], [nan, nan]],
  ["logsumexp", logsumexp, [inf, 1, nan], [nan], [nan, nan, nan]],
  ["crossEntropy", place(0), [0, -inf], [0], [0, 0]],
  ["crossEntropy", place(1), [0, -inf], [inf], [1, -1]],
  ["crossEntropy", place(0), [inf, 0], [nan], [nan, nan]],
  ["crossEntropy", place(0), [-inf, -inf], [nan], [nan, nan]],
  ["huber", x => huber(x, x.tape.tensor([2], [0, 0]), { reduction: "sum" }), [inf, 0], [inf], [1, 0]],
  ["huber", x => huber(x, x.tape.tensor([2], [0, 0]), { reduction: "sum" }), [-inf, 0], [inf], [-1, 0]],
  ["huber", x => huber(x, x.tape.tensor([2], [inf, 0]), { reduction: "sum" }), [inf, 0], [nan], [nan, 0]],
  ["layerNorm", x => layerNorm(x, weight(x)), [inf, 0], [nan, nan], [nan, nan]],
  ["layerNorm", x => layerNorm(x, weight(x)), [7, 7, 7], [0, 0, 0], [0, 0, 0]],
  ["rmsNorm", x => rmsNorm(x, weight(x)), [inf, 1], [nan, 0], [nan, nan]],
  ["rmsNorm", x => rmsNorm(x, weight(x), { eps: 1 }), [0, 0], [0, 0], [1, 1]],
  ["relu", relu, [inf, -inf, nan, 0, -0, 2], [inf, 0, nan, 0, 0, 2], [1, 0, 1, 0, 0, 1]],
  ["sigmoid", sigmoid, [inf, -inf, nan], [1, 0, nan], [0, 0, nan]],
  ["tanh", tanh, [inf, -inf, nan], [1, -1, nan], [0, 0, nan]],
  ["gelu", gelu, [inf, -inf, nan], [inf, -0, nan], [1, 0, nan]],
  ["geluErf", geluErf, [inf, -inf, nan], [inf, -0, nan], [1, 0, nan]],
  ["silu", silu, [inf, -inf, nan], [inf, -0, nan], [1, 0, nan]],
];

suite(
  "limits",
  Object.fromEntries(
    limits.map(([name, f, x, y, dx], i) => [
      `${i}: ${name} of ${x.join(" ")} is ${y.join(" ")}, and sends back ${dx.join(" ")}`,
      () => {
        for (const dtype of dtypes) {
          const [values, slopes] = both(dtype, f, x);
          const same = (got: number[], want: number[]): void =>
            assert.equal(
              got.map(v => v + 0),
              want.map(v => v + 0),
              dtype,
            );
          same(values, y);
          same(slopes, dx);
        }
      },
    ]),
  ),
);

suite("rows whose squares overflow", {
  "are normalised as smaller ones are, values and gradients"() {
    const rng = random(10);
    for (const [dtype, sizes] of [
      ["f32", [1e19, 1e20, 1e30, 1.5e38]],
      ["f64", [1e154, 1e160, 1e300, 8e307]],
    ] as const)
      for (const size of sizes)
        for (const d of [3, 8, 33, 700])
          for (const norm of [layerNorm, rmsNorm]) {
            const near = (n: number): number => (dtype === "f32" ? Math.fround(n) : n);
            const x = Array.from({ length: d }, (_, i) => near((i ? 2 * rng.uniform() - 1 : 1) * size));
            const dy = x.map(() => near(rng.normal()));
            const run = (dtype: Dtype, x: readonly number[], eps: number): number[][] => {
              const tape = new Tape(dtype);
              const p = tape.param([1, d], x);
              const y = norm(p, tape.tensor([d], filled(d, 1)), { eps });
              tape.backward(y, dy);
              return [y.values(), p.gradient()].map(v => Array.from(v));
            };
            const [y, dx] = run(dtype, x, 1e-5);
            const small = x.map(v => v / size);
            const [wantY, wantDx] = run("f64", small, 0);
            const how = `${norm === layerNorm ? "layerNorm" : "rmsNorm"}, ${dtype}, ${d} numbers of ${size}`;
            const most = dtype === "f32" ? 3e-6 : 1e-14;
            close(y!, wantY!, most, how, 1);
            // what is sent to numbers near the largest is hardly a normal number itself
            close(
              dx!.map(v => v * size),
              wantDx!,
              most,
              `gradient of ${how}`,
              1,
            );
          }
  },
  "of equal numbers are 0 with a slope of 1/√eps, and one with Infinity or NaN is NaN"() {
    const tops: [Dtype, number][] = [
      ["f32", 1.1e30],
      ["f32", 3.4e38],
      ["f64", 1.7e308],
    ];
    for (const [dtype, top] of tops)
      for (const d of [2, 3, 5, 8, 77]) {
        const run = (x: number[]): [number[], number[]] => {
          const tape = new Tape(dtype);
          const p = tape.param([1, d], x);
          const y = layerNorm(p, tape.tensor([d], filled(d, 1)));
          tape.backward(
            y,
            x.map((_, i) => (i ? 0 : 1)),
          );
          return [Array.from(y.values()), Array.from(p.gradient())];
        };
        const [y, dx] = run(Array.from({ length: d }, () => top));
        assert.ok(y.every(v => v === 0));
        near(dx[0]!, (1 - 1 / d) / Math.sqrt(1e-5), `slope of ${d} times ${top}`, 1e-5);
        for (const bad of [Infinity, NaN])
          assert.ok(run(Array.from({ length: d }, (_, i) => (i ? top : bad)))[0].every(Number.isNaN));
      }
  },
});

suite("cancellation in f32", {
  "layerNorm is good to 1e-6 of a row wherever its mean lies, values and gradients"() {
    const rng = random(9);
    for (const [d, at] of [
      [64, 1e4],
      [768, 1e6],
      [33, -1e6],
      [2000, 300],
      [16, 3],
    ] as const) {
      const x = Float32Array.from({ length: 4 * d }, () => at + rng.normal());
      const of = (make: () => number): number[] => Array.from({ length: d }, make);
      const [w, b, dy] = [of(() => rng.normal()), of(() => rng.normal()), of(() => rng.normal())];
      const run = (dtype: Dtype): number[][] => {
        const tape = new Tape(dtype);
        const [X, Y, Z] = [
          tape.param([4, d], x),
          tape.param([d], w.map(Math.fround)),
          tape.param([d], b.map(Math.fround)),
        ];
        const y = layerNorm(X, Y, Z);
        tape.backward(y, [...dy, ...dy, ...dy, ...dy].map(Math.fround));
        return [y.values(), X.gradient(), Y.gradient()].map(v => Array.from(v));
      };
      const want = run("f64");
      run("f32").forEach((got, i) => close(got, want[i]!, 5e-6, `layerNorm of ${d} at ${at}, ${i}`, 1));
    }
  },
  "slopes are good to a few units in the last place of 1, or of themselves where they are larger"() {
    const x = Float32Array.from({ length: 120_001 }, (_, i) => (i - 60_000) / 4000);
    for (const [name, f, most] of [
      ["gelu", gelu, 6],
      ["geluErf", geluErf, 4],
      ["silu", silu, 4],
      ["sigmoid", sigmoid, 2],
      ["tanh", tanh, 2],
    ] as const) {
      const [, want] = both("f64", f, Array.from(x));
      const [, got] = both("f32", f, Array.from(x));
      got.forEach((v, i) => {
        const off = ulps(v, want[i]!, "f32", 1);
        if (!(off <= most)) throw new Error(`${name}'(${x[i]}) is ${v}, not ${want[i]}: ${off} ulp`);
      });
    }
  },
});
