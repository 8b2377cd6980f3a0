// The place that is shown: its path and its query. Links are plain links; a click on one does not load anew.
import { signal } from "@preact/signals";

export interface Place {
  readonly path: readonly string[];
  readonly query: URLSearchParams;
}

const REST_MS = 200;
let timer: ReturnType<typeof setTimeout> | undefined;
let pending: string | undefined; // address that the present one is replaced with

export const place = signal<Place>(here());

function here(): Place {
  return at(location.pathname, new URLSearchParams(location.search));
}

function at(path: string, query: URLSearchParams): Place {
  return { path: path.split("/").filter(Boolean).map(decoded), query };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Return the address of a page: its parts, and what of the query is not empty. */
export function link(parts: readonly string[], query: Readonly<Record<string, string | undefined>> = {}): string {
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value) asked.set(name, value);
  const text = asked.toString();
  return `/${parts.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** Show a place. Browsers refuse more than a few changes of the address a second: the last of several is shown there. */
export function go(url: string, { replace = false } = {}): void {
  const { pathname, searchParams } = new URL(url, location.origin);
  place.value = at(pathname, searchParams);
  if (replace) {
    pending = url;
    if (timer === undefined) settle();
    return;
  }
  settle();
  history.pushState(null, "", url);
}

/** Replace the present address with the one that is pending, and rest. */
function settle(): void {
  clearTimeout(timer);
  timer = undefined;
  if (pending === undefined) return;
  history.replaceState(null, "", pending);
  pending = undefined;
  timer = setTimeout(settle, REST_MS);
}

/** Change parts of the query; a filter that changes begins at the first page again, and at the first of its items. */
export function refine(changes: Readonly<Record<string, string | undefined>>): void {
  const { path, query } = place.value;
  go(link(path, { ...Object.fromEntries(query), cursor: undefined, files: undefined, item: undefined, ...changes }), { replace: !("cursor" in changes) });
}

export function followLinks(): void {
  addEventListener("popstate", () => {
    pending = undefined; // it was about the place that is left
    place.value = here();
  });
  document.addEventListener("click", (event) => {
    const anchor = (event.target as Element).closest("a");
    const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    const href = anchor?.getAttribute("href");
    if (!isPlain || !href?.startsWith("/") || href.startsWith("/docs") || anchor?.target) return;
    event.preventDefault();
    go(href);
  });
}
