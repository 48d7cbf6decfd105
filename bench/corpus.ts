// corpus.ts: texts to model: English from a path that somebody names, and code from packages that the development tools
// bring. The same files give the same text, split and digest on every system.
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { reason } from "./files.ts";
import { digest, root } from "./place.ts";

/** One file of a corpus: its path as it is listed, its length in bytes of UTF-8, and whether it is held out. */
export interface Part {
  readonly path: string;
  readonly bytes: number;
  readonly held: boolean;
}

/** A text to train on and another to test on, of files that are listed by path. */
export interface Corpus {
  readonly files: readonly Part[];
  readonly train: string;
  readonly held: string;
  /** Twelve digits of paths, contents and split. */
  readonly digest: string;
}

interface File {
  readonly path: string;
  readonly text: string;
}

/** What lies below these folders of packages, and of it what the pattern keeps. */
const CODE: readonly { readonly folder: string; readonly keeps: RegExp }[] = [
  // TypeScript 7 has a package for each system; this one is the same on all. Most of lib.webworker is in lib.dom.
  { folder: "typescript-oldest/lib", keeps: /^(?!lib\.webworker)[^/]*\.d\.ts$/ },
  { folder: "esbuild/lib", keeps: /^main\.(d\.ts|js)$/ },
  // not dist/, which is generated
  { folder: "assemblyscript/std", keeps: /\.(ts|js)$/ },
  { folder: "assemblyscript/util", keeps: /\.(ts|js)$/ },
];

const HELD = 0.1;
const ordered = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const size = (text: string): number => Buffer.byteLength(text);

/** A file's text, with line ends of one kind and one at the end. */
function read(path: string): string {
  try {
    const text = readFileSync(path, "utf8")
      .replace(/^\uFEFF/, "")
      .replace(/\r\n?/g, "\n");
    return text === "" || text.endsWith("\n") ? text : `${text}\n`;
  } catch (error) {
    throw new Error(`corpus: cannot read ${path}: ${reason(error as NodeJS.ErrnoException)}`, { cause: error });
  }
}
/** The paths below a folder that a pattern keeps, with / between the parts, in one order everywhere. */
function below(folder: string, keeps: RegExp): string[] {
  const all = readdirSync(folder, { recursive: true, withFileTypes: true }).filter(f => f.isFile());
  return all
    .map(f =>
      join(f.parentPath ?? f.path, f.name)
        .slice(folder.length + 1)
        .replaceAll("\\", "/"),
    )
    .filter(path => keeps.test(path))
    .sort(ordered);
}

/** A corpus of files, of which those are held out whose paths are in `out`. */
function made(all: readonly File[], out: ReadonlySet<string>): Corpus {
  const files = all.map(({ path, text }) => ({ path, bytes: size(text), held: out.has(path) }));
  const texts = (held: boolean): string =>
    all
      .filter(({ path }) => out.has(path) === held)
      .map(({ text }) => text)
      .join("");
  const [train, held] = [texts(false), texts(true)];
  if (!train || !held)
    throw new Error(`corpus: ${files.length} files leave nothing to train on, or nothing to test on`);
  return { files, train, held, digest: digest(JSON.stringify(files), train, held) };
}
/** The files, less those with the text of an earlier one, a tenth of their bytes held out, and no file in both. */
function divided(all: readonly File[]): Corpus {
  const texts = new Set<string>();
  const files = all.filter(({ text }) => text !== "" && !texts.has(text) && texts.add(text));
  let room = HELD * files.reduce((sum, { text }) => sum + size(text), 0);
  const out = new Set<string>();
  // An order that has nothing to do with what is in the files; one that would be too much is passed over.
  for (const { path, text } of [...files].sort((a, b) => ordered(digest(a.path), digest(b.path)))) {
    if (size(text) > room) continue;
    room -= size(text);
    out.add(path);
  }
  return made(files, out);
}

/** Code: TypeScript's libraries, esbuild and AssemblyScript, as the development tools have them. */
export function code(): Corpus {
  const modules = join(root, "node_modules");
  return divided(
    CODE.flatMap(({ folder, keeps }) =>
      below(join(modules, folder), keeps).map(name => {
        const path = `${folder}/${name}`;
        return { path, text: read(join(modules, path)) };
      }),
    ),
  );
}

/**
 * English: of a folder every .txt below it, a tenth held out by file; of a file all of it with `held`, another file, to
 * test on, or without that its last tenth, from the beginning of a line. Throws where a path cannot be read.
 */
export function english(path: string, held?: string): Corpus {
  if (held !== undefined) {
    const [train, test] = [read(path), read(held)];
    if (train === test) throw new Error(`corpus: ${path} and ${held} hold the same text`);
    return made(
      [
        { path: "train", text: train },
        { path: "held", text: test },
      ],
      new Set(["held"]),
    );
  }
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory())
    return divided(below(path, /\.txt$/).map(name => ({ path: name, text: read(join(path, name)) })));
  const text = read(path);
  const cut = text.indexOf("\n", Math.floor((1 - HELD) * text.length)) + 1;
  return made(
    [
      { path: "train", text: text.slice(0, cut) },
      { path: "held", text: text.slice(cut) },
    ],
    new Set(["held"]),
  );
}
