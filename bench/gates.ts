// gates.ts: what CoPE counts in one sequence: gates and positions as a trained model has them, recorded and drawn.
import type { GatePositions, Seen, Tape, Tensor, TransformerWeights, transformer } from "farsight";
import { heat } from "./charts/heat.ts";
import { list, num, type Entry } from "./records.ts";
import type { Figure } from "./study.ts";
import { capital, mean, plain } from "./words.ts";

/** A model to look into. */
export interface Looking {
  tape: Tape;
  model: ReturnType<typeof transformer>;
  params: TransformerWeights;
  heads: number;
}

/** Which token's gates ought to be open, those of all others unless given, and which one's shut. */
export interface Contrast {
  counted?: string;
  passed: string;
}

/** Gates and positions of one head as triangles, and how much wider its last row opens on the one than on the other. */
function triangle({ gates, positions }: GatePositions, head: number, words: readonly string[], of: Contrast) {
  const t = words.length;
  const row = (x: Tensor, i: number): number[] => {
    const from = (head * t + i) * t;
    return Array.from(x.values().subarray(from, from + i + 1), v => Number(v.toFixed(3)));
  };
  const last = row(gates, t - 1);
  const open = (is: (word: string) => boolean): number => {
    const g = last.filter((_, j) => is(words[j]!));
    return g.reduce((a, x) => a + x, 0) / Math.max(1, g.length);
  };
  const { counted, passed } = of;
  const isCounted = (word: string): boolean => (counted === undefined ? word !== passed : word === counted);
  return {
    contrast: open(isCounted) - open(word => word === passed),
    gates: words.map((_, i) => row(gates, i)),
    positions: words.map((_, i) => row(positions, i)),
  };
}

/** Logits 1 t v of a sequence, and the map of the head whose last token opens most on one token and not the other. */
export function gatesOf(run: Looking, tokens: ArrayLike<number>, words: readonly string[], of: Contrast) {
  const { tape, model, params, heads } = run;
  const maps: ({ layer: number; head: number } & ReturnType<typeof triangle>)[] = [];
  const watch = (layer: number, { attention }: Seen): void => {
    const counted = attention?.gates();
    if (!counted) return;
    for (let head = 0; head < heads; head++)
      maps.push({ layer, head: head + 1, ...triangle(counted, head, words, of) });
  };
  const logits = tape.scope(() =>
    tape.noGrad(() => {
      const ids = tape.integers([1, tokens.length], Array.from(tokens));
      return model.logits(params, ids, { watch }).values().slice();
    }),
  );
  const { contrast: _, ...map } = maps.reduce((a, m) => (m.contrast > a.contrast ? m : a));
  return { logits, map };
}

const MOST = 44; // tokens of a map

/** The last tokens of a recorded triangle's rows. */
const cornered = (r: Entry, field: string, skip: number): number[][] =>
  list(r[field])
    .slice(skip)
    .map((row, i) =>
      list(row)
        .slice(skip, skip + i + 1)
        .map(v => num(v) ?? NaN),
    );

/** On which token the last row's gates are widest open. */
function widest(tokens: readonly string[], last: readonly number[]): string {
  const kinds = [...new Set(tokens)].map(token => {
    const open = last.filter((v, j) => tokens[j] === token && Number.isFinite(v));
    const others = last.filter((v, j) => tokens[j] !== token && Number.isFinite(v));
    return { token, open: open.length ? mean(open) : -1, others: others.length ? mean(others) : NaN };
  });
  const [first] = kinds.sort((a, b) => b.open - a.open);
  if (!first || first.open < 0 || !Number.isFinite(first.others)) return "";
  const said = (v: number): string => plain(Number(v.toFixed(2)));
  return (
    ` In that row the gates are widest open on “${first.token}”, ${said(first.open)} on average, ` +
    `against ${said(first.others)} on all other tokens.`
  );
}

function answered({ predicted, answer }: Entry): string {
  if (predicted === undefined) return "";
  if (String(predicted) === String(answer)) return ` It answers ${predicted}, which is right.`;
  return ` It answers ${predicted}${answer === undefined ? "" : `; ${answer} would be right`}.`;
}

/** A recorded map as two charts, and what they say of the last token. */
export function gatesFigure(r: Entry): Figure {
  const tokens = list(r["tokens"]).map(String);
  const skip = Math.max(0, tokens.length - MOST);
  const kept = tokens.slice(skip);
  const map = (title: string, field: string, label: string, colour: number, max?: number): string =>
    heat({
      title,
      x: { label: "token looked at" },
      y: { label: "token looking back" },
      rows: kept,
      columns: kept,
      values: cornered(r, field, skip),
      label,
      colour,
      mark: kept.length - 1,
      ...(max !== undefined && { max }),
    });
  const where = ["layer", "head"].filter(name => num(r[name]) !== undefined).map(name => `${name} ${r[name]}`);
  const caption = [
    where.length ? `${capital(where.join(", "))}. ` : "",
    "In the first map a full cell is a gate of 1: the token of that row counts the token of that column. ",
    "In the second a cell is the sum of the row's gates from its own token back to that column, ",
    "which is the position CoPE gives it. The outlined row is the last token, where the model answers.",
    answered(r),
    widest(kept, cornered(r, "gates", skip).at(-1) ?? []),
    skip ? ` The last ${kept.length} of ${tokens.length} tokens are shown.` : "",
  ];
  const charts = [
    map("Gates: what is counted", "gates", "gate", 0, 1),
    map("Positions: gates added up", "positions", "position", 1),
  ];
  return { charts, caption: caption.join("") };
}
