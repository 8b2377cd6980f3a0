"""``hub agents status``, ``history`` and ``terminate``: how an agent stands, for people and for programs."""

import json
from typing import Any

import pytest
import sqlalchemy as sa
from anyio.from_thread import BlockingPortal

from tests.hub.api.test_agent_configs import an_agent
from tests.hub.cli.conftest import Hub, ends
from tests.support.hub import ServedHub


@pytest.fixture
def agent(hub: Hub, served: ServedHub, portal: BlockingPortal) -> Hub:
    """``hub agents COMMAND inbox``: an agent of hub.toml that is offline."""
    portal.call(served.store.write, an_agent)

    def run(command: str, *words: str, **given: str) -> Any:
        return hub("agents", command, "inbox", *words, **given)

    return run


def _words(printed: str) -> list[list[str]]:
    return [line.split() for line in printed.splitlines()]


def test_each_axis_is_shown_with_its_value_and_next_values(agent: Hub) -> None:
    printed = agent("status").stdout
    told = {row[0]: row[1] for row in _words(printed)[1:]}
    assert told == {
        "lifecycle": "active",
        "availability": "available",
        "connectivity": "offline",
        "health": "ok",
        "activity": "idle",
    }
    assert "ready, paused, maintenance, terminated" in printed


def test_a_change_is_shown_with_its_reason_and_stored(agent: Hub) -> None:
    ends(
        agent("status", "--set", "health=error", "--set", "availability=on_call", "--reason", "no disk"),
        0,
        "in error: no disk",
    )
    rows = _words(agent("history").stdout)
    assert " ".join(next(row for row in rows if "health" in row)).find("ok error no disk") > 0
    on_axis = _words(agent("history", "--axis", "availability").stdout)
    assert len(on_axis) == 2 and "on_call" in on_axis[1]


def test_an_illegal_step_is_refused_with_the_legal_ones(agent: Hub) -> None:
    ends(
        agent("status", "--set", "lifecycle=created"),
        1,
        "active -> created is not a move; legal moves: ready, paused, maintenance, terminated",
    )


def test_exhaustion_is_shown_with_its_end(agent: Hub) -> None:
    words = ["--set", "availability=exhausted", "--set", "exhaust_reason=billing"]
    assert "exhausted by billing: next probe" in agent("status", *words).stderr
    assert (
        "exhausted by billing: available again"
        in agent("status", "--set", "recovery_at=2200-01-01T00:00:00Z").stderr
    )


def test_an_agent_is_shown_and_written_in_the_words_of_another(agent: Hub) -> None:
    printed = agent("status", "--as", "orchestrator", "--set", "status=MAINTENANCE").stdout
    told = {row[0]: row[1:] for row in _words(printed)}
    assert (told["status"], told["state_detail"]) == (["MAINTENANCE"], ["ACTIVE"])
    assert "rows (see --json)" in printed
    assert json.loads(agent("status", "--as", "calendar", "--json").stdout)["status"] == "offline"


def test_what_cannot_be_read_as_an_assignment_is_refused_before_anything_is_asked(agent: Hub) -> None:
    for words in (("--set", "health"), ("--set", "metadata={"), ("--reason", "why")):
        assert agent("status", *words).exit_code == 2, words


def test_an_agent_of_the_file_is_not_terminated_but_one_made_over_the_api_is(
    agent: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    ends(agent("terminate", "--yes"), 1, "managed by hub.toml")
    portal.call(served.store.write, lambda c: c.execute(sa.text("UPDATE agents SET source = 'api'")))
    ends(agent("terminate", "--yes", "--reason", "not needed"), 0, "hub agents history inbox")
    told = json.loads(agent("status", "--json").stdout)
    assert (told["lifecycle"], told["axes"]["lifecycle"]["reason"]) == ("terminated", "not needed")
    assert json.loads(agent("history", "--limit", "1", "--json").stdout)["next_cursor"] is not None
