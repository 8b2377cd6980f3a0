import type { JSX } from "preact";
import { Act, starting, turning } from "../acting";
import { DAY_MS, HERE, decimal, money, soon } from "../format";
import { now } from "../live";
import { may } from "../me";
import { type Column, Command, Facts, Listed, Named, Page, Read, Section, Select, State, Time } from "../parts";
import { Plot, runsOf } from "../plot";
import { useKept, useReading } from "../reading";
import { go, link, place, refine } from "../router";
import { ask } from "../server";
import type { AgentOverview, AgentMoveView, AgentView, ChartView, SeriesView } from "../types";
import { AgentForm, CREATE } from "./agent_form";
import { Calendar } from "./calendar";
import { RunState, RunTable } from "./run_parts";

const ROWS = 50;
const SERIES = 12;
const HOUR_MS = 3_600_000;

const COLUMNS: readonly Column<AgentView>[] = [
  { head: "Agent", kind: "main", cell: (agent) => <a href={link(["agents", agent.name])}>{agent.name}</a> },
  { head: "Lifecycle", cell: (agent) => <State of={agent.lifecycle} /> },
  { head: "Health", cell: (agent) => <State of={agent.health} /> },
  { head: "Available", cell: (agent) => <State of={agent.availability} /> },
  { head: "Device", cell: (agent) => agent.gateway ?? agent.delivers_to },
  { head: "Schedule", cell: (agent) => agent.schedule ?? "by hand" },
  { head: "Next", cell: (agent) => (agent.next_fires[0] ? soon(agent.next_fires[0].at, now.value) : "–") },
  { head: "Last run", cell: (agent) => (agent.last_run ? <a href={link(["runs", agent.last_run.id])}><RunState of={agent.last_run} /></a> : "–") },
];

export function Agents({ name }: { name: string | undefined }): JSX.Element {
  const isNew = place.value.query.has("new") && may("devices");
  return name !== undefined ? <Agent name={name} /> : isNew ? <AgentForm /> : <List />;
}

function List(): JSX.Element {
  const view = place.value.query.get("view");
  return (
    <Page
      title="Agents"
      {...(!view && { command: "hub agents" })}
      actions={may("devices") && <a class="button main" href={link(["agents"], { new: "1" })}>New agent</a>}
    >
      <nav class="pager" aria-label="Views of agents">
        {VIEWS.map(([name, title]) => (
          <a key={title} href={link(["agents"], { view: name })} aria-current={(view ?? undefined) === name ? "page" : undefined}>
            {title}
          </a>
        ))}
      </nav>
      {view ? <Calendar isWeek={view !== "day"} /> : <All />}
    </Page>
  );
}

const VIEWS: readonly (readonly [string | undefined, string])[] = [
  [undefined, "List"],
  ["week", "Week"],
  ["day", "Day"],
];

function All(): JSX.Element {
  const cursor = place.value.query.get("cursor");
  const agents = useReading("/v1/agents", { query: { limit: ROWS, cursor }, kinds: ["agent", "device", "run", "schedule"] });
  return (
    <Listed of={agents} label="Agents" columns={COLUMNS} rows={(data) => data.agents} id={(agent) => agent.id} empty={<>There is no agent yet. {may("devices") && <Command text={CREATE} />}</>} cursor="cursor" />
  );
}

function Agent({ name }: { name: string }): JSX.Element {
  const overview = useReading("/v1/agents/{name}/overview", { params: { name }, kinds: ["agent", "device", "run", "schedule"] });
  if (place.value.query.has("edit") && may("devices") && overview.data) return <AgentForm agent={overview.data.agent} />;
  return (
    <Page
      title={name}
      command={`hub agents show ${name}`}
      actions={overview.data && <Actions of={overview.data.agent} />}
    >
      <Read of={overview}>{(data) => <Overview of={data} />}</Read>
    </Page>
  );
}

function Actions({ of }: { of: AgentView }): JSX.Element {
  const params = { name: of.name };
  return (
    <>
      {of.gateway === null && <Act {...starting(of.name)} isMain scope="run" />}
      <Act {...turning(of.name, of.lifecycle === "paused")} scope="run" />
      {of.source === "api" && of.gateway === null && may("devices") && (
        <a class="button" href={link(["agents", of.name], { edit: "1" })}>
          Change
        </a>
      )}
      {of.source === "api" && (
        <Act
          label="Remove"
          scope="devices"
          action={() => ask("delete", "/v1/agents/{name}", { params })}
          done={`${of.name} is removed.`}
          confirm={`Remove ${of.name}? What it found stays.`}
          then={() => go("/agents")}
        />
      )}
    </>
  );
}

/** Return when an agent runs, and the next time in the zone of the page. */
function whenOf({ schedule, timezone, next_fires: [next] }: AgentView): string {
  if (!schedule) return "by hand";
  const own = !schedule.includes(" at ") || timezone === HERE ? "" : ` in ${timezone}`;
  return `${schedule}${own}${next ? `, next ${soon(next.at, now.value)}` : ""}`;
}

function Overview({ of }: { of: AgentOverview }): JSX.Element {
  const { agent, status } = of;
  return (
    <>
      <Facts
        rows={[
          ["Lifecycle", <State of={status.lifecycle} />],
          ["Activity", <State of={status.activity} />],
          ["Health", <State of={status.health} />],
          ["Why", status.health_reason ?? status.state_detail],
          ["Available", <State of={status.availability} />],
          ["Back at", status.recovery_at && <Time at={status.recovery_at} />],
          ["Connection", agent.delivers_to === agent.device && <State of={status.connectivity} />],
          ["Device", agent.device ? <a href={link(["devices", agent.device])}>{agent.device}</a> : agent.delivers_to],
          ["Reads", agent.paths.join(", ")],
          ["Writes", agent.data_types.join(", ")],
          ["Schedule", whenOf(agent)],
          ["Locks", of.locks.map((lock) => lock.resource).join(", ")],
          ["Costs", `${money(of.spend.day.usd)} in a day, ${money(of.spend.month.usd)} in 30 days`],
          ["Prompt", agent.prompt],
        ]}
      />
      <Section title="Next runs">
        {agent.next_fires.length === 0 ? (
          <p class="empty">
            Nothing is planned. {agent.gateway === null && <Command text={`hub run ${agent.name}`} />}
          </p>
        ) : (
          <ul class="chips">
            {agent.next_fires.slice(0, SERIES).map((fire) => (
              <li key={fire.at} title={fire.shift ?? undefined}>
                {soon(fire.at, now.value)}
              </li>
            ))}
          </ul>
        )}
      </Section>
      <Section title="Newest runs" more={<a href={link(["runs"], { agent: agent.name })}>All runs</a>}>
        <RunTable runs={of.runs} empty={<>It has not run yet. {agent.gateway === null && <Command text={`hub run ${agent.name}`} />}</>} />
      </Section>
      {of.series > 0 && <Metrics agent={agent.name} />}
      <History agent={agent.name} />
    </>
  );
}

const MOVES: readonly Column<AgentMoveView>[] = [
  { head: "When", cell: (move) => <Time at={move.at} /> },
  { head: "What", cell: (move) => move.axis },
  { head: "Before", cell: (move) => (move.before ? <State of={move.before} /> : "–") },
  { head: "After", cell: (move) => <State of={move.after} /> },
  { head: "Because", kind: "text", cell: (move) => move.reason ?? "–" },
  { head: "By", cell: (move) => <Named id={move.actor} name={move.actor_name} /> },
];

function History({ agent }: { agent: string }): JSX.Element {
  const history = useReading("/v1/agents/{name}/history", { params: { name: agent }, query: { limit: SERIES }, kinds: ["agent"] });
  return (
    <Section title="History">
      <Listed of={history} label="History" columns={MOVES} rows={(data) => data.moves} id={(move) => String(move.seq)} empty="Nothing has changed yet." />
    </Section>
  );
}

function Metrics({ agent }: { agent: string }): JSX.Element {
  const listed = useReading("/v1/agents/{name}/metrics", { params: { name: agent }, query: { limit: SERIES } });
  const names = [...new Set(listed.data?.series.map((one: SeriesView) => one.name))];
  const shown = place.value.query.get("metric") ?? names[0];
  return (
    <Section title="Metrics" more={<Select label="Metric" values={names} value={shown ?? ""} change={(metric) => refine({ metric })} />}>
      {shown ? <Chart agent={agent} metric={shown} /> : <div class="waiting" aria-busy="true" />}
    </Section>
  );
}

function Chart({ agent, metric }: { agent: string; metric: string }): JSX.Element {
  const since = new Date(Math.floor(now.value / HOUR_MS) * HOUR_MS - DAY_MS).toISOString();
  const chart = useKept(useReading("/v1/agents/{name}/metrics/{metric}", { params: { name: agent, metric }, query: { since } }));
  return <Read of={chart}>{(data) => <Drawn of={data} agent={agent} />}</Read>;
}

function Drawn({ of, agent }: { of: ChartView; agent: string }): JSX.Element {
  const points = of.lines[0]?.points ?? [];
  const newest = points.findLast(({ value }) => value !== null)?.value ?? null;
  if (newest === null) return <p class="empty">Nothing was measured in the last day.</p>;
  const series = [{ name: `${of.agg} of ${of.name}`, values: points.map((point) => point.value), whole: `${decimal(newest)} at last` }];
  return <Plot title={of.name} times={points.map((point) => Date.parse(point.at) / 1_000)} series={series} runs={(at, step_s) => runsOf(at, step_s, { agent })} />;
}
