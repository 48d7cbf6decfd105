// The shape of the project, read from its files: imports run down one line, nothing reaches outside, and lists are
// complete.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path/posix";
import * as assert from "uvu/assert";
import * as library from "farsight";
import { ops } from "../src/ops/index.ts";
import { suite } from "./check.ts";

/** Files from the bottom up, one rank a line: a file imports only from ranks below its own. */
const ranks = [
  ["src/check.ts", "src/split.ts", "src/recycle.ts", "src/breath.ts"],
  ["src/math.ts", "src/header.ts"],
  ["src/random.ts", "src/engine.ts", "src/safetensors.ts"],
  ["src/fast.ts", "src/tensor.ts"],
  ["src/backward.ts", "src/signature.ts", "src/names.ts"],
  ["src/tape.ts"],
  ["src/op.ts"],
  ["src/ops/elementwise.ts", "src/ops/products.ts", "src/ops/rows.ts", "src/ops/losses.ts", "src/ops/myopic.ts"],
  ["src/ops/shapes.ts", "src/ops/composed.ts", "src/ops/attention.ts"],
  ["src/ops/index.ts"],
  ["src/nn.ts"],
  ["src/optim.ts", "src/gradcheck.ts"],
  ["src/fit.ts", "src/checkpoint.ts"],
  ["src/curriculum.ts"],
  ["src/positions/kind.ts"],
  ["src/positions/absolute.ts", "src/positions/sinusoidal.ts", "src/positions/relative.ts", "src/positions/rope.ts"],
  ["src/positions/alibi.ts", "src/positions/cope.ts"],
  ["src/positions/index.ts"],
  ["src/models/myopic.ts", "src/models/carry.ts", "src/models/stream.ts"],
  ["src/models/carries/cache.ts", "src/models/carries/states.ts", "src/models/carries/association.ts"],
  ["src/models/carries/index.ts"],
  ["src/models/attention.ts"],
  ["src/models/inside.ts"],
  ["src/models/layer.ts"],
  ["src/models/transformer.ts"],
  ["src/models/recurrent.ts", "src/models/published.ts"],
  ["src/models/rmt.ts", "src/models/encoder.ts", "src/models/generate.ts"],
  [
    "src/models/armt.ts",
    "src/models/retrieval.ts",
    "src/models/gpt2.ts",
    "src/models/bert.ts",
    "src/models/nanogpt.ts",
  ],
  ["src/tasks/text.ts", "src/tasks/mistakes.ts", "src/tasks/sine.ts"],
  ["src/tasks/sequences.ts", "src/tasks/facts.ts"],
  ["src/tasks/copy.ts", "src/tasks/counting.ts", "src/tasks/equations.ts", "src/tasks/flipflop.ts"],
  ["src/tasks/language.ts", "src/tasks/memorize.ts", "src/tasks/reasoning.ts", "src/tasks/recall.ts"],
  ["src/tasks/index.ts"],
  ["src/index.ts"],
];
const rank = new Map(ranks.flatMap((files, i) => files.map(file => [file, i] as const)));
/** What tasks may use: numbers and checks, and no engine, so that a page may draw data without kernels. */
const pure = ["src/check.ts", "src/math.ts", "src/random.ts"];
const isPure = (file: string): boolean => pure.includes(file) || file.startsWith("src/tasks/");

const folder = (name: string): string[] =>
  (readdirSync(name, { recursive: true }) as string[])
    .map(f => join(name, f.replaceAll("\\", "/")))
    .filter(f => f.endsWith(".ts") && !f.endsWith(".d.ts"))
    .sort();
const read = (file: string): string => readFileSync(file, "utf8");
const sources = folder("src");
const kernels = folder("asm");
const tests = folder("test").filter(f => f.endsWith(".test.ts"));

/** Code without comments; strings stay. Strings and comments are told apart, a template's `${...}` included. */
function code(text: string): string {
  return text.replace(
    /("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g,
    (_, string: string | undefined) => string ?? " ",
  );
}
/** Files that a file imports, as paths from the project's root. */
const imports = (file: string): string[] =>
  [...code(read(file)).matchAll(/^(?:import|export)\b[\w\s{},*$]*"([^"]+)";|\bimport\s*\(\s*"?([^")]*)/gm)]
    .map(m => m[1] ?? m[2]!)
    .map(to => (to.startsWith(".") ? join(dirname(file), to) : to));
/** A tensor and its tape know each other's type. */
const mutual = ["src/tensor.ts src/tape.ts"];
/** Imports that break the line. */
const upward = (file: string, list: readonly string[]): string[] =>
  list.filter(to =>
    to.startsWith("src/")
      ? !(rank.get(to)! < rank.get(file)!) && !mutual.includes(`${file} ${to}`)
      : !(
          (file === "src/engine.ts" && to.startsWith("dist/")) ||
          (file === "src/fast.ts" && ["dist/fast/kernels.wasm", "dist/kernels.wasm"].includes(to))
        ),
  );

/** What the host's Math may be asked for: results that IEEE 754 and ECMA-262 fix to the last bit. */
const exact = [
  "abs",
  "ceil",
  "clz32",
  "floor",
  "fround",
  "imul",
  "max",
  "min",
  "round",
  "sign",
  "sqrt",
  "trunc",
  "PI",
  "LN2",
  "SQRT2",
];
const hosts =
  "process console Date performance Buffer require globalThis window document navigator fetch setTimeout setInterval " +
  "setImmediate queueMicrotask localStorage crypto Intl toLocaleString localeCompare";
const outside = new RegExp(
  String.raw`\b(?:${hosts.replaceAll(" ", "|")})(?:\?\.|\s*[.[(])|` +
    String.raw`\b(?:new|typeof|=) ?(?:Date|process|window|globalThis)\b|\bimport\.meta\b|\*\*`,
);
function reaches(text: string): string[] {
  const bare = code(text).replace(/"[^"\n]*"/g, '""');
  return [
    ...(/"node:\w+/.exec(code(text)) ?? []),
    ...(outside.exec(bare) ?? []),
    ...[...bare.matchAll(/\bMath\.(\w+)|\bMath\[/g)].filter(m => !exact.includes(m[1] ?? "")).map(m => m[0]),
  ];
}

suite("layers", {
  "every file of src/ has a rank, and every rank its files"() {
    assert.equal([...rank.keys()].sort(), sources);
  },
  "imports only run down the line engine, tape, op, ops, nn, models, tasks"() {
    for (const file of sources) assert.equal(upward(file, imports(file)), [], file);
    assert.ok(
      imports("src/ops/rows.ts").includes("src/op.ts") && imports("src/models/rmt.ts").length > 4,
      "the imports were read",
    );
    assert.equal(upward("src/op.ts", ["src/tape.ts", "src/ops/rows.ts", "src/op.ts", "uvu", "dist/f32.wasm"]), [
      "src/ops/rows.ts",
      "src/op.ts",
      "uvu",
      "dist/f32.wasm",
    ]);
  },
  "tasks are functions of random numbers and nothing else"() {
    for (const file of sources.filter(f => f.startsWith("src/tasks/")))
      assert.equal(
        imports(file).filter(to => !isPure(to)),
        [],
        file,
      );
  },
  "no file of src/ touches the outside, or functions whose last bit depends on the host"() {
    const hosted = ["src/fast.ts", "src/breath.ts"];
    for (const file of sources.filter(f => !hosted.includes(f))) assert.equal(reaches(read(file)), [], file);
    for (const bad of [
      "process.env.X",
      "console.log(1)",
      "new Date()",
      "Date.now()",
      "Math.random()",
      "Math.exp(x)",
      "Math.log(x)",
      "Math.tanh(x)",
      "Math.sin(x)",
      "Math.cos(x)",
      "Math.pow(x, 2)",
      "x ** 2",
      "Math.hypot(x)",
      "Math.cbrt(x)",
      "Math[name](x)",
      'import "node:fs"',
      "performance.now()",
      "`${Math.expm1(x)}`",
    ])
      assert.ok(reaches(`const y = 1; // a comment\n${bad};`).length > 0, bad);
    assert.equal(reaches('/** Math.exp, process and Date */ const s = Math.sqrt(2), u = "https://x"; // console'), []);
  },
  "breath.ts asks the host for a clock and a macrotask, fit.ts alone asks breath.ts, and it imports nothing"() {
    const text = code(read("src/breath.ts"));
    const asked = "const { setImmediate, MessageChannel, setTimeout } = globalThis as Host;";
    assert.is(text.split(asked).length, 2);
    const rest = text.replace(asked, "").replace(/\bperformance\.now\(\)/g, "");
    assert.equal(reaches(rest.replace(/\bset(?:Immediate|Timeout)\(done\)/g, "")), []);
    assert.equal(imports("src/breath.ts"), []);
    assert.equal(
      sources.filter(f => imports(f).includes("src/breath.ts")),
      ["src/fit.ts"],
    );
  },
  "fast.ts asks the host for its features, for threads and for the time they take, and for nothing else"() {
    const text = code(read("src/fast.ts"));
    const asked = "const host = globalThis as unknown as Host;";
    assert.ok(text.includes(asked) && text.includes("host.process?.getBuiltinModule?.("));
    assert.equal(
      [...text.matchAll(/\bhost\.([\w.?]+)/g)]
        .map(m => m[1]!.replace(/\?.*/, ""))
        .filter(name => !["process", "SharedArrayBuffer", "Worker", "navigator"].includes(name)),
      [],
    );
    assert.equal(
      [...text.matchAll(/\bnode<\w+>\("(\w+)"/g)]
        .map(m => m[1])
        .filter(name => name !== "os" && name !== "worker_threads"),
      [],
    );
    assert.equal(
      reaches(
        text
          .replace(asked, "")
          .replace(/`"use strict";[\s\S]*?`;/, "")
          .replace(/\bhost\.(?:process|navigator)\?\.|\bperformance\.now\(\)/g, "")
          .replace("`node:${name}`", "")
          .replace(/"node:worker_threads"/g, ""),
      ),
      [],
    );
    assert.equal(
      imports("src/index.ts").filter(to => /fast|split/.test(to)),
      [],
      "a page that asks for no fast engine carries one",
    );
  },
  "index.ts lists names one by one, and no file has a default export or an enum"() {
    for (const file of sources)
      assert.not.match(code(read(file)), /\bexport default\b|\benum \w|\bnamespace \w|@ts-ignore|@ts-nocheck/);
    assert.not.match(code(read("src/index.ts")), /\b(?:const|function|class|let)\b/);
  },
});

suite("errors", {
  "check.ts alone makes errors and says what was wanted and got"() {
    const made = (text: string): string[] => code(text).match(/\\n {2}(?:wants|got)|\bnew \w*Error\(/g) ?? [];
    // Rules throw a bare RangeError, which op.ts completes.
    const bare = (file: string, error: string): boolean => file.startsWith("src/ops/") && error === "new RangeError(";
    for (const file of sources.filter(f => f !== "src/check.ts"))
      assert.equal(
        made(read(file)).filter(error => !bare(file, error)),
        [],
        file,
      );
    assert.ok(made(read("src/ops/composed.ts")).length > 1, "the errors were read");
    assert.equal(made('throw new TypeError("x: y\\n  wants z");'), ["new TypeError(", "\\n  wants"]);
  },
});

suite("lists", {
  "no two operations share a name, and every family is in the list"() {
    assert.is(new Set(ops.map(o => o.opName)).size, ops.length);
    const written = folder("src/ops").flatMap(file => [...code(read(file)).matchAll(/@?\bop\(|\bmap\("|\bmasked\("/g)]);
    assert.ok(ops.length > 40 && written.length >= ops.length - 3, `${ops.length} of ${written.length}`);
  },
  "the package exports every operation under its own name"() {
    const names = Object.keys(library);
    for (const o of ops) assert.ok(names.includes(o.opName), o.opName);
    assert.equal(
      library.ops.map(o => `${o.opName}: ${o.signature}`),
      ops.map(o => `${o.opName}: ${o.signature}`),
    );
  },
  "package.json has no dependencies, and only files that exist"() {
    const pkg = JSON.parse(read("package.json")) as Record<string, unknown> & {
      exports: Record<string, string | Record<string, string>>;
    };
    for (const kind of [
      "dependencies",
      "peerDependencies",
      "optionalDependencies",
      "bundleDependencies",
      "bundledDependencies",
    ])
      assert.is(pkg[kind], undefined, kind);
    for (const target of Object.values(pkg.exports).flatMap(x => (typeof x === "string" ? [x] : Object.values(x))))
      assert.ok(existsSync(target), target);
    for (const name of ["preinstall", "install", "postinstall"]) assert.not.ok(name in (pkg.scripts as object), name);
  },
});

suite("kernels", {
  "asm/ imports only asm/, and never Math"() {
    assert.ok(kernels.length > 5);
    for (const file of kernels) {
      const bare = code(read(file));
      for (const m of bare.matchAll(/\bfrom\s*"([^"]+)"/g))
        assert.ok(kernels.includes(`${join(dirname(file), m[1]!)}.ts`), `${file} imports ${m[1]}`);
      assert.not.match(bare, /Math[.fF]|@ts-ignore|@external|\bdeclare\b|\bnew \w|\bArray</, file);
    }
  },
  "asm/ keeps no state and uses no random instruction, and a relaxed one only in modules built for it"() {
    const guarded = /ASC_FEATURE_RELAXED_SIMD \? v128\.relaxed_madd<real>\(a, b, c\) :/;
    for (const file of kernels)
      assert.not.match(
        code(read(file)).replace(guarded, ""),
        /^(?:export )?let\b|\brelaxed_|\bheap\.|\bseed\(|\btrace\(|\bstring\b/m,
        file,
      );
  },
  "both builds export the same kernels, and each is called by src/ or a test"() {
    const names = (["f32", "f64"] as const).map(dtype => Object.keys(new library.Engine(dtype).kernels).sort());
    assert.equal(names[0], names[1]);
    const all = code(sources.map(read).join("\n")) + tests.map(read).join("\n");
    const rules = code(folder("src/ops").map(read).join("\n"));
    for (const name of names[0]!.filter(n => n !== "scratch" && n !== "width")) {
      // rules also pick a kernel by name: K[kernel], K[`${kernel}Back`]
      const base = name.replace(/Back$/, "(?:Back)?");
      assert.ok(
        new RegExp(`[.]${base}\\(|kernel\\("${base}"`).test(all) || new RegExp(`"${base}"`).test(rules),
        `nobody calls ${name}`,
      );
    }
  },
});

suite("tests", {
  "every test file calls suite, and leaves run to it"() {
    assert.ok(tests.length > 5);
    for (const file of tests) {
      const bare = code(read(file));
      assert.match(bare, /\bsuite\(/, file);
      assert.match(bare, /import \{[^}]*\bsuite\b[^}]*\} from "\.\/check\.ts"/, file);
      assert.not.match(bare, /from "uv[u]"|\b(?:test|group|suite)[.](?:only|skip)\(/, file);
    }
  },
});
