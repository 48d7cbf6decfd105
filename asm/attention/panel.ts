// panel.ts: what attention does with a panel, NR queries of one head: two vectors of lanes, a lane a query, key by key.
// How the data moves stands at the head of forward.ts. Everywhere here `first` is the place of the query of lane 0, and
// st holds logits, key by key.
import { LANES, LEAST, splatAt } from "../simd";
import { addColumns } from "../columns";
import { Inlined, LOG2E, exp2Table, log } from "../math";
import { MR, NR, tile, tileRows, transpose, transposeAdd } from "../matmul";
import { finite, weighed } from "../row";
import { dot } from "../weigh";

const W: usize = sizeof<real>();
/** Bytes of one key's logits. */
export const ROW: usize = NR * W;
/** What so many queries send, or keys of a panel, is added up at once, in f32; of more by parts, in f64 or as good. */
export const MANY: usize = 1024;
/** No place: nothing is masked. */
export const NEVER: usize = <usize>-1;

/** Numbers of n rows of d, in whole vectors. */
export function drawn(n: usize, d: usize): usize {
  return (n * d + LANES - 1) & ~(LANES - 1);
}

/**
 * n rows of h heads of d numbers, rows `xi` bytes apart, drawn together head by head, heads `block` bytes apart. Rows
 * are read from end to end, as prefetchers expect.
 */
export function draw(n: usize, h: usize, d: usize, x: usize, xi: usize, to: usize, block: usize): void {
  const row = d * W;
  const whole = row & ~15;
  for (let r: usize = 0, at = to; r < n; r++, x += xi, at += row)
    for (let j: usize = 0, from = x, head = at; j < h; j++, from += row, head += block) {
      let o: usize = 0;
      for (; o + 48 < whole; o += 64) {
        v128.store(head + o, v128.load(from + o));
        v128.store(head + o, v128.load(from + o, 16), 16);
        v128.store(head + o, v128.load(from + o, 32), 32);
        v128.store(head + o, v128.load(from + o, 48), 48);
      }
      for (; o < whole; o += 16) v128.store(head + o, v128.load(from + o));
      for (; o < row; o += W) store<real>(head + o, load<real>(from + o));
    }
}
/** The transpose: what was drawn together goes to rows `yi` bytes apart, added when `add`. */
export function undraw(n: usize, h: usize, d: usize, from: usize, block: usize, y: usize, yi: usize, add: bool): void {
  const row = d * W;
  const whole = row & ~15;
  for (let r: usize = 0; r < n; r++, y += yi, from += row)
    for (let j: usize = 0, to = y, head = from; j < h; j++, to += row, head += block) {
      let o: usize = 0;
      if (add) for (; o < whole; o += 16) v128.store(to + o, v128.add<real>(v128.load(to + o), v128.load(head + o)));
      else for (; o < whole; o += 16) v128.store(to + o, v128.load(head + o));
      for (; o < row; o += W) move(head + o, to + o, add);
    }
}
/** Zeros in whole vectors. */
export function clear(n: usize, at: usize): void {
  for (const end = at + n * W; at < end; at += 16) v128.store(at, v128.splat<real>(0));
}

/**
 * y = alpha a b, or y += when `add`: m rows of NR lanes, `yi` bytes apart; a's numbers `ai` and `ak` bytes apart, one
 * of the two being W; rows of b `bk`.
 */
export function times(
  m: usize,
  k: usize,
  alpha: real,
  a: usize,
  ai: usize,
  ak: usize,
  b: usize,
  bk: usize,
  y: usize,
  yi: usize,
  add: bool,
): void {
  if (ai == W) tile(m, k, alpha, a, MR * W, ak, b, bk, add ? y : 0, yi, y, yi);
  else tileRows(m, k, alpha, a, ai, b, bk, add ? y : 0, yi, y, yi);
}

/**
 * What queries send to keys: y (m x d, rows `yi` bytes apart) += alpha Σ_c a[., c] x[c] over `lanes` queries; rows of a
 * lie `ai` bytes apart, those of x `xi`. The query of lane c stands at place `first + c`: keys behind it get nothing
 * from it. `first` NEVER: all get something. Rows of x touch; where they are not all finite, one with a factor of 0 is
 * not read.
 */
export function send(
  m: usize,
  d: usize,
  lanes: usize,
  first: usize,
  alpha: real,
  a: usize,
  ai: usize,
  x: usize,
  xi: usize,
  y: usize,
  yi: usize,
  edge: usize,
): void {
  const some = !finite(lanes * d, x);
  const high: usize = some ? 1 : MR;
  for (let i: usize = 0; i < m; i += high) {
    const rows = min(high, m - i);
    const skip = first != NEVER && i > first ? i - first : 0;
    const from = a + i * ai + skip * W;
    if (some) {
      for (let j: usize = 0, to = y + i * yi; j < d; j++, to += W)
        store<real>(to, load<real>(to) + alpha * dot(lanes - skip, from, W, x + skip * xi + j * W, xi));
      continue;
    }
    for (let j: usize = 0; j < d; j += NR) {
      const columns = min(NR, d - j);
      const source = x + skip * xi + j * W;
      const to = y + i * yi + j * W;
      if (columns == NR) tileRows(rows, lanes - skip, alpha, from, ai, source, xi, to, yi, to, yi);
      else {
        tileRows(rows, lanes - skip, alpha, from, ai, source, xi, 0, 0, edge, ROW);
        for (let l: usize = 0; l < rows; l++)
          for (let c: usize = 0; c < columns; c++)
            store<real>(to + l * yi + c * W, load<real>(to + l * yi + c * W) + load<real>(edge + l * ROW + c * W));
      }
    }
  }
}

/** st -= slopes max(0, place - j); `slopes` are NR, and lane c's query is at place `first + c apart`. */
export function decline(end: usize, first: usize, apart: usize, slopes: usize, st: usize): void {
  const zero = v128.splat<real>(0);
  const steps = v128.splat<real>(<real>apart);
  const lanes = memory.data<real>([0, 1, 2, 3, 4, 5, 6, 7]);
  const lanes0 = v128.mul<real>(steps, v128.load(lanes));
  const lanes1 = v128.mul<real>(steps, v128.load(lanes, 16));
  const slopes0 = v128.load(slopes);
  const slopes1 = v128.load(slopes, 16);
  for (let j: usize = 0; j < end; j++, st += ROW) {
    const far = v128.splat<real>(<real>(<isize>(first - j)));
    const fall0 = v128.mul<real>(slopes0, v128.pmax<real>(zero, v128.add<real>(far, lanes0)));
    const fall1 = v128.mul<real>(slopes1, v128.pmax<real>(zero, v128.add<real>(far, lanes1)));
    v128.store(st, v128.sub<real>(v128.load(st), fall0));
    v128.store(st, v128.sub<real>(v128.load(st, 16), fall1), 16);
  }
}

/**
 * st (rows `si` bytes apart) += z[min(max(0, place - j), r - 1)], lane c's query being at place `first + c apart` and
 * z r rows of lanes `zi` bytes apart; or, with room at `edge`, the transpose: z[...] += st. Keys at least r - 1 places
 * before the panel all read z's last row. With more queries than keys the first places lie before the first key:
 * `first` is then a negative number, wrapped.
 */
export function shift(
  end: usize,
  first: usize,
  apart: usize,
  r: usize,
  z: usize,
  zi: usize,
  st: usize,
  si: usize,
  edge: usize,
): void {
  const last = z + (r - 1) * zi;
  const far = <usize>min<isize>(<isize>end, max<isize>(0, <isize>(first - r + 2)));
  if (edge) addColumns(far, NR, 0, 0, st, si, last, true, edge);
  else {
    const z0 = v128.load(last);
    const z1 = v128.load(last, 16);
    for (let j: usize = 0; j < far; j++) {
      v128.store(st + j * si, v128.add<real>(v128.load(st + j * si), z0));
      v128.store(st + j * si, v128.add<real>(v128.load(st + j * si, 16), z1), 16);
    }
  }
  if (edge && end > MANY) {
    // Keys behind all of the panel's queries read z's first row.
    const late = <usize>max<isize>(<isize>far, <isize>(first + NR - 1));
    if (late < end) {
      addColumns(end - late, NR, 0, 0, st + late * si, si, z, true, edge);
      end = late;
    }
  }
  for (let j = far; j < end; j++)
    for (let c: usize = 0; c < NR; c++) {
      const distance = <usize>max<isize>(0, <isize>(first + c * apart - j));
      const at = st + j * si + c * W;
      const row = z + min(distance, r - 1) * zi + c * W;
      if (edge) store<real>(row, load<real>(row) + load<real>(at));
      else store<real>(at, load<real>(at) + load<real>(row));
    }
}

/**
 * y = 2^(x - by) lane by lane, rows of x ROW apart, of y `yi`. Nothing of x may be above `by` by more than rounding.
 */
function weights(end: usize, x: usize, by: usize, y: usize, yi: usize): void {
  const t = exp2Table();
  const low = splatAt(t, 0);
  const rounder = splatAt(t, 2);
  const ln2 = splatAt(t, 3);
  const one = splatAt(t, 4);
  const p0 = splatAt(t, 5);
  const p1 = splatAt(t, 6);
  const p2 = splatAt(t, 7);
  const p3 = splatAt(t, 8);
  const p4 = splatAt(t, 9);
  const by0 = v128.load(by);
  const by1 = v128.load(by, 16);
  for (const stop = x + end * ROW; x < stop; x += ROW, y += yi) {
    const x0 = v128.pmax<real>(v128.sub<real>(v128.load(x), by0), low);
    const x1 = v128.pmax<real>(v128.sub<real>(v128.load(x, 16), by1), low);
    v128.store(y, Inlined.boundedExp2(x0, rounder, ln2, one, p0, p1, p2, p3, p4));
    v128.store(y, Inlined.boundedExp2(x1, rounder, ln2, one, p0, p1, p2, p3, p4), 16);
  }
}
/**
 * The weights again, and the gradient of the logits from theirs: pt = 2^(st - lse), dt = pt (dt - delta), 0
 * where pt is 0, whatever dt is. Rows of st
 * lie ROW apart, the others `wide`.
 */
export function weightsBack(end: usize, st: usize, lse: usize, delta: usize, pt: usize, dt: usize, wide: usize): void {
  weights(end, st, lse, pt, wide);
  const delta0 = v128.load(delta);
  const delta1 = v128.load(delta, 16);
  for (const stop = pt + end * wide; pt < stop; pt += wide, dt += wide) {
    v128.store(dt, weighed(v128.load(pt), v128.sub<real>(v128.load(dt), delta0)));
    v128.store(dt, weighed(v128.load(pt, 16), v128.sub<real>(v128.load(dt, 16), delta1)), 16);
  }
}
/**
 * st = 2^(st - top) over the keys, each lane's largest logit taken off; leaves 1/Σ in `inverse` and top + log2 Σ in
 * `lse`. Two keys at a time.
 */
export function softmaxPanel(end: usize, st: usize, inverse: usize, lse: usize, edge: usize): void {
  const least = v128.splat<real>(LEAST);
  const stop = st + (end & ~1) * ROW;
  let top0 = least;
  let top1 = least;
  let more0 = least;
  let more1 = least;
  for (let o = st; o < stop; o += 2 * ROW) {
    // pmax is one instruction; of NaN the sum tells
    top0 = v128.pmax<real>(top0, v128.load(o));
    top1 = v128.pmax<real>(top1, v128.load(o, 16));
    more0 = v128.pmax<real>(more0, v128.load(o, ROW));
    more1 = v128.pmax<real>(more1, v128.load(o, ROW + 16));
  }
  if (end & 1) {
    more0 = v128.pmax<real>(more0, v128.load(stop));
    more1 = v128.pmax<real>(more1, v128.load(stop, 16));
  }
  top0 = v128.pmax<real>(top0, more0);
  top1 = v128.pmax<real>(top1, more1);
  v128.store(lse, top0);
  v128.store(lse, top1, 16);
  weights(end, st, lse, st, ROW);
  addColumns(end, NR, 0, 0, st, ROW, inverse, false, edge);
  finish(top0, inverse, lse);
  finish(top1, inverse + 16, lse + 16);
}
/**
 * A query that may see nothing has Σ = 0: its weights are 0, and so is its lse, with which the backward pass makes 0 of
 * -Infinity.
 */
function finish(top: v128, inverse: usize, lse: usize): void {
  const sum = v128.load(inverse);
  const some = v128.ne<real>(sum, v128.splat<real>(0));
  v128.store(inverse, v128.and(v128.div<real>(v128.splat<real>(1), sum), some));
  v128.store(lse, v128.and(v128.add<real>(top, v128.mul<real>(log(sum), v128.splat<real>(LOG2E))), some));
}

/**
 * The first n lanes of d rows of lanes, times by[lane] (or 1 at address 0), to n rows of d numbers `step` bytes apart;
 * added when `add`.
 */
export function spread(n: usize, d: usize, from: usize, by: usize, y: usize, step: usize, add: bool): void {
  if (by) {
    const b0 = v128.load(by);
    const b1 = v128.load(by, 16);
    for (let o = from; o < from + d * ROW; o += ROW) {
      v128.store(o, v128.mul<real>(b0, v128.load(o)));
      v128.store(o, v128.mul<real>(b1, v128.load(o, 16)), 16);
    }
  }
  const whole = n & ~(LANES - 1);
  for (let c: usize = 0; c < whole; c += LANES) {
    let i: usize = 0;
    for (const most = d & ~(LANES - 1); i < most; i += LANES) {
      if (add) transposeAdd(from + i * ROW + c * W, ROW, y + c * step + i * W, step);
      else transpose(from + i * ROW + c * W, ROW, y + c * step + i * W, step);
    }
    for (; i < d; i++)
      for (let l: usize = c; l < c + LANES; l++) move(from + i * ROW + l * W, y + l * step + i * W, add);
  }
  for (let c = whole; c < n; c++)
    for (let i: usize = 0; i < d; i++) move(from + i * ROW + c * W, y + c * step + i * W, add);
}
function move(from: usize, to: usize, add: bool): void {
  store<real>(to, add ? load<real>(to) + load<real>(from) : load<real>(from));
}
/** n <= NR numbers. */
export function copyFew(n: usize, from: usize, to: usize): void {
  for (let i: usize = 0; i < n * W; i += W) store<real>(to + i, load<real>(from + i));
}
