"""A document: a text, where it came from, and its fingerprint.

Made by sources, eaten by extraction.
"""

from datetime import datetime

import msgspec


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A text with an origin.

    Attributes:
        unit_key: what a run settles it under: a file's path, a message's id.
        text: all of it; offsets of items count its code points.
        content_hash: SHA-256 (hex) of the original bytes, before conversion.
        media_type: of the original, where it was told.
        modified_at: the original's own time, aware UTC; dates in the text resolve against it.
        hidden_parts: what nobody who looks at the original sees, and was left out of the text.
        link: opens the original where it is at home; *title* is what it is called there.
    """

    unit_key: str
    text: str
    content_hash: str
    media_type: str | None = None
    modified_at: datetime | None = None
    hidden_parts: int = 0
    link: str | None = None
    title: str | None = None
