// The views of the page: their addresses, their keys, and the question that each answers. Those of its owner are one
// side, "mine"; those of who operates the hub are the other one.
import { isAtDevice, isOwner, may, seesAll } from "./me";
import type { Scope } from "./types";

export type Side = "mine" | "hub";

export interface View {
  readonly path: string;
  readonly title: string;
  readonly side: Side;
  /** Pressed after "g". */
  readonly key: string;
  /** What it is listed under; empty: above the groups. */
  readonly group: string;
  readonly about: string;
  /** Who lacks it is not led there. */
  readonly scope?: Scope;
  /** Who sees the things of one user alone is not led there. */
  readonly isOfAll?: boolean;
  /** The page of a device has it, too. */
  readonly isOfDevice?: boolean;
}

const VIEWS: readonly View[] = [
  { path: "inbox", title: "Inbox", side: "mine", key: "i", group: "", about: "What was found for me, and is it true?", isOfDevice: true },
  { path: "tasks", title: "Tasks", side: "mine", key: "t", group: "", about: "What have I approved, and when is it due?" },
  { path: "sources", title: "Sources", side: "mine", key: "o", group: "", about: "What is read for me, and what is not?" },
  { path: "places", title: "Places", side: "mine", key: "p", group: "", about: "Where does what I approve go?" },
  { path: "status", title: "Status", side: "hub", key: "h", group: "", about: "Is anything wrong, and what happened?" },
  { path: "questions", title: "Questions", side: "hub", key: "q", group: "", about: "What do agents ask me?" },
  { path: "agents", title: "Agents", side: "hub", key: "a", group: "Work", about: "What runs when, and is it healthy?" },
  { path: "runs", title: "Runs", side: "hub", key: "u", group: "Work", about: "What failed, and why?" },
  { path: "boards", title: "Boards", side: "hub", key: "b", group: "Work", about: "Which agents work together, and what do they remember?" },
  { path: "messages", title: "Messages", side: "hub", key: "e", group: "Work", about: "Who wrote to which agent, and did it arrive?" },
  { path: "devices", title: "Devices", side: "hub", key: "d", group: "Connected", about: "Who is here, and who wants to be?" },
  { path: "connectors", title: "Mail and calendars", side: "hub", key: "m", group: "Connected", about: "Do mailboxes and calendars work?" },
  // A Prometheus reads the path that is named like this page.
  { path: "trends", title: "Metrics", side: "hub", key: "c", group: "System", about: "How did it go in the last hours, days or weeks?", isOfAll: true },
  { path: "notify", title: "Notifications", side: "hub", key: "n", group: "System", about: "Did what happened reach those who are notified of it?" },
  { path: "settings", title: "Settings", side: "hub", key: "s", group: "System", about: "How is the hub set up, and who changed it?", scope: "settings" },
  { path: "log", title: "Log", side: "hub", key: "l", group: "System", about: "What does the hub do?", scope: "system" },
  { path: "audit", title: "Audit", side: "hub", key: "w", group: "System", about: "Who did what?", scope: "audit" },
];

/** Keys that led to a view before it had the one that it has now. */
const FORMER_KEYS: Readonly<Record<string, string>> = { r: "inbox" };
/** Addresses that a view had before, and that are in links elsewhere. */
const ALIASES: Readonly<Record<string, string>> = { review: "inbox" };

/** Return the views that there are for who is signed in. */
export function views(): readonly View[] {
  return VIEWS.filter(({ scope, isOfAll, isOfDevice }) => (isAtDevice() ? isOfDevice : (!scope || may(scope)) && (!isOfAll || seesAll())));
}

export function viewOfKey(key: string): View | undefined {
  return views().find((view) => view.key === key || view.path === FORMER_KEYS[key]);
}

/** Return the path of the view that an address begins with; without one, that of the first page. */
export function viewAt(first: string | undefined): string {
  if (first === undefined) return isOwner() ? "inbox" : "status";
  return ALIASES[first] ?? first;
}
