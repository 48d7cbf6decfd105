// count.ts: the counting task of CoPE (table 3), small: three kinds of position, otherwise one model, one set of
// batches, one budget.
import {
  adamw,
  counting,
  layerNorm,
  linear,
  mask,
  positions,
  random,
  reshape,
  schedule,
  scores,
  slice,
  transformer,
  type Position,
  type Tensor,
} from "farsight";
import type { Entry } from "./finding.ts";
import { best, tapeOf, type Choice, type Trial } from "./trial.ts";

export const arms = ["cope", "relative", "absolute"] as const;
/**
 * Table 3, test error in per cent for 1 and 3 variables: 4 layers, d 256, programs of up to 512 steps, 10,000 of them
 * 100 times over.
 */
const published: Readonly<Record<string, Readonly<Record<number, number>>>> = {
  cope: { 1: 0, 3: 1.2 },
  relative: { 1: 1.1, 3: 17.8 },
  absolute: { 1: 5.3, 3: 67.6 },
};

/** One arm: `arm` is the kind of position. */
export function count(arm: string, choice: Choice): Trial {
  const { seed, steps: wanted, quick } = choice;
  const variables = 1;
  const length = 64;
  const d = 48;
  const layers = 2;
  const heads = 4;
  const b = 32;
  const steps = wanted ?? (quick ? 80 : 500);
  const lr = 2e-3;
  const rows = 16;
  const task = counting({ vars: variables, steps: length });
  const context = 4 * length + 4;
  const tape = tapeOf(choice);
  const model = transformer({ vocab: task.size, d, layers, heads, context, position: arm as Position, cope: { rows } });
  const params = model.params(tape, { seed });
  const data = random(seed).fork("count");
  const held = random(2024).fork("count, held out");
  const tests = quick ? 200 : 1000;

  const answers = new Map<number, number>();
  /** The share of the first n held-out questions that are answered wrongly; counts their answers. */
  function wrong(n: number): number {
    let failed = 0;
    answers.clear();
    for (let at = 0; at < n; at += 50)
      tape.scope(() =>
        tape.noGrad(() => {
          const { tokens, targets, lengths, t } = task.batch(held.fork(at), 50);
          const values = model.logits(params, tape.integers([50, t], tokens)).values();
          lengths.forEach((length, i) => {
            const last = i * t + length - 1;
            const answer = targets[last]!;
            answers.set(answer, (answers.get(answer) ?? 0) + 1);
            if (best(values, last * task.size, (last + 1) * task.size) !== answer) failed++;
          });
        }),
      );
    return failed / n;
  }

  /** Gates and positions of the head that opens most on a variable's steps, for one held-out program. */
  function figure(): Entry[] {
    const rng = held.fork("figure");
    let sample = task.sample(rng);
    while (sample.tokens.length > 30 || sample.value < 2) sample = task.sample(rng);
    const words = task.words(sample.tokens);
    const t = words.length;
    return tape.scope(() =>
      tape.noGrad(() => {
        const states: Tensor[] = [];
        const logits = model
          .logits(params, tape.integers([1, t], sample.tokens), { watch: (_, x) => states.push(x) })
          .values();
        const maps = params.h.flatMap((block, layer) => {
          const x = layerNorm(states[layer]!, block.ln_1.weight, block.ln_1.bias);
          const qkv = linear(x, block.attn.c_attn.weight, block.attn.c_attn.bias);
          const [q, k] = [0, 1].map(n => reshape(slice(qkv, n * d, (n + 1) * d), [1, t, heads, d / heads])) as [
            Tensor,
            Tensor,
          ];
          const seen = positions(scores(q, k, { scale: 1 / Math.sqrt(d / heads) }), {
            allowed: tape.tensor([t, t], mask(t, t, true)),
          });
          const gates = seen.gates.values().slice();
          const places = seen.positions.values().slice();
          return Array.from({ length: heads }, (_, head) => {
            const row = (values: ArrayLike<number>, i: number) =>
              Array.from({ length: i + 1 }, (_, j) => Number(values[(head * t + i) * t + j]!.toFixed(3)));
            const last = row(gates, t - 1);
            const mean = (of: (word: string) => boolean) => {
              const g = last.filter((_, j) => of(words[j]!));
              return g.reduce((a, x) => a + x, 0) / Math.max(1, g.length);
            };
            return {
              layer: layer + 1,
              head: head + 1,
              contrast: mean(w => w === "++;") - mean(w => w === "pass;"),
              gates: words.map((_, i) => row(gates, i)),
              positions: words.map((_, i) => row(places, i)),
            };
          });
        });
        const { contrast: _, ...map } = maps.reduce((a, m) => (m.contrast > a.contrast ? m : a));
        return [
          {
            type: "figure",
            study: "count",
            kind: "cope",
            arm,
            seed,
            tokens: words,
            ...map,
            answer: task.words([sample.answer])[0]!,
            predicted: task.vocab[best(logits, (t - 1) * task.size, t * task.size)]!,
          },
        ];
      }),
    );
  }

  // tokens of a program, on average
  const mean = task.batch(held.fork("lengths"), 500).lengths.reduce((a, n) => a + n, 0) / 500;
  return {
    study: "count",
    arm,
    tape,
    params,
    steps,
    tokens: b * mean,
    config: {
      variables,
      "program steps": length,
      layers,
      d,
      heads,
      batch: b,
      steps,
      lr,
      ...(arm === "cope" ? { positions: rows } : {}),
    },
    paper: { error: published[arm]![variables]! },
    optimizer: adamw(params, { lr }),
    schedule: schedule("cosine", { lr, steps, warmup: Math.floor(steps / 10), final: lr / 20 }),
    clip: { norm: 1 },
    loss(step) {
      const { tokens, targets, t } = task.batch(data.fork(step), b);
      return model.loss(params, tape.integers([b, t], tokens), tape.integers([b, t], targets));
    },
    accuracy: () => 1 - wrong(100),
    finish() {
      const error = 100 * wrong(tests);
      const chance = 100 * (1 - Math.max(...answers.values()) / tests); // of always giving the commonest answer
      return { metrics: { error, tests, chance }, figures: arm === "cope" ? figure() : [] };
    },
  };
}
