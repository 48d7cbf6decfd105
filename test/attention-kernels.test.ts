// attention-kernels.test.ts: what the kernels of attention do beyond what operations ask of them: fewer key-value heads
// than query heads, keys read from a cache of any capacity, one query alone, gradients that are written or added to.
import { Engine, random, type Dtype, type Numbers } from "farsight";
import * as assert from "uvu/assert";
import { close, suite } from "./check.ts";

/** Sizes; `counts`: how many keys each sequence has, where not all have s. */
interface Sizes {
  b: number;
  h: number;
  g: number;
  t: number;
  s: number;
  d: number;
  counts?: readonly number[];
}
/** Numbers of one tensor, and how far its rows and sequences lie apart. */
interface Rows {
  values: Float64Array;
  row: number;
  batch: number;
}
const P = 5;
const R = 4;
const kinds = ["none", "relative", "alibi", "cope shared", "cope sep", "cope val", "cope with gate queries"] as const;
type Kind = (typeof kinds)[number];

const rng = random(3);
const draw = (n: number): Float64Array => Float64Array.from({ length: n }, () => rng.normal());
const rows = (b: number, n: number, row: number, gap = 0, spare = 0): Rows => ({
  values: draw(b * (n + spare) * (row + gap)),
  row: row + gap,
  batch: (n + spare) * (row + gap),
});
/** Rows `from` to `to` of sequence i, `n` numbers of each, without gaps. */
const part = ({ values, row, batch }: Rows, i: number, from: number, to: number, n: number): Rows => ({
  values: Float64Array.from({ length: (to - from) * n }, (_, j) => {
    return values[i * batch + (from + Math.floor(j / n)) * row + (j % n)]!;
  }),
  row: n,
  batch: (to - from) * n,
});
/** Heads repeated, each `by` times. */
const repeated = ({ values, row, batch }: Rows, d: number, by: number): Rows => ({
  values: Float64Array.from({ length: values.length * by }, (_, j) => {
    const head = Math.floor((j % (row * by)) / d / by);
    return values[Math.floor(j / (row * by)) * row + head * d + (j % d)]!;
  }),
  row: row * by,
  batch: batch * by,
});

interface Given {
  q: Rows;
  k: Rows;
  v: Rows;
  gq: Rows;
  gk: Rows;
  table: Float64Array;
  rel: Float64Array;
  slopes: Float64Array;
}
const given = ({ b, h, g, t, s, d }: Sizes, gap = 0, spare = 0): Given => ({
  q: rows(b, t, h * d, gap),
  k: rows(b, s, g * d, gap, spare),
  v: rows(b, s, g * d, 2 * gap, spare),
  gq: rows(b, t, h * d),
  gk: rows(b, s, g * d, gap, spare),
  table: draw(P * d),
  rel: draw(R * d),
  slopes: Float64Array.from({ length: h }, (_, j) => 2 ** (-1 - j)),
});

/** Puts what is given into an engine's memory, and makes the arguments of the forward pass. */
function put(engine: Engine, kind: Kind, { b, h, g, t, s, d, counts }: Sizes, x: Given, causal: boolean) {
  const copy = (values: ArrayLike<number>): number => {
    const at = engine.alloc(values.length);
    engine.view(at, values.length).set(values);
    return at;
  };
  const cope = kind.startsWith("cope");
  const gates = { "cope sep": x.gk, "cope val": x.v, "cope with gate queries": x.k }[kind as "cope sep"];
  const k = copy(x.k.values);
  const v = copy(x.v.values);
  let list = 0;
  if (counts) {
    list = engine.alloc(b, 4);
    engine.integers(list, b).set(counts);
  }
  const o = engine.alloc(b * t * h * d);
  const args = {
    ...{ h, g, t, s, d, p: cope ? P : 0, r: kind === "relative" ? R : 0, causal },
    ...{ scale: 0.7, tableScale: 0.8, counts: list },
    ...{ q: copy(x.q.values), qi: x.q.row, qb: x.q.batch },
    ...{ k, ki: x.k.row, kb: x.k.batch, v, vi: x.v.row, vb: x.v.batch },
    ...{ gq: kind === "cope with gate queries" ? copy(x.gq.values) : 0, gqi: x.gq.row, gqb: x.gq.batch },
    ...{ gk: !gates ? 0 : gates === x.k ? k : gates === x.v ? v : copy(gates.values) },
    ...{ gki: (gates ?? x.gk).row, gkb: (gates ?? x.gk).batch },
    ...{ table: cope ? copy(x.table) : 0, rel: kind === "relative" ? copy(x.rel) : 0 },
    ...{ slopes: kind === "alibi" ? copy(x.slopes) : 0, o, lse: engine.alloc(b * h * t) },
  };
  const room = engine.alloc(engine.kernels.attentionRoom(h, g, t, s, d, args.p, args.r, engine.kernels.scratch));
  return { args, room };
}
/** The result, and the logarithms of the rows' sums. */
function forward(dtype: Dtype, kind: Kind, sizes: Sizes, x: Given, causal = true): { o: Numbers; lse: Numbers } {
  const engine = new Engine(dtype);
  const { b, h, t, d } = sizes;
  const { args, room } = put(engine, kind, sizes, x, causal);
  engine.kernels.attention(engine.kernels.block("AttentionArguments", args), 0, b, 1, room);
  return { o: engine.view(args.o, b * t * h * d).slice(), lse: engine.view(args.lse, b * h * t).slice() };
}

const names = ["dq", "dk", "dv", "dgq", "dgk", "dtable", "drel", "pk", "pv", "pg"] as const;
type Name = (typeof names)[number];
const flags = ["addQ", "addK", "addV", "addGq", "addGk", "addTable", "addRel", "addPk", "addPv", "addPg"] as const;
/** Ways in which gradients are sent: to everyone, to a place of its own, by shares; with pasts or without. */
const ways = ["all", "own", "own with pasts", "shares", "shares with pasts"] as const;
type Way = (typeof ways)[number];
/** All gradients, rows with their gaps; `before`: what lay there, where it is added to. */
function backward(kind: Kind, sizes: Sizes, x: Given, way: Way, { causal = true, before = NaN, add = false } = {}) {
  const engine = new Engine("f64");
  const { kernels } = engine;
  const { b, h, t, s, d } = sizes;
  const { args, room } = put(engine, kind, sizes, x, causal);
  kernels.attention(kernels.block("AttentionArguments", args), 0, b, 1, room);
  const size = {
    ...{ dq: x.q.values.length, dk: x.k.values.length, dv: x.v.values.length, dgq: x.gq.values.length },
    ...{ dgk: x.gk.values.length, dtable: b * args.p * d, drel: b * args.r * d },
    ...{ pk: x.k.values.length, pv: x.v.values.length, pg: x.gk.values.length },
  };
  const address = {} as Record<Name, number>;
  for (const name of names) {
    address[name] = engine.alloc(size[name]);
    engine.view(address[name], size[name]).fill(before);
  }
  if (kind === "cope val") address.dgk = address.dv;
  if (kind === "cope with gate queries") address.dgk = address.dk;
  const edges = engine.alloc(t * s);
  engine.view(edges, t * s).forEach((_, i, all) => {
    all[i] = (i % 4) / 3;
  });
  const dout = engine.alloc(b * t * h * d);
  engine.view(dout, b * t * h * d).forEach((_, i, all) => {
    all[i] = Math.sin(i);
  });
  const pasts = way.endsWith("pasts") ? {} : { pk: 0, pv: 0, pg: 0 };
  const own = way.startsWith("own");
  const block = kernels.block("AttentionBackArguments", args, {
    ...address,
    ...pasts,
    ...Object.fromEntries(flags.map(flag => [flag, add])),
    ...{ dout, own, edges: way.startsWith("shares") ? edges : 0 },
    ...{ pki: x.k.row, pkb: x.k.batch, pvi: x.v.row, pvb: x.v.batch, pgi: x.gk.row, pgb: x.gk.batch },
  });
  kernels.attentionBack(block, 0, b, 1, room);
  const results = {} as Record<Name, Float64Array>;
  for (const name of names) results[name] = Float64Array.from(engine.view(address[name], size[name]));
  return results;
}
/** Gradients of repeated heads, added up. */
const summed = (values: Float64Array, d: number, by: number): Float64Array => {
  const sums = new Float64Array(values.length / by);
  values.forEach((value, j) => {
    sums[Math.floor(j / d / by) * d + (j % d)]! += value;
  });
  return sums;
};

const same = (got: ArrayLike<number>, want: ArrayLike<number>, what: string): void => close(got, want, 0, what);
const both = ["f32", "f64"] as const;

suite("attention with fewer key-value heads", {
  "gives the bits of the same with keys and values repeated, one query or many"() {
    for (const dtype of both)
      for (const kind of kinds)
        for (const t of [1, 2, 9]) {
          const sizes = { b: 2, h: 6, g: 2, t, s: 11, d: 6 };
          const x = given(sizes);
          const [k, v, gk] = [x.k, x.v, x.gk].map(rows => repeated(rows, 6, 3)) as [Rows, Rows, Rows];
          const got = forward(dtype, kind, sizes, x);
          const want = forward(dtype, kind, { ...sizes, g: 6 }, { ...x, k, v, gk });
          same(got.o, want.o, `${dtype} ${kind} ${t}`);
          same(got.lse, want.lse, `${dtype} ${kind} ${t}, lse`);
        }
  },
  "sends keys and values the sum of what their repetitions get"() {
    for (const kind of kinds)
      for (const way of ways)
        for (const causal of [true, false]) {
          const sizes = { b: 2, h: 6, g: 2, t: 10, s: 11, d: 6 };
          const x = given(sizes);
          const [k, v, gk] = [x.k, x.v, x.gk].map(rows => repeated(rows, 6, 3)) as [Rows, Rows, Rows];
          const got = backward(kind, sizes, x, way, { causal, before: 0 });
          const want = backward(kind, { ...sizes, g: 6 }, { ...x, k, v, gk }, way, { causal, before: 0 });
          for (const name of names) {
            const shared = ["dk", "dv", "dgk", "pk", "pv", "pg"].includes(name);
            const sum = shared ? summed(want[name], 6, 3) : want[name];
            close(got[name], sum, 1e-12, `${kind} ${way} ${causal} ${name}`, 1);
          }
        }
  },
});

suite("attention over a cache", {
  "reads as many keys as each sequence has, whatever the capacity and the gaps between rows"() {
    for (const dtype of both)
      for (const kind of kinds)
        for (const t of [1, 3]) {
          const counts = [17, 40, 6];
          const sizes = { b: 3, h: 4, g: 2, t, s: 40, d: 8, counts };
          const x = given(sizes, 5, 3);
          const got = forward(dtype, kind, sizes, x);
          counts.forEach((s, i) => {
            const alone = { ...x };
            for (const name of ["k", "v", "gk"] as const) alone[name] = part(x[name], i, 0, s, 16);
            for (const name of ["q", "gq"] as const) alone[name] = part(x[name], i, 0, t, 32);
            const want = forward(dtype, kind, { ...sizes, b: 1, s, counts: [s] }, alone);
            const n = t * 32;
            same(got.o.slice(i * n, (i + 1) * n), want.o, `${dtype} ${kind} ${t} ${i}`);
            if (s % 2) return; // an odd last key is added up elsewhere where no more can follow
            same(forward(dtype, kind, { ...sizes, b: 1, s, counts: undefined }, alone).o, want.o, `${kind} uncounted`);
          });
        }
  },
  "place by place gives the bits of all places at once"() {
    for (const dtype of both)
      for (const kind of kinds)
        for (const [h, g, d] of [
          [3, 3, 6],
          [9, 3, 5],
          [4, 1, 16],
        ] as const)
          for (const s of [14, 21]) {
            const sizes = { b: 2, h, g, t: s, s, d };
            const x = given(sizes);
            // Counted, rows of an odd length are added up as those of a longer one: without, its last row differs.
            const all = forward(dtype, kind, { ...sizes, counts: [s, s] }, x);
            const plain = forward(dtype, kind, sizes, x);
            const n = h * d;
            for (let at = 0; at < s; at++) {
              const alone = { ...x };
              for (const name of ["q", "gq"] as const) {
                const both = [0, 1].flatMap(i => Array.from(part(x[name], i, at, at + 1, n).values));
                alone[name] = { values: Float64Array.from(both), row: n, batch: n };
              }
              const got = forward(dtype, kind, { ...sizes, t: 1, counts: [at + 1, at + 1] }, alone);
              for (const i of [0, 1]) {
                const row = (o: Numbers) => o.slice((i * s + at) * n, (i * s + at + 1) * n);
                const what = `${dtype} ${kind} h ${h} s ${s} place ${at}`;
                same(got.o.slice(i * n, (i + 1) * n), row(all.o), what);
                if (at < s - 1 || s % 2 === 0) same(row(plain.o), row(all.o), `${what}, uncounted`);
              }
            }
          }
  },
  "gives the bits of a panel for one query without a cache"() {
    for (const dtype of both)
      for (const kind of kinds)
        for (const s of [1, 2, 9, 16]) {
          const sizes = { b: 2, h: 5, g: 5, t: 1, s, d: 7 };
          const x = given(sizes);
          // A second query, after which the first is looked at: it sees all keys but the last only if not causal.
          const two = { ...x };
          for (const name of ["q", "gq"] as const) {
            const twice = [0, 1].flatMap(i => {
              const one = Array.from(part(x[name], i, 0, 1, 35).values);
              return [...one, ...one];
            });
            two[name] = { values: Float64Array.from(twice), row: 35, batch: 70 };
          }
          if (kind === "relative" || kind === "alibi") continue; // these look at places
          const got = forward(dtype, kind, sizes, x, false);
          const want = forward(dtype, kind, { ...sizes, t: 2 }, two, false);
          for (const i of [0, 1])
            same(got.o.slice(i * 35, (i + 1) * 35), want.o.slice(i * 70, i * 70 + 35), `${dtype} ${kind} ${s}`);
        }
  },
});

suite("gradients of attention", {
  "are written whole, and nothing between rows, or added to what is there"() {
    for (const kind of kinds)
      for (const way of ways)
        for (const causal of [true, false]) {
          const sizes = { b: 2, h: 4, g: 2, t: 9, s: 11, d: 6 };
          const x = given(sizes, 3);
          const written = backward(kind, sizes, x, way, { causal, before: 7 });
          const other = backward(kind, sizes, x, way, { causal, before: 8 });
          const added = backward(kind, sizes, x, way, { causal, before: 0, add: true });
          for (const name of names) {
            const source = { dq: x.q, dk: x.k, dv: x.v, dgq: x.gq, dgk: x.gk, pk: x.k, pv: x.v, pg: x.gk }[
              name as "dq"
            ];
            const heads = name === "dq" || name === "dgq" ? 24 : 12;
            const asked = !name.startsWith("p") || way.endsWith("pasts");
            const moved = (kind === "cope val" || kind === "cope with gate queries") && name === "dgk";
            written[name].forEach((value, j) => {
              const what = `${kind} ${way} ${causal} ${name} ${j}`;
              const gap = source && !moved && j % source.row >= heads;
              if (gap || (moved && value === 7)) return assert.is(value, 7, what);
              if (!asked) return assert.is(value, 7, what);
              assert.is(other[name][j], value, `${what}: not written`);
              assert.ok(Math.abs(added[name][j]! - value) <= 1e-12 * Math.max(1, Math.abs(value)), what);
            });
          }
        }
  },
});
