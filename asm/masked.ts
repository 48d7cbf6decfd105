// masked.ts: what composed attention needs over a b h t s array of logits. `allowed` is a t x s array, 1 where query t
// may look at key s and 0 where not; `keys` is a b x s array, 0 for padding, or nothing.
import { LANES, sumLanes, maxLanes } from "./simd";
import { exp, sigmoid } from "./math";
import { loadTail, storeTail, rowScale } from "./row";

const W: usize = sizeof<real>();
const LEAST: real = sizeof<real>() == 4 ? -3.4028234663852886e38 : <real>-1.7976931348623157e308;

/** One vector of a mask row: its product with the key mask, where there is one. */
function seen(allowed: usize, keys: usize): v128 {
  const a = v128.load(allowed);
  return keys ? v128.mul<real>(a, v128.load(keys)) : a;
}
function seenTail(n: usize, allowed: usize, keys: usize): v128 {
  const a = loadTail(allowed, n, 0);
  return keys ? v128.mul<real>(a, loadTail(keys, n, 0)) : a;
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
  const zero = v128.splat<real>(0);
  const least = v128.splat<real>(LEAST);
  for (let r: usize = 0; r < b * h * t; r++, x += s * W, y += s * W) {
    const ok = allowed + (r % t) * s * W;
    const real_ = keys ? keys + (r / (h * t)) * s * W : 0;
    let top = least;
    for (let o: usize = 0; o < whole; o += 16)
      top = v128.max<real>(
        top,
        v128.bitselect(v128.load(x + o), least, v128.ne<real>(seen(ok + o, real_ ? real_ + o : 0), zero)),
      );
    if (tail)
      top = v128.max<real>(
        top,
        v128.bitselect(
          loadTail(x + whole, tail, LEAST),
          least,
          v128.ne<real>(seenTail(tail, ok + whole, real_ ? real_ + whole : 0), zero),
        ),
      );
    const shift = v128.splat<real>(maxLanes(top));
    let total = zero;
    for (let o: usize = 0; o < whole; o += 16) {
      const e = v128.and(
        exp(v128.sub<real>(v128.load(x + o), shift)),
        v128.ne<real>(seen(ok + o, real_ ? real_ + o : 0), zero),
      );
      total = v128.add<real>(total, e);
      v128.store(y + o, e);
    }
    if (tail) {
      const e = v128.and(
        exp(v128.sub<real>(loadTail(x + whole, tail, 0), shift)),
        v128.ne<real>(seenTail(tail, ok + whole, real_ ? real_ + whole : 0), zero),
      );
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
    const ok = allowed + (r % t) * s * W;
    const real_ = keys ? keys + (r / (h * t)) * s * W : 0;
    for (let o: usize = 0; o < whole; o += 16)
      v128.store(y + o, v128.mul<real>(sigmoid(v128.load(x + o)), seen(ok + o, real_ ? real_ + o : 0)));
    if (tail)
      storeTail(
        y + whole,
        tail,
        v128.mul<real>(sigmoid(loadTail(x + whole, tail, 0)), seenTail(tail, ok + whole, real_ ? real_ + whole : 0)),
      );
  }
}

/** y = (1 - w) x over n numbers: what an edge of weight w holds back. */
// threads: n*4 w+1 x+1 y+1 | 0.4 ns n
export function rest(n: usize, w: usize, x: usize, y: usize): void {
  const one = v128.splat<real>(1);
  for (const end = y + n * W; y < end; w += 16, x += 16, y += 16)
    v128.store(y, v128.mul<real>(v128.sub<real>(one, v128.load(w)), v128.load(x)));
}
