"""Keys in delivered rows by which sinks and readers recognize them."""

import hashlib
import re
from base64 import b32encode
from typing import Final

ROW_KEY: Final = re.compile(r"hub-[a-z2-7]{16}")
_KEY_BYTES: Final = 10


def key_of(table: str, row_id: str) -> str:
    """Return the key of a row at every target."""
    digest = hashlib.sha256(f"{table}:{row_id}".encode()).digest()
    return f"hub-{b32encode(digest[:_KEY_BYTES]).decode().lower()}"
