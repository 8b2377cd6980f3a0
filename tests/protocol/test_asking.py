"""Answers in a chat are found where a line says so; a device is told of a question in a record."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from protocol.agent_messages import QuestionState
from protocol.calls import ANSWER_CHARACTERS, QuestionToUser, answers_in, asking_call_id, question_in

ID = "019b8d5c-1f6e-7c3a-9d2e-5b1c7f0a4e21"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"ANSWER {ID}: Red.", [(ID, "Red.")]),
        (f"Done.\n\nANSWER {ID}: Red,\n\nplease.\n", [(ID, "Red,\n\nplease.")]),
        (f"**ANSWER {ID}:** Red.", [(ID, "Red.")]),
        (f"> ANSWER {ID}: Red.\nANSWER q-2:\nBlue.", [(ID, "Red."), ("q-2", "Blue.")]),
        (f"ANSWER {ID}:\n\nANSWER q-2: Blue.", [("q-2", "Blue.")]),
        (f"I would say ANSWER {ID}: Red.", []),
        (f"answer {ID}: Red.", []),
        (f"ANSWER {ID} Red.", []),
        ("ANSWER : Red.", []),
        ("", []),
    ],
)
def test_answers_in_finds_text_after_a_line_naming_the_question(
    text: str, found: list[tuple[str, str]]
) -> None:
    assert answers_in(text) == found


@given(some.text())
def test_answers_in_accepts_any_text(text: str) -> None:
    assert all(id and answer.strip() for id, answer in answers_in(f"{text}\nANSWER q-1: {text}"))


def test_too_long_answer_in_a_chat_is_cut() -> None:
    ((_, answer),) = answers_in("ANSWER q-1: " + "x" * 20_000)
    assert len(answer) == ANSWER_CHARACTERS


def test_question_record_survives_a_round_trip() -> None:
    told = QuestionToUser(
        question_id="q-1", content="?", asked_at=1, state=QuestionState.ANSWERED, answer="!"
    )
    assert question_in(told.record()) == told
    with pytest.raises(msgspec.ValidationError):
        question_in({"question_id": "q-1", "content": "", "asked_at": 1})


def test_asking_call_id_differs_by_question_device_and_settlement() -> None:
    ids = {
        asking_call_id(question, device, is_settled=is_settled)
        for question in ("q-1", "q-2")
        for device in ("d-1", "d-2")
        for is_settled in (True, False)
    }
    assert len(ids) == 8
    assert asking_call_id("q-1", "d-1", is_settled=True) in ids
