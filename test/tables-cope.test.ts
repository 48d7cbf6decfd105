// The tables of CoPE's paper but for counting: what is asked, what counts as an error, what becomes of longer texts,
// and what they say of records made up here.
import { counting as countingTask, flipFlop as flipFlopTask, language as bytes, random, type Tensor } from "farsight";
import * as assert from "uvu/assert";
import type { Entry } from "../bench/records.ts";
import { tapeOf } from "../bench/study.ts";
import { lengthAt, modelOf, positionConfig, type Made } from "../bench/tables/cope/arms.ts";
import { askedAll } from "../bench/tables/cope/counting.ts";
import { flipFlop } from "../bench/tables/cope/flip-flop.ts";
import { code, extended, perplexity, text, windows } from "../bench/tables/cope/language.ts";
import { errors } from "../bench/tables/cope/recall.ts";
import { selectiveCopy } from "../bench/tables/cope/selective-copy.ts";
import { groups } from "../bench/tables/groups.ts";
import { configOf } from "../bench/tables/shown.ts";
import type { Cell, Config, Table } from "../bench/tables/table.ts";
import { close, suite } from "./check.ts";
import { run } from "./program.ts";

const NOW = { steps: undefined, quick: false, fast: false };

/** The conclusion of a table from values of a cell's metrics. */
function concluded(table: Table, value: (cell: Cell, key: string) => number | undefined): string {
  const results = table.cells.map((cell): Entry => {
    const metrics = Object.fromEntries(table.columns.map(({ key }) => [key, value(cell, key)]));
    return { type: "cell", ...cell, metrics, config: configOf(table, cell, NOW) };
  });
  return table.conclusion(groups(table, results)).replaceAll("\u00a0", " ");
}

/** A model of flip-flop that answers what `bit` makes of the last bit written. */
function oracle(bit: (written: number) => number): Made {
  const tape = tapeOf({ seed: 1 });
  const logits = (_: unknown, ids: Tensor): Tensor => {
    const tokens = ids.values();
    const t = ids.shape[1]!;
    const out = new Float32Array(tokens.length * 5);
    let written = 0;
    tokens.forEach((token, i) => {
      if (i % t && tokens[i - 1] === 0) written = token - 3;
      if (token === 1) out[i * 5 + 3 + bit(written)] = 1;
    });
    return tape.tensor([...ids.shape, 5], out);
  };
  return { tape, model: { logits }, params: {}, heads: 1 } as unknown as Made;
}

suite("recall", {
  "counts the bits that are answered wrongly, and the sequences in which one is"() {
    const task = flipFlopTask({ instructions: 20, ignore: 0.5 });
    const rng = random(5);
    const right = errors(
      oracle(bit => bit),
      task,
      rng,
      40,
    );
    assert.equal([right.tokens, right.rows], [0, 0]);
    const wrong = errors(
      oracle(bit => 1 - bit),
      task,
      rng,
      40,
    );
    assert.equal([wrong.tokens, wrong.rows], [100, 100]);
    const some = errors(
      oracle(() => 0),
      task,
      rng,
      40,
    );
    assert.ok(some.tokens > 30 && some.tokens < 70, `${some.tokens} %`);
    assert.ok(some.rows > some.tokens && some.asked.tokens > 40 * 3 && some.asked.rows === 40);
  },
  "trains and tests every kind of position on all shifts, in small"() {
    for (const table of [flipFlop, selectiveCopy])
      for (const arm of Object.keys(table.arms)) {
        const cell = table.cells.find(c => c.arm === arm)!;
        const config = configOf(table, cell, { ...NOW, quick: true });
        const length: Config = table === flipFlop ? { instructions: 4, from: 2 } : { symbols: 4, rows: 12 };
        const small: Config = { ...config, ...length, d: 8, layers: 1, heads: 2, batch: 2 };
        const tape = tapeOf({ seed: 1 });
        const trial = table.train(cell, small, tape, {});
        const first = tape.scope(() => trial.loss(0).item());
        assert.ok(Number.isFinite(first), arm);
        const { metrics } = trial.finish();
        for (const { key } of table.columns) {
          const v = metrics[key] as number;
          assert.ok(v >= 0 && v <= 100, `${arm}, ${key}: ${v}`);
        }
      }
  },
  "makes each arm the model that its name says"() {
    const made = (arm: string): string[] => {
      const cell = { arm, setting: "4", seed: 1 };
      const config = {
        ...{ layers: 1, d: 8, heads: 2, norm: "pre", dropout: 0 },
        ...positionConfig(arm, 6),
      };
      const { params } = modelOf(cell, config, { vocab: 5, context: 8 }, tapeOf({ seed: 1 }));
      const { cope } = params.h[0]!.attn;
      return [
        ...(cope
          ? [`cope ${cope.weight!.shape.join(" ")}${cope.gate ? ` gate ${cope.gate.weight.shape.join(" ")}` : ""}`]
          : []),
        ...(params.rel ? [`rel ${params.rel.weight.shape.join(" ")} of all layers`] : []),
        ...(params.wpe ? ["wpe"] : []),
      ];
    };
    assert.equal(made("cope"), ["cope 6 4"]);
    assert.equal(made("cope-sep"), ["cope 6 4 gate 8 8"]);
    assert.equal(made("cope-val"), ["cope 6 4"]);
    assert.equal(made("cope-token"), ["cope 6 4 gate 2 8"]);
    assert.equal(made("cope+relative"), ["cope 6 4", "rel 8 4 of all layers"]);
    assert.equal(made("relative"), ["rel 8 4 of all layers"]);
    assert.equal(made("cope+rope"), ["cope 6 4"]);
    assert.equal(made("absolute"), ["wpe"]);
    assert.equal(made("none"), []);
  },
  "grow to their length where a table wants it"() {
    const growth = { steps: 100, grows: 0.5, from: 16 };
    assert.equal(
      [0, 25, 49, 50, 99].map(step => lengthAt(step, growth, 116)),
      [16, 66, 114, 116, 116],
    );
    const cell = { arm: "none", setting: "256", seed: 1 };
    const config = {
      ...configOf(flipFlop, cell, NOW),
      instructions: 64,
      d: 8,
      layers: 1,
      heads: 2,
      batch: 2,
      steps: 8,
    };
    const tape = tapeOf({ seed: 1 });
    const trial = flipFlop.train(cell, config, tape, {});
    const shapes: (readonly number[])[] = [];
    const made = tape.integers.bind(tape);
    tape.integers = (shape, values) => {
      shapes.push(shape);
      return made(shape, values);
    };
    for (let step = 0; step < 5; step++) tape.scope(() => void trial.loss(step));
    assert.equal(
      shapes.filter((_, i) => i % 2 === 0),
      [32, 56, 80, 104, 128].map(t => [Math.floor(256 / t), t]),
    );
  },
  "says that the paper's order is found on the sparse shift only where the numbers say so"() {
    const of = (sparse: Record<string, number>) =>
      concluded(flipFlop, ({ arm, seed }, key) => (key === "sparse" ? (sparse[arm] ?? 50) + seed / 10 : 0));
    const order = /The paper's order on the sparse shift, CoPE, rope and absolute, is found\./;
    assert.match(of({ cope: 1, rope: 5, absolute: 9 }), order);
    assert.not.match(of({ cope: 5, rope: 1, absolute: 9 }), order);
    assert.match(of({ cope: 1, rope: 1.05, absolute: 9 }), /, is not found beyond chance\./);
  },
});

suite("texts", {
  "ask for the same tokens at every length, with more and more before them"() {
    const task = bytes();
    const held = task.encode("The quick brown fox jumps over the lazy dog. ".repeat(200));
    const asked = (t: number): number[][] =>
      windows(task, held, t, 8).map(({ targets, starts }) =>
        Array.from(targets).flatMap((id, i) => (id === -100 ? [] : [starts[0]! + i + 1, id])),
      );
    const once = asked(256);
    assert.is(once.length, 8);
    assert.ok(once.every(list => list.length === 2 * 128));
    for (const t of [512, 1024, 2048]) assert.equal(asked(t), once, `${t} places`);
  },
  "have the perplexity of the vocabulary where a model knows nothing"() {
    const cell = { arm: "cope", setting: "256", seed: 1 };
    const config = { layers: 1, d: 8, heads: 2, norm: "pre", dropout: 0, ...positionConfig("cope", 8) };
    const made = modelOf(cell, config, { vocab: 256, context: 256 }, tapeOf({ seed: 1 }));
    made.params.lm_head!.weight!.values().fill(0);
    const held = bytes().encode("0123456789".repeat(400));
    close([perplexity(made, bytes(), held, 512, 3)], [256], 1e-4);
  },
  "are read by relative positions whose table is extended with rows that were never trained"() {
    const cell = { arm: "relative", setting: "256", seed: 1 };
    const config = { layers: 1, d: 8, heads: 2, norm: "pre", dropout: 0, ...positionConfig("relative", 1) };
    const made = modelOf(cell, config, { vocab: 256, context: 256 }, tapeOf({ seed: 1 }));
    const long = extended(made, config, 600, random(3));
    const table = long.params.rel!.weight;
    assert.equal(table.shape, [600, 4]);
    const trained = made.params.rel!.weight.values();
    assert.equal(Array.from(table.values().subarray(0, trained.length)), Array.from(trained));
    assert.ok(
      table
        .values()
        .subarray(trained.length)
        .some(v => v !== 0),
    );
    const held = bytes().encode("abcdefghijklmnopqrstuvwxyz".repeat(100));
    const of = (m: Made, t: number): number => perplexity(m, bytes(), held, t, 2);
    assert.is(of(long, 256), of(made, 256));
    assert.is.not(of(long, 1024), of(made, 1024));
  },
  "are refused by a table whose corpus they are not"() {
    const cell = code.cells[0]!;
    const config = { ...configOf(code, cell, NOW), corpus: "0123456789ab", d: 8, layers: 1, heads: 1 };
    assert.throws(
      () => code.train(cell, config, tapeOf({ seed: 1 }), {}),
      /^these are other texts\n {2}wants a corpus 0123456789ab\n {2}got {3}[0-9a-f]{12}$/,
    );
  },
  async "are asked for by name where they are missing, and named where they cannot be read"() {
    const call = (...words: string[]) => run("../bench/tables/start", ["cope", "text", "--quick", ...words]);
    const none = await call();
    assert.equal([none.code, none.out, none.err], [2, "", "text is trained on files: --text FILE\n"]);
    const { code, err } = await call("--text", "/no/such/file", "--held", "x");
    assert.is(code, 2);
    assert.match(err, /^--text: ENOENT: .*\/no\/such\/file/);
  },
  "say the paper's order, and how perplexity goes on with longer tests, from the numbers"() {
    const of = (x1: Record<string, number>, x8: Record<string, number>) =>
      concluded(text, ({ arm, seed }, key) => {
        const value = { x1, x8, "x8 extended": arm === "relative" ? { relative: 9 } : {} }[key as "x1"]?.[arm];
        return value === undefined ? undefined : value + seed / 100;
      });
    const x1 = { "cope-sep": 4.3, "cope+relative": 4, cope: 4.2, relative: 4.5, absolute: 5, rope: 4.4 };
    const found = of(x1, { cope: 4, relative: 4.4 });
    assert.match(
      found,
      /The paper's order, CoPE and relative below CoPE below relative below absolute, is found beyond/,
    );
    assert.match(found, /with CoPE perplexity falls from 4\.22 to 4\.02/);
    assert.match(found, /with relative with its table extended perplexity rises from 4\.52 to 9\.02/);
    const turned = of({ ...x1, cope: 4.6 }, { cope: 5 });
    assert.match(turned, /, CoPE below relative is not found beyond the spread of seeds\./);
    assert.match(turned, /with CoPE perplexity rises from 4\.62 to 5\.02/);
  },
});

suite("programs", {
  "are asked for every variable that they set, in any order, and answer as the task does"() {
    const task = countingTask({ vars: 3, steps: 60, pass: 5 });
    const rng = random(4);
    const orders = new Set<string>();
    for (let i = 0; i < 300; i++) {
      const sample = task.sample(rng);
      const { tokens, targets } = askedAll(task.vocab, sample, rng);
      const before = sample.tokens.length - 2;
      assert.equal(tokens.slice(0, before), sample.tokens.slice(0, -2));
      const set = new Set(sample.tokens.filter((_, at) => task.vocab[sample.tokens[at + 1]!] === "="));
      const asked = tokens.slice(before).filter((_, at) => at % 2 === 1);
      assert.equal(new Set(asked), set);
      assert.is(asked.length, set.size);
      const own = before + 1 + 2 * asked.indexOf(sample.tokens.at(-1)!);
      assert.is(targets[own], sample.answer);
      assert.is(targets.filter(id => id !== -100).length, set.size);
      assert.ok(tokens.slice(before).every((id, at) => at % 2 === 1 || task.vocab[id] === "print"));
      if (asked.length === 3) orders.add(asked.join(" "));
    }
    assert.is(orders.size, 6);
  },
});
