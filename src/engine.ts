// engine.ts: one dtype's kernels over one growable memory, and a bump allocator with mark and rewind.
// It knows addresses and bytes; shapes, gradients and lifetimes belong to the tape.
import { common, f32, f64, layouts } from "../dist/kernels.wasm";
import { anything, choice, kindOf, options as chosen, printed, real, refuse, type Check } from "./check.ts";
import type {
  AttentionArguments,
  AttentionBackArguments,
  Blocks,
  Kernels as Exports,
  Memory,
  Module,
} from "../dist/kernels.js";

export type { AttentionArguments, AttentionBackArguments };

/** The number type of everything on a tape. */
export type Dtype = "f32" | "f64";
/** Numbers of one tape, or the integers that index them. */
export type Numbers = Float32Array | Float64Array | Int32Array;
/** The compiled kernels, the address of the block they may scribble on, and the bytes of a number. */
export interface Kernels extends Exports {
  readonly scratch: number;
  readonly width: number;
  /**
   * Writes an argument block for the next call of a kernel and returns its address. The classes are those of
   * asm/attention/arguments.ts; of one that extends another the values of that other come first.
   */
  block<N extends keyof Blocks>(name: N, ...values: Blocks[N]): number;
}

/** The exact kernels, as text. */
const code: Readonly<Record<Dtype, () => string>> = { f32, f64 };
const unpacked = new Map<() => string, BufferSource>();
/** @internal The bytes of kernels that build.mjs made text: common bytes are a character, others one behind | or }. */
export function bytesOf(code: () => string): BufferSource {
  const before = unpacked.get(code);
  if (before) return before;
  const text = code();
  const bytes = new Uint8Array(text.length);
  const alphabet = bytesByCode();
  let n = 0;
  let page = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c < 124) bytes[n++] = alphabet[page + c]!;
    page = c < 124 ? 0 : (c - 123) * 128;
  }
  const made = bytes.slice(0, n);
  unpacked.set(code, made);
  return made;
}
/** The byte of each character code, of those behind | from 128 on, of those behind } from 256 on. */
function bytesByCode(): Uint8Array {
  const bytes = new Uint8Array(384);
  const next = [32, 160];
  for (let byte = 0; byte < 256; byte++) {
    const rare = (parseInt(common[byte >> 2]!, 16) >> (byte & 3)) & 1 ? 0 : 1;
    while (next[rare]! % 128 < 32 || [34, 39, 92, 96].includes(next[rare]! % 128) || next[rare]! % 128 > 123)
      next[rare]!++;
    bytes[next[rare]!++] = byte;
  }
  return bytes;
}
const modules = new Map<BufferSource, WebAssembly.Module>();
const PAGE = 65536;
const MOST = 65536 * PAGE; // 4 GiB: what a 32-bit address reaches
const SPARE = 64; // bytes behind the last claim: kernels read whole tiles and vectors (asm/matmul.ts)

function compiled(bytes: BufferSource): WebAssembly.Module {
  let module = modules.get(bytes);
  if (!module) {
    try {
      module = new WebAssembly.Module(bytes);
    } catch (error) {
      const why = String(error).includes("unsafe-eval")
        ? "the Content-Security-Policy lacks 'wasm-unsafe-eval'"
        : "this host does not compile the kernels, which need SIMD";
      refuse(Error, "engine", why, "", "", error);
    }
    modules.set(bytes, module);
  }
  return module;
}

/** @internal Returns a number type if it is one, on a host that can have an engine. */
export function typed(who: string, dtype: Dtype): Dtype {
  if (typeof WebAssembly !== "object") refuse(Error, who, "this host has no WebAssembly");
  return choice(who, "dtype", dtype, ["f32", "f64"]);
}

/** @internal Memory that may grow to `limit` bytes; of one to share the host reserves as much address space at once. */
export function reserved(limit: number, shared: boolean): WebAssembly.Memory {
  const maximum = Math.max(1, Math.floor(Math.min(limit, MOST) / PAGE));
  try {
    return new WebAssembly.Memory({ initial: 1, maximum, shared });
  } catch (error) {
    refuse(RangeError, "engine", `the host refused ${maximum / 16} MiB of address space`, "a lower limit", "", error);
  }
}

/**
 * Options of an engine. `module`: the compiled `farsight/f32.wasm`, for hosts that forbid compiling bytes. `limit`:
 * most bytes of memory.
 */
export interface EngineOptions {
  module?: Module | undefined;
  limit?: number | undefined;
}
/** @internal What `farsight/fast` puts in the place of the exact kernels and of a memory that nobody shares. */
export interface EngineParts {
  bytes?: BufferSource;
  memory?: WebAssembly.Memory;
}

/** The kernels of one dtype and the memory they work on. */
export class Engine {
  readonly dtype: Dtype;
  /** @internal Bytes of one number. */
  readonly width: 4 | 8;
  readonly memory: Memory;
  readonly module: Module;
  /** @internal */
  readonly kernels: Kernels;
  /** Most bytes of memory. */
  readonly limit: number;
  /** @internal What to do where memory is full; the tape knows. */
  advice = (): string => "raise the limit";
  #top: number;

  constructor(dtype: Dtype, options?: EngineOptions);
  /** @internal */
  constructor(dtype: Dtype, options?: EngineOptions, parts?: EngineParts);
  constructor(dtype: Dtype, options: EngineOptions = {}, { bytes, memory }: EngineParts = {}) {
    this.dtype = typed("engine", dtype);
    this.width = dtype === "f32" ? 4 : 8;
    const { module, limit } = chosen("engine", options, {
      module: [anything as Check<WebAssembly.Module>, undefined],
      limit: [real("from 0 to Infinity"), MOST],
    });
    this.limit = Math.floor(Math.min(limit, MOST) / PAGE) * PAGE;
    const wrong: () => never = () => {
      const why = `the module is ${printed(module)}, and no kernels of ${dtype}`;
      refuse(TypeError, "engine", why, `the compiled farsight/${dtype}.wasm`);
    };
    if (module !== undefined && kindOf(module) !== "WebAssembly.Module") wrong();
    this.memory = memory ?? reserved(this.limit, false);
    this.module = module ?? compiled(bytes ?? bytesOf(code[dtype]));
    let exports: Exports;
    try {
      exports = new WebAssembly.Instance(this.module, { env: { memory: this.memory } }).exports as unknown as Exports;
      exports.heapBase();
    } catch {
      wrong();
    }
    const scratch = Math.ceil(exports.heapBase() / 16) * 16;
    const held = this.memory; // the kernels must not hold the engine: src/fast.ts waits until it is collected
    const block = (name: string, ...values: object[]): number => {
      const { numbers, words } = layouts[name]!;
      const given = values as Record<string, number>[]; // of flags, true is 1; what is not there is 0
      const { buffer } = held;
      const all = new Float64Array(buffer, scratch, numbers.length);
      for (let i = 0; i < numbers.length; i++) all[i] = given[0]![numbers[i]!]!;
      let at = scratch + all.byteLength;
      words.forEach((names, part) => {
        const all = new Uint32Array(buffer, at, names.length);
        const own = given[part]!;
        for (let i = 0; i < names.length; i++) all[i] = own[names[i]!]!;
        at += all.byteLength;
      });
      return scratch;
    };
    this.kernels = { ...exports, scratch, width: this.width, block };
    this.#top = scratch;
    this.#top = this.alloc(exports.scratchSize() / this.width) + exports.scratchSize();
    exports.fill(1, 1, scratch);
    if (this.view(scratch, 1)[0] !== 1) wrong();
  }

  /** @internal Whether `x` is an engine of this copy of the library and no Proxy. */
  static is(x: unknown): x is Engine {
    return typeof x === "object" && x !== null && #top in x;
  }

  /**
   * @internal Claims room for `n` numbers of `width` bytes, padded to 16 bytes; what it holds is left over from earlier
   * use.
   */
  alloc(n: number, width: number = this.width): number {
    const at = this.#top;
    const end = at + Math.ceil((n * width) / 16) * 16;
    const have = this.memory.buffer.byteLength;
    if (!(end >= at && end + SPARE <= have)) this.#grow(at, end, have);
    this.#top = end;
    return at;
  }

  #grow(at: number, end: number, have: number): void {
    const full = (host = "", cause?: unknown): never => {
      const wants = `wants ${megabytes(end - at)} more, holds ${megabytes(at)} of at most ${megabytes(this.limit)}`;
      refuse(RangeError, "memory", `${wants + host}\n  ${this.advice()}`, "", "", cause);
    };
    if (!(end >= at && end + SPARE <= this.limit)) full();
    // A quarter more than it holds, so that growing stays rare: each time detaches every view.
    const least = end + SPARE;
    const goal = Math.min(Math.max(least, have * 1.25), this.limit);
    const grow = (to: number): number => this.memory.grow(Math.ceil((to - have) / PAGE));
    try {
      grow(goal);
    } catch {
      try {
        grow(least);
      } catch (error) {
        full("; the host refused", error);
      }
    }
  }

  /** @internal Fills `n` numbers at `at` with zero. */
  zero(at: number, n: number): void {
    this.kernels.fill(n, 0, at);
  }

  /** @internal A fresh view of `n` numbers; growing the memory detaches it, so it is made at each access. */
  view(at: number, n: number): Float32Array | Float64Array {
    return this.width === 4 ? new Float32Array(this.memory.buffer, at, n) : new Float64Array(this.memory.buffer, at, n);
  }
  /** @internal A fresh view of `n` 32-bit integers. */
  integers(at: number, n: number): Int32Array {
    return new Int32Array(this.memory.buffer, at, n);
  }

  /** @internal Where the next claim begins. */
  get mark(): number {
    return this.#top;
  }
  /** @internal Gives back everything claimed since `mark`. */
  rewind(mark: number): void {
    this.#top = mark;
  }
}

const megabytes = (n: number): string => `${(n / 1048576).toFixed(1)} MiB`;
