// Programs of bench/ as a person runs them, for the tests that do.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";

export const isWindows = process.platform === "win32";
/** Says that a test, or the rest of it, is left out on Windows. */
export const skipped = (): void => console.log("skipped: signals on Windows end a program at once");

export interface Ended {
  code: number | null;
  /** The signal that ended it. */
  by: NodeJS.Signals | null;
  out: string;
  err: string;
}

interface How {
  input?: string;
  /** Once its output matches this, or this holds, it is sent `signal`, Ctrl-C unless given. */
  interrupt?: RegExp | (() => boolean) | undefined;
  signal?: NodeJS.Signals;
  env?: { [name: string]: string };
  /** Options of Node. */
  node?: readonly string[];
}

/** The file of a program, "../bench/start" for instance. */
export const fileOf = (program: string): string => fileURLToPath(new URL(`${program}.mjs`, import.meta.url));

/** Runs a command to the end of all that it started, which hold its streams. */
export function command(name: string, words: readonly string[], how: How & { cwd?: string } = {}): Promise<Ended> {
  const { input = "", interrupt, signal = "SIGINT", env, cwd } = how;
  return new Promise(resolve => {
    const child = spawn(name, words, { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, ...env }, cwd });
    let out = "";
    let err = "";
    let sent = false;
    const look = (): void => {
      if (!interrupt || sent || !(typeof interrupt === "function" ? interrupt() : interrupt.test(out + err))) return;
      sent = true;
      child.kill(signal);
    };
    const watch = typeof interrupt === "function" ? setInterval(look, 10) : undefined;
    child.stdout.on("data", d => {
      out += d;
      look();
    });
    child.stderr.on("data", d => {
      err += d;
      look();
    });
    child.on("close", (code, by) => {
      clearInterval(watch);
      resolve({ code, by, out, err });
    });
    child.stdin.end(input);
  });
}

/** Runs a program, "../bench/start" for instance. */
export const run = (program: string, words: readonly string[], how: How = {}): Promise<Ended> =>
  command(process.execPath, [...(how.node ?? []), fileOf(program), ...words], how);

/** Asserts that a person is shown no stack. */
export const noStack = (err: string): void => assert.not.match(err, /^ {4}at /m);

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
