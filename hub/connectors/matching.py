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


def why_left_out(message: Message, filter: Filter) -> str | None:
    """Return why the filter excludes the message, as one word; None if it is selected.

    The word appears in counters and logs: *bulk*, *sent*, *read*, *sender*, *subject*, *attachment*.
    """
    if message.is_bulk and not filter.include_bulk:
        return "bulk"
    if message.is_sent and not filter.include_sent:
        return "sent"
    if filter.unread_only and message.is_unread is False:
        return "read"
    if filter.from_any and not _is_from(message, filter.from_any):
        return "sender"
    if filter.not_from and _is_from(message, filter.not_from):
        return "sender"
    if not _fits_subject(message.subject[:MOST_SUBJECT_CHARS], filter):
        return "subject"
    has_attachment = any(not one.is_inline for one in message.attachments)
    if filter.has_attachment is not None and has_attachment is not filter.has_attachment:
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


def _fits_subject(subject: str, filter: Filter) -> bool:
    folded = subject.casefold()
    if filter.subject_any and not any(word.casefold() in folded for word in filter.subject_any):
        return False
    return filter.subject_regex is None or any(_compiled(filter.subject_regex).find(subject))


@lru_cache(maxsize=256)
def _compiled(written: str) -> Pattern:
    return Pattern(written)
