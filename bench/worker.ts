// worker.ts: trains one arm of a study in a thread of its own and posts records. It looks at the stop flag after every
// step, and leaves a checkpoint every half minute and when it is stopped.
import { unlinkSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { fit, load, save } from "farsight";
import { readFile, saveFile } from "./files.ts";
import type { Entry } from "./records.ts";
import type { Choice, Study, Trial } from "./study.ts";

/** What a worker is told. `stop` holds one number, not 0 once the run is to end. */
export interface Order {
  study: string;
  arm: string;
  choice: Choice;
  file: string;
  stop: Int32Array;
}

const EVERY = 30_000; // milliseconds between checkpoints

const post = (entry: Entry): void => parentPort!.postMessage(entry);

/** The checkpoint of an arm: what was there, writing it, removing it. */
function checkpoints(trial: Trial, { study, arm, choice, file }: Order) {
  const config = JSON.stringify({ study, arm, seed: choice.seed, ...trial.config });
  const started = performance.now();
  let before = 0;
  const seconds = (): number => before + (performance.now() - started) / 1000;
  return {
    /** Seconds of training, those before an interruption included. */
    seconds,
    /** Takes up a checkpoint that is there, and returns its step; one of another run is refused. */
    resume(): number {
      const bytes = readFile(file);
      if (!bytes) return 0;
      const { step, metadata } = load(trial, bytes);
      if (metadata.config !== config)
        throw new Error(`${file} is a checkpoint of another run\n  wants ${config}\n  got   ${metadata.config}`);
      post({ type: "resumed", study, arm, step });
      before = Number(metadata.seconds) || 0;
      return step;
    },
    save(step: number): void {
      try {
        saveFile(file, save({ ...trial, step }, { config, seconds: String(seconds()) }));
        post({ type: "saved", study, arm, step });
      } catch (error) {
        post({ type: "warning", study, arm, text: (error as Error).message });
      }
    },
    remove(): void {
      try {
        unlinkSync(file);
      } catch {
        /* none was written */
      }
    },
  };
}

/** Posts progress twelve times a second at most, and a record of some 150 in all; to be told every step's loss. */
function reporter(trial: Trial, { study, arm, choice }: Order, from: number): (step: number, loss: number) => void {
  const { steps, tokens } = trial;
  const interval = Math.max(1, Math.floor(steps / 150));
  const look = Math.max(1, Math.floor(steps / 12));
  let told = 0;
  let sum = 0;
  let n = 0;
  let accuracy: number | undefined;
  const pace = { from: performance.now(), step: from };

  function progress(step: number, loss: number, now: number): void {
    told = now;
    const rate = (tokens * (step - pace.step)) / ((now - pace.from) / 1000);
    post({ type: "progress", study, arm, step, steps, loss, accuracy, rate });
    if (now - pace.from > 3000) Object.assign(pace, { from: now, step });
  }
  return (step, loss) => {
    sum += loss;
    n++;
    const last = step === steps;
    const measured = trial.accuracy !== undefined && (step % look === 0 || last);
    if (measured) accuracy = trial.accuracy!();
    const now = performance.now();
    if (now - told > 80 || last) progress(step, loss, now);
    if (step % interval !== 0 && !measured && !last) return;
    const mean = Number((sum / n).toPrecision(6));
    post({ type: "step", study, arm, seed: choice.seed, step, loss: mean, ...(measured ? { accuracy } : {}) });
    sum = n = 0;
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
  const tell = reporter(trial, order, from);
  let kept = performance.now();
  for await (const { step, loss } of fit({ ...trial, from })) {
    tell(step, loss);
    if (Atomics.load(stop, 0)) {
      checkpoint.save(step);
      post({ type: "stopped", study, arm, step, steps: trial.steps });
      if (step < trial.steps) return;
      break;
    }
    if (performance.now() - kept > EVERY && step < trial.steps) {
      checkpoint.save(step);
      kept = performance.now();
    }
  }
  conclude(trial, order, checkpoint.seconds);
  checkpoint.remove();
}
