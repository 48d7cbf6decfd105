// Programs of bench/ as a person runs them, for the tests that do.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export interface Ended {
  code: number | null;
  out: string;
  err: string;
}

/** Runs a program, "../bench/start" for instance; sends Ctrl-C once its output matches `interrupt`. */
export function run(
  program: string,
  words: readonly string[],
  { input = "", interrupt }: { input?: string; interrupt?: RegExp } = {},
): Promise<Ended> {
  return new Promise(resolve => {
    const file = fileURLToPath(new URL(`${program}.mjs`, import.meta.url));
    const child = spawn(process.execPath, [file, ...words], { stdio: ["pipe", "pipe", "pipe"] });
    let out = "";
    let err = "";
    let sent = false;
    const look = (): void => {
      if (!interrupt || sent || !interrupt.test(out + err)) return;
      sent = true;
      child.kill("SIGINT");
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
    child.stdin.end(input);
  });
}

export type Line = Record<string, unknown>;
export const lines = (text: string): Line[] =>
  text
    .trim()
    .split("\n")
    .map(line => JSON.parse(line) as Line);

/** The losses of a run's steps, whatever the order of its arms. */
export const losses = (list: readonly Line[]): string[] =>
  list
    .filter(l => l.type === "step")
    .map(l => `${l.arm} ${l.step} ${l.loss}`)
    .sort();

/** Paths in a folder that is gone when the process ends. */
export function scratch(name: string): (path: string) => string {
  const at = mkdtempSync(join(tmpdir(), `farsight-${name}-`));
  process.on("exit", () => rmSync(at, { recursive: true, force: true }));
  return path => join(at, path);
}
