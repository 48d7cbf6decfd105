// safetensors.ts: the file format of tensors, as bytes. 8 bytes of header length, a JSON header, the numbers,
// little-endian. Writes strictly and reads what the reference reader (github.com/huggingface/safetensors) reads, less
// equal keys, null metadata and what lies deeper than a shape, plus sizes spelled 1.0. A file is hostile until all of
// it has been checked; no numbers are allocated before.
import { get, safely, kindOf, label, printed, listed, type Kind } from "./check.ts";
import { readHeader, wrong } from "./header.ts";

/** The kinds of number in files that this library reads. It writes F32, F64, I32, I64 and U8. */
export type FileDtype = "F32" | "F64" | "F16" | "BF16" | "I32" | "I64" | "U8" | "BOOL";

/** Numbers as a file can hold them; I64 stays BigInt64Array, since a float would lose what lies beyond 2^53. */
export type Values = Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array;

/**
 * One tensor of a file. F16 and BF16 are widened to Float32Array, which holds each of their values exactly; BOOL is a
 * byte each.
 */
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
/** One tensor of a header; its numbers lie from `begin` to `end` after that. */
interface Entry {
  readonly name: string;
  readonly dtype: FileDtype;
  readonly shape: readonly number[];
  begin: number;
  end: number;
}
type Placed = Entry & Stored;
interface Parsed {
  tensors: Map<string, Stored>;
  metadata: Record<string, string>;
}
type Pairs = Iterable<readonly [name: string, tensor: Storable]>;

const CHECKSUM = "farsight.checksum";
const MAX_HEADER = 100_000_000; // bytes, as in the reference reader
const WIDTH: Record<FileDtype, number> = { F32: 4, F64: 8, F16: 2, BF16: 2, I32: 4, I64: 8, U8: 1, BOOL: 1 };
const ARRAYS = { F32: Float32Array, F64: Float64Array, I32: Int32Array, I64: BigInt64Array, U8: Uint8Array };

/** The numbers in little-endian bytes that may lie anywhere: a view of them where `copy` is false and one can be. */
function numbers(dtype: FileDtype, bytes: Uint8Array, copy: boolean): Values {
  if (dtype !== "F16" && dtype !== "BF16") {
    const made = ARRAYS[dtype === "BOOL" ? "U8" : dtype];
    const { buffer, byteOffset: at, byteLength } = bytes;
    const width = WIDTH[dtype];
    if (!copy && little() && at % width === 0) return new made(buffer as ArrayBuffer, at, byteLength / width);
    // Not by `slice`: that of Node's Buffer shares memory.
    return new made(reorder(new Uint8Array(bytes), width).buffer);
  }
  // Widened as bits, not as numbers: an engine may change the payload of a NaN that passes as a number.
  const bits = new Uint32Array(bytes.length / 2);
  const floats = new Float32Array(bits.buffer);
  for (let i = 0; i < bits.length; i++) {
    const two = bytes[2 * i]! | (bytes[2 * i + 1]! << 8);
    if (dtype === "BF16") bits[i] = two << 16;
    else {
      // 1 sign, 5 exponent (bias 15), 10 fraction: put in their places, and the bias becomes 127.
      bits[i] = ((two & 0x8000) << 16) | ((two & 0x7fff) << 13);
      if ((two & 0x7c00) < 0x7c00)
        floats[i]! *= 5.192296858534828e33; // 2^112
      else bits[i]! |= 0x7f800000;
    }
  }
  return floats;
}

/**
 * The header of sorted tensors, with spaces to a multiple of 8 bytes. Joined by hand: an object would put names that
 * look like integers first, and set its prototype for `__proto__`.
 */
function headerOf(list: readonly Entry[], metadata: Record<string, string>): Bytes {
  const notes = Object.entries(metadata).sort();
  const parts = list.map(
    ({ name, dtype, shape, begin, end }) =>
      `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, end] })}`,
  );
  if (notes.length > 0) parts.unshift(`"__metadata__":${JSON.stringify(Object.fromEntries(notes))}`);
  const text = new TextEncoder().encode(`{${parts.join(",")}}${" ".repeat(7)}`);
  return text.subarray(0, text.length - (text.length % 8));
}

/**
 * Takes in the 32-bit words of the header `headerOf` makes, without the checksum, and of the numbers, the last one
 * filled up with zeros, by
 * h = 0x9e3779b1 (h ^ word) and h ^= h >>> 15. Both can be undone, so that a change within one word never passes; any
 * other does once in 2^32 times. It is of what a header says and not of its bytes, and so holds in a file that was
 * written anew. Twice as fast as CRC-32.
 */
function checksum(list: readonly Entry[], metadata: Record<string, string>, data: Uint8Array): string {
  let h = 0;
  for (const part of [headerOf(list, metadata), data]) {
    const view = new DataView(part.buffer, part.byteOffset);
    const tail = part.subarray(part.length & ~3).reduceRight((word, byte) => (word << 8) | byte, 0);
    for (let i = 0; i < part.length; i += 4) {
      h = Math.imul(h ^ (i + 4 <= part.length ? view.getInt32(i, true) : tail), 0x9e3779b1);
      h ^= h >>> 15;
    }
  }
  return (h >>> 0).toString(16).padStart(8, "0");
}

/**
 * The bytes of a safetensors file: the same tensors give the same bytes, in whatever order they come.
 *
 *     const bytes = serialize({ weight: { shape: [2, 3], values: new Float32Array(6) } }, { format: "pt" });
 *
 * What `parse` returned can be written again; F16 and BF16 then become F32, and BOOL U8. Where there are numbers, the
 * metadata gets a checksum, `farsight.checksum`, of all that the file holds.
 */
export function serialize(tensors: Pairs | Record<string, Storable>, metadata: Record<string, string> = {}): Bytes {
  if (typeof tensors !== "object" || tensors === null)
    wrong(`tensors are a Map, pairs or an object, not ${printed(tensors)}`, TypeError);
  checkNotes(metadata, TypeError);
  const map = new Map<string, Placed>();
  const pairs = safely(
    () =>
      Symbol.iterator in tensors
        ? Array.from(tensors as Pairs, ([name, x]) => [name, x] as const)
        : Object.entries(tensors),
    undefined,
  );
  if (!pairs) wrong(`tensors are a Map, pairs or an object, not ${printed(tensors)}`, TypeError);
  for (const [name, tensor] of pairs) {
    if (typeof name !== "string") wrong(`a name is a string, not ${printed(name)}`, TypeError);
    if (map.has(name)) wrong(`${label(name)} comes twice`);
    const [given, values] = [get(tensor, "shape"), get(tensor, "values") as Values];
    const shape = safely(() => (Array.isArray(given) ? ([...given] as unknown) : given), undefined);
    const [dtype] = Object.entries(ARRAYS).find(([, made]) => made.name === kindOf(values)) ?? [];
    if (!isDtype(dtype) || !ArrayBuffer.isView(values as unknown))
      wrong(`${label(name)} holds ${printed(values)}`, TypeError, listed(Object.values(ARRAYS).map(made => made.name)));
    check(name, shape, WIDTH[dtype], values.byteLength, TypeError);
    map.set(name, { name, dtype, shape, values, begin: 0, end: 0 });
  }
  // The widest first: then every tensor starts at a multiple of its width, and a reader may map the file and not copy.
  const list = [...map.values()].sort((a, b) => WIDTH[b.dtype] - WIDTH[a.dtype] || (a.name < b.name ? -1 : 1));
  let end = 0;
  for (const entry of list) {
    entry.begin = end;
    entry.end = end += entry.values.byteLength;
  }
  const { [CHECKSUM]: _, ...notes } = metadata;
  const headed = (sum: string): Bytes => headerOf(list, end > 0 ? { ...notes, [CHECKSUM]: sum } : notes);
  const size = headed("01234567").length;
  if (size > MAX_HEADER) wrong(`the header takes ${size} bytes and may have ${MAX_HEADER}`);
  const file = new Uint8Array(8 + size + end);
  const data = file.subarray(8 + size);
  for (const { dtype, values, begin, end } of list) {
    data.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), begin);
    reorder(data.subarray(begin, end), WIDTH[dtype]);
  }
  new DataView(file.buffer).setBigUint64(0, BigInt(size), true);
  file.set(headed(checksum(list, notes, data)), 8);
  readHeader(file.subarray(0, 8 + size)); // refuses more names than are read
  return file;
}

/**
 * The tensors and the metadata of a safetensors file, copied out of it; the Map has the order of the numbers in the
 * file. Any unsound file is a RangeError that says what is wrong, and so is one whose `farsight.checksum` does not
 * hold; the metadata comes without it. A name is any string, even `../x`: never make it a path.
 */
export function parse(bytes: Uint8Array): Parsed {
  const { list, data, metadata } = opened(bytes);
  const tensors = new Map<string, Stored>();
  for (const { name, dtype, shape, begin, end } of list)
    tensors.set(name, { dtype, shape, values: numbers(dtype, data.subarray(begin, end), true) });
  return { tensors, metadata };
}

/**
 * The same without a copy: `values` are read anew each time they are asked for, and are a view of the file where its
 * numbers lie as the host's do.
 */
export function view(bytes: Uint8Array): Parsed {
  const { list, data, metadata } = opened(bytes);
  const tensors = new Map<string, Stored>();
  for (const { name, dtype, shape, begin, end } of list)
    tensors.set(name, {
      dtype,
      shape,
      get values() {
        return numbers(dtype, data.subarray(begin, end), false);
      },
    });
  return { tensors, metadata };
}

/** A file of which all has been checked: its tensors in the order of their numbers, and these. */
function opened(bytes: Uint8Array): { list: Entry[]; data: Uint8Array; metadata: Record<string, string> } {
  if (!ArrayBuffer.isView(bytes) || kindOf(bytes) !== "Uint8Array")
    wrong(`a file is a Uint8Array, not ${printed(bytes)}`, TypeError);
  if (bytes.length < 8) wrong(`a file has at least 8 bytes, and this one ${bytes.length}`);
  const long = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  const start = 8 + Number(long);
  const size = bytes.length - start;
  if (long > BigInt(MAX_HEADER) || !/^[{\s]/.test(String.fromCharCode(bytes[8]!))) isNone(bytes);
  if (long > BigInt(MAX_HEADER)) wrong(`the header takes ${long} bytes and may have ${MAX_HEADER}`);
  if (size < 0) wrong(`the header takes ${long} bytes and the file has ${bytes.length - 8} after its length`);
  const entries = readHeader(bytes.subarray(0, start));
  const notes = entries.get("__metadata__") ?? {};
  checkNotes(notes);
  entries.delete("__metadata__");
  const list = [...entries].map(readEntry).sort((a, b) => a.begin - b.begin || a.end - b.end);
  // Each begins where the last ended: no holes, overlaps, cut or hidden bytes, and no more to allocate than the file
  // has.
  let at = 0;
  for (const { name, begin, end } of list) {
    const which = begin > at ? "a hole" : "an overlap";
    if (begin !== at) wrong(`${label(name)} begins at ${begin} and the bytes before it end at ${at}: ${which}`);
    at = end;
  }
  if (at !== size) wrong(`the tensors take ${at} bytes and the file has ${size} after its header`);
  const { [CHECKSUM]: sum, ...metadata } = notes;
  const data = bytes.subarray(start);
  if (sum !== undefined && sum !== checksum(list, metadata, data))
    wrong(`damaged or changed: ${CHECKSUM} does not hold`);
  return { list, data, metadata };
}

/** How files begin that are taken for safetensors files, and what they are. */
const OTHERS: readonly [start: RegExp, what: string][] = [
  [/^version https:\/\/git-lfs/, "a Git LFS pointer to a file that was not fetched"],
  [/^\s*</, "a web page"],
  [/^PK\x03\x04/, "a zip, as torch.save writes"],
  [/^\x80[\x02-\x05]/, "a pickle, as Python writes"],
  [/^\s*\{/, "JSON"],
];
/** Refuses a file of another kind by its name. */
function isNone(bytes: Uint8Array): void {
  const start = String.fromCharCode(...bytes.subarray(0, 64));
  const [, what] = OTHERS.find(([begins]) => begins.test(start)) ?? [];
  if (what) wrong(`the file is ${what}`, RangeError, "a safetensors file");
}

function readEntry([name, entry]: [string, unknown]): Entry {
  const { dtype, shape, data_offsets: range } = entry as Record<string, unknown>;
  if (!isDtype(dtype)) wrong(`${label(name)} has dtype ${printed(dtype)}`, RangeError, listed(Object.keys(WIDTH)));
  const [begin, end, ...rest]: unknown[] = Array.isArray(range) ? range : [];
  if (!isSize(begin) || !isSize(end) || begin > end || rest.length > 0)
    wrong(`${label(name)} has data_offsets ${printed(range)}`, RangeError, "[begin end]");
  check(name, shape, WIDTH[dtype], end - begin);
  return { name, dtype, shape, begin, end };
}

/** Refuses metadata that no file may have. */
function checkNotes(metadata: unknown, error?: Kind): asserts metadata is Record<string, string> {
  if (kindOf(metadata) !== "Object") wrong(`metadata is a plain object of strings, not ${printed(metadata)}`, error);
  for (const [key, value] of Object.entries(metadata as object)) {
    if (typeof value !== "string") wrong(`metadata ${label(key)} is a string, not ${printed(value)}`, error);
    if (!wellFormed(key) || !wellFormed(value)) wrong(`metadata ${printed(key)} has half a surrogate pair`);
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
  if (!wellFormed(name)) wrong(`the name ${printed(name)} has half a surrogate pair`);
  if (!Array.isArray(shape)) wrong(`${label(name)} has shape ${printed(shape)}`, kind, "an array");
  let bytes = BigInt(width);
  for (const n of shape) {
    if (!isSize(n)) wrong(`${label(name)} has shape ${printed(shape)}, and ${printed(n)} is no size`);
    bytes *= BigInt(n);
    // Stops here so that a long shape makes no giant BigInt; a 0 further on does not excuse it in the reference either.
    if (bytes >= 1n << 64n) wrong(`${label(name)} needs 2^64 bytes or more for shape ${printed(shape)}`);
  }
  if (bytes !== BigInt(has)) wrong(`${label(name)} needs ${bytes} bytes for shape ${printed(shape)} and has ${has}`);
}

const little = (): boolean => new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
/** Between a file's byte order and the host's, in place: nothing to do but on a big-endian host. */
function reorder(bytes: Bytes, width: number): Bytes {
  if (!little()) for (let i = 0; i < bytes.length; i += width) bytes.subarray(i, i + width).reverse();
  return bytes;
}

const wellFormed = (text: string): boolean => !/\p{Surrogate}/u.test(text);
const isDtype = (dtype: unknown): dtype is FileDtype => typeof dtype === "string" && Object.hasOwn(WIDTH, dtype);
const isSize = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0 && !Object.is(n, -0);
