// npm start with the toy as its only study, and a checkpoint after every step.
import { main } from "../bench/runner.ts";
import { toy } from "./toy.ts";

await main([toy], import.meta.url, { every: 0 });
