// tfjs.ts: tfjs on its wasm backend, as a peer.
import { createRequire } from "node:module";
import { join } from "node:path";
import { root } from "../../place.ts";
import { attend, isLinear, loss, oneHot, transposed, type Lib, type T } from "./model.ts";
import { losses, serve, tensors, type Prepared, type Work } from "./serve.ts";

console.log = console.info = console.warn = console.error; // before it greets
const load = createRequire(join(root, "bench/speed/peers/package.json"));
const tf = load("@tensorflow/tfjs") as T; // its core alone comes without gradients on Node
load("@tensorflow/tfjs-backend-wasm");
await tf.setBackend("wasm");
await tf.ready();

/** With transposes made first: its product of transposed matrices is a loop of single numbers, ten times slower. */
const linear = tf.customGrad((x: T, w: T, save: (list: T[]) => void) => {
  save([x, w]);
  return {
    value: tf.matMul(x, w),
    gradFunc: (dy: T, [x, w]: [T, T]) => [tf.matMul(dy, tf.transpose(w)), tf.matMul(tf.transpose(x), dy)],
  };
});
/** It has no stopGradient. */
const stop = tf.customGrad((x: T) => ({ value: x.clone(), gradFunc: (dy: T) => tf.zerosLike(dy) }));
const axis = (x: T): number => x.shape.length - 1; // -1 breaks cumsum
const N: Lib = {
  constant: (values, shape) => tf.tensor(values, shape),
  matmul: (a, b) =>
    a.shape.length === b.shape.length
      ? tf.matMul(a, b)
      : tf.reshape(linear(tf.reshape(a, [-1, b.shape[0]]), b), [...a.shape.slice(0, -1), b.shape[1]]),
  linear,
  add: tf.add,
  sub: tf.sub,
  mul: tf.mul,
  times: (x, c) => tf.mul(x, c),
  plus: (x, c) => tf.add(x, c),
  tanh: tf.tanh,
  sigmoid: tf.sigmoid,
  relu: tf.relu,
  abs: tf.abs,
  rsqrt: tf.rsqrt,
  least: (x, c) => tf.minimum(x, c),
  softmax: x => tf.softmax(x),
  logSoftmax: x => tf.logSoftmax(x),
  mean: x => tf.mean(x, axis(x), true),
  sum: x => tf.sum(x, axis(x)),
  total: x => tf.sum(x),
  suffix: x => tf.cumsum(x, axis(x), false, true),
  reshape: tf.reshape,
  transpose: tf.transpose,
  slice: (x, axis, from, to) =>
    tf.slice(
      x,
      x.shape.map((_: number, i: number) => (i === axis ? from : 0)),
      x.shape.map((n: number, i: number) => (i === axis ? to - from : n)),
    ),
  concat: tf.concat,
  stop,
};

const magnitude = (x: T): number => (x.dataSync() as Float32Array).reduce((s, v) => s + Math.abs(v), 0);

async function training(work: Extract<Work, { kind: "step" }>): Promise<Prepared> {
  const held = tensors(work.file);
  const { vocab } = work.shape;
  const rows = (name: string): T =>
    tf.tensor(oneHot(held.get(name)!.values, vocab), [held.get(name)!.values.length, vocab]);
  const names = [...held.keys()].filter(n => n !== "tokens" && n !== "targets");
  const tokens = rows("tokens");
  const targets = rows("targets");
  const P = Object.fromEntries(
    names.map(name => {
      const { shape, values } = held.get(name)!;
      return [
        name,
        tf.variable(
          isLinear(name)
            ? tf.tensor(transposed(values, shape[0]!, shape[1]!), [shape[1]!, shape[0]!])
            : tf.tensor(values, shape),
          true,
        ),
      ];
    }),
  );
  const optimizer = tf.train.adam(work.lr, 0.9, 0.999, 1e-8);
  const all = Object.values(P);
  const run = (): number =>
    tf.tidy(() => {
      const { value, grads } = tf.variableGrads(() => loss(N, P, tokens, targets, work), all);
      for (const x of all) if (x.shape.length > 1) x.assign(tf.mul(x, 1 - work.lr * 0.01)); // it has no AdamW
      optimizer.applyGradients(grads);
      return value.dataSync()[0];
    });
  return {
    run,
    results: await losses(run),
    drop: () => {
      for (const x of [...all, tokens, targets]) x.dispose();
      optimizer.dispose();
    },
  };
}

async function prepare(work: Work): Promise<Prepared> {
  if (work.kind === "step") return training(work);
  const held = tensors(work.file);
  const array = (name: string): T => tf.tensor(held.get(name)!.values, held.get(name)!.shape);
  if (work.kind === "attention") {
    const { b, h, t, d, p } = work;
    const all = ["q", "k", "v", ...(work.variant === "cope" ? ["table"] : [])].map(array);
    const f = tf.valueAndGrads((...list: T[]) => {
      const [q, k, v] = list.slice(0, 3).map(x => tf.transpose(x, [0, 2, 1, 3]));
      return tf.sum(attend(N, q, k, v, [b, h, t, d], list[3], p));
    });
    const run = (keep: boolean): number[] =>
      tf.tidy(() => {
        const { value, grads } = f(all);
        return keep ? [value.dataSync()[0], ...grads.map(magnitude)] : [value.dataSync()[0]];
      });
    return {
      run: () => {
        run(false);
      },
      results: run(true),
      drop: () => {
        for (const x of all) x.dispose();
      },
    };
  }
  const x = array("x");
  const w = array("w");
  const b = array("b");
  const c = Math.sqrt(2 / Math.PI);
  const body = {
    exp: () => tf.exp(x),
    tanh: () => tf.tanh(x),
    softmax: () => tf.softmax(x),
    gelu: () =>
      tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(tf.mul(tf.add(x, tf.mul(tf.mul(x, tf.mul(x, x)), 0.044715)), c)), 1)),
    layerNorm: () => {
      const { mean, variance } = tf.moments(x, 1, true);
      return tf.add(tf.mul(tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, 1e-5))), w), b);
    },
  }[work.name] as (() => T) | undefined;
  if (!body) throw new RangeError(`no ${work.name}`);
  return {
    run: () => {
      tf.tidy(() => {
        body();
      });
    },
    results: [tf.tidy(() => magnitude(body()))],
  };
}

serve(async work => prepare(work));
