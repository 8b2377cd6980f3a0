"""Questions to a person, as operators and agents are told of them."""

from collections.abc import Sequence
from typing import Any

from hub.api.views.questions import QuestionDetail, QuestionView
from hub.clock import from_epoch_ms
from hub.coordination.authority import Authority, Caller
from hub.coordination.questions import Asked, Questions
from hub.operations.moments import moment
from protocol.messages import QuestionState
from storage.coordination import questions
from storage.coordination.questions import QuestionRow
from storage.devices import devices
from storage.store import Store


class QuestionOperations:
    """Implements ``api.facades.questions.QuestionFacade``."""

    def __init__(self, store: Store, asked: Questions, authority: Authority) -> None:
        self._store = store
        self._questions = asked
        self._authority = authority

    async def ask(self, caller: Caller, board: str, asked: Asked) -> QuestionView:
        """Ask the person whose board that is."""
        is_decision = caller.agent_id is None
        return await self._view(await self._questions.ask(caller, board, asked, is_decision=is_decision))

    async def page(
        self,
        caller: Caller,
        *,
        board: str | None = None,
        states: Sequence[QuestionState] = (),
        correlation_id: str | None = None,
        limit: int,
        after: tuple[int, str] | None = None,
    ) -> list[QuestionView]:
        """Questions, the newest first."""
        board_id = None if board is None else (await self._authority.board(caller, board)).id
        rows = await self._store.read(
            questions.list_questions,
            user_id=caller.user_id,
            board_id=board_id,
            states=states,
            correlation_id=correlation_id,
            limit=limit,
            after=after,
        )
        named = await self._named(rows)
        return [QuestionView(**_told(row, named)) for row in rows]

    async def get(self, caller: Caller, id: str) -> QuestionDetail:
        """One question."""
        row = await self._questions.get(caller, id)
        knows = await self._store.read(questions.known_to, row.id)
        names = {
            one.id: one.name for one in await self._store.read(devices.list_devices, user_id=row.user_id)
        }
        shown = tuple(sorted(names[id] for id in knows if id in names))
        return QuestionDetail(**_told(row, await self._named([row])), devices=shown)

    async def answer(self, caller: Caller, id: str, text: str) -> QuestionView:
        """Answer it."""
        is_decision = caller.agent_id is None
        return await self._view(await self._questions.answer(caller, id, text, is_decision=is_decision))

    async def withdraw(self, caller: Caller, id: str) -> QuestionView:
        """Nobody waits for an answer any more."""
        return await self._view(await self._questions.withdraw(caller, id))

    async def _view(self, row: QuestionRow) -> QuestionView:
        return QuestionView(**_told(row, await self._named([row])))

    async def _named(self, rows: Sequence[QuestionRow]) -> dict[str, str]:
        """Everybody who asked or answered one of these, as people call them."""
        actors = {actor for row in rows for actor in (row.actor, row.answered_by) if actor is not None}
        return await self._store.read(questions.told_actors, actors)


def _told(row: QuestionRow, named: dict[str, str]) -> dict[str, Any]:
    """The fields of its view."""
    return {
        "id": row.id,
        "user": row.user,
        "board": row.board,
        "board_id": row.board_id,
        "agent": row.from_agent,
        "asked_by": named[row.actor],
        "content": row.content,
        "preferred_channel": row.preferred_channel,
        "correlation_id": row.correlation_id,
        "reply_tags": row.tags,
        "reply_source": row.source,
        "state": row.state.value,
        "answer": row.answer,
        "answered_by": None if row.answered_by is None else named[row.answered_by],
        "memory_id": row.memory_id,
        "message_id": row.message_id,
        "main_agent_id": row.main_agent_id,
        "main_agent": row.main_agent,
        "trace_id": row.trace_id,
        "created_at": from_epoch_ms(row.created_at),
        "expires_at": from_epoch_ms(row.expires_at),
        "settled_at": moment(row.settled_at),
    }
