// said.ts: what tables say in the same words: numbers by arm, and the paper's order of arms.
import { below } from "../finding.ts";
import type { Group } from "../study.ts";
import { join, percent } from "../words.ts";
import { measureOf } from "./groups.ts";
import type { Table } from "./table.ts";

/** "0.0 % with CoPE and 1.8 % with rope", of those that have the measure. */
export const each = (gs: readonly Group[], key: string): string =>
  join(
    gs.flatMap(g => {
      const m = measureOf(g, { key });
      return m ? [`${percent(m.here)} with ${g.label}`] : [];
    }),
  );

/** Added to a claim about groups of which one has a single seed: its interval knows nothing of other seeds. */
export const alone = (gs: readonly Group[]): string => (gs.some(g => g.seeds < 2) ? " (one seed)" : "");

/** What of an order of groups, the lowest first, their numbers show. */
function found(gs: readonly Group[], key: string): string {
  const pairs = gs.slice(1).map((g, i) => [gs[i]!, g] as const);
  const measures = ([a, b]: (typeof pairs)[number]) => [measureOf(a, { key })!, measureOf(b, { key })!] as const;
  const isTold = (pair: (typeof pairs)[number]): boolean => measures(pair).every(m => m.low !== undefined);
  const broken = pairs.filter(pair => isTold(pair) && !below(...measures(pair)));
  const names = (list: typeof pairs): string => join(list.map(([a, b]) => `${a.label} before ${b.label}`));
  if (broken.length) return `is not found beyond chance (${names(broken)})`;
  const untold = pairs.filter(pair => !isTold(pair));
  return untold.length ? `cannot be told from one seed (${names(untold)})` : `is found${alone(gs)}`;
}

/** Whether the paper's order of arms, the lowest first, is found, in the settings that have all of them. */
export function ordered(
  table: Pick<Table, "setting">,
  all: readonly Group[],
  { arms, key, where = "" }: { arms: readonly string[]; key: string; where?: string },
): string {
  const settings = [...new Set(all.map(g => g.setting))];
  const of = (setting: string): Group[] =>
    arms.flatMap(arm => all.filter(g => g.setting === setting && g.arm === arm && measureOf(g, { key })));
  const whole = settings.filter(setting => of(setting).length === arms.length);
  if (whole.length === 0) return "";
  const parts = [...new Set(whole.map(setting => found(of(setting), key)))].map(words => {
    const these = whole.filter(setting => found(of(setting), key) === words);
    return settings.length > 1 ? `${words} with ${join(these.map(table.setting.said))}` : words;
  });
  const names = of(whole[0]!).map(g => g.label);
  return `The paper's order${where}, ${names.join(" before ")}, ${join(parts)}.`;
}
