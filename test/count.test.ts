// The counting study: what it records, what it says of its numbers, what the recorded runs show.
import * as assert from "uvu/assert";
import type { Entry } from "../bench/records.ts";
import { count } from "../bench/studies/count.ts";
import { suite } from "./check.ts";
import { lines, run, scratch } from "./program.ts";
import { recorded, seeds } from "./recorded.ts";
import { paged, said, whole } from "./said.ts";

const counted = (arm: string, error: number, more: object = {}, seed = 1): Entry => ({
  type: "result",
  study: "count",
  arm,
  seed,
  metrics: { error, ...more },
  paper: { error: 1.1 },
  config: { layers: 2 },
  seconds: 9,
});
const figure: Entry = {
  type: "figure",
  study: "count",
  kind: "cope",
  tokens: ["<b>", "++", "?"],
  layer: 1,
  head: 0,
  gates: [[0], [0, 1], [0, 0.9, 0.1]],
  positions: [[0], [1, 1], [1, 1, 0.1]],
  answer: "1",
  predicted: "2",
};

suite("the counting study", {
  async "records gates that fill a triangle, and positions that are their sums"() {
    const out = scratch("count");
    const words = ["count", "--steps", "4", "--quick", "--json", "--out", out("run")];
    const { code, out: text, err } = await run("../bench/start", words);
    assert.is(code, 0, err);
    const [map] = lines(text).filter(l => l.kind === "cope") as { gates: number[][]; positions: number[][] }[];
    const triangle = Array.from({ length: map!.gates.length }, (_, i) => i + 1);
    for (const rows of [map!.gates, map!.positions])
      assert.equal(
        rows.map(row => row.length),
        triangle,
      );
    for (const [i, row] of map!.positions.entries())
      for (const [j, p] of row.entries()) {
        const sum = map!.gates[i]!.slice(j).reduce((a, x) => a + x, 0);
        assert.ok(Math.abs(p - sum) < 0.05, `a position is ${p}, the sum of its gates ${sum}`);
      }
  },
  "says which positions counted best, and says otherwise when the numbers do"() {
    assert.is(
      said(count, [counted("cope", 0.2), counted("relative", 4.5)]),
      "CoPE counts best in this run: 0.2 % test error, against 4.5 % with relative positions. " +
        "One seed: a small difference may be luck.",
    );
    assert.match(
      said(count, [counted("cope", 4.5), counted("relative", 0.2)]),
      /^CoPE did not win in this run; relative positions counted best: 0\.2 % test error, against 4\.5 % with CoPE\./,
    );
    assert.match(said(count, [counted("cope", 0), counted("relative", 0)]), /^No clear winner/);
    assert.match(said(count, [counted("cope", 3)]), /nothing to compare/);
    const chance = [counted("cope", 78, { chance: 79 }), counted("relative", 79)];
    assert.match(said(count, chance), /^Nothing learned to count/);
  },
  "calls overlapping seeds or intervals no clear winner"() {
    const seeds = [
      counted("cope", 1),
      counted("cope", 5, {}, 2),
      counted("relative", 4),
      counted("relative", 6, {}, 2),
    ];
    assert.match(said(count, seeds), /^No clear winner: the test error is 3 %/);
    const tested = (tests: number): string =>
      said(count, [counted("cope", 1, { tests }), counted("relative", 3, { tests })]);
    assert.match(tested(100), /^No clear winner/);
    assert.match(tested(10_000), /^CoPE counts best/);
  },
  "keeps numbers of variables apart"() {
    const at = (variables: number, arm: string, error: number): Entry => ({
      ...counted(arm, error),
      config: { variables },
    });
    assert.match(
      said(count, [at(3, "cope", 9), at(1, "relative", 2), at(1, "cope", 1), at(3, "relative", 2)]),
      /^1 variable: CoPE counts best.* 3 variables: CoPE did not win/,
    );
  },
  "draws its maps with what they say of the answer, whatever is missing"() {
    const all = [counted("cope", 0.2), counted("relative", 4.5), figure];
    whole(count, all);
    const page = paged(count, all);
    assert.not.match(page, /<b>/);
    for (const words of ["It answers 2; 1 would be right", "widest open on “++”", "Layer 1, head 0."])
      assert.ok(page.includes(words), words);
  },
  "has on record CoPE's error below that of relative and of absolute positions, in every seed"() {
    for (const s of seeds)
      for (const other of ["relative", "absolute"])
        assert.ok(recorded("count", "cope", s).error! < recorded("count", other, s).error!, `seed ${s}, ${other}`);
  },
});
