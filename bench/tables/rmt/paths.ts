// paths.ts: where memory goes over many segments, and what it reads: recorded of a trained model, and drawn.
import type { FactsTask, Random, RmtState, Seen } from "farsight";
import { heat } from "../../charts/heat.ts";
import { lines, type Point } from "../../charts/lines.ts";
import { fitted } from "../../charts/svg.ts";
import { bag, list, num, type Entry } from "../../records.ts";
import type { Figure, FigureData } from "../../study.ts";
import { capital, percent } from "../../words.ts";
import type { Made } from "./arms.ts";

/** A task whose answer is one of six places. */
export type Placed = FactsTask<{ tokens: number[]; place: number }>;

/** Row i of b samples in pieces of l tokens. */
export const pieces = (rows: readonly ArrayLike<number>[], l: number): number[][][] =>
  Array.from({ length: Math.ceil(rows[0]!.length / l) }, (_, s) =>
    rows.map(row => Array.prototype.slice.call(row, s * l, s * l + l) as number[]),
  );

/**
 * The memories of b sequences of whole segments, one by one [segments][b][m * d], from the model's first memory or from
 * others.
 */
export function memories(
  { tape, recurrent, params }: Made,
  rows: readonly ArrayLike<number>[],
  from?: readonly Float64Array[],
): Float64Array[][] {
  const { segment, memory: m } = recurrent.options;
  const b = rows.length;
  const found: Float64Array[][] = [];
  const keep = ({ memory }: RmtState): void => {
    const values = memory.values();
    const size = values.length / b;
    found.push(rows.map((_, i) => Float64Array.from(values.subarray(i * size, i * size + size))));
  };
  const given = (): RmtState => ({
    memory: tape.tensor([b, m, recurrent.model.config.d], Float32Array.from(from!.flatMap(row => [...row]))),
    at: segment,
  });
  tape.scope(() =>
    tape.noGrad(() => {
      let state = from && given();
      for (const piece of pieces(rows, segment)) {
        const run = recurrent.stream(params, [piece], { ask: "states", state });
        let next = run.next();
        while (!next.done) next = run.next();
        state = next.value!;
        keep(state);
      }
    }),
  );
  return found;
}

/** One sample of s segments for each place, in their order. */
export function onePerPlace(task: Placed, rng: Random, s: number): number[][] {
  const found: number[][] = [];
  for (let i = 0; found.filter(Boolean).length < task.places.length; i++) {
    const { tokens, place } = task.sample(rng.fork(i), s);
    found[place] ??= tokens;
  }
  return found;
}

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
};

/** The first k principal components of rows of numbers: each row's places along them, and each one's share. */
export function principal(rows: readonly ArrayLike<number>[], k: number) {
  const d = rows[0]!.length;
  const mean = Float64Array.from({ length: d }, (_, j) => rows.reduce((sum, row) => sum + row[j]!, 0) / rows.length);
  const left = rows.map(row => Float64Array.from(row, (v, j) => v - mean[j]!));
  const whole = left.reduce((sum, row) => sum + dot(row, row), 0) || 1;
  const places: number[][] = rows.map(() => []);
  const shares: number[] = [];
  for (let c = 0; c < k; c++) {
    // Power iteration, from the longest row that is left.
    let axis = left.reduce((a, row) => (dot(row, row) > dot(a, a) ? row : a)).slice();
    for (let round = 0; round < 100; round++) {
      const next = new Float64Array(d);
      for (const row of left) {
        const by = dot(row, axis);
        for (let j = 0; j < d; j++) next[j]! += by * row[j]!;
      }
      const size = Math.sqrt(dot(next, next)) || 1;
      axis = next.map(v => v / size);
    }
    let share = 0;
    left.forEach((row, i) => {
      const at = dot(row, axis);
      places[i]!.push(at);
      share += at * at;
      for (let j = 0; j < d; j++) row[j]! -= at * axis[j]!;
    });
    shares.push(share / whole);
  }
  return { places, shares };
}

/** The path of memory over background, for each place that it may have to keep, in two components. */
export function pathOf(run: Made, task: Placed, rng: Random, segments: number): FigureData {
  const rows = onePerPlace(task, rng, segments + 1).map(row => row.slice(0, segments * task.segment));
  const found = memories(run, rows);
  const { places, shares } = principal(found.flat(), 2);
  const paths = rows.map((_, i) => ({
    place: task.words([task.places[i]!])[0]!,
    points: found.map((_, s) => places[s * rows.length + i]!),
  }));
  return { kind: "path", segments, shares, paths };
}

/**
 * What memory reads in each segment of one sample, by layers, as means over heads: a row for each written vector, and
 * one for the last token.
 */
export function readingOf({ tape, recurrent, params }: Made, task: Placed, rng: Random, segments: number): FigureData {
  const { memory: m, segment: l } = recurrent.options;
  const { tokens } = task.sample(rng, segments);
  const t = l + 2 * m;
  const queries = [...Array.from({ length: m }, (_, i) => m + l + i), m + l - 1];
  const maps: { layer: number; segment: number; weights: number[][] }[] = [];
  tape.scope(() =>
    tape.noGrad(() => {
      let state = recurrent.start(params, 1);
      pieces([tokens], l).forEach((piece, s) => {
        const watch = (layer: number, { attention }: Seen): void => {
          if (!attention) return;
          const weights = attention.weights();
          const h = weights.shape[1]!;
          const values = weights.values();
          const at = (query: number, key: number): number => {
            let sum = 0;
            for (let head = 0; head < h; head++) sum += values[(head * t + query) * t + key]!;
            return sum / h;
          };
          const map = queries.map(query => Array.from({ length: t }, (_, key) => at(query, key)));
          maps.push({ layer, segment: s + 1, weights: map });
        };
        state = recurrent.step(params, piece, state, { watch }).state;
      });
    }),
  );
  const words = pieces([tokens], l).map(([piece]) => task.words(piece!));
  return { kind: "reading", memory: m, words, maps };
}

const found = (e: Entry, kind: string) =>
  list(e["figures"])
    .map(bag)
    .find(f => f["kind"] === kind);

/** Memory's paths on record, of the first result of each arm and setting that has one; `called` says which it is. */
export function pathFigures(results: readonly Entry[], called: (e: Entry) => string): Figure[] {
  return results.flatMap((e): Figure[] => {
    const figure = found(e, "path");
    if (!figure) return [];
    const series = list(figure["paths"]).map((path, colour) => ({
      name: String(bag(path)["place"]),
      colour,
      points: list(bag(path)["points"]).map((p): Point => [num(list(p)[0]) ?? NaN, num(list(p)[1]) ?? NaN]),
      dots: true,
    }));
    const shares = list(figure["shares"]).map(v => percent(100 * (num(v) ?? NaN)));
    const draw = (width: number): string =>
      lines({
        title: capital(called(e)),
        series,
        x: { label: `first component, ${shares[0]} of the variance` },
        y: { label: `second, ${shares[1]}` },
        width,
        height: 320,
      });
    const caption =
      `The memory after each of ${String(figure["segments"])} segments, one path for each answer that it may have to ` +
      "keep, in its first two principal components. The name stands at the path's end.";
    return [{ charts: [fitted(draw, 560)], caption }];
  });
}

/** What memory read, on record: a map of each segment and layer. */
export function readingFigures(results: readonly Entry[], called: (e: Entry) => string): Figure[] {
  return results.flatMap((e): Figure[] => {
    const figure = found(e, "reading");
    if (!figure) return [];
    const m = num(figure["memory"]) ?? 0;
    const slots = (word: string): string[] => Array.from({ length: m }, (_, i) => `${word} ${i + 1}`);
    const maps = list(figure["maps"]).map(bag);
    const charts = maps.map(map => {
      const words = list(list(figure["words"])[Number(map["segment"]) - 1]).map(String);
      return heat({
        title: `Segment ${String(map["segment"])}, layer ${String(map["layer"])}`,
        label: "attention",
        x: { label: "what is read" },
        y: { label: "who reads" },
        rows: [...slots("write"), words.at(-1)!],
        columns: [...slots("read"), ...words, ...slots("write")],
        values: list(map["weights"]) as number[][],
      });
    });
    const caption =
      `${capital(called(e))}: what each written memory vector and the segment's last token attend to, as means over ` +
      "heads. The first segment of a sample, one in between, and the one with the question.";
    return [{ charts, caption }];
  });
}
