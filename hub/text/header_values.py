"""Values of headers: a date, text on one line, and the beginning of a message in a chat. Pure functions."""

import re
import unicodedata
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

# Beginning of a message in the text of a chat.
CHAT_MESSAGE: Final = re.compile(r"^\[(?P<at>[^\]\n]{1,40})\] (?P<author>[^:\n]{1,80}):(?: |$)", re.MULTILINE)
MAX_HEADER_CHARS: Final = 1_000  # about a hundred addressees
_SPACE: Final = re.compile(r"\s+")
_ISO_DATE: Final = re.compile(r"\d{4}-\d\d-\d\dT")


def on_one_line(text: str, most_chars: int = MAX_HEADER_CHARS) -> str:
    """Remove line ends and invisible characters from *text*, and cut it to *most_chars*."""
    if not (text.isascii() and text.isprintable() and "  " not in text):
        visible = _SPACE.sub(" ", text)[: 4 * most_chars]
        text = "".join(char for char in visible if unicodedata.category(char) not in ("Cc", "Cf", "Cs"))
    text = text.strip()
    return text if len(text) <= most_chars else f"{text[:most_chars]}…"


def date_in(spelled: str) -> datetime | None:
    """Parse a date of a mail (RFC 5322) or a provider (ISO 8601) to UTC; ``None`` if it is invalid."""
    spelled = spelled[:200].strip()
    try:
        date = datetime.fromisoformat(spelled) if _ISO_DATE.match(spelled) else parsedate_to_datetime(spelled)
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (TypeError, ValueError, LookupError, OverflowError, AttributeError):
        return None
