// The calendar of all agents: a table of hours and days, whose fires lead to their agents and runs.
import type { JSX } from "preact";
import { clock, dated, dayAfter as after, dayOf } from "../format";
import { now } from "../live";
import { Command, Foreign, Grid, Pager, Read, State } from "../parts";
import { useReading } from "../reading";
import { link, place } from "../router";
import type { PlanView } from "../types";

const HOURS = 24;
const COUNTED = 1_000; // from this number of fires on, the hub may not have counted them all
const SHOWN = 3; // fires of one schedule in an hour; the others are counted

interface Fire {
  readonly at: Date;
  readonly plan: PlanView;
  /** Of a past one; null: it is still to come. */
  readonly decision: string | null;
  readonly said: string | null;
  readonly run: string | null;
  readonly count: number;
}

/** Return the first day that is shown: of a week, its Monday. */
function first(isWeek: boolean): Date {
  const given = /^(\d{4})-(\d\d)-(\d\d)$/.exec(place.value.query.get("from") ?? "");
  const day = given ? new Date(+(given[1] as string), +(given[2] as string) - 1, +(given[3] as string)) : new Date(now.value);
  return after(day, isWeek ? -((day.getDay() + 6) % 7) : 0);
}

export function Calendar({ isWeek }: { isWeek: boolean }): JSX.Element {
  const length = isWeek ? 7 : 1;
  const begin = first(isWeek);
  const days = Array.from({ length }, (_, place) => after(begin, place));
  const cursor = place.value.query.get("cursor");
  const query = { since: begin.toISOString(), until: after(begin, length).toISOString(), cursor };
  const plans = useReading("/v1/schedule", { query, kinds: ["agent", "run", "schedule"] });
  const view = isWeek ? "week" : "day";
  const at = (day: Date): string => link(["agents"], { view, from: dayOf(day) });
  return (
    <>
      <div class="actions">
        <nav class="pager" aria-label="Time that is shown">
          <a href={at(after(begin, -length))}>Before</a>
          <a href={link(["agents"], { view })}>Today</a>
          <a href={at(after(begin, length))}>After</a>
        </nav>
        <Command text={`hub agents calendar --since ${dayOf(begin)} --until ${dayOf(after(begin, length - 1))}`} />
      </div>
      <Read of={plans}>
        {(data) => (
          <>
            <Hours days={days} fires={data.schedules.flatMap(fires)} />
            {data.schedules.some((plan) => plan.is_cut) && <p class="quiet">Of schedules with more than 100 times, the nearest ones are shown.</p>}
            <Pager next={data.next_cursor} />
          </>
        )}
      </Read>
    </>
  );
}

function fires(plan: PlanView): Fire[] {
  return [
    ...plan.past_fires.map((fire) => ({ at: new Date(fire.fire_at), plan, decision: fire.decision, said: fire.said, run: fire.run ?? null, count: fire.fires })),
    ...plan.next_fires.map((fire) => ({ at: new Date(fire.at), plan, decision: null, said: fire.shift ?? null, run: null, count: 1 })),
  ];
}

function Hours({ days, fires }: { days: readonly Date[]; fires: readonly Fire[] }): JSX.Element {
  const cells = new Map<string, Fire[]>();
  for (const fire of [...fires].sort((a, b) => +a.at - +b.at)) {
    const key = `${dayOf(fire.at)} ${fire.at.getHours()}`;
    cells.set(key, [...(cells.get(key) ?? []), fire]);
  }
  const hours = Array.from({ length: HOURS }, (_, hour) => hour).filter((hour) => days.some((day) => cells.has(`${dayOf(day)} ${hour}`)));
  if (hours.length === 0) return <p class="empty">Nothing is scheduled in this time.</p>;
  return (
    <Grid
      kind="calendar"
      label="What agents do, by hour and day"
      corner="Hour"
      rows={hours.map((hour) => [hour, `${String(hour).padStart(2, "0")}:00`])}
      columns={days.map((day) => [day, dated.format(day)])}
      today={dated.format(now.value)}
      cell={(hour, day) => <Cell of={cells.get(`${dayOf(day)} ${hour}`) ?? []} />}
    />
  );
}

/** Fires of one hour: the first ones of each schedule, and the number of the others. */
function Cell({ of }: { of: readonly Fire[] }): JSX.Element | null {
  if (of.length === 0) return null;
  const plans = [...new Set(of.map((fire) => fire.plan))];
  return (
    <ul class="fires">
      {plans.map((plan) => {
        const own = of.filter((fire) => fire.plan === plan);
        return (
          <li key={plan.id}>
            <a href={link(["agents", plan.agent])}>{plan.agent}</a> {plan.label && <Foreign class="quiet" of={plan.label} />}
            {own.slice(0, SHOWN).map((fire) => (
              <One key={fire.at.toISOString()} of={fire} />
            ))}
            {own.length > SHOWN && <span class="quiet">and {own.length - SHOWN} more</span>}
          </li>
        );
      })}
    </ul>
  );
}

function One({ of }: { of: Fire }): JSX.Element {
  const time = <time dateTime={of.at.toISOString()}>{clock.format(of.at)}</time>;
  return (
    <span class="fire" title={of.said ?? undefined}>
      {of.run ? <a href={link(["runs", of.run])}>{time}</a> : time} {of.decision && of.decision !== "run" && <State of={of.decision} />}
      {of.count > 1 && <span class="quiet">×{of.count}
          {of.count < COUNTED ? "" : " or more"}
        </span>}
      {of.said && <span class="unseen">{of.said}</span>}
    </span>
  );
}
