// encoder.ts: the recurrent memory encoder (Bulatov et al. 2023, arXiv 2304.11062), which sorts sequences into classes:
// memory once, in front. Only the memory crosses from segment to segment.
import { flag, integer, largest, refuse, tensor, whole } from "../check.ts";
import { apply, fitting, fresh, linearWeights, tokens, type Maker, type ParamsOptions, type Weights } from "../nn.ts";
import { scale, tanh } from "../ops/elementwise.ts";
import { crossEntropy } from "../ops/losses.ts";
import { concat, reshape, slice } from "../ops/shapes.ts";
import type { Tape } from "../tape.ts";
import type { Tensor } from "../tensor.ts";
import {
  firstMemory,
  configOf,
  fits,
  follows,
  heldState,
  howOf,
  lossHow,
  makerOf,
  rowsOf,
  completed,
  startWith,
  summed,
  through,
  type LossOptions,
  type Recurrent,
  type RecurrentOptions,
  type RmtHow,
  type RmtState,
  type RmtStep,
  type RmtWeights,
} from "./recurrent.ts";
import { streamed, type Chunk, type Given, type Rows, type StreamOptions } from "./stream.ts";
import type { Transformer, TransformerWeights } from "./transformer.ts";

/**
 * Options of `rmtEncoder`: a segment's row takes memory + 3 places more than its tokens. The special tokens' numbers,
 * how many classes, and whether a tanh layer stands before them, as in BERT.
 */
export interface RmtEncoderOptions extends RecurrentOptions {
  classes: number;
  /** 1 unless given. */
  cls?: number;
  /** 2 unless given. */
  sep?: number;
  /** 0 unless given. */
  pad?: number;
  pooler?: boolean;
}
export interface RmtEncoderWeights extends RmtWeights {
  readonly classifier: Weights;
  readonly pooler?: Weights | undefined;
}

/** A recurrent memory encoder that sorts sequences into classes. */
export interface RmtEncoder {
  readonly model: Transformer;
  /** Fresh parameters on `tape`; `frozen` ones want no gradient and claim no memory for it. */
  params(tape: Tape, options?: ParamsOptions): RmtEncoderWeights;
  /**
   * Sequences, as lists or a tensor b t, all of one number of segments, cut from the right: the first segment of each
   * is the short one.
   */
  segments(sequences: Rows): number[][][];
  /** The state before the first segment of b sequences. */
  start(params: RmtEncoderWeights, b: number): RmtState;
  /**
   * One segment of each of b sequences -> states of the whole row, [CLS] memory [SEP] tokens [SEP] and padding, b t d,
   * and the state after it. Without dropout unless asked.
   */
  step(params: RmtEncoderWeights, segment: Rows, state: RmtState, how?: RmtHow): RmtStep;
  /** States b t d of a row -> logits b classes, from its first place. */
  head(params: RmtEncoderWeights, states: Tensor): Tensor;
  /**
   * Sequences as `segments` takes them -> class logits of each segment [b classes], and the memories: one before the
   * first segment and one after each. Without dropout.
   */
  logits(params: RmtEncoderWeights, sequences: Rows): { logits: Tensor[]; memories: Tensor[] };
  /** Mean cross-entropy of the class logits of the last segment, or of all, with the model's dropout; labels b. */
  loss(params: RmtEncoderWeights, sequences: Rows, labels: Tensor, how?: LossOptions): Tensor;
  /**
   * Runs through segments, each a piece, in the memory of one, and gives what is asked for of each: class logits
   * b classes, states b t d, or the loss against targets, which are labels b; see `streamed`.
   */
  stream(
    params: RmtEncoderWeights,
    chunks: Iterable<Chunk<Tensor | ArrayLike<number>>>,
    options?: StreamOptions<RmtState>,
  ): Generator<Given, RmtState | undefined, void>;
}

const who = "rmtEncoder";

/** Sequences in segments of l tokens, cut from the right. */
function cut(sequences: Rows, l: number): number[][][] {
  const rows = rowsOf(sequences);
  const length = rows[0]?.length;
  if (!length) {
    const why = `${rows.length} sequences, the first of ${length ?? "no"} tokens`;
    refuse(RangeError, who, why, "at least one sequence of at least one token");
  }
  const n = Math.ceil(length / l);
  const odd = rows.find(x => Math.ceil(x.length / l) !== n);
  if (odd) {
    const why = `sequences of ${length} and ${odd.length} tokens`;
    refuse(RangeError, who, why, `one number of segments of ${l} for all`);
  }
  return Array.from({ length: n }, (_, s) =>
    rows.map(x => x.slice(Math.max(0, x.length - (n - s) * l), x.length - (n - 1 - s) * l)),
  );
}

/** Rows of t places, [CLS] memory [SEP] tokens [SEP] and padding, and 0 for each place of padding, else 1. */
function rowsFor(parts: readonly number[][], t: number, { memory, cls, sep, pad }: Marks) {
  const pads = (n: number) => new Array<number>(n).fill(pad);
  const filled = parts.map(x => [cls, ...pads(memory), sep, ...x, sep]);
  const real = filled.flatMap(row => Array.from({ length: t }, (_, i) => Number(i < row.length)));
  return { rows: filled.map(row => row.concat(pads(t - row.length))), real };
}
type Marks = Required<Pick<RmtEncoderOptions, "memory" | "cls" | "sep" | "pad">>;

/** Fresh parameters of the memory, and of the layers behind the first place. */
function ownWeights(make: Maker, o: { memory: number; classes: number; pooler: boolean }, d: number) {
  const { memory, classes, pooler } = o;
  return {
    memory: firstMemory(make, memory, d),
    classifier: linearWeights(make, "classifier", classes, d),
    pooler: pooler ? linearWeights(make, "pooler", d, d) : undefined,
  };
}

/** Checks options, and that the model of configuration `c` can be inside; fills in what was left out. */
function around(c: Transformer["config"], options: RmtEncoderOptions) {
  const o = completed(who, options, {
    classes: [whole(1)],
    cls: [whole(), 1],
    sep: [whole(), 2],
    pad: [whole(), 0],
    pooler: [flag, false],
  });
  const { memory: m, segment: l, cls, sep, pad } = o;
  if (!c.vocab || c.causal || c.norm !== "post") {
    const wants = 'a transformer over tokens with causal: false and norm: "post"';
    refuse(RangeError, who, "the model is causal, or norms before its layers", wants);
  }
  fits(who, `a segment of ${l} with ${m} memory vectors and 3 marks`, m + l + 3, c);
  for (const [name, id] of Object.entries({ cls, sep, pad })) integer(who, name, id, 0, c.vocab - 1);
  return o;
}

/** The loss of sequences and labels b. */
function lossOf(
  self: RmtEncoder,
  o: Recurrent & LossOptions,
  params: RmtEncoderWeights,
  sequences: Rows,
  labels: Tensor,
): Tensor {
  const segments = self.segments(sequences);
  const { dropout } = self.model.config;
  const n = segments.length;
  const counted = segments.map((_, s) => o.losses === "all" || s === n - 1);
  const sum = summed(counted, self.start(params, segments[0]!.length), heldState, o, (s, before, asked) => {
    const { states, state } = self.step(params, segments[s]!, before, { dropout });
    return { state, loss: asked ? crossEntropy(self.head(params, states), labels) : undefined };
  });
  return scale(sum, { by: o.losses === "last" ? 1 : 1 / n });
}

/**
 * An encoder with memory once, in front: each segment's row is [CLS] memory [SEP] tokens [SEP], then padding that
 * nobody sees.
 */
export function rmtEncoder(model: Transformer, options: RmtEncoderOptions): RmtEncoder {
  const c = configOf(who, model);
  const o = around(c, options);
  const { memory: m, segment: l } = o;
  const own = (make: Maker) => ownWeights(make, o, c.d);
  const inner = fitting<TransformerWeights>(who, /^(memory|classifier|pooler|lm_head)\b/, own);

  const self: RmtEncoder = {
    model,
    params(tape, options) {
      const how = fresh(tape, options);
      return tape.allOrNothing(() => {
        const { lm_head: _, ...weights } = model.params(tape, how);
        return { ...weights, ...own(makerOf(tape, how.seed, how.frozen)) };
      });
    },
    segments: sequences => cut(sequences, l),
    start: startWith(inner),
    step(params, segment, state, how = {}) {
      const weights = inner(params);
      const run = howOf(who, how);
      const parts = rowsOf(segment);
      const n = largest(parts.map(x => x.length));
      follows(who, state, parts.length, n, o, c.d);
      const { memory, at } = state;
      const { tape } = memory;
      const t = n + m + 3;
      const { rows, real } = rowsFor(parts, t, o);
      const words = model.embed(weights, tokens(tape, rows));
      const x = concat([slice(words, 0, 1, { axis: 1 }), memory, slice(words, m + 1, t, { axis: 1 })], { axis: 1 });
      const states = model.states(weights, x, { ...run, keys: tape.tensor([rows.length, t], real) });
      return { states, state: { memory: slice(states, 1, 1 + m, { axis: 1 }), at: at + n } };
    },
    head(params, states) {
      inner(params);
      tensor(who, "the states", states, `b t ${c.d}`);
      const x = reshape(slice(states, 0, 1, { axis: 1 }), [states.shape[0]!, c.d]);
      return apply(params.pooler ? tanh(apply(x, params.pooler)) : x, params.classifier);
    },
    logits(params, sequences) {
      const step = (rows: Rows, state: RmtState) => self.step(params, rows, state);
      const segments = cut(sequences, l);
      const head = (states: Tensor) => self.head(params, states);
      const { logits, passed } = through(segments, self.start(params, segments[0]!.length), step, head);
      return { logits, memories: passed.map(state => state.memory) };
    },
    loss: (params, sequences, labels, how) => lossOf(self, { ...o, ...lossHow(who, how) }, params, sequences, labels),
    stream: (params, chunks, how = {}) => streamed(self, params, chunks, how, heldState, []),
  };
  return self;
}
