// The tasks of RMT beside memorize as published: facts that are held out, reasoning as published and corrected, and the
// algorithmic tasks, replayed sample by sample. Frequencies lie within four standard deviations.
import * as assert from "uvu/assert";
import {
  associativeRetrieval,
  copyTwice,
  memorize,
  quadraticEquations,
  random,
  reasoning,
  reversal,
  type ReasoningOptions,
  type SequenceTask,
} from "farsight";
import { suite, thrown } from "./check.ts";

/** Asserts that `n` of `of` draws is what probability p gives, within four standard deviations. */
function likely(n: number, of: number, p: number, what: string): void {
  const wide = 4 * Math.sqrt(of * p * (1 - p));
  assert.ok(Math.abs(n - of * p) <= wide, `${what}: ${n} of ${of}, not ${of * p} +- ${wide.toFixed(1)}`);
}
const PLACES = ["bathroom", "hallway", "garden", "office", "bedroom", "kitchen"];
const WAYS = { north: [0, 1], south: [0, -1], east: [1, 0], west: [-1, 0] } as const;
type Way = keyof typeof WAYS;
const FACT = /^the (\w+) is (\w+) of the (\w+) \.$/;

/** Where y lies seen from x, for each pair that a fact tells of, in both orders. */
function relations(facts: readonly string[]): Map<string, string> {
  const found = new Map<string, string>();
  for (const fact of facts) {
    const [, x, way, y] = FACT.exec(fact)! as unknown as [string, string, Way, string];
    const [right, up] = WAYS[way];
    found.set(`${y} ${x}`, `${right} ${up}`);
    found.set(`${x} ${y}`, `${0 - right} ${0 - up}`);
  }
  return found;
}

/** The answer that the facts give to a question as published; undefined where they give none, or two. */
function neighbour(facts: readonly string[], question: string): string | undefined {
  const of = /^what is (\w+) of the (\w+) \?$/.exec(question);
  const from = /^what is the (\w+) (\w+) of \?$/.exec(question);
  const [way, room] = (of ? [of[1], of[2]] : [from![2], from![1]]) as [Way, string];
  const [right, up] = WAYS[way];
  const wants = of ? `${right} ${up}` : `${0 - right} ${0 - up}`;
  const fits = [...relations(facts)].filter(([pair, at]) => pair.startsWith(`${room} `) && at === wants);
  return fits.length === 1 ? fits[0]![0].split(" ")[1] : undefined;
}

/** The room that lies farthest that way of all that the facts tell of; undefined where more than one may. */
function farthest(facts: readonly string[], way: Way): string | undefined {
  const [right, up] = WAYS[way];
  const found = [...relations(facts)];
  const rooms = [...new Set(found.map(([pair]) => pair.split(" ")[0]!))];
  const last = rooms.filter(room => !found.some(([p, at]) => p.startsWith(`${room} `) && at === `${right} ${up}`));
  return last.length === 1 ? last[0] : undefined;
}

/** n samples in words: facts, question and answer, after checking that they stand where the sample says. */
function stories(options: Omit<ReasoningOptions, "segment">, n: number, segments = 3) {
  const task = reasoning({ segment: 32, ...options });
  const rng = random(11);
  return Array.from({ length: n }, () => {
    const { tokens, answer, place, facts, length } = task.sample(rng, segments);
    const words = task.words(tokens);
    assert.is(words.length, 32 * segments);
    assert.equal([task.vocab[answer], answer], [PLACES[place], task.places[place]]);
    const told = facts.map(at => words.slice(at, at + length).join(" "));
    const from = words.lastIndexOf("what");
    const question = words.slice(from).join(" ");
    const isOwn = (i: number): boolean => i >= from || facts.some(at => i >= at && i < at + length);
    const rest = words.filter((_, i) => !isOwn(i));
    assert.is(rest.length, words.length - 2 * length - (words.length - from), "facts overlap");
    assert.ok(!rest.some(word => PLACES.includes(word) || word in WAYS), rest.join(" "));
    for (const fact of told) assert.match(fact, FACT);
    return { told, question, answer: PLACES[place]!, facts };
  });
}

suite("facts of memorize", {
  "that are held out are never trained on, and both kinds have answers that are as likely"() {
    const seen = { all: new Set<string>(), train: new Set<string>(), held: new Set<string>() };
    for (const facts of ["all", "train", "held"] as const) {
      const task = memorize({ segment: 11, facts });
      const rng = random(3);
      const counts = new Array<number>(6).fill(0);
      for (let i = 0; i < 3000; i++) {
        const { name, place } = task.sample(rng, 1);
        seen[facts].add(`${task.vocab[name]} ${PLACES[place]}`);
        counts[place]!++;
      }
      for (const n of counts) likely(n, 3000, 1 / 6, facts);
    }
    assert.equal([seen.all.size, seen.train.size, seen.held.size], [24, 18, 6]);
    for (const pair of seen.held) assert.not(seen.train.has(pair), pair);
    const names = new Set([...seen.train].map(pair => pair.split(" ")[0]));
    assert.is(names.size, 4);
    assert.is(
      thrown(RangeError, () => memorize({ segment: 11, facts: "none" as never })).split("\n")[0],
      "memorize: facts is none",
    );
  },
});

suite("reasoning", {
  "as published is answered by one of its two facts, and by that one alone"() {
    const all = stories({}, 600);
    let first = 0;
    const questions = new Set<string>();
    for (const { told, question, answer } of all) {
      assert.is(neighbour(told, question), answer, `${told.join(" ")} ${question}`);
      const alone = told.map(fact => neighbour([fact], question));
      assert.equal(
        alone.filter(room => room !== undefined),
        [answer],
      );
      if (alone[0] === answer) first++;
      questions.add(question.replace(/bathroom|hallway|garden|office|bedroom|kitchen/, "room"));
    }
    likely(first, all.length, 0.5, "the first fact");
    assert.is(questions.size, 8); // four ways, asked in two
    for (const room of PLACES) likely(all.filter(s => s.answer === room).length, all.length, 1 / 6, room);
    const starts = all.flatMap(s => s.facts);
    assert.equal(
      [...new Set(starts)].sort((a, b) => a - b),
      [0, 8, 32, 40, 64, 72],
    );
    for (const at of [0, 32, 64])
      likely(starts.filter(start => Math.floor(start / 32) === at / 32).length, starts.length, 1 / 3, `from ${at}`);
  },
  "corrected is answered by both facts, and guessed half the time from one"() {
    const all = stories({ needs: "both", at: "random" }, 800);
    let guessed = 0;
    let along = 0; // facts that name the way that is asked for, and not its opposite
    for (const { told, question, answer } of all) {
      const way = /^what is farthest (\w+) \?$/.exec(question)![1] as Way;
      assert.is(farthest(told, way), answer, `${told.join(" ")} ${question}`);
      if (farthest([told[0]!], way) === answer) guessed++;
      along += told.filter(fact => FACT.exec(fact)![2] === way).length;
    }
    likely(guessed, all.length, 0.5, "the first fact's farther room");
    likely(along, 2 * all.length, 0.5, "the way that is asked for");
    for (const room of PLACES) likely(all.filter(s => s.answer === room).length, all.length, 1 / 6, room);
    const starts = all.flatMap(s => s.facts);
    assert.ok(new Set(starts).size > 60 && Math.min(...starts) < 3 && Math.max(...starts) > 70);
    assert.ok(all.some(s => s.facts[0]! > s.facts[1]!) && all.some(s => s.facts[0]! < s.facts[1]!));
  },
  "that is held out is told in sentences that training never shows, and training betrays no room in the middle"() {
    const all = { all: stories({ needs: "both" }, 1500), train: stories({ needs: "both", facts: "train" }, 3000) };
    const held = stories({ needs: "both", facts: "held" }, 400);
    const sentences = (list: readonly { told: string[] }[]): Set<string> => new Set(list.flatMap(s => s.told));
    const [every, train, other] = [sentences(all.all), sentences(all.train), sentences(held)];
    assert.equal([every.size, train.size, other.size], [120, 96, 24]);
    for (const fact of other) assert.not(train.has(fact), fact);
    // Of each three rooms each is in the middle as often as the others: the room that both facts name.
    const middles = new Map<string, number[]>();
    for (const { told } of all.train) {
      const rooms = told.map(fact => FACT.exec(fact)!.filter(word => PLACES.includes(word)));
      const three = [...new Set(rooms.flat())].sort();
      const counts = middles.get(three.join(" ")) ?? [0, 0, 0];
      counts[three.indexOf(rooms[0]!.find(room => rooms[1]!.includes(room))!)]!++;
      middles.set(three.join(" "), counts);
    }
    assert.is(middles.size, 20);
    for (const [three, counts] of middles) {
      const n = counts.reduce((a, b) => a + b, 0);
      for (const count of counts) likely(count, n, 1 / 3, three);
    }
  },
  "begins with its facts where asked, fits into one segment, and is refused in less"() {
    for (const { facts } of stories({ at: "start" }, 20, 1))
      assert.equal(
        [...facts].sort((a, b) => a - b),
        [0, 8],
      );
    const task = reasoning({ segment: 23 });
    assert.is(task.batch(random(1), 2, 1).t, 23);
    assert.is(thrown(RangeError, () => reasoning({ segment: 22 })).split("\n")[0], "reasoning: segment is 22");
    assert.is(
      thrown(RangeError, () => reasoning({ segment: 23, needs: "two" as never })),
      "reasoning: needs is two\n  wants one or both",
    );
  },
  "draws the same batch from the same seed, and asks at the last token alone"() {
    const task = reasoning({ segment: 32, at: "random", needs: "both", facts: "train" });
    const { tokens, targets, answers, t } = task.batch(random(5).fork(2), 4, 2);
    const rng = random(5).fork(2);
    for (let i = 0; i < 4; i++) {
      const one = task.sample(rng, 2);
      assert.equal([...tokens.subarray(i * t, (i + 1) * t)], one.tokens);
      assert.equal([targets[(i + 1) * t - 1], answers[i]], [one.answer, one.answer]);
    }
    assert.is(targets.filter(id => id !== -100).length, 4);
  },
});

/** The words of n samples, and of what is asked: "" where nothing is. */
function drawn(task: SequenceTask, n: number): { read: string[]; asked: string[] }[] {
  const rng = random(7);
  return Array.from({ length: n }, () => {
    const { tokens, targets } = task.sample(rng);
    return { read: task.words(tokens), asked: targets.map(id => (id === -100 ? "" : task.vocab[id]!)) };
  });
}

suite("copy and reverse", {
  "ask for what was read, twice or from its end, each symbol given those before it"() {
    for (const [task, answerOf, times] of [
      [copyTwice(), (s: string[]) => [...s, ...s], 2],
      [reversal(), (s: string[]) => [...s].reverse(), 1],
    ] as const) {
      const all = drawn(task, 200);
      const symbols = all.flatMap(({ read, asked }) => {
        const source = read.slice(0, 24);
        const answer = answerOf(source);
        assert.equal(read, [...source, ">", ...answer.slice(0, -1)]);
        assert.equal(asked, [...source.map(() => ""), ...answer]);
        return source;
      });
      assert.is(task.batch(random(1), 2).t, 24 * (1 + times));
      for (const symbol of "ABCDEFGH") likely(symbols.filter(s => s === symbol).length, symbols.length, 1 / 8, symbol);
      assert.equal([task.size, task.vocab.indexOf(">"), task.vocab.indexOf("A")], [10, 1, 2]);
    }
    assert.is(copyTwice({ symbols: 360 }).batch(random(1), 1).t, 1080);
    assert.is(thrown(RangeError, () => reversal({ symbols: 0 })).split("\n")[0], "reversal: symbols is 0");
    assert.is(
      thrown(RangeError, () => copyTwice({ blanks: 1 } as never)),
      "copyTwice: unknown option blanks\n  wants symbols",
    );
  },
});

suite("associative retrieval", {
  "asks for the digit of a letter that was read, all of them different"() {
    for (const pairs of [1, 4, 10]) {
      const places = new Array<number>(pairs).fill(0);
      for (const { read, asked } of drawn(associativeRetrieval({ pairs }), 400)) {
        assert.is(read.length, 2 * pairs + 2);
        const [letters, digits] = [0, 1].map(k => Array.from({ length: pairs }, (_, i) => read[2 * i + k]!)) as [
          string[],
          string[],
        ];
        assert.is(new Set(letters).size, pairs);
        assert.is(new Set(digits).size, pairs);
        assert.match(letters.join(""), /^[a-z]+$/);
        assert.match(digits.join(""), /^\d+$/);
        const [letter, marker] = read.slice(-2);
        assert.is(marker, ">");
        const at = letters.indexOf(letter!);
        places[at]!++;
        assert.equal(asked, [...read.slice(1).map(() => ""), digits[at]]);
      }
      for (const n of places) likely(n, 400, 1 / pairs, `of ${pairs} pairs`);
    }
    const task = associativeRetrieval();
    assert.equal(
      [task.size, task.vocab.indexOf("0"), task.vocab.indexOf(">"), task.vocab.indexOf("a")],
      [37, 0, 10, 11],
    );
    assert.is(
      thrown(RangeError, () => associativeRetrieval({ pairs: 11 })).split("\n")[0],
      "associativeRetrieval: pairs is 11",
    );
  },
});

/** a, b and c of a x^2 + b x + c as they are written. */
function factors(text: string): [number, number, number] {
  const [, a, b, c] = /^(-?(?:\d+\*)?)x\^2((?:[+-](?:\d+\*)?x)?)((?:[+-]\d+)?)=0$/.exec(text)!;
  const number = (word: string): number => (/^[+-]?$/.test(word) ? Number(`${word}1`) : Number(word));
  return [number(a!.replace("*", "")), b ? number(b.replace(/\*?x/, "")) : 0, c ? Number(c) : 0];
}

suite("quadratic equations", {
  "are solved rightly, in six fields of 30 characters, of which the last five are asked for"() {
    const found = { real: 0, all: 0 };
    const [scales, signs] = [new Set<number>(), { zero: 0 }];
    for (const { read, asked } of drawn(quadraticEquations(), 1500)) {
      assert.equal([read[0], read.length, asked.length], ["g", 180, 180]);
      assert.equal(asked.slice(0, 30), new Array(30).fill(""));
      assert.equal(asked.slice(30, -1), read.slice(31), "targets are the next characters");
      const text = [...read.slice(1), asked.at(-1)].join("");
      const fields = Array.from({ length: 6 }, (_, i) => text.slice(30 * i, 30 * i + 30));
      for (const field of fields) assert.match(field, /^[^_]*_+$/);
      const [first, second, D, low, high, answer] = fields.map(field => field.replace(/_+$/, "")) as [
        ...[string, string, string, string, string, string],
      ];
      const [[a, ...scaled], [one, b, c]] = [factors(first), factors(second)];
      assert.equal([one, ...scaled], [1, a * b, a * c], text);
      const square = b * b - 4 * c;
      const sum = `D=${Math.abs(b)}^2${c < 0 ? "+" : "-"}4*1*${Math.abs(c)}=${square}`;
      scales.add(a);
      if (b === 0 || c === 0) signs.zero++;
      found.all++;
      if (square < 0) {
        assert.equal([D, low, high, answer], [sum, "", "", ""]);
        continue;
      }
      found.real++;
      const root = Math.sqrt(square);
      const [x, y] = [(-b - root) / 2, (-b + root) / 2];
      assert.ok(Number.isInteger(x) && Math.abs(x) < 100 && Math.abs(y) < 100, text);
      const by = 0 - b; // no -0
      assert.equal(
        [D, low, high, answer],
        [`${sum}=${root}^2`, `x=(${by}-${root})/2=${x}`, `x=(${by}+${root})/2=${y}`, `${x},${y}`],
      );
    }
    likely(found.real, found.all, 0.8, "with real roots");
    assert.is(scales.size, 20);
    assert.ok(signs.zero > 5, "no equation lacks a term");
  },
  "have the ids of the paper's code, and as many without real roots as asked for"() {
    const task = quadraticEquations();
    assert.is(task.vocab.join(""), "_g0123456789+-*/^=()xD;,");
    for (const [unreal, want] of [
      [0, 0],
      [1, 40],
    ] as const)
      assert.is(drawn(quadraticEquations({ unreal }), 40).filter(({ asked }) => asked.at(-30) === "_").length, want);
    thrown(RangeError, () => quadraticEquations({ unreal: 2 }));
  },
});

suite("the algorithmic tasks", {
  "draw the same batch from the same seed, sample by sample"() {
    for (const task of [copyTwice(), reversal(), associativeRetrieval(), quadraticEquations()]) {
      const { tokens, targets } = task.batch(random(1).fork(3), 3);
      const rng = random(1).fork(3);
      const samples = Array.from({ length: 3 }, () => task.sample(rng));
      assert.equal(
        [...tokens],
        samples.flatMap(s => s.tokens),
      );
      assert.equal(
        [...targets],
        samples.flatMap(s => s.targets),
      );
      assert.not.equal(task.batch(random(1).fork(4), 3).tokens, tokens);
    }
  },
});
