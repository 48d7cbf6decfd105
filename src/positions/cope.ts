// cope.ts: contextual position encoding (Golovneva, Wang, Weston, Sukhbaatar 2024, arXiv 2405.18719), composed from
// small operations so that it reads like the paper. Equation numbers are the paper's.
import {
  anything,
  choice,
  flag,
  get,
  oneOf,
  options as chosen,
  tensor,
  tensorIn,
  whole,
  type Check,
} from "../check.ts";
import { linearWeights, type Weights } from "../nn.ts";
import { interpolate, maskedSigmoid, scores, tableScores } from "../ops/composed.ts";
import { add } from "../ops/elementwise.ts";
import { cumsum } from "../ops/shapes.ts";
import type { Tensor } from "../tensor.ts";
import { optional, scalings, type Gates, type Named, type Scaling, type Sizes } from "./kind.ts";

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
  const root = 1 / Math.sqrt(d);
  const content = choice("cope", "scaling", scaling, scalings) === "eq" ? 1 : root;
  return { content, gate: content, position: scaling === "ram" ? root : 1 };
}

const wants = ({ context }: Sizes) =>
  ({
    rows: [whole(1), context + 1],
    scaling: [oneOf(...scalings), "listing"],
    gates: [oneOf("shared", "sep", "val"), "shared"],
    rotated: [flag, false],
  }) as const;
/** Sequences may be of any length: positions are capped. */
export const gated = /* @__PURE__ */ optional<
  CopeOptions,
  Named,
  { cope: { weight: Tensor; gate?: Weights | undefined } }
>("cope", wants, ({ rows, scaling, gates, rotated }, { d, width, kvHeads, bias }) => {
  return {
    name: "cope",
    layer: [
      "cope",
      (make, path) => ({
        // Zeros, as in the paper: at first every position weighs the same, and the gates start to move once the table
        // has.
        weight: make(`${path}.weight`, [rows, width], 0),
        gate: gates === "sep" ? linearWeights(make, `${path}.gate`, kvHeads * width, d, { bias }) : undefined,
      }),
    ],
    bias: ({ weight, gate }) => ({ gating: { table: weight, scaling, gates, keys: gate, rotated } }),
  };
});

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
  tensor("positions", "the logits", gateLogits, "b h t s");
  tensor("positions", "allowed", get(masks, "allowed") as Tensor, "t s");
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
  const who = "cope";
  tensor(who, "the logits", logits, "b h t s");
  tensor(who, "q", q, "b t h d");
  const { scaling, gateKeys, past } = chosen(who, reads, {
    scaling: [anything as Check<Scaling>, "listing"],
    gateKeys: [tensorIn as Check<Tensor>, undefined],
    past: [tensorIn as Check<Tensor>, undefined],
  });
  const { gate, position } = scales(q.shape[3]!, scaling);
  tensor(who, "allowed", get(masks, "allowed") as Tensor, "t s");
  const u = gateKeys ? scores(q, gateKeys, masks.edges, past, { scale: gate }) : logits; // b h t s
  const { positions: p } = positions(u, masks); // b h t s
  const z = tableScores(q, table, { scale: position }); // b h t rows (eq. 7)
  return add(logits, interpolate(z, p)); // eq. 8
}
