// gpt2.ts: GPT-2 continues a text, written as it comes.
import { generate, gpt2, loadGpt2 } from "farsight";
import { resident, jsonOf, tapeOf, tokenizerOf, weightsOf, type Asked } from "./folder.ts";

/** Reads the folder, and writes the text and what follows it to stdout. */
export async function continued(asked: Asked): Promise<void> {
  const { folder, steps, temperature, seed } = asked;
  const config = jsonOf(folder, "config.json");
  const tokenizer = tokenizerOf(folder);
  const tape = tapeOf(asked);
  const model = gpt2(config);
  const params = model.params(tape, { frozen: true, drawn: false });
  const began = performance.now();
  loadGpt2(params, weightsOf(folder));
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  process.stderr.write(`${folder}: read in ${seconds} s; ${resident()} MiB resident\n`);

  const ids = tokenizer.encode(asked.text, { add_special_tokens: false }).ids;
  const end = config["eos_token_id"];
  const stop = typeof end === "number" && end < model.config.vocab ? [end] : [];
  const texts = generate(model, params, ids, { steps, temperature, seed, stop });
  // As it is: tidied, " ." would lose its space and what follows its place.
  const decoded = (): string => tokenizer.decode(ids, { clean_up_tokenization_spaces: false });
  process.stdout.write(asked.text);
  let written = decoded();
  let first = 0;
  let made = 0;
  for (const [token] of texts) {
    first ||= performance.now();
    made++;
    ids.push(token!);
    const text = decoded();
    if (text.endsWith("\ufffd")) continue; // half a character
    process.stdout.write(text.slice(written.length));
    written = text;
    await new Promise(setImmediate); // what is written goes out
  }
  process.stdout.write("\n");
  const rate = ((made - 1) / (performance.now() - first)) * 1000;
  process.stderr.write(`${made} tokens, ${rate.toFixed(1)} a second; ${resident()} MiB resident\n`);
}
