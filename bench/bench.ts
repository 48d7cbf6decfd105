// bench.ts: `npm run bench -- kernels | step | ratios | peers`. stdout carries the results (a table, or with --json a
// line a case), stderr everything else.
import { args, type Spec } from "./cli.ts";
import { kernels } from "./speed/kernels.ts";
import { check, circumstances, columns, figures, show, type Asked, type Row } from "./speed/measure.ts";
import { peers } from "./speed/peers.ts";
import { ratios } from "./speed/ratios.ts";
import { step } from "./speed/step.ts";

const spec = {
  name: "npm run bench --",
  about:
    "Measures how fast farsight is. Medians, their spread, and a checksum of the result in every row.\n" +
    "kernels: each kernel against what this machine can do; step: training steps; ratios: one part of farsight against another; peers: the same steps elsewhere.",
  examples: [
    ['npm run bench -- kernels --case "matmul f32"', "GFLOP/s of the products"],
    ["npm run bench -- step --engine fast --threads 2", "training steps on the fast engine"],
  ],
  positionals: { name: "bench", help: "what to measure", choices: ["kernels", "step", "ratios", "peers"], most: 1 },
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

const benches: Record<"kernels" | "step" | "ratios" | "peers", (asked: Asked) => AsyncGenerator<Row, string>> = {
  kernels,
  step,
  ratios,
  peers,
};
const {
  values: o,
  positionals: [bench],
} = args(spec);

/** A row as --json prints it: every line has every field, null where there is nothing to say. */
function line(bench: string, row: Row): object {
  const none = { dtype: null, unit: null, rate: null, ceiling: null, fraction: null };
  return { bench, ...none, ...row, ...(row.samples === 0 && { median: null, mad: null }) };
}

/** The end: all output is out, and threads that wait for work are not waited for. */
function leave(code: number): void {
  process.stdout.write("", () => process.stderr.write("", () => process.exit(code)));
}

function table(rows: readonly Row[]): string {
  const percent = (x: number | undefined): string => (x === undefined ? "" : `${(100 * x).toFixed(0)} %`);
  const cells = (r: Row): string[] => [
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
    r.ratio === undefined ? "" : `${r.ratio.toFixed(2)} (${r.ratios![0].toFixed(2)} to ${r.ratios![1].toFixed(2)})`,
    r.checksum,
    [r.note, r.busy].filter(Boolean).join("; "),
  ];
  const head = [
    "case",
    "dtype",
    "size",
    "library",
    "ms",
    "spread",
    "rate",
    "",
    "ceiling",
    "of it",
    bench === "ratios" ? "ratio" : "theirs / ours",
    "checksum",
    "",
  ];
  const body = rows.map(cells);
  const used = head.map((_, i) => body.some(r => r[i]));
  const pick = (list: string[]): string[] => list.filter((_, i) => used[i]);
  return columns(pick(head), body.map(pick));
}

async function main(): Promise<void> {
  if (bench === undefined) {
    process.stderr.write(
      "which bench? kernels, step, ratios or peers\nUsage: npm run bench -- [bench] [options]    (--help lists the options)\n",
    );
    return leave(2);
  }
  const asked: Asked = {
    bench,
    words: (o.case ?? "").toLowerCase().split(/\s+/).filter(Boolean),
    quick: o.quick,
    engine: o.engine,
    threads: o.threads,
    fma: o.fma,
  };
  if (asked.engine === "exact" && asked.threads > 1) {
    process.stderr.write(`--threads ${asked.threads}: the exact engine has one thread; add --engine fast\n`);
    return leave(2);
  }
  const about = circumstances(asked);
  const rows: Row[] = [];
  const run = benches[bench](asked);
  try {
    await check(asked);
    for (let next = await run.next(); ; next = await run.next()) {
      if (next.done) {
        show.clear();
        if (!o.json)
          process.stdout.write(
            `${about.machine}; Node ${about.node}; ${about.engine} engine, ${about.threads} thread${about.threads > 1 ? "s" : ""}; ${about.commit}; ${about.date}\n\n${table(rows)}\n\n${next.value}\n`,
          );
        break;
      }
      rows.push(next.value);
      show.clear();
      if (o.json) process.stdout.write(`${JSON.stringify({ ...line(bench, next.value), ...about })}\n`);
    }
  } catch (error) {
    show.clear();
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    return leave(1);
  }
  leave(rows.some(r => r.wrong) ? 1 : 0);
}
void main();
