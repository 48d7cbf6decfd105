// header.ts: the JSON header of a safetensors file, read in one pass that stops at the first byte that no header has.
// JSON.parse sees single strings and numbers only: it would take minutes, and many times the header's size in memory,
// for what is refused here at once, and it keeps the last of two equal keys.
import { refuse, type Kind, label, printed } from "./check.ts";

// Without `fatal`, bad bytes become U+FFFD; without `ignoreBOM`, a BOM vanishes.
const utf8 = /* @__PURE__ */ new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The entries of a header, in its order; an entry is a plain object. `bytes` are the file's up to the header's end. */
export function readHeader(bytes: Uint8Array): Map<string, unknown> {
  let at = 8;
  let count = 0;
  /** The next byte that is no space; none at the end. */
  function peek(): number | undefined {
    let c = bytes[at];
    while (c === 32 || c === 10 || c === 13 || c === 9) c = bytes[++at];
    return c;
  }
  /** Whether the next byte is `c`, and if so steps over it. */
  const take = (c: number): boolean => peek() === c && ++at > 0;
  /** Refuses what is no object. */
  function object(name?: string): void {
    if (peek() === 123) return;
    stop(at, `${name === undefined ? "the header" : label(name)} is an object, not ${printed(value(2))}`);
  }
  /** A name that is not among those before it, and its colon. "a" and "\u0061" are one name. */
  function newName(before: Map<unknown, unknown>): string {
    if (peek() !== 34) broken(bytes, at); // "
    const from = at;
    const name = scalar() as string;
    more((at - from) >> 5); // engines know long names by their length alone, and compare all that are as long
    if (before.has(name)) stop(from, `${label(name)} comes twice in one object of the header`);
    if (!take(58)) broken(bytes, at); // a colon
    return name;
  }
  function scalar(): unknown {
    const from = at;
    at = endOf(bytes, from);
    if (at - from > 1 << 25) stop(from, "text of more than 33554430 bytes"); // read, it takes up to four times as many
    return parsed(bytes, from, at);
  }
  /** Counts a name or a number, a name of more than 32 bytes as several. */
  function more(n: number): void {
    if ((count += n) > 262_144) stop(at, "more than 262144 names and numbers"); // over 30,000 matrices
  }
  function value(level: number): unknown {
    const open = peek();
    const named = open === 123; // {
    if (!named && open !== 91) return scalar(); // [
    if (level > 3) stop(at, "more than 3 levels"); // the header, an entry, its shape
    at++;
    const close = open + 2; // } or ]
    const members = new Map<unknown, unknown>();
    while (!take(close)) {
      if (members.size > 0 && !take(44)) broken(bytes, at); // a comma
      more(1);
      const name = named ? newName(members) : members.size;
      if (level === 1) object(`${name}`);
      members.set(name, value(level + 1));
    }
    if (!named) return [...members.values()];
    return level === 1 ? members : Object.fromEntries(members);
  }

  object();
  const header = value(1) as Map<string, unknown>;
  if (peek() !== undefined) broken(bytes, at);
  return header;
}

/** Where a string, a number, true, false or null ends. */
function endOf(bytes: Uint8Array, from: number): number {
  let at = from;
  // up to a space, a comma or a bracket
  if (bytes[at] !== 34)
    while (at < from + 99 && bytes[at]! > 32 && bytes[at] !== 44 && bytes[at] !== 93 && bytes[at] !== 125) at++;
  else {
    while (bytes[++at] !== 34) {
      if (at >= bytes.length) broken(bytes, at);
      if (bytes[at] === 92) at++; // a backslash
    }
    at++;
  }
  return at;
}

/** What stands from one byte to another. */
function parsed(bytes: Uint8Array, from: number, to: number): unknown {
  const part = bytes.subarray(from, to);
  try {
    // Browsers decode no shared memory. A slice of a string takes no memory of its own.
    const text = utf8.decode(part.buffer instanceof ArrayBuffer ? part : new Uint8Array(part));
    return part[0] === 34 && !/[\\\0-\x1f]/.test(text) ? text.slice(1, -1) : JSON.parse(text);
  } catch (error) {
    if (error instanceof TypeError) stop(from, "the header is not UTF-8");
    broken(bytes, from);
  }
}

/** Shows bytes, not characters: they may be no UTF-8. */
function broken(bytes: Uint8Array, at: number): never {
  stop(at, `the header is not JSON: ${printed(String.fromCharCode(...bytes.subarray(at, at + 61)))}`);
}
function stop(at: number, why: string): never {
  wrong(`byte ${at}: ${why}`);
}

export function wrong(why: string, kind: Kind = RangeError, wants = ""): never {
  refuse(kind, "safetensors", why, wants);
}
