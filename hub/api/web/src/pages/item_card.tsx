// An item as a person decides about it: its words among those around them, its marks, its values, and what others propose.
import type { ComponentChildren, JSX } from "preact";
import { balanced } from "../format";
import { Facts, Foreign, Section, Time, Was } from "../parts";
import { MARKS } from "../types";
import type { ItemDetail, ItemPlace, ItemView, ProposalView } from "../types";
import { facts } from "./item_editor";

/** An item of the list, with its content once that is here. */
export type Shown = ItemView & Partial<Omit<ItemDetail, "data">>;

export interface CardProps {
  readonly of: Shown;
  /** Its states, in a line. */
  readonly marks: ComponentChildren;
  /** What is known of it besides its words. */
  readonly origin: readonly (readonly [string, ComponentChildren])[];
  readonly children: ComponentChildren;
}

const ORIGINS: Readonly<Record<NonNullable<ItemDetail["provenance"]>["origin"], string>> = {
  own: "a file of the device",
  shared: "a folder in which others write, too",
  mail: "mail",
  chat: "a chat",
  web: "a web page, or a webhook",
  attachment: "an attachment",
  calendar: "a calendar",
};

/** Where an item is: only an address of the web is a link. */
function Place({ link: to }: { link: string }): JSX.Element {
  if (!/^https?:\/\//.test(to)) return <Foreign of={to} />;
  return (
    <a href={to} target="_blank" rel="noreferrer">
      <Foreign of={to} />
    </a>
  );
}

/** An item with the words that it comes from. */
export function ItemCard({ of, marks, origin, children }: CardProps): JSX.Element {
  return (
    <article aria-labelledby="item-title">
      <h2 id="item-title">
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
        <p key={mark} class="quiet">
          {mark.replaceAll("_", " ")}: {MARKS[mark] ?? "a newer release of the hub explains it"}
        </p>
      ))}
      {(of.reasons ?? []).map((reason) => (
        <p key={reason} class="quiet">
          <Foreign of={reason} />
        </p>
      ))}
      {of.places.map((place) => (
        <p key={place.name} class="quiet">
          <Foreign of={place.sentence} />
          {place.link && <>, <Place link={place.link} /></>}, <Time at={place.since} />
        </p>
      ))}
      {children}
      {of.place?.quote && <Source of={of.place} />}
      {of.place?.link && (
        <a href={of.place.link} target="_blank" rel="noreferrer">
          Open the message
        </a>
      )}
      <Section title={of.table}>
        {of.data ? <Facts rows={facts(of, of.data)} /> : <div class="waiting" aria-busy="true" />}
      </Section>
      {of.found && (
        <Section title="As it was found">
          <Facts rows={facts(of, of.found)} />
        </Section>
      )}
      {of.before && (
        <Section title="What the device has until then">
          <Facts rows={facts(of, of.before)} />
        </Section>
      )}
      <Section title="Where it comes from">
        <Facts rows={[...origin, ["Characters", of.place && `${of.place.start} to ${of.place.end}`]]} />
      </Section>
    </article>
  );
}

/** The words of an item, marked in the lines around them. */
function Source({ of: { quote, excerpt } }: { of: ItemPlace }): JSX.Element {
  if (!excerpt) {
    return (
      <blockquote>
        <mark>{quote}</mark>
      </blockquote>
    );
  }
  const lines: ComponentChildren[][] = [[]];
  [excerpt.before, quote, excerpt.after].forEach((text, place) => {
    text.split(/\r?\n/).forEach((part, number) => {
      if (number > 0) lines.push([]);
      if (part) lines.at(-1)?.push(place === 1 ? <mark>{balanced(part)}</mark> : <span>{balanced(part)}</span>);
    });
  });
  return (
    <blockquote>
      <ol start={excerpt.line} aria-label="Lines of the source">
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
          <Was name={name} old={before.get(name) ?? null} new={now} />
          {of.unsupported.includes(name) && <em class="bad">The quote does not say this.</em>}
        </div>
      ))}
      {Object.keys(of.data).length > 0 && quote && (
        <blockquote>
          <mark>{balanced(quote)}</mark>
        </blockquote>
      )}
      {children}
    </section>
  );
}
