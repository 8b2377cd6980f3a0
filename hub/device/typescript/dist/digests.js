// Digests of what an owner saw: PROTOCOL.md describes them.
import { sha256 } from "./keys.js";
/** SHA-256 of the canonical JSON text of a value, in hex. */
export async function digestOf(value) {
    return sha256(new TextEncoder().encode(JSON.stringify(sorted(value))));
}
/** Digest of all values of a row, a project by its name: `seen_row` and `review.row`. */
export async function rowDigest(table, row) {
    return digestOf(table.fields.map((column) => row[column.name] ?? column.default ?? null));
}
function sorted(value) {
    if (Array.isArray(value))
        return value.map(sorted);
    if (typeof value !== "object" || value === null)
        return value;
    return Object.fromEntries(Object.entries(value)
        .sort(([one], [other]) => (one < other ? -1 : 1))
        .map(([name, inner]) => [name, sorted(inner)]));
}
