"""Decision whether an agent's filter selects a message, with the reason. Pure functions.

Applied to every message, even if the provider's server has filtered: servers may compare dates instead of
times, or spell words differently.
"""

from functools import lru_cache
from typing import Final

from hub.connectors.connector import Message
from hub.connectors.filters import Filter
from hub.extraction.patterns import Pattern

MOST_SUBJECT_CHARS: Final = 1_000  # of a subject are examined


def why_left_out(message: Message, wanted: Filter) -> str | None:
    """Return why the filter excludes the message, as one word; None if it is selected.

    The word appears in counters and logs: *bulk*, *sent*, *read*, *sender*, *subject*, *attachment*.
    """
    if message.is_bulk and not wanted.include_bulk:
        return "bulk"
    if message.is_sent and not wanted.include_sent:
        return "sent"
    if wanted.unread_only and message.is_unread is False:
        return "read"
    if wanted.from_any and not _is_from(message, wanted.from_any):
        return "sender"
    if wanted.not_from and _is_from(message, wanted.not_from):
        return "sender"
    if not _says(message.subject[:MOST_SUBJECT_CHARS], wanted):
        return "subject"
    has_attachment = any(not one.is_inline for one in message.attachments)
    if wanted.has_attachment is not None and has_attachment is not wanted.has_attachment:
        return "attachment"
    return None


def _is_from(message: Message, words: tuple[str, ...]) -> bool:
    """Return True if the sender matches one of *words*: an address, an ``@domain``, or a part of a name."""
    if message.sender is None:
        return False
    email, name = message.sender.email.casefold(), message.sender.name.casefold()
    for word in map(str.casefold, words):
        if word.startswith("@"):
            _, _, domain = email.rpartition("@")
            if domain == word[1:] or domain.endswith(f".{word[1:]}"):
                return True
        elif "@" in word:
            if email == word:
                return True
        elif word in name or word in email:
            return True
    return False


def _says(subject: str, wanted: Filter) -> bool:
    folded = subject.casefold()
    if wanted.subject_any and not any(word.casefold() in folded for word in wanted.subject_any):
        return False
    return wanted.subject_regex is None or any(_compiled(wanted.subject_regex).find(subject))


@lru_cache(maxsize=256)
def _compiled(written: str) -> Pattern:
    return Pattern(written)
