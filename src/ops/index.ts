// index.ts: every operation, one entry each, by family.
import type { Op } from "../op.ts";
import * as attention from "./attention.ts";
import * as composed from "./composed.ts";
import * as elementwise from "./elementwise.ts";
import * as losses from "./losses.ts";
import * as myopic from "./myopic.ts";
import * as products from "./products.ts";
import * as rows from "./rows.ts";
import * as shapes from "./shapes.ts";

/** The entries among what the families export. */
function entries(...families: object[]): readonly Op[] {
  return families.flatMap(family => Object.values(family)).filter(x => typeof x === "function" && "opName" in x);
}
/** Every entry, for the gradient check and the op table. */
export const ops: readonly Op[] = /* @__PURE__ */ entries(
  elementwise,
  products,
  rows,
  shapes,
  losses,
  composed,
  attention,
  myopic,
);
