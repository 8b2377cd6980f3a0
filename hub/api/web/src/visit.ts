// Time of the last visit: kept in a cookie of this browser, which holds two times and nothing else.
import { effect } from "@preact/signals";
import { DAY_MS } from "./format";
import { now } from "./live";
import { type Reading, useReading } from "./reading";
import { place } from "./router";
import type { SummaryView } from "./types";
import { viewAt } from "./views";

export const A_DAY = "the last 24 hours";
export const PERIODS: Readonly<Record<string, number>> = { [A_DAY]: 1, "the last 7 days": 7, "the last 30 days": 30 };
const HOUR_MS = 3_600_000;

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

/** Return the time of the last visit, or the begin of the days that the status is asked for. */
export function shownSince(): string {
  const { path, query } = place.value;
  const days = viewAt(path[0]) !== "status" ? undefined : PERIODS[query.get("since") ?? ""];
  const visit = days === undefined ? lastVisit() : null;
  // Of whole hours, so that the same request is asked for a while.
  return (visit ?? new Date(Math.floor(now.value / HOUR_MS) * HOUR_MS - (days ?? 1) * DAY_MS)).toISOString();
}

/** Read what happened, and what waits: one request for Status and the navigation. */
export function useSummary(when = true): Reading<SummaryView> {
  return useReading("/v1/summary", { query: { since: shownSince() }, kinds: ["item", "verdict", "question", "pairing", "run"], when });
}
