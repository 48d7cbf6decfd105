// package.test.ts: the tarball as a stranger meets it: packed, unpacked into an empty project, imported, type-checked,
// bundled.
import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import * as esbuild from "esbuild";
import * as assert from "uvu/assert";
import { suite } from "./check.ts";
import { consumer, home, install, write } from "./packed.ts";
import { isWindows } from "./program.ts";

/** Bytes that a bundle may have, gzipped, as build.mjs has written them down. */
const most = (bundle: string): number =>
  Number(new RegExp(`^${bundle} .* of (\\d+) allowed$`, "m").exec(readFileSync("dist/dev/sizes", "utf8"))![1]);

/** Every file below a folder, with / between the parts. */
const below = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(f => f.isFile())
    .map(f =>
      join(f.parentPath ?? f.path, f.name)
        .slice(folder.length + 1)
        .replaceAll("\\", "/"),
    )
    .sort();
const read = (file: string): string => readFileSync(join(home, file), "utf8");
/** Runs a program in the consumer's folder. */
function run(command: string, ...words: string[]): { status: number | null; out: string; err: string } {
  install();
  const { status, stdout, stderr, error } = spawnSync(command, words, {
    cwd: consumer,
    encoding: "utf8",
    shell: isWindows && command === "npx",
    timeout: 25_000,
  });
  return { status, out: stdout ?? "", err: String(error ?? stderr) };
}
/** Bundles a program for a page; `code` is the bundle without the wasm bytes in it. */
async function bundled(
  name: string,
  text: string,
  minify: boolean,
): Promise<{ text: string; code: string; gzipped: number }> {
  install();
  const { outputFiles } = await esbuild.build({
    entryPoints: [write(name, text)],
    absWorkingDir: consumer,
    bundle: true,
    write: false,
    format: "esm",
    platform: "browser",
    target: "es2022",
    minify,
  });
  const { text: made, contents } = outputFiles[0]!;
  return {
    text: made,
    code: made.replace(/\[\s*(["'`])[^"'`\\]{4000,}\1(?:,\s*(["'`])[^"'`\\]*\2)*\s*\]/gs, "[]"),
    gzipped: gzipSync(contents, { level: 9 }).length,
  };
}

const program = `
import { readFileSync } from "node:fs";
import { Tape, adamw, matmul, sum, transformer } from "farsight";
const tape = new Tape("f64"), a = tape.param([2, 2], [1, 2, 3, 4]), y = matmul(a, tape.tensor([2, 2], [5, 6, 7, 8]));
tape.backward(sum(y));
console.log([...y.values(), ...a.gradient()].join(" "));
const module = new WebAssembly.Module(readFileSync(new URL(import.meta.resolve("farsight/f32.wasm"))));
for (const single of [new Tape("f32"), new Tape("f32", { module })]) {
  const model = transformer({ vocab: 5, d: 8, heads: 2, layers: 1, context: 4, position: "cope" });
  const params = model.params(single), optimizer = adamw(params, { lr: 0.01 }), losses = [];
  for (let i = 0; i < 3; i++) {
    const tokens = () => [[1, 2, 3, 4], [2, 3, 4, 0]].map(ids => single.integers([1, 4], ids));
    losses.push(single.step(() => model.loss(params, ...tokens())));
    optimizer.step();
  }
  console.log(losses.join(" "));
}
`;
/** The losses of `program`, to five digits; two versions of Node must agree on all of them. */
const expected = "1.6769 1.4176 1.2014";

const typed = `
import {
  Engine,
  Tape,
  adamw,
  concat,
  crossEntropy,
  cumsum,
  fit,
  layerNorm,
  linear,
  load,
  matmul,
  op,
  parted,
  rmt,
  save,
} from "farsight";
import { scale, softmax, sum, transformer, type Op, type Tensor } from "farsight";
import { fast, type FastEngine } from "farsight/fast";
import { language, random, type Ids, type LanguageBatch, type Random } from "farsight/tasks";
declare const console: { log(...words: unknown[]): void };
const engine: FastEngine = fast("f64", { fma: false, threads: 2 });
const tape = new Tape("f64", { seed: 1, engine });
const w: Tensor = tape.param([2, 2], [1, 2, 3, 4]);
const model = transformer({ vocab: 5, d: 8, heads: 2, layers: 1, context: 4, position: "cope" });
const params = model.params(tape);
const optimizer = adamw(params);
for await (const { step, loss } of fit({ params, optimizer, steps: 2, loss: () => sum(matmul(w, cumsum(w))) }))
  console.log(step + loss);
const rng: Random = random(1);
const task = language({ unit: "bytes" });
const ids: Ids = task.encode("held out");
for (const { targets, starts } of task.windows(ids, 4, { stride: 2 })) console.log(targets, starts);
const drawn: LanguageBatch = task.batch(rng, ids, 1, 4);
console.log(drawn.t);
const bytes: Uint8Array = save({ params, optimizer, step: 2 });
const k: number | undefined = rmt(model, { segment: 2, memory: 1 }).options.k;
const twice: Op<"... -> ..."> = op("twice", "... -> ...", {
  forward: (K, { rows }, y, x) => K.scale(rows, 2, 0, x.data, y.data),
});
console.log(load({ params, optimizer }, bytes).step, k, twice(w).values()[0]);
const { limit, memory, module } = new Engine("f32", { limit: 1e6 });
const again = new Engine("f32", { module });
console.log(limit, memory.buffer.byteLength, memory.grow(1), again.dtype);
const list: readonly Op[] = [layerNorm, softmax, parted, twice];
const found: Tensor = concat([linear(w, w), linear(w, w, w)]);
const y: Tensor = layerNorm(w, w);
const z: Tensor = layerNorm(w, w, { eps: 1e-6 });
const same: Tensor = layerNorm(y, z, undefined, { eps: 1 });
const pair: [Tensor, Tensor] = parted(same, w);
const eps: number = layerNorm.attrs.eps;
const name: "softmax" = softmax.opName;
console.log(list[0]!.signature, found, pair, eps, name, scale(w, { by: 2 }), crossEntropy(w, w, { reduction: "sum" }));
`;
/** What only programs with the types of a page can say. */
const paged = `
import { Engine, save, serialize, type EngineOptions, type Run } from "farsight";
const module: WebAssembly.Module = new Engine("f32").module, options: EngineOptions = { module };
const memory: WebAssembly.Memory = new Engine("f32", options).memory;
memory.grow(1);
export const file = (run: Run): Blob => new Blob([save(run), serialize({})]);
`;
/** Lines that must not pass, each with the number of its error. */
const wrong = `
import { Engine, Tape, Tensor, crossEntropy, layerNorm, linear, matmul, scale, softmax } from "farsight";
const tape = new Tape(), a = tape.tensor([2, 2]), engine = new Engine("f32");
matmul(a); // 2554
matmul(a, a, a); // 2554
matmul(a, a, { transposed: true }); // 2554
softmax(a, { axis: 0 }); // 2554
linear(a, a, {}); // 2345 2740
linear(a, a, a, { eps: 1 }); // 2554
layerNorm(a, a, { epsilon: 1 }); // 2769
layerNorm(a, a, a, { epsilon: 1 }); // 2353
layerNorm(a, a, a, a); // 2559
scale(a, { by: "2" }); // 2322
crossEntropy(a, a, { reduction: "most" }); // 2322
new Tensor(); // 2673
a.data; // 2339
a.root; // 2339
a.alive("me"); // 2339
tape.engine; // 2339
tape.claim([2], true); // 2339
engine.alloc(1); // 2339
engine.mark; // 2339
engine.rewind(0); // 2339
engine.kernels; // 2339
new Engine("f32", {}, {}); // 2554
new Engine("f32", { limits: 1 }); // 2561
`;

/** Compilers by the name of their package: the oldest that the types are for, and the current one. */
const compilers = ["typescript-oldest", "typescript"] as const;
/** Type-checks files of the consumer; returns the errors, "FILE(LINE): NUMBER" each, and all that was printed. */
function checked(compiler: string, options: object, files: readonly string[]): { errors: string[]; out: string } {
  const config = write(
    "tsconfig.json",
    JSON.stringify({
      compilerOptions: {
        target: "es2022",
        types: [],
        strict: true,
        exactOptionalPropertyTypes: true,
        noUncheckedIndexedAccess: true,
        skipLibCheck: false,
        noEmit: true,
        ...options,
      },
      files,
    }),
  );
  const tsc = join(process.cwd(), "node_modules", compiler, "bin/tsc");
  const { out } = run(process.execPath, tsc, "--pretty", "false", "-p", config);
  const errors = [...out.matchAll(/^(?:(.*)\((\d+),\d+\): )?error TS(\d+)/gm)];
  return { errors: errors.map(([, file, line, number]) => `${file ?? ""}(${line ?? ""}): ${number}`), out };
}
/** Throws unless the errors of `wrong.ts`, and no others, are those that its lines ask for. */
function refused({ errors, out }: { errors: readonly string[]; out: string }): void {
  const lines = wrong.split("\n").map(line => / \/\/ ([\d ]+)$/.exec(line)?.[1]?.split(" ") ?? []);
  const fits = (line: string[], i: number) => line.some(number => errors.includes(`wrong.ts(${i + 1}): ${number}`));
  assert.equal(
    lines.flatMap((line, i) => (line.length && !fits(line, i) ? [wrong.split("\n")[i]] : [])),
    [],
    `lines that pass, or with another error:\n${out}`,
  );
  const asked = lines.flatMap((line, i) => line.map(number => `wrong.ts(${i + 1}): ${number}`));
  assert.equal(
    errors.filter(error => !asked.includes(error)),
    [],
    out,
  );
}

/** The declarations of one name in a file of types, without comments above them. */
function declarations(file: string, name: string): string[] {
  const all = read(file).matchAll(/^export declare (function|namespace) (\w+)\b(?:.*;|[^]*?\n\})$/gm);
  return [...all].filter(found => found[2] === name).map(found => found[0]);
}

suite("the package", {
  "holds the library, its types, its sources and the pages about them, and nothing else"() {
    install();
    const src = below("src").map(f => `src/${f}`);
    const asm = below("asm").map(f => `asm/${f}`);
    const types = src.filter(f => !f.endsWith(".d.ts")).map(f => f.replace(/^src(.*)\.ts$/, "dist$1.d.ts"));
    const want = [
      "CHANGELOG.md",
      "CONTRIBUTING.md",
      "LICENSE",
      "README.md",
      "package.json",
      "bench/README.md",
      "test/README.md",
      "dist/index.js",
      "dist/engine.js",
      "dist/data.js",
      "dist/check.js",
      "dist/fast.js",
      "dist/tasks.js",
      "dist/f32.wasm",
      "dist/f64.wasm",
      "dist/kernels.d.ts",
      ...types,
      ...src,
      ...asm,
    ];
    const got = below(home);
    assert.equal(
      got.filter(f => !want.includes(f)),
      [],
      "files that should not be there",
    );
    assert.equal(
      want.filter(f => !got.includes(f)),
      [],
      "files that are missing",
    );
  },
  "has no page with a link that leads out of it"() {
    install();
    const all = below(home);
    const pages = all.filter(f => f.endsWith(".md"));
    const dead = pages.flatMap(page =>
      [...read(page).matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)]
        .map(([, to]) => join(dirname(page), to!).replaceAll("\\", "/"))
        .filter(to => !all.some(f => f === to || f.startsWith(`${to}/`)))
        .map(to => `${page}: ${to}`),
    );
    assert.ok(pages.length > 5);
    assert.equal(dead, []);
  },
  "needs nothing and runs nothing when it is installed"() {
    install();
    const { dependencies, peerDependencies, optionalDependencies, bundleDependencies, scripts } = JSON.parse(
      read("package.json"),
    ) as Record<string, object | undefined>;
    assert.equal(
      [dependencies, peerDependencies, optionalDependencies, bundleDependencies],
      [undefined, undefined, undefined, undefined],
    );
    assert.equal(
      Object.keys(scripts ?? {}).filter(s => /install|^prepare$|^prepublish/.test(s)),
      [],
    );
  },
  "computes at once, without await, from bytes inside and from farsight/f32.wasm"() {
    write("use.mjs", program);
    const { status, out, err } = run(process.execPath, "use.mjs");
    assert.is(status, 0, err);
    const [product, inside, outside] = out.trim().split("\n");
    assert.is(product, "19 22 43 50 11 15 11 15");
    assert.is(
      inside!
        .split(" ")
        .map(x => Number(x).toPrecision(5))
        .join(" "),
      expected,
    );
    assert.is(outside, inside, "farsight/f32.wasm computes something else");
  },
  "has a fast engine that is an Engine of the main entry point, and gives its bits when nothing is fused"() {
    write(
      "fast.mjs",
      `import { Engine, Tape, matmul } from "farsight";\nimport { fast } from "farsight/fast";
const engine = fast("f64", { fma: false, threads: 2 }), tapes = [new Tape("f64", { engine }), new Tape("f64")];
const squares = tapes.map(tape => {
  const x = tape.tensor([3, 3], [1, 2, 3, 4, 5, 6, 7, 8, 9.1]);
  return matmul(x, x).values().join(" ");
});
console.log(engine instanceof Engine, ...squares);`,
    );
    const { status, out, err } = run(process.execPath, "fast.mjs");
    const product = "30 36 42.3 66 81 96.6 102.7 126.8 151.81";
    assert.is(status, 0, err);
    assert.match(out, /^true (.*) \1\n$/);
    assert.is(
      out
        .split(" ")
        .slice(1, 10)
        .map(x => Number(Number(x).toPrecision(12)))
        .join(" "),
      product,
    );
  },
  "draws data from farsight/tasks without kernels, with generators of either entry point"() {
    write(
      "tasks.mjs",
      `import * as tasks from "farsight/tasks";
const only = Object.keys(tasks).sort().join();
const { counting, random } = await import("farsight");
const values = [tasks.counting, counting].flatMap(f => [tasks.random, random].map(g => f().sample(g(1)).value));
console.log(only, new Set(values).size, counting === tasks.counting);`,
    );
    const { status, out, err } = run(process.execPath, "tasks.mjs");
    assert.is(status, 0, err);
    const names =
      "associativeRetrieval,copyTwice,counting,flipFlop,language,memorize,mistakes,quadraticEquations,random";
    assert.is(out, `${names},reasoning,reversal,selectiveCopy,sine 1 true\n`);
    const list = (file: string): string[] => [
      file,
      ...[...read(`dist/${file}`).matchAll(/"\.\/(\w+\.js)"/g)].flatMap(found => list(found[1]!)),
    ];
    assert.equal([...new Set(list("tasks.js"))].sort(), ["check.js", "data.js", "tasks.js"]);
    assert.ok(list("index.js").includes("engine.js"), "the imports were read");
    for (const file of new Set(list("tasks.js"))) assert.not(read(`dist/${file}`).includes("WebAssembly"), file);
  },
  "gives the same bits on Node 24 as on Node 20"() {
    if (!process.versions.node.startsWith("20.")) return;
    const there = run("npx", "-y", "node@24", "--version");
    if (!/^v24\./m.test(there.out)) {
      const said = /^npm error (?!code|A complete).*$/m.exec(there.err)?.[0] ?? there.err.trim();
      const why = `Node 24 could not be had through npx: ${said}`;
      if (process.env.CI === "true") throw new Error(why);
      console.log(`skipped: gives the same bits on Node 24 as on Node 20. ${why}`);
      return;
    }
    write("use.mjs", program);
    const here = run(process.execPath, "use.mjs");
    const { status, out, err } = run("npx", "-y", "node@24", "use.mjs");
    assert.is(status, 0, err);
    assert.is(out, here.out);
  },
  ...Object.fromEntries(
    compilers.flatMap(compiler =>
      [["es2022", "dom"], ["es2022"]].map(lib => [
        `has types that ${compiler} resolves and checks, and that refuse what is wrong, with ${lib.join(" and ")}`,
        () => {
          install();
          write("typed.ts", typed);
          write("paged.ts", paged);
          write("wrong.ts", wrong);
          const files = ["typed.ts", "wrong.ts", ...(lib.includes("dom") ? ["paged.ts"] : [])];
          for (const [module, moduleResolution] of [
            ["node16", "node16"],
            ["nodenext", "nodenext"],
            ["esnext", "bundler"],
            ...(compiler === "typescript-oldest" ? ([["esnext", "node10"]] as const) : []), // no more in 7
          ] as const)
            refused(checked(compiler, { module, moduleResolution, lib }, files));
        },
      ]),
    ),
  ),
  "is checked with a compiler of the version that its types are for, and with one that is current"() {
    const versions = compilers.map(
      name => JSON.parse(readFileSync(join("node_modules", name, "package.json"), "utf8")).version as string,
    );
    assert.match(versions[0], /^5\.4\./);
    assert.ok(Number.parseInt(versions[1]!, 10) >= 7);
  },
  "declares operations with the names of their inputs, their options and defaults"() {
    install();
    const norm =
      "export declare function layerNorm(x: Tensor, weight: Tensor, bias?: Tensor, " +
      "options?: { /** Default 1e-5. */ eps?: number }): Tensor;";
    const short =
      "export declare function layerNorm(x: Tensor, weight: Tensor, " +
      "options: { /** Default 1e-5. */ eps?: number }): Tensor;";
    const carried = [
      "export declare namespace layerNorm {",
      '    const opName: "layerNorm";',
      '    const inputs: readonly ["x", "weight", "bias"];',
      '    const signature: "... d, d, d? -> ... d";',
      "    const attrs: {",
      "        eps: number;",
      "    };",
      "    const constant: readonly number[];",
      "    const stops: readonly (readonly [output: number, input: number])[];",
      "    const domain: readonly [number, number];",
      "}",
    ];
    assert.equal(declarations("dist/ops/rows.d.ts", "layerNorm"), [norm, short, carried.join("\n")]);
    const first = (file: string, name: string) => declarations(`dist/ops/${file}.d.ts`, name)[0];
    assert.is(first("products", "matmul"), "export declare function matmul(a: Tensor, b: Tensor): Tensor;");
    assert.is(first("elementwise", "gelu"), "export declare function gelu(x: Tensor): Tensor;");
    assert.is(
      first("losses", "crossEntropy"),
      "export declare function crossEntropy(logits: Tensor, targets: Tensor, " +
        'options?: { /** Default -100. */ ignore?: number; /** Default "mean". */ reduction?: Reduction }): Tensor;',
    );
    assert.is(
      first("myopic", "parted"),
      "export declare function parted(x: Tensor, weight: Tensor, bias?: Tensor): [Tensor, Tensor];",
    );
    assert.is(
      first("shapes", "concatMiddle"),
      "export declare function concatMiddle(list: readonly Tensor[]): Tensor;",
    );
    assert.ok(
      read("dist/ops/products.d.ts").includes("/** y = a b; leading axes of `a` are rows. */\nexport declare function"),
      "the comments of the source are gone",
    );
  },
  "publishes nothing that is internal"() {
    install();
    const types = below(join(home, "dist")).filter(f => f.endsWith(".d.ts"));
    assert.equal(
      types.filter(f => read(`dist/${f}`).includes("@internal")),
      [],
    );
  },
  "has types that know nothing of Node"() {
    install();
    const mention = below(join(home, "dist")).filter(
      f => f.endsWith(".d.ts") && /"node:|"node"|<reference|\bNodeJS\b|\bBuffer\b|\bprocess\./.test(read(`dist/${f}`)),
    );
    assert.equal(mention, []);
  },
  "opens only the doors in its exports"() {
    const answer = (name: string) =>
      run(process.execPath, "--input-type=module", "-e", `console.log(import.meta.resolve(${JSON.stringify(name)}))`);
    for (const name of [
      "farsight/dist/index.js",
      "farsight/dist/engine.js",
      "farsight/dist/fast.js",
      "farsight/dist/tasks.js",
      "farsight/data",
      "farsight/dist/op.js",
      "farsight/src/op.ts",
      "farsight/dist",
    ])
      assert.match(answer(name).err, /ERR_PACKAGE_PATH_NOT_EXPORTED/, name);
    for (const [name, file] of [
      ["farsight", "dist/index.js"],
      ["farsight/fast", "dist/fast.js"],
      ["farsight/tasks", "dist/tasks.js"],
      ["farsight/f32.wasm", "dist/f32.wasm"],
      ["farsight/f64.wasm", "dist/f64.wasm"],
      ["farsight/package.json", "package.json"],
    ] as const)
      assert.ok(
        answer(name).out.trim().endsWith(`/farsight/${file}`),
        `${name}: ${answer(name).out}${answer(name).err}`,
      );
  },
  async "leaves out of a bundle what the program does not import"() {
    const tape = await bundled(
      "tape.js",
      `import { Tape } from "farsight"; console.log(new Tape().tensor([2]));`,
      false,
    );
    const all = await bundled(
      "all.js",
      `import * as farsight from "farsight"; console.log(Object.values(farsight));`,
      false,
    );
    for (const words of [
      "layerNorm",
      "crossEntropy",
      "opName",
      "rmtEncoder",
      "adamw",
      "sandra",
      "selectiveCopy",
      "a vocabulary is not cut",
      "half a surrogate pair",
      "embeddingNorm",
    ]) {
      assert.ok(all.code.includes(words), `nothing says "${words}" any more; look for other words`);
      assert.not(tape.code.includes(words), `a program that imports Tape alone carries "${words}"`);
    }
    assert.ok(
      tape.code.length < all.code.length / 3,
      `Tape alone is ${tape.code.length} bytes of code, everything is ${all.code.length}`,
    );
  },
  async "fits a page: small, and free of Node"() {
    const page = /<script type="module">(.*?)<\/script>/s.exec(readFileSync(join(home, "README.md"), "utf8"))![1]!;
    const programs = {
      "for a page": page,
      "every export": `import * as farsight from "farsight"; globalThis.farsight = farsight;`,
      "tasks alone": `import * as tasks from "farsight/tasks"; globalThis.tasks = tasks;`,
    };
    for (const [name, text] of Object.entries(programs)) {
      const { code, gzipped } = await bundled(`${name}.js`, text, true);
      assert.ok(gzipped <= most(name), `${name}: ${gzipped} bytes gzipped; at most ${most(name)} are allowed`);
      assert.equal(
        [/node:/, /\bprocess\b/, /\brequire\(/, /\bBuffer\b/, /\bfetch\(/].filter(word => word.test(code)),
        [],
      );
    }
  },
});
