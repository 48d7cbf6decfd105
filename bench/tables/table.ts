// table.ts: what a paper's table is. One object of this type, listed by its paper, is all that the runner, the page and
// the tests know of it.
import type { Tape } from "farsight";
import { digest } from "../place.ts";
import type { Entry, Numbers } from "../records.ts";
import type { Choice, Figure, Group, Trial } from "../study.ts";

/** What is trained at once: one arm in one setting with one seed. */
export interface Cell {
  arm: string;
  setting: string;
  seed: number;
}

/** All that a cell's result depends on, but for its seed. It is recorded, and tells results apart. */
export type Config = Readonly<Record<string, string | number | boolean>>;

/** How much of the training a person wants: all of it unless given. */
export type Share = Pick<Choice, "steps" | "quick">;

/** The paths of files that a table is trained on, by option. */
export type Files = { readonly [option: string]: string };

/** A cell, ready to train. The room adds config and tape, which it made. */
export type Training = Omit<Trial, "config" | "paper" | "tape">;

/** One number of a cell. */
export interface Column {
  /** Its name among the metrics. */
  key: string;
  label: string;
  unit: "%" | "";
  /** Digits behind the point. */
  digits: number;
  /** The paper's number, where it has one. */
  published?(arm: string, setting: string): number | undefined;
}

/** What is not as in the paper. */
export interface Difference {
  what: string;
  paper: string;
  here: string;
}

/** A table of a paper. */
export interface Table {
  /** As a person types it, and as records and files have it. */
  name: string;
  title: string;
  /** Where in the paper: "Tables 3 and 4". */
  where: string;
  question: string;
  /** What a setting is a number or a kind of, and how one is said. */
  setting: { name: string; said(value: string): string };
  /** Names for readers, by arm, in the order of hues; the arm that the table is about comes first. */
  arms: { readonly [arm: string]: string };
  /** In the order in which they are trained. */
  cells: readonly Cell[];
  /** The first is what the table is about. */
  columns: readonly Column[];
  /** What the accuracy during training is of: "on the sparse shift"; of what is trained on unless given. */
  accuracy?: string;
  differences: readonly Difference[];
  /** Files that a person has to name for training: the option's name and its help. The config says what is in them. */
  files?: { readonly [option: string]: string };
  config(cell: Cell, share: Share): Config;
  /** Makes what is trained, of this config alone, on this tape, whose seed is the cell's; throws on other files. */
  train(cell: Cell, config: Config, tape: Tape, files: Files): Training;
  /** The paper's sizes as a config, where they are known. */
  published?(cell: Cell): Config;
  /** What the numbers say, in sentences; called with one group at least. Other numbers give another sentence. */
  conclusion(groups: readonly Group[]): string;
  /** What there is to look at, of the results on record. */
  figures(results: readonly Entry[], groups: readonly Group[]): readonly Figure[];
}

/** A paper and those of its tables that are trained here. */
export interface Paper {
  /** As a person types it, and as records and files have it. */
  name: string;
  title: string;
  link: string;
  tables: readonly Table[];
}

/** Every arm in every setting with every seed: all of the first seed first, so that the table is soon whole. */
export const crossed = (
  arms: readonly string[],
  settings: readonly string[],
  seeds: readonly number[] = [1, 2, 3],
): Cell[] => seeds.flatMap(seed => settings.flatMap(setting => arms.map(arm => ({ arm, setting, seed }))));

/** Which cell it is, whatever its config. */
export const called = ({ arm, setting, seed }: Cell): string => `${arm}, ${setting}, seed ${seed}`;

/** The cell of a record. */
export const cellOf = (e: Numbers): Cell => ({
  arm: String(e["arm"]),
  setting: String(e["setting"]),
  seed: Number(e["seed"]),
});

/** What tells results apart: paper, table, cell and config, whose order is of no account. */
export function identity(paper: string, table: string, { arm, setting, seed }: Cell, config: Config): string {
  const sorted = Object.entries(config).sort(([a], [b]) => (a < b ? -1 : 1));
  return digest(JSON.stringify([paper, table, arm, setting, seed, sorted]));
}

/** Every nth of a list, from the kth on; k from 1. The shards 1 to n are the list. */
export const shardOf = <T>(list: readonly T[], { k, n }: { k: number; n: number }): T[] =>
  list.filter((_, i) => i % n === k - 1);
