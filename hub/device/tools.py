"""Calls: tool_call in, a change in the device's file, tool_result out; and what else is asked of the file.

Calls queue up while the disk is busy, and all that wait are one transaction: the
disk is asked to sync once for them, and a reader of the socket never waits.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import anyio
from anyio import to_thread

from hub.device.configurations import Configuration
from hub.device.inserts import DeviceStore
from hub.device.messages import Reply
from hub.device.questions import Said
from hub.device.verdicts import Verdict
from hub.log import Channel
from protocol.errors import CATALOGUE, ErrorCode
from protocol.frame import MAX_PENDING_CALLS, ErrorBody
from protocol.handshake import Welcome
from protocol.versions import CapabilityName
from protocol.work import Action, Answer, ToolCall

ACTIONS: Final = {
    Action.INSERT: CapabilityName.TOOL_INSERT,
    Action.UPDATE: CapabilityName.TOOL_UPDATE,
    Action.DELETE: CapabilityName.TOOL_DELETE,
    Action.QUERY: CapabilityName.TOOL_QUERY,
    Action.REVIEW_SET: CapabilityName.REVIEW_SET,
    Action.FILE_GET: CapabilityName.FILE_GET,
    Action.FILE_PUT: CapabilityName.FILE_PUT,
    Action.AGENT_WAKE: CapabilityName.AGENT_WAKE,
    Action.MESSAGE_DELIVER: CapabilityName.MESSAGE_DELIVER,
    Action.USER_ASK: CapabilityName.USER_ASK,
    Action.ROWS_LIST: CapabilityName.ROWS_LIST,
    Action.ROWS_KNOWN: CapabilityName.ROWS_KNOWN,
}

T = TypeVar("T")

log = Channel(__name__)

AnswerSink = Callable[[ToolCall, Answer], Awaitable[None]]


class Tools:
    """Answers calls, one transaction after the other.

    Args:
        on_done: is told of each call that was done, for the person at the desktop.
    """

    def __init__(self, store: DeviceStore, *, on_done: Callable[[ToolCall], None] | None = None) -> None:
        self._store = store
        self._on_done = on_done or (lambda call: None)
        self._disk = anyio.CapacityLimiter(1)  # SQLite has one writer

    async def serve(self, bench: "Bench") -> None:
        """Answer what is laid on *bench* until cancelled. A transaction that began is ended, not torn."""
        while True:
            calls = await bench.take()
            for call, answer in zip(calls, await self._answers(calls), strict=True):
                if answer.error is None:
                    self._on_done(call)
                await bench.answer(call, answer)

    async def note_welcome(self, welcome: Welcome) -> str | None:
        """Remember how far the hub knows the file; a sentence for its owner where both are compared."""
        return await self._of_file(partial(self._store.note_welcome, welcome), None)

    async def is_changed(self, asker: str) -> bool:
        """Whether somebody else wrote into the file since *asker* asked last."""
        return await self._of_file(partial(self._store.is_changed, asker), False)

    async def unreported(self, most: int) -> list[Verdict]:
        """At most so many words of the owner that the hub has not confirmed."""
        return await self._of_file(partial(self._store.unreported, most), [])

    async def note_reported(self, told: Sequence[Verdict]) -> None:
        """The hub has confirmed these."""
        await self._of_file(partial(self._store.note_reported, told), None)

    async def unsaid_replies(self, most: int) -> list[Reply]:
        """At most so many answers to messages that the hub has not confirmed."""
        return await self._of_file(partial(self._store.unsaid_replies, most), [])

    async def note_reply(self, reply: Reply) -> None:
        """The hub has confirmed this answer, or takes none."""
        await self._of_file(partial(self._store.note_reply, reply), None)

    async def unsaid(self, most: int) -> list[Said]:
        """At most so many answers of the owner that the hub has not confirmed."""
        return await self._of_file(partial(self._store.unsaid, most), [])

    async def note_said(self, said: Said, *, counts: bool) -> None:
        """The hub has confirmed this answer, or has another one."""
        await self._of_file(partial(self._store.note_said, said, counts=counts), None)

    async def keep_configurations(self, told: Sequence[Configuration]) -> None:
        """Keep what the hub told of agents; what a failing disk lost, the next connection tells again."""
        await self._of_file(partial(self._store.keep_configurations, told), None)

    async def _of_file(self, ask: Callable[[], T], otherwise: T) -> T:
        """What the file says; *otherwise* while the disk fails: calls say so to the hub."""
        try:
            return await to_thread.run_sync(ask, limiter=self._disk)
        except sqlite3.Error as error:
            log.error("device.file.failed", exc=error, calls=0)
            return otherwise

    async def _answers(self, calls: list[ToolCall]) -> list[Answer]:
        doable = [call for call in calls if call.action in ACTIONS]
        try:
            done = iter(await to_thread.run_sync(self._store.apply, doable, limiter=self._disk))
        except Exception as error:
            log.error("device.file.failed", exc=error, calls=len(doable))
            # Not kept: the same calls may come again when the disk is well.
            is_disk = isinstance(error, sqlite3.Error)
            code = ErrorCode.DATABASE_UNAVAILABLE if is_disk else ErrorCode.INTERNAL
            return [refusal(code, str(error) if is_disk else "a fault in the device") for _ in calls]
        return [
            next(done)
            if call.action in ACTIONS
            else refusal(ErrorCode.CALL_UNSUPPORTED, f"this device does not do {call.action}")
            for call in calls
        ]


class Bench:
    """The calls of one connection that wait for their turn.

    Args:
        answer: takes an answer to the hub.
    """

    def __init__(self, answer: AnswerSink) -> None:
        self.answer = answer
        self._waiting: list[ToolCall] = []
        self._is_laid = anyio.Event()

    def lay(self, call: ToolCall) -> Answer | None:
        """Put *call* on the bench; never waits. The refusal when it is full: the hub was told how many."""
        if len(self._waiting) >= MAX_PENDING_CALLS:
            return refusal(ErrorCode.TOO_MANY_CALLS, f"{MAX_PENDING_CALLS} calls are open")
        self._waiting.append(call)
        self._is_laid.set()
        return None

    async def take(self) -> list[ToolCall]:
        """All that wait, in order; at least one."""
        await self._is_laid.wait()
        taken, self._waiting, self._is_laid = self._waiting, [], anyio.Event()
        return taken


def refusal(code: ErrorCode, message: str) -> Answer:
    """An answer that says no."""
    return Answer(error=ErrorBody(code=code, message=message, retryable=CATALOGUE[code].retryable))
