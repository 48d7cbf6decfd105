// growth.test.ts: every public function that takes a size, at n, 2n and 4n: kernel calls and bytes claimed grow no
// faster than n, and time nothing like n². (Attention's own work, a product of two lengths, is kept small beside it.)
import * as farsight from "farsight";
import {
  Tape,
  adam,
  adamw,
  add,
  associativeRetrieval,
  clipNorm,
  clipValue,
  concat,
  copyTwice,
  counting,
  flipFlop,
  language,
  curriculum,
  fit,
  generate,
  gradcheck,
  leaves,
  gpt2,
  load,
  loadGpt2,
  loadParams,
  memorize,
  mistakes,
  mul,
  parse,
  quadraticEquations,
  random,
  armt,
  reasoning,
  reversal,
  rmt,
  rmtEncoder,
  save,
  selectiveCopy,
  serialize,
  sgd,
  sine,
  slice,
  sum,
  transformer,
  type Op,
  type Tensor,
  type Tree,
} from "farsight";
import * as assert from "uvu/assert";
import { suite } from "./check.ts";

/** Prepares work of size n on a fresh tape; what it returns is measured. */
type Job = (n: number, tape: Tape) => () => unknown;
interface Cost {
  calls: number;
  bytes: number;
  time: number;
}

/** Counts the calls of a tape's kernels and notes the highest address it claims. */
function watched(tape: Tape): { calls: number; top: number } {
  const seen = { calls: 0, top: 0 };
  const { engine } = tape;
  const kernels = engine.kernels as unknown as Record<string, unknown>;
  for (const [name, kernel] of Object.entries(kernels))
    if (typeof kernel === "function" && name !== "block")
      kernels[name] = (...words: unknown[]) => {
        seen.calls++;
        return kernel(...words);
      };
  const alloc = engine.alloc.bind(engine);
  engine.alloc = (n, width) => {
    const at = alloc(n, width);
    seen.top = Math.max(seen.top, engine.mark);
    return at;
  };
  return seen;
}
async function cost(job: Job, n: number): Promise<Cost> {
  const tape = new Tape("f32");
  const work = job(n, tape);
  const seen = watched(tape);
  const start = performance.now();
  const made = work();
  if (made instanceof Promise) await made;
  return { ...seen, bytes: seen.top, time: performance.now() - start };
}

/** Throws where the growth from 2n to 4n is more than twice that from n to 2n, but for rounding. */
function straight(what: string, [a, b, c]: readonly number[], slack: number): void {
  if (c! - b! <= 2.2 * Math.max(0, b! - a!) + slack) return;
  throw new Error(`${what} at n, 2n and 4n: ${a}, ${b}, ${c}`);
}
/**
 * Throws where four times the size takes over eight times as long, twice over: n² would take sixteen times. The least
 * of several measurements counts, since others use the machine as well.
 */
async function linear(job: Job, n: number): Promise<void> {
  const costs: Cost[] = [];
  for (const size of [n, 2 * n, 4 * n]) costs.push(await cost(job, size));
  for (const [what, slack] of [
    ["calls", 8],
    ["bytes", 4096],
  ] as const)
    straight(
      what,
      costs.map(c => c[what]),
      slack,
    );
  const times = [costs[0]!.time, costs[2]!.time];
  const measure = async (i: number): Promise<number> => (await cost(job, 4 ** i * n)).time;
  const steep = (i: number): boolean => times[i + 1]! > 8 * Math.max(times[i]!, 1);
  for (let tries = 0; tries < 5 && steep(0); tries++)
    for (const i of [0, 1]) times[i] = Math.min(times[i]!, await measure(i));
  if (!steep(0)) return;
  if (times[1]! < 500) times.push(await measure(2)); // such short times may be chance
  if (times.length === 2 || steep(1))
    throw new Error(`at n, 4n and so on: ${times.map(time => `${time.toFixed(1)} ms`).join(", ")}`);
}
/** Tests of jobs, each at its n. */
const grown = (jobs: Record<string, readonly [n: number, job: Job]>): Record<string, () => Promise<void>> =>
  Object.fromEntries(Object.entries(jobs).map(([name, [n, job]]) => [name, () => linear(job, n)]));

const list = <T>(n: number, make: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => make(i));
const param = (tape: Tape): Tensor => tape.param([2], [1, 2]);
/** A tree of n parameters. */
type Flat = { readonly p: readonly Tensor[] & readonly Tree[] };
const tree = (n: number, tape: Tape): Flat => ({ p: list(n, () => param(tape)) }) as unknown as Flat;
/** Runs backwards through what `body` makes. */
const stepped = (tape: Tape, body: () => Tensor): number => tape.step(() => sum(body()));
function chain(n: number, x: Tensor): Tensor {
  for (let i = 0; i < n; i++) x = farsight.tanh(x);
  return x;
}
/** Parameters with gradients that are not zero. */
function graded(n: number, tape: Tape): Flat {
  const params = tree(n, tape);
  stepped(tape, () => concat(params.p));
  return params;
}
const drain = (steps: Iterable<unknown>): void => {
  for (const _ of steps);
};
async function trained(options: farsight.FitOptions): Promise<void> {
  for await (const _ of fit(options));
}

const small = { vocab: 5, d: 4, heads: 1, layers: 1, inner: 4, position: "none" } as const;
const inner = transformer(small);
const memory = rmt(inner, { segment: 2, memory: 1 });
/** A transformer's stream of n pieces of one token. */
const streaming = (options: (n: number) => { cache: number } | { earlier: number }) => (n: number, tape: Tape) => {
  const params = inner.params(tape);
  return () =>
    drain(
      inner.stream(
        params,
        list(n, () => [[3]]),
        options(n),
      ),
    );
};
const encoder = rmtEncoder(transformer({ ...small, causal: false, norm: "post" }), {
  segment: 2,
  memory: 1,
  classes: 2,
});
const tokens = (tape: Tape, b: number, t: number): Tensor => tape.integers([b, t], new Int32Array(b * t).fill(3));
const stored = (n: number, name: string) =>
  list(n, i => [`${name}.${i}`, { shape: [2], values: new Float32Array(2) }] as const);

suite(
  "growth of the tape",
  grown({
    "tensors and parameters": [2000, (n, tape) => () => list(n, i => (i % 2 ? param(tape) : tape.tensor([3])))],
    "numbers of one tensor": [50_000, (n, tape) => () => tape.tensor([n], new Float32Array(n)).values().slice()],
    "operations of a step": [
      2000,
      (n, tape) => {
        const x = param(tape);
        return () => stepped(tape, () => chain(n, x));
      },
    ],
    "operations before backward": [
      2000,
      (n, tape) => {
        const x = param(tape);
        return () => tape.backward(sum(chain(n, x)));
      },
    ],
    "operations that read one tensor": [
      2000,
      (n, tape) => {
        const x = param(tape);
        return () => stepped(tape, () => concat(list(n, () => mul(x, x))));
      },
    ],
    "operations that read a tensor each": [
      1000,
      (n, tape) => {
        const { p } = tree(n, tape);
        return () => stepped(tape, () => p.reduce((a, x) => add(a, mul(x, x))));
      },
    ],
    "backward passes in one scope": [
      500,
      (n, tape) => {
        const x = param(tape);
        return () => tape.scope(() => list(n, () => tape.backward(sum(mul(x, x)))));
      },
    ],
    "steps beside many parameters": [
      300,
      (n, tape) => {
        const { p } = tree(200, tape);
        return () => list(n, i => stepped(tape, () => p[i % 200]!));
      },
    ],
    "parameters beside a step": [
      2000,
      (n, tape) => {
        const { p } = tree(n, tape);
        return () => list(5, i => stepped(tape, () => p[i]!));
      },
    ],
    "micro-batches that accumulate": [
      300,
      (n, tape) => {
        const { p } = tree(20, tape);
        return () => list(n, i => tape.step(() => sum(p[i % 20]!), { accumulate: true }));
      },
    ],
    "checkpoints in a chain": [
      400,
      (n, tape) => {
        const x = param(tape);
        return () =>
          stepped(tape, () => {
            let y = x;
            for (let i = 0; i < n; i++) {
              const from = y;
              y = tape.checkpoint(() => farsight.tanh(mul(from, x)));
            }
            return y;
          });
      },
    ],
    "operations of a checkpoint": [
      1000,
      (n, tape) => {
        const x = param(tape);
        return () => stepped(tape, () => tape.checkpoint(() => chain(n, x)));
      },
    ],
    "scopes in scopes": [
      100,
      (n, tape) => {
        const x = param(tape);
        const nested = (depth: number): number => (depth ? tape.scope(() => nested(depth - 1)) : sum(mul(x, x)).item());
        return () => nested(n);
      },
    ],
    "scopes after scopes": [2000, (n, tape) => () => list(n, () => tape.scope(() => tape.tensor([4])))],
    "operations that throw in one scope": [
      500,
      (n, tape) => {
        const bad = farsight.op("bad(x)", "... -> ...", {
          forward() {
            throw new Error("bad");
          },
        });
        const x = param(tape);
        return () =>
          list(n, () => {
            const kept = mul(x, x);
            assert.throws(() => bad(kept));
            return kept.values();
          });
      },
    ],
    "operations under a trace": [
      1000,
      n => {
        const traced = new Tape("f32", { trace: () => () => {} });
        const x = param(traced);
        return () => stepped(traced, () => chain(n, x));
      },
    ],
    "operations that are checked": [
      1000,
      n => {
        const checked = new Tape("f32", { check: true });
        const x = checked.param([2]);
        return () => stepped(checked, () => chain(n, x));
      },
    ],
    "the text of a tape": [
      2000,
      (n, tape) => {
        chain(n, param(tape));
        return () => tape.toString();
      },
    ],
  }),
);

suite(
  "growth of operations",
  grown({
    "concat of many": [
      1000,
      (n, tape) => {
        const { p } = tree(n, tape);
        return () => stepped(tape, () => concat(p));
      },
    ],
    "slices of one tensor": [
      1000,
      (n, tape) => {
        const x = tape.param([n, 2]);
        return () => stepped(tape, () => concat(list(n, i => slice(x, i, i + 1, { axis: 0 }))));
      },
    ],
    "heads that share keys": [
      100,
      (n, tape) => {
        const q = tape.param([1, 2, n, 2]);
        const k = tape.param([1, 2, 1, 2]);
        return () => stepped(tape, () => farsight.attention(q, k, k, { composed: true }));
      },
    ],
    ...Object.fromEntries(
      farsight.ops
        .filter(({ opName }) => opName !== "attention" && opName !== "append") // whose sizes depend on each other
        .map(op => [`rows of ${op.opName}`, [4000, ofRows(op as Op)] as const]),
    ),
  }),
);

/** An operation over n rows, or over n of its first size, and backwards where that goes. */
function ofRows(op: Op): Job {
  return (n, tape) => {
    const [left = ""] = op.signature.split(" ->");
    const first = /(?:^|[ Σ])([a-z])\b/.exec(left.startsWith("...") ? "" : left)?.[1];
    const extent = (letter: string): number => {
      if (letter === "...") return n;
      return letter === first ? n : letter === "r" ? 2 : 4;
    };
    const inputs = left.split(", ").map((text, i) => {
      const [dims = "", below] = text.replace(/[?*Σ]/g, "").split("<");
      const shape = dims.split(" ").filter(Boolean).map(extent);
      const size = shape.reduce((a, b) => a * b, 1);
      if (below) return tape.integers(shape, new Int32Array(size).fill(1));
      const values = new Float32Array(size).fill(0.5);
      return op.constant.includes(i) ? tape.tensor(shape, values) : tape.param(shape, values);
    });
    const call = op as unknown as (...words: unknown[]) => Tensor | readonly Tensor[];
    return () => stepped(tape, () => [call(...(left.endsWith("*") ? [inputs] : inputs))].flat()[0]!);
  };
}

suite(
  "growth of models",
  grown({
    "segments of rmt.logits": [
      40,
      (n, tape) => {
        const params = memory.params(tape);
        return () => memory.logits(params, tokens(tape, 1, 2 * n));
      },
    ],
    "segments of rmt.loss": [
      40,
      (n, tape) => {
        const params = memory.params(tape);
        return () => tape.step(() => memory.loss(params, tokens(tape, 1, 2 * n), tokens(tape, 1, 2 * n)));
      },
    ],
    "segments of rmt.loss with a window": [
      40,
      (n, tape) => {
        const model = rmt(inner, { segment: 2, memory: 1, k: 1 });
        const params = model.params(tape);
        return () => tape.step(() => model.loss(params, tokens(tape, 1, 2 * n), tokens(tape, 1, 2 * n)));
      },
    ],
    "segments of rmt.loss without replay": [
      40,
      (n, tape) => {
        const model = rmt(inner, { segment: 2, memory: 1, replay: false });
        const params = model.params(tape);
        return () => tape.step(() => model.loss(params, tokens(tape, 1, 2 * n), tokens(tape, 1, 2 * n)));
      },
    ],
    "segments of armt.loss": [
      40,
      (n, tape) => {
        const model = armt(inner, { segment: 2, memory: 1, width: 2 });
        const params = model.params(tape);
        return () => tape.step(() => model.loss(params, tokens(tape, 1, 2 * n), tokens(tape, 1, 2 * n)));
      },
    ],
    "segments of armt.stream": [
      40,
      (n, tape) => {
        const model = armt(inner, { segment: 2, memory: 1, width: 2 });
        const params = model.params(tape);
        return () => drain(model.stream(params, [[new Array<number>(2 * n).fill(3)]], { ask: "states" }));
      },
    ],
    "segments of rmt.stream": [
      40,
      (n, tape) => {
        const params = memory.params(tape);
        return () => drain(memory.stream(params, [[new Array<number>(2 * n).fill(3)]], { ask: "states" }));
      },
    ],
    "pieces of a segment of rmt.stream": [
      8000,
      (n, tape) => {
        const wide = rmt(inner, { segment: 1e6, memory: 1 });
        const params = wide.params(tape);
        function* pieces() {
          for (let i = 0; i < n; i++) yield [[3]];
          throw new Error("no more");
        }
        return () => assert.throws(() => drain(wide.stream(params, pieces())), "no more");
      },
    ],
    "tokens that rmt is continued by": [
      100,
      (n, tape) => {
        const params = memory.params(tape, { frozen: true });
        return () => [...generate(memory, params, new Array<number>(n).fill(1), { steps: n })];
      },
    ],
    "segments of rmtEncoder.logits": [
      40,
      (n, tape) => {
        const params = encoder.params(tape);
        return () => encoder.logits(params, [new Array<number>(2 * n).fill(3)]);
      },
    ],
    "segments of rmtEncoder.loss": [
      40,
      (n, tape) => {
        const params = encoder.params(tape);
        return () => tape.step(() => encoder.loss(params, [new Array<number>(2 * n).fill(3)], tape.integers([1], [1])));
      },
    ],
    "segments of rmtEncoder.stream": [
      40,
      (n, tape) => {
        const params = encoder.params(tape);
        return () =>
          drain(
            encoder.stream(
              params,
              list(n, () => [[3, 3]]),
            ),
          );
      },
    ],
    "sequences of transformer.loss": [
      200,
      (n, tape) => {
        const params = inner.params(tape);
        return () => tape.step(() => inner.loss(params, tokens(tape, n, 4), tokens(tape, n, 4)));
      },
    ],
    "pieces of transformer.stream with a cache": [100, streaming(n => ({ cache: n }))],
    "pieces of transformer.stream with earlier states": [100, streaming(() => ({ earlier: 4 }))],
    "pieces of transformer.stream with all earlier states": [50, streaming(n => ({ earlier: n }))],
    "layers that are watched": [
      20,
      (n, tape) => {
        const model = transformer({ ...small, layers: n });
        const params = model.params(tape);
        return () => model.logits(params, tokens(tape, 1, 4), { watch: () => {} });
      },
    ],
    "layers of a model": [
      20,
      (n, tape) => {
        const model = transformer({ ...small, layers: n });
        return () => {
          const params = model.params(tape);
          return tape.step(() => model.loss(params, tokens(tape, 1, 4), tokens(tape, 1, 4)));
        };
      },
    ],
    "steps of generate": [
      100,
      (n, tape) => {
        const params = inner.params(tape);
        return () => drain(generate(inner, params, [1], { steps: n }));
      },
    ],
    "prompts of generate": [
      200,
      (n, tape) => {
        const params = inner.params(tape);
        return () =>
          drain(
            generate(
              inner,
              params,
              list(n, () => [1, 2]),
              { steps: 4 },
            ),
          );
      },
    ],
    "a cache that is written place by place": [
      4000,
      (n, tape) => {
        const one = farsight.cache(tape, { b: 1, capacity: n, width: 1 });
        const x = tape.tensor([1, 1, 1]);
        const reads = { q: x, k: x, kAt: 0, v: x, vAt: 0, gates: "keys" } as const;
        return () => {
          let carry: farsight.Carry = one;
          for (let i = 0; i < n; i++)
            tape.scope(() => {
              carry.extend!(reads);
              carry = carry.next(x, x);
            });
        };
      },
    ],
    "numbers that positions are made of": [
      4000,
      (n, tape) => () => {
        farsight.alibi(2, n, 4);
        farsight.alibiSlopes(n);
        farsight.distances(n, 4, 8);
        farsight.sinusoidal(n, 4);
        farsight.mask(n, 4, false);
        farsight.rotary(tape, n, 4);
      },
    ],
  }),
);

suite(
  "growth of training",
  grown({
    "steps of fit": [
      200,
      (n, tape) => {
        const params = tree(3, tape);
        return () => trained({ params, optimizer: sgd(params), loss: () => sum(params.p[0]!), steps: n });
      },
    ],
    "stages of curriculum": [
      100,
      (n, tape) => {
        const params = tree(3, tape);
        const loss = () => sum(params.p[0]!);
        const stages = new Array<number>(n).fill(1);
        return async () => {
          for await (const _ of curriculum({
            params,
            optimizer: sgd(params),
            loss,
            stages,
            steps: 2,
            evaluate: () => 1,
          }));
        };
      },
    ],
    "micro-batches of fit": [
      200,
      (n, tape) => {
        const params = tree(3, tape);
        const loss = () => sum(params.p[0]!);
        return () => trained({ params, optimizer: sgd(params), loss, steps: 2, accumulate: n });
      },
    ],
    "optimisers of fit": [
      200,
      (n, tape) => {
        const params = tree(n, tape);
        const optimizer = params.p.map(p => sgd({ p }));
        return () => trained({ params, optimizer, loss: () => sum(concat(params.p)), steps: 2, clip: { norm: 1 } });
      },
    ],
    ...Object.fromEntries(
      Object.entries({ sgd: () => sgd, adam: () => adam, adamw: () => adamw }).map(([name, of]) => [
        `parameters of ${name}`,
        [
          1000,
          (n: number, tape: Tape) => {
            const params = graded(n, tape);
            return () => {
              const optimizer = of()(params);
              for (let i = 0; i < 3; i++) optimizer.step();
            };
          },
        ] as const,
      ]),
    ),
    "parameters of clipNorm and clipValue": [
      2000,
      (n, tape) => {
        const params = graded(n, tape);
        return () => [clipNorm(params, 0.5), clipValue(params, 0.01)];
      },
    ],
    "parameters of gradcheck": [
      50,
      n => {
        const tape = new Tape("f64");
        const params = tree(n, tape);
        return () => gradcheck(params, () => sum(mul(params.p[0]!, params.p[1]!)), { directions: 1 });
      },
    ],
  }),
);

suite(
  "growth of files",
  grown({
    "tensors of leaves and count": [
      5000,
      (n, tape) => {
        const params = tree(n, tape);
        return () => [leaves(params), farsight.count(params)];
      },
    ],
    "tensors of save and load": [
      500,
      (n, tape) => {
        const params = graded(n, tape);
        const run = { params, optimizer: adamw(params) };
        return () => load(run, save(run));
      },
    ],
    "tensors of loadParams": [
      1000,
      (n, tape) => {
        const params = tree(n, tape);
        const file = serialize(stored(n, "module.p"));
        return () => loadParams(params, file);
      },
    ],
    "layers of loadGpt2, in two files": [
      100,
      (n, tape) => {
        const params = gpt2({ vocab_size: 3, n_positions: 2, n_embd: 2, n_layer: n, n_head: 1 }).params(tape);
        const all = leaves(params).map(([path, x]) => {
          const shape = /^h\./.test(path) ? [...x.shape].reverse() : x.shape;
          return [path, { shape, values: new Float32Array(x.size) }] as const;
        });
        const files = { a: serialize(all.slice(0, 9)), b: serialize(all.slice(9)) };
        const weight_map = Object.fromEntries(all.map(([path], i) => [path, i < 9 ? "a" : "b"]));
        return () => loadGpt2(params, { index: { weight_map }, files });
      },
    ],
    "names that loadParams refuses": [
      2000,
      (n, tape) => {
        const params = tree(n, tape);
        const file = serialize(stored(n, "other"));
        return () => assert.throws(() => loadParams(params, file), /missing: p\.0, .* unexpected: other\.0, /s);
      },
    ],
    "tensors of serialize and parse": [2000, n => () => parse(serialize(stored(n, "x")))],
    "notes of serialize and parse": [
      2000,
      n => () => parse(serialize([], Object.fromEntries(list(n, i => [`note ${i}`, "x"])))),
    ],
    "axes of serialize and parse": [
      2000,
      n => () => parse(serialize([["x", { shape: list(n, () => 1), values: new Float32Array(1) }]])),
    ],
  }),
);

suite(
  "growth of tasks and random numbers",
  grown({
    "samples of counting": [100, n => () => counting({ steps: 20 }).batch(random(1), n)],
    "steps of counting": [2000, n => () => counting({ steps: n, minSteps: n }).batch(random(1), 2)],
    "values of counting": [4000, n => () => counting({ top: n }).sample(random(1))],
    "samples that counting pads": [
      200,
      n => {
        const samples = list(n, () => ({ tokens: [6, 7, 8], answer: 9 }));
        return () => counting().padded(samples);
      },
    ],
    "samples of flipFlop": [100, n => () => flipFlop({ instructions: 16 }).batch(random(1), n)],
    "instructions of flipFlop": [2000, n => () => flipFlop({ instructions: n }).batch(random(1), 2)],
    "samples of selectiveCopy": [100, n => () => selectiveCopy({ symbols: 8, blanks: 8 }).batch(random(1), n)],
    "symbols of selectiveCopy": [1000, n => () => selectiveCopy({ symbols: n }).batch(random(1), 2)],
    "ids of selectiveCopy": [2000, n => () => selectiveCopy({ symbols: 8, vocab: 2 + n }).batch(random(1), 2)],
    "words of language": [
      10_000,
      n => {
        const text = list(n, i => `w${i}`).join(" ");
        return () => language({ unit: "words", text }).encode(text);
      },
    ],
    "characters of language": [
      20_000,
      n => {
        const text = "ab c".repeat(n);
        return () => language({ unit: "characters", text }).encode(text);
      },
    ],
    "blanks of language": [50_000, n => () => language({ unit: "words", text: "a" }).encode(`${" ".repeat(n)}a`)],
    "windows of language": [
      2000,
      n => () => {
        for (const _ of language().windows(new Uint8Array(n + 8), 8, { stride: 1, b: 4 }));
      },
    ],
    "tokens of mistakes": [20_000, n => () => mistakes(new Float32Array(4 * n), new Int32Array(n), 1)],
    "samples of memorize": [200, n => () => memorize({ segment: 11 }).batch(random(1), n, 2)],
    "segments of memorize": [500, n => () => memorize({ segment: 11, at: "random" }).batch(random(1), 2, n)],
    "samples of reasoning": [200, n => () => reasoning({ segment: 23 }).batch(random(1), n, 2)],
    "segments of reasoning": [500, n => () => reasoning({ segment: 23, at: "random" }).batch(random(1), 2, n)],
    "symbols of copyTwice": [1000, n => () => copyTwice({ symbols: n }).batch(random(1), 2)],
    "symbols of reversal": [1000, n => () => reversal({ symbols: n }).batch(random(1), 2)],
    "samples of associativeRetrieval": [200, n => () => associativeRetrieval().batch(random(1), n)],
    "samples of quadraticEquations": [100, n => () => quadraticEquations().batch(random(1), n)],
    "words of memorize": [1000, n => () => memorize({ segment: 11, words: n }).sample(random(1), 2)],
    "a text of memorize": [
      4000,
      n => {
        const text = list(n, i => `w${i}`).join(" ");
        return () => memorize({ segment: 11, text, words: 20000 }).sample(random(1), 2);
      },
    ],
    "samples of sine": [100, n => () => sine({ t: 8 }).batch(random(1), n)],
    "places of sine": [5000, n => () => sine({ t: n }).batch(random(1), 1)],
    "items of shuffle": [50_000, n => () => random(1).shuffle(list(n, i => i))],
    "normal numbers": [20_000, n => () => list(n, random(1).normal)],
    "letters of fork": [50_000, n => () => random(1).fork("x".repeat(n))],
  }),
);
