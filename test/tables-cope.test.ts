// The tables of CoPE's paper but for counting: what is asked, what counts as an error, what becomes of longer texts,
// and what they say of records made up here.
import {
  counting as countingTask,
  flipFlop as flipFlopTask,
  language as bytes,
  random,
  selectiveCopy as selectiveCopyTask,
  type How,
  type Seen,
  type Tensor,
  type TransformerWeights,
} from "farsight";
import * as assert from "uvu/assert";
import { gatesOf, type Contrast } from "../bench/gates.ts";
import type { Entry } from "../bench/records.ts";
import { tapeOf } from "../bench/study.ts";
import { modelOf, positionConfig, type Made } from "../bench/tables/cope/arms.ts";
import { askedAll, counting, countingData } from "../bench/tables/cope/counting.ts";
import { flipFlop } from "../bench/tables/cope/flip-flop.ts";
import { code, extended, perplexity, text, windows } from "../bench/tables/cope/language.ts";
import { errors } from "../bench/tables/cope/recall.ts";
import { selectiveCopy } from "../bench/tables/cope/selective-copy.ts";
import { groups } from "../bench/tables/groups.ts";
import { lengthAt } from "../bench/tables/recipe.ts";
import { configOf } from "../bench/tables/shown.ts";
import type { Cell, Config, Table } from "../bench/tables/table.ts";
import { close, suite } from "./check.ts";
import { run } from "./program.ts";

const TABLES: readonly Table[] = [flipFlop, selectiveCopy, counting, countingData, text, code];
const NOW = { steps: undefined, quick: false, fast: false };

/** The conclusion of a table from values of a cell's metrics, of those cells that have any. */
function concluded(table: Table, value: (cell: Cell, key: string) => number | undefined): string {
  const tests = table.columns[0]!.unit === "%" ? { tests: 1000 } : {};
  const results = table.cells.flatMap((cell): Entry[] => {
    const values = table.columns.map(({ key }) => [key, value(cell, key)] as const);
    const metrics = { ...Object.fromEntries(values), ...tests };
    const isThere = values.some(([, v]) => v !== undefined);
    return isThere ? [{ type: "cell", ...cell, metrics, config: configOf(table, cell, NOW) }] : [];
  });
  return table.conclusion(groups(table, results)).replaceAll("\u00a0", " ");
}

/** A cell's config, but for a model and sequences that are tried out at once. */
function smallOf(table: Table, cell: Cell): Config {
  const sizes: { [name: string]: Config } = {
    [flipFlop.name]: { instructions: 16, from: 2 },
    [selectiveCopy.name]: { symbols: 4, rows: 12 },
  };
  const size = sizes[table.name] ?? { "program steps": 16 };
  const config = configOf(table, cell, { ...NOW, quick: true });
  return { ...config, ...size, d: 8, layers: 1, heads: 2, batch: 2 };
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
    const bits = [0, 16, 32].flatMap(from => {
      const { targets, t } = task.batch(rng.fork(from), Math.min(16, 40 - from));
      return Array.from({ length: targets.length / t }, (_, i) => Array.from(targets.subarray(i * t, (i + 1) * t)));
    });
    const [all, ones] = [bits.flat().filter(id => id !== -100), bits.flat().filter(id => id === 4)];
    const rows = bits.filter(row => row.includes(4));
    assert.equal(some.asked, { tokens: all.length, rows: 40 });
    assert.ok(ones.length < all.length && rows.length < 40);
    assert.equal([some.tokens, some.rows], [(100 * ones.length) / all.length, (100 * rows.length) / 40]);
  },
  "trains and tests every kind of position on all shifts, in small, of which each draws what its name says"() {
    const drawn = {
      [flipFlop.name]: (shift: "in" | "dense" | "sparse") =>
        flipFlopTask({ instructions: 16, ignore: { in: 0.8, dense: 0.1, sparse: 0.98 }[shift] }),
      [selectiveCopy.name]: (shift: "in" | "dense" | "sparse") =>
        selectiveCopyTask({ symbols: 4, blanks: { in: 4, dense: 2, sparse: 8 }[shift] }),
    };
    for (const table of [flipFlop, selectiveCopy]) {
      const taskOf = drawn[table.name]!;
      const found = { in: "", dense: "", sparse: "" };
      for (const arm of Object.keys(table.arms)) {
        const cell = { ...table.cells.find(c => c.arm === arm)!, seed: 1 };
        const small = smallOf(table, cell);
        const tape = tapeOf({ seed: 1 });
        const trial = table.train(cell, small, tape, {});
        // Until it answers with what there is to answer.
        for (let step = 0; step < 40; step++) {
          assert.ok(Number.isFinite(tape.step(() => trial.loss(step))), arm);
          trial.optimizer.step(0.03);
        }
        const { metrics } = trial.finish();
        // The same model, asked again.
        const sizes = { vocab: taskOf("in").size, context: table === flipFlop ? 32 : 16 };
        const { model } = modelOf(cell, small, sizes, tapeOf({ seed: 1 }));
        const made = { tape, model, params: trial.params as TransformerWeights, heads: 2 };
        const held = random(2024).fork(`${table.name}, held out`);
        for (const shift of ["in", "dense", "sparse"] as const) {
          const { tokens, rows } = errors(made, taskOf(shift), held.fork(shift), 20);
          const want = table === flipFlop ? { [shift]: tokens } : { [shift]: rows, [`${shift} symbols`]: tokens };
          for (const [key, v] of Object.entries(want)) assert.is(metrics[key], v, `${arm}, ${key}`);
          found[shift] += `${tokens} `;
        }
      }
      assert.is(new Set(Object.values(found)).size, 3, `${table.name}: shifts that cannot be told apart`);
    }
  },
  "makes each arm the model that its name says"() {
    const modelFor = (arm: string): Made => {
      const cell = { arm, setting: "4", seed: 1 };
      const config = {
        ...{ layers: 1, d: 8, heads: 2, norm: "pre", dropout: 0 },
        ...positionConfig(arm, 6),
      };
      return modelOf(cell, config, { vocab: 5, context: 8 }, tapeOf({ seed: 1 }));
    };
    for (const arm of new Set(TABLES.flatMap(table => Object.keys(table.arms)))) {
      const kinds = arm.split("+").map(kind => kind.replace(/-.*/, ""));
      const { position } = modelFor(arm).model.config;
      assert.equal([position].flat(), kinds, arm);
    }
    // Of one table, so that what gates look at is all that differs.
    const logits = ["cope", "cope-val"].map(arm => {
      const { tape, model, params } = modelFor(arm);
      const { weight } = params.h[0]!.attn.cope!;
      weight!.values().forEach((_, i, all) => (all[i] = i % 3));
      return Array.from(model.logits(params, tape.integers([1, 5], [3, 1, 4, 1, 2])).values());
    });
    assert.not.equal(logits[0], logits[1], "gates from values are gates from keys");
    const made = (arm: string): string[] => {
      const { params } = modelFor(arm);
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
    const zero = "0 % with CoPE, 0 % with absolute, 0 % with relative, 0 % with rope, 0 % with ALiBi and 0 % with none";
    const first = (sparse: string): string =>
      `256 instructions. As in training ${zero}; on the dense shift ${zero}; on the sparse shift ${sparse}.`;
    const none = "0 % with CoPE, 0 % with absolute and 0 % with rope";
    const second = (sparse: string): string =>
      ` 64 instructions. As in training ${none}; on the dense shift ${none}; on the sparse shift ${sparse}.`;
    const names = " The paper's order on the sparse shift, CoPE before rope before absolute,";
    const rest = "50.2 % with relative, 50.2 % with ALiBi and 50.2 % with none";
    assert.is(
      of({ cope: 1, rope: 5, absolute: 9 }),
      first(`1.2 % with CoPE, 5.2 % with rope, 9.2 % with absolute, ${rest}`) +
        second("1.1 % with CoPE, 5.1 % with rope and 9.1 % with absolute") +
        `${names} is found with 256 instructions and is found (one seed) with 64 instructions.`,
    );
    assert.is(
      of({ cope: 5, rope: 1, absolute: 9 }),
      first(`1.2 % with rope, 5.2 % with CoPE, 9.2 % with absolute, ${rest}`) +
        second("1.1 % with rope, 5.1 % with CoPE and 9.1 % with absolute") +
        `${names} is not found beyond chance (CoPE before rope) with 256 instructions and 64 instructions.`,
    );
    // Seeds that overlap, and tests of one seed that may.
    assert.is(
      of({ cope: 1, rope: 1.05, absolute: 1.5 }),
      first(`1.2 % with CoPE, 1.3 % with rope, 1.7 % with absolute, ${rest}`) +
        second("1.1 % with CoPE, 1.2 % with rope and 1.6 % with absolute") +
        `${names} is not found beyond chance (CoPE before rope) with 256 instructions` +
        " and is not found beyond chance (CoPE before rope and rope before absolute) with 64 instructions.",
    );
  },
});

/** What a cell of a table records, tried out in small. */
function tried(table: Table, cell: Cell): Entry {
  const small = smallOf(table, cell);
  const { metrics, figures } = table.train(cell, small, tapeOf({ seed: cell.seed }), {}).finish();
  return JSON.parse(JSON.stringify({ type: "cell", ...cell, config: small, metrics, figures })) as Entry;
}

suite("a map of gates", {
  "is of the head whose gates open most on what is to be counted: one token, or all but one"() {
    const tape = tapeOf({ seed: 1 });
    const words = ["A", "_", "B", "B", "_"];
    const t = words.length;
    // The first head counts A alone, the second all but blanks.
    const open = [["A"], ["A", "B"]].flatMap(list =>
      Array.from({ length: t * t }, (_, n) => (n % t <= n / t && list.includes(words[n % t]!) ? 1 : 0)),
    );
    const gates = tape.tensor([1, 2, t, t], Float32Array.from(open));
    const model = {
      logits(_: unknown, _ids: Tensor, { watch }: How) {
        watch!(1, { attention: { gates: () => ({ gates, positions: gates }) } } as unknown as Seen);
        return tape.tensor([1, t, 2], new Float32Array(2 * t));
      },
    };
    const run = { tape, model, params: {}, heads: 2 } as unknown as Made;
    const head = (contrast: Contrast): number => gatesOf(run, [0, 1, 2, 2, 1], words, contrast).map.head;
    assert.is(head({ counted: "A", passed: "_" }), 1);
    assert.is(head({ passed: "_" }), 2);
    assert.is(head({ counted: "B", passed: "A" }), 2);
  },
});

suite("the tables of errors", {
  "have all their numbers and nothing broken in their figures, whatever the arm"() {
    for (const table of [flipFlop, selectiveCopy, counting, countingData]) {
      const cells = Object.keys(table.arms).map(arm => table.cells.find(c => c.arm === arm)!);
      const results = cells.map(cell => tried(table, cell));
      for (const { arm, metrics } of results) {
        const values = metrics as Record<string, number>;
        for (const { key } of table.columns)
          assert.ok(values[key]! >= 0 && values[key]! <= 100, `${table.name}, ${arm}, ${key}: ${values[key]}`);
        assert.ok(values["tests"]! >= 20, `${table.name}, ${arm}`);
      }
      const all = groups(table, results);
      assert.is(all.length, cells.length, table.name);
      assert.ok(
        all.every(g => g.measures.length === table.columns.length),
        table.name,
      );
      const drawn = JSON.stringify(table.figures(results, all));
      assert.not.match(drawn, /NaN|undefined|Infinity|\[object/, table.name);
      const mapped = cells.filter(({ arm }) => arm.startsWith("cope"));
      const maps = table === countingData ? 0 : mapped.length;
      assert.is(drawn.split("Gates: what is counted</text>").length - 1, maps, table.name);
      for (const { arm } of table === countingData ? [] : mapped) assert.ok(drawn.includes(`"${table.arms[arm]}, `));
    }
  },
  "record gates where they are looked at, and nowhere else"() {
    for (const seed of [1, 2, 3])
      for (const table of [flipFlop, selectiveCopy, counting, countingData]) {
        const { setting } = table.cells.find(c => c.arm === "cope")!;
        const { figures } = tried(table, { arm: "cope", setting, seed });
        assert.is((figures as unknown[]).length, seed === 1 && table !== countingData ? 1 : 0, table.name);
      }
  },
  "measure accuracy during training as a share"() {
    for (const table of [flipFlop, selectiveCopy, counting, countingData]) {
      const cell = table.cells.find(c => c.arm === "cope")!;
      const share = table.train(cell, smallOf(table, cell), tapeOf({ seed: 1 }), {}).accuracy!();
      assert.ok(share >= 0 && share <= 1, `${table.name}: ${share}`);
    }
  },
  "are not drawn from records that are of other figures"() {
    const cell = counting.cells[0]!;
    const none: Entry = { type: "cell", ...cell, metrics: { error: 1 }, figures: [{ kind: "another", tokens: ["a"] }] };
    assert.not.match(JSON.stringify(counting.figures([none], groups(counting, [none]))), /Gates/);
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
    const of = (x1: Record<string, number>, x8: Record<string, number>, most = 3) =>
      concluded(text, ({ arm, seed }, key) => {
        if (seed > most) return undefined;
        const value = { x1, x8, "x8 extended": arm === "relative" ? { relative: 9 } : {} }[key as "x1"]?.[arm];
        return value === undefined ? undefined : value + seed / 100;
      });
    const x1 = { "cope-sep": 4.3, "cope+relative": 4, cope: 4.2, relative: 4.5, absolute: 5, rope: 4.4 };
    const found = of(x1, { cope: 4, relative: 4.4 });
    const order = "The paper's order, CoPE and relative before CoPE before relative before absolute,";
    assert.ok(found.includes(`${order} is found. At 8 times`), found);
    assert.match(found, /with CoPE perplexity falls from 4\.22 to 4\.02/);
    assert.match(found, /with relative with its table extended perplexity rises from 4\.52 to 9\.02/);
    const turned = of({ ...x1, cope: 4.6 }, { cope: 5 });
    assert.ok(turned.includes(`${order} is not found beyond chance (CoPE before relative). At 8 times`), turned);
    const one = of(x1, { cope: 4, relative: 4.4 }, 1);
    const pairs = "CoPE and relative before CoPE, CoPE before relative and relative before absolute";
    assert.ok(one.includes(`${order} cannot be told from one seed (${pairs}). At 8 times`), one);
    assert.match(one, / One seed: a small difference may be luck\.$/);
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
