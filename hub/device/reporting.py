"""Exchange with the hub besides calls: events of the hub, and reports of the owner's decisions.

The newest configuration of each agent of this device is stored in the device's file. A revision never
decreases. A gap in the event numbers triggers a new request of all configurations.

Verdicts on rows, answers to questions and replies to messages are reported. A report is one request. What the
hub has confirmed is marked in the device's file and not repeated; a request without a response is sent again,
and the hub counts it once.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import anyio
import msgspec

from hub.clock import Clock, wait_for_event
from hub.device.connection import Line, Tools
from hub.device.inserts import Configuration, DeviceStore
from hub.device.messages import Reply
from hub.device.verdicts import Verdict
from hub.log import Channel
from protocol.coordination import Event, EventName, Method
from protocol.errors import ErrorCode
from protocol.frame import Parameters, Values

POLL_EVERY_S: Final = 3.0  # an unchanged file costs one PRAGMA
VERDICTS_PER_REPORT: Final = 500  # as limited by the hub

log = Channel(__name__)
Decision = TypeVar("Decision")


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
        """Store the received configurations; after a disk failure, the next connection gets them again."""
        waiting, self._waiting = list(self._waiting.values()), {}
        if waiting:
            await self._tools.on_file(DeviceStore.keep_configurations, waiting, otherwise=None)
        for one in waiting:
            keys = len(one.configuration)
            counted = "1 key" if keys == 1 else f"{keys} keys"
            self._on_status(f"configuration of {one.agent_id}: revision {one.rev}, {counted}")

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
        response = await self._line.request(method, params)
        return None if response is None else response.result


class _Agent(msgspec.Struct):
    agent_id: str


class _Agents(msgspec.Struct):
    """Needed fields of the answer to ``agents.list``."""

    agents: list[_Agent]


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
    unconfirmed: Callable[[DeviceStore, int], Sequence[Decision]]
    params: Callable[[Sequence[Decision]], Parameters]
    confirm: Callable[[DeviceStore, Sequence[Decision]], None]
    discard: Callable[[DeviceStore, Sequence[Decision]], None] | None = None


# the owner's verdicts on rows that a hub wrote
VERDICTS: Final = Outbox[Verdict](
    "verdicts",
    Method.REVIEW_REPORT,
    VERDICTS_PER_REPORT,
    DeviceStore.unreported,
    lambda report: {"verdicts": [msgspec.structs.asdict(one) for one in report]},
    DeviceStore.note_reported,
)
# the owner's answers to questions; of several answers to a question the hub counts the first
ANSWERS: Final = Outbox[Reply](
    "answers",
    Method.QUESTIONS_ANSWER,
    1,
    DeviceStore.unreported_answers,
    lambda report: {"question_id": report[0].id, "answer": report[0].answer},
    lambda store, report: store.note_answer(report[0], counts=True),
    lambda store, report: store.note_answer(report[0], counts=False),
)
# the replies of this device's agents to messages
REPLIES: Final = Outbox[Reply](
    "replies",
    Method.MESSAGES_ANSWER,
    1,
    DeviceStore.unreported_replies,
    lambda report: {"message_id": report[0].id, "answer": report[0].answer},
    lambda store, report: store.note_reply(report[0]),
    lambda store, report: store.note_reply(report[0]),
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

    async def serve(self) -> None:
        """Poll and report until cancelled, or until the hub does not know the method."""
        is_due = True  # the file may have changed while the device was disconnected
        while True:
            name = self._outbox.name
            if await self._tools.on_file(DeviceStore.is_changed, name, otherwise=False) or is_due:
                failure = await self._report()
                if failure == ErrorCode.UNKNOWN_METHOD:
                    log.info("device.reports.not_taken", outbox=name)
                    return
                is_due = failure is not None
            await wait_for_event(self._requested, self._clock, POLL_EVERY_S)
            self._requested = anyio.Event()

    def poll(self) -> None:
        """Poll at once: a run starts, and should take the latest verdicts into account."""
        self._requested.set()

    async def _report(self) -> str | None:
        """Send all unconfirmed decisions. Return the error code of a failure that may pass, else None."""
        outbox, on_file = self._outbox, self._tools.on_file
        nothing: Sequence[Any] = ()
        while report := await on_file(outbox.unconfirmed, outbox.most, otherwise=nothing):
            response = await self._line.request(outbox.method, outbox.params(report))
            if response is None:
                return ErrorCode.CALL_TIMED_OUT
            error, mark = response.error, outbox.confirm
            if error is not None:
                if error.retryable or error.code == ErrorCode.UNKNOWN_METHOD or outbox.discard is None:
                    return error.code
                # another answer counts, or the hub does not know the id: a retry cannot succeed
                self._on_status(f"the answer does not count: {error.message}")
                mark = outbox.discard
            await on_file(mark, report, otherwise=None)
        return None
