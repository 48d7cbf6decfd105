// names.ts: which tensor of a file stands for which parameter, where PyTorch wrote it.
import { refuse } from "./check.ts";
import type { Stored } from "./safetensors.ts";

// torch.compile, DataParallel, and the modules that nanoGPT, Hugging Face and BERT put a model in.
const WRAPPER = /^(?:_orig_mod|module|model|transformer|bert)\./;

/**
 * A file's tensors by the paths of `mine`. A prefix of a wrapper falls away where no parameter has it; a head that is
 * no parameter is the table it is tied to; metadata `{ path: name }` says that a parameter lies under another's name.
 * Tensors that stand for one parameter must hold the same numbers.
 */
export function matched(
  mine: { has(path: string): boolean },
  tensors: Map<string, Stored>,
  metadata: Record<string, string>,
): Map<string, Stored> {
  const pathOf = (name: string): string => {
    let path = name;
    for (let i = 0; i < 4 && !mine.has(path); i++) path = path.replace(WRAPPER, ""); // four: a hostile name has 10^7
    if (path === "lm_head.weight" && !mine.has(path)) path = "wte.weight";
    return mine.has(path) ? path : name;
  };
  const found = new Map<string, Stored>();
  for (const [name, stored] of tensors) {
    const path = pathOf(name);
    const { values } = found.get(path) ?? stored;
    if (!(stored.values as Float32Array).every((x, i) => Object.is(x, values[i])))
      refuse(RangeError, "loadParams", `two tensors of the file are tied to ${path} and differ`);
    found.set(path, stored);
  }
  for (const [alias, name] of Object.entries(metadata)) {
    const path = pathOf(alias);
    const stored = found.get(pathOf(name));
    if (stored && mine.has(path) && !found.has(path)) found.set(path, stored);
  }
  return found;
}
