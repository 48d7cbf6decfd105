// The public names of farsight.
export { Engine, type Dtype, type EngineOptions, type Kernels, type Numbers } from "./engine.ts";
export { Tape, type TapeOptions } from "./tape.ts";
export { Tensor } from "./tensor.ts";
export { type Trace } from "./backward.ts";
export { philox, random, type Random } from "./random.ts";
export { parse, serialize, type Storable, type Stored } from "./safetensors.ts";
export {
  count,
  leaves,
  mlp,
  norm,
  tokens,
  type Activation,
  type Maker,
  type MlpWeights,
  type ParamsOptions,
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
export { fit, type FitOptions, type Metrics, type WeighedLoss } from "./fit.ts";
export { curriculum, type CurriculumMetrics, type CurriculumOptions, type Progress } from "./curriculum.ts";
export { load, loadParams, save, type Run } from "./checkpoint.ts";
export type { Filled, TensorFiles } from "./names.ts";
export { gradcheck, type GradcheckOptions } from "./gradcheck.ts";
export { op, type Op, type Operand, type Rule } from "./op.ts";
export {
  add,
  bias,
  cos,
  div,
  dropout,
  erf,
  exp,
  fade,
  gelu,
  geluErf,
  log,
  mul,
  relu,
  scale,
  sigmoid,
  silu,
  sin,
  sqrt,
  sub,
  tanh,
} from "./ops/elementwise.ts";
export { bmm, linear, matmul } from "./ops/products.ts";
export { embedding, layerNorm, logSoftmax, logsumexp, rmsNorm, softmax } from "./ops/rows.ts";
export { concat, cumsum, mean, reshape, slice, stopGradient, sum, append } from "./ops/shapes.ts";
export { crossEntropy, huber, mse } from "./ops/losses.ts";
export { parted, restated } from "./ops/myopic.ts";
export { interpolate, maskedSigmoid, maskedSoftmax, mix, pick, rope, scores, tableScores } from "./ops/composed.ts";
export { attentionOver, type AttentionOverOptions, type AttentionSources } from "./ops/attention.ts";
export { ops } from "./ops/index.ts";
export { alibi, alibiSlopes } from "./positions/alibi.ts";
export { cope, positions, type CopeOptions, type Masks } from "./positions/cope.ts";
export { kinds, type PositionChoice, type PositionName, type PositionOptions } from "./positions/index.ts";
export type {
  Bias,
  Gates,
  Gating,
  Kind,
  Named,
  Places,
  Position,
  Scaling,
  Sizes,
  TableScope,
} from "./positions/kind.ts";
export { distances } from "./positions/relative.ts";
export { rotary } from "./positions/rope.ts";
export { sinusoidal } from "./positions/sinusoidal.ts";
export { attend, attention, mask, type AttentionOptions } from "./models/attention.ts";
export type { StartOptions } from "./models/carries/index.ts";
export { cache, type Cache, type CacheSizes } from "./models/carries/cache.ts";
export { stateCache } from "./models/carries/states.ts";
export type { Carry, CarrySizes, Reads } from "./models/carry.ts";
export { generate, type GenerateOptions } from "./models/generate.ts";
export { rowsUsed, type GatePositions, type HeadRows, type Inside, type LayerHeadRows } from "./models/inside.ts";
export {
  attentionBlock,
  layer,
  type AttentionWeights,
  type BlockWeights,
  type LayerConfig,
  type LayerRun,
} from "./models/layer.ts";
export { edgeWeights, myopia, type Cut, type Myopia } from "./models/myopic.ts";
export {
  transformer,
  type Config,
  type HeadWeights,
  type How,
  type Seen,
  type Transformer,
  type TransformerOptions,
  type TransformerState,
  type TransformerWeights,
} from "./models/transformer.ts";
export type { Ask, Chunk, Given, Rows, StreamOptions } from "./models/stream.ts";
export type {
  LossOptions,
  Recalling,
  RecurrentDecoder,
  RecurrentOptions,
  RmtHow,
  RmtState,
  RmtStep,
  RmtWeights,
  Truncation,
} from "./models/recurrent.ts";
export { rmt, type Rmt, type RmtOptions } from "./models/rmt.ts";
export { armt, type Armt, type ArmtOptions, type ArmtState, type ArmtWeights } from "./models/armt.ts";
export {
  association,
  type Association,
  type Associations,
  type AssociationWeights,
} from "./models/carries/association.ts";
export { rmtR, type RetrievalWeights, type RmtR, type RmtRState, type RmtRWeights } from "./models/retrieval.ts";
export { rmtEncoder, type RmtEncoder, type RmtEncoderOptions, type RmtEncoderWeights } from "./models/encoder.ts";
export { gpt2, loadGpt2 } from "./models/gpt2.ts";
export { bert, loadBert } from "./models/bert.ts";
export { nanoGpt, saveNanoGpt } from "./models/nanogpt.ts";
export * from "./tasks/index.ts";
