// Files made to harm: what they may cost, where they are refused, and a fuzzer of headers.
import { Tape, load, loadParams, parse, random, serialize, type Random } from "farsight";
import * as assert from "uvu/assert";
import { suite, thrown } from "./check.ts";

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A file of a header and `data` bytes of numbers; `length` lies about the header where it is given. */
function file(header: string | Uint8Array, data = 0, length?: bigint): Uint8Array {
  const head = typeof header === "string" ? utf8(header) : header;
  const bytes = new Uint8Array(8 + head.length + data);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(head.length), true);
  bytes.set(head, 8);
  for (let i = 8 + head.length; i < bytes.length; i++) bytes[i] = 37 * i;
  return bytes;
}

const entry = (name: string, shape = "[1]", offsets = "[0,4]") =>
  `"${name}":{"dtype":"F32","shape":${shape},"data_offsets":${offsets}}`;
const A = entry("a");
const MB = 1_000_000;
/** `n` megabytes of one text between two others. */
const flood = (before: string, unit: string, after = "", n = 5) => before + unit.repeat((n * MB) / unit.length) + after;
const listed = (n: number, one: (i: number) => string) => `{${Array.from({ length: n }, (_, i) => one(i)).join(",")}}`;

/** What floods a header, the header, and what is said of it. */
const floods: [what: string, header: () => string | Uint8Array, says: RegExp][] = [
  ["brackets", () => flood("", "["), /: byte 10: more than 3 levels$/],
  ["objects in objects", () => flood("", '{"a":'), /: byte 23: more than 3 levels$/],
  ["brackets in a shape", () => flood('{"a":{"shape":', "["), /: byte 23: more than 3 levels$/],
  ["brackets in the metadata", () => flood('{"__metadata__":{"a":', "["), /: byte 30: more than 3 levels$/],
  ["spaces", () => flood("", " "), /: byte 5000008: the header is not JSON: ""$/],
  ["quotes", () => flood("{", '"'), /: byte 11: the header is not JSON: /],
  ["backslashes", () => flood('{"', "\\"), /the header is not JSON: ""$/],
  ["digits", () => flood('{"a":{"shape":[', "1"), /the header is not JSON: "1{60}\.\.\."$/],
  ["sizes", () => flood('{"a":{"shape":[', "0,", "0]}}"), /: byte 524307: more than 262144 names and numbers$/],
  ["a name without end", () => flood('{"', "x"), /the header is not JSON: ""$/],
  ["a name", () => flood('{"', "x", '":{"dtype":1}}'), /: "x{60}\.\.\." has dtype 1\n/],
  ["a name in wide characters", () => flood('{"', "重xxxxxxx", '":1}'), /\.\.\." is an object, not 1$/],
  ["an escaped name", () => flood('{"', "\\u0061", '":[]}'), /: byte \d+: "a{60}\.\.\." is an object, not \[\]$/],
  [
    "long names of one length", // an engine takes them for equal until it has compared them to the end
    () => listed(2000, i => `"${"x".repeat(16_400)}${i + 1000}":{}`),
    /: byte \d+: more than 262144 names and numbers$/,
  ],
  [
    "long metadata of one length",
    () => `{"__metadata__":${listed(2000, i => `"${"x".repeat(16_400)}${i + 1000}":""`)}}`,
    /: byte \d+: more than 262144 names and numbers$/,
  ],
  [
    "wide and escaped text",
    () => flood('{"__metadata__":{"k":"重\\n', "x", '"},"a":1}', 40),
    /: byte 29: text of more than 33554430 bytes$/,
  ],
  [
    "names of 400 bytes",
    () => listed(50_000, i => `"\\u0061${"k".repeat(386)}${i + 10_000}":{}`),
    /: byte \d+: more than 262144 names and numbers$/,
  ],
  [
    "halves of pairs",
    () => flood('{"__metadata__":{"k":"', "\\ud800", '"}}'),
    /metadata "k" has half a surrogate pair$/,
  ],
  ["bytes that are not UTF-8", () => new Uint8Array(5 * MB).fill(0xff).fill(0x7b, 0, 1).fill(0x22, 1, 2), /not JSON/],
  ["short keys", () => listed(3e5, i => `"${i.toString(36)}":{}`), /more than 262144 names and numbers$/],
  ["short keys in one entry", () => `{"a":${listed(3e5, i => `"${i}":0`)}}`, /more than 262144 names and numbers$/],
  ["metadata", () => `{"__metadata__":${listed(3e5, i => `"${i}":""`)}}`, /more than 262144 names and numbers$/],
  ["entries", () => listed(3e5, i => entry(`${i}`, "[0]", "[0,0]")), /more than 262144 names and numbers$/],
  ["a twin after 100,000 keys", () => listed(100_001, i => `"${i % 1e5}":{}`), /: 0 comes twice in one object/],
  ["one key over and over", () => flood("{", '"a":{},'), /: byte 16: a comes twice/],
  ["one key under two spellings", () => flood('{"\\u0061":{},', '"a":{},'), /: byte 21: a comes twice/],
];

const flooded = floods.map(([what, header, says]): [string, () => void] => [
  `${what} cost a second and 25 ms a megabyte at most, and in memory three times their size and 100 MB`,
  () => {
    const bytes = file(header());
    const top = process.resourceUsage().maxRSS * 1024;
    const from = process.cpuUsage();
    assert.match(
      thrown(RangeError, () => parse(bytes)),
      says,
    );
    const { user } = process.cpuUsage(from);
    // Where nothing else runs: up to 0.4 s for names and numbers, else up to 8 ms a megabyte.
    assert.ok(user < 1e6 + bytes.length / 40, `${(user / 1e6).toFixed(1)} s`);
    const more = process.resourceUsage().maxRSS * 1024 - top;
    assert.ok(more < 3 * bytes.length + 100 * MB, `${(more / MB).toFixed(0)} MB`);
  },
]);

suite("floods", {
  ...Object.fromEntries(flooded),
  "names of prefixes without end are passed over"() {
    const { w } = parameters();
    const bytes = file(flood('{"', "module.", 'w":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}', 2));
    assert.match(
      thrown(RangeError, () => loadParams({ w }, bytes)),
      /^loadParams: the file does not fit/,
    );
  },
  "what is written is read: more names than are read are not written"() {
    const none = { shape: [0], values: new Float32Array(0) };
    const named = (n: number) => Array.from({ length: n }, (_, i) => [`${i}`, none] as const);
    assert.is(parse(serialize(named(30_000))).tensors.size, 30_000);
    assert.match(
      thrown(RangeError, () => serialize(named(50_000))),
      /more than 262144 names and numbers$/,
    );
  },
});

/** What is wrong, the header, and at which of its characters, in bytes of the file. */
const places: [what: string, header: string, place: string, says: RegExp][] = [
  ["an entry that is a number", `{${A},"b":7}`, "7}", /: b is an object, not 7$/],
  ["an entry that is true", `{${A},"b":  true}`, "true", /: b is an object, not true$/],
  ["an entry that is text", `{"b":"{}",${A}}`, '"{}"', /: b is an object, not "\{\}"$/],
  ["an entry that is a list", `{"b":[{},{}],${A}}`, "[{}", /: b is an object, not \[Object Object\]$/],
  ["an entry behind wide characters", `{${entry("größe🦉")},"b":7}`, "7}", /: b is an object, not 7$/],
  ["a fourth level in an entry", `{"a":{"x":{"y":[]}}}`, "[]", /: more than 3 levels$/],
  ["a fourth level in the metadata", `{"__metadata__":{"a":{"b":{}}}}`, "{}}", /: more than 3 levels$/],
  [
    "a twin",
    `{${A},${entry("a\n").replace("\n", "")}}`,
    '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    /twice/,
  ],
  ["a twin in other letters", `{${A},"\\u0061":{}}`, '"\\u0061"', /: a comes twice/],
  ["an escaped twin of a wide name", `{"é":{},"\\u00e9":{}}`, '"\\u00e9"', /: "é" comes twice/],
  ["a twin with an escaped slash", `{"a/b":{},"a\\/b":{}}`, '"a\\/b"', /: a\/b comes twice/],
  ["twin metadata", `{"__metadata__":{"k":"1","\\u006b":"1"}}`, '"\\u006b"', /: k comes twice/],
  ["twin shapes", `{"a":{"shape":[1],"shap\\u0065":[1]}}`, '"shap\\u0065"', /: shape comes twice/],
  ["twins called __proto__", `{"__proto__":{},"__pr\\u006fto__":{}}`, '"__pr\\u006f', /: __proto__ comes twice/],
  ["a comma too many", `{"a":{"shape":[1],}}`, "}}", /not JSON: "\}\}"$/],
  ["a comma before a bracket", `{"a":{"shape":[1,]}}`, "]}}", /not JSON: "\]\}\}"$/],
  ["a missing colon", `{"a" {}}`, "{}}", /not JSON: "\{\}\}"$/],
  ["a bracket of the other kind", `{"a":{"shape":[1}}}`, "}}}", /not JSON: "\}\}\}"$/],
  ["a key without quotes", `{a:{}}`, "a:", /not JSON: "a:\{\}\}"$/],
  ["single quotes", `{'a':{}}`, "'a'", /not JSON: "'a':\{\}\}"$/],
  ["NaN", `{"a":{"shape":[NaN]}}`, "NaN", /not JSON: "NaN\]\}\}"$/],
  ["a hexadecimal size", `{"a":{"shape":[0x1]}}`, "0x1", /not JSON: "0x1\]\}\}"$/],
  ["a size with a leading zero", `{"a":{"shape":[01]}}`, "01", /not JSON: "01\]\}\}"$/],
  ["a line break in a name", `{"a\nb":{}}`, '"a\n', /not JSON: "\\"a\\nb\\":\{\}\}"$/],
  ["an escape that is none", `{"a\\x":{}}`, '"a\\x', /not JSON: /],
  ["a comment", `{/**/"a":{}}`, "/**/", /not JSON: /],
  ["a second header", `{${A}}{}`, "{}", /not JSON: "\{\}"$/],
];

suite(
  "the byte of what is wrong",
  Object.fromEntries(
    places.map(([what, header, place, says]) => [
      what,
      () => {
        const at = header.lastIndexOf(place);
        assert.ok(at > 0 && header.indexOf(place) === at, "the place is there once");
        const message = thrown(RangeError, () => parse(file(header, 4)));
        assert.match(message, says);
        assert.ok(message.startsWith(`safetensors: byte ${8 + utf8(header.slice(0, at)).length}: `), message);
      },
    ]),
  ),
);

/** A parameter, and what it holds. */
function parameters() {
  const tape = new Tape("f32", { seed: 5 });
  const w = tape.param([2], [3, 4]);
  return { tape, w, before: [...w.values()] };
}

const odd = {
  names: ["a", "w", "", "a", "\\u0061", "__proto__", "toString", "__metadata__", "0", "4294967295", "é"],
  dtypes: ['"F32"', '"F64"', '"F16"', '"BF16"', '"I32"', '"I64"', '"U8"', '"f32"', "3", "null", '"__proto__"', "[]"],
  sizes: [
    "0",
    "1",
    "2",
    "3",
    "-1",
    "-0",
    "0.5",
    "1.0",
    "1e0",
    "1e999",
    "2147483648",
    "9007199254740993",
    '"1"',
    "null",
  ],
  offsets: ["0", "2", "4", "8", "12", "-4", "0.5", "4.0", "1e3", "9007199254740991", "1e308", '"0"', "null", "[0]"],
  notes: ['"v"', '""', "3", "null", "{}", "[]", '"\\ud800"', '"\\u0000"', '"__metadata__"', "true"],
  ends: ["", " ", "\n\t\r  ", "\0", ",", "}", "{}", "\ufeff", "\u00a0"],
};
const lengths = [0n, 1n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n, 100_000_001n];

/** A header that is sound, but for what a few throws of the dice put into it. */
function hostile(rng: Random): Uint8Array {
  const maybe = (list: readonly string[], sound: string) => (rng.integer(12) ? sound : rng.choice(list));
  const parts: string[] = [];
  let at = 0;
  const n = rng.integer(5);
  for (let i = 0; i < n; i++) {
    const size = rng.integer(4);
    const [begin, end] = [at, (at += 4 * size)];
    const shape = rng.integer(3) ? [`${size}`] : size === 1 ? [] : ["1", `${size}`];
    const pairs = [
      `"dtype":${maybe(odd.dtypes, '"F32"')}`,
      `"shape":[${shape.map(s => maybe(odd.sizes, s)).join()}]`,
      `"data_offsets":[${maybe(odd.offsets, `${begin}`)},${maybe(odd.offsets, `${end}`)}]`,
    ];
    if (!rng.integer(9)) rng.shuffle(pairs);
    if (!rng.integer(30)) pairs.splice(rng.integer(3), 1);
    if (!rng.integer(30)) pairs.push(rng.choice(pairs));
    parts.push(`"${maybe(odd.names, `t${i}`)}":${rng.integer(40) ? `{${pairs.join()}}` : rng.choice(odd.notes)}`);
  }
  if (rng.integer(2)) parts.push(`"__metadata__":{"k":${maybe(odd.notes, '"v"')},"${maybe(odd.names, "l")}":"x"}`);
  const text = maybe(odd.ends, "") + `{${parts.join()}}` + maybe(odd.ends, "");
  const length = rng.integer(20) ? undefined : rng.choice(lengths);
  const bytes = file(text, rng.integer(15) ? at : rng.integer(40), length);
  if (!rng.integer(10)) bytes[8 + rng.integer(Math.max(1, bytes.length - 8))] = rng.integer(256);
  return rng.integer(20) ? bytes : bytes.slice(0, rng.integer(bytes.length + 1));
}

interface Told {
  shape: number[];
  data_offsets: [number, number];
}
/** What JSON.parse and a few lines make of a sound file. */
function reference(bytes: Uint8Array): { name: string; shape: number[]; numbers: Uint8Array }[] {
  const start = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start))) as Record<string, Told>;
  return Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(
      ([
        name,
        {
          shape,
          data_offsets: [begin, end],
        },
      ]) => ({
        name,
        shape,
        numbers: bytes.slice(start + begin, start + end),
      }),
    );
}

suite("hostile headers", {
  "10,000 of them meet their own error or are read as JSON.parse reads them; no parameter moves but for those"() {
    const rng = random(12);
    let sound = 0;
    for (let i = 0; i < 10_000; i++) {
      const bytes = hostile(rng);
      let tensors: ReturnType<typeof parse>["tensors"];
      try {
        ({ tensors } = parse(bytes));
      } catch (error) {
        const { message } = error as Error;
        assert.ok(error instanceof RangeError && message.startsWith("safetensors: "), `file ${i}: ${String(error)}`);
        assert.ok(message.length < 300, message);
        continue;
      }
      sound++;
      const wanted = reference(bytes);
      assert.is(tensors.size, wanted.length);
      for (const { name, shape, numbers } of wanted) {
        const got = tensors.get(name)!;
        assert.equal(got.shape, shape, `file ${i}, ${name}`);
        if (got.dtype.includes("F16")) assert.is(got.values.length, numbers.length / 2);
        else assert.equal(new Uint8Array(got.values.buffer), numbers, `file ${i}, ${name}`);
      }
    }
    assert.ok(sound > 1500 && sound < 6500, `${sound} of 10,000 were sound: the fuzzer tests little`);
  },
  "load and loadParams refuse them too, and move neither parameters nor generator"() {
    const rng = random(13);
    const { tape, w, before } = parameters();
    const optimizer = { lr: 1, params: { w }, state: {}, updates: 7, step: () => undefined };
    for (let i = 0; i < 1500; i++) {
      const bytes = hostile(rng);
      for (const call of [() => load({ params: { w }, optimizer }, bytes), () => loadParams({ w }, bytes)])
        assert.match(thrown(RangeError, call), /^(?:safetensors|load|loadParams): ./);
    }
    assert.equal([[...w.values()], optimizer.updates, tape.random.seed, tape.random.position], [before, 7, 5, 0]);
  },
});
