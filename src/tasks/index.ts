// index.ts: the tasks, a line each.
export * from "./counting.ts";
export * from "./memorize.ts";
export * from "./sine.ts";
