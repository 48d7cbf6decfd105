// fit: the host's turns, micro-batches, several optimisers, evaluation, stopping, and errors that change nothing.
import * as assert from "uvu/assert";
import {
  Tape,
  adamw,
  add,
  crossEntropy,
  dropout,
  fit,
  leaves,
  load,
  mul,
  parse,
  reshape,
  save,
  scale,
  schedule,
  sgd,
  sqrt,
  sum,
  transformer,
  type FitOptions,
  type Metrics,
  type Optimizer,
  type Tensor,
  type Tree,
  type WeighedLoss,
} from "farsight";
import { close, suite, thrown } from "./check.ts";

/** Two steps of adamw on w and b, as the format has it that knows one optimiser. */
const BEFORE =
  "AAIAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJmb3JtYXQiOiJwdCIsIm5vdGUiOiJvbGQiLCJmYXJzaWdodC5zdGVwIjoiMiIsImZh" +
  "cnNpZ2h0LnVwZGF0ZXMiOiIyIiwiZmFyc2lnaHQuc2VlZCI6IjciLCJmYXJzaWdodC5wb3NpdGlvbiI6IjgifSwiYiI6eyJkdHlw" +
  "ZSI6IkYzMiIsInNoYXBlIjpbMV0sImRhdGFfb2Zmc2V0cyI6WzAsNF19LCJvcHRpbWl6ZXIuYi5tIjp7ImR0eXBlIjoiRjMyIiwi" +
  "c2hhcGUiOlsxXSwiZGF0YV9vZmZzZXRzIjpbNCw4XX0sIm9wdGltaXplci5iLnYiOnsiZHR5cGUiOiJGMzIiLCJzaGFwZSI6WzFd" +
  "LCJkYXRhX29mZnNldHMiOls4LDEyXX0sIm9wdGltaXplci53Lm0iOnsiZHR5cGUiOiJGMzIiLCJzaGFwZSI6WzJdLCJkYXRhX29m" +
  "ZnNldHMiOlsxMiwyMF19LCJvcHRpbWl6ZXIudy52Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyXSwiZGF0YV9vZmZzZXRzIjpb" +
  "MjAsMjhdfSwidyI6eyJkdHlwZSI6IkYzMiIsInNoYXBlIjpbMl0sImRhdGFfb2Zmc2V0cyI6WzI4LDM2XX19ICAgICAgIFBIAEC4" +
  "HoU/Y7V5PetRuD7C9ag/4fCCPD+rzD0g7ig+fh2BPw==";

async function all(options: FitOptions): Promise<Metrics[]> {
  const list: Metrics[] = [];
  for await (const m of fit(options)) list.push(m);
  return list;
}
const bits = (tree: Tree): string =>
  leaves(tree)
    .flatMap(([, p]) => [...new Uint8Array(p.values().slice().buffer)])
    .join();
const spin = (ms: number): void => {
  const end = performance.now() + ms;
  while (performance.now() < end);
};

/** What `fit` throws, as text. */
async function failure(options: FitOptions): Promise<string> {
  try {
    await all(options);
  } catch (error) {
    return String(error);
  }
  throw new Error("no error");
}

/** Two parameters, and a loss that draws from the tape's generator. */
function toy(dtype: "f32" | "f64" = "f64") {
  const tape = new Tape(dtype, { seed: 5 });
  const params = {
    a: { w: tape.param([8], [1, 2, 3, 4, 5, 6, 7, 8]) },
    b: { w: tape.param([8], [8, 7, 6, 5, 4, 3, 2, 1]) },
  };
  const loss = (): Tensor => sum(mul(dropout(params.a.w, { p: 0.5 }), mul(params.a.w, params.b.w)));
  const state = (...optimizers: Optimizer[]) => ({
    params: bits(params),
    optimizers: optimizers.map(o => [o.updates, bits(o.state)]),
    position: tape.random.position,
  });
  return { tape, params, loss, state };
}

/** How many calls of `body`, of 5 ms or more each, passed at most between two calls of a timer of 10 ms. */
async function longest(run: (body: () => void) => Promise<unknown>): Promise<number> {
  let calls = 0;
  let most = 0;
  const timer = setInterval(() => {
    most = Math.max(most, calls);
    calls = 0;
  }, 10);
  try {
    await run(() => {
      calls++;
      spin(5);
    });
  } finally {
    clearInterval(timer);
  }
  return Math.max(most, calls);
}
suite("the host's turns", {
  async "a timer of 10 ms runs at least every 60 ms, in steps of 5 ms, with or without setImmediate or messages"() {
    const host = globalThis as { setImmediate?: unknown; MessageChannel?: unknown };
    const { setImmediate, MessageChannel } = host;
    for (const missing of [[], ["setImmediate"], ["setImmediate", "MessageChannel"]] as (keyof typeof host)[][]) {
      const { params, loss } = toy();
      try {
        for (const name of missing) host[name] = undefined;
        const calls = await longest(body =>
          all({
            params,
            optimizer: sgd(params, { lr: 0 }),
            steps: 50,
            loss() {
              body();
              return loss();
            },
          }),
        );
        assert.ok(
          calls <= 12,
          `${calls} steps of 5 ms between two calls of the timer, without ${missing.join(" and ")}`,
        );
      } finally {
        Object.assign(host, { setImmediate, MessageChannel });
      }
    }
  },
  async "it runs between the micro-batches of one long step, and between short runs"() {
    const { params, loss } = toy();
    const optimizer = sgd(params, { lr: 0 });
    const options = (body: () => void) => ({
      params,
      optimizer,
      loss() {
        body();
        return loss();
      },
    });
    const long = await longest(body => all({ ...options(body), steps: 1, accumulate: 50 }));
    assert.ok(long <= 12, `${long} micro-batches`);
    const short = await longest(async body => {
      for (let i = 0; i < 50; i++) await all({ ...options(body), steps: 1 });
    });
    assert.ok(short <= 12, `${short} runs`);
  },
});

/** A model, three micro-batches with 2, 7 and 11 targets that count, and one batch of all their rows. */
function batches() {
  const tape = new Tape("f64");
  const model = transformer({ vocab: 6, d: 8, layers: 1, heads: 2, context: 6 });
  const params = model.params(tape, { seed: 2 });
  const ids = Array.from({ length: 36 }, (_, i) => (i * i + 3 * i) % 6);
  const counts = [2, 7, 11];
  const targets = ids.map((_, i) => (i % 12 < counts[Math.floor(i / 12)]! ? ids[(i + 1) % 36]! : -100));
  const loss = (from: number, to: number): Tensor => {
    const logits = model.logits(params, tape.integers([to - from, 6], ids.slice(6 * from, 6 * to)));
    const n = 6 * (to - from);
    return crossEntropy(reshape(logits, [n, 6]), tape.integers([n], targets.slice(6 * from, 6 * to)));
  };
  return { tape, params, counts, loss };
}
suite("accumulation", {
  async "three steps of micro-batches, weighed by 2, 7 and 11 targets, are those of the one big batch to rounding"() {
    const run = async (accumulate: number, proportion = 1) => {
      const { params, counts, loss } = batches();
      const metrics = await all({
        params,
        optimizer: adamw(params, { lr: 0.01 }),
        steps: 3,
        clip: { norm: 0.5 },
        accumulate,
        loss: (_, micro) =>
          accumulate === 1 ? loss(0, 6) : { loss: loss(2 * micro, 2 * micro + 2), weight: proportion * counts[micro]! },
      });
      return [...metrics.flatMap(m => [m.loss, m.norm!]), ...leaves(params).flatMap(([, p]) => [...p.values()])];
    };
    const want = await run(1);
    close(await run(3), want, 1e-12);
    close(await run(3, 0.125), want, 1e-12, "in other units");
  },
  async "micro-batches without a weight count the same, one of weight 0 not at all"() {
    const gradient = async (accumulate: number, weight?: (micro: number) => number): Promise<number[]> => {
      const tape = new Tape("f64");
      const params = { w: tape.param([1], [0]) };
      const [m] = await all({
        params,
        optimizer: sgd(params, { lr: 1 }),
        steps: 1,
        accumulate,
        loss(_, micro) {
          const loss = scale(sum(params.w), { by: [1, 4, 10][micro]!, plus: micro });
          return weight ? { loss, weight: weight(micro) } : loss;
        },
      });
      return [m!.loss, -params.w.values()[0]!];
    };
    close(await gradient(3), [1, 5], 1e-15);
    close(await gradient(3, micro => [1, 0, 2][micro]!), [4 / 3, 7], 1e-15);
  },
  async "a weight changes nothing, to the bit, where a step has one micro-batch"() {
    const run = async (accumulate: number | undefined, weight?: number) => {
      const { params, loss, state } = toy("f32");
      const optimizer = adamw(params);
      const metrics = await all({
        params,
        optimizer,
        steps: 3,
        ...(accumulate && { accumulate }),
        loss: () => (weight ? { loss: loss(), weight } : loss()),
      });
      return { ...state(optimizer), metrics };
    };
    const plain = await run(undefined);
    assert.equal(await run(1), plain);
    assert.equal(await run(1, 7), plain);
  },
  async "each micro-batch draws numbers of its own, host's turns between them or not"() {
    const drawn = async (accumulate: number, ms: number) => {
      const { tape, params, loss } = toy();
      const positions: number[] = [];
      const spun = () => {
        positions.push(tape.random.position);
        spin(ms);
        return loss();
      };
      await all({ params, optimizer: sgd(params), steps: 1, accumulate, loss: spun });
      return [...positions, tape.random.position];
    };
    const each = (await drawn(1, 0))[1]!;
    const want = [0, each, 2 * each, 3 * each];
    assert.ok(each > 0);
    assert.equal(await drawn(3, 0), want);
    assert.equal(await drawn(3, 30), want);
  },
  async "the loss is told the step and the micro-batch"() {
    const { params, loss } = toy();
    const calls: number[][] = [];
    await all({
      params,
      optimizer: sgd(params),
      from: 3,
      steps: 5,
      accumulate: 2,
      loss: (...call) => {
        calls.push(call);
        return loss();
      },
    });
    assert.equal(calls, [
      [3, 0],
      [3, 1],
      [4, 0],
      [4, 1],
    ]);
  },
});

suite("several optimisers", {
  async "each has its own rate, and a schedule, which sets the first's, keeps their proportion"() {
    const run = async (more: Partial<FitOptions>) => {
      const tape = new Tape("f64");
      const params = { a: tape.param([1], [0]), b: tape.param([1], [0]) };
      const optimizer = [sgd({ a: params.a }, { lr: 0.5 }), sgd([{ b: params.b }], { lr: 0.125 })];
      const loss = () => add(sum(params.a), sum(params.b));
      const [m] = await all({ params, optimizer, steps: 1, loss, ...more });
      return [m!.lr, params.a.values()[0], params.b.values()[0]];
    };
    assert.equal(await run({}), [undefined, -0.5, -0.125]);
    assert.equal(await run({ schedule: () => 0.25 }), [0.25, -0.25, -0.0625]);
    assert.equal(await run({ schedule: () => 0 }), [0, -0, -0]);
  },
  async "two that share the parameters out make the bits of one"() {
    const run = async (optimizers: (params: ReturnType<typeof toy>["params"]) => Optimizer | Optimizer[]) => {
      const { params, loss } = toy("f32");
      const rate = schedule("cosine", { lr: 0.1, steps: 6, warmup: 2 });
      const optimizer = optimizers(params);
      const metrics = await all({ params, optimizer, steps: 6, loss, schedule: rate, clip: { norm: 10 } });
      return { metrics, bits: bits(params) };
    };
    const one = await run(params => adamw(params));
    assert.equal(await run(params => [adamw(params)]), one);
    assert.equal(await run(params => [adamw(params.a), adamw(params.b)]), one);
  },
  async "a run with two, saved and loaded, goes on bit for bit"() {
    const start = () => {
      const { params, loss, state } = toy("f32");
      const optimizer = [adamw(params.a, { lr: 0.1 }), sgd(params.b, { lr: 0.01, momentum: 0.5 })];
      return { params, optimizer, run: { params, optimizer, loss }, state: () => state(...optimizer) };
    };
    const a = start();
    await all({ ...a.run, steps: 3 });
    a.optimizer[1]!.updates = 30; // each has its own count
    const file = save({ ...a, step: 3 });
    assert.equal(
      [...parse(file).tensors.keys()].sort(),
      ["a.w", "b.w", "optimizer.0.w.m", "optimizer.0.w.v", "optimizer.1.w.v"].sort(),
    );
    const b = start();
    await all({ ...b.run, steps: 1 });
    const { step } = load(b, file);
    assert.equal([step, b.state()], [3, a.state()]);
    const rest = await all({ ...a.run, from: 3, steps: 6 });
    assert.equal(await all({ ...b.run, from: step, steps: 6 }), rest);
    assert.equal(b.state(), a.state());
  },
  "a list of one writes the file of one alone, and files from before there were lists load"() {
    const { params } = toy();
    const optimizer = adamw(params);
    assert.equal(save({ params, optimizer: [optimizer], step: 2 }), save({ params, optimizer, step: 2 }));
    const file = Uint8Array.from(atob(BEFORE), c => c.charCodeAt(0));
    for (const wrap of [(o: Optimizer) => o, (o: Optimizer) => [o]]) {
      const tape = new Tape("f32", { seed: 1 });
      const old = { w: tape.param([2]), b: tape.param([1]) };
      const one = adamw(old);
      const { step, metadata } = load({ params: old, optimizer: wrap(one) }, file);
      assert.equal([step, metadata.note, one.updates, tape.random.seed, tape.random.position], [2, "old", 2, 7, 8]);
      assert.equal(
        [...old.w.values(), ...old.b.values()],
        [0.16497087478637695, 1.0087125301361084, 2.004413604736328],
      );
      const again = parse(save({ params: old, optimizer: wrap(one), step: 2 }, { note: "old" }));
      assert.equal(again.tensors, parse(file).tensors);
      assert.equal(again.metadata, { ...metadata, "farsight.optimizer": "optimizer" });
    }
  },
  "a file of another number of optimisers does not load and changes nothing"() {
    const { params, state } = toy();
    const two = [sgd(params.a), sgd(params.b)]; // without momentum: no names tell them apart
    const one = sgd(params);
    const ofTwo = save({ params, optimizer: two, step: 4 });
    const ofOne = save({ params, optimizer: one, step: 4 });
    params.a.w.values()[0] = 77;
    const before = state(one, ...two);
    assert.is(
      thrown(RangeError, () => load({ params, optimizer: one }, ofTwo)),
      "load: the file is of 2 optimisers\n  wants one of 1",
    );
    assert.is(
      thrown(RangeError, () => load({ params, optimizer: two }, ofOne)),
      "load: the file is of 1 optimisers\n  wants one of 2",
    );
    assert.match(
      thrown(RangeError, () => load({ params, optimizer: [adamw(params.a), adamw(params.b)] }, ofTwo)),
      /missing: optimizer.0.w.m, optimizer.0.w.v, optimizer.1.w.m, optimizer.1.w.v$/,
    );
    assert.equal(state(one, ...two), before);
    assert.is(load({ params, optimizer: two }, ofTwo).step, 4);
    assert.is(load({ params }, ofTwo).step, 4);
  },
});

suite("evaluation", {
  async "comes every n steps and after the last, of the parameters after the update"() {
    const tape = new Tape("f64");
    const params = { w: tape.param([1], [10]) };
    const run = async (more: Partial<FitOptions>) => {
      params.w.values()[0] = 10;
      const metrics = await all({
        params,
        optimizer: sgd(params, { lr: 1 }),
        steps: 5,
        loss: () => sum(params.w),
        ...more,
      });
      return metrics.map(m => m.evaluation);
    };
    const tensor = () => sum(params.w);
    assert.equal(await run({ evaluate: tensor, every: 2 }), [undefined, 8, undefined, 6, 5]);
    assert.equal(await run({ evaluate: tensor }), [9, 8, 7, 6, 5]);
    assert.equal(await run({ evaluate: step => 100 * step, every: 3, from: 1 }), [undefined, 300, undefined, 500]);
    assert.equal(await run({}), new Array(5).fill(undefined));
  },
  async "records nothing, leaves nothing behind, and does not change a bit of training, dropout included"() {
    const run = async (evaluates: boolean) => {
      const { tape, params, loss, state } = toy("f32");
      const optimizer = adamw(params);
      const made: Tensor[] = [];
      const evaluate = (): Tensor => {
        assert.not.ok(tape.recording);
        made.push(loss());
        return sum(dropout(params.a.w, { p: 0.5 }));
      };
      const { mark } = tape.engine;
      for await (const _ of fit({ params, optimizer, steps: 4, loss, ...(evaluates && { evaluate }) }))
        assert.is(tape.engine.mark, mark);
      for (const t of made) assert.throws(() => t.values(), /after its scope ended/);
      assert.is(made.length, evaluates ? 4 : 0);
      assert.ok(tape.recording);
      return state(optimizer);
    };
    assert.equal(await run(true), await run(false));
  },
  async "an error in it comes after its step, which is whole"() {
    const { params, loss, state } = toy();
    const optimizer = adamw(params);
    const plain = toy();
    const other = adamw(plain.params);
    await all({ params: plain.params, loss: plain.loss, optimizer: other, steps: 2 });
    const evaluations: [() => unknown, string][] = [
      [() => Promise.resolve(1), "TypeError: noGrad: the function returned a promise"],
      [() => params.a.w, "RangeError: item: [8] holds 8 numbers, not one"],
    ];
    for (const [evaluate, text] of evaluations) {
      const from = optimizer.updates;
      const error = await failure({ params, optimizer, loss, from, steps: 2, evaluate: evaluate as () => number });
      assert.ok(error.startsWith(text), error);
      assert.is(optimizer.updates, from + 1);
    }
    assert.equal(state(optimizer), plain.state(other));
  },
});

suite("stopping", {
  async "by break, by return and by a signal leaves the last whole step, from which a run goes on bit for bit"() {
    const start = () => {
      const { params, loss, state } = toy("f32");
      const optimizer = adamw(params);
      return { options: { params, loss, optimizer, steps: 8, accumulate: 3 }, state: () => state(optimizer) };
    };
    const whole = start();
    await all(whole.options);
    const stops: Record<string, (options: FitOptions) => Promise<number>> = {
      async break(options) {
        for await (const { step } of fit(options)) if (step === 3) return step;
        return 0;
      },
      async return(options) {
        const run = fit(options);
        for (let i = 0; i < 2; i++) await run.next();
        const { value } = await run.next();
        assert.equal(await run.return(), { done: true, value: undefined });
        return (value as Metrics).step;
      },
      async signal(options) {
        const controller = new AbortController();
        let last = 0;
        for await (const { step } of fit({ ...options, signal: controller.signal })) {
          last = step;
          if (step === 3) controller.abort();
        }
        return last;
      },
    };
    for (const [name, stop] of Object.entries(stops)) {
      const run = start();
      const from = await stop(run.options);
      assert.is(from, 3, name);
      assert.is(run.options.optimizer.updates, 3, name);
      await all({ ...run.options, from });
      assert.equal(run.state(), whole.state(), name);
    }
  },
  async "a host's turn between micro-batches sees, saves and stops at the last whole step"() {
    const { params, loss, state } = toy();
    const optimizer = adamw(params);
    let after = state(optimizer);
    let turns = 0;
    let stepped = 0;
    const signal = { aborted: false };
    const seen: boolean[] = [];
    const timer = setInterval(() => {
      seen.push(JSON.stringify(state(optimizer)) === JSON.stringify(after));
      if (stepped === 2 && ++turns === 2) signal.aborted = true;
    }, 1);
    let calls = 0;
    try {
      for await (const { step } of fit({
        params,
        optimizer,
        steps: 4,
        accumulate: 40,
        signal,
        loss() {
          calls++;
          spin(2);
          return loss();
        },
      })) {
        after = state(optimizer);
        stepped = step;
      }
    } finally {
      clearInterval(timer);
    }
    assert.ok(seen.length > 4 && seen.every(Boolean), String(seen));
    assert.is(stepped, 2);
    assert.ok(calls > 80 && calls < 120, `stopped after ${calls - 80} micro-batches of 40`);
    assert.equal(state(optimizer), after);
  },
  async "a signal that was given before makes no step and draws no number"() {
    const { params, loss, state } = toy();
    const optimizer = adamw(params);
    const before = state(optimizer);
    assert.equal(await all({ params, optimizer, loss, steps: 3, signal: AbortSignal.abort() }), []);
    assert.equal(state(optimizer), before);
  },
});

suite("errors", {
  async "say what was wanted and what was got, and change neither parameters, optimisers nor generator"() {
    const { tape, params, loss, state } = toy();
    const optimizer = adamw(params);
    const pair = [sgd(params.a), sgd(params.b)];
    const still = [sgd(params.a, { lr: 0 }), sgd(params.b)];
    const late = (value: (micro: number) => Tensor | WeighedLoss) => ({
      accumulate: 3,
      loss: (_: number, micro: number) => (micro < 2 ? loss() : value(micro)),
    });
    const options = { params, optimizer, loss, steps: 2 };
    const before = state(optimizer, ...pair, ...still);
    for (const [more, text] of [
      [{ accumulate: 0 }, "RangeError: fit: accumulate is 0..."],
      [{ accumulate: "2" }, 'TypeError: fit: accumulate is "2"...'],
      [{ every: 0.5 }, "RangeError: fit: every is 0.5..."],
      [{ evaluate: 3 }, "TypeError: fit: evaluate is 3\n  wants a function..."],
      [{ signal: {} }, "TypeError: fit: signal is Object\n  wants an AbortSignal..."],
      [{ signal: new AbortController() }, "TypeError: fit: signal is AbortController\n  wants an AbortSignal..."],
      [{ signal: null }, "TypeError: fit: signal is null..."],
      [{ optimizer: [] }, "TypeError: fit: optimizer is undefined..."],
      [{ optimizer: [optimizer, null] }, "TypeError: fit: optimizer is null\n  wants an optimiser, or a list of them"],
      [{ optimizer: [optimizer, pair[1]] }, "RangeError: fit: 0.b.w and 1.w are one parameter\n  wants each once"],
      [{ optimizer: still, schedule: () => 1 }, "RangeError: fit: lr is Infinity\n  wants a number from 0"],
      [{ optimizer: pair, schedule: () => NaN }, "RangeError: fit: lr is NaN\n  wants a number from 0"],
      [late(() => ({ loss: loss(), weight: -1 })), "RangeError: fit: weight is -1..."],
      [late(() => ({ loss: loss(), weight: NaN })), "RangeError: fit: weight is NaN..."],
      [late(() => ({ loss: loss(), weight: "2" as never })), 'TypeError: fit: weight is "2"...'],
      [late(() => scale(loss(), { by: 1e308 })), "RangeError: step: the loss is Infinity..."],
      [late(() => 3 as never), "TypeError: step: the function returned 3..."],
      [
        {
          ...late(() => {
            loss();
            throw new Error("of the caller's own");
          }),
        },
        "Error: of the caller's own",
      ],
      [
        { accumulate: 2, loss: () => ({ loss: loss(), weight: 0 }) },
        "RangeError: fit: all weights are 0\n  wants one above 0",
      ],
      [
        { clip: { norm: 1 }, loss: () => sum(sqrt(scale(dropout(params.a.w, { p: 0.5 }), { by: 0 }))) },
        "RangeError: clipNorm: the gradient of a.w is NaN at [0]; nothing has changed...",
      ],
    ] as [object, string][]) {
      const error = await failure({ ...options, ...more });
      assert.ok(text.endsWith("...") ? error.startsWith(text.slice(0, -3)) : error === text, `${error}\nnot ${text}`);
      assert.equal(state(optimizer, ...pair, ...still), before, text);
    }
    assert.ok(tape.recording);
    assert.is((await all(options)).length, 2);
  },
});
