// Keys: those of the whole dashboard, and those of the view that is shown.
import { signal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";
import { go } from "./router";
import { viewOfKey } from "./views";

export interface Key {
  readonly key: string;
  readonly about: string;
  readonly action: () => void;
  /** True: it acts again and again while it is held down. Others take a press each. */
  readonly repeats?: boolean;
}

const PREFIX = "g";
const PREFIX_MS = 1_500;

export const isHelpShown = signal(false);
export const isPaletteShown = signal(false);
/** Keys of the view, for the help. */
export const own = signal<readonly Key[]>([]);

let prefixedAt = 0;

/** Give the view that is shown keys of its own. */
export function useKeys(keys: readonly Key[]): void {
  // At once: a key never acts on what was shown before.
  useLayoutEffect(() => {
    own.value = keys;
  });
  useLayoutEffect(() => () => void (own.value = []), []);
}

export function listen(): void {
  document.addEventListener("keydown", pressed);
}

function pressed(event: KeyboardEvent): void {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    isPaletteShown.value = !isPaletteShown.value;
    return;
  }
  const { target } = event;
  const isFilter = target instanceof HTMLElement && target.matches("input[type=search], [role=search] :is(input, select)");
  if (isFilter && (event.key === "Escape" || (event.key === "Enter" && target instanceof HTMLInputElement))) {
    target.blur(); // what was typed takes effect, and the keys of the view act again
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || isFormOpen()) return;
  const action = chosen(event.key, event.timeStamp, event.repeat);
  if (action === undefined) return;
  event.preventDefault();
  action();
}

function chosen(key: string, at: number, isHeld: boolean): (() => void) | undefined {
  if (at - prefixedAt < PREFIX_MS && prefixedAt > 0) {
    prefixedAt = 0;
    const view = viewOfKey(key);
    return view && (() => go(`/${view.path}`));
  }
  const found = own.value.find((one) => one.key === key);
  if (found) return isHeld && !found.repeats ? () => undefined : found.action;
  if (key === PREFIX) {
    prefixedAt = at;
    return () => undefined;
  }
  if (key === "?") return () => (isHelpShown.value = true);
  if (key === "/") return () => document.querySelector<HTMLInputElement>("main input[type=search]")?.focus();
  if (key === "j" || key === "k") return () => moveFocus(key === "j" ? 1 : -1);
  return undefined;
}

/** Move the focus among the links, or buttons, of the rows of a list. */
export function moveFocus(step: number): void {
  const links = [...document.querySelectorAll<HTMLElement>("main :is(td.main :is(a, button), [data-task])")];
  const at = links.indexOf(document.activeElement as HTMLElement);
  links[at < 0 ? 0 : Math.min(links.length - 1, Math.max(0, at + step))]?.focus();
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.matches("input:not([type=checkbox]), textarea, select, [contenteditable]");
}

/** Whether a dialog, or a form in place of what the keys act on, is open. */
function isFormOpen(): boolean {
  return document.querySelector("dialog[open], form[data-takes-keys]") !== null;
}
