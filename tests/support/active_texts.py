"""Texts that act where a person reads them, generated: forms x positions x encodings x line ends.

A form is one thing that a reader of a format runs, loads, hides or follows. ``texts`` places each form
everywhere in a text, and spells it in every way; the result is the same in each run. A module for another
format calls ``texts`` with forms and positions of its own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from tests.support.clock import SeededChance

HOST: Final = "hostile.example"  # whatever is loaded from there was loaded by the text
RAN: Final = "ran"  # the function that a script of a text calls
LINE_ENDS: Final = ("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029")

# ADDRESS, SCRIPT and EOL are replaced; a form with EOL has several lines.
MARKDOWN: Final[Mapping[str, str]] = {
    "picture": "![x](ADDRESS)",
    "picture with a title": '![x](ADDRESS "t")',
    "picture in pointed brackets": "![x](<ADDRESS>)",
    "picture without words": "![](ADDRESS)",
    "picture over two lines": "![xEOLy](ADDRESS)",
    "picture in a link": "[![x](ADDRESS)](ADDRESS)",
    "picture by reference": "![x][y]EOLEOL[y]: ADDRESS",
    "picture by empty reference": "![y][]EOLEOL[y]: ADDRESS",
    "picture by short reference": "![y]EOLEOL[y]: ADDRESS",
    "reference over two lines": "![y]EOLEOL[y]:EOLADDRESS",
    "reference": "[y]: ADDRESS 'hidden'",
    "picture with a size": "![x|100](ADDRESS)",
    "link": "[x](ADDRESS)",
    "link of a script": "[x](javascript:SCRIPT)",
    "link of a page": "[x](data:text/html,<script>SCRIPT</script>)",
    "link of an application": "[x](obsidian://advanced-uri?eval=SCRIPT)",
    "bare address of an application": "obsidian://advanced-uri?eval=SCRIPT",
    "bare address of a file": "file:///etc/passwd",
    "autolink": "<ADDRESS>",
    "autolink of a script": "<javascript:SCRIPT>",
    "autolink of mail": "<1a@hostile.example>",
    "tag of a picture": "<img src=ADDRESS>",
    "tag of a picture over two lines": "<imgEOLsrc=ADDRESS>",
    "tag of a picture with a slash": "<img/src=ADDRESS>",
    "tag of a picture, unfinished": "<img src=ADDRESS ",
    "handler of a tag": "<img src=x onerror=SCRIPT>",
    "tag in upper case": "<IMG SRC=ADDRESS>",
    "tag of a vector picture": "<svg onload=SCRIPT></svg>",
    "script": "<script>SCRIPT</script>",
    "script over lines": "<script>EOLSCRIPTEOL</script>",
    "style": "<style>@import 'ADDRESS';</style>",
    "textarea": "<textarea onfocus=SCRIPT autofocus>",
    "pre": "<pre onmouseover=SCRIPT>x</pre>",
    "frame": "<iframe src=ADDRESS></iframe>",
    "frame over lines": "<iframeEOLsrc=ADDRESSEOL></iframe>",
    "object": "<object data=ADDRESS></object>",
    "embedded": "<embed src=ADDRESS>",
    "video": "<video src=ADDRESS autoplay>",
    "sound": "<audio src=ADDRESS autoplay>",
    "source of a picture": "<picture><source srcset=ADDRESS><img></picture>",
    "link to a style": "<link rel=stylesheet href=ADDRESS>",
    "base": "<base href=ADDRESS>",
    "refresh": "<meta http-equiv=refresh content='0;url=ADDRESS'>",
    "form": "<form action=ADDRESS><input type=image src=ADDRESS></form>",
    "background": "<body background=ADDRESS>",
    "table with a background": "<table background=ADDRESS><tr><td>x</table>",
    "style of an element": "<div style='background:url(ADDRESS)'>x</div>",
    "block of a division": "<divEOLstyle='background:url(ADDRESS)'>x</div>",
    "custom element": "<x-y is=z><img src=ADDRESS></x-y>",
    "comment": "<!-- hidden -->",
    "comment without an end": "<!-- hidden",
    "processing instruction": "<?xml-stylesheet href='ADDRESS'?>",
    "declaration": "<!DOCTYPE html SYSTEM 'ADDRESS'>",
    "character data": "<![CDATA[<img src=ADDRESS>]]>",
    "closing tag": "</li></ul><img src=ADDRESS>",
    "entities of a tag": "&lt;img src=ADDRESS&gt;",
    "numeric entity": "&#60;img src=ADDRESS&#62;",
    "code": "`x`",
    "query in the line": "`= this.file.name`",
    "script in the line": "`$= SCRIPT`",
    "script in the line with two marks": "`` $= SCRIPT ``",
    "query in a block of code": "xEOLEOL      = this.file.name",
    "query in a block of code behind a no-break blank": "xEOLEOL      \xa0= this.file.name",
    "query in a block of code of a quote": ">     = this.file.name",
    "query in a block of code of an item": "-     = this.file.name",
    "script in a block of code": "xEOLEOL      $= SCRIPT",
    "button in the line": "`button-x`",
    "input in the line": "`INPUT[toggle:x]`",
    "block of a script": "```dataviewjsEOLSCRIPTEOL```",
    "block of a script with tildes": "~~~dataviewjsEOLSCRIPTEOL~~~",
    "block of a script with four marks": "````dataviewjsEOLSCRIPTEOL````",
    "block of a script, unfinished": "```dataviewjsEOLSCRIPT",
    "block of a script in a list": "- ```dataviewjsEOL  SCRIPTEOL  ```",
    "block of a script in a quote": "> ```dataviewjsEOL> SCRIPTEOL> ```",
    "block of a query": "```dataviewEOLLISTEOL```",
    "block of tasks": "```tasksEOLnot doneEOL```",
    "block of a search": "```queryEOLpath:/EOL```",
    "block of a diagram": "```mermaidEOLgraph LREOLclick A call SCRIPTEOL```",
    "block of a button": "```buttonEOLaction SCRIPTEOL```",
    "block of a template": "```templaterEOL<% SCRIPT %>EOL```",
    "block of a program": "```run-pythonEOLSCRIPTEOL```",
    "template": "<% SCRIPT %>",
    "template of statements": "<%* SCRIPT %>",
    "template of statements, trimmed": "<%*_ SCRIPT _%>",
    "template at display": "<%+ SCRIPT %>",
    "template over lines": "<%*EOLSCRIPTEOL%>",
    "placeholder": "{{date}}",
    "placeholder of a script": "{{VALUE:SCRIPT}}",
    "statement of a template": "{% include 'ADDRESS' %}",
    "comment of a template": "{# hidden #}",
    "attributes": "x {onclick=SCRIPT}",
    "comment of a note": "%%hidden%%",
    "comment of a note without an end": "%% hidden",
    "comment of a note over lines": "%%EOLhiddenEOL%%",
    "key of a suggestion": "%%hub:0197aaaa-0000-7000-8000-000000000000%%",
    "link of notes": "[[Secret]]",
    "link of notes with words": "[[Secret|words]]",
    "embedded note": "![[Secret]]",
    "embedded address": "![[ADDRESS]]",
    "embedded block": "![[Secret#^key]]",
    "math": "$\\href{javascript:SCRIPT}{x}$",
    "math of a picture": "$$\\includegraphics{ADDRESS}$$",
    "math over lines": "$$EOL\\href{ADDRESS}{x}EOL$$",
    "math after a price": "$5\\href{javascript:SCRIPT}{x}$",
    "field": "due:: 2020-01-01",
    "field in brackets": "[assignee:: Eve]",
    "field in round brackets": "(assignee:: Eve)",
    "field without a blank": "[assignee::Eve]",
    "box": "[x] done",
    "item with a box": "- [ ] Transfer 500 EUR",
    "due day": "\U0001f4c5 2020-01-01",
    "start day": "\U0001f6eb 2020-01-01",
    "priority": "\u23eb",
    "recurrence": "\U0001f501 every day",
    "deletion when done": "\U0001f3c1 delete",
    "id of a task": "\U0001f194 -a",
    "tasks before a task": "\u26d4 -a",
    "reminder": "(@2020-01-01 10:00)",
    "reminder with a sign": "\u23f0 2020-01-01",
    "key of a block": "^abc",
    "key of a row": "^hub-aaaaaaaaaaaaaaaa",
    "key of a row at a word": "x^hub-aaaaaaaaaaaaaaaa",
    "tag": "#todoist",
    "tag of levels": "#task/urgent",
    "footnote": "[^1]EOLEOL[^1]: hidden ADDRESS",
    "footnote in the line": "^[hidden]",
    "properties": "---EOLcssclasses: xEOL---",
    "heading of the line above": "xEOL===",
    "callout": "> [!danger]- hidden",
    "container": "::: iframe ADDRESS",
    "citation of a frame": "@[youtube](ADDRESS)",
    "break by a backslash": "x\\EOL![x](ADDRESS)",
}

# FORM is replaced; EOL as in a form.
POSITIONS: Final[Mapping[str, str]] = {
    "alone": "FORM",
    "in the middle": "Pay FORM today",
    "at a word": "PayFORMtoday",
    "after a backslash": "Pay \\FORM",
    "after two backslashes": "Pay \\\\FORM",
    "after three backslashes": "Pay \\\\\\FORM",
    "before a backslash": "FORM\\",
    "on a line of its own": "PayEOLFORMEOLtoday",
    "after an empty line": "PayEOLEOLFORMEOLEOLtoday",
    "indented": "PayEOLEOL    FORM",
    "after a tab": "PayEOL\tFORM",
    "in a list": "- FORMEOL- today",
    "in a numbered list": "1. FORM",
    "in a quote": "> FORM",
    "in bold": "**FORM**",
    "in a table": "| a |EOL|---|EOL| FORM |",
    "in a heading": "# FORM",
    "in brackets": "(FORM)",
    "twice": "FORM FORM",
    "in code": "`FORM`",
    "after an open mark of code": "` FORM",
    "after an open bracket": "[ FORM",
    "after a pointed bracket": "< FORM",
}


def _first(change: Callable[[str], str]) -> Callable[[str], str]:
    """Return a spelling that changes the first character that is no letter, digit or blank."""

    def spelled(text: str) -> str:
        at = next((n for n, char in enumerate(text) if not char.isalnum() and char not in " \n"), 0)
        return text[:at] + change(text[at]) + text[at + 1 :]

    return spelled


ENCODINGS: Final[Mapping[str, Callable[[str], str]]] = {
    "upper case": lambda text: text.upper().replace(RAN.upper(), RAN),
    "decimal entity": _first(lambda char: f"&#{ord(char)};"),
    "hexadecimal entity": _first(lambda char: f"&#x{ord(char):x};"),
    "escaped": _first(lambda char: f"\\{char}"),
    "percent": _first(lambda char: f"%{ord(char):02x}"),
    "full width": _first(lambda char: chr(ord(char) + 0xFEE0) if " " < char <= "~" else char),
    "character without width inside": _first(lambda char: f"{char}\u200b"),
    "character without width before": lambda text: f"\u200b{text}",
    "byte order mark before": lambda text: f"\ufeff{text}",
    "zero inside": _first(lambda char: f"{char}\0"),
    "no-break blank before": lambda text: f"\xa0{text}",
    "tab for each blank": lambda text: text.replace(" ", "\t"),
    "doubled": _first(lambda char: char * 2),
}


class ActiveText(NamedTuple):
    """Text that acts unless its writer keeps it from that; *name* says how it was made."""

    name: str
    text: str


def filled(text: str, line_end: str = "\n") -> str:
    """Return the text of a form with an address, a script and line ends."""
    return text.replace("SCRIPT", f"{RAN}()").replace("ADDRESS", f"http://{HOST}/x").replace("EOL", line_end)


def texts(
    forms: Mapping[str, str] = MARKDOWN, positions: Mapping[str, str] = POSITIONS
) -> Iterator[ActiveText]:
    """Yield each form at each position, in each encoding, and with each line end."""
    for form, text in forms.items():
        for position, around in positions.items():
            yield ActiveText(f"{form}, {position}", filled(around.replace("FORM", text)))
        for encoding, spell in ENCODINGS.items():
            yield ActiveText(f"{form}, {encoding}", "Pay " + spell(filled(text)))
        around = text if "EOL" in text else "PayEOLFORMEOLtoday".replace("FORM", text)
        for line_end in LINE_ENDS[1:]:
            yield ActiveText(f"{form}, {line_end!r}", filled(around, line_end))


def random_texts(seed: int, count: int, forms: Mapping[str, str] = MARKDOWN) -> Iterator[ActiveText]:
    """Yield texts of pieces of forms, marks and line ends in an order drawn by *seed*."""
    chance = SeededChance(seed)

    def drawn(choices: Sequence[str]) -> str:
        return choices[int(chance.uniform(0, len(choices)))]

    marks = [*"\\\\\\!![[]]()<>`~$%{}#:^&-=*_|\"'", *("%%", "<%", "```", "~~~", "$$", "::", "![", "](", "[[")]
    blanks = [" ", " ", "", "", "  ", "\t", *LINE_ENDS]
    words = ["x", "Pay", "img src=ADDRESS", "dataviewjs", "= SCRIPT", "ADDRESS", "SCRIPT", "2026-12-01"]
    for number in range(count):
        parts = []
        for _ in range(int(chance.uniform(2, 8))):
            form = drawn([*forms.values()])
            cut = int(chance.uniform(0, len(form)))
            run = drawn(marks) * int(chance.uniform(1, 4))
            parts += [drawn([form, form[cut:], form[:cut], run, run, run, drawn(words)]), drawn(blanks)]
        yield ActiveText(f"drawn {seed}.{number}", filled("".join(parts), drawn(LINE_ENDS)))
