// transformer.ts: one decoder or encoder for every study here. Parameters carry nanoGPT's names, linear weights are
// [out, in].
import { random } from "../random.ts";
import { add, bias } from "../ops/elementwise.ts";
import { parted, restated } from "../ops/myopic.ts";
import { crossEntropy } from "../ops/losses.ts";
import { linear } from "../ops/products.ts";
import { embedding } from "../ops/rows.ts";
import { reshape, slice, stopGradient } from "../ops/shapes.ts";
import { known } from "../check.ts";
import {
  apply,
  drop,
  linearWeights,
  maker,
  mlp,
  norm,
  normWeights,
  type Activation,
  type MlpWeights,
  type Tree,
  type Weights,
} from "../nn.ts";
import { show } from "../check.ts";
import { type Tape } from "../tape.ts";
import { Tensor } from "../tensor.ts";
import { attention, attentionOfProjection, type AttentionOptions } from "./attention.ts";
import type { CopeOptions } from "./cope.ts";
import { edgeWeights, myopia, type Myopia } from "./myopic.ts";
import { has, kinds, sinusoidal, type Position } from "./position.ts";

/** Options of `transformer`. */
export interface TransformerOptions {
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
  /** Width inside the MLP; 4 d unless given. */
  inner?: number;
  /** Most places in a sequence; also the rows of the tables of positions unless those say otherwise. */
  context?: number;
  /** Norm before attention and MLP with one at the end ("pre"), or after each sum ("post"). */
  norm?: "pre" | "post";
  /** Whether the embeddings are normed before the first block, as BERT does. */
  embeddingNorm?: boolean;
  causal?: boolean;
  activation?: Activation;
  /** Whether the embedding table is the head's weight too. */
  tied?: boolean;
  /** Whether the head has a bias. */
  headBias?: boolean;
  /** Probability of dropout on embeddings, attention's result and MLP's result, while training. */
  dropout?: number;
  /** Inside the root of the layer norms. */
  eps?: number;
  position?: Position;
  cope?: CopeOptions;
  /** Rows of the relative table; distances beyond reuse the last. */
  relative?: { rows?: number };
  rope?: { theta?: number; interleaved?: boolean };
  /** Train without foresight; see `Myopia`. */
  myopic?: Myopia | undefined;
}

type Settled = Required<Omit<TransformerOptions, "cope" | "relative" | "rope" | "myopic">> & {
  cope: Required<CopeOptions>;
  relative: { rows: number };
  rope: { theta: number; interleaved: boolean };
  myopic: Required<Myopia> | undefined;
};
/** A transformer's options, all settled. */
export type Config = { readonly [K in keyof Settled]: Settled[K] };

/** Who looks at whom, and what gradients survive. */
type View = Pick<AttentionOptions, "causal" | "allowed" | "keys" | "edges" | "own">;

export interface AttentionWeights {
  readonly c_attn: Weights;
  readonly c_proj: Weights;
  readonly cope?: { weight: Tensor; gate?: Weights | undefined } | undefined;
  readonly rel?: { weight: Tensor } | undefined;
  readonly [name: string]: Tensor | Tree | undefined;
}
export interface BlockWeights {
  readonly ln_1: Weights;
  readonly attn: AttentionWeights;
  readonly ln_2: Weights;
  readonly mlp: MlpWeights;
  readonly [name: string]: Tensor | Tree | undefined;
}
/** A transformer's parameters. `wte` is a linear layer's weights where the model reads vectors. */
export interface TransformerWeights {
  readonly wte: Weights;
  readonly wpe?: { weight: Tensor } | undefined;
  readonly ln_emb?: Weights | undefined;
  readonly h: readonly BlockWeights[];
  readonly ln_f?: Weights | undefined;
  readonly lm_head?: { weight?: Tensor | undefined; bias?: Tensor | undefined } | undefined;
  readonly [name: string]: Tensor | Tree | undefined;
}

/** A model is its configuration and functions of parameters. */
export interface Transformer {
  readonly config: Config;
  /** Fresh parameters on `tape`. */
  params(tape: Tape, options?: { seed?: number }): TransformerWeights;
  /** Embeddings b t d of tokens b t, or of vectors b t inputs; positions are added by `states`. */
  embed(params: TransformerWeights, x: Tensor): Tensor;
  /** Blocks over embeddings b t d -> states b t d, each layer's states handed to `watch`. */
  states(params: TransformerWeights, x: Tensor, how?: How): Tensor;
  /** States b t d -> logits b t outputs. */
  head(params: TransformerWeights, x: Tensor): Tensor;
  /** Tokens b t (or vectors b t inputs) -> logits b t outputs. Without dropout unless asked. */
  logits(params: TransformerWeights, x: Tensor, how?: How): Tensor;
  /** Mean cross-entropy of the logits against targets b t (-100 counts for nothing), with the model's dropout. */
  loss(params: TransformerWeights, x: Tensor, targets: Tensor): Tensor;
}

/** How to run the blocks, beside the configuration. */
export interface How {
  dropout?: number;
  /** t t, 1 where place t may look at place s; the causal mask, or everything, unless given. */
  allowed?: Tensor | undefined;
  /** b t, 0 for padding. */
  keys?: Tensor | undefined;
  /** Edge weights t t instead of those that `myopic` gives for times 0, 1, 2... */
  edges?: Tensor | undefined;
  /** Called with the states after the embedding (0) and after each layer (1, 2...). */
  watch?: (layer: number, states: Tensor) => void;
}

const defaults = {
  d: 64,
  layers: 2,
  heads: 4,
  context: 64,
  norm: "pre",
  embeddingNorm: false,
  causal: true,
  activation: "gelu",
  tied: false,
  headBias: false,
  dropout: 0,
  eps: 1e-5,
  position: "absolute",
} as const;
const names = (): string[] => [
  ...Object.keys(defaults),
  "vocab",
  "inputs",
  "outputs",
  "inner",
  "cope",
  "relative",
  "rope",
  "myopic",
]; // a call: bundlers keep a list made at the top level

/** Checks options and fills in what was left out. */
function settled(options: TransformerOptions): Config {
  const fail = (why: string, wants: string): never => {
    throw new RangeError(`transformer: ${why}\n  wants ${wants}`);
  };
  known("transformer", options, ...names());
  known("transformer, cope", options.cope ?? {}, "rows", "scaling", "gates", "rotated");
  known("transformer, relative", options.relative ?? {}, "rows");
  known("transformer, rope", options.rope ?? {}, "theta", "interleaved");
  const given = Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined)) as TransformerOptions;
  const { vocab = 0, inputs = 0, ...rest } = given;
  const o = { ...defaults, ...rest };
  const c: Config = {
    ...o,
    vocab,
    inputs,
    outputs: o.outputs ?? vocab,
    inner: o.inner ?? 4 * o.d,
    cope: { rows: o.context + 1, scaling: "listing", gates: "shared", rotated: false, ...o.cope },
    relative: { rows: o.context, ...o.relative },
    rope: { theta: 10000, interleaved: false, ...o.rope },
    myopic: o.myopic && myopia(o.myopic),
  };
  for (const [name, n] of Object.entries({ vocab, inputs }))
    if (!(Number.isInteger(n) && n >= 0)) fail(`${name} is ${n}`, "a whole number above 0");
  for (const [name, n] of Object.entries({
    d: c.d,
    layers: c.layers,
    heads: c.heads,
    inner: c.inner,
    context: c.context,
    outputs: c.outputs,
    "cope.rows": c.cope.rows,
    "relative.rows": c.relative.rows,
  }))
    if (!(Number.isInteger(n) && n > 0))
      fail(`${name} is ${n}`, name === "outputs" ? "vocab, or inputs and outputs" : "a whole number above 0");
  if (!(c.eps >= 0)) fail(`eps is ${c.eps}`, "a number from 0");
  if (!(c.rope.theta > 0)) fail(`rope.theta is ${c.rope.theta}`, "a number above 0");
  if (vocab > 0 === inputs > 0) fail(`vocab is ${vocab} and inputs ${inputs}`, "one of the two");
  if (c.d % c.heads) fail(`${c.heads} heads do not divide d ${c.d}`, "d a multiple of heads");
  if (!kinds.includes(c.position)) fail(`position is ${c.position}`, kinds.join(", "));
  if (c.norm !== "pre" && c.norm !== "post") fail(`norm is ${c.norm}`, "pre or post");
  if (!["gelu", "geluErf", "relu", "swiglu"].includes(c.activation))
    fail(`activation is ${c.activation}`, "gelu, geluErf, relu or swiglu");
  if (!["listing", "ram", "eq"].includes(c.cope.scaling))
    fail(`cope.scaling is ${c.cope.scaling}`, "listing, ram or eq");
  if (!["shared", "sep", "val"].includes(c.cope.gates)) fail(`cope.gates is ${c.cope.gates}`, "shared, sep or val");
  if (!(c.dropout >= 0 && c.dropout < 1)) fail(`dropout is ${c.dropout}`, "a number from 0 to below 1");
  if (has(c.position, "rope") && (c.d / c.heads) % 2) fail(`heads are ${c.d / c.heads} wide`, "an even width for rope");
  if (c.tied && inputs) fail("tied without tokens", "vocab with tied");
  if (c.tied && c.outputs !== vocab)
    fail(`tied with ${c.outputs} outputs for ${vocab} tokens`, "outputs equal to vocab");
  if (c.norm === "post" && c.myopic?.cut === "pre_ln")
    fail("the cut pre_ln with norm post", "norm pre, or the cut kv or post_ln");
  return c;
}

/**
 * A transformer: functions of parameters, and no state of its own.
 *
 *     const model = transformer({ vocab: 64, d: 64, layers: 2, heads: 4, context: 64, position: "cope" });
 *     const params = model.params(tape);
 *     const loss = tape.step(() => model.loss(params, tokens, targets));
 */
export function transformer(options: TransformerOptions): Transformer {
  const c = settled(options);
  const width = c.d / c.heads;

  /** The parts of a projection b t n, as b t h d each. */
  function heads(x: Tensor): Tensor[] {
    const [b, t, n] = x.shape as [number, number, number];
    const shape = [b, t, c.heads, width];
    return Array.from({ length: n / c.d }, (_, i) => reshape(n === c.d ? x : slice(x, i * c.d, (i + 1) * c.d), shape));
  }
  /** Attention on the residual stream x b t d; `n` norms it first, or does nothing. */
  function attend(x: Tensor, n: (x: Tensor) => Tensor, p: AttentionWeights, view: View): Tensor {
    const state = n(x);
    const gate = p.cope?.gate;
    const cut = ((view.edges || view.own) && c.myopic?.cut) || "kv";
    // Under post_ln and pre_ln keys, values and gate keys are read twice: from the live state, and from a stopped one
    // by live weights.
    const read = (w: Weights, start: number): Tensor[] => {
      if (cut === "post_ln") return [...parted(state, w.weight, w.bias)];
      const y = apply(state, w);
      if (cut !== "pre_ln") return [y];
      return [y, restated(stopGradient(y), n(stopGradient(x)), w.weight, w.bias, { start })];
    };
    const [all, old] = read(p.c_attn, c.d);
    const [gates, oldGates] = gate ? read(gate, 0) : [];
    const how = { ...view, position: c.position, cope: c.cope };
    const tables = { cope: p.cope?.weight, relative: p.rel?.weight };
    if (!has(c.position, "rope")) {
      const y = attentionOfProjection(all!, c.heads, { ...how, tables, gates, old, oldGates });
      return apply(y, p.c_proj);
    }
    const [q, k, v] = heads(all!);
    const [, pk, pv] = old ? heads(old) : [];
    const past: AttentionOptions["past"] = pk && { k: pk, v: pv!, gateKeys: oldGates && heads(oldGates)[0] };
    const gateKeys = gates && heads(gates)[0];
    const y = attention(q!, k!, v!, { ...how, rope: c.rope, gateKeys, past, tables });
    return apply(reshape(y, x.shape), p.c_proj);
  }
  /**
   * A block reads like its equations: x + attend(norm(x)), then x + mlp(norm(x)); or norm(x + ...) where norms come
   * after.
   */
  function block(x: Tensor, p: BlockWeights, view: View, dropout: number): Tensor {
    const n1 = (x: Tensor) => norm(x, p.ln_1, c.eps);
    const n2 = (x: Tensor) => norm(x, p.ln_2, c.eps);
    if (c.norm === "post") {
      const y = n1(
        add(
          x,
          drop(
            attend(x, x => x, p.attn, view),
            dropout,
          ),
        ),
      );
      return n2(add(y, drop(mlp(y, p.mlp, c.activation), dropout)));
    }
    const y = add(x, drop(attend(x, n1, p.attn, view), dropout));
    return add(y, drop(mlp(n2(y), p.mlp, c.activation), dropout));
  }

  const model: Transformer = {
    config: c,
    params: (tape, { seed = 0 } = {}) =>
      tape.allOrNothing(() => {
        const make = maker(tape, random(seed).fork("params"));
        const residual = 1 / Math.sqrt(3 * c.d * 2 * c.layers);
        const table = (path: string, rows: number, std: number) => ({
          weight: make(`${path}.weight`, [rows, path.startsWith("w") ? c.d : width], std),
        });
        const block = (n: string): BlockWeights => ({
          ln_1: normWeights(make, `${n}.ln_1`, c.d),
          attn: {
            c_attn: linearWeights(make, `${n}.attn.c_attn`, 3 * c.d, c.d),
            c_proj: linearWeights(make, `${n}.attn.c_proj`, c.d, c.d, { std: residual }),
            rel: has(c.position, "relative")
              ? table(`${n}.attn.rel`, c.relative.rows, 1 / Math.sqrt(width))
              : undefined,
            // Zeros, as in the paper: at first every position weighs the same, and the gates start to move once the
            // table has.
            cope: has(c.position, "cope")
              ? {
                  ...table(`${n}.attn.cope`, c.cope.rows, 0),
                  gate: c.cope.gates === "sep" ? linearWeights(make, `${n}.attn.cope.gate`, c.d, c.d) : undefined,
                }
              : undefined,
          },
          ln_2: normWeights(make, `${n}.ln_2`, c.d),
          mlp: {
            c_fc: linearWeights(make, `${n}.mlp.c_fc`, c.inner, c.d),
            c_gate: c.activation === "swiglu" ? linearWeights(make, `${n}.mlp.c_gate`, c.inner, c.d) : undefined,
            c_proj: linearWeights(make, `${n}.mlp.c_proj`, c.d, c.inner, {
              std: 1 / Math.sqrt(3 * c.inner * 2 * c.layers),
            }),
          },
        });
        return {
          wte: c.vocab ? table("wte", c.vocab, 1 / Math.sqrt(c.d)) : linearWeights(make, "wte", c.d, c.inputs),
          wpe: has(c.position, "absolute") ? table("wpe", c.context, 1 / Math.sqrt(c.d)) : undefined,
          ln_emb: c.embeddingNorm ? normWeights(make, "ln_emb", c.d) : undefined,
          h: Array.from({ length: c.layers }, (_, i) => block(`h.${i}`)),
          ln_f: c.norm === "pre" ? normWeights(make, "ln_f", c.d) : undefined,
          lm_head:
            c.tied && !c.headBias
              ? undefined
              : {
                  weight: c.tied ? undefined : make("lm_head.weight", [c.outputs, c.d], 1 / Math.sqrt(3 * c.d)),
                  bias: c.headBias ? make("lm_head.bias", [c.outputs], 0) : undefined,
                },
        };
      }),
    embed(params, x) {
      if (c.vocab && x instanceof Tensor && x.shape.length !== 2)
        throw new RangeError(`transformer: got ${show(x)}\n  wants tokens [batch time]`);
      if (c.vocab) return embedding(params.wte.weight, x);
      if (!(x instanceof Tensor) || x.shape.length !== 3 || x.integral)
        throw new TypeError(
          `transformer: got ${x instanceof Tensor ? show(x) + (x.integral ? " integers" : "") : String(x)}\n  wants vectors [batch time ${c.inputs}]`,
        );
      return apply(x, params.wte);
    },
    states(params, x, { dropout = 0, allowed, keys, edges, watch } = {}) {
      const { tape } = x;
      const [b, t] = x.shape as [number, number, number];
      if (x.shape.length !== 3 || x.shape[2] !== c.d)
        throw new RangeError(`transformer: got ${show(x)}\n  wants embeddings [batch time ${c.d}]`);
      if (params.h.length !== c.layers || (has(c.position, "absolute") && !params.wpe))
        throw new RangeError(
          `transformer: the parameters have ${params.h.length} layers and ${params.wpe ? "a" : "no"} table wpe\n  wants those that this model's params made`,
        );
      if (t > c.context)
        throw new RangeError(
          `transformer: ${t} places are more than the context of ${c.context}\n  wants sequences of at most ${c.context}, or a larger context`,
        );
      if (has(c.position, "absolute"))
        x = reshape(
          bias(reshape(x, [b, t * c.d]), reshape(slice(params.wpe!.weight, 0, t, { axis: 0 }), [t * c.d])),
          x.shape,
        );
      if (has(c.position, "sinusoidal"))
        x = reshape(bias(reshape(x, [b, t * c.d]), tape.tensor([t * c.d], sinusoidal(t, c.d))), x.shape);
      if (params.ln_emb) x = norm(x, params.ln_emb, c.eps);
      x = drop(x, dropout);
      const own = !edges && c.myopic?.mode === "diagonal" && tape.recording;
      if (!edges && !own && c.myopic && tape.recording)
        edges = tape.tensor(
          [t, t],
          edgeWeights(
            Array.from({ length: t }, (_, i) => i),
            c.myopic,
          ),
        );
      const view: View = { causal: c.causal, allowed, keys, edges, own };
      watch?.(0, x);
      params.h.forEach((p, i) => {
        x = block(x, p, view, dropout);
        watch?.(i + 1, x);
      });
      return params.ln_f ? norm(x, params.ln_f, c.eps) : x;
    },
    head: (params, x) => linear(x, params.lm_head?.weight ?? params.wte.weight, params.lm_head?.bias),
    logits: (params, x, how) => model.head(params, model.states(params, model.embed(params, x), how)),
    loss: (params, x, targets) => crossEntropy(model.logits(params, x, { dropout: c.dropout }), targets),
  };
  return model;
}
