// bench.ts: `npm run bench -- kernels | step | ratios | recurrence | generate | peers | compare`. stdout carries the
// results (a table, or with --json a line a case), stderr everything else.
import { args, usage, type Spec } from "./cli.ts";
import { desertions } from "./ending.ts";
import { compare } from "./speed/compare.ts";
import { generating } from "./speed/generate.ts";
import { kernels } from "./speed/kernels.ts";
import { aligned, check, circumstances, figures, show, type Asked, type Row } from "./speed/measure.ts";
import { peers } from "./speed/peers.ts";
import { ratios } from "./speed/ratios.ts";
import { recurrence } from "./speed/recurrence.ts";
import { step } from "./speed/step.ts";
import { papers } from "./tables/papers.ts";
import { many } from "./words.ts";

interface Benchmark {
  help: string;
  run(asked: Asked): AsyncGenerator<Row, string>;
  /** The head of the column of ratios, and their digits after the point; 2 unless given. */
  ratio?: string;
  digits?: number;
}
const benches: { readonly [name: string]: Benchmark } = {
  kernels: { help: "each kernel against what this machine can do", run: kernels },
  step: { help: "training steps", run: step },
  ratios: { help: "one part of farsight against another", run: ratios, ratio: "ratio" },
  recurrence: { help: "many small operations: a step beside backward", run: recurrence, ratio: "step / backward" },
  generate: { help: "a token, with a cache, without, and in PyTorch", run: generating, ratio: "theirs / ours" },
  peers: { help: "the same steps elsewhere", run: peers, ratio: "theirs / ours" },
  compare: { help: "two builds of farsight, in turns", run: compare, ratio: "second / first", digits: 3 },
};
const names = Object.keys(benches);

const spec = {
  name: "npm run bench --",
  about:
    "Measures how fast farsight is. Medians, their spread, and a checksum of the result in every row.\n" +
    names.map(name => `  ${name.padEnd(10)} ${benches[name]!.help}`).join("\n") +
    "\nOr trains the tables of a paper: `npm run bench -- PAPER --help` says how.\n" +
    papers.map(({ name, title }) => `  ${name.padEnd(10)} ${title}`).join("\n") +
    "\nOr runs published weights: `npm run bench -- gpt2 --help` says how.",
  examples: [
    ['npm run bench -- kernels --case "matmul f32"', "GFLOP/s of the products"],
    ["npm run bench -- step --engine fast --threads 2", "training steps on the fast engine"],
    ["npm run bench -- compare ../before . --engine fast", "this build beside that of another folder"],
  ],
  positionals: {
    name: "bench",
    help: "what to measure",
    choices: names,
    most: 1,
    then: { name: "folder", help: "compare: the two builds, folders that hold dist/index.js", most: 2 },
  },
  options: {
    case: { type: "string", help: "only cases in whose name, dtype and size all of these words are" },
    quick: { type: "boolean", help: "a few samples each: shows that everything works, not how fast" },
    engine: { type: "choice", choices: ["exact", "fast"], default: "exact", help: "which engine of farsight" },
    threads: {
      type: "number",
      default: 1,
      min: 1,
      max: 64,
      integer: true,
      help: "threads, of the peers too; more than one needs --engine fast",
    },
    fma: { type: "boolean", default: true, help: "the fast engine without fused multiply-adds (Node 20 has none)" },
    json: { type: "boolean", help: "print a JSON line a case instead of the table" },
  },
} as const satisfies Spec;

/** A row as --json prints it: every line has every field, null where there is nothing to say. */
function line(bench: string, row: Row): object {
  const none = { dtype: null, unit: null, rate: null, ceiling: null, fraction: null };
  return { bench, ...none, ...row, ...(row.samples === 0 && { median: null, mad: null }) };
}

/** The end: all output is out, and threads that wait for work are not waited for. */
function leave(code: number): void {
  process.stdout.write("", () => process.stderr.write("", () => process.exit(code)));
}

const percent = (x: number | undefined): string => (x === undefined ? "" : `${(100 * x).toFixed(0)} %`);
function cells(r: Row, digits: number): string[] {
  const range = r.ratios?.map(x => x.toFixed(digits)).join(" to ");
  return [
    r.case,
    r.dtype ?? "",
    r.size,
    r.peer ?? "",
    r.samples ? figures(r.median) : "",
    r.samples ? `± ${((100 * r.mad) / r.median).toFixed(1)} %` : "",
    r.rate === undefined ? "" : figures(r.rate),
    r.unit ?? "",
    r.ceiling === undefined ? "" : figures(r.ceiling),
    percent(r.fraction) + (r.best === undefined ? "" : ` (${(100 * r.best).toFixed(0)})`),
    r.ratio === undefined ? "" : `${r.ratio.toFixed(digits)} (${range})`,
    r.checksum,
    [r.note, r.busy].filter(Boolean).join("; "),
  ];
}

/** The rows as aligned columns, those without a word left out. */
function table(rows: readonly Row[], { ratio = "ratio", digits = 2 }: Benchmark): string {
  const head = ["case", "dtype", "size", "library", "ms", "spread", "rate", "", "ceiling", "of it", ratio];
  const body = rows.map(r => cells(r, digits));
  const all = [...head, "checksum", ""];
  const used = all.map((_, i) => body.some(r => r[i]));
  const pick = (list: readonly string[]): string[] => list.filter((_, i) => used[i]);
  return aligned(pick(all), body.map(pick));
}

/** Runs a benchmark and prints what it gives; whether all results were right. */
async function measure(bench: string, asked: Asked, json: boolean): Promise<boolean> {
  const benchmark = benches[bench]!;
  const about = circumstances(asked);
  const rows: Row[] = [];
  await check(asked);
  const steps = benchmark.run(asked);
  let next = await steps.next();
  for (; !next.done; next = await steps.next()) {
    rows.push(next.value);
    show.clear();
    if (json) process.stdout.write(`${JSON.stringify({ ...line(bench, next.value), ...about })}\n`);
    await new Promise(setImmediate); // nobody may be reading on, or waiting
  }
  show.clear();
  const threads = `${about.threads} thread${about.threads > 1 ? "s" : ""}`;
  const engine = `${about.engine} engine, ${threads}`;
  const head = `${about.machine}; Node ${about.node}; ${engine}; ${about.commit}; ${about.date}`;
  if (!json) process.stdout.write(`${head}\n\n${table(rows, benchmark)}\n\n${next.value}\n`);
  return !rows.some(r => r.wrong);
}

/** What is wrong with what was asked for, if anything. */
function mistake(bench: string | undefined, folders: readonly string[], o: Pick<Asked, "engine" | "threads">): string {
  if (bench === undefined)
    return (
      `which bench? ${names.slice(0, -1).join(", ")} or ${names.at(-1)}\n` +
      `Usage: ${usage(spec)}    (--help lists the options)`
    );
  const wants = bench === "compare" ? 2 : 0;
  if (folders.length !== wants)
    return `${bench}: ${many(folders.length, "folder")}\n  wants ${wants}\n  got   ${folders.join(" ") || "no folder"}`;
  if (o.engine === "exact" && o.threads > 1)
    return `--threads ${o.threads}: the exact engine has one thread; add --engine fast`;
  return "";
}

async function main(): Promise<void> {
  if (["gpt2", "bert"].includes(process.argv[2]!)) {
    await import(new URL("published/start.mjs", import.meta.url).href);
    return;
  }
  // A program of its own, which is what its results depend on.
  if (papers.some(p => p.name === process.argv[2])) {
    await import(new URL("tables/start.mjs", import.meta.url).href);
    return;
  }
  const { values, positionals } = args(spec);
  // no signals: a benchmark does not turn the event loop while it measures
  desertions((_, code) => process.exit(code));
  const [bench, ...folders] = positionals;
  const { quick, engine, threads, fma, json } = values;
  const wrong = mistake(bench, folders, values);
  if (wrong) {
    process.stderr.write(`${wrong}\n`);
    return leave(2);
  }
  const words = (values.case ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  try {
    const right = await measure(bench!, { bench: bench!, folders, words, quick, engine, threads, fma }, json);
    leave(right ? 0 : 1);
  } catch (error) {
    show.clear();
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    leave(1);
  }
}
void main();
