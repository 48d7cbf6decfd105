// maps.ts: maps of gates as the tables of this paper show them.
import { gatesFigure } from "../../gates.ts";
import { bag, list, type Entry } from "../../records.ts";
import type { Figure } from "../../study.ts";
import type { Table } from "../table.ts";

/** The maps of gates on record, the first of each setting and arm. */
export function maps(table: Table, results: readonly Entry[]): Figure[] {
  const mapped = results.filter(e => list(e["figures"]).some(f => bag(f)["kind"] === "gates"));
  const isFirst = (e: Entry, i: number): boolean =>
    mapped.findIndex(m => m["arm"] === e["arm"] && m["setting"] === e["setting"]) === i;
  return mapped.filter(isFirst).map(e => {
    const map = list(e["figures"])
      .map(bag)
      .find(f => f["kind"] === "gates");
    const { charts, caption } = gatesFigure({ ...map, type: "figure" });
    const arm = table.arms[String(e["arm"])] ?? String(e["arm"]);
    return { charts, caption: `${arm}, ${table.setting.said(String(e["setting"]))}. ${caption}` };
  });
}
