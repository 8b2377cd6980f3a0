"""What a line of the log says, to a program, to a person, and to journald."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hub.clock import from_epoch_ms, moment_text
from hub.log import Channel, LogEntry, bind, learn_names
from hub.log.lines import NAMES_RETAINED, is_journal, json_line, readable, short_line, with_priority
from tests.support.log import Opened

log = Channel("hub.somewhere")


def entry(event: str = "unit.unread", level: str = "warning", **fields: object) -> LogEntry:
    return LogEntry(1, 1_767_604_442_000, level, event, "hub.runs.runner", fields)


def test_an_event_is_one_json_object_with_its_fields(opened: Opened) -> None:
    with bind(run_id="r1", trace_id="t1"):
        log.info("run.moved", state="RUNNING", fence=3)
    (line,) = map(json.loads, opened.lines())
    told = {"level": "info", "event": "run.moved", "channel": "hub.somewhere", "run_id": "r1"}
    assert line.items() >= {**told, "trace_id": "t1", "state": "RUNNING", "fence": 3}.items()
    assert isinstance(line["ts"], float)


def test_an_error_brings_its_traceback(opened: Opened) -> None:
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


def test_less_than_the_level_is_not_written_and_the_level_can_be_changed(
    fresh: Callable[..., Opened],
) -> None:
    opened = fresh(level="warning")
    log.info("run.moved")
    opened.log.change(level="info", content=False)
    log.info("run.queued")
    assert [json.loads(line)["event"] for line in opened.lines()] == ["run.queued"]


def test_a_person_reads_a_short_line() -> None:
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


def test_only_so_many_names_are_kept() -> None:
    learn_names({"first": "a"})
    learn_names({f"id-{n}": "b" for n in range(NAMES_RETAINED)})
    assert readable("agent_id", "first") == ("agent_id", "first")
    assert readable("agent_id", "id-0") == ("agent", "b")


def test_control_characters_in_log_lines_are_escaped() -> None:
    line = short_line(entry(detail="\x1b]0;evil\x07", traceback="one\ntwo\x1b[2J"))
    assert "\x1b" not in line
    assert line.splitlines()[1:] == ["one", "two\\x1b[2J"]


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3)], ids=str
)
def test_journald_reads_the_priority_before_the_line(level: str, priority: int) -> None:
    assert with_priority("{}", level) == f"<{priority}>{{}}"


def test_the_journal_is_known_by_the_file_that_systemd_names(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w") as stream:
        found = os.fstat(stream.fileno())
        named = [{"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + more}"} for more in (0, 1)]
        assert [is_journal(stream, environ) for environ in (*named, {})] == [True, False, False]
