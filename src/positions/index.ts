// index.ts: the kinds of position, a row each, and how a model's choice of them becomes one.
import { refuse } from "../check.ts";
import { absolute } from "./absolute.ts";
import { slopes } from "./alibi.ts";
import { gated, type CopeOptions } from "./cope.ts";
import type { Kind, Position, Sizes } from "./kind.ts";
import { relative, type RelativeOptions } from "./relative.ts";
import { rope, type RopeOptions } from "./rope.ts";
import { waves } from "./sinusoidal.ts";

/** The kinds, in the order in which they act and in which their parameters lie. */
const rows = { absolute, sinusoidal: waves, relative, rope, alibi: slopes, cope: gated };

/** Names of the kinds. */
export type PositionName = keyof typeof rows;
/** Names of the kinds. */
export const kinds = /* @__PURE__ */ Object.keys(rows) as readonly PositionName[];

/** One kind by name, or one of your own. */
export type OnePosition = PositionName | Kind;
/** Which positions a model has: none, one, or several together. */
export type PositionChoice = "none" | OnePosition | readonly OnePosition[];

/** Options of the kinds, under their names. */
export interface PositionOptions {
  relative?: RelativeOptions;
  rope?: RopeOptions;
  cope?: CopeOptions;
}
/** Their names. */
export const optionNames = ["relative", "rope", "cope"] as const;

/** The positions of a choice, in the order of the list, kinds of your own behind; `who` refuses what is wrong. */
export function positionsOf(
  chosen: PositionChoice,
  options: PositionOptions,
  sizes: Sizes,
  who: string,
): readonly Position[] {
  if (chosen === "none") return [];
  const several = (Array.isArray(chosen) ? chosen : [chosen]) as readonly (OnePosition | "none")[];
  const list = several.filter(kind => kind !== "none");
  list.forEach((kind, i) => {
    if (typeof kind !== "function" && !kinds.includes(kind as PositionName))
      refuse(RangeError, who, `position is ${String(kind)}`, `none, or a list of ${kinds.join(", ")}`);
    if (list.indexOf(kind) !== i) refuse(RangeError, who, `position names ${String(kind)} twice`, "each kind once");
  });
  const named = kinds.filter(name => list.includes(name));
  const own = list.filter(kind => typeof kind === "function");
  const make = (kind: Kind, name?: PositionName) =>
    kind((name && (options as Record<string, unknown>)[name]) as never, sizes, who);
  return [...named.map(name => make(rows[name] as Kind, name)), ...own.map(kind => make(kind as Kind))];
}
