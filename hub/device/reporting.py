"""Reports of a device to its hub (verdicts, places of rows, answers, replies): content and repetition.

A report is one request. What the hub has confirmed is marked in the device's file and not repeated; a request
without a response is sent again, and the hub counts it once.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import anyio
import anyio.to_thread
import msgspec

from hub.base.clock import Clock, wait_for_event
from hub.base.log import Channel
from hub.device.connection import HubConnection, Tools
from hub.device.device_file import DeviceStore
from hub.device.messages import OwnerReply
from hub.device.sinks.reports import Placed
from hub.device.verdicts import RowVerdict
from protocol.backoff import Backoff
from protocol.calls import MAX_PLACED
from protocol.coordination import Method
from protocol.errors import ErrorCode
from protocol.frame import Parameters

log = Channel(__name__)

POLL_EVERY_S: Final = 3.0  # an unchanged file costs one PRAGMA


VERDICTS_PER_REPORT: Final = 500  # as limited by the hub


_REPORTED_AGAIN: Final = Backoff(base_s=1.0, cap_s=300.0)  # what the hub has, but the file cannot confirm


Decision = TypeVar("Decision")


class Outbox(NamedTuple, Generic[Decision]):
    """Decisions of one kind in the device's file.

    Attributes:
        most: decisions in one request.
        unconfirmed: returns at most so many decisions that the hub has not confirmed.
        confirm: marks a decision as confirmed.
        discard: marks a decision that the hub refused for good; None: it is sent again.
        is_optional: returns True for a report that a hub of an older release refuses (``bad_params``); it is
            confirmed then, and the counter tells the hub.
    """

    name: str
    method: Method
    most: int
    unconfirmed: Callable[[DeviceStore, int], Sequence[Decision]]
    params: Callable[[Sequence[Decision]], Parameters]
    confirm: Callable[[DeviceStore, Sequence[Decision]], None]
    discard: Callable[[DeviceStore, Sequence[Decision]], None] | None = None
    is_optional: Callable[[Sequence[Decision]], bool] = lambda report: False


# the owner's verdicts on rows that a hub wrote
VERDICTS: Final = Outbox[RowVerdict](
    "verdicts",
    Method.REVIEW_REPORT,
    VERDICTS_PER_REPORT,
    DeviceStore.unreported,
    lambda report: {"verdicts": [msgspec.structs.asdict(verdict) for verdict in report]},
    DeviceStore.note_reported,
    is_optional=lambda report: report[0].verdict == "open",
)


# where approved rows are, outside of this device's file
PLACES: Final = Outbox[Placed](
    "places",
    Method.PLACES_REPORT,
    MAX_PLACED,
    DeviceStore.unreported_places,
    lambda report: {"rows": [msgspec.to_builtins(place.row) for place in report]},
    DeviceStore.note_places,
)


# the owner's answers to questions; of several answers to a question the hub counts the first
ANSWERS: Final = Outbox[OwnerReply](
    "answers",
    Method.QUESTIONS_ANSWER,
    1,
    DeviceStore.unreported_answers,
    lambda report: {"question_id": report[0].id, "answer": report[0].answer},
    lambda store, report: store.note_answer(report[0], counts=True),
    lambda store, report: store.note_answer(report[0], counts=False),
)


# the replies of this device's agents to messages
REPLIES: Final = Outbox[OwnerReply](
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
        self,
        line: HubConnection,
        tools: Tools,
        outbox: Outbox[Any],
        clock: Clock,
        on_status: Callable[[str], None],
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
        failures = 0  # in a row, of a file that keeps no confirmation
        while True:
            name = self._outbox.name
            if await self._tools.on_file(DeviceStore.is_changed, name, otherwise=False) or is_due:
                failure = await self._report()
                if failure == ErrorCode.UNKNOWN_METHOD:
                    log.info("device.reports.not_taken", outbox=name)
                    return
                is_due = failure is not None
                failures = failures + 1 if failure == ErrorCode.DATABASE_UNAVAILABLE else 0
            pause_s = _REPORTED_AGAIN.delay(failures - 1, 1.0) if failures else POLL_EVERY_S
            await wait_for_event(self._requested, self._clock, pause_s)
            self._requested = anyio.Event()

    def poll(self) -> None:
        """Poll at once: a run starts, and should take the latest verdicts into account."""
        self._requested.set()

    async def _report(self) -> str | None:
        """Send all unconfirmed decisions. Return the error code of a failure that may pass, else None.

        A confirmation that the file cannot store is such a failure: the same decisions are sent again.
        """
        outbox, on_file = self._outbox, self._tools.on_file
        nothing: Sequence[Any] = ()
        while report := await on_file(outbox.unconfirmed, outbox.most, otherwise=nothing):
            response = await self._line.request(outbox.method, outbox.params(report))
            if response is None:
                return ErrorCode.CALL_TIMED_OUT
            error, mark = response.error, outbox.confirm
            is_older = error is not None and error.code == ErrorCode.BAD_PARAMS
            if error is not None and not (is_older and outbox.is_optional(report)):
                if error.retryable or error.code == ErrorCode.UNKNOWN_METHOD or outbox.discard is None:
                    return error.code
                # another answer counts, or the hub does not know the id: a retry cannot succeed
                self._on_status(f"the answer does not count: {error.message}")
                mark = outbox.discard
            failed: bool | None = await on_file(mark, report, otherwise=True)
            if failed:
                return ErrorCode.DATABASE_UNAVAILABLE
        return None
