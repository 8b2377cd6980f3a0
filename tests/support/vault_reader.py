"""A reader of vaults that finds all that acts in a note: CommonMark with HTML, Obsidian, and its plug-ins.

``markdown-it`` reads the note with rules for what Obsidian adds. The page has scripts that do what plug-ins
do with the elements and with the text of the file, so that a browser shows what they load and run.
"""

import json
import re
from collections.abc import Iterator
from html import escape
from typing import Any, Final, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from playwright.async_api import Browser, Route

# Elements that Obsidian makes of its own syntax, in the order in which it looks for them.
_INLINE: Final = {
    "embed": re.compile(r"!\[\[([^\[\]\n]+)\]\]"),
    "link of notes": re.compile(r"\[\[([^\[\]\n]+)\]\]"),
    "footnote": re.compile(r"\[\^([^\]\s]+)\]|\^\[([^\]\n]+)\]"),
    "math": re.compile(r"\$\$(.+?)\$\$|\$(?!\s)([^$\n]+?)(?<!\s)\$(?!\d)", re.DOTALL),
    "comment": re.compile(r"%%(.*?)(?:%%|\Z)", re.DOTALL),
    "tag": re.compile(r"#([\w/-]*[^\W\d][\w/-]*|\d*[^\x00-\xff]+)"),
    "key of a block": re.compile(r"\^([\w-]+)[ \t]*(?=\n|\Z)"),
    "attributes": re.compile(r"\{[^{}\n]*=[^{}\n]*\}"),
}
# What plug-ins and templates look for in the text of the file, whatever Markdown says about it.
_RAW: Final = {
    "template": re.compile(r"<%(.*?)(?:%>|\Z)", re.DOTALL),
    "placeholder": re.compile(r"\{\{|\{%|\{#"),
    "comment": re.compile(r"%%"),
    "field": re.compile(r"[^\s\\]::"),
    "address of an application": re.compile(r"\b(?!https?://)[A-Za-z][\w+.-]*://"),
    "item with a box": re.compile(r"^[ \t>]*(?:(?:[-*+]|\d+[.)])[ \t]+)+\[.\][ \t]", re.MULTILINE),
    "sign of a task": re.compile(
        "[\U0001f53a⏫\U0001f53c\U0001f53d⏬]|[\U0001f501\U0001f3c1\U0001f194⛔]\ufe0f?[ \t]*[0-9A-Za-z_-]"
        "|[\U0001f4c5\U0001f4c6\U0001f5d3\U0001f6eb⏳⌛✅\u2795❌⏰]\ufe0f?[ \t]*\\d{4}-\\d\\d-\\d\\d"
    ),
    "reminder": re.compile(r"\(@"),
    "properties": re.compile(r"\A---[ \t]*\n"),
    "container": re.compile(r"^[ \t]*:::", re.MULTILINE),
    "callout": re.compile(r"^[ \t>]*>[ \t]*\[!", re.MULTILINE),
    "character that is not printed": re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]"),
}
_ELEMENTS: Final = ("html_block", "html_inline", "image", "link_open", "code_inline", "fence")

# What plug-ins do: scripts of queries, templates in the text of the file, embedded notes, formulas, links.
_PLUGINS: Final = """
const run = (code) => { try { new Function(code)(); } catch (error) {} };
const load = (address) => { new Image().src = address; };
window.onload = () => {
  for (const code of document.querySelectorAll("code")) {
    const language = (code.className.match(/language-(\\S+)/) ?? [])[1];
    if (/^(dataviewjs|templater|button|mermaid|run-.*)$/.test(language ?? "")) run(code.textContent);
    if (language !== undefined) found(`block ${language}`);
    if (code.textContent.trim().startsWith("$=")) run(code.textContent.trim().slice(2));
    if (code.textContent.trim().startsWith("=")) found("query");
  }
  for (const embed of document.querySelectorAll("[data-embed]")) load(embed.dataset.embed);
  for (const math of document.querySelectorAll("[data-math]")) {
    for (const link of math.dataset.math.matchAll(/\\{((?:https?|javascript):[^{}]*)\\}/g))
      link[1].startsWith("javascript:") ? run(link[1].slice(11)) : load(link[1]);
  }
  for (const link of document.querySelectorAll("main a, main area")) found(`link ${link.href}`);
  for (const link of document.querySelectorAll("a[href^='javascript:']")) run(link.href.slice(11));
  for (const template of source.matchAll(/<%[*+_-]*([^]*?)[_-]?%>/g)) run(template[1]);
  const own = new Set(["MAIN", "P", "UL", "OL", "LI", "BR", "EM", "STRONG", "S", "BLOCKQUOTE", "HR", "TABLE",
    "THEAD", "TBODY", "TR", "TH", "TD", "H1", "H2", "H3", "H4", "H5", "H6", "PRE", "CODE"]);
  for (const element of document.querySelectorAll("main *")) {
    if (!own.has(element.tagName)) found(element.tagName);
    for (const { name } of element.attributes) if (!["start", "style"].includes(name)) found(`${name}=`);
  }
  document.title = "read";
};
"""


def _rule(name: str, form: re.Pattern[str]) -> Any:
    def rule(state: StateInline, silent: bool) -> bool:
        match = form.match(state.src, state.pos, state.posMax)
        if match is None:
            return False
        before = state.src[state.pos - 1 : state.pos]
        if name == "tag" and (before.isalnum() or before in ("/", "_")):
            return False
        if name == "key of a block" and before.strip():
            return False
        if not silent:
            state.push("obsidian", "", 0).meta = {"name": name, "text": "".join(filter(None, match.groups()))}
        state.pos = match.end()
        return True

    return rule


def _written(_: Any, tokens: list[Token], index: int, *__: Any) -> str:
    name, text = tokens[index].meta["name"], tokens[index].meta["text"]
    kind = {"embed": "embed", "math": "math"}.get(name, "mark")
    return "" if name == "comment" else f'<span data-{kind}="{escape(text)}">{escape(name)}</span>'


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    parser.validateLink = lambda url: True  # type: ignore[method-assign]  # each link is to be seen
    for name, form in _INLINE.items():
        parser.inline.ruler.before("backticks", name, _rule(name, form))
    parser.add_render_rule("obsidian", _written)
    return parser


_PARSER: Final = _parser()


def active(note: str) -> Iterator[str]:
    """Yield the name of all that acts in a note, and its text."""
    environment: dict[str, Any] = {}
    waiting = _PARSER.parse(note, environment)
    for token in waiting:  # which grows by the children of its tokens
        waiting += token.children or []
        if token.type in _ELEMENTS:
            yield f"{token.type}: {token.content or token.attrs}"
        elif token.type == "code_block" and token.content.strip().startswith(("=", "$=")):
            yield f"query in a block of code: {token.content}"
        elif token.type == "heading_open" and token.markup in ("-", "="):
            yield f"heading of the line above: {token.markup}"
        elif token.type == "obsidian":
            yield f"{token.meta['name']}: {token.meta['text']}"
    for label, reference in environment.get("references", {}).items():
        yield f"reference: {label} {reference['href']}"
    for name, form in _RAW.items():
        for match in form.finditer(note):
            yield f"{name}: {match[0]}"


def page_of(note: str) -> str:
    """Return a note as a page for a browser. A script of the note calls ``ran``."""
    source = json.dumps(note).replace("<", "\\u003c")
    return (
        "<!doctype html><meta charset=utf-8><title></title><script>const source = " + source + ";"
        "const seen = []; const found = (what) => seen.push(what); const ran = () => found('a script ran');"
        f"{_PLUGINS}</script><main>{_PARSER.render(note)}</main>"
    )


class Shown(NamedTuple):
    """Effects of a note in a browser: requested addresses, scripts that ran, and elements that act."""

    requests: list[str]
    seen: list[str]


async def shown(browser: Browser, note: str) -> Shown:
    """Show a note in a browser that reaches nothing."""
    requests: list[str] = []
    origin = "http://vault.example/"

    async def answer(route: Route) -> None:
        if route.request.url == origin:
            await route.fulfill(body=page_of(note), content_type="text/html")
            return
        requests.append(route.request.url)
        await route.abort()

    context = await browser.new_context()
    try:
        await context.route("**/*", answer)
        page = await context.new_page()
        await page.goto(origin)
        await page.wait_for_function("document.title === 'read'")
        await page.mouse.move(100, 100)
        await page.wait_for_load_state("networkidle")
        seen: list[str] = await page.evaluate("seen")
    finally:
        await context.close()
    return Shown(requests, seen)
