// Published weights: files that Hugging Face's library and nanoGPT wrote, and what those compute from them.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  Tape,
  bert,
  crossEntropy,
  generate,
  gpt2,
  leaves,
  loadBert,
  loadGpt2,
  loadParams,
  nanoGpt,
  parse,
  rmt,
  rmtEncoder,
  saveNanoGpt,
  serialize,
  transformer,
  type Dtype,
  type Rmt,
  type Storable,
  type Stored,
  type Tensor,
  type Transformer,
  type TransformerWeights,
  type Tree,
} from "farsight";
import * as assert from "uvu/assert";
import { close, suite, thrown } from "./check.ts";

const folder = join(process.cwd(), "test/golden/hf");
const bytes = (name: string): Uint8Array => readFileSync(join(folder, `${name}.safetensors`));
const index = JSON.parse(readFileSync(join(folder, "index.json"), "utf8")) as Record<string, { config: object }>;
const config = (name: string, more: object = {}): object => ({ ...index[name]!.config, ...more });
const classifier = { architectures: ["BertForSequenceClassification"], num_labels: 6 };

/** Tensors of a golden file. */
function golden(name: string) {
  const { tensors } = parse(bytes(`${name}.golden`));
  const get = (tensor: string): Stored => {
    const x = tensors.get(tensor);
    if (!x) throw new Error(`${name} has no ${tensor}`);
    return x;
  };
  return {
    names: (start: string) => [...tensors.keys()].filter(n => n.startsWith(start)).map(n => n.slice(start.length)),
    shape: (tensor: string) => get(tensor).shape,
    values: (tensor: string) => get(tensor).values as Float64Array,
    /** Integers, which are I64 here. */
    ids: (tensor: string) => Array.from(get(tensor).values as BigInt64Array, Number),
    rows(tensor: string): number[][] {
      const [b, t] = get(tensor).shape as [number, number];
      return Array.from({ length: b }, (_, i) => this.ids(tensor).slice(i * t, i * t + t));
    },
    integers(tape: Tape, tensor: string): Tensor {
      return tape.integers(get(tensor).shape, this.ids(tensor));
    },
  };
}
type Golden = ReturnType<typeof golden>;
const tolerance: Record<Dtype, number> = { f64: 1e-10, f32: 1e-4 };

/** A [rows, columns] matrix the other way round. */
function turned(x: ArrayLike<number>, [rows, columns]: readonly number[]): Float64Array {
  return Float64Array.from(x, (_, n) => x[(n % rows!) * columns! + Math.floor(n / rows!)]!);
}

/** Compares the gradients of a golden file with those of parameters: `of` finds ours, and where in it theirs begin. */
function gradients(g: Golden, by: number, of: (name: string) => [Tensor, number?] | undefined, isTurned = false) {
  const names = g.names("grad.");
  assert.ok(names.length > 10);
  for (const name of names) {
    const [t, at = 0] = of(name) ?? [];
    assert.ok(t, `no parameter for ${name}`);
    const shape = g.shape(`grad.${name}`);
    const want = g.values(`grad.${name}`);
    const isMatrix = isTurned && /attn|mlp/.test(name) && shape.length === 2;
    const got = t!.gradient().subarray(at, at + want.length);
    close(isMatrix ? turned(got, [...shape].reverse()) : got, want, by, `grad ${name}`);
  }
}
const at = (params: Tree, path: string): Tensor | undefined => new Map(leaves(params)).get(path);

/** Ours for a name of BERT's. */
function ofBert(params: Tree, name: string): [Tensor, number?] | undefined {
  const tables: Record<string, string> = {
    word_embeddings: "wte",
    position_embeddings: "wpe",
    token_type_embeddings: "wtt",
    LayerNorm: "ln_emb",
  };
  const inside: Record<string, string> = {
    "attention.output.dense": "attn.c_proj",
    "attention.output.LayerNorm": "ln_1",
    "intermediate.dense": "mlp.c_fc",
    "output.dense": "mlp.c_proj",
    "output.LayerNorm": "ln_2",
  };
  const [, module, end] = /^(?:bert\.)?(.*?)\.?(weight|bias)$/.exec(name)!;
  const find = (path: string, start = 0): [Tensor, number] | undefined => {
    const t = at(params, `${path}.${end}`);
    return t && [t, start];
  };
  const [, table] = /^embeddings\.(\w+)$/.exec(module!) ?? [];
  if (table) return find(tables[table]!);
  const [, layer, rest] = /^encoder\.layer\.(\d+)\.(.*)$/.exec(module!) ?? [];
  const [, part] = /^attention\.self\.(\w+)$/.exec(rest ?? "") ?? [];
  if (part) {
    const [t] = find(`h.${layer}.attn.c_attn`) ?? [];
    return t && [t, (["query", "key", "value"].indexOf(part) * t.size) / 3];
  }
  if (layer) return find(`h.${layer}.${inside[rest!]!}`);
  if (module === "pooler.dense") return find("lm_head.pooler") ?? find("pooler");
  if (module === "classifier") return find("lm_head") ?? find("classifier");
  return find(
    module!.replace("cls.predictions", "lm_head").replace("transform.LayerNorm", "ln").replace("transform.", ""),
  );
}

/** GPT-2 of a golden file, its parameters and a tape. */
function small(dtype: Dtype, file = "gpt2.weights") {
  const tape = new Tape(dtype);
  const model = gpt2(config("gpt2"));
  const params = model.params(tape, { drawn: false });
  const read = loadGpt2(params, bytes(file));
  return { tape, model, params, read };
}

for (const dtype of ["f64", "f32"] as const) {
  const match = (got: ArrayLike<number>, want: ArrayLike<number>, what: string): void =>
    close(got, want, tolerance[dtype], `${dtype} ${what}`);
  suite(`GPT-2 as Hugging Face's, ${dtype}`, {
    "logits, states after each layer, loss and gradients"() {
      for (const file of ["gpt2.weights", "gpt2.old-names.weights"]) {
        const { tape, model, params, read } = small(dtype, file);
        assert.equal([read.fresh, read.unused], [[], []]);
        const g = golden("gpt2");
        const ids = g.integers(tape, "ids");
        const states: number[][] = [];
        const watch = (layer: number, seen: { states: Tensor }) => (states[layer] = [...seen.states.values()]);
        tape.scope(() => {
          const last = model.states(params, model.embed(params, ids), { watch });
          states[3] = [...last.values()]; // theirs is behind the last norm
          match(model.head(params, last).values(), g.values("logits"), "logits");
        });
        states.forEach((x, i) => match(x, g.values(`states.${i}`), `states ${i}`));
        const targets = g.rows("ids").flatMap(row => [...row.slice(1), -100]);
        const loss = tape.step(() => model.loss(params, ids, tape.integers(ids.shape, targets)));
        const own = (name: string): [Tensor] => [at(params, name.replace("transformer.", ""))!];
        // Their own loss is computed in f32, whatever the model is, and rounds what it sends back.
        const rounded = Math.max(2e-7, tolerance[dtype]);
        close([loss], g.values("loss"), rounded, "loss");
        gradients(g, rounded, own, true);
        const exact = golden("gpt2.gradients");
        match([loss], exact.values("loss"), "loss");
        gradients(exact, tolerance[dtype], own, true);
      }
    },
    "greedy continuations, and logits by a cache"() {
      const { tape, model, params } = small(dtype);
      const g = golden("gpt2");
      const prompts = g.rows("greedy").map(row => row.slice(0, 5));
      const texts = generate(model, params, prompts, { steps: 20 });
      let end = texts.next();
      while (!end.done) end = texts.next();
      assert.equal(end.value, g.rows("greedy"));
      const rows = g.rows("ids");
      const want = g.values("cached_logits");
      let state = model.start(params, 3, { cache: 17 });
      for (let t = 0; t < 17; t++) {
        const made = tape.noGrad(() =>
          model.step(
            params,
            rows.map(row => [row[t]!]),
            state,
          ),
        );
        state = made.state;
        const got = tape.noGrad(() => model.head(params, made.states).values());
        const there = rows.flatMap((_, i) => [...want.subarray((i * 17 + t) * 61, (i * 17 + t + 1) * 61)]);
        match(got, there, `place ${t} by a cache`);
      }
    },
    "RMT around it: logits, memories, loss and gradients"() {
      const tape = new Tape(dtype);
      const model = rmt(gpt2(config("gpt2")), { segment: 8, memory: 3 });
      const params = model.params(tape, { drawn: false });
      const read = loadGpt2(params, bytes("gpt2.weights"));
      assert.equal([read.fresh, read.unused], [["memory"], []]);
      const g = golden("gpt2.rmt");
      params.memory.values().set(g.values("memory"));
      const ids = g.integers(tape, "ids");
      tape.scope(() => {
        const { logits, memories } = model.logits(params, ids);
        match(logits.values(), g.values("logits"), "logits");
        for (const i of [1, 2, 3]) match(memories[i]!.values(), g.values(`memory.${i}`), `memory ${i}`);
      });
      const targets = g.rows("ids").flatMap(row => [...row.slice(1), -100]);
      const loss = tape.step(() => model.loss(params, ids, tape.integers(ids.shape, targets)));
      match([loss], g.values("loss"), "loss");
      const own = (name: string): [Tensor] => [at(params, name.replace("transformer.", ""))!];
      match(params.memory.gradient(), g.values("grad.memory"), "grad memory");
      for (const name of g.names("grad.")) {
        const shape = g.shape(`grad.${name}`);
        const got = own(name)[0].gradient();
        const isMatrix = name.endsWith("c_attn.weight");
        match(isMatrix ? turned(got, [...shape].reverse()) : got, g.values(`grad.${name}`), `grad ${name}`);
      }
    },
  });
  suite(`BERT as Hugging Face's, ${dtype}`, {
    "logits of classes, states where there is no padding, loss and gradients, with token types and a mask"() {
      const tape = new Tape(dtype);
      const model = bert(config("bert", classifier));
      const params = model.params(tape, { drawn: false });
      const read = loadBert(params, bytes("bert.weights"));
      assert.equal([read.fresh, read.unused], [[], []]);
      const g = golden("bert");
      const [ids, types] = [g.integers(tape, "ids"), g.integers(tape, "types")];
      const keys = tape.tensor(ids.shape, g.ids("mask"));
      const isReal = g.ids("mask").flatMap(x => new Array<boolean>(24).fill(x === 1));
      const watch = (layer: number, { states }: { states: Tensor }) =>
        match(
          states.values().filter((_, i) => isReal[i]!),
          g.values(`states.${layer}`).filter((_, i) => isReal[i]!),
          `states ${layer}`,
        );
      tape.scope(() => {
        const logits = model.logits(params, ids, { keys, types, watch });
        assert.equal(logits.shape, [3, 6]);
        match(logits.values(), g.values("logits"), "logits");
      });
      const loss = tape.step(() => {
        const logits = model.logits(params, ids, { keys, types });
        return crossEntropy(logits, g.integers(tape, "labels"));
      });
      match([loss], g.values("loss"), "loss");
      gradients(g, tolerance[dtype], name => ofBert(params, name));
    },
    "masked words: logits, loss and gradients"() {
      const tape = new Tape(dtype);
      const model = bert(config("bert.masked"));
      const params = model.params(tape, { drawn: false });
      const read = loadBert(params, bytes("bert.masked.weights"));
      assert.equal([read.fresh, read.unused], [[], []]);
      const g = golden("bert.masked");
      const [ids, types] = [g.integers(tape, "ids"), g.integers(tape, "types")];
      const loss = tape.step(() => {
        const logits = model.logits(params, ids, { types });
        match(logits.values(), g.values("logits"), "logits");
        return crossEntropy(logits, g.integers(tape, "labels"));
      });
      match([loss], g.values("loss"), "loss");
      gradients(g, tolerance[dtype], name => ofBert(params, name));
    },
    "RMT around it by the layout of the paper: class logits, memories, loss and gradients"() {
      const g = golden("bert.rmt");
      for (const inner of [bert(config("bert")), bert(config("bert", classifier))]) {
        const tape = new Tape(dtype);
        const model = rmtEncoder(inner, { segment: 9, memory: 3, classes: 6, pooler: true, losses: "last" });
        const params = model.params(tape, { drawn: false });
        const read = loadBert(params, bytes("bert.weights"));
        assert.equal([read.fresh, read.unused], [["memory"], []]);
        params.memory.values().set(g.values("memory"));
        const sequences = [g.ids("ids.0"), g.ids("ids.1")];
        tape.scope(() => {
          const { logits, memories } = model.logits(params, sequences);
          assert.is(logits.length, 3);
          logits.forEach((x, i) => match(x.values(), g.values(`logits.${i}`), `logits ${i}`));
          for (const i of [1, 2, 3]) match(memories[i]!.values(), g.values(`memory.${i}`), `memory ${i}`);
        });
        const loss = tape.step(() => model.loss(params, sequences, g.integers(tape, "labels")));
        match([loss], g.values("loss"), "loss");
        gradients(g, tolerance[dtype], name => (name === "memory" ? [params.memory] : ofBert(params, name)));
      }
    },
  });
}

/** The tensors of a file, under other names where `name` gives some; none where it gives none. */
const renamed = (file: Uint8Array, name: (name: string) => string | undefined): Map<string, Storable> =>
  new Map([...parse(file).tensors].flatMap(([path, x]) => (name(path) === undefined ? [] : [[name(path)!, x]])));
/** A safetensors file of tensors of any kind, by their bytes. */
function written(list: readonly (readonly [string, string, readonly number[], Uint8Array])[], notes = {}): Uint8Array {
  let end = 0;
  const entries = list.map(([name, dtype, shape, data]) => {
    const from = end;
    end += data.length;
    return [name, { dtype, shape, data_offsets: [from, end] }] as const;
  });
  const head = new TextEncoder().encode(JSON.stringify({ __metadata__: notes, ...Object.fromEntries(entries) }));
  const file = new Uint8Array(8 + head.length + end);
  new DataView(file.buffer).setBigUint64(0, BigInt(head.length), true);
  file.set(head, 8);
  list.forEach(([, , , data], i) => file.set(data, 8 + head.length + entries[i]![1].data_offsets[0]!));
  return file;
}
/** A file with its numbers in another type: halves are cut, which is all that reading them must undo. */
function as(dtype: "F16" | "BF16" | "F64", file: Uint8Array): { file: Uint8Array; numbers: Map<string, number[]> } {
  const numbers = new Map<string, number[]>();
  const list = [...parse(file).tensors].map(([name, { shape, values }]) => {
    const bits = new Uint32Array(Float32Array.from(values as Float32Array).buffer);
    const halves = Uint16Array.from(bits, x => {
      const exponent = ((x >> 23) & 255) - 112;
      if (dtype === "BF16") return x >>> 16;
      return exponent > 0 ? ((x >> 16) & 0x8000) | (exponent << 10) | ((x >> 13) & 1023) : 0;
    });
    const cut = Uint32Array.from(bits, (x, i) => {
      if (dtype === "BF16") return x & 0xffff0000;
      return halves[i] ? x & 0xffffe000 : 0;
    });
    numbers.set(name, Array.from(dtype === "F64" ? (values as Float32Array) : new Float32Array(cut.buffer)));
    const data = dtype === "F64" ? Float64Array.from(values as Float32Array) : halves;
    return [name, dtype, shape, new Uint8Array(data.buffer)] as const;
  });
  return { file: written(list), numbers };
}
const numbersOf = (params: Tree): Map<string, number[]> =>
  new Map(leaves(params).map(([path, t]) => [path, [...t.values()]]));
/** A GPT-2 with two numbers for every other, so that what was not read is seen. */
function other(more: object = {}) {
  const tape = new Tape("f32");
  const model = gpt2(config("gpt2", more));
  const params = model.params(tape, { seed: 3, frozen: true });
  return { tape, model, params, numbers: () => numbersOf(params) };
}
const right = numbersOf(small("f32").params);

suite("files of published weights", {
  "every prefix is read, and prefixes within each other"() {
    for (const prefix of ["", "transformer.", "model.", "module._orig_mod.transformer."]) {
      const { params, numbers } = other();
      loadGpt2(params, serialize(renamed(bytes("gpt2.old-names.weights"), name => prefix + name)));
      assert.equal(numbers(), right, prefix);
    }
    for (const [before, after] of [
      ["bert.", ""],
      ["bert.", "model.bert."],
      ["", "module."],
    ] as const) {
      const params = bert(config("bert", classifier)).params(new Tape("f32"), { drawn: false });
      const wanted = bert(config("bert", classifier)).params(new Tape("f32"), { drawn: false });
      loadBert(wanted, bytes("bert.weights"));
      loadBert(params, serialize(renamed(bytes("bert.weights"), name => name.replace(before, after))));
      assert.equal(numbersOf(params), numbersOf(wanted), after);
    }
  },
  "F16, BF16 and F64 are read as the numbers they are, on either tape"() {
    for (const kind of ["F16", "BF16", "F64"] as const)
      for (const dtype of ["f32", "f64"] as const) {
        const { file, numbers } = as(kind, bytes("gpt2.weights"));
        const params = gpt2(config("gpt2")).params(new Tape(dtype), { drawn: false });
        loadGpt2(params, file);
        for (const path of ["wte.weight", "h.1.ln_2.bias", "h.2.mlp.c_proj.weight"]) {
          const want = numbers.get(`transformer.${path}`)!;
          const got = at(params, path)!.values();
          const isMatrix = path.includes("mlp");
          assert.equal(Array.from(isMatrix ? turned(got, [24, 96]) : got), want, `${kind} ${dtype} ${path}`);
        }
      }
  },
  "masks of BOOL, U8 and F32 are passed over, and no others"() {
    const plain = [...parse(bytes("gpt2.weights")).tensors].map(
      ([name, { shape, values }]) =>
        [name, "F32", shape, new Uint8Array(Float32Array.from(values as Float32Array).buffer)] as const,
    );
    for (const [dtype, width] of [
      ["BOOL", 1],
      ["U8", 1],
      ["F32", 4],
    ] as const) {
      const mask = (name: string, ...shape: number[]) =>
        [name, dtype, shape, new Uint8Array(width * shape.reduce((n, m) => n * m, 1))] as const;
      const { params, numbers } = other();
      const masks = [mask("transformer.h.0.attn.bias", 1, 1, 32, 32), mask("transformer.h.0.attn.masked_bias")];
      assert.equal(loadGpt2(params, written([...plain, ...masks])).unused, []);
      assert.equal(numbers(), right, dtype);
      assert.match(
        thrown(RangeError, () => loadGpt2(params, written([...plain, mask("transformer.h.0.attn.bias", 24)]))),
        /\n {2}unexpected: transformer\.h\.0\.attn\.bias$/,
      );
    }
  },
  "a tied head is read stored once, twice, and under the other's name, and refused where the two differ"() {
    const { tensors } = parse(bytes("gpt2.weights"));
    const table = tensors.get("transformer.wte.weight")!;
    const head = { shape: table.shape, values: Float32Array.from(table.values as Float32Array, x => x + 1) };
    const moved = renamed(bytes("gpt2.weights"), n => (n === "transformer.wte.weight" ? "lm_head.weight" : n));
    for (const [list, notes] of [
      [[...tensors], {}],
      [[...tensors, ["lm_head.weight", table]], {}],
      [[...moved], {}],
      [[...moved], { "transformer.wte.weight": "lm_head.weight" }],
    ] as [[string, Storable][], Record<string, string>][]) {
      const { params, numbers } = other();
      loadGpt2(params, serialize(list, notes));
      assert.equal(numbers(), right);
    }
    const { params, numbers } = other();
    const before = numbers();
    const [v, d] = table.shape as [number, number];
    const longer = {
      shape: [v + 1, d],
      values: Float32Array.of(...(table.values as Float32Array), ...Array(d).fill(0)),
    };
    for (const differing of [head, longer])
      assert.is(
        thrown(RangeError, () => loadGpt2(params, serialize([...tensors, ["lm_head.weight", differing]]))),
        "loadGpt2: two tensors of the file are tied to wte.weight and differ",
      );
    assert.equal(numbers(), before);
    const untied = other({ tie_word_embeddings: false });
    loadGpt2(untied.params, serialize([...tensors, ["lm_head.weight", head]]));
    assert.equal(untied.numbers().get("lm_head.weight"), [...head.values]);
    loadGpt2(untied.params, serialize([...tensors], { "lm_head.weight": "transformer.wte.weight" }));
    assert.equal(untied.numbers().get("lm_head.weight"), [...table.values]);
    assert.match(
      thrown(RangeError, () => loadGpt2(untied.params, serialize([...tensors]))),
      /\n {2}missing: lm_head\.weight$/,
    );
  },
  "several files are read by their index, and what lacks is said"() {
    const list = [...parse(bytes("gpt2.weights")).tensors];
    const names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] as const;
    const files = { [names[0]]: serialize(list.slice(0, 9)), [names[1]]: serialize(list.slice(9)) };
    const weight_map = Object.fromEntries(list.map(([name], i) => [name, names[i < 9 ? 0 : 1]]));
    const index = { metadata: { total_size: 1 }, weight_map };
    const { params, numbers } = other();
    loadGpt2(params, { index, files });
    assert.equal(numbers(), right);
    const again = other();
    loadParams({ wte: again.params.wte }, { index: { weight_map: { "transformer.wte.weight": names[1] } }, files });
    assert.equal(again.numbers().get("wte.weight"), right.get("wte.weight"));
    const says = (given: unknown) => thrown(RangeError, () => loadGpt2(params, given as never));
    assert.is(
      says({ index, files: { [names[0]]: files[names[0]] } }),
      `loadGpt2: the index names files that are not given\n  missing: ${names[1]}`,
    );
    const astray = { weight_map: { ...weight_map, [list[0]![0]]: names[1] } };
    assert.is(
      says({ index: astray, files }),
      `loadGpt2: the index says that ${list[0]![0]} lies in ${names[1]}: it does not`,
    );
    for (const wrong of [{ files }, { index: {}, files }, { index, files: 3 }, { index }, 3, { index: null, files }])
      assert.match(
        thrown(TypeError, () => loadGpt2(params, wrong as never)),
        /^(loadGpt2: (index.weight_map is|files are)|safetensors: a file is a Uint8Array)/,
      );
    assert.equal(numbers(), right);
  },
  "what does not fit is listed by the file's names with what was wanted, and changes nothing"() {
    const list = renamed(bytes("bert.weights"), name =>
      name.includes("layer.1.output.dense.bias") ? undefined : name,
    );
    list.set("bert.encoder.layer.0.attention.self.key.weight", { shape: [24, 2], values: new Float32Array(48) });
    list.set("bert.encoder.layer.2.attention.self.value.bias", { shape: [24], values: new Int32Array(24) });
    list.set("bert.encoder.layer.3.output.dense.bias", { shape: [24], values: new Float32Array(24) });
    const params = bert(config("bert")).params(new Tape("f32"), { seed: 4 });
    const before = numbersOf(params);
    assert.is(
      thrown(RangeError, () => loadBert(params, serialize(list))),
      "loadBert: the file does not fit; nothing was changed\n" +
        "  missing: encoder.layer.1.output.dense.bias\n" +
        "  unexpected: bert.encoder.layer.3.output.dense.bias\n" +
        "  mismatched: encoder.layer.0.attention.self.key.weight is [24 2], wants [24 24], " +
        "encoder.layer.2.attention.self.value.bias is I32, wants floats",
    );
    assert.equal(numbersOf(params), before);
    const { params: ours } = other();
    assert.match(
      thrown(RangeError, () => loadGpt2(ours, bytes("bert.weights"))),
      /^loadGpt2: the file does not fit; nothing was changed\n {2}missing: wte\.weight, wpe\.weight, .* and \d+ more$/,
    );
    // nanoGPT's linear weights are [out, in], and its square ones would fit either way
    const file = serialize(renamed(saveNanoGpt(ours), name => name));
    assert.match(
      thrown(RangeError, () => loadGpt2(ours, file)),
      /mismatched: h\.0\.attn\.c_attn\.weight is \[72 24\], wants \[24 72\]/,
    );
  },
  "heads that one of the two lacks are named, and norms of gamma and beta are read"() {
    const old = (name: string) =>
      name.replace(/(LayerNorm)\.weight/, "$1.gamma").replace(/(LayerNorm)\.bias/, "$1.beta");
    const wanted = bert(config("bert", classifier)).params(new Tape("f32"), { drawn: false });
    loadBert(wanted, bytes("bert.weights"));
    const masked = bert(config("bert")).params(new Tape("f32"));
    const { fresh, unused } = loadBert(masked, serialize(renamed(bytes("bert.weights"), old)));
    assert.equal(masked.h[2]!.ln_1.bias!.values(), wanted.h[2]!.ln_1.bias!.values());
    assert.equal([...fresh].sort(), [
      "lm_head.bias",
      "lm_head.dense.bias",
      "lm_head.dense.weight",
      "lm_head.ln.bias",
      "lm_head.ln.weight",
    ]);
    assert.equal([...unused].sort(), [
      "bert.pooler.dense.bias",
      "bert.pooler.dense.weight",
      "classifier.bias",
      "classifier.weight",
    ]);
    const sorts = bert({ ...config("bert.masked"), ...classifier }).params(new Tape("f32"));
    const both = loadBert(sorts, bytes("bert.masked.weights"));
    assert.equal([both.fresh.length, both.unused.length], [4, 5]);
    assert.ok(both.unused.every(name => name.startsWith("cls.predictions.")));
  },
  "BERT's head for masked words is its table, stored twice, and is no one's where the model has another head"() {
    const { tensors } = parse(bytes("bert.masked.weights"));
    const table = tensors.get("bert.embeddings.word_embeddings.weight")!;
    const twice = (x: Storable) =>
      serialize([
        ...tensors,
        ["cls.predictions.decoder.weight", x],
        ["cls.predictions.decoder.bias", tensors.get("cls.predictions.bias")!],
        ["cls.seq_relationship.bias", { shape: [2], values: new Float32Array(2) }],
      ]);
    const other = { shape: table.shape, values: Float32Array.from(table.values as Float32Array, x => x + 1) };
    const masked = (more = {}) => bert({ ...config("bert.masked"), ...more }).params(new Tape("f32"));
    const params = masked();
    const read = loadBert(params, twice(table));
    assert.equal([read.fresh, read.unused], [[], ["cls.seq_relationship.bias"]]);
    assert.equal(params.wte.weight.values(), table.values);
    assert.is(
      thrown(RangeError, () => loadBert(params, twice(other))),
      "loadBert: two tensors of the file are tied to wte.weight and differ",
    );
    const untied = masked({ tie_word_embeddings: false });
    assert.equal(loadBert(untied, twice(other)).fresh, []);
    assert.equal([untied.wte.weight.values(), untied.lm_head!.weight!.values()], [table.values, other.values]);
    const sorts = masked(classifier);
    assert.ok(loadBert(sorts, twice(other)).unused.includes("cls.predictions.decoder.weight"));
    assert.equal(sorts.wte.weight.values(), table.values);
  },
  "a file that is no safetensors file is called what it is"() {
    const text = (s: string) => new TextEncoder().encode(s);
    for (const [file, what] of [
      [
        text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 548105171\n"),
        "a Git LFS pointer to a file",
      ],
      [text("<!DOCTYPE html><html><body>404</body></html>"), "a web page"],
      [text("\n\n<html>not found</html>"), "a web page"],
      [Uint8Array.of(0x50, 0x4b, 3, 4, 0, 0, 8, 8, 0, 0, 0, 0), "a zip, as torch.save writes"],
      [Uint8Array.of(0x50, 0x4b, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0), "a zip, as torch.save writes"],
      [Uint8Array.of(0x80, 2, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20), "a pickle, as Python writes"],
      [text('{"weight_map": {"wte.weight": "model-00001"}}'), "JSON"],
    ] as const)
      for (const call of [
        () => loadGpt2(other().params, file),
        () => loadBert(other().params, file),
        () => loadParams(other().params, file),
        () => parse(file),
      ]) {
        const said = thrown(RangeError, call);
        assert.ok(said.startsWith(`safetensors: the file is ${what}`), said);
        assert.ok(said.endsWith("\n  wants a safetensors file"), said);
      }
  },
  "reading copies no file: numbers go from it to the tape"() {
    // A file of which every reading of numbers into memory of their own would show.
    const n = 1 << 20;
    const w = new Tape("f32").tensor([n]);
    const file = serialize({ w: { shape: [n], values: new Float32Array(n).fill(7) } });
    const before = process.memoryUsage().arrayBuffers;
    let most = 0;
    const { set } = Float32Array.prototype;
    Float32Array.prototype.set = function (...from) {
      most = Math.max(most, process.memoryUsage().arrayBuffers - before);
      set.apply(this, from);
    };
    try {
      loadParams({ w }, file);
    } finally {
      Float32Array.prototype.set = set;
    }
    assert.ok(w.values().every(x => x === 7));
    assert.ok(most > -n && most < n, `${most} bytes of a file of ${file.length}`);
  },
});

suite("nanoGPT", {
  ...Object.fromEntries(
    ["nanogpt", "nanogpt.no-bias"].flatMap(name =>
      (["f64", "f32"] as const).map(dtype => [
        `${name}: logits, loss and gradients are PyTorch's, ${dtype}`,
        () => {
          const tape = new Tape(dtype);
          const model = nanoGpt(config(name));
          const params = model.params(tape, { drawn: false });
          loadParams(params, bytes(`${name}.weights`));
          const g = golden(name);
          const loss = tape.step(() => {
            const ids = g.integers(tape, "ids");
            close(model.logits(params, ids).values(), g.values("logits"), tolerance[dtype], "logits");
            return model.loss(params, ids, g.integers(tape, "targets"));
          });
          close([loss], g.values("loss"), tolerance[dtype], "loss");
          assert.is(g.names("grad.").length, leaves(params).length);
          gradients(g, tolerance[dtype], path => [at(params, path.replace("transformer.", ""))!]);
        },
      ]),
    ),
  ),
  "what is saved for it has the names, shapes and numbers of the checkpoint that was read, less its masks"() {
    for (const name of ["nanogpt", "nanogpt.no-bias"]) {
      const params = nanoGpt(config(name)).params(new Tape("f32"), { drawn: false });
      loadParams(params, bytes(`${name}.weights`));
      const { tensors, metadata } = parse(saveNanoGpt(params, { model_args: "{}" }));
      assert.equal([metadata.format, metadata.model_args], ["pt", "{}"]);
      const theirs = renamed(bytes(`${name}.weights`), path =>
        path.endsWith(".attn.bias") ? undefined : path.replace("_orig_mod.", ""),
      );
      assert.equal([...tensors.keys()].sort(), [...theirs.keys()].sort());
      for (const [path, { shape, values }] of theirs)
        assert.equal([tensors.get(path)!.shape, tensors.get(path)!.values], [shape, values], path);
    }
  },
  "what its models do not have is not saved for it"() {
    const tape = new Tape("f32");
    const sizes = { vocab: 5, d: 4, layers: 1, heads: 2, context: 8 };
    const weights = (model: Pick<Transformer, "params"> | Rmt) => model.params(tape) as TransformerWeights;
    const plain = transformer({ ...sizes, position: "absolute" });
    assert.ok(saveNanoGpt(weights(plain)).length);
    for (const [model, name] of [
      [rmt(plain, { memory: 2, segment: 4 }), "memory"],
      [transformer({ ...sizes, position: "absolute", headBias: true }), "lm_head.bias"],
      [transformer({ ...sizes, position: "absolute", types: 2 }), "wtt.weight"],
    ] as const)
      assert.is(
        thrown(RangeError, () => saveNanoGpt(weights(model))),
        `saveNanoGpt: nanoGPT has no ${name}`,
      );
    const rope = weights(transformer({ ...sizes, position: "rope" }));
    assert.match(
      thrown(TypeError, () => saveNanoGpt(rope)),
      /^saveNanoGpt: wpe\.weight is undefined/,
    );
  },
});

suite("configurations", {
  "one that says nothing is that of the model as it was published"() {
    const { vocab, context, d, layers, heads, inner, eps, tied, activation } = gpt2({}).config;
    assert.equal([vocab, context, d, layers, heads, inner, eps], [50257, 1024, 768, 12, 12, 3072, 1e-5]);
    assert.equal([tied, activation], [true, "gelu"]);
    const c = bert({ vocab_size: 28996 }).config;
    assert.equal([c.vocab, c.context, c.d, c.layers, c.heads, c.inner, c.eps], [28996, 512, 768, 12, 12, 3072, 1e-12]);
    assert.equal([c.types, c.norm, c.embeddingNorm, c.causal, c.activation], [2, "post", true, false, "geluErf"]);
    assert.equal([c.tied, c.headLayer, c.headBias, c.pooler, c.outputs], [true, true, true, false, 28996]);
    assert.equal(nanoGpt({ bias: false }).config.vocab, 50304);
  },
  "classes are those of id2label, or of num_labels, or two"() {
    const of = (more: object) => bert({ architectures: ["BertForSequenceClassification"], ...more }).config.outputs;
    assert.equal(
      [of({}), of({ id2label: { 0: "a", 1: "b", 2: "c" } }), of({ num_labels: 9, id2label: {} })],
      [2, 3, 9],
    );
  },
  "null counts as left out, dropout is the config's, and keys of no consequence are passed over"() {
    const c = gpt2({ n_inner: null, resid_pdrop: 0.1, attn_pdrop: 0.1, task_specific_params: {}, model_type: "gpt2" });
    assert.equal([c.config.inner, c.config.dropout], [3072, 0.1]);
    assert.is(bert({ hidden_dropout_prob: 0.2, num_labels: null }).config.dropout, 0.2);
  },
  "what a config asks for and no transformer here has is refused by its name"() {
    const bad: [make: () => unknown, says: RegExp][] = [
      [() => gpt2({ scale_attn_weights: false }), /^gpt2: scale_attn_weights is false\n {2}wants true, or none$/],
      [() => gpt2({ scale_attn_by_inverse_layer_idx: true }), /^gpt2: scale_attn_by_inverse_layer_idx is true/],
      [() => gpt2({ activation_function: "silu" }), /^gpt2: activation_function is silu\n {2}wants gelu, gelu_new, /],
      [() => gpt2({ model_type: "bert" }), /^gpt2: model_type is "bert"\n {2}wants "gpt2", or none$/],
      [() => gpt2({ n_embd: 0 }), /^gpt2: n_embd is 0/],
      [() => gpt2({ n_embd: 10, n_head: 3 }), /heads do not divide d/],
      [() => bert({ position_embedding_type: "relative_key" }), /^bert: position_embedding_type is "relative_key"/],
      [() => bert({ is_decoder: true }), /^bert: is_decoder is true/],
      [() => bert({ model_type: "gpt2" }), /^bert: model_type is "gpt2"/],
    ];
    for (const [make, says] of bad) assert.match(thrown(RangeError, make), says);
    for (const config of ["{}", null, undefined, [], 3, () => {}])
      for (const [name, make] of Object.entries({ gpt2, bert, nanoGpt }))
        assert.match(
          thrown(TypeError, () => make(config as object)),
          new RegExp(`^${name}: the config is `),
        );
    for (const [make, says] of [
      [() => gpt2({ n_layer: "12" }), /^gpt2: n_layer is "12"/],
      [() => bert({ id2label: "abc" }), /^bert: id2label is "abc"/],
      [() => bert({ architectures: "BertModel" }), /^bert: architectures are "BertModel"/],
      [() => nanoGpt({ bias: 1 }), /^nanoGpt: bias is 1/],
    ] as const)
      assert.match(thrown(TypeError, make), says);
  },
});

suite("options that BERT needs", {
  "types are of the model, of the input's shape and of the table"() {
    const tape = new Tape("f32");
    const model = bert(config("bert.masked"));
    const params = model.params(tape);
    const ids = tape.integers([1, 3], [4, 5, 6]);
    const zeros = tape.integers([1, 3], [0, 0, 0]);
    assert.equal(model.logits(params, ids).values(), model.logits(params, ids, { types: zeros }).values());
    const wrong = (types: Tensor) => thrown(RangeError, () => model.logits(params, ids, { types }));
    assert.match(
      wrong(tape.integers([3], [0, 0, 0])),
      /^transformer: types are \[3\]\n {2}wants integers \[1 3\] below 2$/,
    );
    assert.match(wrong(tape.tensor([1, 3])), /^transformer: types are \[1 3\]/);
    assert.match(wrong(tape.integers([1, 3], [0, 2, 0])), /2/);
    const plain = other();
    const types = plain.tape.integers([1, 3], [0, 0, 0]);
    assert.match(
      thrown(RangeError, () => plain.model.logits(plain.params, plain.tape.integers([1, 3], [1, 2, 3]), { types })),
      /^transformer: types, of a model without them/,
    );
  },
  "a pooler gives a row a sequence, in loss and stream too, and is refused where it could see nothing"() {
    const tape = new Tape("f32");
    const model = bert(config("bert", classifier));
    const params = model.params(tape);
    const rows = [
      [1, 5, 7],
      [1, 8, 2],
    ];
    const logits = model.logits(params, tape.integers([2, 3], rows.flat()));
    assert.equal(logits.shape, [2, 6]);
    const [{ shape, values }] = [...model.stream(params, [rows])] as [{ shape: number[]; values: Float32Array }];
    assert.equal([shape, [...values]], [[2, 6], [...logits.values()]]);
    const [loss] = [...model.stream(params, [{ input: rows, targets: [3, 0] as never }], { ask: "loss" })];
    const own = tape.noGrad(() => model.loss(params, tape.integers([2, 3], rows.flat()), tape.integers([2], [3, 0])));
    assert.equal([...loss!.values], [...own.values()]);
    assert.match(
      thrown(RangeError, () => transformer({ vocab: 5, pooler: true })),
      /^transformer: a pooler in a causal model/,
    );
    for (const more of [{ pooler: true, causal: false }, { activation: "swiglu" as const }])
      assert.match(
        thrown(RangeError, () => transformer({ vocab: 5, headLayer: true, ...more })),
        /^transformer: headLayer with/,
      );
  },
  "parameters that are not drawn are zeros and ones, and a memory around them is drawn all the same"() {
    const { params } = other();
    const model = gpt2(config("gpt2"));
    const blank = model.params(new Tape("f32"), { drawn: false, frozen: true });
    for (const [path, t] of leaves(blank)) {
      const want = /ln_\w+\.weight$/.test(path) ? 1 : 0;
      assert.ok(t.values().every(x => x === want) && !t.wants, path);
    }
    assert.equal(
      leaves(blank).map(([path]) => path),
      leaves(params).map(([path]) => path),
    );
    const around = rmt(model, { segment: 8, memory: 3 });
    const memories = [true, false].map(drawn => [...around.params(new Tape("f32"), { drawn }).memory.values()]);
    assert.equal(memories[0], memories[1]);
    assert.ok(memories[0]!.every(x => x !== 0));
  },
});
