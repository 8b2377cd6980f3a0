// Time of the last visit: kept in a cookie of this browser, which holds two times and nothing else.
import { effect } from "@preact/signals";
import { now } from "./live";

const NAME = `hub_visit_${location.port}`; // ports share the cookies of their host
const BREAK_MS = 30 * 60_000; // who was away for longer comes anew
const KEPT_S = 400 * 86_400;

const found = document.cookie.split("; ").find((one) => one.startsWith(`${NAME}=`));
let [before = 0, last = 0] = (found?.slice(NAME.length + 1) ?? "").split(".").map((part) => parseInt(part, 36) || 0);

/** Return when the visit before this one ended; null: this is the first one. */
export function lastVisit(): Date | null {
  return before ? new Date(before) : null;
}

/** Note the visit as long as the page is seen. */
export function noteVisit(): void {
  effect(() => {
    const at = now.value;
    if (document.visibilityState !== "visible") return;
    if (last && at - last > BREAK_MS) before = last;
    last = at;
    const text = [before, last].map((at) => at.toString(36)).join(".");
    document.cookie = `${NAME}=${text}; path=/; max-age=${KEPT_S}; samesite=strict`;
  });
}
