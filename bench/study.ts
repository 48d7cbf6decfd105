// study.ts: what a study is. One object of this type, listed in studies/index.ts, is all that the runner, the table,
// the report and the tests know of it.
import { Tape, type Optimizer, type Schedule, type Tensor, type Tree } from "farsight";
import { fast } from "farsight/fast";
import type { Entry, Numbers } from "./records.ts";

/** What a person may choose. `threads`: of the fast engine; the exact one unless given. `texts`: by option. */
export interface Choice {
  seed: number;
  steps?: number | undefined;
  quick: boolean;
  threads?: number | undefined;
  texts?: { readonly [option: string]: string | undefined };
}

/** A chart's data as an arm records it; the runner adds study, arm and seed. */
export interface FigureData {
  kind: string;
  [field: string]: unknown;
}

/** One arm, ready to train. */
export interface Trial {
  /** Recorded with the result, and compared before a run is taken up again. */
  config: Record<string, string | number | boolean>;
  /** The paper's numbers under the names of the metrics, where they go into the record. */
  paper?: Record<string, unknown>;
  tape: Tape;
  params: Tree;
  optimizer: Optimizer;
  steps: number;
  /** Tokens (or places) in a step, for the rate. */
  tokens: number;
  loss(step: number): Tensor;
  schedule: Schedule;
  clip: { norm?: number; value?: number };
  /** A measure worth showing now and then, from 0 to 1. */
  accuracy?(): number;
  /** Measures the trained model. `tests` among the metrics is how many questions a share in per cent is of. */
  finish(): { metrics: Record<string, unknown>; figures: readonly FigureData[] };
}

/** A number to take from a result's metrics and, under the same name, from the paper's. */
export interface Reading {
  key: string;
  label: string;
  unit: "%" | "";
  factor?: number;
  pick(numbers: Numbers): unknown;
}

/**
 * What one arm measured, over its seeds. `low` and `high` are the seeds' extremes, or the sampling interval where the
 * test size is known.
 */
export interface Measure {
  key: string;
  label: string;
  unit: "%" | "";
  here: number;
  low?: number;
  high?: number;
  paper?: number;
}

/** The results of one arm in one setting, whatever the seed. `label` is the arm's name for readers. */
export interface Group {
  arm: string;
  label: string;
  setting: string;
  config: Numbers;
  metrics: Numbers;
  seeds: number;
  seconds: number;
  measures: readonly Measure[];
}

/** Charts side by side, and what is to be seen in them. */
export interface Figure {
  charts: readonly string[];
  caption: string;
}

/** A row of the README's table of recorded results: one arm's number, seed by seed, and the paper's. */
export interface Highlight {
  label: string;
  arm: string;
  value(metrics: Numbers): string;
  paper: string;
}

/** How many steps each arm is trained for, and in a quick run. */
export interface Steps {
  full: number;
  quick: number;
}

/** A study: its question, its arms, and what its numbers say. */
export interface Study {
  /** As a person types it and as records have it. */
  name: string;
  title: string;
  /** What it trains, for the help text. */
  trains: string;
  /** Its mechanism, for the head of the report. */
  mechanism: string;
  question: string;
  paper: { title: string; link: string };
  steps: Steps;
  /** The entry of `config` that keeps results apart, and how one of its values is said. */
  setting: { name: string; said(value: string): string };
  /** Names for readers, by arm, in the order of training and of hues; the arm that the study is about comes first. */
  arms: { readonly [arm: string]: string };
  /** Text files that it can be given: the option's name and its help. */
  files?: { readonly [option: string]: string };
  train(arm: string, choice: Choice): Trial;
  /** What to read from the metrics of one arm's results. */
  measures(metrics: readonly Numbers[]): readonly Reading[];
  /** Those of a group's measures that are worth a row in a table; all unless given. */
  rows?(group: Group): readonly Measure[];
  /** What the groups of one setting say, in sentences. Other numbers give another sentence. */
  conclusion(groups: readonly Group[]): string;
  /** What else the records say, whatever the setting. */
  remark?(records: readonly Entry[]): string;
  figures(records: readonly Entry[], groups: readonly Group[]): readonly Figure[];
  highlights: readonly Highlight[];
}

/** The steps that a person chose. */
export const stepsOf = ({ steps, quick }: Pick<Choice, "steps" | "quick">, all: Steps): number =>
  steps ?? (quick ? all.quick : all.full);

/** An arm's name for readers. */
export const label = (study: Study, arm: string): string => (Object.hasOwn(study.arms, arm) ? study.arms[arm]! : arm);
/** An arm's place among the study's, which is its hue too; those that it does not have come last. */
export const rank = (study: Study, arm: string): number => {
  const arms = Object.keys(study.arms);
  return arms.includes(arm) ? arms.indexOf(arm) : arms.length;
};

/** The tape of an arm. Its results depend on the engine, and not on the engine's threads. */
export const tapeOf = ({ seed, threads }: Pick<Choice, "seed" | "threads">): Tape =>
  new Tape("f32", { seed, engine: threads === undefined ? undefined : fast("f32", { threads }) });

/** Where the largest of values[from] ... values[to - 1] is, counted from `from`; the first of equals. */
export function argmax(values: ArrayLike<number>, from: number, to: number): number {
  let at = from;
  for (let i = from + 1; i < to; i++) if (values[i]! > values[at]!) at = i;
  return at - from;
}
