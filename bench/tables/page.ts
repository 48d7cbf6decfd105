// page.ts: a table as one HTML page that needs nothing else: question, the paper's numbers beside ours, curves,
// figures, what differs from the paper, and every cell.
import { lines, type Point, type Series } from "../charts/lines.ts";
import { escaped, fitted, multiples, style } from "../charts/svg.ts";
import { page as pageStyle } from "../page-style.ts";
import { span } from "../progress.ts";
import { bag, list, num, type Entry } from "../records.ts";
import type { Figure, Group } from "../study.ts";
import { brief, capital, join, many } from "../words.ts";
import { briefly, groups, measureOf, mixed, said, seedsOf, spread } from "./groups.ts";
import { trainingCommand, type Asked } from "./options.ts";
import type { Sorted } from "./shown.ts";
import { called, cellOf, type Column, type Table } from "./table.ts";

const marked = (tag: string, text: unknown, more = ""): string => `<${tag}${more}>${escaped(text)}</${tag}>`;
const right = ' class="n"';

/** The page. `torn`: how many lines of the file of results are none. */
export function page(o: Asked, found: Sorted, torn: number): string {
  const { paper, table } = o;
  const all = groups(table, found.here);
  const title = `${table.title}: ${table.where} of ${paper.title}`;
  const tried = o.quick || o.steps !== undefined;
  const figures = [...table.figures(found.here, all), ...curves(table, found.here)];
  const parts = [
    `<header><h1>${escaped(table.title)}</h1>`,
    `<p>${escaped(table.where)} of <a href="${escaped(paper.link)}">${escaped(paper.title)}</a>,`,
    "trained with farsight. Every number, figure and sentence about results is computed from those on record.</p>",
    tried ? marked("p", "For trying out: not the steps of the table, and not its results.", ' class="finding"') : "",
    `</header><section>${marked("p", table.question, ' class="question"')}`,
    all.length ? marked("p", table.conclusion(all), ' class="finding"') : "<p>No cell is on record.</p>",
    all.length ? numbers(table, all) : "",
    standing(table, found, torn),
    figures.map(drawn).join("\n"),
    `<p class="soft">Train what is missing, or show this again: <code>${escaped(trainingCommand(o))}</code></p>`,
    "</section>",
    differences(table),
    found.here.length ? cells(table, found.here) : "",
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title><style>${style}${pageStyle}</style></head><body>
${parts.filter(Boolean).join("\n")}
</body></html>
`;
}

const drawn = ({ charts, caption }: Figure): string =>
  `<figure>${multiples(charts)}<figcaption>${escaped(caption)}</figcaption></figure>`;

/** A table in a box that scrolls where it is wider than the page. */
const tabled = (head: readonly string[], body: readonly string[]): string =>
  `<div class="box"><table><thead><tr>${head.join("")}</tr></thead><tbody>\n${body.join("\n")}\n</tbody></table></div>`;

/** The paper's numbers beside ours. */
function numbers(table: Table, all: readonly Group[]): string {
  const columns = table.columns.filter(c => all.some(g => measureOf(g, c)));
  const isPublished = (c: Column): boolean => all.some(g => measureOf(g, c)?.paper !== undefined);
  const head = [
    ...[table.setting.name, "arm"].map(word => marked("th", word)),
    marked("th", "seeds", right),
    ...columns.flatMap(c => [marked("th", c.label, right), isPublished(c) ? marked("th", "paper", right) : ""]),
  ];
  const body = all.map((g, i) => {
    const isFirst = g.setting !== all[i - 1]?.setting;
    const values = columns.flatMap(c => {
      const m = measureOf(g, c);
      const range = m ? spread(c, m) : "";
      const here = m ? escaped(said(c, m.here)) + (range && ` <small>(${escaped(range)})</small>`) : "";
      const paper = m?.paper === undefined ? "" : said(c, m.paper);
      return [`<td class="n">${here}</td>`, isPublished(c) ? marked("td", paper, right) : ""];
    });
    return (
      `<tr${isFirst ? ' class="first"' : ""}>` +
      `${marked("th", isFirst ? g.setting : "", ' scope="row"')}${marked("td", g.label)}` +
      `${marked("td", seedsOf(table, g), right)}${values.join("")}</tr>`
    );
  });
  const several = all.some(g => g.seeds > 1);
  const lone = all.some(g => g.seeds === 1 && g.measures.some(m => m.low !== undefined));
  const brackets = [
    several ? "the mean of the seeds, in brackets the lowest and the highest" : "",
    lone ? "of one seed, in brackets the 95\u00a0% interval that the number of test questions allows" : "",
  ].filter(Boolean);
  const note = brackets.length ? marked("p", `${capital(join(brackets))}.`, ' class="soft"') : "";
  return `${tabled(head, body)}\n${note}`;
}

/** What of the table is done, and what is not used. */
function standing(table: Table, { here, stale, missing }: Sorted, torn: number): string {
  const parts = [
    missing.length
      ? `${here.length} of ${many(table.cells.length, "cell")} are on record; missing: ${briefly(missing)}.`
      : "",
    stale.length ? `Not used, for they are of another config: ${stale.map(e => called(cellOf(e))).join("; ")}.` : "",
    mixed(here),
    torn ? `${many(torn, "line")} of the results could not be read.` : "",
  ].filter(Boolean);
  return parts.length ? marked("p", parts.join(" "), ' class="soft"') : "";
}

/** A curve a cell: points [step, value] of the nth field behind the step. */
function series(table: Table, results: readonly Entry[], field: number): Series[] {
  const arms = Object.keys(table.arms);
  return results
    .map((e): Series => {
      const { arm } = cellOf(e);
      const points = list(e["curve"]).flatMap((p): Point[] => {
        const [step, value] = [num(list(p)[0]), num(list(p)[field])];
        return step === undefined || value === undefined ? [] : [[step, value]];
      });
      return { name: table.arms[arm] ?? arm, colour: arms.indexOf(arm), points };
    })
    .filter(s => s.points.length > 0)
    .sort((a, b) => a.colour! - b.colour!);
}

/** How the cells of each setting learned: loss, and accuracy where it was recorded. */
function curves(table: Table, results: readonly Entry[]): Figure[] {
  const settings = [...new Set(table.cells.map(c => c.setting))];
  return settings.flatMap((setting): Figure[] => {
    const mine = results.filter(e => cellOf(e).setting === setting);
    const loss = series(table, mine, 1);
    if (loss.length === 0) return [];
    const values = loss.flatMap(s => s.points.map(p => p[1])).filter(v => v > 0);
    const log = values.length > 0 && Math.max(...values) / Math.min(...values) > 20;
    const accuracy = series(table, mine, 2);
    const x = { label: "step" };
    const y = { label: log ? "loss (log scale)" : "loss", log };
    const share = {
      label: ["share answered right", table.accuracy].filter(Boolean).join(" "),
      min: 0,
      max: 1,
      percent: true,
    };
    const charts = [
      fitted(width => lines({ title: "Training loss", series: loss, x, y, smooth: true, width })),
      ...(accuracy.length
        ? [fitted(width => lines({ title: "Accuracy during training", series: accuracy, x, y: share, width }))]
        : []),
    ];
    return [{ charts, caption: `How it was learned: ${table.setting.said(setting)}. A curve a cell.` }];
  });
}

function differences({ differences: all }: Table): string {
  if (all.length === 0) return "";
  const head = ["", "paper", "here"].map(word => marked("th", word));
  const body = all.map(
    d => `<tr>${marked("th", d.what, ' scope="row"')}${marked("td", d.paper)}${marked("td", d.here)}</tr>`,
  );
  return `<section class="prose"><h2>What differs from the paper</h2>\n${tabled(head, body)}</section>`;
}

/** Every cell: how it was trained, by which commit, on what. Configs are written once, with a letter. */
function cells(table: Table, results: readonly Entry[]): string {
  const configs = [...new Set(results.map(e => brief(bag(e["config"]), "; ")))];
  const columns = table.columns.filter(c => results.some(e => num(bag(e["metrics"])[c.key]) !== undefined));
  const head = [
    ...[table.setting.name, "arm"].map(word => marked("th", word)),
    ...["seed", ...columns.map(c => c.label), "time"].map(word => marked("th", word, right)),
    ...["config", "commit", "Node", "machine", "day", "identity"].map(word => marked("th", word)),
  ];
  const body = results.map(e => {
    const { arm, setting, seed } = cellOf(e);
    const [metrics, machine, versions] = [bag(e["metrics"]), bag(e["machine"]), bag(e["versions"])];
    const values = columns.map(c => num(metrics[c.key])).map((v, i) => (v === undefined ? "" : said(columns[i]!, v)));
    const commit = [e["commit"] || "unknown", e["begun"] === undefined ? "" : `begun by ${String(e["begun"])}`];
    const facts = [
      configs.indexOf(brief(bag(e["config"]), "; ")) + 1,
      commit.filter(Boolean).join(", "),
      versions["node"] ?? "",
      [machine["cpu"], num(machine["cores"]) === undefined ? "" : `${String(machine["cores"])} cores`]
        .filter(Boolean)
        .join(", "),
      String(e["date"] ?? "").slice(0, 10),
      e["identity"] ?? "",
    ];
    return [
      "<tr>",
      marked("td", setting),
      marked("td", table.arms[arm] ?? arm),
      ...[seed, ...values, span(num(e["seconds"]) ?? 0)].map(v => marked("td", v, right)),
      ...facts.map(v => marked("td", v)),
      "</tr>",
    ].join("");
  });
  const legend = configs.map((config, i) => `<li value="${i + 1}">${escaped(config)}</li>`).join("\n");
  const list = `<p class="soft">Configs:</p>\n<ol>${legend}</ol>`;
  return `<section><h2>Every cell</h2>\n${tabled(head, body)}\n${list}</section>`;
}
