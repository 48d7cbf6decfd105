// kind.ts: what a kind of position is. It touches a model in a few fixed places: it adds to the embeddings, it turns
// queries and keys, or it adds to the logits, from a table by distance, by a slope, or from gates.
import { options as chosen, whole, type Check } from "../check.ts";
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
  readonly layers: number;
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

/** What gates may look at. */
export const gateSources = ["shared", "sep", "val", "token"] as const;
/**
 * What gates look at, by which each query has gates of its own: the attention's own keys ("shared"), keys of their own
 * ("sep"), or the values ("val"); or "token": a key's gate looks at its token alone, and all queries share it.
 */
export type Gates = (typeof gateSources)[number];
/** Whose a table of positions is: a layer's, of all layers, or of each head of a layer. */
export type TableScope = "layer" | "shared" | "head";
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
  /** rows d, or heads rows d, a table a head: q·table[position] is added to the logits. */
  readonly table: Tensor;
  readonly scaling: Scaling;
  readonly gates: Gates;
  /** Weights of the keys that only the gates see, where `gates` is "sep"; of the logits, where it is "token". */
  readonly keys?: Weights | undefined;
  /** A number a head, added to the logits of gates. */
  readonly bias?: Tensor | undefined;
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
  /** Acts only in layers whose number, counted from 1, it divides; in all unless given. Embeddings know no layers. */
  readonly every?: number;
  /** The name of its parameters beside `wte`, and what makes them under that path. */
  readonly model?: Made<M>;
  /** The name of its parameters in each layer's `attn`, and what makes them under that path. */
  readonly layer?: Made<L>;
  /** Adds to embeddings b t d; `weights` are those of `model`. */
  embed?(x: Tensor, weights: M[keyof M] | undefined, places: Places): Tensor;
  /** What turns queries or keys b t h d that stand at these places. */
  turn?(like: Tensor, places: Places): (x: Tensor) => Tensor;
  /** What it adds to the logits; `weights` are those of `layer`, `shared` those of `model`. */
  bias?(weights: L[keyof L], shared: M[keyof M] | undefined): Bias;
}

/** The positions that act in layer `i`, counted from 0. */
export function acting(positions: readonly Position[], i: number): readonly Position[] {
  const acts = ({ every = 1 }: Position): boolean => (i + 1) % every === 0;
  return positions.every(acts) ? positions : positions.filter(acts);
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

/** A kind of the list with options: its name, under which a model takes them, and what they but `every` must be. */
export function optional<O extends { every?: number }, M = Named, L = Named>(
  name: string,
  wants: (sizes: Sizes) => {
    readonly [K in Exclude<keyof O, "every">]-?: readonly [check: Check<unknown>, otherwise: O[K]];
  },
  make: (options: Complete<O>, sizes: Sizes, who: string) => Position<M, L>,
): Kind<O, M, L> & { readonly options: true } {
  const kind: Kind<O, M, L> = (given = {} as O, sizes, who) => {
    const all = chosen(who, given, { ...wants(sizes), every: [whole(1), 1] }, name) as unknown as Complete<O>;
    return { ...make(all, sizes, who), every: all.every! };
  };
  return Object.assign(kind, { options: true } as const);
}
/** Options, each there; one whose default is undefined may be that. */
type Complete<O> = { readonly [K in keyof O]-?: O[K] };
