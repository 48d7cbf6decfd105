// stream.ts: a model over input that comes in pieces: an iterator in, an iterator out, in memory that does not grow.
import { choice, refuse } from "../check.ts";
import type { Numbers } from "../engine.ts";
import { crossEntropy } from "../ops/losses.ts";
import type { Tape } from "../tape.ts";
import type { Tensor } from "../tensor.ts";

/** Tokens b t as rows, or a tensor of them (or of vectors b t inputs). */
export type Rows = Tensor | readonly ArrayLike<number>[];
/** A piece of input, with its targets where losses are asked for. */
export type Chunk<Targets = Rows> = Rows | Piece<Targets>;
interface Piece<Targets> {
  readonly input: Rows;
  readonly targets?: Targets | undefined;
}
/** What a stream may be asked for: logits, states, or the mean loss of each piece. */
export type Ask = "logits" | "states" | "loss";
/** Numbers that outlive the scope they were computed in. */
export interface Given {
  readonly shape: readonly number[];
  readonly values: Numbers;
}
/** What a stream gives, "logits" unless asked for something else, and the state it starts from: the model's first. */
export interface StreamOptions<State> {
  ask?: Ask | undefined;
  state?: State | undefined;
}

/** A model, as a stream runs it. */
export interface Streamed<State, Targets> {
  start(b: number): State;
  step(input: Rows, state: State): { states: Tensor; state: State };
  head(states: Tensor): Tensor;
  /** Targets as `crossEntropy` takes them. */
  targets(given: Targets): Tensor;
  /** The same state over other tensors: `hold` is called with each, always in the same order. */
  held(state: State, hold: (x: Tensor) => Tensor): State;
}

const copied = (x: Tensor): Given => ({ shape: x.shape, values: x.values().slice() });

/**
 * Runs through pieces without recording and gives what each was asked for (a loss is NaN where no target counts); at
 * the end the state, as the generator's return value. What passes from piece to piece lies in memory made when its
 * shape is first met.
 */
export function* streamed<State, Targets>(
  tape: Tape,
  model: Streamed<State, Targets>,
  chunks: Iterable<Chunk<Targets>>,
  { ask = "logits", state: first }: StreamOptions<State>,
): Generator<Given, State | undefined, void> {
  choice("stream", "ask", ask, ["logits", "states", "loss"]);
  const holds: Tensor[] = [];
  let state = first;
  for (const { input, targets } of pieces(chunks)) {
    if (ask === "loss" && !targets) refuse(TypeError, "stream", "a piece without targets", "{ input, targets }");
    const before = state ?? tape.noGrad(() => model.start("shape" in input ? input.shape[0]! : input.length));
    const kept: Given[] = [];
    const { given, next } = tape.scope(() =>
      tape.noGrad(() => {
        const { states, state: after } = model.step(input, before);
        const asked = ask === "states" ? states : model.head(states);
        const keep = (x: Tensor): Tensor => {
          kept.push(copied(x));
          return x;
        };
        const next = model.held(after, keep);
        return { given: ask === "loss" ? lossOf(asked, model.targets(targets!)) : copied(asked), next };
      }),
    );
    kept.forEach(({ shape, values }, i) => {
      if (holds[i]?.shape.join() === shape.join()) holds[i]!.values().set(values);
      else holds[i] = tape.tensor(shape, values);
    });
    let i = 0;
    state = model.held(next, () => holds[i++]!);
    yield given;
  }
  return state;
}

/** The mean over the targets that count. */
function lossOf(logits: Tensor, targets: Tensor): Given {
  if (targets.values().some(x => x !== -100)) return copied(crossEntropy(logits, targets));
  return { shape: [], values: Float64Array.of(NaN) };
}

/** The parts of each piece; throws at what is none. */
export function* pieces<Targets>(chunks: Iterable<Chunk<Targets>>): Generator<Piece<Targets>, void, void> {
  const wants = "pieces in an iterable: each rows of tokens, a tensor b t, or { input, targets }";
  if (typeof chunks?.[Symbol.iterator] !== "function") refuse(TypeError, "stream", `got ${String(chunks)}`, wants);
  for (const chunk of chunks) {
    if (typeof chunk !== "object" || chunk === null) refuse(TypeError, "stream", `a piece is ${String(chunk)}`, wants);
    yield "input" in chunk ? chunk : { input: chunk };
  }
}
