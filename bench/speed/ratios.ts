// ratios.ts: farsight against itself, the two sides of each ratio in turns within one run: what a mechanism costs
// beside plain attention, what sizes that fit no tile cost, what a second thread gains.
import { attention, sum, type Kernels, type Tape } from "farsight";
import { random } from "./kernels.ts";
import {
  contest,
  deviation,
  digest,
  heads,
  median,
  release,
  show,
  sizeOf,
  tapeOf,
  wanted,
  type Asked,
  type Heads,
  type Row,
} from "./measure.ts";
import { most, POSITIONS, training } from "./step.ts";

/** `a` over `b`, times `by`; `bytes` instead of times where the two are to be compared by what they hold. */
interface Ratio {
  name: string;
  size: string;
  by?: number;
  threads?: number;
  set(one: Tape, other: Tape): { a(): void; b(): void; checksum: string; bytes?: readonly [number, number] };
}

/** CoPE over plain attention, forward and backward. */
const cope = (shape: Heads): Ratio => ({
  name: "CoPE attention / plain, forward+backward",
  size: sizeOf(shape),
  set(tape) {
    const [b, h, t, d] = shape;
    const [q, k, v] = [1, 2, 3].map(seed => random(tape, [b, t, h, d], seed, true));
    const table = random(tape, [POSITIONS, d], 4, true);
    const a = (): number => tape.step(() => sum(attention(q!, k!, v!, { position: "cope", tables: { cope: table } })));
    const plain = (): number => tape.step(() => sum(attention(q!, k!, v!)));
    return { a, b: plain, checksum: [a(), plain()].map(x => x.toPrecision(6)).join(" ") };
  },
});

/**
 * The backward pass of myopic training under the cut kv over the ordinary one: the kernel alone, since no forward pass
 * is to be measured.
 */
const myopic = (shape: Heads): Ratio => ({
  name: "myopic kv / ordinary attention, backward",
  size: sizeOf(shape),
  set(tape) {
    const [b, h, t, d] = shape;
    const K: Kernels = tape.engine.kernels;
    const [q, k, v, dout, o, dq, dk, dv] = [1, 2, 3, 4, 5, 6, 7, 8].map(seed => random(tape, [b, t, h, d], seed).data);
    const n = h * d;
    const lse = tape.tensor([b, h, t]).data;
    const room = tape.engine.alloc(K.attentionRoom(h, h, t, t, d, 0, 0, K.scratch));
    const rows = { qi: n, qb: t * n, ki: n, kb: t * n, vi: n, vb: t * n };
    const sizes = { h, g: h, t, s: t, d, p: 0, r: 0, causal: true, scale: 1 / Math.sqrt(d), tableScale: 1 };
    const given = { ...sizes, ...rows, q: q!, k: k!, v: v!, o: o!, lse };
    const work = h * t * t * d;
    K.attention(K.block("AttentionArguments", given), 0, b, work, room);
    const back = (own: boolean) => (): void => {
      const args = K.block("AttentionBackArguments", given, { own, dout: dout!, dq: dq!, dk: dk!, dv: dv! });
      K.attentionBack(args, 0, b, work, room);
    };
    const a = back(true);
    const ordinary = back(false);
    const sums = [a, ordinary].map(run => {
      run();
      return digest(tape.engine.view(dk!, b * t * n));
    });
    return { a, b: ordinary, checksum: sums.join(" ") };
  },
});

/** The time of a product whose sizes fit tiles, over that of one whose do not, per operation. */
const odd = (m: number, k: number, n: number): Ratio => ({
  name: "matmul 1024x256x64 / odd sizes, a flop",
  size: `${m}x${k}x${n}`,
  by: (m * k * n) / (1024 * 256 * 64),
  set(tape) {
    const K: Kernels = tape.engine.kernels;
    const product = (m: number, k: number, n: number) => {
      const x = random(tape, [m, k], 1);
      const w = random(tape, [k, n], 2);
      const y = tape.tensor([m, n]);
      const run = (): void => K.matmul(m, k, n, 1, x.data, k, 1, w.data, n, 1, 0, y.data, n, false, K.scratch);
      run();
      return { run, sum: digest(y.values()) };
    };
    const even = product(1024, 256, 64);
    const odd = product(m, k, n);
    return { a: even.run, b: odd.run, checksum: `${even.sum} ${odd.sum}` };
  },
});

/** A training step on one thread over the same on two. */
const threads = (which: "small" | "big"): Ratio => ({
  name: `step ${which}, one thread / two`,
  size: "",
  threads: 2,
  set(one, two) {
    const a = training(one, which, "plain");
    const b = training(two, which, "plain");
    const losses = [a.step(), b.step()];
    if (losses[0] !== losses[1])
      throw new Error(`ratios: the loss is ${losses[0]} on one thread and ${losses[1]} on two`);
    return { a: a.step, b: b.step, checksum: String(losses[0]) };
  },
});

/** The most that a training step over 1024 places holds, with CoPE over without. */
const memory: Ratio = {
  name: "memory of a step with CoPE / plain",
  size: "b1 t1024",
  set(one, other) {
    const [a, b] = [training(one, "long", "cope"), training(other, "long", "plain")];
    const held = (tape: Tape, run: typeof a): number => {
      run.step();
      return most(tape, () => run.step());
    };
    return { a: a.step, b: b.step, checksum: String(a.step()), bytes: [held(one, a), held(other, b)] };
  },
};

/** What one part of farsight costs over another, a row each. */
export async function* ratios(asked: Asked): AsyncGenerator<Row, string> {
  const all = [
    ...heads.map(cope),
    ...heads.map(myopic),
    odd(1024, 256, 65),
    odd(1021, 251, 61),
    ...(asked.engine === "fast" ? [threads("small"), threads("big")] : []),
    memory,
  ];
  const list = all.filter(r => wanted(asked, r.name, r.size));
  if (list.length === 0)
    throw new RangeError(
      `--case ${asked.words.join(" ")}: no ratio of that name\n` +
        '  wants words in, for instance, "cope attention", "odd", "memory" or, of the fast engine, "one thread"',
    );
  for (const [i, r] of list.entries()) {
    show.step("ratios", r.name, { step: i, steps: list.length });
    const one = await tapeOf("f32", { ...asked, threads: 1 });
    const other = await tapeOf("f32", { ...asked, threads: r.threads ?? 1 });
    const { a, b, checksum, bytes } = r.set(one, other);
    const about = { case: r.name, dtype: "f32" as const, size: r.size, checksum };
    if (r.threads) await new Promise(done => setTimeout(done, 200)); // workers start in the background
    if (bytes)
      yield {
        ...about,
        median: 0,
        mad: 0,
        samples: 0,
        ratio: bytes[0] / bytes[1],
        ratios: [bytes[0] / bytes[1], bytes[0] / bytes[1]],
        note: bytes.map(n => `${(n / 1048576).toFixed(2)} MiB`).join(" and "),
      };
    else {
      const [x, y] = contest(a, b, asked);
      const each = x.map((ms, i) => (ms / y[i]!) * (r.by ?? 1));
      yield {
        ...about,
        median: median(x),
        mad: deviation(x),
        samples: x.length,
        ratio: median(each),
        ratios: [Math.min(...each), Math.max(...each)],
        note: `the other ${median(y).toPrecision(3)} ms`,
      };
    }
    release(one);
    release(other);
  }
  show.done("ratios", list[list.length - 1]!.name);
  return (
    "ratio: the median over rounds in which the two sides took turns, and in brackets the least and largest. " +
    "Memory: the most that tensors, gradients, optimizer and room took at once."
  );
}
