// npm start as a person uses it: exit codes, streams, interrupting and going on. All of it with a toy study, which is
// one object in a list and nothing else; each real one has a test file of its own.
import { existsSync, readFileSync, readdirSync, truncateSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { parse } from "../bench/cli.ts";
import { specOf } from "../bench/options.ts";
import { root } from "../bench/place.ts";
import { studies } from "../bench/studies/index.ts";
import { suite } from "./check.ts";
import { isWindows, lines, losses, run, scratch, skipped, type Ended, type Line } from "./program.ts";

const start = (words: readonly string[], interrupt?: RegExp): Promise<Ended> =>
  run("./toy-start", words, { interrupt });
const out = scratch("start");
const results = (text: string): string[] =>
  lines(text)
    .filter(l => l.type === "result")
    .map(l => `${l.arm} ${JSON.stringify(l.metrics)} ${JSON.stringify(l.config)}`)
    .sort();

suite("npm start", {
  async "explains itself with two examples, names every study, and leaves with 0"() {
    const { code, out, err } = await run("../bench/start", ["--help"]);
    const [first] = studies;
    assert.is(code, 0);
    assert.is(err, "");
    const examples = new RegExp(`Examples\\n {2}npm start +all.*\\n {2}npm start -- ${first!.name} --seed 7 --json`);
    assert.match(out, examples);
    for (const study of studies) assert.ok(out.includes(study.trains), study.name);
    assert.match(out, new RegExp(` ${studies.map(s => s.name).join("\\|")} +which studies`));
    assert.ok(out.split("\n").every(line => line.length <= 120));
  },
  async "leaves with 2 and one line for an option or a study that does not exist"() {
    const option = await run("../bench/start", ["--sed", "3"]);
    const study = await run("../bench/start", ["anything"]);
    const seed = await run("../bench/start", ["--seed", "x"]);
    assert.is(option.code, 2);
    assert.match(option.err, /unknown option --sed, did you mean --seed\?/);
    assert.is(study.code, 2);
    assert.ok(study.err.includes(`it is one of ${studies.map(s => s.name).join(", ")}`), study.err);
    assert.is(seed.code, 2);
    assert.is(option.out + study.out + seed.out, "");
  },
  async "takes a study that is one object: command line, training, table and report"() {
    const help = await start(["--help"]);
    assert.match(help.out, /Trains one small study: coming near to something \(TOY\)\./);
    assert.match(help.out, /--letters <string> +a file whose letters are counted \(near\)/);
    writeFileSync(out("letters.txt"), "abc");
    const { code, out: text, err } = await start(["near", "--letters", out("letters.txt"), "--out", out("toy")]);
    assert.is(code, 0, err);
    const rows = text.trim().split("\n");
    assert.match(rows[1]!, /^near +large steps +distance left +\S+ +0\.5 +size 64, lr 0\.01, letters 3$/);
    assert.match(rows[2]!, /^near +small steps /);
    const page = readFileSync(join(out("toy"), "report.html"), "utf8");
    for (const words of ["Nearing", "On steps", "Large steps come nearer.", "Where it ends", "How far is left."])
      assert.ok(page.includes(words), words);
    assert.match(page, /One small study of how far .*: a toy, which comes near to something \(TOY\)\./);
    assert.match(page, /<code>npm start -- near --letters /);
  },
  async "prints JSON lines only, writes a report, and gives the same losses twice, interrupted or not"() {
    const words = (name: string, ...more: string[]): string[] => [
      "near",
      "--steps",
      "12000",
      "--json",
      "--out",
      out(name),
      ...more,
    ];
    const whole = await start(words("whole"));
    const list = lines(whole.out);
    assert.is(whole.code, 0, whole.err);
    assert.is(list[0]!.type, "run");
    assert.is(results(whole.out).length, 2);
    assert.match(readFileSync(join(out("whole"), "report.html"), "utf8"), /^<!doctype html>/i);
    assert.equal(readdirSync(out("whole")).sort(), ["report.html", "run.jsonl"], "a checkpoint was left behind");

    if (isWindows) return skipped();
    const cut = await start(words("cut"), /"step":800,/);
    assert.is(cut.code, 130, cut.err);
    assert.match(cut.err, /interrupted at near \w+ step \d+ of 12000.*\n {2}go on with: npm start -- near .*--resume/);
    assert.ok(
      readdirSync(out("cut")).some(f => f.endsWith(".safetensors")),
      "no checkpoint was left",
    );
    const again = await start(words("cut"));
    assert.is(again.code, 2, "a second run went over the interrupted one");
    assert.match(again.err, /holds an interrupted run \(.*\)\n {2}go on with it: --resume; throw it away: --fresh/);
    const other = await start(["near", "--steps", "400", "--json", "--out", out("cut"), "--resume"]);
    assert.is(other.code, 2, "a run with other choices was taken up");
    assert.match(other.err, /the run in .* made other choices\n {2}wants .*"steps":12000.*\n {2}got .*"steps":400/);
    const on = await start(words("cut", "--resume"));
    assert.is(on.code, 0, on.err);
    assert.match(on.err, /near \w+: going on from step \d+/);
    assert.is(losses(list).length, 300);
    assert.equal(losses(lines(on.out)), losses(list), "step lines on stdout");
    const logged = (name: string): string[] => losses(lines(readFileSync(join(out(name), "run.jsonl"), "utf8")));
    assert.equal(logged("cut"), logged("whole"), "step lines in the log");
    assert.equal(results(on.out), results(whole.out));
  },
  async "refuses a truncated checkpoint and leaves it as it is"() {
    if (isWindows) return skipped();
    const path = join(out("broken"), "near-bold-1.safetensors");
    const words = ["near", "--steps", "100000", "--json", "--out", out("broken")];
    const first = await start(words, /"arm":"bold","seed":1,"step":666,/);
    assert.is(first.code, 130, first.err);
    assert.ok(existsSync(path));
    truncateSync(path, 1000);
    const before = readFileSync(path);
    const { code, err } = await start([...words, "--resume", "--jobs", "1"]);
    assert.is(code, 1);
    assert.match(err, /near bold: safetensors: /);
    assert.equal(readFileSync(path).equals(before), true);
  },
  async "takes the fast engine, with the same digits whatever its threads, or says why it cannot"() {
    const words = ["near", "--steps", "20", "--json", "--fast"];
    const one = await start([...words, "--out", out("fast")]);
    if (Number(process.versions.node.split(".")[0]) < 22) {
      assert.is(one.code, 1);
      assert.is(
        one.err,
        "--fast: fast: this host has no relaxed SIMD\n  wants Node 22 or later, or a current browser\n",
      );
      return;
    }
    const all = await start([...words, "--jobs", "1", "--out", out("fast, one by one")]);
    assert.equal([one.code, all.code], [0, 0], one.err + all.err);
    assert.equal(losses(lines(all.out)), losses(lines(one.out)));
    const engines = lines(all.out).filter(l => l.type === "result");
    assert.equal(
      engines.map(l => (l.config as Line).engine),
      ["fused multiply-add", "fused multiply-add"],
    );
    assert.is((lines(all.out)[0]!.engine as Line).threads, availableParallelism());
  },
  "refuses numbers beyond sense in every option that takes one, and empty words"() {
    const spec = specOf(studies);
    const wrong = (words: string[]): string => {
      const got = parse(words, spec);
      return "error" in got ? got.error : "";
    };
    for (const [name, option] of Object.entries(spec.options)) {
      if (option.type === "boolean") continue;
      const numbers = [
        "1e308",
        "1e16",
        "-1",
        "0.5",
        "1e-7",
        "1e400",
        "NaN",
        "Infinity",
        "9007199254740993",
        "0x10",
        "1_0",
      ];
      for (const text of option.type === "number" ? [...numbers, ""] : [""])
        assert.match(
          wrong([`--${name}=${text}`]),
          new RegExp(`^--${name} (wants|needs) .*got "${text}"$`),
          `${name} ${text}`,
        );
    }
    assert.equal(parse(["--seed", "9007199254740991"], spec), {
      values: { ...(parse([], spec) as { values: object }).values, seed: 2 ** 53 - 1 },
      positionals: [],
    });
    assert.is((parse(["--seed", "-0"], spec) as { values: { seed: number } }).values.seed, 0);
  },
  async "writes the page and the table again, or says in a line why it cannot"() {
    const again = (...words: string[]): Promise<Ended> => run("../bench/again", words);
    const records = join(root, "bench/results/start.jsonl");
    const page = await again(records, "--out", out("again.html"));
    assert.equal([page.code, page.err], [0, ""]);
    assert.match(readFileSync(out("again.html"), "utf8"), /^<!doctype html>/i);
    for (const [words, code, said] of [
      [[out("nothing")], 2, /^could not read .*nothing: there is no such place\n$/],
      [[root], 2, /^could not read .*: a folder stands where a file is wanted\n$/],
      [
        [records, "--out", join(out("again.html"), "x")],
        1,
        /^could not write .*: a file stands where a folder is wanted\n$/,
      ],
    ] as const) {
      const got = await again(...words);
      assert.is(got.code, code);
      assert.match(got.err, said);
    }
  },
  async "says what is wrong with a text file that is not there"() {
    const { code, err } = await start(["near", "--letters", out("nothing.txt")]);
    assert.is(code, 2);
    assert.match(err, /--letters: ENOENT/);
  },
});
