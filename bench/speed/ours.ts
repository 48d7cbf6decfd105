// ours.ts: farsight, as one peer among others.
import { add, attention, exp, gelu, layerNorm, softmax, sum, tanh, type Tape, type Tensor } from "farsight";
import { release, tapeOf } from "./measure.ts";
import { most, training, type Size, type Variant } from "./step.ts";
import { losses, serve, tensors, type Prepared, type Work } from "./peers/serve.ts";

const magnitude = (list: ArrayLike<number>): number => {
  let s = 0;
  for (let i = 0; i < list.length; i++) s += Math.abs(list[i]!);
  return s;
};

async function prepare(tape: Tape, work: Work): Promise<Prepared> {
  if (work.kind === "step") {
    const { step } = training(tape, work.size as Size, work.variant as Variant);
    return { run: step, results: await losses(step) };
  }
  const held = tensors(work.file);
  if (work.kind === "attention") {
    const { b, t, h, d, p } = work;
    const [q, k, v] = ["q", "k", "v"].map(n => tape.param([b, t, h, d], held.get(n)!.values)) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const table = work.variant === "cope" ? tape.param([p, d], held.get("table")!.values) : undefined;
    const all = [q, k, v, ...(table ? [table] : [])];
    // Gradients start from nothing each time, as the others' do.
    const run = (): number =>
      tape.step(() => sum(attention(q, k, v, { position: table ? "cope" : "none", tables: { cope: table } })));
    const before = tape.engine.mark;
    const bytes = most(tape, run) - before;
    return { run, results: [run(), ...all.map(x => magnitude(x.gradient()))], bytes };
  }
  const { rows, d, name } = work;
  const x = tape.tensor([rows, d], held.get("x")!.values);
  const [w, b] = ["w", "b"].map(n => tape.tensor([d], held.get(n)!.values)) as [Tensor, Tensor];
  const body = {
    exp: () => exp(x),
    tanh: () => tanh(x),
    gelu: () => gelu(x),
    softmax: () => softmax(x),
    add: () => add(x, x),
    layerNorm: () => layerNorm(x, w, b),
  }[name];
  if (!body) throw new RangeError(`no ${name}`);
  return {
    run: () => {
      tape.scope(body);
    },
    results: [tape.scope(() => magnitude(body().values()))],
  };
}

// A tape a case, so that dropping a case drops its memory.
serve(async work => {
  const tape = await tapeOf("f32", work);
  return { ...(await prepare(tape, work)), drop: () => release(tape) };
});
