// The texts of language modelling: files split once and for all, none of them in both halves.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { code, english, type Corpus } from "../bench/corpus.ts";
import { code as codeTable } from "../bench/tables/cope/language.ts";
import { fails, suite } from "./check.ts";
import { scratch } from "./program.ts";

/** The share of bytes that is held out; the files' bytes are those of the texts. */
function share({ files, train, held }: Corpus): number {
  const bytes = (out: boolean) => files.filter(f => f.held === out).reduce((sum, f) => sum + f.bytes, 0);
  assert.equal([bytes(false), bytes(true)], [Buffer.byteLength(train), Buffer.byteLength(held)]);
  return bytes(true) / (bytes(true) + bytes(false));
}

suite("a corpus of code", {
  "is the same every time, and these files"() {
    const one = code();
    assert.is(one.digest, code().digest);
    const { cells, config } = codeTable;
    const known = config(cells[0]!, { quick: false })["corpus"];
    assert.is(
      one.digest,
      known,
      "a development tool has other files now: the table of code, and its results, are of old",
    );
    const folders = [...new Set(one.files.map(f => f.path.split("/")[0]))];
    assert.equal(folders, ["typescript-oldest", "esbuild", "assemblyscript"]);
    assert.ok(one.train.length > 2.5e6, `${one.train.length}`);
  },
  "has a tenth held out by file, and no file in both"() {
    const { files, train, held } = code();
    const out = share({ files, train, held, digest: "" });
    assert.ok(out > 0.099 && out <= 0.1, `${out}`);
    assert.is(new Set(files.map(f => f.path)).size, files.length);
    for (const { path, held: isHeld } of files) {
      const text = readFileSync(join("node_modules", path), "utf8")
        .replace(/^\uFEFF/, "")
        .replace(/\r\n/g, "\n");
      assert.is(held.includes(text), isHeld, path);
      assert.is(train.includes(text), !isHeld, path);
    }
    assert.not(train.includes("\r"));
  },
});

suite("a corpus of English", {
  "is a folder's texts, a tenth of them held out, and equal ones once"() {
    const folder = scratch("corpus")("english");
    mkdirSync(join(folder, "deep"), { recursive: true });
    for (let i = 0; i < 40; i++) writeFileSync(join(folder, i % 2 ? `deep/${i}.txt` : `${i}.txt`), `Text ${i}.\r\n`);
    writeFileSync(join(folder, "again.txt"), "Text 7.\n");
    writeFileSync(join(folder, "empty.txt"), "");
    writeFileSync(join(folder, "other.md"), "Not a text.\n");
    const one = english(folder);
    assert.is(one.files.length, 40);
    assert.is(one.files.filter(f => f.held).length, 4);
    share(one);
    assert.equal(
      `${one.train}${one.held}`.split("\n").sort(),
      ["", ...Array.from({ length: 40 }, (_, i) => `Text ${i}.`)].sort(),
    );
    assert.is(english(folder).digest, one.digest);
    writeFileSync(join(folder, "3.txt"), "Text three.\n");
    assert.not.equal(english(folder).digest, one.digest);
  },
  "is a file up to its last tenth, or a file and another"() {
    const folder = scratch("corpus")("files");
    mkdirSync(folder, { recursive: true });
    const lines = Array.from({ length: 100 }, (_, i) => `line ${String(i).padStart(2, "0")}\n`);
    const [whole, other, short] = ["whole", "other", "short"].map(name => join(folder, `${name}.txt`)) as [
      string,
      string,
      string,
    ];
    writeFileSync(whole, lines.join("").trimEnd());
    writeFileSync(other, "another\n");
    writeFileSync(short, "one line");
    const { train, held } = english(whole);
    assert.is(train + held, lines.join(""));
    assert.is(held, lines.slice(91).join(""));
    const two = english(whole, other);
    assert.equal([two.train, two.held], [lines.join(""), "another\n"]);
    fails(() => english(whole, whole), /^Error: corpus: .* hold the same text$/);
    fails(() => english(short), /^Error: corpus: 2 files leave nothing to train on, or nothing to test on$/);
    fails(() => english(join(folder, "none.txt")), /^Error: corpus: cannot read .*none\.txt: there is no such place$/);
  },
});
