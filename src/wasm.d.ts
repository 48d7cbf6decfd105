// How the build puts compiled kernels into the bundle: as a string of their bytes, one character each, for each dtype.
declare module "*/kernels.wasm" {
  export const f32: string, f64: string;
}
