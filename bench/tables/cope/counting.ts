// counting.ts: counting (tables 3 and 4), and how its error falls with the size of the training set (figure 2).
import {
  counting as countingTask,
  random,
  type Counting,
  type CountingOptions,
  type CountingSample,
  type Random,
  type Sequence,
  type SequenceBatch,
  type Tape,
} from "farsight";
import { lines, type Series } from "../../charts/lines.ts";
import { fitted } from "../../charts/svg.ts";
import { below, lone } from "../../finding.ts";
import { gatesOf } from "../../gates.ts";
import { num } from "../../records.ts";
import { argmax, stepsOf, type Figure, type FigureData, type Group } from "../../study.ts";
import { capital, many, mean, percent } from "../../words.ts";
import { measureOf } from "../groups.ts";
import {
  crossed,
  type Cell,
  type Column,
  type Config,
  type Difference,
  type Share,
  type Table,
  type Training,
} from "../table.ts";
import { lengthAt, trainingOf, type Growth } from "../recipe.ts";
import { ARMS, GATED, HERE, modelOf, positionConfig, type Made } from "./arms.ts";
import { alone, each, ordered } from "../said.ts";
import { maps } from "./maps.ts";

/** Test error in per cent with 1, 3 and 5 variables. */
const PUBLISHED: { readonly [arm: string]: { readonly [variables: string]: number } } = {
  absolute: { 1: 5.3, 3: 67.6, 5: 71.5 },
  relative: { 1: 1.1, 3: 17.8, 5: 22.4 },
  cope: { 1: 0.0, 3: 1.2, 5: 7.4 },
};
/** Error in per cent with one variable after training on so many programs, read off figure 2. */
const PUBLISHED_DATA: { readonly [arm: string]: { readonly [samples: string]: number } } = {
  relative: { 2000: 17.5, 3000: 10.9, 5000: 6.0, 10000: 1.1 },
  cope: { 2000: 1.3, 3000: 0, 5000: 0, 10000: 0 },
};

/** The sizes of a cell here. */
const SIZES = { "program steps": 128, ...HERE, lr: 1e-3, asked: "all", tests: 1000 };
/** Programs grow to their length, where they are drawn afresh. */
const GROWTH = { grows: 0.5, from: 12 };
const STEPS = { full: 8000, quick: 40 };
/** Rows of CoPE's table. */
const ROWS = 16;
/** Distances of relative positions, the last of which stands for all beyond: those that training has often. */
const DISTANCES = 150;

/** The paper's sizes, as its script has them: no schedule, no clipping, 100 passes over the programs. */
const PAPER = {
  "program steps": 512,
  samples: 10_000,
  layers: 4,
  d: 256,
  heads: 4,
  batch: 64,
  lr: 7e-5,
  decay: 0,
  norm: "post",
  dropout: 0.1,
  warmup: 0,
  final: 1,
  clip: 0,
  asked: "one",
  tests: 1000,
};
const PASSES = 100;

/** Tokens of a program at most: a step is four tokens at most, the question two. */
const most = (steps: number): number => 4 * steps + 2;
/** Tokens beyond which a program loses its beginning, as in the paper's script: one token a step. */
const blockOf = (config: Config): number =>
  Number(config["program steps"]) >= 512 ? 512 : most(Number(config["program steps"]));

function configOf({ arm }: Cell, variables: number, samples: number, share: Share): Config {
  return {
    variables,
    ...(samples ? { samples } : GROWTH),
    ...SIZES,
    tests: share.quick ? 100 : SIZES.tests,
    steps: stepsOf(share, STEPS),
    ...positionConfig(arm, ROWS),
    ...(arm === "relative" && { "relative rows": DISTANCES }),
  };
}

const publishedOf = ({ arm }: Cell, variables: number, samples: number): Config => ({
  variables,
  ...PAPER,
  samples,
  steps: PASSES * Math.ceil(samples / PAPER.batch),
  ...positionConfig(arm, 513),
  ...(arm.startsWith("cope") && { scaling: "ram" }),
});

/** The nth sample of training: a fresh one of `drawn`, or of a fixed set, whose order is another in every pass. */
function stream({ task, data }: Pick<Run, "task" | "data">, samples: number) {
  if (!samples) return (n: number, drawn: Counting): CountingSample => drawn.sample(data.fork(n));
  const all = Array.from({ length: samples }, (_, i) => task.sample(data.fork(i)));
  const places = Array.from(all.keys());
  let pass = -1;
  let order = places;
  return (n: number): CountingSample => {
    const now = Math.floor(n / samples);
    if (now !== pass) order = data.fork("order").fork(now).shuffle(places);
    pass = now;
    return all[order[n % samples]!]!;
  };
}

/** A program that is asked for every variable that it has set, in any order, instead of one of them. */
export function askedAll(vocab: readonly string[], { tokens }: Pick<CountingSample, "tokens">, rng: Random): Sequence {
  const id = (word: string): number => vocab.indexOf(word);
  const program = tokens.slice(0, -2);
  const value = new Map<number, number>();
  program.forEach((word, i) => {
    const name = program[i - 1]!;
    if (word === id("=")) value.set(name, 0);
    else if (word === id("++;")) value.set(name, value.get(name)! + 1);
  });
  const row: Sequence = { tokens: program, targets: program.map(() => -100) };
  for (const name of rng.shuffle([...value.keys()])) {
    row.tokens.push(id("print"), name);
    row.targets.push(-100, id("0") + value.get(name)!);
  }
  return row;
}

/** Rows of at most `block` tokens; a longer one loses its beginning, a shorter one is filled up with id 0. */
function padded(rows: readonly Sequence[], block: number): SequenceBatch {
  const t = Math.min(block, Math.max(...rows.map(r => r.tokens.length)));
  const tokens = new Int32Array(rows.length * t);
  const targets = new Int32Array(rows.length * t).fill(-100);
  rows.forEach((r, i) => {
    tokens.set(r.tokens.slice(-t), i * t);
    targets.set(r.targets.slice(-t), i * t);
  });
  return { tokens, targets, t };
}

/** Batches among which rows are sorted by length: 9 % of the places are padding, instead of 38 %. */
const GROUP = 8;

/** What gives the batch of a step, of b rows of about one length. */
function batches(run: Omit<Run, "draw">, config: Config): (step: number) => SequenceBatch {
  const { task, data, options, block } = run;
  const b = Number(config["batch"]);
  const next = stream(run, Number(config["samples"] ?? 0));
  const growth = "grows" in config ? (config as unknown as Growth) : undefined;
  const row = (n: number, drawn: Counting): Sequence => {
    const sample = next(n, drawn);
    const { tokens, answer } = sample;
    if (config["asked"] === "all") return askedAll(task.vocab, sample, data.fork("asked").fork(n));
    return { tokens, targets: tokens.map((_, i) => (i < tokens.length - 1 ? -100 : answer)) };
  };
  let at = -1;
  let group: SequenceBatch[] = [];
  return step => {
    const now = Math.floor(step / GROUP);
    if (now !== at) {
      const drawn = growth ? countingTask({ ...options, steps: lengthAt(now * GROUP, growth, options.steps) }) : task;
      const sorted = Array.from({ length: GROUP * b }, (_, i) => row(now * GROUP * b + i, drawn));
      sorted.sort((x, y) => x.tokens.length - y.tokens.length);
      const cut = Array.from({ length: GROUP }, (_, i) => padded(sorted.slice(i * b, (i + 1) * b), block));
      group = data.fork("batches").fork(now).shuffle(cut);
      at = now;
    }
    return group[step % GROUP]!;
  };
}

/** The model, the data and the tests of a cell. */
function prepare(cell: Cell, config: Config, tape: Tape): Run {
  const number = (name: string): number => Number(config[name]);
  const options = { vars: number("variables"), steps: number("program steps") };
  const task = countingTask(options);
  const block = blockOf(config);
  // Programs of twice the length are asked too.
  const made = modelOf(cell, config, { vocab: task.size, context: 2 * block }, tape);
  const data = random(cell.seed).fork("counting");
  const held = random(2024).fork("counting, held out");
  const run = { ...made, options, task, data, held, block };
  return { ...run, draw: batches(run, config) };
}
interface Run extends Made {
  options: { vars: number; steps: number };
  task: Counting;
  data: Random;
  held: Random;
  block: number;
  draw(step: number): SequenceBatch;
}

/** How many of n held-out programs are answered wrongly, in per cent, and how many by always the commonest answer. */
function test(run: Run, n: number, options: CountingOptions = {}): { error: number; chance: number } {
  const { tape, model, params, held, block } = run;
  const task = countingTask({ ...run.options, ...options });
  const rng = held.fork(JSON.stringify(options));
  const answers = new Map<number, number>();
  let failed = 0;
  const ask = (from: number, b: number): void => {
    const { tokens, targets, lengths, t } = task.batch(rng.fork(from), b, 2 * block);
    const values = model.logits(params, tape.integers([b, t], tokens)).values();
    lengths.forEach((length, i) => {
      const last = i * t + length - 1;
      const answer = targets[last]!;
      answers.set(answer, (answers.get(answer) ?? 0) + 1);
      if (argmax(values, last * task.size, (last + 1) * task.size) !== answer) failed++;
    });
  };
  for (let from = 0; from < n; from += 20) tape.scope(() => tape.noGrad(() => ask(from, Math.min(20, n - from))));
  return { error: (100 * failed) / n, chance: 100 * (1 - Math.max(...answers.values()) / n) };
}

/** The head that opens most on a variable's steps, for one held-out program. */
function clearest(run: Run): FigureData {
  const { task, held } = run;
  const rng = held.fork("figure");
  let sample = task.sample(rng);
  while (sample.tokens.length > 40 || sample.tokens.length < 20 || sample.value < 2) sample = task.sample(rng);
  const tokens = task.words(sample.tokens);
  const t = tokens.length;
  const { logits, map } = gatesOf(run, sample.tokens, tokens, { counted: "++;", passed: "pass;" });
  return {
    kind: "gates",
    tokens,
    ...map,
    answer: task.words([sample.answer])[0]!,
    predicted: task.vocab[argmax(logits, (t - 1) * task.size, t * task.size)]!,
  };
}

/** A cell of either table. `shifts`: other programs to be tested on, by metric. */
function trained(
  cell: Cell,
  config: Config,
  tape: Tape,
  shifts: { readonly [key: string]: CountingOptions },
): Training {
  const run = prepare(cell, config, tape);
  const { task, model, params, held, block, draw } = run;
  const number = (name: string): number => Number(config[name]);
  const [batch, tests] = [number("batch"), number("tests")];
  return {
    ...trainingOf(params, config),
    tokens: batch * mean(Array.from(task.batch(held.fork("lengths"), 500, block).lengths)),
    loss(step) {
      const { tokens, targets, t } = draw(step);
      return model.loss(params, tape.integers([batch, t], tokens), tape.integers([batch, t], targets));
    },
    accuracy: () => 1 - test(run, Math.min(200, tests)).error / 100,
    finish() {
      const metrics: { [key: string]: number } = { ...test(run, tests), tests };
      for (const [key, options] of Object.entries(shifts)) metrics[key] = test(run, tests, options).error;
      const isMapped = cell.arm.startsWith("cope") && cell.seed === 1 && !("samples" in config);
      return { metrics, figures: isMapped ? [clearest(run)] : [] };
    },
  };
}

/** The error of a group, which every group has. */
const errorOf = (g: Group): number => g.measures[0]!.here;

/** What one setting's results say of the arm that the table is about, against all others. */
function verdict(gs: readonly Group[]): string {
  const order = [...gs].sort((a, b) => errorOf(a) - errorOf(b));
  const best = order[0]!;
  if (order.length === 1) return `${percent(errorOf(best))} error with ${best.label}, the only arm on record`;
  const chance = num(best.metrics["chance"]);
  if (chance !== undefined && errorOf(best) > 0.95 * chance)
    return (
      `nothing counts: ${percent(errorOf(best))} error at best, ` +
      `and ${percent(chance)} for always the commonest answer`
    );
  const isClear = order.slice(1).every(g => below(best.measures[0]!, g.measures[0]!));
  const words = isClear ? `${best.label} counts best${alone(order)}` : "no clear winner";
  return `${words}, ${each(order, "error")} answered wrongly`;
}

/** What becomes of the errors on programs unlike those of training. */
function shifted(all: readonly Group[]): string {
  const about = all.filter(g => g.arm === "cope" || g.arm === "relative");
  const parts = SHIFTS.flatMap(({ key, said }) => {
    const words = [...new Set(about.map(g => g.setting))].flatMap(setting => {
      const list = each(
        about.filter(g => g.setting === setting),
        key,
      );
      return list ? [`${many(setting, "variable")}: ${list}`] : [];
    });
    return words.length ? [`${capital(said)}, without further training: ${words.join("; ")}.`] : [];
  });
  return parts.join(" ");
}

function conclusion(all: readonly Group[]): string {
  const settings = [...new Set(all.map(g => g.setting))];
  const verdicts = settings.map(
    setting => `${capital(many(setting, "variable"))}: ${verdict(all.filter(g => g.setting === setting))}.`,
  );
  const order = ordered(counting, all, { arms: ["cope", "relative", "absolute"], key: "error" });
  return [...verdicts, order, shifted(all) + lone(all)].filter(Boolean).join(" ");
}

/** Error against what the settings are numbers of: ours, and the paper's on the same axes. */
function against(all: readonly Group[], table: Table, x: { label: string; log?: boolean }): Figure[] {
  const settings = [...new Set(table.cells.map(c => c.setting))];
  const arms = Object.keys(table.arms);
  const column = table.columns[0]!;
  const curve = (value: (arm: string, setting: string) => number | undefined): Series[] =>
    arms.flatMap((arm, colour): Series[] => {
      const points = settings.flatMap((setting): [number, number][] => {
        const v = value(arm, setting);
        return v === undefined ? [] : [[Number(setting), v]];
      });
      return points.length ? [{ name: table.arms[arm]!, colour, points, dots: true }] : [];
    });
  const here = curve((arm, setting) => {
    const g = all.find(g => g.arm === arm && g.setting === setting);
    return g && measureOf(g, column)?.here;
  });
  const paper = curve((arm, setting) => column.published?.(arm, setting));
  if (here.length === 0) return [];
  const max = Math.max(...[...here, ...paper].flatMap(s => s.points.map(p => p[1])), 1);
  const y = { label: "error, %", min: 0, max };
  const [least, most] = [settings[0], settings.at(-1)].map(Number) as [number, number];
  const axis = { ...x, min: least, max: most };
  const charts = [
    fitted(width => lines({ title: "Here", series: here, x: axis, y, width }), 400),
    fitted(width => lines({ title: "In the paper", series: paper, x: axis, y, width }), 400),
  ];
  return [{ charts, caption: `Error against ${x.label}, on the same axes.` }];
}

const { cope, ...others } = ARMS;
const VARIABLES = ["1", "3", "5"];
const SHIFTS = [
  {
    key: "passes",
    label: "passes x 2, error",
    said: "programs with twice the share of passes",
    options: { pass: 100 },
  },
  {
    key: "length",
    label: "length x 2, error",
    said: "programs of twice the length",
    options: { steps: 2 * SIZES["program steps"] },
  },
] as const;

const ERROR = { key: "error", label: "error", unit: "%", digits: 1 } as const;
const DIFFERENCES: readonly Difference[] = [
  { what: "model", paper: "4 layers, d 256, post-norm, dropout 0.1", here: "2 layers, d 64, pre-norm, no dropout" },
  { what: "programs", paper: "up to 512 steps, cut at 512 tokens", here: "up to 128 steps, none cut" },
  { what: "question", paper: "one variable", here: "in training every variable that is set; in tests one" },
  {
    what: "optimiser",
    paper: "Adam, lr 7e-5, constant, no clipping",
    here: "AdamW, lr 1e-3, decay 0.01, cosine with 5 % warm-up, clipped at 1",
  },
  {
    what: "CoPE",
    paper: "513 rows (no cap), position logits divided by √d",
    here: "16 rows, position logits as in the printed listing",
  },
];

/** Tables 3 and 4. */
export const counting: Table = {
  name: "counting",
  title: "Counting",
  where: "Tables 3 and 4",
  question: "Do positions that count chosen tokens let a transformer keep count of variables?",
  setting: { name: "variables", said: value => many(value, "variable") },
  arms: { cope, "cope-sep": GATED["cope-sep"], ...others },
  cells: [
    ...crossed(["cope", "cope-sep", "relative", "absolute"], VARIABLES),
    ...crossed(["rope", "alibi", "none"], VARIABLES, [1]),
  ],
  columns: [
    { ...ERROR, published: (arm, setting) => PUBLISHED[arm]?.[setting] },
    ...SHIFTS.map(({ key, label }): Column => ({ key, label, unit: "%", digits: 1 })),
  ],
  differences: [
    ...DIFFERENCES,
    {
      what: "training",
      paper: "100 passes over 10,000 programs",
      here: "programs drawn afresh in every step; in the first half their length grows from 12 to 128 steps",
    },
    {
      what: "relative",
      paper: "a distance for every place",
      here: `${DISTANCES} distances, the last for all beyond, since untrained ones would fail on longer programs`,
    },
    {
      what: "Table 4",
      paper: "other programs than those of training; which is not known here",
      here: "twice the weight of passes; twice the steps",
    },
    { what: "arms", paper: "absolute, relative, CoPE", here: "and rope, ALiBi, none with one seed" },
  ],
  config: (cell, share) => configOf(cell, Number(cell.setting), 0, share),
  published: cell => publishedOf(cell, Number(cell.setting), PAPER.samples),
  train: (cell, config, tape) =>
    trained(cell, config, tape, Object.fromEntries(SHIFTS.map(({ key, options }) => [key, options]))),
  conclusion,
  figures: (results, all) => [...against(all, counting, { label: "variables" }), ...maps(counting, results)],
};

/** Figure 2. */
export const countingData: Table = {
  name: "counting-data",
  title: "Counting from few programs",
  where: "Figure 2",
  question: "How many programs does it take to learn to count one variable?",
  setting: { name: "programs", said: value => `${value} programs` },
  arms: { cope: ARMS.cope, relative: ARMS.relative },
  cells: crossed(["cope", "relative"], Object.keys(PUBLISHED_DATA["cope"]!)),
  columns: [{ ...ERROR, published: (arm, setting) => PUBLISHED_DATA[arm]?.[setting] }],
  differences: [
    ...DIFFERENCES,
    { what: "training", paper: "100 passes", here: "as many steps whatever the number of programs" },
  ],
  config: (cell, share) => configOf(cell, 1, Number(cell.setting), share),
  published: cell => publishedOf(cell, 1, Number(cell.setting)),
  train: (cell, config, tape) => trained(cell, config, tape, {}),
  conclusion: fewer,
  figures: (_, all) => against(all, countingData, { label: "training programs", log: true }),
};

/** What the sizes of the training set say. */
function fewer(all: readonly Group[]): string {
  const settings = [...new Set(all.map(g => g.setting))];
  const parts = settings.map(setting => `${setting} programs: ${verdict(all.filter(g => g.setting === setting))}.`);
  const pairs = settings
    .map(setting => ["cope", "relative"].flatMap(arm => all.filter(g => g.setting === setting && g.arm === arm)))
    .filter(pair => pair.length === 2) as [Group, Group][];
  const wins = pairs.filter(([cope, relative]) => below(cope.measures[0]!, relative.measures[0]!));
  const sum = pairs.length
    ? ` With as many programs CoPE has the lower error, beyond chance, in ${wins.length} of ` +
      `${many(pairs.length, "size")}${alone(pairs.flat())}.`
    : "";
  return parts.join(" ") + sum + lone(all);
}
