"""Leads and broadcasts on the command line."""

import json

import pytest
from anyio.from_thread import BlockingPortal

from tests.hub.api.test_gateway_routes import keep
from tests.hub.cli.conftest import Hub, ends
from tests.support.hub import ServedHub

NOW = ("--wait", "0")


@pytest.fixture(autouse=True)
def garden(hub: Hub, served: ServedHub, portal: BlockingPortal) -> None:
    portal.call(served.store.write, keep)
    hub("boards", "create", "garden", "--gateway", "office")
    hub("boards", "create", "shed")


def test_a_message_to_a_lead_is_stored(hub: Hub) -> None:
    ends(
        hub("messages", "lead", "garden", "is", "it", "done?", *NOW),
        0,
        output=("the hub delivers it as soon as possible",),
    )
    told = json.loads(hub("messages", "lead", "garden", "yours", "--handoff", *NOW, "--json").stdout)
    assert (told["message"]["kind"], told["message"]["content"]) == ("handoff", "yours")
    assert "hub boards lead" in hub("messages", "lead", "shed", "hello?", *NOW).output


def test_a_broadcast_is_sent_listed_shown_and_resumed(hub: Hub) -> None:
    assert "no broadcasts" in hub("messages", "broadcasts").output
    sent = hub("messages", "broadcast", "the", "harvest", "is", "on", "Sunday", *NOW)
    assert sent.exit_code == 1  # a board has no lead
    assert "0 of 2 leads received it, 1 failed, 1 waiting" in sent.output
    assert "shed: board shed has no lead" in sent.output
    assert "the harvest is on Sunday" in hub("messages", "broadcasts").output
    id = json.loads(hub("messages", "broadcasts", "--json").stdout)["broadcasts"][0]["id"]
    shown = hub("messages", "broadcast-show", id[-8:]).output
    assert "garden" in shown and "refused" in shown and "1 wait" in shown
    told = json.loads(hub("messages", "broadcast-show", id, "--failed", "--json").stdout)
    assert {one["state"] for one in told["results"]} == {"waiting", "refused"}
    assert "0 of 2 leads received it" in hub("messages", "resume", id[-8:], *NOW).output


def test_a_broadcast_goes_to_the_boards_that_are_named(hub: Hub) -> None:
    told = hub("messages", "broadcast", "hello", "--board", "garden", *NOW, "--json")
    assert told.exit_code == 0
    assert [one["board"] for one in json.loads(told.stdout)["results"]] == ["garden"]


def test_a_lead_is_seen_to(hub: Hub) -> None:
    assert "hub boards lead" in hub("boards", "ensure-lead", "shed", *NOW).output
    told = hub("boards", "ensure-lead", "garden", *NOW).output
    assert "garden-lead was created to lead board garden" in told
    assert "it is wanted at gateway office; the hub keeps trying" in told
    assert "garden-lead" in hub("boards", "show", "garden").output
