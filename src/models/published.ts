// published.ts: what readers of published weights share: a config.json, checked, and what loading gives.
import { get, kindOf, oneOf, options, printed, refuse, type Check, type Chosen, type Wants } from "../check.ts";
import type { Activation } from "../nn.ts";

/**
 * What a parsed config.json says of a model of such a type: keys that the model depends on; null counts as left out,
 * and what is not in `wants` is passed over.
 */
export function said<const W extends Wants>(who: string, config: unknown, type: string, wants: W): Chosen<W> {
  if (kindOf(config) !== "Object") refuse(TypeError, who, `the config is ${printed(config)}`, "a parsed config.json");
  const all = { ...wants, model_type: [oneOf(type), type] } as const;
  return options(who, Object.fromEntries(Object.keys(all).map(name => [name, get(config, name) ?? undefined])), all);
}

/** Checks for the one value that this library has. */
export const only =
  (wants: unknown): Check<unknown> =>
  (who, name, value) =>
    value === wants ? value : refuse(RangeError, who, `${name} is ${printed(value)}`, `${printed(wants)}, or none`);

/** Hugging Face's names of what stands between an MLP's two matrices, and ours. */
const BENDS = { gelu: "geluErf", gelu_new: "gelu", gelu_pytorch_tanh: "gelu", relu: "relu" } as const;
/** Checks for one of those names, and gives ours. */
export const bend: Check<Activation> = (who, name, value) =>
  BENDS[oneOf(...(Object.keys(BENDS) as (keyof typeof BENDS)[]))(who, name, value)];
