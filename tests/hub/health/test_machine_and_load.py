"""Checks of this machine, and of limits that were reached."""

from datetime import timedelta
from functools import partial
from pathlib import Path

from hub.base.metrics import Metrics
from hub.base.supervisor import ServiceFailures
from hub.base.toml.limits import Limits
from hub.health import machine_and_load
from hub.health.issues import Severity
from hub.health.machine_and_load import LATELY, check_services
from hub.links.failed_attempts import FailedAttempts
from storage.devices.attempts import AttemptLimits
from storage.store import open_store
from tests.support.clock import START, FakeClock
from tests.support.families import each


def test_full_disk_is_an_error_with_the_free_space() -> None:
    assert machine_and_load.full_disk(None) is None
    found = machine_and_load.full_disk("only 123 MB are free")
    assert found is not None
    assert (found.id, found.severity) == ("disk.full", Severity.ERROR)
    assert "123 MB" in found.explanation


@each(("used", "is_told"), [(0, False), (799, False), (800, True), (1_000, True)])
async def test_open_files_are_reported_as_scarce_at_four_fifths_of_the_limit(
    used: int, is_told: bool
) -> None:
    look = partial(machine_and_load.check_open_files, lambda: used, lambda: 1_000)
    assert [found.id for found in await look(START)] == ["files.scarce"] * is_told


def made(folder: Path, mode: int, **files: int) -> Path:
    """A state folder of that mode, with files of these modes."""
    state = folder / "state"
    state.mkdir()
    for name, file_mode in files.items():
        (state / name).touch()
        (state / name).chmod(file_mode)
    state.chmod(mode)
    return state


async def test_private_state_folder_is_not_reported_despite_readable_files(tmp_path: Path) -> None:
    assert list(await machine_and_load.check_folder(made(tmp_path, 0o700, node=0o644), START)) == []


async def test_state_folder_may_be_entered_by_the_group_but_files_not_read(tmp_path: Path) -> None:
    state = made(tmp_path, 0o750, db=0o600)
    assert list(await machine_and_load.check_folder(state, START)) == []
    (state / "db").chmod(0o640)
    (found,) = await machine_and_load.check_folder(state, START)
    assert (found.id, found.severity) == ("folder.open", Severity.WARNING)
    assert f"chmod 0600 {state}/db" in found.fix


async def test_open_state_folder_is_reported_with_all_readable_files(tmp_path: Path) -> None:
    state = made(tmp_path, 0o755, db=0o644, key=0o600, node=0o604)
    assert [
        (found.path.name, found.mode, found.expected_mode) for found in machine_and_load.exposed_in(state)
    ] == [
        ("state", 0o755, 0o750),
        ("db", 0o644, 0o600),
        ("node", 0o604, 0o600),
    ]
    (found,) = await machine_and_load.check_folder(state, START)
    assert f"others on this machine get at {state} (mode 0755) and 2 more" in found.explanation


async def test_lost_log_lines_are_reported_for_an_hour_after_the_last_lost_line() -> None:
    dropped = 0
    look = machine_and_load.check_log(lambda: dropped)
    assert list(await look(START)) == []
    dropped = 7
    (found,) = await look(START)
    assert "7 lines" in found.explanation
    assert len(list(await look(START + timedelta(minutes=59)))) == 1
    assert list(await look(START + timedelta(minutes=60))) == []


@each(
    ("is_managed", "watchdog_s", "is_told"), [(False, None, False), (True, None, True), (True, 30.0, False)]
)
async def test_a_service_manager_without_a_watchdog_is_reported(
    is_managed: bool, watchdog_s: float | None, is_told: bool
) -> None:
    look = partial(machine_and_load.check_watchdog, is_managed, watchdog_s)
    assert [found.id for found in await look(START)] == ["watchdog.off"] * is_told


MINUTE = timedelta(minutes=1)


async def test_reached_limit_is_reported_with_the_count_and_a_fix() -> None:
    metrics = Metrics()
    look = machine_and_load.check_limits(metrics.reached, lambda: Limits(connections_per_user=3))
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


async def test_reached_limit_is_reported_for_an_hour() -> None:
    metrics = Metrics()
    look = machine_and_load.check_limits(metrics.reached, Limits)
    metrics.limits_reached.labels("users").inc()
    begin = START + MINUTE  # the hub is a minute old when somebody looks first
    assert [found.subject for found in await look(begin)] == ["users"]
    metrics.limits_reached.labels("users").inc(2)
    (both,) = await look(begin + 30 * MINUTE)
    assert "3 times" in both.explanation
    (later,) = await look(begin + LATELY)
    assert "2 times" in later.explanation
    assert list(await look(begin + 30 * MINUTE + LATELY)) == []


async def test_limit_merely_slowing_a_device_down_is_not_reported() -> None:
    metrics = Metrics()
    look = machine_and_load.check_limits(metrics.reached, Limits)
    metrics.limits_reached.labels("frames_per_s").inc(1_000)
    assert list(await look(START)) == []


async def test_every_reported_limit_is_a_limit_of_the_settings() -> None:
    metrics = Metrics()
    look = machine_and_load.check_limits(metrics.reached, Limits)
    for name in machine_and_load.COUNSEL:
        metrics.limits_reached.labels(name).inc()
    found = list(await look(START))
    assert {one.subject for one in found} == machine_and_load.COUNSEL.keys()
    (files,) = [one for one in found if one.subject == "open_files"]  # the one limit that no setting raises
    assert "LimitNOFILE=" in files.fix and "limits." not in files.fix + files.explanation


async def test_throttled_addresses_are_reported_with_the_longest_wait_first() -> None:
    clock, once = FakeClock(), AttemptLimits(failures=1, wait_s=100.0)
    async with open_store("sqlite://") as store:
        attempts = FailedAttempts(store, clock, kind="operator", limits=once)
        look = partial(machine_and_load.check_shut_out, attempts.waiting)
        assert list(await look(START)) == []
        for number in range(1, 6):
            await attempts.fail(f"192.0.2.{number}")
            clock.advance(10)
    (found,) = await look(START)
    assert found.id == "attempts.shut_out"
    assert "192.0.2.5 (90 s), 192.0.2.4 (80 s), 192.0.2.3 (70 s) and 2 more" in found.explanation
    clock.advance(100)
    assert list(await look(START)) == []


def test_broken_service_is_reported_for_an_hour_and_while_down() -> None:
    failures: dict[str, ServiceFailures] = {}
    look = partial(check_services, lambda: failures)
    assert list(look(START)) == []

    failures["backups"] = ServiceFailures(2, START, "ValueError")
    (down,) = look(START + timedelta(days=1))
    assert (down.id, down.subject, down.severity) == ("service.broken", "backups", Severity.ERROR)
    assert "broke 2 times since the start, last with ValueError; it is down" in down.explanation

    failures["backups"].is_down = False
    (back,) = look(START + timedelta(minutes=59))
    assert (back.severity, back.explanation[-13:]) == (Severity.WARNING, "it runs again")
    assert list(look(START + timedelta(hours=1))) == []
