"""A ``DeviceLink`` without a device: it answers from a list, or not at all."""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel

from hub.links.device_link import ALWAYS, RepeatedCall, RoundTrip, RunFrame
from protocol.errors import CallTimedOut, DeliveryError, DeviceSlow, LinkLost
from protocol.frame import Frame
from protocol.handshake import Client
from protocol.ids import DeviceId, UserId
from protocol.tool_calls import Answer, ToolCall
from protocol.work import AgentComplete, AgentRun

Replies = Iterable[Answer | Exception] | Callable[[ToolCall], Answer]


class FakeLink:
    """Keeps what it was asked, and gives what it was made with.

    Args:
        capabilities: with their versions, or each in version 1.0.0.
        answers: one for each call in turn, an exception is raised; or a function of
            the call. When the list is used up, calls wait until ``cut``.
        runs: frames for each ``open_run`` in turn; an exception in it is
            raised when its turn comes. A list without ``agent_complete`` ends in waiting.
    """

    def __init__(
        self,
        device_id: str = "laptop",
        *,
        user_id: str = "anna",
        epoch: int = 1,
        capabilities: Iterable[str] = (),
        answers: Replies = (),
        runs: Iterable[Iterable[RunFrame | Exception]] = (),
    ) -> None:
        self.device_id = DeviceId(device_id)
        self.user_id = UserId(user_id)
        self.epoch = epoch
        self.offers = (
            capabilities if isinstance(capabilities, Mapping) else dict.fromkeys(capabilities, "1.0.0")
        )
        self.capabilities = frozenset(self.offers)
        self.owner_grants: dict[str, list[str]] = {}
        self.client: Client | None = None
        self.skew = ""
        self.roots: Sequence[str] = ()
        self.missing: Sequence[str] = ()
        self.round_trip: RoundTrip | None = None
        self.credential = "token:t-1"
        self.answered_at = -math.inf
        self.calls: list[ToolCall] = []
        self.sent: list[Frame] = []
        self.streams: list[FakeStream] = []
        self.gone = anyio.Event()
        self._answer = answers if callable(answers) else None
        self._answers = deque(() if callable(answers) else answers)
        self._runs = deque(runs)

    def can(self, capability: str) -> bool:
        return capability in self.capabilities or capability in ALWAYS

    def cut(self) -> None:
        """End the connection: what waits, and what is asked later, ends as ``LinkLost``."""
        self.gone.set()

    async def call(self, frame: ToolCall) -> Answer:
        if self.gone.is_set():
            raise LinkLost("the connection was cut", dispatched=False)
        self.calls.append(frame)
        await anyio.lowlevel.checkpoint()
        if self._answer is not None:
            return self._answer(frame)
        if not self._answers:
            await self.gone.wait()
            raise LinkLost("the connection was cut", dispatched=True)
        answer = self._answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def repeat_of(self, call_id: str) -> RepeatedCall:
        return RepeatedCall.SENT

    async def call_many(self, frames: Sequence[ToolCall]) -> list[Answer | DeliveryError]:
        async def outcome(frame: ToolCall) -> Answer | DeliveryError:
            try:
                return await self.call(frame)
            except (CallTimedOut, DeviceSlow, LinkLost) as error:
                return error

        return await asyncio.gather(*map(outcome, frames))

    @asynccontextmanager
    async def open_run(self, frame: AgentRun) -> AsyncIterator["FakeStream"]:
        if self.gone.is_set():
            raise LinkLost("the connection was cut", dispatched=False)
        stream = FakeStream(frame, self._runs.popleft() if self._runs else (), self.gone)
        self.streams.append(stream)
        try:
            yield stream
        finally:
            stream.is_open = False

    async def send(self, frame: Frame) -> None:
        if self.gone.is_set():
            raise LinkLost("the connection was cut", dispatched=False)
        self.sent.append(frame)


class FakeStream:
    """A ``RunStream`` over *frames*: ``fetched``, ``granted`` keep what was asked; ``taken`` frames."""

    def __init__(self, run: AgentRun, frames: Iterable[RunFrame | Exception], gone: anyio.Event) -> None:
        self.run = run
        self.is_open = True
        self.completed = False
        self.fetched: list[tuple[tuple[str, ...], bool]] = []
        self.granted = self.taken = 0
        self.is_ready = False
        self._frames = iter(frames)
        self._gone = gone

    def __aiter__(self) -> "FakeStream":
        return self

    async def __anext__(self) -> RunFrame:
        await anyio.lowlevel.checkpoint()
        if self.completed:
            raise StopAsyncIteration
        frame = next(self._frames, None)
        if frame is None:
            await self._gone.wait()
            raise LinkLost("the connection was cut", dispatched=True)
        self.taken += 1
        if isinstance(frame, Exception):
            raise frame
        self.completed = isinstance(frame, AgentComplete)
        return frame

    def arrived_paths(self) -> Sequence[str]:
        return ()

    async def fetch(self, paths: Sequence[str], *, last: bool) -> None:
        self._ask()
        self.fetched.append((tuple(paths), last))

    async def grant(self, pieces: int) -> None:
        self._ask()
        self.granted += pieces

    def _ask(self) -> None:
        if self._gone.is_set():
            raise LinkLost("the connection was cut", dispatched=False)
