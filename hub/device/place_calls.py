"""Calls of a hub about the places of approved rows (``places.manage``), which the owner grants.

Each change is shown at once: on the desktop, and by the messages of the device.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio
import msgspec
from anyio import to_thread

from hub.base.clock import Clock
from hub.base.log import Channel
from hub.device.connection import HubConnection, Tools, refusal
from hub.device.device_file import DeviceStore
from hub.device.known_hubs import fingerprint
from hub.device.notices import show_notice
from protocol.errors import ErrorCode
from protocol.owner_grants import refused_by_owner
from protocol.places import PlaceOrder
from protocol.tool_calls import Answer, ToolCall

_DONE: Final = {"save": "set", "remove": "removed"}

log = Channel(__name__)


class PlaceCalls:
    """Executor of the calls of one connection, one after the other. *hub*: its public key."""

    def __init__(
        self,
        settings: Path | None,
        db: Path,
        tools: Tools,
        clock: Clock,
        on_status: Callable[[str], None],
        hub: str,
    ) -> None:
        self._settings, self._db, self._tools, self._clock = settings, db, tools, clock
        self._on_status, self._hub = on_status, f"the hub {fingerprint(hub)[:7]}"
        self._one = anyio.Semaphore(1)

    async def handle_call(self, line: HubConnection, call: ToolCall) -> None:
        """Execute a call, and answer it."""
        try:
            self._one.acquire_nowait()
        except anyio.WouldBlock:
            await line.answer([(call, refusal(ErrorCode.TOO_MANY_CALLS, "another place is tested"))])
            return
        try:
            answer = await self._answer(call)
        finally:
            self._one.release()
        await line.answer([(call, answer)])

    async def _answer(self, call: ToolCall) -> Answer:
        from hub.device.sinks.place_book import PlaceBook

        granted = await self._tools.on_file(DeviceStore.granted, otherwise=dict[str, list[str]]())
        if (why := refused_by_owner(call, granted)) is not None:
            return refusal(ErrorCode.NOT_GRANTED, why)
        if self._settings is None:
            return refusal(ErrorCode.CALL_UNSUPPORTED, "this device runs without device.toml")
        try:
            order = msgspec.convert(call.data, PlaceOrder)
            book = PlaceBook(self._settings, self._db, self._clock.now, self._hub)
            answer = await to_thread.run_sync(book.answer, order)
        except msgspec.ValidationError as error:
            return refusal(ErrorCode.BAD_PARAMS, str(error))
        except Exception as error:  # a failing call must not stop the device
            log.error("device.run.failed", exc=error)
            return refusal(ErrorCode.INTERNAL, "a fault in the device")
        if order.do in _DONE and not answer.problem:
            where = order.fields.place if order.fields else order.name
            message = f"{self._hub} {_DONE[order.do]} a place of approved items: {where}; see: hub places"
            self._on_status(message)
            await to_thread.run_sync(show_notice, message)
        return Answer(result=answer)
