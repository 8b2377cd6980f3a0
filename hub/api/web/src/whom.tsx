// Who decides here, and for a session with fewer rights, which command gives the others.
import type { JSX } from "preact";
import { me } from "./me";
import { Command } from "./parts";

export function Whom(): JSX.Element | null {
  if (!me.value) return null;
  const { name, role, is_owner: isOwner, missing } = me.value;
  return (
    <>
      <p class="quiet">
        You are {isOwner ? `the owner of ${name}` : name}
        {role && ` · ${role}`}
      </p>
      {missing.length > 0 && (
        <ul class="quiet">
          {missing.map(({ what, command }) => (
            <li key={command}>
              To {what}: <Command text={command} />
            </li>
          ))}
        </ul>
      )}
    </>
  );
}
