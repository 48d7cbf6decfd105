// The recorded runs of npm start, bench/results/start.jsonl: seeds 1, 2, 3. They were made by `npm start -- --seed N
// --json`, of which the lines of type run and result are kept.
import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";

/** Lines of bench/results/. */
export const read = <T>(name: string): T[] =>
  readFileSync(`bench/results/${name}.jsonl`, "utf8")
    .trim()
    .split("\n")
    .map(line => JSON.parse(line) as T);

export interface Recorded {
  type: string;
  study: string;
  arm: string;
  seed: number;
  commit: string;
  machine: { cpu: string };
  versions: { node: string };
  metrics: Record<string, number> & { accuracyBySegments: Record<string, number> };
}
export const records = read<Recorded>("start");
export const seeds = [1, 2, 3];

/** What one arm measured with one seed. */
export function recorded(study: string, arm: string, seed: number): Recorded["metrics"] {
  const found = records.filter(l => l.type === "result" && l.study === study && l.arm === arm && l.seed === seed);
  assert.is(found.length, 1, `${study} ${arm}, seed ${seed}`);
  return found[0]!.metrics;
}
