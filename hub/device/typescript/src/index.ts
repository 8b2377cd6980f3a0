// Connect a program to a device hub. See README.md.
export { HubError } from "./connection.js";
export { Device, TurnedAway } from "./device.js";
export type { DeviceEvents, DeviceOptions, Item, Tool, ToolName } from "./device.js";
export { digestOf, rowDigest } from "./digests.js";
export type { Json } from "./digests.js";
export { Unreadable } from "./files.js";
export type { Files, Root, SharedFile } from "./files.js";
export { HubNotTrusted, keyId } from "./keys.js";
export { escape as escapeMarkdown, unescape as unescapeMarkdown } from "./markdown.js";
export type * as protocol from "./protocol.js";
export type { Verdict } from "./records.js";
export { MemoryStore } from "./store.js";
export type { Entries, Store } from "./store.js";
export { Refusal } from "./tables.js";
export type { Field, Row } from "./tables.js";
