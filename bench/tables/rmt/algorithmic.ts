// algorithmic.ts: copy, reverse, associative retrieval and quadratic equations by segments (2207.06881, figures 3 and
// 4, table 1): what a recurrent memory carries, what a cache of states does, and what is left without either.
import {
  associativeRetrieval,
  copyTwice,
  quadraticEquations,
  random,
  reversal,
  type Random,
  type SequenceTask,
  type Tape,
} from "farsight";
import { lone } from "../../finding.ts";
import { stepsOf, type Group, type Steps } from "../../study.ts";
import { capital } from "../../words.ts";
import { measureOf } from "../groups.ts";
import { lengthAt, trainingOf, type Recipe } from "../recipe.ts";
import { each } from "../said.ts";
import { crossed, type Cell, type Column, type Config, type Table, type Training } from "../table.ts";
import { HERE } from "./arms.ts";
import { likeliest, lossOf, segmentalOf, type Segmental } from "./segmental.ts";

const ARMS = { rmt: "RMT", xl: "Transformer-XL", none: "no memory" } as const;
type Arm = keyof typeof ARMS;

/** A task by segments: which one, in how many segments of how many tokens, and the paper's numbers. */
interface Way {
  said: string;
  segments: number;
  segment: number;
  /** The task at a length, where it has one. */
  task(length: number): SequenceTask;
  /** The length that is grown to, from which one on; one alone where there is none. */
  length: number;
  from: number;
  batch: number;
  steps: Steps;
  layers: number;
  /** How many of the last tokens of a row are the answer: all that are asked for unless given. */
  answer?: number;
  /** The paper's accuracies in per cent, of characters, or of answers where those are what it counts. */
  published: { readonly [A in Arm]?: number };
}

const mean = (...values: number[]): number => (100 * values.reduce((a, b) => a + b, 0)) / values.length;
const WAYS: { readonly [setting: string]: Way } = {
  copy: {
    ...{ said: "copy in 9 segments of 8", segments: 9, segment: 8, layers: 2, batch: 16, length: 24, from: 3 },
    task: symbols => copyTwice({ symbols }),
    steps: { full: 10_000, quick: 10 },
    published: { rmt: 100, xl: mean(0.189, 0.451), none: 10 },
  },
  reverse: {
    ...{ said: "reverse in 4 segments of 12", segments: 4, segment: 12, layers: 2, batch: 16, length: 24, from: 3 },
    task: symbols => reversal({ symbols }),
    steps: { full: 10_000, quick: 10 },
    published: { rmt: 100, xl: mean(0.877, 0.872, 0.833), none: 10 },
  },
  retrieval: {
    ...{ said: "retrieval in 5 segments of 2", segments: 5, segment: 2, layers: 2, batch: 64, length: 4, from: 1 },
    task: pairs => associativeRetrieval({ pairs }),
    steps: { full: 6000, quick: 10 },
    published: { rmt: mean(0.989, 0.922, 0.984), xl: mean(0.965, 0.999, 0.999), none: 10 },
  },
  equations: {
    ...{ said: "equations in 6 segments of 30", segments: 6, segment: 30, layers: 2, batch: 16, length: 1, from: 1 },
    task: () => quadraticEquations(),
    steps: { full: 4000, quick: 5 },
    answer: 30,
    published: { rmt: 99.8, xl: 93.4 },
  },
};

/** The shares in per cent of n sequences' asked tokens, and of whole answers, that are right; of the last tokens. */
export function right(run: Segmental, task: SequenceTask, rng: Random, n: number, answer = Infinity) {
  const sum = { tokens: 0, good: 0, rows: 0 };
  for (let from = 0; from < n; from += 50) {
    const { tokens, targets, t } = task.batch(rng.fork(from), Math.min(50, n - from));
    const asked = targets.map((id, i) => (i % t < t - answer ? -100 : id));
    const found = likeliest(run, tokens, asked, t);
    for (let row = 0; row < found.length; row += t) {
      let wrong = 0;
      for (let i = row; i < row + t; i++) {
        if (asked[i] === -100) continue;
        sum.tokens++;
        if (found[i] === asked[i]) sum.good++;
        else wrong++;
      }
      if (!wrong) sum.rows++;
    }
  }
  return { characters: (100 * sum.good) / sum.tokens, answers: (100 * sum.rows) / n };
}

function train(cell: Cell, config: Config, tape: Tape): Training {
  const way = WAYS[cell.setting]!;
  const { batch, tests, from, grows, steps } = config as unknown as Recipe & {
    tests: number;
    from: number;
    grows: number;
  };
  const length = Number(config["length"]);
  const task = way.task(length);
  const run = segmentalOf(cell, config, task.size, tape);
  const data = random(cell.seed).fork(cell.setting);
  const held = random(2024).fork(`${cell.setting}, held out`);
  return {
    ...trainingOf(run.params, config),
    tokens: batch * task.batch(held.fork("length"), 1).t,
    loss(step) {
      // Any length up to that which is reached, so that the short ones are not forgotten.
      const most = lengthAt(step, { steps, grows, from }, length);
      const n = from + data.fork(`length ${step}`).integer(most - from + 1);
      const { tokens, targets, t } = way.task(n).batch(data.fork(step), batch);
      return lossOf(run, tokens, targets, t);
    },
    accuracy: () => right(run, task, held.fork("validation"), 50, way.answer).characters / 100,
    finish: () => ({ metrics: { ...right(run, task, held, tests, way.answer), tests }, figures: [] }),
  };
}

const isOfAnswers = (setting: string): boolean => WAYS[setting]?.answer !== undefined;
const paperOf =
  (answers: boolean) =>
  (arm: string, setting: string): number | undefined =>
    isOfAnswers(setting) === answers ? WAYS[setting]?.published[arm as Arm] : undefined;
const columns: readonly Column[] = [
  { key: "characters", label: "right, of characters", unit: "%", digits: 1, published: paperOf(false) },
  { key: "answers", label: "right, of answers", unit: "%", digits: 1, published: paperOf(true) },
];

/** What the numbers say, task by task: who is right, and whether the paper's difference is there. */
function conclusion(all: readonly Group[]): string {
  const settings = [...new Set(all.map(g => g.setting))];
  const parts = settings.map(setting => {
    const gs = all.filter(g => g.setting === setting);
    const key = isOfAnswers(setting) ? "answers" : "characters";
    const of = (arm: Arm) => gs.filter(g => g.arm === arm).map(g => measureOf(g, { key })!)[0];
    const [rmt, xl] = [of("rmt"), of("xl")];
    const lowest = (m: typeof rmt): number => m?.low ?? m?.here ?? NaN;
    const highest = (m: typeof rmt): number => m?.high ?? m?.here ?? NaN;
    const verdict =
      !rmt || !xl
        ? ""
        : lowest(rmt) > highest(xl)
          ? `, beyond chance more with ${ARMS.rmt} than with ${ARMS.xl}`
          : lowest(xl) > highest(rmt)
            ? `, beyond chance more with ${ARMS.xl} than with ${ARMS.rmt}`
            : `, with no difference beyond chance between ${ARMS.rmt} and ${ARMS.xl}`;
    return `${capital(table.setting.said(setting))}: right ${each(gs, key)}${verdict}.`;
  });
  return parts.join(" ") + lone(all);
}

const table: Table = {
  name: "algorithmic",
  title: "Algorithmic tasks",
  where: "2207.06881, figures 3 and 4, table 1",
  question: "What does a recurrent memory carry that a cache of states as large as a segment does not?",
  setting: { name: "task", said: value => WAYS[value]?.said ?? value },
  arms: ARMS,
  cells: crossed(Object.keys(ARMS), Object.keys(WAYS)),
  columns,
  differences: [
    {
      what: "model",
      paper: "Transformer-XL: 4 or 6 layers, d 128 or 64, post-norm, relative positions",
      here: `2 layers, d ${HERE.d}, pre-norm, rope`,
    },
    {
      what: "training",
      paper: "100,000 sequences, 250,000 to 700,000 steps of 32",
      here: "drawn afresh in every step; any length up to one that grows in the first 60 % of the steps",
    },
    {
      what: "copy, reverse: memory",
      paper: "as many vectors, or states a layer, as a segment has tokens",
      here: "the same",
    },
    {
      what: "equations: without real roots",
      paper: "what their answer looks like is not known",
      here: "blank after the discriminant",
    },
    {
      what: "accuracy",
      paper: "of answers that the model writes by itself",
      here: "of each character given the right ones before it; of equations the last field",
    },
    {
      what: "the paper's numbers",
      paper: "runs one by one; of copy with a cache 18.9 to 45.1 %",
      here: "their mean; of copy with a cache the middle",
    },
    { what: "equations without memory", paper: "99 % in one segment; in six not tested", here: "in six segments" },
  ],
  config({ setting }, share): Config {
    const { segment, layers, batch, length, from, steps } = WAYS[setting]!;
    return {
      ...HERE,
      memory: segment,
      ...{ layers, segment, passes: segment, position: "rope", batch, length, from, grows: 0.6 },
      lr: 2e-3,
      tests: share.quick ? 50 : 1000,
      steps: stepsOf(share, steps),
    };
  },
  train,
  conclusion,
  figures: () => [],
};

/** The algorithmic tasks. */
export const algorithmic = table;
