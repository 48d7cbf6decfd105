// measure.ts: what every benchmark shares: options, timing, rows of results, and the tape a case runs on.
import { availableParallelism, cpus } from "node:os";
import { Bench } from "tinybench";
import { Tape, type Dtype, type Engine, type Numbers } from "farsight";
import { commit } from "../place.ts";
import { progress } from "../progress.ts";

/** What a run was asked for. `words`: all are in the names of the cases wanted. `folders`: the builds to compare. */
export interface Asked {
  bench: string;
  folders: readonly string[];
  words: readonly string[];
  quick: boolean;
  engine: "exact" | "fast";
  threads: number;
  fma: boolean;
}

/**
 * One case: `median`, `mad` (median absolute deviation) and `least` in milliseconds a call, `rate` and `ceiling` in
 * `unit`, `fraction` the one over the other, `best` the same of the best rounds of each.
 */
export interface Row {
  case: string;
  dtype?: Dtype | undefined;
  size: string;
  median: number;
  mad: number;
  least?: number;
  samples: number;
  unit?: string;
  rate?: number;
  ceiling?: number;
  fraction?: number;
  best?: number;
  checksum: string;
  /** What else is to be known of it, for readers. */
  note?: string;
  /**
   * That other programs took the processor meanwhile. Among peers: whose it is, its median over ours, the least and
   * largest of that, and whether its results are other than ours.
   */
  peer?: string;
  busy?: string;
  ratio?: number;
  ratios?: readonly [number, number];
  wrong?: boolean;
  [more: string]: unknown;
}

/** How far the benchmark is, on stderr. */
export const show = progress();

/** What a reader needs to repeat a run; part of every line of --json. */
export function circumstances({ engine, threads, fma }: Asked) {
  return {
    engine: engine === "fast" ? `fast${fma ? " fma" : ""}` : engine,
    threads,
    node: process.versions.node,
    machine: `${cpus()[0]?.model.trim() ?? "unknown"}, ${availableParallelism()} cores`,
    commit: commit(),
    date: new Date().toISOString(),
  };
}

/** The module of the fast engine. Throws where this build has none. */
async function fastModule(): Promise<{ fast(dtype: Dtype, options: { threads: number; fma: boolean }): Engine }> {
  const path = "farsight/fast"; // not a literal: types and bundler must do without it
  try {
    return await import(path);
  } catch (error) {
    throw new Error(`--engine fast: this build has no ${path}\n  wants --engine exact`, { cause: error });
  }
}
/** A tape of `dtype` on the engine asked for. Throws, and never falls back, where there is no such engine. */
export async function tapeOf(
  dtype: Dtype,
  { engine, threads, fma }: Pick<Asked, "engine" | "threads" | "fma">,
): Promise<Tape> {
  if (engine === "fast") return new Tape(dtype, { engine: (await fastModule()).fast(dtype, { threads, fma }) });
  if (threads !== 1)
    throw new RangeError(`--threads ${threads}: the exact engine has one thread\n  wants --engine fast`);
  return new Tape(dtype);
}
/** Ends the threads of a tape that has any. */
export function release(tape: Tape): void {
  (tape.engine as { close?(): void }).close?.();
}
/** Throws at once what `tapeOf` would throw later. */
export async function check(asked: Asked): Promise<void> {
  release(await tapeOf("f32", asked));
}

/** The sizes at which attention is measured: b h t d. */
export const heads = [
  [16, 4, 64, 16],
  [16, 4, 128, 16],
  [8, 8, 256, 32],
] as const;
/** One such size. */
export type Heads = readonly [b: number, h: number, t: number, d: number];
/** "b16 h4 t64 d16" */
export const sizeOf = ([b, h, t, d]: Heads): string => `b${b} h${h} t${t} d${d}`;

/** Whether a case of this name is wanted. */
export const wanted = ({ words }: Pick<Asked, "words">, ...name: (string | undefined)[]): boolean => {
  const all = name.join(" ").toLowerCase();
  return words.every(word => all.includes(word));
};

/** The middle of the numbers, or of the two in the middle their mean. */
export const median = (list: readonly number[]): number => {
  const s = [...list].sort((a, b) => a - b);
  const n = s.length;
  return n % 2 ? s[n >> 1]! : (s[n / 2 - 1]! + s[n / 2]!) / 2;
};
/** The median of the distances from the median. */
export const deviation = (list: readonly number[]): number => {
  const m = median(list);
  return median(list.map(x => Math.abs(x - m)));
};

/** Milliseconds a call, warm: called until its speed is steady (V8 compiles twice), then timed by tinybench. */
export function time(
  body: () => void,
  { quick }: Pick<Asked, "quick">,
): { median: number; mad: number; least: number; samples: number; busy?: string } {
  const slice = quick ? 10 : 100;
  const most = quick ? 1 : 20;
  let calls = 0;
  let last = Infinity;
  let each = 0;
  const run = (n: number): number => {
    const from = performance.now();
    for (let i = 0; i < n; i++) body();
    return (performance.now() - from) / n;
  };
  for (let i = 0; i < most; i++) {
    const from = performance.now();
    for (calls = 0; performance.now() - from < slice; calls++) body();
    each = (performance.now() - from) / calls;
    if (i >= 2 && each > 0.97 * last) break;
    last = each;
  }
  const batch = Math.max(1, Math.round(0.2 / each)); // samples of 0.2 ms at least: the clock ticks by the microsecond
  const bench = new Bench({ time: quick ? 10 : 500, iterations: quick ? 2 : 12, warmup: false, throws: true });
  bench.add(
    "case",
    batch === 1
      ? body
      : () => {
          run(batch);
        },
  );
  const from = performance.now();
  const before = process.cpuUsage();
  const [task] = bench.runSync();
  const spent = process.cpuUsage(before);
  const result = task!.result;
  const share = (spent.user + spent.system) / 1000 / (performance.now() - from);
  if (!("latency" in result)) throw new Error(`the benchmark ended as ${result.state}`);
  const { p50, mad, min, samplesCount } = result.latency;
  return {
    median: p50 / batch,
    mad: mad / batch,
    least: min / batch,
    samples: samplesCount,
    ...(share < 0.93 && { busy: `had only ${(100 * share).toFixed(0)} % of a core` }),
  };
}

/**
 * Two bodies in turns, whose ratio holds where others use the machine too: milliseconds a call of each, round by round.
 * A round takes some 10 ms of either, or a call.
 */
export function contest(a: () => void, b: () => void, { quick }: Pick<Asked, "quick">): [number[], number[]] {
  const run = (body: () => void, n: number): number => {
    const from = performance.now();
    for (let i = 0; i < n; i++) body();
    return (performance.now() - from) / n;
  };
  const calls = [a, b].map(body => {
    // warm: V8 compiles twice
    const from = performance.now();
    let n = 0;
    do {
      body();
      n++;
    } while (performance.now() - from < (quick ? 10 : 300));
    return Math.max(1, Math.round(10 / run(body, Math.min(n, 10))));
  }) as [number, number];
  const slow = run(a, 1) + run(b, 1) > 300;
  const rounds = quick ? 2 : slow ? 12 : 31;
  const list: [number[], number[]] = [[], []];
  for (let i = 0; i < rounds; i++)
    for (const side of i % 2 ? ([1, 0] as const) : ([0, 1] as const)) list[side].push(run(side ? b : a, calls[side]));
  return list;
}

/** Eight digits that change with any bit of the numbers (FNV-1a by 32-bit words). */
export function digest(...lists: Numbers[]): string {
  let h = 0x811c9dc5;
  for (const list of lists)
    for (const word of new Uint32Array(list.buffer, list.byteOffset, list.byteLength / 4))
      h = Math.imul(h ^ word, 0x01000193);
  return (h >>> 0).toString(16).padStart(8, "0");
}

/** Numbers from -1 to 1 that depend on `seed` alone. */
export function noise(seed: number, into: Numbers, scale = 1): void {
  let x = (seed * 2654435761) | 1;
  for (let i = 0; i < into.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    into[i] = (scale * x) / 2147483648;
  }
}

/** Three figures. */
export const figures = (x: number): string =>
  x === 0 || !Number.isFinite(x) ? String(x) : Math.abs(x) >= 1000 ? x.toFixed(0) : x.toPrecision(3);

/** Rows of text as aligned columns; those of numbers to the right. */
export function aligned(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const width = head.map((h, i) => Math.max(h.length, ...rows.map(r => (r[i] ?? "").length)));
  const numeric = head.map(
    (_, i) => rows.length > 0 && rows.every(r => /^(|-|[-+]?[\d.]+(e[-+]?\d+)?( ?%)?( [x±].*)?)$/.test(r[i] ?? "")),
  );
  return [head, ...rows]
    .map(r =>
      width
        .map((w, i) => (numeric[i] ? (r[i] ?? "").padStart(w) : (r[i] ?? "").padEnd(w)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
