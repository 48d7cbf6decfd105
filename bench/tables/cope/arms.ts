// arms.ts: the kinds of position that the tables of this paper compare.
import type { PositionName } from "farsight";

/** Names for readers; the first is the paper's own. */
export const ARMS = {
  cope: "CoPE",
  absolute: "absolute",
  relative: "relative",
  rope: "rope",
  alibi: "ALiBi",
  none: "none",
} as const;
/** A kind of position by its arm. */
export type Arm = keyof typeof ARMS;

/** The position of a model. */
export const positionOf = (arm: string): PositionName | "none" => arm as Arm;
