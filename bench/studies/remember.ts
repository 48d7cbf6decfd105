// remember.ts: the memorize task of RMT (2304.11062, figures 1 and 5), small: a fact at the start of the text, its
// question at the end, a curriculum of 1 to 6 segments. The arm without memory is the same transformer on the last
// segment, all that it can see.
import { adamw, memorize, random, rmt, schedule, transformer, type Tensor } from "farsight";
import { fitted } from "../charts/svg.ts";
import { lines, type Point, type Reference, type Series } from "../charts/lines.ts";
import { bag, list, num, of, type Entry, type Numbers } from "../records.ts";
import {
  argmax,
  label,
  rank,
  stepsOf,
  tapeOf,
  type Choice,
  type Figure,
  type Group,
  type Measure,
  type Reading,
  type Study,
  type Trial,
} from "../study.ts";
import { many, percent, times } from "../words.ts";

/** Accuracy by segments: BERT-base trained on 6 segments of 499 tokens (figure 5), beyond 12 on 7 (figure 1). */
const PUBLISHED = { "1": 1, "2": 1, "3": 1, "4": 1, "6": 1, "8": 1, "12": 1, "16": 1, "32": 0.992, "64": 0.982 };
const CHANCE = 1 / 6;

const SEGMENT = 16;
const MEMORY = 4;
const D = 64;
const LAYERS = 2;
const HEADS = 4;
const BATCH = 16;
const LR = 3e-3;
// Makes of each answer's memory a fixed point that draws neighbours in: without it memories drift, and facts are lost
// after 12 to 64 segments (npm run bench -- rmt dropout).
const DROPOUT = 0.1;
const TRAINING = { full: 600, quick: 90 }; // steps
const TRAINED = 6; // segments at most
/** How many segments there are at most, up to which share of the steps. */
const STAGES = [
  { until: 0.15, segments: 2 },
  { until: 0.4, segments: 4 },
  { until: 1, segments: TRAINED },
];
const TESTED = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];

type Run = ReturnType<typeof prepare>;
function prepare(arm: string, choice: Choice) {
  const { seed } = choice;
  const text = choice.texts?.["text"];
  const task = memorize({ segment: SEGMENT, ...(text === undefined ? {} : { text }) });
  const tape = tapeOf(choice);
  const model = transformer({
    vocab: task.size,
    d: D,
    layers: LAYERS,
    heads: HEADS,
    context: SEGMENT + 2 * MEMORY,
    position: "absolute",
    dropout: DROPOUT,
  });
  const recurrent = rmt(model, { memory: MEMORY, segment: SEGMENT, replay: false });
  const params = recurrent.params(tape, { seed });
  const { memory: _, ...alone } = params; // what the transformer alone reads
  const data = random(seed).fork("remember");
  const held = random(2024).fork("remember, held out");
  return { remembers: arm === "rmt", task, tape, model, recurrent, params, alone, data, held };
}

/** The last segment of each of n sequences of t numbers. */
const last = (values: Int32Array, t: number, n: number): Int32Array =>
  Int32Array.from({ length: n * SEGMENT }, (_, i) => {
    const row = Math.floor(i / SEGMENT);
    return values[row * t + t - SEGMENT + (i % SEGMENT)]!;
  });

/** The share of n held-out questions over s segments that are answered right. */
function test({ remembers, task, tape, model, recurrent, params, alone, held }: Run, s: number, n: number): number {
  let good = 0;
  const ask = (at: number): void => {
    const { tokens, answers, t } = task.batch(held.fork(`${s} ${at}`), 50, s);
    const logits = remembers
      ? [...recurrent.stream(params, [tape.integers([50, t], tokens)])].at(-1)!.values
      : model.logits(alone, tape.integers([50, SEGMENT], last(tokens, t, 50))).values();
    const width = logits.length / 50;
    answers.forEach((answer, i) => {
      if (argmax(logits, (i + 1) * width - task.size, (i + 1) * width) === answer) good++;
    });
  };
  for (let at = 0; at < n; at += 50) tape.scope(() => tape.noGrad(() => ask(at)));
  return good / n;
}

/** The loss of a batch over s segments. */
function lossOf(
  { remembers, task, tape, model, recurrent, params, alone, data }: Run,
  step: number,
  s: number,
): Tensor {
  const { tokens, targets, t } = task.batch(data.fork(step), BATCH, s);
  if (remembers) return recurrent.loss(params, tape.integers([BATCH, t], tokens), tape.integers([BATCH, t], targets));
  const shape = [BATCH, SEGMENT];
  return model.loss(alone, tape.integers(shape, last(tokens, t, BATCH)), tape.integers(shape, last(targets, t, BATCH)));
}

function train(arm: string, choice: Choice): Trial {
  const run = prepare(arm, choice);
  const { tape, params, data, remembers } = run;
  const steps = stepsOf(choice, TRAINING);
  const tests = choice.quick ? 100 : 300;
  // In each stage any number up to its own, as in the later papers (2402.10790): with the most alone training forgets
  // the fewest.
  const segments = (step: number): number =>
    1 + data.fork(`length ${step}`).integer(STAGES.find(({ until }) => step < until * steps)!.segments);
  return {
    tape,
    params,
    steps,
    tokens: BATCH * SEGMENT * (remembers ? 2.95 : 1), // 2.95 segments, on average over the stages
    config: {
      "segment tokens": SEGMENT,
      memory: remembers ? MEMORY : 0,
      "trained on": `1 to ${TRAINED} segments`,
      layers: LAYERS,
      d: D,
      heads: HEADS,
      batch: BATCH,
      dropout: DROPOUT,
      steps,
      lr: LR,
      ...(choice.texts?.["text"] === undefined ? {} : { text: true }),
    },
    paper: remembers ? { accuracyBySegments: PUBLISHED } : {},
    optimizer: adamw(params, { lr: LR }),
    schedule: schedule("cosine", { lr: LR, steps, warmup: Math.floor(steps / 10), final: LR / 20 }),
    clip: { norm: 1 },
    loss: step => lossOf(run, step, segments(step)),
    accuracy: () => test(run, TRAINED, 50),
    finish() {
      const points = TESTED.map((s): Point => [s, test(run, s, tests)]);
      return {
        metrics: { accuracyBySegments: Object.fromEntries(points), trained: TRAINED, tests, chance: CHANCE },
        figures: [{ kind: "segments", trained: TRAINED, points }],
      };
    },
  };
}

const accuracies = (metrics: Numbers): Numbers => bag(metrics["accuracyBySegments"]);

function measures(metrics: readonly Numbers[]): Reading[] {
  const lengths = new Set(metrics.flatMap(m => Object.keys(accuracies(m))).map(Number));
  return [...lengths]
    .filter(s => s > 0)
    .sort((a, b) => a - b)
    .map(s => ({
      key: String(s),
      label: `accuracy at ${many(s, "segment").replace(" ", "\u00a0")}`,
      unit: "%",
      factor: 100,
      pick: numbers => accuracies(numbers)[s],
    }));
}

/** The shortest, the longest trained on, the longest, and those of which the paper has a number. */
function rows({ measures, metrics }: Group): Measure[] {
  const trained = String(num(metrics["trained"]) ?? "");
  const ends = [0, measures.length - 1];
  return measures.filter((m, i) => ends.includes(i) || m.key === trained || m.paper !== undefined);
}

/** Up to what length at least 90 % is answered right, without a gap. */
function distance(measures: readonly Measure[], trained: number | undefined): string {
  const good = (m: Measure): boolean => m.here >= 90;
  const first = measures.findIndex(good);
  if (first < 0) return " It never reaches 90 %.";
  const gap = measures.findIndex((m, i) => i > first && !good(m));
  const held = measures[gap < 0 ? measures.length - 1 : gap - 1]!;
  const from = first > 0 ? `from ${many(measures[first]!.key, "segment")} ` : "";
  const further =
    trained && Number(held.key) > trained
      ? `, ${times(Number(held.key) / trained)} times the longest it was trained on`
      : "";
  return ` It answers at least 90 % right ${from}up to ${many(held.key, "segment")}${further}.`;
}

function conclusion(gs: readonly Group[]): string {
  const one = gs.find(g => g.arm === "rmt") ?? gs[0]!;
  const other = gs.find(g => g !== one);
  const chance = 100 * (num(one.metrics["chance"]) ?? CHANCE);
  const trained = num(one.metrics["trained"]);
  const far = one.measures.at(-1)!;
  const inside = one.measures.filter(m => trained !== undefined && Number(m.key) <= trained).at(-1);
  const near = trained !== undefined && Number(far.key) > trained ? inside : undefined;
  const rival = (m: Measure): number | undefined => other?.measures.find(o => o.key === m.key)?.here;
  const helps = (m: Measure): boolean => m.here > Math.max(rival(m) ?? 0, chance) + 10;

  const begin = trained === undefined ? "" : `Trained on at most ${many(trained, "segment")}, `;
  const close = near ? `${percent(near.here)} right at ${near.key} and ` : "";
  const end = `${percent(far.here)} right at ${many(far.key, "segment")}`;
  const against = rival(far) === undefined ? "" : `, against ${percent(rival(far)!)} with ${other!.label}`;
  const numbers = `${one.label} answers ${close}${end}${against} (chance is ${percent(chance)}).`;
  let verdict = "";
  if (!helps(far))
    verdict =
      near && helps(near)
        ? ` The memory works at the length it was trained on but has lost the fact by ${many(far.key, "segment")}.`
        : " The memory did not help in this run.";
  return begin + numbers + distance(one.measures, trained) + verdict;
}

/** Curves of recorded figures or, without them, of results. */
function curves(records: readonly Entry[], groups: readonly Group[]): Series[] {
  const recorded = of(records, "figure", "remember")
    .filter(r => r["kind"] === "segments")
    .map(r => ({
      arm: String(r["arm"]),
      points: list(r["points"]).map((p): Point => [num(list(p)[0]) ?? NaN, num(list(p)[1]) ?? NaN]),
    }));
  const found = recorded.length
    ? recorded
    : groups.map(g => ({ arm: g.arm, points: g.measures.map((m): Point => [Number(m.key), m.here / 100]) }));
  return found
    .filter(s => s.points.length)
    .sort((a, b) => rank(remember, a.arm) - rank(remember, b.arm))
    .map(({ arm, points }) => ({ name: label(remember, arm), colour: rank(remember, arm), points, dots: true }));
}

/** Accuracy by number of segments. */
function figures(records: readonly Entry[], groups: readonly Group[]): Figure[] {
  const series = curves(records, groups);
  if (series.length === 0) return [];
  const trained = groups.map(g => num(g.metrics["trained"])).find(v => v !== undefined);
  const chance = num(groups[0]?.metrics["chance"]) ?? CHANCE;
  const references: Reference[] = [
    { y: chance, label: `chance, ${chance === CHANCE ? "1/6" : percent(100 * chance)}` },
    ...(trained === undefined ? [] : [{ x: trained, label: `trained up to here (${trained})` }]),
  ];
  const draw = (width: number): string =>
    lines({
      title: "Accuracy by length of the input",
      series,
      x: { label: "segments read (log scale)", log: 2 },
      y: { label: "questions answered right", min: 0, max: 1, percent: true },
      references,
      width,
      height: 280,
    });
  const right =
    trained === undefined ? "" : " Right of the upright line every input is longer than any seen in training.";
  const caption = `Each curve is one trained model, tested on inputs of more and more segments.${right}`;
  return [{ charts: [fitted(draw, 720)], caption }];
}

const right =
  (segments: number) =>
  (metrics: Numbers): string =>
    `${Number((100 * (num(accuracies(metrics)[segments]) ?? NaN)).toFixed(1))} %`;

/** The study of recurrent memory. */
export const remember: Study = {
  name: "remember",
  title: "Remembering",
  trains: "remembering across segments (RMT)",
  mechanism: "a recurrent memory, which carries facts across segments (RMT)",
  question: "How far beyond its training length does a recurrent memory carry one fact?",
  steps: TRAINING,
  paper: {
    title: "Bulatov et al. 2023, Scaling Transformer to 1M tokens and beyond with RMT",
    link: "https://arxiv.org/abs/2304.11062",
  },
  setting: { name: "task", said: value => value },
  arms: { rmt: "RMT", none: "no memory" },
  files: { text: "a text file to hide the fact in, instead of invented words" },
  train,
  measures,
  rows,
  conclusion,
  figures,
  highlights: [
    ...Object.entries({ 6: "100 %", 12: "100 %", 64: "98.2 %" }).map(([n, paper]) => ({
      label: `right at ${n} segments, RMT trained on 1 to ${TRAINED}`,
      arm: "rmt",
      value: right(Number(n)),
      paper,
    })),
    { label: "right at 6 segments, no memory", arm: "none", value: right(6), paper: "" },
  ],
};
