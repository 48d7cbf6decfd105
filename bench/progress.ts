// progress.ts: where a run is, on stderr. On a terminal one line that is rewritten; elsewhere a plain line per arm now
// and then. Nothing here reaches a result, so it may read the clock.

/** What an arm says of itself after a step. `rate` is tokens a second. */
export interface Report {
  step: number;
  steps: number;
  loss?: number;
  accuracy?: number;
  rate?: number;
}

/** `pace` is milliseconds a step, last measured at step `from`, time `seen`. */
interface Arm extends Report {
  from: number;
  seen: number;
  pace: number;
  printed: number;
}

/** The part of a stream that is used here; process.stderr is one. */
export interface Sink {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

/** A display of how far arms are. */
export interface Progress {
  /** An arm took a step. Cheap to call at every step: what is drawn is limited here. */
  step(study: string, arm: string, report: Report): void;
  /** An arm is finished and leaves the line. */
  done(study: string, arm: string): void;
  /** Prints a line that stays, above the progress line. */
  log(text: string): void;
  /** Removes the line; call it before writing to stdout. The next step draws it again. */
  clear(): void;
}

const thousands = (n: number) =>
  n >= 1e6
    ? `${(n / 1e6).toFixed(1)}M`
    : n >= 1e4
      ? `${Math.round(n / 1e3)}k`
      : n >= 1e3
        ? `${(n / 1e3).toFixed(1)}k`
        : `${Math.round(n)}`;
const figures = (x: number) =>
  Number.isFinite(x)
    ? (Math.abs(x) >= 1e-3 && Math.abs(x) < 1e4) || x === 0
      ? String(Number(x.toPrecision(3)))
      : x.toExponential(1)
    : String(x);

/** 3672 -> "1h01m", 72 -> "1m12s", 9 -> "9s" */
export function span(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  const two = (n: number) => String(n).padStart(2, "0");
  return s >= 3600
    ? `${Math.floor(s / 3600)}h${two(Math.floor(s / 60) % 60)}m`
    : s >= 60
      ? `${Math.floor(s / 60)}m${two(s % 60)}s`
      : `${s}s`;
}

/** Seconds until an arm is done. */
const left = (a: Arm): number => (Math.max(0, a.steps - a.step) * a.pace) / 1000;
const share = (x: number): string => `acc ${Math.round(100 * x)}%`;
/** What there is to say, in the order in which it is given up when the terminal is narrow: from the right. */
const joined = (parts: readonly string[]): string => parts.filter(Boolean).join("  ");

/** The line of one arm. */
const alone = (name: string, a: Arm): string =>
  joined([
    `${name}  step ${a.step}/${a.steps}`,
    a.loss === undefined ? "" : `loss ${figures(a.loss)}`,
    a.accuracy === undefined ? "" : share(a.accuracy),
    a.rate ? `${thousands(a.rate)} tok/s` : "",
    a.pace > 0 ? `${span(left(a))} left` : "",
  ]);

/** An arm's part of a shared line. `detail` 2 has loss and accuracy, 1 one of them, 0 neither. */
function briefly(name: string, a: Arm, detail: number): string {
  const done = `${Math.floor((100 * a.step) / Math.max(1, a.steps))}%`;
  const loss = a.loss === undefined || detail < (a.accuracy === undefined ? 1 : 2) ? "" : `loss ${figures(a.loss)}`;
  const accuracy = a.accuracy === undefined || detail < 1 ? "" : share(a.accuracy);
  return [name, done, loss, accuracy].filter(Boolean).join(" ");
}

/** Arms that run side by side share the line: how far each is, then the rate of all and the longest wait. */
function together(all: readonly (readonly [string, Arm])[], room: number): string {
  const study = all[0]![0].split(" ")[0]!;
  const same = all.every(([name]) => name.startsWith(`${study} `));
  const rate = all.reduce((sum, [, a]) => sum + (a.rate ?? 0), 0);
  const wait = Math.max(...all.map(([, a]) => left(a)));
  let text = "";
  // Where the terminal is narrow the losses go first, then the accuracies: the time left is what people wait for.
  for (const detail of [2, 1, 0]) {
    const each = all.map(([name, a]) => briefly(same ? name.slice(study.length + 1) : name, a, detail)).join(" | ");
    text = joined([same ? study : "", each, rate ? `${thousands(rate)} tok/s` : "", wait ? `${span(wait)} left` : ""]);
    if (text.length <= room) break;
  }
  return text;
}

/** A line no longer than its room, the time left dimmed. */
function cut(line: string, room: number, dim: (text: string) => string): string {
  const whole = line.length > room ? `${line.slice(0, room - 1)}…` : line;
  const tail = whole.lastIndexOf("  ");
  return tail > 0 ? whole.slice(0, tail) + dim(whole.slice(tail)) : whole;
}

/** An arm after one more report at time t. */
function advanced(a: Arm, report: Report, t: number): Arm {
  const steps = report.step - a.from;
  const spent = t - a.seen;
  if (steps <= 0 || spent <= 0) return { ...a, ...report };
  // Forgets over ten seconds, so that the time left follows a change in the length of a step.
  const fresh = a.pace === 0 ? 1 : 1 - Math.exp(-spent / 10_000);
  const pace = a.pace + fresh * (spent / steps - a.pace);
  return { ...a, ...report, pace, from: report.step, seen: t };
}

/**
 * A progress display. `now` is in milliseconds; `every` is the wait between plain lines, `hertz` the most redraws a
 * second. `whole` says where all of the run is, behind what is said of arms.
 */
export function progress({
  stream = process.stderr as Sink,
  now = () => performance.now(),
  environment = process.env as { [name: string]: string | undefined },
  every = 10_000,
  hertz = 10,
  whole = (): string => "",
} = {}): Progress {
  const live = Boolean(stream.isTTY) && environment["TERM"] !== "dumb";
  const colour = live && !environment["NO_COLOR"];
  const dim = (text: string): string => (colour ? `\x1b[2m${text}\x1b[22m` : text);
  const rest = (): string => whole() && `; ${whole()}`;
  const arms = new Map<string, Arm>();
  let drawn = false;
  let last = -Infinity;

  function clear(): void {
    if (drawn) stream.write("\r\x1b[2K");
    drawn = false;
  }

  function draw(): void {
    const room = (stream.columns ?? 80) - 1;
    const all = [...arms];
    const line = all.length === 1 ? alone(...all[0]!) + rest() : together(all, room - rest().length) + rest();
    stream.write(`\r\x1b[2K${cut(line, room, dim)}`);
    drawn = true;
  }

  return {
    clear,
    step(study, arm, report) {
      const name = `${study} ${arm}`;
      const t = now();
      const before = arms.get(name);
      const first = !before || report.step < before.step;
      const a = advanced(first ? { ...report, from: report.step, seen: t, pace: 0, printed: t } : before, report, t);
      arms.set(name, a);
      if (live) {
        if (t - last < 1000 / hertz) return;
        last = t;
        draw();
      } else if (t - a.printed >= every || report.step >= report.steps) {
        a.printed = t;
        stream.write(`${alone(name, a)}${rest()}\n`);
      }
    },
    done(study, arm) {
      arms.delete(`${study} ${arm}`);
      if (!live) return;
      if (arms.size) draw();
      else clear();
    },
    log(text) {
      clear();
      stream.write(`${text}\n`);
      if (live && arms.size) draw();
    },
  };
}
