"""``hub agents capabilities`` and ``hub agents checkpoints``."""

import json
from functools import partial

import pytest
from anyio.from_thread import BlockingPortal

from tests.hub.api.test_agent_configs import an_agent
from tests.hub.cli.conftest import Hub, ends
from tests.support.hub import ServedHub


@pytest.fixture
def inbox(served: ServedHub, portal: BlockingPortal) -> ServedHub:
    """A hub with an agent of that name, which can read files."""
    portal.call(partial(served.store.write, an_agent))
    return served


def test_capabilities_are_registered_listed_and_removed(hub: Hub, inbox: ServedHub) -> None:
    put = hub("agents", "capabilities", "inbox", "put", "web.search", "1.0.0", "--description", "looks")
    assert (put.exit_code, put.stderr.strip()) == (0, "web.search 1.0.0 is enabled")
    newer = hub("agents", "capabilities", "inbox", "put", "web.search", "1.1.0")
    assert newer.stderr.strip() == "web.search 1.1.0 is enabled; replaces 1.0.0"
    listed = hub("agents", "capabilities", "inbox").stdout.splitlines()
    assert [line.split()[:4] for line in listed[1:]] == [
        ["file.read", "1.2.0", "yes", "hub.toml"],
        ["web.search", "1.1.0", "yes", "the"],
        ["web.search", "1.0.0", "no", "the"],
    ]
    gone = hub("agents", "capabilities", "inbox", "rm", "web.search")
    assert gone.stderr.strip() == "removed: web.search 1.1.0, web.search 1.0.0"
    told = json.loads(hub("agents", "capabilities", "inbox", "--json").stdout)
    assert (told["schema"], len(told["capabilities"])) == ("hub.capabilities/1", 1)


def test_a_capability_of_hub_toml_is_refused_with_where_to_change_it(hub: Hub, inbox: ServedHub) -> None:
    ends(
        hub("agents", "capabilities", "inbox", "put", "file.read", "1.2.0", "--disable"),
        1,
        "file.read 1.2.0 is declared in hub.toml; change it there",
    )


def test_checkpoints_are_stored_shown_and_cleared(hub: Hub, inbox: ServedHub) -> None:
    state = '{"folder": "in", "seen": [1, 2]}'
    kept = hub("agents", "checkpoints", "inbox", "put", "--sequence", "3", "--json-state", state)
    assert (kept.exit_code, kept.stderr.strip()) == (0, "written: agent at sequence 3")
    assert json.loads(hub("agents", "checkpoints", "inbox", "show").stdout) == json.loads(state)
    assert "agent  3         yes" in hub("agents", "checkpoints", "inbox").stdout
    cleared = hub("agents", "checkpoints", "inbox", "clear")
    assert cleared.stderr.strip() == "cleared: agent, which was at sequence 3"
    assert "has no checkpoints" in hub("agents", "checkpoints", "inbox").stderr


def test_a_state_that_is_no_object_is_refused_with_an_example(hub: Hub, inbox: ServedHub) -> None:
    ends(
        hub("agents", "checkpoints", "inbox", "put", "--sequence", "3", "--json-state", "[1]"),
        2,
        "'[1]' is not a JSON object",
    )


def test_a_run_has_the_needs_locks_task_and_context_of_its_command(hub: Hub, inbox: ServedHub) -> None:
    words = ("--need", "file.read >= 1.2", "--lock", "box", "--task", "t-7", "--context", '{"why": "asked"}')
    id = hub("run", "inbox", *words).stdout.strip()
    run = json.loads(hub("runs", "show", id, "--json").stdout)
    assert (run["needs"], run["locks"]) == (["file.read >= 1.2"], ["box"])
    assert run["context"] == {"why": "asked", "task_id": "t-7"}
