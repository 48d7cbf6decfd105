// resume.ts: what an earlier run left in a folder, and what is still to be done. Everything is looked at before
// anything is changed; whoever calls holds the folder's lock.
import { existsSync, readdirSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { parse } from "farsight";
import { leave } from "./cli.ts";
import { readFile, removeFile } from "./files.ts";
import type { Asked } from "./options.ts";
import { bag, list, parsed, type Entry } from "./records.ts";
import type { Study } from "./study.ts";

/** An arm to train, where its checkpoint is, and whether it goes on from there. */
export interface Job {
  study: string;
  arm: string;
  file: string;
  resume: boolean;
}
/** An arm as runs list them: of a job, of a record. */
export const named = ({ study, arm }: Entry | { study: string; arm: string }): string =>
  `${String(study)} ${String(arm)}`;

/** What is to be done. */
export interface Agenda {
  /** The records so far, head first. */
  records: Entry[];
  /** The steps of checkpoints that the log knows of, by arm. */
  saved: Map<string, number>;
  /** The jobs left. */
  jobs: Job[];
  /** Arms of the whole run, those of before included. */
  total: number;
  /** What a person should know before it begins. */
  notices: string[];
}

/** A folder of runs, and what its log says. */
interface Earlier {
  folder: string;
  run: Entry | undefined;
  /** All arms of the run, and those that are finished. */
  names: readonly string[];
  finished: ReadonlySet<string>;
  /** The records of finished arms. */
  records: readonly Entry[];
  saved: Map<string, number>;
  /** What is wrong with the log. */
  warnings: readonly string[];
}

/** What a checkpoint that cannot be taken up leaves to do. */
export const wayOut =
  "put a whole copy there; or train this arm from its beginning: --resume --anyway; or throw the run away: --fresh";

/** What is said where it is trained from its beginning. */
export const again = "this arm is trained from its beginning";

/** What wrote a run, part by part. */
export type Origin = { readonly [part: string]: string };
/** What wrote a run: results depend on nothing else but the choice. */
export const origin = (run: Entry): Origin => ({
  ...(bag(run["versions"]) as Origin),
  commit: String(run["commit"]),
  program: String(run["program"]),
});
/** An origin in words. */
export const listed = (parts: Origin): string =>
  Object.entries(parts)
    .map(([part, value]) => `${part} ${value || "unknown"}`)
    .join(", ");

/** The checkpoints in a folder, of whatever seed. */
function checkpoints(
  out: string,
  studies: readonly Study[],
): { study: string; arm: string; seed: number; file: string }[] {
  const arms = studies.flatMap(({ name: study, arms }) => Object.keys(arms).map(arm => ({ study, arm })));
  return readdirSync(out).flatMap(name => {
    const seed = /-(\d+)\.safetensors$/.exec(name);
    const of = seed && arms.find(({ study, arm }) => name.slice(0, seed.index) === `${study}-${arm}`);
    return of ? [{ ...of, seed: Number(seed[1]), file: join(out, name) }] : [];
  });
}

/** Whether anything but this program wrote what was found. */
export const differs = (found: Origin, program: Origin): boolean =>
  Object.entries(program).some(([part, value]) => found[part] !== value);

/** Refuses to go on with what another program began, or says that it will. */
function checkOrigin(o: Asked, folder: string, head: Entry, found: Origin): string[] {
  if (!differs(found, origin(head))) return [];
  const other = `the run in ${folder} was begun by another program`;
  const last = "whose last digits may be others";
  if (o.anyway) return [`${other} (${listed(found)}); it goes on with this one, ${last}`];
  return leave(
    2,
    `--resume: ${other}\n  wants ${listed(found)}\n  got   ${listed(origin(head))}\n` +
      `  go on with that one; or with this one, ${last}: --resume --anyway; or start over: --fresh`,
  );
}

/** What wrote a checkpoint; or, as text, why it cannot be taken up; nothing where there is none and none is missed. */
export function looked(file: string, missed: boolean): Origin | string | undefined {
  try {
    const bytes = readFile(file);
    if (!bytes) return missed ? "the checkpoint is missing" : undefined;
    return bag(JSON.parse(parse(bytes).metadata["origin"] ?? "{}")) as Origin;
  } catch (error) {
    return (error as Error).message;
  }
}

/** The jobs that are not done, with whether each goes on from a checkpoint. */
function remaining(o: Asked, jobs: readonly Job[], head: Entry, { folder, run, finished, saved, warnings }: Earlier) {
  const [wants, got] = [run?.["choice"], head["choice"]].map(choice => JSON.stringify(choice));
  if (run && wants !== got)
    leave(2, `--resume: the run in ${folder} made other choices\n  wants ${wants}\n  got   ${got}`);
  const notices = run ? checkOrigin(o, folder, head, origin(run)) : [];
  const left = jobs
    .filter(job => !finished.has(named(job)))
    .map(job => {
      const made = looked(job.file, saved.has(named(job)));
      if (typeof made === "object" && notices.length === 0) notices.push(...checkOrigin(o, folder, head, made));
      if (typeof made !== "string") return { ...job, resume: made !== undefined };
      const what = `${named(job)}: ${made}\n  in ${relative(".", job.file)}`;
      if (!o.anyway) leave(1, `${what}\n  ${wayOut}`);
      notices.push(`${what}\n  ${again}`);
      return job;
    });
  return { jobs: left, notices: [...warnings, ...notices] };
}

/** What stands in the place of a file is found before hours of training, not after. */
function mustBeFiles(paths: readonly string[]): void {
  for (const path of paths)
    if (statSync(path, { throwIfNoEntry: false })?.isFile() === false) leave(2, `${relative(".", path)} is not a file`);
}

/**
 * Refuses to go on with a log that is not as it was written, or is missing beside checkpoints, or says that no arm of
 * it counts as finished: which of their records are gone cannot be known.
 */
function checkLog(o: Asked, log: string, run: Entry | undefined, wrong: boolean): string[] {
  if (!o.resume || !wrong) return [];
  const what = `the log of the run is ${run ? "damaged" : "missing or damaged"}\n  in ${relative(".", log)}`;
  if (!o.anyway)
    leave(1, `${what}\n  put a whole copy there; or go on with what is left of it: --resume --anyway; or: --fresh`);
  return [`${what}\n  arms without a checkpoint are trained from their beginning`];
}

/** The log of an earlier run. */
function logged(o: Asked, log: string, any: boolean): Earlier {
  const text = Buffer.from(readFile(log) ?? "").toString("utf8");
  const entries = parsed(text);
  const run = entries.find(e => e.type === "run");
  const whole = text.endsWith("\n") && entries.length === text.split("\n").length - 1 && entries[0] === run;
  const warnings = checkLog(o, log, run, text === "" ? any : !whole);
  const results = warnings.length ? [] : entries.filter(e => e.type === "result" && e["seed"] === run?.["seed"]);
  const finished = new Set(results.map(named));
  // Steps of arms that are not finished are in their checkpoints.
  const records = entries.filter(e => e.type !== "run" && e.type !== "saved" && finished.has(named(e)));
  const marks = entries.filter(e => e.type === "saved" && !finished.has(named(e)));
  const saved = new Map(marks.map(e => [named(e), Number(e["step"])]));
  const names = list(run?.["jobs"]).map(String);
  return { folder: relative(".", o.out) || ".", run, names, finished, records, saved, warnings };
}

/** What is to be done of these jobs, given what is in the folder; of `studies` any checkpoint is known. */
export function agenda(o: Asked, studies: readonly Study[], jobs: Job[], head: Entry, log: string): Agenda {
  const files = checkpoints(o.out, studies);
  mustBeFiles([log, join(o.out, "report.html"), ...files.map(f => f.file)]);
  const earlier = logged(o, log, files.length > 0);
  const { folder, run, names, finished, records, saved } = earlier;
  const isDone = (f: { study: string; arm: string; seed: number }): boolean =>
    finished.has(named(f)) && f.seed === run?.["seed"];
  const left = new Set([...names.filter(name => !finished.has(name)), ...files.filter(f => !isDone(f)).map(named)]);
  if (left.size && !o.resume && !o.fresh)
    leave(
      2,
      `${folder} holds an interrupted run (${[...left].join(", ")})\n` +
        "  go on with it: --resume; throw it away: --fresh; leave it alone: --out another-folder",
    );
  if (!o.resume) {
    for (const { file } of files) removeFile(file);
    return { records: [head], saved: new Map(), jobs, total: jobs.length, notices: [] };
  }
  if (!run && !jobs.some(job => existsSync(job.file))) leave(2, `--resume: ${folder} holds no run`);
  const todo = remaining(o, jobs, head, earlier);
  for (const f of files) if (isDone(f)) removeFile(f.file); // a kill came between the log and this
  const all = [...new Set([...names, ...jobs.map(named)])];
  const begun = run?.["begun"] ?? (run && differs(origin(run), origin(head)) ? origin(run) : undefined);
  return { records: [{ ...head, jobs: all, begun }, ...records], saved, total: all.length, ...todo };
}
