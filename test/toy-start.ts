// npm start as it would be if the toy were its only study. EVERY: milliseconds between checkpoints.
import { main } from "../bench/runner.ts";
import { toy } from "./toy.ts";

const { EVERY } = process.env;
await main([toy], import.meta.url, EVERY === undefined ? {} : { every: Number(EVERY) });
