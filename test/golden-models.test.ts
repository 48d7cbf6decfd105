// Attention, CoPE, myopic training, whole transformers and RMT against PyTorch's double precision: values and all
// gradients, every variant.
import * as assert from "uvu/assert";
import {
  Tape,
  armt,
  attend,
  attention,
  concat,
  edgeWeights,
  leaves,
  mask,
  myopia,
  positions,
  rmt,
  rmtEncoder,
  rmtR,
  rope,
  rotary,
  scores,
  transformer,
  type CopeOptions,
  type Cut,
  type Dtype,
  type Myopia,
  type PositionName,
  type RecurrentDecoder,
  type Tensor,
  type TransformerOptions,
  type Tree,
} from "farsight";
import { scales } from "../src/positions/cope.ts";
import { cases, dtypes, exchange, golden, match, variant, variants, type Golden } from "./golden.ts";
import { suite } from "./check.ts";

type Keys = Record<string, unknown> & {
  pos: string;
  mode: string;
  cut: Cut;
  horizon: number;
  gamma: number;
  scaling: "listing";
  gates: "shared" | "sep" | "val" | "token";
  table?: "layer" | "head";
  gates_rotated: boolean;
  rope_theta: number;
  rope_layout: string;
  causal: boolean;
};
function myopicOf({ cut, mode, horizon, gamma }: Keys): Myopia | undefined {
  if (mode === "full") return undefined;
  if (mode === "window") return { cut, mode, horizon };
  return mode === "discount" ? { cut, mode, gamma } : { cut };
}
const copeOf = ({ scaling, gates, gates_rotated: rotated, table }: Keys): CopeOptions => ({
  ...{ scaling, gates, rotated },
  table: table ?? "layer",
});
const ropeOf = (c: Keys) => ({ theta: c.rope_theta, interleaved: c.rope_layout === "interleaved" });

/** q, k, v are stored b h t d; here they are b t h d. */
function heads(tape: Tape, g: Golden, name: string): Tensor {
  const [b, h, t, d] = g.shape(name) as [number, number, number, number];
  return tape.param([b, t, h, d], exchange(g.values(name), [b, h, t, d]));
}

/** Logits of tokens are stored b g s; here they are b s g. */
function logits(tape: Tape, g: Golden, name: string): Tensor {
  const [b, h, s] = g.shape(name) as [number, number, number];
  return tape.param([b, s, h], exchange(g.values(name), [b, h, s, 1]));
}

/** What attention reads, as parameters; where there is none of its kind, nothing. */
function attentionInputs(tape: Tape, g: Golden) {
  const [q, k, v] = ["q", "k", "v"].map(n => heads(tape, g, `in.${n}`)) as [Tensor, Tensor, Tensor];
  const inputs = g.names("in.");
  const params = g.names("param.");
  const table = (n: string): Tensor | undefined =>
    params.includes(n) ? tape.param(g.shape(`param.${n}`), g.values(`param.${n}`)) : undefined;
  const weight = table("cope.weight");
  const given = <T>(name: string, make: (name: string) => T): T | undefined =>
    inputs.includes(name) ? make(`in.${name}`) : undefined;
  return {
    q,
    k,
    v,
    gateKeys: given("gate_keys", name => (g.shape(name).length === 3 ? logits(tape, g, name) : heads(tape, g, name))),
    documents: given("documents", name => tape.integers(g.shape(name), g.values(name))),
    keys: inputs.includes("key_mask") ? tape.tensor(g.shape("in.key_mask"), g.values("in.key_mask")) : undefined,
    tables: { cope: weight && { weight, bias: table("cope.bias") }, relative: table("rel.weight") },
  };
}
type Inputs = ReturnType<typeof attentionInputs>;

/** The options of a case, edges of myopic training from the times 0, 1, 2... */
function attentionOptions(tape: Tape, c: Keys, inputs: Inputs, composed: boolean) {
  const { q, k, gateKeys, keys, documents, tables } = inputs;
  const [t, s] = [q.shape[1]!, k.shape[1]!];
  const my = myopicOf(c);
  const own = my?.mode === "diagonal";
  const times = Array.from({ length: t }, (_, i) => i);
  const edges = my && !own ? tape.tensor([t, s], edgeWeights(times, myopia(my))) : undefined;
  const seen = { causal: c.causal, keys, documents, edges, own };
  return { composed, ...seen, position: listOf(c.pos), tables, cope: copeOf(c), gateKeys, rope: ropeOf(c) };
}

/** CoPE's positions, composed. */
function copePositions(tape: Tape, c: Keys, { q, k, v, gateKeys, keys }: Inputs): Float64Array {
  const [, t, , d] = q.shape as [number, number, number, number];
  const s = k.shape[1]!;
  const { cos, sin } = rotary(tape, s, d);
  const turned = (x: Tensor) => (c.gates_rotated ? rope(x, cos, sin) : x);
  const source = c.gates === "sep" ? gateKeys! : c.gates === "val" ? v : k;
  const u = scores(turned(q), turned(source), { scale: scales(d, c.scaling).gate });
  const allowed = tape.tensor([t, s], mask(t, s, c.causal));
  return positions(u, { allowed, keys }).positions.values() as Float64Array;
}

function attentionCase(g: Golden, dtype: Dtype, v: string, composed: boolean): void {
  const c = variant(g, v).attention as unknown as Keys;
  const tape = new Tape(dtype);
  const inputs = attentionInputs(tape, g);
  const { q, k, v: value, gateKeys, tables } = inputs;
  const options = attentionOptions(tape, c, inputs, composed);
  const y = attention(q, k, value, options);
  match(g, dtype, exchange(y.values(), y.shape), g.expected("out", "y", v), `${v} y`);
  const outputs = g.names("out.");
  if (outputs.includes("weights"))
    match(g, dtype, attend(q, k, value, options).values(), g.expected("out", "weights", v), `${v} weights`);
  if (outputs.includes("positions"))
    match(g, dtype, copePositions(tape, c, inputs), g.expected("out", "positions", v), `${v} positions`);
  tape.backward(y, exchange(g.values("in.dout"), g.shape("in.dout")));
  const grads: Record<string, Tensor | undefined> = {
    q,
    k,
    v: value,
    gate_keys: gateKeys,
    "cope.weight": tables.cope?.weight,
    "cope.bias": tables.cope?.bias,
    "rel.weight": tables.relative,
  };
  for (const n of g.names("grad.")) {
    const x = grads[n]!;
    const four = x === gateKeys ? [...x.shape, 1].slice(0, 4) : x.shape;
    const got = four.length === 4 ? exchange(x.gradient(), four) : x.gradient();
    match(g, dtype, got, g.expected("grad", n, v), `${v} grad ${n}`);
  }
}

/** A golden file's name of positions, such as cope+rope, as a list. */
const listOf = (pos: string): PositionName[] => pos.split("+").filter(kind => kind !== "none") as PositionName[];
const modelOf = (m: Record<string, never>, more: TransformerOptions = {}): TransformerOptions => {
  const c = m as unknown as Keys & Record<string, number & boolean & string>;
  return {
    vocab: c.vocab!,
    context: c.block!,
    layers: c.layers!,
    d: c.d!,
    heads: c.heads!,
    inner: c.inner!,
    position: listOf(c.pos),
    tied: c.tied!,
    eps: c.eps!,
    activation: (c.gelu as string) === "erf" ? "geluErf" : "gelu",
    cope: { ...copeOf(c), rows: c.npos! },
    relative: { rows: c.rel_rows! },
    rope: ropeOf(c),
    myopic: myopicOf(c),
    ...more,
  };
};
function fill(g: Golden, params: Tree): void {
  const list = leaves(params);
  assert.equal(list.map(([path]) => path).sort(), g.names("param.").sort(), "parameter names");
  for (const [path, t] of list) {
    assert.equal([...t.shape], [...g.shape(`param.${path}`)], path);
    t.values().set(g.values(`param.${path}`));
  }
}
function gradients(g: Golden, dtype: Dtype, v: string, params: Tree): void {
  for (const [path, t] of leaves(params)) {
    const want = g.expected("grad", path, v);
    match(g, dtype, t.gradient(), want, `${v} grad ${path}`);
    if (want.every(x => x === 0))
      assert.ok(
        t.gradient().every(x => x === 0),
        `${v} grad ${path} must be exactly 0`,
      );
  }
}

function gptCase(g: Golden, dtype: Dtype, v: string): void {
  const model = transformer(modelOf(variant(g, v).model!));
  const tape = new Tape(dtype);
  const params = model.params(tape);
  fill(g, params);
  const tokens = tape.integers(g.shape("in.tokens"), g.values("in.tokens"));
  const targets = tape.integers(g.shape("in.targets"), g.values("in.targets"));
  tape.scope(() =>
    match(g, dtype, model.logits(params, tokens).values(), g.expected("out", "logits", v), `${v} logits`),
  );
  const loss = model.loss(params, tokens, targets);
  match(g, dtype, loss.values(), g.expected("out", "loss", v), `${v} loss`);
  tape.backward(loss);
  gradients(g, dtype, v, params);
}

/** The options that recurrent decoders share. */
const recurrentOf = (r: Record<string, never>, replay: boolean) => ({
  memory: r.memory!,
  segment: r.segment!,
  losses: r.losses!,
  k: r.k ?? undefined,
  truncation: r.truncation!,
  replay,
});
/** Holds logits, loss and gradients of a recurrent decoder to a variant's, and its memories, which `look` is given. */
function recurrentCase<Params extends Tree, State, Memory>(
  { g, tape, v }: { g: Golden; tape: Tape; v: string },
  model: RecurrentDecoder<Params, State, Memory>,
  look: (memories: Memory[], seen: { params: Params; tokens: Tensor; logits: Tensor }) => void,
): void {
  const { dtype } = tape;
  const params = model.params(tape);
  fill(g, params);
  const tokens = tape.integers(g.shape("in.tokens"), g.values("in.tokens"));
  const targets = tape.integers(g.shape("in.targets"), g.values("in.targets"));
  tape.scope(() => {
    const { logits, memories } = model.logits(params, tokens);
    match(g, dtype, logits.values(), g.expected("out", "logits", v), `${v} logits`);
    look(memories, { params, tokens, logits });
  });
  const loss = model.loss(params, tokens, targets);
  match(g, dtype, loss.values(), g.expected("out", "loss", v), `${v} loss`);
  tape.backward(loss);
  gradients(g, dtype, v, params);
}
function decoderCase(g: Golden, dtype: Dtype, v: string, replay: boolean): void {
  const c = variant(g, v);
  const r = c.rmt as unknown as Record<string, never>;
  const tape = new Tape(dtype);
  const bidirectional = (r.mask as string) === "bidirectional";
  const options = { ...recurrentOf(r, replay), bidirectional, exempt: r.exempt! };
  const model = rmt(transformer(modelOf(c.model!)), options);
  recurrentCase({ g, tape, v }, model, (memories, { params, tokens, logits }) => {
    match(g, dtype, concat(memories, { axis: 0 }).values(), g.expected("out", "memories", v), `${v} memories`);
    match(
      g,
      dtype,
      [...model.stream(params, [tokens])].at(-1)!.values,
      logits.values().filter((_, i) => i % (13 * 11) >= 10 * 11) as unknown as Float64Array,
      `${v} stream`,
    );
  });
}
function associativeCase(g: Golden, dtype: Dtype, v: string, replay: boolean): void {
  const c = variant(g, v);
  const r = c.rmt as unknown as Record<string, never>;
  const tape = new Tape(dtype);
  const model = armt(transformer(modelOf(c.model!)), { ...recurrentOf(r, replay), width: r.width! });
  recurrentCase({ g, tape, v }, model, memories => {
    for (let i = 0; i < model.model.config.layers; i++)
      for (const name of ["matrix", "sum"] as const) {
        const all = concat(
          memories.map(layers => layers[i]![name]),
          { axis: 0 },
        );
        match(g, dtype, all.values(), g.expected("out", `${name}.${i}`, v), `${v} ${name} of layer ${i}`);
      }
  });
}
function retrievalCase(g: Golden, dtype: Dtype, v: string, replay: boolean): void {
  const c = variant(g, v);
  const tape = new Tape(dtype);
  const model = rmtR(transformer(modelOf(c.model!)), recurrentOf(c.rmt as never, replay));
  recurrentCase({ g, tape, v }, model, memories => {
    match(g, dtype, concat(memories, { axis: 0 }).values(), g.expected("out", "memories", v), `${v} memories`);
  });
}

function encoderCase(g: Golden, dtype: Dtype, v: string): void {
  const c = variant(g, v);
  const r = c.rmt as unknown as Record<string, never>;
  const e = c.encoder as unknown as Record<string, never>;
  const tape = new Tape(dtype);
  const model = rmtEncoder(transformer(modelOf(c.model!, { causal: false, norm: "post", embeddingNorm: true })), {
    memory: r.memory!,
    segment: r.segment!,
    losses: r.losses!,
    k: r.k ?? undefined,
    truncation: r.truncation!,
    classes: e.classes!,
    cls: e.cls!,
    sep: e.sep!,
    pad: e.pad!,
    pooler: e.pooler!,
  });
  const params = model.params(tape);
  fill(g, params);
  const lengths = g.values("in.lengths");
  const width = g.shape("in.tokens")[1]!;
  const ids = g.values("in.tokens");
  const sequences = Array.from(lengths, (n, i) => ids.slice(i * width, i * width + n));
  const labels = tape.integers(g.shape("in.labels"), g.values("in.labels"));
  tape.scope(() => {
    const { logits, memories } = model.logits(params, sequences);
    match(g, dtype, concat(logits, { axis: 0 }).values(), g.expected("out", "logits", v), `${v} logits`);
    match(g, dtype, concat(memories, { axis: 0 }).values(), g.expected("out", "memories", v), `${v} memories`);
  });
  const loss = model.loss(params, sequences, labels);
  match(g, dtype, loss.values(), g.expected("out", "loss", v), `${v} loss`);
  tape.backward(loss);
  gradients(g, dtype, v, params);
}

type Kind = [title: string, start: string, run: (g: Golden, dtype: Dtype, v: string) => void];
const kinds: Kind[] = [
  ...["attention.", "cope.", "myopic."].flatMap((start): Kind[] => [
    [`${start}* equal PyTorch, fused`, start, (g, dtype, v) => attentionCase(g, dtype, v, false)],
    [`${start}* equal PyTorch, composed`, start, (g, dtype, v) => attentionCase(g, dtype, v, true)],
  ]),
  ["transformers equal PyTorch", "gpt.", gptCase],
  ["RMT decoders equal PyTorch, replaying", "rmt.decoder.", (g, dtype, v) => decoderCase(g, dtype, v, true)],
  ["RMT decoders equal PyTorch, keeping", "rmt.decoder.", (g, dtype, v) => decoderCase(g, dtype, v, false)],
  ["ARMT equals PyTorch, replaying", "armt.", (g, dtype, v) => associativeCase(g, dtype, v, true)],
  ["ARMT equals PyTorch, keeping", "armt.", (g, dtype, v) => associativeCase(g, dtype, v, false)],
  ["RMT-R equals PyTorch, replaying", "rmtR.", (g, dtype, v) => retrievalCase(g, dtype, v, true)],
  ["RMT-R equals PyTorch, keeping", "rmtR.", (g, dtype, v) => retrievalCase(g, dtype, v, false)],
  ["RMT encoders equal PyTorch", "rmt.encoder", encoderCase],
];
for (const [title, start, run] of kinds) {
  const tests: Record<string, () => void> = {};
  for (const name of cases(start))
    for (const dtype of dtypes)
      tests[`${name} ${dtype}`] = () => {
        const g = golden(name);
        for (const v of variants(g)) run(g, dtype, v);
      };
  suite(title, tests);
}
