// The place that is shown: its path and its query. Links are plain links; a click on one does not load anew.
import { signal } from "@preact/signals";

export interface Place {
  readonly path: readonly string[];
  readonly query: URLSearchParams;
}

export const place = signal<Place>(here());

function here(): Place {
  const parts = location.pathname.split("/").filter(Boolean);
  return { path: parts.map(decoded), query: new URLSearchParams(location.search) };
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

export function go(url: string, { replace = false } = {}): void {
  history[replace ? "replaceState" : "pushState"](null, "", url);
  place.value = here();
}

/** Change parts of the query; a filter that changes begins at the first page again. */
export function refine(changes: Readonly<Record<string, string | undefined>>): void {
  const { path, query } = place.value;
  go(link(path, { ...Object.fromEntries(query), cursor: undefined, files: undefined, ...changes }), { replace: !("cursor" in changes) });
}

export function followLinks(): void {
  addEventListener("popstate", () => (place.value = here()));
  document.addEventListener("click", (event) => {
    const anchor = (event.target as Element).closest("a");
    const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    const href = anchor?.getAttribute("href");
    if (!isPlain || !href?.startsWith("/") || href.startsWith("/docs") || anchor?.target) return;
    event.preventDefault();
    go(href);
  });
}
