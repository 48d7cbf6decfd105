// flip-flop.ts: flip-flop language (table 2, left): what was last written is read back, however much was ignored.
import { flipFlop as task } from "farsight";
import { stepsOf, type Steps } from "../../study.ts";
import { many } from "../../words.ts";
import { crossed, type Column, type Config, type Table } from "../table.ts";
import { ARMS, HERE, positionConfig } from "./arms.ts";
import { concluded, maps, recalled, SHIFTS, type Recalled, type Shift } from "./recall.ts";

/** Error on the read bits in per cent: as in training, and on the sparse shift. */
const PUBLISHED: { readonly [arm: string]: { readonly [shift: string]: number } } = {
  cope: { in: 0.0, sparse: 4.9 },
  rope: { in: 1.8, sparse: 20.3 },
  absolute: { in: 6.8, sparse: 21.7 },
};
const IGNORE = { in: 0.8, dense: 0.1, sparse: 0.98 } as const;
/** The paper's number of instructions, and the one that all arms are trained at here. */
const WHOLE = "256";
const SHORT = "64";
const STEPS: { readonly [setting: string]: Steps } = {
  [SHORT]: { full: 3000, quick: 40 },
  [WHOLE]: { full: 2000, quick: 10 },
};
/** Sequences to be tested on; those of the sparse shift ask for little. */
const TESTS = { in: 1000, dense: 500, sparse: 4000 } as const;

const about: Recalled = {
  name: "flip-flop",
  task: (config, shift) => task({ instructions: Number(config["instructions"]), ignore: IGNORE[shift] }),
  context: config => 2 * Number(config["instructions"]),
  tests: (config, shift) => Math.ceil(TESTS[shift] * Number(config["tests"])),
  metrics: errors => ({
    ...Object.fromEntries(SHIFTS.map(shift => [shift, errors[shift].tokens])),
    tests: Math.min(...SHIFTS.map(shift => errors[shift].asked)),
  }),
  right: errors => 1 - errors.tokens / 100,
  contrast: { counted: "w", passed: "i" },
};

const LABELS = { in: "error", dense: "dense, error", sparse: "sparse, error" } as const;
const KEYS: Readonly<Record<Shift, string>> = { in: "in", dense: "dense", sparse: "sparse" };

/** Table 2, left. */
export const flipFlop: Table = {
  name: "flip-flop",
  title: "Flip-flop",
  where: "Table 2, left",
  question:
    "Is what was last written read back without an error, also when much more is to be ignored than in training?",
  setting: { name: "instructions", said: value => many(value, "instruction") },
  arms: ARMS,
  cells: [
    ...crossed(Object.keys(ARMS), [SHORT]),
    ...crossed(["cope", "rope"], [WHOLE], [1]), // the paper's own length: one seed, and the best of the others
  ],
  columns: SHIFTS.map((shift): Column => ({
    key: shift,
    label: LABELS[shift],
    unit: "%",
    digits: 2,
    published: (arm, setting) => (setting === WHOLE ? PUBLISHED[arm]?.[shift] : undefined),
  })),
  differences: [
    {
      what: "model",
      paper: "not known here; for counting 4 layers, d 256",
      here: `${HERE.layers} layers, d ${HERE.d}, pre-norm, no dropout`,
    },
    { what: "length", paper: "256 instructions, 512 tokens", here: "64 instructions; 256 for two arms with one seed" },
    { what: "training", paper: "1.6 million sequences; steps not known", here: "drawn afresh in every step" },
    { what: "loss", paper: "not known", here: "on the bits that are read, which alone can be known" },
    {
      what: "sparse shift",
      paper: "its one column of another distribution is taken to be FFL(0.98)",
      here: "FFL(0.98)",
    },
    { what: "dense shift", paper: "no number", here: "FFL(0.1)" },
    { what: "arms", paper: "absolute, rope, CoPE", here: "and relative, ALiBi, none" },
  ],
  config({ arm, setting }, share): Config {
    const isWhole = setting === WHOLE;
    return {
      instructions: Number(setting),
      ...HERE,
      ...(isWhole && { batch: 8 }),
      tests: share.quick ? 0.02 : isWhole ? 0.5 : 1,
      steps: stepsOf(share, STEPS[setting]!),
      ...positionConfig(arm, 64),
    };
  },
  train: (cell, config, tape) => recalled(about, cell, config, tape),
  conclusion: all => concluded(flipFlop, all, KEYS, ["cope", "rope", "absolute"]),
  figures: results => maps(flipFlop, results),
};
