"""Memory of boards: validated reads and writes, and items that answer messages or questions."""

from collections.abc import Callable, Sequence
from typing import Final

from hub.clock import Clock, IdFactory, now_ms
from hub.coordination import authority
from hub.coordination.authority import Caller
from hub.log import Channel
from hub.metrics import Metrics
from protocol.coordination import Verb
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, BoardId, MemoryId, MessageId
from storage import audit
from storage.coordination import boards, questions
from storage.coordination.boards import BoardRow, MemoryFilter, MemoryLimits, MemoryRow, NewMemory
from storage.coordination.message_rows import MessageRow
from storage.coordination.question_rows import QuestionRow
from storage.coordination.questions import Replied, ReplyIds
from storage.kernel.columns import Key
from storage.store import Connection, Store

log = Channel(__name__)

MOST_TAGS: Final = 16
TAG_CHARACTERS: Final = 64
WORD_CHARACTERS: Final = 128  # of a source, a correlation id, a reply_to
EXPIRES_S: Final = 86_400.0


class BoardMemory:
    """Memory of boards, for authorized callers.

    Attributes:
        answer_expires_s: lifetime of the message that brings an item's answer to the asking agent.
        on_message, on_question: called with an answered message or question after the commit.
    """

    def __init__(self, store: Store, *, clock: Clock, ids: IdFactory, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self.limits = MemoryLimits()
        self.answer_expires_s = EXPIRES_S
        self.on_message: Callable[[MessageRow], None] = lambda _: None
        self.on_question: Callable[[QuestionRow], None] = lambda _: None

    async def page(
        self,
        caller: Caller,
        board: str,
        criteria: MemoryFilter,
        *,
        limit: int | None = None,
        after: Key | None = None,
    ) -> tuple[list[MemoryRow], dict[str, str]]:
        """Return the board's memory, newest first, and the names of the ids of its writers.

        Raises:
            UnknownBoard, CodedError
        """

        def read(c: Connection) -> tuple[list[MemoryRow], dict[str, str]]:
            found = authority.board_for(c, caller, Verb.MEMORY_READ, board)
            rows = boards.list_memory(c, found.id, criteria, after=after, limit=limit)
            return rows, audit.names_of_actors(c, {row.actor for row in rows})

        return await self._store.read(read)

    async def add(
        self,
        caller: Caller,
        board: str,
        content: str,
        *,
        tags: Sequence[str] = (),
        is_chat: bool = False,
        source: str | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        dedupe_key: str | None = None,
    ) -> Replied:
        """Write an item. An item in reply to an open message or question answers it.

        Args:
            dedupe_key: the caller's idempotency key.

        Raises:
            UnknownBoard,
            CodedError, TooManyOfBoards: nothing was written.
        """
        found = await self._store.read(authority.board_for, caller, Verb.MEMORY_WRITE, board)
        at, who = now_ms(self._clock), caller.agent_id or caller.actor
        new = NewMemory(
            id=MemoryId(self._ids.fresh()),
            board_id=found.id,
            content=self._checked(content),
            tags=checked_tags(tags),
            is_chat=is_chat,
            source=checked_word("source", source),
            correlation_id=checked_word("correlation_id", correlation_id),
            reply_to=checked_word("reply_to", reply_to),
            agent_id=caller.agent_id,
            actor=caller.actor,
            dedupe_key=None if dedupe_key is None else f"{found.id}:{who}:{dedupe_key}",
            at=at,
        )
        ids = ReplyIds(
            activity_id=self._ids.fresh(),
            message_id=MessageId(self._ids.fresh()),
            message_expires_at=at + round(self.answer_expires_s * 1_000),
        )
        with self._metrics.count_limits():
            replied = await self._store.write(questions.add_reply, new, ids, limits=self.limits)
        if replied.is_new:
            self._notify(replied)
        return replied

    async def remove(self, caller: Caller, board: str, memory_id: str) -> tuple[BoardRow, MemoryRow]:
        """Remove an item; a message or question that it answered stays answered. For operators only.

        Raises:
            UnknownBoard, CodedError
        """
        found = await self._store.read(authority.board, caller, board)
        at = now_ms(self._clock)
        item = await self._store.write(boards.remove_memory, found.id, memory_id, at=at, actor=caller.actor)
        log.info("memory.removed", board_id=found.id, memory_id=item.id, actor=caller.actor)
        return found, item

    def _notify(self, replied: Replied) -> None:
        memory = replied.memory
        memory_added(memory.board_id, memory.id, agent_id=memory.agent_id, reply_to=memory.reply_to)
        if replied.message is not None:
            self.on_message(replied.message)
        if replied.question is not None:
            self.on_question(replied.question)

    def _checked(self, content: str) -> str:
        """Return the stripped content. Raises CodedError."""
        stripped = content.strip()
        if not stripped:
            raise CodedError(ErrorCode.BAD_PARAMS, "content: may not be empty")
        if "\0" in stripped:
            raise CodedError(ErrorCode.BAD_PARAMS, "content: text has no null character")
        try:
            size = len(stripped.encode())
        except UnicodeEncodeError as error:
            raise CodedError(
                ErrorCode.BAD_PARAMS, "content: it is no text: half a character is in it"
            ) from error
        if size > self.limits.memory_bytes:
            self._metrics.limits_reached.labels("memory_bytes").inc()
            raise CodedError(
                ErrorCode.TOO_LARGE,
                f"content: {size} bytes are more than {self.limits.memory_bytes} (memory_bytes)",
            )
        return stripped


def memory_added(
    board_id: BoardId, memory_id: str, *, agent_id: AgentId | None = None, reply_to: str | None = None
) -> None:
    """Notify operators and devices of a new memory item; call this after the commit."""
    log.info("memory.added", board_id=board_id, memory_id=memory_id, agent_id=agent_id, reply_to=reply_to)


def checked_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Return the tags without duplicates, in their order.

    Raises:
        CodedError (BAD_PARAMS): a tag is empty or too long, or the list has too many tags.
    """
    unique = tuple(dict.fromkeys(tag.strip() for tag in tags))
    if len(unique) > MOST_TAGS:
        raise CodedError(ErrorCode.BAD_PARAMS, f"tags: {len(unique)} are more than {MOST_TAGS}")
    for tag in unique:
        if not tag or len(tag) > TAG_CHARACTERS or not tag.isprintable():
            raise CodedError(
                ErrorCode.BAD_PARAMS, f"tags: a tag has 1 to {TAG_CHARACTERS} characters that can be seen"
            )
    return unique


def checked_word(name: str, word: str | None) -> str | None:
    """Return the stripped value of the field *name*, or None if empty.

    Raises:
        CodedError (BAD_PARAMS): the value is too long.
    """
    stripped = (word or "").strip()
    if len(stripped) > WORD_CHARACTERS or not (stripped.isprintable() or not stripped):
        raise CodedError(
            ErrorCode.BAD_PARAMS, f"{name}: it has at most {WORD_CHARACTERS} characters that can be seen"
        )
    return stripped or None
