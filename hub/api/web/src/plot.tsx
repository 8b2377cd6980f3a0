// A plot of series over time, with a legend. The numbers are in a table beneath it, for readers who do not see it.
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { clock } from "./format";
import { Foreign } from "./parts";
import { go, link } from "./router";

export interface Series {
  readonly name: string;
  readonly values: readonly (number | null)[];
  /** Of the whole range, for the legend. */
  readonly whole?: string;
}
interface PlotProps {
  readonly times: readonly number[];
  readonly series: readonly Series[];
  /** How a value is written at the axis, which then begins at 0. */
  readonly written?: (value: number) => string;
  /** Leads a click to the runs of a step; the table beneath has the same links. */
  readonly runs?: (at: number, step_s: number) => string;
}

/** Return the address of the runs of one step of a plot. */
export function runsOf(at: number, step_s: number, filters: Readonly<Record<string, string>> = {}): string {
  const [since, until] = [at, at + step_s].map((time) => new Date(time * 1_000).toISOString());
  return link(["runs"], { ...filters, since, until });
}

const DAY_S = 86_400;
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const WHOLE = [1, 2, 5].flatMap((digit) => Array.from({ length: 12 }, (_, zeros) => digit * 10 ** zeros)).sort((one, other) => one - other);

const darkness = matchMedia("(prefers-color-scheme: dark)");
const HEIGHT = 180;
const MIN_WIDTH = 200;
const STROKE = 2; // a thinner line has no pixel of its full colour
const POINT = 5;
// Strokes differ in their colour and in their pattern.
const DASHES = [[], [8, 4], [3, 3], [12, 3, 2, 3], [5, 2], [1, 5]] as const;
export const STROKES = DASHES.length;

/** Return the values between two gaps, which no line leads to. */
function alone(values: readonly (number | null)[]): number[] {
  return values.flatMap((value, at) => (value !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null ? [at] : []));
}

/** Return the texts of the axis of times: of midnight its day. */
function moments(splits: readonly number[], step_s: number): string[] {
  const texts = splits.map((at) => new Date(at * 1_000));
  return texts.map((at) => (step_s >= DAY_S || (at.getHours() === 0 && at.getMinutes() === 0) ? day : clock).format(at));
}

/** A plot from the first measurement on; a single one is no line. */
export function Plot({ times: all, series: lines, written, runs }: PlotProps): JSX.Element {
  const room = useRef<HTMLDivElement>(null);
  const measured = all.flatMap((_, at) => (lines.some(({ values }) => (values[at] ?? null) !== null) ? [at] : []));
  useEffect(() => {
    if (room.current === null) return undefined;
    const element = room.current;
    const first = Math.max(0, (measured[0] as number) - 1);
    const times = all.slice(first);
    const series = lines.map(({ values, ...line }) => ({ ...line, values: values.slice(first) }));
    const width = (): number => Math.max(MIN_WIDTH, element.clientWidth);
    let plot = drawn();
    function drawn(): uPlot {
      const style = getComputedStyle(document.documentElement);
      const colour = (name: string): string => style.getPropertyValue(name).trim();
      const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
      const isWhole = series.every(({ values }) => values.every((value) => value === null || Number.isInteger(value)));
      const numbers = written && { size: 64, values: (_: uPlot, splits: number[]) => splits.map(written) };
      return new uPlot(
        {
          width: width(),
          height: HEIGHT,
          legend: { show: false },
          cursor: { y: false, points: { show: false } },
          axes: [
            { ...axis, size: 30, values: (_, splits, _axis, _space, step_s) => moments(splits, step_s) },
            { ...axis, ...numbers, ...(isWhole && { incrs: WHOLE }) },
          ],
          ...(written && { scales: { y: { range: (_: uPlot, _least: number, most: number) => [0, most > 0 ? most * 1.1 : 1] as [number, number] } } }),
          series: [
            {},
            ...series.map(({ name, values }, index) => {
              const stroke = colour(`--stroke-${index % STROKES}`);
              return {
                label: name,
                stroke,
                width: STROKE,
                dash: [...(DASHES[index % STROKES] as readonly number[])],
                points: { show: true, size: POINT, fill: stroke, filter: () => alone(values) },
              };
            }),
          ],
        },
        [[...times], ...series.map(({ values }) => [...values])],
        element,
      );
    }
    const size = new ResizeObserver(() => plot.setSize({ width: width(), height: HEIGHT }));
    size.observe(element);
    element.onclick = () => {
      const at = plot.cursor.idx;
      if (runs && at !== null && at !== undefined) go(runs(times[at] as number, (times[1] as number) - (times[0] as number)));
    };
    function redraw(): void {
      plot.destroy();
      plot = drawn();
    }
    const theme = new MutationObserver(redraw);
    theme.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    darkness.addEventListener("change", redraw);
    return () => {
      darkness.removeEventListener("change", redraw);
      theme.disconnect();
      size.disconnect();
      plot.destroy();
    };
  }, [all, lines]);
  return (
    <>
      {lines.length > 1 || lines.some(({ whole }) => whole) ? <Legend of={lines} /> : null}
      {measured.length > 1 ? <div class="plot" ref={room} aria-hidden="true" /> : <p class="empty">Measured once so far; a plot begins with the second time.</p>}
    </>
  );
}

function Legend({ of }: { of: readonly Series[] }): JSX.Element {
  return (
    <ul class="legend">
      {of.map(({ name, whole }, index) => (
        <li key={name}>
          <svg class={`stroke-${index % STROKES}`} viewBox="0 0 28 4" width="28" height="4" aria-hidden="true">
            <line x1="0" y1="2" x2="28" y2="2" stroke-width={STROKE} stroke-dasharray={DASHES[index % STROKES]?.join(" ")} />
          </svg>
          <Foreign of={name} /> {whole && <span class="quiet">{whole}</span>}
        </li>
      ))}
    </ul>
  );
}
