// node build.mjs [start | test | bench] [arguments] [--debug] Compiles the kernels once per dtype, bundles the library,
// writes its types, prints sizes; then runs what was asked for. Installs the development tools when they are missing.
// Everything printed here goes to stderr: stdout belongs to the program.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, constants } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";

const root = dirname(fileURLToPath(import.meta.url));
const caller = process.cwd();
process.chdir(root);
const say = (...words) => process.stderr.write(words.join(" ") + "\n");
const dtypes = {
  f32: { real: "f32", bits: "i32" },
  f64: { real: "f64", bits: "i64" },
};
// Bytes at most, minified and gzipped: of what the README's page imports and of every export, both dtypes inside, and
// of farsight/tasks, which has no kernels.
const BUDGETS = { "for a page": 60_000, "every export": 88_000, "tasks alone": 11_000 };
const PAGE = "Tape, adamw, counting, random, transformer";

const { devDependencies } = JSON.parse(readFileSync("package.json", "utf8"));
if (!Object.keys(devDependencies).every(name => existsSync(`node_modules/${name}`))) {
  say("installing the development tools (npm ci)");
  execFileSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
    stdio: ["ignore", 2, 2],
    shell: process.platform === "win32",
  });
}
const { default: esbuild } = await import("esbuild");

const files = (folder, ending) =>
  readdirSync(folder, { recursive: true })
    .map(f => join(folder, f))
    .filter(f => f.endsWith(ending) && !f.includes("node_modules"))
    .sort();
const stamp = (...paths) => {
  const hash = createHash("sha256");
  for (const path of paths) hash.update(path).update(readFileSync(path));
  return hash.digest("hex");
};

/** Runs `make` unless `dist/NAME.stamp` says that the same sources were built before. */
async function unlessBuilt(name, sources, make) {
  const now = stamp("build.mjs", "package-lock.json", ...sources) + (debug ? "-debug" : "");
  const file = `dist/dev/${name}.stamp`;
  if (existsSync(file) && readFileSync(file, "utf8") === now) return;
  rmSync(file, { force: true });
  await make();
  writeFileSync(file, now);
}

/**
 * The argument blocks of asm/: of each `@unmanaged` class its interface, and its layout: the names of its numbers, of
 * 8 bytes, and those of the words behind them, of 4 (sizes, addresses, flags), a list for each class it extends.
 */
function blocks(text) {
  const layouts = {};
  const extended = {};
  const types = [];
  const classes = /(\/\*\*(?:(?!\*\/)[^])*\*\/)\s*@unmanaged\s+export class (\w+)(?: extends (\w+))? \{([^]*?)\n\}/g;
  for (const [, comment, name, base, body] of text.matchAll(classes)) {
    const { numbers = [], words = [] } = layouts[base] ?? {};
    const own = [];
    layouts[name] = { numbers: [...numbers], words: [...words, own] };
    extended[name] = [...(extended[base] ?? []), name];
    const lines = body.replace(/^ {2}(\w+): (\w+);$/gm, (_, field, type) => {
      if (type === "f64" && (base || own.length)) throw new Error(`${name}.${field}: numbers come before words`);
      (type === "f64" ? layouts[name].numbers : own).push(field);
      const optional = ["Optional", "Flag"].includes(type) ? "?" : "";
      return `  readonly ${field}${optional}: ${type === "Flag" ? "boolean" : "number"};`;
    });
    types.push(`${comment}\nexport interface ${name} {${lines}\n}`);
  }
  const names = Object.entries(extended).map(([name, all]) => `  readonly ${name}: [${all.join(", ")}];`);
  types.push(`/** Every argument block. */\nexport interface Blocks {\n${names.join("\n")}\n}`);
  return { layouts, types: types.join("\n") };
}

/**
 * How kernels divide among threads (src/split.ts), from the comments above them in asm/, whose grammar stands in
 * asm/index.ts. `signatures`: the kernels as the compiler lists them.
 */
function divisions(text, signatures) {
  const above = {};
  for (const [, comments, name] of text.matchAll(/((?:^\/\/.*\n)+)export function (\w+)\(/gm)) {
    const lines = [...comments.matchAll(/^\/\/ threads: (.*)$/gm)].map(([, line]) => line);
    if (lines.length && above[name]) throw new Error(`asm: two kernels ${name}`);
    if (lines.length) above[name] = lines;
  }
  const all = {};
  for (const [, name, list, result] of signatures) {
    const lines = above[name];
    if (!lines) throw new Error(`asm: ${name} does not say how it divides\n  wants // threads: ... right above it`);
    if (/^serial\b/.test(lines[0])) continue;
    if (result !== "void") throw new Error(`asm: ${name} is divided, and returns a number`);
    const names = [...list.matchAll(/(\w+): /g)].map(([, word]) => word);
    all[name] = lines.map(line => division(name, line, names));
  }
  return all;
}
/** One line of such a comment: "rows x+d y+d | 1.5 ns rows d". */
function division(kernel, line, names) {
  const wrong = why => new Error(`asm: ${kernel}: ${why}\n  got   // threads: ${line}`);
  const place = name => {
    if (!names.includes(name)) throw wrong(`no argument ${name}`);
    return names.indexOf(name);
  };
  const [, size, grain = 1, words, cost, work] =
    /^(\w+)(?:\*(\d+))? (\S+(?: \S+)*) \| ([\d.]+) ns (.+)$/.exec(line) ?? [];
  if (!size) throw wrong("wants the size, what moves with it, and after a bar the time of one unit of work");
  const made = { size: place(size), grain: Number(grain), moves: [], room: -1, work: work.split(" ").map(place) };
  for (const word of words.split(" ")) {
    const [, name, kind, by, chunk = 1] = /^(\w+)([+#@])([\w.]*)(?:\/(\d+))?$/.exec(word) ?? [];
    if (!name) throw wrong(`${word} moves nothing`);
    const argument = place(name);
    if (kind === "@") made.room = argument;
    else if (kind === "#") made.moves.push({ argument, factors: [], by: Number(by), numbers: false });
    else {
      const factors = by === "1" ? [] : by.split(".").map(place);
      made.moves.push({ argument, factors, by: 1 / chunk, numbers: true });
    }
  }
  return { ...made, cost: Number(cost) };
}

/**
 * Functions that run once a row or more seldom, and are called from many places: inlined they take 2 kB of a page,
 * gzipped. Out of line, what runs once a panel of attention (copyFew, clear, putRow) would cost it 7 %. Also rare ones
 * that would be inlined in one dtype alone: f64 is then less like f32, which takes 1 kB of a page.
 */
const APART = [
  ...["row/loadTail", "row/storeTail", "row/writeOrAddTail", "row/finite", "row/rowDot", "row/rowSum", "random/block"],
  ...[
    "columns/addColumns",
    "columns/widenAll",
    "weigh/dot",
    "matmul/matmul",
    "matmul/manyTerms",
    "map/geluSlope",
    "map/siluSlope",
  ],
  ...["attention/forward/overKeys", "attention/forward/ofSequence", "attention/send/keep", "attention/send/blank"],
].map(f => `asm/${f}`);

/**
 * Optimizes a module in place. asc's own -O3 inlines as much and leaves modules 4 % larger when gzipped, and no faster
 * (npm run bench -- compare).
 */
async function optimize(path) {
  const { default: binaryen } = await import("binaryen");
  const { MVP, SIMD128, RelaxedSIMD, BulkMemory, BulkMemoryOpt, SignExt, NontrappingFPToInt } = binaryen.Features;
  const module = binaryen.readBinary(readFileSync(path));
  module.setFeatures(MVP | SIMD128 | RelaxedSIMD | BulkMemory | BulkMemoryOpt | SignExt | NontrappingFPToInt);
  binaryen.setOptimizeLevel(3);
  binaryen.setShrinkLevel(0);
  binaryen.setZeroFilledMemory(true);
  binaryen.setAlwaysInlineMaxSize(6);
  binaryen.setFlexibleInlineMaxSize(65);
  binaryen.setOneCallerInlineMaxSize(80);
  binaryen.setAllowInliningFunctionsWithLoops(true);
  for (const name of APART) {
    binaryen.setPassArgument("no-inline", name);
    module.runPasses(["no-inline"]);
  }
  module.optimize();
  module.optimize();
  module.runPasses(["coalesce-locals", "reorder-locals"]);
  binaryen.setDebugInfo(false); // names served the list above
  writeFileSync(path, module.emitBinary());
  module.dispose();
}

/** A class of the host's WebAssembly as a type, or `otherwise` where none is loaded: TypeScript has them in "dom". */
const hosted = (name, otherwise) =>
  `/** The host's WebAssembly.${name}, or as much of it as is used where no types of WebAssembly are loaded. */\n` +
  `export type ${name} = typeof globalThis extends { WebAssembly: { ${name}: { prototype: infer T } } }\n` +
  `  ? T\n  : ${otherwise};\n`;

/**
 * asm/ -> dist/f32.wasm, dist/f64.wasm and the kernels' types, as the compiler itself writes them; dist/fast/, with
 * fused multiply-add; the layouts of argument blocks; and how kernels divide.
 */
async function kernels() {
  const mode = debug ? ["--debug", "--sourceMap"] : ["-O0", "--debug", "--noAssert"];
  const jobs = Object.entries(dtypes).flatMap(([dtype, names]) =>
    ["", "fast/"].map(folder => [
      "asm/index.ts",
      "-o",
      `dist/${folder}${dtype}.wasm`,
      ...(folder ? ["--enable", "relaxed-simd"] : ["--bindings", "raw"]),
      ...Object.entries(names).flatMap(([name, is]) => ["--use", `${name}=${is}`]),
      ...mode,
      "--enable",
      "simd",
      "--runtime",
      "stub",
      "--importMemory",
      "--noExportMemory",
    ]),
  );
  mkdirSync("dist/fast", { recursive: true });
  await Promise.all(
    Array.from({ length: Math.min(jobs.length, availableParallelism()) }, async () => {
      for (let job = jobs.shift(); job; job = jobs.shift()) {
        const child = spawn(process.execPath, ["node_modules/assemblyscript/bin/asc.js", ...job], {
          stdio: ["ignore", "ignore", "pipe"],
        });
        let text = "";
        child.stderr.on("data", data => {
          text += data;
        });
        const [code] = await once(child, "close");
        if (code !== 0) throw new Error(`asc, ${job[2]}:\n${text}`);
        if (!debug) await optimize(job[2]);
      }
    }),
  );
  const signatures = [...readFileSync("dist/f32.d.ts", "utf8").matchAll(/^ *export function (\w+)\((.*)\): (\w+);$/gm)];
  const list = signatures.map(([, name, args, result]) => `  ${name}(${args}): ${result};`);
  const { layouts, types } = blocks(readFileSync("asm/attention/arguments.ts", "utf8"));
  writeFileSync("dist/dev/layouts.json", JSON.stringify(layouts));
  const divided = divisions(
    files("asm", ".ts")
      .map(f => readFileSync(f, "utf8"))
      .join("\n"),
    signatures,
  );
  writeFileSync("dist/dev/divisions.json", JSON.stringify(divided));
  writeFileSync(
    "dist/kernels.d.ts",
    "/** The kernels of one dtype: sizes in elements, addresses in bytes. */\n" +
      `export interface Kernels {\n${list.join("\n")}\n}\n${types}\n` +
      hosted("Module", "object") +
      hosted("Memory", "{ readonly buffer: ArrayBufferLike; grow(pages: number): number }"),
  );
  for (const f of ["f32", "f64"]) for (const end of ["js", "d.ts"]) rmSync(`dist/${f}.${end}`, { force: true });
}

/**
 * Characters that need no escape in any kind of string; those behind them, | and }, announce one of the rarer bytes.
 */
const CODES = Array.from({ length: 124 - 32 }, (_, i) => i + 32).filter(
  c => !['"', "'", "\\", "`"].includes(String.fromCharCode(c)),
);

/**
 * Kernels as text, for all modules by one alphabet: a character for each of the commonest bytes, two for the others
 * (src/engine.ts reads it). Gzipped a twentieth smaller than one that needs escapes, and a third smaller than base64,
 * which hides from gzip what repeats.
 */
function alphabet() {
  const counts = new Array(256).fill(0);
  const paths = ["dist/", "dist/fast/"].flatMap(folder => Object.keys(dtypes).map(dtype => `${folder}${dtype}.wasm`));
  for (const path of paths) for (const byte of readFileSync(path)) counts[byte]++;
  const ranked = counts.map((_, byte) => byte).sort((a, b) => counts[b] - counts[a] || a - b);
  const common = new Set(ranked.slice(0, CODES.length));
  const rest = [...counts.keys()].filter(byte => !common.has(byte));
  const chars = [];
  [...common].sort((a, b) => a - b).forEach((byte, i) => (chars[byte] = String.fromCharCode(CODES[i])));
  rest.forEach(
    (byte, i) => (chars[byte] = "|}"[Math.floor(i / CODES.length)] + String.fromCharCode(CODES[i % CODES.length])),
  );
  const digits = Array.from({ length: 64 }, (_, i) => {
    const four = [0, 1, 2, 3].reduce((n, bit) => n + (common.has(4 * i + bit) ? 1 << bit : 0), 0);
    return four.toString(16);
  });
  return { chars, common: digits.join("") };
}

/**
 * Bytes of f32 and those that stand for the same in f64, mostly instructions. The text of f64 has the two change
 * places, so that gzip finds f64 in f32: 2.2 kB less of a page. Each found by the size of a page with it and without;
 * the order counts.
 */
const SWAPS = [
  ["fd 46", "fd 4c"], // ge
  ["fd 43", "fd 49"], // lt
  ["fd e1 01", "fd ed 01"], // neg
  ["93", "a1"], // sub of scalars
  ["fd 42", "fd 48"], // ne
  ["fd 37", "fd d6 01"], // eq of bits
  ["41 02 74", "41 03 74"], // i32.const, i32.shl: numbers -> bytes
  ["fd e4", "fd f0"], // add
  ["fd e6", "fd f2"], // mul
  ["fd e5", "fd f1"], // sub
  ["fd 09 02", "fd 0a 03"], // v128.load_splat
  ["2a 02", "2b 03"], // load
  ["fd 13", "fd 14"], // splat
  ["38 02", "39 03"], // store
  ["43 00 00 00 00", "44 00 00 00 00 00 00 00 00"], // const 0
  ["eb", "f7"], // pmax
  ["7d 20", "7c 20"], // the type of locals, before local.get
  ["41 7c", "41 7e"], // i32.const, minus the lanes of a vector
  ["41 04", "41 08"], // i32.const, the bytes of a number
  ["03 71", "01 71"], // i32.and: numbers beyond whole vectors
  ["fd e7", "fd f3"], // div
  ["ea 01", "f6 01"], // pmin
  ["fd 1f", "fd 21"], // extract_lane
  ["02 76", "03 76"], // i32.shr_u: bytes -> numbers
  ["43 00 00 80 3f", "44 00 00 00 00 00 00 f0 3f"], // const 1
];

/** The text of f64, swapped by those of `SWAPS` that give it back when swapped once more; and these, as text. */
function alike(text, chars) {
  const word = bytes =>
    bytes
      .split(" ")
      .map(byte => chars[parseInt(byte, 16)])
      .join("");
  const swaps = [];
  for (const [a, b] of SWAPS.map(pair => pair.map(word))) {
    const swapped = swap(text, [a, b]);
    if (swap(swapped, [a, b]) !== text) continue;
    text = swapped;
    swaps.unshift([a, b]);
  }
  return { text, swaps };
}
/** A text in which two words have changed places. */
const swap = (text, [a, b]) =>
  text
    .split(a)
    .map(part => part.split(b).join(a))
    .join(b);

/**
 * The kernels of both dtypes as text, the layouts of argument blocks, and how kernels divide. Pieces of the two take
 * turns, since they are alike and gzip looks back no further than 32 kB: 3 kB less than one after the other.
 */
const inline = {
  name: "wasm",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /kernels\.wasm$/ }, ({ path, resolveDir }) => ({
      path: join(resolveDir, dirname(path)),
      namespace: "kernels",
    }));
    onLoad({ filter: /./, namespace: "kernels" }, ({ path: folder }) => {
      const { chars, common } = alphabet();
      const textOf = dtype => Array.from(readFileSync(join(folder, `${dtype}.wasm`)), byte => chars[byte]).join("");
      const f32 = textOf("f32");
      const { text: f64, swaps } = alike(textOf("f64"), chars);
      const pieces = [];
      for (let at = 0, n = 12000; at < Math.max(f32.length, f64.length); at += n)
        pieces.push(f32.slice(at, at + n), f64.slice(at, at + n));
      const [layouts, divisions] = ["layouts", "divisions"].map(name => readFileSync(`dist/dev/${name}.json`, "utf8"));
      const every = i => `pieces.filter((_, i) => i % 2 === ${i}).join("")`;
      return {
        contents:
          `const pieces = ${JSON.stringify(pieces)};\n` +
          `const swap = ${swap};\n` +
          `export const f32 = () => ${every(0)};\n` +
          `export const f64 = () => ${JSON.stringify(swaps)}.reduce(swap, ${every(1)});\n` +
          `export const common = "${common}";\n` +
          `export const layouts = ${layouts};\nexport const divisions = ${divisions};`,
        loader: "js",
      };
    });
  },
};
const bundle = {
  bundle: true,
  format: "esm",
  target: "es2022",
  plugins: [inline],
  legalComments: "none",
  logLevel: "error",
};

/** What entry points share lies in files of these names, told by a source in each. */
const SHARED = { engine: "src/engine.ts", data: "src/random.ts", check: "src/check.ts" };
/**
 * The entry points and, in files of their own, what they share: neither an Engine nor a generator must exist twice. The
 * tasks share no file with kernels.
 */
async function entries() {
  const { outputFiles, metafile } = await esbuild.build({
    ...bundle,
    entryPoints: { index: "src/index.ts", fast: "src/fast.ts", tasks: "src/tasks/index.ts" },
    outdir: "dist",
    splitting: true,
    chunkNames: "shared-[hash]",
    platform: "neutral",
    sourcemap: debug,
    metafile: true,
    write: false,
  });
  const chunks = Object.entries(metafile.outputs).flatMap(([path, { inputs }]) => {
    const [chunk] = /shared-\w+(?=\.js$)/.exec(path) ?? [];
    return chunk
      ? [
          [
            chunk,
            Object.keys(SHARED)
              .filter(name => SHARED[name] in inputs)
              .join(),
          ],
        ]
      : [];
  });
  if (
    chunks
      .map(([, name]) => name)
      .sort()
      .join() !== Object.keys(SHARED).sort().join()
  )
    throw new Error(`the entry points share other files than ${Object.keys(SHARED)}: ${chunks.map(c => c[1])}`);
  const named = text => chunks.reduce((made, [chunk, name]) => made.replaceAll(chunk, name), text);
  for (const { path, text } of outputFiles) writeFileSync(named(path), named(text));
}

async function library() {
  await entries();
  const bundles = {
    "for a page": `export { ${PAGE} } from "./src/index.ts"`,
    "every export": `export * from "./src/index.ts"`,
    "tasks alone": `export * from "./src/tasks/index.ts"`,
  };
  const shares = {};
  for (const [name, contents] of Object.entries(bundles)) {
    const stdin = { contents, resolveDir: process.cwd(), loader: "ts" };
    const made = await esbuild.build({ ...bundle, stdin, platform: "neutral", minify: true, write: false });
    shares[name] = made.outputFiles[0].contents;
  }
  const zipped = bytes => gzipSync(bytes, { level: 9 }).length;
  const line = (name, bytes, of = "") =>
    `${name.padEnd(20)} ${String(bytes.length).padStart(7)} bytes ${String(zipped(bytes)).padStart(7)} gzipped${of}`;
  const sizes = [
    ...["f32.wasm", "f64.wasm", "engine.js", "data.js", "check.js", "index.js", "fast.js", "tasks.js"].map(f =>
      line(f, readFileSync(`dist/${f}`)),
    ),
    ...Object.entries(shares).map(([name, bytes]) => line(name, bytes, `, minified, of ${BUDGETS[name]} allowed`)),
  ];
  writeFileSync("dist/dev/sizes", sizes.join("\n"));
  for (const [name, bytes] of Object.entries(shares))
    if (zipped(bytes) > BUDGETS[name] && !debug)
      throw new Error(`the bundle, ${name}, is ${zipped(bytes)} bytes gzipped; at most ${BUDGETS[name]} are allowed`);
}

/**
 * The options of an operation, as declared and with their defaults; "" where it has none. `type` is what the compiler
 * wrote: an object's fields, one a line.
 */
function optionsOf(name, { attrs }, type) {
  const fields = [...type.matchAll(/^ {4}(\w+): (.*);$/gm)];
  const keys = Object.keys(attrs);
  if (fields.map(([, key]) => key).join() !== keys.join()) throw new Error(`types: ${name} has the options ${keys}`);
  const shortest = n => [String(n), n.toExponential()].sort((a, b) => a.length - b.length)[0];
  const shown = value => (typeof value === "number" ? shortest(value) : JSON.stringify(value));
  const list = fields.map(([, key, is]) => `/** Default ${shown(attrs[key])}. */ ${key}?: ${is}`);
  return list.length ? `{ ${list.join("; ")} }` : "";
}

/**
 * An operation as an editor shows it: a function with the names of its inputs and options, once more for each input
 * that may be left out before options, and what an Op carries. `comment`: its own, in the source.
 */
function declaration(name, entry, comment, type) {
  const { inputs, opName, signature } = entry;
  const options = optionsOf(name, entry, type);
  const [left, right] = signature.split(" ->").map(side => side.trim().split(", "));
  const isOptional = left.map(input => input.endsWith("?"));
  const least = isOptional.lastIndexOf(false) + 1;
  const parameters = inputs.map((input, i) => {
    if (left[i].endsWith("*")) return `${input}: readonly Tensor[]`;
    if (i < least) return `${input}: Tensor${isOptional[i] ? " | undefined" : ""}`;
    return `${input}?: Tensor`;
  });
  const result = right.length === 1 ? "Tensor" : `[${right.map(() => "Tensor").join(", ")}]`;
  const declared = list => `${comment}export declare function ${name}(${list.join(", ")}): ${result};\n`;
  let text = declared(options ? [...parameters, `options?: ${options}`] : parameters);
  for (let n = inputs.length - 1; options && n >= least; n--) {
    const given = parameters.slice(0, n).map(parameter => parameter.replace("?: Tensor", ": Tensor | undefined"));
    text += declared([...given, `options: ${options}`]);
  }
  const carried = {
    opName: JSON.stringify(opName),
    inputs: `readonly [${inputs.map(input => JSON.stringify(input)).join(", ")}]`,
    signature: JSON.stringify(signature),
    attrs: options ? type : "{}",
    constant: "readonly number[]",
    stops: "readonly (readonly [output: number, input: number])[]",
    domain: "readonly [number, number]",
  };
  const members = Object.entries(carried).map(([key, is]) => `    const ${key}: ${is.replaceAll("\n", "\n    ")};\n`);
  return `${text}export declare namespace ${name} {\n${members.join("")}}`;
}

/** The operations that each file of src/ops exports, by name. */
async function operations() {
  const modules = files("src/ops", ".ts").map(f => f.replaceAll("\\", "/"));
  await esbuild.build({
    ...bundle,
    stdin: { contents: modules.map(f => `export * as "${f}" from "./${f}";`).join("\n"), resolveDir: root },
    platform: "node",
    outfile: "dist/dev/operations.mjs",
  });
  const all = await import(pathToFileURL(join(root, "dist/dev/operations.mjs")));
  return modules.map(f => [f, Object.entries(all[f]).filter(([, value]) => value.opName)]);
}

/**
 * Types: in dist/ without what is internal, as they are published; in dist/dev/types/ whole, for test/ and bench/.
 * Declarations of operations are rewritten from the operations themselves, for the compiler knows their inputs by
 * place alone.
 */
async function types() {
  const tsc = args =>
    spawnSync(process.execPath, ["node_modules/typescript/bin/tsc", ...args], { stdio: ["ignore", 2, 2] }).status;
  for (const f of files("dist", ".d.ts")) if (basename(f) !== "kernels.d.ts") rmSync(f);
  const found = await operations();
  for (const [folder, kernels, strip] of [
    ["dist", "./kernels.js", "true"],
    ["dist/dev/types", "../../kernels.js", "false"],
  ]) {
    if (tsc(["-p", "tsconfig.json", "--outDir", folder, "--stripInternal", strip]) !== 0)
      throw new Error("types: src/ does not check");
    const rewrite = (f, change) => writeFileSync(f, change(readFileSync(f, "utf8")));
    rewrite(`${folder}/engine.d.ts`, text => text.replace("../dist/kernels.js", kernels));
    if (strip === "true") rewrite(`${folder}/tensor.d.ts`, unmakeable);
    for (const [f, entries] of found)
      if (entries.length) rewrite(f.replace(/^src(.*)\.ts$/, `${folder}$1.d.ts`), text => named(text, entries));
  }
}
/** A class whose constructor is internal: without one it would seem to be made by `new` with no arguments. */
function unmakeable(text) {
  return text.replace(/^export declare class \w+ \{\n/m, line => `${line}    private constructor();\n`);
}
/** The declarations of a file, those of its operations rewritten. */
function named(text, entries) {
  const tensor = 'import type { Tensor } from "../tensor.ts";\n';
  let made = text.includes(tensor) ? text : tensor + text;
  for (const [name, entry] of entries) {
    const before = new RegExp(
      `((?:^/\\*\\*(?:(?!\\*/)[^])*\\*/\\n)?)^export declare const ${name}: [^<;]*\\bOp<"[^"]*", ([^]*?)>;$`,
      "m",
    );
    const after = made.replace(before, (_, comment, type) => declaration(name, entry, comment, type));
    if (after === made) throw new Error(`types: no declaration of ${name} that could be rewritten`);
    made = after;
  }
  return made;
}

/** Bundles programs (tests, bench) that import the library by its own name. */
async function programs(folder) {
  rmSync(`dist/dev/${folder}`, { recursive: true, force: true });
  await esbuild.build({
    ...bundle,
    entryPoints: files(folder, ".ts"),
    outdir: `dist/dev/${folder}`,
    outbase: folder,
    platform: "node",
    packages: "external",
    sourcemap: "inline",
    outExtension: { ".js": ".mjs" },
  });
}

/** The parent of a process, where the system says so. */
function parentOf(pid) {
  try {
    return Number(readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1).split(" ")[1]);
  } catch {
    return undefined;
  }
}

/**
 * Calls `end` when npm has ended, for whatever reason: it passes signals on to the shell between it and this program,
 * or to nobody, and the shell to nobody.
 */
function withNpm(end) {
  if (!process.env.npm_lifecycle_event) return;
  const { ppid } = process;
  const name = existsSync(`/proc/${ppid}/comm`) ? readFileSync(`/proc/${ppid}/comm`, "utf8").trim() : "";
  const above = () => (name.endsWith("sh") ? parentOf(ppid) : undefined);
  const npm = above();
  const watch = setInterval(() => {
    if (process.ppid === ppid && above() === npm) return;
    clearInterval(watch);
    end();
  }, 200);
}

/** Runs a program, which ends when this one is told to or is no more; ends with its status. */
function run(program, words, cwd) {
  const child = spawn(process.execPath, ["--enable-source-maps", join(root, "dist/dev", program), ...words], {
    stdio: ["inherit", "inherit", "inherit", "ipc"],
    cwd,
  });
  // Not the signal: Ctrl-C reaches the program as well, and a second one ends it at once.
  const stop = () => {
    if (child.connected) child.send("stop", () => {});
    if (command === "bench") child.kill(); // which hears nothing while it measures
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const signal of signals) process.on(signal, stop);
  withNpm(stop);
  child.on("close", (code, signal) =>
    process.exit(code ?? (signals.includes(signal) ? 130 : 128 + constants.signals[signal])),
  );
}

const words = process.argv.slice(2).filter(w => w !== "--debug");
const debug = process.argv.includes("--debug");
const command = ["start", "test", "bench"].includes(words[0]) ? words.shift() : "";
process.stderr.on("error", () => {}); // nobody reads on
mkdirSync("dist/dev", { recursive: true });
try {
  const asm = files("asm", ".ts");
  const src = files("src", ".ts");
  await unlessBuilt("kernels", asm, kernels);
  await unlessBuilt("library", [...asm, ...src], library);
  if (!command) say(readFileSync("dist/dev/sizes", "utf8"));
  await unlessBuilt("types", [...asm, ...src, "tsconfig.json"], types);
  // Only when they changed: another run may be starting its threads from these files.
  const bench = files("bench", ".ts");
  if (command) await unlessBuilt("bench", bench, () => programs("bench"));
  if (command === "test")
    await unlessBuilt("test", [...src, ...bench, ...files("test", ".ts")], () => programs("test"));
} catch (error) {
  say(String(error.message ?? error));
  process.exit(1);
}
if (command) {
  const program = { start: "bench/start.mjs", test: "test/run.mjs", bench: "bench/bench.mjs" }[command];
  run(program, words, command === "test" ? root : caller);
}
