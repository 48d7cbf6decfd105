// step.ts: whole training steps, forward, backward and AdamW: a small and a big transformer, plain and with each of the
// three mechanisms, and a long sequence, plain and with CoPE, for the memory it takes.
import * as farsight from "farsight";
import type { Optimizer, Tape, Tree, Tensor } from "farsight";
import { ceilings } from "./ceiling.ts";
import { median, noise, release, show, tapeOf, time, wanted, type Asked, type Row } from "./measure.ts";

/** Models and batches by name. */
export const sizes = {
  small: { vocab: 64, d: 64, layers: 2, heads: 4, inner: 256, t: 64, b: 16 },
  big: { vocab: 64, d: 256, layers: 4, heads: 4, inner: 1024, t: 128, b: 8 },
  /** For the memory that a long sequence takes. */
  long: { vocab: 64, d: 64, layers: 2, heads: 4, inner: 256, t: 1024, b: 1 },
  /** Flip-flop at its paper's length: 256 instructions. */
  "flip-flop": { vocab: 5, d: 64, layers: 2, heads: 4, inner: 256, t: 512, b: 8 },
} as const;
/** What a build exports. */
export type Library = typeof farsight;
/** A name of `sizes`. */
export type Size = keyof typeof sizes;
/** The mechanisms that a model is trained with. */
export const variants = ["plain", "cope", "rmt", "rmt replay", "myopic"] as const;
/** One of `variants`. */
export type Variant = (typeof variants)[number];
/** Rows of CoPE's table. */
export const POSITIONS = 64;
/** Segments of a sequence with recurrent memory. */
export const SEGMENTS = 4;
/** Its vectors of memory. */
export const MEMORY = 4;
/** The learning rate. */
export const LR = 1e-3;

/** A model to train, its batch, and a step of training, which returns the loss before it. */
export interface Training {
  params: Tree;
  optimizer: Optimizer;
  tokens: number[];
  targets: number[];
  loss(): Tensor;
  step(): number;
}

/**
 * Learned positions, GELU by tanh, norms before the layers. CoPE's table starts with noise, not zeros, so that a wrong
 * one would show in the first loss; little of it, because at whole positions the gradient jumps from one slope of the
 * table to the next, and some of the 266,240 positions of a step lie within their own rounding of a whole number: with
 * noise eight times as large single precision and double were 1e-3 apart after five steps. `library`: the build that
 * the tape is of.
 */
export function training(tape: Tape, size: Size, variant: Variant, library: Library = farsight): Training {
  const { adamw, random, rmt, transformer } = library;
  const { b, t, ...shape } = sizes[size];
  const rng = random(7);
  const segment = t / SEGMENTS;
  const isRmt = variant.startsWith("rmt");
  const model = transformer({
    ...shape,
    context: isRmt ? segment + 2 * MEMORY : t,
    position: variant === "cope" ? "cope" : "absolute",
    ...(variant === "cope" && { cope: { rows: POSITIONS } }),
    ...(variant === "myopic" && { myopic: { cut: "post_ln" } }),
  });
  const outer = isRmt ? rmt(model, { memory: MEMORY, segment, replay: variant === "rmt replay" }) : model;
  const params = outer.params(tape, { seed: 1 });
  for (const [i, { attn }] of params.h.entries()) if (attn.cope) noise(i + 1, attn.cope.weight!.values(), 1 / 8);
  const tokens = Array.from({ length: b * t }, () => rng.integer(shape.vocab));
  const targets = Array.from({ length: b * t }, () => rng.integer(shape.vocab));
  const optimizer = adamw(params, { lr: LR, decay: 0.01 });
  const loss = (): Tensor => outer.loss(params as never, tape.integers([b, t], tokens), tape.integers([b, t], targets));
  return {
    params,
    optimizer,
    tokens,
    targets,
    loss,
    step: () => {
      const value = tape.step(loss);
      optimizer.step();
      return value;
    },
  };
}

/**
 * Floating-point operations of a step's products: 6 a weight and token, and for attention 6 a number of each key that a
 * causal query sees.
 */
export function stepFlop(size: Size, variant: Variant): number {
  const { vocab, d, layers, inner, t, b } = sizes[size];
  const isRmt = variant.startsWith("rmt");
  const row = isRmt ? t / SEGMENTS + 2 * MEMORY : t;
  const rows = b * (isRmt ? SEGMENTS : 1) * row; // what attention sees, and what goes through the layers
  // the table; keys and values of the stopped state
  const more = variant === "cope" ? POSITIONS * d : variant === "myopic" ? 2 * d * d : 0;
  // What the last layer would make of read memory, which nobody reads; but for its keys and values.
  const unread = isRmt ? b * SEGMENTS * MEMORY * (d * d + 2 * d * inner + row * d) : 0;
  return (
    6 *
    (layers * rows * (4 * d * d + 2 * d * inner + row * d + more) - unread + b * t * vocab * d) *
    (variant === "rmt replay" ? 8 / 6 : 1)
  );
}

/** Training steps, a row each. */
export async function* step(asked: Asked): AsyncGenerator<Row, string> {
  const list = (Object.keys(sizes) as Size[])
    .flatMap(size =>
      variants
        .filter(v => (size !== "long" && size !== "flip-flop") || v === "plain" || v === "cope")
        .map(variant => ({ size, variant })),
    )
    .filter(c => wanted(asked, "step", c.size, c.variant));
  if (list.length === 0)
    throw new RangeError(
      `--case ${asked.words.join(" ")}: no step of that name\n  wants words of small, big, ${variants.join(", ")}`,
    );
  const ceiling = (await ceilings(asked, ["f32"], [])).madd("f32");
  for (const [i, { size, variant }] of list.entries()) {
    show.step("step", `${size} ${variant}`, { step: i, steps: list.length });
    const tape = await tapeOf("f32", asked);
    const run = training(tape, size, variant);
    const losses: number[] = [];
    for (let k = 0; k < 5; k++) losses.push(run.step());
    const phases = asked.quick ? "" : `; ${split(run, tape)}`;
    const bytes = most(tape, () => run.step());
    const measured = time(() => {
      run.step();
    }, asked);
    const { b, t } = sizes[size];
    const rate = stepFlop(size, variant) / measured.median / 1e6;
    release(tape);
    show.done("step", `${size} ${variant}`);
    yield {
      case: `step ${size} ${variant}`,
      dtype: "f32",
      size: `b${b} t${t}`,
      ...measured,
      unit: "GFLOP/s",
      rate,
      ceiling,
      fraction: rate / ceiling,
      checksum: String(losses[4]),
      tokens: ((b * t) / measured.median) * 1000,
      bytes,
      note: `${Math.round(((b * t) / measured.median) * 1000)} tokens/s${phases}; ${(bytes / 1048576).toFixed(2)} MiB`,
    };
  }
  return (
    "checksum: the loss of the fifth step. MiB: the most that tensors, gradients, optimizer and room took at once, " +
    "scratch of the products included. GFLOP/s counts products alone. rmt keeps activations, rmt replay recomputes " +
    "each segment as a user's would by default."
  );
}

/** Bytes that a tape's engine held claimed at most while `body` ran. */
export function most(tape: Tape, body: () => void): number {
  const { engine } = tape;
  const alloc = engine.alloc.bind(engine);
  let top = engine.mark;
  engine.alloc = (n, width) => {
    const at = alloc(n, width);
    top = Math.max(top, engine.mark);
    return at;
  };
  try {
    body();
  } finally {
    engine.alloc = alloc;
  }
  return top;
}

/** Where a step's time goes: forward, backward, AdamW, in milliseconds. */
function split(run: Training, tape: Tape): string {
  const spent: [number[], number[], number[]] = [[], [], []];
  for (let i = 0; i < 12; i++) {
    const from = performance.now();
    const done = tape.scope(() => {
      const y = run.loss();
      const at = performance.now();
      tape.backward(y);
      return [at, performance.now()] as const;
    });
    run.optimizer.step();
    if (i < 4) continue;
    [done[0] - from, done[1] - done[0], performance.now() - done[1]].forEach((ms, k) => spent[k]!.push(ms));
  }
  const [forward, backward, update] = spent.map(ms => median(ms).toFixed(2));
  return `forward ${forward}, backward ${backward}, adamw ${update} ms`;
}
