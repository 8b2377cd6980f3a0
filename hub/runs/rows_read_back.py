"""Detection of delivered rows in texts that agents read, so that no row is suggested again.

A row is recognized by its key, which is computed from the items of its user: whatever becomes of an item,
its row stays known. The key of another user's row counts as text: a row in a calendar that people share, or
in a mail of a colleague, is news here. No sender can hide a text by a key that no device of the user has.
"""

from collections.abc import Callable, Collection
from typing import Final, NamedTuple

import anyio.to_thread
import msgspec

from hub.base.clock import Clock, epoch_ms
from hub.document import Document
from hub.text.files import HTML, media_type_of
from hub.text.rows.row_keys import ROW_KEY, key_of
from protocol.ids import UserId
from protocol.items import ProvenanceOrigin
from storage.runs.items import rows_of_user
from storage.store import Store

MAX_USERS: Final = 16  # whose keys are cached
FRESH_S: Final = 1.0  # the keys of new rows of a user are read at most once in this time
FULL_S: Final = 60.0  # those of all rows: devices report earlier changes, too, once a hub was restored
OVERLAP_MS: Final = 10_000  # a change is stored some time after it was dated
# Replaces the rows with these keys in a text of a path by blanks; True: the text is one entry of a service.
Blanking = Callable[[str, str, Collection[str], bool], str]


class _Keys(NamedTuple):
    """Keys of a user's rows, and when new ones and all were read, by the monotonic clock and in epoch ms."""

    keys: frozenset[str] = frozenset()
    new_at: float = float("-inf")
    all_at: float = float("-inf")
    new_ms: int = 0


class OwnRows:
    """Rows of the devices of users."""

    def __init__(self, store: Store, clock: Clock, blanking: Blanking) -> None:
        self._store = store
        self._clock = clock
        self._blanking = blanking
        self._keys: dict[UserId, _Keys] = {}

    async def blank(self, user_id: UserId, document: Document) -> Document:
        """Return a document with the rows of the user's devices as blanks; places of other text stay."""
        if "hub-" not in document.text:
            return document
        named = frozenset(await anyio.to_thread.run_sync(ROW_KEY.findall, document.text))
        own = named & await self._keys_of(user_id, named) if named else named
        if not own:
            return document
        is_page = HTML in (document.media_type, media_type_of(document.unit_key))  # with text of others
        is_entry = getattr(document.provenance, "origin", None) is ProvenanceOrigin.WEB and not is_page
        text = await anyio.to_thread.run_sync(self._blanking, document.text, document.unit_key, own, is_entry)
        return msgspec.structs.replace(document, text=text)

    async def _keys_of(self, user_id: UserId, named: Collection[str]) -> frozenset[str]:
        """Return the keys of the user's rows; new ones are read if one of *named* is not among them."""
        now, at_ms = self._clock.monotonic(), epoch_ms(self._clock.now())
        known = self._keys.get(user_id, _Keys())
        if not known.keys.issuperset(named) and now - known.new_at >= FRESH_S:
            reads_all = now - known.all_at >= FULL_S
            since_ms = 0 if reads_all else known.new_ms - OVERLAP_MS
            new = await self._store.read(
                lambda c: {key_of(table, row_id) for table, row_id in rows_of_user(c, user_id, since_ms)}
            )
            known = _Keys(known.keys | new, now, now if reads_all else known.all_at, at_ms)
            self._keys[user_id] = known
            if len(self._keys) > MAX_USERS:
                del self._keys[next(iter(self._keys))]
        return known.keys
