// All parts of pages as they look, for developers of pages. It reads nothing of the hub.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Act, report } from "../acting";
import { Cards, Checks, Command, Empty, Entry, Facts, Field, Page, Refused, Section, Select, State, Table, Told, Was } from "../parts";
import { Refusal } from "../server";

const STATES = ["active", "failed", "paused", "RUNNING", "open"];
const SPACES = [1, 2, 3, 4, 5, 6, 7];
const COLOURS = ["text", "quiet", "accent", "good", "bad", "odd"];

export function Parts(): JSX.Element {
  const [text, setText] = useState("");
  const [chosen, setChosen] = useState<readonly string[]>(["tasks"]);
  return (
    <Page title="Parts of the page" command="hub help dashboard" actions={<a class="button main" href="/sources">Main action</a>}>
      <Section title="Rows" more={<a href="/parts">More</a>}>
        <ul class="cards">
          <Entry title="Send Anna the invoice" href="/parts" about="due Tue 1 Dec · from Anna · notes/a.md, line 26" actions={<button type="button">Approve</button>} />
          <Entry title="A row with a mark" state="instruction" about="its text contains instructions">
            <details>
              <summary>12 kept back</summary>
              <p>What is opened by a person.</p>
            </details>
          </Entry>
        </ul>
        <Empty title="Nothing waits for you.">
          <p>What agents find comes here. <a href="/sources">Sources</a></p>
        </Empty>
        <Cards rows={["A card"]} id={(one) => one} empty="" next={null}>{(one) => <Told text={one} />}</Cards>
      </Section>
      <Section title="Tables and facts">
        <Table label="Example" columns={[{ head: "Name", kind: "main", cell: (row: string) => <a href="/parts">{row}</a> }, { head: "State", cell: (row) => <State of={row} /> }]} rows={STATES} id={(row) => row} empty="None." />
        <Facts rows={[["Name", "desk"], ["Changed", <Was old="5" new="7" />]]} />
      </Section>
      <Section title="Fields">
        <form class="filters" onSubmit={(event) => event.preventDefault()}>
          <Field label="Name" value={text} change={setText} hint="What it means" isOptional />
          <Field label="With a problem" value="x" change={() => undefined} problem="It is too short" />
          <Select label="Read it" values={["every hour", "when I ask for it"]} value="" change={() => undefined} />
          <Checks label="Look for" of={[["tasks", "What is to do"], ["notes", "What is to know"]]} chosen={chosen} change={setChosen} />
          <button class="main">Main</button>
          <button type="button" onClick={() => report("It is done.", false, () => report("Undone."))}>Say what was done</button>
          <button type="button" disabled>Not now</button>
          <Act label="Remove" scope="read" action={() => Promise.resolve()} done="Removed." confirm="Remove it? It cannot be undone." />
        </form>
      </Section>
      <Section title="Refusals and waiting">
        <Refused refusal={new Refusal(409, "conflict", "It was changed meanwhile.", "Load the page again.")} />
        <progress max={10} value={4} aria-label="4 of 10" />
      </Section>
      <Section title="Letters, colours and space">
        <h3>A heading of a row</h3>
        <p>Text, <code>a command</code>, <kbd>k</kbd>, <mark>marked</mark>. {COLOURS.map((name) => <span key={name} style={{ color: `var(--${name})` }}>{name} </span>)}</p>
        {SPACES.map((number) => <div key={number} class="space"><span style={{ width: `var(--s${number})` }} /> <code>--s{number}</code></div>)}
        <Command text="hub status" />
      </Section>
    </Page>
  );
}
