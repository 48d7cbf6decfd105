// The study of myopic training: that it trains the same twice, what it says of its numbers, what is on record.
import * as assert from "uvu/assert";
import type { Entry } from "../bench/records.ts";
import { plan } from "../bench/studies/plan.ts";
import { suite } from "./check.ts";
import { isWindows, lines, losses, run, scratch, skipped, type Line } from "./program.ts";
import { recorded, seeds } from "./recorded.ts";
import { paged, said, whole } from "./said.ts";

const planned = (arm: string, loss: number): Entry => ({
  type: "result",
  study: "plan",
  arm,
  seed: 1,
  metrics: { loss },
});
const both = [planned("full", 0.05), planned("myopic", 1.1)];
const figure: Entry = {
  type: "figure",
  study: "plan",
  kind: "probes",
  arm: "full",
  layers: ["embedding", "layer 1"],
  r2: [
    [0, 0],
    [0.9, 0.1],
  ],
};

suite("the study of planning", {
  async "gives the same losses and results twice, interrupted or not"() {
    const out = scratch("plan");
    const words = (name: string): string[] => ["plan", "--steps", "300", "--quick", "--json", "--out", out(name)];
    const whole = await run("../bench/start", words("whole"));
    assert.is(whole.code, 0, whole.err);
    if (isWindows) return skipped();
    const cut = await run("../bench/start", words("cut"), { interrupt: /"step":60,/ });
    assert.is(cut.code, 130, cut.err);
    const on = await run("../bench/start", [...words("cut"), "--resume"]);
    assert.is(on.code, 0, on.err);
    const late = (text: string): string[] => losses(lines(text)).filter(l => Number(l.split(" ")[1]) > 150);
    assert.ok(late(whole.out).length > 100);
    assert.equal(late(on.out), late(whole.out));
    const ends = (text: string): Line[] =>
      lines(text)
        .filter(l => l.type === "result" || l.type === "figure")
        .map(({ type, arm, metrics, r2 }) => ({ type, arm, metrics, r2 }))
        .sort((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b)));
    assert.is(ends(whole.out).length, 4);
    assert.equal(ends(on.out), ends(whole.out));
  },
  "says whether the model planned"() {
    assert.match(
      said(plan, both),
      /^The full model prepares for later tokens.*1\.1 myopic against 0\.05 full \(22 times\)/,
    );
    assert.match(said(plan, [planned("full", 1.1), planned("myopic", 0.05)]), /shows no planning/);
    assert.match(said(plan, [...both, figure]), /R² 0\.9 after full training \(layer 1, lag 0\)\.$/);
  },
  "draws its probes, whatever is missing"() {
    whole(plan, [...both, figure]);
    const page = paged(plan, [...both, figure]);
    for (const words of ["Full training", "lag: how many tokens ago x was read"])
      assert.ok(page.includes(words), words);
    whole(plan, [{ ...figure, r2: [[null]] }]);
    assert.not.match(paged(plan, [{ ...figure, r2: [] }]), /Full training/);
  },
  "has on record a loss of the full model below a quarter of the myopic one's"() {
    for (const s of seeds)
      assert.ok(recorded("plan", "full", s).loss! < 0.25 * recorded("plan", "myopic", s).loss!, `seed ${s}`);
  },
});
