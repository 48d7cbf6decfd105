// The tables of a toy as its only paper. TOY_RESULTS: the folder of results. TOY_EVERY: milliseconds between its
// checkpoints.
import { main } from "../bench/tables/runner.ts";
import { toyPaper } from "./toy-paper.ts";

const every = Number(process.env["TOY_EVERY"] ?? 30_000);
await main([toyPaper], import.meta.url, { every, results: process.env["TOY_RESULTS"]! });
