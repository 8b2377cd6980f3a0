"""Receipts to devices in the database: numbering, link to the previous one, and lists of files.

The receipts of a device are numbered, and each names the one before it. Each has an entry in the audit log,
written in the same transaction, which also keeps the device's own signed statement.
"""

import zlib
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from protocol.ids import DeviceId
from protocol.receipts import Receipt, SentFile, digest_of, receipt_text
from protocol.work import MAX_IDS
from storage import audit
from storage.kernel.columns import readable, reader
from storage.schema import audit_log, receipts

MADE: Final = "receipt.made"  # event of its entry in the audit log
_FAST: Final = 1  # level of zlib: most of a list is digests, which no level makes smaller

_of_device = receipts.c.device_id == sa.bindparam("device")
NEWEST = (
    sa.select(receipts.c.number, receipts.c.digest)
    .where(_of_device)
    .order_by(receipts.c.number.desc())
    .limit(1)
)
LISTED = sa.select(receipts.c.receipt).where(_of_device).order_by(receipts.c.number)
HASHES = sa.select(audit_log.c.seq, audit_log.c.hash).where(
    audit_log.c.seq.in_(sa.bindparam("numbers", expanding=True))
)
FILES = sa.select(receipts.c.files).where(_of_device, receipts.c.id == sa.bindparam("receipt"))


class ListedReceipt(msgspec.Struct, frozen=True):
    """Stored receipt, with the hash that its entry in the audit log has now; None: it was pruned."""

    receipt: Receipt
    entry_hash: str | None


def packed(files: Sequence[SentFile]) -> bytes:
    """Return sorted files as they are stored: some 40 bytes each."""
    return zlib.compress(msgspec.msgpack.encode(files), _FAST)


def add_receipt(
    c: sa.Connection,
    receipt: Receipt,
    files: bytes,
    *,
    detail: audit.Detail,
    sign: Callable[[bytes], str],
) -> Receipt:
    """Store a receipt with the next number of its device, and an entry in the audit log; return it signed.

    Args:
        files: the list that the receipt is about, as ``packed``.
        detail: further details of the entry: the device's own statement.
    """
    device_id, at = receipt.device_id, receipt.at_ms
    about: dict[str, str | int | bool | None] = {
        **{"run": receipt.run_id, "files": receipt.files, "bytes": receipt.bytes, "root": receipt.root},
        **detail,
    }
    # The entry first: it locks the chain, and with it the numbers of receipts.
    seq = audit.append(c, at=at, actor=f"device:{device_id}", event=MADE, subject=receipt.id, detail=about)
    number, previous = c.execute(NEWEST, {"device": device_id}).one_or_none() or (0, "")
    entry_hash = _hashes(c, [seq])[seq]
    receipt = replace(receipt, number=number + 1, previous=previous, entry=seq, entry_hash=entry_hash)
    receipt = replace(receipt, signature=sign(receipt_text(receipt)))
    row = {"id": receipt.id, "device_id": device_id, "number": receipt.number, "at": at, "files": files}
    spelled = msgspec.json.encode(receipt).decode()
    c.execute(sa.insert(receipts), row | {"digest": digest_of(receipt), "receipt": spelled})
    return receipt


def list_receipts(
    c: sa.Connection,
    device_id: DeviceId,
    *,
    since: int = 0,
    after: int = 0,
    ids: Collection[str] = (),
    limit: int = MAX_IDS,
) -> list[ListedReceipt]:
    """Return receipts of a device by number, without unreadable ones.

    Args:
        since: epoch milliseconds.
        after: number of the last receipt of the previous page.
        ids: only these, if there are any.
    """
    query = LISTED.where(receipts.c.at >= since, receipts.c.number > after).limit(limit)
    if ids:
        query = query.where(receipts.c.id.in_(ids))
    found = readable(_receipt, c.execute(query, {"device": device_id}).scalars())
    now = _hashes(c, [receipt.entry for receipt in found])
    return [ListedReceipt(receipt, now.get(receipt.entry)) for receipt in found]


def find_files(c: sa.Connection, device_id: DeviceId, receipt_id: str) -> list[SentFile]:
    """Return the list of files of a receipt; empty if the receipt is not kept.

    Raises:
        UnreadableRow: the list was changed by another program, so that it is none.
    """
    found = c.execute(FILES, {"device": device_id, "receipt": receipt_id}).scalar_one_or_none()
    return [] if found is None else unpacked(found)


@reader
def _receipt(spelled: str) -> Receipt:
    return msgspec.json.decode(spelled, type=Receipt)


@reader
def unpacked(files: Any) -> list[SentFile]:
    """Return files that were stored as ``packed``. Raises UnreadableRow."""
    try:
        return msgspec.msgpack.decode(zlib.decompress(files), type=list[SentFile])
    except zlib.error as error:
        raise ValueError(str(error)) from error


def _hashes(c: sa.Connection, numbers: Sequence[int]) -> dict[int, str]:
    """Return the hashes of entries of the audit log."""
    return {seq: bytes(found).hex() for seq, found in c.execute(HASHES, {"numbers": list(numbers)})}
