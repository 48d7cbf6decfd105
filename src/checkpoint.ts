// checkpoint.ts: the state of a run as the bytes of a safetensors file, and back. Where the bytes go is the caller's
// business.
import { printed, safely, get, integer, refuse } from "./check.ts";
import { leaves, tapeOf, type Tree } from "./nn.ts";
import { optimizersOf, type Optimizer } from "./optim.ts";
import { random } from "./random.ts";
import { byPath, complain, filled, read, type TensorFiles } from "./names.ts";
import { serialize, view, type Bytes, type Storable } from "./safetensors.ts";
import type { Tensor } from "./tensor.ts";

/**
 * A run that can be put down and taken up: `save` and `load` hold its parameters, the state of its optimisers, the
 * generator and the step.
 */
export interface Run {
  /** What is trained, all on one tape. */
  params: Tree;
  /** What trains it: one or a list, as `fit` takes them; none unless given. */
  optimizer?: Optimizer | readonly Optimizer[];
  /** How many steps were made; 0 unless given. `load` does not read it. */
  step?: number;
}

/** Where the state of optimisers lies, in files from before they said so. */
const PREFIX = "optimizer";

function tensorsOf(who: string, { params, optimizer }: Run, prefix = PREFIX): Map<string, Tensor> {
  const states = optimizersOf(who, optimizer).map(o => o.state);
  const state: Tree = states.length === 1 ? states[0]! : states;
  return byPath(who, [...leaves(params), ...leaves(state, prefix)]);
}

/**
 * A run as a safetensors file. Parameters keep their dotted paths; what the optimiser remembers lies under
 * `optimizer.`, and of several under `optimizer.0.`, `optimizer.1.` and so on. Where parameters lie under `optimizer.`
 * it is `_optimizer.`; the metadata's `farsight.optimizer` says which. No parameter can be called `__metadata__`, nor
 * two alike, as "a.b" and b in a are.
 */
export function save(run: Run, metadata: Record<string, string> = {}): Bytes {
  const tape = tapeOf("save", get(run, "params") as Tree);
  const list = new Map<string, Storable>();
  const notes = safely(() => ({ ...metadata }), undefined);
  if (!notes) refuse(TypeError, "save", `metadata is ${printed(metadata)}`, "a plain object of strings");
  let prefix = PREFIX;
  while (leaves(run.params).some(([path]) => path.startsWith(`${prefix}.`))) prefix = `_${prefix}`;
  const step = integer("save", "step", run.step === undefined ? 0 : run.step);
  const updates = optimizersOf("save", run.optimizer).map(o => integer("save", "updates", get(o, "updates")));
  for (const [path, t] of tensorsOf("save", run, prefix)) list.set(path, { shape: t.shape, values: t.values() });
  return serialize(list, {
    format: "pt",
    ...notes,
    "farsight.step": String(step),
    "farsight.updates": updates.join(" ") || "0",
    "farsight.optimizer": prefix,
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
  const tape = tapeOf("load", get(run, "params") as Tree);
  const { tensors, metadata } = view(file);
  const mine = tensorsOf("load", run, metadata["farsight.optimizer"]);
  const extra = [...tensors.keys()].filter(name => !mine.has(name));
  complain("load", mine, tensors, extra, tape.dtype.toUpperCase());
  const number = (key: string, text = metadata[`farsight.${key}`]): number => {
    if (!/^\d+$/.test(text ?? "") || !Number.isSafeInteger(Number(text)))
      refuse(RangeError, "load", `the file's ${key} is ${text}`, "a file written by save");
    return Number(text);
  };
  const step = number("step");
  const updates = String(metadata["farsight.updates"])
    .split(" ")
    .map(text => number("updates", text));
  const seed = number("seed");
  const position = number("position");
  const optimizers = optimizersOf("load", run.optimizer);
  if (optimizers.length && optimizers.length !== updates.length)
    refuse(RangeError, "load", `the file is of ${updates.length} optimisers`, `one of ${optimizers.length}`);
  const generator = random(seed, position);
  // Throws where it cannot be set.
  for (const o of optimizers) o.updates = integer("load", "updates", get(o, "updates"));
  optimizers.forEach((o, i) => {
    o.updates = updates[i]!;
  });
  for (const [path, t] of mine) t.values().set(tensors.get(path)!.values as Float32Array);
  tape.random = generator;
  return { step, metadata };
}

/**
 * Copies parameters from a safetensors file of any float type, or from several (a PyTorch state dict, say). Throws, and
 * changes nothing, unless names and shapes agree. Read as well: names behind `module.`, `model.`, `transformer.`,
 * `bert.` or `_orig_mod.`; parameters that lie under another's name, where the metadata `{ path: name }` says so; a
 * tied head under `lm_head.weight`. The state of optimisers is passed over, and so are attention's masks.
 */
export function loadParams(params: Tree, file: TensorFiles): Record<string, string> {
  const who = "loadParams";
  const { tensors, metadata } = read(who, file);
  const mine = tensorsOf(who, { params });
  const prefix = metadata["farsight.optimizer"];
  for (const name of tensors.keys())
    if (name.startsWith(`${prefix ?? PREFIX}.`) && (prefix || !mine.has(name))) tensors.delete(name);
  return filled(who, mine, { tensors, metadata }, { tied: ["lm_head.weight", "wte.weight"] }).metadata;
}
