// Digests of what an owner saw: PROTOCOL.md describes them.
import { sha256 } from "./keys.js";
import type { DeviceTable } from "./protocol.js";
import type { Row } from "./tables.js";

export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };

/** SHA-256 of the canonical JSON text of a value, in hex. */
export async function digestOf(value: Json): Promise<string> {
  return sha256(new TextEncoder().encode(JSON.stringify(sorted(value))));
}

/** Digest of all values of a row, a project by its name: `seen_row` and `review.row`. */
export async function rowDigest(table: DeviceTable, row: Row): Promise<string> {
  return digestOf(table.fields.map((column) => row[column.name] ?? column.default ?? null));
}

function sorted(value: Json): Json {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .map(([name, inner]) => [name, sorted(inner)]),
  );
}
