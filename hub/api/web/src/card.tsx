// The card of an item as an MCP App: a page of its own, which the program of an assistant shows beside a list of items.
import { signal } from "@preact/signals";
import { type JSX, render } from "preact";
import { useState } from "preact/hooks";
import { exact } from "./format";
import { type ToolResult, askByTools, contentOf, listen, notify, request } from "./host";
import { ItemCard, Proposed } from "./pages/item_card";
import { Editor } from "./pages/item_editor";
import { Foreign, Refused, State } from "./parts";
import { useReading } from "./reading";
import { Refusal, ask } from "./server";
import type { ItemView, ItemsPage } from "./types";
import "./base.css";
import "./card.css";

interface Context {
  readonly theme?: "light" | "dark";
}
interface Initialized {
  readonly hostCapabilities?: { readonly serverTools?: object };
  readonly hostContext?: Context;
}
type Verdict = "approve" | "edit" | "reject";
type Data = Readonly<Record<string, unknown>>;

const VERSION = "2026-01-26";
const WAY = "hub/verdicts"; // in the _meta of the list
const ON_ITS_WAY: ReadonlySet<string | undefined> = new Set(["pending", "sent"]);
/** On buttons: where the hub gives a verdict after a question, and where it proposes one. */
const LABELS = {
  approve: ["Approve", "Propose to approve"],
  edit: ["Edit", "Propose changes"],
  reject: ["Reject", "Propose to reject"],
} as const;
const WHY = "From the card of an item at an assistant.";

const items = signal<readonly ItemView[]>();
const place = signal(0);
/** Whether the hub asks the person about a verdict, and gives it; else it makes a proposal. */
const isGiven = signal(false);
/** Whether the program calls tools for this page. */
const hasTools = signal(false);
const problem = signal("");

function Card(): JSX.Element {
  if (problem.value) return <p class="refused">{problem.value}</p>;
  const listed = items.value;
  const item = listed?.[place.value];
  if (!listed || !item) return <p class="quiet">{listed ? "Nothing is listed." : "No list has come yet."}</p>;
  const turn = (step: number): void => void (place.value += step);
  return (
    <>
      {listed.length > 1 && (
        <nav class="turning" aria-label="Items">
          <button type="button" disabled={place.value === 0} onClick={() => turn(-1)}>
            Previous
          </button>
          <button type="button" disabled={place.value === listed.length - 1} onClick={() => turn(1)}>
            Next
          </button>
          {place.value + 1} of {listed.length}
        </nav>
      )}
      <One key={item.id} of={item} />
    </>
  );
}

interface Pressed {
  readonly verdict: Verdict;
  /** It was taken; else it waits for the person, or for the hub. */
  readonly isTaken: boolean;
}

function One({ of: row }: { of: ItemView }): JSX.Element {
  const read = useReading("/v1/items/{item_id}", { params: { item_id: row.id }, when: hasTools.value });
  const [isEdited, setEdited] = useState(false);
  const [pressed, setPressed] = useState<Pressed>();
  const [refusal, setRefusal] = useState<Refusal | null>(null);
  const item = { ...row, ...read.data };
  const isOpen = read.data !== undefined && (item.verdict === "open" || item.verdict === "held") && !ON_ITS_WAY.has(item.given?.state);
  const isRefused = isGiven.value && item.device_refuses !== null;
  const isOwners = isRefused || (isGiven.value && item.needs_owner);

  async function press(verdict: Verdict, data: Data = {}): Promise<void> {
    setPressed({ verdict, isTaken: false });
    setRefusal(null);
    try {
      await judge(item, verdict, data);
      setEdited(false);
      setPressed({ verdict, isTaken: true });
      read.again();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      setRefusal(error);
      setPressed(undefined);
    }
  }

  const button = (verdict: Verdict, act: () => void): JSX.Element => (
    <button type="button" class={verdict === "approve" ? "main" : undefined} disabled={pressed !== undefined} onClick={act}>
      {LABELS[verdict][isGiven.value ? 0 : 1]}
    </button>
  );
  return (
    <ItemCard
      of={item}
      marks={<Marks of={item} />}
      decisions={[["Decided", item.verdict_at && exact(item.verdict_at)]]}
      origin={[["File", <Foreign of={item.path} />], ["Computer", item.device], ["Agent", item.agent], ["Id", item.id]]}
    >
      {item.proposals.map((one) => (
        <Proposed key={one.id} of={one} item={item} />
      ))}
      <Refused refusal={read.refusal ?? refusal} />
      <p role="status">{pressed && (pressed.isTaken ? (isGiven.value ? "Given: it is brought to the owner's computer." : "Proposed: its owner decides.") : isGiven.value ? "Your assistant asks you to confirm it." : "…")}</p>
      {isOpen && isOwners && <p class="quiet">{isRefused ? "Its computer takes no decision from here." : "It has a mark, so only its owner approves or changes it, on their computer."}</p>}
      {isOpen && isEdited && read.data && (
        <Editor of={read.data} failure={undefined} label={LABELS.edit[isGiven.value ? 0 : 1]} hasChoices={isGiven.value} approve={(data) => void press("edit", data)} close={() => setEdited(false)} />
      )}
      {isOpen && !isEdited && (
        <div class="actions">
          {!isOwners && button("approve", () => void press("approve"))}
          {!isOwners && button("edit", () => setEdited(true))}
          {!isRefused && button("reject", () => void press("reject"))}
        </div>
      )}
    </ItemCard>
  );
}

function Marks({ of: { warnings, verdict, given } }: { of: ItemView }): JSX.Element {
  const states = [...warnings, ...(verdict === "open" ? [] : [verdict === "held" ? "less sure" : verdict]), ...(given && given.state !== "done" ? [given.state] : [])];
  return (
    <span class="marks">
      {states.map((one) => (
        <State key={one} of={one} />
      ))}
    </span>
  );
}

/** Give a verdict on the version that is shown, or propose it; raise Refusal. */
async function judge({ id, version }: ItemView, verdict: Verdict, data: Data): Promise<void> {
  const one = { verdict, data, version };
  const { results } = isGiven.value
    ? await ask("post", "/v1/items/verdicts", { body: { verdicts: [{ id, ...one }] } })
    : await ask("post", "/v1/items/proposals", { body: { proposals: [{ item: id, why: WHY, ...one }] } });
  const error = results[0]?.error;
  if (error) throw new Refusal(error.status, error.code, error.message, "");
}

/** Show a list as the tool returned it. */
function take(result: ToolResult): void {
  const { isOk, body } = contentOf(result);
  const content = body as Partial<ItemsPage> & { readonly detail?: string };
  problem.value = isOk ? "" : (content.detail ?? "The list was refused.");
  isGiven.value = result._meta?.[WAY] === "given";
  items.value = content.items ?? [];
  place.value = 0;
}

function show({ theme }: Context): void {
  if (theme) document.documentElement.dataset["theme"] = theme;
}

async function begin(): Promise<void> {
  askByTools();
  listen({
    "ui/notifications/tool-result": take,
    "ui/notifications/tool-cancelled": () => void (problem.value = "The list was cancelled."),
    "ui/notifications/host-context-changed": show,
  });
  const card = document.getElementById("card") as HTMLElement;
  render(<Card />, card);
  // The program opens addresses, after a question of its own; the frame may open none.
  document.addEventListener("click", (event) => {
    const url = (event.target as Element).closest("a")?.href;
    if (!url) return;
    event.preventDefault();
    void request("ui/open-link", { url }).catch(() => undefined);
  });
  const about = { protocolVersion: VERSION, appInfo: { name: "hub", title: "Review", version: VERSION }, appCapabilities: { availableDisplayModes: ["inline"] } };
  const { hostCapabilities, hostContext } = await request<Initialized>("ui/initialize", about);
  hasTools.value = hostCapabilities?.serverTools !== undefined;
  show(hostContext ?? {});
  notify("ui/notifications/initialized", {});
  new ResizeObserver(() => notify("ui/notifications/size-changed", { width: card.scrollWidth, height: card.scrollHeight })).observe(card);
}

void begin();
