// fast.ts: `farsight/fast`, an engine chosen by the caller: fused multiply-add by relaxed SIMD, and threads over a
// shared memory. It asks the host for its features and starts its workers, the one file of src/ beside breath.ts that
// touches the host. What is missing is an error, never a slower way. How a call divides is in split.ts.
//
// The caller's thread is one of the threads. For each other one there is a slot in a shared block: a state, a kernel,
// its arguments. A call that is worth dividing fills slots, computes its own part, takes back the parts that nobody has
// begun, and waits for the rest; so a worker that sleeps, or has not started yet, costs little. Workers look at their
// slot for 100 microseconds and then sleep.
import { divisions, f32 as fused32, f64 as fused64 } from "../dist/fast/kernels.wasm";
// Asked for here as well, so that the build puts these kernels in front of all code that both entry points share: gzip
// looks back 32 kB, and behind 87 kB of kernels found nothing of check.ts any more (500 bytes of a page).
import { f32, f64 } from "../dist/kernels.wasm";
import { flag, label, options as chosen, real, refuse, type Check } from "./check.ts";
import { Engine, bytesOf, reserved, typed, type Dtype, type Kernels } from "./engine.ts";
import { parts, start, step, type Division } from "./split.ts";

/**
 * Options of `fast`. `fma`: fused multiply-add, which changes the last bits (true unless given). `threads`: how many,
 * this one included (1 unless given); "all": one for each core. `limit`: most bytes of memory; address space for as
 * much is reserved where there are threads.
 */
export interface FastOptions {
  fma?: boolean;
  threads?: number | "all";
  limit?: number;
}
/** An engine of `fast`. */
export interface FastEngine extends Engine {
  readonly fma: boolean;
  readonly threads: number;
  /**
   * How many threads take part by now. Workers start in the background; in a browser only once the page's script has
   * yielded.
   */
  working(): number;
  /**
   * Ends the workers; the numbers on the tape can be read as before, but no kernel runs any more. Workers of an engine
   * that is collected end as well.
   */
  close(): void;
}

const exactCode: Readonly<Record<Dtype, () => string>> = { f32, f64 };
const fusedCode: typeof exactCode = { f32: fused32, f64: fused64 };
const PAGE = 65536;
const MOST = 64; // threads
const LEAST = 2000; // nanoseconds of a part: a fork and a join cost a fifth of that
// States of a slot.
const IDLE = 0;
const POSTED = 1;
const RUNNING = 2;
const AWAITED = 3;
const ASLEEP = 4;
const FAILED = 5;
const ABSENT = 6;
const CLOSED = 7;
const PATIENCE = 20_000; // looks at a slot before the caller sleeps, where it may: some 50 microseconds
const SLOT = 512; // bytes: the state, the kernel, how many arguments, and from byte 64 on the arguments

/** What a worker runs. A string, since a bundler may put calls into a function that are not there in a worker. */
const program = `"use strict";
const serve = ({ module, memory, control, slot, names }) => {
  const words = new Int32Array(control, slot * ${SLOT}, 16);
  const numbers = new Float64Array(control, slot * ${SLOT} + 64, ${SLOT / 8 - 8});
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const kernels = names.map(name => exports[name]);
  const args = [];
  if (Atomics.compareExchange(words, 0, ${ABSENT}, ${IDLE}) !== ${ABSENT}) return;
  for (let until = 0, turn = 0; ;) {
    const state = Atomics.load(words, 0);
    if (state === ${POSTED} && Atomics.compareExchange(words, 0, ${POSTED}, ${RUNNING}) === ${POSTED}) {
      let next = ${IDLE}; // spreading a typed array costs ten times as much as this copy
      for (let i = args.length = words[2]; i--; ) args[i] = numbers[i];
      try { kernels[words[1]](...args); } catch { next = ${FAILED}; }
      if (Atomics.exchange(words, 0, next) === ${AWAITED}) Atomics.notify(words, 0);
      until = turn = 0;
    } else if (state === ${CLOSED}) return;
    else if ((++turn & 127) === 0) {
      const now = performance.now();
      if (until === 0) until = now + 0.1;
      else if (now > until) {
        if (Atomics.compareExchange(words, 0, ${IDLE}, ${ASLEEP}) === ${IDLE}) Atomics.wait(words, 0, ${ASLEEP});
        until = turn = 0;
      }
    }
  }
};
if (typeof require === "function") serve(require("node:worker_threads").workerData);
else onmessage = ({ data }) => { serve(data); close(); };`;

/**
 * As much of a host as threads need. Node, Deno and Bun have `node:worker_threads`, whose workers do not hold a process
 * up; pages have Worker.
 */
interface Host {
  process?: { getBuiltinModule?(name: string): unknown };
  Worker?: new (url: string) => {
    postMessage(data: unknown): void;
    onerror: ((event: { message?: string }) => void) | null;
  };
  navigator?: { hardwareConcurrency?: number };
  SharedArrayBuffer?: unknown;
}
interface Threads {
  Worker: new (
    text: string,
    options: object,
  ) => { unref(): void; on(event: "error", listen: (error: Error) => void): void };
}
interface System {
  availableParallelism(): number;
}
const host = globalThis as unknown as Host;
const node = <T>(name: string): T | undefined => host.process?.getBuiltinModule?.(`node:${name}`) as T | undefined;

/**
 * Whether the host compiles (module (func (result v128) (f32x4.relaxed_madd x x x))) with x = (i8x16.splat (i32.const
 * 0)).
 */
function relaxed(): boolean {
  const x = "4100fd0f";
  const module = `0061736d01000000 0105016000017b 03020100 0a13011100${x}${x}${x}fd85020b`;
  return WebAssembly.validate(Uint8Array.from(module.match(/\w\w/g)!, byte => parseInt(byte, 16)));
}

/** How many threads are asked for; throws where the host cannot have them. */
const counted: Check<number> = (who, name, threads) => {
  const n =
    threads === "all"
      ? Math.min(MOST, node<System>("os")?.availableParallelism() ?? host.navigator?.hardwareConcurrency ?? 1)
      : (threads as number);
  if (!(Number.isInteger(n) && n >= 1 && n <= MOST))
    refuse(RangeError, who, `${name} is ${label(threads)}`, `a whole number from 1 to ${MOST}, or "all"`);
  if (n > 1 && typeof host.SharedArrayBuffer !== "function") {
    const wants =
      "the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp; " +
      "or threads: 1";
    refuse(Error, "fast", "this page has no SharedArrayBuffer, which threads need", wants);
  }
  if (n > 1 && !node<Threads>("worker_threads") && !host.Worker) {
    const wants = "Node 20.16 or later, or a current browser; or threads: 1";
    refuse(Error, "fast", "this host has no workers, which threads need", wants);
  }
  return n;
};

/** Ends the threads of engines that nobody closed. Ends may not hold their engine. */
const abandoned = /* @__PURE__ */ new FinalizationRegistry<() => void>(end => end());
const sharing = /* @__PURE__ */ new Map<BufferSource, BufferSource>();
/**
 * The same kernels over a shared memory: `(import "env" "memory" (memory 1))` becomes `(memory 1 65536 shared)`. The
 * compiler, asked for a shared memory, changes these bytes and no others; made here they need not be in the file a
 * second time.
 */
function sharable(bytes: BufferSource): BufferSource {
  const before = sharing.get(bytes);
  if (before) return before;
  const plain = bytes as Uint8Array;
  // one import: "env", "memory", of kind memory
  const section = [1, 3, 101, 110, 118, 6, 109, 101, 109, 111, 114, 121, 2];
  const at = plain.findIndex(
    (_, i) =>
      plain[i] === 2 && plain[i + 1] === section.length + 2 && section.every((byte, j) => plain[i + 2 + j] === byte),
  );
  const end = at + section.length + 4;
  if (at < 0 || plain[end - 2] !== 0 || plain[end - 1]! > 127)
    refuse(Error, "fast", "the kernels import no plain memory");
  const made = Uint8Array.from([
    ...plain.subarray(0, at),
    2,
    section.length + 5,
    ...section,
    3,
    plain[end - 1]!,
    128,
    128,
    4,
    ...plain.subarray(end),
  ]);
  sharing.set(bytes, made);
  return made;
}

/** Whether this thread may sleep; a page's main thread may not. */
function mayBlock(): boolean {
  try {
    return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1, 0) === "not-equal";
  } catch {
    return false;
  }
}

/**
 * Starts workers, one for each order; `failed` hears of one that could not start. Returns what ends them from outside.
 */
function workers(orders: readonly object[], failed: (why: string) => void): () => void {
  const threads = node<Threads>("worker_threads");
  if (threads) {
    for (const order of orders) {
      const worker = new threads.Worker(program, { eval: true, workerData: order, execArgv: [] });
      worker.on("error", error => failed(error.message));
      worker.unref();
    }
    return () => {};
  }
  const url = URL.createObjectURL(new Blob([program], { type: "text/javascript" }));
  for (const order of orders) {
    const worker = new host.Worker!(url);
    worker.onerror = ({ message }) =>
      failed(message ?? "no reason was given; a Content-Security-Policy must have worker-src blob:");
    worker.postMessage(order);
  }
  return () => URL.revokeObjectURL(url);
}

/**
 * An engine with fused multiply-add, threads, or both, for one tape:
 *
 *     const tape = new Tape("f32", { engine: fast("f32", { threads: 4 }) });
 *
 * Results do not depend on the number of threads, to the bit. With `fma: false` they are those of the exact engine;
 * with fused multiply-add they differ from it, and may differ between machines.
 */
export function fast(dtype: Dtype, options: FastOptions = {}): FastEngine {
  typed("engine", dtype);
  const { fma, threads, limit } = chosen("fast", options, {
    fma: [flag, true],
    threads: [counted, 1],
    limit: [real("from 0 to Infinity"), PAGE * PAGE],
  });
  const code = (fma ? fusedCode : exactCode)[dtype];
  if (fma && !relaxed()) {
    const wants = "Node 22 or later, or a current browser; or fma: false";
    refuse(Error, "fast", "this host has no relaxed SIMD", wants);
  }
  const engine = new Engine(
    dtype,
    { limit },
    threads > 1 ? { bytes: sharable(bytesOf(code)), memory: reserved(limit, true) } : { bytes: bytesOf(code) },
  );
  let kernels = engine.kernels;
  let working = (): number => 1;
  let end = (): void => {};
  if (threads > 1) {
    ({ kernels, working, end } = team(engine, threads));
    abandoned.register(engine, end);
  }
  return Object.assign(engine, {
    fma,
    threads,
    kernels,
    working: () => working(),
    close() {
      end();
      end = () => {};
      working = () => 0;
      const closed = (): never => {
        refuse(Error, "fast", "the engine was closed\n  make another, and a tape on it");
      };
      Object.assign(engine, {
        kernels: Object.fromEntries(
          Object.entries(kernels).map(([name, is]) => [name, typeof is === "function" ? closed : is]),
        ),
      });
    },
  });
}

type Kernel = (...args: number[]) => void;
/** The threads of one engine, as the caller's sees them. */
interface Team {
  readonly threads: number;
  /** Bytes of a number. */
  readonly width: number;
  /** The slots, as words and as numbers; slot 0, the caller's, is not used. */
  readonly words: Int32Array;
  readonly numbers: Float64Array;
  readonly sleeps: boolean;
  /** Slots whose workers have reported in. */
  readonly present: number[];
  /** Why a worker could not start. */
  failure: string | undefined;
  /**
   * Until when nothing is divided. A worker that loses its core in the middle of a part holds up everyone. Where cores
   * are shared with other programs that happens all the time, so a wait out of proportion is followed by a rest from
   * dividing, twenty times as long.
   */
  rest: number;
}

/** Where a slot's words begin. */
const place = (slot: number): number => (slot * SLOT) / 4;
function fail(reason: string): never {
  refuse(Error, "fast", `a worker failed: ${reason}`);
}

/** How many threads take part by now. */
function working({ threads, words, present }: Team): number {
  if (present.length < threads - 1)
    for (let slot = 1; slot < threads; slot++)
      if (!present.includes(slot) && Atomics.load(words, place(slot)) !== ABSENT) present.push(slot);
  return present.length + 1;
}

/**
 * Computes the part in `slot` here if nobody has begun it, or waits until it is done: asleep after a while, for the
 * worker may need this core.
 */
function finish({ words, numbers, sleeps }: Team, slot: number, kernel: Kernel): void {
  const at = place(slot);
  for (let turn = 0; ; turn++) {
    const state = Atomics.load(words, at);
    if (state === IDLE || state === ASLEEP) return;
    if (state === FAILED) fail("a kernel trapped");
    if (state === POSTED && Atomics.compareExchange(words, at, POSTED, IDLE) === POSTED)
      return kernel(...Array.from(numbers.subarray(at / 2 + 8, at / 2 + 8 + words[at + 2]!)));
    if (
      turn > PATIENCE &&
      sleeps &&
      (state === AWAITED || Atomics.compareExchange(words, at, RUNNING, AWAITED) === RUNNING)
    )
      Atomics.wait(words, at, AWAITED);
  }
}

/** Puts part `part` of `n` of a call of kernel number `kernel` into a slot; `room` is the bytes of a part's room. */
function post(
  { width, words, numbers, present }: Team,
  kernel: number,
  division: Division,
  args: readonly number[],
  part: number,
  n: number,
  room: number,
): void {
  const at = place(present[part - 1]!);
  const to = at / 2 + 8;
  const from = start(division, args, part, n);
  for (let i = 0; i < args.length; i++) numbers[to + i] = args[i]!;
  for (const move of division.moves)
    if (!move.numbers || args[move.argument]) numbers[to + move.argument]! += from * step(move, args, width);
  numbers[to + division.size] = start(division, args, part + 1, n) - from;
  if (division.room >= 0) numbers[to + division.room]! += part * room;
  words[at + 1] = kernel;
  words[at + 2] = args.length;
  if (Atomics.exchange(words, at, POSTED) === ASLEEP) Atomics.notify(words, at);
}

/**
 * A kernel that divides its work, of two ways by the one whose size is the larger; `room` gives the bytes of a part's
 * room.
 */
function divided(
  team: Team,
  kernel: Kernel,
  number: number,
  [first, second]: readonly Division[],
  room: (args: readonly number[]) => number,
): Kernel {
  return (...args) => {
    const division = second && args[second.size]! > args[first!.size]! ? second : first!;
    const n = parts(division, args, working(team), LEAST);
    if (team.failure !== undefined) fail(team.failure);
    if (n < 2) return kernel(...args);
    const begun = performance.now();
    if (begun < team.rest) return kernel(...args);
    const bytes = division.room < 0 ? 0 : room(args);
    for (let part = 1; part < n; part++) post(team, number, division, args, part, n, bytes);
    args[division.size] = start(division, args, 1, n);
    let done = begun;
    try {
      kernel(...args);
    } finally {
      done = performance.now();
      for (let part = 1; part < n; part++) finish(team, team.present[part - 1]!, kernel);
    }
    const waited = performance.now() - done;
    if (waited > 0.1 + 3 * (done - begun)) team.rest = done + 20 * waited;
  };
}

/** The kernels of `engine`, divided among `threads` threads. */
function team(engine: Engine, threads: number): { kernels: Kernels; working: () => number; end: () => void } {
  const { kernels: exact, module, memory, width } = engine;
  const scratch = exact.scratchSize();
  if (engine.alloc(((threads - 1) * scratch) / width) !== exact.scratch + scratch)
    refuse(Error, "fast", "the engine's memory is in use");
  const control = new SharedArrayBuffer(threads * SLOT);
  const words = new Int32Array(control);
  for (let slot = 1; slot < threads; slot++) words[place(slot)] = ABSENT;
  const numbers = new Float64Array(control);
  const team: Team = { threads, width, words, numbers, sleeps: mayBlock(), present: [], failure: undefined, rest: 0 };
  const names = Object.keys(divisions);
  const orders = Array.from({ length: threads - 1 }, (_, i) => ({ module, memory, control, slot: i + 1, names }));
  const end = workers(orders, reason => {
    team.failure ??= reason;
  });
  const kernels: Record<string, unknown> = { ...exact };
  names.forEach((name, number) => {
    const room = name.startsWith("attention")
      ? ([args]: readonly number[]) => exact.attentionPart(args!) * width
      : () => scratch;
    kernels[name] = divided(team, kernels[name] as Kernel, number, divisions[name]!, room);
  });
  kernels.attentionRoom = (...sizes: Parameters<Kernels["attentionRoom"]>) => threads * exact.attentionRoom(...sizes);
  return {
    kernels: kernels as unknown as Kernels,
    working: () => working(team),
    end() {
      for (let slot = 1; slot < threads; slot++) {
        Atomics.store(words, place(slot), CLOSED);
        Atomics.notify(words, place(slot));
      }
      end();
    },
  };
}
