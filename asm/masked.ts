// masked.ts: what composed attention needs over a b h t s array of logits. `allowed` is a t x s array, 0 where query t
// may not look at key s; `keys` is a b x s array, 0 for padding, or nothing. What is masked is never read.
import { LANES, endOf, splat } from "./simd";
import { sigmoid } from "./math";
import { loadTail, rowExp, rowMax, rowScale, storeTail } from "./row";

const W: usize = sizeof<real>();

/** n <= LANES numbers at x, `fill` in the other lanes. These kernels are a reference: one loop, tails included. */
function some(x: usize, n: usize, fill: real): v128 {
  return n == LANES ? v128.load(x) : loadTail(x, n, fill);
}
/** The first n <= LANES lanes of v to y. */
function put(y: usize, n: usize, v: v128): void {
  if (n == LANES) v128.store(y, v);
  else storeTail(y, n, v);
}
/**
 * x where n numbers of a mask's row from byte `o` on are not 0, nor those of `keys`, the sequence's row of padding, if
 * there is one; else `other`. Any number but 0 shows a key.
 */
function seen(n: usize, allowed: usize, keys: usize, o: usize, x: v128, other: v128): v128 {
  const zero = splat(0);
  x = v128.bitselect(x, other, v128.ne<real>(some(allowed + o, n, 0), zero));
  return keys ? v128.bitselect(x, other, v128.ne<real>(some(keys + o, n, 0), zero)) : x;
}

/** y = softmax of x over the keys that are allowed, 0 elsewhere; a row that allows nothing is all 0. */
// threads: b x+h.t.s keys+s y+h.t.s | 1.5 ns b h t s
export function maskedSoftmax(
  b: usize,
  h: usize,
  t: usize,
  s: usize,
  x: usize,
  allowed: usize,
  keys: usize,
  y: usize,
): void {
  const never = splat(-Infinity);
  for (let r: usize = 0; r < b * h * t; r++, x += s * W, y += s * W) {
    const mask = allowed + (r % t) * s * W;
    const padding = keys ? keys + (r / (h * t)) * s * W : 0;
    for (let j: usize = 0; j < s; j += LANES) {
      const n = min(LANES, s - j);
      put(y + j * W, n, seen(n, mask, padding, j * W, some(x + j * W, n, 0), never));
    }
    const sum = rowExp(s, rowMax(s, y), y, y);
    rowScale(s, sum == 0 ? 0 : 1 / sum, y, y);
  }
}

/** y = sigmoid(x) where allowed, 0 elsewhere: the gates of CoPE (eq. 3), which count nothing that is masked. */
// threads: b x+h.t.s keys+s y+h.t.s | 1.2 ns b h t s
export function maskedSigmoid(
  b: usize,
  h: usize,
  t: usize,
  s: usize,
  x: usize,
  allowed: usize,
  keys: usize,
  y: usize,
): void {
  for (let r: usize = 0; r < b * h * t; r++, x += s * W, y += s * W) {
    const mask = allowed + (r % t) * s * W;
    const padding = keys ? keys + (r / (h * t)) * s * W : 0;
    for (let j: usize = 0; j < s; j += LANES) {
      const n = min(LANES, s - j);
      put(y + j * W, n, seen(n, mask, padding, j * W, sigmoid(some(x + j * W, n, 0)), splat(0)));
    }
  }
}

/** y = (1 - w) x over n numbers: what an edge of weight w holds back. */
// threads: n*4 w+1 x+1 y+1 | 0.4 ns n
export function rest(n: usize, w: usize, x: usize, y: usize): void {
  const one = splat(1);
  for (const end = endOf(y, n); y < end; w += 16, x += 16, y += 16)
    v128.store(y, v128.mul<real>(v128.sub<real>(one, v128.load(w)), v128.load(x)));
}
