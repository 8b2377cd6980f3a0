"""Requests about questions: of the person at a device, or of one of its agents."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from hub.coordination.question_delivery import question_to_user
from hub.coordination.questions import Asked, Questions
from hub.links.link import DeviceLink
from hub.requests.boards import caller_of
from hub.requests.params import Methods, key_in, params_as
from protocol.coordination import Method
from protocol.frame import Parameters, Values
from protocol.messages import QuestionState
from storage.coordination import question_rows
from storage.coordination.question_rows import QuestionRow
from storage.store import Store

QUESTIONS: Final = 50  # in one answer, where nothing is said
MOST_QUESTIONS: Final = 200
ANSWER_BYTES: Final = 256 * 1024  # of text in one answer: a frame has room for four times it


class _List(msgspec.Struct, frozen=True, kw_only=True):
    states: list[QuestionState] = []  # none: those that are open
    limit: Annotated[int, Meta(ge=1, le=MOST_QUESTIONS)] = QUESTIONS


class _Ask(msgspec.Struct, frozen=True, kw_only=True):
    board: str
    content: str
    agent_id: str | None = None
    preferred_channel: str | None = None
    correlation_id: str | None = None
    reply_tags: tuple[str, ...] = ()
    reply_source: str | None = None


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    question_id: str
    answer: str


class QuestionRequests:
    """Handlers of ``questions.*``."""

    def __init__(self, store: Store, asked: Questions) -> None:
        self._store = store
        self._questions = asked

    @property
    def methods(self) -> Methods:
        return {
            Method.QUESTIONS_LIST: self._list,
            Method.QUESTIONS_ASK: self._ask,
            Method.QUESTIONS_ANSWER: self._answer,
        }

    async def _list(self, link: DeviceLink, params: Parameters) -> Values:
        asked = params_as(params, _List)
        rows = await self._store.read(
            question_rows.list_questions,
            user_id=link.user_id,
            states=asked.states or (QuestionState.OPEN,),
            limit=asked.limit,
        )
        return {"questions": [await self._record(row) for row in _fitting(rows)]}

    async def _ask(self, link: DeviceLink, params: Parameters) -> Values:
        asked = params_as(params, _Ask)
        row = await self._questions.ask(
            await caller_of(self._store, link, asked.agent_id),
            asked.board,
            Asked(
                content=asked.content,
                preferred_channel=asked.preferred_channel,
                correlation_id=asked.correlation_id,
                reply_tags=asked.reply_tags,
                reply_source=asked.reply_source,
                dedupe_key=key_in(params),
            ),
        )
        return {"question": await self._record(row)}

    async def _answer(self, link: DeviceLink, params: Parameters) -> Values:
        """Answer as the person at the device; agents cannot answer for a person."""
        given = params_as(params, _Answer)
        caller = await caller_of(self._store, link, None)
        row = await self._questions.answer(caller, given.question_id, given.answer)
        return {"question": await self._record(row)}

    async def _record(self, row: QuestionRow) -> Values:
        by = row.answered_by
        settled_by = None if by is None else await self._store.read(question_rows.told_actor, by)
        record: Values = dict(question_to_user(row, settled_by=settled_by).record())
        return record


def _fitting(rows: list[QuestionRow]) -> list[QuestionRow]:
    """Return the first rows that fit into one frame."""
    fitting: list[QuestionRow] = []
    size = 0
    for row in rows:
        size += len(row.content.encode()) + len((row.answer or "").encode())
        if fitting and size > ANSWER_BYTES:
            break
        fitting.append(row)
    return fitting
