// Writing files: the last good one is never lost.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { parse } from "farsight";
import { readFile, saveFile } from "../bench/files.ts";
import { suite, thrown } from "./check.ts";

const folder = (): string => mkdtempSync(join(tmpdir(), "farsight-files-"));

suite("saveFile", {
  "writes a file, makes its folder, and leaves nothing beside it"() {
    const at = folder();
    const path = join(at, "deep", "x.bin");
    saveFile(path, new Uint8Array([1, 2, 3]));
    saveFile(path, "four");
    assert.equal(readFileSync(path, "utf8"), "four");
    assert.equal(readdirSync(join(at, "deep")), ["x.bin"]);
    rmSync(at, { recursive: true });
  },
  "keeps the old file when the device is full, and says so"() {
    if (process.platform !== "linux") {
      console.log("not on Linux: /dev/full is not there");
      return;
    }
    const at = folder();
    const path = join(at, "x.bin");
    saveFile(path, "old");
    const part = `${path}.${process.pid}.0.part`;
    symlinkSync("/dev/full", part);
    assert.match(
      thrown(Error, () => saveFile(path, "new")),
      /could not write .*x\.bin \(0 KiB\): no space left on the device; the file that was there is whole/,
    );
    assert.equal(readFileSync(path, "utf8"), "old");
    assert.equal(existsSync(part), false);
    rmSync(at, { recursive: true });
  },
  "says what it could not write where a folder cannot be made"() {
    const at = folder();
    writeFileSync(join(at, "file"), "");
    assert.match(
      thrown(Error, () => saveFile(join(at, "file", "x"), "y")),
      /could not write .*file.x \(0 KiB\): a file stands where a folder is wanted$/,
    );
    rmSync(at, { recursive: true });
  },
  async "leaves a whole file when it is killed in the middle of saving"() {
    const at = folder();
    const path = join(at, "run.safetensors");
    // A child that saves ever newer files as fast as it can, killed at five moments.
    const program = `
      import { serialize } from "farsight";
      import { saveFile } from ${JSON.stringify(new URL("../bench/files.mjs", import.meta.url).href)};
      const values = new Float32Array(500_000);
      for (let step = 0; ; step++) {
        const file = serialize({ x: { shape: [500_000], values: values.fill(step) } }, { step: String(step) });
        saveFile(${JSON.stringify(path)}, file);
        if (step === 0) console.log("first");
      }`;
    let last = -1;
    for (const wait of [1, 7, 19, 42, 73]) {
      const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      await new Promise(resolve => child.stdout.once("data", resolve));
      await new Promise(resolve => setTimeout(resolve, wait));
      child.kill("SIGKILL");
      await new Promise(resolve => child.once("close", resolve));
      const { tensors, metadata } = parse(readFile(path)!);
      const step = Number(metadata.step);
      const { values } = tensors.get("x")!;
      assert.ok(
        (values as Float32Array).every(v => v === step),
        "the file mixes two saves",
      );
      assert.ok(step >= 0);
      last = Math.max(last, step);
    }
    assert.ok(last > 0, "no child got past its first save: the test shows nothing");
    rmSync(at, { recursive: true });
  },
});
