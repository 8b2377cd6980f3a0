// What became of a file or a line of it in each agent, and why of others nothing did.
import type { JSX } from "preact";
import { commandOf, quoted } from "../format";
import { type Column, Foreign, Page, Read, Table } from "../parts";
import { useReading } from "../reading";
import { link, place } from "../router";
import { Search } from "../search";
import type { Reason } from "../types";

/** Return the address at which the lines of a file are explained. */
export function whyOf(path: string, agent: string): string {
  return link(["why"], { path, agent });
}

const COLUMNS: readonly Column<Reason>[] = [
  { head: "Lines", kind: "main", cell: (reason) => reason.lines || <Foreign of={reason.path} /> },
  {
    head: "Item",
    kind: "text",
    cell: (reason) =>
      reason.item_id ? <a href={link(["inbox"], { item: reason.item_id, verdict: "any" })}><Foreign of={reason.title || (reason.table ?? "")} /></a> : <Foreign of={reason.title || "–"} />,
  },
  { head: "Because", kind: "text", cell: (reason) => <Foreign of={reason.because} /> },
  { head: "To change it", kind: "text", cell: (reason) => <Foreign of={reason.remedy} /> },
  { head: "Agent", cell: (reason) => <a href={link(["agents", reason.agent])}>{reason.agent}</a> },
];

export function Why(): JSX.Element {
  const { query } = place.value;
  const path = query.get("path") ?? "";
  const asked = { path, agent: query.get("agent") };
  const found = useReading("/v1/why", { query: asked, when: path !== "" });
  return (
    <Page title="Why" command={path ? commandOf(`hub why ${quoted(path)}`, { agent: asked.agent ?? undefined }) : ""}>
      <p class="quiet">What became of each line of a file, why of others nothing did, and what changes that.</p>
      <Search fields={[{ name: "path", label: "file", isText: true }, { name: "agent" }]} />
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
