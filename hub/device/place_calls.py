"""Calls of a hub about the places of approved rows (``places.manage``), which the owner grants.

Each change is shown at once: on the desktop, and by the messages of the device.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Final

import msgspec
from anyio import move_on_after, to_thread

from hub.base.clock import Clock
from hub.device.connection import Tools
from hub.device.granted_calls import GrantedCalls
from hub.device.known_hubs import fingerprint
from hub.device.notices import show_notice
from hub.device.rows import CallRefusal
from protocol.errors import ErrorCode
from protocol.owner_grants import OwnerGrant
from protocol.places import PlaceOrder, PlacesAnswer
from protocol.tool_calls import ToolCall

MAX_TEST_S: Final = 20.0  # below the deadline of the hub
GRACE_S: Final = 2.0  # for a test to end by itself
_DONE: Final = {"save": "set", "remove": "removed"}


class PlaceCalls(GrantedCalls):
    """Executor of the calls of one connection: a change or test, and lists beside it. *hub*: its key."""

    at_once = 3

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
        self._test_slot = Lock()  # released by the thread of a test, which may outlast its call
        self._on_status, self._hub = on_status, f"the hub {fingerprint(hub)[:7]}"

    async def execute(self, call: ToolCall, granted: Mapping[str, Sequence[str]]) -> PlacesAnswer:
        from hub.device.sinks.place_book import PlaceBook

        if self._settings is None:
            raise CallRefusal(ErrorCode.CALL_UNSUPPORTED, "this device runs without device.toml")
        order = msgspec.convert(call.data, PlaceOrder)
        end = self._clock.monotonic() + min(MAX_TEST_S, call.deadline_ms / 1_000)
        book = PlaceBook(
            self._settings,
            self._db,
            self._clock.now,
            self._hub,
            is_late=lambda: self._clock.monotonic() >= end,
            readable=granted.get(OwnerGrant.ROWS_READ, ()),
        )
        if order.do == "list":
            return await to_thread.run_sync(book.answer, order)

        def carry_out() -> PlacesAnswer:
            if not self._test_slot.acquire(blocking=False):
                raise CallRefusal(ErrorCode.TOO_MANY_CALLS, "another place is tested now")
            try:
                return book.answer(order)
            finally:
                self._test_slot.release()

        answer = PlacesAnswer(problem="the server answers too slowly", about="place")
        with move_on_after(end + GRACE_S - self._clock.monotonic()):
            answer = await to_thread.run_sync(carry_out, abandon_on_cancel=True)
        if order.do in _DONE and not answer.problem:
            where = order.fields.place if order.fields else order.name
            message = f"{self._hub} {_DONE[order.do]} a place of approved items: {where}; see: hub places"
            self._on_status(message)
            await to_thread.run_sync(show_notice, message)
        return answer
