// lines.ts: curves over one axis, with their names at their ends. A pure function of its arguments.
import { CURVES, HUES, curved, escaped, px, short, svg, wide, wrap, write } from "./svg.ts";
import { scale, type Axis, type Scale } from "./scale.ts";

/** x and y. */
export type Point = readonly [number, number];
/** A curve; those of one name share it. */
export interface Series {
  name: string;
  points: readonly Point[];
  /** Below `CURVES`: beyond `HUES` it is dashed. */
  colour?: number;
  dots?: boolean;
}
/** A level to compare with: a dashed line at one x or one y. */
export interface Reference {
  x?: number;
  y?: number;
  label: string;
}
/** What `lines` draws. `width` and `height` of the plot in pixels; 440 and 240 unless given. */
export interface Lines {
  title: string;
  note?: string;
  series: readonly Series[];
  x: Axis;
  y: Axis;
  references?: readonly Reference[];
  width?: number;
  height?: number;
  /** Draws a running mean over a fiftieth of the points, and the points themselves faintly behind it. */
  smooth?: boolean;
}

const sound = ([x, y]: Point): boolean => Number.isFinite(x) && Number.isFinite(y);

/** Of points in one column the first, the lowest, the highest and the last. */
function extremes(run: readonly Point[]): readonly Point[] {
  if (run.length <= 4) return run;
  const low = run.reduce((a, b) => (b[1] < a[1] ? b : a));
  const high = run.reduce((a, b) => (b[1] > a[1] ? b : a));
  const keep = new Set([run[0], low, high, run[run.length - 1]]);
  return run.filter(p => keep.has(p));
}

/**
 * Runs of points that fall in one column keep their first, lowest, highest and last: a spike stays as tall as it was.
 * Points that are no numbers are kept once, as gaps.
 */
export function thin(points: readonly Point[], column: (x: number) => number): Point[] {
  const kept: Point[] = [];
  let run: Point[] = [];
  const flush = (): void => {
    kept.push(...extremes(run));
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

/** Centred running mean over `window` points; gaps stay gaps. */
function smoothed(points: readonly Point[], window: number): Point[] {
  const half = Math.floor(window / 2);
  return points.map((p, i) => {
    if (!sound(p)) return p;
    const near = points.slice(Math.max(0, i - half), i + half + 1).filter(sound);
    return [p[0], near.reduce((sum, q) => sum + q[1], 0) / near.length];
  });
}

const said = (axis: Axis, v: number): string => (axis.percent ? `${short(100 * v) || v} %` : short(v) || String(v));

type Curve = Series & { colour: number };
/** Where everything is: the plot's four sides, its scales, and rows of text above it. */
interface Frame {
  heads: string[];
  left: number;
  right: number;
  top: number;
  bottom: number;
  X: Scale;
  Y: Scale;
}

function framed(chart: Lines, curves: readonly Curve[], width: number, height: number): Frame {
  const { title, x, y, references = [] } = chart;
  const all = curves.flatMap(s => s.points.filter(sound));
  const heads = wrap(title, width, 14.5);
  const right = width - Math.min(width * 0.4, Math.max(24, ...curves.map(s => wide(s.name, 13.5) + 10)));
  const top = heads.length * 18 + 24 + (references.some(r => r.x !== undefined) ? 20 : 0);
  const bottom = top + height;
  const up = [...all.map(p => p[1]), ...references.flatMap(r => r.y ?? [])];
  const Y = scale(y, up, bottom, top, height / 50);
  const left = 8 + Math.max(16, ...Y.ticks.map(v => wide(said(y, v))));
  const across = [...all.map(p => p[0]), ...references.flatMap(r => r.x ?? [])];
  const farthest = across.reduce((a, b) => Math.max(a, b), -Infinity);
  const X = scale(Number.isFinite(farthest) ? { max: farthest, ...x } : x, across, left, right, (right - left) / 60);
  return { heads, left, right, top, bottom, X, Y };
}

function axes({ x, y }: Lines, { heads, left, right, bottom, X, Y }: Frame): string[] {
  const out = heads.map((row, i) => write(0, 13 + 18 * i, row, "title"));
  out.push(write(0, heads.length * 18 + 12, y.label, "soft"));
  for (const v of Y.ticks)
    out.push(
      `<path class="rule" d="M${left} ${px(Y.at(v))}H${px(right)}"/>`,
      write(left - 6, Y.at(v) + 4, said(y, v), "soft", "end"),
    );
  for (const v of X.ticks)
    out.push(
      `<path class="rule" d="M${px(X.at(v))} ${bottom}v4"/>`,
      write(X.at(v), bottom + 17, said(x, v), "soft", "middle"),
    );
  out.push(write((left + right) / 2, bottom + 35, x.label, "soft", "middle"));
  return out;
}

/** The dashed lines, and the names of the upright ones. */
function levels(references: readonly Reference[], { left, right, top, bottom, X, Y }: Frame, width: number): string[] {
  return references.flatMap(r => {
    const out: string[] = [];
    if (r.y !== undefined && Y.holds(r.y))
      out.push(`<path class="reference" d="M${left} ${px(Y.at(r.y))}H${px(right)}"/>`);
    if (r.x === undefined || !X.holds(r.x)) return out;
    const at = X.at(r.x);
    const flip = at + wide(r.label) > width;
    out.push(
      `<path class="reference" d="M${px(at)} ${top - 14}V${bottom}"/>`,
      write(at + (flip ? -5 : 5), top - 8, r.label, "soft", flip ? "end" : "start"),
    );
    return out;
  });
}

/** The names of the level ones, written last so that no curve hides them. */
const levelNames = (references: readonly Reference[], { left, bottom, Y }: Frame): string[] =>
  references.flatMap(r =>
    r.y !== undefined && Y.holds(r.y)
      ? [write(left + 4, Math.min(Y.at(r.y) + 14, bottom - 4), r.label, "soft halo")]
      : [],
  );

/** A path through points, lifted at gaps. */
function path(points: readonly Point[], { X, Y }: Frame): string {
  let pen = false;
  const parts = thin(points, v => Math.round(X.at(v))).map(p => {
    const move = pen ? "L" : "M";
    pen = sound(p);
    return pen ? `${move}${px(X.at(p[0]))} ${px(Y.at(p[1]))}` : "";
  });
  return parts.join("");
}

/** The curve that is drawn over the points: their running mean, or themselves. */
function main(s: Curve, smooth: boolean): readonly Point[] {
  const { length } = s.points.filter(sound);
  return smooth && length > 100 ? smoothed(s.points, Math.ceil(length / 50)) : s.points;
}

function drawn(s: Curve, { x, y, smooth = false }: Lines, frame: Frame): string[] {
  const { X, Y } = frame;
  const points = s.points.filter(sound);
  if (points.length === 0) return [];
  const curve = main(s, smooth);
  const last = curve.filter(sound).at(-1)!;
  const hover = (p: Point): string => `<title>${escaped(`${s.name}: ${said(y, p[1])} at ${said(x, p[0])}`)}</title>`;
  const out: string[] = [];
  const [hue, look] = [s.colour % HUES, curved("s", s.colour)];
  if (curve !== s.points) out.push(`<path class="line raw s${hue}" d="${path(s.points, frame)}"/>`);
  out.push(`<path class="line ${look}" d="${path(curve, frame)}">${hover(last)}</path>`);
  if (s.dots || points.length === 1)
    for (const p of points) {
      const at = `cx="${px(X.at(p[0]))}" cy="${px(Y.at(p[1]))}"`;
      out.push(`<circle class="${curved(s.colour < HUES ? "c" : "s", s.colour)}" ${at} r="3">${hover(p)}</circle>`);
    }
  return out;
}

/** Where the curves of one name end, on average, and where their name goes. */
interface End {
  name: string;
  colour: number;
  x: number;
  y: number;
  n: number;
  to: number;
}

/** Names beside the ends of their lines, pushed apart to 15 px: downwards first, then back up from the bottom. */
function names(curves: readonly Curve[], { smooth = false }: Lines, { right, bottom, X, Y }: Frame): string[] {
  const ends = new Map<string, End>();
  for (const s of curves) {
    const last = main(s, smooth).filter(sound).at(-1);
    if (!last) continue;
    const [x, y] = [X.at(last[0]), Y.at(last[1])];
    const e = ends.get(s.name) ?? { name: s.name, colour: s.colour, x, y: 0, n: 0, to: 0 };
    ends.set(s.name, { ...e, x: Math.max(e.x, x), y: (e.y * e.n + y) / (e.n + 1), n: e.n + 1 });
  }
  const list = [...ends.values()].sort((a, b) => a.y - b.y);
  let least = -Infinity;
  for (const e of list) {
    e.to = Math.max(e.y, least);
    least = e.to + 15;
  }
  let most = bottom;
  for (const e of list.reverse()) {
    e.to = Math.min(e.to, most);
    most = e.to - 15;
  }
  return list.reverse().flatMap(e => {
    const way = `M${px(e.x + 5)} ${px(e.y)}L${px(right)} ${px(e.to)}`;
    const lead = `<path class="line lead s${e.colour % HUES}" d="${way}"/>`;
    return [...(right - e.x > 12 ? [lead] : []), write(right + 7, e.to + 4, e.name, `name ${curved("c", e.colour)}`)];
  });
}

/** Curves with their names at their ends, as SVG. */
export function lines(chart: Lines): string {
  const { title, note = "", series, x, y, references = [], width = 440, height = 240 } = chart;
  const drawable = (p: Point): Point => [x.log && p[0] <= 0 ? NaN : p[0], y.log && p[1] <= 0 ? NaN : p[1]];
  const curves = series.map((s, i) => ({ ...s, colour: (s.colour ?? i) % CURVES, points: s.points.map(drawable) }));
  const frame = framed(chart, curves, width, height);
  const { left, right, top, bottom } = frame;
  const empty = curves.every(s => !s.points.some(sound));
  const notes = wrap(note, width, 11.5);
  const out = [
    ...axes(chart, frame),
    ...levels(references, frame, width),
    ...(empty ? [write((left + right) / 2, (top + bottom) / 2, "no data", "soft", "middle")] : []),
    ...curves.flatMap(s => drawn(s, chart, frame)),
    ...names(curves, chart, frame),
    ...levelNames(references, frame),
    ...notes.map((row, i) => write(0, bottom + 58 + 16 * i, row, "soft")),
  ];
  return svg(width, bottom + 42 + (notes.length ? 8 + 16 * notes.length : 0), title, out);
}
