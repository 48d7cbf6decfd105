// Golden values from an independent PyTorch reference in double precision (test/golden, one safetensors file a case).
// Names: in.X inputs, param.X parameters, out.X results, grad.X gradients; out@V.X and grad@V.X where variant V
// differs.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Tape, parse, type Dtype, type Tensor } from "farsight";
import { close } from "./check.ts";

const folder = join(process.cwd(), "test/golden");
type Section = Record<string, Record<string, unknown>>;
export interface Golden {
  name: string;
  config: Record<string, never> & { kind: string; variants?: Record<string, { like: string; set: Section }> };
  tolerance: Record<Dtype, number>;
  names(prefix: string): string[];
  shape(name: string): readonly number[];
  values(name: string): Float64Array;
  /** What `kind` (out, grad) of `name` must be under variant `v`. */
  expected(kind: string, name: string, v: string): Float64Array;
}

export function golden(name: string): Golden {
  const { tensors, metadata } = parse(readFileSync(join(folder, `${name}.safetensors`)));
  const config = JSON.parse(metadata.config!);
  const t = JSON.parse(metadata.tolerance!);
  const get = (n: string) => {
    const x = tensors.get(n);
    if (!x) throw new Error(`${name} has no ${n}`);
    return x;
  };
  const values = (n: string) => get(n).values as Float64Array;
  return {
    name,
    config,
    tolerance: { f64: t.float64, f32: t.float32 },
    values,
    shape: n => get(n).shape,
    names: prefix => [...tensors.keys()].filter(n => n.startsWith(prefix)).map(n => n.slice(prefix.length)),
    expected(kind, what, v) {
      for (; v; v = config.variants[v].like)
        if (tensors.has(`${kind}@${v}.${what}`)) return values(`${kind}@${v}.${what}`);
      return values(`${kind}.${what}`);
    },
  };
}
export const cases = (start: string): string[] =>
  readdirSync(folder)
    .filter(f => f.startsWith(start) && f.endsWith(".safetensors"))
    .map(f => f.replace(".safetensors", ""))
    .sort();
/** The configuration of a variant: the case's with some keys replaced. */
export function variant(g: Golden, v: string): Record<string, Record<string, never>> {
  const config = structuredClone(g.config) as unknown as Section;
  for (const [section, keys] of Object.entries(v ? g.config.variants![v]!.set : {}))
    Object.assign(config[section]!, keys);
  return config as never;
}
export const variants = (g: Golden): string[] => ["", ...Object.keys(g.config.variants ?? {})];
export const dtypes = ["f64", "f32"] as const;
/** Compares under the case's own tolerance: max|got - want| <= tolerance * max(0.01, max|want|). */
export const match = (g: Golden, dtype: Dtype, got: ArrayLike<number>, want: Float64Array, what: string): void =>
  close(got, want, g.tolerance[dtype], `${g.name} ${dtype} ${what}`);
export const input = (tape: Tape, g: Golden, name: string, wanted = true): Tensor =>
  wanted ? tape.param(g.shape(name), g.values(name)) : tape.tensor(g.shape(name), g.values(name));

/** b h t d values as b t h d, or back: the same exchange. */
export function exchange(values: ArrayLike<number>, [b, x, y, d]: readonly number[]): Float64Array {
  const out = new Float64Array(values.length);
  for (let i = 0; i < b!; i++)
    for (let j = 0; j < x!; j++)
      for (let k = 0; k < y!; k++)
        for (let l = 0; l < d!; l++) out[((i * y! + k) * x! + j) * d! + l] = values[((i * x! + j) * y! + k) * d! + l]!;
  return out;
}
