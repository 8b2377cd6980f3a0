r"""Escaping of text in Markdown, so that Obsidian and its plug-ins interpret none of it.

A backslash precedes what may begin a picture, a link, HTML, code, math, a comment, a template,
an inline field, a tag or a key. Signs of plug-ins for tasks become entities, since a backslash does not stop
them. So does the ``<`` of HTML, as a row may follow a block of HTML. Addresses of the web stay links, which
are followed on a click only. Bold words, lists, headings and tables stay, too. ``markdown.ts`` of the
package of npm has the same patterns.
"""

import re
from typing import Final

_KEY: Final = r"\^hub-[a-z0-9]*+[ \t]*+(?:\n|\Z)"
_LINE_END: Final = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\ufeff]")
_MARKS: Final = r"\\!<\[`~$%{#:^&=\-@"
_BLANK: Final = r" \t\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
_URGENCY, _ACTION, _DAY = "🔺⏫🔼🔽⏬", "🔁🏁🆔⛔", "📅📆🗓🛫⏳⌛✅\u2795❌⏰"  # signs of plug-ins for tasks
_ENTITIES: Final = {f"#x{ord(sign):x}": sign for sign in _URGENCY + _ACTION + _DAY} | {"lt": "<"}
_NAMES: Final = {sign: name for name, sign in _ENTITIES.items()}
# Rules that look at the raw text come with a lookbehind: a backslash between two characters parts them.
_ACTIVE: Final = re.compile(
    "|".join(
        (
            rf"\\(?=[{_MARKS}{_URGENCY}{_ACTION}{_DAY}]|$)",  # it would escape that, or end a line
            r"<(?=[^ \t\n=0-9\-]|[^ \t\n<>]*@)",
            r"[\[`{]",
            r"~(?=~~)",
            r"(?<=[^ \t\n])\$|\$(?![0-9][^$\\]*(?!.|\n))",  # the last price stays: no sign ends math after it
            r"(?<=[%<{])[%#]|(?<=\()@",
            r"(?<=:):|(?<!(?<![\w+.\-])http)(?<!(?<![\w+.\-])https):(?=//)",
            r"(?<![\w/])#(?=[\w/\-]*[A-Za-z_/\-]|[0-9]*[^\x00-\x7f])",
            r"(?<!\w)\^|\^(?=hub-)",
            r"&(?=#?[0-9A-Za-z]+;)",
            r"^[ \t]*(?=-+[ \t]*$)|^ ?(?==+[ \t]*$)",
            rf"(?:(?<=\t)|(?<=[{_BLANK}]{{2}}))=",  # a query, where it begins an indented block of code
            rf"[{_URGENCY}]|[{_ACTION}](?=\ufe0f?[ \t]*[\w\-])|[{_DAY}](?=\ufe0f?[ \t]*[0-9]{{4}}-)",
        )
    ),
    re.MULTILINE | re.ASCII,
)
_ESCAPED: Final = re.compile(rf"\\([{_MARKS}])|&({'|'.join(_ENTITIES)});")
_FORMER: Final = re.compile(rf"\\(?={_KEY}|!\[(?!\[)|<(?:[A-Za-z][A-Za-z0-9-]*+[\s/>]|!--))")


def escape(text: str) -> str:
    """Return *text* as Markdown that shows it, with line feeds and without other control characters."""
    return _ACTIVE.sub(_escaped, _CONTROL.sub("", _LINE_END.sub("\n", text)))


def _escaped(active: re.Match[str]) -> str:
    if not active[0].strip():  # blanks before a line of signs
        return f"{active[0]}\\"
    return f"&{_NAMES[active[0]]};" if active[0] in _NAMES else f"\\{active[0]}"


def unescape(text: str) -> str:
    """Return the words of Markdown that ``escape`` wrote; Markdown of others stays as it is."""
    return _ESCAPED.sub(lambda escaped: escaped[1] or _ENTITIES[escaped[2]], text)


def unescape_former(text: str) -> str:
    """Return the words of Markdown that releases up to 0.2 wrote, which escaped pictures, tags and keys."""
    return _FORMER.sub("", text)
