// report.ts: the records of a run to one HTML page that needs nothing else: no script, no font, no network. A part
// whose records are missing is left out.
import { lines, type Lines, type Point, type Series } from "./charts/lines.ts";
import { escaped, fitted, multiples, style } from "./charts/svg.ts";
import { finding, fraction, groups, range, rows } from "./finding.ts";
import { page } from "./page-style.ts";
import { span } from "./progress.ts";
import { bag, num, of, type Entry } from "./records.ts";
import { label, rank, type Figure, type Group, type Study } from "./study.ts";
import { brief, capital, join, plain, quoted, spelled, worth } from "./words.ts";

/** The page. */
export function report(records: readonly Entry[], studies: readonly Study[]): string {
  const run = records.find(r => r?.type === "run");
  const sections = studies.map(study => section(records, study, studies, run)).filter(Boolean);
  const titles = studies.map(s => s.title.toLowerCase()).join(", ");
  const mechanisms = studies.map(s => s.mechanism);
  const each = mechanisms.length > 1 ? [...mechanisms.slice(0, -1), `and ${mechanisms.at(-1)}`] : mechanisms;
  const part = fraction(records, studies);
  const warning = part && `\n<p class="finding">${escaped(part)}</p>`;
  const number = `${capital(spelled(studies.length))} small ${studies.length === 1 ? "study" : "studies"}`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>farsight: ${escaped(titles)}</title><style>${style}${page}</style></head><body>
<header><h1>${escaped(capital(titles))}</h1>
<p>${number} of how far a transformer sees, run on one machine with farsight: ${escaped(each.join("; "))}.
Every number, figure and conclusion below is computed from the records of this run.</p>${warning}</header>
${sections.join("\n") || "<p>There are no results in these records.</p>"}
${run ? footer(run) : ""}</body></html>
`;
}

/** A study's part of the page; nothing where it has no records. */
function section(records: readonly Entry[], study: Study, studies: readonly Study[], run: Entry | undefined): string {
  const gs = groups(records, study);
  const figures = [...study.figures(records, gs), ...training(records, study)];
  if (gs.length + figures.length === 0) return "";
  const found = finding(records, study);
  const command = again(run, study, studies);
  return [
    `<section><h2>${escaped(study.title)}</h2><p class="question">${escaped(study.question)}</p>`,
    found && `<p class="finding">${escaped(found)}</p>`,
    gs.length ? tabled(gs, study) : "",
    figures.map(drawn).join("\n"),
    command && `<p class="soft">Run it again: <code>${escaped(command)}</code></p>`,
    "</section>",
  ].join("\n");
}

const drawn = ({ charts, caption }: Figure): string =>
  `<figure>${multiples(charts)}<figcaption>${escaped(caption)}</figcaption></figure>`;

/** A group's rows of the table; `several`: whether the setting has a column. */
function tableRows(study: Study, g: Group, several: boolean): string {
  const list = rows(study, g).map((m, i) => {
    const first = i === 0;
    const here = escaped(worth(m, m.here)) + (range(m) && ` <small>(${escaped(range(m))})</small>`);
    const cells = [
      `<th scope="row">${first ? escaped(g.label) : ""}</th>`,
      several ? `<td>${escaped(g.setting)}</td>` : "",
      `<td>${escaped(m.label)}</td>`,
      `<td class="n">${here}</td>`,
      `<td class="n">${m.paper === undefined ? "" : escaped(worth(m, m.paper))}</td>`,
      `<td class="n">${first && g.seconds ? escaped(span(g.seconds)) : ""}</td>`,
    ];
    return `<tr${first ? ' class="first"' : ""}>${cells.join("")}</tr>`;
  });
  return list.join("\n");
}

/** The configs under the table, each with the arms that have it. */
function setups(gs: readonly Group[], study: Study, several: boolean): string {
  const configs = new Map<string, Set<string>>();
  for (const g of gs) {
    const config = brief(several ? { ...g.config, [study.setting.name]: undefined } : g.config);
    if (config) configs.set(config, (configs.get(config) ?? new Set()).add(g.label));
  }
  const parts = [...configs].map(([config, who]) =>
    configs.size > 1 ? `${[...who].join(", ")}: ${config}.` : `${config}.`,
  );
  return parts.length ? ` Here: ${parts.join(" ")}` : "";
}

/** What the brackets beside the numbers are. */
function brackets(gs: readonly Group[]): string {
  const ranged = gs.find(g => range(g.measures[0]!));
  if (!ranged) return "";
  return ranged.seeds > 1
    ? `In brackets: the lowest and the highest of ${ranged.seeds} seeds. `
    : "In brackets: the 95\u00a0% interval that the number of test questions allows. ";
}

function tabled(gs: readonly Group[], study: Study): string {
  const several = new Set(gs.map(g => g.setting)).size > 1;
  const { title, link } = study.paper;
  const head = [
    "<th>arm</th>",
    several ? `<th>${escaped(study.setting.name)}</th>` : "",
    "<th>measure</th>",
    ...["here", "paper", "trained in"].map(words => `<th class="n">${words}</th>`),
  ].join("");
  const body = gs.map(g => tableRows(study, g, several)).join("\n");
  return `<div class="box"><table><thead><tr>${head}</tr></thead><tbody>
${body}
</tbody></table></div>
<p class="soft">${brackets(gs)}Paper: <a href="${escaped(link)}">${escaped(title)}</a>,
whose models, data and training differ in size from these, so its numbers give a direction to compare with,
not a target.
${escaped(setups(gs, study, several))}</p>`;
}

/** A curve an arm, seed and setting, of one field of the records of steps. */
function curves(steps: readonly Entry[], study: Study, field: string): Series[] {
  const key = (r: Entry): string => JSON.stringify([r["arm"], r["seed"] ?? 0, r[study.setting.name] ?? ""]);
  const keys = [...new Set(steps.map(key))];
  return keys
    .map((k): Series => {
      const mine = steps.filter(r => key(r) === k && field in r);
      const [arm] = JSON.parse(k) as [string];
      const points = mine.map((r): Point => [r["step"] as number, num(r[field]) ?? NaN]);
      return { name: label(study, arm), colour: rank(study, arm), points };
    })
    .filter(s => s.points.length)
    .sort((a, b) => a.colour! - b.colour!);
}

/** Tokens a second of every arm, the median of what was recorded. */
function speeds(steps: readonly Entry[], study: Study): string {
  const said = [...new Set(steps.map(r => r["arm"] as string))].flatMap(arm => {
    const rates = steps
      .filter(r => r["arm"] === arm)
      .map(r => num(r["rate"]))
      .filter(v => v !== undefined)
      .sort((a, b) => a - b);
    return rates.length ? [`${label(study, arm)} ${plain(rates[rates.length >> 1]! / 1000)}k`] : [];
  });
  return said.length ? ` Median tokens a second: ${join(said)}.` : "";
}

/** Curves of training: loss, and accuracy where it was recorded. */
function training(records: readonly Entry[], study: Study): Figure[] {
  const steps = of(records, "step", study.name).filter(
    r => typeof r["arm"] === "string" && num(r["step"]) !== undefined,
  );
  const loss = curves(steps, study, "loss");
  const accuracy = curves(steps, study, "accuracy");
  const chart = (about: Pick<Lines, "title" | "series" | "y">): string =>
    fitted(width => lines({ ...about, x: { label: "step" }, smooth: true, width }));
  const values = loss.flatMap(s => s.points.map(p => p[1])).filter(Number.isFinite);
  const log = values.length > 0 && Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > 20;
  const charts: string[] = [];
  if (loss.length)
    charts.push(chart({ title: "Training loss", series: loss, y: { label: log ? "loss (log scale)" : "loss", log } }));
  if (accuracy.length) {
    const y = { label: "share answered right", min: 0, max: 1, percent: true };
    charts.push(chart({ title: "Accuracy during training", series: accuracy, y }));
  }
  if (charts.length === 0) return [];
  const thick = loss.some(s => s.points.length > 100)
    ? " Thick lines are running means over a fiftieth of the steps; thin lines are the values themselves."
    : "";
  return [{ charts, caption: `How the arms learned.${thick}${speeds(steps, study)}` }];
}

/** The command that repeats one study: the run's own options with that study in place of the list of studies. */
function again(run: Entry | undefined, study: Study, studies: readonly Study[]): string {
  const given = run?.["arguments"];
  const command = typeof run?.["command"] === "string" ? run["command"] : "";
  if (!Array.isArray(given) || !/^npm start\b/.test(command)) return command;
  const options = given.map(String).filter(word => !studies.some(s => s.name === word));
  return ["npm start --", study.name, ...options.map(quoted)].join(" ");
}

function footer(run: Entry): string {
  const versions = Object.entries(bag(run["versions"])).filter(([, v]) => v);
  const machine = bag(run["machine"]);
  const facts: [string, unknown][] = [
    ["command", run["command"]],
    ["seed", run["seed"]],
    ["commit", run["commit"]],
    ["begun at commit", bag(run["begun"])["commit"]],
    ["date", run["date"]],
    ["versions", versions.map(([name, v]) => `${name} ${v}`).join(", ")],
    ["machine", [machine["cpu"], num(machine["cores"]) && `${machine["cores"]} cores`].filter(Boolean).join(", ")],
  ];
  const said = facts.filter(([, v]) => ["string", "number"].includes(typeof v) && v !== "");
  const list = said.map(([name, v]) => `<div><dt>${name}</dt><dd>${escaped(v)}</dd></div>`);
  return `<footer><dl>${list.join("")}</dl></footer>`;
}
