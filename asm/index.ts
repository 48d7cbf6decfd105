// The kernels, compiled once per dtype: `real` is f32 or f64, `bits` the integer as wide (build.mjs).
//
// 1. Arguments: sizes, factors and flags, inputs, outputs, room; a stride follows its address. Sizes are in elements
//    (`usize`), addresses in bytes, the same letters as in the maths; a file has a legend for every address that is
//    none of them. dx is the gradient of x.
// 2. Forward overwrites. A gradient is written or added to, as the `add` that follows it says: "dx += v" stands for
//    both. Written, every number of it is 0 + v, those that get nothing included, and what was there does not count. A
//    destination of 0 is skipped.
// 3. Buffers start 16-aligned and are padded to 16 bytes; elementwise kernels may write the padding, row kernels must
//    not read it. 64 bytes behind the last buffer may be read (a product's last tile does).
// 4. No result depends on how a kernel is divided: no sum crosses a cut. How it divides stands right above it.
//        // threads: rows*64 x+d y+h.d dw+d/64 ids#4 scratch@ | 1.5 ns rows d
//    reads: rows divide, at multiples of 64. For each row x moves on by d numbers and y by h d, unless they are 0; dw
//    by d for each 64 rows; ids by 4 as it is (bytes, words, a count). Each part has a scratch of its own. Rows times d
//    take 1.5 ns each. Arguments that are the same for all parts are left out. Of several such lines the one counts
//    whose size is the largest. Or it is // threads: serial, and why. build.mjs reads these lines.
// 5. No `@ts-ignore`; no `@inline` where -O3 does it anyway. What is inlined, for its constants to lie in registers or
//    a choice to be made, is a static method of a class `Inlined`.
export {
  exp,
  expBack,
  log,
  logBack,
  sqrt,
  sqrtBack,
  tanh,
  tanhBack,
  sigmoid,
  sigmoidBack,
  relu,
  reluBack,
  geluTanh,
  geluTanhBack,
  geluErf,
  geluErfBack,
  silu,
  siluBack,
  sin,
  sinBack,
  cos,
  cosBack,
  erf,
  erfBack,
  add,
  sub,
  mul,
  div,
  divBack,
  scale,
  scaleAdd,
  accumulate,
  mulAdd,
  fill,
} from "./map";
export { dropout, dropoutBack, philox } from "./random";
export { matmul, scratchSize } from "./matmul";
export { weigh } from "./weigh";
export { finite } from "./row";
export {
  softmax,
  softmaxBack,
  logSoftmax,
  logSoftmaxBack,
  logsumexp,
  logsumexpBack,
  layerNorm,
  layerNormBack,
  chunks,
  rmsNorm,
  bias,
  biasBack,
  sum,
  sumBack,
  cumsum,
  copyRows,
  addRows,
} from "./rows";
export { crossEntropy, crossEntropyBack, huber, huberBack } from "./loss";
export { gather, placeRows, gatherBack, pick, pickBack, interpolate, interpolateBack, rope } from "./gather";
export { maskedSoftmax, maskedSigmoid, rest } from "./masked";
export { sgd, adamw, squares, clamp } from "./step";
export { attention } from "./attention/forward";
export { attentionBack } from "./attention/backward";
export { attentionRoom, attentionPart } from "./attention/workspace";

/** The first address behind the constants that the kernels keep. */
// threads: serial
export function heapBase(): usize {
  return __heap_base;
}
