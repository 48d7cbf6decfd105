// split.ts: how kernels divide among threads, one line each. No sum ever crosses a cut, so however many parts there
// are, and whoever computes them, the bits are the same. Kernels that are not here run on one thread: their sums run
// over everything, or they are rare.
//
// A line holds a kernel's arguments in their order, under their names in asm/:
//   n*4         the size that is divided, at multiples of 4 (of the rows of a chunk: n*chunk)
//   x+h.d       an address that moves on by h d numbers for each unit of that size, unless it is 0
//   dw+d/chunk  the same, by d numbers for each chunk of units
//   ids#4       moves on by 4 as it is: bytes of integers, words of a generator
//   room@       each part has a block of its own
//   anything else is the same for every part

/** Arguments, the sizes whose product is the work, and the nanoseconds of one unit of it. */
type Line = readonly [args: string, work: string, cost: number];

const map: Line = ["n*4 x+1 y+1", "n", 0.3];
const mapBack: Line = ["n*4 x+1 y+1 dy+1 dx+1 add", "n", 0.4];
const costly = ([args, work]: Line): Line => [args, work, 1.2];
const two: Line = ["n*4 a+1 b+1 y+1", "n", 0.4];

/** The kernels worth dividing; of several lines the one counts whose size is the largest. */
export const lines: Readonly<Record<string, Line | readonly Line[]>> = {
  exp: costly(map),
  expBack: mapBack,
  log: costly(map),
  logBack: mapBack,
  sqrt: map,
  sqrtBack: mapBack,
  sin: costly(map),
  sinBack: costly(mapBack),
  cos: costly(map),
  cosBack: costly(mapBack),
  tanh: costly(map),
  tanhBack: mapBack,
  sigmoid: costly(map),
  sigmoidBack: mapBack,
  relu: map,
  reluBack: mapBack,
  geluTanh: costly(map),
  geluTanhBack: costly(mapBack),
  geluErf: costly(map),
  geluErfBack: costly(mapBack),
  silu: costly(map),
  siluBack: costly(mapBack),
  erf: costly(map),
  erfBack: costly(mapBack),
  add: two,
  sub: two,
  mul: two,
  div: two,
  mulAdd: ["n*4 a+1 b+1 y+1 add", "n", 0.4],
  divBack: ["n*4 b+1 y+1 dy+1 da+1 addA db+1 addB", "n", 0.8],
  scale: ["n*4 by plus x+1 y+1", "n", 0.3],
  scaleAdd: ["n*4 by x+1 y+1 add", "n", 0.4],
  accumulate: ["n*4 x+1 y+1 add", "n", 0.4],
  fill: ["n*4 c y+1", "n", 0.15],
  rest: ["n*4 w+1 x+1 y+1", "n", 0.4],
  dropout: ["n*4 p seedLow seedHigh position#1 x+1 y+1", "n", 3],
  dropoutBack: ["n*4 p seedLow seedHigh position#1 dy+1 dx+1 add", "n", 3],
  matmul: [
    ["m*12 k n alpha a+ai ai ak b bk bn bias y+yi yi add scratch@", "m k n", 0.1],
    ["m k n*8 alpha a ai ak b+bn bk bn bias+1 y+1 yi add scratch@", "m k n", 0.1],
  ],
  attention: ["args first#1 b*1 work room@", "b work", 0.2],
  attentionBack: ["args first#1 b*1 work room@", "b work", 0.5],
  softmax: ["rows*1 d x+d y+d", "rows d", 1.5],
  softmaxBack: ["rows*1 d y+d dy+d dx+d add", "rows d", 0.6],
  logSoftmax: ["rows*1 d x+d y+d", "rows d", 1.5],
  logSoftmaxBack: ["rows*1 d y+d dy+d dx+d add", "rows d", 1.5],
  logsumexp: ["rows*1 d x+d y+1", "rows d", 1.5],
  logsumexpBack: ["rows*1 d x+d dy+1 dx+d add", "rows d", 2.5],
  layerNorm: ["rows*1 d eps x+d w b y+d mean+1 rstd+1", "rows d", 1],
  layerNormBack: ["rows*chunk d x+d w mean+1 rstd+1 dy+d dx+d add dw+d/chunk db+d/chunk", "rows d", 1.5],
  rmsNorm: ["rows*1 d eps x+d w y+d rstd+1", "rows d", 0.8],
  rmsNormBack: ["rows*chunk d x+d w rstd+1 dy+d dx+d add dw+d/chunk", "rows d", 1.5],
  bias: ["rows*1 d x+d b y+d", "rows d", 0.4],
  sum: ["o*1 n i x+n.i y+i", "o n i", 0.4],
  sumBack: ["o*1 n i dy+i dx+n.i add", "o n i", 0.5],
  cumsum: ["o*1 n i reverse x+n.i y+n.i", "o n i", 1],
  cumsumBack: ["o*1 n i reverse dy+n.i dx+n.i add", "o n i", 1.5],
  copyRows: ["rows*1 n x+xi xi y+yi yi", "rows n", 0.2],
  addRows: ["rows*1 n x+xi xi y+yi yi add", "rows n", 0.4],
  biasBack: ["rows d*8 dy+1 di db+1 add", "rows d", 0.4],
  crossEntropyBack: ["rows*1 v ignore x+v targets#4 most+1 sums+1 factor dy dx+v add", "rows v", 1.2],
  huberBack: ["n*4 delta by a+1 b+1 dy da+1 addA db+1 addB", "n", 1],
  gather: ["n*1 d w ids#4 y+d", "n d", 0.2],
  pick: ["o*1 t p s z+t.p index y+t.s", "o t s", 1],
  pickBack: ["o*1 t p s index dy+t.s dz+t.p add", "o t s", 1.5],
  interpolate: ["rows*1 p s z+p x+s y+s", "rows s", 2],
  interpolateBack: ["rows*1 p s z+p x+s dy+s dz+p addZ dx+s addX", "rows s", 3],
  rope: ["b*1 t h d interleaved sign cos sin x+t.h.d y+t.h.d add", "b t h d", 1.2],
  maskedSoftmax: ["b*1 h t s x+h.t.s allowed keys+s y+h.t.s", "b h t s", 1.5],
  maskedSigmoid: ["b*1 h t s x+h.t.s allowed keys+s y+h.t.s", "b h t s", 1.2],
  sgd: ["n*4 lr keep momentum nesterov g+1 v+1 p+1", "n", 0.6],
  adamw: ["n*4 keep rate root b1 c1 b2 c2 eps g+1 m+1 v+1 p+1", "n", 1.5],
  clamp: ["n*4 most x+1", "n", 0.3],
};

/**
 * One address, or number, that moves: its place, its factors' places, and the rest of what one unit moves it by;
 * `always`: even from 0.
 */
interface Move {
  readonly at: number;
  readonly by: readonly number[];
  readonly unit: number;
  readonly always?: boolean;
}
/** A line, read. Places are those of arguments. */
export interface Cut {
  readonly size: number;
  readonly grain: number;
  readonly work: readonly number[];
  readonly cost: number;
  readonly moves: readonly Move[];
  readonly own: number;
}

/** Reads a line; `width` is the bytes of a number, `chunk` the rows of one. */
export function cut([args, work, cost]: Line, width: number, chunk: number): Cut {
  const words = args.split(" ");
  const names = words.map(w => /^\w+/.exec(w)![0]);
  const moves: Move[] = [];
  const place = (name: string): number => {
    const at = names.indexOf(name);
    if (at < 0) throw new RangeError(`split: no ${name} in ${args}`);
    return at;
  };
  let size = -1;
  let grain = 1;
  let own = -1;
  words.forEach((word, at) => {
    const [, kind, rest = "", by] = /^\w+(?:([*+#@])([\w.]*)(\/chunk)?)?$/.exec(word)!;
    if (kind === "*") {
      size = at;
      grain = rest === "chunk" ? chunk : Number(rest);
    }
    if (kind === "@") own = at;
    if (kind === "#") moves.push({ at, by: [], unit: Number(rest), always: true });
    if (kind === "+")
      moves.push({
        at,
        by: rest === "1" ? [] : rest.split(".").map(place),
        unit: by ? width / chunk : width,
      });
  });
  return { size, grain, work: work.split(" ").map(place), cost, moves, own };
}

/** What one unit of the divided size moves an argument by. */
export function step({ by, unit }: Move, args: readonly number[]): number {
  let n = unit;
  for (const at of by) n *= args[at]!;
  return n;
}

/** How many parts of at least `least` nanoseconds a call makes, of at most `most`. */
export function parts(
  { size, grain, work, cost, moves }: Cut,
  args: readonly number[],
  most: number,
  least: number,
): number {
  let time = cost;
  for (const at of work) time *= args[at]!;
  const n = Math.min(most, Math.floor(time / least), Math.ceil(args[size]! / grain));
  if (n < 2) return 1;
  // parts would meet in one place
  for (const move of moves) if (args[move.at] && !step(move, args)) return 1;
  return n;
}

/** Where part `i` of `n` begins, in units. */
export const start = ({ size, grain }: Cut, args: readonly number[], i: number, n: number): number =>
  Math.min(args[size]!, Math.floor((Math.ceil(args[size]! / grain) * i) / n) * grain);
