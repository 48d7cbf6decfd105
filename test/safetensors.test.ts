// The safetensors reader and writer: what survives a round trip, which bytes are written, and what is refused with
// which words.
import { parse, serialize } from "farsight";
import * as assert from "uvu/assert";
import { suite, thrown } from "./check.ts";

type Numbers = Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array;
interface Tensor {
  shape: number[];
  values: Numbers;
}

const tensor = (shape: number[], values: Numbers): Tensor => ({ shape, values });
const bytesOf = (values: Numbers) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
const hex = (bytes: Uint8Array) => Array.from(bytes, b => b.toString(16).padStart(2, "0")).join("");
const fromHex = (text: string) => Uint8Array.from(text.replace(/\s/g, "").match(/../g) ?? [], b => parseInt(b, 16));
const utf8 = (text: string) => new TextEncoder().encode(text);

/** A file as the bytes say it, sound or not. `length` lies about the header when given. */
function file(header: string | Uint8Array, data: Uint8Array | number = 0, length?: bigint): Uint8Array {
  const head = typeof header === "string" ? utf8(header) : header;
  const body = typeof data === "number" ? new Uint8Array(data) : data;
  const bytes = new Uint8Array(8 + head.length + body.length);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(head.length), true);
  bytes.set(head, 8);
  bytes.set(body, 8 + head.length);
  return bytes;
}

/** One header entry: `"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}`. */
const entry = (name: string, dtype: string, shape: string, offsets: string) =>
  `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`;
const A = entry("a", "F32", "[1]", "[0,4]");

/** The checksum of a header without it, and of numbers, from what its docstring says of it. */
function sumOf(header: string, data: Uint8Array): string {
  const head = utf8(header);
  const all = [...head, ...new Array<number>((8 - (head.length % 8)) % 8).fill(0x20), ...data];
  let h = 0n;
  for (let i = 0; i + 4 <= all.length; i += 4) {
    const word = BigInt(all[i]! + all[i + 1]! * 2 ** 8 + all[i + 2]! * 2 ** 16 + all[i + 3]! * 2 ** 24);
    h = ((h ^ word) * 0x9e3779b1n) % 2n ** 32n;
    h ^= h >> 15n;
  }
  return h.toString(16).padStart(8, "0");
}

/** Writes, reads, and compares names, shapes and every bit. */
function roundTrip(tensors: Record<string, Tensor> | Map<string, Tensor>, metadata: Record<string, string> = {}): void {
  const back = parse(serialize(tensors, metadata));
  const wanted = tensors instanceof Map ? tensors : new Map(Object.entries(tensors));
  assert.equal([...back.tensors.keys()].sort(), [...wanted.keys()].sort());
  assert.equal(back.metadata, metadata);
  for (const [name, { shape, values }] of wanted) {
    const got = back.tensors.get(name)!;
    assert.equal(got.shape, shape, name);
    assert.is(Object.getPrototypeOf(got.values), Object.getPrototypeOf(values), name);
    assert.is(hex(bytesOf(got.values)), hex(bytesOf(values)), name);
  }
}

suite("safetensors round trip", {
  "keeps each dtype that is written": () =>
    roundTrip(
      {
        f: tensor([2, 3], Float32Array.of(1, -2.5, 3e-40, 3.4e38, -0, 0.1)),
        d: tensor([2], Float64Array.of(Math.PI, 5e-324)),
        i: tensor([3, 1], Int32Array.of(-(2 ** 31), 0, 2 ** 31 - 1)),
        l: tensor([2], BigInt64Array.of(-(2n ** 63n), 2n ** 53n + 1n)),
        u: tensor([5], Uint8Array.of(0, 1, 127, 128, 255)),
      },
      { format: "pt", config: '{"d":64,"text":"\\"quoted\\"\\n"}' },
    ),
  "keeps BOOL as the bytes it is": () => {
    const { dtype, values } = parse(
      file(`{${entry("a", "BOOL", "[3]", "[0,3]")}}`, Uint8Array.of(1, 0, 1)),
    ).tensors.get("a")!;
    assert.equal([dtype, values], ["BOOL", Uint8Array.of(1, 0, 1)]);
    assert.is(parse(serialize({ a: tensor([3], values) })).tensors.get("a")!.dtype, "U8");
  },
  "guards bytes that fill no word": () => {
    for (let n = 1; n < 9; n++) {
      const bytes = serialize({ a: tensor([n], new Uint8Array(n).fill(7)) });
      for (let i = 1; i <= n; i++) {
        const changed = bytes.slice();
        changed[bytes.length - i]! ^= 1;
        assert.match(
          thrown(RangeError, () => parse(changed)),
          /farsight\.checksum does not hold$/,
        );
      }
    }
  },
  "keeps no tensors at all": () => roundTrip({}),
  "keeps metadata without tensors": () => roundTrip({}, { only: "this" }),
  "keeps rank 0": () => roundTrip({ loss: tensor([], Float32Array.of(0.5)) }),
  "keeps empty tensors among full ones": () =>
    roundTrip({
      a: tensor([0], new Float32Array(0)),
      b: tensor([1], Float32Array.of(1)),
      c: tensor([3, 0, 2], new Float32Array(0)),
      d: tensor([1], Float64Array.of(2)),
      e: tensor([0, 2 ** 53 - 1], new Int32Array(0)),
    }),
  "keeps the payload bits of NaN and the sign of infinity": () =>
    roundTrip({
      f: tensor(
        [5],
        new Float32Array(Uint32Array.of(0x7fc00000, 0xffc12345, 0x7f800001, 0x7f800000, 0xff800000).buffer),
      ),
      d: tensor(
        [4],
        new Float64Array(
          BigUint64Array.of(0x7ff8000000000000n, 0xfff8000000abcdefn, 0x7ff0000000000001n, 0xfff0000000000000n).buffer,
        ),
      ),
    }),
  "keeps odd names": () =>
    roundTrip(
      new Map(
        [
          "",
          " ",
          "__proto__",
          "constructor",
          "toString",
          "hasOwnProperty",
          "__metadata",
          "0",
          "10",
          "9",
          "h.0.ln_1.weight",
          "../../etc/passwd",
          'quote"',
          "back\\slash",
          "line\nbreak",
          "nul\0",
          "data_offsets",
          '"data_offsets":[',
          "}",
          "{",
          "größe",
          "重み",
          "🦉",
          "\uffff",
          "\ufeff",
          "\u2028",
        ].map((name, i) => [name, tensor([1], Float32Array.of(i))]),
      ),
    ),
  "keeps a name of a hundred thousand characters": () =>
    roundTrip(new Map([["w".repeat(1e5), tensor([], Float32Array.of(1))]])),
  "keeps odd metadata": () =>
    roundTrip({}, JSON.parse('{"__proto__":"p","constructor":"c","":"","1":"one","🦉":"\\u0000\\n"}')),
  "gives no prototype away to a tensor called __proto__": () => {
    const { tensors } = parse(serialize(new Map([["__proto__", tensor([1], Float32Array.of(1))]])));
    assert.is(Object.getPrototypeOf(tensors), Map.prototype);
    assert.is(({} as Record<string, unknown>)["values"], undefined);
  },
  "writes what it read to the same bytes": () => {
    const bytes = serialize(
      { b: tensor([2], Float32Array.of(1, 2)), a: tensor([1], BigInt64Array.of(3n)) },
      { k: "v" },
    );
    const { tensors, metadata } = parse(bytes);
    assert.is(hex(serialize(tensors, metadata)), hex(bytes));
  },
  "reads a file that lies unaligned inside a larger buffer": () => {
    const bytes = serialize({ a: tensor([2], Float64Array.of(1.5, -2)) });
    for (let shift = 1; shift < 9; shift++) {
      const larger = new Uint8Array(bytes.length + 20).fill(0xee);
      larger.set(bytes, shift);
      assert.equal([...parse(larger.subarray(shift, shift + bytes.length)).tensors.get("a")!.values], [1.5, -2]);
    }
  },
  "writes views that start inside a buffer": () =>
    roundTrip({ a: tensor([2], Float32Array.of(9, 1, 2, 9).subarray(1, 3)) }),
  "shares no memory with the file, even one whose slice does": () => {
    class Pooled extends Uint8Array {
      override slice(from?: number, to?: number) {
        return this.subarray(from, to) as never;
      }
    } // as Node's Buffer
    const bytes = Pooled.from(serialize({ a: tensor([1], Float32Array.of(1)) }));
    const { values } = parse(bytes).tensors.get("a")!;
    bytes.fill(0);
    assert.is(values[0], 1);
    assert.is(values.buffer.byteLength, 4);
  },
  "reads shared memory": () => {
    const bytes = serialize({ a: tensor([1], Float32Array.of(7)) });
    const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
    shared.set(bytes);
    // Node decodes shared memory and browsers refuse it, so this plays a browser.
    const { decode } = TextDecoder.prototype;
    TextDecoder.prototype.decode = function (input, options) {
      if ((input as Uint8Array).buffer instanceof SharedArrayBuffer) throw new TypeError("shared");
      return decode.call(this, input, options);
    };
    try {
      assert.is(parse(shared).tensors.get("a")!.values[0], 7);
    } finally {
      TextDecoder.prototype.decode = decode;
    }
  },
  "turns the bytes round on a big-endian host": () => {
    // Such a host is played by the one question that the library asks about it.
    const of = Uint16Array.of;
    const big = () => new Uint16Array([256]);
    const wanted = hex(
      serialize({ d: tensor([1], Float64Array.of(1)), f: tensor([2], Float32Array.of(1, 2)) }).subarray(-16),
    );
    let written: Uint8Array;
    let read: Numbers;
    try {
      Uint16Array.of = big;
      written = serialize({ d: tensor([1], Float64Array.of(1)), f: tensor([2], Float32Array.of(1, 2)) });
      read = parse(file(`{${entry("i", "I32", "[2]", "[0,8]")}}`, fromHex("00000001 00000002"))).tensors.get(
        "i",
      )!.values;
    } finally {
      Uint16Array.of = of;
    }
    assert.is(wanted, "000000000000f03f" + "0000803f" + "00000040");
    assert.is(hex(written.subarray(-16)), "3ff0000000000000" + "3f800000" + "40000000");
    assert.equal([...read], [1, 2]);
  },
});

suite("safetensors half precision", {
  "widens every float16 to the number it is": () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const got = parse(
      file(`{${entry("a", "F16", "[256,256]", "[0,131072]")}}`, new Uint8Array(all.buffer)),
    ).tensors.get("a")!;
    assert.is(got.dtype, "F16");
    const bits = new Uint32Array(got.values.buffer);
    for (let i = 0; i < 65536; i++) {
      const sign = i & 0x8000 ? -1 : 1;
      const exponent = (i >> 10) & 31;
      const fraction = i & 1023;
      if (exponent === 31 && fraction) {
        if (bits[i] !== (((i & 0x8000) << 16) | 0x7f800000 | (fraction << 13)) >>> 0)
          assert.unreachable(`NaN ${i} has bits ${bits[i]}`);
        continue;
      }
      const want =
        sign *
        (exponent === 31 ? Infinity : exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
      if (!Object.is(got.values[i], want)) assert.unreachable(`${i} is ${got.values[i]}, not ${want}`);
    }
  },
  "widens every bfloat16 to its upper half of a float32": () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const got = parse(file(`{${entry("a", "BF16", "[65536]", "[0,131072]")}}`, new Uint8Array(all.buffer))).tensors.get(
      "a",
    )!;
    assert.is(got.dtype, "BF16");
    assert.instance(got.values, Float32Array);
    const bits = new Uint32Array(got.values.buffer);
    assert.is(
      bits.findIndex((b, i) => b !== i * 65536),
      -1,
    );
  },
  "writes what it widened as F32": () => {
    const { tensors } = parse(file(`{${entry("a", "F16", "[1]", "[0,2]")}}`, fromHex("003c")));
    const again = parse(serialize(tensors)).tensors.get("a")!;
    assert.is(again.dtype, "F32");
    assert.equal([...again.values], [1]);
  },
});

suite("safetensors writing", {
  "writes exactly these bytes": () => {
    const got = serialize(
      new Map<string, Tensor>([
        ["n", tensor([1], Int32Array.of(-2))],
        ["wte", tensor([1, 2], Float32Array.of(1, -2))],
        ["10", tensor([], Float32Array.of(0.5))],
        ["d", tensor([1], Float64Array.of(-1))],
        ["e", tensor([0], new Float64Array(0))],
      ]),
      { format: "pt" },
    );
    const header = (notes: string) =>
      `{"__metadata__":{${notes}"format":"pt"},` +
      '"d":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},' +
      '"e":{"dtype":"F64","shape":[0],"data_offsets":[8,8]},' +
      '"10":{"dtype":"F32","shape":[],"data_offsets":[8,12]},' +
      '"n":{"dtype":"I32","shape":[1],"data_offsets":[12,16]},' +
      '"wte":{"dtype":"F32","shape":[1,2],"data_offsets":[16,24]}}';
    const data = fromHex("000000000000f0bf 0000003f feffffff 0000803f 000000c0");
    const sum = sumOf(header(""), data);
    assert.is(sum, "bb154ae6");
    const summed = header(`"farsight.checksum":"${sum}",`);
    assert.is(summed.length, 337);
    const want = "5801000000000000" + hex(utf8(summed)) + "20202020202020" + hex(data); // 337 + 7 = 344 = 0x158
    assert.is(hex(got), want);
  },
  "writes the smallest file": () => assert.is(hex(serialize({})), "0800000000000000" + "7b7d202020202020"),
  "writes no padding where none is due": () => {
    for (let n = 1; n < 17; n++) {
      const bytes = serialize({ ["x".repeat(n)]: tensor([], Float32Array.of(1)) });
      const size = new DataView(bytes.buffer).getUint32(0, true);
      const spaces = /( *)$/.exec(new TextDecoder().decode(bytes.subarray(8, 8 + size)))![1]!.length;
      assert.is(size % 8, 0);
      assert.ok(spaces < 8, `${spaces} spaces`);
    }
  },
  "writes the same bytes whatever the order and the container": () => {
    const pairs: [string, Tensor][] = [
      ["b", tensor([1], Float32Array.of(1))],
      ["a", tensor([1], Float32Array.of(2))],
      ["c", tensor([1], BigInt64Array.of(3n))],
    ];
    const want = hex(serialize(pairs));
    assert.is(hex(serialize(new Map(pairs))), want);
    assert.is(hex(serialize([...pairs].reverse())), want);
    assert.is(hex(serialize(Object.fromEntries(pairs))), want);
  },
  "refuses a name that comes twice": () => {
    const a = tensor([1], Float32Array.of(1));
    assert.is(
      thrown(RangeError, () =>
        serialize([
          ["h.0.w", a],
          ["b", a],
          ["h.0.w", a],
        ]),
      ),
      "safetensors: h.0.w comes twice",
    );
  },
  "refuses a tensor called __metadata__": () =>
    assert.is(
      thrown(RangeError, () => serialize({ __metadata__: tensor([1], Float32Array.of(1)) })),
      "safetensors: __metadata__ names the metadata, not a tensor",
    ),
  "refuses half a surrogate pair in a name": () =>
    assert.is(
      thrown(RangeError, () => serialize({ "a\ud800": tensor([], Float32Array.of(1)) })),
      'safetensors: the name "a\\ud800" has half a surrogate pair',
    ),
  "refuses half a surrogate pair in metadata": () => {
    assert.match(
      thrown(RangeError, () => serialize({}, { a: "\udc00" })),
      /^safetensors: metadata "a" has half a surrogate pair$/,
    );
    assert.match(
      thrown(RangeError, () => serialize({}, { "\udc00": "a" })),
      /^safetensors: metadata "\\udc00" has half a surrogate pair$/,
    );
  },
  "refuses a shape that does not fit the values": () => {
    assert.is(
      thrown(RangeError, () => serialize({ w: tensor([2, 3], new Float32Array(5)) })),
      "safetensors: w needs 24 bytes for shape [2 3] and has 20",
    );
    assert.is(
      thrown(RangeError, () => serialize({ w: tensor([], new Float32Array(0)) })),
      "safetensors: w needs 4 bytes for shape [] and has 0",
    );
    assert.is(
      thrown(RangeError, () => serialize({ w: tensor([2 ** 32, 2 ** 32], new Float32Array(0)) })),
      "safetensors: w needs 2^64 bytes or more for shape [4294967296 4294967296]",
    );
  },
  "refuses sizes that are none": () => {
    for (const [n, text] of [
      [-1, "-1"],
      [1.5, "1.5"],
      [NaN, "NaN"],
      [Infinity, "Infinity"],
      [2 ** 53, "9007199254740992"],
      ["1", '"1"'],
      [null, "null"],
    ] as [number, string][])
      assert.is(
        thrown(RangeError, () => serialize({ w: tensor([1, n], Float32Array.of(1)) })),
        `safetensors: w has shape [1 ${text}], and ${text} is no size`,
      );
  },
  "refuses values, shapes, names and metadata of the wrong kind": () => {
    const bad = (what: unknown, metadata?: unknown) =>
      thrown(TypeError, () => serialize(what as never, metadata as never));
    assert.is(
      bad({ w: { shape: [1], values: [1] } }),
      "safetensors: w holds [1]\n  wants Float32Array, Float64Array, Int32Array, BigInt64Array or Uint8Array",
    );
    for (const values of [Int8Array.of(1), Uint8ClampedArray.of(1), Uint32Array.of(1), BigUint64Array.of(1n)])
      assert.match(bad({ w: { shape: [1], values } }), new RegExp(`: w holds ${values.constructor.name}\n`));
    assert.match(
      bad({ w: { shape: [1], values: { [Symbol.toStringTag]: "Float32Array" } } }),
      /^safetensors: w holds Float32Array\n {2}wants Float32Array, /,
    );
    assert.match(bad({ w: undefined }), /^safetensors: w holds undefined\n {2}wants Float32Array, .*$/);
    assert.is(bad({ w: { shape: 1, values: Float32Array.of(1) } }), "safetensors: w has shape 1\n  wants an array");
    assert.is(bad(new Map([[1, tensor([1], Float32Array.of(1))]])), "safetensors: a name is a string, not 1");
    assert.is(bad(null), "safetensors: tensors are a Map, pairs or an object, not null");
    assert.is(bad({}, { step: 3 }), "safetensors: metadata step is a string, not 3");
    assert.is(bad({}, new Map()), "safetensors: metadata is a plain object of strings, not Map");
    assert.is(bad({}, null), "safetensors: metadata is a plain object of strings, not null");
  },
});

const deep = "[".repeat(1e5) + "]".repeat(1e5);
const F32 = (shape: string, offsets: string, name = "a") => `{${entry(name, "F32", shape, offsets)}}`;

/** What is wrong, the file, and what the message says of it. */
const hostile: [what: string, bytes: Uint8Array, says: RegExp][] = [
  ["an empty file", new Uint8Array(0), /at least 8 bytes, and this one 0$/],
  ["seven bytes", new Uint8Array(7), /at least 8 bytes, and this one 7$/],
  [
    "a length and nothing else",
    fromHex("0200000000000000"),
    /header takes 2 bytes and the file has 0 after its length$/,
  ],
  ["a header of no bytes", file(""), /header is not JSON: ""$/],
  [
    "a header longer than the file",
    file(`{${A}}`, 4, 59n),
    /header takes 59 bytes and the file has 58 after its length$/,
  ],
  ["a header over the limit", file(`{${A}}`, 4, 100_000_001n), /header takes 100000001 bytes and may have 100000000$/],
  ["a length that doubles round", file(`{${A}}`, 4, 2n ** 53n + 1n), /header takes 9007199254740993 bytes/],
  ["a length of all ones", file(`{${A}}`, 4, 2n ** 64n - 1n), /header takes 18446744073709551615 bytes/],
  ["bytes that are not UTF-8", file(fromHex("7b22ff223a317d")), /header is not UTF-8$/],
  ["half a surrogate pair as bytes", file(fromHex("7b22eda080223a317d")), /header is not UTF-8$/],
  ["a byte order mark", file("\ufeff{}"), /: byte 8: the header is not JSON: "ï»¿\{\}"$/],
  ["a header cut short", file(`{${A}`, 4), /header is not JSON: /],
  ["a header with something after it", file(`{${A}};`, 4), /header is not JSON: /],
  ["NUL as padding", file("{}\0\0"), /: byte 10: the header is not JSON: "\\u0000\\u0000"$/],
  ["a space that JSON has not", file("\u00a0{}"), /header is not JSON: /],
  ["a header that is null", file("null"), /header is an object, not null$/],
  ["a header that is an array", file("[]"), /header is an object, not \[\]$/],
  ["a header that is a string", file('"{}"'), /header is an object, not "\{\}"$/],
  ["a header that is a number", file("12345678"), /header is an object, not 12345678$/],
  ["a hundred thousand brackets", file(deep), /: byte 10: more than 3 levels$/],
  ["an entry that is null", file('{"a":null}'), /: a is an object, not null$/],
  ["an entry that is an array", file('{"a":["F32",[1],[0,4]]}', 4), /: a is an object, not \["F32" Array Array\]$/],
  ["an entry under __proto__ that is a number", file('{"__proto__":1}'), /: __proto__ is an object, not 1$/],
  [
    "an entry without a dtype",
    file('{"a":{"shape":[1],"data_offsets":[0,4]}}', 4),
    /: a has dtype undefined\n {2}wants F32, F64, F16, BF16, I32, I64, U8 or BOOL$/,
  ],
  ["a dtype from the prototype", file(`{${entry("a", "toString", "[1]", "[0,4]")}}`, 4), /: a has dtype "toString"/],
  ["a dtype __proto__", file(`{${entry("a", "__proto__", "[1]", "[0,4]")}}`, 4), /: a has dtype "__proto__"/],
  ["a dtype in lower case", file(`{${entry("a", "f32", "[1]", "[0,4]")}}`, 4), /: a has dtype "f32"/],
  [
    "a dtype that is an array of one",
    file('{"a":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}}', 4),
    /: a has dtype \["F32"\]/,
  ],
  ...["I8", "F8_E5M2", "F8_E4M3", "I16", "U16", "U32", "C64", "U64", "F4"].map(
    (dtype): [string, Uint8Array, RegExp] => [
      `the dtype ${dtype}`,
      file(`{${entry("a", dtype, "[1]", "[0,8]")}}`, 8),
      new RegExp(`: a has dtype "${dtype}"\n  wants F32, F64, `),
    ],
  ),
  [
    "an entry without a shape",
    file('{"a":{"dtype":"F32","data_offsets":[0,4]}}', 4),
    /: a has shape undefined\n {2}wants an array$/,
  ],
  ["a shape that is a number", file(F32("1", "[0,4]"), 4), /: a has shape 1\n {2}wants an array$/],
  [
    "a shape that looks like an array",
    file(F32('{"length":1,"0":1}', "[0,4]"), 4),
    /: a has shape Object\n {2}wants an array$/,
  ],
  ["a negative size", file(F32("[-1,-1]", "[0,4]"), 4), /: a has shape \[-1 -1\], and -1 is no size$/],
  ["a size of minus zero", file(F32("[-0]", "[0,0]")), /is no size$/],
  ["a broken size", file(F32("[0.5,2]", "[0,4]"), 4), /and 0.5 is no size$/],
  ["a size that is text", file(F32('["1"]', "[0,4]"), 4), /and "1" is no size$/],
  ["a size that is an array", file(F32("[[1]]", "[0,4]"), 4), /: byte 37: more than 3 levels$/],
  ["a size beyond 2^53", file(F32("[9007199254740993]", "[0,4]"), 4), /and 9007199254740992 is no size$/],
  ["an infinite size", file(F32("[1e999]", "[0,4]"), 4), /and Infinity is no size$/],
  ["a shape of brackets only", file(F32(deep, "[0,4]"), 4), /: byte 37: more than 3 levels$/],
  [
    "a shape whose product wraps to 4 bytes",
    file(F32("[4294967296,4294967296,1]", "[0,4]"), 4),
    /: a needs 2\^64 bytes or more for shape \[4294967296 4294967296 1\]$/,
  ],
  // 3 * 3002399751580331 * 4 bytes is 2^55 + 4 bar the last bits, which doubles lose.
  [
    "a product that doubles round",
    file(F32("[3,3002399751580331]", "[0,9007199254740991]"), 4),
    /: a needs 36028797018963972 bytes for shape \[3 3002399751580331\] and has 9007199254740991$/,
  ],
  [
    "an overflow that a zero follows",
    file(F32("[9007199254740991,9007199254740991,0]", "[0,0]")),
    /: a needs 2\^64 bytes or more/,
  ],
  [
    "fifty thousand giant sizes",
    file(F32(`[${"9007199254740991,".repeat(5e4)}1]`, "[0,4]"), 4),
    /needs 2\^64 bytes or more for shape \[9007199254740991 .* \.\.\.\]$/,
  ],
  ["a tensor larger than its bytes", file(F32("[2]", "[0,4]"), 4), /: a needs 8 bytes for shape \[2\] and has 4$/],
  ["a tensor smaller than its bytes", file(F32("[1]", "[0,8]"), 8), /: a needs 4 bytes for shape \[1\] and has 8$/],
  ["rank 0 without bytes", file(F32("[]", "[0,0]")), /: a needs 4 bytes for shape \[\] and has 0$/],
  [
    "an entry without offsets",
    file('{"a":{"dtype":"F32","shape":[1]}}', 4),
    /: a has data_offsets undefined\n {2}wants \[begin end\]$/,
  ],
  ["offsets that are a string", file(F32("[1]", '"04"'), 4), /: a has data_offsets "04"\n {2}wants \[begin end\]$/],
  ["one offset", file(F32("[1]", "[4]"), 4), /: a has data_offsets \[4\]\n {2}wants \[begin end\]$/],
  ["three offsets", file(F32("[1]", "[0,4,8]"), 4), /: a has data_offsets \[0 4 8\]\n {2}wants \[begin end\]$/],
  [
    "offsets in the wrong order",
    file(F32("[1]", "[4,0]"), 4),
    /: a has data_offsets \[4 0\]\n {2}wants \[begin end\]$/,
  ],
  ["a negative offset", file(F32("[1]", "[-4,0]"), 4), /: a has data_offsets \[-4 0\]\n {2}wants \[begin end\]$/],
  ["a broken offset", file(F32("[1]", "[0.5,4.5]"), 4), /: a has data_offsets \[0.5 4.5\]\n {2}wants \[begin end\]$/],
  [
    "offsets that are text",
    file(F32("[1]", '["0","4"]'), 4),
    /: a has data_offsets \["0" "4"\]\n {2}wants \[begin end\]$/,
  ],
  ["a file cut short", file(`{${A}}`, 3), /tensors take 4 bytes and the file has 3 after its header$/],
  ["bytes after the last tensor", file(`{${A}}`, 5), /tensors take 4 bytes and the file has 5 after its header$/],
  ["bytes that belong to no tensor at all", file("{}", 1), /tensors take 0 bytes and the file has 1 after its header$/],
  ["a hole at the start", file(F32("[1]", "[4,8]"), 8), /: a begins at 4 and the bytes before it end at 0: a hole$/],
  [
    "a hole in the middle",
    file(`{${A},${entry("b", "F32", "[1]", "[8,12]")}}`, 12),
    /: b begins at 8 and the bytes before it end at 4: a hole$/,
  ],
  [
    "an empty tensor far outside",
    file(`{${A},${entry("b", "F32", "[0]", "[9000000,9000000]")}}`, 4),
    /: b begins at 9000000 and the bytes before it end at 4: a hole$/,
  ],
  [
    "an empty tensor inside another",
    file(`{${entry("b", "F32", "[0]", "[2,2]")},${A}}`, 4),
    /: b begins at 2 and the bytes before it end at 4: an overlap$/,
  ],
  [
    "two tensors in the same bytes",
    file(`{${A},${entry("b", "F32", "[1]", "[0,4]")}}`, 4),
    /: b begins at 0 and the bytes before it end at 4: an overlap$/,
  ],
  [
    "tensors that overlap in part",
    file(`{${entry("a", "F32", "[2]", "[0,8]")},${entry("b", "F32", "[2]", "[4,12]")}}`, 12),
    /: b begins at 4 and the bytes before it end at 8: an overlap$/,
  ],
  [
    "a thousand tensors in the same bytes",
    file(`{${Array.from({ length: 1000 }, (_, i) => entry(`t${i}`, "F32", "[1024]", "[0,4096]")).join(",")}}`, 4096),
    /: t1 begins at 0 .* an overlap$/,
  ],
  [
    "twins in different bytes",
    file(`{${A},${entry("a", "F32", "[1]", "[4,8]")}}`, 8),
    /: a comes twice in one object of the header$/,
  ],
  ["twins in the same bytes", file(`{${A},${entry("a", "I32", "[1]", "[0,4]")}}`, 4), /: a comes twice/],
  [
    "empty twins",
    file(`{${entry("a", "F32", "[0]", "[0,0]")},${entry("a", "I32", "[0,5]", "[0,0]")}}`),
    /: a comes twice/,
  ],
  [
    "twins spelled differently",
    file(`{${A},"\\u0061":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}`, 4),
    /: a comes twice/,
  ],
  [
    "twins whose offsets are spelled differently",
    file(`{${A},"a":{"dtype":"I32","shape":[1],"data\\u005foffsets":[0,4]}}`, 4),
    /: a comes twice/,
  ],
  ["a twin that is no tensor", file(`{${A},"a":1}`, 4), /: byte 62: a comes twice/],
  [
    "twins called __proto__",
    file(`{${entry("__proto__", "F32", "[0]", "[0,0]")},${entry("__proto__", "F32", "[1]", "[0,4]")}}`, 4),
    /: __proto__ comes twice/,
  ],
  [
    "two dtypes in one entry",
    file('{"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4],"dtype" \n:"F32"}}', 4),
    /: dtype comes twice/,
  ],
  ["two __metadata__", file(`{"__metadata__":{"a":"b"},${A},"__metadata__":{}}`, 4), /: __metadata__ comes twice/],
  ["twins inside __metadata__", file('{"__metadata__":{"k\\"":"1","k\\"":"2"}}'), /: "k\\"" comes twice/],
  ["metadata that is a number", file('{"__metadata__":{"step":3}}'), /: metadata step is a string, not 3$/],
  [
    "metadata that is an object",
    file('{"__metadata__":{"config":{"d":1}}}'),
    /: metadata config is a string, not Object$/,
  ],
  ["metadata that is null", file('{"__metadata__":null}'), /: byte 24: __metadata__ is an object, not null$/],
  ["metadata that is an array", file('{"__metadata__":["a"]}'), /: byte 24: __metadata__ is an object, not \["a"\]$/],
  [
    "a tensor called __metadata__",
    file(`{${entry("__metadata__", "F32", "[1]", "[0,4]")}}`, 4),
    /: metadata shape is a string, not \[1\]$/,
  ],
  [
    "half a surrogate pair in a name",
    file('{"\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4),
    /the name "\\ud800" has half a surrogate pair$/,
  ],
  [
    "half a surrogate pair in a metadata key",
    file('{"__metadata__":{"\\udc00":"a"}}'),
    /: metadata "\\udc00" has half a surrogate pair$/,
  ],
  [
    "half a surrogate pair in a metadata value",
    file('{"__metadata__":{"k":"\\ud83e"}}'),
    /: metadata "k" has half a surrogate pair$/,
  ],
  [
    "a name of a megabyte",
    file(F32("[2]", "[0,4]", "x".repeat(1e6)), 4),
    /^safetensors: "x{60}\.\.\." needs 8 bytes for shape \[2\] and has 4$/,
  ],
  [
    "a name with a line break",
    file(F32("[2]", "[0,4]", "a\nb\u001b[31m"), 4),
    /^safetensors: "a\\nb\\u001b\[31m" needs 8 bytes/,
  ],
];

suite(
  "safetensors refuses",
  Object.fromEntries(
    hostile.map(([what, bytes, says]) => [
      what,
      () => {
        const message = thrown(RangeError, () => parse(bytes));
        assert.match(message, /^safetensors: ./);
        assert.match(message, says);
        assert.ok(message.length < 400, `a message of ${message.length} characters`);
      },
    ]),
  ),
);

suite("safetensors wrong kinds", {
  "says what a file is when given something else": () => {
    const given: [unknown, string][] = [
      [undefined, "undefined"],
      [null, "null"],
      ["{}", '"{}"'],
      [new ArrayBuffer(8), "ArrayBuffer"],
      [new DataView(new ArrayBuffer(8)), "DataView"],
      [new Int8Array(8), "Int8Array"],
      [new Uint8ClampedArray(8), "Uint8ClampedArray"],
      [[0], "[0]"],
      [{ [Symbol.toStringTag]: "Uint8Array" }, "Uint8Array"],
    ];
    for (const [what, name] of given)
      assert.is(
        thrown(TypeError, () => parse(what as never)),
        `safetensors: a file is a Uint8Array, not ${name}`,
      );
  },
});

const reads = (bytes: Uint8Array, names: string[]) => {
  const { tensors, metadata } = parse(bytes);
  assert.equal([...tensors.keys()], names);
  return { tensors, metadata };
};
const B = entry("b", "F32", "[1]", "[4,8]");

suite("safetensors accepts", {
  "white space before the header": () => reads(file(` \t\r\n{${A}}`, 4), ["a"]),
  "white space after the header, and inside it": () =>
    reads(file(`{\n "a" : {"dtype"\t:"F32" , "shape": [ 1 ],\r\n"data_offsets": [0, 4] } } \n\t`, 4), ["a"]),
  "a page of spaces": () => reads(file(`${" ".repeat(4096)}{${A}}${" ".repeat(4096)}`, 4), ["a"]),
  "a header whose length is no multiple of 8": () => {
    for (let n = 0; n < 8; n++) reads(file(`{${A}}${" ".repeat(n)}`, 4), ["a"]);
  },
  "an order in the header that is not that of the bytes": () => {
    const { tensors } = reads(file(`{${B},${A}}`, fromHex("0000803f 00000040")), ["a", "b"]);
    assert.is(tensors.get("a")!.values[0], 1);
    assert.is(tensors.get("b")!.values[0], 2);
  },
  "keys of an entry in any order, spelled with escapes": () =>
    reads(file('{"\\u0061":{"data\\u005foffsets":[0,4],"shape":[1],"dtype":"\\u004632"}}', 4), ["a"]),
  "keys of an entry that it does not know": () =>
    reads(file('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"note":[1,"x"],"more":{"x":1}}}', 4), ["a"]),
  "no metadata": () => assert.equal(reads(file(`{${A}}`, 4), ["a"]).metadata, {}),
  "empty metadata": () => assert.equal(reads(file(`{"__metadata__":{},${A}}`, 4), ["a"]).metadata, {}),
  "metadata after the tensors": () =>
    assert.equal(reads(file(`{${A},"__metadata__":{"k":"v"}}`, 4), ["a"]).metadata, { k: "v" }),
  "metadata that talks like a header": () =>
    assert.equal(reads(file(`{"__metadata__":{"k":${JSON.stringify(`{${A}}`)}},${A}}`, 4), ["a"]).metadata, {
      k: `{${A}}`,
    }),
  "one key in two entries and in the metadata": () =>
    reads(file(`{"__metadata__":{"a":"","dtype":"a"},${A},${B}}`, 8), ["a", "b"]),
  "no tensors": () => reads(file("{}"), []),
  "the empty name": () => reads(file(F32("[1]", "[0,4]", ""), 4), [""]),
  "empty tensors at the start, between and at the end": () =>
    reads(
      file(
        `{${entry("z", "F64", "[0]", "[8,8]")},${B},${entry("y", "F32", "[2,0]", "[4,4]")},` +
          `${A},${entry("x", "I64", "[0]", "[0,0]")}}`,
        8,
      ),
      ["x", "a", "y", "b", "z"],
    ),
  "sizes spelled as floats, which JSON.parse cannot tell apart": () =>
    assert.equal(reads(file(F32("[1.0,1e0]", "[0.0,4]"), 4), ["a"]).tensors.get("a")!.shape, [1, 1]),
  "a zero before giant sizes": () => reads(file(F32("[0,9007199254740991,9007199254740991]", "[0,0]")), ["a"]),
  "tensors that start off their own alignment": () => {
    const { tensors } = reads(
      file(
        `{${entry("a", "F16", "[1]", "[0,2]")},${entry("b", "F64", "[1]", "[2,10]")}}`,
        fromHex("003c 000000000000f03f"),
      ),
      ["a", "b"],
    );
    assert.is(tensors.get("b")!.values[0], 1);
  },
});

suite("safetensors mutants", {
  "meets 20,000 of them with a sound result or its own RangeError": () => {
    let state = 20240601;
    const below = (n: number) => Math.floor(((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32) * n);
    const sound = serialize(
      {
        "h.0.w": tensor([2, 3], Float32Array.of(1, 2, 3, 4, 5, 6)),
        __proto__x: tensor([], Float64Array.of(1)),
        empty: tensor([0, 4], new Int32Array(0)),
        ids: tensor([3], Int32Array.of(1, 2, 3)),
        größe: tensor([1], BigInt64Array.of(5n)),
      },
      { format: "pt", note: 'a "quoted" {note}' },
    );
    const head = 8 + new DataView(sound.buffer).getUint32(0, true);
    const bits = [
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      '"',
      "\\",
      "0",
      "9",
      "-",
      "e9",
      "1.5",
      " ",
      "null",
      "\\u0061",
      '"a":',
      '"dtype":"F16"',
      "9007199254740991",
      "__proto__",
      "F32",
      "I64",
      "\0",
      "\ufeff",
    ].map(utf8);
    let refused = 0;
    for (let i = 0; i < 20_000; i++) {
      let mutant = [...sound];
      for (let edits = 1 + below(3); edits > 0; edits--) {
        // Mostly in the header, where one byte more or less usually needs a corrected length to get past the first
        // check.
        const at = below(4) === 0 ? below(mutant.length) : 8 + below(head - 8);
        const kind = below(6);
        const piece = bits[below(bits.length)]!;
        if (kind === 0) mutant[at]! ^= 1 << below(8);
        else if (kind === 1) mutant[at] = below(256);
        else if (kind === 2) mutant.splice(at, piece.length, ...piece);
        else if (kind === 3) mutant.splice(at, 0, ...piece);
        else if (kind === 4) mutant.splice(at, 1 + below(8));
        else
          mutant =
            below(8) === 0
              ? mutant.slice(0, at)
              : [...mutant.slice(0, at), ...mutant.slice(below(mutant.length))].slice(0, 2000);
      }
      const bytes = Uint8Array.from(mutant);
      const shift = bytes.length - sound.length;
      if (below(2) && bytes.length >= 8)
        new DataView(bytes.buffer).setBigUint64(0, BigInt(Math.max(0, head - 8 + shift)), true);
      let result: ReturnType<typeof parse>;
      try {
        result = parse(bytes);
      } catch (error) {
        if (!(error instanceof RangeError) || !error.message.startsWith("safetensors: "))
          throw new Error(`mutant ${i} threw ${String(error)}`);
        refused++;
        continue;
      }
      let held = 0;
      for (const [name, { dtype, shape, values }] of result.tensors) {
        held += values.byteLength / (dtype === "F16" || dtype === "BF16" ? 2 : 1);
        assert.is(
          shape.reduce((a, b) => a * b, 1),
          values.length,
          `mutant ${i}, ${name}`,
        );
      }
      assert.ok(held <= bytes.length, `mutant ${i} of ${bytes.length} bytes gave ${held}`);
      assert.ok(
        Object.values(result.metadata).every(v => typeof v === "string"),
        `mutant ${i} gave metadata that is not text`,
      );
    }
    assert.ok(refused > 10_000 && refused < 19_900, `${refused} of 20,000 refused: the mutants test little`);
  },
});
