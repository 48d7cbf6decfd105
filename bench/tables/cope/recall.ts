// recall.ts: what the two halves of table 2 share: a task drawn afresh in every step, the same task with fewer and with
// more tokens that do not matter, and the errors on all three.
import { mistakes, random, type Random, type Tape } from "farsight";
import { below, lone } from "../../finding.ts";
import { gatesFigure, gatesOf, type Contrast } from "../../gates.ts";
import { bag, list, type Entry } from "../../records.ts";
import type { Figure, FigureData, Group } from "../../study.ts";
import { capital, join, percent } from "../../words.ts";
import { argmax } from "../../study.ts";
import { modelOf, trainingOf, type Made } from "./arms.ts";
import type { Cell, Config, Table, Training } from "../table.ts";

/** A task as these tables see it. */
export interface Task {
  readonly size: number;
  readonly vocab: readonly string[];
  batch(rng: Random, b: number): { tokens: Int32Array; targets: Int32Array; t: number };
  words(ids: ArrayLike<number>): string[];
}

/** In how many tokens of what is asked, and in how many sequences, the answer was wrong, in per cent. */
export interface Errors {
  tokens: number;
  rows: number;
  asked: number;
}

/** The errors of a model in n sequences of a task. */
export function errors({ tape, model, params }: Made, task: Task, rng: Random, n: number): Errors {
  const sum = { asked: 0, wrong: 0, rows: 0, wrongRows: 0 };
  const ask = (from: number, b: number): void => {
    const { tokens, targets, t } = task.batch(rng.fork(from), b);
    const found = mistakes(model.logits(params, tape.integers([b, t], tokens)).values(), targets, t);
    for (const key of ["asked", "wrong", "rows", "wrongRows"] as const) sum[key] += found[key];
  };
  for (let from = 0; from < n; from += 16) tape.scope(() => tape.noGrad(() => ask(from, Math.min(16, n - from))));
  return { tokens: (100 * sum.wrong) / sum.asked, rows: (100 * sum.wrongRows) / sum.rows, asked: sum.asked };
}

/** The shifts by the names of their columns, in the paper's order. */
export const SHIFTS = ["in", "dense", "sparse"] as const;
/** Trained on, with fewer, or with more tokens that do not matter. */
export type Shift = (typeof SHIFTS)[number];

/** A task of this kind. */
export interface Recalled {
  name: string;
  /** The task of a cell's config under a shift. */
  task(config: Config, shift: Shift): Task;
  /** The longest sequences of all shifts, for positions that have a table. */
  context(config: Config): number;
  /** Sequences to be tested on. */
  tests(config: Config, shift: Shift): number;
  /** The metrics of the errors. */
  metrics(errors: Readonly<Record<Shift, Errors>>): Record<string, number>;
  /** Of a running model, how much of the sparse shift is right, from 0 to 1. */
  right(errors: Errors): number;
  /** What a gate ought to open on. */
  contrast: Contrast;
}

/** Gates and positions on a held-out sequence, and its last answer. */
function mapped(run: Made, task: Task, rng: Random, contrast: Contrast): FigureData {
  const { tokens, targets, t } = task.batch(rng, 1);
  let last = targets.length - 1;
  while (targets[last] === -100) last--;
  const seen = tokens.slice(0, last + 1);
  const words = task.words(seen);
  const { logits, map } = gatesOf(run, seen, words, contrast);
  const answer = argmax(logits, last * task.size, (last + 1) * task.size);
  return {
    kind: "gates",
    tokens: words,
    ...map,
    answer: task.words([targets[last]!])[0]!,
    predicted: task.vocab[answer]!,
    length: t,
  };
}

/** A cell: its model trained on sequences drawn afresh, tested on all shifts. */
export function recalled(about: Recalled, cell: Cell, config: Config, tape: Tape): Training {
  const tasks = Object.fromEntries(SHIFTS.map(shift => [shift, about.task(config, shift)])) as Record<Shift, Task>;
  const task = tasks.in;
  const run = modelOf(cell, config, { vocab: task.size, context: about.context(config) }, tape);
  const data = random(cell.seed).fork(about.name);
  const held = random(2024).fork(`${about.name}, held out`);
  const batch = Number(config["batch"]);
  const test = (shift: Shift, n: number): Errors => errors(run, tasks[shift], held.fork(shift), n);
  return {
    ...trainingOf(run.params, config),
    tokens: batch * task.batch(held.fork("length"), 1).t,
    loss(step) {
      const { tokens, targets, t } = task.batch(data.fork(step), batch);
      return run.model.loss(run.params, tape.integers([batch, t], tokens), tape.integers([batch, t], targets));
    },
    accuracy: () => about.right(test("sparse", Math.ceil(about.tests(config, "sparse") / 10))),
    finish() {
      const found = Object.fromEntries(SHIFTS.map(shift => [shift, test(shift, about.tests(config, shift))]));
      const isMapped = cell.arm.startsWith("cope") && cell.seed === 1 && task.batch(held, 1).t <= 150;
      return {
        metrics: about.metrics(found as Record<Shift, Errors>),
        figures: isMapped ? [mapped(run, task, held.fork("figure"), about.contrast)] : [],
      };
    },
  };
}

/** Whether each group's number is below the next one's by more than chance allows for. */
const falls = (gs: readonly Group[], key: string): boolean =>
  gs.every((g, i) => {
    const [before, here] = [gs[i - 1], g].map(one => one?.measures.find(m => m.key === key));
    return i === 0 || (before && here && below(before, here));
  });

/** "0.0 % with CoPE and 1.8 % with rope" */
const each = (gs: readonly Group[], key: string): string =>
  join(
    gs.flatMap(g => {
      const m = g.measures.find(m => m.key === key);
      return m ? [`${percent(m.here)} with ${g.label}`] : [];
    }),
  );

/** What the errors of one setting say: those of training's kind, and of the shifts, lowest first. */
function said(gs: readonly Group[], keys: Readonly<Record<Shift, string>>): string {
  const value = (g: Group, key: string): number => g.measures.find(m => m.key === key)?.here ?? Infinity;
  const lines = SHIFTS.map(shift => {
    const order = [...gs].sort((a, b) => value(a, keys[shift]) - value(b, keys[shift]));
    const where = { in: "as in training", dense: "on the dense shift", sparse: "on the sparse shift" }[shift];
    return `${where} ${each(order, keys[shift])}`;
  });
  return `${capital(lines.join("; "))}.`;
}

/** What a table of this kind says; `order` is the paper's, and held to on the sparse shift. */
export function concluded(
  table: Table,
  all: readonly Group[],
  keys: Readonly<Record<Shift, string>>,
  order: readonly string[],
): string {
  const settings = [...new Set(all.map(g => g.setting))];
  const parts = settings.map(setting => {
    const gs = all.filter(g => g.setting === setting);
    const three = order.flatMap(arm => gs.find(g => g.arm === arm) ?? []);
    const names = join(three.map(g => g.label));
    const isOrdered = falls(three, keys.sparse)
      ? `The paper's order on the sparse shift, ${names}, is found.`
      : `The paper's order on the sparse shift, ${names}, is not found beyond chance.`;
    const verdict = three.length === order.length ? ` ${isOrdered}` : "";
    return `${capital(table.setting.said(setting))}. ${said(gs, keys)}${verdict}`;
  });
  return parts.join(" ") + lone(all);
}

/** The maps on record: of each setting and arm the first seed's. */
export const maps = (table: Table, results: readonly Entry[]): Figure[] =>
  results.flatMap(e => {
    const map = bag(list(e["figures"])[0]);
    if (list(map["tokens"]).length === 0) return [];
    const { charts, caption } = gatesFigure({ ...map, type: "figure" });
    const arm = table.arms[String(e["arm"])] ?? String(e["arm"]);
    return [{ charts, caption: `${arm}, ${table.setting.said(String(e["setting"]))}. ${caption}` }];
  });
