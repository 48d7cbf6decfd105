// ceiling.ts: what this machine can do at most, measured beside the kernels: multiply-adds that wait for nothing, and
// copies. The loops are compiled when a benchmark first runs, and run on as many threads as the kernels get.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import type { Dtype } from "farsight";
import { readFile, saveFile } from "../files.ts";
import { time, type Asked } from "./measure.ts";
import { root } from "../place.ts";

/** A loop of multiply-adds to run beside a kernel, and its operations a call. */
export interface Loop {
  run(): void;
  flop: number;
}
/** GFLOP/s of `madd`; GB/s, read and written, of copying `bytes` bytes; and the loop behind `madd` on one thread. */
export interface Ceilings {
  madd(dtype: Dtype): number;
  copy(bytes: number): number;
  loop(dtype: Dtype): Loop;
}

const list = (n: number, line: (i: number) => string): string =>
  Array.from({ length: n }, (_, i) => line(i)).join("\n");
const N = 2000; // turns of a loop in a call: microseconds, so that calls are many and the loops get optimised

/**
 * Two loops of independent multiply-adds; which one is faster depends on processor and compiler, and that one is the
 * ceiling.
 */
function source(dtype: Dtype, fused: boolean): string {
  const madd = (a: string, b: string, c: string): string =>
    fused
      ? `v128.relaxed_madd<${dtype}>(${a}, ${b}, ${c})`
      : `v128.add<${dtype}>(v128.mul<${dtype}>(${a}, ${b}), ${c})`;
  const loop = (
    name: string,
    n: number,
    constants: string,
    body: (i: number) => string,
  ): string => `export function ${name}(n: usize, at: usize): void {
    ${constants}
    ${list(n, i => `let c${i} = v128.load(at, ${16 * i});`)}
    for (let i: usize = 0; i < n; i++) { let x: v128; ${list(n, body)} }
    ${list(n, i => `v128.store(at, c${i}, ${16 * i});`)}
  }`;
  // 13 sums and two factors are the 15 vectors that V8 keeps in registers; "stream" loads a factor for each of 12 sums.
  const both = "const a = v128.load(at, 512), b = v128.load(at, 528);";
  const chain = loop("chain", 13, both, i => `c${i} = ${madd(`c${i}`, "a", "b")};`);
  const next = (i: number): string => `x = v128.load(at, ${528 + 16 * i});`;
  const one = "const b = v128.load(at, 512);";
  const stream = loop("stream", 12, one, i => `${next(i)} c${i} = ${madd("x", "b", `c${i}`)};`);
  return `
  ${chain}
  ${stream}
  export function copy(n: usize, x: usize): void {
    for (let y = x + n, end = y; x < end; x += 64, y += 64) {
      v128.store(y, v128.load(x));
      v128.store(y, v128.load(x, 16), 16);
      v128.store(y, v128.load(x, 32), 32);
      v128.store(y, v128.load(x, 48), 48);
    }
  }
  export function bulk(n: usize, x: usize): void { memory.copy(x + n, x, n); }`;
}
const flops: Record<string, number> = { chain: 13, stream: 12 };

// In a process of its own: V8 would go on optimising the compiler for a second, and leave the loops waiting.
const COMPILER = `import asc from "assemblyscript/asc";
import { readFileSync } from "node:fs";
const text = readFileSync(0, "utf8");
const features = process.argv[1];
const options = ["-O3", "--noAssert", "--runtime", "stub", "--importMemory", "--enable", features];
const { error, stderr } = await asc.main(["ceiling.ts", "-o", "ceiling.wasm", ...options], {
  readFile: name => name === "ceiling.ts" ? text : null,
  writeFile: (name, data) => {
    if (name.endsWith(".wasm")) process.stdout.write(Buffer.from(data).toString("base64"));
  },
  listFiles: () => [],
});
if (error) {
  console.error(stderr.toString());
  process.exitCode = 1;
}`;

/** Compiled loops; dist/dev keeps them. */
function compiled(dtype: Dtype, fused: boolean): WebAssembly.Module {
  const text = source(dtype, fused);
  const file = join(root, "dist/dev", `ceiling-${createHash("sha256").update(text).digest("hex").slice(0, 16)}.wasm`);
  let wasm = readFile(file);
  if (!wasm) {
    const words = ["--input-type=module", "-e", COMPILER, "--", fused ? "simd,relaxed-simd" : "simd"];
    const { status, stdout, stderr } = spawnSync(process.execPath, words, { cwd: root, input: text, encoding: "utf8" });
    if (status !== 0) throw new Error(`ceiling: asc failed\n${stderr}`);
    wasm = Buffer.from(stdout, "base64");
    saveFile(file, wasm);
  }
  return new WebAssembly.Module(wasm as BufferSource);
}

const LEAST = 1024; // bytes before the data: address 0 stays unused
/** Runs one loop for ever; `seconds` of the main thread's are measured while it does. */
const RIVAL = `const { workerData: { module, pages, name, n, values } } = require("node:worker_threads");
const memory = new WebAssembly.Memory({ initial: pages });
new values[0](memory.buffer, ${LEAST}, 256).fill(0.5);
const run = new WebAssembly.Instance(module, { env: { memory } }).exports[name];
for (;;) run(n, ${LEAST});`.replace("new values[0]", "new (values === 'f32' ? Float32Array : Float64Array)");

/** Measures once, and answers from memory after. A fused ceiling throws where the host has no relaxed SIMD. */
export async function ceilings(asked: Asked, dtypes: readonly Dtype[], sizes: readonly number[]): Promise<Ceilings> {
  const fused = asked.engine === "fast" && asked.fma;
  const { threads } = asked;
  const made = new Map<string, number>();
  const loops = new Map<Dtype, Loop>();
  async function loop(
    dtype: Dtype,
    module: WebAssembly.Module,
    name: string,
    n: number,
  ): Promise<{ ms: number; run(): void }> {
    const pages = Math.ceil((name === "copy" || name === "bulk" ? 2 * n : 0) / 65536) + 1;
    const memory = new WebAssembly.Memory({ initial: pages });
    // 0.5 and 0.5: sums go to 1 and stay normal
    new (dtype === "f32" ? Float32Array : Float64Array)(memory.buffer, LEAST, 256).fill(0.5);
    const run = new WebAssembly.Instance(module, { env: { memory } }).exports[name] as (n: number, at: number) => void;
    const rivals = Array.from(
      { length: threads - 1 },
      () => new Worker(RIVAL, { eval: true, workerData: { module, pages, name, n, values: dtype } }),
    );
    await Promise.all(rivals.map(w => new Promise(done => w.once("online", done))));
    const { median: ms } = time(() => run(n, LEAST), asked);
    await Promise.all(rivals.map(w => w.terminate()));
    return { ms, run: () => run(n, LEAST) };
  }
  for (const dtype of dtypes) {
    const module = compiled(dtype, fused);
    const lanes = dtype === "f32" ? 4 : 2;
    for (const name of ["chain", "stream"]) {
      const { ms, run } = await loop(dtype, module, name, N);
      const flop = 2 * lanes * flops[name]! * N;
      const rate = (threads * flop) / ms / 1e6;
      if (rate <= (made.get(dtype) ?? 0)) continue;
      made.set(dtype, rate);
      loops.set(dtype, { run, flop });
    }
  }
  const module = sizes.length ? compiled("f32", false) : undefined;
  for (const bytes of module ? sizes : []) {
    const half = Math.ceil(bytes / 128) * 64;
    const ms = Math.min((await loop("f32", module!, "copy", half)).ms, (await loop("f32", module!, "bulk", half)).ms);
    made.set(`copy ${bytes}`, (threads * 2 * half) / ms / 1e6);
  }
  return {
    madd: dtype => made.get(dtype)!,
    loop: dtype => loops.get(dtype)!,
    copy: bytes => made.get(`copy ${bytes}`)!,
  };
}
