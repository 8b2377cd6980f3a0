"""Requests of devices for their own receipts about files that they sent."""

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from hub.api.device import Link
from hub.api.resource import (
    Resource,
    device,
)
from hub.base.clock import Clock, now_ms
from protocol.coordination import Method
from protocol.receipts import SentFile
from protocol.work import MAX_IDS, MAX_PAGE_BYTES
from storage.devices import receipts
from storage.effects import retention
from storage.store import Store

Count = Annotated[int, Meta(ge=0, le=2**53)]


ReceiptId = Annotated[str, Meta(min_length=1, max_length=128)]


ReceiptIds = Annotated[list[ReceiptId], Meta(max_length=MAX_IDS)]


FILE_BYTES: Final = 100  # of a file in a response, without its path


class ReceiptsResource(Resource):
    """Receipts of devices about the files that they sent, as the hub has them now."""

    name = "receipts"

    def __init__(self, store: Store, clock: Clock, retention_days: Callable[[], int]) -> None:
        self._store = store
        self._clock = clock
        self._retention_days = retention_days

    @device(Method.RECEIPTS_LIST, "its own receipts")
    async def list_receipts(
        self, link: Link, ids: ReceiptIds | None = None, since_ms: Count = 0, after: Count = 0
    ) -> dict[str, Any]:
        """List receipts by number, at most 100: those of *ids*, or the next ones *after* a number.

        Older ones than *expired_ms* were deleted.
        """
        found = await self._store.read(
            receipts.list_receipts, link.device_id, since=since_ms, after=after, ids=ids or ()
        )
        expired_ms = now_ms(self._clock) - self._retention_days() * retention.DAY_MS
        return {"receipts": msgspec.to_builtins(found), "expired_ms": max(0, expired_ms)}

    @device(Method.RECEIPTS_GET, "its own receipts")
    async def list_files(self, link: Link, ids: ReceiptIds, after: Count = 0) -> dict[str, Any]:
        """List the files of receipts by path, as far as they fit: path, bytes and SHA-256 of each.

        Args:
            after: files of the first receipt that an earlier page had.
        """
        lists: list[dict[str, Any]] = []
        room = MAX_PAGE_BYTES
        for id in ids:
            files = await self._store.read(receipts.find_files, link.device_id, id)
            page: list[SentFile] = []
            for file in files[after:]:
                if (page or lists) and room <= 0:
                    break
                room -= len(file[0].encode()) + FILE_BYTES
                page.append(file)
            is_whole = after + len(page) == len(files)
            lists.append({"id": id, "files": page, "is_whole": is_whole})
            if not is_whole:
                break
            after = 0
        return {"lists": lists}
