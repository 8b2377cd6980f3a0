// The filters of a list: one field for all of them. What is set is a chip, and a part of the address of the page.
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { dayOf, dayTyped, lastDays } from "./format";
import { Foreign } from "./parts";
import { useReading } from "./reading";
import { place, refine } from "./router";

const PAUSE_MS = 300; // between the last key and the request
const MAX_NAMES = 50;
const NAMED = { agent: "/v1/agents", board: "/v1/boards", device: "/v1/devices" } as const;
const MAX_NAMED = 8; // values below the field
const DAYS = 7; // that are offered

export interface SearchField {
  /** In the address. */
  readonly name: string;
  /** As it is typed, and shown; by default its name. */
  readonly label?: string;
  /** All values that it may have. */
  readonly values?: readonly string[] | undefined;
  /** Values to choose from, with what they are called beside them, as their numbers; others can be typed. */
  readonly offers?: Readonly<Record<string, number | string>> | undefined;
  /** What a value is to people. */
  readonly word?: (value: string) => string;
  /** Whether its values are days, whose begin is that of this zone. */
  readonly isDay?: boolean;
  /** Whether it has what is typed without a name of a field. */
  readonly isText?: boolean;
}

export const DAY_FIELDS: readonly SearchField[] = ["since", "until"].map((name) => ({ name, isDay: true }));
export const TEXT_FIELD: SearchField = { name: "text", isText: true };

function labelOf({ label, name }: SearchField): string {
  return label ?? name;
}

/** Return a value of a field as people read it. */
function shown({ values, word }: SearchField, value: string): string {
  return word?.(value) ?? (values ? value.toLowerCase() : value);
}

/** Return the names that there are, once they are needed, as offers of a field. */
function useNames(name: keyof typeof NAMED, when: boolean): Readonly<Record<string, string>> {
  const read = useReading(NAMED[name], { query: { limit: MAX_NAMES }, when });
  const lists: readonly unknown[] = read.data ? Object.values(read.data) : [];
  const names = lists.filter(Array.isArray).flatMap((list: readonly { readonly name: string }[]) => list.map((one) => one.name));
  return Object.fromEntries(names.map((one) => [one, ""]));
}

/** Return the last days, as values of a field. */
function offeredDays(): Readonly<Record<string, string>> {
  return Object.fromEntries(lastDays(DAYS, Date.now()).map((day, at) => [dayOf(day), ["today", "yesterday"][at] ?? ""]));
}

export function Search({ fields }: { fields: readonly SearchField[] }): JSX.Element {
  const [typed, setTyped] = useState("");
  const [problem, setProblem] = useState("");
  const [isUsed, setUsed] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  useLayoutEffect(() => {
    // An address may name a field as the page does.
    const { query } = place.value;
    const called = fields.filter((one) => query.has(labelOf(one)) && !fields.some(({ name }) => name === labelOf(one)));
    if (called.length > 0) refine(Object.fromEntries(called.flatMap((one) => [[labelOf(one), undefined], [one.name, query.get(labelOf(one)) ?? ""]])));
  }, [place.value]);
  const isOffered = (name: keyof typeof NAMED): boolean => isUsed && fields.some((one) => one.name === name && !one.offers);
  const names = { agent: useNames("agent", isOffered("agent")), board: useNames("board", isOffered("board")), device: useNames("device", isOffered("device")) };
  const text = fields.find(({ isText }) => isText);
  const { query } = place.value;
  const chips = fields.filter(({ name }) => query.has(name) && !(name === text?.name && query.get(name) === typed.trim()));

  function offersOf(field: SearchField): readonly (readonly [string, string | number])[] {
    if (field.values) return field.values.map((value) => [value.toLowerCase(), ""]);
    const days = field.isDay ? offeredDays() : undefined;
    return Object.entries(field.offers ?? days ?? names[field.name as keyof typeof NAMED] ?? {});
  }
  /** Return the field that a text begins with, and the value behind it. */
  function parsed(text: string): readonly [SearchField, string] | undefined {
    const [label, ...rest] = text.split(":");
    const field = rest.length > 0 ? fields.find((one) => labelOf(one) === label?.trim().toLowerCase()) : undefined;
    return field && [field, rest.join(":").trim()];
  }
  function find(words: string): void {
    clearTimeout(timer.current);
    if (text && (query.get(text.name) ?? "") !== words) refine({ [text.name]: words || undefined });
  }
  /** Return the values that a field may have, once its name alone is typed. */
  function choices(words: string): string {
    const [field, value] = parsed(words) ?? [];
    const offers = field && value === "" ? offersOf(field).slice(0, MAX_NAMED) : [];
    return field && offers.length > 0 ? `${labelOf(field)}: ${offers.map(([one]) => shown(field, one)).join(", ")}` : "";
  }
  function type(words: string, isChosen: boolean): void {
    setProblem(choices(words));
    setTyped(words);
    clearTimeout(timer.current);
    if (isChosen && parsed(words)?.[1]) return commit(words);
    const own = parsed(words) || !text ? undefined : words.trim();
    // What was found by the text so far is shown no more, once another filter is typed in its place.
    if (own !== undefined || (text && query.get(text.name) === typed.trim())) timer.current = setTimeout(() => find(own ?? ""), PAUSE_MS);
  }
  /** Set the filter that is typed. */
  function commit(words: string): void {
    const found = parsed(words);
    const [field, value] = found ?? [undefined, ""];
    if (found === undefined && text) {
      if (words.trim()) find(words.trim());
    } else if (field === undefined) {
      if (words.trim()) return setProblem(`Begin with ${fields.map((one) => `${labelOf(one)}:`).join(", ")}`);
    } else if (value) {
      const known = field.isDay ? dayTyped(value, Date.now()) : field.values?.find((one) => one.toLowerCase() === value.toLowerCase());
      if (field.values && known === undefined) return setProblem(`${labelOf(field)} is one of: ${field.values.join(", ").toLowerCase()}`);
      if (field.isDay && Number.isNaN(Date.parse(known ?? ""))) return setProblem(`${labelOf(field)} is a day, as in 2027-03-12, 12.3. or yesterday`);
      clearTimeout(timer.current);
      refine({ [field.name]: known ?? value });
    }
    setTyped("");
  }
  function add(field: SearchField): void {
    type(`${labelOf(field)}:`, false);
    input.current?.focus();
  }

  return (
    <form class="search" role="search" onSubmit={(event) => event.preventDefault()}>
      <div class="search-field">
        {chips.map((field) => (
          <button key={field.name} type="button" class="chip" onClick={() => refine({ [field.name]: undefined })}>
            <span class="unseen">Remove the filter </span>
            {labelOf(field)}: <Foreign of={shown(field, query.get(field.name) ?? "")} />
            <span aria-hidden="true"> ×</span>
          </button>
        ))}
        <input
          ref={input}
          type="search"
          aria-label="Filter"
          aria-describedby="search-problem"
          placeholder={!text ? "Filter" : `Find a ${labelOf(text)}${fields.length > 1 ? ", or filter" : ""}`}
          autocomplete="off"
          spellcheck={false}
          list="search-offers"
          value={typed}
          onFocus={() => setUsed(true)}
          onInput={(event) => type(event.currentTarget.value, !(event as InputEvent).inputType?.match(/^(insertText|insertComp|delete)/))}
          onChange={(event) => commit(event.currentTarget.value)}
        />
      </div>
      <datalist id="search-offers">
        {isUsed &&
          fields.flatMap((field) =>
            offersOf(field).map(([value, about]) => <option key={`${field.name} ${value}`} value={`${labelOf(field)}:${value}`} label={about === "" ? undefined : `${shown(field, value)} (${about})`} />),
          )}
      </datalist>
      <div class="search-names quiet">
        {fields
          .filter(({ name, isText }) => !isText && !query.has(name))
          .map((field) => (
            <button key={field.name} type="button" onClick={() => add(field)}>
              {labelOf(field)}
            </button>
          ))}
        <em id="search-problem" class={problem === choices(typed) ? "quiet" : "bad"} role="status">{problem}</em>
      </div>
    </form>
  );
}
