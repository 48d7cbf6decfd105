// State and its owners: what keeps an address, a generator's position, a count of updates or a tree of parameters over
// calls, and functions of the caller's that run in the middle of ours.
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as assert from "uvu/assert";
import * as farsight from "farsight";
import {
  Tape,
  adam,
  adamw,
  add,
  attention,
  cache,
  clipNorm,
  clipValue,
  crossEntropy,
  dropout,
  embedding,
  fit,
  generate,
  gradcheck,
  layerNorm,
  leaves,
  load,
  matmul,
  mul,
  op,
  pick,
  reshape,
  rmt,
  rmtEncoder,
  save,
  scale,
  sgd,
  sqrt,
  stopGradient,
  sum,
  tanh,
  transformer,
  type FitOptions,
  type Optimizer,
  type Tensor,
  type TransformerOptions,
  type Tree,
} from "farsight";
import { fast } from "farsight/fast";
import { fails, suite, thrown } from "./check.ts";
import { small } from "./stirred.ts";

const numbers = (x: Tensor): number[] => [...x.values()];
const makers = {
  sgd: (p: Tree) => sgd(p, { lr: 0.1 }),
  momentum: (p: Tree) => sgd(p, { lr: 0.1, momentum: 0.9, nesterov: true }),
  adam: (p: Tree) => adam(p, { lr: 0.1 }),
  adamw: (p: Tree) => adamw(p, { lr: 0.1 }),
};
/** All numbers that training changes. */
const state = (o: Optimizer): unknown => [
  ...leaves(o.params).map(([, p]) => [numbers(p), [...p.gradient()]]),
  ...leaves(o.state).map(([, t]) => numbers(t)),
  o.updates,
];
async function failure(options: FitOptions): Promise<string> {
  try {
    for await (const _ of fit(options));
  } catch (error) {
    return String(error);
  }
  return "no error";
}

suite("memory that was given back", {
  "an optimiser whose state's scope has ended is refused before it writes anything"() {
    for (const [name, make] of Object.entries(makers)) {
      const tape = new Tape("f32");
      const w = tape.param([4], [1, 2, 3, 4]);
      const optimizer = tape.scope(() => make({ a: { w } }));
      const others = [tape.tensor([8], Array(8).fill(7)), tape.param([3], [7, 7, 7])];
      tape.step(() => sum(mul(w, w)));
      if (name === "sgd")
        optimizer.step(); // has no state
      else {
        const before = numbers(w);
        assert.match(
          thrown(Error, () => optimizer.step()),
          "used after its scope ended",
        );
        assert.equal([numbers(w), optimizer.updates], [before, 0]);
        assert.match(
          thrown(Error, () => save({ params: { w }, optimizer })),
          "save: tensor [4] was used",
        );
      }
      for (const x of others) assert.ok(numbers(x).every(n => n === 7));
    }
  },
  "inside one scope an optimiser works, and so does the one made there after an error"() {
    const tape = new Tape("f64");
    tape.scope(() => {
      const w = tape.param([2], [3, 4]);
      fails(() => adamw({ w, x: tape.tensor([1]) }), "x is no parameter", TypeError);
      const optimizer = adamw({ w }, { lr: 0.5, decay: 0 });
      tape.step(() => sum(mul(w, w)));
      optimizer.step();
      assert.ok(numbers(w).every((x, i) => Math.abs(x - (i + 2.5)) < 1e-6));
    });
  },
  "what a function made that then threw is dead, and stays so when its memory is used again"() {
    const tape = new Tape("f32");
    const w = tape.param([2], [1, 2]);
    const kept: Tensor[] = [];
    const leaky = op("leaky(x)", "n -> n", {
      forward() {
        kept.push(tape.param([2], [5, 6]), tape.tensor([2], [7, 8]), reshape(kept.at(-1) ?? w, [2]), mul(w, w));
        throw new Error("caller's");
      },
      backward() {},
    });
    const before = [tape.engine.mark, tape.toString(), tape.params.length];
    for (const run of [() => leaky(w), () => tape.allOrNothing(() => void kept.push(tape.tensor([2])) as never)]) {
      kept.length = 0;
      try {
        run();
        throw new Error("caller's");
      } catch (error) {
        assert.is((error as Error).message, "caller's");
      }
      if (kept.length === 1) break;
      assert.equal([tape.engine.mark, tape.toString(), tape.params.length], before);
      const fresh = tape.scope(() => {
        const x = tape.tensor([4], [1, 2, 3, 4]);
        for (const t of [kept[0]!, kept[1]!, kept[3]!]) {
          fails(() => t.values(), "used after");
          fails(() => mul(t, t), "used after");
          fails(() => reshape(t, [1, 2]), "used after");
        }
        return numbers(x);
      });
      assert.equal(fresh, [1, 2, 3, 4]);
      assert.equal(numbers(w), [1, 2]);
    }
    const live = tape.tensor([2], [3, 3]); // made after, with a number of its own
    assert.equal(numbers(live), [3, 3]);
    assert.equal(numbers(stopGradient(live)), [3, 3]);
  },
  "a cache whose scope has ended is refused, and so is one that a generator gave back"() {
    const tape = new Tape("f32");
    const model = transformer({ ...small, position: "rope" });
    const params = model.params(tape);
    const ended = tape.scope(() => model.start(params, 1));
    fails(() => tape.noGrad(() => model.step(params, [[1, 2]], ended)), "used after its scope ended");
    const carry = tape.scope(() => cache(tape, { b: 1, capacity: 4, width: 4 }));
    assert.ok(carry.counts[0] === 0);
    const mark = tape.engine.mark;
    for (const _ of generate(model, params, [1, 2], { steps: 3 })) break;
    assert.is(tape.engine.mark, mark);
  },
});

suite("arrays from outside", {
  "that are views of the tape's own memory are read before a claim makes it grow"() {
    const claims: Record<string, (tape: Tape, x: Tensor) => ArrayLike<number>> = {
      tensor: (tape, x) => tape.tensor([x.size], x.values()).values(),
      param: (tape, x) => tape.param([x.size], x.values()).values(),
      integers: (tape, x) => tape.integers([x.size], x.values()).values(),
      gradient(tape, x) {
        const w = tape.param([x.size]);
        tape.backward(scale(w, { by: 1 }), x.values());
        return w.gradient();
      },
      getters(tape, x) {
        const list = { length: x.size } as ArrayLike<number>;
        for (let i = 0; i < x.size; i++)
          Object.defineProperty(list, i, {
            get() {
              tape.tensor([9000]);
              return x.values()[i];
            },
          });
        return tape.tensor([x.size], list).values();
      },
    };
    for (const [name, claim] of Object.entries(claims)) {
      const tape = new Tape("f32");
      const n = name === "getters" ? 40 : 60_000;
      const x = tape.tensor(
        [n],
        Float32Array.from({ length: n }, (_, i) => i % 1000),
      );
      const grown = tape.bytes;
      let i = 0;
      for (; tape.bytes === grown && i < 20; i++)
        assert.ok(
          [...Array.from(claim(tape, x)).entries()].every(([i, v]) => v === i % 1000),
          name,
        );
      assert.ok(i < 20, `${name}: memory did not grow`);
    }
  },
  "of other kinds than views are read once, and what throws in between leaves nothing behind"() {
    const tape = new Tape("f32");
    let reads = 0;
    const twice = new Proxy([1, 2], {
      get: (list, key) => (typeof key === "string" && /^\d/.test(key) && ++reads > 2 ? "x" : Reflect.get(list, key)),
    });
    assert.equal(numbers(tape.tensor([2], twice)), [1, 2]);
    const { mark } = tape.engine;
    for (const bad of [[1, "2"], [1, , 3], [1, null], { length: 2, 0: 1 }, [1n, 2n], new BigInt64Array(2)])
      for (const make of ["tensor", "param", "integers"] as const)
        fails(() => tape[make]([(bad as number[]).length], bad as never), /the value at \d is|takes/, TypeError);
    assert.equal([tape.engine.mark, tape.params.length], [mark, 0]);
    const shared = new Float64Array(new SharedArrayBuffer(16));
    shared.set([3, 4]);
    assert.equal(numbers(tape.tensor([2], shared)), [3, 4]);
  },
});

suite("gradients that are not finite", {
  "are refused by each optimiser and by clipping: the error names the parameter and the place, nothing has changed"() {
    for (const dtype of ["f32", "f64"] as const)
      for (const [name, make] of Object.entries(makers))
        for (const bad of [NaN, Infinity, -Infinity])
          for (const at of [0, 4, 14]) {
            const tape = new Tape(dtype);
            const params = { a: tape.param([2], [1, 2]), h: [{ w: tape.param([3, 5], Array(15).fill(0.5)) }] };
            const optimizer = make(params);
            tape.step(() => add(sum(mul(params.a, params.a)), sum(params.h[0]!.w)));
            optimizer.step();
            params.h[0]!.w.gradient()[at] = bad;
            const before = state(optimizer);
            const who = name === "momentum" ? "sgd" : name === "adam" ? "adamw" : name;
            const calls: [string, () => unknown][] = [
              [who, optimizer.step],
              ["clipNorm", () => clipNorm(params, 1)],
              ["clipValue", () => clipValue(params, 1)],
            ];
            for (const [who, call] of calls) {
              const text = `${who}: the gradient of h.0.w is ${bad} at [${Math.floor(at / 5)} ${at % 5}]; nothing`;
              assert.is(thrown(RangeError, call).slice(0, text.length), text);
              assert.equal(state(optimizer), before);
            }
          }
  },
  async "are refused by fit before the first of several optimisers has written"() {
    for (const clip of [{}, { norm: 1 }, { value: 1 }]) {
      const tape = new Tape("f32");
      const [a, b, frozen] = [tape.param([2], [1, 2]), tape.param([2], [0, 4]), tape.param([1], [1])];
      const optimizer = [adamw({ a }), sgd({ b }, { momentum: 0.5 })];
      const before = optimizer.map(state);
      const loss = () => sum(add(mul(a, a), dropout(sqrt(b), { p: 0.01 })));
      const error = await failure({ params: { a, b, frozen }, optimizer, loss, steps: 3, clip });
      assert.match(error, /the gradient of (1\.)?b is Infinity at \[0\]; nothing has changed/);
      for (const p of tape.params) p.gradient().fill(0);
      assert.equal(optimizer.map(state), before);
      assert.is(tape.random.position, 0);
    }
  },
  "finite ones whose sum or whose squares are not are none of them"() {
    const tape = new Tape("f32");
    const w = tape.param([4], [0, 0, 0, 0]);
    const optimizer = sgd({ w }, { lr: 1e-38 });
    w.gradient().set([3e38, 3e38, 3e38, -3e38]);
    optimizer.step();
    assert.ok(numbers(w).every(x => Math.abs(Math.abs(x) - 3) < 1e-6));
    const wide = new Tape("f64").param([2]);
    wide.gradient().set([1.7e308, 1.7e308]);
    sgd({ wide }, { lr: 1e-308 }).step();
    assert.ok(numbers(wide).every(x => Math.abs(x + 1.7) < 1e-12));
  },
  "clipNorm is right where squares leave the range of numbers, up and down"() {
    const cases: [dtype: "f32" | "f64", gradient: number[], most: number, norm: number, want: number[]][] = [
      ["f64", [3e200, -4e200], 1, 5e200, [0.6, -0.8]],
      ["f64", [3e-200, 4e-200], 1e-200, 5e-200, [6e-201, 8e-201]],
      ["f64", [3e-320, 4e-320], 1, 5e-320, [3e-320, 4e-320]],
      ["f64", [1e308, 1e308, 1e308, -1e308], 2, Infinity, [1, 1, 1, -1]],
      ["f64", [0, 0], 1, 0, [0, 0]],
      ["f32", [3e38, 0, -3e38], 1, 3e38 * Math.SQRT2, [Math.SQRT1_2, 0, -Math.SQRT1_2]],
      ["f32", [3e38, 1.5e38], 1e-5, 1.5e38 * Math.sqrt(5), [2e-5 / Math.sqrt(5), 1e-5 / Math.sqrt(5)]],
      ["f32", [3, 4], 1, 5, [0.6, 0.8]],
      ["f32", [3, 4], 0, 5, [0, 0]],
    ];
    for (const [dtype, gradient, most, norm, want] of cases) {
      const tape = new Tape(dtype);
      const [v, w] = [tape.param([1]), tape.param([gradient.length - 1])];
      v.gradient().set(gradient.slice(0, 1));
      w.gradient().set(gradient.slice(1));
      const got = clipNorm({ v, w }, most);
      const near = (x: number, y: number, by: number) => x === y || Math.abs(x - y) <= by * Math.abs(y);
      assert.ok(near(got, norm, 1e-3 * Number(norm < 1e-300) + 1e-6), `${gradient}: norm ${got}`);
      [...v.gradient(), ...w.gradient()].forEach((x, i) =>
        assert.ok(near(x, want[i]!, dtype === "f32" ? 1e-6 : 1e-14), `${gradient}: ${x}, wants ${want[i]}`),
      );
    }
  },
});

suite("an optimiser", {
  "steps without its owner, taken out or put into another object"() {
    for (const make of Object.values(makers)) {
      const run = (step: (o: Optimizer) => void): unknown => {
        const tape = new Tape("f32");
        const w = tape.param([2], [1, 1]);
        const optimizer = make({ w });
        for (let i = 0; i < 3; i++) {
          tape.step(() => sum(mul(w, w)));
          step(optimizer);
        }
        return state(optimizer);
      };
      const want = run(o => o.step());
      const ways: ((o: Optimizer) => void)[] = [
        ({ step }) => step(),
        ({ step }) => ({ step }).step(),
        ({ step }) => step.call(undefined as never),
        ({ step }) => [0.1].forEach(rate => step(rate)),
      ];
      for (const way of ways) assert.equal(run(way), want);
    }
  },
  "takes as its updates only an integer from 0, also when it is frozen"() {
    const tape = new Tape("f32");
    const w = tape.param([1], [1]);
    const optimizer: Optimizer = Object.freeze(adamw({ w }));
    for (const bad of [NaN, -1, 0.5, Infinity, "3", undefined, 2 ** 53])
      assert.match(
        thrown(typeof bad === "number" ? RangeError : TypeError, () => {
          optimizer.updates = bad as number;
        }),
        "adamw: updates is",
      );
    optimizer.updates = 7;
    assert.is(optimizer.updates, 7);
  },
  "asks decays once, when it is made; one that throws or promises makes none"() {
    const tape = new Tape("f32");
    const params = { a: tape.param([2], [1, 1]), b: tape.param([2], [1, 1]) };
    let asked = 0;
    const optimizer = sgd(params, { lr: 0.1, decay: 0.5, decays: path => ++asked > 0 && path === "b" });
    for (let i = 0; i < 3; i++) optimizer.step();
    assert.is(asked, 2);
    assert.ok(numbers(params.a).every(x => x === 1) && numbers(params.b).every(x => Math.abs(x - 0.95 ** 3) < 1e-6));
    const { mark } = tape.engine;
    const refuses = (path: string): boolean => {
      if (path === "b") throw new Error("caller's");
      return true;
    };
    fails(() => adamw(params, { decays: refuses }), "caller's");
    fails(() => adamw(params, { decays: (() => Promise.resolve(true)) as never }), "returned a promise", TypeError);
    assert.is(tape.engine.mark, mark);
  },
  "is loaded whole or not at all, also where its count cannot be set"() {
    const tape = new Tape("f32");
    const w = tape.param([2], [1, 2]);
    const optimizer = adamw({ w });
    tape.step(() => sum(mul(w, w)));
    optimizer.step();
    const file = save({ params: { w }, optimizer, step: 1 });
    optimizer.step();
    const before = state(optimizer);
    const stubborn = Object.freeze({ ...optimizer, updates: 2 });
    assert.throws(() => load({ params: { w }, optimizer: stubborn }, file));
    assert.equal(state(optimizer), before);
    load({ params: { w }, optimizer: Object.freeze(optimizer) }, file);
    assert.is(optimizer.updates, 1);
  },
  "on a closed engine neither moves nor counts"() {
    for (const threads of [1, 2]) {
      const engine = fast("f32", { threads, fma: false });
      const tape = new Tape("f32", { engine });
      const w = tape.param([2], [1, 2]);
      const optimizer = adamw({ w });
      tape.step(() => sum(mul(w, w)));
      const [before, mark] = [state(optimizer), tape.engine.mark];
      engine.close();
      const calls = [optimizer.step, () => clipNorm({ w }, 1), () => clipValue({ w }, 1), () => tape.param([4])];
      for (const call of [...calls, () => tape.step(() => sum(dropout(w)))]) fails(call, "engine was closed");
      assert.equal(state(optimizer), before);
      assert.equal([tape.engine.mark, tape.random.position, tape.params.length], [mark, 0, 1]);
    }
  },
  async "of parameters that are not in params, or on another tape, is refused by fit"() {
    const [tape, other] = [new Tape("f32"), new Tape("f32")];
    const [w, u, far] = [tape.param([2], [1, 2]), tape.param([2], [1, 2]), other.param([2], [1, 2])];
    const loss = () => sum(mul(w, w));
    const cases: [Optimizer | Optimizer[], string][] = [
      [adamw({ u }), "RangeError: fit: the optimiser's u is not in params"],
      [adamw({ w, u }), "RangeError: fit: the optimiser's u is not in params"],
      [[adamw({ w }), sgd({ u })], "RangeError: fit: the optimiser's 1.u is not in params"],
      [adamw({ w: far }), "RangeError: fit: the optimiser's w is not in params"],
      [[adamw({ w }), sgd({ far })], "TypeError: fit: 0.w and 1.far are on two tapes"],
    ];
    for (const [optimizer, text] of cases) {
      const error = await failure({ params: { w }, optimizer, loss, steps: 2 });
      assert.ok(error.startsWith(text), error);
    }
    fails(() => adamw({ w, far }), "w and far are on two tapes", TypeError);
    for await (const _ of fit({ params: { a: { w }, u }, optimizer: sgd({ b: w }), loss, steps: 1 }));
    assert.equal(numbers(w), [Math.fround(1 - Math.fround(0.1) * 2), Math.fround(2 - Math.fround(0.1) * 4)]);
  },
});

suite("the generator", {
  "is where it was after a step, a scope or a checkpoint that throws"() {
    const tape = new Tape("f32");
    const w = tape.param([64], Array(64).fill(1));
    const drawn = (): Tensor => sum(dropout(mul(w, w), { p: 0.5 }));
    const broken = (): never => {
      drawn();
      tape.random.word();
      throw new Error("caller's");
    };
    tape.step(drawn);
    const { random } = tape;
    const { position } = random;
    const calls = [
      () => tape.step(broken),
      () => tape.step(() => scale(drawn(), { by: Infinity })),
      () => tape.step(() => (drawn(), 3) as never),
      () => tape.scope(broken),
      () => tape.checkpoint(broken),
      () => tape.step(() => tape.checkpoint(broken)),
      () => tape.step(() => tape.scope(() => tape.checkpoint(broken))),
      () =>
        tape.step(() => {
          tape.random = farsight.random(9);
          return broken();
        }),
      () => gradcheck({ w }, broken),
    ];
    for (const call of calls) {
      assert.throws(call);
      assert.ok(tape.random === random && random.position === position, String(call));
    }
    tape.step(drawn);
    const twin = new Tape("f32");
    const v = twin.param([64], Array(64).fill(1));
    for (let i = 0; i < 2; i++) twin.step(() => sum(dropout(mul(v, v), { p: 0.5 })));
    assert.equal([...w.gradient()], [...v.gradient()]);
  },
});

suite("functions that must not be asynchronous", {
  async "are refused alike, whatever takes them, and their later errors trouble nobody"() {
    const tape = new Tape("f64");
    const w = tape.param([4], [1, 2, 3, 4]);
    const model = transformer({ ...small, layers: 1 });
    const params = model.params(tape);
    const optimizer = sgd({ w });
    const steps = { params: { w }, optimizer, steps: 1 };
    const good = () => sum(mul(w, w));
    const watched = (watch: never) =>
      tape.scope(() => void model.logits(params, tape.integers([1, 1], [0]), { watch }));
    const rule = { forward() {}, backward() {} };
    const takers: Record<string, (f: never) => unknown> = {
      scope: f => tape.scope(f),
      noGrad: f => tape.noGrad(f),
      step: f => tape.step(f),
      allOrNothing: f => tape.allOrNothing(f),
      lend: f => tape.lend(f),
      checkpoint: f => tape.checkpoint(f),
      "checkpoint in noGrad": f => tape.noGrad(() => tape.checkpoint(f)),
      gradcheck: f => gradcheck({ w }, f),
      decays: f => adamw({ w }, { decays: f }),
      watch: watched,
      trace: f => mul(...(twice(new Tape("f64", { trace: f }).param([1])) as [Tensor, Tensor])),
      "end of trace": f => mul(...(twice(new Tape("f64", { trace: () => f }).param([1])) as [Tensor, Tensor])),
      forward: f => op("custom(x)", "n -> n", { ...rule, forward: f })(w),
      backward: f => tape.step(() => sum(op("custom(x)", "n -> n", { ...rule, backward: f })(w))),
      derive: f => op("custom(x)", "n -> n", { ...rule, derive: f })(w),
      loss: f => failure({ ...steps, loss: f }),
      evaluate: f => failure({ ...steps, loss: good, evaluate: f }),
      schedule: f => failure({ ...steps, loss: good, schedule: f }),
      "an optimiser's step": f => failure({ ...steps, loss: good, optimizer: { ...optimizer, step: f } }),
      stream: f => [...model.stream(params, [(f as () => never)()])],
    };
    const late = async () => {
      await null;
      throw new Error("late");
    };
    const thenable = { then() {} };
    const unheard: unknown[] = [];
    const hear = (error: unknown): number => unheard.push(error);
    process.on("unhandledRejection", hear);
    for (const [name, take] of Object.entries(takers))
      for (const f of [late, () => thenable, () => Object.assign(() => {}, thenable), () => Promise.resolve(1)]) {
        const before = [tape.engine.mark, tape.toString(), tape.recording, tape.params.length];
        let said = "nothing";
        try {
          const result = take(f as never);
          said = result instanceof Promise ? String(await (result as Promise<string>)) : "nothing";
        } catch (error) {
          said = String(error);
        }
        assert.match(said, /^TypeError: .*the function returned a promise/, `${name}: ${said}`);
        assert.equal([tape.engine.mark, tape.toString(), tape.recording, tape.params.length], before, name);
      }
    await new Promise(done => setTimeout(done, 20));
    process.off("unhandledRejection", hear);
    assert.equal(unheard, []);
  },
});
const twice = <T>(x: T): readonly [T, T] => [x, x];

suite("what runs in the middle", {
  "a hook's tensors keep their numbers, and results theirs, where operations scribble on room"() {
    const run = (hooked: boolean) => {
      const made: Tensor[] = [];
      let inside = false;
      const trace = () => {
        if (!hooked || inside) return;
        inside = true;
        const make = (): number => made.push(tape.tensor([700], Array(700).fill(made.length)));
        make();
        norm(); // the same operation at the same shapes: what it settled is shared
        inside = false;
        return () => void make();
      };
      const tape: Tape = new Tape("f32", { trace });
      const [x, g, b] = [
        tape.param(
          [3, 8],
          Array.from({ length: 24 }, (_, i) => i % 5),
        ),
        tape.param([8], Array(8).fill(2)),
        tape.param([8]),
      ];
      const norm = () => layerNorm(stopGradient(x), stopGradient(g), stopGradient(b));
      const q = () => reshape(layerNorm(x, g, b), [1, 3, 2, 4]);
      return tape.scope(() => {
        const y = sum(tanh(attention(q(), q(), q())));
        tape.backward(y);
        made.forEach((t, i) =>
          assert.ok(
            numbers(t).every(n => n === i),
            `tensor ${i} of the hook`,
          ),
        );
        assert.is(made.length > 0, hooked);
        return [y.item(), ...x.gradient(), ...g.gradient(), ...b.gradient()];
      });
    };
    assert.equal(run(true), run(false));
  },
  "a rule's own tensors keep their numbers behind its room"() {
    const tape = new Tape("f64");
    const made: Tensor[] = [];
    const scribble = op("scribble(x)", "n -> n", {
      room: (_, { n }) => 10 * n,
      forward(K, { n, room }, y, x) {
        made.push(tape.tensor([5], [1, 2, 3, 4, 5]));
        K.fill(10 * n, 9, room);
        K.add(n, x.data, x.data, y.data);
      },
      backward(K, { n, room }, y, x) {
        made.push(tape.tensor([5], [1, 2, 3, 4, 5]));
        K.fill(10 * n, 9, room);
        K.scaleAdd(n, 2, y.grad, x.grad, x.add);
      },
    });
    const w = tape.param([3], [1, 2, 3]);
    tape.scope(() => {
      const y = scribble(mul(w, w));
      const z = scale(y, { by: 1 });
      tape.backward(sum(z));
      assert.equal(numbers(y), [2, 8, 18]);
      assert.equal([...w.gradient()], [4, 8, 12]);
      assert.is(made.length, 2);
      for (const t of made) assert.equal(numbers(t), [1, 2, 3, 4, 5]);
    });
  },
  "a hook that gives no function, or throws, is refused, and nothing is left behind"() {
    for (const [trace, kind] of [
      [() => 3, TypeError],
      [() => ({}), TypeError],
      [
        () => {
          throw new RangeError("trace: caller's");
        },
        RangeError,
      ],
    ] as [never, ErrorConstructor][]) {
      const tape = new Tape("f32", { trace });
      const w = tape.param([2], [1, 2]);
      const { mark } = tape.engine;
      fails(() => mul(w, w), /: trace/, kind);
      assert.equal([tape.engine.mark, tape.toString()], [mark, ""]);
    }
  },
  "integers changed behind the forward pass never write outside a gradient"() {
    const cases: Record<string, (tape: Tape, w: Tensor, ids: Tensor) => Tensor> = {
      embedding: (_, w, ids) => embedding(w, ids),
      crossEntropy: (_, w, ids) => crossEntropy(w, ids, { reduction: "sum" }),
      pick: (_, w, ids) => pick(w, reshape(ids, [3, 1])),
    };
    for (const [name, make] of Object.entries(cases))
      for (const bad of [-1, 4, 2 ** 31 - 1, -(2 ** 31)]) {
        const tape = new Tape("f32");
        const before = tape.param([8], Array(8).fill(1));
        const w = tape.param(
          [3, 4],
          Array.from({ length: 12 }, (_, i) => i / 10),
        );
        const after = tape.param([8], Array(8).fill(1));
        const ids = tape.integers([3], [0, 2, 1]);
        const step = () => tape.step(() => sum(tanh(make(tape, w, ids))));
        step();
        const want = [...w.gradient()];
        fails(
          () =>
            tape.step(() => {
              const y = sum(tanh(make(tape, w, ids)));
              ids.values()[1] = bad;
              return y;
            }),
          new RegExp(`${name}: input 1 holds ${bad} at place 1, outside 0..`),
          RangeError,
        );
        for (const p of [before, after])
          assert.ok([...p.gradient()].every(g => g === 0) && numbers(p).every(x => x === 1));
        ids.values()[1] = 2;
        step();
        assert.equal([...w.gradient()], want);
      }
  },
  "and by a hook, behind the check of the forward pass"() {
    const tape: Tape = new Tape("f32", { trace: () => void (ids.values()[0] = 1e9) });
    const w = tape.param([3, 4]);
    const ids = tape.integers([2], [0, 1]);
    fails(() => embedding(w, ids), "embedding: input 1 holds 1000000000 at place 0", RangeError);
  },
});

const without = (tree: object, path: string): Tree => {
  const [name = "", ...rest] = path.split(".");
  const copy = (Array.isArray(tree) ? [...(tree as unknown[])] : { ...tree }) as Record<string, unknown>;
  if (rest.length) copy[name] = without(copy[name] as object, rest.join("."));
  else copy[name] = undefined;
  return copy as Tree;
};
suite("parameters of another model", {
  "are refused by every function of a model, each leaf that is missing, too many or of other shape by its name"() {
    const options: TransformerOptions[] = [
      { position: "rope", tied: true, headBias: true },
      { position: ["cope", "relative"], cope: { gates: "sep" }, activation: "swiglu", kvHeads: 2 },
      { bias: false, rms: true, norm: "post", embeddingNorm: true },
    ];
    for (const more of options) {
      const tape = new Tape("f32");
      const model = transformer({ ...small, layers: 1, ...more });
      const params = model.params(tape);
      const ids = tape.integers([1, 3], [0, 1, 2]);
      const logits = (tree: unknown) =>
        tape.scope(() =>
          model
            .logits(tree as never, ids)
            .values()
            .slice(),
        );
      const want = logits(params);
      assert.equal(logits(JSON.parse("[]").concat(params)[0]), want);
      assert.equal(logits(without(params, "nobody")), want); // another object, of the same leaves
      const extra = tape.param([2, 2]);
      for (const [path, p] of leaves(params)) {
        const [name] = path.split(".");
        const bad: [Tree, RegExp][] = [
          [without(params, path), new RegExp(`${path} is missing, wants \\[${p.shape.join(" ")}\\]`)],
          [
            { ...params, [name!]: { ...(params[name!] as object), also: extra } } as never,
            new RegExp(`${name}.also is \\[2 2\\], wants nothing`),
          ],
          [{ ...params, surplus: { weight: extra } } as never, /surplus.weight is \[2 2\], wants nothing/],
        ];
        for (const [tree, text] of bad) {
          const message = thrown(RangeError, () => logits(tree));
          assert.match(message, /^transformer: \d+ parameters? (are|is) of another model/);
          assert.match(message, text);
        }
      }
      const [first] = leaves(params).filter(([path]) => path.startsWith("h.0"));
      const wrong = without(params, first![0]) as never;
      const x = tape.tensor([1, 3, 16]);
      for (const call of [
        () => model.embed(wrong, ids),
        () => model.states(wrong, x),
        () => model.loss(wrong, ids, ids),
        () => model.start(wrong, 1),
        () => model.step(wrong, ids, model.start(params, 1)),
        () => [...model.stream(wrong, [ids])],
        () => [...generate(model, wrong, [1], { steps: 1 })],
      ])
        assert.match(
          thrown(RangeError, () => tape.scope(() => tape.noGrad<unknown>(call))),
          "of another model",
        );
      const headless = without(params, "lm_head") as never;
      fails(() => tape.scope(() => model.head(headless, x)), "lm_head", RangeError);
    }
  },
  "with a table of places in a rope model, or without a norm, are not computed with in silence"() {
    const tape = new Tape("f32");
    const [rope, absolute] = [transformer({ ...small, position: "rope" }), transformer(small)];
    const ids = tape.integers([1, 3], [0, 1, 2]);
    fails(() => rope.logits(absolute.params(tape), ids), "wpe.weight is [9 16], wants nothing", RangeError);
    fails(() => absolute.logits(rope.params(tape), ids), "wpe.weight is missing, wants [9 16]", RangeError);
    fails(() => rope.logits({ ...rope.params(tape), ln_f: undefined }, ids), "ln_f.weight is missing", RangeError);
    fails(
      () => rope.logits({ ...rope.params(tape), lm_head: undefined }, ids),
      "lm_head.weight is missing",
      RangeError,
    );
  },
  "are refused by recurrent models, and theirs by the models inside"() {
    const tape = new Tape("f32");
    const net = transformer(small);
    const model = rmt(net, { segment: 3, memory: 2 });
    const params = model.params(tape);
    const ids = tape.integers([1, 5], [0, 1, 2, 3, 4]);
    tape.step(() => model.loss(params, ids, ids));
    const { memory: _, ...alone } = params;
    net.logits(alone, ids);
    fails(() => net.logits(params, ids), "memory is [2 16], wants nothing", RangeError);
    fails(
      () => model.logits(alone as never, ids),
      "rmt: 1 parameters are of another model\n  memory is missing",
      RangeError,
    );
    const more = { ...params, memory: tape.param([3, 16]) };
    fails(() => model.start(more, 1), "memory is [3 16], wants [2 16]", RangeError);
    fails(() => model.step(without(params, "ln_f") as never, [[1]], model.start(params, 1)), "ln_f.weight", RangeError);
    const inside = transformer({ ...small, causal: false, norm: "post", context: 12 });
    const encoder = rmtEncoder(inside, { segment: 3, memory: 2, classes: 2, pooler: true });
    const own = encoder.params(tape);
    const labels = tape.integers([1], [1]);
    tape.step(() => encoder.loss(own, [[3, 4, 5, 6]], labels));
    for (const path of ["pooler.weight", "classifier.bias", "memory", "wte.weight", "h.1.mlp.c_fc.bias"])
      fails(() => encoder.logits(without(own, path) as never, [[3, 4]]), `${path} is missing`, RangeError);
    fails(
      () => encoder.logits({ ...own, lm_head: { weight: tape.param([7, 16]) } }, [[3, 4]]),
      "lm_head.weight is [7 16], wants nothing",
      RangeError,
    );
  },
});

suite("advice where memory is full", {
  "counts what piles up outside of scopes, and speaks of the batch where that fills it"() {
    const said = (run: (tape: Tape, w: Tensor) => void): string => {
      const tape = new Tape("f32", { limit: 2 ** 20 });
      const w = tape.param([64], Array(64).fill(1));
      return thrown(RangeError, () => run(tape, w));
    };
    const forever = (once: () => void): void => {
      for (;;) once();
    };
    const batch = (tape: Tape): Tensor => tape.tensor([64], Array(64).fill(1));
    const piles: ((tape: Tape, w: Tensor) => void)[] = [
      (tape, w) =>
        forever(() => {
          const x = batch(tape);
          tape.step(() => sum(mul(w, x)));
        }),
      (tape, w) => forever(() => tape.noGrad(() => sum(mul(w, w)).item())),
      (_, w) => forever(() => mul(w, w)),
      (tape, w) =>
        tape.scope(() =>
          forever(() => {
            const x = batch(tape);
            tape.step(() => sum(tanh(tanh(mul(w, x)))));
          }),
        ),
    ];
    for (const pile of piles)
      assert.match(said(pile), /\d{3,} tensors and \d+ operations lie outside of this scope, or of any: make/);
    assert.match(said(piles[2]!), /(\d+) tensors and \1 operations/);
    const large = said((tape, w) => tape.step(() => sum(matmul(reshape(w, [64, 1]), tape.tensor([1, 9000])))));
    assert.ok(large.endsWith("lower the batch or the sequence, or use tape.checkpoint"), large);
    const many = said(tape => forever(() => tape.param([64])));
    assert.ok(many.endsWith("lower the batch or the sequence, or use tape.checkpoint"), many);
  },
});

suite("engines and copies", {
  "threads of engines that nobody closed end when those are collected"() {
    const program = `
      import { Tape, mul, sum } from ${JSON.stringify(import.meta.resolve("farsight"))};
      import { fast } from ${JSON.stringify(import.meta.resolve("farsight/fast"))};
      const threads = process.getBuiltinModule("node:worker_threads");
      const { Worker } = threads;
      let made = 0, live = 0;
      threads.Worker = class extends Worker {
        constructor(...given) {
          super(...given);
          made++;
          live++;
          this.on("exit", () => live--);
        }
      };
      const turn = () => new Promise(done => setTimeout(done, 20));
      for (let i = 0; i < 50; i++) {
        const tape = new Tape("f32", { engine: fast("f32", { threads: 2, fma: false, limit: 2 ** 24 }) });
        const w = tape.param([4], [1, 2, 3, 4]);
        tape.step(() => sum(mul(w, w)));
        if (i % 10 === 9) await turn();
      }
      for (let i = 0; i < 500 && live > 5; i++) {
        gc();
        await turn();
      }
      console.log(made, live);`;
    const folder = mkdtempSync(join(tmpdir(), "farsight-"));
    try {
      const file = join(folder, "engines.mjs");
      writeFileSync(file, program);
      const out = execFileSync(process.execPath, ["--expose-gc", file], { encoding: "utf8" });
      const [made, live] = out.trim().split(" ").map(Number);
      assert.ok(made === 50 && live! <= 5, `${live} of ${made} threads go on`);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  async "what comes from a second copy of the library is called that"() {
    const folder = mkdtempSync(join(tmpdir(), "farsight-"));
    try {
      cpSync("dist", folder, { recursive: true, filter: from => !from.includes("dev") });
      writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
      const copy = (await import(pathToFileURL(join(folder, "index.js")).href)) as typeof farsight;
      const x = new copy.Tape("f32").param([2, 2], [1, 2, 3, 4]);
      const tape = new Tape("f32");
      const w = tape.param([2, 2]);
      const model = transformer(small);
      const params = model.params(tape);
      const calls = [
        () => tanh(x),
        () => matmul(w, x),
        () => sum(x),
        () => adamw({ x }),
        () => leaves({ h: [x] as never }),
        () => tape.step(() => copy.sum(x)),
        () => tape.backward(x),
        () => tape.checkpoint(() => x),
        () => clipNorm({ x }, 1),
        () => model.logits(params, x),
        () => model.logits({ ...params, wte: { weight: x } }, tape.integers([1, 1], [0])),
        () => farsight.tokens(tape, x),
        () => copy.add(x, w),
      ];
      for (const call of calls) assert.match(thrown(TypeError, call), "a tensor of another copy of farsight");
      // The same entry point loaded twice, which shares the modules behind it.
      const entry = pathToFileURL(join(folder, "index.js")).href;
      const again = (await import(`${entry}?again`)) as typeof farsight;
      for (const call of [
        () => again.tanh(x),
        () => again.matmul(x, x),
        () => copy.add(x, new again.Tape("f32").param([2, 2])),
      ])
        assert.match(thrown(TypeError, call), "a tensor of another copy of farsight");
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
});
