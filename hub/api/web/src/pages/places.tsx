// Where approved tasks and events go: each place with its state, and a form that tests a place before it is saved.
import type { ComponentChildren, JSX } from "preact";
import { useState } from "preact/hooks";
import { Act, Form, refused, report } from "../acting";
import { count, inWords, things } from "../format";
import { refresh } from "../live";
import { Command, Empty, Entry, Field, Foreign, Page, Read, Section, Select, Time } from "../parts";
import { learn, useReading } from "../reading";
import { go, link, place } from "../router";
import { type Asked, Refusal, ask } from "../server";
import type { KnownPlace, PlaceFields, PlacesAnswer } from "../types";

type Kind = PlaceFields["kind"];

const DEVICES = 50;
const AGAIN_MS = 15_000; // a place changes without an event
/** What can be added here, as people call it, and what is asked about the file or the server. */
const CHOICES: Readonly<Partial<Record<Kind, readonly [name: string, label: string, hint: string]>>> = {
  markdown: ["Obsidian vault or Markdown file", "Note", "As in ~/vault/Todo.md; with {date} in the name, each day has a note."],
  "todo.txt": ["todo.txt", "File", "As in ~/todo.txt."],
  caldav: ["Calendar or reminders", "Address", "Of a calendar at a server (CalDAV), of the server, then you choose one, or a file, as in ~/calendar.ics."],
};
const OTHERS: Readonly<Partial<Record<Kind, string>>> = { ics: "Calendar file", csv: "Table", jsonl: "JSON lines" };

/** The choice that a place was added by: a calendar is at a server or in a file. */
function choiceOf(kind: string): Kind {
  return kind === "ics" ? "caldav" : (kind as Kind);
}

function kindName(kind: string): string {
  return CHOICES[kind as Kind]?.[0] ?? OTHERS[kind as Kind] ?? kind;
}

export function Places(): JSX.Element {
  const devices = useReading("/v1/devices", { query: { limit: DEVICES }, kinds: ["device"] });
  return (
    <Page title="Places" command="hub places">
      <p class="quiet">Where approved tasks and events go. What you tick or change there changes here.</p>
      <Read of={devices}>
        {(data) => {
          const here = data.devices.filter((one) => one.connected);
          if (here.length === 0) return <Empty title="Your computer is not connected."><p>On it, this lists its places: <Command text="hub places" /></p></Empty>;
          return here.map((one) => <OfComputer key={one.id} id={one.id} title={here.length > 1 ? `On ${one.name}` : "Your places"} />);
        }}
      </Read>
    </Page>
  );
}

function OfComputer({ id, title }: { id: string; title: string }): JSX.Element {
  const read = useReading("/v1/devices/{device_id}/places", { params: { device_id: id }, every: AGAIN_MS });
  const { query } = place.value;
  const isHere = (query.get("on") ?? id) === id;
  const kind = query.get("add") as Kind | null;
  return (
    <Section title={title}>
      <Read of={read}>
        {(known) => {
          const { places, version } = known;
          const changed = places.find((one) => one.name === query.get("change"));
          return (
            <>
              {places.length === 0 && <Empty title="Approved tasks go nowhere yet: they are in Tasks alone." />}
              <ul class="cards">
                {places.map((one) => (
                  <OfPlace key={one.name} of={one} device={id} version={version}>
                    {isHere && one === changed && CHOICES[choiceOf(one.kind)] && <PlaceForm kind={choiceOf(one.kind)} before={one} known={known} device={id} />}
                  </OfPlace>
                ))}
              </ul>
              <h3>Add a place</h3>
              <p class="actions">
                {Object.entries(CHOICES).map(([key, [name]]) => (
                  <a key={key} class="button" href={link(["places"], { add: key, on: id })} aria-current={isHere && kind === key ? "true" : undefined}>{name}</a>
                ))}
              </p>
              {isHere && kind && CHOICES[kind] && <PlaceForm key={kind} kind={kind} known={known} device={id} />}
            </>
          );
        }}
      </Read>
    </Section>
  );
}

interface OfPlaceProps {
  readonly of: KnownPlace;
  readonly device: string;
  readonly version: string;
  readonly children: ComponentChildren;
}

/** Send an order, and show the places as they are then. */
async function order(device: string, body: NonNullable<Asked<"post", "/v1/devices/{device_id}/places">["body"]>): Promise<PlacesAnswer> {
  const params = { device_id: device };
  const answer = await ask("post", "/v1/devices/{device_id}/places", { params, body });
  if (!answer.problem) learn("/v1/devices/{device_id}/places", params, answer);
  return answer;
}

/** Carry out an order about a place; raise Refusal if the place is none, which is no refusal of the request. */
async function act(device: string, body: { do: "test" | "remove"; name: string; version: string }): Promise<void> {
  const { problem } = await order(device, body);
  if (problem) throw new Refusal(200, "no_place", problem, "");
}

function OfPlace({ of, device, version, children }: OfPlaceProps): JSX.Element {
  const { name, rows, waiting, written_ms: written, problem } = of;
  return (
    <Entry
      title={name}
      state={problem ? (of.is_lasting ? "failing" : "waiting") : undefined}
      about={
        <>
          {kindName(of.kind)} · <Foreign of={of.place} /> · {count(rows)} are there{waiting > 0 && `, ${count(waiting)} wait`}
          {of.deleted > 0 && `, ${count(of.deleted)} you deleted there and still have here (hub places lists them)`} · last written{" "}
          <Time at={written ? new Date(written).toISOString() : null} none="not yet" />
        </>
      }
      actions={
        <>
          <Act label="Test" scope="review" action={() => act(device, { do: "test", name, version })} done={`${name} can be written.`} />
          {CHOICES[choiceOf(of.kind)] && <a class="button" aria-label={`Change ${name}`} href={link(["places"], { change: name, on: device })}>Change</a>}
          <Act
            label="Remove"
            scope="review"
            action={() => act(device, { do: "remove", name, version })}
            done={`Nothing more goes to ${name}.`}
            confirm={`Remove ${name}? What is there stays, and so do your tasks here.`}
          />
        </>
      }
    >
      {problem && <p class="bad"><Foreign of={problem} /></p>}
      {[of.remedy, of.asked].map((text) => text && <p class="quiet"><Foreign of={inWords(text)} /></p>)}
      {children}
    </Entry>
  );
}

interface FormProps {
  readonly kind: Kind;
  readonly before?: KnownPlace;
  readonly known: PlacesAnswer;
  readonly device: string;
}

function PlaceForm({ kind, before, known, device }: FormProps): JSX.Element {
  const candidates = known.candidates.filter((one) => one.kind === kind);
  const [path, setPath] = useState(before?.place ?? candidates[0]?.place ?? "");
  const [user, setUser] = useState(before?.user ?? "");
  const [password, setPassword] = useState("");
  const [tested, setTested] = useState<PlacesAnswer | null>(null);
  const [, label, hint] = CHOICES[kind] ?? ["", "Place", ""];
  const isServer = kind === "caldav" && !/^[~/]/.test(path.trim());
  async function send(): Promise<void> {
    const isSaved = tested !== null && !tested.problem;
    const fields = { kind: kind === "caldav" && !isServer ? ("ics" as const) : kind, place: path.trim(), user: isServer ? user.trim() : "", password: isServer ? password : "" };
    const body = { do: isSaved ? ("save" as const) : ("test" as const), name: before?.name ?? "", version: known.version, ...fields };
    try {
      const answer = await order(device, body);
      setTested(answer);
      if (isSaved && !answer.problem) {
        report(`Saved. ${approved(answer.rows)} there now, and each later one.${alone(answer)}`);
        refresh();
        go(link(["places"]));
      }
    } catch (error) {
      refused(error);
    }
  }
  function typed(set: (text: string) => void): (text: string) => void {
    return (text) => {
      set(text);
      setTested(null); // what is saved was tested
    };
  }
  function aim(text: string): void {
    if (host(text) !== host(path)) setPassword(""); // typed for that server
    setPath(text);
  }
  const problem = tested?.problem ? tested : null;
  const about = problem?.about ?? "";
  const found = problem?.calendars ?? [];
  function wrong(field: string): string | undefined {
    return problem?.about === field ? problem.problem : undefined;
  }
  return (
    <Form kind="editor" label={before ? `Change ${before.name}` : "Add a place"} send={send}>
      <Field label={label} value={path} change={typed(aim)} hint={hint} problem={found.length ? undefined : wrong("place")} most={1_000} />
      {candidates.length > 1 && <Select label="Found on your computer" values={candidates.map((one) => one.place)} value={path} change={typed(aim)} none="others" />}
      {found.length > 0 && <p role="status">Choose a calendar:</p>}
      {found.map(({ url, name, tables }) => (
        <p key={url} class="actions">
          <button type="button" onClick={() => typed(aim)(url)}><Foreign of={name || url} /></button> {tables.map(things).join(", ")}
        </p>
      ))}
      {isServer && <Field label="User" value={user} change={typed(setUser)} problem={wrong("user")} most={200} />}
      {isServer && (
        <Field
          label="Password"
          kind="secret"
          value={password}
          change={typed(setPassword)}
          isOptional={before !== undefined}
          hint="The hub passes it on to your computer, which keeps it in a file that only you can read."
          problem={wrong("password")}
          most={500}
        />
      )}
      {problem && !["place", "user", "password"].includes(about) && <p class="bad">{problem.problem}</p>}
      {tested && !problem && <p role="status">It can be written. {approved(tested.rows)} there once it is saved, and each later one.{alone(tested)}</p>}
      <p class="actions">
        <button type="submit" class="main">{tested && !problem ? "Save" : "Test"}</button>
        <a class="button" href={link(["places"])}>Cancel</a>
      </p>
    </Form>
  );
}

function host(address: string): string | undefined {
  return address.replace(/^\w+:\/\//, "").split("/")[0];
}

function alone({ tables, left_out: out }: PlacesAnswer): string {
  return out.length ? ` It takes ${tables.map(things).join(" and ")} alone: add another place for ${out.map(things).join(" and ")}.` : "";
}

function approved(rows: number): string {
  return rows === 1 ? "1 approved item goes" : `${count(rows)} approved items go`;
}
