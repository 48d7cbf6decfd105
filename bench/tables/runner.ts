// runner.ts: trains the cells of a table, side by side, in threads; records each as it ends. Other processes may be at
// the same table: who locks a cell first trains it. stdout carries the table, stderr everything else.
import { readdirSync } from "node:fs";
import { availableParallelism, cpus, hostname } from "node:os";
import { basename, dirname, join, relative } from "node:path";
import { isMainThread, workerData } from "node:worker_threads";
import { leave } from "../cli.ts";
import { endings } from "../ending.ts";
import { makeFolder, reason, removeFile, sweep } from "../files.ts";
import { isHeld, lock } from "../lock.ts";
import { build, commit, root, version } from "../place.ts";
import { progress, span, type Progress, type Report } from "../progress.ts";
import { num, type Entry } from "../records.ts";
import { differs, listed, looked, type Origin } from "../resume.ts";
import { tapeOf } from "../study.ts";
import { atOnce, checkFast, lanes, thread, threadsOf } from "../threads.ts";
import { many, mean, quoted } from "../words.ts";
import { work, type Order } from "../worker.ts";
import { ledger, record } from "./ledger.ts";
import { asked, type Asked } from "./options.ts";
import { preview } from "./preview.ts";
import { configOf, listing, shown, sorted } from "./shown.ts";
import { called, identity, type Cell, type Config, type Files, type Paper } from "./table.ts";

/** Milliseconds between checkpoints of a cell. */
const EVERY = 30_000;

/** A cell to train: what it is, and where its checkpoint is. */
interface Job {
  cell: Cell;
  config: Config;
  identity: string;
  file: string;
}

/** What a cell's thread is told. */
interface CellOrder extends Order {
  paper: string;
  table: string;
  cell: Cell;
  config: Config;
  threads: number | undefined;
  files: Files;
}

/** A run under way. `stop` holds one number, not 0 once the run is to end. */
interface Run {
  o: Asked;
  program: URL;
  origin: Origin;
  display: Progress;
  stop: Int32Array;
  every: number;
  threads: number | undefined;
  /** Jobs at once. */
  most: number;
  /** Cells that nobody began yet. */
  waiting: number;
  /** Seconds that a cell still needs, by name. */
  left: Map<string, number>;
  /** Seconds that finished cells took. */
  took: number[];
  /** Why cells are not done, by name. */
  open: Map<string, string>;
  /** Whether something went wrong, and whether somebody else may or may not be at a cell. */
  failed: boolean;
  foreign: boolean;
}

/** A cell's name among files. */
const filed = ({ arm, setting, seed }: Cell): string =>
  [arm, setting, seed].map(word => encodeURIComponent(word).replaceAll("*", "%2A")).join("-");

function jobOf({ paper, table, out, again, ...o }: Asked, cell: Cell): Job {
  const config = configOf(table, cell, o);
  // What --again trains is not what an earlier run began.
  const file = join(out, `${filed(cell)}${again ? "-again" : ""}.safetensors`);
  return { cell, config, identity: identity(paper.name, table.name, cell, config), file };
}

/** Whose records a cell's are. */
const fieldsOf = ({ paper, table }: Asked, { cell }: Job): Order["of"] => ({
  paper: paper.name,
  table: table.name,
  arm: cell.arm,
  setting: cell.setting,
  seed: cell.seed,
});

/** What to do about a checkpoint that cannot be taken up. */
const WAY_OUT = "train this cell from its beginning: --anyway; or leave the folder alone: --out another-folder";

/** What is said where it is trained from its beginning. */
const BEGINNING = "this cell is trained from its beginning";

/** What wrote a cell's checkpoint, where there is one to go on from; throws where it cannot be taken up. */
function earlier(run: Run, { cell, file, identity: mine }: Job, log: (text: string) => void): Origin | undefined {
  const found = looked(file, false);
  if (found === undefined) return undefined;
  const { anyway } = run.o;
  const name = called(cell);
  const isOther = typeof found !== "string" && found["identity"] !== mine;
  if (typeof found === "string" || isOther) {
    const wrong = isOther ? "this is a checkpoint of another config" : found;
    if (!anyway) throw new Error(`${name}: ${String(wrong)}\n  in ${relative(".", file)}\n  ${WAY_OUT}`);
    log(`${name}: ${String(wrong)}; ${BEGINNING}`);
    return undefined;
  }
  const { identity: _, ...made } = found;
  if (!differs(made, run.origin)) return made;
  const other = `${name}: begun by another program`;
  const last = "whose last digits may be others";
  if (!anyway)
    throw new Error(
      `${other}\n  wants ${listed(made)}\n  got   ${listed(run.origin)}\n` +
        `  go on with that one; or with this one, ${last}: --anyway; or begin again: delete ${relative(".", file)}`,
    );
  log(`${other} (${listed(made)}); it goes on with this one, ${last}`);
  return made;
}

/** What is recorded of a cell beside what its thread says. */
function resultOf(run: Run, job: Job, entries: readonly Entry[], begun: string | undefined): Entry {
  const { metrics, seconds } = entries.find(e => e.type === "result")!;
  const { commit, program, ...versions } = run.origin;
  const curve = entries.filter(e => e.type === "step");
  const figures = entries.filter(e => e.type === "figure");
  return {
    type: "cell",
    identity: job.identity,
    ...fieldsOf(run.o, job),
    metrics,
    config: job.config,
    seconds,
    commit,
    ...(begun !== undefined && begun !== commit && { begun }),
    program,
    versions,
    machine: { cpu: cpus()[0]?.model ?? "unknown", cores: availableParallelism() },
    date: new Date().toISOString(),
    curve: curve.map(e => [e["step"], e["loss"], ...("accuracy" in e ? [e["accuracy"]] : [])]),
    figures: figures.map(e => rounded(less(e, job, run.o))),
  };
}

/** A figure without the fields that its result has already. */
const less = (e: Entry, job: Job, o: Asked): object =>
  Object.fromEntries(Object.entries(e).filter(([key]) => key !== "type" && !(key in fieldsOf(o, job))));

/** Three digits of every number that is not whole, however deep: maps are to be looked at. */
function rounded(value: unknown): unknown {
  if (typeof value === "number") return Number.isInteger(value) ? value : Number(value.toPrecision(3));
  if (Array.isArray(value)) return value.map(rounded);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, rounded(v)]));
}

/** Trains a cell in a thread and records it; `begun`: what wrote the checkpoint that it goes on from, if any. */
async function train(run: Run, job: Job, begun: Origin | undefined): Promise<void> {
  const { o, display } = run;
  const name = called(job.cell);
  const entries: Entry[] = [];
  const since = { at: 0, step: 0 };
  function heard(e: Entry): void {
    if (e.type === "progress") {
      const report = e as unknown as Report;
      if (!since.at) Object.assign(since, { at: performance.now(), step: report.step });
      else if (report.step > since.step) {
        const pace = (performance.now() - since.at) / 1000 / (report.step - since.step);
        run.left.set(name, pace * (report.steps - report.step));
      }
      display.step(o.table.name, name, report);
    } else if (e.type === "resumed") display.log(`${name}: going on from step ${String(e["step"])}`);
    else if (e.type === "warning") display.log(`${name}: ${String(e["text"])}`);
    else if (e.type === "stopped") {
      const isSaved = e["saved"] === e["step"];
      run.failed ||= !isSaved;
      const lost = isSaved ? "" : e["saved"] ? `, not saved since step ${String(e["saved"])}` : ", not saved";
      run.open.set(name, `step ${String(e["step"])} of ${String(e["steps"])}${lost}`);
    } else if (e.type !== "saved") entries.push(e);
  }
  const order: CellOrder = {
    of: fieldsOf(o, job),
    file: job.file,
    resume: begun !== undefined,
    origin: JSON.stringify({ ...run.origin, identity: job.identity }),
    wayOut: WAY_OUT,
    beginning: o.anyway ? BEGINNING : undefined,
    every: run.every,
    stop: run.stop,
    paper: o.paper.name,
    table: o.table.name,
    cell: job.cell,
    config: job.config,
    threads: run.threads,
    files: o.files,
  };
  run.open.set(name, "not begun");
  const error = await thread(run.program, order, heard);
  run.left.delete(name);
  display.done(o.table.name, name);
  if (error) throw error;
  if (!entries.some(e => e.type === "result")) return;
  const result = resultOf(run, job, entries, begun?.["commit"]);
  await record(o.ledger, result, o.again);
  removeFile(job.file); // and not before
  run.open.delete(name);
  run.took.push(Number(result["seconds"]));
  display.log(`${name}: done in ${span(Number(result["seconds"]))}`);
}

/** Says why a cell failed. The others end too, and leave their checkpoints. */
function fail(run: Run, name: string, why: string): void {
  run.failed = true;
  Atomics.store(run.stop, 0, 1);
  run.open.set(name, "failed");
  run.display.log(`${name}: ${why}`);
}

/** Trains a cell, unless another process has it or has recorded it. */
async function take(run: Run, job: Job): Promise<void> {
  const { o, display } = run;
  const name = called(job.cell);
  run.waiting--;
  let release: () => void;
  try {
    release = lock(`${job.file}.lock`);
  } catch (error) {
    if (!isHeld(error)) return fail(run, name, reason(error as NodeJS.ErrnoException));
    run.foreign ||= error.host !== hostname();
    run.open.set(name, error.message);
    display.log(`${name}: ${error.message}`);
    return;
  }
  try {
    if (!o.again && ledger(o.ledger).results.has(job.identity)) return;
    await train(run, job, earlier(run, job, display.log));
  } catch (error) {
    fail(run, name, (error as Error).message);
  } finally {
    release();
  }
}

/** Seconds until all cells of this command are done, so far as can be said, and how many they are. */
function rest(run: Run): string {
  const under = [...run.left.values()];
  if (run.waiting === 0 || (under.length === 0 && run.took.length === 0)) return "";
  const each = run.took.length ? mean(run.took) : Math.max(...under);
  const seconds = (run.waiting * each + under.reduce((a, b) => a + b, 0)) / run.most;
  return `${many(run.waiting, "cell")} more, ${span(seconds)} left in all`;
}

/** Removes what a kill between a cell's record and its end left behind, unless another process is at it. */
function tidied({ file, identity: mine }: Job): void {
  const name = basename(file);
  if (!readdirSync(dirname(file)).some(f => f === name || f.startsWith(`${name}.lock.`))) return;
  let release: () => void;
  try {
    release = lock(`${file}.lock`);
  } catch (error) {
    if (isHeld(error)) return;
    throw error;
  }
  try {
    const found = looked(file, false);
    const isOther = typeof found === "object" && found["identity"] !== mine; // of another engine, or fewer steps
    if (!isOther) removeFile(file);
  } finally {
    release();
  }
}

/** What is left to do of what was asked for. */
function planned(run: Run): Job[] {
  const { o } = run;
  const { results, torn } = ledger(o.ledger);
  const file = relative(".", o.ledger);
  if (torn) run.display.log(`${file}: ${torn} ${torn === 1 ? "line is" : "lines are"} no result and not used`);
  const jobs = o.cells.map(cell => jobOf(o, cell));
  const isDone = (job: Job): boolean => results.has(job.identity);
  if (!o.again) for (const job of jobs.filter(isDone)) tidied(job);
  const { here } = sorted(o, results);
  run.took.push(...here.map(e => num(e["seconds"])).filter(v => v !== undefined));
  const todo = o.again ? jobs : jobs.filter(job => !isDone(job));
  for (const job of todo) earlier(run, job, () => {}); // throws before anything is trained
  return todo;
}

/** What is left to do, in a folder that can be used; or ends the process before anything is changed. */
function ready(run: Run): Job[] {
  const { out } = run.o;
  try {
    makeFolder(out);
    sweep(out, 600_000);
  } catch (error) {
    leave(2, `--out: ${relative(".", out)} cannot be used: ${reason(error as NodeJS.ErrnoException)}`);
  }
  try {
    return planned(run);
  } catch (error) {
    return leave(2, (error as Error).message);
  }
}

/** Trains what is missing, writes the page, prints the table, and ends the process as it deserves. */
async function trainAll(o: Asked, program: URL, every: number): Promise<void> {
  if (o.fast) checkFast();
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const made: Origin = { farsight: version, node: process.versions.node, commit: commit(), program: build(program) };
  const run: Run = {
    ...{ o, program, origin: made, stop, every, threads: undefined, most: 1, waiting: 0 },
    ...{ left: new Map(), took: [], open: new Map(), failed: false, foreign: false },
    display: progress({ whole: () => rest(run) }),
  };
  const end = { code: 130 };
  endings((why, code) => {
    if (Atomics.exchange(stop, 0, 1)) return;
    end.code = code;
    run.display.log(`stopping after this step (${why})`);
  });
  const todo = ready(run);
  run.most = atOnce(o.jobs, todo.length);
  run.threads = threadsOf(o.fast, run.most);
  run.waiting = todo.length;
  await lanes(todo, run.most, stop, job => take(run, job));
  run.display.clear();
  const wrote = shown(o);
  const stopped = Atomics.load(stop, 0) !== 0;
  const parts = [...run.open].map(([name, why]) => `  ${name}: ${why}`);
  if (run.waiting) parts.push(`  ${run.waiting} more are not begun`);
  if (parts.length) process.stderr.write(`not done\n${parts.join("\n")}\n`);
  if (stopped && !run.failed) process.stderr.write(`  go on with: ${command()}\n`);
  process.exitCode = run.failed || !wrote || run.foreign ? 1 : stopped ? end.code : 0;
}

/** What was typed. */
const command = (): string => ["npm run bench --", ...process.argv.slice(2).map(quoted)].join(" ");

/** Trains the cell that this thread was started for. */
async function trainCell(papers: readonly Paper[]): Promise<void> {
  const order = workerData as CellOrder;
  const { cell, config, threads, files } = order;
  const table = papers.find(p => p.name === order.paper)!.tables.find(t => t.name === order.table)!;
  const tape = tapeOf({ seed: cell.seed, threads });
  await work({ ...table.train(cell, config, tape, files), config, tape }, order);
}

async function start(papers: readonly Paper[], program: URL, every: number, results: string): Promise<void> {
  const o = asked(papers, results);
  process.stdout.on("error", () => {}); // nobody reads on
  if (!o.table) return void process.stdout.write(listing(o.paper, o, results));
  if (o.preview) return preview(o);
  if (!o.report) return trainAll(o, program, every);
  process.exitCode = shown(o) ? 0 : 1;
}

/**
 * A program that trains the tables of these papers; it is the program of its own threads too. `every`: milliseconds
 * between checkpoints, half a minute unless given; `results`: the folder of results, bench/results unless given.
 */
export const main = (
  papers: readonly Paper[],
  program: string,
  { every = EVERY, results = join(root, "bench/results") } = {},
): Promise<void> => (isMainThread ? start(papers, new URL(program), every, results) : trainCell(papers));
