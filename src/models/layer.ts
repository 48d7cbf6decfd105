// layer.ts: one layer of a transformer, in functions to put together: attention block, MLP, norms. A layer takes what
// passes from one run to the next, a carry, and gives it on (carry.ts).
import {
  callable,
  choice,
  flag,
  get,
  integer,
  items,
  label,
  oneOf,
  options as chosen,
  printed,
  refuse,
  synchronous,
  tensor,
  tensorIn,
  whole,
  type Check,
} from "../check.ts";
import {
  having,
  apply,
  checkMlp,
  feedForward,
  drop,
  leaves,
  normed,
  type Activation,
  type MlpWeights,
  type Tree,
  type Weights,
} from "../nn.ts";
import { add, probability } from "../ops/elementwise.ts";
import { parted, restated } from "../ops/myopic.ts";
import { joined, reshape, slice, sliced, stopGradient } from "../ops/shapes.ts";
import { checked, type LayerWeights, type ModelWeights } from "../positions/index.ts";
import { acting, type Gating, type Places, type Position } from "../positions/kind.ts";
import type { Tensor } from "../tensor.ts";
import { SEE, biasOf, fused, inRows, turn, type Sight } from "./attention.ts";
import type { Carry, Reads } from "./carry.ts";
import { inside, type Inside } from "./inside.ts";
import type { Cut } from "./myopic.ts";

/** The sizes and choices of a layer. */
export interface LayerConfig {
  /** Width of the model. */
  readonly d: number;
  readonly heads: number;
  /** Heads of keys and values, each serving `heads / kvHeads` of queries. */
  readonly kvHeads: number;
  /** Norm before attention and MLP ("pre"), or after each sum ("post"). */
  readonly norm: "pre" | "post";
  /** Whether norms are RMS norms. */
  readonly rms: boolean;
  /** Inside the root of the norms. */
  readonly eps: number;
  readonly activation: Activation;
  readonly positions: readonly Position[];
}

/** A layer's attention: projections, and the parameters of positions under their names. */
export interface AttentionWeights extends LayerWeights {
  /** Queries, keys and values side by side: [(heads + 2 kvHeads) width, d]. */
  readonly c_attn: Weights;
  readonly c_proj: Weights;
  readonly [name: string]: Tensor | Tree | undefined;
}
/** A layer's parameters. */
export interface BlockWeights {
  readonly ln_1: Weights;
  readonly attn: AttentionWeights;
  readonly ln_2: Weights;
  readonly mlp: MlpWeights;
  readonly [name: string]: Tensor | Tree | undefined;
}

/** How to run a layer, beside its configuration. */
export interface LayerRun extends Sight {
  /** Probability of dropout on attention's result and MLP's result; 0 unless given. */
  dropout?: number | undefined;
  /** Which places x takes; from 0 unless given. */
  places?: Places | undefined;
  /** Which of the model's layers it is, where positions act in some alone; 0, the first, unless given. */
  layer?: number | undefined;
  /** What positions share among layers: the model's parameters. */
  shared?: ModelWeights | undefined;
  /** What the run before left for this layer. */
  carry?: Carry | undefined;
  /** Where keys and values are read from a stopped state (myopic training); see `Myopia`. */
  cut?: Cut | undefined;
  /** Only the places from here on have queries and come out: b (t - from) d; 0 unless given. */
  from?: number | undefined;
  /** Called with what attention has inside. */
  watch?: ((inside: Inside) => void) | undefined;
}

const attentionParts = /* @__PURE__ */ having("attentionBlock", "c_attn.weight", "c_proj.weight");
const blockParts = /* @__PURE__ */ having(
  "layer",
  "ln_1.weight",
  "ln_2.weight",
  "attn.c_attn.weight",
  "attn.c_proj.weight",
  "mlp.c_fc.weight",
  "mlp.c_proj.weight",
);
/** Throws unless `c` is a layer's configuration, and attention's parameters `p` have what its positions read. */
function configured(who: string, c: LayerConfig, p: AttentionWeights, layer: unknown = 0): void {
  for (const name of ["d", "heads", "kvHeads"]) integer(who, `c.${name}`, get(c, name), 1);
  choice(who, "c.norm", get(c, "norm"), ["pre", "post"]);
  flag(who, "c.rms", get(c, "rms"));
  const all = items(who, "c.positions are", get(c, "positions") as LayerConfig["positions"]);
  for (const position of all) checked(who, position);
  for (const { layer: [key] = [] } of acting(all, integer(who, "layer", layer))) {
    if (key === undefined) continue;
    const own = p[key];
    if (own === undefined) refuse(TypeError, who, `the parameters have no ${label(key)}`, "those of the position");
    for (const [path, x] of leaves(own as Tree, label(key))) tensor(who, path, x);
  }
}
const TENSOR = [tensorIn, undefined] as const;
const shared: Check<ModelWeights> = (who, name, value) => {
  if (typeof value === "object" && value) return value as ModelWeights;
  refuse(TypeError, who, `${name} is ${printed(value)}`, "the model's parameters");
};
const RUN = {
  causal: [flag, true],
  own: [flag, false],
  allowed: TENSOR,
  keys: TENSOR,
  documents: TENSOR,
  edges: TENSOR,
  dropout: [probability, 0],
  places: [placed, undefined],
  layer: [/* @__PURE__ */ whole(), 0],
  shared: [shared, undefined],
  carry: [carried, undefined],
  cut: [/* @__PURE__ */ oneOf("kv", "post_ln", "pre_ln"), undefined],
  from: [/* @__PURE__ */ whole(), 0],
  watch: [callable, undefined],
} as const;
/** Checks for places. */
function placed(who: string, name: string, value: unknown): Places {
  integer(who, `${name}.b`, get(value, "b"));
  integer(who, `${name}.t`, get(value, "t"));
  const starts = get(value, "starts") as readonly number[] | undefined;
  if (starts !== undefined) for (const n of items(who, `${name}.starts are`, starts)) integer(who, "a start", n);
  return value as Places;
}
/** Checks for a carry. */
export function carried(who: string, name: string, value: unknown): Carry {
  callable(who, `${name}.next`, get(value, "next"));
  const [seen, earlier] = [get(value, "seen"), get(value, "earlier")];
  if (seen !== undefined) integer(who, `${name}.seen`, seen);
  if (earlier !== undefined) tensor(who, `${name}.earlier`, earlier as Tensor, "b s d");
  for (const hook of ["enter", "extend", "held", "shorten", "fits"]) {
    const own = get(value, hook);
    if (own !== undefined) callable(who, `${name}.${hook}`, own);
  }
  return value as Carry;
}

/**
 * One layer over x b t d: x + attend(norm(x)), then x + mlp(norm(x)); or norm(x + ...) where norms come after.
 *
 *     const { x: y, carry } = layer(x, params.h[0], model.config, { carry: before });
 */
export function layer(x: Tensor, p: BlockWeights, c: LayerConfig, run: LayerRun = {}): Layered {
  const who = "layer";
  tensor(who, "x", x, "b t d");
  blockParts(p);
  const all = chosen(who, run, RUN) as LayerRun;
  configured(who, c, p.attn, all.layer);
  checkMlp(p.mlp, c.activation);
  return layered(x, p, c, all);
}
/** What a layer makes of x, and the carry after it. */
interface Layered {
  readonly x: Tensor;
  readonly carry?: Carry | undefined;
}
/** The same, of what has been checked. */
export function layered(x: Tensor, p: BlockWeights, c: LayerConfig, run: LayerRun): Layered {
  const { dropout = 0, from = 0 } = run;
  const t = x.shape[1]!;
  if (from && dropout && c.d % 4) {
    // Words come in blocks of 4, which rows of some places would begin and end within.
    const all = layered(x, p, c, { ...run, from: 0 });
    return { ...all, x: sliced(all.x, from, t, 1) };
  }
  const entered = run.carry?.enter?.(x) ?? x;
  const pre = c.norm === "pre";
  const before = (w: Weights) => (x: Tensor) => (pre ? normed(x, w, c) : x);
  const after = (x: Tensor, w: Weights): Tensor => (pre ? x : normed(x, w, c));
  const y = attended(entered, before(p.ln_1), p.attn, c, run);
  const middle = after(add(from ? sliced(entered, from, t, 1) : entered, drop(y, dropout, t)), p.ln_1);
  const z = feedForward(before(p.ln_2)(middle), p.mlp, c.activation);
  const out = after(add(middle, drop(z, dropout, t)), p.ln_2);
  return { x: out, carry: run.carry?.next(x, out) };
}

/** Attention over the residual stream x b t d, normed by `n` first; what it adds to the stream. */
export function attentionBlock(
  x: Tensor,
  n: (x: Tensor) => Tensor,
  p: AttentionWeights,
  c: LayerConfig,
  run: LayerRun = {},
): Tensor {
  const who = "attentionBlock";
  tensor(who, "x", x, "b t d");
  callable(who, "the norm", n);
  attentionParts(p);
  const all = chosen(who, run, RUN) as LayerRun;
  configured(who, c, p, all.layer);
  return attended(x, n, p, c, all);
}
function attended(x: Tensor, n: (x: Tensor) => Tensor, p: AttentionWeights, all: LayerConfig, run: LayerRun): Tensor {
  const { from = 0 } = run;
  if (from && from >= x.shape[1]!) refuse(RangeError, "layer", `from is ${from} of ${x.shape[1]!} places`, "a place");
  const positions = acting(all.positions, run.layer ?? 0);
  const c = positions === all.positions ? all : { ...all, positions };
  const earlier = run.carry?.earlier;
  const states = earlier ? joined([earlier, x], 1) : x;
  const bias = biasOf(positions, ...ofLayer(p, run.shared));
  const { gating } = bias;
  const { projection, gates, old, oldGates } = project(states, n, p, c, gating, run.cut);
  const places = (!earlier && run.places) || placesOf(states);
  const t = x.shape[1]! - from;
  const reads = sources(projection, gates, c, gating, places, t);
  const read = run.carry?.extend?.(reads) ?? reads;
  if (read !== reads) for (const name of ["q", "k", "v"] as const) tensor("layer", name, get(read, name) as Tensor);
  const past = old && sources(old, oldGates, c, gating, placesOf(states), states.shape[1]!);
  const seen = from ? { ...run, ...lastRows(run, t) } : run;
  if (run.watch) synchronous("watch", run.watch(inside(read, bias, c, seen)));
  const sight = read.counts ? widened(seen, read.k.shape[1]!) : seen;
  const y = fused(read, past, { bias, h: c.heads, g: c.kvHeads, d: c.d / c.heads }, sight);
  return apply(y, p.c_proj);
}

/** What finds the parameters of a position in a layer's attention, and in the model. */
export const ofLayer = (own: AttentionWeights, model: ModelWeights | undefined) =>
  [
    ({ layer }: Position) => layer && (own[layer[0]] as Tree | undefined),
    ({ model: shared }: Position) => shared && (get(model, shared[0]) as Tree | undefined),
  ] as const;

/** What the last t queries see, and send back. */
function lastRows({ allowed, edges }: Sight, t: number): Sight {
  const last = (x: Tensor | undefined) => x && sliced(x, x.shape[0]! - t, x.shape[0]!, 0);
  return { allowed: last(allowed), edges: last(edges) };
}

/** Masks over the places that there are as masks over all that a cache has room for, where nothing flows back. */
function widened({ causal, allowed, keys, documents }: Sight, room: number): Sight {
  const wide = (x: Tensor | undefined): Tensor | undefined => {
    if (!x) return undefined;
    const [rows, n] = x.shape as [number, number];
    const values = x.values();
    const all = new Float64Array(rows * room);
    for (let i = 0; i < rows; i++) all.set(values.subarray(i * n, i * n + n), i * room);
    return x.integral ? x.tape.integers([rows, room], all) : x.tape.tensor([rows, room], all);
  };
  return { causal, allowed: wide(allowed), keys: wide(keys), documents: wide(documents) };
}

/** Places from 0. */
function placesOf(x: Tensor): Places {
  return { b: x.shape[0]!, t: x.shape[1]! };
}

/** The projection of the normed stream, and once more as if of a stopped one, as the cut says. */
function project(
  x: Tensor,
  n: (x: Tensor) => Tensor,
  p: AttentionWeights,
  c: LayerConfig,
  gating: Gating | undefined,
  cut: Cut = "kv",
) {
  const state = n(x);
  // Under post_ln and pre_ln keys, values and gate keys are read twice: from the live state, and from a stopped one by
  // live weights.
  const read = (w: Weights, start: number): readonly [Tensor, Tensor?] => {
    if (cut === "post_ln") return parted(state, w.weight, w.bias);
    const y = apply(state, w);
    if (cut !== "pre_ln") return [y];
    return [y, restated(stopGradient(y), n(stopGradient(x)), w.weight, w.bias, { start })];
  };
  const [projection, old] = read(p.c_attn, c.d);
  if (gating && !gating.keys && ["sep", "token"].includes(gating.gates))
    refuse(RangeError, "layer", `gates are ${gating.gates}, and the parameters have no gate`);
  const [gates, oldGates] = gating?.keys ? read(gating.keys, 0) : [];
  return { projection, old, gates, oldGates };
}

/**
 * Where queries, keys, values and gate keys lie: in the projection b s n itself, where nothing turns them first;
 * `places` are those of keys, and queries are the last t of them.
 */
function sources(
  all: Tensor,
  gates: Tensor | undefined,
  c: LayerConfig,
  gating: Gating | undefined,
  places: Places,
  t: number,
): Reads {
  const [b, s] = all.shape as [number, number];
  const width = c.d / c.heads;
  const [kAt, vAt] = [c.d, c.d + c.kvHeads * width];
  const q = t === s ? all : sliced(all, s - t, s, 1);
  if (!c.positions.some(p => p.turn)) {
    const see = SEE[gating?.gates ?? "shared"];
    return { q, k: all, kAt, v: all, vAt, gateK: gates, gates: see };
  }
  const heads = (x: Tensor, from: number, n: number): Tensor =>
    reshape(slice(x, from, from + n * width), [b, x.shape[1]!, n, width]);
  const k = heads(all, kAt, c.kvHeads);
  const v = heads(all, vAt, c.kvHeads);
  const gateK = gating?.gates === "token" ? gates : gates && reshape(gates, k.shape);
  const starts = (places.starts ?? new Array<number>(b).fill(0)).map(n => n + s - t);
  const queries: Places = t === s ? places : { b, t, starts };
  return inRows(turn({ q: heads(q, 0, c.heads), k, v, gateK }, c.positions, queries, places, gating));
}
