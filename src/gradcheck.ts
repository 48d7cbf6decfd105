// gradcheck.ts: gradients against central differences, along random directions.
import { integer, known, refuse, shapeOf, synchronous } from "./check.ts";
import { leaves, tapeOf, type Tree } from "./nn.ts";
import { random } from "./random.ts";
import type { Tensor } from "./tensor.ts";

/**
 * Options of `gradcheck`. `tolerance` is relative; `h` is the half step of the difference; `directions` are drawn for
 * each tensor.
 */
export interface GradcheckOptions {
  tolerance?: number;
  h?: number;
  directions?: number;
  seed?: number;
}

/**
 * Compares what `tape.backward` gives for `loss` with (loss(x + h v) - loss(x - h v)) / 2h for random directions v,
 * tensor by tensor. Throws an Error that names the first tensor that is off; returns the largest relative error seen.
 * Needs an f64 tape: differences in single precision tell nothing.
 *
 *     gradcheck({ w }, () => sum(mul(tanh(matmul(x, w)), u)));
 *
 * An error below the rounding noise of the difference, 16 ulp of the loss over h, is not counted.
 */
export function gradcheck(params: Tree, loss: () => Tensor, options: GradcheckOptions = {}): number {
  known("gradcheck", options, "tolerance", "h", "directions", "seed");
  const { tolerance = 1e-7, h = 1e-5, directions = 1, seed = 0 } = options;
  const list = leaves(params);
  const tape = tapeOf("gradcheck", params);
  if (tape.dtype !== "f64") refuse(TypeError, "gradcheck", `the tape is ${tape.dtype}`, 'new Tape("f64")');
  integer("gradcheck", "directions", directions, 1);
  const rng = random(seed).fork("gradcheck");
  const position = tape.random.position;
  // Recorded, since dropout acts only where the tape records.
  const value = (): number =>
    tape.scope(() => {
      tape.random.position = position;
      return synchronous("gradcheck", loss()).item();
    });
  const here = tape.step(() => {
    tape.random.position = position;
    return loss();
  });
  const noise = (16 * 2.220446049250313e-16 * Math.max(1, Math.abs(here))) / h;
  let worst = 0;
  for (const [path, p] of list)
    for (let k = 0; k < directions; k++) {
      const at = p.values().slice();
      const v = Float64Array.from(at, () => rng.normal());
      const g = p.gradient();
      const exact = v.reduce((s, x, i) => s + x * g[i]!, 0);
      const moved = (by: number): number => {
        p.values().set(Float64Array.from(at, (x, i) => x + by * v[i]!));
        return value();
      };
      let numeric: number;
      try {
        numeric = (moved(h) - moved(-h)) / (2 * h);
      } finally {
        p.values().set(at);
      }
      const gap = Math.abs(exact - numeric);
      const size = Math.max(Math.abs(exact), Math.abs(numeric));
      if (gap <= noise) continue;
      if (!(gap <= tolerance * size)) {
        const off = `off by ${(gap / size).toExponential(1)} of it, allowed ${tolerance}`;
        const why = `${path} ${shapeOf(p)}: backward says ${exact}, differences say ${numeric} (${off})`;
        refuse(Error, "gradcheck", why);
      }
      worst = Math.max(worst, gap / size);
    }
  return worst;
}
