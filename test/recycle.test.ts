// recycle.test.ts: memory that a backward pass may write again, as numbers.
import * as assert from "uvu/assert";
import { spare } from "../src/recycle.ts";
import { suite } from "./check.ts";

suite("recycle", {
  "nothing is given twice, and nothing that was not released"() {
    const memory = spare();
    const taken = new Map<number, number>();
    let top = 16;
    let seed = 1;
    const next = (n: number): number => (seed = (seed * 48271) % 2147483647) % n;
    for (let turn = 0; turn < 20_000; turn++) {
      const bytes = 16 * (1 + next(200));
      const found = memory.take(bytes);
      const at = found || top;
      if (!found) top += bytes;
      for (const [from, to] of taken) assert.ok(at + bytes <= from || at >= to, `${at} lies in ${from}..${to}`);
      taken.set(at, at + bytes);
      while (taken.size > 20) {
        const [from, to] = [...taken][next(taken.size)]!;
        taken.delete(from);
        memory.give(from, to);
      }
    }
    assert.ok(top < 16 * 200 * 20 * 4, `${top} bytes for 20 blocks of at most 3200`);
  },
  "neighbours released from the last to the first are one block"() {
    const memory = spare();
    for (let at = 1600; at > 0; at -= 16) memory.give(at, at + 16);
    assert.is(memory.take(1600), 16);
    assert.is(memory.take(16), 0);
  },
  "of blocks of one size the one released last is taken first, and no bytes are nothing"() {
    const memory = spare();
    memory.give(64, 96);
    memory.give(160, 192);
    assert.is(memory.take(0), 0);
    assert.is(memory.take(30), 160);
    assert.is(memory.take(32), 64);
    assert.is(memory.take(1), 0);
  },
});
