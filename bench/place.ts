// place.ts: where the repository is, seen from a program bundled into dist/dev or a folder below it, and which version
// it holds.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

let at = dirname(fileURLToPath(import.meta.url));
while (!existsSync(join(at, "build.mjs"))) at = dirname(at);
/** The repository's folder. */
export const root = at;

function git(...words: string[]): string {
  try {
    return execFileSync("git", words, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return "";
  }
}

/** Twelve digits of the commit, and whether files differ from it; empty outside a repository. */
export function commit(): string {
  const digits = git("rev-parse", "--short=12", "HEAD");
  return digits && git("status", "--porcelain", "--untracked-files=no") ? `${digits}, changed` : digits;
}
