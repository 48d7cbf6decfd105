// ending.ts: how a program is asked to end: by a signal, by its parent or by its parent's end, by nobody reading on.
import { reason } from "./files.ts";

/** Calls `end` when the program that started this one says so or is no more, where that one opened a channel. */
function withParent(end: () => void): void {
  if (!process.send) return;
  process.on("message", message => {
    if (message === "stop") end();
  });
  process.on("disconnect", end);
  process.channel?.unref(); // listening keeps nobody from ending
  if (!process.connected) end();
}

type Stop = (why: string, code: number) => void;

/** Calls `stop` as `endings` does, but for signals, which end the program at once. */
export function desertions(stop: Stop): void {
  withParent(() => stop("what started this has ended", 130));
  for (const [name, stream] of Object.entries({ stdout: process.stdout, stderr: process.stderr }))
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE") stop(`nobody reads ${name}`, 130);
      else stop(`${name}: ${reason(error)}`, 1);
    });
}

/**
 * Calls `stop` when this program is asked to end, as often as it is: with what asks for it, in words, and the exit
 * status that it ought to have. Ctrl-C a second time ends at once, with 130. All of it needs the event loop to turn.
 */
export function endings(stop: Stop): void {
  let pressed = false;
  process.on("SIGINT", () => {
    if (pressed) process.exit(130);
    pressed = true;
    stop("Ctrl-C again to stop at once", 130);
  });
  for (const signal of ["SIGTERM", "SIGHUP"] as const) process.on(signal, () => stop(signal, 130));
  desertions(stop);
}
