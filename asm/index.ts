// The kernels, compiled once per dtype: `real` is f32 or f64, `bits` the integer as wide (build.mjs).
// 1. Arguments: sizes, inputs, outputs, numbers. Sizes in elements (`usize`), addresses in bytes, the same letters as
// in the maths.
// 2. Forward overwrites. A gradient is followed by its own `add`: without it every number is written, 0 + what is due.
// A destination of 0 is skipped.
// 3. Buffers start 16-aligned and are padded to 16 bytes; elementwise kernels may write the padding, row kernels must
// not read it.
//    64 bytes behind the last buffer may be read (a product's last tile does).
// 4. A kernel that can be split takes a range of rows, and its result does not depend on how the rows were split.
// 5. No `@ts-ignore`; no `@inline` where -O3 does it anyway.
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
  rmsNormBack,
  bias,
  biasBack,
  sum,
  sumBack,
  cumsum,
  cumsumBack,
  copyRows,
  addRows,
} from "./rows";
export { crossEntropy, crossEntropyBack, huber, huberBack } from "./loss";
export { gather, gatherBack, pick, pickBack, interpolate, interpolateBack, rope } from "./gather";
export { maskedSoftmax, maskedSigmoid, rest } from "./masked";
export { sgd, adamw, squares, clamp } from "./step";

/** The first address past the constants that the kernels keep. */
// threads: serial
export function heapBase(): usize {
  return __heap_base;
}
export { attention } from "./attention/forward";
export { attentionBack } from "./attention/backward";
export { attentionRoom, attentionPart } from "./attention/workspace";
