"""Leads of boards, as operators and agents are told of them."""

from typing import cast

from hub.api.views.leads import LeadMessageView, LeadStateWord, LeadView
from hub.coordination.authority import Caller
from hub.coordination.lead_messages import LeadMessages, ToLead
from hub.coordination.leads import Leads
from hub.operations.messages import MessageOperations


class LeadOperations:
    """Implements ``api.facades.leads.LeadFacade``."""

    def __init__(self, leads: Leads, sent: LeadMessages, messages: MessageOperations) -> None:
        self._leads = leads
        self._sent = sent
        self._messages = messages

    async def ensure(self, caller: Caller, board: str, *, wait_s: float) -> LeadView:
        """See to it that a board has a lead."""
        found = await self._leads.see_to(caller, board, wait_s=wait_s)
        home = found.home
        return LeadView(
            board=found.board.name,
            board_id=found.board.id,
            agent=found.lead.name,
            agent_id=found.lead.agent_id,
            gateway=None if home is None else home.gateway_name,
            device=found.lead.device_name,
            remote_id=None if home is None else home.remote_id,
            state=cast("LeadStateWord", "ready" if home is None else home.state),
            problem=None if home is None else home.problem,
            lead_created=found.is_created,
        )

    async def say(self, caller: Caller, board: str, said: ToLead, *, wait_s: float) -> LeadMessageView:
        """Say something to the lead of a board."""
        is_decision = caller.agent_id is None
        told = await self._sent.say(caller, board, said, wait_s=wait_s, is_decision=is_decision)
        row = told.message
        return LeadMessageView(
            board=row.board,
            board_id=row.board_id,
            lead_agent_id=row.to_agent_id or told.lead.agent_id,
            lead_agent_name=row.to_agent or told.lead.name,
            lead_created=told.lead_created,
            message=await self._messages.view(row),
        )
