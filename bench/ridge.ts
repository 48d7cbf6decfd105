// ridge.ts: linear probes by ridge regression, solved exactly (Cholesky) in double precision.

/**
 * Fits each target to [x; 1] on one half of the data and returns its R² on the other: 1 - squared error / variance. One
 * number a target, below 0 where the fit is worse than the mean. `x` and `xTest` are lists of rows.
 */
export function ridge(
  x: readonly ArrayLike<number>[],
  targets: readonly ArrayLike<number>[],
  xTest: readonly ArrayLike<number>[],
  targetsTest: readonly ArrayLike<number>[],
  penalty = 1e-4,
): number[] {
  const d = x[0]!.length + 1;
  const gram = Array.from({ length: d }, () => new Float64Array(d));
  const row = new Float64Array(d).fill(1);
  const right = targets.map(() => new Float64Array(d));
  x.forEach((from, n) => {
    for (let i = 0; i < d - 1; i++) row[i] = from[i]!;
    for (let i = 0; i < d; i++) {
      for (let j = 0; j <= i; j++) gram[i]![j]! += row[i]! * row[j]!;
      targets.forEach((y, k) => {
        right[k]![i]! += row[i]! * y[n]!;
      });
    }
  });
  for (let i = 0; i < d; i++) gram[i]![i]! += penalty;
  for (let i = 0; i < d; i++)
    for (let j = 0; j <= i; j++) {
      // gram = l lᵀ, in place
      let s = gram[i]![j]!;
      for (let k = 0; k < j; k++) s -= gram[i]![k]! * gram[j]![k]!;
      gram[i]![j] = i === j ? Math.sqrt(s) : s / gram[j]![j]!;
    }
  return right.map((b, k) => {
    const w = Float64Array.from(b);
    for (let i = 0; i < d; i++) {
      for (let j = 0; j < i; j++) w[i]! -= gram[i]![j]! * w[j]!;
      w[i]! /= gram[i]![i]!;
    }
    for (let i = d - 1; i >= 0; i--) {
      for (let j = i + 1; j < d; j++) w[i]! -= gram[j]![i]! * w[j]!;
      w[i]! /= gram[i]![i]!;
    }
    const y = targetsTest[k]!;
    const mean = Array.from(y).reduce((a, v) => a + v, 0) / y.length;
    let error = 0;
    let spread = 0;
    xTest.forEach((from, n) => {
      let guess = w[d - 1]!;
      for (let i = 0; i < d - 1; i++) guess += w[i]! * from[i]!;
      error += (y[n]! - guess) ** 2;
      spread += (y[n]! - mean) ** 2;
    });
    return 1 - error / spread;
  });
}
