// shown.ts: what is on record of a table: which cells are done, missing or of another config; the table for the
// terminal, and the page.
import { existsSync, readdirSync } from "node:fs";
import { join, relative } from "node:path";
import { saveFile } from "../files.ts";
import type { Entry } from "../records.ts";
import { FUSED } from "../threads.ts";
import { many } from "../words.ts";
import { briefly, groups, mixed, text } from "./groups.ts";
import { identified, ledger, type Ledger } from "./ledger.ts";
import { nameOf, outOf, type Asked } from "./options.ts";
import { page } from "./page.ts";
import { called, cellOf, identity, type Cell, type Config, type Paper, type Share, type Table } from "./table.ts";

/** What decides what a cell is, beside the table. */
type Asking = Share & { fast: boolean };

/** The config of a cell as it is trained: the table's, and what the engine does to the last digits. */
export const configOf = (table: Table, cell: Cell, { fast, ...share }: Asking): Config => ({
  ...table.config(cell, share),
  ...(fast && { engine: FUSED }),
});

/** What a file of results has of a table: results of today's configs, those of others, and cells without any. */
export interface Sorted {
  here: Entry[];
  stale: Entry[];
  missing: Cell[];
}

/** Looks up every cell of a table. */
export function sorted(o: Asking & { paper: Paper; table: Table }, results: Ledger["results"]): Sorted {
  const cells = o.table.cells.map(cell => ({
    cell,
    result: results.get(identity(o.paper.name, o.table.name, cell, configOf(o.table, cell, o))),
  }));
  const here = cells.flatMap(({ result }) => result ?? []);
  const used = new Set(here.map(identified));
  return {
    here,
    stale: [...results.values()].filter(e => !used.has(identified(e))),
    missing: cells.filter(c => !c.result).map(c => c.cell),
  };
}

/** A result that is not used, in words. */
const named = (e: Entry): string => `${called(cellOf(e))} (commit ${String(e["commit"]) || "unknown"})`;

/** The tables of a paper: how many cells each has, and which of them are done, under way and missing. */
export function listing(paper: Paper, o: Asking, folder: string): string {
  const parts = paper.tables.map(table => {
    const { here, stale, missing } = sorted(
      { ...o, paper, table },
      ledger(join(folder, `${nameOf(paper, table)}.jsonl`)).results,
    );
    const out = outOf(paper, table);
    const begun = existsSync(out) ? readdirSync(out).filter(f => f.endsWith(".safetensors")).length : 0;
    const counts = [
      `${here.length} of ${many(table.cells.length, "cell")} done`,
      begun ? `${begun} begun in ${relative(".", out)}` : "",
      stale.length ? `${stale.length} of another config: ${stale.map(named).join("; ")}` : "",
      missing.length ? `missing: ${briefly(missing)}` : "",
    ].filter(Boolean);
    return [`${table.name}: ${table.title} (${table.where})`, ...counts.map(line => `  ${line}`)].join("\n");
  });
  return `${paper.title}, ${paper.link}\n\n${parts.join("\n\n")}\n`;
}

/** Prints the table and writes the page; whether it could. */
export function shown(o: Asked): boolean {
  const { results, torn } = ledger(o.ledger);
  const found = sorted(o, results);
  const path = join(o.out, "report.html");
  const all = groups(o.table, found.here);
  process.stdout.write(
    `${text(o.table, all)}${all.length ? `\n${o.table.conclusion(all).replaceAll("\u00a0", " ")}\n` : ""}`,
  );
  const programs = mixed(found.here);
  if (programs) process.stderr.write(`${programs}\n`);
  for (const e of found.stale) process.stderr.write(`of another config, not used: ${named(e)}\n`);
  try {
    saveFile(path, page(o, found, torn));
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    return false;
  }
  process.stderr.write(`report: ${relative(".", path)}\n`);
  return true;
}
