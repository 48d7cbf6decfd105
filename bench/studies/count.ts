// count.ts: the counting task of CoPE (2405.18719, table 3), small: three kinds of position, otherwise one model, one
// set of batches, one budget.
import { adamw, counting, type PositionName, random, schedule, type Seen, transformer } from "farsight";
import { heat } from "../charts/heat.ts";
import { below, lone } from "../finding.ts";
import { list, num, of, type Entry, type Numbers } from "../records.ts";
import {
  argmax,
  stepsOf,
  tapeOf,
  type Choice,
  type Figure,
  type FigureData,
  type Group,
  type Study,
  type Trial,
} from "../study.ts";
import { capital, join, many, mean, percent, plain } from "../words.ts";

/** Table 3, test error in per cent, one variable: 4 layers, d 256, programs of up to 512 steps, 10,000 tests. */
const PUBLISHED: { readonly [arm: string]: number } = { cope: 0, relative: 1.1, absolute: 5.3 };

const VARIABLES = 1;
const STEPS = 64; // of a program
const D = 48;
const LAYERS = 2;
const HEADS = 4;
const ROWS = 16; // of CoPE's table
const BATCH = 32;
const LR = 2e-3;
const TRAINING = { full: 500, quick: 80 }; // steps

type Run = ReturnType<typeof prepare>;
/** The model of an arm, whose name is its kind of position, and its data. */
function prepare(arm: string, choice: Choice) {
  const { seed } = choice;
  const task = counting({ vars: VARIABLES, steps: STEPS });
  const context = 4 * STEPS + 4;
  const tape = tapeOf(choice);
  const model = transformer({
    vocab: task.size,
    d: D,
    layers: LAYERS,
    heads: HEADS,
    context,
    position: arm as PositionName,
    cope: { rows: ROWS },
  });
  const params = model.params(tape, { seed });
  const data = random(seed).fork("count");
  const held = random(2024).fork("count, held out");
  return { task, tape, model, params, data, held };
}

/** The share of the first n held-out questions that are answered wrongly, and how often each answer was right. */
function test({ task, tape, model, params, held }: Run, n: number): { wrong: number; answers: Map<number, number> } {
  let failed = 0;
  const answers = new Map<number, number>();
  const ask = (at: number): void => {
    const { tokens, targets, lengths, t } = task.batch(held.fork(at), 50);
    const values = model.logits(params, tape.integers([50, t], tokens)).values();
    lengths.forEach((length, i) => {
      const last = i * t + length - 1;
      const answer = targets[last]!;
      answers.set(answer, (answers.get(answer) ?? 0) + 1);
      if (argmax(values, last * task.size, (last + 1) * task.size) !== answer) failed++;
    });
  };
  for (let at = 0; at < n; at += 50) tape.scope(() => tape.noGrad(() => ask(at)));
  return { wrong: failed / n, answers };
}

/** Gates and positions of one layer, 1 h t t. */
interface Inside {
  gates: ArrayLike<number>;
  positions: ArrayLike<number>;
}
/** The logits of one sequence, and the gates and positions of each layer. */
function look(
  { tape, model, params }: Run,
  tokens: ArrayLike<number>,
): { logits: ArrayLike<number>; layers: Inside[] } {
  const layers: Inside[] = [];
  const ids = tape.integers([1, tokens.length], Array.from(tokens));
  const watch = (_: number, { attention }: Seen): void => {
    const inside = attention?.gates();
    if (inside) layers.push({ gates: inside.gates.values().slice(), positions: inside.positions.values().slice() });
  };
  return { logits: model.logits(params, ids, { watch }).values(), layers };
}

/** Gates and positions of one head as triangles, and how much wider its last row opens on "++;" than on "pass;". */
function triangle({ gates, positions }: Inside, head: number, words: readonly string[]) {
  const t = words.length;
  const row = (values: ArrayLike<number>, i: number): number[] =>
    Array.from({ length: i + 1 }, (_, j) => Number(values[(head * t + i) * t + j]!.toFixed(3)));
  const last = row(gates, t - 1);
  const open = (word: string): number => {
    const g = last.filter((_, j) => words[j] === word);
    return g.reduce((a, x) => a + x, 0) / Math.max(1, g.length);
  };
  return {
    contrast: open("++;") - open("pass;"),
    gates: words.map((_, i) => row(gates, i)),
    positions: words.map((_, i) => row(positions, i)),
  };
}

/** The head that opens most on a variable's steps, for one held-out program. */
function clearest(run: Run): FigureData {
  const { task, tape, held } = run;
  const rng = held.fork("figure");
  let sample = task.sample(rng);
  while (sample.tokens.length > 30 || sample.value < 2) sample = task.sample(rng);
  const words = task.words(sample.tokens);
  const t = words.length;
  const { logits, layers } = tape.scope(() => tape.noGrad(() => look(run, sample.tokens)));
  const maps = layers.flatMap((inside, layer) =>
    Array.from({ length: HEADS }, (_, head) => ({
      layer: layer + 1,
      head: head + 1,
      ...triangle(inside, head, words),
    })),
  );
  const { contrast: _, ...map } = maps.reduce((a, m) => (m.contrast > a.contrast ? m : a));
  return {
    kind: "cope",
    tokens: words,
    ...map,
    answer: task.words([sample.answer])[0]!,
    predicted: task.vocab[argmax(logits, (t - 1) * task.size, t * task.size)]!,
  };
}

function train(arm: string, choice: Choice): Trial {
  const run = prepare(arm, choice);
  const { task, tape, model, params, data, held } = run;
  const steps = stepsOf(choice, TRAINING);
  const tests = choice.quick ? 200 : 1000;
  const length = mean(Array.from(task.batch(held.fork("lengths"), 500).lengths));
  return {
    tape,
    params,
    steps,
    tokens: BATCH * length,
    config: {
      variables: VARIABLES,
      "program steps": STEPS,
      layers: LAYERS,
      d: D,
      heads: HEADS,
      batch: BATCH,
      steps,
      lr: LR,
      ...(arm === "cope" ? { positions: ROWS } : {}),
    },
    paper: { error: PUBLISHED[arm]! },
    optimizer: adamw(params, { lr: LR }),
    schedule: schedule("cosine", { lr: LR, steps, warmup: Math.floor(steps / 10), final: LR / 20 }),
    clip: { norm: 1 },
    loss(step) {
      const { tokens, targets, t } = task.batch(data.fork(step), BATCH);
      return model.loss(params, tape.integers([BATCH, t], tokens), tape.integers([BATCH, t], targets));
    },
    accuracy: () => 1 - test(run, 100).wrong,
    finish() {
      const { wrong, answers } = test(run, tests);
      const chance = 100 * (1 - Math.max(...answers.values()) / tests); // of always giving the commonest answer
      const figures = arm === "cope" ? [clearest(run)] : [];
      return { metrics: { error: 100 * wrong, tests, chance }, figures };
    },
  };
}

function conclusion(gs: readonly Group[]): string {
  const order = [...gs].sort((a, b) => a.measures[0]!.here - b.measures[0]!.here);
  const [best, next] = order as [Group, Group | undefined];
  const m = best.measures[0]!;
  const error = percent(m.here);
  if (!next)
    return (
      `${best.label} answers ${error} of the test questions wrongly. ` +
      "No other arm ran, so there is nothing to compare it with."
    );
  const chance = num(best.metrics["chance"]);
  if (chance !== undefined && m.here > 0.95 * chance)
    return (
      `Nothing learned to count in this run: the best test error is ${error}, ` +
      `and always giving the commonest answer has ${percent(chance)}.`
    );
  const others = join(order.slice(1).map(g => `${percent(g.measures[0]!.here)} with ${g.label}`));
  const rest = ["relative", "absolute"].includes(order.at(-1)!.arm) ? `${others} positions` : others;
  if (!below(m, next.measures[0]!))
    return `No clear winner: the test error is ${error} with ${best.label}, against ${rest}.${lone(gs)}`;
  return `${verdict(best, gs)}: ${error} test error, against ${rest}.${lone(gs)}`;
}

function verdict(best: Group, gs: readonly Group[]): string {
  if (best.arm === "cope") return "CoPE counts best in this run";
  return gs.some(g => g.arm === "cope")
    ? `CoPE did not win in this run; ${best.label} positions counted best`
    : `${best.label} counted best in this run`;
}

const MOST = 44; // tokens of a map

/** The last tokens of a recorded triangle's rows. */
const cornered = (r: Entry, field: string, skip: number): number[][] =>
  list(r[field])
    .slice(skip)
    .map((row, i) =>
      list(row)
        .slice(skip, skip + i + 1)
        .map(v => num(v) ?? NaN),
    );

/** On which token the last row's gates are widest open. */
function widest(tokens: readonly string[], last: readonly number[]): string {
  const kinds = [...new Set(tokens)].map(token => {
    const open = last.filter((v, j) => tokens[j] === token && Number.isFinite(v));
    const others = last.filter((v, j) => tokens[j] !== token && Number.isFinite(v));
    return { token, open: open.length ? mean(open) : -1, others: others.length ? mean(others) : NaN };
  });
  const [first] = kinds.sort((a, b) => b.open - a.open);
  if (!first || first.open < 0 || !Number.isFinite(first.others)) return "";
  const said = (v: number): string => plain(Number(v.toFixed(2)));
  return (
    ` In that row the gates are widest open on “${first.token}”, ${said(first.open)} on average, ` +
    `against ${said(first.others)} on all other tokens.`
  );
}

function answered({ predicted, answer }: Entry): string {
  if (predicted === undefined) return "";
  if (String(predicted) === String(answer)) return ` It answers ${predicted}, which is right.`;
  return ` It answers ${predicted}${answer === undefined ? "" : `; ${answer} would be right`}.`;
}

/** Gates and positions of one sequence as two maps, and what they say of the last token. */
function maps(r: Entry): Figure {
  const tokens = list(r["tokens"]).map(String);
  const skip = Math.max(0, tokens.length - MOST);
  const kept = tokens.slice(skip);
  const map = (title: string, field: string, label: string, colour: number, max?: number): string =>
    heat({
      title,
      x: { label: "token looked at" },
      y: { label: "token looking back" },
      rows: kept,
      columns: kept,
      values: cornered(r, field, skip),
      label,
      colour,
      mark: kept.length - 1,
      ...(max !== undefined && { max }),
    });
  const where = ["layer", "head"].filter(name => num(r[name]) !== undefined).map(name => `${name} ${r[name]}`);
  const caption = [
    where.length ? `${capital(where.join(", "))}. ` : "",
    "In the first map a full cell is a gate of 1: the token of that row counts the token of that column. ",
    "In the second a cell is the sum of the row's gates from its own token back to that column, ",
    "which is the position CoPE gives it. The outlined row is the last token, where the model answers.",
    answered(r),
    widest(kept, cornered(r, "gates", skip).at(-1) ?? []),
    skip ? ` The last ${kept.length} of ${tokens.length} tokens are shown.` : "",
  ];
  const charts = [
    map("Gates: what is counted", "gates", "gate", 0, 1),
    map("Positions: gates added up", "positions", "position", 1),
  ];
  return { charts, caption: caption.join("") };
}

const error = (metrics: Numbers): string => `${Number((num(metrics["error"]) ?? NaN).toFixed(1))} %`;

/** The counting study. */
export const count: Study = {
  name: "count",
  title: "Counting",
  trains: "counting with contextual positions (CoPE)",
  mechanism: "contextual positions, which count what matters (CoPE)",
  question: "Does a transformer count better when its positions count chosen tokens instead of all of them?",
  steps: TRAINING,
  paper: {
    title: "Golovneva et al. 2024, Contextual Position Encoding",
    link: "https://arxiv.org/abs/2405.18719",
  },
  setting: { name: "variables", said: value => many(value, "variable") },
  arms: { cope: "CoPE", relative: "relative", absolute: "absolute" },
  train,
  measures: () => [{ key: "error", label: "test error", unit: "%", pick: numbers => numbers["error"] }],
  conclusion,
  figures: records =>
    of(records, "figure", "count")
      .filter(r => r["kind"] === "cope" && list(r["tokens"]).length)
      .map(maps),
  highlights: [
    { label: "test error, CoPE", arm: "cope", value: error, paper: "0.0 %" },
    { label: "test error, relative positions", arm: "relative", value: error, paper: "1.1 %" },
    { label: "test error, absolute positions", arm: "absolute", value: error, paper: "5.3 %" },
  ],
};
