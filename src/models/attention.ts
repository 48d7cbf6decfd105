// attention.ts: attention with every kind of position, and with the gradient to earlier places weighed. Written twice
// on purpose: once as one kernel, which is what runs, and once composed from small operations, which reads like the
// papers and is what tests hold the kernel against.
import {
  anything,
  extent,
  flag,
  isTensor,
  nested,
  options as chosen,
  read,
  refuse,
  shapeOf,
  tensor,
  tensorIn,
  type Check,
  type Chosen,
} from "../check.ts";
import { leaves, type Tree } from "../nn.ts";
import { attentionEntry } from "../ops/attention.ts";
import { maskedSoftmax, mix, pick, scores, tableScores } from "../ops/composed.ts";
import { add, bias } from "../ops/elementwise.ts";
import { concat, reshape, slice } from "../ops/shapes.ts";
import { alibi } from "../positions/alibi.ts";
import { cope, masked, scales, type Masks } from "../positions/cope.ts";
import {
  kinds,
  optionNames as ofPositions,
  positionsOf,
  type PositionChoice,
  type PositionOptions,
} from "../positions/index.ts";
import type { Bias, Gates, Gating, Places, Position } from "../positions/kind.ts";
import { distances } from "../positions/relative.ts";
import type { Tensor } from "../tensor.ts";
import type { Reads } from "./carry.ts";

/** Which keys queries see, and what they send back. */
export interface Sight {
  /** Queries are the last `t` of `s` places and see none after their own; true unless given. */
  causal?: boolean;
  /** Instead of `causal`: t s, 0 where query t may not look at key s, anything else where it may. */
  allowed?: Tensor | undefined;
  /** b s, 0 for padding, whose keys and values are never read, anything else for keys. */
  keys?: Tensor | undefined;
  /** Integers from 0, b s, of texts packed into a row: a query sees the keys of its own document alone. */
  documents?: Tensor | undefined;
  /** t s, from 0 to 1: weighs what queries send back to keys and values; see `scores`. */
  edges?: Tensor | undefined;
  /**
   * Instead of `edges`: keys and values get the gradient of the query at their own place and no other (strict myopia).
   */
  own?: boolean;
}

/** What attention reads beside queries, keys and values, options of positions included. */
export interface AttentionOptions extends Sight, PositionOptions {
  /** Keys, values and gate keys computed from a stopped state; they take the gradient that the edges hold back. */
  past?: { k: Tensor; v: Tensor; gateKeys?: Tensor | undefined } | undefined;
  /** Positions that act on queries, keys and logits; none unless given. */
  position?: PositionChoice;
  /**
   * What positions have in a layer, by their names: a table, p d, one row a position and as wide as a head; where each
   * head has its own (CoPE's `table: "head"`), h p d; or all parameters by name, as a model has them.
   */
  tables?: { readonly [name: string]: Tensor | Tree | undefined };
  /** What only gates see: gate keys b s g d where they are "sep", logits of the tokens b s g where they are "token". */
  gateKeys?: Tensor | undefined;
  /** Compose it from small operations instead of running the kernel. */
  composed?: boolean;
}

/** What keys and values are, and gate keys that are not logits. */
const KEYS = "b s g d";
const TENSOR = [tensorIn as Check<Tensor>, undefined] as const;
const PAST = { k: [tensorIn as Check<Tensor>], v: [tensorIn as Check<Tensor>], gateKeys: TENSOR } as const;
// A call: bundlers keep a table made at the top level.
const made = () =>
  ({
    causal: [flag, true],
    own: [flag, false],
    composed: [flag, false],
    allowed: TENSOR,
    keys: TENSOR,
    documents: TENSOR,
    edges: TENSOR,
    gateKeys: TENSOR,
    past: [nested(PAST), undefined],
    position: [anything as Check<PositionChoice>, "none"],
    tables: [anything, {}],
    ...(Object.fromEntries(ofPositions.map(name => [name, [anything, undefined]])) as object),
  }) as const;
type Complete = Chosen<ReturnType<typeof made>>;
let table: ReturnType<typeof made> | undefined;
const wants = () => (table ??= made());

/**
 * Queries, keys, values and what gates read, head by head: b t h d. Gates read queries and keys that are not turned.
 */
export interface Heads {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly gateQ?: Tensor | undefined;
  readonly gateK?: Tensor | undefined;
  /** What gates see: see `Reads`. By tensors it cannot be told: one may be several of them. */
  readonly gates?: Reads["gates"];
}
/** Heads and, as far as there are any, their pasts; and what positions add to their logits. */
export interface Attended extends Heads {
  readonly past?: Heads | undefined;
  readonly bias: Bias;
}

/**
 * y_i = Σ_j softmax_j(logits_ij) v_j, head by head: q b t h d, k and v b s g d -> b t h d, each of g heads of keys and
 * values serving h / g of queries. A row that may see nothing gives 0.
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  const o = chosen("attention", options, wants());
  const a = attended(q, k, v, o);
  const [, , h, d] = q.shape as [number, number, number, number];
  if (!o.composed)
    return reshape(fused(inRows(a), a.past && inRows(a.past), { ...a, h, g: k.shape[2]!, d }, o), q.shape);
  const old = o.past && repeated(o.past.v, h);
  return mix(weights(a, o), repeated(v, h), edgesOf(q, k, o), old);
}

/** Heads of keys or values, each as often as it serves queries: b s g d -> b s h d. */
export function repeated(x: Tensor, h: number): Tensor {
  const each = h / x.shape[2]!;
  if (each === 1) return x;
  const heads = Array.from({ length: h }, (_, i) => Math.floor(i / each)).map(i => slice(x, i, i + 1, { axis: 2 }));
  return concat(heads, { axis: 2 });
}

/** The weights of `attention`: softmax_j(logits_ij), b h t s, composed from small operations. */
export function attend(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  const o = chosen("attention", options, wants());
  return weights(attended(q, k, v, o), o);
}

/** Checks what a caller gave, and turns queries and keys. */
function attended(q: Tensor, k: Tensor, v: Tensor, options: Complete): Attended {
  const who = "attention";
  const { position, gateKeys, past } = options;
  tensor(who, "q", q, "b t h d");
  const [b, t, h, d] = q.shape as [number, number, number, number];
  const [, s, g] = tensor(who, "k", k, KEYS).shape as [number, number, number];
  const shape = [b, s, g, d];
  const fits = (name: string, x: Tensor, axes = KEYS): void => {
    if (tensor(who, name, x, axes).shape.some((n, i) => n !== shape[i]))
      refuse(RangeError, who, `${name} is ${shapeOf(x)}`, `[${axes}] of ${shapeOf({ shape })}`);
  };
  fits("k", k);
  fits("v", v);
  if (past) {
    fits("past.k", past.k);
    fits("past.v", past.v);
  }
  if (t > s && (options.own || (options.causal && !options.allowed))) {
    const wants = "at most as many queries as keys, unless causal is false";
    refuse(RangeError, who, `${t} queries and ${s} keys`, wants);
  }
  const sizes = { d: h * d, width: d, heads: h, kvHeads: g, layers: 1, context: Math.max(1, s), bias: false };
  const positions = positionsOf(position, options as PositionOptions, sizes, who);
  const names = Object.fromEntries([...kinds, ...positions.map(p => p.name)].map(name => [name, 0]));
  const tables = read(`${who}, tables`, options.tables, names) as NonNullable<AttentionOptions["tables"]>;
  for (const table of Object.values(tables)) if (!isTensor(table)) leaves((table ?? []) as Tree);
  const given = ({ name, layer, model, bias }: Position): Tree | undefined => {
    const table = tables[name];
    if ((layer || (bias && model)) && !table)
      refuse(TypeError, who, `position is ${name}`, `tables.${name}, [positions ${d}]`);
    return isTensor(table) ? { weight: table as Tensor } : (table as Tree);
  };
  const bias = biasOf(positions, given, given);
  const { gating } = bias;
  const all: { readonly [G in Gates]?: string } = { sep: KEYS, token: "b s g" };
  const needs = gating && all[gating.gates];
  for (const x of needs ? [gateKeys, ...(past ? [past.gateKeys ?? gateKeys] : [])] : []) {
    if (!x) refuse(TypeError, who, `the gates are ${gating!.gates}`, `gateKeys, ${needs}`);
    fits("gateKeys", x, needs);
  }
  const [queries, keys] = [
    { b, t, starts: [s - t] },
    { b, t: s },
  ] as const;
  const turned = turn({ q, k, v, gateK: gateKeys }, positions, queries, keys, gating);
  const stopped = past && { q: past.k, k: past.k, v: past.v, gateK: past.gateKeys };
  return { ...turned, past: stopped && turn(stopped, positions, keys, keys, gating), bias };
}

/** What all positions add to the logits; `own` and `shared` find the parameters of one in a layer and in the model. */
export function biasOf(
  positions: readonly Position[],
  own: (position: Position) => Tree | undefined,
  shared: (position: Position) => Tree | undefined,
): Bias {
  let all: Bias = {};
  for (const p of positions) {
    if (!p.bias) continue;
    const added = p.bias(own(p)!, shared(p));
    for (const what in added)
      if (what in all) refuse(RangeError, p.name, `another position adds ${what} as well`, "one of the two");
    all = { ...all, ...added };
  }
  return all;
}

/**
 * Turns queries and keys that stand at these places, and says what gates read: under `shared` nothing of their own
 * where they would see the very logits, else keys and queries that are not turned.
 */
export function turn(
  { q, k, v, gateK }: Heads,
  positions: readonly Position[],
  queries: Places,
  keys: Places,
  gating: Gating | undefined,
): Heads {
  const turns = positions.flatMap(p => (p.turn ? [p.turn] : []));
  const turned = (x: Tensor, places: Places): Tensor => turns.reduce((x, turn) => turn(x, places)(x), x);
  const all = { q: turned(q, queries), k: turned(k, keys), v };
  if (!gating) return all;
  const { gates, rotated } = gating;
  const any = turns.length > 0;
  const apart = any && !rotated;
  const moved = any && rotated && gates !== "token";
  const source = gates === "val" ? v : gates !== "shared" ? gateK : apart ? k : undefined;
  return {
    ...all,
    gateQ: apart ? q : undefined,
    gateK: source && moved ? turned(source, keys) : source,
    gates: moved ? "keys" : SEE[gates],
  };
}

/** Where the kernel looks for what gates see, where nothing is turned: keys of their own are keys. */
export const SEE = { shared: "keys", val: "values", sep: "keys", token: "tokens" } as const;

/** Heads side by side in rows, as the kernel reads them. */
export function inRows({ q, k, v, gateQ, gateK, gates = "keys" }: Heads): Reads {
  const rows = (x: Tensor): Tensor => reshape(x, [x.shape[0]!, x.shape[1]!, x.shape[2]! * x.shape[3]!]);
  return {
    q: rows(q),
    k: rows(k),
    kAt: 0,
    v: rows(v),
    vAt: 0,
    gateQ: gateQ && rows(gateQ),
    gateK: gates === "keys" ? gateK && rows(gateK) : gates === "tokens" ? gateK : undefined,
    gates,
  };
}

/** Attention by the kernel, over what lies in `read` and, of a stopped state, in `past`: heads side by side, b t n. */
export function fused(
  { q, k, kAt, v, vAt, gateQ, gateK, gates, counts }: Reads,
  past: Reads | undefined,
  { bias, h, g, d }: { bias: Bias; h: number; g: number; d: number },
  { allowed, causal = true, keys, documents, edges, own = false }: Sight,
): Tensor {
  const { gating } = bias;
  const { content, position } = scales(d, gating?.scaling ?? "listing");
  const slopes = bias.slopes && q.tape.tensor([h], bias.slopes);
  const perHead = gating?.table.shape.length === 3;
  const [, p, n] = gating?.table.shape ?? [];
  const table = perHead ? reshape(gating.table, [h * p!, n!]) : gating?.table;
  return attentionEntry.of(
    [
      q,
      k === q ? undefined : k,
      v === k ? undefined : v,
      table,
      gateQ,
      gateK,
      gating?.bias,
      bias.distances,
      slopes,
      keys,
      allowed,
      documents,
      edges,
      past?.k,
      past && past.v !== past.k ? past.v : undefined,
      past?.gateK,
      counts,
    ],
    {
      h,
      g,
      d,
      kAt,
      vAt,
      own,
      scale: content,
      tableScale: position,
      causal: allowed ? false : causal,
      gates,
      perHead,
    },
  );
}

/** The edge weights of an attention: those given, or for `own` those of the diagonal. */
function edgesOf(q: Tensor, k: Tensor, { edges, own = false }: Sight): Tensor | undefined {
  if (edges || !own || !q.tape.recording) return edges;
  const t = q.shape[1]!;
  const s = k.shape[1]!;
  const diagonal = Array.from({ length: t * s }, (_, n) => Number(n % s === s - t + Math.floor(n / s)));
  return q.tape.tensor([t, s], diagonal);
}

/** Who may look at whom, as a table. */
export function masksOf(q: Tensor, k: Tensor, sight: Sight): Masks {
  const { causal = true, allowed: given, keys, documents } = sight;
  const [t, s] = [q.shape[1]!, k.shape[1]!];
  const allowed = given ?? q.tape.tensor([t, s], mask(t, s, causal));
  const edges = edgesOf(q, k, sight);
  return { allowed: documents ? within(documents, allowed) : allowed, keys, edges };
}
/** `allowed` t s for each sequence, but only within a document: b t s. */
function within(documents: Tensor, allowed: Tensor): Tensor {
  const [b, n] = documents.shape as [number, number];
  const [t, s] = allowed.shape as [number, number];
  const ids = documents.values();
  if (!documents.integral || n !== s || t > s || ids.some(id => id < 0)) {
    const why = `documents of ${n} places, ${t} queries and ${s} keys`;
    refuse(RangeError, "attention", why, "integers from 0");
  }
  const values = allowed.values();
  const all = Float64Array.from({ length: b * t * s }, (_, n) => {
    const [row, j] = [Math.floor(n / (t * s)) * s, n % s];
    const i = s - t + (Math.floor(n / s) % t);
    return ids[row + i] === ids[row + j] ? values[n % (t * s)]! : 0;
  });
  return allowed.tape.tensor([b, t, s], all);
}

/** The weights of attention, composed: what each kind of position adds to the logits reads like its equation. */
export function weights({ q, k, gateQ, gateK, past, bias: added }: Attended, sight: Sight): Tensor {
  const { tape } = q;
  const [b, t, h, d] = q.shape as [number, number, number, number];
  const s = k.shape[1]!;
  const masks = masksOf(q, k, sight);
  const { content } = scales(d, added.gating?.scaling ?? "listing");
  const all = (x: Tensor | undefined): Tensor | undefined => x && repeated(x, h);
  let logits = scores(q, repeated(k, h), masks.edges, all(past?.k), { scale: content }); // b h t s
  if (added.gating) {
    const { scaling, bias } = added.gating;
    const reads = { scaling, gateKeys: all(gateK), past: all(past?.gateK), bias };
    logits = cope(logits, gateQ ?? q, added.gating.table, masks, reads);
  }
  if (added.distances) {
    const index = tape.integers([t, s], distances(t, s, added.distances.shape[0]!));
    logits = add(logits, pick(tableScores(q, added.distances, { scale: content }), index));
  }
  if (added.slopes) {
    const falling = tape.tensor([h * t * s], alibi(h, t, s));
    logits = reshape(bias(reshape(logits, [b, h * t * s]), falling), [b, h, t, s]);
  }
  return masked(maskedSoftmax, logits, masks);
}

/** 1 where query i (the last `t` of `s` places) may look at key j: j <= i, or everywhere when not `causal`. */
export function mask(t: number, s: number, causal: boolean): Float64Array {
  const n = extent("mask", { t, s });
  flag("mask", "causal", causal);
  if (causal && t > s) {
    const wants = "queries that are the last of the places, or causal: false";
    refuse(RangeError, "mask", `${t} queries are more than ${s} places`, wants);
  }
  const allowed = new Float64Array(n).fill(1);
  if (causal) for (let i = 0; i < t; i++) allowed.fill(0, i * s + s - t + i + 1, (i + 1) * s);
  return allowed;
}
