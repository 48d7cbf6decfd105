// How the build puts compiled kernels into the bundle: as text, for each dtype, put together when it is asked for, with
// the commonest bytes as the bits of 64 hexadecimal digits; the layouts of argument blocks, by class: the names of
// 8-byte numbers, and of the 4-byte words behind them, those of a class that it extends first; and how kernels divide
// among threads, by name.
declare module "*/kernels.wasm" {
  export const f32: () => string, f64: () => string, common: string;
  interface Layout {
    readonly numbers: readonly string[];
    readonly words: readonly (readonly string[])[];
  }
  export const layouts: Readonly<Record<string, Layout>>;
  export const divisions: Readonly<Record<string, readonly import("./split.ts").Division[]>>;
}
