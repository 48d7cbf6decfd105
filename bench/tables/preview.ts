// preview.ts: --paper: the first steps of a table's cells at the paper's own sizes, and how long all of them take.
import { fit } from "farsight";
import { desertions } from "../ending.ts";
import { progress } from "../progress.ts";
import { tapeOf } from "../study.ts";
import { checkFast, threadsOf } from "../threads.ts";
import { brief, many } from "../words.ts";
import type { Asked } from "./options.ts";
import { called, type Cell, type Config, type Table } from "./table.ts";

const STEPS = 20;

/** The cells whose first steps are made: one for each arm and setting that was asked for; else the table's first. */
function chosen({ cells, arm, setting, shard }: Asked): Cell[] {
  if (arm === undefined && setting === undefined && shard === undefined) return cells.slice(0, 1);
  return cells.filter((c, i) => cells.findIndex(d => d.arm === c.arm && d.setting === c.setting) === i);
}

interface Pace {
  steps: number;
  made: number;
  seconds: number;
  tokens: number;
  loss: number;
}

/** Makes the first steps of a cell; the very first, which compiles, is not timed where there are more. */
async function paced(table: Table, cell: Cell, config: Config, o: Asked): Promise<Pace> {
  const tape = tapeOf({ seed: cell.seed, threads: threadsOf(o.fast, 1) });
  const trial = table.train(cell, config, tape, o.files);
  const display = progress();
  const { params, optimizer, steps, schedule, clip } = trial;
  const most = Math.min(o.steps ?? STEPS, steps);
  const all = { params, optimizer, steps, schedule, clip, loss: (step: number) => trial.loss(step) };
  let from = performance.now();
  let first = 0;
  let last = NaN;
  for await (const { step, loss } of fit(all)) {
    last = loss;
    if (step === 1 && most > 1) {
      from = performance.now();
      first = 1;
    }
    const rate = (trial.tokens * (step - first)) / ((performance.now() - from) / 1000);
    display.step(table.name, called(cell), { step, steps: most, loss, ...(step > first && { rate }) });
    if (step === most) break;
  }
  display.done(table.name, called(cell));
  display.clear();
  const seconds = (performance.now() - from) / 1000;
  return { steps, made: most, seconds: seconds / (most - first), tokens: trial.tokens, loss: last };
}

/** "3.4 hours" */
const hours = (seconds: number): string => `${Number((seconds / 3600).toPrecision(2))} hours`;

/** Prints tokens a second and the hours of the whole training, cell by cell. Nothing is recorded. */
export async function preview(o: Asked): Promise<void> {
  if (o.fast) checkFast();
  // no signals: a step at these sizes may take seconds
  desertions((_, code) => process.exit(code));
  let all = 0;
  const cells = chosen(o);
  for (const cell of cells) {
    const config = o.table.published!(cell);
    const { steps, made, seconds, tokens, loss } = await paced(o.table, cell, config, o);
    all += seconds * steps;
    const lines = [
      `${called(cell)}: ${brief(config)}`,
      `  ${many(made, "step")} of ${steps}, loss ${Number(loss.toPrecision(4))}, ` +
        `${Math.round(tokens / seconds)} tokens a second, ${Number(seconds.toPrecision(3))} s a step`,
      `  all steps: ${hours(seconds * steps)}`,
    ];
    process.stdout.write(`${lines.join("\n")}\n`);
  }
  const { length } = o.table.cells;
  process.stdout.write(
    `the table's ${many(length, "cell")} at ${cells.length > 1 ? "the mean of these" : "this"} pace: ` +
      `${hours((all / cells.length) * length)} one after the other\n`,
  );
}
