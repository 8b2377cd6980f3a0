// Escaping of words for Markdown as Obsidian and its plug-ins read it: all that they find is text. The reference device
// has the same patterns, in hub/text/rows/markdown_escapes.py, and the same examples.

const MARKS = "\\\\!<\\[`~$%{#:^&=\\-@";
const BLANK = " \\t\\xa0\\u1680\\u2000-\\u200a\\u202f\\u205f\\u3000";
const [URGENCY, ACTION, DAY] = ["🔺⏫🔼🔽⏬", "🔁🏁🆔⛔", "📅📆🗓🛫⏳⌛✅➕❌⏰"] as const; // signs of plug-ins for tasks
const SIGNS = URGENCY + ACTION + DAY;
const NAMES = new Map([...SIGNS].map((sign) => [sign, `#x${(sign.codePointAt(0) ?? 0).toString(16)}`])).set("<", "lt");
const ENTITIES = new Map([...NAMES].map(([sign, name]) => [name, sign]));
const LINE_END = /\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]/gu;
const CONTROL = /[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\ufeff]/gu;
const ACTIVE = new RegExp(
  [
    `\\\\(?=[${MARKS}${SIGNS}]|$)`, // else it would escape the next character, or end the line
    "<(?=[^ \\t\\n=0-9\\-]|[^ \\t\\n<>]*@)",
    "[\\[`{]",
    "~(?=~~)",
    "(?<=[^ \\t\\n])\\$|\\$(?![0-9][^$\\\\]*(?!.|\\n))", // the last price stays: no sign ends math after it
    "(?<=[%<{])[%#]|(?<=\\()@",
    "(?<=:):|(?<!(?<![\\w+.\\-])http)(?<!(?<![\\w+.\\-])https):(?=\\/\\/)",
    "(?<![\\w\\/])#(?=[\\w\\/\\-]*[A-Za-z_\\/\\-]|[0-9]*[^\\x00-\\x7f])",
    "(?<!\\w)\\^|\\^(?=hub-)",
    "&(?=#?[0-9A-Za-z]+;)",
    "^[ \\t]*(?=-+[ \\t]*$)|^ ?(?==+[ \\t]*$)",
    `(?:(?<=\\t)|(?<=[${BLANK}]{2}))=`, // a query, where it begins an indented block of code
    `[${URGENCY}]|[${ACTION}](?=\\ufe0f?[ \\t]*[\\w\\-])|[${DAY}](?=\\ufe0f?[ \\t]*[0-9]{4}-)`,
  ].join("|"),
  "gmu",
);
const ESCAPED = new RegExp(`\\\\([${MARKS}])|&(${[...ENTITIES.keys()].join("|")});`, "gu");

/** Words as Markdown that shows them, with line feeds and without other control characters. */
export function escape(words: string): string {
  return words
    .replace(LINE_END, "\n")
    .replace(CONTROL, "")
    .replace(ACTIVE, (active) => {
      if (active.trim() === "") return `${active}\\`; // blanks before a line of signs
      const name = NAMES.get(active);
      return name === undefined ? `\\${active}` : `&${name};`;
    });
}

/** Words of Markdown that `escape` wrote; Markdown of others stays as it is. */
export function unescape(markdown: string): string {
  return markdown.replace(ESCAPED, (_, mark?: string, name?: string) => mark ?? ENTITIES.get(name ?? "") ?? "");
}
