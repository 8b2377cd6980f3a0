// The values of an item: shown as people read them, and changed.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { exact } from "../format";
import type { ItemDetail } from "../types";

type Value = string | number | readonly string[];
interface EditorProps {
  readonly of: ItemDetail;
  /** The hub takes one verdict on an item: with the changed values. */
  readonly approve: (changed: Readonly<Record<string, Value>>) => void;
  readonly close: () => void;
}

/** Return a value as a text: instants are numbers, names are lists. */
export function shown(value: unknown): string {
  if (typeof value === "number") return exact(new Date(value).toISOString());
  return Array.isArray(value) ? value.join(", ") : String(value ?? "");
}

export function Editor({ of, approve, close }: EditorProps): JSX.Element {
  const fields = Object.entries(of.data).filter(([, value]) => isValue(value)) as [string, Value][];
  const [texts, setTexts] = useState<Readonly<Record<string, string>>>({});
  const changed = fields
    .filter(([name, value]) => texts[name] !== undefined && texts[name] !== editable(value))
    .map(([name, value]): [string, Value] => [name, valued(texts[name] ?? "", value)]);
  return (
    <form
      class="editor"
      onSubmit={(event) => {
        event.preventDefault();
        approve(Object.fromEntries(changed));
      }}
      onKeyDown={(event) => event.key === "Escape" && close()}
    >
      {fields.map(([name, value], at) => {
        const change = (event: { currentTarget: { value: string } }): void =>
          setTexts({ ...texts, [name]: event.currentTarget.value });
        const text = texts[name] ?? editable(value);
        return (
          <label class="field" key={name}>
            <span>{name}</span>
            {typeof value === "number" ? (
              <input type="datetime-local" required value={text} onInput={change} />
            ) : (
              <textarea rows={text.length > 80 ? 5 : 1} autoFocus={at === 0} value={text} onInput={change} />
            )}
          </label>
        );
      })}
      <div class="actions">
        <button class="main" disabled={changed.length === 0}>
          Approve with the changes
        </button>
        <button type="button" onClick={close}>
          Keep as it is
        </button>
      </div>
    </form>
  );
}

function isValue(value: unknown): value is Value {
  return typeof value === "string" || typeof value === "number" || Array.isArray(value);
}

function editable(value: Value): string {
  if (typeof value !== "number") return shown(value);
  const local = new Date(value - new Date(value).getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 16);
}

/** Return what was typed as a value of the same kind as the one before. */
function valued(text: string, before: Value): Value {
  if (typeof before === "number") return new Date(text).getTime();
  return typeof before === "string" ? text : text.split(",").map((name) => name.trim()).filter(Boolean);
}
