// backward.ts: runs recorded operations backwards. Before each it settles, for every input in order, whether that
// input's gradient is written or added to; the operation reads that as a fact.
import { callable, product, refuse, shapeOf, synchronous } from "./check.ts";
import type { Engine, Kernels } from "./engine.ts";
import { spare, type Spare } from "./recycle.ts";
import type { Region, Tensor } from "./tensor.ts";

/** @internal Where the gradients of an operation's inputs lie, in the order of the inputs. */
export interface Gradients {
  /** Addresses; 0 where nobody asked, or where no gradient that arrived can reach. */
  readonly at: readonly number[];
  /** Whether something lies there to add to. Where not, every number is to be written. */
  readonly adds: readonly boolean[];
}

/** @internal What an operation leaves on the tape: how to run it backwards, and what to print. */
export interface Entry {
  readonly name: string;
  readonly inputs: readonly (Tensor | undefined)[];
  readonly outputs: readonly Tensor[];
  /** Addresses between which the forward pass claimed memory that nobody reads once this ran backwards. */
  readonly claimed?: readonly [from: number, to: number] | undefined;
  /** Pairs between which no gradient flows. */
  readonly stops?: readonly (readonly [output: number, input: number])[] | undefined;
  back(kernels: Kernels, gradients: Gradients): void;
}

/** Called when an operation starts; what it returns, if anything, is called when that is done. */
export type Trace = (event: { name: string; phase: "forward" | "backward"; bytes: number }) => (() => void) | void;

/** @internal Calls a hook; gives what to call at the end, if anything. */
export function traced(
  trace: Trace,
  name: string,
  phase: "forward" | "backward",
  shapes: readonly (readonly number[])[],
  width: number,
) {
  const bytes = shapes.reduce((n, shape) => n + product(shape) * width, 0);
  const done = synchronous("trace", trace({ name, phase, bytes }));
  if (done) callable("trace", "what the hook returned", done);
  return done && (() => synchronous("trace", done()));
}

/** @internal What a backward pass needs to know of its tape. */
export interface Pass {
  readonly engine: Engine;
  /** The record; entries are taken off before they run backwards. */
  readonly entries: Entry[];
  /** The innermost region: only its tensors are given gradients. */
  readonly region: Region;
  readonly trace: Trace | undefined;
  /** Throws at a number that is not finite, in check mode. */
  verify?(who: string, x: Tensor, address: number, inputs: readonly (Tensor | undefined)[]): void;
}

/**
 * @internal Runs the entries from the last down to `from` backwards. With `recycle` gradients are put where results and
 * gradients lay that are of no more use: half the memory, and what is written next lies in the cache more often.
 * Without, the record is as it was if something throws.
 */
export function replay(pass: Pass, from: number, recycle: boolean): void {
  const { entries } = pass;
  const before = recycle ? [] : entries.slice(from);
  try {
    run(pass, from, recycle);
  } catch (error) {
    if (!recycle) entries.length = from;
    for (const entry of before) {
      entries.push(entry);
      for (const y of entry.outputs) {
        y.at = 0;
        y.spent = false;
      }
    }
    throw error;
  }
}

function run(pass: Pass, from: number, recycle: boolean): void {
  const { engine, entries } = pass;
  const unused = spare();
  const at: number[] = [];
  const adds: boolean[] = [];
  while (entries.length > from) {
    const entry = entries.pop()!;
    for (const y of entry.outputs) y.spent = true;
    if (!entry.outputs.some(y => y.grad)) continue; // nothing that the loss depends on
    refuseUnreachable(entry, pass.region);
    settle(entry, engine, unused, at, adds);
    const shapes = pass.trace ? entry.outputs.map(y => y.shape) : [];
    const done = pass.trace && traced(pass.trace, entry.name, "backward", shapes, engine.width);
    entry.back(engine.kernels, { at, adds });
    done?.();
    if (pass.verify) {
      const who = `${entry.name}, backward (op ${entries.length})`;
      entry.inputs.forEach((x, i) => at[i] && pass.verify!(who, x!, at[i]!, entry.outputs));
    }
    if (recycle) release(entry, engine, unused);
  }
}

/** Throws where a gradient would be lost: its tensor's record ran already, or the tensor is not of this region. */
function refuseUnreachable({ name, inputs }: Entry, region: Region): void {
  for (const x of inputs) {
    if (!x?.wants) continue;
    if (x.root.spent) {
      const why = `${name} read ${shapeOf(x)}, through which backward ran already`;
      refuse(Error, "backward", `${why}\n  add the losses up and call backward once, or read it through stopGradient`);
    }
    if (!x.grad && x.root.region !== region) {
      const why = `${name} read ${shapeOf(x)} from outside of this scope`;
      refuse(Error, "backward", `${why}\n  call backward in the scope where it was made`);
    }
  }
}

/** Claims the gradients that an entry's inputs lack, and notes which of them hold something to add to. */
function settle(entry: Entry, engine: Engine, unused: Spare, at: number[], adds: boolean[]): void {
  const { inputs } = entry;
  at.length = adds.length = inputs.length;
  for (let i = 0; i < inputs.length; i++) {
    const x = inputs[i];
    at[i] = 0;
    adds[i] = false;
    if (!x?.wants || !reached(entry, i)) continue;
    const { root } = x;
    adds[i] = root.at !== 0 && !root.blank;
    if (!root.at) root.at = unused.take(root.size * engine.width) || engine.alloc(root.size);
    at[i] = root.at;
    root.blank = false;
  }
}

/** Whether a gradient that arrived at an output flows on to input `i`. */
function reached({ outputs, stops }: Entry, i: number): boolean {
  if (!stops) return true;
  return outputs.some((y, o) => y.grad && !stops.some(([output, input]) => output === o && input === i));
}

/** Gives back what nobody reads once an entry ran backwards. */
function release({ outputs, claimed }: Entry, engine: Engine, unused: Spare): void {
  for (const y of outputs) if (y.grad) unused.give(y.grad, y.grad + Math.ceil((y.size * engine.width) / 16) * 16);
  if (claimed) unused.give(claimed[0], claimed[1]);
}
