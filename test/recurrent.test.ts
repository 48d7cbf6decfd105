// What passes between segments: how far gradients follow it back, what that costs, and how large they are.
import * as assert from "uvu/assert";
import {
  Tape,
  add,
  attentionBlock,
  concat,
  crossEntropy,
  generate,
  gradcheck,
  layer,
  leaves,
  mul,
  random,
  rmt,
  rmtEncoder,
  scale,
  slice,
  stateCache,
  stopGradient,
  sum,
  transformer,
  type How,
  type RecurrentOptions,
  type Rmt,
  type RmtState,
  type RmtWeights,
  type Tensor,
  type TransformerOptions,
  type Tree,
} from "farsight";
import { close, fails, peak, suite } from "./check.ts";
import { stir } from "./stirred.ts";

const n = 5; // segments
const small = { vocab: 3 + 2 * n, d: 8, layers: 2, heads: 2, context: 16, position: "cope" } as const;
/** The tokens of each segment are its own, so that rows of the embedding table tell their gradients apart. */
const ids = Array.from({ length: 2 * n }, (_, i) => 3 + i);
const own = (wte: ArrayLike<number>, s: number): number[] =>
  Array.from(wte).slice((3 + 2 * s) * small.d, (5 + 2 * s) * small.d);

type Step = (s: number, state: RmtState) => { state: RmtState; loss: Tensor };
interface Made {
  tape: Tape;
  params: Tree & { readonly memory: Tensor; readonly wte: { readonly weight: Tensor } };
  loss(norms?: number[]): Tensor;
  first(): RmtState;
  step: Step;
}
/** A decoder over `n` segments; targets count in the segments told. */
function decoder(o: Partial<RecurrentOptions>, counted: readonly number[], dropout = 0, trace?: () => void): Made {
  const model = rmt(transformer({ ...small, dropout }), { memory: 2, segment: 2, ...o });
  const tape = new Tape("f64", { seed: 5, ...(trace && { trace }) });
  const params = stir(model.params(tape));
  const tokens = tape.integers([1, 2 * n], ids);
  const targets = tape.integers(
    [1, 2 * n],
    ids.map((_, i) => (counted.includes(i >> 1) ? 3 + ((7 * i) % (2 * n)) : -100)),
  );
  const part = (x: Tensor, s: number) => tape.integers([1, 2], Array.from(x.values()).slice(2 * s, 2 * s + 2));
  return {
    tape,
    params,
    loss: norms => model.loss(params, tokens, targets, { norms }),
    first: () => model.start(params, 1),
    step(s, before) {
      const { states, state } = model.step(params, part(tokens, s), before, { dropout });
      const mean = o.losses === "last" ? 1 : counted.length;
      if (!counted.includes(s)) return { state, loss: tape.tensor([]) };
      return { state, loss: scale(crossEntropy(model.head(params, states), part(targets, s)), { by: 1 / mean }) };
    },
  };
}
/** An encoder over as many. */
function encoder(o: Partial<RecurrentOptions>, _: readonly number[], dropout = 0): Made {
  const inside = transformer({ ...small, causal: false, norm: "post", dropout });
  const model = rmtEncoder(inside, { memory: 2, segment: 2, classes: 3, ...o });
  const tape = new Tape("f64", { seed: 5 });
  const params = stir(model.params(tape));
  const label = tape.integers([1], [1]);
  return {
    tape,
    params,
    loss: norms => model.loss(params, [ids], label, { norms }),
    first: () => model.start(params, 1),
    step(s, before) {
      const { states, state } = model.step(params, model.segments([ids])[s]!, before, { dropout });
      const by = o.losses === "last" ? 1 : 1 / n;
      return { state, loss: scale(crossEntropy(model.head(params, states), label), { by }) };
    },
  };
}
const grads = (params: Tree): Float64Array[] => leaves(params).map(([, p]) => Float64Array.from(p.gradient()));
const all = [0, 1, 2, 3, 4];
const detached = (state: RmtState): RmtState => ({ ...state, memory: stopGradient(state.memory) });
/** The first segment that the loss of segment s reaches. */
const reach = (s: number, k: number, truncation: "sliding" | "tail"): number =>
  Math.max(0, truncation === "sliding" ? s - k : Math.min(s, n - 1 - k));
/** The loss by the definition of truncation: the window of each segment by itself, all other segments kept out. */
function defined({ first, step }: Made, counted: readonly number[], k: number, truncation: "sliding" | "tail"): Tensor {
  const losses = counted.map(s => {
    let state = first();
    for (let r = 0; ; r++) {
      if (r === reach(s, k, truncation) && r > 0) state = detached(state);
      const made = step(r, state);
      if (r === s) return made.loss;
      state = made.state;
    }
  });
  return losses.reduce((a, x) => add(a, x));
}

const truncated: Record<string, () => void> = {};
const models = { "a decoder": decoder, "an encoder": encoder };
for (const [title, make] of Object.entries(models))
  for (const truncation of ["sliding", "tail"] as const)
    for (const losses of ["all", "last"] as const)
      for (const replay of [true, false])
        truncated[`${title}, ${truncation}, ${losses} losses, ${replay ? "replayed" : "kept"}: who hears of it`] =
          () => {
            const counted = losses === "last" ? [n - 1] : all;
            for (let k = 0; k <= n; k++) {
              const how = { k, truncation, losses, replay };
              const made = make(how, counted);
              const norms: number[] = [];
              made.tape.step(() => made.loss(norms));
              const got = grads(made.params);
              const want = make(how, counted);
              want.tape.step(() => defined(want, counted, k, truncation));
              grads(want.params).forEach((g, i) => close(got[i]!, g, 1e-12, `k ${k}, gradient ${i}`));
              // A state hears where a window that counts goes on past it, or begins with the first of all.
              const heard = all.map(s => counted.some(j => j >= s && (reach(j, k, truncation) < s || s === 0)));
              const from = Math.min(...counted.map(s => reach(s, k, truncation)));
              all.forEach(s => {
                const is = heard[s] && (s > 0 || from === 0);
                assert.is(norms[s]! > 0, is, `k ${k}, memory before ${s}: ${norms[s]}`);
                const input = own(made.params.wte.weight.gradient(), s);
                assert.ok(
                  input.every(x => (s >= from ? x !== 0 : x === 0)),
                  `k ${k}, input of ${s}`,
                );
              });
              assert.is(
                made.params.memory.gradient().some(x => x !== 0),
                from === 0,
                `k ${k}, first memory`,
              );
            }
          };
for (const truncation of ["sliding", "tail"] as const)
  truncated[`the loss of one segment alone, ${truncation}: exactly zero beyond k, for each`] = () => {
    for (const replay of [true, false])
      for (const j of all)
        for (let k = 0; k < n; k++) {
          const { tape, params, loss } = decoder({ k, truncation, replay }, [j]);
          const norms: number[] = [];
          tape.step(() => loss(norms));
          const from = reach(j, k, truncation);
          all.forEach(s => {
            const input = own(params.wte.weight.gradient(), s);
            const is = s >= from && s <= j;
            assert.ok(
              input.every(x => (is ? x !== 0 : x === 0)),
              `segment ${s} of the loss of ${j}, k ${k}`,
            );
            assert.is(norms[s] !== 0, s <= j && (s > from || (s === 0 && from === 0)), `memory ${s} of ${j}, k ${k}`);
          });
        }
  };
truncated["has the loss of full back-propagation to the bit, with its dropout, and leaves the generator there"] =
  () => {
    for (const [title, make] of Object.entries(models))
      for (const replay of [true, false])
        for (const losses of ["all", "last"] as const) {
          const counted = losses === "last" ? [n - 1] : all;
          const run = (o: Partial<RecurrentOptions>) => {
            const { tape, loss } = make({ losses, replay, ...o }, counted, 0.3);
            return [tape.step(() => loss()), tape.random.position];
          };
          const whole = run({});
          for (const truncation of ["sliding", "tail"] as const)
            for (let k = 0; k < n; k++) assert.equal(run({ k, truncation }), whole, `${title}, ${truncation}, k ${k}`);
        }
  };
truncated["draws for a segment the same dropout in every window: gradients are those of one forward pass"] = () => {
  for (const replay of [true, false])
    for (const k of [0, 1, 2]) {
      const got = decoder({ k, replay }, all, 0.3);
      got.tape.step(() => got.loss());
      const want = decoder({ k }, all, 0.3);
      want.tape.step(() => {
        const { random } = want.tape;
        const begin = random.position;
        const windows = all.map(s => {
          random.position = begin; // each window draws anew from the beginning
          return defined(want, [s], k, "sliding");
        });
        return windows.reduce((a, x) => add(a, x));
      });
      grads(want.params).forEach((g, i) => close(grads(got.params)[i]!, g, 1e-12, `k ${k}, gradient ${i}`));
    }
};
truncated["runs no segment whose loss does not count and no gradient crosses, and none twice without need"] = () => {
  const forwards = (o: Partial<RecurrentOptions>, long = 20, last = true, trains = true): number => {
    let calls = 0;
    const trace = (event: { name: string; phase: string }) => {
      if (event.phase === "forward" && event.name === "attention") calls++;
    };
    const model = rmt(transformer({ vocab: 5, d: 4, layers: 1, heads: 1, context: 8 }), {
      memory: 1,
      segment: 2,
      replay: false,
      ...o,
    });
    const tape = new Tape("f32", { trace });
    const params = model.params(tape);
    const tokens = tape.integers([1, 2 * long], new Array<number>(2 * long).fill(1));
    const targets = tape.integers(
      [1, 2 * long],
      new Array<number>(2 * long).fill(1).map((x, i) => (last || i < 10 ? x : -100)),
    );
    const loss = () => model.loss(params, tokens, targets);
    if (trains) tape.step(loss);
    else tape.noGrad(loss);
    return calls;
  };
  assert.is(forwards({ losses: "last", k: 1 }), 20);
  assert.is(forwards({ losses: "last", k: 19 }), 20);
  for (const k of [19, 20]) assert.is(forwards({ k }), 20, `k ${k}`);
  for (const k of [0, 1, 7]) assert.is(forwards({ k }), (k + 1) * (20 - k), `k ${k}`);
  for (const losses of ["all", "last"] as const) assert.is(forwards({ losses, k: 3, truncation: "tail" }), 20);
  assert.is(forwards({ k: 1 }, 20, true, false), 20, "where nothing is recorded");
  assert.is(forwards({}, 20, false), 5, "segments behind the last that counts");
};
truncated["norms by segment are those of an explicit computation, and equal differences"] = () => {
  for (const make of Object.values(models)) {
    const made = make({ k: 2 }, all, 0);
    const norms = [9, 9, 9, 9, 9, 9, 9];
    made.tape.step(() => made.loss(norms));
    assert.is(norms.length, n);
    // The first memory lies in one sequence alone: its gradient is that of the parameters.
    const first = Math.hypot(...made.params.memory.gradient());
    close([norms[0]!], [first], 1e-12, "the first");
    // By the state before segment 4 its own loss flows and no later one: differences of that state's numbers.
    const at = make({}, all, 0);
    const passed: Float64Array[] = [];
    at.tape.scope(() => {
      let state = at.first();
      for (const s of all) {
        passed.push(Float64Array.from(state.memory.values()));
        state = at.step(s, state).state;
      }
    });
    // The losses of s to min(s + k - 1, n - 1) pass the state before s.
    const value = (s: number, numbers: Float64Array): number =>
      at.tape.scope(() => {
        let state: RmtState = { memory: at.tape.tensor([1, 2, small.d], numbers), at: 2 * s };
        let total = 0;
        for (let r = s; r < n && (s === 0 ? r <= 2 : r < s + 2); r++) {
          const next = at.step(r, state);
          total += next.loss.item();
          state = next.state;
        }
        return total;
      });
    for (const s of all) {
      const slopes = Array.from(passed[s]!, (_, i) => {
        const [up, down] = [1e-5, -1e-5].map(e =>
          value(
            s,
            passed[s]!.map((x, j) => (i === j ? x + e : x)),
          ),
        );
        return (up! - down!) / 2e-5;
      });
      close([norms[s]!], [Math.hypot(...slopes)], 1e-7, `before segment ${s}`);
    }
  }
};
truncated["a loss that is only evaluated holds the memory of one segment, as one whose last segment counts"] = () => {
  const top = (long: number, record: boolean): number => {
    let most = 0;
    const tape: Tape = new Tape("f64", { trace: () => void (most = Math.max(most, tape.engine.mark)) });
    const model = rmt(transformer({ vocab: 5, d: 16, layers: 2, heads: 2, context: 16 }), {
      memory: 1,
      segment: 8,
      losses: "last",
      k: 1,
      replay: false,
    });
    const params = model.params(tape);
    const tokens = tape.integers([1, 8 * long], new Array<number>(8 * long).fill(1));
    const before = tape.engine.mark;
    const loss = () => model.loss(params, tokens, tokens);
    if (record) tape.step(loss);
    else tape.scope(() => tape.noGrad(() => loss().item()));
    return (most - before) / 8;
  };
  // A segment of one sequence leaves its memory, 16 numbers, and its integers.
  for (const record of [true, false]) assert.ok(top(104, record) - top(4, record) < 100 * (16 + 32), `${record}`);
};
suite("gradients between segments", truncated);

// ---------------------------------------------------------------------------------------- the places that are read
const sizes = { vocab: 7, d: 8, layers: 2, heads: 2, inner: 12, context: 16, cope: { rows: 4 } } as const;
const numbers = (tape: Tape, shape: readonly number[], seed: number): Tensor => {
  const rng = random(seed);
  return tape.tensor(
    shape,
    Float64Array.from({ length: shape.reduce((a, x) => a * x, 1) }, () => rng.normal()),
  );
};
const some: Record<string, () => void> = {};
const kindsOf = {
  positions: { position: ["absolute", "cope", "rope"] },
  "relative ones and norms after": { position: ["relative", "alibi"], norm: "post" },
  dropout: { position: "sinusoidal", dropout: 0.3 },
  "dropout of rows that end within a block": { d: 6, dropout: 0.3 },
  "no foresight": { myopic: { mode: "discount", gamma: 0.7, cut: "post_ln" }, position: "cope" },
  "strict myopia": { myopic: { mode: "diagonal", cut: "kv" }, position: "rope" },
} as const;
for (const [title, more] of Object.entries(kindsOf))
  some[`states from a place on are those of all, to the bit, with ${title}; gradients too, to rounding`] = () => {
    const model = transformer({ ...sizes, ...(more as TransformerOptions) });
    const { d, dropout } = model.config;
    for (const how of ["plain", "masks", "earlier"] as const)
      for (const from of [1, 2, 4]) {
        const [whole, part] = [false, true].map(only => {
          const tape = new Tape("f64", { seed: 5 });
          const params = stir(model.params(tape));
          const x = numbers(tape, [3, 5, d], 1);
          const s = how === "earlier" ? 3 : 0;
          const run: How = { dropout, ...(only && { from }) };
          if (how === "masks") {
            run.allowed = tape.tensor(
              [5, 5],
              [1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1],
            );
            run.keys = tape.tensor([3, 5], [1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 0]);
          }
          const weigh = numbers(tape, [3, 5 - from, d], 2);
          let value: Float64Array;
          tape.step(() => {
            let states: Tensor;
            if (s) {
              const before = model.step(params, tape.integers([3, s], [1, 2, 3, 4, 5, 6, 0, 1, 2]), {
                carries: params.h.map(() => stateCache(s)),
                starts: [0, 0, 0],
              });
              const ids = tape.integers([3, 5], [1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 0, 1]);
              states = model.step(params, ids, before.state, run).states;
            } else states = model.states(params, x, run);
            const last = only ? states : slice(states, from, 5, { axis: 1 });
            assert.equal(last.shape, [3, 5 - from, d]);
            value = Float64Array.from(last.values());
            return sum(mul(last, weigh));
          });
          return { value: value!, grads: grads(params), position: tape.random.position };
        });
        const what = `${how}, from ${from}`;
        assert.equal(Array.from(part!.value), Array.from(whole!.value), what);
        assert.is(part!.position, whole!.position, what);
        part!.grads.forEach((g, i) => close(g, whole!.grads[i]!, 1e-12, `${what}, gradient ${i}`));
      }
  };
some["a place beyond the last is refused, by models and layers"] = () => {
  const model = transformer(sizes);
  const tape = new Tape("f64");
  const params = model.params(tape);
  const x = numbers(tape, [1, 3, 8], 1);
  for (const call of [
    () => model.states(params, x, { from: 3 }),
    () => layer(x, params.h[0]!, model.config, { from: 3 }),
    () => attentionBlock(x, x => x, params.h[0]!.attn, model.config, { from: 3 }),
  ])
    fails(call, "from is 3 of 3 places", RangeError);
  assert.equal(attentionBlock(x, x => x, params.h[0]!.attn, model.config, { from: 2 }).shape, [1, 1, 8]);
};
some["a layer makes nothing of read memory that nobody reads, nor of tokens whose loss does not count"] = () => {
  const places = (losses: "all" | "last", how = {}): number[] => {
    const found: number[] = [];
    const trace = ({ name, phase, bytes }: { name: string; phase: string; bytes: number }) => {
      if (name === "geluTanh" || name === "gelu") found.push(phase === "forward" ? bytes / (12 * 8) : -1);
    };
    const model = rmt(transformer({ ...sizes, layers: 1 }), { memory: 2, segment: 4, losses, replay: false, ...how });
    const tape = new Tape("f64", { trace });
    const params = model.params(tape);
    const tokens = tape.integers([1, 11], [1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4]);
    tape.step(() => model.loss(params, tokens, tokens));
    return found.filter(n => n > 0);
  };
  assert.equal(places("all"), [6, 6, 5]);
  assert.equal(places("last"), [2, 2, 5]);
};
suite("places that are read", some);

// ---------------------------------------------------------------------------------------- rows of different lengths
const ragged: Record<string, () => void> = {};
const texts = [
  [3, 4, 5, 6, 3, 4, 5, 6, 6, 5],
  [6, 5, 4],
  [1, 2, 3, 4, 5, 6, 1],
  [2, 2, 2, 2],
];
const layouts = {
  absolute: { position: "absolute" },
  rope: { position: "rope" },
  "relative, both ways": { position: "relative", bidirectional: true },
  "cope and alibi": { position: ["cope", "alibi"] },
  "gates of values, norms after": { position: "cope", cope: { gates: "val" }, norm: "post", bidirectional: true },
} as const;
for (const [title, { bidirectional = false, ...more }] of Object.entries(
  layouts as Record<string, TransformerOptions & { bidirectional?: boolean }>,
))
  ragged[`each row gives what it gives alone, to the bit: ${title}`] = () => {
    for (const dtype of ["f64", "f32"] as const) {
      const model = rmt(transformer({ ...sizes, ...more }), { memory: 2, segment: 4, bidirectional, padded: true });
      const tape = new Tape(dtype);
      const params = stir(model.params(tape));
      tape.scope(() => {
        const all = model.logits(params, texts);
        assert.equal(all.logits.shape, [4, 10, 7]);
        texts.forEach((text, i) => {
          const one = model.logits(params, [text]);
          const got = all.logits.values().subarray(i * 70, i * 70 + 7 * text.length);
          assert.equal(Array.from(got), Array.from(one.logits.values()), `${dtype}, logits of row ${i}`);
          const own = one.memories.length;
          all.memories.forEach((memory, s) =>
            assert.equal(
              Array.from(memory.values().subarray(16 * i, 16 * i + 16)),
              Array.from(one.memories[Math.min(s, own - 1)]!.values()),
              `${dtype}, memory ${s} of row ${i}`,
            ),
          );
        });
      });
    }
  };
ragged["the loss is the mean over all targets, its gradient that of the rows one by one"] = () => {
  const targets = texts.map(row => row.map((id, i) => (i % 3 ? id : -100)));
  const counts = targets.map(row => row.filter(id => id >= 0).length);
  const total = counts.reduce((a, n) => a + n, 0);
  for (const more of [{}, { k: 1 }, { myopic: { mode: "discount", gamma: 0.7 } }] as const) {
    const { k, ...own } = more as { k?: number };
    const model = rmt(transformer({ ...sizes, position: "cope", ...own }), { memory: 2, segment: 4, padded: true, k });
    const [a, b] = [0, 1].map(() => {
      const tape = new Tape("f64");
      return { tape, params: stir(model.params(tape)) };
    });
    const value = a!.tape.step(() => model.loss(a!.params, texts, targets));
    const want = b!.tape.step(() => {
      const each = texts.map((text, i) =>
        scale(model.loss(b!.params, [text], [targets[i]!]), { by: counts[i]! / total }),
      );
      return each.reduce((x, y) => add(x, y));
    });
    close([value], [want], 1e-14);
    grads(b!.params).forEach((g, i) => close(grads(a!.params)[i]!, g, 1e-12, `gradient ${i}`));
    if (Object.keys(more).length === 0) gradcheck(a!.params, () => model.loss(a!.params, texts, targets));
  }
};
ragged["write memory stands at one place whatever the length, where it is padded, and behind the tokens else"] = () => {
  // With absolute places alone a table's rows tell where memory stood: those that no loss reaches get no gradient.
  for (const padded of [true, false]) {
    const model = rmt(transformer({ ...sizes, position: "absolute" }), { memory: 2, segment: 6, padded });
    const tape = new Tape("f64");
    const params = stir(model.params(tape));
    const table = params.wpe as { weight: Tensor };
    for (const n of [1, 4, 6]) {
      tape.step(() => {
        const { state } = model.step(params, [[1, 2, 3, 4, 5, 6].slice(0, n)], model.start(params, 1));
        return sum(mul(state.memory, numbers(tape, [1, 2, 8], 3)));
      });
      const used = Array.from({ length: 16 }, (_, p) =>
        table.weight
          .gradient()
          .slice(8 * p, 8 * p + 8)
          .some(x => x !== 0),
      );
      const write = 2 + (padded ? 6 : n);
      const want = used.map((_, p) => p < 2 + n || (p >= write && p < write + 2));
      assert.equal(used, want, `${n} tokens, padded ${padded}`);
    }
  }
};
ragged["a segment that is padded takes the time of a full one, so that no row's length is another's"] = () => {
  for (const padded of [true, false]) {
    const model = rmt(transformer(sizes), { memory: 2, segment: 4, padded });
    const params = model.params(new Tape("f64"));
    assert.is(model.step(params, [[1, 2]], model.start(params, 1)).state.at, padded ? 4 : 2);
  }
};
ragged["an encoder's sequences may be a tensor"] = () => {
  const both = transformer({ ...sizes, causal: false, norm: "post" });
  const model = rmtEncoder(both, { memory: 2, segment: 4, classes: 3 });
  const tape = new Tape("f64");
  const params = stir(model.params(tape));
  const [lists, tensor] = [
    [texts[0]!.slice(0, 7), texts[2]!],
    tape.integers([2, 7], texts[0]!.slice(0, 7).concat(texts[2]!)),
  ];
  tape.scope(() => {
    const [want, got] = [lists, tensor].map(x => model.logits(params, x).logits.map(y => [...y.values()]));
    assert.equal(got, want);
    const [a, b] = [lists, tensor].map(x => model.loss(params, x, tape.integers([2], [0, 2])).item());
    assert.is(a, b);
  });
};
ragged["rows of different lengths want padding, and targets as long as their rows"] = () => {
  const [model, plain] = [true, false].map(padded => rmt(transformer(sizes), { memory: 2, segment: 4, padded }));
  const tape = new Tape("f64");
  const params = model!.params(tape);
  const rows = [[1, 2], [3]];
  fails(() => plain!.loss(params, rows, rows), "rows of 2 and 1", RangeError);
  fails(
    () => model!.loss(params, rows, [[1], [3]]),
    "rmt: targets are [2 1]\n  wants rows of 2, 1, as the tokens",
    RangeError,
  );
  fails(() => model!.logits(params, [[], []]), "rmt: no tokens in [2 0]", RangeError);
  fails(
    () => model!.step(params, [[1, 2, 3, 4, 5], [1]], model!.start(params, 2)),
    "a segment of 5 tokens",
    RangeError,
  );
  assert.is(tape.records, 2, "the first states");
};
suite("rows of different lengths", ragged);

// ---------------------------------------------------------------------------------------- texts that go on
const continuing: Record<string, () => void> = {};
/** Logits behind a text, by no cache: full segments move memory on, the rest stands behind memory alone. */
function behind(model: Rmt, params: RmtWeights, text: readonly number[]): Float64Array {
  const { segment: l, memory: m, bidirectional } = model.options;
  const { tape } = params.memory;
  return tape.scope(() => {
    let state = model.start(params, 1);
    let from = 0;
    for (; text.length - from > l; from += l) state = model.step(params, [text.slice(from, from + l)], state).state;
    const weights = model.inner(params);
    const rest = tape.integers([1, text.length - from], text.slice(from));
    const x = concat([state.memory, model.model.embed(weights, rest)], { axis: 1 });
    const t = m + text.length - from;
    const open = tape.tensor(
      [t, t],
      Array.from({ length: t * t }, (_, i) => Number(i % t <= i / t || (i % t < m && i / t < m))),
    );
    const states = model.model.states(weights, x, { allowed: bidirectional ? open : undefined });
    return Float64Array.from(model.head(params, states).values()).slice((t - 1) * 7);
  });
}
const grown = (g: Generator<unknown, number[][], void>): number[][] => {
  for (;;) {
    const { done, value } = g.next();
    if (done) return value as number[][];
  }
};
const prompts = [[3], [1, 2, 3, 4], [5, 6, 1, 2, 3, 4, 5], [2, 4, 6, 1, 3, 5, 2, 4, 6, 1, 3, 5, 1]];
const likeliest = (logits: Float64Array): number => logits.indexOf(Math.max(...logits));
for (const [title, { bidirectional = false, ...more }] of Object.entries(
  layouts as Record<string, TransformerOptions & { bidirectional?: boolean }>,
))
  continuing[`tokens are those that no cache gives, over segments without end: ${title}`] = () => {
    const model = rmt(transformer({ ...sizes, ...more }), { memory: 2, segment: 4, bidirectional });
    const tape = new Tape("f64");
    const params = stir(model.params(tape));
    const got = grown(generate(model, params, prompts, { steps: 11 }));
    prompts.forEach((prompt, i) => {
      const text = [...prompt];
      for (let n = 0; n < 11; n++) text.push(likeliest(behind(model, params, text)));
      assert.equal(got[i], text, `prompt ${i}`);
      assert.equal(grown(generate(model, params, prompt, { steps: 11 })), [text], `prompt ${i} alone`);
    });
    // Drawn: a token says much of the logits.
    const how = { steps: 11, temperature: 1.5, seed: 7 };
    const drawn = grown(generate(model, params, prompts, how));
    const again = prompts.map((prompt, i) => {
      const rng = random(7).fork(i);
      const text = [...prompt];
      for (let n = 0; n < 11; n++) {
        const logits = behind(model, params, text);
        const weights = logits.map(x => Math.exp((x - Math.max(...logits)) / 1.5));
        let at = rng.uniform() * weights.reduce((a, x) => a + x, 0);
        text.push(weights.findIndex(w => (at -= w) < 0));
      }
      return text;
    });
    assert.equal(drawn, again);
  };
continuing[
  "the state behind memory gives, token by token, the states of the segment, which write memory never reaches"
] = () => {
  for (const bidirectional of [false, true]) {
    const model = rmt(transformer({ ...sizes, position: ["cope", "absolute"] }), {
      ...{ memory: 2, segment: 4, bidirectional },
    });
    const tape = new Tape("f64");
    const params = stir(model.params(tape));
    tape.scope(() =>
      tape.noGrad(() => {
        const first = model.step(params, [[1, 2, 3, 4]], model.start(params, 1));
        const whole = model.step(params, [[5, 6, 1, 2]], first.state).states;
        const inner = model.inner(params);
        let state = model.begin(params, first.state, model.model.start(inner, 1, { cache: 6 })); // no room for more
        assert.equal(state.starts, [2]);
        [5, 6, 1, 2].forEach((id, i) => {
          const made = model.model.step(inner, [[id]], state);
          state = made.state;
          close(made.states.values(), whole.values().slice(8 * i, 8 * i + 8), 1e-13, `token ${i}`);
        });
        assert.equal(state.starts, [6]);
      }),
    );
  }
};
continuing["a stop ends a text, steps are a segment unless given, and no memory is left behind"] = () => {
  const model = rmt(transformer(sizes), { memory: 2, segment: 4 });
  const tape = new Tape("f64", { seed: 2 });
  const params = stir(model.params(tape));
  const { mark } = tape.engine;
  const all = grown(generate(model, params, prompts));
  assert.equal(
    all.map((text, i) => text.length - prompts[i]!.length),
    [4, 4, 4, 4],
  );
  const stop = all[0]![2]!;
  const [ended] = grown(generate(model, params, [prompts[0]!, prompts[3]!], { steps: 9, stop: [stop] }));
  assert.equal(ended, all[0]!.slice(0, all[0]!.indexOf(stop, 1) + 1));
  assert.is(tape.engine.mark, mark);
  assert.is(tape.records, 0);
  const three = { memory: numbers(tape, [1, 3, 8], 1), at: 4 };
  const fresh = model.model.start(model.inner(params), 1);
  fails(() => model.begin(params, three, fresh), "rmt: memory is [1 3 8]\n  wants [1 2 8]", RangeError);
  const used = { ...fresh, starts: [3] };
  fails(() => model.begin(params, model.start(params, 1), used), "rmt: the state of the model inside", RangeError);
  fails(() => generate(model, params, [1], { cache: 9 }), "generate: a cache with a recurrent model", RangeError);
  fails(() => generate(model, model.inner(params), [1]).next(), "rmt: 1 parameters are of another model", RangeError);
};
continuing["a text grows in constant memory, whatever its length"] = () => {
  const top = (steps: number): number => {
    const tape = new Tape("f64");
    const model = rmt(transformer(sizes), { memory: 2, segment: 4 });
    const params = model.params(tape);
    return peak(tape, () => grown(generate(model, params, new Array<number>(3 * steps).fill(1), { steps })));
  };
  assert.is(top(60), top(12));
};
suite("texts that go on", continuing);
