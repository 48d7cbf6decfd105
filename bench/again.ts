// again.ts: the table or the page of a run once more, from its records: JSON lines in a file or on stdin.
import { readFileSync } from "node:fs";
import { args, leave } from "./cli.ts";
import { reason, saveFile } from "./files.ts";
import { table } from "./finding.ts";
import { parsed } from "./records.ts";
import { report } from "./report.ts";
import { studies } from "./studies/index.ts";

const { values, positionals } = args({
  name: "node again.mjs",
  about: "Writes the page of a run from its records, JSON lines in a file or on stdin.",
  examples: [
    ["node again.mjs run.jsonl", "writes report.html"],
    ["npm start -- --json | node again.mjs --out today.html", "straight from a run"],
  ],
  positionals: { name: "file", help: "the records; without it they are read from stdin", most: 1 },
  options: {
    out: { type: "string", default: "report.html", help: "where the page goes" },
    table: { type: "boolean", help: "print the table instead" },
  },
});
process.stdout.on("error", () => process.exit(1)); // nobody reads on
const [file] = positionals;
let text = "";
try {
  text = readFileSync(file ?? 0, "utf8");
} catch (error) {
  leave(2, `could not read ${file ?? "stdin"}: ${reason(error as NodeJS.ErrnoException)}`);
}
const records = parsed(text);
if (values.table) process.stdout.write(table(records, studies));
else {
  const page = report(records, studies);
  try {
    saveFile(values.out, page);
  } catch (error) {
    leave(1, (error as Error).message);
  }
}
