// plan.ts: the sine task of myopic training (2404.00859, section 4), small: the same transformer trained with all
// gradients and without those from later places to earlier ones, and linear probes for what its states know of sines
// that only later places need.
import { adamw, huber, random, reshape, schedule, sine, transformer, type Tensor } from "farsight";
import type { Entry } from "./finding.ts";
import { ridge } from "./ridge.ts";
import { tapeOf, type Choice, type Trial } from "./trial.ts";

export const arms = ["full", "myopic"] as const;
/**
 * At p = 1 with a = b = 10, 64 places and d 128: the last training loss in the authors' checkpoint names, and their
 * myopic score. Always answering 0 has 1.258 there.
 */
const published: Readonly<Record<string, number>> = { full: 0.01, myopic: 1.257 };

/** One arm: "full", or "myopic" with the cut of the authors' code, post_ln. */
export function plan(arm: string, choice: Choice): Trial {
  const { seed, steps: wanted, quick } = choice;
  const a = 3;
  const f = 5;
  const p = 1;
  const t = 16;
  const d = 32;
  const layers = 2;
  const heads = 2;
  const b = 64;
  const steps = wanted ?? (quick ? 400 : 3000);
  const lr = 3e-3;
  const lags = 8;
  const task = sine({ a, b: f, p, t });
  const tape = tapeOf(choice);
  const model = transformer({
    inputs: 2,
    outputs: 1,
    d,
    layers,
    heads,
    context: t,
    activation: "relu",
    headBias: true,
    position: "absolute",
    myopic: arm === "myopic" ? { cut: "post_ln" } : undefined,
  });
  const params = model.params(tape, { seed });
  const data = random(seed).fork("plan");
  const held = random(2024).fork("plan, held out");
  const tests = quick ? 500 : 4000;

  /** The mean Huber loss of held-out sequences over p: the paper's score; of always answering 0 where `trivial`. */
  function score(n: number, trivial = false): number {
    let total = 0;
    for (let at = 0; at < n; at += 500)
      tape.scope(() =>
        tape.noGrad(() => {
          const { inputs, targets } = task.batch(held.fork(at), 500);
          const y = model.logits(params, tape.tensor([500, t, 2], inputs));
          total +=
            500 *
            huber(trivial ? tape.tensor([500 * t]) : reshape(y, [500 * t]), tape.tensor([500 * t], targets)).item();
        }),
      );
    return total / n / p;
  }
  /**
   * R² of linear probes for sin(b x_{n - lag}) from the states after each layer, fitted on one half of the data and
   * measured on the other.
   */
  function probes(): number[][] {
    const n = quick ? 200 : 1000;
    const halves = ["fit", "measure"].map(half =>
      tape.scope(() =>
        tape.noGrad(() => {
          const { inputs, sines } = task.batch(held.fork(`probes, ${half}`), n);
          const states: Float64Array[] = [];
          model.logits(params, tape.tensor([n, t, 2], inputs), {
            watch: (_, x: Tensor) => states.push(Float64Array.from(x.values())),
          });
          const at = Array.from({ length: n * t }, (_, i) => i).filter(i => i % t >= lags);
          return {
            states: states.map(s => at.map(i => s.subarray(i * d, (i + 1) * d))),
            lagged: Array.from({ length: lags + 1 }, (_, lag) => at.map(i => sines[i - lag]!)),
          };
        }),
      ),
    );
    const [fitted, measured] = halves as [(typeof halves)[0], (typeof halves)[0]];
    return fitted.states.map((x, layer) =>
      ridge(x, fitted.lagged, measured.states[layer]!, measured.lagged).map(r => Number(r.toFixed(4))),
    );
  }

  return {
    study: "plan",
    arm,
    tape,
    params,
    steps,
    tokens: b * t,
    config: {
      a,
      b: f,
      p,
      places: t,
      layers,
      d,
      heads,
      batch: b,
      steps,
      lr,
      ...(arm === "myopic" ? { cut: "post_ln" } : {}),
    },
    paper: { loss: published[arm]! },
    optimizer: adamw(params, { lr }),
    schedule: schedule("cosine", { lr, steps, warmup: Math.floor(steps / 50), final: 0 }),
    clip: { norm: 1 },
    loss(step) {
      const { inputs, targets } = task.batch(data.fork(step), b);
      return huber(
        reshape(model.logits(params, tape.tensor([b, t, 2], inputs)), [b * t]),
        tape.tensor([b * t], targets),
      );
    },
    finish() {
      const figures: Entry[] = [
        {
          type: "figure",
          study: "plan",
          kind: "probes",
          arm,
          seed,
          layers: ["embedding", ...params.h.map((_, i) => `layer ${i + 1}`)],
          r2: probes(),
        },
      ];
      return { metrics: { loss: score(tests), trivial: score(tests, true) }, figures };
    },
  };
}
