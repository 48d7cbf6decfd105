// gradcheck.ts: gradients against central differences, along random directions.
import { callable, options as chosen, real, refuse, shapeOf, synchronous, tensor, whole } from "./check.ts";
import { leaves, tapeOf, type Tree } from "./nn.ts";
import { random } from "./random.ts";
import type { Tape } from "./tape.ts";
import type { Tensor } from "./tensor.ts";

const who = "gradcheck";

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
  const o = chosen(who, options, {
    tolerance: [real("above 0 to below 1"), 1e-7],
    h: [real("from 1e-8 to 0.1"), 1e-5],
    directions: [whole(1, 65536), 1],
    seed: [whole(), 0],
  });
  callable(who, "loss", loss);
  const list = leaves(params);
  const tape = tapeOf(who, params);
  if (tape.dtype !== "f64") refuse(TypeError, who, `the tape is ${tape.dtype}`, 'new Tape("f64")');
  return tape.scope(() => compared(tape, list, loss, o)); // leaves the generator where it was, if it throws
}

function compared(
  tape: Tape,
  list: readonly [path: string, p: Tensor][],
  loss: () => Tensor,
  { tolerance, h, directions, seed }: Required<GradcheckOptions>,
): number {
  const rng = random(seed).fork(who);
  const position = tape.random.position;
  // Recorded, since dropout acts only where the tape records.
  const value = (): number =>
    tape.scope(() => {
      tape.random.position = position;
      return tensor(who, "the loss", synchronous(who, loss())).item();
    });
  const here = tape.step(() => {
    tape.random.position = position;
    return loss();
  });
  const noise = (16 * 2.220446049250313e-16 * Math.max(1, Math.abs(here))) / h;
  if (!(noise < 1e-3)) refuse(RangeError, who, `the loss is ${here}, and rounding hides gradients`, "a larger h");
  let worst = 0;
  for (const [path, p] of list)
    for (let k = 0; k < directions; k++) {
      const at = p.values().slice();
      const v = Float64Array.from(at, () => rng.normal());
      if (at.some((x, i) => x + h * v[i]! === x - h * v[i]!))
        refuse(RangeError, who, `h is ${h}, too little to move all of ${path}`, "a larger h, or smaller numbers");
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
        refuse(Error, who, why);
      }
      worst = Math.max(worst, gap / size);
    }
  return worst;
}
