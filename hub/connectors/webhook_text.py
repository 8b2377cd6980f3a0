"""Extraction of title, text, link and sender from a post to a webhook. Pure functions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

from hub.connectors.signatures import Source
from protocol.json_bounds import read_json

MOST_LINES: Final = 500  # of a post without a known text field
MOST_DEPTH: Final = 12
MOST_FIELDS: Final = 1_000
TITLE_CHARS: Final = 500
LINK_CHARS: Final = 2_000

Paths = Mapping[
    str, Sequence[str]
]  # title, text, link, sender, event -> dotted paths; the first existing path counts

USUAL: Final[Mapping[Source, Paths]] = {
    Source.GITHUB: {
        "title": ("issue.title", "pull_request.title", "discussion.title", "release.name"),
        "text": (
            *("comment.body", "review.body", "issue.body", "pull_request.body", "discussion.body"),
            *("release.body", "head_commit.message"),
        ),
        "link": (
            *("comment.html_url", "review.html_url", "issue.html_url", "pull_request.html_url"),
            *("discussion.html_url", "release.html_url", "head_commit.url"),
        ),
        "sender": ("sender.login",),
        "event": ("action",),
    },
    Source.SLACK: {
        "title": ("command",),
        "text": ("event.text", "text", "message.text"),
        "link": (),
        "sender": ("event.user", "user_name", "user.name"),
        "event": ("event.type", "type", "command"),
    },
}
PLAIN: Final[Paths] = {
    "title": ("title", "subject", "data.title", "data.subject"),
    "text": ("text", "message", "body", "description", "data.text", "data.message", "data.description"),
    "link": ("link", "url", "data.link", "data.url"),
    "sender": ("sender", "from", "data.sender"),
    "event": ("type", "event"),
}


class Said(msgspec.Struct, frozen=True):
    """Content of a post."""

    title: str
    text: str
    link: str | None
    sender: str
    event: str


def read(body: bytes, media_type: str, source: Source, paths: Mapping[str, str | None]) -> Said:
    """Extract the content of any *body*. Never raises.

    Args:
        paths: configured path of each field; ``None``: the usual paths.
    """
    found = value_of(body, media_type)
    if isinstance(found, str):
        first = next((line.strip() for line in found.splitlines() if line.strip()), "")
        return Said(first[:TITLE_CHARS], found, None, "", "")
    usual = USUAL.get(source, PLAIN)

    def at(field: str) -> str:
        told = paths.get(field)
        for path in usual[field] if told is None else (told,):
            if said := _words(_at(found, path)):
                return said
        return ""

    text = at("text") or "\n".join(_lines(found))
    title = at("title").replace("\n", " ")[:TITLE_CHARS]
    whole = f"{title}\n\n{text}" if title and title not in text else text
    return Said(title, whole, _link(at("link")), at("sender")[:TITLE_CHARS], at("event")[:TITLE_CHARS])


def value_of(body: bytes, media_type: str) -> Any:
    """Decode a JSON body of any declared type, or a form; otherwise return the text."""
    kind = media_type.partition(";")[0].strip().lower()
    text = body.decode("utf-8-sig", "replace")
    found = _json(text, otherwise=text)
    if found is not text or kind != "application/x-www-form-urlencoded":
        return found
    try:
        fields = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        return text
    if not any(fields.values()):  # not a form, but text from a program that declares all bodies as forms
        return text
    inner = fields.get("payload")
    return fields if inner is None else _json(inner, otherwise=fields)


def _json(text: str, *, otherwise: Any) -> Any:
    try:
        found = read_json(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return otherwise
    return found if isinstance(found, dict | list) else otherwise


def _at(found: Any, path: str) -> Any:
    for step in path.split("."):
        if isinstance(found, dict):
            found = found.get(step)
        elif isinstance(found, list) and step.isdecimal() and len(step) < 6 and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    return found


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _lines(found: Any) -> Iterator[str]:
    """Yield ``path: value`` for all values with text, up to a limit."""
    waiting: list[tuple[str, Any, int]] = [("", found, 0)]
    told = looked = 0
    while waiting and told < MOST_LINES and looked < 20 * MOST_LINES:
        path, value, depth = waiting.pop()
        looked += 1
        if isinstance(value, dict | list):
            inner = value.items() if isinstance(value, dict) else enumerate(value)
            parts = [(f"{path}.{name}" if path else str(name), one, depth + 1) for name, one in inner]
            if depth < MOST_DEPTH:
                waiting += reversed(parts)
        elif said := _words(value):
            told += 1
            yield f"{path}: {said}"


def _link(text: str) -> str | None:
    try:
        is_web = urlsplit(text).scheme in ("http", "https")
    except ValueError:
        return None
    return text if is_web and len(text) <= LINK_CHARS and not any(char.isspace() for char in text) else None
