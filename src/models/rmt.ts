// rmt.ts: the Recurrent Memory Transformer (Bulatov et al. 2022, arXiv 2207.06881), around any decoder. It reads memory
// before a segment and writes it after; only the memory crosses from segment to segment. Training replays segments
// (tape.checkpoint), so that the memory it takes does not grow with their number.
import { flag, get, oneOf, refuse, shapeOf } from "../check.ts";
import { fitting, fresh, tokens as integers, type Maker, type ParamsOptions } from "../nn.ts";
import { fade, scale } from "../ops/elementwise.ts";
import { crossEntropy } from "../ops/losses.ts";
import { concat, slice } from "../ops/shapes.ts";
import type { Tape } from "../tape.ts";
import type { Tensor } from "../tensor.ts";
import { mask } from "./attention.ts";
import { edgeWeight, edgeWeights, type Complete } from "./myopic.ts";
import {
  firstMemory,
  configOf,
  fits,
  follows,
  heldState,
  howOf,
  makerOf,
  rowsOf,
  completed,
  startWith,
  summed,
  through,
  type Recurrent,
  type RecurrentOptions,
  type RmtHow,
  type RmtState,
  type RmtStep,
  type RmtWeights,
} from "./recurrent.ts";
import { pieces, streamed, type Chunk, type Given, type Rows, type StreamOptions } from "./stream.ts";
import type { Transformer, TransformerWeights } from "./transformer.ts";

/**
 * Which edges keep weight 1 under myopic training: none, those out of memory ("source"), or at either end ("touch").
 */
type Exempt = "none" | "source" | "touch";

/** Options of `rmt`. */
export interface RmtOptions extends RecurrentOptions {
  /**
   * Whether the places of a memory block see each other both ways (the 2022 paper) instead of causally (its later
   * code).
   */
  bidirectional?: boolean;
  /** Under myopic training: edges out of memory keep weight 1 ("source"), or edges at either end ("touch"). */
  exempt?: Exempt;
}

/** A recurrent memory decoder. */
export interface Rmt {
  readonly model: Transformer;
  readonly options: Recurrent & { readonly bidirectional: boolean; readonly exempt: Exempt };
  /** Fresh parameters on `tape`; `frozen` ones want no gradient and claim no memory for it. */
  params(tape: Tape, options?: ParamsOptions): RmtWeights;
  /** The state before the first segment of b sequences. */
  start(params: RmtWeights, b: number): RmtState;
  /**
   * One segment, tokens b l or fewer -> states of the tokens b l d, and the state after it. Without dropout unless
   * asked.
   */
  step(params: RmtWeights, tokens: Rows, state: RmtState, how?: RmtHow): RmtStep;
  /** States b l d -> logits b l v. */
  head(params: RmtWeights, states: Tensor): Tensor;
  /**
   * Tokens b t of any length -> logits b t v, and the memories: one before the first segment and one after each.
   * Without dropout.
   */
  logits(params: RmtWeights, tokens: Tensor): { logits: Tensor; memories: Tensor[] };
  /** Mean cross-entropy over the targets b t that are not -100, with the model's dropout. */
  loss(params: RmtWeights, tokens: Tensor, targets: Tensor): Tensor;
  /**
   * Runs through tokens that come in pieces of any length, in the memory of one segment, and gives what is asked for
   * of each segment, as soon as it is full or the pieces end; see `streamed`.
   */
  stream(
    params: RmtWeights,
    chunks: Iterable<Chunk>,
    options?: StreamOptions<RmtState>,
  ): Generator<Given, RmtState | undefined, void>;
}

/** The sizes b and t of tokens or targets; throws unless they are integers b t, and some. */
function sizes(x: Tensor): [b: number, t: number] {
  const { shape, size } = integers(get(x, "tape") as Tape, x);
  if (!size) refuse(RangeError, "rmt", `no tokens in ${shapeOf(x)}`, "integers [batch time]");
  return shape as unknown as [number, number];
}

/** Integers b t in pieces b l, the last as long as it is. */
function cut(x: Tensor, l: number): Tensor[] {
  const [b, t] = x.shape as [number, number];
  const values = x.values().slice(); // integers may grow the memory
  return Array.from({ length: Math.ceil(t / l) }, (_, s) => {
    const [from, to] = [s * l, Math.min(t, s * l + l)];
    const part = new Int32Array(b * (to - from));
    for (let i = 0; i < b; i++) part.set(values.subarray(i * t + from, i * t + to) as Int32Array, i * (to - from));
    return x.tape.integers([b, to - from], part);
  });
}

/** Pieces of any length -> pieces of l tokens, and at the end what is left. */
function* segments(chunks: Iterable<Chunk>, l: number) {
  let b = 0;
  let rows: number[][] | undefined; // those of the input, then those of the targets, if there are any
  const part = (from: number, to: number) => {
    const all = rows!.map(row => row.slice(from, to));
    return { input: all.slice(0, b), targets: all.length > b ? all.slice(b) : undefined };
  };
  for (const { input, targets } of pieces(chunks)) {
    const read = rowsOf(input);
    const more = targets ? read.concat(rowsOf(targets)) : read;
    rows ??= more.map(() => []);
    if (more.length !== rows.length || more.some(row => row.length !== more[0]!.length))
      refuse(RangeError, "stream", "a piece has other rows than those before it", "b t, and targets b t if any do");
    b = read.length;
    rows.forEach((row, i) => {
      for (const id of more[i]!) row.push(id);
    });
    let at = 0;
    for (; at + l <= rows[0]!.length; at += l) yield part(at, at + l);
    if (at) rows = rows.map(row => row.slice(at));
  }
  if (rows?.[0]?.length) yield part(0, l);
}

/** Who sees whom in a row of n tokens: causal, but the two memory blocks of m places are open in themselves. */
function opened(m: number, n: number): Float64Array {
  const t = 2 * m + n;
  const a = mask(t, t, true);
  for (const at of [0, m + n]) for (let i = 0; i < m; i++) a.fill(1, (at + i) * t + at, (at + i) * t + at + m);
  return a;
}

/**
 * Edge weights by time of a row of n tokens that follow `at` others: read memory stands at the segment's start, a token
 * at its number, write memory at the last token's.
 */
function edgesOf(m: number, n: number, at: number, myopic: Complete, exempt: Exempt): Float64Array {
  const block = (time: number) => new Array<number>(m).fill(time);
  const times = [...block(at), ...Array.from({ length: n }, (_, i) => at + i + 1), ...block(at + n)];
  const w = edgeWeights(times, myopic);
  const t = times.length;
  const inMemory = (i: number) => i < m || i >= m + n;
  if (exempt !== "none")
    for (let i = 0; i < t; i++)
      for (let j = 0; j < t; j++) if (inMemory(j) || (exempt === "touch" && inMemory(i))) w[i * t + j] = 1;
  return w;
}

/** The loss of tokens and targets b t. */
function lossOf({ model, options: o, start, step }: Rmt, params: RmtWeights, tokens: Tensor, targets: Tensor): Tensor {
  const [b] = sizes(tokens);
  const [, t] = sizes(targets);
  if (shapeOf(targets) !== shapeOf(tokens))
    refuse(RangeError, "rmt", `targets are ${shapeOf(targets)}`, `${shapeOf(tokens)}, as the tokens`);
  const l = o.segment;
  const counts = new Array<number>(Math.ceil(t / l)).fill(0); // targets that count, by segment
  targets.values().forEach((target, i) => {
    if (target !== -100) counts[Math.floor((i % t) / l)]!++;
  });
  const n = counts.length;
  if (o.losses === "last") counts.fill(0, 0, n - 1);
  const total = counts.reduce((a, x) => a + x, 0);
  if (!total) refuse(RangeError, "rmt", "no target counts: every one is -100");
  const [ids, wanted] = [cut(tokens, l), cut(targets, l)];
  const { dropout } = model.config;
  const sum = summed(n, start(params, b).memory, o, (s, memory, asked) => {
    const { states, state } = step(params, ids[s]!, { memory, at: s * l }, { dropout });
    if (!asked || !counts[s]) return [state.memory];
    return [state.memory, crossEntropy(model.head(params, states), wanted[s]!, { reduction: "sum" })];
  });
  return scale(sum, { by: 1 / total });
}

/**
 * A decoder with read and write memory: each segment's row is [memory | tokens | memory], and both blocks start from
 * what the last segment wrote.
 *
 *     const model = rmt(transformer({ vocab: 64, context: 24 }), { segment: 16, memory: 4 });
 *     const params = model.params(tape);
 *     const loss = tape.step(() => model.loss(params, tokens, targets)); // b t, of any length
 *     for (const { values } of model.stream(params, pieces)) show(values); // logits of each segment
 */
export function rmt(model: Transformer, options: RmtOptions): Rmt {
  const who = "rmt";
  const o = completed(who, options, {
    bidirectional: [flag, false],
    exempt: [oneOf("none", "source", "touch"), "none"],
  });
  const { memory: m, segment: l } = o;
  const c = configOf(who, model);
  if (!c.vocab || !c.causal) {
    const wants = "a causal transformer over tokens; for an encoder use rmtEncoder";
    refuse(RangeError, who, "the model reads vectors or sees both ways", wants);
  }
  fits(who, `a segment of ${l} with two blocks of ${m} memory vectors`, 2 * m + l, c);

  const own = (make: Maker) => ({ memory: firstMemory(make, m, c.d) });
  const inner = fitting<TransformerWeights>(who, /^memory\b/, own);

  const self: Rmt = {
    model,
    options: o,
    params(tape, options) {
      const how = fresh(tape, options);
      const ours = () => own(makerOf(tape, how.seed, how.frozen));
      return tape.allOrNothing(() => ({ ...model.params(tape, how), ...ours() }));
    },
    start: startWith(inner),
    step(params, input, state, how = {}) {
      const weights = inner(params);
      const { tape } = params.memory;
      const tokens = integers(tape, input);
      const [b, n] = tokens.shape as [number, number];
      follows(who, state, b, n, o, c.d);
      const { memory, at } = state;
      const t = 2 * m + n;
      // Old memory in the write slots is an edge over the whole segment; in the read slots it is read as the segment
      // starts.
      const faded = c.myopic && at > 0 && o.exempt === "none";
      const write = faded ? fade(memory, { by: edgeWeight(n, c.myopic!) }) : memory;
      const x = concat([memory, model.embed(weights, tokens), write], { axis: 1 });
      const y = model.states(weights, x, {
        ...howOf(who, how),
        allowed: o.bidirectional ? tape.tensor([t, t], opened(m, n)) : undefined,
        edges: c.myopic && tape.recording ? tape.tensor([t, t], edgesOf(m, n, at, c.myopic, o.exempt)) : undefined,
      });
      const after = slice(y, m + n, t, { axis: 1 });
      return { states: slice(y, m, m + n, { axis: 1 }), state: { memory: after, at: at + n } };
    },
    head: model.head,
    logits(params, tokens) {
      const [b] = sizes(tokens);
      const step = (ids: Tensor, state: RmtState) => self.step(params, ids, state);
      const head = (states: Tensor) => self.head(params, states);
      const { logits, memories } = through(cut(tokens, l), self.start(params, b), step, head);
      return { logits: concat(logits, { axis: 1 }), memories };
    },
    loss: (params, tokens, targets) => lossOf(self, params, tokens, targets),
    stream: (params, chunks, how = {}) => streamed(self, params, segments(chunks, l), how, heldState, []),
  };
  return self;
}
