// Checkpoints: every name a tree may have, checksums, files from before both, and the names PyTorch gives.
import {
  Tape,
  adamw,
  leaves,
  load,
  loadParams,
  parse,
  save,
  serialize,
  sgd,
  transformer,
  type Storable,
  type Tensor,
  type Tree,
} from "farsight";
import * as assert from "uvu/assert";
import { suite, thrown } from "./check.ts";

/** Trees by what is odd about their names; `x()` is a parameter. */
const trees: Record<string, (x: () => Tensor) => Tree> = {
  "under `optimizer`": x => ({ optimizer: { w: x() } }),
  "called `optimizer`": x => ({ optimizer: x() }),
  "under `optimizer` and `_optimizer`": x => ({ optimizer: { w: x() }, _optimizer: { w: x() }, w: x() }),
  "that are called as state would be": x => ({ w: x(), optimizer: { w: { m: x(), v: x() } } }),
  "flat, as state would be": x => ({ w: x(), "optimizer.w.m": x(), "optimizer.0.w.v": x() }),
  "under `optimizer.0`": x => ({ w: x(), optimizer: [{ w: x() }, { w: { v: x() } }] as never }),
  "that begin like `optimizer`": x => ({ optimizers: { w: x() }, "optimizer-w": x(), optimizer2: x() }),
  "that are numbers": x => ({ "10": x(), "9": x(), "-1": x(), "4294967296": x(), "0": { "1": x() } }),
  "in lists": x => [{ w: x() }, { w: x() }],
  "that are empty": x => ({ "": { "": { a: x() } }, a: { "": x() } }),
  "with dots": x => ({ "a.b": x(), a: { c: x(), "..": x() }, ".": x() }),
  "with slashes, spaces and line breaks": x => ({ "../x": x(), "a b": x(), "a\nb": x(), "\0": x(), '"': x() }),
  "beyond ASCII": x => ({ größe: x(), 重み: { "🦉": x() }, "\ufeff": x() }),
  "of prototypes": x => ({
    ["__proto__"]: { w: x() },
    constructor: { prototype: x() },
    toString: x(),
    hasOwnProperty: x(),
  }),
  "of the file's own": x => ({
    "farsight.step": x(),
    "farsight.optimizer": { w: x() },
    format: x(),
    data_offsets: x(),
  }),
  "with `__metadata__` further down": x => ({ a: { __metadata__: x() }, __metadata__: { w: x() } }),
  "behind prefixes": x => ({ module: { w: x() }, transformer: { w: x() }, w: x(), bert: { model: { w: x() } } }),
};

/** A run over a tree whose numbers all differ, after `n` updates. */
function run(tree: (typeof trees)[string], from: number, n: number, several: boolean) {
  const tape = new Tape("f32", { seed: from });
  let next = from;
  const params = tree(() => tape.param([2], [next++, next++]));
  const list = leaves(params).map(([, p]) => p);
  const half = Math.ceil(list.length / 2);
  const part = (ps: typeof list) => Object.fromEntries(ps.map((p, i) => [`${i}`, p]));
  const optimizers = several
    ? [adamw(part(list.slice(0, half))), sgd(part(list.slice(half)), { momentum: 0.5 })]
    : [adamw(params)];
  for (let i = 0; i < n; i++) {
    for (const p of list) p.gradient().fill(i + next++);
    for (const o of optimizers) o.step(0.1);
  }
  const tensors = [params, ...optimizers.map(o => o.state)].flatMap(t => leaves(t).map(([, x]) => x));
  const state = () => [tensors.map(t => [...t.values()]), optimizers.map(o => o.updates), tape.random.seed];
  return { params, optimizer: optimizers, state };
}

/** A file as it was before checksums, and before it said where the state of optimisers lies. */
function old(file: Uint8Array): Uint8Array {
  const { tensors, metadata } = parse(file);
  const { "farsight.optimizer": _, ...rest } = metadata;
  return plain(tensors, rest);
}

/** A file without a checksum. */
function plain(tensors: ReadonlyMap<string, Storable>, metadata: Record<string, string>): Uint8Array {
  const file = serialize(tensors, metadata);
  const size = Number(new DataView(file.buffer).getBigUint64(0, true));
  const header = new TextDecoder().decode(file.subarray(8, 8 + size));
  const cut = header.replace(/"farsight\.checksum":"[0-9a-f]{8}",?/, "").replace(",}", "}");
  return join(cut.padEnd(size), file.subarray(8 + size));
}
function join(header: string, data: Uint8Array): Uint8Array {
  const head = new TextEncoder().encode(header);
  const file = new Uint8Array(8 + head.length + data.length);
  new DataView(file.buffer).setBigUint64(0, BigInt(head.length), true);
  file.set(head, 8);
  file.set(data, 8 + head.length);
  return file;
}

const named: Record<string, () => void> = {};
for (const [what, tree] of Object.entries(trees))
  named[`parameters ${what} are read back, by themselves and with one optimiser or several`] = () => {
    for (const several of [false, true]) {
      if (several && leaves(run(tree, 0, 0, false).params).length < 2) continue;
      const a = run(tree, 1, 3, several);
      const file = save({ ...a, step: 3 });
      const b = run(tree, 500, 1, several);
      assert.is(load(b, file).step, 3);
      assert.equal(b.state(), a.state());
      const c = run(tree, 900, 0, several);
      const state = c.optimizer.map(o => leaves(o.state).map(([, x]) => [...x.values()]));
      loadParams(c.params, file);
      const numbers = (r: typeof a) => leaves(r.params).map(([path, p]) => [path, ...p.values()]);
      assert.equal(numbers(c), numbers(a));
      assert.equal(
        c.optimizer.map(o => leaves(o.state).map(([, x]) => [...x.values()])),
        state,
      );
    }
  };

suite("names of parameters", {
  ...named,
  "state is never taken for a parameter that happens to be called as it is"() {
    const tape = new Tape("f32");
    const w = tape.param([1], [1]);
    const file = save({ params: { w }, optimizer: adamw({ w }) });
    const m = tape.param([1], [7]);
    assert.is(
      thrown(RangeError, () => loadParams({ w, optimizer: { w: { m } } }, file)),
      "loadParams: the file does not fit; nothing was changed\n  missing: optimizer.w.m",
    );
    assert.is(m.values()[0], 7);
  },
  "two parameters of one name, and one called as the metadata, are refused when they are saved"() {
    const tape = new Tape("f32");
    const x = () => tape.param([1]);
    for (const params of [
      { "a.b": x(), a: { b: x() } },
      { w: x(), "": { w: x() } },
    ])
      assert.match(
        thrown(RangeError, () => save({ params })),
        /^save: two tensors are called /,
      );
    assert.match(
      thrown(RangeError, () => save({ params: { __metadata__: x() } })),
      /__metadata__ names the metadata, not a tensor$/,
    );
  },
  "metadata that a checkpoint came with can be saved with the next"() {
    const tape = new Tape("f32");
    const params = { w: tape.param([1], [1]) };
    const { metadata } = load({ params }, save({ params, step: 3 }, { note: "x", "farsight.checksum": "y" }));
    assert.equal(metadata["farsight.checksum"], undefined);
    const again = load({ params }, save({ params, step: 4 }, { ...metadata, "farsight.optimizer": "z" }));
    assert.equal(again, { step: 4, metadata: { ...metadata, "farsight.step": "4" } });
  },
});

suite("files from before", {
  "those without a checksum load, with parameters under `optimizer` too"() {
    for (const name of ["in lists", "with dots", "under `optimizer`", "called `optimizer`"]) {
      const tree = trees[name]!;
      const a = run(tree, 1, 2, false);
      const under = leaves(a.params).some(([path]) => path.startsWith("optimizer."));
      const { tensors, metadata } = parse(save({ ...a, step: 2 }));
      const renamed = [...tensors].map(([path, t]) => [path.replace(/^_optimizer\./, "optimizer."), t] as const);
      const file = old(plain(new Map(renamed), metadata));
      assert.is(
        under,
        renamed.some(([path]) => path === "optimizer.optimizer.w.m"),
        name,
      );
      const b = run(tree, 50, 0, false);
      assert.is(load(b, file).step, 2);
      assert.equal(b.state(), a.state(), name);
      const c = run(tree, 90, 0, false);
      loadParams(c.params, file);
      const numbers = (r: typeof a) => leaves(r.params).map(([, p]) => [...p.values()]);
      assert.equal(numbers(c), numbers(a), name);
    }
  },
});

suite("checksums", {
  "a flipped bit, wherever it is, is refused and changes nothing"() {
    const tree = trees["in lists"]!;
    const a = run(tree, 1, 2, false);
    const file = save({ ...a, step: 25 }, { note: "ab" });
    const start = new TextDecoder().decode(file).indexOf("farsight.checksum");
    const b = run(tree, 1, 2, false);
    for (const p of leaves(b.params)) p[1].values().fill(9);
    const before = b.state();
    for (let bit = 0; bit < 8 * file.length; bit++) {
      const at = bit >> 3;
      const flipped = file.slice();
      flipped[at]! ^= 1 << (bit & 7);
      const key = at >= start && at < start + "farsight.checksum".length; // there the numbers are sound, and unguarded
      if (key && !('\\"'.includes(String.fromCharCode(flipped[at]!)) || flipped[at]! < 32 || flipped[at]! > 127)) {
        assert.is(load(b, flipped).step, 25);
        assert.equal(b.state(), a.state());
        for (const p of leaves(b.params)) p[1].values().fill(9);
        b.optimizer[0]!.updates = 2;
        continue;
      }
      thrown(RangeError, () => load(b, flipped));
      thrown(RangeError, () => loadParams(b.params, flipped));
      thrown(RangeError, () => parse(flipped));
    }
    assert.equal(b.state(), before);
  },
  "bytes that changed places, were repeated or lost are refused"() {
    const n = 5000;
    const values = Float32Array.from({ length: n }, (_, i) => Math.sin(i));
    const file = serialize({ w: { shape: [n], values } });
    const from = file.length - 4 * n;
    const says = /^safetensors: damaged or changed: farsight.checksum does not hold$/;
    const broken = (change: (data: Uint8Array) => void) => {
      const copy = file.slice();
      change(copy.subarray(from));
      assert.match(
        thrown(RangeError, () => parse(copy)),
        says,
      );
    };
    broken(d => d.copyWithin(4096, 0, 4096)); // a block twice
    broken(d => d.fill(0, 512, 1024)); // a sector lost
    broken(d => d.fill(0));
    broken(d => d.reverse());
    for (let i = 3; i < 4000; i += 400) {
      broken(d => [0, 4].forEach(k => (d[i + k]! ^= 128))); // two signs
      broken(d => d.subarray(i, i + 8).reverse());
      broken(d => (d[4 * i]! += 1));
    }
  },
  "numbers, names, shapes and metadata are all held"() {
    const x = { shape: [2, 3], values: Float32Array.of(1, 2, 3, 4, 5, 6) };
    const file = serialize({ abc: x }, { note: "one" });
    const text = (from: string, to: string) => {
      const raw = Array.from(file, b => String.fromCharCode(b)).join("");
      assert.ok(raw.includes(from));
      return Uint8Array.from(raw.replace(from, to), c => c.charCodeAt(0));
    };
    for (const [from, to] of [
      ['"abc"', '"abd"'],
      ["[2,3]", "[3,2]"],
      ['"one"', '"two"'],
      ['"note"', '"nose"'],
      ['"F32"', '"I32"'],
    ] as const)
      assert.match(
        thrown(RangeError, () => parse(text(from, to))),
        /does not hold$/,
      );
  },
  "a header that was written anew holds, and files without a checksum are read as they are"() {
    const x = { shape: [2], values: Float32Array.of(1, 2) };
    const file = serialize({ a: x, b: { shape: [0], values: new Float32Array(0) } }, { b: "2", a: "1", "10": "ü" });
    const size = Number(new DataView(file.buffer).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + size))) as Record<string, object>;
    const { __metadata__: notes, ...entries } = header;
    const shuffled = Object.fromEntries(Object.entries(notes!).reverse());
    const anew = join(
      JSON.stringify({ ...entries, __metadata__: shuffled }, undefined, 1).replace("ü", "\\u00fc"),
      file.subarray(8 + size),
    );
    assert.equal(parse(anew).tensors, parse(file).tensors);
    anew[anew.length - 1]! ^= 1;
    thrown(RangeError, () => parse(anew));
    const bare = plain(parse(file).tensors, { a: "1" });
    bare[bare.length - 1]! ^= 1;
    assert.equal([...parse(bare).tensors.get("a")!.values], [1, 8]);
  },
});

const sizes = { vocab: 4, d: 8, layers: 1, heads: 1, context: 4 } as const;
/** A model's parameters on a tape of their own, and a file's tensors of others. */
function model(options: object = {}) {
  const { params: fresh } = transformer({ ...sizes, ...options });
  const params = fresh(new Tape("f32"));
  const { tensors } = parse(save({ params: fresh(new Tape("f32"), { seed: 9 }) }));
  const holds = (): boolean =>
    leaves(params).every(([path, p]) => {
      const { values } = tensors.get(path) ?? tensors.get("wte.weight")!;
      return p.values().every((x, i) => x === values[i]);
    });
  return { params, tensors, holds };
}
const renamed = (tensors: ReadonlyMap<string, Storable>, name: (path: string) => string) =>
  new Map([...tensors].map(([path, x]) => [name(path), x]));

suite("names PyTorch gives", {
  "prefixes of wrappers are read: nanoGPT, compiled, in parallel, BERT's"() {
    const head = (path: string) => path.startsWith("lm_head");
    for (const name of [
      (path: string) => (head(path) ? path : `transformer.${path}`),
      (path: string) => `_orig_mod.${head(path) ? "" : "transformer."}${path}`,
      (path: string) => `module._orig_mod.transformer.${path}`,
      (path: string) => `module.${path}`,
      (path: string) => `model.${path}`,
      (path: string) => `bert.${path}`,
    ]) {
      const { params, tensors, holds } = model();
      loadParams(params, serialize(renamed(tensors, name)));
      assert.ok(holds(), name("wte.weight"));
    }
  },
  "a tree that has a prefix itself is read with it, and without what stands before it"() {
    const { params, tensors, holds } = model();
    loadParams({ transformer: params }, serialize(renamed(tensors, path => `module.transformer.${path}`)));
    assert.ok(holds());
  },
  "another prefix is named, and nothing is changed"() {
    for (const prefix of ["gpt.", "net.0.", "module.encoder."]) {
      const { params, tensors } = model();
      const before = leaves(params).map(([, p]) => [...p.values()]);
      const file = serialize(renamed(tensors, path => prefix + path));
      assert.match(
        thrown(RangeError, () => loadParams(params, file)),
        new RegExp(`unexpected: ${prefix}\\S+ \\(has a prefix\\), `),
      );
      assert.equal(
        leaves(params).map(([, p]) => [...p.values()]),
        before,
      );
    }
  },
  "two names for one parameter are read where they hold the same, and refused where they differ"() {
    const tape = new Tape("f32");
    const w = tape.param([2], [1, NaN]);
    const one = (...xs: number[]) => ({ shape: [xs.length], values: Float32Array.from(xs) });
    for (const [x, y] of [
      [one(2, 3), one(2, 4)],
      [one(2, NaN), one(2, 3)],
      [one(2, 3), one(2)],
      [one(2), one(2, 3)],
      [one(2, 0), one(2, -0)],
    ] as const)
      for (const name of ["w", "model.w"])
        assert.match(
          thrown(RangeError, () => loadParams({ w }, serialize({ [name]: x, "module.w": y }))),
          /^loadParams: two tensors of the file are tied to w and differ$|mismatched: w is \[1\], wants \[2\]$/,
        );
    assert.equal([...w.values()], [1, NaN]);
    loadParams({ w }, serialize({ "module.w": one(2, NaN), "model.w": one(2, NaN) }));
    assert.equal([...w.values()], [2, NaN]);
  },
  "a tied weight is read under either name, and under both where they are equal"() {
    for (const change of [
      (t: Map<string, Storable>) => t,
      (t: Map<string, Storable>) => renamed(t, path => (path === "wte.weight" ? "lm_head.weight" : path)),
      (t: Map<string, Storable>) => new Map([...t, ["lm_head.weight", t.get("wte.weight")!]]),
      (t: Map<string, Storable>) => new Map([...t, ["_orig_mod.lm_head.weight", t.get("wte.weight")!]]),
    ])
      for (const metadata of [undefined, { "wte.weight": "lm_head.weight" }, { "lm_head.weight": "wte.weight" }] as (
        Record<string, string> | undefined
      )[]) {
        const { params, tensors, holds } = model({ tied: true });
        loadParams(params, serialize(change(tensors), metadata));
        assert.ok(holds());
      }
  },
  "tied weights that differ are refused by their names"() {
    const { params, tensors } = model({ tied: true });
    for (const off of [1, NaN]) {
      const { shape, values } = tensors.get("wte.weight")!;
      const other = Float32Array.from(values as Float32Array);
      other[31] = off;
      const file = serialize([...tensors, ["lm_head.weight", { shape, values: other }]]);
      assert.is(
        thrown(RangeError, () => loadParams(params, file)),
        "loadParams: two tensors of the file are tied to wte.weight and differ",
      );
    }
  },
  "a weight that is stored once is read for both where the metadata says so, and is missing where not"() {
    for (const [kept, gone] of [
      ["wte.weight", "lm_head.weight"],
      ["lm_head.weight", "wte.weight"],
    ] as const) {
      const { params, tensors } = model();
      const once = new Map(tensors);
      once.delete(gone);
      assert.match(
        thrown(RangeError, () => loadParams(params, serialize(once))),
        new RegExp(`\\n {2}missing: ${gone}$`),
      );
      loadParams(
        params,
        serialize(
          renamed(once, path => `module.${path}`),
          { [`module.${gone}`]: `module.${kept}` },
        ),
      );
      for (const p of [params.wte.weight, params.lm_head!.weight!])
        assert.equal([...p.values()], [...tensors.get(kept)!.values]);
    }
  },
});
