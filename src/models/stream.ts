// stream.ts: a model over input that comes in pieces: an iterator in, an iterator out, in memory that does not grow.
import { anything, get, isTensor, oneOf, options as chosen, printed, refuse, synchronous } from "../check.ts";
import { tapeOf, tokens, type Tree } from "../nn.ts";
import { crossEntropy } from "../ops/losses.ts";
import type { Tape } from "../tape.ts";
import type { Tensor } from "../tensor.ts";

/** Sequences of ids. */
export type Sequences = readonly ArrayLike<number>[];
/** Tokens b t as rows, or a tensor of them (or of vectors b t inputs). */
export type Rows = Tensor | Sequences;
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
  readonly values: ReturnType<Tensor["values"]>;
}
/** What a stream gives, "logits" unless asked for something else, and the state it starts from: the model's first. */
export interface StreamOptions<State> {
  ask?: Ask | undefined;
  state?: State | undefined;
}

/** The contract of models, as far as a stream needs it. */
export interface Streamed<Params, State, Options> {
  /** The state before the first input of b sequences. */
  start(params: Params, b: number, options?: Options): State;
  /** Input that follows a state -> its states, and the state after it. */
  step(params: Params, input: Rows, state: State): { states: Tensor; state: State };
  /** States -> logits. */
  head(params: Params, states: Tensor): Tensor;
}

/** Tokens or vectors from what a caller has; of a plain list of integers, one axis. */
export function tensorOf(tape: Tape, x: Rows | ArrayLike<number>): Tensor {
  if (isTensor(x)) return x as Tensor;
  const one = typeof get(x, "0") === "number";
  return one ? tape.integers([(x as ArrayLike<number>).length], x as ArrayLike<number>) : tokens(tape, x as Sequences);
}

const copied = (x: Tensor): Given => ({ shape: x.shape, values: x.values().slice() });

/**
 * A state with `hold` of each of its tensors in their place, which it is called with always in the same order. What a
 * model carries may be any number of tensors; this is all that loops over pieces and segments know of them.
 */
export type Held<State> = (state: State, hold: (x: Tensor) => Tensor) => State;

/**
 * What takes states out of the scopes they were made in: given one it copies it, and gives what makes the same state,
 * outside, in memory made when so much of it is first met. A state that was taken out before ends there.
 */
export function keeper<State>(tape: Tape, held: Held<State>): (state: State) => () => State {
  const rooms: Tensor[] = [];
  return state => {
    const kept: Given[] = [];
    const like = held(state, x => {
      kept.push(copied(x));
      return x;
    });
    return () => {
      let i = 0;
      return held(like, () => {
        const { shape, values } = kept[i]!;
        const room = rooms[i];
        // What grows, like the states of a cache of Transformer-XL, finds room for twice as much.
        if (!(room && room.size >= values.length)) rooms[i] = tape.tensor([(room ? 2 : 1) * values.length]);
        const hold = tape.alias(rooms[i++]!, shape, false);
        hold.values().set(values);
        return hold;
      });
    };
  };
}

/**
 * Runs through pieces without recording and gives what each was asked for (a loss is NaN where no target counts); at
 * the end the state, as the generator's return value. `held` is how to take the state apart; `names` are the options of
 * the model's `start`, which a given state leaves no use for.
 */
export function* streamed<Params extends Tree, State, Options>(
  model: Streamed<Params, State, Options>,
  params: Params,
  chunks: Iterable<Chunk<Rows | ArrayLike<number>>>,
  how: StreamOptions<State> & Options,
  held: Held<State>,
  names: readonly (keyof Options & string)[],
): Generator<Given, State | undefined, void> {
  const tape = tapeOf("stream", params);
  // A state has its carries.
  const more = get(how, "state") === undefined ? names.map(name => [name, [anything, undefined]]) : [];
  const {
    ask,
    state: given,
    ...options
  } = chosen("stream", how, {
    ask: [oneOf("logits", "states", "loss"), "logits"],
    state: [anything, undefined],
    ...(Object.fromEntries(more) as object),
  });
  const first = given as State | undefined;
  const keep = keeper(tape, held);
  let state = first;
  for (const { input, targets } of pieces(chunks)) {
    if (ask === "loss" && !targets) refuse(TypeError, "stream", "a piece without targets", "{ input, targets }");
    const b = isTensor(input) ? (input as Tensor).shape[0]! : (input as Sequences).length;
    const run = (before: State) => {
      const { states, state: after } = model.step(params, input, before);
      const asked = ask === "states" ? states : model.head(params, states);
      const given = ask === "loss" ? lossOf(asked, tensorOf(tape, targets!)) : copied(asked);
      return { given, next: keep(after) };
    };
    const { given, next } = tape.allOrNothing(() =>
      tape.noGrad(() => {
        const before = state ?? model.start(params, b, options as Options);
        return tape.scope(() => run(before));
      }),
    );
    state = next();
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
  const wants = "an iterable of pieces, each rows of tokens, a tensor b t, or { input, targets }";
  if (ArrayBuffer.isView(chunks) || typeof get(chunks, Symbol.iterator) !== "function")
    refuse(TypeError, "stream", `got ${printed(chunks)}`, wants);
  for (const chunk of chunks) {
    synchronous("stream", chunk);
    const piece = get(chunk, "input") ? (chunk as Piece<Targets>) : { input: chunk as Rows };
    const { input } = piece;
    if (!isTensor(input) && typeof get(get(input, "0"), "length") !== "number")
      refuse(TypeError, "stream", `a piece is ${printed(input)}`, wants);
    yield piece;
  }
}
