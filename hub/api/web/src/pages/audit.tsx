import type { JSX } from "preact";
import { type Column, Filter, Page, Pager, Pairs, Read, State, Table, Time } from "../parts";
import { useReading } from "../reading";
import { place } from "../router";
import type { AuditEntryView } from "../types";

const ROWS = 50;
const FILTERS = ["event", "actor", "subject", "since", "until"] as const;

const COLUMNS: readonly Column<AuditEntryView>[] = [
  { head: "Entry", kind: "number", cell: (entry) => entry.seq },
  { head: "When", cell: (entry) => <Time at={entry.at} isExact /> },
  { head: "Who", cell: (entry) => entry.actor },
  { head: "Event", kind: "main", cell: (entry) => <code>{entry.event}</code> },
  { head: "Outcome", cell: (entry) => <State of={entry.outcome} /> },
  { head: "About", cell: (entry) => entry.subject ?? "–" },
  { head: "Details", kind: "text", cell: (entry) => <Pairs of={entry.detail} /> },
];

export function Audit(): JSX.Element {
  const given = (filter: string): string | undefined => place.value.query.get(filter) ?? undefined;
  const day = (filter: string): string | undefined => given(filter) && `${given(filter)}T00:00:00Z`;
  const query = {
    ...{ event: given("event"), actor: given("actor"), subject: given("subject") },
    ...{ since: day("since"), until: day("until"), cursor: given("cursor"), limit: ROWS },
  };
  const audit = useReading("/v1/audit", { query });
  const flags = FILTERS.filter(given).map((filter) => `--${filter} ${given(filter)}`);
  return (
    <Page title="Audit" command={["hub audit ls", ...flags].join(" ")}>
      <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
        <Filter name="event" label="Event" />
        <Filter name="actor" label="Who" />
        <Filter name="subject" label="About" />
        <Filter name="since" label="Since" isDay />
        <Filter name="until" label="Until" isDay />
      </form>
      <Read of={audit}>
        {(data) => (
          <>
            <Table label="Entries of the audit log" columns={COLUMNS} rows={data.entries} id={(entry) => `${entry.seq}`} empty="No entry is like this." />
            <Pager next={data.next_cursor} />
          </>
        )}
      </Read>
    </Page>
  );
}
