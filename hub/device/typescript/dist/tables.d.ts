import { type Column, type DeviceTable } from "./protocol.js";
export type Field = string | number | boolean | null | readonly string[];
export type Row = {
    readonly [column: string]: Field;
};
export declare const NO_CONTENT: Set<string>;
/** A call, or a decision of the owner, that cannot be done; nothing was changed. */
export declare class Refusal extends Error {
    readonly code: string;
    constructor(code: string, message: string);
}
export declare const bytesOf: (value: unknown) => number;
export declare const same: (one: unknown, other: unknown) => boolean;
export declare function refuse(problems: readonly string[]): void;
export declare function columns(table: DeviceTable): readonly Column[];
export declare function column(table: DeviceTable, name: string): Column | undefined;
export declare const empty: (value: Field | undefined) => boolean;
export declare const matches: (row: Row, where: Row) => boolean;
/** Values as rows have them: lists of names as lists, flags as 0 or 1. */
export declare function spelled(table: DeviceTable, data: Row): Row;
export declare function problemOf(of: Column, value: Field): string | null;
export declare function content(row: Row): Row;
