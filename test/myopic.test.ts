// Myopic training. Differences cannot see a stopped gradient, so the library is held against the definition: a copy of
// the parameters for each place, G[i][j] the gradient of the loss at i by the copy at j, of which strict myopia keeps
// the sum of G[i][i] (Wu et al. 2024). The model below is written reader by reader from small operations and shares no
// attention code.
import * as assert from "uvu/assert";
import {
  Tape,
  add,
  adamw,
  concat,
  crossEntropy,
  cumsum,
  embedding,
  fade,
  gradcheck,
  interpolate,
  layerNorm,
  leaves,
  linear,
  mix,
  mlp,
  random,
  reshape,
  rmt,
  rope,
  rotary,
  scale,
  scores,
  sigmoid,
  slice,
  softmax,
  stopGradient,
  tableScores,
  transformer,
  type BlockWeights,
  type Config,
  type Cut,
  type Dtype,
  type Myopia,
  type RmtOptions,
  type Tensor,
  type TransformerOptions,
  type TransformerWeights,
  type Tree,
  type Weights,
} from "farsight";
import { close, suite } from "./check.ts";
import { same, stir } from "./stirred.ts";

const small: TransformerOptions = { vocab: 8, d: 8, heads: 2, layers: 2, inner: 12, context: 9, cope: { rows: 4 } };
const T = 5;
const TOKENS = [3, 1, 4, 1, 6];
const TARGETS = [1, 4, 2, 6, 0];
const cuts: readonly Cut[] = ["kv", "post_ln", "pre_ln"];

const grads = (params: Tree): Record<string, Float64Array> =>
  Object.fromEntries(leaves(params).map(([path, p]) => [path, Float64Array.from(p.gradient())]));
const zero = (x: ArrayLike<number>): boolean => Array.from(x).every(v => v === 0);

/** Loss and gradients of the library's model; the loss is the mean over the places that have a target. */
function run(
  more: TransformerOptions,
  myopic: Myopia | undefined,
  targets = TARGETS,
  tokens = TOKENS,
  dtype: Dtype = "f64",
) {
  const model = transformer({ ...small, ...more, myopic });
  const tape = new Tape(dtype);
  const params = stir(model.params(tape));
  const t = tokens.length;
  const loss = tape.step(() => model.loss(params, tape.integers([1, t], tokens), tape.integers([1, t], targets)));
  return { loss, grads: grads(params), params };
}

const norm = (c: Config, x: Tensor, p: Weights): Tensor => layerNorm(x, p.weight, p.bias, { eps: c.eps });
/** x, whose gradient is weighed by m. */
const weighed = (x: Tensor, m: number): Tensor =>
  m === 1 ? x : m === 0 ? stopGradient(x) : add(scale(x, { by: m }), scale(stopGradient(x), { by: 1 - m }));

/** Queries (0), keys (1), values (2) or CoPE's own gate keys (3) of one place; a logit is a key one number wide. */
function part({ d, heads: h }: Config, x: Tensor, { attn: { c_attn, cope } }: BlockWeights, n: number): Tensor {
  const y =
    n === 3
      ? linear(x, cope!.gate!.weight, cope!.gate!.bias)
      : slice(linear(x, c_attn.weight, c_attn.bias), n * d, n * d + d);
  return reshape(y, [1, 1, h, y.shape[2]! / h]);
}

/** Queries or keys of one place, turned where positions are rotary. */
function turned({ d, heads: h, position }: Config, x: Tensor, place: number): Tensor {
  if (position !== "rope") return x;
  const { cos, sin } = rotary(x.tape, 1, d / h, { start: place });
  return rope(x, cos, sin);
}

/** The state of place i before the first layer. */
function embedded(tape: Tape, { d, position }: Config, { wte, wpe }: TransformerWeights, i: number): Tensor {
  const word = embedding(wte.weight, tape.integers([1, 1], [TOKENS[i]!]));
  return position === "absolute" ? add(word, reshape(slice(wpe!.weight, i, i + 1, { axis: 0 }), [1, 1, d])) : word;
}

/**
 * What attention gives reader `q`, a query of place i, of which `read(1)`, `read(2)` and `read(3)` are the keys, values
 * and gate keys that it may see.
 */
function attended(c: Config, q: Tensor, i: number, { attn }: BlockWeights, read: (n: number) => Tensor): Tensor {
  const scaled = { scale: 1 / Math.sqrt(c.d / c.heads) };
  let logits = scores(turned(c, q, i), read(1), scaled);
  if (c.position === "cope") {
    const { gate, bias, weight } = attn.cope!;
    let u = gate ? (gate.weight.shape[0] === c.heads ? asked(q, read(3)) : scores(q, read(3), scaled)) : logits;
    const heads = u.tape.integers(
      [u.size],
      Array.from({ length: u.size }, (_, n) => Math.floor((n * c.heads) / u.size)),
    );
    if (bias) u = add(u, reshape(embedding(reshape(bias, [c.heads, 1]), heads), u.shape));
    logits = add(logits, interpolate(tables(q, weight!), cumsum(sigmoid(u), { reverse: true })));
  }
  return linear(reshape(mix(softmax(logits), read(2)), [1, 1, c.d]), attn.c_proj.weight, attn.c_proj.bias);
}

/** Logits of tokens as one query sees them: 1 s h 1 -> 1 h 1 s. */
const asked = (q: Tensor, logits: Tensor): Tensor => {
  const h = q.shape[2]!;
  return scores(q.tape.tensor([1, 1, h, 1], new Array<number>(h).fill(1)), logits);
};
/** A query against a table p d, or against its head's of h p d. */
function tables(q: Tensor, table: Tensor): Tensor {
  const [h, p, d] = table.shape as [number, number, number];
  if (d === undefined) return tableScores(q, table);
  const head = (x: Tensor, axis: number, i: number): Tensor => slice(x, i, i + 1, { axis });
  return concat(
    Array.from({ length: h }, (_, i) => tableScores(head(q, 2, i), reshape(head(table, 0, i), [p, d]))),
    { axis: 1 },
  );
}

/** The state behind a layer of a place whose state is x and whose attention gives y. */
function behind(c: Config, x: Tensor, y: Tensor, p: BlockWeights): Tensor {
  if (c.norm === "post") {
    const z = norm(c, add(x, y), p.ln_1);
    return norm(c, add(z, mlp(z, p.mlp, c.activation)), p.ln_2);
  }
  const z = add(x, y);
  return add(z, mlp(norm(c, z, p.ln_2), p.mlp, c.activation));
}

/**
 * The losses at each place. `copies[i]` computes place i; `edge(i, j)` weighs what reader i sends to the state of place
 * j.
 */
function literal(
  tape: Tape,
  more: TransformerOptions,
  cut: Cut,
  copies: readonly TransformerWeights[],
  edge: (i: number, j: number) => number,
  last = T - 1,
): Tensor[] {
  const c = transformer({ ...small, ...more }).config;
  let x = Array.from({ length: last + 1 }, (_, i) => embedded(tape, c, copies[i]!, i));
  for (let l = 0; l < c.layers; l++) {
    const blocks = copies.map(copy => copy.h[l]!);
    const state = x.map((xj, j) => (c.norm === "pre" ? norm(c, xj, blocks[j]!.ln_1) : xj));
    /** Keys (1), values (2) or gate keys (3) of place j as reader i sees them. */
    const seen = (i: number, j: number, n: number): Tensor => {
      const p = blocks[i]!;
      const m = i === j ? 1 : edge(i, j);
      const turn = (y: Tensor): Tensor => (n === 1 ? turned(c, y, j) : y);
      if (cut === "kv") return weighed(turn(part(c, state[j]!, blocks[j]!, n)), m);
      return turn(part(c, cut === "post_ln" ? weighed(state[j]!, m) : norm(c, weighed(x[j]!, m), p.ln_1), p, n));
    };
    x = x.map((xi, i) => {
      const p = blocks[i]!;
      const read = (n: number): Tensor =>
        concat(
          x.slice(0, i + 1).map((_, j) => seen(i, j, n)),
          { axis: 1 },
        );
      return behind(c, xi, attended(c, part(c, state[i]!, p, 0), i, p, read), p);
    });
  }
  return x.map((xi, i) => {
    const p = copies[i]!;
    const y = p.ln_f ? norm(c, xi, p.ln_f) : xi;
    return crossEntropy(linear(y, p.lm_head!.weight!), tape.integers([1, 1], [TARGETS[i]!]));
  });
}
function copiesOf(more: TransformerOptions): { tape: Tape; copies: TransformerWeights[] } {
  const tape = new Tape("f64");
  const model = transformer({ ...small, ...more });
  return { tape, copies: Array.from({ length: T }, () => stir(model.params(tape))) };
}
/** The mean over i of Σ_j weight(i, j) G[i][j], by parameter. */
function byCopies(
  more: TransformerOptions,
  cut: Cut,
  weight: (i: number, j: number) => number,
): Record<string, Float64Array> {
  const { tape, copies } = copiesOf(more);
  const total: Record<string, Float64Array> = {};
  for (let i = 0; i < T; i++) {
    tape.step(() => literal(tape, more, cut, copies, () => 1)[i]!);
    copies.forEach((copy, j) => {
      for (const [path, p] of leaves(copy)) {
        const sum = (total[path] ??= new Float64Array(p.size));
        p.gradient().forEach((g, n) => {
          sum[n]! += (weight(i, j) * g) / T;
        });
      }
    });
  }
  return total;
}
function agree(got: Record<string, Float64Array>, want: Record<string, Float64Array>): void {
  assert.equal(Object.keys(got), Object.keys(want));
  for (const path in want) close(got[path]!, want[path]!, 1e-10, path);
}

const variants: Record<string, TransformerOptions> = {
  absolute: { position: "absolute" },
  rope: { position: "rope" },
  cope: { position: "cope" },
  "cope with gate keys": { position: "cope", cope: { rows: 4, gates: "sep" } },
  "cope, gates of tokens with a bias": { position: "cope", cope: { rows: 4, gates: "token", bias: 0.3 } },
  "cope, a bias and a table a head": { position: "cope", cope: { rows: 4, table: "head", bias: 0.3 } },
  "cope, norms after": { position: "cope", norm: "post", activation: "swiglu" },
};
const definition: Record<string, () => void> = {};
for (const [title, more] of Object.entries(variants))
  for (const cut of cuts)
    if (cut !== "pre_ln" || more.norm !== "post") {
      definition[`${title}, ${cut}: with every edge whole, copies give the full gradient`] = () =>
        agree(
          run(more, undefined).grads,
          byCopies(more, cut, () => 1),
        );
      definition[`${title}, ${cut}: diagonal myopia is the sum of each place's own gradient`] = () =>
        agree(
          run(more, { cut }).grads,
          byCopies(more, cut, (i, j) => (i === j ? 1 : 0)),
        );
      definition[`${title}, ${cut}: a discount weighs copy j's part in loss i by gamma to the i - j`] = () =>
        agree(
          run(more, { cut, mode: "discount", gamma: 0.6 }).grads,
          byCopies(more, cut, (i, j) => 0.6 ** (i - j)),
        );
      definition[`${title}, ${cut}: in one layer a window keeps the copies within it`] = () => {
        const one = { ...more, layers: 1 };
        agree(
          run(one, { cut, mode: "window", horizon: 2 }).grads,
          byCopies(one, cut, (i, j) => (i - j <= 2 ? 1 : 0)),
        );
      };
      definition[`${title}, ${cut}: in two layers a window stops the states beyond it, layer by layer`] = () => {
        const {
          tape,
          copies: [p],
        } = copiesOf(more);
        const edge = (i: number, j: number): number => (i - j <= 1 ? 1 : 0);
        tape.step(() =>
          scale(
            literal(tape, more, cut, new Array<TransformerWeights>(T).fill(p!), edge).reduce((a, x) => add(a, x)),
            { by: 1 / T },
          ),
        );
        agree(run(more, { cut, mode: "window", horizon: 1 }).grads, grads(p!));
      };
    }
for (const cut of cuts)
  definition[
    `cope, ${cut}: diagonal myopia equals differences of each loss by the copy at its place, all others constant`
  ] = () => {
    const more = variants.cope!;
    const got = run(more, { cut }).grads;
    const { tape, copies } = copiesOf(more);
    const h = 1e-5;
    for (const path in got) {
      const rng = random(7).fork(path);
      const v = Float64Array.from(got[path]!, () => rng.normal());
      let numeric = 0;
      copies.forEach((copy, i) => {
        const p = new Map(leaves(copy)).get(path)!;
        const at = p.values().slice();
        const loss = (by: number): number => {
          p.values().set(at.map((x, n) => x + by * v[n]!));
          return tape.scope(() => tape.noGrad(() => literal(tape, more, cut, copies, () => 1, i)[i]!.item()));
        };
        numeric += (loss(h) - loss(-h)) / (2 * h) / T;
        p.values().set(at);
      });
      close([got[path]!.reduce((s, g, n) => s + g * v[n]!, 0)], [numeric], 1e-7, path);
    }
  };
suite("myopic training by its definition", definition);

// ------------------------------------------------------------------------------------------------- forward, and exact
// zeros
const modes: Record<string, Myopia> = {
  diagonal: {},
  window: { mode: "window", horizon: 2 },
  discount: { mode: "discount", gamma: 0.7 },
};
/** RMT over three segments, the last one short; tokens 0 to 10 unless told, so that each has a row of its own. */
function recur(how: Partial<RmtOptions>, more: TransformerOptions, dtype: Dtype = "f64", only?: number) {
  const model = rmt(transformer({ ...small, vocab: 11, position: "cope", ...more }), { memory: 2, segment: 4, ...how });
  const tape = new Tape(dtype);
  const params = stir(model.params(tape));
  const tokens = tape.integers(
    [1, 11],
    Array.from({ length: 11 }, (_, i) => i),
  );
  const targets = tape.integers(
    [1, 11],
    Array.from({ length: 11 }, (_, i) => (only === undefined || only === i ? (i * 7 + 3) % 11 : -100)),
  );
  return { tape, params, loss: () => model.loss(params, tokens, targets) };
}
const facts: Record<string, () => void> = {};
for (const [name, mode] of Object.entries(modes))
  for (const cut of cuts)
    facts[`${name}, ${cut}: the loss has the full model's bits`] = () => {
      for (const dtype of ["f32", "f64"] as const)
        for (const position of ["absolute", "cope", ["cope", "rope"]] as const) {
          const [a, b] = [{ ...mode, cut }, undefined].map(
            myopic => run({ position }, myopic, TARGETS, TOKENS, dtype).loss,
          );
          assert.is(a, b);
          for (const replay of [true, false]) {
            const [c, d] = [{ ...mode, cut }, undefined].map(myopic => {
              const { tape, loss } = recur({ replay }, { myopic, position }, dtype);
              return tape.step(loss);
            });
            assert.is(c, d, `rmt, replay ${replay}`);
          }
        }
    };
for (const cut of cuts) {
  /** Which rows of a table got any gradient. */
  const rows = (g: Float64Array): number[] =>
    Array.from({ length: g.length / 8 }, (_, r) => r).filter(r => !zero(g.subarray(r * 8, r * 8 + 8)));
  const late = (myopic: Myopia | undefined) =>
    run({}, myopic, [-100, -100, -100, -100, -100, 2], [0, 1, 2, 3, 4, 5]).grads;
  facts[`${cut}: a loss at the last place gives the embeddings and places before it exactly nothing`] = () => {
    const g = late({ cut });
    assert.equal(rows(g["wte.weight"]!), [5]);
    assert.equal(rows(g["wpe.weight"]!), [5]);
    assert.equal(rows(late(undefined)["wte.weight"]!), [0, 1, 2, 3, 4, 5], "and everything when it is not myopic");
  };
  facts[`${cut}: a window of 1 reaches one place back for each of two layers`] = () =>
    assert.equal(rows(late({ cut, mode: "window", horizon: 1 })["wte.weight"]!), [3, 4, 5]);
  facts[`${cut}: gamma 0 and a window of 0 have the bits of the diagonal`] = () => {
    const want = run({ position: "cope" }, { cut }).grads;
    for (const mode of [
      { mode: "discount", gamma: 0 },
      { mode: "window", horizon: 0 },
    ] as const) {
      const got = run({ position: "cope" }, { cut, ...mode }).grads;
      for (const path in want) same(got[path]!, want[path]!, path);
    }
  };
  facts[`${cut}: gamma 1 and a window over everything are no myopia`] = () => {
    const want = run({ position: "cope" }, undefined).grads;
    for (const mode of [
      { mode: "discount", gamma: 1 },
      { mode: "window", horizon: T },
    ] as const) {
      const got = run({ position: "cope" }, { cut, ...mode }).grads;
      for (const path in want) close(got[path]!, want[path]!, 1e-12, path);
    }
  };
  facts[`${cut}: a discount weighs each token's embedding by gamma to the steps before the loss, across segments too`] =
    () => {
      const last = (myopic: Myopia | undefined): Float64Array => {
        const { tape, params, loss } = recur({}, { myopic }, "f64", 10);
        tape.step(loss);
        return Float64Array.from(params.wte.weight.gradient());
      };
      close(
        last({ cut, mode: "discount", gamma: 0.8 }),
        last(undefined).map((g, n) => g * 0.8 ** (10 - Math.floor(n / 8))),
        1e-12,
      );
    };
  facts[`${cut}: strict myopia gives the memory of RMT exactly nothing; exempt memory learns`] = () => {
    for (const replay of [true, false])
      for (const exempt of ["none", "source", "touch"] as const) {
        const { tape, params, loss } = recur({ exempt, replay }, { myopic: { cut } });
        tape.step(loss);
        assert.is(zero(params.memory.gradient()), exempt === "none", exempt);
      }
  };
  facts[
    `${cut}: from a loss in the third segment only exempt memory leads back, from its own place or to every token`
  ] = () => {
    const reached = (exempt: "none" | "source" | "touch", myopic: Myopia | undefined = { cut }): number[] => {
      const { tape, params, loss } = recur({ exempt }, { myopic }, "f64", 10);
      tape.step(loss);
      return rows(Float64Array.from(params.wte.weight.gradient()));
    };
    assert.equal(reached("none"), [10]);
    assert.equal(reached("source"), [3, 7, 10], "what a segment writes stands at its last token's time");
    assert.equal(reached("touch"), [0, 1, 2, 3, 4, 5, 6, 7, 10], "tokens of the loss's own segment stay cut");
    assert.equal(reached("none", { cut, mode: "discount", gamma: 0.5 }).length, 11);
  };
}
facts["fade hands on the bits of its input, and its gradient times a number"] = () => {
  const tape = new Tape("f64");
  const x = tape.param([3], [-0, 0.1, 1e300]);
  const y = fade(x, { by: 0.3 });
  same(y.values(), [-0, 0.1, 1e300]);
  tape.backward(y, [1, 2, -3]);
  close(x.gradient(), [0.3, 0.6, -0.9], 1e-15);
};
suite("myopic training: forward, and exact zeros", facts);

// ------------------------------------------------------------------------------------------------- all three at once
const all = { position: "cope", cope: { rows: 4, gates: "sep" }, dropout: 0.1 } as const;
suite("a myopic CoPE transformer inside RMT", {
  "over three segments its loss falls by half in 30 steps"() {
    const { tape, params, loss } = recur({ exempt: "source" }, { ...all, myopic: {} }, "f32");
    const optimizer = adamw(params, { lr: 0.02 });
    const values: number[] = [];
    for (let i = 0; i < 30; i++) {
      values.push(tape.step(loss));
      optimizer.step();
    }
    assert.ok(values[29]! < values[0]! / 2, `${values[0]} -> ${values[29]}`);
  },
  "replaying gives the bits of keeping"() {
    for (const exempt of ["none", "source", "touch"] as const)
      for (const mode of Object.values(modes))
        for (const cut of cuts) {
          const [a, b] = [true, false].map(replay => {
            const { tape, params, loss } = recur({ exempt, replay }, { ...all, myopic: { ...mode, cut } });
            return { value: tape.step(loss), grads: grads(params) };
          });
          assert.is(a!.value, b!.value);
          for (const path in a!.grads) same(a!.grads[path]!, b!.grads[path]!, `${exempt} ${cut} ${path}`);
        }
  },
  "without myopia its gradients equal differences, replayed and kept"() {
    for (const replay of [true, false]) {
      const { params, loss } = recur({ replay, exempt: "source" }, all);
      gradcheck(params, loss);
    }
  },
});
