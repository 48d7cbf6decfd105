// rope.ts: queries and keys turned by angles of their place (Su et al. 2021, 2104.09864).
import { extent, flag, options as chosen, real, refuse, whole } from "../check.ts";
import { cos, exp, log, sin } from "../math.ts";
import { rope as turned } from "../ops/composed.ts";
import { reshape } from "../ops/shapes.ts";
import { living } from "../nn.ts";
import type { Tape } from "../tape.ts";
import type { Tensor } from "../tensor.ts";
import { optional, type Places } from "./kind.ts";

/** `theta`: the base of the wavelengths, 10000 unless given; `interleaved`: pairs are neighbours, not halves apart. */
export interface RopeOptions {
  theta?: number;
  interleaved?: boolean;
  /** Acts only in layers whose number, counted from 1, it divides; 1, in all, unless given. */
  every?: number;
}

/**
 * Cosines and sines of the angles place / theta^(2m/d), d the width of a head: two t x d/2 tables on the tape, for
 * `rope`.
 */
export function rotary(
  tape: Tape,
  t: number,
  d: number,
  options: { theta?: number; start?: number } = {},
): { cos: Tensor; sin: Tensor } {
  const who = "rotary";
  living(who, tape);
  const { theta, start } = chosen(who, options, { theta: [BASE, 10000], start: [whole(), 0] });
  extent(who, { t, d });
  even(who, d);
  return tables(tape, { b: 1, t, starts: [start] }, d, theta);
}

const BASE = /* @__PURE__ */ real("above 0");
/** Throws unless there are angles for heads of a width. */
function even(who: string, width: number): void {
  if (!(width > 0 && width % 2 === 0)) refuse(RangeError, who, `heads are ${width} wide`, "an even width");
}

/** The same for each sequence of a batch, one after the other: b t x d/2. */
function tables(tape: Tape, { b, t, starts }: Places, d: number, theta: number): { cos: Tensor; sin: Tensor } {
  const half = d / 2;
  const c = new Float64Array(b * t * half);
  const s = new Float64Array(b * t * half);
  for (let i = 0; i < b * t; i++)
    for (let m = 0; m < half; m++) {
      const place = (starts?.[Math.floor(i / t)] ?? 0) + (i % t);
      const angle = place * exp(((-2 * m) / d) * log(theta));
      c[i * half + m] = cos(angle, "rotary");
      s[i * half + m] = sin(angle, "rotary");
    }
  return { cos: tape.tensor([b * t, half], c), sin: tape.tensor([b * t, half], s) };
}

/** Has no table, so that sequences may be of any length. */
export const rope = /* @__PURE__ */ optional<RopeOptions>(
  "rope",
  () => ({ theta: [BASE, 10000], interleaved: [flag, false] }),
  ({ theta, interleaved }, { width }, who) => {
    even(who, width);
    return {
      name: "rope",
      turn(like, places) {
        const { starts } = places;
        const apart = starts?.some(start => start !== starts[0]);
        const { cos, sin } = tables(like.tape, apart ? places : { b: 1, t: places.t, starts }, width, theta);
        return x => {
          const [b, t, h, d] = x.shape as [number, number, number, number];
          if (!apart) return turned(x, cos, sin, { interleaved });
          return reshape(turned(reshape(x, [1, b * t, h, d]), cos, sin, { interleaved }), x.shape);
        };
      },
    };
  },
);
