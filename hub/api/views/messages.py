"""What is told of messages between agents. As in ``api.views.view``: a field is added, never renamed."""

from typing import Any, Literal

from pydantic import AwareDatetime

from hub.api.views.view import View

MessageWord = Literal[
    "waiting", "sent", "accepted", "queued", "consumed", "answered", "interrupted", "failed", "expired"
]
MessageKindWord = Literal["nudge", "question", "handoff", "ask_user", "answer"]


class MessageView(View):
    """A message to an agent, and how far it is proven to have come.

    *sent_by* is for people: an agent or a device by its name, others as history spells them. *attempt*
    counts the keys it was sent under, *sends* how often it may have left. *reason_code* is an error
    code. *memory_id* is the answer in the board's memory. *settled_at*: nothing further is done
    about it since then.
    """

    id: str
    user: str
    kind: MessageKindWord
    board: str | None = None  # None: of no board, or it was removed since
    board_id: str | None = None
    broadcast_id: str | None = None
    from_agent: str | None = None  # None: a person sent it
    from_agent_id: str | None = None
    sent_by: str
    agent: str | None = None  # that is to get it; None: a board's lead, who is not known yet
    agent_id: str | None = None
    to_lead: bool = False
    gateway: str | None = None
    device: str | None = None
    content: str
    deliver: bool = False
    queue_mode: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    question_id: str | None = None
    state: MessageWord
    attempt: int
    sends: int
    waiting_for: str | None = None  # a sentence: what has to happen before it can be sent
    reason_code: str | None = None
    reason: str | None = None
    answer: str | None = None
    memory_id: str | None = None
    trace_id: str
    created_at: AwareDatetime
    updated_at: AwareDatetime
    next_look_at: AwareDatetime | None = None  # None: it is settled
    expires_at: AwareDatetime  # by then its agent has it, or never
    settled_at: AwareDatetime | None = None


class MessageMoveView(View):
    """One move of a message. *proof*: what the gateway or the device showed for it."""

    old_state: MessageWord | None = None
    new_state: MessageWord
    attempt: int
    proof: dict[str, Any]
    reason: str | None = None
    at: AwareDatetime


class MessageDetail(MessageView):
    """A message with all that happened to it. *key*: the idempotency key of its current attempt."""

    key: str
    moves: tuple[MessageMoveView, ...] = ()
