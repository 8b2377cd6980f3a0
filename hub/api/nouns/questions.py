"""Questions of agents to a person: asked, shown, answered, taken back."""

from typing import Annotated, Final

from fastapi import Query
from pydantic import Field

from hub.api.deps import AnAgent, AnOperator, Key, NounRouter, WholeHub
from hub.api.errors import refusals
from hub.api.paging import Paging
from hub.api.views.questions import QuestionDetail, QuestionView
from hub.api.views.view import View
from hub.clock import epoch_ms
from hub.coordination.questions import Asked
from protocol.asking import CHANNEL_CHARACTERS, REPLY_TAGS
from protocol.errors import ErrorCode
from protocol.messages import QuestionState

router = NounRouter(tags=["questions"])

_E = ErrorCode
MOST_QUESTIONS: Final = 100  # in one page, as each may be long
_Word = Annotated[str, Field(max_length=128)]


class QuestionsPage(View):
    """Some questions, the newest first; *next_cursor* leads to those that are older."""

    questions: tuple[QuestionView, ...]
    next_cursor: str | None = None


class AskBody(View):
    """What the person is asked. *reply_tags*, *reply_source*: what the answer bears in the board's memory."""

    content: Annotated[str, Field(examples=["Which colour is the door to be?"])]
    preferred_channel: Annotated[str | None, Field(max_length=CHANNEL_CHARACTERS, examples=["slack"])] = None
    correlation_id: Annotated[_Word | None, Field(examples=["order-17"])] = None
    reply_tags: Annotated[
        tuple[str, ...], Field(max_length=REPLY_TAGS, examples=[["gateway_main", "user_reply"]])
    ] = ()
    reply_source: Annotated[_Word | None, Field(examples=["user_via_gateway_main"])] = None

    def asked(self, dedupe_key: str | None) -> Asked:
        """As the hub takes it."""
        return Asked(**self.model_dump(), dedupe_key=dedupe_key)


class AnswerBody(View):
    """What the person says."""

    answer: Annotated[str, Field(examples=["Red, please."])]


@router.post(
    "/v1/boards/{board}/ask-user",
    status_code=201,
    responses=refusals(_E.UNKNOWN_BOARD, _E.LIMIT_REACHED),
)
async def ask_user(
    hub: WholeHub, caller: AnOperator, board: str, body: AskBody, key: Key = None
) -> QuestionView:
    """Ask the person whose board that is: on their devices, and over the board's gateway if it has one.

    The answer comes back as an item of the board's memory. The same ``Idempotency-Key`` gives the question
    that it gave before.
    """
    return await hub.questions.ask(caller, board, body.asked(key))


@router.get("/v1/questions", responses=refusals(_E.UNKNOWN_BOARD))
async def list_questions(
    hub: WholeHub,
    caller: AnOperator,
    paging: Paging,
    board: Annotated[
        str | None, Query(max_length=200, description="Only of this board, by name or id.")
    ] = None,
    state: Annotated[
        list[QuestionState] | None,
        Query(max_length=4, description="Only in this state; several: in one of them."),
    ] = None,
    correlation_id: Annotated[str | None, Query(max_length=128)] = None,
) -> QuestionsPage:
    """Questions to people, the newest first."""
    paging.limit = min(paging.limit, MOST_QUESTIONS)
    found = await hub.questions.page(
        caller,
        board=board,
        states=state or (),
        correlation_id=correlation_id,
        limit=paging.limit + 1,
        after=paging.after_number_and_text(),
    )
    page = paging.fetched(found, key=lambda one: (epoch_ms(one.created_at), one.id))
    return QuestionsPage(questions=page.items, next_cursor=page.next_cursor)


@router.get("/v1/questions/{question_id}", responses=refusals(_E.UNKNOWN_QUESTION))
async def get_question(hub: WholeHub, caller: AnOperator, question_id: str) -> QuestionDetail:
    """One question, and the devices that show it."""
    return await hub.questions.get(caller, question_id)


@router.post(
    "/v1/questions/{question_id}/answer", responses=refusals(_E.UNKNOWN_QUESTION, _E.QUESTION_SETTLED)
)
async def answer_question(
    hub: WholeHub, caller: AnOperator, question_id: str, body: AnswerBody
) -> QuestionView:
    """Answer for the person. The first answer counts, wherever it was given."""
    return await hub.questions.answer(caller, question_id, body.answer)


@router.post(
    "/v1/questions/{question_id}/withdraw", responses=refusals(_E.UNKNOWN_QUESTION, _E.QUESTION_SETTLED)
)
async def withdraw_question(hub: WholeHub, caller: AnOperator, question_id: str) -> QuestionView:
    """Take a question back: nobody waits for an answer any more."""
    return await hub.questions.withdraw(caller, question_id)


@router.post(
    "/v1/agent/boards/{board}/ask-user",
    status_code=201,
    responses=refusals(_E.UNKNOWN_BOARD, _E.NOT_YOUR_BOARD, _E.LIMIT_REACHED),
)
async def ask_user_as_agent(
    hub: WholeHub, caller: AnAgent, board: str, body: AskBody, key: Key = None
) -> QuestionView:
    """Ask the person whose board that is. For the board's lead; an ``Idempotency-Key`` works as above."""
    return await hub.questions.ask(caller, board, body.asked(key))


@router.get("/v1/agent/questions/{question_id}", responses=refusals(_E.UNKNOWN_QUESTION, _E.NOT_YOUR_BOARD))
async def get_question_as_agent(hub: WholeHub, caller: AnAgent, question_id: str) -> QuestionDetail:
    """One question of the agent's board, or, of a gateway's main agent, of a board of its gateway."""
    return await hub.questions.get(caller, question_id)


@router.post(
    "/v1/agent/questions/{question_id}/answer",
    responses=refusals(_E.UNKNOWN_QUESTION, _E.QUESTION_SETTLED, _E.NOT_YOUR_BOARD, _E.NOT_GATEWAY_MAIN),
)
async def answer_question_as_agent(
    hub: WholeHub, caller: AnAgent, question_id: str, body: AnswerBody
) -> QuestionView:
    """Bring what the person said. For the main agent of the board's gateway."""
    return await hub.questions.answer(caller, question_id, body.answer)
