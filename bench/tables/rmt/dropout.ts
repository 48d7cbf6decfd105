// dropout.ts: what dropout does to a memory: without it memories drift over background, with it each answer has a fixed
// point that draws neighbours in. Not in the papers.
import { memorize as task, random } from "farsight";
import { lines, type Point } from "../../charts/lines.ts";
import { fitted } from "../../charts/svg.ts";
import { lone } from "../../finding.ts";
import { bag, list, num, type Entry } from "../../records.ts";
import { stepsOf, type Figure, type FigureData, type Group } from "../../study.ts";
import { capital, join, mean, percent, plain } from "../../words.ts";
import { measureOf } from "../groups.ts";
import { crossed, type Column, type Config, type Table } from "../table.ts";
import { HERE, type Made } from "./arms.ts";
import { memories, pathFigures, pathOf, type Placed } from "./paths.ts";
import { keyOf, trained } from "./remembering.ts";

const ARMS: { readonly [arm: string]: { name: string; config: Config } } = {
  "drop-1": { name: "dropout 0.1", config: { dropout: 0.1 } },
  "drop-2": { name: "dropout 0.2", config: { dropout: 0.2 } },
  none: { name: "nothing", config: { dropout: 0 } },
  noise: { name: "noise on memory", config: { dropout: 0, noise: 0.3 } },
  decay: { name: "weight decay", config: { dropout: 0, decay: 0.3 } },
};
const MOST = 6;
const STEPS = { full: 1500, quick: 40 };
const SHOWN = [1024, 6, 16, 64, 256];
/** Segments at which memories are compared. */
const WATCHED = [1, 2, 4, 8, 16, 32, 64, 128, 256];
/** Sequences of each answer. */
const EACH = 8;

const distance = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2;
  return Math.sqrt(sum);
};
const centre = (rows: readonly Float64Array[]): Float64Array => rows[0]!.map((_, j) => mean(rows.map(row => row[j]!)));

/** How far memories of one answer lie from their middle, over how far the middles lie from that of all. */
export function spread(groups: readonly (readonly Float64Array[])[]): number {
  const middles = groups.map(centre);
  const whole = centre(middles);
  const within = mean(groups.map((rows, i) => mean(rows.map(row => distance(row, middles[i]!)))));
  return within / (mean(middles.map(middle => distance(middle, whole))) || 1);
}

/** Rows of background alone, each behind its fact: EACH for each place, over so many segments. */
function tales(about: Placed, segments: number): number[][] {
  const found: number[][][] = about.places.map(() => []);
  const rng = random(2024).fork("settling");
  for (let i = 0; found.some(rows => rows.length < EACH); i++) {
    const { tokens, place } = about.sample(rng.fork(i), segments + 1);
    if (found[place]!.length < EACH) found[place]!.push(tokens.slice(0, segments * about.segment));
  }
  return found.flat();
}

/**
 * One memory over background, again and again: how much memories of one answer spread by then, how far a memory still
 * goes in one segment, and what is left after eight segments of a disturbance of a tenth.
 */
export function settling(run: Made, about: Placed, segments: number) {
  const rows = tales(about, segments);
  const found = memories(run, rows);
  const grouped = (s: number) =>
    about.places.map((_, p) => rows.flatMap((_, i) => (Math.floor(i / EACH) === p ? [found[s - 1]![i]!] : [])));
  const watched = WATCHED.filter(s => s <= segments);
  const spreads = watched.map((s): Point => [s, spread(grouped(s))]);
  const [last, before] = [found.at(-1)!, found.at(-2)!];
  const moved = mean(last.map((row, i) => distance(row, before[i]!) / distance(row, new Float64Array(row.length))));
  return { spreads, moved, left: leftOver(run, about, rows, found) };
}

/** What is left of a disturbance after eight segments, as a share of it: below 1 memories draw neighbours in. */
function leftOver({ ...run }: Made, { segment }: Placed, rows: readonly number[][], found: readonly Float64Array[][]) {
  const to = Math.min(16, found.length);
  const from = Math.floor(to / 2);
  const noise = random(2024).fork("disturbance");
  const after = rows.map(row => row.slice(from * segment, to * segment));
  const disturbed = found[from - 1]!.map(row => {
    const size = distance(row, new Float64Array(row.length)) / 10 / Math.sqrt(row.length);
    return row.map(v => v + size * noise.normal());
  });
  const then = memories(run, after, disturbed).at(-1)!;
  return mean(then.map((row, i) => distance(row, found[to - 1]![i]!) / distance(disturbed[i]!, found[from - 1]![i]!)));
}

const columns: readonly Column[] = [
  ...SHOWN.map((s): Column => ({
    key: keyOf(s),
    label: `right at ${s.toLocaleString("en")} segments`,
    unit: "%",
    digits: 1,
  })),
  { key: "early", label: "spread after 4 segments", unit: "", digits: 3 },
  { key: "late", label: "spread after 256", unit: "", digits: 3 },
  { key: "moved", label: "way of a segment", unit: "", digits: 4 },
  { key: "left", label: "left of a disturbance", unit: "", digits: 4 },
];

const of = (g: Group, key: string): number | undefined => measureOf(g, { key })?.here;

/** What the numbers say: who remembers, whose memories spread, and who draws neighbours in. */
function conclusion(all: readonly Group[]): string {
  const far = [...all].sort((a, b) => (of(b, keyOf(1024)) ?? 0) - (of(a, keyOf(1024)) ?? 0));
  const right = far.flatMap(g => {
    const v = of(g, keyOf(1024));
    return v === undefined ? [] : [`${percent(v)} with ${g.label}`];
  });
  const parts = right.length ? [`At 1,024 segments ${join(right)} are answered right.`] : [];
  const told = all.filter(g => of(g, "early") !== undefined && of(g, "late") !== undefined);
  const drifts = (g: Group): boolean => of(g, "late")! > 2 * of(g, "early")!;
  const spreads = (g: Group): string => `${g.label} (${plain(of(g, "early")!)}, then ${plain(of(g, "late")!)})`;
  const [drifting, settled] = [told.filter(drifts), told.filter(g => !drifts(g))];
  if (settled.length)
    parts.push(`From 4 segments to 256 memories of one answer stay together with ${join(settled.map(spreads))}.`);
  if (drifting.length)
    parts.push(`From 4 segments to 256 memories of one answer drift apart with ${join(drifting.map(spreads))}.`);
  const left = all.filter(g => of(g, "left") !== undefined);
  const share = (g: Group): string => `${percent(100 * of(g, "left")!)} with ${g.label}`;
  const after = "Of a disturbance eight segments leave ";
  const drawn = left.filter(g => of(g, "left")! < 0.5);
  const kept = left.filter(g => of(g, "left")! >= 0.5);
  if (drawn.length) parts.push(`${after}${join(drawn.map(share))}: neighbours are drawn in.`);
  if (kept.length) parts.push(`${after}${join(kept.map(share))}: neighbours are not drawn in.`);
  return parts.join(" ") + lone(all);
}

/** How memories of one answer spread, by segments. */
function spreading(results: readonly Entry[]): Figure[] {
  const series = results.flatMap(e => {
    const figure = list(e["figures"])
      .map(bag)
      .find(f => f["kind"] === "spread");
    const arm = String(e["arm"]);
    const points = list(figure?.["points"]).map((p): Point => [num(list(p)[0]) ?? NaN, num(list(p)[1]) ?? NaN]);
    return points.length ? [{ name: ARMS[arm]!.name, colour: Object.keys(ARMS).indexOf(arm), points, dots: true }] : [];
  });
  if (series.length === 0) return [];
  const draw = (width: number): string =>
    lines({
      title: "How far memories of one answer lie apart",
      series,
      x: { label: "segments of background (log scale)", log: 2 },
      y: { label: "share of the distance between answers", min: 0 },
      width,
      height: 280,
    });
  const caption =
    "A curve a cell: the mean distance of memories of one answer from their middle, over that of the middles of " +
    "answers from the middle of all.";
  return [{ charts: [fitted(draw, 720)], caption }];
}

/** What dropout does to a memory. */
export const dropout: Table = {
  name: "dropout",
  title: "Dropout and memory",
  where: "Beside the papers",
  question: "Why does a memory that was trained with dropout last?",
  setting: { name: "task", said: value => value },
  arms: Object.fromEntries(Object.entries(ARMS).map(([arm, { name }]) => [arm, name])),
  cells: crossed(Object.keys(ARMS), ["memorize"]),
  columns,
  accuracy: "over the most segments of training",
  differences: [
    {
      what: "dropout",
      paper: "0.1, as BERT has it; nothing is said of what it does to memory",
      here: "none, 0.1, 0.2; noise of 0.3 on every number of memory between segments; weight decay of 0.3",
    },
    { what: "model, task, curriculum", paper: "see memorize", here: `memorize, on up to ${MOST} segments` },
  ],
  config: ({ arm }, share): Config => ({
    segment: 16,
    at: "start",
    ...HERE,
    ...ARMS[arm]!.config,
    most: MOST,
    holds: 0,
    grows: 0.6,
    steps: stepsOf(share, STEPS),
    questions: share.quick ? 20 : 200,
    "far questions": share.quick ? 20 : 100,
    longest: share.quick ? 16 : 1024,
    watched: share.quick ? 16 : 256,
  }),
  train(cell, config, tape) {
    const about = task({ segment: Number(config["segment"]), at: "start" });
    const { run, held, training, measured } = trained(cell, config, tape, "dropout", { trained: about, tested: about });
    return {
      ...training,
      finish() {
        const { spreads, moved, left } = settling(run, about, Number(config["watched"]));
        const early = spreads.find(([s]) => s === 4)![1];
        const metrics = { ...measured(), early, late: spreads.at(-1)![1], moved, left };
        const path = cell.seed === 1 ? [pathOf(run, about, held.fork("path"), 64)] : [];
        const figures: FigureData[] = [{ kind: "spread", points: spreads }, ...path];
        return { metrics, figures };
      },
    };
  },
  conclusion,
  figures: results => [...spreading(results), ...pathFigures(results, e => capital(ARMS[String(e["arm"])]!.name))],
};
