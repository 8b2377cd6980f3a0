// The frame of all pages: navigation, the state of the connection, help, and the page itself.
import { computed, effect, signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { outcome, signOut } from "./acting";
import { lasting, zone } from "./format";
import { isHelpShown, isPaletteShown, listen, own } from "./keys";
import { follow, isSignedOut, keepTime, lostAt, now } from "./live";
import { hasSession, isAtDevice, isOwner, may, me } from "./me";
import { Palette } from "./palette";
import { Page } from "./parts";
import { ONES, PAGES } from "./pages/pages";
import { useReading } from "./reading";
import { place } from "./router";
import { SignIn, isEntering, meet } from "./sign_in";
import { type Side, type View, viewAt, views } from "./views";
import { noteVisit, useSummary } from "./visit";
import { Whom } from "./whom";

const THEMES = ["system", "light", "dark"] as const;
const THEME = "theme";
const PALETTE = navigator.platform.startsWith("Mac") || navigator.platform.startsWith("iP") ? "⌘ K" : "Ctrl K";
const theme = signal(localStorage.getItem(THEME) ?? "system");
const isMenuShown = signal(false);
const HUB_SIDE = "hub_side"; // in this browser: whether it is unfolded
const isHubShown = signal<boolean | null>(({ open: true, folded: false } as const)[localStorage.getItem(HUB_SIDE) ?? ""] ?? null);

effect(() => {
  document.documentElement.dataset["theme"] = theme.value;
  localStorage.setItem(THEME, theme.value);
  // The bar of a phone or a window has the ground of the page, also of a theme that the system has not.
  for (const meta of document.querySelectorAll<HTMLMetaElement>("meta[name=theme-color]")) {
    const isDark = theme.value === "dark" || (theme.value === "system" && meta.media.includes("dark"));
    meta.content = isDark ? "#14181c" : "#f7f8f9";
  }
});
effect(() => {
  if (isHubShown.value !== null) localStorage.setItem(HUB_SIDE, isHubShown.value ? "open" : "folded");
});
// A phone that is turned has the column.
matchMedia("(max-width: 47.9rem)").addEventListener("change", () => (isMenuShown.value = false));
effect(() => {
  void place.value;
  isMenuShown.value = false;
});
const page = computed(() => place.value.path.join("/"));
effect(() => {
  void page.value;
  // What was reported just now may itself have led to this page.
  if (performance.now() - (outcome.peek()?.at ?? 0) > 500) outcome.value = null;
});

export function Shell(): JSX.Element {
  if (isEntering.value || isSignedOut.value) return <SignIn />;
  return <Inside />;
}

function Inside(): JSX.Element {
  const { data } = useReading("/v1/me");
  useEffect(() => {
    if (data) meet(data);
  }, [data]);
  useEffect(() => {
    follow();
    keepTime();
    noteVisit();
    listen();
  }, []);
  return (
    <>
      <a class="skip" href="#main">
        Skip to the page
      </a>
      <Navigation />
      <main id="main" tabIndex={-1} inert={isMenuShown.value}>
        <Banner />
        {me.value ? <Shown /> : <div class="waiting" aria-busy="true" />}
        <p class="zone">Times are those of {zone(now.value)}.</p>
      </main>
      <Outcome />
      <Palette />
      <Help />
    </>
  );
}

function Shown(): JSX.Element {
  const [first, name, ...rest] = place.value.path;
  const view = viewAt(first);
  const Found = PAGES[view];
  const One = ONES[view];
  if (!Found || rest.length > 0) {
    return (
      <Page title="Nothing is here">
        <p class="empty">
          No page has this address. <a href="/">Go home</a>
        </p>
      </Page>
    );
  }
  const key = place.value.path.join("/");
  return One && name !== undefined ? <One key={key} name={name} /> : <Found key={key} name={name} />;
}

const MAX_SHOWN = 99; // in the bar of a phone there is no room for more
const ISSUES = "to see to";

/** Return what waits on each view, and what it is. */
function useCounts(): Readonly<Record<string, readonly [number, string]>> {
  const when = me.value !== null && !isAtDevice();
  const summary = useSummary(when);
  const status = useReading("/v1/status", { kinds: ["agent", "device", "issue", "run"], when });
  const { errors = 0, warnings = 0 } = status.data?.issues ?? {};
  return {
    status: [errors + warnings, ISSUES],
    inbox: [summary.data?.items.waiting ?? 0, "to review"],
    questions: [summary.data?.questions.open ?? 0, "to answer"],
    devices: [summary.data?.pairings ?? 0, "to let in"],
  };
}

/** The side of an owner is a bar at the bottom of a phone; with "More", what else there is covers the page. */
function Navigation(): JSX.Element {
  const current = viewAt(place.value.path[0]);
  const counts = useCounts();
  const isAsked = may("answer") && (counts["questions"]?.[0] ?? 0) > 0;
  const sideOf = (view: View): Side => (view.path === "questions" && isAsked ? "mine" : view.side);
  const mine = views().filter((view) => sideOf(view) === "mine");
  const others = views().filter((view) => sideOf(view) === "hub");
  const isUnfolded = isHubShown.value ?? (!isOwner() || others.some(({ path }) => path === current));
  const waiting = others.reduce((sum, { path }) => sum + (counts[path]?.[0] ?? 0), 0);
  const more = useRef<HTMLButtonElement>(null);
  const link = (view: View): JSX.Element => (
    <li key={view.path}>
      <a href={`/${view.path}`} aria-current={view.path === current ? "page" : undefined} title={view.about}>
        <Icon of={view.path} />
        <span>{view.title}</span>
        <kbd aria-hidden="true">g {view.key}</kbd>
        <Waiting of={counts[view.path]} />
      </a>
    </li>
  );
  function toggle(): void {
    isMenuShown.value = !isMenuShown.value;
    // What it shows is behind the button for some, and before it for others.
    if (isMenuShown.value) setTimeout(() => document.querySelector<HTMLElement>(".side :is(button, a)")?.focus());
  }
  function pressed(event: KeyboardEvent): void {
    if (event.key !== "Escape" || !isMenuShown.value) return;
    isMenuShown.value = false;
    more.current?.focus();
  }
  const sides = [
    <ul key="mine" class="mine" aria-label="Mine">
      {mine.map(link)}
      <li class="more">
        <button ref={more} type="button" aria-expanded={isMenuShown.value} aria-controls="hub-side" onClick={toggle}>
          <Icon of="more" />
          <span>More</span>
          <Waiting of={[waiting, "in all"]} />
        </button>
      </li>
    </ul>,
    <div key="hub" class="side">
      {others.length > 0 && (
        <button type="button" class="turn" aria-expanded={isUnfolded} aria-controls="hub-side" onClick={() => (isHubShown.value = !isUnfolded)}>
          Hub {!isUnfolded && <Waiting of={[waiting, "in all"]} />}
        </button>
      )}
      <div id="hub-side" class="groups" hidden={!isUnfolded}>
        {[...new Set(others.map(({ group }) => group))].map((group) => (
          <ul key={group} aria-label={group || "Hub"}>
            {group && <li class="group" aria-hidden="true">{group}</li>}
            {others.filter((view) => view.group === group).map(link)}
          </ul>
        ))}
      </div>
    </div>,
  ];
  return (
    <nav class="navigation" aria-label="Views" data-open={isMenuShown.value} onKeyDown={pressed}>
      <a class="brand" href="/">
        hub
      </a>
      {isOwner() ? sides : sides.reverse()}
      <div class="foot">
        <button type="button" onClick={() => (isPaletteShown.value = true)}>
          Go to… <kbd>{PALETTE}</kbd>
        </button>
        <button type="button" class="keyboard" onClick={() => (isHelpShown.value = true)}>
          Keys <kbd>?</kbd>
        </button>
        {!isAtDevice() && (
          <a class="button" href="/docs">
            Handbook
          </a>
        )}
        <label class="theme">
          <span>Theme</span>
          <select value={theme.value} onChange={(event) => (theme.value = event.currentTarget.value)}>
            {THEMES.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        <Whom />
        {hasSession() && (
          <button type="button" onClick={() => void signOut()}>
            Sign out
          </button>
        )}
      </div>
    </nav>
  );
}

const ICONS: Readonly<Record<string, string>> = {
  inbox: "M4 13h4l2 3h4l2-3h4M4 13l3-8h10l3 8v6H4z",
  tasks: "M4 6l2 2 3-4M4 16l2 2 3-4M12 7h8M12 17h8",
  sources: "M4 6h6l2 2h8v11H4z",
  places: "M12 21c-4-5-6-8-6-11a6 6 0 0112 0c0 3-2 6-6 11zM12 8v4M10 10h4",
  questions: "M9 9a3 3 0 114 3c-1 1-1 1-1 2M12 18h.01",
  more: "M5 12h.01M12 12h.01M19 12h.01",
};

function Icon({ of }: { of: string }): JSX.Element | null {
  const path = ICONS[of];
  if (!path) return null;
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={path} />
    </svg>
  );
}

/** The number of things that wait on a view; none for zero. */
function Waiting({ of: [number, name] = [0, ""] }: { of: readonly [number, string] | undefined }): JSX.Element | null {
  if (number === 0) return null;
  return (
    <span class={name === ISSUES ? "count bad" : "count"} title={name}>
      {number > MAX_SHOWN ? `${MAX_SHOWN}+` : number} <span class="unseen">{name}</span>
    </span>
  );
}

function Banner(): JSX.Element | null {
  if (lostAt.value === null) return null;
  const age = Math.max(0, (now.value - lostAt.value) / 1_000);
  return (
    <p class="banner" role="status">
      <strong>The hub is out of reach.</strong> What is shown is {age < 10 ? "a few seconds" : lasting(age)} old; this
      page tries again by itself.
    </p>
  );
}

function Outcome(): JSX.Element {
  const shown = outcome.value;
  return (
    <div class="outcome" role="status" aria-live="polite">
      {shown && (
        <p class={shown.isRefusal ? "bad" : "good"}>
          <span>{shown.text}</span>
          {shown.undo && (
            <button type="button" class="undo" onClick={shown.undo}>
              Undo <kbd>u</kbd>
            </button>
          )}
          <button type="button" aria-label="Close the message" onClick={() => (outcome.value = null)}>
            ×
          </button>
        </p>
      )}
    </div>
  );
}

function Help(): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const isShown = isHelpShown.value;
  useLayoutEffect(() => {
    if (isShown) dialog.current?.showModal();
    else dialog.current?.close();
  }, [isShown]);
  const always: readonly (readonly [string, string])[] = [
    [PALETTE, "go to a view, an agent, a device or a command"],
    ["j, k", "next and previous row"],
    ["/", "search"],
    ["?", "these keys"],
    ...views().map((view) => [`g ${view.key}`, view.title] as const),
  ];
  const owned = new Set(own.value.map(({ key }) => key));
  const others = always.filter(([keys]) => !keys.split(", ").every((key) => owned.has(key)));
  return (
    <dialog ref={dialog} class="help" aria-label="Keys" onClose={() => dialog.current?.open || (isHelpShown.value = false)}>
      <h2>Keys</h2>
      <dl class="columns">
        {[...own.value.map(({ key, about }) => [key, about] as const), ...others].map(([key, about]) => (
          <div key={key}>
            <dt>
              <kbd>{key === " " ? "Space" : key}</kbd>
            </dt>
            <dd>{about}</dd>
          </div>
        ))}
      </dl>
      <form method="dialog">
        <button>Close</button>
      </form>
    </dialog>
  );
}
