// rmt.ts: the Recurrent Memory Transformer (Bulatov et al. 2022, arXiv 2207.06881), around any decoder. It reads memory
// before a segment and writes it after; only the memory crosses from segment to segment. Training replays segments
// (tape.checkpoint), so that the memory it takes does not grow with their number.
import { flag, get, largest, oneOf, refuse, shapeOf, tensor } from "../check.ts";
import { fitting, tokens as integers, type Maker } from "../nn.ts";
import { fade, scale } from "../ops/elementwise.ts";
import { crossEntropy } from "../ops/losses.ts";
import { embedding } from "../ops/rows.ts";
import { concat, reshape, slice } from "../ops/shapes.ts";
import type { Tape } from "../tape.ts";
import type { Tensor } from "../tensor.ts";
import { mask } from "./attention.ts";
import { edgeWeight, edgeWeights, type Complete as Foresight } from "./myopic.ts";
import {
  firstMemory,
  configOf,
  fits,
  follows,
  heldState,
  howOf,
  lossHow,
  paramsAround,
  rowsOf,
  completed,
  startWith,
  summed,
  through,
  type LossOptions,
  type Recurrent,
  type RecurrentDecoder,
  type RecurrentOptions,
  type RmtHow,
  type RmtState,
  type RmtWeights,
} from "./recurrent.ts";
import { pieces, streamed, type Chunk, type Held, type Rows } from "./stream.ts";
import { stepped, type Transformer, type TransformerState, type TransformerWeights } from "./transformer.ts";

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
  /**
   * Whether a segment of fewer tokens is filled up to `segment` with places that nobody sees, so that write memory
   * stands at the same place whatever its length, and rows of a batch may be of different lengths.
   */
  padded?: boolean;
  /** Under myopic training: edges out of memory keep weight 1 ("source"), or edges at either end ("touch"). */
  exempt?: Exempt;
}

/** The same, complete. */
type Complete = Recurrent & Required<Pick<RmtOptions, "bidirectional" | "padded" | "exempt">>;

/**
 * A recurrent memory decoder. Where it is `padded`, rows of different lengths may be given as lists: behind the end of
 * a shorter one states mean nothing, and the memory of a row without tokens stays as it was.
 */
export interface Rmt extends RecurrentDecoder<RmtWeights, RmtState, Tensor> {
  readonly options: Complete;
  /**
   * What tokens of a segment follow by `model.step` with the parameters `inner(params)`, so that no write memory stands
   * among them, as `generate` reads them: the state of `model` behind read memory, given a fresh one.
   */
  begin(params: RmtWeights, state: RmtState, fresh: TransformerState): TransformerState;
  /** The parameters of `model` among those. */
  inner(params: RmtWeights): TransformerWeights;
}

/** What reads segments one after the other: what logits and loss of a recurrent decoder are made of. */
export interface Cell<Params, State extends object> {
  readonly who: string;
  readonly model: Transformer;
  readonly options: Recurrent;
  readonly held: Held<State>;
  start(params: Params, b: number): State;
  /** A segment -> the states of its tokens, which may be left out where they are not asked for, and the state after. */
  step(
    params: Params,
    tokens: Rows,
    state: State,
    how: RmtHow,
    asked: boolean,
  ): { readonly states: Tensor | undefined; readonly state: State };
  head(params: Params, states: Tensor): Tensor;
}

/** Tokens or targets as rows; throws unless there are some. */
function read(who: string, x: Rows, least?: number): number[][] {
  const rows = rowsOf(x, least);
  if (!largest(rows.map(row => row.length))) refuse(RangeError, who, `no tokens in ${sizes(rows)}`, "some, b t");
  return rows;
}
/** The sizes of rows, as errors print them. */
function sizes(rows: readonly number[][]): string {
  const lengths = [...new Set(rows.map(row => row.length))];
  return lengths.length > 1 ? `rows of ${lengths.join(", ")}` : shapeOf({ shape: [rows.length, ...lengths] });
}
/** Rows in segments of l, the last as long as it is; of rows that have ended nothing is left there. */
function cut(rows: readonly number[][], l: number): number[][][] {
  const n = Math.ceil(largest(rows.map(row => row.length)) / l);
  return Array.from({ length: n }, (_, s) => rows.map(row => row.slice(s * l, s * l + l)));
}
/** Rows filled up to t places. */
const filled = (rows: readonly number[][], t: number, by: number): number[][] =>
  rows.map(row => row.concat(new Array<number>(t - row.length).fill(by)));

/** Pieces of any length -> pieces of l tokens, and at the end what is left. */
export function* segments(chunks: Iterable<Chunk>, l: number) {
  let b = 0;
  let rows: number[][] | undefined; // those of the input, then those of the targets, if there are any
  const part = (from: number, to: number) => {
    const all = rows!.map(row => row.slice(from, to));
    return { input: all.slice(0, b), targets: all.length > b ? all.slice(b) : undefined };
  };
  for (const { input, targets } of pieces(chunks)) {
    const read = rowsOf(input);
    const more = targets ? read.concat(rowsOf(targets, -100)) : read;
    if (!rows) [rows, b] = [more.map(() => []), read.length];
    if (read.length !== b || more.length !== rows.length || more.some(row => row.length !== more[0]!.length))
      refuse(RangeError, "stream", "a piece has other rows than those before it", "b t, and targets b t if any do");
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
function edgesOf(m: number, n: number, at: number, myopic: Foresight, exempt: Exempt): Float64Array {
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

/** A segment's tokens b n, how many of them are real in each row where not all are, and in the longest. */
function placed(tape: Tape, input: Rows, { segment: l, padded }: Complete) {
  if (!padded) {
    const ids = integers(tape, input);
    return { ids, longest: ids.shape[1]!, lengths: undefined };
  }
  const rows = rowsOf(input);
  const lengths = rows.map(row => row.length);
  const longest = largest(lengths);
  const all = lengths.every(n => n === l);
  return { ids: integers(tape, filled(rows, Math.max(l, longest), 0)), longest, lengths: all ? undefined : lengths };
}
/** 1 for memory and tokens of rows [memory | tokens | padding | memory] of t places, 0 for padding. */
function keysOf(lengths: readonly number[], m: number, t: number): number[] {
  return lengths.flatMap(n => Array.from({ length: t }, (_, i) => Number(i < m + n || i >= t - m)));
}
/** Memory b m d of rows that had tokens, and the memory before of those that had none. */
function moved(before: Tensor, after: Tensor, lengths: readonly number[]): Tensor {
  const [b, m, d] = after.shape as [number, number, number];
  const rows = lengths.flatMap((n, i) => Array.from({ length: m }, (_, j) => ((n ? b : 0) + i) * m + j));
  return embedding(reshape(concat([before, after], { axis: 0 }), [2 * b * m, d]), after.tape.indices([b, m], rows));
}

/** Runs a segment; the states of its tokens only where they are asked for. */
function ran(
  { model, options: o }: Pick<Rmt, "model" | "options">,
  weights: TransformerWeights,
  input: Rows,
  state: RmtState,
  how: RmtHow,
  asked: boolean,
): { states: Tensor | undefined; state: RmtState } {
  const c = model.config;
  const m = o.memory;
  model.fits(weights);
  const run = howOf("rmt", how);
  const { tape } = weights.wte.weight;
  const { ids, longest, lengths } = placed(tape, input, o);
  const [b, n] = ids.shape as [number, number];
  follows("rmt", state, b, n, o, c.d);
  const { memory, at } = state;
  const t = 2 * m + n;
  // Old memory in the write slots is an edge over the whole segment; in the read slots it is read as the segment
  // starts.
  const faded = c.myopic && at > 0 && o.exempt === "none";
  const write = faded ? fade(memory, { by: edgeWeight(n, c.myopic!) }) : memory;
  const x = concat([memory, model.embed(weights, ids), write], { axis: 1 });
  const from = run.watch ? 0 : asked ? m : m + n;
  const y = model.states(weights, x, {
    ...run,
    from,
    allowed: o.bidirectional ? tape.tensor([t, t], opened(m, n)) : undefined,
    keys: lengths && tape.tensor([b, t], keysOf(lengths, m, t)),
    edges: c.myopic && tape.recording ? tape.tensor([t, t], edgesOf(m, n, at, c.myopic, o.exempt)) : undefined,
  });
  const after = slice(y, m + n - from, t - from, { axis: 1 });
  return {
    states: asked ? slice(y, m - from, m - from + longest, { axis: 1 }) : undefined,
    state: { memory: lengths?.includes(0) ? moved(memory, after, lengths) : after, at: at + n },
  };
}

/** Logits b t v of tokens b t, and the states: one before the first segment and one after each. */
export function logitsOf<Params, State extends object>(cell: Cell<Params, State>, params: Params, tokens: Rows) {
  const rows = read(cell.who, tokens);
  const step = (ids: Rows, before: State) => {
    const { states, state } = cell.step(params, ids, before, {}, true);
    return { states: states!, state };
  };
  const head = (states: Tensor) => cell.head(params, states);
  const { logits, passed } = through(cut(rows, cell.options.segment), cell.start(params, rows.length), step, head);
  return { logits: concat(logits, { axis: 1 }), passed };
}

/** The loss of tokens and targets b t. */
export function lossOf<Params, State extends object>(
  { who, model, options, held, start, step, head }: Cell<Params, State>,
  params: Params,
  input: Rows,
  due: Rows,
  how: LossOptions | undefined,
): Tensor {
  const [tokens, targets] = [read(who, input), read(who, due, -100)];
  const o = { ...options, ...lossHow(who, how) };
  if (tokens.some((row, i) => row.length !== targets[i]?.length) || tokens.length !== targets.length)
    refuse(RangeError, who, `targets are ${sizes(targets)}`, `${sizes(tokens)}, as the tokens`);
  const [ids, wanted] = [cut(tokens, o.segment), cut(targets, o.segment)];
  // targets that count, by segment
  const counts = wanted.map(rows => rows.reduce((n, row) => n + row.filter(target => target !== -100).length, 0));
  if (o.losses === "last") counts.fill(0, 0, -1);
  const total = counts.reduce((a, x) => a + x, 0);
  if (!total) refuse(RangeError, who, "no target counts: every one is -100");
  const { dropout } = model.config;
  const counted = counts.map(x => x > 0);
  const sum = summed(counted, start(params, tokens.length), held, o, (s, before, asked) => {
    const { states, state } = step(params, ids[s]!, before, { dropout }, asked);
    if (!states || !asked) return { state };
    const due = integers(states.tape, filled(wanted[s]!, states.shape[1]!, -100));
    return { state, loss: crossEntropy(head(params, states), due, { reduction: "sum" }) };
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
    padded: [flag, false],
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
    params: paramsAround(model, own),
    start: startWith(inner),
    step(params, input, state, how = {}) {
      const { states, ...after } = ran(self, inner(params), input, state, how, true);
      return { states: states!, ...after };
    },
    begin(params, state, fresh) {
      const weights = inner(params);
      model.fits(weights);
      const memory = tensor(who, "memory", get(state, "memory") as Tensor, "b m d");
      follows(who, state, memory.shape[0]!, 0, o, c.d);
      const starts = get(fresh, "starts") as TransformerState["starts"] | undefined;
      if (starts?.some?.(n => n > 0))
        refuse(RangeError, who, `the state of the model inside is behind ${starts.join(", ")} places`, "a fresh one");
      const allowed = o.bidirectional ? memory.tape.tensor([m, m], new Float64Array(m * m).fill(1)) : undefined;
      return stepped(c, weights, memory, fresh, { allowed }).state;
    },
    inner,
    head: model.head,
    logits(params, tokens) {
      const { logits, passed } = logitsOf(cell, params, tokens);
      return { logits, memories: passed.map(state => state.memory) };
    },
    loss: (params, tokens, targets, how) => lossOf(cell, params, tokens, targets, how),
    stream: (params, chunks, how = {}) => streamed(self, params, segments(chunks, l), how, heldState, []),
  };
  const cell: Cell<RmtWeights, RmtState> = {
    ...self,
    who,
    held: heldState,
    step: (params, tokens, state, how, asked) => ran(self, inner(params), tokens, state, how, asked),
  };
  return self;
}
