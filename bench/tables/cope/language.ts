// language.ts: language modelling of text and of code (table 5), what becomes of it in longer texts than those of
// training (figure 3), and what positions alone attend to (figure 4). Tokens are bytes.
import { language as bytes, random, transformer, type Language, type Random, type Tape } from "farsight";
import { lines, type Point, type Series } from "../../charts/lines.ts";
import { fitted, HUES } from "../../charts/svg.ts";
import { code as codeCorpus, english, type Corpus } from "../../corpus.ts";
import { lone } from "../../finding.ts";
import { stepsOf, type Figure, type Group } from "../../study.ts";
import { capital, join, many } from "../../words.ts";
import { measureOf } from "../groups.ts";
import { crossed, type Cell, type Column, type Config, type Difference, type Table, type Training } from "../table.ts";
import { trainingOf } from "../recipe.ts";
import { ARMS, GATED, HERE, modelOf, positionConfig, type Made, type Sizes } from "./arms.ts";
import { boundaries, boundariesFigure, piece } from "./boundaries.ts";
import { ordered } from "../said.ts";

const PLACES = 256;
/** Lengths of the test, in lengths of training. */
const TIMES = [1, 2, 4, 8] as const;
/** What each window of the test asks for: its last tokens, so that all lengths ask for the same ones. */
const ASKED = 128;
/** The arm whose attention is looked at, with one seed. */
const LOOKED = "cope-sep";
const STEPS = { full: 1500, quick: 3 };
const SIZES = { ...HERE, d: 128, batch: 16, lr: 2e-3, places: PLACES };

/** Perplexity of a word by the length of the test, of models trained at 512, read off figure 3. */
const PUBLISHED: readonly { arm: string; isExtended: boolean; points: readonly Point[] }[] = [
  {
    arm: "cope",
    isExtended: false,
    points: [
      [1, 23.72],
      [2, 22.5],
      [3, 22.13],
      [4, 22.05],
      [5, 22.09],
    ],
  },
  {
    arm: "relative",
    isExtended: false,
    points: [
      [1, 24.15],
      [2, 22.88],
      [3, 22.57],
      [4, 22.63],
      [5, 22.81],
    ],
  },
  {
    arm: "relative",
    isExtended: true,
    points: [
      [1, 24.15],
      [2, 24.33],
    ],
  },
];

/** The key of the perplexity at a length; `extended`: of relative positions whose table goes on with untrained rows. */
const keyOf = (times: number, extended = false): string => `x${times}${extended ? " extended" : ""}`;

/** The sequences that are asked about: the same tokens with more and more before them. */
export function windows(task: Language, held: ArrayLike<number>, t: number, n: number) {
  const longest = PLACES * TIMES.at(-1)!;
  const all = [...task.windows(held, t, { stride: ASKED, from: longest - ASKED + 1 })];
  const every = Math.max(1, Math.floor(all.length / n));
  return all.filter((_, i) => i % every === 0).slice(0, n);
}

/** The perplexity of a model in n windows of t tokens. */
export function perplexity(
  { tape, model, params }: Made,
  task: Language,
  held: ArrayLike<number>,
  t: number,
  n: number,
): number {
  const all = windows(task, held, t, n);
  let sum = 0;
  for (const { tokens, targets } of all)
    sum += tape.scope(() =>
      tape.noGrad(() => model.loss(params, tape.integers([1, t], tokens), tape.integers([1, t], targets)).item()),
    );
  return Math.exp(sum / all.length);
}

/** The same model with relative positions for `rows` distances: those beyond the trained ones as at first. */
export function extended(made: Made, config: Config, rows: number, rng: Random): Made {
  const { tape, params } = made;
  const { layers, d, heads } = config as unknown as Sizes;
  const relative = { table: "shared", rows } as const;
  const model = transformer({ vocab: 256, d, layers, heads, context: PLACES, position: "relative", relative });
  const { weight } = params.rel!;
  const width = weight.shape[1]!;
  const values = Float32Array.from({ length: rows * width }, () => rng.normal() / Math.sqrt(width));
  values.set(weight.values() as Float32Array);
  return { ...made, model, params: { ...params, rel: { weight: tape.param([rows, width], values) } } };
}

/** A cell of either table, on a corpus. */
function trained(cell: Cell, config: Config, tape: Tape, { train, held }: Corpus): Training {
  const task = bytes();
  const [text, test] = [task.encode(train), task.encode(held)];
  const { batch, places, windows: n } = config as unknown as { batch: number; places: number; windows: number };
  const made = modelOf(cell, config, { vocab: task.size, context: places }, tape);
  const data = random(cell.seed).fork("language");
  return {
    ...trainingOf(made.params, config),
    tokens: batch * places,
    loss(step) {
      const { tokens, targets } = task.batch(data.fork(step), text, batch, places);
      return made.model.loss(
        made.params,
        tape.integers([batch, places], tokens),
        tape.integers([batch, places], targets),
      );
    },
    finish() {
      const metrics: { [key: string]: number } = {};
      const lengths = cell.arm === "absolute" ? [1] : TIMES; // its table ends with the places of training
      for (const times of lengths) metrics[keyOf(times)] = perplexity(made, task, test, times * places, n);
      if (cell.arm === "relative") {
        const long = extended(made, config, places * TIMES.at(-1)!, random(cell.seed).fork("extended"));
        for (const times of TIMES.slice(1))
          metrics[keyOf(times, true)] = perplexity(long, task, test, times * places, n);
      }
      const part = cell.arm === LOOKED && piece(test, places);
      return { metrics, figures: part ? [boundaries(made, part)] : [] };
    },
  };
}

const columns: readonly Column[] = [
  { key: keyOf(1), label: "perplexity", unit: "", digits: 3 },
  ...TIMES.slice(1).flatMap((times): Column[] => [
    { key: keyOf(times), label: `${times} times as long`, unit: "", digits: 3 },
  ]),
  ...TIMES.slice(1).map((times): Column => ({
    key: keyOf(times, true),
    label: `${times} times, table extended`,
    unit: "",
    digits: 3,
  })),
];

/** How the perplexity of an arm goes on with longer tests. */
function grown(g: Group, isExtended = false): string {
  const first = measureOf(g, { key: keyOf(1) });
  const last = measureOf(g, { key: keyOf(TIMES.at(-1)!, isExtended) });
  if (!first || !last) return "";
  const way = last.here < first.here ? "falls" : "rises";
  const name = isExtended ? `${g.label} with its table extended` : g.label;
  return `with ${name} perplexity ${way} from ${first.here.toFixed(2)} to ${last.here.toFixed(2)}`;
}

function conclusion(table: Table, all: readonly Group[], order: readonly string[]): string {
  const sorted = [...all].sort((a, b) => a.measures[0]!.here - b.measures[0]!.here);
  const list = join(sorted.map(g => `${g.measures[0]!.here.toFixed(3)} with ${g.label}`));
  const parts = all.flatMap(g => [grown(g), grown(g, true)]).filter(Boolean);
  const long = parts.length ? `At ${TIMES.at(-1)} times the length of training ${join(parts)}.` : "";
  const verdict = ordered(table, all, { arms: order, key: keyOf(1) });
  return [`Perplexity of a byte: ${list}.`, verdict, capital(long)].filter(Boolean).join(" ") + lone(all);
}

/** How a curve over lengths is drawn, in both charts: what goes on with untrained rows dashed, in its arm's hue. */
function look(table: Table, arm: string, isExtended: boolean): Pick<Series, "name" | "colour" | "dots"> {
  const end = arm !== "relative" ? "" : isExtended ? ", extended" : ", capped";
  const hue = Object.keys(table.arms).indexOf(arm);
  return { name: table.arms[arm]! + end, colour: hue + (isExtended ? HUES : 0), dots: true };
}

/** Perplexity against the length of the test: ours, and of text the paper's of words on axes of the same kind. */
function longer(table: Table, all: readonly Group[]): Figure[] {
  const curve = (g: Group, isExtended: boolean): Series[] => {
    const points = TIMES.flatMap((times): [number, number][] => {
      const m = measureOf(g, { key: keyOf(times, isExtended && times > 1) });
      return m ? [[times, m.here]] : [];
    });
    return points.length > 1 ? [{ ...look(table, g.arm, isExtended), points }] : [];
  };
  const here = all.flatMap(g => [...curve(g, false), ...curve(g, true)]);
  if (here.length === 0) return [];
  const x = { label: "length of the test, in lengths of training", log: true };
  const draw = (title: string, series: Series[], label: string): string =>
    fitted(width => lines({ title, series, x, y: { label }, width }), 400);
  const ours = draw("Here", here, "perplexity of a byte");
  const said = `The same tokens with more and more text before them. Here trained at ${PLACES} bytes`;
  if (table.name !== "text") return [{ charts: [ours], caption: `${said}.` }];
  const paper = PUBLISHED.map(({ arm, isExtended, points }) => ({ ...look(table, arm, isExtended), points }));
  const caption =
    `${said}, in the paper at 512 words. ` +
    "A table of relative positions is capped, farther distances having its last row, or extended by rows that were " +
    "never trained; the paper's curve of relative positions that are not capped, here beside the extended ones, " +
    "leaves its figure after twice the length.";
  return [{ charts: [ours, draw("In the paper", paper, "perplexity of a word")], caption }];
}

/** Returns a corpus if it is the one of the config. */
function checked(corpus: Corpus, config: Config): Corpus {
  if (corpus.digest !== config["corpus"])
    throw new Error(`these are other texts\n  wants a corpus ${String(config["corpus"])}\n  got   ${corpus.digest}`);
  return corpus;
}

/** What both tables share. */
function table(
  about: Pick<Table, "name" | "title" | "question" | "arms" | "differences" | "files">,
  order: readonly string[],
  corpus: { digest: string; read(files: { readonly [option: string]: string }): Corpus },
): Table {
  const [arms, settings] = [Object.keys(about.arms), [String(PLACES)]];
  const made: Table = {
    ...about,
    where: about.name === "text" ? "Table 5, left; figures 3 and 4" : "Table 5, right",
    setting: { name: "places", said: value => many(value, "place") },
    cells: [
      ...crossed(
        arms.filter(arm => arm !== LOOKED),
        settings,
      ),
      ...crossed(
        arms.filter(arm => arm === LOOKED),
        settings,
        [1],
      ),
    ],
    columns,
    config({ arm }, share): Config {
      return {
        ...SIZES,
        corpus: corpus.digest,
        windows: share.quick ? 4 : 256,
        steps: stepsOf(share, STEPS),
        ...positionConfig(arm, 64),
      };
    },
    train: (cell, config, tape, files) => trained(cell, config, tape, checked(corpus.read(files), config)),
    conclusion: all => conclusion(made, all, order),
    figures: (results, all) => [...longer(made, all), ...results.flatMap(boundariesFigure)],
  };
  return made;
}

const DIFFERENCES: readonly Difference[] = [
  {
    what: "tokens",
    paper: "words, or pieces of them",
    here: "bytes: perplexities cannot be compared, their order can",
  },
  {
    what: "model",
    paper: "not known here",
    here: `${SIZES.layers} layers, d ${SIZES.d}, pre-norm`,
  },
  { what: "length", paper: "of text 512 and 1,024 tokens (figure 3), of code not known here", here: `${PLACES} bytes` },
  { what: "CoPE", paper: "the number of positions is not known here", here: "64 positions" },
];

/** Table 5, left, and figures 3 and 4. */
export const text: Table = table(
  {
    name: "text",
    title: "Text",
    question: "Do contextual positions model text better, also when it is longer than in training?",
    arms: {
      cope: ARMS.cope,
      "cope+relative": "CoPE and relative",
      relative: ARMS.relative,
      absolute: ARMS.absolute,
      rope: ARMS.rope,
      [LOOKED]: GATED[LOOKED],
    },
    differences: [
      {
        what: "text",
        paper: "Wikitext-103: 100 million words",
        here: "Wikitext-2: trained on its test articles, 1.3 MB, tested on its validation articles",
      },
      { what: "perplexity", paper: "of a word, at 1,024: relative 22.90, CoPE 22.55", here: "of a byte" },
      ...DIFFERENCES,
      {
        what: "arms",
        paper: "absolute, relative, CoPE, CoPE and relative",
        here: "and rope, and with one seed CoPE with gates from keys of their own, for figure 4",
      },
      {
        what: "figure 4",
        paper: "two heads of a model of words",
        here: "those heads whose attention by position falls off most at the two boundaries, of a model of bytes",
      },
    ],
    files: {
      text: "wikitext2-test.txt, to train on",
      held: "wikitext2-valid.txt, to test on",
    },
  },
  ["cope+relative", "cope", "relative", "absolute"],
  { digest: "8491544c7edf", read: files => english(files["text"]!, files["held"]!) },
);

/** Table 5, right. */
export const code: Table = table(
  {
    name: "code",
    title: "Code",
    question: "Do contextual positions model code better?",
    arms: { cope: ARMS.cope, "cope+rope": "CoPE and rope", rope: ARMS.rope, absolute: ARMS.absolute },
    differences: [
      {
        what: "code",
        paper: "not known here",
        here: "declarations and sources of TypeScript, esbuild and AssemblyScript: 3.1 MB, and 0.3 MB of other files",
      },
      { what: "perplexity", paper: "CoPE 17 % below absolute, 5 % below rope", here: "of a byte" },
      ...DIFFERENCES,
    ],
  },
  ["cope", "rope", "absolute"],
  { digest: "832105899f74", read: () => codeCorpus() },
);
