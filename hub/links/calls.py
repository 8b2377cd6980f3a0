"""Calls that a device has not answered yet.

One ``PendingCalls`` belongs to one connection. When the connection ends, all of its open calls end at once
with the reason.

A call is registered before its frame is sent, because the answer may arrive while sending. It is removed at
the end of its block. An answer to a call that is not open is reported to the caller of ``settle``, and
changes nothing.
"""

import asyncio
from collections.abc import Generator
from types import TracebackType
from typing import Any

from hub.links.deadlines import DeadlineWheel, Slot
from protocol.errors import CallTimedOut, DeviceGone, LocalProtocolError, TooManyCalls
from protocol.frame import MAX_PENDING_CALLS
from protocol.ids import CallId
from protocol.work import Answer


class PendingCall:
    """An open call inside its ``with`` block. Await it for the answer.

    Raises, when awaited:
        CallTimedOut: the deadline passed.
        DeviceGone: the connection ended after the frame was handed over.
    """

    __slots__ = ("_calls", "_future", "_slot", "_timeout_s", "call_id")

    def __init__(self, calls: "PendingCalls", call_id: CallId, timeout_s: float) -> None:
        self._calls = calls
        self._timeout_s = timeout_s
        self.call_id = call_id

    def __enter__(self) -> "PendingCall":
        self._slot, self._future = self._calls._admit(self, self._timeout_s)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._slot.discard(self)
        self._calls._open.pop(self.call_id, None)
        if self._future.done() and error is not None and not self._future.cancelled():
            self._future.exception()  # mark the exception as retrieved, so that asyncio does not log it

    def __await__(self) -> Generator[Any, None, Answer]:
        return self._future.__await__()

    def run_late(self) -> None:
        """Fail the call because its deadline has passed; called by the wheel."""
        self.fail(CallTimedOut(f"call {self.call_id}: no answer within {self._timeout_s:g} s"))

    def fail(self, error: Exception) -> None:
        """End the call with an error instead of an answer."""
        if not self._future.done():
            self._future.set_exception(error)


class PendingCalls:
    """Open calls of one connection, by id."""

    __slots__ = ("_ended", "_loop", "_most", "_open", "_wheel")

    def __init__(self, wheel: DeadlineWheel, *, most: int = MAX_PENDING_CALLS) -> None:
        self._wheel = wheel
        self._loop = asyncio.get_running_loop()  # cached, because the lookup costs a system call
        self._most = most
        self._open: dict[CallId, PendingCall] = {}
        self._ended: str | None = None

    def __len__(self) -> int:
        return len(self._open)

    def expect(self, call_id: CallId, timeout_s: float) -> PendingCall:
        """Return a ``with`` block in which the answer to *call_id* can be awaited.

        Raises, on entering:
            TooManyCalls: the limit of open calls is reached.
            DeviceGone: the connection has ended; ``dispatched`` is False.
            LocalProtocolError: a call with this id is open on this connection already.
        """
        return PendingCall(self, call_id, timeout_s)

    def settle(self, call_id: CallId, answer: Answer) -> bool:
        """Deliver *answer* to its call. Return False if no open call has this id."""
        call = self._open.get(call_id)
        if call is None or call._future.done():
            return False
        call._future.set_result(answer)
        return True

    def end(self, reason: str) -> None:
        """Fail all open calls because the connection has ended, and refuse new calls."""
        if self._ended is not None:
            return
        self._ended = reason
        for call in self._open.values():
            call.fail(DeviceGone(f"call {call.call_id}: the connection ended ({reason})", dispatched=True))

    def _admit(self, call: PendingCall, timeout_s: float) -> "tuple[Slot, asyncio.Future[Answer]]":
        if self._ended is not None:
            raise DeviceGone(f"the connection ended ({self._ended})", dispatched=False)
        if call.call_id in self._open:
            raise LocalProtocolError(f"call {call.call_id} is open on this connection already")
        if len(self._open) >= self._most:
            raise TooManyCalls(f"{self._most} calls are open; none is sent until one is settled")
        self._open[call.call_id] = call
        return self._wheel.add_after(call, timeout_s), self._loop.create_future()
