// How much of what tasks ask is answered wrongly: by token and by sequence.
import { filling, get, integer, items, printed, refuse } from "../check.ts";

/** How often something was asked, and how often the likeliest answer was wrong. */
export interface Mistakes {
  /** Tokens with a target, and those of them whose largest logit is not the target's. */
  asked: number;
  wrong: number;
  /** Sequences with a target, and those of them in which at least one is wrong. */
  rows: number;
  wrongRows: number;
}

const none = /* @__PURE__ */ new ArrayBuffer(0);

/**
 * Counts the mistakes in `logits`, b t v numbers, where `targets`, b t ids, are not -100; rows have `t` tokens.
 *
 *     const { wrong, asked, wrongRows, rows } = mistakes(model.logits(params, ids).values(), targets, t);
 *     console.log(`${(100 * wrong) / asked} % of the symbols, ${(100 * wrongRows) / rows} % of the sequences`);
 *
 * The first of equal logits is the answer, and NaN is none. Papers that say "error" may mean either number.
 */
export function mistakes(logits: ArrayLike<number>, targets: ArrayLike<number>, t: number): Mistakes {
  const who = "mistakes";
  const wanted = items(who, "targets are", targets, "a list of ids");
  const n = wanted.length;
  if (!n || n % integer(who, "t", t, 1)) refuse(RangeError, who, `${n} targets are no rows of ${t}`);
  const v = (get(logits, "length") as number) / n;
  if (!Number.isInteger(v) || v < 1)
    refuse(RangeError, who, `the logits are ${printed(logits)}`, "a number for each target and id", `${n} targets`);
  const values = filling(who, [n, v], logits, none);
  for (const id of wanted) if (id !== -100) integer(who, "a target", id, 0, v - 1);
  const made = { asked: 0, wrong: 0, rows: 0, wrongRows: 0 };
  for (let row = 0; row < n; row += t) {
    const { asked, wrong } = made;
    for (let i = row; i < row + t; i++) {
      if (wanted[i] === -100) continue;
      made.asked++;
      if (likeliest(values, i * v, v) !== wanted[i]) made.wrong++;
    }
    if (made.asked > asked) made.rows++;
    if (made.wrong > wrong) made.wrongRows++;
  }
  return made;
}

/** The place of the first of the largest of v numbers; -1 where one is NaN. */
function likeliest(values: ArrayLike<number>, at: number, v: number): number {
  let best = 0;
  for (let i = 0; i < v; i++) {
    if (Number.isNaN(values[at + i])) return -1;
    if (values[at + i]! > values[at + best]!) best = i;
  }
  return best;
}
