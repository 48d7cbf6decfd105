// generate.ts: prompts in, tokens out, step by step, each by one run of the model over the newest tokens and a cache.
import {
  anything,
  get,
  integer,
  items,
  largest,
  options as asked,
  real,
  refuse,
  tensor,
  whole,
  type Check,
} from "../check.ts";
import { exp } from "../math.ts";
import { having } from "../nn.ts";
import { embedding } from "../ops/rows.ts";
import { reshape } from "../ops/shapes.ts";
import { random, type Random } from "../random.ts";
import type { Tensor } from "../tensor.ts";
import { configOf, heldState, type Recalling, type RmtState, type RmtWeights } from "./recurrent.ts";
import { keeper } from "./stream.ts";
import type { Config, Transformer, TransformerState, TransformerWeights } from "./transformer.ts";

/** Options of `generate`. */
export interface GenerateOptions {
  /** Most new tokens of a prompt; unless given as many as the cache has places for, of a recurrent model a segment. */
  steps?: number;
  /** Divides the logits before a token is drawn. 0, the default: the likeliest token, of several the lowest. */
  temperature?: number;
  /** Draws from that many of the likeliest tokens; from all unless given. */
  topK?: number;
  /** Then from the fewest likeliest whose probabilities reach this sum (Holtzman et al. 2020); 1, all, unless given. */
  topP?: number;
  /**
   * Of what is drawn; 0 unless given. Prompt i draws from `random(seed).fork(i)`; with a list from `random(seed[i])`.
   */
  seed?: number | readonly number[];
  /** Tokens that end a prompt's text; they are its last ones. */
  stop?: readonly number[];
  /**
   * Places of the cache; what prompts and steps take, or the model's `context` where no steps are given. A recurrent
   * model takes none.
   */
  cache?: number;
}

interface Choice {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
}
/** What was asked for, checked. */
interface Complete extends Choice {
  readonly rows: readonly number[][];
  readonly steps: number;
  readonly capacity: number;
  readonly generators: readonly Random[];
  readonly stop: readonly number[];
}

const who = "generate";
const paramParts = /* @__PURE__ */ having(who, "wte.weight");

/**
 * Continues prompts, rows of tokens of any lengths (or one row): gives at each step the next token of every prompt,
 * nothing for one that has ended, and at the end all tokens, prompts included. In the exact engine the tokens of a
 * prompt do not depend on the others, and logits have the bits of a run over all of it through a cache (see `cache`).
 * Records nothing. Memory of the cache is given back at the end, also by `return()`, unless tensors were made on the
 * tape meanwhile: then with the scope around it.
 *
 * With a recurrent model texts may be of any length and are read one by one. Full segments move memory on; the rest and
 * the new tokens stand behind memory, with no write memory among them.
 *
 *     const options = { steps: 20, temperature: 0.8, topP: 0.9 };
 *     for (const [token] of generate(model, params, [3, 1, 4], options)) show(token);
 */
export function generate(
  model: Transformer | Recalling,
  params: TransformerWeights,
  prompts: ArrayLike<number> | readonly ArrayLike<number>[],
  options: GenerateOptions = {},
): Generator<(number | undefined)[], number[][], void> {
  const outer = typeof get(model, "begin") === "function" ? (model as Recalling) : undefined;
  const config = configOf(who, outer ? outer.model : (model as Transformer));
  const { vocab, causal, outputs } = config;
  if (!vocab || !causal || outputs > vocab) {
    const got = `${vocab} tokens, ${outputs} outputs, causal ${causal}`;
    refuse(RangeError, who, "the model does not continue its input", "a causal model of tokens", got);
  }
  paramParts(params);
  const rows = rowsOf(prompts, vocab);
  const s = completed(config, rows, options, outer?.options);
  if (outer) return continued(() => apart(outer, params as RmtWeights, s), s);
  return continued(() => together(model as Transformer, params, s), s);
}

/** The prompts, copied. */
function rowsOf(prompts: ArrayLike<number> | readonly ArrayLike<number>[], vocab: number): number[][] {
  const list = items(who, "prompts are", prompts as readonly ArrayLike<number>[], "a row of tokens, or a list of rows");
  if (!list.length) refuse(RangeError, who, "there is no prompt", "at least one token");
  const several = typeof list[0] === "object" ? list : [list as unknown as number[]];
  return several.map((prompt, i) => {
    const row = items(who, `prompt ${i} is`, prompt);
    if (row.length === 0) refuse(RangeError, who, `prompt ${i} is empty`, "at least one token");
    row.forEach((token, place) => integer(who, `prompt ${i} at ${place}`, token, 0, vocab - 1));
    return row;
  });
}

/** Checks options and fills in what was left out. */
function completed(
  config: Config,
  rows: readonly number[][],
  options: GenerateOptions,
  recurrent: Recalling["options"] | undefined,
): Complete {
  const o = asked(who, options, {
    steps: [whole(1), undefined],
    temperature: [real("from 0"), 0],
    topK: [whole(1), config.outputs],
    topP: [real("above 0, at most 1"), 1],
    seed: [anything as Check<number | readonly number[]>, 0],
    stop: [anything as Check<readonly number[]>, []],
    cache: [whole(1), undefined],
  });
  const { temperature, topK, topP, seed, steps: more } = o;
  const stop = items(who, "stop is", o.stop, "a list of tokens");
  for (const token of stop) integer(who, "stop", token, 0, config.outputs - 1);
  const own = typeof seed === "object" ? items(who, "the seeds are", seed) : undefined;
  if (own && own.length !== rows.length)
    refuse(RangeError, who, `${own.length} seeds for ${rows.length} prompts`, "a seed, or one a prompt");
  const generators = rows.map((_, i) => (own ? random(own[i]!) : random(seed as number).fork(i)));
  const common = { rows, generators, stop, temperature, topK, topP };
  if (recurrent) {
    const { memory, segment } = recurrent;
    if (o.cache) refuse(RangeError, who, "a cache with a recurrent model", "none: it has one of a segment");
    return { ...common, steps: more ?? segment, capacity: 2 * memory + segment };
  }
  const longest = largest(rows.map(row => row.length));
  const most = more === undefined ? config.context : longest + more - 1; // the last token has no place
  const capacity = o.cache ?? most;
  const places = Math.min(capacity, config.limit);
  const steps = more ?? Math.max(1, places - longest + 1);
  if (longest + steps - 1 > places) {
    const wants = capacity >= config.limit ? "a model with a larger context" : "a larger cache";
    const why = `a prompt of ${longest} and ${steps} steps do not fit in ${places} places`;
    refuse(RangeError, who, why, `shorter prompts, fewer steps, or ${wants}`);
  }
  return { ...common, steps, capacity };
}

/** Reads rows of tokens, none of one that has ended, and gives what `choose` makes of the logits behind each. */
type Reads = (
  rows: readonly (readonly number[] | undefined)[],
  choose: (logits: ArrayLike<number>, i: number) => number,
) => (number | undefined)[];

/** Runs the model over the prompts, then over a token at a time. */
function* continued(
  open: () => { read: Reads; release(): void },
  s: Complete,
): Generator<(number | undefined)[], number[][], void> {
  const { read, release } = open();
  const texts = s.rows.map(row => [...row]);
  let rows: (readonly number[] | undefined)[] = [...s.rows];
  try {
    for (let n = 0; n < s.steps && rows.some(row => row); n++) {
      const next = read(rows, (logits, i) => chosen(logits, s, s.generators[i]!));
      next.forEach((token, i) => token !== undefined && texts[i]!.push(token));
      rows = next.map(token => (token === undefined || s.stop.includes(token) ? undefined : [token]));
      yield next;
    }
    return texts;
  } finally {
    release();
  }
}

/** Reads all rows at once, through one cache. */
function together(model: Transformer, params: TransformerWeights, { rows: { length: b }, capacity }: Complete) {
  const { tape } = params.wte.weight;
  const { made, release } = tape.lend(() => model.start(params, b, { cache: capacity }));
  let state = made;
  const read: Reads = (rows, choose) =>
    tape.scope(() =>
      tape.noGrad(() => {
        const all = rows.map(row => row ?? [0]); // a text that has ended goes on with tokens that nobody reads
        const { logits, after } = ran(model, params, all, state);
        state = after;
        const values = tensor(who, "the logits", logits).values();
        const each = values.length / b;
        return rows.map((row, i) => row && choose(values.subarray(i * each, (i + 1) * each), i));
      }),
    );
  return { read, release };
}

/** What passes along the text of one prompt of a recurrent model. */
interface Line {
  state: RmtState;
  /** The state of the model inside before anything, and behind memory and the segment's tokens so far. */
  readonly fresh: TransformerState;
  inside: TransformerState;
  /** Those tokens. */
  tokens: number[];
  readonly keep: (state: RmtState) => () => RmtState;
}

/**
 * Reads row by row: what is left of a segment behind its memory, with no write memory, through a cache. A segment that
 * is full moves memory on, by the model's own step, once a token follows it.
 */
function apart(outer: Recalling, params: RmtWeights, { rows: { length: b }, capacity }: Complete) {
  const { model } = outer;
  const l = outer.options.segment;
  const inner = outer.inner(params); // looks at them before they are read
  const { tape } = params.memory;
  const { made: lines, release } = tape.lend(() =>
    tape.noGrad(() =>
      Array.from({ length: b }, (): Line => {
        const keep = keeper(tape, heldState);
        const fresh = model.start(inner, 1, { cache: capacity });
        return { state: keep(outer.start(params, 1))(), fresh, inside: fresh, tokens: [], keep };
      }),
    ),
  );
  const run = <T>(body: () => T): T => tape.scope(() => tape.noGrad(body));
  const full = (line: Line, tokens: number[]): void => {
    const next = run(() => line.keep(outer.step(params, [tokens], line.state).state));
    Object.assign(line, { state: next(), tokens: [] });
  };
  const one = (line: Line, row: readonly number[], choose: (logits: ArrayLike<number>) => number): number => {
    if (line.tokens.length === l) full(line, line.tokens);
    let at = 0;
    for (; row.length - at > l; at += l) full(line, row.slice(at, at + l)); // of a prompt, which begins a line
    return run(() => {
      const rest = row.slice(at);
      if (!line.tokens.length) line.inside = outer.begin(params, line.state, line.fresh);
      const { states, state } = model.step(inner, [rest], line.inside, { from: rest.length - 1 });
      line.inside = state;
      line.tokens.push(...rest);
      return choose(tensor(who, "the logits", model.head(inner, states)).values());
    });
  };
  const read: Reads = (rows, choose) => rows.map((row, i) => row && one(lines[i]!, row, logits => choose(logits, i)));
  return { read, release };
}

/**
 * Logits b 1 outputs behind rows of different lengths. Shorter ones are filled up: what comes later changes nothing
 * before it, and the cache forgets it.
 */
function ran(
  model: Transformer,
  params: TransformerWeights,
  rows: readonly (readonly number[])[],
  before: TransformerState,
): { logits: Tensor; after: TransformerState } {
  const { tape } = params.wte.weight;
  const b = rows.length;
  const t = largest(rows.map(row => row.length));
  const tokens = new Array<number>(b * t).fill(0);
  rows.forEach((row, i) => row.forEach((token, j) => (tokens[i * t + j] = token)));
  const { states, state } = model.step(params, tape.indices([b, t], tokens), before);
  if (t === 1) return { logits: model.head(params, states), after: state };
  const starts = rows.map((row, i) => before.starts[i]! + row.length);
  const lasts = tape.integers(
    [b, 1],
    rows.map((row, i) => i * t + row.length - 1),
  );
  const last = embedding(reshape(states, [b * t, model.config.d]), lasts);
  const carries = state.carries.map(carry => carry.shorten?.(starts) ?? carry);
  return { logits: model.head(params, last), after: { carries, starts } };
}

function chosen(logits: ArrayLike<number>, { temperature, topK, topP }: Choice, rng: Random): number {
  let top = -Infinity;
  let best = 0;
  for (let i = 0; i < logits.length; i++) {
    const x = logits[i]!;
    if (x <= top) continue;
    top = x;
    best = i;
    if (x !== x) break;
  }
  if (!(Math.abs(top) < Infinity)) refuse(RangeError, who, `a logit is ${top}`, "finite ones");
  if (temperature === 0) return best;
  const weights = Float64Array.from(logits, x => exp((x - top) / temperature));
  if (topK < weights.length || topP < 1) keepLikeliest(weights, topK, topP);
  const total = weights.reduce((sum, w) => sum + w, 0);
  const at = rng.uniform() * total;
  let sum = 0;
  for (let i = 0; i < weights.length; i++) {
    sum += weights[i]!;
    if (at < sum) return i;
  }
  return best; // `at` was rounded up to the sum of all
}

/** Sets all but the `topK` largest weights to 0, then all but the largest whose sum reaches `topP` of theirs. */
function keepLikeliest(weights: Float64Array, topK: number, topP: number): void {
  const sorted = weights.slice().sort().reverse();
  let count = Math.min(topK, sorted.length);
  if (topP < 1) {
    const enough = topP * sorted.subarray(0, count).reduce((sum, w) => sum + w, 0);
    let sum = 0;
    count = 0;
    while (sum < enough) sum += sorted[count++]!;
  }
  const least = sorted[count - 1]!;
  let equal = count - sorted.findIndex(w => w === least); // how many as small as the least are kept: the first ones
  for (let i = 0; i < weights.length; i++) {
    const w = weights[i]!;
    if (w < least || (w === least && equal-- <= 0)) weights[i] = 0;
  }
}
