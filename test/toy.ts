// A study for tests: how close one matrix comes to the identity, by large steps and by small ones.
import { adamw, linear, mse, schedule } from "farsight";
import { fitted } from "../bench/charts/svg.ts";
import { lines, type Point } from "../bench/charts/lines.ts";
import { below } from "../bench/finding.ts";
import { list, num, of } from "../bench/records.ts";
import { stepsOf, tapeOf, type Choice, type Study, type Trial } from "../bench/study.ts";

const D = 64;
const trained = { full: 100, quick: 30 };

function train(arm: string, choice: Choice): Trial {
  const steps = stepsOf(choice, trained);
  const lr = arm === "bold" ? 1e-2 : 1e-4;
  const tape = tapeOf(choice);
  const params = { weight: tape.param([D, D]) };
  const one = Float32Array.from({ length: D * D }, (_, i) => (i % (D + 1) === 0 ? 1 : 0));
  const text = choice.texts?.["letters"];
  const loss = () => {
    const x = tape.tensor([D, D], one);
    return mse(linear(x, params.weight), x);
  };
  return {
    tape,
    params,
    steps,
    tokens: D,
    config: { size: D, lr, ...(text === undefined ? {} : { letters: text.length }) },
    paper: { distance: 0.5 },
    optimizer: adamw(params, { lr }),
    schedule: schedule("cosine", { lr, steps }),
    clip: {},
    loss,
    finish() {
      const distance = tape.scope(() => tape.noGrad(() => loss().item()));
      return { metrics: { distance }, figures: [{ kind: "ends", points: [[1, distance]] }] };
    },
  };
}

export const toy: Study = {
  name: "near",
  title: "Nearing",
  trains: "coming near to something (TOY)",
  mechanism: "a toy, which comes near to something (TOY)",
  question: "Do large steps come nearer than small ones?",
  steps: trained,
  paper: { title: "Nobody 1900, On steps", link: "https://example.org/steps" },
  setting: { name: "size", said: value => `size ${value}` },
  arms: { bold: "large steps", shy: "small steps" },
  files: { letters: "a file whose letters are counted" },
  train,
  measures: () => [{ key: "distance", label: "distance left", unit: "", pick: numbers => numbers["distance"] }],
  conclusion: ([first, second]) => {
    if (!second) return `${first!.label} ran alone.`;
    const nearer = below(first!.measures[0]!, second.measures[0]!);
    return nearer ? "Large steps come nearer." : "Large steps do not come nearer.";
  },
  figures: records =>
    of(records, "figure", "near").map(r => {
      const points = list(r["points"]).map((p): Point => [num(list(p)[0]) ?? NaN, num(list(p)[1]) ?? NaN]);
      const axes = { x: { label: "time" }, y: { label: "distance" } };
      const draw = (width: number): string =>
        lines({ title: "Where it ends", series: [{ name: String(r["arm"]), points }], ...axes, width });
      return { charts: [fitted(draw)], caption: "How far is left." };
    }),
  highlights: [],
};
