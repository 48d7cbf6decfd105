// The fused kernel against attention composed from small operations, over every kind of position, both ways of looking, padding and
// odd sizes; and what it must refuse.
import * as assert from "uvu/assert";
import { Tape, attention, fusedAttention, interpolate, kinds, random, type AttentionOptions, type Tensor } from "farsight";
import { close, suite, thrown } from "./check.ts";

/** Runs attention and its gradients; returns the result and the gradients of q, k, v, gate keys and the tables. */
function run(position: typeof kinds[number], sizes: { b: number; h: number; t: number; s: number; d: number }, more: AttentionOptions, gates: "shared" | "sep" | "val", composed: boolean): Float64Array[] {
  const tape = new Tape("f64"), rng = random(4), { b, h, t, s, d } = sizes;
  const draw = (...shape: number[]): Tensor => tape.param(shape, Float64Array.from({ length: shape.reduce((a, n) => a * n, 1) }, () => rng.normal()));
  const q = draw(b, t, h, d), k = draw(b, s, h, d), v = draw(b, s, h, d), gateKeys = draw(b, s, h, d), tables = { cope: draw(4, d), relative: draw(3, d) };
  const own = more.own ? { past: { k: draw(b, s, h, d), v: draw(b, s, h, d), gateKeys: draw(b, s, h, d) } } : {};
  if (own.past) { own.past.k.values().set(k.values()); own.past.v.values().set(v.values()); own.past.gateKeys.values().set(gateKeys.values()); }
  const keys = more.keys ? tape.tensor([b, s], Float64Array.from({ length: b * s }, (_, i) => i % 5 === 3 ? 0 : 1)) : undefined;
  const allowed = more.allowed ? tape.tensor([t, s], Float64Array.from({ length: t * s }, (_, i) => i % 7 === 2 ? 0 : 1)) : undefined;
  const y = attention(q, k, v, { ...more, ...own, keys, allowed, position, tables, gateKeys, cope: { gates }, composed });
  tape.backward(y, Float64Array.from({ length: y.size }, () => rng.normal()));
  return [y.values(), ...[q, k, v, gateKeys, tables.cope, tables.relative, ...Object.values(own.past ?? {})].map(x => x.gradient())].map(x => Float64Array.from(x));
}

const some = {} as Tensor; // stands for a mask, which `run` makes
const ways: Record<string, AttentionOptions> = {
  causal: {}, "both ways": { causal: false }, "causal with padding": { keys: some }, "both ways with padding": { causal: false, keys: some }, "a mask of its own": { allowed: some }, "own place only": { own: true },
};
for (const [way, more] of Object.entries(ways)) {
  const tests: Record<string, () => void> = {};
  for (const position of kinds) tests[`${position}: gives what the small operations give, gradients too`] = () => {
    for (const gates of position.startsWith("cope") ? ["shared", "sep", "val"] as const : ["shared"] as const)
      for (const sizes of [{ b: 2, h: 3, t: 7, s: 7, d: 4 }, { b: 1, h: 2, t: 3, s: 11, d: 6 }, { b: 1, h: 1, t: 37, s: 37, d: 8 }]) {
        const fused = run(position, sizes, more, gates, false), composed = run(position, sizes, more, gates, true);
        fused.forEach((values, i) => close(values, composed[i]!, 1e-12, `${gates} ${JSON.stringify(sizes)} ${i}`, 0.1));
      }
  };
  suite(`fused attention, ${way}`, tests);
}

suite("fused attention", {
  "reads the keys as gate keys where only gate queries are given"() {
    const all = [0, NaN].map(dirt => {
      const tape = new Tape("f64"), rng = random(2), draw = (...shape: number[]) => tape.param(shape, Float64Array.from({ length: shape.reduce((a, n) => a * n, 1) }, () => rng.normal()));
      const [q, k, v, e, gq] = [draw(1, 9, 2, 4), draw(1, 9, 2, 4), draw(1, 9, 2, 4), draw(3, 4), draw(1, 9, 2, 4)];
      tape.scope(() => tape.tensor([200_000]).values().fill(dirt));
      const y = fusedAttention(q, k, v, e, gq), both = fusedAttention(q, k, v, e, gq, k);
      tape.backward(y, new Float64Array(y.size).fill(1));
      return { y: Float64Array.from(y.values()), both: Float64Array.from(both.values()), dk: Float64Array.from(k.gradient()) };
    });
    for (const { y, both, dk } of all) { close(y, both, 0); close(y, all[0]!.y, 0); close(dk, all[0]!.dk, 0); }
  },
  "refuses more queries than keys where places matter, and tables without rows"() {
    const tape = new Tape("f64"), make = (t: number) => tape.param([1, t, 1, 4]), two = make(2), three = make(3);
    assert.match(thrown(RangeError, () => fusedAttention(three, two, two)), /^fusedAttention: 3 queries are more than 2 keys\n/);
    assert.match(thrown(RangeError, () => fusedAttention(three, two, two, { causal: false, own: true })), /3 queries are more than 2 keys/);
    assert.match(thrown(RangeError, () => attention(three, two, two, { composed: true })), /^attention: 3 queries and 2 keys\n/);
    assert.match(thrown(RangeError, () => fusedAttention(two, two, two, tape.param([0, 4]))), /^fusedAttention: a table of positions has no rows\n/);
    assert.match(thrown(RangeError, () => interpolate(tape.param([2, 0]), tape.param([2, 3]))), /^interpolate: p is 0; wants at least one position\n/);
  },
  "lets a bad number through as NaN, and does not trap"() {
    for (const bad of [NaN, Infinity, -Infinity]) {
      const tape = new Tape("f32"), values = new Float32Array(36).fill(0.5), q = tape.param([1, 9, 1, 4], values.map((x, i) => i === 8 ? bad : x)), k = tape.param([1, 9, 1, 4], values);
      const y = fusedAttention(q, k, k, tape.param([3, 4], new Float32Array(12).fill(0.1)));
      tape.backward(y, new Float32Array(36).fill(1));
      assert.equal(Array.from(y.values().slice(0, 12), Number.isNaN), [false, false, false, false, false, false, false, false, true, true, true, true], String(bad));
    }
  },
});
