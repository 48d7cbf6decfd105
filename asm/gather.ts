// gather.ts: rows picked by integers, the interpolated picking of contextual positions, and rotary turns.
//
// ids         rows of a table, integers
// index       places in a row, t s integers
// cos, sin    of the angles of t places, d/2 a place
import { addColumns } from "./columns";
import { rowAdd } from "./row";

const W: usize = sizeof<real>();

/** y[i] = w[ids[i]], rows of d numbers. */
// threads: n ids#4 y+d | 0.2 ns n d
export function gather(n: usize, d: usize, w: usize, ids: usize, y: usize): void {
  for (let i: usize = 0; i < n; i++, y += d * W) memory.copy(y, w + <usize>load<i32>(ids + i * 4) * d * W, d * W);
}

/**
 * Rows of n numbers from x, `xi` apart, t for each of b sequences, to the places from starts[i] on of y, which has c
 * rows for each.
 */
// threads: serial, a copy of few rows
export function placeRows(b: usize, t: usize, n: usize, x: usize, xi: usize, starts: usize, c: usize, y: usize): void {
  for (let i: usize = 0; i < b; i++, y += c * n * W) {
    let to = y + <usize>load<i32>(starts + i * 4) * n * W;
    for (let r: usize = 0; r < t; r++, x += xi * W, to += n * W) memory.copy(to, x, n * W);
  }
}

/**
 * dw[ids[i]] += dy[i], dw having v rows. `room` for v + n integers: the first place of each id, and the next place of
 * the same id of each place, n where there is none.
 */
// threads: serial, two ids may name one row
export function gatherBack(
  n: usize,
  d: usize,
  v: usize,
  ids: usize,
  dy: usize,
  dw: usize,
  add: bool,
  room: usize,
  scratch: usize,
): void {
  if (!dw) return;
  if (!add) memory.fill(dw, 0, v * d * W);
  const next = room + v * 4;
  for (let i: usize = 0; i < n; i++) store<u32>(room + load<u32>(ids + i * 4) * 4, n);
  for (let i = n; i--;) {
    const first = room + load<u32>(ids + i * 4) * 4;
    store<u32>(next + i * 4, load<u32>(first));
    store<u32>(first, i);
  }
  for (let i: usize = 0; i < n; i++) {
    const id = <usize>load<u32>(ids + i * 4);
    if (load<u32>(room + id * 4) != i) continue;
    const to = dw + id * d * W;
    if (load<u32>(next + i * 4) == n) rowAdd(d, dy + i * d * W, to, true);
    else addColumns(n, d, i, next, dy, d * W, to, true, scratch);
  }
}

/** y[o, i, j] = z[o, i, index[i, j]]: z has p numbers for each of t rows, index and y have s. */
// threads: o z+t.p y+t.s | 1 ns o t s
export function pick(o: usize, t: usize, p: usize, s: usize, z: usize, index: usize, y: usize): void {
  for (let a: usize = 0; a < o; a++)
    for (let i: usize = 0; i < t; i++, z += p * W)
      for (let j: usize = 0; j < s; j++, y += W)
        store<real>(y, load<real>(z + <usize>load<i32>(index + (i * s + j) * 4) * W));
}

/** dz[o, i, index[i, j]] += dy[o, i, j] */
// threads: o dy+t.s dz+t.p | 1.5 ns o t s
export function pickBack(o: usize, t: usize, p: usize, s: usize, index: usize, dy: usize, dz: usize, add: bool): void {
  if (!dz) return;
  if (!add) memory.fill(dz, 0, o * t * p * W);
  for (let a: usize = 0; a < o; a++)
    for (let i: usize = 0; i < t; i++, dz += p * W)
      for (let j: usize = 0; j < s; j++, dy += W) {
        const at = dz + <usize>load<i32>(index + (i * s + j) * 4) * W;
        store<real>(at, load<real>(at) + load<real>(dy));
      }
}

/**
 * y = (1 - w) z[floor P] + w z[ceil P] with P = min(x, p - 1), w = P - floor P (CoPE, eq. 5 and 8).
 * z has p numbers a row, x and y have s.
 */
// threads: rows z+p x+s y+s | 2 ns rows s
export function interpolate(rows: usize, p: usize, s: usize, z: usize, x: usize, y: usize): void {
  const most = <real>(p - 1);
  for (let r: usize = 0; r < rows; r++, z += p * W)
    for (let j: usize = 0; j < s; j++, x += W, y += W) {
      const place = min<real>(load<real>(x), most);
      const below = floor<real>(place);
      const w = place - below;
      const low = load<real>(z + <usize>below * W);
      const high = load<real>(z + <usize>ceil<real>(place) * W);
      store<real>(y, (1 - w) * low + w * high);
    }
}

/** dz[floor] += (1 - w) dy, dz[ceil] += w dy, dx += dy (z[ceil] - z[floor]): 0 on whole numbers and beyond p - 1. */
// threads: rows z+p x+s dy+s dz+p dx+s | 3 ns rows s
export function interpolateBack(
  rows: usize,
  p: usize,
  s: usize,
  z: usize,
  x: usize,
  dy: usize,
  dz: usize,
  addZ: bool,
  dx: usize,
  addX: bool,
): void {
  const most = <real>(p - 1);
  if (dz && !addZ) memory.fill(dz, 0, rows * p * W);
  for (let r: usize = 0; r < rows; r++) {
    for (let o: usize = 0; o < s * W; o += W) {
      const place = min<real>(load<real>(x + o), most);
      const below = floor<real>(place);
      const w = place - below;
      const g = load<real>(dy + o);
      const low = <usize>below * W;
      const high = <usize>ceil<real>(place) * W;
      if (dx) store<real>(dx + o, (addX ? load<real>(dx + o) : 0) + g * (load<real>(z + high) - load<real>(z + low)));
      if (dz) {
        store<real>(dz + low, load<real>(dz + low) + (1 - w) * g);
        store<real>(dz + high, load<real>(dz + high) + w * g);
      }
    }
    z += p * W;
    x += s * W;
    dy += s * W;
    if (dz) dz += p * W;
    if (dx) dx += s * W;
  }
}

/**
 * Turns pairs (u, v) by an angle: (u cos - v sin, v cos + u sin), cos and sin being t rows of d/2; `sign` -1 turns
 * back. Pairs are (m, m + d/2), or (2m, 2m + 1) when `interleaved`. Added to y when `add`.
 */
// threads: b x+t.h.d y+t.h.d | 1.2 ns b t h d
export function rope(
  b: usize,
  t: usize,
  h: usize,
  d: usize,
  interleaved: bool,
  sign: real,
  cos: usize,
  sin: usize,
  x: usize,
  y: usize,
  add: bool,
): void {
  if (!y) return;
  const half = d / 2;
  const step = interleaved ? 2 * W : W; // from pair to pair
  const apart = interleaved ? W : half * W; // from u to v
  for (let i: usize = 0; i < b * t; i++) {
    const row = (i % t) * half * W;
    for (let j: usize = 0; j < h; j++, x += d * W, y += d * W)
      for (let m: usize = 0; m < half; m++) {
        const o = m * step;
        const c = load<real>(cos + row + m * W);
        const s = sign * load<real>(sin + row + m * W);
        const u = load<real>(x + o);
        const v = load<real>(x + o + apart);
        const p = u * c - v * s;
        const q = v * c + u * s;
        store<real>(y + o, add ? load<real>(y + o) + p : p);
        store<real>(y + o + apart, add ? load<real>(y + o + apart) + q : q);
      }
  }
}
