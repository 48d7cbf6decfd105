// scale.ts: numbers to places along an axis, linear or logarithmic, and where its ticks are.

/** An axis: its ends are those of the values unless given; `log` alone is of base 10. */
export interface Axis {
  label: string;
  log?: boolean | 2 | 10;
  min?: number;
  max?: number;
  percent?: boolean;
}

/** An axis on a page. */
export interface Scale {
  /** The place of a number; beyond the ends it is that of the end. */
  at(v: number): number;
  ticks: number[];
  /** Whether a number lies between the ends. */
  holds(v: number): boolean;
}

/** The least and the largest to be shown: the axis's own, or the values', and apart in any case. */
function ends(axis: Axis, values: readonly number[], base: number): [number, number] {
  const { log } = axis;
  const fit = values.filter(v => Number.isFinite(v) && (!log || v > 0));
  const low = axis.min ?? fit.reduce((a, b) => Math.min(a, b), Infinity);
  const high = axis.max ?? fit.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!(low <= high) || !Number.isFinite(low + high)) return log ? [1, base] : [0, 1];
  if (low < high) return [low, high];
  const half = (Math.abs(low) || 1) / 2;
  return log ? [low / base, high * base] : [low - half, high + half];
}

/** Powers of the base; with few decades 2 and 5 times those of ten too. */
function powers(low: number, high: number, base: number, most: number): number[] {
  const turns = Math.log(high / low) / Math.log(base);
  const skip = Math.max(1, Math.ceil(turns / most));
  const first = Math.floor(Math.log(low) / Math.log(base));
  const ticks: number[] = [];
  for (let e = first; e <= first + turns + 2; e++)
    for (const m of base === 10 && turns < 2.5 ? [1, 2, 5] : [1])
      if ((e - first) % skip === 0) ticks.push(m * base ** e);
  return ticks;
}

/** A round step of which about `most` fit. */
function stride(low: number, high: number, most: number): number {
  const rough = (high - low) / most;
  const ten = 10 ** Math.floor(Math.log10(rough));
  return ten * ([1, 2, 2.5, 5].find(m => m * ten >= rough) ?? 10);
}

/** The scale of an axis that holds `values`, from one place to another, with some `most` ticks. */
export function scale(axis: Axis, values: readonly number[], from: number, to: number, most: number): Scale {
  const base = axis.log === 2 ? 2 : 10;
  let [low, high] = ends(axis, values, base);
  let ticks: number[] = [];
  if (axis.log) ticks = powers(low, high, base, most);
  else {
    const step = stride(low, high, most);
    if (axis.min === undefined) low = step * Math.floor(low / step + 1e-9);
    if (axis.max === undefined) high = step * Math.ceil(high / step - 1e-9);
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++)
      ticks.push(Number((i * step).toPrecision(12)));
  }
  const f = axis.log ? Math.log : (v: number): number => v;
  const holds = (v: number): boolean =>
    (!axis.log || v > 0) && v >= low * (1 - 1e-9) - 1e-12 && v <= high * (1 + 1e-9) + 1e-12;
  const at = (v: number): number => {
    const inside = Math.min(high, Math.max(low, v));
    return from + ((to - from) * (f(inside) - f(low))) / (f(high) - f(low));
  };
  return { ticks: ticks.filter(holds), holds, at };
}
