import { type DeviceTable, type ItemSource, type StoreMark, type ToolCall, type Welcome } from "./protocol.js";
import type { Store } from "./store.js";
import { type Row } from "./tables.js";
export type Verdict = "approved" | "edited" | "rejected";
export type Answer = {
    readonly result?: unknown;
    readonly error?: {
        readonly code: string;
        readonly message: string;
        readonly retryable?: boolean;
    };
    readonly counter?: number;
};
/** `open`: the owner took the verdict back. */
export type Report = {
    readonly call_id: string;
    readonly verdict: Verdict | "open";
};
/** A call that wrote a row, or proposed its change. */
type Write = {
    readonly call: string;
    readonly counter: number;
    readonly source: ItemSource | null;
    readonly agent: string | null;
    readonly run: string | null;
};
/** A row with its history. `row` is null once its owner deleted it; `own`: no hub wrote it.
 *  `sent`: the call whose verdict the hub may have, unconfirmed. */
export type Kept = {
    readonly id: string;
    readonly table: string;
    readonly row: Row | null;
    readonly own: boolean;
    readonly by: Write;
    readonly made: string;
    readonly written: Row;
    readonly reported: Verdict | null;
    readonly sent?: string | null;
    readonly owned: boolean;
    readonly proposal: {
        readonly by: Write;
        readonly data: Row | null;
        readonly rejected: boolean;
    } | null;
};
/** Rows and answers in memory, each change written to the store before it counts. */
export declare class Records {
    #private;
    private constructor();
    static open(store: Store): Promise<Records>;
    get<T>(key: string): T | undefined;
    put(key: string, value: unknown): void;
    /** Do `work` and write what it changed, all or nothing, after the changes before it. */
    change<T>(work: () => T): Promise<T>;
    /** Keys that the work that goes on has changed. */
    changed(): Iterable<string>;
    close(): Promise<void>;
    get mark(): StoreMark;
    /** Keep how far the hub knows this store. A store that may be an older copy of itself gets another id. */
    noteWelcome(welcome: Welcome): void;
    /** Every row, with the changes of the work that goes on. */
    kept(): Iterable<Kept>;
    row(id: string): Kept | undefined;
    /** The stored answer of a call, or undefined: it has to be done. */
    answered(call: ToolCall): Answer | undefined;
    /** Store the answer of a call that was done elsewhere. */
    settle(call: ToolCall, answer: Answer): void;
    /** Do a call, or answer it from the store. A refused call changes nothing. */
    apply(call: ToolCall): Answer;
    table(name: string): DeviceTable;
    state(kept: Kept): Verdict | "open";
    /** Approve a row, or accept its proposed change; `fields` are filled in first. */
    approve(id: string, fields?: Row): void;
    /** Change fields of a row; it is its owner's from then on. */
    edit(id: string, fields: Row): void;
    /** Reject a row, or its proposed change; the row stays as it is then. */
    reject(id: string): void;
    /** Delete a row, whatever is proposed for it. */
    remove(id: string): void;
    /** Write a row of the owner's own, as a project that suggestions may belong to. */
    add(tableName: string, data: Row): string;
    /** At most so many verdicts of the owner that the hub has not confirmed, noted as sent. Those that were taken back
     *  come first and alone: a hub of an older release refuses their word. */
    unreported(most: number): Report[];
    /** Keep that the hub has confirmed verdicts; each gets a new number, for a hub that is restored. */
    noteReported(reports: readonly Report[]): void;
}
export declare function refusal(code: string, message: string): Answer;
export {};
