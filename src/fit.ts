// fit.ts: the training loop, and the state of a run as bytes. Nothing here reads a clock, a file or a screen.
import { known } from "./check.ts";
import { leaves, type Tree } from "./nn.ts";
import { clipNorm, clipValue, type Optimizer, type Schedule } from "./optim.ts";
import { random, whole } from "./random.ts";
import { label, parse, serialize, type Storable, type Stored } from "./safetensors.ts";
import type { Tape } from "./tape.ts";
import type { Tensor } from "./tensor.ts";

/**
 * What `fit` needs. `from`: how many steps were made before. `clip`: `norm` over all gradients together, or `value` for
 * each number.
 */
export interface FitOptions {
  params: Tree;
  optimizer: Optimizer;
  /** The loss of step `step`; runs in a scope of its own. */
  loss: (step: number) => Tensor;
  steps: number;
  from?: number;
  schedule?: Schedule;
  clip?: { norm?: number; value?: number };
}
/**
 * What happened in a step, counted from 1. `norm` is the gradient's before clipping, where clipping by norm was asked
 * for.
 */
export interface Metrics {
  step: number;
  loss: number;
  lr: number | undefined;
  norm: number | undefined;
}

/**
 * Trains step by step and yields what happened. Stop by leaving the loop: the state is then that of the last step
 * yielded. A loss that is not finite throws before anything is changed.
 *
 * for await (const { step, loss } of fit({ params, optimizer, loss: () => model.loss(params, x, y), steps: 100 })) ...
 */
export async function* fit({
  params,
  optimizer,
  loss,
  steps,
  from = 0,
  schedule,
  clip = {},
}: FitOptions): AsyncGenerator<Metrics, void, void> {
  const tape = leaves(params)[0]?.[1].tape;
  if (!tape) throw new RangeError("fit: no parameters");
  if (typeof loss !== "function")
    throw new TypeError(`fit: loss is ${String(loss)}\n  wants a function from the step to a tensor`);
  if (typeof optimizer?.step !== "function")
    throw new TypeError(`fit: optimizer is ${String(optimizer)}\n  wants what sgd, adam or adamw returned`);
  whole("fit", "steps", steps);
  whole("fit", "from", from);
  known("fit, clip", clip, "norm", "value");
  for (let step = from; step < steps; step++) {
    const value = tape.step(() => loss(step));
    const lr = schedule?.(step);
    const norm = clip.norm === undefined ? undefined : clipNorm(params, clip.norm);
    if (norm !== undefined && !Number.isFinite(norm))
      throw new RangeError(`fit: the gradient's norm is ${norm} at step ${step + 1}; parameters are as before`);
    if (clip.value !== undefined) clipValue(params, clip.value);
    optimizer.step(lr);
    yield { step: step + 1, loss: value, lr, norm };
  }
}

/**
 * A run that can be put down and taken up: `save` and `load` hold its parameters, optimiser state, generator and step.
 */
export interface Run {
  params: Tree;
  optimizer?: Optimizer;
  step?: number;
}

const tapeOf = (who: string, tree: Tree): Tape => {
  const tape = leaves(tree)[0]?.[1].tape;
  if (!tape) throw new RangeError(`${who}: no parameters`);
  return tape;
};
function tensorsOf(who: string, { params, optimizer }: Run): Map<string, Tensor> {
  const map = new Map<string, Tensor>();
  for (const [path, t] of [
    ...leaves(params),
    ...(optimizer ? leaves(optimizer.state).map(([path, t]): [string, Tensor] => [`optimizer.${path}`, t]) : []),
  ]) {
    if (map.has(path)) throw new RangeError(`${who}: two tensors are called ${path}`);
    t.alive(who);
    map.set(path, t);
  }
  return map;
}

/**
 * A run as a safetensors file. Parameters keep their dotted paths; what the optimiser remembers lies under
 * `optimizer.`.
 */
export function save(run: Run, metadata: Record<string, string> = {}): Uint8Array {
  const tape = tapeOf("save", run.params);
  const list = new Map<string, Storable>();
  whole("save", "step", run.step ?? 0);
  for (const [path, t] of tensorsOf("save", run)) list.set(path, { shape: t.shape, values: t.values() });
  return serialize(list, {
    format: "pt",
    ...metadata,
    "farsight.step": String(run.step ?? 0),
    "farsight.updates": String(run.optimizer?.updates ?? 0),
    "farsight.seed": String(tape.random.seed),
    "farsight.position": String(tape.random.position),
  });
}

/**
 * Puts a saved run back: parameters, optimiser state and the tape's generator, so that training goes on with the same
 * bits. Returns the step and the metadata. Throws, and changes nothing, unless names, shapes and number types all
 * agree.
 */
export function load(run: Run, file: Uint8Array): { step: number; metadata: Record<string, string> } {
  const tape = tapeOf("load", run.params);
  const { tensors, metadata } = parse(file);
  const mine = tensorsOf("load", run);
  const dtype = tape.dtype === "f32" ? "F32" : "F64";
  complain("load", mine, tensors, s => (s.dtype !== dtype ? `is ${s.dtype}, wants ${dtype}` : undefined));
  const number = (key: string): number => {
    const text = metadata[`farsight.${key}`] ?? "";
    const value = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(value))
      throw new RangeError(`load: the file's ${key} is ${metadata[`farsight.${key}`]}\n  wants a file written by save`);
    return value;
  };
  const [step, updates, seed, position] = ["step", "updates", "seed", "position"].map(number) as [
    number,
    number,
    number,
    number,
  ];
  for (const [path, t] of mine) t.values().set(tensors.get(path)!.values as Float32Array);
  if (run.optimizer) run.optimizer.updates = updates;
  tape.random = random(seed, position);
  return { step, metadata };
}

/**
 * Copies parameters from a safetensors file of any float type (a PyTorch state dict, say). Throws, and changes nothing,
 * unless names and shapes agree; names under `optimizer.` are passed over.
 */
export function loadParams(params: Tree, file: Uint8Array): Record<string, string> {
  const { tensors, metadata } = parse(file);
  const mine = tensorsOf("loadParams", { params });
  for (const name of [...tensors.keys()]) if (name.startsWith("optimizer.")) tensors.delete(name);
  complain("loadParams", mine, tensors, s => (s.dtype.startsWith("I") ? `is ${s.dtype}, wants floats` : undefined));
  for (const [path, t] of mine) t.values().set(tensors.get(path)!.values as Float32Array);
  return metadata;
}

/** Throws one error that lists every name that is missing, too many, or does not fit. */
function complain(
  who: string,
  mine: Map<string, Tensor>,
  theirs: ReturnType<typeof parse>["tensors"],
  other: (s: Stored) => string | undefined,
): void {
  const missing = [...mine.keys()].filter(path => !theirs.has(path));
  const extra = [...theirs.keys()].filter(path => !mine.has(path)).map(label);
  const wrong = [...mine].flatMap(([path, t]) => {
    const s = theirs.get(path);
    if (!s) return [];
    if (s.shape.length !== t.shape.length || s.shape.some((n, i) => n !== t.shape[i]))
      return [`${path} is [${s.shape.join(" ")}], wants [${t.shape.join(" ")}]`];
    const why = other(s);
    return why ? [`${path} ${why}`] : [];
  });
  const some = (label: string, list: string[]): string =>
    list.length
      ? `\n  ${label}: ${list.slice(0, 8).join(", ")}${list.length > 8 ? ` and ${list.length - 8} more` : ""}`
      : "";
  if (missing.length + extra.length + wrong.length)
    throw new RangeError(
      `${who}: the file does not fit; nothing was changed${some("missing", missing)}${some("unexpected", extra)}${some("mismatched", wrong)}`,
    );
}
