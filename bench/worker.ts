// worker.ts: trains one arm of a study in a thread of its own and posts records. It looks at the stop flag after every
// step, and leaves a checkpoint now and then and when it is stopped.
import { relative } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { fit, load, parse, save } from "farsight";
import { readFile, saveFile } from "./files.ts";
import type { Entry } from "./records.ts";
import { again, wayOut, type Job } from "./resume.ts";
import type { Choice, Study, Trial } from "./study.ts";

/** What a worker is told. `stop` holds one number, not 0 once the run is to end. */
export interface Order extends Job {
  choice: Choice;
  /** What trains: kept with a checkpoint, and compared before it is taken up. */
  origin: string;
  /** Whether an arm begins again whose checkpoint cannot be taken up. */
  anyway: boolean;
  /** Milliseconds between checkpoints. */
  every: number;
  stop: Int32Array;
}

const post = (entry: Entry): void => parentPort!.postMessage(entry);

/** What an arm has said of its steps: its records, and the sum of n losses since the last one. */
interface Told {
  records: Entry[];
  sum: number;
  n: number;
}

/** The checkpoint of an arm: what was there, and writing it. */
function checkpoints(trial: Trial, { study, arm, choice, file, resume, anyway, origin }: Order) {
  const config = JSON.stringify({ study, arm, seed: choice.seed, steps: trial.steps, ...trial.config });
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
        if (!anyway) throw new Error(`${what}\n  ${wayOut}`, { cause: error });
        post({ type: "warning", study, arm, text: `${what}\n  ${again}` });
        return 0;
      }
      post({ type: "resumed", study, arm, step: saved });
      told.records.forEach(post);
      return saved;
    },
    save(step: number): void {
      const metadata = { config, origin, told: JSON.stringify(told), seconds: String(seconds()) };
      try {
        saveFile(file, save({ ...trial, step }, metadata));
        saved = step;
        post({ type: "saved", study, arm, step });
      } catch (error) {
        post({ type: "warning", study, arm, text: (error as Error).message });
      }
    },
  };
}

/** Posts progress twelve times a second at most, and a record of some 150 in all; to be told every step's loss. */
function reporter(
  trial: Trial,
  { study, arm, choice }: Order,
  from: number,
  told: Told,
): (step: number, loss: number) => void {
  const { steps, tokens } = trial;
  const interval = Math.max(1, Math.floor(steps / 150));
  const look = Math.max(1, Math.floor(steps / 12));
  let shown = 0;
  let accuracy: number | undefined;
  const pace = { from: performance.now(), step: from };

  function progress(step: number, loss: number, now: number): void {
    shown = now;
    const rate = (tokens * (step - pace.step)) / ((now - pace.from) / 1000);
    post({ type: "progress", study, arm, step, steps, loss, accuracy, rate });
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
    const record = { type: "step", study, arm, seed: choice.seed, step, loss: mean, ...(measured ? { accuracy } : {}) };
    told.records.push(record);
    post(record);
    told.sum = told.n = 0;
  };
}

/** The last records of an arm: its figures and its result. */
function conclude(trial: Trial, { study, arm, choice }: Order, seconds: () => number): void {
  const { seed } = choice;
  const { metrics, figures } = trial.finish();
  const { paper, config } = trial;
  for (const figure of figures) post({ type: "figure", study, arm, seed, ...figure });
  post({ type: "result", study, arm, seed, metrics, paper, config, seconds: Number(seconds().toFixed(1)) });
}

/** Trains the arm that this thread was started for. */
export async function work(studies: readonly Study[]): Promise<void> {
  const order = workerData as Order;
  const { study, arm, choice, stop } = order;
  const trial = studies.find(s => s.name === study)!.train(arm, choice);
  // and not its threads, which change nothing
  if (choice.threads !== undefined) trial.config["engine"] = "fused multiply-add";
  const checkpoint = checkpoints(trial, order);
  const from = checkpoint.resume();
  const tell = reporter(trial, order, from, checkpoint.told);
  let kept = performance.now();
  const { params, optimizer, steps, schedule, clip } = trial;
  const training = { params, optimizer, steps, schedule, clip, from, loss: (step: number) => trial.loss(step) };
  for await (const { step, loss } of fit(training)) {
    tell(step, loss);
    if (step === trial.steps) break;
    if (Atomics.load(stop, 0)) {
      if (checkpoint.saved() !== step) checkpoint.save(step);
      return post({ type: "stopped", study, arm, step, steps: trial.steps, saved: checkpoint.saved() });
    }
    if (performance.now() - kept >= order.every) {
      checkpoint.save(step);
      kept = performance.now();
    }
  }
  conclude(trial, order, checkpoint.seconds);
}
