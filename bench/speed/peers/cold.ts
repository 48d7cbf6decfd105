// cold.ts: from nothing to a first result, in a fresh process: import, start what must be started, one product of two
// matrices and its gradient.
import { spawn } from "node:child_process";
import { root } from "../../place.ts";
import { deviation, median, show, type Asked, type Row } from "../measure.ts";
import { folder, type Library } from "./libraries.ts";

interface Program {
  command: string;
  words: string[];
  cwd: string;
}
const programs: { [name: string]: Program } = {
  farsight: {
    cwd: root,
    command: process.execPath,
    words: [
      "--input-type=module",
      "-e",
      `
    const from = performance.now(), { Tape, matmul, sum } = await import("farsight");
    const tape = new Tape(), a = tape.param([2, 2], [1, 2, 3, 4]);
    tape.backward(sum(matmul(a, tape.tensor([2, 2], [5, 6, 7, 8]))));
    console.log(a.gradient().join(" "));
    console.log("inside " + (performance.now() - from).toFixed(2));`,
    ],
  },
  pytorch: {
    cwd: folder,
    command: "python3",
    words: [
      "-c",
      `
import torch
a = torch.tensor([[1., 2.], [3., 4.]], requires_grad=True)
(a @ torch.tensor([[5., 6.], [7., 8.]])).sum().backward()
print(*(int(x) for x in a.grad.flatten()))`,
    ],
  },
  "jax-js": {
    cwd: folder,
    command: process.execPath,
    words: [
      "--input-type=module",
      "-e",
      `
    globalThis.navigator ??= { hardwareConcurrency: 1 };
    const { init, defaultDevice, grad, numpy: np } = await import("@jax-js/jax");
    await init("wasm");
    defaultDevice("wasm");
    const b = np.array([[5, 6], [7, 8]]);
    console.log(grad(a => np.sum(np.matmul(a, b)))(np.array([[1, 2], [3, 4]])).dataSync().join(" "));`,
    ],
  },
  tfjs: {
    cwd: folder,
    command: process.execPath,
    words: [
      "--input-type=module",
      "-e",
      `
    import * as tf from "@tensorflow/tfjs";
    import "@tensorflow/tfjs-backend-wasm";
    await tf.setBackend("wasm");
    const b = tf.tensor2d([[5, 6], [7, 8]]);
    console.log((await tf.grad(a => tf.sum(tf.matMul(a, b)))(tf.tensor2d([[1, 2], [3, 4]])).data()).join(" "));`,
    ],
  },
};

/** Milliseconds until a process has printed its first line, that line, and what the process says it took itself. */
interface Started {
  ms: number;
  text: string;
  inside?: number;
}
/** Starts a program and waits for its end; `ms` 0 and what went wrong where no line came. */
function once({ command, words, cwd }: Program): Promise<Started> {
  return new Promise(done => {
    const from = performance.now();
    const child = spawn(command, words, { cwd, stdio: ["ignore", "pipe", "pipe"] });
    let text = "";
    let said = "";
    let ms = 0;
    child.stdout.on("data", d => {
      text += String(d);
      if (!ms && /\d+( \d+)+\n/.test(text)) ms = performance.now() - from;
    });
    child.stderr.on("data", d => {
      said += String(d);
    });
    child.on("error", error => {
      said += error.message;
    });
    child.on("close", () => {
      const wrong = said.split("\n").find(line => /error/i.test(line));
      if (ms === 0) return done({ ms, text: wrong?.trim() ?? "no result" });
      const inside = Number(/inside (.*)/.exec(text)?.[1] ?? NaN);
      done({ ms, text: /\d+( \d+)+(?=\n)/.exec(text)![0], inside });
    });
  });
}

/** Fresh processes, a row a library. */
export async function* cold({ quick, threads }: Asked, list: readonly Library[]): AsyncGenerator<Row, void> {
  const spent = new Map<string, number[]>();
  const said = new Map<string, string>();
  const within: number[] = [];
  const times = quick ? 3 : 15;
  for (let i = 0; i < times; i++)
    for (const l of list) {
      show.step("peers", "cold start", { step: i, steps: times });
      if (l.missing) continue;
      const { ms, text, inside } = await once(programs[l.name]!);
      if (inside) within.push(inside);
      said.set(l.name, text);
      if (ms) spent.set(l.name, [...(spent.get(l.name) ?? []), ms]);
    }
  show.done("peers", "cold start");
  const right = said.get("farsight");
  const base = median(spent.get("farsight") ?? []);
  const noted = (name: string): Partial<Row> => {
    if (said.get(name) !== right) return { wrong: true, note: `not the same: farsight has ${right}` };
    if (name !== "farsight") return {};
    return {
      note: `${median(within).toFixed(1)} ms of it from import to result; the rest is what Node needs to start`,
    };
  };
  for (const l of list) {
    const ms = spent.get(l.name);
    const text = said.get(l.name);
    const about = { case: "cold start", size: "import to first gradient", peer: l.label(threads) };
    if (!ms) {
      yield { ...about, median: 0, mad: 0, samples: 0, checksum: "", note: `cannot: ${l.missing ?? text}` };
      continue;
    }
    yield {
      ...about,
      median: median(ms),
      mad: deviation(ms),
      samples: ms.length,
      ratio: median(ms) / base,
      ratios: [Math.min(...ms) / base, Math.max(...ms) / base],
      checksum: text!,
      ...noted(l.name),
    };
  }
}
