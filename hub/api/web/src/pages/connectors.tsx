import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Act, Form, attempt } from "../acting";
import { HERE, things, providerName } from "../format";
import { refresh } from "../live";
import { isOwner, may } from "../me";
import { type Column, Elsewhere, Facts, Checks, Field, Listed, Page, Read, Section, Select, State, Table, Time } from "../parts";
import { useReading } from "../reading";
import { go, link, place } from "../router";
import { type Answer, Refusal, ask } from "../server";
import { settingsOf } from "./settings";
import type { ConnectorDetail, ConnectorView, SelfTestView, SignInView, StepView, UnreadView } from "../types";

const ROWS = 50;
const LOOK_MS = 2_000;

const COLUMNS: readonly Column<ConnectorView>[] = [
  { head: "Account", kind: "main", cell: (one) => <a href={link(["connectors", one.name])}>{one.name}</a> },
  { head: "State", cell: (one) => <State of={one.state} /> },
  { head: "Provider", cell: (one) => providerName(one.provider) },
  { head: "User", cell: (one) => one.user },
  { head: "Last success", cell: (one) => <Time at={one.last_ok_at} none="never" /> },
  { head: "Read by", cell: (one) => one.agents.join(", ") || "–" },
  { head: "Problem", kind: "text", cell: (one) => one.detail ?? "–" },
];

export function Connectors(): JSX.Element {
  const cursor = place.value.query.get("cursor");
  const read = useReading("/v1/connectors", { query: { limit: ROWS, cursor }, kinds: ["connector", "agent"] });
  return (
    <Page title="Mail and calendars" command="hub connectors" actions={may("settings") && <a class="button main" href="/sources?add=account">Add an account</a>}>
      <Listed of={read} label="Accounts" columns={COLUMNS} rows={(data) => data.connectors} id={(one) => one.id} empty="No mailbox and no calendar is known yet." cursor="cursor" />
    </Page>
  );
}

interface Asked {
  readonly key: string;
  readonly label: string;
  readonly isOptional?: boolean;
  readonly hint?: string;
  /** The first one is meant where none is chosen. */
  readonly choices?: readonly string[];
}
const USERNAME: Asked = { key: "settings.username", label: "User name" };
const CLIENT: readonly Asked[] = [
  { key: "client_id", label: "Id of the OAuth client" },
  { key: "client_secret.env", label: "Environment variable with its secret", isOptional: true },
];
/** What the hub has to know of an account, by its provider. */
const PROVIDERS: Readonly<Record<string, readonly Asked[]>> = {
  imap: [
    { key: "settings.host", label: "Server" },
    { key: "settings.port", label: "Port", isOptional: true, hint: "As in: 993, which is meant without a number; 143 with starttls" },
    { key: "settings.tls", label: "TLS (implicit is usual)", choices: ["implicit", "starttls", "none"] },
    USERNAME,
  ],
  caldav: [{ key: "settings.url", label: "Address of the calendars" }, USERNAME],
  gmail: CLIENT,
  outlook: CLIENT,
  teams: CLIENT,
  rss: [{ key: "settings.url", label: "Address of the feed" }],
  atom: [{ key: "settings.url", label: "Address of the feed" }],
  ics: [{ key: "settings.url", label: "Address of the calendar" }],
  "github-issues": [{ key: "settings.repository", label: "Repository, as in owner/name" }],
  "gitlab-issues": [
    { key: "settings.project", label: "Number of the project" },
    { key: "settings.base_url", label: "Address of your own GitLab", isOptional: true },
  ],
  jira: [
    { key: "settings.base_url", label: "Address of your site" },
    { key: "settings.username", label: "Address of the user" },
    { key: "settings.jql", label: "Query (JQL)", isOptional: true },
  ],
  notion: [{ key: "settings.data_source", label: "Id of the data source" }],
  todoist: [],
  maildir: [{ key: "settings.path", label: "Folder on the computer of the hub, as in ~/Maildir" }],
};
const OPEN: readonly string[] = ["rss", "atom", "ics", "maildir"]; // are read without a sign-in

type Typed = Readonly<Record<string, string>>;

/** Return the settings of hub.toml for what was typed. */
function valuesOf(account: string, typed: Typed, asked: readonly Asked[]): Record<string, string | number> {
  const filled = asked.map(({ key }) => [key, typed[key]?.trim() ?? ""] as const).filter(([, text]) => text);
  return Object.fromEntries(filled.map(([key, text]) => [`connectors.${account}.${key}`, key === "settings.port" ? Number(text) : text]));
}

function AccountFields({ asked, typed, change }: { asked: readonly Asked[]; typed: Typed; change: (key: string, value: string) => void }): JSX.Element {
  return (
    <>
      {asked.map(({ key, label, isOptional, hint, choices }) => {
        const field = { label, value: typed[key] ?? "", change: (value: string) => change(key, value) };
        return choices ? <Select key={key} {...field} values={choices} /> : <Field key={key} {...field} isOptional={isOptional} hint={hint} />;
      })}
    </>
  );
}

/** When an account is read, as people say it, and as a schedule has it. */
const RHYTHMS: Readonly<Record<string, string>> = { "every 15 minutes": "*/15 * * * *", "every hour": "0 * * * *", "each morning at 7": "0 7 * * *", "when I ask for it": "" };
const NAME = /^[\p{L}\p{N}_][\p{L}\p{N}_.-]{0,63}$/u; // as hub.toml takes it
const KNOWN = 200; // tables that are offered

interface ReaderSettings {
  readonly finds: readonly string[];
  readonly rhythm: string;
}
const FIRST: ReaderSettings = { finds: ["tasks", "timelines"], rhythm: "every 15 minutes" };

/** Make the agent that reads an account, which has the name of the account. */
function makeReader(connector: string, { finds, rhythm }: ReaderSettings): Promise<unknown> {
  const prompt = "Find what I have to do, and what I have to attend.";
  const schedule = RHYTHMS[rhythm];
  return ask("post", "/v1/agents", { body: { name: connector, connector, data_types: finds, prompt, timezone: HERE, ...(schedule && { schedule }) } });
}

/** Test an account, and let its agents read it at once if it can be read. */
async function testAccount(connector: string, agents: readonly string[], show?: (found: SelfTestView) => void): Promise<void> {
  const found = await ask("post", "/v1/connectors/{connector}/test", { params: { connector } });
  show?.(found);
  if (!found.is_ok) throw new Refusal(200, "not_read", found.steps.at(-1)?.told ?? "", "");
  await Promise.allSettled(agents.map((name) => ask("post", "/v1/agents/{name}/runs", { params: { name }, body: {} }))); // one that waits reads it already
}

function ReaderFields({ of, change }: { of: ReaderSettings; change: (settings: ReaderSettings) => void }): JSX.Element {
  const tables = useReading("/v1/tables", { query: { limit: KNOWN } });
  return (
    <>
      <Checks label="Look for" of={(tables.data?.tables ?? []).map(({ name, about }) => [name, about, things(name)])} chosen={of.finds} change={(finds) => change({ ...of, finds })} />
      <Select label="Read it" values={Object.keys(RHYTHMS)} value={of.rhythm} change={(rhythm) => change({ ...of, rhythm })} />
    </>
  );
}

/** What is read from an account that no agent reads yet. */
function Reader({ of }: { of: ConnectorDetail }): JSX.Element {
  const [settings, setSettings] = useState(FIRST);
  return (
    <Section title="What is read from it">
      <p>Nothing reads this account yet.</p>
      <Form send={() => attempt(() => makeReader(of.name, settings), `${of.name} is read from now on.`)}>
        <ReaderFields of={settings} change={setSettings} />
        <button class="main">Read it</button>
      </Form>
    </Section>
  );
}

/** A mailbox or calendar, with what is read from it. The password, or the sign-in, is the next page. */
export function AddAccount(): JSX.Element {
  const [name, setName] = useState("");
  const [provider, setProvider] = useState("imap");
  const [typed, setTyped] = useState<Typed>({});
  const [settings, setSettings] = useState(FIRST);
  const asked = PROVIDERS[provider] ?? [];
  const isOpen = OPEN.includes(provider);
  const guide = asked === CLIENT && <a href="/docs/mailboxes.md#sign-in-to-gmail-outlook-or-teams">how to</a>;
  function useAppPassword(): void {
    setProvider("imap");
    setTyped({ "settings.host": "imap.gmail.com" });
  }
  const problem = name && !NAME.test(name) ? "Letters, digits, and . - _ between them only." : undefined;
  async function add(): Promise<void> {
    if (problem) return;
    const values = { [`connectors.${name}`]: { name, provider }, ...valuesOf(name, typed, asked) };
    const made = () => ask("patch", "/v1/config", { body: { values } });
    if (!(await attempt(made, `${name} is added.`))) return;
    const isRead = may("devices") && settings.finds.length > 0 && (await attempt(() => makeReader(name, settings), `${name} is added, and read once you have signed in.`));
    if (isOpen) await attempt(() => testAccount(name, isRead ? [name] : []), `${name} is added, and can be read${isRead ? ": it is read now" : ""}.`);
    go(link(["connectors", name]));
  }
  return (
    <>
      <Form send={add} kind="editor">
        <Select label="Provider" values={Object.keys(PROVIDERS)} value={provider} change={setProvider} word={providerName} hint={guide && <>An application is registered with the provider first: {guide}.</>} />
        {provider === "gmail" && <p>Easier: an app password. <button type="button" onClick={useAppPassword}>Use an app password</button> <a href="/docs/mailboxes.md#gmail-with-an-app-password">How to get one</a></p>}
        <Field label="Name" value={name} change={(text) => setName(text.replaceAll(" ", "-"))} problem={problem} hint="As in: work-mail; a blank becomes -" />
        <AccountFields asked={asked} typed={typed} change={(key, value) => setTyped({ ...typed, [key]: value })} />
        {may("devices") && <ReaderFields of={settings} change={setSettings} />}
        <button class="main">Add</button>
      </Form>
      <p class="quiet">{!isOpen && "The password, or the sign-in, comes next. "}The account is written into hub.toml.</p>
    </>
  );
}

/** Remove an account, and archive the agents that read it. */
async function remove(account: string, agents: readonly string[]): Promise<void> {
  await ask("patch", "/v1/config", { body: { without: [`connectors.${account}`] } });
  for (const name of agents) await ask("delete", "/v1/agents/{name}", { params: { name } });
}

export function Connector({ name }: { name: string }): JSX.Element {
  const params = { connector: name };
  const read = useReading("/v1/connectors/{connector}", { params, kinds: ["connector", "agent"] });
  const [tested, setTested] = useState<SelfTestView | null>(null);
  const test = (agents: readonly string[] = []): Promise<void> => testAccount(name, agents, setTested);
  const actions = read.data && (
    <>
      <Act label="Test" scope="run" action={() => test()} done="It can be read." />
      {(read.data.failures > 0 || read.data.unread.length > 0) && (
        <Act
          label="Try again now"
          scope="run"
          action={() => ask("post", "/v1/connectors/{connector}/retry", { params })}
          done="What failed is tried again."
        />
      )}
      {read.data.way_in && read.data.state !== "sign_in" && (
        <Act
          label="Sign out"
          scope="devices"
          action={() => ask("delete", "/v1/connectors/{connector}/grant", { params })}
          done="Its sign-in is given back and forgotten."
          confirm={`Give the sign-in of ${name} back? Its agents read nothing until somebody signs in again.`}
        />
      )}
      <Act
        label="Remove"
        scope="settings"
        action={() => remove(name, read.data?.agents ?? [])}
        done={`${name} is removed.`}
        confirm={`Remove ${name} from hub.toml? ${read.data.agents.map((agent) => `The agent ${agent}, which reads it, goes with it. `).join("")}What it brought stays.`}
        then={() => go("/connectors")}
      />
    </>
  );
  return (
    <Page title={name} command={`hub connectors show ${name}`} actions={actions}>
      <Read of={read}>{(data) => <Detail of={data} tested={tested} test={test} />}</Read>
    </Page>
  );
}

const STEPS: readonly Column<StepView>[] = [
  { head: "Step", kind: "main", cell: (step) => step.step },
  { head: "Result", cell: (step) => <State of={step.is_ok ? "ok" : "failed"} /> },
  { head: "Took", kind: "number", cell: (step) => `${step.took_ms} ms` },
  { head: "Detail", kind: "text", cell: (step) => step.told },
];
const UNREAD: readonly Column<UnreadView>[] = [
  { head: "Message", kind: "main", cell: (one) => one.message },
  { head: "Agent", cell: (one) => <a href={link(["agents", one.agent])}>{one.agent}</a> },
  { head: "State", cell: (one) => <State of={one.state} /> },
  { head: "Tries", kind: "number", cell: (one) => one.attempts },
  { head: "Because", kind: "text", cell: (one) => one.reason ?? "–" },
  { head: "Last try", cell: (one) => <Time at={one.at} /> },
];

type Test = (agents: readonly string[]) => Promise<void>;

/** What a person does about an account that is not read: where a field of this page mends it, nothing in a terminal. */
function remedyOf({ code, provider, remedy, state, way_in }: ConnectorDetail, hasFields: boolean): string | null {
  if (state === "sign_in" && way_in && may("devices")) return "Sign in below.";
  const [first, ...others] = PROVIDERS[provider] ?? [];
  const isOfField = code === "bad_connector" || (code === "provider_unavailable" && remedy?.includes("config set"));
  return hasFields && first && isOfField ? `Correct ${others.length > 0 ? "“How it is reached”" : first.label.replace(/ on the .*/, "")} below.` : remedy;
}

function Detail({ of, tested, test }: { of: ConnectorDetail; tested: SelfTestView | null; test: Test }): JSX.Element {
  const hasFields = may("settings") && (PROVIDERS[of.provider]?.length ?? 0) > 0;
  return (
    <>
      <Facts
        rows={[
          ["State", <State of={of.state} />],
          ["Problem", of.detail],
          ["What to do", remedyOf(of, hasFields)],
          ["Provider", providerName(of.provider)],
          ["Account", of.account],
          ["User", isOwner() ? null : of.user],
          ["Last success", <Time at={of.last_ok_at} none="never" />],
          ["Next try", of.retry_at && <Time at={of.retry_at} />],
          ["Read by", of.agents.length > 0 && of.agents.map((agent) => <a class="listed" key={agent} href={link(["agents", agent])}>{agent}</a>)],
        ]}
      />
      {tested && (
        <Section title="Test">
          <Table label="Steps of the test" columns={STEPS} rows={tested.steps} id={(step) => step.step + step.told} empty="" />
        </Section>
      )}
      {hasFields && <Change key={of.state} of={of} test={test} />}
      {may("devices") && of.way_in === "password" && <Password of={of} test={test} />}
      {may("devices") && of.way_in === "browser" && <SignIn of={of} />}
      {of.agents.length === 0 && may("devices") && <Reader of={of} />}
      {of.unread.length > 0 && (
        <Section title="Messages that could not be read">
          <Table label="Messages" columns={UNREAD} rows={of.unread} id={(one) => one.message + one.agent} empty="" />
        </Section>
      )}
    </>
  );
}

/** What hub.toml has of an account, to change. A new server or user asks for the sign-in again. */
function Change({ of: { name, provider, agents }, test }: { of: ConnectorDetail; test: Test }): JSX.Element {
  const config = useReading("/v1/config", { kinds: ["settings"] });
  const [typed, setTyped] = useState<Typed>({});
  const asked = PROVIDERS[provider] ?? [];
  const all = new Map([...settingsOf(config.data?.settings, [], [])].map((one) => [one.key, String(one.value ?? "")]));
  const known = Object.fromEntries(asked.map(({ key }) => [key, all.get(`connectors.${name}.${key}`) ?? ""]));
  const changed = Object.fromEntries(Object.entries(typed).filter(([key, text]) => text !== known[key]));
  const emptied = Object.keys(changed).filter((key) => !changed[key]);
  const body = { values: valuesOf(name, changed, asked), without: emptied.map((key) => `connectors.${name}.${key}`) };
  async function change(): Promise<void> {
    const isChanged = await attempt(() => ask("patch", "/v1/config", { body }), `${name} is changed. Test it.`);
    if (isChanged && OPEN.includes(provider)) await attempt(() => test(agents), `${name} is changed, and read now.`);
  }
  return (
    <Section title="How it is reached">
      <Form send={change} kind="editor">
        <AccountFields asked={asked} typed={{ ...known, ...typed }} change={(key, value) => setTyped({ ...typed, [key]: value })} />
        <button disabled={Object.keys(changed).length === 0}>Change</button>
      </Form>
    </Section>
  );
}

/** A password leaves the page with its one request, and is not kept. */
function Password({ of, test }: { of: ConnectorDetail; test: Test }): JSX.Element {
  const [password, setPassword] = useState("");
  const params = { connector: of.name };
  async function give(): Promise<void> {
    const body = { password };
    setPassword("");
    await attempt(async () => {
      await ask("put", "/v1/connectors/{connector}/password", { params, body });
      await test(of.agents);
    }, "The hub has the password, sealed, and it works.");
  }
  return (
    <Section title="Password">
      <Form send={give} kind="editor">
        <Field label="Password, or app password" kind="secret" value={password} change={setPassword} />
        <div class="actions"><button class="main">{of.state === "sign_in" ? "Sign in" : "Replace"}</button></div>
      </Form>
    </Section>
  );
}

function SignIn({ of }: { of: ConnectorDetail }): JSX.Element {
  const [begun, setBegun] = useState<SignInView | null>(null);
  const [address, setAddress] = useState("");
  const params = { connector: of.name };
  const isOpen = begun !== null && begun.outcome === null;
  useEffect(() => {
    if (!isOpen) return undefined;
    const timer = setInterval(async () => {
      const found = await ask("get", "/v1/connectors/{connector}/sign-in/{sign_in}", { params: { ...params, sign_in: begun.id } });
      if (found.outcome !== null) settle(found);
    }, LOOK_MS);
    return () => clearInterval(timer);
  }, [begun?.id, isOpen]);
  function settle(found: Answer<"post", "/v1/connectors/{connector}/sign-in/answer">): void {
    setBegun((now) => ({ ...now, ...found, url: null, user_code: null }));
    refresh();
  }
  const finish = (): Promise<boolean> =>
    attempt(
      async () => settle(await ask("post", "/v1/connectors/{connector}/sign-in/answer", { params, body: { address } })),
      "Signed in.",
    );
  const begin = (label: string, way: "device" | "paste" | "code"): JSX.Element => (
    <Act
      label={label}
      isMain={way === "paste"}
      scope="devices"
      action={async () => setBegun(await ask("post", "/v1/connectors/{connector}/sign-in", { params, body: { way } }))}
      done="The sign-in is begun."
    />
  );
  return (
    <Section title="Sign-in">
      <div class="actions">
        {begin("Sign in here", "paste")}
        {begin("With a code", "code")}
        {begin("In the browser of a device", "device")}
      </div>
      {begun?.outcome && <p role="status">{begun.outcome === "done" ? "Signed in." : `It failed: ${begun.problem}`}</p>}
      {isOpen && begun.url && (
        <p>
          <Elsewhere to={begun.url}>Open the provider’s page</Elsewhere>
          {begun.user_code && (
            <>
              {" "}
              and type <code>{begun.user_code}</code>
            </>
          )}
        </p>
      )}
      {isOpen && begun.way === "device" && <p>A browser was opened on the device: sign in there.</p>}
      {isOpen && begun.way === "paste" && (
        <Form send={finish}>
          <Field label="Address at which that page ended (http://127.0.0.1:…)" value={address} change={setAddress} />
          <button>Finish</button>
        </Form>
      )}
    </Section>
  );
}
