// farsight/tasks: the tasks, a line each, and the generator that they draw from. No kernels, so that a page or a worker
// may draw data without them.
export { random, type Random } from "../random.ts";
export * from "./copy.ts";
export * from "./counting.ts";
export * from "./equations.ts";
export * from "./flipflop.ts";
export type { FactsBatch, FactsOptions, FactsTask } from "./facts.ts";
export * from "./language.ts";
export * from "./memorize.ts";
export * from "./mistakes.ts";
export * from "./reasoning.ts";
export * from "./recall.ts";
export type { Sequence, SequenceBatch, SequenceTask } from "./sequences.ts";
export * from "./sine.ts";
