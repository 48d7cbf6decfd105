// split.ts: how a call of a kernel becomes parts for threads. No sum ever crosses a cut, so however many parts there
// are, and whoever computes them, the bits are the same. How a kernel divides stands above it in asm/, from where
// build.mjs takes it.

/** One argument that differs from part to part. */
export interface Move {
  readonly argument: number;
  /** Places of the sizes whose product, times `by`, is what one unit moves it by. */
  readonly factors: readonly number[];
  readonly by: number;
  /** Whether it is an address, which moves by numbers and stays if it is 0; else it moves as it is. */
  readonly numbers: boolean;
}
/** One way to divide a kernel. Places are those of arguments. */
export interface Division {
  /** Place of the size that is divided, at multiples of `grain`. */
  readonly size: number;
  readonly grain: number;
  readonly moves: readonly Move[];
  /** Place of the room of which each part has its own; -1 where there is none. */
  readonly room: number;
  /** Places of the sizes whose product is the work, and the nanoseconds of one unit of it. */
  readonly work: readonly number[];
  readonly cost: number;
}

/** What one unit of the divided size moves an argument by; `width` is the bytes of a number. */
export function step({ factors, by, numbers }: Move, args: readonly number[], width: number): number {
  let n = numbers ? by * width : by;
  for (const place of factors) n *= args[place]!;
  return n;
}

/** How many parts of at least `least` nanoseconds a call makes, of at most `most`. */
export function parts(
  { size, grain, work, cost, moves }: Division,
  args: readonly number[],
  most: number,
  least: number,
): number {
  let time = cost;
  for (const place of work) time *= args[place]!;
  const n = Math.min(most, Math.floor(time / least), Math.ceil(args[size]! / grain));
  if (n < 2) return 1;
  // parts would meet in one place
  for (const move of moves) if (args[move.argument] && !step(move, args, 1)) return 1;
  return n;
}

/** Where part `i` of `n` begins, in units. */
export const start = ({ size, grain }: Division, args: readonly number[], i: number, n: number): number =>
  Math.min(args[size]!, Math.floor((Math.ceil(args[size]! / grain) * i) / n) * grain);
