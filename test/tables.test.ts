// The room of tables as a person uses it, with a paper of its own, which is one object in a list: cells, shards,
// records, resuming, the page. What real tables say of records is tested with records made up here.
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parse, serialize } from "farsight";
import * as assert from "uvu/assert";
import { lines as drawn } from "../bench/charts/lines.ts";
import { CURVES } from "../bench/charts/svg.ts";
import { bag, num, type Entry } from "../bench/records.ts";
import { studies } from "../bench/studies/index.ts";
import { tapeOf, type Figure } from "../bench/study.ts";
import { groups, text } from "../bench/tables/groups.ts";
import { ledger, record } from "../bench/tables/ledger.ts";
import { outOf, specOf } from "../bench/tables/options.ts";
import { page } from "../bench/tables/page.ts";
import { papers } from "../bench/tables/papers.ts";
import { configOf, sorted } from "../bench/tables/shown.ts";
import {
  cellOf,
  crossed,
  identity,
  shardOf,
  type Cell,
  type Column,
  type Paper,
  type Table,
} from "../bench/tables/table.ts";
import { fails, suite } from "./check.ts";
import { command, fileOf, lines, run, scratch, type Ended, type Line } from "./program.ts";
import { toyPaper } from "./toy-paper.ts";

const at = scratch("tables");
const near = toyPaper.tables[0]!;
interface More {
  interrupt?: () => boolean;
  signal?: NodeJS.Signals;
  node?: readonly string[];
  env?: { [name: string]: string };
}
/** Runs the toy's table; its results lie in a folder beside --out. */
const toy = (name: string, words: readonly string[] = [], { env, ...how }: More = {}): Promise<Ended> =>
  run("./toy-tables", ["toy", "near", "--out", at(name), ...words], {
    env: { TOY_RESULTS: at(`${name} results`), ...env },
    ...how,
  });
const file = (name: string): string => join(at(`${name} results`), "toy-near.jsonl");
const results = (path: string): Line[] => (existsSync(path) ? lines(readFileSync(path, "utf8")) : []);
/** What results say, less what differs from run to run; in the order of cells. */
const said = (path: string): string[] =>
  results(path)
    .map(({ seconds: _s, date: _d, commit: _c, program: _p, machine: _m, ...rest }) => JSON.stringify(rest))
    .sort();
/** Holds once a checkpoint was written after this call. */
function saved(path: string): () => boolean {
  const since = Date.now();
  return () => (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0) > since;
}
const noStack = (text: string): void => assert.not.match(text, /^ {4}at /m);
const CELLS = near.cells.length;
const isWindows = process.platform === "win32";
const skipped = (): void => console.log("skipped: signals on Windows end a program at once");

suite("a table's cells", {
  "are told apart by paper, table, arm, setting, seed and config, whose order is of no account"() {
    const cell: Cell = { arm: "bold", setting: "4", seed: 1 };
    const config = { size: 4, lr: 0.1, note: "x" };
    const one = identity("toy", "near", cell, config);
    assert.match(one, /^[0-9a-f]{12}$/);
    assert.is(identity("toy", "near", { ...cell }, { note: "x", lr: 0.1, size: 4 }), one);
    const others = [
      identity("toy2", "near", cell, config),
      identity("toy", "far", cell, config),
      identity("toy", "near", { ...cell, arm: "shy" }, config),
      identity("toy", "near", { ...cell, setting: "16" }, config),
      identity("toy", "near", { ...cell, seed: 2 }, config),
      identity("toy", "near", cell, { ...config, lr: 0.2 }),
      identity("toy", "near", cell, { ...config, lr: "0.1" }),
      identity("toy", "near", cell, { ...config, more: 1 }),
    ];
    assert.is(new Set([one, ...others]).size, others.length + 1);
  },
  "are in exactly one shard each, in shards that differ by a cell at most"() {
    for (const n of [1, 2, 3, 5, 54, 100]) {
      const cells = crossed(["a", "b", "c"], ["1", "3", "5"], [1, 2, 3]);
      const shards = Array.from({ length: n }, (_, i) => shardOf(cells, { k: i + 1, n }));
      assert.equal(new Set(shards.flat()), new Set(cells), String(n));
      assert.is(shards.flat().length, cells.length, String(n));
      const sizes = shards.map(s => s.length);
      assert.ok(Math.max(...sizes) - Math.min(...sizes) <= 1, `${n}: ${sizes}`);
    }
  },
  "of real tables are no cell twice, and have one config each that names the number of steps"() {
    for (const paper of papers)
      for (const table of paper.tables) {
        const all = table.cells.map(cell => identity(paper.name, table.name, cell, configOf(table, cell, NOW)));
        assert.is(new Set(all).size, table.cells.length, table.name);
        for (const cell of table.cells) {
          assert.ok(cell.arm in table.arms, `${table.name}: ${cell.arm} has no name`);
          const [whole, quick] = [configOf(table, cell, NOW), configOf(table, cell, { ...NOW, quick: true })];
          const isTrained = whole["steps"] !== 0; // or worked out from a formula
          assert.ok(Number(quick["steps"]) < Number(whole["steps"]) || !isTrained, table.name);
          assert.not.equal(configOf(table, cell, { ...NOW, fast: true }), whole);
        }
      }
  },
});

suite("training a table", {
  async "trains what is missing, records a line a cell, prints the table and writes the page"() {
    const ended = await toy("whole");
    assert.is(ended.code, 0, ended.err);
    const all = results(file("whole"));
    assert.is(all.length, CELLS);
    assert.equal(new Set(all.map(l => `${l.arm} ${l.setting} ${l.seed}`)).size, CELLS);
    for (const l of all) {
      assert.equal(
        [l.type, l.paper, l.table, typeof l.commit, typeof l.program, typeof l.seconds],
        ["cell", "toy", "near", "string", "string", "number"],
      );
      assert.equal(l.config, near.config(cellOf(l), { quick: false }));
      assert.is(l.identity, identity("toy", "near", cellOf(l), near.config(cellOf(l), { quick: false })));
      assert.is((l.versions as Line).node, process.versions.node);
      assert.is((l.curve as number[][]).at(-1)![0], 40);
      assert.ok((l.curve as number[][]).length <= 160);
      const [figure] = l.figures as { kind: string; ends: [number, number, number[]] }[];
      assert.equal(Object.keys(figure!), ["kind", "ends"]);
      assert.equal(figure!.ends[2], [0.333], "maps have three digits");
    }
    assert.match(
      ended.out,
      /^arm +size +seeds +distance left +paper\nlarge steps +4 +2 +\S+ \(\S+ to \S+\) +0\.1250\n/,
    );
    assert.match(ended.out, /\nLarge steps come nearer\.\n$/);
    assert.equal(readdirSync(at("whole")), ["report.html"], "something was left behind");
    assert.equal(readdirSync(at("whole results")), ["toy-near.jsonl"], "a lock was left behind");
    const html = readFileSync(join(at("whole"), "report.html"), "utf8");
    for (const words of ["Nearing", "Large steps come nearer.", "Where all end.", "of a &#60;paper&#62;", "size 16"])
      assert.ok(html.includes(words), words);
    assert.not.match(html, /<script|src=|@import|url\(|NaN|undefined|\[object/);
    for (const l of all) assert.ok(html.includes(String(l.identity)), "a cell is not on the page");

    const before = readFileSync(file("whole"));
    const again = await toy("whole");
    assert.is(again.code, 0);
    assert.is(again.out, ended.out);
    assert.not.match(again.err, /done in/, "a cell that is on record was trained again");
    assert.equal(readFileSync(file("whole")).equals(before), true);
  },
  async "goes on after an interruption by the same command, with the bits of an undisturbed run"() {
    if (isWindows) return skipped();
    const words = ["--steps", "2000", "--setting", "64", "--jobs", "1"];
    const whole = join(at("undisturbed"), "results.jsonl");
    const cut = join(at("cut"), "results.jsonl");
    const checkpoint = join(at("cut"), "bold-64-1.safetensors");
    const env = { TOY_EVERY: "50", TOY_PAUSE: "20" };
    assert.is((await toy("undisturbed", words)).code, 0);
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      const ended = await toy("cut", words, { interrupt: saved(checkpoint), signal, env });
      assert.is(ended.code, 130, ended.err);
      assert.match(ended.err, /not done\n {2}bold, 64, seed 1: step \d+ of 2000\n {2}go on with: npm run bench -- toy/);
      assert.equal(readdirSync(at("cut")).sort(), ["bold-64-1.safetensors", "report.html"]);
    }
    const killed = await toy("cut", words, { interrupt: saved(checkpoint), signal: "SIGKILL", env });
    assert.is(killed.by, "SIGKILL");
    assert.ok(existsSync(checkpoint));
    const on = await toy("cut", words);
    assert.is(on.code, 0, on.err);
    assert.match(on.err, /bold, 64, seed 1: going on from step \d+/);
    assert.equal(said(cut), said(whole));
    assert.equal(readdirSync(at("cut")).sort(), ["report.html", "results.jsonl"]);
    assert.not.ok(existsSync(file("cut")), "what was tried out is among the results");
  },
  async "goes on after a kill at every change of the disk, with the same records"() {
    if (isWindows) return skipped();
    const words = ["--setting", "64", "--jobs", "1", "--steps", "3"];
    const failing = (counter: string, n = Infinity): More => {
      const url = pathToFileURL(fileOf("./disk-faults"));
      url.search = String(new URLSearchParams({ counter, fault: "kill", at: String(n) }));
      return { node: ["--import", url.href], env: { TOY_EVERY: "0" } };
    };
    assert.is((await toy("sound", words, failing(at("count")))).code, 0);
    const changes = statSync(at("count")).size;
    assert.ok(changes > 15, String(changes));
    let next = 1;
    async function lane(): Promise<void> {
      for (let n = next++; n <= changes; n = next++) {
        const name = `kill ${n}`;
        const ended = await toy(name, words, failing(at(`${name}.count`), n));
        const on = await toy(name, words);
        assert.is(on.code, 0, `${n}: ${ended.err}${on.err}`);
        const path = join(at(name), "results.jsonl");
        // A torn line stays, as a line that is none.
        const kept = readFileSync(path, "utf8").split("\n");
        writeFileSync(path, kept.filter(line => line.endsWith("}")).join("\n"));
        assert.equal(said(path), said(join(at("sound"), "results.jsonl")), `after a kill at ${n}`);
        // Parts go once they are old, and a dead process's lock on results once somebody writes there.
        const left = readdirSync(at(name)).filter(f => !/\.part$|^results\.jsonl\.lock/.test(f));
        assert.equal(left.sort(), ["report.html", "results.jsonl"], `left over after a kill at ${n}`);
      }
    }
    await Promise.all([lane(), lane()]);
  },
  async "removes the checkpoint that a kill between record and removal left, and parts that are old"() {
    assert.is((await toy("between", ["--setting", "64"])).code, 0);
    const left = join(at("between"), "bold-64-1.safetensors");
    const [old, young] = ["report.html.12.0.part", "report.html.13.0.part"].map(name => join(at("between"), name));
    for (const path of [left, old!, young!]) writeFileSync(path, "any bytes");
    utimesSync(old!, 1, 1);
    const before = readFileSync(file("between"));
    assert.is((await toy("between", ["--setting", "64"])).code, 0);
    assert.equal(readdirSync(at("between")).sort(), ["report.html", "report.html.13.0.part"]);
    assert.equal(readFileSync(file("between")).equals(before), true);
  },
  async "takes no checkpoint of another program or config, and changes nothing, unless told to"() {
    if (isWindows) return skipped();
    const words = ["--steps", "8000", "--setting", "64"];
    const interrupt = saved(join(at("origins"), "bold-64-1.safetensors"));
    assert.is((await toy("origins", words, { interrupt, env: { TOY_EVERY: "50", TOY_PAUSE: "20" } })).code, 130);
    const path = join(at("origins"), "bold-64-1.safetensors");
    const good = readFileSync(path);
    const { tensors, metadata } = parse(good);
    const made = JSON.parse(metadata["origin"]!) as object;
    const { "farsight.checksum": _, ...notes } = metadata;
    const other = serialize([...tensors], { ...notes, origin: JSON.stringify({ ...made, commit: "111" }) });
    writeFileSync(path, other);
    const refused = await toy("origins", words);
    assert.is(refused.code, 2, refused.err);
    assert.match(
      refused.err,
      /bold, 64, seed 1: begun by another program\n {2}wants .*commit 111,.*\n {2}got .*--anyway/s,
    );
    assert.ok(readFileSync(path).equals(other));
    const config = await toy("origins", ["--steps", "3000", "--setting", "64"]);
    assert.is(config.code, 2, config.err);
    assert.match(
      config.err,
      /this is a checkpoint of another config\n {2}in .*\n {2}train this cell from its beginning/,
    );
    writeFileSync(path, good.subarray(0, 1000));
    const broken = await toy("origins", words);
    assert.is(broken.code, 2);
    assert.match(broken.err, /bold, 64, seed 1: .*\n {2}in .*bold-64-1\.safetensors/s);
    for (const { err } of [refused, config, broken]) noStack(err);
    writeFileSync(path, other);
    const anyway = await toy("origins", [...words, "--anyway"]);
    assert.is(anyway.code, 0, anyway.err);
    assert.match(anyway.err, /begun by another program \(.*\); it goes on with this one/);
    const [line] = results(join(at("origins"), "results.jsonl"));
    assert.is(line!.begun, "111", "the record does not say by whom it was begun");
  },
  async "does not use a result of another config, says so, and keeps it"() {
    mkdirSync(at("stale results"), { recursive: true });
    const [first] = near.cells as [Cell];
    const config = { ...near.config(first, { quick: false }), lr: 7 };
    const old = { type: "cell", identity: identity("toy", "near", first, config), ...first, commit: "abc", config };
    writeFileSync(file("stale"), `${JSON.stringify({ ...old, metrics: { distance: 0 } })}\n`);
    const listing = (): Promise<Ended> => run("./toy-tables", ["toy"], { env: { TOY_RESULTS: at("stale results") } });
    const before = await listing();
    assert.is(before.code, 0, before.err);
    assert.match(
      before.out,
      /near: Nearing \(Table 1\)\n {2}0 of 9 cells done\n {2}1 of another config: bold, 4, seed 1/,
    );
    assert.match(before.out, /missing: bold 4 \(seeds 1, 2\); shy 4 \(seeds 1, 2\);.*bold 64 \(seed 1\)/);
    const ended = await toy("stale", ["--setting", "4", "--arm", "bold"]);
    assert.is(ended.code, 0, ended.err);
    assert.match(ended.err, /of another config, not used: bold, 4, seed 1 \(commit abc\)/);
    assert.is(results(file("stale")).length, 3);
    assert.not.match(ended.out, / 0\.0000/);
    const html = readFileSync(join(at("stale"), "report.html"), "utf8");
    assert.match(html, /Not used, for they are of another config: bold, 4, seed 1\./);
    assert.match((await listing()).out, /2 of 9 cells done/);
  },
  async "trains anew and replaces the line with --again, and no other"() {
    await toy("again", ["--setting", "4"]);
    const before = results(file("again"));
    const ended = await toy("again", ["--setting", "4", "--arm", "shy", "--seeds", "2", "--again"]);
    assert.is(ended.code, 0, ended.err);
    assert.match(ended.err, /shy, 4, seed 2: done in/);
    const after = results(file("again"));
    const isIt = (l: Line): boolean => l.arm === "shy" && l.seed === 2;
    assert.equal(
      after.filter(l => !isIt(l)),
      before.filter(l => !isIt(l)),
    );
    assert.is(after.filter(isIt).length, 1);
    assert.not.equal(after.find(isIt)!.date, before.find(isIt)!.date);
    assert.equal(after.find(isIt)!.metrics, before.find(isIt)!.metrics);
  },
  async "ends with 1 where a cell fails, and keeps those that did not"() {
    const ended = await toy("fails", ["--jobs", "1"], { env: { TOY_FAILS: "64" } });
    assert.is(ended.code, 1);
    assert.match(ended.err, /bold, 64, seed 1: made to fail/);
    noStack(ended.err);
    assert.match(ended.err, /not done\n {2}bold, 64, seed 1: failed/);
    assert.ok(results(file("fails")).length > 0);
    // It failed in its tests: the training is kept.
    const on = await toy("fails", ["--setting", "64"]);
    assert.is(on.code, 0, on.err);
    assert.match(on.err, /bold, 64, seed 1: going on from step 40\n/);
    await toy("sound", ["--setting", "64"]);
    const isIt = (line: string): boolean => line.includes('"setting":"64"');
    assert.equal(said(file("fails")).filter(isIt), said(file("sound")).filter(isIt));
  },
  async "ends with 1 where a lock cannot be had for the disk's sake, and the others leave their checkpoints"() {
    mkdirSync(join(at("lock"), "shy-4-1.safetensors.lock.1"), { recursive: true }); // no file that could be read
    const words = ["--setting", "4", "--seeds", "1", "--steps", "2000", "--jobs", "2"];
    const ended = await toy("lock", words, { env: { TOY_PAUSE: "20" } });
    assert.is(ended.code, 1, ended.err);
    noStack(ended.err);
    assert.match(ended.err, /^shy, 4, seed 1: could not read .*shy-4-1\.safetensors\.lock\.1: a folder stands/m);
    assert.match(ended.err, /not done\n {2}bold, 4, seed 1: step \d+ of 2000\n {2}shy, 4, seed 1: failed\n/);
    assert.ok(existsSync(join(at("lock"), "bold-4-1.safetensors")));
  },
  async "keeps a checkpoint of another config than what is on record"() {
    if (isWindows) return skipped();
    assert.is((await toy("two", ["--setting", "64"])).code, 0);
    const path = join(at("two"), "bold-64-1.safetensors");
    const longer = ["--setting", "64", "--steps", "2000"];
    const env = { TOY_EVERY: "50", TOY_PAUSE: "20" };
    assert.is((await toy("two", longer, { interrupt: saved(path), env })).code, 130);
    const before = readFileSync(path);
    assert.is((await toy("two", ["--setting", "64"])).code, 0);
    assert.ok(existsSync(path) && readFileSync(path).equals(before));
    assert.match((await toy("two", longer)).err, /bold, 64, seed 1: going on from step \d+/);
  },
  async "says where results come from several programs"() {
    assert.is((await toy("mixed", ["--setting", "64,16", "--seeds", "1", "--jobs", "1"])).code, 0);
    const report = (): Promise<Ended> => toy("mixed", ["--report"]);
    const html = (): string => readFileSync(join(at("mixed"), "report.html"), "utf8");
    assert.not.match((await report()).err + html(), /results of \d programs/);
    const [first, ...rest] = results(file("mixed"));
    const made = [{ ...first, program: "0123456789ab", commit: "abc" }, ...rest];
    writeFileSync(file("mixed"), made.map(l => `${JSON.stringify(l)}\n`).join(""));
    const { program, commit } = rest[0] as { program: string; commit: string };
    const both = [`1 of 0123456789ab (commit abc)`, `2 of ${program} (commit ${commit || "unknown"})`];
    const words = `These are results of 2 programs: ${both.join(" and ")}.`;
    assert.ok((await report()).err.includes(words), (await report()).err);
    assert.ok(html().includes(words));
  },
});
const NOW = { quick: false, fast: false };

suite("several processes at a table", {
  async "do every cell once between them, without shards, and tear no line"() {
    const words = ["--jobs", "2"];
    const all = await Promise.all([1, 2, 3].map(() => toy("shared", words)));
    for (const { code, err } of all) assert.is(code, 0, err);
    const cells = results(file("shared")).map(l => `${l.arm} ${l.setting} ${l.seed}`);
    assert.is(cells.length, CELLS);
    assert.is(new Set(cells).size, CELLS);
    const done = all.flatMap(({ err }) => [...err.matchAll(/^(.*): done in/gm)].map(m => m[1]));
    assert.is(done.length, CELLS, "a cell was trained twice");
  },
  async "leave a cell to whoever has it"() {
    if (isWindows) return skipped();
    const words = ["--steps", "100000000", "--setting", "64"];
    let ended = false;
    const first = run("./toy-tables", ["toy", "near", "--out", at("held"), ...words], {
      env: { TOY_RESULTS: at("held results") },
      interrupt: () => ended,
    });
    const taken = join(at("held"), "bold-64-1.safetensors.lock.1");
    for (let waits = 0; waits < 3000 && !existsSync(taken); waits++) await new Promise(r => setTimeout(r, 10));
    const limit = Date.now() + 30_000; // lest it train what it should leave
    const second = await toy("held", words, { interrupt: () => Date.now() > limit });
    ended = true;
    assert.is(second.code, 0, second.err);
    assert.match(second.err, /bold, 64, seed 1: in use by process \d+/);
    assert.is((await first).code, 130);
  },
  async "append whole lines, however long, and each result once"() {
    const path = at("many.jsonl");
    const of = (n: number): Entry => ({ type: "cell", identity: `${n}`, long: String(n).repeat(50_000) });
    // Each waits for the others, so that all are at it at once.
    const program = `
      import { existsSync, writeFileSync } from "node:fs";
      import { record } from ${JSON.stringify(pathToFileURL(fileOf("../bench/tables/ledger")).href)};
      const [path, me] = process.argv.slice(1);
      const of = ${String(of)};
      writeFileSync(path + me, "");
      while (![1, 2, 3].every(n => existsSync(path + n)));
      for (let n = 0; n < 30; n++) await record(path, of(n), false);`;
    const words = ["--input-type=module", "-e", program, path];
    const all = await Promise.all(["1", "2", "3"].map(me => command(process.execPath, [...words, me])));
    for (const { code, err } of all) assert.is(code, 0, err);
    const found = lines(readFileSync(path, "utf8"));
    assert.is(found.length, 30);
    for (const l of found) assert.equal(l, of(Number(l.identity)));
    writeFileSync(path, `${readFileSync(path, "utf8")}{"type":"cell","iden`);
    await record(path, of(30), false);
    const { results: whole, torn } = ledger(path);
    assert.equal([whole.size, torn], [31, 1]);
    await record(path, { ...of(3), long: "short" }, true);
    const after = ledger(path);
    assert.equal([after.results.size, after.torn, after.results.get("3")!["long"]], [31, 1, "short"]);
  },
  async "share it by shards, as the line in the README has it"() {
    const readme = readFileSync("bench/README.md", "utf8");
    const line = /^seq 4 \| parallel (npm run bench -- cope counting) (.*--shard \{\}\/4)$/m.exec(readme);
    assert.ok(line, "no line for GNU parallel");
    const [, call, rest] = line as unknown as [string, string, string];
    assert.ok(call && rest);
    const has = spawnSync("sh", ["-c", "parallel --version"]).stdout?.toString().startsWith("GNU parallel");
    const by = has ? "parallel" : "xargs -P 4 -I{}";
    const program = `'${process.execPath}' '${fileOf("./toy-tables")}' toy near --out '${at("parallel")}'`;
    const { code, err } = await command(
      "sh",
      ["-c", `seq 4 | ${by} ${program.replaceAll("'", has ? "\\'" : "'")} ${rest}`],
      {
        env: { TOY_RESULTS: at("parallel results") },
      },
    );
    assert.is(code, 0, err);
    const cells = results(file("parallel")).map(l => `${l.arm} ${l.setting} ${l.seed}`);
    assert.is(cells.length, CELLS);
    assert.is(new Set(cells).size, CELLS);
    assert.not.match(err, /in use by/, "two shards wanted the same cell");
  },
  async "leave a checkpoint where a cluster ends them, by the command that the README has for it"() {
    if (isWindows) return skipped();
    const readme = readFileSync("bench/README.md", "utf8");
    const calls = [...readme.matchAll(/exec (node build\.mjs bench cope counting --jobs 1) --shard/g)].map(m => m[1]!);
    assert.is(calls.length, 2, "a Slurm array and a Kubernetes job");
    assert.is(calls[0], calls[1]);
    const root = fileURLToPath(new URL("../../..", import.meta.url));
    // Built the same way as this is, or the library would be built anew under the other tests.
    const isDebug = readFileSync(join(root, "dist/dev/library.stamp"), "utf8").endsWith("-debug");
    const rest = `--arm none --setting 1 --seeds 1 --steps 100000 --out '${at("cluster")}'${isDebug ? " --debug" : ""}`;
    const ended = await command("sh", ["-c", `exec ${calls[0]} ${rest}`], {
      interrupt: () => existsSync(join(at("cluster"), "none-1-1.safetensors.lock.1")),
      signal: "SIGTERM",
      cwd: root,
    });
    assert.is(ended.code, 130, ended.err);
    assert.match(ended.err, /none, 1, seed 1: step \d+ of 100000\n/);
    assert.equal(readdirSync(at("cluster")), ["none-1-1.safetensors", "report.html"]);
  },
});

suite("the command line of tables", {
  async "is refused with one clear error and status 2 where it makes no sense"() {
    for (const [words, said] of [
      [["tyo"], /^unknown paper "tyo", did you mean toy\?/],
      [[], /^which paper\? toy\n$/],
      [["toy", "ner"], /^unknown table "ner"; toy has near, far\n$/],
      [["toy", "near", "more"], /^unexpected argument "more"/],
      [["toy", "near", "--shard", "0/3"], /^--shard: which part\?\n {2}wants K\/N, K from 1 to N\n {2}got {3}0\/3\n$/],
      [["toy", "near", "--shard", "4/3"], /^--shard: /],
      [["toy", "near", "--shard", "3"], /^--shard: /],
      [["toy", "near", "--shard", "1/2/3"], /^--shard: /],
      [["toy", "near", "--arm", "bald"], /^--arm: there is no "bald"\n {2}wants bold, shy\n {2}got {3}bald\n$/],
      [["toy", "near", "--setting", "4,5"], /^--setting: there is no "5"\n {2}wants 4, 16, 64\n/],
      [["toy", "near", "--seeds", "1,9"], /^--seeds: there is no "9"\n {2}wants 1, 2\n/],
      [["toy", "near", "--arm", "shy", "--setting", "64"], /^the table has no cell with these arms/],
      [["toy", "near", "--report", "--again"], /^--report --again: only one of them\n$/],
      [["toy", "near", "--paper", "--report"], /^--report --paper: only one of them\n$/],
      [["toy", "far", "--paper"], /^--paper: the paper's sizes of far are not known\n$/],
      [["toy", "near", "--jobs", "0"], /^--jobs wants a whole number from 1 to 64, got "0"/],
      [["toy", "near", "--steps", "x"], /^--steps wants /],
      [["toy", "near", "--resume"], /^unknown option --resume/],
    ] as const) {
      const { code, out, err } = await run("./toy-tables", words, { env: { TOY_RESULTS: at("wrong") } });
      assert.is(code, 2, words.join(" "));
      assert.match(err, said);
      assert.is(out, "");
      noStack(err);
    }
    assert.not.ok(existsSync(at("wrong")));
    writeFileSync(at("a file"), "kept");
    const { code, err } = await toy("a file");
    assert.is(code, 2);
    assert.match(err, /^--out: .*a file cannot be used: a file stands where a folder is wanted\n$/);
  },
  async "leads from npm run bench to the papers, and lists their tables"() {
    for (const paper of papers) {
      const listed = await run("../bench/bench", [paper.name]);
      assert.is(listed.code, 0, listed.err);
      for (const table of paper.tables) {
        assert.ok(listed.out.includes(`${table.name}: ${table.title} (${table.where})`), listed.out);
        assert.match(listed.out, new RegExp(`\\d+ of ${table.cells.length} cells? done`));
      }
      assert.ok((await run("../bench/bench", ["--help"])).out.includes(paper.title));
      assert.match((await run("../bench/bench", [paper.name, "--help"])).out, /--shard <string> +3\/12/);
    }
  },
  async "shows what is on record without training, and says so where nothing is"() {
    const { code, out, err } = await toy("nothing", ["--report"]);
    assert.is(code, 0, err);
    assert.is(out, "near: no results\n");
    assert.match(readFileSync(join(at("nothing"), "report.html"), "utf8"), /No cell is on record\./);
    assert.not.ok(existsSync(file("nothing")));
  },
  "refuses a file's option that is another table's or the program's own"() {
    const of = (...files: (readonly [name: string, files: Table["files"]])[]): Paper => ({
      ...toyPaper,
      tables: files.map(([name, files]) => ({ ...near, name, ...(files && { files }) })),
    });
    const options = specOf([of(["one", { a: "a file" }], ["two", { a: "a file", b: "another" }])]).options;
    assert.equal(
      ["a", "b"].map(name => (options as Record<string, { help: string }>)[name]!.help),
      ["a file (one, two)", "another (two)"],
    );
    fails(
      () => specOf([of(["one", { a: "a file" }]), of(["two", { a: "another" }])]),
      /^Error: --a of two: there is such an option already\n {2}wants a file\n {2}got {3}another$/,
    );
    fails(() => specOf([of(["one", { out: "a file" }])]), /^Error: --out of one: there is such an option already\n/);
  },
  async "makes the first steps at the paper's sizes, says how long all take, and records nothing"() {
    const { code, out, err } = await toy("sizes", ["--paper", "--arm", "shy", "--setting", "4,16"]);
    assert.is(code, 0, err);
    const each = (size: number): string =>
      `shy, ${size / 2}, seed 1: size ${size}, lr 0\\.0001, steps 50\\n {2}20 steps of 50, loss \\S+, ` +
      "\\d+ tokens a second, \\S+ s a step\\n {2}all steps: \\S+ hours\\n";
    const sum = "the table's 9 cells at the mean of these pace: \\S+ hours one after the other\n";
    assert.match(out, new RegExp(`^${each(8)}${each(32)}${sum}$`));
    assert.not.ok(existsSync(file("sizes")) || existsSync(at("sizes")));
    const more = await toy("sizes", ["--paper", "--steps", "30"]);
    assert.match(more.out, /30 steps of 50/);
    // 100 passes in batches of 64, and positions as the paper's script has them.
    const whole = counting.published!({ arm: "relative", setting: "3", seed: 1 });
    assert.equal([whole["steps"], whole["relative table"], "rows" in whole], [15_700, "shared", false]);
    const few = countingData.published!({ arm: "cope", setting: "2000", seed: 1 });
    assert.equal([few["steps"], few["rows"], few["scaling"]], [3200, 513, "ram"]);
  },
});

/** Made-up results of a table. `value`: a metric of a cell. */
function madeUp(paper: Paper, table: Table, value: (cell: Cell, key: string) => number | undefined): Entry[] {
  return table.cells.map(cell => {
    const config = configOf(table, cell, NOW);
    const metrics = Object.fromEntries(table.columns.map(({ key }) => [key, value(cell, key)]));
    return {
      ...{ type: "cell", identity: identity(paper.name, table.name, cell, config), ...cell, config },
      ...{ metrics: { ...metrics, tests: 1000, chance: 79 }, seconds: 600, commit: "abc", date: "2026-01-01" },
      ...{
        versions: { node: "20" },
        machine: { cpu: "A & B", cores: 2 },
        curve: [
          [1, 2.5],
          [2, 0.1, 0.9],
        ],
        figures: [],
      },
    };
  });
}

/** The page of a table's results. */
function paged(paper: Paper, table: Table, results: readonly Entry[], more: object = {}): string {
  const o = { ...NOW, paper, table, out: outOf(paper, table), ...more } as unknown as Parameters<typeof page>[0];
  const found = sorted(o, new Map(results.map(e => [String(e["identity"]), e])));
  return page(o, found, 0);
}

/** A number of a cell, another one in each column; seeds are 1 apart. */
const numberOf =
  ({ arms, columns, cells }: Table) =>
  ({ arm, setting, seed }: Cell, key: string): number =>
    10 +
    8 * columns.findIndex(c => c.key === key) +
    1.5 * [...new Set(cells.map(c => c.setting))].indexOf(setting) +
    Object.keys(arms).indexOf(arm) / 10 +
    seed;
/** "4.5 %" */
const worded = ({ unit, digits }: Column, v: number): string => v.toFixed(digits) + (unit && ` ${unit}`);

/** What the row of an arm has to say of those numbers: the seeds, and by column ours and the paper's beside it. */
function rowOf(table: Table, arm: string, setting: string): string[] {
  const cells = table.cells.filter(c => c.arm === arm && c.setting === setting);
  const numbers = table.columns.flatMap(column => {
    const values = cells.map(cell => numberOf(table)(cell, column.key));
    const here = values.reduce((sum, v) => sum + v, 0) / values.length;
    // Of one seed the 95 % interval of a share of 1000 (Agresti and Coull).
    const share = (here * 10 + 2) / 1004;
    const half = 2 * Math.sqrt((share * (1 - share)) / 1004);
    const one = column.unit === "%" ? [100 * (share - half), 100 * (share + half)] : [];
    const range = values.length > 1 ? [Math.min(...values), Math.max(...values)] : one;
    const words = range.map(v => v.toFixed(column.digits)).join(" to ");
    const paper = column.published?.(arm, setting);
    return [worded(column, here) + (words && ` (${words})`), ...(paper === undefined ? [] : [worded(column, paper)])];
  });
  return [String(cells.length), ...numbers];
}

suite("the pages of tables", {
  "hold every number on record, with and without any of the records, and never a broken one"() {
    for (const paper of papers)
      for (const table of paper.tables) {
        const all = madeUp(paper, table, numberOf(table));
        const html = paged(paper, table, all);
        const printed = text(table, groups(table, all)).split("\n");
        const rows = html.match(/<tr.*<\/tr>/g)!.map(row => row.replace(/<\/?small>/g, "").replace(/(<[^>]*>)+/g, "|"));
        for (const [arm, label] of Object.entries(table.arms))
          for (const setting of new Set(table.cells.filter(c => c.arm === arm).map(c => c.setting))) {
            const words = rowOf(table, arm, setting);
            const said = `|${label}|${words.join("|")}|`.replaceAll(" %", "\u00a0%");
            assert.is(rows.filter(row => row.endsWith(said)).length, 1, `${table.name}: ${said}`);
            const line = [label, setting, ...words].join(" ");
            assert.ok(printed.map(l => l.replace(/ +/g, " ")).includes(line), `${table.name}: ${line}`);
          }
        for (const cell of table.cells) {
          const name = identity(paper.name, table.name, cell, configOf(table, cell, NOW));
          const words = table.columns.map(c => worded(c, numberOf(table)(cell, c.key)));
          const said = `|${[cell.seed, ...words, "10m00s"].join("|")}|`.replaceAll(" %", "\u00a0%");
          const row = rows.find(row => row.endsWith(`|${name}|`))!;
          assert.ok(row.includes(said), `${row} has not ${said}`);
        }
        for (const { paper: there, here } of table.differences)
          assert.ok(
            [there, here].every(words => html.includes(words.replaceAll("'", "&#39;"))),
            table.name,
          );
        for (const rest of [all, all.slice(1), all.slice(0, 1), all.slice(0, -1), []]) {
          const printed = text(table, groups(table, rest));
          assert.not.match(paged(paper, table, rest) + printed, /undefined|NaN|\[object|Infinity/, table.name);
        }
      }
  },
});

suite("what is drawn of a table", {
  "has a look of its own for every arm of every table and study"() {
    for (const { name, arms } of [...papers.flatMap(p => p.tables), ...studies]) {
      const list = Object.keys(arms);
      assert.ok(list.length <= CURVES, `${name} has ${list.length} arms, and ${CURVES} curves can be told apart`);
      const series = list.map((arm, colour) => ({ name: arm, colour, points: [[0, colour] as const], dots: true }));
      const svg = drawn({ title: "", series, x: { label: "x" }, y: { label: "y" } });
      for (const kind of ['path class="line (s[^"]*)', 'circle class="([^"]*)', 'class="name ([^"]*)']) {
        const looks = [...svg.matchAll(new RegExp(`${kind}"`, "g"))].map(m => m[1]!);
        assert.equal([looks.length, new Set(looks).size], [list.length, list.length], `${name}: ${looks}`);
      }
    }
  },
  "has relative positions that are capped, and those that are extended, alike here and in the paper"() {
    const [paper, table] = papers.flatMap(p => p.tables.map(t => [p, t] as const)).find(([, t]) => t.name === "text")!;
    const results = madeUp(paper, table, numberOf(table));
    const [{ charts }] = table.figures(results, groups(table, results)) as [Figure];
    assert.is(charts.length, 2);
    const looks = charts.map(svg =>
      Object.fromEntries([...svg.matchAll(/class="name ([^"]*)">([^<]*)</g)].map(m => [m[2]!, m[1]!])),
    );
    const [ours, theirs] = looks as [Record<string, string>, Record<string, string>];
    assert.equal(Object.keys(theirs).sort(), ["CoPE", "relative, capped", "relative, extended"]);
    for (const [name, look] of Object.entries(theirs)) assert.is(look, ours[name], name);
    assert.is(new Set(Object.values(ours)).size, Object.keys(ours).length);
  },
  "says what accuracy is of, and how to train what is missing"() {
    for (const paper of papers)
      for (const table of paper.tables) {
        const all = madeUp(paper, table, numberOf(table));
        const of = table.accuracy ? ` ${table.accuracy}` : "";
        assert.ok(paged(paper, table, all).includes(`>share answered right${of}<`), table.name);
        const files = table.name === "text" ? " --text FILE --held FILE" : "";
        const call = `<code>npm run bench -- ${paper.name} ${table.name}${files}`;
        assert.ok(paged(paper, table, all).includes(`${call}</code>`), table.name);
        const more = { quick: true, fast: true, steps: 7, out: "elsewhere" };
        const whole = `${call} --fast --quick --steps 7 --out elsewhere</code>`;
        assert.ok(paged(paper, table, [], more).includes(whole), table.name);
      }
  },
});

/** What a table says of made-up results, in words. */
const concluded = (table: Table, value: (cell: Cell, key: string) => number | undefined): string => {
  const [paper] = papers.filter(p => p.tables.includes(table));
  const results = madeUp(paper!, table, value).filter(e => num(bag(e["metrics"])["error"]) !== undefined);
  return table.conclusion(groups(table, results)).replaceAll("\u00a0", " ");
};
const [counting, countingData] = ["counting", "counting-data"].map(name =>
  papers.flatMap(p => p.tables).find(t => t.name === name)!,
) as [Table, Table];
/** Errors by arm, the same in every setting; seeds differ by a tenth. */
const errors =
  (all: { readonly [arm: string]: number }) =>
  ({ arm, seed }: Cell): number | undefined =>
    all[arm] === undefined ? undefined : all[arm] + seed / 10;

suite("the counting table", {
  "says who counts best, and that the paper's order is found, only where the numbers say so"() {
    const paper = concluded(counting, errors({ cope: 1, relative: 5, absolute: 20 }));
    assert.match(
      paper,
      /^1 variable: CoPE counts best, 1\.2 % with CoPE, 5\.2 % with relative and 20\.2 % with absolute /,
    );
    const lone = concluded(counting, errors({ cope: 1, relative: 5, absolute: 20, rope: 30 }));
    assert.match(lone, /^1 variable: CoPE counts best \(one seed\), .* 20\.2 % with absolute and 30\.1 % with rope /);
    const order = "The paper's order, CoPE before relative before absolute,";
    const every = "1 variable, 3 variables and 5 variables";
    assert.ok(paper.includes(`${order} is found with ${every}.`), paper);
    const turned = concluded(counting, errors({ cope: 20, relative: 5, absolute: 1 }));
    assert.match(turned, /^1 variable: absolute counts best, 1\.2 % with absolute/);
    const pairs = "(CoPE before relative and relative before absolute)";
    assert.ok(turned.includes(`${order} is not found beyond chance ${pairs} with ${every}.`), turned);
    const close = concluded(counting, errors({ cope: 5, relative: 5.1, absolute: 5.2 }));
    assert.match(close, /^1 variable: no clear winner, 5\.2 % with CoPE/);
    assert.ok(close.includes(`${order} is not found beyond chance ${pairs} with ${every}.`), close);
    const chance = concluded(counting, errors({ cope: 79, relative: 80 }));
    assert.match(
      chance,
      /^1 variable: nothing counts: 79\.2 % error at best, and 79 % for always the commonest answer\./,
    );
    const some = concluded(counting, ({ arm, setting, seed }) =>
      errors(setting === "3" ? { cope: 9, relative: 1, absolute: 5 } : { cope: 0, relative: 1, absolute: 5 })({
        ...{ arm, setting, seed },
      }),
    );
    const not = "is not found beyond chance (CoPE before relative) with 3 variables";
    assert.ok(some.includes(`${order} is found with 1 variable and 5 variables and ${not}.`), some);
    const one = concluded(counting, cell =>
      cell.seed > 1 && (cell.arm === "relative" || cell.setting === "3")
        ? undefined
        : errors({ cope: 1, relative: 5, absolute: 20 })(cell),
    );
    assert.match(one, /^1 variable: CoPE counts best \(one seed\), 1\.2 % with CoPE, 5\.1 % with relative and/);
    assert.ok(one.includes(`${order} is found (one seed) with ${every}.`), one);
    const wide = concluded(counting, ({ arm, seed }) => ({ cope: 1, relative: 2, absolute: 6 * seed - 5 })[arm]);
    assert.match(wide, /^1 variable: no clear winner, 1 % with CoPE, 2 % with relative and 7 % with absolute/);
    const alone = concluded(counting, errors({ cope: 1 }));
    assert.match(alone, /^1 variable: 1\.2 % error with CoPE, the only arm on record\./);
    assert.not.match(alone, /order/);
  },
  "says what becomes of CoPE and relative on other programs"() {
    const said = concluded(counting, (cell, key) =>
      key === "error" ? errors({ cope: 1, relative: 5 })(cell) : cell.arm === "cope" ? 2 : 60,
    );
    const each = "1 variable: 2 % with CoPE and 60 % with relative; 3 variables: 2 %";
    assert.ok(said.includes(`Programs with twice the share of passes, without further training: ${each}`), said);
    assert.ok(said.includes(`Programs of twice the length, without further training: ${each}`), said);
  },
  "says in how many sizes of the training set CoPE errs less"() {
    const all = concluded(countingData, errors({ cope: 1, relative: 5 }));
    const sum = / With as many programs CoPE has the lower error, beyond chance, in 4 of 4 sizes\.$/;
    assert.match(all, /^2000 programs: CoPE counts best, /);
    assert.match(all, sum);
    const one = concluded(countingData, cell => (cell.seed > 1 ? undefined : errors({ cope: 1, relative: 5 })(cell)));
    assert.match(one, /^2000 programs: CoPE counts best \(one seed\), .* in 4 of 4 sizes \(one seed\)\.$/);
    const half = concluded(countingData, cell =>
      errors(Number(cell.setting) > 4000 ? { cope: 1, relative: 1 } : { cope: 1, relative: 5 })(cell),
    );
    assert.match(half, /10000 programs: no clear winner, .* in 2 of 4 sizes\.$/);
  },
  "trains every step on samples that follow from seed and step alone, of a fixed set where there is one"() {
    const cell = { arm: "cope", setting: "2000", seed: 1 };
    const config = configOf(countingData, cell, { ...NOW, quick: true });
    assert.is(config["samples"], 2000);
    assert.not.ok("samples" in configOf(counting, { ...cell, setting: "1" }, NOW));
    const { samples: _, ...fresh } = config;
    const small = { ...fresh, "program steps": 8, d: 8, layers: 1, heads: 1, batch: 2 };
    const losses = (samples: number, steps: readonly number[], seed = 1): number[] => {
      const tape = tapeOf({ seed });
      const trial = countingData.train({ ...cell, seed }, { ...small, ...(samples && { samples }) }, tape, {});
      return steps.map(step => tape.scope(() => tape.noGrad(() => trial.loss(step).item())));
    };
    for (const samples of [0, 5, 1000]) {
      const [first, ninth, again, third] = losses(samples, [0, 9, 0, 3]);
      assert.equal(losses(samples, [9, 3, 0]), [ninth, third, first], `${samples} samples`);
      assert.is(again, first);
      if (samples !== 5) assert.is(new Set([first, ninth, third]).size, 3, `${samples} samples`);
      assert.not.equal(losses(samples, [0], 2), [first]);
    }
    const one = losses(
      1,
      Array.from({ length: 20 }, (_, i) => i),
    );
    assert.is(new Set(one).size, 1, "a set of one sample has others");
  },
});
