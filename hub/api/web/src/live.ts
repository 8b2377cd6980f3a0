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
/** The time, for ages that are shown. */
export const now = signal(Date.now());

const RETRY_MS = 3_000;
const TICK_MS = 10_000;
const listeners = new Set<Listener>();
let followed: EventSource | undefined;

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

/** Follow the changes for good. The browser shows the id of the last one when it connects again. */
export function follow(): void {
  followed?.close(); // of a session before
  const stream = (followed = new EventSource("/v1/changes"));
  stream.addEventListener("open", () => (lostAt.value = null));
  stream.addEventListener("reset", () => tell("all"));
  stream.addEventListener("changed", (event) => {
    tell((JSON.parse((event as MessageEvent<string>).data) as { changes: readonly Change[] }).changes);
  });
  stream.addEventListener("error", () => {
    lostAt.value ??= Date.now();
    if (stream.readyState === EventSource.CLOSED) void again();
  });
}

/** Open a stream that was refused once more, unless the session has ended. */
async function again(): Promise<void> {
  try {
    await ask("get", "/v1/me");
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) {
      isSignedOut.value = true;
      return;
    }
  }
  setTimeout(() => {
    follow();
    tell("all");
  }, RETRY_MS);
}

export function keepTime(): void {
  setInterval(() => (now.value = Date.now()), TICK_MS);
}
