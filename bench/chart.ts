// chart.ts: charts as SVG text. Pure functions of their arguments; every label is escaped; colours are the CSS
// variables of `style`, so a chart follows the page from light to dark. Text is 12 px at any width: a chart is drawn
// for a width, never scaled down to it.

export type Point = readonly [number, number];
export interface Axis {
  label: string;
  log?: boolean | 2 | 10;
  min?: number;
  max?: number;
  percent?: boolean;
}
export interface Series {
  name: string;
  points: readonly Point[];
  colour?: number;
  dots?: boolean;
}
/** A level to compare with: a dashed line at one x or one y. */
export interface Reference {
  x?: number;
  y?: number;
  label: string;
}
export interface Lines {
  title: string;
  note?: string;
  series: readonly Series[];
  x: Axis;
  y: Axis;
  references?: readonly Reference[];
  width?: number;
  height?: number;
  smooth?: boolean; // draws a running mean over a fiftieth of the points, the points themselves faintly behind it
}
export interface Heat {
  title: string;
  note?: string;
  label: string;
  x: { label: string };
  y: { label: string };
  rows: readonly string[];
  columns: readonly string[];
  values: readonly (readonly (number | null | undefined)[])[]; // NaN, null and missing are blank
  min?: number;
  max?: number;
  colour?: number;
  mark?: number; // mark: a row to outline
}

/** The style sheet the charts need. Hues are Okabe and Ito's, darkened or lightened until text in them is readable. */
export const style = `
:root { color-scheme: light dark; --paper: #fffffc; --ink: #1b1e22; --soft: #646a72; --rule: #dfe2e5; --cell: #f1f2f2;
  --c0: #0064a8; --c1: #b94a00; --c2: #00775a; --c3: #9c4f80; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181b; --ink: #e8e9ea; --soft: #9ba2a9; --rule: #32373c; --cell: #1f2428;
  --c0: #62b6ee; --c1: #f0a030; --c2: #35c79c; --c3: #dd8fbf; } }
svg.chart { display: block; overflow: visible; font: 12px/1.3 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
  font-variant-numeric: tabular-nums; fill: var(--ink); }
svg.chart .title { font-size: 14px; font-weight: 600; }
svg.chart .soft { fill: var(--soft); }
svg.chart .rule { stroke: var(--rule); fill: none; }
svg.chart .reference { stroke: var(--soft); stroke-dasharray: 3 3; fill: none; }
svg.chart .halo { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round; }
svg.chart .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
svg.chart .raw { stroke-width: 1; opacity: .3; }
svg.chart .lead { stroke-width: 1; opacity: .6; stroke-dasharray: 1 3; }
svg.chart .name { font-weight: 600; }
svg.chart .token { font: 10.5px/1 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
svg.chart .mark { fill: none; stroke: var(--ink); stroke-width: 1.5; }
svg.chart rect:hover { stroke: var(--ink); }
${[0, 1, 2, 3].map(c => `svg.chart .c${c} { fill: var(--c${c}); } svg.chart .s${c} { stroke: var(--c${c}); }`).join("\n")}`;

/** Text made safe between tags and inside quotes. */
export const escaped = (text: unknown): string => String(text).replace(/[&<>"'`]/g, c => `&#${c.charCodeAt(0)};`);

const px = (x: number) => String(Math.round(x * 10) / 10);
const write = (x: number, y: number, words: string, classes = "", anchor = "start", more = "") =>
  `<text x="${px(x)}" y="${px(y)}"${classes && ` class="${classes}"`}${anchor === "start" ? "" : ` text-anchor="${anchor}"`}${more}>${escaped(words)}</text>`;
/** How wide a label is, near enough to leave room for it. */
const wide = (words: string, size = 12) => [...words].length * size * 0.6;

/** A number as a person writes it on an axis. */
export function short(x: number): string {
  const size = Math.abs(x);
  if (x === 0 || !Number.isFinite(x)) return x === 0 ? "0" : "";
  if (size >= 1e6) return `${Number((x / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${Number((x / 1e3).toPrecision(3))}k`;
  return size < 1e-3 ? x.toExponential(0) : String(Number(x.toPrecision(3)));
}

function wrap(words: string, room: number, size: number): string[] {
  const rows: string[] = [];
  for (const word of words.split(/\s+/).filter(Boolean)) {
    const longer = rows.length ? `${rows[rows.length - 1]} ${word}` : word;
    if (rows.length && wide(longer, size) <= room) rows[rows.length - 1] = longer;
    else rows.push(word);
  }
  return rows;
}

/**
 * Runs of points that fall in one column keep their first, lowest, highest and last: a spike stays as tall as it was.
 * Points that are no numbers are kept once, as gaps.
 */
export function thin(points: readonly Point[], column: (x: number) => number): Point[] {
  const kept: Point[] = [];
  let run: Point[] = [];
  const flush = () => {
    if (run.length > 4) {
      const low = run.reduce((a, b) => (b[1] < a[1] ? b : a));
      const high = run.reduce((a, b) => (b[1] > a[1] ? b : a));
      const keep = new Set([run[0], low, high, run[run.length - 1]]);
      run = run.filter(p => keep.has(p));
    }
    kept.push(...run);
    run = [];
  };
  for (const point of points) {
    if (!sound(point)) {
      flush();
      if (kept.length && sound(kept[kept.length - 1]!)) kept.push(point);
    } else {
      if (run.length && column(run[0]![0]) !== column(point[0])) flush();
      run.push(point);
    }
  }
  flush();
  return kept;
}
const sound = ([x, y]: Point) => Number.isFinite(x) && Number.isFinite(y);

/** Centred running mean over `window` points; gaps stay gaps. */
function smoothed(points: readonly Point[], window: number): Point[] {
  const reach = Math.floor(window / 2);
  return points.map((p, i) => {
    if (!sound(p)) return p;
    const near = points.slice(Math.max(0, i - reach), i + reach + 1).filter(sound);
    return [p[0], near.reduce((sum, q) => sum + q[1], 0) / near.length];
  });
}

interface Scale {
  at(v: number): number;
  ticks: number[];
  holds(v: number): boolean;
}

function scale(axis: Axis, values: readonly number[], from: number, to: number, count: number): Scale {
  const base = axis.log === 2 ? 2 : 10;
  const log = Boolean(axis.log);
  const fit = values.filter(v => Number.isFinite(v) && (!log || v > 0));
  let low = axis.min ?? fit.reduce((a, b) => Math.min(a, b), Infinity);
  let high = axis.max ?? fit.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!(low <= high) || !Number.isFinite(low + high)) [low, high] = log ? [1, base] : [0, 1];
  if (low === high)
    [low, high] = log ? [low / base, high * base] : [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
  const ticks: number[] = [];
  if (log) {
    const turns = Math.log(high / low) / Math.log(base);
    const skip = Math.max(1, Math.ceil(turns / count));
    const first = Math.floor(Math.log(low) / Math.log(base));
    for (let e = first; e <= first + turns + 2; e++) {
      for (const m of base === 10 && turns < 2.5 ? [1, 2, 5] : [1])
        if ((e - first) % skip === 0) ticks.push(m * base ** e);
    }
  } else {
    const rough = (high - low) / count;
    const ten = 10 ** Math.floor(Math.log10(rough));
    const step = ten * ([1, 2, 2.5, 5].find(m => m * ten >= rough) ?? 10);
    if (axis.min === undefined) low = step * Math.floor(low / step + 1e-9);
    if (axis.max === undefined) high = step * Math.ceil(high / step - 1e-9);
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++)
      ticks.push(Number((i * step).toPrecision(12)));
  }
  const f = log ? Math.log : (v: number) => v;
  const holds = (v: number) => (!log || v > 0) && v >= low * (1 - 1e-9) - 1e-12 && v <= high * (1 + 1e-9) + 1e-12;
  return {
    ticks: ticks.filter(holds),
    holds,
    at: v => from + ((to - from) * (f(Math.min(high, Math.max(low, v))) - f(low))) / (f(high) - f(low)),
  };
}

/** Curves with their names at their ends. */
export function lines({
  title,
  note = "",
  series,
  x,
  y,
  references = [],
  width = 440,
  height = 240,
  smooth = false,
}: Lines): string {
  const drawable = (p: Point): Point => [x.log && p[0] <= 0 ? NaN : p[0], y.log && p[1] <= 0 ? NaN : p[1]];
  const shown = series.map((s, i) => ({ ...s, colour: (s.colour ?? i) % 4, points: s.points.map(drawable) }));
  const all = shown.flatMap(s => s.points.filter(sound));
  const heads = wrap(title, width, 14.5);
  const notes = wrap(note, width, 11.5);
  const upright = references.filter(r => r.x !== undefined);
  const worth = (axis: Axis, v: number) => (axis.percent ? `${short(100 * v) || v} %` : short(v) || String(v));
  const right = width - Math.min(width * 0.4, Math.max(24, ...shown.map(s => wide(s.name, 13.5) + 10)));
  const top = heads.length * 18 + 24 + (upright.length ? 20 : 0);
  const bottom = top + height;
  const Y = scale(y, [...all.map(p => p[1]), ...references.flatMap(r => r.y ?? [])], bottom, top, height / 50);
  const left = 8 + Math.max(16, ...Y.ticks.map(v => wide(worth(y, v))));
  const across = [...all.map(p => p[0]), ...references.flatMap(r => r.x ?? [])];
  const farthest = across.reduce((a, b) => Math.max(a, b), -Infinity);
  const X = scale(Number.isFinite(farthest) ? { max: farthest, ...x } : x, across, left, right, (right - left) / 60);
  const out: string[] = heads.map((row, i) => write(0, 13 + 18 * i, row, "title"));
  out.push(write(0, heads.length * 18 + 12, y.label, "soft"));
  for (const v of Y.ticks)
    out.push(
      `<path class="rule" d="M${left} ${px(Y.at(v))}H${px(right)}"/>`,
      write(left - 6, Y.at(v) + 4, worth(y, v), "soft", "end"),
    );
  for (const v of X.ticks)
    out.push(
      `<path class="rule" d="M${px(X.at(v))} ${bottom}v4"/>`,
      write(X.at(v), bottom + 17, worth(x, v), "soft", "middle"),
    );
  out.push(write((left + right) / 2, bottom + 35, x.label, "soft", "middle"));
  for (const r of references) {
    if (r.y !== undefined && Y.holds(r.y))
      out.push(`<path class="reference" d="M${left} ${px(Y.at(r.y))}H${px(right)}"/>`);
    if (r.x === undefined || !X.holds(r.x)) continue;
    const at = X.at(r.x);
    const flip = at + wide(r.label) > width;
    out.push(
      `<path class="reference" d="M${px(at)} ${top - 14}V${bottom}"/>`,
      write(at + (flip ? -5 : 5), top - 8, r.label, "soft", flip ? "end" : "start"),
    );
  }
  if (all.length === 0) out.push(write((left + right) / 2, (top + bottom) / 2, "no data", "soft", "middle"));
  const column = (v: number) => Math.round(X.at(v));
  const path = (points: readonly Point[]) => {
    let pen = false;
    return thin(points, column)
      .map(p => {
        if (!sound(p)) return ((pen = false), "");
        const to = `${pen ? "L" : "M"}${px(X.at(p[0]))} ${px(Y.at(p[1]))}`;
        return ((pen = true), to);
      })
      .join("");
  };
  const ends = new Map<string, { name: string; colour: number; x: number; y: number; n: number }>();
  for (const s of shown) {
    const points = s.points.filter(sound);
    if (points.length === 0) continue;
    const window = smooth && points.length > 100 ? Math.ceil(points.length / 50) : 1;
    const curve = window > 1 ? smoothed(s.points, window) : s.points;
    const last = curve.filter(sound).at(-1)!;
    const hover = `<title>${escaped(`${s.name}: ${worth(y, last[1])} at ${worth(x, last[0])}`)}</title>`;
    if (window > 1) out.push(`<path class="line raw s${s.colour}" d="${path(s.points)}"/>`);
    out.push(`<path class="line s${s.colour}" d="${path(curve)}">${hover}</path>`);
    if (s.dots || points.length === 1) {
      for (const p of points)
        out.push(
          `<circle class="c${s.colour}" cx="${px(X.at(p[0]))}" cy="${px(Y.at(p[1]))}" r="3"><title>${escaped(`${s.name}: ${worth(y, p[1])} at ${worth(x, p[0])}`)}</title></circle>`,
        );
    }
    const end = ends.get(s.name) ?? { name: s.name, colour: s.colour, x: X.at(last[0]), y: 0, n: 0 };
    ends.set(s.name, {
      ...end,
      x: Math.max(end.x, X.at(last[0])),
      y: (end.y * end.n + Y.at(last[1])) / (end.n + 1),
      n: end.n + 1,
    });
  }
  // Names sit beside the ends of their lines, pushed apart to 15 px: downwards first, then back up from the bottom.
  const names = [...ends.values()].sort((a, b) => a.y - b.y).map(e => ({ ...e, to: e.y }));
  names.forEach((e, i) => {
    if (i) e.to = Math.max(e.to, names[i - 1]!.to + 15);
  });
  for (let i = names.length - 1; i >= 0; i--)
    names[i]!.to = Math.min(names[i]!.to, i === names.length - 1 ? bottom : names[i + 1]!.to - 15);
  for (const e of names) {
    if (right - e.x > 12)
      out.push(`<path class="line lead s${e.colour}" d="M${px(e.x + 5)} ${px(e.y)}L${px(right)} ${px(e.to)}"/>`);
    out.push(write(right + 7, e.to + 4, e.name, `name c${e.colour}`));
  }
  for (const r of references)
    if (r.y !== undefined && Y.holds(r.y))
      out.push(write(left + 4, Math.min(Y.at(r.y) + 14, bottom - 4), r.label, "soft halo"));
  notes.forEach((row, i) => out.push(write(0, bottom + 58 + 16 * i, row, "soft")));
  return svg(width, bottom + 42 + (notes.length ? 8 + 16 * notes.length : 0), title, out);
}

/** A heat map with a token on every row and column; for causal maps leave the future out and it stays blank. */
export function heat({
  title,
  note = "",
  label,
  x,
  y,
  rows,
  columns,
  values,
  min = 0,
  max,
  colour = 0,
  mark,
}: Heat): string {
  const numbers = values.flatMap(row => row.filter((v): v is number => Number.isFinite(v)));
  const high = max ?? numbers.reduce((a, b) => Math.max(a, b), -Infinity);
  const top1 = Number.isFinite(high) && high > min ? high : min + 1;
  const cell = Math.max(9, Math.min(20, Math.floor(396 / Math.max(1, columns.length))));
  const cut = (token: string) => ([...token].length > 12 ? `${[...token].slice(0, 11).join("")}…` : token);
  const margin = (tokens: readonly string[]) => 10 + Math.max(6, ...tokens.map(token => [...cut(token)].length * 6.4));
  const left = margin(rows);
  const wideAll = Math.max(left + columns.length * cell + 4, 310);
  const heads = wrap(title, 310, 14.5);
  const notes = wrap(note, wideAll, 11.5);
  const top = heads.length * 18 + 22;
  const bottom = top + rows.length * cell;
  const under = bottom + margin(columns) + 16;
  const out = heads.map((row, i) => write(0, 13 + 18 * i, row, "title"));
  out.push(
    write(0, heads.length * 18 + 12, y.label, "soft"),
    write(left + (columns.length * cell) / 2, under - 2, x.label, "soft", "middle"),
  );
  const bold = (i: number) => (i === mark ? ' font-weight="700"' : "");
  const size = ` style="font-size:${Math.min(10.5, cell)}px"`;
  rows.forEach((token, i) => {
    out.push(write(left - 6, top + i * cell + cell / 2 + 3, cut(token), "token", "end", bold(i) + size));
    const cells = columns.map((to, j) => {
      const v = values[i]?.[j];
      if (!Number.isFinite(v)) return "";
      const share = Math.min(1, Math.max(0, (v! - min) / (top1 - min)));
      const at = `x="${px(left + j * cell)}" y="${px(top + i * cell)}" width="${cell - 1}" height="${cell - 1}"`;
      const ink = share < 0.005 ? "" : `<rect ${at} class="c${colour}" fill-opacity="${share.toFixed(2)}"/>`;
      return `<g><title>${escaped(`${label} ${short(v!) || "0"}, from “${token}” (${i}) to “${to}” (${j})`)}</title><rect ${at} fill="var(--cell)"/>${ink}</g>`;
    });
    out.push(cells.join(""));
  });
  if (mark !== undefined && rows[mark] !== undefined)
    out.push(
      `<rect class="mark" x="${px(left - 1.5)}" y="${px(top + mark * cell - 1.5)}" width="${px(columns.length * cell + 2)}" height="${cell + 2}"/>`,
    );
  columns.forEach((token, j) => {
    const at = left + j * cell + cell / 2 + 3;
    out.push(
      write(at, bottom + 8, cut(token), "token", "end", ` transform="rotate(-90 ${px(at)} ${bottom + 8})"${size}`),
    );
  });
  // The scale stands in the empty corner above the diagonal.
  const end = left + columns.length * cell;
  const steps = 6;
  if (numbers.length) {
    out.push(write(end, top + 12, label, "soft", "end"));
    for (let i = 0; i < steps; i++)
      out.push(
        `<rect x="${px(end - (steps - i) * 14)}" y="${top + 18}" width="14" height="9" class="c${colour}" fill-opacity="${(i / (steps - 1)).toFixed(2)}"/>`,
      );
    out.push(
      write(end - steps * 14, top + 40, short(min) || "0", "soft"),
      write(end, top + 40, short(top1), "soft", "end"),
    );
  } else out.push(write(left, top + 12, "no data", "soft"));
  notes.forEach((row, i) => out.push(write(0, under + 16 + 16 * i, row, "soft")));
  return svg(wideAll, under + (notes.length ? 8 + 16 * notes.length : 0), title, out);
}

function svg(width: number, height: number, title: string, parts: readonly string[]): string {
  const w = Math.ceil(width);
  const h = Math.ceil(height);
  return `<svg class="chart" role="img" aria-label="${escaped(title)}" width="${w}" height="${h}" viewBox="0 0 ${w} ${h}">${parts.join("")}</svg>`;
}

/** Charts side by side while there is room, one below the other when there is not; each scrolls inside its own box. */
export const multiples = (charts: readonly string[]): string =>
  `<div class="multiples">${charts.map(c => `<div class="box">${c}</div>`).join("")}</div>`;

/** One chart drawn twice, for a page and for a phone; the style sheet of the report shows the one that fits. */
export const fitted = (draw: (width: number) => string, width = 440): string =>
  `<div class="page">${draw(width)}</div><div class="phone">${draw(310)}</div>`;
