// bundlers.test.ts: a program that uses the packed package, bundled and minified by each tool that pages are made
// with: the same kernels to the byte, and the same losses in Node and in a page.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readdirSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { runInThisContext } from "node:vm";
import { Parcel } from "@parcel/core";
import * as swc from "@swc/core";
import * as esbuild from "esbuild";
import { rollup } from "rollup";
import { minify } from "terser";
import * as assert from "uvu/assert";
import * as vite from "vite";
import webpack from "webpack";
import { counting, random } from "farsight/tasks";
import { suite } from "./check.ts";
import { consumer, home, install, write } from "./packed.ts";

/** Trains in f32 and f64 (among its operations one whose signature holds a Σ), and cuts a text at an apostrophe. */
const program = `
import { Tape, adamw, memorize, random, rmt, transformer } from "farsight";
const losses = [];
for (const dtype of ["f32", "f64"]) {
  const tape = new Tape(dtype, { seed: 1 });
  const inner = { vocab: 7, d: 8, heads: 2, layers: 1, context: 8, position: ["cope", "rope"], dropout: 0.1 };
  const model = rmt(transformer(inner), { segment: 4, memory: 2 });
  const params = model.params(tape);
  const optimizer = adamw(params, { lr: 0.01 });
  const rng = random(2);
  for (let step = 0; step < 3; step++) {
    const [tokens, targets] = [0, 1].map(() => tape.integers([2, 8], Array.from({ length: 16 }, () => rng.integer(7))));
    losses.push(tape.step(() => model.loss(params, tokens, targets)));
    optimizer.step();
  }
}
const text = ["it", "s so"].join(String.fromCharCode(0x2019 + losses.length - 6)); // which no minifier writes out
globalThis.said = [...losses, memorize({ segment: 11, text }).vocab.slice(-2)].join(" ");
`;

/** Bundles for a page: their files, and whether they are scripts or modules. */
interface Bundle {
  readonly file: string;
  readonly module: boolean;
}
const script = (name: string, text: string): Bundle => ({ file: write(`${name}.js`, text), module: false });

async function byEsbuild(minified: boolean): Promise<string> {
  const made = await esbuild.build({
    entryPoints: [join(consumer, "program.js")],
    absWorkingDir: consumer,
    bundle: true,
    write: false,
    format: "iife",
    charset: "utf8", // writes what it may as it is
    minify: minified,
  });
  return made.outputFiles[0]!.text;
}
async function byRollup(): Promise<string> {
  const bundle = await rollup({
    input: join(consumer, "program.js"),
    plugins: [{ name: "resolve", resolveId: id => (id === "farsight" ? join(home, "dist/index.js") : null) }],
  });
  const { output } = await bundle.generate({ format: "iife" });
  await bundle.close();
  return output[0].code;
}
const byTerser = async (text: string): Promise<string> => (await minify(text, { toplevel: true, ecma: 2020 })).code!;

/** A bundle by each tool. */
const tools: Record<string, () => Promise<Bundle>> = {
  esbuild: async () => script("esbuild", await byEsbuild(true)),
  terser: async () => script("terser", await byTerser(await byEsbuild(false))),
  swc: async () => {
    const { code } = await swc.minify(await byEsbuild(false), { compress: true, mangle: true, ecma: 2022 });
    return script("swc", code);
  },
  rollup: async () => script("rollup", await byTerser(await byRollup())),
  webpack: () =>
    new Promise((resolve, reject) => {
      const output = { path: consumer, filename: "webpack.js" };
      webpack({ mode: "production", context: consumer, entry: "./program.js", output }, (error, stats) => {
        if (error || stats!.hasErrors()) reject(error ?? new Error(stats!.toString()));
        else resolve({ file: join(consumer, "webpack.js"), module: false });
      });
    }),
  parcel: async () => {
    write("package-lock.json", "{}"); // marks the root of the project
    const parcel = new Parcel({
      entries: join(consumer, "program.js"),
      defaultConfig: createRequire(import.meta.url).resolve("@parcel/config-default"),
      mode: "production",
      shouldDisableCache: true,
      cacheDir: join(consumer, "parcel-cache"),
      defaultTargetOptions: {
        distDir: join(consumer, "parcel"),
        shouldOptimize: true,
        shouldScopeHoist: true,
        sourceMaps: false,
      },
    });
    await parcel.run();
    return { file: join(consumer, "parcel/program.js"), module: false };
  },
  vite: async () => {
    write("index.html", '<!doctype html><script type="module" src="./program.js"></script>');
    const build = { outDir: "vite", modulePreload: { polyfill: false } };
    await vite.build({ root: consumer, configFile: false, logLevel: "silent", build });
    const assets = join(consumer, "vite/assets");
    return { file: join(assets, readdirSync(assets)[0]!), module: true };
  },
};
/** What bundles compile: losses alone would not say that a kernel which the program does not call is right. */
const compiled: Uint8Array[] = [];
const { Module } = WebAssembly;
WebAssembly.Module = class extends Module {
  constructor(bytes: Uint8Array<ArrayBuffer>) {
    super(bytes);
    compiled.push(bytes.slice());
  }
} as typeof Module;

const said = (): string | undefined => (globalThis as { said?: string }).said;
/** Runs a program or a bundle of it here; gives what it said, and the kernels that it compiled. */
async function ran({ file, module }: Bundle): Promise<{ words: string; kernels: Uint8Array[] }> {
  delete (globalThis as { said?: string }).said;
  compiled.length = 0;
  if (module) await import(pathToFileURL(file).href);
  else runInThisContext(readFileSync(file, "utf8"));
  return { words: said() ?? "nothing", kernels: [...compiled] };
}

const bundles = new Map<string, Bundle>();
let wanted = "";
/** The package in an empty project, and what the program says when nothing has bundled it. */
async function prepare(): Promise<void> {
  if (wanted) return;
  install();
  const { words, kernels } = await ran({ file: write("program.js", program), module: true });
  assert.match(words, /^(\d\.\d+ ){6}it\u2019s,so$/);
  assert.is(kernels.length, 2);
  wanted = words;
}

/** A browser's command, if there is one. */
const browser = ["chromium", "chromium-browser", "google-chrome", "chrome"].find(
  name => spawnSync(name, ["--version"]).status === 0,
);
/** What a page says that the browser has loaded from here. No file says its charset: scripts are then windows-1252. */
async function shown(files: ReadonlyMap<string, string>): Promise<string> {
  const server = createServer((request, response) => {
    const name = request.url!.slice(1);
    const kind = name.endsWith(".js") ? "text/javascript" : "text/html";
    response.writeHead(files.has(name) ? 200 : 404, { "content-type": kind });
    response.end(files.get(name));
  });
  await new Promise<void>(resolve => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
  const words = [...flags, `--user-data-dir=${join(consumer, "browser")}`, "--dump-dom"];
  const child = spawn(browser!, [...words, `http://127.0.0.1:${port}/page.html`], { timeout: 60_000 });
  let text = "";
  child.stdout.on("data", data => (text += data));
  const [code] = (await once(child, "close")) as [number | null];
  server.close();
  if (code !== 0) throw new Error(`${browser} ended with ${code}`);
  return text;
}

suite("bundlers", {
  async "read a package that is printable ASCII"() {
    await prepare();
    const files = readdirSync(join(home, "dist")).filter(f => f.endsWith(".js"));
    assert.equal(files, ["check.js", "data.js", "engine.js", "fast.js", "index.js", "tasks.js"]);
    for (const f of files) {
      const odd = /[^\t\n -~]/.exec(readFileSync(join(home, "dist", f), "utf8"));
      assert.is(odd, null, `${f} holds ${JSON.stringify(odd?.[0])} at ${odd?.index}`);
    }
  },
  ...Object.fromEntries(
    Object.entries(tools).map(([name, make]) => [
      `give a program by ${name} the same kernels and the same losses`,
      async () => {
        await prepare();
        const bundle = await make();
        bundles.set(name, bundle);
        const { words, kernels } = await ran(bundle);
        assert.is(words, wanted);
        for (const [i, dtype] of ["f32", "f64"].entries())
          assert.ok(readFileSync(join(home, `dist/${dtype}.wasm`)).equals(kernels[i]!), `other kernels of ${dtype}`);
      },
    ]),
  ),
  async "of a program that draws data alone make no page with kernels"() {
    await prepare();
    const text = `import { counting, random } from "farsight/tasks"; globalThis.said = counting().sample(random(1)).value;`;
    const entry = write("data.js", text);
    const resolve = { name: "resolve", resolveId: (id: string) => (id === "farsight/tasks" ? tasks : null) };
    const tasks = join(home, "dist/tasks.js");
    const { outputFiles } = await esbuild.build({ entryPoints: [entry], bundle: true, write: false, minify: true });
    const bundle = await rollup({ input: entry, plugins: [resolve] });
    const { output } = await bundle.generate({ format: "iife" });
    await bundle.close();
    for (const made of [outputFiles[0]!.text, await byTerser(output[0].code)]) {
      const { words, kernels } = await ran(script("drawn", made));
      assert.is(String(words), String(counting().sample(random(1)).value));
      assert.equal(kernels, []);
      assert.ok(made.length < 12_000, `${made.length} bytes`);
      assert.not(/WebAssembly|memorize|where is/.test(made));
    }
  },
  async "give the same losses in a page, whose scripts have no charset"() {
    if (!browser) {
      console.log("skipped: give the same losses in a page, whose scripts have no charset. No Chromium was found");
      return;
    }
    const files = new Map<string, string>();
    const note = (name: string) =>
      `document.body.append("(${name}: " + globalThis.said + ")"); delete globalThis.said;`;
    let page = "<!doctype html><body>";
    for (const [name, { file, module }] of bundles) {
      files.set(`${name}.js`, readFileSync(file, "utf8"));
      const type = module ? ' type="module"' : "";
      page += `<script${type} src="${name}.js"></script><script${type}>${note(name)}</script>\n`;
    }
    files.set("page.html", page);
    const text = await shown(files);
    assert.equal(
      Object.keys(tools).filter(name => !text.includes(`(${name}: ${wanted})`)),
      [],
      text.replace(/<script.*?<\/script>/gs, ""),
    );
  },
});
