// The command palette: every view, agent and device by a few letters of its name, and what can be done with it.
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { attempt, signOut } from "./acting";
import { isHelpShown, isPaletteShown } from "./keys";
import { hasSession, isAtDevice, may } from "./me";
import { useReading } from "./reading";
import { go, link } from "./router";
import { ask } from "./server";
import { views } from "./views";

interface Entry {
  readonly title: string;
  readonly about: string;
  readonly action: () => void;
}

const SHOWN = 12;
const KNOWN = 200; // agents and devices that are offered; their lists find the others

export function Palette(): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const isShown = isPaletteShown.value;
  useEffect(() => {
    if (isShown) dialog.current?.showModal();
    else dialog.current?.close();
  }, [isShown]);
  return (
    <dialog ref={dialog} class="palette" aria-label="Go to" onClose={() => (isPaletteShown.value = false)}>
      {isShown && <Choices />}
    </dialog>
  );
}

function Choices(): JSX.Element {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const entries = useEntries();
  const found = entries.filter((entry) => isLike(entry.title, text)).slice(0, SHOWN);
  function choose(entry: Entry | undefined): void {
    if (!entry) return;
    isPaletteShown.value = false;
    entry.action();
  }
  function pressed(event: KeyboardEvent): void {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined) setAt(Math.min(found.length - 1, Math.max(0, at + step)));
    else if (event.key === "Enter") choose(found[at]);
    else return;
    event.preventDefault();
  }
  return (
    <>
      <input
        type="text"
        role="combobox"
        aria-label="View, agent or device"
        aria-expanded="true"
        aria-controls="choices"
        aria-activedescendant={found.length > 0 ? `choice-${at}` : undefined}
        placeholder="View, agent, device…"
        autocomplete="off"
        autoFocus
        value={text}
        onInput={(event) => {
          setText(event.currentTarget.value);
          setAt(0);
        }}
        onKeyDown={pressed}
      />
      <ul id="choices" role="listbox" aria-label="Matches">
        {found.map((entry, number) => (
          <li
            key={entry.title}
            id={`choice-${number}`}
            role="option"
            aria-selected={number === at}
            onClick={() => choose(entry)}
          >
            <span>{entry.title}</span>
            <span class="quiet">{entry.about}</span>
          </li>
        ))}
      </ul>
      {found.length === 0 && <p class="empty">Nothing is called that.</p>}
    </>
  );
}

function useEntries(): readonly Entry[] {
  const { data: agents } = useReading("/v1/agents", { query: { limit: KNOWN }, when: !isAtDevice() });
  const { data: devices } = useReading("/v1/devices", { query: { limit: KNOWN }, when: !isAtDevice() });
  const mayRun = may("run");
  return [
    ...views().map((view) => ({
      title: view.title,
      about: `g ${view.key}`,
      action: () => go(`/${view.path}`),
    })),
    { title: "Keys", about: "?", action: () => (isHelpShown.value = true) },
    ...(hasSession() ? [{ title: "Sign out", about: "end the session", action: () => void signOut() }] : []),
    ...(agents?.agents ?? []).flatMap(({ name }) => [
      { title: name, about: "agent", action: () => go(link(["agents", name])) },
      { title: `Runs of ${name}`, about: "runs", action: () => go(link(["runs"], { agent: name })) },
      ...(mayRun ? [{ title: `Start a run of ${name}`, about: `hub run ${name}`, action: () => void start(name) }] : []),
    ]),
    ...(devices?.devices ?? [])
      .filter((device) => device.revoked_at === null)
      .map(({ name }) => ({ title: name, about: "device", action: () => go(link(["devices", name])) })),
  ];
}

async function start(name: string): Promise<void> {
  await attempt(() => ask("post", "/v1/agents/{name}/runs", { params: { name }, body: {} }), `A run of ${name} is queued.`);
  go(link(["runs"], { agent: name }));
}

/** Return whether the letters of *text* are in *title*, in their order. */
function isLike(title: string, text: string): boolean {
  let rest = title.toLowerCase();
  for (const letter of text.toLowerCase().replaceAll(" ", "")) {
    const at = rest.indexOf(letter);
    if (at < 0) return false;
    rest = rest.slice(at + 1);
  }
  return true;
}
