// Tables and the values of their columns.
import { SHARED_COLUMNS } from "./protocol.js";
export const NO_CONTENT = new Set(["id", "createdAt", "updatedAt", "isAiSuggested", "isApproved"]);
const LAST_MS = 253_402_300_799_999; // of the year 9999
/** A call, or a decision of the owner, that cannot be done; nothing was changed. */
export class Refusal extends Error {
    code;
    constructor(code, message) {
        super(message);
        this.code = code;
    }
}
export const bytesOf = (value) => new TextEncoder().encode(JSON.stringify(value)).length;
export const same = (one, other) => JSON.stringify(one ?? null) === JSON.stringify(other ?? null);
export function refuse(problems) {
    if (problems.length > 0)
        throw new Refusal("bad_record", problems.slice(0, 20).join("; "));
}
export function columns(table) {
    return [...table.fields, ...SHARED_COLUMNS];
}
export function column(table, name) {
    return columns(table).find((one) => one.name === name);
}
export const empty = (value) => value === undefined || value === null || value === "" || (Array.isArray(value) && value.length === 0);
export const matches = (row, where) => Object.entries(where).every(([name, value]) => same(row[name], value));
/** Values as rows have them: lists of names as lists, flags as 0 or 1. */
export function spelled(table, data) {
    const entries = Object.entries(data).map(([name, value]) => {
        const kind = column(table, name)?.kind;
        if (kind === "names" && typeof value === "string")
            return [name, namesIn(value)];
        return [name, kind === "flag" && value !== null ? Number(value) : value];
    });
    return Object.fromEntries(entries);
}
function namesIn(text) {
    try {
        const names = JSON.parse(text);
        if (Array.isArray(names) && names.every((name) => typeof name === "string"))
            return names;
    }
    catch {
        // one name, as most are
    }
    return [text];
}
const isLonger = (text, most) => text.length > most && [...text].length > most;
export function problemOf(of, value) {
    if (of.filler === "device")
        return "filled by the device, not here";
    if (value === null)
        return null;
    const most = of.max_length ?? 2000;
    switch (of.kind) {
        case "text":
            if (typeof value !== "string")
                return `expected text, got ${typeof value}`;
            if (isLonger(value, most))
                return `longer than ${most} characters`;
            if (of.choices?.length && !of.choices.includes(value))
                return `expected one of ${of.choices.join(", ")}`;
            return null;
        case "names": {
            const names = Array.isArray(value) ? value : [value];
            if (!names.every((name) => typeof name === "string"))
                return "expected a list of names";
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
export function content(row) {
    return Object.fromEntries(Object.entries(row).filter(([name]) => !NO_CONTENT.has(name)));
}
