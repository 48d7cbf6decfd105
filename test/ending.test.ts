// How npm start is ended: by whatever signal, through whichever of the processes that it is, or by nobody reading on,
// every arm leaves a checkpoint and nothing goes on alone.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { studies } from "../bench/studies/index.ts";
import { suite } from "./check.ts";
import { command, fileOf, isWindows, noStack, run, scratch, skipped, type Ended } from "./program.ts";

const out = scratch("ending");
const root = fileURLToPath(new URL("../../..", import.meta.url));
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const checkpoints = (folder: string): string[] =>
  readdirSync(folder).filter(f => f.endsWith(".safetensors") || f.startsWith("lock"));
// built the same way as this is, or the library would be built anew under the other tests
const debug = readFileSync(join(root, "dist/dev/library.stamp"), "utf8").endsWith("-debug") ? ["--debug"] : [];
const [first] = studies;
const arm = Object.keys(first!.arms)[0]!;
const study = (folder: string): string[] => [first!.name, "--steps", "3000", "--jobs", "1", "--json", "--out", folder];

suite("the end of npm run bench", {
  async "comes at once, whatever the signal, also while it measures"() {
    if (isWindows) return skipped();
    const words = ["kernels", "--json"];
    const node = process.execPath;
    for (const signal of SIGNALS) {
      const how = { interrupt: /measuring/, signal };
      const direct = await run("../bench/bench", words, how);
      assert.equal([direct.by, direct.out], [signal, ""], direct.err);
      const through = await command(node, [join(root, "build.mjs"), "bench", ...debug, ...words], how);
      assert.equal([through.code, through.out], [130, ""], through.err);
    }
  },
});

suite("the end of npm start", {
  async "comes with a checkpoint and 130, whatever the signal"() {
    if (isWindows) return skipped();
    for (const signal of SIGNALS) {
      const folder = out(signal);
      const words = ["--steps", "1000000", "--json", "--out", folder];
      const { code, err } = await run("./toy-start", words, { interrupt: /"step":6666,/, signal });
      assert.is(code, 130, err);
      assert.match(
        err,
        /interrupted at near bold step \d+ of 1000000, .*\n {2}go on with: npm start -- .* --resume\n$/,
      );
      assert.equal(checkpoints(folder), ["near-bold-1.safetensors", "near-shy-1.safetensors"]);
    }
  },
  async "comes with a checkpoint when nobody reads on"() {
    const node = process.execPath;
    for (const stream of ["stdout", "stderr"] as const) {
      const folder = out(stream);
      const words = [fileOf("./toy-start"), "--steps", "1000000", "--json", "--out", folder];
      const child = spawn(node, words, { stdio: ["ignore", "pipe", "pipe"] });
      let err = "";
      child.stderr.on("data", d => (err += d));
      const closed = once(child, "close");
      await once(child.stdout, "data");
      if (stream === "stdout") child.stdout.destroy();
      else {
        child.stdout.resume();
        child.stderr.destroy();
        if (!isWindows) child.kill("SIGTERM"); // so that there is something to write
      }
      assert.is((await closed)[0], 130, err);
      if (stream === "stdout") assert.match(err, /stopping after this step \(nobody reads stdout\)\n/);
      noStack(err);
      assert.equal(checkpoints(folder), ["near-bold-1.safetensors", "near-shy-1.safetensors"]);
    }
  },
  async "comes with that of the program that started it, however that ends"() {
    if (isWindows) return skipped();
    const build = [join(root, "build.mjs"), "start", ...debug];
    const all: [string, string, string[], NodeJS.Signals, number | null][] = [
      ...SIGNALS.map((s): [string, string, string[], NodeJS.Signals, number] => [
        `build ${s}`,
        process.execPath,
        build,
        s,
        130,
      ]),
      ["build SIGKILL", process.execPath, build, "SIGKILL", null],
      ["npm SIGTERM", "npm", ["start", "--silent", "--", ...debug], "SIGTERM", null],
      ["npm SIGHUP", "npm", ["start", "--silent", "--", ...debug], "SIGHUP", null],
      ["npm SIGKILL", "npm", ["start", "--silent", "--", ...debug], "SIGKILL", null],
    ];
    async function one([name, program, words, signal, code]: (typeof all)[number]): Promise<void> {
      const folder = out(name);
      // its streams close when the last of its processes has ended
      const ended: Ended = await command(program, [...words, ...study(folder)], {
        interrupt: /"step":20,/,
        signal,
        cwd: root,
      });
      assert.is(ended.code, code, `${name}: ${ended.err}`);
      assert.match(ended.err, new RegExp(`interrupted at ${first!.name} ${arm} step \\d+ of 3000, `), name);
      assert.equal(checkpoints(folder), [`${first!.name}-${arm}-1.safetensors`], name);
    }
    const queue = [...all];
    const lane = async (): Promise<void> => {
      for (let next = queue.shift(); next; next = queue.shift()) await one(next);
    };
    await Promise.all([lane(), lane()]);
  },
});
