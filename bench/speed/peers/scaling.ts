// scaling.ts: what a second thread gains, here and in PyTorch, all four in turns: where cores are shared with other
// programs a second one is worth less, and the gain of the one says what the gain of the other could be.
import { deviation, median, show, type Asked, type Row } from "../measure.ts";
import type { Library } from "./libraries.ts";
import type { Reply, Work } from "./serve.ts";

/** `work`: a training step of which every library has done the case before. */
export async function* scaling(
  asked: Asked,
  list: readonly Library[],
  work: Work,
  name: string,
  size: string,
): AsyncGenerator<Row, void> {
  const key = 1 << 20;
  const able = list.filter(l => !l.missing && (l.name === "farsight" || l.name === "pytorch"));
  const spent = new Map<string, [number[], number[]]>(able.map(l => [l.name, [[], []]]));
  const sums = new Map<string, string>();
  const rounds = asked.quick ? 2 : 9;
  for (const l of able)
    for (const threads of [1, 2]) {
      const reply = await l.ask<Reply>({
        do: "prepare",
        key: key + threads,
        case: { ...work, engine: "fast", threads, way: l.ways.at(-1) },
        warm: asked.quick ? 0 : 1000,
      });
      if (!("results" in reply)) throw new Error(`${l.name}: ${"error" in reply ? reply.error : "no answer"}`);
      sums.set(l.name, reply.results.map(x => Number(Number(x).toPrecision(6)).toString()).join(" "));
    }
  for (let i = 0; i < rounds; i++) {
    show.step("peers", name, { step: i, steps: rounds });
    for (const l of able)
      for (const threads of i % 2 ? [2, 1] : [1, 2]) {
        await new Promise(done => setTimeout(done, 250)); // threads of the one before go on spinning
        const reply = await l.ask<Reply>({ do: "run", key: key + threads, times: 3 });
        if (!("ms" in reply)) throw new Error(`${l.name}: ${"error" in reply ? reply.error : "no answer"}`);
        spent.get(l.name)![threads - 1]!.push(median((reply.ms as number[]).slice(1)));
      }
  }
  show.done("peers", name);
  const ours = spent.get("farsight")![1];
  for (const l of able) {
    const [one, two] = spent.get(l.name)!;
    const gains = one.map((ms, i) => ms / two[i]!);
    const each = two.map((ms, i) => ms / ours[i]!);
    const [gain, least, most] = [median(gains), Math.min(...gains), Math.max(...gains)].map(x => x.toFixed(2));
    yield {
      case: name,
      dtype: "f32",
      size,
      peer: l.name === "farsight" ? "farsight, fast, 2 threads" : `${l.label(1)}, 2 threads`,
      median: median(two),
      mad: deviation(two),
      samples: two.length,
      ratio: median(two) / median(ours),
      ratios: [Math.min(...each), Math.max(...each)],
      checksum: sums.get(l.name)!,
      gain: median(gains),
      note: `${gain} times as fast as with one thread (${least} to ${most})`,
    };
    for (const threads of [1, 2]) await l.ask({ do: "drop", key: key + threads });
  }
}
