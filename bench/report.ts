// report.ts: the records of a run to one HTML page that needs nothing else: no script, no font, no network. A part
// whose records are missing is left out. Run as a program it reads JSON lines from a file or from stdin.
import { readFileSync, writeFileSync } from "node:fs";
import { args } from "./cli.ts";
import { span } from "./progress.ts";
import { escaped, fitted, heat, lines, multiples, style, type Point, type Reference, type Series } from "./chart.ts";
import {
  bag,
  brief,
  chosen,
  colour,
  finding,
  groups,
  inOrder,
  join,
  list,
  mean,
  name,
  num,
  of,
  percent,
  plain,
  probes,
  range,
  rank,
  studies,
  table,
  worth,
  type Entry,
  type Group,
  type Study,
} from "./finding.ts";
export { finding, table, type Entry } from "./finding.ts";

/** The page. */
export function report(records: readonly Entry[]): string {
  const run = records.find(r => r?.type === "run");
  const sections = inOrder.map(study => section(records, study, run)).filter(Boolean);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>farsight: counting, remembering, planning</title><style>${style}${page}</style></head><body>
<header><h1>Counting, remembering, planning</h1>
<p>Three small studies of how far a transformer sees, run on one machine with farsight: contextual positions, which count what matters (CoPE);
a recurrent memory, which carries facts across segments (RMT); and training without gradients from later tokens, which shows whether a model plans (myopic training).
Every number, figure and conclusion below is computed from the records of this run.</p></header>
${sections.join("\n") || "<p>There are no results in these records.</p>"}
${run ? footer(run) : ""}</body></html>
`;
}

function section(records: readonly Entry[], study: Study, run: Entry | undefined): string {
  const about = studies[study];
  const gs = groups(records, study);
  const found = finding(records, study);
  const drawn = [
    ...(study === "count" ? gates(records) : study === "remember" ? lengths(records, gs) : lags(records)),
    ...training(records, study),
  ];
  if (gs.length + drawn.length === 0) return "";
  const command = rerun(run, study);
  return `<section><h2>${about.title}</h2><p class="question">${about.question}</p>${found && `<p class="finding">${escaped(found)}</p>`}
${gs.length ? tabled(gs, study) : ""}${drawn.join("\n")}${command && `<p class="soft">Run it again: <code>${escaped(command)}</code></p>`}</section>`;
}

function tabled(gs: readonly Group[], study: Study): string {
  const about = studies[study];
  const several = new Set(gs.map(g => g.setting)).size > 1;
  const rows = gs.flatMap(g =>
    chosen(g).map(
      (
        m,
        i,
      ) => `<tr${i ? "" : ' class="first"'}><th scope="row">${i ? "" : escaped(name(g.arm))}</th>${several ? `<td>${escaped(g.setting)}</td>` : ""}
<td>${escaped(m.name)}</td><td class="n">${escaped(worth(m, m.here))}${range(m) && ` <small>(${escaped(range(m))})</small>`}</td><td class="n">${m.paper === undefined ? "" : escaped(worth(m, m.paper))}</td><td class="n">${i || !g.seconds ? "" : escaped(span(g.seconds))}</td></tr>`,
    ),
  );
  const configs = new Map<string, Set<string>>();
  const setup = (g: Group) => brief(several ? { ...g.config, [about.setting]: undefined } : g.config);
  for (const g of gs) if (setup(g)) configs.set(setup(g), (configs.get(setup(g)) ?? new Set()).add(name(g.arm)));
  const setups = [...configs]
    .map(([config, who]) => `${configs.size > 1 ? `${[...who].join(", ")}: ` : ""}${config}.`)
    .join(" ");
  const ranged = gs.find(g => range(g.measures[0]!));
  const bracket = ranged
    ? ranged.seeds > 1
      ? `In brackets: the lowest and the highest of ${ranged.seeds} seeds. `
      : "In brackets: the 95\u00a0% interval that the number of test questions allows. "
    : "";
  return `<div class="box"><table><thead><tr><th>arm</th>${several ? `<th>${escaped(about.setting)}</th>` : ""}<th>measure</th><th class="n">here</th><th class="n">paper</th><th class="n">trained in</th></tr></thead><tbody>${rows.join("")}</tbody></table></div>
<p class="soft">${bracket}Paper: <a href="${about.link}">${about.paper}</a>, whose models, data and training differ in size from these, so its numbers give a direction to compare with, not a target.${setups && ` Here: ${escaped(setups)}`}</p>`;
}

const figure = (charts: readonly string[], caption: string) =>
  `<figure>${multiples(charts)}<figcaption>${escaped(caption)}</figcaption></figure>`;

/** Curves of training: loss, and accuracy where it was recorded. */
function training(records: readonly Entry[], study: Study): string[] {
  const steps = of(records, "step", study).filter(r => typeof r["arm"] === "string" && num(r["step"]) !== undefined);
  // one curve each
  const key = (r: Entry) => JSON.stringify([r["arm"], r["seed"] ?? 0, r[studies[study].setting] ?? ""]);
  const keys = [...new Set(steps.map(key))];
  const series = (field: string): Series[] =>
    keys
      .map(k => {
        const mine = steps.filter(r => key(r) === k && field in r);
        const arm = (JSON.parse(k) as [string])[0];
        return {
          name: name(arm),
          colour: colour(arm),
          points: mine.map((r): Point => [r["step"] as number, num(r[field]) ?? NaN]),
        };
      })
      .filter(s => s.points.length)
      .sort((a, b) => a.colour! - b.colour!);
  const values = series("loss")
    .flatMap(s => s.points.map(p => p[1]))
    .filter(Number.isFinite);
  const log = values.length > 0 && Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > 20;
  const x = { label: "step" };
  const charts = [
    series("loss").length
      ? fitted(width =>
          lines({
            title: "Training loss",
            series: series("loss"),
            x,
            y: { label: log ? "loss (log scale)" : "loss", log },
            smooth: true,
            width,
          }),
        )
      : "",
    series("accuracy").length
      ? fitted(width =>
          lines({
            title: "Accuracy during training",
            series: series("accuracy"),
            x,
            y: { label: "share answered right", min: 0, max: 1, percent: true },
            smooth: true,
            width,
          }),
        )
      : "",
  ].filter(Boolean);
  const speeds = [...new Set(steps.map(r => r["arm"] as string))].flatMap(arm => {
    const rates = steps
      .filter(r => r["arm"] === arm)
      .map(r => num(r["rate"]))
      .filter(v => v !== undefined)
      .sort((a, b) => a - b);
    return rates.length ? [`${name(arm)} ${plain(rates[rates.length >> 1]! / 1000)}k`] : [];
  });
  const thick = keys.some((_, i) => (series("loss")[i]?.points.length ?? 0) > 100)
    ? " Thick lines are running means over a fiftieth of the steps; thin lines are the values themselves."
    : "";
  return charts.length
    ? [
        figure(
          charts,
          `How the arms learned.${thick}${speeds.length ? ` Median tokens a second: ${join(speeds)}.` : ""}`,
        ),
      ]
    : [];
}

/** CoPE's gates and positions of one sequence, and what they say of the last token. */
function gates(records: readonly Entry[]): string[] {
  return of(records, "figure", "count")
    .filter(r => r["kind"] === "cope" && list(r["tokens"]).length)
    .map(r => {
      const tokens = list(r["tokens"]).map(String);
      const skip = Math.max(0, tokens.length - 44);
      const kept = tokens.slice(skip);
      const grid = (field: string) =>
        list(r[field])
          .slice(skip)
          .map((row, i) =>
            list(row)
              .slice(skip, skip + i + 1)
              .map(v => num(v) ?? NaN),
          );
      const where = ["layer", "head"]
        .filter(k => num(r[k]) !== undefined)
        .map(k => `${k} ${r[k]}`)
        .join(", ");
      const map = (title: string, field: string, label: string, colour: number, max?: number) =>
        heat({
          title,
          x: { label: "token looked at" },
          y: { label: "token looking back" },
          rows: kept,
          columns: kept,
          values: grid(field),
          label,
          colour,
          mark: kept.length - 1,
          ...(max !== undefined && { max }),
        });
      const last = grid("gates").at(-1) ?? [];
      const kinds = [...new Set(kept)]
        .map(token => {
          const open = last.filter((v, j) => kept[j] === token && Number.isFinite(v));
          const others = last.filter((v, j) => kept[j] !== token && Number.isFinite(v));
          return { token, open: open.length ? mean(open) : -1, others: others.length ? mean(others) : NaN };
        })
        .sort((a, b) => b.open - a.open)[0];
      const said =
        kinds && kinds.open >= 0 && Number.isFinite(kinds.others)
          ? ` In that row the gates are widest open on “${kinds.token}”, ${plain(Number(kinds.open.toFixed(2)))} on average, against ${plain(Number(kinds.others.toFixed(2)))} on all other tokens.`
          : "";
      const ask =
        r["predicted"] === undefined
          ? ""
          : String(r["predicted"]) === String(r["answer"])
            ? ` It answers ${r["predicted"]}, which is right.`
            : ` It answers ${r["predicted"]}${r["answer"] === undefined ? "" : `; ${r["answer"]} would be right`}.`;
      return figure(
        [
          map("Gates: what is counted", "gates", "gate", 0, 1),
          map("Positions: gates added up", "positions", "position", 1),
        ],
        `${where && `${where[0]!.toUpperCase()}${where.slice(1)}. `}In the first map a full cell is a gate of 1: the token of that row counts the token of that column. In the second a cell is the sum of the row's gates from its own token back to that column, which is the position CoPE gives it. The outlined row is the last token, where the model answers.${ask}${said}${skip ? ` The last ${kept.length} of ${tokens.length} tokens are shown.` : ""}`,
      );
    });
}

/** Accuracy by number of segments, from figures or, without them, from results. */
function lengths(records: readonly Entry[], gs: readonly Group[]): string[] {
  const given = of(records, "figure", "remember")
    .filter(r => r["kind"] === "segments")
    .map(r => ({
      arm: String(r["arm"]),
      points: list(r["points"]).map((p): Point => [num(list(p)[0]) ?? NaN, num(list(p)[1]) ?? NaN]),
    }));
  const from = given.length
    ? given
    : gs.map(g => ({ arm: g.arm, points: g.measures.map((m): Point => [Number(m.key), m.here / 100]) }));
  const series = from
    .filter(s => s.points.length)
    .sort((a, b) => rank(a.arm) - rank(b.arm))
    .map(s => ({ name: name(s.arm), colour: colour(s.arm), points: s.points, dots: true }));
  if (series.length === 0) return [];
  const trained = gs.map(g => num(g.metrics["trained"])).find(v => v !== undefined);
  const chance = num(gs[0]?.metrics["chance"]) ?? 1 / 6;
  const references: Reference[] = [
    { y: chance, label: `chance, ${chance === 1 / 6 ? "1/6" : percent(100 * chance)}` },
    ...(trained === undefined ? [] : [{ x: trained, label: `trained up to here (${trained})` }]),
  ];
  const draw = (width: number) =>
    lines({
      title: "Accuracy by length of the input",
      series,
      x: { label: "segments read (log scale)", log: 2 },
      y: { label: "questions answered right", min: 0, max: 1, percent: true },
      references,
      width,
      height: 280,
    });
  return [
    figure(
      [fitted(draw, 720)],
      `Each curve is one trained model, tested on inputs of more and more segments.${trained === undefined ? "" : " Right of the upright line every input is longer than any seen in training."}`,
    ),
  ];
}

/** R² of linear probes by layer and lag, one chart an arm, all to the same scale. */
function lags(records: readonly Entry[]): string[] {
  const charts = probes(records).map(({ arm, layers, r2 }) =>
    fitted(width =>
      lines({
        title: `${name(arm)[0]!.toUpperCase()}${name(arm).slice(1)} training`,
        width,
        x: { label: "lag: how many tokens ago x was read" },
        y: { label: "R² of a linear probe for sin(b x)", min: 0, max: 1 },
        series: r2.map((row, l) => ({
          name: layers[l] ?? `layer ${l}`,
          colour: (l + 3) % 4,
          dots: true,
          points: row.map((v, lag): Point => [lag, num(v) ?? NaN]),
        })),
      }),
    ),
  );
  return charts.length
    ? [
        figure(
          charts,
          "What a linear probe reads from each layer, both charts to the same scale. sin(b x) of the current input (lag 0) is of no use to the current output: a model that holds it has computed it for later tokens.",
        ),
      ]
    : [];
}

const quoted = (word: string) => (/^[\w@%+=:,./-]+$/.test(word) ? word : JSON.stringify(word));

/** The command that repeats one study: the run's own options with that study in place of the list of studies. */
function rerun(run: Entry | undefined, study: Study): string {
  const given = run?.["arguments"];
  const whole = typeof run?.["command"] === "string" ? run["command"] : "";
  if (Array.isArray(given) && /^npm start\b/.test(whole))
    return [
      "npm start --",
      study,
      ...given
        .map(String)
        .filter(w => !(w in studies))
        .map(quoted),
    ].join(" ");
  return whole;
}

function footer(run: Entry): string {
  const versions = bag(run["versions"]);
  const machine = bag(run["machine"]);
  const facts: [string, unknown][] = [
    ["command", run["command"]],
    ["seed", run["seed"]],
    ["commit", run["commit"]],
    ["date", run["date"]],
    [
      "versions",
      Object.entries(versions)
        .filter(([, v]) => v)
        .map(([k, v]) => `${k} ${v}`)
        .join(", "),
    ],
    ["machine", [machine["cpu"], num(machine["cores"]) && `${machine["cores"]} cores`].filter(Boolean).join(", ")],
  ];
  const said = facts.filter(([, v]) => ["string", "number"].includes(typeof v) && v !== "");
  return `<footer><dl>${said.map(([k, v]) => `<div><dt>${k}</dt><dd>${escaped(v)}</dd></div>`).join("")}</dl></footer>`;
}

/** Lines of JSON to records. A line that is no JSON, such as the last of an interrupted run, is left out. */
export function parsed(text: string): Entry[] {
  return text.split("\n").flatMap(line => {
    try {
      const value: unknown = JSON.parse(line);
      return typeof bag(value)["type"] === "string" ? [value as Entry] : [];
    } catch {
      return [];
    }
  });
}

const page = `
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 3rem 1.25rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 1.0625rem/1.6 Charter, "Bitstream Charter", "Sitka Text", Cambria, "Liberation Serif", Georgia, serif; overflow-wrap: break-word; }
h1, h2, table, figcaption, p.soft, footer { font-family: system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif; }
h1 { font-size: clamp(1.75rem, 5vw, 2.5rem); line-height: 1.15; letter-spacing: -.02em; margin: 0 0 1rem; }
h2 { font-size: 1.5rem; letter-spacing: -.01em; margin: 0 0 .5rem; }
header, section { margin-bottom: 2.5rem; } section { border-top: 1px solid var(--rule); padding-top: 2rem; }
p, figcaption { max-width: 42rem; margin: 0 0 1rem; }
.question { font-style: italic; color: var(--soft); font-size: 1.125rem; } .finding { font-size: 1.1875rem; line-height: 1.5; }
p.soft, figcaption { color: var(--soft); font-size: .875rem; line-height: 1.5; } a { color: inherit; }
code { font: .875em ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; color: var(--ink); background: var(--cell); padding: .1em .35em; border-radius: 3px; box-decoration-break: clone; -webkit-box-decoration-break: clone; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; margin: 0 0 .75rem; white-space: nowrap; }
th { text-align: left; font-weight: 600; } thead th { color: var(--soft); font-weight: 400; border-bottom: 1px solid var(--ink); }
th, td { padding: .3rem 1.5rem .3rem 0; vertical-align: top; } .n { text-align: right; } small { color: var(--soft); font-size: 1em; } tbody .first > * { border-top: 1px solid var(--rule); }
figure { margin: 1.75rem 0 2.25rem; } .multiples { display: flex; flex-wrap: wrap; gap: 1.75rem 2.5rem; margin-bottom: .75rem; }
.box { max-width: 100%; overflow-x: auto; overflow-y: hidden; } .phone { display: none; }
@media (max-width: 800px) { .page { display: none; } .phone { display: block; } body { padding-top: 1.75rem; } table { white-space: normal; } .n { white-space: nowrap; } td:not(.n) { min-width: 6.5rem; } th, td { padding-right: .9rem; } small { display: block; } }
footer { border-top: 1px solid var(--rule); padding-top: 1.25rem; font-size: .8125rem; color: var(--soft); }
dl { margin: 0; display: grid; gap: .25rem; } dl div { display: grid; grid-template-columns: 5.5rem minmax(0, 1fr); } dd { margin: 0; color: var(--ink); }
`;

// Bundled into another program this file is not the one being run, and import.meta.url could not tell: the name can.
if (/(^|[\\/])report\.(m?js|ts)$/.test(process.argv[1] ?? "")) {
  const {
    values,
    positionals: [from],
  } = args({
    name: "node report.js",
    about: "Writes the page of a run from its records, JSON lines in a file or on stdin.",
    examples: [
      ["node report.js run.jsonl", "writes report.html"],
      ["npm start -- --json | node report.js --out today.html", "straight from a run"],
    ],
    positionals: { name: "file", help: "the records; without it they are read from stdin", most: 1 },
    options: {
      out: { type: "string", default: "report.html", help: "where the page goes" },
      table: { type: "boolean", help: "print the table instead" },
    },
  });
  const records = parsed(readFileSync(from ?? 0, "utf8"));
  if (values.table) process.stdout.write(table(records));
  else writeFileSync(values.out, report(records));
}
