// files.ts: writing so that a crash, a full disk or a pulled plug never loses the last good file.
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { threadId } from "node:worker_threads";

const reasons: { readonly [code: string]: string } = {
  ENOSPC: "no space left on the device",
  EDQUOT: "no space left of what this user may fill",
  EACCES: "no permission",
  EPERM: "no permission",
  EROFS: "no permission to write there",
  EEXIST: "a file stands where a folder is wanted",
  ENOTDIR: "a file stands where a folder is wanted",
  ENOENT: "there is no such place",
  EISDIR: "a folder stands where a file is wanted",
};
/** What a system's error says, in words. */
export const reason = ({ code, message }: NodeJS.ErrnoException): string => reasons[code ?? ""] ?? message;

/** Makes a folder, and those above it. Node's own `recursive` never ends where the system denies that it could be. */
export function makeFolder(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return;
  const above = dirname(path);
  if (above !== path) makeFolder(above);
  try {
    mkdirSync(path);
  } catch (error) {
    // another process may have been first
    if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw error;
  }
}

/** Writes a new file to the disk itself. */
function write(path: string, bytes: Uint8Array): void {
  const file = openSync(path, "w");
  try {
    for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** A change of names survives a crash only once its folder is flushed; some systems cannot open folders. */
function flush(folder: string): void {
  try {
    const file = openSync(folder, "r");
    try {
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  } catch {
    /* then it is as safe as the system makes it */
  }
}

/**
 * Makes a file whole before it has its name: writes to a part that no other thread or process writes to, flushes, then
 * lets `place` give it the name. The part goes, whatever happens.
 */
export function placed(path: string, data: Uint8Array | string, place: (part: string, path: string) => void): void {
  const part = `${path}.${process.pid}.${threadId}.part`;
  try {
    makeFolder(dirname(path));
    write(part, typeof data === "string" ? Buffer.from(data) : data);
    place(part, path);
  } finally {
    try {
      rmSync(part, { force: true });
    } catch {
      /* what was wrong before is what is told */
    }
  }
  flush(dirname(path));
}

/**
 * Writes beside the file, flushes, then renames over it: whoever reads sees the old file or the new one, whole. On
 * failure the old one stays, the half-written one goes, and the error says what was being written.
 */
export function saveFile(path: string, data: Uint8Array | string): void {
  try {
    placed(path, data, renameSync);
  } catch (error) {
    const size = `${(data.length / 1024).toFixed(0)} KiB`;
    const whole = existsSync(path) ? "; the file that was there is whole" : "";
    throw new Error(`could not write ${path} (${size}): ${reason(error as NodeJS.ErrnoException)}${whole}`, {
      cause: error,
    });
  }
}

/**
 * Removes the parts that killed writers left in a folder. Nobody else may be writing there (see lock.ts), or only parts
 * that nobody touched for so many milliseconds go.
 */
export function sweep(folder: string, age = 0): void {
  for (const name of readdirSync(folder)) {
    if (!/\.\d+\.\d+\.part$/.test(name)) continue;
    const path = join(folder, name);
    const stats = age > 0 ? statSync(path, { throwIfNoEntry: false }) : undefined;
    if (!stats || Date.now() - stats.mtimeMs > age) rmSync(path, { force: true });
  }
}

/** Whether a file ends in the midst of a line. */
function torn(file: number, size: number): boolean {
  const last = Buffer.alloc(1);
  if (size > 0) readSync(file, last, 0, 1, size - 1);
  return size > 0 && last[0] !== 10;
}

/**
 * Adds a line to a file, to the disk itself. Whoever could append at the same time must hold a lock. What a killed
 * writer left of a line stays, as a line of its own; what this one could not write whole goes.
 */
export function appendLine(path: string, line: string): void {
  try {
    makeFolder(dirname(path));
    const file = openSync(path, "a+");
    const { size } = fstatSync(file);
    try {
      const bytes = Buffer.from(`${torn(file, size) ? "\n" : ""}${line}\n`);
      for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at);
      fsyncSync(file);
    } catch (error) {
      ftruncateSync(file, size);
      throw error;
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw new Error(`could not write ${path}: ${reason(error as NodeJS.ErrnoException)}`, { cause: error });
  }
  flush(dirname(path));
}

/** A file's bytes, or nothing where there is none. */
export function readFile(path: string): Uint8Array | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new Error(`could not read ${path}: ${reason(error as NodeJS.ErrnoException)}`, { cause: error });
  }
}

/** Removes a file that may not be there, for good. */
export function removeFile(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch (error) {
    throw new Error(`could not remove ${path}: ${reason(error as NodeJS.ErrnoException)}`, { cause: error });
  }
  flush(dirname(path));
}
