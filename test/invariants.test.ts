// What the design promises of the code, each promise held by reading the files or by watching what is called.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path/posix";
import ts from "typescript-oldest"; // which has the compiler's interface for JavaScript
import * as assert from "uvu/assert";
import {
  Tape,
  add,
  concat,
  kinds,
  matmul,
  op,
  reshape,
  scale,
  slice,
  stopGradient,
  sum,
  tanh,
  type Operand,
  type Tensor,
} from "farsight";
import { peak, suite } from "./check.ts";

const files = (folder: string): string[] =>
  (readdirSync(folder, { recursive: true }) as string[])
    .map(f => join(folder, f.replaceAll("\\", "/")))
    .filter(f => /\.(ts|mjs)$/.test(f) && !f.includes("node_modules"))
    .sort();
const read = (file: string): string => readFileSync(file, "utf8");
/** Code without comments and without what stands in strings. */
const code = (file: string): string =>
  read(file)
    .replace(/("(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`)|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g, (_, s?: string) => s ?? " ")
    .replace(/"[^"\n]*"/g, '""');
/** All code but the tests. */
const everything = [...["asm", "src", "bench"].flatMap(files), "build.mjs"];
/** Functions of a file that have more than `most` lines, and how many. */
function long(file: string, text: string, most: number): string[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const lineOf = (at: number): number => source.getLineAndCharacterOfPosition(at).line;
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    const lines = lineOf(node.end) - lineOf(node.getStart(source)) + 1;
    if (ts.isFunctionLike(node) && lines > most) {
      const name = (node as ts.NamedDeclaration).name ?? (node.parent as ts.NamedDeclaration).name;
      found.push(`${file}: ${name?.getText(source) ?? "a function"} (${lines})`);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}
/** Members of a name among `names` that a file reads, takes apart, writes or declares. */
function members(file: string, text: string, names: readonly string[]): string[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    const name =
      ts.isBindingElement(node) && ts.isObjectBindingPattern(node.parent)
        ? (node.propertyName ?? node.name)
        : ts.isPropertyAccessExpression(node) ||
            ts.isPropertyAssignment(node) ||
            ts.isShorthandPropertyAssignment(node) ||
            ts.isPropertySignature(node)
          ? node.name
          : undefined;
    const text = name && (name as ts.Node).getText(source);
    if (text && names.includes(text)) found.push(`${file}: ${text}`);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}
const models = files("src/models");
const positions = files("src/positions");
const others = ["src/positions/kind.ts", "src/positions/index.ts"];

/** What models and positions may not see: addresses, gradients' addresses, kernels, the engine. */
const below = /\.(?:data|grad|root|region|blank|spent)\b|\bkernels?\b|\bengine\b|\bEngine\b|\bK\./;

suite("invariants", {
  "models and positions never see a kernel, an address or the engine"() {
    assert.ok(models.length > 5 && positions.length > 6);
    for (const file of [...models, ...positions]) {
      assert.not.match(code(file), below, file);
      const upper = [...read(file).matchAll(/^import ([^;]*?) from "[./]+(engine|tape|backward|fast)\.ts"/gm)];
      for (const [text, names, from] of upper)
        assert.ok(from === "tape" && /^(?:type \{.*\}|\{ type \w+ \})$/s.test(names!), `${file}: ${text}`);
    }
    for (const bad of ["x.data + 4", "tape.engine", "q.grad", "K.matmul(1)", "x.root"]) assert.match(bad, below);
  },
  "a rule reads facts: in the order of the inputs, whether each gradient is written or added to"() {
    const seen: string[] = [];
    const note = (...xs: Operand[]): number =>
      seen.push(xs.map(x => (x.grad === 0 ? "nobody" : x.add ? "add" : "write")).join(" "));
    const three = op("three(a, b, c)", "n, n, n? -> n", {
      forward: (K, { n }, y, a, b) => K.add(n, a.data, b.data, y.data),
      backward(K, { n }, y, ...xs) {
        note(...xs);
        for (const x of xs) K.accumulate(n, y.grad, x.grad, x.add);
      },
    });
    const tape = new Tape("f64");
    const [p, q] = [tape.param([3], [1, 2, 3]), tape.param([3], [1, 2, 3])];
    const constant = tape.tensor([3]);
    tape.step(() => sum(three(p, p, q)));
    tape.step(() => sum(three(constant, p, stopGradient(p))));
    tape.step(() => sum(three(reshape(reshape(p, [1, 3]), [3]), q, p)));
    tape.step(() => {
      const x = scale(p, { by: 2 });
      return add(sum(three(x, q)), sum(three(x, x, q)));
    });
    tape.step(() => sum(three(p, q)), { accumulate: true });
    assert.equal(seen, [
      "write add write",
      "nobody write nobody",
      "write write add",
      "write add write", // the entry recorded last runs first
      "add add nobody",
      "add add nobody",
    ]);
    assert.equal(Array.from(q.gradient()), [3, 3, 3]);
  },
  "rules change nothing but memory: none assigns to what it was handed, or knows a tape"() {
    for (const file of files("src/ops")) {
      const rules = code(file);
      assert.not.match(rules, /\.(?:grad|add|data|shape|at|blank|spent|wants)\s*(?:[-+|&]?=(?!=)|\+\+)/, file);
      assert.not.match(rules, /\btape\.(?:record|step|backward|scope|claim|overlay|param)\b/, file);
    }
  },
  "a kind of position is one file and one row of a list"() {
    const own = positions.filter(file => !others.includes(file));
    assert.equal(own.map(file => file.replace(/.*\/|\.ts/g, "")).sort(), [...kinds].sort());
    const list = read("src/positions/index.ts");
    for (const file of own) {
      assert.is([...read(file).matchAll(/^export const \w+(?:: Kind\b| = .*\boptional<)/gm)].length, 1, file);
      assert.match(list, new RegExp(`from "\\./${file.replace(/.*\//, "").replace(".", "\\.")}"`), file);
    }
    const named = new RegExp(`"(?:${kinds.join("|")})"`, "g");
    const allowed: Record<string, string[]> = {
      "src/models/transformer.ts": ["absolute"], // a model's default
      "src/models/bert.ts": ["absolute"], // a word of Hugging Face's
    };
    for (const file of [...models, ...own]) {
      const found = [
        ...read(file)
          .replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, "")
          .matchAll(named),
      ].map(([name]) => name.slice(1, -1));
      const itself = file.replace(/.*\/|\.ts/g, "");
      assert.equal(
        found.filter(name => name !== itself && !allowed[file]?.includes(name)),
        [],
        file,
      );
    }
  },
  "and no kind is a member of anything outside its folder: what a kind needs it says through its hooks"() {
    // The kernel that turns pairs of numbers is called rope as well.
    const outside = files("src").filter(file => !positions.includes(file) && file !== "src/ops/composed.ts");
    assert.ok(outside.length > 30);
    assert.equal(
      outside.flatMap(file => members(file, read(file), kinds)),
      [],
    );
    const bad = "const { cope, rope: x } = o; f(o.alibi, { relative, absolute: 1 }); interface A { sinusoidal?: 1 }";
    assert.is(members("a.ts", bad, kinds).length, 6);
    assert.equal(members("a.ts", "cope(x); import { rope } from 'y';", kinds), []);
  },
  "a carry is one object: layers and models know none but by what carries have in common"() {
    const shared = /\bcarry\w*\b\)?\??\.(\w+)/g;
    for (const file of ["src/models/layer.ts", "src/models/transformer.ts", "src/models/stream.ts"]) {
      const used = [...code(file).matchAll(shared)].map(m => m[1]!);
      for (const name of used)
        assert.ok(["enter", "earlier", "extend", "fits", "held", "next", "seen"].includes(name), `${file}: ${name}`);
    }
    assert.not.match(code("src/models/layer.ts"), /\b(?:stateCache|cache)\b/);
  },
  "a carry is one file and one row: its option stands nowhere else, but where tokens are generated by a cache"() {
    const list = read("src/models/carries/index.ts");
    // One that has parameters has no option: the model around it makes it.
    const own = files("src/models/carries").filter(file => !/\/(?:index|association)\.ts$/.test(file));
    assert.is(own.length, 2);
    for (const file of own) {
      assert.is([...read(file).matchAll(/^export const \w+: CarryKind\b/gm)].length, 1, file);
      assert.match(list, new RegExp(`from "\\./${file.replace(/.*\//, "").replace(".", "\\.")}"`), file);
    }
    // The door of a layer is called earlier as well, and tokens are generated through a cache.
    const others = models.filter(file => !/\/(?:carries\/|carry\.|layer\.|generate\.)/.test(file));
    assert.ok(others.length > 6);
    assert.equal(
      others.flatMap(file => members(file, read(file), ["cache", "earlier", "stateCache"])),
      [],
    );
    assert.is(
      members("a.ts", "const { cache, earlier: x } = o; start({ earlier: 3 });", ["cache", "earlier"]).length,
      3,
    );
  },
  "no function is longer than a screen, 60 lines, the register tiles of products excepted"() {
    const tiles = /^asm\/matmul\.ts: (?:tile|tileRows) /;
    const found = everything.flatMap(file => long(file, read(file), 60));
    assert.equal(
      found.filter(name => !tiles.test(name)),
      [],
    );
    assert.is(found.length, 2, "the tiles are longer");
    const lines = (n: number): string => "{\n" + "x();\n".repeat(n - 2) + "}";
    const text = `function f() ${lines(61)}\nconst g = () => ${lines(61)};\nclass C { h() ${lines(60)} }`;
    assert.equal(long("a.ts", text, 60), ["a.ts: f (61)", "a.ts: g (61)"]);
  },
  "no line of the code is longer than 120 characters"() {
    const all = [...everything, ...files("test")];
    assert.ok(all.length > 100, `${all.length} files`);
    const long = all.flatMap(file =>
      read(file)
        .split("\n")
        .flatMap((line, i) => (line.length > 120 ? [`${file}:${i + 1} (${line.length})`] : [])),
    );
    assert.equal(long, []);
  },
});

suite("what a step holds", {
  "2,000 rows put together take no more than they and the result hold, and the gradients of both"() {
    const tape = new Tape("f32");
    const bytes = 2000 * 64 * 4;
    let rows: Tensor[] = [];
    const taken = peak(tape, () => {
      rows = Array.from({ length: 2000 }, (_, i) => tape.param([1, 64], new Float32Array(64).fill(i)));
      assert.is(
        tape.step(() => sum(concat(rows, { axis: 0 }))),
        (64 * 2000 * 1999) / 2,
      );
    });
    assert.ok(rows.every(row => row.gradient().every(g => g === 1)));
    assert.ok(taken <= 4 * bytes + 64, `${taken} bytes, of ${bytes} in rows`); // and the sum, with its gradient
  },
  "a recurrence takes memory in proportion to its places, and less in a step than run backwards by hand"() {
    const held = [500, 1000].map(n =>
      [true, false].map(step => {
        const tape = new Tape("f64");
        const w = tape.param(
          [16, 16],
          Float64Array.from({ length: 256 }, (_, i) => Math.sin(i) / 4),
        );
        const x = tape.tensor(
          [n, 16],
          Float64Array.from({ length: 16 * n }, (_, i) => Math.cos(i)),
        );
        const loss = () => {
          let h = tape.tensor([1, 16]);
          for (let i = 0; i < n; i++) h = tanh(add(matmul(h, w), slice(x, i, i + 1, { axis: 0 })));
          return sum(h);
        };
        return peak(tape, () => (step ? tape.step(loss) : tape.scope(() => tape.backward(loss()))));
      }),
    );
    const [[step, by], [twice, byTwice]] = held as [[number, number], [number, number]];
    assert.ok(twice < 2 * step && byTwice < 2.01 * by, `${step} and ${twice}, by hand ${by} and ${byTwice} bytes`);
    assert.ok(step < 0.75 * by, `${step} of ${by} bytes`);
  },
});
