"""Questions to a person, as they are asked for: by operators, and by agents in their own name."""

from collections.abc import Sequence
from typing import Protocol

from hub.api.views.questions import QuestionDetail, QuestionView
from hub.coordination.authority import Caller
from hub.coordination.questions import Asked
from protocol.messages import QuestionState


class QuestionFacade(Protocol):
    """Questions. Every method may raise, of agents, NotAllowed."""

    async def ask(self, caller: Caller, board: str, asked: Asked) -> QuestionView:
        """Ask the person whose board that is. What an operator asks stands in the audit log.

        Raises:
            UnknownBoard, AmbiguousBoard
            BadQuestion, BadMemory, TooManyQuestions, TooManyMessages: nothing was written.
        """
        ...

    async def page(
        self,
        caller: Caller,
        *,
        board: str | None = None,
        states: Sequence[QuestionState] = (),
        correlation_id: str | None = None,
        limit: int,
        after: tuple[int, str] | None = None,
    ) -> list[QuestionView]:
        """Questions, the newest first. For operators alone.

        Args:
            states: in these only; empty: in any.
            after: when one was asked (epoch ms), and its id; those that follow it.

        Raises:
            UnknownBoard, AmbiguousBoard
        """
        ...

    async def get(self, caller: Caller, id: str) -> QuestionDetail:
        """One question.

        Raises:
            UnknownQuestion
        """
        ...

    async def answer(self, caller: Caller, id: str, text: str) -> QuestionView:
        """Answer it: the first answer counts. What an operator answers stands in the audit log.

        Raises:
            UnknownQuestion, BadQuestion
            QuestionSettled: somebody was faster, or nobody waits for it any more.
        """
        ...

    async def withdraw(self, caller: Caller, id: str) -> QuestionView:
        """Nobody waits for an answer any more. For operators alone.

        Raises:
            UnknownQuestion, QuestionSettled
        """
        ...
