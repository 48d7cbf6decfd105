// What table and report make of a study's records, for the tests of each study.
import * as assert from "uvu/assert";
import { finding, table } from "../bench/finding.ts";
import type { Entry } from "../bench/records.ts";
import { report } from "../bench/report.ts";
import type { Study } from "../bench/study.ts";

/** The conclusion. */
export const said = (study: Study, records: readonly Entry[]): string =>
  finding(records, study).replaceAll("\u00a0", " ");

/** The page of one study. */
export const paged = (study: Study, records: readonly Entry[]): string => report(records, [study]);

/** Holds page and table to words that a person can read, with any one record, or all before or after it, or most
 * fields of every second one missing. */
export function whole(study: Study, all: readonly Entry[]): void {
  const bare = (r: Entry): Entry => ({ ...r, config: undefined, layers: undefined, machine: undefined });
  for (let without = 0; without <= all.length; without++) {
    const rest = all.filter((_, i) => i !== without);
    const thin = rest.map((r, i) => (i % 2 ? r : bare(r)));
    for (const records of [thin, all.slice(0, without), all.slice(without)])
      assert.not.match(paged(study, records) + table(records, [study]), /undefined|NaN|\[object|Infinity/);
  }
}
