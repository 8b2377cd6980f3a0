"""Text of mails and chat messages from Graph.

Microsoft's own separation of a mail's new text is used. A chat message is HTML with elements of Teams.
"""

import html
import json
import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any, Final

from anyio import CapacityLimiter, from_thread, to_thread

from hub.connectors.filters import Filter
from hub.text.html import TooTangled, text_of_html
from hub.text.letter import Letter, LetterOptions, LetterText
from hub.text.letters import read_letter

READERS: Final = 2  # threads that convert one account's mail
_MB: Final = 1024 * 1024
_WORD: Final = re.compile(r"\S+")

MOST_HTML_CHARS: Final = 1_000_000
_AT: Final = re.compile(r"<at\b[^>]{0,200}>(.{0,500}?)</at>", re.IGNORECASE | re.DOTALL)
_ATTACHMENT: Final = re.compile(
    r"<attachment\b[^>]{0,200}?\bid=\"([^\"]{0,200})\"[^>]{0,200}>(?:\s{0,10}</attachment>)?", re.IGNORECASE
)
_EMOJI: Final = re.compile(
    r"<emoji\b[^>]{0,300}?\balt=\"([^\"]{0,40})\"[^>]{0,300}>(?:</emoji>)?", re.IGNORECASE
)
_MOST_NAME_CHARS: Final = 120


class Reading:
    """Converter of messages for one filter, in worker threads."""

    def __init__(self, filter: Filter) -> None:
        self.options = LetterOptions(
            quoted=filter.quoted,
            max_chars=filter.max_chars,
            fetch=filter.attachments.fetch,
            types=filter.attachments.types,
            max_attachment_bytes=int(filter.attachments.max_mb * _MB),
        )
        self._limiter = CapacityLimiter(READERS)

    async def text(self, letter: Letter) -> LetterText:
        """Convert a letter to text. Raises NotConvertible."""

        def work() -> LetterText:
            return read_letter(letter, self.options, check=from_thread.check_cancelled)

        return await to_thread.run_sync(work, limiter=self._limiter)


def with_marks(whole: str, new: str) -> str:
    """Mark every line of *whole* after its beginning *new* as quoted.

    If *whole* does not begin with *new*, it is returned unchanged: other rules must detect the quotation
    then.
    """
    end = 0
    words = _WORD.finditer(whole)
    for expected in new.split():
        word = next(words, None)
        if word is None or word.group() != expected:
            return whole
        end = word.end()
    rest = whole[end:].strip()
    if not end or not rest:
        return whole
    lines = (line.strip() for line in rest.splitlines())
    marked = (line if line.startswith(">") else f"> {line}".rstrip() for line in lines)
    return "\n".join([whole[:end], "", *marked])


def header_date(at: datetime | None) -> str:
    """Format a date for a mail header; empty if it is unknown."""
    return "" if at is None else format_datetime(at)


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
    if len(content) > MOST_HTML_CHARS:
        raise NotReadable(f"longer than {MOST_HTML_CHARS} characters")
    hanging = _hanging(item)
    if isinstance(body, dict) and body.get("contentType") == "text":
        return "\n".join([content.strip(), *hanging.values()]).strip()
    shown: set[str] = set()

    def put(match: re.Match[str]) -> str:
        id = html.unescape(match[1])
        shown.add(id)
        lines = html.escape(hanging.get(id, "")).split("\n")
        return f"<div>{'<br>'.join(lines)}</div>"

    page = _EMOJI.sub(r"\1", _AT.sub(r"@\1", content))
    page = _ATTACHMENT.sub(put, page)
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
    for one in attachments if isinstance(attachments, list) else []:
        if isinstance(one, dict):
            found[str(one.get("id"))] = _quoted(one) or f"[attachment: {_name(one)}]"
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
    name = " ".join(str(given).split())[:_MOST_NAME_CHARS]
    return name.replace("[", "(").replace("]", ")")
