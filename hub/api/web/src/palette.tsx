// The command palette: every view, agent, device and command by a few letters of its name, and what can be done with it.
import { signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { type Order, attempt, report, signOut, starting, turning } from "./acting";
import { isHelpShown, isPaletteShown } from "./keys";
import { hasSession, isAtDevice, may } from "./me";
import { copied } from "./parts";
import { useReading } from "./reading";
import { go, link } from "./router";
import { ask } from "./server";
import { views } from "./views";

interface Entry {
  readonly title: string;
  readonly about: string;
  /** Found by its words, but not shown. */
  readonly more?: string;
  readonly action: () => void;
}

const SHOWN = 12;
const PAGES = 3; // of them, room for pages of the handbook
const KNOWN = 200; // agents and devices that are offered; their lists find the others

/** Where the dashboard does what a command does, by its first words, unless a page has the first one as its address. */
const PLACES: Readonly<Record<string, string>> = {
  "agents calendar": "/agents?view=week",
  "agents create": "/agents?new=1",
  "agents next": "/agents?view=week",
  answer: "/questions",
  ask: "/questions",
  config: "/settings",
  doctor: "/status",
  help: "/docs",
  issues: "/status",
  items: "/inbox",
  logs: "/log",
  metrics: "/trends",
  pair: "/devices",
  review: "/inbox",
  run: "/agents",
  summary: "/status",
};

export function Palette(): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const isShown = isPaletteShown.value;
  useLayoutEffect(() => {
    if (isShown) dialog.current?.showModal();
    else dialog.current?.close();
  }, [isShown]);
  return (
    <dialog ref={dialog} class="palette" aria-label="Go to" onClose={() => dialog.current?.open || (isPaletteShown.value = false)}>
      {isShown && <Choices />}
    </dialog>
  );
}

function Choices(): JSX.Element {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const entries = useEntries();
  const pages = useHandbook(text);
  const found = useMemo(() => [...matches(entries, text), ...pages].slice(0, SHOWN), [entries, pages, text]);
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
        aria-label="View, agent, device or command"
        aria-expanded="true"
        aria-controls="choices"
        aria-activedescendant={found.length > 0 ? `choice-${at}` : undefined}
        placeholder="View, agent, device, command…"
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
            key={`${entry.title} ${entry.about}`}
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

/** Every command with a sentence about it: read once the palette is opened. */
const commands = signal<readonly (readonly [words: string, about: string])[]>([]);

async function readCommands(): Promise<void> {
  if (commands.value.length > 0 || isAtDevice()) return;
  try {
    commands.value = (await (await fetch("/commands.json")).json()) as typeof commands.value;
  } catch {
    // The hub is out of reach: the palette has the pages.
  }
}

const PAUSE_MS = 250; // between the last key and the search in the handbook
const HIT = /^- \[(.+)\]\((\/docs\/\S+)\): /;

/** Return the sections of the handbook that have the words of a text. */
function useHandbook(text: string): readonly Entry[] {
  const [hits, setHits] = useState<readonly Entry[]>([]);
  useEffect(() => {
    setHits([]);
    if (text.trim().length < 3 || isAtDevice()) return undefined;
    let isCurrent = true;
    const timer = setTimeout(async () => {
      const found = await ask("get", "/docs", { query: { q: text.slice(0, 100) } }).catch(() => "");
      const hits = found.split("\n").map((line) => HIT.exec(line)).filter((hit) => hit !== null);
      if (isCurrent) setHits(hits.map(([, title = "", url = ""]) => ({ title, about: "handbook", action: () => location.assign(url) })));
    }, PAUSE_MS);
    return () => {
      isCurrent = false;
      clearTimeout(timer);
    };
  }, [text]);
  return hits;
}

function useEntries(): readonly Entry[] {
  useEffect(() => void readCommands(), []);
  const listed = commands.value;
  const { data: agents } = useReading("/v1/agents", { query: { limit: KNOWN }, when: !isAtDevice() });
  const { data: devices } = useReading("/v1/devices", { query: { limit: KNOWN }, when: !isAtDevice() });
  return useMemo(() => {
    const mayRun = may("run");
    return [
      ...views().map((view) => ({
        title: view.title,
        about: `g ${view.key}`,
        more: view.about,
        action: () => go(`/${view.path}`),
      })),
      { title: "Parts of the page", about: "how they look", action: () => go("/parts") },
      { title: "Keys", about: "?", action: () => (isHelpShown.value = true) },
      ...(hasSession() ? [{ title: "Sign out", about: "end the session", action: () => void signOut() }] : []),
      ...(agents?.agents ?? []).flatMap(({ name, lifecycle, gateway }) => [
        { title: name, about: "agent", action: () => go(link(["agents", name])) },
        { title: `Runs of ${name}`, about: "runs", action: () => go(link(["runs"], { agent: name })) },
        ...(mayRun && gateway === null ? [ordered(`Start a run of ${name}`, `hub run ${name}`, starting(name), link(["runs"], { agent: name }))] : []),
        ...(mayRun ? [turned(name, lifecycle === "paused")] : []),
      ]),
      ...(devices?.devices ?? [])
        .filter((device) => device.revoked_at === null)
        .map(({ id, name }) => ({ title: name, about: "device", action: () => go(link(["devices", id])) })),
      ...listed.map(([words, about]) => ({ title: words, about, action: () => doing(words) })),
    ];
  }, [agents, devices, listed]);
}

/** Return an entry that gives an order, and then shows a page. */
function ordered(title: string, about: string, { action, done }: Order, then?: string): Entry {
  return { title, about, action: () => void attempt(action, done).then(() => then && go(then)) };
}

function turned(name: string, isPaused: boolean): Entry {
  const order = turning(name, isPaused);
  return ordered(`${order.label} ${name}`, `hub agents ${order.label.toLowerCase()} ${name}`, order);
}

/** Go to the page that does the same as a command; copy a command that has none. */
function doing(words: string): void {
  const [, first = "", second = ""] = words.split(" ");
  const place = PLACES[`${first} ${second}`] ?? PLACES[first] ?? `/${first}`;
  const view = place.replace(/^\/|\?.*/g, "");
  if (place === "/docs") location.assign(place);
  else if (views().some(({ path }) => path === view)) go(place);
  else void copying(words);
}

async function copying(words: string): Promise<void> {
  const isCopied = await copied(words);
  report(
    <>
      {isCopied ? "Copied, for a shell:" : "In a shell:"} <code>{words}</code>
    </>,
  );
}

/** Return the entries that a text means, the best ones first. */
function matches(entries: readonly Entry[], text: string): readonly Entry[] {
  const words = text.toLowerCase().split(" ").filter(Boolean);
  return entries
    .map((entry) => ({ entry, cost: words.reduce((sum, word) => sum + distance(entry, word), 0) }))
    .filter(({ cost }) => cost < Infinity)
    .sort((one, other) => one.cost - other.cost)
    .slice(0, SHOWN - PAGES)
    .map(({ entry }) => entry);
}

/** Return how far a word is from a title: 0, a word of it begins so; Infinity, its letters are not in it. */
function distance({ title, about, more = "" }: Entry, word: string): number {
  const whole = title.toLowerCase();
  const at = whole.indexOf(word);
  if (at === 0 || whole.includes(` ${word}`)) return 0;
  if (at > 0) return 1;
  if (`${about} ${more}`.toLowerCase().includes(word)) return 2;
  return scattered(whole, word);
}

/** Return a cost by the letters between those of *word*, which have to be in *whole* in their order. */
function scattered(whole: string, word: string): number {
  let [from, last] = [-1, -1];
  for (const letter of word) {
    last = whole.indexOf(letter, last + 1);
    if (last < 0) return Infinity;
    if (from < 0) from = last;
  }
  return 3 + (last - from - word.length);
}
