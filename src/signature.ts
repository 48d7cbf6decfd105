// signature.ts: what an operation takes and gives, in one line such as "... k, n k, n? -> ... n".
//   letters are sizes; the same letter is the same size everywhere; a number is itself
//   ...     any leading axes, the same in every tensor that has them; their product is the size `rows`
//   ?       after an input: it may be left out (its address is then 0, which kernels skip)
//   *       after the only input: a list of any number of such tensors
//   Σn      in a list: a size that each has of its own; in the result, and in rules as `n`, their sum
//   ...<v   integers from 0 to v - 1
//   m+t     in the result: the sum of two sizes
//   , after the arrow: several results
// The signature is the shape check, the shapes of the results, the error text, the types, and what the gradient check
// draws from.
import type { Tensor } from "./tensor.ts";

type Side<S extends string> = S extends `${infer A}, ${infer Rest}` ? [A, ...Side<Rest>] : S extends "" ? [] : [S];
/** A signature of more inputs than a line holds, whose parts bundlers can leave out. */
export const signatureOf = <A extends string, B extends string>(inputs: A, rest: B): `${A}, ${B}` =>
  `${inputs}, ${rest}`;

/** The inputs that a signature names, one string each. */
export type Inputs<S extends string> = S extends `${infer In} -> ${string}` ? Side<In> : never;
/** The results that a signature names. */
export type Outputs<S extends string> = S extends `${string} -> ${infer Out}` ? Side<Out> : never;

/** What a caller passes: tensors, then options; tensors that may be left out may give way to the options. */
export type Args<I, A> = I extends [infer H extends string, ...infer Rest]
  ? H extends `${string}*`
    ? [list: readonly Tensor[], ...Args<Rest, A>]
    : H extends `${string}?`
      ? Options<A> | [x: Tensor | undefined, ...Args<Rest, A>]
      : [x: Tensor, ...Args<Rest, A>]
  : Options<A>;
/** Options, any of which may be left out; none may be given where there are none. */
type Options<A> = [keyof A] extends [never] ? [] : [options?: { readonly [K in keyof A]?: A[K] | undefined }];

/** What a caller gets: a tensor, or one for each result where there are several; either of an operation not known. */
export type Given<O> = [O] extends [never]
  ? Tensor | readonly Tensor[]
  : O extends [string, string, ...string[]]
    ? { [K in keyof O]: Tensor }
    : Tensor;

/** The letters of a signature. */
export type Words<S extends string> = S extends `${infer A} ${infer B}`
  ? Words<A> | Words<B>
  : S extends `${infer A},`
    ? Words<A>
    : S extends `${infer A}?` | `${infer A}*`
      ? Words<A>
      : S extends `Σ${infer A}`
        ? A
        : S extends `${infer A}<${infer B}`
          ? Words<A> | B
          : S extends `${infer A}+${infer B}`
            ? A | B
            : S extends "->" | ""
              ? never
              : S extends "..."
                ? "rows"
                : S;

/** One tensor of a signature. */
export interface Spec {
  readonly dims: readonly string[];
  /** Whether it has leading axes. */
  readonly lead: boolean;
  /** For integers: the letter of what they stay below; "" for numbers. */
  readonly below: string;
  readonly optional: boolean;
  readonly list: boolean;
}

/** Reads one tensor's part of a signature. */
export function spec(text: string): Spec {
  const optional = text.endsWith("?");
  const list = text.endsWith("*");
  const [shape = "", below = ""] = (optional || list ? text.slice(0, -1) : text).split("<");
  const dims = shape.split(" ").filter(Boolean);
  const lead = dims[0] === "...";
  return { dims: lead ? dims.slice(1) : dims, lead, below, optional, list };
}

/** Reads a signature. */
export function signature(text: string): { inputs: Spec[]; outputs: Spec[] } {
  const [left = "", right = ""] = text.split(" ->");
  return { inputs: left.split(", ").map(spec), outputs: right.trim().split(", ").map(spec) };
}
