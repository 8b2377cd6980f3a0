import type { ComponentChildren, JSX } from "preact";
import { count, lasting, money } from "../format";
import { now } from "../live";
import { may } from "../me";
import { Choice, Command, Page, Read, Section, State, Time } from "../parts";
import { useReading } from "../reading";
import { link, place } from "../router";
import type { StatusView, SummaryView } from "../types";
import { lastVisit } from "../visit";
import { CREATE } from "./agent_form";
import { connectingTo } from "./devices";
import { Issues } from "./issues";
import { RunTable } from "./run_parts";

const SHOWN = 6;
const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
const MOST_COUNTED = 1_000; // by the hub, of each kind
const A_DAY = "the last 24 hours";
const PERIODS: Readonly<Record<string, number>> = { [A_DAY]: 1, "the last 7 days": 7, "the last 30 days": 30 };

export function Home(): JSX.Element {
  const status = useReading("/v1/status", { kinds: ["agent", "device", "issue", "run"] });
  const runs = useReading("/v1/runs", { query: { limit: SHOWN }, kinds: ["run"] });
  return (
    <Page title="Home" command="hub status">
      <Read of={status}>
        {(data) => (
          <>
            <Headline of={data} />
            <Numbers of={data} />
            <Next of={data} />
          </>
        )}
      </Read>
      <div class="halves">
        <Section title="Needs attention" more={<Command text="hub doctor" />}>
          <Issues />
        </Section>
        <Section title="Waits for you">
          <Waiting />
        </Section>
      </div>
      <Since />
      <Section title="Newest runs" more={<a href="/runs">All runs</a>}>
        <Read of={runs}>
          {(data) => <RunTable runs={data.runs} empty="No agent has run yet. Start one: hub run NAME" />}
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
    <div class="headline" role="status">
      <p>
        <State of={worst.severity} /> <strong>{worst.explanation}</strong> <Time at={worst.since} />
      </p>
      <p class="quiet">
        {worst.fix}
        {others > 0 && <>; and {count(others)} more: <Command text="hub doctor" /></>}
      </p>
    </div>
  );
}

function Numbers({ of }: { of: StatusView }): JSX.Element {
  const runs = of.runs; // null, as other numbers, while the database cannot be read
  const executing = runs && (runs["RUNNING"] ?? 0) + (runs["PREPARING"] ?? 0);
  return (
    <ul class="numbers">
      <Number href="/devices" value={`${known(of.devices_connected)} / ${known(of.devices_known)}`} name="devices connected" />
      <Number href="/agents" value={known(of.agents)} name={of.agents === 1 ? "agent" : "agents"} />
      <Number href="/runs?state=RUNNING" value={known(executing)} name={executing === 1 ? "run in progress" : "runs in progress"} />
      <Number href="/runs?state=QUEUED" value={known(runs && (runs["QUEUED"] ?? 0))} name="runs that wait" />
      <Number value={lasting(of.uptime_s)} name={of.state === "draining" ? "up, and draining" : `up, release ${of.version}`} />
    </ul>
  );
}

function known(value: number | null): string {
  return value === null ? "?" : count(value);
}

function Number({ href, value, name }: { href?: string; value: string; name: string }): JSX.Element {
  const inner = (
    <>
      <strong>{value}</strong>
      <span>{name}</span>
    </>
  );
  return <li>{href ? <a href={href}>{inner}</a> : <div>{inner}</div>}</li>;
}

/** What a hub without a device or without an agent needs first. */
function Next({ of }: { of: StatusView }): JSX.Element | null {
  if (of.devices_known !== 0 && of.agents !== 0) return null;
  return (
    <Section title="What to do next">
      {of.devices_known === 0 ? (
        <p class="empty">
          No device is here yet. On the computer whose files are to be read: <Command text={connectingTo(of)} />
          {may("devices") && (
            <>
              {" "}
              It shows a code, which is typed on the page <a href="/devices">Devices</a>.
            </>
          )}
        </p>
      ) : (
        <p class="empty">
          No agent is here yet, and so nothing is read.{" "}
          {may("devices") && (
            <>
              <a href={link(["agents"], { new: "1" })}>Make one</a>, or: <Command text={CREATE} />
            </>
          )}
        </p>
      )}
    </Section>
  );
}

/** What happened since the last visit, or in the last days. */
function Since(): JSX.Element {
  const chosen = place.value.query.get("since") ?? "";
  const days = PERIODS[chosen];
  const offered = Object.keys(PERIODS).filter((one) => one !== A_DAY || one === chosen || lastVisit());
  const visit = days === undefined ? lastVisit() : null;
  // Of whole hours, so that the same request is asked for a while.
  const since = (visit ?? new Date(Math.floor(now.value / HOUR_MS) * HOUR_MS - (days ?? 1) * DAY_MS)).toISOString();
  const summary = useReading("/v1/summary", { query: { since }, kinds: ["item", "pairing", "question", "run"] });
  return (
    <Section
      title="What happened"
      more={<Choice name="since" label="Shown" values={offered} none={lastVisit() ? "since my last visit" : A_DAY} isInLine />}
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
  const news = issues.errors + issues.warnings + issues.notices;
  const ended = (outcome: string): string => link(["runs"], { outcome, since: of.since });
  return (
    <ul class="numbers">
      <Number href={ended("success")} value={least(runs.success)} name={runs.success === 1 ? "run succeeded" : "runs succeeded"} />
      <Number href={ended("failed")} value={least(runs.failed)} name={runs.failed === 1 ? "run failed" : "runs failed"} />
      <Number href={ended("partial")} value={least(runs.partial)} name={runs.partial === 1 ? "run was partial" : "runs were partial"} />
      {runs.cancelled > 0 && <Number href={ended("cancelled")} value={least(runs.cancelled)} name={runs.cancelled === 1 ? "run was cancelled" : "runs were cancelled"} />}
      <Number href="/review" value={least(items.found)} name={items.found === 1 ? "item found" : "items found"} />
      <Number href={link(["review"], { verdict: "approved" })} value={least(items.approved)} name={items.approved === 1 ? "item approved" : "items approved"} />
      <Number href={link(["review"], { verdict: "rejected" })} value={least(items.rejected)} name={items.rejected === 1 ? "item rejected" : "items rejected"} />
      <Number href={link(["review"], { verdict: "open" })} value={least(items.waiting)} name={items.waiting === 1 ? "item waits" : "items wait"} />
      <Number href="/questions" value={least(questions.asked)} name={questions.asked === 1 ? "question asked" : "questions asked"} />
      {of.pairings > 0 && <Number href="/devices" value={least(of.pairings)} name={of.pairings === 1 ? "device waits to be let in" : "devices wait to be let in"} />}
      <Number value={count(news)} name={news === 1 ? "new issue" : "new issues"} />
      <Number value={`${of.costs.is_part ? "> " : ""}${money(of.costs.usd)}`} name="spent on models" />
    </ul>
  );
}

/** Return a number that the hub counts up to a limit. */
function least(number: number): string {
  return number < MOST_COUNTED ? count(number) : `${count(number)}+`;
}

function Waiting(): JSX.Element {
  const mayApprove = may("devices");
  const questions = useReading("/v1/questions", { query: { state: "open", limit: SHOWN }, kinds: ["question"] });
  const items = useReading("/v1/items", { query: { verdict: "open", limit: SHOWN }, kinds: ["item"] });
  const pairings = useReading("/v1/pairings", { query: { limit: SHOWN }, kinds: ["pairing"], when: mayApprove });
  const waiting: ComponentChildren[] = [
    ...(pairings.data?.pairings ?? []).map((one) => (
      <Wait key={one.id} href="/devices" kind="device" title={one.label} at={one.created_at} />
    )),
    ...(questions.data?.questions ?? []).map((one) => (
      <Wait key={one.id} href="/questions" kind="question" title={one.content} at={one.created_at} />
    )),
    ...(items.data?.items ?? []).map((one) => (
      <Wait key={one.id} href={link(["review"], { item: one.id })} kind={one.table} title={one.title} at={one.created_at} />
    )),
  ];
  const hasRead = questions.data !== undefined && items.data !== undefined;
  if (waiting.length === 0) return hasRead ? <p class="empty">Nothing waits for you.</p> : <div class="waiting" aria-busy="true" />;
  const hasMore = [questions.data, items.data, pairings.data].some((page) => page?.next_cursor);
  return (
    <>
      <ul class="cards">{waiting}</ul>
      {hasMore && (
        <p class="quiet">
          The first {SHOWN} of each kind are shown. All of them: <a href="/review">items</a>, <a href="/questions">questions</a>
          {mayApprove && <>, <a href="/devices">devices</a></>}.
        </p>
      )}
    </>
  );
}

function Wait({ href, kind, title, at }: { href?: string; kind: string; title: string; at: string }): JSX.Element {
  const inner = (
    <>
      <span class="kind">{kind}</span>
      <span class="title">{title || "without a title"}</span>
      <Time at={at} />
    </>
  );
  return <li>{href ? <a class="wait" href={href}>{inner}</a> : <div class="wait">{inner}</div>}</li>;
}
