// memorize.ts: memorize (2304.11062, figures 1 and 5): a fact at the very start, its question at the very end.
import { memorize as task } from "farsight";
import { remembering } from "./remembering.ts";

const WHOLE = new Array<number>(15).fill(100);

/** Memorize. */
export const memorize = remembering({
  name: "memorize",
  title: "Memorize",
  where: "2304.11062, figures 1 and 5, memorize",
  question: "How many segments does a memory carry a fact that stands at the very start of a text?",
  segment: 16,
  shorter: [2, 4, 7],
  steps: { published: { full: 1500, quick: 40 }, corrected: { full: 1500, quick: 40 } },
  options: { published: { at: "start" }, corrected: { at: "start", "held out": true } },
  task: ({ segment, at }, facts) => task({ segment: Number(segment), at: at as "start", facts }),
  published: {
    near: {
      2: [100, 100, 99.6, 90.6, 76.1, 67.9, 48.5, 39.8, 33.1, 27.6, 23.8, 23.1, 21.4, 21.0, 19.4],
      4: [99.9, 100, 100, 100, 100, 97.7, 95.5, 93.8, 91.4, 86.4, 81.3, 75.3, 69.3, 64.9, 61.0],
      7: WHOLE,
    },
    far: [100, 100, 100, 100, 99.2, 98.2, 96.5, 95.2, 93.2, 92.7, 90.4, 90.6],
  },
  differences: [],
});
