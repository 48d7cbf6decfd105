// worker.ts: trains one trial, an arm of a study or a cell of a table, in a thread of its own and posts records. It
// looks at the stop flag after every step, and leaves a checkpoint now and then and when it is stopped.
import { relative } from "node:path";
import { parentPort } from "node:worker_threads";
import { fit, load, parse, save } from "farsight";
import { readFile, saveFile } from "./files.ts";
import type { Entry } from "./records.ts";
import type { Trial } from "./study.ts";

/** What a worker is told. `stop` holds one number, not 0 once the run is to end. */
export interface Order {
  /** Whose records they are: fields of each of them, and of what a checkpoint must be of. */
  of: { readonly [field: string]: string | number };
  /** The checkpoint, and whether to go on from it. */
  file: string;
  resume: boolean;
  /** What trains: kept with a checkpoint, and compared before it is taken up. */
  origin: string;
  /** What to do about a checkpoint that cannot be taken up. */
  wayOut: string;
  /** What is said where training begins again instead; nothing where it must not. */
  beginning: string | undefined;
  /** Milliseconds between checkpoints. */
  every: number;
  stop: Int32Array;
}

const post = (entry: Entry): void => parentPort!.postMessage(entry);

/** What a checkpoint of a trial says that it is of. */
export const madeOf = (of: Order["of"], { steps, config }: Pick<Trial, "steps" | "config">): string =>
  JSON.stringify({ ...of, steps, ...config });

/** What a trial has said of its steps: its records, and the sum of n losses since the last one. */
interface Told {
  records: Entry[];
  sum: number;
  n: number;
}

/** The checkpoint of a trial: what was there, and writing it. */
function checkpoints(trial: Trial, { of, file, resume, origin, wayOut, beginning }: Order) {
  const config = madeOf(of, trial);
  const started = performance.now();
  const told: Told = { records: [], sum: 0, n: 0 };
  let before = 0;
  let saved = 0;
  const seconds = (): number => before + (performance.now() - started) / 1000;

  // Loads last: what is refused leaves parameters as they were made.
  function take(bytes: Uint8Array): number {
    const { metadata } = parse(bytes);
    if (metadata.config !== config)
      throw new Error(`this is a checkpoint of another run\n  wants ${config}\n  got   ${metadata.config}`);
    const { records, sum, n } = JSON.parse(metadata.told ?? "{}") as Told;
    if (!Array.isArray(records)) throw new Error("this checkpoint has no records of its steps");
    const { step } = load(trial, bytes);
    Object.assign(told, { records, sum, n });
    before = Number(metadata.seconds) || 0;
    return step;
  }

  return {
    told,
    /** Seconds of training, those before an interruption included. */
    seconds,
    /** The step of the last checkpoint; 0 without one. */
    saved: (): number => saved,
    /** Takes up the checkpoint if the order says so, and returns its step. */
    resume(): number {
      if (!resume) return 0;
      try {
        saved = take(readFile(file)!);
      } catch (error) {
        const what = `${(error as Error).message}\n  in ${relative(".", file)}`;
        if (beginning === undefined) throw new Error(`${what}\n  ${wayOut}`, { cause: error });
        post({ type: "warning", ...of, text: `${what}\n  ${beginning}` });
        return 0;
      }
      post({ type: "resumed", ...of, step: saved });
      told.records.forEach(post);
      return saved;
    },
    save(step: number): void {
      const metadata = { config, origin, told: JSON.stringify(told), seconds: String(seconds()) };
      try {
        saveFile(file, save({ ...trial, step }, metadata));
        saved = step;
        post({ type: "saved", ...of, step });
      } catch (error) {
        post({ type: "warning", ...of, text: (error as Error).message });
      }
    },
  };
}

/** Posts progress twelve times a second at most, and a record of some 150 in all; to be told every step's loss. */
function reporter(trial: Trial, { of }: Order, from: number, told: Told): (step: number, loss: number) => void {
  const { steps, tokens } = trial;
  const interval = Math.max(1, Math.floor(steps / 150));
  const look = Math.max(1, Math.floor(steps / 12));
  let shown = 0;
  let accuracy: number | undefined;
  const pace = { from: performance.now(), step: from };

  function progress(step: number, loss: number, now: number): void {
    shown = now;
    const rate = (tokens * (step - pace.step)) / ((now - pace.from) / 1000);
    post({ type: "progress", ...of, step, steps, loss, accuracy, rate });
    if (now - pace.from > 3000) Object.assign(pace, { from: now, step });
  }
  return (step, loss) => {
    told.sum += loss;
    told.n++;
    const last = step === steps;
    const measured = trial.accuracy !== undefined && (step % look === 0 || last);
    if (measured) accuracy = trial.accuracy!();
    const now = performance.now();
    if (now - shown > 80 || last) progress(step, loss, now);
    if (step % interval !== 0 && !measured && !last) return;
    const mean = Number((told.sum / told.n).toPrecision(6));
    const record = { type: "step", ...of, step, loss: mean, ...(measured ? { accuracy } : {}) };
    told.records.push(record);
    post(record);
    told.sum = told.n = 0;
  };
}

/** The last records of a trial: its figures and its result. */
function conclude(trial: Trial, { of }: Order, seconds: () => number): void {
  const { metrics, figures } = trial.finish();
  const { paper, config } = trial;
  for (const figure of figures) post({ type: "figure", ...of, ...figure });
  post({ type: "result", ...of, metrics, paper, config, seconds: Number(seconds().toFixed(1)) });
}

/** Trains a trial in the thread that was started for it. */
export async function work(trial: Trial, order: Order): Promise<void> {
  const { of, stop } = order;
  const checkpoint = checkpoints(trial, order);
  const from = checkpoint.resume();
  const tell = reporter(trial, order, from, checkpoint.told);
  let kept = performance.now();
  const { params, optimizer, steps, schedule, clip } = trial;
  const training = { params, optimizer, steps, schedule, clip, from, loss: (step: number) => trial.loss(step) };
  for await (const { step, loss } of fit(training)) {
    tell(step, loss);
    if (step === steps) break;
    if (Atomics.load(stop, 0)) {
      checkpoint.save(step);
      return post({ type: "stopped", ...of, step, steps, saved: checkpoint.saved() });
    }
    if (performance.now() - kept >= order.every) {
      checkpoint.save(step);
      kept = performance.now();
    }
  }
  if (checkpoint.saved() !== steps) checkpoint.save(steps); // tests may take minutes, and hear nothing
  conclude(trial, order, checkpoint.seconds);
}
