// index.ts: every operation, by family.
import type { Op } from "../op.ts";
import { attentionOps } from "./attention.ts";
import { composedOps } from "./composed.ts";
import { elementwiseOps } from "./elementwise.ts";
import { lossOps } from "./losses.ts";
import { myopicOps } from "./myopic.ts";
import { productOps } from "./products.ts";
import { rowOps } from "./rows.ts";
import { shapeOps } from "./shapes.ts";

/** Every entry, for the gradient check and the op table. */
export const ops: readonly Op[] = /* @__PURE__ */ [
  elementwiseOps,
  productOps,
  rowOps,
  shapeOps,
  lossOps,
  composedOps,
  attentionOps,
  myopicOps,
].flat() as unknown as readonly Op[];
