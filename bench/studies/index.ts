// index.ts: the studies of npm start, in the order in which they are trained, shown and reported. A study is one file
// here and one row of this list.
import type { Study } from "../study.ts";
import { count } from "./count.ts";
import { plan } from "./plan.ts";
import { remember } from "./remember.ts";

/** All studies. */
export const studies: readonly Study[] = [count, remember, plan];
