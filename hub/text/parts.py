"""Counts of unreadable or skipped parts of a file or mail, and whether content was lost.

A converter counts each part under ``TYPE OUTCOME``, as in ``application/pdf encrypted``. The sender of a mail
chooses types, so only those that look like one are kept. Counts hold no text and no names of files.
"""

import re
from collections.abc import Mapping
from typing import Final

OUTCOMES: Final = {
    "read": "its text was read",
    "other form": "another form of it was read, as the plain text of a page",
    "signature": "a signature, which has no text",
    "not shown": "a picture in a page, without a name or text",
    "cancelled": "a calendar entry that is cancelled, or answers an invitation",
    "past": "an event of a day before its file was saved",
    "encrypted": "neither hub nor device has its keys",
    "elsewhere": "only named or marked here; its content is elsewhere",
    "cut off": "its end is missing, or beyond a limit; what comes before was read",
    "damaged": "characters of its encoding are missing or invalid; the others were read",
    "unreadable": "damaged, locked, nested too deeply, or beyond a limit of conversion",
    "too large": "larger than the filter or a limit permits",
    "too many": "beyond the number of parts that are read",
    "no room": "the mail was long enough without it",
    "no text": "a type whose text is not read, or an entry without any text",
    "empty": "nothing to be seen in it, such as a page that needs its scripts",
    "not requested": "the filter does not ask for it",
    "by another": "sent by neither the organizer of its event nor who sent the invitation",
    "not newer": "a newer version of its event is known",
    "of too many dates": "about more dates of a series than are kept",
}
LOST_NOTHING: Final = frozenset({"read", "other form", "signature", "not shown", "cancelled", "past"})
MAX_NAMED: Final = 64  # kinds of parts with their outcomes, of a mail with the mails in it, or an archive

_TYPE: Final = re.compile(r"[a-z]{1,20}/[a-z0-9.+-]{1,80}|V[A-Z]{3,15}")


def part_key(kind: str, outcome: str) -> str:
    """Return the name under which parts of a type (or a component of a calendar) are counted."""
    if outcome not in OUTCOMES:
        raise ValueError(f"{outcome!r} is no outcome of a part; they are in hub.text.parts")
    return f"{kind if _TYPE.fullmatch(kind) else 'other'} {outcome}"


def cut_parts(kind: str, text: str, max_chars: int | None) -> dict[str, int]:
    """Return the count of a text that is longer than its limit, and is cut; empty for others."""
    return {} if max_chars is None or len(text) <= max_chars else {part_key(kind, "cut off"): 1}


def is_lost(name: str) -> bool:
    """Return True if something of a part with this name was not read."""
    return name.partition(" ")[2] not in LOST_NOTHING


def known_parts(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counts that another program may name, at most ``MAX_NAMED``; others are ignored."""
    named = [name for name in counts if name.partition(" ")[2] in OUTCOMES]
    return {name: counts[name] for name in named[:MAX_NAMED] if part_key(*name.split(" ", 1)) == name}
