// What every test file uses. A suite runs itself, so none can be forgotten; the runner counts them all.
import type { Tape } from "farsight";
import { suite as uvu } from "uvu";
import { match } from "uvu/assert";

/** Registers and runs tests; each title is a sentence that is false when its test fails. */
export function suite(name: string, tests: Record<string, () => unknown>): void {
  const group = uvu(name);
  for (const [title, body] of Object.entries(tests))
    group(title, async () => {
      await body();
    });
  group.run();
}

/** Asserts |got - want| <= tolerance * max(floor, largest |want|) everywhere; the message names the worst place. */
export function close(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  tolerance: number,
  what = "values",
  floor = 0.01,
): void {
  if (got.length !== want.length) throw new Error(`${what}: ${got.length} numbers instead of ${want.length}`);
  let top = floor;
  let worst = -1;
  let gap = -1;
  for (let i = 0; i < want.length; i++) top = Math.max(top, Math.abs(want[i]!));
  for (let i = 0; i < want.length; i++) {
    const d = Object.is(got[i], want[i]) || got[i] === want[i] ? 0 : Math.abs(got[i]! - want[i]!);
    if (!(d <= gap)) {
      gap = d;
      worst = i;
      if (Number.isNaN(d)) break;
    }
  }
  if (gap <= tolerance * top || want.length === 0) return;
  const first = Array.from({ length: Math.min(5, want.length) }, (_, i) => `${got[i]} ~ ${want[i]}`).join(", ");
  const there = `got ${got[worst]}, want ${want[worst]}; allowed ${tolerance * top}`;
  throw new Error(`${what}: off by ${gap} at ${worst} of ${want.length} (${there}); first: ${first}`);
}

/** Runs `body` and returns the bytes that were claimed at once, at most, beside those before. */
export function peak({ engine }: Tape, body: () => unknown): number {
  const alloc = engine.alloc.bind(engine);
  const from = engine.mark;
  let top = from;
  engine.alloc = (...how) => {
    const at = alloc(...how);
    top = Math.max(top, engine.mark);
    return at;
  };
  body();
  delete (engine as { alloc?: unknown }).alloc;
  return top - from;
}

type Kind = new (...args: never[]) => Error;
/** Runs `body` and returns the message of what it throws, after checking its class. */
export function thrown(kind: Kind, body: () => unknown): string {
  try {
    body();
  } catch (error) {
    if (error instanceof kind && (error as Error).constructor === kind) return (error as Error).message;
    throw new Error(`threw ${String(error)} instead of a ${kind.name}`);
  }
  throw new Error(`threw nothing; a ${kind.name} was due`);
}
/** Checks that a call throws an error of this class, whose name and message hold `text`. */
export function fails(call: () => unknown, text: string | RegExp, kind: Kind = Error): void {
  match(`${kind.name}: ${thrown(kind, call)}`, text);
}
