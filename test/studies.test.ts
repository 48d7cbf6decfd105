// The list of studies: each is whole, each trains and is reported, and none is named outside its own file.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { escaped } from "../bench/charts/svg.ts";
import { groups, rows, table } from "../bench/finding.ts";
import type { Entry } from "../bench/records.ts";
import { report } from "../bench/report.ts";
import { studies } from "../bench/studies/index.ts";
import { suite } from "./check.ts";
import { lines, run, scratch } from "./program.ts";
import { records } from "./recorded.ts";

const words = (study: { name: string; title: string }): RegExp => new RegExp(`\\b(${study.name}|${study.title})\\b`);
const arms = (study: { arms: object }): RegExp => new RegExp(`["'\`](${Object.keys(study.arms).join("|")})["'\`]`);
const generic = [
  ...["bench", "report", "results", "ridge", "start", "studies", "program", "said", "disk", "ending", "lock"],
  ...["toy", "toy-start", "toy-often"],
];
const bench = (readdirSync("bench", { recursive: true }) as string[])
  .filter(f => f.endsWith(".ts") && !f.includes("node_modules") && !/^(studies|tables[\\/]\w+)[\\/]/.test(f))
  .map(f => join("bench", f));
const tests = readdirSync("test")
  .filter(f => generic.includes(f.replace(/(\.test)?\.ts$/, "")))
  .map(f => join("test", f));

suite("studies", {
  "are named in their own files and their own tests alone"() {
    assert.ok(bench.length > 25 && tests.length === generic.length, `${bench.length} and ${tests.length} files`);
    for (const study of studies) {
      for (const file of [...bench, ...tests])
        assert.not.match(readFileSync(file, "utf8"), words(study), `${file} names ${study.name}`);
      // speed/ measures models of its own, some of which are called like arms
      for (const file of bench.filter(f => !/[\\/]speed[\\/]/.test(f)))
        assert.not.match(readFileSync(file, "utf8"), arms(study), `${file} names an arm of ${study.name}`);
    }
  },
  "are files of their own, and every file but the list is a study"() {
    const files = readdirSync("bench/studies").filter(f => f !== "index.ts");
    assert.equal(files.sort(), studies.map(s => `${s.name}.ts`).sort());
  },
  async "train every arm, and have rows in the table and a part of the report each"() {
    const out = scratch("studies");
    const words = ["--steps", "4", "--quick", "--json", "--out", out("run")];
    const { code, out: text, err } = await run("../bench/start", words);
    assert.is(code, 0, err);
    const list = lines(text) as unknown as Entry[];
    const printed = table(list, studies);
    const page = report(list, studies);
    assert.not.match(printed + page, /undefined|NaN|\[object/);
    for (const study of studies) {
      const found = groups(list, study);
      assert.equal(
        found.map(g => g.arm),
        Object.keys(study.arms),
        study.name,
      );
      for (const g of found) assert.ok(rows(study, g).length > 0 && printed.includes(g.label), g.label);
      assert.ok(study.figures(list, found).length > 0, `${study.name} draws nothing`);
      for (const part of [study.title, study.question, study.paper.title, study.paper.link, study.mechanism])
        assert.ok(page.includes(escaped(part)), part);
    }
  },
  "have every arm's results on record, and show some of them in the README"() {
    for (const study of studies) {
      for (const arm of Object.keys(study.arms))
        assert.ok(
          records.some(r => r.type === "result" && r.study === study.name && r.arm === arm),
          `${study.name} ${arm}`,
        );
      assert.ok(study.highlights.length > 0 && study.highlights.every(h => h.arm in study.arms), study.name);
    }
  },
});
