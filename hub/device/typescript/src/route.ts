// Addresses of the hub and waits between tries: PROTOCOL.md, "Greeting" and "Parting: close codes".

const PATH = "/v1/device";
// Names of this machine as `URL` spells them, whatever was written.
const LOCAL = /^(?:(?:.*\.)?localhost\.?|127\..*|0\.0\.0\.0|\[::1?\]|\[::ffff:(?:7f[0-9a-f]{2}:.*|0:0)\])$/;
const MAX_WAIT_MS = 86_400_000;
const DO_NOT_RETURN = 4500; // lowest close code after which a device stays away
export const RESTARTING = 1012;
export const REPLACED = 4509;
export const PAIRING = 4510;

/** Return the address that devices connect to, or throw an error that says what is wrong with it. */
export function addressOf(text: string): string {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new TypeError(`${JSON.stringify(text)} is no address of a hub, which looks like wss://hub.example`);
  }
  if (url.protocol !== "ws:" && url.protocol !== "wss:") {
    throw new TypeError(`the address of a hub begins with ws:// or wss://, not with ${url.protocol}//`);
  }
  if (url.search || url.hash || url.username || url.password) {
    throw new TypeError("the address of a hub has no query and no user; give the token as an option of its own");
  }
  if (url.pathname === "/") url.pathname = PATH;
  return url.href;
}

/** The `Host` header that is sent to an address. */
export function dialled(url: string): string {
  return new URL(url).host.toLowerCase();
}

/**
 * Milliseconds to wait before the next try, or null: stay away.
 *
 * @param code of the close; null: the connection broke.
 * @param awayMs milliseconds since the last connection that lasted: a wait is at most as long.
 * @param draw a random number from 0 to 1.
 */
export function waitAfter(
  code: number | null,
  awayMs: number,
  draw: number,
  retryAfterMs?: number | null,
): number | null {
  const requested = Math.min(retryAfterMs ?? 0, MAX_WAIT_MS);
  if (code === PAIRING && requested) return requested * (1 + draw);
  if (code !== null && code >= DO_NOT_RETURN) return null;
  if (code === RESTARTING) return Math.max(1000, requested) * draw;
  return requested + Math.min(60_000, Math.max(500, awayMs)) * draw;
}

/** Addresses of one hub, and the one to connect to next. */
export class Route {
  readonly #given: readonly string[];
  readonly #random: () => number;
  readonly #distrusted = new Set<string>();
  #urls: readonly string[];
  #good: string;
  #untried: string[] = [];
  current: string;

  constructor(given: readonly string[], random: () => number) {
    const [first] = given;
    if (first === undefined) throw new TypeError("url: expected the address of a hub");
    this.#given = this.#urls = [...new Set(given)];
    this.#random = random;
    this.current = this.#good = first;
    this.welcomed();
  }

  /** Use the addresses that the hub names, in place of those that it named before. */
  learn(named: readonly string[]): void {
    this.#urls = [...new Set([...this.#given, ...this.#usable(named)])].filter((url) => !this.#distrusted.has(url));
    this.welcomed();
  }

  /** Connect to this address first, if it is known. */
  beginAt(url: string): void {
    if (this.#urls.includes(url)) this.current = url;
    this.welcomed();
  }

  welcomed(): void {
    this.#good = this.current;
    this.#untried = this.#urls.filter((url) => url !== this.current);
  }

  /** Turn to an address that was not tried since the last welcome; false: all were. */
  turn(): boolean {
    const drawn = Math.min(Math.floor(this.#random() * this.#untried.length), this.#untried.length - 1);
    const [next] = this.#untried.splice(Math.max(0, drawn), 1);
    this.current = next ?? this.#good;
    if (next === undefined) this.welcomed();
    return next !== undefined;
  }

  /** Turn to the address that the hub names; false: the device may not use it. */
  turnTo(named: string): boolean {
    const [url] = this.#usable([named]);
    if (url === undefined || this.#distrusted.has(url)) return false;
    if (!this.#urls.includes(url)) this.#urls = [...this.#urls, url];
    this.#untried = this.#untried.filter((other) => other !== url);
    this.current = url;
    return true;
  }

  /** Use the current address no more; false: there is no other. */
  leaveOut(): boolean {
    this.#distrusted.add(this.current);
    this.#urls = this.#urls.filter((url) => url !== this.current);
    const [first] = this.#urls;
    if (this.#good === this.current && first !== undefined) this.#good = first;
    return first !== undefined;
  }

  #usable(named: readonly string[]): string[] {
    const hasTls = this.#given.some((url) => url.startsWith("wss:"));
    const mayBeLocal = this.#given.some(isLocal);
    const usable: string[] = [];
    for (const spelled of named) {
      try {
        const url = addressOf(spelled);
        if ((url.startsWith("wss:") || !hasTls) && (mayBeLocal || !isLocal(url))) usable.push(url);
      } catch {
        // a peer may name what is no address
      }
    }
    return usable;
  }
}

function isLocal(url: string): boolean {
  return LOCAL.test(new URL(url).hostname);
}

/** Whether what is sent to an address can be read on its way. */
export function isInClear(url: string): boolean {
  return url.startsWith("ws:") && !isLocal(url);
}
