// What became of a file or a line of it in each agent, and why of others nothing did; how a file is found.
import type { JSX } from "preact";
import { commandOf, count, inZone, quoted, soon } from "../format";
import { now } from "../live";
import { type Column, Foreign, Page, Read, Section, State, Table } from "../parts";
import { useReading } from "../reading";
import { link, place } from "../router";
import { Search, TEXT_FIELD } from "../search";
import type { ItemView, Reason, RunView, UnitView } from "../types";
import { LeftOut } from "./sources";

const RUNS = 5; // whose files are listed
const FILES = 100; // of each, and found by a text

/** Return the address at which the lines of a file are explained. */
export function whyOf(path: string, agent: string): string {
  return link(["why"], { path, agent });
}

const COLUMNS: readonly Column<Reason>[] = [
  { head: "Lines", kind: "main", cell: (reason) => (reason.lines && `${/\D/.test(reason.lines) ? "lines" : "line"} ${reason.lines}`) || <Foreign of={reason.path} /> },
  {
    head: "Item",
    kind: "text",
    cell: (reason) =>
      reason.item_id ? <a href={link(["inbox"], { item: reason.item_id, verdict: "any" })}><Foreign of={reason.title || (reason.table ?? "")} /></a> : <Foreign of={reason.title || "–"} />,
  },
  { head: "Because", kind: "text", cell: (reason) => <Foreign of={inZone(reason.because)} /> },
  { head: "To change it", kind: "text", cell: (reason) => <Foreign of={reason.remedy} /> },
  { head: "Agent", cell: (reason) => <a href={link(["agents", reason.agent])}>{reason.agent}</a> },
];

export function Why(): JSX.Element {
  const { query } = place.value;
  const [path, text] = [query.get("path") ?? "", query.get("text") ?? ""];
  const asked = { path, agent: query.get("agent") };
  const found = useReading("/v1/why", { query: asked, when: path !== "" });
  return (
    <Page title="Why" command={path ? commandOf(`hub why ${quoted(path)}`, { agent: asked.agent ?? undefined }) : ""}>
      <p class="quiet">What became of each line of a file, why of others nothing did, and what changes that.</p>
      <Search fields={[TEXT_FIELD, { name: "path", label: "file" }, { name: "agent" }]} />
      {text !== "" && <Found text={text} />}
      {path === "" && text === "" && <Files agent={asked.agent} />}
      {path !== "" && (
        <Read of={found}>
          {({ reasons }) => (
            <Table label="Reasons" columns={COLUMNS} rows={reasons} id={(reason) => `${reason.agent} ${reason.lines} ${reason.code} ${reason.item_id ?? ""} ${reason.because}`} empty="" />
          )}
        </Read>
      )}
    </Page>
  );
}

const FOUND: readonly Column<ItemView>[] = [
  { head: "File", kind: "main", cell: (item) => <a href={whyOf(item.path, item.agent)}><Foreign of={item.path} /></a> },
  { head: "Item", kind: "text", cell: (item) => <Foreign of={item.title} /> },
];

/** The files that have a text in their names, or in what was found in them. */
function Found({ text }: { text: string }): JSX.Element {
  const items = useReading("/v1/items", { query: { text, limit: FILES, each: true }, kinds: ["item"] });
  return <Read of={items}>{(data) => <Table label="Files" columns={FOUND} rows={data.items} id={(item) => item.id} empty="Nothing was found with this text. A file without a suggestion is found by its name:  file:NAME" />}</Read>;
}

/** The files that runs have read last, and what they kept back; of all agents or one. */
function Files({ agent }: { agent: string | null }): JSX.Element {
  const runs = useReading("/v1/runs", { query: { agent, limit: FILES }, kinds: ["run"] });
  return (
    <Read of={runs}>
      {(data) => {
        const reading = data.runs.filter((run) => run.units_done > 0 || run.units_skipped === 0).slice(0, RUNS);
        return (
          <>
            {data.runs[0] && <LeftOut of={data.runs[0]} unit="file" />}
            {reading.map((run) => <OfRun key={run.id} of={run} />)}
            {reading.length === 0 && <p class="empty">No file was read lately.</p>}
          </>
        );
      }}
    </Read>
  );
}

const COLUMNS_OF_FILES = (agent: string): readonly Column<UnitView>[] => [
  { head: "File", kind: "main", cell: (unit) => <a href={whyOf(unit.path, agent)}><Foreign of={unit.path} /></a> },
  { head: "Found", kind: "text", cell: (unit) => unit.error ?? (unit.state === "DONE" ? (unit.items > 0 ? count(unit.items) : "nothing") : <State of={unit.state} />) },
];

function OfRun({ of: run }: { of: RunView }): JSX.Element {
  const units = useReading("/v1/runs/{run_id}/units", { params: { run_id: run.id }, query: { limit: FILES }, kinds: ["run"] });
  return (
    <Section title={`Read ${soon(run.completed_at ?? run.created_at, now.value)}`} more={<a href={link(["runs", run.id])}>{count(run.units_done)} {run.units_done === 1 ? "file" : "files"}</a>}>
      <Read of={units}>{(data) => <Table label="Files" columns={COLUMNS_OF_FILES(run.agent)} rows={data.units} id={(unit) => unit.path} empty="No file was new." />}</Read>
    </Section>
  );
}
