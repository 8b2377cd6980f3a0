"""Detection of a target file that has another format than its sink writes."""

import re
from collections.abc import Mapping
from typing import Final

# Names of formats, with what a text of it begins with; those of sinks have the kind of the sink.
_BEGINNINGS: Final[Mapping[str, re.Pattern[str]]] = {
    name: re.compile(rf"\A(?:{pattern})", re.IGNORECASE | re.DOTALL)
    for name, pattern in {
        "ics": r"BEGIN:VCALENDAR[ \t]*(?:\n|\Z)",
        "a file of address cards (vCard)": r"BEGIN:VCARD\b",
        "HTML or XML": r"<(?:!doctype|\?xml|html|head|body|svg)\b|<(\w[\w:.-]*+)\b[^>]*>.*</\1>\s*\Z",
        "a program": r"#!",
        "jsonl": r'\{[ \t]*"[^\n]*\}[ \t]*(?:\n|\Z)',
        "JSON": r'\{\s*["}]|\[\s*[{"\]]',
        "a settings file": r"(?>(?:[#;][^\n]*\n|\n)*)"
        r"(?:\[{1,2}[\w.-]++\]{1,2}[ \t]*\n|(?:export )?[\w.-]++[ \t]*=[ \t]*\S)",
        "csv": r"[^\s,;\t][^,;\t\n]{0,60}([,;\t])[^\s,;\t][^,;\t\n]{0,60}"
        r"(?:\1[^\n]*)?(?:\n+[^\n,;\t]*\1|\n*\Z)",
    }.items()
}
_LINES: Final = {
    "markdown": re.compile(r"^(?:#{1,6} \S|[ \t]*[-*+] |> |\x60{3}|---$|={3,}$|\|)", re.MULTILINE),
    "todo.txt": re.compile(r"^(?:\([A-Z]\)|x \d{4}-\d\d-\d\d) ", re.MULTILINE),
}
_MARKED: Final = 10  # of so many lines of Markdown one has a mark at least
_NAMES: Final = {
    "markdown": "Markdown",
    "todo.txt": "a todo.txt",
    "csv": "a CSV file with a header",
    "jsonl": "a file of JSON lines, with an object in each",
    "ics": "a calendar file",
}
_BINARY: Final = re.compile(r"[\0-\x08\x0e-\x1f]")
_COPY: Final = re.compile(
    r"^(?:METHOD|SOURCE|REFRESH-INTERVAL|X-PUBLISHED-TTL)[;:]", re.MULTILINE | re.IGNORECASE
)
_LOOSE: Final = ("markdown", "todo.txt", "csv")  # any text may be of this format


def other_format(text: str, kind: str) -> str:
    """Return why a text cannot be the file of a sink of this *kind*; empty if it can, or is empty."""
    text = text.lstrip("\ufeff \t\n")
    found = next((name for name, beginning in _BEGINNINGS.items() if beginning.match(text)), "")
    if not found:
        marks = {name: len(lines.findall(text)) for name, lines in _LINES.items()}
        is_marked = marks["markdown"] * _MARKED >= len(text.split("\n"))
        is_todo = marks["todo.txt"] > marks["markdown"]
        found = "todo.txt" if is_todo else "markdown" if is_marked and marks["markdown"] else ""
    if _BINARY.search(text):
        return "it is no text"
    if kind == found == "ics" and _COPY.search(text):
        return "it is a copy of a calendar elsewhere, or an invitation, which another program replaces"
    is_plain_csv = kind == "csv" and found in _LINES  # its first line says whether it is one
    if not text or found == kind or is_plain_csv or (kind in _LOOSE and not found):
        return ""
    hint = f'; write kind = "{found}", or the path of another file' if found in _NAMES else ""
    return f"it is {_NAMES.get(found, found or 'something else')}, not {_NAMES[kind]}{hint}"
