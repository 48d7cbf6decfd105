// selective-copy.ts: selective copy (table 2, right): everything but the blanks is said again, in order.
import { selectiveCopy as task } from "farsight";
import { stepsOf, type Steps } from "../../study.ts";
import { many } from "../../words.ts";
import { crossed, type Column, type Config, type Table } from "../table.ts";
import { ARMS, HERE, positionConfig } from "./arms.ts";
import { concluded, maps, recalled, SHIFTS, type Recalled, type Shift } from "./recall.ts";

/** Error in per cent, probably of whole sequences: as in training, on the dense and on the sparse shift. */
const PUBLISHED: { readonly [arm: string]: { readonly [shift: string]: number } } = {
  cope: { in: 0.0, dense: 0.0, sparse: 0.0 },
  rope: { in: 40.1, dense: 100.0, sparse: 100.0 },
  absolute: { in: 16.9, dense: 25.6, sparse: 85.2 },
};
/** Blanks as multiples of the symbols: as many, half as many, twice as many. */
const BLANKS = { in: 1, dense: 0.5, sparse: 2 } as const;
/** The paper's number of symbols, and the one that all arms are trained at here. */
const WHOLE = "256";
const SHORT = "32";
const STEPS: { readonly [setting: string]: Steps } = {
  [SHORT]: { full: 4000, quick: 40 },
  [WHOLE]: { full: 2500, quick: 5 },
};
const TESTS = 1000; // sequences of each kind

const arms = {
  cope: "CoPE",
  "cope-sep": "CoPE, gates from keys of their own",
  "cope-val": "CoPE, gates from values",
  "cope-token": "CoPE, a gate a token",
  absolute: ARMS.absolute,
  rope: ARMS.rope,
  relative: ARMS.relative,
  alibi: ARMS.alibi,
  none: ARMS.none,
};

const about: Recalled = {
  name: "selective copy",
  task: (config, shift) => {
    const symbols = Number(config["symbols"]);
    return task({ symbols, blanks: symbols * BLANKS[shift] });
  },
  context: config => 4 * Number(config["symbols"]),
  tests: config => Math.ceil(TESTS * Number(config["tests"])),
  metrics: errors => ({
    ...Object.fromEntries(
      SHIFTS.flatMap(shift => [
        [shift, errors[shift].rows],
        [`${shift} symbols`, errors[shift].tokens],
      ]),
    ),
  }),
  right: errors => 1 - errors.tokens / 100,
  contrast: { counted: "A", passed: "_" },
};

const LABELS = { in: "error", dense: "dense, error", sparse: "sparse, error" } as const;
const KEYS: Readonly<Record<Shift, string>> = { in: "in", dense: "dense", sparse: "sparse" };

/** Table 2, right. */
export const selectiveCopy: Table = {
  name: "selective-copy",
  title: "Selective copy",
  where: "Table 2, right",
  question: "Are symbols copied in order, whatever the number of blanks among them?",
  setting: { name: "symbols", said: value => many(value, "symbol") },
  arms,
  cells: [
    ...crossed(Object.keys(arms), [SHORT]),
    ...crossed(["cope-sep", "absolute"], [WHOLE], [1]), // the paper's own length: one seed, and the best of the others
  ],
  columns: [
    ...SHIFTS.map((shift): Column => ({
      key: shift,
      label: `${LABELS[shift]} of sequences`,
      unit: "%",
      digits: 1,
      published: (arm, setting) => (setting === WHOLE ? PUBLISHED[arm.split("-")[0]!]?.[shift] : undefined),
    })),
    ...SHIFTS.map((shift): Column => ({
      key: `${shift} symbols`,
      label: `${LABELS[shift]} of symbols`,
      unit: "%",
      digits: 2,
    })),
  ],
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
  config({ arm, setting }, share): Config {
    const isWhole = setting === WHOLE;
    const symbols = Number(setting);
    return {
      symbols,
      ...HERE,
      ...(isWhole && { batch: 4 }),
      tests: share.quick ? 0.02 : isWhole ? 0.2 : 1,
      steps: stepsOf(share, STEPS[setting]!),
      // A symbol is found by counting all symbols after it.
      ...positionConfig(arm, symbols + 8),
    };
  },
  train: (cell, config, tape) => recalled(about, cell, config, tape),
  conclusion: all => concluded(selectiveCopy, all, KEYS, ["cope", "absolute", "rope"]),
  figures: results => maps(selectiveCopy, results),
};
