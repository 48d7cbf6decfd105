// npm start on disks that fail: a kill or a full disk at every write loses nothing that was there, and going on gives
// what an undisturbed run gives.
import { spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as assert from "uvu/assert";
import { parse, serialize } from "farsight";
import { suite } from "./check.ts";
import { fileOf, isWindows, lines, losses, noStack, run, scratch, skipped, type Ended } from "./program.ts";

const out = scratch("disk");
const start = (words: readonly string[], interrupt?: RegExp): Promise<Ended> =>
  run("./toy-start", ["near", ...words], { interrupt, signal: "SIGTERM" });

/** Node's options for a disk that fails from a change on; never unless given. */
function failing(fault: string, counter: string, at = Infinity): readonly string[] {
  const url = pathToFileURL(fileOf("./disk-faults"));
  url.search = String(new URLSearchParams({ counter, fault, at: String(at) }));
  return ["--import", url.href];
}
/** What a log says, less what differs from run to run. */
function said(folder: string): string[] {
  const list = lines(readFileSync(join(folder, "run.jsonl"), "utf8"));
  const results = list.filter(l => l.type === "result").map(l => `${l.arm} ${JSON.stringify(l.metrics)}`);
  return [...losses(list), ...results.sort()];
}
/** The files of a folder, with their bytes. */
const contents = (folder: string): string[] =>
  readdirSync(folder)
    .sort()
    .map(name => `${name} ${readFileSync(join(folder, name)).toString("base64")}`);

/** Every file of a folder under its own name is whole. */
function whole(folder: string): void {
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    const bytes = readFileSync(join(folder, name));
    if (name.endsWith(".safetensors")) parse(bytes);
    if (name === "run.jsonl") assert.is(lines(bytes.toString())[0]!.type, "run");
    if (name === "report.html") assert.match(bytes.toString(), /<\/html>\n$/);
  }
}

const WORDS = ["--steps", "2", "--jobs", "1"];
/** Runs into a fault at every change of the disk, and goes on after each; `check` sees how the run ended. */
async function everywhere(fault: string, check: (ended: Ended, folder: string, at: number) => void): Promise<void> {
  const often = (folder: string, node: readonly string[], ...more: string[]): Promise<Ended> =>
    run("./toy-often", [...WORDS, "--out", folder, ...more], { node });
  const reference = out(`${fault} nowhere`);
  const counter = out(`${fault} nowhere.changes`);
  assert.is((await often(reference, failing(fault, counter))).code, 0);
  const { size: changes } = statSync(counter);
  assert.ok(changes > 9, `${changes} changes of the disk`);
  let next = 1;
  async function lane(): Promise<void> {
    for (let at = next++; at <= changes; at = next++) {
      const folder = out(`${fault} ${at}`);
      const ended = await often(folder, failing(fault, `${folder}.changes`, at));
      noStack(ended.err);
      whole(folder);
      check(ended, folder, at);
      const well = failing(fault, counter);
      const on = await often(folder, well, "--resume");
      if (/holds no run/.test(on.err)) await often(folder, well);
      else assert.is(on.code, 0, `going on after ${at}: ${on.err}`);
      assert.equal(said(folder), said(reference), `going on after ${at}`);
      assert.equal(readdirSync(folder).sort(), ["report.html", "run.jsonl"], `left over after ${at}`);
    }
  }
  await Promise.all([lane(), lane()]);
}

suite("npm start on a disk that fails", {
  async "goes on after a kill at every write, with the same records"() {
    if (isWindows) return skipped();
    await everywhere("kill", (ended, _, at) => assert.is(ended.by, "SIGKILL", `${at}: ${ended.err}`));
  },
  async "says that the disk is full at every write, and goes on once it is not"() {
    await everywhere("full", ({ code, err }, folder, at) => {
      const report = existsSync(join(folder, "report.html"));
      const results = report
        ? lines(readFileSync(join(folder, "run.jsonl"), "utf8")).filter(l => l.type === "result")
        : [];
      if (results.length === 2) return;
      assert.ok(code === 1 || code === 2, `${at}: ${code} ${err}`);
      assert.match(err, /no space left on the device/, String(at));
    });
  },
  async "does not say that it can go on from what it could not save"() {
    if (isWindows) return skipped();
    const folder = out("unsaved");
    const words = ["--steps", "1000000", "--json", "--out", folder];
    const node = failing("full", `${folder}.changes`, 3);
    const { code, err } = await run("./toy-start", words, { node, interrupt: /"step":6666,/, signal: "SIGTERM" });
    assert.is(code, 1, err);
    assert.match(err, /near bold: could not write .*near-bold-1\.safetensors \(\d+ KiB\): no space left on the device/);
    assert.match(err, /interrupted at near bold step \d+ of 1000000.*\n {2}near bold is not saved\n/);
    noStack(err);
  },
  async "refuses a folder that it cannot use, before it trains"() {
    writeFileSync(out("a file"), "kept");
    const file = await start(["--out", out("a file")]);
    assert.is(file.code, 2);
    assert.match(
      file.err,
      /^--out: .*a file cannot be used: a file stands where a folder is wanted\n {2}wants .*--out/,
    );
    const below = await start(["--out", join(out("a file"), "deeper")]);
    assert.is(below.code, 2);
    assert.is(readFileSync(out("a file"), "utf8"), "kept");
    // where the system denies for ever that a folder could be
    if (existsSync("/proc/self")) assert.is((await start(["--out", "/proc/no/folder"])).code, 2);
    mkdirSync(out("denied"));
    const node = failing("denied", out("denied.changes"), 1);
    const denied = await run("./toy-start", ["--out", out("denied")], { node });
    assert.is(denied.code, 2);
    assert.match(denied.err, /^--out: .*denied cannot be used: no permission\n/);
    for (const err of [file.err, below.err, denied.err]) assert.is(err.split("\n").length, 3, err);
  },
  async "refuses a folder in the place of each file, before it trains"() {
    for (const name of ["run.jsonl", "report.html", "near-shy-1.safetensors"]) {
      const folder = out(`no ${name}`);
      mkdirSync(join(folder, name), { recursive: true });
      for (const words of [[], ["--fresh"], ["--resume"]]) {
        const { code, err } = await start([...words, "--out", folder]);
        assert.is(code, 2, err);
        assert.is(err.split("\n").length, 2, err);
        assert.ok(err.includes(`${name} is not a file`), err);
      }
      assert.equal(readdirSync(folder), [name]);
    }
  },
  async "ends with 1 and without a stack where stdout is full"() {
    if (!existsSync("/dev/full")) return console.log("skipped: no /dev/full");
    const full = openSync("/dev/full", "w");
    const words = [fileOf("./toy-start"), "--steps", "1000000", "--json", "--out", out("stdout")];
    const { status, stderr } = spawnSync(process.execPath, words, {
      stdio: ["ignore", full, "pipe"],
      encoding: "utf8",
    });
    closeSync(full);
    assert.is(status, 1, stderr);
    assert.match(stderr, /stopping after this step \(stdout: no space left on the device\)/);
    assert.match(stderr, /go on with: npm start/);
    noStack(stderr);
  },
});

suite("a run that is taken up again", {
  async "is refused with --resume --fresh, and nothing is deleted"() {
    if (isWindows) return skipped();
    const folder = out("both");
    await start(["--steps", "100000", "--out", folder, "--json"], /"step":666,/);
    const before = contents(folder);
    assert.is(before.length, 3);
    for (const order of [
      ["--resume", "--fresh"],
      ["--fresh", "--resume"],
    ]) {
      const { code, err } = await start(["--steps", "100000", "--out", folder, ...order]);
      assert.is(code, 2);
      assert.match(err, /^--resume --fresh: .*nothing was done\n$/);
    }
    assert.equal(contents(folder), before);
  },
  async "names a checkpoint that is missing or broken, and the ways out"() {
    if (isWindows) return skipped();
    const folder = out("checkpoints");
    const words = ["--steps", "6000", "--out", folder, "--json"];
    await start(words, /"step":400,/);
    const path = join(folder, "near-bold-1.safetensors");
    const good = readFileSync(path);
    const other = Buffer.from(good.toString("latin1").replace(/("size\\":)64/, "$165"), "latin1");
    assert.not.equal(other, good);
    for (const [what, bytes] of [
      ["missing", undefined],
      ["empty", Buffer.alloc(0)],
      ["truncated", good.subarray(0, good.length - 4)],
      ["of something else", Buffer.from("what is this")],
      ["of another run", other],
    ] as const) {
      if (bytes) writeFileSync(path, bytes);
      else rmSync(path);
      const { code, err } = await start([...words, "--resume"]);
      assert.is(code, 1, what);
      assert.match(
        err,
        /near bold: .*near-bold-1\.safetensors\n {2}put a whole copy there; .*--resume --anyway.*--fresh/s,
      );
      noStack(err);
      assert.equal(existsSync(path) ? readFileSync(path) : undefined, bytes, what);
    }
    rmSync(path);
    const anyway = await start([...words, "--resume", "--anyway"]);
    assert.is(anyway.code, 0, anyway.err);
    assert.match(anyway.err, /near bold: the checkpoint is missing\n.*\n {2}this arm is trained from its beginning/);
    await start(["--steps", "6000", "--out", out("undisturbed")]);
    assert.equal(said(folder), said(out("undisturbed")));
  },
  async "begins an arm again whose checkpoint is of another run, or another program's, when told to"() {
    if (isWindows) return skipped();
    const folder = out("others");
    const words = ["--steps", "600", "--jobs", "1", "--out", folder, "--json"];
    const often = (more: readonly string[], interrupt?: RegExp): Promise<Ended> =>
      run("./toy-often", [...words, ...more], { interrupt, signal: "SIGTERM" });
    await often([], /"step":40,/);
    const path = join(folder, "near-bold-1.safetensors");
    const { tensors, metadata } = parse(readFileSync(path));
    const of = (list: Record<string, string>): Uint8Array => serialize(Object.fromEntries(tensors), list);
    const own = Object.fromEntries(Object.entries(metadata).filter(([key]) => !key.startsWith("farsight.")));
    const { config, told, ...rest } = metadata;
    assert.ok(told);
    const { "farsight.checksum": _, ...kept } = metadata;
    const log = readFileSync(join(folder, "run.jsonl"));
    await start(["--steps", "600", "--out", out("others undisturbed")]);
    for (const [what, status, bytes] of [
      ["without a step", 1, of(own)],
      ["of another run", 1, of({ ...kept, config: config!.replace('"size":64', '"size":65') })],
      ["without records", 1, of({ ...rest, config: config!, "farsight.checksum": "" })],
      ["of no origin", 2, of({ ...kept, origin: "null" })],
    ] as const) {
      writeFileSync(path, bytes);
      writeFileSync(join(folder, "run.jsonl"), log);
      const { code, err } = await often(["--resume"]);
      assert.is(code, status, `${what}: ${err}`);
      assert.match(err, /--resume --anyway/, what);
      noStack(err);
      assert.equal(readFileSync(path).equals(bytes), true, what);
      const anyway = await often(["--resume", "--anyway"]);
      assert.is(anyway.code, 0, `${what}: ${anyway.err}`);
      assert.equal(said(folder), said(out("others undisturbed")), what);
    }
  },
  async "is refused where its log is missing or damaged, and says so where it goes on anyway"() {
    if (isWindows) return skipped();
    const folder = out("logs");
    const path = join(folder, "run.jsonl");
    const words = ["--steps", "6000", "--jobs", "1", "--out", folder, "--json"];
    await start(words, /"arm":"shy","seed":1,"step":400,/);
    const good = readFileSync(path);
    const checkpoint = readFileSync(join(folder, "near-shy-1.safetensors"));
    await start(["--steps", "6000", "--out", out("logs undisturbed")]);
    for (const [what, bytes] of [
      ["missing", undefined],
      ["empty", Buffer.alloc(0)],
      ["cut in a line", good.subarray(0, good.length - 9)],
      ["cut in the middle", good.subarray(0, good.length >> 1)],
      ["cut in its first line", good.subarray(0, 99)],
      ["without its first line", good.subarray(good.indexOf("\n") + 1)],
      ["overwritten", Buffer.concat([good.subarray(0, 2000), Buffer.alloc(500), good.subarray(2500)])],
    ] as const) {
      if (bytes) writeFileSync(path, bytes);
      else rmSync(path);
      writeFileSync(join(folder, "near-shy-1.safetensors"), checkpoint);
      const { code, err } = await start([...words, "--resume"]);
      assert.is(code, 1, `${what}: ${err}`);
      assert.match(
        err,
        /^the log of the run is .*damaged\n {2}in .*run\.jsonl\n.*--resume --anyway; or: --fresh\n$/,
        what,
      );
      assert.equal(existsSync(path) ? readFileSync(path) : undefined, bytes, what);
      if (what !== "missing" && what !== "overwritten") continue; // two of them to their ends, which takes seconds
      const anyway = await start([...words, "--resume", "--anyway"]);
      assert.is(anyway.code, 0, `${what}: ${anyway.err}`);
      assert.match(anyway.err, /the log of the run is .*damaged/, what);
      assert.equal(said(folder), said(out("logs undisturbed")), what);
    }
  },
  async "says that another program began it, and goes on only when told to"() {
    if (isWindows) return skipped();
    const folder = out("programs");
    const log = join(folder, "run.jsonl");
    const words = ["--steps", "6000", "--out", folder, "--json"];
    await start(words, /"step":400,/);
    const good = readFileSync(log, "utf8");
    const head = lines(good)[0] as { commit: string; program: string; versions: { node: string } };
    for (const [from, to] of [
      [`"commit":"${head.commit}"`, '"commit":"0123456789ab"'],
      [`"node":"${head.versions.node}"`, '"node":"18.0.0"'],
      [`"program":"${head.program}"`, '"program":"ba9876543210"'],
    ] as const) {
      writeFileSync(log, good.replace(from, to));
      assert.not.equal(readFileSync(log, "utf8"), good);
      const before = contents(folder);
      const { code, err } = await start([...words, "--resume"]);
      assert.is(code, 2, err);
      const [name, value] = to.replaceAll('"', "").split(":");
      assert.match(
        err,
        new RegExp(`begun by another program\\n {2}wants .*${name} ${value}.*\\n {2}got .*\\n.*--anyway`),
      );
      assert.equal(contents(folder), before);
    }
    const { code, err } = await start([...words, "--resume", "--anyway"]);
    assert.is(code, 0, err);
    assert.match(err, /begun by another program \(.*ba9876543210.*\)/);
    assert.is((lines(readFileSync(log, "utf8"))[0]!.begun as { program: string }).program, "ba9876543210");
  },
  async "keeps the results of studies that are finished"() {
    const folder = out("finished");
    await start(["--steps", "2", "--out", folder]);
    const before = said(folder);
    const again = await start(["--steps", "2", "--out", folder, "--resume"]);
    assert.is(again.code, 0, again.err);
    assert.equal(said(folder), before);
  },
});
