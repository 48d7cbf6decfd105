// place.ts: where the repository is, seen from a program bundled into dist/dev/bench or a folder below it.
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

let at = dirname(fileURLToPath(import.meta.url));
while (!existsSync(join(at, "build.mjs"))) at = dirname(at);
/** The repository's folder. */
export const root = at;
