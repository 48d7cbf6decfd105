import { fit } from "farsight";
const [,, file, fn, arm, seed] = process.argv;
const where = "/work/main/dist/dev/bench/" + file + ".mjs"; const mod = await import(where);
const trial = mod[fn!](arm, { seed: Number(seed ?? 1), quick: false });
const t0 = performance.now(); let last = 0;
for await (const m of fit({ ...trial })) { last = m.loss; if (m.step % Math.ceil(trial.steps / 8) === 0) console.log(arm, m.step, "loss", m.loss.toFixed(4), "norm", m.norm?.toFixed(2), "acc", trial.accuracy?.().toFixed(3), ((performance.now() - t0) / 1000).toFixed(1) + "s"); }
console.log(arm, seed, JSON.stringify(trial.finish().metrics), ((performance.now() - t0) / 1000).toFixed(1) + "s");
