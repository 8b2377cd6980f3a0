// Who is signed in. The hub decides what they may do; here it decides what is shown only.
import { signal } from "@preact/signals";
import type { Answer } from "./server";
import type { Scope } from "./types";

export const me = signal<Answer<"get", "/v1/me"> | null>(null);

export function may(scope: Scope): boolean {
  return me.value?.scopes.includes(scope) ?? false;
}
