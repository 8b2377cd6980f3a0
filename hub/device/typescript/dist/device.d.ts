import { type Files } from "./files.js";
import { type ItemSource, type ToolCall } from "./protocol.js";
import { type Verdict } from "./records.js";
import type { Store } from "./store.js";
import { type Row } from "./tables.js";
/** Calls that a program may take, by their name in PROTOCOL.md. */
export type ToolName = "message.deliver" | "user.ask" | "agent.wake" | "browser.open" | "file.get" | "file.put";
/**
 * Does a call and returns its result, which is stored and answered if the call comes again. After a crash in between
 * it is called again. Throw `Refusal` to refuse the call for good.
 */
export type Tool = (call: ToolCall) => unknown;
export interface DeviceOptions {
    /** Address of the hub, `wss://hub.example`, or several of one hub. */
    readonly url: string | readonly string[];
    /** Name that the device asks for when it is paired. */
    readonly name: string;
    readonly store: Store;
    /** What is shared; without it no file is read. */
    readonly files?: Files;
    /** Names of the roots whose files the hub may let programs read, as assistants: the owner grants them. */
    readonly fileGrants?: readonly string[];
    /** Shown in place of a key. Keep it where only its owner can read it. */
    readonly token?: string;
    /** Lets the device in without a code, once. */
    readonly invitation?: string;
    /** Id of the key of another hub that takes the place of the one that the store knows. */
    readonly acceptHub?: string;
    readonly tools?: Readonly<Partial<Record<ToolName, Tool>>>;
    /** Name and version of the program, for people. */
    readonly client?: {
        readonly name: string;
        readonly version: string;
    };
    /** WebSocket of a package, where the platform has none: before Node 22. */
    readonly WebSocket?: new (url: string, protocols: string[]) => object;
}
/** A row, and what its owner has to decide. */
export interface Item {
    readonly id: string;
    readonly table: string;
    readonly row: Row;
    readonly state: Verdict | "open";
    /** Change that the hub proposes; "delete": it would delete the row. */
    readonly proposal: Row | "delete" | null;
    /** Where the row, or its proposed change, was found. Show its `provenance` and `warnings`. */
    readonly source: ItemSource | null;
}
export interface DeviceEvents {
    connected: {
        readonly address: string;
    };
    /** The connection ended; the next try begins after `waitMs`. */
    disconnected: {
        readonly reason: string;
        readonly waitMs: number;
    };
    /** Show both: the code is typed at the hub, `hub pair approve CODE`; the key's id is compared. */
    pairing: {
        readonly code: string;
        readonly keyId: string;
    };
    /** A hub wrote a row, or proposes to change it. */
    suggestion: Item;
    /** A hub took a suggestion back. */
    withdrawn: {
        readonly id: string;
    };
    run: {
        readonly id: string;
        readonly agentId: string;
        readonly state: "started" | "ended";
    };
    event: {
        readonly event: string;
        readonly data: unknown;
    };
    /** A program of the hub asks for a file of `fileGrants`: log it. */
    read: {
        readonly path: string;
        readonly by: string;
    };
    warning: {
        readonly message: string;
    };
    /** The device stays away until its owner does something, or `close` was called. */
    closed: {
        readonly code: number | null;
        readonly meaning: string;
        readonly reason: string;
    };
}
type Listener<T> = (event: T) => void;
/** The hub refused the device for good; `code` is the close code. */
export declare class TurnedAway extends Error {
    readonly code: number | null;
    constructor(code: number | null, message: string);
}
export declare class Device {
    #private;
    constructor(options: DeviceOptions);
    /** Call `listener` at each event; returns a function that ends it. */
    on<K extends keyof DeviceEvents>(name: K, listener: Listener<DeviceEvents[K]>): () => void;
    /** Load the store: rows can be shown before there is a connection. `connect` does it, too. */
    open(): Promise<void>;
    /** Connect, and reconnect until `close`. Fulfilled by the first welcome, or by `close`; rejected if the hub refuses for good. */
    connect(): Promise<void>;
    /** End the connection, and close the store once everything is written. */
    close(): Promise<void>;
    /** Rows of a table that exist, or of all tables: those of hubs and the owner's own. */
    items(table?: string): Item[];
    /** Rows that the owner has to decide about, with those that hubs propose to change. */
    suggestions(): Item[];
    /** Approve a row, or accept its proposed change; `fields` are filled in first. */
    approve(id: string, fields?: Row): Promise<void>;
    /** Change fields of a row; hubs do not change it any more, and propose instead. */
    edit(id: string, fields: Row): Promise<void>;
    /** Remove a suggestion, or reject the proposed change of a row, which stays as it is. */
    reject(id: string): Promise<void>;
    /** Delete a row, whatever is proposed for it. */
    remove(id: string): Promise<void>;
    /** Write a row of the owner's own, as a project that suggestions may belong to; returns its id. */
    add(table: string, fields: Row): Promise<string>;
    /** Ask the hub for something, as `runs.start`; rejects with `HubError`. */
    request(method: string, params?: {
        readonly [name: string]: unknown;
    }): Promise<unknown>;
    /** Forget the key for this hub, as after it was revoked: the next device object of this store is paired anew. */
    forgetKey(): Promise<void>;
}
export {};
