"""Tells the hub what was answered here: looks into the file now and then, and sends what is new.

Over one connection, one answer at a time. What a hub has confirmed is remembered in the file, so an
answer that was told to a hub that did not say so is told again, and counts once.
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

LOOK_EVERY_S: Final = 3.0  # it costs one PRAGMA as long as nobody wrote
MOST: Final = 20  # looked up at once
ANSWER_WITHIN_S: Final = 30.0

log = Channel(__name__)


class Words(Protocol):
    """What was answered in the file, and where the hub takes it. *name* tells apart who looks."""

    name: str
    method: Method
    tools: Tools

    async def unsaid(self, most: int) -> Sequence[Any]:
        """At most so many that the hub has not confirmed."""
        ...

    async def note(self, said: Any, *, counts: bool) -> None:
        """The hub has confirmed it, or does not take it."""
        ...

    def params(self, said: Any) -> Parameters:
        """What the hub is told."""
        ...


class Answers:
    """The owner's answers to questions."""

    name = "answers"
    method = Method.QUESTIONS_ANSWER

    def __init__(self, tools: Tools) -> None:
        self.tools = tools

    async def unsaid(self, most: int) -> Sequence[Said]:
        """At most so many that the hub has not confirmed."""
        return await self.tools.unsaid(most)

    async def note(self, said: Said, *, counts: bool) -> None:
        """The hub has confirmed it, or has another one."""
        await self.tools.note_said(said, counts=counts)

    def params(self, said: Said) -> Parameters:
        """What the hub is told."""
        return {"question_id": said.question_id, "answer": said.answer}


class Replies:
    """Answers to messages, in the name of the agents that got them."""

    name = "replies"
    method = Method.MESSAGES_ANSWER

    def __init__(self, tools: Tools) -> None:
        self.tools = tools

    async def unsaid(self, most: int) -> Sequence[Reply]:
        """At most so many that the hub has not confirmed."""
        return await self.tools.unsaid_replies(most)

    async def note(self, said: Reply, *, counts: bool) -> None:
        """The hub has confirmed it, or takes none."""
        await self.tools.note_reply(said)

    def params(self, said: Reply) -> Parameters:
        """What the hub is told."""
        return {"message_id": said.message_id, "answer": said.answer}


class Answering:
    """Sends what was answered.

    Args:
        told: is told, in a short sentence, what became of an answer that does not count.
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
        """Look and send until cancelled, or until the hub says that it takes no answers."""
        is_due = True  # nobody knows what was written while we were away
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
        """The hub's answer, if it is one to an answer of ours."""
        if response.id == self._id:
            self._answer = response
            self._answered.set()

    async def _send_all(self) -> str | None:
        """Send all there is; why the hub did not take one, if it may take it later."""
        while said := await self._words.unsaid(MOST):
            for one in said:
                response = await self._ask(one)
                if response is None:
                    return ErrorCode.CALL_TIMED_OUT
                if response.error is None:
                    await self._words.note(one, counts=True)
                elif response.error.retryable or response.error.code == ErrorCode.UNKNOWN_METHOD:
                    return response.error.code
                else:  # somebody was faster, or the hub does not know it: it will not be otherwise later
                    self._told(f"the answer does not count: {response.error.message}")
                    await self._words.note(one, counts=False)
        return None

    @property
    def _id(self) -> str:
        return f"{self._words.name}-{self._asked}"

    async def _ask(self, said: Any) -> Response | None:
        """What the hub says, or ``None`` when it said nothing in time."""
        self._asked += 1
        self._answer, self._answered = None, anyio.Event()
        request = Request(id=self._id, method=self._words.method, params=self._words.params(said))
        await self._line.send(request)
        with anyio.move_on_after(ANSWER_WITHIN_S):
            await self._answered.wait()
        return self._answer
