// index.ts: the carries that a model starts with, a row each: the option of `start` and `stream` that chooses it.
import { read, refuse } from "../../check.ts";
import type { Tape } from "../../tape.ts";
import type { Carry, StartSizes } from "../carry.ts";
import { keysAndValues } from "./cache.ts";
import { lastStates } from "./states.ts";

/** The first is what a model starts with unless told. */
const rows = {
  /** Keys and values of all places, of at most so many a sequence; the model's `context` unless given. */
  cache: keysAndValues,
  /** The states of the last so many places, stopped (Transformer-XL). */
  earlier: lastStates,
};
type CarryName = keyof typeof rows;

/** Names of the options. */
export const carryNames = /* @__PURE__ */ Object.keys(rows) as readonly CarryName[];
/** What a state is to hold: one of these at most. */
export type StartOptions = { [N in CarryName]?: number | undefined };

/** A carry for each layer, given its sizes. */
export function carriesOf(options: StartOptions, tape: Tape, layers: readonly StartSizes[]): Carry[] {
  const given = read("start", options, rows) as StartOptions;
  const [name = "cache", other] = carryNames.filter(name => given[name] !== undefined);
  if (other) refuse(RangeError, "start", `${name} and ${other} in one state`, "one of the two");
  return tape.allOrNothing(() => layers.map(sizes => rows[name](given[name], sizes)));
}
