// svg.ts: what all charts share: SVG as text, escaped, its style sheet, and charts beside each other. Colours are CSS
// variables, so a chart follows the page from light to dark. Text is 12 px at any width: a chart is drawn for a width,
// never scaled down to it.

const SANS = `system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif`;
const MONO = `ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace`;
/** Font families of pages with charts. */
export const fonts = { sans: SANS, mono: MONO };

const hue = (c: number): string =>
  `svg.chart .c${c} { fill: var(--c${c}); }\nsvg.chart .s${c} { stroke: var(--c${c}); }`;

/** How many hues there are, from 0. */
export const HUES = 6;
/** How many curves can be told apart, from 0: one of each hue, then a dashed one of each. */
export const CURVES = 2 * HUES;
/** The classes of a curve's hue and dashes. `way`: "s" of a stroke, "c" of a fill. */
export const curved = (way: "s" | "c", curve: number): string =>
  `${way}${curve % HUES}${curve % CURVES < HUES ? "" : " dashed"}`;

/** The style sheet the charts need. Hues are Okabe and Ito's, darkened or lightened until text in them is readable. */
export const style = `
:root {
  color-scheme: light dark; --paper: #fffffc; --ink: #1b1e22; --soft: #646a72; --rule: #dfe2e5; --cell: #f1f2f2;
  --c0: #0064a8; --c1: #b94a00; --c2: #00775a; --c3: #9c4f80; --c4: #7a6400; --c5: #5b6068;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15181b; --ink: #e8e9ea; --soft: #9ba2a9; --rule: #32373c; --cell: #1f2428;
    --c0: #62b6ee; --c1: #f0a030; --c2: #35c79c; --c3: #dd8fbf; --c4: #d8c84a; --c5: #a4abb3;
  }
}
svg.chart {
  display: block; overflow: visible; font: 12px/1.3 ${SANS};
  font-variant-numeric: tabular-nums; fill: var(--ink);
}
svg.chart .title { font-size: 14px; font-weight: 600; }
svg.chart .soft { fill: var(--soft); }
svg.chart .rule { stroke: var(--rule); fill: none; }
svg.chart .reference { stroke: var(--soft); stroke-dasharray: 3 3; fill: none; }
svg.chart .halo { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round; }
svg.chart .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
svg.chart .dashed { stroke-dasharray: 7 5; }
svg.chart circle.dashed { fill: var(--paper); stroke-width: 2; stroke-dasharray: none; }
svg.chart text.dashed { text-decoration: underline dashed; }
svg.chart .raw { stroke-width: 1; opacity: .3; }
svg.chart .lead { stroke-width: 1; opacity: .6; stroke-dasharray: 1 3; }
svg.chart .name { font-weight: 600; }
svg.chart .token { font: 10.5px/1 ${MONO}; }
svg.chart .mark { fill: none; stroke: var(--ink); stroke-width: 1.5; }
svg.chart rect:hover { stroke: var(--ink); }
${Array.from({ length: HUES }, (_, c) => hue(c)).join("\n")}
`;

/** Text made safe between tags and inside quotes. */
export const escaped = (text: unknown): string => String(text).replace(/[&<>"'`]/g, c => `&#${c.charCodeAt(0)};`);

/** A length to a tenth of a pixel. */
export const px = (x: number): string => String(Math.round(x * 10) / 10);

/** Words at a place. `more`: attributes. */
export function write(x: number, y: number, words: string, classes = "", anchor = "start", more = ""): string {
  const look = classes && ` class="${classes}"`;
  const side = anchor === "start" ? "" : ` text-anchor="${anchor}"`;
  return `<text x="${px(x)}" y="${px(y)}"${look}${side}${more}>${escaped(words)}</text>`;
}

/** How wide a label is, near enough to leave room for it. */
export const wide = (words: string, size = 12): number => [...words].length * size * 0.6;

/** A number as a person writes it on an axis. */
export function short(x: number): string {
  const size = Math.abs(x);
  if (x === 0 || !Number.isFinite(x)) return x === 0 ? "0" : "";
  if (size >= 1e9) return Number(x.toPrecision(3)).toExponential().replace("e+", "e");
  if (size >= 1e6) return `${Number((x / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${Number((x / 1e3).toPrecision(3))}k`;
  return size < 1e-3 ? x.toExponential(0) : String(Number(x.toPrecision(3)));
}

/** Words as rows no wider than `room`, where no single word is. */
export function wrap(words: string, room: number, size: number): string[] {
  const rows: string[] = [];
  for (const word of words.split(/\s+/).filter(Boolean)) {
    const longer = rows.length ? `${rows[rows.length - 1]} ${word}` : word;
    if (rows.length && wide(longer, size) <= room) rows[rows.length - 1] = longer;
    else rows.push(word);
  }
  return rows;
}

/** A whole chart. */
export function svg(width: number, height: number, title: string, parts: readonly string[]): string {
  const w = Math.ceil(width);
  const h = Math.ceil(height);
  const size = `width="${w}" height="${h}" viewBox="0 0 ${w} ${h}"`;
  return `<svg class="chart" role="img" aria-label="${escaped(title)}" ${size}>${parts.join("")}</svg>`;
}

/** Charts side by side while there is room, one below the other when there is not; each scrolls inside its own box. */
export const multiples = (charts: readonly string[]): string =>
  `<div class="multiples">${charts.map(c => `<div class="box">${c}</div>`).join("")}</div>`;

/** One chart drawn twice, for a page and for a phone; the style sheet of the report shows the one that fits. */
export const fitted = (draw: (width: number) => string, width = 440): string =>
  `<div class="page">${draw(width)}</div><div class="phone">${draw(310)}</div>`;
