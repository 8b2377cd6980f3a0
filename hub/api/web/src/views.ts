// The views of the dashboard: their addresses, their keys, and the question that each answers.
import { isAtDevice, may, seesAll } from "./me";
import type { Scope } from "./types";

export interface View {
  readonly path: string;
  readonly title: string;
  /** Pressed after "g". */
  readonly key: string;
  /** What it is listed under; empty: above the groups. */
  readonly group: string;
  readonly about: string;
  /** Who lacks it is not led there. */
  readonly scope?: Scope;
  /** Who sees the things of one user alone is not led there. */
  readonly isOfAll?: boolean;
}

const VIEWS: readonly View[] = [
  { path: "", title: "Home", key: "h", group: "", about: "Is anything wrong, what happened, and what waits for me?" },
  { path: "review", title: "Review", key: "r", group: "Decide", about: "Is what was found true?" },
  { path: "questions", title: "Questions", key: "q", group: "Decide", about: "What do agents ask me?" },
  { path: "agents", title: "Agents", key: "a", group: "Work", about: "What runs when, and is it healthy?" },
  { path: "runs", title: "Runs", key: "u", group: "Work", about: "What failed, and why?" },
  { path: "boards", title: "Boards", key: "b", group: "Work", about: "Which agents work together, and what do they remember?" },
  { path: "messages", title: "Messages", key: "e", group: "Work", about: "Who wrote to which agent, and did it arrive?" },
  { path: "devices", title: "Devices", key: "d", group: "Sources", about: "Who is here, and who wants to be?" },
  { path: "connectors", title: "Mail and calendars", key: "m", group: "Sources", about: "Do mailboxes and calendars work?" },
  // A Prometheus reads the path that is named like this page.
  { path: "trends", title: "Metrics", key: "p", group: "Hub", about: "How did it go in the last hours, days or weeks?", isOfAll: true },
  { path: "notify", title: "Notifications", key: "n", group: "Hub", about: "Did what happened reach those who are notified of it?" },
  { path: "settings", title: "Settings", key: "s", group: "Hub", about: "How is the hub set up, and who changed it?", scope: "settings" },
  { path: "log", title: "Log", key: "l", group: "Hub", about: "What does the hub do?", scope: "system" },
  { path: "audit", title: "Audit", key: "t", group: "Hub", about: "Who did what?", scope: "audit" },
];

/** Return the views that there are for who is signed in. */
export function views(): readonly View[] {
  return VIEWS.filter(({ path, scope, isOfAll }) => (isAtDevice() ? path === "review" : (!scope || may(scope)) && (!isOfAll || seesAll())));
}
