// A plot of series over time, with a legend. The numbers are in a table beneath it, for readers who do not see it.
import type { JSX } from "preact";
import { clock, dayAfter, decimal } from "./format";
import { Foreign, Table, Time } from "./parts";
import { go, link } from "./router";

export interface Series {
  readonly name: string;
  readonly values: readonly (number | null)[];
  /** Of the whole range, for the legend. */
  readonly whole?: string;
}
interface PlotProps {
  readonly title: string;
  readonly times: readonly number[];
  readonly series: readonly Series[];
  /** How a value is written, at the axis and in the table. */
  readonly written?: (value: number) => string;
  /** Whether the axis of values begins at 0. */
  readonly isFromZero?: boolean;
  /** Leads a click to the runs of a step; the table beneath has the same links. */
  readonly runs: (at: number, step_s: number) => string;
}

/** Return the address of the runs of one step of a plot. */
export function runsOf(at: number, step_s: number, filters: Readonly<Record<string, string>> = {}): string {
  const [since, until] = [at, at + step_s].map((time) => new Date(time * 1_000).toISOString());
  return link(["runs"], { ...filters, since, until });
}

const WIDTH = 1_000;
const HEIGHT = 100;
const STROKE = 2; // a thinner line has no pixel of its full colour
const POINT = 5;
const MOMENTS = 7; // that the axis of times has at most
const MINUTES: readonly number[] = [5, 15, 30, 60, 120, 180, 360, 720, 1_440, 2_880, 7_200]; // between two of them
const LONGEST = 14_400;
// Strokes differ in their colour and in their pattern.
const DASHES = ["", "8 4", "3 3", "12 3 2 3", "5 2", "1 5"] as const;
export const STROKES = DASHES.length;
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });

/** Return round values from below the least one to above the greatest one. */
function rounds(least: number, most: number, isWhole: boolean): readonly number[] {
  const rough = (most - least || Math.abs(most) || 1) / 4;
  const size = 10 ** Math.floor(Math.log10(rough));
  const exact = size * ([1, 2, 5].find((digit) => digit * size >= rough) ?? 10);
  const step = isWhole ? Math.max(1, exact) : exact;
  const [first, last] = [Math.floor(least / step), Math.ceil(most / step)];
  return Array.from({ length: Math.max(1, last - first) + 1 }, (_, at) => Number(((first + at) * step).toPrecision(12)));
}

/** Return round times of this zone between two times, in seconds. */
function moments(first: number, last: number): readonly number[] {
  const every = MINUTES.find((minutes) => (last - first) / 60 / minutes < MOMENTS) ?? LONGEST;
  const begin = dayAfter(new Date(first * 1_000), 0);
  const number = Math.ceil((last * 1_000 - begin.getTime()) / 60_000 / every) + 1;
  const all = Array.from({ length: number }, (_, at) => new Date(begin.getFullYear(), begin.getMonth(), begin.getDate(), 0, at * every).getTime() / 1_000);
  return all.filter((at) => at >= first && at <= last);
}

function momentWords(at: number): string {
  const time = new Date(at * 1_000);
  return (time.getHours() === 0 && time.getMinutes() === 0 ? day : clock).format(time);
}

/** A plot from the first measurement on; a single one is no line. */
export function Plot({ title, times: all, series, written, runs, isFromZero }: PlotProps): JSX.Element {
  const measured = all.flatMap((_, at) => (series.some(({ values }) => (values[at] ?? null) !== null) ? [at] : []));
  const from = Math.max(0, (measured[0] ?? 0) - 1);
  const times = all.slice(from);
  const lines = series.map(({ values }) => values.slice(from));
  const values = lines.flat().filter((value) => value !== null);
  const levels = rounds(isFromZero ? 0 : Math.min(...values), Math.max(...values), values.every(Number.isInteger));
  const [first = 0, last = 1] = [times[0], times.at(-1)];
  const step_s = (all[1] ?? 0) - (all[0] ?? 0);
  const [low = 0, high = 1] = [levels[0], levels.at(-1)];
  const across = (at: number): number => (at - first) / (last - first);
  const down = (value: number): number => (high - value) / (high - low);
  const point = (value: number, at: number): string => `${across(times[at] as number) * WIDTH} ${down(value) * HEIGHT}`;
  function choose(plot: SVGSVGElement, x: number): void {
    const { left, width } = plot.getBoundingClientRect();
    const at = Math.round(((x - left) / width) * (times.length - 1));
    if (times[at] !== undefined) go(runs(times[at], step_s));
  }
  return (
    <>
      {series.length > 1 || series.some(({ whole }) => whole) ? <Legend of={series} /> : null}
      {measured.length > 1 ? (
        <div class="plot" aria-hidden="true">
          <div class="levels">{levels.map((level) => <span key={level} style={{ top: `${down(level) * 100}%` }}>{(written ?? compact.format)(level)}</span>)}</div>
          <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" onClick={({ currentTarget, clientX }) => choose(currentTarget, clientX)}>
            <path class="grid" d={[...levels.map((level) => `M0 ${down(level) * HEIGHT}h${WIDTH}`), ...moments(first, last).map((at) => `M${across(at) * WIDTH} 0v${HEIGHT}`)].join("")} />
            {lines.map((line, index) => (
              <g key={index} class={`stroke-${index % STROKES}`} stroke-width={STROKE}>
                <path d={line.map((value, at) => (value === null ? "" : `${(line[at - 1] ?? null) === null ? "M" : "L"}${point(value, at)}`)).join("")} stroke-dasharray={DASHES[index % STROKES]} />
                <path d={alone(line).map((at) => `M${point(line[at] as number, at)}h0`).join("")} stroke-width={POINT} stroke-linecap="round" />
              </g>
            ))}
          </svg>
          <div class="moments">{moments(first, last).map((at) => <span key={at} style={{ left: `${across(at) * 100}%` }}>{momentWords(at)}</span>)}</div>
        </div>
      ) : (
        <p class="empty">Measured once so far; a plot begins with the second time.</p>
      )}
      <details>
        <summary>Numbers, step by step</summary>
        <Table
          label={title}
          columns={[
            { head: "From", cell: (at: number) => <a href={runs(all[at] as number, step_s)}><Time at={new Date((all[at] as number) * 1_000).toISOString()} isExact /></a> },
            ...series.map(({ name, values }) => ({ head: name, kind: "number" as const, cell: (at: number) => ((values[at] ?? null) === null ? "–" : (written ?? decimal)(values[at] as number)) })),
          ]}
          rows={[...measured].reverse()}
          id={String}
          empty=""
        />
      </details>
    </>
  );
}

/** Return the places of values between two gaps, which no line leads to. */
function alone(values: readonly (number | null)[]): readonly number[] {
  return values.flatMap((value, at) => (value !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null ? [at] : []));
}

function Legend({ of }: { of: readonly Series[] }): JSX.Element {
  return (
    <ul class="legend">
      {of.map(({ name, whole }, index) => (
        <li key={name}>
          <svg class={`stroke-${index % STROKES}`} viewBox="0 0 28 4" width="28" height="4" aria-hidden="true">
            <line x1="0" y1="2" x2="28" y2="2" stroke-width={STROKE} stroke-dasharray={DASHES[index % STROKES]} />
          </svg>
          <Foreign of={name} /> {whole && <span class="quiet">{whole}</span>}
        </li>
      ))}
    </ul>
  );
}
