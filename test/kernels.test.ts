// What all kernels promise about the numbers they are told to write or to add to.
import { Engine } from "farsight";
import * as assert from "uvu/assert";
import { close, suite } from "./check.ts";
import { BUFFER, alone, casesOf, signatures } from "./kernels.ts";

/** How many numbers a destination has, where that is not n, or rows of d. */
const extents: Record<string, readonly string[]> = {
  "matmul y": ["m", "n"],
  "weigh y": ["m", "n"],
  "sumBack dx": ["o", "n", "i"],
  "cumsum y": ["o", "n", "i"],
  "addRows y": ["rows", "n"],
  "biasBack db": ["d"],
  "crossEntropyBack dx": ["rows", "v"],
  "gatherBack dw": ["v", "d"],
  "pickBack dz": ["o", "t", "p"],
  "interpolateBack dz": ["rows", "p"],
  "interpolateBack dx": ["rows", "s"],
  "rope y": ["b", "t", "h", "d"],
};
interface Case {
  readonly kernel: string;
  readonly destination: string;
  readonly add: string;
  readonly sizes: Record<string, number>;
  /** Numbers of the destination. */
  readonly size: number;
}
/** Every destination that is followed by its own `add`, at every size. */
const cases: Case[] = [];
for (const [kernel, { words }] of signatures)
  words.forEach((add, at) => {
    if (!/^add[A-Z]?$/.test(add)) return;
    const destination = words[at - 1] === "yi" ? "y" : words[at - 1]!;
    for (const given of casesOf(kernel)) {
      const sizes: Record<string, number> = { ...given };
      if ("yi" in sizes) sizes.yi = sizes.n!; // rows touch, so that nothing lies between them
      if (kernel === "matmul") sizes.bias = 0; // a bias is for what is written
      const extent = extents[`${kernel} ${destination}`] ?? (words[0] === "n" ? ["n"] : ["rows", "d"]);
      cases.push({ kernel, destination, add, sizes, size: extent.reduce((n, word) => n * sizes[word]!, 1) });
    }
  });

/** The destination's buffer after a run that began with `old` everywhere in it, or with noise. */
function after(engine: Engine, { kernel, destination, add, sizes }: Case, flag: number, old?: number): number[] {
  const over = old === undefined ? {} : { [destination]: old };
  const bytes = alone(engine, kernel, { ...sizes, [add]: flag }, [], over);
  const from = signatures.get(kernel)!.words.indexOf(destination) * BUFFER * engine.width;
  const numbers = new Uint8Array(bytes.subarray(from, from + BUFFER * engine.width)).buffer;
  return Array.from(engine.dtype === "f32" ? new Float32Array(numbers) : new Float64Array(numbers));
}

suite(
  "kernels with an `add`",
  Object.fromEntries(
    (["f32", "f64"] as const).flatMap(dtype => [
      [
        `write what they would add to zeros, to the bit, whatever was there, and no further (${dtype})`,
        () => {
          const engine = new Engine(dtype);
          const padding = 16 / engine.width;
          assert.ok(cases.length > 60);
          for (const one of cases) {
            const want = after(engine, one, 1, 0);
            const got = after(engine, one, 0, NaN);
            const what = `${one.kernel} ${one.destination} ${JSON.stringify(one.sizes)}`;
            for (let i = 0; i < one.size; i++)
              if (!Object.is(got[i], want[i])) throw new Error(`${what}: ${got[i]} at ${i}, not ${want[i]}`);
            const end = Math.ceil(one.size / padding) * padding;
            assert.ok(got.slice(end).every(Number.isNaN), `${what}: wrote past its end`);
          }
        },
      ],
      [
        `add to what is there, and skip a destination of 0 (${dtype})`,
        () => {
          const engine = new Engine(dtype);
          for (const one of cases) {
            const what = `${one.kernel} ${one.destination} ${JSON.stringify(one.sizes)}`;
            const zero = after(engine, one, 1, 0);
            const five = after(engine, one, 1, 5);
            close(
              five.slice(0, one.size),
              zero.slice(0, one.size).map(x => x + 5),
              dtype === "f32" ? 1e-5 : 1e-13,
              what,
            );
            const low = new Uint8Array(engine.memory.buffer, 0, 4096);
            const before = low.slice();
            for (const flag of [0, 1])
              alone(engine, one.kernel, { ...one.sizes, [one.add]: flag, [one.destination]: 0 });
            assert.equal(Buffer.from(low), Buffer.from(before), `${what}: wrote to address 0`);
          }
        },
      ],
    ]),
  ),
);
