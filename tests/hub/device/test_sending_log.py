"""Log of a device: every file is in it before it is sent, and it stays bounded."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.base.clock import IdFactory
from hub.device import sending_log
from hub.device.device_file import open_device_store
from hub.device.sending_log import SendingLog, SendingOrder, open_sending_log, read_faults
from hub.device.sent_files import Day, HeldBack, read_days, read_held_back, read_sent
from protocol.errors import CodedError, ErrorCode
from protocol.frame import ErrorBody
from protocol.skipped_files import SkippedFile
from protocol.work import MANY, AgentComplete, AgentData, RunMode
from tests.hub.device.test_folder import Desk, desk, open_desk
from tests.support.clock import FakeClock, SeededChance

__all__ = ["desk", "open_desk"]  # fixtures
pytestmark = pytest.mark.anyio

ORDER = SendingOrder("hub-a", "r-1", "a-1", "cloud gpt")


def skipped(path: str, reason: str) -> SkippedFile:
    return SkippedFile(path=path, reason=reason)


@pytest.fixture
def file(tmp_path: Path, clock: FakeClock) -> Path:
    path = tmp_path / "desk.db"
    with open_device_store(path, clock=clock, ids=IdFactory(clock, SeededChance())):
        return path


@pytest.fixture
def log(file: Path, clock: FakeClock) -> Iterator[SendingLog]:
    with open_sending_log(file, clock) as opened:
        yield opened


def test_log_has_files_by_day_hub_and_reader_and_their_latest_reason(
    file: Path, log: SendingLog, clock: FakeClock
) -> None:
    log.held_back(ORDER, [skipped("n/key.md", "secret: jwt in line 1"), skipped(MANY, "hidden")])
    log.sent(ORDER, [("n/a.md", 10, "0a"), ("n/b.md", 5, "0b")])
    clock.advance(86_400)
    log.sent(ORDER._replace(hub="hub-b", reader="rules"), [("n/a.md", 10, "0a")])
    log.held_back(ORDER, [skipped("n/key.md", "secret: jwt in line 9"), skipped("n/c.md", "too_large")])
    later = int(clock.now().timestamp() * 1_000)

    assert read_days(file, 0, 10) == [
        Day("2026-01-06", "hub-b", "rules", 1, 10),
        Day("2026-01-05", "hub-a", "cloud gpt", 2, 15),
    ]
    assert [one.path for one in read_sent(file, later, 10)] == ["n/a.md"]
    assert [one.path for one in read_sent(file, 0, 2)] == ["n/a.md", "n/b.md"]
    held = [
        HeldBack(later, "hub-a", "n/c.md", "too_large"),
        HeldBack(later, "hub-a", "n/key.md", "secret: jwt in line 9"),
    ]
    assert read_held_back(file, 0, 10) == held

    log.sent(ORDER, [("n/key.md", 1, "0c")])  # its owner took the key out
    assert [one.path for one in read_held_back(file, 0, 10)] == ["n/c.md"]


def test_sending_log_retains_only_the_newest_entries(
    file: Path, log: SendingLog, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending_log, "MAX_SENT", 3)
    monkeypatch.setattr(sending_log, "MAX_HELD_BACK", 2)
    for number in range(5):
        clock.advance(1)
        log.sent(ORDER, [(f"{number}.md", 1, "00")])
        log.held_back(ORDER, [skipped(f"{number}.md", "secret")])
    assert [one.path for one in read_sent(file, 0, 10)] == ["4.md", "3.md", "2.md"]
    assert [one.path for one in read_held_back(file, 0, 10)] == ["4.md", "3.md", "2.md"]


async def test_sending_log_records_each_sent_file_with_reader_and_held_back_files(desk: Desk) -> None:
    desk.write(a="call Ana", b="Größe", c="Wifi password: ab7-tr9_xq")
    desk.run(mode=RunMode.STREAM, reader="local smollm")
    frames = await desk.hear_all()

    sent = [piece for frame in frames if isinstance(frame, AgentData) for piece in frame.files]
    logged = desk.rows("SELECT hub, run_id, agent_id, reader, path, bytes, sha256 FROM sent")
    assert logged == [
        ("key", "r-1", "a-1", "local smollm", piece.path, len(piece.content.encode()), piece.sha256)
        for piece in sent
    ]
    assert desk.rows("SELECT path, reason FROM held_back") == [
        ("notes/c.md", "key_in_text: labelled-password in line 1")
    ]


async def test_run_sends_no_file_while_the_sending_log_cannot_be_written(desk: Desk) -> None:
    desk.write(a="call Ana")
    desk.rows("DROP TABLE sent")
    desk.run(mode=RunMode.STREAM)
    frames = await desk.hear_all()

    assert not [frame for frame in frames if isinstance(frame, AgentData) and frame.files]
    (complete,) = [frame for frame in frames if isinstance(frame, AgentComplete)]
    assert isinstance(complete.error, ErrorBody)
    assert complete.error.code == ErrorCode.DATABASE_UNAVAILABLE
    assert "cannot log what it sends" in str(complete.error.message)
    assert read_faults(desk.log) == [
        "what is sent cannot be logged, so nothing is sent: no such table: sent",
    ]


async def test_unwritable_log_of_held_back_files_is_reported_as_a_fault(desk: Desk) -> None:
    desk.write(a="call Ana", c="Wifi password: ab7-tr9_xq")
    desk.rows(
        "CREATE TRIGGER full BEFORE INSERT ON held_back BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
    )
    desk.run(mode=RunMode.STREAM)
    frames = await desk.hear_all()

    (complete,) = [frame for frame in frames if isinstance(frame, AgentComplete)]
    assert (complete.files, complete.error) == (1, None)
    fault = "what is held back cannot be logged: the disk is full"
    assert (f"run r-1: {fault}" in desk.told, read_faults(desk.log)) == (True, [fault])

    desk.rows("DROP TRIGGER full")
    desk.run(run_id="r-2", mode=RunMode.STREAM)
    await desk.hear_all()
    assert read_faults(desk.log) == []


def test_device_file_without_a_sending_log_is_refused_with_a_message(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "old.db").close()
    with pytest.raises(CodedError, match="has no log that can be read"):
        read_days(tmp_path / "old.db", 0, 1)
