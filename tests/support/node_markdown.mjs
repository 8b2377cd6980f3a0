// Escape texts as the package does, and write them as titles of suggestions as the plug-in of Obsidian does. The input
// is a list of texts; the output, [escaped, unescaped again] for each, and the lines if the plug-in's notes are named.
import { readFileSync } from "node:fs";
import { escapeMarkdown, unescapeMarkdown } from "../../hub/device/typescript/dist/index.js";

const texts = JSON.parse(readFileSync(0, "utf8"));
const escaped = texts.map((text) => [escapeMarkdown(text), unescapeMarkdown(escapeMarkdown(text))]);
const lines = [];
if (process.argv[2] !== undefined) {
  const { decisions, lineOf, renewed, withItem } = await import(process.argv[2]);
  for (const [number, title] of texts.entries()) {
    const item = { id: `item-${number}`, table: "tasks", state: "open", proposal: null, row: { title }, source: null };
    const line = lineOf(item);
    const [unchanged] = decisions(line.replace("[?]", "[ ]"), new Map([[item.id, item]]));
    const own = line.replace(" %%hub:", " [[own]] %%hub:");
    const kept = withItem(own, { ...item, row: { title: "changed by its owner" } }, true);
    const former = lineOf(item, title.replace(/\s+/g, " "));
    lines.push([line, unchanged?.fields ?? null, kept === own, renewed(`a\n${former}\nb`, item) === `a\n${line}\nb`]);
  }
}
console.log(JSON.stringify({ escaped, lines }));
