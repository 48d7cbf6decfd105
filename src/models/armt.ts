// armt.ts: the Associative Recurrent Memory Transformer (Rodkin, Kuratov, Bulatov, Burtsev 2024, arXiv 2407.04841),
// around any decoder. Each layer has a memory of its own, which the places at a segment's end write and all places of
// the next segment read.
import { get, integer, items, refuse, whole } from "../check.ts";
import { fitting, tokens as integers, type Maker } from "../nn.ts";
import { concat, slice } from "../ops/shapes.ts";
import type { Tensor } from "../tensor.ts";
import {
  FEATURES,
  association,
  associationWeights,
  type Association,
  type Associations,
  type AssociationWeights,
} from "./carries/association.ts";
import {
  completed,
  firstMemory,
  firstState,
  fits,
  howOf,
  paramsAround,
  plainConfig,
  comesAfter,
  shaped,
  type Recurrent,
  type RecurrentDecoder,
  type RecurrentOptions,
  type RmtHow,
  type RmtWeights,
} from "./recurrent.ts";
import { logitsOf, lossOf, segments, type Cell } from "./rmt.ts";
import { streamed, type Held, type Rows } from "./stream.ts";
import { stepped, type Transformer, type TransformerWeights } from "./transformer.ts";

/** Options of `armt`. */
export interface ArmtOptions extends RecurrentOptions {
  /** Numbers of a query and a key of the memory, before φ makes six of each; 64 unless given. */
  width?: number;
}
/** A transformer's parameters, the memory places [memory d] of every segment, and what each layer's memory reads. */
export interface ArmtWeights extends RmtWeights {
  readonly association: readonly AssociationWeights[];
}
/**
 * What passes from one segment to the next: the memory of each layer, and how many tokens of the longest sequence they
 * have seen.
 */
export interface ArmtState {
  readonly layers: readonly Associations[];
  readonly at: number;
}

/**
 * A decoder with an associative memory in each layer, empty before the first segment. A short segment costs as much as
 * a whole one: memory places stand behind place l of each.
 */
export interface Armt extends RecurrentDecoder<ArmtWeights, ArmtState, readonly Associations[]> {
  readonly options: Recurrent & { readonly width: number };
}

const who = "armt";

const heldState: Held<ArmtState> = ({ layers, at }, hold) => ({
  layers: layers.map(({ matrix, sum }) => ({ matrix: hold(matrix), sum: hold(sum) })),
  at,
});

/** Throws unless a segment of n tokens of b sequences may follow `state`. */
function follows(state: ArmtState, b: number, n: number, { options: o, model: { config: c } }: Armt): void {
  comesAfter(who, state, n, o);
  const layers = items(who, "layers are", get(state, "layers") as ArmtState["layers"]);
  if (layers.length !== c.layers)
    refuse(RangeError, who, `a state of ${layers.length} layers`, `${c.layers}, of this model`);
  for (const each of layers) shaped(who, each, "matrix", [b, FEATURES * o.width, c.d]);
}

/** Tokens b n, zeros up to l places, memory places b m d: one row; and which of its places are none, if any. */
function rowOf(words: Tensor, memory: Tensor, l: number) {
  const { tape, shape } = words;
  const [b, n, d] = shape as [number, number, number];
  if (n === l) return { x: concat([words, memory], { axis: 1 }) };
  const m = memory.shape[1]!;
  const places = Array.from({ length: b * (l + m) }, (_, i) => Number(i % (l + m) < n || i % (l + m) >= l));
  const x = concat([words, tape.tensor([b, l - n, d]), memory], { axis: 1 });
  return { x, keys: tape.tensor([b, l + m], places) };
}

/** Runs a segment. */
function ran(
  armt: Armt,
  params: ArmtWeights,
  weights: TransformerWeights,
  input: Rows,
  state: ArmtState,
  how: RmtHow,
): { states: Tensor; state: ArmtState } {
  const { model, options: o } = armt;
  const tokens = integers(params.memory.tape, input);
  const [b, n] = tokens.shape as [number, number];
  follows(state, b, n, armt);
  const { x, keys } = rowOf(model.embed(weights, tokens), firstState(params, b).memory, o.segment);
  const carries = params.association.map((p, i) => association(p, o.memory, state.layers[i]!));
  const before = { carries, starts: new Array<number>(b).fill(0) };
  const made = stepped(model.config, weights, x, before, { ...howOf(who, how), keys });
  const layers = (made.state.carries as Association[]).map(carry => carry.associations);
  return { states: slice(made.states, 0, n, { axis: 1 }), state: { layers, at: state.at + n } };
}

/**
 * A decoder with an associative memory in each layer, written by the delta rule: each segment's row is
 * [tokens | memory], the same memory vectors in each, and what they became in a layer is written into that layer's
 * memory. Where `rmt` keeps m d numbers, this keeps 6 width (d + 1) a layer.
 *
 *     const model = armt(transformer({ vocab: 64, context: 20 }), { segment: 16, memory: 4, width: 32 });
 *     const params = model.params(tape);
 *     const loss = tape.step(() => model.loss(params, tokens, targets)); // b t, of any length
 */
export function armt(model: Transformer, options: ArmtOptions): Armt {
  const o = completed(who, options, { width: [whole(2), 64] });
  const { memory: m, segment: l, width } = o;
  const c = plainConfig(who, model);
  fits(who, `a segment of ${l} with ${m} memory vectors`, l + m, c);

  const own = (make: Maker) => ({
    memory: firstMemory(make, m, c.d),
    association: Array.from({ length: c.layers }, (_, i) => associationWeights(make, `association.${i}`, width, c.d)),
  });
  const inner = fitting<TransformerWeights>(who, /^(memory|association)\b/, own);

  const self: Armt = {
    model,
    options: o,
    params: paramsAround(model, own),
    start(params, b) {
      inner(params);
      const { tape } = params.memory;
      integer("start", "b", b, 1);
      const empty = (d: number) => tape.tensor([b, FEATURES * width, d]);
      return tape.allOrNothing(() => ({
        layers: params.association.map(() => ({ matrix: empty(c.d), sum: empty(1) })),
        at: 0,
      }));
    },
    step(params, input, state, how = {}) {
      const weights = inner(params);
      return params.memory.tape.allOrNothing(() => ran(self, params, weights, input, state, how));
    },
    head: model.head,
    logits(params, tokens) {
      const { logits, passed } = logitsOf(cell, params, tokens);
      return { logits, memories: passed.map(({ layers }) => layers) };
    },
    loss: (params, tokens, targets, how) => lossOf(cell, params, tokens, targets, how),
    stream: (params, chunks, how = {}) => streamed(self, params, segments(chunks, l), how, heldState, []),
  };
  const cell: Cell<ArmtWeights, ArmtState> = { ...self, who, held: heldState };
  return self;
}
