// Bad input: one error of the right class that says what was wanted and what was got, and a tape that is as it was.
import * as assert from "uvu/assert";
import * as farsight from "farsight";
import {
  Tape,
  type Tensor,
  adam,
  adamw,
  add,
  alibi,
  alibiSlopes,
  associativeRetrieval,
  attend,
  attention,
  bmm,
  clipNorm,
  clipValue,
  concat,
  copyTwice,
  count,
  counting,
  crossEntropy,
  cumsum,
  distances,
  dropout,
  embedding,
  exp,
  fit,
  flipFlop,
  gradcheck,
  huber,
  language,
  layerNorm,
  leaves,
  linear,
  load,
  loadParams,
  mask,
  myopia,
  maskedSoftmax,
  matmul,
  mean,
  memorize,
  mistakes,
  mlp,
  mul,
  op,
  ops,
  parse,
  philox,
  pick,
  quadraticEquations,
  random,
  reasoning,
  reshape,
  armt,
  association,
  reversal,
  rmt,
  rmtEncoder,
  rmtR,
  rope,
  rotary,
  save,
  scale,
  schedule,
  scores,
  selectiveCopy,
  sgd,
  sine,
  sinusoidal,
  slice,
  stopGradient,
  sum,
  tokens,
  transformer,
} from "farsight";
import { signature } from "../src/signature.ts";
import { suite, thrown } from "./check.ts";

type Kind = new (...x: never[]) => Error;
/** A call and its error: the full text, or, with dots in front or behind, how it ends or begins. */
type Case = [kind: Kind, call: () => unknown, text: string];
const bits = (x: ArrayLike<number>): string => Buffer.from(Float64Array.from(x).buffer).toString("hex");
const numbers = (t: Tensor): string => bits(t.values()) + (t.wants ? bits(t.gradient()) : "");
const state = (tape: Tape, list: readonly Tensor[] = tape.params): unknown => [
  tape.engine.mark,
  tape.toString(),
  tape.recording,
  tape.random.seed,
  tape.random.position,
  tape.params.length,
  list.map(numbers),
];
/** Checks class and text of each error, and that nothing changed. */
function refuse(tape: Tape, cases: readonly Case[]): void {
  for (const [i, [kind, call, text]] of cases.entries()) {
    const before = state(tape);
    let got: string;
    try {
      got = thrown(kind, call);
    } catch (error) {
      throw new Error(`case ${i}, ${call}: ${(error as Error).message}`);
    }
    const fits = text.startsWith("...")
      ? got.endsWith(text.slice(3))
      : text.endsWith("...")
        ? got.startsWith(text.slice(0, -3))
        : got === text;
    if (!fits) assert.is(got, text, `case ${i}, ${call}`);
    assert.equal(state(tape), before, `case ${i}, ${call}: left something behind`);
  }
}
/** Calls that TypeScript would refuse. */
const any = farsight as unknown as Record<string, (...x: unknown[]) => unknown>;

const tape = new Tape("f64");
const other = new Tape("f64");
const A = tape.tensor([2, 3], [1, 2, 3, 4, 5, 6]);
const W = tape.param([4, 5]);
const P = tape.param([2, 3], [1, 2, 3, 4, 5, 6]);
const L = tape.param([4, 3]);
const C = tape.param([2, 2]);
const Q = tape.tensor([1, 2, 2, 4]);
const S = tape.tensor([1, 1, 2, 2]);
const T = tape.tensor([2, 1]);
const ids = tape.integers([2, 3], [0, 1, 2, 0, 1, 2]);
const skip = tape.integers([2], [-100, -100]);
const high = tape.integers([2], [0, 4]);
const flat = tape.integers([3], [0, 1, 2]);
const dead = tape.scope(() => tape.tensor([2, 3]));
const none = tape.integers([2, 3], new Int32Array(6).fill(-100));
const empty = tape.integers([2, 0], []);
const two = tape.integers([2, 2], [0, 0, 0, 0]);
const far = tape.integers([2, 2], [0, 1, 2, 3]);
const long = tape.integers([1, 9], new Int32Array(9));
const LINEAR = "\n  wants ... k, n k, n? -> ... n\n  got   ";

suite("operations", {
  "shapes, kinds, tapes and lifetimes that do not fit"() {
    refuse(tape, [
      [RangeError, () => matmul(A, W), "matmul: k is 3 and 4\n  wants ... k, k n -> ... n\n  got   [2 3], [4 5]"],
      [
        RangeError,
        () => matmul(A, Q),
        "matmul: input 1 has 4 axes\n  wants ... k, k n -> ... n\n  got   [2 3], [1 2 2 4]",
      ],
      [
        RangeError,
        () => bmm(Q, A),
        "bmm: ... is [1 2] and []\n  wants ... m k, ... k n -> ... m n\n  got   [1 2 2 4], [2 3]",
      ],
      [RangeError, () => linear(A, W), `linear: k is 3 and 5${LINEAR}[2 3], [4 5]`],
      [RangeError, () => layerNorm(A, W), "layerNorm: input 1 has 2 axes..."],
      [
        RangeError,
        () => scores(Q, Q, T),
        "scores: s is 2 and 1" +
          "\n  wants b t h d, b s h d, t s?, b s h d? -> b h t s" +
          "\n  got   [1 2 2 4], [1 2 2 4], [2 1]",
      ],
      [
        RangeError,
        () => rope(Q, T, T),
        "rope: r is 1 and d is 4; r must be half of d" +
          "\n  wants b t h d, t r, t r -> b t h d" +
          "\n  got   [1 2 2 4], [2 1], [2 1]",
      ],
      [TypeError, () => any.add!(A), "add: takes 2 tensors, got 1\n  wants ..., ... -> ...\n  got   [2 3]"],
      [TypeError, () => any.add!(A, 3), "add: input 1 is no tensor\n  wants ..., ... -> ...\n  got   [2 3], 3"],
      [TypeError, () => any.add!(undefined, A), "add: input 0 is undefined..."],
      [TypeError, () => any.exp!(A, A), "exp: takes 1 tensor, got 2..."],
      [TypeError, () => any.linear!(A, L, null), "linear: input 2 is no tensor..."],
      [
        TypeError,
        () => add(A, other.tensor([2, 3])),
        "add: input 1 is on another tape\n  wants ..., ... -> ...\n  got   [2 3], [2 3]",
      ],
      [
        Error,
        () => add(A, dead),
        "add: tensor [2 3] was used after its scope ended" +
          "\n  copy what you need out of the scope with .values().slice()",
      ],
      [TypeError, () => exp(ids), "exp: input 0 holds integers\n  wants ... -> ...\n  got   [2 3] integers"],
      [TypeError, () => embedding(W, A), "embedding: input 1 must hold integers; make it with tape.integers..."],
      [TypeError, () => maskedSoftmax(S, C), "maskedSoftmax: input 1 gets no gradient; pass stopGradient of it..."],
    ]);
  },
  "every one refuses nothing, a number, a dead tensor, integers for numbers and an unknown option"() {
    for (const o of ops) {
      const { inputs } = signature(o.signature);
      const n = inputs.filter(x => !x.optional).length;
      const list = (x: unknown) => (inputs[0]!.list ? [[x]] : new Array<unknown>(n).fill(x));
      const call = (...x: unknown[]) => (o as unknown as (...x: unknown[]) => unknown)(...x);
      const given = (x: unknown) => () => call(...list(x));
      refuse(tape, [
        [TypeError, () => (o as () => unknown)(), `${o.opName}: takes ...`],
        [
          TypeError,
          given(3),
          `${o.opName}: input 0 is no tensor\n  wants ${o.signature}\n  got   ${new Array(n).fill(3).join(", ")}`,
        ],
        [Error, given(dead), `${o.opName}: tensor [2 3] was used after its scope ended...`],
        [TypeError, given(ids), `${o.opName}: input 0 holds integers...`],
        [RangeError, () => call(...list(A), { nope: 1 }), `${o.opName}: unknown option nope...`],
      ]);
    }
  },
  "integers out of range, options that are not known or not possible"() {
    refuse(tape, [
      [
        RangeError,
        () => embedding(W, high),
        "embedding: input 1 holds 4 at place 1, outside 0..3\n  wants v d, ...<v -> ... d\n  got   [4 5], [2] integers",
      ],
      [RangeError, () => crossEntropy(A, high), "crossEntropy: input 1 holds 4 at place 1, outside 0..2 and -100..."],
      [RangeError, () => pick(A, far), "pick: input 1 holds 3 at place 3, outside 0..2..."],
      [
        RangeError,
        () => crossEntropy(A, skip),
        "crossEntropy: no mean over nothing: every target is -100" +
          '\n  wants at least one that counts, or reduction: "sum"',
      ],
      [RangeError, () => crossEntropy(P, flat), "crossEntropy: ... is [2] and [3]..."],
      [
        RangeError,
        () => any.crossEntropy!(A, high, { reduction: "none" }),
        "crossEntropy: reduction is none\n  wants mean or sum",
      ],
      [RangeError, () => huber(A, A, { delta: 0 }), "huber: delta is 0\n  wants a number above 0 to Infinity"],
      [RangeError, () => dropout(P, { p: 1 }), "dropout: p is 1\n  wants a number from 0 to below 1"],
      [RangeError, () => dropout(P, { p: 0.1, position: 2 }), "dropout: position is 2\n  wants a multiple of 4 from 0"],
      [RangeError, () => dropout(P, { position: NaN }), "dropout: position is NaN..."],
      [RangeError, () => any.scale!(A, { foo: 1 }), "scale: unknown option foo\n  wants by, plus"],
      [RangeError, () => any.scale!(A, { toString: 1 }), "scale: unknown option toString..."],
      [TypeError, () => any.scale!(A, { by: "2" }), 'scale: by is "2"...'],
      [TypeError, () => any.scale!(A, 3), "scale: takes 1 tensor, got 2..."],
      [RangeError, () => any.exp!(A, { x: 1 }), "exp: unknown option x\n  wants none"],
    ]);
  },
  "functions that change shapes"() {
    refuse(tape, [
      [RangeError, () => reshape(A, [4]), "reshape: [2 3] holds 6 numbers, [4] would hold 4"],
      [RangeError, () => reshape(A, [-2, -3]), "reshape: shape [-2 -3] has the size -2\n  wants whole numbers from 0"],
      [TypeError, () => any.reshape!(A), "reshape: shape is undefined\n  wants an array of sizes"],
      [TypeError, () => any.stopGradient!(null), "stopGradient: the input is null\n  wants a tensor"],
      [Error, () => stopGradient(dead), "stopGradient: tensor [2 3]..."],
      [RangeError, () => sum(A, { axis: 2 }), "sum: axis 2 of [2 3]\n  wants 0 to 1"],
      [TypeError, () => any.sum!(A, 1), "sum: the options are 1\n  wants an object with axis"],
      [TypeError, () => any.sum!(), "sum: the input is undefined\n  wants a tensor"],
      [Error, () => sum(dead), "sum: tensor [2 3]..."],
      [RangeError, () => any.mean!(A, { axes: 1 }), "mean: unknown option axes\n  wants axis"],
      [RangeError, () => cumsum(A, { axis: -1 }), "cumsum: axis is -1..."],
      [TypeError, () => any.cumsum!(A, { reverse: 1 }), "cumsum: reverse is 1\n  wants true or false"],
      [RangeError, () => mean(A, { axis: 0.5 }), "mean: axis is 0.5..."],
      [RangeError, () => concat([]), "concat: nothing to put together\n  wants at least one tensor"],
      [RangeError, () => concat([A, W]), "concat: [2 3] and [4 5] differ beyond axis 1"],
      [TypeError, () => any.concat!([A, 3]), "concat: the input is 3..."],
      [TypeError, () => any.concat!(A), "concat: the list is Tensor..."],
      [RangeError, () => concat([A, A], { axis: 7 }), "concat: axis 7 of [2 3]..."],
      [RangeError, () => slice(A, 2, 9), "slice: 2..9 is not within 0..3..."],
      [RangeError, () => slice(P, 2, 1), "slice: 2..1 is not..."],
      [TypeError, () => any.slice!(A, 2), "slice: end is undefined..."],
    ]);
  },
  "operations of one's own"() {
    const nothing = { forward: () => {} };
    refuse(tape, [
      [
        RangeError,
        () => op("x", "a b", nothing),
        "op: x has the signature a b\n  wants inputs, an arrow, and results of their sizes",
      ],
      [
        TypeError,
        () => op("y", "... -> ...", nothing)(P),
        "y: has no gradient; pass stopGradient of its input\n  wants ... -> ...\n  got   [2 3]",
      ],
      [RangeError, () => op("z", "... -> ... z", nothing)(P), "z: z is undefined\n  wants ... -> ... z\n  got   [2 3]"],
      [
        Error,
        () =>
          op("z", "... -> ...", {
            forward() {
              throw new Error("mine");
            },
            backward() {},
          })(P),
        "mine",
      ],
      [
        TypeError,
        () => op("k", "..., ... -> ...", { ...nothing, constant: [1] })(A, P),
        "k: input 1 gets no gradient; pass stopGradient of it...",
      ],
    ]);
  },
});

suite("tapes and parameters", {
  "values, shapes and options of a tape"() {
    const make = tape as unknown as Record<string, (...x: unknown[]) => unknown>;
    const New = (dtype: unknown, options?: unknown) => new Tape(dtype as "f32", options as object);
    refuse(tape, [
      [RangeError, () => tape.tensor([2], [1]), "tensor: [2] takes 2 numbers, got 1"],
      [TypeError, () => make.tensor!(3), "tensor: shape is 3\n  wants an array of sizes"],
      [RangeError, () => tape.tensor([2, -1]), "tensor: shape [2 -1] has the size -1\n  wants whole numbers from 0"],
      [RangeError, () => tape.param([1.5]), "param: shape [1.5]..."],
      [TypeError, () => make.tensor!([2], 5), "tensor: the values are 5\n  wants an array of numbers"],
      [TypeError, () => make.param!([2], [1, "2"]), `param: the value at 1 is "2"\n  wants numbers`],
      [TypeError, () => make.tensor!([2], new BigInt64Array(2)), "tensor: the value at 0 is 0..."],
      [TypeError, () => make.tensor!([1], null), "tensor: the values are null..."],
      [RangeError, () => tape.integers([2], [1, 0.5]), "integers: 0.5 at 1 is no 32-bit integer"],
      [RangeError, () => tape.integers([1], [2 ** 31]), "integers: 2147483648 at 0 is no 32-bit integer"],
      [RangeError, () => tape.integers([1], [NaN]), "integers: NaN at 0..."],
      [TypeError, () => make.integers!([2]), "integers: the values are undefined..."],
      [RangeError, () => tape.param([2], [1, 2, 3]), "param: [2] takes 2 numbers, got 3"],
      [RangeError, () => New("f16"), "engine: dtype is f16\n  wants f32 or f64"],
      [
        RangeError,
        () => New("f32", { debug: true }),
        "tape: unknown option debug\n  wants check, trace, seed, engine, module, limit",
      ],
      [TypeError, () => New("f32", { trace: 1 }), "tape: trace is 1\n  wants a function"],
      [RangeError, () => New("f32", { seed: -1 }), "tape: seed is -1..."],
      [RangeError, () => New("f32", { limit: NaN }), "engine: limit is NaN\n  wants a number from 0 to Infinity"],
      [TypeError, () => New("f32", { module: 5 }), "engine: the module is 5, and no kernels of f32..."],
      [TypeError, () => New("f32", 7), "tape: the options are 7..."],
      [RangeError, () => New("f32", { limit: 1000 }), "memory: wants..."],
      [RangeError, () => tape.engine.alloc(NaN), "memory: wants NaN..."],
      [RangeError, () => tape.engine.alloc(-5), "memory: wants..."],
    ]);
  },
  "trees, layers, tokens, the gradient check"() {
    refuse(tape, [
      [TypeError, () => any.leaves!({ a: { b: 3 } }), "leaves: a.b is 3\n  wants tensors, in objects and lists"],
      [TypeError, () => any.leaves!({ a: "abc" }), "leaves: a is abc..."],
      [TypeError, () => any.leaves!(null), "leaves: the tree is null..."],
      [TypeError, () => count(5 as never), "leaves: the tree is 5..."],
      [
        RangeError,
        () => mlp(A, { c_fc: { weight: W }, c_proj: { weight: W } }, "tanh" as never),
        "mlp: activation is tanh\n  wants gelu, geluErf, relu or swiglu",
      ],
      [TypeError, () => mlp(A, { c_fc: { weight: W }, c_proj: { weight: W } }, "swiglu"), "mlp: swiglu without c_gate"],
      [RangeError, () => tokens(tape, [[1, 2], [1]]), "tokens: rows of 2 and 1\n  wants rows of one length"],
      [TypeError, () => tokens(tape, A), "tokens: [2 3] of numbers\n  wants integers [batch time]"],
      [TypeError, () => tokens(tape, flat), "tokens: [3]..."],
      [TypeError, () => any.tokens!(tape), "tokens: ids are undefined..."],
      [RangeError, () => tokens(tape, [[1, 0.5]]), "integers: 0.5 at 1..."],
      [RangeError, () => gradcheck({}, () => sum(P)), "gradcheck: no parameters"],
      [RangeError, () => gradcheck({ P }, () => sum(P), { directions: 0 }), "gradcheck: directions is 0..."],
      [RangeError, () => any.gradcheck!({ P }, () => sum(P), { tol: 1 }), "gradcheck: unknown option tol..."],
      [RangeError, () => gradcheck({ P }, () => P), "backward: [2 3] is no scalar..."],
      [RangeError, () => philox([1], [2]), "philox: 1 words of counter and 1 of key\n  wants 4 and 2"],
      [RangeError, () => random(0.5), "random: seed is 0.5..."],
    ]);
  },
  "optimisers, clipping and schedules, before any parameter moves"() {
    const wrong = (f: (p: { P: Tensor }, o: never) => unknown, options: object) => () => f({ P }, options as never);
    const v = adamw({ P });
    refuse(tape, [
      [RangeError, wrong(sgd, { lr: -1 }), "sgd: lr is -1\n  wants a number from 0"],
      [TypeError, wrong(sgd, { lr: null }), "sgd: lr is null\n  wants a number from 0"],
      [RangeError, wrong(sgd, { momentum: 1 }), "sgd: momentum is 1\n  wants a number from 0 to below 1"],
      [RangeError, wrong(sgd, { nesterov: true }), "sgd: nesterov needs a momentum above 0"],
      [
        RangeError,
        wrong(sgd, { weightDecay: 1 }),
        "sgd: unknown option weightDecay\n  wants lr, momentum, nesterov, decay, decays",
      ],
      [RangeError, wrong(adamw, { betas: [1, 0.9] }), "adamw: betas[0] is 1..."],
      [TypeError, wrong(adamw, { betas: 0.9 }), "adamw: betas is 0.9\n  wants two numbers"],
      [RangeError, wrong(adamw, { eps: NaN }), "adamw: eps is NaN..."],
      [RangeError, wrong(adamw, { decay: -1 }), "adamw: decay is -1..."],
      [RangeError, wrong(adam, { decay: 0.1 }), "adam: unknown option decay..."],
      [TypeError, () => sgd({ A }), "sgd: A is no parameter\n  wants tensors made by tape.param"],
      [RangeError, () => adamw({}), "adamw: no parameters"],
      [RangeError, () => sgd({ P, x: { q: P } }), "sgd: P and x.q are one parameter\n  wants each once"],
      [RangeError, () => sgd({ P }).step(NaN), "sgd: lr is NaN..."],
      [RangeError, () => v.step(-1), "adamw: lr is -1..."],
      [RangeError, () => clipNorm({ P }, NaN), "clipNorm: most is NaN..."],
      [RangeError, () => clipValue({ P }, -1), "clipValue: most is -1..."],
      [TypeError, () => clipNorm({ A }, 1), "clipNorm: A is no parameter..."],
      [
        RangeError,
        () => any.schedule!("step", { lr: 1 }),
        "schedule: kind is step\n  wants constant, linear or cosine",
      ],
      [
        RangeError,
        () => schedule("cosine", { lr: 1 }),
        "schedule: steps is 0 and warmup 0\n  wants more steps than warm-up",
      ],
      [RangeError, () => schedule("linear", { lr: NaN, steps: 3 }), "schedule: lr is NaN..."],
      [RangeError, () => any.schedule!("linear", { lr: 1, step: 3 }), "schedule: unknown option step..."],
    ]);
    assert.is(v.updates, 0);
    const ended = tape.scope(() => adamw({ p: tape.param([2]) }));
    refuse(tape, [[Error, () => ended.step(), "adamw: tensor [2] was used after its scope ended..."]]);
  },
});

const small = { vocab: 5, d: 8, heads: 2, layers: 1, context: 8 };
const net = transformer(small);
const np = net.params(tape);
const vectors = transformer({ inputs: 2, outputs: 1, d: 8, heads: 2, layers: 1, context: 8 });
const vp = vectors.params(tape);
const back = transformer({ ...small, causal: false, norm: "post" });
const mem = rmt(net, { memory: 2, segment: 3 });
const mp = mem.params(tape);
const enc = rmtEncoder(back, { memory: 2, segment: 3, classes: 2 });
const ep = enc.params(tape);
const start = mem.start(mp, 1);
const four = tape.integers([1, 4], [0, 1, 2, 9]);
const one = tape.integers([1, 1], [1]);
const drain = (stream: Iterable<unknown>): unknown => [...stream];

suite("models", {
  "options of a transformer"() {
    const bad: [object, string][] = [
      [{ vocab: 2.5 }, "vocab is 2.5\n  wants an integer from 0 to 9007199254740991"],
      [{ inputs: 2 }, "vocab is 5 and inputs 2\n  wants one of the two"],
      [{ vocab: undefined, inputs: 2 }, "outputs is 0\n  wants vocab, or inputs and outputs"],
      [{ d: 6, heads: 4 }, "4 heads do not divide d 6\n  wants d a multiple of heads"],
      [
        { position: "x" },
        "position is x\n  wants none, or a list of absolute, sinusoidal, relative, rope, alibi, cope",
      ],
      [{ norm: "x" }, "norm is x\n  wants pre or post"],
      [{ activation: "x" }, "activation is x..."],
      [{ cope: { scaling: "x" } }, "cope.scaling is x..."],
      [{ cope: { gates: "x" } }, "cope.gates is x..."],
      [{ cope: { rows: 0 } }, "cope.rows is 0..."],
      [{ position: "rope", rope: { theta: 0 } }, "rope.theta is 0..."],
      [{ position: "rope", d: 6 }, "heads are 3 wide..."],
      [{ dropout: 1 }, "dropout is 1\n  wants a number from 0 to below 1"],
      [{ eps: -1 }, "eps is -1..."],
      [{ outputs: 3, tied: true }, "tied with 3 outputs for 5 tokens..."],
      [{ norm: "post", myopic: { cut: "pre_ln" } }, "the cut pre_ln with norm post..."],
      [{ layers: 0 }, "layers is 0..."],
      [{ width: 3 }, "unknown option width..."],
    ];
    refuse(tape, [
      ...bad.map(([o, text]): Case => [
        RangeError,
        () => transformer({ ...small, ...o } as never),
        `transformer: ${text}`,
      ]),
      [TypeError, () => any.transformer!(), "transformer: the options are undefined..."],
      [
        RangeError,
        () => transformer({ ...small, cope: { npos: 3 } } as never),
        "transformer, cope: unknown option npos\n  wants rows, scaling, gates, table, bias, rotated, every",
      ],
      [
        RangeError,
        () => transformer({ ...small, myopic: { mode: "x" } } as never),
        "myopia: mode is x\n  wants diagonal, window or discount",
      ],
      [RangeError, () => myopia({ mode: "window", horizon: -1 }), "myopia: horizon is -1..."],
      [RangeError, () => myopia({ mode: "discount", gamma: 2 }), "myopia: gamma is 2..."],
      // @ts-expect-error a window has a horizon
      [RangeError, () => myopia({ mode: "window" }), "myopia: window with horizon undefined and gamma undefined..."],
      // @ts-expect-error a discount has a gamma
      [RangeError, () => myopia({ mode: "discount" }), "myopia: discount with horizon undefined and gamma und..."],
      // @ts-expect-error a horizon is of a window
      [RangeError, () => myopia({ horizon: 2 }), "myopia: diagonal with horizon 2 and gamma undefined..."],
      // @ts-expect-error and a gamma is not
      [RangeError, () => myopia({ mode: "window", horizon: 2, gamma: 1 }), "myopia: window with horizon 2 and ga..."],
    ]);
  },
  "what a transformer reads"() {
    const scoped = (f: () => unknown) => () => tape.step(f as () => Tensor);
    refuse(tape, [
      [
        RangeError,
        () => net.logits(np, four),
        "embedding: input 1 holds 9 at place 3, outside 0..4" +
          "\n  wants v d, ...<v -> ... d" +
          "\n  got   [5 8], [1 4] integers",
      ],
      [
        RangeError,
        scoped(() => net.logits(np, long)),
        "absolute: 9 places are more than the 8 of the table\n  wants a larger context",
      ],
      [RangeError, () => net.logits(np, flat), "transformer: the input is [3]\n  wants a tensor [batch time]"],
      [TypeError, () => net.logits(np, A), "transformer: got [2 3]\n  wants a tensor of integers [batch time]"],
      [TypeError, () => net.logits(np, [1] as never), "transformer: the input is [1]\n  wants a tensor [batch time]"],
      [RangeError, () => vectors.logits(vp, ids), "transformer: the input is [2 3]\n  wants a tensor [batch time 2]"],
      [RangeError, scoped(() => net.loss(np, ids, two)), "crossEntropy: ... is [2 3] and [2 2]..."],
      [RangeError, scoped(() => net.loss(np, ids, none)), "crossEntropy: no mean over nothing..."],
      [RangeError, () => net.states(np, A), "transformer: the input is [2 3]\n  wants a tensor [batch time 8]"],
      [
        RangeError,
        scoped(() => net.logits({ ...np, h: [] }, ids)),
        "transformer: 12 parameters are of another model\n  h.0.ln_1.weight is missing, wants [8]...",
      ],
      [RangeError, scoped(() => net.logits(np, ids, { allowed: A })), "attention: t is 3 and 2..."],
    ]);
  },
  "attention, masks and positions"() {
    refuse(tape, [
      [RangeError, () => attend(A, A, A), "attention: q is [2 3]\n  wants a tensor [b t h d]"],
      [RangeError, () => attend(Q, Q, Q, { position: "x" as never }), "attention: position is x..."],
      [
        TypeError,
        () => attention(Q, Q, Q, { position: "cope" }),
        "attention: position is cope\n  wants tables.cope, [positions 4]",
      ],
      [TypeError, () => attend(Q, Q, Q, { position: "relative" }), "attention: position is relative..."],
      [
        TypeError,
        () => attend(Q, Q, Q, { position: "cope", tables: { cope: T }, cope: { gates: "sep" } }),
        "attention: the gates are sep\n  wants gateKeys, b s g d",
      ],
      [RangeError, () => any.attend!(Q, Q, Q, { mask: T }), "attention: unknown option mask..."],
      [
        RangeError,
        () => mask(4, 2, true),
        "mask: 4 queries are more than 2 places\n  wants queries that are the last of the places, or causal: false",
      ],
      [RangeError, () => alibiSlopes(Infinity), "alibiSlopes: heads is Infinity..."],
      [RangeError, () => alibi(2, -1, 2), "alibi: t is -1..."],
      [RangeError, () => sinusoidal(-1, 4), "sinusoidal: t is -1..."],
      [RangeError, () => rotary(tape, 2, 3), "rotary: heads are 3 wide\n  wants an even width"],
      [RangeError, () => rotary(tape, 2, 4, { theta: -1 }), "rotary: theta is -1..."],
      [RangeError, () => distances(2, 2, 0), "distances: rows is 0..."],
    ]);
  },
  "recurrent memory: options, tokens, memory and labels"() {
    const bad: [object, string][] = [
      [{ segment: 0 }, "segment is 0\n  wants an integer from 1 to 9007199254740991"],
      [{ memory: 0 }, "memory is 0..."],
      [{ k: -1 }, "k is -1\n  wants an integer from 0 to 9007199254740991"],
      [{ truncation: "x" }, "truncation is x..."],
      [{ losses: "x" }, "losses is x..."],
      [{ mem: 1 }, "unknown option mem..."],
    ];
    const scoped = (f: () => unknown) => () => tape.step(f as () => Tensor);
    refuse(tape, [
      ...bad.flatMap(([o, text]): Case[] => [
        [RangeError, () => rmt(net, { memory: 2, segment: 3, ...o } as never), `rmt: ${text}`],
        [
          RangeError,
          () => rmtEncoder(back, { memory: 2, segment: 3, classes: 2, ...o } as never),
          `rmtEncoder: ${text}`,
        ],
      ]),
      [
        RangeError,
        () => rmt(net, { memory: 2, segment: 5 }),
        "rmt: a segment of 5 with two blocks of 2 memory vectors takes 9 places, more than the 8 of the table of " +
          "positions\n  wants context of at least 9, or shorter segments",
      ],
      [RangeError, () => rmt(net, { segment: 1, memory: 1, exempt: "x" as never }), "rmt: exempt is x..."],
      [TypeError, () => any.rmt!(net), "rmt: the options are undefined..."],
      [RangeError, () => rmt(vectors, { segment: 2 }), "rmt: the model reads vectors..."],
      [
        RangeError,
        () => rmtEncoder(back, { segment: 5, classes: 2 }),
        "rmtEncoder: a segment of 5 with 4 memory vectors and 3 marks takes 12...",
      ],
      [RangeError, () => rmtEncoder(net, { segment: 1, classes: 2 }), "rmtEncoder: the model is causal..."],
      [TypeError, () => any.rmtEncoder!(back, { segment: 1 }), "rmtEncoder: classes is undefined..."],
      [TypeError, () => any.rmt!(net, {}), "rmt: segment is undefined..."],
      [TypeError, () => rmt(net, { segment: 1, k: "2" as never }), 'rmt: k is "2"...'],
      [
        RangeError,
        () => rmtEncoder(back, { segment: 1, classes: 2, cls: 5 }),
        "rmtEncoder: cls is 5\n  wants an integer from 0 to 4",
      ],
      [TypeError, () => mem.logits(mp, flat), "tokens: [3]..."],
      [TypeError, () => mem.loss(mp, A, ids), "tokens: [2 3] of numbers..."],
      [TypeError, () => mem.loss(mp, ids, A), "tokens: [2 3] of numbers..."],
      [RangeError, () => mem.loss(mp, ids, two), "rmt: targets are [2 2]\n  wants [2 3], as the tokens"],
      [RangeError, () => mem.loss(mp, ids, none), "rmt: no target counts: every one is -100"],
      [RangeError, () => mem.loss(mp, empty, empty), "rmt: no tokens in [2 0]..."],
      [
        RangeError,
        () => tape.scope(() => drain(mem.stream(mp, [four]))),
        "embedding: input 1 holds 9 at place 0, outside 0..4...",
      ],
      [RangeError, () => mem.step(mp, four, start), "rmt: a segment of 4 tokens\n  wants at most 3"],
      [RangeError, () => mem.step(mp, ids, start), "rmt: memory is [1 2 8]\n  wants [2 2 8]"],
      [TypeError, () => mem.step(mp, ids, start.memory as never), "rmt: memory is undefined\n  wants a tensor [b m d]"],
      [RangeError, () => mem.step(mp, one, { ...start, at: -1 }), "rmt: at is -1..."],
      [TypeError, () => mem.step(mp, one, start, null as never), "rmt: the options are null..."],
      [RangeError, () => mem.step(mp, one, start, { asked: false } as never), "rmt: unknown option asked..."],
      [RangeError, () => mem.start(mp, 0), "start: b is 0..."],
      [RangeError, () => enc.step(ep, [[1, 2, 3, 4]], start), "rmtEncoder: a segment of 4 tokens\n  wants at most 3"],
      [RangeError, () => enc.step(ep, [[1], [2]], start), "rmtEncoder: memory is [1 2 8]\n  wants [2 2 8]"],
      [TypeError, () => mem.stream(mp, four as never).next(), "stream: got Tensor [1 4]..."],
      [TypeError, () => mem.stream(mp, [[1, 2]] as never).next(), "stream: a piece is [1 2]..."],
      [TypeError, () => enc.stream(ep, [3] as never).next(), "stream: a piece is 3\n  wants an iterable of pieces..."],
      [TypeError, () => mem.stream(mp, [one], { ask: "loss" }).next(), "stream: a piece without targets..."],
      [RangeError, () => mem.stream(mp, [one], { ask: "x" as never }).next(), "stream: ask is x..."],
      [RangeError, () => mem.stream(mp, [one], { asked: 1 } as never).next(), "stream: unknown option asked..."],
      [RangeError, () => drain(mem.stream(mp, [[[1]], [[1], [2]]])), "stream: a piece has other rows..."],
      [RangeError, () => drain(mem.stream(mp, [[[1, 2], [1]]])), "stream: a piece has other rows..."],
      [
        RangeError,
        () => drain(mem.stream(mp, [[[1], [2]], { input: [[1]], targets: [[1]] }])),
        "stream: a piece has other rows...",
      ],
      [RangeError, () => enc.logits(ep, []), "rmtEncoder: 0 sequences..."],
      [RangeError, () => enc.loss(ep, [[]], flat), "rmtEncoder: 1 sequences, the first of 0 tokens..."],
      [
        RangeError,
        () => enc.logits(ep, [[1], [1, 2, 3, 4]]),
        "rmtEncoder: sequences of 1 and 4 tokens\n  wants one number of segments of 3 for all",
      ],
      [RangeError, scoped(() => enc.loss(ep, [[1]], high)), "crossEntropy: ... is [1] and [2]..."],
      [RangeError, scoped(() => enc.loss(ep, [[9]], skip)), "embedding: input 1 holds 9..."],
    ]);
  },
  "recurrent decoders with more memory"() {
    const myopic = transformer({ ...small, myopic: {} });
    const how = { memory: 2, segment: 3, width: 4 };
    const { width: _, ...plain } = how;
    const [a, r] = [armt(net, how), rmtR(transformer({ ...small, context: 9 }), plain)];
    const [ap, rp] = [a.params(tape), r.params(tape)];
    const [as, rs] = [a.start(ap, 1), r.start(rp, 1)];
    const { matrix, sum: keys } = as.layers[0]!;
    const [weights] = ap.association;
    const places = tape.tensor([1, 2, 8]);
    refuse(tape, [
      [RangeError, () => armt(net, { ...how, width: 1 }), "armt: width is 1\n  wants an integer from 2..."],
      [RangeError, () => armt(net, { ...how, segment: 7 }), "armt: a segment of 7 with 2 memory vectors takes 9..."],
      [RangeError, () => armt(back, how), "armt: the model reads vectors, sees both ways or is myopic..."],
      [RangeError, () => armt(myopic, how), "armt: the model reads vectors, sees both ways or is myopic..."],
      [RangeError, () => armt(net, { ...how, exempt: "touch" } as never), "armt: unknown option exempt..."],
      [RangeError, () => rmtR(net, plain), "rmtR: a segment of 3 with three blocks of 2 memory vectors takes 9..."],
      [RangeError, () => rmtR(vectors, plain), "rmtR: the model reads vectors, sees both ways or is myopic..."],
      [RangeError, () => rmtR(myopic, plain), "rmtR: the model reads vectors, sees both ways or is myopic..."],
      [RangeError, () => rmtR(net, how), "rmtR: unknown option width..."],
      [RangeError, () => a.step(ap, four, as), "armt: a segment of 4 tokens\n  wants at most 3"],
      [RangeError, () => a.step(ap, [[1], [2]], as), "armt: matrix is [1 24 8]\n  wants [2 24 8]"],
      [RangeError, () => a.step(ap, one, { ...as, layers: [] }), "armt: a state of 0 layers\n  wants 1, of this model"],
      [TypeError, () => a.step(ap, one, rs as never), "armt: layers are undefined..."],
      [RangeError, () => a.step(ap, one, { ...as, at: 0.5 }), "armt: at is 0.5..."],
      [RangeError, () => a.start(ap, 0), "start: b is 0..."],
      [RangeError, () => a.start(rp as never, 1), "armt: 4 parameters are of another model..."],
      [RangeError, () => a.loss(ap, ids, two), "armt: targets are [2 2]\n  wants [2 3], as the tokens"],
      [RangeError, () => a.logits(ap, empty), "armt: no tokens in [2 0]..."],
      [RangeError, () => r.step(rp, four, rs), "rmtR: a segment of 4 tokens\n  wants at most 3"],
      [RangeError, () => r.step(rp, [[1], [2]], rs), "rmtR: memories are [1 2 8]\n  wants [2 s 8], s a multiple of 2"],
      [TypeError, () => r.step(rp, one, as as never), "rmtR: memories is undefined..."],
      [RangeError, () => r.loss(rp, ids, none), "rmtR: no target counts: every one is -100"],
      [TypeError, () => association({} as never, 1, as.layers[0]!), "association: query.weight is undefined..."],
      [RangeError, () => association(weights!, 0, as.layers[0]!), "association: m is 0..."],
      [
        RangeError,
        () => association(weights!, 1, { matrix, sum: matrix }),
        "association: sum is [1 24 8]\n  wants [1 24 1]",
      ],
      [
        RangeError,
        () => association(weights!, 3, { matrix, sum: keys }).next(places, places),
        "association: 2 places are left of what the layer made\n  wants 3 that write, its last",
      ],
      [RangeError, () => association(weights!, 1, as.layers[0]!).enter!(A), "association: x is [2 3]..."],
    ]);
  },
  tasks() {
    refuse(tape, [
      [RangeError, () => counting({ vars: 0 }), "counting: vars is 0\n  wants an integer from 1 to 26"],
      [RangeError, () => memorize({ segment: 5 }), "memorize: segment is 5\n  wants an integer from 11..."],
      [
        RangeError,
        () => memorize({ segment: 12, at: "x" as never }),
        "memorize: at is x\n  wants start, segment or random",
      ],
      [
        RangeError,
        () => memorize({ segment: 12, facts: "x" as never }),
        "memorize: facts is x\n  wants all, train or held",
      ],
      [RangeError, () => reasoning({ segment: 22 }), "reasoning: segment is 22\n  wants an integer from 23..."],
      [RangeError, () => reasoning({ segment: 23, needs: "x" as never }), "reasoning: needs is x\n  wants one or both"],
      [RangeError, () => copyTwice({ symbols: 0 }), "copyTwice: symbols is 0\n  wants an integer from 1 to 1048576"],
      [RangeError, () => reversal({ symbols: 0 }), "reversal: symbols is 0\n  wants an integer from 1 to 1048576"],
      [
        RangeError,
        () => associativeRetrieval({ pairs: 11 }),
        "associativeRetrieval: pairs is 11\n  wants an integer from 1 to 10",
      ],
      [
        RangeError,
        () => quadraticEquations({ unreal: 2 }),
        "quadraticEquations: unreal is 2\n  wants a number from 0 to 1",
      ],
      [RangeError, () => flipFlop({ ignore: 2 }), "flipFlop: ignore is 2\n  wants a number from 0 to 1"],
      [RangeError, () => flipFlop({ instructions: 1 }), "flipFlop: instructions is 1\n  wants an integer from 2..."],
      [RangeError, () => selectiveCopy({ vocab: 2 }), "selectiveCopy: vocab is 2\n  wants an integer from 3 to 65536"],
      [RangeError, () => language({ unit: "words" }), "language: words need a vocabulary\n  wants text or vocab"],
      [
        RangeError,
        () => language({ size: 9, least: 2 }),
        "language: bytes have a vocabulary of their own\n  wants unit alone\n  got   size, least",
      ],
      [
        RangeError,
        () => language({ unit: "words", vocab: ["<unk>", "a"], size: 2 }),
        "language: a vocabulary is not cut\n  wants vocab alone\n  got   size, vocab",
      ],
      [
        RangeError,
        () => language({ unit: "words", vocab: ["a", "<unk>"] }),
        'language: vocab is ["a" "<unk>"]\n  wants <unk>, then words, each once',
      ],
      [
        RangeError,
        () => language({ unit: "words", text: "a b", least: 2 }),
        "language: the text has no words, or none often enough",
      ],
      [RangeError, () => language().batch(random(1), [1, 2], 1, 2), "language: 2 ids hold no 2 and a next one"],
      [
        RangeError,
        () => language().windows([1, 2, 3], 2, { stride: 3 }),
        "language: stride is 3\n  wants an integer from 1 to 2",
      ],
      [
        RangeError,
        () => language().windows([1, 2, 3], 2, { from: 3 }),
        "language: from is 3\n  wants an integer from 1 to 2",
      ],
      [
        RangeError,
        () => language().batch(random(1), [1, 256], 1, 1),
        "language: an id is 256\n  wants an integer from 0 to 255",
      ],
      [TypeError, () => language().encode(7 as never), "language: text is 7\n  wants a string"],
      [RangeError, () => mistakes([1, 2, 3], [0, 1], 1), "mistakes: the logits are [1 2 3]..."],
      [RangeError, () => mistakes([1, 2], [0, 1], 3), "mistakes: 2 targets are no rows of 3"],
      [RangeError, () => mistakes([1, 2], [0, 1], 1), "mistakes: a target is 1\n  wants an integer from 0 to 0"],
      [RangeError, () => counting().padded([{ tokens: [], answer: 9 }]), "counting: a sample has no tokens"],
      [RangeError, () => counting().padded([]), "counting: samples is 0\n  wants an integer from 1..."],
      [
        RangeError,
        () => counting().padded([{ tokens: [1], answer: 19 }]),
        "counting: an id is 19\n  wants an integer from 0 to 18",
      ],
      [RangeError, () => sine({ p: 2 }), "sine: p is 2\n  wants a number from 0 to 1"],
      [RangeError, () => sine().batch(random(1), 0), "sine: n is 0..."],
    ]);
  },
});

/** A model that has made a step, and everything that a failure must leave alone. */
function pair() {
  const t = new Tape("f32");
  const w = t.param([2, 3], [1, 2, 3, 4, 5, 6]);
  const b = t.param([2], [7, 8]);
  const params = { w, l: [{ b }] };
  const optimizer = adamw(params);
  t.step(() => sum(mul(w, w)));
  return {
    t,
    w,
    params,
    optimizer,
    run: { params, optimizer, step: 3 },
    all: [w, b, ...leaves(optimizer.state).map(([, x]) => x)],
  };
}
suite("checkpoints", {
  "a file that is cut, hostile or of something else changes nothing"() {
    const { t, w, run, params, optimizer, all } = pair();
    const file = save(run, { note: "x" });
    const { tensors } = parse(file);
    w.values().fill(9);
    const before = state(t, all);
    const meta = (o: object) =>
      farsight.serialize(tensors, {
        "farsight.step": "1",
        "farsight.updates": "1",
        "farsight.seed": "1",
        "farsight.position": "1",
        ...o,
      });
    for (let n = 0; n < file.length; n += 7)
      assert.match(
        thrown(RangeError, () => load(run, file.subarray(0, n))),
        /^safetensors: /,
      );
    const with_ = (o: object) => farsight.serialize({ ...Object.fromEntries(tensors), ...o });
    const evil = "x".repeat(5000) + "\n";
    for (const [kind, call, text] of [
      [
        RangeError,
        () => load({ params: { w: params.w } }, file),
        "load: the file does not fit; nothing was changed" +
          "\n  unexpected: l.0.b, optimizer.l.0.b.m, optimizer.l.0.b.v, optimizer.w.m, optimizer.w.v",
      ],
      [
        RangeError,
        () => load(run, save({ params })),
        "load: the file does not fit; nothing was changed" +
          "\n  missing: optimizer.w.m, optimizer.w.v, optimizer.l.0.b.m, optimizer.l.0.b.v",
      ],
      [
        RangeError,
        () => loadParams(params, with_({ w: { shape: [3, 2], values: new Float32Array(6) } })),
        "loadParams: the file does not fit; nothing was changed\n  mismatched: w is [3 2], wants [2 3]",
      ],
      [
        RangeError,
        () => load(run, with_({ w: { shape: [2, 3], values: new Float64Array(6) } })),
        "load: the file does not fit; nothing was changed\n  mismatched: w is F64, wants F32",
      ],
      [
        RangeError,
        () => loadParams(params, with_({ w: { shape: [2, 3], values: new Int32Array(6) } })),
        "...w is I32, wants floats",
      ],
      ...["-1", "", "x", "1.5", "1e3", "99999999999999999999"].map(
        bad =>
          [
            RangeError,
            () => load(run, meta({ "farsight.position": bad })),
            `load: the file's position is ${bad}\n  wants a file written by save`,
          ] as const,
      ),
      [RangeError, () => load(run, with_({})), "load: the file's step is undefined..."],
      [
        RangeError,
        () => loadParams(params, with_({ [evil]: { shape: [], values: new Float32Array(1) } })),
        `...unexpected: ${JSON.stringify("x".repeat(60) + "...")}`,
      ],
      [TypeError, () => load(run, "x" as never), 'safetensors: a file is a Uint8Array, not "x"'],
      [RangeError, () => load({ params: {} }, file), "load: no parameters"],
      [RangeError, () => save({ params: {} }), "save: no parameters"],
      [RangeError, () => save({ ...run, step: NaN }), "save: step is NaN..."],
      [RangeError, () => save({ params: { "a.b": params.w, a: { b: params.w } } }), "save: two tensors are called a.b"],
      [TypeError, () => save(run, { n: 3 } as never), "safetensors: metadata n is a string, not 3"],
    ] as Case[])
      refuse(t, [[kind, call, text]]);
    assert.equal(state(t, all), before);
    assert.is(optimizer.updates, 0);
    assert.is(load(run, file).step, 3);
  },
});

suite("fit", {
  async "a loss that is not finite, a bad rate or a bad option leaves parameters and optimiser to the bit"() {
    const drain = async (o: object): Promise<Error> => {
      try {
        for await (const _ of fit(o as never));
      } catch (error) {
        return error as Error;
      }
      throw new Error("no error");
    };
    const { t, w, params, optimizer, all } = pair();
    const before = all.map(x => bits(x.values()));
    const loss = () => sum(mul(w, w));
    const o = { params, optimizer, loss, steps: 2 };
    for (const [options, text] of [
      [
        { loss: () => mul(loss(), t.tensor([], [NaN])) },
        "RangeError: step: the loss is NaN; parameters and gradients are as before...",
      ],
      [{ loss: () => scale(loss(), { by: 1e39 }) }, "RangeError: step: the loss is Infinity..."],
      [{ schedule: () => NaN }, "RangeError: fit: lr is NaN..."],
      [{ clip: { norm: -1 } }, "RangeError: fit: clip.norm is -1..."],
      [{ clip: { norms: 1 } }, "RangeError: fit, clip: unknown option norms..."],
      [{ steps: NaN }, "RangeError: fit: steps is NaN..."],
      [{ from: 0.5 }, "RangeError: fit: from is 0.5..."],
      [{ params: {} }, "RangeError: fit: no parameters"],
      [{ loss: 3 }, "TypeError: fit: loss is 3..."],
      [{ optimizer: undefined }, "TypeError: fit: optimizer is undefined..."],
      [{ loss: () => 3 }, "TypeError: step: the function returned 3..."],
      [
        {
          clip: { norm: 1 },
          loss: () => {
            const y = sum(farsight.sqrt(scale(w, { by: 0 })));
            return y;
          },
        },
        "RangeError: clipNorm: the gradient of w is NaN at [0 0]; nothing has changed...",
      ],
    ] as [object, string][]) {
      const error = String(await drain({ ...o, ...options }));
      assert.ok(
        text.endsWith("...") ? error.startsWith(text.slice(0, -3)) : error === text,
        `${error}\n  instead of ${text}`,
      );
      assert.equal(
        all.map(x => bits(x.values())),
        before,
        text,
      );
      assert.is(optimizer.updates, 0);
    }
    for await (const { step } of fit(o)) assert.is(step, optimizer.updates);
    assert.ok(t.engine.mark > 0 && bits(w.values()) !== before[0]);
  },
});
