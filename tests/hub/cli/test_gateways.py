"""Gateways on the command line."""

import json

from anyio.from_thread import BlockingPortal

from tests.hub.api.test_gateway_routes import keep
from tests.hub.cli.conftest import Hub, ends
from tests.support.hub import ServedHub


def test_gateways_are_listed_with_how_they_stand(hub: Hub, served: ServedHub, portal: BlockingPortal) -> None:
    assert "no gateways; add one to hub.toml" in hub("gateways").output
    portal.call(served.store.write, keep)
    shown = hub("gateways").output
    assert "office" in shown and "stopped" in shown and "0 of 2 online" in shown
    told = json.loads(hub("gateways", "ls", "--json").stdout)
    assert [one["name"] for one in told["gateways"]] == ["lab", "office", "theirs"]


def test_status_counts_those_that_are_ready(hub: Hub, served: ServedHub, portal: BlockingPortal) -> None:
    assert "gateways" not in hub("status").output
    portal.call(served.store.write, keep)
    assert "0 of 3 ready" in hub("status").output


def test_one_gateway_is_shown_with_its_agents(hub: Hub, served: ServedHub, portal: BlockingPortal) -> None:
    portal.call(served.store.write, keep)
    shown = hub("gateways", "show", "office").output
    assert "stopped since" in shown
    assert "reader" in shown and "mc-agent-reader" in shown and "wanted" in shown
    assert hub("gateways", "office").output == shown
    assert json.loads(hub("gateways", "show", "office", "--json").stdout)["main_agent"] == "office-main"
    ends(hub("gateways", "show", "nowhere"), 1, output=("there is no gateway 'nowhere'",))


def test_a_gateway_is_tried_again(hub: Hub, served: ServedHub, portal: BlockingPortal) -> None:
    portal.call(served.store.write, keep)
    assert "gateway office is stopped" in hub("gateways", "reconnect", "office").output
    assert json.loads(hub("gateways", "reconnect", "office", "--json").stdout)["name"] == "office"


def test_an_agent_of_a_gateway_is_taken_over(hub: Hub, served: ServedHub, portal: BlockingPortal) -> None:
    portal.call(served.store.write, keep)
    assert hub("gateways", "adopt", "office", "writer", "--agent", "writer").output == (
        "agent writer lives at gateway office\n"
    )
    refused = hub("gateways", "adopt", "office", "other", "--agent", "writer")
    assert "agent 'writer' is 'writer' at gateway 'office' already" in refused.output
    made = json.loads(hub("gateways", "adopt", "office", "maker", "--json").stdout)
    assert (made["name"], made["gateway"]) == ("maker", "office")
