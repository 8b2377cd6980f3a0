"""Checks of what the hub has from its machine."""

from datetime import timedelta
from functools import partial
from pathlib import Path

from hub.health import machine
from hub.health.issues import Severity
from tests.support.clock import START
from tests.support.families import each


def test_a_full_disk_is_an_error_that_says_how_much_is_left() -> None:
    assert machine.full_disk(None) is None
    found = machine.full_disk("only 123 MB are free")
    assert found is not None
    assert (found.id, found.severity) == ("disk.full", Severity.ERROR)
    assert "123 MB" in found.explanation


@each(("used", "is_told"), [(0, False), (799, False), (800, True), (1_000, True)])
async def test_files_become_scarce_at_four_fifths_of_what_may_be_open(used: int, is_told: bool) -> None:
    look = partial(machine.check_open_files, lambda: used, lambda: 1_000)
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


async def test_a_closed_folder_is_well_whatever_lies_in_it(tmp_path: Path) -> None:
    assert list(await machine.check_folder(made(tmp_path, 0o700, node=0o644), START)) == []


async def test_a_group_may_pass_through_to_the_socket_but_not_read_the_files(tmp_path: Path) -> None:
    state = made(tmp_path, 0o750, db=0o600)
    assert list(await machine.check_folder(state, START)) == []
    (state / "db").chmod(0o640)
    (found,) = await machine.check_folder(state, START)
    assert (found.id, found.severity) == ("folder.open", Severity.WARNING)
    assert f"chmod 0600 {state}/db" in found.fix


async def test_an_open_folder_is_reported_with_all_readable_files_in_it(tmp_path: Path) -> None:
    state = made(tmp_path, 0o755, db=0o644, key=0o600, node=0o604)
    assert [(found.path.name, found.mode, found.expected_mode) for found in machine.exposed_in(state)] == [
        ("state", 0o755, 0o750),
        ("db", 0o644, 0o600),
        ("node", 0o604, 0o600),
    ]
    (found,) = await machine.check_folder(state, START)
    assert f"others on this machine get at {state} (mode 0755) and 2 more" in found.explanation


async def test_lost_log_lines_are_reported_for_an_hour_after_the_last_one() -> None:
    dropped = 0
    look = machine.check_log(lambda: dropped)
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
    look = partial(machine.check_watchdog, is_managed, watchdog_s)
    assert [found.id for found in await look(START)] == ["watchdog.off"] * is_told
