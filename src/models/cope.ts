// cope.ts: contextual position encoding (Golovneva, Wang, Weston, Sukhbaatar 2024, arXiv 2405.18719), composed from
// small operations so that it reads like the paper. Equation numbers are the paper's.
import { interpolate, maskedSigmoid, scores, tableScores } from "../ops/composed.ts";
import { add } from "../ops/elementwise.ts";
import { cumsum } from "../ops/shapes.ts";
import type { Tensor } from "../tensor.ts";

/**
 * Scales of the three products; the paper's equations, its printed listing and the authors' released code each differ:
 * "listing" (the default) leaves the position logits unscaled, "ram" (the released code) divides them by √d too, "eq"
 * divides nothing.
 */
export type Scaling = "listing" | "ram" | "eq";
/** What the gates look at: the attention's own keys, keys of their own (`sep`), or the values (`val`). */
export type Gates = "shared" | "sep" | "val";
/**
 * Options of CoPE. `rows` of the position table: positions are capped at rows - 1. `rotated`: with rope, gates and
 * positions see turned queries and keys.
 */
export interface CopeOptions {
  rows?: number;
  scaling?: Scaling;
  gates?: Gates;
  rotated?: boolean;
}

/** The factors of content logits, gate logits and position logits, for heads `d` wide. */
export function scales(d: number, scaling: Scaling): { content: number; gate: number; position: number } {
  const r = 1 / Math.sqrt(d);
  const all = {
    listing: { content: r, gate: r, position: 1 },
    ram: { content: r, gate: r, position: r },
    eq: { content: 1, gate: 1, position: 1 },
  };
  if (!Object.hasOwn(all, scaling))
    throw new RangeError(`cope: scaling is ${String(scaling)}\n  wants listing, ram or eq`);
  return all[scaling];
}

/** Who may look at whom: `allowed` is t s, `keys` b s, both 1 or 0; `edges` t s weighs gradients to earlier places. */
export interface View {
  readonly allowed: Tensor;
  readonly keys?: Tensor | undefined;
  readonly edges?: Tensor | undefined;
}

/**
 * Gates g = sigmoid(gate logit), 0 where masked (eq. 3), and positions p_ij = Σ of the gates from key j to the query
 * (eq. 4), both b h t s.
 */
export function positions(gateLogits: Tensor, view: View): { gates: Tensor; positions: Tensor } {
  const gates = maskedSigmoid(gateLogits, view.allowed, view.keys);
  return { gates, positions: cumsum(gates, { reverse: true }) };
}

/**
 * Adds the position logits q·e[p] to `logits` (eq. 9). `q` b t h d; `table` rows d; `gateKeys` b s h d, or nothing
 * where the gate logits are the content logits themselves; `past`: gate keys from a stopped state.
 */
export function cope(
  logits: Tensor,
  q: Tensor,
  table: Tensor,
  view: View,
  {
    scaling = "listing",
    gateKeys,
    past,
  }: { scaling?: Scaling; gateKeys?: Tensor | undefined; past?: Tensor | undefined } = {},
): Tensor {
  const { gate, position } = scales(q.shape[3]!, scaling);
  const u = gateKeys ? scores(q, gateKeys, view.edges, past, { scale: gate }) : logits; // b h t s
  const { positions: p } = positions(u, view); // b h t s
  const z = tableScores(q, table, { scale: position }); // b h t rows (eq. 7)
  return add(logits, interpolate(z, p)); // eq. 8
}
