// Signing in: with the code of a link, or with an operator's token. The session is a cookie that no script reads.
import { effect, signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Form } from "./acting";
import { enter as announce, entries, isSignedOut } from "./live";
import { me } from "./me";
import { Command, Field, Refused } from "./parts";
import { go, link, place } from "./router";
import { type Answer, Refusal, ask } from "./server";
import { drop } from "./verdicts";

/** Whether the address is that of a link, as /login/PAGE#CODE. Its code is not in the address once it has been read. */
export const isEntering = signal(place.value.path[0] === "login");
const code = location.hash.slice(1);

const OF_PERSON = ["name", "user", "role", "is_owner"] as const;

/** Go on in the session that there is now. What this window has of another person is dropped. */
export function meet(person: Answer<"get", "/v1/me">): void {
  const before = me.value;
  if (before && OF_PERSON.some((part) => before[part] !== person[part])) {
    drop();
    location.reload();
  } else {
    me.value = person;
    isSignedOut.value = false;
  }
}

async function enterAs(): Promise<void> {
  meet(await ask("get", "/v1/me"));
}

effect(() => void (entries.value && enterAs().catch(() => undefined)));

/** Shown in place of every page to a browser that the hub does not know. */
export function SignIn(): JSX.Element {
  const [refusal, setRefusal] = useState<Refusal | null>(null);
  const [token, setToken] = useState("");

  async function enter(secret: string): Promise<void> {
    setRefusal(null);
    try {
      await ask("post", "/v1/sessions", { secret });
      if (isEntering.value) go(link(place.value.path.slice(1)), { replace: true });
      isEntering.value = false;
      announce();
      await enterAs();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      setRefusal(secret === code ? new Refusal(error.status, error.code, error.message, "") : error); // below is how a new link is made
    }
  }

  useEffect(() => {
    if (!isEntering.value || !code) return;
    history.replaceState(null, "", location.pathname);
    void enter(code);
  }, []);

  useEffect(() => {
    // Another window may have signed in.
    const check = (): void => void enterAs().catch(() => undefined);
    addEventListener("focus", check);
    return () => removeEventListener("focus", check);
  }, []);

  return (
    <main class="sign-in">
      <h1>Sign in</h1>
      <Refused refusal={refusal} />
      <p>
        This browser is not signed in to the hub, or its session has ended. Open a new link, of <Command text="hub open" /> on your
        computer or of <Command text="hub dashboard --qr" /> for a phone, or give a token.
      </p>
      <Form send={() => enter(token.trim())}>
        <Field label="Token of an operator" kind="secret" value={token} change={setToken} />
        <button class="main">Sign in</button>
      </Form>
    </main>
  );
}
