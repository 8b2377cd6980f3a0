// A plot of series over time. The numbers are in a table beneath it, for readers who do not see it.
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";

export interface Series {
  readonly name: string;
  readonly values: readonly (number | null)[];
}

const HEIGHT = 180;
const LEAST_WIDTH = 200;

export function Plot({ times, series }: { times: readonly number[]; series: readonly Series[] }): JSX.Element {
  const room = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = room.current as HTMLDivElement;
    const style = getComputedStyle(document.documentElement);
    const [line, text, accent] = ["--line", "--quiet", "--accent"].map((name) => style.getPropertyValue(name).trim());
    const axis = { stroke: text as string, grid: { stroke: line as string, width: 1 }, ticks: { show: false } };
    const width = (): number => Math.max(LEAST_WIDTH, element.clientWidth);
    const plot = new uPlot(
      {
        width: width(),
        height: HEIGHT,
        legend: { show: false },
        cursor: { y: false },
        axes: [axis, axis],
        series: [{}, ...series.map(({ name }) => ({ label: name, stroke: accent as string, width: 1.5, points: { show: times.length < 3 } }))],
      },
      [[...times], ...series.map(({ values }) => [...values])],
      element,
    );
    const watch = new ResizeObserver(() => plot.setSize({ width: width(), height: HEIGHT }));
    watch.observe(element);
    return () => {
      watch.disconnect();
      plot.destroy();
    };
  }, [times, series]);
  return <div class="plot" ref={room} aria-hidden="true" />;
}
