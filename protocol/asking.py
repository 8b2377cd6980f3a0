"""Questions to a person: as ``user.ask`` tells a device of them, and as answers stand in a chat."""

import hashlib
import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from protocol.frame import EpochMs, Id, Name, Record, Text
from protocol.ids import CallId
from protocol.messages import QuestionState

QUESTION_CHARACTERS: Final = 8_192
ANSWER_CHARACTERS: Final = 8_192  # 32 KiB at the widest: both go into one message of an agent
REPLY_TAGS: Final = 16  # that an answer may bear
TAG_CHARACTERS: Final = 64
CHANNEL_CHARACTERS: Final = 128

# What a model and this program agree on: one line, and what follows it belongs to the answer.
_ANSWER: Final = re.compile(r"^[ \t>*`]*ANSWER[ \t]+([0-9A-Za-z-]{1,64})[ \t*`]*:[*`]*[ \t]*", re.MULTILINE)


class QuestionToUser(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``data`` of a ``tool_call`` with action ``user.ask``: a question that is open, or how it ended."""

    question_id: Id
    content: Annotated[str, Meta(min_length=1, max_length=QUESTION_CHARACTERS)]
    state: QuestionState = QuestionState.OPEN
    board: Text | None = None
    asked_by: Text | None = None  # the agent, or the person, that wants to know
    preferred_channel: Name | None = None
    correlation_id: Name | None = None
    asked_at: EpochMs
    expires_at: EpochMs | None = None  # then nobody waits for an answer any more
    answer: Annotated[str, Meta(max_length=ANSWER_CHARACTERS)] | None = None  # the one that counts
    settled_by: Text | None = None  # who gave it

    def record(self) -> Record:
        """As it stands in a call."""
        told: Record = msgspec.to_builtins(self)
        return told


def question_in(data: Record) -> QuestionToUser:
    """The question that a call tells of. Raises msgspec.ValidationError."""
    return msgspec.convert(data, QuestionToUser)


def asking_call_id(question_id: str, device_id: str, *, is_settled: bool) -> CallId:
    """The idempotency key of the call that tells a device of a question, or of its end."""
    told = f"{question_id}\n{device_id}\n{'settled' if is_settled else 'asked'}"
    return CallId(f"u-{hashlib.blake2b(told.encode(), digest_size=16).hexdigest()}")


def answers_in(text: str) -> list[tuple[str, str]]:
    """What a text answers: the question's id and the answer, for each line ``ANSWER <id>: text``.

    The answer goes on until the next such line, or the end. One without words is none.
    """
    marks = list(_ANSWER.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)] * bool(marks)
    found = [
        (mark[1], text[mark.end() : end].strip()[:ANSWER_CHARACTERS])
        for mark, end in zip(marks, ends, strict=True)
    ]
    return [(id, answer) for id, answer in found if answer]


def without_answers(text: str) -> str:
    """The text, with a mark before each line in it that would be read as an answer."""
    return _ANSWER.sub(lambda mark: f"| {mark[0]}", text)
