// Objects and functions of a caller's: trees that change, shapes and lists that are written to, functions that give
// what they should not, generators that outlive a scope, lists longer than a call's arguments.
import * as assert from "uvu/assert";
import {
  Tape,
  adam,
  adamw,
  add,
  count,
  dropout,
  fit,
  generate,
  gradcheck,
  layer,
  leaves,
  load,
  mlp,
  mul,
  random,
  rmt,
  rmtEncoder,
  save,
  serialize,
  sgd,
  sum,
  transformer,
  type FitOptions,
  type Optimizer,
  type Position,
  type Tensor,
} from "farsight";
import { fails, suite } from "./check.ts";
import { rows, small } from "./stirred.ts";

interface Changing {
  [name: string]: Changing | Tensor | undefined;
}
const d = 16;
const make = () => {
  const tape = new Tape("f32");
  const w = tape.param([2], [1, 2]);
  return { tape, w, loss: () => sum(mul(w, w)) };
};

suite("trees that change", {
  "after a model has looked at them are looked at again"() {
    const tape = new Tape("f32");
    const model = transformer({ ...small, layers: 1, position: ["rope", "cope"] });
    const ids = tape.integers([1, 3], [0, 1, 2]);
    const changes: Record<string, (params: Changing) => void> = {
      "ln_f.weight is missing": p => delete p.ln_f,
      "lm_head.weight is missing": p => delete p.lm_head,
      "wte.weight is missing": p => delete p.wte,
      "h.0.attn.c_attn.bias is missing": p =>
        delete (((p.h as Changing)[0] as Changing).attn as never)["c_attn"]["bias"],
      "h.0.attn.cope.weight is missing": p => ((((p.h as Changing)[0] as Changing).attn as Changing).cope = undefined),
      "wpe.weight is [4 8], wants nothing": p => (p.wpe = { weight: tape.tensor([4, 8]) }),
      "h.1.ln_1.weight is [16], wants nothing": p =>
        (p.h as unknown as Changing[]).push((p.h as Changing)[0] as Changing),
      "head.weight is [7 16], wants nothing": p => {
        p.head = p.lm_head;
        delete p.lm_head;
      },
      "ln_f.weight is [4], wants [16]": p => ((p.ln_f as Changing).weight = tape.tensor([4])),
    };
    for (const [why, change] of Object.entries(changes)) {
      const params = model.params(tape);
      model.loss(params, ids, ids);
      [...generate(model, params, [1, 2], { steps: 1 })];
      change(params as never);
      fails(() => model.loss(params, ids, ids), why, RangeError);
      const generated = () => [...generate(model, params, [1, 2], { steps: 1 })];
      // the embedding says on which tape a prompt is
      if (why.startsWith("wte")) fails(generated, "wte.weight is undefined", TypeError);
      else fails(generated, why, RangeError);
    }
  },
  "of recurrent models too, and what takes another's place counts at once"() {
    const tape = new Tape("f32");
    const ids = tape.integers([1, 5], [0, 1, 2, 3, 4]);
    const model = rmt(transformer({ ...small, layers: 1 }), { segment: 3, memory: 1 });
    const params = model.params(tape);
    const before = tape.scope(() => model.loss(params, ids, ids).item());
    const { weight, ...rest } = params.lm_head as unknown as Changing;
    (params as unknown as Changing).lm_head = { ...rest, weight: tape.tensor((weight as Tensor).shape) };
    const after = tape.scope(() => model.loss(params, ids, ids).item());
    assert.ok(Math.abs(after - Math.log(7)) < 1e-5 && Math.abs(before - after) > 1e-3, `${before}, ${after}`);
    delete (params as unknown as Changing).memory;
    fails(() => model.loss(params, ids, ids), "memory is missing", RangeError);
    const net = transformer({ ...small, layers: 1, causal: false, norm: "post" });
    const encoder = rmtEncoder(net, { segment: 3, memory: 1, classes: 2 });
    const own = encoder.params(tape);
    encoder.logits(own, [[1, 2, 3, 4]]);
    delete (own as unknown as Changing).classifier;
    fails(() => encoder.logits(own, [[1, 2, 3, 4]]), "classifier.weight is missing", RangeError);
  },
  "of an MLP and a layer are refused in the library's words"() {
    const tape = new Tape("f32");
    const model = transformer({ ...small, layers: 1 });
    const params = model.params(tape);
    const x = tape.tensor([1, 2, d]);
    const p = params.h[0]!;
    mlp(x, p.mlp, "gelu");
    layer(x, p, model.config);
    delete (p.mlp as unknown as Changing).c_proj;
    fails(() => mlp(x, p.mlp, "gelu"), "mlp: c_proj.weight is undefined", TypeError);
    fails(() => layer(x, p, model.config), "layer: mlp.c_proj.weight is undefined", TypeError);
  },
  "and lists of numbers are no trees, however long"() {
    for (const list of [new Float32Array(3e7), new Array(1e7).fill(0)])
      fails(() => count(list as never), "leaves: the tree is ", TypeError);
    fails(() => count(new Float64Array(3) as never), "leaves: 0 is 0", TypeError);
  },
});

suite("what a tape shows", {
  "of shapes and parameters cannot be written to"() {
    const { tape, w } = make();
    for (const x of [w, add(w, w), tape.tensor([2]), tape.integers([2], [1, 2])])
      assert.throws(() => ((x.shape as number[])[0] = 1e6));
    assert.equal(add(w, w).shape, [2]);
    const list = tape.params as Tensor[];
    list.pop();
    list.push(1 as never);
    assert.equal(tape.params, [w]);
  },
  "as its generator is a generator"() {
    const { tape, w } = make();
    const { random: before } = tape;
    for (const bad of [undefined, null, 5, {}, { seed: 0, position: 0 }, new Proxy(before, {})])
      fails(() => (tape.random = bad as never), "random: the generator is", TypeError);
    assert.is(tape.random, before);
    tape.random = random(3, 8);
    dropout(w);
    assert.is(tape.random.position, 12);
  },
  "is as it was where a gradient check fails"() {
    const tape = new Tape("f64");
    const w = tape.param([3], [1, 2, 3]);
    let calls = 0;
    const loss = () => sum(mul(dropout(w), calls++ ? w : mul(w, w)));
    tape.random.position = 4;
    fails(() => gradcheck({ w }, loss), "gradcheck: w [3]: backward says ");
    assert.equal([tape.random.position, [...w.values()]], [4, [1, 2, 3]]);
  },
});

suite("what a caller's functions give", {
  async "to fit and optimisers is of the kind they want"() {
    const { w, loss } = make();
    const rest = { params: { w }, loss, steps: 1 };
    const first = async (more: Partial<FitOptions>) => {
      for await (const step of fit({ ...rest, optimizer: adam({ w }), ...more } as FitOptions)) return step;
      return undefined;
    };
    const said = async (more: Partial<FitOptions>) => first(more).then(String, String);
    for (const bad of [undefined, null, "0.1", NaN, -1])
      assert.match(await said({ schedule: (() => bad) as never }), /Error: fit: lr is /);
    for (const bad of [undefined, null, "x", {}, [1], true, 5n])
      assert.match(await said({ evaluate: (() => bad) as never }), /TypeError: fit: what evaluate gave is /);
    assert.equal((await first({ evaluate: () => NaN }))?.evaluation, NaN);
    for (const make of [sgd, adamw])
      for (const bad of [undefined, null, "no", 0, NaN, {}])
        fails(() => make({ w }, { decay: 0.1, decays: (() => bad) as never }), "what decays gave is", TypeError);
  },
  "as positions of their own is one"() {
    const bad: [unknown, string][] = [
      [{ name: "mine", bias: 5 }, "a position's bias is 5"],
      [{ name: "mine", layer: 7 }, "a position's layer is 7"],
      [{ name: "mine", layer: ["key"] }, "a position's key is undefined"],
      [{ name: "mine", model: [3, () => ({})] }, "a position's model is 3"],
      [{ name: "mine", embed: "x" }, 'a position\'s embed is "x"'],
      [undefined, "a position's name is undefined"],
    ];
    const tape = new Tape("f32");
    const model = transformer({ ...small, layers: 1, position: "none" });
    const params = model.params(tape);
    for (const [position, why] of bad) {
      fails(() => transformer({ ...small, position: () => position as Position }), why, TypeError);
      const config = { ...model.config, positions: [position] as never };
      fails(() => layer(tape.tensor([1, 2, d]), params.h[0]!, config), why, TypeError);
    }
    for (const shared of [5, null, () => params] as never[])
      fails(() => layer(tape.tensor([1, 2, d]), params.h[0]!, model.config, { shared }), "shared is", TypeError);
  },
  "to save and load as optimisers are optimisers, with a count"() {
    const { tape, w, loss } = make();
    const optimizer = adamw({ w });
    const run = (o: unknown) => ({ params: { w }, optimizer: o as Optimizer });
    const file = save(run(optimizer));
    tape.step(loss);
    optimizer.step();
    const revoked = Proxy.revocable({}, {});
    revoked.revoke();
    for (const o of [null, 5, {}, [null], new Array(2), [optimizer, undefined], revoked.proxy])
      for (const call of [() => save(run(o)), () => load(run(o), file)])
        fails(call, /(save|load): optimizer is/, TypeError);
    for (const updates of [NaN, -1, "x", null, Symbol("s"), 2 ** 53, revoked.proxy])
      for (const call of [() => save(run({ ...optimizer, updates })), () => load(run({ ...optimizer, updates }), file)])
        fails(call, /(save|load): updates is/, typeof updates === "number" ? RangeError : TypeError);
    fails(() => save({ ...run(optimizer), step: null as never }), "save: step is null", TypeError);
    assert.is(optimizer.updates, 1);
    assert.throws(() => ((optimizer as { lr: number }).lr = 3)); // nothing would read it
    fails(
      () => serialize({ x: { shape: revoked.proxy as never, values: new Float32Array(1) } }),
      "x has shape",
      TypeError,
    );
    fails(() => serialize({ x: revoked.proxy as never }), "x holds undefined", TypeError);
  },
  "as a state of a model says where it stands"() {
    const tape = new Tape("f32");
    const model = transformer({ ...small, layers: 1 });
    const params = model.params(tape);
    const state = model.start(params, 1);
    fails(() => model.start(params, 1, { cache: null as never }), "start: cache is null", TypeError);
    for (const [name, value, kind] of [
      ["seen", Symbol("s"), TypeError],
      ["seen", -1, RangeError],
      ["earlier", 5, TypeError],
    ] as const) {
      const carries = [{ ...state.carries[0]!, [name]: value }] as never;
      fails(() => tape.noGrad(() => model.step(params, [[1]], { ...state, carries })), `a carry.${name} is`, kind);
    }
  },
});

suite("generators half through", {
  "whose scope has ended say so, and end nothing of another scope"() {
    const tape = new Tape("f32");
    const model = transformer({ ...small, layers: 1, position: "none" });
    const params = model.params(tape, { frozen: true });
    const run = tape.scope(() => {
      const run = generate(model, params, [1, 2], { steps: 3 });
      run.next();
      return run;
    });
    fails(() => run.next(), "after its scope ended");
    // In a scope that stands where the generator left off, with as many tensors as it made.
    const next = generate(model, params, [1, 2], { steps: 3 });
    next.next();
    const made = leaves(params).length + 2;
    tape.scope(() => {
      const empty = Array.from({ length: made }, () => tape.tensor([0]));
      next.return([]);
      assert.is(empty.every(x => x.values().length === 0) && tape.tensor([1], [7]).item(), 7);
    });
  },
});

suite("lists longer than a call's arguments", {
  "are read all the same: prompts, and sequences of an encoder"() {
    const tape = new Tape("f32");
    const tiny = { vocab: 2, d: 1, heads: 1, layers: 1, inner: 1, context: 6 };
    const n = 150_000;
    const model = transformer(tiny);
    const prompts = Array.from({ length: n }, (_, i) => [i % 2]);
    const [next] = generate(model, model.params(tape), prompts, { steps: 1 });
    assert.is(next!.length, n);
    const net = transformer({ ...tiny, causal: false, norm: "post" });
    const encoder = rmtEncoder(net, { segment: 1, memory: 1, classes: 1, cls: 0, sep: 0, pad: 0 });
    const state = (params: ReturnType<typeof encoder.params>) => encoder.start(params, n);
    tape.scope(() =>
      tape.noGrad(() => {
        const params = encoder.params(tape);
        assert.is(encoder.step(params, prompts, state(params)).states.shape[0], n);
      }),
    );
  },
  "as tokens of a recurrent model are cut as they are, also while memory grows"() {
    const tape = new Tape("f32");
    const { engine } = tape;
    const model = rmt(transformer({ ...small, layers: 1 }), { segment: 3, memory: 1 });
    const params = model.params(tape);
    const ids = tape.integers([1, 7], rows(1, 7, 7, 1).flat());
    const loss = (): number => tape.scope(() => model.loss(params, ids, ids).item());
    const want = loss();
    // Three pieces of the tokens, then three of the targets, take 16 bytes each; memory grows at one of these.
    for (let fit = 0; fit < 6; fit++)
      tape.scope(() => {
        const before = engine.memory.buffer.byteLength;
        tape.tensor([(before - 64 - engine.mark) / 4 - 4 * fit]); // 64 bytes behind the last claim stay free
        assert.is(engine.memory.buffer.byteLength, before);
        assert.is(loss(), want, `${fit} pieces fit`);
        assert.ok(engine.memory.buffer.byteLength > before);
      });
  },
});
