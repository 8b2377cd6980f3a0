// Connect a program to a device hub. See README.md.
export { HubError } from "./connection.js";
export { Device, TurnedAway } from "./device.js";
export { digestOf, rowDigest } from "./digests.js";
export { Unreadable } from "./files.js";
export { HubNotTrusted, keyId } from "./keys.js";
export { escape as escapeMarkdown, unescape as unescapeMarkdown } from "./markdown.js";
export { MemoryStore } from "./store.js";
export { Refusal } from "./tables.js";
