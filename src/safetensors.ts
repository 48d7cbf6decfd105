// safetensors.ts: the file format of tensors, as bytes. 8 bytes of header length, a JSON header, the numbers,
// little-endian. Writes strictly and reads what the reference reader (github.com/huggingface/safetensors) reads, less
// equal keys and null metadata, plus sizes spelled 1.0. A file is hostile until all of it has been checked; no numbers
// are allocated before.
import { listed, refuse, type Kind } from "./check.ts";

/** The kinds of number in files that this library reads. It writes F32, F64, I32 and I64. */
export type FileDtype = "F32" | "F64" | "F16" | "BF16" | "I32" | "I64";

/** Numbers as a file can hold them; I64 stays BigInt64Array, since a float would lose what lies beyond 2^53. */
export type Values = Float32Array | Float64Array | Int32Array | BigInt64Array;

/** One tensor of a file. F16 and BF16 are widened to Float32Array, which holds each of their values exactly. */
export interface Stored {
  readonly dtype: FileDtype;
  readonly shape: readonly number[];
  readonly values: Values;
}

/**
 * The bytes of a file, in a buffer of their own, which a Blob takes. Compilers before 5.7 know no type of bytes by
 * their buffer; this is the one that each has.
 */
export type Bytes = ReturnType<Uint8Array["slice"]>;
/** What `serialize` takes for one tensor; the kind of `values` decides the dtype in the file. */
export type Storable = Omit<Stored, "dtype">;
type Pairs = Iterable<readonly [name: string, tensor: Storable]>;

const MAX_HEADER = 100_000_000; // bytes, as in the reference reader
const WIDTH: Record<FileDtype, number> = { F32: 4, F64: 8, F16: 2, BF16: 2, I32: 4, I64: 8 };
const ARRAYS = { F32: Float32Array, F64: Float64Array, I32: Int32Array, I64: BigInt64Array };

/** The numbers in a buffer. */
function numbers(dtype: FileDtype, buffer: ArrayBuffer): Values {
  if (dtype !== "F16" && dtype !== "BF16") return new ARRAYS[dtype](buffer);
  // Widened as bits, not as numbers: an engine may change the payload of a NaN that passes as a number.
  const bits = Uint32Array.from(new Uint16Array(buffer), dtype === "F16" ? half : bits => bits << 16);
  return new Float32Array(bits.buffer);
}

/**
 * The bytes of a safetensors file: the same tensors give the same bytes, in whatever order they come.
 *
 *     const bytes = serialize({ weight: { shape: [2, 3], values: new Float32Array(6) } }, { format: "pt" });
 *
 * What `parse` returned can be written again; F16 and BF16 then become F32.
 */
export function serialize(tensors: Pairs | Record<string, Storable>, metadata: Record<string, string> = {}): Bytes {
  if (typeof tensors !== "object" || tensors === null)
    wrong(`tensors are a Map, pairs or an object, not ${brief(tensors)}`, TypeError);
  checkNotes(metadata, TypeError);
  const list = new Map<string, Stored>();
  for (const [name, tensor] of Symbol.iterator in tensors ? (tensors as Pairs) : Object.entries(tensors)) {
    if (typeof name !== "string") wrong(`a name is a string, not ${brief(name)}`, TypeError);
    if (list.has(name)) wrong(`${label(name)} comes twice`);
    const { shape, values } = tensor ?? {};
    const [dtype] = Object.entries(ARRAYS).find(([, made]) => made.name === kind(values)) ?? [];
    if (!isDtype(dtype) || !ArrayBuffer.isView(values))
      wrong(`${label(name)} holds ${brief(values)}`, TypeError, listed(Object.values(ARRAYS).map(made => made.name)));
    check(name, shape, WIDTH[dtype], values.byteLength, TypeError);
    list.set(name, { dtype, shape: [...shape], values });
  }
  // The widest first: then every tensor starts at a multiple of its width, and a reader may map the file and not copy.
  const sorted = [...list].sort(([a, x], [b, y]) => WIDTH[y.dtype] - WIDTH[x.dtype] || (a < b ? -1 : 1));

  // Joined by hand: an object would put names that look like integers first, and set its prototype for `__proto__`.
  const parts: string[] = [];
  const notes = Object.entries(metadata);
  if (notes.length > 0) parts.push(`"__metadata__":${JSON.stringify(Object.fromEntries(notes))}`);
  let at = 0;
  for (const [name, { dtype, shape, values }] of sorted)
    parts.push(
      `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [at, (at += values.byteLength)] })}`,
    );
  const text = new TextEncoder().encode(`{${parts.join(",")}}`);
  const size = Math.ceil(text.length / 8) * 8;
  if (size > MAX_HEADER) wrong(`the header takes ${size} bytes and may have ${MAX_HEADER}`);
  const file = new Uint8Array(8 + size + at);
  new DataView(file.buffer).setBigUint64(0, BigInt(size), true);
  file.fill(0x20, 8, 8 + size).set(text, 8);
  at = 8 + size;
  for (const [, { dtype, values }] of sorted) {
    file.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), at);
    reorder(file.subarray(at, (at += values.byteLength)), WIDTH[dtype]);
  }
  return file;
}

/**
 * The tensors and the metadata of a safetensors file, copied out of it; the Map has the order of the numbers in the
 * file. Any unsound file is a RangeError that says what is wrong. A name is any string, even `../x`: never make it a
 * path.
 */
export function parse(bytes: Uint8Array): { tensors: Map<string, Stored>; metadata: Record<string, string> } {
  if (!ArrayBuffer.isView(bytes) || kind(bytes) !== "Uint8Array")
    wrong(`a file is a Uint8Array, not ${brief(bytes)}`, TypeError);
  if (bytes.length < 8) wrong(`a file has at least 8 bytes, and this one ${bytes.length}`);
  const long = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  const start = 8 + Number(long);
  const size = bytes.length - start;
  if (long > BigInt(MAX_HEADER)) wrong(`the header takes ${long} bytes and may have ${MAX_HEADER}`);
  if (size < 0) wrong(`the header takes ${long} bytes and the file has ${bytes.length - 8} after its length`);
  const { __metadata__: metadata = {}, ...entries } = readHeader(bytes.subarray(8, start));
  checkNotes(metadata);
  const list = Object.entries(entries)
    .map(readEntry)
    .sort((a, b) => a.begin - b.begin || a.end - b.end);
  // Each begins where the last ended: no holes, overlaps, cut or hidden bytes, and no more to allocate than the file
  // has.
  let at = 0;
  for (const { name, begin, end } of list) {
    const which = begin > at ? "a hole" : "an overlap";
    if (begin !== at) wrong(`${label(name)} begins at ${begin} and the bytes before it end at ${at}: ${which}`);
    at = end;
  }
  if (at !== size) wrong(`the tensors take ${at} bytes and the file has ${size} after its header`);
  const tensors = new Map(
    list.map(({ name, dtype, shape, begin, end }): [string, Stored] => {
      // A copy, for its alignment. Not by `slice`: that of Node's Buffer shares memory.
      const copy = new Uint8Array(bytes.subarray(start + begin, start + end));
      return [name, { dtype, shape, values: numbers(dtype, reorder(copy, WIDTH[dtype]).buffer) }];
    }),
  );
  return { tensors, metadata };
}

function readHeader(bytes: Uint8Array): Record<string, unknown> {
  let text = "";
  let header: unknown;
  try {
    // Without `fatal`, bad bytes become U+FFFD; without `ignoreBOM`, a BOM vanishes; without the copy, browsers refuse
    // shared memory.
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(new Uint8Array(bytes));
    header = JSON.parse(text);
  } catch (cause) {
    const why = text === "" && bytes.length > 0 ? "UTF-8" : `JSON: ${brief(text)}`;
    wrong(`the header is not ${why}`, RangeError, "", cause);
  }
  if (!isObject(header)) wrong(`the header is an object, not ${brief(header)}`);
  refuseTwins(text);
  return header;
}

/**
 * JSON.parse keeps the last of two equal keys, so what a file holds would depend on its reader. `text` is valid JSON.
 */
function refuseTwins(text: string): void {
  const open: Set<string>[] = [];
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "{") open.push(new Set());
    else if (text[i] === "}") open.pop();
    else if (text[i] === '"') {
      const from = i++;
      while (text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
      let next = i + 1;
      while (text[next]! <= " ") next++;
      if (text[next] !== ":") continue;
      const key = JSON.parse(text.slice(from, i + 1)) as string;
      const keys = open.at(-1)!; // parsed: "a" and "\u0061" are one key
      if (keys.has(key)) wrong(`${label(key)} comes twice in one object of the header`);
      keys.add(key);
    }
  }
}

function readEntry([name, entry]: [string, unknown]): {
  name: string;
  dtype: FileDtype;
  shape: readonly number[];
  begin: number;
  end: number;
} {
  if (!isObject(entry)) wrong(`${label(name)} is an object, not ${brief(entry)}`);
  const { dtype, shape, data_offsets: range } = entry;
  if (!isDtype(dtype)) wrong(`${label(name)} has dtype ${brief(dtype)}`, RangeError, listed(Object.keys(WIDTH)));
  const [begin, end, ...rest]: unknown[] = Array.isArray(range) ? range : [];
  if (!isSize(begin) || !isSize(end) || begin > end || rest.length > 0)
    wrong(`${label(name)} has data_offsets ${brief(range)}`, RangeError, "[begin end]");
  check(name, shape, WIDTH[dtype], end - begin);
  return { name, dtype, shape, begin, end };
}

/** Refuses metadata that no file may have. */
function checkNotes(metadata: unknown, kind?: Kind): asserts metadata is Record<string, string> {
  if (!isObject(metadata)) wrong(`metadata is a plain object of strings, not ${brief(metadata)}`, kind);
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== "string") wrong(`metadata ${label(key)} is a string, not ${brief(value)}`, kind);
    if (!wellFormed(key) || !wellFormed(value)) wrong(`metadata ${brief(key)} has half a surrogate pair`);
  }
}

/** Refuses a name, a shape or a size that no file may have. BigInt: a product of doubles can round to one that fits. */
function check(
  name: string,
  shape: unknown,
  width: number,
  has: number,
  kind?: Kind,
): asserts shape is readonly number[] {
  if (name === "__metadata__") wrong("__metadata__ names the metadata, not a tensor");
  if (!wellFormed(name)) wrong(`the name ${brief(name)} has half a surrogate pair`);
  if (!Array.isArray(shape)) wrong(`${label(name)} has shape ${brief(shape)}`, kind, "an array");
  let bytes = BigInt(width);
  for (const n of shape) {
    if (!isSize(n)) wrong(`${label(name)} has shape ${brief(shape)}, and ${brief(n)} is no size`);
    bytes *= BigInt(n);
    // Stops here so that a long shape makes no giant BigInt; a 0 further on does not excuse it in the reference either.
    if (bytes >= 1n << 64n) wrong(`${label(name)} needs 2^64 bytes or more for shape ${brief(shape)}`);
  }
  if (bytes !== BigInt(has)) wrong(`${label(name)} needs ${bytes} bytes for shape ${brief(shape)} and has ${has}`);
}

/** Between a file's byte order and the host's, in place: nothing to do but on a big-endian host. */
function reorder(bytes: Bytes, width: number): Bytes {
  const little = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
  if (!little) for (let i = 0; i < bytes.length; i += width) bytes.subarray(i, i + width).reverse();
  return bytes;
}

/** The float32 bits of float16 bits: 1 sign, 5 exponent (bias 15), 10 fraction. */
function half(bits: number): number {
  const sign = (bits & 0x8000) << 16;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return sign | 0x7f800000 | (fraction << 13);
  if (exponent > 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  const shift = Math.clz32(fraction) - 21; // subnormal here, normal in float32
  return sign | ((113 - shift) << 23) | (((fraction << shift) & 1023) << 13);
}

function wrong(why: string, kind: Kind = RangeError, wants = "", cause?: unknown): never {
  refuse(kind, "safetensors", why, wants, "", cause);
}
const wellFormed = (text: string): boolean => !/\p{Surrogate}/u.test(text);
const isDtype = (dtype: unknown): dtype is FileDtype => typeof dtype === "string" && Object.hasOwn(WIDTH, dtype);
const isSize = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0 && !Object.is(n, -0);
/** "Float32Array", "Object" and so on, also for objects of another realm (a frame, a test runner's vm). */
const kind = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);
const isObject = (value: unknown): value is Record<string, unknown> => kind(value) === "Object";
/** A name as messages show it: a hostile file can call a tensor anything. */
export const label = (name: string): string => (/^[\w.:/-]{1,99}$/.test(name) ? name : brief(name));

/** A value in a message: one line and one level, since a hostile header can hold a megabyte or a million brackets. */
function brief(value: unknown, deep = true): string {
  if (typeof value === "string") return JSON.stringify(value.length > 60 ? value.slice(0, 60) + "..." : value);
  if (typeof value !== "object" || value === null) return String(value);
  if (!Array.isArray(value) || !deep) return kind(value);
  return `[${value
    .slice(0, 8)
    .map(v => brief(v, false))
    .join(" ")}${value.length > 8 ? " ..." : ""}]`;
}
