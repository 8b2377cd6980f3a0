// The page of each view, by the first part of its address.
import type { JSX } from "preact";
import { Agents } from "./agents";
import { Audit } from "./audit";
import { Authorize } from "./authorize";
import { Boards } from "./boards";
import { Connectors } from "./connectors";
import { Devices } from "./devices";
import { Home } from "./home";
import { Log } from "./log";
import { Messages } from "./messages";
import { Metrics } from "./metrics";
import { Notify } from "./notify";
import { Questions } from "./questions";
import { Review } from "./review";
import { Runs } from "./runs";
import { Settings } from "./settings";
import { Why } from "./why";

/** *name*: of the one thing that is shown; undefined: all are listed. */
export type PageOf = (props: { name: string | undefined }) => JSX.Element;

export const PAGES: Readonly<Record<string, PageOf>> = {
  "": Home,
  agents: Agents,
  audit: Audit,
  authorize: Authorize,
  boards: Boards,
  connectors: Connectors,
  devices: Devices,
  log: Log,
  messages: Messages,
  notify: Notify,
  questions: Questions,
  review: Review,
  runs: Runs,
  settings: Settings,
  trends: Metrics,
  why: Why,
};
