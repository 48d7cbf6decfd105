// ARMT and RMT-R beyond PyTorch's values: gradients against differences, replayed bits, what a stopped gradient sends,
// how far truncation lets gradients go, and what streams hold.
import * as assert from "uvu/assert";
import {
  Tape,
  armt,
  association,
  concat,
  gradcheck,
  leaves,
  linear,
  mul,
  relu,
  rmt,
  rmtR,
  scale,
  slice,
  sum,
  transformer,
  type Association,
  type Carry,
  type Given,
  type RecurrentOptions,
  type Tensor,
  type TransformerOptions,
  type Tree,
} from "farsight";
import { close, suite } from "./check.ts";
import { constant, normal, rows, same, small, stir } from "./stirred.ts";

const inside = (more: TransformerOptions = {}) => transformer({ ...small, context: 12, ...more });
const kinds = {
  armt: (more: TransformerOptions, how: Partial<RecurrentOptions> = {}) =>
    armt(inside(more), { memory: 2, segment: 4, width: 3, ...how }),
  rmtR: (more: TransformerOptions, how: Partial<RecurrentOptions> = {}) =>
    rmtR(inside(more), { memory: 2, segment: 4, ...how }),
};
type Name = keyof typeof kinds;
/** What both have, as far as these tests go. */
interface Model {
  params(tape: Tape): Tree;
  loss(params: Tree, tokens: Tensor, targets: Tensor): Tensor;
  logits(params: Tree, tokens: Tensor): { logits: Tensor };
  stream(params: Tree, chunks: Iterable<number[][]>, how?: object): Generator<Given, { at: number }, void>;
}
const of = (name: Name, more: TransformerOptions = {}, how: Partial<RecurrentOptions> = {}): Model =>
  kinds[name](more, how) as never;

/** A model, t tokens of two sequences in segments of 4, and its loss; some targets count for nothing. */
function made(name: Name, t: number, more: TransformerOptions = {}, how: Partial<RecurrentOptions> = {}) {
  const model = of(name, more, how);
  const tape = new Tape("f64", { seed: 5 });
  const params = stir(model.params(tape));
  const tokens = tape.integers([2, t], rows(2, t, 7, 2).flat());
  const targets = tape.integers([2, t], rows(2, t, 7, 3).flat());
  for (const i of [3, 5]) targets.values()[i] = -100;
  return { tape, model, params, tokens, loss: () => model.loss(params, tokens, targets) };
}
const gradients = (params: Tree): Float64Array[] => leaves(params).map(([, p]) => Float64Array.from(p.gradient()));
function drained(stream: Generator<Given, { at: number }, void>): { given: Given[]; state: { at: number } } {
  const given: Given[] = [];
  for (;;) {
    const { done, value } = stream.next();
    if (done) return { given, state: value };
    given.push(value);
  }
}

const inner: Record<string, TransformerOptions> = {
  "absolute positions": {},
  "rope and cope, norms after": { position: ["cope", "rope"], norm: "post" },
  "relative positions, tied, dropout": { position: "relative", tied: true, dropout: 0.3 },
};
const both: Record<string, () => void> = {};
for (const name of ["armt", "rmtR"] as const) {
  for (const [title, more] of Object.entries(inner)) {
    // Differences see through a stopped gradient. γ is 1 whatever the parameters in the first segment and counts from
    // the third on: two segments have none to stop. PyTorch's values say the rest.
    for (const replay of [true, false])
      both[`${name}, ${title}, ${replay ? "replayed" : "kept"}: gradients equal differences`] = () => {
        const { params, loss } = made(name, name === "armt" ? 7 : 11, more, { replay });
        gradcheck(params, loss, { h: 3e-6 }); // a knot of CoPE's interpolation lies within 1e-5
      };
    both[`${name}, ${title}: replaying gives the bits of keeping, with and without a window`] = () => {
      for (const k of [undefined, 1]) {
        const [a, b] = [true, false].map(replay => {
          const { tape, params, loss } = made(name, 15, more, { replay, k: k! });
          return { value: tape.step(loss), grads: gradients(params), position: tape.random.position };
        });
        assert.is(a!.value, b!.value);
        assert.is(a!.position, b!.position);
        a!.grads.forEach((g, i) => same(g, b!.grads[i]!, `k ${k}, gradient ${i}`));
      }
    };
  }
  both[`${name}: a window of all boundaries is no truncation`] = () => {
    const whole = made(name, 15);
    whole.tape.step(whole.loss);
    for (const truncation of ["sliding", "tail"] as const) {
      const { tape, params, loss } = made(name, 15, {}, { k: 3, truncation });
      tape.step(loss);
      gradients(params).forEach((g, i) => close(g, gradients(whole.params)[i]!, 1e-12, `${truncation} ${i}`));
    }
  };
  both[`${name}: the last loss reaches k segments before its own, and no token of an earlier one`] = () => {
    for (const truncation of ["sliding", "tail"] as const)
      for (const replay of [true, false])
        for (const k of [0, 1, 2]) {
          const model = of(name, { vocab: 8 }, { segment: 2, losses: "last", k, truncation, replay });
          const tape = new Tape("f64");
          const params = stir(model.params(tape));
          const tokens = tape.integers([1, 8], [0, 1, 2, 3, 4, 5, 6, 7]); // two to each of four segments
          tape.step(() => model.loss(params, tokens, tape.integers([1, 8], new Array(8).fill(3))));
          const table = (params as { wte: { weight: Tensor } }).wte.weight.gradient();
          for (let s = 0; s < 4; s++) {
            const of = table.subarray(s * 2 * 16, (s + 1) * 2 * 16);
            const what = `${truncation}, k ${k}, segment ${s}`;
            if (s < 3 - k) assert.ok(of.every(x => x === 0), what); // prettier-ignore
            else assert.ok(of.every(x => x !== 0), what); // prettier-ignore
          }
        }
  };
  both[`${name}: dropout takes part in a loss, and in no logits`] = () => {
    const [wet, dry] = [0.3, 0].map(dropout => made(name, 11, { dropout }));
    assert.is.not(wet!.tape.step(wet!.loss), dry!.tape.step(dry!.loss));
    const [a, b] = [wet!, dry!].map(({ tape, model, params, tokens }) =>
      tape.scope(() => model.logits(params, tokens).logits.values().slice()),
    );
    same(a!, b!);
  };
  both[`${name}: a stream gives the logits of the whole, and goes on from a state as if nothing had ended`] = () => {
    const { tape, model, params, tokens } = made(name, 15, { position: "cope" });
    const list = [0, 1].map(i => Array.from(tokens.values().subarray(i * 15, i * 15 + 15)));
    const part = (from: number, to: number): number[][] => list.map(row => row.slice(from, to));
    const whole = tape.scope(() => model.logits(params, tokens).logits.values().slice());
    const { given, state } = drained(model.stream(params, [part(0, 3), part(3, 9), part(9, 15)]));
    assert.is(state.at, 15);
    given.forEach(({ shape, values }, s) => {
      const n = shape[1]!;
      for (const i of [0, 1]) {
        const at = (i * 15 + 4 * s) * 7;
        same(values.subarray(i * n * 7, (i + 1) * n * 7), whole.subarray(at, at + n * 7), `segment ${s}`);
      }
    });
    const half = drained(model.stream(params, [part(0, 8)]));
    for (const time of ["first", "second"]) {
      const rest = drained(model.stream(params, [part(8, 15)], { state: half.state }));
      rest.given.forEach(({ values }, s) => same(values, given[2 + s]!.values, `${time} time`));
    }
  };
}
suite("recurrent decoders with more memory", both);

/** Most memory that a stream of n segments takes. */
function top(name: Name, n: number): number {
  let most = 0;
  const tape: Tape = new Tape("f64", { trace: () => void (most = Math.max(most, tape.engine.mark)) });
  const model = of(name);
  const params = model.params(tape);
  function* pieces() {
    for (let i = 0; i < n; i++) yield [[3, 4, 5, i % 7]];
  }
  assert.is(drained(model.stream(params, pieces())).state.at, 4 * n);
  return most;
}
suite("what streams with more memory hold", {
  "ARMT: 500 segments take the memory of ten"() {
    assert.is(top("armt", 500), top("armt", 10));
  },
  "RMT-R: m d numbers more a segment, in room for twice as many, and what a look-up over them takes"() {
    const [few, many] = [top("rmtR", 10), top("rmtR", 500)];
    const numbers = 490 * 2 * 16 * 8; // bytes
    assert.ok(many - few >= numbers, `${many - few} of ${numbers}`);
    assert.ok(many - few <= 8 * numbers, `${many - few} of ${numbers}`);
  },
});

// ------------------------------------------------------------------------------------------- one memory
/** φ of the last axis, number by number: x [.. n] -> [.. 6 n]. */
function phi(x: Tensor): Tensor {
  const r = concat([relu(x), relu(scale(x, { by: -1 }))]);
  const n = r.shape[2]!;
  const column = (i: number): Tensor => slice(r, i % n, (i % n) + 1);
  const pairs = [1, 2, 3].flatMap(j => Array.from({ length: n }, (_, i) => mul(column(i), column(i + n - j))));
  return concat(pairs);
}
const next = (carry: Carry, y: Tensor): Association => carry.next(y, y) as Association;
/** A memory that holds something, its parameters, and what a layer made of two places. */
function one() {
  const tape = new Tape("f64");
  const [b, d, width, m] = [2, 5, 3, 2];
  const model = armt(inside({ d, heads: 1 }), { memory: m, segment: 4, width });
  const weights = stir(model.params(tape)).association[0]!;
  const y = tape.param([b, m, d], normal(b * m * d, 4));
  const before = {
    matrix: tape.param([b, 6 * width, d], normal(b * 6 * width * d, 2)),
    sum: tape.param(
      [b, 6 * width, 1],
      normal(b * 6 * width, 3).map(x => x * x * 0.2),
    ),
  };
  return { tape, weights, before, y, m };
}
const zeros = (x: Tensor): boolean => x.gradient().every(g => Object.is(Math.abs(g), 0));

suite("the memory of a layer", {
  "the sum of keys has a gradient as if γ were a number: none through γ, exactly"() {
    const { tape, weights, before, y, m } = one();
    const u = constant(tape, before.sum.shape, 5);
    let gamma: number[] = [];
    tape.step(() => {
      return sum(mul(next(association(weights, m, before), y).associations.sum, u));
    });
    same(before.sum.gradient(), u.values(), "the sum before");
    for (const x of [before.matrix, weights.query.weight, weights.value.weight, weights.beta.weight])
      assert.ok(zeros(x), "what does not make keys got a gradient");
    const [byKey, byPlace] = [weights.key.weight, y].map(x => Float64Array.from(x.gradient()));
    tape.step(() => {
      const keys = phi(linear(y, weights.key.weight));
      const [k, z] = [keys, before.sum].map(x => Array.from(x.values())) as [number[], number[]];
      const n = keys.shape[2]!;
      gamma = Array.from({ length: 4 }, (_, i) => {
        const key = k.slice(i * n, i * n + n);
        const known = key.reduce((a, x, j) => a + x * z[Math.floor(i / 2) * n + j]!, 0);
        return Math.max(0, 1 - known / (key.reduce((a, x) => a + x * x, 0) + 1e-5));
      });
      const weighed = tape.tensor(
        keys.shape,
        gamma.flatMap((g, i) => Array.from({ length: n }, (_, j) => g * u.values()[Math.floor(i / 2) * n + j]!)),
      );
      return sum(mul(keys, weighed));
    });
    close(byKey!, weights.key.weight.gradient(), 1e-13, "W_K");
    close(byPlace!, y.gradient(), 1e-13, "the places");
    assert.ok(gamma.some(g => g === 0) && gamma.some(g => g > 0 && g < 1), `γ ${gamma}`);
    // A key that is there already adds nothing, and its place hears nothing.
    gamma.forEach((g, i) => {
      const heard = byPlace!.subarray(i * 5, i * 5 + 5);
      assert.is(heard.every(x => Object.is(Math.abs(x), 0)), g === 0); // prettier-ignore
    });
  },
  "a value written under a key is read under it; another under the same key takes its place, and adds no key"() {
    const { tape, weights } = one();
    weights.beta.weight.values().fill(0);
    weights.beta.weight.values()[0] = 50; // β is 1 to the last bit where a place begins with 1
    weights.query.weight.values().set(weights.key.weight.values());
    for (const w of [weights.key.weight, weights.query.weight]) for (let i = 0; i < 3; i++) w.values()[i * 5 + 4] = 0;
    const empty = { matrix: tape.tensor([1, 18, 5]), sum: tape.tensor([1, 18, 1]) };
    const first = tape.tensor([1, 1, 5], [1, 0.5, -0.7, 0.9, 3]);
    const second = tape.tensor([1, 1, 5], [1, 0.5, -0.7, 0.9, -2]); // keys do not see the last number
    const read = (x: Tensor, carry: Association): number[] =>
      Array.from(carry.enter!(x).values(), (y, i) => y - x.values()[i]!);
    const once = next(association(weights, 1, empty), first);
    const twice = next(once, second);
    const value = (x: Tensor) => linear(x, weights.value.weight).values();
    close(read(first, once), value(first), 1e-3, "once");
    close(read(first, twice), value(second), 1e-3, "twice");
    close(twice.associations.sum.values(), once.associations.sum.values(), 1e-3, "keys");
  },
  "is nothing at first, values being zeros: a fresh model reads each segment alone, to the bit, and can learn"() {
    const model = kinds.armt({ position: "rope" });
    const tape = new Tape("f64");
    const params = model.params(tape, { seed: 1 });
    const ids = rows(2, 8, 7, 2);
    const [whole, alone] = [ids, ids.map(row => row.slice(4))].map(list => {
      const x = tape.integers([2, list[0]!.length], list.flat());
      return tape.scope(() => model.logits(params, x).logits.values().slice());
    });
    for (const i of [0, 1])
      same(whole!.subarray((8 * i + 4) * 7, (8 * i + 8) * 7), alone!.subarray(28 * i, 28 * i + 28));
    const x = tape.integers([2, 8], ids.flat());
    tape.step(() => model.loss(params, x, x));
    for (const { value } of params.association) assert.ok(value.weight.gradient().some(g => Math.abs(g) > 1e-6));
  },
  "and RMT-R have the functions of RMT, but for those that generate asks for"() {
    const names = Object.keys(rmt(inside(), { segment: 2 })).filter(name => !["begin", "inner"].includes(name));
    for (const name of ["armt", "rmtR"] as const) assert.equal(Object.keys(kinds[name]({})), names);
  },
});
