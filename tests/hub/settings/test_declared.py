"""The agents of hub.toml as the rows keep them."""

from pathlib import Path

import pytest

from hub.settings.declared import declared_agent
from hub.settings.reading import load_settings
from storage.agents.declared_agents import DeclaredAgent
from storage.schedules.schedule_rows import DeclaredSchedule

AGENT = """\
[[agents]]
name = "notes"
device = "desk"
paths = ["~/notes"]
data_types = ["tasks"]
prompt = "Find what I promised to do."
timezone = "Europe/Berlin"
"""


def _declared(folder: Path, *lines: str) -> DeclaredAgent:
    file = folder / "hub.toml"
    file.write_text(AGENT + "\n".join(lines))
    settings = load_settings(file)
    return declared_agent(settings.agents[0], run_wall_s=1_800.0, patterns=settings.redaction.patterns)


@pytest.mark.parametrize(
    ("schedule", "declared"),
    [
        (
            '"0 7 * * 1-5"',
            DeclaredSchedule(kind="cron", expr="0 7 * * 1-5", tz="Europe/Berlin", run_timeout_ms=1_800_000),
        ),
        (
            '"@hourly"',
            DeclaredSchedule(
                kind="cron",
                expr="@hourly",
                tz="Europe/Berlin",
                jitter_ms=120_000,
                run_timeout_ms=1_800_000,
            ),
        ),
        (
            "{ at = 2026-12-01T09:00:00+01:00, start_deadline_s = 60, run_timeout_s = 90.5 }",
            DeclaredSchedule(
                kind="at",
                at_ms=1_796_112_000_000,
                tz="Europe/Berlin",
                start_deadline_ms=60_000,
                run_timeout_ms=90_500,
            ),
        ),
        (
            '{ every_s = 7.5, overlap = "queue_all", catch_up = "all", catch_up_window_s = 600,'
            " max_catch_up = 3, jitter_s = 2, max_attempts = 1, pause_after_failures = 0 }",
            DeclaredSchedule(
                kind="every",
                every_ms=7_500,
                tz="Europe/Berlin",
                overlap="queue_all",
                coalesce="all",
                catchup_window_ms=600_000,
                max_catchup=3,
                jitter_ms=2_000,
                run_timeout_ms=1_800_000,
                max_attempts=1,
                pause_after_failures=0,
            ),
        ),
        (
            '{ every_s = 60, catch_up = "none" }',
            DeclaredSchedule(
                kind="every",
                every_ms=60_000,
                tz="Europe/Berlin",
                catchup_window_ms=0,
                run_timeout_ms=1_800_000,
            ),
        ),
    ],
)
def test_a_schedule_is_kept_in_milliseconds_with_its_defaults_filled_in(
    tmp_path: Path, schedule: str, declared: DeclaredSchedule
) -> None:
    assert _declared(tmp_path, f"schedule = {schedule}").schedule == declared


@pytest.mark.parametrize(
    ("slot", "declared"),
    [
        (
            '{ label = "standup", cron = "0 9 * * 1-5", duration_s = 900 }',
            DeclaredSchedule(
                kind="cron",
                action="wake",
                label="standup",
                duration_ms=900_000,
                expr="0 9 * * 1-5",
                tz="Europe/Berlin",
                catchup_window_ms=900_000,
            ),
        ),
        (
            '{ label = "review", every_s = 3600, duration_s = 60, overlap = "allow",'
            " catch_up_window_s = 30 }",
            DeclaredSchedule(
                kind="every",
                action="wake",
                label="review",
                duration_ms=60_000,
                every_ms=3_600_000,
                tz="Europe/Berlin",
                overlap="allow",
                catchup_window_ms=30_000,
            ),
        ),
        (
            '{ label = "hourly", cron = "@hourly", duration_s = 60, catch_up = "none" }',
            DeclaredSchedule(
                kind="cron",
                action="wake",
                label="hourly",
                duration_ms=60_000,
                expr="@hourly",
                tz="Europe/Berlin",
                catchup_window_ms=0,
            ),
        ),
    ],
)
def test_a_slot_is_caught_up_until_it_ends_and_comes_on_time(
    tmp_path: Path, slot: str, declared: DeclaredSchedule
) -> None:
    assert _declared(tmp_path, f"slots = [{slot}]").slots == (declared,)


def test_an_agent_is_kept_as_it_is_written(tmp_path: Path) -> None:
    assert _declared(tmp_path, 'user = "anna"', "priority = 3", "max_concurrent_runs = 2") == DeclaredAgent(
        name="notes",
        user_name="anna",
        device_name="desk",
        paths=("~/notes",),
        data_types=("tasks",),
        prompt="Find what I promised to do.",
        timezone="Europe/Berlin",
        priority=3,
        max_concurrent_runs=2,
    )
