// start.ts: `npm start`. Trains the three studies, arm by arm, two at a time; prints a table and writes a report.
// stdout carries the result (the table, or with --json a record a line), stderr everything else.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { join, relative } from "node:path";
import { Worker } from "node:worker_threads";
import { fast } from "farsight/fast";
import { args, type Spec } from "./cli.ts";
import { arms as countArms } from "./count.ts";
import { readFile, saveFile } from "./files.ts";
import { inOrder, table, type Entry, type Study } from "./finding.ts";
import { arms as planArms } from "./plan.ts";
import { progress, span } from "./progress.ts";
import { arms as rememberArms } from "./remember.ts";
import { parsed, report } from "./report.ts";
import type { Order } from "./worker.ts";

const root = join(import.meta.dirname ?? new URL(".", import.meta.url).pathname, "../../..");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
const spec = {
  name: "npm start --",
  version,
  about:
    "Trains three small studies: counting with contextual positions (CoPE), remembering across segments (RMT),\nand planning with and without gradients to earlier places (myopic). Prints a table, writes a report to look at.",
  examples: [
    ["npm start", "all three, about three minutes on two cores"],
    ["npm start -- count --seed 7 --json", "one study with another seed, as JSON lines"],
  ],
  positionals: { name: "study", help: "which studies; all three unless given", choices: inOrder },
  options: {
    seed: { type: "number", default: 1, min: 0, integer: true, help: "of parameters, batches and dropout" },
    quick: { type: "boolean", help: "a fraction of the steps: shows that everything works, not what the papers found" },
    steps: { type: "number", min: 1, integer: true, help: "training steps of every arm" },
    text: { type: "string", help: "a text file to hide the fact in (remember), instead of invented words" },
    out: { type: "string", default: "out", help: "folder of report.html, run.jsonl and checkpoints" },
    resume: { type: "boolean", help: "go on with the run that was interrupted in --out" },
    fresh: { type: "boolean", help: "throw away an interrupted run in --out" },
    fast: {
      type: "boolean",
      help: "fused multiply-add and all cores (farsight/fast): quicker, with other last digits",
    },
    jobs: {
      type: "number",
      min: 1,
      integer: true,
      help: "arms trained at once; one a core, two at most, unless given",
    },
    json: { type: "boolean", help: "print JSON lines instead of the table" },
  },
} as const satisfies Spec;
const { values: o, positionals } = args(spec);
const stderr = (text: string): void => {
  process.stderr.write(`${text}\n`);
};
const give = (code: number, text: string): never => {
  show.clear();
  stderr(text);
  process.exit(code);
};
const show = progress();

const armsOf: Record<Study, readonly string[]> = { count: countArms, remember: rememberArms, plan: planArms };
const chosen = inOrder.filter(s => positionals.length === 0 || positionals.includes(s));
const jobs = chosen.flatMap(study =>
  armsOf[study].map(arm => ({ study, arm, file: join(o.out, `${study}-${arm}-${o.seed}.safetensors`) })),
);
const log = join(o.out, "run.jsonl");
const page = join(o.out, "report.html");
const same = (e: Entry, job: { study: string; arm: string }): boolean => e.study === job.study && e.arm === job.arm;

if (o.fast)
  try {
    fast("f32").close();
  } catch (error) {
    give(1, `--fast: ${(error as Error).message.replace("; or fma: false", "")}`);
  }

let text: string | undefined;
if (o.text !== undefined)
  try {
    text = readFileSync(o.text, "utf8");
  } catch (error) {
    give(2, `--text: ${(error as Error).message}`);
  }

function git(...words: string[]): string {
  try {
    return execFileSync("git", words, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return "";
  }
}
const commit = git("rev-parse", "--short=12", "HEAD");
const head: Entry & Record<string, unknown> = {
  type: "run",
  command: ["npm start", ...(process.argv.length > 2 ? ["--", ...process.argv.slice(2)] : [])].join(" "),
  arguments: process.argv.slice(2),
  seed: o.seed,
  versions: { farsight: version, node: process.versions.node },
  commit: commit && git("status", "--porcelain", "--untracked-files=no") ? `${commit}, changed` : commit,
  machine: { cpu: cpus()[0]?.model ?? "unknown", cores: availableParallelism() },
  date: new Date().toISOString(),
  // What results depend on, and what is to be trained: compared before a run is taken up again.
  choice: {
    seed: o.seed,
    quick: o.quick,
    steps: o.steps ?? 0,
    text: text === undefined ? "" : createHash("sha256").update(text).digest("hex").slice(0, 12),
    fast: o.fast,
  },
  jobs: jobs.map(j => `${j.study} ${j.arm}`),
};

// What an interrupted run left: finished arms stay, others go on from their checkpoints.
const old = readFile(log);
const before = old ? parsed(Buffer.from(old).toString("utf8")) : [];
const was = before.find(e => e.type === "run");
const folder = relative(".", o.out) || ".";
const done = (job: { study: string; arm: string }): boolean =>
  before.some(e => e.type === "result" && same(e, job) && e.seed === was?.seed);
const planned = (was?.jobs ?? []) as readonly string[];
const left = new Set([
  ...planned.filter(name => {
    const [study = "", arm = ""] = name.split(" ");
    return !done({ study, arm });
  }),
  ...jobs.filter(job => existsSync(job.file)).map(j => `${j.study} ${j.arm}`),
]);
if (left.size && !o.resume && !o.fresh)
  give(
    2,
    `${folder} holds an interrupted run (${[...left].join(", ")})\n  go on with it: --resume; throw it away: --fresh; leave it alone: --out another-folder`,
  );
if (o.fresh) for (const job of jobs) rmSync(job.file, { force: true });
let records: Entry[] = [head];
if (o.resume) {
  if (!was && !left.size) give(2, `--resume: ${folder} holds no run`);
  if (was && JSON.stringify(was.choice) !== JSON.stringify(head.choice))
    give(
      2,
      `--resume: the run in ${folder} made other choices\n  wants ${JSON.stringify(was.choice)}\n  got   ${JSON.stringify(head.choice)}`,
    );
  records = [
    head,
    ...before.filter(e => e.type !== "run" && jobs.some(job => same(e, job) && (done(job) || existsSync(job.file)))),
  ];
  head.jobs = [...new Set([...planned, ...(head.jobs as string[])])];
  for (const job of jobs.filter(done)) jobs.splice(jobs.indexOf(job), 1);
}
const atOnce = Math.max(1, Math.min(o.jobs ?? Math.min(2, availableParallelism()), jobs.length));
// of each arm
const threads = o.fast ? Math.min(64, Math.max(1, Math.floor(availableParallelism() / atOnce))) : undefined;
if (threads) records[0] = { ...head, engine: { name: "farsight/fast", fma: true, threads } };
const emit = (e: Entry): void => {
  records.push(e);
  if (o.json) {
    show.clear();
    process.stdout.write(`${JSON.stringify(e)}\n`);
  }
};
if (o.json) for (const e of records) process.stdout.write(`${JSON.stringify(e)}\n`);
const keep = (path: string, data: string): boolean => {
  try {
    saveFile(path, data);
    return true;
  } catch (error) {
    show.log((error as Error).message);
    return false;
  }
};
const lines = (): string => records.map(e => JSON.stringify(e)).join("\n") + "\n";

const stop = new Int32Array(new SharedArrayBuffer(4));
const stopped: Entry[] = [];
let failed = false;
process.on("SIGINT", () => {
  if (Atomics.exchange(stop, 0, 1)) process.exit(130);
  show.log("stopping after this step (Ctrl-C again to stop at once)");
});

/** Trains one arm in a thread; resolves when it has ended, however it did. */
function train(job: (typeof jobs)[number]): Promise<void> {
  const { study, arm } = job;
  const order: Order = { ...job, choice: { seed: o.seed, steps: o.steps, quick: o.quick, text, threads }, stop };
  return new Promise(resolve => {
    const worker = new Worker(new URL("./worker.mjs", import.meta.url), { workerData: order });
    worker.on("message", (e: Entry) => {
      if (e.type === "progress") show.step(study, arm, e as never);
      else if (e.type === "saved") keep(log, lines());
      else if (e.type === "warning") show.log(`${study} ${arm}: ${String(e.text)}`);
      else if (e.type === "stopped") stopped.push(e);
      else if (e.type === "resumed") {
        show.log(`${study} ${arm}: going on from step ${String(e.step)}`);
        records = records.filter(r => !(r.type === "step" && same(r, job) && Number(r.step) > Number(e.step)));
      } else {
        emit(e);
        if (e.type === "result")
          show.log(
            `${study} ${arm}: done in ${span(Number(e.seconds))}, ${records.filter(r => r.type === "result").length} of ${total} arms`,
          );
      }
    });
    worker.on("error", error => {
      failed = true;
      Atomics.store(stop, 0, 1); // the others end too, and leave their checkpoints
      show.log(`${study} ${arm}: ${error.message}`);
    });
    worker.on("exit", () => {
      show.done(study, arm);
      resolve();
    });
  });
}
const queue = [...jobs];
const total = (head.jobs as string[]).length;
async function lane(): Promise<void> {
  for (let job = queue.shift(); job && !Atomics.load(stop, 0); job = queue.shift()) await train(job);
}
await Promise.all(Array.from({ length: atOnce }, lane));
show.clear();

keep(log, lines());
const ended = records.some(e => e.type === "result");
const wrote = ended && keep(page, report(records));
if (ended && !o.json) process.stdout.write(table(records, { styled: process.stdout.isTTY && !process.env.NO_COLOR }));
if (wrote) stderr(`report: ${relative(".", page)}`);
if (failed) give(1, "an arm failed; the others left their checkpoints");
const missing = jobs.filter(job => !records.some(e => e.type === "result" && same(e, job)));
if (Atomics.load(stop, 0) && missing.length) {
  const at = (job: { study: string; arm: string }): string => {
    const e = stopped.find(e => same(e, job));
    return `${job.study} ${job.arm}${e ? ` step ${String(e.step)} of ${String(e.steps)}` : ""}`;
  };
  const again = process.argv.slice(2).filter(w => w !== "--resume" && w !== "--fresh");
  give(
    130,
    `interrupted at ${missing.map(at).join(", ")}\n  go on with: npm start -- ${[...again, "--resume"].join(" ")}`,
  );
}
if (!wrote) process.exitCode = 1;
