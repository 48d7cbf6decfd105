// retrieval.ts: RMT that looks up all memories it ever had, RMT-R (Kuratov et al. 2024, "In search of needles in a 11M
// haystack", arXiv 2402.10790, section 3), around any decoder.
import { get, refuse, shapeOf, tensor } from "../check.ts";
import { apply, fitting, linearWeights, tokens as integers, type Maker, type Tree, type Weights } from "../nn.ts";
import { concat, reshape, slice } from "../ops/shapes.ts";
import type { Tensor } from "../tensor.ts";
import { attention } from "./attention.ts";
import {
  completed,
  firstMemory,
  fits,
  howOf,
  paramsAround,
  plainConfig,
  comesAfter,
  startWith,
  type Recurrent,
  type RecurrentDecoder,
  type RecurrentOptions,
  type RmtHow,
  type RmtWeights,
} from "./recurrent.ts";
import { logitsOf, lossOf, segments, type Cell } from "./rmt.ts";
import { streamed, type Held, type Rows } from "./stream.ts";
import type { Transformer, TransformerWeights } from "./transformer.ts";

/** The four matrices of the retrieval, [d d] each. */
export interface RetrievalWeights {
  readonly query: Weights;
  readonly key: Weights;
  readonly value: Weights;
  readonly output: Weights;
  readonly [name: string]: Tensor | Tree | undefined;
}
/** An RMT's parameters, and those of the retrieval. */
export interface RmtRWeights extends RmtWeights {
  readonly retrieval: RetrievalWeights;
}
/**
 * What passes from one segment to the next: all memories so far, the newest last, b (s m) d after s - 1 segments; and
 * how many tokens of the longest sequence were read.
 */
export interface RmtRState {
  readonly memories: Tensor;
  readonly at: number;
}

/**
 * A recurrent memory decoder that looks up its earlier memories. A segment makes the state larger by b m d numbers, for
 * which `stream` makes room for up to twice as many.
 */
export interface RmtR extends RecurrentDecoder<RmtRWeights, RmtRState, Tensor> {
  readonly options: Recurrent;
}

const who = "rmtR";

const heldState: Held<RmtRState> = ({ memories, at }, hold) => ({ memories: hold(memories), at });

/** Throws unless a segment of n tokens of b sequences may follow `state`. */
function follows(state: RmtRState, b: number, n: number, { options: o, model: { config: c } }: RmtR): void {
  comesAfter(who, state, n, o);
  const { shape } = tensor(who, "memories", get(state, "memories") as Tensor, "b s d");
  const [got, s, d] = shape as [number, number, number];
  if (got !== b || d !== c.d || s === 0 || s % o.memory)
    refuse(RangeError, who, `memories are ${shapeOf({ shape })}`, `[${b} s ${c.d}], s a multiple of ${o.memory}`);
}

/** R: softmax(M W_Q (all W_K)ᵀ / √d) all W_V W_O, of one head: b m d. */
function retrieved(memory: Tensor, all: Tensor, p: RetrievalWeights): Tensor {
  const head = (x: Tensor, w: Weights): Tensor => reshape(apply(x, w), [x.shape[0]!, x.shape[1]!, 1, x.shape[2]!]);
  const found = attention(head(memory, p.query), head(all, p.key), head(all, p.value), { causal: false });
  return apply(reshape(found, memory.shape), p.output);
}

/** Runs a segment. */
function ran(
  rmtR: RmtR,
  { memory: { tape }, retrieval }: RmtRWeights,
  weights: TransformerWeights,
  input: Rows,
  state: RmtRState,
  how: RmtHow,
): { states: Tensor; state: RmtRState } {
  const { model, options: o } = rmtR;
  const m = o.memory;
  const tokens = integers(tape, input);
  const [b, n] = tokens.shape as [number, number];
  follows(state, b, n, rmtR);
  const { memories: all, at } = state;
  const s = all.shape[1]!;
  const memory = slice(all, s - m, s, { axis: 1 });
  const found = retrieved(memory, all, retrieval);
  const x = concat([memory, found, model.embed(weights, tokens), memory], { axis: 1 });
  const run = howOf(who, how);
  const from = run.watch ? 0 : 2 * m; // where nobody watches, the last layer computes what is read
  const y = model.states(weights, x, { ...run, from });
  const places = (start: number, n: number) => slice(y, start - from, start + n - from, { axis: 1 });
  const memories = concat([all, places(2 * m + n, m)], { axis: 1 });
  return { states: places(2 * m, n), state: { memories, at: at + n } };
}

/**
 * RMT-R: each segment's row is [memory | retrieved | tokens | memory], where what is retrieved is mixed from all
 * memories so far, as the newest one asks for. The state grows by m d numbers a segment, and so does the time of a
 * look-up; training, which keeps each state, takes s² m d / 2 numbers for s segments.
 *
 *     const model = rmtR(transformer({ vocab: 64, context: 28 }), { segment: 16, memory: 4 });
 *     const params = model.params(tape);
 *     const loss = tape.step(() => model.loss(params, tokens, targets)); // b t, of any length
 */
export function rmtR(model: Transformer, options: RecurrentOptions): RmtR {
  const o = completed(who, options, {});
  const { memory: m, segment: l } = o;
  const c = plainConfig(who, model);
  fits(who, `a segment of ${l} with three blocks of ${m} memory vectors`, 3 * m + l, c);

  const own = (make: Maker) => {
    const square = (name: string) => linearWeights(make, `retrieval.${name}`, c.d, c.d, { bias: false });
    const retrieval = { query: square("query"), key: square("key"), value: square("value"), output: square("output") };
    return { memory: firstMemory(make, m, c.d), retrieval };
  };
  const inner = fitting<TransformerWeights>(who, /^(memory|retrieval)\b/, own);
  const first = startWith(inner);

  const self: RmtR = {
    model,
    options: o,
    params: paramsAround(model, own),
    start(params, b) {
      const { memory, at } = first(params, b);
      return { memories: memory, at };
    },
    step(params, input, state, how = {}) {
      const weights = inner(params);
      return params.memory.tape.allOrNothing(() => ran(self, params, weights, input, state, how));
    },
    head: model.head,
    logits(params, tokens) {
      const { logits, passed } = logitsOf(cell, params, tokens);
      const newest = ({ memories: x }: RmtRState) => slice(x, x.shape[1]! - m, x.shape[1]!, { axis: 1 });
      return { logits, memories: passed.map(newest) };
    },
    loss: (params, tokens, targets, how) => lossOf(cell, params, tokens, targets, how),
    stream: (params, chunks, how = {}) => streamed(self, params, segments(chunks, l), how, heldState, []),
  };
  const cell: Cell<RmtRWeights, RmtRState> = { ...self, who, held: heldState };
  return self;
}
