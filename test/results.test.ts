// The recorded runs of npm start (bench/results/start.jsonl: seeds 1, 2, 3): complete, and what the README says of them.
// They were made by `npm start -- --seed N --json`, of which the lines of type run and result are kept.
import { readFileSync, writeFileSync } from "node:fs";
import * as assert from "uvu/assert";
import { suite } from "./check.ts";

type Line = { type: string; study: string; arm: string; seed: number; commit: string; machine: { cpu: string }; versions: { node: string }; config: object; metrics: Record<string, number> & { accuracyBySegments: Record<string, number> } };
const lines = readFileSync("bench/results/start.jsonl", "utf8").trim().split("\n").map(line => JSON.parse(line) as Line);
const seeds = [1, 2, 3], runs = lines.filter(l => l.type === "run");
const result = (study: string, arm: string, seed: number): Line["metrics"] => {
  const found = lines.filter(l => l.type === "result" && l.study === study && l.arm === arm && l.seed === seed);
  assert.is(found.length, 1, `${study} ${arm}, seed ${seed}`);
  return found[0]!.metrics;
};
/** What the README shows: one row an arm, a column a seed. */
function table(): string {
  const row = (name: string, study: string, arm: string, of: (m: Line["metrics"]) => string, paper: string): string => `| ${name} | ${seeds.map(s => of(result(study, arm, s))).join(" | ")} | ${paper} |`;
  const percent = (x: number): string => `${Number((100 * x).toFixed(1))} %`, error = (m: Line["metrics"]): string => percent(m.error! / 100), at = (n: number) => (m: Line["metrics"]): string => percent(m.accuracyBySegments[n]!);
  return [
    "| | seed 1 | seed 2 | seed 3 | paper, larger |", "|---|---|---|---|---|",
    row("count: test error, CoPE", "count", "cope", error, "0.0 %"), row("count: test error, relative positions", "count", "relative", error, "1.1 %"), row("count: test error, absolute positions", "count", "absolute", error, "5.3 %"),
    ...[3, 6, 12, 64].map(n => row(`remember: right at ${n} segments, RMT trained on 1 to 3`, "remember", "rmt", at(n), n === 3 ? "100 %" : n === 6 ? "97.6 %" : n === 12 ? "74.5 %" : "")),
    row("remember: right at 6 segments, no memory", "remember", "none", at(6), ""),
    row("plan: Huber loss, all gradients", "plan", "full", m => m.loss!.toFixed(3), "0.01"), row("plan: Huber loss, myopic", "plan", "myopic", m => m.loss!.toFixed(3), "1.257"),
  ].join("\n");
}

suite("recorded results", {
  "say where they come from: a commit without changes, a machine, a version"() {
    assert.equal(runs.map(r => r.seed), seeds);
    for (const r of runs) { assert.match(r.commit, /^[0-9a-f]{12}$/); assert.ok(r.machine.cpu && r.versions.node); }
    assert.is(new Set(runs.map(r => r.commit)).size, 1, "the seeds are of different commits");
  },
  "have CoPE's error below that of relative and of absolute positions, in every seed"() {
    for (const s of seeds) for (const other of ["relative", "absolute"]) assert.ok(result("count", "cope", s).error! < result("count", other, s).error!, `seed ${s}, ${other}`);
  },
  "have RMT at 95 % at twice the segments it was trained on, where the model without memory is at chance"() {
    for (const s of seeds) {
      const six = result("remember", "rmt", s).accuracyBySegments[6]!, none = result("remember", "none", s).accuracyBySegments[6]!;
      assert.ok(six >= 0.95, `seed ${s}: ${six}`);
      assert.ok(Math.abs(none - 1 / 6) < 3 * Math.sqrt(5 / 36 / 300), `seed ${s}: ${none}, three deviations of 300 guesses from 1/6`);
    }
  },
  "have the full model's loss below a quarter of the myopic one's"() {
    for (const s of seeds) assert.ok(result("plan", "full", s).loss! < 0.25 * result("plan", "myopic", s).loss!, `seed ${s}`);
  },
  "are what the README shows"() {
    const readme = readFileSync("README.md", "utf8"), parts = /(<!-- results -->\n)([^]*?)(<!-- \/results -->)/, want = table();
    if (process.env.WRITE) return writeFileSync("README.md", readme.replace(parts, (_, head: string, __, tail: string) => `${head}${want}\n${tail}`));
    assert.is(parts.exec(readme)?.[2]?.trim(), want, `README.md, between <!-- results --> and <!-- /results --> (WRITE=1 npm test -- results writes it):\n${want}`);
  },
});
