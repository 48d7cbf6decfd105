// Language modelling: texts survive as ids, vocabularies are cut as Wikitext's are, pieces and windows hold the tokens
// that they say, and a long text takes little memory.
import { spawnSync } from "node:child_process";
import * as assert from "uvu/assert";
import {
  counting,
  flipFlop,
  language,
  memorize,
  random,
  reasoning,
  selectiveCopy,
  sine,
  type LanguageBatch,
  type Random,
} from "farsight/tasks";
import { suite } from "./check.ts";

const TEXTS = ["", "abc", "a b\n\nc\n", "\uFEFF tschüß, Ωmega 漢字 🙂\u0000", " = = Gameplay = = \n"];
const TALE = "the cat saw the dog .\nthe dog saw a bird .\n\na bird sang";

suite("units", {
  "bytes are UTF-8, and come back": () => {
    const task = language();
    assert.is(task.size, 256);
    assert.is(new Set(task.vocab).size, 256);
    for (const text of TEXTS) {
      const ids = task.encode(text);
      assert.ok(ids instanceof Uint8Array);
      assert.is(Buffer.compare(ids, Buffer.from(text)), 0);
      assert.is(task.decode(ids), text);
    }
    assert.equal(task.words([97, 10, 255, 256]), ["a", "<0x0A>", "<0xFF>", "?256"]);
    assert.equal([...task.encode("\uD800")], [0xef, 0xbf, 0xbd]);
  },
  "characters are code points, the most frequent first": () => {
    const task = language({ unit: "characters", text: "b🙂a🙂b🙂" });
    assert.equal(task.vocab, ["<unk>", "🙂", "b", "a"]);
    assert.equal([...task.encode("a🙂c")], [3, 1, 0]);
    for (const text of TEXTS.slice(1)) {
      const own = language({ unit: "characters", text });
      assert.is(own.decode(own.encode(text)), text);
      assert.is(own.size, new Set(text).size + 1);
    }
  },
  "words lie between white space, and a line's end is one": () => {
    const task = language({ unit: "words", text: TALE });
    const times: [string, number][] = [
      ...[
        ["the", 3],
        ["\n", 3],
      ],
      ...[
        ["saw", 2],
        ["dog", 2],
        [".", 2],
        ["a", 2],
        ["bird", 2],
      ],
      ...[
        ["cat", 1],
        ["sang", 1],
      ],
    ] as [string, number][];
    assert.equal(task.vocab, ["<unk>", ...times.map(([word]) => word)]);
    const ids = task.encode(TALE);
    for (const [i, [, n]] of times.entries()) assert.is(ids.filter(id => id === i + 1).length, n);
    assert.is(task.decode(ids), TALE);
    assert.is(task.decode(task.encode(" \tthe\u00A0dog \r\n \n lives  ")), "the dog\n\n<unk>");
    assert.equal(task.encode(""), new Uint8Array(0));
  },
  "a vocabulary is cut by its size, by least counts, or both, and <unk> is id 0": () => {
    const of = (more: object) => language({ unit: "words", text: `x <unk> ${TALE} <unk> y`, ...more });
    assert.equal(of({ size: 4 }).vocab, ["<unk>", "the", "\n", "saw"]);
    assert.equal(of({ least: 3 }).vocab, ["<unk>", "the", "\n"]);
    assert.is(of({ least: 2, size: 100 }).size, 8);
    assert.is(of({ least: 2, size: 5 }).size, 5);
    assert.equal([...of({ size: 2 }).encode("the <unk> cat the")], [1, 0, 0, 1]);
    assert.is(of({ size: 2 }).decode([1, 0]), "the <unk>");
    assert.equal(language({ unit: "characters", text: "aab", size: 2 }).vocab, ["<unk>", "a"]);
  },
  "a vocabulary that was kept gives the same ids, also of words that objects have": () => {
    const text = "constructor __proto__ toString length constructor";
    const task = language({ unit: "words", text });
    const again = language({ unit: "words", vocab: JSON.parse(JSON.stringify(task.vocab)) as string[] });
    assert.equal(again.encode(`${text} hasOwnProperty`), task.encode(`${text} hasOwnProperty`));
    assert.equal([...task.encode("valueOf constructor")], [0, 1]);
    assert.is(again.size, 5);
  },
  "ids take as few bytes as they can": () => {
    for (const [n, bytes] of [
      [255, 1],
      [256, 2],
      [65535, 2],
      [65536, 4],
    ] as const) {
      const text = Array.from({ length: n }, (_, i) => `w${i}`).join(" ");
      const task = language({ unit: "words", text });
      const ids = task.encode(text);
      assert.equal([task.size, ids.BYTES_PER_ELEMENT, ids.length, ids.at(-1)], [n + 1, bytes, n, n]);
    }
  },
});

/** Places of the tokens that a batch asks for; each row holds the text from where it says it starts. */
function asked({ tokens, targets, starts, t }: LanguageBatch, ids: ArrayLike<number>): number[] {
  assert.equal([tokens.length, targets.length], [starts.length * t, starts.length * t]);
  const found: number[] = [];
  starts.forEach((start, i) => {
    for (let p = 0; p < t; p++) {
      assert.is(tokens[i * t + p], ids[start + p]);
      if (targets[i * t + p] === -100) continue;
      assert.is(targets[i * t + p], ids[start + p + 1]);
      found.push(start + p + 1);
    }
  });
  return found;
}
const count = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);
const held = Uint8Array.from(count(0, 200));

suite("pieces of a text", {
  "begin anywhere in it, the last place included, and ask for each next token": () => {
    const task = language();
    const ids = held.subarray(0, 12);
    const batch = task.batch(random(1), ids, 3000, 8);
    asked(batch, ids);
    assert.not(batch.targets.includes(-100));
    for (const start of [0, 1, 2, 3]) {
      const n = batch.starts.filter(s => s === start).length;
      assert.ok(Math.abs(n - 750) < 4 * Math.sqrt(3000 * 0.25 * 0.75), `${n} begin at ${start}`);
    }
    assert.equal(task.batch(random(1), ids, 3000, 8), batch);
    assert.not.equal(task.batch(random(2), ids, 3000, 8), batch);
    assert.equal([...task.batch(random(1), [7, 8, 9], 1, 2).targets], [8, 9]);
  },
  "as windows ask for every token once, whatever their length and stride": () => {
    const task = language();
    for (const n of [9, 40, 41, 47, 200])
      for (const t of [1, 2, 5, 8])
        for (const stride of [1, 2, 3, t])
          for (const from of [1, 2, 7, 8])
            for (const b of [1, 3]) {
              if (stride > t) continue;
              const ids = held.subarray(0, n);
              const batches = [...task.windows(ids, t, { stride, from, b })];
              assert.equal(
                batches.flatMap(batch => asked(batch, ids)),
                count(from, n),
                `${n} ${t} ${stride} ${from}`,
              );
              assert.ok(batches.slice(0, -1).every(batch => batch.starts.length === b));
            }
    assert.equal([...task.windows(held, 8)], [...task.windows(held, 8, { stride: 8, from: 1, b: 1 })]);
  },
  "as windows give each token at least t - stride before it, and the same tokens at every t": () => {
    const task = language();
    const stride = 8;
    const from = 64 - stride + 1;
    const lists = [8, 16, 32, 64].map(t => {
      const least = new Map<number, number>();
      for (const batch of task.windows(held, t, { stride, from, b: 2 }))
        batch.starts.forEach((start, i) => {
          for (let p = 0; p < t; p++) if (batch.targets[i * t + p] !== -100) least.set(start + p + 1, p + 1);
        });
      assert.is(Math.min(...least.values()), t - stride + 1);
      assert.is(Math.max(...least.values()), t);
      return [...least.keys()];
    });
    for (const list of lists) assert.equal(list, count(from, 200));
  },
  "are read as they are asked for": () => {
    const windows = language().windows([1, 2, 3, 300], 1);
    assert.equal([...windows.next().value!.targets], [2]);
    windows.next();
    assert.throws(() => windows.next(), /^language: an id is 300/);
  },
});

const lean = `
import { language } from "farsight/tasks";
const used = () => {
  for (let i = 0; i < 4; i++) gc(); // one does not find all
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return (heapUsed + arrayBuffers) / 1e6;
};
const line = Array.from({ length: 20000 }, (_, i) => "word" + String((i * i) % 7919).padStart(10, "0")).join(" ");
const before = used();
let text = (line + "\\n").repeat(100);
const task = language({ unit: "words", text });
const ids = task.encode(text);
text = "";
/x/.exec("x"); // V8 keeps the text that an expression searched last until one searches another
console.log(JSON.stringify({ n: ids.length, bytes: ids.byteLength, more: used() - before }));
`;
suite("thirty megabytes", {
  "become words in a heap of 100 MB, and leave their ids alone behind once another text was searched"() {
    const words = ["--expose-gc", "--max-old-space-size=100", "--input-type=module", "-e", lean];
    const { stdout, stderr } = spawnSync(process.execPath, words, { encoding: "utf8" });
    assert.match(stdout, /^\{/, stderr);
    const { n, bytes, more } = JSON.parse(stdout) as { n: number; bytes: number; more: number };
    assert.ok(n > 1.9e6 && bytes === 2 * n, stdout);
    assert.ok(more < bytes / 1e6 + 3, `${more} MB are left, of which ${bytes / 1e6} are ids`);
  },
});

suite("what a task draws and then throws", {
  "leaves the generator where it stood"() {
    const texts = language();
    const draws: Record<string, (rng: Random) => unknown> = {
      "language's batch": rng => texts.batch(rng, [1, 2, 3, 4], 8, 3),
      "counting's batch": rng => counting().batch(rng, 4),
      "counting's sample": rng => counting({ minSteps: 100 }).sample(rng),
      "memorize's batch": rng => memorize({ segment: 32 }).batch(rng, 4, 2),
      "memorize's sample": rng => memorize({ segment: 32 }).sample(rng, 2),
      "sine's batch": rng => sine().batch(rng, 4),
      "flip-flop's batch": rng => flipFlop().batch(rng, 4),
      "selective copy's sample": rng => selectiveCopy().sample(rng),
      "reasoning's batch": rng => reasoning({ segment: 32 }).batch(rng, 4, 2),
    };
    for (const [name, draw] of Object.entries(draws)) {
      const last = random(1, 2 ** 53 - 2 ** 33 - 5); // no draw begins five words further
      assert.throws(() => draw(last), /^\w+: the generator stands at /, name);
      assert.is(last.position, 2 ** 53 - 2 ** 33 - 5, name);
    }
    const rng = random(1);
    assert.throws(() => texts.batch(rng, [300, 300, 300], 2, 1), /^language: an id is 300/);
    assert.is(rng.position, 0);
  },
});
