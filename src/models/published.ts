// published.ts: what readers of published weights share: what a config.json says, as a transformer's options; names.
import { get, kindOf, oneOf, printed, refuse, type Check } from "../check.ts";
import type { Activation } from "../nn.ts";

/** Ours by name: what a configuration calls it, how it is checked, and what it is where that does not say. */
type Rows = { readonly [option: string]: readonly [name: string, check: Check<unknown>, otherwise: unknown] };
type Said<R extends Rows> = { [K in keyof R]: ReturnType<R[K][1]> | R[K][2] };

/**
 * What a parsed configuration says. null counts as left out. `fixed` are what no transformer here has otherwise, by
 * name; other names are passed over.
 */
export function said<const R extends Rows>(who: string, config: object, rows: R, fixed: object): Said<R> {
  if (kindOf(config) !== "Object") refuse(TypeError, who, `the config is ${printed(config)}`, "a parsed config.json");
  const own = (name: string): unknown => get(config, name) ?? undefined;
  for (const [name, wants] of Object.entries(fixed)) {
    const value = own(name);
    if (value !== undefined && value !== wants)
      refuse(RangeError, who, `${name} is ${printed(value)}`, `${printed(wants)}, or none`);
  }
  const of = ([name, check, otherwise]: Rows[string]): unknown => {
    const value = own(name);
    return value === undefined ? otherwise : check(who, name, value);
  };
  return Object.fromEntries(Object.entries(rows).map(([option, row]) => [option, of(row)])) as Said<R>;
}

/** Hugging Face's names of what stands between an MLP's two matrices, and ours. */
const BENDS = { gelu: "geluErf", gelu_new: "gelu", gelu_pytorch_tanh: "gelu", relu: "relu" } as const;
/** Checks for one of those names, and gives ours. */
export const bend: Check<Activation> = (who, name, value) =>
  BENDS[oneOf(...(Object.keys(BENDS) as (keyof typeof BENDS)[]))(who, name, value)];

/** The paths of GPT-2's parameters, and nanoGPT's. */
export const GPT =
  /^(?:(?:wte|wpe|ln_f|lm_head)|h\.\d+\.(?:ln_[12]|attn\.c_(?:attn|proj)|mlp\.c_(?:fc|proj)))\.(?:weight|bias)$/;
