import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Act } from "../acting";
import { beginOf, endOf, commandOf } from "../format";
import { type Column, Listed, Named, Page, Pairs, State, Time, Was } from "../parts";
import { useReading } from "../reading";
import { place } from "../router";
import { DAY_FIELDS, Search } from "../search";
import { ask } from "../server";
import type { AuditCheckView, AuditEntryView } from "../types";

const ROWS = 50;

const COLUMNS: readonly Column<AuditEntryView>[] = [
  { head: "Entry", kind: "number", cell: (entry) => entry.seq },
  { head: "When", cell: (entry) => <Time at={entry.at} isExact /> },
  { head: "Who", cell: (entry) => <Named id={entry.actor} name={entry.actor_name} /> },
  { head: "Event", kind: "main", cell: (entry) => <code class="name">{entry.event}</code> },
  { head: "Outcome", cell: (entry) => <State of={entry.outcome} /> },
  { head: "About", cell: (entry) => (entry.subject === null ? "–" : <Named id={entry.subject} name={entry.subject_name} />) },
  { head: "Details", kind: "text", cell: (entry) => <Details of={entry} /> },
];

function Details({ of }: { of: AuditEntryView }): JSX.Element {
  const told = new Set(of.changes.flatMap((change) => [change.key, `${change.key}.old`]));
  if (of.event === "settings.changed") told.add("old").add("new");
  const rest = Object.entries(of.detail).filter(([name, value]) => !told.has(name) && value !== null);
  return (
    <>
      {of.changes.map((change) => (
        <Was key={change.key} {...(change.key !== of.subject && { name: change.key })} old={change.old} new={change.new} />
      ))}
      <Pairs of={Object.fromEntries(rest)} />
    </>
  );
}

/** The check of the whole chain, which the command line has as "hub audit verify". */
function Verify(): JSX.Element {
  const [found, setFound] = useState<AuditCheckView | null>(null);
  return (
    <div class="actions">
      {found !== null && (
        <p role="status">
          {found.ok
            ? `All ${found.entries} entries are as they were written.`
            : `The log was changed: ${found.breaks.map((one) => one.what).join("; ")}${found.more_breaks > 0 ? `, and ${found.more_breaks} more` : ""}`}
        </p>
      )}
      <Act
        label="Verify"
        scope="audit"
        action={async () => setFound(await ask("get", "/v1/audit/verify"))}
        done="The whole chain is checked."
      />
    </div>
  );
}

export function Audit(): JSX.Element {
  const { event, actor, subject, since, until, cursor } = Object.fromEntries(place.value.query);
  const flags = { event, actor, subject, since, until };
  const audit = useReading("/v1/audit", { query: { ...flags, since: beginOf(since), until: endOf(until), cursor, limit: ROWS } });
  const shown = (of: (entry: AuditEntryView) => string, name: (entry: AuditEntryView) => string | null = () => null): Record<string, string> =>
    Object.fromEntries((audit.data?.entries ?? []).filter(of).map((entry) => [of(entry), name(entry) ?? ""]));
  return (
    <Page title="Audit" command={commandOf("hub audit ls", flags)} actions={<Verify />}>
      <Search
        fields={[
          { name: "event", offers: shown((entry) => entry.event) },
          { name: "actor", label: "who", offers: shown((entry) => entry.actor, (entry) => entry.actor_name) },
          { name: "subject", label: "about", offers: shown((entry) => entry.subject ?? "", (entry) => entry.subject_name) },
          ...DAY_FIELDS,
        ]}
      />
      <Listed of={audit} label="Entries of the audit log" columns={COLUMNS} rows={(data) => data.entries} id={(entry) => `${entry.seq}`} empty="No entry is like this." cursor="cursor" />
    </Page>
  );
}
