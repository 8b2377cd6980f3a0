// Runs in a list, as several pages show them.
import type { ComponentChildren, JSX } from "preact";
import { useState } from "preact/hooks";
import { between, count, inZone, money, soon } from "../format";
import { now } from "../live";
import { type Column, State, Table, Time } from "../parts";
import { link } from "../router";
import type { RunView } from "../types";

const NAMED = 3; // agents of runs in one row

export function RunState({ of }: { of: RunView }): JSX.Element {
  if (of.outcome === "error") return <State of="failed" />; // as filters and counts name it
  return <State of={of.outcome && of.outcome !== "success" ? of.outcome : of.state} />;
}

/** Return what started a run, in words. */
export function startedBy({ trigger }: RunView): string {
  return trigger === "change" ? "a saved file" : trigger;
}

/** Return the address of the items that a run delivered. */
export function itemsOf({ id }: RunView): string {
  return link(["inbox"], { run: id, verdict: "any" });
}

export function Done({ of }: { of: RunView }): JSX.Element {
  const done = of.units_done + of.units_skipped;
  const isCounted = of.completed_at !== null || of.units_total >= Math.max(1, done);
  const text = `${count(done)} of ${isCounted ? count(of.units_total) : "?"}`;
  return (
    <span class="done">
      {of.units_total > 0 && <progress max={of.units_total} value={done} aria-label={text} />}
      {text}
    </span>
  );
}

/** A run, or several without news in one row. */
interface Row {
  readonly run: RunView;
  readonly others: readonly RunView[];
  /** The runs without news, with those that the hub has folded; 1: a run like any other. */
  readonly count: number;
}

function hasNews(run: RunView): boolean {
  return run.outcome !== "success" || run.items_created + run.items_updated + run.error_count > 0;
}

/** Fold the runs without news into one row, in the place of the newest. */
function folded(runs: readonly RunView[]): readonly Row[] {
  const quiet = runs.filter((run) => !hasNews(run));
  const count = quiet.reduce((sum, run) => sum + 1 + run.folded, 0);
  return runs.flatMap((run) => {
    if (hasNews(run) || count === 1) return [{ run, others: [], count: 1 }];
    return run === quiet[0] ? [{ run, others: quiet.slice(1), count }] : [];
  });
}

function began(run: RunView): string {
  return run.started_at ?? run.created_at;
}

function columnsOf(isOpen: boolean, toggle: () => void): readonly Column<Row>[] {
  const unless = (cell: (run: RunView) => ComponentChildren) => (row: Row) => (row.count > 1 ? "" : cell(row.run));
  return [
    {
      head: "Run",
      kind: "main",
      cell: ({ run, others, count: number }) => {
        if (number === 1) return <a href={link(["runs", run.id])}><Time at={began(run)} /></a>;
        const first = [run, ...others].map((one) => one.folded_since ?? began(one)).sort()[0] as string;
        return (
          <button type="button" class="turn" aria-expanded={isOpen} onClick={toggle}>
            {count(number)} runs without news since {soon(first, now.value).replace("today ", "")}
          </button>
        );
      },
    },
    { head: "State", cell: ({ run }) => <RunState of={run} /> },
    {
      head: "Agent",
      cell: ({ run, others }) => {
        const names = [...new Set([run, ...others].map((one) => one.agent))];
        const links = names.slice(0, NAMED).map((name) => <a class="listed" key={name} href={link(["agents", name])}>{name}</a>);
        return <>{links}{names.length > NAMED && ` and ${count(names.length - NAMED)} more`}</>;
      },
    },
    { head: "Device", cell: unless((run) => run.device) },
    { head: "Because", cell: unless((run) => run.waiting_for ?? (run.folded > 0 ? startedBy(run) : run.because && inZone(run.because)) ?? run.left_because ?? startedBy(run)) },
    { head: "Files", kind: "number", cell: unless((run) => <Done of={run} />) },
    { head: "Items", kind: "number", cell: unless((run) => <a href={itemsOf(run)}>{count(run.items_created)}{run.items_updated > 0 && `, ${count(run.items_updated)} updated`}</a>) },
    { head: "Errors", kind: "number", cell: unless((run) => count(run.error_count)) },
    { head: "Took", kind: "number", cell: unless((run) => between(run.started_at, run.completed_at, now.value)) },
    { head: "Cost", kind: "number", cell: unless((run) => money(run.usd)) },
  ];
}

interface TableProps {
  readonly runs: readonly RunView[];
  readonly empty: ComponentChildren;
  /** Rows that are shown; by default all. */
  readonly most?: number;
}

export function RunTable({ runs, empty, most }: TableProps): JSX.Element {
  const [isOpen, setOpen] = useState(false);
  const rows = folded(runs).slice(0, most);
  const shown = isOpen ? rows.flatMap((row) => (row.count > 1 ? [row, ...[row.run, ...row.others].map((run) => ({ run, others: [], count: 1 }))] : [row])) : rows;
  const columns = columnsOf(isOpen, () => setOpen(!isOpen));
  return <Table label="Runs" columns={columns} rows={shown} id={({ run, count }) => `${run.id} ${count > 1}`} empty={empty} />;
}
