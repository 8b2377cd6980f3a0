"""Questions to people: the ``user.ask`` call, and answers in the text of a chat."""

import hashlib
import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from protocol.frame import EpochMs, Id, Name, Record, Text
from protocol.ids import CallId
from protocol.messages import QuestionState

QUESTION_CHARACTERS: Final = 8_192
ANSWER_CHARACTERS: Final = 8_192  # 32 KiB at the widest: question and answer fit into one message of an agent
REPLY_TAGS: Final = 16  # of an answer
TAG_CHARACTERS: Final = 64
CHANNEL_CHARACTERS: Final = 128

# Syntax agreed with models: the line starts an answer, and the following text belongs to it.
_ANSWER: Final = re.compile(r"^[ \t>*`]*ANSWER[ \t]+([0-9A-Za-z-]{1,64})[ \t*`]*:[*`]*[ \t]*", re.MULTILINE)


class QuestionToUser(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``data`` of a ``tool_call`` with action ``user.ask``: an open question, or its end."""

    question_id: Id
    content: Annotated[str, Meta(min_length=1, max_length=QUESTION_CHARACTERS)]
    state: QuestionState = QuestionState.OPEN
    board: Text | None = None
    asked_by: Text | None = None  # name of the agent or person that asks
    preferred_channel: Name | None = None
    correlation_id: Name | None = None
    asked_at: EpochMs
    expires_at: EpochMs | None = None  # deadline of the answer
    answer: Annotated[str, Meta(max_length=ANSWER_CHARACTERS)] | None = None  # the first answer
    settled_by: Text | None = None  # name of the person or agent that answered

    def record(self) -> Record:
        """Return the call's ``data``."""
        record: Record = msgspec.to_builtins(self)
        return record


def question_in(data: Record) -> QuestionToUser:
    """Convert a call's ``data``. Raises msgspec.ValidationError."""
    return msgspec.convert(data, QuestionToUser)


def asking_call_id(question_id: str, device_id: str, *, is_settled: bool) -> CallId:
    """Return the idempotency key of the call that notifies a device of a question, or of its end."""
    text = f"{question_id}\n{device_id}\n{'settled' if is_settled else 'asked'}"
    return CallId(f"u-{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}")


def answers_in(text: str) -> list[tuple[str, str]]:
    """Parse answers in a text: the question's id and the answer, for each line ``ANSWER <id>: text``.

    An answer extends to the next such line, or to the end. Empty answers are omitted.
    """
    marks = list(_ANSWER.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)] * bool(marks)
    found = [
        (mark[1], text[mark.end() : end].strip()[:ANSWER_CHARACTERS])
        for mark, end in zip(marks, ends, strict=True)
    ]
    return [(id, answer) for id, answer in found if answer]


def without_answers(text: str) -> str:
    """Escape each line in the text that would be parsed as an answer."""
    return _ANSWER.sub(lambda mark: f"| {mark[0]}", text)
