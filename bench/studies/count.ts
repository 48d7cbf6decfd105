// count.ts: the counting task of CoPE (2405.18719, table 3), small: three kinds of position, otherwise one model, one
// set of batches, one budget.
import { adamw, counting, type PositionName, random, schedule, transformer } from "farsight";
import { below, lone } from "../finding.ts";
import { gatesFigure, gatesOf } from "../gates.ts";
import { list, num, of, type Numbers } from "../records.ts";
import { argmax, stepsOf, tapeOf, type Choice, type FigureData, type Group, type Study, type Trial } from "../study.ts";
import { join, many, mean, percent } from "../words.ts";

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

/** The head that opens most on a variable's steps, for one held-out program. */
function clearest(run: Run): FigureData {
  const { task, held } = run;
  const rng = held.fork("figure");
  let sample = task.sample(rng);
  while (sample.tokens.length > 30 || sample.value < 2) sample = task.sample(rng);
  const tokens = task.words(sample.tokens);
  const t = tokens.length;
  const { logits, map } = gatesOf({ ...run, heads: HEADS }, sample.tokens, tokens, { counted: "++;", passed: "pass;" });
  return {
    kind: "cope",
    tokens,
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
      .map(gatesFigure),
  highlights: [
    { label: "test error, CoPE", arm: "cope", value: error, paper: "0.0 %" },
    { label: "test error, relative positions", arm: "relative", value: error, paper: "1.1 %" },
    { label: "test error, absolute positions", arm: "absolute", value: error, paper: "5.3 %" },
  ],
};
