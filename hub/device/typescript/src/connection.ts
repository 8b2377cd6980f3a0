// One connection to a hub: greeting, frames, requests, and the reason of its end.
import { HubNotTrusted, nonce } from "./keys.js";
import type { Challenge, DeviceHello, FromDevice, FromHub, Welcome } from "./protocol.js";
import { dialled } from "./route.js";

const CHALLENGE_MS = 10_000;
const WELCOME_MS = 30_000;
const ALIVE_MS = 15_000; // without a message for so long the hub is asked for one; and after three, given up
const HANG_UP_MS = 5_000; // for the close code after a goodbye
const RESPONSE_MS = 60_000;
const CODE = /^[A-Z0-9-]{4,16}$/; // typed into a shell at the hub

/** What a device needs of WebSocket: that of browsers and of Node 22, or of a package. */
export type SocketClass = new (url: string, protocols: string[]) => Socket;
export interface Socket {
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onerror: ((event: object) => void) | null;
  send(data: string): void;
  close(code?: number): void;
}

/** How a connection ended. `code` is null where it broke, or was never made. */
export type End = {
  code: number | null;
  reason: string;
  wasWelcome: boolean;
  isUnanswered: boolean; // the device said hello, and the hub nothing
  isDistrusted: boolean;
  pairingCode?: string;
  retryAfterMs?: number;
  to?: string;
};

/** The hub refused a request, or has not answered it. */
export class HubError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly retryAfterMs?: number,
  ) {
    super(message);
  }
}

type Awaited = { resolve(result: unknown): void; reject(error: HubError): void };

export interface Guest {
  /** The hello to a hub that is trusted; throws HubNotTrusted. */
  hello(challenge: Challenge, address: string, nonce: string): Promise<DeviceHello>;
  welcomed(welcome: Welcome, connection: Connection): void;
  frame(frame: FromHub, connection: Connection): void;
  /** What the hub says to a welcomed device that may stay. */
  warned(message: string): void;
}

export class Connection {
  readonly ended: Promise<End>;
  #socket: Socket | null = null;
  #finish: (end: End) => void = () => undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #heard = Date.now();
  #requests = 0;
  readonly #awaited = new Map<string, Awaited>();
  readonly #nonce = nonce();
  readonly #end: End = { code: null, reason: "", wasWelcome: false, isUnanswered: false, isDistrusted: false };

  constructor(
    socketClass: SocketClass,
    readonly url: string,
    private readonly guest: Guest,
  ) {
    this.ended = new Promise((resolve) => (this.#finish = resolve));
    this.#within(CHALLENGE_MS, "no answer");
    try {
      const socket = new socketClass(url, ["hub.v1.json", `hub.nonce.${this.#nonce}`]);
      this.#socket = socket;
      socket.onmessage = ({ data }) => this.#take(data);
      socket.onclose = ({ code, reason }) => this.#over(code === 1006 ? null : code, reason);
      // a close with its code follows, save where no connection was made
      socket.onerror = () => this.#within(100, "no connection could be made");
    } catch (error) {
      queueMicrotask(() => this.#over(null, String(error)));
    }
  }

  send(frame: FromDevice): void {
    try {
      this.#socket?.send(JSON.stringify(frame));
    } catch {
      // it is closing: its end is reported
    }
  }

  /** Ask the hub for something; rejects with HubError. */
  request(method: string, params: { readonly [name: string]: unknown }): Promise<unknown> {
    this.#requests += 1;
    const id = `request-${this.#requests}`;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new HubError("no_answer", `the hub has not answered ${method}`)),
        RESPONSE_MS,
      );
      const over = (): void => {
        clearTimeout(timer);
        this.#awaited.delete(id);
      };
      this.#awaited.set(id, {
        resolve: (result) => (over(), resolve(result)),
        reject: (error) => (over(), reject(error)),
      });
      this.send({ type: "request", id, method, params: params as { [name: string]: never } });
    });
  }

  /** Close it; `ended` is fulfilled at once, though the hub may be away. */
  close(): void {
    this.#over(1000, "closed by the device");
  }

  #over(code: number | null, reason: string): void {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    if (socket !== null) {
      socket.onmessage = socket.onclose = null;
      socket.onerror = () => undefined;
      try {
        socket.close(1000);
      } catch {
        // it is closed
      }
    }
    for (const awaited of [...this.#awaited.values()])
      awaited.reject(new HubError("device_gone", "the connection has ended"));
    this.#finish({ ...this.#end, code, reason: this.#end.reason || reason });
  }

  /** End the connection unless something happens within so many milliseconds. */
  #within(milliseconds: number, reason: string): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#over(null, reason), milliseconds);
  }

  #take(data: unknown): void {
    this.#heard = Date.now();
    let frame: FromHub;
    try {
      if (typeof data !== "string") throw new TypeError("expected a text message");
      frame = JSON.parse(data) as FromHub;
    } catch (error) {
      this.send({ type: "error", code: "bad_frame", message: String(error) });
      return this.#over(null, `the hub sent what is no frame: ${String(error)}`);
    }
    switch (frame.type) {
      case "challenge":
        void this.#greet(frame);
        break;
      case "welcome":
        this.#end.wasWelcome = true;
        this.#end.isUnanswered = false;
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#mindTheTime(), ALIVE_MS);
        this.guest.welcomed(frame, this);
        break;
      case "error":
        if (this.#end.wasWelcome)
          return this.guest.warned([frame.message || frame.code, frame.hint].filter(Boolean).join("; "));
        this.#note(frame.retry_after_ms, [frame.message || frame.code, frame.hint].filter(Boolean).join("; "));
        if (frame.pairing_code && CODE.test(frame.pairing_code)) this.#end.pairingCode = frame.pairing_code;
        break;
      case "goodbye":
        this.#note(frame.retry_after_ms, frame.message || frame.reason);
        if (frame.to) this.#end.to = frame.to;
        this.#within(HANG_UP_MS, "goodbye");
        break;
      case "response": {
        const { error } = frame;
        const awaited = this.#awaited.get(frame.id);
        if (error)
          awaited?.reject(new HubError(error.code, error.message || error.code, error.retry_after_ms ?? undefined));
        else awaited?.resolve(frame.result ?? {});
        break;
      }
      default:
        if (this.#end.wasWelcome) this.guest.frame(frame, this);
    }
  }

  #note(retryAfterMs: number | null | undefined, reason: string): void {
    this.#end.isUnanswered = false;
    this.#end.reason = reason;
    if (typeof retryAfterMs === "number") this.#end.retryAfterMs = retryAfterMs;
  }

  async #greet(challenge: Challenge): Promise<void> {
    try {
      const hello = await this.guest.hello(challenge, dialled(this.url), this.#nonce);
      this.#within(WELCOME_MS, "no welcome");
      this.#end.isUnanswered = true;
      this.send(hello);
    } catch (error) {
      this.#end.isDistrusted = error instanceof HubNotTrusted;
      this.#over(null, error instanceof Error ? error.message : String(error));
    }
  }

  /** Programs hear nothing of the pings of a WebSocket, so a quiet hub is asked for an answer. */
  #mindTheTime(): void {
    const quietMs = Date.now() - this.#heard;
    if (quietMs > 3 * ALIVE_MS) return this.#over(null, "the hub is silent");
    if (quietMs >= ALIVE_MS) this.request("unsubscribe", { events: [] }).catch(() => undefined);
    this.#timer = setTimeout(() => this.#mindTheTime(), ALIVE_MS);
  }
}
