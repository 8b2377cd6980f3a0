// What waits for a person: items in a list, and one of them with its words, to approve, edit or reject by key.
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { attempt, report } from "../acting";
import { Confirm } from "../confirm";
import { beginOf, ago, commandOf, count, dayAfter, dayOf, daysUntil, exact, fieldName, quoted, thing, things } from "../format";
import {
  accept, act, asked, because, begin, BeingSaved, chosen, clear, current, Delay, DONE, edit, edited, type Group, groupsOf, headingOf, isOpen, isPlain, isSought, isUnsure, judge, judgeFile, list, move, onTheWay, order,
  ORDERS, pickAll, press, refusalOf, rejectFile, ROWS, rows, size, sought, take, takeBack, takeOne, titled, toggle, typedEarly, undoThese,
} from "../inbox";
import { type Key, useKeys } from "../keys";
import { now } from "../live";
import { isAtDevice, isOwner, may } from "../me";
import { Command, Details, Empty, Foreign, Page, Pager, Read, Refused, State } from "../parts";
import { useReading } from "../reading";
import { link, place, refine } from "../router";
import { ask } from "../server";
import { Search, type SearchField, TEXT_FIELD } from "../search";
import { type ItemCountsView, type ItemView, type ItemsPage, MARKS, type ProposalView } from "../types";
import { canUndo, decided, failures, forget, isOnItsWay, isUndecided, refusedOf } from "../verdicts";
import { Changes, Due, ItemCard, Proposed, type CardProps, type Shown, Source } from "./item_card";
import { Editor } from "./item_editor";
import { OtherZone } from "./sources";
import { whyOf } from "./why";

const VERDICTS = ["approved", "edited", "rejected", "any"];
const KINDS = ["item", "verdict", "proposal", "device"] as const;
const WORD_FIELDS: readonly SearchField[] = [{ name: "q", label: "words" }, { name: "person" }, { name: "project" }, { name: "due_since", label: "since", isDay: true }, { name: "due_until", label: "until", isDay: true }];
const ORDER_WORDS = { day: "By day", file: "By file", doubt: "Surest first" } as const;
const OFFERED = "hub.places"; // of this browser: the places were named to its owner
const FOR_OPERATORS = ["device", "agent", "run"]; // filters
const REST_MS = 150; // items that keys pass faster are not read

/** Leads to items that have a list of their own, and back. */
function Aside({ name, text, back, count = 0 }: { name: "apart" | "unsure"; text: string; back: string; count: number | undefined }): JSX.Element | null {
  const { query } = place.value;
  const isShown = query.get(name) === "true";
  if (!isShown && count === 0) return null;
  const to = link(["inbox"], { ...Object.fromEntries(query), [name]: isShown ? undefined : "true", item: undefined, cursor: undefined });
  return <a href={to}>{isShown ? `← ${back}` : `${count} ${text}`}</a>;
}

/** Return the filters of items, with the values that there are and their numbers. An owner is offered none for operators. */
function fieldsOf(counts: ItemCountsView | undefined): readonly SearchField[] {
  const all: readonly SearchField[] = [
    { name: "verdict", label: "state", values: VERDICTS },
    { name: "table", label: "kind", offers: counts?.tables ?? {}, word: things },
    { name: "path", label: "file", offers: counts?.folders ?? {} },
    ...(isAtDevice() ? [] : [{ name: "device", offers: counts?.devices ?? {} }, { name: "agent", offers: counts?.agents ?? {} }]),
    { name: "warning", label: "mark", offers: counts?.warnings ?? {} },
    ...(isAtDevice() ? [] : [{ name: "proposed", values: ["true", "false"] }, { name: "run" }, ...WORD_FIELDS]),
    TEXT_FIELD,
  ];
  return all.filter(({ name }) => !isOwner() || !FOR_OPERATORS.includes(name) || place.value.query.has(name));
}

/** Return the command that lists what is listed here; empty: none does. *hasApart*: some are listed apart. */
function listingCommand({ q, person, project, due_since: since, due_until: until }: Readonly<Record<string, string>>, hasApart: boolean): string {
  if (isAtDevice()) return "hub review";
  const { agent, run, table, device, warning, path, text, proposed, apart, verdict } = { proposed: undefined, apart: undefined, verdict: undefined, ...asked.value };
  const filters = { agent, run, table, device, warning, path, text, "in-state": isUnsure.value ? "held" : verdict };
  if (isSought.value) {
    if (proposed !== undefined || apart !== undefined) return "";
    const words = q ? [q.startsWith("-") ? "--" : "", quoted(q)] : []; // a word is no option of the command
    return [commandOf("hub items find", { person, project, since, until, ...filters }), ...words].filter(Boolean).join(" ");
  }
  const state = isUnsure.value ? ["--unsure"] : verdict === undefined ? ["--all"] : [];
  const flags = Object.entries({ proposed, apart: apart === "false" && !hasApart ? undefined : apart }).map(([name, value]) => value && `--${value === "true" ? "" : "not-"}${name}`);
  const options = commandOf("", { ...filters, "in-state": verdict === "open" ? undefined : verdict, order: order.value }).trim();
  return ["hub items ls", ...state, ...flags, options].filter(Boolean).join(" ");
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
  { key: "A", about: "select all of these filters that have no warning, and change nothing that you approved; of a mark, or decided, all", action: pickAll },
];
const CLEAR: Key = { key: "Escape", about: "clear the selection", action: clear };

export function Inbox(): JSX.Element {
  const query = Object.fromEntries(place.value.query);
  const verdict = query["verdict"] ?? "open";
  const { agent, run, table, device, warning, path, text } = asked.value;
  const key = JSON.stringify([asked.value, sought.value, order.value, query["cursor"]]);
  useLayoutEffect(() => begin(key), [key]);
  const isRead = list.value.key === key && list.value.next !== undefined;
  const items = useReading("/v1/items", { query: { ...asked.value, ...sought.value, order: isSought.value ? undefined : order.value, cursor: query["cursor"], limit: size.value }, kinds: KINDS });
  const counts = useReading("/v1/items/counts", { query: asked.value, kinds: KINDS });
  // Less sure ones wait: they are named beside others that do.
  const hasHeld = verdict === "open" && !("proposed" in query || "apart" in query || isUnsure.value);
  const held = { agent, run, table, device, warning, path, text, unsure: "true" };
  const unsure = useReading("/v1/items/counts", { query: held, kinds: KINDS, when: hasHeld });
  const hidden = useReading("/v1/items", { query: { ...held, ...sought.value, order: isSought.value ? undefined : "day", limit: size.value }, kinds: KINDS, when: hasHeld && !isAtDevice() && Boolean(unsure.data?.total) });
  const late = (hidden.data?.items ?? []).filter((one) => one.table === "tasks" && one.day && daysUntil(one.day, now.value) < 0).length;
  const lessSure = !hasHeld ? 0 : isSought.value ? hidden.data?.items.length : unsure.data?.total;
  const apart = warning || run || isSought.value ? 0 : counts.data?.warnings["apart"];
  const hasFilter = verdict !== "open" || Object.keys(query).some((name) => !["by", "cursor", "item", "verdict"].includes(name));
  const id = current.value;
  const rested = useRested(id);
  const item = useReading("/v1/items/{item_id}", { params: { item_id: rested ?? "" }, kinds: KINDS, when: rested !== undefined });
  const detail = item.data?.id === id ? item.data : undefined;
  const row = rows.value.find((one) => one.id === id) ?? detail;
  const mayJudge = may("review");
  const isWaiting = row !== undefined && isOpen(row);
  const mayApprove = isWaiting && !row.needs_owner;
  const picked = [...chosen.value.values()].filter(isOpen);
  const past = [...chosen.value.values()].filter(canUndo);
  const failure = failures.value.get(id ?? "");
  const isAlone = query["item"] !== undefined; // on a phone, without the list
  usePlaceInList(query["item"]);

  useLayoutEffect(() => {
    if (items.data) take(key, items.data);
  }, [items.data, key]);
  useLayoutEffect(() => takeOne(detail), [detail]);
  useEffect(() => () => clear(), []);
  useEffect(() => {
    // Their devices have refused the verdicts: the items wait again.
    const known = detail ? [...rows.value.filter((row) => row.id !== detail.id), detail] : rows.value;
    const refused = refusedOf(known);
    if (refused.length === 0) return;
    forget(refused.map((row) => row.id));
    const verdict = refused[0]?.given?.verdict;
    const end = verdict === "undo" ? "as before" : refused.length === 1 ? "waits again" : "wait again";
    const why = refused[0] && refusalOf(refused[0]);
    report(<>{titled(refused)} {end}: its computer refused the {verdict === "undo" ? "undo" : "decision"}{why && ` (${why})`}</>, true);
  }, [items.data, detail]);

  const keys = mayJudge ? JUDGING.filter(({ key }) => key !== "p" || !isAtDevice()) : KEYS;
  useKeys([...keys.map((one) => ({ ...one, action: () => press(one.key, one.action) })), CLEAR]);

  return (
    <Page title="Inbox" command={listingCommand(query, Boolean(apart))}>
      <div class="review" data-open={isAlone}>
        <div class="review-list">
          <Search fields={fieldsOf(counts.data)} />
          <div class="listing">
            <p class="quiet" role="status">
              {isSought.value ? isRead && found(items.data) : counts.data && total(counts.data, verdict === "open" && !isUnsure.value, lessSure)}
              <BeingSaved after=" · " />
            </p>
            {order.value && (
              <p class="orders" role="group" aria-label="Order">
                {ORDERS.filter((one) => one !== "doubt" || !isSought.value).map((one) => (
                  <button key={one} type="button" aria-pressed={order.value === one} onClick={() => refine({ by: one === "day" ? undefined : one })}>
                    {ORDER_WORDS[one]}
                  </button>
                ))}
              </p>
            )}
          </div>
          <OtherZone />
          <FirstPlace />
          <Delay />
          {mayJudge && rows.value.some((one) => isOpen(one) || canUndo(one)) && (
            <div class="actions">
              <Press of="A" label={!["open", "any"].includes(verdict) || (warning ?? "none") !== "none" ? "Select all" : "Select unmarked"} action={pickAll} />
              <span class={picked.length > 0 ? "actions" : "actions reserved"}><Judge count={picked.length} approvable={picked.length === 1 ? 1 : picked.filter(({ warnings }) => warnings.length === 0).length} /></span>
              {past.length > 0 && <Press of="" label={`Undo ${past.length}`} action={() => undoThese(past)} />}
            </div>
          )}
          <Read of={items}>
            {() => (
              <>
                <List query={query} mayJudge={mayJudge} hidden={!hasHeld || order.value !== "day" ? [] : (hidden.data?.items ?? [])} />
                {isRead && !(verdict === "open" ? rows.value.some(isUndecided) : rows.value.length > 0) && <Nothing hasFilter={hasFilter} isElsewhere={Boolean(lessSure)} />}
                <Pager next={list.value.next} />
              </>
            )}
          </Read>
          {(hasHeld || isUnsure.value) && <Aside name="unsure" text={late > 0 ? `less sure, ${late} overdue` : "less sure"} back="Suggested items" count={lessSure} />}
          <Aside name="apart" text="of unknown authors, listed apart" back="Other items" count={apart} />
        </div>
        <div class="review-item">
          <a class="back" href={link(["inbox"], { ...query, item: undefined })}>
            ← Inbox
          </a>
          {id !== undefined && item.refusal && rested === id && <Refused refusal={item.refusal} />}
          {id !== undefined && !row && !item.refusal && <div class="waiting" aria-busy="true" />}
          {row && (
            <ItemCard of={{ ...row, ...detail }} marks={<Marks of={row} />} decisions={decisionsOf(row)} origin={originOf({ ...row, ...detail })}>
              {failure && (
                <p class="banner" role="status">
                  <strong>Your decision was not taken</strong>: {failure.why}.{isUndecided(row) && " It waits: decide again."}
                </p>
              )}
              {detail && edited.value === id && <Editor key={id} of={detail} failure={failure} early={typedEarly} approve={(data, { version }) => judge("approve", data, version)} close={() => (edited.value = undefined)} held={!isUndecided(row) && <><strong>It was decided elsewhere</strong>: {decidedAs(row)}. What you typed stays here{canUndo(row) ? ": Undo, and approve with it." : "."}</>} />}
              {isUndecided(row) && (row.device_refuses || (isWaiting && row.needs_owner)) && (
                <p class="banner" role="status">
                  <strong>{row.device_refuses ? `Its computer takes no decision from here: ${because(row.device_refuses)}.` : "It has a mark, so only its owner approves or changes it."}</strong>
                  {row.device_refuses !== "call_unsupported" && (
                    <>
                      {" "}
                      Typed on the computer that it is for: <Command text="hub review --web" /> or, so that you decide here from then on, <Command text={`hub grants +review.remote${row.needs_owner ? "=marked" : ""}`} />
                    </>
                  )}
                </p>
              )}
              {isUndecided(row) && row.device_is_elsewhere && (
                <p class="quiet">Its computer is connected to another node of the hub: whether it takes a decision from here is not known.</p>
              )}
              {isUndecided(row) && row.changes.length > 0 && !isAtDevice() && (
                <p class="banner">
                  <strong>You approved it before, and where it is from has changed.</strong> Approve takes the new values, Reject leaves it as it is · <Changes of={row} />
                </p>
              )}
              {isUndecided(row) && row.proposals.map((one, place) => <Proposal key={one.id} of={one} item={{ ...row, ...detail }} mayAccept={isWaiting && place === 0 && (one.verdict === "reject" || mayApprove)} />)}
              {mayJudge && canUndo(row) && (
                <div class="actions"><button type="button" onClick={() => undoThese([row])}>Undo</button></div>
              )}
              {isWaiting && edited.value !== id && chosen.value.size === 0 && (
                <div class="actions judging">
                  <Judge mayApprove={mayApprove} />
                  {mayApprove && <Press of="e" label="Edit" action={edit} />}
                  <Press of="R" label="Reject the file" action={rejectFile} kind="file-too" />
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

interface PressProps {
  readonly of: string;
  readonly label: string;
  readonly action: () => void | Promise<void>;
  readonly kind?: string;
  readonly disabled?: boolean;
}

/** A button for what a key does. */
function Press({ of, label, action, kind, disabled }: PressProps): JSX.Element {
  return (
    <button type="button" class={kind} disabled={disabled} onClick={() => press(of, action)}>
      {label} {of && <kbd>{of}</kbd>}
    </button>
  );
}

/** Decides about the item that is shown, or about so many that are selected. */
function Judge({ count, approvable = count, mayApprove = true }: { count?: number; approvable?: number | undefined; mayApprove?: boolean }): JSX.Element {
  const many = count === undefined ? "" : ` ${count}`;
  return (
    <>
      {mayApprove && <Press of="a" label={`Approve${approvable === undefined ? "" : ` ${approvable}`}`} action={() => judge("approve")} kind="main" disabled={approvable === 0} />}
      <Press of="r" label={`Reject${many}`} action={() => judge("reject")} disabled={count === 0} />
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
          {mayAccept && <Press of="p" label="Accept" action={accept} />}
          <button type="button" onClick={() => void decline()}>
            Decline
          </button>
        </div>
      )}
    </Proposed>
  );
}

interface ListProps {
  /** Address of an item, without its id. */
  readonly base: string;
  readonly mayJudge: boolean;
}

/** The items below their headings, each with the number of *hidden* ones that belong there. */
function List({ query, mayJudge, hidden }: { query: Readonly<Record<string, string>>; mayJudge: boolean; hidden: readonly ItemView[] }): JSX.Element {
  const base = link(["inbox"], { ...query, item: undefined });
  return (
    <div class="picks">
      {groupsOf(rows.value).map((group) => (
        <Below key={group.items[0].id} group={group} base={`${base}${base.includes("?") ? "&" : "?"}item=`} mayJudge={mayJudge} unsure={hidden.filter((one) => headingOf(one) === group.title).length} />
      ))}
    </div>
  );
}

/** Items below their heading; those of a file are decided together. */
function Below({ group: { title, path, items }, base, mayJudge, unsure }: ListProps & { group: Group; unsure: number }): JSX.Element {
  const [isOpened, setOpened] = useState(true);
  const device = path === undefined ? null : items[0].device;
  const open = path === undefined ? [] : items.filter(isOpen);
  const plain = open.filter(isPlain).length;
  const marked = open.filter(({ warnings }) => warnings.length > 0).length;
  return (
    <section class="file" aria-label={title}>
      <header>
        <button type="button" class="turn" aria-expanded={isOpened} onClick={() => setOpened(!isOpened)}>
          <Foreign of={path?.startsWith("mid:") ? `mail from ${items[0].provenance?.author ?? "unknown"}` : title} title={path ?? ""} />
          <span class="quiet">
            {device && (
              <>
                {" · "}
                <Foreign of={device} />
              </>
            )}
            {` · ${items.filter((one) => asked.value.verdict !== "open" || isUndecided(one)).length}`}
          </span>
        </button>
        {unsure > 0 && <Aside name="unsure" text="more, less sure" back="" count={unsure} />}
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
        <ul class="cards" role="list">
          {items.map((row) => (
            <Row key={row.id} of={row} base={base} mayJudge={mayJudge} isCurrent={row.id === current.value} isChosen={chosen.value.has(row.id)} state={stateOf(row)} isFile={path !== undefined} />
          ))}
        </ul>
      )}
    </section>
  );
}

interface RowProps extends ListProps {
  readonly of: ItemView;
  readonly isCurrent: boolean;
  readonly isChosen: boolean;
  /** What became of it here; empty: nothing. */
  readonly state: string;
  /** Its file is the heading above it. */
  readonly isFile: boolean;
}

/** An item of the list, with what one decides by. Drawn again only when it changes, as a key moves among hundreds. */
function Row({ of, base, mayJudge, isCurrent, isChosen, state, isFile }: RowProps): JSX.Element {
  const today = dayOf(new Date(now.value));
  return useMemo(
    () => (
      <li>
        {mayJudge && <label class="tick"><input type="checkbox" aria-label={`Select ${of.title.slice(0, 80)}`} checked={isChosen} onChange={() => toggle(of)} /></label>}
        <a href={`${base}${encodeURIComponent(of.id)}`} aria-current={isCurrent ? "true" : undefined}>
          <Foreign class="title" of={of.title || "no title"} />
          <Details>
            {of.table !== "tasks" && thing(of.table)}
            {of.day && <Due day={of.day} isTask={of.table === "tasks"} isOpen={of.verdict === "open" || of.verdict === "held"} />}
            {of.person && <Foreign of={of.person} />}
            <Source of={of} isShort isFile={isFile} />
            {isUndecided(of) && of.changes.length > 0 && <Changes of={of} />}
            {of.also.map((one) => <span key={one.id}>also in <span class="from"><Foreign class="path" of={one.path.split("/").at(-1) ?? ""} title={one.path} />{one.line !== null && <span>{`, line\u00a0${one.line}`}</span>}</span></span>)}
          </Details>
        </a>
        <Marks of={of} />
      </li>
    ),
    [of, mayJudge, isCurrent, isChosen, state, isFile, today, base],
  );
}

/** Return what became of an item here, as a text that changes with it. */
function stateOf({ id }: ItemView): string {
  const mine = decided.value.get(id);
  return `${mine === null ? "undone" : (mine?.verdict ?? "")} ${failures.value.has(id)}`;
}

/** What is said after the last decision, and where nothing is listed. */
function Nothing({ hasFilter, isElsewhere }: { hasFilter: boolean; isElsewhere: boolean }): JSX.Element {
  const isDone = !hasFilter && [...decided.value.values()].some((mine) => mine !== null);
  const today = useReading("/v1/summary", { query: { since: beginOf(dayOf(new Date(now.value))) }, kinds: KINDS, when: isDone && !isAtDevice() });
  const approved = today.data?.items.approved ?? 0;
  const isOfWaiting = hasFilter && asked.value.verdict === "open";
  const past = useReading("/v1/items", { query: { ...asked.value, ...sought.value, verdict: undefined, limit: ROWS }, when: isOfWaiting });
  const decidedOnes = past.data?.items.filter(({ verdict }) => verdict !== "open").length ?? 0;
  if (isDone) {
    return (
      <Empty title="All decided.">
        <p>{approved > 0 && <>{count(approved)} approved today: see <a href="/tasks">Tasks</a>. </>}What is found next comes here.</p>
      </Empty>
    );
  }
  if (hasFilter) return <Empty title={list.value.next ? "None of the newest is like this; the older ones come next." : isElsewhere ? "Only less sure ones are like this." : "Nothing here is like this."}>{isOfWaiting && <p>{decidedOnes > 0 && <><a href={link(["inbox"], { ...Object.fromEntries(place.value.query), verdict: "any", item: undefined, cursor: undefined })}>{count(decidedOnes)}{past.data?.next_cursor && " or more"} decided {decidedOnes === 1 ? "one is" : "ones are"} like this</a> · </>}{/^(overdue|past|due)$/i.test(asked.value.text ?? "") && <><a href={link(["inbox"], { due_until: dayOf(dayAfter(new Date(now.value), -1)) })}>What is overdue or past</a> · </>}<a href="/inbox">All that waits</a></p>}</Empty>;
  return (
    <Empty title="Nothing waits for you.">
      <p>What is found in your files and mail comes here. {!isAtDevice() && <><a href="/sources">What is read</a>, and <a href="/why">why something is missing</a>.</>}</p>
    </Empty>
  );
}

/** From the first approval in a browser on, until it is answered: where approved things can go, unless they go somewhere. */
function FirstPlace(): JSX.Element | null {
  const [isOver, setOver] = useState(localStorage.getItem(OFFERED) === "over");
  if (!isOver && [...decided.value.values()].some((mine) => mine?.verdict === "approve")) localStorage.setItem(OFFERED, "due");
  const isAsked = !isOver && !isAtDevice() && localStorage.getItem(OFFERED) === "due";
  const devices = useReading("/v1/devices", { when: isAsked });
  const device = devices.data?.devices.find(({ connected }) => connected)?.id ?? "";
  const { data, refusal } = useReading("/v1/devices/{device_id}/places", { params: { device_id: device }, when: device !== "" });
  if (!isAsked || (data ? data.places.length > 0 : !refusal)) return null;
  const end = (): void => (localStorage.setItem(OFFERED, "over"), setOver(true));
  return (
    <p class="quiet">
      What you approve can also go to your calendar, todo.txt or notes: <a href="/places" onClick={end}>choose a place</a>{" "}
      <button type="button" class="turn-off" onClick={end}>Not now</button>
    </p>
  );
}

/** On a phone the list and an item take turns: what was in sight of the list is so again behind the item. */
function usePlaceInList(item: string | undefined): void {
  const top = useRef(0);
  const last = useRef(item);
  const isAlone = item !== undefined;
  if (isAlone) last.current = item;
  useLayoutEffect(() => {
    const isNarrow = document.querySelector<HTMLElement>(".review-list")?.offsetParent === null;
    if (isAlone) {
      if (isNarrow) requestAnimationFrame(() => (scrollTo(0, 0), document.getElementById("item-title")?.focus()));
      return undefined;
    }
    scrollTo(0, top.current);
    // Rows out of sight have heights that are estimated: the row itself is the measure.
    const row = last.current === undefined ? null : document.querySelector(`.picks a[href$="item=${CSS.escape(encodeURIComponent(last.current))}"]`);
    row?.scrollIntoView({ block: "nearest" });
    const keep = (): void => void (top.current = scrollY);
    addEventListener("scroll", keep, { passive: true });
    return () => removeEventListener("scroll", keep);
  }, [isAlone]);
}

function Marks({ of }: { of: ItemView }): JSX.Element {
  const verdict = decided.value.get(of.id)?.verdict;
  const isUndone = decided.value.get(of.id) === null;
  const on = verdict ? DONE[verdict].toLowerCase() : failures.value.has(of.id) ? "not taken" : !isUndone && isOnItsWay(of) ? `${of.given?.verdict}: on its way` : undefined;
  return (
    <span class="marks">
      {of.warnings.map((warning) => (
        <span key={warning} title={MARKS[warning]}>
          <State of={warning} />
        </span>
      ))}
      {isUndecided(of) && of.lacks.length > 0 && <State of={`needs a ${of.lacks.map(fieldName).join(", ")}`} />}
      {isUndecided(of) && of.proposals[0] && <State of={`proposed: ${of.proposals[0].verdict}`} />}
      {of.verdict === "held" && !on && <State of="less sure" />}
      {of.verdict !== "open" && of.verdict !== "held" && !isUndone ? <State of={of.verdict} /> : on ? <State of={on} /> : of.given?.state === "refused" && <span>refused: {refusalOf(of)}</span>}
    </span>
  );
}

/** Return what was decided about an item, and by whom. */
function decidedAs(of: ItemView): string {
  return of.given ? given(of, of.given) : `${of.verdict}${of.verdict_at ? `, ${exact(of.verdict_at)}` : ""}`;
}

/** What became of an item, where anything did. */
function decisionsOf(of: ItemView): CardProps["decisions"] {
  return [
    ["Decided", of.verdict_at && `${of.verdict}, ${exact(of.verdict_at)}`],
    ["Given here", of.given && given(of, of.given)],
  ];
}

/** Names and ids for operators, with links to the pages about them. */
function originOf(of: Shown): CardProps["origin"] {
  return [
    ["File", isAtDevice() || of.path.startsWith("mid:") ? of.path : <a href={whyOf(of.path, of.agent)} title="What became of its lines, and why">{of.path}</a>],
    ["Computer", of.device && <a href={link(["devices", of.device])}>{of.device}</a>],
    ["Agent", of.agent && <a href={link(["agents", of.agent])}>{of.agent}</a>],
    ["Run", of.run_id && <a href={link(["runs", of.run_id])}>{of.run_id}</a>],
    ["Id", of.id],
  ];
}

const GIVEN = { approve: "approved", edit: "changed", reject: "rejected", undo: "taken back" } as const;

function given(of: ItemView, { verdict, by, state, created_at: at, proposed_by: proposer }: NonNullable<ItemView["given"]>): string {
  const why = refusalOf(of);
  const end = { pending: ", on its way to its computer", sent: ", on its way to its computer", done: "", refused: ", and its computer refused it" }[state];
  const where = by.startsWith("session ") ? "on this page" : `by ${by}`;
  return `${GIVEN[verdict]} ${where}${proposer ? `, proposed by ${proposer}` : ""}, ${ago(at, Math.max(now.value, Date.now()))}${end}${why && ` (${why})`}`;
}

function found({ items, next_cursor: next }: ItemsPage = { items: [], next_cursor: null }): string {
  return `${count(items.length)}${next ? " or more" : ""} found`;
}

function total({ total, is_complete }: ItemCountsView, isWaiting: boolean, unsure = 0): string {
  const left = isWaiting ? Math.max(0, total - onTheWay.value) : total;
  const number = is_complete ? count(left) : `${count(left)} of the newest 1,000`;
  const isOne = left === 1 && is_complete;
  if (isWaiting && (left === 0 || !is_complete)) return left === 0 ? "" : `more than ${count(left)} wait for you`;
  return isWaiting ? `${number} ${isOne ? "waits" : "wait"} for you${unsure > 0 ? `, ${count(unsure)} less sure` : ""}` : `${number} ${isOne ? "suggestion" : "suggestions"}`;
}
