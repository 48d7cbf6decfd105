// finding.ts: what the records of a run say: results grouped over seeds, sentences, a table for the terminal. Every
// number and every claim is computed from the records. The page around them is report.ts.
import { bag, num, of, type Entry } from "./records.ts";
import { label, rank, type Group, type Measure, type Reading, type Study } from "./study.ts";
import { brief, capital, join, mean, worth } from "./words.ts";

/** 95 % interval of a share of n trials (Agresti and Coull), in per cent. */
function interval(share: number, n: number): [number, number] {
  const p = (share * n + 2) / (n + 4);
  const half = 2 * Math.sqrt((p * (1 - p)) / (n + 4));
  return [Math.max(0, 100 * (p - half)), Math.min(100, 100 * (p + half))];
}

/** One reading over the seeds of an arm, beside the paper's number; nothing where no result has it. */
export function measured(
  { key, label, unit, factor = 1, pick }: Reading,
  results: readonly Entry[],
  paper: number | undefined,
): Measure[] {
  const values = results
    .map(r => num(pick(bag(r["metrics"]))))
    .filter(v => v !== undefined)
    .map(v => v * factor);
  if (values.length === 0) return [];
  const here = mean(values);
  const tests = num(bag(results[0]!["metrics"])["tests"]);
  let span: [number, number] | undefined;
  if (values.length > 1) span = [Math.min(...values), Math.max(...values)];
  else if (unit && tests) span = interval(here / 100, tests);
  return [
    {
      key,
      label,
      unit,
      here,
      ...(span && { low: span[0], high: span[1] }),
      ...(paper !== undefined && { paper: paper * factor }),
    },
  ];
}

/** Results of one arm and one setting become one group, whatever the seed. */
export function groups(records: readonly Entry[], study: Study): Group[] {
  const found = new Map<string, Entry[]>();
  for (const r of of(records, "result", study.name)) {
    if (typeof r["arm"] !== "string") continue;
    const key = JSON.stringify([bag(r["config"])[study.setting.name] ?? "", r["arm"]]);
    found.set(key, [...(found.get(key) ?? []), r]);
  }
  return [...found]
    .map(([key, results]): Group => {
      const [setting, arm] = JSON.parse(key) as [unknown, string];
      return {
        arm,
        label: label(study, arm),
        setting: String(setting),
        metrics: bag(results[0]!["metrics"]),
        config: bag(results[0]!["config"]),
        seeds: results.length,
        seconds: results.reduce((sum, r) => sum + (num(r["seconds"]) ?? 0), 0),
        measures: study
          .measures(results.map(r => bag(r["metrics"])))
          .flatMap(reading => measured(reading, results, num(reading.pick(bag(results[0]!["paper"]))))),
      };
    })
    .filter(g => g.measures.length)
    .sort(
      (a, b) => a.setting.localeCompare(b.setting, "en", { numeric: true }) || rank(study, a.arm) - rank(study, b.arm),
    );
}

/** The measures of a group that are worth a row. */
export const rows = (study: Study, g: Group): readonly Measure[] => study.rows?.(g) ?? g.measures;

/** "0.1 to 0.9", or nothing where there is one seed and no test size. */
export const range = (m: Measure): string =>
  m.low === undefined || m.high === undefined
    ? ""
    : [m.low, m.high].map(v => worth(m, v).replace("\u00a0%", "")).join(" to ");

/** Whether the first is below the second by more than their intervals allow for chance. */
export function below(low: Measure, high: Measure): boolean {
  if (low.here >= high.here) return false;
  return low.high === undefined || high.low === undefined || low.high < high.low;
}

/** A warning where groups are compared of which none has more than one seed or an interval. */
export const lone = (gs: readonly Group[]): string =>
  gs.length > 1 && gs.every(g => g.seeds === 1 && g.measures[0]!.low === undefined)
    ? " One seed: a small difference may be luck."
    : "";

/** What the numbers say, in sentences, setting by setting. */
export function finding(records: readonly Entry[], study: Study): string {
  const all = groups(records, study);
  const settings = [...new Set(all.map(g => g.setting))];
  const said = settings.map(setting => {
    const words = study.conclusion(all.filter(g => g.setting === setting));
    return words && settings.length > 1 ? `${capital(study.setting.said(setting))}: ${words}` : words;
  });
  return [...said, study.remark?.(records)].filter(Boolean).join(" ");
}

/** Says, where arms were trained for fewer steps than a study has, for how many; else nothing. */
export function fraction(records: readonly Entry[], studies: readonly Study[]): string {
  const parts = studies.flatMap(({ name, steps }) => {
    const trained = of(records, "result", name).map(r => num(bag(r["config"])["steps"]) ?? steps.full);
    const least = Math.min(...trained);
    return least < steps.full ? [`${name} ${least} of ${steps.full} steps`] : [];
  });
  if (parts.length === 0) return "";
  return `A fraction of the training: ${join(parts)}. It shows that everything works, not what the papers found.`;
}

const HEAD = ["study", "arm", "measure", "here", "paper", "config"];

/** The table's rows: the config beside an arm's first measure alone. */
function cells(study: Study, g: Group): string[][] {
  const config = brief(g.config);
  const short = config.length > 60 ? `${config.slice(0, 59)}…` : config;
  return rows(study, g).map((m, i) => {
    const seeds = g.seeds > 1 ? `, ${g.seeds} seeds` : "";
    const here = worth(m, m.here) + (range(m) && ` (${range(m)}${seeds})`);
    return [study.name, g.label, m.label, here, m.paper === undefined ? "" : worth(m, m.paper), i ? "" : short];
  });
}

/** The table as text, for a terminal, below what is to be known of it. `styled` adds bold and dim. */
export function table(records: readonly Entry[], studies: readonly Study[], { styled = false } = {}): string {
  const body = studies.flatMap(study => groups(records, study).flatMap(g => cells(study, g)));
  if (body.length === 0) return "no results\n";
  const widths = HEAD.map((h, c) => Math.max(h.length, ...body.map(r => r[c]!.length)));
  const line = (r: readonly string[]): string =>
    r
      .map((v, c) => (c === HEAD.length - 1 ? v : v.padEnd(widths[c]!)))
      .join("  ")
      .trimEnd();
  const dim = (r: readonly string[]): string => {
    const config = r.at(-1)!;
    return config ? line(r).replace(config, () => `\x1b[2m${config}\x1b[22m`) : line(r);
  };
  const out = styled ? [`\x1b[1m${line(HEAD)}\x1b[22m`, ...body.map(dim)] : [HEAD, ...body].map(line);
  const part = fraction(records, studies);
  if (part) out.unshift(part, "");
  return `${out.join("\n").replaceAll("\u00a0", " ")}\n`; // a terminal breaks lines where it likes
}
