// compare.ts: two builds of farsight in turns within one process: what the second needs for training steps, attention
// and single operations, over what the first needs.
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Dtype, Engine, Numbers, Tape, Tensor } from "farsight";
import {
  contest,
  deviation,
  digest,
  figures,
  heads,
  median,
  noise,
  release,
  show,
  sizeOf,
  wanted,
  type Asked,
  type Row,
} from "./measure.ts";
import { POSITIONS, sizes, training, type Library, type Size, type Variant } from "./step.ts";

/** A build: its library, as the cases below use it, and its tapes. */
interface Build {
  library: Library;
  attention(q: Tensor, k: Tensor, v: Tensor, table?: Tensor): Tensor;
  tape(dtype: Dtype): Tape;
}

// What is spelled differently in builds of different age is bridged here, and nowhere else.

/** The model of these options, its kind of position in a list or by itself, whichever the build takes. */
function transformer(library: Library, options: { position?: unknown }): unknown {
  const make = library.transformer as (options: object) => unknown;
  const { position } = options;
  try {
    return make(options);
  } catch (error) {
    if (position === undefined) throw error;
    return make({ ...options, position: Array.isArray(position) ? position[0] : [position] });
  }
}

/** Causal attention over separate tensors, with a table of CoPE's positions where one is given. */
function attention(library: Library, q: Tensor, k: Tensor, v: Tensor, table?: Tensor): Tensor {
  const over = (position: string | readonly string[]): Tensor =>
    (library.attention as (...x: unknown[]) => Tensor)(q, k, v, { position, tables: { cope: table } });
  try {
    return over(table ? "cope" : "none");
  } catch {
    return over(table ? ["cope"] : []);
  }
}

async function load(folder: string, { engine, threads, fma }: Asked): Promise<Build> {
  const module = (name: string): Promise<unknown> => {
    const path = resolve(folder, "dist", name);
    if (!existsSync(path))
      throw new Error(`compare: ${folder} holds no build\n  wants ${join("dist", name)} in it\n  got   nothing there`);
    return import(pathToFileURL(path).href);
  };
  const library = (await module("index.js")) as Library;
  const bridged = { ...library, transformer: (options: object) => transformer(library, options) } as Library;
  const { fast } = (engine === "fast" ? await module("fast.js") : {}) as {
    fast(dtype: Dtype, options: object): Engine;
  };
  return {
    library: bridged,
    attention: (...tensors) => attention(library, ...tensors),
    tape: dtype => new library.Tape(dtype, engine === "fast" ? { engine: fast(dtype, { threads, fma }) } : {}),
  };
}

/** A case, set up on a tape: what is timed, and numbers that should be the same in both builds. */
interface Ready {
  run(): void;
  result: Numbers[];
}
interface Case {
  name: string;
  size: string;
  set(build: Build, tape: Tape): Ready;
}

function random(tape: Tape, shape: readonly number[], seed: number, gradient = false): Tensor {
  const x = gradient ? tape.param(shape) : tape.tensor(shape);
  noise(seed, x.values());
  return x;
}

const steps = (
  [
    ["small", "plain"],
    ["small", "cope"],
    ["small", "myopic"],
    ["small", "rmt"],
    ["big", "plain"],
  ] satisfies [Size, Variant][]
).map(([size, variant]): Case => ({
  name: `step ${size} ${variant}`,
  size: `b${sizes[size].b} t${sizes[size].t}`,
  set({ library }, tape) {
    const { step } = training(tape, size, variant, library);
    const losses = Array.from({ length: 5 }, step);
    return { run: step, result: [Float64Array.from(losses)] };
  },
}));

const attentions = heads.flatMap(shape =>
  ["plain", "cope"].map((variant): Case => ({
    name: `attention ${variant} forward+backward`,
    size: sizeOf(shape),
    set({ library: { sum }, attention }, tape) {
      const [b, h, t, d] = shape;
      const [q, k, v] = [1, 2, 3].map(seed => random(tape, [b, t, h, d], seed, true)) as [Tensor, Tensor, Tensor];
      const table = variant === "cope" ? random(tape, [POSITIONS, d], 4, true) : undefined;
      const run = (): number => tape.step(() => sum(attention(q, k, v, table)));
      const value = run();
      const wants = [q, k, v, ...(table ? [table] : [])];
      return { run, result: [Float64Array.of(value), ...wants.map(x => x.gradient().slice())] };
    },
  })),
);

/** An operation forward alone, in a scope a call. */
const operation = (name: string, size: string, make: (library: Library, tape: Tape) => () => Tensor): Case => ({
  name,
  size,
  set({ library }, tape) {
    const body = make(library, tape);
    const result = [tape.scope(() => body().values().slice())];
    return { run: () => void tape.scope(body), result };
  },
});
const product = (m: number, k: number, n: number): Case =>
  operation("matmul", `${m}x${k}x${n}`, ({ matmul }, tape) => {
    const a = random(tape, [m, k], 1);
    const b = random(tape, [k, n], 2);
    return () => matmul(a, b);
  });
const rows = [1024, 1024];
const map = (name: "exp" | "gelu" | "softmax"): Case =>
  operation(name, "1024x1024", (library, tape) => {
    const x = random(tape, rows, 1);
    return () => library[name](x);
  });
const operations = [
  product(64, 64, 64),
  product(512, 512, 512),
  product(1021, 251, 61),
  map("exp"),
  map("gelu"),
  map("softmax"),
  operation("layerNorm", "1024x1024", ({ layerNorm }, tape) => {
    const x = random(tape, rows, 1);
    const w = random(tape, [1024], 2);
    const b = random(tape, [1024], 3);
    return () => layerNorm(x, w, b);
  }),
];

/** One case in both builds, in turns. */
async function compared(c: Case, builds: readonly [Build, Build], asked: Asked): Promise<Row> {
  const tapes = builds.map(build => build.tape("f32"));
  const [first, second] = builds.map((build, i) => c.set(build, tapes[i]!)) as [Ready, Ready];
  if (asked.threads > 1) await new Promise(done => setTimeout(done, 200)); // workers start in the background
  const [a, b] = contest(first.run, second.run, asked);
  for (const tape of tapes) release(tape);
  const each = b.map((ms, i) => ms / a[i]!);
  const [checksum, other] = [first, second].map(set => digest(...set.result)) as [string, string];
  return {
    case: c.name,
    dtype: "f32",
    size: c.size,
    median: median(a),
    mad: deviation(a),
    samples: a.length,
    second: median(b),
    ratio: median(each),
    ratios: [Math.min(...each), Math.max(...each)],
    checksum,
    note: `second ${figures(median(b))} ms${checksum === other ? "" : `; other bits: ${other}`}`,
  };
}

/** Cases in the two builds of `asked.folders`, a row each. Throws where one of them holds no build. */
export async function* compare(asked: Asked): AsyncGenerator<Row, string> {
  const list = [...steps, ...attentions, ...operations].filter(c => wanted(asked, c.name, c.size));
  if (list.length === 0)
    throw new RangeError(
      `--case ${asked.words.join(" ")}: no case of that name\n` +
        '  wants words in, for instance, "step small cope", "attention plain t256" or "matmul"',
    );
  const [one, two] = asked.folders;
  const builds = [await load(one!, asked), await load(two!, asked)] as const;
  const ratios: number[] = [];
  for (const [i, c] of list.entries()) {
    show.step("compare", c.name, { step: i, steps: list.length });
    const row = await compared(c, builds, asked);
    ratios.push(row.ratio!);
    yield { ...row, folders: asked.folders };
    show.done("compare", c.name);
  }
  const mean = Math.exp(ratios.reduce((sum, x) => sum + Math.log(x), 0) / ratios.length);
  return (
    `first: ${one}, second: ${two}. Ratio: the median over rounds in which the two took turns, and in brackets the ` +
    `least and largest; below 1 the second is faster. Geometric mean of all: ${mean.toFixed(3)}.`
  );
}
