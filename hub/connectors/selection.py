"""Filter of an agent: whether a message is selected, by sender, subject, attachment or read state.

All conditions are checked here, even those that the server of the provider has applied: servers may compare
dates instead of times, or spell words differently.
"""

from typing import Final

from hub.connectors.connector import Filter, Message
from hub.text.patterns import pattern_of

MAX_SUBJECT_CHARS: Final = 1_000  # of a subject are examined


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
    subject = message.subject[:MAX_SUBJECT_CHARS]
    if filter.subject_any and not any(word.casefold() in subject.casefold() for word in filter.subject_any):
        return "subject"
    if filter.subject_regex is not None and not any(pattern_of(filter.subject_regex).find(subject)):
        return "subject"
    has_attachment = any(not attachment.is_inline for attachment in message.attachments)
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
