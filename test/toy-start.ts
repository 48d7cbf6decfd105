// npm start as it would be if the toy were its only study.
import { main } from "../bench/runner.ts";
import { toy } from "./toy.ts";

await main([toy], import.meta.url);
