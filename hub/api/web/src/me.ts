// Who is signed in. The hub decides what they may do; here it decides what is shown only.
import { signal } from "@preact/signals";
import type { Answer } from "./server";
import type { Scope } from "./types";

export const me = signal<Answer<"get", "/v1/me"> | null>(null);

/** Whether this is the page of a device, which its owner opened there: it has the items of that device alone. */
export function isAtDevice(): boolean {
  return me.value?.actor === "owner";
}

/** Whether the page is its owner's: what was found for them comes first, and what the hub does is folded away. */
export function isOwner(): boolean {
  return me.value?.is_owner ?? false;
}

/** Whether this browser has a session, which can be ended. */
export function hasSession(): boolean {
  return me.value?.actor.startsWith("session:") ?? false;
}

/** Whether the things of all users are shown, and those of the hub as a whole. */
export function seesAll(): boolean {
  return me.value?.user === null;
}

export function may(scope: Scope): boolean {
  return me.value?.scopes.includes(scope) ?? false;
}
