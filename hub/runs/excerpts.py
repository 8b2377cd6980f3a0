"""Excerpts of documents around the quotes of items, sealed until the items' owners decide."""

import anyio.to_thread

from hub.accounts.keys import BadKeys, Keyring, KeyStore, NotOpened
from hub.document import Document
from hub.log import Channel
from hub.text.excerpt import Excerpt, Excerpts
from storage.runs.items import ItemRow, SealedExcerpt
from storage.runs.plans import Seal

log = Channel(__name__)


class ExcerptSeals:
    """Seals excerpts by the keys of this node, and opens them."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    def of(self, document: Document) -> Seal:
        """Return a function that seals the excerpt of an item of a document; None without a usable key."""
        excerpts = Excerpts(document.text)
        ring: Keyring | None = None

        def seal(item: ItemRow) -> SealedExcerpt | None:
            nonlocal ring
            source = item.source or {}
            if item.unit_key != document.unit_key or source.get("sha256") != document.content_hash:
                return None  # of another text
            try:
                ring = ring or self._keys.ring_now()
            except BadKeys as error:
                log.warning("excerpt.not_sealed", why=str(error))
                return None
            key_id, sealed = ring.seal(
                excerpts.around(source["start"], source["end"]), row=item.id, owner=item.id
            )
            return SealedExcerpt(item.id, key_id, sealed)

        return seal

    async def open(self, found: SealedExcerpt | None) -> Excerpt | None:
        """Return an excerpt; None if there is none, or this node cannot open it."""
        if found is None:
            return None
        try:
            ring = await anyio.to_thread.run_sync(self._keys.ring_now)
            id = found.item_id
            return ring.open(found.sealed, Excerpt, row=id, owner=id, key_id=found.key_id)
        except (BadKeys, NotOpened) as error:
            log.warning("excerpt.not_opened", item_id=found.item_id, why=str(error))
            return None
