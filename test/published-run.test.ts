// The programs that run published weights, as a person does: small folders as the hub has them, right ones and wrong.
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Tape, bert, generate, gpt2, loadBert, loadGpt2, parse, rmtEncoder, serialize } from "farsight";
import * as assert from "uvu/assert";
import { suite } from "./check.ts";
import { noStack, run, scratch } from "./program.ts";

const golden = join(process.cwd(), "test/golden/hf");
const bytes = (name: string): Uint8Array => readFileSync(join(golden, `${name}.weights.safetensors`));
const configs = JSON.parse(readFileSync(join(golden, "index.json"), "utf8")) as Record<string, { config: object }>;
const path = scratch("published");

/** Words of letters; what no word is, is [UNK]. */
const marks = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"];
const letters = [..."abcdefghijklmnopqrstuvwxyz"];
const pieces = [...marks, ...letters, ...letters.map(x => `##${x}`), ..."0123456789."];
const wordPiece = {
  added_tokens: marks.map((content, id) => ({ id, content, special: true })),
  normalizer: null,
  pre_tokenizer: { type: "BertPreTokenizer" },
  post_processor: null,
  decoder: { type: "WordPiece", prefix: "##", cleanup: true },
  model: {
    type: "WordPiece",
    unk_token: "[UNK]",
    continuing_subword_prefix: "##",
    max_input_chars_per_word: 100,
    vocab: Object.fromEntries(pieces.map((piece, i) => [piece, i])),
  },
};
/** A byte each, of those that are letters, digits and the space, which is Ġ. */
const bytePairs = {
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true },
  post_processor: null,
  decoder: { type: "ByteLevel" },
  model: {
    type: "BPE",
    vocab: Object.fromEntries(
      [..."Ġ.,!?-:;'", ...letters, ...Array.from("ABCDEFGHIJKLMNOPQRSTUVWXYZ")].map((x, i) => [x, i]),
    ),
    merges: [],
  },
};

/** A folder as the hub has it. */
function folder(name: string, config: object, tokenizer: object, files: Record<string, Uint8Array | object>): string {
  const at = path(name);
  mkdirSync(at);
  const all = { "config.json": config, "tokenizer.json": tokenizer, ...files };
  for (const [file, what] of Object.entries(all))
    writeFileSync(join(at, file), what instanceof Uint8Array ? what : JSON.stringify(what));
  return at;
}
const gptConfig = { ...configs["gpt2"]!.config, model_type: "gpt2", eos_token_id: 60, resid_pdrop: 0.1 };
const gptFolder = folder("gpt2", gptConfig, bytePairs, { "model.safetensors": bytes("gpt2.old-names") });

/** What the library itself makes of a prompt. */
function wanted(prompt: string, steps: number, drawn: { temperature?: number; seed?: number } = {}): string {
  const vocab = bytePairs.model.vocab;
  const tape = new Tape("f32");
  const model = gpt2(gptConfig);
  const params = model.params(tape, { drawn: false });
  loadGpt2(params, bytes("gpt2"));
  const ids = [...prompt].map(x => vocab[x === " " ? "Ġ" : x]!);
  const names = Object.keys(vocab);
  const texts = generate(model, params, ids, { ...drawn, steps, stop: [60] });
  let text = prompt;
  for (const [id] of texts) text += (names[id!] ?? "").replace("Ġ", " ");
  return text;
}

suite("npm run bench -- gpt2", {
  async "writes the text and what the library says follows, and what it took to stderr"() {
    const { code, out, err } = await run("../bench/bench", ["gpt2", gptFolder, "--text", "hello my", "--steps", "9"]);
    assert.is(code, 0, err);
    assert.is(out, `${wanted("hello my", 9)}\n`);
    assert.match(err, /read in [\d.]+ s; \d+ MiB resident\n\d tokens, [\d.]+ a second; \d+ MiB resident\n$/);
  },
  async "writes spaces before points as they are"() {
    const drawn = { temperature: 3, seed: 20 };
    const text = wanted("hello my", 20, drawn);
    assert.match(text, / [.!?,]./);
    const words = ["gpt2", gptFolder, "--text", "hello my", "--steps", "20", "--temperature", "3", "--seed", "20"];
    const { code, out, err } = await run("../bench/bench", words);
    assert.is(code, 0, err);
    assert.is(out, `${text}\n`);
  },
  async "reads weights in several files, by their index"() {
    const list = [...parse(bytes("gpt2")).tensors];
    const names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] as const;
    const weight_map = Object.fromEntries(list.map(([name], i) => [name, names[i < 9 ? 0 : 1]]));
    const at = folder("shards", gptConfig, bytePairs, {
      "model.safetensors.index.json": { metadata: {}, weight_map },
      [names[0]]: serialize(list.slice(0, 9)),
      [names[1]]: serialize(list.slice(9)),
    });
    const { code, out, err } = await run("../bench/bench", ["gpt2", at, "--text", "hello my", "--steps", "9"]);
    assert.is(code, 0, err);
    assert.is(out, `${wanted("hello my", 9)}\n`);
  },
  async "says in a line what is wrong"() {
    const pointer = new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
    const lfs = folder("lfs", gptConfig, bytePairs, { "model.safetensors": pointer });
    const empty = path("empty");
    mkdirSync(empty);
    const bad = path("bad");
    mkdirSync(bad);
    copyFileSync(join(gptFolder, "tokenizer.json"), join(bad, "tokenizer.json"));
    writeFileSync(join(bad, "config.json"), "{");
    for (const [words, status, says] of [
      [["gpt2"], 2, /^gpt2 wants a folder, and got 0 paths\n$/],
      [["bert", gptFolder], 2, /^bert wants a folder and a text, and got 1 paths\n$/],
      [["gpt2", empty], 1, /config\.json: .*\n$/],
      [["gpt2", bad], 1, /config\.json is no JSON: .*\n$/],
      [["gpt2", lfs], 1, /^safetensors: the file is a Git LFS pointer to .*\n {2}wants a safetensors file\n$/],
      [["gpt2", gptFolder, "--steps", "99"], 1, /steps do not fit in 32 places/],
      [["gpt2", gptFolder, "--nonsense"], 2, /^unknown option --nonsense/],
    ] as const) {
      const { code, out, err } = await run("../bench/bench", words);
      assert.is(code, status, err);
      assert.is(out, "", err);
      assert.match(err, says);
      noStack(err);
    }
  },
});

suite("npm run bench -- bert", {
  async "reads a text segment by segment, with a row at every power of two and at the end"() {
    const config = { ...configs["bert"]!.config, model_type: "bert", hidden_dropout_prob: 0.1 };
    const at = folder("bert", config, wordPiece, { "model.safetensors": withoutClassifier() });
    const text = "ab c de fgh\n".repeat(12);
    const file = path("book.txt");
    writeFileSync(file, text);
    const words = ["bert", at, file, "--memory", "3", "--segment", "9", "--seed", "4"];
    const { code, out, err } = await run("../bench/bench", words);
    assert.is(code, 0, err);
    assert.match(err, /not in it, and untrained: memory, classifier\.weight, classifier\.bias\n/);
    const [head, ...rows] = out.trimEnd().split("\n");
    assert.match(head!, /^segments +tokens +seconds +tokens\/s +MiB +logits of the class$/);
    const cells = rows.map(row => row.trim().split(/\s+/));
    assert.equal(
      cells.map(row => row.slice(0, 2)),
      [
        ["1", "6"],
        ["2", "15"],
        ["4", "33"],
        ["8", "69"],
        ["11", "96"],
      ],
    );
    const tape = new Tape("f32");
    const model = rmtEncoder(bert(config), { memory: 3, segment: 9, classes: 2, pooler: true });
    const params = model.params(tape, { seed: 4, drawn: false });
    const idsOf = (word: string) => [...word].map((x, i) => pieces.indexOf((i ? "##" : "") + x));
    const line = "ab c de fgh".split(" ").flatMap(idsOf);
    const read = loadBert(params, withoutClassifier());
    assert.equal(read.fresh, ["memory", "classifier.weight", "classifier.bias"]);
    const { logits } = model.logits(params, [new Array<number[]>(12).fill(line).flat()]);
    assert.equal(
      cells.at(-1)!.slice(-2),
      Array.from(logits.at(-1)!.values(), x => x.toFixed(4)),
    );
  },
  async "takes the classifier of a folder that has one, of as many classes"() {
    const { tensors } = parse(bytes("bert"));
    const classes = tensors.get("classifier.bias")!.shape[0]!;
    assert.is.not(classes, 2);
    const own = { model_type: "bert", architectures: ["BertForSequenceClassification"], num_labels: classes };
    const config = { ...configs["bert"]!.config, ...own };
    const at = folder("classes", config, wordPiece, { "model.safetensors": bytes("bert") });
    const file = path("words.txt");
    writeFileSync(file, "ab c de fgh\n");
    const { code, out, err } = await run("../bench/bench", ["bert", at, file, "--memory", "3", "--segment", "9"]);
    assert.is(code, 0, err);
    assert.match(err, /not in it, and untrained: memory\n/);
    assert.is(out.trimEnd().split("\n").at(-1)!.trim().split(/\s+/).length, 5 + classes);
  },
});
/** BERT's file with no classifier, as the published ones are. */
function withoutClassifier(): Uint8Array {
  return serialize([...parse(bytes("bert")).tensors].filter(([name]) => !name.startsWith("classifier")));
}
