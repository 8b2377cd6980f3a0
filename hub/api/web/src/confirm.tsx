// The question before an item with a mark is approved or changed: one item at a time, below its mark and its words.
import { signal } from "@preact/signals";
import type { JSX } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { meaning } from "./pages/item_card";
import { Foreign, Read, reached } from "./parts";
import { useReading } from "./reading";
import type { ItemView } from "./types";

interface Question {
  readonly item: ItemView;
  readonly label: string;
  /** Called with the item as it was shown, once a person agrees to it. */
  readonly agreed: (item: ItemView) => void;
}
/** What is asked; undefined: nothing. */
export const question = signal<Question>();

function focus(button: HTMLButtonElement | null): void {
  button?.focus();
}

export function Confirm({ ended }: { ended: () => void }): JSX.Element | null {
  const dialog = useRef<HTMLDialogElement>(null);
  const asked = question.value;
  const id = asked?.item.id ?? "";
  const read = useReading("/v1/items/{item_id}", { params: { item_id: id }, when: asked !== undefined });
  useLayoutEffect(() => {
    if (asked) dialog.current?.showModal();
  }, [asked]);
  if (!asked) return null;
  const close = (): void => dialog.current?.close();
  return (
    <dialog ref={dialog} class="asking" aria-label={asked.label} onClose={() => (question.value = undefined, ended())}>
      <Read of={read}>
        {(item) => (
          <>
            <h2>
              <Foreign of={item.title || "no title"} />
            </h2>
            {item.warnings.map((mark) => (
              <p key={mark} class="banner">{meaning(mark)}</p>
            ))}
            <blockquote ref={reached}>
              <Foreign of={item.place?.quote || "There are no words of its file."} />
            </blockquote>
            <p class="quiet">
              <Foreign of={item.path} />
            </p>
            <div class="actions">
              <button ref={focus} type="button" onClick={close}>
                Leave it
              </button>
              <button type="button" class="danger" onClick={() => (close(), asked.agreed(item))}>
                {asked.label}
              </button>
            </div>
          </>
        )}
      </Read>
    </dialog>
  );
}
