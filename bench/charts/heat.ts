// heat.ts: a map with a token on every row and column. A pure function of its arguments.
import { escaped, px, short, svg, wrap, write } from "./svg.ts";

/** What `heat` draws. */
export interface Heat {
  title: string;
  note?: string;
  /** What a cell's number is. */
  label: string;
  x: { label: string };
  y: { label: string };
  rows: readonly string[];
  columns: readonly string[];
  /** NaN, null and missing are blank. */
  values: readonly (readonly (number | null | undefined)[])[];
  min?: number;
  max?: number;
  /** Below `HUES` of svg.ts. */
  colour?: number;
  /** A row to outline. */
  mark?: number;
  /** Lines in front of a row and a column, with a word at the column's, where a map of a causal model is empty. */
  borders?: readonly { row: number; column: number; label: string }[];
}

const cut = (token: string): string => ([...token].length > 12 ? `${[...token].slice(0, 11).join("")}…` : token);
const margin = (tokens: readonly string[]): number => 10 + Math.max(6, ...tokens.map(t => [...cut(t)].length * 6.4));

/** Where everything is, and what the darkest cell is worth. */
interface Frame {
  heads: string[];
  cell: number;
  left: number;
  right: number;
  top: number;
  bottom: number;
  under: number;
  low: number;
  high: number;
  empty: boolean;
}

function framed({ title, rows, columns, values, min = 0, max }: Heat): Frame {
  const numbers = values.flatMap(row => row.filter((v): v is number => Number.isFinite(v)));
  const most = max ?? numbers.reduce((a, b) => Math.max(a, b), -Infinity);
  const cell = Math.max(9, Math.min(20, Math.floor(396 / Math.max(1, columns.length))));
  const left = margin(rows);
  const heads = wrap(title, 310, 14.5);
  const top = heads.length * 18 + 22;
  const bottom = top + rows.length * cell;
  return {
    heads,
    cell,
    left,
    right: left + columns.length * cell,
    top,
    bottom,
    under: bottom + margin(columns) + 16,
    low: min,
    high: Number.isFinite(most) && most > min ? most : min + 1,
    empty: numbers.length === 0,
  };
}

function cells({ rows, columns, values, label, colour = 0 }: Heat, i: number, frame: Frame): string {
  const { cell, left, top, low, high } = frame;
  const parts = columns.map((to, j) => {
    const v = values[i]?.[j];
    if (!Number.isFinite(v)) return "";
    const share = Math.min(1, Math.max(0, (v! - low) / (high - low)));
    const at = `x="${px(left + j * cell)}" y="${px(top + i * cell)}" width="${cell - 1}" height="${cell - 1}"`;
    const ink = share < 0.005 ? "" : `<rect ${at} class="c${colour}" fill-opacity="${share.toFixed(2)}"/>`;
    const hover = `${label} ${short(v!) || "0"}, from “${rows[i]}” (${i}) to “${to}” (${j})`;
    return `<g><title>${escaped(hover)}</title><rect ${at} fill="var(--cell)"/>${ink}</g>`;
  });
  return parts.join("");
}

/** The scale, in the empty corner above the diagonal. */
function legend({ label, colour = 0 }: Heat, { left, right, top, low, high, empty }: Frame): string[] {
  if (empty) return [write(left, top + 12, "no data", "soft")];
  const steps = 6;
  const from = right - steps * 14;
  const patches = Array.from({ length: steps }, (_, i) => {
    const at = `x="${px(from + i * 14)}" y="${top + 18}" width="14" height="9"`;
    return `<rect ${at} class="c${colour}" fill-opacity="${(i / (steps - 1)).toFixed(2)}"/>`;
  });
  return [
    write(right, top + 12, label, "soft", "end"),
    ...patches,
    write(from, top + 40, short(low) || "0", "soft"),
    write(right, top + 40, short(high), "soft", "end"),
  ];
}

function outline({ rows, columns, mark }: Heat, { left, top, cell }: Frame): string[] {
  if (mark === undefined || rows[mark] === undefined) return [];
  const at = `x="${px(left - 1.5)}" y="${px(top + mark * cell - 1.5)}"`;
  return [`<rect class="mark" ${at} width="${px(columns.length * cell + 2)}" height="${cell + 2}"/>`];
}

function lines({ borders = [] }: Heat, { left, right, top, bottom, cell }: Frame): string[] {
  return borders.flatMap(({ row, column, label }) => {
    const [x, y] = [left + column * cell - 0.5, top + row * cell - 0.5];
    const path = `M${px(x)} ${top - 4}V${bottom}M${px(left)} ${px(y)}H${px(right)}`;
    return [`<path class="reference" d="${path}"/>`, write(x + 4, top + 12, label, "soft halo")];
  });
}

/** A heat map as SVG; for causal maps leave the future out and it stays blank. */
export function heat(chart: Heat): string {
  const { title, note = "", x, y, rows, columns, mark } = chart;
  const frame = framed(chart);
  const { heads, cell, left, right, top, bottom, under } = frame;
  const width = Math.max(right + 4, 310);
  const notes = wrap(note, width, 11.5);
  const size = ` style="font-size:${Math.min(10.5, cell)}px"`;
  const bold = (i: number): string => (i === mark ? ' font-weight="700"' : "");
  const column = (token: string, j: number): string => {
    const at = left + j * cell + cell / 2 + 3;
    const turn = ` transform="rotate(-90 ${px(at)} ${bottom + 8})"`;
    return write(at, bottom + 8, cut(token), "token", "end", turn + size);
  };
  const out = [
    ...heads.map((row, i) => write(0, 13 + 18 * i, row, "title")),
    write(0, heads.length * 18 + 12, y.label, "soft"),
    write((left + right) / 2, under - 2, x.label, "soft", "middle"),
    ...rows.flatMap((token, i) => [
      write(left - 6, top + i * cell + cell / 2 + 3, cut(token), "token", "end", bold(i) + size),
      cells(chart, i, frame),
    ]),
    ...outline(chart, frame),
    ...lines(chart, frame),
    ...columns.map(column),
    ...legend(chart, frame),
    ...notes.map((row, i) => write(0, under + 16 + 16 * i, row, "soft")),
  ];
  return svg(width, under + (notes.length ? 8 + 16 * notes.length : 0), title, out);
}
