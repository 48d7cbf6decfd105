// Layers as a user puts them together, positions of a user's own and in every combination, options of layers, and what
// watching a layer shows.
import * as assert from "uvu/assert";
import {
  Tape,
  add,
  attend,
  attention,
  attentionBlock,
  bias,
  gradcheck,
  kinds,
  layer,
  leaves,
  linear,
  load,
  loadParams,
  mlp,
  mul,
  norm,
  parse,
  reshape,
  save,
  slice,
  sum,
  transformer,
  adamw,
  type AttentionOptions,
  type Inside,
  type Kind,
  type Maker,
  type Places,
  type PositionChoice,
  type PositionName,
  type Sizes,
  type Tensor,
  type TransformerOptions,
  type TransformerWeights,
  type Tree,
} from "farsight";
import { close, suite, thrown } from "./check.ts";
import { constant, made, normal, rows, same, small } from "./stirred.ts";

/** A stirred model with tokens b 2, t 7. */
function asked(more: TransformerOptions, t = 7) {
  const it = made(more);
  const { tape, model, params } = it;
  const [tokens, targets] = [2, 3].map(seed => tape.integers([2, t], rows(2, t, 7, seed).flat())) as [Tensor, Tensor];
  return {
    ...it,
    loss: () => model.loss(params, tokens, targets),
    logits: () => tape.scope(() => Float64Array.from(model.logits(params, tokens).values())),
  };
}
type Asked = ReturnType<typeof asked>;
const heard = (params: Tree): void => {
  for (const [path, p] of leaves(params))
    if (!path.endsWith("c_attn.bias"))
      assert.ok(
        p.gradient().some(x => Math.abs(x) > 1e-9),
        `${path} got no gradient`,
      );
};

// ------------------------------------------------------------------------------------------------- a kind of one's own
/** Cosines of place and column: a gain that queries and keys get. */
function gains(tape: Tape, [b, t, h, d]: readonly number[], { starts }: Places): Tensor {
  const at = (i: number): number => (starts?.[Math.floor(i / (t! * h! * d!))] ?? 0) + (Math.floor(i / (h! * d!)) % t!);
  const size = b! * t! * h! * d!;
  return tape.tensor(
    [b!, t!, h!, d!],
    Array.from({ length: size }, (_, i) => 1 + 0.5 * Math.cos(at(i) * ((i % d!) + 1))),
  );
}
/** Everything that a kind of position may do. It says how often it was made. */
let toys = 0;
const toy: Kind = (_, { d, width }) => {
  toys++;
  return {
    name: "toy",
    model: ["shift", (make: Maker, path: string) => ({ weight: make(`${path}.weight`, [d], 1) })],
    layer: ["far", (make: Maker, path: string) => ({ weight: make(`${path}.weight`, [5, width], 1) })],
    embed(x, weights, { t }) {
      const { weight } = weights as { weight: Tensor };
      const odd = x.tape.tensor(
        x.shape,
        Array.from({ length: x.size }, (_, i) => (Math.floor(i / d) % t) % 2),
      );
      return add(x, mul(odd, bias(x.tape.tensor(x.shape), weight)));
    },
    turn: (_like, places) => x => mul(x, gains(x.tape, x.shape, places)),
    bias: weights => ({ distances: (weights as { weight: Tensor }).weight }),
  };
};
const toyed = (position: PositionChoice): Asked => asked({ position });

suite("a kind of position of one's own", {
  "stands in a list, with its parameters in the model and in each layer; gradients equal differences"() {
    const { params, loss, model } = toyed(["rope", toy]);
    assert.equal(
      model.config.positions.map(p => p.name),
      ["rope", "toy"],
    );
    const names = leaves(params).map(([path]) => path);
    assert.equal(
      names.filter(path => /shift|far/.test(path)),
      ["shift.weight", "h.0.attn.far.weight", "h.1.attn.far.weight"],
    );
    gradcheck(params, loss, { h: 3e-6 });
    heard(params);
  },
  "changes what is computed, by what it adds, turns and weighs"() {
    const [with_, without, embeds, turns, weighs] = (
      [
        ["rope", toy],
        "rope",
        ["rope", (o: undefined, s: Sizes, who: string) => ({ ...toy(o, s, who), turn: undefined, bias: undefined })],
        ["rope", (o: undefined, s: Sizes, who: string) => ({ ...toy(o, s, who), embed: undefined, bias: undefined })],
        ["rope", (o: undefined, s: Sizes, who: string) => ({ ...toy(o, s, who), embed: undefined, turn: undefined })],
      ] as const
    ).map(position => toyed(position as unknown as PositionChoice).logits());
    const all = [with_, without, embeds, turns, weighs];
    all.forEach((a, i) =>
      all.forEach((b, j) => assert.is(i !== j && a!.every((x, n) => Math.abs(x - b![n]!) < 1e-6), false, `${i} ${j}`)),
    );
  },
  "trains as the others do"() {
    const { tape, params, loss } = toyed(["rope", toy]);
    const optimizer = adamw(params, { lr: 0.01 });
    const before = Float64Array.from((params["shift"] as { weight: Tensor }).weight.values());
    const losses = Array.from({ length: 60 }, () => {
      const value = tape.step(loss);
      optimizer.step();
      return value;
    });
    assert.ok(losses[59]! < 0.5 * losses[0]!, `${losses[0]} became ${losses[59]}`);
    assert.ok((params["shift"] as { weight: Tensor }).weight.values().every((x, i) => x !== before[i]));
  },
  "has its parameters saved and loaded by name"() {
    const one = toyed(["rope", toy]);
    const file = save({ params: one.params });
    assert.equal(parse(file).tensors.get("h.1.attn.far.weight")!.shape, [5, 4]);
    const model = transformer({ ...small, position: [toy, "rope"] });
    const tape = new Tape("f64");
    const other = model.params(tape);
    loadParams(other, file);
    const logits = model.logits(other, tape.integers([2, 7], rows(2, 7, 7, 2).flat())).values();
    same(logits, one.logits());
    load({ params: other }, file);
    assert.match(
      thrown(RangeError, () => loadParams(transformer({ ...small, position: "rope" }).params(tape), file)),
      /unexpected: h\.0\.attn\.far\.weight, h\.1\.attn\.far\.weight, shift\.weight/,
    );
  },
  "works with a cache, which hands it the places"() {
    const { tape, model, params } = toyed(["rope", toy, "cope"]);
    const even = (from: number, to: number): Tensor =>
      tape.integers(
        [2, to - from],
        rows(2, 8, 7, 2).flatMap(row => row.slice(from, to)),
      );
    tape.noGrad(() => {
      const whole = model.states(params, model.embed(params, even(0, 8))).values();
      const first = model.step(params, even(0, 4), model.start(params, 2));
      const second = model.step(params, even(4, 8), first.state).states.values();
      for (const i of [0, 1])
        same(second.subarray(i * 64, (i + 1) * 64), whole.subarray(i * 128 + 64, (i + 1) * 128), `sequence ${i}`);
    });
  },
  "is made once a model, may not stand there twice, and may not add what another kind adds already"() {
    const before = toys;
    transformer({ ...small, position: ["rope", toy] });
    assert.is(toys, before + 1);
    assert.match(
      thrown(RangeError, () => transformer({ ...small, position: [toy, "rope", toy] })),
      /^transformer: position names .* twice\n {2}wants each kind once/s,
    );
    const { loss } = toyed(["relative", toy]);
    assert.match(thrown(RangeError, loss), /^toy: another position adds distances as well\n {2}wants one of the two/);
  },
});

/** Contextual positions again, as a kind of one's own with options: gates see keys of their own. */
const counter =
  ({ rows = 4, rotated = false }: { rows?: number; rotated?: boolean } = {}): Kind =>
  (_, { d, width, kvHeads, bias }) => ({
    name: "counter",
    layer: [
      "counts",
      (make, path) => ({
        steps: make(`${path}.steps`, [rows, width], 0),
        seen: {
          weight: make(`${path}.seen.weight`, [kvHeads * width, d], 1),
          bias: bias ? make(`${path}.seen.bias`, [kvHeads * width], 0) : undefined,
        },
      }),
    ],
    bias(weights) {
      const { steps, seen } = weights as { steps: Tensor; seen: { weight: Tensor; bias?: Tensor } };
      return { gating: { table: steps, scaling: "ram", gates: "sep", keys: seen, rotated } };
    },
  });
suite("a kind of one's own with options, parameters and gates", {
  "has the bits of CoPE with the same options in a model, forward, backward and through a cache"() {
    for (const others of [[], ["rope"]] as const)
      for (const rotated of [false, true]) {
        const [own, theirs] = [[...others, counter({ rows: 5, rotated })], [...others, "cope"] as const].map(position =>
          asked({ position, cope: { rows: 5, scaling: "ram", gates: "sep", rotated } }),
        ) as [Asked, Asked];
        const lists = [own, theirs].map(it => leaves(it.params).map(([, p]) => p));
        lists[0]!.forEach((p, i) => p.values().set(lists[1]![i]!.values()));
        assert.ok(leaves(own.params).some(([path]) => path === "h.1.attn.counts.seen.weight"));
        same(own.logits(), theirs.logits());
        for (const { tape, loss } of [own, theirs]) tape.step(loss);
        lists[0]!.forEach((p, i) => same(p.gradient(), lists[1]![i]!.gradient(), `gradient ${i}`));
        heard(own.params);
        const [a, b] = [own, theirs].map(({ tape, model, params }) =>
          tape.noGrad(() => {
            let state = model.start(params, 2);
            return [0, 3, 5].map((from, i) => {
              const ids = rows(2, 7, 7, 2).map(row => row.slice(from, [3, 5, 7][i]));
              const stepped = model.step(params, ids, state);
              state = stepped.state;
              return stepped.states.values().slice();
            });
          }),
        );
        a!.forEach((values, i) => same(values, b![i]!, `piece ${i}`));
      }
    assert.not.equal(asked({ position: counter() }).logits(), asked({ position: counter({ rows: 2 }) }).logits());
  },
  "stands in attention, which takes its parameters by its name"() {
    const tape = new Tape("f64");
    const [q, k, v, gateKeys] = [1, 2, 3, 4].map(i => constant(tape, [2, 6, 2, 4], i));
    const table = constant(tape, [3, 4], 5);
    const more: AttentionOptions = { position: ["rope", counter({ rows: 3 })], gateKeys };
    const tables = { counter: { steps: table } };
    for (const composed of [false, true]) {
      const got = attention(q!, k!, v!, { ...more, tables, composed }).values();
      const cope = { scaling: "ram", gates: "sep" } as const;
      const like: AttentionOptions = { position: ["rope", "cope"], tables: { cope: table }, cope, gateKeys, composed };
      same(got, attention(q!, k!, v!, like).values());
    }
    const far = constant(tape, [5, 4], 6);
    const toyed = attention(q!, k!, v!, { position: toy, tables: { toy: far } }).values();
    assert.not.equal(toyed, attention(q!, k!, v!, { position: toy, tables: { toy: table } }).values());
    assert.match(
      thrown(TypeError, () => attention(q!, k!, v!, more)),
      /^attention: position is counter\n {2}wants tables\.counter, /,
    );
    assert.match(
      thrown(TypeError, () => attention(q!, k!, v!, { ...more, tables, gateKeys: undefined })),
      /^attention: the gates are sep\n/,
    );
  },
  "and kinds of the list are checked where they were not chosen, and take no options that they do not have"() {
    assert.match(
      thrown(RangeError, () => transformer({ ...small, position: "none", relative: { rows: 0 } })),
      /^transformer: relative\.rows is 0\n/,
    );
    assert.match(
      thrown(RangeError, () => transformer({ ...small, alibi: {} } as never)),
      /^transformer: unknown option alibi\n/,
    );
  },
});

// ------------------------------------------------------------------------------------------------- combinations
const pairs = kinds.flatMap((a, i) => kinds.slice(i + 1).map(b => [a, b] as const));
const triples: (readonly PositionName[])[] = [
  ["relative", "rope", "cope"],
  ["rope", "alibi", "cope"],
  ["absolute", "relative", "alibi"],
  ["sinusoidal", "rope", "cope"],
  ["relative", "alibi", "cope"],
];
const combined: Record<string, () => void> = {};
for (const list of [...pairs, ...triples, kinds]) {
  combined[`${list.join(" and ")}: gradients equal differences`] = () => {
    const { params, loss } = asked({ position: list });
    gradcheck(params, loss, { h: 3e-6 });
    heard(params);
  };
  combined[`${list.join(" and ")}: the order of the list changes no bit, and names no other parameters`] = () => {
    const one = asked({ position: list });
    const other = asked({ position: [...list].reverse() });
    assert.equal(
      leaves(other.params).map(([path]) => path),
      leaves(one.params).map(([path]) => path),
    );
    same(other.logits(), one.logits());
    for (const alone of list)
      assert.not.ok(
        asked({ position: list.filter(kind => kind !== alone) })
          .logits()
          .every((x, i) => Math.abs(x - one.logits()[i]!) < 1e-6),
        `${alone} did nothing`,
      );
  };
}
suite("positions together", {
  ...combined,
  "none in a list is none, and names twice or unknown are refused"() {
    same(asked({ position: ["none", "rope"] as never }).logits(), asked({ position: "rope" }).logits());
    same(asked({ position: [] }).logits(), asked({ position: "none" }).logits());
    for (const name of kinds)
      assert.match(
        thrown(RangeError, () => transformer({ ...small, position: [name, name] })),
        new RegExp(`^transformer: position names ${name} twice\\n`),
      );
    assert.match(
      thrown(RangeError, () => transformer({ ...small, position: ["rope", "rop"] as never })),
      /^transformer: position is rop\n {2}wants none, or a list of absolute, /,
    );
  },
});

const inAttention = kinds.filter(kind => kind !== "absolute" && kind !== "sinusoidal");
const lists: (readonly PositionName[])[] = [
  ...inAttention.flatMap((a, i) => inAttention.slice(i + 1).map(b => [a, b] as const)),
  ["relative", "rope", "cope"],
  ["rope", "alibi", "cope"],
  inAttention,
];
const fused: Record<string, () => void> = {};
for (const position of lists)
  for (const g of [1, 2, 4])
    fused[`${position.join(" and ")}, ${g} of 4 heads: what the small operations give, gradients too`] = () => {
      for (const gates of position.includes("cope") ? (["shared", "sep", "val"] as const) : (["shared"] as const))
        for (const rotated of position.includes("rope") && position.includes("cope") ? [false, true] : [false])
          for (const causal of [true, false]) {
            const results = [false, true].map(composed => {
              const tape = new Tape("f64");
              const draw = (shape: number[], seed: number): Tensor =>
                tape.param(
                  shape,
                  normal(
                    shape.reduce((a, n) => a * n, 1),
                    seed,
                  ),
                );
              const [t, s] = [7, 11];
              const [q, k, v, gateKeys] = [t, s, s, s].map((n, i) => draw([2, n, i ? g : 4, 6], i));
              const tables = { cope: draw([4, 6], 5), relative: draw([3, 6], 6) };
              const how: AttentionOptions = { position, tables, gateKeys, causal, cope: { gates, rotated }, composed };
              const y = attention(q!, k!, v!, how);
              tape.backward(y, normal(y.size, 7));
              return [y.values(), ...tape.params.map(p => p.gradient())].map(x => Float64Array.from(x));
            });
            results[0]!.forEach((values, i) =>
              close(values, results[1]![i]!, 1e-12, `${gates} ${rotated} ${causal} ${i}`, 0.1),
            );
          }
    };
suite("positions together in attention", fused);

// ------------------------------------------------------------------------------------------------- lengths
const long: Record<string, () => void> = {};
for (const position of kinds.filter(kind => kind !== "absolute"))
  long[`${position} reads sequences of 4 times the context with the same parameters`] = () => {
    const more: TransformerOptions = { position, cope: {}, relative: {} };
    const [short, far] = [9, 36].map(t => asked(more, t));
    assert.is(far!.model.config.context, 9);
    assert.is(far!.model.config.limit, Infinity);
    assert.equal(
      leaves(far!.params).map(([path, { shape }]) => [path, shape]),
      leaves(short!.params).map(([path, { shape }]) => [path, shape]),
    );
    gradcheck(far!.params, far!.loss, { h: 3e-6 });
    // What comes later changes nothing, so that the first 9 places are those of a short sequence.
    const tokens = rows(1, 36, 7, 2);
    const { tape, model, params } = far!;
    const of = (t: number): Float64Array =>
      tape.scope(() => Float64Array.from(model.logits(params, tape.integers([1, t], tokens[0]!.slice(0, t))).values()));
    close(of(36).subarray(0, 9 * 7), of(9), 1e-12);
  };
suite("the context", {
  ...long,
  "bounds absolute positions alone, which say so in their own name; alone, in a list, and in steps"() {
    for (const position of ["absolute", ["absolute", "cope", "rope"]] as const) {
      const { loss } = asked({ position }, 10);
      assert.match(
        thrown(RangeError, loss),
        /^absolute: 10 places are more than the 9 of the table\n {2}wants a larger/,
      );
      const { tape, model, params } = asked({ position }, 9);
      assert.is(model.config.limit, 9);
      tape.noGrad(() => {
        const start = model.start(params, 1, { cache: 20 });
        const { state } = model.step(params, tape.integers([1, 7], [1, 2, 3, 4, 5, 6, 0]), start);
        assert.match(
          thrown(RangeError, () => model.step(params, tape.integers([1, 3], [1, 2, 3]), state)),
          /^absolute: 10 places are more than the 9 of the table\n/,
        );
        model.step(params, tape.integers([1, 2], [1, 2]), state);
      });
    }
  },
});

// ------------------------------------------------------------------------------------------------- put together
const options: Record<string, TransformerOptions> = {
  plain: { position: "none" },
  "norms after, cope and rope": { norm: "post", position: ["cope", "rope"] },
  "swiglu, rms, no bias, two heads of keys": {
    activation: "swiglu",
    rms: true,
    bias: false,
    kvHeads: 2,
    position: ["relative", "alibi"],
  },
  "both ways": { causal: false, position: "alibi", eps: 1e-3 },
};
const together: Record<string, () => void> = {};
for (const [title, more] of Object.entries(options))
  together[`${title}: a loop over layers, and the parts of layers, have the bits of the model; gradients too`] = () => {
    const results = [0, 1, 2].map(way => {
      const { tape, model, params } = asked(more);
      const c = model.config;
      const tokens = tape.integers([2, 7], rows(2, 7, 7, 2).flat());
      const { causal } = c;
      const first = (x: Tensor, p: (typeof params.h)[number]): Tensor => {
        const n = (x: Tensor): Tensor => norm(x, p.ln_1, c);
        const y = attentionBlock(x, c.norm === "pre" ? n : x => x, p.attn, c, { causal });
        return c.norm === "pre" ? add(x, y) : n(add(x, y));
      };
      const second = (x: Tensor, p: (typeof params.h)[number]): Tensor => {
        const n = (x: Tensor): Tensor => norm(x, p.ln_2, c);
        const y = mlp(c.norm === "pre" ? n(x) : x, p.mlp, c.activation);
        return c.norm === "pre" ? add(x, y) : n(add(x, y));
      };
      const states = (): Tensor => {
        let x = model.embed(params, tokens);
        if (way === 0) return model.states(params, x);
        for (const p of params.h) x = way === 1 ? layer(x, p, c, { causal }).x : second(first(x, p), p);
        return params.ln_f ? norm(x, params.ln_f, c) : x;
      };
      const u = constant(tape, [2, 7, c.d], 8);
      const out = tape.scope(() => Float64Array.from(states().values()));
      tape.step(() => sum(mul(states(), u)));
      return [out, ...leaves(params).map(([, p]) => Float64Array.from(p.gradient()))];
    });
    for (const way of [1, 2]) results[way]!.forEach((got, i) => same(got, results[0]![i]!, `way ${way}, ${i}`));
  };
suite("layers put together", together);

// ------------------------------------------------------------------------------------------------- options
const shapes = (params: Tree): Record<string, string> =>
  Object.fromEntries(leaves(params).map(([path, { shape }]) => [path, shape.join(" ")]));
const optional: Record<string, () => void> = {};
const everywhere: PositionChoice[] = ["none", ...kinds, ["rope", "cope"]];
const choices: Record<string, TransformerOptions> = {
  "bias: false": { bias: false },
  "rms: true": { rms: true },
  "kvHeads: 1": { kvHeads: 1 },
  "kvHeads: 2": { kvHeads: 2 },
  "rms: true, bias: false, kvHeads: 2": { rms: true, bias: false, kvHeads: 2 },
};
for (const [title, more] of Object.entries(choices))
  for (const position of everywhere)
    optional[`${title}, ${String(position)}: gradients equal differences`] = () => {
      for (const gates of String(position).includes("cope") ? (["shared", "sep", "val"] as const) : [undefined]) {
        const { params, loss } = asked({ ...more, position, cope: { rows: 4, ...(gates && { gates }) } });
        gradcheck(params, loss, { h: 3e-6 });
        heard(params);
      }
    };

/** A model of 4 heads of keys whose weights are those of one with fewer, each repeated. */
function repeated(params: TransformerWeights, g: number, whole: Asked): void {
  const d = 16;
  const width = 4;
  for (const [path, p] of leaves(whole.params)) {
    const from = leaves(params).find(([name]) => name === path)![1];
    const row = path.endsWith("weight") ? d : 1;
    const to = p.values();
    if (p.size === from.size) to.set(from.values());
    else {
      const queries = path.includes("c_attn") ? d : 0;
      to.set(from.values().subarray(0, queries * row));
      for (let part = 0; part < (queries ? 2 : 1); part++)
        for (let head = 0; head < 4; head++) {
          const at = (queries + (part * g + Math.floor((head * g) / 4)) * width) * row;
          to.set(from.values().slice(at, at + width * row), (queries + (part * 4 + head) * width) * row);
        }
    }
  }
}
for (const g of [1, 2])
  for (const position of everywhere)
    optional[`kvHeads: ${g}, ${String(position)}: as many heads with repeated weights give the same`] = () => {
      for (const gates of String(position).includes("cope") ? (["shared", "sep", "val"] as const) : [undefined]) {
        const cope = { rows: 4, ...(gates && { gates }) };
        const few = asked({ position, kvHeads: g, cope });
        const all = asked({ position, cope });
        repeated(few.params, g, all);
        close(all.logits(), few.logits(), 1e-12);
        const [a, b] = [few, all].map(it => {
          it.tape.step(it.loss);
          return it.params.h[0]!.attn.c_attn.weight.gradient();
        });
        close(b!.slice(0, 256), a!.slice(0, 256), 1e-11); // queries
        // A head of keys hears from all that it serves.
        const keys = Float64Array.from({ length: g * 64 }, (_, i) => {
          const [head, j] = [Math.floor(i / 64), i % 64];
          let total = 0;
          for (let k = 0; k < 4 / g; k++) total += b![256 + ((head * 4) / g + k) * 64 + j]!;
          return total;
        });
        close(a!.slice(256, 256 + g * 64), keys, 1e-11);
      }
    };
suite("options of layers", {
  ...optional,
  "norm by the root of the mean square, or by mean and deviation"() {
    for (const rms of [true, false]) {
      const { tape, model, params } = asked({ rms, eps: 0.01 });
      const before: number[][] = [];
      const x = model.embed(params, tape.integers([1, 7], rows(1, 7, 7, 2)[0]!));
      const watch = (_: number, { states }: { states: Tensor }): void => void before.push(Array.from(states.values()));
      const got = model.states(params, x, { watch }).values();
      const { weight, bias } = params.ln_f!;
      for (let row = 0; row < 7; row++) {
        const state = before[2]!.slice(row * 16, (row + 1) * 16);
        const mean = rms ? 0 : state.reduce((a, b) => a + b, 0) / 16;
        const root = Math.sqrt(state.reduce((a, b) => a + (b - mean) ** 2, 0) / 16 + 0.01);
        const want = state.map((n, i) => ((n - mean) / root) * weight.values()[i]! + (bias?.values()[i] ?? 0));
        close(got.subarray(row * 16, (row + 1) * 16), want, 1e-12, `row ${row}`);
      }
    }
  },
  "name and shape parameters: no bias anywhere, no shift of norms, fewer rows of keys and values, gates of CoPE"() {
    const of = (more: TransformerOptions) => shapes(asked({ layers: 1, position: "cope", ...more }).params);
    const plain = of({});
    assert.equal(
      Object.keys(plain).filter(path => path.endsWith("bias")),
      [
        "h.0.ln_1.bias",
        "h.0.attn.c_attn.bias",
        "h.0.attn.c_proj.bias",
        "h.0.ln_2.bias",
        "h.0.mlp.c_fc.bias",
        "h.0.mlp.c_proj.bias",
        "ln_f.bias",
      ],
    );
    const without = Object.fromEntries(Object.entries(plain).filter(([path]) => !path.endsWith("bias")));
    assert.equal(of({ bias: false }), without);
    const unshifted = Object.fromEntries(Object.entries(plain).filter(([path]) => !/ln_\w\.bias$/.test(path)));
    assert.equal(of({ rms: true }), unshifted);
    for (const kvHeads of [1, 2]) {
      const n = String(16 + 8 * kvHeads);
      assert.equal(of({ kvHeads }), {
        ...plain,
        "h.0.attn.c_attn.weight": `${n} 16`,
        "h.0.attn.c_attn.bias": n,
      });
      const sep = of({ kvHeads, cope: { gates: "sep" } });
      assert.is(sep["h.0.attn.cope.gate.weight"], `${4 * kvHeads} 16`);
    }
    assert.is(of({ cope: {} })["h.0.attn.cope.weight"], `${small.context! + 1} 4`);
    const ofCope = (more: TransformerOptions): string[] =>
      Object.keys(of(more)).flatMap(path => path.split("h.0.attn.cope.").slice(1));
    for (const bias of [true, false]) {
      const keys = ["weight", "gate.weight", ...(bias ? ["gate.bias"] : [])];
      assert.equal(ofCope({ bias, cope: { gates: "sep" } }), keys);
      assert.equal(ofCope({ bias, cope: { gates: "token" } }), ["weight", "gate.weight"]);
      assert.equal(ofCope({ bias, cope: { gates: "token", bias: 0 } }), ["weight", "gate.weight", "bias"]);
    }
    assert.match(
      thrown(RangeError, () => asked({ kvHeads: 3 })),
      /^transformer: kvHeads is 3 of 4 heads\n {2}wants a divisor of heads/,
    );
  },
});

// ------------------------------------------------------------------------------------------------- watching
const watched: Record<string, () => void> = {};
const seen: Record<string, TransformerOptions> = {
  none: { position: "none" },
  relative: { position: "relative" },
  rope: { position: "rope" },
  alibi: { position: "alibi", causal: false },
  "cope, shared": { position: "cope" },
  "cope, sep": { position: "cope", cope: { rows: 4, gates: "sep" } },
  "cope, val": { position: "cope", cope: { rows: 4, gates: "val" } },
  "rope and cope, shared": { position: ["rope", "cope"] },
  "rope and cope, sep": { position: ["rope", "cope"], cope: { rows: 4, gates: "sep" } },
  "rope and cope, rotated, val": { position: ["rope", "cope"], cope: { rows: 4, gates: "val", rotated: true } },
  "two heads of keys, rope and cope, biased gates of tokens, a table a head": {
    position: ["rope", "cope"],
    kvHeads: 2,
    cope: { rows: 4, gates: "token", bias: 0.5, table: "head" },
  },
  "cope, sep, biased": { position: "cope", cope: { rows: 4, gates: "sep", bias: -0.5 } },
  "rope and cope, rotated, scaled as released": {
    position: ["rope", "cope"],
    cope: { rows: 4, rotated: true, scaling: "ram" },
  },
  "two heads of keys, cope": { position: "cope", kvHeads: 2 },
  "one head of keys, rope and cope, sep": {
    position: ["rope", "cope"],
    kvHeads: 1,
    cope: { rows: 4, gates: "sep" },
  },
};
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
for (const [title, more] of Object.entries(seen)) {
  watched[`${title}: weights are those of attend, gates and positions add up, and no bit changes`] = () => {
    const { tape, model, params } = asked(more);
    const c = model.config;
    const cope = { gates: "shared" as const, rotated: false, ...more.cope };
    const p = params.h[0]!.attn;
    const x = constant(tape, [2, 7, c.d], 3);
    let inside: Inside | undefined;
    const run = (watch?: (inside: Inside) => void): Tensor =>
      attentionBlock(x, x => x, p, c, { causal: c.causal, watch });
    same(run(it => (inside = it)).values(), run().values());
    const width = 4;
    const y = linear(x, p.c_attn.weight, p.c_attn.bias);
    const heads = (x: Tensor): Tensor => reshape(x, [2, 7, x.shape[2]! / width, width]);
    const ends = [0, 16, 16 + 4 * c.kvHeads, 16 + 8 * c.kvHeads];
    const [q, k, v] = [0, 1, 2].map(i => heads(slice(y, ends[i]!, ends[i + 1]!)));
    const gate = p.cope?.gate;
    const read = gate && linear(x, gate.weight, gate.bias);
    const gateKeys = read && (cope.gates === "token" ? read : heads(read));
    const want = attend(q!, k!, v!, {
      position: more.position!,
      tables: { cope: p.cope, relative: p.rel?.weight },
      cope,
      gateKeys,
      causal: c.causal,
    });
    const weights = inside!.weights();
    assert.equal(weights.shape, [2, 4, 7, 7]);
    close(weights.values(), want.values(), 1e-14);
    for (let row = 0; row < 2 * 4 * 7; row++) {
      const total = Array.from(weights.values().subarray(row * 7, (row + 1) * 7)).reduce((a, b) => a + b, 0);
      assert.ok(Math.abs(total - 1) < 1e-14, `row ${row} adds up to ${total}`);
    }
    assert.equal(inside!.queries.shape, [2, 7, 4, 4]);
    for (const x of [inside!.keys, inside!.values]) assert.equal(x.shape, [2, 7, c.kvHeads, 4]);
    same(inside!.values.values(), v!.values());
    const turned = c.positions.some(p => p.turn);
    if (!turned) same(inside!.queries.values(), q!.values());
    if (!turned) same(inside!.keys.values(), k!.values());
    if (turned) assert.ok(inside!.keys.values().some((x, i) => Math.abs(x - k!.values()[i]!) > 1e-3));
    const gates = inside!.gates();
    assert.is(gates !== undefined, p.cope !== undefined);
    if (!gates) return;
    // By hand: gate logits of what the gates look at, running sums from the key to the query.
    const rotated = turned && cope.rotated;
    const of = { shared: inside!.keys, sep: gateKeys, token: gateKeys, val: v }[cope.gates]!;
    if (rotated && cope.gates !== "shared") return;
    const [gateQ, gateK] = turned && !rotated ? [q!, cope.gates === "shared" ? k! : of] : [inside!.queries, of];
    const [a, b] = [gateQ.values(), gateK.values()];
    const g = gateK.shape[2]!;
    for (let n = 0; n < 2 * 4 * 7 * 7; n++) {
      const [j, i, h, s] = [n % 7, Math.floor(n / 7) % 7, Math.floor(n / 49) % 4, Math.floor(n / 196)];
      const key = (s * 7 + j) * g + Math.floor((h * g) / 4);
      let logit = p.cope!.bias?.values()[h] ?? 0;
      if (cope.gates === "token") logit += b[key]!;
      else for (let m = 0; m < 4; m++) logit += (a[((s * 7 + i) * 4 + h) * 4 + m]! * b[key * 4 + m]!) / 2;
      const gate = j <= i ? sigmoid(logit) : 0;
      assert.ok(Math.abs(gates.gates.values()[n]! - gate) < 1e-12, `gate ${n}`);
      let count = 0;
      for (let m = j; m < 7; m++) count += gates.gates.values()[n - j + m]!;
      assert.ok(Math.abs(gates.positions.values()[n]! - count) < 1e-12, `position ${n}`);
    }
  };
  watched[`${title}: in a step as in a run through a cache, the model shows every layer and changes no bit`] = () => {
    const { tape, model, params, loss } = asked(more);
    const tokens = tape.integers([2, 7], rows(2, 7, 7, 2).flat());
    const calls: number[] = [];
    const all: Float64Array[][] = [];
    const states = (watching: boolean): Tensor =>
      model.states(params, model.embed(params, tokens), {
        ...(watching && {
          watch(i, { states, attention }) {
            calls.push(i);
            assert.is(attention === undefined, i === 0);
            if (attention) all.push([states.values(), attention.weights().values()].map(x => Float64Array.from(x)));
          },
        }),
      });
    const u = constant(tape, [2, 7, 16], 4);
    const grads = [true, false].map(watching => {
      tape.step(() => sum(mul(states(watching), u)));
      return leaves(params).map(([, p]) => Float64Array.from(p.gradient()));
    });
    assert.equal(calls, [0, 1, 2]);
    grads[0]!.forEach((g, i) => same(g, grads[1]![i]!, `gradient ${i}`));
    tape.noGrad(() => {
      if (model.config.causal === false) return;
      const before = model.step(
        params,
        tape.integers(
          [2, 6],
          rows(2, 7, 7, 2).flatMap(row => row.slice(0, 6)),
        ),
        model.start(params, 2),
      );
      const last = tape.integers(
        [2, 1],
        rows(2, 7, 7, 2).map(row => row[6]!),
      );
      let layers = 0;
      model.step(params, last, before.state, {
        watch(i, { attention }) {
          if (!attention) return;
          layers++;
          const [weights, gates] = [attention.weights(), attention.gates()];
          assert.equal(weights.shape, [2, 4, 1, 7]);
          const want = all[i - 1]![1]!;
          for (let h = 0; h < 8; h++)
            close(weights.values().subarray(h * 7, (h + 1) * 7), want.subarray(h * 49 + 42, (h + 1) * 49), 1e-12);
          if (gates) assert.equal(gates.positions.shape, [2, 4, 1, 7]);
        },
      });
      assert.is(layers, 2);
    });
    assert.ok(Number.isFinite(tape.step(loss)));
  };
}
suite("watching a layer", watched);
