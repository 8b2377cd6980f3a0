"""Text of a message from Graph. Microsoft's own separation of a mail's new text is used."""

import re
from datetime import datetime
from email.utils import format_datetime
from typing import Final

from anyio import CapacityLimiter, from_thread, to_thread

from hub.connectors.filters import Filter
from hub.text.letter import Letter, LetterOptions, LetterText
from hub.text.letters import read_letter

READERS: Final = 2  # threads that convert one account's mail
_MB: Final = 1024 * 1024
_WORD: Final = re.compile(r"\S+")


class Reading:
    """Converter of messages for one filter, in worker threads."""

    def __init__(self, wanted: Filter) -> None:
        self.options = LetterOptions(
            quoted=wanted.quoted,
            max_chars=wanted.max_chars,
            fetch=wanted.attachments.fetch,
            types=wanted.attachments.types,
            max_attachment_bytes=int(wanted.attachments.max_mb * _MB),
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
    for want in new.split():
        word = next(words, None)
        if word is None or word.group() != want:
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
