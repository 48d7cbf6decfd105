// remembering.ts: a table of facts that are to be kept over many segments: memorize, detect and memorize, reasoning, as
// published and corrected; accuracy by segments (2304.11062, figures 1 and 5).
import { add, crossEntropy, random, slice, type Random, type Tape, type Tensor } from "farsight";
import { lines, type Point, type Series } from "../../charts/lines.ts";
import { fitted, HUES } from "../../charts/svg.ts";
import { lone } from "../../finding.ts";
import { bag, num, type Entry } from "../../records.ts";
import { argmax, stepsOf, type Figure, type FigureData, type Group, type Measure, type Steps } from "../../study.ts";
import { capital, join, many, mean, percent } from "../../words.ts";
import { measureOf } from "../groups.ts";
import { lengthAt, trainingOf, type Recipe } from "../recipe.ts";
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
import { HERE, modelOf, type Made } from "./arms.ts";
import { pathFigures, pathOf, pieces, readingFigures, readingOf, type Placed } from "./paths.ts";

/** The lengths of figure 5, and those of figure 1 beyond. */
const NEAR = Array.from({ length: 15 }, (_, i) => i + 1);
const FAR = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096];
const CHANCE = 100 / 6;
/** From so many segments on fewer questions are asked. */
const MANY = 1024;

/** The key of the accuracy at so many segments. */
export const keyOf = (segments: number): string => `s${segments}`;

/** What a cell's task and tests need of its config. */
interface Asked {
  segment: number;
  most: number;
  /** The share of the steps that have one segment, and of the others that in which the number grows to the most. */
  holds: number;
  grows: number;
  noise?: number;
  questions: number;
  "far questions": number;
  longest: number;
}

/** The lengths that a cell is tested at. */
const lengthsOf = ({ longest }: Pick<Asked, "longest">): number[] => [...NEAR, ...FAR].filter(s => s <= longest);

/** The share in per cent of n questions over s segments that are answered right. */
export function accuracy({ tape, recurrent, params }: Made, task: Placed, rng: Random, s: number, n: number): number {
  const { model } = recurrent;
  const { d } = model.config;
  let good = 0;
  const ask = (from: number, b: number): void => {
    const { tokens, answers, t } = task.batch(rng.fork(from), b, s);
    const rows = Array.from({ length: b }, (_, i) => tokens.subarray(i * t, (i + 1) * t));
    let states: ArrayLike<number> = [];
    for (const { values } of recurrent.stream(params, pieces(rows, task.segment), { ask: "states" })) states = values;
    const each = task.segment * d;
    const last = Float32Array.from({ length: b * d }, (_, i) => states[(1 + Math.floor(i / d)) * each - d + (i % d)]!);
    const logits = recurrent.head(params, tape.tensor([b, 1, d], last)).values();
    answers.forEach((answer, i) => {
      if (argmax(logits, i * task.size, (i + 1) * task.size) === answer) good++;
    });
  };
  for (let from = 0; from < n; from += 50) tape.scope(() => tape.noGrad(() => ask(from, Math.min(50, n - from))));
  return (100 * good) / n;
}

/** The loss of a batch whose memory is disturbed between segments, by normal numbers of this size. */
function noisy({ tape, recurrent, params }: Made, rows: number[][], answers: Int32Array, size: number): Tensor {
  const { dropout } = recurrent.model.config;
  let state = recurrent.start(params, rows.length);
  let states: Tensor | undefined;
  for (const piece of pieces(rows, recurrent.options.segment)) {
    if (states) {
      const { memory } = state;
      const values = Float32Array.from({ length: memory.size }, () => size * tape.random.normal());
      state = { ...state, memory: add(memory, tape.tensor(memory.shape, values)) };
    }
    ({ states, state } = recurrent.step(params, piece, state, { dropout }));
  }
  const l = states!.shape[1]!;
  const last = slice(states!, l - 1, l, { axis: 1 });
  return crossEntropy(recurrent.head(params, last), tape.integers([rows.length, 1], answers));
}

/** The task of a cell as it is trained, and as it is tested. */
export interface Tasks {
  trained: Placed;
  tested: Placed;
}

/** A cell: a model trained on a random number of segments, tested on more and more of them. */
export function trained(cell: Cell, config: Config, tape: Tape, name: string, { trained: task, tested }: Tasks) {
  const asked = config as unknown as Asked & Recipe;
  const { batch, most, noise } = asked;
  const run = modelOf(cell, config, task.size, tape);
  const data = random(cell.seed).fork(name);
  const held = random(2024).fork(`${name}, held out`);
  const validation = random(2024).fork(`${name}, validation`);
  const before = asked.holds * asked.steps;
  const growth = { steps: asked.steps - before, grows: asked.grows, from: 1 };
  const length = (step: number): number =>
    1 + data.fork(`length ${step}`).integer(step < before ? 1 : lengthAt(step - before, growth, most));
  const training: Omit<Training, "finish"> = {
    ...trainingOf(run.params, config),
    tokens: (batch * asked.segment * (most + 1)) / 2,
    loss(step) {
      const { tokens, targets, answers, t } = task.batch(data.fork(step), batch, length(step));
      if (noise) {
        const rows = Array.from({ length: batch }, (_, i) => Array.from(tokens.subarray(i * t, (i + 1) * t)));
        return noisy(run, rows, answers, noise);
      }
      return run.recurrent.loss(run.params, tape.integers([batch, t], tokens), tape.integers([batch, t], targets));
    },
    accuracy: () => accuracy(run, tested, validation, most, 50) / 100,
  };
  const measured = (): { [key: string]: number } => {
    const count = (s: number): number => (s < MANY ? asked.questions : asked["far questions"]);
    const found = lengthsOf(asked).map(s => [keyOf(s), accuracy(run, tested, held.fork(s), s, count(s))] as const);
    return { ...Object.fromEntries(found), tests: asked["far questions"] };
  };
  return { run, held, training, measured };
}

/** The paper's accuracies in per cent, by how many segments the model was trained on. */
export interface Published {
  /** Of figure 5, from 1 to 15 segments. */
  near: { readonly [trained: string]: readonly number[] };
  /** Of figure 1, trained on 7: at 2, 4, 8, ... 4096 segments. */
  far: readonly number[];
}
const published = ({ near, far }: Published, trainedOn: string, s: number): number | undefined =>
  near[trainedOn]?.[s - 1] ?? (trainedOn === "7" && Number.isInteger(Math.log2(s)) ? far[Math.log2(s) - 1] : undefined);

/** A construction of a task: as the paper has it, or corrected. */
export type Construction = "published" | "corrected";

/** A task of this kind, and its table. */
export interface Remembered extends Pick<Table, "name" | "title" | "where" | "question"> {
  segment: number;
  /** Arms beside the one that is trained on 10 segments, all of one seed and as published. */
  shorter?: readonly number[];
  steps: { readonly [C in Construction]?: Steps };
  /** What goes into the config of a construction, and the task that it means; `facts` are those to train or to test. */
  options: { readonly [C in Construction]?: Config };
  /** What is trained otherwise than the other tasks are. */
  more?: Config;
  task(config: Config, facts: "all" | "train" | "held"): Placed;
  published: Published;
  differences: readonly Difference[];
}

const MOST = 10;
const armOf = (most: number): string => (most === MOST ? "rmt" : `rmt-${most}`);
const mostOf = (arm: string): number => (arm === "rmt" ? MOST : Number(arm.split("-")[1]));
/** What an arm is compared with: the paper's longest training, or the same. */
const trainedOn = (arm: string): string => (arm === "rmt" ? "7" : arm.split("-")[1]!);
const SHOWN = [4096, 1, 7, 15, 64, 1024];

/** The tasks that a config means. */
const tasksOf = ({ task }: Remembered, config: Config): Tasks => ({
  trained: task(config, config["held out"] ? "train" : "all"),
  tested: task(config, config["held out"] ? "held" : "all"),
});

/** How far an arm answers at least 99 % right, without a gap; undefined where not even at the shortest length. */
function reach(results: readonly Entry[]): number | undefined {
  const lengths = [...NEAR, ...FAR].filter(s => results.every(e => num(bag(e["metrics"])[keyOf(s)]) !== undefined));
  const fails = lengths.findIndex(s => mean(results.map(e => num(bag(e["metrics"])[keyOf(s)])!)) < 99);
  return fails < 0 ? lengths.at(-1) : lengths[fails - 1];
}

/** "100 % at 1 segment, 98 % at 4,096 segments" */
function said(g: Group): string {
  const shown = [1, 15, 4096].flatMap(s => {
    const m = measureOf(g, { key: keyOf(s) });
    return m ? [`${percent(m.here)} at ${many(s, "segment")}`] : [];
  });
  return `${g.label} answers ${join(shown)}`;
}

/** How a measure compares with the paper's, given its lowest and highest seed. */
function against({ here, low = here, high = here, paper }: Measure): string {
  if (paper === undefined) return "";
  const word = low > paper ? "above" : high < paper ? "below" : "no different from";
  return `${word} the paper's ${percent(paper)}`;
}

/** What the numbers say, setting by setting, and where a fact is lost. */
function conclusion(table: Table, all: readonly Group[]): string {
  const settings = [...new Set(all.map(g => g.setting))];
  const parts = settings.map(setting => {
    const gs = all.filter(g => g.setting === setting);
    const each = gs.map(g => {
      const far = measureOf(g, { key: keyOf(4096) });
      const beside = far ? against(far) : "";
      return said(g) + (beside && `, there ${beside}`);
    });
    return `${capital(table.setting.said(setting))}: ${each.join("; ")}.`;
  });
  return parts.join(" ") + lone(all);
}

/** Accuracy by segments, ours as means over seeds, the paper's dashed in the same hue. */
function curves(about: Remembered, table: Table, results: readonly Entry[]): Figure[] {
  const settings = [...new Set(table.cells.map(c => c.setting))];
  const arms = Object.keys(table.arms);
  return settings.flatMap((setting): Figure[] => {
    const series = arms.flatMap((arm, colour): Series[] => {
      const mine = results.filter(e => e["setting"] === setting && e["arm"] === arm);
      const at = (s: number): number[] => mine.flatMap(e => num(bag(e["metrics"])[keyOf(s)]) ?? []);
      const points = [...NEAR, ...FAR].flatMap((s): Point[] => (at(s).length ? [[s, mean(at(s))]] : []));
      if (!points.length) return [];
      const paper = [...NEAR, ...FAR].flatMap((s): Point[] => {
        const v = setting === "published" ? published(about.published, trainedOn(arm), s) : undefined;
        return v === undefined ? [] : [[s, v]];
      });
      const name = table.arms[arm]!;
      const beside = { name: `paper, trained on ${trainedOn(arm)}`, colour: colour + HUES, points: paper };
      return [{ name, colour, points, dots: true }, ...(paper.length ? [beside] : [])];
    });
    if (series.length === 0) return [];
    const draw = (width: number): string =>
      lines({
        title: "Accuracy by length of the input",
        series,
        x: { label: "segments read (log scale)", log: 2 },
        y: { label: "questions answered right, %", min: 0, max: 100 },
        references: [
          { y: CHANCE, label: "chance, 1/6" },
          { x: MOST, label: `trained up to here (${MOST})` },
        ],
        width,
        height: 280,
      });
    const far = arms.flatMap(arm => {
      const mine = results.filter(e => e["setting"] === setting && e["arm"] === arm);
      const s = mine.length ? reach(mine) : undefined;
      return s === undefined ? [] : [`${table.arms[arm]!} to ${many(s, "segment")}`];
    });
    const end = far.length ? ` At least 99 % are right, without a gap: ${join(far)}.` : "";
    const caption = `${capital(table.setting.said(setting))}. Means over seeds; dashed what the paper has.${end}`;
    return [{ charts: [fitted(draw, 720)], caption }];
  });
}

function configOf({ segment, steps, options, more }: Remembered, { arm, setting }: Cell, share: Share): Config {
  const construction = setting as Construction;
  return {
    segment,
    ...options[construction]!,
    ...HERE,
    most: mostOf(arm),
    holds: 0,
    grows: 0.6,
    ...more,
    steps: stepsOf(share, steps[construction]!),
    questions: share.quick ? 20 : 100,
    "far questions": share.quick ? 20 : 50,
    longest: share.quick ? 32 : 4096,
  };
}

/** A cell, of whose first seed memory is looked at. */
function train(about: Remembered, cell: Cell, config: Config, tape: Tape): Training {
  const tasks = tasksOf(about, config);
  const { run, held, training, measured } = trained(cell, config, tape, about.name, tasks);
  const looked = (): FigureData[] => [
    pathOf(run, tasks.tested, held.fork("path"), Math.min(64, Number(config["longest"]))),
    readingOf(run, tasks.tested, held.fork("reading"), 3),
  ];
  const isLooked = cell.arm === "rmt" && cell.seed === 1;
  return { ...training, finish: () => ({ metrics: measured(), figures: isLooked ? looked() : [] }) };
}

/** The table of a task of this kind. */
export function remembering(about: Remembered): Table {
  const { name, title, where, question, shorter = [], options, differences } = about;
  const constructions = Object.keys(options) as Construction[];
  const arms = { rmt: "RMT", ...Object.fromEntries(shorter.map(n => [armOf(n), `RMT, trained on ${n}`])) };
  const columns = SHOWN.map((s): Column => ({
    key: keyOf(s),
    label: `right at ${many(s.toLocaleString("en"), "segment")}`,
    unit: "%",
    digits: 1,
    published: (arm, setting) => (setting === "published" ? published(about.published, trainedOn(arm), s) : undefined),
  }));
  const table: Table = {
    ...{ name, title, where, question, arms, columns },
    accuracy: "over the most segments of training",
    setting: {
      name: "construction",
      said: value => (value === "published" ? "as published" : value === "corrected" ? "corrected" : value),
    },
    cells: [
      ...crossed(["rmt"], constructions),
      ...crossed(
        shorter.map(n => armOf(n)),
        ["published"],
        [1],
      ),
    ],
    differences: [...differences, ...shared(about)],
    config: (cell, share) => configOf(about, cell, share),
    train: (cell, config, tape) => train(about, cell, config, tape),
    conclusion: all => conclusion(table, all),
    figures(results) {
      const called = (e: Entry): string =>
        `${table.arms[String(e["arm"])]!}, ${table.setting.said(String(e["setting"]))}`;
      return [...curves(about, table, results), ...pathFigures(results, called), ...readingFigures(results, called)];
    },
  };
  return table;
}

/** What is not as in the paper, whatever the task. */
function shared({ segment, options, more }: Remembered): Difference[] {
  const steps = more?.["holds"] ? "those steps" : "the steps";
  const where = options.corrected?.["at"] === "random" ? ", at any place" : "";
  return [
    {
      what: "model",
      paper: "BERT base, pre-trained: 12 layers, d 768, memory once, in front; a classifier of six",
      here: `decoder from nothing: ${HERE.layers} layers, d ${HERE.d}, memory read and written; the next token`,
    },
    {
      what: "segment",
      paper: "499 tokens, 10 memory vectors",
      here: `${segment} tokens, ${HERE.memory} memory vectors`,
    },
    { what: "background", paper: "QuALITY's books", here: "made-up words" },
    {
      what: "curriculum",
      paper: "1 to 7 segments, one more once the last is learned, always so many",
      here: `a random number of segments from 1 to n; n rises to ${MOST} in the first 60 % of ${steps}`,
    },
    { what: "dropout", paper: "0.1, as BERT has it", here: `${HERE.dropout}; table dropout says what it does` },
    {
      what: "corrected",
      paper: "no such thing: facts of tests were trained on, and stand at the starts of segments",
      here: `tested on facts that training never shows${where}`,
    },
  ];
}
