// The public names of farsight.
export { Engine, type Dtype, type EngineOptions, type EngineParts, type Kernels, type Numbers } from "./engine.ts";
export { Tape, Tensor, type Entry, type TapeOptions, type Trace } from "./tape.ts";
export { op, type Op, type Operand, type Rule } from "./op.ts";
export {
  add,
  bias,
  bmm,
  concat,
  cos,
  crossEntropy,
  cumsum,
  div,
  dropout,
  embedding,
  erf,
  exp,
  fade,
  fusedAttention,
  gelu,
  geluErf,
  huber,
  interpolate,
  layerNorm,
  linear,
  log,
  logSoftmax,
  logsumexp,
  maskedSigmoid,
  maskedSoftmax,
  matmul,
  mean,
  mix,
  mse,
  mul,
  ops,
  pick,
  relu,
  reshape,
  rmsNorm,
  rope,
  scale,
  scores,
  sigmoid,
  silu,
  sin,
  slice,
  softmax,
  sqrt,
  stopGradient,
  sub,
  sum,
  tableScores,
  tanh,
} from "./ops.ts";
export { philox, random, type Random } from "./random.ts";
export {
  count,
  leaves,
  maker,
  mlp,
  tokens,
  type Activation,
  type Maker,
  type MlpWeights,
  type Tree,
  type Weights,
} from "./nn.ts";
export {
  adam,
  adamw,
  clipNorm,
  clipValue,
  schedule,
  sgd,
  type AdamOptions,
  type Optimizer,
  type Schedule,
  type SgdOptions,
} from "./optim.ts";
export { gradcheck, type GradcheckOptions } from "./gradcheck.ts";
export { parse, serialize, type Storable, type Stored } from "./safetensors.ts";
export { fit, type FitOptions, type Metrics, type WeighedLoss } from "./fit.ts";
export { load, loadParams, save, type Run } from "./checkpoint.ts";
export { attend, attention, type AttentionOptions } from "./models/attention.ts";
export { cope, positions, type CopeOptions, type Gates, type Scaling, type View } from "./models/cope.ts";
export { edgeWeight, edgeWeights, myopia, type Cut, type Myopia } from "./models/myopic.ts";
export { alibi, alibiSlopes, distances, kinds, mask, rotary, sinusoidal, type Position } from "./models/position.ts";
export {
  transformer,
  type BlockWeights,
  type Config,
  type How,
  type Transformer,
  type TransformerOptions,
  type TransformerWeights,
} from "./models/transformer.ts";
export {
  rmt,
  rmtEncoder,
  type Rmt,
  type RmtEncoder,
  type RmtEncoderOptions,
  type RmtEncoderWeights,
  type RmtOptions,
  type RmtWeights,
  type Truncation,
} from "./models/rmt.ts";
export * from "./tasks/counting.ts";
export * from "./tasks/memorize.ts";
export * from "./tasks/sine.ts";
