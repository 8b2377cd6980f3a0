import type { JSX } from "preact";
import { Act } from "../acting";
import { beginOf, between, brief, commandOf, count, endOf, inZone, money } from "../format";
import { now } from "../live";
import { Choice, type Column, Command, Facts, Listed, Named, Page, Pager, Read, Section, State, Table, Time } from "../parts";
import { useReading } from "../reading";
import { go, link, place } from "../router";
import { DAY_FIELDS, Search, type SearchField, TEXT_FIELD } from "../search";
import { ask } from "../server";
import type { MoveView, RunCountsView, RunDetail, RunErrorView, UnitView } from "../types";
import { Done, RunState, RunTable, itemsOf, startedBy } from "./run_parts";
import { Waterfall } from "./waterfall";
import { unread, whyOf } from "./why";

const ROWS = 50;
const STATES = ["QUEUED", "PREPARING", "RUNNING", "PAUSED", "COMPLETED", "FAILED", "CANCELLED"];
const UNIT_STATES = ["PENDING", "EXTRACTED", "DONE", "SKIPPED", "FAILED"];
const OUTCOMES = ["success", "partial", "failed", "cancelled"];
const FIELDS: readonly SearchField[] = [
  { name: "agent" },
  { name: "device" },
  { name: "state", values: STATES },
  { name: "outcome", values: OUTCOMES },
  ...DAY_FIELDS,
  TEXT_FIELD,
];

export function Runs(): JSX.Element {
  const { agent, device, state, outcome, since, until, text, cursor } = Object.fromEntries(place.value.query);
  const asked = { agent, device, state, outcome, since: beginOf(since), until: endOf(until), text };
  const runs = useReading("/v1/runs", { query: { ...asked, cursor, limit: ROWS }, kinds: ["run"] });
  const counts = useReading("/v1/runs/counts", { query: asked, kinds: ["run"] });
  return (
    <Page title="Runs" command={commandOf("hub runs", { agent, device, "in-state": state, outcome, since, until, text })}>
      <Search fields={FIELDS} />
      {counts.data && counts.data.total > 0 && <p class="quiet">{total(counts.data)}</p>}
      <Read of={runs}>
        {(data) => (
          <>
            <RunTable runs={data.runs} empty={Object.values(asked).some(Boolean) ? "No run is like this." : <>No agent has run yet. <Command text="hub run NAME" /></>} />
            <Pager next={data.next_cursor} />
          </>
        )}
      </Read>
    </Page>
  );
}

/** Return the number of runs that the filters let through, and how they ended. */
function total({ total, outcomes, is_complete }: RunCountsView): string {
  const ends = Object.entries(outcomes).map(([end, number]) => `${count(number)} ${end}`);
  return [`${count(total)}${is_complete ? "" : "+"} ${total === 1 ? "run" : "runs"}`, ...ends].join(" · ");
}

export function Run({ name: id }: { name: string }): JSX.Element {
  const run = useReading("/v1/runs/{run_id}", { params: { run_id: id }, kinds: ["run"] });
  const data = run.data;
  return (
    <Page
      title={data ? `Run of ${data.agent}` : "Run"}
      command={`hub runs show ${id}`}
      actions={data && <Actions of={data} />}
    >
      <Read of={run}>{(found) => <Detail of={found} />}</Read>
    </Page>
  );
}

function Actions({ of }: { of: RunDetail }): JSX.Element {
  const params = { run_id: of.id };
  const hasEnded = ["COMPLETED", "FAILED", "CANCELLED"].includes(of.state);
  if (hasEnded) {
    const rerun = async (): Promise<void> => {
      const fresh = await ask("post", "/v1/runs/{run_id}/rerun", { params });
      go(link(["runs", fresh.id]));
    };
    return <Act label="Run again" scope="run" action={rerun} done="A new run is queued." />;
  }
  const isPaused = of.state === "PAUSED" || of.is_pausing;
  return (
    <>
      <Act
        label={isPaused ? "Resume" : "Pause"}
        scope="run"
        action={() => (isPaused ? ask("post", "/v1/runs/{run_id}/resume", { params }) : ask("post", "/v1/runs/{run_id}/pause", { params }))}
        done={isPaused ? "The run goes on." : "The run pauses."}
      />
      <Act
        label="Cancel the run"
        scope="run"
        action={() => ask("post", "/v1/runs/{run_id}/cancel", { params, body: {} })}
        done="The run is cancelled."
        confirm={`Cancel this run of ${of.agent}? What it has delivered stays.`}
      />
    </>
  );
}

const UNITS = (agent: string): readonly Column<UnitView>[] => [
  { head: "File", kind: "main", cell: (unit) => <a href={whyOf(unit.path, agent)} title="What became of its lines, and why">{unit.path}</a> },
  { head: "State", cell: (unit) => <State of={unit.state} /> },
  { head: "Items", kind: "number", cell: (unit) => count(unit.items) },
  { head: "Tries", kind: "number", cell: (unit) => count(unit.attempts) },
  { head: "Took", kind: "number", cell: (unit) => between(unit.began_at ?? unit.read_at, unit.settled_at, now.value) },
  { head: "Parts", kind: "text", cell: (unit) => partsOf(unit) },
  { head: "Error", kind: "text", cell: (unit) => unit.error ?? "" },
];

/** Return the parts of a mail of which one was not read, and how much of a long text was not. */
function partsOf({ notes }: UnitView): string {
  const parts = typeof notes.parts === "object" ? Object.entries(notes.parts) : [];
  return [...parts.map(([part, times]) => (times > 1 ? `${count(times)} ${part}` : part)), ...unread(notes)].join(", ");
}
const ERRORS: readonly Column<RunErrorView>[] = [
  { head: "When", cell: (error) => <Time at={error.at} /> },
  { head: "Code", cell: (error) => <code>{error.code}</code> },
  { head: "File", kind: "text", cell: (error) => error.path ?? "–" },
  { head: "What happened", kind: "text", cell: (error) => error.message },
];
const MOVES: readonly Column<MoveView>[] = [
  { head: "When", cell: (move) => <Time at={move.at} /> },
  { head: "State", cell: (move) => <State of={move.after} /> },
  { head: "Because", kind: "text", cell: (move) => move.because ?? move.reason ?? "–" },
  { head: "By", cell: (move) => <Named id={move.actor} name={move.actor_name} /> },
];

function Detail({ of }: { of: RunDetail }): JSX.Element {
  return (
    <>
      <Facts
        rows={[
          ["State", <RunState of={of} />],
          ["Because", inZone(of.waiting_for ?? of.because ?? "")],
          ["Message", of.message],
          ["Agent", <a href={link(["agents", of.agent])}>{of.agent}</a>],
          ["Device", <a href={link(["devices", of.device])}>{of.device}</a>],
          ["Started by", startedBy(of)],
          ["Started", <Time at={of.started_at} none={of.completed_at ? "never" : "not yet"} />],
          ["Took", between(of.started_at, of.completed_at, now.value)],
          ["Files", <Done of={of} />],
          ["Left", of.left_because && <>{of.left_because}{of.followed_by && <>: <a href={link(["runs", of.followed_by])}>{brief(of.followed_by)}</a></>}</>],
          ["Left out", Object.entries(of.left_out).map(([why, files]) => `${count(files)} ${why.replaceAll("_", " ")}`).join(", ")],
          ["Items", <a href={itemsOf(of)}>{`${count(of.items_created)} new, ${count(of.items_updated)} updated, ${count(of.items_known)} known`}</a>],
          ["Model", `${count(of.model_requests)} requests, ${count(of.prompt_tokens)} tokens in, ${count(of.completion_tokens)} out`],
          ["Cost", money(of.usd)],
          ["Attempt", of.max_attempts > 1 && `${of.attempt} of ${of.max_attempts}`],
          ["Repeats", of.rerun_of && <a href={link(["runs", of.rerun_of])}>{brief(of.rerun_of)}</a>],
        ]}
      />
      {of.errors.length > 0 && (
        <Section title="Errors">
          <Table label="Errors" columns={ERRORS} rows={of.errors} id={(error) => `${error.at} ${error.path} ${error.code}`} empty="" />
        </Section>
      )}
      <Waterfall run={of.id} />
      <Files of={of} />
      <Section title="History">
        <Table label="History" columns={MOVES} rows={of.history.slice(-ROWS)} id={(move) => `${move.at} ${move.after}`} empty="Nothing has happened yet." />
      </Section>
    </>
  );
}

function Files({ of }: { of: RunDetail }): JSX.Element {
  const { query } = place.value;
  const asked = { limit: ROWS, cursor: query.get("files"), state: query.get("unit") };
  const units = useReading("/v1/runs/{run_id}/units", { params: { run_id: of.id }, query: asked, kinds: ["run"] });
  return (
    <Section title="Files" more={<Choice name="unit" label="State" values={UNIT_STATES} />}>
      <Listed of={units} label="Files" columns={UNITS(of.agent)} rows={(data) => data.units} id={(unit) => unit.path} empty="No file is like this." cursor="files" />
    </Section>
  );
}
