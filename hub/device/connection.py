"""Outgoing side of one open connection: frames of all senders, in order.

Only one task writes. A sender queues its frame and may wait until it is written; a cancelled wait neither
truncates nor repeats a frame.
"""

import anyio
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from hub.device.tools import refusal
from hub.log import Channel
from protocol.device_session import DeviceSession
from protocol.errors import ErrorCode, LocalProtocolError
from protocol.frame import Frame
from protocol.handshake import Welcome
from protocol.ids import CallId
from protocol.phases import SessionState
from protocol.work import Answer, ToolCall

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
