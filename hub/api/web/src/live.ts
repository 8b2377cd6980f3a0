// What changes at the hub: the stream of changes, and the readings that have to be read again for it.
import { signal } from "@preact/signals";
import { ask, Refusal } from "./server";

export type Kind =
  | "agent"
  | "board"
  | "broadcast"
  | "connector"
  | "device"
  | "gateway"
  | "invitation"
  | "issue"
  | "item"
  | "message"
  | "pairing"
  | "proposal"
  | "question"
  | "run"
  | "schedule"
  | "settings"
  | "target"
  | "verdict";
interface Change {
  readonly kind: Kind;
  readonly id: string;
}
/** Changes; "now": what was done here changed anything. */
type Listener = (changes: readonly Change[] | "all" | "now") => void;

/** When the connection to the hub was lost; null: what is shown is current. */
export const lostAt = signal<number | null>(null);
/** Whether the hub asks who this is. */
export const isSignedOut = signal(false);
/** How often a window of this browser signed in, or this one came back: the session may be another person's. */
export const entries = signal(0);
/** The time, for ages that are shown. */
export const now = signal(Date.now());

const RETRY_MS = 3_000;
const TICK_MS = 10_000;
const SILENT_TICKS = 3; // without a word, after which the window with the stream is taken for dead
const SOON_MS = 1_000; // after a window begins: what is read until then is newer than the stream
const PATH = "/v1/changes";
const listeners = new Set<Listener>();
/** The windows of this browser. It has six connections to a hub for all of them: one window holds the stream. */
const windows = new BroadcastChannel(PATH);
let leaving = new AbortController();
let silence = 0; // ticks since the window with the stream, which may be this one, was heard
let isLate = false; // a stream that opens now may have missed what changed since this window began

export function onChange(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function tell(changes: Parameters<Listener>[0]): void {
  for (const listener of listeners) listener(changes);
}

/** Read anew what is shown, after something was done here; what is left meanwhile is not. */
export function refresh(): void {
  setTimeout(() => tell("now"));
}

function receive(news: readonly Change[] | "all" | "lost" | "here" | "entered"): void {
  silence = 0;
  if (news === "here") return;
  if (news === "entered") return void (entries.value += 1);
  if (news === "lost") return void (lostAt.value ??= Date.now());
  lostAt.value = null;
  tell(news);
}

function share(news: Parameters<typeof receive>[0]): void {
  windows.postMessage(news);
  receive(news);
}

/** Let all windows find out whose session it is now. */
export function enter(): void {
  windows.postMessage("entered");
}

/** Follow the changes while this window is seen, by its own stream or that of another window, or take that one over. */
export function follow(steal = false): void {
  leaving.abort(); // of a session before
  const { signal } = (leaving = new AbortController());
  windows.onmessage = ({ data }) => document.hidden || receive(data);
  addEventListener("pagehide", leave);
  addEventListener("pageshow", comeBack);
  document.addEventListener("visibilitychange", comeBack);
  setTimeout(() => (isLate = true), SOON_MS);
  if (document.hidden) return;
  // Only pages over TLS or of this machine have locks.
  if (!navigator.locks) return void stream(signal);
  const how = steal ? { steal } : { signal };
  // A window whose stream was taken over waits for its turn again.
  navigator.locks.request(PATH, how, () => signal.aborted || stream(signal)).catch(() => signal.aborted || follow());
}

function leave(): void {
  leaving.abort();
}

/** Begin anew in a window that is seen again; the browser keeps pages that were left. */
function comeBack(event: Event): void {
  if (document.hidden) leave();
  else if (event.type !== "pageshow" || (event as PageTransitionEvent).persisted) {
    follow();
    receive("all");
    entries.value += 1;
  }
}

/** Tell all windows of the changes until this one is left. The browser shows the id of the last one when it connects again. */
function stream(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const source = new EventSource(PATH);
    const beat = setInterval(() => share("here"), TICK_MS / 2);
    signal.addEventListener("abort", () => {
      clearInterval(beat);
      resolve(source.close());
    });
    source.addEventListener("open", () => (isLate ? share("all") : windows.postMessage("all")), { once: true });
    source.addEventListener("open", () => share([]));
    source.addEventListener("reset", () => share("all"));
    source.addEventListener("changed", (event) => {
      share((JSON.parse((event as MessageEvent<string>).data) as { changes: readonly Change[] }).changes);
    });
    source.addEventListener("error", () => {
      share("lost");
      if (source.readyState === EventSource.CLOSED) void again(signal);
    });
  });
}

/** Open a stream that was refused once more, unless the session has ended. */
async function again(signal: AbortSignal): Promise<void> {
  try {
    await ask("get", "/v1/me");
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) {
      isSignedOut.value = true;
      return leave();
    }
  }
  setTimeout(() => signal.aborted || follow(), RETRY_MS);
}

export function keepTime(): void {
  setInterval(() => {
    now.value = Date.now();
    // By ticks, which a sleeping machine has none of: a window may hang, or ask something before it is closed.
    if (document.hidden || leaving.signal.aborted || ++silence <= SILENT_TICKS) return;
    silence = 0;
    if (navigator.locks) follow(true);
  }, TICK_MS);
}
