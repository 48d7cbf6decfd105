// cope.ts: contextual position encoding (Golovneva, Wang, Weston, Sukhbaatar 2024, arXiv 2405.18719), composed from
// small operations so that it reads like the paper. Equation numbers are the paper's.
import {
  anything,
  choice,
  flag,
  get,
  isTensor,
  oneOf,
  options as chosen,
  rank,
  real,
  refuse,
  shapeOf,
  tensor,
  tensorIn,
  whole,
  type Check,
} from "../check.ts";
import { linearWeights, type Maker, type Weights } from "../nn.ts";
import { interpolate, maskedSigmoid, scores, tableScores } from "../ops/composed.ts";
import { add, bias as added } from "../ops/elementwise.ts";
import { embedding } from "../ops/rows.ts";
import { concat, cumsum, reshape, slice } from "../ops/shapes.ts";
import type { Tensor } from "../tensor.ts";
import {
  gateSources,
  optional,
  scalings,
  type Gates,
  type Gating,
  type Scaling,
  type Sizes,
  type TableScope,
} from "./kind.ts";

/** Options of CoPE. */
export interface CopeOptions {
  /** Of the position table: positions are capped at rows - 1; one more than `context` unless given. */
  rows?: number;
  /** By what content, gate and position logits are divided: as "listing" unless given; see `Scaling`. */
  scaling?: Scaling;
  /** What gates look at: the attention's own keys, "shared", unless given; see `Gates`. */
  gates?: Gates;
  /** Whether a layer has a table, all layers share one, or each head has its own; "layer" unless given. */
  table?: TableScope;
  /**
   * Makes a learned number a head that is added to the logits of gates, and is where it starts: high above 0 all gates
   * are open, and positions are distances; far below 0 all are shut, and there are none. No such number unless given.
   */
  bias?: number;
  /** With rope: whether gates and positions see turned queries and keys; false unless given. */
  rotated?: boolean;
  /** Acts only in layers whose number, counted from 1, it divides; 1, in all, unless given. */
  every?: number;
}

/** The factors of content logits, gate logits and position logits, for heads `d` wide. */
export function scales(d: number, scaling: Scaling): { content: number; gate: number; position: number } {
  const root = 1 / Math.sqrt(d);
  const content = choice("cope", "scaling", scaling, scalings) === "eq" ? 1 : root;
  return { content, gate: content, position: scaling === "ram" ? root : 1 };
}

const wants = ({ context }: Sizes) =>
  ({
    rows: [whole(1), context + 1],
    scaling: [oneOf(...scalings), "listing"],
    gates: [oneOf(...gateSources), "shared"],
    table: [oneOf("layer", "shared", "head"), "layer"],
    bias: [real(), undefined],
    rotated: [flag, false],
  }) as const;

/** Sequences may be of any length: positions are capped. */
export const gated = /* @__PURE__ */ optional<
  CopeOptions,
  { cope: { weight: Tensor } },
  { cope: { weight?: Tensor | undefined; gate?: Weights | undefined; bias?: Tensor | undefined } }
>("cope", wants, ({ rows, scaling, gates, table, bias, rotated }, { d, width, heads, kvHeads, bias: biased }) => {
  // Zeros, as in the paper: at first every position weighs the same, and the gates start to move once the table has.
  const made = (make: Maker, path: string, of: readonly number[] = []): Tensor =>
    make(`${path}.weight`, [...of, rows, width], 0);
  // A logit a token has the bias that gates have, and no other.
  const gate = (make: Maker, path: string): Weights | undefined =>
    gates === "sep"
      ? linearWeights(make, path, kvHeads * width, d, { bias: biased })
      : gates === "token"
        ? linearWeights(make, path, kvHeads, d, { bias: false })
        : undefined;
  const common = table === "shared";
  const layer = (make: Maker, path: string) => ({
    weight: common ? undefined : made(make, path, table === "head" ? [heads] : []),
    gate: gate(make, `${path}.gate`),
    bias: bias === undefined ? undefined : make(`${path}.bias`, [heads], 0, bias),
  });
  return {
    name: "cope",
    ...(common && { model: ["cope", (make, path) => ({ weight: made(make, path) })] as const }),
    ...((!common || gates === "sep" || gates === "token" || bias !== undefined) && { layer: ["cope", layer] as const }),
    bias(own, shared): { gating: Gating } {
      const weight = (common ? shared : own)?.weight as Tensor;
      const axes = table === "head" ? "h p d" : "p d";
      if (tensor("cope", "the table", weight, axes).shape[0] !== heads && table === "head")
        refuse(RangeError, "cope", `${weight.shape[0]} tables for ${heads} heads`, "one a head");
      if (bias !== undefined && !own?.bias) refuse(RangeError, "cope", "the parameters have no bias", "one a head");
      return { gating: { table: weight, scaling, gates, keys: own?.gate, bias: own?.bias, rotated } };
    },
  };
});

/**
 * Who may look at whom: `allowed` is t s, or b t s of sequences that differ, `keys` b s, both 1 or 0; `edges` t s
 * weighs gradients to earlier places.
 */
export interface Masks {
  readonly allowed: Tensor;
  readonly keys?: Tensor | undefined;
  readonly edges?: Tensor | undefined;
}

/** What `rule` makes of x b h t s under masks, of which `allowed` may be one for each sequence. */
export function masked(rule: typeof maskedSigmoid, x: Tensor, { allowed, keys }: Masks): Tensor {
  const [b, t, s] = allowed.shape as [number, number, number];
  if (s === undefined) return rule(x, allowed, keys);
  if (b !== x.shape[0]) refuse(RangeError, "attention", `allowed is ${shapeOf(allowed)}`, `${x.shape[0]} sequences`);
  const parts = Array.from({ length: b }, (_, i) => {
    const of = (x: Tensor): Tensor => slice(x, i, i + 1, { axis: 0 });
    return rule(of(x), reshape(of(allowed), [t, s]), keys && of(keys));
  });
  return concat(parts, { axis: 0 });
}
/** Checks a tensor that may have an axis in front of its own. */
function fronted(who: string, name: string, x: unknown, front: string, axes: string): void {
  const more = isTensor(x) && (x as Tensor).shape.length > rank(axes);
  tensor(who, name, x as Tensor, more ? `${front} ${axes}` : axes);
}

/**
 * Gates g = sigmoid(gate logit), 0 where masked (eq. 3), and positions p_ij = Σ of the gates from key j to the query
 * (eq. 4), both b h t s.
 */
export function positions(gateLogits: Tensor, masks: Masks): { gates: Tensor; positions: Tensor } {
  tensor("positions", "the logits", gateLogits, "b h t s");
  fronted("positions", "allowed", get(masks, "allowed"), "b", "t s");
  const gates = masked(maskedSigmoid, gateLogits, masks);
  return { gates, positions: cumsum(gates, { reverse: true }) };
}

/** What `cope` reads beside its inputs. */
export interface CopeReads {
  scaling?: Scaling;
  /** b s h d; or b s h, logits that all queries share; nothing where the gate logits are the content logits. */
  gateKeys?: Tensor | undefined;
  /** The same from a stopped state. */
  past?: Tensor | undefined;
  /** h, added to the gate logits. */
  bias?: Tensor | undefined;
}

/** Gate logits b h t s of queries b t h d and what gates read: the `content` logits where that is nothing. */
export function gateLogits(q: Tensor, edges: Tensor | undefined, reads: CopeReads, content?: Tensor): Tensor {
  const { scaling = "listing", gateKeys, past, bias } = reads;
  const [b, t, h, d] = q.shape as [number, number, number, number];
  const { gate } = scales(d, scaling);
  let u = content!;
  if (gateKeys?.shape.length === 3) {
    // A logit a token: a key one number wide, of which each query asks 1.
    const one = (x: Tensor): Tensor => reshape(x, [...x.shape, 1]);
    const ones = q.tape.tensor([b, t, h, 1], new Array<number>(b * t * h).fill(1));
    u = scores(ones, one(gateKeys), edges, past && one(past));
  } else if (gateKeys) u = scores(q, gateKeys, edges, past, { scale: gate });
  if (!bias) return u;
  const s = u.shape[3]!;
  const heads = q.tape.integers(
    [h * t * s],
    Array.from({ length: h * t * s }, (_, n) => Math.floor(n / (t * s))),
  );
  const all = reshape(embedding(reshape(bias, [h, 1]), heads), [h * t * s]);
  return reshape(added(reshape(u, [b, h * t * s]), all), u.shape);
}

/** Each query b t h d against a table p d, or against that of its head of h p d: b h t p. */
function tabled(q: Tensor, table: Tensor, scale: number): Tensor {
  const [h, p, d] = table.shape as [number, number, number];
  if (d === undefined) return tableScores(q, table, { scale });
  const heads = Array.from({ length: h }, (_, i) => {
    const own = reshape(slice(table, i, i + 1, { axis: 0 }), [p, d]);
    return tableScores(slice(q, i, i + 1, { axis: 2 }), own, { scale });
  });
  return concat(heads, { axis: 1 });
}

/** Adds the position logits q·e[p] to `logits` (eq. 9). `q` b t h d; `table` rows d, or h rows d, a table a head. */
export function cope(logits: Tensor, q: Tensor, table: Tensor, masks: Masks, reads: CopeReads = {}): Tensor {
  const who = "cope";
  tensor(who, "the logits", logits, "b h t s");
  tensor(who, "q", q, "b t h d");
  const TENSOR = [tensorIn as Check<Tensor>, undefined] as const;
  const all = chosen(who, reads, {
    scaling: [anything as Check<Scaling>, "listing"],
    gateKeys: TENSOR,
    past: TENSOR,
    bias: TENSOR,
  });
  fronted(who, "allowed", get(masks, "allowed"), "b", "t s");
  fronted(who, "the table", table, "h", "p d");
  const u = gateLogits(q, masks.edges, all, logits); // b h t s
  const { positions: p } = positions(u, masks); // b h t s
  return add(logits, positionLogits(q, table, p, all.scaling));
}

/** The position logits q·e[p] of positions b h t s, capped at the table's last row: b h t s. */
export function positionLogits(q: Tensor, table: Tensor, p: Tensor, scaling: Scaling): Tensor {
  const z = tabled(q, table, scales(q.shape[3]!, scaling).position); // b h t rows (eq. 7)
  return interpolate(z, p); // eq. 8
}
