// papers.ts: the papers whose tables are trained here.
import { cope } from "./cope/index.ts";
import { rmt } from "./rmt/index.ts";
import type { Paper } from "./table.ts";

/** All papers. */
export const papers: readonly Paper[] = [cope, rmt];
