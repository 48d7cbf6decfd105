// serve.ts: a peer is a process that answers lines on stdin with lines on stdout, so that two of them can take turns.
// {"do": "prepare", "key": 1, "case": {...}, "warm": 300} -> {"results": [numbers that must agree between peers], "ms":
// of a run, after 300 of them}
//   {"do": "run", "key": 1, "times": 5}  ->  {"ms": [of each run]}
//   {"do": "drop", "key": 1}             ->  {}
// or {"error": why not}. pytorch.py speaks the same.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

/** The sizes of a model and its batch. */
export interface Shape {
  vocab: number;
  d: number;
  layers: number;
  heads: number;
  inner: number;
  t: number;
  b: number;
}
/** What to run. `file`: inputs or parameters, safetensors; `way`: of several ways to do it in one library. */
export type Work = {
  file: string;
  threads: number;
  engine: "exact" | "fast";
  fma: boolean;
  way?: string | undefined;
} & (
  | { kind: "step"; size: string; variant: string; shape: Shape; segments: number; memory: number; lr: number }
  | { kind: "attention"; variant: "plain" | "cope"; b: number; h: number; t: number; d: number; p: number }
  | { kind: "map"; name: string; rows: number; d: number }
);
/** A case that is set up. `results` must agree between peers. */
export interface Prepared {
  run(): unknown;
  results: number[];
  /** What a run takes beside its inputs. */
  bytes?: number;
  drop?(): void;
}
/** What a peer answers. */
export type Reply = { results: (number | string)[]; bytes?: number; ms: number } | { ms: number[] } | { error: string };

/** How many steps of training stand between the two losses that a step must agree in. */
export const STEPS = 5;

/** The losses of a first step and of the one after `STEPS`, given a step that returns the loss before it. */
export async function losses(step: () => number | Promise<number>): Promise<number[]> {
  const list: number[] = [];
  while (list.length <= STEPS) list.push(await step());
  return [list[0]!, list[STEPS]!];
}

/** Answers until stdin ends. Everything that a library prints goes to stderr. */
export function serve(prepare: (work: Work) => Promise<Prepared>): void {
  console.log = console.info = console.warn = console.error;
  const held = new Map<number, Prepared>();
  async function timed(run: () => unknown): Promise<number> {
    const from = performance.now();
    const result = run();
    if (result instanceof Promise) await result;
    return performance.now() - from;
  }
  async function answer(order: { do: string; key: number; case: Work; warm: number; times: number }): Promise<object> {
    if (order.do === "prepare") {
      const made = await prepare(order.case);
      const from = performance.now();
      held.set(order.key, made);
      let ms = 0;
      do ms = await timed(made.run);
      while (performance.now() - from < order.warm);
      return { results: made.results.map(x => (Number.isFinite(x) ? x : String(x))), bytes: made.bytes, ms };
    }
    const one = held.get(order.key)!;
    const ms: number[] = [];
    if (order.do === "drop") {
      one?.drop?.();
      held.delete(order.key);
      return {};
    }
    while (ms.length < order.times) ms.push(await timed(one.run));
    return { ms };
  }
  let last = Promise.resolve();
  const lines = createInterface({ input: process.stdin });
  lines.on("line", line => {
    last = last.then(async () => {
      let reply: object;
      try {
        reply = await answer(JSON.parse(line));
      } catch (error) {
        reply = { error: String((error as Error)?.message ?? error).split("\n")[0]! };
      }
      process.stdout.write(`${JSON.stringify(reply)}\n`);
    });
  });
  lines.on("close", () => {
    void last.then(() => process.exit(0));
  });
}

/** The tensors of a safetensors file. */
export function tensors(file: string): Map<string, { shape: number[]; values: Float32Array | Int32Array }> {
  const bytes = readFileSync(file);
  const size = Number(bytes.readBigUInt64LE(0));
  const head = JSON.parse(bytes.toString("utf8", 8, 8 + size)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  return new Map(
    Object.entries(head)
      .filter(([name]) => name !== "__metadata__")
      .map(
        ([
          name,
          {
            dtype,
            shape,
            data_offsets: [from, to],
          },
        ]) => {
          const part = bytes.buffer.slice(
            bytes.byteOffset + 8 + size + from,
            bytes.byteOffset + 8 + size + to,
          ) as ArrayBuffer;
          return [name, { shape, values: dtype === "I32" ? new Int32Array(part) : new Float32Array(part) }];
        },
      ),
  );
}
