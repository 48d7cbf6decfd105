// recall.ts: a table of table 2, of which both halves are one: a task drawn afresh in every step, the same task with
// fewer and with more tokens that do not matter, and the errors on all three.
import { mistakes, random, type Random, type SequenceTask, type Tape } from "farsight";
import { lone } from "../../finding.ts";
import { gatesOf, type Contrast } from "../../gates.ts";
import { argmax, stepsOf, type FigureData, type Group, type Steps } from "../../study.ts";
import { capital, many } from "../../words.ts";
import { measureOf } from "../groups.ts";
import { crossed, type Cell, type Column, type Config, type Table, type Training } from "../table.ts";
import { lengthAt, trainingOf, type Growth } from "../recipe.ts";
import { HERE, modelOf, positionConfig, type Made } from "./arms.ts";
import { each, ordered } from "../said.ts";
import { maps } from "./maps.ts";

/** How many of the tokens asked for, and of the sequences, were answered wrongly, in per cent; and of how many. */
export interface Errors {
  tokens: number;
  rows: number;
  asked: { tokens: number; rows: number };
}

/** The errors of a model in n sequences of a task. */
export function errors({ tape, model, params }: Made, task: SequenceTask, rng: Random, n: number): Errors {
  const sum = { asked: 0, wrong: 0, rows: 0, wrongRows: 0 };
  const ask = (from: number, b: number): void => {
    const { tokens, targets, t } = task.batch(rng.fork(from), b);
    const found = mistakes(model.logits(params, tape.integers([b, t], tokens)).values(), targets, t);
    for (const key of ["asked", "wrong", "rows", "wrongRows"] as const) sum[key] += found[key];
  };
  for (let from = 0; from < n; from += 16) tape.scope(() => tape.noGrad(() => ask(from, Math.min(16, n - from))));
  const asked = { tokens: sum.asked, rows: sum.rows };
  return { tokens: (100 * sum.wrong) / asked.tokens, rows: (100 * sum.wrongRows) / asked.rows, asked };
}

const SHIFTS = ["in", "dense", "sparse"] as const;
/** As in training, with fewer, or with more tokens that do not matter. */
export type Shift = (typeof SHIFTS)[number];
const LABELS: Readonly<Record<Shift, string>> = { in: "error", dense: "dense, error", sparse: "sparse, error" };
const SAID: Readonly<Record<Shift, string>> = {
  in: "as in training",
  dense: "on the dense shift",
  sparse: "on the sparse shift",
};

/** Which cells of one length there are, how they are trained, and on how many sequences of each kind tested. */
export interface Size {
  units: number;
  /** Where sequences grow to this length, and do not have it from the beginning. */
  growth?: Omit<Growth, "steps">;
  arms: readonly string[];
  seeds: readonly number[];
  batch: number;
  steps: Steps;
  tests: Readonly<Record<Shift, number>>;
}

/** A task of this kind, and its half of the table. */
export interface Recalled extends Pick<Table, "name" | "title" | "where" | "question" | "arms" | "differences"> {
  /** What a sequence has so many of: "instruction". Settings are such numbers. */
  unit: string;
  /** Settings are the units of each; the paper's own comes first. */
  sizes: readonly Size[];
  /** Rows of CoPE's table. */
  rows(units: number): number;
  /** What the shifts change, and to what. */
  share: { name: string; of: Readonly<Record<Shift, number>> };
  task(units: number, share: number): SequenceTask;
  /** The longest sequences of all shifts, for positions that have a table. */
  context(units: number): number;
  /** What errors are of, tokens or rows, and what those are called; the first is what the table is about. */
  counted: readonly { of: "tokens" | "rows"; called: string; digits: number }[];
  /** The paper's errors by arm, of the first. */
  published: { readonly [arm: string]: { readonly [S in Shift]?: number } };
  /** The paper's arms, the best on the sparse shift first. */
  order: readonly string[];
  /** The units of a sequence to be looked at, where one is short enough. */
  shown(units: number): number;
  /** What a gate ought to open on. */
  contrast: Contrast;
}

/** Gates and positions on a held-out sequence, and its last answer. */
function mapped(run: Made, task: SequenceTask, rng: Random, contrast: Contrast): FigureData {
  const { tokens, targets } = task.batch(rng, 1);
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
  };
}

/** The key of an error among the metrics: that of the first kind is the shift's name. */
const keyOf = ({ counted }: Recalled, i: number, shift: Shift): string =>
  i ? `${shift} ${counted[i]!.called}` : shift;

/** The name in a config of what is another for each shift. */
const of = (name: string, shift: Shift): string => (shift === "in" ? name : `${name}, ${shift}`);

/** A cell: its model trained on sequences drawn afresh, tested on all shifts. */
function trained(about: Recalled, cell: Cell, config: Config, tape: Tape): Training {
  const number = (name: string): number => Number(config[name]);
  const [units, batch] = [number(`${about.unit}s`), number("batch")];
  const taskOf = (shift: Shift, n = units): SequenceTask => about.task(n, number(of(about.share.name, shift)));
  const [task, sparse] = [taskOf("in"), taskOf("sparse")];
  const run = modelOf(cell, config, { vocab: task.size, context: about.context(units) }, tape);
  const data = random(cell.seed).fork(about.name);
  const held = random(2024).fork(`${about.name}, held out`);
  const validation = random(2024).fork(`${about.name}, validation`);
  const test = (shift: Shift): Errors => errors(run, taskOf(shift), held.fork(shift), number(of("tests", shift)));
  return {
    ...trainingOf(run.params, config),
    tokens: batch * task.batch(held.fork("length"), 1).t,
    loss(step) {
      const n = "grows" in config ? lengthAt(step, config as unknown as Growth, units) : units;
      const b = Math.floor((batch * units) / n); // as many tokens in every step
      const { tokens, targets, t } = taskOf("in", n).batch(data.fork(step), b);
      return run.model.loss(run.params, tape.integers([b, t], tokens), tape.integers([b, t], targets));
    },
    accuracy: () => 1 - errors(run, sparse, validation, Math.ceil(number("tests, sparse") / 10)).tokens / 100,
    finish() {
      const found = SHIFTS.map(shift => [shift, test(shift)] as const);
      const metrics = about.counted.flatMap(({ of }, i) =>
        found.map(([shift, e]) => [keyOf(about, i, shift), e[of]] as const),
      );
      const rows = Math.min(...found.map(([, e]) => e.asked.rows)); // what is asked in one row depends on one another
      const shown = taskOf("in", about.shown(units));
      const isMapped = cell.arm.startsWith("cope") && cell.seed === 1 && shown.batch(held, 1).t <= 150;
      return {
        metrics: { ...Object.fromEntries(metrics), tests: rows },
        figures: isMapped ? [mapped(run, shown, held.fork("figure"), about.contrast)] : [],
      };
    },
  };
}

/** The errors of one setting: as in training and on the shifts, the lowest first. */
function said(gs: readonly Group[]): string {
  const value = (g: Group, key: string): number => measureOf(g, { key })?.here ?? Infinity;
  const lines = SHIFTS.map(shift => {
    const order = [...gs].sort((a, b) => value(a, shift) - value(b, shift));
    return `${SAID[shift]} ${each(order, shift)}`;
  });
  return `${capital(lines.join("; "))}.`;
}

/** What the numbers say, setting by setting, and whether the paper's order is found on the sparse shift. */
function concluded({ order }: Recalled, table: Table, all: readonly Group[]): string {
  const settings = [...new Set(all.map(g => g.setting))];
  const parts = settings.map(
    setting => `${capital(table.setting.said(setting))}. ${said(all.filter(g => g.setting === setting))}`,
  );
  const verdict = ordered(table, all, { arms: order, key: "sparse", where: " on the sparse shift" });
  return [...parts, verdict].filter(Boolean).join(" ") + lone(all);
}

/** The table of a task of this kind. */
export function recall(about: Recalled): Table {
  const { name, title, where, question, arms, differences, unit, sizes, counted, published } = about;
  const columns = counted.flatMap(({ called, digits }, i) =>
    SHIFTS.map((shift): Column => {
      const label = LABELS[shift] + (called && ` of ${called}`);
      const paper = (arm: string, setting: string) =>
        setting === String(sizes[0]!.units) ? published[arm]?.[shift] : undefined;
      return { key: keyOf(about, i, shift), label, unit: "%", digits, ...(i === 0 && { published: paper }) };
    }),
  );
  const table: Table = {
    ...{ name, title, where, question, arms, differences, columns },
    accuracy: SAID.sparse,
    setting: { name: `${unit}s`, said: value => many(value, unit) },
    cells: sizes.flatMap(({ units, arms, seeds }) => crossed(arms, [String(units)], seeds)),
    config({ arm, setting }, share): Config {
      const { units, growth, batch, tests, steps } = sizes.find(size => String(size.units) === setting)!;
      const shifts = SHIFTS.flatMap(shift => [
        [of(about.share.name, shift), about.share.of[shift]],
        [of("tests", shift), share.quick ? 20 : tests[shift]],
      ]);
      return {
        [`${unit}s`]: units,
        ...HERE,
        ...growth,
        batch,
        ...(Object.fromEntries(shifts) as Config),
        steps: stepsOf(share, steps),
        ...positionConfig(arm, about.rows(units)),
      };
    },
    train: (cell, config, tape) => trained(about, cell, config, tape),
    conclusion: all => concluded(about, table, all),
    figures: results => maps(table, results),
  };
  return table;
}
