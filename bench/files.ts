// files.ts: writing so that a crash, a full disk or a pulled plug never loses the last good file.
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";

function reason({ code, message }: NodeJS.ErrnoException): string {
  if (code === "ENOSPC") return "no space left on the device";
  if (code === "EACCES" || code === "EROFS") return "no permission to write there";
  return message;
}

/**
 * Writes beside the file, flushes, then renames over it: whoever reads sees the old file or the new one, whole. On
 * failure the old one stays, the half-written one goes, and the error says what was being written.
 */
export function saveFile(path: string, data: Uint8Array | string): void {
  const part = `${path}.part`;
  const bytes = typeof data === "string" ? Buffer.from(data) : data;
  try {
    mkdirSync(dirname(path), { recursive: true });
    const file = openSync(part, "w");
    try {
      for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(part, path);
  } catch (error) {
    try {
      unlinkSync(part);
    } catch {
      /* it may never have come to be */
    }
    const size = `${(bytes.length / 1024).toFixed(0)} KiB`;
    const whole = existsSync(path) ? "; the file that was there is whole" : "";
    throw new Error(`could not write ${path} (${size}): ${reason(error as NodeJS.ErrnoException)}${whole}`, {
      cause: error,
    });
  }
  // The rename itself survives a crash only once its folder is flushed; some systems cannot open folders.
  try {
    const folder = openSync(dirname(path), "r");
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
  } catch {
    /* then the rename is as safe as the system makes it */
  }
}

/** A file's bytes, or nothing where there is none. */
export function readFile(path: string): Uint8Array | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
