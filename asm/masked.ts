// masked.ts: what composed attention needs over a b h t s array of logits. `allowed` is a t x s array, 1 where query t
// may look at key s and 0 where not; `keys` is a b x s array, 0 for padding, or nothing.
import { LANES, LEAST, endOf, maxLanes, splat, sumLanes } from "./simd";
import { exp, sigmoid } from "./math";
import { loadTail, rowScale, storeTail } from "./row";

const W: usize = sizeof<real>();

/** A vector of a mask's row from byte `o` on, times that of `keys`, the sequence's row of padding, if there is one. */
function seen(allowed: usize, keys: usize, o: usize): v128 {
  const a = v128.load(allowed + o);
  return keys ? v128.mul<real>(a, v128.load(keys + o)) : a;
}
/** The same of the last n < LANES numbers. */
function seenTail(n: usize, allowed: usize, keys: usize, o: usize): v128 {
  const a = loadTail(allowed + o, n, 0);
  return keys ? v128.mul<real>(a, loadTail(keys + o, n, 0)) : a;
}
/** x where `mask` is not 0, else `other`. */
function where(mask: v128, x: v128, other: v128): v128 {
  return v128.bitselect(x, other, v128.ne<real>(mask, splat(0)));
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
  const tail = s & (LANES - 1);
  const whole = (s - tail) * W;
  const zero = splat(0);
  const least = splat(LEAST);
  for (let r: usize = 0; r < b * h * t; r++, x += s * W, y += s * W) {
    const mask = allowed + (r % t) * s * W;
    const padding = keys ? keys + (r / (h * t)) * s * W : 0;
    let top = least;
    for (let o: usize = 0; o < whole; o += 16)
      top = v128.max<real>(top, where(seen(mask, padding, o), v128.load(x + o), least));
    if (tail) {
      const v = loadTail(x + whole, tail, LEAST);
      top = v128.max<real>(top, where(seenTail(tail, mask, padding, whole), v, least));
    }
    const shift = splat(maxLanes(top));
    let total = zero;
    for (let o: usize = 0; o < whole; o += 16) {
      const e = where(seen(mask, padding, o), exp(v128.sub<real>(v128.load(x + o), shift)), zero);
      total = v128.add<real>(total, e);
      v128.store(y + o, e);
    }
    if (tail) {
      const v = exp(v128.sub<real>(loadTail(x + whole, tail, 0), shift));
      const e = where(seenTail(tail, mask, padding, whole), v, zero);
      total = v128.add<real>(total, e);
      storeTail(y + whole, tail, e);
    }
    const sum = sumLanes(total);
    rowScale(s, sum > 0 ? 1 / sum : 0, y, y);
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
  const tail = s & (LANES - 1);
  const whole = (s - tail) * W;
  for (let r: usize = 0; r < b * h * t; r++, x += s * W, y += s * W) {
    const mask = allowed + (r % t) * s * W;
    const padding = keys ? keys + (r / (h * t)) * s * W : 0;
    for (let o: usize = 0; o < whole; o += 16)
      v128.store(y + o, v128.mul<real>(sigmoid(v128.load(x + o)), seen(mask, padding, o)));
    if (tail) {
      const v = sigmoid(loadTail(x + whole, tail, 0));
      storeTail(y + whole, tail, v128.mul<real>(v, seenTail(tail, mask, padding, whole)));
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
