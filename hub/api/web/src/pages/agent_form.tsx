// Making an agent, or changing it: the hub checks each value, and what is wrong is shown beside its field.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Form, report } from "../acting";
import { HERE } from "../format";
import { refresh } from "../live";
import { Checks, Field, Page, Read, Refused, Select } from "../parts";
import { useReading } from "../reading";
import { go, link } from "../router";
import { Refusal, ask } from "../server";
import type { AgentView, ConfigView, TemplateView } from "../types";
import { ConfigFields, configOf, type TypedConfig, typedOf } from "./config_fields";

const KNOWN = 200; // devices and accounts that are offered
const FILES = "files of the device";
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
  readonly template: string;
  readonly config: TypedConfig;
}

function typedOfAgent(agent: AgentView | undefined, config: TypedConfig): Typed {
  return {
    name: agent?.name ?? "",
    device: agent?.device ?? "",
    connector: FILES,
    paths: agent?.paths.join("\n") ?? "",
    data_types: agent?.data_types ?? ["tasks"],
    prompt: agent?.prompt ?? "",
    schedule: agent?.schedules[0]?.expr ?? "",
    timezone: agent?.timezone ?? HERE,
    template: agent?.template ?? "",
    config,
  };
}

function lines(text: string): readonly string[] {
  return text.split("\n").map((line) => line.trim()).filter(Boolean);
}

/** Return whether a path is certainly outside of the folders; a relative one begins at one of them. */
export function isOutside(path: string, roots: readonly string[]): boolean {
  const isPlaced = (one: string): boolean => /^[~/]/.test(one);
  if (!isPlaced(path) || !roots.every(isPlaced) || path.split("/").includes("..")) return false;
  const isBelow = (one: string, other: string): boolean => `${one.replace(/\/+$/, "")}/`.startsWith(`${other.replace(/\/+$/, "")}/`);
  const alike = roots.filter((root) => root[0] === path[0]);
  if (alike.some((root) => isBelow(path, root) || isBelow(root, path))) return false;
  // A path below "/" may be below the home folder, whose place only the device knows.
  return path.startsWith("~") || alike.length === roots.length;
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
    template: typed.template || null,
  };
}

function present(body: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
}

interface FormProps {
  /** To be changed; undefined: a new one. */
  readonly agent?: AgentView | undefined;
}

export function AgentForm({ agent }: FormProps): JSX.Element {
  const templates = useReading("/v1/templates", { query: { limit: KNOWN } });
  const config = useReading("/v1/agents/{name}/config", { params: { name: agent?.name ?? "" }, when: agent !== undefined });
  return (
    <Page title={agent ? `Change ${agent.name}` : "New agent"} command={agent ? `hub agents edit ${agent.name}` : "hub agents create"}>
      <Read of={templates}>
        {({ templates: known }) =>
          agent ? (
            <Read of={config}>{(data) => <Fields key={JSON.stringify(data.configs)} agent={agent} templates={known} configs={data.configs} />}</Read>
          ) : (
            <Fields templates={known} configs={[]} />
          )
        }
      </Read>
    </Page>
  );
}

interface FieldsProps extends FormProps {
  readonly templates: readonly TemplateView[];
  readonly configs: readonly ConfigView[];
}

function Fields({ agent, templates, configs }: FieldsProps): JSX.Element {
  const templateOf = (name: string): TemplateView | undefined => templates.find((one) => one.name === name);
  const [before] = useState(() => Object.fromEntries(configs.map((one) => [one.key, one.value])));
  const [first] = useState(() => typedOfAgent(agent, typedOf(before, templateOf(agent?.template ?? ""))));
  const [typed, setTyped] = useState(first);
  const [refusal, setRefusal] = useState<Refusal | null>(null);
  const devices = useReading("/v1/devices", { query: { limit: KNOWN } });
  const tables = useReading("/v1/tables", { query: { limit: KNOWN } });
  const accounts = useReading("/v1/connectors", { query: { limit: KNOWN } });
  const template = templateOf(typed.template);
  const isOfFiles = typed.connector === FILES;
  const device = useReading("/v1/devices/{device_id}", { params: { device_id: typed.device }, when: typed.device !== "" && isOfFiles });
  const shared = device.data?.name === typed.device ? device.data.roots : [];
  const outside = shared.length > 0 ? lines(typed.paths).filter((path) => isOutside(path, shared)) : [];
  const warned = outside.length > 0 && `${outside.join(", ")}: outside of what ${typed.device} shares, which is ${shared.join(", ")}`;
  const names = (devices.data?.devices ?? []).filter((one) => one.revoked_at === null).map((one) => one.name);
  const sources = [FILES, ...(accounts.data?.connectors ?? []).map((one) => one.name)];
  const said = problems(refusal);
  const known = ["name", "device", "connector", "paths", "data_types", "prompt", "schedule", "timezone", "template", "config"];
  const isSaidBeside = Object.keys(said).some((field) => known.includes(field));
  const text = (key: "name" | "paths" | "prompt" | "schedule" | "timezone") => ({
    value: typed[key],
    change: (value: string) => setTyped({ ...typed, [key]: value }),
    problem: said[key],
  });

  async function send(): Promise<void> {
    setRefusal(null);
    const config = configOf(typed.config, template);
    try {
      if (agent) {
        const changes = changed(bodyOf(first), bodyOf(typed));
        const configured = Object.entries(changed(before, config));
        const set = Object.fromEntries(configured.filter(([key]) => key in config));
        const unset = configured.map(([key]) => key).filter((key) => !(key in config));
        const body = { ...changes, ...(Object.keys(set).length > 0 && { config: set }) };
        const params = { name: agent.name };
        await ask("patch", "/v1/agents/{name}", { params, body });
        if (unset.length > 0) await ask("patch", "/v1/agents/{name}/config", { params, body: { unset } });
        report(`${agent.name} is changed.`);
      } else {
        await ask("post", "/v1/agents", { body: { name: typed.name.trim(), ...present(bodyOf(typed)), config } });
        report(`${typed.name.trim()} is made.`);
      }
      go(link(["agents", typed.name.trim()]));
      refresh();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      setRefusal(error);
    }
  }

  return (
    <>
      {!isSaidBeside && <Refused refusal={refusal} />}
      <Form send={send}>
        {!agent && <Field label="Name" {...text("name")} />}
        <Select
          label="Device"
          values={names}
          value={typed.device}
          change={(device) => setTyped({ ...typed, device })}
          none={isOfFiles ? "choose" : "the first connected one"}
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
        <Checks
          label="Finds"
          of={(tables.data?.tables ?? []).map(({ name, about }) => [name, about])}
          chosen={typed.data_types}
          change={(data_types) => setTyped({ ...typed, data_types })}
          hint={said["data_types"] && <span class="bad">{said["data_types"]}</span>}
        />
        {isOfFiles && <Field label="Paths in its shared folders, one in a line" kind="lines" isOptional hint={warned || undefined} {...text("paths")} />}
        <Field label="Prompt: what it is to find" kind="lines" isOptional {...text("prompt")} />
        <Field label="Schedule (0 7 * * 1-5); empty: by hand" isOptional {...text("schedule")} />
        <Field label="Time zone" {...text("timezone")} />
        {templates.length > 0 && (
          <Select
            label="Template"
            values={templates.map((one) => one.name)}
            value={typed.template}
            change={(name) => setTyped({ ...typed, template: name })}
            none="none"
            hint={template?.description ?? undefined}
            problem={said["template"]}
          />
        )}
        <ConfigFields template={template} typed={typed.config} change={(config) => setTyped({ ...typed, config })} problems={inConfig(refusal, said)} />
        <div class="actions">
          <button class="main">{agent ? "Save" : "Make it"}</button>
          <a href={link(agent ? ["agents", agent.name] : ["agents"])}>Cancel</a>
        </div>
      </Form>
    </>
  );
}

/** Return the values that differ; null: it is no longer there. */
function changed(before: Readonly<Record<string, unknown>>, after: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  const differing = keys.filter((key) => JSON.stringify(after[key]) !== JSON.stringify(before[key]));
  return Object.fromEntries(differing.map((key) => [key, after[key] ?? null]));
}

/** Return what is wrong with the configuration by its key; "config": with all of it. */
function inConfig(refusal: Refusal | null, said: Readonly<Record<string, string | undefined>>): Readonly<Record<string, string>> {
  const inner = Object.entries(refusal?.fields ?? {}).map(([field, message]) => [field.replace(/^body\./, ""), message] as const);
  const found = Object.fromEntries(inner.filter(([field]) => field.startsWith("config.")).map(([field, message]) => [field.slice(7).split(".")[0], message]));
  return Object.keys(found).length === 0 && said["config"] ? { config: said["config"] } : found;
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
