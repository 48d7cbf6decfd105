// The tasks are what their papers say: every sample is replayed, and the statistics are those of the papers' scripts.
import * as assert from "uvu/assert";
import { counting, memorize, random, sine } from "farsight";
import { close, suite, thrown } from "./check.ts";

/** Runs a program of words and returns the value it prints; throws on anything that is not a program. */
function run(words: string[], top: number): number {
  const value = new Map<string, number>();
  for (let i = 0; i < words.length;) {
    const word = words[i]!;
    if (word === "pass;") i++;
    else if (word === "print") {
      assert.is(i, words.length - 2, "the question is not at the end");
      return value.get(words[i + 1]!)!;
    } else if (words[i + 1] === "=") {
      assert.equal(words.slice(i + 2, i + 4), ["0", ";"]);
      value.set(word, 0);
      i += 4;
    } else {
      assert.is(words[i + 1], "++;", `${word} is not a step`);
      assert.ok(value.get(word)! < top, `${word} is incremented from ${value.get(word)}`);
      value.set(word, value.get(word)! + 1);
      i += 2;
    }
  }
  throw new Error("no question");
}

/** The words of the script's generator, replayed with its own redraws; the reference for frequencies. */
function scripted(
  rng: { uniform(): number; integer(n: number): number },
  vars: number,
  steps: number,
  top: number,
): { length: number; value: number } {
  for (;;) {
    const value = new Map<number, number>();
    let length = 2;
    for (let n = 3 + rng.integer(steps - 2); n > 0; n--)
      for (;;) {
        const u = rng.uniform() * 58;
        if (u < 1) {
          value.set(rng.integer(vars), 0);
          length += 4;
          break;
        }
        if (u < 51) {
          length++;
          break;
        }
        if (value.size === 0) continue;
        const v = [...value.keys()][rng.integer(value.size)]!;
        if (value.get(v)! + 1 > top) continue;
        value.set(v, value.get(v)! + 1);
        length += 2;
        break;
      }
    if (value.size) return { length, value: [...value.values()][rng.integer(value.size)]! };
  }
}
const mean = (list: number[]) => list.reduce((a, b) => a + b, 0) / list.length;
const share = <T>(list: T[], test: (item: T) => boolean) => list.filter(test).length / list.length;

suite("counting", {
  "replaying a program gives its answer": () => {
    for (const options of [
      {},
      { vars: 3 },
      { vars: 5, steps: 40, minSteps: 20 },
      { vars: 26, set: 20, pass: 1, increment: 30, top: 2, steps: 60 },
      { steps: 1, minSteps: 1 },
      { vars: 2, pass: 0, top: 25, increment: 50 },
    ]) {
      const task = counting(options);
      const rng = random(5);
      const top = options.top ?? 10;
      for (let i = 0; i < 60; i++) {
        const { tokens, answer, value } = task.sample(rng);
        assert.is(run(task.words(tokens), top), value);
        assert.is(task.vocab[answer], String(value));
      }
    }
  },
  "the vocabulary has the script's size, distinct words and every value": () => {
    for (const [vars, size] of [
      [1, 19],
      [3, 21],
      [5, 23],
    ] as const) {
      const task = counting({ vars });
      assert.is(task.size, size);
      assert.is(new Set(task.vocab).size, size);
      assert.equal(task.vocab.slice(0, 2), ["<pad>", "<sta>"]);
      for (let value = 0; value <= 10; value++) assert.ok(task.vocab.includes(String(value)));
    }
    assert.equal(counting({ top: 2 }).words([0, 6, 7, 99]), ["<pad>", "print", "a", "?99"]);
  },
  "3,000 samples have the lengths and answers measured on the script": () => {
    for (const vars of [1, 3]) {
      const task = counting({ vars });
      const rng = random(1);
      const samples = Array.from({ length: 3000 }, () => task.sample(rng));
      const lengths = samples.map(s => s.tokens.length);
      const most = Math.max(...lengths);
      const over = share(lengths, n => n > 512);
      const majority = share(samples, s => s.value === 10);
      assert.ok(Math.abs(mean(lengths) - 319) < 10, `mean length ${mean(lengths)}`);
      assert.ok(Math.abs(over - 0.14) < 0.025, `${over} exceed 512`);
      assert.ok(most > 580 && most < 680, `longest ${most}`);
      assert.ok(majority > 0.18 && majority < 0.24, `majority ${majority}`);
      const times = new Array<number>(task.size).fill(0);
      for (const s of samples) for (const id of s.tokens) times[id]!++;
      const ratio = times[task.vocab.indexOf("pass;")]! / times[task.vocab.indexOf("=")]!;
      // 50, less what programs that set nothing take with them
      assert.ok(Math.abs(ratio - 49) < 2, `${ratio} times "pass;" to one "="`);
      for (const v of ["a", "b", "c"].slice(0, vars)) {
        const asked = share(samples, s => task.vocab[s.tokens.at(-1)!] === v);
        assert.ok(Math.abs(asked - 1 / vars) < 0.04, `${v} is asked for in ${asked}`);
      }
    }
  },
  "a row is cut from the left, and its question's `set` is rarely lost": () => {
    const task = counting({ vars: 5 });
    const rng = random(2);
    let lost = 0;
    for (let i = 0; i < 3000; i++) {
      const words = task.words(task.sample(rng).tokens.slice(-512));
      if (!words.some((word, j) => word === words.at(-1) && words[j + 1] === "=")) lost++;
    }
    assert.ok(lost > 0 && lost < 30, `${lost} of 3000`); // 0.33 % are 10
  },
  "drawing among possible steps is the same as redrawing impossible ones": () => {
    for (const vars of [1, 3]) {
      const task = counting({ vars, steps: 120, top: 4 });
      const a = random(3);
      const b = random(4);
      const n = 6000;
      const ours = Array.from({ length: n }, () => {
        const s = task.sample(a);
        return { length: s.tokens.length, value: s.value };
      });
      const theirs = Array.from({ length: n }, () => scripted(b, vars, 120, 4));
      assert.ok(Math.abs(mean(ours.map(s => s.length)) - mean(theirs.map(s => s.length))) < 3);
      for (let value = 0; value <= 4; value++)
        assert.ok(
          Math.abs(share(ours, s => s.value === value) - share(theirs, s => s.value === value)) < 0.03,
          `value ${value} of ${vars}`,
        );
    }
  },
  "a batch holds its samples, padded on the right, and asks at the last token only": () => {
    const task = counting({ vars: 3 });
    const { tokens, targets, lengths, t } = task.batch(random(9), 40, 200);
    const rng = random(9);
    assert.is(t, 200);
    assert.is(tokens.length, 40 * t);
    assert.is(targets.length, 40 * t);
    let cut = 0;
    let padded = 0;
    for (let i = 0; i < 40; i++) {
      const one = task.sample(rng);
      const n = lengths[i]!;
      const row = Array.from(tokens.subarray(i * t, (i + 1) * t));
      const asked = Array.from(targets.subarray(i * t, (i + 1) * t));
      assert.is(n, Math.min(200, one.tokens.length));
      assert.equal(row.slice(0, n), one.tokens.slice(-n));
      assert.ok(row.slice(n).every(id => id === 0));
      assert.is(asked[n - 1], one.answer);
      assert.ok(asked.every((id, j) => id === -100 || j === n - 1));
      if (one.tokens.length > 200) cut++;
      else padded++;
    }
    assert.ok(cut > 0 && padded > 0, "the batch shows only one of the two cases");
    const free = task.batch(random(9), 40);
    assert.is(free.t, Math.max(...free.lengths));
  },
  "the same seed gives the same batch, whatever was drawn before": () => {
    const task = counting();
    const rng = random(1);
    const want = task.batch(rng.fork(7), 4, 64);
    task.batch(rng.fork(6), 3);
    assert.equal(Array.from(counting().batch(random(1).fork(7), 4, 64).tokens), Array.from(want.tokens));
    assert.equal(Array.from(task.batch(rng.fork(7), 4, 64).targets), Array.from(want.targets));
    assert.not.equal(Array.from(task.batch(rng.fork(8), 4, 64).tokens), Array.from(want.tokens));
  },
  "wrong options are named with their values": () => {
    assert.is(
      thrown(RangeError, () => counting({ vars: 27 })),
      "counting: vars is 27\n  wants an integer from 1 to 26",
    );
    for (const options of [
      { minSteps: 9, steps: 8 },
      { set: 0 },
      { pass: -1 },
      { increment: NaN },
      { top: 0 },
      { steps: 1.5 },
    ])
      thrown(RangeError, () => counting(options));
    thrown(RangeError, () => counting().batch(random(0), 0));
    thrown(RangeError, () => counting().batch(random(0), 1, 0));
  },
});

const NAMES = ["mary", "john", "daniel", "sandra"];
const PLACES = ["bathroom", "hallway", "garden", "office", "bedroom", "kitchen"];
const VERBS = ["moved", "went", "went back", "journeyed", "travelled"];
const SECRET = [...NAMES, ...PLACES, "moved", "went", "back", "journeyed", "travelled"];
const FACT = new RegExp(`^(${NAMES.join("|")}) (${VERBS.join("|")}) to the (${PLACES.join("|")}) \\.$`);
const TALE =
  "Mary had a little lamb, its fleece was white as snow; and everywhere that " +
  "Mary went the lamb was sure to go. The garden isn't far.";

suite("memorize", {
  "the fact and the question are where they should be, and the background betrays neither": () => {
    for (const at of ["start", "segment", "random"] as const)
      for (const text of [undefined, TALE])
        for (const segments of [1, 3]) {
          const task = memorize({ segment: 32, at, ...(text === undefined ? {} : { text }) });
          const rng = random(3);
          const found = new Set<number>();
          for (let i = 0; i < 100; i++) {
            const { tokens, answer, place, name, fact, length } = task.sample(rng, segments);
            const words = task.words(tokens);
            assert.is(words.length, 32 * segments);
            const match = FACT.exec(words.slice(fact, fact + length).join(" "));
            assert.ok(match, words.join(" "));
            assert.equal(words.slice(-4), ["where", "is", match[1], "?"]);
            assert.equal([match[3], match[3], match[1]], [task.vocab[answer], PLACES[place], task.vocab[name]]);
            assert.is(answer, task.places[place]);
            const background = [...words.slice(0, fact), ...words.slice(fact + length, -4)];
            assert.is(background.length, 32 * segments - length - 4);
            assert.ok(!background.some(word => SECRET.includes(word)), background.join(" "));
            assert.ok(!words.some(word => word.startsWith("?") && word.length > 1));
            found.add(fact);
          }
          if (at === "start") assert.equal([...found], [0]);
          if (at === "segment")
            assert.equal(
              [...found].sort((a, b) => a - b),
              [0, 32, 64].slice(0, segments),
            );
          if (at === "random") assert.ok(found.size > 12 && Math.max(...found) > 32 * segments - 14);
        }
  },
  "all 120 facts come up, and guessing is right once in six": () => {
    const task = memorize({ segment: 11 });
    const rng = random(4);
    const facts = new Set<string>();
    const counts = new Array<number>(6).fill(0);
    for (let i = 0; i < 3000; i++) {
      const { tokens, place, length } = task.sample(rng, 1);
      facts.add(task.words(tokens.slice(0, length)).join(" "));
      counts[place]!++;
    }
    assert.is(facts.size, 120);
    for (const n of counts) assert.ok(Math.abs(n - 500) < 100, `${counts}`);
  },
  "a batch holds its samples and asks at the last token only": () => {
    const task = memorize({ segment: 16, at: "segment" });
    const { tokens, targets, answers, t } = task.batch(random(5), 6, 4);
    const rng = random(5);
    assert.is(t, 64);
    assert.is(tokens.length, 6 * t);
    assert.is(targets.filter(id => id !== -100).length, 6);
    for (let i = 0; i < 6; i++) {
      const one = task.sample(rng, 4);
      assert.equal(Array.from(tokens.subarray(i * t, (i + 1) * t)), one.tokens);
      assert.equal([targets[(i + 1) * t - 1], answers[i]], [one.answer, one.answer]);
    }
  },
  "made-up background is made of sentences, and its words are as frequent as Zipf says": () => {
    const task = memorize({ segment: 4000, words: 200 });
    const words = task.words(task.sample(random(6), 5).tokens);
    const own = task.vocab.slice(-200);
    assert.is(new Set(task.vocab).size, task.size);
    assert.ok(own.every(word => /^[a-z]{4,5}$/.test(word)));
    const times = own.map(word =>
      share(
        words.filter(w => own.includes(w)),
        w => w === word,
      ),
    );
    for (const r of [1, 2, 5])
      assert.ok(Math.abs(times[r - 1]! - Math.log2((r + 1) / r) / Math.log2(201)) < 0.01, `rank ${r}: ${times[r - 1]}`);
    assert.ok(times.filter(f => f > 0).length > 190);
    const sentences = words
      .slice(7, -10)
      .join(" ")
      .split(" . ")
      .slice(1, -1)
      .map(s => s.split(" "));
    assert.ok(sentences.every(s => s.length >= 4 && s.length <= 13));
    assert.ok(sentences.some(s => s.includes(",")) && !sentences.some(s => s.at(-1) === "," || s[0] === ","));
    assert.is(
      memorize({ segment: 11, words: 28125 }).vocab.length,
      new Set(memorize({ segment: 11, words: 28125 }).vocab).size,
    );
  },
  "a given text is read on from a random word, and what is rare or secret reads <unk>": () => {
    const task = memorize({ segment: 40, text: TALE, words: 3 });
    const background = task.words(task.sample(random(7), 2).tokens).slice(7, -4);
    assert.equal(task.vocab.slice(-3), ["lamb", "was", "had"]); // twice, twice, then the first of the rest
    const all = TALE.toLowerCase()
      .match(/[a-z']+|[^ ]/g)!
      .map(word => (task.vocab.includes(word) && !SECRET.includes(word) ? word : "<unk>"));
    const ring = [...all, ...all, ...all, ...all].join(" ");
    assert.ok(ring.includes(background.join(" ")), background.join(" "));
    assert.is(
      new Set(
        Array.from({ length: 50 }, (_, i) =>
          task
            .words(task.sample(random(i), 1).tokens)
            .slice(7, 14)
            .join(" "),
        ),
      ).size > 10,
      true,
    );
  },
  "the same seed gives the same batch, whatever was drawn before": () => {
    const task = memorize({ segment: 20 });
    const rng = random(1);
    const want = Array.from(task.batch(rng.fork(7), 4, 2).tokens);
    task.batch(rng.fork(6), 3, 5);
    assert.equal(Array.from(task.batch(rng.fork(7), 4, 2).tokens), want);
    assert.not.equal(Array.from(task.batch(rng.fork(8), 4, 2).tokens), want);
  },
  "a segment too short for fact and question is refused": () => {
    assert.is(
      thrown(RangeError, () => memorize({ segment: 10 })),
      "memorize: segment is 10\n  wants an integer from 11 to 9007199254740991",
    );
    thrown(RangeError, () => memorize({ segment: 20, text: " " }));
    thrown(RangeError, () => memorize({ segment: 20, at: "end" as never }));
    thrown(RangeError, () => memorize({ segment: 20 }).sample(random(0), 0));
  },
});

const huber = (y: number) => (Math.abs(y) < 1 ? (y * y) / 2 : Math.abs(y) - 0.5);

suite("sine", {
  "targets are the sums that the host's sine gives": () => {
    for (const [a, b, p, t] of [
      [10, 10, 0.3, 64],
      [3, 0.7, 1, 9],
      [1, -40, 0.5, 1],
      [20, 10, 0.9, 16],
    ] as const) {
      const { inputs, targets, sines } = sine({ a, b, p, t }).batch(random(2), 20);
      const want: number[] = [];
      const waves: number[] = [];
      assert.is(inputs.length, 20 * t * 2);
      for (let s = 0; s < 20; s++)
        for (let n = 0; n < t; n++) {
          const x = (place: number) => (place < 0 ? 0 : inputs[(s * t + place) * 2]!);
          let sum = 0;
          for (let i = 1; i <= a; i++) sum += Math.sin(b * x(n - i));
          want.push(inputs[(s * t + n) * 2 + 1] ? sum : x(n));
          waves.push(Math.sin(b * x(n)));
        }
      close(targets, want, 1e-12, "targets");
      close(sines, waves, 1e-12, "sines");
    }
  },
  "x is normal and z asks with probability p": () => {
    const { inputs } = sine({ p: 0.1 }).batch(random(3), 500);
    const x = Array.from(inputs).filter((_, i) => i % 2 === 0);
    const z = Array.from(inputs).filter((_, i) => i % 2 === 1);
    assert.ok(Math.abs(mean(x)) < 0.025 && Math.abs(mean(x.map(v => v * v)) - 1) < 0.04);
    assert.ok(z.every(v => v === 0 || v === 1) && Math.abs(mean(z) - 0.1) < 0.01, `${mean(z)}`);
    const ask = Array.from(sine({ p: 1 }).batch(random(3), 5).inputs).filter((_, i) => i % 2 === 1);
    const never = Array.from(sine({ p: 0 }).batch(random(3), 5).inputs).filter((_, i) => i % 2 === 1);
    assert.ok(ask.every(v => v === 1) && never.every(v => v === 0));
  },
  "who knows nothing of the sums scores 1.258": () => {
    const score = mean(Array.from(sine({ p: 1 }).batch(random(4), 2000).targets, huber));
    assert.ok(Math.abs(score - 1.258) < 0.02, `${score}`);
  },
  "the same seed gives the same batch, whatever was drawn before": () => {
    const task = sine({ t: 8 });
    const rng = random(1);
    const want = Array.from(task.batch(rng.fork(7), 4).inputs);
    task.batch(rng.fork(6), 3);
    assert.equal(Array.from(task.batch(rng.fork(7), 4).inputs), want);
    assert.not.equal(Array.from(task.batch(rng.fork(8), 4).inputs), want);
  },
  "wrong options are named with their values": () => {
    assert.is(
      thrown(RangeError, () => sine({ p: 2 })),
      "sine: p is 2\n  wants a number from 0 to 1",
    );
    for (const options of [{ a: 0 }, { t: 0 }, { b: 1e6 }, { p: NaN }]) thrown(RangeError, () => sine(options));
    thrown(RangeError, () => sine().batch(random(0), 0));
  },
});
