// Changes: a button that asks first where that is right, and one line that says what became of it.
import { signal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useContext, useRef, useState } from "preact/hooks";
import { refresh } from "./live";
import { may } from "./me";
import { Subject } from "./parts";
import { Refusal, ask } from "./server";
import type { ProblemView, ReloadView, Scope } from "./types";

interface Outcome {
  readonly text: ComponentChildren;
  readonly isRefusal: boolean;
  readonly undo: (() => void) | undefined;
  readonly at: number;
}

export const outcome = signal<Outcome | null>(null);
const SHOWN_MS = 8_000;
const UNDO_MS = 20_000; // what is offered with it is read and reached
let timer: ReturnType<typeof setTimeout> | undefined;

export function report(text: ComponentChildren, isRefusal = false, undo?: () => void): void {
  clearTimeout(timer);
  outcome.value = { text, isRefusal, undo, at: performance.now() };
  // A refusal stays until the next action: it says what to do.
  if (!isRefusal) timer = setTimeout(() => (outcome.value = null), undo ? UNDO_MS : SHOWN_MS);
}

/** Report a refusal; raise any other error. */
export function refused(error: unknown): void {
  if (!(error instanceof Refusal)) throw error;
  report(told(error), true);
}

/** Return what is wrong, and what to do. */
export function told(problem: Pick<ProblemView, "message" | "hint">): string {
  return [problem.message, problem.hint].filter(Boolean).join(" – ");
}

/** Do something at the hub and report it, with the warnings of the answer; what is shown is read anew. Return whether it was done. */
export async function attempt(action: () => Promise<unknown>, done: string): Promise<boolean> {
  let answer: unknown;
  try {
    answer = await action();
  } catch (error) {
    if (!(error instanceof Refusal)) report("This page failed; the hub may have done it. Load the page again.", true);
    refused(error);
    return false;
  } finally {
    refresh();
  }
  const warned = ((answer ?? {}) as Partial<ReloadView>).warnings ?? [];
  report([done, ...warned.map(told)].join(" "));
  if (warned.length > 0) clearTimeout(timer); // they say what to do, as a refusal does
  return true;
}

export interface Order {
  readonly label: string;
  readonly action: () => Promise<unknown>;
  readonly done: string;
}

/** Return what starts a run of an agent. */
export function starting(name: string): Order {
  return { label: "Start a run", action: () => ask("post", "/v1/agents/{name}/runs", { params: { name }, body: {} }), done: `A run of ${name} is queued.` };
}

/** Return what pauses an agent, or lets it work again. */
export function turning(name: string, isPaused: boolean): Order {
  const params = { name };
  if (isPaused) return { label: "Resume", action: () => ask("post", "/v1/agents/{name}/resume", { params, body: {} }), done: `${name} works again.` };
  return { label: "Pause", action: () => ask("post", "/v1/agents/{name}/pause", { params }), done: `${name} is paused.` };
}

/** Return what a field has once a text of it was sent: what was typed meanwhile stays. */
export function without(sent: string): (text: string) => string {
  return (text) => (text === sent ? "" : text);
}

/** End the session of this browser. Loaded again, the page knows nothing of it, and asks who this is. */
export async function signOut(): Promise<void> {
  await ask("delete", "/v1/sessions/current").then(() => location.assign("/"), refused);
}

/** Return an action that does not begin again before it has ended, as on a second press of Enter, and whether it goes on. */
export function useOnce(action: () => Promise<unknown>): readonly [() => Promise<void>, boolean] {
  const goesOn = useRef(false); // at once: a second press may come before the page is drawn again
  const [isBusy, setBusy] = useState(false);
  async function once(): Promise<void> {
    if (goesOn.current) return;
    goesOn.current = true;
    setBusy(true);
    try {
      await action();
    } finally {
      goesOn.current = false;
      setBusy(false);
    }
  }
  return [once, isBusy];
}

interface ActProps extends Order {
  readonly scope: Scope;
  /** A question before the action, of something that cannot be undone. */
  readonly confirm?: string;
  readonly then?: () => void;
  readonly isMain?: boolean;
  readonly disabled?: boolean;
}

/** A button for callers who may do it; for others there is none. */
export function Act({ label, scope, action, done, confirm, then, isMain, disabled }: ActProps): JSX.Element | null {
  const dialog = useRef<HTMLDialogElement>(null);
  const [act, isBusy] = useOnce(async () => {
    dialog.current?.close();
    if (await attempt(action, done)) then?.();
  });
  const subject = useContext(Subject);
  if (!may(scope)) return null;
  return (
    <>
      <button
        type="button"
        aria-label={subject ? `${label} ${subject}` : undefined}
        class={isMain ? "main" : confirm ? "danger" : ""}
        disabled={isBusy || disabled}
        onClick={() => (confirm ? dialog.current?.showModal() : void act())}
      >
        {label}
      </button>
      {confirm && (
        <dialog ref={dialog} aria-label={label} class="asking">
          <p>{confirm}</p>
          <div class="actions">
            <button type="button" onClick={() => dialog.current?.close()}>
              Keep
            </button>
            <button type="button" class="danger" onClick={() => void act()}>
              {label}
            </button>
          </div>
        </dialog>
      )}
    </>
  );
}

interface FormProps {
  readonly send: () => Promise<unknown>;
  readonly label?: string;
  readonly kind?: "filters" | "editor";
  readonly children: ComponentChildren;
}

/** Fields with a button, which sends them. */
export function Form({ send, label, kind = "filters", children }: FormProps): JSX.Element {
  const [once] = useOnce(send);
  return (
    <form
      class={kind}
      aria-label={label}
      onSubmit={(event) => {
        event.preventDefault();
        void once();
      }}
    >
      {children}
    </form>
  );
}
