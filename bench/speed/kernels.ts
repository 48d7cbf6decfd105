// kernels.ts: one kernel or operation after the other, as a fraction of what the machine can do (ceiling.ts). Products,
// adamw and everything named "back" call the kernels themselves; the rest goes through the operations that users call.
import {
  add,
  exp,
  attention,
  gelu,
  geluErf,
  layerNorm,
  logSoftmax,
  mul,
  sigmoid,
  silu,
  softmax,
  sum,
  tanh,
  type Dtype,
  type Kernels,
  type Numbers,
  type Tape,
  type Tensor,
} from "farsight";
import { ceilings, type Ceilings } from "./ceiling.ts";
import {
  contest,
  digest,
  heads,
  median,
  noise,
  release,
  show,
  sizeOf,
  tapeOf,
  time,
  wanted,
  type Asked,
  type Heads,
  type Row,
} from "./measure.ts";

/** A case, set up: what is timed, and what came of its first call. */
interface Ready {
  run(): void;
  result(): Numbers[];
}
interface Case {
  name: string;
  size: string;
  flop?: number;
  bytes?: number;
  calls?: boolean;
  set(tape: Tape): Ready;
}

const M = 1 << 20;
const W = { f32: 4, f64: 8 };

/** A constant of noise, or one that wants a gradient. */
export function random(tape: Tape, shape: readonly number[], seed: number, wants = false): Tensor {
  const t = wants ? tape.param(shape) : tape.tensor(shape);
  noise(seed, t.values());
  return t;
}

function products(): Case[] {
  const forms: [string, number, number, number][] = [];
  for (const n of [64, 256, 512, 1024]) for (const form of ["A B", "A Bᵀ", "Aᵀ B"]) forms.push([form, n, n, n]);
  for (const [m, k, n] of [
    [128, 16, 128],
    [1024, 256, 64],
    [1024, 256, 65],
    [1021, 251, 61],
  ] as const)
    forms.push(["A B", m, k, n]);
  return forms.map(([form, m, k, n]) => ({
    name: `matmul ${form}`,
    size: `${m}x${k}x${n}`,
    flop: 2 * m * k * n,
    set(tape) {
      const K = tape.engine.kernels;
      const a = random(tape, [m * k], 1);
      const b = random(tape, [k * n], 2);
      const y = tape.tensor([m * n]);
      const [ai, ak] = form === "Aᵀ B" ? [1, m] : [k, 1];
      const [bk, bn] = form === "A Bᵀ" ? [1, k] : [n, 1];
      return {
        run: () => K.matmul(m, k, n, 1, a.data, ai, ak, b.data, bk, bn, 0, y.data, n, false, K.scratch),
        result: () => [y.values()],
      };
    },
  }));
}

/** What an operation makes, kept from its first call, in a scope a call. */
function operation(tape: Tape, body: () => Tensor, copies = new Map<string, Numbers>()): Ready {
  return {
    run: () => {
      tape.scope(() => {
        const y = body();
        if (copies.size === 0) copies.set("y", y.values().slice());
      });
    },
    result: () => [...copies.values()],
  };
}

function maps(dtype: Dtype): Case[] {
  const w = W[dtype];
  const list: Case[] = [];
  for (const [name, op] of Object.entries({ exp, tanh, sigmoid, gelu, geluErf, silu })) {
    list.push({
      name,
      size: "1M",
      bytes: 2 * w * M,
      set: tape => {
        const x = random(tape, [M], 1);
        return operation(tape, () => op(x));
      },
    });
    const back = `${name === "gelu" ? "geluTanh" : name}Back` as "expBack";
    list.push({
      name: `${name} back`,
      size: "1M",
      bytes: 4 * w * M,
      set: tape => {
        const K = tape.engine.kernels;
        const x = random(tape, [M], 1);
        const dy = random(tape, [M], 2);
        const dx = tape.tensor([M]);
        const y = tape.tensor([M]);
        K[back.replace("Back", "") as "exp"](M, x.data, y.data);
        return { run: () => K[back](M, x.data, y.data, dy.data, dx.data, true), result: () => [dx.values()] };
      },
    });
  }
  for (const [name, op] of Object.entries({ add, mul }))
    list.push({
      name,
      size: "1M",
      bytes: 3 * w * M,
      set: tape => {
        const a = random(tape, [M], 1);
        const b = random(tape, [M], 2);
        return operation(tape, () => op(a, b));
      },
    });
  return list;
}

function rows(dtype: Dtype): Case[] {
  const d = 1024;
  const shape = [M / d, d];
  const size = "1024 rows of 1024";
  const w = W[dtype];
  return [
    ...Object.entries({ softmax, logSoftmax }).map(([name, op]): Case => ({
      name,
      size,
      bytes: 2 * w * M,
      set: tape => {
        const x = random(tape, shape, 1);
        return operation(tape, () => op(x));
      },
    })),
    {
      name: "layerNorm",
      size,
      bytes: 2 * w * M,
      set: tape => {
        const x = random(tape, shape, 1);
        const g = random(tape, [d], 2);
        const b = random(tape, [d], 3);
        return operation(tape, () => layerNorm(x, g, b));
      },
    },
    {
      name: "adamw",
      size: "1M",
      bytes: 7 * w * M,
      set: tape => {
        const K = tape.engine.kernels;
        const g = random(tape, [M], 1);
        const m = tape.tensor([M]);
        const v = tape.tensor([M]);
        const p = random(tape, [M], 2);
        return {
          run: () => K.adamw(M, 0.9999, 1e-3, 1, 0.9, 0.1, 0.999, 0.001, 1e-8, g.data, m.data, v.data, p.data),
          result: () => [p.values()],
        };
      },
    },
  ];
}

/**
 * Floating-point operations of attention's products alone, half of each square for the causal mask. Backward makes the
 * logits again.
 */
function attentionFlop(b: number, h: number, t: number, d: number, { p = 0, own = false, back = false }): number {
  const square = t * (t + 1) * d;
  const table = 2 * t * p * d; // one product with the keys, and one with a table
  return b * h * (2 * square + table + (back ? (own ? 3 : 5) * square + 3 * table : 0));
}

/** Attention of one kind, forward or in both directions. */
function attentionOf(shape: Heads, kind: "plain" | "cope" | "myopic own" | "relative", back: boolean): Case {
  const [b, h, t, d] = shape;
  const own = kind === "myopic own";
  const p = { plain: 0, "myopic own": 0, cope: 64, relative: t }[kind];
  return {
    name: `fusedAttention ${kind}${back ? " forward+backward" : ""}`,
    size: sizeOf(shape),
    flop: attentionFlop(b, h, t, d, { p, own, back }),
    set(tape) {
      const [q, k, v] = [1, 2, 3].map(seed => random(tape, [b, t, h, d], seed, back)) as [Tensor, Tensor, Tensor];
      const table = p ? random(tape, [p, d], 4, back) : undefined;
      const inputs = [q, k, v, ...(table ? [table] : [])];
      const forward = (): Tensor =>
        kind === "relative"
          ? attention(q, k, v, { position: "relative", tables: { relative: table } })
          : attention(q, k, v, { position: table ? "cope" : "none", tables: { cope: table }, own });
      let kept: Numbers[] | undefined;
      const body = (): void => {
        const y = forward();
        if (back) tape.backward(sum(y));
        kept ??= [y.values().slice(), ...(back ? inputs.map(x => x.gradient().slice()) : [])];
      };
      return { run: () => tape.scope(body), result: () => kept ?? [] };
    },
  };
}

function attentions(): Case[] {
  const kinds = ["plain", "cope", "myopic own", "relative"] as const;
  return heads.flatMap(shape => kinds.flatMap(kind => [false, true].map(back => attentionOf(shape, kind, back))));
}

/** What an operation costs beside its kernel: JavaScript, in nanoseconds a call. */
function overhead(): Case[] {
  const many = 100;
  const chain = (tape: Tape, wants: boolean, body: (x: Tensor, tape: Tape) => void): Ready => {
    const x = random(tape, [4], 1, wants);
    return {
      run: () => {
        tape.scope(() => body(x, tape));
      },
      result: () => [wants ? x.gradient() : x.values()],
    };
  };
  const adds = (x: Tensor): Tensor => {
    let y = add(x, x);
    for (let i = 1; i < many; i++) y = add(y, x);
    return y;
  };
  return [
    {
      name: "overhead kernel add",
      size: "4 numbers",
      calls: true,
      set: tape => {
        // the call into WebAssembly alone
        const K: Kernels = tape.engine.kernels;
        const x = random(tape, [4], 1);
        const y = tape.tensor([4]);
        return {
          run: () => {
            for (let i = 0; i < many; i++) K.add(4, x.data, x.data, y.data);
          },
          result: () => [y.values()],
        };
      },
    },
    { name: "overhead add", size: "4 numbers", calls: true, set: tape => chain(tape, false, adds) },
    {
      name: "overhead add forward+backward",
      size: "4 numbers",
      calls: true,
      set: tape => chain(tape, true, (x, tape) => tape.backward(sum(adds(x)))),
    },
  ];
}

type Wanted = Case & { dtype: Dtype };

/** The ceilings as rows of their own. */
function limits(limit: Ceilings, dtypes: readonly Dtype[], sizes: readonly number[]): Row[] {
  const none = { median: 0, mad: 0, samples: 0, checksum: "" };
  return [
    ...dtypes.map((dtype): Row => {
      const about = { case: "ceiling: multiply-adds", dtype, size: "" };
      return { ...about, ...none, unit: "GFLOP/s", rate: limit.madd(dtype) };
    }),
    ...sizes.map((bytes): Row => {
      const about = { case: "ceiling: copy", size: `${(bytes / M).toFixed(2)} MiB` };
      return { ...about, ...none, unit: "GB/s", rate: limit.copy(bytes) };
    }),
  ];
}

/** One case, timed on its tape, beside its ceiling. */
function measured(tape: Tape, c: Wanted, limit: Ceilings, asked: Asked): Row {
  const set = c.set(tape);
  set.run();
  const checksum = digest(...set.result());
  const t = time(() => set.run(), asked);
  const about = { case: c.name, dtype: c.dtype, size: c.size, ...t, checksum };
  if (c.calls) return { ...about, unit: "ns/op", rate: t.median * 1e4 };
  const rate = (c.flop ?? c.bytes!) / t.median / 1e6;
  if (!c.flop || asked.threads > 1) {
    const ceiling = c.flop ? limit.madd(c.dtype) : limit.copy(c.bytes!);
    return { ...about, unit: c.flop ? "GFLOP/s" : "GB/s", rate, ceiling, fraction: rate / ceiling };
  }
  // the ceiling once more, in turns with the kernel
  const { run, flop } = limit.loop(c.dtype);
  const [mine, loop] = contest(() => set.run(), run, asked);
  const ceiling = flop / median(loop) / 1e6;
  // Others who use the machine cost a kernel, which lives in caches, more than a loop in registers: the best rounds of
  // both tell what it could do.
  const part = (ms: number, of: number): number => c.flop! / ms / (flop / of);
  const fraction = median(mine.map((ms, i) => part(ms, loop[i]!)));
  const best = part(Math.min(...mine), Math.min(...loop));
  return { ...about, unit: "GFLOP/s", rate, ceiling, fraction, best };
}

/** Kernels and operations, a row each, after the ceilings. */
export async function* kernels(asked: Asked): AsyncGenerator<Row, string> {
  const all = (["f32", "f64"] as const).flatMap(dtype =>
    [...products(), ...maps(dtype), ...rows(dtype), ...attentions(), ...overhead()].map((c): Wanted => ({
      ...c,
      dtype,
    })),
  );
  const list = all.filter(c => wanted(asked, c.name, c.dtype, c.size));
  if (list.length === 0)
    throw new RangeError(
      `--case ${asked.words.join(" ")}: no kernel of that name\n` +
        '  wants words in, for instance, "matmul f32 512" or "gelu"',
    );
  const L2 = 256 * 1024;
  const FAR = 64 * M;
  const sizes = [...new Set([...(asked.quick ? [] : [L2, FAR]), ...list.flatMap(c => c.bytes ?? [])])];
  const dtypes = (["f32", "f64"] as const).filter(d => list.some(c => c.dtype === d && c.flop));
  const copies = sizes.map(s => `${(s / M).toFixed(2)} MiB`).join(", ");
  show.log(`measuring ceilings: ${dtypes.map(d => `${d} multiply-adds, `).join("")}copies of ${copies}`);
  const limit = await ceilings(asked, dtypes, sizes);
  for (const row of limits(limit, dtypes, sizes)) yield row;
  let tape: Tape | undefined;
  for (const [i, c] of list.entries()) {
    show.step("kernels", "case", { step: i, steps: list.length });
    if (tape?.dtype !== c.dtype) {
      if (tape) release(tape);
      tape = await tapeOf(c.dtype, asked);
    }
    const on = tape;
    yield on.scope(() => measured(on, c, limit, asked));
  }
  if (tape) release(tape);
  show.done("kernels", "case");
  return (
    "of it: with one thread the median of rounds in which kernel and ceiling took turns, and in brackets the best " +
    "round of each. GB/s counts what a kernel must read and write once; GFLOP/s of attention its products alone, " +
    "half of each square."
  );
}
