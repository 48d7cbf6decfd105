// What a person sees of a run: command line, progress, charts, page, table. The records are made up here.
import * as assert from "uvu/assert";
import { suite } from "./check.ts";
import { parse, type Spec } from "../bench/cli.ts";
import { progress, span } from "../bench/progress.ts";
import { heat, lines, thin, type Point } from "../bench/chart.ts";
import { finding, parsed, report, table, type Entry } from "../bench/report.ts";

const spec = {
  name: "npm start --",
  version: "1.2.3",
  about: "Runs the studies.",
  examples: [
    ["npm start", "runs all three"],
    ["npm start -- count --seed 2", "one study, another seed"],
  ],
  positionals: { name: "study", help: "which to run", choices: ["count", "plan"] },
  options: {
    seed: { type: "number", integer: true, min: 0, default: 1, help: "the seed", short: "s" },
    rate: { type: "number", min: 0, max: 1, help: "the learning rate" },
    arm: { type: "choice", choices: ["cope", "relative"], default: "cope", help: "which arm" },
    out: { type: "string", default: "report.html", help: "the page" },
    progress: { type: "boolean", default: true, help: "no progress on stderr" },
    json: { type: "boolean", help: "records on stdout" },
  },
} as const satisfies Spec;
const error = (...argv: string[]) => {
  const got = parse(argv, spec);
  return "error" in got ? got.error : `parsed: ${JSON.stringify(got)}`;
};

suite("command line", {
  "fills in defaults and reads every way of writing a value": () => {
    assert.equal(parse([], spec), {
      values: { seed: 1, rate: undefined, arm: "cope", out: "report.html", progress: true, json: false },
      positionals: [],
    });
    const got = parse(
      ["plan", "-s", "7", "--rate=1e-3", "--arm", "relative", "--no-progress", "--json", "count"],
      spec,
    );
    if (!("values" in got)) throw new Error("did not parse");
    assert.equal(got.values, {
      seed: 7,
      rate: 0.001,
      arm: "relative",
      out: "report.html",
      progress: false,
      json: true,
    });
    assert.equal(got.positionals, ["plan", "count"]);
  },
  "names the option that was meant": () => {
    assert.is(error("--sede", "3"), "unknown option --sede, did you mean --seed?");
    assert.is(error("--zzzzzzzz"), "unknown option --zzzzzzzz");
    assert.is(error("--no-seed"), "unknown option --no-seed");
    assert.is(error("--constructor"), "unknown option --constructor");
    assert.match(error("cuont"), /unknown study "cuont", did you mean count\?/);
    assert.match(error("--arm", "relativ"), /one of cope, relative, got "relativ", did you mean relative\?/);
  },
  "refuses what is no number, or not the number asked for": () => {
    for (const bad of ["abc", "", "1x", "0x10", "NaN", "Infinity", "1.5", "-1"])
      assert.is(error(`--seed=${bad}`), `--seed wants a whole number of at least 0, got "${bad}"`);
    assert.is(error("--rate", "-2"), '--rate wants a number from 0 to 1, got "-2"');
    assert.is(error("--seed"), "--seed needs a whole number of at least 0");
    assert.is(error("--out", "--json"), "--out needs a value");
    assert.is(error("--json=yes"), '--json takes no value, got "yes"');
  },
  "prints examples before options, with defaults, and the version": () => {
    const got = parse(["count", "--help", "--bad"], spec);
    const help = "help" in got ? got.help : "";
    for (const [command, says] of spec.examples) assert.ok(help.includes(command) && help.includes(says), command);
    assert.ok(help.indexOf("Examples") < help.indexOf("Options"));
    assert.match(help, /-s, --seed <number> +the seed \(default 1\)/);
    assert.match(help, /--no-progress /);
    assert.ok(help.split("\n").every(line => line.length <= 120));
    assert.equal(parse(["--version"], spec), { help: "1.2.3\n" });
  },
});

/** A stream that keeps what is written, and a clock that is set by hand. */
function sink(isTTY: boolean, columns = 80) {
  const written: string[] = [];
  const clock = { t: 0 };
  const show = progress({
    stream: { isTTY, columns, write: (text: string) => written.push(text) },
    now: () => clock.t,
    environment: { NO_COLOR: "1" },
  });
  return { written, clock, show };
}

suite("progress", {
  "writes a plain line every ten seconds and at the end where there is no terminal": () => {
    const { written, clock, show } = sink(false);
    for (let step = 1; step <= 120; step++) {
      clock.t = step * 250;
      show.step("count", "cope", { step, steps: 120, loss: 0.4124, accuracy: 0.87, rate: 41_234 });
    }
    assert.is(written.length, 3);
    assert.is(written[0], "count cope  step 41/120  loss 0.412  acc 87%  41k tok/s  20s left\n");
    assert.not.match(written.join(""), /\x1b/);
  },
  "rewrites one line at most ten times a second, within the terminal, and removes it": () => {
    const { written, clock, show } = sink(true, 80);
    for (let step = 1; step <= 1000; step++) {
      clock.t = step;
      for (const arm of ["cope", "relative", "absolute"])
        show.step("count", arm, { step, steps: 1000, loss: 1.234, accuracy: 0.5, rate: 1e4 });
    }
    assert.ok(written.length >= 10 && written.length <= 11, `${written.length} redraws`);
    const last = written.at(-1)!.replace("\r\x1b[2K", "");
    assert.match(last, /^count  cope \d+% \| relative \d+% \| absolute \d+%  30k tok\/s  \ds left$/);
    assert.ok(last.length <= 79, last);
    show.log("saved");
    assert.equal(written.slice(-3, -1), ["\r\x1b[2K", "saved\n"]);
    show.clear();
    assert.is(written.at(-1), "\r\x1b[2K");
  },
  "says times as people do": () => assert.equal([9, 72, 3672].map(span), ["9s", "1m12s", "1h01m"]),
});

const axes = { x: { label: "step" }, y: { label: "loss" } };
const evil = `"><script>alert('1')</script>&`;

suite("charts", {
  "escapes every label": () => {
    const curve = lines({
      title: evil,
      note: evil,
      series: [
        {
          name: evil,
          points: [
            [0, 1],
            [1, 2],
          ],
        },
      ],
      x: { label: evil },
      y: { label: evil },
      references: [
        { y: 1, label: evil },
        { x: 1, label: evil },
      ],
    });
    const map = heat({
      title: evil,
      note: evil,
      label: evil,
      x: { label: evil },
      y: { label: evil },
      rows: [evil],
      columns: [evil],
      values: [[1]],
      mark: 0,
    });
    for (const svg of [curve, map]) {
      assert.not.match(svg, /<script|alert\('|&(?!#\d+;)/);
      assert.ok(svg.includes("&#60;"));
    }
  },
  "keeps a spike of one point in a hundred thousand": () => {
    const points = Array.from({ length: 100_000 }, (_, i): Point => [i, i === 54_321 ? 99 : i === 60_000 ? -7 : 1]);
    const kept = thin(points, x => Math.round(x / 200));
    assert.ok(kept.length < 2100, `${kept.length} points`);
    assert.ok(kept.some(p => p[1] === 99) && kept.some(p => p[1] === -7));
    assert.ok(kept.every((p, i) => i === 0 || p[0] > kept[i - 1]![0]));
    assert.ok(lines({ title: "t", series: [{ name: "s", points }], ...axes }).length < 40_000);
  },
  "draws empty series, NaN, infinities, one point and equal values": () => {
    const cases: Point[][] = [
      [],
      [[NaN, NaN]],
      [
        [0, 1],
        [1, NaN],
        [2, 3],
      ],
      [
        [0, Infinity],
        [1, -Infinity],
      ],
      [[5, 5]],
      [
        [0, 2],
        [1, 2],
      ],
      [
        [0, 0],
        [1, 0],
      ],
    ];
    for (const points of cases) {
      for (const log of [false, true]) {
        const svg = lines({
          title: "t",
          series: [{ name: "s", points, dots: true }],
          x: { label: "x", log: log && 2 },
          y: { label: "y", log },
        });
        assert.not.match(svg, /NaN|Infinity|undefined/, JSON.stringify(points));
      }
    }
    assert.match(lines({ title: "t", series: [], ...axes }), /no data/);
    assert.match(
      lines({
        title: "t",
        series: [
          {
            name: "s",
            points: [
              [0, 1],
              [1, NaN],
              [2, 3],
            ],
          },
        ],
        ...axes,
      }),
      /d="M[\d. ]+M[\d. ]+"/,
    );
    assert.not.match(
      heat({ title: "t", label: "v", ...axes, rows: ["a", "b"], columns: ["a", "b"], values: [[NaN], []] }),
      /NaN|undefined/,
    );
  },
  "leaves the future blank and names both tokens of a cell": () => {
    const svg = heat({
      title: "t",
      label: "gate",
      ...axes,
      rows: ["x", "y"],
      columns: ["x", "y"],
      values: [[0.5], [0, 1]],
    });
    assert.is(svg.split("<g>").length - 1, 3);
    assert.match(svg, /<title>gate 1, from “y” \(1\) to “y” \(1\)<\/title>/);
  },
});

const run: Entry = {
  type: "run",
  command: "npm start -- --seed 1",
  arguments: ["--seed", "1"],
  seed: 1,
  versions: { farsight: "0.1.0", node: "v20" },
  commit: "abc",
  machine: { cpu: "a cpu", cores: 2 },
  date: "2026-01-01",
};
const counted = (arm: string, error: number, more: object = {}, seed = 1): Entry => ({
  type: "result",
  study: "count",
  arm,
  seed,
  metrics: { error, ...more },
  paper: { error: 1.1 },
  config: { layers: 2 },
  seconds: 9,
});
const recalled = (arm: string, by: { [segments: string]: number }): Entry => ({
  type: "result",
  study: "remember",
  arm,
  seed: 1,
  metrics: { accuracyBySegments: by, trained: 3 },
});
const planned = (arm: string, loss: number): Entry => ({
  type: "result",
  study: "plan",
  arm,
  seed: 1,
  metrics: { loss },
});
const said = (records: Entry[], study: "count" | "remember" | "plan") =>
  finding(records, study).replaceAll("\u00a0", " ");
const everything: Entry[] = [
  run,
  counted("cope", 0.2),
  counted("relative", 4.5),
  recalled("rmt", { 1: 1, 3: 1, 64: 0.8 }),
  recalled("none", { 1: 1, 3: 0.17, 64: 0.16 }),
  planned("full", 0.05),
  planned("myopic", 1.1),
  ...[1, 2, 3].map((step): Entry => ({
    type: "step",
    study: "count",
    arm: "cope",
    step,
    loss: step === 2 ? null : 1 / step,
    accuracy: 0.5,
    rate: 1000,
  })),
  {
    type: "figure",
    study: "count",
    kind: "cope",
    tokens: ["<b>", "++", "?"],
    layer: 1,
    head: 0,
    gates: [[0], [0, 1], [0, 0.9, 0.1]],
    positions: [[0], [1, 1], [1, 1, 0.1]],
    answer: "1",
    predicted: "2",
  },
  {
    type: "figure",
    study: "remember",
    kind: "segments",
    arm: "rmt",
    points: [
      [1, 1],
      [64, 0.8],
    ],
  },
  {
    type: "figure",
    study: "plan",
    kind: "probes",
    arm: "full",
    layers: ["embedding", "layer 1"],
    r2: [
      [0, 0],
      [0.9, 0.1],
    ],
  },
];

suite("report", {
  "loads nothing, runs nothing and escapes what the records say": () => {
    const html = report([
      ...everything,
      { ...run, type: "result", study: "count", arm: evil, metrics: { error: 3 }, config: { [evil]: evil } },
    ]);
    assert.not.match(html, /<script|<link|<img|<iframe|@import|url\(|\bsrc=|\bon\w+=/i);
    assert.not.match(html, /<b>/);
    assert.match(html, /prefers-color-scheme: dark/);
    for (const word of [
      "npm start -- count --seed 1",
      "a cpu, 2 cores",
      "abc",
      "It answers 2; 1 would be right",
      "chance, 1/6",
      "trained up to here (3)",
    ])
      assert.ok(html.includes(word), word);
  },
  "leaves out what is missing, and never prints undefined or NaN": () => {
    for (let without = 0; without <= everything.length; without++) {
      const rest = everything
        .filter((_, i) => i !== without)
        .map((r, i): Entry =>
          i % 2 ? r : { ...r, metrics: r["metrics"], config: undefined, layers: undefined, machine: undefined },
        );
      for (const records of [rest, everything.slice(0, without), everything.slice(without)])
        assert.not.match(report(records) + table(records), /undefined|NaN|\[object|Infinity/);
    }
    const odd = [
      { type: "result", study: "count", arm: "cope", metrics: { error: NaN } },
      { type: "result", study: "sing", arm: "x" },
      { type: "step", study: "count" },
      { type: "figure", study: "count", kind: "cope" },
      { type: "figure", study: "plan", kind: "probes", r2: [[null]] },
      { type: "what" },
    ];
    assert.not.match(report(odd) + table(odd), /undefined|NaN|\[object/);
    assert.match(report([]), /no results/);
    assert.is(parsed('{"type":"run"}\n\nnot json\n3\n{"type":"ste').length, 1);
  },
  "says which positions counted best, and says otherwise when the numbers do": () => {
    assert.is(
      said([counted("cope", 0.2), counted("relative", 4.5)], "count"),
      "CoPE counts best in this run: 0.2 % test error, against 4.5 % with relative positions. One seed: a small difference may be luck.",
    );
    assert.match(
      said([counted("cope", 4.5), counted("relative", 0.2)], "count"),
      /^CoPE did not win in this run; relative positions counted best: 0\.2 % test error, against 4\.5 % with CoPE\./,
    );
    assert.match(said([counted("cope", 0), counted("relative", 0)], "count"), /^No clear winner/);
    assert.match(said([counted("cope", 3)], "count"), /nothing to compare/);
    assert.match(
      said([counted("cope", 78, { chance: 79 }), counted("relative", 79)], "count"),
      /^Nothing learned to count/,
    );
  },
  "calls overlapping seeds or intervals no clear winner": () => {
    assert.match(
      said(
        [counted("cope", 1), counted("cope", 5, {}, 2), counted("relative", 4), counted("relative", 6, {}, 2)],
        "count",
      ),
      /^No clear winner: the test error is 3 %/,
    );
    assert.match(
      said([counted("cope", 1, { tests: 100 }), counted("relative", 3, { tests: 100 })], "count"),
      /^No clear winner/,
    );
    assert.match(
      said([counted("cope", 1, { tests: 10_000 }), counted("relative", 3, { tests: 10_000 })], "count"),
      /^CoPE counts best/,
    );
  },
  "says how far the memory reached, and when it did not help": () => {
    const none = recalled("none", { 1: 1, 3: 0.17, 64: 0.17 });
    assert.is(
      said([recalled("rmt", { 1: 1, 3: 1, 12: 0.95, 64: 0.8 }), none], "remember"),
      "Trained on at most 3 segments, RMT answers 100 % right at 3 and 80 % right at 64 segments, against 17 % with no memory (chance is 16.7 %). It answers at least 90 % right up to 12 segments, 4 times the longest it was trained on.",
    );
    assert.match(
      said([recalled("rmt", { 1: 1, 3: 1, 64: 0.18 }), none], "remember"),
      /has lost the fact by 64 segments\.$/,
    );
    assert.match(said([recalled("rmt", { 1: 1, 3: 0.2, 64: 0.18 }), none], "remember"), /did not help in this run\.$/);
  },
  "says whether the model planned": () => {
    assert.match(
      said([planned("full", 0.05), planned("myopic", 1.1)], "plan"),
      /^The full model prepares for later tokens.*1\.1 myopic against 0\.05 full \(22 times\)/,
    );
    assert.match(said([planned("full", 1.1), planned("myopic", 0.05)], "plan"), /shows no planning/);
    assert.match(said(everything, "plan"), /R² 0\.9 after full training \(layer 1, lag 0\)\.$/);
  },
  "keeps settings apart": () => {
    const at = (variables: number, arm: string, error: number): Entry => ({
      ...counted(arm, error),
      config: { variables },
    });
    assert.match(
      said([at(3, "cope", 9), at(1, "relative", 2), at(1, "cope", 1), at(3, "relative", 2)], "count"),
      /^1 variable: CoPE counts best.* 3 variables: CoPE did not win/,
    );
  },
  "lines its table up, with colour only when asked": () => {
    const text = table(everything);
    const rows = text.trimEnd().split("\n");
    assert.is(rows.length, 1 + 2 + 6 + 2);
    const column = rows[0]!.indexOf("here");
    assert.ok(
      rows.slice(1).every(row => row[column - 1] === " " && /\d/.test(row[column]!)),
      text,
    );
    assert.not.match(text, /\x1b|\u00a0/);
    assert.match(table(everything, { styled: true }), /^\x1b\[1mstudy/);
  },
});
