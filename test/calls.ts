// A right call of everything that a user can call, for fuzz.test.ts, which spoils one part of it at a time.
import * as farsight from "farsight";
import { Engine, Tape, type Tensor, type Tree } from "farsight";
import { fast } from "farsight/fast";

const marked = new WeakSet<object>();
/** Marks an object as options: unknown names and wrong kinds in it must be refused. */
export function options<T extends object>(given: T): T {
  marked.add(given);
  return given;
}
export const isOptions = (x: unknown): boolean => typeof x === "object" && x !== null && marked.has(x);

const { linear, matmul, mul, random, sum, transformer } = farsight;
export const tape = new Tape("f64", { seed: 3 });
export const other = new Tape("f64");
const small = { vocab: 5, d: 4, heads: 2, layers: 1, context: 16 };
const { model, post, vectors } = {
  model: transformer({ ...small, position: "cope" }),
  post: transformer({ ...small, causal: false, norm: "post" }),
  vectors: transformer({ inputs: 2, outputs: 1, d: 4, heads: 2, layers: 1, context: 8 }),
};
const params = model.params(tape);
const frozen = model.params(tape, { frozen: true });
export const vectorParams = vectors.params(tape);
const memory = farsight.rmt(model, { memory: 1, segment: 3 });
const memoryParams = memory.params(tape);
const memoryFrozen = memory.params(tape, { frozen: true });
const associative = farsight.armt(model, { memory: 1, segment: 3, width: 2 });
const associativeParams = associative.params(tape);
const retrieving = farsight.rmtR(model, { memory: 1, segment: 3 });
const retrievingParams = retrieving.params(tape);
const encoder = farsight.rmtEncoder(post, { memory: 1, segment: 3, classes: 2 });
const encoderParams = encoder.params(tape);
const gptConfig = { vocab_size: 5, n_positions: 4, n_embd: 4, n_layer: 1, n_head: 2, n_inner: null };
const gptWeights = farsight.gpt2(gptConfig).params(tape, { frozen: true });
const bertConfig = {
  vocab_size: 5,
  hidden_size: 4,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  intermediate_size: 4,
};
const bertWeights = farsight.bert({ ...bertConfig, max_position_embeddings: 4 }).params(tape, { frozen: true });
const w = tape.param([2, 3], [1, 2, 3, 4, 5, 6]);
const trained = { w };
export const optimizer = farsight.adamw(trained);
const file = farsight.save({ params: trained, optimizer });
const loose = farsight.serialize({ w: { shape: [2, 3], values: new Float32Array(6) } });
tape.step(() => sum(mul(w, w)));

/** Numbers from 0.1 to 0.9, where every operation is at home. */
const numbers = (n: number): number[] => Array.from({ length: n }, (_, i) => 0.1 + (0.8 * ((i * 7) % 11)) / 11);
const t = (...shape: number[]): Tensor => tape.tensor(shape, numbers(shape.reduce((a, b) => a * b, 1)));
const ints = (shape: number[], values: number[]): Tensor => tape.integers(shape, values);
const ids = (): Tensor => ints([1, 3], [0, 1, 2]);
const heads = (): Tensor => t(1, 2, 2, 4);
const ones = (...shape: number[]): Tensor => tape.tensor(shape, new Array(shape.reduce((a, b) => a * b, 1)).fill(1));
const loss = (): Tensor => sum(mul(w, w));
const reads = () => ({ q: t(1, 2, 4), k: t(1, 2, 4), kAt: 0, v: t(1, 2, 4), vAt: 0, gates: "keys" as const });
const mlpWeights = () => ({ c_fc: { weight: t(8, 4), bias: t(8) }, c_proj: { weight: t(4, 8), bias: t(4) } });
const state = () => model.start(frozen, 1, { cache: 8 });
const words = (): Tensor => ints([1, 2], [0, 1]);

/** A file of parameters under other names, its matrices the other way round where `turned` is. */
function published(params: Tree, name: (path: string) => string[], turned: boolean): Uint8Array {
  const list = farsight.leaves(params).flatMap(([path, x]) => {
    const names = name(path);
    const [rows = 0, columns] = x.shape as [number, number?];
    const shape = turned && columns && /^h\./.test(path) ? [columns, rows] : [rows / names.length, ...x.shape.slice(1)];
    return names.map(name => [name, { shape, values: new Float32Array(x.size / names.length) }] as const);
  });
  return farsight.serialize(list);
}
const gptFile = published(gptWeights, path => [path], true);
const bertFile = published(
  Object.fromEntries(Object.entries(bertWeights).filter(([name]) => name !== "lm_head")) as Tree,
  path =>
    path
      .replace("wte", "embeddings.word_embeddings")
      .replace("wpe", "embeddings.position_embeddings")
      .replace("wtt", "embeddings.token_type_embeddings")
      .replace("ln_emb", "embeddings.LayerNorm")
      .replace("ln_1", "attention.output.LayerNorm")
      .replace("attn.c_proj", "attention.output.dense")
      .replace("mlp.c_fc", "intermediate.dense")
      .replace("mlp.c_proj", "output.dense")
      .replace("ln_2", "output.LayerNorm")
      .replace("attn.c_attn", "attention.self.query attention.self.key attention.self.value")
      .replace(/^h\.0\.(.*)\.(\w+)$/, (_, modules: string, end: string) =>
        modules
          .split(" ")
          .map(module => `encoder.layer.0.${module}.${end}`)
          .join(" "),
      )
      .split(" "),
  false,
);

/** Arguments of right calls, by where the function is found: exports, `x()` for what x gives, and names in it. */
export const calls: Record<string, () => unknown[]> = {
  Engine: () => ["f32", options({ module: undefined, limit: 1 << 20 })],
  Tape: () => [
    "f32",
    options({ check: false, trace: () => {}, seed: 1, engine: undefined, module: undefined, limit: 1 << 20 }),
  ],
  "Tape().tensor": () => [
    [2, 2],
    [1, 2, 3, 4],
  ],
  "Tape().integers": () => [[2], [1, 2]],
  "Tape().param": () => [[2], [1, 2]],
  "Tape().scope": () => [() => 1],
  "Tape().noGrad": () => [() => 1],
  "Tape().zeroGrad": () => [],
  "Tape().step": () => [loss, options({ accumulate: false })],
  "Tape().backward": () => [mul(w, w), [1, 1, 1, 1, 1, 1]],
  "Tape().checkpoint": () => [() => mul(w, w)],
  "Tape().toString": () => [],
  "Tensor().values": () => [],
  "Tensor().gradient": () => [],
  "Tensor().item": () => [],
  "Tensor().toString": () => [],
  philox: () => [
    [1, 2, 3, 4],
    [5, 6],
  ],
  random: () => [7, 3],
  "random().position=": () => [5],
  "random().word": () => [],
  "random().uniform": () => [],
  "random().integer": () => [10],
  "random().normal": () => [],
  "random().fork": () => ["key"],
  "random().choice": () => [[1, 2, 3]],
  "random().shuffle": () => [[1, 2, 3]],
  "random().aligned": () => [],
  "random().skip": () => [3],
  parse: () => [file],
  serialize: () => [{ x: { shape: [2], values: new Float32Array(2) } }, { note: "x" }],
  count: () => [{ a: w, b: [{ c: w }] }],
  leaves: () => [{ a: w, b: [{ c: w }] }, "path"],
  mlp: () => [t(2, 4), mlpWeights(), "gelu"],
  norm: () => [t(2, 4), { weight: t(4), bias: t(4) }, { eps: 1e-5, rms: false }],
  tokens: () => [tape, [[0, 1, 2]], 1],
  adam: () => [trained, options({ lr: 0.1, betas: [0.9, 0.99], eps: 1e-8 })],
  adamw: () => [trained, options({ lr: 0.1, betas: [0.9, 0.99], eps: 1e-8, decay: 0.1, decays: () => true })],
  sgd: () => [trained, options({ lr: 0.1, momentum: 0.5, nesterov: false, decay: 0.1, decays: () => true })],
  "adam().step": () => [0.1],
  "adam().updates=": () => [3],
  clipNorm: () => [trained, 1],
  clipValue: () => [trained, 1],
  schedule: () => ["cosine", options({ lr: 1, steps: 10, warmup: 2, final: 0.1 })],
  "schedule()": () => [3],
  fit: () => [
    options({
      params: trained,
      optimizer,
      loss,
      steps: 2,
      from: 0,
      schedule: () => 0.1,
      clip: options({ norm: 1, value: 1 }),
      accumulate: 1,
      evaluate: () => 1,
      every: 1,
      signal: { aborted: false },
    }),
  ],
  curriculum: () => [
    options({
      ...{ params: trained, optimizer, loss, stages: [1, 2], steps: 1, lengths: "random", seed: 1, fresh: false },
      ...{ schedule: () => 0.1, clip: options({ norm: 1, value: 1 }), accumulate: 1, signal: { aborted: false } },
      ...{ evaluate: () => 1, every: 1, patience: 1, goal: 0 },
      from: { stage: 0, step: 0, made: 0, stale: 0, best: undefined, weights: undefined },
    }),
  ],
  load: () => [{ params: trained, optimizer, step: 0 }, file],
  loadParams: () => [trained, loose],
  save: () => [{ params: trained, optimizer, step: 1 }, { note: "x" }],
  gpt2: () => [gptConfig],
  loadGpt2: () => [gptWeights, gptFile],
  bert: () => [{ ...bertConfig, architectures: ["BertForSequenceClassification"], id2label: { 0: "a", 1: "b" } }],
  loadBert: () => [
    bertWeights,
    {
      index: { weight_map: Object.fromEntries([...farsight.parse(bertFile).tensors.keys()].map(name => [name, "a"])) },
      files: { a: bertFile },
    },
  ],
  nanoGpt: () => [{ vocab_size: 5, block_size: 4, n_layer: 1, n_head: 2, n_embd: 4, dropout: 0.1, bias: false }],
  saveNanoGpt: () => [gptWeights, { note: "x" }],
  gradcheck: () => [trained, loss, options({ tolerance: 1e-6, h: 1e-5, directions: 1, seed: 0 })],
  op: () => ["mine(x)", "... -> ...", { attrs: { by: 1 }, forward: () => {}, backward: () => {} }],
  "op()": () => [t(2), options({ by: 2 })],
  add: () => [t(2, 3), t(2, 3)],
  sub: () => [t(2, 3), t(2, 3)],
  mul: () => [t(2, 3), t(2, 3)],
  div: () => [t(2, 3), t(2, 3)],
  ...Object.fromEntries(
    ["exp", "log", "sqrt", "sin", "cos", "tanh", "sigmoid", "relu", "gelu", "geluErf", "silu", "erf"].map(name => [
      name,
      () => [t(2, 3)],
    ]),
  ),
  bias: () => [t(2, 3), t(3)],
  scale: () => [t(2, 3), options({ by: 2, plus: 1 })],
  fade: () => [t(2, 3), options({ by: 0.5 })],
  dropout: () => [w, options({ p: 0.5, position: 4 })],
  "ops.dropout": () => [t(2, 3), options({ p: 0.1, position: 0, seedLow: 0, seedHigh: 0 })],
  matmul: () => [t(2, 3), t(3, 4)],
  bmm: () => [t(2, 2, 3), t(2, 3, 4)],
  linear: () => [t(2, 3), t(4, 3), t(4)],
  embedding: () => [t(5, 3), ids()],
  layerNorm: () => [t(2, 3), t(3), t(3), options({ eps: 1e-5 })],
  rmsNorm: () => [t(2, 3), t(3), options({ eps: 1e-5 })],
  softmax: () => [t(2, 3)],
  logSoftmax: () => [t(2, 3)],
  logsumexp: () => [t(2, 3)],
  concat: () => [[t(2, 3), t(2, 3)], options({ axis: 0 })],
  cumsum: () => [t(2, 3), options({ axis: 0, reverse: true })],
  mean: () => [t(2, 3), options({ axis: 0 })],
  sum: () => [t(2, 3), options({ axis: 0 })],
  reshape: () => [t(2, 3), [3, 2]],
  slice: () => [t(2, 3), 0, 1, options({ axis: 1 })],
  stopGradient: () => [t(2)],
  append: () => [t(1, 4, 2), t(1, 2, 3), ints([1], [1]), options({ from: 1 })],
  "ops.sum": () => [t(2, 3, 2)],
  "ops.cumsum": () => [t(2, 3, 2), options({ reverse: false })],
  "ops.concat": () => [[t(2, 3, 2), t(2, 1, 2)]],
  "ops.slice": () => [t(2, 3, 2), options({ start: 1, count: 1 })],
  crossEntropy: () => [t(2, 3), ints([2], [0, 2]), options({ ignore: -100, reduction: "mean" })],
  huber: () => [t(2, 3), t(2, 3), options({ delta: 1, reduction: "sum" })],
  mse: () => [t(2, 3), t(2, 3), options({ reduction: "sum" })],
  parted: () => [t(2, 3), t(4, 3), t(4)],
  restated: () => [t(2, 4), t(2, 3), t(4, 3), t(4), options({ start: 1 })],
  interpolate: () => [t(2, 3), t(2, 3)],
  maskedSigmoid: () => [t(1, 2, 2, 2), ones(2, 2), ones(1, 2)],
  maskedSoftmax: () => [t(1, 2, 2, 2), ones(2, 2), ones(1, 2)],
  mix: () => [t(1, 2, 2, 2), heads(), ones(2, 2), heads()],
  pick: () => [t(2, 2, 3), ints([2, 2], [0, 1, 2, 0])],
  rope: () => [heads(), t(2, 2), t(2, 2), options({ interleaved: false })],
  scores: () => [heads(), heads(), ones(2, 2), heads(), options({ scale: 1 })],
  tableScores: () => [heads(), t(3, 4), options({ scale: 1 })],
  "ops.attention": () => [
    ...[t(1, 2, 4), t(1, 2, 4), t(1, 2, 4), t(3, 4), t(1, 2, 4), t(1, 2, 4), t(1), t(2, 4), t(1), ones(1, 2)],
    ...[ones(2, 2), ints([1, 2], [0, 1]), ones(2, 2), t(1, 2, 4), t(1, 2, 4), t(1, 2, 4), ints([1], [2])],
    over(),
  ],
  attentionOver: () => [
    options({
      ...{
        q: t(1, 2, 4),
        k: t(1, 2, 4),
        v: t(1, 2, 4),
        table: t(3, 4),
        gq: t(1, 2, 4),
        gk: t(1, 2, 4),
        gateBias: t(1),
      },
      ...{ rel: t(2, 4), slopes: t(1), keys: ones(1, 2), allowed: ones(2, 2), documents: ints([1, 2], [0, 1]) },
      ...{ edges: ones(2, 2), pk: t(1, 2, 4), pv: t(1, 2, 4), pg: t(1, 2, 4), counts: ints([1], [2]) },
    }),
    over(),
  ],
  alibi: () => [2, 3, 3],
  alibiSlopes: () => [3],
  cope: () => [
    t(1, 2, 2, 2),
    heads(),
    t(3, 4),
    { allowed: ones(2, 2), keys: ones(1, 2), edges: ones(2, 2) },
    options({ scaling: "ram", gateKeys: heads(), past: heads(), bias: t(2) }),
  ],
  positions: () => [t(1, 2, 2, 2), { allowed: ones(2, 2), keys: ones(1, 2) }],
  distances: () => [2, 3, 2],
  rotary: () => [tape, 3, 4, options({ theta: 100, start: 2 })],
  sinusoidal: () => [3, 4, 1],
  attend: () => calls.attention!(),
  attention: () => [
    heads(),
    heads(),
    heads(),
    options({
      ...{ causal: true, allowed: ones(2, 2), keys: ones(1, 2), edges: ones(2, 2), own: false },
      documents: ints([1, 2], [0, 1]),
      past: options({ k: heads(), v: heads(), gateKeys: heads() }),
      position: ["cope"],
      tables: options({ cope: { weight: t(2, 3, 4), bias: t(2) }, relative: t(2, 4) }),
      cope: options({ rows: 3, scaling: "ram", gates: "sep", table: "head", bias: 0, rotated: false, every: 1 }),
      relative: options({ rows: 2, table: "shared", every: 2 }),
      gateKeys: heads(),
      rope: options({ theta: 100, interleaved: false, every: 1 }),
      composed: true,
    }),
  ],
  mask: () => [2, 3, true],
  cache: () => [tape, options({ b: 1, capacity: 4, width: 4, gates: 0 })],
  "cache().extend": () => [reads()],
  "cache().shorten": () => [[0]],
  "cache().fits": () => [{ tape, b: 1, d: 4, width: 4 }],
  "stateCache().fits": () => [{ tape, b: 1, d: 4, width: 4 }],
  "cache().next": () => [t(1, 2, 4), t(1, 2, 4)],
  stateCache: () => [2, t(1, 2, 4)],
  "stateCache().held": () => [(x: Tensor) => x],
  "stateCache().next": () => [t(1, 2, 4), t(1, 2, 4)],
  generate: () => [
    model,
    params,
    [[0, 1]],
    options({ steps: 2, temperature: 1, topK: 2, topP: 0.9, seed: 1, stop: [3], cache: 8 }),
  ],
  attentionBlock: () => [
    t(1, 2, 4),
    (x: Tensor) => x,
    params.h[0]!.attn,
    model.config,
    options({ dropout: 0.1, from: 1 }),
  ],
  layer: () => [
    t(1, 2, 4),
    params.h[0]!,
    model.config,
    options({
      ...{ causal: true, allowed: ones(2, 2), keys: ones(1, 2), edges: ones(2, 2), own: false, dropout: 0.1 },
      ...{ places: { b: 1, t: 2 }, documents: ints([1, 2], [0, 1]), layer: 0, shared: params, from: 1 },
      carry: undefined,
      cut: "kv",
      watch: () => {},
    }),
  ],
  rowsUsed: () => [tape, (watch: farsight.How["watch"]) => model.logits(params, ids(), watch ? { watch } : {})],
  edgeWeights: () => [[0, 1, 2], options({ cut: "kv", mode: "window", horizon: 1 })],
  myopia: () => [options({ cut: "kv", mode: "window", horizon: 1 })],
  transformer: () => [
    options({
      ...{ ...small, inputs: undefined, outputs: 5, kvHeads: 1, inner: 8, norm: "pre", rms: false, bias: true },
      ...{ embeddingNorm: false, causal: true, activation: "gelu", tied: false, headBias: false, dropout: 0.1 },
      ...{ types: 2, headLayer: true, pooler: false },
      eps: 1e-5,
      position: ["rope", "cope"],
      relative: options({ rows: 3, table: "shared", every: 1 }),
      rope: options({ theta: 100, interleaved: false, every: 1 }),
      cope: options({ rows: 3, scaling: "ram", gates: "sep", table: "head", bias: 0, rotated: false, every: 1 }),
      myopic: options({ cut: "kv", mode: "window", horizon: 1 }),
    }),
  ],
  rmt: () => [
    model,
    options({
      ...{ memory: 1, segment: 3, losses: "all", replay: true, k: 1, truncation: "tail" },
      ...{ bidirectional: false, padded: true },
      exempt: "none",
    }),
  ],
  armt: () => [
    model,
    options({ memory: 1, segment: 3, losses: "all", replay: true, k: 1, truncation: "tail", width: 2 }),
  ],
  rmtR: () => [model, options({ memory: 1, segment: 3, losses: "all", replay: true, k: 1, truncation: "tail" })],
  association: () => [associativeParams.association[0], 1, { matrix: t(1, 12, 4), sum: t(1, 12, 1) }],
  "association().fits": () => [{ tape, b: 1, d: 4, width: 4 }],
  "association().enter": () => [t(1, 3, 4)],
  "association().held": () => [(x: Tensor) => x],
  "association().next": () => [t(1, 3, 4), t(1, 3, 4)],
  rmtEncoder: () => [
    post,
    options({
      ...{ memory: 1, segment: 3, losses: "all", replay: true, k: 1, truncation: "tail", classes: 2 },
      ...{ cls: 1, sep: 2, pad: 0, pooler: true },
    }),
  ],
  counting: () => [options({ vars: 2, steps: 8, minSteps: 2, set: 1, pass: 2, increment: 3, top: 4 })],
  "counting().sample": () => [random(1)],
  "counting().batch": () => [random(1), 2, 8],
  "counting().words": () => [[0, 1]],
  "counting().padded": () => [
    [
      { tokens: [6, 7], answer: 9 },
      { tokens: [3], answer: 8 },
    ],
    8,
  ],
  ...sequenceCalls("flipFlop", { instructions: 3, ignore: 0.5 }),
  ...sequenceCalls("selectiveCopy", { symbols: 3, blanks: 2, vocab: 5 }),
  language: () => [options({ unit: "words", text: "a b a c\nb a", size: 4, least: 1 })],
  "language().encode": () => ["a b"],
  "language().decode": () => [[0, 1]],
  "language().batch": () => [random(1), [0, 1, 2, 3, 1], 2, 3],
  "language().windows": () => [new Uint8Array([0, 1, 2, 3, 1]), 3, options({ stride: 2, from: 1, b: 2 })],
  "language().words": () => [[0, 1]],
  mistakes: () => [[0.1, 0.2, 0.3, 0.1, 0.5, 0.6, 0.1, 0.9], [1, -100, 0, 1], 2],
  memorize: () => [options({ segment: 12, at: "random", facts: "train", text: "a b c", words: 5 })],
  "memorize().sample": () => [random(1), 2],
  "memorize().batch": () => [random(1), 2, 2],
  "memorize().words": () => [[0, 1]],
  reasoning: () => [options({ segment: 24, at: "random", facts: "held", needs: "both", text: "a b c", words: 5 })],
  "reasoning().sample": () => [random(1), 2],
  "reasoning().batch": () => [random(1), 2, 2],
  "reasoning().words": () => [[0, 1]],
  ...sequenceCalls("copyTwice", { symbols: 3 }),
  ...sequenceCalls("reversal", { symbols: 3 }),
  ...sequenceCalls("associativeRetrieval", { pairs: 3 }),
  ...sequenceCalls("quadraticEquations", { unreal: 0.5 }),
  sine: () => [options({ a: 2, b: 3, p: 0.5, t: 4 })],
  "sine().batch": () => [random(1), 2],
  fast: () => ["f32", options({ fma: false, threads: 1, limit: 1 << 20 })],
  "fast().working": () => [],
  "fast().close": () => [],
  ...modelCalls("model", params, ids),
  "model.fits": () => [params],
  "model.embed": () => [params, ids()],
  "model.states": () => [params, t(1, 3, 4), how()],
  "model.logits": () => [params, ids(), how()],
  "model.start": () => [params, 1, options({ cache: 8 })],
  "model.step": () => [frozen, words(), state(), stepHow()],
  "model.stream": () => [
    params,
    [words(), { input: [[0, 1]], targets: [[1, 2]] }],
    options({ ask: "logits", cache: 8 }),
  ],
  ...modelCalls("memory", memoryParams, ids),
  "memory.start": () => [memoryParams, 1],
  "memory.begin": () => [memoryFrozen, memory.start(memoryFrozen, 1), model.start(params, 1, { cache: 8 })],
  "memory.inner": () => [memoryParams],
  "memory.loss": () => [memoryParams, ids(), ids(), options({ norms: [] })],
  "memory.logits": () => [memoryParams, ids()],
  "memory.step": () => [memoryParams, words(), memory.start(memoryParams, 1), stepHow()],
  "memory.stream": () => [memoryParams, [words()], options({ ask: "states", state: memory.start(memoryParams, 1) })],
  ...modelCalls("associative", associativeParams, ids),
  "associative.start": () => [associativeParams, 1],
  "associative.logits": () => [associativeParams, ids()],
  "associative.step": () => [associativeParams, words(), associative.start(associativeParams, 1), stepHow()],
  "associative.stream": () => [
    associativeParams,
    [words()],
    options({ ask: "states", state: associative.start(associativeParams, 1) }),
  ],
  ...modelCalls("retrieving", retrievingParams, ids),
  "retrieving.start": () => [retrievingParams, 1],
  "retrieving.logits": () => [retrievingParams, ids()],
  "retrieving.step": () => [retrievingParams, words(), retrieving.start(retrievingParams, 1), stepHow()],
  "retrieving.stream": () => [
    retrievingParams,
    [words()],
    options({ ask: "states", state: retrieving.start(retrievingParams, 1) }),
  ],
  ...modelCalls("encoder", encoderParams, () => [[0, 1, 2, 3]]),
  "encoder.segments": () => [[[0, 1, 2, 3]]],
  "encoder.start": () => [encoderParams, 1],
  "encoder.logits": () => [encoderParams, [[0, 1, 2, 3]]],
  "encoder.loss": () => [encoderParams, [[0, 1, 2, 3]], ints([1], [1]), options({ norms: [] })],
  "encoder.step": () => [encoderParams, [[0, 1]], encoder.start(encoderParams, 1), stepHow()],
  "encoder.stream": () => [
    encoderParams,
    [[[0, 1]]],
    options({ ask: "logits", state: encoder.start(encoderParams, 1) }),
  ],
};
function over() {
  return options({
    ...{ h: 1, g: 1, d: 4, kAt: 0, vAt: 0, causal: true, scale: 0.5, tableScale: 1, own: false, perHead: false },
    gates: "keys",
  });
}
function how() {
  return options({
    dropout: 0.1,
    allowed: ones(3, 3),
    keys: ones(1, 3),
    documents: ints([1, 3], [0, 0, 1]),
    types: undefined,
    edges: undefined,
    watch: () => {},
  });
}
function stepHow() {
  return options({ dropout: 0.1, watch: () => {} });
}
/** Those of a task of sequences. */
function sequenceCalls(name: string, given: object): Record<string, () => unknown[]> {
  return {
    [name]: () => [options(given)],
    [`${name}().sample`]: () => [random(1)],
    [`${name}().batch`]: () => [random(1), 2],
    [`${name}().words`]: () => [[0, 1]],
  };
}
/** Those that all models have alike. */
function modelCalls(name: string, weights: Tree, input: () => unknown): Record<string, () => unknown[]> {
  return {
    [`${name}.params`]: () => [tape, options({ seed: 1, frozen: false, drawn: true })],
    [`${name}.head`]: () => [weights, t(1, 3, 4)],
    [`${name}.loss`]: () => [weights, input(), ids()],
  };
}

/** What has functions in it, by the name under which its calls stand above. */
const models = { model, memory, associative, retrieving, encoder };
export const roots: Record<string, object> = { ...models, ...farsight, fast };
/** Of classes an instance each. */
export const instances: Record<string, object> = { Tape: tape, Tensor: tape.param([1], [2]), Engine: tape.engine };
void [Engine, linear, matmul];
