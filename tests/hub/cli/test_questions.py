"""Questions on the command line: of a hub, and on a device."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal
from click.testing import Result

from hub.clock import IdFactory
from hub.device.inserts import open_device_store
from tests.hub.api.test_question_routes import two_boards
from tests.hub.cli.conftest import Hub, ends
from tests.hub.device.test_questions import ASKED, call, settled
from tests.support.clock import FakeClock, SeededChance
from tests.support.hub import ServedHub


def test_a_question_is_asked_listed_answered_and_shown(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    assert "no matching questions" in hub("ask").output
    portal.call(served.store.write, two_boards)
    said = hub("ask", "roadmap", "Which", "colour?", "--channel", "slack", "--tag", "door").output
    assert "the answer is added to the memory of roadmap" in said
    (one,) = json.loads(hub("ask", "ls", "--json").stdout)["questions"]
    listed = hub("ask").output
    assert "Which colour?" in listed and one["id"][-8:] in listed
    assert "answered: Which colour?" in hub("ask", "answer", one["id"][-8:], "Red,", "please.").output
    shown = hub("ask", "show", one["id"][-8:]).output
    assert "-> Red, please." in shown and "slack" in shown
    assert "no matching questions" in hub("ask").output
    assert "Which colour?" in hub("ask", "ls", "--all").output
    ends(hub("ask", "answer", one["id"], "Blue."), 1, output=("was answered by",))


def test_a_text_is_read_from_standard_input_and_a_question_is_taken_back(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.store.write, two_boards)
    told: dict[str, Any] = json.loads(
        hub("ask", "user", "roadmap", "-", "--json", input="Which colour?\nOr none?\n").stdout
    )
    assert told["content"] == "Which colour?\nOr none?"
    assert "withdrawn: Which colour? Or none?" in hub("ask", "withdraw", told["id"]).output
    ends(hub("ask", "answer", "nothing", "Red."), 1, output=("there is no question nothing",))


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A device's file with a question that is open and one that was answered elsewhere."""
    path = tmp_path / "desk.db"
    clock = FakeClock()
    other = ASKED.record() | {"question_id": "q-2", "content": "Which\nshape?"}
    with open_device_store(path, clock=clock, ids=IdFactory(clock, SeededChance())) as store:
        store.apply([call(), call(question_id="q-2", content=str(other["content"]))])
        store.apply([settled(question_id="q-2", answer="Round.", settled_by="device phone")])
    return path


@pytest.fixture
def answer(hub: Hub, db: Path) -> Callable[..., Result]:
    return lambda *words, **given: hub("answer", "--db", str(db), *words, **given)


def test_an_owner_sees_what_waits_and_answers_it_by_its_number(answer: Callable[..., Result]) -> None:
    listed = answer()
    assert "1  lead (roadmap)" in listed.output and "   Which colour?" in listed.output
    assert "shape?" not in listed.output
    assert "   -> Round.  (device phone)" in answer("--all").output
    assert "answered: Which colour?" in answer("1", "Red,", "please.").output
    assert "no questions wait for your answer" in answer().output
    (one, _) = json.loads(answer("--all", "--json").stdout)["questions"]
    assert (one["answer"], one["reported"]) == ("Red, please.", False)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["2", "Square."], 1, "question 2 was answered by device phone: Round."),
        (["3", "Red."], 1, "there is no question 3"),
        (["1"], 2, "the text of the answer is missing"),
        (["1", "-"], 1, "an answer has words"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(
    answer: Callable[..., Result], words: list[str], code: int, said: str
) -> None:
    ends(answer(*words), code, output=(said,))


def test_an_unknown_device_is_named_with_a_next_step(hub: Hub, tmp_path: Path) -> None:
    ends(hub("answer", "--db", str(tmp_path / "nowhere.db")), 1, output=("--name NAME, or --db FILE",))
