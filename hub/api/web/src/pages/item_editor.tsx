// The values of an item: shown as people read them, and changed.
import type { ComponentChildren, JSX } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { dayOf, dayOrTime, fieldName, isDay } from "../format";
import { Field, type FieldProps, Labelled, Select } from "../parts";
import { useReading } from "../reading";
import type { ItemDetail, TableField } from "../types";
import type { Failure } from "../verdicts";

type Value = string | number | readonly string[];
/** A row that the item is put under, by its title: its device finds it, and makes a missing project. */
type Called = { readonly title: string };
interface EditorProps<Of extends ItemDetail> {
  readonly of: Of;
  /** The hub takes one verdict on an item: with the changed values, and the item as it was when they were typed. */
  readonly approve: (changed: Readonly<Record<string, Value | Called | null>>, seen: Of) => void;
  /** What the hub did not take, and why. */
  readonly failure: Failure | undefined;
  /** What was typed before the form was there. */
  readonly early?: () => string;
  /** On the button that gives the changes. */
  readonly label?: string;
  /** False: rows to put it under cannot be asked for. */
  readonly hasChoices?: boolean;
  readonly close: () => void;
  /** Why the changes cannot be given now; what is typed stays. */
  readonly held?: ComponentChildren;
  /** What else can be done. */
  readonly children?: ComponentChildren;
}

/** What was typed last and not given: the form of its item has it again, behind another page or a new session. */
let draft: { readonly of: ItemDetail; readonly texts: Readonly<Record<string, string>> } | undefined;

/** Return a value as a text: a date as a day or a time, a list of names in a line, another row by its title. */
export function shown(value: unknown, kind?: TableField["kind"]): string {
  if (kind === "epoch_ms" && typeof value === "string") return dayOrTime(value);
  return Array.isArray(value) ? value.join(", ") : isCalled(value) ? value.title : String(value ?? "");
}

/** Return the values of an item with their names, as texts. */
export function facts({ fields = [] }: Partial<Pick<ItemDetail, "fields">>, data: Readonly<Record<string, unknown>>): [string, string][] {
  const kinds = new Map(fields.map(({ name, kind }) => [name, kind]));
  return Object.entries(data).map(([name, value]) => [name, shown(value, kinds.get(name))]);
}

export function Editor<Of extends ItemDetail>({ of: present, approve, failure, early = () => "", label = "Approve with the changes", hasChoices = true, close, held, children }: EditorProps<Of>): JSX.Element {
  const of = draft?.of.id === present.id ? (draft.of as Of) : present;
  const form = useRef<HTMLFormElement>(null);
  // At once: what is typed next goes into the form.
  useLayoutEffect(() => form.current?.querySelector<HTMLElement>("input, textarea, select")?.focus(), []);
  useLayoutEffect(() => form.current?.scrollIntoView({ block: "nearest" }), []);
  const choices = useReading("/v1/items/{item_id}/choices", { params: { item_id: of.id }, when: hasChoices });
  const above = choices.data?.fields ?? [];
  const fields: readonly TableField[] = of.fields.filter(({ refers_to }) => refers_to === null);
  const [texts, setTexts] = useState(() => ({ ...begun(of, fields, failure, early()), ...(draft?.of.id === of.id && draft.texts) }));
  const change = (name: string) => (value: string): void => setTexts((draft = { of, texts: { ...texts, [name]: value } }).texts);
  const end = (then: () => void): void => {
    draft = undefined;
    then();
  };
  const changed: [string, Value | Called | null][] = [
    ...fields
      .filter(({ name, kind }) => texts[name] !== undefined && texts[name] !== editable(of.data[name], kind))
      .map((field): [string, Value | null] => [field.name, valued(texts[field.name] ?? "", field)]),
    ...above
      .filter(({ field }) => texts[field]?.trim())
      .map(({ field, rows }): [string, Value | Called] => {
        const title = texts[field]?.trim() ?? "";
        const found = rows.filter((row) => row.title === title);
        return [field, found.length === 1 && found[0] ? found[0].id : { title }];
      }),
  ];
  const problem = (name: string): string | undefined =>
    failure?.why.split("; ").find((one) => one.includes(`${of.table}.${name}: `))?.split(`${of.table}.${name}: `)[1];
  return (
    <form
      ref={form}
      class="editor"
      data-takes-keys
      onSubmit={(event) => event.preventDefault()}
      onKeyDown={(event) => event.key === "Escape" && end(close)}
    >
      {held && <p class="banner" role="status">{held}</p>}
      {fields.map(({ name, kind, choices, is_required, is_needed, about }) => {
        const value = texts[name] ?? editable(of.data[name], kind);
        const isOptional = !(is_required || is_needed);
        const shown = { label: <span title={about}>{fieldName(name)}</span>, problem: problem(name), value, change: change(name) };
        const values = kind === "flag" ? ["yes", "no"] : choices;
        if (values.length > 0) return <Select key={name} {...shown} values={[...new Set([...values, value, ...(isOptional ? [""] : [])])]} />;
        if (kind === "epoch_ms") return <Moment key={name} {...shown} isOptional={isOptional} />;
        return <Field key={name} {...shown} kind={kind === "number" ? kind : "lines"} isOptional={isOptional || kind !== "number"} />;
      })}
      {above.map(({ field, table, is_required, rows }) => (
        <Field
          key={field}
          label={fieldName(field)}
          hint={choices.data?.is_asked ? table === "projects" && "A new name makes one." : "Its computer is away: type its name."}
          problem={problem(field)}
          value={texts[field] ?? ""}
          change={change(field)}
          isOptional={!is_required || Boolean(of.data[field])}
          none={rows.find((row) => row.id === of.data[field])?.title ?? shown(of.data[field] || "none")}
          offers={rows.map(({ title }) => title)}
        />
      ))}
      <div class="actions">
        <button
          class="main"
          disabled={changed.length === 0 || Boolean(held)}
          // Enter presses it, too. The event of the form does not come in a frame that may send none.
          onClick={(event) => {
            event.preventDefault();
            if (form.current?.reportValidity()) end(() => approve(Object.fromEntries(changed), of));
          }}
        >
          {label}
        </button>
        <button type="button" onClick={() => end(close)}>
          Keep as it is
        </button>
        {children}
      </div>
    </form>
  );
}

/** Return the texts that the form begins with: what was sent before, and keys that were faster than the form. */
function begun(of: ItemDetail, fields: readonly TableField[], failure: Failure | undefined, early: string): Readonly<Record<string, string>> {
  const texts: Record<string, string> = {};
  for (const [name, value] of Object.entries(failure?.data ?? {})) {
    const field = fields.find((one) => one.name === name);
    texts[name] = field ? editable(value, field.kind) : isCalled(value) ? value.title : "";
  }
  const [first] = fields;
  if (first && early) texts[first.name] = (texts[first.name] ?? editable(of.data[first.name], first.kind)) + early;
  return texts;
}

function isCalled(value: unknown): value is Called {
  return typeof value === "object" && value !== null && "title" in value;
}

function editable(value: unknown, kind: TableField["kind"]): string {
  if (kind === "flag") return value === undefined || value === null ? "" : value ? "yes" : "no";
  if (kind !== "epoch_ms" || typeof value !== "string" || isDay(value)) return shown(value);
  const at = new Date(value);
  return `${dayOf(at)}T${at.toTimeString().slice(0, 5)}`;
}

/** A day, with or without a time of this zone. */
function Moment({ value, change, ...field }: Pick<FieldProps, "label" | "problem" | "value" | "change" | "isOptional">): JSX.Element {
  const [day = "", time = ""] = value.split("T");
  const set = (day: string, time: string): void => change(day && time ? `${day}T${time}` : day);
  return (
    <Labelled {...field}>
      {(given) => (
        <div class="moment">
          <input {...given} type="date" required={!field.isOptional} value={day} onInput={(event) => set(event.currentTarget.value, time)} />
          <input type="time" aria-label="time, if it has one" value={time} onInput={(event) => set(day, event.currentTarget.value)} />
        </div>
      )}
    </Labelled>
  );
}

/** Return what was typed as a value of the field; null: it has none any more. */
function valued(text: string, { kind }: TableField): Value | null {
  if (kind === "names") return text.split(",").map((name) => name.trim()).filter(Boolean);
  if (text === "") return null;
  if (kind === "epoch_ms") return isDay(text) ? text : new Date(text).toISOString();
  if (kind === "flag") return Number(text === "yes");
  return kind === "number" ? Number(text) : text;
}
