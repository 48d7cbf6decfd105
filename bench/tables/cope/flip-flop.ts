// flip-flop.ts: flip-flop language (table 2, left): what was last written is read back, however much was ignored.
import { flipFlop as task } from "farsight";
import { ARMS, HERE } from "./arms.ts";
import { recall } from "./recall.ts";

/** Table 2, left. */
export const flipFlop = recall({
  name: "flip-flop",
  title: "Flip-flop",
  where: "Table 2, left",
  question:
    "Is what was last written read back without an error, also when much more is to be ignored than in training?",
  arms: ARMS,
  unit: "instruction",
  // A sequence of the sparse shift asks for little.
  sizes: [
    {
      units: 256,
      growth: { grows: 0.5, from: 16 },
      arms: Object.keys(ARMS),
      seeds: [1, 2, 3],
      batch: 8,
      steps: { full: 1500, quick: 10 },
      tests: { in: 500, dense: 250, sparse: 2000 },
    },
    {
      units: 64,
      arms: ["cope", "rope", "absolute"],
      seeds: [1],
      batch: 32,
      steps: { full: 3000, quick: 40 },
      tests: { in: 1000, dense: 500, sparse: 4000 },
    },
  ],
  rows: () => 64,
  share: { name: "ignore", of: { in: 0.8, dense: 0.1, sparse: 0.98 } },
  task: (instructions, ignore) => task({ instructions, ignore }),
  context: instructions => 2 * instructions,
  counted: [{ of: "tokens", called: "", digits: 2 }],
  published: {
    cope: { in: 0.0, sparse: 4.9 },
    rope: { in: 1.8, sparse: 20.3 },
    absolute: { in: 6.8, sparse: 21.7 },
  },
  order: ["cope", "rope", "absolute"],
  shown: () => 32,
  contrast: { counted: "w", passed: "i" },
  differences: [
    {
      what: "model",
      paper: "not known here; for counting 4 layers, d 256",
      here: `${HERE.layers} layers, d ${HERE.d}, pre-norm, no dropout`,
    },
    {
      what: "length",
      paper: "not known here; 256 instructions in the data set synthseq/flipflop, by its card",
      here: "256 instructions, and 64 with one seed",
    },
    {
      what: "training",
      paper: "not known here; 1.6 million sequences in that data set, by its card",
      here: "drawn afresh in every step",
    },
    {
      what: "length during training",
      paper: "not known",
      here: "grows from 16 to 256 instructions in the first half of the steps, with as many tokens in each",
    },
    { what: "loss", paper: "not known", here: "on the bits that are read, which alone can be known" },
    {
      what: "sparse shift",
      paper: "its one column of another distribution is taken to be FFL(0.98)",
      here: "FFL(0.98)",
    },
    { what: "dense shift", paper: "no number", here: "FFL(0.1)" },
    { what: "arms", paper: "absolute, rope, CoPE", here: "and relative, ALiBi, none" },
  ],
});
