// What passes between segments: how far gradients follow it back, what that costs, and how large they are.
import * as assert from "uvu/assert";
import {
  Tape,
  add,
  crossEntropy,
  leaves,
  rmt,
  rmtEncoder,
  scale,
  stopGradient,
  transformer,
  type RecurrentOptions,
  type RmtState,
  type Tensor,
  type Tree,
} from "farsight";
import { close, suite } from "./check.ts";
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
  const forwards = (o: Partial<RecurrentOptions>, long = 20, last = true): number => {
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
    tape.step(() => model.loss(params, tokens, targets));
    return calls;
  };
  assert.is(forwards({ losses: "last", k: 1 }), 20);
  assert.is(forwards({ losses: "last", k: 19 }), 20);
  for (const k of [19, 20]) assert.is(forwards({ k }), 20, `k ${k}`);
  for (const k of [0, 1, 7]) assert.is(forwards({ k }), (k + 1) * (20 - k), `k ${k}`);
  for (const losses of ["all", "last"] as const) assert.is(forwards({ losses, k: 3, truncation: "tail" }), 20);
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
