// place.ts: where the repository is, seen from a program bundled into dist/dev or a folder below it, and which version
// it holds.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

let at = dirname(fileURLToPath(import.meta.url));
while (!existsSync(join(at, "build.mjs"))) at = dirname(at);
/** The repository's folder. */
export const root = at;
/** The version of package.json. */
export const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };

function git(...words: string[]): string {
  try {
    return execFileSync("git", words, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return "";
  }
}

/** Twelve digits of the commit, and whether files but results differ from it; empty outside a repository. */
export function commit(): string {
  const digits = git("rev-parse", "--short=12", "HEAD");
  return digits && git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results")
    ? `${digits}, changed`
    : digits;
}

/** Twelve digits of a text. */
export const digest = (...texts: (string | Uint8Array)[]): string => {
  const hash = createHash("sha256");
  for (const text of texts) hash.update(text);
  return hash.digest("hex").slice(0, 12);
};

/** Twelve digits of a program and the library as they were built, which tell changes that no commit has. */
export const build = (program: URL): string =>
  digest(
    ...["index", "engine", "data", "check", "fast"].map(name => readFileSync(join(root, `dist/${name}.js`))),
    readFileSync(program),
  );
