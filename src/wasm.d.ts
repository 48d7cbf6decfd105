/** A compiled module, a character a byte (build.mjs). */
declare module "*.wasm" {
  const bytes: string;
  export default bytes;
}
