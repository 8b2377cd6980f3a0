"""Checks of limits that were reached, of who is shut out, and of services that failed."""

from datetime import timedelta
from functools import partial

from hub.health import machine
from hub.health.issues import Severity
from hub.health.machine import LATELY, check_services
from hub.links.gate import FailedAttempts
from hub.metrics import Metrics
from hub.settings.limit_settings import Limits
from hub.supervisor import Failures
from storage.devices.attempts import AttemptLimits
from storage.store import open_store
from tests.support.clock import START, FakeClock

MINUTE = timedelta(minutes=1)


async def test_a_reached_limit_is_reported_with_its_count_and_a_fix() -> None:
    metrics = Metrics()
    look = machine.check_limits(metrics.reached, lambda: Limits(connections_per_user=3))
    assert list(await look(START)) == []
    for _ in range(4):
        metrics.limits_reached.labels("connections_per_user").inc()
    (found,) = await look(START + MINUTE)
    assert (found.id, found.severity, found.subject) == (
        "limit.reached",
        Severity.WARNING,
        "connections_per_user",
    )
    assert "limits.connections_per_user (3) was reached 4 times within the last hour" in found.explanation
    assert "devices of a user were refused" in found.explanation
    assert "hub devices" in found.fix and "hub config set limits.connections_per_user=NUMBER" in found.fix


async def test_a_limit_is_no_longer_reported_an_hour_after_it_was_reached() -> None:
    metrics = Metrics()
    look = machine.check_limits(metrics.reached, Limits)
    metrics.limits_reached.labels("users").inc()
    begin = START + MINUTE  # the hub is a minute old when somebody looks first
    assert [found.subject for found in await look(begin)] == ["users"]
    metrics.limits_reached.labels("users").inc(2)
    (both,) = await look(begin + 30 * MINUTE)
    assert "3 times" in both.explanation
    (later,) = await look(begin + LATELY)
    assert "2 times" in later.explanation
    assert list(await look(begin + 30 * MINUTE + LATELY)) == []


async def test_a_limit_that_only_slows_a_device_down_is_not_reported() -> None:
    metrics = Metrics()
    look = machine.check_limits(metrics.reached, Limits)
    metrics.limits_reached.labels("frames_per_s").inc(1_000)
    assert list(await look(START)) == []


async def test_every_reported_limit_is_a_limit_of_the_settings() -> None:
    metrics = Metrics()
    look = machine.check_limits(metrics.reached, Limits)
    for name in machine.COUNSEL:
        metrics.limits_reached.labels(name).inc()
    found = list(await look(START))
    assert {one.subject for one in found} == machine.COUNSEL.keys()
    (files,) = [one for one in found if one.subject == "open_files"]  # the one limit that no setting raises
    assert "LimitNOFILE=" in files.fix and "limits." not in files.fix + files.explanation


async def test_who_is_shut_out_is_named_with_how_long_the_longest_first() -> None:
    clock, once = FakeClock(), AttemptLimits(failures=1, wait_s=100.0)
    async with open_store("sqlite://") as store:
        attempts = FailedAttempts(store, clock, kind="operator", limits=once)
        look = partial(machine.check_shut_out, attempts.waiting)
        assert list(await look(START)) == []
        for number in range(1, 6):
            await attempts.fail(f"192.0.2.{number}")
            clock.advance(10)
    (found,) = await look(START)
    assert found.id == "attempts.shut_out"
    assert "192.0.2.5 (90 s), 192.0.2.4 (80 s), 192.0.2.3 (70 s), and 2 more" in found.explanation
    clock.advance(100)
    assert list(await look(START)) == []


def test_a_broken_service_is_reported_for_an_hour_and_while_it_is_down() -> None:
    failures: dict[str, Failures] = {}
    look = partial(check_services, lambda: failures)
    assert list(look(START)) == []

    failures["backups"] = Failures(2, START, "ValueError")
    (down,) = look(START + timedelta(days=1))
    assert (down.id, down.subject, down.severity) == ("service.broken", "backups", Severity.ERROR)
    assert "broke 2 times since the start, last with ValueError; it is down" in down.explanation

    failures["backups"].is_down = False
    (back,) = look(START + timedelta(minutes=59))
    assert (back.severity, back.explanation[-13:]) == (Severity.WARNING, "it runs again")
    assert list(look(START + timedelta(hours=1))) == []
