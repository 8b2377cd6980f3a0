"""What is measured of an agent, as a person asks for it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from hub.api.resources.measurements import HUB_METRICS, HubSeriesResource
from hub.cli.errors import Exit
from protocol.lifecycles import RunState
from tests.hub.api.test_measurement_routes import keep
from tests.hub.cli.conftest import Hub, ends
from tests.support.hub import ServedHub
from tests.support.source import ROOT


@pytest.fixture(autouse=True)
def samples(served: ServedHub, portal: BlockingPortal) -> None:
    portal.call(served.store.write, keep)


def test_agents_metrics_lists_series_with_newest_values(hub: Hub) -> None:
    told = [line.split() for line in hub("agents", "metrics", "inbox").stdout.splitlines()]
    assert told[0] == ["metric", "type", "tags", "newest", "at", "(UTC)"]
    assert told[1:] == [
        ["latency_ms", "histogram", "model=large", "2", "01-05", "08:58"],
        ["latency_ms", "histogram", "model=small", "1", "01-05", "08:59"],
        ["open", "gauge", "-", "7", "01-05", "08:59"],
    ]
    assert "no metrics of letters yet" in hub("agents", "metrics", "letters").stderr


def test_agents_metrics_shows_a_metric_over_time_as_a_table(hub: Hub) -> None:
    shown = hub("agents", "metrics", "inbox", "latency_ms", "--agg", "count")
    told = [line.split() for line in shown.stdout.splitlines()]
    assert told[0] == ["from", "(UTC)", "count"]
    assert ([line[-1] for line in told[-4:]], len(told)) == (["-", "40", "60", "100"], 1 + 24 + 1)
    assert "count of latency_ms (histogram) for each 1 h" in shown.stderr
    shown = hub("agents", "metrics", "inbox", "latency_ms", "--agg", "p99", "--tag", "model=small")
    assert "error of at most 0.8%" in shown.stderr
    chart = json.loads(hub("agents", "metrics", "inbox", "open", "--since", "1h", "--json").stdout)
    assert (chart["schema"], chart["step_s"], chart["lines"][0]["whole"]) == ("hub.metric/1", 300, 7)


def test_agents_metrics_by_tag_shows_tag_values_as_columns(hub: Hub) -> None:
    asked = ("--agg", "max", "--by", "model", "--since", "1h", "--step", "30min")
    told = [
        line.split() for line in hub("agents", "metrics", "inbox", "latency_ms", *asked).stdout.splitlines()
    ]
    assert told[0][-2:] == ["large", "small"]
    assert [line[-2:] for line in told[1:]] == [["60", "59"], ["30", "29"], ["60", "59"]]


def test_agents_metrics_with_an_impossible_aggregation_names_the_possible_ones(hub: Hub) -> None:
    ends(
        hub("agents", "metrics", "inbox", "open", "--agg", "p95"),
        2,
        "open is a gauge; of such ask avg, min, max, last, count",
    )


def test_metrics_command_draws_series_in_characters_of_the_terminal(
    hub: Hub, served: ServedHub, portal: BlockingPortal, state: Path
) -> None:
    assert "nothing was measured yet" in hub("metrics").stderr
    measured = served.resource(HubSeriesResource)._measurements
    portal.call(measured.measure_node)
    for hour, runs in enumerate((1, 8, 0)):
        for n in range(runs):
            portal.call(served.run, f"r-{hour}-{n}", RunState.CANCELLED)
        portal.call(measured.measure_work)
        served.clock.advance(3_600)
        portal.call(measured.measure_node)
    since, until = "2026-01-05T08:00:00Z", "2026-01-05T12:00:00Z"
    asked = ("metrics", "--since", since, "--until", until, "--step", "1h")
    header, *lines = [line.split() for line in hub(*asked).stdout.splitlines()]
    assert header == ["metric", "of", "agg", "whole", "course"]
    drawn = {line[0]: line[1:] for line in lines}
    assert drawn["hub.runs"] == ["cancelled", "sum", "9", "·▂█▁"]
    assert drawn["hub.node_devices"][1:] == ["avg", "1", "·▁▁▁"]

    plain = {**os.environ, "LC_ALL": "C"}
    command = [sys.executable, "-m", "hub", "--state", str(state), *asked, "--name", "hub.runs"]
    shown = subprocess.run(command, env=plain, capture_output=True, check=True).stdout.decode("ascii")
    assert shown.splitlines()[1].split() == ["hub.runs", "cancelled", "sum", "9", ".-#_"]
    assert json.loads(hub(*asked, "--json").stdout)["schema"] == "hub.hub-series/1"


def test_unknown_metric_of_the_hub_is_refused_with_a_suggestion(hub: Hub, served: ServedHub) -> None:
    ends(hub("metrics", "--name", "hub.runz"), Exit.USAGE, "did you mean 'hub.runs'?")
    ends(hub("metrics", "--name", "hub.runs"), 0)


def test_every_metric_of_the_hub_has_a_known_name() -> None:
    texts = [
        part.read_text(encoding="utf-8")
        for part in (ROOT / "storage/agents/measurements.py", ROOT / "hub/agents/measurements.py")
    ]
    measured = {name for text in texts for name in re.findall(r'"(hub\.[a-z_]+)"', text)}
    assert measured == set(HUB_METRICS)
