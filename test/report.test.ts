// What a person sees of a run: command line, progress, charts, page, table. The records are made up here.
import * as assert from "uvu/assert";
import { suite } from "./check.ts";
import { parse, type Spec } from "../bench/cli.ts";
import { progress, span } from "../bench/progress.ts";
import { heat } from "../bench/charts/heat.ts";
import { lines, thin, type Point } from "../bench/charts/lines.ts";
import { short } from "../bench/charts/svg.ts";
import { finding, table } from "../bench/finding.ts";
import { parsed, type Entry } from "../bench/records.ts";
import { report } from "../bench/report.ts";
import { paged, said, whole } from "./said.ts";
import { toy } from "./toy.ts";

const spec = {
  name: "npm start --",
  version: "1.2.3",
  about: "Runs the studies.",
  examples: [
    ["npm start", "runs all three"],
    ["npm start -- near --seed 2", "one study, another seed"],
  ],
  positionals: { name: "study", help: "which to run", choices: ["near", "far"] },
  options: {
    seed: { type: "number", integer: true, min: 0, default: 1, help: "the seed", short: "s" },
    rate: { type: "number", min: 0, max: 1, help: "the learning rate" },
    arm: { type: "choice", choices: ["bold", "careful"], default: "bold", help: "which arm" },
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
      values: { seed: 1, rate: undefined, arm: "bold", out: "report.html", progress: true, json: false },
      positionals: [],
    });
    const got = parse(["far", "-s", "7", "--rate=1e-3", "--arm", "careful", "--no-progress", "--json", "near"], spec);
    if (!("values" in got)) throw new Error("did not parse");
    assert.equal(got.values, {
      seed: 7,
      rate: 0.001,
      arm: "careful",
      out: "report.html",
      progress: false,
      json: true,
    });
    assert.equal(got.positionals, ["far", "near"]);
  },
  "names the option that was meant": () => {
    assert.is(error("--sede", "3"), "unknown option --sede, did you mean --seed?");
    assert.is(error("--zzzzzzzz"), "unknown option --zzzzzzzz");
    assert.is(error("--no-seed"), "unknown option --no-seed");
    assert.is(error("--constructor"), "unknown option --constructor");
    assert.match(error("naer"), /unknown study "naer", did you mean near\?/);
    assert.match(error("--arm", "carefu"), /one of bold, careful, got "carefu", did you mean careful\?/);
  },
  "refuses what is no number, or not the number asked for": () => {
    for (const bad of ["abc", "", "1x", "0x10", "NaN", "Infinity", "1.5", "-1", "9007199254740993"])
      assert.is(error(`--seed=${bad}`), `--seed wants a whole number of at least 0, got "${bad}"`);
    assert.is(error("--rate", "-2"), '--rate wants a number from 0 to 1, got "-2"');
    assert.is(error("--seed"), "--seed needs a whole number of at least 0");
    assert.is(error("--out", "--json"), "--out needs a value");
    assert.is(error("--json=yes"), '--json takes no value, got "yes"');
  },
  "lets other words follow the first where they are told apart": () => {
    const then = {
      ...spec,
      positionals: { ...spec.positionals, most: 1, then: { name: "folder", help: "", most: 2 } },
    };
    const read = (...argv: string[]) => {
      const got = parse(argv, then);
      return "error" in got ? got.error : "positionals" in got ? got.positionals : [];
    };
    assert.equal(read("near", "a", "b"), ["near", "a", "b"]);
    assert.is(read("near", "a", "b", "c"), 'unexpected argument "c"');
    assert.match(String(read("a")), /unknown study "a"/);
  },
  "prints examples before options, with defaults, and the version": () => {
    const got = parse(["near", "--help", "--bad"], spec);
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
function sink(isTTY: boolean, columns = 80, whole?: () => string) {
  const written: string[] = [];
  const clock = { t: 0 };
  const show = progress({
    stream: { isTTY, columns, write: (text: string) => written.push(text) },
    now: () => clock.t,
    environment: { NO_COLOR: "1" },
    ...(whole && { whole }),
  });
  return { written, clock, show };
}

suite("progress", {
  "writes a plain line every ten seconds and at the end where there is no terminal": () => {
    const { written, clock, show } = sink(false);
    for (let step = 1; step <= 120; step++) {
      clock.t = step * 250;
      show.step("near", "bold", { step, steps: 120, loss: 0.4124, accuracy: 0.87, rate: 41_234 });
    }
    assert.is(written.length, 3);
    assert.is(written[0], "near bold  step 41/120  loss 0.412  acc 87%  41k tok/s  20s left\n");
    assert.not.match(written.join(""), /\x1b/);
  },
  "says where all of the run is behind what it says of arms, and takes words from these for it": () => {
    const report = { step: 2, steps: 2, loss: 1.234, accuracy: 0.5, rate: 1e4 };
    const plain = sink(false, 80, () => "3 cells more, 1h20m left in all");
    plain.show.step("near", "bold", report);
    assert.is(
      plain.written[0],
      "near bold  step 2/2  loss 1.23  acc 50%  10k tok/s; 3 cells more, 1h20m left in all\n",
    );
    const narrow = sink(true, 80, () => "3 cells more, 1h20m left in all");
    for (const arm of ["bold", "careful"]) {
      narrow.clock.t += 1000;
      narrow.show.step("near", arm, report);
    }
    const last = narrow.written.at(-1)!.replace("\r\x1b[2K", "");
    assert.match(last, /^near  bold 100% \| careful 100%.*; 3 cells more, 1h20m left in all$/);
    assert.ok(last.length <= 79, last);
    const bare = sink(false);
    bare.show.step("near", "bold", report);
    assert.equal(bare.written, ["near bold  step 2/2  loss 1.23  acc 50%  10k tok/s\n"]);
  },
  "rewrites one line at most ten times a second, within the terminal, and removes it": () => {
    const { written, clock, show } = sink(true, 80);
    for (let step = 1; step <= 1000; step++) {
      clock.t = step;
      for (const arm of ["bold", "careful", "shy"])
        show.step("near", arm, { step, steps: 1000, loss: 1.234, accuracy: 0.5, rate: 1e4 });
    }
    assert.ok(written.length >= 10 && written.length <= 11, `${written.length} redraws`);
    const last = written.at(-1)!.replace("\r\x1b[2K", "");
    assert.match(last, /^near  bold \d+% \| careful \d+% \| shy \d+%  30k tok\/s  \ds left$/);
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
  "write numbers of every size in a few letters"() {
    const sizes = [0, 0.00021, 0.5, 9999, 12_345, 1e6, 2_043_904, 1e9, 2.5e15, -3e21, Infinity];
    assert.is(sizes.map(short).join(" "), "0 2e-4 0.5 10000 12.3k 1M 2.04M 1e9 2.5e15 -3e21 ");
  },
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
const left = (arm: string, distance: number, config: object = { lr: 1 }, seed = 1): Entry => ({
  type: "result",
  study: "near",
  arm,
  seed,
  metrics: { distance },
  paper: { distance: 0.5 },
  config,
  seconds: 9,
});
const step = (n: number): Entry => ({
  type: "step",
  study: "near",
  arm: "bold",
  step: n,
  loss: n === 2 ? null : 1 / n,
  accuracy: 0.5,
  rate: 1000,
});
const drawn: Entry = { type: "figure", study: "near", kind: "ends", arm: "<b>", points: [[1, 0.2]] };
const everything = [run, left("bold", 0.2), left("shy", 4.5), ...[1, 2, 3].map(step), drawn];

suite("report", {
  "loads nothing, runs nothing and escapes what the records say": () => {
    const html = paged(toy, [...everything, { ...left(evil, 3), config: { [evil]: evil } }]);
    assert.not.match(html, /<script|<link|<img|<iframe|@import|url\(|\bsrc=|\bon\w+=/i);
    assert.not.match(html, /<b>/);
    assert.match(html, /prefers-color-scheme: dark/);
    for (const word of [
      "npm start -- near --seed 1",
      "a cpu, 2 cores",
      "abc",
      "Training loss",
      "Median tokens a second",
    ])
      assert.ok(html.includes(word), word);
  },
  "says at the top of page and table that arms were trained for a fraction of the steps": () => {
    const trained = (steps: number) => [run, left("bold", 0.2, { steps }), left("shy", 4.5, { steps: 100 })];
    const words = "A fraction of the training: near 30 of 100 steps. It shows that everything works, not what the";
    assert.match(paged(toy, trained(30)).split("<h2>")[0]!, words);
    assert.ok(table(trained(30), [toy]).startsWith(words));
    for (const text of [paged(toy, trained(100)), table(trained(100), [toy])]) assert.not.match(text, "A fraction");
  },
  "leaves out what is missing, and never prints undefined or NaN": () => {
    whole(toy, everything);
    const odd = [
      { type: "result", study: "near", arm: "bold", metrics: { distance: NaN } },
      { type: "result", study: "sing", arm: "x" },
      { type: "step", study: "near" },
      { type: "figure", study: "near", kind: "ends" },
      { type: "what" },
    ];
    assert.not.match(paged(toy, odd) + table(odd, [toy]), /undefined|NaN|\[object/);
    assert.match(report([], [toy]), /no results/);
    assert.is(parsed('{"type":"run"}\n\nnot json\n3\n{"type":"ste').length, 1);
  },
  "groups results over seeds and keeps settings apart, smaller numbers first": () => {
    const sized = (size: number, arm: string, distance: number, seed = 1) => left(arm, distance, { size }, seed);
    const records = [sized(16, "shy", 1), sized(4, "shy", 3), sized(4, "bold", 1), sized(16, "bold", 2)];
    assert.is(said(toy, records), "Size 4: Large steps come nearer. Size 16: Large steps do not come nearer.");
    const seeds = [...records, sized(4, "bold", 2, 2)];
    const [, first] = table(seeds, [toy]).split("\n");
    assert.match(first!, /^near +large steps +distance left +1\.5 \(1 to 2, 2 seeds\) +0\.5 +size 4$/);
    const overlapping = [sized(4, "bold", 1), sized(4, "bold", 5, 2), sized(4, "shy", 4), sized(4, "shy", 6, 2)];
    assert.is(said(toy, overlapping), "Large steps do not come nearer.");
  },
  "says what is known of one study beside others, and shows them in the list's order": () => {
    const other = { ...toy, name: "far", title: "Parting", mechanism: "another toy" };
    const records = [...everything, { ...left("bold", 7), study: "far" }];
    const page = report(records, [other, toy]);
    assert.ok(page.indexOf("<h2>Parting") > 0 && page.indexOf("<h2>Parting") < page.indexOf("<h2>Nearing"));
    assert.match(page, /<h1>Parting, nearing<\/h1>\n<p>Two small studies .*: another toy; and a toy,/);
    assert.is(finding(records, other), "large steps ran alone.");
  },
  "lines its table up, with colour only when asked": () => {
    const text = table(everything, [toy]);
    const rows = text.trimEnd().split("\n");
    assert.is(rows.length, 1 + 2);
    const column = rows[0]!.indexOf("here");
    assert.ok(
      rows.slice(1).every(row => row[column - 1] === " " && /\d/.test(row[column]!)),
      text,
    );
    assert.not.match(text, /\x1b|\u00a0/);
    assert.match(table(everything, [toy], { styled: true }), /^\x1b\[1mstudy/);
  },
});
