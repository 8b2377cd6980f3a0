import type { JSX } from "preact";
import { count, inZone, lasting, money } from "../format";
import { Choice, Command, Empty, Page, Read, Section, State, Time } from "../parts";
import { useReading } from "../reading";
import { link, place } from "../router";
import type { StatusView, SummaryView } from "../types";
import { A_DAY, PERIODS, lastVisit, shownSince, useSummary } from "../visit";
import { connectingTo } from "./devices";
import { Issues } from "./issues";
import { RunTable } from "./run_parts";

const SHOWN = 6;
const FOLDED = 20; // runs that are read: those without news are one row
const MAX_COUNTED = 1_000; // by the hub, of each kind

export function Status(): JSX.Element {
  const status = useReading("/v1/status", { kinds: ["agent", "device", "issue", "run"] });
  const runs = useReading("/v1/runs", { query: { limit: FOLDED }, kinds: ["run"] });
  return (
    <Page title="Status" command="hub status">
      <Read of={status}>
        {(data) => (
          <>
            <Headline of={data} />
            <Numbers of={data} />
            {data.devices_known === 0 && (
              <Empty title="No device is connected yet.">
                <p>On the computer with the files: <Command text={connectingTo(data)} /> Its code is typed on the page <a href="/devices">Devices</a>.</p>
              </Empty>
            )}
          </>
        )}
      </Read>
      <Section title="Needs attention" more={<Command text="hub doctor" />}>
        <Issues />
      </Section>
      <Since />
      <Section title="Newest runs" more={<a href="/runs">All runs</a>}>
        <Read of={runs}>
          {(data) => <RunTable runs={data.runs} most={SHOWN} empty={<>No agent has run yet. <Command text="hub run NAME" /></>} />}
        </Read>
      </Section>
    </Page>
  );
}

/** The worst that is wrong, as hub status has it first. */
function Headline({ of }: { of: StatusView }): JSX.Element | null {
  const worst = of.worst.find((issue) => issue.severity !== "notice");
  if (!worst) return null;
  const others = of.issues.errors + of.issues.warnings - 1;
  return (
    <div class={`headline ${worst.severity}`} role="status">
      <State of={worst.severity} />
      <strong>{inZone(worst.explanation)}</strong>
      <Time at={worst.since} />
      <p>{worst.fix}</p>
      {others > 0 && (
        <p class="quiet">
          and {count(others)} more: <Command text="hub doctor" />
        </p>
      )}
    </div>
  );
}

/** What is shown large: a value, its name, and the page that it leads to. */
type Tile = readonly [value: string, name: string, href?: string];

/** Return a tile of a number; none of a zero. */
function tile(number: number | null | undefined, one: string, many: string, href?: string): readonly Tile[] {
  if (number === 0) return [];
  const value = number === null || number === undefined ? "?" : `${count(number)}${number < MAX_COUNTED ? "" : "+"}`;
  const name = number === 1 ? one : many;
  return [href ? [value, name, href] : [value, name]];
}

function Tiles({ of }: { of: readonly Tile[] }): JSX.Element {
  return (
    <ul class="numbers">
      {of.map(([value, name, href]) => {
        const inner = [<strong>{value}</strong>, <span>{name}</span>];
        return <li key={name}>{href ? <a href={href}>{inner}</a> : <div>{inner}</div>}</li>;
      })}
    </ul>
  );
}

function Numbers({ of }: { of: StatusView }): JSX.Element {
  const runs = of.runs; // null, as other numbers, while the database cannot be read
  const executing = runs && (runs["RUNNING"] ?? 0) + (runs["PREPARING"] ?? 0);
  const known = of.devices_known === null ? "?" : count(of.devices_known);
  const connected = of.devices_connected === null ? "?" : count(of.devices_connected);
  return (
    <Tiles
      of={[
        ...(of.devices_known === 0 ? [] : [[`${connected} / ${known}`, "devices connected", "/devices"] as Tile]),
        ...tile(of.agents, "agent", "agents", "/agents"),
        ...tile(executing, "run in progress", "runs in progress", "/runs?state=RUNNING"),
        ...tile(runs && (runs["QUEUED"] ?? 0), "run that waits", "runs that wait", "/runs?state=QUEUED"),
        [lasting(of.uptime_s), of.state === "draining" ? "up, and draining" : `up, release ${of.version}`],
      ]}
    />
  );
}

/** What happened since the last visit, or in the last days. */
function Since(): JSX.Element {
  const chosen = place.value.query.get("since") ?? "";
  const offered = Object.keys(PERIODS).filter((one) => one !== A_DAY || one === chosen || lastVisit());
  const since = shownSince();
  const summary = useSummary();
  return (
    <Section
      title="What happened"
      more={<Choice name="since" label="Shown" values={offered} none={lastVisit() ? "since my last visit" : A_DAY} />}
    >
      <p class="quiet">
        Since <Time at={since} isExact /> <Command text={`hub summary --since ${since.slice(0, 19)}Z`} />
      </p>
      <Read of={summary}>{(data) => <Happened of={data} />}</Read>
    </Section>
  );
}

function Happened({ of }: { of: SummaryView }): JSX.Element {
  const { runs, items, questions, issues } = of;
  const ended = (outcome: string): string => link(["runs"], { outcome, since: of.since });
  const decided = (verdict: string): string => link(["inbox"], { verdict });
  const tiles: readonly Tile[] = [
    ...tile(runs.success, "run succeeded", "runs succeeded", ended("success")),
    ...tile(runs.failed, "run failed", "runs failed", ended("failed")),
    ...tile(runs.partial, "run was partial", "runs were partial", ended("partial")),
    ...tile(runs.cancelled, "run was cancelled", "runs were cancelled", ended("cancelled")),
    ...tile(items.found, "item found", "items found", decided("any")),
    ...tile(items.approved, "item approved", "items approved", decided("approved")),
    ...tile(items.rejected, "item rejected", "items rejected", decided("rejected")),
    ...tile(items.waiting, "item waits", "items wait", "/inbox"),
    ...tile(questions.asked, "question asked", "questions asked", "/questions"),
    ...tile(of.pairings, "device waits to be let in", "devices wait to be let in", "/devices"),
    ...tile(issues.errors + issues.warnings + issues.notices, "new issue", "new issues"),
    ...(of.costs.usd > 0 ? [[`${of.costs.is_part ? "> " : ""}${money(of.costs.usd)}`, "spent on models"] as Tile] : []),
  ];
  return tiles.length > 0 ? <Tiles of={tiles} /> : <p class="empty">Nothing happened in this time.</p>;
}
