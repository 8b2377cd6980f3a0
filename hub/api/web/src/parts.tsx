// Parts of pages: heading, table, facts, states, times, commands to copy, refusals.
import { type ComponentChildren, createContext, type JSX, toChildArray } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ago, balanced, full, second } from "./format";
import { lostAt, now } from "./live";
import type { Reading } from "./reading";
import { link, place, refine } from "./router";
import type { Refusal } from "./server";

type Children = ComponentChildren;

const LONG = 400; // characters

interface PageProps {
  readonly title: string;
  /** The command that shows the same on the command line. */
  readonly command?: string;
  readonly actions?: Children;
  readonly children?: Children;
}

export function Page({ title, command, actions, children }: PageProps): JSX.Element {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} · hub`;
  }, [title]);
  // Readers of the screen hear where a link has led to.
  useEffect(() => heading.current?.focus({ preventScroll: true }), []);
  return (
    <div class="page">
      <header class="page-head">
        <h1 tabIndex={-1} ref={heading}>
          {title}
        </h1>
        {command && <Command text={command} />}
        {actions && <div class="actions"><Subject.Provider value={title}>{actions}</Subject.Provider></div>}
      </header>
      {children}
    </div>
  );
}

export function Section({ title, more, children }: { title: string; more?: Children; children: Children }): JSX.Element {
  return (
    <section class="section">
      <header>
        <h2>{title}</h2>
        {more}
      </header>
      {children}
    </section>
  );
}

/** Copy a text. Return whether it was copied: pages without TLS have no clipboard. */
export async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** A command line that a click copies. */
export function Command({ text }: { text: string }): JSX.Element {
  const [isCopied, setCopied] = useState(false);
  const code = useRef<HTMLElement>(null);
  async function copy(): Promise<void> {
    if (!(await copied(text))) {
      // It is marked, so that the keyboard copies it.
      if (code.current) getSelection()?.selectAllChildren(code.current);
      return;
    }
    setCopied(true);
    setTimeout(() => setCopied(false), 1_500);
  }
  return (
    <button class="command" type="button" onClick={() => void copy()} title="Copy the command">
      <code ref={code}>{text}</code>
      <span aria-live="polite" class="copied">
        {isCopied ? "copied" : ""}
      </span>
    </button>
  );
}

const TONES: Readonly<Record<string, string>> = {
  COMPLETED: "good", success: "good", active: "good", available: "good", ok: "good", online: "good", approved: "good",
  answered: "good", delivered: "good", consumed: "good", connected: "good", ready: "good", done: "good", DONE: "good", alive: "good", ACKED: "good",
  REJECTED: "bad", UNKNOWN: "odd", FAILED: "bad", error: "bad", failed: "bad", failing: "bad", rejected: "bad", refused: "bad", blocked: "bad", expired: "bad",
  disabled: "bad", revoked: "bad", terminated: "bad", dead: "bad", interrupted: "bad",
  partial: "odd", warning: "odd", PAUSED: "odd", paused: "odd", exhausted: "odd", sign_in: "odd", untested: "odd", maintenance: "odd",
  SKIPPED: "odd", withdrawn: "odd", instruction: "odd",
  RUNNING: "busy", PREPARING: "busy", processing: "busy", busy: "busy", saturated: "busy",
};

/** A word for a state. Its colour says it a second time, never alone. */
export function State({ of }: { of: string }): JSX.Element {
  return <span class={`state ${TONES[of] ?? "calm"}`}>{of.toLowerCase().replaceAll("_", " ")}</span>;
}

interface TimeProps {
  readonly at: string | null | undefined;
  readonly none?: string;
  /** Shown to the second, and not as an age. */
  readonly isExact?: boolean;
}

export function Time({ at, none = "–", isExact = false }: TimeProps): JSX.Element {
  if (!at) return <span class="quiet">{none}</span>;
  // The time that is kept may be seconds old, and what has just happened would be ahead of it.
  return (
    <time dateTime={at} title={full(at)} class={isExact ? "exact" : undefined}>
      {isExact ? second(at) : ago(at, Math.max(now.value, Date.now()))}
    </time>
  );
}

interface ForeignProps {
  readonly of: string;
  readonly class?: string;
  readonly title?: string;
}

/** A text of others in a line: what it says of directions changes nothing beside it. */
export function Foreign({ of, ...rest }: ForeignProps): JSX.Element {
  return <bdi {...rest}>{balanced(of)}</bdi>;
}

/** What leads elsewhere, if its address is one of the web. */
export function Elsewhere({ to, children }: { to: string | null; children: Children }): JSX.Element {
  if (!to || !/^https?:\/\//.test(to)) return <>{children}</>;
  return <a href={to} target="_blank" rel="noreferrer">{children}</a>;
}

/** The name of something that has an id. */
export function Named({ id, name }: { id: string; name: string | null }): JSX.Element {
  return name === null ? <Foreign of={id} /> : <Foreign of={name} title={id} />;
}

/** Names with their values, in one line. */
export function Pairs({ of }: { of: Readonly<Record<string, unknown>> }): JSX.Element {
  return (
    <span>
      {Object.entries(of).map(([name, value]) => (
        <span key={name}>
          <span class="quiet">{name}</span>{" "}
          {name === "code" && typeof value === "string" && /^[a-z_]+$/.test(value) ? (
            <a href={`/docs/errors.md#${value}`} title="What this error means, and what to do">{value}</a>
          ) : (
            <Foreign of={typeof value === "string" ? value : name.endsWith("_at") && typeof value === "number" ? full(value) : JSON.stringify(value)} />
          )}{" "}
        </span>
      ))}
    </span>
  );
}

/** A value that changed: what it was, and what it is. */
export function Was({ name, old, new: now }: { name?: string; old: string | null; new: string | null }): JSX.Element {
  return (
    <p class="was">
      {name && <Foreign class="quiet" of={`${name} `} />}
      <del>{old ?? "not set"}</del> <span aria-hidden="true">→</span> <ins>{now ?? "not set"}</ins>
    </p>
  );
}

/** A text of a person or a model; the rest of a long one is shown on demand. */
export function Told({ text }: { text: string }): JSX.Element {
  if (text.length <= LONG) return <p class="told">{text}</p>;
  return (
    <details class="told">
      <summary>{text.slice(0, LONG)}…</summary>
      {text.slice(LONG)}
    </details>
  );
}

export function Refused({ refusal }: { refusal: Refusal | null }): JSX.Element | null {
  if (refusal === null) return null;
  return (
    <div class="refused" role="alert">
      <p>{refusal.message}</p>
      {refusal.hint && <p class="quiet">{refusal.hint}</p>}
    </div>
  );
}

export function Facts({ rows }: { rows: readonly (readonly [string, Children])[] }): JSX.Element {
  const shown = rows.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  return (
    <dl class="facts">
      {shown.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{typeof value === "string" ? <Told text={value} /> : value}</dd>
        </div>
      ))}
    </dl>
  );
}

export interface Column<T> {
  readonly head: string;
  readonly cell: (row: T) => Children;
  readonly kind?: "number" | "main" | "text" | "bar";
}

interface TableProps<T> {
  readonly label: string;
  readonly columns: readonly Column<T>[];
  readonly rows: readonly T[];
  readonly id: (row: T) => string;
  readonly empty: Children;
  /** Leads to the rows behind these; undefined: these are all. */
  readonly next?: string | null;
  /** Part of the address that leads there. */
  readonly cursor?: string;
}

/** Let keys reach an element while it scrolls, as where a table is wider than its room. */
export function reached(element: HTMLElement | null): void {
  if (!element) return;
  const sizes = new ResizeObserver(() => (element.tabIndex = element.scrollWidth > element.clientWidth || element.scrollHeight > element.clientHeight ? 0 : -1));
  for (const one of [element, ...element.children]) sizes.observe(one);
}

/** A table with a name, in a room that scrolls. */
function Room({ label, kind, children }: { label: string; kind?: string; children: Children }): JSX.Element {
  return (
    <div class="table-room" role="group" aria-label={label} ref={reached}>
      <table class={kind}>
        <caption class="unseen">{label}</caption>
        {children}
      </table>
    </div>
  );
}

export function Table<T>({ label, columns, rows, id, empty, next, cursor }: TableProps<T>): JSX.Element {
  return (
    <>
      {rows.length === 0 ? (
        <p class="empty">{empty}</p>
      ) : (
        <Room label={label}>
          <thead>
            <tr>
              {columns.map(({ head, kind }) => (
                <th key={head} scope="col" class={kind}>
                  {head}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={id(row)}>
                {columns.map(({ head, kind, cell }) => (
                  <td key={head} class={kind} data-head={head}>
                    {cell(row)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </Room>
      )}
      {next !== undefined && <Pager next={next} name={cursor} />}
    </>
  );
}

interface GridProps<R, C> {
  readonly kind: string;
  readonly label: string;
  readonly corner: string;
  /** With what each is called. */
  readonly rows: readonly (readonly [R, string])[];
  readonly columns: readonly (readonly [C, string])[];
  /** The column of today. */
  readonly today?: string;
  readonly cell: (row: R, column: C) => Children;
}

/** A table with a heading for each row and column, as of hours and days. */
export function Grid<R, C>({ kind, label, corner, rows, columns, today, cell }: GridProps<R, C>): JSX.Element {
  return (
    <Room label={label} kind={kind}>
      <thead>
        <tr>
          <th scope="col">{corner}</th>
          {columns.map(([, name]) => (
            <th key={name} scope="col" aria-current={name === today ? "date" : undefined}>{name}</th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map(([row, title]) => (
          <tr key={title}>
            <th scope="row">{title}</th>
            {columns.map(([column, name]) => (
              <td key={name} data-head={name}>{cell(row, column)}</td>
            ))}
          </tr>
        ))}
      </tbody>
    </Room>
  );
}

/** Links to the next page of a list and back to its beginning. */
export function Pager({ next, name = "cursor" }: { next: string | null | undefined; name?: string | undefined }): JSX.Element | null {
  const isLater = place.value.query.has(name);
  if (!next && !isLater) return null;
  const at = (cursor: string | undefined): string =>
    link(place.value.path, { ...Object.fromEntries(place.value.query), [name]: cursor });
  return (
    <nav class="pager" aria-label="Pages of the list">
      {isLater && <a href={at(undefined)}>First page</a>}
      {next && (
        <a href={at(next)} rel="next">
          Next page
        </a>
      )}
    </nav>
  );
}

/** What the buttons beside it are about: a part of their names where several rows have the same ones. */
export const Subject = createContext("");

interface EntryProps {
  readonly title: string;
  readonly href?: string;
  /** A word for its state; none where all is well. */
  readonly state?: string | undefined;
  /** What one decides by, in one line. */
  readonly about?: Children;
  readonly actions?: Children;
  readonly children?: Children;
}

/** A row that a person reads: its title first, then what there is to know about it; more is opened below. */
export function Entry({ title, href, state, about, actions, children }: EntryProps): JSX.Element {
  return (
    <li class="entry">
      <h3>
        {href ? <a href={href}><Foreign of={title} /></a> : <Foreign of={title} />} {state && <State of={state} />}
      </h3>
      {actions && <div class="actions">{actions}</div>}
      {about && <p class="quiet">{about}</p>}
      {children}
    </li>
  );
}

/** What there is to know about a row, in a line that has dots between its parts. */
export function Details({ children }: { children: Children }): JSX.Element {
  return <span class="quiet details">{toChildArray(children).map((one, at) => <span key={at}>{at > 0 && <span class="dot"> · </span>}{one}</span>)}</span>;
}

/** What is shown in the place of rows that there are not: why, and what to do. */
export function Empty({ title, children }: { title: string; children?: Children }): JSX.Element {
  return (
    <div class="empty">
      <p>{title}</p>
      {children}
    </div>
  );
}

interface CardsProps<T> {
  readonly rows: readonly T[];
  readonly id: (row: T) => string;
  readonly empty: string;
  readonly next: string | null;
  readonly children: (row: T) => Children;
}

export function Cards<T>({ rows, id, empty, next, children }: CardsProps<T>): JSX.Element {
  return (
    <>
      {rows.length === 0 && <p class="empty">{empty}</p>}
      <ul class="cards">
        {rows.map((row) => (
          <li key={id(row)}>{children(row)}</li>
        ))}
      </ul>
      <Pager next={next} />
    </>
  );
}

/** Show what was read, or why not; while it is read for the first time, the room is kept. */
export function Read<T>({ of, children }: { of: Reading<T>; children: (data: T) => Children }): JSX.Element {
  return (
    <>
      <Refused refusal={of.refusal} />
      {of.data !== undefined && children(of.data)}
      {of.data === undefined && of.refusal === null && (
        <div class="waiting" aria-busy="true">
          {lostAt.value !== null && <p class="empty">It was not read before: it is shown once the hub is back.</p>}
        </div>
      )}
    </>
  );
}

interface ListedProps<D, T> extends Omit<TableProps<T>, "rows" | "next"> {
  readonly of: Reading<D & { readonly next_cursor?: string | null }>;
  readonly rows: (data: D) => readonly T[];
}

/** A table of what was read; with a part of the address for its next page, all pages of it. */
export function Listed<D, T>({ of, rows, ...table }: ListedProps<D, T>): JSX.Element {
  return (
    <Read of={of}>
      {(data) => <Table {...table} rows={rows(data)} {...(table.cursor && { next: data.next_cursor ?? null })} />}
    </Read>
  );
}

interface LabelledProps {
  readonly label: Children;
  /** What it means, or what to look at. */
  readonly hint?: Children;
  /** What is wrong with it. */
  readonly problem?: string | undefined;
  readonly kind?: "inline" | "field long" | "field letter" | undefined;
  readonly children: (given: { readonly id: string; readonly "aria-describedby": string | undefined; readonly "aria-invalid": boolean }) => Children;
}

let fields = 0; // drawn so far, for ids

/** What is filled in below its label. Hint and problem describe it, and are no part of its name. */
export function Labelled({ label, hint, problem, kind, children }: LabelledProps): JSX.Element {
  const [id] = useState(() => `field-${(fields += 1)}`);
  const about = hint || problem ? `${id}-about` : undefined;
  return (
    <div class={kind ?? "field"}>
      <label for={id}>{label}</label>
      {children({ id, "aria-describedby": about, "aria-invalid": problem !== undefined })}
      {about && (
        <div id={about}>
          {hint && <small class="quiet">{hint}</small>} {problem && <em class="bad">{problem}</em>}
        </div>
      )}
    </div>
  );
}

export interface FieldProps extends Omit<LabelledProps, "kind" | "children"> {
  readonly value: string;
  readonly change: (value: string) => void;
  /** A secret is not shown while it is typed. */
  readonly kind?: "secret" | "lines" | "number";
  readonly isOptional?: boolean | undefined;
  readonly most?: number;
  /** Texts to choose from; others can be typed. */
  readonly offers?: readonly string[];
  /** What there is while nothing is typed. */
  readonly none?: string;
}

/** A text that is typed. */
export function Field({ value, change, kind, isOptional, most = 32_000, offers, none, ...shown }: FieldProps): JSX.Element {
  const typed = {
    autocomplete: "off",
    spellcheck: false,
    required: !isOptional,
    maxLength: most,
    placeholder: none,
    value,
    onInput: (event: { currentTarget: HTMLInputElement | HTMLTextAreaElement }) => change(event.currentTarget.value),
  };
  return (
    <Labelled {...shown} kind={kind === "lines" ? "field long" : undefined}>
      {(given) => {
        if (kind === "lines") return <textarea {...given} {...typed} />;
        if (kind === "secret") return <input type="password" {...given} {...typed} />;
        if (kind === "number") return <input type="number" step="any" {...given} {...typed} />;
        const list = `${given.id}-offers`;
        return (
          <>
            <input type="text" list={offers && list} {...given} {...typed} />
            {offers && <datalist id={list}>{offers.map((one) => <option key={one} value={one} />)}</datalist>}
          </>
        );
      }}
    </Labelled>
  );
}

interface SelectProps extends Omit<LabelledProps, "children"> {
  readonly values: readonly string[];
  readonly value: string;
  readonly change: (value: string) => void;
  /** What is shown while none is chosen; without it, the first one is. */
  readonly none?: string;
  /** What a value is to people. */
  readonly word?: (value: string) => string;
}

/** One of several values. */
export function Select({ values, value, change, none, word = (one) => one, ...shown }: SelectProps): JSX.Element {
  return (
    <Labelled {...shown}>
      {(given) => (
        <select {...given} value={values.includes(value) || none ? value : values[0]} onChange={(event) => change(event.currentTarget.value)}>
          {none && <option value="">{none}</option>}
          {values.map((one) => (
            <option key={one} value={one}>{word(one)}</option>
          ))}
        </select>
      )}
    </Labelled>
  );
}

interface ChecksProps {
  readonly label: string;
  /** What may be chosen, what each means, and what it is called, if not as it is. */
  readonly of: readonly (readonly [one: string, about: string, name?: string])[];
  readonly chosen: readonly string[];
  readonly change: (chosen: readonly string[]) => void;
  readonly hint?: Children;
}

/** Any of several values. */
export function Checks({ label, of, chosen, change, hint }: ChecksProps): JSX.Element {
  return (
    <fieldset>
      <legend>{label}</legend>
      {of.map(([one, about, name = one]) => (
        <label key={one} class="check" title={about}>
          <input
            type="checkbox"
            checked={chosen.includes(one)}
            onChange={({ currentTarget: { checked } }) => change([...chosen.filter((other) => other !== one), ...(checked ? [one] : [])])}
          />
          <Foreign of={name} />
        </label>
      ))}
      {hint}
    </fieldset>
  );
}

interface ChoiceProps {
  readonly name: string;
  readonly label: string;
  readonly values: readonly string[];
  /** What is shown without a choice. */
  readonly none?: string;
}

/** A choice of a filter, which is part of the address of the page. */
export function Choice({ name, label, values, none = "any" }: ChoiceProps): JSX.Element {
  return (
    <Select
      label={label}
      kind="inline"
      values={values}
      value={place.value.query.get(name) ?? ""}
      change={(value) => refine({ [name]: value || undefined })}
      none={none}
      word={(value) => value.toLowerCase().replaceAll("_", " ")}
    />
  );
}
