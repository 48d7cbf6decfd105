// Locks: one holder at a time, whoever dies, and however many come at once.
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as assert from "uvu/assert";
import { lock } from "../bench/lock.ts";
import { suite, thrown } from "./check.ts";
import { fileOf, run, scratch } from "./program.ts";

const out = scratch("lock");
/** Takes a lock, says what came of it, and holds it until its stdin ends. */
const PROGRAM = `
  import { lock } from ${JSON.stringify(pathToFileURL(fileOf("../bench/lock")).href)};
  process.stdin.once("data", () => {
    try {
      lock(process.argv[1]);
      console.log("held");
    } catch (error) {
      console.log(error.message);
    }
  });
  process.stdin.resume();
  console.log("ready");`;

/** Takes a lock, but at the moment of taking it another process takes the number above, as its own. */
const OVERTAKEN = `
  import fs from "node:fs";
  import { syncBuiltinESMExports } from "node:module";
  const [path, above, owner] = process.argv.slice(1);
  const { linkSync } = fs;
  fs.linkSync = (part, mine) => {
    fs.writeFileSync(above, owner);
    linkSync(part, mine);
  };
  syncBuiltinESMExports();
  const { lock } = await import(${JSON.stringify(pathToFileURL(fileOf("../bench/lock")).href)});
  try {
    lock(path);
    console.log("held");
  } catch (error) {
    console.log(error.message);
  }`;

interface Taker {
  child: ChildProcess;
  /** What it said on a line of its own. */
  line(): Promise<string>;
}
async function taker(path: string): Promise<Taker> {
  const child = spawn(process.execPath, ["--input-type=module", "-e", PROGRAM, path], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const line = async (): Promise<string> => String((await once(child.stdout!, "data"))[0]).trim();
  assert.is(await line(), "ready");
  return { child, line };
}
async function taken(taker: Taker): Promise<string> {
  const said = taker.line();
  taker.child.stdin!.write("take it\n");
  return said;
}
async function ended({ child }: Taker, signal?: NodeJS.Signals): Promise<void> {
  const closed = once(child, "close");
  if (signal) child.kill(signal);
  else child.stdin!.end();
  await closed;
}

suite("a lock", {
  async "is held by one process, given back when that ends, and leaves no file"() {
    const path = join(out("one"), "lock");
    const [first, second] = await Promise.all([taker(path), taker(path)]);
    assert.is(await taken(first), "held");
    assert.is(await taken(second), `in use by process ${first.child.pid}`);
    assert.is(
      thrown(Error, () => lock(path)),
      `in use by process ${first.child.pid}`,
    );
    await ended(first);
    const release = lock(path);
    assert.is(
      thrown(Error, () => lock(path)),
      `in use by process ${process.pid}`,
    );
    release();
    await ended(second);
    assert.equal(readdirSync(out("one")), []);
  },
  async "is taken over from the dead by one of those who come at once"() {
    for (let round = 0; round < 3; round++) {
      const folder = out(`race ${round}`);
      const path = join(folder, "lock");
      const dead = await taker(path);
      assert.is(await taken(dead), "held");
      await ended(dead, "SIGKILL");
      assert.is(readdirSync(folder).length, 1);
      const all = await Promise.all(Array.from({ length: 5 }, () => taker(path)));
      const said = await Promise.all(all.map(taken));
      assert.is(said.filter(s => s === "held").length, 1, said.join("; "));
      assert.is(said.filter(s => /^in use by process \d+$/.test(s)).length, 4, said.join("; "));
      await Promise.all(all.map(t => ended(t)));
      assert.equal(readdirSync(folder), []);
    }
  },
  "is taken over where its file says nothing that can be, or a number that is another process's by now"() {
    const mine = { pid: process.pid, host: hostname() };
    const others = [
      "",
      "{",
      "null",
      "3",
      '{"pid":-1}',
      '{"pid":1.5,"host":"x"}',
      JSON.stringify({ ...mine, pid: 2 ** 30 }),
    ];
    if (process.platform === "linux") others.push(JSON.stringify({ ...mine, born: "1" }));
    others.forEach((text, i) => {
      const folder = out(`text ${i}`);
      mkdirSync(folder);
      writeFileSync(join(folder, "lock.41"), text);
      const release = lock(join(folder, "lock"));
      assert.equal(readdirSync(folder), ["lock.42"]);
      release();
    });
  },
  "goes to whoever made the highest number, and the others step back"() {
    mkdirSync(out("overtaken"));
    const path = join(out("overtaken"), "lock");
    const owner = JSON.stringify({ pid: process.pid, host: hostname() });
    const words = ["--input-type=module", "-e", OVERTAKEN, path, `${path}.2`, owner];
    assert.is(spawnSync(process.execPath, words).stdout.toString(), `in use by process ${process.pid}\n`);
    assert.equal(readdirSync(out("overtaken")), ["lock.2"]);
  },
  "is left to another machine, with what to do"() {
    mkdirSync(out("far"));
    writeFileSync(join(out("far"), "lock.1"), '{"pid":7,"host":"far-away"}');
    const said = thrown(Error, () => lock(join(out("far"), "lock")));
    assert.is(said, `in use by process 7 of far-away; should that be gone, delete ${join(out("far"), "lock.1")}`);
  },
  async "keeps a second npm start out of a folder, and the first one's files as they are"() {
    const words = ["near", "--steps", "1000000", "--json", "--out", out("start")];
    const first = spawn(process.execPath, [fileOf("./toy-start"), ...words], { stdio: ["ignore", "pipe", "ignore"] });
    const closed = once(first, "close");
    await once(first.stdout, "data");
    for (const more of [[], ["--fresh"], ["--resume"]]) {
      const { code, err } = await run("./toy-start", [...words, ...more]);
      assert.is(code, 2);
      assert.match(
        err,
        new RegExp(`^--out: .*start cannot be used: in use by process ${first.pid}\\n {2}wants .*\\n$`),
      );
    }
    first.kill("SIGKILL");
    await closed;
    const log = readFileSync(join(out("start"), "run.jsonl"), "utf8");
    const after = await run("./toy-start", ["near", "--steps", "20", "--fresh", "--out", out("start")]);
    assert.is(after.code, 0, after.err);
    assert.match(log, /^\{"type":"run"/);
    assert.equal(readdirSync(out("start")).sort(), ["report.html", "run.jsonl"]);
  },
});
