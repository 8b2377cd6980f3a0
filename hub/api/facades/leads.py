"""Leads of boards, and what is said to them: by operators, and by agents in their own name."""

from typing import Protocol

from hub.api.views.leads import LeadMessageView, LeadView
from hub.coordination.authority import Caller
from hub.coordination.lead_messages import ToLead


class LeadFacade(Protocol):
    """Leads. Every method may raise UnknownBoard, AmbiguousBoard and, of agents, NotAllowed."""

    async def ensure(self, caller: Caller, board: str, *, wait_s: float) -> LeadView:
        """See to it that a board has a lead; made at its gateway where there is none.

        Returns it once it is ready, or as far as it is after *wait_s*; it goes on by itself.

        Raises:
            NoLead, NoGateway, TooManyAgents, TooManyOfBoards: nothing was written.
            GatewayError: its gateway refused.
        """
        ...

    async def say(self, caller: Caller, board: str, said: ToLead, *, wait_s: float) -> LeadMessageView:
        """Say something to the lead of a board. What an operator says stands in the audit log.

        Raises:
            NoLead, NoGateway, BadKind, BadMessage, BadMemory, MessageTooLong, TooManyMessages: nothing
                was written.
            MessageNotDelivered: it has failed by then; with the id of the message.
        """
        ...
