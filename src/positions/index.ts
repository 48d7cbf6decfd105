// index.ts: the kinds of position, a row each, and how a model's choice of them becomes one.
import { callable, get, integer, items, kindOf, label, refuse, string } from "../check.ts";
import { absolute } from "./absolute.ts";
import { slopes } from "./alibi.ts";
import { gated } from "./cope.ts";
import type { Kind, Position, Sizes } from "./kind.ts";
import { relative } from "./relative.ts";
import { rope } from "./rope.ts";
import { waves } from "./sinusoidal.ts";

/** The kinds, in the order in which they act and in which their parameters lie. */
const rows = { absolute, sinusoidal: waves, relative, rope, alibi: slopes, cope: gated };
type Rows = typeof rows;

/** Names of the kinds. */
export type PositionName = keyof Rows;
/** Names of the kinds. */
export const kinds = /* @__PURE__ */ Object.keys(rows) as readonly PositionName[];

/** One kind by name, or one of your own. */
export type OnePosition = PositionName | Kind;
/** Which positions a model has: none, one, or several together. */
export type PositionChoice = "none" | OnePosition | readonly OnePosition[];

type OptionsOf<K> = K extends (options: infer O, ...rest: never[]) => unknown ? Exclude<O, undefined> : never;
/** Kinds that have options. */
export const optionNames = /* @__PURE__ */ kinds.filter(name => "options" in rows[name]);
/** Options of the kinds that have any, under their names. */
export type PositionOptions = {
  [N in PositionName as [OptionsOf<Rows[N]>] extends [never] ? never : N]?: OptionsOf<Rows[N]>;
};

/** What each kind makes, a name at most; nothing of a kind that says no name. */
type All<W> = (W extends unknown ? (string extends keyof W ? never : (w: W) => void) : never) extends (
  w: infer I,
) => void
  ? { readonly [N in keyof I]?: I[N] | undefined }
  : never;
type Made = ReturnType<Rows[PositionName]>;
/** Parameters of the kinds in a model, under their names. */
export type ModelWeights = All<Made extends infer P ? (P extends Position<infer M, infer _> ? M : never) : never>;
/** Parameters of the kinds in a layer's attention, under their names. */
export type LayerWeights = All<Made extends infer P ? (P extends Position<infer _, infer L> ? L : never) : never>;

/**
 * The positions of a choice, in the order of the list, kinds of your own behind; `who` refuses what is wrong, also in
 * options of kinds that were not chosen.
 */
export function positionsOf(
  chosen: PositionChoice,
  options: PositionOptions,
  sizes: Sizes,
  who: string,
): readonly Position[] {
  const given = options as { readonly [name: string]: unknown };
  const list = (
    (kindOf(chosen) === "Array" ? items(who, "position is", chosen as readonly OnePosition[]) : [chosen]) as (
      OnePosition | "none"
    )[]
  ).filter(kind => kind !== "none");
  list.forEach((kind, i) => {
    if (typeof kind !== "function" && !kinds.includes(kind))
      refuse(RangeError, who, `position is ${label(kind)}`, `none, or a list of ${kinds.join(", ")}`);
    if (list.indexOf(kind) !== i) refuse(RangeError, who, `position names ${label(kind)} twice`, "each kind once");
  });
  const positions: Position[] = [];
  for (const name of kinds) {
    if (!list.includes(name) && given[name] === undefined) continue;
    const position = (rows[name] as Kind)(given[name] as never, sizes, who);
    if (list.includes(name)) positions.push(position);
  }
  for (const kind of list) if (typeof kind === "function") positions.push(kind(undefined, sizes, who));
  return positions.map(position => checked(who, position, sizes.layers));
}

/** Returns `value` if it is a position, which acts in one of so many layers. */
export function checked(who: string, value: unknown, layers?: number): Position {
  string(who, "a position's name", get(value, "name"));
  for (const name of ["embed", "turn", "bias"]) {
    const hook = get(value, name);
    if (hook !== undefined) callable(who, `a position's ${name}`, hook);
  }
  for (const name of ["model", "layer"]) {
    const own = get(value, name) as readonly unknown[] | undefined;
    if (own === undefined) continue;
    const [key, make] = items(who, `a position's ${name} is`, own, "a name, and what makes parameters");
    callable(who, `a position's ${string(who, `a position's ${name}`, key)}`, make);
  }
  const every = get(value, "every");
  if (every !== undefined) integer(who, "a position's every", every, 1, layers);
  return value as Position;
}
