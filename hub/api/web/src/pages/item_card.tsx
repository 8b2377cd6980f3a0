// An item as a person decides about it: its words among those around them, its marks, its values, and what others propose.
import type { ComponentChildren, JSX } from "preact";
import { balanced, dayWords, daysUntil, fieldName, inWords, soon, thing } from "../format";
import { now } from "../live";
import { Command, Elsewhere, Facts, Foreign, Section, Time, Was, reached } from "../parts";
import { MARKS } from "../types";
import type { ItemDetail, ItemPlace, ItemView, ProposalView } from "../types";
import { facts, shown } from "./item_editor";

/** An item of the list, with its content once that is here. */
export type Shown = ItemView & Partial<Omit<ItemDetail, "data">>;

export interface CardProps {
  readonly of: Shown;
  /** Its states, in a line. */
  readonly marks: ComponentChildren;
  /** What became of it. */
  readonly decisions: readonly (readonly [string, ComponentChildren])[];
  /** Names and ids, for those who look closer. */
  readonly origin: readonly (readonly [string, ComponentChildren])[];
  readonly children: ComponentChildren;
}

const ORIGINS: Readonly<Record<NonNullable<ItemDetail["provenance"]>["origin"], string>> = {
  own: "a file of yours",
  shared: "a folder in which others write, too",
  mail: "mail",
  chat: "a chat",
  web: "a web page, or a webhook",
  attachment: "an attachment",
  calendar: "a calendar",
};

/** Return a mark with what it means. */
export function meaning(mark: string): string {
  return `${mark.replaceAll("_", " ")}: ${MARKS[mark] ?? "a newer release of the hub explains it"}`;
}

/** An item with the words that it comes from. */
export function ItemCard({ of, marks, decisions, origin, children }: CardProps): JSX.Element {
  const named = (data: Readonly<Record<string, unknown>>): [string, string][] => facts(of, data).map(([name, value]) => [fieldName(name), value]);
  return (
    <article aria-labelledby="item-title">
      <h2 id="item-title" tabIndex={-1} ref={reached}>
        <Foreign of={of.title || "no title"} />
      </h2>
      {of.provenance && !(of.provenance.origin === "own" && of.provenance.trusted) && (
        <p class="quiet">
          From: {ORIGINS[of.provenance.origin]}
          {of.provenance.author && (
            <>
              , <Foreign of={of.provenance.author} />
            </>
          )}
          {!of.provenance.trusted && ", not verified"}
        </p>
      )}
      {marks}
      {of.warnings.map((mark) => (
        <p key={mark} class="quiet">{meaning(mark)}</p>
      ))}
      {(of.reasons ?? []).map((reason) => (
        <p key={reason} class="quiet">
          <Foreign of={inWords(reason.replace(/^\w+(?=:)/, fieldName))} />
        </p>
      ))}
      {of.places.map((place) => (
        <p key={place.name} class="quiet">
          <Foreign of={place.sentence} />
          {place.link && <>, <Elsewhere to={place.link}><Foreign of={place.link} /></Elsewhere></>}, <Time at={place.since} />
        </p>
      ))}
      {children}
      <p class="quiet">Found {soon(of.created_at, now.value)} in <Source of={of} /></p>
      {of.place?.quote ? <Words of={of.place} /> : of.verdict === "open" && of.place?.link && <p class="quiet">Its words are at its computer: <Command text="hub review" /></p>}
      {of.place?.link && !of.place.link.startsWith("mid:") && <Elsewhere to={of.place.link}>Open the message</Elsewhere>}
      <Section title={thing(of.table)}>
        {of.data ? <Facts rows={named(of.data)} /> : <div class="waiting" aria-busy="true" />}
      </Section>
      {Object.entries({ "As it was found": of.found, "What it is until then": of.before }).map(([title, data]) => data && (
        <Section key={title} title={title}>
          <Facts rows={named(data)} />
        </Section>
      ))}
      {decisions.some(([, value]) => value) && <Facts rows={decisions} />}
      <details>
        <summary>Details</summary>
        <Facts rows={origin} />
      </details>
    </article>
  );
}

/** Return the line in which the words of an item begin. */
function lineOf({ line, place }: Shown): number | null {
  const excerpt = place?.excerpt;
  return line ?? (excerpt ? excerpt.line + excerpt.before.split("\n").length - 1 : null);
}

/** When a task is due, or an event is. */
export function Due({ day, isTask, isOpen }: { day: string; isTask: boolean; isOpen: boolean }): JSX.Element {
  const isPast = isOpen && daysUntil(day, now.value) < 0;
  return <span class={isPast ? "late" : undefined}>{`${isPast ? (isTask ? "overdue, " : "past, ") : isTask ? "due " : ""}${dayWords(day, now.value)}`}</span>;
}

/** Where an item is from: mail from Bob; week.md, line 26. *isFile*: the name of its file is above it. */
export function Source({ of, isShort = false, isFile = false }: { of: Shown; isShort?: boolean; isFile?: boolean }): JSX.Element {
  const { origin, author } = of.provenance ?? {};
  const subject = of.place?.excerpt?.subject;
  if (subject && !isShort) return <>“<Foreign of={subject} />”</>;
  if (origin === "mail" || origin === "chat") return <>{origin === "mail" ? "mail" : "a chat"}{author && <> from <Foreign of={isShort ? author.replace(/(.) <[^<>]*>$/, "$1") : author} /></>}</>;
  const line = lineOf(of);
  const name = isShort ? (of.path.split("/").at(-1) ?? "") : of.path;
  return (
    <span class="from">
      {!isFile && <Foreign class="path" of={name} title={of.path} />}
      {line !== null && <span>{`${isFile ? "" : ", "}line\u00a0${line}`}</span>}
    </span>
  );
}

/** What an item would change of what its owner has approved: change: due Wed 2 Dec → none. */
export function Changes({ of }: { of: ItemView }): JSX.Element {
  const words = (value: unknown): string => (/^\d{4}-\d\d-\d\d/.test(String(value)) ? dayWords(String(value), now.value) : shown(value)) || "none";
  return <>{of.changes.map(({ field, before, after }, at) => <span key={field}>{at > 0 && " · "}change: {fieldName(field)} <Foreign of={words(before)} /> → <Foreign of={words(after)} /></span>)}</>;
}

/** The words of an item, marked in the lines around them. */
function Words({ of: { quote, excerpt } }: { of: ItemPlace }): JSX.Element {
  if (!excerpt) {
    return (
      <blockquote ref={reached}>
        <mark>{quote}</mark>
      </blockquote>
    );
  }
  const lines: ComponentChildren[][] = [[]];
  const fields = excerpt.subject ? (/^(?:\S+: .*\n)*\n/.exec(excerpt.before)?.[0] ?? "") : ""; // of a mail, which say nothing more
  [excerpt.before.slice(fields.length), quote, excerpt.after].forEach((text, place) => {
    text.split(/\r?\n/).forEach((part, number) => {
      if (number > 0) lines.push([]);
      if (part) lines.at(-1)?.push(place === 1 ? <mark>{balanced(part)}</mark> : <span>{balanced(part)}</span>);
    });
  });
  return (
    <blockquote ref={reached}>
      <ol start={excerpt.line + fields.split("\n").length - 1} aria-label="Lines of the source">
        {lines.map((line) => (
          <li>
            <div dir="auto">{line}</div>
          </li>
        ))}
      </ol>
    </blockquote>
  );
}

/** What others propose, with their reason: a text of others, as the words of the item are. */
export function Proposed({ of, item, children }: { of: ProposalView; item: Shown; children?: ComponentChildren }): JSX.Element {
  const before = new Map(facts(item, item.before ?? item.data ?? {}));
  const quote = item.place?.quote ?? item.quote;
  return (
    <section class="banner" aria-label="Proposed">
      <p>
        <Foreign of={of.by} /> proposes to {of.verdict}: <Foreign of={of.why} />
      </p>
      {facts(item, of.data).map(([name, now]) => (
        <div key={name}>
          <Was name={fieldName(name)} old={before.get(name) ?? null} new={now} />
          {of.unsupported.includes(name) && <em class="bad">The quote does not say this.</em>}
        </div>
      ))}
      {Object.keys(of.data).length > 0 && quote && (
        <blockquote ref={reached}>
          <mark>{balanced(quote)}</mark>
        </blockquote>
      )}
      {children}
    </section>
  );
}
