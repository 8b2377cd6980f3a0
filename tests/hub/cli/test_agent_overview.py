"""An agent on one screen, as a person reads it."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec import convert, to_builtins

from hub.api.nouns.agent_configs import CapabilityView
from hub.api.nouns.agent_status import AgentStatusView, AxisView
from hub.api.nouns.costs import CostView, SpendView
from hub.api.nouns.locks import LockHolderView, LockView
from hub.api.nouns.overviews import AgentOverview, CheckpointBrief
from hub.api.nouns.runs import RunView
from hub.api.nouns.schedules import ScheduleView
from hub.cli.agents import _facts, print_overview
from hub.docs import page
from hub.schedules.trigger import Upcoming
from protocol.lifecycles import RunOutcome, RunState
from tests.support.clock import START

SPENT: dict[str, Any] = {
    "key": "notes",
    "requests": 12,
    "prompt_tokens": 900,
    "completion_tokens": 80,
    "took_s": 3.0,
}


def make_schedule(**about: object) -> ScheduleView:
    """Return a schedule of weekdays at seven in Berlin, but for *about*."""
    fires = tuple(
        Upcoming(at=at, local=at) for at in (START + timedelta(days=day, hours=-3) for day in (1, 2))
    )
    given: dict[str, object] = {"id": "s-1", "kind": "cron", "expr": "0 7 * * 1-5", "next_fires": fires}
    return convert(given | about, ScheduleView)


RUN = RunView(
    id="r-0",
    agent="notes",
    device="desk",
    state=RunState.COMPLETED,
    outcome=RunOutcome.SUCCESS,
    items_created=2,
    created_at=START,
    completed_at=START + timedelta(seconds=75),
)


def make_overview(*, agent: dict[str, Any] | None = None, **about: Any) -> dict[str, Any]:
    """An agent that works well, but for what is said otherwise."""
    schedule = make_schedule()
    shown = {
        "id": "a-1",
        "name": "notes",
        "user": "owner",
        "device": "desk",
        "device_connected": True,
        "paths": ["notes"],
        "file_extensions": [".md"],
        "data_types": ["tasks"],
        "prompt": "Find what I promised to do. " * 9,
        "schedule": schedule.expr,
        "schedules": [schedule],
        "next_fires": schedule.next_fires,
    } | (agent or {})
    given: dict[str, Any] = {
        "agent": shown,
        "status": make_status(),
        "slots": (),
        "runs": (RUN,),
        "locks": (),
        "capabilities": (),
        "config": (),
        "checkpoints": (),
        "spend": SpendView(
            day=CostView(calls=0, usd=0.0, **SPENT), month=CostView(calls=0, usd=0.0, **SPENT)
        ),
        "series": 0,
    }
    overview: dict[str, Any] = to_builtins(convert(to_builtins(given | about), AgentOverview))
    return overview


def make_status(**axes: AxisView) -> AgentStatusView:
    """Active, available, online and well since the start, but for what is said otherwise."""
    calm = {
        "lifecycle": AxisView(value="active", since=START, actor="hub.toml"),
        "availability": AxisView(value="available"),
        "connectivity": AxisView(value="online", since=START, actor="hub", reason="device desk connected"),
        "health": AxisView(value="ok"),
        "activity": AxisView(value="idle"),
    }
    shown = calm | axes
    is_exhausted = shown["availability"].value == "exhausted"
    values: dict[str, Any] = {axis: one.value for axis, one in shown.items()}
    return AgentStatusView(
        agent="notes",
        **values,
        resource_usage={},
        metadata={},
        exhaust_reason="rate_limit" if is_exhausted else None,
        exhausted_at=START if is_exhausted else None,
        recovery_at=START + timedelta(minutes=3) if is_exhausted else None,
        last_activity_at=START,
        max_concurrent_runs=1,
        version=7,
        axes=shown,
    )


@pytest.fixture
def screen(capsys: pytest.CaptureFixture[str]) -> Any:
    def shown(**about: Any) -> dict[str, str]:
        print_overview(make_overview(**about))
        facts: dict[str, str] = {}
        for line in capsys.readouterr().out.splitlines():
            assert len(line) <= 200, line
            name, _, value = line.partition("  ") if not line.startswith("  ") else line[2:].partition("  ")
            facts.setdefault(name.strip(), value.strip())
        return facts

    return shown


def test_a_calm_agent_takes_a_few_lines_without_empty_facts(screen: Any) -> None:
    shown = screen()
    assert shown["identity"] == "CUSTOM of owner, managed by hub.toml"
    assert shown["state"] == "active, available, online, ok, idle"
    assert shown["lifecycle"].endswith("by hub.toml")
    assert shown["next run"].startswith("2026-01-06")
    assert len(shown["prompt"]) == 70
    assert not shown.keys() & {"slots", "locks", "config", "checkpoints", "spend", "metrics", "availability"}


def test_the_sample_of_the_handbook_has_the_names_of_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    overview = make_overview()
    names = {name.strip() for name, _ in _facts(overview)} | overview["status"]["axes"].keys()
    print_overview(overview)
    *_, header, _ = capsys.readouterr().out.splitlines()
    sample = page("agents").partition("$ hub agents show scholar\n")[2].partition("```")[0].splitlines()
    assert {line[:16].strip() for line in sample[:-2]} - names == set()
    assert sample[-2].split() == header.split()


def test_the_exhaustion_of_an_agent_is_shown_with_its_reason_begin_and_end(screen: Any) -> None:
    since = AxisView(value="exhausted", since=START, reason="429 of the model", actor="hub")
    shown = screen(status=make_status(availability=since))
    assert shown["availability"].endswith("by hub: 429 of the model")
    assert shown["exhausted"].startswith("rate_limit, available again at 2026-01-05")


def test_locks_capabilities_configs_checkpoints_and_spend_of_an_agent_are_shown(screen: Any) -> None:
    shown = screen(
        locks=(
            LockView(
                resource="mailbox",
                user="owner",
                fence=4,
                holder=LockHolderView(kind="run", id="r-1", agent="notes"),
                since=START,
            ),
            LockView(
                resource="scanner",
                user="owner",
                fence=2,
                holder=LockHolderView(kind="device", id="d-2", agent="scans"),
            ),
        ),
        capabilities=(
            CapabilityView(
                name="file.read",
                version="1.2.0",
                enabled=True,
                source="device",
                created_at=START,
                updated_at=START,
            ),
        ),
        config=tuple(f"key{number}" for number in range(10)),
        checkpoints=(CheckpointBrief(scope="agent", sequence=12, is_recoverable=False, updated_at=START),),
        spend=SpendView(
            day=CostView(calls=1, usd=0.0123, **SPENT), month=CostView(calls=12, usd=0.4, **SPENT)
        ),
        series=3,
    )
    assert shown["locks"].startswith("holds mailbox (fence 4) since")
    assert shown["locks"].endswith("waits for scanner, held by device scans")
    assert shown["capabilities"] == "file.read 1.2.0"
    assert shown["config"].endswith("key7 and 2 more")
    assert shown["checkpoints"].startswith("agent #12 of") and shown["checkpoints"].endswith(
        "not recoverable"
    )
    assert shown["spend"] == "$0.0123 in 24 h (1 request); $0.4000 in 30 days (12 requests)"
    assert shown["metrics"] == "3 series"


def test_an_agent_is_shown_with_what_becomes_of_fires_that_cannot_run(screen: Any) -> None:
    schedule = make_schedule(overlap="queue_all", catch_up="all", catch_up_window_s=172_800.0)
    assert (
        "overlap queue_all, catch up all not older than 2 d"
        in screen(agent={"schedules": [schedule]})["policies"]
    )


def test_a_schedule_paused_by_failures_is_shown_with_the_reason(screen: Any) -> None:
    because = "paused after 5 failed runs in a row"
    schedule = make_schedule(enabled=False, paused_reason="failures", paused_because=because, next_fires=[])
    shown = screen(agent={"schedules": [schedule], "next_fires": []})
    assert shown["schedule"] == f"0 7 * * 1-5 (UTC, {because})"
    assert shown["next run"] == "none"
