// npm start as a person uses it: exit codes, streams, interrupting and going on.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { suite } from "./check.ts";

const program = fileURLToPath(new URL("../bench/start.mjs", import.meta.url));
interface Ended {
  code: number | null;
  out: string;
  err: string;
}
/** Runs npm start's program; sends Ctrl-C once its output matches `interrupt`. */
function start(words: string[], interrupt?: RegExp): Promise<Ended> {
  return new Promise(resolve => {
    const child = spawn(process.execPath, [program, ...words], { stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let err = "";
    let sent = false;
    const look = () => {
      if (interrupt && !sent && interrupt.test(out + err)) {
        sent = true;
        child.kill("SIGINT");
      }
    };
    child.stdout.on("data", d => {
      out += d;
      look();
    });
    child.stderr.on("data", d => {
      err += d;
      look();
    });
    child.on("close", code => resolve({ code, out, err }));
  });
}
type Line = Record<string, unknown>;
const lines = (text: string): Line[] =>
  text
    .trim()
    .split("\n")
    .map(line => JSON.parse(line) as Line);
const losses = (list: Line[]) =>
  list
    .filter(l => l.type === "step")
    .map(l => `${l.arm} ${l.step} ${l.loss}`)
    .sort();
const at = mkdtempSync(join(tmpdir(), "farsight-start-"));
const out = (name: string) => join(at, name);
process.on("exit", () => rmSync(at, { recursive: true, force: true }));
const plan = (name: string, ...more: string[]) => [
  "plan",
  "--steps",
  "300",
  "--quick",
  "--json",
  "--out",
  out(name),
  ...more,
];

suite("npm start", {
  async "explains itself with two examples and leaves with 0"() {
    const { code, out, err } = await start(["--help"]);
    assert.is(code, 0);
    assert.match(out, /Examples\n {2}npm start +all three.*\n {2}npm start -- count --seed 7 --json/);
    assert.is(err, "");
  },
  async "leaves with 2 and one line for an option or a study that does not exist"() {
    const option = await start(["--sed", "3"]);
    const study = await start(["counting"]);
    const seed = await start(["--seed", "x"]);
    assert.is(option.code, 2);
    assert.match(option.err, /unknown option --sed, did you mean --seed\?/);
    assert.is(study.code, 2);
    assert.match(study.err, /it is one of count, remember, plan/);
    assert.is(seed.code, 2);
    assert.is(option.out + study.out + seed.out, "");
  },
  async "prints JSON lines only, writes a report, and gives the same losses twice, interrupted or not"() {
    const whole = await start(plan("whole"));
    const list = lines(whole.out);
    assert.is(whole.code, 0, whole.err);
    assert.is(list[0]!.type, "run");
    assert.equal(
      list
        .filter(l => l.type === "result")
        .map(l => l.arm)
        .sort(),
      ["full", "myopic"],
    );
    assert.match(readFileSync(join(out("whole"), "report.html"), "utf8"), /^<!doctype html>/i);
    assert.equal(readdirSync(out("whole")).sort(), ["report.html", "run.jsonl"], "a checkpoint was left behind");

    const cut = await start(plan("cut"), /"step":60,/);
    assert.is(cut.code, 130, cut.err);
    assert.match(cut.err, /interrupted at plan \w+ step \d+ of 300.*\n {2}go on with: npm start -- plan .*--resume/);
    assert.ok(
      readdirSync(out("cut")).some(f => f.endsWith(".safetensors")),
      "no checkpoint was left",
    );
    const again = await start(plan("cut"));
    assert.is(again.code, 2, "a second run went over the interrupted one");
    assert.match(again.err, /holds an interrupted run \(.*\)\n {2}go on with it: --resume; throw it away: --fresh/);
    const other = await start(["plan", "--steps", "400", "--quick", "--json", "--out", out("cut"), "--resume"]);
    assert.is(other.code, 2, "a run with other choices was taken up");
    assert.match(other.err, /the run in .* made other choices\n {2}wants .*"steps":300.*\n {2}got .*"steps":400/);
    const on = await start(plan("cut", "--resume"));
    assert.is(on.code, 0, on.err);
    assert.equal(
      losses(lines(on.out)).filter(l => Number(l.split(" ")[1]) > 150),
      losses(list).filter(l => Number(l.split(" ")[1]) > 150),
    );
    const result = (text: string) =>
      lines(text)
        .filter(l => l.type === "result")
        .map(l => `${l.arm} ${JSON.stringify(l.metrics)}`)
        .sort();
    assert.equal(result(on.out), result(whole.out));
  },
  async "refuses a truncated checkpoint and leaves it as it is"() {
    const path = join(out("broken"), "plan-full-1.safetensors");
    const words = ["plan", "--steps", "3000", "--json", "--out", out("broken")];
    const first = await start(words, /"arm":"full","seed":1,"step":20,/);
    assert.is(first.code, 130, first.err);
    assert.ok(existsSync(path));
    truncateSync(path, 1000);
    const before = readFileSync(path);
    const { code, err } = await start([...words, "--resume", "--jobs", "1"]);
    assert.is(code, 1);
    assert.match(err, /plan full: safetensors: /);
    assert.equal(readFileSync(path).equals(before), true);
  },
  async "draws CoPE's gates and positions, and accuracy by segments"() {
    const {
      code,
      out: text,
      err,
    } = await start(["count", "remember", "--steps", "4", "--quick", "--json", "--out", out("figures")]);
    assert.is(code, 0, err);
    const [map] = lines(text).filter(l => l.kind === "cope") as {
      tokens: string[];
      gates: number[][];
      positions: number[][];
      answer: string;
      predicted: string;
    }[];
    const t = map!.tokens.length;
    assert.equal(
      [map!.gates, map!.positions].map(m => m.map((row, i) => row.length - i)),
      [1, 2].map(() => new Array(t).fill(1)),
      "not a triangle",
    );
    map!.positions.forEach((row, i) =>
      row.forEach((p, j) =>
        assert.ok(
          Math.abs(p - map!.gates[i]!.slice(j).reduce((a, x) => a + x, 0)) < 0.05,
          "a position is not the sum of its gates",
        ),
      ),
    );
    const segments = lines(text).filter(l => l.kind === "segments") as { arm: string; points: [number, number][] }[];
    assert.equal(
      segments.map(s => s.points.map(p => p[0])),
      [1, 2].map(() => [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]),
    );
  },
  async "takes the fast engine, with the same digits whatever its threads, or says why it cannot"() {
    const words = ["plan", "--steps", "20", "--quick", "--json", "--fast"];
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
    const results = (text: string) => lines(text).filter(l => l.type === "result");
    assert.equal([one.code, all.code], [0, 0], one.err + all.err);
    assert.equal(losses(lines(all.out)), losses(lines(one.out)));
    assert.equal(
      results(all.out).map(l => (l.config as Line).engine),
      ["fused multiply-add", "fused multiply-add"],
    );
    assert.is((lines(all.out)[0]!.engine as Line).threads, availableParallelism());
  },
  async "says what is wrong with a text file that is not there"() {
    const { code, err } = await start(["remember", "--text", out("nothing.txt")]);
    assert.is(code, 2);
    assert.match(err, /--text: ENOENT/);
    writeFileSync(out("short.txt"), "");
    const empty = await start(["remember", "--text", out("short.txt"), "--out", out("text")]);
    assert.is(empty.code, 1);
    assert.match(empty.err, /memorize: /);
  },
});
