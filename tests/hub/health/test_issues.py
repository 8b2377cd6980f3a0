"""The registry of issues: what is found stays one issue until it is not found any more."""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial

import anyio
import pytest

from hub.base.metrics import Metrics
from hub.health.issues import (
    EVERY_S,
    FRESH_S,
    ONLINE_LIFETIME_S,
    Check,
    Finding,
    IssueRegistry,
    error,
    lasting,
    notice,
    warning,
)
from protocol.ids import UserId
from storage.kernel.database import Busy
from tests.support.clock import START, FakeClock
from tests.support.services import running


class Facts:
    """A check that finds what a test puts in."""

    def __init__(self, *found: Finding) -> None:
        self.found: list[Finding] = list(found)
        self.runs = 0

    async def __call__(self, now: datetime) -> Iterable[Finding]:
        self.runs += 1
        return self.found


FULL = error("disk.full", "no room is left", fix="make room")
OLD = warning("token.ends", "the token ends", fix="make another", subject="t-1")
WAITS = notice("pairing.waits", "a device waits", fix="type its code", subject="p-1")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def issues(clock: FakeClock, metrics: Metrics) -> IssueRegistry:
    return IssueRegistry(clock=clock, metrics=metrics)


def told(issues: IssueRegistry) -> list[tuple[str, str, timedelta]]:
    return [(issue.found.id, issue.found.subject, issue.since - START) for issue in issues.current]


async def test_lasting_issue_retains_the_time_of_the_first_finding(
    issues: IssueRegistry, clock: FakeClock
) -> None:
    facts = Facts(FULL)
    issues.add("disk", facts)
    await issues.run_checks()
    clock.advance(60)
    facts.found = [FULL, OLD]
    await issues.run_checks()
    assert told(issues) == [("disk.full", "", timedelta()), ("token.ends", "t-1", timedelta(minutes=1))]


async def test_issue_found_again_after_an_end_has_a_new_start_time(
    issues: IssueRegistry, clock: FakeClock
) -> None:
    facts = Facts(FULL)
    issues.add("disk", facts)
    await issues.run_checks()
    facts.found = []
    clock.advance(60)
    await issues.run_checks()
    assert told(issues) == []
    facts.found = [FULL]
    clock.advance(60)
    await issues.run_checks()
    assert told(issues) == [("disk.full", "", timedelta(minutes=2))]


async def test_issues_are_ordered_by_stop_severity_and_age(issues: IssueRegistry) -> None:
    earlier = warning("a.b", "so it is", fix="do it", subject="1", since=START - timedelta(days=1))
    failing = error("a.b", "so it is", fix="do it", subject="2", since=START - timedelta(days=1))
    stop = notice("hub.draining", "it drains", fix="start it", is_stop=True)
    issues.add("all", Facts(WAITS, OLD, FULL, earlier, failing, stop))
    await issues.run_checks()
    assert [issue.found for issue in issues.current] == [stop, failing, FULL, earlier, OLD, WAITS]
    assert issues.current[3].since == START - timedelta(days=1)


async def test_metric_of_issues_has_a_series_for_each_id_and_severity_while_an_issue_holds(
    issues: IssueRegistry, metrics: Metrics
) -> None:
    def series() -> list[str]:
        return [line for line in metrics.render().decode().splitlines() if line.startswith("hub_issues{")]

    issues.add("all", Facts(FULL, OLD, WAITS))
    assert series() == []
    await issues.run_checks()
    assert series() == [
        'hub_issues{id="disk.full",severity="error"} 1.0',
        'hub_issues{id="token.ends",severity="warning"} 1.0',
        'hub_issues{id="pairing.waits",severity="notice"} 1.0',
    ]


async def test_watched_finding_is_an_issue_without_a_run_of_the_checks(
    clock: FakeClock, metrics: Metrics
) -> None:
    facts, held, noted = Facts(OLD), list[Finding](), list[str]()

    async def note(changed: Iterable[tuple[str, UserId | None]]) -> None:
        noted.extend(key for key, _ in changed)

    issues = IssueRegistry(clock=clock, metrics=metrics, note_changes=note)
    issues.add("tokens", facts)
    issues.watch(lambda now: held)
    await issues.run_checks()
    held.append(FULL)
    clock.advance(1)
    assert told(issues) == [("disk.full", "", timedelta(seconds=1)), ("token.ends", "t-1", timedelta())]
    assert [issue.found for issue in issues.known] == [FULL]
    clock.advance(1)
    held.clear()
    assert b"disk.full" not in metrics.render()
    assert (told(issues), facts.runs) == ([("token.ends", "t-1", timedelta())], 1)
    noted.clear()
    await issues.run_checks()
    assert noted == ["disk.full", "disk.full"]  # opened, and closed


async def test_checks_of_a_busy_database_keep_their_last_findings(issues: IssueRegistry) -> None:
    asked: list[str] = []
    is_held = False

    def check(name: str, found: Finding) -> Check:
        async def check(now: datetime) -> Iterable[Finding]:
            asked.append(name)
            if is_held:
                raise Busy("another process holds the database")
            return [found]

        return check

    issues.add("first", check("first", OLD))
    issues.add("second", check("second", WAITS))
    await issues.run_checks()
    is_held = True
    await issues.run_checks()
    assert asked == ["first", "second"] * 2
    assert [issue.found for issue in issues.current] == [OLD, WAITS]  # may still hold


async def test_broken_check_is_an_issue_and_the_other_checks_are_run(issues: IssueRegistry) -> None:
    async def broken(now: datetime) -> Iterable[Finding]:
        raise RuntimeError("nobody thought of this")

    issues.add("broken", broken)
    issues.add("disk", Facts(FULL))
    await issues.run_checks()
    assert [(issue.found.id, issue.found.subject) for issue in issues.current] == [
        ("disk.full", ""),
        ("check.failed", "broken"),
    ]


async def test_checks_run_together_and_checks_without_an_answer_in_time_are_named(
    issues: IssueRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = False

    async def may_hang(now: datetime) -> Iterable[Finding]:
        if hangs:
            await anyio.sleep_forever()
        return [OLD]

    monkeypatch.setattr("hub.health.issues.CHECK_S", 0.05)
    for name in ("tokens", "nodes"):
        issues.add(name, may_hang)
    issues.add("disk", Facts(FULL))
    await issues.run_checks()
    assert [issue.found for issue in issues.current] == [FULL, OLD]
    hangs = True
    async with anyio.create_task_group() as askers:
        for _ in range(3):  # each waits for the same run
            askers.start_soon(partial(issues.fresh, anew=False))
    assert [issue.found for issue in issues.current] == [FULL, OLD]
    issues.forget()
    with anyio.fail_after(1.0):
        found = [issue.found for issue in await issues.fresh()]
    assert [one.id for one in found] == ["disk.full", "token.ends", "check.late"]
    assert found[2].explanation.endswith("is shown: tokens, nodes")
    hangs = False
    assert [issue.found for issue in await issues.fresh(anew=True)] == [FULL, OLD]


async def test_the_checks_are_run_once_a_minute(issues: IssueRegistry, clock: FakeClock) -> None:
    facts = Facts()
    issues.add("disk", facts)
    async with running(issues):
        await clock.pass_time(3 * EVERY_S)
    assert facts.runs == 4


async def test_issues_requested_in_short_intervals_are_not_checked_again(
    issues: IssueRegistry, clock: FakeClock
) -> None:
    facts = Facts(FULL)
    issues.add("disk", facts)
    for _ in range(3):
        assert [issue.found for issue in await issues.fresh()] == [FULL]
    assert facts.runs == 1
    clock.advance(FRESH_S)
    await issues.fresh()
    assert facts.runs == 2


async def test_other_machines_are_checked_only_on_request_and_not_too_often(
    issues: IssueRegistry, clock: FakeClock
) -> None:
    model = Facts(error("model.unreachable", "it does not answer", fix="start it"))
    issues.add("model", model, online=True)
    assert (await issues.fresh(), model.runs) == ([], 0)
    assert [issue.found.id for issue in await issues.fresh(online=True)] == ["model.unreachable"]
    await issues.run_checks()
    assert ([issue.found.id for issue in issues.current], model.runs) == (["model.unreachable"], 1)
    model.found = []
    clock.advance(FRESH_S - 1)
    assert len(await issues.fresh(online=True)) == model.runs == 1
    clock.advance(1)
    assert await issues.fresh(online=True) == []


async def test_online_finding_expires_after_the_online_lifetime(
    issues: IssueRegistry, clock: FakeClock
) -> None:
    issues.add("model", Facts(error("model.unreachable", "no answer", fix="start it")), online=True)
    await issues.run_checks(online=True)
    clock.advance(ONLINE_LIFETIME_S - 1)
    await issues.run_checks()
    assert len(issues.current) == 1
    clock.advance(1)
    await issues.run_checks()
    assert issues.current == []


async def test_fixed_problem_is_checked_again_on_request_or_after_a_change(
    issues: IssueRegistry,
) -> None:
    facts = Facts()
    issues.add("agents", facts)
    for change, anew, are_left in (
        (partial(issues.forget, "a-2"), True, 0),
        (partial(issues.forget), False, 0),
        (partial(issues.forget, "a-1"), False, 0),
        (partial(issues.forget, "a-2"), False, 1),
    ):
        facts.found = [error("agent.runs_fail", "it failed", fix="run it", subject="a-1")]
        assert len(await issues.fresh(anew=True)) == 1
        facts.found = []
        change()
        assert len(await issues.fresh(anew=anew)) == are_left


async def test_online_findings_are_dropped_after_a_settings_change(
    issues: IssueRegistry,
) -> None:
    issues.add("model", Facts(error("model.unreachable", "no answer", fix="start it")), online=True)
    for online, are_left in ((False, 1), (True, 0)):
        assert len(await issues.fresh(online=True)) == 1
        issues.forget(online=online)
        assert len(await issues.fresh()) == are_left


async def test_issue_is_logged_only_at_begin_and_end(
    issues: IssueRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    facts = Facts(FULL)
    issues.add("disk", facts)
    for found in ([FULL], [FULL], []):
        facts.found = found
        await issues.run_checks()
    assert [record.getMessage() for record in caplog.records] == ["issue.opened", "issue.closed"]


async def test_lasting_check_reports_a_finding_only_after_the_minimum_time(clock: FakeClock) -> None:
    facts = Facts(FULL)
    check = lasting(facts, clock, 600)
    seen = []
    for seconds, found in ((0, FULL), (599, FULL), (1, FULL), (60, None), (1, FULL)):
        clock.advance(seconds)
        facts.found = [] if found is None else [found]
        seen.append(list(await check(START)))
    assert seen == [[], [], [FULL], [], []]
