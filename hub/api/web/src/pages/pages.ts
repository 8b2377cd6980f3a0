// The page of each view, by the first part of its address.
import type { JSX } from "preact";
import { Agents } from "./agents";
import { Audit } from "./audit";
import { Authorize } from "./authorize";
import { Board, Boards } from "./boards";
import { Connector, Connectors } from "./connectors";
import { Device, Devices } from "./devices";
import { Inbox } from "./inbox";
import { Log } from "./log";
import { Message, Messages } from "./messages";
import { Metrics } from "./metrics";
import { Notify } from "./notify";
import { Parts } from "./parts_page";
import { Places } from "./places";
import { Questions } from "./questions";
import { Run, Runs } from "./runs";
import { Settings } from "./settings";
import { Sources } from "./sources";
import { Status } from "./status";
import { Tasks } from "./tasks";
import { Why } from "./why";

/** The page of one thing, by the page that lists all of them. */
export const ONES: Readonly<Record<string, (props: { name: string }) => JSX.Element>> = {
  boards: Board,
  connectors: Connector,
  devices: Device,
  messages: Message,
  runs: Run,
};

/** *name*: of the one thing that is shown; undefined: all are listed. */
export type PageOf = (props: { name: string | undefined }) => JSX.Element;

export const PAGES: Readonly<Record<string, PageOf>> = {
  agents: Agents,
  audit: Audit,
  authorize: Authorize,
  boards: Boards,
  connectors: Connectors,
  devices: Devices,
  inbox: Inbox,
  log: Log,
  messages: Messages,
  notify: Notify,
  parts: Parts,
  places: Places,
  questions: Questions,
  runs: Runs,
  settings: Settings,
  sources: Sources,
  status: Status,
  tasks: Tasks,
  trends: Metrics,
  why: Why,
};
