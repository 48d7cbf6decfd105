// runner.ts: a run of studies, arm by arm, two at a time, in threads; prints a table and writes a report. stdout
// carries the result (the table, or with --json a record a line), stderr everything else.
import { createHash } from "node:crypto";
import { existsSync, rmSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { join, relative } from "node:path";
import { Worker, isMainThread } from "node:worker_threads";
import { fast } from "farsight/fast";
import { readFile, saveFile } from "./files.ts";
import { table } from "./finding.ts";
import { asked, leave, version, type Asked } from "./options.ts";
import { commit } from "./place.ts";
import { progress, span, type Progress, type Report } from "./progress.ts";
import { parsed, type Entry } from "./records.ts";
import { report } from "./report.ts";
import type { Study } from "./study.ts";
import { work, type Order } from "./worker.ts";

/** An arm to train, and where its checkpoint is. */
interface Job {
  study: string;
  arm: string;
  file: string;
}
const same = (e: Entry, { study, arm }: Job): boolean => e["study"] === study && e["arm"] === arm;
const named = ({ study, arm }: Job): string => `${study} ${arm}`;

const jobsOf = (o: Asked): Job[] =>
  o.studies.flatMap(({ name: study, arms }) =>
    Object.keys(arms).map(arm => ({ study, arm, file: join(o.out, `${study}-${arm}-${o.seed}.safetensors`) })),
  );

/** The first record: what a reader needs to repeat the run. */
function headOf(o: Asked, jobs: readonly Job[]): Entry {
  const given = process.argv.slice(2);
  const digest = (text: string | undefined): string =>
    text === undefined ? "" : createHash("sha256").update(text).digest("hex").slice(0, 12);
  const texts = Object.fromEntries(Object.entries(o.texts).map(([option, text]) => [option, digest(text)]));
  return {
    type: "run",
    command: ["npm start", ...(given.length ? ["--", ...given] : [])].join(" "),
    arguments: given,
    seed: o.seed,
    versions: { farsight: version, node: process.versions.node },
    commit: commit(),
    machine: { cpu: cpus()[0]?.model ?? "unknown", cores: availableParallelism() },
    date: new Date().toISOString(),
    // What results depend on, and what is to be trained: compared before a run is taken up again.
    choice: { seed: o.seed, quick: o.quick, steps: o.steps ?? 0, ...texts, fast: o.fast },
    jobs: jobs.map(named),
  };
}

/** What is to be done: the records so far, head first, and the jobs left. */
interface Agenda {
  records: Entry[];
  jobs: Job[];
  /** Arms of the whole run, those of before included. */
  total: number;
}

/** What an interrupted run left: finished arms stay, others go on from their checkpoints. */
function agenda(o: Asked, jobs: Job[], head: Entry, log: string): Agenda {
  const old = readFile(log);
  const before = old ? parsed(Buffer.from(old).toString("utf8")) : [];
  const run = before.find(e => e.type === "run");
  const folder = relative(".", o.out) || ".";
  const results = before.filter(e => e.type === "result" && e["seed"] === run?.["seed"]);
  const done = (job: Job): boolean => results.some(e => same(e, job));
  const names = (run?.["jobs"] ?? []) as readonly string[];
  const finished = results.map(e => `${String(e["study"])} ${String(e["arm"])}`);
  const left = new Set([
    ...names.filter(name => !finished.includes(name)),
    ...jobs.filter(job => existsSync(job.file)).map(named),
  ]);
  if (left.size && !o.resume && !o.fresh)
    leave(
      2,
      `${folder} holds an interrupted run (${[...left].join(", ")})\n` +
        "  go on with it: --resume; throw it away: --fresh; leave it alone: --out another-folder",
    );
  if (o.fresh) for (const job of jobs) rmSync(job.file, { force: true });
  if (!o.resume) return { records: [head], jobs, total: jobs.length };
  if (!run && !left.size) leave(2, `--resume: ${folder} holds no run`);
  const [wants, got] = [run?.["choice"], head["choice"]].map(choice => JSON.stringify(choice));
  if (run && wants !== got)
    leave(2, `--resume: the run in ${folder} made other choices\n  wants ${wants}\n  got   ${got}`);
  const kept = jobs.filter(job => done(job) || existsSync(job.file));
  const all = [...new Set([...names, ...jobs.map(named)])];
  return {
    records: [{ ...head, jobs: all }, ...before.filter(e => e.type !== "run" && kept.some(job => same(e, job)))],
    jobs: jobs.filter(job => !done(job)),
    total: all.length,
  };
}

/** A run under way. `stop` holds one number, not 0 once the run is to end. */
interface Run {
  o: Asked;
  program: URL;
  show: Progress;
  log: string;
  records: Entry[];
  stopped: Entry[];
  stop: Int32Array;
  failed: boolean;
  total: number;
}

/** Writes a file; whether it could. */
function keep({ show }: Run, path: string, data: string): boolean {
  try {
    saveFile(path, data);
    return true;
  } catch (error) {
    show.log((error as Error).message);
    return false;
  }
}
const keepLog = (run: Run): boolean => keep(run, run.log, run.records.map(e => JSON.stringify(e)).join("\n") + "\n");

/** Does with a worker's message what its type asks for; all others are records. */
function heard(run: Run, job: Job, e: Entry): void {
  const { show } = run;
  const name = named(job);
  if (e.type === "progress") show.step(job.study, job.arm, e as unknown as Report);
  else if (e.type === "saved") keepLog(run);
  else if (e.type === "warning") show.log(`${name}: ${String(e["text"])}`);
  else if (e.type === "stopped") run.stopped.push(e);
  else if (e.type === "resumed") {
    show.log(`${name}: going on from step ${String(e["step"])}`);
    const later = (r: Entry): boolean => r.type === "step" && same(r, job) && Number(r["step"]) > Number(e["step"]);
    run.records = run.records.filter(r => !later(r));
  } else {
    run.records.push(e);
    if (run.o.json) {
      show.clear();
      process.stdout.write(`${JSON.stringify(e)}\n`);
    }
    if (e.type !== "result") return;
    const results = run.records.filter(r => r.type === "result").length;
    show.log(`${name}: done in ${span(Number(e["seconds"]))}, ${results} of ${run.total} arms`);
  }
}

/** Trains one arm in a thread; resolves when it has ended, however it did. */
function train(run: Run, job: Job, threads: number | undefined): Promise<void> {
  const { seed, steps, quick, texts } = run.o;
  const order: Order = { ...job, choice: { seed, steps, quick, texts, threads }, stop: run.stop };
  return new Promise(resolve => {
    const worker = new Worker(run.program, { workerData: order });
    worker.on("message", (e: Entry) => heard(run, job, e));
    worker.on("error", error => {
      run.failed = true;
      Atomics.store(run.stop, 0, 1); // the others end too, and leave their checkpoints
      run.show.log(`${named(job)}: ${error.message}`);
    });
    worker.on("exit", () => {
      run.show.done(job.study, job.arm);
      resolve();
    });
  });
}

/** Trains all arms, so many at once. */
async function trainAll(run: Run, jobs: readonly Job[], atOnce: number, threads: number | undefined): Promise<void> {
  const queue = [...jobs];
  async function lane(): Promise<void> {
    for (let job = queue.shift(); job && !Atomics.load(run.stop, 0); job = queue.shift())
      await train(run, job, threads);
  }
  await Promise.all(Array.from({ length: atOnce }, lane));
}

/** How to go on with a run that was interrupted. */
function interrupted({ stopped }: Run, missing: readonly Job[]): string {
  const where = missing.map(job => {
    const e = stopped.find(e => same(e, job));
    return named(job) + (e ? ` step ${String(e["step"])} of ${String(e["steps"])}` : "");
  });
  const words = process.argv.slice(2).filter(w => w !== "--resume" && w !== "--fresh");
  return `interrupted at ${where.join(", ")}\n` + `  go on with: npm start -- ${[...words, "--resume"].join(" ")}`;
}

/** Writes what came of it and ends the process as it deserves. */
function finish(run: Run, jobs: readonly Job[], studies: readonly Study[]): void {
  const { o, records } = run;
  const path = join(o.out, "report.html");
  run.show.clear();
  keepLog(run);
  const ended = records.some(e => e.type === "result");
  const wrote = ended && keep(run, path, report(records, studies));
  const styled = process.stdout.isTTY && !process.env["NO_COLOR"];
  if (ended && !o.json) process.stdout.write(table(records, studies, { styled }));
  if (wrote) process.stderr.write(`report: ${relative(".", path)}\n`);
  if (run.failed) leave(1, "an arm failed; the others left their checkpoints");
  const missing = jobs.filter(job => !records.some(e => e.type === "result" && same(e, job)));
  if (Atomics.load(run.stop, 0) && missing.length) leave(130, interrupted(run, missing));
  if (!wrote) process.exitCode = 1;
}

/** Ends at once where the fast engine is asked for and there is none. */
function checkFast(): void {
  try {
    fast("f32").close();
  } catch (error) {
    leave(1, `--fast: ${(error as Error).message.replace("; or fma: false", "")}`);
  }
}

/** Runs what the command line asks for of these studies. `program`: the file that calls `main`, for its threads. */
async function start(studies: readonly Study[], program: URL): Promise<void> {
  const o = asked(studies);
  if (o.fast) checkFast();
  const every = jobsOf(o);
  const log = join(o.out, "run.jsonl");
  const { records, jobs, total } = agenda(o, every, headOf(o, every), log);
  const atOnce = Math.max(1, Math.min(o.jobs ?? Math.min(2, availableParallelism()), jobs.length));
  // of each arm
  const threads = o.fast ? Math.min(64, Math.max(1, Math.floor(availableParallelism() / atOnce))) : undefined;
  if (threads) records[0] = { ...records[0]!, engine: { name: "farsight/fast", fma: true, threads } };
  if (o.json) for (const e of records) process.stdout.write(`${JSON.stringify(e)}\n`);
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const run: Run = { o, program, show: progress(), log, records, stopped: [], stop, failed: false, total };
  process.on("SIGINT", () => {
    if (Atomics.exchange(stop, 0, 1)) process.exit(130);
    run.show.log("stopping after this step (Ctrl-C again to stop at once)");
  });
  await trainAll(run, jobs, atOnce, threads);
  finish(run, jobs, studies);
}

/** A program that runs these studies; it is the program of its own threads too. */
export const main = (studies: readonly Study[], program: string): Promise<void> =>
  isMainThread ? start(studies, new URL(program)) : work(studies);
