"""Boards, their memory and the tokens of agents on the command line."""

import json

import pytest
from anyio.from_thread import BlockingPortal

from tests.hub.cli.conftest import Hub
from tests.support.hub import ServedHub


@pytest.fixture
def board(hub: Hub, served: ServedHub, portal: BlockingPortal) -> str:
    """The board roses, with the agents inbox, which leads it, and notes."""
    assert "no boards; create one: hub boards create NAME" in hub("boards").output
    made = hub("boards", "create", "roses", "--description", "What grows.")
    assert "board roses is created" in made.output
    for name, word in (("inbox", "--lead"), ("notes", "")):
        portal.call(served.agent, name)
        assert hub("boards", "add", "roses", name, *([word] if word else [])).exit_code == 0
    return "roses"


def test_boards_are_listed_and_one_is_shown_with_its_agents(hub: Hub, board: str) -> None:
    assert hub("boards").stdout.splitlines()[1].split()[:4] == ["roses", "owner", "inbox", "2"]
    shown = hub("boards", "show", board).output
    assert "What grows." in shown
    assert [line.split()[:3] for line in shown.splitlines()[-2:]] == [
        ["inbox", "lead", "desk"],
        ["notes", "worker", "desk"],
    ]
    assert json.loads(hub("boards", "show", board, "--json").stdout)["lead"] == "inbox"


def test_a_board_is_changed_led_by_another_and_removed(hub: Hub, board: str) -> None:
    assert "board lawn is changed" in hub("boards", "edit", board, "--name", "lawn").output
    assert "the lead of board lawn: notes" in hub("boards", "lead", "lawn", "notes").output
    assert "the lead of board lawn: none" in hub("boards", "lead", "lawn", "--none").output
    assert "notes is on no board now" in hub("boards", "drop", "lawn", "notes").output
    assert "board lawn is deleted" in hub("boards", "delete", "lawn", "--yes").output
    assert "'hub boards' lists the boards" in hub("boards", "show", "lawn").output


def test_an_agent_that_is_not_on_the_board_is_refused_with_a_next_step(hub: Hub, board: str) -> None:
    refused = hub("messages", "nudge", board, "nobody", "hello").output
    assert "'hub boards show roses' lists its agents" in refused
    hub("boards", "create", "lawn")
    assert "'hub boards drop roses AGENT'" in hub("boards", "add", "lawn", "notes").output


def test_a_board_stores_what_is_added_to_its_memory(hub: Hub, board: str) -> None:
    assert "has no matching memory" in hub("boards", "memory", board).output
    added = hub("boards", "memory", board, "add", "cut them", "--tag", "weeds", "--tag", "urgent")
    assert "added to the memory of board roses" in added.output
    hub("boards", "memory", board, "add", "nice weather", "--chat")
    listed = hub("boards", "memory", board).stdout
    assert listed.index("nice weather") < listed.index("cut them")
    assert "weeds, urgent" in listed
    assert "nice weather" not in hub("boards", "memory", board, "ls", "--tag", "weeds").stdout
    assert "cut them" not in hub("boards", "memory", board, "ls", "--chat").stdout
    (item,) = json.loads(hub("boards", "memory", board, "ls", "--no-chat", "--json").stdout)["memory"]
    assert "removed from the memory" in hub("boards", "memory", board, "rm", item["id"], "--yes").output
    assert "cut them" not in hub("boards", "memory", board).stdout


def test_an_item_of_several_lines_is_one_line_of_the_list(hub: Hub, board: str) -> None:
    hub("boards", "memory", board, "add", "one\ntwo " + "x" * 200)
    (line,) = hub("boards", "memory", board).stdout.splitlines()[1:]
    assert "one two xxx" in line and line.endswith("...")


def test_an_agent_is_given_a_token_that_is_shown_once_and_revoked(hub: Hub, board: str) -> None:
    assert "agent inbox has no token" in hub("agents", "tokens", "inbox").output
    made = hub("agents", "token", "inbox", "--expires", "12h")
    token = made.stdout.strip()
    assert token.startswith("hub_agt_")
    assert "is shown only once" in made.output
    listed = hub("agents", "tokens", "inbox").stdout
    assert token[-4:] in listed and token not in listed
    (row,) = json.loads(hub("agents", "tokens", "inbox", "--json").stdout)["tokens"]
    assert hub("agents", "revoke-token", "inbox", "nothing", "--yes").exit_code == 1
    revoked = hub("agents", "revoke-token", "inbox", row["id"][-8:], "--yes")
    assert f"the token of inbox that ends in {token[-4:]} is revoked" in revoked.output
    (row,) = json.loads(hub("agents", "tokens", "inbox", "--json").stdout)["tokens"]
    assert row["revoked_at"] is not None
