// index.ts: the tables of the RMT papers that are worked out here, a file each.
import type { Paper } from "../table.ts";
import { algorithmic } from "./algorithmic.ts";
import { detect } from "./detect.ts";
import { dropout } from "./dropout.ts";
import { flops } from "./flops.ts";
import { long } from "./long.ts";
import { memorize } from "./memorize.ts";
import { reasoning } from "./reasoning.ts";
import { text } from "./text.ts";

/** Bulatov et al. 2022 and 2023. */
export const rmt: Paper = {
  name: "rmt",
  title: "Bulatov et al. 2022 and 2023, Recurrent Memory Transformer",
  link: "https://arxiv.org/abs/2304.11062",
  tables: [flops, memorize, detect, reasoning, long, dropout, algorithmic, text],
};
