"""Every case that was decided beforehand: measured, argued over, and written down in cron_cases.json."""

import json
from pathlib import Path
from typing import Any

import pytest

from hub.schedules.cron import BadSchedule, parse_cron
from tests.hub.schedules.instants import cron, next_fires
from tests.support.families import each

CASES = json.loads(Path(__file__).with_name("cron_cases.json").read_text(encoding="utf-8"))
ACCEPTED = [case for case in CASES["calendar"] if case["decision"] == "accept"]
REJECTED = [case for case in CASES["calendar"] if case["decision"] == "reject"]
ASKED_FOR = {  # what a hint must at least say, where the case itself leaves it open
    "0 0 31 4,6 *": "L is its last day",
    "*/10 * * * * *": "every_s = 10",
    "5/15 * * * *": "5-59/15",
    "@every 5m": "every_s = 300",
    "H * * * *": "jitter",
}


def test_number_of_decided_cases_is_complete() -> None:
    assert (len(CASES["dst"]), len(ACCEPTED), len(REJECTED)) == (200, 24, 31)


@each("case", CASES["dst"])
def test_a_change_of_the_clocks_moves_fires_as_decided(case: dict[str, Any]) -> None:
    assert parse_cron(case["expr"]).follows_wall is (case["kind"] == "wall-following")
    expected = case["expected"]
    assert next_fires(cron(case["expr"], case["tz"]), case["after"], len(expected)) == expected


@each("case", [case for case in CASES["dst"] if case.get("debian_cron_measured")])
def test_a_real_debian_cron_ran_the_job_at_the_same_instants(case: dict[str, Any]) -> None:
    measured = sorted(set(case["debian_cron_measured"]))  # it runs a job once for each minute skipped
    found = next_fires(cron(case["expr"], case["tz"]), case["after"], 24)
    assert [fire for fire in found if measured[0] <= fire <= measured[-1]] == measured


@each("case", ACCEPTED)
def test_an_accepted_expression_fires_as_decided(case: dict[str, Any]) -> None:
    found = parse_cron(case["expr"])
    if "normalised" in case:
        assert found.text == case["normalised"]
    assert ("warning" in case) == (found.warning is not None)
    assert case.get("warning", "") in (found.warning or "")
    expected = case["expected"]
    assert next_fires(cron(case["expr"], case["tz"]), case["after"], len(expected)) == expected


@each("case", REJECTED)
def test_rejected_cron_expression_is_refused_with_code_and_hint(case: dict[str, Any]) -> None:
    with pytest.raises(BadSchedule) as refused:
        parse_cron(case["expr"])
    assert refused.value.reason == case["code"]
    assert refused.value.hint
    assert case.get("hint", ASKED_FOR.get(case["expr"], "")) in refused.value.hint
