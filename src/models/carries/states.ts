// states.ts: the states of the last places that came into a layer, stopped (Transformer-XL).
import { callable, get, integer, tensor } from "../../check.ts";
import { concat, slice, stopGradient } from "../../ops/shapes.ts";
import type { Tensor } from "../../tensor.ts";
import { rowsOf, type Carry, type CarryKind } from "../carry.ts";

/**
 * Transformer-XL's cache (Dai et al. 2019, 1901.02860): the states of the last `length` places that came into the
 * layer, stopped; what follows attends to them as well.
 */
export function stateCache(length: number, earlier?: Tensor): Carry {
  integer("stateCache", "length", length);
  if (earlier !== undefined) tensor("stateCache", "earlier", earlier, "b s d");
  return {
    earlier,
    fits: sizes => !earlier || rowsOf(earlier, get(sizes, "tape"), get(sizes, "b"), get(sizes, "d")),
    held: hold => stateCache(length, earlier && callable("stateCache", "hold", hold)(earlier)),
    next(x) {
      tensor("stateCache", "x", x, "b t d");
      const all = earlier ? concat([earlier, stopGradient(x)], { axis: 1 }) : stopGradient(x);
      const s = all.shape[1]!;
      return stateCache(length, s > length ? slice(all, s - length, s, { axis: 1 }) : all);
    },
  };
}

/** States of so many places. */
export const lastStates: CarryKind = value => stateCache(integer("start", "earlier", value!));
