// generate.ts: decoding, token by token: with a cache, by running the whole text again for every token, and in PyTorch,
// in turns. All decode greedily from the same parameters; those whose text is another are not compared.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generate, leaves, serialize, slice, transformer, type Tape, type TransformerOptions } from "farsight";
import { deviation, digest, median, release, show, tapeOf, wanted, type Asked, type Row } from "./measure.ts";
import { pytorch, type Library } from "./peers/libraries.ts";
import type { Reply } from "./peers/serve.ts";

/** `steps` new tokens behind a prompt, of which the first is not timed; `again`: so many by running the whole text. */
interface Case {
  name: string;
  options: TransformerOptions & { vocab: number; d: number; layers: number; heads: number; context: number };
  prompt: number;
  steps: number;
  again: number;
}
const cases: readonly Case[] = [
  {
    name: "generate small",
    options: { vocab: 64, d: 128, layers: 4, heads: 4, context: 256 },
    ...{ prompt: 1, steps: 256, again: 255 },
  },
  {
    name: "generate gpt2",
    options: { vocab: 50257, d: 768, layers: 12, heads: 12, context: 1024, tied: true },
    ...{ prompt: 512, steps: 33, again: 1 },
  },
];

/** One who takes turns. `turn`: milliseconds a token. */
interface Runner {
  peer: string;
  turn(): number | Promise<number>;
  text: readonly number[];
  rounds: number[];
  /** It takes every so many rounds part. */
  every: number;
}

/** farsight with a cache and without, and the parameters for others. */
function ours(tape: Tape, c: Case): { runners: [Runner, Runner]; prompt: number[]; bytes(): Uint8Array } {
  const model = transformer(c.options);
  const params = model.params(tape, { frozen: true });
  const prompt = Array.from({ length: c.prompt }, (_, i) => (7 * i + 1) % c.options.vocab);
  const text: number[] = [];
  function cached(): number {
    const run = generate(model, params, prompt, { steps: c.steps });
    text.splice(0, text.length, run.next().value![0] as number);
    const from = performance.now();
    for (const [token] of run) text.push(token!);
    return (performance.now() - from) / (c.steps - 1);
  }
  function last(tokens: readonly number[]): number {
    return tape.scope(() =>
      tape.noGrad(() => {
        const t = tokens.length;
        const states = model.states(params, model.embed(params, tape.integers([1, t], tokens)));
        const logits = model.head(params, slice(states, t - 1, t, { axis: 1 })).values();
        let best = 0;
        for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i;
        return best;
      }),
    );
  }
  const rewritten: number[] = [];
  function recomputed(): number {
    rewritten.splice(0, rewritten.length, text[0]!);
    const from = performance.now();
    for (let i = 0; i < c.again; i++) rewritten.push(last([...prompt, ...rewritten]));
    return (performance.now() - from) / c.again;
  }
  cached();
  recomputed();
  return {
    runners: [
      { peer: "farsight", turn: cached, text, rounds: [], every: 1 },
      { peer: "farsight, recomputing", turn: recomputed, text: rewritten, rounds: [], every: 3 },
    ],
    prompt,
    bytes: () => serialize(new Map(leaves(params).map(([path, x]) => [path, { shape: x.shape, values: x.values() }]))),
  };
}

/** PyTorch's ways to do it; why there is none, if so. */
async function theirs(c: Case, prompt: number[], file: string, library: Library, asked: Asked) {
  const { d, layers, heads, vocab, context } = c.options;
  const shape = { d, layers, heads, vocab, inner: 4 * d, b: 1, t: context };
  // What pytorch.py alone understands, beside the work of serve.ts.
  const work = { kind: "generate", shape, prompt, steps: c.steps, threads: asked.threads, file };
  const runners: Runner[] = [];
  let refusal = library.missing;
  if (refusal) return { runners, refusal };
  for (const [key, way] of library.ways.entries()) {
    const order = { do: "prepare", key, case: { ...work, way }, warm: asked.quick ? 0 : 400 };
    const reply = await library.ask<Reply>(order);
    if (!("results" in reply)) {
      refusal = "error" in reply ? reply.error : "no answer";
      continue;
    }
    const turn = async (): Promise<number> => {
      const done = await library.ask<Reply>({ do: "run", key, times: 1 });
      if (!("ms" in done)) throw new Error(`PyTorch: ${"error" in done ? done.error : "no answer"}`);
      return (done.ms as number[])[0]! / (c.steps - 1);
    };
    const peer = `${library.label(asked.threads)}, ${way} attention`;
    runners.push({ peer, turn, text: reply.results.map(Number), rounds: [], every: 1 });
  }
  return { runners, refusal };
}

/** Turns: A B C A B C..., so that whatever else the machine does falls on all. */
async function turns(runners: readonly Runner[], { quick }: Asked): Promise<void> {
  for (let round = 0; round < (quick ? 2 : 15); round++)
    for (const r of runners) if (round % r.every === 0) r.rounds.push(await r.turn());
}

/** A row of one who took turns. */
function outcome(c: Case, r: Runner, first: Runner): Row {
  const { context, layers, d } = c.options;
  const checksum = digest(Int32Array.from(r.text));
  const about = { case: c.name, dtype: "f32" as const, size: `${layers} x ${d}, ${context}`, peer: r.peer, checksum };
  if (r.text.some((token, i) => token !== first.text[i]))
    return { ...about, median: 0, mad: 0, samples: 0, wrong: true, note: "not compared: its text is another" };
  const each = r.rounds.map((ms, i) => ms / first.rounds[i * r.every]!);
  return {
    ...about,
    median: median(r.rounds),
    mad: deviation(r.rounds),
    least: Math.min(...r.rounds),
    samples: r.rounds.length,
    ratio: median(each),
    ratios: [Math.min(...each), Math.max(...each)],
  };
}

/** Milliseconds a token, a row for each who decodes. */
export async function* generating(asked: Asked): AsyncGenerator<Row, string> {
  const list = cases.filter(c => wanted(asked, c.name) && !(asked.quick && c.options.d > 500));
  if (list.length === 0)
    throw new RangeError(`--case ${asked.words.join(" ")}: no case of that name\n  wants small or, not quick, gpt2`);
  const library = pytorch();
  const folder = mkdtempSync(join(tmpdir(), "farsight-generate-"));
  const file = join(folder, "parameters.safetensors");
  try {
    for (const [i, c] of list.entries()) {
      show.step("generate", c.name, { step: i, steps: list.length });
      const tape = await tapeOf("f32", asked);
      const { runners, prompt, bytes } = ours(tape, c);
      writeFileSync(file, bytes());
      const others = await theirs(c, prompt, file, library, asked);
      const all = [...runners, ...others.runners];
      await turns(all, asked);
      for (const r of all) yield outcome(c, r, runners[0]);
      if (others.runners.length === 0) {
        const none = { median: 0, mad: 0, samples: 0, checksum: "", size: "", peer: library.label(1) };
        yield { case: c.name, ...none, note: `cannot: ${others.refusal}` };
      }
      await library.end();
      release(tape);
      show.done("generate", c.name);
    }
  } finally {
    await library.end();
    rmSync(folder, { recursive: true, force: true });
  }
  return (
    "ms: of one new token, prompts not counted; small: all of a text of 256 places, gpt2: 32 tokens behind 512, " +
    "random parameters. Recomputing runs the whole text and the head of its last place. theirs / ours: medians of " +
    "rounds in turns. checksum: of the text; recomputing writes less of it under gpt2."
  );
}
