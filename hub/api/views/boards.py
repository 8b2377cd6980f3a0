"""Response models of boards, their agents and their memory.

As in ``api.views.view``: a field is added, never renamed; times are aware UTC; ids are text.
"""

from typing import Literal

from pydantic import AwareDatetime

from hub.api.views.view import View

BoardRole = Literal["lead", "worker", "gateway_main"]


class BoardView(View):
    """A board. *lead*: the name of its lead; *agents* counts those on it, the lead too."""

    id: str
    name: str
    user: str = ""
    description: str | None = None
    gateway: str | None = None
    lead: str | None = None
    agents: int
    created_at: AwareDatetime
    updated_at: AwareDatetime


class BoardAgentView(View):
    """An agent on a board, and where it lives: on a device or on a gateway."""

    id: str
    name: str
    is_lead: bool
    device: str | None = None
    gateway: str | None = None
    availability: str
    connectivity: str
    joined_at: AwareDatetime


class BoardDetail(BoardView):
    """A board with the agents on it, its lead first."""

    members: tuple[BoardAgentView, ...] = ()


class MemoryView(View):
    """What a board remembers. *agent*: who wrote it; None: a person, told by *actor*."""

    id: str
    board: str
    content: str
    tags: tuple[str, ...] = ()
    is_chat: bool = False
    source: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    agent: str | None = None
    actor: str
    created_at: AwareDatetime


class RememberedView(MemoryView):
    """An item just written, and what it answered: ids of the message and of the question, if any."""

    answered_message: str | None = None
    answered_question: str | None = None


class AgentSelfView(View):
    """What an agent is, as it is told itself. *board*: its own; *gateway*: whose main agent it is."""

    id: str
    name: str
    user: str
    role: BoardRole | None = None  # None: it is on no board
    board: BoardView | None = None
    gateway: str | None = None
