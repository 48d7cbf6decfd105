// boundaries.ts: figure 4: what positions alone attend to around the beginning of a section and the end of a paragraph.
import type { Seen } from "farsight";
import { heat } from "../../charts/heat.ts";
import { bag, list, num, type Entry, type Numbers } from "../../records.ts";
import type { Figure, FigureData } from "../../study.ts";
import { plain } from "../../words.ts";
import type { Made } from "./arms.ts";

/** How many of the last bytes are shown, and of their rows every which. */
const SHOWN = 100;
const EVERY = 2;
/** Bytes beside a boundary that are compared, and bytes of the last paragraph. */
const BESIDE = 8;
const LAST = 40;

/** From the first byte of a boundary to that behind it. */
type Boundary = readonly [from: number, to: number];
const boundaryNames = ["paragraph", "section"] as const;

/** A text with both boundaries, at its bytes. */
export interface Piece {
  readonly ids: Uint8Array;
  /** The heading, and blank lines around it. */
  readonly section: Boundary;
  /** The end of a line between two paragraphs of that section. */
  readonly paragraph: Boundary;
}

/**
 * The first piece of a text, of so many bytes, that ends in a section's heading of the second level, a short paragraph
 * and the beginning of another one; nothing where there is none.
 */
export function piece(text: ArrayLike<number>, bytes: number): Piece | undefined {
  const all = Uint8Array.from(text);
  // Latin-1 has a character a byte.
  const found = Buffer.from(all.buffer).toString("latin1");
  const parts = /[^=\n]{16}\n( \n = = [^=\n]+ = = \n \n)( [^=\n]{24,60})\n [^=\n]{39}/g;
  for (const match of found.matchAll(parts)) {
    const [whole, heading, paragraph] = match as unknown as [string, string, string];
    const start = match.index + whole.length - bytes;
    const section = bytes - LAST - 1 - paragraph.length - heading.length;
    if (start < 0 || section - BESIDE < bytes - SHOWN) continue;
    const end = bytes - LAST;
    return {
      ids: all.slice(start, start + bytes),
      section: [section, section + heading.length],
      paragraph: [end - 1, end],
    };
  }
  return undefined;
}

const rounded = (v: number): number => Number(v.toFixed(3));

/** A head's map around the boundaries, and what the last paragraph sees on this side of each and beyond it. */
interface HeadMap {
  layer: number;
  head: number;
  sides: Record<(typeof boundaryNames)[number], { near: number; far: number }>;
  values: number[][];
}

/** The map of one head of attention h t t, each row divided by its largest number. */
function mapped(attention: ArrayLike<number>, head: number, part: Piece): Pick<HeadMap, "sides" | "values"> {
  const t = part.ids.length;
  const rows = Array.from({ length: t }, (_, i) => {
    const row = Array.from({ length: i + 1 }, (_, j) => attention[(head * t + i) * t + j]!);
    const most = Math.max(...row);
    return row.map(v => v / most);
  });
  const queries = rows.slice(part.paragraph[1] + BESIDE);
  const seen = (from: number): number => {
    const sums = queries.map(row => row.slice(from, from + BESIDE).reduce((a, v) => a + v, 0) / BESIDE);
    return sums.reduce((a, v) => a + v, 0) / sums.length;
  };
  const of = ([from, to]: Boundary) => ({ near: seen(to), far: seen(from - BESIDE) });
  return {
    sides: { paragraph: of(part.paragraph), section: of(part.section) },
    values: shown(t).map(i => rows[i]!.slice(t - SHOWN).map(rounded)),
  };
}

/** The places of the rows that are shown of t. */
const shown = (t: number): number[] =>
  Array.from({ length: SHOWN / EVERY }, (_, n) => t - SHOWN + EVERY * n + EVERY - 1);

/** The heads whose attention by position falls off most: at the paragraph's end, and of the others at the section. */
export function boundaries({ tape, model, params, heads }: Made, part: Piece): FigureData {
  const t = part.ids.length;
  const all: HeadMap[] = [];
  const watch = (layer: number, { attention }: Seen): void =>
    tape.scope(() => {
      const values = attention?.gates()?.byPosition().values();
      if (!values) return;
      for (let head = 0; head < heads; head++) all.push({ layer, head: head + 1, ...mapped(values, head, part) });
    });
  tape.scope(() => tape.noGrad(() => model.logits(params, tape.integers([1, t], part.ids), { watch })));
  const maps = boundaryNames.map(boundary => {
    const fall = ({ sides }: HeadMap): number => sides[boundary].near - sides[boundary].far;
    const most = all.reduce((a, m) => (fall(m) > fall(a) ? m : a));
    all.splice(all.indexOf(most), 1);
    const { layer, head, sides, values } = most;
    const { near, far } = sides[boundary];
    return { boundary, layer, head, near: rounded(near), far: rounded(far), values };
  });
  const at = (place: number): number => place - (t - SHOWN);
  return {
    kind: "boundaries",
    tokens: Array.from(part.ids.subarray(t - SHOWN), lettered),
    rows: shown(t).map(at),
    paragraph: at(part.paragraph[1]),
    section: at(part.section[0]),
    beside: BESIDE,
    maps,
  };
}

/** A byte as a picture shows it. */
const lettered = (byte: number): string =>
  byte === 10 ? "¶" : byte > 32 && byte < 127 ? String.fromCharCode(byte) : byte === 32 ? " " : "·";

const WHERE = { paragraph: "at the end of a paragraph", section: "at the beginning of a section" } as const;

/** What is recorded of a result, as a figure of two maps. */
export function boundariesFigure(e: Entry): Figure[] {
  const figures = list(e["figures"]).map(bag);
  return figures.filter(r => r["kind"] === "boundaries").map(drawn);
}
function drawn(r: Numbers): Figure {
  const tokens = list(r["tokens"]).map(String);
  const places = list(r["rows"]).map(i => num(i)!);
  const rows = places.map(i => tokens[i]!);
  const borders = boundaryNames.map(name => {
    const column = num(r[name])!;
    return { column, row: places.filter(i => i < column).length, label: name };
  });
  const maps = list(r["maps"]).map(bag);
  const charts = maps.map(m =>
    heat({
      title: `Layer ${m["layer"]}, head ${m["head"]}: attention by position, ${WHERE[m["boundary"] as "section"]}`,
      x: { label: "byte looked at" },
      y: { label: "byte looking back" },
      rows,
      columns: tokens,
      values: list(m["values"]).map(row => list(row).map(v => num(v))),
      label: "share of the largest",
      max: 1,
      borders,
    }),
  );
  const said = maps.map(m => {
    const [near, far] = [num(m["near"])!, num(m["far"])!];
    const falls = near > far ? "falls off most" : "comes nearest to falling off";
    const [here, there] = [near, far].map(v => plain(Number(v.toFixed(2))));
    return (
      `Layer ${m["layer"]}, head ${m["head"]} ${falls} ${WHERE[m["boundary"] as "section"]}: the last paragraph ` +
      `gives the ${r["beside"]} bytes after it ${here} of the largest in a row on average, ` +
      `the ${r["beside"]} before it ${there}.`
    );
  });
  const caption =
    "Attention by position alone, as if all contents were alike, in a held-out text; of every second byte, each row " +
    `divided by its largest number, which may lie before the bytes shown. ¶ is the end of a line. ${said.join(" ")}`;
  return { charts, caption };
}
