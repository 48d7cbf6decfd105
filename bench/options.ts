// options.ts: the command line of npm start, made from the studies there are.
import { readFileSync } from "node:fs";
import { args, leave, type Spec } from "./cli.ts";
import { version } from "./place.ts";
import type { Study } from "./study.ts";
import { spelled } from "./words.ts";

/** "counting (CoPE), remembering (RMT),\nand planning (myopic)": the last on a line of its own. */
function trained(studies: readonly Study[]): string {
  const each = studies.map(s => s.trains);
  return each.length > 1 ? `${each.slice(0, -1).join(", ")},\nand ${each.at(-1)}` : each.join("");
}

/** The files that studies or tables take, as options beside a program's own; throws where one has two meanings. */
export function fileOptions(owners: readonly Pick<Study, "name" | "files">[], own: Spec["options"]): {} {
  const all = new Map<string, { help: string; names: string[] }>();
  for (const { name, files = {} } of owners)
    for (const [option, help] of Object.entries(files)) {
      const there = all.get(option) ?? { help: own[option]?.help ?? help, names: [] };
      if (there.help !== help)
        throw new Error(
          `--${option} of ${name}: there is such an option already\n  wants ${there.help}\n  got   ${help}`,
        );
      all.set(option, { help, names: [...there.names, name] });
    }
  const options = [...all].map(([option, { help, names }]) => {
    return [option, { type: "string", help: `${help} (${names.join(", ")})` }] as const;
  });
  return Object.fromEntries(options);
}

/** How much is trained, and how. */
export const trainingOptions = {
  quick: { type: "boolean", help: "a fraction of the steps: shows that everything works, not what the papers found" },
  steps: { type: "number", min: 1, max: 1_000_000_000, integer: true, help: "training steps, fewer or more" },
  fast: {
    type: "boolean",
    help: "fused multiply-add and all cores (farsight/fast): quicker, with other last digits",
  },
  jobs: {
    type: "number",
    min: 1,
    max: 64,
    integer: true,
    help: "models trained at once; one a core, two at most, unless given",
  },
} as const satisfies Spec["options"];

const ownOptions = {
  seed: {
    type: "number",
    default: 1,
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    integer: true,
    help: "of parameters, batches and dropout",
  },
  ...trainingOptions,
  out: { type: "string", default: "out", help: "folder of report.html, run.jsonl and checkpoints" },
  resume: { type: "boolean", help: "go on with the run that was interrupted in --out" },
  fresh: { type: "boolean", help: "throw away an interrupted run in --out" },
  anyway: {
    type: "boolean",
    help: "with --resume: though the run was begun by another program, or an arm has to begin again",
  },
  json: { type: "boolean", help: "print JSON lines instead of the table" },
} as const satisfies Spec["options"];

/** The command line of these studies. */
export function specOf(studies: readonly Study[]) {
  const names = studies.map(s => s.name);
  const all = studies.length === 1 ? "the study" : `all ${spelled(studies.length)}`;
  const number = `${spelled(studies.length)} small ${studies.length === 1 ? "study" : "studies"}`;
  return {
    name: "npm start --",
    version,
    about: `Trains ${number}: ${trained(studies)}. Prints a table, writes a report to look at.`,
    examples: [
      ["npm start", `${all}, about a minute each on two cores`],
      [`npm start -- ${names[0]} --seed 7 --json`, "one study with another seed, as JSON lines"],
    ],
    positionals: { name: "study", help: `which studies; ${all} unless given`, choices: names },
    options: { ...ownOptions, ...fileOptions(studies, ownOptions) },
  } as const satisfies Spec;
}

/** What a person asked for: the options, the studies in their own order, and the texts of the files they named. */
export function asked(studies: readonly Study[]) {
  const { values, positionals } = args(specOf(studies));
  if (values.resume && values.fresh)
    leave(2, "--resume --fresh: the one goes on with a run, the other throws it away; nothing was done");
  if (values.anyway && !values.resume) leave(2, "--anyway: only with --resume");
  const texts: { [option: string]: string | undefined } = {};
  for (const option of Object.keys(fileOptions(studies, ownOptions))) {
    const path = (values as { [option: string]: unknown })[option] as string | undefined;
    try {
      texts[option] = path === undefined ? undefined : readFileSync(path, "utf8");
    } catch (error) {
      leave(2, `--${option}: ${(error as Error).message}`);
    }
  }
  const chosen = studies.filter(s => positionals.length === 0 || positionals.includes(s.name));
  return { ...values, studies: chosen, texts };
}
/** A command line, read. */
export type Asked = ReturnType<typeof asked>;
