// The fused kernel against attention composed from small operations, over every kind of position, both ways of looking,
// padding and odd sizes; and what it must refuse.
import * as assert from "uvu/assert";
import {
  Tape,
  add,
  attention,
  attentionOver,
  interpolate,
  kinds,
  linear,
  mul,
  positions,
  random,
  reshape,
  slice,
  sum,
  type AttentionOptions,
  type Random,
  type Tensor,
} from "farsight";
import { close, suite, thrown } from "./check.ts";

/** Attention's operation over separate tensors b t h d, with gate queries and keys of their own. */
function over(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  more: { e?: Tensor; gq?: Tensor; gk?: Tensor; own?: boolean; causal?: boolean },
) {
  const [, , h, d] = q.shape as [number, number, number, number];
  const rows = (x: Tensor) => reshape(x, [x.shape[0]!, x.shape[1]!, h * d]);
  const { e, gq, gk, ...options } = more;
  const all = { h, g: h, d, scale: 1 / Math.sqrt(d), ...options };
  return attentionOver({ q: rows(q), k: rows(k), v: rows(v), table: e, gq: gq && rows(gq), gk: gk && rows(gk) }, all);
}

type Sizes = { b: number; h: number; t: number; s: number; d: number };
type Way = AttentionOptions & { pastless?: boolean };

/** Drawn queries, keys, values, gate keys and tables, and with `own` the past of keys, values and gate keys. */
function drawn(tape: Tape, rng: Random, { b, h, t, s, d }: Sizes, more: Way) {
  const draw = (...shape: number[]): Tensor =>
    tape.param(
      shape,
      Float64Array.from({ length: shape.reduce((a, n) => a * n, 1) }, () => rng.normal()),
    );
  const q = draw(b, t, h, d);
  const k = draw(b, s, h, d);
  const v = draw(b, s, h, d);
  const gateKeys = draw(b, s, h, d);
  const tables = { cope: draw(4, d), relative: draw(3, d) };
  if (!more.own || more.pastless) return { q, k, v, gateKeys, tables };
  const past = { k: draw(b, s, h, d), v: draw(b, s, h, d), gateKeys: draw(b, s, h, d) };
  past.k.values().set(k.values());
  past.v.values().set(v.values());
  past.gateKeys.values().set(gateKeys.values());
  return { q, k, v, gateKeys, tables, past };
}

/** Padding, a mask and edges, where `more` asks for them. */
function masks(tape: Tape, { b, t, s }: Sizes, more: Way) {
  const table = (asked: unknown, rows: number, value: (i: number) => number): Tensor | undefined =>
    asked
      ? tape.tensor(
          [rows, s],
          Float64Array.from({ length: rows * s }, (_, i) => value(i)),
        )
      : undefined;
  return {
    keys: table(more.keys, b, i => (i % 5 === 3 ? 0 : 1)),
    allowed: table(more.allowed, t, i => (i % 7 === 2 ? 0 : 1)),
    edges: table(more.edges, t, i => (i % 4) / 3),
  };
}

/**
 * Runs attention and its gradients; returns the result and the gradients of q, k, v, gate keys and the tables. With
 * `step` in a step, over gradients that hold NaN: what it has to write there it may not add to.
 */
function run(
  position: (typeof kinds)[number],
  sizes: Sizes,
  more: Way,
  gates: "shared" | "sep" | "val",
  composed: boolean,
  step = false,
): Float64Array[] {
  const tape = new Tape("f64");
  const rng = random(4);
  const { q, k, v, gateKeys, tables, past } = drawn(tape, rng, sizes, more);
  const { pastless, ...given } = more;
  const seen = masks(tape, sizes, more);
  const options = { ...given, ...(past && { past }), ...seen, position, tables, gateKeys, cope: { gates }, composed };
  const u = Float64Array.from({ length: q.size }, () => rng.normal());
  let y!: ArrayLike<number>;
  if (step) {
    for (const p of tape.params) p.gradient().fill(NaN);
    tape.step(() => {
      const x = attention(q, k, v, options);
      y = x.values().slice();
      return sum(mul(x, tape.tensor(x.shape, u)));
    });
  } else {
    const x = attention(q, k, v, options);
    tape.backward(x, u);
    y = x.values();
  }
  const inputs = [q, k, v, gateKeys, tables.cope, tables.relative, ...Object.values(past ?? {})];
  return [y, ...inputs.map(x => x.gradient())].map(x => Float64Array.from(x));
}

const some = {} as Tensor; // stands for a mask, which `run` makes
const ways: Record<string, AttentionOptions> = {
  causal: {},
  "both ways": { causal: false },
  "causal with padding": { keys: some },
  "both ways with padding": { causal: false, keys: some },
  "a mask of its own": { allowed: some },
  "own place only": { own: true },
};
for (const [way, more] of Object.entries(ways)) {
  const tests: Record<string, () => void> = {};
  for (const position of kinds)
    tests[`${position}: gives what the small operations give, gradients too`] = () => {
      for (const gates of position.startsWith("cope") ? (["shared", "sep", "val"] as const) : (["shared"] as const))
        for (const sizes of [
          { b: 2, h: 3, t: 7, s: 7, d: 4 },
          { b: 1, h: 2, t: 3, s: 11, d: 6 },
          { b: 1, h: 1, t: 37, s: 37, d: 8 },
        ]) {
          const fused = run(position, sizes, more, gates, false);
          const composed = run(position, sizes, more, gates, true);
          fused.forEach((values, i) =>
            close(values, composed[i]!, 1e-12, `${gates} ${JSON.stringify(sizes)} ${i}`, 0.1),
          );
        }
    };
  suite(`fused attention, ${way}`, tests);
}

const written: Record<string, Way> = {
  ...ways,
  "edges of any weight": { edges: some },
  "both ways, edges of any weight": { causal: false, edges: some },
  "own place, and no past": { own: true, pastless: true },
};
suite(
  "fused attention in a step",
  Object.fromEntries(
    Object.entries(written).map(([way, more]) => [
      `${way}: gradients are those of backward, whatever lay there before`,
      () => {
        for (const position of kinds)
          for (const gates of position.startsWith("cope") ? (["shared", "sep", "val"] as const) : (["shared"] as const))
            for (const sizes of [
              { b: 2, h: 3, t: 7, s: 7, d: 4 },
              { b: 1, h: 2, t: 3, s: 11, d: 6 },
              { b: 1, h: 1, t: 37, s: 37, d: 8 },
            ]) {
              const added = run(position, sizes, more, gates, false);
              const stepped = run(position, sizes, more, gates, false, true);
              stepped.forEach((values, i) =>
                close(values, added[i]!, 0, `${position} ${gates} ${JSON.stringify(sizes)} ${i}`),
              );
            }
      },
    ]),
  ),
);

suite("fused attention", {
  "adds up what one tensor gets as query, key and value, and leaves columns that nobody read at zero"() {
    const rng = random(6);
    const draw = (n: number): Float64Array => Float64Array.from({ length: n }, () => rng.normal());
    const values = draw(2 * 9 * 8);
    const weights = draw(32 * 8);
    for (const causal of [true, false]) {
      const results = [
        [true, false],
        [false, false],
        [false, true],
      ].map(([composed, step]) => {
        const tape = new Tape("f64");
        const x = tape.param([2, 9, 8], values);
        const w = tape.tensor([32, 8], weights);
        const loss = (): Tensor => {
          // Columns 24 to 31 of the projection stay unread.
          const all = linear(x, w);
          const part = (i: number): Tensor =>
            composed
              ? reshape(linear(x, tape.tensor([8, 8], weights.slice(64 * i, 64 * i + 64))), [2, 9, 2, 4])
              : reshape(slice(all, 8 * i, 8 * i + 8), [2, 9, 2, 4]);
          const one = attention(part(0), part(1), part(2), { causal, composed: composed! });
          const whole = reshape(linear(x, w), [2, 9, 8, 4]);
          const two = attention(whole, whole, whole, { causal, composed: composed! });
          return add(sum(mul(one, one)), sum(mul(two, two)));
        };
        tape.scope(() => tape.tensor([100_000]).values().fill(NaN)); // what is claimed from here on holds NaN
        if (step) tape.step(loss);
        else tape.scope(() => tape.backward(loss()));
        return Float64Array.from(x.gradient());
      });
      for (const other of results.slice(1)) close(other, results[0]!, 1e-12, "", 0.1);
    }
  },
  "reads the keys as gate keys where only gate queries are given"() {
    const all = [0, NaN].map(dirt => {
      const tape = new Tape("f64");
      const rng = random(2);
      const draw = (...shape: number[]) =>
        tape.param(
          shape,
          Float64Array.from({ length: shape.reduce((a, n) => a * n, 1) }, () => rng.normal()),
        );
      const [q, k, v, e, gq] = [draw(1, 9, 2, 4), draw(1, 9, 2, 4), draw(1, 9, 2, 4), draw(3, 4), draw(1, 9, 2, 4)];
      tape.scope(() => tape.tensor([200_000]).values().fill(dirt));
      const y = over(q, k, v, { e, gq });
      const both = over(q, k, v, { e, gq, gk: k });
      tape.backward(y, new Float64Array(y.size).fill(1));
      return {
        y: Float64Array.from(y.values()),
        both: Float64Array.from(both.values()),
        dk: Float64Array.from(k.gradient()),
      };
    });
    for (const { y, both, dk } of all) {
      close(y, both, 0);
      close(y, all[0]!.y, 0);
      close(dk, all[0]!.dk, 0);
    }
  },
  "refuses more queries than keys where places matter, and tables without rows"() {
    const tape = new Tape("f64");
    const make = (t: number) => tape.param([1, t, 1, 4]);
    const two = make(2);
    const three = make(3);
    assert.match(
      thrown(RangeError, () => over(three, two, two, {})),
      /^attention: 3 queries are more than 2 keys\n/,
    );
    assert.match(
      thrown(RangeError, () => over(three, two, two, { causal: false, own: true })),
      /3 queries are more than 2 keys/,
    );
    assert.match(
      thrown(RangeError, () => attention(three, two, two, { composed: true })),
      /^attention: 3 queries and 2 keys\n/,
    );
    assert.match(
      thrown(RangeError, () => over(two, two, two, { e: tape.param([0, 4]) })),
      /^attention: a table of positions has no rows\n/,
    );
    assert.match(
      thrown(RangeError, () => interpolate(tape.param([2, 0]), tape.param([2, 3]))),
      /^interpolate: p is 0; wants at least one position\n/,
    );
  },
  "lets a bad number through as NaN, and does not trap"() {
    for (const bad of [NaN, Infinity, -Infinity]) {
      const tape = new Tape("f32");
      const values = new Float32Array(36).fill(0.5);
      const q = tape.param(
        [1, 9, 1, 4],
        values.map((x, i) => (i === 8 ? bad : x)),
      );
      const k = tape.param([1, 9, 1, 4], values);
      const y = over(q, k, k, { e: tape.param([3, 4], new Float32Array(12).fill(0.1)) });
      tape.backward(y, new Float32Array(36).fill(1));
      assert.equal(
        Array.from(y.values().slice(0, 12), Number.isNaN),
        [false, false, false, false, false, false, false, false, true, true, true, true],
        String(bad),
      );
    }
  },
});

const roles = ["q", "k", "v", "gateKeys", "past k", "past v", "past gateKeys"] as const;
/**
 * The gradients of attention whose tensors are those that `which` names for its roles, added up by name; `apart`: with
 * equal numbers in a tensor for each role. In a step, over NaN: what is to be written may not be added.
 */
function sharing(which: readonly number[], more: AttentionOptions, edges: boolean, apart: boolean): Float64Array[] {
  const tape = new Tape("f64");
  const rng = random(9);
  const [b, t, h, d] = [2, 37, 2, 4]; // more than two groups of panels
  const normal = (n: number): Float64Array => Float64Array.from({ length: n }, () => rng.normal());
  const numbers = roles.map(() => normal(b * t * h * d));
  const table = tape.param([6, d], normal(6 * d));
  const toll = tape.tensor([b, t, h, d], normal(b * t * h * d));
  const weighed = edges
    ? tape.tensor(
        [t, t],
        Float64Array.from({ length: t * t }, () => rng.uniform()),
      )
    : undefined;
  const made = new Map<string, Tensor>();
  const [q, k, v, gateKeys, pastK, pastV, pastG] = roles.map((role, i) => {
    const name = apart ? `${which[i]} ${role}` : `${which[i]}`;
    if (!made.has(name)) made.set(name, tape.param([b, t, h, d], numbers[which[i]!]));
    return made.get(name)!;
  }) as [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor];
  for (const p of [...made.values(), table]) p.gradient().fill(NaN);
  const past = { k: pastK, v: pastV, ...(more.cope?.gates === "sep" && { gateKeys: pastG }) };
  const options = { ...more, edges: weighed, tables: { cope: table }, gateKeys };
  const y = () => attention(q, k, v, { ...options, past: edges || more.own ? past : undefined });
  tape.step(() => sum(mul(y(), toll)));
  const sums = roles.map(() => new Float64Array(b * t * h * d));
  for (const [name, x] of made) x.gradient().forEach((g, i) => (sums[Number.parseInt(name)]![i]! += g));
  return [...sums, Float64Array.from(table.gradient())];
}
suite(
  "one tensor in several of attention's roles gets the sum of their gradients",
  Object.fromEntries(
    (["all", "edges", "own"] as const).flatMap(way =>
      [true, false].map(causal => [
        `${causal ? "causal" : "open"}, ${way}`,
        () => {
          const rng = random(causal ? 1 : 2).fork(way);
          for (const position of ["cope", ["rope", "cope"]] as const)
            for (const gates of ["shared", "sep", "val"] as const)
              for (let round = 0; round < 6; round++) {
                const which = roles.map(() => rng.integer(round < 3 ? 4 : 2));
                const more = { position, causal, own: way === "own", cope: { gates } };
                const got = sharing(which, more, way === "edges", false);
                const want = sharing(which, more, way === "edges", true);
                const what = `${String(position)} ${gates} ${which}`;
                got.forEach((values, i) => close(values, want[i]!, 1e-10, `${what}, ${i}`, 1));
              }
        },
      ]),
    ),
  ),
);

suite("attentionOver", {
  "refuses columns beyond its rows, whichever source they are of"() {
    const tape = new Tape("f64");
    const x = (n: number): Tensor => tape.tensor([1, 2, n]);
    const table = tape.tensor([3, 4]);
    const sizes = { h: 2, g: 2, d: 4 };
    const all = attentionOver({ q: x(24) }, { ...sizes, kAt: 8, vAt: 16 });
    assert.equal(all.shape, [1, 2, 8]);
    const wrong: [RegExp, () => unknown][] = [
      [
        /rows of q have 7 numbers, and by h, g, d and columns 8 are read/,
        () => attentionOver({ q: x(7), k: x(8) }, sizes),
      ],
      [/rows of k have 24 numbers, .* 25 are read/, () => attentionOver({ q: x(24) }, { ...sizes, kAt: 17 })],
      [/rows of v have 24 numbers, .* 25 are read/, () => attentionOver({ q: x(24) }, { ...sizes, kAt: 8, vAt: 17 })],
      [/rows of v have 7 numbers/, () => attentionOver({ q: x(8), k: x(8), v: x(7) }, sizes)],
      [/rows of gq have 7/, () => attentionOver({ q: x(8), k: x(8), v: x(8), table, gq: x(7) }, sizes)],
      [/rows of gk have 7/, () => attentionOver({ q: x(8), k: x(8), v: x(8), table, gq: x(8), gk: x(7) }, sizes)],
      [/kAt is -1/, () => attentionOver({ q: x(24) }, { ...sizes, kAt: -1 })],
      [/h is 0/, () => attentionOver({ q: x(24) }, { ...sizes, h: 0 })],
    ];
    for (const [words, call] of wrong) assert.match(thrown(RangeError, call), words);
    const past = () => attentionOver({ q: x(8), k: x(8), v: x(8), pk: x(7) }, sizes);
    assert.match(thrown(RangeError, past), /rows of pk have 7/);
    const logits = () => attentionOver({ q: x(8), k: x(8), table, gk: x(1) }, { ...sizes, gates: "tokens" });
    assert.match(thrown(RangeError, logits), /rows of gk have 1 numbers, .* 2 are read/);
    const none = () => attentionOver({ q: x(8), k: x(8), table }, { ...sizes, gates: "tokens" });
    assert.match(thrown(RangeError, none), /gates of tokens without gk/);
    const tables = () => attentionOver({ q: x(8), k: x(8), table }, { ...sizes, perHead: true });
    assert.match(thrown(RangeError, tables), /3 rows of a table for each of 2 heads/);
    const documents = tape.integers([1, 3], [0, 0, 0]);
    assert.match(
      thrown(RangeError, () => attentionOver({ q: x(8), k: x(8), documents }, sizes)),
      /documents of 3 places, 2 queries and 2 keys/,
    );
    const later = { q: tape.tensor([1, 3, 8]), k: x(8), documents: tape.integers([1, 2], [0, 0]) };
    assert.match(
      thrown(RangeError, () => attentionOver(later, { ...sizes, causal: false })),
      /documents of 2 places, 3 queries and 2 keys/,
    );
    assert.match(
      thrown(RangeError, () => attentionOver({ q: x(8), key: x(8) } as never, sizes)),
      /^attention: unknown option key\n {2}wants q, k, v, /,
    );
  },
});

suite("attention, fused and composed, refuses", {
  "keys, values, pasts and gate keys that are not b s g d, and a head's table of another width"() {
    const tape = new Tape("f64");
    const x = (...shape: number[]): Tensor => tape.tensor(shape);
    const [q, k] = [x(1, 3, 4, 4), x(1, 3, 2, 4)];
    const sep = { position: "cope", cope: { gates: "sep" }, tables: { cope: x(3, 4) } } as const;
    const token = { ...sep, cope: { gates: "token" } } as const;
    const wrong: [RegExp, (composed: boolean) => unknown][] = [
      [
        /^attention: k is \[1 3 2 8\]\n {2}wants \[b s g d\] of \[1 3 2 4\]$/,
        composed => attention(q, x(1, 3, 2, 8), k, { composed }),
      ],
      [/^attention: v is \[1 3 4 4\]/, composed => attention(q, k, q, { composed })],
      [/^attention: v is \[1 3 2 8\]/, composed => attention(q, k, x(1, 3, 2, 8), { composed })],
      [
        /^attention: past.k is \[1 3 4 4\]/,
        composed => attention(q, k, k, { composed, own: true, past: { k: q, v: k } }),
      ],
      [
        /^attention: past.v is \[1 4 2 4\]/,
        composed => attention(q, k, k, { composed, own: true, past: { k, v: x(1, 4, 2, 4) } }),
      ],
      [
        /^attention: gateKeys is \[1 3 4 4\]\n {2}wants \[b s g d\] of \[1 3 2 4\]$/,
        composed => attention(q, k, k, { composed, ...sep, gateKeys: q }),
      ],
      [
        /^attention: gateKeys is \[1 3 4\]\n {2}wants \[b s g\] of \[1 3 2 4\]$/,
        composed => attention(q, k, k, { composed, ...token, gateKeys: x(1, 3, 4) }),
      ],
      [
        /^attention: gateKeys is \[1 3 4\]/,
        composed =>
          attention(q, k, k, {
            composed,
            ...token,
            gateKeys: x(1, 3, 2),
            own: true,
            past: { k, v: k, gateKeys: x(1, 3, 4) },
          }),
      ],
      [
        /4 and 8|8 and 4/,
        composed =>
          attention(q, k, k, { composed, position: "cope", cope: { table: "head" }, tables: { cope: x(4, 3, 8) } }),
      ],
    ];
    for (const [words, call] of wrong)
      for (const composed of [false, true])
        assert.match(
          thrown(RangeError, () => call(composed)),
          words,
        );
  },
  "documents that are not integers from 0, one a key, and masks of another number of sequences"() {
    const tape = new Tape("f64");
    const q = tape.tensor([2, 3, 1, 4]);
    const by =
      (composed: boolean, documents: Tensor, rows = q) =>
      () =>
        attention(rows, q, q, { composed, documents, causal: false });
    for (const composed of [false, true]) {
      thrown(composed ? RangeError : TypeError, by(composed, tape.tensor([2, 3])));
      for (const list of [
        [0, 0, -1, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0],
      ])
        thrown(RangeError, by(composed, tape.integers([list.length === 3 ? 1 : 2, list.length === 4 ? 2 : 3], list)));
      thrown(RangeError, by(composed, tape.integers([2, 3], [0, 0, 0, 0, 0, 0]), tape.tensor([2, 4, 1, 4])));
    }
    const one = { allowed: tape.tensor([1, 3, 3]) };
    assert.match(
      thrown(RangeError, () => positions(tape.tensor([2, 1, 3, 3]), one)),
      /^attention: allowed is \[1 3 3\]\n {2}wants 2 sequences$/,
    );
  },
});

suite("room", {
  "for gradients of tables is claimed by backward passes alone"() {
    const bytes = [false, true].map(back => {
      const tape = new Tape("f32");
      const [q, table] = [tape.param([32, 2, 4, 16]), tape.param([4, 512, 16])];
      const run = () => sum(attention(q, q, q, { position: "cope", cope: { table: "head" }, tables: { cope: table } }));
      if (back) tape.step(run);
      else tape.noGrad(run);
      return tape.bytes;
    });
    const each = 32 * 4 * 512 * 16 * 4; // a table for each head of each sequence
    assert.ok(bytes[0]! < each && bytes[1]! > each, bytes.join(" and "));
  },
});
