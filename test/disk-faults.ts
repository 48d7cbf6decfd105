// A disk that fails, to be imported before a program as disk-faults.mjs?counter=FILE&fault=KIND&at=N: what changes the
// disk is counted, over all threads, by the bytes of a file, and from the Nth change on it fails. Kinds: "kill" (ends
// the process, with half of a write done), "full" (nothing can be written; only writes count), "denied" (nothing can be
// written or listed).
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

const about = new URL(import.meta.url).searchParams;
const counter = about.get("counter")!;
const fault = about.get("fault");
const at = Number(about.get("at"));
const { appendFileSync, existsSync, statSync, writeSync } = fs;

/** Whether it is time to fail. */
function due(): boolean {
  appendFileSync(counter, "x");
  return statSync(counter).size >= at;
}

function fail(code: string): never {
  throw Object.assign(new Error(`${code}: made to fail`), { code });
}

function die(): never {
  process.kill(process.pid, "SIGKILL");
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

/** What the fault does before a change of the disk. */
function before(change: "write" | "name" | "remove", half: () => void): void {
  if ((fault === "full" && change !== "write") || !due()) return;
  if (fault === "kill") {
    half();
    die();
  }
  if (change !== "remove") fail(fault === "full" ? "ENOSPC" : "EACCES");
}

Object.assign(fs, {
  fsyncSync() {}, // takes most of a test's time, and a kill loses nothing that was written
  writeSync(file: number, bytes: Uint8Array, from = 0): number {
    const half = (bytes.length - from) >> 1;
    if (file > 2) before("write", () => writeSync(file, bytes, from, half));
    return writeSync(file, bytes, from);
  },
});
for (const [name, change] of [
  ["renameSync", "name"],
  ["linkSync", "name"],
  ["rmSync", "remove"],
] as const) {
  const original = fs[name] as (path: string, ...more: unknown[]) => void;
  (fs as unknown as Record<string, unknown>)[name] = (path: string, ...more: unknown[]) => {
    if (existsSync(path)) before(change, () => {});
    return original(path, ...more);
  };
}
if (fault === "denied") (fs as unknown as Record<string, unknown>)["readdirSync"] = () => fail("EACCES");
syncBuiltinESMExports();
