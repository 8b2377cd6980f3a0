// Lines of suggestions in a note. Such a line ends with a comment that names its item:
// `- [?] Water the plants 📅 2027-02-03 %%hub:ID%%`. Its owner decides by its box: `[ ]` or `[x]` approves, `[-]` rejects.
// Words of an item are escaped: nothing of a document acts in the note.
import { escapeMarkdown, unescapeMarkdown, type Item, type Row } from "../../dist/index.js";

const LINE = /^(\s*)- \[(.)\] (.*?)(?: 📅 (\d{4}-\d{2}-\d{2}))? %%hub:([\w-]+)%%\s*$/u;
const OWN_BOX = /^\s*[-*+] \[.\] (.*)$/u;
const DATES: Readonly<Record<string, string>> = { tasks: "dueDate", timelines: "date" };

export type Decision = { readonly id: string; readonly verdict: "approve" | "reject"; readonly fields: Row };

/** The text without lines of suggestions: what the hub reads, so that it finds nothing that it wrote itself. */
export function stripped(text: string): string {
  return text.includes("%%hub:")
    ? text
        .split("\n")
        .filter((line) => !LINE.test(line))
        .join("\n")
    : text;
}

/** The line of an item, as it is now, or as the hub proposes it. `written`: its title as it stands in the note. */
export function lineOf(item: Item, written?: string): string {
  const zone = item.source?.timezone ?? undefined;
  const isOpen = item.state === "open" || item.proposal !== null;
  const row = rowOf(item);
  const box = isOpen ? "?" : row["status"] === "done" ? "x" : " ";
  const date = row[DATES[item.table] ?? ""];
  const shown = typeof date === "number" ? ` 📅 ${dayOf(date, zone)}` : "";
  const title = written ?? escapeMarkdown(titleOf(row).replace(/[\s\x1c-\x1f\x85]+/g, " ").trim());
  return `- [${box}] ${item.proposal === "delete" ? "delete: " : ""}${title}${shown} %%hub:${item.id}%%`;
}

/**
 * The note with the line of an item: in the place of its line, or below the words that it was found in. A check box of
 * the owner's own needs no second one. `isOwn`: the title of the line was written by the owner, and stays.
 */
export function withItem(text: string, item: Item, isOwn = false): string {
  const lines = text.split("\n");
  const known = lines.findIndex((line) => LINE.exec(line)?.[5] === item.id);
  if (known >= 0) {
    const [, indent, , own] = LINE.exec(lines[known] ?? "") ?? [];
    const line = `${indent ?? ""}${lineOf(item, isOwn ? own : undefined)}`;
    return lines[known] === line ? text : [...lines.slice(0, known), line, ...lines.slice(known + 1)].join("\n");
  }
  const words = (item.source?.quote ?? "").split("\n").at(-1)?.trim() ?? "";
  const found = words === "" ? -1 : lines.findIndex((line) => line.includes(words) && !LINE.test(line));
  if (item.proposal === null && OWN_BOX.exec(lines[found] ?? "")?.[1]?.includes(words)) return text;
  let at = found < 0 ? lines.length : found + 1;
  while (LINE.test(lines[at] ?? "")) at += 1; // below those that came before it
  if (found < 0 && lines.at(-1) === "") at = lines.length - 1;
  return [...lines.slice(0, at), lineOf(item), ...lines.slice(at)].join("\n");
}

/** The note with an undecided item escaped whose line a former version wrote with the words as they came. */
export function renewed(text: string, item: Item): string {
  const former = lineOf(item, titleOf(rowOf(item)).replace(/\s+/g, " "));
  return text.split("\n").some((line) => line.trim() === former) ? withItem(text, item) : text;
}

const rowOf = (item: Item): Row =>
  item.proposal !== null && item.proposal !== "delete" ? { ...item.row, ...item.proposal } : item.row;

const titleOf = (row: Row): string => String(row["title"] ?? row["name"] ?? row["content"] ?? "");

/** The note without the line of an item. */
export function withoutItem(text: string, id: string): string {
  return text
    .split("\n")
    .filter((line) => LINE.exec(line)?.[5] !== id)
    .join("\n");
}

/** What the owner has decided in a note about the items that wait. */
export function decisions(text: string, waiting: ReadonlyMap<string, Item>): Decision[] {
  const found: Decision[] = [];
  for (const line of text.split("\n")) {
    const [, , box, title = "", day, id = ""] = LINE.exec(line) ?? [];
    const item = waiting.get(id);
    if (item === undefined || box === undefined || box === "?") continue;
    if (box === "-") found.push({ id, verdict: "reject", fields: {} });
    else found.push({ id, verdict: "approve", fields: changed(item, title, day, box) });
  }
  return found;
}

/** Fields that the owner wrote in another way than the hub. */
function changed(item: Item, title: string, day: string | undefined, box: string): Row {
  if (item.proposal === "delete") return {};
  const [, , , before, dayBefore] = LINE.exec(lineOf(item)) ?? [];
  const date = DATES[item.table];
  const fields: { [name: string]: string | number | null } = {};
  const words = unescapeMarkdown(title);
  if (words !== unescapeMarkdown(before ?? "") && "title" in item.row) fields["title"] = words;
  if (date !== undefined && day !== dayBefore)
    fields[date] = day === undefined ? null : new Date(`${day}T00:00`).getTime();
  if (box.toLowerCase() === "x" && item.table === "tasks") fields["status"] = "done";
  return fields;
}

function dayOf(epochMs: number, zone: string | undefined): string {
  const parts = { year: "numeric", month: "2-digit", day: "2-digit" } as const;
  return new Intl.DateTimeFormat("en-CA", zone === undefined ? parts : { ...parts, timeZone: zone }).format(epochMs);
}
