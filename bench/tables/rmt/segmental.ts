// segmental.ts: the arms that read a sequence segment by segment: with a recurrent memory, with the last states of
// every layer (Transformer-XL), and with nothing that passes on. Otherwise one model.
import {
  crossEntropy,
  add,
  rmt,
  scale,
  transformer,
  type Given,
  type RmtState,
  type Tape,
  type Tensor,
  type TransformerState,
  type TransformerWeights,
} from "farsight";
import { argmax } from "../../study.ts";
import type { Cell, Config } from "../table.ts";
import { pieces } from "./paths.ts";

/** What a model needs of its config. `passes`: memory vectors, or states of each layer. */
export interface Sizes {
  layers: number;
  d: number;
  heads: number;
  dropout: number;
  segment: number;
  passes: number;
}

/** A segment of b sequences, and the token behind each of its own. */
export interface Piece {
  input: number[][];
  targets: number[][];
}

/** A model that reads segments, whatever passes between them. */
export interface Segmental {
  tape: Tape;
  params: TransformerWeights;
  segment: number;
  vocab: number;
  dropout: number;
  /** The state before the first segment of b sequences. */
  start(b: number): unknown;
  /** A segment: its states, and the state after it. */
  step(piece: number[][], state: unknown, dropout: number): { states: Tensor; state: unknown };
  head(states: Tensor): Tensor;
  /** The mean loss of each segment, in constant memory. */
  losses(pieces: Iterable<Piece>): Iterable<Given>;
}

/** The model of a cell and its parameters on a tape. */
export function segmentalOf(
  { arm, seed }: Pick<Cell, "arm" | "seed">,
  config: Config,
  vocab: number,
  tape: Tape,
): Segmental {
  const { layers, d, heads, dropout, segment, passes } = config as unknown as Sizes;
  const model = transformer({ vocab, d, layers, heads, dropout, position: "rope", context: segment });
  const shared = { tape, segment, vocab, dropout };
  const ask = "loss";
  if (arm === "rmt") {
    const recurrent = rmt(model, { memory: passes, segment, replay: false });
    const params = recurrent.params(tape, { seed });
    return {
      ...{ ...shared, params },
      start: b => recurrent.start(params, b),
      step: (piece, state, dropout) => recurrent.step(params, piece, state as RmtState, { dropout }),
      head: states => recurrent.head(params, states),
      losses: pieces => recurrent.stream(params, pieces, { ask }),
    };
  }
  const params = model.params(tape, { seed });
  const both = { ...shared, params, head: (states: Tensor) => model.head(params, states) };
  if (arm === "none")
    return {
      ...both,
      start: () => undefined,
      step(piece, state, dropout) {
        const ids = tape.integers([piece.length, piece[0]!.length], piece.flat());
        return { states: model.states(params, model.embed(params, ids), { dropout }), state };
      },
      *losses(pieces) {
        for (const piece of pieces) yield* model.stream(params, [piece], { ask });
      },
    };
  const earlier = passes;
  return {
    ...both,
    start: b => model.start(params, b, { earlier }),
    step: (piece, state, dropout) => model.step(params, piece, state as TransformerState, { dropout }),
    losses: pieces => model.stream(params, pieces, { earlier, ask }),
  };
}

/** Rows of t numbers, in pieces of a segment each. */
const cut = (flat: Int32Array, t: number, l: number): number[][][] =>
  pieces(
    Array.from({ length: flat.length / t }, (_, i) => flat.subarray(i * t, (i + 1) * t)),
    l,
  );

/** The mean loss of rows of t tokens over the targets that are not -100, through all segments. */
export function lossOf(run: Segmental, tokens: Int32Array, targets: Int32Array, t: number): Tensor {
  const { tape, segment } = run;
  const wanted = cut(targets, t, segment);
  let state = run.start(tokens.length / t);
  const losses: Tensor[] = [];
  cut(tokens, t, segment).forEach((piece, s) => {
    const made = run.step(piece, state, run.dropout);
    state = made.state;
    const flat = wanted[s]!.flat();
    if (flat.every(id => id === -100)) return;
    const asked = tape.integers([piece.length, piece[0]!.length], flat);
    losses.push(crossEntropy(run.head(made.states), asked, { reduction: "sum" }));
  });
  const n = targets.filter(id => id !== -100).length;
  return scale(
    losses.reduce((a, x) => add(a, x)),
    { by: 1 / n },
  );
}

/** The likeliest ids of rows of t tokens, each given those before it; -1 where there is no target. */
export function likeliest(run: Segmental, tokens: Int32Array, targets: Int32Array, t: number): Int32Array {
  const { tape, segment, vocab } = run;
  const found = new Int32Array(tokens.length).fill(-1);
  const wanted = cut(targets, t, segment);
  tape.scope(() =>
    tape.noGrad(() => {
      let state = run.start(tokens.length / t);
      cut(tokens, t, segment).forEach((piece, s) => {
        const made = run.step(piece, state, 0);
        state = made.state;
        if (wanted[s]!.flat().every(id => id === -100)) return;
        const logits = run.head(made.states).values();
        const n = piece[0]!.length;
        piece.forEach((row, i) =>
          row.forEach((_, p) => {
            const at = (i * n + p) * vocab;
            if (wanted[s]![i]![p] !== -100) found[i * t + s * segment + p] = argmax(logits, at, at + vocab);
          }),
        );
      });
    }),
  );
  return found;
}
