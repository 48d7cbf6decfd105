// npm test [-- WORD...]: type checks, then every *.test.ts in a process of its own, two at a time.
// Fails when a file ran no test: uvu itself would pass it.
import { spawn, type ChildProcess } from "node:child_process";
import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { endings } from "../bench/ending.ts";

interface Outcome {
  name: string;
  passed: number;
  failed: number;
  seconds: number;
  text: string;
}

const children = new Set<ChildProcess>();
endings((_, code) => process.exit(code));
process.on("exit", () => {
  for (const child of children) child.kill();
});

/** Runs one program and reads uvu's closing lines, `Total:` and `Passed:`. */
function run(name: string, command: string[], counts: boolean): Promise<Outcome> {
  const start = performance.now();
  return new Promise(resolve => {
    const child = spawn(process.execPath, command, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, FORCE_COLOR: "0" },
    });
    children.add(child);
    let text = "";
    child.stdout.on("data", d => {
      text += d;
    });
    child.stderr.on("data", d => {
      text += d;
    });
    child.on("close", (code, signal) => {
      children.delete(child);
      const number = (label: string) => Number(new RegExp(`${label}:\\s+(\\d+)`).exec(text)?.[1] ?? 0);
      const total = counts ? number("Total") : 1;
      const passed = counts ? number("Passed") : code === 0 ? 1 : 0;
      const dead = code !== 0 && total === passed ? 1 : 0; // crashed outside a test
      if (total === 0) text += `\n${name}: no test ran; it ended with ${signal ?? code}\n`;
      resolve({
        name,
        passed,
        failed: Math.max(total - passed + dead, total === 0 ? 1 : 0),
        seconds: (performance.now() - start) / 1000,
        text,
      });
    });
  });
}

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "../../..");
const wanted = process.argv.slice(2);
const match = (name: string) => wanted.length === 0 || wanted.some(w => name.includes(w));
const tsc = join(root, "node_modules/typescript/bin/tsc");
const prettier = join(root, "node_modules/prettier/bin/prettier.cjs");
const formatted = ["asm", "src", "bench", "test", "build.mjs", "package.json"].map(path => join(root, path));
const jobs = [
  { name: "format", command: [prettier, "--check", ...formatted], counts: false },
  { name: "types of test and bench", command: [tsc, "--pretty", "false", "-p", join(root, "test")], counts: false },
  { name: "types of asm", command: [tsc, "--pretty", "false", "-p", join(root, "asm")], counts: false },
  ...readdirSync(here)
    .filter(f => f.endsWith(".test.mjs"))
    .sort()
    .map(f => ({ name: f.replace(".mjs", ""), command: ["--enable-source-maps", join(here, f)], counts: true })),
].filter(job => match(job.name));

let passed = 0;
let failed = 0;
async function worker(): Promise<void> {
  for (let job = jobs.shift(); job; job = jobs.shift()) {
    const { name, passed: ok, failed: bad, seconds, text } = await run(job.name, job.command, job.counts);
    passed += ok;
    failed += bad;
    const time = `${seconds.toFixed(1).padStart(6)} s`;
    console.log(`${bad ? "FAIL" : "ok  "} ${name.padEnd(28)} ${String(ok).padStart(4)} passed ${time}`);
    if (bad) console.log(text.replace(/^/gm, "     "));
    // what must not pass unseen
    else for (const [line] of text.matchAll(/^.*(?:skipped: |\d ulp at ).*$/gm)) console.log(`     ${line}`);
  }
}
if (jobs.length === 0) {
  console.log(`no test file is named like ${wanted.join(" ")}`);
  failed++;
}
await Promise.all(Array.from({ length: Math.min(2, availableParallelism()) }, worker));
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
