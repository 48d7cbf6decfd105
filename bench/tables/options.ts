// options.ts: the command line of a paper's tables, made from the papers there are.
import { accessSync, constants } from "node:fs";
import { join, relative, resolve } from "node:path";
import { args, leave, type Spec } from "../cli.ts";
import { fileOptions, trainingOptions } from "../options.ts";
import { root, version } from "../place.ts";
import { quoted } from "../words.ts";
import { shardOf, type Cell, type Files, type Paper, type Table } from "./table.ts";

const ownOptions = {
  arm: { type: "string", help: "only these arms, with commas between" },
  setting: { type: "string", help: "only these settings, with commas between" },
  seeds: { type: "string", help: "only these seeds, with commas between" },
  shard: { type: "string", help: "3/12: every twelfth of those cells, from the third on" },
  ...trainingOptions,
  out: { type: "string", help: "folder of report.html and checkpoints; out/PAPER-TABLE unless given" },
  again: { type: "boolean", help: "train cells anew that are on record, and replace their lines" },
  anyway: {
    type: "boolean",
    help: "go on though a checkpoint is of another program; begin again where it is broken or of another config",
  },
  report: { type: "boolean", help: "train nothing; write the page and print the table of what is on record" },
  paper: { type: "boolean", help: "the first 20 steps (or --steps) at the paper's own sizes, and how long all take" },
} as const satisfies Spec["options"];

/** The command line of these papers. */
export function specOf(papers: readonly Paper[]) {
  const [first] = papers;
  const call = `npm run bench -- ${first!.name} ${first!.tables[0]!.name}`;
  return {
    name: "npm run bench --",
    version,
    about:
      "Trains the tables of a paper, cell by cell, records every cell, and writes a page. Without a table:\n" +
      "which there are, and what of them is done. With --quick or --steps results stay in --out.\n" +
      `${papers.map(p => `  ${p.name.padEnd(10)} ${p.title}`).join("\n")}`,
    examples: [
      [call, "trains what is missing, or goes on with it"],
      [`${call} --shard 3/12`, "every twelfth cell, from the third on: for job arrays"],
    ],
    positionals: {
      name: "paper",
      help: "whose tables",
      choices: papers.map(p => p.name),
      most: 1,
      then: { name: "table", help: "which of them; without it they are listed", most: 1 },
    },
    options: {
      ...ownOptions,
      ...fileOptions(
        papers.flatMap(p => p.tables),
        ownOptions,
      ),
    },
  } as const satisfies Spec;
}

/** The values of a list with commas, or an error's words. */
function listed(option: string, text: string | undefined, known: readonly string[]): readonly string[] {
  if (text === undefined) return known;
  const words = text.split(",").map(word => word.trim());
  const wrong = words.find(word => !known.includes(word));
  if (wrong !== undefined)
    leave(2, `--${option}: there is no "${wrong}"\n  wants ${known.join(", ")}\n  got   ${text}`);
  return words;
}

/** "3/12" */
function sharded(text: string | undefined): { k: number; n: number } {
  if (text === undefined) return { k: 1, n: 1 };
  const [, k, n] = /^(\d{1,6})\/(\d{1,6})$/.exec(text)?.map(Number) ?? [];
  if (!k || !n || k > n) leave(2, `--shard: which part?\n  wants K/N, K from 1 to N\n  got   ${text}`);
  return { k: k!, n: n! };
}

/** The files that a table is trained on, or an error's words where one is missing or of no use. */
function filesOf(table: Table, values: { readonly [option: string]: unknown }): Files {
  return Object.fromEntries(
    Object.keys(table.files ?? {}).map(option => {
      const path = values[option] as string | undefined;
      if (path === undefined) return leave(2, `${table.name} is trained on files: --${option} FILE`);
      try {
        accessSync(path, constants.R_OK);
      } catch (error) {
        return leave(2, `--${option}: ${(error as Error).message}`);
      }
      return [option, resolve(path)];
    }),
  );
}

const unique = (list: readonly string[]): string[] => [...new Set(list)];

/** The cells of a table that were asked for, in their order. */
function narrowed(table: Table, o: { arm?: string; setting?: string; seeds?: string; shard?: string }): Cell[] {
  const arms = listed("arm", o.arm, unique(table.cells.map(c => c.arm)));
  const settings = listed("setting", o.setting, unique(table.cells.map(c => c.setting)));
  const seeds = listed("seeds", o.seeds, unique(table.cells.map(c => String(c.seed))));
  const cells = table.cells.filter(
    c => arms.includes(c.arm) && settings.includes(c.setting) && seeds.includes(String(c.seed)),
  );
  if (cells.length === 0) leave(2, "the table has no cell with these arms, settings and seeds together");
  return shardOf(cells, sharded(o.shard));
}

/** A table's name among files. */
export const nameOf = (paper: Paper, table: Table): string => `${paper.name}-${table.name}`;
/** The folder of its page and checkpoints, unless a person names another. */
export const outOf = (paper: Paper, table: Table): string => join(root, "out", nameOf(paper, table));

/** What a person asked for; `table` is missing where tables are to be listed. */
export function asked(papers: readonly Paper[], results: string) {
  const { values, positionals } = args(specOf(papers));
  const [first, second] = positionals;
  const paper = papers.find(p => p.name === first);
  if (!paper) return leave(2, `which paper? ${papers.map(p => p.name).join(", ")}`);
  const table = paper.tables.find(t => t.name === second);
  const names = paper.tables.map(t => t.name).join(", ");
  if (second !== undefined && !table) return leave(2, `unknown table "${second}"; ${paper.name} has ${names}`);
  const { report, paper: preview, again, steps, quick } = values;
  const both = [report && "--report", preview && "--paper", again && "--again"].filter(Boolean);
  if (both.length > 1) leave(2, `${both.join(" ")}: only one of them`);
  if (preview && quick) leave(2, "--paper --quick: only one of them; --steps says how many steps");
  if (!table) return { ...values, preview, paper, table, cells: [], out: "", ledger: "", files: {} };
  if (preview && !table.published) leave(2, `--paper: the paper's sizes of ${table.name} are not known`);
  const out = values.out ?? outOf(paper, table);
  // What was tried out is no result.
  const tried = quick || steps !== undefined;
  const ledger = tried ? join(out, "results.jsonl") : join(results, `${nameOf(paper, table)}.jsonl`);
  const files = report ? {} : filesOf(table, values);
  const { arm, setting, seeds, shard } = values;
  const only = { ...(arm && { arm }), ...(setting && { setting }), ...(seeds && { seeds }), ...(shard && { shard }) };
  return { ...values, preview, paper, table, cells: narrowed(table, only), out, ledger, files };
}
/** The command that trains what is missing, in short: all cells, to the same place. */
export function trainingCommand({ paper, table, fast, quick, steps, out }: Asked): string {
  const isElsewhere = out !== outOf(paper, table);
  return [
    ...["npm run bench --", paper.name, table.name],
    ...Object.keys(table.files ?? {}).map(option => `--${option} FILE`),
    ...(fast ? ["--fast"] : []),
    ...(quick ? ["--quick"] : []),
    ...(steps !== undefined ? [`--steps ${steps}`] : []),
    ...(isElsewhere ? [`--out ${quoted(relative(".", out) || ".")}`] : []),
  ].join(" ");
}

/** A command line, read, that names a table. */
export type Asked = Exclude<ReturnType<typeof asked>, { table: undefined }>;
