"""Items on the command line: listed, shown and judged."""

import json

from anyio.from_thread import BlockingPortal

from protocol.handshake import CAPABILITY_OF
from protocol.work import Action
from tests.hub.api.test_item_routes import keep
from tests.hub.cli.conftest import Hub
from tests.support.hub import ServedHub


def test_items_are_listed_by_filters_and_shown(hub: Hub, served: ServedHub, portal: BlockingPortal) -> None:
    portal.call(served.store.write, keep)
    listed = hub("items").output
    assert "task 4" in listed and "open, instruction" in listed and "task 1" not in listed
    assert "task 1" in hub("items", "ls", "--all", "--table", "tasks").output
    assert "no matching items" in hub("items", "--path", "elsewhere/").output
    shown = hub("items", "show", "i-4").output
    assert "title=task 4" in shown and "quote" in shown and "open, instruction" in shown


def test_items_are_judged_and_the_verdict_is_taken_back(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.store.write, keep)
    assert "approve task 0: pending" in hub("items", "approve", "i-0", "title=Call Ana").output
    assert "open, approve pending" in hub("items", "show", "i-0").output
    assert "undo task 0: open" in hub("items", "undo", "i-0").output
    several = hub("items", "reject", "i-0", "i-1", "--json")
    states = [one["state"] for one in json.loads(several.stdout)["results"]]
    assert states == ["pending", None]
    refused = hub("items", "edit", "i-4", "colour=red")
    assert (refused.exit_code, "there is no such field" in refused.output) == (1, True)
    assert hub("items", "edit", "i-4").exit_code == 2


def test_a_verdict_that_a_connected_device_does_not_take_is_refused_at_once(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.store.write, keep)
    link = portal.call(served.connect, portal.call(served.device, "lab"))
    refused = hub("items", "reject", "i-0")
    assert (refused.exit_code, "its device takes no verdicts from a hub" in refused.output) == (1, True)
    link.capabilities |= {CAPABILITY_OF[Action.REVIEW_APPLY]}
    assert hub("items", "approve", "i-0").exit_code == 1
    (result,) = json.loads(hub("items", "approve", "i-0", "--json").stdout)["results"]
    assert (result["state"], result["error"]["code"]) == (None, "not_granted")
    assert "hub grants +review.remote" in result["error"]["message"]
    link.owner_grants["review.remote"] = []
    assert "approve task 0: pending" in hub("items", "approve", "i-0").output
    for verdict in (["approve", "i-4"], ["edit", "i-4", "title=call Ana"]):  # it has a mark
        marked = hub("items", *verdict)
        assert (marked.exit_code, "hub grants +review.remote=marked" in marked.output) == (1, True)
    assert "it has a mark; on the device: hub review" in hub("items", "show", "i-4").stdout
    assert "reject task 4: pending" in hub("items", "reject", "i-4").output
    assert "undo task 4: open" in hub("items", "undo", "i-4").output
    link.owner_grants["review.remote"] = ["marked"]
    assert "approve task 4: pending" in hub("items", "approve", "i-4").output
    assert "approve by operator:" in hub("items", "show", "i-4").stdout
