// text.ts: language modelling by segments (2207.06881, table 5): a recurrent memory against caches of states ten times
// as large and as large, and against nothing. Tokens are bytes.
import { language as bytes, random, type Tape } from "farsight";
import { english, type Corpus } from "../../corpus.ts";
import { below, lone } from "../../finding.ts";
import { stepsOf, type Group } from "../../study.ts";
import { join } from "../../words.ts";
import { measureOf } from "../groups.ts";
import { trainingOf } from "../recipe.ts";
import { ordered } from "../said.ts";
import { crossed, type Cell, type Config, type Table, type Training } from "../table.ts";
import { HERE } from "./arms.ts";
import { lossOf, segmentalOf, type Piece, type Segmental } from "./segmental.ts";

const SEGMENT = 60;
const FEW = 6;
const ARMS: { readonly [arm: string]: { name: string; passes: number; published: number } } = {
  rmt: { name: `RMT, ${FEW} vectors`, passes: FEW, published: 26.67 },
  xl: { name: `Transformer-XL, ${SEGMENT} states a layer`, passes: SEGMENT, published: 26.54 },
  "xl-few": { name: `Transformer-XL, ${FEW} states a layer`, passes: FEW, published: 30.06 },
  none: { name: "no memory", passes: 0, published: 39.05 },
};
const STEPS = { full: 1500, quick: 3 };
const CORPUS = "8491544c7edf";

/** A text from its beginning, as `rows` pieces that are read side by side, in segments of l. */
function* segments(ids: ArrayLike<number>, rows: number, l: number, most: number): Generator<Piece> {
  const each = Math.floor((ids.length - 1) / rows);
  const part = (from: number): number[][] =>
    Array.from({ length: rows }, (_, i) => Array.from({ length: l }, (_, p) => ids[i * each + from + p]!));
  for (let s = 0; s < most && (s + 1) * l <= each; s++) yield { input: part(s * l), targets: part(s * l + 1) };
}

/** The perplexity of a byte of a text that is read so. */
export function perplexity(run: Segmental, ids: ArrayLike<number>, rows: number, most: number): number {
  let sum = 0;
  let n = 0;
  run.tape.scope(() => {
    for (const { values } of run.losses(segments(ids, rows, run.segment, most))) {
      sum += values[0]!;
      n++;
    }
  });
  return Math.exp(sum / n);
}

/** Returns the texts if they are those of the config. */
function checked(corpus: Corpus, config: Config): Corpus {
  if (corpus.digest !== config["corpus"])
    throw new Error(`these are other texts\n  wants a corpus ${String(config["corpus"])}\n  got   ${corpus.digest}`);
  return corpus;
}

function train(cell: Cell, config: Config, tape: Tape, { train, held }: Corpus): Training {
  const task = bytes();
  const [ids, test] = [task.encode(train), task.encode(held)];
  const { batch, windows, rows, tests } = config as unknown as {
    batch: number;
    windows: number;
    rows: number;
    tests: number;
  };
  const t = windows * SEGMENT;
  const run = segmentalOf(cell, config, task.size, tape);
  const data = random(cell.seed).fork("text by segments");
  return {
    ...trainingOf(run.params, config),
    tokens: batch * t,
    loss(step) {
      const { tokens, targets } = task.batch(data.fork(step), ids, batch, t);
      return lossOf(run, tokens, targets, t);
    },
    finish: () => ({ metrics: { perplexity: perplexity(run, test, rows, tests) }, figures: [] }),
  };
}

/** What the numbers say: the order, and whether a memory of few vectors is level with ten times as many states. */
function conclusion(all: readonly Group[]): string {
  const of = (g: Group) => measureOf(g, { key: "perplexity" })!;
  const sorted = [...all].sort((a, b) => of(a).here - of(b).here);
  const list = join(sorted.map(g => `${of(g).here.toFixed(3)} with ${g.label}`));
  const [few, many] = ["rmt", "xl"].map(arm => all.find(g => g.arm === arm));
  const level =
    !few || !many
      ? ""
      : below(of(few), of(many))
        ? ` A tenth as much memory is better than ${many.label}.`
        : below(of(many), of(few))
          ? ` A tenth as much memory is not level with ${many.label}.`
          : ` A tenth as much memory is level with ${many.label}.`;
  const order = ordered(text, all, { arms: ["xl", "rmt", "xl-few", "none"], key: "perplexity" });
  return `Perplexity of a byte: ${list}.${level}${order && ` ${order}`}${lone(all)}`;
}

/** Text by segments. */
export const text: Table = {
  name: "text",
  title: "Text by segments",
  where: "2207.06881, table 5",
  question: "Is a recurrent memory as good for text as a cache of ten times as many states?",
  setting: { name: "segment", said: value => `segments of ${value} bytes` },
  arms: Object.fromEntries(Object.entries(ARMS).map(([arm, { name }]) => [arm, name])),
  cells: crossed(Object.keys(ARMS), [String(SEGMENT)]),
  columns: [
    {
      key: "perplexity",
      label: "perplexity, of a byte; in the paper of a word",
      unit: "",
      digits: 3,
      published: arm => ARMS[arm]?.published,
    },
  ],
  differences: [
    {
      what: "text",
      paper: "Wikitext-103: 100 million words",
      here: "Wikitext-2: trained on its test articles, 1.3 MB, tested on its validation articles",
    },
    { what: "tokens", paper: "words", here: "bytes: perplexities cannot be compared, their order can" },
    {
      what: "segments and memory",
      paper: "segments of 50 words; 5 vectors; 50 and 5 states a layer",
      here: `segments of ${SEGMENT} bytes; ${FEW} vectors; ${SEGMENT} and ${FEW} states a layer`,
    },
    {
      what: "model",
      paper: "16 layers, d 410, post-norm, relative positions",
      here: "2 layers, d 128, pre-norm, rope",
    },
    {
      what: "training",
      paper: "a step a segment, gradients through 4 segments before it",
      here: "a step for 5 segments in a row, gradients through all of them; caches pass none",
    },
  ],
  files: {
    text: "wikitext2-test.txt, to train on",
    held: "wikitext2-valid.txt, to test on",
  },
  config: ({ arm }, share): Config => ({
    ...HERE,
    memory: arm === "rmt" ? FEW : 0,
    ...{ segment: SEGMENT, passes: ARMS[arm]!.passes, position: "rope", d: 128, windows: 5, lr: 2e-3 },
    corpus: CORPUS,
    rows: 20,
    tests: share.quick ? 3 : 400,
    steps: stepsOf(share, STEPS),
  }),
  train: (cell, config, tape, files) =>
    train(cell, config, tape, checked(english(files["text"]!, files["held"]!), config)),
  conclusion,
  figures: () => [],
};
