// folder.ts: a folder as Hugging Face's hub has it: config.json, tokenizer.json, and weights in one file or in several.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import { Tape, type TensorFiles } from "farsight";
import { fast } from "farsight/fast";
import { reason } from "../files.ts";

/** What was asked for on the command line. */
export interface Asked {
  readonly folder: string;
  /** A file to read; of `bert` alone. */
  readonly file: string | undefined;
  readonly text: string;
  readonly steps: number;
  readonly temperature: number;
  readonly seed: number;
  readonly memory: number;
  readonly segment: number;
  readonly fast: boolean;
  readonly threads: number | undefined;
}

/** The bytes of a file; throws in words for a person. */
export function bytesOf(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new Error(`${path}: ${reason(error as NodeJS.ErrnoException)}`);
  }
}
const textOf = (path: string): string => new TextDecoder().decode(bytesOf(path));

/** What a JSON file of the folder holds. */
export function jsonOf(folder: string, name: string): { readonly [key: string]: unknown } {
  const path = join(folder, name);
  try {
    return JSON.parse(textOf(path)) as { [key: string]: unknown };
  } catch (error) {
    if (error instanceof SyntaxError) throw new Error(`${path} is no JSON: ${error.message}`);
    throw error;
  }
}

/** The tokenizer of the folder. */
export function tokenizerOf(folder: string): Tokenizer {
  const name = "tokenizer_config.json";
  return new Tokenizer(jsonOf(folder, "tokenizer.json"), existsSync(join(folder, name)) ? jsonOf(folder, name) : {});
}

/** The weights of the folder: the file, or all that its index names. */
export function weightsOf(folder: string): TensorFiles {
  const index = "model.safetensors.index.json";
  if (!existsSync(join(folder, index))) return bytesOf(join(folder, "model.safetensors"));
  const parsed = jsonOf(folder, index) as { weight_map?: Record<string, string> };
  const names = [...new Set(Object.values(parsed.weight_map ?? {}))];
  return { index: parsed, files: Object.fromEntries(names.map(name => [name, bytesOf(join(folder, name))])) };
}

/** A tape on the engine that was asked for. */
export const tapeOf = ({ fast: isFast, threads }: Asked): Tape =>
  new Tape("f32", isFast ? { engine: fast("f32", threads === undefined ? {} : { threads }) } : {});

/** Resident memory, MiB. */
export const resident = (): number => Math.round(process.memoryUsage().rss / 2 ** 20);
