import type { ComponentChildren, JSX } from "preact";
import { count, lasting, money } from "../format";
import { now } from "../live";
import { may } from "../me";
import { Command, Page, Read, Section, State, Time } from "../parts";
import { useReading } from "../reading";
import { link } from "../router";
import type { IssueView, StatusView } from "../types";
import { RunTable } from "./run_parts";

const SHOWN = 6;
const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;

export function Home(): JSX.Element {
  const status = useReading("/v1/status", { kinds: ["agent", "device", "run"] });
  const issues = useReading("/v1/issues", { query: { limit: SHOWN }, kinds: ["agent", "connector", "device", "pairing"] });
  const runs = useReading("/v1/runs", { query: { limit: SHOWN }, kinds: ["run"] });
  return (
    <Page title="Home" command="hub status">
      <Read of={status}>{(data) => <Numbers of={data} />}</Read>
      <div class="halves">
        <Section title="Needs attention" more={<Command text="hub doctor" />}>
          <Read of={issues}>{(data) => <Issues of={data.issues} hasMore={data.next_cursor !== null} />}</Read>
        </Section>
        <Section title="Waits for you">
          <Waiting />
        </Section>
      </div>
      <Section title="Newest runs" more={<a href="/runs">All runs</a>}>
        <Read of={runs}>
          {(data) => <RunTable runs={data.runs} empty="No agent has run yet. Start one: hub run NAME" />}
        </Read>
      </Section>
    </Page>
  );
}

function Numbers({ of }: { of: StatusView }): JSX.Element {
  // Of whole hours, so that the same request is asked for a while.
  const since = new Date(Math.floor(now.value / HOUR_MS) * HOUR_MS - DAY_MS).toISOString();
  const costs = useReading("/v1/costs", { query: { since }, kinds: ["run"] });
  const executing = (of.runs["RUNNING"] ?? 0) + (of.runs["PREPARING"] ?? 0);
  return (
    <ul class="numbers">
      <Number href="/devices" value={`${count(of.devices_connected)} / ${count(of.devices_known)}`} name="devices connected" />
      <Number href="/agents" value={count(of.agents)} name={of.agents === 1 ? "agent" : "agents"} />
      <Number href="/runs?state=RUNNING" value={count(executing)} name="runs in progress" />
      <Number href="/runs?state=QUEUED" value={count(of.runs["QUEUED"] ?? 0)} name="runs that wait" />
      <Number value={costs.data ? money(costs.data.total.usd) : "–"} name="spent since yesterday" />
      <Number value={lasting(of.uptime_s)} name={of.state === "draining" ? "up, and draining" : `up, release ${of.version}`} />
    </ul>
  );
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

function Issues({ of, hasMore }: { of: readonly IssueView[]; hasMore: boolean }): JSX.Element {
  if (of.length === 0) return <p class="empty">Nothing is wrong.</p>;
  return (
    <>
      <ul class="cards">
        {of.map((issue) => (
          <li key={`${issue.id} ${issue.subject}`}>
            <p class="card-head">
              <State of={issue.severity} />
              <Time at={issue.since} />
            </p>
            <p>{issue.explanation}</p>
            <p class="quiet">{issue.fix}</p>
          </li>
        ))}
      </ul>
      {hasMore && <p class="quiet">There are more: hub doctor lists all.</p>}
    </>
  );
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
      {hasMore && <p class="quiet">There are more: the first {SHOWN} of each kind are shown.</p>}
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
