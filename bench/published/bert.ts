// bert.ts: BERT with memory reads a text of any length, segment by segment: [CLS] memory [SEP] tokens [SEP]
// (Bulatov et al. 2023, arXiv 2304.11062).
import { bert, loadBert, rmtEncoder } from "farsight";
import { progress } from "../progress.ts";
import { aligned } from "../speed/measure.ts";
import { bytesOf, jsonOf, resident, tapeOf, tokenizerOf, weightsOf, type Asked } from "./folder.ts";

/** The tokens of a text, a piece of it at a time, since tokenizers take long for long texts. */
function idsOf(tokenizer: ReturnType<typeof tokenizerOf>, text: string): number[] {
  const ids: number[] = [];
  for (const piece of text.match(/[^\n]*\n?/g) ?? [])
    for (const id of tokenizer.encode(piece, { add_special_tokens: false }).ids) ids.push(id);
  return ids;
}

/** Reads the folder, then the file: a row at every power of two of segments shows what it takes. */
export async function read(asked: Asked): Promise<void> {
  const { folder, memory, segment, seed } = asked;
  const tokenizer = tokenizerOf(folder);
  const [cls, sep, pad] = ["[CLS]", "[SEP]", "[PAD]"].map(mark => {
    const id = tokenizer.token_to_id(mark);
    if (id === undefined) throw new Error(`${folder}/tokenizer.json has no ${mark}`);
    return id;
  });
  const inner = bert(jsonOf(folder, "config.json"));
  const { pooler, outputs } = inner.config;
  const classes = pooler ? outputs : 2; // those of a classifier that the folder has
  const model = rmtEncoder(inner, { memory, segment, classes, pooler: true, cls, sep, pad });
  const ids = idsOf(tokenizer, new TextDecoder().decode(bytesOf(asked.file!)));
  const segments = model.segments([ids]);
  const tape = tapeOf(asked);
  const params = model.params(tape, { seed, frozen: true, drawn: false });
  const { fresh } = loadBert(params, weightsOf(folder));
  process.stderr.write(`${folder}: read; not in it, and untrained: ${fresh.join(", ")}\n`);

  const show = progress();
  const began = performance.now();
  const rows: string[][] = [];
  let tokens = 0;
  let step = 0;
  for (const { values } of model.stream(params, segments)) {
    tokens += segments[step]![0]!.length;
    step++;
    const seconds = (performance.now() - began) / 1000;
    show.step("bert", "read", { step, steps: segments.length, rate: tokens / seconds });
    if ((step & (step - 1)) === 0 || step === segments.length) {
      const logits = Array.from(values, x => x.toFixed(4)).join(" ");
      rows.push([`${step}`, `${tokens}`, seconds.toFixed(1), (tokens / seconds).toFixed(0), `${resident()}`, logits]);
    }
    await new Promise(setImmediate);
  }
  show.done("bert", "read");
  const head = ["segments", "tokens", "seconds", "tokens/s", "MiB", "logits of the class"];
  process.stdout.write(`${aligned(head, rows)}\n`);
}
