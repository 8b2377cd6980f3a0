// Verdicts of this window. Each counts here at once; requests to the hub follow the keys, in their order.
import { signal } from "@preact/signals";
import { report } from "./acting";
import { isSignedOut, onChange, refresh } from "./live";
import { Refusal, ask, fresh, leave } from "./server";
import type { ItemView, NewVerdictView, VerdictResult } from "./types";

export const MOST = 500; // items of one request
const AT_ONCE = 200; // verdicts of one request
const MAX_LEFT = 30_000; // bytes that are sent while the page ends, besides the request on its way
const MAX_STEPS = 1_000; // that can be undone
const MAX_UNSENT = 5_000;
const MAX_KEPT = 5_000; // of what was decided, or refused
const BETWEEN_MS = 200; // requests: what is decided meanwhile shares the next one
const AGAIN_MS = 1_000;
const ANSWER_MS = 20_000; // for a device to answer to the verdict before

export type Verdict = "approve" | "edit" | "reject";
export type Values = Readonly<Record<string, unknown>>;
interface Decided {
  readonly verdict: Verdict;
  readonly version: number;
  /** When the verdict before it was given, which its device may have refused. */
  readonly after: string | undefined;
  /** Of an approved row: its values, and its state as it was shown. */
  readonly data: Values | undefined;
  readonly seenRow: string | undefined;
}
interface Unsent {
  readonly item: ItemView;
  readonly verdict: Verdict | "undo";
  readonly data: Values | undefined;
  /** The one that is accepted, with its values as they are shown. */
  readonly proposal?: string | undefined;
  /** Its mark and its words were shown, and a person agreed. */
  readonly isConfirmed?: boolean;
  readonly step: Step;
  /** Its item was taken back as it is listed, which may be older than what this window gave. */
  readonly isListed?: boolean;
  /** When its item was first found to have another verdict on its way. */
  heldAt?: number;
}
interface Step {
  readonly verdict: Verdict;
  items: readonly ItemView[];
  /** When the hub stored its verdicts, by item. */
  readonly given: Map<string, string>;
}
export interface Failure {
  readonly why: string;
  /** What was typed, to be sent anew. */
  readonly data: Values | undefined;
}

/** What was decided here, by item: its device answers later. Null: that was undone. */
export const decided = signal<ReadonlyMap<string, Decided | null>>(new Map());
/** Verdicts that were not taken, by item. */
export const failures = signal<ReadonlyMap<string, Failure>>(new Map());
/** Number of verdicts that the hub has not taken yet. */
export const unsent = signal(0);
/** Why none is taken for now. */
export const delay = signal("");

type Answered = readonly VerdictResult[] | Refusal | undefined;

const queue: Unsent[] = [];
const undoneAfter = new Map<string, string | undefined>(); // when the verdict was given that was the newest one then
const steps: Step[] = [];
const newest = new Map<string, string>(); // when the hub stored the last verdict of this window, by item
let sending: readonly Unsent[] = []; // at the beginning of the queue
let isSending = false;
interface Failed {
  readonly item: ItemView;
  readonly verdict: Verdict | "undo";
  readonly why: string;
}
let onFailed: (failed: readonly Failed[], taken: number) => void = () => undefined;
let onUndone: (items: readonly ItemView[]) => void = () => undefined;

/** Set what is called with verdicts that were not taken, and the number of others that were decided with them. */
export function whenFailed(then: typeof onFailed): void {
  onFailed = then;
}

/** Set what is called with items whose verdicts were taken back. */
export function whenUndone(then: typeof onUndone): void {
  onUndone = then;
}

export function isOnItsWay(item: ItemView): boolean {
  return item.given?.state === "pending" || item.given?.state === "sent";
}

/** Return whether an item has no verdict, as far as this window knows. */
export function isUndecided(item: ItemView): boolean {
  const mine = decided.value.get(item.id);
  if (mine === null) return true;
  if (item.verdict === "held" && mine) return mine.version !== item.version; // a digest
  return (item.verdict === "open" || item.verdict === "held") && (mine ? mine.version < item.version : !isOnItsWay(item));
}

/** Decide about items, by their newest proposals or not. Return false, and say why, if too many wait for the hub already. */
export function give(items: readonly ItemView[], verdict: Verdict, data?: Values, isProposed = false, isConfirmed = false): boolean {
  if (isFull(items)) return false;
  const title = data?.["title"];
  const step = { verdict, items: typeof title === "string" ? items.map((item) => ({ ...item, title })) : items, given: new Map() };
  steps.push(step);
  if (steps.length > MAX_STEPS) steps.shift();
  decide(items, verdict, data);
  for (const item of items) {
    const proposal = isProposed ? item.proposals[0] : undefined;
    queue.push({ item, verdict, data: proposal?.data ?? data, proposal: proposal?.id, isConfirmed, step });
  }
  void send();
  return true;
}

/** Take back the last decision that was not taken back. Return its items; undefined: there is none. */
export function undo(): Step | undefined {
  const step = steps.pop();
  if (!step) return undefined;
  restore(step.items);
  const unheard: ItemView[] = [];
  for (const item of step.items) {
    const at = queue.findIndex((one, place) => place >= sending.length && one.step === step && one.item.id === item.id);
    if (at >= 0) unheard.push(...queue.splice(at, 1).map((one) => one.item)); // the hub never hears of it
    else queue.push({ item, verdict: "undo", data: undefined, step });
  }
  if (unheard.length > 0) queueMicrotask(() => onUndone(unheard));
  void send();
  return step;
}

/** Take the newest verdicts on items back, whichever window gave them. Return false, and say why, if too many wait. */
export function withdraw(...items: readonly ItemView[]): boolean {
  if (isFull(items)) return false;
  forget(items.map(({ id }) => id));
  restore(items);
  for (const item of items) {
    const was = item.given?.verdict ?? "undo";
    const given = new Map(item.given && was !== "undo" ? [[item.id, item.given.created_at]] : []);
    queue.push({ item, verdict: "undo", data: undefined, step: { verdict: was === "undo" ? "edit" : was, items: [item], given }, isListed: true });
  }
  void send();
  return true;
}

function restore(items: readonly ItemView[]): void {
  decided.value = new Map([...decided.value, ...items.map(({ id }) => [id, null] as const)]);
  for (const { id, given } of items) undoneAfter.set(id, given?.created_at);
}

function isFull({ length }: readonly ItemView[]): boolean {
  const isFull = queue.length + length > MAX_UNSENT;
  if (isFull) report("Too many decisions wait for the hub: go on once it has taken them.", true);
  return isFull;
}

/** Return whether the newest verdict on an item can be taken back from here. */
export function canUndo(item: ItemView): boolean {
  const { given } = item;
  return !isUndecided(item) && (decided.value.has(item.id) || (given !== null && given.verdict !== "undo" && given.state !== "refused"));
}

/** Note that devices have refused verdicts: the items wait again. */
export function forget(ids: readonly string[]): void {
  decided.value = new Map([...decided.value].filter(([id]) => !ids.includes(id)));
  for (const step of steps) step.items = step.items.filter(({ id }) => !ids.includes(id));
  for (const [at, step] of [...steps.entries()].reverse()) if (step.items.length === 0) steps.splice(at, 1);
}

/** Note what the hub lists now: an item that waits there, undone or changed alone, needs no note here. */
export function note(rows: readonly ItemView[]): void {
  const done = rows.filter(
    (row) => (decided.value.get(row.id) === null || isChanged(row)) && (row.verdict === "open" || row.verdict === "held") && !isOnItsWay(row) && !queue.some(({ item }) => item.id === row.id),
  );
  if (done.length > 0) decided.value = new Map([...decided.value].filter(([id]) => !done.some((row) => row.id === id)));
}

/** Return whether the device has changed an item as was decided here, and left it open, or another window took that back. */
function isChanged({ id, given }: ItemView): boolean {
  const mine = decided.value.get(id);
  return (mine?.verdict === "edit" || given?.verdict === "undo") && given?.state === "done" && given.created_at !== mine?.after;
}

/** Return the rows whose devices have refused what was decided or undone here. */
export function refusedOf<Row extends ItemView>(rows: readonly Row[]): readonly Row[] {
  return rows.filter(({ id, given }) => {
    const mine = decided.value.get(id);
    const after = mine === null ? undoneAfter.get(id) : mine?.after;
    if (!given || mine === undefined || given.state !== "refused" || given.created_at === after) return false;
    return mine === null ? given.verdict === "undo" : (newest.get(id) ?? given.created_at) === given.created_at; // else another window's
  });
}

/** Return whether a verdict on an item can be undone here. */
export function isUndoable(id: string): boolean {
  return steps.some((step) => step.items.some((item) => item.id === id));
}

function decide(items: readonly ItemView[], verdict: Verdict, data?: Values): void {
  const mine = items.map((item) => [item.id, { verdict, version: item.version, after: item.given?.created_at, data, seenRow: seenRowOf(item) }] as const);
  decided.value = new Map([...decided.value, ...mine].slice(-MAX_KEPT));
  failures.value = new Map([...failures.value].filter(([id]) => !items.some((item) => item.id === id)));
}

/** Send what waits until nothing does: one request at a time, each with one verdict on an item at most. */
async function send(): Promise<void> {
  unsent.value = queue.length;
  if (isSending) return;
  isSending = true;
  try {
    while (queue.length > 0) {
      sending = beginning();
      const verdicts = sending.map(body);
      const key = fresh(); // an answer that was lost is given again
      let answer: Answered;
      while ((answer = await answered(verdicts, key)) === undefined) await changed();
      const sent = queue.splice(0, sending.length);
      sending = [];
      const held = settled(sent, answer);
      queue.unshift(...held);
      unsent.value = queue.length;
      if (sent.some(({ verdict }) => verdict === "undo")) refresh(); // what was read while it was sent may be of before
      if (held.length > 0) await changed();
      else await new Promise((resolve) => setTimeout(resolve, BETWEEN_MS));
    }
  } finally {
    isSending = false;
    sending = [];
  }
}

function beginning(): readonly Unsent[] {
  const ids = new Set<string>();
  const end = queue.findIndex(({ item }) => ids.size === ids.add(item.id).size);
  return queue.slice(0, Math.min(sizeOfFirst(queue), end < 0 ? queue.length : end));
}

/** Return how many verdicts the first request has: one of them at most is about an item with a mark. */
function sizeOfFirst(verdicts: readonly Unsent[]): number {
  const first = verdicts.findIndex(({ isConfirmed }) => isConfirmed);
  const second = first < 0 ? -1 : verdicts.findIndex(({ isConfirmed }, at) => isConfirmed && at > first);
  return Math.min(AT_ONCE, second < 0 ? verdicts.length : second);
}

/** Return when the verdict was given that an undo takes back; undefined: the page does not know. */
function undoes({ item: { id }, step, isListed }: Unsent): string | undefined {
  const [shown, mine] = [step.given.get(id), isListed ? newest.get(id) : undefined];
  return shown && mine ? (shown < mine ? mine : shown) : shown;
}

function body(one: Unsent): NewVerdictView {
  const { item, verdict, data, proposal, isConfirmed, step } = one;
  const { id, version } = item;
  const seen = verdict === "edit" || verdict === "undo" ? seenRowOf(item) : undefined;
  const also = verdict === "approve" ? item.also.map((one) => one.id).filter((other) => !step.items.some((one) => one.id === other)) : []; // as its row shows them
  const more = { ...(also.length > 0 && { also }), ...(data && { data }), ...(proposal && { proposal }), ...(seen && { seen_row: seen }), ...(isConfirmed && { confirmed: true }) };
  const before = verdict === "undo" ? undoes(one) : undefined;
  return { id, verdict, ...(verdict !== "undo" && { version }), ...(before && { undoes: before }), ...more };
}

/** Return the state of an approved row as it was shown; an open item has none. */
function seenRowOf(item: ItemView): string | undefined {
  return "seen_row" in item ? String(item.seen_row) : undefined;
}

/** Note that a change of an item was refused, and why. */
export function refuse(id: string, failure: Failure): void {
  failures.value = new Map([...failures.value, [id, failure] as const].slice(-MAX_KEPT));
}

/** Drop what waits: another person signs in. */
export function drop(): void {
  queue.length = 0;
}

/** Return the hub's answer: a result for each, or why it takes none; undefined: it is to be asked again. */
async function answered(verdicts: readonly NewVerdictView[], key: string): Promise<Answered> {
  if (isSignedOut.value) return undefined; // the next session may be another person's
  try {
    const { results } = await ask("post", "/v1/items/verdicts", { body: { verdicts }, key, outlives: true });
    delay.value = "";
    return results;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (error.status === 401) isSignedOut.value = true;
    if (![0, 401, 408, 429].includes(error.status) && error.status < 500) return error;
    delay.value = error.message;
    return undefined;
  }
}

/** Note the results of verdicts. Return those to be sent again, once devices have answered to the ones before. */
function settled(sent: readonly Unsent[], answer: Exclude<Answered, undefined>): readonly Unsent[] {
  const held: Unsent[] = [];
  const failed: (readonly [Unsent, string])[] = [];
  const lost = new Set<Unsent>(); // undone by nothing: another decision followed
  sent.forEach((one, at) => {
    const result = answer instanceof Refusal ? undefined : answer[at];
    const error = answer instanceof Refusal ? answer : result?.error;
    if (!error && result?.created_at && one.verdict !== "undo") {
      one.step.given.set(one.item.id, result.created_at);
      newest.set(one.item.id, result.created_at);
    }
    if (!error) return;
    if (one.verdict === "undo" && error.code === "changed_meanwhile") lost.add(one);
    one.heldAt ??= performance.now();
    if (error.code === "verdict_under_way" && performance.now() - one.heldAt < ANSWER_MS) held.push(one);
    else failed.push([one, plain(error.message)]);
  });
  if (failed.length > 0) fail(failed, lost);
  const undone = sent.filter((one) => one.verdict === "undo" && !held.includes(one) && !failed.some(([other]) => other === one));
  if (undone.length > 0) onUndone(undone.map(({ item }) => item));
  return held;
}

/** Show items whose verdicts were not taken as they are at the hub. */
function fail(failed: readonly (readonly [Unsent, string])[], lost: ReadonlySet<Unsent>): void {
  const ids = new Set(failed.map(([{ item }]) => item.id));
  // What followed on the item was about a verdict that there is not; a failed one that was taken back is not reported.
  const undone = new Set(queue.filter(({ verdict }) => verdict === "undo").map(({ item }) => item.id));
  queue.splice(0, queue.length, ...queue.filter(({ item }) => !ids.has(item.id)));
  forget([...ids]);
  const missed = failed.filter(([{ item, verdict }]) => verdict === "undo" || !undone.has(item.id));
  for (const [one] of missed) {
    const { step, verdict, item } = one;
    if (verdict !== "undo" || lost.has(one)) continue;
    decide([item], step.verdict);
    steps.push({ ...step, items: [item] });
  }
  const reasons = missed.map(([{ item, data }, why]) => [item.id, { why, data }] as const);
  failures.value = new Map([...failures.value, ...reasons].slice(-MAX_KEPT));
  const theirs = [...new Set(missed.map(([one]) => one.step))];
  const taken = theirs.flatMap(({ items }) => items.filter(({ id }) => !ids.has(id))).length;
  if (missed.length > 0) onFailed(missed.map(([{ item, verdict }, why]) => ({ item, verdict, why })), taken);
}

/** Return an error about one item, without the id of the item that is shown. */
function plain(message: string): string {
  return message.replace(/^item '[^']*'(:?) /, (_, colon: string) => (colon ? "" : "the item "));
}

/** Wait until something changes at the hub, or for a second. */
async function changed(): Promise<void> {
  await new Promise<void>((resolve) => {
    const stop = onChange(() => (stop(), clearTimeout(timer), resolve()));
    const timer = setTimeout(() => (stop(), resolve()), AGAIN_MS);
  });
}

/** Send what waits while the page ends: what is on its way arrives without it. */
addEventListener("pagehide", () => {
  const rest = queue.splice(delay.value ? 0 : sending.length);
  while (rest.length > 0) leave("/v1/items/verdicts", { verdicts: rest.splice(0, sizeOfFirst(rest)).map(body) });
});
/** Ask before what waits for the hub would be lost: also a decision that would overtake the one before it on its item. */
addEventListener("beforeunload", (event) => {
  const rest = queue.slice(sending.length);
  const isMuch = JSON.stringify(rest.map(body)).length > MAX_LEFT;
  const overtakes = rest.some(({ item }) => sending.some((one) => one.item.id === item.id));
  if (isMuch || overtakes || (queue.length > 0 && delay.value)) event.preventDefault();
});
