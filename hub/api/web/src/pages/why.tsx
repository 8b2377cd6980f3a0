// What became of a file or a line of it in each agent, and why of others nothing did; how a file is found.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { refused } from "../acting";
import { commandOf, count, inZone, quoted, soon } from "../format";
import { now } from "../live";
import { type Column, Foreign, Page, Read, State, Table } from "../parts";
import { useReading } from "../reading";
import { link, place } from "../router";
import { Search, TEXT_FIELD } from "../search";
import { ask } from "../server";
import type { ItemView, Reason, RunView, UnitView } from "../types";
import { MOST } from "../verdicts";
import { LeftOut } from "./sources";

const RUNS = 10; // whose files are listed
const FILES = 100; // of each, and found by a text

/** Return the address at which the lines of a file are explained. */
export function whyOf(path: string, agent: string): string {
  return link(["why"], { path, agent });
}

/** Return how much of a text was not read, as nothing or one remark. */
export function unread({ unread_chars: chars, unread_lines: lines }: UnitView["notes"]): readonly string[] {
  return typeof chars === "number" && typeof lines === "number" ? [`sentences in ${count(lines)} ${lines === 1 ? "line" : "lines"} not read (${count(chars)} characters)`] : [];
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

type ReadFile = UnitView & { readonly run: RunView };

function keyOf({ run, path }: ReadFile): string {
  return `${run.agent} ${path}`;
}

/** Return what a file has now: 2 waiting, 1 approved. */
function held(items: readonly ItemView[]): string {
  const states = items.map(({ verdict }) => ({ open: "waiting", held: "less sure", edited: "changed or done" })[verdict as string] ?? verdict);
  return [...new Set(states)].map((state) => `${count(states.filter((one) => one === state).length)} ${state}`).join(", ") || "nothing";
}

/** The files that runs have read last, each once, with what it has now, and what was kept back; of all agents or one. */
function Files({ agent }: { agent: string | null }): JSX.Element {
  const runs = useReading("/v1/runs", { query: { agent, limit: FILES }, kinds: ["run"] });
  const items = useReading("/v1/items", { query: { agent, limit: MOST, each: true }, kinds: ["item", "verdict"] });
  const unsure = useReading("/v1/items", { query: { agent, limit: MOST, unsure: true }, kinds: ["item", "verdict"] });
  const all = [...(items.data?.items ?? []), ...(unsure.data?.items ?? [])];
  const [files, setFiles] = useState<readonly ReadFile[]>();
  useEffect(() => {
    const of = async (run: RunView): Promise<readonly ReadFile[]> => (await ask("get", "/v1/runs/{run_id}/units", { params: { run_id: run.id }, query: { limit: FILES } })).units.map((unit) => ({ ...unit, run }));
    if (runs.data) Promise.all(runs.data.runs.filter((run) => run.units_done > 0 || run.units_skipped === 0).slice(0, RUNS).map(of)).then((all) => setFiles(all.flat().filter((file, at, every) => every.findIndex((other) => keyOf(other) === keyOf(file)) === at)), refused);
  }, [runs.data]);
  const columns: readonly Column<ReadFile>[] = [
    { head: "File", kind: "main", cell: ({ path, run }) => <a href={whyOf(path, run.agent)}><Foreign of={path} /></a> },
    { head: "Read", cell: ({ run }) => soon(run.completed_at ?? run.created_at, now.value) },
    { head: "Has", kind: "text", cell: (file) => file.error ?? (file.state === "DONE" ? [held(all.filter(({ agent, path }) => agent === file.run.agent && path === file.path)), ...unread(file.notes)].join(", ") : <State of={file.state} />) },
  ];
  return (
    <Read of={runs}>
      {({ runs: [last] }) => (
        <>
          {last && <LeftOut of={last} unit="file" />}
          {files && items.data && unsure.data && <Table label="Files" columns={columns} rows={files} id={keyOf} empty="No file was read lately." />}
        </>
      )}
    </Read>
  );
}
