// Making an agent, or changing it: the hub checks each value, and what is wrong is shown beside its field.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { report } from "../acting";
import { Field, Form, Page, Refused, Select } from "../parts";
import { useReading } from "../reading";
import { go, link } from "../router";
import { Refusal, ask } from "../server";
import type { AgentView, TableName } from "../types";

const KNOWN = 200; // devices and accounts that are offered
const FILES = "files of the device";
const TABLES: readonly TableName[] = ["tasks", "notes", "timelines", "projects", "taskComments"];
/** Makes an agent on the command line. */
export const CREATE = "hub agents create NAME --device DEVICE --path FOLDER --data-type tasks --prompt 'Find tasks.'";
/** The field that a refusal without one is about, by its code. */
const FIELD_OF: Readonly<Record<string, string>> = {
  bad_config: "config",
  name_taken: "name",
  unknown_device: "device",
  unknown_template: "template",
};

interface Typed {
  readonly name: string;
  readonly device: string;
  readonly connector: string;
  readonly paths: string;
  readonly data_types: readonly string[];
  readonly prompt: string;
  readonly schedule: string;
  readonly timezone: string;
  readonly config: string;
}

function typedOf(agent: AgentView | undefined): Typed {
  return {
    name: agent?.name ?? "",
    device: agent?.device ?? "",
    connector: FILES,
    paths: agent?.paths.join("\n") ?? "",
    data_types: agent?.data_types ?? ["tasks"],
    prompt: agent?.prompt ?? "",
    schedule: agent?.schedule ?? "",
    timezone: agent?.timezone ?? Intl.DateTimeFormat().resolvedOptions().timeZone,
    config: "",
  };
}

function lines(text: string): readonly string[] {
  return text.split("\n").map((line) => line.trim()).filter(Boolean);
}

/** Return the configs of lines "key = value"; a value that is no JSON is a text. */
function configs(text: string): Record<string, unknown> {
  return Object.fromEntries(
    lines(text).map((line) => {
      const [key = "", ...rest] = line.split("=");
      const value = rest.join("=").trim();
      try {
        return [key.trim(), JSON.parse(value)];
      } catch {
        return [key.trim(), value];
      }
    }),
  );
}

function bodyOf(typed: Typed): Record<string, unknown> {
  const isOfFiles = typed.connector === FILES;
  return {
    device: typed.device || null,
    ...(isOfFiles ? { paths: typed.paths.trim() ? lines(typed.paths) : null } : { connector: typed.connector }),
    data_types: typed.data_types.length > 0 ? typed.data_types : null,
    prompt: typed.prompt.trim() || null,
    schedule: typed.schedule.trim() || null,
    timezone: typed.timezone.trim(),
    ...(typed.config.trim() && { config: configs(typed.config) }),
  };
}

function present(body: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
}

/** *agent*: to be changed; undefined: a new one. */
export function AgentForm({ agent, then }: { agent?: AgentView; then?: () => void }): JSX.Element {
  const [first] = useState(() => typedOf(agent));
  const [typed, setTyped] = useState(first);
  const [refusal, setRefusal] = useState<Refusal | null>(null);
  const devices = useReading("/v1/devices", { query: { limit: KNOWN } });
  const accounts = useReading("/v1/connectors", { query: { limit: KNOWN } });
  const names = (devices.data?.devices ?? []).filter((one) => one.revoked_at === null).map((one) => one.name);
  const sources = [FILES, ...(accounts.data?.connectors ?? []).map((one) => one.name)];
  const said = problems(refusal);
  const known = ["name", "device", "connector", "paths", "data_types", "prompt", "schedule", "timezone", "config"];
  const isSaidBeside = Object.keys(said).some((field) => known.includes(field));
  const text = (key: keyof Typed & ("name" | "paths" | "prompt" | "schedule" | "timezone" | "config")) => ({
    value: typed[key],
    change: (value: string) => setTyped({ ...typed, [key]: value }),
    problem: said[key],
  });

  async function send(): Promise<void> {
    setRefusal(null);
    try {
      if (agent) {
        const before = bodyOf(first);
        const changes = Object.entries(bodyOf(typed)).filter(
          ([key, value]) => JSON.stringify(value) !== JSON.stringify(before[key]),
        );
        const params = { name: agent.name };
        await ask("patch", "/v1/agents/{name}", { params, body: Object.fromEntries(changes) });
        report(`${agent.name} is changed.`);
      } else {
        await ask("post", "/v1/agents", { body: { name: typed.name.trim(), ...present(bodyOf(typed)) } });
        report(`${typed.name.trim()} is made.`);
      }
      go(link(["agents", typed.name.trim()]));
      then?.();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      setRefusal(error);
    }
  }

  return (
    <Page title={agent ? `Change ${agent.name}` : "New agent"} command={agent ? `hub agents edit ${agent.name}` : "hub agents create"}>
      {!isSaidBeside && <Refused refusal={refusal} />}
      <Form send={send}>
        {!agent && <Field label="Name" {...text("name")} />}
        <Select
          label="Device"
          values={names}
          value={typed.device}
          change={(device) => setTyped({ ...typed, device })}
          none="choose"
          problem={said["device"]}
        />
        {!agent && (
          <Select
            label="Reads"
            values={sources}
            value={typed.connector}
            change={(connector) => setTyped({ ...typed, connector })}
            problem={said["connector"]}
          />
        )}
        <fieldset>
          <legend>Finds</legend>
          {TABLES.map((table) => (
            <label key={table} class="check">
              <input
                type="checkbox"
                checked={typed.data_types.includes(table)}
                onChange={(event) => {
                  const others = typed.data_types.filter((one) => one !== table);
                  setTyped({ ...typed, data_types: event.currentTarget.checked ? [...others, table] : others });
                }}
              />
              {table}
            </label>
          ))}
          {said["data_types"] && <span class="bad">{said["data_types"]}</span>}
        </fieldset>
        {typed.connector === FILES && <Field label="Paths in its shared folders, one in a line" kind="lines" isOptional {...text("paths")} />}
        <Field label="Prompt: what it is to find" kind="lines" isOptional {...text("prompt")} />
        <Field label="Schedule (0 7 * * 1-5); empty: by hand" isOptional {...text("schedule")} />
        <Field label="Time zone" {...text("timezone")} />
        {!agent && <Field label="Configuration, lines of key = value" kind="lines" isOptional {...text("config")} />}
        <div class="actions">
          <button class="main">{agent ? "Save" : "Make it"}</button>
          <a href={link(agent ? ["agents", agent.name] : ["agents"])}>Cancel</a>
        </div>
      </Form>
    </Page>
  );
}

/** Return what is wrong by the name of its field. */
function problems(refusal: Refusal | null): Readonly<Record<string, string | undefined>> {
  if (refusal === null) return {};
  const said: Record<string, string> = {};
  for (const [field, message] of Object.entries(refusal.fields)) {
    const [key = "", ...inner] = field.replace(/^body\./, "").split(".");
    said[key] ??= inner.length > 0 ? `${inner.join(".")}: ${message}` : message;
  }
  const field = FIELD_OF[refusal.code];
  return field && Object.keys(said).length === 0 ? { [field]: refusal.message } : said;
}
