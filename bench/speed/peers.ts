// peers.ts: the same work in farsight and in other libraries, each in a process of its own, taking turns in one run.
// Every case is checked: libraries that do not compute the same losses from the same parameters are not compared.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tape, leaves, serialize, type Numbers, type Storable } from "farsight";
import { deviation, heads, median, noise, show, sizeOf, wanted, type Asked, type Row } from "./measure.ts";
import { cold } from "./peers/cold.ts";
import { libraries, type Library } from "./peers/libraries.ts";
import { scaling } from "./peers/scaling.ts";
import type { Reply, Work } from "./peers/serve.ts";
import { LR, MEMORY, POSITIONS, SEGMENTS, sizes, training } from "./step.ts";

/** `tolerances`: of the first result and of the others. `long`: the other JavaScript libraries take minutes for it. */
interface Case {
  name: string;
  size: string;
  long: boolean;
  tolerances: readonly [number, number];
  work(folder: string): { [name: string]: unknown };
}

/** The lengths at which the fused kernel of CoPE is held to the paper's listing: b h t d. */
const longer = [
  [1, 8, 512, 32],
  [1, 8, 1024, 32],
] as const;

const save = (folder: string, list: Map<string, Storable>): string => {
  const file = join(folder, "case.safetensors");
  writeFileSync(file, serialize(list));
  return file;
};
function inputs(folder: string, shapes: { [name: string]: readonly number[] }): string {
  return save(
    folder,
    new Map(
      Object.entries(shapes).map(([name, shape], i) => {
        const values = new Float32Array(shape.reduce((n, m) => n * m));
        noise(i + 1, values);
        return [name, { shape, values }];
      }),
    ),
  );
}

function cases(): Case[] {
  const all = ["plain", "cope", "rmt", "myopic"] as const;
  const trained = { small: all, big: all, "flip-flop": ["plain", "cope"] } as const;
  const steps = (["small", "big", "flip-flop"] as const).flatMap(size =>
    trained[size].map((variant): Case => ({
      name: `step ${size} ${variant}`,
      size: `b${sizes[size].b} t${sizes[size].t}`,
      long: size === "flip-flop",
      tolerances: [1e-4, 1e-4], // of the first loss, and of the one after five steps

      work(folder) {
        const run = training(new Tape("f32"), size, variant);
        const { b, t } = sizes[size];
        const integers = (list: number[]): Storable => ({ shape: [b, t], values: Int32Array.from(list) as Numbers });
        const file = save(
          folder,
          new Map<string, Storable>([
            ...leaves(run.params).map(([path, x]) => [path, { shape: x.shape, values: x.values() }] as const),
            ["tokens", integers(run.tokens)],
            ["targets", integers(run.targets)],
          ]),
        );
        return { kind: "step", size, variant, shape: sizes[size], segments: SEGMENTS, memory: MEMORY, lr: LR, file };
      },
    })),
  );
  const attention = [...heads, ...longer].flatMap(shape =>
    (["plain", "cope"] as const).map((variant): Case => {
      const [b, h, t, d] = shape;
      const row = [b, t, h, d];
      return {
        name: `attention ${variant} forward+backward`,
        size: sizeOf(shape),
        long: t > 256,
        tolerances: [1e-3, 1e-3],
        work: folder => {
          const file = inputs(folder, { q: row, k: row, v: row, table: [POSITIONS, d] });
          return { kind: "attention", variant, b, h, t, d, p: POSITIONS, file };
        },
      };
    }),
  );
  const maps = ["exp", "tanh", "gelu", "layerNorm", "softmax"].map((name): Case => ({
    name: `map ${name}`,
    size: "1024 x 1024",
    long: false,
    tolerances: [1e-4, 1e-4],
    work: folder => ({
      kind: "map",
      name,
      rows: 1024,
      d: 1024,
      file: inputs(folder, { x: [1024, 1024], w: [1024], b: [1024] }),
    }),
  }));
  return [...steps, ...attention, ...maps];
}

interface Runner {
  library: Library;
  way?: string | undefined;
  results: number[];
  bytes: number | undefined;
  estimate: number;
  rounds: number[][];
}

/** Everyone who can do the case is made ready; those who cannot say why. */
async function ready(
  list: readonly Library[],
  work: Work,
  key: number,
  { quick }: Asked,
): Promise<{ runners: Runner[]; refusals: Map<string, string> }> {
  const runners: Runner[] = [];
  const refusals = new Map<string, string>();
  for (const library of list)
    for (const [i, way] of library.ways.entries()) {
      const reply = library.missing
        ? { error: library.missing }
        : await library.ask<Reply>({ do: "prepare", key: key * 4 + i, case: { ...work, way }, warm: quick ? 0 : 400 });
      if ("results" in reply) {
        const { results, bytes, ms } = reply;
        runners.push({ library, way, results: results.map(Number), bytes, estimate: ms, rounds: [] });
      }
      if ("error" in reply && !runners.some(r => r.library === library)) refusals.set(library.name, reply.error);
    }
  return { runners, refusals };
}

/**
 * Turns: A B C A B C..., so that whatever else the machine does falls on all. Each turn starts with a run that is not
 * counted.
 */
async function turns(runners: Runner[], key: number, asked: Asked): Promise<void> {
  const slow = Math.max(...runners.map(r => r.estimate)) > 2000;
  const rounds = asked.quick ? 2 : slow ? 4 : 9;
  for (let round = 0; round < rounds; round++)
    for (const r of runners) {
      const times = asked.quick
        ? 2
        : r.estimate > 2000
          ? 1
          : 1 + Math.min(100, Math.max(2, Math.round(250 / r.estimate)));
      // threads of the one before go on spinning
      if (asked.threads > 1) await new Promise(done => setTimeout(done, 250));
      const reply = await r.library.ask<Reply>({ do: "run", key: key * 4 + r.library.ways.indexOf(r.way), times });
      if (!("ms" in reply)) throw new Error(`${r.library.name}: ${"error" in reply ? reply.error : "no answer"}`);
      const ms = reply.ms as number[];
      r.rounds.push(ms.length > 1 ? ms.slice(1) : ms);
    }
}

const rounded = (x: number): string => Number(x.toPrecision(6)).toString();

/** What came of the rows, for the lines under the table. */
interface Tally {
  won: string[];
  lost: string[];
  wrong: string[];
}
function tallied(row: Row, name: string, { won, lost, wrong }: Tally): Row {
  if (row.wrong) wrong.push(`${row.case} ${row.size}, ${name}`);
  else if (row.ratio !== undefined && name !== "farsight")
    (row.ratio < 1 ? lost : won).push(`${row.case} ${row.size} ${name} ${row.ratio.toFixed(2)}`);
  return row;
}

/** Whether a runner's results are other than ours. */
function off({ results }: Runner, ours: Runner, { tolerances }: Case): boolean {
  return !results.every((x, i) => {
    const want = ours.results[i]!;
    return Math.abs(x - want) <= tolerances[Math.min(i, 1)]! * Math.max(1e-6, Math.abs(want));
  });
}

/** What a reader must know of a library's number. */
function noteOf({ library, way, bytes }: Runner, work: Work): string {
  const variant = "variant" in work ? work.variant : "";
  const ways = way && work.kind !== "map" ? `${way} attention` : undefined;
  const memory = bytes === undefined ? "" : `${(bytes / 1048576).toFixed(2)} MiB`;
  return [library.notes[work.kind], library.notes[variant] ?? ways, memory].filter(Boolean).join("; ");
}

/** The row of one library: of its ways the fastest. */
function outcome(c: Case, work: Work, mine: readonly Runner[], ours: Runner, refusal: string | undefined): Row {
  const about = { case: c.name, dtype: "f32" as const, size: c.size };
  const none = { ...about, median: 0, mad: 0, samples: 0 };
  const middle = (r: Runner): number => (r.rounds.length ? median(r.rounds.flat()) : Infinity);
  const [best] = [...mine].sort((a, b) => middle(a) - middle(b));
  if (!best) return { ...none, checksum: "", note: `cannot: ${refusal}` };
  const checksum = best.results.map(rounded).join(" ");
  if (off(best, ours, c))
    return {
      ...none,
      checksum,
      wrong: true,
      note: `not compared: farsight has ${ours.results.map(rounded).join(" ")}`,
    };
  const flat = best.rounds.flat();
  const each = best.rounds.map((r, i) => median(r) / median(ours.rounds[i]!));
  return {
    ...about,
    median: median(flat),
    mad: deviation(flat),
    least: Math.min(...flat),
    samples: flat.length,
    ratio: median(flat) / median(ours.rounds.flat()),
    ratios: [Math.min(...each), Math.max(...each)],
    checksum,
    bytes: best.bytes,
    note: noteOf(best, work),
  };
}

async function* contested(
  c: Case,
  key: number,
  all: readonly Library[],
  work: Work,
  asked: Asked,
): AsyncGenerator<Row> {
  show.step("peers", c.name, { step: key, steps: key + 1 });
  const { runners, refusals } = await ready(all, work, key, asked);
  const ours = runners.find(r => r.library.name === "farsight");
  if (!ours) throw new Error(`farsight: ${refusals.get("farsight")}`);
  await turns(
    runners.filter(r => !off(r, ours, c)),
    key,
    asked,
  );
  for (const library of all) {
    const mine = runners.filter(r => r.library === library);
    const row = outcome(c, work, mine, ours, refusals.get(library.name));
    yield { ...row, peer: library.label(asked.threads) };
  }
  for (const r of runners) await r.library.ask({ do: "drop", key: key * 4 + r.library.ways.indexOf(r.way) });
  show.done("peers", c.name);
}

const SECOND = "second thread, step big plain";

/** The same work in every library that is here, a row each. */
export async function* peers(asked: Asked): AsyncGenerator<Row, string> {
  const { threads, engine, fma } = asked;
  const every = cases();
  const list = every.filter(c => wanted(asked, c.name, c.size));
  const starts = wanted(asked, "cold start");
  const second = engine === "fast" && threads === 1 && wanted(asked, SECOND);
  if (list.length === 0 && !starts && !second)
    throw new RangeError(
      `--case ${asked.words.join(" ")}: no case of that name\n` +
        '  wants words in, for instance, "step small cope", "attention plain", "map exp", "cold start" ' +
        'or, of the fast engine, "second thread"',
    );
  const all = await libraries();
  const folder = mkdtempSync(join(tmpdir(), "farsight-peers-"));
  const tally: Tally = { won: [], lost: [], wrong: [] };
  const named = (row: Row): string => all.find(l => l.label(threads) === row.peer)!.name;
  try {
    for (const [key, c] of list.entries()) {
      const work = { ...c.work(folder), threads, engine, fma } as Work;
      const able = all.filter(l => !c.long || ["farsight", "pytorch"].includes(l.name));
      for await (const row of contested(c, key, able, work, asked)) yield tallied(row, named(row), tally);
    }
    if (second) {
      const c = every.find(c => c.name === "step big plain")!;
      yield* scaling(asked, all, { ...c.work(folder), fma } as Work, SECOND, c.size);
    }
    if (starts) for await (const row of cold(asked, all)) yield tallied(row, named(row), tally);
  } finally {
    await Promise.all(all.map(l => l.end()));
    rmSync(folder, { recursive: true, force: true });
  }
  return summary(tally);
}

function summary({ won, lost, wrong }: Tally): string {
  const lines = (title: string, names: readonly string[]): string =>
    `${title}: ${names.length ? names.map(n => `\n  ${n}`).join("") : "none"}`;
  return [
    "theirs / ours: above 1 farsight is faster. Ratios of medians, and in brackets the least and largest of rounds.",
    "MiB of attention beside its inputs: of farsight all that a call takes at once, its room and gradients included, " +
      "of PyTorch what the forward pass keeps for the backward pass and nothing else.",
    lines("We lose", lost),
    `We win ${won.length} of ${won.length + lost.length}`,
    ...(wrong.length ? [lines("Not the same results", wrong)] : []),
  ].join("\n");
}
