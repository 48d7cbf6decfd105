// The recorded runs of npm start (bench/results/start.jsonl: seeds 1, 2, 3) and of npm run bench: complete, and what
// the README says of them. The former were made by `npm start -- --seed N --json`, of which the lines of type run and
// result are kept; the latter by --json.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { studies } from "../bench/studies/index.ts";
import type { Highlight, Study } from "../bench/study.ts";
import { groups, measureOf, rowsOf, said, seedsOf } from "../bench/tables/groups.ts";
import { ledger } from "../bench/tables/ledger.ts";
import { papers } from "../bench/tables/papers.ts";
import { sorted } from "../bench/tables/shown.ts";
import type { Entry } from "../bench/records.ts";
import type { Column, Paper, Table } from "../bench/tables/table.ts";
import { suite } from "./check.ts";
import { read, recorded, records, seeds } from "./recorded.ts";

/** Holds a marked part of the page that has it to `want`, or with WRITE=1 writes it. */
function shown(name: string, want: string): void {
  const page = name === "results" || name === "found" ? "README.md" : "bench/README.md";
  const readme = readFileSync(page, "utf8");
  const parts = new RegExp(`(<!-- ${name} -->\\n)([^]*?)(<!-- /${name} -->)`);
  if (process.env.WRITE)
    return writeFileSync(
      page,
      readme.replace(parts, (_, head: string, __, tail: string) => `${head}${want}\n${tail}`),
    );
  assert.is(
    parts.exec(readme)?.[2]?.trim(),
    want,
    `${page}, between <!-- ${name} --> and <!-- /${name} --> (WRITE=1 npm test -- results writes it):\n${want}`,
  );
}

/** What the README shows of the studies: a row a highlight, a column a seed. */
function table(): string {
  const row = (study: Study, { label, arm, value, paper }: Highlight): string => {
    const values = seeds.map(s => value(recorded(study.name, arm, s)));
    return `| ${study.name}: ${label} | ${values.join(" | ")} | ${paper} |`;
  };
  return [
    `| | ${seeds.map(s => `seed ${s}`).join(" | ")} | paper, larger |`,
    `|---|${"---|".repeat(seeds.length)}---|`,
    ...studies.flatMap(study => study.highlights.map(h => row(study, h))),
  ].join("\n");
}

suite("recorded results", {
  "say where they come from: a commit without changes, a machine, a version"() {
    const runs = records.filter(l => l.type === "run");
    assert.equal(
      runs.map(r => r.seed),
      seeds,
    );
    for (const r of runs) {
      assert.match(r.commit, /^[0-9a-f]{12}$/);
      assert.ok(r.machine.cpu && r.versions.node);
    }
    assert.is(new Set(runs.map(r => r.commit)).size, 1, "the seeds are of different commits");
  },
  "are what the README shows"() {
    shown("results", table());
  },
});

/** Text in lines of at most 120 characters. */
function wrapped(text: string): string {
  const lines = [""];
  for (const word of text.split(" "))
    if (lines.at(-1)!.length + word.length < 120) lines.push(`${lines.pop()!} ${word}`.trim());
    else lines.push(word);
  return lines.join("\n");
}

/** The results on record of a table, of the config that it has now. */
function cellsOf(paper: Paper, about: Table): readonly Entry[] {
  const file = join("bench/results", `${paper.name}-${about.name}.jsonl`);
  return sorted({ paper, table: about, quick: false, steps: undefined, fast: false }, ledger(file).results).here;
}

/** A row of the first page: a table's first setting, in its last column with numbers of the paper, or its first. */
function rowOf(paper: Paper, about: Table): string[] {
  const all = groups(about, cellsOf(paper, about));
  const first = all.filter(g => g.setting === all[0]!.setting);
  const isPublished = (c: Column): boolean =>
    about.cells.some(({ arm, setting }) => c.published?.(arm, setting) != null);
  const column = about.columns.filter(isPublished).at(-1) ?? about.columns[0]!;
  const values = first.map(g => {
    const { here, paper } = measureOf(g, column)!;
    const beside = [paper !== undefined && `paper ${said(column, paper)}`, `seeds ${seedsOf(about, g)}`];
    return `${g.label} ${said(column, here)} (${beside.filter(Boolean).join("; ")})`;
  });
  const title = `${about.title}, ${about.setting.said(first[0]!.setting)}: ${column.label}`;
  return first.length ? [`| ${title} | ${values.join(", ")} |`.replaceAll("\u00a0", " ")] : [];
}

/** What the results on record say of a table: its rows, and its conclusion. */
function tableOf(paper: Paper, about: Table): string {
  const here = cellsOf(paper, about);
  const head = `#### ${about.title}\n\n${about.where}.\n${about.question}`;
  if (here.length === 0) return `${head}\n\nNo cell is trained yet.`;
  const all = groups(about, here);
  const [names, ...body] = rowsOf(about, all);
  const line = (row: readonly string[]): string => `| ${row.join(" | ")} |`;
  const lines = [line(names!), `|${"---|".repeat(names!.length)}`, ...body.map(line)];
  return `${head}\n\n${lines.join("\n")}\n\n${wrapped(about.conclusion(all))}`.replaceAll("\u00a0", " ");
}

suite("recorded cells", {
  "say where they come from, and none is of another config"() {
    for (const paper of papers)
      for (const about of paper.tables) {
        const { results, torn } = ledger(join("bench/results", `${paper.name}-${about.name}.jsonl`));
        assert.is(torn, 0);
        const asked = { paper, table: about, quick: false, steps: undefined, fast: false };
        assert.equal(sorted(asked, results).stale, []);
        for (const e of results.values()) {
          assert.match(String(e["commit"]), /^[0-9a-f]{12}$/);
          assert.ok(e["machine"] && e["versions"] && Number(e["seconds"]) >= 0);
        }
      }
  },
  "are what the first page shows"() {
    const trained = papers.flatMap(paper => paper.tables.map(about => [paper, about] as const));
    const rows = trained.filter(([paper, about]) => cellsOf(paper, about).length > 0);
    shown("found", ["| of a table | here |", "|---|---|", ...rows.flatMap(([p, t]) => rowOf(p, t))].join("\n"));
  },
  "are what the page on benchmarks shows"() {
    for (const paper of papers) shown(paper.name, paper.tables.map(about => tableOf(paper, about)).join("\n\n"));
  },
});

type Measured = {
  case: string;
  dtype: string;
  size: string;
  peer?: string;
  engine: string;
  threads: number;
  node: string;
  machine: string;
  commit: string;
  checksum: string;
  samples: number;
  median: number | null;
  fraction: number | null;
  best?: number;
  ratio?: number;
  ratios?: [number, number];
  gain?: number;
  note?: string;
};
const [peers, kernels, ratios, steps] = [
  read<Measured>("peers"),
  read<Measured>("kernels"),
  read<Measured>("ratios"),
  read<Measured>("step"),
];
const [decoding, recurrences] = [read<Measured>("generate"), read<Measured>("recurrence")];
const FAST = "fast fma";
const EXACT = "exact";
const NODE = 24;
/** The one line of a case, by engine, on Node 24 and one thread unless told. */
function measured(
  list: readonly Measured[],
  of: { case: string; size?: string | undefined; engine: string; peer?: string; threads?: number; node?: number },
): Measured {
  const { threads = 1, node = NODE } = of;
  const found = list.filter(
    l =>
      l.case === of.case &&
      (of.size === undefined || l.size === of.size) &&
      l.engine === of.engine &&
      l.threads === threads &&
      l.node.startsWith(`${node}.`) &&
      (of.peer === undefined || l.peer!.startsWith(of.peer)),
  );
  assert.is(found.length, 1, `lines of ${JSON.stringify(of)}`);
  return found[0]!;
}
const figure = (x: number): string => (x >= 100 ? x.toFixed(0) : x.toPrecision(3));
const times = (l: Measured): string => (l.ratio === undefined ? "cannot" : l.ratio.toFixed(2));
const sizes = ["b16 h4 t64 d16", "b16 h4 t128 d16", "b8 h8 t256 d32"];
const cases: readonly (readonly [
  label: string,
  name: string,
  size?: string | undefined,
  engines?: readonly string[],
])[] = [
  ["training step, *small*", "step small plain", undefined, [FAST, EXACT]],
  ["*small* with CoPE", "step small cope"],
  ["*small* with RMT", "step small rmt"],
  ["*small*, myopic", "step small myopic"],
  ["training step, *big*", "step big plain", undefined, [FAST, EXACT]],
  ...sizes.flatMap(
    size =>
      [
        [`attention, both directions, ${size}`, "attention plain forward+backward", size],
        ["the same with CoPE", "attention cope forward+backward", size],
      ] as const,
  ),
  ...["exp", "tanh", "gelu", "layerNorm", "softmax"].map(
    name =>
      [
        name === "exp" ? "exp, 1M numbers" : name === "gelu" ? "GELU" : name,
        `map ${name}`,
        undefined,
        [FAST, EXACT],
      ] as const,
  ),
  ["a fresh process to its first gradient", "cold start"],
];
/** Our milliseconds, and the others' over ours. */
function speedRow(head: readonly string[], of: { case: string; size?: string; engine: string; threads?: number }) {
  const ours = figure(measured(peers, { ...of, peer: "farsight" }).median!);
  const theirs = ["PyTorch", "jax-js", "tfjs"].map(peer => times(measured(peers, { ...of, peer })));
  return `| ${[...head, ours, ...theirs].join(" | ")} |`;
}
const ways = ["recomputing", "manual attention", "fused attention"];
/** Milliseconds a token of each who decodes, and theirs over ours in brackets. */
function decodingRow(label: string, name: string): string {
  const list = decoding.filter(l => l.case === name);
  const found = ["farsight", ...ways].map(peer => list.find(l => l.peer!.endsWith(peer))!);
  assert.is(new Set(found).size, list.length, `lines of ${name}`);
  const [ours, ...theirs] = found.map(l => figure(l.median!)) as [string, ...string[]];
  return `| ${label} | ${ours} | ${theirs.map((ms, i) => `${ms} (${times(found[i + 1]!)})`).join(" | ")} |`;
}
/** Cases in which somebody decodes faster, and how long they take. */
function lost(): string {
  const names = [...new Set(decoding.filter(l => l.ratio! < 1).map(l => l.case))];
  const each = names.map(name => {
    const list = decoding.filter(l => l.case === name && l.ratio! < 1);
    return `\`${name}\` (${list.map(l => `${l.peer!.replace(/ .*, /, ", ")}: ${times(l)}`).join("; ")})`;
  });
  return `farsight loses ${each.length ? each.join(" and ") : "none"}.`;
}
/** What a reader may find in the README, each from recorded lines. */
const tables: Record<string, () => string> = {
  speed: () =>
    [
      "| | engine | farsight, ms | PyTorch 2.13 | jax-js | tfjs |",
      "|---|---|---|---|---|---|",
      ...cases.flatMap(([label, name, size, engines = [FAST]]) =>
        engines.map(engine => {
          const of = { case: name, size, engine };
          return speedRow([label, engine === FAST ? "fast" : "exact"], of);
        }),
      ),
      speedRow(["training step, *big*, two threads", "fast"], { case: "step big plain", engine: FAST, threads: 2 }),
    ].join("\n"),
  products: () =>
    [
      "| f32 product, % of the ceiling | fast | exact | exact, Node 20 |",
      "|---|---|---|---|",
      ...[64, 256, 512, 1024]
        .flatMap(n => ["A B", "A Bᵀ", "Aᵀ B"].map(form => [form, `${n}x${n}x${n}`]))
        .concat([
          ["A B", "128x16x128"],
          ["A B", "1024x256x64"],
          ["A B", "1024x256x65"],
          ["A B", "1021x251x61"],
        ])
        .map(
          ([form, size]) =>
            `| ${form}, ${size!.replaceAll("x", " x ")} | ${[
              { engine: FAST },
              { engine: EXACT },
              { engine: EXACT, node: 20 },
            ]
              .map(how => {
                const { fraction, best } = measured(
                  kernels.filter(l => l.dtype === "f32"),
                  { case: `matmul ${form}`, size: size!, ...how },
                );
                return `${(100 * fraction!).toFixed(0)} (${(100 * best!).toFixed(0)})`;
              })
              .join(" | ")} |`,
        ),
    ].join("\n"),
  ratios: () =>
    [
      "| | | fast | exact |",
      "|---|---|---|---|",
      ...ratios
        .filter(l => l.engine === FAST && l.node.startsWith(`${NODE}.`))
        .map(l => {
          const other = ratios.find(o => o.engine === EXACT && o.case === l.case && o.size === l.size);
          return `| ${l.case} | ${l.size} | ${times(l)} | ${other ? times(other) : ""} |`;
        }),
    ].join("\n"),
};
tables.decoding = () =>
  [
    `| ms a token | farsight | ${ways.join(" | ").replace(/(manual|fused)/g, "PyTorch 2.13, $1")} |`,
    "|---|---|---|---|---|",
    decodingRow("`small`: d 128, 4 layers, all of 256 places", "generate small"),
    decodingRow("`gpt2`: d 768, 12 layers, 32 places after 512", "generate gpt2"),
    "",
    lost(),
  ].join("\n");
tables.recurrence = () =>
  [
    "| places | a step, ms | a place, µs | a step / backward by hand |",
    "|---|---|---|---|",
    ...recurrences.map(l => {
      const places = Number.parseInt(l.size);
      const range = l.ratios!.map(x => x.toFixed(2)).join(" to ");
      const micros = ((1000 * l.median!) / places).toFixed(1);
      return `| ${places.toLocaleString("en")} | ${figure(l.median!)} | ${micros} | ${times(l)} (${range}) |`;
    }),
  ].join("\n");

suite("recorded benchmarks", {
  "say where they come from: a commit without changes, a machine, a version; and have a checksum"() {
    for (const l of [...peers, ...kernels, ...ratios, ...steps, ...decoding, ...recurrences]) {
      assert.match(l.commit, /^[0-9a-f]{12}$/, `${l.case}: ${l.commit}`);
      assert.ok(
        l.machine && l.node && (l.checksum || l.case.startsWith("ceiling") || l.note?.startsWith("cannot")),
        JSON.stringify(l),
      );
    }
    for (const [name, list] of Object.entries({ peers, kernels, ratios, steps, decoding, recurrences }))
      assert.is(new Set(list.map(l => l.commit)).size, 1, `${name}: lines of different commits`);
  },
  ...Object.fromEntries(
    Object.entries(tables).map(([name, table]) => [`are what the README shows: ${name}`, () => shown(name, table())]),
  ),
});
