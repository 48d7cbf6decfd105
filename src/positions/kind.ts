// kind.ts: what a kind of position is. It touches a model in a few fixed places: it adds to the embeddings, it turns
// queries and keys, or it adds to the logits, from a table by distance, by a slope, or from gates.
import { options as chosen, type Check } from "../check.ts";
import type { Maker, Tree, Weights } from "../nn.ts";
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

/** What gates look at: the attention's own keys, keys of their own (`sep`), or the values (`val`). */
export type Gates = "shared" | "sep" | "val";
/** Scales of the three products of gated positions; see positions/cope.ts. */
export const scalings = ["listing", "ram", "eq"] as const;
/**
 * Scales of the three products; CoPE's equations, its printed listing and the authors' released code each differ:
 * "listing" (the default) leaves the position logits unscaled, "ram" (the released code) divides them by √d too, "eq"
 * divides nothing.
 */
export type Scaling = (typeof scalings)[number];

/** Positions that are sums of gates, as CoPE has them, and what they need of a layer; see positions/cope.ts. */
export interface Gating {
  /** rows d: q·table[position] is added to the logits. */
  readonly table: Tensor;
  readonly scaling: Scaling;
  readonly gates: Gates;
  /** Weights of the keys that only the gates see, where `gates` is "sep". */
  readonly keys?: Weights | undefined;
  /** Whether gates and positions see turned queries and keys. */
  readonly rotated: boolean;
}

/** What positions add to the logits. */
export interface Bias {
  /** r d, one row a distance: q·table[distance], the last row for all that lie further. */
  readonly distances?: Tensor | undefined;
  /** A number a head: -slope distance. */
  readonly slopes?: readonly number[] | undefined;
  readonly gating?: Gating | undefined;
}

/** Parameters by name, each a tree. */
export interface Named {
  readonly [name: string]: Tree;
}
/** The name of parameters, and what makes them under a path. */
type Made<W> = {
  readonly [N in keyof W & string]: readonly [key: N, make: (make: Maker, path: string) => W[N]];
}[keyof W & string];

/** A kind of position, its options complete. All but the name may be left out. */
export interface Position<M = Named, L = Named> {
  readonly name: string;
  /** Most places of a sequence, where there is a table of them. */
  readonly limit?: number;
  /** The name of its parameters beside `wte`, and what makes them under that path. */
  readonly model?: Made<M>;
  /** The name of its parameters in each layer's `attn`, and what makes them under that path. */
  readonly layer?: Made<L>;
  /** Adds to embeddings b t d; `weights` are those of `model`. */
  embed?(x: Tensor, weights: M[keyof M] | undefined, places: Places): Tensor;
  /** What turns queries or keys b t h d that stand at these places. */
  turn?(like: Tensor, places: Places): (x: Tensor) => Tensor;
  /** What it adds to the logits; `weights` are those of `layer`. */
  bias?(weights: L[keyof L]): Bias;
}

/**
 * Makes a position for a model; what is wrong with its options (O) it refuses in the name of `who`. M and L are the
 * parameters that it has in a model and in each layer, by name.
 */
export type Kind<O = never, M = Named, L = Named> = (
  options: O | undefined,
  sizes: Sizes,
  who: string,
) => Position<M, L>;

/** A kind of the list with options: its name, under which a model takes them, and what they must be. */
export function optional<O extends object, M = Named, L = Named>(
  name: string,
  wants: (sizes: Sizes) => { readonly [K in keyof O]-?: readonly [check: Check<unknown>, otherwise: O[K]] },
  make: (options: Required<O>, sizes: Sizes, who: string) => Position<M, L>,
): Kind<O, M, L> & { readonly options: true } {
  const kind: Kind<O, M, L> = (given = {} as O, sizes, who) =>
    make(chosen(who, given, wants(sizes), name) as Required<O>, sizes, who);
  return Object.assign(kind, { options: true } as const);
}
