import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Act, Form, attempt, told } from "../acting";
import { me } from "../me";
import { type Column, Facts, Field, Foreign, Listed, Page, Read, Section, Select, Table, Time, Was } from "../parts";
import { type Reading, useReading } from "../reading";
import { link, place, refine } from "../router";
import { described, type Described, spelled, valued } from "../schema";
import { Search, TEXT_FIELD } from "../search";
import { ask } from "../server";
import type { ConfigCheckView, SettingsChangeView, SettingsHistory, SettingsView } from "../types";

const ROWS = 20;
const WHEN = {
  live: "applies at once",
  reconnect: "applies to new connections",
  restart: "needs a restart of the hub",
  archived: "is archived: hub.toml no longer declares it",
} as const;

interface Setting {
  readonly key: string;
  readonly path: readonly string[];
  readonly value: unknown;
}

/** Yield every setting in use; the name of an entry in a list is part of the key: LIST.NAME.FIELD. */
export function* settingsOf(value: unknown, key: readonly string[], path: readonly string[]): Generator<Setting> {
  if (Array.isArray(value) && value.length > 0 && value.every(nameOf)) {
    for (const entry of value) yield* settingsOf(entry, [...key, nameOf(entry) ?? ""], path);
  } else if (typeof value === "object" && value !== null && !Array.isArray(value) && !isReference(value)) {
    for (const [name, inner] of Object.entries(value)) yield* settingsOf(inner, [...key, name], [...path, name]);
  } else {
    yield { key: key.join("."), path, value };
  }
}

function nameOf(entry: { readonly name?: string; readonly label?: string }): string | undefined {
  return entry.name ?? entry.label;
}

function isReference(value: object): boolean {
  const names = Object.keys(value);
  return names.length === 1 && names.every((name) => ["env", "file", "credential"].includes(name));
}

function originOf(origins: Readonly<Record<string, string>>, key: string): string {
  for (let part = key; part; part = part.slice(0, Math.max(0, part.lastIndexOf(".")))) {
    const origin = origins[part];
    if (origin !== undefined) return origin;
  }
  return "default";
}

/** Whether a setting has another value than its default, if it has one, wherever it was written. */
function isDifferent({ value, origin, about }: Setting & { readonly origin: string; readonly about: Described }): boolean {
  return about.default === undefined ? origin !== "default" : spelled(value) !== spelled(about.default);
}

/** Who may not see the settings asks for nothing. */
export function Settings(): JSX.Element {
  const may = me.value?.scopes.includes("settings") ?? false;
  const config = useReading("/v1/config", { when: may, kinds: ["settings"] });
  const schema = useReading("/v1/config/schema", { when: may });
  const cursor = place.value.query.get("cursor");
  const history = useReading("/v1/config/history", { query: { limit: ROWS, cursor }, when: may, kinds: ["settings"] });
  return (
    <Page title="Settings" command="hub config show --origin">
      {!may && <p class="refused" role="alert">Only who may change the settings sees them.</p>}
      {may && (
        <Read of={config}>
          {(data) => (
            <>
              <State of={data} />
              <Read of={schema}>{(found) => <All of={data} tag={config.tag} schema={found} />}</Read>
              <History of={history} now={data.generation} tag={config.tag} />
            </>
          )}
        </Read>
      )}
    </Page>
  );
}

function State({ of }: { of: SettingsView }): JSX.Element {
  return (
    <Facts
      rows={[
        ["File", <Foreign of={of.file} />],
        ["Generation", of.generation],
        ["Shared by all nodes", of.revision !== null && `revision ${of.revision}`],
        ["Need a restart", of.waiting.join(", ")],
        ["Refused", of.refused.map((one) => <p key={one.message}>{`${one.file}:${one.line} ${one.path}: ${one.message}`}</p>)],
      ].filter(([, shown]) => !Array.isArray(shown) || shown.length > 0) as [string, JSX.Element][]}
    />
  );
}

interface AllProps {
  readonly of: SettingsView;
  readonly tag: string | null;
  readonly schema: unknown;
}

function All({ of, tag, schema }: AllProps): JSX.Element {
  const query = place.value.query;
  const [words, table, source, chosen] = ["text", "table", "from", "key"].map((name) => query.get(name) ?? "");
  const folder = of.file.slice(0, of.file.lastIndexOf("/") + 1);
  const all = [...settingsOf(of.settings, [], [])].map((one) => ({
    ...one,
    origin: originOf(of.origins, one.key).replace(folder, ""),
    about: described(schema, one.path),
  }));
  const tables = [...new Set(all.map((one) => one.path[0] ?? ""))];
  const text = (words ?? "").toLowerCase();
  const found = all.filter(
    (one) => (!table || one.path[0] === table) && `${one.key} ${one.about.description ?? ""}`.toLowerCase().includes(text),
  );
  const shown = source === "any" ? found : found.filter(isDifferent);
  const hidden = found.length - shown.length;
  const edited = all.find((one) => one.key === chosen);
  const columns: readonly Column<(typeof all)[number]>[] = [
    { head: "Setting", kind: "main", cell: (one) => <a href={link(["settings"], { ...Object.fromEntries(query), key: one.key })}><Foreign of={one.key} /></a> },
    { head: "Value", kind: "text", cell: (one) => <code>{spelled(one.value)}</code> },
    { head: "From", cell: (one) => (one.origin === "default" ? <span class="quiet">default</span> : <Foreign of={one.origin} />) },
    { head: "Meaning", kind: "text", cell: (one) => one.about.description ?? "–" },
  ];
  return (
    <>
      {edited && <Edit key={edited.key} of={edited} about={edited.about} origin={edited.origin} tag={tag} />}
      <Search fields={[{ name: "table", values: tables }, { name: "from", label: "shown", values: ["any"] }, TEXT_FIELD]} />
      {shown.length + hidden > 0 ? (
        <Table label="Settings" columns={columns} rows={shown} id={(one) => one.key} empty="All of these have their defaults." />
      ) : (
        <p class="empty">No setting is like this.</p>
      )}
      {hidden > 0 && (
        <p class="quiet">
          {hidden === 1 ? "1 has its default" : `${hidden} have their defaults`}:{" "}
          <a href={link(["settings"], { ...Object.fromEntries(query), from: "any" })}>show all</a>
        </p>
      )}
    </>
  );
}

interface EditProps {
  readonly of: Setting;
  readonly about: Described;
  readonly origin: string;
  readonly tag: string | null;
}

/** One setting: what it means, and another value for it, which is checked before it is written. */
function Edit({ of, about, origin, tag }: EditProps): JSX.Element {
  const [text, setText] = useState(spelled(of.value));
  const [isLong] = useState(text.length > 80 || text.includes("\n"));
  const [checked, setChecked] = useState<ConfigCheckView | null>(null);
  const isText = typeof of.value === "string" && about.type !== "integer" && about.type !== "number";
  const choices = typeof of.value === "boolean" ? ["true", "false"] : about.enum?.map(String);
  const change = (typed: string): void => {
    setText(typed);
    setChecked(null);
  };
  const field = { label: "New value", value: text, change };
  const edit = (): { values: Record<string, unknown> } => ({ values: { [of.key]: isText ? text : valued(text) } });
  const check = (): Promise<unknown> => attempt(async () => setChecked(await ask("post", "/v1/config/check", { body: edit() })), "The new value is checked.");
  const done = (): void => setChecked(null);
  return (
    <Section title={of.key} more={<a href={link(["settings"], { ...Object.fromEntries(place.value.query), key: undefined })}>Close</a>}>
      <Facts
        rows={[
          ["Meaning", about.description],
          ["In use", <code>{spelled(of.value)}</code>],
          ["From", <Foreign of={origin} />],
          ["Default", about.default !== undefined && <code>{spelled(about.default)}</code>],
          ["A change", WHEN[about["x-effect"] as keyof typeof WHEN]],
        ]}
      />
      <Form kind="editor" send={check}>
        {choices ? <Select {...field} values={choices} /> : <Field {...field} {...(isLong && { kind: "lines" })} isOptional />}
        <div class="actions">
          <button class={checked?.ok ? "" : "main"} disabled={text === spelled(of.value)}>
            Check
          </button>
          {checked?.ok && (
            <Act
              label="Save"
              isMain
              scope="settings"
              action={() => ask("patch", "/v1/config", { body: edit(), match: tag })}
              done={`${of.key} is changed.`}
              then={done}
            />
          )}
          {origin.includes(":") && (
            <Act
              label="Remove from the file"
              scope="settings"
              action={() => ask("patch", "/v1/config", { body: { without: [of.key] }, match: tag })}
              done={`${of.key} has its default.`}
              confirm={`Remove ${of.key} from hub.toml? Its default applies then.`}
              then={done}
            />
          )}
        </div>
        {checked && <Preview of={checked} />}
      </Form>
    </Section>
  );
}

function Preview({ of }: { of: ConfigCheckView }): JSX.Element {
  const effects = Object.entries(WHEN).flatMap(([when, effect]) => of[when as keyof typeof WHEN].map((key) => ({ key, effect })));
  return (
    <div role="status" class={of.ok ? "" : "refused"}>
      {of.problems.map((one) => (
        <p key={one.message}>{told(one)}</p>
      ))}
      {of.ok && effects.length === 0 && <p>No value in use would change.</p>}
      {effects.map((one) => (
        <p key={one.key}>
          <Foreign of={one.key} /> {one.effect}.
        </p>
      ))}
    </div>
  );
}

interface HistoryProps {
  readonly of: Reading<SettingsHistory>;
  readonly now: number;
  readonly tag: string | null;
}

function History({ of: history, now, tag }: HistoryProps): JSX.Element {
  const query = place.value.query;
  const since = Number(query.get("since")) || undefined;
  const done = (): void => refine({ since: undefined });
  const newest = new Set<SettingsChangeView>();
  const seen = new Set<string>(query.has("cursor") ? history.data?.changes.map((change) => change.key) : []);
  for (const change of history.data?.changes ?? []) {
    if (!seen.has(change.key) && change.revision === null) newest.add(change);
    seen.add(change.key);
  }
  const columns: readonly Column<SettingsChangeView>[] = [
    { head: "When", cell: (change) => <Time at={change.at} /> },
    { head: "Who", cell: (change) => <Foreign title={change.actor} of={change.actor_name ?? change.actor} /> },
    { head: "By", cell: (change) => [change.source, change.revision].filter((part) => part !== null).join(" ") || "–" },
    { head: "Generation", kind: "number", cell: (change) => <a href={link(["settings"], { since: `${change.generation - 1}` })}>{change.generation}</a> },
    { head: "Setting", kind: "main", cell: (change) => <Foreign of={change.key} /> },
    { head: "Change", kind: "text", cell: (change) => <Was old={change.old} new={change.new} /> },
    {
      head: "Undo",
      cell: (change) =>
        newest.has(change) && (
          <Act
            label="Revert"
            scope="settings"
            action={() => ask("post", "/v1/config/revert", { body: { key: change.key }, match: tag })}
            done={`${change.key} is as before.`}
            confirm={`Give ${change.key} its value of before: ${change.old ?? "not set"}?`}
            then={done}
          />
        ),
    },
  ];
  return (
    <>
      {since !== undefined && since > 0 && since < now && <Since since={since} now={now} tag={tag} done={done} />}
      <Section title="History">
        <Listed of={history} label="Changes of the settings" columns={columns} rows={(data) => data.changes} id={(change) => `${change.at} ${change.node} ${change.generation} ${change.key}`} empty="Nothing has changed yet." cursor="cursor" />
      </Section>
    </>
  );
}

interface SinceProps {
  readonly since: number;
  readonly now: number;
  readonly tag: string | null;
  readonly done: () => void;
}

/** What differs between a generation and the settings in use, and the way back to it. */
function Since({ since, now, tag, done }: SinceProps): JSX.Element {
  const diff = useReading("/v1/config/diff", { query: { since, until: now } });
  return (
    <Section
      title={`Changed since generation ${since}`}
      more={
        <Act
          label={`Go back to generation ${since}`}
          scope="settings"
          action={() => ask("post", "/v1/config/revert", { body: { generation: since }, match: tag })}
          done={`The settings are those of generation ${since}.`}
          confirm={`Write the values of generation ${since} into hub.toml?`}
          then={done}
        />
      }
    >
      <Read of={diff}>
        {(data) => (
          <>
            {data.changes.length === 0 && <p class="empty">No setting differs.</p>}
            {data.changes.map((change) => (
              <Was key={change.key} name={change.key} old={change.old} new={change.new} />
            ))}
          </>
        )}
      </Read>
    </Section>
  );
}
