"""Conversion of a Teams message from HTML to text. Pure functions."""

import html
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from hub.text.html import TooTangled, text_of_html

MAX_HTML_CHARS: Final = 1_000_000
_AT: Final = re.compile(r"<at\b[^<>]{0,200}>([^<]{0,500})</at>", re.IGNORECASE | re.DOTALL)
_ATTACHMENT: Final = re.compile(
    r"<attachment\b[^<>]{0,200}?\bid=\"([^\"<]{0,200})\"[^<>]{0,200}>(?:\s{0,10}</attachment>)?",
    re.IGNORECASE,
)
_EMOJI: Final = re.compile(
    r"<emoji\b[^<>]{0,300}?\balt=\"([^\"<]{0,40})\"[^<>]{0,300}>(?:</emoji>)?", re.IGNORECASE
)
_MAX_NAME_CHARS: Final = 120


class NotReadable(Exception):
    """Chat message that cannot be read; the message says why."""


def text_of_chat(item: Mapping[str, Any]) -> str:
    """Return the text of a ``chatMessage``: mentions as "@Ana", attachments by name, replies with a quote.

    Raises:
        NotReadable: too long, or too deeply nested for a parser.
    """
    body = item.get("body")
    content = body.get("content") if isinstance(body, dict) else None
    if not isinstance(content, str):
        content = ""
    if len(content) > MAX_HTML_CHARS:
        raise NotReadable(f"longer than {MAX_HTML_CHARS} characters")
    hanging = _hanging(item)
    if isinstance(body, dict) and body.get("contentType") == "text":
        return "\n".join([content.strip(), *hanging.values()]).strip()
    shown: set[str] = set()

    def write_attachment(match: re.Match[str]) -> str:
        id = html.unescape(match[1])
        shown.add(id)
        lines = html.escape(hanging.get(id, "")).split("\n")
        return f"<div>{'<br>'.join(lines)}</div>"

    page = _EMOJI.sub(r"\1", _AT.sub(r"@\1", content))
    page = _ATTACHMENT.sub(write_attachment, page)
    try:
        text = text_of_html(page, marks_quotes=True).text.strip()
    except TooTangled as error:
        raise NotReadable(str(error)) from error
    rest = [line for id, line in hanging.items() if id not in shown]
    return "\n".join(part for part in [text, *rest] if part)


def _hanging(item: Mapping[str, Any]) -> dict[str, str]:
    """Return the replacement texts of attachments by id."""
    attachments = item.get("attachments")
    found: dict[str, str] = {}
    for attachment in attachments if isinstance(attachments, list) else []:
        if isinstance(attachment, dict):
            found[str(attachment.get("id"))] = _quoted(attachment) or f"[attachment: {_name(attachment)}]"
    return found


def _quoted(one: Mapping[str, Any]) -> str:
    """Return the beginning of the message that is answered, quoted, or an empty string."""
    if one.get("contentType") != "messageReference" or not isinstance(one.get("content"), str):
        return ""
    try:
        reference = json.loads(one["content"])
    except (ValueError, RecursionError):
        return ""
    preview = reference.get("messagePreview") if isinstance(reference, dict) else None
    if not isinstance(preview, str):
        return ""
    return "\n".join(f"> {line}".rstrip() for line in preview[:2_000].splitlines())


def _name(one: Mapping[str, Any]) -> str:
    given = one.get("name") or one.get("contentType") or "something"
    name = " ".join(str(given).split())[:_MAX_NAME_CHARS]
    return name.replace("[", "(").replace("]", ")")
