// plan.ts: the sine task of myopic training (2404.00859, section 4), small: the same transformer trained with all
// gradients and without those from later places to earlier ones, and linear probes for what its states know of sines
// that only later places need.
import {
  adamw,
  huber,
  random,
  reshape,
  schedule,
  sine,
  transformer,
  type Numbers as Values,
  type Seen,
  type Tensor,
} from "farsight";
import { fitted } from "../charts/svg.ts";
import { lines, type Point } from "../charts/lines.ts";
import { below, lone } from "../finding.ts";
import { list, num, of, type Entry, type Numbers } from "../records.ts";
import { ridge } from "../ridge.ts";
import {
  label,
  rank,
  stepsOf,
  tapeOf,
  type Choice,
  type Figure,
  type Group,
  type Study,
  type Trial,
} from "../study.ts";
import { capital, join, plain, times } from "../words.ts";

/**
 * At p = 1 with a = b = 10, 64 places and d 128: the last training loss in the authors' checkpoint names, and their
 * myopic score. Always answering 0 has 1.258 there.
 */
const PUBLISHED: { readonly [arm: string]: number } = { full: 0.01, myopic: 1.257 };

const A = 3; // earlier sines, sin(B x), that are summed
const B = 5;
const P = 1; // how often the sum is asked for
const T = 16;
const D = 32;
const LAYERS = 2;
const HEADS = 2;
const BATCH = 64;
const LR = 3e-3;
const TRAINING = { full: 3000, quick: 400 }; // steps
const LAGS = 8;

type Run = ReturnType<typeof prepare>;
/** The model of an arm: "full", or "myopic" with the cut of the authors' code, post_ln. */
function prepare(arm: string, choice: Choice) {
  const { seed } = choice;
  const task = sine({ a: A, b: B, p: P, t: T });
  const tape = tapeOf(choice);
  const model = transformer({
    inputs: 2,
    outputs: 1,
    d: D,
    layers: LAYERS,
    heads: HEADS,
    context: T,
    activation: "relu",
    headBias: true,
    position: "absolute",
    myopic: arm === "myopic" ? { cut: "post_ln" } : undefined,
  });
  const params = model.params(tape, { seed });
  const data = random(seed).fork("plan");
  const held = random(2024).fork("plan, held out");
  return { task, tape, model, params, data, held };
}

/** What the model gives for n sequences, as one row. */
const answers = ({ tape, model, params }: Run, n: number, inputs: Values): Tensor =>
  reshape(model.logits(params, tape.tensor([n, T, 2], inputs)), [n * T]);

/** The mean Huber loss of n held-out sequences over p: the paper's score; of always answering 0 where `trivial`. */
function score(run: Run, n: number, trivial = false): number {
  const { task, tape, held } = run;
  const size = 500;
  const total = (at: number): number => {
    const { inputs, targets } = task.batch(held.fork(at), size);
    const y = answers(run, size, inputs);
    return size * huber(trivial ? tape.tensor([size * T]) : y, tape.tensor([size * T], targets)).item();
  };
  let sum = 0;
  for (let at = 0; at < n; at += size) sum += tape.scope(() => tape.noGrad(() => total(at)));
  return sum / n / P;
}

/** States after each layer, and the sines of this input and those before it, at n sequences' later places. */
function observed({ task, tape, model, params, held }: Run, half: string, n: number) {
  const { inputs, sines } = task.batch(held.fork(`probes, ${half}`), n);
  const states: Float64Array[] = [];
  const watch = (_: number, seen: Seen): void => {
    states.push(Float64Array.from(seen.states.values()));
  };
  tape.scope(() => tape.noGrad(() => model.logits(params, tape.tensor([n, T, 2], inputs), { watch })));
  const places = Array.from({ length: n * T }, (_, i) => i).filter(i => i % T >= LAGS);
  return {
    states: states.map(s => places.map(i => s.subarray(i * D, (i + 1) * D))),
    sines: Array.from({ length: LAGS + 1 }, (_, lag) => places.map(i => sines[i - lag]!)),
  };
}

/**
 * R² of linear probes for sin(b x_{n - lag}) from the states after each layer, fitted on one half of the data and
 * measured on the other.
 */
function probe(run: Run, n: number): number[][] {
  const fitted = observed(run, "fit", n);
  const measured = observed(run, "measure", n);
  return fitted.states.map((x, layer) =>
    ridge(x, fitted.sines, measured.states[layer]!, measured.sines).map(r => Number(r.toFixed(4))),
  );
}

function train(arm: string, choice: Choice): Trial {
  const run = prepare(arm, choice);
  const { task, tape, params, data } = run;
  const { quick } = choice;
  const steps = stepsOf(choice, TRAINING);
  const tests = quick ? 500 : 4000;
  return {
    tape,
    params,
    steps,
    tokens: BATCH * T,
    config: {
      a: A,
      b: B,
      p: P,
      places: T,
      layers: LAYERS,
      d: D,
      heads: HEADS,
      batch: BATCH,
      steps,
      lr: LR,
      ...(arm === "myopic" ? { cut: "post_ln" } : {}),
    },
    paper: { loss: PUBLISHED[arm]! },
    optimizer: adamw(params, { lr: LR }),
    schedule: schedule("cosine", { lr: LR, steps, warmup: Math.floor(steps / 50), final: 0 }),
    clip: { norm: 1 },
    loss(step) {
      const { inputs, targets } = task.batch(data.fork(step), BATCH);
      return huber(answers(run, BATCH, inputs), tape.tensor([BATCH * T], targets));
    },
    finish() {
      const layers = ["embedding", ...params.h.map((_, i) => `layer ${i + 1}`)];
      const figures = [{ kind: "probes", layers, r2: probe(run, quick ? 200 : 1000) }];
      return { metrics: { loss: score(run, tests), trivial: score(run, tests, true) }, figures };
    },
  };
}

function conclusion(gs: readonly Group[]): string {
  const full = gs.find(g => g.arm === "full");
  const myopic = gs.find(g => g.arm === "myopic");
  const one = (full ?? myopic)?.measures[0];
  if (!one) return "";
  if (!full || !myopic)
    return (
      `The ${full ? "full" : "myopic"} model reaches a loss of ${plain(one.here)}. ` +
      "The other arm did not run, so there is nothing to compare it with."
    );
  const a = full.measures[0]!;
  const b = myopic.measures[0]!;
  const ratio = b.here / a.here;
  const trivial = num(full.metrics["trivial"]);
  const more = Number.isFinite(ratio) ? ` (${times(ratio)} times)` : "";
  const zero = trivial === undefined ? "" : `, where always answering 0 gives ${plain(trivial)}`;
  const numbers = `normalised loss ${plain(b.here)} myopic against ${plain(a.here)} full${more}${zero}`;
  if (trivial !== undefined && Math.min(a.here, b.here) > 0.9 * trivial)
    return `Neither model learned the task in this run: ${numbers}.${lone(gs)}`;
  if (!below(a, b) || ratio < 1.05)
    return (
      "Cutting the gradients from later tokens cost nothing measurable in this run, so it shows no planning: " +
      `${numbers}.${lone(gs)}`
    );
  return ratio < 1.5
    ? `Myopic training costs a little here, a weak sign of planning: ${numbers}.${lone(gs)}`
    : `The full model prepares for later tokens, and the myopic one does not make up for it: ${numbers}.`;
}

/** R² by layer and lag, as an arm recorded it. */
interface Probes {
  arm: string;
  layers: readonly string[];
  r2: readonly (readonly unknown[])[];
}
const probes = (records: readonly Entry[]): Probes[] =>
  of(records, "figure", "plan")
    .filter(r => r["kind"] === "probes" && list(r["r2"]).length)
    .map(r => ({ arm: String(r["arm"]), layers: list(r["layers"]).map(String), r2: list(r["r2"]).map(list) }))
    .sort((a, b) => rank(plan, a.arm) - rank(plan, b.arm));

/** The best probe of each arm. */
function remark(records: readonly Entry[]): string {
  const said = probes(records).flatMap(({ arm, layers, r2 }) => {
    const all = r2.flatMap((row, l) =>
      row.map((v, lag) => ({ r: num(v) ?? -1, layer: layers[l] ?? `layer ${l}`, lag })),
    );
    const best = all.reduce((a, b) => (b.r > a.r ? b : a), { r: -1, layer: "", lag: 0 });
    if (best.r < 0) return [];
    const r = plain(Number(best.r.toFixed(3)));
    return [`R² ${r} after ${label(plan, arm)} training (${best.layer}, lag ${best.lag})`];
  });
  return said.length ? `The best linear probe for sin(b x) has ${join(said)}.` : "";
}

/** R² of linear probes by layer and lag, one chart an arm, all to the same scale. */
function figures(records: readonly Entry[]): Figure[] {
  const charts = probes(records).map(({ arm, layers, r2 }) => {
    const series = r2.map((row, l) => ({
      name: layers[l] ?? `layer ${l}`,
      colour: (l + 3) % 4,
      dots: true,
      points: row.map((v, lag): Point => [lag, num(v) ?? NaN]),
    }));
    return fitted(width =>
      lines({
        title: `${capital(label(plan, arm))} training`,
        width,
        x: { label: "lag: how many tokens ago x was read" },
        y: { label: "R² of a linear probe for sin(b x)", min: 0, max: 1 },
        series,
      }),
    );
  });
  const caption =
    "What a linear probe reads from each layer, both charts to the same scale. sin(b x) of the current input (lag 0) " +
    "is of no use to the current output: a model that holds it has computed it for later tokens.";
  return charts.length ? [{ charts, caption }] : [];
}

const loss = (metrics: Numbers): string => (num(metrics["loss"]) ?? NaN).toFixed(3);

/** The study of myopic training. */
export const plan: Study = {
  name: "plan",
  title: "Planning",
  trains: "planning with and without gradients to earlier places (myopic)",
  mechanism: "training without gradients from later tokens, which shows whether a model plans (myopic training)",
  question:
    "Does a transformer compute in advance what only later tokens will need, " +
    "and does it stop when their gradients do?",
  steps: TRAINING,
  paper: {
    title: "Wu et al. 2024, Do Language Models Plan Ahead for Future Tokens?",
    link: "https://arxiv.org/abs/2404.00859",
  },
  setting: { name: "p", said: value => `p = ${value}` },
  arms: { full: "full", myopic: "myopic" },
  train,
  measures: () => [{ key: "loss", label: "normalised Huber loss", unit: "", pick: numbers => numbers["loss"] }],
  conclusion,
  remark,
  figures,
  highlights: [
    { label: "Huber loss, all gradients", arm: "full", value: loss, paper: "0.01" },
    { label: "Huber loss, myopic", arm: "myopic", value: loss, paper: "1.257" },
  ],
};
