import type { JSX } from "preact";
import { Act } from "../acting";
import { type Column, Command, Facts, Foreign, Listed, Page, Section, State, Time } from "../parts";
import { commandOf } from "../format";
import { useReading } from "../reading";
import { link, place } from "../router";
import { Search } from "../search";
import { Refusal, ask } from "../server";
import type { DeliveryView, TargetView } from "../types";

const ROWS = 50;
const STATES = ["waiting", "failed", "delivered"];
const KINDS = ["target"] as const;

const TARGETS: readonly Column<TargetView>[] = [
  { head: "Target", kind: "main", cell: (one) => <a href={link(["notify", one.name])}>{one.name}</a> },
  { head: "State", cell: (one) => <State of={one.state} /> },
  { head: "Kind", cell: (one) => one.kind },
  { head: "Last delivery", cell: (one) => <Time at={one.delivered_at} none="never" /> },
  { head: "Waiting", kind: "number", cell: (one) => one.waiting },
  { head: "Next try", cell: (one) => <Time at={nextTry(one)} isExact /> },
  { head: "Problem", kind: "text", cell: (one) => <Foreign of={one.problem ?? "–"} /> },
];

/** Until when nothing is sent, of a target that fails; a mail waits for others after each one, too. */
function nextTry({ state, retry_at: at }: TargetView): string | null {
  return state === "failing" ? at : null;
}

export function Notify({ name }: { name: string | undefined }): JSX.Element {
  const read = useReading("/v1/notify", { kinds: KINDS });
  const target = read.data?.targets.find((one) => one.name === name);
  if (name !== undefined) return <Target name={name} of={target} isKnown={target !== undefined || read.data === undefined} />;
  return (
    <Page title="Notifications" command="hub notify ls">
      <Listed of={read} label="Targets" columns={TARGETS} rows={(data) => data.targets} id={(one) => one.name} empty={NONE} />
    </Page>
  );
}

const NONE = (
  <>
    No address is notified of what happens. A table <code>[[notify]]</code> in hub.toml names one: a webhook, a topic of ntfy, a room of
    Matrix or a mail address. <a href="/docs/notify.md">How to</a>
  </>
);

/** Send a test; raise Refusal if the target does not take it, which is no refusal of the request. */
async function test(target: string): Promise<void> {
  const { is_ok: isOk, answer } = await ask("post", "/v1/notify/{target}/test", { params: { target } });
  if (!isOk) throw new Refusal(200, "test_failed", `It was not delivered: ${answer}`, "");
}

interface TargetProps {
  readonly name: string;
  readonly of: TargetView | undefined;
  readonly isKnown: boolean;
}

function Target({ name, of, isKnown }: TargetProps): JSX.Element {
  const { state, cursor } = Object.fromEntries(place.value.query);
  const read = useReading("/v1/notify/{target}/deliveries", { params: { target: name }, query: { state, cursor, limit: ROWS }, kinds: KINDS });
  return (
    <Page
      title={name}
      command={commandOf(`hub notify deliveries ${name}`, { "in-state": state })}
      actions={
        of && (
          <Act
            label="Send a test"
            scope="run"
            isMain
            action={() => test(name)}
            done="It has taken the test."
          />
        )
      }
    >
      {!isKnown && <p class="empty">hub.toml names no target like this. <a href="/notify">All targets</a></p>}
      {of && <About of={of} />}
      <Section title="Deliveries">
        <Search fields={[{ name: "state", values: STATES }]} />
        <Listed of={read} label="Deliveries" columns={DELIVERIES} rows={(data) => data.deliveries} id={(one) => one.id} empty="No delivery is like this." cursor="cursor" />
      </Section>
    </Page>
  );
}

function About({ of }: { of: TargetView }): JSX.Element {
  return (
    <Facts
      rows={[
        ["State", <State of={of.state} />],
        ["Because", of.problem && <Foreign of={of.problem} />],
        ["Failing since", of.failing_since && <Time at={of.failing_since} />],
        ["Next try", nextTry(of) && <Time at={of.retry_at} isExact />],
        ["Back in use", of.state === "disabled" && <>after a change of its settings, or <Command text={`hub notify test ${of.name}`} /></>],
        ["Waiting", of.waiting > 0 && of.waiting],
        ["Left out", of.left_out > 0 && of.left_out],
        ["Last delivery", <Time at={of.delivered_at} none="never" />],
        ["Kind", of.kind],
        ["Host", of.host],
        ["Things of", of.user ?? "all users"],
        ["Events", of.events.join(", ")],
      ]}
    />
  );
}

const DELIVERIES: readonly Column<DeliveryView>[] = [
  { head: "Event", kind: "main", cell: (one) => one.event },
  { head: "State", cell: (one) => <State of={one.state} /> },
  { head: "Subject", kind: "text", cell: (one) => <Foreign of={one.subject} /> },
  { head: "Since", cell: (one) => <Time at={one.created_at} /> },
  { head: "Tries", kind: "number", cell: (one) => one.attempts },
  { head: "Last answer", kind: "text", cell: (one) => <Foreign of={one.answer ?? "–"} /> },
  { head: "Last try", cell: (one) => <Time at={one.answered_at} none="never" /> },
  { head: "Next try", cell: (one) => <Time at={one.state === "waiting" ? one.due_at : null} isExact /> },
  { head: "Change", cell: (one) => <Changing of={one} /> },
];

function Changing({ of }: { of: DeliveryView }): JSX.Element {
  const params = { delivery: of.id };
  return (
    <div class="actions">
      <Act
        label={of.state === "waiting" ? "Try now" : "Send again"}
        scope="run"
        action={() => ask("post", "/v1/notify/deliveries/{delivery}/retry", { params })}
        done="It is sent again."
      />
      {of.state === "waiting" && (
        <Act
          label="Drop"
          scope="run"
          action={() => ask("post", "/v1/notify/deliveries/{delivery}/drop", { params })}
          done="It is given up."
          confirm={`Drop ${of.event} of ${of.subject}? It is not sent any more.`}
        />
      )}
    </div>
  );
}
