"""Sending of receipts to devices about the files that arrived in one reading.

A device that lists the capability gets a receipt for every reading in which a file arrived, even if it was
cut off. A receipt that was lost with a connection is requested later, so that nothing is sent twice here.
"""

from contextlib import suppress
from typing import Final

import anyio
import anyio.to_thread
from anyio import to_thread

from hub.base.clock import Clock, IdFactory, now_ms
from hub.base.log import Channel
from hub.links.device_keys import BadProof, check_signature
from hub.links.device_link import DeviceLink
from hub.links.hub_key import HubKey
from protocol import keys
from protocol.capabilities import CapabilityName
from protocol.errors import DeliveryError, LocalProtocolError
from protocol.receipts import Receipt, Sent, SentFile, root_of, sent_text, sorted_files
from protocol.work import MAX_FILES, AgentComplete, AgentReceipt, FilePiece
from storage.audit import Detail
from storage.devices import receipts
from storage.kernel.database import StorageError
from storage.store import Store

log = Channel(__name__)

WRITTEN_WITHIN_S: Final = 10.0  # of a receipt; also while the hub stops


class ReceivedFiles:
    """Files of one reading whose last piece has arrived, whatever becomes of them."""

    def __init__(self) -> None:
        self.files: list[SentFile] = []
        self.end: AgentComplete | None = None
        self._open: dict[str, int] = {}  # bytes by path, of files without their last piece

    def add(self, piece: FilePiece) -> None:
        """Count a piece."""
        size = (self._open.pop(piece.path, 0) if piece.piece else 0) + len(piece.content.encode())
        if piece.piece + 1 < piece.pieces:
            self._open[piece.path] = size
        elif len(self.files) < MAX_FILES:
            self.files.append((piece.path, size, piece.sha256 or ""))


class ReceiptSender:
    """Giver of receipts, for devices that list the capability."""

    def __init__(self, store: Store, key: HubKey, *, clock: Clock, ids: IdFactory) -> None:
        self._store = store
        self._key = key
        self._clock = clock
        self._ids = ids

    def promise(self, link: DeviceLink) -> str | None:
        """Return the id of the receipt of a reading that begins, or None for a device that keeps none."""
        return self._ids.fresh() if link.can(CapabilityName.AGENT_RECEIPT) else None

    async def give(self, link: DeviceLink, receipt_id: str, run_id: str, received: ReceivedFiles) -> None:
        """Write and send the receipt of a reading; also after its end by a cancellation."""
        sent = None if received.end is None else received.end.sent
        if not received.files and sent is None:
            return
        with anyio.move_on_after(WRITTEN_WITHIN_S, shield=True):
            files = await to_thread.run_sync(sorted_files, received.files)
            packed = await to_thread.run_sync(receipts.packed, files)
            receipt = Receipt(
                id=receipt_id,
                hub=self._key.public_key,
                device_id=link.device_id,
                run_id=run_id,
                number=0,
                at_ms=now_ms(self._clock),
                files=len(files),
                bytes=sum(size for _, size, _ in files),
                root=await to_thread.run_sync(root_of, files),
                is_whole=received.end is not None and received.end.error is None,
                previous="",
                entry=0,
                entry_hash="0" * 64,
                signature="",
            )
            detail = self._statement(link, receipt, sent)
            try:
                receipt = await self._store.write(
                    receipts.add_receipt, receipt, packed, detail=detail, sign=self._key.sign
                )
            except StorageError as error:
                log.warning("receipt.not_written", code=error.code, run_id=run_id)
                return
            with suppress(DeliveryError, LocalProtocolError):  # requested again at the next connection
                await link.send(AgentReceipt(receipt=receipt))

    def _statement(self, link: DeviceLink, receipt: Receipt, sent: Sent | None) -> Detail:
        """Return what the device states about the same files, as details of the entry in the audit log."""
        if sent is None:
            return {}
        detail: dict[str, str | int] = {}
        if sent.root != receipt.root:
            log.warning("receipt.differs", run_id=receipt.run_id, at_device=sent.files, here=receipt.files)
            detail = {"device_files": sent.files, "device_bytes": sent.bytes, "device_root": sent.root}
        if sent.public_key is None or sent.signature is None:
            return detail
        try:
            public = keys.decode(sent.public_key, keys.PUBLIC_KEY_BYTES)
            if link.credential != f"key:{keys.key_id(public)}":
                raise BadProof("another key than that of the connection")
            check_signature(public, sent.signature, sent_text(receipt.hub, receipt.id, sent))
        except (ValueError, BadProof) as error:
            log.warning("receipt.not_signed", run_id=receipt.run_id, why=str(error))
            return detail
        return detail | {"device_key": sent.public_key, "device_signature": sent.signature}
