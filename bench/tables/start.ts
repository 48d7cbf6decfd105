// start.ts: `npm run bench -- PAPER`, and the program of its threads.
import { main } from "./runner.ts";
import { papers } from "./papers.ts";

await main(papers, import.meta.url);
