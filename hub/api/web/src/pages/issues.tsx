import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Act, Form, attempt } from "../acting";
import { DAY_MS, inZone } from "../format";
import { may } from "../me";
import { Command, Field, Named, Read, Select, State, Time } from "../parts";
import { type Reading, useReading } from "../reading";
import { ask, type Path, Refusal } from "../server";
import type { Fix, IssueView, SelfTestView } from "../types";

const SHOWN = 6;
const FOR: Readonly<Record<string, number>> = { "a day": 1, "a week": 7, "30 days": 30 };
const KINDS = ["agent", "connector", "device", "issue", "pairing", "settings"] as const;

/** What a person has to see to: each with what corrects it, and a way not to be shown it. */
export function Issues(): JSX.Element {
  const issues = useReading("/v1/issues", { query: { limit: SHOWN }, kinds: KINDS });
  const muted = useReading("/v1/issues", { query: { limit: SHOWN, muted: true }, kinds: ["issue"] });
  return (
    <>
      <Read of={issues}>
        {({ issues: found, next_cursor: next }) => (
          <>
            {found.length === 0 && <p class="empty">Nothing is wrong.</p>}
            <ul class="cards">
              {found.map((issue) => (
                <Card key={issue.key} of={issue} />
              ))}
            </ul>
            {next && <p class="quiet">There are more: hub doctor lists all.</p>}
          </>
        )}
      </Read>
      <Muted of={muted} />
    </>
  );
}

function Card({ of }: { of: IssueView }): JSX.Element {
  return (
    <li>
      <p class="card-head">
        <State of={of.severity} />
        <Time at={of.since} />
      </p>
      <p>{inZone(of.explanation)}</p>
      {!of.fixes.some(({ command }) => command === of.fix) && <p class="quiet">{of.fix}</p>}
      {of.fixes.map((fix) => (
        <div key={fix.command} class="fix">
          {fix.verb !== "GET" && (
            <Act
              label={fix.title}
              scope={fix.scope}
              action={() => mend(fix)}
              done="It is done; the hub checks it anew."
              {...(fix.is_final && { confirm: `${fix.title}? It cannot be undone.` })}
            />
          )}
          {fix.verb === "GET" && may(fix.scope) && (
            <a class="button" href={fix.path}>
              {fix.title}
            </a>
          )}
          <Command text={fix.command} />
        </div>
      ))}
      {may("run") && <Mute of={of} />}
    </li>
  );
}

/** The hub says which request corrects an issue. */
async function mend(fix: Fix): Promise<void> {
  const verb = fix.verb.toLowerCase() as "post";
  const answer: unknown = await ask(verb, fix.path as Path<"post">, fix.body === null ? {} : { body: fix.body as never });
  await ask("get", "/v1/issues", { query: { anew: true, limit: 1 } });
  const tested = answer as Partial<SelfTestView> | undefined; // a test that fails is no refusal of the request
  if (tested?.is_ok === false) throw new Refusal(200, "test_failed", tested.steps?.at(-1)?.told ?? "It failed.", "");
}

function Mute({ of }: { of: IssueView }): JSX.Element {
  const [reason, setReason] = useState("");
  const [span, setSpan] = useState("a week");
  async function mute(): Promise<void> {
    const days = FOR[span];
    const until = days === undefined ? null : new Date(Date.now() + days * DAY_MS).toISOString();
    const body = { reason, until };
    await attempt(() => ask("post", "/v1/issues/{key}/mute", { params: { key: of.key }, body }), "It is muted.");
  }
  return (
    <details class="mute">
      <summary>Mute</summary>
      <Form send={mute}>
        <Field label="Why" most={500} value={reason} change={setReason} />
        <Select label="For" values={[...Object.keys(FOR), "good"]} value={span} change={setSpan} />
        <button>Mute this issue</button>
      </Form>
    </details>
  );
}

function Muted({ of }: { of: Reading<{ readonly issues: readonly IssueView[] }> }): JSX.Element | null {
  const issues = of.data?.issues ?? [];
  if (issues.length === 0) return null;
  return (
    <details>
      <summary>{issues.length === SHOWN ? `At least ${SHOWN}` : issues.length} muted</summary>
      <ul class="cards">
        {issues.map((issue) => (
          <li key={issue.key}>
            <p>{inZone(issue.explanation)}</p>
            <p class="quiet">
              Muted by {issue.muted && <Named id={issue.muted.actor} name={issue.muted.actor_name} />}: {issue.muted?.reason}
            </p>
            <p class="quiet">
              {issue.muted?.ends_at ? <>until <Time at={issue.muted.ends_at} isExact /></> : "until it is unmuted"}
            </p>
            <Act
              label="Unmute"
              scope="run"
              action={() => ask("post", "/v1/issues/{key}/unmute", { params: { key: issue.key } })}
              done="It is shown again."
            />
          </li>
        ))}
      </ul>
    </details>
  );
}
