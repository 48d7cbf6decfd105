// Whole models against differences, in f64: every kind of position, norm, activation and head; the recurrent memory
// decoder and encoder, kept and replayed; input in pieces. Parameters are stirred first, so that gains, biases and
// CoPE's tables are no ones and zeros.
import * as assert from "uvu/assert";
import {
  Tape,
  crossEntropy,
  gradcheck,
  huber,
  kinds,
  leaves,
  parse,
  random,
  rmt,
  rmtEncoder,
  serialize,
  transformer,
  type Given,
  type RmtEncoderOptions,
  type RmtOptions,
  type RmtState,
  type TapeOptions,
  type Tensor,
  type Transformer,
  type TransformerOptions,
  type Tree,
} from "farsight";
import { close, suite } from "./check.ts";
import { same, stir } from "./stirred.ts";

/** A small model whose CoPE tables are shorter than its sequences: some positions are capped. */
const small: TransformerOptions = {
  vocab: 7,
  d: 8,
  heads: 2,
  layers: 2,
  inner: 12,
  context: 9,
  cope: { rows: 4 },
  relative: { rows: 4 },
};

const ids = (tape: Tape, b: number, t: number, v: number, seed: number): Tensor => {
  const rng = random(seed);
  return tape.integers(
    [b, t],
    Array.from({ length: b * t }, () => rng.integer(v)),
  );
};
const copied = (params: Tree): Float64Array[] => leaves(params).map(([, p]) => Float64Array.from(p.gradient()));

function checkTransformer(more: TransformerOptions, seed?: number): void {
  const model = transformer({ ...small, ...more });
  const tape = new Tape("f64", { seed: 5 });
  const params = stir(model.params(tape));
  const tokens = ids(tape, 2, 6, 7, 2);
  const targets = ids(tape, 2, 6, model.config.outputs, 3);
  targets.values()[4] = -100;
  gradcheck(params, () => model.loss(params, tokens, targets), { seed });
  tape.step(() => model.loss(params, tokens, targets));
  for (const [path, p] of leaves(params))
    if (!path.endsWith("c_attn.bias"))
      assert.ok(
        p.gradient().some(x => Math.abs(x) > 1e-6),
        `${path} got no gradient`,
      );
}

const ofKinds: Record<string, () => void> = {};
for (const position of kinds)
  for (const norm of ["pre", "post"] as const)
    ofKinds[`position ${position}, norm ${norm}: gradients equal differences`] = () =>
      checkTransformer({ position, norm });
for (const scaling of ["listing", "ram", "eq"] as const)
  for (const gates of ["shared", "sep", "val"] as const)
    ofKinds[`cope with ${gates} gates scaled as ${scaling}: gradients equal differences`] = () =>
      checkTransformer({ position: "cope", cope: { rows: 5, scaling, gates } });
ofKinds["cope on turned queries and keys: gradients equal differences"] = () =>
  checkTransformer({
    position: ["cope", "rope"],
    cope: { rows: 5, rotated: true },
    rope: { theta: 100, interleaved: true },
  });
suite("transformers: positions", ofKinds);

const ofOptions: Record<string, () => void> = {};
const options: Record<string, TransformerOptions> = {
  gelu: { activation: "gelu" },
  geluErf: { activation: "geluErf" },
  relu: { activation: "relu" },
  swiglu: { activation: "swiglu" },
  "a tied head": { tied: true },
  "a tied head with a bias": { tied: true, headBias: true },
  "an untied head with a bias": { headBias: true },
  "more outputs than tokens": { outputs: 9 },
  "normed embeddings": { embeddingNorm: true },
  "normed embeddings, norms after": { embeddingNorm: true, norm: "post", position: "cope" },
  "both ways": { causal: false },
  "both ways, with rope and norms after": { causal: false, norm: "post", position: "rope" },
  dropout: { dropout: 0.3 },
  "dropout with cope, swiglu and norms after": { dropout: 0.3, position: "cope", activation: "swiglu", norm: "post" },
};
for (const [title, more] of Object.entries(options))
  ofOptions[`${title}: gradients equal differences`] = () => checkTransformer(more);
ofOptions["a model of vectors: gradients equal differences, those of the vectors too"] = () => {
  const model = transformer({
    ...small,
    vocab: undefined,
    inputs: 3,
    outputs: 2,
    position: "cope",
    headBias: true,
  } as TransformerOptions);
  const tape = new Tape("f64");
  const params = stir(model.params(tape));
  const rng = random(4);
  const x = tape.param(
    [2, 6, 3],
    Array.from({ length: 36 }, () => rng.normal()),
  );
  const y = tape.tensor(
    [2, 6, 2],
    Array.from({ length: 24 }, () => rng.normal()),
  );
  gradcheck({ params, x }, () => huber(model.logits(params, x), y));
  gradcheck({ params, x }, () => model.loss(params, x, tape.integers([2, 6], [0, 1, 1, 0, -100, 1, 1, 1, 0, 0, 1, 0])));
};
ofOptions["padding in the middle of a row: gradients equal differences, and what is padded changes nothing"] = () => {
  const model = transformer({ ...small, position: "cope" });
  const tape = new Tape("f64");
  const params = stir(model.params(tape));
  const tokens = ids(tape, 2, 6, 7, 2);
  const keys = tape.tensor([2, 6], [1, 1, 0, 1, 1, 1, 1, 0, 0, 1, 1, 0]);
  const targets = tape.integers([2, 6], [1, 2, -100, 3, 4, 5, 0, -100, -100, 1, 2, -100]);
  const loss = (): Tensor => crossEntropy(model.logits(params, tokens, { keys }), targets);
  gradcheck(params, loss);
  const before = tape.scope(() => loss().item());
  [2, 7, 8, 11].forEach(i => {
    tokens.values()[i] = (tokens.values()[i]! + 3) % 7;
  });
  assert.is(
    tape.scope(() => loss().item()),
    before,
  );
};
ofOptions["in noGrad a loss is an evaluation: without dropout, and no generator moves; logits have none"] = () => {
  const [model, dry] = [0.3, 0].map(dropout => transformer({ ...small, dropout, position: "cope" })) as [
    Transformer,
    Transformer,
  ];
  const tape = new Tape("f64");
  const params = stir(model.params(tape));
  const x = ids(tape, 2, 6, 7, 2);
  const run = (): number => tape.scope(() => model.loss(params, x, x).item());
  const { position } = tape.random;
  const evaluations = [1, 2].map(() => tape.noGrad(run));
  assert.is(tape.random.position, position);
  const plain = tape.scope(() => dry.loss(params, x, x).item());
  assert.equal(evaluations, [plain, plain]);
  const a = run();
  assert.is.not(tape.random.position, position);
  assert.is.not(
    a,
    tape.scope(() => dry.loss(params, x, x).item()),
  );
  assert.is(
    tape.scope(() => crossEntropy(model.logits(params, x), x).item()),
    tape.scope(() => dry.loss(params, x, x).item()),
  );
};
suite("transformers: options", ofOptions);

// ------------------------------------------------------------------------------------------------- recurrent memory
interface Case {
  model?: TransformerOptions;
  rmt?: Partial<RmtOptions>;
}
/** Eleven tokens in segments of 4: the last one is short. Some targets count for nothing. */
function decoder({ model: more = {}, rmt: how = {} }: Case, dtype: "f32" | "f64" = "f64") {
  const model = rmt(transformer({ ...small, ...more }), { memory: 2, segment: 4, ...how });
  const tape = new Tape(dtype, { seed: 5 });
  const params = stir(model.params(tape));
  const tokens = ids(tape, 2, 11, 7, 2);
  const targets = ids(tape, 2, 11, 7, 3);
  [3, 12, 15].forEach(i => {
    targets.values()[i] = -100;
  });
  return { tape, params, loss: () => model.loss(params, tokens, targets), model, tokens };
}
const decoders: Record<string, Case> = {
  "a decoder": {},
  "a decoder whose memory blocks see both ways": { rmt: { bidirectional: true } },
  "a decoder that is asked at the end": { rmt: { losses: "last" } },
  "both ways, asked at the end, cope": { rmt: { bidirectional: true, losses: "last" }, model: { position: "cope" } },
  "a decoder with rope and cope, norms after": { model: { position: ["cope", "rope"], norm: "post" } },
  "a tied decoder with dropout": { model: { dropout: 0.3, tied: true, position: "relative" } },
};
const memory: Record<string, () => void> = {};
for (const [title, c] of Object.entries(decoders)) {
  for (const replay of [true, false])
    memory[`${title}, ${replay ? "replayed" : "kept"}: gradients equal differences`] = () => {
      const { params, loss } = decoder({ ...c, rmt: { ...c.rmt, replay } });
      gradcheck(params, loss);
    };
  memory[`${title}: replaying gives the bits of keeping`] = () => {
    for (const dtype of ["f64", "f32"] as const) {
      const [a, b] = [true, false].map(replay => {
        const { tape, params, loss } = decoder({ ...c, rmt: { ...c.rmt, replay } }, dtype);
        return { value: tape.step(loss), grads: copied(params), position: tape.random.position };
      });
      assert.is(a!.value, b!.value, "loss");
      assert.is(a!.position, b!.position, "generator");
      a!.grads.forEach((g, i) =>
        assert.ok(
          g.every((x, j) => Object.is(x, b!.grads[i]![j])),
          `${dtype} gradient ${i}`,
        ),
      );
    }
  };
}
memory["dropout takes part in a replayed loss, and in no logits"] = () => {
  const [wet, dry] = [0.3, 0].map(dropout => decoder({ model: { dropout } }));
  assert.is.not(wet!.tape.step(wet!.loss), dry!.tape.step(dry!.loss));
  const [a, b] = [wet!, dry!].map(({ tape, model, params, tokens }) =>
    tape.scope(() => model.logits(params, tokens).logits.values().slice()),
  );
  assert.ok(a!.every((x, i) => x === b![i]));
};
memory["a window of all boundaries is no truncation"] = () => {
  const whole = decoder({});
  whole.tape.step(whole.loss);
  for (const truncation of ["sliding", "tail"] as const)
    for (const replay of [true, false]) {
      const { tape, params, loss } = decoder({ rmt: { k: 2, truncation, replay } });
      tape.step(loss);
      copied(params).forEach((g, i) => close(g, copied(whole.params)[i]!, 1e-12, `${truncation} gradient ${i}`));
    }
};
memory["without boundaries to cross, the first memory hears of the first segment alone"] = () => {
  const grads = (
    [
      [11, 0],
      [4, undefined],
    ] as const
  ).map(([t, k]) => {
    const { tape, params, model, tokens } = decoder({ rmt: { k } });
    const v = tokens.values();
    const part = tape.integers([2, t], [...v.subarray(0, t), ...v.subarray(11, 11 + t)]);
    tape.step(() => model.loss(params, part, part));
    return Float64Array.from(params.memory.gradient(), x => x * t); // the mean is over t targets a row
  });
  close(grads[0]!, grads[1]!, 1e-12);
};
memory["the last segment's loss alone reaches the first memory, through what was written"] = () => {
  const { tape, params, loss } = decoder({ rmt: { losses: "last" } });
  tape.step(loss);
  assert.ok(params.memory.gradient().every(x => Math.abs(x) > 1e-9));
};
suite("recurrent memory decoder", memory);

const encoders: Record<string, Partial<RmtEncoderOptions> & { model?: TransformerOptions }> = {
  "an encoder": {},
  "an encoder with a pooler, every segment asked": { pooler: true, losses: "all" },
  "an encoder with cope and dropout": { model: { position: "cope", dropout: 0.3 } },
  "an encoder with relu and no embedding norm": { model: { activation: "relu", embeddingNorm: false } },
};
const encoding: Record<string, () => void> = {};
for (const [title, { model: more, ...how }] of Object.entries(encoders)) {
  const grads: Float64Array[][] = [];
  const values: number[] = [];
  for (const replay of [true, false])
    encoding[`${title}, ${replay ? "replayed" : "kept"}: gradients equal differences`] = () => {
      const model = rmtEncoder(
        transformer({ ...small, causal: false, norm: "post", embeddingNorm: true, activation: "geluErf", ...more }),
        { memory: 2, segment: 4, classes: 3, losses: "last", ...how, replay },
      );
      const tape = new Tape("f64", { seed: 5 });
      const params = stir(model.params(tape));
      const sequences = [
        [3, 4, 5, 6, 3, 4, 5, 6, 6, 5],
        [6, 5, 4, 3, 6, 5, 4, 3, 3],
      ];
      const labels = tape.integers([2], [2, 0]);
      gradcheck(params, () => model.loss(params, sequences, labels));
      tape.random.position = 0;
      values.push(tape.step(() => model.loss(params, sequences, labels)));
      grads.push(copied(params));
    };
  encoding[`${title}: replaying gives the bits of keeping`] = () => {
    assert.is(values[0], values[1]);
    grads[0]!.forEach((g, i) =>
      assert.ok(
        g.every((x, j) => Object.is(x, grads[1]![i]![j])),
        `gradient ${i}`,
      ),
    );
  };
}
suite("recurrent memory encoder", encoding);

// ------------------------------------------------------------------------------------------------- input in pieces
/** What a stream gave, one after the other, and its state at the end. */
function drained<State>(stream: Generator<Given, State, void>): { given: Given[]; state: State } {
  const given: Given[] = [];
  for (;;) {
    const { done, value } = stream.next();
    if (done) return { given, state: value };
    given.push(value);
  }
}
/** Columns from..to of b rows of t places of n numbers, or of rows of lists. */
const columns = (x: ArrayLike<number>, [t, n]: readonly [number, number], from: number, to: number): number[] =>
  Array.from(x).filter((_, i) => {
    const at = Math.floor(i / n) % t;
    return at >= from && at < to;
  });
const rowsOf = (x: Tensor, from = 0, to = x.shape[1]!): number[][] =>
  Array.from({ length: x.shape[0]! }, (_, i) =>
    Array.from(x.values().subarray(i * x.shape[1]! + from, i * x.shape[1]! + Math.min(to, x.shape[1]!))),
  );
function encoder(how: Partial<RmtEncoderOptions> = {}, more: TransformerOptions = {}, options: TapeOptions = {}) {
  const inside = transformer({ ...small, causal: false, norm: "post", embeddingNorm: true, ...more });
  const model = rmtEncoder(inside, { memory: 2, segment: 4, classes: 3, ...how });
  const tape = new Tape("f64", { seed: 5, ...options });
  const params = stir(model.params(tape));
  const sequences = [
    [3, 4, 5, 6, 3, 4, 5, 6, 6, 5],
    [6, 5, 4, 3, 6, 5, 4, 3, 3],
  ];
  return { model, tape, params, sequences, labels: tape.integers([2], [2, 0]) };
}
const saved = ({ memory, at }: RmtState): Uint8Array =>
  serialize({ memory: { shape: memory.shape, values: memory.values() } }, { at: String(at) });
function restored(tape: Tape, bytes: Uint8Array): RmtState {
  const { tensors, metadata } = parse(bytes);
  const { shape, values } = tensors.get("memory")!;
  return { memory: tape.tensor(shape, values as Float64Array), at: Number(metadata.at) };
}
const myopic = { mode: "discount", gamma: 0.7 } as const;
const streams: Record<string, Case> = { ...decoders, "a myopic decoder": { model: { myopic, position: "cope" } } };
const streaming: Record<string, () => void> = {};
for (const [title, c] of Object.entries(streams))
  streaming[`${title}: pieces of any length give the bits of the whole, segment by segment`] = () => {
    const { tape, model, params, tokens } = decoder(c);
    const { logits, memory } = tape.scope(() => {
      const { logits, memories } = model.logits(params, tokens);
      return { logits: logits.values().slice(), memory: memories.at(-1)!.values().slice() };
    });
    for (const n of [1, 3, 4, 11]) {
      const pieces = Array.from({ length: Math.ceil(11 / n) }, (_, i) => rowsOf(tokens, i * n, i * n + n));
      const { given, state } = drained(model.stream(params, pieces));
      assert.equal(
        given.map(g => g.shape),
        [4, 4, 3].map(l => [2, l, 7]),
      );
      given.forEach((g, s) => same(g.values, columns(logits, [11, 7], s * 4, s * 4 + 4), `${n} at a time`));
      assert.is(state!.at, 11);
      same(state!.memory.values(), memory, "memory");
    }
  };
streaming["what is asked for: states, and the loss of each segment, which is NaN where nothing counts"] = () => {
  const { tape, model, params, tokens } = decoder({});
  const targets = ids(tape, 2, 11, 7, 3);
  targets.values().fill(-100, 4, 8).fill(-100, 15, 19);
  const chunk = { input: tokens, targets };
  const [logits, states, losses] = (["logits", "states", "loss"] as const).map(
    ask => drained(model.stream(params, [chunk], { ask })).given,
  );
  tape.scope(() => {
    states!.forEach((g, s) =>
      same(model.head(params, tape.tensor(g.shape, g.values)).values(), logits![s]!.values, "states"),
    );
    const want = [0, 8].map((from, i) => {
      const y = logits![2 * i]!;
      const t = tape.integers(y.shape.slice(0, 2), columns(targets.values(), [11, 1], from, from + 4));
      return crossEntropy(tape.tensor(y.shape, y.values), t).item();
    });
    assert.equal(
      losses!.map(g => [g.shape.length, g.values[0]]),
      [want[0], NaN, want[1]].map(x => [0, x]),
    );
  });
};
streaming["an encoder: segments as pieces give the bits of the whole, and its losses"] = () => {
  const { model, tape, params, sequences, labels } = encoder({ pooler: true }, { position: "cope" });
  const pieces = model.segments(sequences);
  assert.equal(pieces, [
    [[3, 4], [6]],
    [
      [5, 6, 3, 4],
      [5, 4, 3, 6],
    ],
    [
      [5, 6, 6, 5],
      [5, 4, 3, 3],
    ],
  ]);
  const { given, state } = drained(model.stream(params, pieces));
  const labelled = pieces.map(input => ({ input, targets: [2, 0] }));
  const { given: losses } = drained(model.stream(params, labelled, { ask: "loss" }));
  const { given: states } = drained(model.stream(params, pieces, { ask: "states" }));
  assert.equal(
    states.map(g => g.shape),
    [2, 4, 4].map(n => [2, n + 5, 8]),
  );
  tape.scope(() => {
    const { logits, memories } = model.logits(params, sequences);
    logits.forEach((y, s) => {
      same(given[s]!.values, y.values(), `segment ${s}`);
      same(losses[s]!.values, crossEntropy(y, labels).values(), `loss ${s}`);
    });
    same(state!.memory.values(), memories.at(-1)!.values(), "memory");
  });
};
for (const [title, options] of Object.entries({ cache: { cache: 11 }, "states of earlier places": { earlier: 11 } }))
  streaming[`a transformer with a ${title}: what it keeps outlives the piece it was made in`] = () => {
    const model = transformer({ ...small, context: 11, position: "cope" });
    const tape = new Tape("f64");
    const params = stir(model.params(tape));
    const tokens = ids(tape, 2, 11, 7, 2);
    const whole = tape.scope(() => model.logits(params, tokens).values().slice());
    const pieces = [rowsOf(tokens, 0, 4), rowsOf(tokens, 4, 5), rowsOf(tokens, 5, 11)];
    const { given, state } = drained(model.stream(params, pieces, options));
    assert.equal(state!.starts, [11, 11]);
    const bounds = [0, 4, 5, 11];
    // with states of earlier places CoPE's keys are the same, and only sums of weights are grouped otherwise
    given.forEach((g, i) => close(g.values, columns(whole, [11, 7], bounds[i]!, bounds[i + 1]!), 1e-12));
  };
streaming["1,000 segments take the memory of ten, for both models"] = () => {
  const top = (n: number, encodes: boolean): number => {
    let most = 0;
    const trace = (): void => {
      most = Math.max(most, tape.engine.mark);
    };
    const { model, params, tape } = encodes
      ? encoder({}, {}, { trace })
      : (() => {
          const model = rmt(transformer(small), { memory: 2, segment: 4 });
          const tape = new Tape("f64", { trace });
          return { model, tape, params: model.params(tape) };
        })();
    const pieces = function* () {
      for (let i = 0; i < n; i++) yield [[3, 4, 5, i % 7]];
    };
    const { state } = drained(model.stream(params as never, pieces()));
    assert.is(state!.at, 4 * n);
    return most;
  };
  for (const encodes of [false, true]) assert.is(top(1000, encodes), top(10, encodes));
};
streaming["a state that was saved and restored gives the same continuation, and starting from it changes nothing"] =
  () => {
    const d = decoder({ model: { myopic, position: "cope" } });
    const e = encoder();
    const half = [rowsOf(d.tokens, 0, 4), rowsOf(d.tokens, 4, 8)];
    const pieces = [half.concat([rowsOf(d.tokens, 8)]), e.model.segments(e.sequences)];
    const check = <P>(
      { model, params, tape }: { model: { stream: (...args: never[]) => unknown }; params: P; tape: Tape },
      pieces: number[][][],
    ): void => {
      const run = model.stream as (
        params: P,
        pieces: number[][][],
        how?: object,
      ) => Generator<Given, RmtState | undefined, void>;
      const whole = drained(run(params, pieces));
      const bytes = saved(drained(run(params, pieces.slice(0, 2))).state!);
      const state = restored(tape, bytes);
      for (const time of ["first", "second"]) {
        const rest = drained(run(params, pieces.slice(2), { state }));
        same(rest.given[0]!.values, whole.given[2]!.values, `${time} time`);
        same(rest.state!.memory.values(), whole.state!.memory.values(), `memory, ${time} time`);
        assert.is(rest.state!.at, whole.state!.at);
        assert.equal(saved(state), bytes);
      }
    };
    check(d, pieces[0]!);
    check(e, pieces[1]!);
  };
streaming["frozen parameters have the numbers of others and claim no memory for gradients"] = () => {
  const models = [decoder({}).model, encoder({ pooler: true }).model, transformer(small)];
  for (const model of models) {
    const [warm, cold] = [false, true].map(frozen => {
      const tape = new Tape("f64");
      const before = tape.engine.mark;
      const params = model.params(tape, { seed: 3, frozen });
      return { params: leaves(params), bytes: tape.engine.mark - before };
    });
    assert.is(cold!.bytes * 2, warm!.bytes);
    cold!.params.forEach(([path, p], i) => {
      assert.not(p.wants, path);
      same(p.values(), warm!.params[i]![1].values(), path);
    });
  }
};
streaming["in noGrad losses are evaluations: without dropout, the same twice, and no generator moves"] = () => {
  const check = (tape: Tape, wet: () => Tensor, dry: number): void => {
    const { position } = tape.random;
    const run = (): number => tape.scope(() => wet().item());
    assert.equal(
      [1, 2].map(() => tape.noGrad(run)),
      [dry, dry],
    );
    assert.is(tape.random.position, position);
    assert.is.not(run(), dry);
    assert.is.not(tape.random.position, position);
  };
  for (const k of [undefined, 1]) {
    const [wet, dry] = [0.3, 0].map(dropout => decoder({ model: { dropout }, rmt: { k } }));
    check(wet!.tape, wet!.loss, dry!.tape.step(dry!.loss));
    const [a, b] = [0.3, 0].map(dropout => {
      const { model, tape, params, sequences, labels } = encoder({ k }, { dropout });
      return { tape, loss: () => model.loss(params, sequences, labels) };
    });
    check(a!.tape, a!.loss, b!.tape.step(b!.loss));
  }
};
suite("models over input in pieces", streaming);
