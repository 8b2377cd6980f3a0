"""Routes of questions from agents to a person: ask, list, answer, withdraw."""

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta, structs

from hub.api.binding import BodyField
from hub.api.device import person
from hub.api.resource import (
    MAX_LONG,
    Consent,
    DryRun,
    Instant,
    ListPage,
    NotBlank,
    Paging,
    Resource,
    RetryKey,
    View,
    audited,
    command,
    device,
    route,
    tool,
)
from hub.api.resources.messages import SentView
from hub.base.clock import epoch_ms
from hub.base.roles import AGENT, Scope
from hub.coordination import board_access
from hub.coordination.board_access import Caller
from hub.coordination.questions import QuestionDraft, QuestionService, seen_question
from protocol.agent_messages import QuestionState
from protocol.board_permissions import Verb
from protocol.calls import ANSWER_CHARACTERS, CHANNEL_CHARACTERS, REPLY_TAGS, QuestionToUser
from protocol.coordination import Method
from protocol.errors import ErrorCode
from protocol.frame import Record
from protocol.grants import Grant
from protocol.ids import DeviceId
from storage import audit
from storage.coordination import questions
from storage.coordination.questions import QuestionRow
from storage.devices import devices
from storage.store import Connection, Store

_E = ErrorCode
_Word = Annotated[str, Meta(max_length=128)]


class QuestionView(SentView, kw_only=True):
    """A question to the person whose board it is.

    *asked_by* and *answered_by* are for people: the name of an agent or a device, else the actor as in
    history. *main_agent*, or *main_agent_name*, is the gateway's agent that was asked to reach the person,
    with the message *message_id*; *memory_id* is the answer in the board's memory, under *reply_tags* and
    *reply_source*.
    """

    board: str | None = None  # None: it was deleted since
    board_id: str | None = None
    agent: str | None = None  # that asks; None: a person does
    asked_by: str
    preferred_channel: str | None = None
    reply_tags: tuple[str, ...] = ()
    reply_source: str
    state: QuestionState
    answer: str | None = None
    answered_by: str | None = None
    memory_id: str | None = None
    message_id: str | None = None
    main_agent_id: str | None = None
    main_agent: str | None = None
    main_agent_name: str | None = None
    expires_at: Instant  # an answer is awaited until then


class QuestionDetail(QuestionView):
    """A question with the names of the devices that show it."""

    devices: tuple[str, ...] = ()


class AskBody(View):
    """A question to ask. *reply_tags*, *reply_source*: of the answer in the board's memory."""

    content: Annotated[NotBlank, Meta(examples=["Which colour is the door to be?"])]
    preferred_channel: Annotated[str, Meta(max_length=CHANNEL_CHARACTERS, examples=["slack"])] | None = None
    correlation_id: Annotated[_Word, Meta(examples=["order-17"])] | None = None
    reply_tags: Annotated[
        tuple[str, ...], Meta(max_length=REPLY_TAGS, examples=[["gateway_main", "user_reply"]])
    ] = ()
    reply_source: Annotated[_Word, Meta(examples=["user_via_gateway_main"])] | None = None


def _record(question: QuestionView) -> Record:
    """Return a question in the form in which devices are asked."""
    answer = question.answer
    return QuestionToUser(
        question_id=question.id,
        content=question.content,
        state=question.state,
        board=question.board,
        asked_by=question.agent,
        preferred_channel=question.preferred_channel,
        correlation_id=question.correlation_id,
        asked_at=epoch_ms(question.created_at),
        expires_at=epoch_ms(question.expires_at),
        answer=None if answer is None else answer[:ANSWER_CHARACTERS],
        settled_by=question.answered_by,
    ).record()


def _asked(question: QuestionView) -> dict[str, Any]:
    return {"question": _record(question)}


def _states(states: Sequence[QuestionState] = ()) -> Sequence[QuestionState]:
    return states or (QuestionState.OPEN,)


class QuestionsResource(Resource):
    """Questions to the person whose board it is."""

    name, path = "questions", ""
    is_scoped = False

    def __init__(self, store: Store, asked: QuestionService) -> None:
        self._store = store
        self._questions = asked

    @command(
        "ask user BOARD CONTENT...",
        example="hub ask user house 'Which date suits you?'",
        json="question",
        help="Ask the person who owns a board.",
        options={
            "preferred_channel": "--channel: Channel on which the person prefers to be reached.",
            "correlation_id": "Your own reference, to find the question by.",
            "reply_tags": "--tag: Tag of the answer in the memory of the board; may be given several times.",
        },
        message="asked: {id}; the answer is added to the memory of {board}",
    )
    @route(
        "POST",
        "/v1/boards/{board}/ask-user",
        Scope.RUN,
        errors=[_E.UNKNOWN_BOARD, _E.LIMIT_REACHED],
        status=201,
    )
    @route(
        "POST",
        "/v1/agent/boards/{board}/ask-user",
        AGENT,
        errors=[_E.UNKNOWN_BOARD, _E.NOT_YOUR_BOARD, _E.LIMIT_REACHED],
        status=201,
    )
    @device(Method.QUESTIONS_ASK, "its user's boards", Grant.COORDINATION, answer=_asked)
    @audited("question.asked")
    async def ask(self, caller: Caller, board: str, body: AskBody, key: RetryKey = None) -> QuestionView:
        """Ask the person whose board that is. Of agents, for the board's lead.

        The question is shown on the person's devices, and sent over the board's gateway if it has one. The
        answer becomes an item of the board's memory. The same ``Idempotency-Key`` returns the question that
        it returned before.
        """
        asked = QuestionDraft(**structs.asdict(body), dedupe_key=key)
        return await self._view(await self._questions.ask(caller, board, asked))

    @command(
        "ask ls",
        example="hub ask ls --all",
        json="questions",
        help="List the questions that wait for an answer, the newest first.",
        options={
            "board": "Only questions of this board.",
            "state": "=open/--all: Include questions that are answered, withdrawn or expired.",
            "correlation_id": "Only questions with this correlation id.",
            "limit": "--limit=20: Maximum number of questions.",
        },
        rows="questions",
        table=(
            "id|id as question",
            "board",
            "asked_by",
            "created_at|at as asked",
            "state",
            "content|short as text",
        ),
        empty="no matching questions; --all includes those that are settled",
    )
    @tool()
    @route("GET", "/v1/questions", Scope.READ, errors=[_E.UNKNOWN_BOARD], page="QuestionsPage.questions")
    @device(
        Method.QUESTIONS_LIST,
        "its user's questions",
        answer=lambda page: {"questions": list(map(_record, page.items))},
        arguments={"state": _states},
    )
    async def page(
        self,
        caller: Caller,
        paging: Paging,
        board: Annotated[str, Meta(max_length=200, description="Only of this board, by name or id.")]
        | None = None,
        state: Annotated[
            list[QuestionState],
            Meta(max_length=4, description="Only in this state; several: in one of them."),
        ]
        | None = None,
        correlation_id: Annotated[str, Meta(max_length=128)] | None = None,
    ) -> ListPage[QuestionView]:
        """List the questions to people, the newest first."""
        paging.limit = min(paging.limit, MAX_LONG)

        def read(c: Connection) -> tuple[list[QuestionRow], dict[str, str]]:
            rows = questions.list_questions(
                c,
                user_id=caller.user_id,
                board_id=None if board is None else board_access.board(c, caller, board).id,
                states=state or (),
                correlation_id=correlation_id,
                limit=paging.part.limit,
                after=paging.after,
            )
            return rows, _names(c, rows)

        rows, named = await self._store.read(read)
        page = paging.fetched(rows, key=lambda row: (row.created_at, row.id))
        views = tuple(_view(row, named) for row in page.items)
        return ListPage(views, page.next_cursor)

    @command(
        "ask show QUESTION_ID",
        example="hub ask show 4e21a9",
        json="question",
        help="Show a question and its answer.",
        facts=(
            "id as question",
            "state",
            "board",
            "asked_by",
            "created_at|moment as asked",
            "expires_at|moment as expires",
            "correlation_id",
            "preferred_channel",
            "main_agent",
            "message_id|id as message",
            "devices as shown on",
            "answered_by",
            "settled_at|moment as settled",
        ),
        quotes=("content", "answer|->"),
    )
    @tool()
    @route("GET", "/v1/questions/{question_id}", Scope.READ, errors=[_E.UNKNOWN_QUESTION])
    @route("GET", "/v1/agent/questions/{question_id}", AGENT, errors=[_E.UNKNOWN_QUESTION, _E.NOT_YOUR_BOARD])
    async def get(self, caller: Caller, question_id: str) -> QuestionDetail:
        """Return a question, and the devices that show it.

        An agent sees those of its board; the main agent of a gateway those of its gateway's boards.
        """

        def read(c: Connection) -> tuple[QuestionRow, dict[str, str], dict[DeviceId, str]]:
            row = seen_question(c, caller, Verb.QUESTION_READ, question_id)
            return row, _names(c, [row]), devices.names_of_devices(c, questions.known_to(c, row.id))

        row, named, shown_on = await self._store.read(read)
        return QuestionDetail.from_row(_view(row, named), devices=tuple(sorted(shown_on.values())))

    @command(
        "ask answer QUESTION_ID ANSWER...",
        example="hub ask answer 4e21a9 'Friday, 10:00'",
        json="question",
        help="Answer a question for the person; the first answer counts.",
        message="answered: {content|short}",
    )
    @tool(
        consent=Consent(
            "questions_get",
            {"question_id": "question_id"},
            lambda call, asked: (
                f"answer {asked['asked_by']}: {asked['content']!r} with {call.get('answer')!r}"
            ),
        )
    )
    @route(
        "POST",
        "/v1/questions/{question_id}/answer",
        Scope.ANSWER,
        errors=[_E.UNKNOWN_QUESTION, _E.QUESTION_SETTLED],
    )
    @route(
        "POST",
        "/v1/agent/questions/{question_id}/answer",
        AGENT,
        errors=[_E.UNKNOWN_QUESTION, _E.QUESTION_SETTLED, _E.NOT_YOUR_BOARD, _E.NOT_GATEWAY_MAIN],
    )
    @device(
        *(Method.QUESTIONS_ANSWER, "its user's questions"),
        answer=_asked,
        arguments={"caller": person, "dry_run": False},
    )
    @audited("question.answered")
    async def answer(
        self,
        caller: Caller,
        question_id: str,
        answer: Annotated[
            NotBlank, Meta(examples=["Red, please."]), BodyField("AnswerBody", "The answer of the person.")
        ],
        dry_run: DryRun = False,
    ) -> QuestionView:
        """Answer a question for the person; of agents, for the main agent of the board's gateway.

        The first answer counts, wherever it was given.
        """
        answered = await self._questions.answer(caller, question_id, answer, is_dry=dry_run)
        return await self._view(answered)

    @command(
        "ask withdraw QUESTION_ID",
        example="hub ask withdraw 4e21a9",
        json="question",
        help="Withdraw a question; an answer is not expected any more.",
        message="withdrawn: {content|short}",
    )
    @route(
        "POST",
        "/v1/questions/{question_id}/withdraw",
        Scope.ANSWER,
        errors=[_E.UNKNOWN_QUESTION, _E.QUESTION_SETTLED],
    )
    @audited("question.withdrawn")
    async def withdraw(self, caller: Caller, question_id: str) -> QuestionView:
        """Withdraw a question: no answer to it is awaited any more."""
        return await self._view(await self._questions.withdraw(caller, question_id))

    async def _view(self, row: QuestionRow) -> QuestionView:
        return _view(row, await self._store.read(_names, [row]))


def _names(c: Connection, rows: Sequence[QuestionRow]) -> dict[str, str]:
    """Return the names of the actors who asked or answered these questions."""
    actors = {actor for row in rows for actor in (row.actor, row.answered_by) if actor is not None}
    return audit.actor_names(c, actors)


def _view(row: QuestionRow, names: dict[str, str]) -> QuestionView:
    return QuestionView.from_row(
        row,
        agent=row.from_agent,
        main_agent_name=row.main_agent,
        asked_by=names[row.actor],
        answered_by=None if row.answered_by is None else names[row.answered_by],
        reply_tags=row.tags,
        reply_source=row.source,
    )
