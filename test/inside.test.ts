// inside.test.ts: looking into CoPE: gates, positions, attention by position alone, how far heads go into their tables,
// and the warning about positions that training never used.
import * as assert from "uvu/assert";
import {
  Tape,
  adam,
  adamw,
  clipNorm,
  layer,
  leaves,
  load,
  rmt,
  rmtEncoder,
  rowsUsed,
  save,
  sgd,
  transformer,
  type GatePositions,
  type Dtype,
  type HeadRows,
  type How,
  type Inside,
  type Optimizer,
  type Tensor,
  type TransformerOptions,
  type TransformerWeights,
} from "farsight";
import { close, suite, thrown } from "./check.ts";
import { constant, made, rows, same, small, stir } from "./stirred.ts";

const [B, T, H] = [2, 6, 4];
const dtypes = ["f32", "f64"] as const;
const OPEN = 60; // sigmoid(60) is 1 in either precision
const SHUT = -1000; // and sigmoid(-1000) is 0

/** A small model with CoPE, and tokens for it. */
function gated(more: TransformerOptions = {}, dtype: Dtype = "f64") {
  const it = made({ position: "cope", ...more }, new Tape(dtype));
  return { ...it, tokens: it.tape.integers([B, T], rows(B, T, 7, 2).flat()) };
}
type Gated = ReturnType<typeof gated>;
/** What each layer's attention has inside. */
function looked({ model, params, tokens }: Gated, how: How = {}): Inside[] {
  const all: Inside[] = [];
  model.logits(params, tokens, { ...how, watch: (_, { attention }) => void (attention && all.push(attention)) });
  return all;
}
const countedIn = (it: Gated, how: How = {}): GatePositions[] => looked(it, how).map(inside => inside.gates()!);
/** Sets the tables of all layers. */
function tables({ params }: Gated, value: (i: number, n: number) => number): void {
  for (const { attn } of params.h) {
    const table = attn.cope!.weight!;
    table.values().set(Array.from({ length: table.size }, (_, n) => value(Math.floor(n / 4), n)));
  }
}
const list = (x: Tensor): number[] => Array.from(x.values());

/** Who sees whom, b t s, by hand. */
type Sees = (b: number, i: number, j: number) => boolean;
const causal: Sees = (_, i, j) => j <= i;
const padded: Sees = (b, i, j) => j <= i && !(b === 0 ? j < 2 : j === 3);
const apart: Sees = (b, i, j) => j <= i && Math.floor(i / (b + 2)) === Math.floor(j / (b + 2));
const holes: Sees = (_, i, j) => (i + 2 * j) % 3 !== 0;
const sights: Record<string, { sees: Sees; how(tape: Tape): How; causal?: boolean }> = {
  causal: { sees: causal, how: () => ({}) },
  "open to both sides": { sees: () => true, how: () => ({}), causal: false },
  padding: {
    sees: padded,
    how: tape => ({ keys: tape.tensor([B, T], [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1]) }),
  },
  documents: {
    sees: apart,
    how: tape => ({ documents: tape.integers([B, T], [0, 0, 1, 1, 2, 2, 5, 5, 5, 3, 3, 3]) }),
  },
  "documents and padding": {
    sees: (b, i, j) => padded(b, i, j) && apart(b, i, j),
    how: tape => ({ ...sights["padding"]!.how(tape), ...sights["documents"]!.how(tape) }),
  },
  "a mask": {
    sees: holes,
    how: tape => ({
      allowed: tape.tensor(
        [T, T],
        Array.from({ length: T * T }, (_, n) => (holes(0, Math.floor(n / T), n % T) ? 0.5 : 0)),
      ),
    }),
  },
};
/** Every pair of a query and a key, in the order of b h t s, with the key's position where all gates are open. */
function pairs(sees: Sees, each: (b: number, h: number, sees: boolean, p: number, n: number) => void): void {
  for (let n = 0; n < B * H * T * T; n++) {
    const [b, h, i, j] = [Math.floor(n / (H * T * T)), Math.floor(n / (T * T)) % H, Math.floor(n / T) % T, n % T];
    let p = 0;
    for (let k = j; k < T; k++) if (sees(b, i, k)) p++;
    each(b, h, sees(b, i, j), p, n);
  }
}

const open: Record<string, () => void> = {};
for (const [title, sight] of Object.entries(sights))
  open[`${title}: positions are numbers of keys, and rows and saturated pairs are those of these`] = () => {
    for (const dtype of dtypes)
      for (const gates of ["shared", "sep", "val", "token"] as const)
        for (const last of [0, 1, 2, 3, 9]) {
          const cope = { rows: last + 1, gates, bias: OPEN };
          const it = gated({ cope, causal: sight.causal ?? true }, dtype);
          tables(it, () => 0);
          const how = sight.how(it.tape);
          for (const counted of countedIn(it, how)) {
            const [g, p] = [list(counted.gates), list(counted.positions)];
            let [all, capped, top] = [0, 0, 0];
            pairs(sight.sees, (b, h, sees, at, n) => {
              assert.is(g[n], Number(sees));
              assert.is(p[n], at);
              const asks = how.keys?.values()[b * T + (Math.floor(n / T) % T)] !== 0;
              if (h || !sees || !asks) return;
              all++;
              top = Math.max(top, at);
              if (at >= last) capped++;
            });
            const want = { pairs: all, saturated: capped / all, used: Math.min(top, last), trained: undefined };
            assert.equal(counted.rows(), new Array(H).fill(want), `${dtype} ${gates} ${last}`);
          }
        }
  };
open["with gates half open positions are halves, and the row above is used"] = () => {
  for (const dtype of dtypes) {
    // By hand, of 21 pairs: distances 1 to 6 occur 6, 5, 4, 3, 2 and 1 times, and a position is half of one.
    for (const [count, saturated, used] of [
      [9, 0, 3],
      [4, 1 / 21, 3],
      [3, 6 / 21, 2],
      [2, 15 / 21, 1],
      [1, 1, 0],
    ] as const) {
      const it = gated({ cope: { rows: count } }, dtype);
      for (const { attn } of it.params.h) for (const x of leaves(attn.c_attn)) x[1].values().fill(0);
      for (const counted of countedIn(it)) {
        pairs(causal, (_b, _h, sees, p, n) => assert.is(counted.positions.values()[n], p / 2, `${sees}`));
        for (const found of counted.rows())
          assert.equal(found, { pairs: 42, saturated, used, trained: count - 1 }, `${count} rows`);
      }
      const few = { ...it, tokens: it.tape.integers([1, 5], [1, 2, 3, 4, 5]) };
      assert.is(countedIn(few)[0]!.rows()[0]!.used, Math.min(3, count - 1), "two and a half");
    }
  }
};
open["with gates shut there is one position, 0, whatever the key"] = () => {
  for (const dtype of dtypes)
    for (const [count, saturated] of [
      [5, 0],
      [1, 1],
    ]) {
      const it = gated({ cope: { rows: count!, bias: SHUT } }, dtype);
      for (const counted of countedIn(it)) {
        for (const x of [counted.gates, counted.positions]) assert.ok(list(x).every(v => v === 0));
        for (const found of counted.rows()) assert.equal(found, { pairs: 42, saturated, used: 0, trained: count! - 1 });
      }
    }
};
open["where nothing is seen no row is used, and attention by position is nothing"] = () => {
  const it = gated();
  const none = it.tape.tensor([B, T]);
  for (const counted of countedIn(it, { keys: none })) {
    assert.ok(list(counted.byPosition()).every(v => v === 0));
    for (const found of counted.rows()) assert.equal(found, { pairs: 0, saturated: 0, used: undefined, trained: 3 });
  }
  const [a, b] = [{ keys: none }, {}].map(how =>
    rowsUsed(it.tape, watch => {
      it.model.logits(it.params, it.tokens, { ...how, watch });
      it.model.logits(it.params, it.tokens, { keys: none, watch });
    }),
  );
  assert.is(a!.heads[0]!.used, undefined);
  assert.is(a!.warning, undefined);
  assert.is(b!.heads[0]!.pairs, 42);
  assert.ok(b!.heads[0]!.used! > 0);
};
open["a row counts as trained if it holds anything but zeros, of a head's own table or the layer's"] = () => {
  for (const dtype of dtypes) {
    const it = gated({ cope: { rows: 5, table: "head" } }, dtype);
    // Head 0 has row 2 at its first number, head 1 row 4 at its last, head 2 none (but a zero below 0), head 3 row 0.
    const held: Record<number, number> = { [2 * 4]: 1, [5 * 4 + 4 * 4 + 3]: -1e-30, [10 * 4 + 9]: -0, [15 * 4 + 1]: 3 };
    tables(it, (_, n) => held[n] ?? 0);
    const found = countedIn(it)[1]!.rows();
    assert.equal(
      found.map(r => r.trained),
      [2, 4, undefined, 0],
    );
    const layers = gated({ cope: { rows: 5 } }, dtype);
    tables(layers, (row, n) => (row === 3 && n % 4 === 2 ? 1e-38 : 0));
    for (const counted of countedIn(layers)) for (const { trained } of counted.rows()) assert.is(trained, 3);
  }
};
suite("gates, positions and rows", open);

// ------------------------------------------------------------------------------------------------ by position alone
const combinations: Record<string, TransformerOptions> = {
  shared: {},
  "sep, scaled as released": { cope: { rows: 4, gates: "sep", scaling: "ram" } },
  "val, scaled as the equations": { cope: { rows: 4, gates: "val", scaling: "eq" } },
  "token, a table a head, biased": { cope: { rows: 4, gates: "token", table: "head", bias: 0.5 } },
  "two heads of keys, a table of all layers": { kvHeads: 2, cope: { rows: 4, table: "shared" } },
  "rope beside, which turns neither gates nor positions": { position: ["rope", "cope"] },
  "rope beside, which turns both": { position: ["rope", "cope"], cope: { rows: 4, rotated: true, gates: "sep" } },
  "relative and alibi beside": { position: ["relative", "alibi", "cope"] },
};
const alone: Record<string, () => void> = {};
for (const [title, more] of Object.entries(combinations))
  alone[`${title}: attention by position is the softmax of q·table[position] over the keys that are seen`] = () => {
    for (const dtype of dtypes)
      for (const [name, sight] of Object.entries(sights)) {
        const it = gated({ ...more, causal: sight.causal ?? true }, dtype);
        it.params.h.forEach(({ attn }, i) => {
          // Where gates and positions see queries that are not turned these are not shown; let all turn alike then.
          if (title.includes("neither")) attn.c_attn.weight.values().fill(0);
          if (title.includes("neither")) attn.c_attn.bias!.values().fill(i + 1);
        });
        for (const [i, inside] of looked(it, sight.how(it.tape)).entries()) {
          const counted = inside.gates()!;
          const { weight } = more.cope?.table === "shared" ? it.params.cope! : it.params.h[i]!.attn.cope!;
          const plain = title.includes("neither") ? i + 1 : undefined;
          const got = counted.byPosition();
          assert.equal(got.shape, [B, H, T, T]);
          const want = byHand(inside, counted, weight!, more.cope?.scaling === "ram" ? 0.5 : 1, sight.sees, plain);
          close(list(got), want, dtype === "f32" ? 2e-6 : 1e-14, `${dtype}, ${name}`);
        }
      }
  };
/** Softmax over the keys seen of scale q·table[position], in doubles; of queries that hold one number where given. */
function byHand(
  inside: Inside,
  { positions }: GatePositions,
  table: Tensor,
  scale: number,
  sees: Sees,
  one: number | undefined,
): number[] {
  const [q, p, e] = [inside.queries, positions, table].map(list) as [number[], number[], number[]];
  const count = table.shape.at(-2)!;
  const logits: number[] = [];
  pairs(sees, (b, h, isSeen, _, n) => {
    const i = Math.floor(n / T) % T;
    const at = Math.min(p[n]!, count - 1);
    const row = (r: number): number => {
      let sum = 0;
      for (let m = 0; m < 4; m++)
        sum +=
          (one ?? q[((b * T + i) * H + h) * 4 + m]!) * e[((table.shape.length === 3 ? h * count : 0) + r) * 4 + m]!;
      return scale * sum;
    };
    const [low, w] = [Math.floor(at), at - Math.floor(at)];
    logits.push(isSeen ? (1 - w) * row(low) + w * row(Math.ceil(at)) : -Infinity);
  });
  return logits.map((x, n) => {
    if (x === -Infinity) return 0;
    const rest = logits.slice(n - (n % T), n - (n % T) + T);
    return 1 / rest.reduce((sum, other) => sum + Math.exp(other - x), 0);
  });
}
alone["where keys say nothing, attention is attention by position"] = () => {
  for (const gates of ["shared", "sep", "val", "token"] as const)
    for (const table of ["layer", "head", "shared"] as const)
      for (const position of ["cope", ["rope", "cope"]] as const) {
        const it = gated({ position, cope: { rows: 4, gates, table, bias: 0.3 } });
        for (const { attn } of it.params.h) {
          attn.c_attn.weight.values().fill(0, 16 * 16, 32 * 16);
          attn.c_attn.bias!.values().fill(0, 16, 32);
        }
        for (const [name, sight] of Object.entries(sights))
          if (sight.causal !== false)
            for (const inside of looked(it, sight.how(it.tape)))
              close(list(inside.gates()!.byPosition()), list(inside.weights()), 1e-14, `${gates} ${table} ${name}`);
      }
};
alone["by a cache a step shows the last row of the whole: gates, positions, attention, and rows of its own pairs"] =
  () => {
    for (const gates of ["shared", "sep", "val", "token"] as const) {
      const it = gated({ cope: { rows: 3, gates, bias: 1 } });
      const whole = countedIn(it);
      const ids = rows(B, T, 7, 2);
      it.tape.noGrad(() => {
        const start = it.model.start(it.params, B, { cache: 9 });
        const { state } = it.model.step(
          it.params,
          ids.map(row => row.slice(0, T - 1)),
          start,
        );
        it.model.step(
          it.params,
          ids.map(row => row.slice(T - 1)),
          state,
          {
            watch(i, { attention }) {
              if (!attention) return;
              const step = attention.gates()!;
              const of = whole[i - 1]!;
              for (const [got, want] of [
                [step.gates, of.gates],
                [step.positions, of.positions],
                [step.byPosition(), of.byPosition()],
              ]) {
                assert.equal(got!.shape, [B, H, 1, T]);
                const rows = Array.from({ length: B * H }, (_, n) =>
                  list(want!).slice((n + 1) * T * T - T, (n + 1) * T * T),
                );
                close(list(got!), rows.flat(), 1e-12, gates);
              }
              step.rows().forEach((found, h) => {
                const mine = Array.from({ length: B }, (_, b) =>
                  list(step.positions).slice((b * H + h) * T, (b * H + h + 1) * T),
                );
                const p = mine.flat();
                const used = Math.min(2, Math.ceil(Math.max(...p)));
                assert.equal(found, {
                  pairs: B * T,
                  saturated: p.filter(x => x >= 2).length / p.length,
                  used,
                  trained: 2,
                });
              });
            },
          },
        );
      });
    }
  };
suite("attention by position alone", alone);

// ------------------------------------------------------------------------------------------- rows that were trained
const trainers: Record<string, (params: TransformerWeights) => Optimizer> = {
  "AdamW with decay": params => adamw(params, { lr: 0.01, decay: 0.5, decays: () => true }),
  Adam: params => adam(params, { lr: 0.01 }),
  "SGD with momentum and decay": params => sgd(params, { lr: 0.05, momentum: 0.9, decay: 0.3 }),
  "SGD with Nesterov's momentum": params => sgd(params, { lr: 0.05, momentum: 0.9, nesterov: true }),
};
const options = { ...small, position: "cope", context: 24 } as const;
const texts = (seed: number, t: number): number[] => rows(3, t, 7, seed).flat();
/** Trains by texts that get longer, and tells the highest row that each head used. */
function trained(tape: Tape, more: TransformerOptions, optimizerOf: (typeof trainers)[string]) {
  const model = transformer({ ...options, ...more });
  const params = model.params(tape, { seed: 3 });
  const optimizer = optimizerOf(params);
  const most = new Map<string, number>();
  for (let step = 0; step < 8; step++) {
    const t = 3 + (step % 7);
    const ids = texts(step, t);
    const { heads } = rowsUsed(tape, watch => model.logits(params, tape.integers([3, t], ids), { watch }));
    for (const { layer, head, used } of heads)
      most.set(`${layer} ${head}`, Math.max(used!, most.get(`${layer} ${head}`) ?? 0));
    tape.step(() => {
      const x = tape.integers([3, t], ids);
      return model.loss(params, x, tape.integers([3, t], texts(step + 100, t)));
    });
    clipNorm(params, 0.5);
    optimizer.step();
  }
  return { model, params, optimizer, most };
}
const learnt: Record<string, () => void> = {};
for (const [title, optimizerOf] of Object.entries(trainers))
  learnt[`${title}: the highest row trained is the highest used in training, and those above are zeros`] = () => {
    for (const dtype of dtypes)
      for (const cope of [
        { rows: 20, bias: 1 },
        { rows: 20, table: "head", gates: "sep" },
        { rows: 20, table: "shared", gates: "token" },
        { rows: 3, gates: "val" },
      ] as const) {
        const tape = new Tape(dtype);
        const { model, params, most, optimizer } = trained(tape, { cope }, optimizerOf);
        const highest = (layer: number, head: number): number => {
          const others = [...most].filter(([key]) => {
            const [l, h] = key.split(" ").map(Number);
            return cope.table === "shared" || (l === layer && (cope.table !== "head" || h === head));
          });
          return Math.max(...others.map(([, row]) => row));
        };
        const look = (from: TransformerWeights) =>
          rowsUsed(from.wte.weight.tape, watch => {
            const x = from.wte.weight.tape.integers([3, 12], texts(7, 12));
            model.logits(from, x, { watch });
          }).heads;
        const found = look(params);
        assert.is(found.length, 8);
        for (const { layer, head, trained } of found)
          assert.is(trained, highest(layer, head), `${dtype}, ${JSON.stringify(cope)}, ${layer} ${head}`);
        const weights =
          cope.table === "shared" ? [params.cope!.weight] : params.h.map(({ attn }) => attn.cope!.weight!);
        for (const [layer, weight] of weights.entries())
          for (let row = 0; row < cope.rows; row++) {
            const table = list(weight).slice(row * 4, row * 4 + 4);
            const isZero = table.every(x => Object.is(x, 0));
            assert.is(isZero, row > highest(layer, 0), `row ${row} of ${title}`);
          }
        const again = new Tape(tape.dtype);
        const copy = model.params(again, { seed: 9 });
        load({ params: copy, optimizer: optimizerOf(copy) }, save({ params, optimizer }));
        assert.equal(
          look(copy).map(r => r.trained),
          found.map(r => r.trained),
        );
      }
  };
learnt["frozen tables stay zeros, so that no row counts as trained"] = () => {
  const tape = new Tape("f32");
  const model = transformer({ ...options, cope: { bias: 1 } });
  const params = model.params(tape, { frozen: true });
  const head = { weight: tape.param([7, 16], texts(1, 38).slice(0, 112)) };
  const optimizer = adamw(head, { decay: 0.1 });
  for (let step = 0; step < 3; step++) {
    const x = tape.integers([3, 5], texts(step, 5));
    tape.step(() => model.loss({ ...params, lm_head: head }, x, x));
    optimizer.step();
  }
  const { heads, beyond, warning } = rowsUsed(tape, watch =>
    model.logits(params, tape.integers([3, 5], texts(1, 5)), { watch }),
  );
  assert.ok(heads.every(r => r.trained === undefined));
  assert.equal(beyond, heads);
  assert.match(warning!, / in 8 of 8 heads, farthest in h\.[01], head \d: row \d, and none was trained$/);
};
learnt["a table that did not begin with zeros counts as trained whole, and nothing is beyond it"] = () => {
  const it = gated({ cope: { rows: 30, bias: OPEN } });
  const { heads, beyond, warning } = rowsUsed(it.tape, watch => it.model.logits(it.params, it.tokens, { watch }));
  assert.ok(heads.every(r => r.trained === 29 && r.used === T));
  assert.equal([beyond, warning], [[], undefined]);
};
suite("rows that were trained", learnt);

// ------------------------------------------------------------------------------------------------------- the warning
const ends = ({ layer, head, used, trained }: HeadRows & { layer: number; head: number }) => [
  layer,
  head,
  used,
  trained,
];

suite("rowsUsed", {
  "warns of positions beyond those of training where a text is longer, and of none in a text like those of training"() {
    const tape = new Tape("f32");
    const { model, params } = trained(tape, { cope: { rows: 20, bias: OPEN } }, trainers["AdamW with decay"]!);
    const look = (t: number) =>
      rowsUsed(tape, watch => model.logits(params, tape.integers([1, t], rows(1, t, 7, 5).flat()), { watch }));
    for (const t of [1, 5, 9]) {
      assert.equal([look(t).beyond, look(t).warning], [[], undefined], `${t} places`);
      assert.ok(look(t).heads.every(r => r.used === t && r.trained === 9));
    }
    const { heads, beyond, warning } = look(13);
    assert.equal(
      heads.map(ends),
      [0, 1].flatMap(layer => [0, 1, 2, 3].map(head => [layer, head, 13, 9])),
    );
    assert.equal(beyond, heads);
    assert.is(
      warning,
      "positions go beyond those seen in training in 8 of 8 heads, " +
        "farthest in h.0, head 0: row 13, trained up to row 9",
    );
    assert.is(look(30).heads[0]!.used, 19);
    const capped = trained(new Tape("f32"), { cope: { rows: 6, bias: OPEN } }, trainers["Adam"]!);
    const far = rowsUsed(capped.params.wte.weight.tape, watch => {
      const { tape } = capped.params.wte.weight;
      capped.model.logits(capped.params, tape.integers([1, 40], rows(1, 40, 7, 5).flat()), { watch });
    });
    assert.is(far.warning, undefined, "the last row was trained: nothing is beyond it");
    assert.is(far.heads[0]!.saturated, (820 - 40 - 39 - 38 - 37) / 820);
  },
  "names the head that goes farthest beyond, and those alone that do"() {
    const it = gated({ layers: 3, cope: { rows: 9, bias: OPEN, table: "head", every: 2 } });
    const { weight } = it.params.h[1]!.attn.cope!;
    const last = [8, 5, 3, 6];
    weight!.values().forEach((_, n, all) => (all[n] = Math.floor(n / 4) % 9 > last[Math.floor(n / 36)]! ? 0 : 1));
    const { heads, beyond, warning } = rowsUsed(it.tape, watch => it.model.logits(it.params, it.tokens, { watch }));
    assert.equal(
      heads.map(ends),
      last.map((row, head) => [1, head, 6, row]),
    );
    assert.equal(beyond.map(ends), [
      [1, 1, 6, 5],
      [1, 2, 6, 3],
    ]);
    assert.match(warning!, / in 2 of 4 heads, farthest in h\.1, head 2: row 6, trained up to row 3$/);
  },
  "adds up all that a run looks at: segments of a memory, of an encoder, pieces, layers of one's own"() {
    const [m, l] = [2, 4];
    const inside = transformer({ ...small, position: "cope", cope: { rows: 5 } });
    const tape = new Tape("f64");
    const memory = rmt(inside, { memory: m, segment: l });
    const params = stir(memory.params(tape));
    const ids = rows(B, 12, 7, 4);
    const each: HeadRows[] = [];
    const { heads } = rowsUsed(tape, watch => {
      let state = memory.start(params, B);
      for (let from = 0; from < 12; from += l) {
        const piece = ids.map(row => row.slice(from, from + l));
        const step = memory.step(params, piece, state, {
          watch(i, seen) {
            watch(i, seen);
            if (i === 2) each.push(seen.attention!.gates()!.rows()[3]!);
          },
        });
        state = step.state;
      }
    });
    assert.is(each.length, 3);
    assert.is(heads.length, 8);
    const found = heads.find(r => r.layer === 1 && r.head === 3)!;
    const all = each.reduce((n, r) => n + r.pairs, 0);
    assert.is(found.pairs, all);
    assert.is(found.used, Math.max(...each.map(r => r.used!)));
    close([found.saturated], [each.reduce((n, r) => n + r.saturated * r.pairs, 0) / all], 1e-15);
    const it = gated({ cope: { rows: 6, bias: OPEN } });
    const several = rowsUsed(it.tape, watch => {
      for (const t of [2, 6, 3])
        it.model.logits(it.params, it.tape.integers([1, t], texts(1, t).slice(0, t)), { watch });
    });
    // Of 3 + 21 + 6 pairs those of distances 5 and 6: two and one of the six places.
    for (const { layer, head, ...rest } of several.heads)
      assert.equal(rest, { pairs: 30, saturated: 3 / 30, used: 5, trained: 5 }, `${layer} ${head}`);
    const encoder = rmtEncoder(transformer({ ...small, causal: false, norm: "post", position: "cope" }), {
      ...{ memory: 1, segment: 3, classes: 2 },
    });
    const weights = encoder.params(tape);
    const read = rowsUsed(tape, watch => encoder.step(weights, [[0, 1]], encoder.start(weights, 1), { watch }));
    assert.is(read.heads.length, 8);
    const x = constant(tape, [1, 5, 16], 1);
    const one = rowsUsed(tape, watch =>
      layer(x, params.h[1]!, inside.config, { watch: attention => watch(2, { attention }) }),
    );
    assert.equal(
      one.heads.map(r => [r.layer, r.pairs]),
      new Array(4).fill([1, 15]),
    );
  },
  "says nothing of a model without CoPE"() {
    for (const position of ["none", "relative", ["rope", "alibi"]] as const) {
      const it = gated({ position });
      const found = rowsUsed(it.tape, watch => it.model.logits(it.params, it.tokens, { watch }));
      assert.equal(found, { heads: [], beyond: [], warning: undefined });
    }
  },
  "leaves nothing behind: no tensor, no record, no draw, no gradient"() {
    const it = gated({ dropout: 0.5 });
    it.tape.step(() => it.model.loss(it.params, it.tokens, it.tokens));
    const state = () => [it.tape.toString(), it.tape.random.position, it.tape.recording, it.tape.engine.mark];
    const grads = () => leaves(it.params).flatMap(([, p]) => Array.from(p.gradient()));
    const [before, g] = [state(), grads()];
    for (const how of [{}, { dropout: 0.5 }])
      rowsUsed(it.tape, watch => it.model.logits(it.params, it.tokens, { ...how, watch }));
    assert.throws(() =>
      rowsUsed(it.tape, watch => {
        it.model.logits(it.params, it.tokens, { watch });
        throw new Error("of the run");
      }),
    );
    assert.equal(state(), before);
    same(grads(), g);
    const inStep = it.tape.step(() => {
      rowsUsed(it.tape, watch => it.model.logits(it.params, it.tokens, { watch }));
      return it.model.loss(it.params, it.tokens, it.tokens);
    });
    assert.ok(Number.isFinite(inStep));
  },
  "holds one layer's pairs at a time: more layers take no more memory than their activations"() {
    const t = 384;
    const bytes = (layers: number): number => {
      const tape = new Tape("f32");
      const model = transformer({ vocab: 7, d: 8, heads: 4, layers, position: "cope" });
      const params = model.params(tape, { frozen: true });
      rowsUsed(tape, watch => model.logits(params, tape.integers([1, t], rows(1, t, 7, 1).flat()), { watch }));
      return tape.bytes;
    };
    const pairs = 4 * t * t * 4;
    const [few, many] = [bytes(1), bytes(9)];
    assert.ok(many - few < 2 * pairs, `${many - few} bytes for 8 layers more; pairs of one take ${pairs}`);
  },
  "refuses a run that calls no watch, one on another tape, promises, and what is no tape or function"() {
    const it = gated();
    const run = (): void => void it.model.logits(it.params, it.tokens);
    assert.match(
      thrown(Error, () => rowsUsed(it.tape, run)),
      /^rowsUsed: the run called no watch\n {2}wants logits\(params, tokens, \{ watch \}\), or the like$/,
    );
    assert.match(
      thrown(RangeError, () => rowsUsed(new Tape("f64"), watch => it.model.logits(it.params, it.tokens, { watch }))),
      /^rowsUsed: the run is on another tape$/,
    );
    assert.match(
      thrown(TypeError, () => rowsUsed(it.tape, async () => 7)),
      /returned a promise/,
    );
    assert.match(
      thrown(TypeError, () => rowsUsed(it.tape, 7 as never)),
      /^rowsUsed: the run is 7/,
    );
    assert.match(
      thrown(TypeError, () => rowsUsed({} as never, run)),
      /^rowsUsed: /,
    );
  },
});

suite("rows of a padded text", {
  "are those of the text alone: places that are padding ask nothing"() {
    const it = gated();
    const ids = rows(1, T, 7, 5);
    const found = (list: number[][], mask: number[]) =>
      countedIn(
        { ...it, tokens: it.tape.integers([1, mask.length], list.flat()) },
        { keys: it.tape.tensor([1, mask.length], mask) },
      ).map(counted => counted.rows());
    const [alone, padded] = [found(ids, [1, 1, 1, 1, 1, 1]), found([[...ids[0]!, 0, 3]], [1, 1, 1, 1, 1, 1, 0, 0])];
    assert.is(alone[0]![0]!.pairs, (T * (T + 1)) / 2);
    assert.equal(padded, alone);
  },
});
