// The tape: regions and who outlives them, steps, backward, checkpoints, what it prints, check mode, hooks and memory.
import { readFileSync } from "node:fs";
import { inspect } from "node:util";
import * as assert from "uvu/assert";
import {
  Engine,
  Tape,
  type Tensor,
  adamw,
  add,
  dropout,
  embedding,
  exp,
  leaves,
  log,
  matmul,
  mul,
  random,
  reshape,
  scale,
  slice,
  sqrt,
  stopGradient,
  sub,
  sum,
  tanh,
  transformer,
} from "farsight";
import { close, peak, suite, thrown } from "./check.ts";

const numbers = (n: number, seed = 1): Float64Array => {
  const rng = random(seed);
  return Float64Array.from({ length: n }, () => Math.fround(rng.normal()));
};
const bits = (x: ArrayLike<number>): string => Buffer.from(Float64Array.from(x).buffer).toString("hex");
/** Everything about a tape that a failure must leave as it was. */
const state = (tape: Tape): unknown => [
  tape.engine.mark,
  tape.toString(),
  tape.params.length,
  tape.recording,
  tape.random.position,
  tape.params.map(p => bits(p.values()) + bits(p.gradient())),
];
/** A tape with a 3 x 3 parameter, and a constant 2 x 3. */
function start(dtype: "f32" | "f64" = "f64"): { tape: Tape; w: Tensor; x: Tensor } {
  const tape = new Tape(dtype);
  return { tape, w: tape.param([3, 3], numbers(9)), x: tape.tensor([2, 3], numbers(6, 2)) };
}

suite("scope", {
  "what it made is dead, what was copied out lives, and its memory is free again"() {
    const { tape, w, x } = start();
    const before = state(tape);
    let inner!: Tensor;
    let alias!: Tensor;
    const copy = tape.scope(() => {
      inner = tanh(matmul(x, w));
      alias = reshape(inner, [6]);
      return inner.values().slice();
    });
    assert.equal(state(tape), before);
    assert.is(copy.length, 6);
    assert.is(
      thrown(Error, () => inner.values()),
      "values: tensor [2 3] was used after its scope ended" +
        "\n  copy what you need out of the scope with .values().slice()",
    );
    for (const [name, use] of Object.entries({
      gradient: () => inner.gradient(),
      item: () => alias.item(),
      tanh: () => tanh(inner),
      reshape: () => reshape(alias, [2, 3]),
      stopGradient: () => stopGradient(inner),
      sum: () => sum(alias),
      backward: () => tape.backward(inner, copy),
    }))
      assert.match(name === "item" ? thrown(RangeError, use) : thrown(Error, use), name);
    assert.is(String(inner), "Tensor [2 3] (its scope has ended)");
  },
  "a nested scope ends with the outer one, and not before the inner body"() {
    const { tape, x } = start();
    const outer = tape.scope(() => {
      const a = exp(x);
      const b = tape.scope(() => {
        assert.ok(a.values().length);
        return exp(a);
      });
      assert.ok(a.region.alive && !b.region.alive);
      return a;
    });
    assert.not.ok(outer.region.alive);
    assert.ok(x.region.alive);
  },
  "an exception leaves the tape as it was, from any depth"() {
    const { tape, w, x } = start();
    const before = state(tape);
    const fail = (): never => {
      tape.param([5]);
      tanh(matmul(x, w));
      throw new Error("mine");
    };
    for (const body of [
      fail,
      () => tape.scope(fail),
      () => tape.noGrad(fail),
      () => tape.checkpoint(fail),
      () => tape.step(fail),
    ]) {
      assert.is(
        thrown(Error, () => tape.scope(body as () => void)),
        "mine",
      );
      assert.equal(state(tape), before);
    }
  },
  "a promise is refused"() {
    const tape = new Tape();
    assert.is(
      thrown(TypeError, () => tape.scope(async () => 1)),
      "scope: the function returned a promise\n  wants its result",
    );
    assert.match(
      thrown(TypeError, () => tape.step((async () => 1) as never)),
      "step: the function returned a promise\n  wants its result",
    );
  },
});

suite("step", {
  "zeroes gradients, or adds to them when told to, and returns the loss"() {
    const { tape, w, x } = start();
    const loss = () => sum(tanh(matmul(x, w)));
    const mark = tape.engine.mark;
    const value = tape.scope(() => loss().item());
    w.gradient().fill(7);
    assert.is(tape.step(loss), value);
    const once = w.gradient().slice();
    assert.is(tape.step(loss), value);
    assert.is(bits(w.gradient()), bits(once));
    tape.step(loss, { accumulate: true });
    close(
      w.gradient(),
      once.map(g => 2 * g),
      1e-15,
    );
    assert.is(tape.engine.mark, mark);
  },
  "a loss that is not finite throws before anything changes"() {
    for (const [value, bad] of [
      ["NaN", -1],
      ["-Infinity", 0],
    ] as const) {
      const { tape, w } = start();
      w.gradient().fill(7);
      const before = state(tape);
      assert.is(
        thrown(RangeError, () => tape.step(() => add(scale(sum(w), { by: 0 }), log(tape.tensor([], [bad]))))),
        `step: the loss is ${value}; parameters and gradients are as before` +
          `\n  lower the learning rate, clip gradients, or look with new Tape("f64", { check: true })`,
      );
      assert.equal(state(tape), before);
    }
  },
  "a result that is no loss of this tape's parameters throws before anything changes"() {
    const { tape, w, x } = start();
    const other = start();
    w.gradient().fill(7);
    const before = state(tape);
    const body = (f: () => unknown) => () => tape.step(f as () => Tensor);
    assert.is(
      thrown(
        TypeError,
        body(() => 3),
      ),
      "step: the function returned 3\n  wants the loss, a tensor of size 1",
    );
    assert.match(
      thrown(
        TypeError,
        body(() => undefined),
      ),
      "returned undefined",
    );
    assert.match(
      thrown(
        RangeError,
        body(() => tanh(w)),
      ),
      "[3 3] is no scalar",
    );
    assert.match(
      thrown(
        Error,
        body(() => sum(x)),
      ),
      "depends on no parameter",
    );
    assert.match(
      thrown(
        Error,
        body(() => tape.noGrad(() => sum(w))),
      ),
      "noGrad",
    );
    assert.match(
      thrown(
        TypeError,
        body(() => sum(other.w)),
      ),
      "of another tape",
    );
    assert.equal(state(tape), before);
  },
});

suite("backward", {
  "a second one, without new work, throws"() {
    const { tape, w, x } = start();
    const loss = sum(matmul(x, w));
    tape.backward(loss);
    const once = bits(w.gradient());
    assert.is(
      thrown(Error, () => tape.backward(loss)),
      "backward: nothing is recorded in this scope, or it ran already",
    );
    assert.is(bits(w.gradient()), once);
  },
  "work on a tensor that backward went through already throws instead of losing its gradient"() {
    const { tape, w, x } = start();
    const h = tanh(matmul(x, w));
    tape.backward(sum(h));
    assert.match(
      thrown(Error, () => tape.backward(sum(mul(h, h)))),
      "mul read [2 3], through which backward ran already",
    );
    tape.backward(sum(mul(tanh(matmul(x, w)), stopGradient(h))));
    const first = sum(matmul(x, w));
    const second = sum(tanh(w));
    tape.backward(first);
    exp(w);
    assert.match(
      thrown(Error, () => tape.backward(second)),
      "nothing is recorded in this scope, or it ran already",
    );
  },
  "a loss that is no scalar takes a gradient to start from, of its length"() {
    const { tape, w, x } = start();
    const y = matmul(x, w);
    const u = numbers(6, 5);
    assert.is(
      thrown(RangeError, () => tape.backward(y)),
      "backward: [2 3] is no scalar\n  wants a tensor of size 1, or the gradient to start from",
    );
    assert.is(
      thrown(RangeError, () => tape.backward(y, [1, 2])),
      "backward: [2 3] takes 6 numbers, got 2",
    );
    tape.backward(y, u);
    const want = Array.from({ length: 9 }, (_, i) =>
      [0, 1].reduce((s, r) => s + x.values()[3 * r + Math.floor(i / 3)]! * u[3 * r + (i % 3)]!, 0),
    );
    close(w.gradient(), want, 1e-15);
  },
  "constants, other tapes and non-tensors are refused"() {
    const { tape, x } = start();
    const other = start();
    assert.is(
      thrown(Error, () => tape.backward(sum(x))),
      "backward: [] depends on no parameter, or was computed in noGrad",
    );
    assert.match(
      thrown(TypeError, () => tape.backward(sum(other.w))),
      "another tape",
    );
    assert.match(
      thrown(TypeError, () => tape.backward(3 as never)),
      "backward: got 3\n  wants a tensor of size 1",
    );
    assert.match(
      thrown(Error, () => x.gradient()),
      "gradient: [2 3] asked for none",
    );
  },
  "gradients stop at the edge of a scope with an error, and leave nothing behind outside"() {
    const { tape, w, x } = start();
    const outside = tanh(matmul(x, w));
    assert.is(
      thrown(Error, () => tape.scope(() => tape.backward(sum(outside)))),
      "backward: sum read [1 6 1] from outside of this scope\n  call backward in the scope where it was made",
    );
    assert.match(
      thrown(Error, () =>
        tape.scope(() => {
          sum(w);
          tape.backward(outside, numbers(6));
        }),
      ),
      "[2 3] was made outside of this scope",
    );
    assert.is(outside.grad, 0);
    tape.backward(sum(outside));
    assert.ok(w.gradient().every(g => g !== 0));
  },
  "a loss that is itself a parameter adds to its gradient"() {
    const tape = new Tape("f64");
    const w = tape.param([1], [3]);
    w.gradient()[0] = 10;
    mul(w, w);
    tape.backward(w);
    assert.is(w.gradient()[0], 11);
  },
  "noGrad records nothing, even after it threw"() {
    const { tape, w, x } = start();
    const y = tape.noGrad(() => tanh(matmul(x, w)));
    assert.is(y.wants, false);
    assert.is(tape.toString(), "");
    thrown(Error, () =>
      tape.noGrad(() => {
        throw new Error();
      }),
    );
    assert.is(matmul(x, w).wants, true);
  },
  "stopGradient keeps values and lets exactly zero through"() {
    const { tape, w, x } = start();
    const h = matmul(x, w);
    const stopped = stopGradient(h);
    assert.is(bits(stopped.values()), bits(h.values()));
    assert.is(stopped.data, h.data);
    tape.backward(add(sum(mul(stopped, stopped)), scale(sum(w), { by: 0 })));
    assert.ok(w.gradient().every(g => Object.is(g, 0)));
    assert.ok(h.gradient().every(g => Object.is(g, 0)));
    assert.not.ok(stopped.wants);
  },
  "reshape shares memory and gradient"() {
    const { tape, w } = start();
    const flat = reshape(w, [9]);
    assert.is(flat.data, w.data);
    flat.values()[4] = 42;
    assert.is(w.values()[4], 42);
    tape.backward(add(sum(slice(flat, 0, 2)), sum(reshape(reshape(w, [9, 1]), [1, 9]))));
    assert.equal(Array.from(w.gradient()), [2, 2, 1, 1, 1, 1, 1, 1, 1]);
    assert.is(flat.grad, w.grad);
  },
});

suite("a step", {
  "gives the bits of backward in a scope, though gradients lie where results lay, in less memory"() {
    for (const more of [
      {},
      { position: "cope", dropout: 0.2 },
      { myopic: {} },
      { norm: "post", activation: "swiglu", tied: true },
    ] as const)
      for (const replay of [false, true]) {
        const seen = [true, false].map(step => {
          const tape = new Tape("f64", { seed: 5 });
          const model = transformer({ vocab: 7, d: 24, layers: 3, heads: 2, context: 12, ...more });
          const params = model.params(tape, { seed: 2 });
          const ids = tape.integers(
            [3, 12],
            Array.from({ length: 36 }, (_, i) => (i * i) % 7),
          );
          const loss = (): Tensor =>
            replay ? tape.checkpoint(() => model.loss(params, ids, ids)) : model.loss(params, ids, ids);
          for (const p of tape.params) p.gradient().fill(step ? NaN : 0);
          const top = peak(tape, () => (step ? tape.step(loss) : tape.scope(() => tape.backward(loss()))));
          return { gradients: leaves(params).map(([path, p]) => `${path} ${bits(p.gradient())}`), top };
        });
        assert.equal(
          seen[0]!.gradients.find((g, i) => g !== seen[1]!.gradients[i])?.split(" ")[0],
          undefined,
          JSON.stringify(more),
        );
        if (!replay) assert.ok(seen[0]!.top < 0.75 * seen[1]!.top, `${seen[0]!.top} and ${seen[1]!.top} bytes`);
      }
  },
  "zeroes what the loss does not reach, and after an error too; adds when told to accumulate"() {
    const { tape, w, x } = start();
    const other = tape.param([2], [1, 2]);
    other.gradient().fill(7);
    tape.step(() => sum(matmul(x, w)));
    const once = Array.from(w.gradient());
    assert.equal(Array.from(other.gradient()), [0, 0]);
    tape.step(() => sum(matmul(x, w)), { accumulate: true });
    assert.equal(
      Array.from(w.gradient()),
      once.map(g => 2 * g),
    );
    other.gradient().fill(7);
    const y = (): Tensor => {
      const h = tanh(matmul(x, w));
      tape.record({
        name: "broken",
        inputs: [h],
        outputs: [h],
        back() {
          throw new Error("broken");
        },
      });
      return sum(h);
    };
    thrown(Error, () => tape.step(y));
    assert.equal(Array.from(other.gradient()), [0, 0]);
    assert.ok(w.gradient().every(g => g === 0));
    tape.step(() => sum(matmul(x, w)));
    assert.equal(Array.from(w.gradient()), once);
  },
});

suite("checkpoint", {
  "gradients of one and of several outputs, nested or not, equal the plain ones"() {
    type Wrap = <T extends Tensor | readonly Tensor[]>(tape: Tape, body: () => T) => T;
    const run = (wrap: Wrap): [string, number, Float64Array[]] => {
      const { tape, w, x } = start();
      const v = tape.param([3, 3], numbers(9, 7));
      const early = tanh(matmul(x, v)); // an activation it captures
      const [a, b] = wrap(tape, () => {
        const h = tanh(matmul(early, w));
        const deep = wrap(tape, () => dropout(mul(h, tanh(matmul(h, w))), { p: 0.3 }));
        return [add(deep, early), sum(mul(h, dropout(deep, { p: 0.5 })))];
      }) as readonly [Tensor, Tensor];
      const after = dropout(a!, { p: 0.5 });
      const loss = add(sum(mul(after, after)), b!);
      const text = bits(a!.values()) + bits(after.values());
      tape.backward(loss);
      assert.is(tape.toString(), "");
      return [text, tape.random.position, [w, v, early].map(t => t.gradient() as Float64Array)];
    };
    const plain = run((_, body) => body());
    const wrapped = run((tape, body) => tape.checkpoint(body));
    assert.is(wrapped[0], plain[0], "values, dropout masks included");
    assert.is(wrapped[1], plain[1], "the generator's position");
    plain[2].forEach((g, i) => close(wrapped[2][i]!, g, 1e-14, `gradient ${i}`));
    assert.ok(plain[2].every(g => g.some(n => n !== 0)));
  },
  "it takes less memory than keeping everything"() {
    const used = (checkpoint: boolean): { top: number; mark: number } => {
      let top = 0;
      const tape = new Tape("f32", {
        trace: () => {
          top = Math.max(top, tape.engine.mark);
        },
      });
      const w = tape.param(
        [64, 64],
        numbers(4096).map(n => n / 8),
      );
      const x = tape.tensor([64, 64], numbers(4096, 3));
      const before = tape.engine.mark;
      const block = (y: Tensor): Tensor => {
        for (let i = 0; i < 8; i++) y = tanh(matmul(y, w));
        return y;
      };
      let mark = 0;
      tape.step(() => {
        let y = x;
        for (let i = 0; i < 6; i++) {
          const from = y;
          y = checkpoint ? tape.checkpoint(() => block(from)) : block(from);
        }
        mark = tape.engine.mark - before;
        return sum(y);
      });
      return { top: top - before, mark };
    };
    const plain = used(false);
    const less = used(true);
    assert.is(less.mark, 6 * 64 * 64 * 4);
    assert.is(plain.mark, 6 * 16 * 64 * 64 * 4);
    assert.ok(less.top < plain.top / 2, `${less.top} of ${plain.top} bytes`);
  },
  "a function that reads something else the second time is an error"() {
    const { tape, w, x } = start();
    let y = x;
    for (let i = 0; i < 3; i++) y = tape.checkpoint(() => tanh(matmul(y, w)));
    assert.is(
      thrown(Error, () => tape.backward(sum(y))),
      "checkpoint: the function gave other numbers when backward ran it again\n" +
        "  wants one that reads the same tensors each time",
    );
  },
  "in noGrad it is its function; it may return its input; constants need no record"() {
    const { tape, w, x } = start();
    assert.is(tape.noGrad(() => tape.checkpoint(() => matmul(x, w))).wants, false);
    assert.is(tape.checkpoint(() => exp(x)).wants, false);
    assert.is(tape.toString(), "");
    const [same, again] = tape.checkpoint(() => [w, w]);
    tape.backward(add(sum(same!), scale(sum(again!), { by: 2 })));
    assert.ok(w.gradient().every(g => g === 3));
    assert.match(
      thrown(TypeError, () => tape.checkpoint((() => 3) as never)),
      "checkpoint: the function returned 3\n  wants a tensor, or a list of tensors",
    );
    assert.match(
      thrown(TypeError, () => tape.checkpoint((() => [w, undefined]) as never)),
      "wants a tensor",
    );
  },
});

suite("what a tape shows", {
  "its program, one operation a line"() {
    const tape = new Tape();
    const w = tape.param([3, 8]);
    const b = tape.param([8]);
    const x = tape.tensor([4, 3]);
    const h = add(
      tanh(matmul(x, w)),
      tape.checkpoint(() => reshape(mul(reshape(b, [1, 8]), tape.tensor([1, 8])), [8])).tape.tensor([4, 8]),
    );
    sum(sub(h, stopGradient(h)));
    embedding(w, tape.integers([2], [0, 2]));
    assert.is(
      tape.toString(),
      [
        "%0 matmul [4 8] <- const [4 3], param [3 8]",
        "%1 tanh [4 8] <- %0 [4 8]",
        "%2 checkpoint [8] <- param [8]",
        "%3 add [4 8] <- %1 [4 8], const [4 8]",
        "%4 sub [4 8] <- %3 [4 8], const [4 8]",
        "%5 sum [1 1] <- %4 [1 32 1]",
        "%6 embedding [2 8] <- param [3 8], const [2]",
      ].join("\n"),
    );
    assert.is(inspect(tape), "Tape f32: 2 parameters, 7 operations, 0.9 MiB");
  },
  "a tensor's first numbers"() {
    const tape = new Tape("f64");
    assert.is(
      inspect(tape.tensor([2, 4], [1, 2.5, 1 / 3, 0, -1, 6, 7, 8])),
      "Tensor f64 [2 4] 1 2.5 0.33333 0 -1 6 ...",
    );
    assert.is(inspect(tape.integers([2], [3, -4])), "Tensor i32 [2] 3 -4");
    assert.is(
      thrown(RangeError, () => tape.tensor([2, 2]).item()),
      "item: [2 2] holds 4 numbers, not one",
    );
  },
  "in check mode, the first operation that went wrong, forward and backward"() {
    const tape = new Tape("f64", { check: true });
    const w = tape.param([2, 2], [4, 0, 1, 9]);
    exp(w);
    const before = state(tape);
    assert.is(
      thrown(RangeError, () => log(sub(w, tape.tensor([2, 2], [1, 0, 2, 0])))),
      "log (op 2): -Infinity at [0 1] of [2 2]; inputs [2 2] in [-1, 9]",
    );
    assert.is(
      thrown(RangeError, () => tape.step(() => sum(sqrt(w)))),
      "sqrt, backward (op 2): Infinity at [0 1] of [2 2]; inputs [2 2] in [0, 3]",
    );
    assert.is((state(tape) as unknown[])[1], `${(before as unknown[])[1]}\n%1 sub [2 2] <- param [2 2], const [2 2]`);
    assert.is(
      tape.step(() => sum(w)),
      14,
    );
  },
  "each operation to the trace hook, in both phases, and its end"() {
    const seen: string[] = [];
    const tape = new Tape("f32", {
      trace: ({ name, phase, bytes }) => {
        seen.push(`${phase} ${name} ${bytes}`);
        return name === "sum" ? undefined : () => seen.push(`${name} done`);
      },
    });
    const w = tape.param([3], [1, 2, 3]);
    tape.step(() => sum(tape.checkpoint(() => exp(w))));
    assert.equal(seen, [
      "forward exp 12",
      "exp done",
      "forward sum 4",
      "backward sum 4",
      "backward checkpoint 12",
      "forward exp 12",
      "exp done",
      "backward exp 12",
      "exp done",
      "checkpoint done",
    ]);
  },
});

suite("memory", {
  "a model or an optimiser that does not fit leaves the tape as it was"() {
    const tape = new Tape("f32", { limit: 4 << 20 });
    const { mark } = tape.engine;
    const model = transformer({ vocab: 100, d: 128, layers: 8, heads: 4, context: 32 });
    assert.match(
      thrown(RangeError, () => model.params(tape)),
      /^memory: wants /,
    );
    assert.equal([tape.engine.mark, tape.params.length], [mark, 0]);
    const params = transformer({ vocab: 100, d: 128, layers: 1, heads: 4, context: 32 }).params(tape);
    const after = tape.engine.mark;
    assert.match(
      thrown(RangeError, () => adamw(params)),
      /^memory: wants /,
    );
    assert.is(tape.engine.mark, after);
  },
  "growth keeps values, also of a view that is copied from"() {
    const tape = new Tape("f32");
    const w = tape.param([500], numbers(500));
    const held = bits(w.values());
    const bytes = tape.bytes;
    const copy = tape.tensor(
      [500, 400],
      Float32Array.from({ length: 200_000 }, (_, i) => i),
    );
    const again = tape.param([500, 400], copy.values());
    const more = tape.tensor([500, 400], again.values());
    assert.ok(tape.bytes > bytes + 2e6);
    assert.is(bits(w.values()), held);
    assert.is(more.values()[199_999], 199_999);
  },
  "its limit is an error that says how much was wanted, and the tape goes on"() {
    const tape = new Tape("f32", { limit: 2 ** 22 });
    const w = tape.param([2], [1, 2]);
    const before = state(tape);
    const at = tape.engine.mark;
    assert.is(
      thrown(RangeError, () => tape.tensor([1000, 1000])),
      `memory: wants 3.8 MiB more, holds ${(at / 2 ** 20).toFixed(1)} MiB of at most 4.0 MiB\n` +
        "  lower the batch or the sequence, or use tape.checkpoint",
    );
    assert.match(
      thrown(RangeError, () => tape.param([500_000])),
      /^memory: wants 1.9 MiB/,
      "room for its numbers, none for its gradient",
    );
    assert.is(tape.engine.mark, at);
    for (const rows of [50_000, 90_000])
      assert.match(
        thrown(RangeError, () =>
          tape.step(() => sum(matmul(tape.tensor([rows, 2]), reshape(tape.tensor([60], numbers(60)), [2, 30])))),
        ),
        /^memory: wants/,
      );
    assert.is(tape.engine.mark, at);
    const big = tape.scope(() => {
      const x = tape.tensor([800_000]);
      const from = tape.random.position;
      return thrown(RangeError, () => dropout(x)) + (tape.random.position - from);
    });
    assert.match(big, /^memory: wants 3.1 MiB[^]*checkpoint0$/, "dropout's words are given back");
    assert.ok(tape.bytes <= 2 ** 22);
    assert.is(
      tape.step(() => sum(mul(w, w))),
      5,
    );
    assert.equal(Array.from(w.gradient()), [2, 4]);
    assert.is((before as number[])[2], tape.params.length);
  },
  "a compiled module may be given, if it is the right one"() {
    const bytes = (dtype: string) =>
      new WebAssembly.Module(readFileSync(new URL(import.meta.resolve(`farsight/${dtype}.wasm`))));
    const tape = new Tape("f32", { module: bytes("f32") });
    assert.is(sum(tape.tensor([2], [1, 2])).item(), 3);
    for (const dtype of ["f32", "f64"] as const)
      assert.match(
        thrown(TypeError, () => new Engine(dtype, { module: bytes(dtype === "f32" ? "f64" : "f32") })),
        `no kernels of ${dtype}\n  wants the compiled farsight/${dtype}.wasm`,
      );
  },
  "tokens, parameters and optimisers of a whole model fit below the mark, and a step gives all the rest back"() {
    const tape = new Tape("f32");
    const model = transformer({ vocab: 5, d: 8, heads: 2, layers: 1, context: 8 });
    const params = model.params(tape);
    const ids = tape.integers([2, 4], [0, 1, 2, 3, 4, 0, 1, 2]);
    const mark = tape.engine.mark;
    for (let i = 0; i < 3; i++) assert.ok(tape.step(() => model.loss(params, ids, ids)) > 0);
    assert.is(tape.engine.mark, mark);
    assert.is(tape.params.length, leaves(params).length);
  },
});
