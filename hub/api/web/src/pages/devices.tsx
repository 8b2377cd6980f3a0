import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Act, Form, attempt, without } from "../acting";
import { DAY_MS, between, brisk, full, lastDays, dated } from "../format";
import { now } from "../live";
import { may } from "../me";
import { type Column, Command, Facts, Field, Labelled, Listed, Page, Read, Section, State, Table, Time } from "../parts";
import { useReading } from "../reading";
import { go, link, place } from "../router";
import { ask } from "../server";
import type { DeviceDetail, DeviceView, InvitationView, KeyView, NewInvitation, PairingView, PresenceInterval, StatusView } from "../types";

const ROWS = 50;
const DAYS = 14;
const PING_MS = 15_000; // a hub measures the round trip as often by default
const WIDTH = 480; // three minutes each

function presence(device: DeviceView): string {
  return device.revoked_at !== null ? "revoked" : device.connected ? "connected" : "away";
}

const COLUMNS: readonly Column<DeviceView>[] = [
  { head: "Device", kind: "main", cell: (device) => <a href={link(["devices", device.id])}>{device.name}</a> },
  { head: "State", cell: (device) => <State of={presence(device)} /> },
  { head: "Because", cell: (device) => device.because ?? "" },
  { head: "User", cell: (device) => device.user },
  { head: "Platform", cell: (device) => device.platform ?? "–" },
  { head: "Last seen", cell: (device) => (device.connected ? "now" : <Time at={device.last_seen_at} none="never" />) },
  { head: "Known since", cell: (device) => <Time at={device.created_at} /> },
  { head: "May do", cell: (device) => device.grants.join(", ") || "–" },
];

export function Devices(): JSX.Element {
  const cursor = place.value.query.get("cursor");
  const devices = useReading("/v1/devices", { query: { limit: ROWS, cursor }, kinds: ["device"] });
  return (
    <Page title="Devices" command="hub devices">
      {may("devices") && <Pairings />}
      <Listed of={devices} label="Devices" columns={COLUMNS} rows={(data) => data.devices} id={(device) => device.id} empty={may("devices") ? "No device is known yet. What pairs one is below." : "No device is known yet."} cursor="cursor" />
      {may("devices") && <Invitations />}
    </Page>
  );
}

/** Return the command that connects a device, as far as this page knows the hub's names. */
export function connectingTo(status: StatusView | undefined): string {
  const listener = status?.listeners["devices"];
  return `hub connect ${listener ? addressOf(listener) : "URL"} --root FOLDER`;
}

function addressOf(listener: string): string {
  const port = listener.slice(listener.lastIndexOf(":") + 1);
  const host = /^(0\.0\.0\.0|\[::\]):/.test(listener) ? location.hostname : listener.slice(0, -port.length - 1);
  return `${location.protocol === "https:" ? "wss" : "ws"}://${host}:${port}`;
}

/** Return what an invited person gets to read: what the hub is, what they share, how to accept, and until when. */
function letterOf(made: NewInvitation, hub: string, connect: string): string {
  const several = made.uses_left === 1 ? "It is for one computer" : `It is for ${made.uses_left} computers`;
  return [
    `You are invited to connect a computer to the hub "${hub}".`,
    "",
    "A hub runs agents, which read files and suggest tasks and notes. What they suggest is stored on your computer, and you decide about it.",
    "",
    "You choose the folders that you share: put one in place of FOLDER. Nothing outside of them is read. What an agent reads there is sent to the hub, and to the language models that the hub uses. You end it by stopping the program.",
    "",
    "To accept, install the program (device-hub), and put this line into a file that only you can read:",
    "",
    `  ${made.token}`,
    "",
    `  ${WRITE_IT}   # paste the line, Enter, Ctrl-D`,
    `  ${connect} --invitation-file invitation`,
    "",
    `${several}, and expires at ${full(made.expires_at)}. Who has the line can connect: pass it on to nobody.`,
  ].join("\n");
}

const WRITE_IT = "(umask 77; cat > invitation)";
const INVITATIONS: readonly Column<InvitationView>[] = [
  { head: "Ends in", kind: "main", cell: (one) => <code>…{one.last4}</code> },
  { head: "Device", cell: (one) => one.device ?? "its own name" },
  { head: "User", cell: (one) => one.user },
  { head: "For", cell: (one) => `${one.uses_left} more` },
  { head: "Expires", cell: (one) => <Time at={one.expires_at} /> },
  {
    head: "Withdraw",
    cell: ({ id }) => (
      <Act
        label="Withdraw"
        scope="devices"
        action={() => ask("delete", "/v1/invitations/{invitation_id}", { params: { invitation_id: id } })}
        done="The invitation is withdrawn."
      />
    ),
  },
];

function Invitations(): JSX.Element {
  const listed = useReading("/v1/invitations", { query: { limit: ROWS }, kinds: ["invitation"] });
  const status = useReading("/v1/status");
  const [name, setName] = useState("");
  const [made, setMade] = useState<NewInvitation | null>(null);
  const connect = connectingTo(status.data);
  async function invite(): Promise<void> {
    const body = name.trim() ? { device: name.trim() } : {};
    const isDone = await attempt(async () => setMade(await ask("post", "/v1/invitations", { body })), "The device is invited.");
    if (isDone) setName(without(name));
  }
  const open = listed.data?.invitations.filter((one) => one.revoked_at === null && one.uses_left > 0 && Date.parse(one.expires_at) > now.value);
  return (
    <Section title="Pair another device">
      <p class="quiet">
        On the device: <Command text={connect} /> It shows a code, which is typed here. An
        invitation needs no code:
      </p>
      <Form send={invite}>
        <Field label="Name of the device" value={name} change={setName} isOptional />
        <button>Invite it</button>
      </Form>
      {made && (
        <>
          <Facts
            rows={[
              ["Invitation", <Command text={made.token} />],
              ["Write it", <Command text={WRITE_IT} />],
              ["Connect", <Command text={`${connect} --invitation-file invitation`} />],
              ["Expires", <Time at={made.expires_at} />],
              ["Note", "It is shown only once."],
            ]}
          />
          <Labelled label="For the person who is invited" kind="field letter">
            {({ id }) => <textarea id={id} readOnly rows={18} value={letterOf(made, status.data?.name ?? "", connect)} onFocus={(event) => event.currentTarget.select()} />}
          </Labelled>
        </>
      )}
      {open && open.length > 0 && <Table label="Open invitations" columns={INVITATIONS} rows={open} id={(one) => one.id} empty="" />}
    </Section>
  );
}

function Pairings(): JSX.Element {
  const pairings = useReading("/v1/pairings", { query: { limit: ROWS }, kinds: ["pairing"] });
  const [code, setCode] = useState("");
  const columns: readonly Column<PairingView>[] = [
    { head: "Device", kind: "main", cell: (pairing) => pairing.label },
    { head: "Platform", cell: (pairing) => pairing.platform },
    { head: "From", cell: (pairing) => pairing.network },
    { head: "Asked", cell: (pairing) => <Time at={pairing.created_at} /> },
    { head: "Fingerprint", kind: "text", cell: (pairing) => <code>{pairing.fingerprint}</code> },
    {
      head: "Refuse",
      cell: (pairing) => (
        <Act
          label="Refuse"
          scope="devices"
          action={() => ask("post", "/v1/pairings/{pairing_id}/deny", { params: { pairing_id: pairing.id } })}
          done={`${pairing.label} is refused.`}
          confirm={`Refuse ${pairing.label}? It has to ask anew.`}
        />
      ),
    },
  ];
  async function approve(): Promise<void> {
    const approved = await attempt(() => ask("post", "/v1/pairings/approve", { body: { code } }), "The device is approved.");
    if (!approved) return;
    setCode(without(code));
  }
  if (pairings.data?.pairings.length === 0) return <></>;
  return (
    <Section title="Waiting for approval">
      <Listed of={pairings} label="Devices that wait for approval" columns={columns} rows={(data) => data.pairings} id={(pairing) => pairing.id} empty="" />
      {pairings.data?.pairings.map(
        (one) =>
          one.revoked_at !== null && (
            <p key={one.id}>
              {one.label} was revoked <Time at={one.revoked_at} />: its code lets it in again as the same device. Its items, agents and grants stay, without the lines around their quotes;
              its old keys and tokens stay refused.
            </p>
          ),
      )}
      <Form send={approve}>
        <Field label="Code that the device shows" most={20} value={code} change={setCode} />
        <button class="main">Approve</button>
      </Form>
    </Section>
  );
}

export function Device({ name: id }: { name: string }): JSX.Element {
  const device = useReading("/v1/devices/{device_id}", { params: { device_id: id }, kinds: ["device", "agent"], every: PING_MS });
  const name = device.data?.name ?? id;
  return (
    <Page
      title={device.data ? name : "Device"}
      command={`hub devices show ${name}`}
      actions={device.data && <Actions of={device.data} />}
    >
      <Read of={device}>
        {(data) => (
          <>
            <Detail of={data} />
            {data.revoked_at === null && may("devices") && <Rename of={data} />}
          </>
        )}
      </Read>
    </Page>
  );
}

function Rename({ of }: { of: DeviceDetail }): JSX.Element {
  const [name, setName] = useState(of.name);
  const params = { device_id: of.id };
  async function rename(): Promise<void> {
    const body = { name: name.trim() };
    const isDone = await attempt(() => ask("patch", "/v1/devices/{device_id}", { params, body }), `It is called ${name.trim()} now.`);
    if (isDone) go(link(["devices", of.id]), { replace: true });
  }
  return (
    <Form send={rename}>
      <Field label="Name" most={64} value={name} change={setName} />
      <button disabled={name.trim() === of.name}>Rename</button>
    </Form>
  );
}

function Actions({ of }: { of: DeviceDetail }): JSX.Element | null {
  if (of.revoked_at !== null) return null;
  const params = { device_id: of.id };
  return (
    <>
      {of.connected && (
        <Act
          label="Disconnect"
          scope="devices"
          action={() => ask("post", "/v1/devices/{device_id}/kick", { params })}
          done="Its connection is closed; it connects again by itself."
        />
      )}
      <Act
        label="Revoke"
        scope="devices"
        action={() => ask("post", "/v1/devices/{device_id}/revoke", { params })}
        done={`${of.name} is revoked.`}
        confirm={`Revoke ${of.name} for good? It can never connect with its keys again.`}
      />
    </>
  );
}

const KEYS: readonly Column<KeyView>[] = [
  { head: "Fingerprint", kind: "main", cell: (key) => <code>{key.fingerprint}</code> },
  { head: "Since", cell: (key) => <Time at={key.created_at} /> },
  { head: "Last used", cell: (key) => <Time at={key.last_used_at} none="never" /> },
  { head: "State", cell: (key) => <State of={key.revoked_at === null ? "active" : "revoked"} /> },
];

function Detail({ of }: { of: DeviceDetail }): JSX.Element {
  return (
    <>
      <Facts
        rows={[
          ["State", <State of={presence(of)} />],
          ["Because", of.because],
          ["User", of.user],
          ["Platform", of.platform],
          ["Round trip", of.round_trip && `${brisk(of.round_trip.ms)}, measured ${between(of.round_trip.measured_at, null, now.value)} ago`],
          ["Last seen", of.connected ? "now" : <Time at={of.last_seen_at} none="never" />],
          ["Known since", <Time at={of.created_at} />],
          ["Revoked", of.revoked_at && <Time at={of.revoked_at} />],
          ["May do", of.grants.join(", ") || "receive its items"],
          ["Its owner permits", of.owner_grants.map((grant) => [grant.name, ...grant.tables].join(" ")).join(", ")],
          ["Program", of.client && `${of.client.name} ${of.client.version}`],
          ["Protocol", of.skew],
          ["Shares", of.roots.join(", ")],
          ["Rows", of.agreement && (of.agreement.problem ?? (of.agreement.agreed_at ? "agree with the hub" : "are being compared"))],
          ["Agents", of.agents.length > 0 && of.agents.map((agent) => <a class="listed" key={agent} href={link(["agents", agent])}>{agent}</a>)],
        ]}
      />
      {of.capabilities.length > 0 && (
        <details>
          <summary>What its program can do</summary>
          <p>{of.capabilities.join(", ")}</p>
        </details>
      )}
      <Presence device={of.id} name={of.name} />
      <Section title="Keys">
        <Table label="Keys" columns={KEYS} rows={of.keys} id={(key) => key.fingerprint} empty="It connects with a token." />
      </Section>
    </>
  );
}

/** Times of the connection: a line for each of the last days, and the same as a table. */
function Presence({ device, name }: { device: string; name: string }): JSX.Element {
  const days = lastDays(DAYS, now.value);
  const since = (days.at(-1) as Date).toISOString();
  const presence = useReading("/v1/devices/{device_id}/presence", { params: { device_id: device }, query: { since }, kinds: ["agent", "device"] });
  return (
    <Section title="Connected" more={<Command text={`hub devices presence ${name} --since ${DAYS}d`} />}>
      <Read of={presence}>
        {(data) => {
          if (!data.is_known) return <p class="empty">The times of its connections are known once an agent reads from it.</p>;
          const times = data.intervals.map((one): [number, number] => [Date.parse(one.since), one.until ? Date.parse(one.until) : now.value]);
          const all = now.value - Date.parse(since);
          const share = times.reduce((sum, [from, to]) => sum + Math.max(0, to - Math.max(from, now.value - all)), 0) / all;
          return (
            <>
              <ul class="presence" aria-hidden="true">
                {days.map((day) => (
                  <li key={day.getTime()}>
                    <span class="quiet">{dated.format(day)}</span>
                    <Line day={day} times={times} />
                  </li>
                ))}
              </ul>
              <details>
                <summary>
                  {Math.round(share * 100)} % of the last {DAYS} days, {data.intervals.length === 1 ? "once" : `${data.intervals.length} times`}{data.is_cut && ", and earlier ones"}
                </summary>
                <Table label="Times of its connections" columns={TIMES} rows={data.intervals} id={(one) => one.since} empty="It was not connected in this time." />
              </details>
            </>
          );
        }}
      </Read>
    </Section>
  );
}

const TIMES: readonly Column<PresenceInterval>[] = [
  { head: "Connected", kind: "main", cell: (one) => <Time at={one.since} isExact /> },
  { head: "Until", cell: (one) => <Time at={one.until} isExact none="now" /> },
  { head: "For", kind: "number", cell: (one) => between(one.since, one.until ?? null, now.value) },
];

/** The hours of one day; a filled part is a time of the connection. */
function Line({ day, times }: { day: Date; times: readonly (readonly [number, number])[] }): JSX.Element {
  const begin = day.getTime();
  const part = (at: number): number => Math.min(1, Math.max(0, (at - begin) / DAY_MS)) * WIDTH;
  return (
    <svg viewBox={`0 0 ${WIDTH} 10`} preserveAspectRatio="none">
      <rect class="away ground" width={WIDTH} height="10" />
      {times
        .filter(([from, to]) => to > begin && from < begin + DAY_MS)
        .map(([from, to]) => (
          <rect key={from} class="here" x={part(from)} width={Math.max(1, part(to) - part(from))} height="10" />
        ))}
    </svg>
  );
}
