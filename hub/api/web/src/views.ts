// The views of the dashboard: their addresses, their keys, and the question that each answers.
import { isAtDevice, may, seesAll } from "./me";
import type { Scope } from "./types";

export interface View {
  readonly path: string;
  readonly title: string;
  /** Pressed after "g". */
  readonly key: string;
  readonly about: string;
  /** Who lacks it is not led there. */
  readonly scope?: Scope;
  /** Who sees the things of one user alone is not led there. */
  readonly isOfAll?: boolean;
}

const VIEWS: readonly View[] = [
  { path: "", title: "Home", key: "h", about: "Is anything wrong, what happened, and what waits for me?" },
  { path: "review", title: "Review", key: "r", about: "Is what was found true?" },
  { path: "runs", title: "Runs", key: "u", about: "What failed, and why?" },
  { path: "agents", title: "Agents", key: "a", about: "What runs when, and is it healthy?" },
  { path: "questions", title: "Questions", key: "q", about: "What do agents ask me?" },
  { path: "devices", title: "Devices", key: "d", about: "Who is here, and who wants to be?" },
  { path: "boards", title: "Boards", key: "b", about: "Which agents work together, and what do they remember?" },
  { path: "messages", title: "Messages", key: "e", about: "Who wrote to which agent, and did it arrive?" },
  { path: "connectors", title: "Mail and calendars", key: "m", about: "Do mailboxes and calendars work?" },
  // A Prometheus reads the path that is named like this page.
  { path: "trends", title: "Metrics", key: "p", about: "How did it go in the last hours, days or weeks?", isOfAll: true },
  { path: "settings", title: "Settings", key: "s", about: "How is the hub set up, and who changed it?", scope: "settings" },
  { path: "log", title: "Log", key: "l", about: "What does the hub do?", scope: "system" },
  { path: "audit", title: "Audit", key: "t", about: "Who did what?", scope: "audit" },
];

/** Return the views that there are for who is signed in. */
export function views(): readonly View[] {
  return VIEWS.filter(({ path, scope, isOfAll }) => (isAtDevice() ? path === "review" : (!scope || may(scope)) && (!isOfAll || seesAll())));
}
