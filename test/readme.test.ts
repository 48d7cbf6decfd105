// readme.test.ts: README.md does what it says. All ts and js blocks under one heading are one program, in their order;
// a text block holds exactly what the ts block right above it prints. WRITE=1 writes outputs and generated tables into
// the page instead of failing.
import { spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import { ops } from "farsight";
import * as assert from "uvu/assert";
import { suite } from "./check.ts";

interface Block {
  language: string;
  text: string;
  heading: string;
  line: number;
  from: number;
}
const root = process.cwd();
const here = fileURLToPath(new URL(".", import.meta.url));
const writing = Boolean(process.env.WRITE);
let page = readFileSync("README.md", "utf8");

/** Every fenced block of the page. */
function blocks(): Block[] {
  const found: Block[] = [];
  let open: Block | undefined;
  let heading = "";
  let from = 0;
  page.split("\n").forEach((line, i) => {
    const after = from + line.length + 1;
    if (line.startsWith("```")) {
      if (open) {
        found.push(open);
        open = undefined;
      } else open = { language: line.slice(3), text: "", heading, line: i + 1, from: after };
    } else if (open) open.text += `${line}\n`;
    else if (/^#+ /.test(line)) heading = line.replace(/^#+ /, "");
    from = after;
  });
  if (open) throw new Error(`README.md:${open.line}: the block does not end`);
  return found;
}
const isProgram = (b: Block): boolean => b.language === "ts" || b.language === "js";
const pause = "\u0001"; // printed between the blocks of one program

const temp = mkdtempSync(join(tmpdir(), "farsight-readme-"));
process.on("exit", () => rmSync(temp, { recursive: true, force: true }));
mkdirSync(join(temp, "node_modules"));
symlinkSync(root, join(temp, "node_modules/farsight"), "junction");
writeFileSync(join(temp, "package.json"), `{ "type": "module" }`);

const programs = new Map<string, Block[]>();
for (const b of blocks()) if (isProgram(b)) programs.set(b.heading, [...(programs.get(b.heading) ?? []), b]);
const source = (list: Block[]): string => list.map(b => b.text).join(`console.log("${pause}");\n`);
const fileOf = (heading: string): string => join(temp, `${[...programs.keys()].indexOf(heading)}.ts`);
for (const [heading, list] of programs) writeFileSync(fileOf(heading), source(list));

/** Runs a heading's program and returns what each of its blocks printed. */
async function printed(heading: string): Promise<string[]> {
  const file = fileOf(heading);
  const { code } = await esbuild.transform(readFileSync(file, "utf8"), {
    loader: "ts",
    format: "esm",
    target: "es2022",
  });
  const script = file.replace(/\.ts$/, ".mjs");
  writeFileSync(script, code);
  const { status, stdout, stderr } = spawnSync(process.execPath, [script], {
    cwd: temp,
    encoding: "utf8",
    timeout: 60_000,
  });
  if (status !== 0) throw new Error(`README.md, ${heading}: the program ended with ${status}\n${stderr}`);
  return stdout.split(`${pause}\n`);
}

/** Fails when the page differs at a place, with the right text; or writes it there. */
function expect(what: string, is: string, want: string, replace: (page: string) => string): void {
  if (is === want) return;
  if (writing) {
    page = replace(page);
    writeFileSync("README.md", page);
    return;
  }
  throw new Error(`README.md: ${what} should read (WRITE=1 npm test -- readme writes it):\n${want}\ninstead of\n${is}`);
}
function expectMarked(name: string, want: string): void {
  const [start, end] = [`<!-- ${name} -->\n`, `<!-- /${name} -->`];
  const at = page.indexOf(start);
  const to = page.indexOf(end);
  if (at < 0 || to < at) throw new Error(`README.md: no ${start.trim()} ... ${end}`);
  expect(
    `the table between ${start.trim()} and ${end}`,
    page.slice(at + start.length, to),
    want,
    p => p.slice(0, at + start.length) + want + p.slice(to),
  );
}

/** Functions that stand before an operation of the same name. */
const calls: Record<string, string> = {
  sum: "sum(x, { axis })",
  cumsum: "cumsum(x, { axis, reverse })",
  concat: "concat([a, b], { axis })",
  slice: "slice(x, start, end, { axis })",
};
/** The op table: name, signature, options, and the first sentence of the description in src/ops.ts. */
function opTable(): string {
  const described = new Map(
    [
      ...readFileSync("src/ops.ts", "utf8").matchAll(
        /\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\nexport (?:const|function) (\w+)/g,
      ),
    ].map(m => [
      m[2]!,
      m[1]!
        .split("\n")
        .map(line => line.replace(/^ ?\* ?/, "").trim())
        .join("\n")
        .trim(),
    ]),
  );
  const rows = ops.map(o => {
    const words = described.get(o.opName);
    if (!words) throw new Error(`src/ops.ts describes no ${o.opName}`);
    const sentence = words
      .split("\n\n")[0]!
      .replaceAll("\n", " ")
      .split(/(?<=\.) (?=[A-Z`])/)[0]!
      .replace(/\.$/, "");
    const options = Object.entries(o.attrs as Record<string, unknown>)
      .map(([name, value]) => `\`${name} = ${typeof value === "string" ? `"${value}"` : String(value)}\``)
      .join(", ");
    const call = calls[o.opName]; // reads the axis and hands the operation three
    return [`\`${call ?? o.opName}\``, `\`${o.signature.trim()}\``, call ? "" : options, sentence]
      .map(cell => cell.replaceAll("|", "&#124;"))
      .join(" | ");
  });
  return `| operation | signature | options | |\n|---|---|---|---|\n${rows.map(row => `| ${row} |\n`).join("")}`;
}

/** Types lines at Node's prompt, each once the prompt is back, and returns the whole session as it looked. */
function session(lines: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["--interactive"], {
      cwd: temp,
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, NODE_REPL_HISTORY: "", TERM: "dumb", NO_COLOR: "1" },
    });
    let shown = "";
    let read = 0;
    const giveUp = setTimeout(() => {
      child.kill();
      reject(new Error(`the prompt did not come back:\n${shown}`));
    }, 15_000);
    child.stdout.on("data", data => {
      shown += data;
      if (!shown.slice(read).endsWith("> ")) return;
      read = shown.length;
      const line = lines.shift();
      if (line === undefined) {
        child.stdin.end();
        return;
      }
      shown += `${line}\n`;
      read = shown.length;
      child.stdin.write(`${line}\n`);
    });
    child.on("close", () => {
      clearTimeout(giveUp);
      resolve(shown.slice(shown.indexOf("> ")).replace(/> \n?$/, ""));
    });
  });
}

suite("README.md", {
  "has programs that pass the type checker"() {
    const config = join(temp, "tsconfig.json");
    writeFileSync(
      config,
      JSON.stringify({
        compilerOptions: {
          module: "nodenext",
          target: "es2022",
          lib: ["es2022", "dom"],
          types: ["node"],
          typeRoots: [join(root, "node_modules/@types")],
          strict: true,
          noUncheckedIndexedAccess: true,
          noEmit: true,
        },
        files: [...programs.keys()].map(fileOf),
      }),
    );
    const { stdout, status } = spawnSync(
      process.execPath,
      [join(root, "node_modules/typescript/bin/tsc"), "--pretty", "false", "-p", config],
      { encoding: "utf8", cwd: temp },
    );
    const said = stdout.replace(
      /^.*?(\d+)\.ts\((\d+)/gm,
      (_, n: string, line: string) => `${[...programs.keys()][Number(n)]}, line ${line} (`,
    );
    assert.is(status, 0, said);
  },
  ...Object.fromEntries(
    [...programs.keys()].map(heading => [
      `"${heading}" runs and prints what stands there`,
      async () => {
        const outputs = await printed(heading);
        outputs.forEach((output, n) => {
          const all = blocks();
          const program = all.filter(b => isProgram(b) && b.heading === heading)[n]!;
          const next = all[all.indexOf(program) + 1];
          if (next?.language === "text" && next.heading === heading)
            expect(
              `line ${next.line}`,
              next.text,
              output,
              p => p.slice(0, next.from) + output + p.slice(next.from + next.text.length),
            );
        });
      },
    ]),
  ),
  "shows no output that nothing prints"() {
    const all = blocks();
    for (const [i, b] of all.entries())
      if (b.language === "text")
        assert.ok(
          i > 0 && isProgram(all[i - 1]!) && all[i - 1]!.heading === b.heading,
          `line ${b.line}: the text block follows no program`,
        );
    assert.equal(
      all.filter(b => !["ts", "js", "text", "sh", "console", ""].includes(b.language)),
      [],
    );
  },
  async "shows Node's prompt as it answers"() {
    for (const b of blocks().filter(b => b.language === "console")) {
      const [first, ...rest] = b.text.trimEnd().split("\n");
      assert.is(first, "$ node");
      const want =
        `$ node\n${await session(rest.filter(line => line.startsWith("> ")).map(line => line.slice(2)))}`.trimEnd() +
        "\n"; // as it looks
      expect(`line ${b.line}`, b.text, want, p => p.slice(0, b.from) + want + p.slice(b.from + b.text.length));
    }
  },
  "names commands, options and files that exist"() {
    const { name, scripts } = JSON.parse(readFileSync("package.json", "utf8")) as {
      name: string;
      scripts: Record<string, string>;
    };
    const help = spawnSync(process.execPath, [join(here, "../bench/start.mjs"), "--help"], { encoding: "utf8" }).stdout;
    const lines = blocks()
      .filter(b => b.language === "sh")
      .flatMap(b => b.text.trim().split("\n"));
    const inline = [...page.matchAll(/`((?:[A-Z]+=\S+ )?(?:npm|node|npx) [^`\n]+)`/g)].map(m => m[1]!);
    assert.ok(lines.length > 3);
    for (const line of [...lines, ...inline]) {
      const [program, what, ...rest] = line
        .replace(/ +#.*/, "")
        .replace(/^[A-Z]+=\S+ /, "")
        .split(" ");
      const script = what === "run" ? rest[0]! : what!;
      const words = rest.slice(rest.indexOf("--") + 1);
      if (program === "npm" && what === "install") assert.equal(rest, [name], line);
      else if (program === "npm") assert.ok(script in scripts, `${line}: package.json has no script ${script}`);
      else if (program === "node") assert.ok(existsSync(what!), `${line}: there is no ${what}`);
      else throw new Error(`README.md: a command nobody checks: ${line}`);
      if (script === "start")
        for (const word of rest.includes("--") ? words : [])
          assert.ok(help.includes(word), `${line}: npm start knows no ${word}`);
      if (script === "test")
        for (const word of rest.includes("--") ? words : [])
          assert.ok(
            readdirSync("test").some(f => f.endsWith(".test.ts") && f.includes(word)),
            `${line}: no test is named like ${word}`,
          );
    }
    for (const [, file] of page.matchAll(/\]\((?!https:)([^)]+)\)/g))
      assert.ok(existsSync(file!), `a link to ${file}, which does not exist`);
    for (const [, file] of page.matchAll(/`((?:src|asm|test|bench)\/[\w./-]*)`/g))
      assert.ok(existsSync(file!), `${file} does not exist`);
  },
  "lists every operation, as src/ops.ts describes it"() {
    expectMarked("ops", opTable());
  },
  "states the errors that the test of the vector functions prints"() {
    const { stdout } = spawnSync(process.execPath, [join(here, "math.test.mjs")], {
      encoding: "utf8",
      env: { ...process.env, ULPS: "1", FORCE_COLOR: "0" },
    });
    const found = [...stdout.matchAll(/(\w+) (f32|f64): ([\d.]+) ulp/g)];
    const names = [...new Set(found.map(m => m[1]!))];
    assert.ok(names.length >= 7, stdout);
    const worst = (name: string, dtype: string): string =>
      (Math.ceil(Number(found.find(m => m[1] === name && m[2] === dtype)![3]) * 100) / 100).toFixed(2);
    const row = (cells: string[]): string => `| ${cells.join(" | ")} |\n`;
    expectMarked(
      "ulps",
      row(["", ...names.map(n => `\`${n}\``)]) +
        row(["---", ...names.map(() => "---")]).replaceAll(" ", "") +
        ["f32", "f64"].map(dtype => row([`\`${dtype}\``, ...names.map(n => worst(n, dtype))])).join(""),
    );
  },
  "lists the environment variables that tests and programs read, and no others"() {
    const read = ["test", "bench"].flatMap(folder =>
      readdirSync(folder)
        .filter(f => f.endsWith(".ts"))
        .flatMap(f =>
          [...readFileSync(join(folder, f), "utf8").matchAll(/\benv(?:ironment)?(?:\.|\[")([A-Z][A-Z0-9_]+)/g)].map(
            m => m[1]!,
          ),
        ),
    );
    assert.equal([...page.matchAll(/^\| `([A-Z_]+)=/gm)].map(m => m[1]!).sort(), [...new Set(read)].sort());
  },
  "says nothing that style.md bans"() {
    const prose = page.replace(/^```[\s\S]*?^```$/gm, "");
    assert.equal(
      prose.match(
        /\b(?:simply|just|blazing\w*|easily|powerful|seamless\w*|roadmap)\b|\p{Extended_Pictographic}|@@|img\.shields/giu,
      ) ?? [],
      [],
    );
  },
});
