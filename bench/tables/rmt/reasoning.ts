// reasoning.ts: reasoning with two facts (2304.11062, figures 1 and 5), as published and with questions that need both.
import { reasoning as task } from "farsight";
import { remembering } from "./remembering.ts";

/** Reasoning. */
export const reasoning = remembering({
  name: "reasoning",
  title: "Reasoning",
  where: "2304.11062, figures 1 and 5, reasoning",
  question: "How many segments does a memory carry two facts, and are they put together?",
  segment: 24,
  steps: { published: { full: 12_000, quick: 20 }, corrected: { full: 12_000, quick: 20 } },
  // What to do with two facts takes longer to learn than to keep them, and is learned in one segment, as in the paper.
  // Facts stand anywhere, so that who is of whom is told by distance.
  more: { holds: 0.4, position: "rope" },
  options: {
    published: { at: "segment", needs: "one" },
    corrected: { at: "random", needs: "both", "held out": true },
  },
  task: ({ segment, at, needs }, facts) =>
    task({ segment: Number(segment), at: at as "segment" | "random", needs: needs as "one" | "both", facts }),
  published: {
    near: { 7: [54.3, 100, 99.9, 99.9, 100, 99.7, 98.8, 97.3, 97.5, 96.1, 95.0, 92.3, 94.0, 92.1, 90.9] },
    far: [100, 99.9, 97.3, 93.2, 91.5, 89.3, 87.3, 87.6, 84.8, 83.5, 83.5, 81.9],
  },
  differences: [
    {
      what: "length during training",
      paper: "6,000 steps with one segment, then 20,000 for each further one",
      here: "one segment in the first 40 % of the steps, then a random number as below",
    },
    {
      what: "stories",
      paper: "1,000 of bAbI (qa4), those of tests among those of training; one of the two facts suffices in each",
      here: "all of their kind; corrected the question needs both facts, and who knows one guesses half the time",
    },
  ],
});
