// npm run bench as a person uses it: exit codes, streams, and the same results twice. Speed itself is not tested.
import * as assert from "uvu/assert";
import { suite } from "./check.ts";
import { lines, run, type Ended, type Line } from "./program.ts";

const bench = (...words: string[]): Promise<Ended> => run("../bench/bench", words);
const fields = {
  bench: "string",
  case: "string",
  dtype: "string",
  size: "string",
  median: "number",
  mad: "number",
  unit: "string",
  rate: "number",
  ceiling: "number",
  fraction: "number",
  checksum: "string",
  engine: "string",
  threads: "number",
  node: "string",
  machine: "string",
  commit: "string",
  date: "string",
};
function complete(line: Line): void {
  for (const [name, type] of Object.entries(fields))
    assert.type(line[name], type as "string", `${name} of ${String(line.case)}`);
  assert.ok(
    (line.median as number) > 0 && (line.rate as number) > 0 && line.checksum,
    `a number is missing of ${JSON.stringify(line)}`,
  );
}
const results = (text: string): string[] =>
  lines(text)
    .filter(l => l.checksum)
    .map(l => `${String(l.case)} ${String(l.dtype)} ${String(l.checksum)}`);

suite("npm run bench", {
  async "kernels gives JSON lines with all fields, and the same checksums twice"() {
    const words = ["kernels", "--quick", "--json", "--case", "f32 64x64x64"];
    const [one, two] = await Promise.all([bench(...words), bench(...words)]);
    assert.is(one.code, 0, one.err);
    const list = lines(one.out).filter(l => l.checksum);
    assert.equal(
      list.map(l => l.case),
      ["matmul A B", "matmul A Bᵀ", "matmul Aᵀ B"],
    );
    list.forEach(complete);
    assert.equal(results(two.out), results(one.out));
  },
  async "step gives JSON lines with all fields, and the same loss twice"() {
    const words = ["step", "--quick", "--case", "small", "--json"];
    const [one, two] = await Promise.all([bench(...words), bench(...words, "--case", "small plain")]);
    assert.is(one.code, 0, one.err);
    lines(one.out).forEach(complete);
    assert.equal(
      lines(one.out).map(l => l.case),
      ["plain", "cope", "rmt", "rmt replay", "myopic"].map(name => `step small ${name}`),
    );
    assert.equal(results(two.out), results(one.out).slice(0, 1));
    const [, , rmt, replay] = lines(one.out);
    assert.is(rmt!.checksum, replay!.checksum, "replaying segments changed the loss");
  },
  async "ratios measures two sides in turns, and memory without a clock"() {
    const [odd, memory] = await Promise.all([
      bench("ratios", "--quick", "--json", "--case", "61"),
      bench("ratios", "--quick", "--json", "--case", "memory"),
    ]);
    assert.is(odd.code, 0, odd.err);
    const [line] = lines(odd.out);
    const [held] = lines(memory.out);
    assert.ok(
      (line!.ratios as number[])[0]! <= (line!.ratio as number) &&
        (line!.ratio as number) <= (line!.ratios as number[])[1]! &&
        (line!.median as number) > 0,
      odd.out,
    );
    assert.ok(held!.median === null && Math.abs((held!.ratio as number) - 1) < 0.5, memory.out);
  },
  async "recurrence measures a step beside backward, which give the same gradient"() {
    const { code, out, err } = await bench("recurrence", "--quick", "--json");
    assert.is(code, 0, err);
    const all = lines(out);
    assert.equal(
      all.map(l => l.size),
      ["1000 places"],
    );
    assert.ok((all[0]!.median as number) > 0 && (all[0]!.ratio as number) > 0 && all[0]!.checksum, out);
  },
  async "compare measures two builds in turns, and says whether their bits are the same"() {
    const words = ["compare", ".", ".", "--quick", "--json", "--case"];
    const [cope, maps] = await Promise.all([bench(...words, "small cope"), bench(...words, "1024x1024")]);
    assert.is(cope.code, 0, cope.err);
    const [line] = lines(cope.out);
    const [least, most] = line!.ratios as [number, number];
    assert.ok(least <= (line!.ratio as number) && (line!.ratio as number) <= most, cope.out);
    assert.ok((line!.median as number) > 0 && (line!.second as number) > 0 && line!.checksum, cope.out);
    assert.equal(line!.folders, [".", "."]);
    assert.is(maps.code, 0, maps.err);
    assert.equal(
      lines(maps.out).map(l => l.case),
      ["exp", "gelu", "softmax", "layerNorm"],
    );
    for (const l of lines(maps.out)) assert.not.match(String(l.note), /other bits/);
    const [one, none] = await Promise.all([bench("compare", "."), bench("compare", ".", "test")]);
    assert.equal([one.code, none.code], [2, 1]);
    assert.match(one.err, /compare: 1 folder\n {2}wants 2/);
    assert.match(none.err, /compare: test holds no build\n {2}wants dist.index\.js in it/);
  },
  async "prints an aligned table to stdout and nothing else"() {
    const { code, out } = await bench("kernels", "--quick", "--case", "overhead kernel f32");
    assert.is(code, 0);
    const [head, , names, row] = out.split("\n") as [string, string, string, string];
    assert.match(head, /^.*; Node .*; exact engine, 1 thread; /);
    assert.match(names, /^case +dtype +size +ms +spread +rate +checksum$/);
    assert.match(row, /^overhead kernel add +f32 +4 numbers .*ns\/op/);
  },
  async "leaves with 0 for help, 1 for a case that is not there, 2 for words that mean nothing"() {
    const [help, none, option, what, which, threads] = await Promise.all([
      bench("--help"),
      bench("kernels", "--case", "nothing"),
      bench("kernels", "--cas", "x"),
      bench("speed"),
      bench(),
      bench("step", "--threads", "2"),
    ]);
    assert.equal(
      [help, none, option, what, which, threads].map(e => e.code),
      [0, 1, 2, 2, 2, 2],
    );
    assert.match(help.out, /Examples\n {2}npm run bench -- kernels/);
    assert.match(none.err, /--case nothing: no kernel of that name\n {2}wants/);
    assert.match(option.err, /did you mean --case/);
    assert.match(threads.err, /the exact engine has one thread/);
    assert.is(none.out + option.out + what.out + which.out + threads.out, "");
  },
  async "serves other programs a line at a time, and says what it cannot do"() {
    const work = { engine: "exact", threads: 1, fma: true, file: "", kind: "step", size: "small", variant: "plain" };
    const orders = [
      { do: "prepare", key: 0, case: work, warm: 0 },
      { do: "run", key: 0, times: 2 },
      { do: "drop", key: 0 },
      { do: "run", key: 0, times: 1 },
    ];
    const { code, out } = await run("../bench/speed/ours", [], {
      input: orders.map(o => `${JSON.stringify(o)}\n`).join(""),
    });
    assert.is(code, 0);
    const [prepared, ran, dropped, again] = lines(out);
    const [first, later] = prepared!.results as number[];
    assert.ok(Math.abs(first! - Math.log(64)) < 0.5 && later! < first!, `losses ${first} and ${later}`);
    assert.is((ran!.ms as number[]).length, 2);
    assert.equal(dropped, {});
    assert.type(again!.error, "string");
  },
});
