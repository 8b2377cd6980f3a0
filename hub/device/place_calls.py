"""Calls of a hub about the places of approved rows (``places.manage``), which the owner grants.

Each change is shown at once: on the desktop, and by the messages of the device.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from anyio import to_thread

from hub.base.clock import Clock
from hub.device.connection import Tools
from hub.device.granted_calls import GrantedCalls
from hub.device.known_hubs import fingerprint
from hub.device.notices import show_notice
from hub.device.rows import CallRefusal
from protocol.errors import ErrorCode
from protocol.places import PlaceOrder, PlacesAnswer
from protocol.tool_calls import ToolCall

_DONE: Final = {"save": "set", "remove": "removed"}


class PlaceCalls(GrantedCalls):
    """Executor of the calls of one connection, one after the other. *hub*: its public key."""

    at_once = 1

    def __init__(
        self,
        settings: Path | None,
        db: Path,
        tools: Tools,
        clock: Clock,
        on_status: Callable[[str], None],
        hub: str,
    ) -> None:
        super().__init__(tools)
        self._settings, self._db, self._clock = settings, db, clock
        self._on_status, self._hub = on_status, f"the hub {fingerprint(hub)[:7]}"

    async def execute(self, call: ToolCall, granted: Mapping[str, Sequence[str]]) -> PlacesAnswer:
        from hub.device.sinks.place_book import PlaceBook

        if self._settings is None:
            raise CallRefusal(ErrorCode.CALL_UNSUPPORTED, "this device runs without device.toml")
        order = msgspec.convert(call.data, PlaceOrder)
        book = PlaceBook(self._settings, self._db, self._clock.now, self._hub)
        answer = await to_thread.run_sync(book.answer, order)
        if order.do in _DONE and not answer.problem:
            where = order.fields.place if order.fields else order.name
            message = f"{self._hub} {_DONE[order.do]} a place of approved items: {where}; see: hub places"
            self._on_status(message)
            await to_thread.run_sync(show_notice, message)
        return answer
