// The study of recurrent memory: what it records, what it says of its numbers, what the recorded runs show.
import { writeFileSync } from "node:fs";
import * as assert from "uvu/assert";
import type { Entry } from "../bench/records.ts";
import { remember } from "../bench/studies/remember.ts";
import { suite } from "./check.ts";
import { lines, run, scratch } from "./program.ts";
import { recorded, seeds } from "./recorded.ts";
import { paged, said, whole } from "./said.ts";

const out = scratch("remember");
const recalled = (arm: string, by: { [segments: string]: number }): Entry => ({
  type: "result",
  study: "remember",
  arm,
  seed: 1,
  metrics: { accuracyBySegments: by, trained: 3 },
});

suite("the study of memory", {
  async "records accuracies by segments for both arms"() {
    const words = ["remember", "--steps", "4", "--quick", "--json", "--out", out("run")];
    const { code, out: text, err } = await run("../bench/start", words);
    assert.is(code, 0, err);
    const segments = lines(text).filter(l => l.kind === "segments") as { points: [number, number][] }[];
    assert.equal(
      segments.map(s => s.points.map(p => p[0])),
      [1, 2].map(() => [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]),
    );
  },
  async "says what is wrong with a text that is too short"() {
    writeFileSync(out("short.txt"), "");
    const { code, err } = await run("../bench/start", ["remember", "--text", out("short.txt"), "--out", out("text")]);
    assert.is(code, 1);
    assert.match(err, /memorize: /);
  },
  "says how far the memory reached, and when it did not help"() {
    const none = recalled("none", { 1: 1, 3: 0.17, 64: 0.17 });
    assert.is(
      said(remember, [recalled("rmt", { 1: 1, 3: 1, 12: 0.95, 64: 0.8 }), none]),
      "Trained on at most 3 segments, RMT answers 100 % right at 3 and 80 % right at 64 segments, " +
        "against 17 % with no memory (chance is 16.7 %). " +
        "It answers at least 90 % right up to 12 segments, 4 times the longest it was trained on.",
    );
    const lost = [recalled("rmt", { 1: 1, 3: 1, 64: 0.18 }), none];
    assert.match(said(remember, lost), /has lost the fact by 64 segments\.$/);
    const useless = [recalled("rmt", { 1: 1, 3: 0.2, 64: 0.18 }), none];
    assert.match(said(remember, useless), /did not help in this run\.$/);
  },
  "draws its curves, whatever is missing"() {
    const figure = {
      type: "figure",
      study: "remember",
      kind: "segments",
      arm: "rmt",
      points: [
        [1, 1],
        [64, 0.8],
      ],
    };
    const all = [recalled("rmt", { 1: 1, 3: 1, 64: 0.8 }), recalled("none", { 1: 1, 3: 0.17, 64: 0.16 }), figure];
    whole(remember, all);
    for (const records of [all, all.slice(0, 2)]) {
      const page = paged(remember, records);
      for (const words of ["chance, 1/6", "trained up to here (3)"]) assert.ok(page.includes(words), words);
    }
  },
  "has on record 95 % at 64 segments after training on 6, where the model without memory is at chance"() {
    for (const s of seeds) {
      const far = recorded("remember", "rmt", s).accuracyBySegments[64]!;
      const none = recorded("remember", "none", s).accuracyBySegments[64]!;
      assert.ok(far >= 0.95, `seed ${s}: ${far}`);
      const three = 3 * Math.sqrt(5 / 36 / 300); // deviations of 300 guesses
      assert.ok(Math.abs(none - 1 / 6) < three, `seed ${s}: ${none}, more than ${three} from 1/6`);
    }
  },
});
