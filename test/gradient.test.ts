// Every operation's backward pass, from its signature alone: f64 against differences, f32 against f64, one input at a
// time, added into gradients that are already there; and a wrong backward pass that must be caught.
import * as assert from "uvu/assert";
import { Tape, type Tensor, add, gradcheck, linear, mul, op, ops, random, reshape, stopGradient, sum } from "farsight";
import { signature } from "../src/signature.ts";
import { close, suite, thrown } from "./check.ts";

type Loose = (...x: unknown[]) => Tensor | readonly Tensor[];
type Tensors = readonly (Tensor | undefined)[];
type AnyOp = (typeof ops)[number];

/** Sizes for every letter: distinct primes catch swapped axes; 1 and 9 catch tails and vectors. */
const sizesOf = { primes: [2, 3, 5, 7, 11], tails: [1, 9, 4, 3, 6], wide: [4, 2, 17, 8, 13] };
/**
 * Sizes that an operation ties together, options that its defaults leave dull, and below what size f32 may differ: a
 * sum of canceling ones.
 */
interface Special {
  sizes?: Record<string, number>;
  options?: object;
  floor?: number;
  /** Inputs made from others. */
  inputs?: (xs: Tensors) => Tensors;
}
const special: Record<string, Special> = {
  rope: { sizes: { d: 6, r: 3 } },
  scale: { options: { by: 1.5, plus: -0.25 } },
  scores: { options: { scale: 0.7 } },
  tableScores: { options: { scale: 0.7 } },
  slice: { sizes: { n: 5 }, options: { start: 1, count: 3 } },
  cumsum: { options: { reverse: true } },
  dropout: { options: { p: 0.4, position: 8 } },
  interpolate: { sizes: { p: 4 } },
  // Sources in which keys and values begin at their own columns, so that any of them may be left out.
  attention: {
    sizes: { t: 7, s: 7, p: 4, h: 4, d: 3, i: 24, j: 24, l: 24, u: 12, w: 12, c: 7, ids: 2 },
    options: { h: 4, g: 4, d: 3, kAt: 12, vAt: 12, scale: 0.5 },
    floor: 1,
  },
  restated: { inputs: ([, x, w, b]) => [stopGradient(linear(x!, w!, b)), x, w, b] },
};

/** Which optional inputs are given: all, none, or the one at a place. */
type Optional = "all" | "none" | number;
/**
 * Optional inputs that decide where gradients go, which differences cannot see: edges and pasts. myopic.test.ts has
 * them.
 */
const unseen: Record<string, readonly number[]> = { scores: [2, 3], mix: [2, 3], attention: [12, 13, 14, 15, 16] };
const optionals = (o: AnyOp): Optional[] => {
  const places = signature(o.signature).inputs.flatMap((s, i) =>
    s.optional && !unseen[o.opName]?.includes(i) ? [i] : [],
  );
  return places.length > 1 ? ["all", "none", ...places] : places.length ? ["all", "none"] : ["all"];
};

/** Fresh inputs for an operation: a list of tensors, those that `wanted` picks as parameters. */
function draw(
  tape: Tape,
  o: AnyOp,
  label: keyof typeof sizesOf,
  wanted: (i: number) => boolean,
  optional: Optional,
  given?: Record<string, number>,
): Tensors {
  const rng = random(3).fork(o.opName);
  const list = sizesOf[label];
  const sizes: Record<string, number> = given ?? { ...special[o.opName]?.sizes };
  const sizeOf = (dim: string): number => (sizes[dim] ??= list[Object.keys(sizes).length % list.length]!);
  const { inputs } = signature(o.signature);
  // Of a list three tensors, of one, two and three places.
  const specs = inputs[0]!.list ? [1, 2, 3].map(() => inputs[0]!) : inputs;
  return specs.map((s, i) => {
    const size = (dim: string): number => (dim.startsWith("Σ") ? i + 1 : Number(dim) || sizeOf(dim));
    const shape = [...(s.lead ? (given ? [given["..."]!] : [2, 3]) : []), ...s.dims.map(size)];
    const n = shape.reduce((a, b) => a * b, 1);
    const [low, high] = o.domain;
    if (s.optional && (unseen[o.opName]?.includes(i) || (optional !== "all" && optional !== i))) return undefined;
    if (s.below)
      return tape.integers(
        shape,
        Array.from({ length: n }, () => rng.integer(size(s.below))),
      );
    const real = Float64Array.from({ length: n }, () => Math.fround(low + (high - low) * rng.uniform()));
    // Constants of attention are masks, but for ALiBi's slopes, one a head.
    if (o.constant.includes(i))
      return tape.tensor(
        shape,
        s.dims.length > 1 && !o.opName.startsWith("rope") ? real.map((_, j) => (j % 4 === 3 ? 0 : 1)) : real,
      );
    // Contextual positions fall with the key: keep them off whole numbers, some past the cap.
    const at = o.opName === "interpolate" && i === 1 ? real.map((x, j) => x + (j % 5)) : real;
    return wanted(i) ? tape.param(shape, at) : tape.tensor(shape, at);
  });
}
/** What an operation gives, as a list. */
const call = (o: AnyOp, xs: Tensors): readonly Tensor[] => {
  const { inputs, options } = special[o.opName] ?? {};
  const list: unknown[] = [...(inputs?.(xs) ?? xs)];
  while (list.length && list[list.length - 1] === undefined) list.pop();
  const args = signature(o.signature).inputs[0]!.list ? [list] : list;
  return [(o as unknown as Loose)(...args, options ?? {})].flat();
};
/** Σ u·y for fixed random u: makes a scalar of any results; `kept`: of which. */
function against(results: readonly Tensor[], kept: (o: number) => boolean = () => true): Tensor {
  const rng = random(5);
  const terms = results.flatMap((y, o) => {
    const u = Float64Array.from({ length: y.size }, () => Math.fround(rng.normal()));
    return kept(o) ? [sum(mul(reshape(y, [y.size]), y.tape.tensor([y.size], u)))] : [];
  });
  return terms.reduce((a, b) => add(a, b));
}
/** Checks every input against differences in the results from which a gradient flows to it. */
function check(o: AnyOp, xs: Tensors, directions = 1): void {
  const groups = new Map<string, Record<string, Tensor>>();
  xs.forEach((x, i) => {
    if (!x?.wants) return;
    const key = o.stops.flatMap(([output, input]) => (input === i ? [output] : [])).join();
    groups.set(key, { ...groups.get(key), [`input ${i}`]: x });
  });
  for (const [key, params] of groups) {
    const cut = key === "" ? [] : key.split(",").map(Number);
    gradcheck(params, () => against(call(o, xs), y => !cut.includes(y)), { directions });
    if (!cut.length) continue;
    const list = Object.values(params);
    const alone = list.map(x => x.gradient().slice());
    list[0]!.tape.step(() => against(call(o, xs)));
    list.forEach((x, i) => close(x.gradient(), alone[i]!, 1e-12, "through results that give it no gradient"));
  }
}
/** Up to eight choices of sizes under which inputs i and j hold equally many numbers; found by trial. */
function evenSizes(o: AnyOp, i: number, j: number): Record<string, number>[] {
  const { inputs } = signature(o.signature);
  const letters = [...new Set(inputs.flatMap(s => [...s.dims, s.below]))].filter(d => d && !(Number(d) >= 0));
  const rng = random(4).fork(o.opName);
  const found: Record<string, number>[] = [];
  for (let trial = 0; trial < 3000 && found.length < 8; trial++) {
    const sizes: Record<string, number> = { "...": letters.length ? 1 : 6 };
    for (const letter of letters) sizes[letter] = [1, 2, 4, 6][rng.integer(4)]!;
    const size = (k: number): number =>
      [...(inputs[k]!.lead ? ["..."] : []), ...inputs[k]!.dims].reduce((n, d) => n * (Number(d) || sizes[d]!), 1);
    if (size(i) < 4 || size(i) !== size(j)) continue;
    try {
      call(
        o,
        draw(new Tape("f64"), o, "primes", () => true, "all", { ...sizes }),
      );
      found.push(sizes);
    } catch {
      continue; // sizes that do not go together
    }
  }
  return found;
}
const params = (xs: Tensors): Record<string, Tensor> =>
  Object.fromEntries(xs.flatMap((x, i) => (x?.wants ? [[`input ${i}`, x]] : [])));

/** Operations that put numbers in place have no gradient. */
const inPlace = ["append"];
for (const o of ops.filter(o => !inPlace.includes(o.opName))) {
  const { inputs } = signature(o.signature);
  const real = inputs[0]!.list ? [0, 1, 2] : inputs.flatMap((s, i) => (s.below || o.constant.includes(i) ? [] : [i]));
  const tests: Record<string, () => void> = {};
  for (const label of Object.keys(sizesOf) as (keyof typeof sizesOf)[])
    for (const optional of optionals(o)) {
      const some = optional === "none" ? ", optional inputs left out" : `, of optional inputs ${optional} alone`;
      const name = optional === "all" ? label : label + some;
      tests[`f64 gradients equal differences (${name})`] = () => {
        const tape = new Tape("f64");
        const xs = draw(tape, o, label, () => true, optional);
        check(o, xs, 3);
      };
      tests[`f32 gives what f64 gives (${name})`] = () => {
        const [a, b] = (["f32", "f64"] as const).map(dtype => {
          const tape = new Tape(dtype);
          const xs = draw(tape, o, label, () => true, optional);
          const y = call(o, xs);
          tape.backward(against(y));
          return [...y.map(y => y.values()), ...Object.values(params(xs)).map(x => x.gradient())];
        });
        a!.forEach((values, i) =>
          close(values, b![i]!, 3e-6, `result or gradient ${i}`, special[o.opName]?.floor ?? 0.1),
        );
      };
    }
  tests["each input alone may want a gradient"] = () => {
    for (const only of real) {
      const tape = new Tape("f64");
      const xs = draw(tape, o, "primes", i => i === only, "all");
      if (!xs[only]) continue;
      const base = tape.engine.memory.buffer.slice(0, 1024);
      check(o, xs);
      assert.equal(
        new Uint8Array(tape.engine.memory.buffer.slice(0, 1024)).every((v, i) => v === new Uint8Array(base)[i]),
        true,
        "wrote near address 0",
      );
    }
  };
  tests["adds into a gradient instead of overwriting it"] = () => {
    const tape = new Tape("f64");
    const xs = draw(tape, o, "tails", () => true, "all");
    const y = call(o, xs);
    const list = Object.values(params(xs));
    const first = list.map(x => {
      x.gradient().fill(1000);
      return x;
    });
    tape.backward(against(y));
    const tape2 = new Tape("f64");
    const ys = draw(tape2, o, "tails", () => true, "all");
    const z = call(o, ys);
    const fresh = Object.values(params(ys));
    tape2.backward(against(z));
    first.forEach((x, i) =>
      close(
        x.gradient(),
        fresh[i]!.gradient().map(g => g + 1000),
        1e-12,
      ),
    );
  };
  const both = real.filter(i => !unseen[o.opName]?.includes(i));
  const pairs = inputs[0]!.list ? [] : both.flatMap(i => both.flatMap(j => (i < j ? [[i, j] as const] : [])));
  if (pairs.length && o.opName !== "attention" && !special[o.opName]?.inputs)
    // attention.test.ts has attention's
    tests["one tensor as two inputs gets the sum of their gradients"] = () => {
      let found = 0;
      for (const [i, j] of pairs)
        for (const sizes of evenSizes(o, i, j)) {
          found++;
          const gradientOf = (apart: boolean): Float64Array => {
            const tape = new Tape("f64");
            const xs = [...draw(tape, o, "primes", () => true, "all", { ...sizes })];
            const one = xs[i]!;
            const other = apart ? tape.param(xs[j]!.shape, one.values()) : one;
            one.gradient().fill(NaN); // which a step writes over
            tape.step(() => {
              const mine = [...xs];
              mine[j] = reshape(other, xs[j]!.shape);
              return against(call(o, mine));
            });
            return Float64Array.from(one.gradient(), (g, k) => g + (apart ? other.gradient()[k]! : 0));
          };
          close(gradientOf(false), gradientOf(true), 1e-12, `inputs ${i} and ${j}`);
        }
      assert.ok(found > 0, "no sizes under which two inputs are equally large");
    };
  suite(`${o.opName}: ${o.signature}`, tests);
}

suite("the checker itself", {
  "a wrong backward pass is caught"() {
    const wrong = op("wrong", "... -> ...", {
      forward: (K, { rows }, y, x) => K.tanh(rows, x.data, y.data),
      backward: (K, { rows }, y, x) => K.sigmoidBack(rows, x.data, y.data, y.grad, x.grad, x.add),
    });
    const tape = new Tape("f64");
    const x = tape.param([7], [1, 2, 3, -1, -2, 0.5, 0.1]);
    assert.match(
      thrown(Error, () => gradcheck({ x }, () => sum(wrong(x)))),
      /gradcheck: x \[7\]: backward says .* differences say/,
    );
  },
  "an error of one part in a million is caught"() {
    const off = op("off", "... -> ...", {
      forward: (K, { rows }, y, x) => K.tanh(rows, x.data, y.data),
      backward: (K, { rows }, y, x) => {
        K.tanhBack(rows, x.data, y.data, y.grad, x.grad, x.add);
        K.scaleAdd(rows, 1e-6, y.grad, x.grad, true);
      },
    });
    const tape = new Tape("f64");
    const x = tape.param([3], [1, 2, 3]);
    assert.match(
      thrown(Error, () => gradcheck({ x }, () => sum(off(x)))),
      /gradcheck/,
    );
  },
  "a single-precision tape is refused"() {
    const tape = new Tape("f32");
    const x = tape.param([2], [1, 2]);
    assert.match(
      thrown(TypeError, () => gradcheck({ x }, () => sum(x))),
      /wants new Tape\("f64"\)/,
    );
  },
});
