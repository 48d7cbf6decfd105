// kind.ts: what a kind of position is. It touches a model in a few fixed places: it adds to the embeddings, it turns
// queries and keys, or it adds to the logits, from a table by distance, by a slope, or from gates.
import type { Maker, Tree } from "../nn.ts";
import type { Tensor } from "../tensor.ts";

/** Sizes of the model that positions are for. */
export interface Sizes {
  /** Width of the model. */
  readonly d: number;
  /** Width of a head. */
  readonly width: number;
  readonly heads: number;
  /** Heads of keys and values. */
  readonly kvHeads: number;
  /** Rows of tables that say nothing else. */
  readonly context: number;
  /** Whether linear layers have biases. */
  readonly bias: boolean;
}

/** Which places the tokens of a batch take. */
export interface Places {
  readonly b: number;
  readonly t: number;
  /** The place of each sequence's first token; 0 unless given. */
  readonly starts?: readonly number[] | undefined;
}

/** How CoPE adds to the logits; see positions/cope.ts. */
export interface Gating {
  readonly table: Tensor;
  /** Weights of keys that only the gates see. */
  readonly keys?: { weight: Tensor; bias?: Tensor | undefined } | undefined;
}

/** What positions add to the logits. */
export interface Bias {
  /** r d, one row a distance: q·table[distance], the last row for all that lie further. */
  readonly distances?: Tensor | undefined;
  /** A number a head: -slope distance. */
  readonly slopes?: readonly number[] | undefined;
  readonly gating?: Gating | undefined;
}

/** A kind of position, its options complete. All but the name may be left out. */
export interface Position {
  readonly name: string;
  /** Most places of a sequence, where there is a table of them. */
  readonly limit?: number;
  /** The name of its parameters beside `wte`, and what makes them under that path. */
  readonly model?: readonly [key: string, make: (make: Maker, path: string) => Tree];
  /** The name of its parameters in each layer's `attn`, and what makes them under that path. */
  readonly layer?: readonly [key: string, make: (make: Maker, path: string) => Tree];
  /** Adds to embeddings b t d; `weights` are those of `model`. */
  embed?(x: Tensor, weights: Tree | undefined, places: Places): Tensor;
  /** What turns queries or keys b t h d that stand at these places. */
  turn?(like: Tensor, places: Places): (x: Tensor) => Tensor;
  /** What it adds to the logits; `weights` are those of `layer`. */
  bias?(weights: Tree | undefined): Bias;
}

/** Makes a position for a model; what is wrong with its options it refuses in the name of `who`. */
export type Kind<O = never> = (options: O | undefined, sizes: Sizes, who: string) => Position;
