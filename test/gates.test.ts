// CoPE from every source of gates, with and without a bias, every kind of table, every way of looking and of sending
// back: the kernel against small operations, and each against what it stands for.
import * as assert from "uvu/assert";
import {
  Tape,
  attention,
  crossEntropy,
  gradcheck,
  layer,
  leaves,
  mul,
  random,
  rmt,
  slice,
  sum,
  transformer,
  type AttentionOptions,
  type Dtype,
  type Gates,
  type How,
  type PositionName,
  type Random,
  type Tensor,
  type TransformerOptions,
  type Tree,
} from "farsight";
import { fast } from "farsight/fast";
import { close, suite, thrown } from "./check.ts";
import { made, normal, rows, same, small, stir } from "./stirred.ts";

const sources = ["shared", "sep", "val", "token"] as const;
const sights = ["causal", "open", "padding", "a mask", "documents", "documents and padding", "open documents"] as const;
const sending = ["all", "edges", "own", "own, no past"] as const;

/** One setting: sizes and choices, by which all tensors are drawn. */
interface Case {
  b: number;
  h: number;
  g: number;
  t: number;
  s: number;
  d: number;
  rows: number;
  gates: Gates;
  scaling: "listing" | "ram" | "eq";
  bias: boolean;
  table: "layer" | "head";
  rotated: boolean;
  with: readonly PositionName[];
  sight: (typeof sights)[number];
  send: (typeof sending)[number];
  seed: number;
}
const titled = (c: Case): string => JSON.stringify(c);

/** Documents of sequences of s places: three in a row, and then interleaved ones. */
const documentsOf = (i: number, s: number): number[] =>
  Array.from({ length: s }, (_, j) => (i % 2 ? (j * 7) % 3 : Math.floor((3 * j) / s)));

/** What is looked at, under the sight of a case. */
function looking(tape: Tape, { b, t, s, sight }: Case): AttentionOptions {
  const has = (word: string): boolean => sight.includes(word);
  const table = (rows: number, value: (n: number) => number): Tensor =>
    tape.tensor(
      [rows, s],
      Float64Array.from({ length: rows * s }, (_, n) => value(n)),
    );
  const ids = Array.from({ length: b }, (_, i) => documentsOf(i, s)).flat();
  return {
    causal: !has("open"),
    keys: has("padding") ? table(b, n => (n % 5 === 3 || n < 2 ? 0 : 1)) : undefined,
    allowed: has("mask") ? table(t, n => (n % 7 === 2 ? 0 : 1)) : undefined,
    documents: has("documents") ? tape.integers([b, s], ids) : undefined,
  };
}
/** Gradients that are sent back in part, and pasts that take the rest. */
function sent(tape: Tape, { t, s, send }: Case, past: AttentionOptions["past"]): AttentionOptions {
  const edges = Float64Array.from({ length: t * s }, (_, n) => (n % 4) / 3);
  if (send === "edges") return { edges: tape.tensor([t, s], edges), past };
  return { own: send.startsWith("own"), past: send === "own" ? past : undefined };
}

/** A case's result and gradients by name, by the kernel or composed. */
function run(c: Case, composed: boolean, dtype: Dtype = "f64"): Record<string, Float64Array> {
  const { b, h, g, t, s, d } = c;
  const tape = new Tape(dtype);
  const rng = random(c.seed);
  const draw = (...shape: number[]): Tensor => {
    const n = shape.reduce((a, x) => a * x, 1);
    return tape.param(
      shape,
      Float64Array.from({ length: n }, () => Math.fround(rng.normal())),
    );
  };
  const copy = (x: Tensor): Tensor => tape.param(x.shape, x.values().slice());
  const [q, k, v] = [draw(b, t, h, d), draw(b, s, g, d), draw(b, s, g, d)];
  const gateKeys = { sep: draw(b, s, g, d), token: draw(b, s, g) }[c.gates as "sep"];
  const weight = c.table === "head" ? draw(h, c.rows, d) : draw(c.rows, d);
  const [bias, rel] = [draw(h), draw(3, d)];
  const past = { k: copy(k), v: copy(v), ...(gateKeys && { gateKeys: copy(gateKeys) }) };
  const { gates, scaling, table, rotated } = c;
  const y = attention(q, k, v, {
    ...{ composed, gateKeys, position: ["cope", ...c.with], ...looking(tape, c), ...sent(tape, c, past) },
    tables: { cope: { weight, bias: c.bias ? bias : undefined }, relative: rel },
    cope: { gates, scaling, table, rotated, bias: c.bias ? 0 : undefined },
    rope: { theta: 100 },
  });
  const dy = Float64Array.from({ length: y.size }, () => rng.normal());
  tape.backward(y, dy);
  const inputs = { q, k, v, weight, bias, rel, ...(gateKeys && { gateKeys }) };
  const pasts = Object.entries(past).map(([name, x]) => [`past ${name}`, x] as const);
  return Object.fromEntries([
    ["y", Float64Array.from(y.values())],
    ...[...Object.entries(inputs), ...pasts].map(([name, x]) => [name, Float64Array.from(x.gradient())] as const),
  ]) as Record<string, Float64Array>;
}

/** A case drawn at random, but for what is given. */
function drawn(rng: Random, seed: number, given: Partial<Case>): Case {
  const pick = <T>(list: readonly T[]): T => list[rng.integer(list.length)]!;
  const [t, s] = pick([
    [1, 1],
    [7, 7],
    [3, 11],
    [1, 19],
    [37, 37],
    [20, 67],
  ] as const);
  const [h, g] = pick([
    [3, 3],
    [4, 2],
    [4, 1],
    [9, 3],
    [1, 1],
  ] as const);
  return {
    ...{ b: 2, h, g, t, s, d: pick([4, 6, 8]), rows: pick([1, 2, 4, 9, 80]), scaling: pick(["listing", "ram", "eq"]) },
    ...{
      gates: pick(sources),
      bias: pick([true, false]),
      table: pick(["layer", "head"]),
      rotated: pick([true, false]),
    },
    with: pick([[], ["rope"], ["relative"], ["alibi"], ["rope", "relative", "alibi"]] as const),
    sight: pick(sights),
    send: pick(sending),
    seed,
    ...given,
  };
}

const equal: Record<string, () => void> = {};
for (const gates of sources)
  for (const table of ["layer", "head"] as const)
    equal[`${gates}, a table a ${table}: the kernel gives what small operations give, gradients too`] = () => {
      const rng = random(7).fork(`${gates} ${table}`);
      for (const sight of sights)
        for (let i = 0; i < 6; i++) {
          const c = drawn(rng, i, { gates, table, sight });
          const [fused, composed] = [run(c, false), run(c, true)];
          for (const name in fused) close(fused[name]!, composed[name]!, 1e-11, `${titled(c)}: ${name}`, 1);
        }
    };
equal["in single precision results and what tables and values are sent are right to 1e-4 at 512 places"] = () => {
  for (const gates of sources)
    for (const rows of [3, 64, 600]) {
      const one = { b: 1, h: 2, g: 1, t: 512, s: 512, d: 8, rows, bias: true, table: "head", with: [] } as const;
      const c = drawn(random(rows), rows, { ...one, gates, sight: "causal", send: "all", scaling: "listing" });
      const [single, double] = [run(c, false, "f32"), run(c, false)];
      // Slopes jump at whole positions, and rounding decides on which side a few lie that are far up in a table: what
      // gates are made of is compared in the short table alone.
      const sound = rows === 3 ? Object.keys(double) : ["y", "weight", ...(gates === "val" ? [] : ["v"])];
      for (const name of sound) close(single[name]!, double[name]!, 1e-4, `${gates} ${rows} ${name}`, 1);
    }
};
suite("gates, biases, tables and documents in one kernel", equal);

// ------------------------------------------------------------------------------------------------ what they stand for
const [B, T, H, D] = [2, 9, 2, 4];
/** Queries, keys, values, a table, gate keys and logits of tokens, as parameters. */
function setting(rows: number, tape = new Tape("f64")) {
  const make = (seed: number, ...shape: number[]): Tensor =>
    tape.param(
      shape,
      normal(
        shape.reduce((a, n) => a * n, 1),
        seed,
      ),
    );
  const [q, k, v, gateKeys] = [1, 2, 3, 4].map(seed => make(seed, B, T, H, D)) as [Tensor, Tensor, Tensor, Tensor];
  return { tape, q, k, v, gateKeys, logits: make(5, B, T, H), table: make(6, rows, D), bias: make(7, H) };
}
type Setting = ReturnType<typeof setting>;
/** Attention with CoPE's gates of a kind. */
function counted({ q, k, v, gateKeys, logits, table, bias }: Setting, gates: Gates, biased = false, more = {}): Tensor {
  return attention(q, k, v, {
    position: "cope",
    cope: { gates },
    gateKeys: { sep: gateKeys, token: logits }[gates as "sep"],
    tables: { cope: { weight: table, bias: biased ? bias : undefined } },
    ...more,
  });
}

suite("gates", {
  "of tokens: positions are differences of running sums, and the result is that of the equations"() {
    const x = setting(5);
    const y = counted(x, "token", true).values();
    const at = (of: Tensor, ...place: number[]): number =>
      of.values()[place.reduce((n, i, axis) => n * of.shape[axis]! + i, 0)]!;
    const dot = (f: (i: number) => number): number => Array.from({ length: D }, (_, i) => f(i)).reduce((a, n) => a + n);
    const want = new Float64Array(y.length);
    for (let b = 0; b < B; b++)
      for (let h = 0; h < H; h++) {
        const gate = (j: number): number => 1 / (1 + Math.exp(-at(x.logits, b, j, h) - at(x.bias, h)));
        const sums = [0];
        for (let j = 0; j < T; j++) sums.push(sums[j]! + gate(j));
        for (let i = 0; i < T; i++) {
          const weights = Array.from({ length: i + 1 }, (_, j) => {
            const p = Math.min(sums[i + 1]! - sums[j]!, 4);
            const [low, w] = [Math.floor(p), p - Math.floor(p)];
            const z = (row: number): number => dot(n => at(x.q, b, i, h, n) * at(x.table, row, n));
            const content = dot(n => at(x.q, b, i, h, n) * at(x.k, b, j, h, n)) / Math.sqrt(D);
            return Math.exp(content + (1 - w) * z(low) + w * z(Math.ceil(p)));
          });
          const total = weights.reduce((a, n) => a + n);
          for (let n = 0; n < D; n++)
            want[((b * T + i) * H + h) * D + n] = weights.reduce(
              (a, weight, j) => a + (weight / total) * at(x.v, b, j, h, n),
              0,
            );
        }
      }
    close(y, want, 1e-13);
  },
  "far open are relative positions, and far shut none at all, whatever they look at"() {
    for (const gates of sources) {
      const x = setting(T + 1);
      x.bias.values().fill(200);
      const distances = x.tape.param([T, D], x.table.values().slice(D));
      const scaling = { cope: { gates, scaling: "ram" } } as const; // so both tables' scores are divided by √d
      const open = (): Tensor => counted(x, gates, true, scaling);
      const far = (): Tensor => attention(x.q, x.k, x.v, { position: "relative", tables: { relative: distances } });
      close(open().values(), far().values(), 1e-14, gates);
      const { q, k, v, table } = x;
      const gradients = [open, far].map(run => {
        x.tape.zeroGrad();
        const y = run();
        x.tape.backward(y, normal(y.size, 9));
        return [q, k, v, run === open ? table : distances].map(p => Float64Array.from(p.gradient()));
      }) as [Float64Array[], Float64Array[]];
      gradients[0][3] = gradients[0][3]!.subarray(D);
      gradients[0].forEach((got, i) => close(got, gradients[1][i]!, 1e-13, `${gates} ${i}`));
      x.bias.values().fill(-2000);
      close(counted(x, gates, true).values(), attention(x.q, x.k, x.v).values(), 1e-14, `${gates}, shut`);
    }
  },
  "with a bias of 0 give the bits of gates without one, and the bias learns"() {
    for (const dtype of ["f32", "f64"] as const)
      for (const gates of sources) {
        const x = setting(5, new Tape(dtype));
        x.bias.values().fill(0);
        const [a, b] = [counted(x, gates), counted(x, gates, true)];
        same(b.values(), a.values(), gates);
        x.tape.backward(b, normal(b.size, 9));
        assert.ok(
          x.bias.gradient().every(g => Math.abs(g) > 1e-3),
          gates,
        );
      }
  },
  "with tables of heads: each head is as if it were alone with its table, to the bit"() {
    for (const dtype of ["f32", "f64"] as const)
      for (const gates of sources)
        for (const t of [T, 1]) {
          const x = setting(5, new Tape(dtype));
          const tables = x.tape.tensor([H, 5, D], normal(H * 5 * D, 8));
          const q = slice(x.q, T - t, T, { axis: 1 });
          const all = counted({ ...x, q, table: tables }, gates, true, { cope: { gates, table: "head" } });
          for (let h = 0; h < H; h++) {
            const of = (y: Tensor, axis: number): Tensor => slice(y, h, h + 1, { axis });
            const mine = (["k", "v", "gateKeys", "logits"] as const).map(name => [name, of(x[name], 2)] as const);
            const read = Object.fromEntries(mine) as Pick<Setting, "k" | "v" | "gateKeys" | "logits">;
            const table = x.tape.tensor([5, D], tables.values().slice(h * 5 * D, (h + 1) * 5 * D));
            const alone = { ...x, ...read, q: of(q, 2), table, bias: of(x.bias, 0) };
            same(counted(alone, gates, true).values(), of(all, 2).values(), `${dtype} ${gates} ${t} ${h}`);
          }
        }
  },
  "equal differences: of queries, keys, values, what they look at, tables of heads and biases"() {
    for (const gates of sources) {
      const x = setting(5);
      const table = x.tape.param([H, 5, D], normal(H * 5 * D, 8));
      const u = x.tape.tensor([B, T, H, D], normal(B * T * H * D, 9));
      const documents = x.tape.integers(
        [B, T],
        [0, 1].flatMap(i => documentsOf(i, T)),
      );
      const { q, k, v, bias, gateKeys, logits } = x;
      const own = { sep: { gateKeys }, token: { logits } }[gates as "sep"];
      for (const more of [{}, { documents, causal: false }])
        gradcheck({ q, k, v, table, bias, ...own }, () =>
          sum(mul(counted({ ...x, table }, gates, true, { cope: { gates, table: "head" }, ...more }), u)),
        );
    }
  },
  "keep nothing of size t s, whatever they are"() {
    for (const gates of sources) {
      const bytes = [2048, 4096].map(t => {
        const tape = new Tape("f32");
        const [q, k] = [tape.param([1, t, 1, 4]), tape.param([1, t, 1, 4])];
        const gateKeys = { sep: tape.param([1, t, 1, 4]), token: tape.param([1, t, 1]) }[gates as "sep"];
        const tables = { cope: { weight: tape.param([1, 8, 4]), bias: tape.param([1]) } };
        const documents = tape.integers([1, t], new Int32Array(t));
        const cope = { gates, table: "head" } as const;
        tape.step(() => sum(attention(q, k, k, { position: "cope", cope, gateKeys, tables, documents })));
        return tape.bytes;
      });
      assert.ok(bytes[1]! < 2.2 * bytes[0]! + 4096 * 64, `${gates}: ${bytes.join(" and ")}`);
      assert.ok(bytes[1]! < 4096 * 4096, `${gates}: ${bytes.join(" and ")}`);
    }
  },
  "are refused without what they look at, or of the wrong axes"() {
    const x = setting(5);
    for (const [gates, wants] of [
      ["sep", "b s g d"],
      ["token", "b s g"],
    ] as const) {
      assert.is(
        thrown(TypeError, () => counted(x, gates, false, { gateKeys: undefined })),
        `attention: the gates are ${gates}\n  wants gateKeys, ${wants}`,
      );
      assert.match(
        thrown(RangeError, () => counted(x, gates, false, { gateKeys: gates === "sep" ? x.logits : x.gateKeys })),
        /^attention: gateKeys is \[2 9 2/,
      );
    }
    assert.match(
      thrown(RangeError, () => counted(x, "shared", false, { cope: { table: "head" } })),
      /^cope: the table is \[5 4\]\n {2}wants a tensor \[h p d\]/,
    );
    const three = x.tape.tensor([3, 5, D]);
    assert.match(
      thrown(RangeError, () => counted({ ...x, table: three }, "shared", false, { cope: { table: "head" } })),
      /^cope: 3 tables for 2 heads\n/,
    );
    assert.match(
      thrown(RangeError, () => counted(x, "shared", false, { cope: { bias: 0 } })),
      /^cope: the parameters have no bias\n/,
    );
    assert.match(
      thrown(RangeError, () => transformer({ vocab: 3, cope: { gates: "tokens" as never } })),
      /^transformer: cope\.gates is tokens\n {2}wants shared, sep, val or token$/,
    );
    for (const [bad, kind] of [
      [{ every: 0 }, RangeError],
      [{ bias: NaN }, RangeError],
      [{ bias: true }, TypeError],
      [{ table: "heads" }, RangeError],
    ] as const)
      assert.match(
        thrown(kind, () => transformer({ vocab: 3, cope: bad as object })),
        new RegExp(`^transformer: cope.${Object.keys(bad)[0]} is `),
      );
    assert.match(
      thrown(RangeError, () => transformer({ vocab: 3, relative: { table: "head" as never } })),
      /^transformer: relative.table is head\n {2}wants layer or shared$/,
    );
  },
});

// --------------------------------------------------------------------------------------------------------- in models
const models: Record<string, TransformerOptions> = {
  "gates of tokens": { position: "cope", cope: { rows: 4, gates: "token" } },
  "gates of tokens, biased, with rope": { position: ["cope", "rope"], cope: { rows: 4, gates: "token", bias: 0.5 } },
  "shared gates, biased": { position: "cope", cope: { rows: 4, bias: 1 } },
  "gate keys, biased, a table a head, two heads of keys": {
    position: "cope",
    kvHeads: 2,
    cope: { rows: 4, gates: "sep", bias: 0, table: "head" },
  },
  "values, a table for all layers, with relative in one": {
    position: ["relative", "cope"],
    relative: { rows: 3, table: "shared" },
    cope: { rows: 4, gates: "val", table: "shared" },
  },
  "gates of tokens in every second layer, with relative": {
    position: ["relative", "cope"],
    layers: 4,
    cope: { rows: 4, gates: "token", every: 2 },
  },
  "turned gates of tokens, a table a head, one head of keys": {
    position: ["rope", "cope"],
    kvHeads: 1,
    cope: { rows: 4, gates: "token", rotated: true, table: "head" },
  },
};
const integers = (tape: Tape, list: readonly number[][]): Tensor =>
  tape.integers([list.length, list[0]!.length], list.flat());
const gradientsOf = (params: Tree): Record<string, Float64Array> =>
  Object.fromEntries(leaves(params).map(([path, p]) => [path, Float64Array.from(p.gradient())]));

const inModels: Record<string, () => void> = {};
for (const [title, more] of Object.entries(models)) {
  inModels[`${title}: gradients equal differences, and every parameter gets one`] = () => {
    const { tape, model, params } = made(more);
    const [x, y] = [integers(tape, rows(2, 6, 7, 2)), integers(tape, rows(2, 6, 7, 3))];
    gradcheck(params, () => model.loss(params, x, y));
    tape.step(() => model.loss(params, x, y));
    for (const [path, p] of leaves(params))
      assert.ok(path.endsWith("c_attn.bias") || p.gradient().some(g => Math.abs(g) > 1e-7), `${path} got no gradient`);
  };
  // Turned queries meet a table at angles of their places in the row.
  if (!more.cope?.rotated)
    inModels[`${title}: documents packed into a row are as if each were alone`] = () => {
      const { tape, model, params } = made(more);
      const texts = [rows(1, 5, 7, 4)[0]!, rows(1, 1, 7, 5)[0]!, rows(1, 6, 7, 6)[0]!];
      const packed = texts.flat();
      const ids = texts.flatMap((text, i) => text.map(() => 3 - i));
      const documents = tape.integers([1, packed.length], ids);
      const targets = (list: readonly number[]): number[] => list.map(x => (x + 1) % 7);
      const total = (text: readonly number[], how?: How): Tensor =>
        crossEntropy(model.logits(params, integers(tape, [[...text]]), how), integers(tape, [targets(text)]), {
          reduction: "sum",
        });
      const loss = tape.step(() => total(packed, { documents }));
      const got = gradientsOf(params);
      let apart = 0;
      tape.zeroGrad();
      for (const text of texts) apart += tape.step(() => total(text), { accumulate: true });
      close([loss], [apart], 1e-12);
      for (const [path, want] of Object.entries(gradientsOf(params))) close(got[path]!, want, 1e-11, path, 0.1);
    };
  inModels[`${title}: documents through a cache give the bits of one run, place by place`] = () => {
    for (const dtype of ["f32", "f64"] as const) {
      const { tape, model, params } = made(more, new Tape(dtype));
      const list = rows(2, 10, 7, 4);
      const ids = list.map((_, i) => documentsOf(i, 10));
      const states = (pieces: readonly number[]): Float64Array =>
        tape.noGrad(() => {
          let state = model.start(params, 2, { cache: 12 });
          const out: number[][] = [[], []];
          let at = 0;
          for (const n of pieces) {
            const part = (of: readonly number[][], from: number) =>
              integers(
                tape,
                of.map(row => row.slice(from, at + n)),
              );
            const made = model.step(params, part(list, at), state, { documents: part(ids, 0) });
            state = made.state;
            const size = n * model.config.d;
            out.forEach((row, i) => row.push(...made.states.values().subarray(i * size, (i + 1) * size)));
            at += n;
          }
          return Float64Array.from(out.flat());
        });
      const whole = states([10]);
      same(states(new Array<number>(10).fill(1)), whole, dtype);
      same(states([3, 4, 1, 2]), whole, dtype);
    }
  };
  inModels[`${title}: in an RMT gradients equal differences, and in threads it has the bits of one`] = () => {
    const { tape, model } = made({ ...more, layers: 2 });
    const recurrent = rmt(model, { memory: 2, segment: 3 });
    const params = stir(recurrent.params(tape));
    const [x, y] = [integers(tape, rows(1, 7, 7, 2)), integers(tape, rows(1, 7, 7, 3))];
    gradcheck(params, () => recurrent.loss(params, x, y));
    const results = [1, 3].map(threads => {
      const engine = fast("f32", { threads, fma: false });
      const own = new Tape("f32", { engine });
      const it = made({ ...more, d: 64, context: 80, layers: 2 }, own);
      own.step(() => it.model.loss(it.params, integers(own, rows(6, 64, 7, 2)), integers(own, rows(6, 64, 7, 3))));
      const gradients = gradientsOf(it.params);
      engine.close();
      return gradients;
    });
    for (const path in results[0]) same(results[1]![path]!, results[0][path]!, path);
  };
}
suite("models with every kind of gates and tables", inModels);

suite("positions in every K-th layer", {
  "have parameters there and nowhere else, and act there and nowhere else"() {
    for (const [position, key] of [
      ["cope", "cope"],
      ["relative", "rel"],
    ] as const) {
      const { tape, model, params } = made({ position, layers: 4, [position]: { rows: 4, every: 2 } });
      assert.equal(
        params.h.map(({ attn }) => attn[key] !== undefined),
        [false, true, false, true],
      );
      const plain = transformer({ ...small, layers: 4, position: "none" });
      const x = integers(tape, rows(2, 8, 7, 2));
      const states: Tensor[][] = [[], []];
      const bare = { ...params, h: params.h.map(p => ({ ...p, attn: { ...p.attn, [key]: undefined } })) };
      [model, plain].forEach((it, i) =>
        it.logits(i ? bare : params, x, { watch: (_, seen) => void states[i]!.push(seen.states) }),
      );
      same(states[0]![1]!.values(), states[1]![1]!.values(), "the first layer");
      assert.ok(states[0]![2]!.values().some((value, n) => value !== states[1]![2]!.values()[n]));
    }
  },
  "turn there and nowhere else, and a kind of one's own says so itself"() {
    const x = rows(1, 6, 7, 2);
    for (const [position, more] of [
      ["rope", { rope: { every: 2 } }],
      [() => ({ name: "slant", every: 2, bias: () => ({ slopes: [1, 2, 3, 4] }) }), {}],
    ] as const) {
      const { tape, model, params } = made({ position, layers: 3, ...more });
      const plain = transformer({ ...small, layers: 3, position: "none" });
      const [a, b] = [model, plain].map(it => {
        const states: Float64Array[] = [];
        it.logits(params, integers(tape, x), {
          watch: (_, seen) => void states.push(Float64Array.from(seen.states.values())),
        });
        return states;
      }) as [Float64Array[], Float64Array[]];
      same(a[1]!, b[1]!);
      assert.ok(a[2]!.some((value, n) => value !== b[2]![n]));
      const only = layer(tape.tensor([1, 6, 16], a[1]!), params.h[1]!, model.config, { layer: 1 }).x;
      same(only.values(), a[2]!);
      const first = layer(tape.tensor([1, 6, 16], a[1]!), params.h[1]!, model.config).x;
      assert.ok(first.values().some((value, n) => value !== a[2]![n]));
    }
  },
});

suite("a table for all layers", {
  "lies beside the embeddings, and gets what the tables of layers get together"() {
    for (const [position, key] of [
      ["cope", "cope"],
      ["relative", "rel"],
    ] as const) {
      const results = (["shared", "layer"] as const).map(table => {
        const { tape, model, params } = made({ position, layers: 3, [position]: { rows: 4, table } });
        const values = normal(16, 3);
        const all = leaves(params).filter(([path]) => path.endsWith(`${key}.weight`));
        assert.equal(
          all.map(([path]) => path),
          table === "shared" ? [`${key}.weight`] : [0, 1, 2].map(i => `h.${i}.attn.${key}.weight`),
        );
        for (const [, p] of all) p.values().set(values);
        const [x, y] = [integers(tape, rows(2, 8, 7, 2)), integers(tape, rows(2, 8, 7, 3))];
        const loss = tape.step(() => model.loss(params, x, y));
        const sums = new Float64Array(16);
        for (const [, p] of all) p.gradient().forEach((g, n) => (sums[n]! += g));
        return { loss, sums };
      });
      assert.is(results[0]!.loss, results[1]!.loss);
      close(results[0]!.sums, results[1]!.sums, 1e-13);
    }
  },
  "reaches a layer by itself through `shared`, and without it is missed by name"() {
    const { tape, model, params } = made({ position: "cope", cope: { rows: 4, table: "shared" } });
    const x = tape.tensor([1, 5, 16], normal(80, 2));
    const states: Tensor[] = [];
    model.states(params, x, { watch: (_, seen) => void states.push(seen.states) });
    same(layer(x, params.h[0]!, model.config, { shared: params }).x.values(), states[1]!.values());
    assert.match(
      thrown(TypeError, () => layer(x, params.h[0]!, model.config)),
      /^cope: the table is undefined\n {2}wants a tensor \[p d\]$/,
    );
  },
});

suite("documents", {
  "count in positions nothing but what is seen, and a place that sees nothing gives 0 and gets 0"() {
    for (const gates of sources) {
      const x = setting(4);
      const [one, two] = [0, 1].map(i => documentsOf(i, T));
      const documents = x.tape.integers([B, T], [...one!, ...two!]);
      // Place 8 of the first sequence is alone in document 3, and padding.
      documents.values()[8] = 3;
      const keys = x.tape.tensor(
        [B, T],
        Array.from({ length: B * T }, (_, n) => Number(n !== 8)),
      );
      const y = counted(x, gates, true, { documents, keys });
      x.tape.backward(y, normal(y.size, 9));
      const row = H * D;
      const at = (values: ArrayLike<number>): number[] => Array.from(values).slice(8 * row, 9 * row);
      for (const values of [y.values(), x.q.gradient(), x.k.gradient(), x.v.gradient()])
        assert.ok(
          at(values).every(value => value === 0),
          gates,
        );
      assert.ok(
        [...y.values(), ...x.q.gradient(), ...x.logits.gradient(), ...x.table.gradient()].every(Number.isFinite),
        gates,
      );
    }
  },
  "that differ from sequence to sequence, or by no rule at all, are told apart by their numbers alone"() {
    const x = setting(4);
    const ids = [0, 1].flatMap(i => documentsOf(i, T));
    const names = [2147483647, 0, 16777217];
    const [a, b] = [ids, ids.map(id => names[id]!)].map(list =>
      counted(x, "shared", false, { documents: x.tape.integers([B, T], list) }),
    ) as [Tensor, Tensor];
    same(b.values(), a.values());
    const whole = counted(x, "shared", false, { documents: x.tape.integers([B, T], new Int32Array(B * T).fill(5)) });
    same(whole.values(), counted(x, "shared").values());
  },
  "leave absolute and sinusoidal positions the places of the row, as where a text goes on after another"() {
    for (const position of ["absolute", "sinusoidal"] as const) {
      const { tape, model, params } = made({ position });
      const [row] = rows(1, 8, 7, 4) as [number[]];
      const documents = tape.integers([1, 8], [0, 0, 0, 1, 1, 1, 1, 1]);
      const packed = model.logits(params, integers(tape, [row]), { documents });
      const after = { ...model.start(params, 1, { earlier: 0 }), starts: [3] };
      const { states } = model.step(params, integers(tape, [row.slice(3)]), after);
      close(packed.values().subarray(3 * 7), model.head(params, states).values(), 1e-13, position);
    }
  },
  "of one sequence change no bit of what another one's tables get"() {
    // Positions end in the table, and places do not fill the last panel.
    const [one, other] = [3, 0].map(next => {
      const x = setting(2, new Tape("f32"));
      const documents = x.tape.integers(
        [B, T],
        Array.from({ length: B * T }, (_, n) => (n < T ? 0 : next)),
      );
      const y = counted(x, "shared", false, { documents });
      x.tape.backward(y, [...normal(T * H * D, 9), ...new Float64Array(T * H * D)]);
      return x.table.gradient();
    });
    same(one!, other!);
  },
  "are refused where they say nothing of some place, or are no integers"() {
    const { tape, model, params } = made({ position: "cope" });
    const x = integers(tape, rows(1, 4, 7, 1));
    assert.match(
      thrown(RangeError, () => model.logits(params, x, { documents: tape.integers([1, 3], [0, 0, 0]) })),
      /^attention: documents of 3 places, 4 queries and 4 keys\n/,
    );
    assert.match(
      thrown(TypeError, () => model.logits(params, x, { documents: tape.tensor([1, 4]) })),
      /^attention: input 11 must hold integers/,
    );
    assert.match(
      thrown(RangeError, () => model.logits(params, x, { documents: tape.integers([1, 4], [0, 0, -1, 0]) })),
      /^attention: input 11 holds -1/,
    );
    tape.noGrad(() =>
      assert.match(
        thrown(RangeError, () => {
          const { state } = model.step(params, x, model.start(params, 1));
          model.step(params, x, state, { documents: tape.integers([1, 4], [0, 0, 0, 0]) });
        }),
        /^transformer: documents is \[1 4\]\n {2}wants 8 columns, with the places seen$/,
      ),
    );
  },
});

suite("`every`", {
  "is refused where no layer's number is divided, and in attention alone, which is one layer"() {
    for (const position of ["cope", "rope", "relative"] as const) {
      const refused = (layers: number, every: number): string =>
        thrown(RangeError, () => transformer({ ...small, layers, position, [position]: { every } }));
      assert.is(refused(2, 3), "transformer: a position's every is 3\n  wants an integer from 1 to 2");
      transformer({ ...small, layers: 2, position, [position]: { every: 2 } });
    }
    const own = () => ({ name: "own", every: 4 });
    assert.match(
      thrown(RangeError, () => transformer({ ...small, layers: 3, position: own })),
      /^transformer: a position's every is 4/,
    );
    const x = setting(4);
    assert.match(
      thrown(RangeError, () => counted(x, "shared", false, { cope: { every: 2 } })),
      /^attention: a position's every is 2\n {2}wants an integer from 1 to 1$/,
    );
  },
});
