// Any kernel by itself, over buffers that hold known numbers: what tests need that run through all of them.
import { readFileSync } from "node:fs";
import { random, type Engine } from "farsight";

/** What arguments hold that are no addresses, unless a case says otherwise. */
const scalars: Record<string, number> = {
  alpha: 0.75,
  by: 1.5,
  plus: -0.25,
  c: 2.5,
  seedLow: 5,
  seedHigh: 0x7ffffff0,
  position: 8,
  delta: 0.5,
  ignore: 3,
  eps: 1e-5,
  reverse: 1,
  interleaved: 0,
  sign: 1,
  add: 1,
  addA: 1,
  addB: 1,
  addX: 1,
  addZ: 1,
  causal: 1,
  scale: 0.1,
  tableScale: 0.2,
  own: 0,
  lr: 0.1,
  keep: 0.99,
  momentum: 0.9,
  nesterov: 1,
  rate: 0.1,
  root: 1.1,
  b1: 0.9,
  c1: 0.1,
  b2: 0.99,
  c2: 0.01,
  most: 0.6,
};
const flat = [20_001, 30_006, 17].map(n => ({ n }));
const rows = [
  { rows: 301, d: 47 },
  { rows: 130, d: 128 },
  { rows: 3, d: 5 },
];
const heads = [
  { b: 5, h: 3, t: 19, s: 23, d: 11, p: 7, r: 6 },
  { b: 2, h: 2, t: 33, s: 33, d: 16, p: 5, r: 9 },
  { b: 7, h: 1, t: 5, s: 5, d: 4, p: 3, r: 2 },
  { b: 5, h: 6, g: 2, t: 1, s: 23, d: 11, p: 7, r: 6 },
].map(x => {
  const g = x.g ?? x.h;
  const strides = (name: string, i: number, heads: number, rows: number): Record<string, number> => {
    const row = heads * x.d + (i % 3);
    return { [`${name}i`]: row, [`${name}b`]: rows * row + i };
  };
  return Object.assign(
    { ...x, g, work: x.h * x.t * x.s * x.d, tableh: 0 },
    ...["q", "gq"].map((name, i) => strides(name, i, x.h, x.t)),
    ...["k", "v", "gk", "pk", "pv", "pg"].map((name, i) => strides(name, i, g, x.s)),
  ) as Record<"b" | "h" | "t" | "s" | "d", number>;
});
/** Those with gates of tokens, and with tables of heads. */
const counting = [
  { ...heads[0]!, tokens: 1 },
  { ...heads[1]!, tableh: 5 * 16 },
  { ...heads[3]!, tokens: 1, tableh: 7 * 11 },
];
const product = (m: number, k: number, n: number, transposed: boolean) => ({
  m,
  k,
  n,
  yi: n + 3,
  ...(transposed ? { ai: 1, ak: m + 1, bk: 1, bn: k + 2 } : { ai: k + 1, ak: 1, bk: n + 2, bn: 1 }),
});
/** Sizes for the kernels that are neither elementwise nor by rows of d. */
const sizes: Record<string, readonly Record<string, number>[]> = {
  matmul: [
    product(61, 43, 29, false),
    product(23, 50, 83, true),
    product(150, 300, 20, true),
    product(1, 301, 150, false),
    product(5, 6, 7, false),
    { ...product(41, 43, 29, false), add: 0 },
    { ...product(5, 43, 329, false), add: 0 },
  ],
  weigh: [product(61, 43, 29, false), { ...product(23, 50, 83, true), add: 0 }],
  attention: [...heads, ...counting],
  attentionBack: [
    ...heads,
    ...counting,
    { ...heads[0]!, own: 1 },
    { ...heads[1]!, causal: 0 },
    { ...heads[0]!, addQ: 1, addPk: 1 },
  ],
  dropout: flat.map(s => ({ ...s, p: 0.3 })),
  dropoutBack: flat.map(s => ({ ...s, p: 0.3 })),
  sum: [
    { o: 71, n: 33, i: 9 },
    { o: 203, n: 101, i: 1 },
    { o: 2, n: 3, i: 5 },
  ],
  sumBack: [
    { o: 71, n: 33, i: 9 },
    { o: 203, n: 101, i: 1 },
  ],
  cumsum: [
    { o: 71, n: 33, i: 9 },
    { o: 203, n: 101, i: 1, reverse: 0 },
  ],
  copyRows: [
    { rows: 301, n: 131, xi: 140, yi: 133 },
    { rows: 301, n: 131, xi: 0, yi: 133 },
  ],
  addRows: [
    { rows: 301, n: 131, xi: 140, yi: 133 },
    { rows: 301, n: 131, xi: 140, yi: 0 },
  ],
  crossEntropyBack: [
    { rows: 301, v: 41 },
    { rows: 3, v: 7 },
  ],
  gatherBack: [{ n: 501, d: 61, v: 9 }],
  gather: [
    { n: 501, d: 61 },
    { n: 5, d: 3 },
  ],
  pick: [{ o: 31, t: 19, p: 11, s: 23 }],
  pickBack: [{ o: 31, t: 19, p: 11, s: 23 }],
  interpolate: [{ rows: 301, p: 11, s: 23 }],
  interpolateBack: [{ rows: 301, p: 11, s: 23 }],
  rope: [
    { b: 7, t: 19, h: 3, d: 14 },
    { b: 9, t: 19, h: 3, d: 14, interleaved: 1, add: 0, sign: -1 },
  ],
  maskedSoftmax: [{ b: 7, h: 3, t: 19, s: 23 }],
  maskedSigmoid: [{ b: 7, h: 3, t: 19, s: 23 }],
  biasBack: [
    { rows: 301, d: 47, di: 50 },
    { rows: 65, d: 129, di: 129 },
    { rows: 3, d: 5, di: 5 },
  ],
};
export const BUFFER = 1 << 16;
const whole = ["ids", "targets", "index", "documents"];
const masks = ["allowed", "keys", "edges"];
const noise = Float64Array.from(
  { length: BUFFER },
  (
    rng => () =>
      0.1 + rng.uniform()
  )(random(1)),
);

/** The arguments of every kernel, as the compiler lists them, and what it returns. */
export const signatures = new Map(
  [...readFileSync("dist/kernels.d.ts", "utf8").matchAll(/^ {2}(\w+)\((.*)\): (\w+);$/gm)].map(m => [
    m[1]!,
    { words: [...m[2]!.matchAll(/(\w+): /g)].map(a => a[1]!), gives: m[3]! },
  ]),
);
/** Sizes to run a kernel at. */
export const casesOf = (name: string): readonly Record<string, number>[] =>
  sizes[name] ?? (signatures.get(name)!.words[0] === "rows" ? rows : flat);

/** What is an address in one kernel and a number in another. */
const addresses: Record<string, readonly string[]> = { crossEntropyBack: ["most"] };
/** What the argument blocks hold, name by name: flags, sizes, strides, and addresses. */
const fields = new Map(
  [...readFileSync("dist/kernels.d.ts", "utf8").matchAll(/interface (\w+) \{\n([^]*?)\n\}/g)].map(([, name, body]) => [
    name!,
    [...body!.matchAll(/readonly (\w+)\??: (\w+)/g)].map(([, field, type]) => ({ field: field!, type })),
  ]),
);
const blocks: Record<string, readonly string[]> = {
  attention: ["AttentionArguments"],
  attentionBack: ["AttentionArguments", "AttentionBackArguments"],
};
/**
 * Runs one kernel over buffers of `BUFFER` numbers, one an argument, that hold the same each time (`over`: what some
 * are filled with); returns the bytes of all. `absent`: addresses that are 0.
 */
export function alone(
  engine: Engine,
  name: string,
  given: Record<string, number>,
  absent: readonly string[] = [],
  over: Record<string, number> = {},
): Buffer {
  const K = engine.kernels;
  const { words } = signatures.get(name)!;
  const parts = (blocks[name] ?? []).map(part => fields.get(part)!);
  const names = [...words, ...parts.flat().map(({ field }) => field)];
  const flags = parts.flat().flatMap(({ field, type }) => (type === "boolean" ? [field] : []));
  const mark = engine.mark;
  const base = engine.alloc(BUFFER * names.length);
  const { h, g, t, s, d, p, r } = given;
  const values = names.map((word, i) => {
    const at = base + i * BUFFER * engine.width;
    if (word in given) return given[word];
    if (word in scalars && !addresses[name]?.includes(word)) return scalars[word];
    if (word === "scratch") return K.scratch;
    if (name === "gatherBack" && word === "room") return engine.alloc(given.v! + given.n!);
    if (word === "room") return engine.alloc(K.attentionRoom(h!, g!, t!, s!, d!, p!, r!, K.scratch));
    if (absent.includes(word) || flags.includes(word) || word === "first" || word === "args") return 0;
    if (whole.includes(word))
      engine.integers(at, BUFFER).forEach((_, j, all) => {
        all[j] = (j * 7) % 5;
      });
    else if (masks.includes(word))
      engine.view(at, BUFFER).forEach((_, j, all) => {
        all[j] = j % 3 ? 1 : 0;
      });
    else if (word === "counts")
      engine.integers(at, BUFFER).forEach((_, j, all) => {
        all[j] = s! - (j % 3);
      });
    else if (word in over) engine.view(at, BUFFER).fill(over[word]!);
    else engine.view(at, BUFFER).set(noise.subarray(0, BUFFER - i * 16)); // each buffer its own numbers
    return at;
  });
  const value = (word: string) => values[names.indexOf(word)];
  if (parts.length) {
    const [forward, back] = parts.map(part => Object.fromEntries(part.map(({ field }) => [field, value(field)])));
    const args = back
      ? K.block("AttentionBackArguments", { ...forward, counts: 0 } as never, back as never)
      : K.block("AttentionArguments", forward as never);
    values[names.indexOf("args")] = args;
  }
  (K as unknown as Record<string, (...args: unknown[]) => void>)[name]!(...values.slice(0, words.length));
  const bytes = Buffer.from(
    Buffer.from(engine.memory.buffer as ArrayBuffer, base, BUFFER * names.length * engine.width),
  );
  engine.rewind(mark);
  return bytes;
}
/** Addresses that callers leave out, kernel by kernel. */
export const leftOut: Record<string, readonly (readonly string[])[]> = {
  attention: [
    ["gq", "gk", "keys", "allowed", "gateBias"],
    ["table", "documents", "gq", "gk", "rel", "slopes", "counts"],
  ],
  attentionBack: [
    ["gq", "gk", "dgq", "dgk", "pg", "edges", "keys", "documents"],
    ["gk", "gq", "gateBias", "dgateBias"],
    ["table", "dtable", "gateBias", "dgateBias", "gq", "gk", "dgq", "dgk", "pg", "rel", "drel", "slopes", "dk"],
  ],
  layerNorm: [["b", "mean", "low", "rstd"]],
  layerNormBack: [["dw", "db"], ["dx"], ["mean"]],
  divBack: [["da"]],
  matmul: [["bias"]],
  huberBack: [["db"]],
  sgd: [["v"]],
  interpolateBack: [["dz"], ["dx"]],
  maskedSoftmax: [["keys"]],
};
