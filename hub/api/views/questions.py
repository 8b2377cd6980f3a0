"""What is told of questions to a person. As in ``api.views.view``: a field is added, never renamed."""

from typing import Literal

from pydantic import AwareDatetime

from hub.api.views.view import View

QuestionWord = Literal["open", "answered", "withdrawn", "expired"]


class QuestionView(View):
    """A question to the person whose board it is.

    *asked_by* and *answered_by* are for people: an agent or a device by its name, others as history spells
    them. *main_agent* is the gateway's agent that was told to reach the person, with the message
    *message_id*; *memory_id* is the answer in the board's memory, under *reply_tags* and *reply_source*.
    """

    id: str
    user: str
    board: str | None = None  # None: it was removed since
    board_id: str | None = None
    agent: str | None = None  # that asks; None: a person does
    asked_by: str
    content: str
    preferred_channel: str | None = None
    correlation_id: str | None = None
    reply_tags: tuple[str, ...] = ()
    reply_source: str
    state: QuestionWord
    answer: str | None = None
    answered_by: str | None = None
    memory_id: str | None = None
    message_id: str | None = None
    main_agent_id: str | None = None
    main_agent: str | None = None
    trace_id: str
    created_at: AwareDatetime
    expires_at: AwareDatetime  # then nobody waits for an answer any more
    settled_at: AwareDatetime | None = None


class QuestionDetail(QuestionView):
    """A question with the names of the devices that show it."""

    devices: tuple[str, ...] = ()
