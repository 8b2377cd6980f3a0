"""Questions to a person: asking, answering and withdrawing.

Input is validated here, so that callers by REST, device and chat get the same errors. Changes are reported
after their commit: to the log, to devices, and to the component that sends the answer to the asking agent.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from hub.clock import Clock, IdFactory, epoch_ms
from hub.coordination import authority
from hub.coordination.authority import Caller
from hub.coordination.memory import checked_tags, checked_word, memory_added
from hub.log import Channel
from hub.metrics import Metrics
from protocol.asking import ANSWER_CHARACTERS, CHANNEL_CHARACTERS, QUESTION_CHARACTERS, answers_in
from protocol.authority import Verb
from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, MemoryId, MessageId, QuestionId, RunId
from protocol.trace import trace_id_of
from storage.coordination import boards, question_rows, questions
from storage.coordination.messages import MessageLimits, TooManyMessages
from storage.coordination.question_rows import QuestionRow, UnknownQuestion
from storage.coordination.questions import NewAnswer, NewQuestion, TooManyQuestions
from storage.kernel.database import StorageError
from storage.store import Connection, Store

log = Channel(__name__)

EXPIRES_S: Final = 7 * 86_400.0
MOST_OPEN: Final = 200  # per user
EXPIRED_AT_ONCE: Final = 100
MOST_ANSWERS: Final = 1_000  # answers per chat text
Listener = Callable[[QuestionRow], None]


class BadQuestion(HubError):
    """The question or answer is invalid; the message names the problem. Nothing was written."""

    code = ErrorCode.BAD_PARAMS


class Asked(msgspec.Struct, frozen=True, kw_only=True):
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


class Questions:
    """Questions to people and their answers, for authorized callers.

    Attributes:
        most: limit of open questions per user.
        expires_s: lifetime of an open question.
        answer_expires_s: lifetime of the message that brings the answer to the asking agent.
        message_limits: limits on messages to a gateway's main agent.
    """

    def __init__(self, store: Store, *, clock: Clock, ids: IdFactory, metrics: Metrics) -> None:
        self.most = MOST_OPEN
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

    async def ask(self, caller: Caller, board: str, asked: Asked) -> QuestionRow:
        """Ask the board's user a question. Return once the question is committed.

        Raises:
            UnknownBoard, AmbiguousBoard, NotAllowed, NotYourBoard
            BadQuestion, BadMemory, TooManyQuestions, TooManyMessages: nothing was written.
        """
        found = await self._store.read(authority.board_for, caller, Verb.ASK_USER, board)
        id, at = QuestionId(self._ids.fresh()), self._at()
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
            is_decision=caller.is_operator,
        )
        try:
            row, is_new = await self._store.write(
                questions.ask, new, most=self.most, limits=self.message_limits
            )
        except (TooManyQuestions, TooManyMessages) as exc:
            self._metrics.limits_reached.labels(exc.limit).inc()
            raise
        if is_new:
            self.report(row)
        return row

    async def answer(self, caller: Caller, id: str, text: str) -> QuestionRow:
        """Answer a question. The first answer counts; the same caller may repeat it without effect.

        Raises:
            UnknownQuestion, NotAllowed, BadQuestion
            QuestionSettled: the question has another answer, or has ended.
        """
        answer = _checked("answer", text, ANSWER_CHARACTERS)
        asked = await self._seen(caller, Verb.QUESTION_ANSWER, id)
        at = self._at()
        given = NewAnswer(
            text=answer,
            actor=caller.actor,
            agent_id=caller.agent_id,
            at=at,
            activity_id=self._ids.fresh(),
            memory_id=MemoryId(self._ids.fresh()),
            message_id=MessageId(self._ids.fresh()),
            message_expires_at=at + round(self.answer_expires_s * 1_000),
            is_decision=caller.is_operator,
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
            UnknownQuestion, QuestionSettled
        """
        at = self._at()
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
        for id, answer in answers_in(text)[:MOST_ANSWERS]:
            asked = await self._store.read(question_rows.find_question, id)
            if asked is None or asked.board_id is None:
                continue
            main = await self._store.read(question_rows.main_of, asked.board_id)
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
        while True:
            fresh = [self._ids.fresh() for _ in range(EXPIRED_AT_ONCE)]
            went = await self._store.write(questions.expire_due, self._at(), fresh)
            for row in went:
                self.report(row)
            if len(went) < EXPIRED_AT_ONCE:
                return

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

    async def _seen(self, caller: Caller, verb: Verb, id: str) -> QuestionRow:
        return await self._store.read(seen_question, caller, verb, id)

    def _at(self) -> int:
        return epoch_ms(self._clock.now())


def seen_question(c: Connection, caller: Caller, verb: Verb, id: str) -> QuestionRow:
    """Return the question, if the caller may do *verb* to it.

    Raises:
        UnknownQuestion, NotAllowed
    """
    asked = question_rows.get_question(c, id, user_id=caller.user_id)
    if caller.agent_id is not None:
        if asked.board_id is None:
            raise UnknownQuestion(f"there is no question {id}")
        authority.require(c, caller, verb, boards.get_board(c, asked.board_id))
    return asked


def _checked(name: str, text: str, most: int) -> str:
    """Return the stripped text of the field *name*. Raises BadQuestion."""
    stripped = text.strip()
    if not stripped:
        raise BadQuestion(f"{name}: there is nothing in it")
    if "\0" in stripped or any("\ud800" <= letter <= "\udfff" for letter in stripped):
        raise BadQuestion(f"{name}: text has no null character and no half of one")
    if len(stripped) > most:
        raise BadQuestion(f"{name}: expected at most {most} characters, not {len(stripped)}")
    return stripped


def _channel(given: str | None) -> str | None:
    stripped = (given or "").strip()
    if len(stripped) > CHANNEL_CHARACTERS or not (stripped.isprintable() or not stripped):
        raise BadQuestion(
            f"preferred_channel: it has at most {CHANNEL_CHARACTERS} characters that can be seen"
        )
    return stripped or None
