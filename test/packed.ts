// An empty project that has installed the package, as a stranger would: packed, and unpacked into node_modules.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isWindows } from "./program.ts";

export const consumer = mkdtempSync(join(tmpdir(), "farsight-package-"));
/** Where the package lies in it. */
export const home = join(consumer, "node_modules/farsight");
process.on("exit", () => rmSync(consumer, { recursive: true, force: true, maxRetries: 3 }));

/** Writes a file of the project; returns its path. */
export function write(name: string, text: string): string {
  const file = join(consumer, name);
  writeFileSync(file, text);
  return file;
}

let packed = false;
/** Packs the project as it is built now (no script, no network) and unpacks it where `npm install` would. */
export function install(): void {
  if (packed) return;
  mkdirSync(home, { recursive: true });
  write("package.json", JSON.stringify({ name: "consumer", private: true, type: "module" }));
  const npm = spawnSync("npm", ["pack", "--ignore-scripts", "--offline", "--json", "--pack-destination", consumer], {
    encoding: "utf8",
    shell: isWindows,
  });
  if (npm.status !== 0) throw new Error(`npm pack ended with ${npm.status}: ${npm.error ?? npm.stderr}`);
  const [{ filename }] = JSON.parse(npm.stdout) as [{ filename: string }];
  execFileSync("tar", ["-xzf", filename, "--strip-components=1", "-C", "node_modules/farsight"], { cwd: consumer });
  packed = true;
}
