// detect.ts: detect and memorize (2304.11062, figures 1 and 5): a fact somewhere, its question at the very end.
import { memorize as task } from "farsight";
import { remembering } from "./remembering.ts";

const WHOLE = new Array<number>(15).fill(100);

/** Detect and memorize. */
export const detect = remembering({
  name: "detect",
  title: "Detect and memorize",
  where: "2304.11062, figures 1 and 5, detect and memorize",
  question: "How many segments does a memory carry a fact that it has to notice first?",
  segment: 16,
  steps: { published: { full: 4000, quick: 40 }, corrected: { full: 4000, quick: 40 } },
  options: { published: { at: "segment" }, corrected: { at: "random", "held out": true } },
  task: ({ segment, at }, facts) => task({ segment: Number(segment), at: at as "segment" | "random", facts }),
  published: { near: { 7: WHOLE }, far: [100, 100, 100, 99.9, 99.8, 99.7, 98.8, 98.5, 98.6, 97.1, 97.1, 96.1] },
  differences: [
    {
      what: "a random place",
      paper: "the start of a random segment",
      here: "the same, and corrected any place, even across two segments",
    },
  ],
});
