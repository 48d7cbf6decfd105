// selective-copy.ts: selective copy (table 2, right): everything but the blanks is said again, in order.
import { selectiveCopy as task } from "farsight";
import { ARMS, GATED, HERE } from "./arms.ts";
import { recall } from "./recall.ts";

const { cope, ...others } = ARMS;
const arms = { cope, ...GATED, ...others };

/** Table 2, right. */
export const selectiveCopy = recall({
  name: "selective-copy",
  title: "Selective copy",
  where: "Table 2, right",
  question: "Are symbols copied in order, whatever the number of blanks among them?",
  arms,
  unit: "symbol",
  sizes: [
    {
      units: 256,
      arms: ["cope-sep", "absolute"],
      seeds: [1],
      batch: 4,
      steps: { full: 2500, quick: 5 },
      tests: { in: 200, dense: 200, sparse: 200 },
    },
    {
      units: 32,
      arms: Object.keys(arms),
      seeds: [1, 2, 3],
      batch: 32,
      steps: { full: 2500, quick: 40 },
      tests: { in: 1000, dense: 1000, sparse: 1000 },
    },
  ],
  rows: symbols => symbols + 8, // a symbol is found by counting all symbols after it
  share: { name: "blanks a symbol", of: { in: 1, dense: 0.5, sparse: 2 } },
  task: (symbols, share) => task({ symbols, blanks: symbols * share }),
  context: symbols => 4 * symbols,
  counted: [
    { of: "rows", called: "sequences", digits: 1 },
    { of: "tokens", called: "symbols", digits: 2 },
  ],
  published: {
    cope: { in: 0.0, dense: 0.0, sparse: 0.0 },
    rope: { in: 40.1, dense: 100.0, sparse: 100.0 },
    absolute: { in: 16.9, dense: 25.6, sparse: 85.2 },
  },
  order: ["cope", "absolute", "rope"],
  shown: symbols => symbols, // fewer are another task: a symbol is found by their number
  contrast: { passed: "_" },
  differences: [
    {
      what: "model",
      paper: "not known here; for counting 4 layers, d 256",
      here: `${HERE.layers} layers, d ${HERE.d}, pre-norm, no dropout`,
    },
    { what: "length", paper: "256 symbols", here: "32 symbols; 256 for two arms with one seed" },
    { what: "blanks", paper: "taken to be 256, dense 128, sparse 512", here: "as many as symbols, half, twice" },
    { what: "error", paper: "taken to be of whole sequences", here: "of whole sequences, and of symbols" },
    { what: "marker", paper: "not known", here: "a token says that the input has ended" },
    {
      what: "gates",
      paper: "shared keys, as far as is known",
      here: "from shared keys, keys of their own, values; one a token",
    },
    { what: "arms", paper: "absolute, rope, CoPE", here: "and relative, ALiBi, none" },
  ],
});
