// What is read for a person: folders, mailboxes and calendars; what was kept back and why; and how another one is added.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Act, type Order, starting } from "../acting";
import { count, ended, HERE, inZone, isAsHere, isDay, providerName, quoted, soon } from "../format";
import { now } from "../live";
import { isOwner, may } from "../me";
import { Command, Empty, Entry, Foreign, Page, Read, Section, Time } from "../parts";
import { useReading } from "../reading";
import { link, place } from "../router";
import { ask } from "../server";
import type { AgentView, ConnectorView, DeviceView, RunView } from "../types";
import { isOutside } from "./agent_form";
import { AddAccount } from "./connectors";
import { Done } from "./run_parts";

const KNOWN = 200; // of each kind that are shown
const ZONE = "hub.zone"; // of this browser: its zone, when its owner left that of the agents

/** Why a file is not read, and what to do so that it is, by the reason that its device names. */
const EXCLUSIONS: Readonly<Record<string, readonly [why: string, remedy: string]>> = {
  hidden: ["hidden: a name begins with a dot", "Nothing: programs keep their settings there. Rename a file of yours."],
  generated: ["in folders that a program fills", "Write a line !FOLDER/ into .hubignore above the folder."],
  ignored: ["left out by an ignore file of yours", "Change .hubignore or .gitignore."],
  other_extension: ["of a kind that is not asked for", "Change the kinds of files of its agent."],
  not_convertible: ["without a text that can be read", "Nothing: pictures and programs are read on request only."],
  key_in_text: ["with a key or a password in them, which stays on the computer", "Take it out of the file."],
  key_file: ["of keys or passwords, by their names, which stay on the computer", "Rename a file that is none."],
  version_control: ["of a version control system", "Copy what you need out of its folder."],
  outside_shared: ["outside of what the computer shares", "Share the folder: hub up FOLDER, on that computer."],
  outside_paths: ["outside of the folders that are read", "Add the folder to the paths of its agent."],
  symlink: ["links to another folder", "Share the folder that the link leads to."],
  hard_link: ["with another name outside of what is read", "Copy the file."],
  too_large: ["too large", "Split the file, or raise max_file_bytes on its computer."],
  not_offered: ["no longer there", "Nothing."],
};

export function Sources(): JSX.Element {
  const agents = useReading("/v1/agents", { query: { limit: KNOWN }, kinds: ["agent", "device", "run", "schedule"] });
  const accounts = useReading("/v1/connectors", { query: { limit: KNOWN }, kinds: ["connector", "agent"] });
  const devices = useReading("/v1/devices", { query: { limit: KNOWN }, kinds: ["device"] });
  const all = agents.data?.agents ?? [];
  const known = accounts.data?.connectors ?? [];
  const ofAccounts = new Set(known.flatMap((one) => one.agents));
  const ofFolders = all.filter((one) => one.gateway === null && !ofAccounts.has(one.name));
  const isCut = [agents.data, accounts.data].some((page) => page?.next_cursor);
  return (
    <Page title="Sources">
      <p class="quiet">What is read for you, and what is not. Nothing outside of these is read.</p>
      <OtherZone />
      <Section title="Folders" more={<a href="/sources?add=folder">Add a folder</a>}>
        <Read of={agents}>{() => <Read of={accounts}>{() => <Read of={devices}>{({ devices }) => <Folders readers={ofFolders} devices={devices} />}</Read>}</Read>}</Read>
      </Section>
      <Section title="Mailboxes and calendars" more={<a href="/sources?add=account">Add an account</a>}>
        <Read of={accounts}>
          {() =>
            known.length === 0 ? (
              <Empty title="No mailbox and no calendar is read." />
            ) : (
              <ul class="cards">
                {known.map((one) => (
                  <Account key={one.id} of={one} readers={all.filter(({ name }) => one.agents.includes(name))} />
                ))}
              </ul>
            )
          }
        </Read>
      </Section>
      {isCut && <p class="quiet">The first {KNOWN} of each kind are shown: <a href="/agents">all agents</a>, <a href="/connectors">all accounts</a>.</p>}
      {place.value.query.has("add") && <Adding key={place.value.query.get("add")} />}
    </Page>
  );
}

/** Says once that times are read in another zone than that of this browser, and offers to change that. */
export function OtherZone(): JSX.Element | null {
  const [left, leave] = useState(localStorage.getItem(ZONE));
  const { data } = useReading("/v1/agents", { query: { limit: KNOWN }, kinds: ["agent"], when: isOwner() });
  const others = (data?.agents ?? []).filter(({ timezone }) => !isAsHere(timezone));
  const past = useReading("/v1/items", { query: { verdict: "approved", limit: KNOWN }, kinds: ["verdict"], when: others.length > 0 });
  const timed = (past.data?.items ?? []).filter(({ agent, day }) => day && !isDay(day) && others.some(({ name }) => name === agent)).length;
  if (others.length === 0 || left === HERE) return null;
  async function change(): Promise<void> {
    const values = Object.fromEntries(others.filter(({ source }) => source === "file").map(({ name }) => [`agents.${name}.timezone`, HERE]));
    if (Object.keys(values).length > 0) await ask("patch", "/v1/config", { body: { values } });
    for (const { name, source } of others) if (source === "api") await ask("patch", "/v1/agents/{name}", { params: { name }, body: { timezone: HERE } });
    await Promise.allSettled(others.map(({ name }) => starting(name).action()));
  }
  return (
    <div class="banner" role="status">
      Times in your files and mails are read as those of {[...new Set(others.map(({ timezone }) => timezone))].join(", ")}; this browser is in {HERE}.{" "}
      {timed > 0 && <>What you approved stays as it is, {count(timed)} with a time: change it in <a href="/tasks">Tasks</a>. </>}
      <Act scope="devices" label={`Read them in ${HERE}`} action={change} done={`They are read again. What you approved stays as it is${timed > 0 ? `, ${count(timed)} with a time: change it in Tasks` : ""}.`} />{" "}
      <button type="button" onClick={() => (localStorage.setItem(ZONE, HERE), leave(HERE))}>Leave it</button>
    </div>
  );
}

function Folders({ readers, devices }: { readers: readonly AgentView[]; devices: readonly DeviceView[] }): JSX.Element {
  const here = devices.filter((one) => one.revoked_at === null);
  const unread = here.flatMap((device) => {
    const paths = readers.filter((one) => one.device === device.name).map((one) => one.paths);
    const isRead = (root: string): boolean => paths.some((of) => of.length === 0 || of.some((path) => !isOutside(path, [root])));
    return device.roots.filter((root) => !isRead(root)).map((root) => ({ device, root }));
  });
  if (readers.length + unread.length === 0) {
    return (
      <Empty title="No folder is read yet.">
        <p><a href="/sources?add=folder">Add a folder</a>: what is written there as a task or a date comes to your Inbox.</p>
      </Empty>
    );
  }
  return (
    <ul class="cards">
      {readers.map((one) => {
        const device = here.find(({ name }) => name === one.device);
        const isMissing = Boolean(device?.connected && device.because) && one.paths.some((path) => isOutside(path, device?.roots ?? []));
        return <Entry
          key={one.id}
          title={[...(one.paths.length > 0 ? one.paths : device?.roots ?? [])].join(", ") || one.name}
          href={link(["agents", one.name])}
          state={isMissing ? "not there" : one.lifecycle === "paused" ? "paused" : one.device_connected ? undefined : "not connected"}
          about={<>on {one.device} · <WasRead of={one} unit="file" /> · <a href={link(["why"], { agent: one.name })}>its files</a></>}
          actions={!isMissing && <Act scope="run" {...reading(one)} />}
        >
          {device?.because && <p class="banner" role="status">{isMissing ? <><Foreign of={device.because.split(";")[0] ?? ""} />. Put it back, or type its new path on {device.name}: <Command text="hub up FOLDER" /></> : <Foreign of={device.because} />}</p>}
          <LastRun of={one.last_run} unit="file" isSaid={isMissing} />
        </Entry>;
      })}
      {unread.map(({ device, root }) => (
        <Entry
          key={`${device.id} ${root}`}
          title={root}
          state="not read"
          about={<>on {device.name} · it is shared, and no agent reads it: {may("devices") ? <a href={link(["agents"], { new: "1" })}>make one</a> : <Command text={`hub up ${quoted(root)}`} />}</>}
        />
      ))}
    </ul>
  );
}

function Account({ of, readers }: { of: ConnectorView; readers: readonly AgentView[] }): JSX.Element {
  return (
    <Entry
      title={of.name}
      href={link(["connectors", of.name])}
      state={of.state === "ok" ? undefined : of.state}
      about={<>{of.account ?? providerName(of.provider)} · last reached <Time at={of.last_ok_at} none="never" /></>}
      actions={readers.slice(0, 1).map((one) => <Act key={one.id} scope="run" {...reading(one)} />)}
    >
      {of.state !== "ok" && <p>{ended(of.detail ?? "")} <a href={link(["connectors", of.name])}>{of.state === "sign_in" ? "Sign in" : of.state === "untested" ? "Test it" : "Put it right"}</a></p>}
      {readers.length === 0 && <p>Nothing reads it yet: <a href={link(["connectors", of.name])}>choose what is read</a></p>}
      {readers.map((one) => (
        <div key={one.id}>
          <p class="quiet"><WasRead of={one} unit="message" /> · <a href={link(["why"], { agent: one.name })}>its messages</a></p>
          <LastRun of={one.last_run} unit="message" isSaid={of.state !== "ok"} />
        </div>
      ))}
    </Entry>
  );
}

function reading({ name }: AgentView): Order {
  return { ...starting(name), label: "Read now", done: `Reading ${name} begins; what comes of it is shown here.` };
}

/** Return a number with its noun. */
function many(number: number, unit: string): string {
  return `${count(number)} ${unit}${number === 1 ? "" : "s"}`;
}

function excluded(run: RunView): number {
  return Object.values(run.left_out).reduce((sum, number) => sum + number, 0);
}

/** When a source was read, what of it, and when it is read next. */
function WasRead({ of: { last_run: run, next_fires: [next] }, unit }: { of: AgentView; unit: string }): JSX.Element {
  const then = next && ` · again ${soon(next.at, now.value)} at the latest`;
  if (!run) return <>not read yet{then}</>;
  if (!run.completed_at) return <>{run.waiting_for ? "waits to be read" : "being read"}</>;
  const read = run.units_done + run.units_skipped - excluded(run);
  if (read <= 0 && run.outcome !== "success") return <>tried <Time at={run.completed_at} />{then}</>;
  return <>read <Time at={run.completed_at} />: {read > 0 ? many(read, unit) : "nothing new"}{run.items_created > 0 && `, ${many(run.items_created, "new item")}`}{then}</>;
}

/** What came of the last run. *isSaid*: what its source lacks is above it. */
function LastRun({ of: run, unit, isSaid }: { of: RunView | null; unit: string; isSaid: boolean }): JSX.Element | null {
  if (!run) return null;
  const page = link(["runs", run.id]);
  const problems: ComponentChildren = run.outcome && run.outcome !== "success" && (
    <>
      <p>
        <strong>{run.outcome === "partial" ? "A part was not read" : "It was not read"}:</strong> {ended(inZone(run.because ?? run.reason ?? ""))} <a href={page}>What happened</a>
      </p>
      {run.fix && <p>To mend it: {run.fix}</p>}
    </>
  );
  return (
    <>
      {!run.completed_at && !(run.waiting_for && isSaid) && <p role="status">{run.waiting_for ?? <>Reading: <Done of={run} /> <a href={page}>{unit}s</a></>}</p>}
      {run.left_because && <p role="status">{ended(run.left_because)} <a href={page}>Its run</a></p>}
      {problems}
      <OtherLanguages of={run} unit={unit} />
      <LeftOut of={run} unit={unit} />
    </>
  );
}

/** How many files or messages are in languages that rules do not read. */
function OtherLanguages({ of: run, unit }: { of: RunView; unit: string }): JSX.Element | null {
  const named = Object.entries(run.unread_languages).map(([name, number]) => `${many(number, unit)} in ${name}`);
  return named.length === 0 ? null : <p>{named.join(", ")}: rules read only check boxes and dates there. <a href="/docs/models.md">Choose a model</a> that reads them.</p>;
}

/** How many files or messages a run kept back, and why. */
export function LeftOut({ of: run, unit }: { of: RunView; unit: string }): JSX.Element | null {
  const left = Object.entries(run.left_out);
  if (left.length === 0) return null;
  return (
    <details>
      <summary>{many(excluded(run), unit)} kept back</summary>
      <ul class="reasons">
        {left.map(([reason, number]) => {
          const [why, remedy] = EXCLUSIONS[reason] ?? [reason.replaceAll("_", " "), ""];
          return <li key={reason}><strong>{count(number)}</strong> {why}. <span class="quiet">{remedy}</span></li>;
        })}
      </ul>
    </details>
  );
}

/** How a folder or an account is added; what is asked for in the address is open. */
function Adding(): JSX.Element {
  const asked = place.value.query.get("add");
  useEffect(() => document.getElementById(`add-${asked}`)?.focus(), []);
  return (
    <Section title="Add">
      <details open={asked === "folder"}>
        <summary id="add-folder">A folder</summary>
        <p>What is shared is decided on the computer that has the folder, and nowhere else. Type there:</p>
        <Command text="hub up ~/folder" />
        <p class="quiet">A computer that no hub runs on is connected by an invitation: <a href="/devices">Devices</a>.</p>
      </details>
      <details open={asked === "account"}>
        <summary id="add-account">A mailbox or a calendar</summary>
        {may("settings") ? <AddAccount /> : <p>This session may not change the settings of the hub. On the computer of the hub, add the account to hub.toml: <a href="/docs/mailboxes.md">how to</a>.</p>}
      </details>
    </Section>
  );
}
