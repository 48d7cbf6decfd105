// threads.ts: trainings side by side, each in a thread of its own, and how many of them and of the engine's own threads
// there are.
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { fast } from "farsight/fast";
import { leave } from "./cli.ts";
import type { Entry } from "./records.ts";

/** How many trainings run at once: as many as asked for, else one a core and two at most. */
export const atOnce = (asked: number | undefined, trainings: number): number =>
  Math.max(1, Math.min(asked ?? Math.min(2, availableParallelism()), trainings));

/** Threads of the fast engine of each training; none of the exact one. */
export const threadsOf = (isFast: boolean, trainings: number): number | undefined =>
  isFast ? Math.min(64, Math.max(1, Math.floor(availableParallelism() / trainings))) : undefined;

/** What a result says of the engine: not its threads, which change nothing. */
export const FUSED = "fused multiply-add";

/** Ends at once where the fast engine is asked for and there is none. */
export function checkFast(): void {
  try {
    fast("f32").close();
  } catch (error) {
    leave(1, `--fast: ${(error as Error).message.replace("; or fma: false", "")}`);
  }
}

/** Runs a program in a thread; resolves when it has ended, with what it died of. */
export function thread(program: URL, data: unknown, heard: (e: Entry) => void): Promise<Error | undefined> {
  return new Promise(resolve => {
    let died: Error | undefined;
    const worker = new Worker(program, { workerData: data });
    worker.on("message", heard);
    worker.on("error", error => {
      died = error;
    });
    worker.on("exit", () => resolve(died));
  });
}

/** Lets so many at once through a queue, until it is empty or `stop` is set. */
export async function lanes<J>(
  jobs: readonly J[],
  most: number,
  stop: Int32Array,
  body: (job: J) => Promise<void>,
): Promise<void> {
  const queue = [...jobs];
  async function lane(): Promise<void> {
    for (let job = queue.shift(); job !== undefined && !Atomics.load(stop, 0); job = queue.shift()) await body(job);
  }
  await Promise.all(Array.from({ length: most }, lane));
}
