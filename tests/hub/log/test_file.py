"""Log entries of earlier processes, in two files of bounded size."""

import stat
from pathlib import Path

from hub.log import Channel, LogEntry, LogFile
from hub.log.lines import NAME
from tests.support.log import opened_log

log = Channel("hub.somewhere")
SECRET = "hub_dev_0123456789abcdefghijABCDEFGHIJ0123456789"


def entry(number: int, text: str = "") -> LogEntry:
    return LogEntry(number, number * 1_000, "info", "a.b", "x", {"text": text})


def numbers(file: LogFile, since: int = 0, until: int | None = None) -> list[int]:
    return [one.seq for one in file.read(since, until)]


def test_entries_are_read_back_by_time(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", 1_000_000)
    assert (file.last_seq(), numbers(file)) == (0, [])
    file.write([entry(1), entry(2)])
    file.write([entry(3)])
    again = LogFile(tmp_path / "log", 1_000_000)
    assert (again.last_seq(), numbers(again), numbers(again, 2_000, 3_000)) == (3, [1, 2, 3], [2])
    assert again.read(3_000) == [entry(3)]


def test_the_files_are_private_and_bounded_and_the_newest_entries_stay(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", 10_000)
    for number in range(1, 501):
        file.write([entry(number, "x" * 100)])
    found = list((tmp_path / "log").iterdir())
    assert sum(path.stat().st_size for path in found) <= 10_000 + 2 * 200
    assert {stat.S_IMODE(path.stat().st_mode) for path in (*found, tmp_path / "log")} == {0o600, 0o700}
    kept = numbers(file)
    assert kept == list(range(kept[0], 501)) and len(kept) > 20


def test_a_line_that_a_killed_process_left_incomplete_hides_no_other(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", 1_000_000)
    file.write([entry(1), entry(2)])
    path = tmp_path / "log" / NAME
    path.write_bytes(path.read_bytes()[:-5])
    assert file.last_seq() == 1
    file.write([entry(2)])
    assert numbers(file) == [1, 2]


def test_a_folder_that_cannot_be_written_does_not_stop_the_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file in the place of the folder")
    file = LogFile(tmp_path / "log", 1_000_000)
    file.write([entry(1)])
    assert (file.last_seq(), file.read(0)) == (0, [])


def test_the_numbers_go_on_in_the_next_process(tmp_path: Path) -> None:
    for _ in range(2):
        with opened_log(file=LogFile(tmp_path / "log", 1_000_000)):
            log.info("hub.started", token=SECRET)
    kept = LogFile(tmp_path / "log", 1_000_000).read(0)
    assert [(one.seq, one.event) for one in kept] == [(1, "hub.started"), (2, "hub.started")]
    assert SECRET not in (tmp_path / "log" / NAME).read_text()
