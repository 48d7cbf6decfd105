// readme.test.ts: every page does what it says. All ts and js blocks under one heading of a page are one program, in
// their order; a text block holds exactly what the block right above it prints. An html block is a page of a browser:
// its script runs here with a stub for a document. WRITE=1 formats the programs and writes outputs and generated tables
// instead of failing.
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
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import * as prettier from "prettier";
import * as farsight from "farsight";
import * as assert from "uvu/assert";
import { studies } from "../bench/studies/index.ts";
import { papers } from "../bench/tables/papers.ts";
import { suite, thrown } from "./check.ts";

const { counting, flipFlop, language, memorize, reasoning, selectiveCopy, sine } = farsight;
const { associativeRetrieval, copyTwice, quadraticEquations, reversal } = farsight;
const { Tape, kinds, ops, armt, random, rmt, rmtEncoder, rmtR, transformer } = farsight;

interface Page {
  readonly file: string;
  text: string;
}
/** A fenced block: the line its fence is on, and where its text begins. */
interface Block {
  language: string;
  text: string;
  heading: string;
  line: number;
  from: number;
}
interface Program {
  readonly page: Page;
  readonly heading: string;
  readonly file: string;
}

const root = process.cwd();
const here = fileURLToPath(new URL(".", import.meta.url));
const writing = Boolean(process.env.WRITE);
const folders = ["src", "asm", "bench", "test"];
const pages: Page[] = ["README.md", "CONTRIBUTING.md", ...folders.map(folder => `${folder}/README.md`)].map(file => ({
  file,
  text: readFileSync(file, "utf8"),
}));
const pageOf = (file: string): Page => pages.find(page => page.file === file)!;
const manifest = JSON.parse(readFileSync("package.json", "utf8")) as {
  name: string;
  scripts: Record<string, string>;
  prettier: prettier.Options;
};

/** Every fenced block of a page, in order. */
function blocks({ file, text }: Page): Block[] {
  const found: Block[] = [];
  let open: Block | undefined;
  let heading = "";
  let from = 0;
  text.split("\n").forEach((line, i) => {
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
  if (open) throw new Error(`${file}:${open.line}: the block does not end`);
  return found;
}
const isProgram = (b: Block): boolean => b.language === "ts" || b.language === "js";
/** A page without its blocks. */
const prose = ({ text }: Page): string => text.replace(/^```[\s\S]*?^```$/gm, "");

/** Fails when `is`, which begins at `from`, is not `want`; or writes that into the page. */
function expect(page: Page, what: string, from: number, is: string, want: string): void {
  if (is === want) return;
  if (!writing)
    throw new Error(
      `${page.file}: ${what} should read (WRITE=1 npm test -- readme writes it):\n${want}\ninstead of\n${is}`,
    );
  page.text = page.text.slice(0, from) + want + page.text.slice(from + is.length);
  writeFileSync(page.file, page.text);
}
/** Holds what stands between two marks, on whichever page has them. */
function expectMarked(name: string, want: string): void {
  const [start, end] = [`<!-- ${name} -->\n`, `<!-- /${name} -->`];
  const having = pages.filter(page => page.text.includes(start));
  assert.is(having.length, 1, `pages with ${start.trim()}: ${having.map(page => page.file).join(", ")}`);
  const page = having[0]!;
  const from = page.text.indexOf(start) + start.length;
  const to = page.text.indexOf(end, from);
  if (to < 0) throw new Error(`${page.file}: no ${end}`);
  expect(page, `the table between ${start.trim()} and ${end}`, from, page.text.slice(from, to), want);
}

// ------------------------------------------------------------------------------------------------------ programs

const temp = mkdtempSync(join(tmpdir(), "farsight-readme-"));
process.on("exit", () => rmSync(temp, { recursive: true, force: true }));
mkdirSync(join(temp, "node_modules"));
symlinkSync(root, join(temp, "node_modules/farsight"), "junction");
writeFileSync(join(temp, "package.json"), `{ "type": "module" }`);

const pause = "\u0001"; // printed between the blocks of one program
const programs: Program[] = pages.flatMap(page =>
  [
    ...new Set(
      blocks(page)
        .filter(isProgram)
        .map(b => b.heading),
    ),
  ].map(heading => ({
    page,
    heading,
    file: join(temp, `${page.file.replace(/\W/g, "-")}-${heading.replace(/\W+/g, "-")}.ts`),
  })),
);
const blocksOf = ({ page, heading }: Program): Block[] =>
  blocks(page).filter(b => isProgram(b) && b.heading === heading);
for (const program of programs)
  writeFileSync(
    program.file,
    blocksOf(program)
      .map(b => b.text)
      .join(`console.log("${pause}");\n`),
  );

/** Runs a file of the temporary folder and returns what it printed. */
function run(file: string, what: string): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, [file], {
    cwd: temp,
    encoding: "utf8",
    timeout: 60_000,
  });
  if (status !== 0) throw new Error(`${what}: the program ended with ${status}\n${stderr}`);
  return stdout;
}
/** Whether this Node runs TypeScript as it stands. */
const strips = Boolean((process.features as { typescript?: unknown }).typescript);
/** Runs a program, as it stands where this Node can, and returns what each of its blocks printed. */
async function printed({ page, heading, file }: Program): Promise<string[]> {
  if (strips) return run(file, `${page.file}, ${heading}`).split(`${pause}\n`);
  const { code } = await esbuild.transform(readFileSync(file, "utf8"), {
    loader: "ts",
    format: "esm",
    target: "es2022",
  });
  const script = file.replace(/\.ts$/, ".mjs");
  writeFileSync(script, code);
  return run(script, `${page.file}, ${heading}`).split(`${pause}\n`);
}
/** Holds the text block that follows a block, if one does, to what that block printed. */
function expectOutput(page: Page, { line }: Block, output: string): void {
  const all = blocks(page);
  const next = all[all.findIndex(b => b.line === line) + 1];
  if (next?.language === "text" && next.heading === all.find(b => b.line === line)!.heading)
    expect(page, `line ${next.line}`, next.from, next.text, output);
}

/** What a script of a page finds in place of a browser: elements that the page has, a pen, and frames. */
const browser = (tags: readonly string[]): string => `
const found = new Map();
const drawn = [];
const pen = { fillRect: (...place) => drawn.push(place) };
globalThis.document = {
  querySelector(tag) {
    if (!${JSON.stringify(tags)}.includes(tag)) return null;
    if (!found.has(tag)) found.set(tag, { textContent: "", getContext: kind => (kind === "2d" ? pen : null) });
    return found.get(tag);
  },
};
globalThis.requestAnimationFrame = frame => setImmediate(() => frame(performance.now()));
export const left = () => JSON.stringify({ words: [...found.values()].map(e => e.textContent), points: drawn });
`;
/** Runs the module script of an html block, and returns the text and the points that it leaves on the page. */
function browsed({ file }: Page, { line, text }: Block): { words: string; points: [number, number][] } {
  const script = (type: string): string => {
    const found = new RegExp(`<script type="${type}">\\n([^]*?)</script>`).exec(text);
    if (!found) throw new Error(`${file}:${line}: no script of type ${type}`);
    return found[1]!;
  };
  const { imports } = JSON.parse(script("importmap")) as { imports: Record<string, string> };
  const code = script("module").replace(/from "([^"]+)"/g, (_, name: string) => {
    assert.ok(existsSync(join(temp, imports[name]!)), `${file}:${line}: ${name} is to be at ${imports[name]}`);
    return `from "${imports[name]}"`;
  });
  writeFileSync(join(temp, "browser.mjs"), browser([...text.matchAll(/<(\w+)/g)].map(m => m[1]!)));
  writeFileSync(
    join(temp, "page.mjs"),
    `import "./browser.mjs";\n${code}\nconsole.log((await import("./browser.mjs")).left());`,
  );
  const { words, points } = JSON.parse(run("page.mjs", `${file}:${line}`)) as {
    words: string[];
    points: [number, number][];
  };
  return { words: `${words.filter(Boolean).join("\n")}\n`, points };
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

suite("the programs of the pages", {
  "stand on every page of the project"() {
    const found = folders.flatMap(folder =>
      (readdirSync(folder, { recursive: true }) as string[])
        .map(f => `${folder}/${f.replaceAll("\\", "/")}`)
        .filter(f => f.endsWith(".md") && !f.includes("node_modules")),
    );
    assert.equal(
      found.filter(f => !pageOf(f)),
      [],
    );
    assert.ok(programs.length > 10);
  },
  async "are as Prettier formats them"() {
    const parsers: Record<string, string> = { ts: "typescript", js: "babel", html: "html" };
    for (const page of pages)
      for (let n = 0; n < blocks(page).length; n++) {
        const { language, line, from, text } = blocks(page)[n]!;
        const parser = parsers[language];
        if (parser)
          expect(page, `line ${line}`, from, text, await prettier.format(text, { ...manifest.prettier, parser }));
      }
  },
  "pass the type checker"() {
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
          verbatimModuleSyntax: true,
          erasableSyntaxOnly: true,
          noEmit: true,
        },
        files: programs.map(program => program.file),
      }),
    );
    const tsc = join(root, "node_modules/typescript/bin/tsc");
    const { stdout, status } = spawnSync(process.execPath, [tsc, "--pretty", "false", "-p", config], {
      encoding: "utf8",
      cwd: temp,
    });
    assert.is(status, 0, stdout);
  },
  ...Object.fromEntries(
    programs.map(program => [
      `${program.page.file}: "${program.heading}" runs and prints what stands there`,
      async () => {
        const outputs = await printed(program);
        outputs.forEach((output, n) => expectOutput(program.page, blocksOf(program)[n]!, output));
      },
    ]),
  ),
  "run in a page of a browser, and draw a loss that falls"() {
    let ran = 0;
    for (const page of pages)
      for (const block of blocks(page).filter(b => b.language === "html")) {
        const { words, points } = browsed(page, block);
        expectOutput(page, block, words);
        const [first, last] = [points.slice(0, 10), points.slice(-10)].map(
          list => list.reduce((sum, [, y]) => sum + y, 0) / 10,
        );
        assert.ok(points.length >= 100 && last! > first! + 50, `a curve from ${first} to ${last} pixels below the top`);
        ran++;
      }
    assert.is(ran, 1);
  },
  async "show Node's prompt as it answers"() {
    for (const page of pages)
      for (const b of blocks(page).filter(b => b.language === "console")) {
        const [first, ...rest] = b.text.trimEnd().split("\n");
        assert.is(first, "$ node");
        const lines = rest.filter(line => line.startsWith("> ")).map(line => line.slice(2));
        expect(page, `line ${b.line}`, b.from, b.text, `$ node\n${(await session(lines)).trimEnd()}\n`);
      }
  },
  "show no output that nothing prints"() {
    for (const page of pages) {
      const all = blocks(page);
      for (const [i, b] of all.entries()) {
        const above = all[i - 1];
        if (b.language === "text")
          assert.ok(
            above && (isProgram(above) || above.language === "html") && above.heading === b.heading,
            `${page.file}:${b.line}: the text block follows no program`,
          );
        assert.ok(
          ["ts", "js", "html", "text", "sh", "yaml", "console", ""].includes(b.language),
          `${page.file}:${b.line}: a block that nobody checks, ${b.language}`,
        );
      }
    }
  },
});

// ------------------------------------------------------------------------------------------------- what they name

const help = (program: string, ...words: string[]): string =>
  spawnSync(process.execPath, [join(here, `../bench/${program}.mjs`), ...words, "--help"], { encoding: "utf8" }).stdout;
/** Fails unless a paper has such a table, and the command line of papers such options. */
function checkTable(where: string, [name, table, ...rest]: readonly string[]): void {
  const paper = papers.find(p => p.name === name)!;
  const options = [table, ...rest].filter(word => word?.startsWith("--"));
  if (table !== undefined && table !== options[0])
    assert.ok(
      paper.tables.some(t => t.name === table),
      `${where}: ${name} has no table ${table}`,
    );
  const known = help("bench", paper.name);
  for (const word of options) assert.ok(known.includes(word!), `${where}: npm run bench -- ${name} knows no ${word}`);
}
/** What the pages call a program that a reader saved. */
const mine = "train.ts";
/** A script without npm, and what npm would be told. */
const direct = [/^node build\.mjs (\w+)/, "npm run $1 --"] as const;
/** Fails unless a command line names a program, a script and words that exist. */
function checkCommand(file: string, line: string): void {
  const [program, what, ...rest] = line
    .replace(/ +#.*/, "")
    .replace(/^[A-Z]+=\S+ /, "")
    .split(" ");
  const script = what === "run" ? rest[0]! : what!;
  const words = rest.includes("--") ? rest.slice(rest.indexOf("--") + 1) : [];
  const where = `${file}: ${line}`;
  if (program === "npm" && script === "install") assert.equal(rest, [manifest.name], where);
  else if (program === "npm" && script === "ci") assert.equal(rest, [], where);
  else if (program === "npm") assert.ok(script in manifest.scripts, `${where}: package.json has no script ${script}`);
  else if (program === "npx") assert.equal([what, ...rest], ["tsx", mine], where);
  else if (program === "node") assert.ok(what === mine || existsSync(what!), `${where}: there is no ${what}`);
  else throw new Error(`${where}: a command that nobody checks`);
  if (script === "bench" && papers.some(p => p.name === words[0])) return checkTable(where, words);
  if (script === "bench" && ["gpt2", "bert"].includes(words[0]!)) {
    const known = help("bench", words[0]!);
    for (const word of words.filter(w => w.startsWith("--")))
      assert.ok(known.includes(word), `${where}: npm run bench -- ${words[0]} knows no ${word}`);
    return;
  }
  if (script === "start" || script === "bench") {
    const known = help(script);
    for (const word of words.filter(w => !/^\d+$/.test(w) && w !== "N"))
      assert.ok(known.includes(word), `${where}: npm run ${script} knows no ${word}`);
  }
  if (script === "test")
    for (const word of words)
      assert.ok(
        readdirSync("test").some(f => f.endsWith(".test.ts") && f.includes(word)) || "format".includes(word),
        `${where}: no test is named like ${word}`,
      );
}
/** The anchors of a page's headings, as GitHub makes them. */
const anchors = (page: Page): string[] =>
  [...prose(page).matchAll(/^#+ (.+)$/gm)].map(m =>
    m[1]!
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
/** Words in capitals, which stand for any name, and what follows them are cut off. */
const settled = (path: string): string => path.replace(/[^/]*\b[A-Z]{3,}\b(?!\.md).*$/, "");

/** Places of the layout in CONTRIBUTING.md that hold nothing yet. */
const empty: string[] = [];

suite("the pages", {
  "name commands and options that exist"() {
    for (const page of pages) {
      // A script's own words stand before the command.
      const lines = blocks(page)
        .filter(b => b.language === "sh")
        .flatMap(b => b.text.trim().split("\n"))
        .filter(line => !line.startsWith("#"))
        .map(line => line.replace(/^(exec|seq \d+ \| parallel) /, "").replace(...direct));
      const jobs = blocks(page)
        .filter(b => b.language === "yaml")
        .flatMap(b => [...b.text.matchAll(/(?:npm run|node build\.mjs) [^"\n]+/g)].map(m => m[0].replace(...direct)));
      const inline = [...page.text.matchAll(/`((?:[A-Z]+=\S+ )?(?:npm|node|npx) [^`\n]+)`/g)].map(m =>
        m[1]!.replaceAll("\\|", "|"),
      );
      for (const line of [...lines, ...jobs, ...inline]) checkCommand(page.file, line);
    }
  },
  "link to files and headings that exist, and name paths that exist"() {
    for (const page of pages) {
      for (const [, to] of page.text.matchAll(/\]\((?!https:)([^)]+)\)/g)) {
        const [file, anchor] = to!.split("#") as [string, string?];
        const path = file ? join(dirname(page.file), file).replaceAll("\\", "/") : page.file;
        assert.ok(existsSync(path), `${page.file}: a link to ${path}, which does not exist`);
        if (anchor) assert.ok(anchors(pageOf(path)).includes(anchor), `${page.file}: no heading for ${to}`);
      }
      for (const [, file] of page.text.matchAll(/`((?:src|asm|test|bench|dist)\/[\w./-]*)`/g))
        assert.ok(existsSync(settled(file!)) || empty.includes(settled(file!)), `${page.file}: ${file} does not exist`);
    }
  },
  "hold no word that sells, in lines of at most 120 characters but for tables"() {
    for (const page of pages) {
      const banned = /\b(?:simply|just|blazing\w*|easily|powerful|seamless\w*|roadmap)\b|\p{Extended_Pictographic}/giu;
      assert.equal(prose(page).match(banned) ?? [], [], page.file);
      assert.equal(prose(page).match(/@@|img\.shields/gi) ?? [], [], page.file);
      assert.equal(
        page.text.split("\n").filter(line => line.length > 120 && !line.startsWith("|")),
        [],
        page.file,
      );
    }
  },
});

// ---------------------------------------------------------------------------------------------- tables of the code

/** Functions that stand before an operation of the same name. */
const calls: Record<string, string> = {
  sum: "sum(x, { axis })",
  cumsum: "cumsum(x, { axis, reverse })",
  concat: "concat([a, b], { axis })",
  slice: "slice(x, start, end, { axis })",
  dropout: "dropout(x, { p, position })",
  attention: "attentionOver({ q, k, v, ... }, { h, g, d, ... })",
};
/** Those that have another name. */
const before: Record<string, string> = { attention: "attentionOver" };
/** The description above each exported name of the files that hold the operations. */
function descriptions(): Map<string, string> {
  const sources = (readdirSync("src", { recursive: true }) as string[])
    .filter(f => /^ops\b.*\.ts$/.test(f))
    .map(f => readFileSync(join("src", f), "utf8"));
  const documented = /\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\nexport (?:const|function) (\w+)/g;
  const plain = (comment: string): string =>
    comment
      .split("\n")
      .map(line => line.replace(/^ ?\* ?/, "").trim())
      .join("\n")
      .trim();
  return new Map(sources.flatMap(text => [...text.matchAll(documented)].map(m => [m[2]!, plain(m[1]!)] as const)));
}
/** The name that calls an operation: its own, as it is exported, or that of the function before it. */
function exported(o: farsight.Op): string {
  const all: Record<string, unknown> = farsight;
  const [name] = Object.entries(all).find(([, value]) => value === o) ?? [o.opName];
  if (all[name] !== o && !(name in calls && typeof all[name] === "function"))
    throw new Error(`farsight exports neither ${o.opName} nor a function before it`);
  return name;
}
/** The op table: name, signature, options, and the first sentence of the description. */
function opTable(): string {
  const described = descriptions();
  const rows = ops.map(o => {
    const name = exported(o);
    const words = described.get(before[name] ?? name);
    if (!words) throw new Error(`no file of src/ops describes ${name}`);
    const sentence = words
      .split("\n\n")[0]!
      .replaceAll("\n", " ")
      .split(/(?<=\.) (?=[A-Z`])/)[0]!
      .replace(/\.$/, "");
    const options = Object.entries(o.attrs as Record<string, unknown>)
      .map(([option, value]) => `\`${option} = ${typeof value === "string" ? `"${value}"` : String(value)}\``)
      .join(", ");
    const call = calls[name]; // reads the axis and hands the operation three
    return [
      `\`${call ?? `${name}(${o.inputs.join(", ")})`}\``,
      `\`${o.signature.trim()}\``,
      call ? "" : options,
      sentence,
    ]
      .map(cell => cell.replaceAll("|", "&#124;"))
      .join(" | ");
  });
  return `| operation | signature | options | |\n|---|---|---|---|\n${rows.map(row => `| ${row} |\n`).join("")}`;
}
const row = (cells: readonly string[]): string => `| ${cells.join(" | ")} |\n`;
/** Files below a folder, with / between the parts. */
const below = (folder: string): string[] =>
  (readdirSync(folder, { recursive: true }) as string[])
    .map(f => f.replaceAll("\\", "/"))
    .filter(f => f.endsWith(".ts") && !f.endsWith(".d.ts") && !f.includes("node_modules"))
    .sort();
/** The files of a folder, each with the first sentence of its head. */
function fileTable(folder: string): string {
  const rows = below(folder).map(file => {
    const head = /^(?:\/\/ .*\n)+/.exec(readFileSync(join(folder, file), "utf8"))?.[0];
    if (!head) throw new Error(`${folder}/${file} does not begin with a comment that says what is there`);
    const words = head
      .replace(/^\/\/ /gm, "")
      .replace(/\s+/g, " ")
      .trim();
    const about = words.replace(/^[\w.-]+\.ts: /, "").split(/(?<=\.)(?<!\bal\.) |(?<=:) (?=\{)/)[0]!;
    const lower = about.replace(/^[A-Z](?=[a-z]* )/, letter => letter.toLowerCase());
    return row([`\`${file}\``, lower.replace(/[.:]$/, "").replaceAll("|", "\\|")]);
  });
  return `| file | |\n|---|---|\n${rows.join("")}`;
}
/** The studies of npm start. */
const studyTable = (): string =>
  "| study | question | paper | arms |\n|---|---|---|---|\n" +
  studies
    .map(({ name, question, paper, arms }) =>
      row([`\`${name}\``, question, `[${paper.title}](${paper.link})`, Object.values(arms).join("; ")]),
    )
    .join("");
/** The tables of npm run bench, paper by paper. */
const paperTable = (): string =>
  "| paper | table | question | arms | cells |\n|---|---|---|---|---|\n" +
  papers
    .flatMap(paper =>
      paper.tables.map(({ name, where, question, arms, cells }) =>
        row([
          `\`${paper.name}\`: [${where}](${paper.link})`,
          `\`${name}\``,
          question,
          Object.values(arms).join("; "),
          String(cells.length),
        ]),
      ),
    )
    .join("");
/** The cells of each row of the table, of whichever page, whose head begins with these words. */
function rowsOf(head: string): string[][] {
  const tables = pages.flatMap(({ text }) => text.split(`\n| ${head} |`).slice(1));
  assert.is(tables.length, 1, `tables with the head ${head}`);
  const [, , ...rows] = tables[0]!.split(/\n(?!\|)/)[0]!.split("\n");
  return rows.map(line =>
    line
      .slice(1, -1)
      .split(/(?<!\\)\|/)
      .map(cell => cell.trim()),
  );
}
/** The words that begin the pieces of code of a cell: "`dtype`, `step(body)`" has two. */
const named = (cell: string): string[] => [...cell.matchAll(/`(\w+)[^`]*`/g)].map(m => m[1]!);
const heads = (head: string): string[] => rowsOf(head).flatMap(([first]) => named(first!));

const published = (readdirSync("dist", { recursive: true }) as string[])
  .filter(f => f.endsWith(".d.ts") && !/^dev\b/.test(f))
  .map(f => readFileSync(join("dist", f), "utf8"))
  .join("\n");
/** What a published class or interface has of its own. */
function members(name: string): string[] {
  const body = new RegExp(`^export (?:declare class|interface) ${name}\\b[^{]*\\{\\n([^]*?)^\\}`, "m").exec(
    published,
  )?.[1];
  if (!body) throw new Error(`no file of types has ${name}`);
  const found = [...body.matchAll(/^ {4}(?:readonly |get |set )*(\w+)[?(:<]/gm)].map(m => m[1]!);
  return [...new Set(found)].filter(word => word !== "constructor");
}
/** The options that a call knows, from its complaint of one that nothing knows. */
const options = (call: (unknown: never) => void): string[] =>
  thrown(RangeError, () => call({ nope: 1 } as never))
    .split("wants ")[1]!
    .split(", ");
/** Holds defaults, where the second cell states one, to the values of complete options. */
function expectDefaults(head: string, complete: object): void {
  const values = complete as Record<string, unknown>;
  const stated = rowsOf(head).filter(([, value]) => value);
  assert.ok(stated.length > 2, head);
  for (const [first, value] of stated) {
    const [name] = named(first!);
    assert.is(value, `\`${JSON.stringify(values[name!])}\``, `${head}: ${name}`);
  }
}

const decoder = () => transformer({ vocab: 5, context: 16 });
const encoder = () => transformer({ vocab: 5, context: 16, causal: false, norm: "post" });
/** Tables by their heads, and the names that each has to list. */
const tables: Record<string, () => readonly string[]> = {
  kind: () => kinds,
  "option of `Tape`": () => options(unknown => new Tape("f32", unknown)),
  "option of `transformer`": () => options(unknown => transformer({ vocab: 2, ...(unknown as {}) })),
  "option of `cope`": () => members("CopeOptions"),
  "option of `myopic`": () => options(unknown => transformer({ vocab: 2, myopic: unknown })),
  "option of `rmt`": () => options(unknown => rmt(decoder(), { segment: 2, ...(unknown as {}) })),
  "option of `armt`": () => {
    const all = options(unknown => armt(decoder(), { segment: 2, ...(unknown as {}) }));
    return all.filter(name => !heads("option of `rmt`").includes(name));
  },
  "option of `generate`": () => members("GenerateOptions"),
  "option of `fit`": () => members("FitOptions"),
  "option of `counting`": () => options(unknown => counting(unknown)),
  "option of `flipFlop`": () => options(unknown => flipFlop(unknown)),
  "option of `selectiveCopy`": () => options(unknown => selectiveCopy(unknown)),
  "option of `memorize` and `reasoning`": () => options(unknown => reasoning({ segment: 23, ...(unknown as {}) })),
  "option of `language`": () => options(unknown => language(unknown)),
  "what `fit` yields": () => members("Metrics"),
  "member of a tape": () => members("Tape"),
  "member of a tensor": () => members("Tensor"),
  "field of a rule": () => members("Rule"),
  "hook of a carry": () => members("Carry"),
  "hook of a position": () => members("Position"),
  "`how` to run": () => members("How"),
  "inside `attention`": () => members("Inside"),
};

suite("the tables of the pages", {
  ...Object.fromEntries(
    folders.map(folder => [
      `list every file of ${folder}/, as it begins`,
      () => expectMarked(`files of ${folder}`, fileTable(folder)),
    ]),
  ),
  "list every study, as its file has it"() {
    expectMarked("studies", studyTable());
  },
  "list every table of a paper, as its file has it"() {
    expectMarked("tables", paperTable());
  },
  "list every operation, as its file describes it"() {
    expectMarked("ops", opTable());
  },
  ...Object.fromEntries(
    Object.entries(tables).map(([head, want]) => [
      `list every ${head.replaceAll("`", "")}, and no other`,
      () => assert.equal(heads(head).sort(), [...want()].sort()),
    ]),
  ),
  "list the options that rmtEncoder has beside those of rmt"() {
    const all = options(unknown => rmtEncoder(encoder(), { segment: 2, classes: 2, ...(unknown as {}) }));
    const shared = heads("option of `rmt`").filter(name => !["bidirectional", "padded", "exempt"].includes(name));
    assert.equal([...shared, ...heads("option of `rmtEncoder`")].sort(), all.sort());
  },
  "list the options that armt and rmtR share with rmt"() {
    const shared = heads("option of `rmt`").filter(name => !["bidirectional", "padded", "exempt"].includes(name));
    const given = (unknown: never) => ({ segment: 2, ...(unknown as {}) });
    assert.equal(options(unknown => armt(decoder(), given(unknown))).sort(), [...shared, "width"].sort());
    assert.equal(options(unknown => rmtR(decoder(), given(unknown))).sort(), shared.sort());
    assert.is(armt(decoder(), { segment: 2 }).options.width, 64);
  },
  "state the defaults of transformer and rmt"() {
    const { config } = decoder();
    expectDefaults("option of `transformer`", { ...config, context: transformer({ vocab: 2 }).config.context });
    expectDefaults("option of `rmt`", rmt(decoder(), { segment: 2 }).options);
  },
  "say of each model what it has"() {
    const having = (column: number) => rowsOf("a model has").flatMap(cells => (cells[column] ? named(cells[0]!) : []));
    const models = [decoder(), rmt(decoder(), { segment: 2 }), rmtEncoder(encoder(), { segment: 2, classes: 2 })];
    models.forEach((model, i) => assert.equal(having(i + 1).sort(), Object.keys(model).sort()));
  },
  "say of each task what a batch has"() {
    const batches = {
      counting: counting().batch(random(1), 2),
      flipFlop: flipFlop().batch(random(1), 2),
      selectiveCopy: selectiveCopy().batch(random(1), 2),
      language: language().batch(random(1), [1, 2, 3], 2, 2),
      memorize: memorize({ segment: 11 }).batch(random(1), 2, 1),
      reasoning: reasoning({ segment: 23 }).batch(random(1), 2, 1),
      copyTwice: copyTwice().batch(random(1), 2),
      reversal: reversal().batch(random(1), 2),
      associativeRetrieval: associativeRetrieval().batch(random(1), 2),
      quadraticEquations: quadraticEquations().batch(random(1), 2),
      sine: sine().batch(random(1), 2),
    };
    const rows = rowsOf("batch of a task").map(([task, gives]) => [named(task!)[0], named(gives!).sort()]);
    assert.equal(
      rows,
      Object.entries(batches).map(([task, batch]) => [task, Object.keys(batch).sort()]),
    );
  },
  "say in which order kernels take their arguments: no factor behind an address"() {
    const sizes = "n m k rows d v o i b t h s p".split(" ");
    const updates = "lr keep momentum nesterov rate root b1 c1 b2 c2".split(" ");
    const flags = "ignore reverse interleaved sign seedLow seedHigh position".split(" ");
    const factors = ["by", "plus", "alpha", "eps", "delta", ...flags, ...updates];
    const several = /^(?:c|most|mean|add[A-Z]?)$/; // a factor of one kernel, an address of another
    const kernels = [...readFileSync("dist/kernels.d.ts", "utf8").matchAll(/^ {2}(\w+)\((.+)\): \w+;$/gm)];
    const late = kernels.flatMap(([, kernel, list]) => {
      const words = list!.split(", ").map(word => word.split(":")[0]!);
      const address = words.findIndex(word => ![...sizes, ...factors].includes(word) && !several.test(word));
      const behind = address < 0 ? [] : words.slice(address);
      return behind.filter(word => factors.includes(word)).map(word => `${kernel} ${word}`);
    });
    assert.ok(kernels.length > 50);
    assert.equal(late, []);
  },
  "state the errors that the test of the vector functions prints"() {
    const { stdout } = spawnSync(process.execPath, [join(here, "math.test.mjs")], {
      encoding: "utf8",
      env: { ...process.env, ULPS: "1", FORCE_COLOR: "0" },
    });
    const found = [...stdout.matchAll(/(\w+) (f32|f64): ([\d.]+) ulp/g)];
    const names = [...new Set(found.map(m => m[1]!))];
    assert.ok(names.length >= 7, stdout);
    const worst = (name: string, dtype: string): string =>
      (Math.ceil(Number(found.find(m => m[1] === name && m[2] === dtype)![3]) * 100) / 100).toFixed(2);
    expectMarked(
      "ulps",
      row(["", ...names.map(n => `\`${n}\``)]) +
        row(["---", ...names.map(() => "---")]).replaceAll(" ", "") +
        ["f32", "f64"].map(dtype => row([`\`${dtype}\``, ...names.map(n => worst(n, dtype))])).join(""),
    );
  },
  "list the environment variables that tests and programs read, and no others"() {
    const variable = /\benv(?:ironment)?(?:\.|\[")([A-Z][A-Z0-9_]+)/g;
    const read = ["test", "bench"].flatMap(folder =>
      below(folder).flatMap(f => [...readFileSync(join(folder, f), "utf8").matchAll(variable)].map(m => m[1]!)),
    );
    const listed = pages.flatMap(page => [...page.text.matchAll(/^\| `([A-Z_]+)=/gm)].map(m => m[1]!));
    assert.equal(listed.sort(), [...new Set(read)].sort());
  },
});
