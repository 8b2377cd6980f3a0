"""Connection to a hub: the hub's calls, and the frames that are sent.

Calls of the hub: changes of the device's file in transactions, and other accesses to the file.

Calls queue up while the disk is busy, and all waiting calls form one transaction with a single sync to disk.
The socket's reader never waits.

Outgoing side of one open connection: frames of all senders, in order.

Only one task writes. A sender queues its frame and may wait until it is written; a cancelled wait neither
truncates nor repeats a frame.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import anyio
from anyio import to_thread
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from hub.device.configurations import Configuration
from hub.device.inserts import DeviceStore
from hub.device.messages import Reply
from hub.device.questions import OwnerAnswer
from hub.device.verdicts import Verdict
from hub.log import Channel
from protocol.device_session import DeviceSession
from protocol.errors import CATALOGUE, ErrorCode, LocalProtocolError
from protocol.frame import MAX_PENDING_CALLS, ErrorBody, Frame
from protocol.handshake import CapabilityName, Welcome
from protocol.ids import CallId
from protocol.session import SessionState
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


AnswerSink = Callable[[ToolCall, Answer], Awaitable[None]]


class Tools:
    """Executor of calls, one transaction after the other.

    Args:
        on_done: called after each executed call, to inform the person at the desktop.
    """

    def __init__(self, store: DeviceStore, *, on_done: Callable[[ToolCall], None] | None = None) -> None:
        self._store = store
        self._on_done = on_done or (lambda call: None)
        self._disk = anyio.CapacityLimiter(1)  # SQLite has one writer

    async def serve(self, bench: "Bench") -> None:
        """Execute the calls on *bench* until cancelled. A started transaction is always completed."""
        while True:
            calls = await bench.take()
            for call, answer in zip(calls, await self._answers(calls), strict=True):
                if answer.error is None:
                    self._on_done(call)
                await bench.answer(call, answer)

    async def note_welcome(self, welcome: Welcome) -> str | None:
        """Store the counter up to which the hub knows this file. Return a message for the owner, or None."""
        return await self._of_file(partial(self._store.note_welcome, welcome), None)

    async def is_changed(self, asker: str) -> bool:
        """Return True if another connection wrote to the file since the last call by *asker*."""
        return await self._of_file(partial(self._store.is_changed, asker), False)

    async def unreported(self, most: int) -> list[Verdict]:
        """Return at most *most* verdicts of the owner that the hub has not confirmed."""
        return await self._of_file(partial(self._store.unreported, most), [])

    async def note_reported(self, report: Sequence[Verdict]) -> None:
        """Mark verdicts as confirmed by the hub."""
        await self._of_file(partial(self._store.note_reported, report), None)

    async def unreported_replies(self, most: int) -> list[Reply]:
        """Return at most *most* replies to messages that the hub has not confirmed as received."""
        return await self._of_file(partial(self._store.unreported_replies, most), [])

    async def note_reply(self, reply: Reply) -> None:
        """Mark an answer to a message as confirmed, or as refused by the hub."""
        await self._of_file(partial(self._store.note_reply, reply), None)

    async def unreported_answers(self, most: int) -> list[OwnerAnswer]:
        """Return at most *most* answers of the owner that the hub has not confirmed."""
        return await self._of_file(partial(self._store.unreported_answers, most), [])

    async def note_answer(self, answer: OwnerAnswer, *, counts: bool) -> None:
        """Mark an answer to a question as confirmed, or as superseded by another answer."""
        await self._of_file(partial(self._store.note_answer, answer, counts=counts), None)

    async def keep_configurations(self, received: Sequence[Configuration]) -> None:
        """Store configurations of agents; after a disk failure, the next connection receives them again."""
        await self._of_file(partial(self._store.keep_configurations, received), None)

    async def _of_file(self, ask: Callable[[], T], otherwise: T) -> T:
        """Run *ask* in a thread; return *otherwise* if the disk fails, as the hub learns that from calls."""
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
            # Not stored: the hub may send the same calls again later.
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
    """Pending calls of one connection.

    Args:
        answer: sends an answer to the hub.
    """

    def __init__(self, answer: AnswerSink) -> None:
        self.answer = answer
        self._waiting: list[ToolCall] = []
        self._is_laid = anyio.Event()

    def lay(self, call: ToolCall) -> Answer | None:
        """Queue *call*; never blocks. Return a refusal if the limit that the hub knows is reached."""
        if len(self._waiting) >= MAX_PENDING_CALLS:
            return refusal(ErrorCode.TOO_MANY_CALLS, f"{MAX_PENDING_CALLS} calls are open")
        self._waiting.append(call)
        self._is_laid.set()
        return None

    async def take(self) -> list[ToolCall]:
        """Wait for calls and return all pending ones, in order."""
        await self._is_laid.wait()
        taken, self._waiting, self._is_laid = self._waiting, [], anyio.Event()
        return taken


def refusal(code: ErrorCode, message: str) -> Answer:
    """Return the answer that refuses a call."""
    return Answer(error=ErrorBody(code=code, message=message, retryable=CATALOGUE[code].retryable))


log = Channel(__name__)


class Line:
    """Sender of frames for a session in state READY. In another state, senders block until cancelled."""

    def __init__(self, session: DeviceSession, socket: ClientConnection) -> None:
        self._session = session
        self._socket = socket
        self._has_more = anyio.Event()
        self._is_written = anyio.Event()

    @property
    def welcome(self) -> Welcome:
        """Welcome of the hub."""
        if self._session.welcome is None:
            raise LocalProtocolError("there is no welcome yet")
        return self._session.welcome

    async def send(self, frame: Frame) -> None:
        """Queue *frame* and wait until the socket accepted it.

        Raises:
            LocalProtocolError: the frame exceeds the hub's limit; nothing was sent.
        """
        await self._until_ready()
        self._session.send(frame)
        await self._until_written()

    async def answer(self, call: ToolCall, answer: Answer) -> None:
        """Send the answer to a call; an answer that cannot be encoded becomes a refusal."""
        await self._until_ready()
        call_id = CallId(call.id)
        try:
            self._session.answer(call_id, answer, trace=call.trace)
        except LocalProtocolError as error:
            log.error("device.answer.unspeakable", exc=error, call_id=call_id)
            fault = refusal(ErrorCode.INTERNAL, "a fault in the device")
            self._session.answer(call_id, fault, trace=call.trace)
        await self._until_written()

    def wake(self) -> None:
        """Wake the writer, because the session itself has queued data."""
        self._has_more.set()

    async def write(self) -> None:
        """Write queued frames until the connection is closed."""
        try:
            while True:
                await self._has_more.wait()
                await self.flush()
        except ConnectionClosed:
            return  # the reader detects the same end and reports the reason

    async def flush(self) -> None:
        """Write the frames that are queued now."""
        self._has_more = anyio.Event()
        written, self._is_written = self._is_written, anyio.Event()
        for data in self._session.data_to_send():
            await self._socket.send(data, text=self._session.codec.is_text)
        written.set()

    async def _until_ready(self) -> None:
        if self._session.state is not SessionState.READY:
            await anyio.sleep_forever()  # the connection's end cancels this task

    async def _until_written(self) -> None:
        self._has_more.set()
        await self._is_written.wait()
