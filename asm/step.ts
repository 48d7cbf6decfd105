// step.ts: one parameter's update, given its gradient. Elementwise, so whole vectors into the padding. Factors such as
// 1 - b2 come from the caller, in double precision: 1 - 0.999 in f32 is off by 5e-5 of itself.
//
// p, g        a parameter and its gradient
// m, v        what the optimiser keeps of each number: running means of g and of g²; sgd's v is its velocity
const W: usize = sizeof<real>();

/**
 * p *= keep; v = momentum v + g; p -= lr (g + momentum v) when `nesterov`, lr v otherwise. v at address 0: p -= lr g.
 */
// threads: n*4 g+1 v+1 p+1 | 0.6 ns n
export function sgd(
  n: usize,
  lr: real,
  keep: real,
  momentum: real,
  nesterov: bool,
  g: usize,
  v: usize,
  p: usize,
): void {
  const rate = v128.splat<real>(lr);
  const k = v128.splat<real>(keep);
  const m = v128.splat<real>(momentum);
  for (const end = p + n * W; p < end; p += 16, g += 16) {
    let step = v128.load(g);
    if (v) {
      const moved = v128.add<real>(v128.mul<real>(m, v128.load(v)), step);
      v128.store(v, moved);
      step = nesterov ? v128.add<real>(step, v128.mul<real>(m, moved)) : moved;
      v += 16;
    }
    v128.store(p, v128.sub<real>(v128.mul<real>(k, v128.load(p)), v128.mul<real>(rate, step)));
  }
}

/**
 * p *= keep; m = b1 m + c1 g; v = b2 v + c2 g²; p -= rate m / (√v root + eps), with rate = lr/(1 - b1^t), root = 1/√(1
 * - b2^t).
 */
// threads: n*4 g+1 m+1 v+1 p+1 | 1.5 ns n
export function adamw(
  n: usize,
  keep: real,
  rate: real,
  root: real,
  b1: real,
  c1: real,
  b2: real,
  c2: real,
  eps: real,
  g: usize,
  m: usize,
  v: usize,
  p: usize,
): void {
  const k = v128.splat<real>(keep);
  const e = v128.splat<real>(eps);
  const by = v128.splat<real>(rate);
  const r = v128.splat<real>(root);
  const b = v128.splat<real>(b1);
  const c = v128.splat<real>(b2);
  const bRest = v128.splat<real>(c1);
  const cRest = v128.splat<real>(c2);
  for (const end = p + n * W; p < end; p += 16, g += 16, m += 16, v += 16) {
    const d = v128.load(g);
    const mean = v128.add<real>(v128.mul<real>(b, v128.load(m)), v128.mul<real>(bRest, d));
    const square = v128.add<real>(v128.mul<real>(c, v128.load(v)), v128.mul<real>(v128.mul<real>(cRest, d), d));
    v128.store(m, mean);
    v128.store(v, square);
    const step = v128.div<real>(
      v128.mul<real>(by, mean),
      v128.add<real>(v128.mul<real>(v128.sqrt<real>(square), r), e),
    );
    v128.store(p, v128.sub<real>(v128.mul<real>(k, v128.load(p)), step));
  }
}

/** Σ x² in double precision, left to right in two sums. */
// threads: serial, one sum over everything
export function squares(n: usize, x: usize): f64 {
  let even: f64 = 0;
  let odd: f64 = 0;
  const end = x + n * W;
  for (; x + W < end; x += 2 * W) {
    const a = <f64>load<real>(x);
    const b = <f64>load<real>(x + W);
    even += a * a;
    odd += b * b;
  }
  if (x < end) {
    const a = <f64>load<real>(x);
    even += a * a;
  }
  return even + odd;
}

/** x = min(most, max(-most, x)) */
// threads: n*4 x+1 | 0.3 ns n
export function clamp(n: usize, most: real, x: usize): void {
  const high = v128.splat<real>(most);
  const low = v128.splat<real>(-most);
  for (const end = x + n * W; x < end; x += 16) v128.store(x, v128.min<real>(high, v128.max<real>(low, v128.load(x))));
}
