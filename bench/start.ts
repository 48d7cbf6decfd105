// start.ts: `npm start`.
import { main } from "./runner.ts";
import { studies } from "./studies/index.ts";

await main(studies, import.meta.url);
