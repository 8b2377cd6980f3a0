"""Questions to people: checks and delivery to devices; writing and reading of board memory.

Questions to a person: asking, answering and withdrawing.

Input is validated here, so that callers by REST, device and chat get the same errors. Changes are reported
after their commit: to the log, to devices, and to the component that sends the answer to the asking agent.

Delivery of questions and their results to people's devices, and expiry of questions.

Rows of ``question_tellings`` record confirmations by devices. The call ids are derived,
so a device that gets a question twice, after a crash or from another hub, shows it once. The answer is a
request of the device, not the answer to this call.

Memory of boards: validated reads and writes, and items that answer messages or questions.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus

from hub.base.clock import Clock, IdFactory, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.periodic_loop import PeriodicLoop
from hub.coordination import board_access
from hub.coordination.board_access import Caller
from hub.links.device_link import DeviceLink
from protocol.board_permissions import Verb
from protocol.calls import (
    ANSWER_CHARACTERS,
    CHANNEL_CHARACTERS,
    QUESTION_CHARACTERS,
    QuestionToUser,
    answers_in,
    asking_call_id,
)
from protocol.errors import CodedError, DeliveryError, ErrorCode, HubError, LinkLost
from protocol.ids import AgentId, BoardId, DeviceId, MemoryId, MessageId, QuestionId, RunId, trace_id_of
from protocol.tool_calls import Action, ToolCall
from storage import audit
from storage.coordination import board_memory as coordination_board_memory
from storage.coordination import boards, questions
from storage.coordination.board_memory import MemoryFilter, MemoryLimits, MemoryRow, NewMemory
from storage.coordination.boards import BoardRow
from storage.coordination.message_rows import MessageRow
from storage.coordination.messages import MessageLimits
from storage.coordination.questions import NewAnswer, NewQuestion, QuestionRow, Replied, ReplyIds
from storage.kernel.columns import Key
from storage.kernel.database import StorageError
from storage.store import Connection, Store

log = Channel(__name__)

MAX_TAGS: Final = 16
TAG_CHARACTERS: Final = 64
WORD_CHARACTERS: Final = 128  # of a source, a correlation id, a reply_to


class BoardMemory:
    """Memory of boards, for authorized callers.

    Attributes:
        answer_expires_s: lifetime of the message that brings an item's answer to the asking agent.

    *on_message* and *on_question* are called with an answered message or question after the commit.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
        on_message: Callable[[MessageRow], None] = lambda _: None,
        on_question: Callable[[QuestionRow], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self.limits = MemoryLimits()
        self.answer_expires_s = 86_400.0
        self._on_message = on_message
        self._on_question = on_question

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
            found = board_access.board_for(c, caller, Verb.MEMORY_READ, board)
            rows = coordination_board_memory.list_memory(c, found.id, criteria, after=after, limit=limit)
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
        found = await self._store.read(board_access.board_for, caller, Verb.MEMORY_WRITE, board)
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
        found = await self._store.read(board_access.board, caller, board)
        at = now_ms(self._clock)
        item = await self._store.write(
            coordination_board_memory.remove_memory, found.id, memory_id, at=at, actor=caller.actor
        )
        log.info("memory.removed", board_id=found.id, memory_id=item.id, actor=caller.actor)
        return found, item

    def _notify(self, replied: Replied) -> None:
        memory = replied.memory
        memory_added(memory.board_id, memory.id, agent_id=memory.agent_id, reply_to=memory.reply_to)
        if replied.message is not None:
            self._on_message(replied.message)
        if replied.question is not None:
            self._on_question(replied.question)

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
    if len(unique) > MAX_TAGS:
        raise CodedError(ErrorCode.BAD_PARAMS, f"tags: {len(unique)} are more than {MAX_TAGS}")
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


EXPIRES_S: Final = 7 * 86_400.0
MAX_OPEN: Final = 200  # per user
EXPIRED_AT_ONCE: Final = 100
MAX_ANSWERS: Final = 1_000  # answers per chat text
Listener = Callable[[QuestionRow], None]


class QuestionDraft(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a question to a person.

    Attributes:
        preferred_channel: preferred channel of the person, as free text of the asker.
        reply_tags, reply_source: tags and source of the answer in the board's memory, to override the
        defaults.
        dedupe_key: the caller's idempotency key.
    """

    content: str
    preferred_channel: str | None = None
    correlation_id: str | None = None
    reply_tags: Sequence[str] = ()
    reply_source: str | None = None
    dedupe_key: str | None = None


class QuestionService:
    """Questions to people and their answers, for authorized callers.

    Attributes:
        most: limit of open questions per user.
        expires_s: lifetime of an open question.
        answer_expires_s: lifetime of the message that brings the answer to the asking agent.
        message_limits: limits on messages to a gateway's main agent.
    """

    def __init__(self, store: Store, *, clock: Clock, ids: IdFactory, metrics: Metrics) -> None:
        self.most = MAX_OPEN
        self.expires_s = EXPIRES_S
        self.answer_expires_s = EXPIRES_S
        self.message_limits = MessageLimits()
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Register a callback for new and settled questions, after the commit; it must not wait."""
        self._listeners.append(listener)

    async def ask(self, caller: Caller, board: str, asked: QuestionDraft) -> QuestionRow:
        """Ask the board's user a question. Return once the question is committed.

        Raises:
            UnknownBoard,
            CodedError, LimitReached: nothing was written.
        """
        found = await self._store.read(board_access.board_for, caller, Verb.ASK_USER, board)
        id, at = QuestionId(self._ids.fresh()), now_ms(self._clock)
        key = asked.dedupe_key
        new = NewQuestion(
            id=id,
            user_id=found.user_id,
            board_id=found.id,
            from_agent_id=caller.agent_id,
            actor=caller.actor,
            content=_checked("content", asked.content, QUESTION_CHARACTERS),
            preferred_channel=_channel(asked.preferred_channel),
            correlation_id=checked_word("correlation_id", asked.correlation_id),
            reply_tags=checked_tags(asked.reply_tags),
            reply_source=checked_word("reply_source", asked.reply_source),
            trace_id=trace_id_of(RunId(id)),
            dedupe_key=None if key is None else f"{found.id}:{caller.actor}:{key}",
            at=at,
            expires_at=at + round(self.expires_s * 1_000),
            activity_id=self._ids.fresh(),
            message_id=MessageId(self._ids.fresh()),
        )
        with self._metrics.count_limits():
            row, is_new = await self._store.write(
                questions.ask, new, most=self.most, limits=self.message_limits
            )
        if is_new:
            self.report(row)
        return row

    async def answer(self, caller: Caller, id: str, text: str, *, is_dry: bool = False) -> QuestionRow:
        """Answer a question. The first answer counts; the same caller may repeat it without effect.

        With *is_dry*, the answer is only checked, and the question returned.

        Raises:
            CodedError: it is not the caller's to answer, or the text is invalid.
            CodedError (QUESTION_SETTLED): the question has another answer, or has ended.
        """
        answer = _checked("answer", text, ANSWER_CHARACTERS)
        asked = await self._store.read(seen_question, caller, Verb.QUESTION_ANSWER, id)
        if is_dry:
            return await self._store.read(questions.check_answer, asked.id, answer, caller.actor)
        at = now_ms(self._clock)
        given = NewAnswer(
            text=answer,
            actor=caller.actor,
            agent_id=caller.agent_id,
            at=at,
            activity_id=self._ids.fresh(),
            memory_id=MemoryId(self._ids.fresh()),
            message_id=MessageId(self._ids.fresh()),
            message_expires_at=at + round(self.answer_expires_s * 1_000),
        )
        row = await self._store.write(questions.answer, asked.id, given)
        if row.settled_at == at:
            if row.memory_id is not None and row.board_id is not None:
                memory_added(row.board_id, row.memory_id, agent_id=caller.agent_id, reply_to=row.id)
            self.report(row)
        return row

    async def withdraw(self, caller: Caller, id: str) -> QuestionRow:
        """Withdraw a question, so that it is no longer open. For operators only.

        Raises:
            CodedError
        """
        at = now_ms(self._clock)
        row = await self._store.write(
            questions.withdraw,
            id,
            at=at,
            actor=caller.actor,
            activity_id=self._ids.fresh(),
            user_id=caller.user_id,
        )
        if row.settled_at == at:
            self.report(row)
        return row

    async def accept_text(self, agent_id: AgentId, text: str) -> int:
        """Store the answers in a chat text of a gateway's main agent. Return their number.

        Answers are lines ``ANSWER <question id>: text`` for open questions of a board of that gateway. All
        other text is ignored.
        """
        count = 0
        for id, answer in answers_in(text)[:MAX_ANSWERS]:
            asked = await self._store.read(questions.find_question, id)
            if asked is None or asked.board_id is None:
                continue
            main = await self._store.read(questions.main_of, asked.board_id)
            if main is None or main.agent_id != agent_id:
                continue
            caller = Caller.of_agent(agent_id, asked.user_id)
            try:
                await self.answer(caller, id, answer)
            except StorageError:
                raise
            except HubError as exc:  # settled, an invalid answer, or a board of another gateway
                log.info("question.not_answered", question_id=id, agent_id=agent_id, why=exc.code)
                continue
            count += 1
        return count

    async def expire(self) -> None:
        """End the questions whose time is over."""
        while await self._store.read(questions.is_any_due, now_ms(self._clock)):
            fresh = [self._ids.fresh() for _ in range(EXPIRED_AT_ONCE)]
            for row in await self._store.write(questions.expire_due, now_ms(self._clock), fresh):
                self.report(row)

    def report(self, row: QuestionRow) -> None:
        """Report a new or settled question after its commit, by this class or by a board's memory."""
        self._metrics.questions.labels(row.state).inc()
        log.info(
            "question.moved",
            question_id=row.id,
            board_id=row.board_id,
            agent_id=row.from_agent_id,
            state=row.state,
            by=row.answered_by,
        )
        for listener in self._listeners:
            listener(row)


def seen_question(c: Connection, caller: Caller, verb: Verb, id: str) -> QuestionRow:
    """Return the question, if the caller may do *verb* to it.

    Raises:
        CodedError
    """
    asked = questions.get_question(c, id, user_id=caller.user_id)
    if caller.agent_id is not None:
        if asked.board_id is None:
            raise CodedError(ErrorCode.UNKNOWN_QUESTION, f"there is no question {id}")
        board_access.require(c, caller, verb, boards.get_board(c, asked.board_id))
    return asked


def _checked(name: str, text: str, most: int) -> str:
    """Return the stripped text of the field *name*. Raises CodedError."""
    stripped = text.strip()
    if not stripped:
        raise CodedError(ErrorCode.BAD_PARAMS, f"{name}: may not be empty")
    if "\0" in stripped or any("\ud800" <= letter <= "\udfff" for letter in stripped):
        raise CodedError(ErrorCode.BAD_PARAMS, f"{name}: text has no null character and no half of one")
    if len(stripped) > most:
        raise CodedError(
            ErrorCode.BAD_PARAMS, f"{name}: expected at most {most} characters, not {len(stripped)}"
        )
    return stripped


def _channel(given: str | None) -> str | None:
    stripped = (given or "").strip()
    if len(stripped) > CHANNEL_CHARACTERS or not (stripped.isprintable() or not stripped):
        raise CodedError(
            ErrorCode.BAD_PARAMS,
            f"preferred_channel: it has at most {CHANNEL_CHARACTERS} characters that can be seen",
        )
    return stripped or None


POLL_S: Final = 30.0  # interval, because another hub may ask a question, and questions expire
ANSWER_S: Final = 30.0  # for a device to confirm
AGAIN_S, AGAIN_CAP_S = 5.0, 60.0  # after a call without confirmation, doubled with each
AT_ONCE: Final = 500  # devices in progress
OF_DEVICE: Final = 50  # per read


class QuestionDelivery:
    """Delivers every question and its result to the devices of its user."""

    def __init__(
        self,
        store: Store,
        *,
        asked: QuestionService,
        links: Callable[[], Iterable[DeviceLink]],
        find_link: Callable[[DeviceId], DeviceLink | None],
        clock: Clock,
    ) -> None:
        """Set up the service.

        Args:
            links: returns the links of the devices connected to this hub.
            find_link: returns a device's link if it is connected.
        """
        self.loop = PeriodicLoop(clock)
        self.answer_s = ANSWER_S
        self._store = store
        self._questions = asked
        self._links = links
        self._find_link = find_link
        self._clock = clock
        self._in_flight: set[DeviceId] = set()
        self._fresh: set[DeviceId] = set()  # connected, or got news, while in progress
        self._is_everybody = True
        asked.listen(lambda row: self.recheck())

    def recheck(self) -> None:
        """Wake the loop, because a question was added or settled."""
        self._is_everybody = True
        self.loop.wake()

    def device_ready(self, device_id: DeviceId) -> None:
        """Schedule a device that has connected, because it may have missed questions."""
        link = self._find_link(device_id)
        if link is not None and link.can(Action.USER_ASK):
            self._fresh.add(device_id)
            self.loop.wake()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Deliver questions until cancelled."""
        task_status.started()
        self._in_flight.clear()
        async with anyio.create_task_group() as tasks:
            await self.loop.serve(partial(self._poll, tasks), of="questions", every_s=POLL_S)

    async def _poll(self, tasks: TaskGroup) -> float:
        """Start delivery to every connected device with news. Return the seconds until the next round."""
        if self.loop.is_rested:  # another hub may have added questions
            self._is_everybody = True
        if self._is_everybody:
            await self._questions.expire()
        fresh, self._fresh = self._fresh, set()
        if self._is_everybody:
            self._is_everybody = False
            here = [link.device_id for link in self._links() if link.can(Action.USER_ASK)]
        else:
            here = [id for id in fresh if (link := self._find_link(id)) and link.can(Action.USER_ASK)]
        for device_id in await self._store.read(questions.with_news, here) if here else ():
            if device_id in self._in_flight:
                self._fresh.add(device_id)  # checked again after the delivery in progress
            elif len(self._in_flight) < AT_ONCE:
                self._in_flight.add(device_id)
                tasks.start_soon(self._deliver, device_id)
            else:
                self._is_everybody = True
        return POLL_S

    async def _deliver(self, device_id: DeviceId) -> None:
        """Deliver all news to a device, as long as its current connection lasts."""
        wait_s = AGAIN_S
        link = self._find_link(device_id)
        try:
            while link is not None and self._find_link(device_id) is link:
                due = await self._store.read(questions.due_of, device_id, OF_DEVICE)
                if not due:
                    return
                if await self._send_all(link, due):
                    wait_s = AGAIN_S
                    continue
                await self._clock.sleep(wait_s)
                wait_s = min(AGAIN_CAP_S, wait_s * 2)
        except LinkLost:
            return  # continued after its next connection
        except StorageError as exc:  # unrecorded confirmations are repeated under the same id
            log.error("question.database", exc=exc)
        finally:
            self._in_flight.discard(device_id)
            if device_id in self._fresh:
                self.loop.wake()

    async def _send_all(self, link: DeviceLink, due: list[questions.Due]) -> bool:
        """Return True if the device confirmed all questions. Raises LinkLost."""
        is_all = True
        for waiting in due:
            row = waiting.question
            frame = ToolCall(
                id=asking_call_id(row.id, link.device_id, is_settled=waiting.is_settled),
                action=Action.USER_ASK,
                data=question_to_user(row, settled_by=await self._by(row)).record(),
                agent_id=row.from_agent_id,
                deadline_ms=round(self.answer_s * 1_000),
            )
            try:
                answer = await link.call(frame)
            except LinkLost:
                raise
            except DeliveryError as exc:
                log.info("question.untold", question_id=row.id, device_id=link.device_id, code=exc.code)
                return False
            if answer.error is not None:
                code = answer.error.code
                log.warning("question.refused", question_id=row.id, device_id=link.device_id, code=code)
                is_all = False  # the device may confirm the others
                continue
            at = now_ms(self._clock)
            await self._store.write(questions.note_delivered, waiting, link.device_id, at)
            log.info("question.told", question_id=row.id, device_id=link.device_id, state=row.state)
        return is_all

    async def _by(self, row: QuestionRow) -> str | None:
        """Return the displayed name of the author of the valid answer, or None."""
        if row.answered_by is None:
            return None
        return await self._store.read(audit.actor_name, row.answered_by)


def question_to_user(row: QuestionRow, *, settled_by: str | None = None) -> QuestionToUser:
    """Return the question in the form sent to a device."""
    return QuestionToUser(
        question_id=row.id,
        content=row.content,
        state=row.state,
        board=row.board,
        asked_by=row.from_agent,
        preferred_channel=row.preferred_channel,
        correlation_id=row.correlation_id,
        asked_at=row.created_at,
        expires_at=row.expires_at,
        answer=None if row.answer is None else row.answer[:ANSWER_CHARACTERS],
        settled_by=settled_by,
    )
