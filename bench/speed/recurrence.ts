// recurrence.ts: a recurrence written by hand, h = tanh(h w + x w), place by place: many small operations, whose cost
// is that of the record. A step, which gives memory back as it goes, beside backward, which keeps it.
import { add, matmul, slice, sum, tanh, type Tape, type Tensor } from "farsight";
import { random } from "./kernels.ts";
import { contest, deviation, digest, median, release, show, tapeOf, wanted, type Asked, type Row } from "./measure.ts";

const D = 16;
const PLACES = [1000, 4000, 16_000] as const;

/** The recurrence over n places: run, and run backwards, in a step and by hand. */
function recurrent(tape: Tape, n: number) {
  const w = random(tape, [D, D], 1, true);
  const x = random(tape, [n, D], 2);
  const loss = (): Tensor => {
    const inputs = matmul(x, w);
    let h = tape.tensor([1, D]);
    for (let i = 0; i < n; i++) h = tanh(add(matmul(h, w), slice(inputs, i, i + 1, { axis: 0 })));
    return sum(h);
  };
  const step = (): void => void tape.step(loss);
  const backward = (): void =>
    tape.scope(() => {
      tape.zeroGrad();
      tape.backward(loss());
    });
  const sums = [step, backward].map(run => {
    run();
    return digest(w.gradient());
  });
  if (sums[0] !== sums[1]) throw new Error(`recurrence: the gradient is ${sums.join(" and ")} at ${n} places`);
  return { step, backward, checksum: sums[0]! };
}

/** A step of a recurrence over its backward pass by hand, at each number of places. */
export async function* recurrence(asked: Asked): AsyncGenerator<Row, string> {
  const list = PLACES.filter(n => wanted(asked, "recurrence", `${n} places`)).slice(0, asked.quick ? 1 : undefined);
  if (list.length === 0)
    throw new RangeError(
      `--case ${asked.words.join(" ")}: no recurrence of that name\n  wants one of ${PLACES.join(", ")} places`,
    );
  for (const [i, n] of list.entries()) {
    show.step("recurrence", `${n} places`, { step: i, steps: list.length });
    const tape = await tapeOf("f32", asked);
    const { step, backward, checksum } = recurrent(tape, n);
    const [x, y] = contest(step, backward, asked);
    const each = x.map((ms, i) => ms / y[i]!);
    release(tape);
    yield {
      case: "recurrence, forward+backward",
      dtype: "f32",
      size: `${n} places`,
      median: median(x),
      mad: deviation(x),
      samples: x.length,
      ratio: median(each),
      ratios: [Math.min(...each), Math.max(...each)],
      checksum,
      note: `backward ${median(y).toPrecision(3)} ms; a place ${((1e6 * median(x)) / n).toFixed(0)} ns`,
    };
  }
  show.done("recurrence", `${list.at(-1)!} places`);
  return "ratio: the median over rounds in which the two took turns, and in brackets the least and largest. d 16.";
}
