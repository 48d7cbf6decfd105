// Linear probes: exact on what is linear, nothing on noise, and never better than held-out data allow.
import * as assert from "uvu/assert";
import { random } from "farsight";
import { ridge } from "../bench/ridge.ts";
import { close, suite } from "./check.ts";

const rows = (n: number, d: number, key: string): number[][] => {
  const rng = random(1).fork(key);
  return Array.from({ length: n }, () => Array.from({ length: d }, () => rng.normal()));
};

suite("ridge", {
  "finds a linear target, offset and all, and returns R² 1"() {
    const x = rows(200, 5, "a");
    const z = rows(100, 5, "b");
    const y = (r: number[]) => 3 * r[0]! - r[4]! + 7;
    close(ridge(x, [x.map(y)], z, [z.map(y)]), [1], 1e-9);
  },
  "returns about 0 for a target that the rows know nothing of"() {
    const x = rows(4000, 5, "c");
    const z = rows(2000, 5, "d");
    const noise = (n: number, key: string) => rows(n, 1, key).map(r => r[0]!);
    const [r2] = ridge(x, [noise(4000, "e")], z, [noise(2000, "f")]);
    assert.ok(Math.abs(r2!) < 0.01, String(r2));
  },
  "returns the share of the variance that is linear"() {
    const x = rows(4000, 2, "g");
    const z = rows(4000, 2, "h");
    const y = (list: number[][], key: string) => {
      const e = rows(list.length, 1, key);
      return list.map((r, i) => r[0]! + e[i]![0]!);
    };
    const [r2] = ridge(x, [y(x, "i")], z, [y(z, "j")]);
    assert.ok(Math.abs(r2! - 0.5) < 0.04, String(r2));
  },
});
