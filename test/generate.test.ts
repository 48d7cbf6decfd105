// Generating: a batch against one prompt at a time, cached steps against forward passes, to the bit, for every kind of
// position; how tokens are chosen; memory; errors.
import * as assert from "uvu/assert";
import {
  Tape,
  generate,
  kinds,
  leaves,
  linear,
  random,
  reshape,
  scores,
  slice,
  transformer,
  type GenerateOptions,
  type Tensor,
  type Transformer,
  type TransformerOptions,
  type TransformerWeights,
} from "farsight";
import { suite, thrown } from "./check.ts";

type Dtype = "f32" | "f64";
type Cope = NonNullable<TransformerOptions["cope"]>;

/** CoPE's and relative tables are shorter than the texts: some positions are capped. */
const small: TransformerOptions = {
  ...{ vocab: 13, d: 16, heads: 4, layers: 2, inner: 20, context: 24 },
  ...{ cope: { rows: 5 }, relative: { rows: 4 } },
};
const gates = ["shared", "sep", "val"] as const;
const cope = (more: Cope): Cope => ({ rows: 5, ...more });
/** Every kind, every way of CoPE, and kinds together. */
const models: Record<string, TransformerOptions> = {
  "no positions": { position: "none" },
  ...Object.fromEntries(kinds.map(position => [position, { position }])),
  ...Object.fromEntries(gates.map(g => [`cope, ${g} gates`, { position: "cope", cope: cope({ gates: g }) }])),
  ...Object.fromEntries(
    gates.flatMap(g =>
      [false, true].map(rotated => [
        `cope, ${g} gates, and rope${rotated ? ", turned" : ""}`,
        { position: ["cope", "rope"], cope: cope({ gates: g, rotated }) },
      ]),
    ),
  ),
  "cope as released, absolute and alibi": { position: ["absolute", "alibi", "cope"], cope: cope({ scaling: "ram" }) },
  "relative and interleaved rope": { position: ["relative", "rope"], rope: { interleaved: true } },
  "all kinds together": { position: kinds },
  "norms after, RMS, no biases, swiglu": {
    position: "rope",
    norm: "post",
    rms: true,
    bias: false,
    activation: "swiglu",
  },
  "two heads of keys": { position: ["cope", "rope", "relative"], kvHeads: 2, tied: true },
};

/** A model, and parameters of which none is 0. */
function made(more: TransformerOptions, dtype: Dtype = "f32"): { model: Transformer; params: TransformerWeights } {
  const model = transformer({ ...small, ...more });
  const params = model.params(new Tape(dtype), { seed: 3, frozen: true });
  for (const [path, p] of leaves(params)) {
    const rng = random(4).fork(path);
    p.values().set(p.values().map(x => x + 0.5 * rng.normal()));
  }
  return { model, params };
}
/** The same model, of which `seen` gets the logits of each run, sequence by sequence. */
function spied(model: Transformer, seen: (rows: number[][]) => void): Transformer {
  const head = (params: TransformerWeights, x: Tensor): Tensor => {
    const logits = model.head(params, x);
    const [b, t, v] = logits.shape as [number, number, number];
    assert.is(t, 1, "logits are computed of last places alone");
    const values = Array.from(logits.values());
    seen(Array.from({ length: b }, (_, i) => values.slice(i * v, (i + 1) * v)));
    return logits;
  };
  return { ...model, head };
}
/** What all steps gave, and what came back at the end. */
function all(run: Generator<(number | undefined)[], number[][], void>) {
  const steps: (number | undefined)[][] = [];
  for (;;) {
    const { done, value } = run.next();
    if (done) return { steps, texts: value };
    steps.push(value);
  }
}
/** Texts, and the logits at each step of each prompt. */
function traced(
  { model, params }: ReturnType<typeof made>,
  prompts: readonly number[][],
  options: GenerateOptions,
): { texts: number[][]; logits: number[][][] } {
  const logits: number[][][] = prompts.map(() => []);
  const watched = spied(model, rows => rows.forEach((row, i) => logits[i]!.push(row)));
  return { texts: all(generate(watched, params, prompts, options)).texts, logits };
}

const prompts = [[5], [1, 2, 3, 4, 5, 6, 7], [12, 0, 7, 7], [3, 1, 4, 1, 5]];
const steps = 9;

const batches: Record<string, () => void> = {};
const passes: Record<string, () => void> = {};
for (const [title, more] of Object.entries(models))
  for (const dtype of ["f32", "f64"] as const) {
    batches[`${title}, ${dtype}: a batch gives the bits of one prompt at a time`] = () => {
      const one = made(more, dtype);
      const seeds = prompts.map((_, i) => random(7).fork(i).seed);
      const together = traced(one, prompts, { steps, temperature: 1, seed: 7 });
      prompts.forEach((prompt, i) => {
        const alone = traced(one, [prompt], { steps, temperature: 1, seed: [seeds[i]!] });
        assert.equal(alone.logits[0], together.logits[i], `logits of prompt ${i}`);
        assert.equal(alone.texts[0], together.texts[i], `text of prompt ${i}`);
      });
    };
    passes[`${title}, ${dtype}: cached steps have the bits of forward passes`] = () => {
      const one = made(more, dtype);
      const { model, params } = one;
      const { tape } = params.wte.weight;
      const { texts, logits } = traced(one, prompts, { steps, temperature: 1 });
      const rows = (x: Tensor): number[][] => {
        const v = x.shape[2]!;
        const values = Array.from(x.values());
        return Array.from({ length: x.shape[1]! }, (_, j) => values.slice(j * v, (j + 1) * v));
      };
      texts.forEach((text, i) => {
        const first = prompts[i]!.length - 1;
        const input = (n: number): Tensor => tape.integers([1, n], text.slice(0, n));
        for (let n = first + 1; n < text.length; n++)
          tape.scope(() =>
            tape.noGrad(() => {
              const { states } = model.step(params, input(n), model.start(params, 1, { cache: n }));
              const last = rows(model.head(params, states))[n - 1];
              assert.equal(logits[i]![n - 1 - first], last, `prompt ${i}, through a cache, at length ${n}`);
            }),
          );
        const even = text.length - (text.length % 2); // the last row of an odd length adds up in another order
        tape.scope(() => {
          const plain = rows(tape.noGrad(() => model.logits(params, input(even)))).slice(first);
          assert.ok(plain.length >= steps - 1);
          plain.slice(0, steps).forEach((row, n) => assert.equal(logits[i]![n], row, `prompt ${i}, plain, step ${n}`));
        });
      });
    };
  }
suite("generate: prompts of different lengths", batches);
suite("generate: cached steps", passes);

const products: Record<string, () => void> = {};
for (const dtype of ["f32", "f64"] as const)
  for (const scale of [1, 0.3])
    products[`${dtype}, times ${scale}: a row or two have the bits of the same rows among more`] = () => {
      const tape = new Tape(dtype);
      const rng = random(2);
      const normal = (...shape: number[]): Tensor => {
        const x = tape.tensor(shape);
        x.values().set(x.values().map(() => rng.normal()));
        return x;
      };
      const product = (x: Tensor, w: Tensor, b: Tensor): number[] => {
        const [t, k] = x.shape as [number, number];
        const n = w.shape[0]!;
        if (scale === 1) return Array.from(linear(x, w, b).values());
        return Array.from(scores(reshape(x, [1, t, 1, k]), reshape(w, [1, n, 1, k]), { scale }).values());
      };
      for (const k of [2, 8, 384, 400, 399, 1024])
        for (const n of [1, 5, 16, 37, 64]) {
          const [x, w, b] = [normal(7, k), normal(n, k), normal(n)];
          const want = product(x, w, b);
          for (const m of [1, 2, 3]) assert.equal(product(slice(x, 0, m, { axis: 0 }), w, b), want.slice(0, m * n));
        }
    };
suite("generate: products of few rows", products);

/** A model whose logits are these at each place, whatever comes in. */
function giving(logits: readonly number[]): { model: Transformer; params: TransformerWeights } {
  const { model, params } = made({ vocab: logits.length, headBias: true }, "f64");
  params.lm_head!.weight!.values().fill(0);
  params.lm_head!.bias!.values().set(logits);
  return { model, params };
}
/** How often each token comes. */
function counted(logits: readonly number[], options: GenerateOptions, n = 4000): number[] {
  const { model, params } = giving(logits);
  const many = Array.from({ length: n / 20 }, () => [0]);
  const counts = logits.map(() => 0);
  for (const tokens of generate(model, params, many, { steps: 20, ...options }))
    for (const token of tokens) counts[token!]!++;
  return counts;
}
const within = (counts: readonly number[], want: readonly number[]): void =>
  want.forEach((p, i) => {
    const n = counts.reduce((a, b) => a + b);
    const spread = 4 * Math.sqrt(n * p * (1 - p));
    assert.ok(Math.abs(counts[i]! - n * p) <= spread, `token ${i}: ${counts[i]} of ${n}, and ${n * p} was due`);
  });
const thirds = [Math.log(0.1), Math.log(0.4), Math.log(0.3), Math.log(0.2)];

suite("generate: the choice", {
  "greedy takes the likeliest token, of several the lowest"() {
    const { model, params } = giving([1, 3, 2, 3]);
    assert.equal(all(generate(model, params, [0], { steps: 3 })).texts, [[0, 1, 1, 1]]);
    assert.equal(all(generate(model, params, [0], { steps: 3, temperature: 0, topK: 4, seed: 9 })).texts, [
      [0, 1, 1, 1],
    ]);
  },
  "a temperature draws by softmax(logits / temperature)"() {
    within(counted(thirds, { temperature: 1 }), [0.1, 0.4, 0.3, 0.2]);
    const sum = 0.01 + 0.16 + 0.09 + 0.04;
    within(counted(thirds, { temperature: 0.5 }), [0.01 / sum, 0.16 / sum, 0.09 / sum, 0.04 / sum]);
    within(counted(thirds, { temperature: 1e9 }), [0.25, 0.25, 0.25, 0.25]);
    assert.equal(counted(thirds, { temperature: 1e-300 }, 400), [0, 400, 0, 0]);
  },
  "topK draws from so many, of equal ones from the first"() {
    within(counted(thirds, { temperature: 1, topK: 2 }), [0, 4 / 7, 3 / 7, 0]);
    within(counted([1, 2, 2, 2, 0], { temperature: 1, topK: 2 }), [0, 0.5, 0.5, 0, 0]);
    within(counted(thirds, { temperature: 1, topK: 99 }), [0.1, 0.4, 0.3, 0.2]);
  },
  "topP draws from the fewest that reach it, and after topK of what that left"() {
    within(counted(thirds, { temperature: 1, topP: 0.39 }), [0, 1, 0, 0]);
    within(counted(thirds, { temperature: 1, topP: 0.41 }), [0, 4 / 7, 3 / 7, 0]);
    within(counted(thirds, { temperature: 1, topP: 0.71 }), [0, 4 / 9, 3 / 9, 2 / 9]);
    within(counted(thirds, { temperature: 1, topP: 1e-9 }), [0, 1, 0, 0]);
    within(counted(thirds, { temperature: 1, topK: 2, topP: 0.55 }), [0, 1, 0, 0]);
    within(counted(thirds, { temperature: 1, topK: 3, topP: 0.75 }), [0, 4 / 7, 3 / 7, 0]);
  },
  "logits of minus infinity are never drawn, and what is no number is refused"() {
    within(counted([-Infinity, 0, -Infinity, 0], { temperature: 1 }), [0, 0.5, 0, 0.5]);
    for (const bad of [NaN, Infinity]) {
      const { model, params } = giving([0, bad, 1]);
      const why = `generate: a logit is ${bad}\n  wants finite ones`;
      assert.is(
        thrown(RangeError, () => generate(model, params, [0], { steps: 1 }).next()),
        why,
      );
    }
  },
  "a seed gives the same tokens again, another seed others, and each prompt its own"() {
    const { model, params } = made({});
    const run = (seed: number | number[]) =>
      all(generate(model, params, [[1], [1]], { steps: 12, temperature: 1, seed }));
    assert.equal(run(5), run(5));
    assert.not.equal(run(5).texts, run(6).texts);
    assert.not.equal(run(5).texts[0], run(5).texts[1]);
    const [a, b] = run([5, 5]).texts;
    assert.equal(a, b);
    assert.equal(run(5).texts[0], [1, 5, 12, 12, 12, 12, 4, 12, 12, 12, 10, 10, 12]);
  },
});

suite("generate: the run", {
  "what it yields is what it returns, prompts of any kind of row"() {
    const { model, params } = made({});
    const rows = [Int32Array.of(1, 2, 3), [4]];
    const { steps, texts } = all(generate(model, params, rows, { steps: 5, temperature: 1 }));
    assert.is(steps.length, 5);
    assert.equal(texts, [
      [1, 2, 3, ...steps.map(s => s[0])],
      [4, ...steps.map(s => s[1])],
    ]);
    assert.equal(
      all(generate(model, params, rows[0]!, { steps: 5, temperature: 1 })).texts,
      all(generate(model, params, [rows[0]!], { steps: 5, temperature: 1 })).texts,
    );
  },
  "a stop token is a text's last, the others go on as if alone, and all stopped is the end"() {
    const { model, params } = made({});
    const how = { steps: 16, temperature: 1, seed: 2 };
    const free = all(generate(model, params, prompts, how)).texts;
    const stop = [free[1]![prompts[1]!.length + 2]!, free[3]![prompts[3]!.length + 4]!];
    const { steps, texts } = all(generate(model, params, prompts, { ...how, stop }));
    let longest = 0;
    texts.forEach((text, i) => {
      const fresh = free[i]!.slice(prompts[i]!.length);
      const at = fresh.findIndex(token => stop.includes(token));
      const n = at < 0 ? fresh.length : at + 1;
      longest = Math.max(longest, n);
      assert.equal(text, free[i]!.slice(0, prompts[i]!.length + n));
      assert.equal(
        steps.map(s => s[i]),
        steps.map((_, j) => (j < n ? fresh[j] : undefined)),
      );
    });
    assert.is(steps.length, longest);
    assert.ok(texts[1]!.length < free[1]!.length && texts[3]!.length < free[3]!.length);
  },
  "without steps it fills the cache, the model's context unless given"() {
    const { model, params } = made({ position: "rope" });
    assert.is(all(generate(model, params, [1, 2])).texts[0]!.length, 25); // the last token takes no place
    assert.is(all(generate(model, params, [1, 2], { cache: 5 })).texts[0]!.length, 6);
    assert.is(all(generate(model, params, [1, 2], { steps: 40 })).texts[0]!.length, 42);
  },
  "memory stays as it is from step to step over 2000 tokens, and is given back at the end"() {
    const { model, params } = made({ position: ["rope", "cope"], layers: 1 });
    const { tape } = params.wte.weight;
    const mark = (): number => tape.scope(() => tape.tensor([1]).data);
    const before = mark();
    const run = generate(model, params, [[1], [2, 3]], { steps: 2000 });
    assert.is(mark(), before, "before it starts it has nothing");
    run.next();
    run.next();
    const { bytes } = tape;
    const during = mark();
    assert.ok(during > before);
    for (let i = 2; i < 2000; i++) {
      assert.is(run.next().done, false);
      assert.is(mark(), during);
    }
    assert.is(tape.bytes, bytes);
    assert.is(run.next().done, true);
    assert.is(mark(), before);
  },
  "it may be left early, in a scope or not, and gives back its memory unless something lies behind"() {
    const { model, params } = made({});
    const { tape } = params.wte.weight;
    const mark = (): number => tape.scope(() => tape.tensor([1]).data);
    const before = mark();
    for (const _ of generate(model, params, [1])) break;
    assert.is(mark(), before);
    const left = generate(model, params, [1]);
    left.next();
    assert.equal(left.return([]), { done: true, value: [] });
    assert.is(mark(), before);
    const run = generate(model, params, [1]);
    run.next();
    const kept = tape.tensor([2], [5, 6]);
    run.return([]);
    all(generate(model, params, [1]));
    assert.equal(Array.from(kept.values()), [5, 6]);
    const started = tape.scope(() => {
      const run = generate(model, params, [1]);
      run.next();
      return run;
    });
    const after = mark();
    assert.match(
      thrown(Error, () => started.next()),
      /was used after its scope ended/,
    );
    assert.is(mark(), after);
  },
  "parameters that want gradients do as well, nothing is recorded, and no generator of the tape moves"() {
    const model = transformer({ ...small, dropout: 0.3 });
    const [live, frozen] = [false, true].map(frozen => model.params(new Tape("f32"), { seed: 3, frozen }));
    const { tape } = live!.wte.weight;
    const how = { steps: 8, temperature: 1 };
    assert.equal(all(generate(model, live!, prompts, how)), all(generate(model, frozen!, prompts, how)));
    assert.is(tape.random.position, 0);
    tape.scope(() => {
      const x = tape.integers([1, 3], [1, 2, 3]);
      const loss = model.loss(live!, x, x);
      const run = generate(model, live!, [1], how);
      run.next();
      tape.backward(loss);
      run.next();
    });
    assert.ok(live!.wte.weight.gradient().some(x => x !== 0));
  },
  "two at once do not disturb each other"() {
    const { model, params } = made({});
    const how = { steps: 10, temperature: 1 };
    const [a, b] = [prompts.slice(0, 2), prompts.slice(2)];
    const want = [all(generate(model, params, a, how)).steps, all(generate(model, params, b, how)).steps];
    const runs = [generate(model, params, a, how), generate(model, params, b, how)];
    for (let i = 0; i < 10; i++) runs.forEach((run, k) => assert.equal(run.next().value, want[k]![i]));
  },
});

const refusals: Record<string, [kind: new (m: string) => Error, prompts: unknown, options: object, message: string]> = {
  "no prompt": [RangeError, [], {}, "there is no prompt\n  wants at least one token"],
  "a prompt that is no row": [TypeError, "abc", {}, 'prompts are "abc"\n  wants a row of tokens, or a list of rows'],
  "an empty prompt": [RangeError, [[1], []], {}, "prompt 1 is empty\n  wants at least one token"],
  "a token beyond the vocabulary": [
    RangeError,
    [[1], [2, 13]],
    {},
    "prompt 1 at 1 is 13\n  wants an integer from 0 to 12",
  ],
  "a token that is no number": [TypeError, [["a"]], {}, 'prompt 0 at 0 is "a"\n  wants an integer from 0 to 12'],
  "a temperature below 0": [RangeError, [1], { temperature: -1 }, "temperature is -1\n  wants a number from 0"],
  "a temperature without end": [
    RangeError,
    [1],
    { temperature: Infinity },
    "temperature is Infinity\n  wants a number from 0",
  ],
  "topP of 0": [RangeError, [1], { topP: 0 }, "topP is 0\n  wants a number above 0, at most 1"],
  "topP above 1": [RangeError, [1], { topP: 1.5 }, "topP is 1.5\n  wants a number above 0, at most 1"],
  "topK of 0": [RangeError, [1], { topK: 0 }, "topK is 0\n  wants an integer from 1 to 9007199254740991"],
  "steps of 0": [RangeError, [1], { steps: 0 }, "steps is 0\n  wants an integer from 1 to 9007199254740991"],
  "a stop token that is none": [RangeError, [1], { stop: [13] }, "stop is 13\n  wants an integer from 0 to 12"],
  "a stop that is no list": [TypeError, [1], { stop: 3 }, "stop is 3\n  wants a list of tokens"],
  "seeds for other prompts": [
    RangeError,
    [1],
    { seed: [1, 2] },
    "2 seeds for 1 prompts\n  wants a seed, or one a prompt",
  ],
  "an unknown option": [
    RangeError,
    [1],
    { top: 3 },
    "unknown option top\n  wants steps, temperature, topK, topP, seed, stop, cache",
  ],
  "more than the cache holds": [
    RangeError,
    [1, 2, 3],
    { steps: 9, cache: 10 },
    "a prompt of 3 and 9 steps do not fit in 10 places\n  wants shorter prompts, fewer steps, or a larger cache",
  ],
  "a prompt larger than the cache": [
    RangeError,
    [1, 2, 3],
    { cache: 2 },
    "a prompt of 3 and 1 steps do not fit in 2 places\n  wants shorter prompts, fewer steps, or a larger cache",
  ],
  "more places than absolute positions have": [
    RangeError,
    [1, 2, 3],
    { steps: 23 },
    "a prompt of 3 and 23 steps do not fit in 24 places\n" +
      "  wants shorter prompts, fewer steps, or a model with a larger context",
  ],
};
const errors: Record<string, () => void> = {};
for (const [title, [kind, given, options, message]] of Object.entries(refusals))
  errors[`${title} is refused when it is called, and nothing has changed`] = () => {
    const { model, params } = made({});
    const { tape } = params.wte.weight;
    const before = tape.tensor([1]).data;
    assert.is(
      thrown(kind, () => generate(model, params, given as never, options)),
      `generate: ${message}`,
    );
    assert.is(tape.tensor([1]).data, before + 16);
  };
errors["a model that cannot continue what it reads is refused"] = () => {
  const why = "generate: the model does not continue its input\n  wants a causal model of tokens\n  got   ";
  const refused = (more: TransformerOptions): string => {
    const { model, params } = made(more);
    return thrown(RangeError, () => generate(model, params, [1]));
  };
  assert.is(refused({ causal: false }), `${why}13 tokens, 13 outputs, causal false`);
  assert.is(refused({ outputs: 14 }), `${why}13 tokens, 14 outputs, causal true`);
  assert.is(refused({ vocab: 0, inputs: 3, outputs: 2 }), `${why}0 tokens, 2 outputs, causal true`);
};
suite("generate: errors", errors);
