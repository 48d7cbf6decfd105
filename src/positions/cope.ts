// cope.ts: contextual position encoding (Golovneva, Wang, Weston, Sukhbaatar 2024, arXiv 2405.18719), composed from
// small operations so that it reads like the paper. Equation numbers are the paper's.
import { choice, integer, known } from "../check.ts";
import { linearWeights, type Maker, type Tree, type Weights } from "../nn.ts";
import { interpolate, maskedSigmoid, scores, tableScores } from "../ops/composed.ts";
import { add } from "../ops/elementwise.ts";
import { cumsum } from "../ops/shapes.ts";
import type { Tensor } from "../tensor.ts";
import type { Kind, Position } from "./kind.ts";

/**
 * Scales of the three products; the paper's equations, its printed listing and the authors' released code each differ:
 * "listing" (the default) leaves the position logits unscaled, "ram" (the released code) divides them by √d too, "eq"
 * divides nothing.
 */
export type Scaling = "listing" | "ram" | "eq";
/** What the gates look at: the attention's own keys, keys of their own (`sep`), or the values (`val`). */
export type Gates = "shared" | "sep" | "val";
/**
 * Options of CoPE. `rows` of the position table: positions are capped at rows - 1; one more than `context` unless
 * given. `rotated`: with rope, gates and positions see turned queries and keys.
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
  return all[choice("cope", "scaling", scaling, ["listing", "ram", "eq"])];
}

/** Checks the options and fills in what was left out. */
export function copeOptions(options: CopeOptions, context: number, who: string): Required<CopeOptions> {
  known(`${who}, cope`, options, "rows", "scaling", "gates", "rotated");
  const { rows = context + 1, scaling = "listing", gates = "shared", rotated = false } = options;
  integer(who, "cope.rows", rows, 1);
  choice(who, "cope.scaling", scaling, ["listing", "ram", "eq"]);
  choice(who, "cope.gates", gates, ["shared", "sep", "val"]);
  return { rows, scaling, gates, rotated };
}

/** Sequences may be of any length: positions are capped. */
export const gated: Kind<CopeOptions> = (options = {}, { d, width, kvHeads, context, bias }, who): Position => {
  const { rows, gates } = copeOptions(options, context, who);
  return {
    name: "cope",
    layer: [
      "cope",
      (make: Maker, path: string): Tree => ({
        // Zeros, as in the paper: at first every position weighs the same, and the gates start to move once the table
        // has.
        weight: make(`${path}.weight`, [rows, width], 0),
        gate: gates === "sep" ? linearWeights(make, `${path}.gate`, kvHeads * width, d, { bias }) : undefined,
      }),
    ],
    bias(weights: Tree | undefined) {
      const { weight, gate } = weights as { weight: Tensor; gate?: Weights };
      return { gating: { table: weight, keys: gate } };
    },
  };
};

/** Who may look at whom: `allowed` is t s, `keys` b s, both 1 or 0; `edges` t s weighs gradients to earlier places. */
export interface Masks {
  readonly allowed: Tensor;
  readonly keys?: Tensor | undefined;
  readonly edges?: Tensor | undefined;
}

/**
 * Gates g = sigmoid(gate logit), 0 where masked (eq. 3), and positions p_ij = Σ of the gates from key j to the query
 * (eq. 4), both b h t s.
 */
export function positions(gateLogits: Tensor, masks: Masks): { gates: Tensor; positions: Tensor } {
  const gates = maskedSigmoid(gateLogits, masks.allowed, masks.keys);
  return { gates, positions: cumsum(gates, { reverse: true }) };
}

/** What `cope` reads beside its inputs. */
export interface CopeReads {
  scaling?: Scaling;
  /** b s h d; nothing where the gate logits are the content logits themselves. */
  gateKeys?: Tensor | undefined;
  /** Gate keys from a stopped state. */
  past?: Tensor | undefined;
}

/** Adds the position logits q·e[p] to `logits` (eq. 9). `q` b t h d; `table` rows d. */
export function cope(logits: Tensor, q: Tensor, table: Tensor, masks: Masks, reads: CopeReads = {}): Tensor {
  const { scaling = "listing", gateKeys, past } = reads;
  const { gate, position } = scales(q.shape[3]!, scaling);
  const u = gateKeys ? scores(q, gateKeys, masks.edges, past, { scale: gate }) : logits; // b h t s
  const { positions: p } = positions(u, masks); // b h t s
  const z = tableScores(q, table, { scale: position }); // b h t rows (eq. 7)
  return add(logits, interpolate(z, p)); // eq. 8
}
