"""Reports the owner's verdicts to the hub: polls the file for unconfirmed verdicts over one connection.

Confirmed verdicts are marked in the file, so they are not repeated; a verdict without a confirmation is sent
again.
"""

from typing import Final

import anyio
import msgspec

from hub.clock import Clock
from hub.device.line import Line
from hub.device.tools import Tools
from hub.device.verdicts import Verdict
from hub.log import Channel
from protocol.coordination import Method, Request, Response
from protocol.errors import ErrorCode
from protocol.frame import Record, Scalar

LOOK_EVERY_S: Final = 3.0  # an unchanged file costs one PRAGMA
MOST: Final = 500  # verdicts in one report, as limited by the hub
ANSWER_WITHIN_S: Final = 30.0

log = Channel(__name__)


class Reporting:
    """Sender of verdicts, one request at a time."""

    def __init__(self, line: Line, tools: Tools, clock: Clock) -> None:
        self._line = line
        self._tools = tools
        self._clock = clock
        self._wanted = anyio.Event()
        self._answered = anyio.Event()
        self._answer: Response | None = None
        self._asked = 0

    async def serve(self) -> None:
        """Poll and report until cancelled, or until the hub does not know the method."""
        is_due = True  # the file may have changed while the device was disconnected
        while True:
            if await self._tools.is_changed("verdicts") or is_due:
                match await self._report():
                    case ErrorCode.UNKNOWN_METHOD:
                        log.info("device.verdicts.not_taken")
                        return
                    case refused:
                        is_due = refused is not None
            await self._rest()

    async def _report(self) -> str | None:
        """Send all unconfirmed verdicts. Return the error code of a refusal or timeout, else None."""
        while told := await self._tools.unreported(MOST):
            answer = await self._ask(told)
            if answer is None:
                return ErrorCode.CALL_TIMED_OUT
            if answer.error is not None:
                return answer.error.code
            await self._tools.note_reported(told)
        return None

    def look(self) -> None:
        """Poll at once: a run starts, and should take the latest verdicts into account."""
        self._wanted.set()

    def take(self, response: Response) -> None:
        """Accept a response of the hub if it belongs to the pending report."""
        if response.id == self._id:
            self._answer = response
            self._answered.set()

    @property
    def _id(self) -> str:
        return f"review-{self._asked}"

    async def _ask(self, told: list[Verdict]) -> Response | None:
        """Send a report and return the response, or None after a timeout."""
        self._asked += 1
        self._answer, self._answered = None, anyio.Event()
        verdicts: list[Scalar | Record] = [msgspec.structs.asdict(one) for one in told]
        request = Request(id=self._id, method=Method.REVIEW_REPORT, params={"verdicts": verdicts})
        await self._line.send(request)
        with anyio.move_on_after(ANSWER_WITHIN_S):
            await self._answered.wait()
        return self._answer

    async def _rest(self) -> None:
        """Wait until the next poll is due or requested."""
        async with anyio.create_task_group() as waiting:

            async def wait(until: anyio.Event) -> None:
                await until.wait()
                waiting.cancel_scope.cancel()

            waiting.start_soon(wait, self._wanted)
            await self._clock.sleep(LOOK_EVERY_S)
            waiting.cancel_scope.cancel()
        self._wanted = anyio.Event()
