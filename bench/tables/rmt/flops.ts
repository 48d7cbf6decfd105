// flops.ts: how many operations a recurrent memory saves at two million tokens (2304.11062, figure 3): worked out
// from a formula, with nothing to train.
import { sgd, type Tape } from "farsight";
import { lines, type Point } from "../../charts/lines.ts";
import { fitted } from "../../charts/svg.ts";
import type { Figure, Group, Measure } from "../../study.ts";
import { join } from "../../words.ts";
import { measureOf } from "../groups.ts";
import { crossed, type Config, type Table, type Training } from "../table.ts";

/** What a model's operations depend on. */
export interface Sizes {
  layers: number;
  d: number;
  heads: number;
  inner: number;
  vocab: number;
}

/** The operations of a forward pass by part: those that grow with the tokens, and those that grow with their square. */
const parts = ({ layers, d, heads, inner, vocab }: Sizes) => ({
  linear: layers * (8 * d * d + 4 * d * inner) + 2 * vocab * d,
  square: layers * (4 * d + 10 * heads),
});

/**
 * The floating point operations of a forward pass over t tokens that see each other: projections 8 d², MLP 4 d inner,
 * scores and their sums 4 d t, softmax and dropout 10 a head and pair, and one product with the vocabulary. No causal
 * half, no biases, no norms. It fits all 13 lengths and 5 sizes of the paper's figure 3 to 0.016 %.
 */
export function operations(sizes: Sizes, t: number): number {
  const { linear, square } = parts(sizes);
  return linear * t + square * t * t;
}

/** Those of t tokens by segments of `segment` places, of which each reads `segment - taken` tokens. */
export const bySegments = (sizes: Sizes, t: number, segment: number, taken: number): number =>
  (t / (segment - taken)) * operations(sizes, segment);

const SEGMENT = 512;
const LONG = 4000 * SEGMENT;
/** Sizes of OPT, and how many times fewer operations the paper's figure has at 2,048,000 tokens. */
const MODELS: { readonly [name: string]: Omit<Sizes, "inner" | "vocab"> & { published: number } } = {
  "125M": { layers: 12, d: 768, heads: 12, published: 295.07 },
  "1.3B": { layers: 24, d: 2048, heads: 32, published: 154.42 },
  "6.7B": { layers: 32, d: 4096, heads: 32, published: 81.65 },
  "30B": { layers: 48, d: 7168, heads: 56, published: 48.39 },
  "175B": { layers: 96, d: 12288, heads: 96, published: 29.02 },
};
/** Places of a segment that memory and special tokens take: in the paper's sum none, in its encoder 10 and 3. */
const TAKEN: { readonly [arm: string]: number } = { published: 0, counted: 13 };
const NAMES = Object.keys(MODELS);

/** The sizes of a model of OPT. */
export function sizesOf(name: string): Sizes {
  const { layers, d, heads } = MODELS[name]!;
  return { layers, d, heads, inner: 4 * d, vocab: 50272 };
}

/** How many times fewer operations t tokens take by segments. */
const saving = (sizes: Sizes, t: number, segment: number, taken: number): number =>
  operations(sizes, t) / bySegments(sizes, t, segment, taken);

/** A cell that trains nothing. */
const untrained = (tape: Tape, metrics: { [key: string]: number }): Training => {
  const params = { none: tape.param([1], [0]) };
  return {
    params,
    optimizer: sgd(params, { lr: 0 }),
    steps: 0,
    tokens: 0,
    loss: () => params.none,
    schedule: () => 0,
    clip: {},
    finish: () => ({ metrics, figures: [] }),
  };
};

function conclusion(all: readonly Group[]): string {
  const of = (arm: string): Group[] => all.filter(g => g.arm === arm);
  const said = (g: Group): string => `${measureOf(g, { key: "saving" })!.here.toFixed(2)} times with ${g.setting}`;
  const isMet = (m: Measure): boolean => Math.abs(m.here - m.paper!) <= 0.02;
  const [plain, honest] = [of("published"), of("counted")];
  const off = plain.filter(g => !isMet(measureOf(g, { key: "saving" })!));
  const verdict = off.length
    ? `which differs from the paper's figure by more than 0.02 with ${join(off.map(g => g.setting))}`
    : "as in the paper's figure, to 0.02";
  const first = plain.length
    ? [`At ${LONG.toLocaleString("en")} tokens segments take fewer operations, ${join(plain.map(said))}, ${verdict}.`]
    : [];
  const second = honest.length
    ? [`Where the places that memory and special tokens take are counted it is ${join(honest.map(said))}.`]
    : [];
  return [...first, ...second].join(" ");
}

/** Operations by length, of all tokens at once and by segments; and how many times fewer they are. */
function figures(): Figure[] {
  const lengths = Array.from({ length: 13 }, (_, i) => (i < 12 ? SEGMENT * 2 ** i : LONG));
  const points = (f: (t: number) => number): Point[] => lengths.map(t => [t, f(t)]);
  const x = { label: "tokens (log scale)", log: true };
  const [least, most] = [NAMES[0]!, NAMES.at(-1)!].map(name => [name, sizesOf(name)] as const) as [
    readonly [string, Sizes],
    readonly [string, Sizes],
  ];
  const ways = [most, least].flatMap(([name, sizes], i) => [
    { name: `${name}, all at once`, colour: 2 * i, points: points(t => operations(sizes, t)), dots: true },
    {
      name: `${name}, by segments`,
      colour: 2 * i + 1,
      points: points(t => bySegments(sizes, t, SEGMENT, TAKEN["counted"]!)),
      dots: true,
    },
  ]);
  const savings = NAMES.flatMap((name, colour) => {
    const of = (taken: number): Point[] => points(t => saving(sizesOf(name), t, SEGMENT, taken));
    return [{ name, colour, points: of(0), dots: true }];
  });
  const draw = (title: string, series: typeof ways, label: string): string =>
    fitted(width => lines({ title, series, x, y: { label, log: true }, width, height: 300 }), 520);
  return [
    {
      charts: [
        draw("Operations of a forward pass", ways, "floating point operations (log scale)"),
        draw("How many times fewer by segments", savings, "times fewer (log scale)"),
      ],
      caption:
        "Slopes tend to 2 where all tokens see each other, and are 1 by segments. The first chart counts memory's " +
        "places, the second does not, as the paper's figure 3.",
    },
  ];
}

/** Figure 3: what segments save. */
export const flops: Table = {
  name: "flops",
  title: "What segments save",
  where: "2304.11062, figure 3",
  question: "How many times fewer operations do two million tokens take by segments than all at once?",
  setting: { name: "model", said: value => `OPT-${value}` },
  arms: { published: "as published", counted: "memory counted" },
  cells: crossed(Object.keys(TAKEN), NAMES, [1]),
  columns: [
    {
      key: "saving",
      label: `times fewer at ${LONG.toLocaleString("en")} tokens`,
      unit: "",
      digits: 2,
      published: (arm, setting) => (arm === "published" ? MODELS[setting]?.published : undefined),
    },
    { key: "short", label: "times fewer at 32,768", unit: "", digits: 2 },
    { key: "even", label: "tokens at which pairs cost as much as tokens", unit: "", digits: 0 },
  ],
  differences: [
    {
      what: "the smallest model",
      paper: "x295 is said of OPT-135M in the text, of OPT-125M in the figure",
      here: "OPT-125M",
    },
    {
      what: "memory",
      paper: "not counted: 2,048,000 tokens are 4,000 segments of 512",
      here: "so, and counted: 499 tokens a segment beside 10 memory vectors and 3 special tokens",
    },
    {
      what: "formula",
      paper: "not printed: that of Hoffmann et al. 2022, changed",
      here: "one product with the vocabulary instead of two, and 10 instead of 3 a head and pair: what fits the figure",
    },
  ],
  config: ({ arm, setting }): Config => ({
    ...sizesOf(setting),
    segment: SEGMENT,
    taken: TAKEN[arm]!,
    length: LONG,
    steps: 0,
  }),
  train(_, config, tape) {
    const sizes = config as unknown as Sizes;
    const { segment, taken, length } = config as unknown as { segment: number; taken: number; length: number };
    const { linear, square } = parts(sizes);
    return untrained(tape, {
      saving: saving(sizes, length, segment, taken),
      short: saving(sizes, 32768, segment, taken),
      even: linear / square,
    });
  },
  conclusion,
  figures: (_, all) => (all.length ? figures() : []),
};
