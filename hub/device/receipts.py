"""Receipts of hubs: checked and stored as they arrive.

A receipt whose connection broke is requested at the next one.
"""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec
from anyio import to_thread

from hub.device.connection import Line
from hub.device.credentials import is_signed
from hub.device.sending_log import SendingLog
from hub.log import Channel
from protocol.coordination import Method
from protocol.receipts import Receipt, receipt_text

log = Channel(__name__)

VERIFY: Final = "hub device log --verify"


class Listed(msgspec.Struct, frozen=True):
    """Receipt as the hub has it, with the hash that its entry in the audit log has now."""

    receipt: Receipt
    entry_hash: str | None = None


class _Page(msgspec.Struct, frozen=True):
    receipts: list[Listed]
    oldest: int
    newest: int


def is_genuine(receipt: Receipt, hub: str) -> bool:
    """Return True if the *hub* with this public key signed the receipt."""
    with suppress(ValueError):
        return receipt.hub == hub and is_signed(hub, receipt.signature, receipt_text(receipt))
    return False


class ReceiptBook:
    """Keeper of the receipts of one connection. *hub*: public key of the hub."""

    def __init__(self, sending_log: SendingLog, hub: str, on_status: Callable[[str], None]) -> None:
        self._log = sending_log
        self._hub = hub
        self._on_status = on_status

    async def keep(self, receipt: Receipt) -> None:
        """Check and store a receipt, and report one that differs from the log."""
        if not is_genuine(receipt, self._hub):
            log.error("device.receipt.forged", run_id=receipt.run_id)
            self._on_status(f"run {receipt.run_id}: the receipt is not signed by this hub, and not kept")
            return
        try:
            is_same = await to_thread.run_sync(self._log.keep, receipt)
        except sqlite3.Error as error:  # requested again at the next connection
            log.error("device.receipt.not_kept", exc=error)
            return
        if receipt.is_whole and not is_same:
            log.error("device.receipt.differs", run_id=receipt.run_id, files=receipt.files)
            self._on_status(
                f"run {receipt.run_id}: the hub's receipt is about other files than were sent: {VERIFY}"
            )

    async def request_lost(self, line: Line) -> None:
        """Request the receipts that earlier connections did not bring."""
        with suppress(sqlite3.Error, msgspec.ValidationError):
            if ids := await to_thread.run_sync(self._log.lacking, self._hub):
                response = await line.request(Method.RECEIPTS_LIST, {"ids": ids})
                if response is not None and response.result is not None:
                    for listed in msgspec.convert(response.result, _Page).receipts:
                        await self.keep(listed.receipt)
