// A paper for tests: how close one matrix comes to the identity, by large steps and by small ones, in two sizes.
import { adamw, linear, mse, schedule } from "farsight";
import { lines } from "../bench/charts/lines.ts";
import { below } from "../bench/finding.ts";
import { list, num } from "../bench/records.ts";
import { stepsOf } from "../bench/study.ts";
import { crossed, type Paper, type Table } from "../bench/tables/table.ts";

const RATES: { readonly [arm: string]: number } = { bold: 1e-2, shy: 1e-4 };

const near: Table = {
  name: "near",
  title: "Nearing",
  where: "Table 1",
  question: "Do large steps come nearer than small ones?",
  setting: { name: "size", said: value => `size ${value}` },
  arms: { bold: "large steps", shy: "small steps" },
  cells: [...crossed(["bold", "shy"], ["4", "16"], [1, 2]), { arm: "bold", setting: "64", seed: 1 }],
  columns: [
    {
      key: "distance",
      label: "distance left",
      unit: "",
      digits: 4,
      published: (arm, setting) => (arm === "bold" && setting === "4" ? 0.125 : undefined),
    },
  ],
  differences: [{ what: "matrix", paper: "of a <paper>", here: "of a toy" }],
  config: ({ arm, setting }, share) => ({
    size: Number(setting),
    lr: RATES[arm]!,
    steps: stepsOf(share, { full: 40, quick: 4 }),
  }),
  published: ({ arm, setting }) => ({ size: 2 * Number(setting), lr: RATES[arm]!, steps: 50 }),
  train(_, config, tape) {
    const [d, lr, steps] = [Number(config["size"]), Number(config["lr"]), Number(config["steps"])];
    const weight = tape.param(
      [d, d],
      Float32Array.from({ length: d * d }, () => tape.random.uniform()),
    );
    const one = Float32Array.from({ length: d * d }, (_, i) => (i % (d + 1) === 0 ? 1 : 0));
    const loss = () => {
      const x = tape.tensor([d, d], one);
      return mse(linear(x, weight), x);
    };
    const params = { weight };
    const pause = Number(process.env["TOY_PAUSE"] ?? 0);
    return {
      params,
      steps,
      tokens: d,
      optimizer: adamw(params, { lr }),
      schedule: schedule("cosine", { lr, steps }),
      clip: {},
      loss() {
        if (pause) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pause);
        return loss();
      },
      finish() {
        if (process.env["TOY_FAILS"] === String(d)) throw new Error("made to fail");
        const distance = tape.scope(() => tape.noGrad(() => loss().item()));
        return { metrics: { distance }, figures: [{ kind: "ends", ends: [1, distance, [1 / 3]] }] };
      },
    };
  },
  conclusion(groups) {
    const at = (arm: string) => groups.find(g => g.arm === arm && g.setting === "4")?.measures[0];
    const [bold, shy] = [at("bold"), at("shy")];
    if (!bold || !shy) return "One arm alone says nothing.";
    return below(bold, shy) ? "Large steps come nearer." : "Large steps do not come nearer.";
  },
  figures: results => {
    const ends = results.flatMap(e => list(e["figures"])).map(f => num(list((f as { ends: unknown }).ends)[1]) ?? NaN);
    const points = ends.map((v, i): [number, number] => [i, v]);
    const axes = { x: { label: "cell" }, y: { label: "distance" } };
    return ends.length
      ? [{ charts: [lines({ title: "Ends", series: [{ name: "all", points }], ...axes })], caption: "Where all end." }]
      : [];
  },
};

const { published: _, ...unknown } = near;

export const toyPaper: Paper = {
  name: "toy",
  title: "Nobody 1900, On steps",
  link: "https://example.org/steps",
  tables: [near, { ...unknown, name: "far", title: "Farther" }],
};
