"""What the owner of a device sees of the questions to them, and how they answer one.

Reads and writes the device's file beside the device that serves it, as any program of the
owner's may. The device notices, and tells its hub.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from hub.device import questions
from hub.device.inserts import DeviceFileError, connect_beside
from hub.device.questions import Question
from protocol.asking import ANSWER_CHARACTERS
from protocol.messages import QuestionState


class UnknownNumber(DeviceFileError):
    """No question has this number."""


class NotAnswered(DeviceFileError):
    """The question cannot be answered, or not so; nothing was changed."""


def read_questions(path: Path) -> list[Question]:
    """Every question that the device was told of, the oldest first.

    Raises:
        DeviceFileError: there is no such file, it is no device's, or the disk refuses.
    """
    try:
        with closing(connect_beside(path)) as db:
            return questions.listed(db)
    except sqlite3.Error as error:
        raise DeviceFileError(f"{path}: {error}") from error


def answer(path: Path, number: int, text: str, *, at_ms: int) -> Question:
    """Answer the question of this number; as it stands then.

    Raises:
        UnknownNumber, NotAnswered: see there.
        DeviceFileError: it is no device's file, or the disk refuses.
    """
    said = text.replace("\0", "").strip()
    if not said:
        raise NotAnswered("an answer has words")
    if len(said) > ANSWER_CHARACTERS:
        raise NotAnswered(f"an answer has at most {ANSWER_CHARACTERS} characters, not {len(said)}")
    try:
        with closing(connect_beside(path)) as db:
            db.execute("BEGIN IMMEDIATE")
            known = {one.number: one for one in questions.listed(db)}
            if number not in known:
                raise UnknownNumber(f"there is no question {number}; 'hub answer' lists those there are")
            if not questions.write_answer(db, number, said, at_ms):
                raise NotAnswered(f"question {number} {_why_not(known[number])}")
            db.execute("COMMIT")  # what was raised before it is rolled back with the connection
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
