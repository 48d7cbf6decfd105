// Operations and optimisers against PyTorch's double precision.
import {
  Tape,
  adam,
  adamw,
  bmm,
  clipNorm,
  crossEntropy,
  cumsum,
  embedding,
  exp,
  gelu,
  geluErf,
  huber,
  layerNorm,
  linear,
  log,
  logSoftmax,
  matmul,
  reshape,
  rmsNorm,
  rope,
  rotary,
  sgd,
  sigmoid,
  silu,
  sinusoidal,
  softmax,
  tanh,
  type Optimizer,
  type Tensor,
} from "farsight";
import { cases, dtypes, golden, input, match, type Golden } from "./golden.ts";
import { fast } from "farsight/fast";
import { suite } from "./check.ts";

/** The exact engine, and the fused one where the host has it; skipping it is said in fast.test.ts. */
const engines = Number(process.versions.node.split(".")[0]) >= 22 ? ["", ", fused"] : [""];

type Run = (g: Golden, x: Record<string, Tensor>, tape: Tape) => Tensor;
const config = (g: Golden) => g.config as unknown as Record<string, number & string>;
const ids = (tape: Tape, g: Golden, name: string): Tensor => tape.integers(g.shape(name), g.values(name));
const runs: Record<string, Run> = {
  matmul: (_, x) => (x.b!.shape.length === 2 ? matmul(x.a!, x.b!) : bmm(x.a!, x.b!)),
  linear: (_, x) => linear(x.x!, x.weight!, x.bias),
  layerNorm: (g, x) => layerNorm(x.x!, x.weight!, x.bias, { eps: config(g).eps! }),
  rmsNorm: (g, x) => rmsNorm(x.x!, x.weight!, { eps: config(g).eps! }),
  geluTanh: (_, x) => gelu(x.x!),
  geluErf: (_, x) => geluErf(x.x!),
  silu: (_, x) => silu(x.x!),
  sigmoid: (_, x) => sigmoid(x.x!),
  tanh: (_, x) => tanh(x.x!),
  exp: (_, x) => exp(x.x!),
  log: (_, x) => log(x.x!),
  softmax: (_, x) => softmax(x.x!),
  logSoftmax: (_, x) => logSoftmax(x.x!),
  crossEntropy: (g, x, tape) => crossEntropy(x.logits!, ids(tape, g, "in.targets")),
  huber: (g, x, tape) => huber(x.pred!, input(tape, g, "in.target", false), { delta: config(g).delta! }),
  embedding: (g, x, tape) => embedding(x.weight!, ids(tape, g, "in.indices")),
  cumsum: (g, x) => cumsum(x.x!, (config(g).axis as number) < 0 ? {} : { axis: config(g).axis! }),
  cumsumReverse: (g, x) =>
    cumsum(x.x!, { ...((config(g).axis as number) < 0 ? {} : { axis: config(g).axis! }), reverse: true }),
  rope(g, { x }, tape) {
    const [a, b, t, d] = x!.shape as [number, number, number, number];
    const { cos, sin } = rotary(tape, t, d, { theta: config(g).theta!, start: g.values("in.positions")[0]! });
    return reshape(
      rope(reshape(x!, [a * b, t, 1, d]), cos, sin, { interleaved: (config(g).layout as string) === "interleaved" }),
      x!.shape,
    );
  },
};

const tests: Record<string, () => void> = {};
for (const name of cases("op."))
  for (const dtype of dtypes)
    for (const how of engines)
      tests[`${name} ${dtype}${how}`] = () => {
        const g = golden(name);
        const tape = new Tape(dtype, { engine: how ? fast(dtype) : undefined });
        if (name === "op.sinusoidal") {
          const places = g.values("in.positions");
          const [, d] = g.shape("out.y") as [number, number];
          const table = sinusoidal(Math.max(...places) + 1, d);
          return match(
            g,
            dtype,
            tape
              .tensor(
                g.shape("out.y"),
                Array.from(places).flatMap(p => [...table.subarray(p * d, p * d + d)]),
              )
              .values(),
            g.values("out.y"),
            "y",
          );
        }
        const x = Object.fromEntries(
          (config(g).differentiate as unknown as string[]).map(n => [
            n.replace(/^(in|param)\./, ""),
            input(tape, g, n),
          ]),
        );
        const y = runs[config(g).op as string]!(g, x, tape);
        const loss = g.names("out.").includes("loss");
        match(g, dtype, y.values(), g.values(loss ? "out.loss" : "out.y"), "result");
        tape.backward(y, loss ? undefined : g.values("in.dout"));
        for (const [n, t] of Object.entries(x)) match(g, dtype, t.gradient(), g.values(`grad.${n}`), `grad ${n}`);
      };
suite("operations equal PyTorch", tests);

const steps: Record<string, () => void> = {};
for (const name of cases("optim."))
  for (const dtype of dtypes)
    steps[`${name} ${dtype}`] = () => {
      const g = golden(name);
      const tape = new Tape(dtype);
      const o = config(g).optimizer as unknown as Record<string, number> & {
        rule: string;
        nesterov: boolean;
        betas: [number, number];
      };
      const params = { a: input(tape, g, "param.a"), b: input(tape, g, "param.b") };
      const make: Record<string, () => Optimizer> = {
        sgd: () => sgd(params, { lr: o.lr!, momentum: o.momentum!, nesterov: o.nesterov }),
        adam: () => adam(params, { lr: o.lr!, betas: o.betas, eps: o.eps! }),
        adamw: () =>
          adamw(params, { lr: o.lr!, betas: o.betas, eps: o.eps!, decay: o.weight_decay!, decays: () => true }),
      };
      const optimizer = make[o.rule]!();
      const most = config(g).max_norm as number | undefined;
      for (let s = 1; s <= 5; s++) {
        for (const n of ["a", "b"] as const) params[n].gradient().set(g.values(`in.grad.${s}.${n}`));
        if (most) {
          match(g, dtype, [clipNorm(params, most)], g.values(`out.${s}.norm`), `norm ${s}`);
          for (const n of ["a", "b"] as const)
            match(g, dtype, params[n].gradient(), g.values(`out.${s}.clipped.${n}`), `clipped ${s} ${n}`);
        }
        optimizer.step();
        for (const n of ["a", "b"] as const)
          match(g, dtype, params[n].values(), g.values(`out.${s}.${n}`), `${s} ${n}`);
      }
    };
suite("optimisers equal PyTorch", steps);
