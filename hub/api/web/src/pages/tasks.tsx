// What was approved: tasks and events by their days, to tick, change and find; where each is besides, and since when.
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { report } from "../acting";
import { beginOf, dayHeading, dayOf, daysUntil, exact, soon } from "../format";
import { BeingSaved, Delay, refusalOf, reportUndoing, titled } from "../inbox";
import { type Key, moveFocus, useKeys } from "../keys";
import { now } from "../live";
import { may } from "../me";
import { Command, Details, Elsewhere, Foreign, Page, Pager, Read, Time } from "../parts";
import { useReading } from "../reading";
import { place } from "../router";
import { Search, TEXT_FIELD } from "../search";
import type { ApprovedItemView, PlaceView, TasksOfDevice } from "../types";
import { type Values, decided, failures, forget, give, refuse, refusedOf, undo, withdraw } from "../verdicts";
import { Due } from "./item_card";
import { Editor, shown } from "./item_editor";
import { whyOf } from "./why";

const KINDS = ["item", "verdict", "device"] as const;
const EVERY_MS = 10_000; // a change of a row that was changed before has no event
const EDITED = ["title", "dueDate", "date", "priority", "assignee"];
const CHANGED = "changed_meanwhile";
const GROUPS = ["Overdue or past", "Today", "Next 7 days", "Later", "Without a day"] as const;
const GRANT = "hub grants +review.remote=marked,approved";
const READING = "hub grants +rows.read=tasks,notes,timelines,projects,taskComments";

/** A row with what was changed here and its device has not yet. */
interface Task {
  readonly row: ApprovedItemView;
  readonly data: Values;
  readonly title: string;
  /** As in 2027-02-03, or a time; empty: it has none. */
  readonly day: string;
  readonly isDone: boolean;
  /** What was changed has not reached its device. */
  readonly isWaiting: boolean;
}

function taskOf(row: ApprovedItemView): Task {
  const mine = decided.value.get(row.id);
  const isMine = mine?.verdict === "edit" && mine.seenRow === row.seen_row;
  const isHere = row.given?.verdict === "edit" && (row.given.state === "pending" || row.given.state === "sent");
  const data: Values = { ...row.data, ...(isMine && mine.data) };
  const text = String(data["dueDate"] ?? data["date"] ?? "");
  const date = dayOf(new Date(text));
  const day = Date.parse(beginOf(date) ?? "") === Date.parse(text) ? date : text; // a day that a program wrote has no zone
  const isPast = row.table === "timelines" && daysUntil(day, now.value) < 0;
  return { row, data, title: String(data["title"] ?? ""), day, isDone: isPast || data["status"] === "done", isWaiting: isMine || (isHere && mine !== null) };
}

/** Return why a row cannot be changed here; empty: it can. */
function fixed({ id, device_refuses }: ApprovedItemView): string {
  if (!may("review")) return "You may look at it only.";
  if (!id) return "You wrote it yourself: change it where you wrote it.";
  return device_refuses ? `It is changed on its own computer, unless that allows it: ${GRANT}` : "";
}

function change({ row, title: before }: Task, data: Values): void {
  const why = fixed(row);
  if (why) return report(why, true);
  if (!give([row], "edit", data)) return;
  const again = data["status"] === "done" && row.repeats && ` (${row.repeats}: the next one is not made here; write its day where you keep it)`;
  const isReopened = data["status"] === "todo" && Object.keys(data).length === 1;
  report(<>{data["status"] === "done" ? "Done" : isReopened ? "Open again" : "Changed"}: {titled([{ ...row, title: String(data["title"] ?? before) }])}{again}</>, false, takeBack);
}

/** Tick a task, or take its tick back: one that is on its way is taken back before it arrives. */
function tick(task: Task): void {
  if (task.row.table !== "tasks") return;
  if (!task.isWaiting) return change(task, { status: task.isDone ? "todo" : "done" });
  withdraw(task.row);
  report(<>What was on its way is taken back: {task.title}</>);
}

/** Return what the newest decision about a row is taken back as. */
function backOf({ given }: ApprovedItemView): string {
  if (given?.verdict === "undo") return "Try to take it back again";
  return `Take back the ${given?.verdict === "edit" ? "last change" : given?.verdict === "reject" ? "rejection of its change" : "approval"}`;
}

/** Take the newest decision about a row back. An approval as it was found, without a mark, can be given again. */
function takeBackOf({ row, title }: Task): void {
  const isPlain = row.verdict === "approved" && row.given?.verdict === "approve" && row.warnings.length === 0;
  const again = (): void => (give([row], "approve") ? report(<>Approved again: {titled([{ ...row, title }])}</>) : undefined);
  if (withdraw(row)) report(<>{row.given?.verdict === "edit" ? "The last change is taken back" : row.given?.verdict === "undo" ? "Taken back" : "Taken back: in the Inbox again, less sure if so before"}: {titled([{ ...row, title }])}</>, false, isPlain ? again : undefined);
}

function takeBack(): void {
  const step = undo();
  if (step) reportUndoing(step.items);
  else report("There is nothing to undo.");
}

export function Tasks(): JSX.Element {
  const { query } = place.value;
  const [edited, setEdited] = useState<string>();
  const [isUnfolded, setUnfolded] = useState(false);
  const begin = beginOf(dayOf(new Date(now.value)));
  const asked = { begin, text: query.get("text"), limit: 100 };
  const isUndone = [...decided.value.values()].includes(null); // a row that stays done says there that its undo was refused
  const open = useReading("/v1/tasks", { query: { ...asked, cursor: query.get("cursor") }, kinds: KINDS, every: EVERY_MS });
  const done = useReading("/v1/tasks", { query: { ...asked, done: true, cursor: query.get("done") }, kinds: KINDS, every: EVERY_MS, when: isUnfolded || isUndone });
  const tasks = (open.data?.tasks ?? []).map(taskOf);
  const read = (done.data?.tasks ?? []).map(taskOf);
  const past = isUnfolded ? read : [];
  const all = [...tasks, ...past];
  const act = (then: (task: Task) => void) => (): void => {
    const task = all.find(({ row }) => row.row_id === (document.activeElement as HTMLElement | null)?.dataset["task"]);
    if (task) then(task);
    else moveFocus(0);
  };
  const edit = ({ row }: Task): void => (fixed(row) ? report(fixed(row), true) : setEdited(row.id));
  const keys: readonly Key[] = [
    { key: "x", about: "done, or not done", action: act(tick) },
    { key: " ", about: "the same", action: act(tick) },
    { key: "e", about: "change it", action: act(edit) },
    { key: "u", about: "take the last change back", action: takeBack },
  ];
  useKeys(may("review") ? keys : []);
  useFocus();
  useRefusals([...tasks, ...read].map(({ row }) => row));
  const rows = (of: readonly Task[]): JSX.Element => (
    <ul class="cards tasks">
      {of.map((task) => (
        <Row key={task.row.row_id} task={task} edit={() => edit(task)} isEdited={edited === task.row.id && edited !== ""} close={() => setEdited(undefined)} />
      ))}
    </ul>
  );
  return (
    <Page title="Tasks">
      <Search fields={[TEXT_FIELD]} />
      <p class="quiet" role="status">
        <BeingSaved after="" />
      </p>
      <Delay />
      {(open.data?.devices ?? []).map((one) => (
        <Away key={one.name} of={one} />
      ))}
      {tasks.some(({ row }) => row.device_refuses === "not_granted") && (
        <p class="banner">
          <strong>They are changed on their own computer.</strong> To tick and change them here, type on that computer: <Command text={GRANT} />
        </p>
      )}
      <Read of={open}>
        {({ next_cursor }) => (
          <>
            {tasks.length === 0 && (
              <p class="empty">
                {query.get("text") ? "No task is called so." : <>Nothing is to be done. What you approve in the <a href="/inbox">Inbox</a> comes here, and to your <a href="/places">Places</a>.</>}
              </p>
            )}
            {GROUPS.map((group) => [group, tasks.filter(({ day }) => dayHeading(day, now.value) === group)] as const).map(([group, of]) => of.length > 0 && (
              <section key={group} class="section">
                <h2>{group} <span class="quiet">{of.length}</span></h2>
                {rows(of)}
              </section>
            ))}
            <Pager next={next_cursor} />
          </>
        )}
      </Read>
      {tasks.some(({ row }) => row.path.endsWith(".md") && row.places.length === 0) && <p class="quiet">A tick here leaves the boxes in your notes, as of Obsidian, as they are. To tick them, too: <Command text="hub help places" /></p>}
      <details class="section" onToggle={(event) => setUnfolded(event.currentTarget.open)}>
        <summary>Done</summary>
        {isUnfolded && (
          <Read of={done}>
            {({ next_cursor }) => (
              <>
                {past.length === 0 ? <p class="empty">Nothing is done yet.</p> : rows(past)}
                <Pager next={next_cursor} name="done" />
              </>
            )}
          </Read>
        )}
      </details>
    </Page>
  );
}

/** Keep the focus at its place in the list when its row leaves the list. */
function useFocus(): void {
  const at = useRef(-1);
  useLayoutEffect(() => {
    const all = [...document.querySelectorAll<HTMLElement>("main [data-task]")];
    const found = all.indexOf(document.activeElement as HTMLElement);
    if (found < 0 && at.current >= 0 && document.activeElement === document.body) all[Math.min(at.current, all.length - 1)]?.focus();
    else at.current = found;
  });
}

/** Note the changes that devices have refused, so that each row shows its present values and asks again. */
function useRefusals(rows: readonly ApprovedItemView[]): void {
  useEffect(() => {
    for (const row of refusedOf(rows)) {
      const data = decided.value.get(row.id)?.data;
      forget([row.id]);
      const why = whyRefused(row);
      refuse(row.id, { why, data: row.given?.reason === CHANGED ? data : undefined });
      report(<>{row.title} is not changed: {why}</>, true);
    }
  });
}

/** Return why the last change of a row was refused; empty: it was not. */
function whyRefused(row: ApprovedItemView): string {
  const { given } = row;
  if (given?.state !== "refused") return "";
  return given.verdict === "edit" && given.reason === CHANGED ? "it was changed meanwhile" : `its computer refused it: ${refusalOf(row)}`;
}

const STATES: Readonly<Record<Exclude<TasksOfDevice["state"], "present">, string>> = {
  away: "this computer is away. What you change waits until it is back",
  elsewhere: "this computer is connected to another node of the hub, which knows them as they are now",
  not_granted: "what was changed on this computer since is not shown",
  not_owner: "what was changed on this computer since is not shown, as this page is not its owner's",
  call_unsupported: "the program on this computer is too old to show them as they are now, and to change them: update it there",
  unanswered: "this computer did not answer just now",
};

/** Says why tasks are shown as the hub knows them. */
function Away({ of: { name, state, last_seen_at: at } }: { of: TasksOfDevice }): JSX.Element | null {
  if (state === "present") return null;
  return (
    <p class="banner" role="status">
      <Foreign of={name} />: {state === "away" && at ? `as of ${soon(at, now.value)}, ` : ""}{STATES[state]}.
      {state === "not_granted" && <> Its owner allows it there by <Command text={READING} /></>}
      {state === "not_owner" && <> Its owner opens the page there by <Command text="hub open" /></>}
    </p>
  );
}

function Row({ task, edit, isEdited, close }: { task: Task; edit: () => void; isEdited: boolean; close: () => void }): JSX.Element {
  const { row, data, title, day, isDone, isWaiting } = task;
  const detail = useReading("/v1/items/{item_id}", { params: { item_id: row.id }, when: isEdited });
  const failure = failures.value.get(row.id);
  const isTask = row.table === "tasks";
  const why = fixed(row);
  if (isEdited && detail.data) {
    const of = { ...detail.data, seen_row: row.seen_row, data: { ...data, projectId: null }, fields: detail.data.fields.filter(({ name }) => EDITED.includes(name)) };
    return <li><Editor of={of} failure={failure} label="Save" approve={(values, { seen_row }) => (close(), change({ ...task, row: { ...row, seen_row } }, values))} close={close}>{row.given && (row.given.verdict === "undo") === (row.given.state === "refused") && <button type="button" onClick={() => (close(), takeBackOf(task))}>{backOf(row)}</button>}</Editor></li>;
  }
  const priority = data["priority"] === "high" || data["priority"] === "low" ? `${data["priority"]} priority` : "";
  const facts = [shown(data["assignee"]), shown(data["projectId"]), priority].filter(Boolean);
  return (
    <li>
      {isTask ? <label class="tick"><input type="checkbox" data-task={row.row_id} aria-label={`Done: ${title.slice(0, 80)}`} checked={isDone} disabled={why !== ""} title={why} onChange={() => tick(task)} /></label> : <span class="tick" title="event" aria-hidden="true"><span /></span>}
      <div class="task">
        <button type="button" class="bare" {...(!isTask || why ? { "data-task": row.row_id ?? "" } : {})} title={why || "Change it"} onClick={edit}>
          <Foreign class={isDone ? "title done" : "title"} of={title || "no title"} />
        </button>
        <Details>
          {day && <Due day={day} isTask={isTask} isOpen={!isDone} />}
          {!isTask && <span>event</span>}
          {facts.map((fact) => <Foreign key={fact} of={fact} />)}
          {row.places.map((one) => <span key={one.name}><PlaceName of={one} /></span>)}
          {row.path && <span>from <a href={whyOf(row.path, row.agent)} title={row.path}><Foreign class="path" of={row.path.split("/").at(-1) ?? ""} /></a></span>}
          {!isDone && row.warnings.includes("missing") && <span>its line is not in that file any more</span>}
          {isDone && isTask && <span>changed <Time at={String(data["updatedAt"] ?? "") || null} /></span>}
          {!row.is_present && row.verdict === "edited" && row.given?.verdict !== "edit" && <span>changed on its computer since</span>}
          {isWaiting && <span>on its way to its computer</span>}
          {!failure && !isWaiting && whyRefused(row) && <span>not changed: {whyRefused(row)}</span>}
        </Details>
        {failure && (
          <p class="banner" role="status">
            Not changed: {failure.why}. This is how it is now.{" "}
            {failure.data && <button type="button" onClick={() => change(task, failure.data ?? {})}>Change it all the same</button>}
          </p>
        )}
      </div>
    </li>
  );
}

/** Where a task is besides, and since when it waits there. */
function PlaceName({ of }: { of: PlaceView }): JSX.Element {
  const text = of.state === "arrived" ? `also in ${of.name}` : `${of.sentence}, since ${exact(of.since)}`;
  return <Elsewhere to={of.link}><Foreign class={of.state === "arrived" ? "path" : ""} of={text} title={of.link ?? ""} /></Elsewhere>;
}
