// bert.ts: BERT (Devlin et al. 2018) from the files of Hugging Face's transformers.
import { anything, flag, items, kindOf, printed, real, refuse, whole, type Check } from "../check.ts";
import { byPath, filled, read, type Filled, type TensorFiles } from "../names.ts";
import { leaves, type Tree } from "../nn.ts";
import { probability } from "../ops/elementwise.ts";
import { bend, said } from "./published.ts";
import { transformer, type Transformer } from "./transformer.ts";

/** Checks for labels by number, and gives how many there are. */
const counted: Check<number> = (who, name, value) =>
  kindOf(value) === "Object"
    ? Object.keys(value as object).length
    : refuse(TypeError, who, `${name} is ${printed(value)}`, "labels by number");

/**
 * BERT of the sizes of a parsed `config.json`, those of BERT base where it does not say. Where its `architectures` name
 * a model for sequence classification, the head is a pooler and a classifier of as many classes as `id2label` or
 * `num_labels` say, 2 unless they do; else it fills in masked words. Dropout is `hidden_dropout_prob`, 0 where that is
 * not there; attention's weights are never dropped. Refuses what a config may ask for and no transformer here has.
 *
 *     const inner = bert(JSON.parse(readFileSync("bert-base-cased/config.json", "utf8")));
 *     const model = rmtEncoder(inner, { memory: 10, segment: 499, classes: 2, pooler: true, cls: 101, sep: 102 });
 *     const params = model.params(tape, { drawn: false });
 *     const { fresh } = loadBert(params, readFileSync("bert-base-cased/model.safetensors")); // memory and classifier
 */
export function bert(config: object): Transformer {
  const size = whole(1);
  const options = {
    vocab: ["vocab_size", size, 30522],
    context: ["max_position_embeddings", size, 512],
    d: ["hidden_size", size, 768],
    layers: ["num_hidden_layers", size, 12],
    heads: ["num_attention_heads", size, 12],
    inner: ["intermediate_size", size, 3072],
    types: ["type_vocab_size", size, 2],
    activation: ["hidden_act", bend, "geluErf"],
    eps: ["layer_norm_eps", real("from 0"), 1e-12],
    dropout: ["hidden_dropout_prob", probability, 0],
    tied: ["tie_word_embeddings", flag, true],
    models: ["architectures", anything as Check<readonly string[]>, []],
    classes: ["num_labels", size, undefined],
    labels: ["id2label", counted, 2],
  } as const;
  const fixed = {
    model_type: "bert",
    position_embedding_type: "absolute",
    is_decoder: false,
    add_cross_attention: false,
  };
  const { models, classes, labels, tied, ...sizes } = said("bert", config, options, fixed);
  const sorts = items("bert", "architectures are", models).includes("BertForSequenceClassification");
  const head = sorts ? { outputs: classes ?? labels, pooler: true } : { tied, headLayer: true };
  return transformer({ ...sizes, ...head, norm: "post", embeddingNorm: true, causal: false, headBias: true });
}

/** Modules of a layer, and of the rest of a model, as Hugging Face calls them. */
const LAYER = /* @__PURE__ */ new Map([
  ["ln_1", ["attention.output.LayerNorm"]],
  ["ln_2", ["output.LayerNorm"]],
  ["attn.c_attn", ["query", "key", "value"].map(name => `attention.self.${name}`)],
  ["attn.c_proj", ["attention.output.dense"]],
  ["mlp.c_fc", ["intermediate.dense"]],
  ["mlp.c_proj", ["output.dense"]],
]);
const REST = /* @__PURE__ */ new Map([
  ["wte", "embeddings.word_embeddings"],
  ["wpe", "embeddings.position_embeddings"],
  ["wtt", "embeddings.token_type_embeddings"],
  ["ln_emb", "embeddings.LayerNorm"],
  ["pooler", "pooler.dense"],
  ["lm_head.pooler", "pooler.dense"],
  ["classifier", "classifier"],
  ["lm_head.dense", "cls.predictions.transform.dense"],
  ["lm_head.ln", "cls.predictions.transform.LayerNorm"],
]);
/** The head that fills in masked words, and the table that it is where it is tied. */
const TIED = ["cls.predictions.decoder.weight", "embeddings.word_embeddings.weight"] as const;

/** Where files have a parameter; a model's own head is a classifier, or fills in masked words. */
function namesOf(path: string, isClassifier: boolean): readonly string[] {
  const [, layer = "", module = "", end = ""] = /^(?:h\.(\d+)\.)?(.+)\.(weight|bias)$/.exec(path) ?? [];
  if (layer) return (LAYER.get(module) ?? []).map(name => `encoder.layer.${layer}.${name}.${end}`);
  if (module !== "lm_head") return REST.has(module) ? [`${REST.get(module)}.${end}`] : [];
  if (isClassifier) return [`classifier.${end}`];
  return [end === "weight" ? TIED[0] : "cls.predictions.bias"];
}

/**
 * Fills the parameters of a `bert`, or of what is built around one, from Hugging Face's files: with and without
 * prefixes, norms of gamma and beta too, the head stored or tied. Parameters of heads that the file has not stay as
 * they are, and so do those that BERT has not, like a memory; both are given as `fresh`. `unused` are the file's heads
 * that the model has not. Throws, and changes nothing, unless all the rest fits.
 */
export function loadBert(params: Tree, files: TensorFiles): Filled {
  const who = "loadBert";
  const mine = byPath(who, leaves(params));
  const isTied = mine.has("lm_head.dense.weight") && !mine.has("lm_head.weight");
  return filled(who, mine, read(who, files), {
    parts: path => namesOf(path, mine.has("lm_head.pooler.weight")),
    // norms of old files, and a second name of the head's bias
    spelled: name =>
      name
        .replace(/\.gamma$/, ".weight")
        .replace(/\.beta$/, ".bias")
        .replace("predictions.decoder.bias", "predictions.bias"),
    tied: isTied ? TIED : undefined,
    spare: /^(?:pooler|classifier|lm_head)\./,
    body: /^(?:embeddings|encoder)\./,
  });
}
