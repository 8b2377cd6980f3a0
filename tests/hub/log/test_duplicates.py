"""Ten a minute of the same, then a count."""

import errno
import json
import logging
from collections.abc import Callable, Iterator

import pytest

from hub.log import Channel
from tests.support.log import Opened

log = Channel("hub.somewhere")

At = Callable[[float], None]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Iterator[At]:
    """Sets the time that records are stamped with, in seconds."""
    now, make = [0.0], logging.getLogRecordFactory()

    def stamped(*args: object, **kwargs: object) -> logging.LogRecord:
        record: logging.LogRecord = make(*args, **kwargs)
        record.created = 1_000_000.0 + now[0]
        return record

    logging.setLogRecordFactory(stamped)
    monkeypatch.setattr("logging.makeLogRecord", lambda _: stamped("", 0, "", 0, "", (), None))
    yield lambda seconds: now.__setitem__(0, seconds)
    logging.setLogRecordFactory(make)


def events(opened: Opened) -> list[str]:
    return [json.loads(line)["event"] for line in opened.lines()]


def test_the_eleventh_of_a_minute_is_counted_instead_of_told(opened: Opened, at: At) -> None:
    for second in range(25):
        at(second)
        log.warning("device.refused", network="192.0.2.1")
    at(61)
    log.info("hub.ready")
    lines = [json.loads(line) for line in opened.lines()]
    assert [line["event"] for line in lines] == ["device.refused"] * 10 + ["log.suppressed", "hub.ready"]
    counted = lines[10]
    assert (counted["of"], counted["count"], counted["level"]) == ("device.refused", 15, "warning")
    assert opened.log.suppressed == 15


def test_the_next_minute_tells_again(opened: Opened, at: At) -> None:
    for second in (*range(12), *range(60, 72)):
        at(second)
        log.info("a.b")
    assert events(opened) == ["a.b"] * 10 + ["log.suppressed"] + ["a.b"] * 10


def test_the_count_is_told_though_nothing_else_happens(opened: Opened, at: At) -> None:
    for _ in range(12):
        log.info("a.b")
    at(61)
    opened.log.tidy()
    assert events(opened)[-1] == "log.suppressed"


def test_a_herd_is_told_whole_and_one_that_flaps_is_not(opened: Opened, at: At) -> None:
    for device in range(300):
        log.info("device.connected", device_id=f"d{device}")
    for _ in range(300):
        log.info("device.left", device_id="d0")
    told = events(opened)
    assert told.count("device.connected") == 300
    assert told.count("device.left") == 10


def test_a_flood_of_the_event_loop_is_one_of_the_same_whatever_it_quotes(opened: Opened, at: At) -> None:
    for number in range(1_000):
        said = f"socket.accept() out of system resource\nsocket: <fd={number}>"
        logging.getLogger("asyncio").error(said, exc_info=OSError(errno.EMFILE, "Too many open files"))
    assert len(opened.lines()) == 10
    assert opened.log.suppressed == 990


def test_strangers_cannot_fill_the_table_of_what_is_counted(opened: Opened, at: At) -> None:
    for number in range(10_000):
        said = f"no two are alike: {number}"
        logging.getLogger("somebody").warning(said)
    assert len(opened.lines()) < 9_000


def test_a_clock_that_is_set_back_does_not_silence_the_log(opened: Opened, at: At) -> None:
    at(1_000)
    for _ in range(12):
        log.info("a.b")
    at(0)
    log.info("a.b")
    assert events(opened)[-2:] == ["log.suppressed", "a.b"]


def test_a_clock_that_is_set_back_a_little_does_not_either(opened: Opened, at: At) -> None:
    at(5)
    log.info("c.d")
    at(30)
    for _ in range(12):
        log.info("a.b")
    at(10)
    log.info("a.b")
    assert events(opened) == ["c.d"] + ["a.b"] * 11
