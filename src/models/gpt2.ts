// gpt2.ts: GPT-2 (Radford et al. 2019) from the files of Hugging Face's transformers.
import { flag, real, whole } from "../check.ts";
import { byPath, filled, read, type Filled, type TensorFiles } from "../names.ts";
import { leaves, type Tree } from "../nn.ts";
import { probability } from "../ops/elementwise.ts";
import { bend, GPT, said } from "./published.ts";
import { transformer, type Transformer } from "./transformer.ts";

/**
 * GPT-2 of the sizes of a parsed `config.json`, those of the 124 million parameters where it does not say. Dropout is
 * its `resid_pdrop`, 0 where that is not there; attention's weights are never dropped. Refuses what a config may ask
 * for and no transformer here has.
 *
 *     const model = gpt2(JSON.parse(readFileSync("gpt2/config.json", "utf8")));
 *     const params = model.params(tape, { frozen: true, drawn: false });
 *     loadGpt2(params, readFileSync("gpt2/model.safetensors"));
 */
export function gpt2(config: object): Transformer {
  const size = whole(1);
  const options = {
    vocab: ["vocab_size", size, 50257],
    context: ["n_positions", size, 1024],
    d: ["n_embd", size, 768],
    layers: ["n_layer", size, 12],
    heads: ["n_head", size, 12],
    inner: ["n_inner", size, undefined],
    activation: ["activation_function", bend, "gelu"],
    eps: ["layer_norm_epsilon", real("from 0"), 1e-5],
    dropout: ["resid_pdrop", probability, 0],
    tied: ["tie_word_embeddings", flag, true],
  } as const;
  const fixed = {
    model_type: "gpt2",
    scale_attn_weights: true,
    scale_attn_by_inverse_layer_idx: false,
    add_cross_attention: false,
  };
  return transformer(said("gpt2", config, options, fixed));
}

/**
 * Fills the parameters of a `gpt2`, or of what is built around one, from Hugging Face's files: with and without
 * prefixes, linear weights [in, out], masks passed over, the head stored or tied. Parameters that GPT-2 has not, like a
 * memory, stay as they are and are given as `fresh`; `unused` are the heads of other tasks in the file. Throws, and
 * changes nothing, unless all the rest fits.
 */
export function loadGpt2(params: Tree, files: TensorFiles): Filled {
  const who = "loadGpt2";
  return filled(who, byPath(who, leaves(params)), read(who, files), {
    parts: path => (GPT.test(path) ? [path] : []),
    turned: /^h\.\d+\.(?:attn|mlp)\.\w+\.weight$/,
    tied: ["lm_head.weight", "wte.weight"],
    body: /^(?:wte|wpe|h|ln_f|lm_head)\./,
  });
}
