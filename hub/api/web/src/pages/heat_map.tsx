// When runs ended in the last days: a table of days and hours, whose cells lead to their runs.
import type { JSX } from "preact";
import { commandOf, count, dayOf, lastDays, dated } from "../format";
import { now } from "../live";
import { Command, Grid, Read, Section } from "../parts";
import { useKept, useReading } from "../reading";
import { link } from "../router";
import type { HubSeriesView } from "../types";

const METRIC = "hub.runs";
const HOUR_S = 3_600;
const HOURS = Array.from({ length: 24 }, (_, hour) => hour);
const EVERY_MS = 60_000;

interface Hour {
  /** When it begins; of an hour that a clock repeats, the first one. */
  readonly since: number;
  readonly until: number;
  readonly runs: number;
  readonly failed: number;
}

export function HeatMap({ days }: { days: number }): JSX.Element {
  const shown = lastDays(days, now.value);
  const since = (shown.at(-1) as Date).toISOString();
  const read = useKept(useReading("/v1/metrics/series", { query: { name: METRIC, since, step_s: HOUR_S }, every: EVERY_MS }));
  return (
    <Section title={`Runs by hour, ${days} days`} more={<Command text={commandOf("hub metrics", { since: `${days}d`, step: "1h", name: METRIC })} />}>
      <Read of={read}>{(data) => <Drawn days={shown} hours={hoursOf(data.series)} />}</Read>
    </Section>
  );
}

/** Return the runs of each hour of this zone in which one ended, by day and hour. */
function hoursOf(series: readonly HubSeriesView[]): ReadonlyMap<string, Hour> {
  const hours = new Map<string, Hour>();
  for (const { since, step_s, values, tags } of series) {
    values.forEach((value, at) => {
      if (!value) return;
      const begin = new Date(Date.parse(since) + at * step_s * 1_000);
      const key = `${dayOf(begin)} ${begin.getHours()}`;
      const before = hours.get(key) ?? { since: begin.getTime(), until: 0, runs: 0, failed: 0 };
      hours.set(key, {
        since: Math.min(before.since, begin.getTime()),
        until: Math.max(before.until, begin.getTime() + step_s * 1_000),
        runs: before.runs + value,
        failed: before.failed + (tags["outcome"] === "success" ? 0 : value),
      });
    });
  }
  return hours;
}

function Drawn({ days, hours }: { days: readonly Date[]; hours: ReadonlyMap<string, Hour> }): JSX.Element {
  if (hours.size === 0) return <p class="empty">No run ended in this time.</p>;
  const most = Math.max(...[...hours.values()].map(({ runs }) => runs));
  return (
    <Grid
      kind="heat"
      label="Runs that ended, by day and hour; an hour with a failed or partial run is marked with !"
      corner="Day"
      rows={days.map((day) => [day, dated.format(day)])}
      columns={HOURS.map((hour) => [hour, String(hour).padStart(2, "0")])}
      cell={(day, hour) => <Cell of={hours.get(`${dayOf(day)} ${hour}`)} most={most} />}
    />
  );
}

function Cell({ of, most }: { of: Hour | undefined; most: number }): JSX.Element | null {
  if (of === undefined) return null;
  const heat = of.failed > 0 ? "fail" : of.runs > (2 * most) / 3 ? "many" : of.runs > most / 3 ? "some" : "few";
  const ended = { since: new Date(of.since).toISOString(), until: new Date(of.until).toISOString() };
  const about = `${count(of.runs)} ${of.runs === 1 ? "run" : "runs"}${of.failed > 0 ? `, ${count(of.failed)} failed or partial` : ""}`;
  return (
    <a class={heat} href={link(["runs"], ended)} title={about}>
      {count(of.runs)}
      {of.failed > 0 && "!"}
    </a>
  );
}
