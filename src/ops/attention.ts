// attention.ts: attention in one kernel, over sources: tensors of rows in which queries, keys and values begin at some
// column. A projection of all three is one source, with one gradient, written whole; a cache of keys and values is one.
import { oneOf, read, refuse, whole } from "../check.ts";
import type { AttentionArguments, AttentionBackArguments, Kernels } from "../engine.ts";
import { op, type Operand, type Result, type Source } from "../op.ts";
import { signatureOf } from "../signature.ts";
import type { Tensor } from "../tensor.ts";

const size = /* @__PURE__ */ whole(1);
const column = /* @__PURE__ */ whole();

/** Throws unless rows are as wide as what is read of them; widths by letter, as in the signature. */
function fits(n: Record<"h" | "g" | "d" | "kAt" | "vAt" | "i", number> & Partial<Record<string, unknown>>): void {
  const { h, g, d, kAt, vAt, i, j = i, l = j, u, w, x, y = x, z } = n as Record<string, number>;
  const kv = g! * d!;
  const gate = n.gates === "tokens" ? g! : kv;
  const keys = kAt! + kv;
  const values = vAt! + kv;
  const rows = { q: [i, h! * d!], k: [j, keys], v: [l, values], gq: [u, h! * d!], gk: [w, gate] };
  for (const [name, [row, end]] of Object.entries({ ...rows, pk: [x, keys], pv: [y, values], pg: [z, gate] }))
    if (row !== undefined && row < end!)
      throw new RangeError(`rows of ${name} have ${row} numbers, and by h, g, d and columns ${end} are read`);
}

/** Sizes, columns and factors that both directions read. */
type Heads = Record<
  ("b" | "t" | "s" | "h" | "g" | "d" | "p" | "r" | "room" | "lse" | "scale" | "tableScale") | ("kAt" | "vAt"),
  number
> & { causal: boolean; perHead: boolean; gates: Seen };
/** What gates see where they have no source of their own, or that their source holds a logit a token. */
type Seen = "keys" | "values" | "tokens";

/** The row of a source, in numbers. */
const row = ({ shape }: Source): number => shape[2] ?? 0;
/** An address that stays 0 when moved on by `n` numbers. */
const on = (K: Kernels, address: number, n: number): number => address && address + n * K.width;

/** The inputs, in the order of the signature. */
type All<T> = readonly [T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T];

/** Where keys, values and what gates read lie, and at which column gates begin, given the sources that were passed. */
function sources<T extends Source>(n: Heads, [q, k, v, table, gq, gk]: All<T>) {
  const keys = k.data ? k : q;
  const values = v.data ? v : keys;
  const seen = n.gates === "values" ? values : gq.data ? keys : gk;
  const gates = table.data && !gk.data ? seen : gk;
  return { keys, values, gates, at: gk.data ? 0 : n.gates === "values" ? n.vAt : n.kAt };
}

/** What both kernels of attention read. */
function argumentsOf(K: Kernels, n: Heads, y: Source, inputs: All<Source>): AttentionArguments {
  const [q, , , table, gq, , gateBias, rel, slopes, padding, allowed, documents, , , , , counts] = inputs;
  const { keys, values, gates, at } = sources(n, inputs);
  const { t, s } = n;
  const [qi, ki, vi, gqi, gki] = [row(q), row(keys), row(values), row(gq), row(gates)] as const;
  // One literal: V8 builds the hidden class of one put together from others anew at every call (5 % of a small step).
  return {
    scale: n.scale,
    tableScale: n.tableScale,
    h: n.h,
    g: n.g,
    t,
    s,
    d: n.d,
    p: n.p,
    r: n.r,
    causal: n.causal,
    q: q.data,
    qi,
    qb: t * qi,
    k: on(K, keys.data, n.kAt),
    ki,
    kb: s * ki,
    v: on(K, values.data, n.vAt),
    vi,
    vb: s * vi,
    gq: gq.data,
    gqi,
    gqb: t * gqi,
    gk: on(K, gates.data, at),
    gki,
    gkb: s * gki,
    tokens: n.gates === "tokens",
    gateBias: gateBias.data,
    table: table.data,
    tableh: n.perHead ? n.p * n.d : 0,
    rel: rel.data,
    slopes: slopes.data,
    keys: padding.data,
    allowed: allowed.data,
    documents: documents.data,
    counts: counts.data,
    o: y.data,
    lse: n.lse,
  };
}

/** Where attention reads, by name; b t i, or b s and some width of their own, unless said otherwise. */
export interface AttentionSources {
  /** Queries; and keys and values, where those have no source. */
  readonly q: Tensor;
  /** Keys; and values, where those have no source. */
  readonly k?: Tensor | undefined;
  readonly v?: Tensor | undefined;
  /** CoPE's table, p d; with `perHead` those of h heads, one behind the other. */
  readonly table?: Tensor | undefined;
  /** Gate queries; the queries unless given. */
  readonly gq?: Tensor | undefined;
  /** Gate keys, or by `gates` a logit a token and head of keys; by `gates` the keys or values unless given. */
  readonly gk?: Tensor | undefined;
  /** Added to the logits of gates, h. */
  readonly gateBias?: Tensor | undefined;
  /** Relative positions' table, r d. */
  readonly rel?: Tensor | undefined;
  /** ALiBi's slopes, h. */
  readonly slopes?: Tensor | undefined;
  /** b s, 0 for padding. */
  readonly keys?: Tensor | undefined;
  /** t s, 0 for what may not be seen. */
  readonly allowed?: Tensor | undefined;
  /** Integers from 0, b s: a query sees keys of its own document. */
  readonly documents?: Tensor | undefined;
  /** t s, the share of what queries send back that keys, values and gate keys get. */
  readonly edges?: Tensor | undefined;
  /** The pasts of keys, values and gate keys, laid out as their sources, which take the rest. */
  readonly pk?: Tensor | undefined;
  readonly pv?: Tensor | undefined;
  readonly pg?: Tensor | undefined;
  /** Integers b: how many keys each sequence has, of s, in forward passes. */
  readonly counts?: Tensor | undefined;
}
/** How attention reads its sources. */
export interface AttentionOverOptions {
  /** Heads of queries, and of keys and values, each of which serves h / g of queries; 1 unless given. */
  h?: number;
  g?: number;
  /** Numbers of a head; 1 unless given. */
  d?: number;
  /** At which columns keys and values begin; 0 unless given. */
  kAt?: number;
  vAt?: number;
  /** Whether a query sees none after its own place; true unless given. */
  causal?: boolean;
  /** Weighs q·k, and a query times CoPE's table; 1 unless given. */
  scale?: number;
  tableScale?: number;
  /** Instead of `edges`: keys, values and gate keys get what their own place sends and no other. */
  own?: boolean;
  /** What gates see, unless `gk` is given; or that it holds the tokens' logits. "keys" unless given. */
  gates?: Seen;
  /** Whether each head has a table of its own. */
  perHead?: boolean;
}

/** The entry of `attentionOver`, which takes its sources in a fixed order. */
export const attentionEntry = /* @__PURE__ */ op(
  "attention(q, k, v, table, gq, gk, gateBias, rel, slopes, keys, allowed, documents, edges, pk, pv, pg, counts)",
  /* @__PURE__ */ signatureOf(
    "b t i, b s j?, b s l?, p d?, b t u?, b s w?, h?, r d?, h?",
    "b s?, t s?, b c<ids?, t s?, b s x?, b s y?, b s z?, b<limit? -> b t o",
  ),
  {
    attrs: {
      h: 1,
      g: 1,
      d: 1,
      kAt: 0,
      vAt: 0,
      causal: true,
      scale: 1,
      tableScale: 1,
      own: false,
      gates: "keys" as Seen,
      perHead: false,
    },
    checks: {
      h: size,
      g: size,
      d: size,
      kAt: column,
      vAt: column,
      gates: /* @__PURE__ */ oneOf("keys", "values", "tokens"),
    },
    save: { lse: "b h t" },
    domain: [-1, 1],
    constant: [8, 9, 10, 12],
    derive(n) {
      const { t, h, g, d, p, r, causal, own, perHead } = n;
      const s = n.s ?? t;
      if (n.j === undefined && s !== t) throw new RangeError(`${t} queries and ${s} keys in one source`);
      if ((causal || own) && t > s) throw new RangeError(`${t} queries are more than ${s} keys`);
      if (n.c !== undefined && (n.c !== s || t > s))
        throw new RangeError(`documents of ${n.c} places, ${t} queries and ${s} keys`);
      if (n.gates === "tokens" && p !== undefined && n.w === undefined)
        throw new RangeError("gates of tokens without gk");
      if (h % g) throw new RangeError(`${h} heads of queries and ${g} of keys; h must be a multiple of g`);
      for (const rows of [p, r]) if (rows === 0) throw new RangeError("a table of positions has no rows");
      const tables = perHead ? h : 1;
      if ((p ?? 0) % tables) throw new RangeError(`${p} rows of a table for each of ${h} heads`);
      fits(n);
      return { s, p: (p ?? 0) / tables, tables, r: r ?? 0, o: h * d, limit: s + 1, ids: 2147483648 };
    },
    room: (K, { b, h, g, t, s, d, p, tables, r }, back) =>
      (back ? b * (tables * p + r) * d + b * h + 4 : 0) + K.attentionRoom(h, g, t, s, d, p, r, K.scratch),
    forward(K, n, y, ...inputs) {
      const given = argumentsOf(K, n, y, inputs);
      K.attention(K.block("AttentionArguments", given), 0, n.b, n.h * n.t * n.s * n.d, n.room);
    },
    backward(K, n, y, ...inputs) {
      const [, , , table, , , gateBias, rel] = inputs;
      const { b, h, t, s, d, p, r, room } = n;
      if (inputs[16].data) refuse(RangeError, "attention", "counts where gradients are wanted", "a forward pass alone");
      // A table and a bias for each sequence.
      const each = n.tables * p * d;
      const drel = room + b * each * K.width;
      const dbias = drel + b * r * d * K.width;
      const given = argumentsOf(K, n, y, inputs);
      const own = { table: table.grad && room, rel: rel.grad && drel, gateBias: gateBias.grad && dbias };
      const args = K.block("AttentionBackArguments", given, gradientsOf(K, n, y, inputs, own));
      K.attentionBack(args, 0, b, h * t * s * d, aligned(dbias + b * h * K.width));
      K.biasBack(b, each, room, each, table.grad, table.add, K.scratch);
      K.biasBack(b, r * d, drel, r * d, rel.grad, rel.add, K.scratch);
      K.biasBack(b, h, dbias, h, gateBias.grad, gateBias.add, K.scratch);
    },
  },
);
/** The next address at which a vector may lie. */
const aligned = (address: number): number => Math.ceil(address / 16) * 16;

/**
 * y_i = Σ_j softmax_j(scale q_i·k_j + what the positions add) v_j, queries being the last t of s places; nothing of
 * size t s is kept. Heads of `d` numbers: `h` of queries, `g` of keys and values, of which each serves h / g of queries
 * (Ainslie et al. 2023). Queries begin at column 0 of `q`, keys at column `kAt` of `k`, or of `q` where there is no
 * `k`; values at `vAt` of `v`, or of what holds the keys.
 *
 *     const y = attentionOver({ q: projection, table }, { h: 4, g: 4, d: 16, kAt: 64, vAt: 128, scale: 1 / 4 });
 */
export function attentionOver(sources: AttentionSources, options: AttentionOverOptions = {}): Tensor {
  const { inputs } = attentionEntry;
  const given = read("attention", sources, Object.fromEntries(inputs.map(name => [name, 0])));
  const call = attentionEntry as unknown as (...x: unknown[]) => Tensor;
  return call(...inputs.map(name => given[name]), options);
}

/** Whether a kernel that writes so many columns of a source's gradient is to add to it: it is not written whole. */
const adds = (x: Operand, columns: number): boolean => x.add || columns !== row(x);
/** Clears a gradient that such a kernel is to add to, unless it holds something. */
function clear(K: Kernels, x: Operand, columns: number): void {
  if (!x.add && columns !== row(x)) K.fill(x.size, 0, x.grad);
}

/** Clears and says where the gradients lie, and which are added to: pasts always, having columns that get nothing. */
function gradientsOf(
  K: Kernels,
  n: Heads & { own: boolean },
  y: Result,
  inputs: All<Operand>,
  own: { table: number; rel: number; gateBias: number },
): AttentionBackArguments {
  const [q, , , table, gq, gk, , , , , , , edges, pk, pv, pg] = inputs;
  const { keys, values, gates, at } = sources(n, inputs);
  const kv = n.g * n.d;
  const ofQ = n.h * n.d + (keys === q ? kv : 0) + (values === q ? kv : 0);
  const ofK = keys === q ? ofQ : values === keys ? 2 * kv : kv;
  const ofV = values === keys ? ofK : kv;
  const ofGq = table.data ? n.h * n.d : 0;
  const ofGk = !table.data ? 0 : n.gates === "tokens" ? n.g : kv;
  const ofGates = gates === gk ? ofGk : gates === values ? ofV : ofK;
  clear(K, q, ofQ);
  if (keys !== q) clear(K, keys, ofK);
  if (values !== keys) clear(K, values, ofV);
  clear(K, gq, ofGq);
  clear(K, gk, ofGk);
  for (const past of [pk, pv, pg]) clear(K, past, 0);
  const pastValues = pv.grad ? pv : pk;
  const pastGates = gk.data ? pg : n.gates === "values" ? pastValues : gq.data ? pk : pg;
  const [pki, pvi, pgi] = [row(pk), row(pastValues), row(pastGates)] as const;
  return {
    dout: y.grad,
    dq: q.grad,
    addQ: adds(q, ofQ),
    dk: on(K, keys.grad, n.kAt),
    addK: adds(keys, ofK),
    dv: on(K, values.grad, n.vAt),
    addV: adds(values, ofV),
    dtable: own.table,
    dgateBias: own.gateBias,
    dgq: gq.grad,
    addGq: adds(gq, ofGq),
    dgk: on(K, gates.grad, at),
    addGk: adds(gates, ofGates),
    drel: own.rel,
    own: n.own,
    edges: edges.data,
    pk: on(K, pk.grad, n.kAt),
    addPk: true,
    pki,
    pkb: n.s * pki,
    pv: on(K, pastValues.grad, n.vAt),
    addPv: true,
    pvi,
    pvb: n.s * pvi,
    pg: on(K, pastGates.grad, at),
    addPg: true,
    pgi,
    pgb: n.s * pgi,
  };
}

/** The entries of this file. */
export const attentionOps = [attentionEntry];
