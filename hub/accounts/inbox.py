"""Webhook posts for the connector that reads them."""

from collections.abc import Sequence

from hub.clock import Clock, epoch_ms, from_epoch_ms
from hub.connectors.connector import Posted
from storage.runs import posted
from storage.store import Store


class PostedInbox:
    """Unsettled posts to one connector; the bodies of settled posts are deleted."""

    def __init__(self, store: Store, connector_id: str, *, clock: Clock) -> None:
        self._store = store
        self._connector_id = connector_id
        self._clock = clock

    async def waiting(self, after: str, most: int) -> Sequence[Posted]:
        """Implement ``Inbox.waiting``."""
        at = epoch_ms(self._clock.now())
        rows = await self._store.write(
            posted.settle_and_list, self._connector_id, after=after, most=most, at=at
        )
        return [
            Posted(
                id=row.id,
                key=posted.message_key_of(row.key),
                received_at=from_epoch_ms(row.received_at),
                media_type=row.media_type,
                event=row.event,
                body=row.body,
            )
            for row in rows
        ]
