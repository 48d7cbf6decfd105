// The curriculum: stages by length, when they end, what they hand over, and runs that are put down and taken up.
import * as assert from "uvu/assert";
import {
  Tape,
  adamw,
  curriculum,
  dropout,
  leaves,
  load,
  memorize,
  mul,
  random,
  rmt,
  save,
  scale,
  sum,
  transformer,
  type CurriculumMetrics,
  type CurriculumOptions,
  type Progress,
} from "farsight";
import { suite } from "./check.ts";

type Metrics = CurriculumMetrics;
async function all(options: CurriculumOptions): Promise<Metrics[]> {
  const list: Metrics[] = [];
  for await (const m of curriculum(options)) list.push(m);
  return list;
}
/** Two numbers that are pulled to 0, and what asks for the loss. */
function pulled(more: Partial<CurriculumOptions> = {}) {
  const tape = new Tape("f64", { seed: 4 });
  const params = { w: tape.param([2], [1, -2]) };
  const asked: number[][] = [];
  const options: CurriculumOptions = {
    params,
    optimizer: adamw(params, { lr: 0.1 }),
    stages: [1, 2, 5],
    steps: 3,
    loss(n, step, micro) {
      asked.push([n, step, micro]);
      return scale(sum(mul(params.w, dropout(params.w, { p: 0.5 }))), { by: n });
    },
    ...more,
  };
  return { tape, params, asked, options };
}
const bits = ({ params, optimizer }: CurriculumOptions): number[] =>
  [...leaves(params), ...[optimizer].flat().flatMap(o => leaves(o.state))].flatMap(([, p]) => [...p.values()]);

suite("curriculum", {
  async "goes through stages of a length each, and counts steps through all"() {
    const { asked, options } = pulled({ accumulate: 2 });
    const list = await all({ ...options, steps: [1, 3, 2] });
    assert.equal(
      list.map(m => [m.step, m.stage, m.length, m.progress.made, m.progress.step]),
      [
        [1, 0, 1, 1, 1],
        [2, 1, 2, 2, 1],
        [3, 1, 2, 3, 2],
        [4, 1, 2, 4, 3],
        [5, 2, 5, 5, 1],
        [6, 2, 5, 6, 2],
      ],
    );
    assert.equal(
      asked,
      list.flatMap(m => [0, 1].map(micro => [m.length, m.step - 1, micro])),
    );
  },
  async "draws lengths from 1 to the stage's by seed and step alone"() {
    const lengths = async (seed: number) =>
      (await all({ ...pulled().options, stages: [1, 4], steps: 60, lengths: "random", seed })).map(m => m.length);
    const [one, again, other] = [await lengths(1), await lengths(1), await lengths(2)];
    assert.equal(one, again);
    assert.is.not(one!.join(), other!.join());
    assert.equal(new Set(one!.slice(0, 60)), new Set([1]));
    assert.equal([...new Set(one!.slice(60))].sort(), [1, 2, 3, 4]);
    const { asked, options } = pulled();
    await all({ ...options, stages: [1, 4], steps: 60, lengths: "random", seed: 1 });
    const drawn = (await all({ ...pulled().options, stages: [4, 4], steps: 30, lengths: "random", seed: 1 })).map(
      m => m.length,
    );
    assert.equal(
      drawn,
      drawn.map((_, i) => 1 + random(1).fork(i).integer(4)),
    );
    assert.equal(
      asked.map(([n]) => n),
      one,
    );
  },
  async "ends a stage after validations that are no better, or at the goal, and hands the best weights over"() {
    const values = [5, 6, 3, 4, NaN, 3, 9, 2, 2, 2, 7, 7];
    const { params, options } = pulled({ patience: 3, goal: 1, stages: [3, 4], steps: 20 });
    const seen: number[][] = [];
    const asked: number[] = [];
    const list = await all({
      ...options,
      evaluate(n) {
        asked.push(n);
        seen.push([...params.w.values()]);
        return values.shift() ?? 0;
      },
    });
    // 5 6 3 | 4 NaN 3: three no better. Then 9 2 | 2 2 7.
    assert.equal(
      list.map(m => m.stage),
      [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1],
    );
    assert.equal(asked, [3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4]);
    assert.equal([...params.w.values()], seen[7], "the weights of 2");
    const start = pulled({ ...options, stages: [3] });
    const handed = load({ params: start.params, optimizer: [] }, list[5]!.progress.weights!);
    assert.is(handed.step, 0);
    assert.equal([...start.params.w.values()], seen[2], "the weights of 3");
    assert.equal(
      list.map(m => m.progress.best),
      [5, 5, 3, 3, 3, 3, 9, 2, 2, 2, 2],
    );
    const reached = await all({ ...pulled().options, goal: 0.5, evaluate: n => (n === 2 ? 0.5 : 1) });
    assert.equal(
      reached.map(m => m.stage),
      [0, 0, 0, 1, 2, 2, 2],
    );
  },
  async "begins each stage from the best weights, with optimisers that remember nothing, or all, as told"() {
    for (const fresh of [true, false]) {
      const { params, options } = pulled({ fresh, stages: [1, 1], steps: 2, every: 2 });
      const updates: number[] = [];
      const optimizer = options.optimizer as ReturnType<typeof adamw>;
      const list = await all({
        ...options,
        loss(n, step, micro) {
          updates.push(optimizer.updates);
          return options.loss(n, step, micro);
        },
        evaluate: () => 1,
      });
      assert.equal(updates, fresh ? [0, 1, 0, 1] : [0, 1, 2, 3]);
      assert.is(list.length, 4);
      const own = pulled({ stages: [1], steps: 2 });
      own.tape.random.position = 0;
      await all(own.options);
      // After a stage of their own the numbers of both differ by what the optimiser remembers, unless it is fresh.
      const next = pulled({ stages: [1], steps: 2 });
      next.params.w.values().set(own.params.w.values());
      next.tape.random.position = own.tape.random.position;
      await all(next.options);
      assert.is([...next.params.w.values()].join() === [...params.w.values()].join(), fresh);
    }
  },
  async "sets rates by step and stage, clips, and stops by a signal"() {
    const signal = { aborted: false };
    const { options } = pulled({
      signal,
      clip: { norm: 0.1 },
      schedule: (step, stage) => 0.1 / (1 + step + 10 * stage),
    });
    const list: Metrics[] = [];
    let last: number[] = [];
    for await (const m of curriculum({ ...options, evaluate: () => list.length })) {
      list.push(m);
      last = bits(options);
      signal.aborted = m.step === 5;
    }
    assert.equal(bits(options), last, "the weights of the last step, not the best");
    assert.equal(
      list.map(m => m.lr),
      [0, 1, 2, 10, 11].map(n => 0.1 / (1 + n)),
    );
    assert.ok(list.every(m => m.norm !== undefined) && list.some(m => m.norm! > 0.1));
  },
  async "a run that is put down after any step and taken up on another tape goes on bit for bit"() {
    const task = memorize({ segment: 12 });
    const start = (more: Partial<CurriculumOptions> = {}) => {
      const tape = new Tape("f32", { seed: 2 });
      const model = rmt(transformer({ vocab: task.size, d: 8, heads: 2, layers: 1, context: 16, dropout: 0.2 }), {
        memory: 2,
        segment: 12,
      });
      const params = model.params(tape, { seed: 1 });
      const lossOf = (data: number, step: number, n: number) => {
        const { tokens, targets, t } = task.batch(random(data).fork(step), 2, n);
        return model.loss(params, tape.integers([2, t], tokens), tape.integers([2, t], targets));
      };
      const options: CurriculumOptions = {
        params,
        optimizer: adamw(params, { lr: 3e-3 }),
        stages: [1, 2, 3],
        steps: 5,
        lengths: "random",
        every: 2,
        patience: 2,
        loss: (n, step) => lossOf(1, step, n),
        evaluate: n => lossOf(2, 0, n),
        ...more,
      };
      return { tape, options };
    };
    const whole = start();
    const want: { losses: number[]; at: Progress; file: Uint8Array }[] = [];
    for await (const { loss, progress } of curriculum(whole.options))
      want.push({ losses: [loss], at: progress, file: save({ ...whole.options, step: progress.made }) });
    const end = bits(whole.options);
    for (const [i, { at, file }] of want.entries()) {
      const again = start({ from: JSON.parse(JSON.stringify({ ...at, weights: undefined })) as Progress });
      assert.is(load(again.options, file).step, i + 1);
      const from = { ...again.options.from!, weights: at.weights };
      const losses = (await all({ ...again.options, from })).map(m => m.loss);
      assert.equal(
        losses,
        want.slice(i + 1).flatMap(w => w.losses),
        `from step ${i + 1}`,
      );
      assert.equal(bits(again.options), end, `from step ${i + 1}`);
      assert.is(again.tape.random.position, whole.tape.random.position);
    }
  },
  async "nor does one whose stage had converged when it was put down go on in that stage"() {
    const start = () => {
      const made = pulled({ patience: 2, steps: 9 });
      const worse = () => -Math.hypot(...made.params.w.values());
      return { ...made.options, evaluate: worse };
    };
    const whole = start();
    const want: { at: Progress; file: Uint8Array }[] = [];
    for await (const { progress } of curriculum(whole))
      want.push({ at: progress, file: save({ ...whole, step: progress.made }) });
    assert.equal(
      want.map(w => w.at.stale),
      [0, 1, 2, 0, 1, 2, 0, 1, 2],
    );
    for (const [i, { at, file }] of want.entries()) {
      const again = start();
      load(again, file);
      assert.is((await all({ ...again, from: at })).length, 8 - i);
      assert.equal(bits(again), bits(whole), `from step ${i + 1}`);
    }
  },
  async "says what is wrong with options before the first step, and a step that throws changes nothing"() {
    const failure = async (more: object): Promise<string> => {
      try {
        await all({ ...pulled().options, ...more });
      } catch (error) {
        return String(error).split("\n")[0]!;
      }
      return "nothing";
    };
    for (const [more, text] of [
      [{ stages: [] }, "RangeError: curriculum: stages is empty"],
      [{ stages: [0] }, "RangeError: curriculum: stages[0] is 0"],
      [{ stages: 3 }, "TypeError: curriculum: stages is 3"],
      [{ steps: [1] }, "RangeError: curriculum: 1 numbers of steps for 3 stages"],
      [{ steps: 0 }, "RangeError: curriculum: steps[0] is 0"],
      [{ lengths: "any" }, "RangeError: curriculum: lengths is any"],
      [{ patience: 2 }, "TypeError: curriculum: patience or a goal, and nothing to validate by"],
      [{ goal: 0 }, "TypeError: curriculum: patience or a goal, and nothing to validate by"],
      [{ from: { stage: 0 } }, "TypeError: curriculum: from.step is undefined"],
      [{ from: { stage: 0, step: 0, made: 0, stale: 0, weights: "w" } }, 'TypeError: curriculum: from.weights is "w"'],
      // A run that goes on from what was no run's progress does nothing, or goes on with other weights than its best.
      [{ from: { stage: 3, step: 0, made: 0, stale: 0 } }, "RangeError: curriculum: from.stage is 3"],
      [{ from: { stage: 0, step: 2, made: 1, stale: 0 } }, "RangeError: curriculum: from.step is 2"],
      [{ from: { stage: 0, step: 1, made: 1, stale: 0, best: null } }, "TypeError: curriculum: from.best is null"],
      [
        { from: { stage: 0, step: 1, made: 1, stale: 0, best: 2 } },
        "TypeError: curriculum: from has a best and no weights",
      ],
      [{ optimizer: 3 }, "TypeError: curriculum: optimizer is 3"],
    ] as const)
      assert.is(await failure(more), text);
    const broken = pulled();
    const before = bits(broken.options);
    const loss = () => {
      throw new Error("mine");
    };
    assert.match(await failure({ ...broken.options, loss }), /mine/);
    assert.equal(bits(broken.options), before);
  },
});
