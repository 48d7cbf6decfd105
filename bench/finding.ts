// finding.ts: what the records of a run say: results grouped over seeds, verdicts in sentences, a table for the
// terminal. Every number and every claim is computed from the records. The page around them is report.ts.

/** One JSON line of a run. Unknown types and fields are ignored. */
export type Entry = { readonly type: string; readonly [field: string]: unknown };
export type Study = "count" | "remember" | "plan";
export type Numbers = { readonly [name: string]: unknown };
/**
 * What one arm measured, over its seeds. low and high are the seeds' extremes, or the sampling interval where the test
 * size is known.
 */
export interface Measure {
  key: string;
  name: string;
  here: number;
  low?: number;
  high?: number;
  paper?: number;
  unit: "%" | "";
}
export interface Group {
  study: Study;
  arm: string;
  setting: string;
  config: Numbers;
  metrics: Numbers;
  seeds: number;
  seconds: number;
  measures: Measure[];
}

export const num = (v: unknown): number | undefined => (typeof v === "number" && Number.isFinite(v) ? v : undefined);
export const bag = (v: unknown): Numbers => (typeof v === "object" && v !== null ? (v as Numbers) : {});
export const list = (v: unknown): readonly unknown[] => (Array.isArray(v) ? v : []);
export const mean = (v: readonly number[]) => v.reduce((a, b) => a + b, 0) / v.length;

/** Arms by name and hue; the arm a study is about comes first and is always the first hue. */
const arms: { readonly [arm: string]: readonly [name: string, colour: number] } = {
  cope: ["CoPE", 0],
  relative: ["relative", 1],
  absolute: ["absolute", 2],
  rmt: ["RMT", 0],
  none: ["no memory", 1],
  full: ["full", 0],
  myopic: ["myopic", 1],
};
export const name = (arm: string) => arms[arm]?.[0] ?? arm;
export const colour = (arm: string) => arms[arm]?.[1] ?? 3;
export const rank = (arm: string) => {
  const i = Object.keys(arms).indexOf(arm);
  return i < 0 ? 99 : i;
};

export const studies: {
  readonly [S in Study]: {
    title: string;
    question: string;
    paper: string;
    link: string;
    setting: string;
    word: string;
  };
} = {
  count: {
    title: "Counting",
    setting: "variables",
    word: "variable",
    question: "Does a transformer count better when its positions count chosen tokens instead of all of them?",
    paper: "Golovneva et al. 2024, Contextual Position Encoding",
    link: "https://arxiv.org/abs/2405.18719",
  },
  remember: {
    title: "Remembering",
    setting: "task",
    word: "",
    question: "How far past its training length does a recurrent memory carry one fact?",
    paper: "Bulatov et al. 2023, Scaling Transformer to 1M tokens and beyond with RMT",
    link: "https://arxiv.org/abs/2304.11062",
  },
  plan: {
    title: "Planning",
    setting: "p",
    word: "p",
    question:
      "Does a transformer compute in advance what only later tokens will need, and does it stop when their gradients do?",
    paper: "Wu et al. 2024, Do Language Models Plan Ahead for Future Tokens?",
    link: "https://arxiv.org/abs/2404.00859",
  },
};
export const inOrder = Object.keys(studies) as Study[];

export const of = (records: readonly Entry[], type: string, study: Study) =>
  records.filter(r => r?.type === type && r["study"] === study);
export const percent = (v: number) => `${Number(v.toFixed(v > 0 && v < 0.05 ? 2 : 1))}\u00a0%`;
export const plain = (v: number) =>
  v !== 0 && Math.abs(v) < 1e-3 ? v.toExponential(1) : String(Number(v.toPrecision(3)));
export const worth = (m: { unit: string }, v: number) => (m.unit === "%" ? percent(v) : plain(v));
const times = (x: number) => Number(x.toPrecision(2));
export const join = (words: readonly string[]) =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;

/** 95 % interval of a share of n trials (Agresti and Coull), in per cent. */
function interval(share: number, n: number): [number, number] {
  const p = (share * n + 2) / (n + 4);
  const half = 2 * Math.sqrt((p * (1 - p)) / (n + 4));
  return [Math.max(0, 100 * (p - half)), Math.min(100, 100 * (p + half))];
}

/** Results of one arm and one setting become one group, whatever the seed. */
export function groups(records: readonly Entry[], study: Study): Group[] {
  const found = new Map<string, Entry[]>();
  for (const r of of(records, "result", study)) {
    if (typeof r["arm"] !== "string") continue;
    const key = JSON.stringify([bag(r["config"])[studies[study].setting] ?? "", r["arm"]]);
    found.set(key, [...(found.get(key) ?? []), r]);
  }
  return [...found]
    .map(([key, rows]): Group => {
      const [setting, arm] = JSON.parse(key) as [unknown, string];
      const metrics = bag(rows[0]!["metrics"]);
      return {
        study,
        arm,
        setting: String(setting),
        metrics,
        config: bag(rows[0]!["config"]),
        seeds: rows.length,
        seconds: rows.reduce((sum, r) => sum + (num(r["seconds"]) ?? 0), 0),
        measures: measures(study, rows),
      };
    })
    .filter(g => g.measures.length)
    .sort((a, b) => a.setting.localeCompare(b.setting, "en", { numeric: true }) || rank(a.arm) - rank(b.arm));
}

function measures(study: Study, rows: readonly Entry[]): Measure[] {
  const over = (
    key: string,
    label: string,
    unit: Measure["unit"],
    factor: number,
    pick: (numbers: Numbers) => unknown,
  ): Measure[] => {
    const values = rows
      .map(r => num(pick(bag(r["metrics"]))))
      .filter(v => v !== undefined)
      .map(v => v * factor);
    if (values.length === 0) return [];
    const here = mean(values);
    const paper = num(pick(bag(rows[0]!["paper"])));
    const tests = num(bag(rows[0]!["metrics"])["tests"]);
    const [low, high] =
      values.length > 1 ? [Math.min(...values), Math.max(...values)] : unit && tests ? interval(here / 100, tests) : [];
    return [
      {
        key,
        name: label,
        unit,
        here,
        ...(low !== undefined && high !== undefined && { low, high }),
        ...(paper !== undefined && { paper: paper * factor }),
      },
    ];
  };
  if (study === "count") return over("error", "test error", "%", 1, m => m["error"]);
  if (study === "plan") return over("loss", "normalised Huber loss", "", 1, m => m["loss"]);
  const lengths = new Set(rows.flatMap(r => Object.keys(bag(bag(r["metrics"])["accuracyBySegments"]))));
  return [...lengths]
    .map(Number)
    .filter(s => s > 0)
    .sort((a, b) => a - b)
    .flatMap(s =>
      over(
        String(s),
        `accuracy at ${s}\u00a0segment${s === 1 ? "" : "s"}`,
        "%",
        100,
        m => bag(m["accuracyBySegments"])[s],
      ),
    );
}

/** The rows worth a table: of accuracies by length the shortest, the longest trained on, and the longest. */
export function chosen(g: Group): Measure[] {
  if (g.study !== "remember") return g.measures;
  const trained = String(num(g.metrics["trained"]) ?? "");
  return g.measures.filter(
    (m, i) => i === 0 || m.key === trained || i === g.measures.length - 1 || m.paper !== undefined,
  );
}

/** "0.1 to 0.9", or nothing where there is one seed and no test size. */
export const range = (m: Measure): string =>
  m.low === undefined || m.high === undefined
    ? ""
    : [m.low, m.high].map(v => worth(m, v).replace("\u00a0%", "")).join(" to ");
const shown = (m: Measure, g: Group) =>
  worth(m, m.here) + (range(m) && ` (${range(m)}${g.seeds > 1 ? `, ${g.seeds} seeds` : ""})`);
export const brief = (config: Numbers) =>
  Object.entries(config)
    .filter(([, v]) => ["string", "number", "boolean"].includes(typeof v))
    .map(([k, v]) => `${k} ${v}`)
    .join(", ");
const clear = (better: Measure, worse: Measure, sign: 1 | -1) =>
  better.here !== worse.here &&
  (better.low === undefined ||
    worse.low === undefined ||
    (sign > 0 ? better.high! < worse.low : better.low > worse.high!));
const lone = (gs: readonly Group[]) =>
  gs.length > 1 && gs.every(g => g.seeds === 1 && g.measures[0]!.low === undefined)
    ? " One seed: a small difference may be luck."
    : "";

/**
 * What the numbers say, in sentences. Each verdict is a comparison made here, so other numbers give another sentence.
 */
export function finding(records: readonly Entry[], study: Study): string {
  const all = groups(records, study);
  const settings = [...new Set(all.map(g => g.setting))];
  return settings
    .map(setting => {
      const gs = all.filter(g => g.setting === setting);
      const said = study === "count" ? counted(gs) : study === "remember" ? remembered(gs) : planned(gs);
      const { word } = studies[study];
      const head = word === "p" ? `p = ${setting}` : word ? `${setting} ${word}${setting === "1" ? "" : "s"}` : setting;
      return settings.length > 1 && said ? `${head[0]!.toUpperCase()}${head.slice(1)}: ${said}` : said;
    })
    .concat(study === "plan" ? probed(records) : [])
    .filter(Boolean)
    .join(" ");
}

function counted(gs: readonly Group[]): string {
  const order = [...gs].sort((a, b) => a.measures[0]!.here - b.measures[0]!.here);
  const [best, next] = order;
  const m = best!.measures[0]!;
  if (!next)
    return `${name(best!.arm)} answers ${percent(m.here)} of the test questions wrongly. No other arm ran, so there is nothing to compare it with.`;
  const chance = num(best!.metrics["chance"]);
  const rest =
    join(order.slice(1).map(g => `${percent(g.measures[0]!.here)} with ${name(g.arm)}`)) +
    (order.at(-1)!.arm in { relative: 1, absolute: 1 } ? " positions" : "");
  if (chance !== undefined && m.here > 0.95 * chance)
    return `Nothing learned to count in this run: the best test error is ${percent(m.here)}, and always giving the commonest answer has ${percent(chance)}.`;
  if (!clear(m, next.measures[0]!, 1))
    return `No clear winner: the test error is ${percent(m.here)} with ${name(best!.arm)}, against ${rest}.${lone(gs)}`;
  const verdict =
    best!.arm === "cope"
      ? "CoPE counts best in this run"
      : gs.some(g => g.arm === "cope")
        ? `CoPE did not win in this run; ${name(best!.arm)} positions counted best`
        : `${name(best!.arm)} counted best in this run`;
  return `${verdict}: ${percent(m.here)} test error, against ${rest}.${lone(gs)}`;
}

function remembered(gs: readonly Group[]): string {
  const with_ = gs.find(g => g.arm === "rmt") ?? gs[0]!;
  const without = gs.find(g => g !== with_);
  const at = (g: Group | undefined, key: string) => g?.measures.find(m => m.key === key)?.here;
  const chance = 100 * (num(with_.metrics["chance"]) ?? 1 / 6);
  const trained = num(with_.metrics["trained"]);
  const far = with_.measures.at(-1)!;
  const end = `${far.key} segment${far.key === "1" ? "" : "s"}`;
  const other = at(without, far.key);
  const tail = `${other === undefined ? "" : `, against ${percent(other)} with ${name(without!.arm)}`} (chance is ${percent(chance)})`;
  const first = with_.measures.findIndex(m => m.here >= 90);
  const drop = with_.measures.findIndex((m, i) => i > first && m.here < 90);
  const held = first < 0 ? undefined : with_.measures[drop < 0 ? with_.measures.length - 1 : drop - 1]!;
  const many = (key: string) => `${key} segment${key === "1" ? "" : "s"}`;
  const reach =
    held &&
    `It answers at least 90 % right ${first > 0 ? `from ${many(with_.measures[first]!.key)} ` : ""}up to ${many(held.key)}${trained && Number(held.key) > trained ? `, ${times(Number(held.key) / trained)} times the longest it was trained on` : ""}.`;
  const helps = far.here > Math.max(other ?? 0, chance) + 10;
  const longer = trained !== undefined && Number(far.key) > trained;
  const inside = with_.measures.filter(m => trained !== undefined && Number(m.key) <= trained).at(-1);
  const begin = trained === undefined ? "" : `Trained on at most ${trained} segment${trained === 1 ? "" : "s"}, `;
  const numbers = `${name(with_.arm)} answers ${inside && longer ? `${percent(inside.here)} right at ${inside.key} and ` : ""}${percent(far.here)} right at ${end}${tail}.`;
  const verdict = helps
    ? ""
    : inside && longer && inside.here > Math.max(at(without, inside.key) ?? 0, chance) + 10
      ? ` The memory works at the length it was trained on but has lost the fact by ${end}.`
      : " The memory did not help in this run.";
  return `${begin}${numbers} ${reach ?? "It never reaches 90 %."}${verdict}`;
}

function planned(gs: readonly Group[]): string {
  const full = gs.find(g => g.arm === "full");
  const myopic = gs.find(g => g.arm === "myopic");
  const one = (full ?? myopic)?.measures[0];
  if (!one) return "";
  if (!full || !myopic)
    return `The ${full ? "full" : "myopic"} model reaches a loss of ${plain(one.here)}. The other arm did not run, so there is nothing to compare it with.`;
  const a = full.measures[0]!;
  const b = myopic.measures[0]!;
  const ratio = b.here / a.here;
  const trivial = num(full.metrics["trivial"]);
  const numbers = `normalised loss ${plain(b.here)} myopic against ${plain(a.here)} full${Number.isFinite(ratio) ? ` (${times(ratio)} times)` : ""}${trivial === undefined ? "" : `, where always answering 0 gives ${plain(trivial)}`}`;
  if (trivial !== undefined && Math.min(a.here, b.here) > 0.9 * trivial)
    return `Neither model learned the task in this run: ${numbers}.${lone(gs)}`;
  if (!clear(a, b, 1) || ratio < 1.05)
    return `Cutting the gradients from later tokens cost nothing measurable in this run, so it shows no planning: ${numbers}.${lone(gs)}`;
  return `${ratio >= 1.5 ? "The full model prepares for later tokens, and the myopic one does not make up for it" : "Myopic training costs a little here, a weak sign of planning"}: ${numbers}.${ratio < 1.5 ? lone(gs) : ""}`;
}

export interface Probes {
  arm: string;
  layers: readonly string[];
  r2: readonly (readonly unknown[])[];
}
export const probes = (records: readonly Entry[]): Probes[] =>
  of(records, "figure", "plan")
    .filter(r => r["kind"] === "probes" && list(r["r2"]).length)
    .map(r => ({ arm: String(r["arm"]), layers: list(r["layers"]).map(String), r2: list(r["r2"]).map(list) }))
    .sort((a, b) => rank(a.arm) - rank(b.arm));

function probed(records: readonly Entry[]): string {
  const said = probes(records).flatMap(({ arm, layers, r2 }) => {
    const places = r2.flatMap((row, l) =>
      row.map((v, lag) => ({ r: num(v) ?? -1, layer: layers[l] ?? `layer ${l}`, lag })),
    );
    const best = places.reduce((a, b) => (b.r > a.r ? b : a), { r: -1, layer: "", lag: 0 });
    return best.r < 0
      ? []
      : [`R² ${plain(Number(best.r.toFixed(3)))} after ${name(arm)} training (${best.layer}, lag ${best.lag})`];
  });
  return said.length ? `The best linear probe for sin(b x) has ${join(said)}.` : "";
}

/** The table as text, for a terminal. `styled` adds bold and dim. */
export function table(records: readonly Entry[], { styled = false } = {}): string {
  const head = ["study", "arm", "measure", "here", "paper", "config"];
  const rows = inOrder.flatMap(study =>
    groups(records, study).flatMap(g =>
      chosen(g).map((m, i) => {
        const short = brief(g.config);
        return [
          study,
          name(g.arm),
          m.name,
          shown(m, g),
          m.paper === undefined ? "" : worth(m, m.paper),
          i ? "" : short.length > 60 ? `${short.slice(0, 59)}…` : short,
        ];
      }),
    ),
  );
  if (rows.length === 0) return "no results\n";
  const widths = head.map((h, c) => Math.max(h.length, ...rows.map(r => r[c]!.length)));
  const line = (r: readonly string[]) =>
    r
      .map((v, c) => (c === 5 ? v : v.padEnd(widths[c]!)))
      .join("  ")
      .trimEnd();
  const out = [
    styled ? `\x1b[1m${line(head)}\x1b[22m` : line(head),
    ...rows.map(r => (styled && r[5] ? line(r).replace(r[5], () => `\x1b[2m${r[5]}\x1b[22m`) : line(r))),
  ];
  return `${out.join("\n").replaceAll("\u00a0", " ")}\n`; // a terminal breaks lines where it likes
}
