"""Response models of leads and of broadcasts to them. A field is added, never renamed."""

from typing import Literal

from pydantic import AwareDatetime

from hub.api.views.messages import MessageView
from hub.api.views.view import View

LeadStateWord = Literal["ready", "wanted", "creating", "failed"]
LeadKindWord = Literal["question", "handoff"]
ResultWord = Literal[
    "waiting",
    "sent",
    "accepted",
    "queued",
    "consumed",
    "answered",
    "interrupted",
    "failed",
    "expired",
    "refused",
]


class LeadView(View):
    """A board's lead.

    *state* is how far it is with being there at its gateway; one that lives on a device is ready.
    *problem* says what keeps it from that. *lead_created*: it came to be by this request.
    """

    board: str
    board_id: str
    agent: str
    agent_id: str
    gateway: str | None = None
    device: str | None = None
    remote_id: str | None = None  # how its gateway calls it
    state: LeadStateWord
    problem: str | None = None
    lead_created: bool = False


class LeadMessageView(View):
    """A message to the lead of a board. *lead_created*: the lead came to be for it."""

    board: str | None = None
    board_id: str | None = None
    lead_agent_id: str
    lead_agent_name: str
    lead_created: bool = False
    message: MessageView


class BroadcastResultView(View):
    """What became of a broadcast at one board.

    *ok*: its lead has it. *code* and *error* say why not; *board_id* is missing where there is no such
    board, and *board* is how it was named then. A board that was refused got no message.
    """

    board: str | None = None
    board_id: str | None = None
    ok: bool
    state: ResultWord
    lead: str | None = None
    lead_id: str | None = None
    lead_created: bool = False
    gateway: str | None = None
    message_id: str | None = None
    code: str | None = None
    error: str | None = None


class BroadcastView(View):
    """A broadcast to the leads of boards, and how many of them have it.

    *ok*: all of them. *waiting* ones are being brought, or will be once their gateway is there;
    *failed* ones are tried no more, until the broadcast is resumed. *rounds* counts how often it was
    sent. *gateway*: whose main agent sent it; none: a person.
    """

    id: str
    user: str
    gateway: str | None = None
    kind: LeadKindWord
    content: str
    from_agent: str | None = None
    sent_by: str
    correlation_id: str | None = None
    ok: bool
    boards: int
    sent: int
    failed: int
    waiting: int
    rounds: int
    trace_id: str
    created_at: AwareDatetime
    settled_at: AwareDatetime | None = None  # None: some of it is on its way


class BroadcastDetail(BroadcastView):
    """A broadcast with what became of it at its boards; *next_cursor* leads to those that are not here."""

    results: tuple[BroadcastResultView, ...] = ()
    next_cursor: str | None = None
