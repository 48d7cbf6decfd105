// Quadratic equations (Bulatov et al. 2022, "Recurrent memory transformer", 2207.06881, section 4 and appendix A.1): an
// equation is solved character by character, in the steps that a pupil writes down.
import { options as chosen, real } from "../check.ts";
import type { Random } from "../random.ts";
import { sequences, type SequenceTask } from "./sequences.ts";

const who = "quadraticEquations";
/** Characters of a field. */
const FIELD = 30;
/** The ids of the paper's code, in order: padding, the beginning, and what equations are written with. */
const CHARACTERS = ["_", "g", ...Array.from("0123456789+-*/^=()xD;,")];

/** Which equations there are. */
export interface QuadraticEquationsOptions {
  /** The share of equations without real roots; 0.2. */
  unreal?: number;
}

/** A term of a sum: "+3*x", "-x" or nothing. */
function term(factor: number, of: string): string {
  if (factor === 0) return "";
  const size = Math.abs(factor);
  const value = !of ? String(size) : size === 1 ? of : `${size}*${of}`;
  return (factor < 0 ? "-" : "+") + value;
}

/** "-4*x^2+392*x-2208=0" */
const equation = (a: number, b: number, c: number): string =>
  `${[term(a, "x^2"), term(b, "x"), term(c, "")].join("").replace(/^\+/, "")}=0`;

/** The fields of an equation whose roots are p - q and p + q, or have imaginary parts of that size. */
function solved(factor: number, sum: number, difference: number, isReal: boolean): string[] {
  const square = difference * difference;
  const b = -sum;
  const c = (sum * sum - (isReal ? square : -square)) / 4;
  const first = [equation(factor, factor * b, factor * c), equation(1, b, c)];
  const D = `D=${Math.abs(b)}^2${c < 0 ? "+" : "-"}4*1*${Math.abs(c)}=${isReal ? "" : "-"}${square}`;
  if (!isReal) return [...first, D, "", "", ""];
  const [low, high] = [(sum - difference) / 2, (sum + difference) / 2];
  const roots = [`x=(${sum}-${difference})/2=${low}`, `x=(${sum}+${difference})/2=${high}`];
  return [...first, `${D}=${difference}^2`, ...roots, `${low},${high}`];
}

/**
 * Quadratic equations: `-4*x^2+392*x-2208=0` is answered by `x^2-98*x+552=0`, `D=98^2-4*1*552=7396=86^2`,
 * `x=(98-86)/2=6`, `x=(98+86)/2=92` and `6,92`. Each of the six is a field of 30 characters, filled up with `_`; a
 * sequence has 180 tokens, `g` and all but its last character, and targets for its last 150.
 *
 *     const { tokens, targets, t } = quadraticEquations().batch(random(1).fork(step), 32); // 32 rows of 180 tokens
 *
 * Roots are whole, from -99 to 99; the equation is multiplied by -10 to 10, and not by 0. Without real roots they are
 * p ± qi with p and q so large, and what follows the negative D is blank: how the paper's data go on there is not
 * known. The paper's accuracy is that of the last field. Ids are those of its code.
 */
export function quadraticEquations(options: QuadraticEquationsOptions = {}): SequenceTask {
  const { unreal } = chosen(who, options, { unreal: [real("from 0 to 1"), 0.2] });
  const root = (rng: Random): number => rng.integer(199) - 99;

  return sequences(who, CHARACTERS, 6 * FIELD, rng => {
    const factor = (1 + rng.integer(10)) * (rng.integer(2) ? 1 : -1);
    const isReal = rng.uniform() >= unreal;
    const p = root(rng);
    const q = isReal ? root(rng) : 1 + rng.integer(99);
    const [sum, difference] = isReal ? [p + q, Math.abs(p - q)] : [2 * p, 2 * q];
    const fields = solved(factor, sum, difference, isReal);
    const ids = Array.from(fields.map(field => field.padEnd(FIELD, "_")).join(""), c => CHARACTERS.indexOf(c));
    return { tokens: [1, ...ids.slice(0, -1)], targets: ids.map((id, i) => (i < FIELD ? -100 : id)) };
  });
}
