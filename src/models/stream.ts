// stream.ts: a model over input that comes in pieces: an iterator in, an iterator out, in memory that does not grow.
import { choice, refuse } from "../check.ts";
import type { Numbers } from "../engine.ts";
import type { Tape } from "../tape.ts";
import type { Tensor } from "../tensor.ts";

/** Tokens b t as rows, or a tensor of them (or of vectors b t inputs); with targets b t where losses are asked for. */
export type Rows = Tensor | readonly ArrayLike<number>[];
export type Chunk = Rows | { readonly input: Rows; readonly targets: Rows };
/** What a stream may be asked for: logits b t outputs, states b t d, or the mean loss of each piece. */
export type Ask = "logits" | "states" | "loss";
/** Numbers that outlive the scope they were computed in. */
export interface Given {
  readonly shape: readonly number[];
  readonly values: Numbers;
}

/** How a model runs through a piece. */
export interface Streamed<State> {
  /** One piece: what was asked for, and the state it leaves. */
  run(chunk: Chunk, state: State): { asked: Tensor; state: State };
  /** The same state over other tensors: `hold` is called with each, always in the same order. */
  held(state: State, hold: (x: Tensor) => Tensor): State;
}

/**
 * Runs through pieces without recording and gives what each was asked for; at the end the state, as the generator's
 * return value. What passes from piece to piece lies in memory made when its shape is first met.
 */
export function* streamed<State>(
  tape: Tape,
  first: State,
  chunks: Iterable<Chunk>,
  model: Streamed<State>,
): Generator<Given, State, void> {
  const holds: Tensor[] = [];
  let state = first;
  for (const chunk of chunks) {
    const kept: Given[] = [];
    const copied = (x: Tensor): Given => ({ shape: x.shape, values: x.values().slice() });
    const { given, next } = tape.scope(() =>
      tape.noGrad(() => {
        const { asked, state: next } = model.run(chunk, state);
        const hold = (x: Tensor): Tensor => {
          kept.push(copied(x));
          return x;
        };
        return { given: copied(asked), next: model.held(next, hold) };
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

/** The parts of a piece; throws where a loss is asked for and there are no targets. */
export function partsOf(who: string, chunk: Chunk, ask: Ask): { input: Rows; targets: Rows | undefined } {
  choice(who, "ask", ask, ["logits", "states", "loss"]);
  const { input, targets } = "input" in chunk ? chunk : { input: chunk, targets: undefined };
  if (ask === "loss" && !targets) refuse(TypeError, who, "a piece without targets", "{ input, targets } for a loss");
  return { input, targets };
}
