// weigh.ts: sums of products in which a factor of 0 hides the other: what it weighs is not read, be it NaN. Masks are
// such factors. One number after the other, for where a product found something that is not finite.
const W: usize = sizeof<real>();

/** Σ w x over n numbers, `wi` and `xi` bytes apart; where w is 0, x is not read. */
export function dot(n: usize, w: usize, wi: usize, x: usize, xi: usize): real {
  let s: f64 = 0;
  for (; n; n--, w += wi, x += xi) {
    const by = load<real>(w);
    if (by != 0) s += <f64>by * <f64>load<real>(x);
  }
  return <real>s;
}

/** As `matmul`, without a bias; where a number of a is 0, those of b that it would be multiplied with are not read. */
// threads: serial, a slow path
export function weigh(
  m: usize,
  k: usize,
  n: usize,
  alpha: real,
  a: usize,
  ai: usize,
  ak: usize,
  b: usize,
  bk: usize,
  bn: usize,
  bias: usize,
  y: usize,
  yi: usize,
  add: bool,
  scratch: usize,
): void {
  if (!y) return;
  for (let i: usize = 0; i < m; i++)
    for (let j: usize = 0; j < n; j++) {
      const to = y + (i * yi + j) * W;
      const sum = alpha * dot(k, a + i * ai * W, ak * W, b + j * bn * W, bk * W);
      store<real>(to, add ? load<real>(to) + sum : sum);
    }
}
