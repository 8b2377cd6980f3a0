// Runs in a list, as several pages show them.
import type { JSX } from "preact";
import { between, count, money } from "../format";
import { now } from "../live";
import { type Column, State, Table, Time } from "../parts";
import { link } from "../router";
import type { RunView } from "../types";

export function RunState({ of }: { of: RunView }): JSX.Element {
  if (of.outcome === "error") return <State of="failed" />; // as filters and counts name it
  return <State of={of.outcome && of.outcome !== "success" ? of.outcome : of.state} />;
}

/** Return the address of the items that a run delivered. */
export function itemsOf({ id }: RunView): string {
  return link(["review"], { run: id, verdict: "any" });
}

export function Done({ of }: { of: RunView }): JSX.Element {
  const text = `${count(of.units_done + of.units_skipped)} of ${count(of.units_total)}`;
  return (
    <span class="done">
      {of.units_total > 0 && <progress max={of.units_total} value={of.units_done + of.units_skipped} aria-label={text} />}
      {text}
    </span>
  );
}

const COLUMNS: readonly Column<RunView>[] = [
  {
    head: "Run",
    kind: "main",
    cell: (run) => (
      <a href={link(["runs", run.id])}>
        <Time at={run.started_at ?? run.created_at} />
      </a>
    ),
  },
  { head: "State", cell: (run) => <RunState of={run} /> },
  { head: "Agent", cell: (run) => <a href={link(["agents", run.agent])}>{run.agent}</a> },
  { head: "Device", cell: (run) => run.device },
  { head: "Because", cell: (run) => run.waiting_for ?? run.because ?? run.trigger },
  { head: "Files", kind: "number", cell: (run) => <Done of={run} /> },
  { head: "Items", kind: "number", cell: (run) => <a href={itemsOf(run)}>{count(run.items_created + run.items_updated)}</a> },
  { head: "Errors", kind: "number", cell: (run) => count(run.error_count) },
  { head: "Took", kind: "number", cell: (run) => between(run.started_at, run.completed_at, now.value) },
  { head: "Cost", kind: "number", cell: (run) => money(run.usd) },
];

export function RunTable({ runs, empty }: { runs: readonly RunView[] | undefined; empty: string }): JSX.Element {
  return <Table label="Runs" columns={COLUMNS} rows={runs} id={(run) => run.id} empty={empty} />;
}
