// model.ts: the transformer of step.ts written once for jax-js and tfjs, against the few operations that both have.
// Weights of linear layers are kept [in, out], as these libraries like them; embeddings are products with one-hot rows,
// since neither can differentiate a lookup (tfjs has no kernel for its gradient on wasm; jax-js cannot compile a
// scatter).
import type { Work } from "./serve.ts";

/** An array of a library. */
export type T = any;
/** What a library must be able to do. Reductions and softmax run over the last axis. */
export interface Lib {
  constant(values: Float32Array, shape: number[]): T;
  matmul(a: T, b: T): T;
  /** x [rows in] by w [in out]. */
  linear(x: T, w: T): T;
  add(a: T, b: T): T;
  sub(a: T, b: T): T;
  mul(a: T, b: T): T;
  times(x: T, c: number): T;
  plus(x: T, c: number): T;
  tanh(x: T): T;
  sigmoid(x: T): T;
  relu(x: T): T;
  abs(x: T): T;
  rsqrt(x: T): T;
  least(x: T, c: number): T;
  softmax(x: T): T;
  logSoftmax(x: T): T;
  /** Over the last axis, which stays as 1. */
  mean(x: T): T;
  /** Over the last axis, which goes. */
  sum(x: T): T;
  total(x: T): T;
  /** Running sums along the last of four axes, from the far end. */
  suffix(x: T): T;
  reshape(x: T, shape: number[]): T;
  transpose(x: T, order: number[]): T;
  slice(x: T, axis: number, from: number, to: number): T;
  concat(list: T[], axis: number): T;
  stop(x: T): T;
  /** z[..., position], between the places below and above it. */
  interpolate?(z: T, position: T): T;
}

type StepWork = Extract<Work, { kind: "step" }>;

/** Rows of 0 with a 1 at each id. */
export function oneHot(ids: ArrayLike<number>, v: number): Float32Array {
  const rows = new Float32Array(ids.length * v);
  for (let i = 0; i < ids.length; i++) rows[i * v + ids[i]!] = 1;
  return rows;
}
/** Whether a parameter is the weight of a linear layer, [out, in] in the file. */
export const isLinear = (name: string): boolean => /(c_attn|c_proj|c_fc|lm_head)\.weight$/.test(name);
/** The transpose of an m x n matrix. */
export function transposed(values: ArrayLike<number>, m: number, n: number): Float32Array {
  const y = new Float32Array(m * n);
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) y[j * m + i] = values[i * n + j]!;
  return y;
}

/**
 * -80 above the diagonal, added to logits: e^-80 is nothing beside 1, and e^80 is still a number, which the gradients
 * of these sigmoids need.
 */
export function hidden(t: number): Float32Array {
  const m = new Float32Array(t * t);
  for (let i = 0; i < t; i++) m.fill(-80, i * t + i + 1, (i + 1) * t);
  return m;
}
function identity(t: number): Float32Array {
  const m = new Float32Array(t * t);
  for (let i = 0; i < t; i++) m[i * t + i] = 1;
  return m;
}

/**
 * CoPE's logits from a table p d: with a library's lookup along the last axis, or as the sum over all positions of z[p]
 * max(0, 1 - |position - p|).
 */
function cope(N: Lib, q: T, logits: T, table: T, [b, h, t, p]: [number, number, number, number]): T {
  const position = N.least(N.suffix(N.sigmoid(logits)), p - 1);
  const z = N.matmul(q, N.transpose(table, [1, 0]));
  if (N.interpolate) return N.interpolate(z, position);
  const places = N.constant(
    Float32Array.from({ length: p }, (_, i) => i),
    [1, 1, 1, 1, p],
  );
  const near = N.relu(N.plus(N.times(N.abs(N.sub(N.reshape(position, [b, h, t, t, 1]), places)), -1), 1)); // b h t t p
  return N.sum(N.mul(near, N.reshape(z, [b, h, t, 1, p])));
}

/** Causal attention, q k v b h t d. */
export function attend(
  N: Lib,
  q: T,
  k: T,
  v: T,
  [b, h, t, d]: [number, number, number, number],
  table?: T,
  p = 0,
  past?: { k: T; v: T },
): T {
  const mask = N.constant(hidden(t), [1, 1, t, t]);
  let s = N.matmul(q, N.transpose(past ? past.k : k, [0, 1, 3, 2]));
  if (past) {
    const eye = N.constant(identity(t), [1, 1, t, t]);
    const rest = N.constant(
      identity(t).map(x => 1 - x),
      [1, 1, t, t],
    );
    s = N.add(N.mul(s, rest), N.mul(N.reshape(N.sum(N.mul(q, k)), [b, h, t, 1]), eye));
  }
  s = N.add(N.times(s, 1 / Math.sqrt(d)), mask);
  if (table) s = N.add(s, cope(N, q, s, table, [b, h, t, p]));
  const a = N.softmax(s);
  if (!past) return N.matmul(a, v);
  const eye = N.constant(identity(t), [1, 1, t, t]);
  return N.add(N.matmul(a, past.v), N.mul(N.reshape(N.sum(N.mul(a, eye)), [b, h, t, 1]), N.sub(v, past.v)));
}

type Parameters = { readonly [name: string]: T };

const norm = (N: Lib, P: Parameters, x: T, at: string): T => {
  const c = N.sub(x, N.mean(x));
  const scaled = N.mul(c, N.rsqrt(N.plus(N.mean(N.mul(c, c)), 1e-5)));
  return N.add(N.mul(scaled, P[`${at}.weight`]), P[`${at}.bias`]);
};
const apply = (N: Lib, P: Parameters, x: T, at: string): T => N.add(N.linear(x, P[`${at}.weight`]), P[`${at}.bias`]);
const gelu = (N: Lib, x: T): T => {
  const cubic = N.times(N.add(x, N.times(N.mul(x, N.mul(x, x)), 0.044715)), Math.sqrt(2 / Math.PI));
  return N.mul(N.times(x, 0.5), N.plus(N.tanh(cubic), 1));
};

/** What attention adds to states x [b n, d] in layer `at`. */
function attentive(N: Lib, P: Parameters, x: T, at: string, n: number, { shape, variant }: StepWork): T {
  const { b, d, heads } = shape;
  const width = d / heads;
  const split = (y: T, i: number): T =>
    N.transpose(N.reshape(N.slice(y, 1, i * d, (i + 1) * d), [b, n, heads, width]), [0, 2, 1, 3]);
  const state = norm(N, P, x, `${at}.ln_1`);
  const qkv = apply(N, P, state, `${at}.attn.c_attn`);
  let past: { k: T; v: T } | undefined;
  if (variant === "myopic") {
    const old = apply(N, P, N.stop(state), `${at}.attn.c_attn`);
    past = { k: split(old, 1), v: split(old, 2) };
  }
  const table = P[`${at}.attn.cope.weight`];
  const p = variant === "cope" ? 64 : 0;
  const sizes: [number, number, number, number] = [b, heads, n, width];
  const y = attend(N, split(qkv, 0), split(qkv, 1), split(qkv, 2), sizes, table, p, past);
  return apply(N, P, N.reshape(N.transpose(y, [0, 2, 1, 3]), [b * n, d]), `${at}.attn.c_proj`);
}

/** x [b n, d] -> states [b n, d]. */
function states(N: Lib, P: Parameters, x: T, n: number, work: StepWork): T {
  const { b, d, layers, inner } = work.shape;
  const places = P["wpe.weight"];
  if (places) {
    const rows = N.reshape(N.slice(places, 0, 0, n), [1, n, d]);
    x = N.reshape(N.add(N.reshape(x, [b, n, d]), rows), [b * n, d]);
  }
  for (let i = 0; i < layers; i++) {
    const at = `h.${i}`;
    x = N.add(x, attentive(N, P, x, at, n, work));
    const wide = N.reshape(apply(N, P, norm(N, P, x, `${at}.ln_2`), `${at}.mlp.c_fc`), [b * n, inner]);
    x = N.add(x, apply(N, P, gelu(N, wide), `${at}.mlp.c_proj`));
  }
  return norm(N, P, x, "ln_f");
}

/** Logits [b t, vocab] of embeddings x [b t, d], a segment after the other, memory in between. */
function recurrent(N: Lib, P: Parameters, x: T, work: StepWork): T {
  const { segments, memory: m, shape } = work;
  const { b, t, d, vocab } = shape;
  const l = t / segments;
  const n = l + 2 * m;
  const words = N.reshape(x, [b, t, d]);
  const out: T[] = [];
  let memory = N.add(N.reshape(P["memory"], [1, m, d]), N.constant(new Float32Array(b * m * d), [b, m, d]));
  for (let s = 0; s < segments; s++) {
    const read = N.concat([memory, N.slice(words, 1, s * l, s * l + l), memory], 1);
    const y = N.reshape(states(N, P, N.reshape(read, [b * n, d]), n, work), [b, n, d]);
    const segment = N.reshape(N.slice(y, 1, m, m + l), [b * l, d]);
    out.push(N.reshape(N.linear(segment, P["lm_head.weight"]), [b, l, vocab]));
    memory = N.slice(y, 1, m + l, n);
  }
  return N.reshape(N.concat(out, 1), [b * t, vocab]);
}

/** The loss, given parameters by name, one-hot tokens and one-hot targets, both [b t, vocab]. */
export function loss(N: Lib, P: Parameters, tokens: T, targets: T, work: StepWork): T {
  const { b, t } = work.shape;
  const x = N.linear(tokens, P["wte.weight"]);
  const logits =
    work.variant === "rmt" ? recurrent(N, P, x, work) : N.linear(states(N, P, x, t, work), P["lm_head.weight"]);
  return N.times(N.total(N.mul(targets, N.logSoftmax(logits))), -1 / (b * t));
}
