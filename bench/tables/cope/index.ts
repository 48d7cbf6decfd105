// index.ts: the tables of the CoPE paper that are trained here, a file each.
import type { Paper } from "../table.ts";
import { counting, countingData } from "./counting.ts";
import { flipFlop } from "./flip-flop.ts";
import { code, text } from "./language.ts";
import { selectiveCopy } from "./selective-copy.ts";

/** Golovneva et al. 2024. */
export const cope: Paper = {
  name: "cope",
  title: "Golovneva et al. 2024, Contextual Position Encoding",
  link: "https://arxiv.org/abs/2405.18719",
  tables: [flipFlop, selectiveCopy, counting, countingData, text, code],
};
