// boundaries.test.ts: figure 4 of CoPE's paper: the piece of text that is looked at, the heads that are shown, and what
// their maps say.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tape, random, type How, type Seen, type Tensor } from "farsight";
import * as assert from "uvu/assert";
import { heat } from "../bench/charts/heat.ts";
import { english } from "../bench/corpus.ts";
import type { Entry } from "../bench/records.ts";
import { boundaries, boundariesFigure, piece, type Piece } from "../bench/tables/cope/boundaries.ts";
import type { Made } from "../bench/tables/cope/arms.ts";
import { text } from "../bench/tables/cope/language.ts";
import { suite } from "./check.ts";

const words = (n: number): string => {
  const rng = random(n);
  return Array.from({ length: n }, () => (rng.integer(5) ? "abcdefghij"[rng.integer(10)] : " ")).join("");
};
const HEAD = " \n = = Cast = = \n \n";
const SHORT = " A paragraph of a few letters";
const LONG = ` The next one begins here and is longer. ${words(80)}\n`;
const BEFORE = ` ${words(300)}\n`;
const GOOD = `${BEFORE}${HEAD}${SHORT}\n${LONG}`;
const bytesOf = (s: string): Uint8Array => new Uint8Array(Buffer.from(s));
const said = (ids: ArrayLike<number>): string => Buffer.from(Uint8Array.from(ids)).toString();

/** The figure of a model whose heads attend as told, without contents: `at(head, i, j)`, layer after layer. */
function figure(part: Piece, layers: number, at: (head: number, i: number, j: number) => number) {
  const [tape, heads, t] = [new Tape("f64"), 2, part.ids.length];
  const model = {
    logits(_: unknown, ids: Tensor, { watch }: How) {
      assert.equal(Array.from(ids.values()), Array.from(part.ids));
      watch!(0, { attention: undefined } as Seen);
      for (let layer = 1; layer <= layers; layer++) {
        const values = Float64Array.from({ length: heads * t * t }, (_, n) => {
          const [h, i, j] = [Math.floor(n / (t * t)), Math.floor(n / t) % t, n % t];
          return j > i ? 0 : at((layer - 1) * heads + h, i, j);
        });
        const gates = () => ({ byPosition: () => tape.tensor([1, heads, t, t], values) });
        watch!(layer, { attention: { gates } } as unknown as Seen);
      }
    },
  };
  return boundaries({ tape, model, params: {}, heads } as unknown as Made, part) as unknown as Recorded;
}
interface Recorded {
  tokens: string[];
  rows: number[];
  paragraph: number;
  section: number;
  maps: { boundary: string; layer: number; head: number; near: number; far: number; values: number[][] }[];
}

suite("the piece of text for figure 4", {
  "ends with a section's heading, a short paragraph and forty bytes of another, whatever stands before"() {
    for (const front of [
      "",
      "é € 漢\n",
      ` \n = = = Deeper = = = \n \n${SHORT}\n${LONG}`,
      ` = Top = \n \n${GOOD.slice(0, 90)}\n`,
    ]) {
      const found = piece(bytesOf(front + GOOD), 256)!;
      assert.is(found.ids.length, 256);
      const whole = said(bytesOf(front + GOOD));
      assert.ok(whole.includes(said(found.ids)));
      assert.is(said(found.ids.slice(...found.section)), HEAD);
      assert.is(said(found.ids.slice(found.section[1], found.paragraph[0])), SHORT);
      assert.is(said(found.ids.slice(...found.paragraph)), "\n");
      assert.is(said(found.ids.slice(found.paragraph[1])), LONG.slice(0, 40));
    }
  },
  "is the first of several, and none where there is no such place, or not enough before it"() {
    const second = GOOD.replace("Cast", "Crew");
    assert.match(said(piece(bytesOf(GOOD + second), 256)!.ids), /Cast/);
    assert.match(said(piece(bytesOf(GOOD.slice(250) + second), 256)!.ids), /Crew/, "too near the beginning");
    const odd = [
      GOOD.replace("= = Cast = =", "= = = Ca = = ="),
      GOOD.replace("= = Cast = =", "= Cast ="),
      GOOD.replace(SHORT, ` ${words(70)}`),
      GOOD.replace(SHORT, " short"),
      GOOD.replace(LONG, " \n"),
      GOOD.replace("Cast", words(60)),
      words(5000),
      "",
    ];
    for (const text of odd) assert.is(piece(bytesOf(text), 256), undefined, JSON.stringify(text.slice(-200)));
  },
});

const part = piece(bytesOf(GOOD), 256)!;
const [section, paragraph] = [part.section[1], part.paragraph[1]];
suite("figure 4", {
  "shows the head that falls off most at the paragraph's end, and of the others that at the section's beginning"() {
    // Heads 0 and 3 attend alike to all and to the near; 1 leaves the section's beginning, 2 the paragraph's end.
    const found = figure(part, 2, (head, i, j) => {
      if (head === 1) return j >= section || i < section ? 0.5 : 0.05;
      if (head === 2) return j >= paragraph || i < paragraph ? 2 : 0.25;
      return head === 3 ? 1 / (1 + i - j) : 3;
    });
    assert.equal(
      found.maps.map(({ boundary, layer, head, near, far }) => [boundary, layer, head, near, far]),
      [
        ["paragraph", 2, 1, 1, 0.125],
        ["section", 1, 2, 1, 0.1],
      ],
    );
    assert.is(found.tokens.join(""), said(part.ids.slice(-100)).replaceAll("\n", "¶"));
    assert.is(found.tokens.slice(found.paragraph).join(""), LONG.slice(0, 40));
    assert.match(found.tokens.slice(found.section).join(""), /^ ¶ = = Cast = = ¶ ¶ A para/);
    assert.equal(
      found.rows,
      Array.from({ length: 50 }, (_, n) => 2 * n + 1),
    );
    for (const { boundary, values } of found.maps)
      for (const [n, row] of values.entries()) {
        const i = 156 + 2 * n + 1;
        assert.is(row.length, 2 * n + 2);
        const from = boundary === "section" ? section : paragraph;
        const low = boundary === "section" ? 0.1 : 0.125;
        row.forEach((v, j) => assert.is(v, i < from || 156 + j >= from ? 1 : low));
      }
  },
  "takes one head for one boundary, where one falls off most at both"() {
    const found = figure(part, 2, (head, i, j) => {
      const near = i < paragraph || j >= paragraph ? 1 : j >= section ? 0.5 : 0;
      return head === 3 ? near : head === 0 ? 0.2 + 0.1 * near : 1;
    });
    assert.equal(
      found.maps.map(({ layer, head }) => [layer, head]),
      [
        [2, 2],
        [1, 1],
      ],
    );
  },
  "divides rows by the largest of all keys, also of those before the piece that is shown"() {
    const found = figure(part, 1, (_, _i, j) => (j === 3 ? 4 : 1));
    for (const { values } of found.maps) for (const row of values) assert.ok(row.every(v => v === 0.25));
  },
});

/** A toy of the table's cell on texts of its own, and its result. */
function trained(arm: string) {
  const folder = mkdtempSync(join(tmpdir(), "farsight-boundaries-"));
  try {
    const files = { text: join(folder, "text.txt"), held: join(folder, "held.txt") };
    writeFileSync(files.text, words(5000));
    writeFileSync(files.held, GOOD + words(2500));
    const cell = { arm, setting: "256", seed: 1 };
    const config = {
      ...text.config(cell, { quick: true }),
      ...{ d: 8, layers: 1, heads: 2, batch: 1, windows: 1, corpus: english(files.text, files.held).digest },
    };
    const tape = new Tape("f32", { seed: 1 });
    const trial = text.train(cell, config, tape, files);
    for (let step = 0; step < 2; step++) {
      tape.step(() => trial.loss(step));
      trial.optimizer.step();
    }
    return trial.finish();
  } finally {
    rmSync(folder, { recursive: true });
  }
}

suite("figure 4 of the table of text", {
  "is made of one arm with one seed, in less than 150 kB, and of no other"() {
    assert.equal(
      text.cells.filter(cell => cell.arm === "cope-sep").map(cell => cell.seed),
      [1],
    );
    assert.equal(trained("cope").figures, []);
    const { metrics, figures } = trained("cope-sep");
    assert.ok(Number(metrics["x1"]) > 1);
    assert.is(figures.length, 1);
    const [first] = figures as unknown as Recorded[];
    assert.equal(
      first!.maps.map(m => m.boundary),
      ["paragraph", "section"],
    );
    assert.ok(first!.maps[0]!.head !== first!.maps[1]!.head);
    for (const { values } of first!.maps)
      for (const v of values.flat()) assert.ok(v > 0 && v <= 1 && Math.round(v * 1000) / 1000 === v, `${v}`);
    assert.ok(JSON.stringify(figures).length < 150_000);
    assert.equal(trained("cope-sep").figures, figures, "the same again");
  },
  "has both maps on the page with lines at the boundaries, and says what is recorded"() {
    const made = figure(part, 2, (head, i, j) => (head === 1 && i >= section && j < section ? 0.25 : 1 / (1 + head)));
    const entry = { type: "result", arm: "cope-sep", figures: [made] } as unknown as Entry;
    const [drawn, ...more] = boundariesFigure(entry);
    assert.equal(more, []);
    const { charts, caption } = drawn!;
    assert.is(charts.length, 2);
    for (const svg of charts) {
      assert.is(svg.match(/class="reference"/g)!.length, 2);
      assert.match(svg, />paragraph</);
      assert.match(svg, />section</);
      assert.not.match(svg, /NaN|undefined/);
    }
    const words = (far: string): string =>
      "at the beginning of a section: the last paragraph gives the 8 bytes after it 1 of the largest in a row " +
      `on average, the 8 before it ${far}.`;
    assert.ok(caption.includes(`Layer 1, head 2 falls off most ${words("0.5")}`), caption);
    made.maps[1]!.far = 0.75;
    assert.ok(boundariesFigure(entry)[0]!.caption.includes(`falls off most ${words("0.75")}`));
    made.maps[1]!.far = 1;
    assert.ok(boundariesFigure(entry)[0]!.caption.includes(`comes nearest to falling off ${words("1")}`));
    const [first, second] = [...charts[0]!.matchAll(/class="reference" d="M([\d.]+) .*?H/g)].map(([path]) =>
      /M([\d.]+) .*M[\d.]+ ([\d.]+)H/.exec(path)!.slice(1).map(Number),
    );
    const columns = made.paragraph - made.section;
    const rows = Math.floor(made.paragraph / 2) - Math.floor(made.section / 2); // the first of odd places
    assert.equal([first![0]! - second![0]!, first![1]! - second![1]!], [9 * columns, 9 * rows]);
    assert.equal(boundariesFigure({ ...entry, figures: [] } as unknown as Entry), []);
    assert.equal(boundariesFigure({ ...entry, figures: [{ kind: "gates" }] } as unknown as Entry), []);
  },
  "draws borders in front of the row and the column that they name"() {
    const axes = { x: { label: "x" }, y: { label: "y" } };
    const [rows, columns] = [
      ["a", "b"],
      ["a", "b", "c"],
    ];
    const draw = (borders: { row: number; column: number; label: string }[]) =>
      heat({ title: "t", label: "v", ...axes, rows, columns, values: [[1], [1, 1, 1]], borders });
    assert.not.match(draw([]), /reference/);
    const svg = draw([{ row: 1, column: 2, label: "<here>" }]);
    const [, x, y] = /class="reference" d="M([\d.]+) \d+V\d+M[\d.]+ ([\d.]+)H/.exec(svg)!.map(Number);
    // A cell is drawn a pixel less wide than its place.
    const at = (words: string): number[] => {
      const [, left, top] = new RegExp(`from “${words}[^<]*</title><rect x="([\\d.]+)" y="([\\d.]+)"`).exec(svg)!;
      return [Number(left), Number(top)];
    };
    const [left, top] = at("b” \\(1\\) to “c");
    assert.equal([x, y], [left! - 0.5, top! - 0.5]);
    assert.match(svg, /&#60;here&#62;/);
  },
});
