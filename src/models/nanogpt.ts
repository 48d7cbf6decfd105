// nanogpt.ts: the models of nanoGPT (github.com/karpathy/nanoGPT), there and back: `loadParams` reads what it names.
import { flag, refuse, whole } from "../check.ts";
import { save } from "../checkpoint.ts";
import { having, leaves } from "../nn.ts";
import { probability } from "../ops/elementwise.ts";
import type { Bytes } from "../safetensors.ts";
import { GPT, said } from "./published.ts";
import { transformer, type Transformer, type TransformerWeights } from "./transformer.ts";

/**
 * The model of a nanoGPT checkpoint's `model_args`, its defaults where they do not say; `bias: false` layers have no
 * biases, and its GELU is the exact one. `loadParams` fills it from the checkpoint's `model`, as a safetensors file.
 */
export function nanoGpt(args: object): Transformer {
  const size = whole(1);
  const options = {
    vocab: ["vocab_size", size, 50304],
    context: ["block_size", size, 1024],
    d: ["n_embd", size, 768],
    layers: ["n_layer", size, 12],
    heads: ["n_head", size, 12],
    dropout: ["dropout", probability, 0],
    bias: ["bias", flag, true],
  } as const;
  return transformer({ ...said("nanoGpt", args, options, {}), activation: "geluErf", tied: true });
}

const parts = /* @__PURE__ */ having("saveNanoGpt", "wte.weight", "wpe.weight");
/**
 * Parameters as the safetensors file of a state dict that nanoGPT's own model takes with `load_state_dict`: names
 * behind `transformer.`, and a tied head under both its names. Throws where there are parameters that it has not, like
 * a memory.
 */
export function saveNanoGpt(params: TransformerWeights, metadata: Record<string, string> = {}): Bytes {
  parts(params);
  const [other] = leaves(params).filter(([path]) => !GPT.test(path) || path === "lm_head.bias");
  if (other) refuse(RangeError, "saveNanoGpt", `nanoGPT has no ${other[0]}`);
  const { lm_head, ...transformer } = params;
  const head = { ...lm_head, weight: lm_head?.weight ?? params.wte.weight };
  return save({ params: { transformer, lm_head: head } }, metadata);
}
