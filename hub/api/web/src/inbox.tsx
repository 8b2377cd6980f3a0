// The items of the page Inbox, and the keys on them: each acts once, in its turn, on what the keys before it left.
import { computed, signal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { outcome, refused, report } from "./acting";
import { question } from "./confirm";
import { beginOf, dayHeading, endOf, fieldName, thing } from "./format";
import { now } from "./live";
import { isAtDevice, may } from "./me";
import { Foreign } from "./parts";
import { go, link, place } from "./router";
import { ask } from "./server";
import type { ItemDetail, ItemView, ItemsPage } from "./types";
import { MOST, type Values, type Verdict, canUndo, delay, give, isUndecided, isUndoable, note, undo, unsent, withdraw, whenFailed, whenUndone } from "./verdicts";

export const ROWS = 100; // of which more are read while fewer are ahead
const MAX_ROWS = 1_000; // of one page
const AHEAD = ROWS / 2; // so that a list that was just read is not read again at once
const MAX_TYPED = 1_000;
export const DONE = { approve: "Approved", edit: "Changed", reject: "Rejected" } as const;

interface List {
  /** Of the request that it answers. */
  readonly key: string;
  /** All that were listed, in their order. */
  readonly rows: readonly ItemView[];
  readonly listed: ReadonlySet<string>;
  /** Leads to the items behind these; undefined: nothing has been read. */
  readonly next: string | null | undefined;
}
interface Typed {
  readonly key: string;
  readonly action: () => void | Promise<void>;
}
const EMPTY: List = { key: "", rows: [], listed: new Set(), next: undefined };

export const list = signal(EMPTY);
/** Number of items to read. */
export const size = signal(ROWS);
/** Items that are selected. */
export const chosen = signal<ReadonlyMap<string, ItemView>>(new Map());
/** Item that is edited. */
export const edited = signal<string>();
/** Item that is shown, where no list has it. */
const shown = signal<ItemDetail>();
/** Items that wait again here, and that the hub does not list yet. */
const restored = signal<ReadonlySet<string>>(new Set());
let typed: Typed[] = []; // keys that wait for what they act on
let early = ""; // typed before the form was there
let isActing = false;
let isAtEnd = false; // of what was read, which goes on

/** Words and days that the listed items have, if any are asked for; counts know nothing of them. */
export const sought = computed(() => {
  const { q, person, project, due_since, due_until } = Object.fromEntries(place.value.query);
  const given = Object.entries({ q, person, project, due_since: beginOf(due_since), due_until: endOf(due_until) });
  return Object.fromEntries(given.filter(([, value]) => value !== undefined));
});
/** Whether items are found by them, in an order of the hub's own. */
export const isSought = computed(() => Object.keys(sought.value).length > 0);
/** Whether less sure items are listed, of which none is decided. */
export const isUnsure = computed(() => place.value.query.get("unsure") === "true" && !place.value.query.has("verdict"));
/** What is listed: the other filters of the address. */
export const asked = computed(() => {
  const { agent, run, table, device, warning, path, text, proposed, verdict = "open", apart } = Object.fromEntries(place.value.query);
  if (isUnsure.value) return { agent, run, table, device, warning, path, text, unsure: "true" };
  // Agents list items of unknown authors apart; a run's items, and those of one warning, are shown together.
  const isApart = apart ?? ((run ?? warning ?? proposed) !== undefined || isSought.value ? undefined : "false");
  return { agent, run, table, device, warning, path, text, proposed, apart: isApart, verdict: verdict === "any" ? undefined : verdict };
});
export const ORDERS = ["day", "file", "doubt"] as const;
/** Order of the list; undefined: a search by words has its own. */
export const order = computed(() => {
  const asked = place.value.query.get("by");
  return sought.value.q === undefined ? (ORDERS.find((one) => one === asked) ?? "day") : undefined;
});

/** Return found items in the order that is chosen, the marked ones last. */
function inOrder(items: readonly ItemView[]): readonly ItemView[] {
  if (!isSought.value || order.value === undefined) return items;
  const key = ({ warnings, day, path }: ItemView): string => `${Math.min(warnings.length, 1)} ${order.value === "day" ? (day ?? "none") : ""} ${path}`;
  return [...items].sort((one, other) => (key(one) < key(other) ? -1 : key(one) > key(other) ? 1 : 0));
}

export interface Group {
  readonly title: string;
  /** Of the file that its items are from; undefined: of several. */
  readonly path?: string;
  readonly items: readonly [ItemView, ...ItemView[]];
}

const TWICE = "From others, or marked: look twice";

/** Return where an item is in the list: a heading, below which are the items around it with the same one. */
export function headingOf(item: ItemView): string {
  if (order.value !== undefined && item.warnings.length > 0) return TWICE;
  if (order.value === "doubt") return item.found_by === "model" ? "Found by a model" : "Found by rules";
  if (order.value !== "day") return item.path;
  return dayHeading(item.day, now.value);
}

/** Return the items below their headings, in the order of the list. */
export function groupsOf(items: readonly ItemView[]): readonly Group[] {
  const groups: { title: string; path?: string; items: [ItemView, ...ItemView[]] }[] = [];
  for (const item of items) {
    const title = headingOf(item);
    const last = groups.at(-1);
    const isFile = title === item.path;
    if (last?.title === title && (!isFile || last.items[0].device === item.device)) last.items.push(item);
    else groups.push({ title, items: [item], ...(isFile && { path: item.path }) });
  }
  return groups;
}

/** The item that is shown: that of the address, or the first one that waits. */
export const current = computed(
  () => place.value.query.get("item") ?? (list.value.rows.find((row) => isHere(row) && isOpen(row)) ?? list.value.rows.find(isHere))?.id,
);
/** Number of items that were decided here, and that the hub still lists. */
export const onTheWay = computed(() => list.value.rows.filter((row) => row.verdict === "open" && list.value.listed.has(row.id) && !isUndecided(row)).length);
export const rows = computed(() => list.value.rows.filter((row) => isHere(row) || row.id === current.value));

function isHere({ id }: ItemView): boolean {
  return list.value.listed.has(id) || restored.value.has(id);
}

/** Return whether an item waits for a verdict that can be given here. */
export function isOpen(item: ItemView): boolean {
  return may("review") && isUndecided(item) && !item.device_refuses;
}

function subject(): ItemView | undefined {
  return rows.value.find(({ id }) => id === current.value) ?? (shown.value?.id === current.value ? shown.value : undefined);
}

/** Begin with another list, unless it is this one. */
export function begin(key: string): void {
  if (list.value.key === key) return;
  if (!isAtEnd) typed = [];
  list.value = { ...EMPTY, key };
  restored.value = new Set();
  chosen.value = new Map(); // a key decides about nothing that is listed no more
  size.value = ROWS;
}

/** Take what the hub lists now. What was listed before keeps its place. */
export function take(key: string, page: ItemsPage): void {
  if (list.value.key !== key) return;
  note(page.items);
  const listed = new Set(page.items.map(({ id }) => id));
  restored.value = new Set([...restored.value].filter((id) => !listed.has(id)));
  // What was decided elsewhere is selected no more; one that has changed is, as it was shown: the hub refuses its verdict.
  const rest = [...chosen.value].filter(([id, was]) => page.items.some((row) => row.id === id && (isOpen(was) ? isOpen(row) : canUndo(row))) || (!listed.has(id) && !list.value.listed.has(id)));
  if (rest.length < chosen.value.size) chosen.value = new Map(rest);
  const before = list.value.rows.filter(({ id }) => listed.has(id) || isUndoable(id) || restored.value.has(id) || id === current.value);
  list.value = { key, rows: merged(before, inOrder(page.items)), listed, next: page.next_cursor };
  if (isAtEnd) advance();
  grow();
  void act();
}

/** Take an item that was read by itself: the list may not have it, or have it as it was. */
export function takeOne(item: ItemDetail | undefined): void {
  shown.value = item;
  if (item) list.value = { ...list.value, rows: list.value.rows.map((row) => (row.id === item.id ? item : row)) };
  void act();
}

/** Merge two lists of the same order; of what both have, take that of the second, unless it is equal: it is not drawn again. */
function merged(before: readonly ItemView[], now: readonly ItemView[]): readonly ItemView[] {
  const places = new Map(before.map(({ id }, place) => [id, place]));
  const all: ItemView[] = [];
  let from = 0;
  for (const read of now) {
    const to = places.get(read.id);
    const known = to === undefined ? undefined : before[to];
    const row = known && JSON.stringify(known) === JSON.stringify(read) ? known : read;
    if (to !== undefined && to >= from) {
      all.push(...before.slice(from, to));
      from = to + 1;
    }
    all.push(row);
  }
  return [...all, ...before.slice(from)];
}

/** Read more items before the last one is reached, or where a decision found none that waits. */
function grow(): void {
  const at = rows.value.findIndex(({ id }) => id === current.value);
  const ahead = rows.value.length - at - 1; // also of those that cannot be decided here: a thousand may follow
  if (list.value.next && (isAtEnd || ahead < AHEAD) && size.value < MAX_ROWS && list.value.listed.size >= size.value) size.value += ROWS;
}

/** Press a key: it acts once all before it have acted, on the items that they leave. */
export function press(key: string, action: Typed["action"]): void {
  if (edited.value !== undefined && edited.value === current.value) early += key.length === 1 ? key : "";
  else if (typed.length < MAX_TYPED) typed.push({ key, action });
  void act();
}

/** Let keys act as long as there is something to act on. */
export async function act(): Promise<void> {
  if (isActing) return;
  isActing = true;
  try {
    while (typed.length > 0 && isReady()) await typed.shift()?.action();
  } finally {
    isActing = false;
  }
}

function isReady(): boolean {
  return list.value.next !== undefined && !isAtEnd && !question.value && (current.value === undefined || subject() !== undefined);
}

export function show(next: string | undefined): void {
  edited.value = undefined;
  if (next === undefined) return;
  const query = Object.fromEntries(place.value.query);
  go(link(["inbox"], { ...query, item: next }), { replace: query["item"] !== undefined });
  requestAnimationFrame(() => document.querySelector<HTMLElement>(".picks [aria-current]")?.focus());
}

export function move(step: number): void {
  const at = rows.value.findIndex(({ id }) => id === current.value);
  show(rows.value[at < 0 ? 0 : Math.min(rows.value.length - 1, Math.max(0, at + step))]?.id);
  grow();
}

/** Show the next item that waits, once it is read; one that was passed over is left to its reader. */
function advance(): void {
  const at = rows.value.findIndex(({ id }) => id === current.value);
  const here = rows.value[at];
  const next = here && isOpen(here) ? here : rows.value.slice(at + 1).find(isOpen);
  isAtEnd = next === undefined && typeof list.value.next === "string";
  if (next && next !== here) show(next.id);
  if (isAtEnd && size.value >= MAX_ROWS) {
    const query = Object.fromEntries(place.value.query);
    go(link(["inbox"], { ...query, item: undefined, cursor: list.value.next ?? undefined }));
  }
  grow();
}

export function toggle(one: ItemView | undefined): void {
  if (!one) return;
  const rest = new Map(chosen.value);
  if (!rest.delete(one.id)) rest.set(one.id, one);
  chosen.value = rest;
}

/** Clear the selection, and forget the keys that wait. */
export function clear(): void {
  typed = [];
  early = "";
  edited.value = undefined;
  chosen.value = new Map();
}

/** Decide about the selected items, else about the one that is shown. */
export function judge(verdict: Verdict, data?: Values, version?: number): void {
  const shown = subject();
  const one = shown && version !== undefined ? { ...shown, version } : shown;
  const them = data || chosen.value.size === 0 ? (one ? [one] : []) : [...chosen.value.values()];
  const taken = them.filter((item) => isOpen(item) && (verdict === "reject" || !item.needs_owner));
  if (verdict === "approve" && !data && chosen.value.size === 0 && taken[0] && taken[0].lacks.length > 0) {
    // What was typed ahead was not meant for its form.
    if (typed.length > 0) report(<>{titled(taken)} lacks {taken[0].lacks.map(fieldName).join(", ")}: e fills it in</>, true);
    else edited.value = taken[0].id;
    typed = [];
    return;
  }
  decide(taken, verdict, data, whyNot(them[0], verdict));
}

/** Give what is proposed on the selected items, else on the one that is shown: of several proposals, the newest. */
export function accept(): void {
  const one = subject();
  const them = chosen.value.size === 0 ? (one ? [one] : []) : [...chosen.value.values()];
  const taken = them.filter((item) => isOpen(item) && item.proposals[0] && (item.proposals[0].verdict === "reject" || !item.needs_owner));
  const isEmpty = them.some(isOpen) && !them.some((item) => item.proposals[0]);
  const left = chosen.value.size > 0 ? taken.filter(isChange).length : 0;
  const more = left > 0 ? `; ${left} that change values are left out: accept each where it is shown` : "";
  if (left > 0 && left === taken.length) return report(`Nothing was accepted${more}`, true);
  if (taken.length === 0) return report(isEmpty ? "Nothing is proposed here." : whyNot(them[0], "approve"), true);
  for (const verdict of ["approve", "edit", "reject"] as const) {
    const alike = taken.filter((item) => item.proposals[0]?.verdict === verdict && (left === 0 || !isChange(item)));
    if (alike.length > 0) decide(alike, verdict, undefined, "", `, as was proposed${more}`, true);
  }
}

/** Return whether an item would change what its owner has approved, or others propose to change it, or at its device to delete it. */
function isChange({ changes, proposals: [one] }: ItemView): boolean {
  return changes.length > 0 || one !== undefined && (isAtDevice() || Object.keys(one.data).length > 0);
}

/** Return whether an item may be approved with others: it has no mark, lacks nothing, and nobody would change it. */
export function isPlain(item: ItemView): boolean {
  return item.warnings.length === 0 && !item.needs_owner && item.lacks.length === 0 && !isChange(item);
}

/** Decide about the items of a file that wait. One with a mark is never approved with others. */
export function judgeFile(items: readonly ItemView[], verdict: Verdict): void {
  const open = items.filter(isOpen);
  decide(verdict === "reject" ? open : open.filter(isPlain), verdict, undefined, "Nothing waits here.");
}

/** Decide about items. One with a mark is approved alone, once its mark and its words were shown. */
function decide(items: readonly ItemView[], verdict: Verdict, data: Values | undefined, why: string, more = "", isProposed = false): void {
  const [one, ...others] = items;
  const marked = verdict === "reject" ? [] : items.filter(({ warnings }) => warnings.length > 0);
  if (one && marked.length > 0 && others.length === 0) {
    const label = verdict === "edit" ? "Change this one" : "Approve this one";
    question.value = { item: one, label, agreed: (item) => conclude([{ ...item, proposals: one.proposals }], verdict, data, why, more, isProposed, true) };
    return;
  }
  const plain = items.filter((item) => !marked.includes(item));
  const left = marked.length > 0 ? `; ${marked.length} with a mark wait: decide about each where it is shown` : "";
  conclude(plain, verdict, data, left ? left.slice(2) : why, more + left, isProposed);
}

function conclude(items: readonly ItemView[], verdict: Verdict, data: Values | undefined, why: string, more: string, isProposed: boolean, isConfirmed = false): void {
  if (items.length === 0) return report(why, true);
  if (!give(items, verdict, data, isProposed, isConfirmed)) return;
  chosen.value = new Map();
  edited.value = undefined;
  report(<>{DONE[verdict]} {titled(items.map((item) => ({ ...item, title: String(data?.["title"] ?? item.title) })))}{more}</>, false, takeBack);
  advance();
}

function whyNot(item: ItemView | undefined, verdict: Verdict): string {
  const left = rows.value.filter(isOpen).length;
  if (!item || !isUndecided(item)) return left > 0 ? `Nothing waits below; ${left} above: k` : "Nothing waits here.";
  if (item.device_refuses) return `Its computer takes no decision from here: ${because(item.device_refuses)}.`;
  return verdict === "approve" ? "It has a mark, so only its owner approves it." : "Nothing waits here.";
}

/** Edit the item that is shown. What is typed next goes into its form. */
export function edit(): void {
  const one = subject();
  if (!one || !isOpen(one) || one.needs_owner) return report(whyNot(one, "approve"), true);
  early = typed.map(({ key }) => (key.length === 1 ? key : "")).join("");
  typed = [];
  edited.value = one.id;
}

/** Return what was typed before the form was there. */
export function typedEarly(): string {
  const text = early;
  early = "";
  return text;
}

/** Take the last decision back, and show its item. */
export function takeBack(): void {
  const step = undo();
  const one = step?.items[0];
  if (!step || !one) return report("There is nothing to undo.");
  const ids = step.items.map(({ id }) => id);
  restored.value = new Set([...restored.value, ...ids]);
  show(one.id);
  reportUndoing(step.items);
}

/** Take the newest decisions about items back, whichever window gave them. */
export function undoThese(items: readonly ItemView[]): void {
  if (!withdraw(...items)) return;
  restored.value = new Set([...restored.value, ...items.map(({ id }) => id)]);
  chosen.value = new Map();
  reportUndoing(items);
}

let undoing: typeof outcome.value = null; // of an undo that is on its way

/** Say that decisions are being taken back, until the hub has done so. */
export function reportUndoing(items: readonly ItemView[]): void {
  report(<>Undoing: {titled(items)}</>);
  undoing = outcome.value;
}

/** Select all items without a warning or a change that the filters let through; of decided ones, those that can be undone. */
export async function pickAll(): Promise<void> {
  const { warning, verdict = "open" } = asked.value;
  const isPast = verdict !== "open";
  const isMarked = !isPast && warning !== undefined && warning !== "none";
  const page = await listed({ ...asked.value, ...sought.value, verdict, ...(!isPast && !isMarked && { warning: "none" }) });
  const found = page.items.filter((item) => isPast ? canUndo(item) : isOpen(item) && !isChange(item));
  if (found.length === 0) return report(isPast ? "None of these was decided at the hub." : "None of these items has no warning and can be decided here.", true);
  const isAgain = found.every(({ id }) => chosen.value.has(id));
  chosen.value = new Map(isAgain ? [] : found.map((row) => [row.id, row]));
  if (isAgain) return;
  const more = page.next_cursor ? "; there are more: once these are decided, A selects the next ones" : "";
  if (isMarked) report(<>{titled(found)} selected, to be rejected together; each is approved where it is shown{more}</>);
  else if (more) report(<>{titled(found)} selected{more}</>);
}

export async function rejectFile(): Promise<void> {
  const one = subject();
  if (!one) return;
  const { items, next_cursor: next } = await listed({ verdict: "open", path: one.path, device: one.device ?? undefined, unsure: one.verdict === "held" ? "true" : undefined });
  const here = items.filter((item) => item.path === one.path && isOpen(item)); // a name may be that of several files
  decide(here, "reject", undefined, whyNot(one, "reject"), next ? "; the file has more: R rejects the next ones" : "");
}

/** Return the items that a filter lets through, as many as one request may judge, and what leads to more. */
async function listed(asked: Readonly<Record<string, string | undefined>>): Promise<ItemsPage> {
  try {
    const query = { ...asked, limit: MOST };
    let page: ItemsPage = await ask("get", "/v1/items", { query });
    // A page may have none of the items that the hub looked through.
    while (page.items.length === 0 && page.next_cursor) page = await ask("get", "/v1/items", { query: { ...query, cursor: page.next_cursor } });
    return page;
  } catch (error) {
    refused(error);
    return { items: [], next_cursor: null };
  }
}

whenUndone((items) => {
  if (undoing !== null && outcome.value === undoing) report(<>Undone: {titled(items)}</>);
});

whenFailed((failed, taken) => {
  const ends = failed.map(({ verdict, why }) => `${verdict === "undo" ? "undone" : DONE[verdict].toLowerCase()}: ${why}`);
  const left = [...new Set(ends)].map((end) => [end, failed.filter((_, at) => ends[at] === end).map(({ item }) => item)] as const);
  report(<>{taken > 0 && `${taken} of ${taken + failed.length} taken. `}{left.map(([end, items]) => <>{titled(items)} {items.length === 1 ? "was" : "were"} not {end}. </>)}</>, true);
});

const REASONS: Readonly<Record<string, string>> = {
  not_granted: "its owner has not granted review.remote to the hub",
  call_unsupported: "the program there takes no such decision from a hub: decide there",
  changed_meanwhile: "its owner decided otherwise, or the item has changed since",
  database_conflict: "the row is not there any more",
  device_error: "the program there answered otherwise than asked: look there",
  bad_record: "a value, or the project or task that it names, does not fit what is there: change it, or decide there by hub review",
};

export function because(reason: string | null | undefined): string {
  return reason ? (REASONS[reason] ?? reason) : "";
}

/** Why the newest decision about an item was refused; an undo of what the page Tasks lists is done there. */
export function refusalOf({ given, table, verdict }: Pick<ItemView, "given" | "table" | "verdict">): string {
  const isListed = (table === "tasks" || table === "timelines") && (verdict === "approved" || verdict === "edited");
  if (isListed && given?.verdict === "undo" && given.reason === "changed_meanwhile") return "it was ticked or changed since, or its computer does not know any more how it was before; the page Tasks can try it again";
  return because(given?.reason);
}

export function titled(items: readonly ItemView[]): ComponentChildren {
  const [one] = items;
  if (items.length !== 1 || !one) return one && items.every(({ table }) => table === one.table) ? thing(one.table, items.length) : `${items.length} suggestions`;
  return (
    <>
      “<Foreign of={one.title.length > 60 ? `${one.title.slice(0, 60)}…` : one.title} />”
    </>
  );
}

/** Number of decisions that the hub has not taken yet. */
export function BeingSaved({ after }: { after: string }): JSX.Element | null {
  return unsent.value > 0 ? <span class="unsent">{`${after}${unsent.value} being saved`}</span> : null;
}

/** Why none is taken for now. */
export function Delay(): JSX.Element | null {
  const isOne = unsent.value === 1;
  return delay.value ? <p class="banner">{unsent.value} {isOne ? "decision is" : "decisions are"} kept in this window until the hub takes {isOne ? "it" : "them"}: {delay.value}</p> : null;
}
