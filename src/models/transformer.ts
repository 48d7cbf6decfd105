// transformer.ts: one decoder or encoder for every study here. Parameters carry nanoGPT's names, linear weights are
// [out, in].
import {
  anything,
  callable,
  flag,
  get,
  integer,
  items,
  oneOf,
  options as chosen,
  real,
  refuse,
  shapeOf,
  synchronous,
  tensor,
  tensorIn,
  whole,
  type Check,
} from "../check.ts";
import {
  activations,
  apply,
  bent,
  drop,
  fitting,
  fresh,
  linearWeights,
  maker,
  normed,
  normWeights,
  type Activation,
  type Maker,
  type ParamsOptions,
  type Tree,
  type Weights,
} from "../nn.ts";
import { linear } from "../ops/products.ts";
import { crossEntropy } from "../ops/losses.ts";
import { add, probability, tanh } from "../ops/elementwise.ts";
import { embedding } from "../ops/rows.ts";
import { reshape, slice } from "../ops/shapes.ts";
import {
  optionNames,
  positionsOf,
  type ModelWeights,
  type PositionChoice,
  type PositionOptions,
} from "../positions/index.ts";
import { acting, type Gating, type Named, type Position } from "../positions/kind.ts";
import { random } from "../random.ts";
import type { Tape } from "../tape.ts";
import type { Tensor } from "../tensor.ts";
import { biasOf } from "./attention.ts";
import { carriesOf, carryNames, type StartOptions } from "./carries/index.ts";
import { MOST, placesBefore, type Carry, type CarrySizes } from "./carry.ts";
import type { Inside } from "./inside.ts";
import { carried, layered, ofLayer, type BlockWeights, type LayerConfig } from "./layer.ts";
import { edgeWeights, myopia, type Complete as Foresight, type Myopia } from "./myopic.ts";
import { streamed, tensorOf, type Chunk, type Given, type Rows, type StreamOptions } from "./stream.ts";

/** Options of `transformer`. */
export interface TransformerOptions extends PositionOptions {
  /** How many tokens there are. Leave out, and give `inputs`, for a model that reads vectors. */
  vocab?: number;
  /** Width of the vectors read, instead of tokens. */
  inputs?: number;
  /** How many numbers come out at each place; `vocab` unless given. */
  outputs?: number;
  /** Width of the model; `heads` must divide it. */
  d?: number;
  layers?: number;
  heads?: number;
  /** Heads of keys and values, a divisor of `heads`; as many unless given (Ainslie et al. 2023). */
  kvHeads?: number;
  /** Width inside the MLP; 4 d unless given. */
  inner?: number;
  /** Rows of the tables of positions unless those say otherwise; only absolute positions bound a sequence by it. */
  context?: number;
  /** Norm before attention and MLP with one at the end ("pre"), or after each sum ("post"). */
  norm?: "pre" | "post";
  /** Whether norms are RMS norms instead of layer norms. */
  rms?: boolean;
  /** Whether linear layers and layer norms have biases. */
  bias?: boolean;
  /** Whether the embeddings are normed before the first block, as BERT does. */
  embeddingNorm?: boolean;
  /** Kinds of token, each with a vector of its own that is added to embeddings, as in BERT; 0, none, unless given. */
  types?: number;
  causal?: boolean;
  activation?: Activation;
  /** Whether the embedding table is the head's weight too. */
  tied?: boolean;
  /** Whether the head has a bias. */
  headBias?: boolean;
  /** Whether a layer stands before the head, linear, bend and norm, as where BERT fills in masked words. */
  headLayer?: boolean;
  /**
   * Whether the head reads the first place alone, through a linear layer and tanh, as where BERT sorts into classes:
   * logits are b outputs.
   */
  pooler?: boolean;
  /** Probability of dropout on embeddings, attention's result and MLP's result, while training. */
  dropout?: number;
  /** Inside the root of the norms. */
  eps?: number;
  /** None, one kind by name, or a list of kinds. */
  position?: PositionChoice;
  /** Train without foresight; see `Myopia`. */
  myopic?: Myopia | undefined;
}

type Complete = Required<Omit<TransformerOptions, keyof PositionOptions | "myopic">> & {
  positions: readonly Position[];
  /** Most places of a sequence; Infinity where no position has a table of places. */
  limit: number;
  myopic: Foresight | undefined;
};
/** A transformer's options, complete; those of positions stand in `positions`. */
export type Config = { readonly [K in keyof Complete]: Complete[K] } & LayerConfig;

/** A transformer's parameters. `wte` is a linear layer's weights where the model reads vectors. */
export interface TransformerWeights extends ModelWeights {
  readonly wte: Weights;
  /** Vectors of kinds of token, [types d]. */
  readonly wtt?: Weights | undefined;
  readonly ln_emb?: Weights | undefined;
  readonly h: readonly BlockWeights[];
  readonly ln_f?: Weights | undefined;
  readonly lm_head?: HeadWeights | undefined;
  readonly [name: string]: Tensor | Tree | undefined;
}

/** A head's parameters; of one that is tied there is no weight. */
export interface HeadWeights {
  readonly weight?: Tensor | undefined;
  readonly bias?: Tensor | undefined;
  readonly pooler?: Weights | undefined;
  readonly dense?: Weights | undefined;
  readonly ln?: Weights | undefined;
  readonly [name: string]: Tensor | Tree | undefined;
}

/** What passes from one step of a transformer to the next: a carry a layer, and the places taken so far. */
export interface TransformerState {
  readonly carries: readonly Carry[];
  /** The place of each sequence's next token. */
  readonly starts: readonly number[];
}
/**
 * What `watch` gets: the states after the embedding (layer 0) and after each layer, and what its attention has inside.
 */
export interface Seen {
  readonly states: Tensor;
  readonly attention: Inside | undefined;
}

/** How to run the blocks, beside the configuration. */
export interface How {
  dropout?: number;
  /** t t, 1 where place t may look at place s; the causal mask, or everything, unless given. */
  allowed?: Tensor | undefined;
  /** b t, 0 for padding. */
  keys?: Tensor | undefined;
  /** Integers b t, of texts packed into a row: a place sees those of its own document alone. */
  documents?: Tensor | undefined;
  /** Integers b t, each token's kind; 0 for all unless given. */
  types?: Tensor | undefined;
  /** Edge weights t t instead of those that `myopic` gives for times 0, 1, 2... */
  edges?: Tensor | undefined;
  /** Only the states of the places from here on come out, and the last layer computes no others; 0 unless given. */
  from?: number;
  /** Called after the embedding (0) and after each layer (1, 2...). */
  watch?: (layer: number, seen: Seen) => void;
}

/** A model is its configuration and functions of parameters. */
export interface Transformer {
  readonly config: Config;
  /** Fresh parameters on `tape`. */
  params(tape: Tape, options?: ParamsOptions): TransformerWeights;
  /** Throws unless these have all that this model reads before its head, in its shapes. */
  fits(params: TransformerWeights): void;
  /** Embeddings b t d of tokens b t, or of vectors b t inputs; positions are added by `states`. */
  embed(params: TransformerWeights, x: Tensor): Tensor;
  /** Blocks over embeddings b t d -> states b t d. */
  states(params: TransformerWeights, x: Tensor, how?: How): Tensor;
  /** States b t d -> logits b t outputs; of a model with a pooler, b outputs. */
  head(params: TransformerWeights, x: Tensor): Tensor;
  /** Tokens b t (or vectors b t inputs) -> logits, as `head` gives them. Without dropout unless asked. */
  logits(params: TransformerWeights, x: Tensor, how?: How): Tensor;
  /**
   * Mean cross-entropy of the logits against targets b t, or b where there is a pooler (-100 counts for nothing), with
   * the model's dropout.
   */
  loss(params: TransformerWeights, x: Tensor, targets: Tensor): Tensor;
  /** The state before the first token of b sequences. */
  start(params: TransformerWeights, b: number, options?: StartOptions): TransformerState;
  /** Tokens b t (or vectors) that follow a state -> their states b t d, and the state after them. */
  step(
    params: TransformerWeights,
    input: Rows,
    state: TransformerState,
    how?: How,
  ): { states: Tensor; state: TransformerState };
  /** Runs through input in pieces, in constant memory, and gives what is asked for of each; see `streamed`. */
  stream(
    params: TransformerWeights,
    chunks: Iterable<Chunk>,
    options?: StartOptions & StreamOptions<TransformerState>,
  ): Generator<Given, TransformerState | undefined, void>;
}

const SIZE = /* @__PURE__ */ whole(1);
// A call: bundlers keep a table made at the top level.
const wants = () =>
  ({
    vocab: [whole(), 0],
    inputs: [whole(), 0],
    outputs: [SIZE, undefined],
    context: [SIZE, 64],
    d: [SIZE, 64],
    layers: [whole(1, 65536), 2],
    heads: [SIZE, 4],
    kvHeads: [SIZE, undefined],
    inner: [SIZE, undefined],
    norm: [oneOf("pre", "post"), "pre"],
    activation: [oneOf(...activations), "gelu"],
    rms: [flag, false],
    bias: [flag, true],
    embeddingNorm: [flag, false],
    types: [whole(), 0],
    causal: [flag, true],
    tied: [flag, false],
    headBias: [flag, false],
    headLayer: [flag, false],
    pooler: [flag, false],
    dropout: [probability, 0],
    eps: [real("from 0"), 1e-5],
    position: [anything as Check<PositionChoice>, "absolute"],
    myopic: [(_who: string, _name: string, value: unknown) => myopia(value as Myopia), undefined],
    ...(Object.fromEntries(optionNames.map(name => [name, [anything, undefined]])) as object),
  }) as const;

/** Checks options and fills in what was left out. */
function completed(options: TransformerOptions): Config {
  const who = "transformer";
  const o = chosen(who, options, wants());
  const { vocab, inputs, d, layers, heads, context, myopic } = o;
  const { outputs = vocab, inner = 4 * d, kvHeads = heads } = o;
  if (vocab > 0 === inputs > 0) refuse(RangeError, who, `vocab is ${vocab} and inputs ${inputs}`, "one of the two");
  if (!outputs) refuse(RangeError, who, "outputs is 0", "vocab, or inputs and outputs");
  const sizes = { d, layers, heads, kvHeads, inner, context, outputs };
  if (d % heads) refuse(RangeError, who, `${heads} heads do not divide d ${d}`, "d a multiple of heads");
  if (heads % kvHeads) refuse(RangeError, who, `kvHeads is ${kvHeads} of ${heads} heads`, "a divisor of heads");
  if (o.tied && outputs !== vocab)
    refuse(RangeError, who, `tied with ${outputs} outputs for ${vocab} tokens`, "outputs equal to vocab");
  if (o.pooler && o.causal)
    refuse(RangeError, who, "a pooler in a causal model, whose first place sees itself alone", "causal: false");
  if (o.headLayer && (o.pooler || o.activation === "swiglu"))
    refuse(RangeError, who, `headLayer with ${o.pooler ? "a pooler" : "swiglu"}`, "one of the two");
  if (o.norm === "post" && myopic?.cut === "pre_ln")
    refuse(RangeError, who, "the cut pre_ln with norm post", "norm pre, or the cut kv or post_ln");
  const positions = positionsOf(o.position, o as PositionOptions, { ...sizes, width: d / heads, bias: o.bias }, who);
  const limit = positions.reduce((least, p) => Math.min(least, p.limit ?? Infinity), Infinity);
  return { ...o, vocab, inputs, outputs, inner, kvHeads, positions, limit, myopic };
}

/**
 * A transformer: functions of parameters, and no state of its own.
 *
 *     const model = transformer({ vocab: 64, d: 64, layers: 2, heads: 4, context: 64, position: "cope" });
 *     const params = model.params(tape);
 *     const loss = tape.step(() => model.loss(params, tokens, targets));
 */
export function transformer(options: TransformerOptions): Transformer {
  const c = completed(options);
  const make = (make: Maker): TransformerWeights => weightsOf(make, c);
  const fits = fitting("transformer", /^(?!lm_head\b)/, make);
  const headFits = fitting("transformer", /^lm_head\b/, make);
  const model: Transformer = {
    config: c,
    params(tape, options) {
      const { seed, frozen, drawn } = fresh(tape, options);
      return tape.allOrNothing(() => make(maker(tape, random(seed).fork("params"), frozen, drawn)));
    },
    fits,
    embed(params, x) {
      fits(params);
      return embedded(c, params, x);
    },
    states(params, x, how = {}) {
      tensor("transformer", "the input", x, `batch time ${c.d}`);
      if (x.shape[2] !== c.d) refuse(RangeError, "transformer", `got ${shapeOf(x)}`, `embeddings [batch time ${c.d}]`);
      fits(params);
      return run(c, params, x, chosen("transformer", how, HOW) as How).states;
    },
    head(params, x) {
      headFits(params);
      return logitsOf(c, params, x);
    },
    logits(params, x, how = {}) {
      fits(params);
      headFits(params);
      const states = embedded(c, params, x);
      return logitsOf(c, params, run(c, params, states, chosen("transformer", how, HOW) as How).states);
    },
    loss: (params, x, targets) => crossEntropy(model.logits(params, x, { dropout: c.dropout }), targets),
    start(params, b, how = {}) {
      fits(params);
      return started(c, params, b, how);
    },
    step(params, input, before, how = {}) {
      fits(params);
      const x = embedded(c, params, tensorOf(params.wte.weight.tape, input));
      return stepped(c, params, x, before, chosen("transformer", how, HOW) as How);
    },
    stream(params, chunks, how = {}) {
      const held = ({ carries, starts }: TransformerState, hold: (x: Tensor) => Tensor): TransformerState => ({
        carries: carries.map(carry => carry.held?.(hold) ?? carry),
        starts,
      });
      return streamed(model, params, chunks, how, held, carryNames);
    },
  };
  return model;
}

const TENSOR = [tensorIn as Check<Tensor>, undefined] as const;
const HOW = {
  dropout: [probability, 0],
  allowed: TENSOR,
  keys: TENSOR,
  documents: TENSOR,
  types: TENSOR,
  edges: TENSOR,
  from: [whole(), 0],
  watch: [callable as Check<How["watch"]>, undefined],
} as const;
/** Blocks over embeddings at the places after the state before, with a carry a layer where there is one. */
function run(c: Config, params: TransformerWeights, x: Tensor, how: How, before?: TransformerState) {
  const { tape } = x;
  const { dropout = 0, allowed, keys, documents, from, watch } = how;
  const [b, t] = x.shape as [number, number];
  const starts = before?.starts.some(n => n > 0) ? before.starts : undefined;
  const places = { b, t, starts };
  const { causal } = c;
  let state = withTypes(c, params, x, how.types);
  for (const { embed, model: [key] = [""] } of c.positions)
    if (embed) state = embed(state, params[key] as Tree | undefined, places);
  if (params.ln_emb) state = normed(state, params.ln_emb, c);
  state = drop(state, dropout);
  synchronous("watch", watch?.(0, { states: state, attention: undefined }));
  const carries: Carry[] = [];
  let seen = -1;
  let back: ReturnType<typeof edgesOf>;
  params.h.forEach((p, i) => {
    let attention: Inside | undefined;
    const look = watch && ((inside: Inside) => (attention = inside));
    const carry = before?.carries[i];
    const s = placesBefore(carry);
    if (s !== seen) back = edgesOf(tape, t, s, c, how);
    seen = s;
    const { edges, own, cut } = back;
    // One literal: V8 builds the hidden class of one put together from others anew at every call (5 % of decoding).
    const made = layered(state, p, c, {
      causal,
      allowed,
      keys,
      documents,
      edges,
      own,
      cut,
      dropout,
      places,
      carry,
      layer: i,
      shared: params,
      from: i === params.h.length - 1 ? from : 0,
      watch: look,
    });
    state = made.x;
    if (made.carry) carries.push(made.carry);
    synchronous("watch", watch?.(i + 1, { states: state, attention }));
  });
  return { states: params.ln_f ? normed(state, params.ln_f, c) : state, carries };
}

/** Embeddings that follow a state -> their states, and the state after them. */
export function stepped(c: Config, params: TransformerWeights, x: Tensor, before: TransformerState, how: How) {
  follows(c, before, x, how);
  const { states, carries } = run(c, params, x, how, before);
  return { states, state: { carries, starts: before.starts.map(n => n + x.shape[1]!) } };
}

/** Embeddings b t d of tokens b t, or of vectors b t inputs. */
function embedded(c: Config, params: TransformerWeights, x: Tensor): Tensor {
  const wants = c.vocab ? "batch time" : `batch time ${c.inputs}`;
  tensor("transformer", "the input", x, wants);
  if (x.integral !== c.vocab > 0) {
    const kind = c.vocab ? "integers" : "numbers";
    const got = `got ${shapeOf(x)}${x.integral ? " integers" : ""}`;
    refuse(TypeError, "transformer", got, `a tensor of ${kind} [${wants}]`);
  }
  return c.vocab ? embedding(params.wte.weight, x) : apply(x, params.wte);
}

/** Embeddings b t d and the vectors of their kinds, b t. */
function withTypes({ types: n }: Config, { wtt }: TransformerWeights, x: Tensor, types: Tensor | undefined): Tensor {
  if (!wtt) {
    if (types) refuse(RangeError, "transformer", "types, of a model without them", "the option types");
    return x;
  }
  const [b, t] = x.shape as [number, number];
  const kinds = types ?? x.tape.indices([b, t], new Array<number>(b * t).fill(0));
  if (shapeOf(kinds) !== shapeOf({ shape: [b, t] }) || !kinds.integral)
    refuse(RangeError, "transformer", `types are ${shapeOf(kinds)}`, `integers [${b} ${t}] below ${n}`);
  return add(x, embedding(wtt.weight, kinds));
}

/** Logits of states b t d. */
function logitsOf(
  c: Config,
  { lm_head: { weight, bias, pooler, dense, ln } = {}, wte }: TransformerWeights,
  x: Tensor,
) {
  let state = x;
  if (pooler) {
    tensor("transformer", "the states", x, "b t d");
    state = tanh(apply(reshape(slice(x, 0, 1, { axis: 1 }), [x.shape[0]!, c.d]), pooler));
  }
  if (dense) state = normed(bent(apply(x, dense), c.activation as "gelu"), ln!, c);
  return linear(state, weight ?? wte.weight, bias);
}

/** What a carry knows of a model. */
const carrySizes = (c: Config, tape: Tape, b: number): CarrySizes => ({
  tape,
  b,
  d: c.d,
  width: (c.d / c.heads) * c.kvHeads,
});

/** The state before the first token of b sequences: a carry a layer. */
function started(c: Config, params: TransformerWeights, b: number, options: StartOptions): TransformerState {
  const starts = new Array<number>(integer("start", "b", b, 1, MOST)).fill(0);
  const { tape } = params.wte.weight;
  const sizes = carrySizes(c, tape, b);
  const layers = params.h.map(({ attn }, i) => {
    const positions = acting(c.positions, i);
    const { gating } = biasOf(positions, ...ofLayer(attn, params));
    const gates = gating ? gateWidth(gating, positions, sizes.width, c.kvHeads) : 0;
    return { ...sizes, context: c.context, gates };
  });
  return { carries: carriesOf(options, tape, layers), starts };
}

/** Throws unless embeddings b t d may follow `state`, and what `how` gives says something of every place. */
function follows(c: Config, state: TransformerState, { tape, shape }: Tensor, how: How): void {
  const who = "transformer";
  const [b, t] = shape as [number, number];
  const carries = items(who, "carries are", (get(state, "carries") ?? []) as TransformerState["carries"]);
  const starts = items(who, "starts are", (get(state, "starts") ?? []) as TransformerState["starts"]);
  for (const carry of carries) carried(who, "a carry", carry);
  for (const n of starts) integer(who, "a start", n);
  const [layers, n] = [carries.length, starts.length];
  const sizes = carrySizes(c, tape, b);
  if (layers !== c.layers || n !== b || carries.some(carry => carry.fits?.(sizes) === false))
    refuse(
      RangeError,
      who,
      `a state of ${layers} layers and ${n} sequences`,
      `${c.layers} and ${b}, of this model and tape`,
    );
  for (const carry of carries)
    for (const name of ["allowed", "keys", "documents", "edges"] as const) {
      const s = placesBefore(carry) + t;
      const x = how[name];
      if (x && x.shape[1] !== s)
        refuse(RangeError, who, `${name} is ${shapeOf(x)}`, `${s} columns, with the places seen`);
    }
}

/** Numbers a place of what gates see that is neither the attention's keys nor its values as they lie in a cache. */
function gateWidth({ gates, rotated }: Gating, positions: readonly Position[], width: number, heads: number): number {
  if (gates === "token") return heads;
  const turned = positions.some(p => p.turn);
  return gates === "sep" || (turned && gates === (rotated ? "val" : "shared")) ? width : 0;
}

/**
 * What queries send back under myopic training, by time, to `seen` places before them and to themselves; nothing where
 * no gradient flows.
 */
function edgesOf(tape: Tape, t: number, seen: number, c: Config, { edges }: How) {
  const myopic = edges || tape.recording ? c.myopic : undefined;
  const own = !edges && myopic?.mode === "diagonal";
  if (edges || own || !myopic) return { edges, own, cut: myopic?.cut };
  const times = Array.from({ length: seen + t }, (_, i) => i);
  return { edges: tape.tensor([t, seen + t], edgeWeights(times, myopic, t)), own, cut: myopic.cut };
}

/** Parameters of positions in a model or in a layer, under their names. */
const placed = (make: Maker, positions: readonly Position[], where: "model" | "layer", path = ""): Named =>
  Object.fromEntries(positions.flatMap(({ [where]: own }) => (own ? [[own[0], own[1](make, path + own[0])]] : [])));

function weightsOf(make: Maker, c: Config): TransformerWeights {
  const norms = (path: string) => normWeights(make, path, c.d, { bias: c.bias && !c.rms });
  const table = (path: string, rows: number) => ({ weight: make(`${path}.weight`, [rows, c.d], 1 / Math.sqrt(c.d)) });
  const head = () => ({
    weight: c.tied ? undefined : make("lm_head.weight", [c.outputs, c.d], 1 / Math.sqrt(3 * c.d)),
    bias: c.headBias ? make("lm_head.bias", [c.outputs], 0) : undefined,
    pooler: c.pooler ? linearWeights(make, "lm_head.pooler", c.d, c.d, { bias: c.bias }) : undefined,
    dense: c.headLayer ? linearWeights(make, "lm_head.dense", c.d, c.d, { bias: c.bias }) : undefined,
    ln: c.headLayer ? norms("lm_head.ln") : undefined,
  });
  return {
    wte: c.vocab ? table("wte", c.vocab) : linearWeights(make, "wte", c.d, c.inputs, { bias: c.bias }),
    ...placed(make, c.positions, "model"),
    wtt: c.types ? table("wtt", c.types) : undefined,
    ln_emb: c.embeddingNorm ? norms("ln_emb") : undefined,
    h: Array.from({ length: c.layers }, (_, i) => blockOf(make, i, c)),
    ln_f: c.norm === "pre" ? norms("ln_f") : undefined,
    lm_head: c.tied && !c.headBias && !c.headLayer && !c.pooler ? undefined : head(),
  };
}

/** Fresh parameters of layer i. */
function blockOf(make: Maker, i: number, c: Config): BlockWeights {
  const path = `h.${i}`;
  const { d, inner, layers, bias } = c;
  const width = d / c.heads;
  const norms = (name: string) => normWeights(make, `${path}.${name}`, d, { bias: bias && !c.rms });
  const into = (name: string, o: number) => linearWeights(make, `${path}.${name}`, o, d, { bias });
  const residual = (name: string, i: number) =>
    linearWeights(make, `${path}.${name}`, d, i, { bias, std: 1 / Math.sqrt(3 * i * 2 * layers) });
  return {
    ln_1: norms("ln_1"),
    attn: {
      c_attn: into("attn.c_attn", d + 2 * c.kvHeads * width),
      c_proj: residual("attn.c_proj", d),
      ...placed(make, acting(c.positions, i), "layer", `${path}.attn.`),
    },
    ln_2: norms("ln_2"),
    mlp: {
      c_fc: into("mlp.c_fc", inner),
      c_gate: c.activation === "swiglu" ? into("mlp.c_gate", inner) : undefined,
      c_proj: residual("mlp.c_proj", inner),
    },
  };
}
