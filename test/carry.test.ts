// What passes from one run of a layer to the next: the key-value cache to the bit, Transformer-XL's states and their
// gradients, a carry of one's own, and streams over input in pieces.
import * as assert from "uvu/assert";
import {
  Tape,
  add,
  attention,
  cache,
  concat,
  crossEntropy,
  fade,
  gradcheck,
  layer,
  leaves,
  linear,
  mlp,
  mul,
  norm,
  reshape,
  rmt,
  rmtEncoder,
  slice,
  stateCache,
  stopGradient,
  sum,
  transformer,
  type BlockWeights,
  type Carry,
  type Chunk,
  type Config,
  type Given,
  type Myopia,
  type Tensor,
  type TransformerOptions,
  type TransformerState,
  type TransformerWeights,
} from "farsight";
import { close, suite, thrown } from "./check.ts";
import { constant, made, normal, rows, same, small, type Made } from "./stirred.ts";

const both = ["rope", "cope"] as const;
/** Every kind of position, and those that act together in a layer. */
const positioned: Record<string, TransformerOptions> = {
  none: { position: "none" },
  absolute: { position: "absolute", context: 40 },
  sinusoidal: { position: "sinusoidal" },
  relative: { position: "relative" },
  rope: { position: "rope" },
  alibi: { position: "alibi" },
  "cope, shared": { position: "cope" },
  "cope, sep": { position: "cope", cope: { rows: 4, gates: "sep" } },
  "cope, token": { position: "cope", cope: { rows: 4, gates: "token" } },
  "cope, val": { position: "cope", cope: { rows: 4, gates: "val" } },
  "rope and cope, shared": { position: both },
  "rope and cope, sep": { position: both, cope: { rows: 4, gates: "sep" } },
  "rope and cope, val": { position: both, cope: { rows: 4, gates: "val" } },
  "rope and cope, token, biased, in every second layer": {
    position: both,
    cope: { rows: 4, gates: "token", bias: 0.5, every: 2 },
  },
  "cope, sep, biased, a table a head": { position: "cope", cope: { rows: 4, gates: "sep", bias: -1, table: "head" } },
  "cope, shared, biased, a table a head, one head of keys": {
    position: "cope",
    kvHeads: 1,
    cope: { rows: 4, bias: 1, table: "head" },
  },
  "relative, one table for all layers, and cope in every second, one table": {
    position: ["relative", "cope"],
    relative: { rows: 3, table: "shared" },
    cope: { rows: 4, table: "shared", every: 2, gates: "val" },
  },
  "rope and cope, rotated, shared": { position: both, cope: { rows: 4, rotated: true } },
  "rope and cope, rotated, sep": { position: both, cope: { rows: 4, rotated: true, gates: "sep" } },
  "rope and cope, rotated, val": { position: both, cope: { rows: 4, rotated: true, gates: "val" } },
  "relative, alibi and sinusoidal": { position: ["relative", "alibi", "sinusoidal"] },
  "two heads of keys, rope and cope": { position: both, kvHeads: 2 },
  "one head of keys, cope, sep": { position: "cope", kvHeads: 1, cope: { rows: 4, gates: "sep" } },
};

const columns = (list: readonly number[][], from: number, to: number): number[][] =>
  list.map(row => row.slice(from, to));

/** States of tokens that go through a cache in the pieces said, b t d numbers of each sequence in turn. */
function cached({ tape, model, params }: Made, list: readonly number[][], pieces: readonly number[]): Float64Array[] {
  return tape.scope(() =>
    tape.noGrad(() => {
      let state = model.start(params, list.length, { cache: 40 });
      const out: number[][] = list.map(() => []);
      let at = 0;
      for (const n of pieces) {
        const x = tape.integers([list.length, n], columns(list, at, at + n).flat());
        const stepped = model.step(params, x, state);
        state = stepped.state;
        const size = n * model.config.d;
        const values = stepped.states.values();
        out.forEach((row, i) => row.push(...values.subarray(i * size, (i + 1) * size)));
        at += n;
      }
      return out.map(row => Float64Array.from(row));
    }),
  );
}
/** States of the plain forward pass, sequence by sequence. */
function plain({ tape, model, params }: Made, list: readonly number[][]): Float64Array[] {
  const t = list[0]!.length;
  return tape.scope(() => {
    const y = model.states(params, model.embed(params, tape.integers([list.length, t], list.flat()))).values();
    const size = t * model.config.d;
    return list.map((_, i) => Float64Array.from(y.subarray(i * size, (i + 1) * size)));
  });
}

const pieces: Record<string, number[]> = {
  "one by one": new Array<number>(15).fill(1),
  "by three": [3, 3, 3, 3, 3],
  "by five": [5, 5, 5],
  "of all sizes": [1, 4, 2, 5, 3],
};
const caching: Record<string, () => void> = {};
for (const [title, more] of Object.entries(positioned)) {
  caching[`${title}: places in pieces have the bits of all at once, at every length`] = () => {
    for (const dtype of ["f32", "f64"] as const) {
      const it = made(more, new Tape(dtype));
      const list = rows(2, 15, 7, 2);
      const whole = cached(it, list, [15]);
      for (const [how, ns] of Object.entries(pieces))
        cached(it, list, ns).forEach((got, i) => same(got, whole[i]!, `${dtype}, ${how}, sequence ${i}`));
      const { d } = it.model.config;
      for (let t = 1; t <= 15; t++)
        cached(it, columns(list, 0, t), [t]).forEach((got, i) =>
          same(got, whole[i]!.subarray(0, t * d), `${dtype}, ${t} places, sequence ${i}`),
        );
    }
  };
  caching[`${title}: they have the bits of the forward pass, but for the last place of an odd number`] = () => {
    for (const dtype of ["f32", "f64"] as const) {
      const it = made(more, new Tape(dtype));
      const list = rows(2, 15, 7, 2);
      const { d } = it.model.config;
      const decoded = cached(it, list, pieces["one by one"]!);
      for (let t = 1; t <= 15; t++) {
        const kept = (t % 2 ? t - 1 : t) * d;
        plain(it, columns(list, 0, t)).forEach((want, i) => {
          same(decoded[i]!.subarray(0, kept), want.subarray(0, kept), `${dtype}, ${t} places, sequence ${i}`);
          close(decoded[i]!.subarray(0, t * d), want, dtype === "f32" ? 1e-5 : 1e-13, `${dtype}, ${t} places`);
        });
      }
    }
  };
  caching[`${title}: sequences of different lengths in one cache have the bits of each alone`] = () => {
    for (const dtype of ["f32", "f64"] as const) {
      const it = made(more, new Tape(dtype));
      const { tape, model, params } = it;
      const { d } = model.config;
      const list = rows(3, 12, 7, 4);
      const lengths = [2, 5, 4];
      const alone = list.map(row => cached(it, [row], [12])[0]!);
      for (const n of [1, 3])
        tape.scope(() =>
          tape.noGrad(() => {
            const { carries } = model.start(params, 3, { cache: 20 });
            const padded = list.flatMap((row, i) => row.slice(0, lengths[i]).concat([6, 6, 6, 6]).slice(0, 5));
            const whole = model.step(params, tape.integers([3, 5], padded), { carries, starts: [0, 0, 0] }).state;
            let state: TransformerState = { carries: whole.carries.map(c => c.shorten!(lengths)), starts: lengths };
            for (let at = 0; at < 6; at += n) {
              const x = list.flatMap((row, i) => row.slice(lengths[i]! + at, lengths[i]! + at + n));
              const { states, state: after } = model.step(params, tape.integers([3, n], x), state);
              state = after;
              lengths.forEach((m, i) => {
                const got = states.values().subarray(i * n * d, (i + 1) * n * d);
                const from = (m + at) * d;
                same(got, alone[i]!.subarray(from, from + n * d), `${dtype}, by ${n}, sequence ${i}, place ${m + at}`);
              });
            }
          }),
        );
    }
  };
}
suite("a key-value cache", {
  ...caching,
  "stays what it was: from one state the same step has the same bits again, and a step that throws moves none"() {
    const { tape, model, params } = made({ position: "rope" });
    const x = (...ids: number[]): Tensor => tape.integers([1, ids.length], ids);
    tape.noGrad(() => {
      const before = model.step(params, x(1, 2, 3), model.start(params, 1)).state;
      const first = model.step(params, x(4), before);
      const allowed = tape.tensor([2, 2], [1, 1, 1, 1]);
      thrown(RangeError, () => model.step(params, x(4), before, { allowed }));
      same(model.step(params, x(4), before).states.values(), first.states.values());
      assert.equal(before.starts, [3]);
    });
  },
  "takes keys of the gates' own only with room for them, and none where there is room for nothing"() {
    for (const [gates, room] of [
      ["sep", 0],
      ["sep", 4],
      ["token", 16],
      ["shared", 16],
    ] as const) {
      const { tape, model, params } = made({ position: "cope", cope: { gates } });
      const carry = cache(tape, { b: 1, capacity: 9, width: 16, gates: room });
      const x = constant(tape, [1, 4, 16], 1);
      tape.noGrad(() => {
        const run = (): Tensor => layer(x, params.h[0]!, model.config, { carry }).x;
        if (gates === "shared") close(run().values(), layer(x, params.h[0]!, model.config).x.values(), 1e-13);
        else
          assert.match(thrown(TypeError, run), /^cache: gates see (16|4) numbers of their own, .* room for (0|4|16)\n/);
      });
    }
  },
  "is refused where it would run over, and where gradients are recorded; nothing is written"() {
    const { tape, model, params } = made({ position: "rope" });
    let state = model.start(params, 1, { cache: 4 });
    const step = (n: number) => model.step(params, tape.integers([1, n], new Array<number>(n).fill(3)), state);
    assert.match(
      thrown(Error, () => tape.scope(() => step(2))),
      /^cache: gradients are recorded/,
    );
    tape.noGrad(() => {
      state = step(3).state;
      assert.match(
        thrown(RangeError, () => step(2)),
        /^cache: 5 places are more than its capacity of 4\n/,
      );
      const last = step(1);
      assert.match(
        thrown(RangeError, () => model.step(params, tape.integers([1, 1], [3]), last.state)),
        /^cache: 5 places are more than its capacity of 4\n/,
      );
    });
  },
});

// ------------------------------------------------------------------------------------------------- Transformer-XL
const inLayers = Object.entries(positioned).filter(([name]) => !/absolute|sinusoidal|heads? of keys/.test(name));

/** The last layer over x with states in front of it, by hand: queries of x, over keys and values of [stopped | x]. */
function byHand(before: Tensor, x: Tensor, params: TransformerWeights, c: Config, more: TransformerOptions): Tensor {
  const { position, cope, relative } = more;
  const p = params.h[c.layers - 1]!;
  const all = norm(concat([stopGradient(before), x], { axis: 1 }), p.ln_1, c);
  const [b, s] = all.shape as [number, number];
  const t = x.shape[1]!;
  const heads = (x: Tensor): Tensor => reshape(x, [b, s, c.heads, c.d / c.heads]);
  const y = linear(all, p.attn.c_attn.weight, p.attn.c_attn.bias);
  const [q, k, v] = [0, 1, 2].map(i => heads(slice(y, i * c.d, (i + 1) * c.d)));
  const gate = p.attn.cope?.gate;
  const logits = gate && linear(all, gate.weight, gate.bias);
  const mixed = attention(slice(q!, s - t, s, { axis: 1 }), k!, v!, {
    position,
    tables: {
      cope: { ...p.attn.cope, weight: p.attn.cope?.weight ?? params.cope?.weight },
      relative: p.attn.rel?.weight ?? params.rel?.weight,
    },
    ...{ cope: { ...cope, every: 1 }, relative }, // all act in the last layer, and attention is one
    rope: { theta: 10000 },
    gateKeys: logits && (cope?.gates === "token" ? logits : heads(logits)),
    composed: true,
  });
  const sum = add(x, linear(reshape(mixed, x.shape), p.attn.c_proj.weight, p.attn.c_proj.bias));
  return add(sum, mlp(norm(sum, p.ln_2, c), p.mlp, c.activation));
}

const earlier: Record<string, () => void> = {};
for (const [title, more] of inLayers) {
  earlier[`${title}: attends to [stopped | x] as by hand; exactly nothing reaches what was stopped`] = () => {
    const results = [true, false].map(hand => {
      const { tape, model, params } = made(more);
      const c = model.config;
      const last = c.layers - 1;
      const p = params.h[last]!;
      const of = { layer: last, shared: params };
      const first = tape.param([2, 5, c.d], normal(10 * c.d, 1));
      const second = tape.param([2, 3, c.d], normal(6 * c.d, 2));
      const u = constant(tape, second.shape, 3);
      tape.step(() => {
        const { carry } = layer(first, p, c, { carry: stateCache(9), ...of });
        const y = hand ? byHand(first, second, params, c, more) : layer(second, p, c, { carry, ...of }).x;
        return sum(mul(y, u));
      });
      assert.ok(first.gradient().every(x => Object.is(x, 0)));
      return [second, ...leaves(params).map(([, x]) => x)].map(x => Float64Array.from(x.gradient()));
    });
    results[0]!.forEach((want, i) => close(results[1]![i]!, want, 1e-12, `gradient ${i}`));
  };
  earlier[`${title}: gradients reach the weights through earlier states, and equal differences`] = () => {
    const { tape, model, params } = made(more);
    const c = model.config;
    const last = c.layers - 1;
    const p = params.h[last]!;
    const [first, second, u] = [5, 3, 3].map((t, i) => constant(tape, [2, t, c.d], i + 1));
    const y = (carry: Carry): Tensor => sum(mul(layer(second!, p, c, { carry, layer: last, shared: params }).x, u!));
    const { cope, rel } = params; // of all layers, where there are such tables
    gradcheck({ p, cope, rel }, () => y(stateCache(5, first)));
    const grads = [stateCache(5, first), stateCache(5)].map(carry => {
      tape.step(() => y(carry));
      return Float64Array.from(p.attn.c_attn.weight.gradient());
    });
    assert.ok(grads[0]!.some((g, i) => Math.abs(g - grads[1]![i]!) > 1e-3));
  };
}
suite("Transformer-XL's states", {
  ...earlier,
  "are the last places alone, however many there were"() {
    const tape = new Tape("f64");
    const x = constant(tape, [2, 12, 3], 1);
    const part = (from: number, to: number): Tensor => slice(x, from, to, { axis: 1 });
    for (const length of [0, 1, 4, 5, 9, 12, 20]) {
      let carry: Carry = stateCache(length);
      for (const [from, to] of [
        [0, 5],
        [5, 6],
        [6, 12],
      ] as const) {
        carry = carry.next(part(from, to), part(from, to));
        const kept = part(Math.max(0, to - length), to);
        assert.equal(carry.earlier!.shape, kept.shape, `${length} at ${to}`);
        same(carry.earlier!.values(), kept.values(), `${length} at ${to}`);
      }
    }
  },
  "are what each layer gets of its own: in a model nothing flows back to a segment before"() {
    const { tape, model, params } = made({ position: "relative", layers: 3 });
    const [first, second] = [
      [0, 1, 2, 0, 1],
      [3, 4, 5],
    ].map(ids => tape.integers([1, ids.length], ids));
    const loss = (earlier: number): Tensor => {
      const before = model.step(params, first!, model.start(params, 1, { earlier })).state;
      assert.equal(
        before.carries.map(carry => carry.earlier!.shape[1]),
        [earlier, earlier, earlier].map(n => Math.min(n, 5)),
      );
      const { states } = model.step(params, second!, before);
      return crossEntropy(model.head(params, states), tape.integers([1, 3], [4, 5, 6]));
    };
    const grads = [5, 2].map(earlier => {
      const value = tape.step(() => loss(earlier));
      const of = Float64Array.from(params.wte.weight.gradient());
      const d = 16;
      assert.ok(
        of.subarray(0, 3 * d).every(x => Object.is(x, 0)),
        "a token of the first segment got a gradient",
      );
      for (const id of [3, 4, 5]) assert.ok(of.subarray(id * d, (id + 1) * d).some(x => x !== 0));
      return value;
    });
    assert.is.not(grads[0], grads[1]);
  },
});

// ------------------------------------------------------------------------------------------ a carry of one's own
/** A memory of `slots` (b m 1 d): what comes into a layer reads it, and what the layer made of that is written. */
function associative(slots: Tensor, memory?: Tensor): Carry {
  const heads = (x: Tensor): Tensor => reshape(x, [x.shape[0]!, x.shape[1]!, 1, x.shape[2]!]);
  return {
    enter: x => (memory ? add(x, reshape(attention(heads(x), slots, memory, { causal: false }), x.shape)) : x),
    next(x, y) {
      const written = attention(slots, heads(x), heads(y), { causal: false });
      return associative(slots, memory ? add(memory, written) : written);
    },
    held: hold => associative(hold(slots), memory && hold(memory)),
  };
}
suite("a carry of one's own", {
  "is one object for a layer, and gradients flow through it from run to run"() {
    const { tape, model, params } = made({ position: "rope" });
    const c = model.config;
    const p = params.h[0]!;
    const slots = tape.param([2, 3, 1, c.d], normal(6 * c.d, 9));
    const xs = [1, 2, 3].map(i => tape.param([2, 4, c.d], normal(8 * c.d, i)));
    const u = constant(tape, [2, 4, c.d], 5);
    gradcheck(
      { p, slots, x0: xs[0]!, x1: xs[1]!, x2: xs[2]! },
      () => {
        let carry: Carry | undefined = associative(slots);
        let x = xs[0]!;
        for (const input of xs) ({ x, carry } = layer(input, p, c, { carry }));
        return sum(mul(x, u));
      },
      { h: 3e-6 },
    );
    const read = xs.map(x => x.gradient().some(g => Math.abs(g) > 1e-6));
    assert.equal(read, [true, true, true]);
  },
  "does what it says: the layer of what was read, and the memory of what was made"() {
    const { tape, model, params } = made({ position: "rope" });
    const c = model.config;
    const p = params.h[0]!;
    const [x, y] = [1, 2].map(i => constant(tape, [2, 4, c.d], i));
    const carry = associative(constant(tape, [2, 3, 1, c.d], 3)).next(x!, y!);
    const run = layer(x!, p, c, { carry });
    same(run.x.values(), layer(carry.enter!(x!), p, c).x.values());
    assert.not.ok(run.x.values().every((n, i) => n === layer(x!, p, c).x.values()[i]));
    const probe = run.carry!.enter!(y!).values();
    same(probe, carry.next(x!, run.x).enter!(y!).values());
  },
  "in a state by hand passes from piece to piece of a stream, and takes the memory of one"() {
    const { tape, model, params } = made({ position: "alibi" }, new Tape("f32"));
    const list = rows(2, 15, 7, 3);
    const first = (): TransformerState => ({
      carries: params.h.map((_, i) => associative(constant(tape, [2, 3, 1, 16], i))),
      starts: [0, 0],
    });
    const { all, state } = drained(model.stream(params, cut(list, SIZES), { ask: "states", state: first() }));
    let before = first();
    cut(list, SIZES).forEach((part, i) => {
      const { states, state: after } = model.step(params, part, before);
      same(all[i]!.values, states.values(), `piece ${i}`);
      before = after;
    });
    assert.equal(state!.starts, [15, 15]);
    const held: number[] = [];
    function* chunks(): Generator<number[][]> {
      for (let i = 0; i < 20; i++) {
        held.push(tape.bytes + tape.engine.mark);
        yield list;
      }
    }
    drained(model.stream(params, chunks(), { state: first() }));
    assert.equal(new Set(held.slice(2)).size, 1);
  },
  "passes from step to step of a model"() {
    const { tape, model, params } = made({ position: "alibi" });
    const list = rows(2, 6, 7, 3);
    const x = (from: number, to: number): Tensor => tape.integers([2, to - from], columns(list, from, to).flat());
    const start: TransformerState = {
      carries: params.h.map((_, i) => associative(constant(tape, [2, 3, 1, 16], i))),
      starts: [0, 0],
    };
    const first = model.step(params, x(0, 4), start);
    const second = model.step(params, x(4, 6), first.state);
    assert.equal(second.state.starts, [6, 6]);
    const fresh = model.step(params, x(4, 6), { ...start, starts: [4, 4] });
    assert.not.ok(second.states.values().every((n, i) => n === fresh.states.values()[i]));
  },
});

// ------------------------------------------------------------------------------------------------- states are checked
const scaledBack: Record<string, { myopic: Myopia; weight: (steps: number) => number }> = {
  window: { myopic: { mode: "window", horizon: 3 }, weight: n => (n <= 3 ? 1 : 0) },
  discount: { myopic: { mode: "discount", gamma: 0.6 }, weight: n => 0.6 ** n },
};
/** The rows of x, b s n, of which row j sends back `weight(i - j)` of its gradient to reader i. */
function seenFrom(x: Tensor, i: number, weight: (steps: number) => number): Tensor {
  const list = Array.from({ length: i + 1 }, (_, j) =>
    fade(slice(x, j, j + 1, { axis: 1 }), { by: i === j ? 1 : weight(i - j) }),
  );
  return concat(list, { axis: 1 });
}
/**
 * A layer over [before | x], what came before stopped, in one long computation: a reader has its own keys and values,
 * whose parts from earlier places send back as much as their weights say.
 */
function fadedLayer(
  before: Tensor | undefined,
  x: Tensor,
  p: BlockWeights,
  c: Config,
  myopic: Myopia,
  weight: (steps: number) => number,
): Tensor {
  const whole = before ? concat([stopGradient(before), x], { axis: 1 }) : x;
  const heads = (y: Tensor): Tensor => reshape(y, [y.shape[0]!, y.shape[1]!, c.heads, c.d / c.heads]);
  const project = (y: Tensor, n: number): Tensor => {
    const w = slice(p.attn.c_attn.weight, n * c.d, (n + 1) * c.d, { axis: 0 });
    return linear(y, w, slice(p.attn.c_attn.bias!, n * c.d, (n + 1) * c.d));
  };
  const [s, t] = [whole.shape[1]!, x.shape[1]!];
  const readers = Array.from({ length: t }, (_, m) => {
    const i = s - t + m;
    const q = project(norm(slice(whole, i, i + 1, { axis: 1 }), p.ln_1, c), 0);
    const read = (n: number): Tensor => {
      if (myopic.cut === "pre_ln") return project(norm(seenFrom(whole, i, weight), p.ln_1, c), n);
      const state = norm(whole, p.ln_1, c);
      return myopic.cut === "kv" ? seenFrom(project(state, n), i, weight) : project(seenFrom(state, i, weight), n);
    };
    return attention(heads(q), heads(read(1)), heads(read(2)), { position: c.position, composed: true });
  });
  const mixed = reshape(concat(readers, { axis: 1 }), x.shape);
  const y = add(x, linear(mixed, p.attn.c_proj.weight, p.attn.c_proj.bias));
  return add(y, mlp(norm(y, p.ln_2, c), p.mlp, c.activation));
}

const foresight: Record<string, () => void> = {};
for (const [mode, { myopic, weight }] of Object.entries(scaledBack))
  for (const cutAt of ["kv", "post_ln", "pre_ln"] as const)
    foresight[`${mode}, ${cutAt}: gradients through earlier states are those of one long computation`] = () => {
      const how = { ...myopic, cut: cutAt };
      const results = [true, false].map(long => {
        const { tape, model, params } = made({ position: "alibi", layers: 2, myopic: how });
        const c = model.config;
        const list = rows(2, 9, 7, 2);
        const [first, second] = [columns(list, 0, 4), columns(list, 4, 9)];
        const u = constant(tape, [2, 5, c.d], 3);
        tape.step(() => {
          if (!long) {
            const { state } = model.step(params, first, model.start(params, 2, { earlier: 3 }));
            return sum(mul(model.step(params, second, state).states, u));
          }
          const tokens = (ids: number[][]): Tensor => tape.integers([2, ids[0]!.length], ids.flat());
          let old = model.embed(params, tokens(first));
          let x = model.embed(params, tokens(second));
          for (const p of params.h) {
            const earlier = slice(old, 1, 4, { axis: 1 });
            old = fadedLayer(undefined, old, p, c, how, weight);
            x = fadedLayer(earlier, x, p, c, how, weight);
          }
          return sum(mul(norm(x, params.ln_f!, c), u));
        });
        return leaves(params).map(([path, p]) => [path, Float64Array.from(p.gradient())] as const);
      });
      results[0]!.forEach(([path, want], i) => close(results[1]![i]![1], want, 1e-12, path, 1e-3));
    };

/** Masks of the last t of s places: at random, each place seeing itself. */
function masked(tape: Tape, b: number, t: number, s: number): { allowed: Tensor; keys: Tensor } {
  const draw = normal(144, 11);
  const table = Array.from({ length: t * s }, (_, n) => {
    const [i, j] = [s - t + Math.floor(n / s), n % s];
    return i === j || (j < i && draw[i * 12 + j]! > -0.5) ? 1 : 0;
  });
  const keys = Array.from({ length: b * s }, (_, n) => (n % s === Math.floor(n / s) + 1 ? 0 : 1));
  return { allowed: tape.tensor([t, s], table), keys: tape.tensor([b, s], keys) };
}

suite("a state and what it is run with", {
  ...foresight,
  "masks say something of all places seen and those that come in, through a cache as through earlier states"() {
    for (const how of [{ cache: 20 }, { earlier: 20 }, { earlier: 4 }]) {
      const { tape, model, params } = made({ position: ["rope", "cope"], layers: 1 });
      const list = rows(2, 12, 7, 2);
      tape.noGrad(() => {
        const part = (t: number, s: number) => masked(tape, 2, t, s);
        const all = tape.integers([2, 12], list.flat());
        const whole = model.states(params, model.embed(params, all), part(12, 12)).values();
        let state = model.start(params, 2, how);
        for (const [from, to] of [
          [0, 4],
          [4, 6],
          [6, 7],
          [7, 12],
        ] as const) {
          const seen = Math.min(from, how.earlier ?? from);
          if (seen < from) break;
          const stepped = model.step(params, columns(list, from, to), state, part(to - from, to));
          state = stepped.state;
          const got = stepped.states.values();
          const d = 16;
          for (const i of [0, 1]) {
            const want = whole.subarray((i * 12 + from) * d, (i * 12 + to) * d);
            close(got.subarray(i * (to - from) * d, (i + 1) * (to - from) * d), want, 1e-12, `${from}, ${i}`);
          }
        }
      });
    }
  },
  "other shapes are refused by the transformer, which says what it wants; nothing is written"() {
    for (const how of [{ cache: 20 }, { earlier: 20 }]) {
      const { tape, model, params } = made({ position: "rope" });
      tape.noGrad(() => {
        const { state } = model.step(params, [[1, 2, 3]], model.start(params, 1, how));
        const want = model
          .step(params, [[4, 5]], state)
          .states.values()
          .slice();
        const bad = {
          allowed: tape.tensor([2, 2], [1, 0, 1, 1]),
          keys: tape.tensor([1, 2], [1, 1]),
          edges: tape.tensor([2, 2]),
        };
        for (const [name, x] of Object.entries(bad)) {
          const refused = thrown(RangeError, () => model.step(params, [[4, 5]], state, { [name]: x }));
          const got = name === "keys" ? "[1 2]" : "[2 2]";
          assert.is(refused, `transformer: ${name} is ${got}\n  wants 5 columns, with the places seen`);
        }
        same(model.step(params, [[4, 5]], state).states.values(), want);
      });
    }
  },
  "a state of another batch, of other layers, sizes or another tape is refused; nothing is written"() {
    for (const how of [{ cache: 20 }, { earlier: 20 }]) {
      const { tape, model, params } = made({ position: "rope" });
      const run = (state: TransformerState) => () => tape.noGrad(() => model.step(params, [[4, 5]], state));
      const from = (other: Made, b: number): TransformerState =>
        other.tape.noGrad(() => {
          const list = rows(b, 3, 7, 2);
          return other.model.step(other.params, list, other.model.start(other.params, b, how)).state;
        });
      const good = from({ tape, model, params }, 1);
      const want = run(good)().states.values().slice();
      const other = (more: TransformerOptions): Made => {
        const of = transformer({ ...small, position: "rope", ...more });
        return { tape, model: of, params: of.params(tape) };
      };
      const cases: [TransformerState, string][] = [
        [undefined as never, "0 layers and 0 sequences"],
        [from({ tape, model, params }, 2), "2 layers and 2 sequences"],
        [{ ...good, carries: good.carries.slice(1) }, "1 layers and 1 sequences"],
        [{ ...from({ tape, model, params }, 2), starts: [3] }, "2 layers and 1 sequences"],
        [from(other({ d: 8 }), 1), "2 layers and 1 sequences"],
        [from(made({ position: "rope" }), 1), "2 layers and 1 sequences"],
      ];
      for (const [state, what] of cases)
        assert.is(
          thrown(RangeError, run(state)),
          `transformer: a state of ${what}\n  wants 2 and 1, of this model and tape`,
        );
      const mixed = { ...good, carries: [good.carries[0]!, from(made({ position: "rope" }), 1).carries[1]!] };
      thrown(RangeError, run(mixed));
      same(run(good)().states.values(), want);
    }
  },
  "a state holds one carry: options together, unknown ones and those beside a state are refused"() {
    const { tape, model, params } = made({ position: "rope" });
    const both = { cache: 4, earlier: 3 };
    assert.is(
      thrown(RangeError, () => model.start(params, 1, both)),
      "start: cache and earlier in one state\n  wants one of the two",
    );
    assert.match(
      thrown(RangeError, () => model.start(params, 1, { size: 3 } as never)),
      /^start: unknown option size\n {2}wants cache, earlier$/,
    );
    const stream = (of: { stream: (...x: never[]) => Iterable<unknown> }, p: unknown, how: object): string =>
      thrown(RangeError, () => [...of.stream(p as never, [[[1, 2]]] as never, how as never)]);
    assert.match(stream(model, params, both), /^start: cache and earlier/);
    const state = model.start(params, 1);
    assert.match(
      stream(model, params, { state, earlier: 3 }),
      /^stream: unknown option earlier\n {2}wants ask, state$/,
    );
    const mem = rmt(model, { segment: 3, memory: 2 });
    const both2 = transformer({ ...small, causal: false, norm: "post", context: 20 });
    const enc = rmtEncoder(both2, { segment: 3, memory: 2, classes: 2 });
    for (const name of ["cache", "earlier"]) {
      const unknown = new RegExp(`^stream: unknown option ${name}\\n {2}wants ask, state$`);
      assert.match(stream(mem, mem.params(tape), { [name]: 3 }), unknown);
      assert.match(stream(enc, enc.params(tape), { [name]: 3 }), unknown);
    }
  },
});

// ------------------------------------------------------------------------------------------------- streams
const cut = (list: readonly number[][], sizes: readonly number[]): number[][][] => {
  let at = 0;
  return sizes.map(n => columns(list, at, (at += n)));
};
/** All that a stream gives, and its state at the end. */
function drained<S>(stream: Generator<Given, S, void>): { all: Given[]; state: S } {
  const all: Given[] = [];
  for (;;) {
    const { value, done } = stream.next();
    if (done) return { all, state: value as S };
    all.push(value as Given);
  }
}
/** Pieces b t n one behind the other along t, as rows of each sequence. */
function joined(all: readonly Given[]): number[][] {
  const [b] = all[0]!.shape as [number];
  return Array.from({ length: b }, (_, i) =>
    all.flatMap(({ values }) => Array.from(values.subarray((i * values.length) / b, ((i + 1) * values.length) / b))),
  );
}
const SIZES = [4, 1, 5, 2, 3];
const streaming: Record<string, () => void> = {};
for (const [title, more] of Object.entries(positioned)) {
  streaming[`${title}: states and logits in pieces have the bits of one piece, losses add up to the whole`] = () => {
    const { tape, model, params } = made(more, new Tape("f32"));
    const list = rows(2, 15, 7, 2);
    const targets = rows(2, 15, 7, 3);
    for (const ask of ["states", "logits"] as const) {
      const got = joined(drained(model.stream(params, cut(list, SIZES), { ask, cache: 15 })).all);
      const want = joined(drained(model.stream(params, [list], { ask, cache: 15 })).all);
      got.forEach((row, i) => same(row, want[i]!, `${ask} of sequence ${i}`));
      const forward = model[ask === "logits" ? "logits" : "states"];
      const x = tape.integers([2, 15], list.flat());
      const input = ask === "logits" ? x : model.embed(params, x);
      close(got.flat(), forward(params, input).values(), 1e-5);
    }
    const chunks = cut(list, SIZES).map((input, i): Chunk => ({ input, targets: cut(targets, SIZES)[i]! }));
    const losses = drained(model.stream(params, chunks, { ask: "loss", cache: 15 })).all;
    assert.equal(
      losses.map(l => l.shape),
      SIZES.map(() => []),
    );
    const mean = losses.reduce((n, l, i) => n + (l.values[0]! * SIZES[i]!) / 15, 0);
    const loss = model.loss(params, tape.integers([2, 15], list.flat()), tape.integers([2, 15], targets.flat()));
    close([mean], [loss.item()], 1e-6);
  };
}
for (const how of [{ cache: 30 }, { earlier: 6 }])
  streaming[`${Object.keys(how).join()}: the state at the end goes on as if nothing had ended`] = () => {
    const { tape, model, params } = made({ position: "cope" });
    const list = rows(2, 27, 7, 2);
    const sizes = [5, 4, 4, 5, 5, 4];
    const all = cut(list, sizes);
    const whole = drained(model.stream(params, all, how)).all;
    const first = drained(model.stream(params, all.slice(0, 3), how));
    assert.equal(first.state!.starts, [13, 13]);
    const rest = drained(model.stream(params, all.slice(3), { state: first.state }));
    [...first.all, ...rest.all].forEach((piece, i) => same(piece.values, whole[i]!.values, `piece ${i}`));
    const again = drained(model.stream(params, all.slice(0, 5), how));
    tape.noGrad(() => {
      const { states } = model.step(params, tape.integers([2, 4], all[5]!.flat()), again.state!);
      same(model.head(params, states).values(), whole[5]!.values);
    });
  };
suite("streams", {
  ...streaming,
  "with earlier states give what steps with them give"() {
    const { tape, model, params } = made({ position: ["rope", "cope"] });
    const list = rows(2, 15, 7, 2);
    const { all } = drained(model.stream(params, cut(list, SIZES), { earlier: 6, ask: "states" }));
    let state = model.start(params, 2, { earlier: 6 });
    cut(list, SIZES).forEach((part, i) => {
      const stepped = model.step(params, tape.integers([2, SIZES[i]!], part.flat()), state);
      same(all[i]!.values, stepped.states.values(), `piece ${i}`);
      state = stepped.state;
    });
  },
  "take memory that does not grow, of the tape as of what is claimed, in 500 pieces"() {
    for (const how of [{ earlier: 8 }, { cache: 2000 }]) {
      const { tape, model, params } = made({ position: ["rope", "cope"] }, new Tape("f32"));
      const held: number[] = [];
      function* chunks(): Generator<number[][]> {
        for (let i = 0; i < 500; i++) {
          held.push(tape.bytes + tape.engine.mark);
          yield [
            [1, 2, 3, i % 7],
            [i % 5, 0, 4, 2],
          ];
        }
      }
      for (const { values } of model.stream(params, chunks(), how)) assert.ok(Number.isFinite(values[0]));
      assert.is(held.length, 500);
      assert.equal(
        held.slice(5).filter(n => n !== held[5]),
        [],
        Object.keys(how).join(),
      );
    }
  },
  "are evaluations: dropout acts in none, and no generator moves"() {
    const [wet, dry] = [0.4, 0].map(dropout => {
      const { tape, model, params } = made({ position: "rope", dropout });
      const { position } = tape.random;
      const { all } = drained(model.stream(params, cut(rows(2, 15, 7, 2), SIZES), { cache: 15 }));
      assert.is(tape.random.position, position);
      return joined(all).flat();
    });
    same(wet!, dry!);
  },
  "give nothing and no state where there is no piece, and a state that was left early is whole"() {
    const { model, params } = made({ position: "rope" });
    assert.equal(drained(model.stream(params, [])), { all: [], state: undefined });
    assert.match(
      thrown(TypeError, () => drained(model.stream(params, [[[1, 2]]], { ask: "loss" }))),
      /^stream: a piece without targets/,
    );
  },
  "read frozen parameters, which claim half the memory of others and train nothing"() {
    const { model } = made({ position: ["rope", "cope"] });
    const claimed = [false, true].map(frozen => {
      const tape = new Tape("f32");
      const { mark } = tape.engine;
      const params = model.params(tape, { seed: 3, frozen });
      const bytes = tape.engine.mark - mark;
      assert.is(tape.params.length, frozen ? 0 : leaves(params).length);
      const loss = model.loss(params, tape.integers([1, 2], [1, 2]), tape.integers([1, 2], [2, 3]));
      assert.is(loss.wants, !frozen);
      const { all } = drained(model.stream(params, cut(rows(2, 15, 7, 2), SIZES), { cache: 15 }));
      return { bytes, numbers: [loss.item(), ...joined(all).flat()] };
    });
    assert.is(claimed[0]!.bytes, 2 * claimed[1]!.bytes);
    same(claimed[1]!.numbers, claimed[0]!.numbers);
  },
});

suite("states that share a room", {
  "one whose places another run wrote over is refused, and the other goes on with its own bits"() {
    const tape = new Tape("f64");
    const model = transformer({ vocab: 11, d: 16, layers: 2, heads: 2, context: 16, position: ["rope", "cope"] });
    const params = model.params(tape, { seed: 2 });
    tape.noGrad(() => {
      const whole = (ids: number[]) => {
        const { states } = model.step(params, [ids], model.start(params, 1));
        return Array.from(states.values().slice(-16));
      };
      const root = model.step(params, [[1, 2]], model.start(params, 1)).state;
      const one = model.step(params, [[3]], root).state;
      const two = model.step(params, [[4, 5]], root);
      assert.equal(Array.from(two.states.values().slice(-16)), whole([1, 2, 4, 5]));
      const refused = thrown(Error, () => model.step(params, [[6]], one));
      assert.match(refused, /another run wrote over its places\n {2}wants the state that the last run gave/);
      const { states } = model.step(params, [[6]], two.state);
      assert.equal(Array.from(states.values()), whole([1, 2, 4, 5, 6]));
      // Going back to a state that is still there is no harm, nor is trying again what threw.
      assert.throws(() => model.step(params, [new Array(20).fill(1)], two.state));
      const again = model.step(params, [[6]], two.state);
      assert.equal(Array.from(again.states.values()), whole([1, 2, 4, 5, 6]));
      const shorter = { carries: again.state.carries.map(c => c.shorten!([3])), starts: [3] };
      assert.equal(Array.from(model.step(params, [[7]], shorter).states.values()), whole([1, 2, 4, 7]));
    });
  },
  "a stream of states takes no more than twice their memory"() {
    const tape = new Tape("f32");
    const model = transformer({ vocab: 11, d: 32, layers: 2, heads: 2, context: 16, position: "rope" });
    const params = model.params(tape, { seed: 2, frozen: true });
    const before = tape.engine.mark;
    for (const _ of model.stream(
      params,
      Array.from({ length: 320 }, (_, i) => [[i % 11]]),
      { earlier: 300 },
    ));
    const needed = 2 * 300 * 32 * 4;
    assert.ok(tape.engine.mark - before < 4.5 * needed, `${tape.engine.mark - before} bytes for ${needed}`);
  },
});
