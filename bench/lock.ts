// lock.ts: one process at a time, by files that say who holds a lock. PATH.1 is the first holder's, PATH.2 that of who
// took over from a dead one, and so on: whoever made the highest number holds it. A number is made once and whole, so
// of two who find the same holder dead only one takes over.
import { constants, copyFileSync, linkSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { hostname } from "node:os";
import { basename, dirname } from "node:path";
import { makeFolder, placed, readFile } from "./files.ts";

/** A process. `born`: when it began, as the system has it; the number of a process is used again some time. */
interface Owner {
  pid: number;
  host: string;
  born?: string | undefined;
}

/** When a process began, where the system says so; "" of one that has ended and only waits to be buried. */
function born(pid: number): string | undefined {
  try {
    // Behind the name, which may hold anything but ends with the last bracket: state, and 19 fields on the beginning.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!.split(" ");
    return /[ZX]/.test(fields[0]!) ? "" : fields[19];
  } catch {
    return undefined;
  }
}

/** Whether a process lives, so far as can be known: one of another machine may. */
function lives({ pid, host, born: begun }: Owner): boolean {
  if (host !== hostname()) return true;
  const now = born(pid);
  if (now !== undefined && begun !== undefined) return now === begun;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Who made a lock's file; nobody where it is gone, or holds something else. */
function ownerOf(file: string): Owner | undefined {
  try {
    const owner = JSON.parse(Buffer.from(readFile(file) ?? "").toString("utf8")) as Owner;
    return Number.isSafeInteger(owner.pid) && owner.pid > 0 && typeof owner.host === "string" ? owner : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return undefined;
    throw error;
  }
}

/** The numbers that there are, upwards. */
const numbers = (path: string): number[] =>
  readdirSync(dirname(path))
    .filter(name => name.startsWith(`${basename(path)}.`))
    .map(name => name.slice(basename(path).length + 1))
    .filter(end => /^[1-9]\d{0,14}$/.test(end))
    .map(Number)
    .sort((a, b) => a - b);

/** Gives a whole file a name that nobody has; whether it could. */
function claim(file: string, owner: Owner): boolean {
  try {
    placed(file, JSON.stringify(owner), (part, path) => {
      try {
        linkSync(part, path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "EEXIST") throw error;
        copyFileSync(part, path, constants.COPYFILE_EXCL); // a disk without links
      }
    });
    return true;
  } catch (error) {
    const { code, dest } = error as NodeJS.ErrnoException & { dest?: string };
    if (code === "EEXIST" && dest === file) return false;
    throw error;
  }
}

/** That another process has a lock, which is no fault of the disk. `host`: the machine it runs on. */
export interface Held extends Error {
  readonly host: string;
}
/** Whether a lock could not be taken because another process has it. */
export const isHeld = (error: unknown): error is Held => (error as Partial<Held>).host !== undefined;

/**
 * Takes a lock and returns what gives it back; it is given back when the process ends, too, and taken over from a
 * process that was killed. Where another process holds it, throws what can be done about that, as `Held`. The folder of
 * `path` is made.
 */
export function lock(path: string): () => void {
  const owner: Owner = { pid: process.pid, host: hostname(), born: born(process.pid) };
  makeFolder(dirname(path));
  for (;;) {
    const last = numbers(path).at(-1) ?? 0;
    const holder = last ? ownerOf(`${path}.${last}`) : undefined;
    if (holder && lives(holder)) {
      const there = holder.host === owner.host ? "" : ` of ${holder.host}; should that be gone, delete ${path}.${last}`;
      throw Object.assign(new Error(`in use by process ${holder.pid}${there}`), { host: holder.host });
    }
    const mine = `${path}.${last + 1}`;
    if (!claim(mine, owner)) continue;
    const release = (): void => {
      process.off("exit", release);
      rmSync(mine, { force: true });
    };
    const all = numbers(path);
    if (all.at(-1) === last + 1) {
      for (const number of all.slice(0, -1)) rmSync(`${path}.${number}`, { force: true });
      process.once("exit", release);
      return release;
    }
    release();
  }
}
