// worker.ts: trains one arm of a study in a thread of its own and posts records. It looks at the stop flag after every
// step, and leaves a checkpoint every half minute and when it is stopped.
import { unlinkSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { fit, load, save } from "farsight";
import { count } from "./count.ts";
import { readFile, saveFile } from "./files.ts";
import type { Entry, Study } from "./finding.ts";
import { plan } from "./plan.ts";
import { remember } from "./remember.ts";
import type { Choice, Trial } from "./trial.ts";

/** What a worker is told. `stop` holds one number, not 0 once the run is to end. */
export interface Order {
  study: Study;
  arm: string;
  choice: Choice;
  file: string;
  stop: Int32Array;
}

const EVERY = 30_000; // milliseconds between checkpoints
const trials: Record<Study, (arm: string, choice: Choice) => Trial> = { count, remember, plan };
const { study, arm, choice, file, stop } = workerData as Order;
const post = (entry: Entry): void => parentPort!.postMessage(entry);
const started = performance.now();
const trial = trials[study](arm, choice);
// and not its threads, which change nothing
if (choice.threads !== undefined) trial.config["engine"] = "fused multiply-add";
const config = JSON.stringify({ study, arm, seed: choice.seed, ...trial.config });

/** Takes up a checkpoint that is there; one of another run is refused. */
function resumed(): { step: number; seconds: number } {
  const bytes = readFile(file);
  if (!bytes) return { step: 0, seconds: 0 };
  const { step, metadata } = load(trial, bytes);
  if (metadata.config !== config)
    throw new Error(`${file} is a checkpoint of another run\n  wants ${config}\n  got   ${metadata.config}`);
  post({ type: "resumed", study, arm, step });
  return { step, seconds: Number(metadata.seconds) || 0 };
}
function checkpoint(step: number, seconds: number): void {
  try {
    saveFile(file, save({ ...trial, step }, { config, seconds: String(seconds) }));
    post({ type: "saved", study, arm, step });
  } catch (error) {
    post({ type: "warning", study, arm, text: (error as Error).message });
  }
}

const { step: from, seconds: before } = resumed();
const seconds = (): number => before + (performance.now() - started) / 1000;
const interval = Math.max(1, Math.floor(trial.steps / 150));
const look = Math.max(1, Math.floor(trial.steps / 12));
let told = 0;
let kept = performance.now();
let sum = 0;
let n = 0;
let accuracy: number | undefined;
let measured = false;
let paceFrom = performance.now();
let paceStep = from;
let halted = false;
for await (const { step, loss } of fit({ ...trial, from })) {
  sum += loss;
  n++;
  if (trial.accuracy && (step % look === 0 || step === trial.steps)) {
    accuracy = trial.accuracy();
    measured = true;
  }
  const now = performance.now();
  if (now - told > 80 || step === trial.steps) {
    told = now;
    post({
      type: "progress",
      study,
      arm,
      step,
      steps: trial.steps,
      loss,
      accuracy,
      rate: (trial.tokens * (step - paceStep)) / ((now - paceFrom) / 1000),
    });
    if (now - paceFrom > 3000) {
      paceFrom = now;
      paceStep = step;
    }
  }
  if (step % interval === 0 || measured || step === trial.steps) {
    post({
      type: "step",
      study,
      arm,
      seed: choice.seed,
      step,
      loss: Number((sum / n).toPrecision(6)),
      ...(measured ? { accuracy } : {}),
    });
    sum = n = 0;
    measured = false;
  }
  if (Atomics.load(stop, 0)) {
    checkpoint(step, seconds());
    post({ type: "stopped", study, arm, step, steps: trial.steps });
    halted = step < trial.steps;
    break;
  }
  if (now - kept > EVERY && step < trial.steps) {
    checkpoint(step, seconds());
    kept = now;
  }
}
if (!halted) {
  const { metrics, figures } = trial.finish();
  for (const figure of figures) post(figure);
  post({
    type: "result",
    study,
    arm,
    seed: choice.seed,
    metrics,
    paper: trial.paper,
    config: trial.config,
    seconds: Number(seconds().toFixed(1)),
  });
  try {
    unlinkSync(file);
  } catch {
    /* none was written */
  }
}
