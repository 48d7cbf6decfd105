// runner.ts: a run of studies, arm by arm, two at a time, in threads; prints a table and writes a report. stdout
// carries the result (the table, or with --json a record a line), stderr everything else.
import { existsSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { join, relative } from "node:path";
import { isMainThread, workerData } from "node:worker_threads";
import { leave } from "./cli.ts";
import { endings } from "./ending.ts";
import { reason, removeFile, saveFile, sweep } from "./files.ts";
import { table } from "./finding.ts";
import { lock } from "./lock.ts";
import { asked, type Asked } from "./options.ts";
import { build, commit, digest, version } from "./place.ts";
import { progress, span, type Progress, type Report } from "./progress.ts";
import type { Entry } from "./records.ts";
import { report } from "./report.ts";
import { again, agenda, named, origin, wayOut, type Job } from "./resume.ts";
import type { Choice, Study } from "./study.ts";
import { FUSED, atOnce, checkFast, lanes, thread, threadsOf } from "./threads.ts";
import { quoted } from "./words.ts";
import { work, type Order } from "./worker.ts";

/** Milliseconds between checkpoints of an arm. */
const EVERY = 30_000;

const jobsOf = (o: Asked): Job[] =>
  o.studies.flatMap(({ name: study, arms }) =>
    Object.keys(arms).map(arm => {
      const file = join(o.out, `${study}-${arm}-${o.seed}.safetensors`);
      return { study, arm, file, resume: false };
    }),
  );

/** What was typed, less what is about an earlier run. */
const given = (): string[] => process.argv.slice(2).filter(word => !/^--(resume|fresh|anyway)$/.test(word));

/** The first record: what a reader needs to repeat the run. */
function headOf(o: Asked, jobs: readonly Job[], program: URL): Entry {
  const words = given();
  const texts = Object.fromEntries(
    Object.entries(o.texts).map(([option, text]) => [option, text === undefined ? "" : digest(text)]),
  );
  return {
    type: "run",
    command: ["npm start", ...(words.length ? ["--", ...words] : [])].join(" "),
    arguments: words,
    seed: o.seed,
    versions: { farsight: version, node: process.versions.node },
    commit: commit(),
    program: build(program),
    machine: { cpu: cpus()[0]?.model ?? "unknown", cores: availableParallelism() },
    date: new Date().toISOString(),
    // What results depend on, and what is to be trained: compared before a run is taken up again.
    choice: { seed: o.seed, quick: o.quick, steps: o.steps ?? 0, ...texts, fast: o.fast },
    jobs: jobs.map(named),
  };
}

/** A run under way. `stop` holds one number, not 0 once the run is to end. */
interface Run {
  o: Asked;
  program: URL;
  show: Progress;
  log: string;
  records: Entry[];
  /** The steps of checkpoints, by arm. */
  saved: Map<string, number>;
  stopped: Entry[];
  stop: Int32Array;
  /** The exit status of a run that was asked to end. */
  end: { code: number };
  every: number;
  failed: boolean;
  total: number;
}

/** The result of an arm, if it has one. */
const resultOf = (run: Run, job: Job): Entry | undefined =>
  run.records.find(e => e.type === "result" && named(e) === named(job));

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

/** Writes the log: all records, and which checkpoints there must be. */
function keepLog(run: Run): boolean {
  const marks = [...run.saved].map(([name, step]) => {
    const [study, arm] = name.split(" ");
    return { type: "saved", study, arm, step };
  });
  return keep(run, run.log, [...run.records, ...marks].map(e => `${JSON.stringify(e)}\n`).join(""));
}

/** Writes the log, and only then removes the checkpoints of arms whose results are in it; whether it could. */
function settle(run: Run, jobs: readonly Job[]): boolean {
  const done = jobs.filter(job => resultOf(run, job));
  for (const job of done) run.saved.delete(named(job));
  if (!keepLog(run)) return false;
  try {
    for (const job of done) removeFile(job.file);
  } catch (error) {
    run.show.log((error as Error).message);
  }
  return true;
}

/** Does with a worker's message what its type asks for; all others are records. */
function heard(run: Run, job: Job, e: Entry): void {
  const { show } = run;
  const name = named(job);
  if (e.type === "progress") show.step(job.study, job.arm, e as unknown as Report);
  else if (e.type === "saved") {
    run.saved.set(name, Number(e["step"]));
    keepLog(run);
  } else if (e.type === "warning") show.log(`${name}: ${String(e["text"])}`);
  else if (e.type === "stopped") run.stopped.push(e);
  else if (e.type === "resumed") show.log(`${name}: going on from step ${String(e["step"])}`);
  else {
    run.records.push(e);
    if (e.type === "result") settle(run, [job]);
    if (run.o.json) {
      show.clear();
      process.stdout.write(`${JSON.stringify(e)}\n`);
    }
    if (e.type !== "result") return;
    const results = run.records.filter(r => r.type === "result").length;
    show.log(`${name}: done in ${span(Number(e["seconds"]))}, ${results} of ${run.total} arms`);
  }
}

/** What the thread of an arm is told. */
interface ArmOrder extends Order {
  study: string;
  arm: string;
  choice: Choice;
}

/** Trains one arm in a thread; resolves when it has ended, however it did. */
async function train(run: Run, job: Job, threads: number | undefined): Promise<void> {
  const { seed, steps, quick, texts, anyway } = run.o;
  const { stop, every } = run;
  const { study, arm, file, resume } = job;
  const made = JSON.stringify(origin(run.records[0]!));
  const choice = { seed, steps, quick, texts, threads };
  const of = { study, arm, seed };
  const beginning = anyway ? again : undefined;
  const order: ArmOrder = { study, arm, choice, of, file, resume, origin: made, wayOut, beginning, every, stop };
  const error = await thread(run.program, order, e => heard(run, job, e));
  if (error) {
    run.failed = true;
    Atomics.store(run.stop, 0, 1); // the others end too, and leave their checkpoints
    run.show.log(`${named(job)}: ${error.message}`);
  }
  run.show.done(study, arm);
}

/** Trains the arm that this thread was started for. */
async function trainArm(studies: readonly Study[]): Promise<void> {
  const order = workerData as ArmOrder;
  const { study, arm, choice } = order;
  const trial = studies.find(s => s.name === study)!.train(arm, choice);
  if (choice.threads !== undefined) trial.config["engine"] = FUSED;
  await work(trial, order);
}

/** Where a run stands that did not come to its end, what of it is not on disk and how to go on; the exit status. */
function unfinished(run: Run, missing: readonly Job[], logged: boolean): { code: number; text: string } {
  const where: string[] = [];
  const lost: string[] = [];
  for (const job of missing) {
    const e = run.stopped.find(e => named(e) === named(job));
    where.push(named(job) + (e ? ` step ${String(e["step"])} of ${String(e["steps"])}` : ""));
    if (e && e["saved"] !== e["step"])
      lost.push(`  ${named(job)} is not saved${e["saved"] ? ` since step ${String(e["saved"])}` : ""}`);
  }
  const any = logged || missing.some(job => existsSync(job.file));
  const command = ["npm start --", ...given().map(quoted), "--resume"].join(" ");
  const text = [
    run.failed ? "an arm failed" : `interrupted at ${where.join(", ")}`,
    ...lost,
    any ? `  go on with: ${command}` : "  nothing of it is saved",
  ];
  return { code: lost.length || !logged || run.failed ? 1 : run.end.code, text: text.join("\n") };
}

/** Writes what came of it and ends the process as it deserves. */
function finish(run: Run, jobs: readonly Job[], studies: readonly Study[]): void {
  const { o, records } = run;
  const path = join(o.out, "report.html");
  run.show.clear();
  const logged = settle(run, jobs);
  const ended = records.some(e => e.type === "result");
  const wrote = ended && keep(run, path, report(records, studies));
  const styled = process.stdout.isTTY && !process.env["NO_COLOR"];
  if (ended && !o.json) process.stdout.write(table(records, studies, { styled }));
  if (wrote) process.stderr.write(`report: ${relative(".", path)}\n`);
  const missing = jobs.filter(job => !resultOf(run, job));
  if (missing.length || run.failed) {
    const { code, text } = unfinished(run, missing, logged);
    leave(code, text);
  }
  if (!logged || !wrote) leave(1, logged ? "the report is not written" : "the results above are not saved");
}

/** Takes the folder for this process, or ends it before anything is changed. */
function take({ out, resume }: Asked): void {
  const folder = relative(".", out) || ".";
  if (resume && !existsSync(out)) leave(2, `--resume: ${folder} holds no run`);
  try {
    lock(join(out, "lock"));
    sweep(out);
  } catch (error) {
    const why = reason(error as NodeJS.ErrnoException);
    leave(2, `--out: ${folder} cannot be used: ${why}\n  wants a folder of its own: --out another-folder`);
  }
}

/** What is to be done, in a folder that is this process's. */
function planned(o: Asked, studies: readonly Study[], program: URL, log: string) {
  const jobs = jobsOf(o);
  try {
    return agenda(o, studies, jobs, headOf(o, jobs, program), log);
  } catch (error) {
    return leave(2, (error as Error).message);
  }
}

/** Runs what the command line asks for of these studies. `program`: the file that calls `main`, for its threads. */
async function start(studies: readonly Study[], program: URL, every: number): Promise<void> {
  const o = asked(studies);
  if (o.fast) checkFast();
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const show = progress();
  const end = { code: 130 };
  endings((why, code) => {
    if (Atomics.exchange(stop, 0, 1)) return;
    end.code = code;
    show.log(`stopping after this step (${why})`);
  });
  take(o);
  const log = join(o.out, "run.jsonl");
  const { records, saved, jobs, total, notices } = planned(o, studies, program, log);
  const most = atOnce(o.jobs, jobs.length);
  const threads = threadsOf(o.fast, most); // of each arm
  if (threads) records[0] = { ...records[0]!, engine: { name: "farsight/fast", fma: true, threads } };
  const run: Run = { o, program, show, log, records, saved, stopped: [], stop, end, every, failed: false, total };
  notices.forEach(show.log);
  if (!keepLog(run)) leave(2, "nothing was trained");
  if (o.json) for (const e of records) process.stdout.write(`${JSON.stringify(e)}\n`);
  await lanes(jobs, most, stop, job => train(run, job, threads));
  finish(run, jobs, studies);
}

/**
 * A program that runs these studies; it is the program of its own threads too. `every`: milliseconds between
 * checkpoints, half a minute unless given.
 */
export const main = (studies: readonly Study[], program: string, { every = EVERY } = {}): Promise<void> =>
  isMainThread ? start(studies, new URL(program), every) : trainArm(studies);
