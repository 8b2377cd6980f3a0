import type { JSX } from "preact";
import { commandOf } from "../format";
import { type Column, Listed, Page, Pairs, State, Time } from "../parts";
import { useReading } from "../reading";
import { place } from "../router";
import { Search, type SearchField } from "../search";
import type { LogView } from "../types";

const ROWS = 100;
const LEAST = "info";
const OTHERS = ["debug", "warning", "error"];
const FIELDS: readonly SearchField[] = [{ name: "level", values: [...OTHERS, LEAST] }, { name: "run" }, { name: "device" }];

const COLUMNS: readonly Column<LogView>[] = [
  { head: "When", cell: (entry) => <Time at={entry.at} isExact /> },
  { head: "Level", cell: (entry) => <State of={entry.level} /> },
  {
    head: "Event",
    kind: "main",
    cell: (entry) => (
      <>
        <code class="name">{entry.event}</code>
        {entry.meaning && <p class="quiet">{entry.meaning}</p>}
      </>
    ),
  },
  { head: "Details", kind: "text", cell: (entry) => <Pairs of={entry.fields} /> },
];

export function Log(): JSX.Element {
  const { level, run, device, cursor } = Object.fromEntries(place.value.query);
  const log = useReading("/v1/logs", { query: { level: level ?? LEAST, run, device, cursor, limit: ROWS } });
  const actions = (
    <button type="button" onClick={log.again}>
      Read again
    </button>
  );
  return (
    <Page title="Log" command={commandOf("hub logs", { level, run, device })} actions={actions}>
      <Search fields={FIELDS} />
      <Listed of={log} label="Entries of the log" columns={COLUMNS} rows={(data) => data.entries} id={(entry) => `${entry.seq}`} empty="No entry is like this." cursor="cursor" />
    </Page>
  );
}
