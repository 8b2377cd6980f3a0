import type { JSX } from "preact";

/** Shown in place of every page to a browser that the hub does not know. */
export function SignIn(): JSX.Element {
  return (
    <main class="sign-in">
      <h1>Sign in</h1>
      <p>This browser is not signed in to the hub, or its session has ended.</p>
    </main>
  );
}
