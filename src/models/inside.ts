// inside.ts: what attention has inside, to be looked at: computed when asked for, from what the layer reads, without
// changing a bit of what it gives; and how far into their tables the gated positions of a text go.
import { callable, refuse } from "../check.ts";
import { living } from "../nn.ts";
import { maskedSoftmax } from "../ops/composed.ts";
import { reshape, slice } from "../ops/shapes.ts";
import { gateLogits, masked, positionLogits, positions as counted, type Masks } from "../positions/cope.ts";
import type { Bias, Gating } from "../positions/kind.ts";
import type { Tape } from "../tape.ts";
import type { Tensor } from "../tensor.ts";
import { masksOf, repeated, weights, type Attended, type Sight } from "./attention.ts";
import type { Reads } from "./carry.ts";

/** What a layer's attention has inside, as tensors b t h d, or computed when asked for. */
export interface Inside {
  readonly queries: Tensor;
  readonly keys: Tensor;
  readonly values: Tensor;
  /** The weights of each query over the keys, b h t s. */
  weights(): Tensor;
  /** What gates make of queries and keys (CoPE); nothing without gates. */
  gates(): GatePositions | undefined;
}

/** Gates of a layer and the positions they add up to (CoPE). */
export interface GatePositions {
  /** b h t s, 0 where a key may not be seen. */
  readonly gates: Tensor;
  /** Sums of the gates from key to query, b h t s, not yet capped at the table's last row. */
  readonly positions: Tensor;
  /**
   * Attention by position alone, b h t s as `weights()`: softmax of the position logits q·table[position] over the keys
   * that may be seen.
   */
  byPosition(): Tensor;
  /** How far into the table each head goes. */
  rows(): HeadRows[];
}

/** How far into its table a head goes, over all pairs of a query that is no padding and a key that it may see. */
export interface HeadRows {
  /** How many such pairs there are. */
  readonly pairs: number;
  /** The share of them, from 0 to 1, whose position is capped: at the table's last row, or beyond it. 0 of no pairs. */
  readonly saturated: number;
  /** The highest row that is read, counted from 0: that above the highest position. Undefined where nothing is seen. */
  readonly used: number | undefined;
  /**
   * The highest row that holds anything but zeros. Tables begin as zeros, and a row that no gradient reached stays so
   * under every optimiser and decay: this is the highest that was used in training. Undefined where all are zeros.
   */
  readonly trained: number | undefined;
}

/** What attention has inside, from what it reads. */
export function inside(
  read: Reads,
  bias: Bias,
  { d, heads: h, kvHeads }: { d: number; heads: number; kvHeads: number },
  sight: Sight,
): Inside {
  const width = d / h;
  const end = read.counts && read.counts.values()[0]!;
  if (read.counts?.values().some(n => n !== end))
    refuse(RangeError, "watch", "sequences of a cache have different lengths", "one length for all");
  const heads = (x: Tensor, at: number, n: number): Tensor => {
    const part = x.shape[2] === n * width ? x : slice(x, at, at + n * width);
    return reshape(part, [x.shape[0]!, x.shape[1]!, n, width]);
  };
  const keys = (x: Tensor, at: number): Tensor => {
    const all = heads(x, at, kvHeads);
    return end === undefined ? all : slice(all, 0, end, { axis: 1 });
  };
  const values = keys(read.v, read.vAt);
  const tokens = read.gates === "tokens" && (end === undefined ? read.gateK! : slice(read.gateK!, 0, end, { axis: 1 }));
  const a: Attended = {
    q: heads(read.q, 0, h),
    k: keys(read.k, read.kAt),
    v: values,
    gateQ: read.gateQ && heads(read.gateQ, 0, h),
    gateK: tokens || (read.gates === "values" ? values : read.gateK && keys(read.gateK, 0)),
    bias,
  };
  return {
    queries: a.q,
    keys: a.k,
    values: a.v,
    weights: () => weights(a, sight),
    gates: () => bias.gating && countedBy(bias.gating, a, masksOf(a.q, a.k, sight)),
  };
}

/** What the gates of an attention count. */
function countedBy(gating: Gating, { q, k, gateQ = q, gateK = k }: Attended, masks: Masks): GatePositions {
  const { table, scaling } = gating;
  const reads = { ...gating, gateKeys: repeated(gateK, q.shape[2]!) };
  const all = counted(gateLogits(gateQ, undefined, reads), masks);
  return {
    ...all,
    byPosition: () => masked(maskedSoftmax, positionLogits(gateQ, table, all.positions, scaling), masks),
    rows: () => rowsOf(all.positions, table, masks),
  };
}

/** How far positions b h t s go into a table, head by head. */
function rowsOf(positions: Tensor, table: Tensor, { allowed, keys }: Masks): HeadRows[] {
  const [b, h, t, s] = positions.shape as [number, number, number, number];
  const [rows, d] = table.shape.slice(-2) as [number, number];
  const [p, weights, looks, isKey] = [positions, table, allowed, keys].map(x => x?.values());
  return Array.from({ length: h }, (_, head) => {
    let pairs = 0;
    let capped = 0;
    let top = -1;
    for (let i = 0; i < b; i++)
      for (let n = 0; n < t * s; n++) {
        const query = s - t + Math.floor(n / s); // whose place may be padding, as that of its key
        if (isKey?.[i * s + query] === 0 || isKey?.[i * s + (n % s)] === 0) continue;
        // One mask for all sequences begins again with each.
        if (looks![(i * t * s + n) % looks!.length] === 0) continue;
        const at = p![(i * h + head) * t * s + n]!;
        pairs++;
        if (at >= rows - 1) capped++;
        if (at > top) top = at;
      }
    const from = table.shape.length === 3 ? head * rows * d : 0;
    let end = rows * d;
    while (end > 0 && weights![from + end - 1] === 0) end--;
    return {
      pairs,
      saturated: pairs && capped / pairs,
      used: top < 0 ? undefined : Math.ceil(Math.min(top, rows - 1)),
      trained: end ? Math.ceil(end / d) - 1 : undefined,
    };
  });
}

/** A head, and how far into its table it went: `layer` as in `params.h[layer]`, both counted from 0. */
export interface LayerHeadRows extends HeadRows {
  readonly layer: number;
  readonly head: number;
}
type Watch = (layer: number, seen: { readonly attention: Inside | undefined }) => void;

/**
 * How far into the tables of CoPE a run goes, head by head, and which heads use positions beyond those seen in
 * training: rows that are still zeros, and count as no position at all. `run` gives `watch` on to a model of any kind,
 * as often as it likes; it runs without recording, in a scope of its own, and one layer is looked at at a time.
 *
 *     const { beyond, warning } = rowsUsed(tape, watch => model.logits(params, tokens, { watch }));
 *     if (warning) console.warn(warning);
 *
 * `warning` is a sentence about `beyond`, undefined where that is empty. Throws where `run` calls no `watch`.
 */
export function rowsUsed(
  tape: Tape,
  run: (watch: Watch) => unknown,
): { heads: LayerHeadRows[]; beyond: LayerHeadRows[]; warning: string | undefined } {
  const who = "rowsUsed";
  living(who, tape);
  callable(who, "the run", run);
  const found = new Map<string, LayerHeadRows>();
  let isWatched = false;
  const look = (layer: number, attention: Inside): void => {
    if (attention.queries.tape !== tape) refuse(RangeError, who, "the run is on another tape");
    attention
      .gates()
      ?.rows()
      .forEach((rows, head) => {
        const key = `${layer} ${head}`;
        found.set(key, { layer, head, ...both(found.get(key), rows) });
      });
  };
  const watch: Watch = (layer, { attention }) => {
    isWatched = true;
    if (attention) tape.scope(() => look(layer - 1, attention));
  };
  tape.noGrad(() => tape.scope(() => run(watch)));
  if (!isWatched) refuse(Error, who, "the run called no watch", "logits(params, tokens, { watch }), or the like");
  const heads = [...found.values()];
  const beyond = heads.filter(r => gap(r) > 0);
  return { heads, beyond, warning: beyond.length ? sentence(heads, beyond) : undefined };
}

/** What two runs of a head used. */
function both(a: HeadRows | undefined, b: HeadRows): HeadRows {
  if (!a) return b;
  const pairs = a.pairs + b.pairs;
  const saturated = pairs && (a.saturated * a.pairs + b.saturated * b.pairs) / pairs;
  const used = a.used === undefined ? b.used : Math.max(a.used, b.used ?? 0);
  return { pairs, saturated, used, trained: b.trained };
}

/** How many rows beyond the trained ones are read. */
const gap = ({ used = -1, trained = -1 }: HeadRows): number => used - trained;

function sentence(heads: readonly LayerHeadRows[], beyond: readonly LayerHeadRows[]): string {
  const { layer, head, used, trained } = beyond.reduce((most, r) => (gap(r) > gap(most) ? r : most));
  const end = trained === undefined ? "and none was trained" : `trained up to row ${trained}`;
  return (
    `positions go beyond those seen in training in ${beyond.length} of ${heads.length} heads, ` +
    `farthest in h.${layer}, head ${head}: row ${used}, ${end}`
  );
}
