// long.ts: segments of the paper's own length, to its two million tokens (2304.11062, figure 1): accuracy, resident
// memory and speed over texts that are never held, but told segment by segment.
import { memorize, reasoning, type FactsTask, type Random, type Tape } from "farsight";
import { lines, type Point, type Series } from "../../charts/lines.ts";
import { fitted, HUES } from "../../charts/svg.ts";
import { bag, num, type Entry } from "../../records.ts";
import { argmax, stepsOf, type Figure, type Group } from "../../study.ts";
import { capital, percent, plain } from "../../words.ts";
import { measureOf } from "../groups.ts";
import { crossed, type Cell, type Column, type Config, type Table, type Training } from "../table.ts";
import { HERE, type Made } from "./arms.ts";
import { detect } from "./detect.ts";
import { memorize as memorizeTable } from "./memorize.ts";
import type { Placed } from "./paths.ts";
import { reasoning as reasoningTable } from "./reasoning.ts";
import { keyOf, trained } from "./remembering.ts";

const SEGMENT = 499;
const LENGTHS = Array.from({ length: 12 }, (_, i) => 2 ** (i + 1));
const END = (4096 * SEGMENT).toLocaleString("en");
const STEPS = { full: 5000, quick: 3 };

/** The paper's three tasks, and a sample of three segments: its tokens, answer, and the segments of its facts. */
const TASKS = {
  memorize: () => of(memorize({ segment: SEGMENT, at: "segment" }), ({ fact }) => [fact]),
  detect: () => of(memorize({ segment: SEGMENT, at: "segment" }), ({ fact }) => [fact]),
  reasoning: () => of(reasoning({ segment: SEGMENT }), ({ facts }) => facts),
} as const;
type Name = keyof typeof TASKS;

function of<Sample extends { tokens: number[]; place: number; answer: number }>(
  task: FactsTask<Sample>,
  starts: (sample: Sample) => number[],
) {
  const draw = (rng: Random) => {
    const sample = task.sample(rng, 3);
    return { tokens: sample.tokens, answer: sample.answer, places: starts(sample).map(at => Math.floor(at / SEGMENT)) };
  };
  return { task: task as Placed, draw };
}
const cut = (tokens: number[], s: number): number[] => tokens.slice(s * SEGMENT, (s + 1) * SEGMENT);

/**
 * b texts of s segments, 2 at least, told segment by segment, so that none is ever held: facts at the starts of
 * segments of their own, of memorize the first, all before the last, which has the question. In 2
 * segments all stand in one.
 */
export function told(name: Name, rng: Random, b: number, s: number) {
  const { draw } = TASKS[name]();
  function first<T>(rng: Random, pick: (drawn: ReturnType<typeof draw>) => T | undefined): T {
    for (let i = 0; ; i++) {
      const found = pick(draw(rng.fork(i)));
      if (found !== undefined) return found;
    }
  }
  const texts = Array.from({ length: b }, (_, i) => {
    const parts = first(rng.fork(`facts ${i}`), ({ tokens, answer, places }) => {
      const own = [...new Set(places)];
      if (own.includes(2) || own.length !== Math.min(places.length, s - 1)) return undefined;
      return { facts: own.map(k => cut(tokens, k)), question: cut(tokens, 2), answer };
    });
    const places = rng.fork(`places ${i}`).shuffle(Array.from({ length: s - 1 }, (_, k) => k));
    return { ...parts, places: parts.facts.map((_, k) => (name === "memorize" ? k : places[k]!)) };
  });
  const background = (i: number, at: number): number[] =>
    first(rng.fork(`background ${i} ${at}`), ({ tokens, places }) => {
      const free = [0, 1].find(k => !places.includes(k));
      return free === undefined ? undefined : cut(tokens, free);
    });
  function* pieces(): Generator<number[][]> {
    for (let at = 0; at < s; at++)
      yield texts.map(({ facts, question, places }, i) => {
        const k = places.indexOf(at);
        return at === s - 1 ? question : k < 0 ? background(i, at) : facts[k]!;
      });
  }
  return { answers: texts.map(text => text.answer), pieces: pieces() };
}

/** What reading b texts of s segments gave: per cent right, the most megabytes held, and tokens a second. */
export function read({ tape, recurrent, params }: Made, name: Name, rng: Random, b: number, s: number) {
  const { task } = TASKS[name]();
  const { answers, pieces } = told(name, rng, b, s);
  const { d } = recurrent.model.config;
  const begun = performance.now();
  let held = 0;
  let good = 0;
  tape.scope(() => {
    let states: ArrayLike<number> = [];
    for (const { values } of recurrent.stream(params, pieces, { ask: "states" })) {
      states = values;
      held = Math.max(held, process.memoryUsage.rss());
    }
    const last = Float32Array.from(
      { length: b * d },
      (_, i) => states[(1 + Math.floor(i / d)) * SEGMENT * d - d + (i % d)]!,
    );
    const logits = tape.noGrad(() => recurrent.head(params, tape.tensor([b, 1, d], last)).values());
    answers.forEach((answer, i) => {
      if (argmax(logits, i * task.size, (i + 1) * task.size) === answer) good++;
    });
  });
  const rate = (b * s * SEGMENT * 1000) / (performance.now() - begun);
  return { right: (100 * good) / b, megabytes: held / 1e6, rate };
}

const PAPER: { readonly [N in Name]: Table } = { memorize: memorizeTable, detect, reasoning: reasoningTable };
/** The paper's number, where the table of short segments has it. */
const publishedAt =
  (s: number) =>
  (_: string, setting: string): number | undefined =>
    PAPER[setting as Name].columns.find(c => c.key === keyOf(s))?.published?.("rmt", "published");

const columns: readonly Column[] = [
  ...[4096, 64, 1024].map((s): Column => ({
    key: keyOf(s),
    label: `right at ${(s * SEGMENT).toLocaleString("en")} tokens`,
    unit: "%",
    digits: 1,
    published: publishedAt(s),
  })),
  ...[16, 4096].map((s): Column => ({ key: `mb${s}`, label: `MB at ${s} segments`, unit: "", digits: 0 })),
  { key: "rate", label: "tokens a second", unit: "", digits: 0 },
];

function train(cell: Cell, config: Config, tape: Tape): Training {
  const name = cell.setting as Name;
  const task = name === "memorize" ? memorize({ segment: SEGMENT }) : TASKS[name]().task;
  const { run, held, training } = trained(cell, config, tape, "long", { trained: task, tested: task });
  const questions = Number(config["questions"]);
  const longest = Number(config["longest"]);
  return {
    ...training,
    finish() {
      const found = LENGTHS.filter(s => s <= longest).map(
        s => [s, read(run, name, held.fork(s), questions, s)] as const,
      );
      const metrics = Object.fromEntries(
        found.flatMap(([s, { right, megabytes }]) => [
          [keyOf(s), right],
          [`mb${s}`, megabytes],
        ]),
      );
      return { metrics: { ...metrics, rate: found.at(-1)![1].rate, tests: questions }, figures: [] };
    },
  };
}

const at = (g: Group, key: string): number | undefined => measureOf(g, { key })?.here;

/** "resident memory grows by 3 % from 16 segments to 4,096" */
function memorySaid(g: Group): string {
  const [from, to] = [at(g, "mb16"), at(g, "mb4096")];
  if (from === undefined || to === undefined) return "";
  const grown = (100 * (to - from)) / from;
  const size = percent(Math.max(1, Math.abs(grown)));
  const way = Math.abs(grown) <= 1 ? "stays within" : grown > 0 ? "grows by" : "falls by";
  return `resident memory ${way} ${size} from 16 segments to 4,096`;
}

/** What the numbers say, task by task: how many are right at the end, and whether memory grew. */
function conclusion(all: readonly Group[]): string {
  const parts = all.map(g => {
    const m = measureOf(g, { key: keyOf(4096) });
    const rate = at(g, "rate");
    const said = [
      m ? `${percent(m.here)} right at ${END} tokens` : "not read to the end",
      m?.paper === undefined ? "" : `in the paper ${percent(m.paper)}`,
      memorySaid(g),
      rate === undefined ? "" : `${plain(rate)} tokens a second`,
    ];
    return `${capital(g.setting)}: ${said.filter(Boolean).join("; ")}.`;
  });
  return parts.join(" ");
}

/** Accuracy and resident memory by length. */
function figures(results: readonly Entry[]): Figure[] {
  const names = Object.keys(TASKS);
  const curve = (e: Entry, key: (s: number) => string): Point[] =>
    LENGTHS.flatMap((s): Point[] => {
      const v = num(bag(e["metrics"])[key(s)]);
      return v === undefined ? [] : [[s * SEGMENT, v]];
    });
  const series = (key: (s: number) => string): Series[] =>
    results.map(e => {
      const name = String(e["setting"]);
      return { name, colour: names.indexOf(name), points: curve(e, key), dots: true };
    });
  if (results.length === 0) return [];
  const paper = names.map((name, i): Series => ({
    name: `${name}, paper`,
    colour: i + HUES,
    points: LENGTHS.flatMap((s): Point[] => {
      const v = publishedAt(s)("", name);
      return v === undefined ? [] : [[s * SEGMENT, v]];
    }),
  }));
  const x = { label: "tokens read (log scale)", log: true };
  const charts = [
    fitted(width =>
      lines({
        title: "Accuracy by length",
        series: [...series(keyOf), ...paper],
        x,
        y: { label: "questions answered right, %", min: 0, max: 100 },
        width,
      }),
    ),
    fitted(width =>
      lines({ title: "Resident memory", series: series(s => `mb${s}`), x, y: { label: "megabytes", min: 0 }, width }),
    ),
  ];
  const caption = `Segments of ${SEGMENT} tokens, as in the paper; the last point is at ${END} tokens.`;
  return [{ charts, caption }];
}

/** Figure 1 with segments of 499 tokens. */
export const long: Table = {
  name: "long",
  title: "Two million tokens",
  where: "2304.11062, figure 1",
  question: "What is left of a fact after two million tokens, and what does reading them take?",
  setting: { name: "task", said: value => value },
  arms: { rmt: "RMT" },
  cells: crossed(["rmt"], Object.keys(TASKS), [1]),
  columns,
  accuracy: "over the most segments of training",
  differences: [
    {
      what: "model",
      paper: "BERT base, pre-trained: 12 layers, d 768, memory once, in front",
      here: `decoder from nothing: ${HERE.layers} layers, d ${HERE.d}, memory read and written`,
    },
    { what: "training", paper: "on up to 7 segments", here: "on up to 5, any number of them" },
    {
      what: "facts",
      paper: "at the starts of any segments",
      here:
        "so in training; in tests in segments of their own, before the one with the question; of two segments all in " +
        "the first",
    },
    { what: "background", paper: "QuALITY's books", here: "made-up words" },
    { what: "resident memory", paper: "3,643.9 MB on a GPU", here: "of the whole process: measure with --jobs 1" },
  ],
  config: (_, share): Config => ({
    segment: SEGMENT,
    at: "segment",
    ...HERE,
    ...{ memory: 10, batch: 8, most: 5, holds: 0, grows: 0.6, lr: 2e-3 },
    steps: stepsOf(share, STEPS),
    questions: share.quick ? 2 : 20,
    "far questions": 0,
    longest: share.quick ? 4 : 4096,
  }),
  train,
  conclusion,
  figures,
};
