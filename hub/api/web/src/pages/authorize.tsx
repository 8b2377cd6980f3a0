// An assistant asks to act with rights of the person who is signed in: what it is, what it wants, and less of it.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Form } from "../acting";
import { Checks, Facts, Field, Foreign, Page, Read, Refused, Select } from "../parts";
import { useReading } from "../reading";
import { Refusal, ask } from "../server";
import type { AuthorizationView, Scope } from "../types";

const KNOWN = 200; // devices that are offered
const DAYS = ["1", "7", "30", "90"];
const ABOUT: Readonly<Record<string, string>> = {
  read: "See agents, runs, items and messages, and propose verdicts",
  run: "Start and stop runs, pause and resume agents",
  review: "Give verdicts on items; it asks you about each in its own window",
  answer: "Answer questions of agents; it asks you about each in its own window",
};

export function Authorize(): JSX.Element {
  const [query] = useState(location.search.slice(1));
  const asked = useReading("/v1/authorizations", { query: { query } });
  return (
    <Page title="Allow an assistant">
      <Read of={asked}>{(data) => <Request of={data} query={query} />}</Read>
    </Page>
  );
}

function Request({ of, query }: { of: AuthorizationView; query: string }): JSX.Element {
  const [scopes, setScopes] = useState<readonly string[]>(of.scopes);
  const [devices, setDevices] = useState<readonly string[]>([]);
  const [only, setOnly] = useState<readonly string[]>([]);
  const [roots, setRoots] = useState("");
  const [days, setDays] = useState("30");
  const [name, setName] = useState("");
  const [refusal, setRefusal] = useState<Refusal | null>(null);
  const known = useReading("/v1/devices", { query: { limit: KNOWN } });
  const tables = useReading("/v1/tables", { query: { limit: KNOWN } });

  async function allow(): Promise<void> {
    const limits = { devices, tables: only, roots: roots.split("\n").map((line) => line.trim()).filter(Boolean) };
    try {
      const body = { query, scopes: scopes as Scope[], limits, days: Number(days), name: name.trim() };
      location.assign((await ask("post", "/v1/authorizations", { body })).location);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      setRefusal(error);
    }
  }

  return (
    <>
      <p>
        <strong>Allow it only if you have just connected it yourself.</strong> What it is called is its own word; what it
        gets goes to the address below.
      </p>
      <Facts
        rows={[
          ["Is called", <Foreign of={of.name} />],
          ["Is known as", <Foreign of={of.client} />],
          ["Goes on at", <Foreign of={of.place} />],
        ]}
      />
      <Refused refusal={refusal} />
      <Form kind="editor" send={allow}>
        <Field label="Your name for it, which stands in what it does" isOptional most={40} value={name} change={setName} />
        <Checks
          label="It may read, and may"
          of={of.offered.filter((one) => one !== "read").map((one) => [one, ABOUT[one] ?? one])}
          chosen={scopes}
          change={setScopes}
          hint={<small class="quiet">{scopes.map((one) => ABOUT[one]).join(". ")}.</small>}
        />
        <Checks
          label="Of these devices alone; none: of all"
          of={(known.data?.devices ?? []).map(({ name }) => [name, name])}
          chosen={devices}
          change={setDevices}
        />
        <Checks
          label="Of these tables alone; none: of all"
          of={(tables.data?.tables ?? []).map(({ name, about }) => [name, about])}
          chosen={only}
          change={setOnly}
        />
        <Field label="Of these shared folders alone, one in a line; none: of all" kind="lines" isOptional value={roots} change={setRoots} />
        <Select label="For so many days" values={DAYS} value={days} change={setDays} />
        <div class="actions">
          <button class="main">Allow</button>
          <a class="button" href={of.denied}>
            Do not allow
          </a>
        </div>
      </Form>
    </>
  );
}
