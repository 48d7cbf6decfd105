// Options and arguments of wrong kinds or beyond any sense: each is refused, in words that fit a line, in time.
import { spawnSync } from "node:child_process";
import * as assert from "uvu/assert";
import {
  Tape,
  type Tensor,
  adamw,
  count,
  counting,
  crossEntropy,
  cumsum,
  distances,
  dropout,
  fit,
  gradcheck,
  huber,
  leaves,
  layerNorm,
  memorize,
  mul,
  op,
  ops,
  random,
  rmsNorm,
  rotary,
  scale,
  sgd,
  sine,
  softmax,
  sub,
  sum,
  tanh,
} from "farsight";
import { signature } from "../src/signature.ts";
import { suite, thrown } from "./check.ts";

const tape = new Tape("f64");
const x = tape.tensor([2, 3], [1, 2, 3, 4, 5, 6]);
const w = tape.param([3], [1, 2, 3]);
const ids = tape.integers([2], [0, 2]);
const closed = Proxy.revocable({}, {});
closed.revoke();
const throws = (): never => {
  throw new Error("a trap");
};

/** Values that are hard to print, and what errors print. */
const hard: [value: unknown, text: string][] = [
  [Symbol("s\n2"), "Symbol(s 2)"],
  [Symbol("y".repeat(999)), `Symbol(${"y".repeat(53)}...`],
  [Object.create(null), "Object"],
  [() => "source text", "a function"],
  [class Secret {}, "a function"],
  [closed.proxy, "something unreadable"],
  [new Proxy({}, { get: throws }), "something unreadable"],
  ["x".repeat(5000), `"${"x".repeat(60)}..."`],
  ["a\nb", '"a\\nb"'],
  [10n ** 400n, `1${"0".repeat(59)}...`],
  [[1, [2], "three", {}], '[1 Array "three" Object]'],
  [new Array(1000).fill(7), "[7 7 7 7 7 7 7 7 ...]"],
  [new Date(NaN), "Date"],
  [x, "Tensor [2 3]"],
  [new Proxy(x, {}), "a tensor behind a Proxy"],
  [null, "null"],
];

suite("values in errors", {
  "are printed on one line of some 60 characters, whatever they are, and without code"() {
    for (const [value, text] of hard)
      assert.is(
        thrown(TypeError, () => sgd({ w }, { nesterov: value as boolean })),
        `sgd: nesterov is ${text}\n  wants true or false`,
      );
  },
  "are named where a tensor or a tape is due"() {
    const proxy = new Proxy(tape, {});
    const behind = /^\w+: the tape is \w+\n {2}wants a Tape of this copy of farsight, behind no Proxy$/;
    for (const call of [
      () => proxy.tensor([2]),
      () => proxy.scope(() => 1),
      () => proxy.params,
      () => proxy.zeroGrad(),
      () => (tape.noGrad as (body: () => number) => number).call(proxy, () => 1),
    ])
      assert.match(thrown(TypeError, call), behind);
    assert.match(
      thrown(TypeError, () => tanh(new Proxy(x, {}))),
      /^tanh: input 0 is no tensor\n.*\n {2}got {3}a tensor behind a Proxy$/,
    );
  },
});

/** Objects that no options can be. */
const strange: unknown[] = [null, 3, "x", [], x, tape, new Map(), new Date(), closed.proxy, Object.create({ axis: 0 })];
suite("options", {
  "are a plain object with the names that are known"() {
    for (const given of strange)
      assert.match(
        thrown(TypeError, () => cumsum(x, given as object)),
        /^cumsum: (the options are .*\n {2}wants an object with axis, reverse|takes 1 tensor, got)/,
      );
    for (const name of ["Axis", "toString", "__proto__", "constructor", ""]) {
      const given = Object.defineProperty({}, name, { value: 1, enumerable: true });
      assert.is(
        thrown(RangeError, () => cumsum(x, given)),
        `cumsum: unknown option ${name || '""'}\n  wants axis, reverse`,
      );
      assert.is(
        thrown(RangeError, () => scale(x, given)),
        `scale: unknown option ${name || '""'}\n  wants by, plus`,
      );
    }
    assert.match(
      thrown(RangeError, () => sum(x, { [Symbol("s")]: 1 } as object)),
      /^sum: unknown option Symbol\(s\)/,
    );
    assert.equal(sum(x, Object.assign(Object.create(null), { axis: 0 }) as object).shape, [3]);
  },
  "of which one is undefined are as if it were left out"() {
    assert.equal([...sum(x, { axis: undefined } as object).values()], [21]);
    assert.is(adamw({ w }, { lr: undefined } as object).lr, 1e-3);
    assert.equal([...scale(x, { by: undefined, plus: 1 }).values()], [2, 3, 4, 5, 6, 7]);
  },
  "are read once each, and what cannot be read is refused with its cause"() {
    let reads = 0;
    const once = {
      get by() {
        return ++reads;
      },
    };
    assert.equal([...scale(x, once).values()], [...x.values()]);
    assert.is(reads, 1);
    const bad = {
      get lr(): number {
        return throws();
      },
    };
    try {
      adamw({ w }, bad);
    } catch (error) {
      assert.is((error as Error).message.split("\n")[0], "adamw: the options are Object");
      assert.is(((error as Error).cause as Error).message, "a trap");
    }
  },
  "beyond any sense are refused, of every operation and function"() {
    const bad: [call: () => unknown, text: string][] = [
      [() => crossEntropy(x, ids, { ignore: 0.5 }), "crossEntropy: ignore is 0.5"],
      [() => crossEntropy(x, ids, { ignore: 2 ** 31 }), "crossEntropy: ignore is 2147483648"],
      [() => scale(x, { by: NaN }), "scale: by is NaN"],
      [() => scale(x, { plus: -Infinity }), "scale: plus is -Infinity"],
      [() => huber(x, x, { delta: -1 }), "huber: delta is -1"],
      [() => layerNorm(x, w, { eps: -1 }), "layerNorm: eps is -1"],
      [() => rmsNorm(x, w, { eps: Infinity }), "rmsNorm: eps is Infinity"],
      [() => dropout(x, { p: NaN }), "dropout: p is NaN"],
      [() => dropout(x, { position: 2 ** 60 }), "dropout: position is 1152921504606847000"],
      [() => gradcheck({ w }, () => sum(w), { h: 1e-17 }), "gradcheck: h is 1e-17"],
      [() => gradcheck({ w }, () => sum(w), { tolerance: 5 }), "gradcheck: tolerance is 5"],
      [() => gradcheck({ w }, () => sum(w), { directions: 2 ** 40 }), "gradcheck: directions is 1099511627776"],
      [() => random(0, 2 ** 53 - 1), "random: position is 9007199254740991"],
      [() => random(0).skip(2 ** 53 - 1), "random: position is 9007199254740991"],
      [() => counting({ set: 1e-12 }), "counting: set is 1e-12 and pass 50"],
      [() => counting({ set: 0, pass: 0 }), "counting: set is 0 and pass 0"],
      [() => counting({ steps: 1e9 }), "counting: steps is 1000000000"],
      [() => counting({ pass: 1e300 }), "counting: pass is 1e+300"],
      [() => counting().batch(random(1), 2 ** 40), "counting: b x steps is 562949953421312"],
      [
        () => memorize({ segment: 2 ** 40 }).batch(random(1), 1, 1),
        "memorize: b x segments x segment is 1099511627776",
      ],
      [() => sine({ t: 2 ** 31 }).batch(random(1), 2), "sine: n x t is 4294967296"],
      [() => distances(2 ** 53 - 1, 2, 1), "distances: t x s is"],
      [() => sgd({ w }, { lr: Infinity }), "sgd: lr is Infinity"],
      [() => new Tape("f32", { limit: -1 }), "engine: limit is -1"],
    ];
    for (const [call, text] of bad) {
      const got = thrown(RangeError, call);
      assert.ok(got.startsWith(text), `${got}\n  instead of ${text}`);
    }
    const kinds: [call: () => unknown, text: string][] = [
      [() => layerNorm(x, w, { eps: null as never }), "layerNorm: eps is null"],
      [() => layerNorm(x, w), ""],
      [() => layerNorm(x, w, { eps: null as never }), "layerNorm: eps is null"],
      [() => cumsum(x, { reverse: "no" as never }), 'cumsum: reverse is "no"'],
      [() => crossEntropy(x, ids, { reduction: 1 as never }), "crossEntropy: reduction is 1"],
      [() => tape.step(() => sum(w), { accumulate: 1 as never }), "step: accumulate is 1"],
      [() => new Tape("f32", { check: 1 as never }), "tape: check is 1"],
      [() => sine().batch({} as never, 1), "sine: the generator is Object"],
      [() => counting().sample(undefined as never), "counting: the generator is undefined"],
      [() => memorize({ segment: 12, text: 3 as never }), "memorize: text is 3"],
      [() => random(0).choice(null as never), "choice: the list is null"],
      [() => random(0).shuffle({ length: 2 ** 40 }), "shuffle: the list is Object"],
      [() => op("mine", "... -> ...", {} as never), "op: forward is undefined"],
      ...["attrs", "checks", "save"].map((part): [() => unknown, string] => [
        () => op("mine", "... -> ...", { forward() {}, [part]: closed.proxy }),
        "op: the rule cannot be read",
      ]),
      [() => tape.scope(undefined as never), "scope: the body is undefined"],
    ];
    for (const [call, text] of kinds) {
      if (!text) call();
      else {
        const got = thrown(TypeError, call);
        assert.ok(got.startsWith(text), `${got}\n  instead of ${text}`);
      }
    }
  },
  "of fit: unknown names, and weights that come to nothing"() {
    const drained = async (more: object) => {
      try {
        for await (const _ of fit({ params: { w }, optimizer: sgd({ w }), loss: () => sum(w), steps: 1, ...more }));
      } catch (error) {
        return String(error).split("\n")[0];
      }
      return "nothing";
    };
    return Promise.all(
      [
        [{ step: 1 }, "RangeError: fit: unknown option step"],
        [{ loss: () => ({ loss: sum(w), weight: 0 }) }, "RangeError: fit: all weights are 0"],
        [{ accumulate: 2, loss: () => ({ loss: sum(w), weight: 5e-324 }) }, "RangeError: fit: all weights are 1e-323"],
        [{ loss: () => ({ loss: sum(w), weight: 1e300 }) }, "RangeError: fit: weight is 1e+300"],
        [{ clip: { norm: NaN } }, "RangeError: fit: clip.norm is NaN"],
        [{ clip: null }, "TypeError: fit, clip: the options are null"],
        [{ schedule: 0.1 }, "TypeError: fit: schedule is 0.1"],
      ].map(async ([more, text]) => assert.is(await drained(more as object), text)),
    );
  },
});

suite("the gradient check", {
  "does not pass a wrong gradient that a step cannot show"() {
    const wrong = op("halfway", "... -> ...", {
      forward: (K, { rows }, y, a) => K.scale(rows, 1, 0, a.data, y.data),
      backward: (K, { rows }, y, a) => K.scaleAdd(rows, 0, y.grad, a.grad, a.add),
    });
    const far = tape.param([2], [1e17, -3e18]);
    assert.match(
      thrown(RangeError, () => gradcheck({ far }, () => sum(wrong(far)), { h: 1e-3 })),
      /^gradcheck: (h is 0.001, too little to move all of far|the loss is)/,
    );
    const offset = () => sum(scale(wrong(w), { plus: 1e9 }));
    assert.match(
      thrown(RangeError, () => gradcheck({ w }, offset)),
      /^gradcheck: the loss is 3000000006, and rounding hides gradients/,
    );
    for (const h of [1e-8, 1e-5, 0.1]) assert.ok(gradcheck({ w }, () => sum(mul(w, w)), { h }) < 1e-6);
    for (const h of [1e-8, 1e-5, 0.1]) thrown(Error, () => gradcheck({ w }, () => sum(wrong(w)), { h }));
  },
});

suite("a generator", {
  "draws to its end and not beyond, and its place can be set to wherever it came"() {
    const end = 2 ** 53 - 2 ** 33;
    const rng = random(5, end - 1);
    const words = [rng.word()];
    const { position } = rng;
    assert.is(position, end);
    for (const draw of [() => rng.word(), () => rng.normal(), () => rng.uniform(), () => rng.integer(7)])
      assert.match(thrown(RangeError, draw), /^\w+: the generator stands at 9007190664806400/);
    assert.is(rng.position, position);
    const near = random(5, end - 1);
    near.normal();
    assert.is(near.position, end + 3);
    rng.position = near.position;
    assert.equal(words, [random(5, end - 1).word()]);
  },
});

suite("trees", {
  "that hold themselves, or cannot be read, are refused"() {
    const ring: Record<string, unknown> = { w };
    ring.deeper = { again: ring };
    const list: unknown[] = [];
    list.push(list);
    for (const tree of [ring, list]) {
      assert.match(
        thrown(RangeError, () => leaves(tree as never)),
        /^leaves: .* lies too deep, or within itself\n {2}wants 64 levels at most$/,
      );
      thrown(RangeError, () => count(tree as never));
      thrown(RangeError, () => sgd(tree as never));
    }
    for (const tree of [Symbol("s"), 10n, undefined, closed.proxy, { a: throws }, { a: Symbol("s") }])
      assert.match(
        thrown(TypeError, () => leaves(tree as never)),
        /^leaves: (the tree|a) is /,
      );
    const getter = {
      get a(): Tensor {
        return throws();
      },
    };
    thrown(TypeError, () => leaves(getter));
  },
});

/** Shapes of no numbers and rows without end, for each tensor of a signature; nothing where they would hold numbers. */
function* endless(text: string): Generator<number[][]> {
  const { inputs } = signature(text);
  const letters = [...new Set(inputs.flatMap(s => [...(s.lead ? ["..."] : []), ...s.dims]))].filter(d => !Number(d));
  for (const huge of letters)
    for (const none of letters) {
      if (huge === none) continue;
      const size = (dim: string) => (dim === huge ? 2 ** 31 - 1 : dim === none ? 0 : Number(dim) || 1);
      const shapes = inputs.map(s => [...(s.lead ? [size("...")] : []), ...s.dims.map(size)]);
      if (shapes.every(shape => shape.reduce((a, b) => a * b, 1) < 1e6)) yield shapes;
    }
}
suite("rows without end", {
  "of no numbers take no time, forward and backward"() {
    const begun = performance.now();
    let calls = 0;
    for (const o of ops) {
      const { inputs } = signature(o.signature);
      for (const shapes of endless(o.signature))
        tape.scope(() => {
          const xs = shapes.map((shape, i) =>
            inputs[i]!.below
              ? tape.integers(shape, new Int32Array(shape.reduce((a, b) => a * b, 1)))
              : o.constant.includes(i)
                ? tape.tensor(shape)
                : tape.param(shape),
          );
          try {
            const made = (o as unknown as (...x: unknown[]) => unknown)(...(inputs[0]!.list ? [xs] : xs));
            const [y] = [made].flat() as Tensor[];
            calls++;
            if (y!.wants && y!.size < 1e6) tape.backward(y!, new Float64Array(y!.size));
          } catch (error) {
            assert.match(String(error), new RegExp(`^(RangeError|TypeError): (${o.opName}|memory): `));
          }
        });
    }
    assert.ok(calls > 50, `${calls}`);
    assert.ok(performance.now() - begun < 20_000, `${performance.now() - begun} ms`);
    softmax(tape.tensor([2 ** 31 - 1, 0]));
    sub(tape.tensor([2 ** 31 - 1, 0, 5]), tape.tensor([2 ** 31 - 1, 0, 5]));
    assert.is(rotary(tape, 0, 4).cos.size, 0);
  },
});

/** Runs a program in which WebAssembly is as told; the last line it prints. */
function onHost(stub: string, body = 'new Tape("f32")'): string {
  const program = `${stub}
    const { Tape } = await import("farsight");
    try { ${body}; console.log("nothing"); }
    catch (error) { console.log(JSON.stringify([error.name, error.message, error.cause?.name])); }`;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" });
  return stdout.trim() || stderr;
}
suite("hosts", {
  "without WebAssembly, SIMD or address space are told what they lack"() {
    assert.is(onHost("delete globalThis.WebAssembly;"), '["Error","engine: this host has no WebAssembly",null]');
    assert.is(
      onHost("WebAssembly.Module = class { constructor() { throw new WebAssembly.CompileError('no SIMD'); } };"),
      '["Error","engine: this host does not compile the kernels, which need SIMD","CompileError"]',
    );
    const small = `const { Memory } = WebAssembly; WebAssembly.Memory = class extends Memory {
      constructor(o) { if (o.maximum > 1000) throw new RangeError("no address space"); super(o); } };`;
    assert.is(
      onHost(small),
      JSON.stringify([
        "RangeError",
        "engine: the host refused 4096 MiB of address space\n  wants a lower limit",
        "RangeError",
      ]),
    );
    assert.is(onHost(small, 'new Tape("f32", { limit: 1 << 24 })'), "nothing");
  },
});
