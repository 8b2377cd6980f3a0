"""Exchange with the hub besides calls: events of the hub, and reports of the owner's decisions.

Events of the hub: stores the newest configuration of this device's agents in its file.

Works over one connection. A revision never decreases. A gap in the event numbers triggers a new request of
all configurations.

Reports of the owner's decisions to the hub: verdicts on rows, answers to questions, replies to messages.

A report is one request. What the hub has confirmed is marked in the device's file and not repeated; a request
without a response is sent again, and the hub counts it once.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import anyio
import msgspec

from hub.clock import Clock, wait_for_event
from hub.device.configurations import Configuration
from hub.device.connection import Line, Tools
from hub.device.messages import Reply
from hub.device.questions import OwnerAnswer
from hub.device.verdicts import Verdict
from hub.log import Channel
from protocol.coordination import Event, EventName, Method, Request, Response
from protocol.errors import ErrorCode
from protocol.frame import Parameters, Values

ANSWER_WITHIN_S: Final = 30.0


class Hearing:
    """Receiver of one connection's events; the status callback gets a short sentence for each change."""

    def __init__(self, line: Line, tools: Tools, on_status: Callable[[str], None]) -> None:
        self._line = line
        self._tools = tools
        self._on_status = on_status
        self._seq = 0  # number of the previous event
        self._known: dict[str, int] = {}  # by agent: last revision received on this connection
        self._waiting: dict[str, Configuration] = {}  # to be stored
        self._has_gap = False
        self._arrived = anyio.Event()
        self._asked = 0
        self._answer: Response | None = None
        self._answered = anyio.Event()

    async def serve(self) -> None:
        """Store received configurations and fetch missed ones, until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived = anyio.Event()
            await self._keep()
            if self._has_gap:
                self._has_gap = False
                await self._ask_again()

    def take(self, event: Event) -> None:
        """Handle an event of the hub; never blocks."""
        if event.seq != self._seq + 1:
            self._has_gap = True
            self._arrived.set()
        self._seq = event.seq
        if event.event == EventName.AGENT_CONFIG:
            self._note(event.data)

    def answered(self, response: Response) -> None:
        """Accept a response of the hub if it belongs to the pending request."""
        if response.id == self._id:
            self._answer = response
            self._answered.set()

    def _note(self, data: Any) -> None:
        try:
            one = msgspec.convert(data, Configuration)
        except msgspec.ValidationError as error:
            log.warning("device.config.unreadable", why=str(error))
            return
        if one.rev > self._known.get(one.agent_id, -1):
            self._known[one.agent_id] = one.rev
            self._waiting[one.agent_id] = one
            self._arrived.set()

    async def _keep(self) -> None:
        waiting, self._waiting = self._waiting, {}
        if waiting:
            await self._tools.keep_configurations(list(waiting.values()))
        for one in waiting.values():
            self._on_status(f"configuration of {one.agent_id}: revision {one.rev}, {_counted(one)}")

    async def _ask_again(self) -> None:
        """Fetch the configuration of each agent sequentially: a hub limits the number of pending requests."""
        listed = await self._ask(Method.AGENTS_LIST, {})
        try:
            mine = msgspec.convert(listed, _Agents).agents
        except msgspec.ValidationError as error:
            log.warning("device.config.unreadable", why=str(error))
            return
        for agent in mine:
            answer = await self._ask(Method.CONFIG_GET, {"agent_id": agent.agent_id})
            if answer is not None:
                self._note(answer)

    async def _ask(self, method: Method, params: Parameters) -> Values | None:
        """Send a request and return its result, or None after a refusal or timeout."""
        self._asked += 1
        self._answer, self._answered = None, anyio.Event()
        await self._line.send(Request(id=self._id, method=method, params=params))
        with anyio.move_on_after(ANSWER_WITHIN_S):
            await self._answered.wait()
        return None if self._answer is None else self._answer.result

    @property
    def _id(self) -> str:
        return f"config-{self._asked}"


class _Agent(msgspec.Struct):
    agent_id: str


class _Agents(msgspec.Struct):
    """Needed fields of the answer to ``agents.list``."""

    agents: list[_Agent]


def _counted(one: Configuration) -> str:
    keys = len(one.configuration)
    return "1 key" if keys == 1 else f"{keys} keys"


POLL_EVERY_S: Final = 3.0  # an unchanged file costs one PRAGMA
RESPONSE_WITHIN_S: Final = 30.0
VERDICTS_PER_REPORT: Final = 500  # as limited by the hub

log = Channel(__name__)
Decision = TypeVar("Decision")


class Outbox(NamedTuple, Generic[Decision]):
    """Decisions of one kind in the device's file.

    Attributes:
        most: decisions in one request.
        unconfirmed: returns at most so many decisions that the hub has not confirmed.
        confirm: marks a decision as confirmed.
        discard: marks a decision that the hub refused for good; None: it is sent again.
    """

    name: str
    method: Method
    most: int
    unconfirmed: Callable[[int], Awaitable[Sequence[Decision]]]
    params: Callable[[Sequence[Decision]], Parameters]
    confirm: Callable[[Sequence[Decision]], Awaitable[None]]
    discard: Callable[[Sequence[Decision]], Awaitable[None]] | None = None


def verdicts(tools: Tools) -> Outbox[Verdict]:
    """Return the owner's verdicts on rows that a hub wrote."""
    return Outbox(
        "verdicts",
        Method.REVIEW_REPORT,
        VERDICTS_PER_REPORT,
        tools.unreported,
        lambda report: {"verdicts": [msgspec.structs.asdict(one) for one in report]},
        tools.note_reported,
    )


def answers(tools: Tools) -> Outbox[OwnerAnswer]:
    """Return the owner's answers to questions. Of several answers to a question the hub counts the first."""

    async def mark(report: Sequence[OwnerAnswer], *, counts: bool) -> None:
        await tools.note_answer(report[0], counts=counts)

    return Outbox(
        "answers",
        Method.QUESTIONS_ANSWER,
        1,
        tools.unreported_answers,
        lambda report: {"question_id": report[0].question_id, "answer": report[0].answer},
        lambda report: mark(report, counts=True),
        lambda report: mark(report, counts=False),
    )


def replies(tools: Tools) -> Outbox[Reply]:
    """Return the replies of this device's agents to messages."""

    async def mark(report: Sequence[Reply]) -> None:
        await tools.note_reply(report[0])

    return Outbox(
        "replies",
        Method.MESSAGES_ANSWER,
        1,
        tools.unreported_replies,
        lambda report: {"message_id": report[0].message_id, "answer": report[0].answer},
        mark,
        mark,
    )


class Reporting:
    """Reporter of one outbox over one connection, one request at a time.

    *on_status* gets a sentence for each decision that the hub refused for good.
    """

    def __init__(
        self, line: Line, tools: Tools, outbox: Outbox[Any], clock: Clock, on_status: Callable[[str], None]
    ) -> None:
        self._line = line
        self._tools = tools
        self._outbox = outbox
        self._clock = clock
        self._on_status = on_status
        self._requested = anyio.Event()
        self._responded = anyio.Event()
        self._response: Response | None = None
        self._requests = 0

    async def serve(self) -> None:
        """Poll and report until cancelled, or until the hub does not know the method."""
        is_due = True  # the file may have changed while the device was disconnected
        while True:
            if await self._tools.is_changed(self._outbox.name) or is_due:
                failure = await self._report()
                if failure == ErrorCode.UNKNOWN_METHOD:
                    log.info("device.reports.not_taken", outbox=self._outbox.name)
                    return
                is_due = failure is not None
            await self._rest()

    def poll(self) -> None:
        """Poll at once: a run starts, and should take the latest verdicts into account."""
        self._requested.set()

    def accept(self, response: Response) -> None:
        """Accept a response of the hub if it belongs to the pending request."""
        if response.id == self._id:
            self._response = response
            self._responded.set()

    async def _report(self) -> str | None:
        """Send all unconfirmed decisions. Return the error code of a failure that may pass, else None."""
        while report := await self._outbox.unconfirmed(self._outbox.most):
            response = await self._send(report)
            if response is None:
                return ErrorCode.CALL_TIMED_OUT
            error = response.error
            if error is None:
                await self._outbox.confirm(report)
            elif error.retryable or error.code == ErrorCode.UNKNOWN_METHOD or self._outbox.discard is None:
                return error.code
            else:  # another answer counts, or the hub does not know the id: a retry cannot succeed
                self._on_status(f"the answer does not count: {error.message}")
                await self._outbox.discard(report)
        return None

    @property
    def _id(self) -> str:
        return f"{self._outbox.name}-{self._requests}"

    async def _send(self, report: Sequence[Any]) -> Response | None:
        """Send a report and return the response, or None after a timeout."""
        self._requests += 1
        self._response, self._responded = None, anyio.Event()
        await self._line.send(
            Request(id=self._id, method=self._outbox.method, params=self._outbox.params(report))
        )
        with anyio.move_on_after(RESPONSE_WITHIN_S):
            await self._responded.wait()
        return self._response

    async def _rest(self) -> None:
        """Wait until the next poll is due or requested."""
        await wait_for_event(self._requested, self._clock, POLL_EVERY_S)
        self._requested = anyio.Event()
