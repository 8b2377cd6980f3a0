// Tables and the values of their columns.
import { SHARED_COLUMNS, type Column, type DeviceTable } from "./protocol.js";

export type Field = string | number | boolean | null | readonly string[];
export type Row = { readonly [column: string]: Field };

export const NO_CONTENT = new Set(["id", "createdAt", "updatedAt", "isAiSuggested", "isApproved"]);
const LAST_MS = 253_402_300_799_999; // of the year 9999

/** A call, or a decision of the owner, that cannot be done; nothing was changed. */
export class Refusal extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export const bytesOf = (value: unknown): number => new TextEncoder().encode(JSON.stringify(value)).length;
export const same = (one: unknown, other: unknown): boolean =>
  JSON.stringify(one ?? null) === JSON.stringify(other ?? null);

export function refuse(problems: readonly string[]): void {
  if (problems.length > 0) throw new Refusal("bad_record", problems.slice(0, 20).join("; "));
}

export function columns(table: DeviceTable): readonly Column[] {
  return [...table.fields, ...SHARED_COLUMNS];
}

export function column(table: DeviceTable, name: string): Column | undefined {
  return columns(table).find((one) => one.name === name);
}

export const empty = (value: Field | undefined): boolean =>
  value === undefined || value === null || value === "" || (Array.isArray(value) && value.length === 0);

export const matches = (row: Row, where: Row): boolean =>
  Object.entries(where).every(([name, value]) => same(row[name], value));

/** Values as rows have them: lists of names as lists, flags as 0 or 1. */
export function spelled(table: DeviceTable, data: Row): Row {
  const entries = Object.entries(data).map(([name, value]) => {
    const kind = column(table, name)?.kind;
    if (kind === "names" && typeof value === "string") return [name, namesIn(value)] as const;
    return [name, kind === "flag" && value !== null ? Number(value) : value] as const;
  });
  return Object.fromEntries(entries);
}

function namesIn(text: string): readonly string[] {
  try {
    const names: unknown = JSON.parse(text);
    if (Array.isArray(names) && names.every((name) => typeof name === "string")) return names;
  } catch {
    // one name, as most are
  }
  return [text];
}

const isLonger = (text: string, most: number): boolean => text.length > most && [...text].length > most;

export function problemOf(of: Column, value: Field): string | null {
  if (of.filler === "device") return "filled by the device, not here";
  if (value === null) return null;
  const most = of.max_length ?? 2000;
  switch (of.kind) {
    case "text":
      if (typeof value !== "string") return `expected text, got ${typeof value}`;
      if (isLonger(value, most)) return `longer than ${most} characters`;
      if (of.choices?.length && !of.choices.includes(value)) return `expected one of ${of.choices.join(", ")}`;
      return null;
    case "names": {
      const names: readonly unknown[] = Array.isArray(value) ? value : [value];
      if (!names.every((name): name is string => typeof name === "string")) return "expected a list of names";
      return names.some((name) => isLonger(name, most)) ? `a name is longer than ${most} characters` : null;
    }
    case "flag":
      return [0, 1, true, false].some((flag) => flag === value) ? null : "expected 0 or 1";
    case "number":
      return typeof value === "number" && Math.abs(value) <= 1e300 ? null : "expected a number";
    case "epoch_ms": {
      const isTime = typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= LAST_MS;
      return isTime ? null : "expected UTC epoch milliseconds between 1970 and 9999";
    }
  }
}

export function content(row: Row): Row {
  return Object.fromEntries(Object.entries(row).filter(([name]) => !NO_CONTENT.has(name)));
}
