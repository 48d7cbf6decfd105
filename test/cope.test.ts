// What papers and kernels say about contextual positions, one fact a test: positions from gates, the table's ends,
// padding, queries at the end of their keys, and the slope at whole positions. Gradients of whole models are in
// models.test.ts.
import * as assert from "uvu/assert";
import {
  Tape,
  attention,
  gradcheck,
  interpolate,
  kinds,
  mask,
  mul,
  positions,
  sum,
  type AttentionOptions,
  type Scaling,
  type Tensor,
} from "farsight";
import { close, suite } from "./check.ts";
import { normal } from "./stirred.ts";

const B = 2;
const T = 7;
const H = 2;
const D = 4;
/** Queries, keys, values and gate keys of B rows of T places, and a table of `rows`. */
function setting(rows: number, tape = new Tape("f64")) {
  const make = (seed: number): Tensor => tape.param([B, T, H, D], normal(B * T * H * D, seed));
  return {
    tape,
    q: make(1),
    k: make(2),
    v: make(3),
    gateKeys: make(4),
    table: tape.param([rows, D], normal(rows * D, 5)),
  };
}
type Setting = ReturnType<typeof setting>;
const run = ({ q, k, v, table, gateKeys }: Setting, more: AttentionOptions = {}): Tensor =>
  attention(q, k, v, {
    position: "cope",
    tables: { cope: table },
    gateKeys: more.cope?.gates === "sep" ? gateKeys : undefined,
    ...more,
  });
/** Runs y backwards from a fixed gradient. */
const back = (y: Tensor): void => y.tape.backward(y, normal(y.size, 9));
/** Makes every gate logit between gate keys and queries equal `u`, by the first number of each head. */
function gateAll({ q, gateKeys }: Setting, u: number, scale = 1 / Math.sqrt(D)): void {
  q.values().forEach((_, i) => {
    if (i % D === 0) q.values()[i] = 1;
  });
  gateKeys.values().forEach((_, i) => {
    gateKeys.values()[i] = i % D === 0 ? u / scale : 0;
  });
}

/** The paper's equations 3 to 9 as loops: y b t h d. `real(b, j)` says whether a key is no padding. */
function equations(
  { q, k, v, gateKeys, table }: Setting,
  scaling: Scaling,
  gates: "shared" | "sep" | "val",
  real: (b: number, j: number) => boolean = () => true,
): Float64Array {
  const [content, gate, position] = { listing: [0.5, 0.5, 1], ram: [0.5, 0.5, 0.5], eq: [1, 1, 1] }[scaling] as [
    number,
    number,
    number,
  ];
  const rows = table.shape[0]!;
  const y = new Float64Array(q.size);
  const row = (x: Tensor, b: number, i: number, h: number): number[] =>
    Array.from(x.values().slice(((b * T + i) * H + h) * D, ((b * T + i) * H + h + 1) * D));
  const dot = (a: number[], b: number[]): number => a.reduce((s, x, i) => s + x * b[i]!, 0);
  const source = { shared: k, sep: gateKeys, val: v }[gates];
  for (let b = 0; b < B; b++)
    for (let h = 0; h < H; h++)
      for (let i = 0; i < T; i++) {
        const qi = row(q, b, i, h);
        const z = Array.from(
          { length: rows },
          (_, p) => position * dot(qi, Array.from(table.values().slice(p * D, p * D + D))),
        );
        const weights = new Array<number>(T).fill(0);
        for (let j = i, p = 0; j >= 0; j--)
          if (real(b, j)) {
            p += 1 / (1 + Math.exp(-gate * dot(qi, row(source, b, j, h))));
            const at = Math.min(p, rows - 1);
            const low = Math.floor(at);
            weights[j] = Math.exp(
              content * dot(qi, row(k, b, j, h)) + (1 - at + low) * z[low]! + (at - low) * z[Math.ceil(at)]!,
            );
          }
        const total = weights.reduce((a, x) => a + x, 0);
        for (let j = 0; j <= i; j++)
          row(v, b, j, h).forEach((x, n) => {
            if (total) y[((b * T + i) * H + h) * D + n]! += (weights[j]! / total) * x;
          });
      }
  return y;
}

const tests: Record<string, () => void> = {};
for (const rows of [1, 2, 5, T + 1, 3 * T])
  for (const scaling of ["listing", "ram", "eq"] as const)
    for (const gates of ["shared", "sep", "val"] as const)
      tests[
        `a table of ${rows} for ${T} tokens, ${gates} gates scaled as ${scaling}: the result is that of the equations`
      ] = () => {
        const s = setting(rows);
        close(run(s, { cope: { scaling, gates } }).values(), equations(s, scaling, gates), 1e-13);
      };
tests["tables of 2 rows and of more rows than tokens: gradients equal differences"] = () => {
  for (const rows of [2, 3 * T])
    for (const gates of ["shared", "sep", "val"] as const) {
      const s = setting(rows);
      const u = s.tape.tensor([B, T, H, D], normal(B * T * H * D, 9));
      const { q, k, v, table, gateKeys } = s;
      gradcheck(
        { q, k, v, table, ...(gates === "sep" ? { gateKeys } : {}) },
        () => sum(mul(run(s, { cope: { gates } }), u)),
        { directions: 3 },
      );
    }
};
tests["a table longer than the tokens gives the bits of one with a row for each position; its other rows get nothing"] =
  () => {
    const a = setting(3 * T);
    const b = setting(T + 1);
    const [y, z] = [run(a), run(b)];
    assert.ok(y.values().every((x, i) => x === z.values()[i]));
    back(y);
    assert.ok(
      a.table
        .gradient()
        .subarray((T + 1) * D)
        .every(x => x === 0),
    );
  };
tests["where all gates are 1, positions are i - j + 1 exactly, and attention is that of relative positions"] = () => {
  const s = setting(T + 1);
  const r = setting(T);
  const scaling = "ram"; // there both tables' scores are divided by √d
  gateAll(s, 100);
  const { gates, positions: p } = positions(s.tape.tensor([B, H, T, T], new Float64Array(B * H * T * T).fill(100)), {
    allowed: s.tape.tensor([T, T], mask(T, T, true)),
  });
  assert.ok(gates.values().every((g, n) => g === (n % T <= Math.floor(n / T) % T ? 1 : 0)));
  assert.ok(p.values().every((x, n) => x === Math.max(0, (Math.floor(n / T) % T) - (n % T) + 1)));
  for (const [to, from] of [
    [r.q, s.q],
    [r.table, undefined],
  ] as const)
    to.values().set(from?.values() ?? s.table.values().slice(D));
  const y = run(s, { cope: { gates: "sep", scaling } });
  const z = attention(r.q, r.k, r.v, { position: "relative", tables: { relative: r.table } });
  close(y.values(), z.values(), 1e-14);
  for (const x of [y, z]) back(x);
  for (const name of ["q", "k", "v"] as const) close(s[name].gradient(), r[name].gradient(), 1e-13, name);
  close(s.table.gradient().subarray(D), r.table.gradient(), 1e-13, "table");
  assert.ok(
    s.table
      .gradient()
      .subarray(0, D)
      .every(x => x === 0),
    "row 0 is for no token",
  );
};
tests["where all gates are 1/2, positions are (i - j + 1) / 2 exactly"] = () => {
  const tape = new Tape("f32");
  const { positions: p } = positions(tape.tensor([1, 1, T, T]), { allowed: tape.tensor([T, T], mask(T, T, true)) });
  assert.ok(p.values().every((x, n) => x === Math.max(0, Math.floor(n / T) - (n % T) + 1) / 2));
};
tests["positions never rise with the key, and by at most 1 from key to key"] = () => {
  const tape = new Tape("f32");
  const p = positions(
    tape.tensor(
      [B, H, T, T],
      normal(B * H * T * T, 1).map(x => 4 * x),
    ),
    { allowed: tape.tensor([T, T], mask(T, T, true)) },
  ).positions.values();
  for (let n = 0; n < p.length; n++) if (n % T) assert.ok(p[n - 1]! >= p[n]! && p[n - 1]! - p[n]! <= 1 + 1e-6);
};
tests["with a table of zeros attention has the bits of no position, and the gates' own keys get exactly nothing"] =
  () => {
    const s = setting(T + 1);
    s.table.values().fill(0);
    const y = run(s, { cope: { gates: "sep" } });
    const z = attention(s.q, s.k, s.v);
    assert.ok(y.values().every((x, i) => x === z.values()[i]));
    back(y);
    assert.ok(s.gateKeys.gradient().every(x => x === 0));
    assert.ok(
      s.table.gradient().some(x => x !== 0),
      "the table itself starts to move",
    );
  };
tests["padding inside a row counts for no position: the result is as without it, and it gets exactly no gradient"] =
  () => {
    for (const gates of ["shared", "sep", "val"] as const) {
      const s = setting(4);
      const real = (b: number, j: number): boolean => !(b === 0 ? j === 2 || j === 3 : j === 5);
      const keys = s.tape.tensor(
        [B, T],
        Array.from({ length: B * T }, (_, n) => Number(real(Math.floor(n / T), n % T))),
      );
      const y = run(s, { keys, cope: { gates } });
      close(y.values(), equations(s, "listing", gates, real), 1e-13);
      back(y);
      for (const x of [s.k, s.v])
        for (const [b, j] of [
          [0, 2],
          [0, 3],
          [1, 5],
        ] as const)
          assert.ok(
            x
              .gradient()
              .subarray((b * T + j) * H * D, (b * T + j + 1) * H * D)
              .every(g => g === 0),
          );
    }
  };
tests["a row that may see nothing gives exactly 0 and sends back exactly 0, for every kind of position"] = () => {
  for (const position of kinds) {
    const s = setting(4);
    const half = (B * T * H * D) / 2;
    const keys = s.tape.tensor(
      [B, T],
      Array.from({ length: B * T }, (_, n) => (n < T ? Number(n > 0) : 0)),
    );
    const y = attention(s.q, s.k, s.v, { position, keys, tables: { cope: s.table, relative: s.table } });
    assert.ok(
      y.values().every((x, n) => (n < H * D || n >= half ? x === 0 : Number.isFinite(x))),
      position,
    ); // place 0 of the first row sees only padding
    back(y);
    for (const x of [s.q, s.k, s.v])
      assert.ok(
        x.gradient().every((g, n) => (n < H * D || n >= half ? g === 0 : Number.isFinite(g))),
        position,
      );
    assert.ok(s.table.gradient().every(Number.isFinite));
  }
};
tests["the last queries alone give the last rows of the full result, and their gradients, for every kind of position"] =
  () => {
    for (const position of kinds)
      for (const t of [1, 3]) {
        const s = setting(4);
        const o = setting(4);
        const from = (T - t) * H * D;
        const tail = (x: ArrayLike<number>): Float64Array =>
          Float64Array.from(
            { length: B * t * H * D },
            (_, n) => x[Math.floor(n / (t * H * D)) * T * H * D + from + (n % (t * H * D))]!,
          );
        const last = o.tape.param([B, t, H, D], tail(s.q.values()));
        const options = (x: Setting): AttentionOptions => ({ position, tables: { cope: x.table, relative: x.table } });
        const y = attention(s.q, s.k, s.v, options(s));
        const z = attention(last, o.k, o.v, options(o));
        const dy = normal(z.size, 9);
        close(z.values(), tail(y.values()), 1e-14, position);
        const full = new Float64Array(y.size);
        dy.forEach((g, n) => {
          full[Math.floor(n / (t * H * D)) * T * H * D + from + (n % (t * H * D))] = g;
        });
        s.tape.backward(y, full);
        o.tape.backward(z, dy);
        close(last.gradient(), tail(s.q.gradient()), 1e-13, `${position} q`);
        for (const name of ["k", "v", "table"] as const)
          close(o[name].gradient(), s[name].gradient(), 1e-13, `${position} ${name}`);
      }
  };
tests["at whole positions and past the table's end the slope is 0, as ceil has it; between them it is the interval's"] =
  () => {
    const tape = new Tape("f64");
    const z = tape.param([4], [1, 3, -2, 7]);
    const at = tape.param([7], [0, 1, 2, 3, 5, 1.25, 2.5]);
    const y = interpolate(z, at);
    close(y.values(), [1, 3, -2, 7, 7, 1.75, 2.5], 0);
    tape.backward(y, new Float64Array(7).fill(1));
    close(at.gradient(), [0, 0, 0, 0, 0, -5, 9], 0);
    close(z.gradient(), [1, 1.75, 1.75, 2.5], 1e-15); // whole positions give all to their own row
  };
/**
 * Attention both ways, backwards too, on `t` queries of `s` places whose gate keys are times `by`: what the kernel
 * gives, then what small operations give.
 */
function both(t: number, s: number, by: number, padded: boolean): Record<string, Float64Array>[] {
  return [false, true].map(composed => {
    const tape = new Tape("f64");
    const make = (n: number, seed: number, times = 1): Tensor =>
      tape.param(
        [B, n, H, D],
        normal(B * n * H * D, seed).map(x => times * x),
      );
    const q = make(t, 1);
    const k = make(s, 2);
    const v = make(s, 3);
    const gateKeys = make(s, 4, by);
    const table = tape.param([9, D], normal(9 * D, 5));
    const keys = padded
      ? tape.tensor(
          [B, s],
          Array.from({ length: B * s }, (_, n) => Number(n % 5 !== 1)),
        )
      : undefined;
    const y = attention(q, k, v, {
      position: "cope",
      cope: { gates: "sep" },
      tables: { cope: table },
      gateKeys,
      keys,
      composed,
    });
    back(y);
    return Object.fromEntries([
      ["y", Float64Array.from(y.values())],
      ...Object.entries({ q, k, v, gateKeys, table }).map(([n, x]): [string, Float64Array] => [
        n,
        Float64Array.from(x.gradient()),
      ]),
    ]);
  });
}
for (const [what, by] of [
  ["half open, at whole positions every other time", 0],
  ["of every kind", 1],
  ["open or shut", 20],
] as const)
  tests[
    `gates ${what}: the kernel gives what small operations give, over many blocks, with padding and for late queries`
  ] = () => {
    for (const [t, s] of [
      [7, 7],
      [67, 67],
      [1, 67],
      [20, 67],
    ] as const)
      for (const padded of [false, true]) {
        const [a, b] = both(t, s, by, padded);
        for (const name in a) close(a[name]!, b![name]!, 1e-12, `${name} of ${t} of ${s}${padded ? ", padded" : ""}`);
      }
  };
tests["a gate that reaches only whole positions gets exactly no gradient, and the others what cumulated slopes give"] =
  () => {
    // Two places, gates 1/2: query 1 stands at positions 1 (key 0, whole) and 1/2 (key 1). Only the latter slopes, and
    // only gate 1 is in it.
    const tape = new Tape("f64");
    const u = tape.param([1, 1, 2, 2]);
    const z = tape.param([1, 1, 2, 3], [1, 3, -2, 1, 4, -2]);
    const y = interpolate(z, positions(u, { allowed: tape.tensor([2, 2], mask(2, 2, true)) }).positions);
    tape.backward(y, [1, 1, 1, 1]);
    close(u.gradient(), [2 / 4, 0, 0, 3 / 4], 0); // slope times g (1 - g)
  };
suite("contextual positions", tests);
