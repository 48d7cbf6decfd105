// remember.ts: the memorize task of RMT (2304.11062, figures 1 and 5), small: a fact at the start of the text, its
// question at the end, a curriculum of 1 to 3 segments. The arm without memory is the same transformer on the last
// segment, all that it can see.
import { adamw, memorize, random, rmt, schedule, transformer } from "farsight";
import type { Entry } from "./finding.ts";
import { best, tapeOf, type Choice, type Trial } from "./trial.ts";

export const arms = ["rmt", "none"] as const;
/**
 * Figure 5 (trained on 3 segments) of 499 tokens, BERT-base: accuracy by segments. Figure 1, for 64, was trained on 7.
 */
const published = { "1": 1, "2": 1, "3": 1, "4": 1, "6": 0.976, "8": 0.938 };

/** One arm: "rmt", or "none" for no memory. */
export function remember(arm: string, choice: Choice): Trial {
  const { seed, steps: wanted, quick, text } = choice;
  const segment = 16;
  const memory = 4;
  const d = 64;
  const layers = 2;
  const heads = 4;
  const b = 32;
  const trained = 3;
  const lr = 1e-3;
  const steps = wanted ?? (quick ? 90 : 800);
  const stages = [0.2, 0.5, 1]; // 1, 2, then 3 segments up to these shares of the steps
  const task = memorize({ segment, ...(text === undefined ? {} : { text }) });
  const tape = tapeOf(choice);
  const model = transformer({
    vocab: task.size,
    d,
    layers,
    heads,
    context: segment + 2 * memory,
    position: "absolute",
  });
  const recurrent = rmt(model, { memory, segment, replay: false });
  const params = recurrent.params(tape, { seed });
  const data = random(seed).fork("remember");
  const held = random(2024).fork("remember, held out");
  const lengths = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];
  // In each stage any number up to its own, as in the later papers (2402.10790): with 3 alone the last third of
  // training forgets 1.
  const segments = (step: number): number =>
    1 + data.fork(`length ${step}`).integer(1 + stages.findIndex(share => step < share * steps));
  const lastOf = (values: Int32Array, t: number, n: number): Int32Array =>
    Int32Array.from(
      { length: n * segment },
      (_, i) => values[Math.floor(i / segment) * t + t - segment + (i % segment)]!,
    );

  /** The share of n held-out questions over s segments that are answered right. */
  function right(s: number, n: number): number {
    let good = 0;
    for (let at = 0; at < n; at += 50)
      tape.scope(() =>
        tape.noGrad(() => {
          const { tokens, answers, t } = task.batch(held.fork(`${s} ${at}`), 50, s);
          const logits =
            arm === "rmt"
              ? recurrent.stream(params, tape.integers([50, t], tokens)).values
              : model.logits(params, tape.integers([50, segment], lastOf(tokens, t, 50))).values();
          const width = logits.length / 50;
          answers.forEach((answer, i) => {
            if (best(logits, (i + 1) * width - task.size, (i + 1) * width) === answer) good++;
          });
        }),
      );
    return good / n;
  }

  return {
    study: "remember",
    arm,
    tape,
    params,
    steps,
    tokens: b * segment * (arm === "rmt" ? 1.65 : 1),
    config: {
      "segment tokens": segment,
      memory: arm === "rmt" ? memory : 0,
      "trained on": `1 to ${trained} segments`,
      layers,
      d,
      heads,
      batch: b,
      steps,
      lr,
      ...(text === undefined ? {} : { text: true }),
    },
    paper: arm === "rmt" ? { accuracyBySegments: published } : {},
    optimizer: adamw(params, { lr }),
    schedule: schedule("cosine", { lr, steps, warmup: Math.floor(steps / 10), final: lr / 20 }),
    clip: { norm: 1 },
    loss(step) {
      const { tokens, targets, t } = task.batch(data.fork(step), b, segments(step));
      return arm === "rmt"
        ? recurrent.loss(params, tape.integers([b, t], tokens), tape.integers([b, t], targets))
        : model.loss(
            params,
            tape.integers([b, segment], lastOf(tokens, t, b)),
            tape.integers([b, segment], lastOf(targets, t, b)),
          );
    },
    accuracy: () => right(trained, 50),
    finish() {
      const tests = quick ? 100 : 300;
      const points = lengths.map((s): [number, number] => [s, right(s, tests)]);
      const figures: Entry[] = [{ type: "figure", study: "remember", kind: "segments", arm, seed, trained, points }];
      return { metrics: { accuracyBySegments: Object.fromEntries(points), trained, tests, chance: 1 / 6 }, figures };
    },
  };
}
