// generate.ts: prompts in, tokens out, step by step, each by one run of the model over the newest tokens and a cache.
import {
  anything,
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
import { configOf } from "./recurrent.ts";
import type { Transformer, TransformerState, TransformerWeights } from "./transformer.ts";

/** Options of `generate`. */
export interface GenerateOptions {
  /** Most new tokens of a prompt; as many as the cache has places for unless given. */
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
  /** Places of the cache; what prompts and steps take, or the model's `context` where no steps are given. */
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
 *     const options = { steps: 20, temperature: 0.8, topP: 0.9 };
 *     for (const [token] of generate(model, params, [3, 1, 4], options)) show(token);
 */
export function generate(
  model: Transformer,
  params: TransformerWeights,
  prompts: ArrayLike<number> | readonly ArrayLike<number>[],
  options: GenerateOptions = {},
): Generator<(number | undefined)[], number[][], void> {
  const { vocab, causal, outputs } = configOf(who, model);
  if (!vocab || !causal || outputs > vocab) {
    const got = `${vocab} tokens, ${outputs} outputs, causal ${causal}`;
    refuse(RangeError, who, "the model does not continue its input", "a causal model of tokens", got);
  }
  paramParts(params);
  const rows = rowsOf(prompts, vocab);
  return continued(model, params, completed(model, rows, options));
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
function completed({ config }: Transformer, rows: readonly number[][], options: GenerateOptions): Complete {
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
  return { rows, steps, capacity, generators, stop, temperature, topK, topP };
}

/** Runs the model over the prompts, then over a token at a time. */
function* continued(
  model: Transformer,
  params: TransformerWeights,
  s: Complete,
): Generator<(number | undefined)[], number[][], void> {
  const { tape } = params.wte.weight;
  const b = s.rows.length;
  const texts = s.rows.map(row => [...row]);
  const ended = s.rows.map(() => false);
  const { made, release } = tape.lend(() => model.start(params, b, { cache: s.capacity }));
  let state = made;
  let rows = s.rows;
  try {
    for (let n = 0; n < s.steps && ended.includes(false); n++) {
      const next = tape.scope(() =>
        tape.noGrad(() => {
          const { logits, after } = ran(model, params, rows, state);
          state = after;
          const values = tensor(who, "the logits", logits).values();
          const each = values.length / b;
          return s.generators.map((rng, i) =>
            ended[i] ? undefined : chosen(values.subarray(i * each, (i + 1) * each), s, rng),
          );
        }),
      );
      next.forEach((token, i) => {
        if (token === undefined) return;
        texts[i]!.push(token);
        ended[i] = s.stop.includes(token);
      });
      rows = next.map(token => [token ?? 0]); // a text that has ended goes on with tokens that nobody reads
      yield next;
    }
    return texts;
  } finally {
    release();
  }
}

/**
 * Logits b 1 outputs behind rows of different lengths. Shorter ones are filled up: what comes later changes nothing
 * before it, and the cache forgets it.
 */
function ran(
  model: Transformer,
  params: TransformerWeights,
  rows: readonly number[][],
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
