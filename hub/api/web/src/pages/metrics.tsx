// How the hub went over the last hours, days or weeks: one plot for each question.
import type { JSX } from "preact";
import { brief, brisk, bytes, commandOf, count, decimal, money } from "../format";
import { now } from "../live";
import { seesAll } from "../me";
import { Choice, Command, Page, Read, Section } from "../parts";
import { Plot, type Series, STROKES, runsOf } from "../plot";
import { useKept, useReading } from "../reading";
import { place } from "../router";
import type { HubSeriesView } from "../types";
import { HeatMap } from "./heat_map";

const MOST = 60; // series of one metric that are read; the plot shows the greatest
const EVERY_MS = 60_000;
const HOUR_S = 3_600;

interface Range {
  readonly since: string;
  readonly step: string;
  readonly span_s: number;
  readonly step_s: number;
}
/** Ranges by their names; the first one is shown unless another one is chosen. */
const RANGES: Readonly<Record<string, Range>> = {
  "24 hours": { since: "24h", step: "15m", span_s: 24 * HOUR_S, step_s: HOUR_S / 4 },
  "6 hours": { since: "6h", step: "5m", span_s: 6 * HOUR_S, step_s: HOUR_S / 12 },
  "7 days": { since: "7d", step: "2h", span_s: 168 * HOUR_S, step_s: 2 * HOUR_S },
  "30 days": { since: "30d", step: "6h", span_s: 720 * HOUR_S, step_s: 6 * HOUR_S },
};
const FIRST = "24 hours";
const MIN_DAYS = 7; // of the heat map: a shorter time shows no habit

interface Topic {
  readonly title: string;
  readonly metric: string;
  readonly written: (value: number) => string;
  /** Written behind the figure of the whole range. */
  readonly of?: string;
  /** Of several nodes, the sum is shown as well. */
  readonly isSum?: boolean;
}

const TOPICS: readonly Topic[] = [
  { title: "Devices connected", metric: "hub.node_devices", written: decimal, of: "on average", isSum: true },
  { title: "Runs by outcome", metric: "hub.runs", written: count },
  { title: "Time of a run", metric: "hub.run_seconds", written: (value) => brisk(value * 1_000), of: "median" },
  { title: "Items of runs", metric: "hub.items", written: count },
  { title: "Verdicts", metric: "hub.verdicts", written: count },
  { title: "Requests to models", metric: "hub.model_requests", written: count },
  { title: "Cost of models", metric: "hub.model_cost_usd", written: money },
  { title: "CPU", metric: "hub.node_cpu", written: (value) => `${decimal(value * 100)} %`, of: "on average" },
  { title: "Memory", metric: "hub.node_memory_bytes", written: bytes, of: "on average" },
  { title: "Delay of the event loop", metric: "hub.node_lag_seconds", written: (value) => brisk(value * 1_000), of: "at most" },
];

export function Metrics(): JSX.Element {
  const range = RANGES[place.value.query.get("range") ?? FIRST] ?? (RANGES[FIRST] as Range);
  if (!seesAll()) {
    return (
      <Page title="Metrics">
        <p class="refused" role="alert">
          These are metrics of the whole hub, which a session of one user does not see.
        </p>
      </Page>
    );
  }
  return (
    <Page
      title="Metrics"
      command={commandOf("hub metrics", { since: range.since, step: range.step })}
      actions={<Choice name="range" label="Last" values={Object.keys(RANGES).filter((name) => name !== FIRST)} none={FIRST} />}
    >
      <div class="plots">
        {TOPICS.map((topic) => (
          <Chart key={topic.metric} topic={topic} range={range} />
        ))}
      </div>
      <HeatMap days={Math.max(MIN_DAYS, range.span_s / (24 * HOUR_S))} />
    </Page>
  );
}

function Chart({ topic, range }: { topic: Topic; range: Range }): JSX.Element {
  const step_ms = range.step_s * 1_000;
  const since = new Date(Math.floor(now.value / step_ms) * step_ms - range.span_s * 1_000).toISOString();
  const query = { name: topic.metric, since, step_s: range.step_s, limit: MOST };
  const read = useKept(useReading("/v1/metrics/series", { query, every: EVERY_MS }));
  return (
    <Section title={topic.title}>
      <Read of={read}>{(data) => <Drawn of={data.series} topic={topic} range={range} />}</Read>
    </Section>
  );
}

function Drawn({ of, topic, range }: { of: readonly HubSeriesView[]; topic: Topic; range: Range }): JSX.Element {
  const all = linesOf(of, topic);
  const shown = all.slice(0, STROKES);
  const times = timesOf(of[0]);
  if (!shown.some(({ values }) => values.some((value) => value !== null))) return <p class="empty">Nothing was measured in this time.</p>;
  return (
    <>
      <Plot title={topic.title} times={times} series={shown} written={topic.written} runs={runsOf} isFromZero />
      {all.length > shown.length && (
        <p class="quiet">
          {count(all.length - shown.length)} more: <Command text={commandOf("hub metrics", { since: range.since, step: range.step, name: topic.metric })} />
        </p>
      )}
    </>
  );
}

function timesOf(series: HubSeriesView | undefined): readonly number[] {
  if (series === undefined) return [];
  return series.values.map((_, at) => Date.parse(series.since) / 1_000 + at * series.step_s);
}

/** Return a line for each series, the greatest first, and one for their sum where it is asked for. */
function linesOf(of: readonly HubSeriesView[], { title, written, of: kind, isSum }: Topic): readonly Series[] {
  const names = of.map((series) => series.node ?? Object.values(series.tags).join(" "));
  const sorted = of.map((series, at) => ({ series, name: named(series, names, at) || title.toLowerCase() })).sort((one, other) => (other.series.whole ?? 0) - (one.series.whole ?? 0));
  const lines = sorted.map(({ series, name }) => ({
    name,
    values: series.values,
    ...(series.whole !== null && { whole: [written(series.whole), kind].filter(Boolean).join(" ") }),
  }));
  if (!isSum || of.length < 2) return lines;
  const sums = (of[0]?.values ?? []).map((_, at) => of.reduce<number | null>((sum, { values }) => (values[at] === null ? sum : (sum ?? 0) + (values[at] as number)), null));
  return [{ name: "all nodes", values: sums }, ...lines];
}

/** Return the name of a series; nodes of one name are told apart by their ids. */
function named({ tags }: HubSeriesView, names: readonly string[], at: number): string {
  const name = names[at] as string;
  return names.indexOf(name) === names.lastIndexOf(name) ? name : `${name} ${brief(tags["node"] ?? "")}`;
}
