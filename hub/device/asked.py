"""Questions to the owner of a device: listing and answering them.

Accesses the device's file while the device may be serving it, as any program of the owner may. The device
detects an answer and sends it to its hub.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from hub.device import questions
from hub.device.inserts import DeviceFileError, connect_shared
from hub.device.questions import Question
from protocol.asking import ANSWER_CHARACTERS
from protocol.messages import QuestionState


class UnknownNumber(DeviceFileError):
    """Unknown number of a question."""


class NotAnswered(DeviceFileError):
    """Refused answer: the question is closed, or the text is invalid; nothing was changed."""


def read_questions(path: Path) -> list[Question]:
    """Return every question that the device received, the oldest first.

    Raises:
        DeviceFileError: the file does not exist, is not a device's, or the disk fails.
    """
    try:
        with closing(connect_shared(path)) as db:
            return questions.listed(db)
    except sqlite3.Error as error:
        raise DeviceFileError(f"{path}: {error}") from error


def answer(path: Path, number: int, text: str, *, at_ms: int) -> Question:
    """Answer the question with this number and return its new state.

    Raises:
        UnknownNumber, NotAnswered: no such question, or an answer that is refused.
        DeviceFileError: the file is not a device's, or the disk fails.
    """
    content = text.replace("\0", "").strip()
    if not content:
        raise NotAnswered("an answer has words")
    if len(content) > ANSWER_CHARACTERS:
        raise NotAnswered(f"an answer has at most {ANSWER_CHARACTERS} characters, not {len(content)}")
    try:
        with closing(connect_shared(path)) as db:
            db.execute("BEGIN IMMEDIATE")
            known = {one.number: one for one in questions.listed(db)}
            if number not in known:
                raise UnknownNumber(f"there is no question {number}; 'hub answer' lists those there are")
            if not questions.write_answer(db, number, content, at_ms):
                raise NotAnswered(f"question {number} {_why_not(known[number])}")
            db.execute("COMMIT")  # an exception before this line closes the connection, which rolls back
            return next(one for one in questions.listed(db) if one.number == number)
    except sqlite3.Error as error:
        raise DeviceFileError(f"{path}: {error}") from error


def _why_not(question: Question) -> str:
    match question.state:
        case QuestionState.WITHDRAWN:
            return "was withdrawn: nobody waits for an answer any more"
        case QuestionState.EXPIRED:
            return "is over: nobody waits for an answer any more"
        case _:
            return f"was answered by {question.settled_by or 'you'}: {question.answer}"
