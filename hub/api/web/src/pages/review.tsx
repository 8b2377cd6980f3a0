// What waits for a person: items in a list, and one of them with its words, to approve, edit or reject by key.
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useState } from "preact/hooks";
import { attempt, report } from "../acting";
import { Confirm } from "../confirm";
import { commandOf, exact, quoted } from "../format";
import {
  accept, act, asked, because, begin, chosen, clear, current, DONE, edit, edited, isOpen, isPlain, judge, judgeFile, list, move, pickAll, press, rejectFile, rows,
  size, sought, take, takeBack, takeOne, titled, toggle, typedEarly,
} from "../inbox";
import { type Key, useKeys } from "../keys";
import { isAtDevice, may } from "../me";
import { Command, Foreign, Page, Pager, Read, Refused, State, Time } from "../parts";
import { useReading } from "../reading";
import { link, place } from "../router";
import { ask } from "../server";
import { Search, type SearchField, TEXT_FIELD } from "../search";
import type { ItemCountsView, ItemDetail, ItemView, ProposalView } from "../types";
import { decided, delay, failures, forget, isOnItsWay, isUndecided, unsent } from "../verdicts";
import { ItemCard, Proposed, type CardProps, type Shown } from "./item_card";
import { Editor } from "./item_editor";
import { whyOf } from "./why";

const VERDICTS = ["approved", "edited", "rejected", "any"];
const KINDS = ["item", "verdict", "proposal", "device"] as const;
const WORD_FIELDS: readonly SearchField[] = [{ name: "q", label: "words" }, { name: "person" }, { name: "project" }, { name: "due_since", label: "since", isDay: true }, { name: "due_until", label: "until", isDay: true }];
const REST_MS = 150; // items that keys pass faster are not read

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

/** Leads to the less sure items, which stay at the hub until they are approved, and back. */
function Unsure({ count, isShown, query }: { count: number; isShown: boolean; query: Readonly<Record<string, string>> }): JSX.Element | null {
  if (isShown) return <a href={link(["review"], { ...query, unsure: undefined, item: undefined, cursor: undefined })}>← Suggested items</a>;
  if (count === 0) return null;
  return <a href={link(["review"], { ...query, unsure: "true", item: undefined, cursor: undefined })}>{count} less sure</a>;
}

/** Return the filters of items, with the values that there are and their numbers. */
function fieldsOf(counts: ItemCountsView | undefined): readonly SearchField[] {
  return [
    { name: "verdict", label: "state", values: VERDICTS },
    { name: "table", label: "kind", offers: counts?.tables ?? {} },
    { name: "path", label: "file", offers: counts?.folders ?? {} },
    ...(isAtDevice() ? [] : [{ name: "device", offers: counts?.devices ?? {} }, { name: "agent", offers: counts?.agents ?? {} }]),
    { name: "warning", label: "mark", offers: counts?.warnings ?? {} },
    ...(isAtDevice() ? [] : [{ name: "proposed", values: ["true", "false"] }, { name: "run" }, ...WORD_FIELDS]),
    TEXT_FIELD,
  ];
}

/** Return the command that finds the items that the address asks for. */
function findingCommand({ q, person, project, due_since: since, due_until: until, table }: Readonly<Record<string, string>>): string {
  const words = q ? [q.startsWith("-") ? "--" : "", quoted(q)] : []; // a word is no option of the command
  return [commandOf("hub items find", { person, project, since, until, table }), ...words].filter(Boolean).join(" ");
}

const KEYS: readonly Key[] = [
  { key: "j", about: "next item", action: () => move(1), repeats: true },
  { key: "k", about: "previous item", action: () => move(-1), repeats: true },
];
const JUDGING: readonly Key[] = [
  ...KEYS,
  { key: "a", about: "approve the item, or those selected", action: () => judge("approve") },
  { key: "e", about: "edit the item, and approve it", action: edit },
  { key: "r", about: "reject the item, or those selected", action: () => judge("reject") },
  { key: "p", about: "accept what is proposed on the item, or on those selected; a change of values on the item alone", action: accept },
  { key: "u", about: "take the last decision back, then the one before it", action: takeBack },
  { key: "R", about: "reject all items of the file", action: rejectFile },
  { key: "x", about: "select the item", action: () => toggle(rows.value.find(({ id }) => id === current.value)) },
  { key: "A", about: "select all of these filters that have no warning", action: pickAll },
];
const CLEAR: Key = { key: "Escape", about: "clear the selection", action: clear };

export function Review(): JSX.Element {
  const query = Object.fromEntries(place.value.query);
  const verdict = query["verdict"] ?? "open";
  const { agent, run, table, device, warning, path, text } = asked.value;
  const filters = { agent, run, table, device, warning, path, text };
  const key = JSON.stringify([asked.value, sought.value, query["cursor"]]);
  useLayoutEffect(() => begin(key), [key]);
  const isRead = list.value.key === key && list.value.next !== undefined;
  const items = useReading("/v1/items", { query: { ...asked.value, ...sought.value, cursor: query["cursor"], limit: size.value }, kinds: KINDS });
  const counts = useReading("/v1/items/counts", { query: asked.value, kinds: KINDS });
  const isUnsure = query["unsure"] === "true";
  const unsure = useReading("/v1/items/counts", { query: { agent, run, table, device, path, text, unsure: "true" }, kinds: KINDS });
  const isSearch = Object.keys(sought.value).length > 0;
  const hasFilter = isSearch || verdict !== "open" || Object.entries(asked.value).some(([name, value]) => name !== "verdict" && value);
  const id = current.value;
  const rested = useRested(id);
  const item = useReading("/v1/items/{item_id}", { params: { item_id: rested ?? "" }, kinds: KINDS, when: rested !== undefined });
  const detail = item.data?.id === id ? item.data : undefined;
  const row = rows.value.find((one) => one.id === id) ?? detail;
  const mayJudge = may("review");
  const isWaiting = row !== undefined && isOpen(row);
  const mayApprove = isWaiting && !row.needs_owner;
  const picked = [...chosen.value.values()].filter(isOpen);
  const failure = failures.value.get(id ?? "");

  useLayoutEffect(() => {
    if (items.data) take(key, items.data);
  }, [items.data, key]);
  useLayoutEffect(() => takeOne(detail), [detail]);
  useEffect(() => () => clear(), []);
  useEffect(() => {
    // Their devices have refused the verdicts: the items wait again.
    const known = detail ? [...rows.value.filter((row) => row.id !== detail.id), detail] : rows.value;
    const refused = known.filter(({ id, given }) => {
      const mine = decided.value.get(id);
      return mine && given?.state === "refused" && given.created_at !== mine.after;
    });
    if (refused.length === 0) return;
    forget(refused.map((row) => row.id));
    const why = because(refused[0]?.given?.reason);
    report(<>{titled(refused)} {refused.length === 1 ? "waits" : "wait"} again: the device refused the verdict{why && ` (${why})`}</>, true);
  }, [items.data, detail]);

  const keys = mayJudge ? JUDGING.filter(({ key }) => key !== "p" || !isAtDevice()) : KEYS;
  useKeys([...keys.map((one) => ({ ...one, action: () => press(one.key, one.action) })), CLEAR]);
  const listing = verdict === "open" ? "hub items ls" : "hub items ls --all";
  const command = isAtDevice() ? "hub review" : isSearch ? findingCommand(query) : commandOf(listing, filters);

  return (
    <Page title="Review" command={command}>
      <div class="review" data-open={query["item"] !== undefined}>
        <div class="review-list">
          <Search fields={fieldsOf(counts.data)} />
          <p class="quiet" role="status">
            {counts.data && total(counts.data, verdict === "open" && !isUnsure)}
            {unsent.value > 0 && <span class="unsent">{` · ${unsent.value} being saved`}</span>}
          </p>
          {delay.value && <p class="banner">{unsent.value} verdicts are kept in this window until the hub takes them: {delay.value}</p>}
          <Unsure count={unsure.data?.total ?? 0} isShown={isUnsure} query={query} />
          <Apart count={counts.data?.warnings["apart"] ?? 0} isShown={asked.value.apart === "true"} query={query} />
          {mayJudge && rows.value.some(isOpen) && (
            <div class="actions">
              <button type="button" onClick={() => void pickAll()}>
                Select all without a warning <kbd>A</kbd>
              </button>
              {chosen.value.size > 0 && <Judge count={picked.length} />}
            </div>
          )}
          <Read of={items}>
            {() => (
              <>
                {isRead && rows.value.length === 0 && <p class="empty">{hasFilter ? (list.value.next ? "None of the newest items is like this; the older ones come next." : "No item is like this.") : <>Nothing waits for a decision. What agents find comes here. {!isAtDevice() && <Command text="hub run NAME" />}</>}</p>}
                <List query={query} mayJudge={mayJudge} />
                <Pager next={list.value.next} />
              </>
            )}
          </Read>
        </div>
        <div class="review-item">
          <a class="back" href={link(["review"], { ...query, item: undefined })}>
            ← All items
          </a>
          {id !== undefined && item.refusal && rested === id && <Refused refusal={item.refusal} />}
          {id !== undefined && !row && !item.refusal && <div class="waiting" aria-busy="true" />}
          {row && (
            <ItemCard of={{ ...row, ...detail }} marks={<Marks of={row} />} origin={originOf({ ...row, ...detail })}>
              {failure && (
                <p class="banner" role="status">
                  <strong>The hub did not take the verdict</strong>: {failure.why}. It waits: decide again.
                </p>
              )}
              {detail && edited.value === id && <Editor key={id} of={detail} failure={failure} early={typedEarly} approve={(data) => judge("approve", data)} close={() => (edited.value = undefined)} />}
              {isUndecided(row) && row.device_refuses && (
                <p class="banner" role="status">
                  <strong>Its device takes no verdict from here</strong>: {because(row.device_refuses)}.
                  {row.device_refuses === "not_granted" && (
                    <>
                      {" "}
                      Typed there, on the device: <Command text="hub review --web" /> or, so that you decide here from then on, also there: <Command text={`hub grants +review.remote${row.needs_owner ? "=marked" : ""}`} />
                    </>
                  )}
                </p>
              )}
              {isWaiting && row.needs_owner && (
                <p class="banner" role="status">
                  <strong>It has a mark, so only its owner approves or changes it.</strong> Typed there, on the device: <Command text="hub review --web" /> or, so
                  that you decide here from then on, also there: <Command text="hub grants +review.remote=marked" />
                </p>
              )}
              {isUndecided(row) && row.device_is_elsewhere && (
                <p class="quiet">Its device is connected to another node of the hub: whether it takes a verdict from here is not known.</p>
              )}
              {isUndecided(row) && row.proposals.map((one, place) => <Proposal key={one.id} of={one} item={{ ...row, ...detail }} mayAccept={isWaiting && place === 0 && (one.verdict === "reject" || mayApprove)} />)}
              {isWaiting && edited.value !== id && chosen.value.size === 0 && (
                <div class="actions judging">
                  <Judge count={1} mayApprove={mayApprove} />
                  {mayApprove && (
                    <button type="button" onClick={() => press("e", edit)}>
                      Edit <kbd>e</kbd>
                    </button>
                  )}
                  <button type="button" onClick={() => press("R", rejectFile)}>
                    Reject the file <kbd>R</kbd>
                  </button>
                </div>
              )}
            </ItemCard>
          )}
        </div>
      </div>
      <Confirm ended={() => void act()} />
    </Page>
  );
}

/** Return a value that has been the same for a while; one that follows on a rest, at once. */
function useRested<T>(value: T): T {
  const [rested, setRested] = useState({ value, at: 0 });
  const isCalm = rested.value !== value && performance.now() - rested.at > REST_MS;
  useEffect(() => {
    const next = { value, at: performance.now() };
    if (isCalm) return setRested(next);
    const timer = setTimeout(() => setRested(next), REST_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return isCalm ? value : rested.value;
}

function Judge({ count, mayApprove = true }: { count: number; mayApprove?: boolean }): JSX.Element {
  const many = count > 1 ? ` ${count}` : "";
  return (
    <>
      {mayApprove && (
        <button type="button" class="main" disabled={count === 0} onClick={() => press("a", () => judge("approve"))}>
          Approve{many} <kbd>a</kbd>
        </button>
      )}
      <button type="button" disabled={count === 0} onClick={() => press("r", () => judge("reject"))}>
        Reject{many} <kbd>r</kbd>
      </button>
    </>
  );
}

function Proposal({ of, item, mayAccept }: { of: ProposalView; item: Shown; mayAccept: boolean }): JSX.Element {
  const decline = (): Promise<boolean> => attempt(() => ask("post", "/v1/items/proposals/declined", { body: { proposals: [of.id] } }), "Declined.");
  return (
    <Proposed of={of} item={item}>
      {isAtDevice() && of.actor !== "hub" && (
        <p class="quiet">
          It is accepted at the hub: <Command text="hub open" />
        </p>
      )}
      {may("review") && !isAtDevice() && (
        <div class="actions">
          {mayAccept && (
            <button type="button" onClick={() => press("p", accept)}>
              Accept <kbd>p</kbd>
            </button>
          )}
          <button type="button" onClick={() => void decline()}>
            Decline
          </button>
        </div>
      )}
    </Proposed>
  );
}

interface ListProps {
  readonly query: Readonly<Record<string, string>>;
  readonly mayJudge: boolean;
}

/** Return the items by their files, in the order of the list. */
function filesOf(items: readonly ItemView[]): readonly (readonly [ItemView, ...ItemView[]])[] {
  const files: [ItemView, ...ItemView[]][] = [];
  for (const item of items) {
    const file = files.at(-1);
    if (file && file[0].path === item.path && file[0].device === item.device) file.push(item);
    else files.push([item]);
  }
  return files;
}

function List({ query, mayJudge }: ListProps): JSX.Element {
  return (
    <div class="picks">
      {filesOf(rows.value).map((items) => (
        <File key={items[0].id} items={items} query={query} mayJudge={mayJudge} />
      ))}
    </div>
  );
}

function File({ items, query, mayJudge }: ListProps & { items: readonly [ItemView, ...ItemView[]] }): JSX.Element {
  const [isOpened, setOpened] = useState(true);
  const [{ path, device }] = items;
  const open = items.filter(isOpen);
  const plain = open.filter(isPlain).length;
  const marked = open.filter(({ warnings }) => warnings.length > 0).length;
  return (
    <section class="file" aria-label={path}>
      <header>
        <button type="button" class="turn" aria-expanded={isOpened} onClick={() => setOpened(!isOpened)}>
          <Foreign of={path} />
          <span class="quiet">
            {device && (
              <>
                {" · "}
                <Foreign of={device} />
              </>
            )}
            {` · ${items.length}`}
          </span>
        </button>
        {mayJudge && items.length > 1 && open.length > 0 && (
          <span class="actions">
            {plain > 0 && (
              <button type="button" onClick={() => press("", () => judgeFile(items, "approve"))}>
                Approve {plain}
                {marked > 0 && " without a mark"}
              </button>
            )}
            <button type="button" onClick={() => press("", () => judgeFile(items, "reject"))}>
              Reject {open.length}
              {marked > 0 && `, ${marked} marked`}
            </button>
          </span>
        )}
      </header>
      {isOpened && (
        <ul class="cards">
          {items.map((row) => (
            <li key={row.id}>
              {mayJudge && (
                <input
                  type="checkbox"
                  aria-label={`Select ${row.title.slice(0, 80)}`}
                  checked={chosen.value.has(row.id)}
                  onChange={() => toggle(row)}
                />
              )}
              <a href={link(["review"], { ...query, item: row.id })} aria-current={row.id === current.value ? "true" : undefined}>
                <Foreign class="title" of={row.title || "no title"} />
                <span class="quiet">{row.table}</span>
              </a>
              <Marks of={row} />
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function Marks({ of }: { of: ItemView }): JSX.Element {
  const verdict = decided.value.get(of.id)?.verdict;
  const isUndone = decided.value.get(of.id) === null;
  const on = verdict ? DONE[verdict].toLowerCase() : failures.value.has(of.id) ? "not taken" : !isUndone && isOnItsWay(of) ? `${of.given?.verdict}: on its way` : undefined;
  return (
    <span class="marks">
      {of.warnings.map((warning) => (
        <State key={warning} of={warning} />
      ))}
      {isUndecided(of) && of.proposals[0] && <State of={`proposed: ${of.proposals[0].verdict}`} />}
      {of.verdict === "held" && !on && <State of="less sure" />}
      {of.verdict !== "open" && of.verdict !== "held" && !isUndone ? <State of={of.verdict} /> : (on || of.given?.state === "refused") && <State of={on ?? "refused"} />}
    </span>
  );
}

/** Where an item comes from and what became of it, with links to the pages about that. */
function originOf(of: Shown): CardProps["origin"] {
  return [
    ["Path", isAtDevice() ? of.path : <a href={whyOf(of.path, of.agent)} title="What became of its lines, and why">{of.path}</a>],
    ["Device", of.device && <a href={link(["devices", of.device])}>{of.device}</a>],
    ["Agent", of.agent && <a href={link(["agents", of.agent])}>{of.agent}</a>],
    ["Run", of.run_id && <a href={link(["runs", of.run_id])}><Time at={of.created_at} /></a>],
    ["Found", !of.run_id && <Time at={of.created_at} />],
    ["At the device", of.answered_at ? exact(of.answered_at) : "not yet"],
    ["Verdict", of.verdict_at && `${of.verdict}, ${exact(of.verdict_at)}`],
    ["Given here", of.given && given(of.given)],
  ];
}

function given({ verdict, by, state, reason, proposed_by: proposer }: NonNullable<ItemDetail["given"]>): string {
  const end = { pending: "on its way", sent: "on its way", done: "done", refused: "the device refused it" }[state];
  return `${verdict} by ${by}${proposer ? `, proposed by ${proposer}` : ""}: ${end}${reason ? ` (${because(reason)})` : ""}`;
}

function total({ total, is_complete }: ItemCountsView, isWaiting: boolean): string {
  const number = is_complete ? String(total) : `${total} of the newest 1,000`;
  return `${number} ${total === 1 ? "item" : "items"}${isWaiting ? " without a verdict" : ""}`;
}
