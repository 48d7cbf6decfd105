// attention.ts: attention with every kind of position, and with the gradient to earlier places weighed. Written twice
// on purpose: once as one kernel, which is what runs, and once composed from small operations, which reads like the
// papers and is what tests hold the kernel against.
import { known } from "../check.ts";
import { maskedSoftmax, mix, pick, rope, scores, tableScores } from "../ops/composed.ts";
import { attentionOver } from "../ops/attention.ts";
import { add, bias } from "../ops/elementwise.ts";
import { reshape } from "../ops/shapes.ts";
import { show } from "../check.ts";
import { Tensor } from "../tensor.ts";
import { cope, scales, type CopeOptions, type View } from "./cope.ts";
import { alibi, alibiSlopes, distances, has, kinds, mask, rotary, type Position } from "./position.ts";

/** What attention reads beside queries, keys and values. */
export interface AttentionOptions {
  /** Queries are the last `t` of `s` places and see none after their own; true unless given. */
  causal?: boolean;
  /** Instead of `causal`: t s, 1 where query t may look at key s, 0 where not. */
  allowed?: Tensor | undefined;
  /** b s, 1 for real keys and 0 for padding. */
  keys?: Tensor | undefined;
  /** t s, from 0 to 1: weighs what queries send back to keys and values; see `scores`. */
  edges?: Tensor | undefined;
  /**
   * Instead of `edges`: keys and values get the gradient of the query at their own place and no other (strict myopia).
   */
  own?: boolean;
  /** Keys, values and gate keys computed from a stopped state; they take the gradient that the edges hold back. */
  past?: { k: Tensor; v: Tensor; gateKeys?: Tensor | undefined } | undefined;
  position?: Position;
  /** Tables of CoPE and of relative positions, one row a position and as wide as a head. */
  tables?: { cope?: Tensor | undefined; relative?: Tensor | undefined };
  cope?: CopeOptions;
  /** b s h d: CoPE's gate keys where `cope.gates` is "sep". */
  gateKeys?: Tensor | undefined;
  rope?: { theta?: number; interleaved?: boolean };
  /** Compose it from small operations instead of running the kernel. */
  composed?: boolean;
}

/**
 * y_i = Σ_j softmax_j(logits_ij) v_j, head by head: q b t h d, k and v b s h d -> b t h d. A row that may see nothing
 * gives 0.
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  if (!options.composed) return fused(q, k, v, options);
  return mix(attend(q, k, v, options), v, edgesOf(q, k, options), options.past?.v);
}

/** What a settled choice of positions turns, adds and reads. */
function parts(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions) {
  known(
    "attention",
    options,
    "causal",
    "allowed",
    "keys",
    "edges",
    "own",
    "past",
    "position",
    "tables",
    "cope",
    "gateKeys",
    "rope",
    "composed",
  );
  const { position = "none", tables = {}, cope: how = {}, gateKeys, past, rope: turn = {} } = options;
  const { scaling = "listing", gates = "shared", rotated = false } = how;
  for (const [name, x] of Object.entries({ q, k, v })) {
    if (!(x instanceof Tensor)) throw new TypeError(`attention: ${name} is ${String(x)}\n  wants a tensor, b t h d`);
    if (x.shape.length !== 4) throw new RangeError(`attention: ${name} is ${show(x)}\n  wants four axes, b t h d`);
  }
  if (!kinds.includes(position))
    throw new RangeError(`attention: position is ${String(position)}\n  wants ${kinds.join(", ")}`);
  const [, t, h, d] = q.shape as [number, number, number, number];
  const s = k.shape[1]!;
  const isCope = has(position, "cope");
  const turned = has(position, "rope");
  if (t > s && (options.own || ((options.causal ?? true) && !options.allowed)))
    throw new RangeError(
      `attention: ${t} queries and ${s} keys\n  wants at most as many queries as keys, unless causal is false`,
    );
  for (const kind of ["cope", "relative"] as const)
    if (has(position, kind) && !tables[kind])
      throw new TypeError(`attention: position is ${position}\n  wants tables.${kind}, [positions ${d}]`);
  if (isCope && gates === "sep" && !gateKeys)
    throw new TypeError("attention: cope.gates is sep\n  wants gateKeys, b s h d");
  if (!["shared", "sep", "val"].includes(gates))
    throw new RangeError(`attention: cope.gates is ${String(gates)}\n  wants shared, sep or val`);
  let turnQ = (x: Tensor): Tensor => x;
  let turnK = turnQ;
  if (turned) {
    const { tape } = q;
    const all = rotary(tape, s, d, turn);
    const last = t === s ? all : rotary(tape, t, d, { ...turn, start: s - t });
    const interleaved = turn.interleaved ?? false;
    turnK = x => rope(x, all.cos, all.sin, { interleaved });
    turnQ = x => rope(x, last.cos, last.sin, { interleaved });
  }
  const seen = (x: Tensor | undefined): Tensor | undefined => x && (turned && rotated ? turnK(x) : x);
  // The gates may read the content logits themselves only where those are q·k as the gates would see them.
  const source = !isCope
    ? undefined
    : gates === "val"
      ? v
      : gates === "sep"
        ? gateKeys
        : turned && !rotated
          ? k
          : undefined;
  const stopped = source && (gates === "val" ? past?.v : gates === "sep" ? past?.gateKeys : past?.k);
  return {
    h,
    t,
    s,
    isCope,
    scale: scales(d, isCope ? scaling : "listing"),
    scaling,
    q: turnQ(q),
    k: turnK(k),
    past: past && turnK(past.k),
    gateQ: isCope && turned && !rotated ? q : undefined,
    gateK: seen(source),
    gatePast: seen(stopped),
    cope: isCope ? tables.cope : undefined,
    relative: has(position, "relative") ? tables.relative : undefined,
    alibi: has(position, "alibi"),
  };
}

function fused(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Tensor {
  const { allowed, causal = true, keys, edges, own = false, past } = options;
  const a = parts(q, k, v, options);
  const d = q.shape[3]!;
  /** Heads side by side in a row, as the kernel reads them. */
  const rows = (x: Tensor | undefined): Tensor | undefined =>
    x && reshape(x, [x.shape[0]!, x.shape[1]!, x.shape[2]! * d]);
  const slopes = a.alibi ? q.tape.tensor([a.h], alibiSlopes(a.h)) : undefined;
  const y = attentionOver(
    ...([rows(a.q)!, rows(a.k), rows(v), a.cope, rows(a.gateQ), rows(a.gateK), a.relative, slopes] as const),
    ...([keys, allowed, edges, rows(a.past), rows(past?.v), rows(a.gatePast), undefined] as const),
    {
      ...{ h: a.h, g: k.shape[2]!, d, causal: causal && !allowed, own },
      ...{ scale: a.scale.content, reach: a.scale.position },
    },
  );
  return reshape(y, q.shape);
}

/** What attention over a projection reads beside it: its gate keys, and both as if computed from a stopped state. */
interface ProjectionOptions extends Pick<
  AttentionOptions,
  "causal" | "allowed" | "keys" | "edges" | "own" | "position" | "cope" | "tables"
> {
  gates?: Tensor | undefined;
  old?: Tensor | undefined;
  oldGates?: Tensor | undefined;
}

/** Attention over a projection b t n that holds queries, keys and values side by side, `heads` of each: b t d. */
export function attentionOfProjection(x: Tensor, heads: number, options: ProjectionOptions): Tensor {
  const { allowed, causal = true, keys, edges, own = false, position = "none", cope = {}, tables = {} } = options;
  const width = x.shape[2]! / 3;
  const isCope = has(position, "cope");
  const scale = scales(width / heads, isCope ? (cope.scaling ?? "listing") : "listing");
  const slopes = has(position, "alibi") ? x.tape.tensor([heads], alibiSlopes(heads)) : undefined;
  const gates = isCope ? options.gates : undefined;
  const relative = has(position, "relative") ? tables.relative : undefined;
  return attentionOver(
    ...([x, undefined, undefined, isCope ? tables.cope : undefined, undefined, gates, relative, slopes] as const),
    ...([keys, allowed, edges, options.old, undefined, gates && options.oldGates, undefined] as const),
    {
      ...{ h: heads, g: heads, d: width / heads, kAt: width, vAt: 2 * width, causal: causal && !allowed, own },
      ...{ scale: scale.content, reach: scale.position, gates: cope.gates === "val" ? "values" : "keys" },
    },
  );
}

/** The edge weights of an attention: those given, or for `own` those of the diagonal. */
function edgesOf(q: Tensor, k: Tensor, { edges, own = false }: AttentionOptions): Tensor | undefined {
  if (edges || !own || !q.tape.recording) return edges;
  const t = q.shape[1]!;
  const s = k.shape[1]!;
  const diagonal = new Float64Array(t * s);
  for (let i = 0; i < t; i++) diagonal[i * s + s - t + i] = 1;
  return q.tape.tensor([t, s], diagonal);
}

/** The weights of `attention`: softmax_j(logits_ij), b h t s, composed from small operations. */
export function attend(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  const { tape } = q;
  const { causal = true, allowed, keys } = options;
  const a = parts(q, k, v, options);
  const { t, s, h } = a;
  const [b] = q.shape as [number];
  const edges = edgesOf(q, k, options);
  const view: View = { allowed: allowed ?? tape.tensor([t, s], mask(t, s, causal)), keys, edges };
  let logits = scores(a.q, a.k, edges, a.past, { scale: a.scale.content }); // b h t s
  if (a.cope)
    logits = cope(logits, a.gateQ ?? a.q, a.cope, view, { scaling: a.scaling, gateKeys: a.gateK, past: a.gatePast });
  if (a.relative)
    logits = add(
      logits,
      pick(
        tableScores(a.q, a.relative, { scale: a.scale.content }),
        tape.integers([t, s], distances(t, s, a.relative.shape[0]!)),
      ),
    );
  if (a.alibi)
    logits = reshape(bias(reshape(logits, [b, h * t * s]), tape.tensor([h * t * s], alibi(h, t, s))), [b, h, t, s]);
  return maskedSoftmax(logits, view.allowed, keys);
}
