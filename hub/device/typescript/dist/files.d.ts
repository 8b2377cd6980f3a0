import type { AgentCancel, AgentCredit, AgentFetch, AgentRun, FromDevice, ToolCall, Welcome } from "./protocol.js";
import type { Answer } from "./records.js";
/** A shared folder: its name on the wire, and how an agent's `paths` may spell it, as `~/notes`. */
export type Root = {
    readonly name: string;
    readonly spellings: readonly string[];
};
/** A file of a shared folder. `path` begins with the name of its root: `notes/2026/week.md`. */
export type SharedFile = {
    readonly path: string;
    readonly size: number;
    readonly modifiedMs: number;
};
/** What a device shares. Whatever these functions give is sent to a hub that asks for it: they decide. */
export interface Files {
    roots(): Promise<readonly Root[]>;
    list(): Promise<readonly SharedFile[]>;
    /** Bytes of a listed file; throws `Unreadable` to say why it is left out. */
    read(path: string): Promise<Uint8Array>;
}
/** A file is left out; `reason` is one of the protocol, as `changed` or `unreadable`. */
export declare class Unreadable extends Error {
    readonly reason: string;
    constructor(reason: string);
}
/** Why files and folders of this name stay on the device, or null. */
export declare function whyPrivate(name: string): string | null;
/** Digests of files by path, as long as size and time are the same. */
export type Digests = Map<string, {
    readonly stamp: string;
    readonly sha256: string;
}>;
/** Run that sends files; `take` gets the later frames of the hub. */
export declare class Run {
    #private;
    readonly frame: AgentRun;
    private readonly files;
    private readonly digests;
    private readonly send;
    constructor(frame: AgentRun, files: Files, digests: Digests, limits: Welcome["limits"], send: (frame: FromDevice) => void);
    take(frame: AgentFetch | AgentCredit | AgentCancel): void;
    /** Send no more: the connection has ended, or the run was handed out anew. */
    abandon(): void;
    serve(): Promise<void>;
    complete(error?: {
        code: string;
        message: string;
    }): void;
}
/** Answer to `files.list` and `files.read`: files of the roots that the owner grants, which a run would send too. */
export declare function answerFiles(call: ToolCall, files: Files, granted: readonly string[]): Promise<Answer>;
/** Places on the wire that a path of an agent's settings names: in each root that has it. */
export declare function placesIn(path: string, roots: readonly Root[]): string[];
/** Cut a text into pieces of so many bytes, and of so many as JSON, between two code points. */
export declare function cut(text: string, pieceBytes: number, escapedBytes: number): string[];
