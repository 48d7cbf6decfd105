// names.ts: tensors of files as parameters: which of a file's names stands for which, and what does not fit.
import { get, kindOf, label, printed, refuse, safely, shapeOf, string } from "./check.ts";
import { view, type Stored } from "./safetensors.ts";
import type { Tensor } from "./tensor.ts";

/**
 * The bytes of a safetensors file; or of several, by their names, with the parsed `model.safetensors.index.json`, which
 * says what lies where.
 */
export type TensorFiles = Uint8Array | { readonly index: object; readonly files: Readonly<Record<string, Uint8Array>> };

/** How files of a kind name parameters and lay them out. */
export interface Naming {
  /** The tensors that make a parameter, rows of one below those of the one before; none that files never have. */
  parts?(path: string): readonly string[];
  /** Parameters whose tensors lie [in, out]. */
  turned?: RegExp;
  /** A name as others of its kind are spelled. */
  spelled?(name: string): string;
  /** A head that is a table: the first name stands for the second where it stands for no parameter. */
  tied?: readonly [head: string, table: string] | undefined;
  /** Parameters that files may lack: they stay as they are. */
  spare?: RegExp;
  /** What files have of the model itself; what else they have is not read. All unless given. */
  body?: RegExp;
}
/** What was read: the metadata, parameters that no file had, and a file's tensors that stand for none. */
export interface Filled {
  readonly metadata: Record<string, string>;
  readonly fresh: readonly string[];
  readonly unused: readonly string[];
}
/** Where a tensor of a file goes. */
interface Place {
  readonly path: string;
  readonly to: Tensor;
  /** At which number it begins. */
  readonly at: number;
  readonly shape: readonly number[];
  readonly turned: boolean;
}

// torch.compile, DataParallel, and the modules that nanoGPT, Hugging Face and BERT put a model in.
const WRAPPER = /^(?:_orig_mod|module|model|transformer|bert)\./;
/** Masks of attention, and the numbers of places and types: parts of a model's state that nobody trains. */
const BUFFER = /(?:^|\.)(?:attn\.(?:masked_)?bias|embeddings\.(?:position_ids|token_type_ids))$/;

/** Tensors by their paths; throws where two have one. */
export function byPath(who: string, list: readonly (readonly [path: string, tensor: Tensor])[]): Map<string, Tensor> {
  const map = new Map<string, Tensor>();
  for (const [path, t] of list) {
    if (map.has(path)) refuse(RangeError, who, `two tensors are called ${path}`);
    t.alive(who);
    map.set(path, t);
  }
  return map;
}

/** The tensors of a file, or of all, without a copy, and the metadata. */
export function read(who: string, given: TensorFiles): ReturnType<typeof view> {
  const [index, files] = [get(given, "index"), get(given, "files")];
  if (index === undefined && files === undefined) return view(given as Uint8Array);
  const map = get(index, "weight_map");
  if (kindOf(map) !== "Object")
    refuse(TypeError, who, `index.weight_map is ${printed(map)}`, "a parsed model.safetensors.index.json");
  if (kindOf(files) !== "Object") refuse(TypeError, who, `files are ${printed(files)}`, "bytes by the names of files");
  const listed = safely(() => Object.entries(map as object), []);
  const places = listed.map(([name, file]) => [name, string(who, `index.weight_map, ${label(name)}`, file)] as const);
  const names = [...new Set(places.map(([, file]) => file))];
  const lacks = names.filter(name => !safely(() => Object.hasOwn(files as object, name), false));
  if (lacks.length)
    refuse(RangeError, who, `the index names files that are not given${some("missing", lacks.map(label))}`);
  const parts = new Map(names.map(name => [name, view(get(files, name) as Uint8Array)]));
  const tensors = new Map<string, Stored>();
  for (const [name, file] of places) {
    const stored = parts.get(file)!.tensors.get(name);
    if (!stored) refuse(RangeError, who, `the index says that ${label(name)} lies in ${label(file)}: it does not`);
    tensors.set(name, stored);
  }
  return { tensors, metadata: Object.assign({}, ...[...parts.values()].map(part => part.metadata)) };
}

/**
 * Fills parameters from the tensors of files. A prefix of a wrapper falls away where no parameter has it; metadata
 * `{ name: other }` says that a tensor lies under another name; tensors that stand for one parameter must hold the same
 * numbers. Throws, and changes nothing, unless all fit.
 */
export function filled(
  who: string,
  mine: ReadonlyMap<string, Tensor>,
  { tensors, metadata }: ReturnType<typeof view>,
  naming: Naming,
): Filled {
  const places = placesOf(mine, naming);
  const { found, extra, unused } = matched(who, places, tensors, metadata, naming);
  const has = new Set([...found.keys()].map(name => places.get(name)!.path));
  const due = new Map([...places].filter(([, { path }]) => has.has(path) || !naming.spare?.test(path)));
  complain(who, due, found, extra, "floats");
  for (const [name, stored] of found) put(places.get(name)!, stored);
  return { metadata, fresh: [...mine.keys()].filter(path => !has.has(path)), unused };
}

/** Where tensors of files go, by their names. */
function placesOf(mine: ReadonlyMap<string, Tensor>, { parts, turned }: Naming): Map<string, Place> {
  const places = new Map<string, Place>();
  for (const [path, to] of mine) {
    const names = parts ? parts(path) : [path];
    const [rows, ...rest] = to.shape;
    const own = names.length > 1 ? [rows! / names.length, ...rest] : to.shape;
    const isTurned = turned?.test(path) ?? false;
    const shape = isTurned ? [...own].reverse() : own;
    names.forEach((name, i) =>
      places.set(name, { path, to, at: (i * to.size) / names.length, shape, turned: isTurned }),
    );
  }
  return places;
}

/** A file's tensors by the names of places, and the names of those that stand for none: of the model, of heads. */
function matched(
  who: string,
  places: ReadonlyMap<string, Place>,
  tensors: ReadonlyMap<string, Stored>,
  metadata: Record<string, string>,
  { spelled, tied: [head, table] = ["", ""], body }: Naming,
): { found: Map<string, Stored>; extra: string[]; unused: string[] } {
  const bareOf = (name: string): string => {
    let bare = spelled?.(name) ?? name;
    // Four: a hostile name has 10^7.
    for (let i = 0; i < 4 && !places.has(bare); i++) bare = bare.replace(WRAPPER, "");
    return bare === head && !places.has(bare) && places.has(table) ? table : bare;
  };
  const found = new Map<string, Stored>();
  const extra: string[] = [];
  const unused: string[] = [];
  for (const [name, stored] of tensors) {
    const bare = bareOf(name);
    if (!places.has(bare)) {
      const isBuffer = BUFFER.test(bare) && stored.shape.length !== 1; // a bias has one axis
      if (!isBuffer) (body?.test(bare) === false ? unused : extra).push(name);
      continue;
    }
    const before = found.get(bare);
    if (before && !alike(before, stored))
      refuse(RangeError, who, `two tensors of the file are tied to ${places.get(bare)!.path} and differ`);
    found.set(bare, stored);
  }
  for (const [alias, name] of Object.entries(metadata)) {
    const bare = bareOf(alias);
    const stored = found.get(bareOf(name));
    if (stored && places.has(bare) && !found.has(bare)) found.set(bare, stored);
  }
  return { found, extra, unused };
}
function alike(one: Stored, other: Stored): boolean {
  if (shapeOf(one) !== shapeOf(other)) return false;
  const [a, b] = [one.values, other.values];
  for (let i = 0; i < b.length; i++) if (!Object.is(a[i], b[i])) return false;
  return true;
}

/** Copies a tensor's numbers to where they go. */
function put({ to, at, turned }: Place, { shape, values }: Stored): void {
  const numbers = to.values();
  const from = values as Float32Array;
  if (!turned) return numbers.set(from, at);
  const [rows, columns] = shape as [number, number];
  // 16 rows at a time: GPT-2 takes half the time that it takes row by row, whose writes miss every cache.
  for (let top = 0; top < rows; top += 16)
    for (let j = 0; j < columns; j++)
      for (let i = top; i < rows && i < top + 16; i++) numbers[at + j * rows + i] = from[i * columns + j]!;
}

const SHOWN = 8; // of each list
function some(what: string, list: readonly string[]): string {
  const more = list.length > SHOWN ? ` and ${list.length - SHOWN} more` : "";
  return list.length ? `\n  ${what}: ${list.slice(0, SHOWN).join(", ")}${more}` : "";
}

/** Throws one error that lists every name that is missing, too many, or does not fit. */
export function complain(
  who: string,
  mine: ReadonlyMap<string, { readonly shape: readonly number[] }>,
  theirs: ReadonlyMap<string, Stored>,
  extra: readonly string[],
  wants: string,
): void {
  const missing = [...mine.keys()].filter(name => !theirs.has(name));
  const unexpected = extra.map((name, i) => {
    const prefixed = i < SHOWN && missing.some(path => name.endsWith(`.${path}`));
    return label(name) + (prefixed ? " (has a prefix)" : "");
  });
  const wrong = [...mine].flatMap(([name, t]) => {
    const s = theirs.get(name);
    if (!s) return [];
    if (shapeOf(s) !== shapeOf(t)) return `${name} is ${shapeOf(s)}, wants ${shapeOf(t)}`;
    return s.dtype === wants || (wants === "floats" && /^B?F\d/.test(s.dtype))
      ? []
      : `${name} is ${s.dtype}, wants ${wants}`;
  });
  const all = some("missing", missing) + some("unexpected", unexpected) + some("mismatched", wrong);
  if (all) refuse(RangeError, who, `the file does not fit; nothing was changed${all}`);
}
