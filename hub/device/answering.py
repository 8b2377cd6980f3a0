"""Sends the owner's answers to the hub: polls the file for unconfirmed answers over one connection.

Answers are sent one at a time. Confirmed answers are marked in the file; an answer without a confirmation is
sent again, and the hub counts it once.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import anyio

from hub.clock import Clock
from hub.device.line import Line
from hub.device.messages import Reply
from hub.device.questions import Said
from hub.device.tools import Tools
from hub.log import Channel
from protocol.coordination import Method, Request, Response
from protocol.errors import ErrorCode
from protocol.frame import Parameters

LOOK_EVERY_S: Final = 3.0  # an unchanged file costs one PRAGMA
MOST: Final = 20  # answers read at once
ANSWER_WITHIN_S: Final = 30.0

log = Channel(__name__)


class Words(Protocol):
    """Unconfirmed answers in the file, and the hub's method for them. *name* identifies the poller."""

    name: str
    method: Method
    tools: Tools

    async def unsaid(self, most: int) -> Sequence[Any]:
        """Return at most *most* answers that the hub has not confirmed."""
        ...

    async def note(self, said: Any, *, counts: bool) -> None:
        """Mark an answer as confirmed by the hub, or as refused."""
        ...

    def params(self, said: Any) -> Parameters:
        """Return the parameters of the request for an answer."""
        ...


class Answers:
    """Owner's answers to questions."""

    name = "answers"
    method = Method.QUESTIONS_ANSWER

    def __init__(self, tools: Tools) -> None:
        self.tools = tools

    async def unsaid(self, most: int) -> Sequence[Said]:
        """Return at most *most* answers that the hub has not confirmed."""
        return await self.tools.unsaid(most)

    async def note(self, said: Said, *, counts: bool) -> None:
        """Mark an answer as confirmed by the hub, or as superseded by another answer."""
        await self.tools.note_said(said, counts=counts)

    def params(self, said: Said) -> Parameters:
        """Return the parameters of the request for an answer."""
        return {"question_id": said.question_id, "answer": said.answer}


class Replies:
    """Agents' answers to messages."""

    name = "replies"
    method = Method.MESSAGES_ANSWER

    def __init__(self, tools: Tools) -> None:
        self.tools = tools

    async def unsaid(self, most: int) -> Sequence[Reply]:
        """Return at most *most* answers that the hub has not confirmed."""
        return await self.tools.unsaid_replies(most)

    async def note(self, said: Reply, *, counts: bool) -> None:
        """Mark an answer as confirmed, or as refused by the hub."""
        await self.tools.note_reply(said)

    def params(self, said: Reply) -> Parameters:
        """Return the parameters of the request for an answer."""
        return {"message_id": said.message_id, "answer": said.answer}


class Answering:
    """Sender of answers over one connection.

    The status callback gets a short sentence for each answer that the hub refused for good.
    """

    def __init__(self, line: Line, words: Words, clock: Clock, told: Callable[[str], None]) -> None:
        self._line = line
        self._words = words
        self._clock = clock
        self._told = told
        self._answered = anyio.Event()
        self._answer: Response | None = None
        self._asked = 0

    async def serve(self) -> None:
        """Poll and send until cancelled, or until the hub does not know the method."""
        is_due = True  # the file may have changed while the device was disconnected
        while True:
            if await self._words.tools.is_changed(self._words.name) or is_due:
                match await self._send_all():
                    case ErrorCode.UNKNOWN_METHOD:
                        log.info("device.answers.not_taken")
                        return
                    case refused:
                        is_due = refused is not None
            await self._clock.sleep(LOOK_EVERY_S)

    def take(self, response: Response) -> None:
        """Accept a response of the hub if it belongs to the pending request."""
        if response.id == self._id:
            self._answer = response
            self._answered.set()

    async def _send_all(self) -> str | None:
        """Send all unconfirmed answers. Return the error code if the hub may accept one later, else None."""
        while said := await self._words.unsaid(MOST):
            for one in said:
                response = await self._ask(one)
                if response is None:
                    return ErrorCode.CALL_TIMED_OUT
                if response.error is None:
                    await self._words.note(one, counts=True)
                elif response.error.retryable or response.error.code == ErrorCode.UNKNOWN_METHOD:
                    return response.error.code
                else:  # another answer counts, or the hub does not know the id: a retry cannot succeed
                    self._told(f"the answer does not count: {response.error.message}")
                    await self._words.note(one, counts=False)
        return None

    @property
    def _id(self) -> str:
        return f"{self._words.name}-{self._asked}"

    async def _ask(self, said: Any) -> Response | None:
        """Send one answer and return the hub's response, or None after a timeout."""
        self._asked += 1
        self._answer, self._answered = None, anyio.Event()
        request = Request(id=self._id, method=self._words.method, params=self._words.params(said))
        await self._line.send(request)
        with anyio.move_on_after(ANSWER_WITHIN_S):
            await self._answered.wait()
        return self._answer
