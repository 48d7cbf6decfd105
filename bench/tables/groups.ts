// groups.ts: the results of a table grouped over seeds, and the table for the terminal.
import { measured } from "../finding.ts";
import { bag, num, type Entry } from "../records.ts";
import type { Group, Measure } from "../study.ts";
import { join } from "../words.ts";
import { cellOf, type Cell, type Column, type Table } from "./table.ts";

/** Results of one arm in one setting become one group, whatever the seed; in the order of settings, then of arms. */
export function groups(table: Table, results: readonly Entry[]): Group[] {
  const found = new Map<string, Entry[]>();
  for (const e of results) {
    const { arm, setting } = cellOf(e);
    const key = JSON.stringify([setting, arm]);
    found.set(key, [...(found.get(key) ?? []), e]);
  }
  const places = [...new Set(table.cells.map(c => c.setting))];
  const arms = Object.keys(table.arms);
  return [...found]
    .map(([key, all]): Group => {
      const [setting, arm] = JSON.parse(key) as [string, string];
      const readings = table.columns.map(column => ({
        column,
        reading: { ...column, pick: (metrics: Entry["metrics"]) => bag(metrics)[column.key] },
      }));
      return {
        arm,
        label: table.arms[arm] ?? arm,
        setting,
        metrics: bag(all[0]!["metrics"]),
        config: bag(all[0]!["config"]),
        seeds: all.length,
        seconds: all.reduce((sum, e) => sum + (num(e["seconds"]) ?? 0), 0),
        measures: readings.flatMap(({ column, reading }) => measured(reading, all, column.published?.(arm, setting))),
      };
    })
    .filter(g => arms.includes(g.arm) && places.includes(g.setting))
    .sort((a, b) => places.indexOf(a.setting) - places.indexOf(b.setting) || arms.indexOf(a.arm) - arms.indexOf(b.arm));
}

/** A group's measure in a column, if it has it. */
export const measureOf = (g: Group, { key }: Pick<Column, "key">): Measure | undefined =>
  g.measures.find(m => m.key === key);

/** A number of a column, with its unit: "4.5 %". */
export const said = ({ unit, digits }: Column, v: number): string =>
  v.toFixed(digits) + (unit === "%" ? "\u00a0%" : "");

/** "0.1 to 0.9", the lowest and the highest seed, or the interval that the number of tests allows. */
export const spread = ({ digits }: Column, { low, high }: Measure): string =>
  low === undefined || high === undefined ? "" : `${low.toFixed(digits)} to ${high.toFixed(digits)}`;

/** How many seeds a group has of those that the table wants. */
export function seedsOf(table: Table, { arm, setting, seeds }: Group): string {
  const wanted = table.cells.filter(c => c.arm === arm && c.setting === setting).length;
  return seeds < wanted ? `${seeds} of ${wanted}` : String(seeds);
}

/** Where results come from several programs, which may not have trained alike, which ones and how many from each. */
export function mixed(results: readonly Entry[]): string {
  const programs = new Map<string, { commits: Set<string>; n: number }>();
  for (const e of results) {
    const name = String(e["program"] ?? "unknown");
    const { commits, n } = programs.get(name) ?? { commits: new Set(), n: 0 };
    programs.set(name, { commits: commits.add(String(e["commit"] || "unknown")), n: n + 1 });
  }
  if (programs.size < 2) return "";
  const parts = [...programs].map(([name, { commits, n }]) => `${n} of ${name} (commit ${[...commits].join(", ")})`);
  return `These are results of ${programs.size} programs: ${join(parts)}.`;
}

/** Cells by arm and setting, with their seeds: "cope 1 (seeds 1, 2, 3); rope 1 (seed 2)". */
export function briefly(cells: readonly Cell[]): string {
  const seeds = new Map<string, number[]>();
  for (const { arm, setting, seed } of cells) {
    const key = `${arm} ${setting}`;
    seeds.set(key, [...(seeds.get(key) ?? []), seed]);
  }
  const list = [...seeds].map(([key, all]) => `${key} (seed${all.length > 1 ? "s" : ""} ${all.join(", ")})`);
  return list.join("; ");
}

/** The table's cells, as a person reads them: the first row names the columns. */
export function rowsOf(table: Table, all: readonly Group[]): string[][] {
  const columns = table.columns.filter(c => all.some(g => measureOf(g, c)));
  const isPublished = (c: Column): boolean => all.some(g => measureOf(g, c)?.paper !== undefined);
  const head = columns.flatMap(c => [c.label, ...(isPublished(c) ? ["paper"] : [])]);
  const body = all.map(g => [
    g.label,
    g.setting,
    seedsOf(table, g),
    ...columns.flatMap(c => {
      const m = measureOf(g, c);
      const range = m && spread(c, m);
      const here = m ? said(c, m.here) + (range && ` (${range})`) : "";
      return [here, ...(isPublished(c) ? [m?.paper === undefined ? "" : said(c, m.paper)] : [])];
    }),
  ]);
  return [["arm", table.setting.name, "seeds", ...head], ...body];
}

/** The table as text, for a terminal. */
export function text(table: Table, all: readonly Group[]): string {
  if (all.length === 0) return `${table.name}: no results\n`;
  const rows = rowsOf(table, all);
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map(r => r[i]!.length)));
  const lines = rows.map(r =>
    r
      .map((v, i) => v.padEnd(widths[i]!))
      .join("  ")
      .trimEnd(),
  );
  return `${lines.join("\n").replaceAll("\u00a0", " ")}\n`;
}
