// Generating: a batch against one prompt at a time, cached steps against forward passes, to the bit, for every kind of
// position; how tokens are chosen; memory; errors.
import * as assert from "uvu/assert";
import {
  Tape,
  generate,
  kinds,
  leaves,
  random,
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
