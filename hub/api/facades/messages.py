"""Messages between agents, as they are asked for: by operators, and by agents in their own name."""

from collections.abc import Sequence
from typing import Protocol

from hub.api.views.messages import MessageDetail, MessageView
from hub.coordination.authority import Caller
from hub.coordination.messages import Nudge
from protocol.messages import MessageState


class MessageFacade(Protocol):
    """Messages. Every method may raise, of agents, NotAllowed."""

    async def nudge(
        self, caller: Caller, board: str, agent: str, nudge: Nudge, *, wait_s: float
    ) -> MessageView:
        """Say something to an agent of a board. What an operator says stands in the audit log.

        Returns the message once its agent has it, or as it stands after *wait_s*.

        Raises:
            UnknownBoard, AmbiguousBoard, UnknownAgent
            NoSession, BadMessage, BadMemory, MessageTooLong, TooManyMessages: nothing was written.
            MessageNotDelivered: it has failed by then; with the id of the message.
        """
        ...

    async def page(
        self,
        caller: Caller,
        *,
        board: str | None = None,
        agent: str | None = None,
        states: Sequence[MessageState] = (),
        correlation_id: str | None = None,
        broadcast_id: str | None = None,
        limit: int,
        after: tuple[int, str] | None = None,
    ) -> list[MessageView]:
        """Messages, the newest first. For operators alone.

        Args:
            agent: that sent it or is to get it.
            states: in these only; empty: in any.
            after: when one was sent (epoch ms), and its id; those that follow it.

        Raises:
            UnknownBoard, AmbiguousBoard, UnknownAgent, AmbiguousAgent
        """
        ...

    async def get(self, caller: Caller, id: str) -> MessageDetail:
        """One message and what happened to it.

        Raises:
            UnknownMessage
        """
        ...

    async def cancel(self, caller: Caller, id: str) -> MessageView:
        """Nobody tries any more to bring it. For operators alone.

        Raises:
            UnknownMessage
            MessageSettled: its agent has it, or it is over.
        """
        ...

    async def retry(self, caller: Caller, id: str) -> MessageView:
        """One that waits is tried now; one that failed or expired is said anew, under another id.

        For operators alone.

        Raises:
            UnknownMessage, TooManyMessages
            MessageSettled: its agent has it.
        """
        ...
