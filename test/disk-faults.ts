// A disk that fails, to be imported before a program: what changes it is counted, over all threads, in the file COUNTER
// (a byte each), and from the FAULT_AT-th on it fails. FAULT: "kill" (the process, with half of a write done), "full"
// (nothing can be written; only writes count), "denied" (nothing can be written or listed), or nothing, to count.
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

const { COUNTER, FAULT, FAULT_AT } = process.env;
const { appendFileSync, existsSync, statSync, writeSync } = fs;

/** Whether it is time to fail. */
function due(): boolean {
  appendFileSync(COUNTER!, "x");
  return FAULT !== undefined && statSync(COUNTER!).size >= Number(FAULT_AT);
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
  if ((FAULT === "full" && change !== "write") || !due()) return;
  if (FAULT === "kill") {
    half();
    die();
  }
  if (change !== "remove") fail(FAULT === "full" ? "ENOSPC" : "EACCES");
}

Object.assign(fs, {
  fsyncSync() {}, // takes most of a test's time, and a kill loses nothing that was written
  writeSync(file: number, bytes: Uint8Array, at = 0): number {
    const half = (bytes.length - at) >> 1;
    if (file > 2) before("write", () => writeSync(file, bytes, at, half));
    return writeSync(file, bytes, at);
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
if (FAULT === "denied") (fs as unknown as Record<string, unknown>)["readdirSync"] = () => fail("EACCES");
syncBuiltinESMExports();
