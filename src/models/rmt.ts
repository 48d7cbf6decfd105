// rmt.ts: the Recurrent Memory Transformer, around any transformer. The decoder (Bulatov et al. 2022, arXiv 2207.06881)
// reads memory before a segment and writes it after; the encoder (Bulatov et al. 2023, arXiv 2304.11062) holds it once,
// in front. Only the memory crosses from segment to segment. Training replays segments (tape.checkpoint), so that the
// memory it takes does not grow with their number.
import { add, fade, scale, tanh } from "../ops/elementwise.ts";
import { crossEntropy } from "../ops/losses.ts";
import { embedding } from "../ops/rows.ts";
import { concat, reshape, slice, stopGradient } from "../ops/shapes.ts";
import { known } from "../check.ts";
import { apply, linearWeights, maker, tokens as integers, type Weights } from "../nn.ts";
import { random } from "../random.ts";
import { show } from "../check.ts";
import { type Tape } from "../tape.ts";
import { Tensor } from "../tensor.ts";
import { edgeWeight, edgeWeights } from "./myopic.ts";
import { mask } from "./attention.ts";
import type { Transformer, TransformerWeights } from "./transformer.ts";

/**
 * How far gradients reach back. `k` boundaries between segments may be crossed; all unless given. "sliding": by the
 * loss of each segment; "tail": only the last k boundaries of the sequence let any gradient pass.
 */
export interface Truncation {
  k?: number | undefined;
  truncation?: "sliding" | "tail";
}

/** Options of `rmt`. */
export interface RmtOptions extends Truncation {
  /** Memory vectors. */
  memory?: number;
  /** Tokens in a segment. */
  segment: number;
  /**
   * Whether the places of a memory block see each other both ways (the 2022 paper) instead of causally (its later
   * code).
   */
  bidirectional?: boolean;
  /** Which segments' targets count. */
  losses?: "all" | "last";
  /** Recompute segments in the backward pass instead of keeping their activations. */
  replay?: boolean;
  /** Under myopic training: edges out of memory keep weight 1 ("source"), or edges at either end ("touch"). */
  exempt?: "none" | "source" | "touch";
}

/** A transformer's parameters and the memory of the first segment, [memory d]. */
export interface RmtWeights extends TransformerWeights {
  readonly memory: Tensor;
}

/** A recurrent memory decoder. */
export interface Rmt {
  readonly model: Transformer;
  readonly options: Required<Omit<RmtOptions, "k">> & { k: number | undefined };
  params(tape: Tape, options?: { seed?: number }): RmtWeights;
  /** The memory that enters the first segment: b memory d. */
  start(params: RmtWeights, b: number): Tensor;
  /**
   * One segment: tokens b l, memory b m d, and how many tokens came before -> states of the tokens b l d, and the
   * memory handed on. Without dropout unless asked.
   */
  step(
    params: RmtWeights,
    tokens: Tensor,
    memory: Tensor,
    before?: number,
    how?: { dropout?: number },
  ): { states: Tensor; memory: Tensor };
  /**
   * Tokens b t of any length -> logits b t v, and the memories: one before the first segment and one after each.
   * Without dropout.
   */
  logits(params: RmtWeights, tokens: Tensor): { logits: Tensor; memories: Tensor[] };
  /**
   * Runs through any number of segments in the memory of one, without gradients -> the last segment's logits, b l v, as
   * numbers.
   */
  stream(params: RmtWeights, tokens: Tensor): { shape: readonly number[]; values: ArrayLike<number> };
  /** Mean cross-entropy over the targets b t that are not -100, with the model's dropout. */
  loss(params: RmtWeights, tokens: Tensor, targets: Tensor): Tensor;
}

function settled(options: RmtOptions, who: string, ...names: string[]): Rmt["options"] {
  known(who, options, "memory", "segment", "losses", "replay", "truncation", "k", ...names);
  const o = {
    memory: 4,
    bidirectional: false,
    losses: "all",
    replay: true,
    exempt: "none",
    truncation: "sliding",
    k: undefined,
    ...Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined)),
  } as Rmt["options"];
  const fail = (why: string, wants: string): never => {
    throw new RangeError(`${who}: ${why}\n  wants ${wants}`);
  };
  for (const name of ["memory", "segment"] as const)
    if (!(Number.isInteger(o[name]) && o[name] > 0)) fail(`${name} is ${o[name]}`, "a whole number above 0");
  if (o.k !== undefined && !(Number.isInteger(o.k) && o.k >= 0))
    fail(`k is ${o.k}`, "a whole number from 0, or nothing for all");
  if (o.truncation !== "sliding" && o.truncation !== "tail") fail(`truncation is ${o.truncation}`, "sliding or tail");
  if (o.losses !== "all" && o.losses !== "last") fail(`losses is ${o.losses}`, "all or last");
  if (!["none", "source", "touch"].includes(o.exempt)) fail(`exempt is ${o.exempt}`, "none, source or touch");
  return o;
}

/** Independent normal vectors as large as an embedding's: equal ones would be told apart by their places alone. */
const memoryOf = (tape: Tape, seed: number, m: number, d: number): Tensor =>
  maker(tape, random(seed).fork("rmt"))("memory", [m, d], 1 / Math.sqrt(d));

/** A parameter m d, once for each of b sequences: b m d. Each row is picked by number, so that the gradients add up. */
function repeated(memory: Tensor, b: number): Tensor {
  const m = memory.shape[0]!;
  return embedding(
    memory,
    memory.tape.integers(
      [b, m],
      Array.from({ length: b * m }, (_, i) => i % m),
    ),
  );
}

/**
 * Runs `step` over segments and returns what each gave, letting gradients cross boundaries as told. With `sliding` the
 * window of each segment is run again from a detached memory: that is its definition, and costs k more passes.
 */
function unroll<T>(
  n: number,
  first: Tensor,
  { k, truncation }: Truncation,
  step: (s: number, memory: Tensor, wanted: boolean) => { out: T; memory: Tensor },
): T[] {
  const outs: T[] = [];
  if (k === undefined || truncation === "tail") {
    for (let s = 0, memory = first; s < n; s++) {
      const { out, memory: next } = step(s, memory, true);
      outs.push(out);
      memory = k !== undefined && s < n - 1 - k ? stopGradient(next) : next;
    }
    return outs;
  }
  const values = [first];
  first.tape.noGrad(() => {
    for (let s = 0; s + 1 < n; s++) values.push(step(s, values[s]!, false).memory);
  });
  for (let s = 0; s < n; s++) {
    const from = Math.max(0, s - k);
    for (let r = from, memory = values[from]!; r <= s; r++) {
      const { out, memory: next } = step(r, memory, r === s);
      if (r === s) outs.push(out);
      memory = next;
    }
  }
  return outs;
}

/** The sizes b and t of tokens or targets; throws unless they are integers b t, and some. */
function sizes(x: Tensor): [b: number, t: number] {
  const { shape } = x instanceof Tensor ? integers(x.tape, x) : { shape: [] };
  if (!(x?.size > 0))
    throw new RangeError(
      `rmt: no tokens in ${x instanceof Tensor ? show(x) : String(x)}\n  wants integers [batch time]`,
    );
  return shape as unknown as [number, number];
}
/** How many targets are not -100 in each of n segments of b x t targets, l wide. */
function counted(targets: Tensor, l: number): number[] {
  const [b, t] = targets.shape as [number, number];
  const values = targets.values();
  const counts = new Array<number>(Math.ceil(t / l)).fill(0);
  for (let i = 0; i < b * t; i++) if (values[i] !== -100) counts[Math.floor((i % t) / l)]!++;
  return counts;
}
/** Columns from..to of an integer tensor b x t. */
function columns(x: Tensor, from: number, to: number): Tensor {
  const [b, t] = x.shape as [number, number];
  const values = x.values();
  const part = new Int32Array(b * (to - from));
  for (let i = 0; i < b; i++) part.set(values.subarray(i * t + from, i * t + to) as Int32Array, i * (to - from));
  return x.tape.integers([b, to - from], part);
}

/**
 * A decoder with read and write memory: each segment's row is [memory | tokens | memory], and both blocks start from
 * what the last segment wrote.
 */
export function rmt(model: Transformer, options: RmtOptions): Rmt {
  const o = settled(options, "rmt", "bidirectional", "exempt");
  const { memory: m, segment: l } = o;
  const c = model.config;
  if (!c.vocab || !c.causal)
    throw new RangeError(
      "rmt: the model reads vectors or sees both ways\n  wants a causal transformer over tokens; for an encoder use rmtEncoder",
    );
  if (2 * m + l > c.limit)
    throw new RangeError(
      `rmt: a segment of ${l} with two blocks of ${m} memory vectors takes ${2 * m + l} places, more than the ${c.limit} of the table of positions\n  wants context of at least ${2 * m + l}, or shorter segments`,
    );

  /** Causal over the row; the two memory blocks open in themselves when bidirectional. */
  function allowed(n: number): Float64Array {
    const t = 2 * m + n;
    const a = mask(t, t, true);
    for (const at of [0, m + n]) for (let i = 0; i < m; i++) a.fill(1, (at + i) * t + at, (at + i) * t + at + m);
    return a;
  }
  /**
   * Edge weights by time: read memory stands at the segment's start, a token at its number, write memory at the last
   * token's.
   */
  function edges(n: number, before: number): Float64Array {
    const times = [
      ...new Array<number>(m).fill(before),
      ...Array.from({ length: n }, (_, i) => before + i + 1),
      ...new Array<number>(m).fill(before + n),
    ];
    const w = edgeWeights(times, c.myopic!);
    const t = times.length;
    const inMemory = (i: number) => i < m || i >= m + n;
    if (o.exempt !== "none")
      for (let i = 0; i < t; i++)
        for (let j = 0; j < t; j++) if (inMemory(j) || (o.exempt === "touch" && inMemory(i))) w[i * t + j] = 1;
    return w;
  }

  const self: Rmt = {
    model,
    options: o,
    params: (tape, { seed = 0 } = {}) =>
      tape.allOrNothing(() => ({ ...model.params(tape, { seed }), memory: memoryOf(tape, seed, m, c.d) })),
    start: (params, b) => repeated(params.memory, b),
    step(params, tokens, memory, before = 0, { dropout = 0 } = {}) {
      const { tape } = tokens;
      const [b, n] = tokens.shape as [number, number];
      const t = 2 * m + n;
      if (n > l) throw new RangeError(`rmt: a segment of ${n} tokens\n  wants at most ${l}`);
      if (memory.shape.length !== 3 || memory.shape[0] !== b || memory.shape[1] !== m)
        throw new RangeError(`rmt: memory is ${show(memory)}\n  wants [${b} ${m} ${c.d}]`);
      // Old memory in the write slots is an edge over the whole segment; in the read slots it is read as the segment
      // starts.
      const write =
        c.myopic && before > 0 && o.exempt === "none" ? fade(memory, { by: edgeWeight(n, c.myopic) }) : memory;
      const x = concat([memory, model.embed(params, tokens), write], { axis: 1 });
      const y = model.states(params, x, {
        dropout,
        allowed: o.bidirectional ? tape.tensor([t, t], allowed(n)) : undefined,
        edges: c.myopic && tape.recording ? tape.tensor([t, t], edges(n, before)) : undefined,
      });
      return { states: slice(y, m, m + n, { axis: 1 }), memory: slice(y, m + n, t, { axis: 1 }) };
    },
    logits(params, tokens) {
      const [b, t] = sizes(tokens);
      const memories = [self.start(params, b)];
      const parts: Tensor[] = [];
      for (let at = 0, s = 0; at < t; at += l, s++) {
        const { states, memory } = self.step(params, columns(tokens, at, Math.min(t, at + l)), memories[s]!, at);
        parts.push(model.head(params, states));
        memories.push(memory);
      }
      return { logits: concat(parts, { axis: 1 }), memories };
    },
    stream(params, tokens) {
      const [b, t] = sizes(tokens);
      const { tape } = tokens;
      return tape.scope(() =>
        tape.noGrad(() => {
          const held = tape.tensor([b, m, c.d], self.start(params, b).values());
          for (let at = 0; ; at += l) {
            const end = Math.min(t, at + l);
            const last = tape.scope(() => {
              const { states, memory } = self.step(params, columns(tokens, at, end), held, at);
              if (end === t) {
                const y = model.head(params, states);
                return { shape: y.shape, values: y.values().slice() };
              }
              held.values().set(memory.values());
              return undefined;
            });
            if (last) return last;
          }
        }),
      );
    },
    loss(params, tokens, targets) {
      const [b, t] = sizes(tokens);
      const { tape } = tokens;
      sizes(targets);
      if (targets.shape.length !== 2 || targets.shape[0] !== b || targets.shape[1] !== t)
        throw new RangeError(`rmt: targets are ${show(targets)}\n  wants ${show(tokens)}, as the tokens`);
      const counts = counted(targets, l);
      const n = counts.length;
      if (o.losses === "last") counts.fill(0, 0, n - 1);
      const total = counts.reduce((a, x) => a + x, 0);
      if (!total) throw new RangeError("rmt: no target counts: every one is -100");
      const segments = counts.map((_, s) => ({
        ids: columns(tokens, s * l, Math.min(t, s * l + l)),
        want: columns(targets, s * l, Math.min(t, s * l + l)),
      }));
      const losses = unroll(n, self.start(params, b), o, (s, memory, wanted) => {
        const run = (): Tensor[] => {
          const { states, memory: next } = self.step(params, segments[s]!.ids, memory, s * l, { dropout: c.dropout });
          return wanted && counts[s]
            ? [next, crossEntropy(model.head(params, states), segments[s]!.want, { reduction: "sum" })]
            : [next];
        };
        const [next, loss] = o.replay ? tape.checkpoint(run) : run();
        return { out: loss, memory: next! };
      });
      return scale(
        losses.filter(x => x !== undefined).reduce((a, x) => add(a, x)),
        { by: 1 / total },
      );
    },
  };
  return self;
}

/**
 * Options of `rmtEncoder`: the special tokens' numbers, how many classes, and whether a tanh layer stands before them,
 * as in BERT.
 */
export interface RmtEncoderOptions extends Truncation {
  memory?: number;
  /** Payload tokens in a segment; its row takes memory + 3 places more. */
  segment: number;
  classes: number;
  cls?: number;
  sep?: number;
  pad?: number;
  pooler?: boolean;
  /** Which segments' class logits count. */
  losses?: "all" | "last";
  replay?: boolean;
}
export interface RmtEncoderWeights extends RmtWeights {
  readonly classifier: Weights;
  readonly pooler?: Weights | undefined;
}

/** A recurrent memory encoder that sorts sequences into classes. */
export interface RmtEncoder {
  readonly model: Transformer;
  params(tape: Tape, options?: { seed?: number }): RmtEncoderWeights;
  /**
   * Sequences of ids, all of one number of segments, cut from the right -> class logits of each segment [b classes],
   * and the memories. Without dropout.
   */
  logits(params: RmtEncoderWeights, sequences: readonly ArrayLike<number>[]): { logits: Tensor[]; memories: Tensor[] };
  /** Mean cross-entropy of the class logits of the last segment, or of all, with the model's dropout. */
  loss(params: RmtEncoderWeights, sequences: readonly ArrayLike<number>[], labels: Tensor): Tensor;
}

/**
 * An encoder with memory once, in front: each segment's row is [CLS] memory [SEP] tokens [SEP], then padding that
 * nobody sees.
 */
export function rmtEncoder(
  model: Transformer,
  { classes, cls = 1, sep = 2, pad = 0, pooler = false, ...rest }: RmtEncoderOptions,
): RmtEncoder {
  const o = settled(rest, "rmtEncoder", "classes", "cls", "sep", "pad", "pooler");
  const { memory: m, segment: l } = o;
  const c = model.config;
  if (!c.vocab || c.causal || c.norm !== "post")
    throw new RangeError(
      'rmtEncoder: the model is causal, or norms before its layers\n  wants a transformer over tokens with causal: false and norm: "post"',
    );
  if (m + l + 3 > c.limit)
    throw new RangeError(
      `rmtEncoder: a segment of ${l} with ${m} memory vectors and 3 marks takes ${m + l + 3} places, more than the ${c.limit} of the table of positions\n  wants context of at least ${m + l + 3}, or shorter segments`,
    );
  if (!(Number.isInteger(classes) && classes > 0))
    throw new RangeError(`rmtEncoder: classes is ${classes}\n  wants a whole number above 0`);
  for (const [name, id] of Object.entries({ cls, sep, pad }))
    if (!(Number.isInteger(id) && id >= 0 && id < c.vocab))
      throw new RangeError(`rmtEncoder: ${name} is ${id}\n  wants a token, from 0 to ${c.vocab - 1}`);

  function segment(
    params: RmtEncoderWeights,
    memory: Tensor,
    parts: readonly number[][],
    dropout = 0,
  ): { logits: Tensor; memory: Tensor } {
    const { tape } = memory;
    const b = parts.length;
    const t = Math.max(...parts.map(x => x.length)) + m + 3;
    const ids = new Int32Array(b * t).fill(pad);
    const real = new Float64Array(b * t);
    parts.forEach((x, i) => {
      const row = [cls, ...new Array<number>(m).fill(pad), sep, ...x, sep];
      ids.set(row, i * t);
      real.fill(1, i * t, i * t + row.length);
    });
    const words = model.embed(params, tape.integers([b, t], ids));
    const x = concat([slice(words, 0, 1, { axis: 1 }), memory, slice(words, m + 1, t, { axis: 1 })], { axis: 1 });
    const y = model.states(params, x, { dropout, keys: tape.tensor([b, t], real) });
    const flat = reshape(slice(y, 0, 1, { axis: 1 }), [b, c.d]);
    return {
      logits: apply(params.pooler ? tanh(apply(flat, params.pooler)) : flat, params.classifier),
      memory: slice(y, 1, 1 + m, { axis: 1 }),
    };
  }

  function cut(sequences: readonly ArrayLike<number>[]): number[][][] {
    if (!sequences[0]?.length)
      throw new RangeError(
        `rmtEncoder: ${sequences.length} sequences, the first of ${sequences[0]?.length ?? "no"} tokens\n  wants at least one sequence of at least one token`,
      );
    const n = Math.ceil(sequences[0].length / l);
    const odd = sequences.find(x => Math.ceil(x.length / l) !== n);
    if (odd)
      throw new RangeError(
        `rmtEncoder: sequences of ${sequences[0].length} and ${odd.length} tokens\n  wants one number of segments of ${l} for all`,
      );
    return Array.from({ length: n }, (_, s) =>
      sequences.map(x => Array.from(x).slice(Math.max(0, x.length - (n - s) * l), x.length - (n - 1 - s) * l)),
    );
  }

  const self: RmtEncoder = {
    model,
    params: (tape, { seed = 0 } = {}) =>
      tape.allOrNothing(() => {
        const make = maker(tape, random(seed).fork("rmt"));
        const { lm_head: _, ...weights } = model.params(tape, { seed });
        return {
          ...weights,
          memory: memoryOf(tape, seed, m, c.d),
          classifier: linearWeights(make, "classifier", classes, c.d),
          pooler: pooler ? linearWeights(make, "pooler", c.d, c.d) : undefined,
        };
      }),
    logits(params, sequences) {
      const segments = cut(sequences);
      const memories = [repeated(params.memory, sequences.length)];
      const logits: Tensor[] = [];
      segments.forEach((parts, s) => {
        const y = segment(params, memories[s]!, parts);
        logits.push(y.logits);
        memories.push(y.memory);
      });
      return { logits, memories };
    },
    loss(params, sequences, labels) {
      const { tape } = labels;
      const segments = cut(sequences);
      const n = segments.length;
      const losses = unroll(n, repeated(params.memory, sequences.length), o, (s, memory, wanted) => {
        const run = (): Tensor[] => {
          const { logits, memory: next } = segment(params, memory, segments[s]!, c.dropout);
          return wanted && (o.losses === "all" || s === n - 1) ? [next, crossEntropy(logits, labels)] : [next];
        };
        const [next, loss] = o.replay ? tape.checkpoint(run) : run();
        return { out: loss, memory: next! };
      }).filter(x => x !== undefined);
      return scale(
        losses.reduce((a, x) => add(a, x)),
        { by: 1 / losses.length },
      );
    },
  };
  return self;
}
