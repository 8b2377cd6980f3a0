// One connection to a hub: greeting, frames, requests, and the reason of its end.
import { HubNotTrusted, nonce } from "./keys.js";
import { dialled } from "./route.js";
const CHALLENGE_MS = 10_000;
const WELCOME_MS = 30_000;
const ALIVE_MS = 15_000; // without a message for so long the hub is asked for one; and after three, given up
const HANG_UP_MS = 5_000; // for the close code after a goodbye
const RESPONSE_MS = 60_000;
const CODE = /^[A-Z0-9-]{4,16}$/; // typed into a shell at the hub
/** The hub refused a request, or has not answered it. */
export class HubError extends Error {
    code;
    retryAfterMs;
    constructor(code, message, retryAfterMs) {
        super(message);
        this.code = code;
        this.retryAfterMs = retryAfterMs;
    }
}
export class Connection {
    url;
    guest;
    ended;
    #socket = null;
    #finish = () => undefined;
    #timer;
    #heard = Date.now();
    #requests = 0;
    #awaited = new Map();
    #nonce = nonce();
    #end = { code: null, reason: "", wasWelcome: false, isUnanswered: false, isDistrusted: false };
    constructor(socketClass, url, guest) {
        this.url = url;
        this.guest = guest;
        this.ended = new Promise((resolve) => (this.#finish = resolve));
        this.#within(CHALLENGE_MS, "no answer");
        try {
            const socket = new socketClass(url, ["hub.v1.json", `hub.nonce.${this.#nonce}`]);
            this.#socket = socket;
            socket.onmessage = ({ data }) => this.#take(data);
            socket.onclose = ({ code, reason }) => this.#over(code === 1006 ? null : code, reason);
            // a close with its code follows, save where no connection was made
            socket.onerror = () => this.#within(100, "no connection could be made");
        }
        catch (error) {
            queueMicrotask(() => this.#over(null, String(error)));
        }
    }
    send(frame) {
        try {
            this.#socket?.send(JSON.stringify(frame));
        }
        catch {
            // it is closing: its end is reported
        }
    }
    /** Ask the hub for something; rejects with HubError. */
    request(method, params) {
        this.#requests += 1;
        const id = `request-${this.#requests}`;
        return new Promise((resolve, reject) => {
            const timer = setTimeout(() => reject(new HubError("no_answer", `the hub has not answered ${method}`)), RESPONSE_MS);
            const over = () => {
                clearTimeout(timer);
                this.#awaited.delete(id);
            };
            this.#awaited.set(id, {
                resolve: (result) => (over(), resolve(result)),
                reject: (error) => (over(), reject(error)),
            });
            this.send({ type: "request", id, method, params: params });
        });
    }
    /** Close it; `ended` is fulfilled at once, though the hub may be away. */
    close() {
        this.#over(1000, "closed by the device");
    }
    #over(code, reason) {
        clearTimeout(this.#timer);
        const socket = this.#socket;
        if (socket !== null) {
            socket.onmessage = socket.onclose = null;
            socket.onerror = () => undefined;
            try {
                socket.close(1000);
            }
            catch {
                // it is closed
            }
        }
        for (const awaited of [...this.#awaited.values()])
            awaited.reject(new HubError("device_gone", "the connection has ended"));
        this.#finish({ ...this.#end, code, reason: this.#end.reason || reason });
    }
    /** End the connection unless something happens within so many milliseconds. */
    #within(milliseconds, reason) {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#over(null, reason), milliseconds);
    }
    #take(data) {
        this.#heard = Date.now();
        let frame;
        try {
            if (typeof data !== "string")
                throw new TypeError("expected a text message");
            frame = JSON.parse(data);
        }
        catch (error) {
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
                if (frame.pairing_code && CODE.test(frame.pairing_code))
                    this.#end.pairingCode = frame.pairing_code;
                break;
            case "goodbye":
                this.#note(frame.retry_after_ms, frame.message || frame.reason);
                if (frame.to)
                    this.#end.to = frame.to;
                this.#within(HANG_UP_MS, "goodbye");
                break;
            case "response": {
                const { error } = frame;
                const awaited = this.#awaited.get(frame.id);
                if (error)
                    awaited?.reject(new HubError(error.code, error.message || error.code, error.retry_after_ms ?? undefined));
                else
                    awaited?.resolve(frame.result ?? {});
                break;
            }
            default:
                if (this.#end.wasWelcome)
                    this.guest.frame(frame, this);
        }
    }
    #note(retryAfterMs, reason) {
        this.#end.isUnanswered = false;
        this.#end.reason = reason;
        if (typeof retryAfterMs === "number")
            this.#end.retryAfterMs = retryAfterMs;
    }
    async #greet(challenge) {
        try {
            const hello = await this.guest.hello(challenge, dialled(this.url), this.#nonce);
            this.#within(WELCOME_MS, "no welcome");
            this.#end.isUnanswered = true;
            this.send(hello);
        }
        catch (error) {
            this.#end.isDistrusted = error instanceof HubNotTrusted;
            this.#over(null, error instanceof Error ? error.message : String(error));
        }
    }
    /** Programs hear nothing of the pings of a WebSocket, so a quiet hub is asked for an answer. */
    #mindTheTime() {
        const quietMs = Date.now() - this.#heard;
        if (quietMs > 3 * ALIVE_MS)
            return this.#over(null, "the hub is silent");
        if (quietMs >= ALIVE_MS)
            this.request("unsubscribe", { events: [] }).catch(() => undefined);
        this.#timer = setTimeout(() => this.#mindTheTime(), ALIVE_MS);
    }
}
