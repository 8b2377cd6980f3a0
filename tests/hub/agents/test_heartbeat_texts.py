"""What a device says of an agent, in this project's words."""

from typing import Any

import pytest

from hub.agents.heartbeats import MOST_RECOVERY_MS, NO_REASON, read_beat
from protocol.agent_status import Availability, ExhaustReason
from protocol.coordination import AgentBeat
from storage.agents.status_writes import AgentReport
from tests.support.families import each

AT = 1_800_000_000_000
MINUTE = 60_000


def read(status: str = "idle", *, usage_bytes: int = 100, **told: Any) -> tuple[AgentReport, list[str]]:
    beat = AgentBeat(agent_id="a", status=status, **told)
    report, doubts = read_beat(beat, AT, usage_bytes=usage_bytes)
    return report, [doubt.what for doubt in doubts]


@each(
    ("status", "availability"),
    [
        ("idle", Availability.AVAILABLE),
        ("on_call", Availability.ON_CALL),
        ("EXHAUSTED", Availability.EXHAUSTED),
        ("busy", None),
        ("processing", None),
        ("waiting", None),
    ],
)
def test_a_status_is_an_availability_or_a_hint(status: str, availability: Availability | None) -> None:
    report, doubts = read(status)
    assert (report.availability, report.is_online, report.error, doubts) == (availability, True, None, [])


def test_an_agent_that_its_device_calls_offline_is_offline() -> None:
    report, _ = read("offline")
    assert (report.is_online, report.availability) == (False, None)


@each(
    ("status", "detail", "error"),
    [
        ("idle", None, None),
        ("idle", "READY", None),
        ("idle", "ERROR", NO_REASON),
        ("busy", "error: the disk is full ", "the disk is full"),
        ("error", None, NO_REASON),
        ("error", "the disk is full", "the disk is full"),
        ("idle", "ERROR: " + "x" * 600, "x" * 500),
    ],
)
def test_an_error_is_a_word_with_its_reason_behind_it(
    status: str, detail: str | None, error: str | None
) -> None:
    assert read(status, state_detail=detail)[0].error == error


@pytest.mark.parametrize(
    ("told", "recovery_at", "availability"),
    [
        (None, None, Availability.EXHAUSTED),
        (AT + MINUTE, AT + MINUTE, Availability.EXHAUSTED),
        (AT, None, None),
        (2**53 - 1, AT + MOST_RECOVERY_MS, Availability.EXHAUSTED),
    ],
    ids=["untold", "told", "over", "never"],
)
def test_an_exhaustion_ends_when_its_device_says_and_within_a_month(
    told: int | None, recovery_at: int | None, availability: Availability | None
) -> None:
    report, _ = read("exhausted", exhaust_reason="billing", recovery_at_ms=told)
    assert (report.availability, report.recovery_at) == (availability, recovery_at)
    assert report.exhaust_reason is ExhaustReason.BILLING


@pytest.mark.parametrize(
    ("status", "told", "doubt"),
    [
        ("dreaming", {}, "unknown_status"),
        ("exhausted", {"exhaust_reason": "budget"}, "unknown_reason"),
        ("idle", {"resource_usage": {"note": "x" * 100}}, "usage_too_large"),
        ("idle", {"resource_usage": {"note": "\0"}}, "usage_unreadable"),
    ],
    ids=["status", "reason", "usage", "null"],
)
def test_what_is_not_understood_is_left_out_and_named(status: str, told: dict[str, Any], doubt: str) -> None:
    report, doubts = read(status, **told)
    assert (doubts, report.usage, report.is_online) == ([doubt], None, True)


def test_an_error_with_an_unstorable_character_is_reported_without_it() -> None:
    report, _ = read("idle", state_detail="ERROR: broken\0pipe")
    assert report.error == "broken pipe"
