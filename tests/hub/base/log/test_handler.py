"""The log: ten a minute of the same event, then a count; callers never wait; unraisable errors are logged."""

import asyncio
import errno
import io
import json
import logging
import os
import re
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hub.base.certificates import Certificates
from hub.base.log import Channel, LogEntry
from hub.base.log.handler import Writer
from storage.kernel.database import Busy, Conflict
from tests.support.certificates import write_certificate
from tests.support.log import Opened

log = Channel("hub.somewhere")

At = Callable[[float], None]

HELLO_WITH_A_NAME = b"hub.example"


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


def test_eleventh_event_of_a_minute_is_counted_and_not_logged(opened: Opened, at: At) -> None:
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


@pytest.mark.parametrize(
    "fault",
    [
        Busy("it is held"),
        ConnectionRefusedError("it is held"),
        ExceptionGroup("", [TimeoutError("it is held")]),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_transient_fault_is_a_single_line_a_minute_without_traceback(
    opened: Opened, at: At, fault: Exception
) -> None:
    for second in range(120):
        at(second)
        log.error("round.database", exc=fault, agent_id=f"a-{second % 7}")
    at(121)
    log.info("hub.ready")
    lines = [json.loads(line) for line in opened.lines()]
    assert [line["event"] for line in lines] == [*["round.database", "log.suppressed"] * 2, "hub.ready"]
    assert [line.get("count") for line in lines] == [None, 59, None, 59, None]
    for line in lines[::2][:2]:
        assert line["why"].endswith(": it is held") and "traceback" not in line


def test_repeated_error_of_another_kind_keeps_the_traceback(opened: Opened, at: At) -> None:
    for fault in (ValueError("a bug"), Conflict("a row twice")):
        log.error("round.broke", exc=fault)
    assert all("traceback" in json.loads(line) for line in opened.lines())


def test_suppressed_event_is_logged_again_in_the_next_minute(opened: Opened, at: At) -> None:
    for second in (*range(12), *range(60, 72)):
        at(second)
        log.info("a.b")
    assert events(opened) == ["a.b"] * 10 + ["log.suppressed"] + ["a.b"] * 10


def test_count_of_suppressed_events_is_logged_by_tidy(opened: Opened, at: At) -> None:
    for _ in range(12):
        log.info("a.b")
    at(61)
    opened.log.tidy()
    assert events(opened)[-1] == "log.suppressed"


def test_events_of_many_devices_are_all_logged_and_repeats_of_a_single_device_suppressed(
    opened: Opened, at: At
) -> None:
    for device in range(300):
        log.info("device.connected", device_id=f"d{device}")
    for _ in range(300):
        log.info("device.left", device_id="d0")
    told = events(opened)
    assert (told.count("device.connected"), told.count("device.left")) == (300, 10)


def test_repeated_event_loop_errors_with_different_text_are_suppressed(opened: Opened, at: At) -> None:
    for number in range(1_000):
        said = f"socket.accept() out of system resource\nsocket: <fd={number}>"
        logging.getLogger("asyncio").error(said, exc_info=OSError(errno.EMFILE, "Too many open files"))
    assert (len(opened.lines()), opened.log.suppressed) == (10, 990)


def test_writing_to_a_pipe_or_socket_closed_by_the_peer_is_not_logged(opened: Opened) -> None:
    reading, writing = os.pipe()
    end = os.fdopen(writing, "wb")

    async def write() -> None:
        loop = asyncio.get_running_loop()
        pipe, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, end)
        ours, theirs = socket.socketpair()
        connection, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        os.close(reading)
        theirs.close()
        for _ in range(100):
            pipe.write(b"x")
            connection.write(b"x")
        pipe.close()
        connection.close()
        await asyncio.sleep(0)

    asyncio.run(write())
    assert events(opened) == []


def test_distinct_log_messages_of_a_logger_are_suppressed_beyond_the_table_limit(
    opened: Opened, at: At
) -> None:
    for number in range(10_000):
        said = f"no two are alike: {number}"
        logging.getLogger("somebody").warning(said)
    assert len(opened.lines()) < 9_000


def test_event_suppression_ends_after_a_large_clock_step_back(opened: Opened, at: At) -> None:
    at(1_000)
    for _ in range(12):
        log.info("a.b")
    at(0)
    log.info("a.b")
    assert events(opened)[-2:] == ["log.suppressed", "a.b"]


def test_event_after_a_small_clock_step_back_is_not_suppressed(opened: Opened, at: At) -> None:
    at(5)
    log.info("c.d")
    at(30)
    for _ in range(12):
        log.info("a.b")
    at(10)
    log.info("a.b")
    assert events(opened) == ["c.d"] + ["a.b"] * 11


class Stuck(io.StringIO):
    """A stream that nobody reads, until somebody does."""

    def __init__(self) -> None:
        super().__init__()
        self.read_on = threading.Event()

    def write(self, text: str) -> int:
        self.read_on.wait(30)
        return super().write(text)


def entry(number: int) -> LogEntry:
    return LogEntry(number, 0, "info", "a.b", "x", {})


def test_log_writer_on_a_blocked_stream_drops_and_counts_entries_without_waiting() -> None:
    stream = Stuck()
    writer = Writer(stream, lambda one: str(one.seq), most=100)
    for number in range(1_000):
        writer.enqueue(entry(number))  # would wait for ever if it waited at all
    assert writer.dropped >= 1_000 - 100 - 256  # what waits, and what the thread has in its hands
    stream.read_on.set()
    writer.close()
    written = [int(line) for line in stream.getvalue().splitlines()]
    assert (written, len(written) + writer.dropped) == (sorted(written), 1_000)


def test_count_of_dropped_log_lines_is_logged_with_the_next_event(fresh: Callable[..., Opened]) -> None:
    stream = Stuck()
    opened = fresh(stream=stream)
    for number in range(10_000):
        log.info("a.b", device_id=f"d{number % 1_000}")
    lost = opened.log.dropped
    assert lost > 0
    stream.read_on.set()
    opened.log.close()
    log.info("hub.ready")
    told = [one for one in opened.log.ring.since(0) if one.event == "log.dropped"]
    assert sum(int(str(one.fields["count"])) for one in told) == lost


def test_closed_log_stream_drops_lines_without_an_error() -> None:
    stream = io.StringIO()
    stream.close()
    writer = Writer(stream, lambda one: str(one.seq))
    writer.enqueue(entry(1))
    writer.close()
    assert writer.dropped == 1


def test_log_lines_are_written_in_the_logged_order(opened: Opened) -> None:
    for number in range(2_000):
        log.info("a.b", device_id=str(number))
    assert [int(json.loads(line)["device_id"]) for line in opened.lines()] == list(range(2_000))


def test_size_of_the_ring_and_repeats_of_an_event_are_settings(fresh: Callable[..., Opened]) -> None:
    opened = fresh(entries=4, repeats=3)
    for _ in range(5):
        log.info("a.b")
    for number in range(3):
        log.info("c.d", device_id=f"d{number}")
    assert [one.event for one in opened.log.ring.since(0)] == ["a.b", "c.d", "c.d", "c.d"]
    assert opened.log.suppressed == 2


@pytest.fixture(autouse=True)
def _the_hook_before() -> Iterator[None]:
    before = sys.unraisablehook
    yield
    sys.unraisablehook = before


def said_hello(server: ssl.SSLContext, name: bytes) -> None:
    """A client's first bytes reach *server*, and name the host *name*."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    spelled = client.wrap_bio(to_client, to_server, server_hostname=HELLO_WITH_A_NAME.decode())
    with pytest.raises(ssl.SSLWantReadError):
        spelled.do_handshake()
    hello = to_server.read().replace(HELLO_WITH_A_NAME, name)
    to_server.write(hello)
    with pytest.raises(ssl.SSLError):
        server.wrap_bio(to_server, to_client, server_side=True).do_handshake()


def test_undecodable_server_name_of_a_tls_hello_is_logged_with_suppression(
    fresh: Callable[..., Opened], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    opened = fresh()
    opened.log.take_unraisable()
    server = Certificates(*write_certificate(tmp_path)).context
    for number in range(12):
        said_hello(server, b"\xff" * 10 + b"%x" % number)
    lines = [json.loads(line) for line in opened.lines()]
    assert ([line["event"] for line in lines], lines[0]["level"]) == (["process.unraisable"] * 10, "error")
    assert "\\xff" in lines[0]["what"]
    assert "UnicodeDecodeError" in lines[0]["traceback"]
    assert capfd.readouterr().err == ""


def test_closed_log_restores_the_unraisable_hook_of_python(opened: Opened) -> None:
    opened.log.take_unraisable()
    assert sys.unraisablehook is not sys.__unraisablehook__
    opened.log.close()
    assert sys.unraisablehook is sys.__unraisablehook__


def test_terminal_prompt_is_repeated_below_each_log_line_until_answered(fresh: Callable[..., Opened]) -> None:
    class Terminal(io.StringIO):
        """Text of a terminal, with an event for each write."""

        def __init__(self) -> None:
            super().__init__()
            self.written = threading.Semaphore(0)

        def flush(self) -> None:
            self.written.release()

        def shown(self) -> str:
            """Everything that was shown, once more of it was."""
            assert self.written.acquire(timeout=30)
            return self.getvalue()

    stream = Terminal()
    opened = fresh(stream=stream)
    clear = "\r\x1b[K"
    with opened.log.asking("open it? [y/N] "):
        assert stream.shown() == (seen := f"{clear}open it? [y/N] ")
        opened.log.show("connected as\x1b[2J desk")
        assert stream.shown() == (seen := f"{seen}{clear}connected as\\x1b[2J desk\nopen it? [y/N] ")
        log.warning("unit.unread")
        assert re.fullmatch(
            rf"{re.escape(seen + clear)}\{{.*unit.unread.*\}}\nopen it\? \[y/N\] ", stream.shown()
        )
    opened.log.show("opened")
    assert stream.shown().endswith("open it? [y/N] opened\n")
