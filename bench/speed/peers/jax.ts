// jax.ts: jax-js on its wasm backend, as a peer: everything in one jit, as its authors advise.
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { root } from "../../place.ts";
import { attend, isLinear, loss, oneHot, transposed, type Lib, type T } from "./model.ts";
import { losses, serve, tensors, type Prepared, type Work } from "./serve.ts";

// Node 20 has none, and init() reads it
(globalThis as { navigator?: unknown }).navigator ??= { hardwareConcurrency: 1 };
const at = createRequire(join(root, "bench/speed/peers/package.json"))
  .resolve("@jax-js/jax")
  .replace(/index\.cjs$/, "index.js");
const {
  init,
  defaultDevice,
  jit,
  valueAndGrad,
  blockUntilReady,
  numpy: np,
  nn,
  lax,
} = (await import(pathToFileURL(at).href)) as { [name: string]: T };
await init("wasm");
defaultDevice("wasm");

/**
 * An operation takes its arrays and frees them, unless given another reference; traced arrays may leak, since tracing
 * happens once.
 */
const r = (x: T): T => x.ref;
const N: Lib = {
  constant: (values, shape) => np.array(values, { shape }),
  matmul: (a, b) => np.matmul(r(a), r(b)),
  linear: (x, w) => np.matmul(r(x), r(w)),
  add: (a, b) => r(a).add(r(b)),
  sub: (a, b) => r(a).sub(r(b)),
  mul: (a, b) => r(a).mul(r(b)),
  times: (x, c) => r(x).mul(c),
  plus: (x, c) => r(x).add(c),
  tanh: x => np.tanh(r(x)),
  sigmoid: x => nn.sigmoid(r(x)),
  relu: x => nn.relu(r(x)),
  abs: x => np.abs(r(x)),
  rsqrt: x => np.reciprocal(np.sqrt(r(x))),
  least: (x, c) => np.minimum(r(x), c),
  softmax: x => nn.softmax(r(x), -1),
  logSoftmax: x => nn.logSoftmax(r(x), -1),
  mean: x => np.mean(r(x), -1, { keepdims: true }),
  sum: x => np.sum(r(x), -1),
  total: x => np.sum(r(x)),
  // By a triangle of ones: its cumsum is thirty times slower.
  suffix(x) {
    const { shape } = x;
    const t = shape.at(-1)!;
    const ones = Float32Array.from({ length: t * t }, (_, i) => Number(Math.floor(i / t) >= i % t));
    return np.matmul(r(x).reshape([-1, t]), np.array(ones, { shape: [t, t] })).reshape(shape);
  },
  reshape: (x, shape) => r(x).reshape(shape),
  transpose: (x, order) => np.transpose(r(x), order),
  slice: (x, axis, from, to) => r(x).slice(...Array.from({ length: axis }, () => []), [from, to]),
  concat: (list, axis) => np.concatenate(list.map(r), axis),
  stop: x => lax.stopGradient(r(x)),
  interpolate(z, position) {
    const below = np.floor(lax.stopGradient(r(position)));
    const above = np.ceil(lax.stopGradient(r(position)));
    const w = N.sub(position, below);
    const at = (place: T): T => np.takeAlongAxis(r(z), place.astype(np.int32), -1);
    return N.add(N.mul(at(above), w), N.mul(at(below), N.plus(N.times(w, -1), 1)));
  },
};

const magnitude = (x: T): number => (x.dataSync() as Float32Array).reduce((s, v) => s + Math.abs(v), 0);

async function training(work: Extract<Work, { kind: "step" }>): Promise<Prepared> {
  const held = tensors(work.file);
  const { vocab } = work.shape;
  const names = [...held.keys()].filter(n => n !== "tokens" && n !== "targets");
  const load = (name: string): T => {
    const { shape, values } = held.get(name)!;
    return isLinear(name)
      ? np.array(transposed(values, shape[0]!, shape[1]!), { shape: [shape[1]!, shape[0]!] })
      : np.array(values, { shape });
  };
  const zeros = (): T[] => names.map(n => np.zeros(load(n).shape));
  const rows = (name: string): T =>
    np.array(oneHot(held.get(name)!.values, vocab), { shape: [held.get(name)!.values.length, vocab] });
  const tokens = rows("tokens");
  const targets = rows("targets");
  const { lr } = work;
  /** p, m, v and the bias corrections in, the same out. */
  const update = jit((p: T[], m: T[], v: T[], rate: T, root: T, x: T, y: T) => {
    const [value, g] = valueAndGrad((p: T[]) =>
      loss(N, Object.fromEntries(names.map((n, i) => [n, p[i]])), x, y, work),
    )(p.map(r));
    const m2 = m.map((m, i) => N.add(N.times(m, 0.9), N.times(g[i], 0.1)));
    const v2 = v.map((v, i) => N.add(N.times(v, 0.999), N.times(N.mul(g[i], g[i]), 0.001)));
    const p2 = p.map((p, i) =>
      N.sub(
        N.times(p, p.ndim > 1 ? 1 - lr * 0.01 : 1),
        N.mul(N.mul(m2[i], np.reciprocal(N.plus(N.mul(np.sqrt(r(v2[i])), root), 1e-8))), rate),
      ),
    );
    return [value, p2, m2, v2];
  });
  let state = [names.map(load), zeros(), zeros()];
  let t = 0;
  const run = async (): Promise<number> => {
    t++;
    const [value, ...next] = update(
      ...state,
      np.array(lr / (1 - 0.9 ** t)),
      np.array(1 / Math.sqrt(1 - 0.999 ** t)),
      tokens.ref,
      targets.ref,
    ) as [T, T[], T[], T[]];
    state = next;
    await blockUntilReady(state); // nothing is computed before it is waited for
    return value.item();
  };
  return {
    run,
    results: await losses(run),
    drop: () => {
      for (const x of [...state.flat(), tokens, targets]) x.dispose();
      update.dispose?.();
    },
  };
}

async function prepare(work: Work): Promise<Prepared> {
  if (work.kind === "step") return training(work);
  const held = tensors(work.file);
  const array = (name: string): T => np.array(held.get(name)!.values, { shape: held.get(name)!.shape });
  if (work.kind === "attention") {
    const { b, h, t, d, p } = work;
    const table = work.variant === "cope";
    const all = ["q", "k", "v", ...(table ? ["table"] : [])].map(array);
    const f = jit((list: T[]) =>
      valueAndGrad((list: T[]) => {
        const [q, k, v] = list.slice(0, 3).map(x => N.transpose(x, [0, 2, 1, 3])); // b t h d -> b h t d
        return N.total(attend(N, q, k, v, [b, h, t, d], list[3], p));
      })(list.map(r)),
    );
    const run = async (): Promise<[number, T[]]> => {
      const [y, g] = f(all.map(r));
      await blockUntilReady(g);
      return [y.item(), g];
    };
    const [y, g] = await run();
    return {
      run: async () => {
        for (const x of (await run())[1]) x.dispose();
      },
      results: [y, ...g.map(magnitude)],
    };
  }
  const x = array("x");
  const w = array("w");
  const b = array("b");
  const body = {
    exp: () => np.exp(r(x)),
    tanh: () => np.tanh(r(x)),
    gelu: (x: T) => nn.gelu(r(x), { approximate: true }),
    softmax: (x: T) => nn.softmax(r(x), -1),
    layerNorm: (x: T, w: T, b: T) => N.add(N.mul(nn.standardize(r(x), -1, { epsilon: 1e-5 }), w), b),
  }[work.name] as ((...x: T[]) => T) | undefined;
  if (!body) throw new RangeError(`no ${work.name}`);
  const f = jit(work.name === "exp" ? (x: T) => np.exp(r(x)) : work.name === "tanh" ? (x: T) => np.tanh(r(x)) : body);
  const call = (): T => (work.name === "layerNorm" ? f(r(x), r(w), r(b)) : f(r(x)));
  return {
    run: async () => {
      const y = call();
      await blockUntilReady(y);
      y.dispose();
    },
    results: [magnitude(call())],
  };
}

serve(async work => prepare(work));
