// The configuration of an agent: a field for each key of its template's schema, and lines for other keys.
import type { JSX } from "preact";
import { Field, Select } from "../parts";
import { spelled, valued } from "../schema";
import type { TemplateView } from "../types";

export interface TypedConfig {
  /** Texts of the keys of the schema. */
  readonly texts: Readonly<Record<string, string>>;
  /** Lines of other keys: key = value. */
  readonly lines: string;
}

interface Property {
  readonly title?: string;
  readonly description?: string;
  readonly type?: string;
  readonly enum?: readonly unknown[];
}

function propertiesOf(template: TemplateView | undefined): Readonly<Record<string, Property>> {
  const properties = template?.configuration_schema["properties"] as Record<string, Property | boolean> | undefined;
  return Object.fromEntries(Object.entries(properties ?? {}).map(([key, one]) => [key, typeof one === "object" ? one : {}]));
}

/** Return a value as it is typed in a line, and read from there as it was: a text that would be another value has quotes. */
function inLine(value: unknown): string {
  const text = spelled(value);
  return typeof value !== "string" || (valued(text) === value && text === text.trim() && !text.includes("\n")) ? text : JSON.stringify(value);
}

/** Return the fields and lines for a configuration. */
export function typedOf(config: Readonly<Record<string, unknown>>, template: TemplateView | undefined): TypedConfig {
  const properties = propertiesOf(template);
  const entries = Object.entries(config);
  return {
    texts: Object.fromEntries(entries.filter(([key]) => key in properties).map(([key, value]) => [key, spelled(value)])),
    lines: entries.filter(([key]) => !(key in properties)).map(([key, value]) => `${key} = ${inLine(value)}`).join("\n"),
  };
}

/** Return the configuration that was typed. */
export function configOf({ texts, lines }: TypedConfig, template: TemplateView | undefined): Record<string, unknown> {
  const properties = propertiesOf(template);
  const others = lines
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean)
    .map((line): [string, unknown] => {
      const [key = "", ...rest] = line.split("=");
      return [key.trim(), valued(rest.join("=").trim())];
    });
  const own = Object.entries(texts)
    .filter(([key, text]) => key in properties && text !== "")
    .map(([key, text]) => [key, properties[key]?.type === "string" ? text : valued(text)]);
  return Object.fromEntries([...others, ...own]) as Record<string, unknown>;
}

interface FieldsProps {
  readonly template: TemplateView | undefined;
  readonly typed: TypedConfig;
  readonly change: (typed: TypedConfig) => void;
  /** What is wrong by its key; "config": with all of it. */
  readonly problems: Readonly<Record<string, string | undefined>>;
}

export function ConfigFields({ template, typed, change, problems }: FieldsProps): JSX.Element {
  const required = (template?.configuration_schema["required"] ?? []) as readonly string[];
  return (
    <fieldset class="config">
      <legend>Configuration</legend>
      {Object.entries(propertiesOf(template)).map(([key, property]) => (
        <One
          key={key}
          name={key}
          of={property}
          preset={template?.default_configuration[key]}
          isRequired={required.includes(key)}
          text={typed.texts[key] ?? ""}
          change={(text) => change({ ...typed, texts: { ...typed.texts, [key]: text } })}
          problem={problems[key]}
        />
      ))}
      <Field
        label={template ? "Further lines of key = value" : "Lines of key = value"}
        kind="lines"
        isOptional
        value={typed.lines}
        change={(lines) => change({ ...typed, lines })}
        problem={problems["config"]}
      />
    </fieldset>
  );
}

interface OneProps {
  readonly name: string;
  readonly of: Property;
  /** The value of the template. */
  readonly preset: unknown;
  readonly isRequired: boolean;
  readonly text: string;
  readonly change: (text: string) => void;
  readonly problem: string | undefined;
}

function One({ name, of, preset, isRequired, text, change, problem }: OneProps): JSX.Element {
  const label = of.title ?? name;
  const choices = of.type === "boolean" ? ["true", "false"] : of.enum?.map(spelled);
  const none = preset === undefined ? "not set" : spelled(preset);
  const hint = [of.description, preset !== undefined && !choices && `Without a value: ${spelled(preset)}`].filter(Boolean).join(" ");
  if (choices) return <Select label={label} values={choices} value={text} change={change} none={none} hint={hint} problem={problem} />;
  return <Field label={label} value={text} change={change} hint={hint} isOptional={!isRequired || preset !== undefined} problem={problem} />;
}
