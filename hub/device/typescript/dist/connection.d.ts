import type { Challenge, DeviceHello, FromDevice, FromHub, Welcome } from "./protocol.js";
/** What a device needs of WebSocket: that of browsers and of Node 22, or of a package. */
export type SocketClass = new (url: string, protocols: string[]) => Socket;
export interface Socket {
    onmessage: ((event: {
        data: unknown;
    }) => void) | null;
    onclose: ((event: {
        code: number;
        reason: string;
    }) => void) | null;
    onerror: ((event: object) => void) | null;
    send(data: string): void;
    close(code?: number): void;
}
/** How a connection ended. `code` is null where it broke, or was never made. */
export type End = {
    code: number | null;
    reason: string;
    wasWelcome: boolean;
    isUnanswered: boolean;
    isDistrusted: boolean;
    pairingCode?: string;
    retryAfterMs?: number;
    to?: string;
};
/** The hub refused a request, or has not answered it. */
export declare class HubError extends Error {
    readonly code: string;
    readonly retryAfterMs?: number | undefined;
    constructor(code: string, message: string, retryAfterMs?: number | undefined);
}
export interface Guest {
    /** The hello to a hub that is trusted; throws HubNotTrusted. */
    hello(challenge: Challenge, address: string, nonce: string): Promise<DeviceHello>;
    welcomed(welcome: Welcome, connection: Connection): void;
    frame(frame: FromHub, connection: Connection): void;
    /** What the hub says to a welcomed device that may stay. */
    warned(message: string): void;
}
export declare class Connection {
    #private;
    readonly url: string;
    private readonly guest;
    readonly ended: Promise<End>;
    constructor(socketClass: SocketClass, url: string, guest: Guest);
    send(frame: FromDevice): void;
    /** Ask the hub for something; rejects with HubError. */
    request(method: string, params: {
        readonly [name: string]: unknown;
    }): Promise<unknown>;
    /** Close it; `ended` is fulfilled at once, though the hub may be away. */
    close(): void;
}
