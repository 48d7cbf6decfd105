// The tasks of CoPE beside counting: flip-flop and selective copy are what their papers say, sequence by sequence, and
// mistakes are counted as by hand. Frequencies lie within four standard deviations.
import * as assert from "uvu/assert";
import { counting, flipFlop, mistakes, random, selectiveCopy } from "farsight";
import { suite } from "./check.ts";

/** Asserts that `n` of `of` draws is what probability p gives, within four standard deviations. */
function likely(n: number, of: number, p: number, what: string): void {
  const wide = 4 * Math.sqrt(of * p * (1 - p));
  assert.ok(Math.abs(n - of * p) <= wide, `${what}: ${n} of ${of}, not ${of * p} +- ${wide.toFixed(1)}`);
}
const rowsOf = (list: Int32Array, t: number): number[][] =>
  Array.from({ length: list.length / t }, (_, i) => [...list.subarray(i * t, (i + 1) * t)]);
/** Same seed, same batch, whatever was drawn before; another seed, another; a batch is its samples, one by one. */
function reproduces(task: {
  sample(rng: ReturnType<typeof random>): { tokens: number[]; targets: number[] };
  batch(rng: ReturnType<typeof random>, b: number): { tokens: Int32Array; targets: Int32Array; t: number };
}): void {
  const rng = random(1);
  const want = task.batch(rng.fork(7), 4);
  task.batch(rng.fork(6), 3);
  assert.equal(task.batch(random(1).fork(7), 4), want);
  assert.not.equal(task.batch(rng.fork(8), 4).tokens, want.tokens);
  assert.not.equal(task.batch(random(2).fork(7), 4).tokens, want.tokens);
  const draws = random(1).fork(7);
  const samples = Array.from({ length: 4 }, () => task.sample(draws));
  assert.equal(
    [...want.tokens],
    samples.flatMap(s => s.tokens),
  );
  assert.equal(
    [...want.targets],
    samples.flatMap(s => s.targets),
  );
}

suite("flip-flop", {
  "every bit that is read is the last that was written, and nothing else is asked": () => {
    for (const options of [{}, { ignore: 0.1 }, { ignore: 0.98 }, { instructions: 2 }, { ignore: 0 }, { ignore: 1 }]) {
      const task = flipFlop(options);
      const { tokens, targets, t } = task.batch(random(3), 30);
      assert.is(t, 2 * (options.instructions ?? 256));
      const asked = rowsOf(targets, t);
      for (const [i, row] of rowsOf(tokens, t).entries()) {
        const words = task.words(row);
        let written = "";
        for (let at = 0; at < t; at += 2) {
          const [word, bit] = words.slice(at, at + 2) as [string, string];
          assert.ok("wri".includes(word) && "01".includes(bit), `${word} ${bit}`);
          if (word === "w") written = bit;
          if (word === "r") assert.is(bit, written);
          assert.equal(asked[i]!.slice(at, at + 2), [word === "r" ? row[at + 1] : -100, -100]);
        }
        assert.equal([words[0], words.at(-2)], ["w", "r"]);
      }
    }
  },
  "instructions come as often as FFL(p) says, p 0.8 unless given, and bits are fair": () => {
    for (const ignore of [0.1, 0.8, 0.98]) {
      const task = flipFlop({ ignore });
      const b = 400;
      const words = rowsOf(task.batch(random(4), b).tokens, 512).map(row => task.words(row));
      const free = words.flatMap(row => row.slice(2, -2)); // all but the first instruction and the last
      const n = free.length / 2;
      const count = (what: string) => free.filter(word => word === what).length;
      likely(count("i"), n, ignore, "i");
      likely(count("w"), n, (1 - ignore) / 2, "w");
      likely(count("r"), n, (1 - ignore) / 2, "r");
      const unread = words.flatMap(row => row.filter((_, i) => i % 2 === 1 && row[i - 1] !== "r"));
      likely(unread.filter(bit => bit === "1").length, unread.length, 0.5, "1");
    }
    const plain = { ignore: 0.8, instructions: 256 };
    assert.equal(flipFlop().batch(random(1), 2), flipFlop(plain).batch(random(1), 2));
  },
  "ids are those of the published data set, and the first draws are these": () => {
    const task = flipFlop({ instructions: 12, ignore: 0.5 });
    assert.equal(task.vocab, ["w", "r", "i", "0", "1"]);
    assert.is(task.size, 5);
    assert.is(task.words(task.sample(random(1)).tokens).join(""), FLIPS);
    reproduces(flipFlop());
  },
});
const FLIPS = "w0r0w0i0w0r0i0w0i0i1w1r1";

suite("selective copy", {
  "every symbol is asked for in order, given those before it, and blanks are as many as they should be": () => {
    for (const options of [
      {},
      { blanks: 128 },
      { blanks: 512 },
      { symbols: 1, blanks: 0 },
      { symbols: 9, vocab: 40 },
    ]) {
      const { symbols, blanks, vocab } = { symbols: 256, blanks: 256, vocab: 16, ...options };
      const task = selectiveCopy(options);
      const { tokens, targets, t } = task.batch(random(3), 20);
      assert.is(task.size, vocab);
      assert.is(t, 2 * symbols + blanks);
      const asked = rowsOf(targets, t);
      for (const [i, row] of rowsOf(tokens, t).entries()) {
        const source = row.slice(0, symbols + blanks);
        const copied = source.filter(id => id !== 0);
        assert.is(copied.length, symbols);
        assert.ok(copied.every(id => id >= 1 && id <= vocab - 2));
        assert.equal(row.slice(symbols + blanks), [vocab - 1, ...copied.slice(0, -1)]);
        assert.equal(asked[i], [...source.map(() => -100), ...copied]);
      }
    }
  },
  "each choice of places is as likely as any other, and so is each symbol": () => {
    const task = selectiveCopy({ symbols: 2, blanks: 3, vocab: 5 });
    const n = 6000;
    const times = new Map<string, number>();
    const symbols = [0, 0, 0, 0, 0];
    for (const row of rowsOf(task.batch(random(5), n).tokens, 7)) {
      const places = row.slice(0, 5).map(id => (id ? "x" : "_"));
      times.set(places.join(""), (times.get(places.join("")) ?? 0) + 1);
      for (const id of row.slice(0, 5)) symbols[id]!++;
    }
    assert.is(times.size, 10);
    for (const [places, count] of times) likely(count, n, 1 / 10, places);
    assert.equal([symbols[0], symbols[4]], [3 * n, 0]);
    for (const id of [1, 2, 3]) likely(symbols[id]!, 2 * n, 1 / 3, `symbol ${id}`);
  },
  "words differ, however many there are, and the first draws are these": () => {
    assert.equal(selectiveCopy({ vocab: 5 }).vocab, ["_", "A", "B", "C", ">"]);
    const { vocab, size } = selectiveCopy({ vocab: 1000 });
    assert.equal([vocab[26], vocab[27], vocab[53], new Set(vocab).size, size], ["Z", "AA", "BA", 1000, 1000]);
    const task = selectiveCopy({ symbols: 6, blanks: 6 });
    assert.is(task.words(task.sample(random(1)).tokens).join(""), COPY);
    reproduces(selectiveCopy());
  },
});
const COPY = "K__G_G_AGC__>KGGAG";

/** The words of samples whose question's last `set` is so many tokens before their end, and those who lost it. */
function distances(vars: number, n: number): { mean: number; sigma: number; lost: number } {
  const task = counting({ vars });
  const rng = random(11);
  const far: number[] = [];
  let lost = 0;
  for (let i = 0; i < n; i++) {
    const words = task.words(task.sample(rng).tokens);
    const asked = words.at(-1);
    const sets = words.flatMap((word, at) => (word === asked && words[at + 1] === "=" ? [at] : []));
    far.push(words.length - 1 - sets.at(-1)!);
    if (far.at(-1)! > 511) lost++;
  }
  const mean = far.reduce((a, b) => a + b, 0) / n;
  return { mean, sigma: Math.sqrt(far.reduce((a, b) => a + (b - mean) * (b - mean), 0) / n / n), lost };
}

suite("counting, beside the paper's script", {
  "has its distances back to the set that counts, and loses as few": () => {
    for (const [vars, far, lost] of [
      [1, 56, 0],
      [3, 111, 0.0013],
      [5, 129, 0.0033],
    ] as const) {
      const n = 4000;
      const got = distances(vars, n);
      assert.ok(Math.abs(got.mean - far) < 4 * got.sigma + 0.5, `${vars}: ${got.mean} +- ${got.sigma}`);
      likely(got.lost, n, lost, `lost, of ${vars}`);
    }
  },
  "has its lengths, answers and shifts for five variables too": () => {
    const draw = (options: object, n = 3000) => {
      const rng = random(12);
      const task = counting({ vars: 5, ...options });
      return Array.from({ length: n }, () => task.sample(rng));
    };
    const samples = draw({});
    const mean = (list: readonly { tokens: number[] }[]) =>
      list.reduce((sum, s) => sum + s.tokens.length, 0) / list.length;
    assert.ok(Math.abs(mean(samples) - 319) < 10, `${mean(samples)}`);
    const most = Math.max(...samples.map(s => s.tokens.length));
    assert.ok(most > 580 && most < 680, `${most}`);
    likely(samples.filter(s => s.tokens.length > 512).length, 3000, 0.14, "over 512");
    const majority = samples.filter(s => s.value === 10).length / 3000;
    assert.ok(majority > 0.18 && majority < 0.24, `${majority}`);
    const long = draw({ steps: 1024 });
    assert.ok(Math.abs(mean(long) / mean(samples) - 2) < 0.1, `${mean(long)}`);
    const ids = draw({ pass: 100, steps: 1024, minSteps: 1024 }, 200).flatMap(sample => sample.tokens);
    const { vocab } = counting({ vars: 5 });
    const count = (word: string) => ids.filter(id => vocab[id] === word).length;
    likely(count("pass;"), count("pass;") + count("="), 100 / 101, "passes");
  },
  "pads samples of a fixed set as a batch does": () => {
    const task = counting({ vars: 3 });
    const set = Array.from({ length: 10 }, (_, i) => task.sample(random(1).fork(i)));
    const rng = random(4);
    const drawn = Array.from({ length: 5 }, () => task.sample(rng));
    assert.equal(task.padded(drawn, 100), task.batch(random(4), 5, 100));
    assert.equal(task.padded(drawn), task.batch(random(4), 5));
    const { tokens, lengths, t } = task.padded([set[3]!, set[3]!, set[8]!]);
    assert.equal([...tokens.slice(0, lengths[0]!)], set[3]!.tokens);
    assert.equal([...tokens.slice(2 * t, 2 * t + lengths[2]!)], set[8]!.tokens);
  },
});

suite("mistakes", {
  "are counted by token and by sequence, where something is asked": () => {
    const logits = [
      [0.1, 0.9, 0], // asked for 1: right
      [0.5, 0.4, 0.3], // asked for 2: wrong
      [0, 0, 0], // asked for nothing
      [0.2, 0.2, 0.1], // asked for 0, the first of two: right
      [7, 8, 9], // asked for nothing
      [7, 8, 9], // asked for nothing
      [0.2, 0.2, 0.1], // asked for 1, the second of two: wrong
      [2, NaN, 1], // asked for 0: wrong
    ];
    const targets = [1, 2, -100, 0, -100, -100, 1, 0];
    assert.equal(mistakes(logits.flat(), targets, 2), { asked: 5, wrong: 3, rows: 3, wrongRows: 2 });
    assert.equal(mistakes(Float32Array.from(logits.flat()), Int32Array.from(targets), 8), {
      asked: 5,
      wrong: 3,
      rows: 1,
      wrongRows: 1,
    });
    assert.equal(mistakes(new Float64Array(6), [-100, -100], 1), { asked: 0, wrong: 0, rows: 0, wrongRows: 0 });
  },
  "of who knows selective copy are none, and of who forgets one symbol one": () => {
    const task = selectiveCopy({ symbols: 5, blanks: 3 });
    const { targets, t } = task.batch(random(1), 3);
    const logits = new Float32Array(targets.length * task.size);
    targets.forEach((id, i) => id === -100 || (logits[i * task.size + id] = 1));
    assert.equal(mistakes(logits, targets, t), { asked: 15, wrong: 0, rows: 3, wrongRows: 0 });
    logits.fill(0, (2 * t - 1) * task.size, 2 * t * task.size);
    assert.equal(mistakes(logits, targets, t), { asked: 15, wrong: 1, rows: 3, wrongRows: 1 });
  },
});
