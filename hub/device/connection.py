"""Frames of a connected device: queued calls of the hub, transactions, and outgoing requests.

Calls queue up while the disk is busy, and all waiting calls form one transaction with a single sync to disk.
The socket's reader never waits.

Frames of all senders leave in order. Only one task writes. A sender queues its frame and may wait until it is
written; a cancelled wait neither truncates nor repeats a frame.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar, TypeVarTuple

import anyio
from anyio import to_thread
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from hub.base.log import Channel
from hub.device.device_file import DeviceStore
from protocol.capabilities import CapabilityName
from protocol.coordination import Method, Request, Response
from protocol.errors import CATALOGUE, ErrorCode, LocalProtocolError
from protocol.frame import MAX_PENDING_CALLS, ErrorBody, Frame, Parameters
from protocol.handshake import Welcome
from protocol.ids import CallId
from protocol.session import DeviceSession, SessionState
from protocol.tool_calls import Action, Answer, ToolCall

ACTIONS: Final = {
    Action.INSERT: CapabilityName.TOOL_INSERT,
    Action.UPDATE: CapabilityName.TOOL_UPDATE,
    Action.DELETE: CapabilityName.TOOL_DELETE,
    Action.QUERY: CapabilityName.TOOL_QUERY,
    Action.REVIEW_APPLY: CapabilityName.ITEM_REVIEW,
    Action.FILE_GET: CapabilityName.FILE_GET,
    Action.FILE_PUT: CapabilityName.FILE_PUT,
    Action.AGENT_WAKE: CapabilityName.AGENT_WAKE,
    Action.MESSAGE_DELIVER: CapabilityName.MESSAGE_DELIVER,
    Action.USER_ASK: CapabilityName.USER_ASK,
    Action.ROWS_LIST: CapabilityName.ROWS_LIST,
    Action.ROWS_KNOWN: CapabilityName.ROWS_KNOWN,
    Action.ROWS_AGENDA: CapabilityName.ROWS_AGENDA,
    Action.TABLE_DECLARE: CapabilityName.TABLE_DECLARE,
}

RESPONSE_WITHIN_S: Final = 30.0

log = Channel(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Answered = Sequence[tuple[ToolCall, Answer]]
AnswerSink = Callable[[Answered], Awaitable[None]]


class Tools:
    """Executor of calls, one transaction after the other.

    Args:
        on_done: called after each executed call, to inform the person at the desktop.
        on_fault: likewise, with a sentence, when the file begins to fail.
    """

    def __init__(
        self,
        store: DeviceStore,
        *,
        on_done: Callable[[ToolCall], None] | None = None,
        on_fault: Callable[[str], None] = lambda fault: None,
    ) -> None:
        self._store = store
        self._on_done = on_done or (lambda call: None)
        self._on_fault = on_fault
        self._fault = ""  # the last one
        self._disk = anyio.CapacityLimiter(1)  # SQLite has one writer

    async def serve(self, bench: "Bench") -> None:
        """Execute the calls on *bench* until cancelled. A started transaction is always completed."""
        while True:
            batches = await bench.dequeue()
            calls = [call for batch in batches for call in batch]
            answers = iter(await self._answers(calls))
            for batch in batches:
                answered = [(call, next(answers)) for call in batch]
                for call, answer in answered:
                    if answer.error is None:
                        self._on_done(call)
                await bench.answer(answered)

    async def on_file(self, work: Callable[[DeviceStore, *Ts], T], *args: *Ts, otherwise: T) -> T:
        """Run *work* in a thread; return *otherwise* if the disk fails, as the hub learns that from calls."""
        try:
            return await to_thread.run_sync(work, self._store, *args, limiter=self._disk)
        except sqlite3.Error as error:
            self._failed(error, 0)
            return otherwise

    def _failed(self, error: Exception, calls: int) -> None:
        is_new = str(error) != self._fault
        if calls or is_new:  # the file is polled, too
            log.error("device.file.failed", exc=error, calls=calls)
        if isinstance(error, sqlite3.Error) and is_new:
            self._fault = str(error)
            self._on_fault(f"the file of this device fails, so nothing is kept: {error}")

    async def _answers(self, calls: list[ToolCall]) -> list[Answer]:
        doable = [call for call in calls if call.action in ACTIONS]
        try:
            done = iter(await to_thread.run_sync(self._store.apply, doable, limiter=self._disk))
        except Exception as error:
            self._failed(error, len(doable))
            # Not stored: the hub may send the same calls again later.
            is_disk = isinstance(error, sqlite3.Error)
            code = ErrorCode.DATABASE_UNAVAILABLE if is_disk else ErrorCode.INTERNAL
            return [refusal(code, str(error) if is_disk else "a fault in the device") for _ in calls]
        self._fault = ""
        return [
            next(done)
            if call.action in ACTIONS
            else refusal(ErrorCode.CALL_UNSUPPORTED, f"this device does not do {call.action}")
            for call in calls
        ]


class Bench:
    """Pending calls of one connection.

    Args:
        answer: sends the answers to the calls of one frame to the hub.
    """

    def __init__(self, answer: AnswerSink) -> None:
        self.answer = answer
        self._waiting: list[Sequence[ToolCall]] = []
        self._is_laid = anyio.Event()

    def lay(self, calls: Sequence[ToolCall]) -> Answer | None:
        """Queue the calls of one frame; never blocks. Return a refusal if they exceed the hub's limit."""
        if sum(map(len, self._waiting)) + len(calls) > MAX_PENDING_CALLS:
            return refusal(ErrorCode.TOO_MANY_CALLS, f"{MAX_PENDING_CALLS} calls may be open")
        self._waiting.append(calls)
        self._is_laid.set()
        return None

    async def dequeue(self) -> list[Sequence[ToolCall]]:
        """Wait for calls and return all pending ones, in order, those of one frame together."""
        await self._is_laid.wait()
        taken, self._waiting, self._is_laid = self._waiting, [], anyio.Event()
        return taken


def refusal(code: ErrorCode, message: str) -> Answer:
    """Return the answer that refuses a call."""
    return Answer(error=ErrorBody(code=code, message=message, retryable=CATALOGUE[code].retryable))


class HubConnection:
    """Sender of frames for a session in state READY. In another state, senders block until cancelled."""

    def __init__(self, session: DeviceSession, socket: ClientConnection) -> None:
        self._session = session
        self._socket = socket
        self._has_more = anyio.Event()
        self._is_written = anyio.Event()
        self._requests = 0
        self._awaited: dict[str, asyncio.Future[Response]] = {}

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

    async def request(self, method: Method, params: Parameters) -> Response | None:
        """Send a request and return the hub's response, or None if it does not arrive in time."""
        self._requests += 1
        request = Request(id=f"request-{self._requests}", method=method, params=params)
        awaited: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._awaited[request.id] = awaited
        try:
            await self.send(request)
            with anyio.move_on_after(RESPONSE_WITHIN_S):
                return await awaited
            return None
        finally:
            del self._awaited[request.id]

    def accept(self, response: Response) -> None:
        """Pass a response of the hub to its request; a late response is dropped."""
        awaited = self._awaited.get(response.id)
        if awaited is not None and not awaited.done():
            awaited.set_result(response)

    async def answer(self, answered: Answered) -> None:
        """Send the answers to the calls of one frame; one that cannot be encoded becomes a refusal."""
        await self._until_ready()
        answers = [(CallId(call.id), answer, call.trace) for call, answer in answered]
        for call_id, error in self._session.answer(answers):
            log.error("device.answer.unspeakable", exc=error, call_id=call_id)
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
