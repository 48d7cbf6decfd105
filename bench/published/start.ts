// start.ts: `npm run bench -- gpt2 | bert`: published weights at work, with the tokenizer that lies beside them.
import { args, leave, type Spec } from "../cli.ts";
import { desertions } from "../ending.ts";
import { read } from "./bert.ts";
import { continued } from "./gpt2.ts";

const spec = {
  name: "npm run bench --",
  about:
    "Runs published weights out of a folder with config.json, tokenizer.json and model.safetensors.\n" +
    "  gpt2 FOLDER        continues a text with GPT-2\n" +
    "  bert FOLDER FILE   reads a text of any length with BERT and a memory, segment by segment",
  examples: [
    ['npm run bench -- gpt2 ../gpt2 --text "Once upon a time"', "50 tokens more"],
    ["npm run bench -- bert ../bert-base-cased book.txt --fast", "10 memory vectors, segments of 499 tokens"],
  ],
  positionals: {
    name: "model",
    help: "which model",
    choices: ["gpt2", "bert"],
    most: 1,
    then: { name: "path", help: "the folder, and of bert the text", most: 2 },
  },
  options: {
    text: { type: "string", default: "The meaning of life is", help: "gpt2: what is continued" },
    steps: { type: "number", default: 50, min: 1, integer: true, help: "gpt2: how many tokens more" },
    temperature: { type: "number", default: 0, min: 0, help: "gpt2: 0 takes the likeliest" },
    memory: { type: "number", default: 10, min: 1, integer: true, help: "bert: memory vectors" },
    segment: { type: "number", default: 499, min: 1, integer: true, help: "bert: tokens of a segment" },
    seed: { type: "number", default: 0, min: 0, integer: true, help: "of what is drawn" },
    fast: { type: "boolean", help: "the fast engine: fused multiply-adds, all cores" },
    threads: { type: "number", min: 1, max: 64, integer: true, help: "of the fast engine" },
  },
} as const satisfies Spec;

async function main(): Promise<void> {
  const { values, positionals } = args(spec);
  const [model, folder, file] = positionals;
  const wants = model === "bert" ? 2 : 1;
  const got = positionals.length - 1;
  if (got !== wants)
    leave(2, `${model} wants ${wants === 2 ? "a folder and a text" : "a folder"}, and got ${got} paths`);
  desertions((_, code) => process.exit(code));
  const asked = { ...values, folder: folder!, file };
  try {
    await (model === "bert" ? read(asked) : continued(asked));
  } catch (error) {
    leave(1, (error as Error).message);
  }
  process.stdout.write("", () => process.exit(0)); // threads of the fast engine are not waited for
}
void main();
