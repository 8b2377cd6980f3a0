"""Lines of the log to a program, a person and journald; entries in files and in the ring."""

import json
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread

from hub.base.clock import from_epoch_ms, moment_text
from hub.base.log import Channel, LogEntry, LogFile, Ring, bind, learn_names
from hub.base.log.files import NAME
from hub.base.log.line_formats import (
    NAMES_RETAINED,
    is_journal,
    json_line,
    readable,
    short_line,
    with_priority,
)
from tests.support.families import each
from tests.support.log import Opened, opened_log

log = Channel("hub.somewhere")


def entry(event: str = "unit.unread", level: str = "warning", **fields: object) -> LogEntry:
    return LogEntry(1, 1_767_604_442_000, level, event, "hub.runs.runner", fields)


def test_log_event_is_a_single_json_object_with_all_fields(opened: Opened) -> None:
    with bind(run_id="r1", trace_id="t1"):
        log.info("run.moved", state="RUNNING", fence=3)
    (line,) = map(json.loads, opened.lines())
    told = {"level": "info", "event": "run.moved", "channel": "hub.somewhere", "run_id": "r1"}
    assert line.items() >= {**told, "trace_id": "t1", "state": "RUNNING", "fence": 3}.items()
    assert isinstance(line["ts"], float)


def test_logged_error_contains_the_traceback(opened: Opened) -> None:
    try:
        raise ValueError("the reason")
    except ValueError as exc:
        log.error("run.broke", exc=exc)
    (line,) = map(json.loads, opened.lines())
    assert line["traceback"].startswith("Traceback")
    assert line["traceback"].endswith("ValueError: the reason")


def test_log_record_of_a_library_is_an_event(opened: Opened) -> None:
    logging.getLogger("websockets.server").warning("%d connections", 7)
    logging.getLogger("websockets.server").info("nobody asked for this")
    (line,) = map(json.loads, opened.lines())
    told = {"event": "library.message", "message": "7 connections", "channel": "websockets.server"}
    assert line.items() >= told.items()


def test_entries_below_the_changeable_log_level_are_not_written(
    fresh: Callable[..., Opened],
) -> None:
    opened = fresh(level="warning")
    log.info("run.moved")
    opened.log.change(level="info", content=False)
    log.info("run.queued")
    assert [json.loads(line)["event"] for line in opened.lines()] == ["run.queued"]


def test_short_log_line_has_time_level_meaning_and_fields() -> None:
    line = short_line(entry(code="too_large", run_id="r1"))
    at = moment_text(from_epoch_ms(1_767_604_442_000))
    meaning = "a file or message could not be read, and is left out"
    assert line == f"{at} warning unit.unread: {meaning}; code=too_large run_id=r1"
    assert "\x1b[33mwarning\x1b[0m" in short_line(entry(), colour=True)


def test_a_person_reads_names_of_agents_and_devices_and_the_end_of_other_ids() -> None:
    agent, run = "01a20216-d128-7290-a435-dbad40a17654", "01a20216-d128-7290-a435-dbad3398b18f"
    learn_names({agent: "notes"})
    moved = entry(agent_id=agent, run_id=run, hash=run.replace("-", ""))
    assert short_line(moved).endswith(f" agent=notes run_id=3398b18f hash={moved.fields['hash']}")
    assert json.loads(json_line(moved))["agent_id"] == agent
    assert json.loads(json_line(moved))["meaning"] == "a file or message could not be read, and is left out"


def test_table_of_readable_names_is_bounded() -> None:
    learn_names({"first": "a"})
    learn_names({f"id-{n}": "b" for n in range(NAMES_RETAINED)})
    assert readable("agent_id", "first") == ("agent_id", "first")
    assert readable("agent_id", "id-0") == ("agent", "b")


def test_control_characters_in_log_lines_are_escaped() -> None:
    line = short_line(entry(detail="\x1b]0;evil\x07", traceback="one\ntwo\x1b[2J"))
    assert "\x1b" not in line
    assert line.splitlines()[1:] == ["one", "two\\x1b[2J"]


@each(("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3)])
def test_journald_reads_the_priority_before_the_line(level: str, priority: int) -> None:
    assert with_priority("{}", level) == f"<{priority}>{{}}"


def test_journal_stream_is_recognized_by_device_and_inode(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w") as stream:
        found = os.fstat(stream.fileno())
        named = [{"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + more}"} for more in (0, 1)]
        assert [is_journal(stream, environ) for environ in (*named, {})] == [True, False, False]


SECRET = "hub_dev_0123456789abcdefghijABCDEFGHIJ0123456789"


def numbered(number: int, text: str = "") -> LogEntry:
    return LogEntry(number, number * 1_000, "info", "a.b", "x", {"text": text})


def numbers(file: LogFile, since: int = 0, until: int | None = None) -> list[int]:
    return [one.seq for one in file.read(since, until)]


def test_entries_are_read_back_by_time(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", 1_000_000)
    assert (file.last_seq(), numbers(file)) == (0, [])
    file.write([numbered(1), numbered(2)])
    file.write([numbered(3)])
    again = LogFile(tmp_path / "log", 1_000_000)
    assert (again.last_seq(), numbers(again), numbers(again, 2_000, 3_000)) == (3, [1, 2, 3], [2])
    assert again.read(3_000) == [numbered(3)]


def test_log_files_are_private_and_bounded_and_retain_the_newest_entries(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", 10_000)
    for number in range(1, 501):
        file.write([numbered(number, "x" * 100)])
    found = list((tmp_path / "log").iterdir())
    assert sum(path.stat().st_size for path in found) <= 10_000 + 2 * 200
    assert {stat.S_IMODE(path.stat().st_mode) for path in (*found, tmp_path / "log")} == {0o600, 0o700}
    kept = numbers(file)
    assert kept == list(range(kept[0], 501)) and len(kept) > 20


def test_incomplete_log_line_of_a_killed_process_hides_no_other_entry(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", 1_000_000)
    file.write([numbered(1), numbered(2)])
    path = tmp_path / "log" / NAME
    path.write_bytes(path.read_bytes()[:-5])
    assert file.last_seq() == 1
    file.write([numbered(2)])
    assert numbers(file) == [1, 2]


def test_unwritable_log_folder_does_not_stop_the_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file in the place of the folder")
    file = LogFile(tmp_path / "log", 1_000_000)
    file.write([numbered(1)])
    assert (file.last_seq(), file.read(0)) == (0, [])


def test_log_entry_numbers_continue_in_the_next_process(tmp_path: Path) -> None:
    for _ in range(2):
        with opened_log(file=LogFile(tmp_path / "log", 1_000_000)):
            log.info("hub.started", token=SECRET)
    kept = LogFile(tmp_path / "log", 1_000_000).read(0)
    assert [(one.seq, one.event) for one in kept] == [(1, "hub.started"), (2, "hub.started")]
    assert SECRET not in (tmp_path / "log" / NAME).read_text()


def add(ring: Ring, event: str = "a.b") -> LogEntry:
    return ring.append(at=0, level="info", event=event, channel="x", fields={})


def test_log_ring_numbers_entries_and_drops_the_oldest() -> None:
    ring = Ring(most=3)
    assert (ring.first, ring.last, ring.since(0)) == (1, 0, [])
    for _ in range(5):
        add(ring)
    assert (ring.first, ring.last) == (3, 5)
    assert [[one.seq for one in ring.since(after)] for after in (0, 3, 5, 9)] == [[3, 4, 5], [4, 5], [], []]


async def test_log_ring_readers_are_woken_by_an_entry_of_another_thread() -> None:
    ring = Ring()
    add(ring)
    woken = list[int]()

    async def read() -> None:
        await ring.wait(1)
        woken.append(ring.last)

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        group.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        assert woken == []
        await anyio.to_thread.run_sync(add, ring)
    assert woken == [2, 2]


async def test_log_ring_reader_behind_the_end_does_not_wait() -> None:
    ring = Ring()
    with anyio.move_on_after(0):
        await ring.wait(0)
    add(ring)
    assert ring.last == 1
    with anyio.fail_after(1):
        await ring.wait(0)


def test_ring_keeps_info_entries_when_the_log_starts_at_warnings(
    fresh: Callable[..., Opened],
) -> None:
    opened = fresh("warning")
    Channel("hub.test").info("run.queued", run_id="r")
    Channel("hub.test").debug("run.looked_at")

    assert ([entry.event for entry in opened.log.ring.since(0)], opened.lines()) == (["run.queued"], [])
