// libraries.ts: who is compared, how their processes are started, and what is installed for them.
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { show } from "../measure.ts";
import { root } from "../../place.ts";

/** Where the peers' packages are installed and pytorch.py is. */
export const folder = join(root, "bench/speed/peers");
// This file becomes part of dist/dev/bench/bench.mjs; the peers are in speed/ beside it.
const programs = join(dirname(fileURLToPath(import.meta.url)), "speed");

/** A library to compare with, in a process that answers orders (serve.ts). */
export interface Library {
  name: string;
  /** Its name, and how many threads it has where that is not what was asked for. */
  label(threads: number): string;
  /** Why it cannot run here, if so. */
  missing: string | undefined;
  /** Ways to do one thing, of which the fastest counts. */
  ways: readonly (string | undefined)[];
  /** What a reader of its numbers must know, by kind of work and by variant. */
  notes: { [kind: string]: string };
  ask<T>(order: object): Promise<T>;
  end(): Promise<void>;
}

/** A process that is started when first asked, and again after it died. */
function spoken(command: string, words: readonly string[]): Pick<Library, "ask" | "end"> {
  let child: ChildProcess | undefined;
  let said = "";
  const waiting: ((reply: unknown) => void)[] = [];
  function start(): ChildProcess {
    const started = spawn(command, words, { cwd: folder, stdio: ["pipe", "pipe", "pipe"] });
    started.stderr!.on("data", d => {
      said = (said + String(d)).slice(-2000);
    });
    started.stdin!.on("error", () => {}); // it died; "close" says so
    createInterface({ input: started.stdout! }).on("line", line => waiting.shift()?.(JSON.parse(line)));
    started.on("error", error => {
      said += error.message;
    });
    started.on("close", code => {
      child = undefined;
      const last = said.trim().split("\n").at(-1) ?? "";
      for (const done of waiting.splice(0)) done({ error: `its process ended with ${code}: ${last}` });
    });
    return started;
  }
  return {
    ask: <T>(order: object) =>
      new Promise<T>(done => {
        child ??= start();
        waiting.push(done as (reply: unknown) => void);
        child.stdin!.write(`${JSON.stringify(order)}\n`);
      }),
    end: () =>
      new Promise(done => {
        if (!child) return done();
        const ending = child;
        const late = setTimeout(() => ending.kill("SIGKILL"), 2000);
        ending.on("close", () => {
          clearTimeout(late);
          done();
        });
        ending.stdin!.end();
      }),
  };
}

/** Installs the JavaScript peers in bench/speed/peers; what went wrong, if anything did. */
function install(): string | undefined {
  const { dependencies } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as {
    dependencies: { [name: string]: string };
  };
  const here = (name: string): string => {
    try {
      return (
        JSON.parse(readFileSync(join(folder, "node_modules", name, "package.json"), "utf8")) as { version: string }
      ).version;
    } catch {
      return "";
    }
  };
  if (Object.entries(dependencies).every(([name, version]) => here(name) === version)) return undefined;
  show.log("installing jax-js and tfjs in bench/speed/peers/node_modules (npm install)");
  const { status } = spawnSync("npm", ["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"], {
    cwd: folder,
    stdio: ["ignore", "ignore", 2],
    shell: process.platform === "win32",
  });
  return status === 0 ? undefined : "npm install in bench/speed/peers failed";
}

/** PyTorch, of the python3 that is found first. */
export function pytorch(): Library {
  const torch = spawnSync("python3", ["-c", "import torch; print(torch.__version__)"], { encoding: "utf8" });
  const version = torch.status === 0 ? torch.stdout.trim() : "";
  return {
    name: "pytorch",
    label: () => `PyTorch ${version}`.trim(),
    missing: version ? undefined : "python3 cannot import torch",
    ways: ["manual", "fused"],
    notes: { cope: "the paper's listing", myopic: "the authors' dense attention" },
    ...spoken("python3", [join(folder, "pytorch.py")]),
  };
}

/** Every library, those that are not here with the reason. */
export async function libraries(): Promise<Library[]> {
  const npm = install();
  const node = (file: string): Pick<Library, "ask" | "end"> =>
    spoken(process.execPath, ["--enable-source-maps", join(programs, file)]);
  const one =
    (name: string) =>
    (threads: number): string =>
      threads > 1 ? `${name}, 1 thread` : name;
  return [
    {
      name: "farsight",
      label: () => "farsight",
      missing: undefined,
      ways: [undefined],
      notes: {},
      ...node("ours.mjs"),
    },
    pytorch(),
    {
      name: "jax-js",
      label: one("jax-js"),
      missing: npm,
      ways: [undefined],
      notes: { step: "jit; one-hot embedding", cope: "positions by a triangular product" },
      ...node("peers/jax.mjs"),
    },
    {
      name: "tfjs",
      label: one("tfjs wasm"),
      missing: npm,
      ways: [undefined],
      notes: {
        step: "one-hot embedding; linear layers with their own gradient",
        cope: "all positions weighed: it has no lookup with a gradient",
        myopic: "stopGradient by customGrad",
      },
      ...node("peers/tfjs.mjs"),
    },
  ];
}
