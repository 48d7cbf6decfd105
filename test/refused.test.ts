// Fault injection: memory refused at every place of a step, and errors in the middle of a backward pass. Whatever was
// refused, nothing has changed, and the same call made again has the bits of one that was never refused.
import * as assert from "uvu/assert";
import {
  Tape,
  adamw,
  add,
  clipNorm,
  dropout,
  generate,
  layerNorm,
  leaves,
  matmul,
  mul,
  rmt,
  sgd,
  sum,
  tanh,
  transformer,
  type Tensor,
  type TransformerOptions,
  type Tree,
} from "farsight";
import { fails, suite, thrown } from "./check.ts";
import { rows, small } from "./stirred.ts";

const bits = (list: readonly Tensor[]): string =>
  Buffer.concat(list.map(t => Buffer.from(Float64Array.from(t.values()).buffer))).toString("base64");
const gradients = (list: readonly Tensor[]): string =>
  Buffer.concat(list.map(t => Buffer.from(Float64Array.from(t.gradient()).buffer))).toString("base64");

/** Refuses the n-th claim from now on, and no other. Gives back how many there were when `body` is through. */
function refusing(tape: Tape, n: number, body: () => void): number {
  const { engine } = tape;
  let claims = 0;
  engine.alloc = function (...given: Parameters<typeof engine.alloc>) {
    if (++claims === n) throw new RangeError("memory: refused");
    return Object.getPrototypeOf(engine).alloc.apply(engine, given) as number;
  };
  try {
    body();
  } finally {
    delete (engine as Partial<typeof engine>).alloc;
  }
  return claims;
}

interface Trained {
  readonly tape: Tape;
  readonly params: Tree;
  readonly loss: (step: number) => Tensor;
}
const decoder = (options: TransformerOptions, batch = 2): Trained => {
  const tape = new Tape("f32");
  const model = transformer({ ...small, d: 8, heads: 2, inner: 8, dropout: 0.2, ...options });
  const params = model.params(tape);
  const loss = (step: number): Tensor => {
    const [ids, next] = [rows(batch, 5, 7, step), rows(batch, 5, 7, step + 99)];
    return model.loss(params, tape.integers([batch, 5], ids.flat()), tape.integers([batch, 5], next.flat()));
  };
  return { tape, params, loss };
};
const trained: Record<string, () => Trained> = {
  plain: () => decoder({}),
  CoPE: () => decoder({ position: ["cope", "rope"], layers: 1 }),
  myopic: () => decoder({ position: "relative", layers: 1, myopic: { cut: "pre_ln", mode: "window", horizon: 2 } }),
  checkpointed() {
    const { tape, params, loss } = decoder({ layers: 1 });
    return { tape, params, loss: step => tape.checkpoint(() => loss(step)) };
  },
  RMT() {
    const tape = new Tape("f32");
    const net = transformer({ ...small, d: 8, heads: 2, inner: 8, layers: 1, dropout: 0.2 });
    const model = rmt(net, { segment: 3, memory: 2, k: 1 });
    const params = model.params(tape);
    const ids = (seed: number): Tensor => tape.integers([1, 7], rows(1, 7, 7, seed).flat());
    return { tape, params, loss: step => model.loss(params, ids(step), ids(step + 99)) };
  },
};

suite("memory refused", {
  ...Object.fromEntries(
    Object.entries(trained).map(([name, make]) => [
      `at every place of a step (${name}) changes nothing, and the step made again has the same bits`,
      () => {
        const [one, two] = [make(), make()];
        const [first, second] = [one, two].map(({ params }) => adamw(params, { lr: 1e-3 }));
        const state = ({ tape, params }: Trained, optimizer: ReturnType<typeof adamw>) => [
          bits(leaves(params).map(([, p]) => p)),
          bits(leaves(optimizer.state).map(([, t]) => t)),
          [optimizer.updates, tape.random.position, tape.engine.mark, tape.params.length, tape.recording],
          tape.toString(),
        ];
        let claims = 0;
        for (let n = 1; claims >= n - 1; n += n > 40 ? 3 : 1) {
          one.tape.step(() => one.loss(n));
          const norm = clipNorm(one.params, 1);
          first!.step();

          const before = state(two, second!);
          const there = gradients(two.tape.params);
          try {
            claims = refusing(two.tape, n, () => two.tape.step(() => two.loss(n)));
          } catch (error) {
            claims = Infinity;
            assert.match(String(error), "memory: refused");
            assert.equal(state(two, second!), before, `claim ${n}`);
            const now = gradients(two.tape.params);
            assert.ok(now === there || /^A*=*$/.test(now), `gradients after claim ${n} was refused`);
            two.tape.step(() => two.loss(n));
          }
          assert.is(clipNorm(two.params, 1), norm);
          second!.step();
          assert.equal(state(two, second!), state(one, first!), `after claim ${n}`);
        }
        assert.ok(claims > 30, `${claims} claims`);
      },
    ]),
  ),
  "by the host where the tape's memory would grow changes nothing either"() {
    const tape = new Tape("f64");
    const w = tape.param([150, 150], new Float64Array(22500).fill(0.01));
    const loss = () => sum(dropout(tanh(matmul(matmul(matmul(w, w), w), w)), { p: 0.5 }));
    const { memory } = tape.engine as unknown as { memory: WebAssembly.Memory };
    const grow = memory.grow.bind(memory);
    let refusals = 0;
    const before = [tape.engine.mark, tape.random.position];
    for (let bytes = memory.buffer.byteLength; ; bytes = memory.buffer.byteLength) {
      let left = refusals + 1;
      memory.grow = n => {
        if (--left <= 0) throw new RangeError("no more pages");
        return grow(n);
      };
      try {
        tape.step(loss);
        break;
      } catch (error) {
        assert.match(String(error), "the host refused");
        assert.equal([tape.engine.mark, tape.random.position], before);
        assert.ok(memory.buffer.byteLength >= bytes);
        refusals++;
      }
    }
    assert.ok(refusals > 0 && w.gradient().some(x => x !== 0));
  },
  "at every place where parameters, optimisers and tensors are made leaves nothing behind"() {
    const tape = new Tape("f32");
    const model = rmt(transformer({ ...small, layers: 1 }), { segment: 3, memory: 2 });
    const params = model.params(tape);
    const makes: Record<string, () => unknown> = {
      params: () => model.params(tape, { seed: 2 }),
      adamw: () => adamw(params),
      momentum: () => sgd(params, { momentum: 0.9 }),
      param: () => tape.param([3], [1, 2, 3]),
      start: () => model.start(params, 2),
      stream: () => [...model.stream(params, [rows(1, 8, 7, 1)])],
      generate: () => [...generate(model.model, (({ memory: _, ...rest }) => rest)(params), [1, 2], { steps: 3 })],
      backward: () => tape.backward(sum(mul(params.memory, params.memory))),
    };
    for (const [name, make] of Object.entries(makes)) {
      const state = () => [tape.engine.mark, tape.params.length, tape.toString(), tape.random.position];
      let n = 1;
      tape.scope(() => {
        const before = state();
        for (; ; n++) {
          try {
            refusing(tape, n, make);
            break;
          } catch (error) {
            assert.match(String(error), "memory: refused", name);
            if (name !== "backward" && name !== "stream") assert.equal(state(), before, `${name}, claim ${n}`);
          }
        }
      });
      assert.ok(n > 1, name);
    }
  },
});

suite("backward interrupted", {
  "anywhere leaves the record as it was, gradients zero or NaN, and backward called again gives the same bits"() {
    for (const checkpointed of [false, true])
      for (const fresh of [true, false]) {
        let left = Infinity;
        const trace = ({ phase }: { phase: string }) => {
          if (phase === "backward" && --left === 0) throw new Error("stop");
        };
        const tape = new Tape("f64", { trace });
        const w = tape.param([3, 3], [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        const g = tape.param([3], [1, 1, 1]);
        const part = (x: Tensor): Tensor => layerNorm(matmul(tanh(x), w), g);
        const loss = () => sum(add(mul(w, w), checkpointed ? tape.checkpoint(() => part(w)) : part(w)));
        tape.scope(() => tape.backward(loss()));
        const want = gradients([w, g]);
        let stopped = true;
        let n = 1;
        for (; stopped; n++) {
          tape.zeroGrad();
          if (!fresh) tape.step(() => sum(mul(w, w)));
          tape.scope(() => {
            const y = loss();
            const record = [tape.toString(), tape.engine.mark];
            left = n;
            try {
              tape.backward(y);
              stopped = false;
            } catch (error) {
              assert.match(String(error), "stop");
              for (const x of [...w.gradient(), ...g.gradient()]) assert.ok(Object.is(x, fresh ? 0 : NaN), `stop ${n}`);
              if (!fresh) fails(() => sgd({ w }).step(), "the gradient of w is NaN at [0 0]", RangeError);
              assert.equal([tape.toString(), tape.engine.mark], record);
              left = Infinity;
              tape.zeroGrad();
              tape.backward(y);
              assert.is(gradients([w, g]), want, `stop ${n}`);
            }
            left = Infinity;
          });
        }
        assert.ok(n > 6);
      }
  },
  "in a step that accumulates keeps the gradients of the steps before"() {
    let left = Infinity;
    const trace = ({ phase }: { phase: string }) => {
      if (phase === "backward" && --left === 0) throw new Error("stop");
    };
    const tape = new Tape("f32", { trace });
    const w = tape.param([4], [1, 2, 3, 4]);
    tape.step(() => sum(mul(w, w)));
    const there = gradients([w]);
    for (let n = 1; n < 3; n++) {
      left = n;
      fails(() => tape.step(() => sum(mul(mul(w, w), w)), { accumulate: true }), "stop");
      assert.is(gradients([w]), there);
    }
    left = Infinity;
    tape.step(() => sum(mul(mul(w, w), w)), { accumulate: true });
    assert.equal([...w.gradient()], [5, 16, 33, 56]);
  },
  "by a hook that calls it again is refused"() {
    let again = false;
    const trace = ({ phase }: { phase: string }) => {
      if (phase === "backward" && again) tape.step(() => sum(w));
    };
    const tape: Tape = new Tape("f32", { trace });
    const w = tape.param([2], [1, 2]);
    again = true;
    assert.match(
      thrown(Error, () => tape.step(() => sum(mul(w, w)))),
      "backward: called while another backward runs",
    );
    again = false;
    tape.step(() => sum(mul(w, w)));
    assert.equal([...w.gradient()], [2, 4]);
  },
});
