// What waits for a person: items in a list, and one of them with its words, to approve, edit or reject by key.
import { signal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { SHOWN_MS, outcome, report } from "../acting";
import { balanced, commandOf, exact } from "../format";
import { type Key, useKeys } from "../keys";
import { isAtDevice, may } from "../me";
import { Choice, Command, Facts, Filter, Foreign, Page, Pager, Read, Refused, Section, State, Time } from "../parts";
import { useReading } from "../reading";
import { go, link, place } from "../router";
import { Refusal, ask } from "../server";
import { MARKS } from "../types";
import type { ItemCountsView, ItemDetail, ItemPlace, ItemView, NewVerdictView } from "../types";
import { Editor, facts } from "./item_editor";

const ROWS = 50;
const MOST = 500; // verdicts in one request
const VERDICTS = ["approved", "edited", "rejected", "any"];
const DONE = { approve: "Approved", reject: "Rejected" } as const;
const KINDS = ["item", "verdict", "device"] as const;
type Verdict = keyof typeof DONE;
type Values = Readonly<Record<string, unknown>>;
interface Decided {
  readonly verdict: Verdict;
  /** When the verdict before it was given, which its device may have refused. */
  readonly after: string | undefined;
}

/** Leads to the items that are listed apart, and back. */
function Apart({ count, isShown, query }: { count: number; isShown: boolean; query: Readonly<Record<string, string>> }): JSX.Element | null {
  if (isShown) return <a href={link(["review"], { ...query, apart: undefined, item: undefined, cursor: undefined })}>← Other items</a>;
  if (count === 0 || query["warning"] || query["run"]) return null;
  return (
    <a href={link(["review"], { ...query, apart: "true", item: undefined, cursor: undefined })}>
      {count} of unknown authors, listed apart
    </a>
  );
}

/** What was decided here, by item: its device answers later. */
const decided = signal<ReadonlyMap<string, Decided>>(new Map());
/** Items whose verdict can be undone, and until when. */
let undoable: { readonly ids: readonly string[]; readonly until: number } = { ids: [], until: 0 };

export function Review(): JSX.Element {
  const query = Object.fromEntries(place.value.query);
  const verdict = query["verdict"] ?? "open";
  const { agent, run, table, device, warning, path, text } = query;
  // Agents list items of unknown authors apart; a run's items, and those of one warning, are shown together.
  const apart = query["apart"] ?? (run !== undefined || warning !== undefined ? undefined : "false");
  const filters = { agent, run, table, device, warning, path, text };
  const asked = { ...filters, apart, verdict: verdict === "any" ? undefined : verdict };
  const items = useReading("/v1/items", { query: { ...asked, cursor: query["cursor"], limit: ROWS }, kinds: KINDS });
  const counts = useReading("/v1/items/counts", { query: asked, kinds: KINDS });
  const hasFilter = verdict !== "open" || Object.entries(asked).some(([name, value]) => name !== "verdict" && value);
  const rows = items.data?.items ?? [];
  const id = query["item"] ?? rows[0]?.id;
  const item = useReading("/v1/items/{item_id}", { params: { item_id: id ?? "" }, kinds: KINDS, when: id !== undefined });
  const [chosen, setChosen] = useState<ReadonlyMap<string, ItemView>>(new Map());
  const [edited, setEdited] = useState<string>();
  const [refused, setRefused] = useState<{ readonly id: string | undefined; readonly why: string }>();

  const mayJudge = may("review");
  const isUndecided = (one: ItemView): boolean =>
    mayJudge && one.verdict === "open" && !decided.value.has(one.id) && !isOnItsWay(one);
  const isOpen = (one: ItemView): boolean => isUndecided(one) && !one.device_refuses;
  const current = item.data?.id === id ? item.data : undefined;
  const isWaiting = current !== undefined && isOpen(current);
  const mayApprove = isWaiting && !current.needs_owner;
  const isEditing = mayApprove && edited === id;
  const judged = chosen.size > 0 ? [...chosen.values()].filter(isOpen) : isWaiting ? [current] : [];

  useEffect(() => {
    // Their devices have refused the verdicts: the items wait again.
    const known = current ? [...rows.filter((row) => row.id !== current.id), current] : rows;
    const refused = known.filter(
      (row) => decided.value.has(row.id) && row.given?.state === "refused" && row.given.created_at !== decided.value.get(row.id)?.after,
    );
    if (refused.length === 0) return;
    forget(refused.map((row) => row.id));
    undoable = { ...undoable, ids: undoable.ids.filter((one) => !refused.some((row) => row.id === one)) };
    const why = because(refused[0]?.given?.reason);
    report(<>{titled(refused)} {refused.length === 1 ? "waits" : "wait"} again: the device refused the verdict{why && ` (${why})`}</>, true);
  }, [items.data, current]);

  function show(next: string | undefined): void {
    setEdited(undefined);
    if (next === undefined) return;
    go(link(["review"], { ...query, item: next }), { replace: query["item"] !== undefined });
    requestAnimationFrame(() => document.querySelector<HTMLElement>(".picks [aria-current]")?.focus());
  }
  function move(step: number): void {
    const at = rows.findIndex((row) => row.id === id);
    show(rows[at < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, at + step))]?.id);
  }
  function toggle(one: ItemView): void {
    const rest = new Map(chosen);
    if (!rest.delete(one.id)) rest.set(one.id, one);
    setChosen(rest);
  }
  async function judge(verdict: Verdict, data?: Values): Promise<void> {
    if (verdict === "approve" && !data && chosen.size === 0 && isWaiting && current.lacks.length > 0) return setEdited(id);
    const them = (data && current ? [current] : judged).filter((one) => verdict === "reject" || !one.needs_owner);
    if (them.length === 0) return;
    const why = await give(them, verdict, data);
    setRefused({ id, why });
    if (!why) goOn();
  }
  /** Show the next item that waits: of this page, or of the next one. */
  function goOn(): void {
    setChosen(new Map());
    setEdited(undefined);
    const rest = rows.slice(rows.findIndex((row) => row.id === id) + 1);
    const next = [...rest, ...rows].find(isOpen);
    const cursor = items.data?.next_cursor;
    if (next) show(next.id);
    else if (cursor) go(link(["review"], { ...query, item: undefined, cursor }));
  }
  /** Select all items without a warning that the filters let through. */
  async function pickAll(): Promise<void> {
    if (warning !== undefined && warning !== "none") return report("Items with a warning are selected one by one.");
    const found = await waiting({ ...asked, warning: "none" });
    if (!found.some(isOpen)) return report("None of these items has no warning and can be decided here.", true);
    setChosen(new Map(found.filter(isOpen).map((row) => [row.id, row])));
  }
  async function rejectFile(): Promise<void> {
    if (!current) return;
    const found = await waiting({ path: current.path, device: current.device ?? undefined });
    const them = found.filter(isOpen);
    if (them.length > 0 && !(await give(them, "reject"))) goOn();
  }

  const keys: Key[] = [
    { key: "j", about: "next item", action: () => move(1) },
    { key: "k", about: "previous item", action: () => move(-1) },
  ];
  if (mayJudge) {
    keys.push(
      { key: "a", about: "approve the item, or those selected", action: () => void judge("approve") },
      { key: "e", about: "edit the item, and approve it", action: () => setEdited(id) },
      { key: "r", about: "reject the item, or those selected", action: () => void judge("reject") },
      { key: "u", about: "undo, within 8 seconds", action: () => void undo() },
      { key: "R", about: "reject all items of the file", action: () => void rejectFile() },
      { key: "x", about: "select the item", action: () => current && toggle(current) },
      { key: "A", about: "select all of these filters that have no warning", action: () => void pickAll() },
      { key: "Escape", about: "clear the selection", action: () => setChosen(new Map()) },
    );
  }
  useKeys(keys);
  const listing = verdict === "open" ? "hub items ls" : "hub items ls --all";
  const command = isAtDevice() ? "hub review" : commandOf(listing, filters);

  return (
    <Page title="Review" command={command}>
      <div class="review" data-open={query["item"] !== undefined}>
        <div class="review-list">
          <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
            <Filter name="text" label="Find" />
            <Choice name="verdict" label="Verdict" values={VERDICTS} none="waiting" />
            <Choice name="table" label="Table" counts={counts.data?.tables} />
            <Choice name="warning" label="Warning" none="all" counts={counts.data?.warnings} />
            <Choice name="path" label="Folder" counts={counts.data?.folders} />
            {!isAtDevice() && <Choice name="device" label="Device" counts={counts.data?.devices} />}
            {!isAtDevice() && <Choice name="agent" label="Agent" counts={counts.data?.agents} />}
            {run && <Filter name="run" label="Run" />}
          </form>
          <p class="quiet" role="status">
            {counts.data && total(counts.data, verdict === "open")}
          </p>
          <Apart count={counts.data?.warnings["apart"] ?? 0} isShown={apart === "true"} query={query} />
          {mayJudge && rows.some(isOpen) && (
            <div class="actions">
              <button type="button" onClick={() => void pickAll()}>
                Select all without a warning <kbd>A</kbd>
              </button>
              {chosen.size > 0 && <Judge count={judged.length} judge={judge} />}
            </div>
          )}
          <Read of={items}>
            {() => (
              <>
                {rows.length === 0 && <p class="empty">{hasFilter ? "No item is like this." : "Nothing waits for a decision. What agents find comes here."}</p>}
                <List rows={rows} current={id} query={query} chosen={chosen} toggle={mayJudge ? toggle : undefined} />
                <Pager next={items.data?.next_cursor} />
              </>
            )}
          </Read>
        </div>
        <div class="review-item">
          <a class="back" href={link(["review"], { ...query, item: undefined })}>
            ← All items
          </a>
          {id !== undefined && item.refusal && <Refused refusal={item.refusal} />}
          {id !== undefined && !current && !item.refusal && <div class="waiting" aria-busy="true" />}
          {current && (
            <Item of={current}>
              {isEditing && <Editor key={id} of={current} refused={refused?.id === id ? (refused?.why ?? "") : ""} approve={(data) => void judge("approve", data)} close={() => setEdited(undefined)} />}
              {isUndecided(current) && current.device_refuses && (
                <p class="banner" role="status">
                  <strong>Its device takes no verdict from here</strong>: {because(current.device_refuses)}.
                  {current.device_refuses === "not_granted" && (
                    <>
                      {" "}
                      On the device: <Command text="hub review --web" /> or, to decide here, <Command text="hub grants +review.remote" />
                    </>
                  )}
                </p>
              )}
              {isWaiting && current.needs_owner && (
                <p class="banner" role="status">
                  <strong>It has a mark, so only its owner approves or changes it.</strong> On the device: <Command text="hub review --web" /> or, to
                  decide here, <Command text="hub grants +review.remote=marked" />
                </p>
              )}
              {isUndecided(current) && current.device_is_elsewhere && (
                <p class="quiet">Its device is connected to another node of the hub: whether it takes a verdict from here is not known.</p>
              )}
              {isWaiting && !isEditing && chosen.size === 0 && (
                <div class="actions">
                  <Judge count={1} judge={judge} mayApprove={mayApprove} />
                  {mayApprove && (
                    <button type="button" onClick={() => setEdited(id)}>
                      Edit <kbd>e</kbd>
                    </button>
                  )}
                  <button type="button" onClick={() => void rejectFile()}>
                    Reject the file <kbd>R</kbd>
                  </button>
                </div>
              )}
            </Item>
          )}
        </div>
      </div>
    </Page>
  );
}

function Judge({ count, judge, mayApprove = true }: { count: number; judge: (verdict: Verdict) => Promise<void>; mayApprove?: boolean }): JSX.Element {
  const many = count > 1 ? ` ${count}` : "";
  return (
    <>
      {mayApprove && (
        <button type="button" class="main" disabled={count === 0} onClick={() => void judge("approve")}>
          Approve{many} <kbd>a</kbd>
        </button>
      )}
      <button type="button" disabled={count === 0} onClick={() => void judge("reject")}>
        Reject{many} <kbd>r</kbd>
      </button>
    </>
  );
}

interface ListProps {
  readonly rows: readonly ItemView[];
  readonly current: string | undefined;
  readonly query: Readonly<Record<string, string>>;
  readonly chosen: ReadonlyMap<string, ItemView>;
  readonly toggle: ((item: ItemView) => void) | undefined;
}

function List({ rows, current, query, chosen, toggle }: ListProps): JSX.Element {
  return (
    <ul class="cards picks">
      {rows.map((row) => (
        <li key={row.id}>
          {toggle && (
            <input
              type="checkbox"
              aria-label={`Select ${row.title.slice(0, 80)}`}
              checked={chosen.has(row.id)}
              onChange={() => toggle(row)}
            />
          )}
          <a href={link(["review"], { ...query, item: row.id })} aria-current={row.id === current ? "true" : undefined}>
            <Foreign class="title" of={row.title || "no title"} />
            <span class="quiet">
              {row.table} · <Foreign of={row.path} />
              {row.device && (
                <>
                  {" · "}
                  <Foreign of={row.device} />
                </>
              )}
            </span>
          </a>
          <Marks of={row} />
        </li>
      ))}
    </ul>
  );
}

function Marks({ of }: { of: ItemView }): JSX.Element {
  const verdict = decided.value.get(of.id)?.verdict;
  const on = verdict ? DONE[verdict].toLowerCase() : isOnItsWay(of) ? `${of.given?.verdict}: on its way` : undefined;
  return (
    <span class="marks">
      {of.warnings.map((warning) => (
        <State key={warning} of={warning} />
      ))}
      {of.verdict !== "open" ? <State of={of.verdict} /> : (on || of.given?.state === "refused") && <State of={on ?? "refused"} />}
    </span>
  );
}

const ORIGINS: Readonly<Record<NonNullable<ItemDetail["provenance"]>["origin"], string>> = {
  own: "a file of the device",
  shared: "a folder in which others write, too",
  mail: "mail",
  chat: "a chat",
  web: "a web page, or a webhook",
  attachment: "an attachment",
  calendar: "a calendar",
};

function Item({ of, children }: { of: ItemDetail; children: ComponentChildren }): JSX.Element {
  return (
    <article aria-labelledby="item-title">
      <h2 id="item-title">
        <Foreign of={of.title || "no title"} />
      </h2>
      {of.provenance && !(of.provenance.origin === "own" && of.provenance.trusted) && (
        <p class="quiet">
          From: {ORIGINS[of.provenance.origin]}
          {of.provenance.author && (
            <>
              , <Foreign of={of.provenance.author} />
            </>
          )}
          {!of.provenance.trusted && ", not verified"}
        </p>
      )}
      <Marks of={of} />
      {of.warnings.map((mark) => (
        <p key={mark} class="quiet">
          {mark.replaceAll("_", " ")}: {MARKS[mark] ?? "a newer release of the hub explains it"}
        </p>
      ))}
      {children}
      {of.place?.quote && <Source of={of.place} />}
      {of.place?.link && (
        <a href={of.place.link} target="_blank" rel="noreferrer">
          Open the message
        </a>
      )}
      <Section title={of.table}>
        <Facts rows={facts(of, of.data)} />
      </Section>
      {of.found && (
        <Section title="As it was found">
          <Facts rows={facts(of, of.found)} />
        </Section>
      )}
      {of.before && (
        <Section title="What the device has until then">
          <Facts rows={facts(of, of.before)} />
        </Section>
      )}
      <Section title="Where it comes from">
        <Facts
          rows={[
            ["Path", of.path],
            ["Characters", of.place && `${of.place.start} to ${of.place.end}`],
            ["Device", of.device && <a href={link(["devices", of.device])}>{of.device}</a>],
            ["Agent", of.agent && <a href={link(["agents", of.agent])}>{of.agent}</a>],
            ["Run", of.run_id && <a href={link(["runs", of.run_id])}><Time at={of.created_at} /></a>],
            ["Found", !of.run_id && <Time at={of.created_at} />],
            ["At the device", of.answered_at ? exact(of.answered_at) : "not yet"],
            ["Verdict", of.verdict_at && `${of.verdict}, ${exact(of.verdict_at)}`],
            ["Given here", of.given && given(of.given)],
          ]}
        />
      </Section>
    </article>
  );
}

/** The words of an item, marked in the lines around them. */
function Source({ of: { quote, excerpt } }: { of: ItemPlace }): JSX.Element {
  if (!excerpt) {
    return (
      <blockquote>
        <mark>{quote}</mark>
      </blockquote>
    );
  }
  const lines: ComponentChildren[][] = [[]];
  [excerpt.before, quote, excerpt.after].forEach((text, place) => {
    text.split(/\r?\n/).forEach((part, number) => {
      if (number > 0) lines.push([]);
      if (part) lines.at(-1)?.push(place === 1 ? <mark>{balanced(part)}</mark> : <span>{balanced(part)}</span>);
    });
  });
  return (
    <blockquote>
      <ol start={excerpt.line} aria-label="Lines of the source">
        {lines.map((line) => (
          <li>
            <div dir="auto">{line}</div>
          </li>
        ))}
      </ol>
    </blockquote>
  );
}

const REASONS: Readonly<Record<string, string>> = {
  not_granted: "its owner has not granted review.remote to the hub",
  call_unsupported: "the program of the device is too old for it: decide at the device",
  changed_meanwhile: "its owner decided otherwise, or the item has changed since",
  bad_record: "it does not fit the device's rows: no task, or several, are called so",
};

function given({ verdict, by, state, reason }: NonNullable<ItemDetail["given"]>): string {
  const end = { pending: "on its way", sent: "on its way", done: "done", refused: "the device refused it" }[state];
  return `${verdict} by ${by}: ${end}${reason ? ` (${because(reason)})` : ""}`;
}

function because(reason: string | null | undefined): string {
  return reason ? (REASONS[reason] ?? reason) : "";
}

function titled(items: readonly ItemView[]): ComponentChildren {
  const [one] = items;
  if (items.length !== 1 || !one) return `${items.length} items`;
  return (
    <>
      “<Foreign of={one.title.slice(0, 60)} />”
    </>
  );
}

function isOnItsWay(item: ItemView): boolean {
  return item.given?.state === "pending" || item.given?.state === "sent";
}

function total({ total, is_complete }: ItemCountsView, isWaiting: boolean): string {
  const number = is_complete ? String(total) : `${total} of the newest 10,000`;
  return `${number} ${total === 1 ? "item" : "items"}${isWaiting ? " without a verdict" : ""}`;
}

/** Return the items without a verdict that a filter lets through, as many as one request may judge. */
async function waiting(asked: Readonly<Record<string, string | undefined>>): Promise<readonly ItemView[]> {
  try {
    return (await ask("get", "/v1/items", { query: { ...asked, verdict: "open", limit: MOST } })).items;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    report([error.message, error.hint].filter(Boolean).join(" – "), true);
    return [];
  }
}

/** Give verdicts, and tell those that the hub refused. Return why, if it took none. */
async function give(items: readonly ItemView[], verdict: Verdict, data?: Values): Promise<string> {
  outcome.value = null;
  const { ids, refused } = await send(items.map(({ id, version }) => ({ id, verdict, version, ...(data && { data }) })));
  const taken = items.filter(({ id }) => ids.includes(id));
  if (taken.length === 0) return refused;
  decided.value = new Map([
    ...decided.value,
    ...taken.map(({ id, given }) => [id, { verdict, after: given?.created_at }] as const),
  ]);
  undoable = { ids, until: performance.now() + SHOWN_MS };
  report(<>{DONE[verdict]} {titled(taken)}{refused && `; ${refused}`}</>, refused !== "", () => void undo());
  return "";
}

async function undo(): Promise<void> {
  const { ids, until } = undoable;
  undoable = { ids: [], until: 0 };
  if (ids.length === 0 || performance.now() > until) return report("There is nothing to undo.");
  const { ids: taken } = await send(ids.map((id) => ({ id, verdict: "undo" as const })));
  forget(taken);
  if (taken.length > 0) report("Undone.");
}

function forget(ids: readonly string[]): void {
  decided.value = new Map([...decided.value].filter(([id]) => !ids.includes(id)));
}

/** Send verdicts. Return the items whose verdicts the hub took, and what it said of the others. */
async function send(verdicts: readonly NewVerdictView[]): Promise<{ ids: readonly string[]; refused: string }> {
  try {
    const { results } = await ask("post", "/v1/items/verdicts", { body: { verdicts } });
    const [first, ...others] = results.flatMap(({ error }) => (error ? [plain(error.message)] : []));
    const refused = first ? `${others.length > 0 ? `${others.length + 1} not taken` : "Not taken"}: ${first}` : "";
    if (refused) report(refused, true);
    return { ids: results.filter(({ error }) => !error).map(({ id }) => id), refused };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    report([error.message, error.hint].filter(Boolean).join(" – "), true);
    return { ids: [], refused: error.message };
  }
}

/** Return an error about one item, without the id of the item that is shown. */
function plain(message: string): string {
  return message.replace(/^item '[^']*'(:?) /, (_, colon: string) => (colon ? "" : "the item "));
}
