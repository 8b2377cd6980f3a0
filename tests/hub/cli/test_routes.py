"""What may be asked, printed."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from hub.api.application import DECLARED
from hub.cli.app import hub
from hub.roles import DEVICE_REQUESTS, ROUTES


def test_every_route_is_printed_with_the_roles_that_may_and_no_hub_need_run() -> None:
    told = CliRunner().invoke(hub, ["routes"])
    assert told.exit_code == 0
    lines = {" ".join(line.split()) for line in told.stdout.splitlines()}
    assert "GET /v1/agents read yes yes yes devices -" in lines
    assert "POST /v1/agents/{name}/runs run no yes yes devices run.started" in lines
    assert "POST /v1/items/verdicts review no named named all item.judged" in lines
    assert "POST /v1/drain system no no yes - hub.drained" in lines
    assert "GET /healthz public yes yes yes - -" in lines
    assert "runs.start its own agents run.started" in lines


@pytest.mark.slow  # starts a process
def test_a_process_that_serves_nothing_prints_the_routes_of_all_nouns() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "hub", "routes", "--json"], capture_output=True, text=True, check=True
    )
    paths = {(route["method"], route["path"]) for route in json.loads(printed.stdout)["routes"]}
    assert {(route.verb, noun.path + route.path) for noun in DECLARED for route, _ in noun.routes()} <= paths


def test_the_table_is_printed_as_json() -> None:
    told = json.loads(CliRunner().invoke(hub, ["routes", "--json"]).stdout)
    assert told["schema"] == "hub.routes/1"
    assert len(told["routes"]) == len(ROUTES)
    assert [request["method"] for request in told["device_requests"]] == list(DEVICE_REQUESTS)
    assert told["roles"]["viewer"] == ["read", "rows", "files"]
