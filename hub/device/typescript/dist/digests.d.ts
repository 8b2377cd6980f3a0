import type { DeviceTable } from "./protocol.js";
import type { Row } from "./tables.js";
export type Json = string | number | boolean | null | readonly Json[] | {
    readonly [name: string]: Json;
};
/** SHA-256 of the canonical JSON text of a value, in hex. */
export declare function digestOf(value: Json): Promise<string>;
/** Digest of all values of a row, a project by its name: `seen_row` and `review.row`. */
export declare function rowDigest(table: DeviceTable, row: Row): Promise<string>;
