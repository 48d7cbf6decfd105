// recurrent.ts: what recurrent memory models share: their options, the memory that passes from segment to segment, and
// how far gradients follow it back.
import {
  callable,
  flag,
  get,
  integer,
  isTensor,
  items,
  kindOf,
  oneOf,
  options as chosen,
  printed,
  refuse,
  shapeOf,
  tensor,
  whole,
  type Check,
  type Chosen,
  type Wants,
} from "../check.ts";
import { fresh, maker, tokens, type Maker, type ParamsOptions } from "../nn.ts";
import { add, probability } from "../ops/elementwise.ts";
import { embedding } from "../ops/rows.ts";
import { stopGradient } from "../ops/shapes.ts";
import { random } from "../random.ts";
import type { Tape } from "../tape.ts";
import type { Tensor } from "../tensor.ts";
import { MOST } from "./carry.ts";
import type { Chunk, Given, StreamOptions, Held, Rows, Sequences } from "./stream.ts";
import type { Config, How, Transformer, TransformerState, TransformerWeights } from "./transformer.ts";

/**
 * How far gradients reach back. `k` boundaries between segments may be crossed; all unless given. "sliding": by the
 * loss of each segment; "tail": only the last k boundaries of the sequence let any gradient pass.
 */
export interface Truncation {
  k?: number | undefined;
  truncation?: "sliding" | "tail";
}

/** Options of every recurrent memory model. */
export interface RecurrentOptions extends Truncation {
  /** Memory vectors; 4 unless given. */
  memory?: number;
  /** Tokens in a segment. */
  segment: number;
  /** Which segments' losses count; all unless given. */
  losses?: "all" | "last";
  /** Recompute segments in the backward pass (unless false) instead of keeping their activations. */
  replay?: boolean;
}
/** The same, complete. */
export type Recurrent = Required<Omit<RecurrentOptions, "k">> & { readonly k: number | undefined };

/** How to take a loss over segments. */
export interface LossOptions {
  /**
   * A list that the backward pass fills, a number a segment: the norm of the loss's gradient by the state before it,
   * which is all that reaches it from later segments and from its own loss; 0 where nothing may.
   */
  norms?: number[] | undefined;
}

/** A transformer's parameters and the memory of the first segment, [memory d]. */
export interface RmtWeights extends TransformerWeights {
  readonly memory: Tensor;
}
/**
 * What passes from one segment to the next: the memory b m d, and how many tokens of the longest sequence it has seen,
 * places filled up among them where segments are `padded`.
 */
export interface RmtState {
  readonly memory: Tensor;
  readonly at: number;
}
/** What a segment gave: its states, and the state after it. */
export interface RmtStep {
  readonly states: Tensor;
  readonly state: RmtState;
}
/**
 * A decoder that reads an input of any length segment by segment. Only its state passes from one to the next; a
 * `Memory` is what `logits` tells of each state.
 */
export interface RecurrentDecoder<Params, State, Memory> {
  readonly model: Transformer;
  /** Fresh parameters on `tape`; `frozen` ones want no gradient and claim no memory for it. */
  params(tape: Tape, options?: ParamsOptions): Params;
  /** The state before the first segment of b sequences. */
  start(params: Params, b: number): State;
  /**
   * One segment, tokens b l or fewer -> states of the tokens b l d, and the state after it. Without dropout unless
   * asked.
   */
  step(params: Params, tokens: Rows, state: State, how?: RmtHow): { readonly states: Tensor; readonly state: State };
  /** States b l d -> logits b l v. */
  head(params: Params, states: Tensor): Tensor;
  /**
   * Tokens b t of any length -> logits b t v, and the memories: before the first segment and after each. Without
   * dropout.
   */
  logits(params: Params, tokens: Rows): { logits: Tensor; memories: Memory[] };
  /** Mean cross-entropy over the targets b t that are not -100, with the model's dropout; see `LossOptions`. */
  loss(params: Params, tokens: Rows, targets: Rows, how?: LossOptions): Tensor;
  /**
   * Runs through tokens that come in pieces of any length, in the memory of one segment and a state, and gives what is
   * asked for of each segment, as soon as it is full or the pieces end; see `streamed`.
   */
  stream(
    params: Params,
    chunks: Iterable<Chunk>,
    options?: StreamOptions<State>,
  ): Generator<Given, State | undefined, void>;
}
/** What `generate` needs of a recurrent decoder; see `Rmt`. */
export interface Recalling {
  readonly model: Transformer;
  readonly options: { readonly memory: number; readonly segment: number };
  start(params: RmtWeights, b: number): RmtState;
  step(params: RmtWeights, tokens: Rows, state: RmtState): RmtStep;
  begin(params: RmtWeights, state: RmtState, fresh: TransformerState): TransformerState;
  inner(params: RmtWeights): TransformerWeights;
}

/** How to run a segment. */
export type RmtHow = Pick<How, "dropout" | "watch">;

const wants = () =>
  ({
    memory: [whole(1), 4],
    segment: [whole(1)],
    losses: [oneOf("all", "last"), "all"],
    replay: [flag, true],
    truncation: [oneOf("sliding", "tail"), "sliding"],
    k: [whole(), undefined],
  }) as const;

/** Checks options and fills in what was left out; `own` are those that this model alone has. */
export function completed<const Own extends Wants>(who: string, options: object, own: Own) {
  return chosen(who, options, { ...wants(), ...own }) as Chosen<ReturnType<typeof wants>> & Chosen<Own>;
}
/** The configuration of a model to put inside. */
export function configOf(who: string, model: Transformer): Config {
  const c = get(model, "config");
  const can = ["params", "fits", "embed", "states", "head", "start", "step"].every(
    name => typeof get(model, name) === "function",
  );
  if (can && typeof c === "object" && c !== null) return c as Config;
  refuse(TypeError, who, `the model is ${printed(model)}`, "a transformer");
}
/** How a segment is run, checked. */
export function howOf(who: string, how: RmtHow): RmtHow {
  return chosen(who, how, { dropout: [probability, 0], watch: [callable as Check<How["watch"]>, undefined] }) as RmtHow;
}

/** How a loss is taken, checked. */
export function lossHow(who: string, how: LossOptions = {}): LossOptions {
  return chosen(who, how, { norms: [list, undefined] });
}
const list: Check<number[]> = (who, name, value) => {
  if (kindOf(value) === "Array") return value as number[];
  refuse(TypeError, who, `${name} is ${printed(value)}`, "a list to fill");
};

/** Throws unless a segment's row, `what`, of so many places fits the model's table of positions. */
export function fits(who: string, what: string, places: number, { limit }: Config): void {
  if (places <= limit) return;
  const why = `${what} takes ${places} places, more than the ${limit} of the table of positions`;
  refuse(RangeError, who, why, `context of at least ${places}, or shorter segments`);
}

/** Throws unless a segment of n tokens of b sequences may follow `state`, whose vectors are d wide. */
export function follows(who: string, state: RmtState, b: number, n: number, o: Recurrent, d: number): void {
  comesAfter(who, state, n, o);
  shaped(who, state, "memory", [b, o.memory, d]);
}
/** Throws unless a segment of n tokens may come after those that a state has seen. */
export function comesAfter(who: string, state: object, n: number, { segment }: Recurrent): void {
  if (n > segment) refuse(RangeError, who, `a segment of ${n} tokens`, `at most ${segment}`);
  integer(who, "at", get(state, "at"));
}
/** Throws unless a state's tensor of that name has that shape. */
export function shaped(who: string, state: object, name: string, shape: readonly number[]): void {
  const got = shapeOf(tensor(who, name, get(state, name) as Tensor, "b m d"));
  const wants = shapeOf({ shape });
  if (got !== wants) refuse(RangeError, who, `${name} is ${got}`, wants);
}

/** Fresh parameters of a model and of what is put around it, `own`. */
export const paramsAround =
  <Own extends object>(model: Transformer, own: (make: Maker) => Own) =>
  (tape: Tape, options?: ParamsOptions): TransformerWeights & Own => {
    const how = fresh(tape, options);
    const { seed, frozen } = how;
    return tape.allOrNothing(() => ({ ...model.params(tape, how), ...own(makerOf(tape, seed, frozen)) }));
  };
/** The configuration of a model to put inside; throws unless it is causal, over tokens and not myopic. */
export function plainConfig(who: string, model: Transformer): Config {
  const c = configOf(who, model);
  if (c.vocab && c.causal && !c.myopic) return c;
  const wants = "a causal transformer over tokens, without myopic";
  refuse(RangeError, who, "the model reads vectors, sees both ways or is myopic", wants);
}

/** Independent normal vectors as large as an embedding's: equal ones would be told apart by their places alone. */
export function firstMemory(make: Maker, m: number, d: number): Tensor {
  return make("memory", [m, d], 1 / Math.sqrt(d));
}
/** What makes a recurrent model's own parameters, which are always drawn: a file for the model inside has none. */
export function makerOf(tape: Tape, seed: number, frozen: boolean): Maker {
  return maker(tape, random(seed).fork("rmt"), frozen);
}

/**
 * The state before the first segment of b sequences: the first memory for each. Its rows are picked by number, so that
 * their gradients add up.
 */
export function firstState({ memory }: RmtWeights, b: number): RmtState {
  const m = memory.shape[0]!;
  const rows = Array.from({ length: integer("start", "b", b, 1, MOST) * m }, (_, i) => i % m);
  const { tape } = memory;
  return tape.allOrNothing(() => ({ memory: embedding(memory, tape.integers([b, m], rows)), at: 0 }));
}

/** What gives it, for a model whose parameters `fits` looks at first. */
export const startWith =
  (fits: (params: RmtWeights) => unknown) =>
  (params: RmtWeights, b: number): RmtState => {
    fits(params);
    return firstState(params, b);
  };

/** The same state over another tensor. */
export const heldState: Held<RmtState> = (state, hold) => ({
  ...state,
  memory: hold(state.memory),
});

/** Tokens b t, or sequences of a length each, as rows; targets may be -100, which `least` allows. */
export function rowsOf(x: Rows, least = 0): number[][] {
  if (!isTensor(x)) {
    const rows = items("tokens", "rows are", x as Sequences);
    return rows.map(row => items("tokens", "a row is", row).map(id => integer("tokens", "a token", id, least)));
  }
  const [b, t] = tokens((x as Tensor).tape, x as Tensor).shape as [number, number];
  return Array.from({ length: b }, (_, i) => Array.from((x as Tensor).values().subarray(i * t, i * t + t)));
}

/** Runs through segments: the logits of each, and the states: one before the first segment and one after each. */
export function through<Segment, State>(
  segments: readonly Segment[],
  first: State,
  step: (segment: Segment, state: State) => { states: Tensor; state: State },
  head: (states: Tensor) => Tensor,
): { logits: Tensor[]; passed: State[] } {
  const passed = [first];
  const logits = segments.map((segment, s) => {
    const { states, state } = step(segment, passed[s]!);
    passed.push(state);
    return head(states);
  });
  return { logits, passed };
}

/** The first segment that the gradient of segment s's loss reaches, of n. */
function reach(s: number, n: number, { k = n, truncation }: Truncation): number {
  return Math.max(0, truncation === "sliding" ? s - k : Math.min(s, n - 1 - k));
}

/** What puts the norm of the gradient by the state before each segment into `norms`, as gradients arrive. */
function hearing(tape: Tape, norms: number[], n: number) {
  norms.splice(0, norms.length, ...new Array<number>(n).fill(0));
  const sums: Float64Array[][] = norms.map(() => []);
  // A state that several windows begin with, or pass, hears of each.
  return (s: number, i: number, x: Tensor): Tensor =>
    tape.heard(x, gradient => {
      const sum = (sums[s]![i] ??= new Float64Array(gradient.length));
      gradient.forEach((g, j) => (sum[j]! += g));
      norms[s] = Math.sqrt(sums[s]!.reduce((all, part) => part.reduce((a, g) => a + g * g, all), 0));
    });
}

/**
 * The sum of the losses of those segments that count, letting gradients cross boundaries as told. `run` gives the state
 * after a segment and, where it is asked for, its loss.
 *
 * Losses whose gradients begin at one segment share one run from there. The window of each other loss is run by itself,
 * from a detached state, which is what `sliding` means: (k + 1) (n - k) runs where all n segments count. What no
 * gradient reaches is run once, where a state is wanted of it, and keeps nothing. A segment draws the same dropout each
 * time, that of one forward pass.
 */
export function summed<State>(
  counted: readonly boolean[],
  first: State,
  held: Held<State>,
  o: Recurrent & LossOptions,
  run: (s: number, state: State, asked: boolean) => { state: State; loss?: Tensor | undefined },
): Tensor {
  const n = counted.length;
  const tape = tapeOf(first, held);
  const hear = o.norms && hearing(tape, o.norms, n);
  const losses: Tensor[] = [];
  /** Where the generator stands before each segment, as far as is known. */
  const draws = [tape.random.position];
  const after = (s: number, state: State, asked: boolean): State => {
    let tensors = 0;
    const before = hear ? held(state, x => hear(s, tensors++, x)) : state;
    let made = before;
    const body = () => {
      const { state, loss } = run(s, before, asked);
      const list: Tensor[] = [];
      made = held(state, x => {
        list.push(x);
        return x;
      });
      return loss ? [...list, loss] : list;
    };
    tape.random.position = draws[s]!;
    const list = o.replay || !tape.recording ? tape.checkpoint(body) : body();
    draws[s + 1] = tape.random.position;
    let i = 0;
    const next = held(made, () => list[i++]!);
    losses.push(...list.slice(i));
    return next;
  };
  /** The state before each segment, as far as is known, detached but for the first. */
  const passed = [first];
  let [began, at, state] = [0, 0, first];
  for (let s = 0; s < n; s++) {
    if (!counted[s]) continue;
    const from = tape.recording ? reach(s, n, o) : 0;
    for (let r = passed.length; r <= from; r++) passed.push(tape.unrecorded(() => after(r - 1, passed[r - 1]!, false)));
    if (from > began) [began, at, state] = [from, from, passed[from]!];
    for (; at <= s; at++) {
      state = after(at, state, at === s);
      passed[at + 1] ??= held(state, stopGradient);
    }
  }
  return losses.reduce((a, x) => add(a, x));
}

/** The tape that a state lies on. */
function tapeOf<State>(state: State, held: Held<State>): Tape {
  const tapes: Tape[] = [];
  held(state, x => {
    tapes.push(x.tape);
    return x;
  });
  return tapes[0]!;
}
